"""Matrices whose rows are added up, and that are not packed: how they are read is what counts."""

from __future__ import annotations

from math import prod

from mlcref.autoschedule.contraction import follow, follower_of
from mlcref.autoschedule.dots import READ, few_rows
from mlcref.autoschedule.lanes import vectorize_last
from mlcref.autoschedule.machine import Machine
from mlcref.autoschedule.structure import Nest, contraction_of, nest_of
from mlcref.autoschedule.tiles import Tile, register_tile, rounded_up
from mlcref.autoschedule.work import Work
from mlcref.dtype import is_float, parse
from mlcref.ir import BufferLoad, IterVar, loads
from mlcref.schedule import BlockRV, LoopRV

_TERMS = 8
"""Rows of the matrix that are read at a time, and places where it or the rows are read: lines at distances that are
powers of two push each other out of the first cache."""
_FEW_ROWS, _FEWER_ROWS = 32, 16
"""So few rows do not pay for packing a matrix in the second cache, or a larger one."""
_STRIP = 4
"""Rows of the output at a time."""
_SHORT = 4
"""Terms at each place."""


def schedule_streams(work: Work, block: BlockRV) -> bool:
    """Schedule the product of few rows and a matrix; says whether the block is one.

    From the second cache, tiles of the output stay in registers, and the matrix is read at several places at a time.
    From memory it is read row after row, a few at a time, in all columns; the output stays in the first cache then.
    """
    nest = nest_of(work.func, work.token(block))
    form = None if nest is None else contraction_of(nest)
    if nest is None or form is None or len(form.rows) > 1 or form.columns or form.batch:
        return False
    if not _is_matrix(form.wide, nest) or not is_float(nest.store.buffer.type):
        return False
    row = form.rows[0] if form.rows else None
    rows, stays = 1 if row is None else nest.extents[row.var], _stays(form.wide, nest, work.machine)
    if rows > few_rows(form, _FEW_ROWS if stays else _FEWER_ROWS):
        return False
    after = follower_of(work, block, form)
    shared = _order(work, block, nest, row, stays)
    if after is not None and shared:
        follow(work, after, shared, None)
    _share(work, block, shared)
    return True


def schedule_columns(work: Work, block: BlockRV) -> bool:
    """Schedule the reduction of the columns of a matrix that memory holds; says whether the block is one."""
    nest = nest_of(work.func, work.token(block))
    if nest is None or len(nest.spatial) != 1 or nest.realize.block.init is None:
        return False
    read = [load for load in loads(nest.store.value) if load.buffer is not nest.store.buffer]
    if len(read) != 1 or not _is_matrix(read[0], nest) or _stays(read[0], nest, work.machine):
        return False
    _share(work, block, _order(work, block, nest, None, False))
    return True


def _is_matrix(load: BufferLoad, nest: Nest) -> bool:
    """Is this element in the row of the term and the column of the last index of the result?"""
    if len(nest.reduce) != 1 or len(load.indices) != 2:
        return False
    return load.indices[0] is nest.reduce[0].var and load.indices[1] is nest.store.indices[-1]


def _stays(load: BufferLoad, nest: Nest, machine: Machine) -> bool:
    """Does the matrix stay in the second cache?"""
    lane = nest.store.indices[-1]
    size = prod(n for var, n in nest.extents.items() if var is lane or var is nest.reduce[0].var)
    return size * parse(load.buffer.type).bits // 8 <= machine.l2_bytes


def _order(work: Work, block: BlockRV, nest: Nest, row: IterVar | None, stays: bool) -> list[LoopRV]:
    """Split, order and vectorize the loops; the one over columns that threads share, if they do: each then adds up in
    memory of its own, since two threads that write to one line of memory take turns."""
    sch, machine = work.sch, work.machine
    column = next(item for item in nest.spatial if item.var is nest.store.indices[-1])
    rows = 1 if row is None else nest.extents[row.var]
    columns, terms = nest.extents[column.var], nest.extents[nest.reduce[0].var]
    lanes = machine.lanes(nest.store.buffer.type)
    tile = register_tile(rows, columns, lanes, machine) if stays else Tile(_strip(rows), lanes)
    pays = (rows + READ) * columns * terms >= machine.parallel_work
    share = rounded_up(-(-columns // machine.threads), tile.columns) if pays else columns
    own = sch.cache_write(block, 0, "global") if share < columns else None
    loops = dict(zip([item.var for item in nest.order], sch.get_loops(block), strict=True))
    threads, across, lane = work.split(loops[column.var], None, -(-share // tile.columns), tile.columns)
    strip, inner = ([], []) if row is None else work.split(loops[row.var], None, tile.rows)
    term = loops[nest.reduce[0].var]
    if stays:
        places, start = work.split(term, _places(terms, _TERMS // rows), None)
        sch.reorder(*threads, *across, *strip, *start, *places, *inner, *lane)
    else:
        start, places = work.split(term, None, _terms_at_once(terms))
        sch.reorder(*threads, *start, *strip, *across, *inner, *places, *lane)
    _finish(work, block, start, [*inner, *places], lane)
    if own is not None and threads:
        sch.reverse_compute_at(own, threads[0])
        vectorize_last(work, own)
        work.finish(own)
    return threads


def _finish(work: Work, block: BlockRV, start: list[LoopRV], unrolled: list[LoopRV], lane: list[LoopRV]) -> None:
    """Write out loops, vectorize, and clear the output before the loop over terms."""
    for loop in unrolled:
        work.sch.unroll(loop)
    for loop in lane:
        work.sch.vectorize(loop)
    for loop in start:
        clear = work.sch.decompose_reduction(block, loop)
        vectorize_last(work, clear)
        work.finish(clear)


def _share(work: Work, block: BlockRV, shared: list[LoopRV]) -> None:
    for loop in shared:
        work.sch.parallel(loop)
    work.finish(block)


def _strip(rows: int) -> int:
    """How many rows of the output are made at a time from rows of a matrix in memory.

    >>> _strip(8), _strip(6), _strip(7)
    (4, 3, 7)
    """
    even = max(n for n in range(1, min(rows, _STRIP) + 1) if rows % n == 0)
    return even if even > 1 else min(rows, _TERMS)


def _places(terms: int, most: int) -> int:
    """In how many parts a sum is taken side by side: a divisor.

    >>> _places(784, 8), _places(1000, 4), _places(7, 8)
    (8, 4, 1)
    """
    return max(n for n in range(1, max(most, 1) + 1) if terms % n == 0 and (n == 1 or terms >= _SHORT * n))


def _terms_at_once(terms: int) -> int:
    """How many terms are added at a time: a divisor of all where there is one that is not too small.

    >>> _terms_at_once(1024), _terms_at_once(7), _terms_at_once(1021)
    (8, 7, 8)
    """
    even = max(n for n in range(1, _TERMS + 1) if terms % n == 0)
    return even if 2 * even >= _TERMS else min(_TERMS, terms)
