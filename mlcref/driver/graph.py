"""Modules with graph functions: the tensor programs are compiled, the graph becomes programs of the virtual machine."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module

from mlcref.ir import BaseFunc, IRModule, PrimFunc, Target, graph
from mlcref.relax import plan_memory
from mlcref.relax.lower_graph import lower_graph
from mlcref.runtime.module import Module
from mlcref.runtime.vm import VMExecutable

_DESTINATION_CALLS = (graph.CALL_TIR, graph.CALL_DPS_PACKED)
CompileTensorPrograms = Callable[[dict[str, PrimFunc], Target], Module]


def compile_graph(module: IRModule, target: Target, compile_tensor_programs: CompileTensorPrograms) -> VMExecutable:
    """An executable of ``module``, whose tensor programs ``compile_tensor_programs`` compiles.

    Calls of graph operators become calls of tensor programs first; those of constants are computed. Where no function
    has a memory plan, plans are made. Raises ``WellformedError`` for a graph that breaks an invariant.
    """
    if any(_has_operators(func) for func in module.functions.values()):
        passes = import_module("mlcref.relax.transform")
        module = passes.LegalizeOps()(passes.FoldConstant()(module))
    if not any(plan_memory.MEMORY_PLAN in func.attrs for func in module.functions.values()):
        module = plan_memory.StaticPlanMemory()(module)
    programs, constants = lower_graph(module)
    funcs = plan_memory.programs_to_compile(module)
    library = compile_tensor_programs(funcs, target) if funcs else None
    return VMExecutable(programs, constants, {} if library is None else library.functions, library, funcs)


def _has_operators(func: BaseFunc) -> bool:
    if not isinstance(func, graph.Function):
        return False
    ops = (binding.value.op for binding in func.bindings() if isinstance(binding.value, graph.Call))
    return any(isinstance(op, graph.Op) and op not in _DESTINATION_CALLS for op in ops)
