"""What nothing uses."""

from __future__ import annotations

from collections.abc import Iterable

from mlcref.ir import graph
from mlcref.ir.function import GlobalVar, IRModule
from mlcref.ir.transform import Pass, PassContext, PassInfo
from mlcref.ir.visit import walk
from mlcref.relax.rewriter import append_block, graph_functions, key_of
from mlcref.relax.wellformed import resolve


class DeadCodeElimination(Pass):
    """Remove bindings whose variables nothing uses, and functions that nothing calls.

    Bindings stand in dataflow blocks, whose values are pure. Kept are the functions ``entry_functions`` with all that
    they call; without a list the graph functions, and whatever has a global symbol. Source:
    ``relax.transform.DeadCodeElimination``.

    >>> from mlcref.ir import PrimFunc, SeqStmt
    >>> list(DeadCodeElimination()(IRModule({"unused": PrimFunc((), SeqStmt(()))})).functions)
    []
    """

    info = PassInfo(0, "DeadCodeElimination")

    def __init__(self, entry_functions: Iterable[str] | None = None) -> None:
        self.entry_functions = None if entry_functions is None else tuple(entry_functions)

    def transform_module(self, mod: IRModule, ctx: PassContext) -> IRModule:
        """A copy of ``mod`` without them. Raises ``MlcrefError`` for an entry function that is not there."""
        result = mod.clone()
        for name, func in graph_functions(mod).items():
            result.update_func(name, without_unused(func))
        reached = self._entries(result)
        for name in reached:
            reached += [callee for callee in _called_by(result, name) if callee not in reached]
        return IRModule({name: func for name, func in result.functions.items() if name in reached}, result.attrs)

    def _entries(self, module: IRModule) -> list[str]:
        if self.entry_functions is not None:
            return [key_of(module, module[name]) for name in self.entry_functions]
        exposed = [name for name, func in module.functions.items() if "global_symbol" in func.attrs]
        return list(dict.fromkeys([*graph_functions(module), *exposed]))


def _called_by(module: IRModule, name: str) -> list[str]:
    func = module[name]
    if not isinstance(func, graph.Function):
        return []
    found = [
        node.name_hint if isinstance(node, GlobalVar) else program and key_of(module, program)
        for node in walk(func)
        if isinstance(node, GlobalVar | graph.ExternFunc)
        for program in [resolve(module, node)]
    ]
    return [callee for callee in found if callee and callee in module.functions]


def without_unused(func: graph.Function) -> graph.Function:
    """``func`` without the bindings of dataflow blocks whose variables nothing uses."""
    used = {node for node in walk(func.body.body) if isinstance(node, graph.Var)}
    kept: list[graph.BindingBlock] = []
    for block in reversed(func.body.blocks):
        bindings: list[graph.Binding] = []
        for binding in reversed(block.bindings):
            checks = isinstance(binding, graph.MatchCast)
            if binding.var in used or checks or not isinstance(block, graph.DataflowBlock):
                bindings.append(binding)
                used |= {node for node in walk(binding.value) if isinstance(node, graph.Var)}
        if bindings:
            kept.append(type(block)(tuple(reversed(bindings))))
    blocks: list[graph.BindingBlock] = []
    for block in reversed(kept):
        append_block(blocks, block)
    return graph.Function(func.params, graph.SeqExpr(tuple(blocks), func.body.body), func.ret_struct_info, func.attrs)
