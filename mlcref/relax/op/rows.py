"""How rows of the operator table are written: operands, attributes, and what many rows share."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from mlcref import dtype as dt
from mlcref.errors import OracleError, TypeMismatch
from mlcref.ir import Const, Expr, constant
from mlcref.ir.graph import Call, StructInfo
from mlcref.ir.graph_ops import REQUIRED, Attribute, Operand, Operator, register_function, register_operator

Builder = Callable[..., Call]


def row(
    name: str,
    operands: str,
    attributes: Sequence[Attribute],
    infer: Callable[..., StructInfo],
    legalize: Callable[..., Any],
    reference: Callable[..., Any],
    summary: str,
) -> Builder:
    """Enter an operator. ``operands`` lists names: ``*x`` is a tuple of them, ``x:shape`` a shape, ``x?`` optional."""
    named = tuple(_operand(text) for text in operands.split())
    return register_operator(
        Operator(f"relax.{name}", named, tuple(attributes), infer, legalize, reference, summary)
    )


def also_accepts(name: str, builder: Builder, option: str, allowed: Callable[[Call], Any]) -> Builder:
    """``builder`` that takes ``option``, too, which may only say what is so anyway: ``allowed(call)``, or None."""
    signature = inspect.signature(builder)
    extra = inspect.Parameter(option, inspect.Parameter.KEYWORD_ONLY, default=None)

    def function(*args: Any, **options: Any) -> Call:
        said = options.pop(option, None)
        call = builder(*args, **options)
        if said is not None and said != allowed(call):
            raise TypeMismatch(f"{name}: {option} is {said!r}", hint=f"supported: {allowed(call)!r}")
        return call

    function.__name__ = function.__qualname__ = name.rpartition(".")[2]
    function.__doc__ = builder.__doc__
    function.__signature__ = signature.replace(  # type: ignore[attr-defined]
        parameters=[*signature.parameters.values(), extra]
    )
    register_function(name, function)
    return function


def _operand(text: str) -> Operand:
    name, _, kind = text.partition(":")
    plain = name.strip("*?")
    return Operand(plain, "tensors" if name.startswith("*") else kind or "tensor", name.endswith("?"))


def _is_int(value: Any) -> bool:
    return not isinstance(value, bool) and hasattr(value, "__index__")


def _plain(value: Any) -> Any:
    """The number that a constant expression is; other values as they are."""
    return value.value if isinstance(value, Const) else value


def _int(value: Any) -> int:
    value = _plain(value)
    if not _is_int(value):
        raise TypeMismatch(f"is {value!r}, no int")
    return int(value)


def _ints(value: Any) -> tuple[int, ...]:
    items = value if isinstance(value, tuple | list) else (value,)
    return tuple([_int(item) for item in items])


def _float(value: Any) -> float:
    value = _plain(value)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeMismatch(f"is {value!r}, no number")
    return float(value)


def _bool(value: Any) -> bool:
    if value not in (True, False):
        raise TypeMismatch(f"is {value!r}, neither True nor False")
    return bool(value)


def optional(convert: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """``convert`` that keeps None."""
    return lambda value: None if value is None else convert(value)


def int_attr(name: str, default: Any = REQUIRED) -> Attribute:
    """An int."""
    return Attribute(name, optional(_int) if default is None else _int, default)


def ints(name: str, default: Any = REQUIRED) -> Attribute:
    """A tuple of ints; one int stands for a tuple of it."""
    return Attribute(name, optional(_ints) if default is None else _ints, default)


def repeated(name: str, count: int, default: Any = REQUIRED) -> Attribute:
    """``count`` ints; one int stands for all of them."""

    def convert(value: Any) -> tuple[int, ...]:
        found = _ints(value)
        found = found * count if len(found) == 1 else found
        if len(found) != count:
            raise TypeMismatch(f"takes {count} numbers, got {len(found)}")
        return found

    return Attribute(name, convert, default)


def padding(name: str, dims: int, default: Any = 0) -> Attribute:
    """How much is added before each of ``dims`` dimensions, then after each; one number per dimension means both."""

    def convert(value: Any) -> tuple[int, ...]:
        found = _ints(value)
        found = found * dims if len(found) == 1 else found
        found = found * 2 if len(found) == dims else found
        if len(found) != 2 * dims or min(found) < 0:
            raise TypeMismatch(f"takes 1, {dims} or {2 * dims} numbers that are not negative, got {value!r}")
        return found

    return Attribute(name, convert, default)


def float_attr(name: str, default: Any = REQUIRED) -> Attribute:
    """A number."""
    return Attribute(name, _float, default)


def flag(name: str, default: Any = REQUIRED) -> Attribute:
    """True or False."""
    return Attribute(name, _bool, default)


def choice(name: str, options: Sequence[Any], default: Any = REQUIRED) -> Attribute:
    """One of ``options``."""

    def convert(value: Any) -> Any:
        if value not in options:
            raise TypeMismatch(f"is {value!r}", hint=f"supported: {', '.join(map(repr, options))}")
        return value

    return Attribute(name, convert, default)


def dtype_attr(name: str = "dtype", default: Any = REQUIRED) -> Attribute:
    """A data type."""
    return Attribute(name, optional(dt.canonical) if default is None else dt.canonical, default)


def require(condition: bool, message: str | Callable[[], str], hint: str | None = None) -> None:
    """Raise ``TypeMismatch`` with ``message`` unless ``condition`` holds."""
    if not condition:
        raise TypeMismatch(message, hint=hint)


def require_some(name: str, extents: Iterable[Expr]) -> None:
    """Raise ``TypeMismatch`` for a reduction over an extent of 0: nothing would be computed."""
    require(all(constant(extent) != 0 for extent in extents), f"{name} of nothing: an extent is 0")


def over_some(name: str, sizes: Iterable[int]) -> None:
    """Raise ``OracleError`` for a reduction over an extent that turns out to be 0."""
    if 0 in sizes:
        raise OracleError(f"{name} of nothing: an extent is 0", rule="graph.R5")


def require_float(name: str, dtype: str) -> None:
    """Raise ``TypeMismatch`` unless ``dtype`` is a floating-point type."""
    require(dt.is_float(dtype), f"{name} is defined on floats, not on {dtype}", hint="convert with astype first")
