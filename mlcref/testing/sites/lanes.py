"""Sites of the pass that makes vectors: values of many forms in the lanes of one loop, and copies of tiles.

A value is built of loads (of the lane's own element, of a neighbour inside its bounds, of one that all lanes share),
arithmetic, calls of intrinsics, conversions, and choices: by data, by the place, by what is the same in all lanes; of
values that any lane may compute and of values that only some may.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from mlcref import dtype as dt
from mlcref.ir import (
    EQ, And, Attrs, Buffer, Cast, Expr, FloorMod, IfThenElse, Max, Min, Not, Or, PrimFunc, Select, Stmt, Var, call,
    conjunction, const, loop, seq, store,
)  # fmt: skip

Pick = Callable[..., Any]

DTYPES = ("float32", "int32", "float64", "int8", "int64")
_ROWS = 2
_UNARY = {
    True: ("abs", "floor", "sqrt", "exp", "tanh", "sigmoid", "erf", "rsqrt", "log", "exp2", "log2", "trunc", "sin"),
    False: ("abs", "bitwise_not"),
}
_BINARY = {True: ("copysign",), False: ("bitwise_and", "bitwise_or", "bitwise_xor")}
_DEPTH = 3


@dataclass(frozen=True)
class _Lane:
    """The loops and buffers that values are made of: ``extent`` iterations of ``i`` in each of ``o``."""

    pick: Pick
    dtype: str
    extent: int
    o: Var
    i: Var
    whole: Buffer
    row: Buffer

    @property
    def floating(self) -> bool:
        return dt.is_float(self.dtype)


def lanes(pick: Pick) -> PrimFunc:
    """A vectorized loop that stores one or two such values, in rows of a buffer of its own."""
    dtype, extent = pick(DTYPES), pick([8, 5, 16, 3, 20, 37])
    o, i = Var("o", "int32"), Var("i", "int32")
    whole = Buffer("A", (const(_ROWS), const(extent)), dtype)
    row = Buffer("B", (const(extent),), dtype)
    outputs = [Buffer(name, (const(_ROWS), const(extent)), dtype) for name in pick(["C", "C", "CD"])]
    lane = _Lane(pick, dtype, extent, o, i, whole, row)
    stores: list[Stmt] = [store(out, _value(lane, _DEPTH), [o, i]) for out in outputs]
    body = loop(o, _ROWS, loop(i, extent, seq(*stores), "vectorized"))
    attrs = Attrs({"global_symbol": "main", "tir.noalias": pick([True, True, False])})
    return PrimFunc((whole, row, *outputs), body, attrs)


def _value(f: _Lane, depth: int) -> Expr:
    if depth == 0 or f.pick([False] * 5 + [True]):
        return _leaf(f)
    made: Expr = f.pick([_arithmetic, _call, _choice, _guarded, _converted])(f, depth - 1)
    return made


def _leaf(f: _Lane) -> Expr:
    own, other = f.whole[f.o, f.i], f.row[f.i]
    shared, number = f.row[f.o], Cast(f.dtype, f.i + f.o)
    leaf: Expr = f.pick([own, other, shared, const(f.pick([0, 1, 3]), f.dtype), number, f.row[f.extent - 1 - f.i]])
    return leaf


def _arithmetic(f: _Lane, depth: int) -> Expr:
    a, b = _value(f, depth), _value(f, depth)
    made: Expr = f.pick([a + b, a - b, a * b, Max(a, b), Min(a, b)])
    return made


def _call(f: _Lane, depth: int) -> Expr:
    if f.pick([False, False, True]):
        return call(f.pick(_BINARY[f.floating]), _value(f, depth), _value(f, depth))
    return call(f.pick(_UNARY[f.floating]), _value(f, depth))


def _choice(f: _Lane, depth: int) -> Expr:
    condition, yes, no = _condition(f, depth, 2), _value(f, depth), _value(f, depth)
    return Select(condition, yes, no) if f.pick([True, False]) else call("if_then_else", condition, yes, no)


def _condition(f: _Lane, depth: int, terms: int) -> Expr:
    a, b = _value(f, max(depth - 1, 0)), _value(f, 0)
    simple = [a < b, a >= b, f.i < f.pick([2, 4, f.extent]), f.o < 1, EQ(FloorMod(f.i, const(2)), const(0))]
    chosen: Expr = f.pick(simple)
    if not terms:
        return chosen
    more = _condition(f, depth, terms - 1)
    made: Expr = f.pick([chosen, And(chosen, more), Or(chosen, more), Not(more)])
    return made


def _guarded(f: _Lane, depth: int) -> Expr:
    """A neighbour's element where there is one."""
    distance = f.pick([1, -1, 3, -2])
    at, end = f.i + distance, f.extent
    inside = [at >= 0] if distance < 0 else [at < end]
    condition = conjunction((*inside, *f.pick([[], [f.o < 1], [at >= 0, at < end]])))
    return call("if_then_else", condition, f.pick([f.row[at], f.whole[f.o, at] + f.row[at]]), _value(f, depth))


def _converted(f: _Lane, depth: int) -> Expr:
    """To another type and back, or a truth value as a number."""
    if f.pick([False, True]):
        return Cast(f.dtype, _condition(f, depth, 1))
    value, limit = _value(f, depth), const(100, f.dtype)
    other = f.pick(["int32", "int64", "int8"] if f.floating else ["float64", "int8", "int64"])
    return Cast(f.dtype, Cast(other, Max(Min(value, limit), const(-100, f.dtype))))


def tiles(pick: Pick) -> PrimFunc:
    """Copies of tiles: with rows and columns exchanged or not, whole or cut off, of neighbours or not."""
    rows, columns = pick([8, 8, 5, 11]), pick([8, 4, 12, 7])
    return _copies(pick, rows, columns, *pick([(4, 4), (4, 4), (4, 4), (8, 8), (2, 4)]))


def rectangles(pick: Pick) -> PrimFunc:
    """Copies of whole rectangles that are no tile, but have some in them."""
    n, m = pick([4, 5, 6, 7, 9, 12]), pick([4, 5, 7, 8, 11])
    return _copies(pick, n * pick([1, 2]), m * pick([1, 2]), n, m)


def _copies(pick: Pick, rows: int, columns: int, n: int, m: int) -> PrimFunc:
    dtype = pick(DTYPES)
    i, j, x, y = (Var(name, "int32") for name in "ijxy")
    step, places = pick([1] * 5 + [2]), pick(["exchanged"] * 6 + ["same", "diagonal"])
    source = Buffer("A", (const(rows), const(columns * step)), dtype)
    target = Buffer("C", {
        "exchanged": (const(columns), const(rows)), "same": (const(rows), const(columns)),
        "diagonal": (const(2), const(rows + columns)),
    }[places], dtype)  # fmt: skip
    row, column = i * n + x, j * m + y
    at = {"exchanged": [column, row], "same": [row, column], "diagonal": [const(0), row + column]}[places]
    copy: Stmt = store(target, source[row, column * step], at)
    guards = [row < rows] * (rows % n > 0) + [column < columns] * (columns % m > 0)
    copy = IfThenElse(conjunction(tuple(guards)), copy) if guards else copy
    vectors = "vectorized" if places != "diagonal" else "serial"
    kinds = pick([("serial", vectors), (vectors, "serial"), ("unrolled", vectors)])
    inner = [(x, n, kinds[0]), (y, m, kinds[1])]
    for var, extent, kind in pick([inner, inner[::-1]])[::-1]:
        copy = loop(var, extent, copy, kind)
    body = loop(i, -(-rows // n), loop(j, -(-columns // m), copy))
    return PrimFunc((source, target), body, Attrs({"global_symbol": "main", "tir.noalias": pick([True] * 4 + [False])}))


SITES: dict[str, tuple[Callable[[Pick], PrimFunc], ...]] = {"pass:vectorize": (lanes, lanes, tiles, rectangles)}
