"""Sites of the passes that move, simplify and unroll: starts of reductions, conditions, loops with any start."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from mlcref.arith import access_regions
from mlcref.ir import (
    EQ, NE, Attrs, BlockRealize, Break, Buffer, BufferStore, Continue, Expr, For, IfThenElse, IterVar, Max, Min,
    PrimFunc, Range, Select, Stmt, Var, as_expr, binary, cast, conjunction, const, make_block, seq,
)  # fmt: skip

Pick = Callable[..., Any]
Loop = tuple[Var, int, Any]
"""A loop's variable, its first value and its extent, a number or an expression."""

_DEPTH = 8
"""No loop over a dimension of this size comes to its end."""
_TYPES = ("float32", "int32", "float64", "int8", "int64", "uint8")


def _function(params: Sequence[Buffer], body: Stmt) -> PrimFunc:
    return PrimFunc(tuple(params), body, Attrs({"global_symbol": "main", "tir.noalias": True}))


def _around(loops: Sequence[Loop], body: Stmt, kind: str = "serial") -> Stmt:
    for var, low, extent in reversed(loops):
        body = For(var, const(low, var.type), as_expr(extent, var.type), kind, body)
    return body


def _compared(pick: Pick, a: Expr, b: Expr | int) -> Expr:
    made: Expr = pick([a < b, a >= b, a <= b, a > b])
    return made


def _leaving(pick: Pick, body: Stmt, condition: Callable[[], Expr]) -> Stmt:
    """``body``, now and then with the end of its loop, or of an iteration, before or after it."""
    if pick([True] * 5 + [False]):
        return body
    leaves = IfThenElse(condition(), pick([Break, Continue])())
    return seq(*pick([(leaves, body), (body, leaves)]))


# ---- starts and conditions in loops over vectors


class _VectorParts:
    """Statements over the lanes of a row, in the loops of a reduction: starts, updates and copies, with conditions."""

    def __init__(self, pick: Pick, row: Var, loops: Sequence[Loop]) -> None:
        self.pick, self.row, self.loops = pick, row, loops
        self.rows, self.width, dtype = 4, pick([4, 2, 3, 8, 6]), pick(_TYPES[:4])
        self.source = Buffer("A", (const(_DEPTH), const(self.width)), dtype)
        self.first = Buffer("D", (const(self.rows), const(self.width)), dtype)
        self.flags = Buffer("F", (const(self.rows),), "int32")
        self.halves = Buffer("B", (const(self.rows), const(2 * self.width)), dtype)
        self.other = Buffer("C", (const(self.rows), const(self.width)), dtype)
        self.shifts = pick([[0], [0, 0, self.width]])
        self.params = (self.source, self.first, self.flags, self.halves, self.other)

    def body(self) -> Stmt:
        """A start and its update, one update with a guard, or statements of any kind."""
        kind = self.pick(["reduction", "reduction", "reduction", "guarded", "guarded", "any"])
        if kind == "guarded":
            return self.statement([self.guard() for _ in range(self.pick([2, 1, 3]))])
        if kind == "any":
            return seq(*(self.statement() for _ in range(self.pick([2, 1, 3]))))
        first = [self.statement(self.started(), "start"), self.statement([], "update")]
        return seq(*first, *(self.statement() for _ in range(self.pick([0, 1]))))

    def statement(self, conditions: list[Expr] | None = None, kind: str = "") -> Stmt:
        """One loop over vectors under some conditions, which are outside of it or inside."""
        conditions = self.conditions() if conditions is None else conditions
        inside, others = self.pick([False, False, True]), not kind and self.pick([False, False, False, True])
        if inside and conditions:
            lane = Var("j")
            other = self.store(lane) if others else None
            return self.vector(lane, IfThenElse(conjunction(conditions), self.store(lane, kind), other))
        then, after = [self.vector(lane, self.store(lane, kind)) for lane in (Var("j"), Var("j"))]
        if self.pick([False] * 5 + [True]):
            then = seq(then, BufferStore(self.flags, 1 - self.flags[self.row], (self.row,)))
            conditions = [*conditions, self.flags[self.row] > 0]  # varies, though no variable in it does
        return IfThenElse(conjunction(conditions), then, after if others else None) if conditions else then

    def vector(self, lane: Var, body: Stmt) -> Stmt:
        """The loop over the lanes."""
        return For(lane, const(0), const(self.width), "vectorized", body)

    def store(self, lane: Var, kind: str = "") -> Stmt:
        """A start, an update or a copy of one element; updates depend on the order they come in."""
        shift = self.pick(self.shifts)
        half, other = (self.row, lane + shift if shift else lane), (self.row, lane)
        step = self.source[self.pick(self.loops)[0], lane]
        kind = kind or self.pick(["update", "start", "copy", "update other"])
        if kind == "update":
            return BufferStore(self.halves, self.halves[half] * 2 + step, half)
        if kind == "start":
            value = self.pick([const(1, step.dtype), self.first[other]])
            return BufferStore(self.halves, value, half)
        if kind == "copy":
            return BufferStore(self.other, self.halves[half], other)
        return BufferStore(self.other, self.other[other] * 2 + self.halves[half], other)

    def started(self) -> list[Expr]:
        """True in the first iteration of all loops, or in a later one of the last."""
        held = [EQ(var, const(low)) for var, low, _ in self.loops]
        if self.pick([False, False, False, True]):
            var, low, _ = self.loops[-1]
            held[-1] = EQ(var, const(low + self.pick([1, 2])))
        return [*held, *(self.condition() for _ in range(self.pick([0, 0, 0, 1])))]

    def conditions(self) -> list[Expr]:
        """Those of a start, those of a guard, any, or none."""
        kind = self.pick(["start", "none", "guard", "any"])
        if kind == "start":
            return self.started()
        if kind == "guard":
            return [self.guard() for _ in range(self.pick([1, 2]))]
        return [self.condition() for _ in range(self.pick([1, 2, 3]))] if kind == "any" else []

    def condition(self) -> Expr:
        """One that holds at one value of a loop, in some of them, or in all."""
        var, low, _ = self.pick([self.loops[-1], self.pick(self.loops)])
        kind = self.pick(["at", "below", "both", "row", "flag"])
        if kind == "at":
            return EQ(var, const(low + self.pick([0, 1, 2])))
        if kind == "below":
            return _compared(self.pick, var, low + self.pick([1, 2]))
        if kind == "both":
            return _compared(self.pick, var + self.row, low + self.pick([1, 2, 3]))
        return self.unvarying() if kind == "row" else self.flags[self.row] > 0

    def guard(self) -> Expr:
        """A condition on the row, which no loop of the reduction changes, or now and then any."""
        return self.unvarying() if self.pick([True] * 5 + [False]) else self.condition()

    def unvarying(self) -> Expr:
        """A condition on the row."""
        return _compared(self.pick, self.row, self.pick([1, 2, 3]))


def vector_reduction(pick: Pick) -> PrimFunc:
    """Starts, updates and copies of rows of vectors in the loops of a reduction, in any order, with conditions that do
    and do not vary, that hold in the first iteration and in others; the loops start anywhere and may be empty."""
    row = Var("i")
    extents = [2, 3, 2, 3, 4, 2, 3, 1, row, row + 1]
    loops = [(Var(name), pick([0, 0, 1, 2]), pick(extents)) for name in pick([["k"], ["k0", "k1"]])]
    parts = _VectorParts(pick, row, loops)
    body = parts.body()
    for n in reversed(range(len(loops))):
        body = _around([loops[n]], _leaving(pick, body, parts.condition))
        parts.loops = loops[:n]
        if n and pick([False, False, True]):
            body = seq(*([parts.statement(), body] if pick([True, False]) else [body, parts.statement()]))
    return _function(parts.params, _around([(row, 0, parts.rows - pick([0, 1]))], body))


# ---- conditions on sums of loops


def conditions_on_sums(pick: Pick) -> PrimFunc:
    """Starts under ``k0 * 4 + k1 == c`` and the like: sums of loops, quotients and remainders, compared with their
    least value and with others; the loops start anywhere."""
    loops = [(Var(name), pick([0, 0, 1, 2]), pick([2, 3, 4, 1])) for name in pick(["ik", "ikm"])]
    row, depth = loops[0][0], loops[-1][0]
    source, out = Buffer("A", (const(_DEPTH), const(_DEPTH)), "int32"), Buffer("B", (const(_DEPTH),), "int32")
    parts: list[Stmt] = []
    for _ in range(pick([1, 2])):
        start = BufferStore(out, source[0, row], (row,))
        other = BufferStore(out, out[row] + 1, (row,)) if pick([False, False, False, True]) else None
        parts.append(IfThenElse(conjunction([_on_a_sum(pick, loops) for _ in range(pick([1, 1, 2]))]), start, other))
    parts.insert(pick(range(len(parts) + 1)), BufferStore(out, out[row] * 2 + source[depth, row], (row,)))
    body = _leaving(pick, seq(*parts), lambda: _on_a_sum(pick, loops))
    return _function((source, out), _around(loops, body))


def _on_a_sum(pick: Pick, loops: Sequence[tuple[Var, int, int]]) -> Expr:
    """A sum of some terms, compared with a number that is near its least value."""
    least = pick([0, 0, 1])
    total: Expr = const(least)
    for var, low, extent in pick([loops, loops[-2:], [*loops, loops[0]]]):
        factor, form = pick([1, 2, 4, 1, -1]), _term(pick)
        total = total + form(var) * factor
        least += min(factor * form(value) for value in range(low, low + extent))
    bound = const(least + pick([0, 0, 1, 2]))
    compared: Expr = pick([EQ(total, bound), EQ(total, bound), NE(total, bound), total <= bound, total < bound])
    return compared


def _term(pick: Pick) -> Callable[[Any], Any]:
    """What a loop adds to a sum: its variable, or a quotient or remainder of it."""
    shift, divisor = pick([0, 0, 1]), pick([2, 3])
    form: Callable[[Any], Any] = pick([
        lambda x: x, lambda x: x, lambda x: (x + shift) // divisor, lambda x: (x + shift) % divisor,
    ])  # fmt: skip
    return form


# ---- unrolled loops


def unrolled_loops(pick: Pick) -> PrimFunc:
    """Updates in unrolled loops that start anywhere and whose extents are constants, sizes of the arguments, numbers
    that depend on the loops around, or loaded."""
    n, row, step = Var("n"), Var("i"), Var("k")
    dtype, rows = pick(_TYPES[:4]), pick([2, 3, 4, 1])
    source, sized = Buffer("A", (const(_DEPTH),), dtype), Buffer("S", (n,), dtype)
    counts, out = Buffer("F", (const(rows),), "int32"), Buffer("B", (const(rows),), dtype)
    low = pick([0, 0, 1, 2])
    extents = [const(pick([2, 3, 4, 5])), row + 1, n, row, const(rows) - row, (row + 1) // 2,
               Min(Max(counts[row], const(0)), const(4)), Min(n, const(4))]  # fmt: skip
    extent = pick(extents)
    read = sized[step - low if low else step] if extent is n else source[step]
    body: Stmt = BufferStore(out, out[row] * 2 + read, (row,))
    if pick([False, False, True]):
        body = IfThenElse(_compared(pick, step, low + pick([1, 2])), body)
    if pick([False, False, True]):
        body = seq(body, BufferStore(out, out[row] + 1, (row,)))
    if pick([False, False, True]):
        body = _around([(Var("m"), pick([0, 1]), pick([2, step, 0]))], body, pick(["serial", "unrolled"]))
    body = _leaving(pick, body, lambda: _compared(pick, step, low + pick([1, 2])))
    body = _around([(step, low, extent)], body, pick(["unrolled", "unrolled", "serial"]))
    return _function((source, sized, counts, out), _around([(row, 0, rows)], body, pick(["serial", "unrolled"])))


# ---- vectors


_EXTENTS = (4, 2, 3, 5, 6, 7, 12, 17, 20, 24, 33)
"""Of vectorized loops: whole vectors, several, with tails of several pieces."""


class _Lanes:
    """Statements over the lanes of a vectorized loop: what they store where, and which lanes do."""

    def __init__(self, pick: Pick) -> None:
        self.pick, index = pick, pick(["int32"] * 4 + ["int64"])
        self.row, self.lane = Var("i", index), Var("j", index)
        self.rows, self.low, self.extent = pick([2, 3, 1]), pick([0, 0, 0, 1, 2]), pick(_EXTENTS)
        self.size, self.type = 2 * (self.low + self.extent) + 3, pick(_TYPES)
        shape = (const(self.rows, index), const(self.size, index))
        self.source, self.out = Buffer("A", shape, self.type), Buffer("B", shape, self.type)
        self.flags = Buffer("F", (const(self.rows, index),), "int32")
        self.place = self.at()

    def function(self) -> PrimFunc:
        """The statements in their loop, and that in one over the rows."""
        body = seq(*(self.guarded() for _ in range(self.pick([1, 1, 2]))))
        if self.pick([False] * 5 + [True]):
            body = _around([(Var("k"), 0, self.pick([2, 1]))], body)
        kind = self.pick(["vectorized", "vectorized", "vectorized", "serial"])
        body = _around([(self.lane, self.low, self.extent)], body, kind)
        return _function((self.source, self.flags, self.out), _around([(self.row, 0, self.rows)], body))

    def at(self) -> tuple[Expr, Expr]:
        """Where a lane is: neighbours, every second element, or from the end to the start."""
        stride = self.pick([1, 1, 1, 2, -1])
        first = self.size - 1 if stride < 0 else self.pick([0, 0, 1])
        return self.row, self.lane * stride + first

    def guarded(self) -> Stmt:
        """A store that some of the lanes, all or none of them do."""
        conditions = [self.condition() for _ in range(self.pick([1, 0, 1, 2]))]
        if not conditions:
            return self.store()
        other = self.store() if self.pick([False] * 4 + [True]) else None
        return IfThenElse(conjunction(conditions), self.store(), other)

    def condition(self) -> Expr:
        """A condition on the lane, on the row, or on both."""
        bound = self.low + self.pick(range(self.extent + 1))
        kind = self.pick(["lane", "both", "row", "one", "flag"])
        if kind == "lane":
            return _compared(self.pick, self.lane, bound)
        if kind == "both":
            return _compared(self.pick, self.row * self.pick([1, 2, self.extent]) + self.lane, bound)
        if kind == "one":
            return EQ(self.lane, const(bound, self.lane.type))
        return _compared(self.pick, self.row, 1) if kind == "row" else self.flags[self.row] > 0

    def store(self) -> Stmt:
        """To a lane's element, from the number of the lane and what is there or in the other buffer."""
        old, new, number = self.out[self.place], self.source[self.at()], cast(self.type, self.lane)
        value = self.pick([
            number, new, new + number, old * 2 + number, binary(Max, new, number), number * 3 - old, old * 2 + new,
            self.source[self.row, 0] + number, Select(new < old, number, old),
        ])  # fmt: skip
        return BufferStore(self.out, value, self.place)


def vectorized_loops(pick: Pick) -> PrimFunc:
    """Loops over vectors with tails, that start anywhere, with guards that some lanes fail, and values that depend on
    the number of the lane."""
    return _Lanes(pick).function()


# ---- blocks whose iterators say little about their loops


def bound_blocks(pick: Pick) -> PrimFunc:
    """A block whose iterators are any function of its two loops: some tell all iterations apart, others give one
    element to several iterations."""
    loops = [(Var("i"), pick([2, 3, 4, 1])), (Var("j"), pick([2, 3, 4, 6]))]
    forms = [_binding(pick) for _ in range(pick([1, 1, 1, 2]))]
    points = [(x, y) for x in range(loops[0][1]) for y in range(loops[1][1])]
    extents = [const(1 + max(form(*point) for point in points)) for form in forms]
    iters = [Var(f"v{n}") for n in range(len(forms))]
    source, out = Buffer("A", tuple(extents), "int32"), Buffer("B", tuple(extents), "int32")
    stmt = BufferStore(out, source[tuple(iters)] * 2 + pick([1, iters[0]]), tuple(iters))
    reads, writes = access_regions(stmt, None, dict(zip(iters, extents, strict=True)))
    items = [IterVar(v, Range(const(0), n), "spatial") for v, n in zip(iters, extents, strict=True)]
    block = make_block("B", stmt, iter_vars=items, reads=reads, writes=writes)
    i, j = (var for var, _ in loops)
    where = pick([(), (), (), (i + j < pick([2, 3, 4]),)])
    nest: Stmt = BlockRealize(tuple([as_expr(form(i, j)) for form in forms]), where, block)
    nest = _around([(var, 0, extent) for var, extent in loops], nest)
    return _function((source, out), BlockRealize((), (), make_block("root", nest)))


def _binding(pick: Pick) -> Callable[[Any, Any], Any]:
    """The value of an iterator, from two loops: affine or not, of numbers as well as of expressions."""
    factor, bound = pick([1, 2, 3]), pick([2, 3])
    form = pick([
        lambda x, y: y, lambda x, y: x * factor + y, lambda x, y: x * y,
        lambda x, y: (x * factor + y) // bound, lambda x, y: (x + y * factor) % bound,
        lambda x, y: _least(y, bound - 1) * factor, lambda x, y: _least(x * factor + y, bound),
        lambda x, y: y // 2 + y % 2 + x,
    ])  # fmt: skip
    return form if pick([True, False]) else lambda x, y: form(y, x)


def _least(value: Any, bound: int) -> Any:
    return min(value, bound) if isinstance(value, int) else Min(value, const(bound))


SITES: dict[str, tuple[Callable[[Pick], PrimFunc], ...]] = {
    "pass:simplify": (conditions_on_sums, conditions_on_sums, vector_reduction),
    "pass:vectorize": (vectorized_loops,),
    "pass:unroll": (unrolled_loops,),
    "pass:simplify_indices": (conditions_on_sums, vector_reduction, vectorized_loops),
    "pass:hoist_conditions": (vector_reduction,),
    "primitive:vectorize": (bound_blocks,),
}
