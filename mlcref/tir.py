"""``tvm.tir``: the schedule, and the nodes of tensor programs under TVM's names."""

from mlcref.arith import IndexMap
from mlcref.ir import (
    EQ, GE, GT, LE, LT, NE, Add, And, Block, BlockRealize, Broadcast, Buffer, BufferLoad, BufferRegion, BufferStore,
    Call, Cast, Const, Div, Evaluate, For, IfThenElse, IterVar, Let, LetStmt, Max, Min, Mod, Mul, Not, Or, PrimFunc,
    Ramp, Range, Select, SeqStmt, Stmt, StringImm, Sub, Var, const,
)  # fmt: skip
from mlcref.ir import Expr as PrimExpr
from mlcref.ir import FloorDiv, FloorMod
from mlcref.ir.tensor_intrin import TensorIntrin
from mlcref.script.expression_names import call_extern, call_packed, call_pure_extern
from mlcref.schedule import BlockRV, ExprRV, Instruction, LoopRV, Schedule, Trace

__all__ = [
    "Add", "And", "Block", "BlockRV", "BlockRealize", "Broadcast", "Buffer", "BufferLoad", "BufferRegion",
    "BufferStore", "Call", "Cast", "Const", "Div", "EQ", "Evaluate", "ExprRV", "FloorDiv", "FloorMod", "For", "GE",
    "GT", "IfThenElse", "IndexMap", "Instruction", "IterVar", "LE", "LT", "Let", "LetStmt", "LoopRV", "Max", "Min",
    "Mod", "Mul", "NE", "Not", "Or", "PrimExpr", "PrimFunc", "Ramp", "Range", "Schedule", "Select", "SeqStmt",
    "Stmt", "StringImm", "Sub", "TensorIntrin", "Trace", "Var", "call_extern", "call_packed", "call_pure_extern",
    "const",
]  # fmt: skip
