"""Reductions over other dimensions than that of the lanes: depthwise convolutions, pooling, stencils, column sums."""

from __future__ import annotations

from math import prod

from mlcref.arith import linear
from mlcref.autoschedule.structure import Nest, nest_of
from mlcref.autoschedule.work import Work
from mlcref.ir import BufferLoad, IterVar, loads, variables
from mlcref.schedule import BlockRV, LoopRV

_MOST_UNROLLED, _MOST_APART = 64, 128
"""Updates of one accumulator each that are written out: of neighbours, and of what lies apart."""
_COST, _COST_APART = 4, 8
"""What a term costs, in products of a sum, and one whose lanes lie apart: few of them are loaded for each sum."""
_WIDEST = 16
"""Vectors of one row of the output where it has one row only, to read as much of each row of the input."""
_VECTORS = 4
"""Vectors of one row of the output where it has more."""
_SHARES = 16
"""Iterations of a shared loop for each thread: at most one of so many is waited for."""
FARTHEST = 8
"""At most so far from each other are the elements that neighbouring lanes read."""


def schedule_window(work: Work, block: BlockRV) -> bool:
    """Keep vectors of the output in registers while the reduction runs; says whether the block is such a reduction.

    Every access has the lanes at a short distance from each other, next to each other where windows are not moved
    farther, or is the same for all of them.
    """
    nest = nest_of(work.func, work.token(block))
    if nest is None or not nest.reduce or nest.realize.block.init is None:
        return False
    lane = lane_of(nest, FARTHEST)
    if lane is None:
        return False
    _tile(work, block, nest, lane)
    work.finish(block)
    return True


def lane_of(nest: Nest, farthest: int = 1) -> IterVar | None:
    """The iterator over the output's last dimension, where all accesses run along it or stand still. Elements that go
    with neighbours may be ``farthest`` elements apart."""
    indices = nest.store.indices
    lane = next((item for item in nest.spatial if indices and item.var is indices[-1]), None)
    if lane is None or nest.extents[lane.var] < 2:
        return None
    return lane if all(runs_along(load, lane, nest, farthest) for load in loads(nest.store.value)) else None


def runs_along(load: BufferLoad, lane: IterVar, nest: Nest, farthest: int = 1) -> bool:
    """Are the elements that an access reads for consecutive values of an iterator neighbours, or no farther apart than
    ``farthest``, or one element?"""
    if not load.indices:
        return True
    *outer, last = load.indices
    if any(lane.var in variables(index) for index in outer):
        return False
    if lane.var not in variables(last):
        return True
    form = linear(last, nest.extents)
    step = form.terms.get(lane.var, 0)
    return 0 < step <= farthest and lane.var not in form.only(lambda atom: atom is not lane.var).variables()


def _tile(work: Work, block: BlockRV, nest: Nest, lane: IterVar) -> None:
    sch, machine = work.sch, work.machine
    loops = dict(zip([item.var for item in nest.order], sch.get_loops(block), strict=True))
    spatial = [item for item in nest.spatial if item is not lane]
    lanes, size = machine.lanes(nest.store.buffer.type), nest.extents[lane.var]
    moved = lane_of(nest) is None
    widest = _VECTORS if spatial else _WIDEST
    vectors = max(n for n in range(1, widest + 1) if size % (n * lanes) == 0 or n == 1)
    if moved and size <= _VECTORS * lanes:
        vectors = -(-size // lanes)
    if size > vectors * lanes:
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
    most = _MOST_APART if moved else _MOST_UNROLLED
    while prod(nest.extents[item.var] for item in taps) * tall * vectors > most and taps:
        taps.pop(0)
    rows = [loops[item.var] for item in spatial]
    rest = [loops[item.var] for item in nest.reduce if item not in taps]
    short = [loops[item.var] for item in taps]
    sch.reorder(*rows, *outer, *rest, *short, *inner, last)
    if moved:
        work.share(_enough(work, rows or outer), _COST_APART * prod(nest.extents.values()))
    else:
        work.share(rows or outer, _COST * prod(nest.extents.values()))
    for loop in (*short, *inner):
        sch.unroll(loop)
    sch.vectorize(last)


def _enough(work: Work, loops: list[LoopRV]) -> list[LoopRV]:
    """The outer ones of these loops that have iterations enough for threads to share: where a row starts is then
    computed from the row before it."""
    count = 1
    for number, loop in enumerate(loops, 1):
        count *= work.extent(loop)
        if count >= _SHARES * work.machine.threads:
            return loops[:number]
    return loops


def _rows(size: int, vectors: int, registers: int) -> int:
    """Rows of the output at once: a divisor."""
    most = max((registers - 8) // (2 * vectors), 1)
    return max(n for n in range(1, size + 1) if size % n == 0 and n <= most)
