"""mlcref itself: the program as it is written, and as ``mlcref.autoschedule`` schedules it, graphs by the pipeline of
that name."""

from __future__ import annotations

from functools import partial
from typing import Any

from mlcref.autoschedule import Machine, autoschedule
from mlcref.benchmark.operators import OPERATORS, Case, case_of
from mlcref.benchmark.systems.record import Prepared, System, returned
from mlcref.benchmark.workload import Workload
from mlcref.driver import compile as compile_module
from mlcref.ir import IRModule, Target, as_module
from mlcref.relax import get_pipeline
from mlcref.relax.transform import AttachAttrLayoutFreeBuffers, BindParams
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


def prepared(case: Case, module: IRModule, threads: int) -> Prepared:
    """The workload as ``module`` computes it, compiled."""
    compiled = compile_module(module, target=target_for(threads))
    if len(module.prim_funcs()) == len(module):
        out = case.empty()
        return Prepared(partial(compiled[ENTRY], *case.inputs, out), lambda _: out, compiled)
    fed = case.inputs[: len(case.inputs) - case.operator.weights]
    call = partial(VirtualMachine(compiled)[ENTRY], *fed)
    return Prepared(call, lambda value: returned(value.numpy()), compiled.library)


def _unscheduled(case: Case, threads: int) -> Prepared:
    return prepared(case, program(case), threads)


def _autoscheduled(case: Case, threads: int) -> Prepared:
    return prepared(case, scheduled(case, target_for(threads)), threads)


def scheduled(case: Case, target: Target, machine: Machine | None = None) -> IRModule:
    """The workload as ``mlcref.autoschedule`` schedules it; a graph, as the pipeline of that name does."""
    module = program(case)
    if len(module.prim_funcs()) == len(module):
        return autoschedule(module, target=target, machine=machine).mod
    return get_pipeline("autoschedule", target=target, machine=machine)(module)


def schedulable(workload: Workload) -> IRModule:
    """What rules are applied to: the workload's program; of a graph, what is there after all passes before."""
    module = as_module(OPERATORS[workload.operator].program(workload))
    if len(module.prim_funcs()) == len(module):
        return module
    return AttachAttrLayoutFreeBuffers()(get_pipeline("zero")(program(case_of(workload))))


UNSCHEDULED = System("mlcref-unscheduled", "mlcref", ("mlcref",), _unscheduled, why_no_compiler)
MLCREF = System("mlcref", "mlcref", ("mlcref",), _autoscheduled, why_no_compiler)
