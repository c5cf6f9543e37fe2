"""Sites of the passes that keep elements in registers and make vectors of short loops.

Both kinds of program are chains of updates of a buffer at drawn places: the same place again, another one that may
overlap it, one that moves with a loop. Some functions promise nothing about parameters that overlap.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from mlcref.ir import (
    AllocBuffer, Attrs, Broadcast, Buffer, BufferLoad, BufferStore, Expr, IfThenElse, Max, PrimFunc, Ramp, Stmt,
    Var, const, loop, seq, store,
)  # fmt: skip

Pick = Callable[..., Any]

_DTYPES = ("float32", "int32", "float64", "int8", "float16")
_ROWS, _WIDTH = 3, 32
_LANES = 4


def _var(name: str) -> Var:
    return Var(name, "int32")


def _function(pick: Pick, buffer: Buffer, inputs: tuple[Buffer, ...], body: Stmt) -> PrimFunc:
    """A function with ``buffer`` as a parameter, which may overlap ``inputs`` or not, or in memory of its own with a
    copy in and one out."""
    kind = pick(["apart", "private", "may overlap"])
    attrs = Attrs({"global_symbol": "main", "tir.noalias": kind != "may overlap"})
    if kind != "private":
        return PrimFunc((*inputs, buffer), body, attrs)
    result = Buffer("R", buffer.shape, buffer.type)
    whole = seq(_copy(buffer, result), body, _copy(result, buffer))
    return PrimFunc((*inputs, result), AllocBuffer(buffer, whole), attrs)


def _copy(target: Buffer, source: Buffer) -> Stmt:
    variables = tuple(_var(f"c{n}") for n in range(target.ndim))
    result: Stmt = store(target, source[variables], variables)
    for var, extent in reversed(list(zip(variables, target.shape, strict=True))):
        result = loop(var, extent, result)
    return result


# ---- elements that a loop keeps updating


@dataclass
class _Frame:
    """The loop around a statement and the buffers that it may use. ``outer`` keeps its value while the loop over
    ``turn`` runs; most accesses are in ``row``, one of ``starts`` after ``base``."""

    pick: Pick
    buffer: Buffer
    other: Buffer
    source: Buffer
    outer: Var
    turn: Var
    row: Expr
    base: Expr
    starts: list[int]
    moving: list[Var] = field(default_factory=list)


def held(pick: Pick) -> PrimFunc:
    """A loop that updates elements or vectors of a buffer, at places that stay or move, one or several, apart or not;
    it reads more of the buffer, or of another one of the same shape."""
    dtype, i, k = pick(_DTYPES), _var("i"), _var("k")
    shape = tuple(map(const, pick([(_WIDTH,), (_WIDTH,), (_ROWS, _WIDTH)])))
    buffers = Buffer("C", shape, dtype), Buffer("D", shape, dtype), Buffer("A", (const(6),), dtype)
    row, base = pick([i, i, const(0), const(1)]), pick([const(0), const(1), i, i * _LANES])
    f = _Frame(pick, *buffers, i, k, row, base, pick([[0, 4, 8], [0, 4, 8], [0, 1, 2, 3, 4]]))
    kinds = pick([[_element], [_vector], [_element, _unrolled], [_vector, _vectorized], [_element, _inner], [_inner]])
    parts = [pick(kinds)(f) for _ in range(pick([1, 2, 2, 3]))]
    turns = pick([const(n) for n in (2, 3, 4, 2, 3, 4, 1)] + [i, i + 1])
    body: Stmt = loop(i, pick([2, 3, 1, 2, 3]), loop(k, turns, seq(*parts)))
    return _function(pick, f.buffer, (f.source, f.other), body)


def _element(f: _Frame) -> Stmt:
    """``C[i] = C[i] + …``"""
    return _guarded(f, _updated(f, _place(f, 1), 1))


def _vector(f: _Frame) -> Stmt:
    """``C[i : i + 4] = C[i : i + 4] + …``"""
    return _guarded(f, _updated(f, _place(f, _LANES), _LANES))


def _unrolled(f: _Frame) -> Stmt:
    """An element or a vector in each iteration of an unrolled loop: as many places, that stay."""
    u, lanes = _var("u"), f.pick([1, 1, _LANES])
    index = _place(f, lanes, u * f.pick([lanes, lanes, 1]))
    return loop(u, f.pick([2, 3]), _updated(f, index, lanes), "unrolled")


def _vectorized(f: _Frame) -> Stmt:
    """Lanes that do not read each other."""
    j = _var("j")
    index = _place(f, 1, j)
    value = f.source[f.turn] + f.pick([const(1, f.buffer.type), f.other[index]])
    return loop(j, _LANES, store(f.buffer, f.buffer[index] + value, index), "vectorized")


def _inner(f: _Frame) -> Stmt:
    """A serial loop inside, over elements that stay or that move with it."""
    j = _var("j")
    inside = replace(f, moving=[j])
    index = _place(inside, 1, f.pick([j, j, None]))
    return loop(j, f.pick([2, 3]), _updated(inside, index, 1))


def _guarded(f: _Frame, part: Stmt) -> Stmt:
    """``part``, now and then in some iterations only."""
    if f.pick([False] * 11 + [True]):
        return IfThenElse(f.pick([f.turn < 1, f.turn > 0, f.outer < 1]), part)
    return part


def _place(f: _Frame, lanes: int, more: Expr | None = None) -> tuple[Expr, ...]:
    """Indices of an element or vector that do not vary with the loop over ``f.turn``, unless ``more`` does."""
    usual = f.pick([True] * 4 + [False])
    start = (f.base if usual else f.outer) + f.pick(f.starts if usual else [0, 1, 2, 4])
    start = start if more is None else start + more
    last = start if lanes == 1 else Ramp(start, const(f.pick([1, 1, 1, 1, 2])), lanes)
    row = f.row if usual else f.pick([f.outer, const(0), const(1)])
    return (last,) if f.buffer.ndim == 1 else (row, last)


def _updated(f: _Frame, index: tuple[Expr, ...], lanes: int) -> Stmt:
    before = BufferLoad(f.buffer, index)
    value = _value(f, index, lanes)
    return BufferStore(f.buffer, f.pick([before + value, before + value, Max(before, value), value]), index)


def _value(f: _Frame, index: tuple[Expr, ...], lanes: int) -> Expr:
    """What an update takes in: of an input, of other elements of the buffer, or of the other buffer."""
    factor = f.source[f.pick([f.turn, f.turn, *f.moving])]
    value = factor if lanes == 1 else Broadcast(factor, lanes)
    kind = f.pick(["source", "source", "same", "other"])
    if kind == "source":
        return value
    if kind == "same" or f.pick([False, True]):
        index = _place(f, lanes, f.pick([None, f.turn, *f.moving]))
    return value + BufferLoad(f.buffer if kind == "same" else f.other, index)


# ---- loops that are vectors in all but name


def short(pick: Pick) -> PrimFunc:
    """A short loop of one or two stores to elements that are neighbours, far apart or the same, with loads of the same
    element, of others, or of a buffer of the same shape."""
    dtype, i, o = pick(_DTYPES), _var("i"), _var("o")
    rank = pick([1, 2, 1, 2, 1, 2, 0])
    extent = pick([4, 8, 4, 8, 16, 2, 6, 64] if rank < 2 else [4, 8, 4, 8, 2, 6])
    shape = tuple(map(const, ((), (2 * extent + 4,), (extent + _ROWS, 2 * extent + 4))[rank]))
    buffer, other, second = (Buffer(name, shape, dtype) for name in "CDE")
    source, one = Buffer("A", (const(extent),), dtype), const(1, dtype)
    places = [_spot(pick, rank, i, o) for _ in range(2)]
    parts: list[Stmt] = []
    for n in range(pick([1, 2, 2])):
        target, index, another = pick([buffer, buffer, buffer, second]), places[pick([n, n, 0])], pick(places)
        value = pick([source[i], target[index], target[another] + one, target[another] + source[i], other[another]])
        parts.append(BufferStore(target, value + pick([one, source[i]]), index))
    body = loop(o, pick([1, 2, 3]), loop(i, extent, seq(*parts)))
    return _function(pick, buffer, (source, other, second), body)


def _spot(pick: Pick, rank: int, i: Var, o: Var) -> tuple[Expr, ...]:
    """Indices that move by one with ``i``, or in another way, or not."""
    start = const(pick([0, 1, 2]))
    neighbours = pick([True, True, True, False])
    last = pick([i, i + start, i + o]) if neighbours else pick([i + i, i // 2 + start, i % 2, start, o])
    row = pick([o, o, start]) if neighbours else pick([i // 2, i % 2, i // 2, i % 2, i, o])
    return ((), (last,), (row, last))[rank]


SITES: dict[str, tuple[Callable[[Pick], PrimFunc], ...]] = {
    "pass:promote_accumulators": (held,),
    "pass:vectorize_short_loops": (short,),
}
