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
from mlcref.schedule import BlockRV, ExprRV, Instruction, LoopRV, Schedule, Trace

__all__ = [
    "EQ", "GE", "GT", "LE", "LT", "NE", "Add", "And", "Block", "BlockRV", "BlockRealize", "Broadcast", "Buffer",
    "BufferLoad", "BufferRegion", "BufferStore", "Call", "Cast", "Const", "Div", "Evaluate", "ExprRV", "FloorDiv",
    "FloorMod", "For", "IfThenElse", "IndexMap", "Instruction", "IterVar", "Let", "LetStmt", "LoopRV", "Max", "Min",
    "Mod", "Mul", "Not", "Or", "PrimExpr", "PrimFunc", "Ramp", "Range", "Schedule", "Select", "SeqStmt", "Stmt",
    "StringImm", "Sub", "TensorIntrin", "Trace", "Var", "const",
]  # fmt: skip
