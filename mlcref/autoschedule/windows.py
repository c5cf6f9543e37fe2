"""Reductions over other dimensions than that of the lanes: depthwise convolutions, pooling, stencils, column sums."""

from __future__ import annotations

from math import prod

from mlcref.arith import linear
from mlcref.autoschedule.structure import Nest, nest_of
from mlcref.autoschedule.work import Work
from mlcref.ir import BufferLoad, IterVar, loads, variables
from mlcref.schedule import BlockRV

_MOST_UNROLLED = 64
"""Updates of one accumulator each that are written out."""
_WIDEST = 16
"""Vectors of one row of the output where it has one row only, to read as much of each row of the input."""


def schedule_window(work: Work, block: BlockRV) -> bool:
    """Keep vectors of the output in registers while the reduction runs; says whether the block is such a reduction.

    Every access has the lanes next to each other or is the same for all of them.
    """
    nest = nest_of(work.func, work.token(block))
    if nest is None or not nest.reduce or nest.realize.block.init is None:
        return False
    lane = lane_of(nest)
    if lane is None:
        return False
    _tile(work, block, nest, lane)
    work.finish(block)
    return True


def lane_of(nest: Nest) -> IterVar | None:
    """The iterator over the output's last dimension, where all accesses run along it or stand still."""
    indices = nest.store.indices
    lane = next((item for item in nest.spatial if indices and item.var is indices[-1]), None)
    if lane is None or nest.extents[lane.var] < 2:
        return None
    return lane if all(runs_along(load, lane, nest) for load in loads(nest.store.value)) else None


def runs_along(load: BufferLoad, lane: IterVar, nest: Nest) -> bool:
    """Are the elements that an access reads for consecutive values of an iterator neighbours, or one element?"""
    if not load.indices:
        return True
    *outer, last = load.indices
    if any(lane.var in variables(index) for index in outer):
        return False
    return lane.var not in variables(last) or linear(last, nest.extents).terms.get(lane.var) == 1


def _tile(work: Work, block: BlockRV, nest: Nest, lane: IterVar) -> None:
    sch, machine = work.sch, work.machine
    loops = dict(zip([item.var for item in nest.order], sch.get_loops(block), strict=True))
    spatial = [item for item in nest.spatial if item is not lane]
    lanes, size = machine.lanes(nest.store.buffer.type), nest.extents[lane.var]
    widest = 4 if spatial else _WIDEST
    vectors = max(n for n in range(1, widest + 1) if size % (n * lanes) == 0 or n == 1)
    if size > lanes:
        panel, last = sch.split(loops[lane.var], [None, vectors * lanes])
        outer = [panel]
    else:
        outer, last = [], loops[lane.var]
    row = spatial[-1] if spatial else None
    taps = [item for item in nest.reduce if nest.extents[item.var] <= 8]
    tall = 1
    inner = []
    if row is not None:
        tall = _rows(nest.extents[row.var], vectors, machine.registers)
        if tall > 1:
            strip, one = sch.split(loops[row.var], [None, tall])
            loops[row.var] = strip
            inner = [one]
    while prod(nest.extents[item.var] for item in taps) * tall * vectors > _MOST_UNROLLED and taps:
        taps.pop(0)
    rows = [loops[item.var] for item in spatial]
    rest = [loops[item.var] for item in nest.reduce if item not in taps]
    short = [loops[item.var] for item in taps]
    sch.reorder(*rows, *outer, *rest, *short, *inner, last)
    work.share(rows or outer, prod(nest.extents.values()))
    for loop in (*short, *inner):
        sch.unroll(loop)
    sch.vectorize(last)


def _rows(size: int, vectors: int, registers: int) -> int:
    """Rows of the output at once: a divisor."""
    most = max((registers - 8) // (2 * vectors), 1)
    return max(n for n in range(1, size + 1) if size % n == 0 and n <= most)
