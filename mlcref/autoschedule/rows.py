"""Programs along rows: reductions of rows, and what happens to the same rows before and after them (softmax,
layernorm): all of it row by row, so that a row stays in the first cache."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

from mlcref.autoschedule.elementwise import as_lanes
from mlcref.autoschedule.partials import VECTORS, as_vectors, in_parts, lane_reduced
from mlcref.autoschedule.structure import Nest, are, contraction_of, nest_of
from mlcref.autoschedule.tiles import rounded_up
from mlcref.autoschedule.windows import FARTHEST, lane_of
from mlcref.autoschedule.work import Work
from mlcref.ir import BlockRealize, Buffer, IterVar, loads
from mlcref.schedule import BlockRV, LoopRV, find
from mlcref.schedule.reducers import NoReduction, reduction_of

_COST = 8
"""A term of a reduction, in products of a sum."""
_SHORT = 16
"""Shorter reductions leave the lanes to the last dimension of the output, where these can be there."""
_FEW_ROWS = 4
"""So few rows of a matrix do not pay for packing the other one: each element is a reduction of its own."""


def schedule_rows(work: Work, block: BlockRV) -> bool:
    """Schedule a reduction along the last dimension, with the blocks that share its rows; says whether it is one."""
    nest = nest_of(work.func, work.token(block))
    if nest is None or row_axis(nest) is None:
        return False
    rows = _rows(nest)
    if _leaves_threads_idle(work, nest):
        part = _partial_rows(work, block, nest)
        work.finish(block)
        _by_rows(work, [part], len(nest.spatial) + 1, prod(nest.extents.values()))
    else:
        members = [_member(work, member, len(rows)) for member in _group(work, block, rows)]
        terms = len(members) * prod(nest.extents.values())
        _by_rows(work, members, len(rows), terms, _repeated(nest)[: len(rows)])
    return True


@dataclass(frozen=True, slots=True)
class Member:
    """A block over rows: the loop over what it reduces, None where it does not, or has it ``lanes`` in the row?"""

    block: BlockRV
    reduced: LoopRV | None
    lanes: bool = False


def _member(work: Work, block: BlockRV, rows: int) -> Member:
    nest = nest_of(work.func, work.token(block))
    assert nest is not None
    axis = row_axis(nest)
    if axis is None:
        return Member(block, None, len(nest.order) > rows)
    return Member(block, work.sch.get_loops(block)[nest.order.index(axis)])


def row_axis(nest: Nest) -> IterVar | None:
    """The iterator along the rows that a block reduces; None for other blocks, and for products of matrices."""
    if not nest.reduce or not _is_known(nest):
        return None
    rows = nest.order[: len(nest.spatial)]
    if rows != nest.spatial or not are(nest.store.indices, rows):
        return None
    form = contraction_of(nest)
    if form is not None and prod(nest.extents[item.var] for item in form.rows) > _FEW_ROWS:
        return None
    axis = lane_reduced(nest)
    is_window = axis is not None and nest.extents[axis.var] < _SHORT and lane_of(nest, FARTHEST) is not None
    return None if is_window else axis


def _is_known(nest: Nest) -> bool:
    """Is the reduction one that can be taken in parts?"""
    block = nest.realize.block
    try:
        return block.init is not None and bool(reduction_of(block.init, block.body))
    except NoReduction:
        return False


def _repeated(nest: Nest) -> list[bool]:
    """Which loops over rows read the same rows of the larger factor again, so that they should follow each other."""
    form = contraction_of(nest)
    return [form is not None and item in form.rows and nest.extents[item.var] > 1 for item in nest.spatial]


def _rows(nest: Nest) -> list[int]:
    """The extents of the loops over rows: those of the output, without ones at the end."""
    rows = [nest.extents[item.var] for item in nest.spatial]
    while len(rows) > 1 and rows[-1] == 1:
        rows.pop()
    return rows


def _leaves_threads_idle(work: Work, nest: Nest) -> bool:
    """Are the rows too few for all threads, and long enough to be shared?"""
    axis, terms, threads = row_axis(nest), prod(nest.extents.values()), work.machine.threads
    assert axis is not None
    if prod(_rows(nest)) >= threads or _COST * terms < work.machine.parallel_work:
        return False
    return nest.extents[axis.var] >= 2 * _unit(work, nest)


def _unit(work: Work, nest: Nest) -> int:
    """What a thread takes of a row is a multiple of so many terms."""
    return VECTORS * work.machine.lanes(nest.store.buffer.type)


def _partial_rows(work: Work, block: BlockRV, nest: Nest) -> Member:
    """A part of each row for each thread; ``block`` is left with the results of the parts."""
    axis = row_axis(nest)
    assert axis is not None
    loop = work.sch.get_loops(block)[nest.order.index(axis)]
    share = -(-nest.extents[axis.var] // work.machine.threads)
    outer, _ = work.sch.split(loop, [None, rounded_up(share, _unit(work, nest))])
    part = work.sch.rfactor(outer, len(nest.spatial))
    return Member(part, work.sch.get_loops(part)[-1])


def _group(work: Work, block: BlockRV, rows: list[int]) -> list[BlockRV]:
    """The block and all that it is connected with by way of blocks over the same rows, in the order of the program."""
    func, start = work.func, find.block_of(work.func, work.token(block))
    scope = find.child_blocks(find.scope_of(func, start))
    same = [other for other in scope if other is start or _is_over(work, other, rows)]
    seen = [start]
    for realize in seen:
        for other in same:
            if other not in seen and (_reads(other, realize, work, rows) or _reads(realize, other, work, rows)):
                seen.append(other)
    return [block if other is start else work.sch.get_block(other.block.name) for other in scope if other in seen]


def _is_over(work: Work, realize: BlockRealize, rows: list[int]) -> bool:
    """Is it a block whose outer loops are over the rows, and that reduces rows or nothing?"""
    nest = nest_of(work.func, realize.block.token)
    if nest is None or realize.block.token in work.done or (nest.reduce and row_axis(nest) is None):
        return False
    leading = nest.order[: len(rows)]
    return (
        [nest.extents[item.var] for item in leading] == rows
        and all(item.iter_type == "spatial" for item in leading)
        and are(nest.store.indices[: len(rows)], leading)
    )


def _reads(reader: BlockRealize, writer: BlockRealize, work: Work, rows: list[int]) -> bool:
    """Does a block read what the other one writes, each row what is in the same row?"""
    made: set[Buffer] = {region.buffer for region in writer.block.writes}
    nest = nest_of(work.func, reader.block.token)
    assert nest is not None
    own = nest.order[: len(rows)]
    taken = [load for load in loads(nest.store.value) if load.buffer in made and load.buffer is not nest.store.buffer]
    return bool(taken) and all(are(load.indices[: len(rows)], own) for load in taken)


def _by_rows(work: Work, members: list[Member], rows: int, terms: int, inner: Sequence[bool] = ()) -> None:
    """All members under the loops over rows of the last one, in vectors; the ``inner`` ones of these loops inside."""
    steps: list[BlockRV] = []
    partial: list[list[BlockRV]] = []
    for member in members:
        if member.reduced is not None:
            parts = in_parts(work, member.block, member.reduced)
            partial.append(parts)
            steps += parts
        steps.append(member.block)
    *before, last = steps
    around = work.sch.get_loops(last)[:rows]
    if any(inner):
        around = [loop for loop, is_inner in sorted(zip(around, inner, strict=True), key=lambda pair: pair[1])]
        work.sch.reorder(*around)
    for step in reversed(before if around else []):
        work.tries("compute_at", step, around[-1])
    for member in members:
        if member.lanes:
            as_lanes(work, member.block)
    for parts in partial:
        as_vectors(work, parts)
    work.finish(*[member.block for member in members])
    work.share(around, _COST * terms)
