"""Products of few rows and a wide matrix that is not packed: how it is read is what counts."""

from __future__ import annotations

from math import prod

from mlcref.autoschedule.contraction import follow, follower_of
from mlcref.autoschedule.dots import READ
from mlcref.autoschedule.lanes import vectorize_last
from mlcref.autoschedule.machine import Machine
from mlcref.autoschedule.structure import Contraction, contraction_of, nest_of
from mlcref.autoschedule.tiles import Tile, register_tile, rounded_up
from mlcref.autoschedule.work import Work
from mlcref.dtype import is_float, parse
from mlcref.schedule import BlockRV, LoopRV

_TERMS = 8
"""Rows of the matrix that are read at a time, and places where it or the rows are read: lines at distances that are
powers of two push each other out of the first cache."""
_FEW_ROWS, _FEWER_ROWS = 32, 8
"""So few rows do not pay for packing a matrix in the second cache, or a larger one."""
_SHORT = 4
"""Terms at each place."""


def schedule_streams(work: Work, block: BlockRV) -> bool:
    """Schedule the product of few rows and a matrix; says whether the block is one.

    From the second cache, tiles of the output stay in registers, and the matrix is read at several places at a time.
    From memory it is read row after row, a few at a time, in all columns; the output stays in the first cache then.
    """
    nest = nest_of(work.func, work.token(block))
    form = None if nest is None else contraction_of(nest)
    if form is None or not _fits(form, work.machine):
        return False
    after = follower_of(work, block, form)
    shared = _order(work, block, form)
    if after is not None and shared:
        follow(work, after, shared, None)
    for loop in shared:
        work.sch.parallel(loop)
    work.finish(block)
    return True


def _fits(form: Contraction, machine: Machine) -> bool:
    """Are there few rows of floats, and a plain matrix whose rows are added up?"""
    nest, wide = form.nest, form.wide
    if len(nest.reduce) != 1 or len(form.rows) != 1 or form.columns or form.batch or len(wide.indices) != 2:
        return False
    if wide.indices[0] is not nest.reduce[0].var or wide.indices[1] is not form.lane.var:
        return False
    few = _FEW_ROWS if _stays(form, machine) else _FEWER_ROWS
    return nest.extents[form.rows[0].var] <= few and is_float(nest.store.buffer.type)


def _stays(form: Contraction, machine: Machine) -> bool:
    """Does the matrix stay in the second cache?"""
    size = prod(form.nest.extents[item.var] for item in (form.lane, form.nest.reduce[0]))
    return size * parse(form.wide.buffer.type).bits // 8 <= machine.l2_bytes


def _order(work: Work, block: BlockRV, form: Contraction) -> list[LoopRV]:
    """Split, order and vectorize the loops; the one over columns that threads share, if they do."""
    nest, machine = form.nest, work.machine
    rows, columns, terms = (nest.extents[item.var] for item in (form.rows[0], form.lane, nest.reduce[0]))
    lanes = machine.lanes(nest.store.buffer.type)
    stays = _stays(form, machine)
    tile = register_tile(rows, columns, lanes, machine) if stays else Tile(rows, lanes)
    pays = (rows + READ) * columns * terms >= machine.parallel_work
    share = rounded_up(-(-columns // machine.threads), tile.columns) if pays else columns
    loops = dict(zip([item.var for item in nest.order], work.sch.get_loops(block), strict=True))
    threads, across, lane = work.split(loops[form.lane.var], None, -(-share // tile.columns), tile.columns)
    strip, row = work.split(loops[form.rows[0].var], None, tile.rows)
    term = loops[nest.reduce[0].var]
    if stays:
        places, start = work.split(term, _places(terms, _TERMS // rows), None)
        work.sch.reorder(*threads, *across, *strip, *start, *places, *row, *lane)
    else:
        start, places = work.split(term, None, _terms_at_once(terms))
        work.sch.reorder(*threads, *start, *across, *strip, *row, *places, *lane)
    _finish(work, block, start, [*row, *places], lane)
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
