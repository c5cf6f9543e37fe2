"""Modules with graph functions: the tensor programs are compiled, the graph becomes programs of the virtual machine."""

from __future__ import annotations

from collections.abc import Callable

from mlcref.ir import IRModule, PrimFunc, Target
from mlcref.relax.lower_graph import lower_graph
from mlcref.runtime.module import Module
from mlcref.runtime.vm import VMExecutable

CompileTensorPrograms = Callable[[dict[str, PrimFunc], Target], Module]


def compile_graph(module: IRModule, target: Target, compile_tensor_programs: CompileTensorPrograms) -> VMExecutable:
    """An executable of ``module``, whose tensor programs ``compile_tensor_programs`` compiles."""
    programs, constants = lower_graph(module)
    funcs = module.prim_funcs()
    library = compile_tensor_programs(funcs, target) if funcs else None
    return VMExecutable(programs, constants, {} if library is None else library.functions, library)
