"""Convolutions in groups, channels last: each filter sees the channels of its own group only.

Neighbouring filters see different channels, so that no vector of them finds what it needs side by side. But all groups
do the same: where they fill a vector, copies of the operands have the groups last, and lanes are groups. Few groups are
products of matrices, one each.
"""

from __future__ import annotations

from collections.abc import Callable
from math import prod

from mlcref.autoschedule.contraction import schedule_contraction
from mlcref.autoschedule.elementwise import COST, schedule_elementwise
from mlcref.autoschedule.inlining import inline_elementwise
from mlcref.autoschedule.structure import Grouped, grouped, nest_of, own_loops
from mlcref.autoschedule.transposes import SIZES
from mlcref.autoschedule.work import Work
from mlcref.ir import BufferLoad, Expr
from mlcref.schedule import BlockRV, LoopRV, find

_VECTORS, _FILTERS = 2, 4
"""Vectors and filters of a register tile, at most; the rest of it are pixels."""


def schedule_groups(work: Work, block: BlockRV) -> bool:
    """Schedule a sum of products over channels in groups; says whether the block is one."""
    nest = nest_of(work.func, work.token(block))
    form = None if nest is None else grouped(nest)
    if form is None:
        return False
    if form.count >= work.machine.lanes(form.nest.store.buffer.type):
        _groups_as_lanes(work, block, form)
    else:
        _one_by_one(work, block, form)
    return True


def _one_by_one(work: Work, block: BlockRV, form: Grouped) -> None:
    """Filters of one group as lanes: a product of matrices for each group."""
    made = work.sch.cache_write(block, 0, "global")
    work.sch.transform_layout(block, ("write", 0), _last_by(form.size, inner_first=False))
    taken = _copied(work, block, form.filters, form.size, inner_first=False)
    _by_groups(work, block, form, inner_first=False)
    for copy in (made, taken):
        schedule_elementwise(work, copy)
    schedule_contraction(work, block)


def _groups_as_lanes(work: Work, block: BlockRV, form: Grouped) -> None:
    """All operands with the groups last."""
    made = work.sch.cache_write(block, 0, "global")
    work.sch.transform_layout(block, ("write", 0), _last_by(form.size, inner_first=True))
    copies = [(made, form.size)]
    for load, size in ((form.seen, form.channels), (form.filters, form.size)):
        if size > 1:
            copies.append((_copied(work, block, load, size, inner_first=True), size))
    loops = _by_groups(work, block, form, inner_first=True)
    for copy, _ in copies[1:]:
        for producer in work.sch.get_producers(copy):
            inline_elementwise(work, producer)
    _tile(work, block, form, loops, made)
    for copy, size in copies:
        _exchange(work, copy, form.count, size)


def _last_by(size: int, *, inner_first: bool) -> Callable[..., list[Expr]]:
    """The layout in which the last dimension is two: the place in a group of ``size``, and the group."""

    def layout(*index: Expr) -> list[Expr]:
        *outer, last = index
        pair = [last % size, last // size] if inner_first else [last // size, last % size]
        return [*outer, *pair]

    return layout


def _copied(work: Work, block: BlockRV, load: BufferLoad, size: int, *, inner_first: bool) -> BlockRV:
    """A copy of an operand in that layout, for the block to read."""
    position = [region.buffer for region in work.block(block).reads].index(load.buffer)
    copy = work.sch.cache_read(block, position, "global", [block])
    work.sch.transform_layout(block, ("read", position), _last_by(size, inner_first=inner_first))
    return copy


def _by_groups(work: Work, block: BlockRV, form: Grouped, *, inner_first: bool) -> list[LoopRV]:
    """Two iterators, over the filters of a group and over groups, in place of the one over all; the loops then."""
    at = form.nest.realize.block.iter_vars.index(form.lane)

    def apart(*index: Expr) -> list[Expr]:
        pair = _last_by(form.size, inner_first=inner_first)(index[at])
        return [*index[:at], *pair, *index[at + 1 :]]

    work.sch.transform_block_layout(block, apart)
    return work.sch.get_loops(block)


def _tile(work: Work, block: BlockRV, form: Grouped, loops: list[LoopRV], made: BlockRV) -> None:
    """A few pixels of a few filters of vectors of groups in registers while the sum runs."""
    items, extents, machine = form.nest.realize.block.iter_vars, form.nest.extents, work.machine
    at = items.index(form.lane)
    filters, groups = loops[at : at + 2]
    others = list(zip([*items[:at], *items[at + 1 :]], [*loops[:at], *loops[at + 2 :]], strict=True))
    outer = [loop for item, loop in others if item.iter_type == "spatial"]
    terms = [loop for item, loop in others if item.iter_type != "spatial"]
    lanes = machine.lanes(form.nest.store.buffer.type)
    vectors = max(n for n in range(1, _VECTORS + 1) if form.count % (n * lanes) == 0 or n == 1)
    panel, lane = work.split(groups, None, vectors * lanes)
    several = _divisor(form.size, _FILTERS)
    rest, filters_at_once = work.split(filters, None, several)
    pixels: list[LoopRV] = []
    if outer:
        tall = _divisor(work.extent(outer[-1]), (machine.registers - 8) // (vectors * several))
        strip, pixels = work.split(outer.pop(), None, tall)
        panel = [*strip, *panel]
    work.sch.reorder(*outer, *panel, *rest, *terms, *pixels, *filters_at_once, *lane)
    if outer:
        work.tries("reverse_compute_at", made, outer[-1])
    work.share(outer, prod(extents.values()))
    for loop in (*pixels, *filters_at_once):
        work.sch.unroll(loop)
    for loop in lane:
        work.sch.vectorize(loop)
    work.finish(block)


def _divisor(size: int, most: int) -> int:
    """The largest divisor of ``size`` that is at most ``most``, or 1."""
    return max(n for n in range(1, max(most, 1) + 1) if size % n == 0)


def _exchange(work: Work, copy: BlockRV, count: int, size: int) -> None:
    """Copy in square tiles: of ``count`` groups of ``size`` elements each, one side has the groups together."""
    lanes = work.machine.lanes(work.block(copy).writes[0].buffer.type)
    side = next((n for n in SIZES if n <= lanes and size % n == 0 and count % n == 0), 1)
    *outer, last = work.sch.get_loops(copy)
    elements = prod(work.extent(loop) for loop in outer) * count * size
    groups, group, parts, part = work.split(last, None, side, size // side, side)
    work.sch.reorder(*groups, *parts, *group, *part)
    if len(own_loops(work.func, find.block_of(work.func, work.token(copy)))) == len(work.sch.get_loops(copy)):
        work.share(outer, COST * elements)
    for loop in part:
        work.tries("vectorize", loop)
    work.finish(copy)
