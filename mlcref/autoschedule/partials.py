"""Reductions along the last dimension: vectors of partial results, then halves of halves of one vector."""

from __future__ import annotations

from mlcref.autoschedule.structure import Nest
from mlcref.autoschedule.windows import runs_along
from mlcref.autoschedule.work import Work
from mlcref.errors import ScheduleError
from mlcref.ir import IterVar, loads
from mlcref.schedule import BlockRV, LoopRV, find

VECTORS = 4
"""Vectors of partial results: they hide the time that an addition takes."""


def lane_reduced(nest: Nest) -> IterVar | None:
    """The iterator of a reduction along which each access runs or stands still, so that lanes can share it."""
    read = [load for load in loads(nest.store.value) if load.buffer is not nest.store.buffer]
    for item in reversed(nest.reduce):
        if nest.extents[item.var] < 2 or not all(runs_along(load, item, nest) for load in read):
            continue
        if any(load.indices and item.var is load.indices[-1] for load in read):
            return item
    return None


def in_parts(work: Work, block: BlockRV, loop: LoopRV, vectors: int = VECTORS) -> list[BlockRV]:
    """Take the reduction over ``loop`` apart, and say which blocks come before ``block`` then.

    The first one sums ``vectors`` of partial results, the others add the upper half to the lower one; ``block`` is left
    with two terms. Nothing happens where ``loop`` is too short for a vector.
    """
    out = work.block(block).writes[0].buffer
    lanes, size = work.machine.lanes(out.type), work.extent(loop)
    width = lanes * min(vectors, size // lanes)
    if lanes < 2 or width == 0:
        return []
    parts: list[BlockRV] = []
    while width > 1:
        if work.extent(loop) > width:
            _, loop = work.sch.split(loop, [None, width])
        try:
            parts.append(work.sch.rfactor(loop, len(out.shape)))
        except ScheduleError:
            break
        (loop,) = work.sch.get_loops(block)[-1:]
        width = lanes if width > lanes else width // 2
    return parts


def as_vectors(work: Work, parts: list[BlockRV]) -> None:
    """Vectorize what :func:`in_parts` made, wherever the blocks are now."""
    for number, part in enumerate(parts):
        realize = find.block_of(work.func, work.token(part))
        loops = work.sch.get_loops(part)
        (lane,) = [loop for loop in loops if work.variable(loop) is realize.iter_values[0]]
        reduced = {item.var for item in realize.block.iter_vars if item.iter_type == "reduce"}
        terms = [value for item, value in zip(realize.block.iter_vars, realize.iter_values, strict=True)
                 if item.var in reduced]  # fmt: skip
        inner = [loop for loop in loops if any(work.variable(loop) is value for value in terms)]
        if inner and not work.tries("reorder", *inner, lane):
            continue
        work.tries("vectorize", lane)
        if number:
            for loop in inner:
                work.sch.unroll(loop)
    work.finish(*parts)
