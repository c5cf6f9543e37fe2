"""A schedule of tensor expressions as primitives of the TensorIR schedule.

The stages are taken from the results back to the inputs, so that the loops of a stage are final when the stages that it
needs are put into them:

1. stages to be inlined, and the scopes of memory;
2. of each stage: move it to where it is computed, one loop per axis; split, fuse and reorder; bind threads, whose
   number decides how much of shared memory the stages inside fill;
3. parallel, vectorized and unrolled loops, pragmas;
4. of each reduction: the init before its first loop, where TE has always put it; then intrinsics.
"""

from __future__ import annotations

from collections.abc import Sequence

from mlcref.errors import ScheduleError, UnsupportedError
from mlcref.ir import For, IRModule, Var, constant
from mlcref.schedule import BlockRV, LoopRV
from mlcref.schedule import Schedule as TensorIRSchedule
from mlcref.te.prim_func import Origin, computation
from mlcref.te.schedule.axes import StageAxis, ThreadAxis
from mlcref.te.schedule.stage import Fuse, Relation, Split, Stage
from mlcref.te.tensor import ComputeOp, Tensor

Loops = dict[StageAxis, LoopRV]
_VIRTUAL = ("vthread.x", "vthread.y", "vthread.z")


def realized(stages: Sequence[Stage], args: Sequence[Tensor | Var], origin: Origin, name: str) -> TensorIRSchedule:
    """The schedule that makes of ``args`` what ``stages`` ask for."""
    made = computation(args, origin)
    sch = TensorIRSchedule(IRModule({name: made.func.with_attr("global_symbol", name)}))
    sch.work_on(name)
    blocks = {stage: [sch.get_block(block) for block in made.blocks[stage.op]] for stage in stages}
    standing = [stage for stage in stages if not stage.inlined]
    _place_memory(sch, blocks, standing)
    for stage in stages:
        for block in blocks[stage] if stage.inlined else ():
            if len(blocks[stage]) == 1 or sch.get_consumers(block):  # one of several values may be wanted by nobody
                sch.compute_inline(block)
    loops: dict[Stage, Loops] = {}
    tags = _thread_tags(standing)
    for stage in reversed(standing):
        if isinstance(stage.op, ComputeOp):
            loops[stage] = _nest(sch, stage, blocks[stage][0], loops, tags)
    for stage in standing:
        _mark(sch, stage, loops.get(stage, {}))
    for stage in standing:
        _finish(sch, stage, blocks[stage][0], loops.get(stage, {}))
    return sch


def _place_memory(sch: TensorIRSchedule, blocks: dict[Stage, list[BlockRV]], stages: Sequence[Stage]) -> None:
    for stage in stages:
        for block in blocks[stage]:
            if stage.scope:
                sch.set_scope(block, 0, stage.scope)
            for dimension, factor, offset in stage.alignments:
                sch.storage_align(block, 0, dimension, factor, offset)


def _thread_tags(stages: Sequence[Stage]) -> dict[ThreadAxis, str]:
    """The tags of the thread axes in TensorIR. TE makes a new axis "vthread" each time; here there are three."""
    axes = list(dict.fromkeys(axis for stage in stages for axis in stage.bindings.values()))
    virtual = [axis for axis in axes if axis.thread_tag == "vthread"]
    if len(virtual) > len(_VIRTUAL):
        raise UnsupportedError(f"{len(virtual)} axes of virtual threads, where there are {len(_VIRTUAL)}", rule="te.S5",
                               hint="fuse loops before they are bound")  # fmt: skip
    tags = {axis: axis.thread_tag for axis in axes}
    return tags if len(virtual) < 2 else {**tags, **dict(zip(virtual, _VIRTUAL, strict=False))}


def _nest(
    sch: TensorIRSchedule, stage: Stage, block: BlockRV, loops: dict[Stage, Loops], tags: dict[ThreadAxis, str]
) -> Loops:
    """Move the stage and make its loops; returns them by their axes."""
    axes: list[StageAxis] = [*stage.op.axis, *stage.op.reduce_axis]
    if stage.attached is not None:
        sch.compute_at(block, _attach_point(stage, loops), preserve_unit_loops=True)
    found = sch.get_loops(block)
    own = dict(zip(axes, found[len(found) - len(axes) :], strict=True))
    for relation in stage.relations:
        _relate(sch, relation, own)
    for axis, thread in stage.bindings.items():
        _bind(sch, stage, own, axis, thread, tags[thread])
    return own


def _attach_point(stage: Stage, loops: dict[Stage, Loops]) -> LoopRV:
    assert stage.attached is not None
    parent, axis = stage.attached
    if parent not in loops:
        raise ScheduleError(
            f"stage {stage.op.name} is to be computed at stage {parent.op.name}, which is inlined or does not need it",
            rule="te.S6",
        )
    if parent.place_of(axis) is None:
        raise ScheduleError(
            f"stage {stage.op.name} is to be computed at {axis.name} of stage {parent.op.name}, which has no such loop "
            "any more",
            rule="te.S6", hint="call compute_at after splitting and fusing",
        )  # fmt: skip
    return loops[parent][axis]


def _relate(sch: TensorIRSchedule, relation: Relation, own: Loops) -> None:
    if isinstance(relation, Split):
        parts = sch.split(own.pop(relation.parent), list(relation.factors))
        own.update(zip(relation.parts, parts, strict=True))
    elif isinstance(relation, Fuse):
        own[relation.fused] = sch.fuse(*[own.pop(axis) for axis in relation.parts])
    else:
        sch.reorder(*[own[axis] for axis in relation.axes])


def _bind(
    sch: TensorIRSchedule, stage: Stage, own: Loops, axis: StageAxis, thread: ThreadAxis, tag: str
) -> None:
    loop = _loop(stage, own, axis, f"bound to {thread.thread_tag}")
    node = sch.get(loop)
    extent = constant(node.extent) if isinstance(node, For) else None
    if thread.extent is not None and extent is not None and extent != thread.extent:
        raise ScheduleError(
            f"loop {axis.name} of stage {stage.op.name} has {extent} iterations, {thread.thread_tag} is of "
            f"{thread.extent} threads", rule="te.S5",
        )  # fmt: skip
    sch.bind(loop, tag)


def _loop(stage: Stage, own: Loops, axis: StageAxis, wish: str) -> LoopRV:
    if axis not in own:
        raise ScheduleError(f"loop {axis.name} of stage {stage.op.name}, to be {wish}, was split or fused afterwards",
                            rule="te.S5", hint="say it of the loops that it became")  # fmt: skip
    return own[axis]


def _mark(sch: TensorIRSchedule, stage: Stage, own: Loops) -> None:
    for mark in stage.marks:
        loop = _loop(stage, own, mark.axis, mark.kind)
        if mark.kind == "pragma":
            sch.annotate(loop, mark.key, mark.value)
        else:
            getattr(sch, mark.kind)(loop)


def _finish(sch: TensorIRSchedule, stage: Stage, block: BlockRV, own: Loops) -> None:
    """The init of a reduction before its loops, and an intrinsic in the place of the innermost ones."""
    outside = stage.leaf_iter_vars
    if stage.intrinsic is not None:
        axis, name = stage.intrinsic
        block = sch.blockize(_loop(stage, own, axis, f"tensorized by {name}"))
        outside = outside[: stage.place_of(axis)]
    first = next((axis for axis in outside if axis.kind == "reduce"), None)
    if first is not None:
        _decompose(sch, block, own[first])
    if stage.intrinsic is not None:
        sch.tensorize(block, stage.intrinsic[1])


def _decompose(sch: TensorIRSchedule, block: BlockRV, loop: LoopRV) -> None:
    """The init before the first loop of the reduction. Where that cannot be shown to be right, as with reductions by
    several threads, the block keeps it, which means the same.
    """
    try:
        sch.decompose_reduction(block, loop)
    except ScheduleError as error:
        if error.rule is None or not error.rule.startswith("decompose_reduction."):
            raise
