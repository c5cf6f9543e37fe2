"""Reductions in two steps: partial results per iteration of a loop, and their combination."""

from __future__ import annotations

from dataclasses import dataclass

from mlcref.errors import ScheduleError, UnsupportedError
from mlcref.ir import LT, And, Buffer, Const, Expr, Var, const, constant, load, substitute
from mlcref.te import reduction
from mlcref.te.axis import Axis, axis
from mlcref.te.reduction import Reduce
from mlcref.te.schedule.axes import StageAxis
from mlcref.te.schedule.stage import Split, Stage
from mlcref.te.tensor import ComputeOp

_KNOWN = (reduction.sum, reduction.prod, reduction.max, reduction.min)
"""Reducers whose operands may be combined in any order."""


@dataclass(frozen=True, slots=True)
class Cut:
    """The axis ``whole`` of a reduction in two: ``factored`` keeps its partial results apart, ``rest`` (None where
    nothing is left) is still reduced; ``value`` is what ``whole`` was, in bounds where ``inside`` holds.
    """

    whole: Axis
    factored: Axis
    rest: Axis | None
    value: Expr
    inside: Expr | None


def cut_of(stage: Stage, loop: StageAxis) -> Cut:
    """How ``loop`` of ``stage`` cuts the reduction; raises ``ScheduleError`` (te.S10) unless it is an axis of the
    reduction, or half of one that was split, and nothing else was asked of the stage's loops.
    """
    op = stage.op
    whole = next((one for one in op.reduce_axis if one is loop), None)
    splits = [one for one in stage.relations if isinstance(one, Split) and any(part is loop for part in one.parts)]
    if splits:
        whole = next((one for one in op.reduce_axis if one is splits[0].parent), None)
    if whole is None or stage.relations != splits or stage.marks or stage.bindings or stage.place_of(loop) is None:
        raise ScheduleError(
            f"{loop.name} is neither an axis of the reduction {op.name} nor half of one, in loops as they were",
            rule="te.S10", hint="split the axis, then call rfactor first",
        )  # fmt: skip
    if not splits:
        factored = axis(loop.name, const(0, whole.dtype), whole.dom.extent, "spatial")
        return Cut(whole, factored, None, _from(whole, factored.var), None)
    return _halves(whole, splits[0], loop)


def _halves(whole: Axis, split: Split, loop: StageAxis) -> Cut:
    extent = constant(whole.dom.extent)
    sizes = [constant(n) if isinstance(n, Const) else n for n in split.factors]
    given = sizes[0] if sizes[0] is not None else sizes[1]
    if extent is None or not isinstance(given, int):
        raise UnsupportedError(f"rfactor of the reduction axis {whole.name} of symbolic extent", rule="te.S10")
    other = -(-extent // given)
    outer, inner = (given, other) if sizes[0] is not None else (other, given)
    is_outer = split.parts[0] is loop
    kinds = ("spatial", "reduce") if is_outer else ("reduce", "spatial")
    parts = [
        axis(f"{whole.name}_{number}", const(0, whole.dtype), const(size, whole.dtype), kind)
        for number, (size, kind) in enumerate(zip((outer, inner), kinds, strict=True))
    ]
    number = parts[0].var * inner + parts[1].var
    inside = None if outer * inner == extent else LT(number, const(extent, whole.dtype))
    factored, rest = parts if is_outer else parts[::-1]
    return Cut(whole, factored, rest, _from(whole, number), inside)


def _from(whole: Axis, number: Expr) -> Expr:
    """The value of an axis at ``number``, counted from 0."""
    return number if constant(whole.dom.min) == 0 else number + whole.dom.min


def partial_op(op: ComputeOp, cut: Cut, place: int) -> ComputeOp:
    """The operation that computes the partial results, which has the factored axis as its dimension ``place``."""
    reduce = op.body[0]
    if not isinstance(reduce, Reduce) or reduce.reducer not in _KNOWN:
        raise UnsupportedError(f"rfactor of {op.name}: only te.sum, prod, max and min are known to allow another order",
                               rule="te.S10")  # fmt: skip
    fresh = [axis(f"{one.name}_p", one.dom.min, one.dom.extent, "spatial") for one in op.axis]
    values: dict[Var, Expr] = {old.var: new.var for old, new in zip(op.axis, fresh, strict=True)}
    values[cut.whole.var] = cut.value
    source = substitute(reduce.sources[0], values)
    condition = None if reduce.condition is None else substitute(reduce.condition, values)
    if cut.inside is not None:
        condition = cut.inside if condition is None else And(cut.inside, condition)
    rest = [one for one in op.reduce_axis if one is not cut.whole] + ([] if cut.rest is None else [cut.rest])
    body = reduce.reducer(source, axis=rest, where=condition) if rest else source
    if not rest and condition is not None:
        raise UnsupportedError(f"rfactor of {op.name}: all of its reduction, with a where=", rule="te.S10")
    fresh.insert(place, cut.factored)
    return ComputeOp(f"{op.name}_rf", tuple(fresh), (body,), op.tag, op.attrs)


def combining_op(op: ComputeOp, cut: Cut, partial: Buffer, place: int) -> ComputeOp:
    """The operation that combines the partial results; it writes what ``op`` wrote."""
    reduce = op.body[0]
    assert isinstance(reduce, Reduce)
    rv = axis(f"{cut.factored.name}_v", const(0, cut.factored.dtype), cut.factored.dom.extent, "reduce")
    indices: list[Expr] = [one.var for one in op.axis]
    indices.insert(place, rv.var)
    start = reduce.init[0] if reduce.init else None
    body = reduce.reducer(load(partial, indices), axis=rv, init=start)
    return ComputeOp(op.name, op.axis, (body,), op.tag, op.attrs, [op.output(0).buffer])
