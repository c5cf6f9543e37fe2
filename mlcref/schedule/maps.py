"""Index maps and accesses as callers of schedule primitives give them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from mlcref import dtype as dt
from mlcref.arith import IndexMap, simplify
from mlcref.errors import MlcrefError
from mlcref.ir import (
    BlockRealize, Buffer, BufferLoad, BufferStore, Call, DeclBuffer, Expr, MatchBufferRegion, PrimFunc, Var, const,
    walk,
)  # fmt: skip
from mlcref.ir.intrinsics import INTRINSICS
from mlcref.schedule.table import Pick, refusal

Layout = IndexMap | Callable[..., Any]


def find_access(
    func: PrimFunc, rule: str, realize: BlockRealize, wanted: Any, kind: str | None = None
) -> tuple[str, int, Buffer]:
    """The access that a caller means, as ("read" or "write", position, buffer): given as such a pair, as the name of a
    buffer, as a buffer, or (where the ``kind`` is known) as a position."""
    block = realize.block
    every = [("read", i, r.buffer) for i, r in enumerate(block.reads)]
    every += [("write", i, r.buffer) for i, r in enumerate(block.writes)]
    if isinstance(wanted, int) and kind is not None:
        wanted = (kind, wanted)
    for one in every:
        if kind is not None and one[0] != kind:
            continue
        if isinstance(wanted, Buffer):
            fits = one[2] is wanted
        elif isinstance(wanted, str):
            fits = one[2].name == wanted
        else:
            fits = isinstance(wanted, tuple | list) and tuple(wanted) == one[:2]
        if fits:
            return one
    known = ", ".join(f"({k!r}, {i}): {b.name}" for k, i, b in every if kind in (None, k)) or "none"
    what = f"block {block.name} has no access {wanted!r}"
    raise refusal(func, rule, what, [(realize, "this block")], f"its accesses: {known}")


def as_index_map(func: PrimFunc, rule: str, layout: Layout, rank: int, dtype: str, marks: Sequence[Any]) -> IndexMap:
    """The map that a caller gives, over variables of ``dtype``; refuses one that is no function of ``rank`` indices."""
    try:
        if isinstance(layout, IndexMap):
            result = layout.as_type(dtype)
        else:
            result, separators = IndexMap.from_func_with_separators(layout, rank, index_dtype=dtype)
            if separators:
                what = "physical dimensions (IndexMap.AXIS_SEPARATOR) are not supported: buffers are flat memory"
                raise refusal(func, rule, what, marks, "leave the separators out")
    except MlcrefError as error:
        raise refusal(func, rule, error.what, marks) from error
    if len(result.initial_indices) != rank:
        what = f"the map takes {len(result.initial_indices)} indices, not {rank}"
        raise refusal(func, rule, what, marks)
    if not result.final_indices or any(e.dtype != dtype for e in result.final_indices):
        raise refusal(func, rule, f"the values of {result!r} are no indices", marks)
    return result


def index_type(extents: Sequence[Expr]) -> str:
    """The type of indices into a box."""
    return "int64" if any(e.dtype == "int64" for e in extents) else "int32"


def pad_map(pad_value: Any, rank: int, kind: str, dtype: str) -> IndexMap:
    """A pad value as a map of the new indices to one value of type ``kind``."""
    if isinstance(pad_value, IndexMap):
        return pad_value.as_type(dtype)
    if callable(pad_value) and not isinstance(pad_value, Expr):
        return IndexMap.from_func(pad_value, rank, index_dtype=dtype)
    value = pad_value if isinstance(pad_value, Expr) else const(pad_value, kind)
    return IndexMap([Var(f"indices_{n}", dtype) for n in range(rank)], [value])


Sized = tuple[Expr, int | None]
"""An index, and how many values it has, where that is known."""


def draw_map(pick: Pick, rank: int, extents: Sequence[int | None] = (), *, exact: bool = True) -> IndexMap:
    """A map of ``rank`` indices: one or two changes, each to split, turn, move or fuse. Where the extents are given, it
    is likely to be one to one onto a box; where not ``exact``, to miss that by little."""
    initial = [Var(f"i{n}") for n in range(rank)]
    values: list[Sized] = [(v, extents[n] if extents else None) for n, v in enumerate(initial)]
    kinds = ["split", "move", "fuse", "turn", *([] if exact else ["turn and split"] * 2)]
    for _ in range(pick([1, 1, 2] if exact else [1, 2]) if rank else 0):
        n, what = pick(range(len(values))), pick(kinds)
        if what.startswith("turn"):
            values[n] = _turned(pick, values[n], exact)
        if what.endswith("split"):
            values[n : n + 1] = _split(pick, values[n], exact)
        elif what == "move":
            values.insert(pick(range(len(values))), values.pop(n))
        elif what == "fuse" and len(values) > 1:
            n = max(n, 1)
            values[n - 1 : n + 1] = [_fused(pick, values[n - 1], values[n], exact)]
    return IndexMap(initial, [simplify(e, {}) for e, _ in values])


def _turned(pick: Pick, item: Sized, exact: bool) -> Sized:
    value, size = item
    if size is None:
        return pick([1, 2, 3, 5, 7]) - value, None
    last = size - 1 if exact else size - 1 + pick([0, 2, 1, 2])
    return last - value, last + 1


def _split(pick: Pick, item: Sized, exact: bool) -> list[Sized]:
    value, size = item
    factor = pick([f for f in (2, 3, 4) if size is None or not exact or size % f == 0] or [2])
    return [(value // factor, size and -(-size // factor)), (value % factor, factor)]


def _fused(pick: Pick, outer: Sized, inner: Sized, exact: bool) -> Sized:
    (above, rows), (value, size) = outer, inner
    if size is None:
        return above * pick([2, 3, 4, 6, 8]) + value, None
    width = size if exact else max(1, size + pick([0, -1, 1, -2, 0, -1]))
    return above * width + value, rows and width * (rows - 1) + size


def other_use(node: Any, buffer: Buffer) -> str:
    """How a node uses a buffer otherwise than element by element; empty when it does not."""
    match node:
        case MatchBufferRegion() if node.source.buffer is buffer:
            return "is matched by another buffer"
        case DeclBuffer() if node.source is buffer:
            return "is declared under another name"
        case BufferLoad() | BufferStore() if node.buffer is buffer and any(dt.lanes(i.dtype) > 1 for i in node.indices):
            return "is accessed by vectors"
        case Call(op, args) if op != "assume" and (INTRINSICS[op].effect or op.startswith("buffer_")):
            used = any(isinstance(n, BufferLoad) and n.buffer is buffer for arg in args for n in walk(arg))
            return f"is an argument of T.{op}" if used else ""
    return ""
