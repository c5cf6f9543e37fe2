"""The schedules of the suite: reduced along the same path, verified, and within the memory that they say they need."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from mlcref.autoschedule import Machine, autoschedule
from mlcref.benchmark import memory, reduction, traces
from mlcref.benchmark.check import WrongResult
from mlcref.benchmark.operators import OPERATORS
from mlcref.benchmark.reduction import is_possible, reductions
from mlcref.benchmark.systems.mlcref_system import target_for
from mlcref.benchmark.workload import Workload, select, workload_of
from mlcref.cli import main
from mlcref.ir import Target, as_module
from mlcref.runtime import Module
from mlcref.schedule import stepwise
from mlcref.verify.report import UNSUPPORTED, Verdict

SUBSET = [
    ("transpose/float32/rows=2048,columns=2048", 2), ("matmul/float32/m=512,k=512,n=512", 2),
    ("max/float32/rows=1024,columns=1024,axis=0", 2),
    ("max_pool/float32/NHWC/size=112,channels=64,kernel=3,stride=2,padding=1", 1),
]  # fmt: skip


@pytest.mark.parametrize(("name", "threads"), SUBSET)
def test_schedules_hold_at_reduced_extents(name: str, threads: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reduction, "_STEPS", 20_000)
    same, ragged = reductions(workload_of(name), target_for(threads))
    assert same.likeness == 1
    assert is_possible(same.workload)
    assert is_possible(ragged.workload)
    for reduced in (same, ragged):
        assert set(traces.verdicts(reduced)) <= set(traces.DECIDED)


def test_the_subset_has_threads_and_a_tail() -> None:
    same, ragged = reductions(workload_of(SUBSET[0][0]), Target("cython --num-cores=2"))
    assert same.machine.threads == 2
    assert same.machine.parallel_work == 1
    assert ragged.workload["rows"] % 4 != 0


def test_a_workload_is_checked_reduced_and_as_it_is() -> None:
    found = traces.check_trace(workload_of("gelu/float32/rows=3,columns=7"), 1)
    assert found.failures == []
    assert (found.rules, found.extents, found.compiled) == (["elementwise"], ["rows=3,columns=7"], 2)
    assert json.loads(json.dumps(found.as_json()))["same_path"]


def test_what_is_not_decided_is_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stepwise, "check_step", lambda *args, **options: Verdict(UNSUPPORTED, "too large", seed=0))
    traces.verdicts.cache_clear()
    found = traces.check_trace(workload_of("exp/float32/rows=3,columns=7"), 1)
    traces.verdicts.cache_clear()
    assert found.failures == [f"{found.verdicts['UNSUPPORTED']} instructions UNSUPPORTED"]


def test_a_wrong_kernel_is_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    gelu = as_module(OPERATORS["gelu"].program(workload_of("gelu/float32/rows=3,columns=7")))
    monkeypatch.setattr(traces, "scheduled", lambda case, target, machine: gelu)
    traces._compiled_small.cache_clear()
    found = traces.check_trace(workload_of("exp/float32/rows=3,columns=7"), 1)
    traces._compiled_small.cache_clear()
    assert [failure.partition(":")[0] for failure in found.failures] == ["compiled at rows=3,columns=7", "compiled"]
    assert all("elements are wrong" in failure for failure in found.failures)
    assert found.compiled == 0


def test_the_command_says_what_it_verified(capsys: pytest.CaptureFixture[str]) -> None:
    command = ["bench", "--check-traces", "--suite", "all", "--only", "exp/float32/rows=3*", "--threads", "1"]
    assert main(command) == 0
    said = capsys.readouterr().out
    assert "1 of 1 schedules hold" in said
    assert "elementwise" in said
    assert "within bound" in said


def test_a_failure_is_the_exit_status(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    failed = traces.Traced("exp", 1, failures=["compiled: 3 of 21 elements are wrong"])
    monkeypatch.setattr("mlcref.cli.bench_traces.check_trace", lambda workload, threads: failed)
    assert main(["bench", "--check-traces", "--suite", "tiny", "--only", "exp*", "--threads", "1", "--json"]) == 1
    assert json.loads(capsys.readouterr().out)[0]["failures"] == failed.failures


def test_all_suites_together() -> None:
    assert len(select("all")) == len(select("tiny")) + len(select("full")) == 154


def test_groups_divide_channels_and_windows_fit() -> None:
    shape = {"size": 4, "channels": 4, "filters": 4, "kernel": 3, "stride": 1, "padding": 0, "groups": 2}
    assert is_possible(Workload("conv2d", "float32", tuple(shape.items())))
    for change in ({"size": 2}, {"filters": 3}, {"channels": 5}):
        assert not is_possible(Workload("conv2d", "float32", tuple({**shape, **change}.items())))


# Memory.


def test_a_call_that_allocates_more_than_its_formula_is_wrong() -> None:
    kept: list[Any] = []
    module = Module({"main": print}, "", "cython", {"main": "1000 + 64"})
    _, growth = memory.watched(lambda: kept.append(np.ones(1 << 20, np.float32)))
    if growth.held is None:
        pytest.skip("this C library does not say how much memory is allocated")
    with pytest.raises(WrongResult, match=r"a call allocates 4\.0 MiB, its formula says 1\.0 KiB"):
        memory.check_growth(growth, module)
    memory.check_growth(growth, Module({"main": print}, "", "cython", {"main": str(5 << 20)}))


def test_memory_that_is_given_back_counts_too() -> None:
    module = Module({"main": print}, "", "cython", {"main": "0"})
    _, growth = memory.watched(lambda: np.ones(1 << 22, np.float32).sum())
    if growth.peak is None:
        pytest.skip("this system does not forget a peak")
    assert growth.peak >= 15 << 20
    with pytest.raises(WrongResult, match=r"a call allocates 1[56]\.\d MiB"):
        memory.check_growth(growth, module)


def test_what_follows_a_product_may_have_taken_a_loop_for_its_lanes() -> None:
    shape = (("heads", 2), ("length", 13), ("depth", 4))
    program = OPERATORS["attention"].program(Workload("attention", "float32", shape))
    machine = Machine(vector_bytes=16, registers=12, l2_bytes=1024, threads=2, terms=8, parallel_work=1)
    assert len(autoschedule(as_module(program), machine=machine).trace.insts) > 20
