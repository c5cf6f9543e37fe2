"""Profiles of programs: one row for each instruction, the same calls as a run, counts that are known by hand."""

import json

import numpy as np
import pytest

import mlcref
from mlcref import relax, te
from mlcref.errors import CallError
from mlcref.ir import register_global_func, remove_global_func
from mlcref.runtime import launch, vm_sequence
from mlcref.runtime.operation_count import float_operations
from mlcref.runtime.vm_profile import ProfileReport, ProfileRow
from mlcref.script import from_source

op = relax.op
needs_clock = pytest.mark.skipif(
    launch.KernelSequence is None or not hasattr(launch.KernelSequence, "time_kernels"),
    reason="installed without compiled launcher, or with an older one",
)
X = np.arange(32, dtype="float32").reshape(4, 8)
W = np.ones((8, 2), "float32")


def machine():
    bb = relax.BlockBuilder()
    x, w = (relax.Var(name, relax.TensorStructInfo(shape, "float32")) for name, shape in (("x", (4, 8)), ("w", (8, 2))))
    with bb.function("main", [x, w]):
        with bb.dataflow():
            y = bb.emit(op.matmul(bb.emit(op.nn.relu(x)), w))
            out = bb.emit_output(op.add(bb.emit(op.exp(bb.emit(op.sin(y)))), bb.emit(op.negative(y))))
        bb.emit_func_output(out)
    return relax.VirtualMachine(mlcref.compile(bb.get()))


def by_name(report):
    return {row.name: row for row in report.rows}


def assert_rows(report, number):
    rows = by_name(report)
    assert all(row.calls == number and row.microseconds > 0 for row in rows.values() if row.bytes)
    assert sum(row.share for row in report.rows) == pytest.approx(1)
    assert rows["matmul"].shapes == ("float32[4, 8]", "float32[8, 2]", "float32[4, 2]")
    assert rows["matmul"].bytes == 4 * (4 * 8 + 8 * 2 + 4 * 2 * 2)
    assert rows["matmul"].operations == 2 * 4 * 8 * 2
    assert rows["relu"].operations == 32
    assert rows["relu"].gigabytes_per_second == rows["relu"].bytes / rows["relu"].microseconds / 1e3
    assert rows["exp_in_place_0"].bytes == 2 * 4 * 4 * 2


@needs_clock
def test_every_kernel_has_a_row():
    run = machine()
    report = run.profile("main", X, W, number=3)
    assert [row.name for row in report.rows] == [
        "relu", "matmul", "sin", "exp_in_place_0", "negative_in_place_0", "add_in_place_0",
    ]  # fmt: skip
    assert_rows(report, 3)
    assert 0 < report.microseconds
    assert 0 < report.call_microseconds
    assert run["main"](X, W).numpy().tolist() == run["main"](X, W).numpy().tolist()


def test_step_by_step_other_instructions_have_rows_too(monkeypatch):
    monkeypatch.setattr(vm_sequence, "KernelSequence", None)
    report = machine().profile("main", X, W, number=2)
    assert {"allocate", "relu", "matmul"} <= {row.name for row in report.rows}
    assert_rows(report, 2)


def test_functions_of_python_are_timed():
    text = """
@R.function
def main(x: R.Tensor((3,), "float32")):
    y = R.call_dps_packed("profile.double", (x,), R.Tensor((3,), "float32"))
    return y
"""
    register_global_func("profile.double", lambda x, out: out.copyfrom(2 * x.numpy()), override=True)
    try:
        report = relax.VirtualMachine(mlcref.compile(from_source(text))).profile("main", np.ones(3, "float32"))
    finally:
        remove_global_func("profile.double")
    row = by_name(report)["profile.double"]
    assert (row.shapes, row.calls, row.bytes, row.operations) == (("float32[3]",) * 2, 20, None, None)
    assert row.gigaflops is None


def test_arguments_are_checked():
    run = machine()
    with pytest.raises(CallError, match="takes 2 arguments"):
        run.profile("main", X)
    with pytest.raises(CallError, match=r"w\.shape\[0\] must be 8, got 2"):
        run.profile("main", X, W.T.copy())
    with pytest.raises(CallError, match="nothing to measure with number=0"):
        run.profile("main", X, W, number=0)


ROWS = (
    ProfileRow("add", ("int8[2]",), 5, 0.5, 0.25, 1000, None), ProfileRow("dot", ("int8[3]",), 5, 3.0, 0.5, 6000, 6000),
    ProfileRow("add", ("int8[2]",), 5, 0.5, 0.25, 1000, None),
)  # fmt: skip


def test_reports_as_table_text_and_json():
    report = ProfileReport("main", ROWS, 4.5)
    assert report.table().row_count == 3
    text = str(report)
    assert "main: 4.5 µs a call, 4.0 µs in instructions" in text
    assert "50.0 %" in text
    read = json.loads(report.json())
    assert read["function"] == "main"
    assert read["rows"][1]["gigaflops"] == 2.0
    assert read["rows"][1]["shapes"] == ["int8[3]"]


def test_equal_kernels_are_added_up():
    dot, add = ProfileReport("main", ROWS, 4.5).by_kernel()
    assert dot == ROWS[1]
    assert (add.calls, add.microseconds, add.share, add.bytes, add.operations) == (10, 1.0, 0.5, 2000, None)


def test_reports_are_printed(capsys):
    ProfileReport("main", ROWS, 4.5).show()
    assert "dot" in capsys.readouterr().out


def test_operations_of_loops():
    n = te.var("n")
    a = te.placeholder((n, 4), name="A")
    k = te.reduce_axis((0, 4), name="k")
    total = te.compute((n,), lambda i: te.sum(te.exp(a[i, k]) * a[i, k], axis=k), name="B")
    func = te.create_prim_func([a, total])
    assert float_operations(func, {func.params[0].shape[0]: 5}) == 5 * 4 * 3
    assert float_operations(func, {}) is None
    chosen = te.compute((n, 4), lambda i, j: te.if_then_else(a[i, j] > 0.0, a[i, j], a[i, j] + 1.0), name="C")
    func = te.create_prim_func([a, chosen])
    assert float_operations(func, {func.params[0].shape[0]: 1}) == 8


def test_conditions_hide_the_work():
    text = """
@T.prim_func
def f(A: T.Buffer((4,), "float32")):
    for i in range(4):
        if A[i] > T.float32(0):
            A[i] = A[i] + T.float32(1)
"""
    assert float_operations(from_source(text), {}) is None


def test_the_executable_knows_its_programs():
    programs = machine().executable.tensor_programs
    assert {"relu", "exp_in_place_0"} <= set(programs)
    assert "exp" not in programs
