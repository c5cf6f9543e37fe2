"""Passes over graph functions, binding by binding."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from mlcref.ir import graph
from mlcref.ir.base import Node
from mlcref.ir.function import BaseFunc, GlobalVar, IRModule, PrimFunc
from mlcref.ir.names import unique_name
from mlcref.ir.visit import map_children
from mlcref.relax.wellformed import resolve


class Rewriter:
    """Rebuilds the graph functions of ``module``: :meth:`binding` says what stands for each binding.

    ``values`` holds what stands for a variable from its binding on; operands have it already where :meth:`binding` sees
    them. ``result`` is the new module, to which functions may be added on the way.
    """

    def __init__(self, module: IRModule) -> None:
        self.module, self.result = module, module.clone()
        self.values: dict[graph.Var, graph.GraphExpr] = {}

    def binding(self, binding: graph.VarBinding) -> Iterable[graph.VarBinding]:
        """The bindings in the place of ``binding``."""
        raise NotImplementedError

    def rewritten(self) -> IRModule:
        """The new module."""
        for name, func in graph_functions(self.module).items():
            self.result.update_func(name, self.function(func))
        return self.result

    def function(self, func: graph.Function) -> graph.Function:
        """``func`` rebuilt; blocks without bindings are left out."""
        blocks: list[graph.BindingBlock] = []
        for block in func.body.blocks:
            made: list[graph.Binding] = []
            for binding in block.bindings:
                value = self.operand(binding.value)
                if isinstance(binding, graph.MatchCast):
                    made.append(graph.MatchCast(binding.var, value, binding.struct_info))
                else:
                    made += self.binding(graph.VarBinding(binding.var, value))
            if made:
                append_block(blocks, type(block)(tuple(made)))
        body = graph.SeqExpr(tuple(blocks), self.operand(func.body.body))
        return graph.Function(func.params, body, func.ret_struct_info, func.attrs)

    def operand(self, node: Any) -> Any:
        """``node`` with the values of its variables."""
        if isinstance(node, graph.Var):
            return self.values.get(node, node)
        return map_children(self.operand, node)

    def callee(self, value: Node) -> PrimFunc | None:
        """The tensor program of the module that ``value`` calls, None for other values."""
        return callee_of(self.module, value)

    def add(self, hint: str, func: BaseFunc) -> str:
        """The name that ``func`` gets in the new module."""
        name = unique_name(hint, self.result.functions)
        self.result.update_func(name, func)
        return name


def append_block(blocks: list[graph.BindingBlock], block: graph.BindingBlock) -> None:
    """Add a block; two plain ones in a row become one."""
    if blocks and type(block) is type(blocks[-1]) is graph.BindingBlock:
        blocks[-1] = graph.BindingBlock((*blocks[-1].bindings, *block.bindings))
    else:
        blocks.append(block)


def graph_functions(module: IRModule) -> dict[str, graph.Function]:
    """The graph functions of ``module`` by name."""
    return {name: func for name, func in module.functions.items() if isinstance(func, graph.Function)}


def callee_of(module: IRModule, value: Node) -> PrimFunc | None:
    """The tensor program of ``module`` that ``value`` calls, None for other values."""
    if not isinstance(value, graph.Call) or value.op not in (graph.CALL_TIR, graph.CALL_DPS_PACKED):
        return None
    return resolve(module, value.args[0])


def calls_of_programs(module: IRModule) -> Iterator[tuple[PrimFunc, graph.Call]]:
    """All calls of tensor programs of ``module`` by its graph functions, in order."""
    for func in graph_functions(module).values():
        for binding in func.bindings():
            program = callee_of(module, binding.value)
            if program is not None and isinstance(binding.value, graph.Call):
                yield program, binding.value


def inputs_of(call: graph.Call) -> tuple[graph.GraphExpr, ...]:
    """The inputs of a destination-passing call."""
    inputs: Any = call.args[1]
    return inputs.fields if isinstance(inputs, graph.Tuple) else (inputs,)


def key_of(module: IRModule, func: BaseFunc) -> str:
    """The name of ``func`` in ``module``."""
    return next(name for name, found in module.functions.items() if found is func)


def alike(var: graph.Var, hint: str, info: graph.StructInfo) -> graph.Var:
    """A variable for an intermediate value in the block in which ``var`` is bound."""
    kind = graph.DataflowVar if isinstance(var, graph.DataflowVar) else graph.Var
    return kind(hint, info)


def calling(name: str, call: graph.Call, inputs: Iterable[graph.GraphExpr]) -> graph.Call:
    """``call`` with the tensor program ``name`` for its callee and with other inputs."""
    args = (GlobalVar(name), graph.Tuple(inputs), *call.args[2:])
    return graph.Call(graph.CALL_TIR, args, call.attrs, call.sinfo_args)
