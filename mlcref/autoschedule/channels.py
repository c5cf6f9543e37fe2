"""Convolutions whose channels come before the pixels: their results are made with channels last, then turned."""

from __future__ import annotations

from mlcref.autoschedule.contraction import schedule_contraction
from mlcref.autoschedule.inlining import inline_elementwise
from mlcref.autoschedule.structure import Contraction, contraction_of, nest_of
from mlcref.autoschedule.work import Work
from mlcref.ir import Expr, IterVar
from mlcref.schedule import BlockRV


def schedule_channels_first(work: Work, block: BlockRV) -> bool:
    """Tile a sum of products over windows along the last dimension; says whether the block is one.

    Lanes along the windows would not start at multiples of a vector, so another dimension of the result becomes its
    last one: that of the filters, which are packed. A second block puts what was made in its place, from the cache.
    """
    nest = nest_of(work.func, work.token(block))
    form = None if nest is None else contraction_of(nest)
    if form is None or any(index is form.lane.var for index in form.wide.indices):
        return False
    filters = filters_of(form)
    if filters is None:
        return False
    turned = work.sch.cache_write(block, 0, "global")
    at = next(d for d, index in enumerate(form.nest.store.indices) if index is filters.var)

    def filters_last(*index: Expr) -> list[Expr]:
        return [*index[:at], *index[at + 1 :], index[at]]

    work.sch.transform_layout(block, ("write", 0), filters_last)
    inline_elementwise(work, turned)
    return schedule_contraction(work, block)


def filters_of(form: Contraction) -> IterVar | None:
    """The iterator over filters: one that alone is an index of the operand without windows."""
    own = [item for item in form.rows if any(index is item.var for index in form.narrow.indices)]
    if not own or not all(any(i is item.var for item in form.nest.spatial) for i in form.nest.store.indices):
        return None
    return max(own, key=lambda item: form.nest.extents[item.var])
