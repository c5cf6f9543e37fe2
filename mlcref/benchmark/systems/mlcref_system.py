"""mlcref itself: the program as it is written, and as ``mlcref.autoschedule`` schedules it, graphs by the pipeline of
that name."""

from __future__ import annotations

from functools import partial
from typing import Any

from mlcref.autoschedule import autoschedule
from mlcref.benchmark.operators import Case
from mlcref.benchmark.systems.record import Prepared, System, returned
from mlcref.driver import compile as compile_module
from mlcref.ir import IRModule, Target, as_module
from mlcref.relax import get_pipeline
from mlcref.relax.transform import BindParams
from mlcref.runtime.compiler import why_no_compiler
from mlcref.runtime.vm import VirtualMachine

ENTRY = "main"


def target_for(threads: int) -> Target:
    """The CPU with that many threads."""
    return Target(f"cython --num-cores={threads}")


def program(case: Case) -> IRModule:
    """The workload's module; the weights of a graph are bound."""
    module = as_module(case.operator.program(case.workload))
    if len(module.prim_funcs()) == len(module):
        return module
    first = len(case.inputs) - case.operator.weights
    names = [param.name_hint for param in _graph(module).params][first:]
    return BindParams(ENTRY, dict(zip(names, case.inputs[first:], strict=True)))(module)


def _graph(module: IRModule) -> Any:
    return module[ENTRY]


def _prepared(case: Case, module: IRModule, threads: int) -> Prepared:
    compiled = compile_module(module, target=target_for(threads))
    if len(module.prim_funcs()) == len(module):
        out = case.empty()
        return Prepared(partial(compiled[ENTRY], *case.inputs, out), lambda _: out)
    fed = case.inputs[: len(case.inputs) - case.operator.weights]
    return Prepared(partial(VirtualMachine(compiled)[ENTRY], *fed), lambda value: returned(value.numpy()))


def _unscheduled(case: Case, threads: int) -> Prepared:
    return _prepared(case, program(case), threads)


def _autoscheduled(case: Case, threads: int) -> Prepared:
    target, module = target_for(threads), program(case)
    if len(module.prim_funcs()) == len(module):
        return _prepared(case, autoschedule(module, target=target).mod, threads)
    return _prepared(case, get_pipeline("autoschedule", target=target)(module), threads)


UNSCHEDULED = System("mlcref-unscheduled", "mlcref", ("mlcref",), _unscheduled, why_no_compiler)
MLCREF = System("mlcref", "mlcref", ("mlcref",), _autoscheduled, why_no_compiler)
