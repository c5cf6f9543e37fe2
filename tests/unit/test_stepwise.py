"""Schedules that verify each instruction, and schedules that leave checks out."""

from __future__ import annotations

import warnings
from dataclasses import fields
from typing import Any

import pytest

from mlcref.errors import ScheduleError
from mlcref.ir import BufferStore, Const, PrimFunc, replace, replace_at, walk
from mlcref.schedule import TABLE, Schedule
from mlcref.schedule.stepwise import CheckWarning
from mlcref.schedule.table import forced, skipped_preconditions
from mlcref.script import tir as T
from mlcref.verify import check_equivalent


@T.prim_func
def matmul(A: T.Buffer((4, 4), "float32"), B: T.Buffer((4, 4), "float32"), C: T.Buffer((4, 4), "float32")):
    for i, j, k in T.grid(4, 4, 4):
        with T.block("C"):
            vi, vj, vk = T.axis.remap("SSR", [i, j, k])
            with T.init():
                C[vi, vj] = T.float32(0)
            C[vi, vj] = C[vi, vj] + A[vi, vk] * B[vk, vj]


@T.prim_func
def large(A: T.Buffer((4096, 4096), "float32"), B: T.Buffer((4096, 4096), "float32")):
    for i, j in T.grid(4096, 4096):
        with T.block("B"):
            vi, vj = T.axis.remap("SS", [i, j])
            B[vi, vj] = A[vi, vj] * T.float32(2)


def wrong(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Let the primitive build programs that initialise sums with 1."""
    record = TABLE[name]

    def build(func: PrimFunc, facts: Any) -> Any:
        new, outputs = record.build(func, facts)
        store = next(n for n in walk(new) if isinstance(n, BufferStore) and isinstance(n.value, Const))
        return replace_at(new, {store: replace(store, value=Const(1.0, "float32"))}), outputs

    values = {f.name: getattr(record, f.name) for f in fields(record) if f.init}
    changed = type(record)(**{**values, "build": build})
    monkeypatch.setattr(Schedule, name, lambda self, loop: self._apply(changed, {"loop": loop}))


@pytest.mark.parametrize("check", ["oracle", "prove"])
def test_every_primitive_in_the_trace_has_a_verdict(check: str) -> None:
    if check == "prove":
        pytest.importorskip("islpy")
    sch = Schedule(matmul, check=check)
    i, j, k = sch.get_loops("C")
    i_0, i_1 = sch.split(i, [None, 2])
    sch.reorder(i_0, j, k, i_1)
    sch.decompose_reduction("C", k)
    verdicts = [inst.verdict for inst in sch.trace.insts if inst.name in TABLE]
    assert len(verdicts) == 3
    assert all(verdicts)
    assert {v.status for v in verdicts} == ({"PROVED"} if check == "prove" else {"TESTED"})
    assert all(inst.verdict is None for inst in sch.trace.insts if inst.name not in TABLE)


def test_without_a_check_there_is_no_verdict() -> None:
    sch = Schedule(matmul)
    sch.parallel(sch.get_loops("C")[0])
    assert sch.trace.insts[-1].verdict is None


@pytest.mark.parametrize("check", ["oracle", "prove"])
def test_a_refuted_instruction_is_reported_and_leaves_the_schedule_as_it_was(
    check: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if check == "prove":
        pytest.importorskip("islpy")
    wrong(monkeypatch, "parallel")
    sch = Schedule(matmul, check=check)
    i, _, _ = sch.get_loops("C")
    before, trace = sch.mod["main"], str(sch.trace)
    with pytest.raises(ScheduleError, match=r"does not keep the meaning: REFUTED[\s\S]*C\[.*expected") as caught:
        sch.parallel(i)
    assert caught.value.rule == "parallel.check"
    assert sch.mod["main"] is before
    assert str(sch.trace) == trace
    sch.split(i, [2, 2])


def test_a_program_that_is_too_large_is_not_passed() -> None:
    sch = Schedule(large, check="oracle")
    i, j = sch.get_loops("B")
    with pytest.warns(CheckWarning, match="could not be verified.*budget"):
        sch.parallel(i)
    assert sch.trace.insts[-1].verdict.status == "UNSUPPORTED"
    assert sch.trace.insts[-1].verdict.detail.startswith("budget")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        sch.vectorize(j)
    assert not sch.trace.insts[-1].verdict


def test_enable_check_false_applies_what_is_refused_and_says_so() -> None:
    sch = Schedule(matmul, enable_check=False)
    i, _, k = sch.get_loops("C")
    sch.parallel(k)
    assert sch.trace.insts[-1].verdict == "unchecked: parallel.P3"
    assert check_equivalent(matmul, sch.mod["main"]).status == "REFUTED"
    sch.parallel(i)
    assert sch.trace.insts[-1].verdict == "unchecked"
    with pytest.raises(ScheduleError, match=r"split\.P1"):
        sch.split(i, [2, 2])


def test_an_unchecked_schedule_can_still_be_verified() -> None:
    sch = Schedule(matmul, enable_check=False, check="oracle")
    _, _, k = sch.get_loops("C")
    with pytest.raises(ScheduleError, match=r"parallel\.check"):
        sch.parallel(k)


def test_copies_check_as_the_original_does() -> None:
    sch = Schedule(matmul, check="oracle").copy()
    sch.parallel(sch.get_loops("C")[0])
    assert sch.trace.insts[-1].verdict.status == "TESTED"


def test_forced_plans_leave_out_forceable_preconditions_only() -> None:
    sch = Schedule(matmul)
    k = sch.get(sch.get_loops("C")[2]).loop_var  # type: ignore[union-attr]
    with forced(TABLE["parallel"].forceable):
        TABLE["parallel"].plan(matmul, loop=k)
        assert skipped_preconditions() == ("parallel.P3",)
    assert skipped_preconditions() == ()
    with forced(["P1"]), pytest.raises(ScheduleError, match=r"parallel\.P3"):
        TABLE["parallel"].plan(matmul, loop=k)
    assert all(record.forceable <= set(record.preconditions) for record in TABLE.values())


@pytest.mark.parametrize(
    ("level", "shown"),
    [
        ("detail", r"hint: rfactor"),
        ("fast", r"^parallel: loop k.*\[parallel\.P3\]$"),
        ("none", r"^a schedule primitive refused  \[parallel\.P3\]$"),
    ],
)
def test_error_render_level(level: str, shown: str) -> None:
    sch = Schedule(matmul, error_render_level=level)
    _, _, k = sch.get_loops("C")
    with pytest.raises(ScheduleError, match=shown):
        sch.parallel(k)


@pytest.mark.parametrize("options", [{"check": "sometimes"}, {"error_render_level": "loud"}, {"debug_mask": "some"}])
def test_unknown_options(options: dict[str, Any]) -> None:
    with pytest.raises(ScheduleError, match=r"is not known.*schedule\.P3"):
        Schedule(matmul, **options)


@pytest.mark.parametrize("mask", ["none", "all", 0, 3])
def test_debug_masks_of_tvm_are_taken(mask: Any) -> None:
    sch = Schedule(matmul, debug_mask=mask)
    sch.parallel(sch.get_loops("C")[0])
