"""Convolutions whose channels come before the pixels, and that sum few terms: lanes are pixels of a row.

With filters as lanes, each result is moved once more, to where it belongs. That takes about as long as a few dozen
terms, which is little beside hundreds of them; where there are fewer, the results are made where they belong.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

from mlcref.autoschedule.channels import filters_of
from mlcref.autoschedule.contraction import follow, follower_of
from mlcref.autoschedule.structure import Contraction, contraction_of, nest_of
from mlcref.autoschedule.windows import runs_along
from mlcref.autoschedule.work import Work
from mlcref.dtype import is_float
from mlcref.ir import IterVar
from mlcref.schedule import BlockRV, LoopRV

_MOST_TERMS = 72
"""So many terms at most are a short sum."""
_FARTHEST = 2
"""At most so far from each other are the elements that neighbouring lanes read."""
_FILTERS, _FEWEST = 8, 4
"""Filters of a register tile: at most, and at least, unless there are no more."""
_VECTORS = 2
"""Vectors of pixels of a register tile."""
_MOST_UNROLLED = 256
"""Products that are written out."""


def schedule_short_sums(work: Work, block: BlockRV) -> bool:
    """Keep a few vectors of a row of pixels, for a few filters, in registers while a short sum of products over windows
    runs; says whether the block is one."""
    nest = nest_of(work.func, work.token(block))
    form = None if nest is None else contraction_of(nest)
    plan = None if form is None else _planned(work, form)
    if form is None or plan is None:
        return False
    after = follower_of(work, block, form)
    outer = _tile(work, block, plan)
    if after is not None:
        follow(work, after, outer, None)
    work.share(outer[: plan.shared], prod(form.nest.extents.values()))
    work.finish(block)
    return True


@dataclass(frozen=True, slots=True)
class Plan:
    """A register tile of ``several`` filters and ``width`` pixels; ``shared`` loops, the first ones, are over rows."""

    form: Contraction
    filters: IterVar
    several: int
    width: int
    shared: int


def _planned(work: Work, form: Contraction) -> Plan | None:
    """The tile; None where a sum is long, lanes are not pixels of windows, or filters come in odd numbers."""
    extents, types = form.nest.extents, {form.narrow.buffer.type, form.wide.buffer.type, form.nest.store.buffer.type}
    filters, lanes = filters_of(form), work.machine.lanes(form.nest.store.buffer.type)
    is_short = prod(extents[item.var] for item in form.nest.reduce) <= min(_MOST_TERMS, work.machine.terms)
    if filters is None or not is_short or len(types) > 1 or not is_float(*types):
        return None
    slides = not any(index is form.lane.var for index in form.wide.indices)
    if not slides or extents[form.lane.var] < lanes or not runs_along(form.wide, form.lane, form.nest, _FARTHEST):
        return None
    count = extents[filters.var]
    several = max(n for n in range(1, _FILTERS + 1) if count % n == 0)
    if several < min(_FEWEST, count):
        return None
    vectors = _VECTORS if extents[form.lane.var] % (_VECTORS * lanes) == 0 else 1
    return Plan(form, filters, several, vectors * lanes, len(form.nest.spatial) - 2)


def _tile(work: Work, block: BlockRV, plan: Plan) -> list[LoopRV]:
    """Split and order the loops, write out filters and taps, vectorize; the loops around the register tile."""
    sch, nest = work.sch, plan.form.nest
    loops = dict(zip([item.var for item in nest.order], sch.get_loops(block), strict=True))
    rest, filters = work.split(loops[plan.filters.var], None, plan.several)
    across, lane = work.split(loops[plan.form.lane.var], None, plan.width)
    rows = [loops[item.var] for item in nest.spatial if item not in (plan.filters, plan.form.lane)]
    terms = [loops[item.var] for item in nest.reduce]
    outer = [*rows, *rest, *across]
    sch.reorder(*outer, *terms, *filters, *lane)
    written = plan.several * _VECTORS
    for loop in reversed(terms):
        written *= work.extent(loop)
        if written <= _MOST_UNROLLED:
            sch.unroll(loop)
    for loop in filters:
        sch.unroll(loop)
    for loop in lane:
        sch.vectorize(loop)
    return outer
