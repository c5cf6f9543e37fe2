"""Sites of the passes that place memory: allocations above loops and blocks that carry values on or do not, regions
under other names, pointers."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from mlcref.ir import (
    EQ, AllocBuffer, Buffer, DeclBuffer, Expr, For, IfThenElse, Max, Or, PrimFunc, Stmt, Var, binary, call,
    conjunction, const, replace, seq, store,
)  # fmt: skip
from mlcref.testing.sites.matches import matched
from mlcref.testing.sites.ordered import continued
from mlcref.testing.sites.parts import DTYPES, Pick, buffer, flat_program, nested
from mlcref.testing.sites.pointers import called


# ---- allocations above loops


def neighbours(pick: Pick) -> PrimFunc:
    """Each iteration fills a row of a buffer, and reads it and a row that may be one of an iteration before."""
    return _rows(pick, second_name=False)


def second_names(pick: Pick) -> PrimFunc:
    """The same, where some accesses use another name of the buffer."""
    return _rows(pick, second_name=True)


def _rows(pick: Pick, second_name: bool) -> PrimFunc:
    dtype, count, width = pick(DTYPES), pick([3, 2, 4]), pick([1, 2, 3])
    given, kept, out = (buffer(name, (count, width), dtype) for name in "AXB")
    turned = pick([False, True])
    i, j, k = Var("i"), Var("j"), Var("k")

    def row(iteration: Expr) -> Expr:
        return count - 1 - iteration if turned else iteration

    name, other = _second_name(pick, kept) if second_name else (kept, tuple)

    def through(indices: Sequence[Expr]) -> tuple[Buffer, Sequence[Expr]]:
        return (name, other(indices)) if pick([False, True]) else (kept, indices)

    target, at = through((row(i), j))
    own, here = through((row(i), k))
    before = pick(["own", "guarded", "clamped", "first", "half", "pair"])
    value = own[tuple(here)] + _before(before, i, lambda n: through((row(n), k)))
    fill, use = store(target, given[i, j] * 2, at), store(out, value, (i, k))
    body = seq(nested([(j, width)], fill), nested([(k, width)], use))
    around = second_name and pick([False, False, True])
    if second_name and not around:
        body = DeclBuffer(name, kept, body)
    body = For(i, const(0), const(count), pick(["serial", "serial", "unrolled"]), body)
    return flat_program((given, out), AllocBuffer(kept, DeclBuffer(name, kept, body) if around else body))


def _second_name(pick: Pick, kept: Buffer) -> tuple[Buffer, Callable[[Sequence[Expr]], Sequence[Expr]]]:
    """Another name of a matrix, and the indices there of an element of it."""
    rows, width = kept.shape
    kind = pick(["same", "flat", "transposed"])
    if kind == "flat":
        return replace(kept, name="V", shape=(rows * width,)), lambda at: (at[0] * width + at[1],)
    if kind == "transposed":
        return replace(kept, name="V", shape=(width, rows), strides=(const(1), width)), lambda at: (at[1], at[0])
    return replace(kept, name="V"), tuple


def _before(kind: str, i: Var, element: Callable[[Expr], tuple[Buffer, Sequence[Expr]]]) -> Expr:
    """The element of this iteration or of one before it."""
    if kind == "guarded":
        read, at = element(i - 1)
        return call("if_then_else", i > 0, read[tuple(at)], const(0, read.type))
    numbers = {
        "own": i, "clamped": binary(Max, i - 1, 0), "first": const(0), "half": i // 2, "pair": i - i % 2,
    }  # fmt: skip
    read, at = element(numbers[kind])
    return read[tuple(at)]


def windows(pick: Pick) -> PrimFunc:
    """Each iteration reads a window and fills all of it, or what the iterations before have left out; now and then
    the windows come twice, the second time as they are."""
    dtype, count = pick(DTYPES), pick([2, 3, 4])
    step, width, turned, columns = pick([1, 2, 3]), pick([1, 2, 3]), pick([False, True]), pick([1, 1, 2])
    size = step * (count - 1) + width
    given, kept = buffer("A", (size, columns), dtype), buffer("X", (size, columns), dtype)
    times = pick([1, 1, 2])
    out = buffer("B", (times, count, width, columns), dtype)
    t, i, j, k, c, d = (Var(name) for name in "tijkcd")
    turn = [t] if times > 1 else []
    start = step * (count - 1 - i) if turned else step * i
    fill: Stmt = store(kept, given[start + j, c] + const(1, dtype), (start + j, c))
    conditions: list[Expr] = [EQ(t, const(0)) for t in turn if pick([False, True])]
    if width > step and pick([False, True, True]):
        conditions.append(Or(EQ(i, const(0)), j < step if turned else j >= width - step))
    if conditions:
        fill = IfThenElse(conjunction(conditions), fill)
    read = store(out, kept[start + k, d] * 2, (turn[0] if turn else const(0), i, k, d))
    body = seq(nested([(j, width), (c, columns)], fill), nested([(k, width), (d, columns)], read))
    return flat_program((given, out), AllocBuffer(kept, nested([*[(t, times) for t in turn], (i, count)], body)))


def totals(pick: Pick) -> PrimFunc:
    """A buffer over some loops of a nest keeps a running total over the others, from their first iteration on."""
    dtype, extents = pick(DTYPES), [pick([2, 3]) for _ in range(pick([2, 1, 3]))]
    loops = [Var(name) for name in "ijk"[: len(extents)]]
    given, out = buffer("A", extents, dtype), buffer("B", extents, dtype)
    own = [n for n in range(len(loops)) if pick([True, False])]
    own = own[::-1] if pick([False, True]) else own
    stride = pick([1, 1, 2])
    kept = buffer("X", [(extents[n] - 1) * stride + 1 for n in own] or [1], dtype)
    at: list[Expr] = [loops[n] * stride if stride > 1 else loops[n] for n in own] or [const(0)]
    first: list[Expr] = [EQ(loops[n], const(0)) for n in range(len(loops)) if n not in own]
    begin: Stmt = store(kept, const(pick([0, 1]), dtype), at)
    element, total = given[tuple(loops)], kept[tuple(at)]
    added = store(kept, total + element if pick([True, False]) else element - total, at)
    body = seq(IfThenElse(conjunction(first), begin) if first else begin, added, store(out, total, loops))
    return flat_program((given, out), AllocBuffer(kept, nested(list(zip(loops, extents, strict=True)), body)))


SITES: dict[str, tuple[Callable[[Pick], PrimFunc], ...]] = {
    "pass:sink_allocations": (neighbours, windows, totals, second_names),
    "pass:lower_blocks": (continued, matched),
    "pass:declare_pointed": (called,),
}
