"""Several tensor programs, called one after the other, as one."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from mlcref.ir import (
    NO_ATTRS, Block, BlockRealize, Buffer, BufferStore, Const, Expr, PrimFunc, Stmt, Var, blocks_in, cast, const, fresh,
    graph, make_block, replace, replace_buffers, rewrite, seq, substitute, walk,
)  # fmt: skip
from mlcref.ir.function import GlobalVar, IRModule
from mlcref.ir.names import unique_name
from mlcref.ir.transform import Pass, PassContext, PassInfo
from mlcref.relax.rewriter import Rewriter, callee_of, graph_functions, inputs_of

PRIMITIVE = "Primitive"
"""The attribute of graph functions that become one tensor program each."""


class FuseTIR(Pass):
    """Make one tensor program of every graph function with the attribute ``Primitive``, and call it instead.

    The program runs the blocks of those that the function called, in order; what one hands to the next is memory of its
    own. Functions that call anything else stay, and so do tensor programs that are not called any more:
    ``DeadCodeElimination`` removes them. Source: ``relax.transform.FuseTIR``.

    >>> list(FuseTIR()(IRModule({})).functions)
    []
    """

    info = PassInfo(0, "FuseTIR")

    def transform_module(self, mod: IRModule, ctx: PassContext) -> IRModule:
        """A copy of ``mod`` with the programs in the place of the functions."""
        fused = {
            name: program
            for name, func in graph_functions(mod).items()
            for program in [fused_program(mod, func) if PRIMITIVE in func.attrs else None]
            if program is not None
        }
        return _Inlined(mod, fused).rewritten()


class _Inlined(Rewriter):
    """Calls the programs ``fused``, by the names of the functions that they stand for."""

    def __init__(self, module: IRModule, fused: dict[str, PrimFunc]) -> None:
        super().__init__(module)
        self.fused = fused

    def rewritten(self) -> IRModule:
        for name, func in graph_functions(self.module).items():
            self.result.update_func(name, self.fused[name] if name in self.fused else self.function(func))
        return self.result

    def binding(self, binding: graph.VarBinding) -> Iterable[graph.VarBinding]:
        call = binding.value
        callee = call.op if isinstance(call, graph.Call) else None
        if not isinstance(call, graph.Call) or not isinstance(callee, GlobalVar) or callee.name_hint not in self.fused:
            return [binding]
        inputs = [arg for arg in call.args if not isinstance(arg, GlobalVar)]
        return [graph.VarBinding(binding.var, graph.call_tir(callee, inputs, call.struct_info))]


def can_be_fused(program: PrimFunc, input_count: int) -> bool:
    """Can ``program`` be part of another one? It has one result and no scalars, blocks in a root block, buffers that
    are dense, and writes to no input."""
    params = program.params
    if program.scalars or len(params) != input_count + 1 or not isinstance(program.body, BlockRealize):
        return False
    root = program.body.block
    if root.init is not None or root.match_buffers or root.iter_vars or root.annotations:
        return False
    if any(b.strides or b.elem_offset is not None or b.scope != "global" for b in program.buffers):
        return False
    if any(b.offset_factor for b in program.buffers) or len({b.data for b in program.buffers if b.data is not None}):
        return False
    written = {node.buffer for node in walk(root) if isinstance(node, BufferStore)}
    return not written & set(params[:input_count])


def index_type(program: PrimFunc) -> str:
    """The type of the iterators of blocks: int64 where one of them is."""
    types = {item.var.type for block in blocks_in(program.body) for item in block.iter_vars}
    return "int64" if "int64" in types else "int32"


@dataclass
class _Fusion:
    """A program under construction: the type of its indices, its memory by variable of the graph, and the names that
    are taken."""

    index: str
    memory: dict[graph.Var, Buffer] = field(default_factory=dict)
    allocated: list[Buffer] = field(default_factory=list)
    statements: list[Stmt] = field(default_factory=list)
    names: set[str] = field(default_factory=set)
    block_names: set[str] = field(default_factory=set)
    noalias: bool = True

    def buffer(self, var: graph.Var) -> Buffer:
        """Memory for the value of ``var``."""
        info = var.struct_info
        assert isinstance(info, graph.TensorStructInfo) and info.shape is not None
        name = unique_name(var.name_hint, self.names)
        self.names.add(name)
        plain = [const(extent.value, self.index) if isinstance(extent, Const) else extent for extent in info.shape]
        self.memory[var] = Buffer(name, tuple(plain), info.dtype)
        return self.memory[var]

    def add(self, program: PrimFunc, given: list[Buffer]) -> None:
        """The blocks of ``program`` with the memory ``given`` for its parameters."""
        self.noalias = self.noalias and program.noalias
        copy = fresh(program)
        dims: dict[Var, Expr] = {
            extent: size
            for param, buffer in zip(copy.params, given, strict=True)
            for extent, size in zip(param.shape, buffer.shape, strict=True)
            if isinstance(extent, Var)
        }
        body = replace_buffers(copy.body, dict(zip(copy.params, given, strict=True)))
        body = substitute(body, {var: cast(var.type, size) for var, size in dims.items()})
        assert isinstance(body, BlockRealize)
        body = self.renamed(body)
        self.allocated += body.block.alloc_buffers
        self.statements.append(body.block.body)

    def renamed(self, root: BlockRealize) -> BlockRealize:
        """``root`` with names of blocks and of its buffers that are not taken."""
        buffers = {}
        for buffer in root.block.alloc_buffers:
            name = unique_name(buffer.name, self.names)
            self.names.add(name)
            buffers[buffer] = replace(buffer, name=name) if name != buffer.name else buffer
        names = {}
        for block in blocks_in(root.block.body):
            names[block.token] = unique_name(block.name, self.block_names)
            self.block_names.add(names[block.token])

        def rename(node: object) -> Block | None:
            if isinstance(node, Block) and names.get(node.token, node.name) != node.name:
                return replace(node, name=names[node.token])
            return None

        return rewrite(rename, replace_buffers(root, buffers))


def fused_program(module: IRModule, func: graph.Function) -> PrimFunc | None:
    """One tensor program that computes what ``func`` does with calls of tensor programs; None where it does more, or
    they cannot be joined."""
    programs = [callee_of(module, binding.value) for binding in func.bindings()]
    indices = {index_type(program) for program in programs if program is not None}
    variables = [*func.params, *[binding.var for binding in func.bindings()]]
    if len(indices) != 1 or not all(_has_memory(var.struct_info) for var in variables):
        return None
    fusion, result = _Fusion(indices.pop()), func.body.body
    for param in func.params:
        fusion.buffer(param)
    params = list(fusion.memory.values())
    for binding, program in zip(func.bindings(), programs, strict=True):
        call = binding.value
        if program is None or not isinstance(call, graph.Call) or len(call.args) > 2:
            return None
        inputs = inputs_of(call)
        known = [item for item in inputs if isinstance(item, graph.Var) and item in fusion.memory]
        if len(known) < len(inputs) or not can_be_fused(program, len(inputs)):
            return None
        fusion.add(program, [*[fusion.memory[item] for item in known], fusion.buffer(binding.var)])
    if not isinstance(result, graph.Var) or result in func.params or result not in fusion.memory:
        return None
    out = fusion.memory[result]
    inside = [buffer for buffer in fusion.memory.values() if buffer not in params and buffer is not out]
    root = make_block("root", seq(*fusion.statements), alloc_buffers=[*inside, *fusion.allocated])
    attrs = NO_ATTRS.updated({"tir.noalias": True if fusion.noalias else None})
    return fresh(PrimFunc((*params, out), BlockRealize((), (), root), attrs))


def _has_memory(info: graph.StructInfo) -> bool:
    return isinstance(info, graph.TensorStructInfo) and info.shape is not None
