"""Schedules of tensor expressions: :func:`create_schedule`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mlcref.errors import ScheduleError, UnsupportedError
from mlcref.ir import NO_ATTRS, Attrs, Buffer, Expr, Var, const, load, replace, replace_buffers, substitute
from mlcref.schedule import Schedule as TensorIRSchedule
from mlcref.te.axis import Axis, TensorExpressionError, axis
from mlcref.te.prim_func import sorted_operations
from mlcref.te.schedule.axes import StageAxis
from mlcref.te.schedule.realize import realized
from mlcref.te.schedule.rfactor import combining_op, cut_of, partial_op
from mlcref.te.schedule.stage import Stage
from mlcref.te.tensor import ComputeOp, Operation, PlaceholderOp, Tensor


def create_schedule(ops: Operation | Sequence[Operation]) -> Schedule:
    """A schedule of ``ops``, the operations of the results (``C.op``), and of all that they need.

    Raises ``ScheduleError`` for what is no operation. As ``te.create_schedule`` of TVM up to 0.17.

    >>> from mlcref import te
    >>> A, B = te.placeholder((64, 64), name="A"), te.placeholder((64, 64), name="B")
    >>> k = te.reduce_axis((0, 64), "k")
    >>> C = te.compute((64, 64), lambda x, y: te.sum(A[x, k] * B[k, y], axis=k), name="C")
    >>> s = te.create_schedule(C.op)
    >>> x, y = s[C].op.axis
    >>> s[C].reorder(x, *s[C].op.reduce_axis, y)
    >>> [axis.name for axis in s[C].leaf_iter_vars]
    ['x', 'k', 'y']
    """
    outputs: list[Any] = list(ops) if isinstance(ops, list | tuple) else [ops]
    for op in outputs:
        if not isinstance(op, Operation):
            raise ScheduleError(f"create_schedule takes operations, not {op!r}", rule="te.S8", hint="write C.op")
        if isinstance(op, PlaceholderOp):
            raise ScheduleError(f"{op.name} is an input: there is nothing to schedule", rule="te.S8")
    return Schedule(outputs)


class Schedule:
    """How tensors are to be computed: ``s[C]`` is the stage of ``C``. Lowering applies it as primitives of the TensorIR
    schedule to the function of :func:`create_prim_func`; :meth:`tensor_ir` shows them.
    """

    def __init__(self, outputs: Sequence[Operation]) -> None:
        self._of_buffer: dict[Buffer, Stage] = {}
        self._of_operation: dict[Operation, Stage] = {}
        self._tensors: list[Tensor] = []  # holds on to the buffers
        self.outputs = list(dict.fromkeys(outputs))
        results = [op.output(0) for op in self.outputs]
        for op in sorted_operations(results, lambda tensor: tensor.op):
            for source in op.input_tensors:
                if source.op not in self._of_operation:
                    self._enter(Stage(source.op, False))
            self._enter(Stage(op, op in self.outputs))

    @property
    def stages(self) -> list[Stage]:
        """The stages of all computed tensors, each after those that it needs."""
        results = [tensor for tensor in self._tensors if self._of_buffer[tensor.buffer].is_output]
        return [self._of_operation[op] for op in sorted_operations(results, self.origin)]

    def origin(self, tensor: Tensor) -> Operation:
        """The operation that computes ``tensor`` in this schedule, where caches may stand between others."""
        return self[tensor].op

    def __getitem__(self, key: Tensor | Operation) -> Stage:
        """The stage of a tensor or operation; raises ``ScheduleError`` when the schedule has none."""
        found = self._of_buffer.get(key.buffer) if isinstance(key, Tensor) else self._of_operation.get(key)
        if found is None:
            raise ScheduleError(f"{key!r} is not computed in this schedule", rule="te.S8")
        return found

    def __contains__(self, key: Tensor | Operation) -> bool:
        return (key.buffer in self._of_buffer) if isinstance(key, Tensor) else key in self._of_operation

    # -- caches

    def cache_read(self, tensor: Tensor, scope: str, readers: Any) -> Tensor:
        """A copy of ``tensor`` in memory of ``scope``, which ``readers`` (operations or tensors) read in its place.

        Returns the copy, a stage to be computed where it is wanted. Raises ``ScheduleError`` for a reader that does not
        read ``tensor``.
        """
        given = list(readers) if isinstance(readers, list | tuple) else [readers]
        stages = [self[reader] for reader in given]
        for stage in stages:
            if not isinstance(stage.op, ComputeOp) or tensor not in stage.op.input_tensors:
                read = ", ".join(one.buffer.name for one in stage.op.input_tensors) or "nothing"
                raise ScheduleError(f"stage {stage.op.name} does not read {tensor.buffer.name}", rule="te.S9",
                                    hint=f"it reads {read}")  # fmt: skip
        axes = tuple([axis(f"ax{d}", *_from_zero(extent), "spatial") for d, extent in enumerate(tensor.shape)])
        copy = load(tensor.buffer, [one.var for one in axes])
        cache = self._cache(tensor.buffer.name, scope, axes, (copy,))[0]
        for stage in stages:
            if isinstance(stage.op, ComputeOp):
                self._exchange(stage, _reading(stage.op, {tensor.buffer: cache.buffer}))
        return cache

    def cache_write(self, tensor: Any, scope: str) -> Any:
        """Compute ``tensor`` into memory of ``scope``; its own stage becomes the copy from there. A list of all tensors
        of one operation is cached together.

        Returns the cache (or list of caches), whose stage has the reduction. Raises ``ScheduleError`` when loops of the
        stage were changed before.
        """
        tensors = list(tensor) if isinstance(tensor, list | tuple) else [tensor]
        stage = self[tensors[0]]
        op = stage.op
        if not isinstance(op, ComputeOp):
            raise ScheduleError(f"{op!r} computes nothing that could be cached", rule="te.S9")
        if [one.buffer for one in tensors] != [one.buffer for one in op.outputs()]:
            raise ScheduleError(f"cache_write takes all {op.num_outputs} tensors of {op.name}, in order", rule="te.S9")
        if stage.relations or stage.marks or stage.bindings:
            raise ScheduleError(f"cache_write of {op.name} after its loops were changed", rule="te.S9",
                                hint="call cache_write first, then schedule the loops of the copy")  # fmt: skip
        axes = tuple([axis(f"{one.name}_c", one.dom.min, one.dom.extent, "spatial") for one in op.axis])
        values: dict[Var, Expr] = {old.var: new.var for old, new in zip(op.axis, axes, strict=True)}
        body = tuple([substitute(value, values) for value in op.body])
        caches = self._cache(op.name, scope, axes, body, op.attrs)
        copies = tuple([load(cache.buffer, [one.var for one in op.axis]) for cache in caches])
        self._exchange(stage, ComputeOp(op.name, op.axis, copies, buffers=[one.buffer for one in tensors]))
        stage.leaf_iter_vars = list(op.axis)
        return caches if isinstance(tensor, list | tuple) else caches[0]

    def rfactor(self, tensor: Tensor, axis: StageAxis, factor_axis: int = 0) -> Tensor:
        """Reduce ``tensor`` in two steps: partial results, one per iteration of the loop ``axis`` of its reduction, as
        dimension ``factor_axis`` of a new tensor, and their combination, which is left to the stage of ``tensor``.

        Returns the tensor of partial results. Raises ``ScheduleError`` (te.S10) for a loop that is no axis of the
        reduction or half of a split one, and after other wishes about the loops, ``UnsupportedError`` for reducers of
        one's own, symbolic extents of split axes, and several tensors at once.

        >>> from mlcref import te
        >>> A, k = te.placeholder((4, 64), name="A"), te.reduce_axis((0, 64), "k")
        >>> B = te.compute((4,), lambda i: te.sum(A[i, k], axis=k), name="B")
        >>> s = te.create_schedule(B.op)
        >>> outer, inner = s[B].split(k, factor=8)
        >>> [int(n) for n in s.rfactor(B, inner).shape]
        [8, 4]
        """
        stage = self[tensor]
        op = stage.op
        if not isinstance(op, ComputeOp) or op.num_outputs != 1:
            raise UnsupportedError(f"rfactor of {op!r}: one tensor is reduced at a time", rule="te.S10")
        place = factor_axis + len(op.axis) + 1 if factor_axis < 0 else factor_axis
        if not 0 <= place <= len(op.axis):
            raise ScheduleError(f"{op.name} has no place {factor_axis} for one more dimension", rule="te.S10")
        cut = cut_of(stage, axis)
        (partial,) = self._enter(Stage(partial_op(op, cut, place), False))
        self._exchange(stage, combining_op(op, cut, partial.buffer, place))
        stage.relations.clear()
        stage.leaf_iter_vars = [*stage.op.axis, *stage.op.reduce_axis]
        return partial

    def _cache(
        self, name: str, scope: str, axes: tuple[Axis, ...], body: tuple[Expr, ...], attrs: Attrs = NO_ATTRS
    ) -> list[Tensor]:
        """New tensors in memory of ``scope``: the values ``body`` over ``axes``."""
        plain = ComputeOp(f"{name}_{scope.replace('.', '_')}", axes, body, attrs=attrs)
        buffers = [replace(tensor.buffer, scope=scope) for tensor in plain.outputs()]
        return self._enter(Stage(ComputeOp(plain.name, axes, body, attrs=attrs, buffers=buffers), False))

    def _enter(self, stage: Stage) -> list[Tensor]:
        self._of_operation[stage.op] = stage
        tensors = list(stage.op.outputs())
        self._tensors += tensors
        self._of_buffer.update({tensor.buffer: stage for tensor in tensors})
        return tensors

    def _exchange(self, stage: Stage, op: Operation) -> None:
        stage.op = op
        self._of_operation[op] = stage

    # -- what it comes to

    def tensor_ir(self, args: Sequence[Tensor | Var], name: str = "main") -> TensorIRSchedule:
        """The TensorIR schedule that does what this one asks for: its ``mod`` is the scheduled program with the
        parameters ``args``, its ``trace`` the primitives.

        Raises ``TensorExpressionError`` for arguments that :func:`create_prim_func` refuses or that lack a result, and
        ``ScheduleError`` where a primitive refuses.
        """
        for missing in self.results_beside(args):
            raise TensorExpressionError(f"the result {missing.op.name} is not among the arguments", rule="te.T6",
                                        hint=f"add {missing.op.name} to the list")  # fmt: skip
        for arg in args:
            if isinstance(arg, Tensor) and arg not in self and not isinstance(arg.op, PlaceholderOp):
                raise TensorExpressionError(f"{arg.name} is not computed in this schedule", rule="te.T6",
                                            hint="create_schedule takes the operations of all results")  # fmt: skip
        return realized(self.stages, args, self._origin_of_argument, name)

    def results_beside(self, args: Sequence[Tensor | Var]) -> list[Tensor]:
        """The first tensor of each operation of the schedule's results of which none is among ``args``."""
        given = {arg.buffer for arg in args if isinstance(arg, Tensor)}
        results = [stage.op.outputs() for stage in self.stages if stage.is_output]
        return [made[0] for made in results if not any(tensor.buffer in given for tensor in made)]

    def _origin_of_argument(self, tensor: Tensor) -> Operation:
        return self[tensor].op if tensor in self else tensor.op


def _from_zero(extent: Expr) -> tuple[Expr, Expr]:
    return const(0, extent.dtype), extent


def _reading(op: ComputeOp, exchanged: dict[Buffer, Buffer]) -> ComputeOp:
    """``op`` reading other buffers."""
    body = tuple([replace_buffers(value, exchanged) for value in op.body])
    return ComputeOp(op.name, op.axis, body, op.tag, op.attrs, [tensor.buffer for tensor in op.outputs()])
