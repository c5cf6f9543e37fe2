"""Sites of vectors whose lanes are neighbours in memory but not in one dimension: loops that count elements of several
rows, where the rows of what is read are as long, or are not, or are read from another place on; and tiles of rows that
lie in one dimension.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from mlcref.ir import Attrs, Buffer, Expr, PrimFunc, Var, call, const, loop, store

Pick = Callable[..., Any]


def through_rows(pick: Pick) -> PrimFunc:
    """``C[o, …] = A[o, …] + B[…]`` over some of the elements of each ``o``, counted through the rows."""
    dtype, rows, width = pick(["float32", "int32", "float64"]), pick([3, 4, 6]), pick([5, 7, 3, 8])
    first, o, i = pick([0, 1, width]), Var("o", "int32"), Var("i", "int32")
    extent = pick([rows * width, 2 * width, width + 1]) - first
    place: Expr = i + first
    digits = place // width, place % width
    source = Buffer("A", (const(2), const(rows), const(width)), dtype)
    other = Buffer("B", (const(rows * 2), const(width + pick([0, 0, 1]))), dtype)
    target = Buffer("C", (const(2), const(rows), const(width)), dtype)
    row, column = digits
    row, column = pick([(row, column), (row, width - 1 - column), (row + rows, column), (row * 2, column)])
    value = source[o, digits[0], digits[1]] + other[row, column]
    body = loop(o, 2, loop(i, extent, store(target, value, [o, *digits]), "vectorized"))
    return PrimFunc((source, other, target), body, Attrs({"global_symbol": "main", "tir.noalias": True}))


def rows_of_one_dimension(pick: Pick) -> PrimFunc:
    """Tiles between a dimension that holds groups of elements one after the other, or one into the other, and two that
    have place and group apart; some of the elements may be zeros instead."""
    dtype, apart, groups = pick(["float32", "int32"]), pick([4, 4, 6, 3, 3]), pick([4, 8])
    o, t, g, i = (Var(name, "int32") for name in "otgi")
    group = t * 4 + g
    together = Buffer("A", (const(2), const(groups * apart + 4)), dtype)
    split = Buffer("B", (const(2), const(4), const(groups)), dtype)
    source, target = together[o, group * apart + i], (split, [o, i, group])
    if pick([False, True]):
        source, target = split[o, i, group], (together, [o, group * apart + i])
    zero, condition = const(0, dtype), pick([None, o >= 1, o >= 1, group >= 2, i >= 1])
    pair = pick([(source, zero), (zero, source)])
    value = source if condition is None else call("if_then_else", condition, *pair)
    outer, lanes = pick([(g, i), (i, g)])
    inner = loop(outer, 4, loop(lanes, 4, store(target[0], value, target[1]), "vectorized"))
    buffers = (together, split) if target[0] is split else (split, together)
    body = loop(o, 2, loop(t, groups // 4, inner))
    return PrimFunc(buffers, body, Attrs({"global_symbol": "main", "tir.noalias": True}))


SITES: dict[str, tuple[Callable[[Pick], PrimFunc], ...]] = {"pass:vectorize": (through_rows, rows_of_one_dimension)}
