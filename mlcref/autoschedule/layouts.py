"""Layouts of operands that are constants: a copy of them costs nothing where it is made ahead of time."""

from __future__ import annotations

from math import prod

from mlcref.autoschedule.contraction import planned, schedule_contraction
from mlcref.autoschedule.elementwise import schedule_elementwise
from mlcref.autoschedule.partials import VECTORS
from mlcref.autoschedule.structure import Contraction, contraction_of, nest_of
from mlcref.autoschedule.transposes import schedule_transposed
from mlcref.autoschedule.work import Work
from mlcref.ir import Buffer, Expr
from mlcref.schedule import BlockRV

LAYOUT_FREE = "layout_free_buffers"
"""The attribute of a function that lists the positions of parameters that are constants, which are free to copy."""


def schedule_with_constant(work: Work, block: BlockRV) -> bool:
    """Tile a product of few rows and a constant, of which a copy is read from start to end; says whether the block is
    one. Products of more rows pack the operand with the lanes anyway.

    The order of the copy is panel, term, lane: each vector of results is a sum of its own, and none is summed across.
    """
    nest = nest_of(work.func, work.token(block))
    form = None if nest is None else contraction_of(nest)
    if form is None or form.wide.buffer not in _constants(work) or not form.rows or not _pays(work, form):
        return False
    plan = planned(work, form)
    if plan.packed:
        return False
    lane, terms = form.lane, form.nest.reduce
    axes = {index: d for d, index in enumerate(form.wide.indices)}
    if form.batch or set(axes) != {lane.var, *[item.var for item in terms]}:
        return False
    extent, width = form.nest.extents[lane.var], plan.tile.columns
    order = [axes[item.var] for item in terms]

    def panels(*index: Expr) -> list[Expr]:
        at, inner = index[axes[lane.var]], [index[d] for d in order]
        return [at // width, *inner, at % width] if extent > width and extent % width == 0 else [*inner, at]

    position = [region.buffer for region in work.block(block).reads].index(form.wide.buffer)
    copy = work.sch.cache_read(block, position, "global", [block])
    work.sch.transform_layout(block, ("read", position), panels)
    if not schedule_transposed(work, copy):
        schedule_elementwise(work, copy)
    return schedule_contraction(work, block)


def _constants(work: Work) -> set[Buffer]:
    positions = work.func.attrs.get(LAYOUT_FREE, ())
    return {work.func.params[i] for i in positions}


def _pays(work: Work, form: Contraction) -> bool:
    """Is the copy another order, and are there enough vectors of results at once to hide the time of an addition?"""
    extents, lanes = form.nest.extents, work.machine.lanes(form.nest.store.buffer.type)
    if form.wide.indices[-1] is form.lane.var:
        return False
    rows = prod(extents[item.var] for item in form.rows)
    return rows * (extents[form.lane.var] // lanes) >= VECTORS
