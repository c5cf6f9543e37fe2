"""Passes over modules with graph functions, under TVM's names: a pass is called with a module and gives a new one."""

from mlcref.ir.transform import function_pass, module_pass
from mlcref.relax.bind_params import BindParams, bind
from mlcref.relax.constants import AttachAttrLayoutFreeBuffers, FoldConstant, SplitLayoutRewritePreproc
from mlcref.relax.dead_code import DeadCodeElimination
from mlcref.relax.decompose import DecomposeOpsForInference
from mlcref.relax.fuse_by_pattern import (
    FuseOpsByPattern,
    FusionPattern,
    MergeCompositeFunctions,
    PatternCheckContext,
)
from mlcref.relax.fuse_ops import FuseOps
from mlcref.relax.fuse_tir import FuseTIR
from mlcref.relax.legalize import LegalizeOps
from mlcref.relax.normalize import Normalize
from mlcref.relax.op_pattern import AnnotateTIROpPattern
from mlcref.relax.pipeline import Sequential
from mlcref.relax.plan_memory import StaticPlanMemory
from mlcref.relax.run_codegen import RunCodegen

StaticPlanBlockMemory = StaticPlanMemory
"""TVM's newer name."""

__all__ = [
    "AnnotateTIROpPattern", "AttachAttrLayoutFreeBuffers", "BindParams", "DeadCodeElimination",
    "DecomposeOpsForInference", "FoldConstant", "FuseOps", "FuseOpsByPattern", "FuseTIR", "FusionPattern",
    "LegalizeOps", "MergeCompositeFunctions", "Normalize", "PatternCheckContext", "RunCodegen", "Sequential",
    "SplitLayoutRewritePreproc", "StaticPlanBlockMemory", "StaticPlanMemory", "bind", "function_pass", "module_pass",
]  # fmt: skip
