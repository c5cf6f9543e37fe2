"""A stage: how one operation is to be computed. Nothing happens until the schedule is lowered."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

from mlcref.errors import ScheduleError, UnsupportedError
from mlcref.ir import Expr
from mlcref.ir.tensor_intrin import TensorIntrin
from mlcref.te.axis import Axis
from mlcref.te.schedule.axes import LoopAxis, StageAxis, ThreadAxis
from mlcref.te.tensor import ComputeOp, Operation

Factor = int | Expr


@dataclass(frozen=True, slots=True)
class Split:
    """``parent`` becomes ``parts``; one of the factors is None, for what is left."""

    parent: StageAxis
    factors: tuple[Factor | None, Factor | None]
    parts: tuple[StageAxis, StageAxis]


@dataclass(frozen=True, slots=True)
class Fuse:
    """``parts``, each right inside the one before, become ``fused``."""

    parts: tuple[StageAxis, ...]
    fused: StageAxis


@dataclass(frozen=True, slots=True)
class Reorder:
    """``axes`` exchange places so that they come in this order."""

    axes: tuple[StageAxis, ...]


@dataclass(frozen=True, slots=True)
class Mark:
    """What is said about the loop ``axis``: its ``kind`` ("parallel", "vectorize", "unroll", "pragma"), or a pragma."""

    kind: str
    axis: StageAxis
    key: str = ""
    value: Any = None


Relation = Split | Fuse | Reorder


class Stage:
    """How the operation ``op`` is computed: its loops, and where. What a method asks for is done when the schedule is
    lowered, by primitives of the TensorIR schedule of the same names; these also refuse what cannot be done.

    >>> from mlcref import te
    >>> A = te.placeholder((64,), name="A")
    >>> B = te.compute((64,), lambda i: A[i] * 2.0, name="B")
    >>> s = te.create_schedule(B.op)
    >>> outer, inner = s[B].split(B.op.axis[0], factor=8)
    >>> s[B].parallel(outer)
    >>> s[B].vectorize(inner)
    >>> print(s.tensor_ir([A, B]).mod["main"].script().partition("noalias")[2])
    ": True})
        # with T.block("root"):
        for i_0 in T.parallel(8):
            for i_1 in T.vectorized(8):
                with T.block("B"):
                    v_i = T.axis.spatial(64, i_0 * 8 + i_1)
                    T.reads(A[v_i])
                    T.writes(B[v_i])
                    B[v_i] = A[v_i] * T.float32(2.0)
    """

    def __init__(self, op: Operation, is_output: bool) -> None:
        self.op, self.is_output = op, is_output
        self.leaf_iter_vars: list[StageAxis] = [*op.axis, *op.reduce_axis]
        self.relations: list[Relation] = []
        self.marks: list[Mark] = []
        self.bindings: dict[StageAxis, ThreadAxis] = {}
        self.inlined = False
        self.attached: tuple[Stage, StageAxis] | None = None
        self.scope = ""
        self.alignments: list[tuple[int, int, int]] = []
        self.intrinsic: tuple[StageAxis, str] | None = None

    # -- loops

    def split(
        self, parent: StageAxis, factor: Factor | None = None, nparts: Factor | None = None
    ) -> tuple[LoopAxis, LoopAxis]:
        """Two loops for ``parent``: the inner one of ``factor`` iterations, or the outer one of ``nparts``. Where that
        does not divide, the iterations beyond the end do nothing. Returns outer and inner.
        """
        if (factor is None) == (nparts is None):
            raise ScheduleError(f"split of {parent.name} takes either factor= or nparts=", rule="te.S2")
        self._leaf(parent)
        outer, inner = (LoopAxis(f"{parent.name}.{part}", parent.kind) for part in ("outer", "inner"))
        self.relations.append(Split(parent, (nparts, factor), (outer, inner)))
        self._replace((parent,), (outer, inner))
        return outer, inner

    def fuse(self, *args: StageAxis) -> LoopAxis:
        """One loop for ``args``, loops of which each is right inside the one before, all of one kind."""
        if not args:
            raise UnsupportedError(f"fuse of no loops of stage {self.op.name}", rule="te.S3")
        places = [self._leaf(axis) for axis in args]
        names = ", ".join(axis.name for axis in args)
        if places != list(range(places[0], places[0] + len(args))):
            raise ScheduleError(f"loops {names} of stage {self.op.name} are not each right inside the one before",
                                rule="te.S3", hint="reorder them first")  # fmt: skip
        if len({axis.kind for axis in args}) != 1:
            raise ScheduleError(f"fuse of {names}: spatial loops and loops of the reduction", rule="te.S3")
        fused = LoopAxis(".".join(axis.name for axis in args) + ".fused", args[0].kind)
        self.relations.append(Fuse(args, fused))
        self._replace(args, (fused,))
        return fused

    def reorder(self, *args: StageAxis) -> None:
        """Put the loops ``args`` in this order, into the places that they have now."""
        places = sorted(self._leaf(axis) for axis in args)
        if len(set(places)) != len(args):
            raise ScheduleError(f"reorder of stage {self.op.name} is given a loop twice", rule="te.S4")
        self.relations.append(Reorder(args))
        for place, axis in zip(places, args, strict=True):
            self.leaf_iter_vars[place] = axis

    def tile(
        self, x_parent: StageAxis, y_parent: StageAxis, x_factor: Factor, y_factor: Factor
    ) -> tuple[LoopAxis, LoopAxis, LoopAxis, LoopAxis]:
        """Split both loops and put the inner ones inside. Returns outer x, outer y, inner x, inner y."""
        x_outer, x_inner = self.split(x_parent, factor=x_factor)
        y_outer, y_inner = self.split(y_parent, factor=y_factor)
        self.reorder(x_outer, y_outer, x_inner, y_inner)
        return x_outer, y_outer, x_inner, y_inner

    # -- how loops run

    def parallel(self, var: StageAxis) -> None:
        """Run the iterations of a loop on all cores."""
        self._mark("parallel", var)

    def vectorize(self, var: StageAxis) -> None:
        """Run the iterations of a loop as lanes of vectors."""
        self._mark("vectorize", var)

    def unroll(self, var: StageAxis) -> None:
        """Write the iterations of a loop out."""
        self._mark("unroll", var)

    def pragma(self, var: StageAxis, pragma_type: str, pragma_value: Any = True) -> None:
        """Annotate a loop with ``pragma_<pragma_type>``."""
        self._leaf(var)
        self.marks.append(Mark("pragma", var, f"pragma_{pragma_type}", pragma_value))

    def bind(self, ivar: StageAxis, thread_ivar: ThreadAxis) -> None:
        """Run the iterations of a loop by the threads of ``te.thread_axis("…")``."""
        self._leaf(ivar)
        if not isinstance(thread_ivar, ThreadAxis):
            raise ScheduleError(f"{thread_ivar!r} is no thread axis", rule="te.S1",
                                hint='te.thread_axis("threadIdx.x") makes one')  # fmt: skip
        if ivar in self.bindings:
            raise ScheduleError(f"loop {ivar.name} is bound to {self.bindings[ivar].thread_tag} already", rule="te.S5")
        self.bindings[ivar] = thread_ivar

    def tensorize(self, var: StageAxis, tensor_intrin: str | TensorIntrin) -> None:
        """Exchange the loop ``var`` and what is inside for a registered intrinsic (``tir.TensorIntrin.register``) whose
        description computes the same; TE declared intrinsics by ``decl_tensor_intrin``.
        """
        self._leaf(var)
        names = [tensor_intrin] if isinstance(tensor_intrin, str) else [
            name for name, known in TensorIntrin.registered.items() if known is tensor_intrin]  # fmt: skip
        if not names or names[0] not in TensorIntrin.registered:
            raise ScheduleError(f"no tensor intrinsic {tensor_intrin!r} is registered", rule="te.S11",
                                hint="tir.TensorIntrin.register(name, desc, impl)")  # fmt: skip
        if self.intrinsic is not None:
            raise ScheduleError(f"stage {self.op.name} is tensorized already", rule="te.S11")
        self.intrinsic = (var, names[0])

    def prefetch(self, *_: Any, **__: Any) -> NoReturn:
        """Unsupported: processors prefetch rows themselves."""
        self._unsupported("prefetch", "processors prefetch rows by themselves; cache_read copies what they do not")

    def double_buffer(self) -> NoReturn:
        """Unsupported: two copies of a buffer, one filled while the other is read."""
        self._unsupported("double_buffer", "annotate the TensorIR schedule s.tensor_ir(args)")

    def env_threads(self, *_: Any) -> NoReturn:
        """Unsupported: threads around the whole kernel."""
        self._unsupported("env_threads", "bind loops of the stage")

    def set_store_predicate(self, *_: Any) -> NoReturn:
        """Unsupported: stores by some of the threads."""
        self._unsupported("set_store_predicate", "te.if_then_else in the expression says what is stored")

    def _unsupported(self, wish: str, hint: str) -> NoReturn:
        raise UnsupportedError(f"{wish} of stage {self.op.name}", rule="te.S11", hint=hint)

    # -- where it is computed

    def compute_at(self, parent: Stage, scope: StageAxis) -> None:
        """Compute what each iteration of the loop ``scope`` of ``parent``, a stage that needs this one, needs."""
        if parent is self:
            raise ScheduleError(f"stage {self.op.name} cannot be computed inside itself", rule="te.S6")
        if not isinstance(self.op, ComputeOp) or (self.op.num_outputs > 1 and not self.op.reduce_axis):
            raise UnsupportedError(
                f"compute_at of {self.op!r}: only a computation in one block can be moved", rule="te.S6",
                hint="compute each value as a tensor of its own",
            )  # fmt: skip
        parent._leaf(scope)
        self.attached, self.inlined = (parent, scope), False

    def compute_inline(self) -> None:
        """Compute each element where it is used."""
        if not isinstance(self.op, ComputeOp):
            raise ScheduleError(f"{self.op!r} computes nothing that could be inlined", rule="te.S6")
        self.attached, self.inlined = None, True

    def compute_root(self) -> None:
        """Compute the whole tensor before the stages that need it: undoes ``compute_at`` and ``compute_inline``."""
        self.attached, self.inlined = None, False

    def set_scope(self, scope: str) -> None:
        """Keep the tensor in memory of ``scope``: "global", "shared", "local"."""
        if self.is_output or not isinstance(self.op, ComputeOp):
            raise ScheduleError(f"stage {self.op.name} is in memory that the caller gives", rule="te.S7",
                                hint="cache_read or cache_write makes a tensor of its own")  # fmt: skip
        self._single("set_scope")
        self.scope = scope

    def storage_align(self, axis: Axis, factor: int, offset: int) -> None:
        """Lay the tensor out so that the stride of ``axis`` is a multiple of ``factor`` plus ``offset``."""
        dimensions = [number for number, own in enumerate(self.op.axis) if own is axis]
        if not dimensions:
            raise ScheduleError(f"{axis!r} is no dimension of {self.op.name}", rule="te.S7")
        self._single("storage_align")
        self.alignments.append((dimensions[0], factor, offset))

    @property
    def is_scheduled(self) -> bool:
        """Has anything been asked of this stage that determines its loops or its place?"""
        return bool(self.relations) or self.inlined or self.attached is not None

    # -- bookkeeping

    def _single(self, wish: str) -> None:
        if self.op.num_outputs != 1:
            raise UnsupportedError(f"{wish} of the {self.op.num_outputs} tensors of {self.op.name}", rule="te.S7")

    def place_of(self, axis: Any) -> int | None:
        """The depth of the loop ``axis`` in the nest of this stage; None when there is no such loop (any more)."""
        return next((place for place, leaf in enumerate(self.leaf_iter_vars) if leaf is axis), None)

    def _leaf(self, axis: Any) -> int:
        place = self.place_of(axis)
        if place is None:
            loops = ", ".join(leaf.name for leaf in self.leaf_iter_vars) or "none"
            raise ScheduleError(f"{axis!r} is no loop of stage {self.op.name}", rule="te.S2",
                                hint=f"its loops now: {loops}")  # fmt: skip
        return place

    def _replace(self, old: Sequence[StageAxis], new: Sequence[StageAxis]) -> None:
        place = self._leaf(old[0])
        self.leaf_iter_vars[place : place + len(old)] = new

    def _mark(self, kind: str, axis: StageAxis) -> None:
        self._leaf(axis)
        self.marks.append(Mark(kind, axis))

    def __repr__(self) -> str:
        return f"Stage({self.op.name})"
