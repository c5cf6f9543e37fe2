"""The IR: nodes, tables and the tools to build, walk, compare and check them. Everything else stands on this floor."""

from mlcref.ir.base import NO_ATTRS, Attrs, Node, replace
from mlcref.ir.equal import assert_structural_equal, first_difference, structural_equal
from mlcref.ir.expr import (
    EQ, GE, GT, LE, LT, NE, Add, And, Binary, Broadcast, Buffer, BufferLoad, Call, Cast, Compare, Const, Div, Expr, ExprLike,
    FloorDiv, FloorMod, Let, Max, Min, Mod, Mul, Not, Or, Ramp, Range, Select, StringImm, Sub, Var, as_expr, binary, cast,
    conjunction, conjuncts, const, load,
)  # fmt: skip
from mlcref.ir.fresh import fresh
from mlcref.ir.function import BaseFunc, GlobalVar, IRModule, PrimFunc, as_module
from mlcref.ir.index import Index, index, replace_at, replace_block
from mlcref.ir.intrinsics import INTRINSICS, Intrinsic, call
from mlcref.ir.names import unique_name
from mlcref.ir.registry import get_global_func, list_global_func_names, register_global_func, remove_global_func
from mlcref.ir.stmt import (
    AllocBuffer, AssertStmt, AttrStmt, Block, BlockRealize, Break, BufferRegion, BufferStore, Continue, DeclBuffer, Evaluate, For,
    IfThenElse, IterVar, LetStmt, MatchBufferRegion, SeqStmt, Stmt, Token, While, children_of, constant, loop, make_block, seq,
    store,
)  # fmt: skip
from mlcref.ir.target import Target
from mlcref.ir.visit import (
    any_node, blocks_in, buffers_used, children, loads, map_children, replace_buffers, rewrite, substitute, substitute_buffer,
    variables, walk,
)  # fmt: skip
from mlcref.ir.wellformed import wellformed

__all__ = [name for name in dir() if not name.startswith("_")]
