"""Are the kernels of a compiled graph right, each for what it was given? Bounds of a whole graph assume the worst at
every step and say little after a few; those of one kernel are tight.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from mlcref import relax
from mlcref.driver import compile
from mlcref.ir import IRModule, graph
from mlcref.ir.visit import walk
from mlcref.relax.graph_steps import fused_from, graph_steps
from mlcref.relax.rewriter import Rewriter
from mlcref.testing.graph_bounds import bounded_graph

Array = np.ndarray[Any, Any]


class _EverythingReturned(Rewriter):
    """Graph functions that return the result of every call."""

    def function(self, func: graph.Function) -> graph.Function:
        made = super().function(func)
        calls = [binding.var for binding in made.bindings() if isinstance(binding.value, graph.Call)]
        block = graph.BindingBlock(tuple(made.bindings()))
        return graph.Function(made.params, graph.SeqExpr((block,), graph.Tuple(calls)), None, made.attrs)

    def binding(self, binding: graph.VarBinding) -> Iterable[graph.VarBinding]:
        var = graph.Var(binding.var.name_hint, binding.var.struct_info)
        self.values[binding.var] = var
        return [graph.VarBinding(var, binding.value)]


def kernels_are_right(built: IRModule, made: IRModule, target: str, *args: Array) -> bool:
    """Is what each kernel of ``made`` computes, compiled, within the bound of exact arithmetic on what it is given, and
    are the results of ``made`` as it is compiled the same bits?

    ``built`` is the graph of operators that passes made ``made`` of; its "main" returns one tensor.
    """
    before, after = graph_steps(built), graph_steps(made)
    parts = fused_from(before, after)
    assert all(parts.values()), "passes keep the names of values"
    returning = relax.VirtualMachine(compile(_EverythingReturned(made).rewritten(), target))["main"](*args)
    results = [item.numpy() for item in (returning if isinstance(returning, tuple) else (returning,))]
    params = [param.name_hint for param in built["main"].params]  # type: ignore[attr-defined]
    values = {**dict(zip(params, args, strict=True)), **dict(zip([step.name for step in after], results, strict=True))}
    right = [
        _covered(built, {member.name for member in members}, name, values)
        for name, members in parts.items()
    ]  # fmt: skip
    whole = relax.VirtualMachine(compile(made, target))["main"](*args).numpy()
    return all(right) and bool(whole.tobytes() == results[-1].tobytes())


def _covered(built: IRModule, names: set[str], last: str, values: dict[str, Array]) -> bool:
    """Is the value of ``last`` within the bound of the calls ``names`` on what they are given?"""
    func = built["main"]
    assert isinstance(func, graph.Function)
    bindings = [binding for binding in func.bindings() if binding.var.name_hint in names]
    own = {binding.var for binding in bindings}
    used = [node for binding in bindings for node in walk(binding.value) if isinstance(node, graph.Var)]
    params = [var for var in dict.fromkeys(used) if var not in own]
    result = next(binding.var for binding in bindings if binding.var.name_hint == last)
    part = graph.Function(params, graph.SeqExpr((graph.BindingBlock(tuple(bindings)),), result))
    exact = bounded_graph(part, *[values[param.name_hint] for param in params])
    return bool(exact.covers(values[last]).all())
