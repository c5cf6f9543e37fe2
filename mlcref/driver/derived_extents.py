"""Parameters whose extents follow from others, as ``n + 2``: sizes of their own when compiled, which calls check."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

from mlcref.errors import CallError
from mlcref.ir import (
    Add, Binary, Buffer, Cast, Const, Expr, FloorDiv, FloorMod, Max, Min, Mul, PrimFunc, Sub, Var, replace,
    replace_buffers, variables, walk,
)  # fmt: skip
from mlcref.runtime.module import Module

Derived = list[tuple[int, int, Expr]]
"""Number of a parameter, dimension, extent."""


def named_extents(func: PrimFunc) -> tuple[PrimFunc, Derived]:
    """``func`` with a variable for each extent of a parameter that is computed from others, and these extents.

    >>> from mlcref import te
    >>> A = te.placeholder((te.var("n"),), name="A")
    >>> B = te.compute((A.shape[0] * 2,), lambda i: A[i // 2], name="B")
    >>> func, derived = named_extents(te.create_prim_func([A, B]))
    >>> func.params[1].shape, derived
    ((B_0,), [(1, 0, n * 2)])
    """
    derived: Derived = []
    new: dict[Buffer, Buffer] = {}
    for number, param in enumerate(func.params):
        if not isinstance(param, Buffer):
            continue
        found = {dim: extent for dim, extent in enumerate(param.shape) if _is_derived(extent)}
        if found:
            derived += [(number, dim, extent) for dim, extent in found.items()]
            shape = [Var(f"{param.name}_{d}", n.dtype) if d in found else n for d, n in enumerate(param.shape)]
            new[param] = replace(param, shape=tuple(shape))
    if not new:
        return func, []
    params = tuple([new.get(param, param) if isinstance(param, Buffer) else param for param in func.params])
    return replace(func, params=params, body=replace_buffers(func.body, new)), derived


class CheckedExtents:
    """A compiled function whose arguments are first checked to have the extents ``derived`` of ``func``."""

    def __init__(self, function: Callable[..., None], func: PrimFunc, derived: Derived) -> None:
        self.function, self.func, self.derived = function, func, derived
        self._places = {var: _place(func, var) for _, _, extent in derived for var in variables(extent)}
        self._wanted = lru_cache(64)(self._extents)

    def __call__(self, *args: Any) -> None:
        """Call the function; raises ``CallError`` before anything is written."""
        if len(args) == len(self.func.params):  # the function itself says what is wrong with the number of arguments
            self.check(args)
        self.function(*args)

    def check(self, args: tuple[Any, ...]) -> None:
        """Raise ``CallError`` (call.shape) unless the extents are right."""
        sizes = [
            self._scalar(args, number) if dim is None else self._shape(args, number)[dim]
            for number, dim in self._places.values()
        ]
        for (number, dim, extent), wanted in zip(self.derived, self._wanted(tuple(sizes)), strict=True):
            got = self._shape(args, number)[dim]
            if got != wanted:
                name = self.func.params[number].name
                raise CallError(f"{self.func.name}: {name}.shape[{dim}] must be {extent!r} = {wanted}, got {got}",
                                rule="call.shape")  # fmt: skip

    def _extents(self, sizes: tuple[int, ...]) -> list[int | None]:
        values = dict(zip(self._places, sizes, strict=True))
        return [_value(extent, values) for _, _, extent in self.derived]

    def _scalar(self, args: tuple[Any, ...], number: int) -> int:
        if not hasattr(args[number], "__index__"):
            raise CallError(f"{self.func.name}: {self.func.params[number].name} must be an integer", rule="call.type")
        return operator.index(args[number])

    def _shape(self, args: tuple[Any, ...], number: int) -> tuple[int, ...]:
        shape, param = getattr(args[number], "shape", None), self.func.params[number]
        if not isinstance(shape, tuple) or len(shape) != len(getattr(param, "shape", ())):
            raise CallError(f"{self.func.name}: {param.name} has no shape, or one of another rank",
                            rule="call.shape", hint="pass an array")  # fmt: skip
        return shape


def _is_derived(extent: Expr) -> bool:
    return not isinstance(extent, Const | Var) and all(
        isinstance(node, Const | Var | Cast) or type(node) in _OPERATORS for node in walk(extent)
    )


_OPERATORS: dict[type, Callable[[int, int], int]] = {
    Add: operator.add, Sub: operator.sub, Mul: operator.mul, FloorDiv: operator.floordiv, FloorMod: operator.mod,
    Min: min, Max: max,
}  # fmt: skip


def _value(extent: Expr, values: Mapping[Var, int]) -> int | None:
    """The value of an extent; None where it divides by 0."""
    if isinstance(extent, Const):
        return int(extent.value)
    if isinstance(extent, Var):
        return values[extent]
    if isinstance(extent, Cast):
        return _value(extent.value, values)
    assert isinstance(extent, Binary)
    a, b = _value(extent.a, values), _value(extent.b, values)
    if a is None or b is None or (b == 0 and isinstance(extent, FloorDiv | FloorMod)):
        return None
    return _OPERATORS[type(extent)](a, b)


def _place(func: PrimFunc, var: Var) -> tuple[int, int | None]:
    """Where a call finds the value of ``var``: the number of a scalar and None, or that of a buffer and a dimension."""
    for number, param in enumerate(func.params):
        if param is var:
            return number, None
        if isinstance(param, Buffer) and any(extent is var for extent in param.shape):
            return number, next(dim for dim, extent in enumerate(param.shape) if extent is var)
    raise AssertionError(f"{var.name} is bound by no parameter")


def build_with_checks(build: Callable[[dict[str, PrimFunc]], Module], funcs: dict[str, PrimFunc]) -> Module:
    """What ``build`` makes of ``funcs``, with the checks that calls need."""
    named = {name: named_extents(func) for name, func in funcs.items()}
    module = build({name: func for name, (func, _) in named.items()})
    for name, (_, derived) in named.items():
        if derived:
            module.functions[name] = CheckedExtents(module.functions[name], funcs[name], derived)
    return module
