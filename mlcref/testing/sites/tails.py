"""Sites of the pass that partitions tails: loops over guarded vectors and elements."""

from __future__ import annotations

from mlcref.ir import (
    LT, NE, Expr, For, IfThenElse, PrimFunc, Stmt, Var, conjunction, const, seq, store,
)  # fmt: skip
from mlcref.testing.sites.parts import DTYPES, Pick, buffer, flat_program


def guarded(pick: Pick) -> PrimFunc:
    """Two loops, from anywhere on, over elements that some conditions leave out: tails, heads, holes and periods."""
    dtype = pick(DTYPES)
    outer, width, low = pick([3, 2, 4, 5]), pick([4, 2, 3, 8]), pick([0, 0, 1, 2])
    size = (low + outer) * width
    given, out = buffer("A", (size,), dtype), buffer("B", (size,), dtype)
    i, j = Var("i"), Var("j")
    place = i * width + j
    conditions: list[Expr] = [_condition(pick, i, j, place, low, outer, width) for _ in range(pick([1, 1, 2]))]
    body: Stmt = IfThenElse(conjunction(conditions), store(out, given[place] * 2, (place,)))
    if pick([False, False, True]):
        body = seq(body, store(out, out[place] + given[place], (place,)))
    inner = For(j, const(0), const(width), pick(["vectorized", "vectorized", "serial", "unrolled"]), body)
    loops: Stmt = For(i, const(low), const(outer), "serial", inner)
    if pick([False, True]):
        j_alone = Var("j")
        rest = store(out, given[j_alone], (j_alone,))
        inside = IfThenElse(_alone(pick, j_alone, low, outer), rest)
        loops = seq(loops, For(j_alone, const(low), const(outer), "vectorized", inside))
    every = Var("e")
    start = For(every, const(0), const(size), "serial", store(out, given[every] + 1, (every,)))
    return flat_program((given, out), seq(start, loops))


def _condition(pick: Pick, i: Var, j: Var, place: Expr, low: int, outer: int, width: int) -> Expr:
    first, last = low * width, (low + outer) * width
    kind = pick(["tail", "tail", "tail of the loop", "head", "hole", "period", "lanes"])
    if kind == "tail":
        return LT(place, const(pick(range(first + 1, last))))
    if kind == "tail of the loop":
        return LT(i, const(pick(range(low + 1, low + outer))))
    if kind == "head":
        return LT(const(pick(range(first, last - 1))), place)
    if kind == "hole":
        return NE(i, const(pick(range(low, low + outer))))
    return LT(place % 3, const(2)) if kind == "period" else LT(j, const(pick(range(1, width))))


def _alone(pick: Pick, var: Var, low: int, extent: int) -> Expr:
    """A condition on one variable: an end, a hole, a period."""
    kind = pick(["tail", "hole", "period"])
    if kind == "tail":
        return LT(var, const(pick(range(low + 1, low + extent))))
    return NE(var, const(pick(range(low, low + extent)))) if kind == "hole" else LT(var % 3, const(2))


SITES = {"pass:partition_tails": (guarded,)}
