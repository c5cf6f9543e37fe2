"""Sites of vectors that reach from one row of a buffer into the next ones: the loop counts elements of several rows,
and the rows of what is read are as long, or are not, or are read from another place on.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from mlcref.ir import Attrs, Buffer, Expr, PrimFunc, Var, const, loop, store

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


SITES: dict[str, tuple[Callable[[Pick], PrimFunc], ...]] = {"pass:vectorize": (through_rows,)}
