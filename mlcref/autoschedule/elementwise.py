"""Blocks that compute each element on its own: lanes along the last dimension, threads along the first ones."""

from __future__ import annotations

from math import prod

from mlcref.autoschedule.structure import nest_of
from mlcref.autoschedule.work import Work
from mlcref.schedule import BlockRV, LoopRV

COST = 32
"""An element read and written, in products of a sum."""
_VECTORS = 4
"""Vectors of one iteration."""


def schedule_elementwise(work: Work, block: BlockRV) -> bool:
    """Vectorize and share among threads a block without reduction; says whether it is one."""
    nest = nest_of(work.func, work.token(block))
    if nest is None or nest.reduce or not nest.order:
        return False
    outer = as_lanes(work, block)
    work.share(outer, COST * prod(nest.extents.values()))
    work.finish(block)
    return True


def as_lanes(work: Work, block: BlockRV) -> list[LoopRV]:
    """Vectorize the innermost loop of a block, a few vectors at a time; the loops around those."""
    *outer, last = work.sch.get_loops(block)
    width = _VECTORS * work.machine.lanes(work.block(block).writes[0].buffer.type)
    if work.extent(last) > width:
        rest, last = work.sch.split(last, [None, width])
        outer.append(rest)
    work.tries("vectorize", last)
    return outer
