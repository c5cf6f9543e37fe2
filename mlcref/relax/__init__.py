"""The graph level: functions on whole tensors, passes over them, and the virtual machine that runs them.

Nodes come from :mod:`mlcref.ir.graph`, under TVM's names.
"""

from mlcref.ir.graph import (
    BindingBlock,
    Call,
    Constant,
    DataflowBlock,
    DataflowVar,
    ExternFunc,
    Function,
    GraphExpr,
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
from mlcref.relax import transform
from mlcref.relax.pipeline import get_pipeline
from mlcref.relax.wellformed import wellformed_graph
from mlcref.runtime.vm import VirtualMachine, VMExecutable

Expr = GraphExpr
"""TVM's name."""

__all__ = [
    "BindingBlock", "Call", "Constant", "DataflowBlock", "DataflowVar", "Expr", "ExternFunc", "Function",
    "ObjectStructInfo", "Op", "SeqExpr", "ShapeExpr", "ShapeStructInfo", "StructInfo", "TensorStructInfo", "Tuple",
    "TupleGetItem", "TupleStructInfo", "VMExecutable", "Var", "VarBinding", "VirtualMachine", "call_dps_packed",
    "call_tir", "const", "get_pipeline", "transform", "wellformed_graph",
]  # fmt: skip
