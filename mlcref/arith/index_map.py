"""Index maps: how the indices of one layout become those of another, ``lambda i, j: (i // 4, j, i % 4)``."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from math import prod
from typing import Any, Final

import numpy as np

from mlcref.arith.interval import EVERYTHING, Domain, Interval, interval_of
from mlcref.arith.inverse import Inverse, constant_extent, invert
from mlcref.arith.itermap import affine
from mlcref.arith.linear import INDEX_TYPES, expr_key
from mlcref.arith.simplify import bounds, simplify
from mlcref.errors import MlcrefError, UnsupportedError
from mlcref.ir import (
    EQ, GE, GT, LE, LT, NE, Add, And, Binary, Call, Cast, Const, Expr, FloorDiv, FloorMod, Max, Min, Mul, Not, Or,
    Range, Select, Sub, Var, as_expr, cast, const, rewrite, substitute,
)  # fmt: skip

LARGEST_TABLE = 1 << 20
"""Maps on boxes of at most so many points are checked by trying all of them, where they are not affine."""
Array = Any


class IndexMap:
    """A function of index vectors: ``final_indices`` as expressions over the variables ``initial_indices``.

    ``inverse_index_map``, where given, is taken for the inverse.

    >>> tiles = IndexMap.from_func(lambda i, j: (i // 4, j, i % 4))
    >>> tiles.map_shape([14, 3])
    [T.int64(4), T.int64(3), T.int64(4)]
    >>> tiles
    IndexMap(lambda i, j: (i // T.int64(4), j, i % T.int64(4),))
    """

    AXIS_SEPARATOR: Final = object()
    """Stands between the axes of :meth:`from_func_with_separators` where physical dimensions end."""

    __slots__ = ("final_indices", "initial_indices", "inverse_index_map")

    def __init__(
        self, initial_indices: Sequence[Var], final_indices: Sequence[Expr], inverse_index_map: Any = None
    ) -> None:
        self.initial_indices = tuple(initial_indices)
        self.final_indices = tuple(final_indices)
        if callable(inverse_index_map):
            dtype = self.initial_indices[0].type if self.initial_indices else "int64"
            inverse_index_map = IndexMap.from_func(inverse_index_map, len(self.final_indices), index_dtype=dtype)
        self.inverse_index_map: IndexMap | None = inverse_index_map

    @staticmethod
    def from_func(
        mapping_function: Callable[..., Any],
        ndim: int | None = None,
        inverse_index_map: Any = None,
        *,
        index_dtype: str = "int64",
    ) -> IndexMap:
        """The map that a Python function describes: it takes index variables and returns an expression or several.

        ``ndim`` says how many there are when the function takes ``*args``. Raises ``MlcrefError`` for anything else.
        """
        result, separators = IndexMap.from_func_with_separators(
            mapping_function, ndim, inverse_index_map, index_dtype=index_dtype
        )
        if separators:
            raise MlcrefError("the index map has axis separators", hint="use from_func_with_separators")
        return result

    @staticmethod
    def from_func_with_separators(
        mapping_function: Callable[..., Any],
        ndim: int | None = None,
        inverse_index_map: Any = None,
        *,
        index_dtype: str = "int64",
    ) -> tuple[IndexMap, list[int]]:
        """As :meth:`from_func`, and the positions of ``IndexMap.AXIS_SEPARATOR`` among the values."""
        names = _parameter_names(mapping_function, ndim)
        initial = [Var(name, index_dtype) for name, _ in names]
        positional = [v for v, (_, keyword) in zip(initial, names, strict=True) if not keyword]
        keywords = {name: v for v, (name, keyword) in zip(initial, names, strict=True) if keyword}
        mapped = mapping_function(*positional, **keywords)
        values = list(mapped) if isinstance(mapped, Iterable) and not isinstance(mapped, Expr) else [mapped]
        final: list[Expr] = []
        separators: list[int] = []
        for value in values:
            if value is IndexMap.AXIS_SEPARATOR:
                separators.append(len(final))
            elif isinstance(value, Expr | int | float):
                final.append(as_expr(value, index_dtype) if isinstance(value, int) else as_expr(value))
            else:
                raise MlcrefError(f"an index map returns expressions, not {type(value).__name__}")
        return IndexMap(initial, final, inverse_index_map), separators

    # ---- use

    def as_type(self, dtype: str) -> IndexMap:
        """The map over variables of another integer type."""
        if all(v.type == dtype for v in self.initial_indices):
            return self
        renamed: Mapping[Var, Expr] = {v: Var(v.name, dtype) for v in self.initial_indices}
        final = [_retyped(substitute(e, renamed), dtype) for e in self.final_indices]
        inverse = self.inverse_index_map
        return IndexMap([v for v in renamed.values() if isinstance(v, Var)], final, inverse and inverse.as_type(dtype))

    def map_indices(self, indices: Sequence[Any], dom: Domain | None = None) -> list[Expr]:
        """The new indices of the element at ``indices``, simplified where the variables are in ``dom``."""
        given = [as_expr(index) for index in indices]
        self._check_rank(given)
        dtype = "int64" if any(e.dtype == "int64" for e in given) else "int32"
        own = self.as_type(dtype)
        values = {v: cast(dtype, e) for v, e in zip(own.initial_indices, given, strict=True)}
        return [simplify(substitute(e, values), dom or {}) for e in own.final_indices]

    def map_shape(self, shape: Sequence[Any]) -> list[Expr]:
        """The shape that holds every new index of a box: along each axis the largest index and one.

        Raises ``MlcrefError`` when an index may be negative or has no known bound.
        """
        extents = [_extent(extent) for extent in shape]
        own = self._typed_for(extents)
        dom: Domain = dict(zip(own.initial_indices, extents, strict=True))
        return [_new_extent(e, dom) for e in own.final_indices]

    def inverse(self, shape: Sequence[Any]) -> IndexMap:
        """The map from new indices to old ones. Raises ``MlcrefError`` unless the map is one to one from the box of
        ``shape`` onto the box of its new shape.

        >>> IndexMap.from_func(lambda i: (i // 4, i % 4), index_dtype="int32").inverse([16])
        IndexMap(lambda axis0, axis1: (axis0 * 4 + axis1,))
        """
        result, padding = self.non_surjective_inverse(shape)
        if not (isinstance(padding, Const) and not padding.value):
            raise MlcrefError(f"{self!r} leaves elements out", rule="index_map.bijective")
        return result

    def non_surjective_inverse(self, shape: Sequence[Any]) -> tuple[IndexMap, Expr]:
        """The inverse, and the condition (over its variables) of the elements that have no old index.

        Raises ``MlcrefError`` unless the map tells all indices of the box apart, as sums of digits.
        """
        if self.inverse_index_map is not None:
            return self.inverse_index_map, const(False, "bool")
        extents = [_extent(extent) for extent in shape]
        own = self._typed_for(extents)
        axes = [Var(name, own._dtype()) for name in own.axis_names()]
        found = own.inverted(extents, axes)
        if found is None:
            raise MlcrefError(f"{self!r} is no one-to-one affine map", rule="index_map.affine")
        values = [found.variables[v] for v in own.initial_indices]
        return IndexMap(axes, values), const(False, "bool") if found.padding is None else found.padding

    def inverted(self, shape: Sequence[Any], axes: Sequence[Var]) -> Inverse | None:
        """The inverse on the box of ``shape`` over the variables ``axes``, None when none is known."""
        extents = [_extent(extent) for extent in shape]
        dom: Domain = dict(zip(self.initial_indices, extents, strict=True))
        sizes = [constant_extent(extent) for extent in self.map_shape(extents)]
        return invert(self.final_indices, dom, dict(zip(axes, sizes, strict=True)))

    def axis_names(self) -> list[str]:
        """Names of the new axes, as TVM gives them: that of the variable that it is, else ``axis<n>``."""
        return [e.name if isinstance(e, Var) else f"axis{n}" for n, e in enumerate(self.final_indices)]

    def injective(self, shape: Sequence[Any]) -> bool | None:
        """Have different indices in the box different new indices? None when that is not known."""
        extents = [_extent(extent) for extent in shape]
        own = self._typed_for(extents)
        dom: Domain = dict(zip(own.initial_indices, extents, strict=True))
        if affine(own.final_indices, dom, told_apart=own.initial_indices) is not None:
            return True
        table = own.table(shape)
        return None if table is None else _different(table)

    def fills(self, shape: Sequence[Any]) -> bool | None:
        """Is every element of the new shape the place of an old one, where the map is injective?"""
        old = [constant_extent(_extent(extent)) for extent in shape]
        new = [constant_extent(extent) for extent in self.map_shape(shape)]
        if None not in old and None not in new:
            return prod(n for n in old if n is not None) == prod(n for n in new if n is not None)
        own = self._typed_for([_extent(extent) for extent in shape])
        found = own.inverted(shape, [Var(name, own._dtype()) for name in own.axis_names()])
        return True if found is not None and found.padding is None else None

    def table(self, shape: Sequence[Any]) -> Array | None:
        """The new indices of all points of a box, one column each; None for boxes that are too large or symbolic, and
        for operations that are not integer arithmetic."""
        sizes = [constant_extent(_extent(extent)) for extent in shape]
        known = [n for n in sizes if n is not None]
        if len(known) != len(sizes) or prod(known) > LARGEST_TABLE:
            return None
        grid = np.indices(known).reshape(len(known), -1)
        env = dict(zip(self.initial_indices, grid, strict=True))
        try:
            return np.array([np.broadcast_to(_evaluate(e, env), grid.shape[1]) for e in self.final_indices])
        except UnsupportedError:
            return None

    def is_equivalent_to(self, other_map: IndexMap) -> bool:
        """Are the new indices the same expressions, up to simplification?"""
        mine, others = self.initial_indices, other_map.initial_indices
        if len(mine) != len(others) or len(self.final_indices) != len(other_map.final_indices):
            return False
        mapped = other_map.map_indices(mine)
        own = self.map_indices(mine)
        return all(expr_key(simplify(a, {})) == expr_key(simplify(b, {})) for a, b in zip(own, mapped, strict=True))

    def _check_rank(self, indices: Sequence[Any]) -> None:
        if len(indices) != len(self.initial_indices):
            raise MlcrefError(f"{self!r} takes {len(self.initial_indices)} indices, not {len(indices)}")

    def _dtype(self) -> str:
        return self.initial_indices[0].type if self.initial_indices else "int32"

    def _typed_for(self, extents: Sequence[int | Expr]) -> IndexMap:
        self._check_rank(extents)
        dtypes = {extent.dtype for extent in extents if isinstance(extent, Expr) and not isinstance(extent, Const)}
        return self.as_type("int64") if "int64" in dtypes else self

    def as_lambda(self) -> str:
        """The map as a Python function, as TVM's traces write it."""
        names = ", ".join(v.name for v in self.initial_indices)
        values = "".join(f"{e!r}, " for e in self.final_indices)
        return f"lambda {names}: ({values.rstrip()})"

    def __repr__(self) -> str:
        return f"IndexMap({self.as_lambda()})"


def _parameter_names(function: Callable[..., Any], ndim: int | None) -> list[tuple[str, bool]]:
    """The index variables of a function, each with "is it a keyword?"."""
    kinds = inspect.Parameter
    plain: list[tuple[str, bool]] = []
    keyword: list[tuple[str, bool]] = []
    rest: str | None = None
    for name, parameter in inspect.signature(function).parameters.items():
        if parameter.kind in (kinds.POSITIONAL_ONLY, kinds.POSITIONAL_OR_KEYWORD):
            plain.append((name, False))
        elif parameter.kind is kinds.VAR_POSITIONAL:
            rest = name
        elif parameter.kind is kinds.KEYWORD_ONLY:
            keyword.append((name, True))
        else:
            raise MlcrefError("an index map takes no **keywords")
    if rest is not None:
        if ndim is None:
            raise MlcrefError("an index map with *args needs ndim")
        plain += [(f"{rest}_{n}", False) for n in range(ndim - len(plain) - len(keyword))]
    return plain + keyword


def _different(table: Array) -> bool:
    """Are all columns different?"""
    table = table - table.min(axis=1, initial=0, keepdims=True)
    sizes = [int(n) + 1 for n in table.max(axis=1, initial=0)]
    if prod(sizes) >= 1 << 62:
        return bool(np.unique(table, axis=1).shape[1] == table.shape[1])
    return len(np.unique(np.ravel_multi_index(tuple(table), tuple(sizes)))) == int(table.shape[1])


def _extent(extent: Any) -> int | Expr:
    """An extent as a domain takes it. Raises for a range that does not start at 0."""
    if isinstance(extent, Range):
        if not (isinstance(extent.min, Const) and int(extent.min.value) == 0):
            raise MlcrefError("an index map is inverted on ranges that start at 0")
        extent = extent.extent
    if isinstance(extent, Const):
        return int(extent.value)
    return extent if isinstance(extent, Expr) else int(extent)


def _new_extent(index: Expr, dom: Domain) -> Expr:
    values, whole = bounds(index, dom), _plain_bounds(index, dom)
    if values.lo is None or values.lo < 0:
        raise MlcrefError(f"the new index `{index!r}` may be negative", rule="index_map.bounds")
    hi = whole.hi if whole.hi is not None else values.hi
    if hi is not None:
        return const(hi + 1, index.dtype)
    known = dom.get(index) if isinstance(index, Var) else None
    if isinstance(known, Expr):
        return cast(index.dtype, known)
    raise MlcrefError(f"the new index `{index!r}` has no known bound", rule="index_map.bounds")


def _plain_bounds(e: Expr, dom: Domain) -> Interval:
    """An interval around the values of an expression as it is written; ``x % c`` has c values, as TVM counts."""
    if isinstance(e, Var):
        return interval_of(e, dom)
    if isinstance(e, Const):
        return Interval(int(e.value), int(e.value))
    if isinstance(e, Add | Sub | Mul | FloorDiv | FloorMod | Min | Max):
        return _of_operands(e, _plain_bounds(e.a, dom), _plain_bounds(e.b, dom))
    return bounds(e, dom) if e.dtype in INDEX_TYPES else EVERYTHING


def _of_operands(e: Binary, a: Interval, b: Interval) -> Interval:
    if isinstance(e, Add | Sub):
        return a + (b if isinstance(e, Add) else b.scale(-1))
    if isinstance(e, Min | Max):
        return a.minimum(b) if isinstance(e, Min) else a.maximum(b)
    if isinstance(e, Mul) and (a.single is not None or b.single is not None):
        return b.scale(a.single) if a.single is not None else a.scale(b.single or 0)
    if isinstance(e, FloorDiv | FloorMod) and b.single is not None and b.single > 0:
        return a.quotient(b.single) if isinstance(e, FloorDiv) else Interval(0, b.single - 1)
    return EVERYTHING


def _retyped(expr: Expr, dtype: str) -> Expr:
    """An expression over variables of ``dtype`` with constants of that type, without conversions between the two."""

    def exchange(node: Any) -> Any:
        if isinstance(node, Const) and node.type in INDEX_TYPES and node.type != dtype:
            return const(int(node.value), dtype)
        if isinstance(node, Cast) and node.type in INDEX_TYPES and node.value.dtype in INDEX_TYPES:
            return node.value
        return None

    return rewrite(exchange, expr)


_OPERATIONS: dict[Any, Callable[[Any, Any], Any]] = {
    Add: np.add, Sub: np.subtract, Mul: np.multiply, FloorDiv: np.floor_divide, FloorMod: np.mod, Min: np.minimum,
    Max: np.maximum, EQ: np.equal, NE: np.not_equal, LT: np.less, LE: np.less_equal, GT: np.greater,
    GE: np.greater_equal, And: np.logical_and, Or: np.logical_or,
    "bitwise_and": np.bitwise_and, "bitwise_or": np.bitwise_or, "bitwise_xor": np.bitwise_xor,
}  # fmt: skip


def _evaluate(e: Expr, env: Mapping[Var, Array]) -> Array:
    """The values of an integer expression at many points. Raises ``UnsupportedError`` for other expressions."""
    match e:
        case Var() if e in env:
            return env[e]
        case Const(value, _) if not isinstance(value, float):
            return np.int64(value)
        case Cast("int32" | "int64", value):
            return _evaluate(value, env)
        case Not(a):
            return np.logical_not(_evaluate(a, env))
        case Select(condition, a, b) | Call("if_then_else", (condition, a, b)):
            return np.where(_evaluate(condition, env), _evaluate(a, env), _evaluate(b, env))
        case Call(op, (a, b)) if op in _OPERATIONS:
            return _OPERATIONS[op](_evaluate(a, env), _evaluate(b, env))
        case FloorDiv(_, b) | FloorMod(_, b) if not (isinstance(b, Const) and int(b.value) > 0):
            raise UnsupportedError("a division by what is no positive number", rule="index_map.table")
        case Binary(a=a, b=b) if type(e) in _OPERATIONS:
            return _OPERATIONS[type(e)](_evaluate(a, env), _evaluate(b, env))
    raise UnsupportedError(f"{type(e).__name__} in an index map", rule="index_map.table")
