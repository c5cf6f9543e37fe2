"""Passes in order."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from mlcref.autoschedule import Machine, autoschedule
from mlcref.errors import MlcrefError
from mlcref.ir.function import IRModule
from mlcref.ir import transform
from mlcref.ir.transform import Pass, PassContext, PassInfo
from mlcref.relax.constants import AttachAttrLayoutFreeBuffers, FoldConstant, SplitLayoutRewritePreproc
from mlcref.relax.dead_code import DeadCodeElimination
from mlcref.relax.decompose import DecomposeOpsForInference
from mlcref.relax.fuse_ops import FuseOps
from mlcref.relax.fuse_tir import FuseTIR
from mlcref.relax.legalize import LegalizeOps
from mlcref.relax.op_pattern import AnnotateTIROpPattern
from mlcref.relax.rewriter import graph_functions
from mlcref.relax.wellformed import wellformed_graph


class Sequential(transform.Sequential):
    """``passes`` one after the other, as one pass. The module that each leaves is checked to be well formed.

    Raises ``WellformedError`` where it is not. Source: ``tvm.transform.Sequential``.

    >>> list(Sequential([FoldConstant(), DeadCodeElimination()])(IRModule({})).functions)
    []
    """

    def __init__(
        self, passes: Sequence[Callable[[IRModule], IRModule]], opt_level: int = 0, name: str = "sequential"
    ) -> None:
        super().__init__([made for step in passes for made in (step, _checked)], opt_level, name)


def _checked(module: IRModule) -> IRModule:
    wellformed_graph(module)
    return module


class ScheduleTensorPrograms(Pass):
    """Schedule the tensor programs of a module with ``mlcref.autoschedule``; its arguments are those of that function.
    """

    info = PassInfo(0, "ScheduleTensorPrograms")

    def __init__(self, target: Any = None, *, check: str = "off", machine: Machine | None = None) -> None:
        self.target, self.check, self.machine = target, check, machine

    def transform_module(self, mod: IRModule, ctx: PassContext) -> IRModule:
        """A copy of ``mod`` with the programs scheduled."""
        return autoschedule(mod, self.target, check=self.check, machine=self.machine).mod


class RemoveUncalledFunctions(Pass):
    """``DeadCodeElimination`` with all graph functions for entries."""

    info = PassInfo(0, "RemoveUncalledFunctions")

    def transform_module(self, mod: IRModule, ctx: PassContext) -> IRModule:
        """A copy of ``mod`` without tensor programs that no graph function calls; a module without any stays."""
        entries = list(graph_functions(mod))
        return DeadCodeElimination(entries)(mod) if entries else mod


def zero_pipeline() -> Sequential:
    """What a graph should have whatever becomes of it: constants computed, operators legalized, calls fused. Source:
    TVM's "zero"."""
    return Sequential([
        FoldConstant(), LegalizeOps(), FoldConstant(), AnnotateTIROpPattern(), FuseOps(), FuseTIR(),
        RemoveUncalledFunctions(),
    ], name="zero")  # fmt: skip


def autoschedule_pipeline(
    target: Any = None, *, check: str = "off", machine: Machine | None = None
) -> Sequential:
    """From a graph with bound weights to scheduled programs: what "zero" does, normalizations written out before, then
    weights get the layout that their schedules want, ahead of time."""
    return Sequential([
        DecomposeOpsForInference(), zero_pipeline(), AttachAttrLayoutFreeBuffers(),
        ScheduleTensorPrograms(target, check=check, machine=machine),
        SplitLayoutRewritePreproc(), FoldConstant(), RemoveUncalledFunctions(),
    ], name="autoschedule")  # fmt: skip


PIPELINES: dict[str, Callable[..., Sequential]] = {"zero": zero_pipeline, "autoschedule": autoschedule_pipeline}


def get_pipeline(name: str = "zero", **options: Any) -> Sequential:
    """The pipeline called ``name``: "zero" fuses, "autoschedule" also schedules for ``target`` (its options are those
    of ``mlcref.autoschedule``).

    Raises ``MlcrefError`` (rule ``relax.pipeline``) for another name. Source: ``relax.get_pipeline``.

    >>> get_pipeline("autoschedule", target="cython --num-cores=1").info.name
    'autoschedule'
    """
    if name not in PIPELINES:
        raise MlcrefError(
            f"there is no pipeline {name!r}", rule="relax.pipeline", hint=f"pipelines: {', '.join(PIPELINES)}"
        )
    return PIPELINES[name](**options)
