"""Blocks that compute each element on its own: lanes along the last dimension, threads along the first ones."""

from __future__ import annotations

from math import prod

from mlcref.autoschedule.structure import nest_of
from mlcref.autoschedule.work import Work
from mlcref.schedule import BlockRV

_COST = 32
"""An element read and written, in products of a sum."""
_VECTORS = 4
"""Vectors of one iteration."""


def schedule_elementwise(work: Work, block: BlockRV) -> bool:
    """Vectorize and share among threads a block without reduction; says whether it is one."""
    nest = nest_of(work.func, work.token(block))
    if nest is None or nest.reduce or not nest.order:
        return False
    sch, sizes = work.sch, [nest.extents[item.var] for item in nest.order]
    *outer, last = sch.get_loops(block)
    width = _VECTORS * work.machine.lanes(nest.store.buffer.type)
    if sizes[-1] > width:
        rest, last = sch.split(last, [None, width])
        outer.append(rest)
    work.tries("vectorize", last)
    work.share(outer, _COST * prod(sizes))
    work.finish(block)
    return True
