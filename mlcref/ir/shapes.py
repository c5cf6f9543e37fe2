"""Symbolic dimensions at call time: the sizes that the arguments of a graph function give them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NoReturn

from mlcref import dtype as dt
from mlcref.errors import CallError, UnsupportedError
from mlcref.ir import graph
from mlcref.ir.expr import Add, Cast, Const, Expr, FloorDiv, FloorMod, Max, Min, Mul, Sub, Var

Sizes = dict[Var, int]
"""What each symbolic dimension is in one call."""

_ARITHMETIC: dict[type, Callable[[int, int], int]] = {
    Add: lambda a, b: a + b,
    Sub: lambda a, b: a - b,
    Mul: lambda a, b: a * b,
    FloorDiv: lambda a, b: a // b,
    FloorMod: lambda a, b: a % b,
    Min: min,
    Max: max,
}


def evaluate(expr: Expr, sizes: Sizes) -> int:
    """The number that an extent is. Raises ``CallError`` for a division by zero or a dimension without a size.

    >>> n = Var("n", "int64")
    >>> evaluate(n * 2 + 1, {n: 3})
    7
    """
    if isinstance(expr, Const) and dt.is_integer(expr.type):
        return int(expr.value)
    if isinstance(expr, Var):
        if expr not in sizes:
            raise CallError(f"the arguments do not say what the dimension {expr.name} is", rule="call.symbol")
        return sizes[expr]
    if isinstance(expr, Cast) and dt.is_integer(expr.type):
        return evaluate(expr.value, sizes)
    operation = _ARITHMETIC.get(type(expr))
    if operation is None:
        raise UnsupportedError(lambda: f"`{expr!r}` is no arithmetic on dimensions")
    a, b = (evaluate(operand, sizes) for operand in (expr.a, expr.b))  # type: ignore[attr-defined]
    if type(expr) in (FloorDiv, FloorMod) and b == 0:
        raise CallError(lambda: f"the dimension `{expr!r}` divides by zero", rule="call.symbol")
    return operation(a, b)


def match_arguments(
    name: str, params: Sequence[graph.Var], args: Sequence[object], known: Sizes | None = None
) -> Sizes:
    """The sizes of the symbolic dimensions of function ``name`` in a call with ``args``; ``known`` sizes are given.

    Tensors are anything with ``shape`` and ``dtype``; shapes are tuples of ints. Raises ``CallError`` (rules
    ``call.count``, ``call.type``, ``call.dtype``, ``call.rank``, ``call.shape``, ``call.symbol``) for arguments that do
    not fit.
    """
    if len(args) != len(params):
        listed = ", ".join(param.name_hint for param in params)
        plural = "argument" if len(params) == 1 else "arguments"
        raise CallError(f"{name}: takes {len(params)} {plural} ({listed}), got {len(args)}", rule="call.count")
    match = _Match(name, known or {})
    for param, argument in zip(params, args, strict=True):
        match.value(param.name_hint, param.struct_info, argument)
    match.check_extents()
    return match.sizes


class _Match:
    def __init__(self, name: str, known: Sizes) -> None:
        self.name = name
        self.sizes: Sizes = dict(known)
        self.sources: dict[Var, str] = dict.fromkeys(known, "the arguments")
        self.computed: list[tuple[str, Expr, int]] = []

    def refuse(self, what: str, rule: str, hint: str | None = None) -> NoReturn:
        raise CallError(f"{self.name}: {what}", rule=f"call.{rule}", hint=hint)

    def value(self, place: str, info: graph.StructInfo, argument: Any) -> None:
        """``argument``, found at ``place``, is what ``info`` says."""
        if isinstance(info, graph.TensorStructInfo):
            self.tensor(place, info, argument)
        elif isinstance(info, graph.ShapeStructInfo):
            self.shape(place, info, argument)
        elif isinstance(info, graph.TupleStructInfo):
            if not isinstance(argument, tuple | list) or len(argument) != len(info.fields):
                self.refuse(f"{place} must be a tuple of {len(info.fields)} values", "type")
            for i, (field, item) in enumerate(zip(info.fields, argument, strict=True)):
                self.value(f"{place}[{i}]", field, item)

    def tensor(self, place: str, info: graph.TensorStructInfo, argument: Any) -> None:
        if not hasattr(argument, "shape") or not hasattr(argument, "dtype"):
            hint = f'np.array({place}, dtype="{info.dtype}") makes a tensor'
            self.refuse(f"{place} must be a tensor, got {type(argument).__name__}", "type", hint)
        got, shape = dt.canonical(argument.dtype), tuple(argument.shape)
        spelled = f"{got}[{', '.join(map(str, shape))}]"
        if got != info.dtype:
            hint = f'{place}.astype("{info.dtype}") makes a converted copy'
            self.refuse(f"{place} must be {info.dtype}, got {spelled}", "dtype", hint)
        if info.ndim not in (-1, len(shape)):
            self.refuse(f"{place} must have {info.ndim} dimensions, got {spelled}", "rank")
        for axis, extent in enumerate(info.shape or ()):
            self.extent(f"{place}.shape[{axis}]", extent, int(shape[axis]))

    def shape(self, place: str, info: graph.ShapeStructInfo, argument: Any) -> None:
        if not isinstance(argument, tuple | list) or not all(isinstance(size, int) for size in argument):
            self.refuse(f"{place} must be a tuple of ints, got {argument!r}", "type")
        if info.ndim not in (-1, len(argument)):
            self.refuse(f"{place} must have {info.ndim} extents, got {len(argument)}", "rank")
        for axis, extent in enumerate(info.values or ()):
            self.extent(f"{place}[{axis}]", extent, argument[axis])

    def extent(self, place: str, expected: Expr, got: int) -> None:
        if isinstance(expected, Const):
            if int(expected.value) != got:
                self.refuse(f"{place} must be {expected.value}, got {got}", "shape")
        elif not isinstance(expected, Var):
            self.computed.append((place, expected, got))
        elif self.sizes.setdefault(expected, got) != got:
            known = f"{expected.name} is {self.sizes[expected]} already, from {self.sources[expected]}"
            self.refuse(f"{place} is {got}, but {known}", "symbol")
        else:
            self.sources.setdefault(expected, place)

    def check_extents(self) -> None:
        """Extents that are expressions hold for the sizes that the other extents gave."""
        for place, expected, got in self.computed:
            size = evaluate(expected, self.sizes)
            if size != got:
                known = ", ".join(f"{var.name} = {value}" for var, value in self.sizes.items())
                self.refuse(f"{place} must be {expected!r} = {size}, got {got} (with {known})", "symbol")
