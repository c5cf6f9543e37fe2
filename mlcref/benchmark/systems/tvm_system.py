"""Apache TVM: the same TensorIR programs, compiled as they are, and after a search by MetaSchedule."""

from __future__ import annotations

import importlib
import os
from importlib.util import find_spec
from functools import partial
from typing import Any

from mlcref.benchmark.operators import Case
from mlcref.benchmark.systems.record import Prepared, System, inexpressible
from mlcref.ir import IRModule, PrimFunc
from mlcref.runtime.cache import cache_root, digest, scratch
from mlcref.runtime.compiler import cpu_features
from mlcref.testing.tvm_objects import import_tvm, to_tvm

TRIALS = "MLCREF_BENCH_TVM_TRIALS"
"""How many candidates MetaSchedule measures for a workload; 32 without it."""


def _program(case: Case) -> Any:
    program = case.operator.program(case.workload)
    if not isinstance(program, PrimFunc):
        raise inexpressible("tvm", "", "gets single functions here, no graphs")
    return to_tvm(IRModule({"main": program}))


def _target(tvm: Any, threads: int) -> Any:
    lookup = tvm.get_global_func("target.llvm_get_system_cpu", allow_missing=True)
    cpu = {"mcpu": str(lookup())} if lookup is not None else {}
    return tvm.target.Target({"kind": "llvm", "num-cores": threads, **cpu})


def _prepared(tvm: Any, case: Case, compiled: Any) -> Prepared:
    make = getattr(tvm.runtime, "tensor", None) or tvm.nd.array
    given = [make(array, tvm.cpu()) for array in case.inputs]
    out = make(case.empty(), tvm.cpu())
    return Prepared(partial(compiled["main"], *given, out), lambda _: out.numpy())


def _untuned(case: Case, threads: int) -> Prepared:
    tvm = import_tvm()
    return _prepared(tvm, case, tvm.compile(_program(case), target=_target(tvm, threads)))


def _meta_schedule() -> Any:
    try:
        return importlib.import_module("tvm.s_tir.meta_schedule")
    except ImportError:
        return importlib.import_module("tvm.meta_schedule")


def _tuned(case: Case, threads: int) -> Prepared:
    tvm, search = import_tvm(), _meta_schedule()
    module, target = _program(case), _target(tvm, threads)
    schedule = search.tir_integration.compile_tir(_records(tvm, search, case, module, target), module, target)
    if schedule is None:
        raise inexpressible("tvm", "", "found no schedule in its trials")
    compiled = tvm.compile(schedule.mod, target=target)
    return _prepared(tvm, case, compiled)


def _records(tvm: Any, search: Any, case: Case, module: Any, target: Any) -> Any:
    """What a search measured: of an earlier one from the cache, for the same workload, target, TVM and trials."""
    trials = os.environ.get(TRIALS, "32")
    key = digest(case.workload.name, str(target), str(tvm.__version__), trials, cpu_features())
    folder = cache_root() / f"tvm-{key}"
    if (folder / "database_tuning_record.json").exists():
        return search.database.JSONDatabase(work_dir=str(folder))
    with scratch() as unfinished:
        model = "xgb" if find_spec("xgboost") else "random"
        cores = int(target.attrs["num-cores"])
        search.tune_tir(
            module, target, str(unfinished), int(trials), cost_model=model, num_tuning_cores=cores, seed=0
        )
        unfinished.rename(folder)
    return search.database.JSONDatabase(work_dir=str(folder))


def _no_search() -> str | None:
    try:
        _meta_schedule()
    except ImportError as error:
        return f"this TVM has no MetaSchedule: {error}"
    return None


TVM = System("tvm", "apache-tvm", ("tvm",), _untuned, slow=True)
TVM_TUNED = System("tvm-tuned", "apache-tvm", ("tvm", "cloudpickle", "psutil"), _tuned, _no_search, slow=True)
