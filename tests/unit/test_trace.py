"""Traces by themselves: reading text and JSON, editing, and what is no trace."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlcref.errors import MlcrefError, ScheduleError
from mlcref.ir import Max, structural_equal
from mlcref.schedule import Instruction, Schedule, Trace
from mlcref.script import tir as T
from mlcref.testing import schedules
from mlcref.verify.generate import program


@T.prim_func
def matmul(A: T.Buffer((16, 16), "float32"), B: T.Buffer((16, 16), "float32"), C: T.Buffer((16, 16), "float32")):
    for i, j, k in T.grid(16, 16, 16):
        with T.block("C"):
            vi, vj, vk = T.axis.remap("SSR", [i, j, k])
            with T.init():
                C[vi, vj] = T.float32(0)
            C[vi, vj] = C[vi, vj] + A[vi, vk] * B[vk, vj]


def tiled(seed: int = 0) -> Schedule:
    sch = Schedule(matmul, seed=seed)
    block = sch.get_block("C")
    i, j, _ = sch.get_loops(block)
    a, b = sch.sample_perfect_tile(i, 2)
    sch.sample_categorical([1, 2], [0.5, 0.5])
    sch.split(i, [None, b * 1])  # type: ignore[operator]
    sch.annotate(j, "note", {"list": [1, "two", "v4", '"', a], "none": None})
    sch.annotate(j, "largest", Max(a, b))
    sch.enter_postproc()
    sch.parallel(j)
    return sch


def test_expressions_and_nested_values_survive_both_forms() -> None:
    sch = tiled()
    for again in (Trace.from_python(str(sch.trace)), Trace.from_json(sch.trace.to_json())):
        assert str(again) == str(sch.trace)
        assert again.as_json() == sch.trace.as_json()
        other = Schedule(matmul)
        again.apply_to_schedule(other)
        assert structural_equal(other.mod, sch.mod)


@pytest.mark.parametrize("dialect", ["tir", "tirx"])
def test_both_spellings_are_read(dialect: str) -> None:
    sch = tiled()
    assert str(Trace.from_python(sch.trace.script(dialect=dialect))) == str(sch.trace)
    assert str(Trace.from_json(sch.trace.as_json(dialect=dialect))) == str(sch.trace)
    assert ("get_sblock" in sch.trace.script(dialect=dialect)) == (dialect == "tirx")


def test_unknown_dialect() -> None:
    with pytest.raises(ScheduleError, match=r"no dialect 'relay'.*\[trace\.P5\]"):
        Trace().as_python(dialect="relay")


def test_lines_without_the_function_and_positional_arguments_are_read() -> None:
    lines = ['C = sch.get_block("C")', "i, j, k = sch.get_loops(C)", "io, ii = sch.split(i, [None, 2 * 4])"]
    trace = Trace.from_python("\n".join([*lines, "sch.reorder(io, j, ii)"]))
    sch = Schedule(matmul)
    trace.apply_to_schedule(sch)
    assert "T.grid(2, 16, 8, 16)" in sch.mod.script()


def test_simplified_keeps_what_is_used_inside_lists_and_expressions() -> None:
    names = [inst.name for inst in tiled().trace.simplified().insts]
    kept = ["get_block", "get_loops", "sample_perfect_tile", "split", "annotate", "annotate"]
    assert names == [*kept, "enter_postproc", "parallel"]
    assert [inst.name for inst in tiled().trace.simplified(True).insts] == names[:-2]


def test_remove_postproc() -> None:
    sch, other = tiled(), Schedule(matmul)
    sch.trace.apply_to_schedule(other, remove_postproc=True)
    assert "parallel" not in other.mod.script()
    assert len(sch.trace.as_python(remove_postproc=True)) == len(sch.trace) - 2
    assert len(sch.trace.as_json(remove_postproc=True)[0]) == len(sch.trace) - 2


def test_decisions_are_sampled_anew_without_one_and_changed_by_a_provider() -> None:
    trace = tiled().trace
    free = Trace([Instruction(i.name, i.arguments, i.outputs, None, i.attributes) for i in trace.insts])
    assert free.decisions == {}
    found = set()
    for seed in range(12):
        sch = Schedule(matmul, seed=seed)
        free.apply_to_schedule(sch)
        found.add(str(sch.trace.insts[2].decision))
    assert len(found) > 2
    sch = Schedule(matmul)
    trace.apply_to_schedule(sch, decision_provider=lambda inst, inputs, attrs, d: [4, 4] if attrs == [2, 16] else d)
    assert sch.trace.insts[2].decision == [4, 4]


def test_with_decision_and_the_constructor_agree() -> None:
    trace = tiled().trace
    inst = trace.insts[2]
    assert str(Trace(trace.insts, {inst: [2, 8]})) == str(trace.with_decision(inst, [2, 8], remove_postproc=False))
    assert trace.with_decision(inst, [2, 8], remove_postproc=True).insts[-1].name == "annotate"
    with pytest.raises(MlcrefError, match="not part of this trace, or samples nothing"):
        trace.with_decision(trace.insts[0], 1)
    with pytest.raises(MlcrefError, match="not part of this trace"):
        Trace().with_decision(inst, 1)


def test_append_and_pop() -> None:
    trace = tiled().trace
    last = trace.pop()
    assert last is not None and last.name == "parallel"
    trace.append(last)
    assert trace.pop() is last
    inst = trace.insts[2]
    trace.append(inst, [2, 8])
    assert trace.get_decision(trace.insts[-1]) == [2, 8]
    assert Trace().pop() is None


def test_instructions_have_the_fields_of_tvm() -> None:
    inst = tiled().trace.insts[2]
    assert (inst.kind.name, inst.kind.is_pure, inst.kind.is_postproc) == ("SamplePerfectTile", True, False)
    assert len(inst.inputs) == 1
    assert inst.attrs == [2, 16]


def test_show_prints(capsys: pytest.CaptureFixture[str]) -> None:
    tiled().trace.show()
    assert "sample_perfect_tile" in capsys.readouterr().out


HOSTILE = [
    ("import os", "neither a call"),
    ("sch.get_block(open('/etc/passwd'))", "no value of a trace"),
    ("sch.__init__()", "unknown instruction __init__"),
    ("sch.get_block.x('C')", "no call of a method of the schedule"),
    ("eval('1')", "no call of a method"),
    ("x = sch.parallel(loop=l9)", "no instruction hands out 'l9'"),
    ("sch.get_block(name='C', nme='D')", "no parameter nme"),
    ("sch.get_block()", "needs name"),
    ("sch.get_block('C', 'main', 3, 4, 5)", "3 arguments at most"),
    ("sch.get_block(**{'name': 'C'})", "no parameter None"),
    ("sch.get_block('C' + 'D')", "arithmetic on what is no number"),
    ("sch.sample_categorical([1 // 0], [1])", "division by zero"),
    ("sch.sample_categorical([-'x'], [1])", "no number"),
    ("sch.annotate(sch, 'a', [x for x in ()])", "no instruction hands out 'sch'|no value"),
    ("for x in (): pass", "neither a call"),
    ("x.y = sch.get_block('C')", "neither a call"),
    ("sch.get_block('C'", "no trace in Python form"),
    ("sch.get_block(" + "(" * 90 + "1" + "+1)" * 90 + ")", "."),
    ("sch.get_block(" + "[" * 150 + "]" * 150 + ")", "nested too deeply|no trace in Python form"),
]


@pytest.mark.parametrize(("text", "what"), HOSTILE, ids=range(len(HOSTILE)))
def test_text_that_is_no_trace_is_refused_and_never_run(text: str, what: str) -> None:
    with pytest.raises(ScheduleError, match=what) as caught:
        Trace.from_python(text).apply_to_schedule(Schedule(matmul))
    assert caught.value.rule


@pytest.mark.parametrize(
    ("form", "rule"),
    [
        ([], "trace.P2"),
        ("{}", "trace.P2"),
        ("[", "trace.P2"),
        ([[["GetBlock", []]], []], "trace.P2"),
        ([[["FlyAway", [], [], []]], []], "trace.P1"),
        ([[["Parallel", ["l7"], [], []]], []], "trace.P3"),
        ([[["Parallel", ["(l7 + 1)"], [], []]], []], "trace.P4"),
        ([[["Parallel", [], [], []]], []], "trace.P2"),
        ([[["GetLoops", [], [], []]], []], "trace.P2"),
        ([[["GetBlock", [], ["C"], ["b0"]]], [["x", 1]]], "trace.P2"),
    ],
)
def test_json_that_is_no_trace_is_refused(form: Any, rule: str) -> None:
    with pytest.raises(ScheduleError, match=re.escape(f"[{rule}]")):
        Trace.from_json(form)


@settings(max_examples=20)
@given(st.data())
def test_traces_of_random_schedules_survive_both_forms(data: st.DataObject) -> None:
    def pick(options: Any, weights: Any = None) -> Any:
        return data.draw(st.sampled_from(list(options)))

    func = program(pick, max_blocks=2)
    sch = data.draw(schedules(func))
    for again in (Trace.from_python(str(sch.trace)), Trace.from_json(sch.trace.to_json())):
        assert str(again) == str(sch.trace)
        other = Schedule(func)
        again.apply_to_schedule(other)
        assert structural_equal(other.mod, sch.mod)
