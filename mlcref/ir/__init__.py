"""The IR: nodes, tables and the tools to build, walk, compare and check them. Everything else stands on this floor."""

from mlcref.ir import transform
from mlcref.ir.base import NO_ATTRS, Attrs, Node, replace
from mlcref.ir.buffer import Buffer, BufferLoad, Range, load
from mlcref.ir.compound import CommReducer, Let, Ramp, Select, Shuffle, conjunction, conjuncts
from mlcref.ir.equal import assert_structural_equal, first_difference, structural_equal
from mlcref.ir.expr import (
    EQ,
    GE,
    GT,
    LE,
    LT,
    NE,
    Add,
    And,
    Binary,
    Broadcast,
    Call,
    Cast,
    Compare,
    Const,
    Div,
    Expr,
    ExprLike,
    FloorDiv,
    FloorMod,
    Max,
    Min,
    Mod,
    Mul,
    Not,
    Or,
    StringImm,
    Sub,
    Var,
    as_expr,
    binary,
    cast,
    const,
)
from mlcref.ir.graph import Op
from mlcref.ir.features import refuse_unscheduled, special_node
from mlcref.ir.fresh import fresh
from mlcref.ir.function import BaseFunc, GlobalVar, IRModule, PrimFunc, as_module
from mlcref.ir.index import Index, index, replace_at, replace_block
from mlcref.ir.intrinsics import INTRINSICS, Intrinsic, call
from mlcref.ir.names import unique_name
from mlcref.ir.registry import get_global_func, list_global_func_names, register_global_func, remove_global_func
from mlcref.ir.stmt import (
    AllocBuffer,
    AssertStmt,
    AttrStmt,
    Block,
    BlockRealize,
    Break,
    BufferRegion,
    BufferStore,
    Continue,
    DeclBuffer,
    Evaluate,
    For,
    IfThenElse,
    IterVar,
    LetStmt,
    MatchBufferRegion,
    Return,
    SeqStmt,
    Stmt,
    Token,
    While,
    children_of,
    constant,
    loop,
    make_block,
    seq,
    store,
)
from mlcref.ir.target import Target
from mlcref.ir.visit import (
    any_node,
    blocks_in,
    buffers_used,
    children,
    loads,
    map_children,
    replace_buffers,
    rewrite,
    substitute,
    substitute_buffer,
    variables,
    walk,
)
from mlcref.ir.wellformed import wellformed

__all__ = [
    "Add", "AllocBuffer", "And", "AssertStmt", "AttrStmt", "Attrs", "BaseFunc", "Binary", "Block", "BlockRealize",
    "Break", "Broadcast", "Buffer", "BufferLoad", "BufferRegion", "BufferStore", "Call", "Cast", "CommReducer",
    "Compare", "Const", "Continue", "DeclBuffer", "Div", "EQ", "Evaluate", "Expr", "ExprLike", "FloorDiv", "FloorMod",
    "For", "GE", "GT", "GlobalVar", "INTRINSICS", "IRModule", "IfThenElse", "Index", "Intrinsic", "IterVar", "LE",
    "LT", "Let", "LetStmt", "MatchBufferRegion", "Max", "Min", "Mod", "Mul", "NE", "NO_ATTRS", "Node", "Not", "Op",
    "Or", "PrimFunc", "Ramp", "Range", "Return", "Select", "SeqStmt", "Shuffle", "Stmt", "StringImm", "Sub", "Target",
    "Token", "Var", "While", "any_node", "as_expr", "as_module", "assert_structural_equal", "binary", "blocks_in",
    "buffers_used", "call", "cast", "children", "children_of", "conjunction", "conjuncts", "const", "constant",
    "first_difference", "fresh", "get_global_func", "index", "list_global_func_names", "load", "loads", "loop",
    "make_block", "map_children", "register_global_func", "remove_global_func", "replace", "replace_at",
    "replace_block", "replace_buffers", "refuse_unscheduled", "rewrite", "seq", "special_node", "store",
    "structural_equal", "substitute", "substitute_buffer", "transform", "unique_name", "variables", "walk",
    "wellformed",
]  # fmt: skip
