"""The graph level: functions on whole tensors, passes over them, and the virtual machine that runs them.

Nodes come from :mod:`mlcref.ir.graph`, under TVM's names.
"""

from typing import TYPE_CHECKING

from mlcref.ir import GlobalVar
from mlcref.ir.graph import (
    BindingBlock,
    Call,
    Constant,
    DataflowBlock,
    DataflowVar,
    ExternFunc,
    Function,
    GraphExpr,
    MatchCast,
    ObjectStructInfo,
    Op,
    SeqExpr,
    ShapeExpr,
    ShapeStructInfo,
    StructInfo,
    TensorStructInfo,
    Tuple,
    TupleGetItem,
    TupleStructInfo,
    Var,
    VarBinding,
    call_dps_packed,
    call_tir,
    const,
)
from mlcref.on_use import names_on_use

if TYPE_CHECKING:
    from mlcref.relax import analysis, dpl, expr_functor, op, transform
    from mlcref.relax.block_builder import BlockBuilder
    from mlcref.relax.expr_functor import PyExprMutator, PyExprVisitor
    from mlcref.relax.graph_drawing import show, to_svg
    from mlcref.relax.pipeline import get_pipeline
    from mlcref.relax.run_codegen import register_library
    from mlcref.relax.wellformed import wellformed_graph
    from mlcref.runtime.vm import VirtualMachine, VMExecutable
else:
    __getattr__, __dir__ = names_on_use(
        __name__,
        {
            "mlcref.relax.block_builder": "BlockBuilder",
            "mlcref.relax.expr_functor": "PyExprMutator PyExprVisitor",
            "mlcref.relax.graph_drawing": "show to_svg",
            "mlcref.relax.pipeline": "get_pipeline",
            "mlcref.relax.run_codegen": "register_library",
            "mlcref.relax.wellformed": "wellformed_graph",
            "mlcref.runtime.vm": "VirtualMachine VMExecutable",
        },
        ["analysis", "dpl", "expr_functor", "op", "transform"],
    )

Expr = GraphExpr
"""TVM's name."""

__all__ = [
    "BindingBlock", "BlockBuilder", "Call", "Constant", "DataflowBlock", "DataflowVar", "Expr", "ExternFunc",
    "Function", "GlobalVar", "MatchCast", "ObjectStructInfo", "Op", "PyExprMutator", "PyExprVisitor", "SeqExpr",
    "ShapeExpr", "ShapeStructInfo", "StructInfo", "TensorStructInfo", "Tuple", "TupleGetItem", "TupleStructInfo",
    "VMExecutable", "Var", "VarBinding", "VirtualMachine", "analysis", "call_dps_packed", "call_tir", "const",
    "dpl", "expr_functor", "get_pipeline", "op", "register_library", "show", "to_svg", "transform", "wellformed_graph",
]  # fmt: skip
