"""The benchmark suite: what is measured means what it says, nothing wrong is timed, and no result gets lost."""

from __future__ import annotations

import json
import socket
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest

from mlcref.benchmark import check, peaks, run, worker
from mlcref.benchmark.bounds import Approximate
from mlcref.benchmark.child import Child, WorkerLost
from mlcref.benchmark.measure import Effort, interleaved, ratio
from mlcref.benchmark.operators import OPERATORS, case_of
from mlcref.benchmark.page import page
from mlcref.benchmark.results import Results
from mlcref.benchmark.run import Listener, Plan
from mlcref.benchmark.systems import SYSTEMS, Prepared, System
from mlcref.benchmark.workload import select, workload_of, workloads
from mlcref.cli import main
from mlcref.errors import MlcrefError, UnsupportedError
from mlcref.interp import execute
from mlcref.testing.tolerance import ToleranceArithmetic, tolerance_of

KINDS = sorted({(w.operator, w.dtype, w.layout) for w in workloads()})
SOFTMAX = "softmax/float32/rows=5,columns=9"
GEMM = "matmul/float32/m=33,k=20,n=17"
QUICK = Effort(rounds=2, seconds=1e-5)


# Workloads and their references.


@pytest.mark.parametrize(("operator", "dtype", "layout"), KINDS)
def test_the_oracle_agrees_with_the_reference(operator: str, dtype: str, layout: str) -> None:
    assert check.check_meaning(operator, dtype, layout) >= 1


def test_every_operator_has_workloads_in_every_suite() -> None:
    assert {w.operator for w in workloads()} == set(OPERATORS)
    for suite in ("tiny", "small"):
        assert {w.operator for w in select(suite)} == set(OPERATORS)
    assert set(select("small")) < set(select("full"))


def test_inputs_are_the_same_every_time() -> None:
    one, two = (case_of(workload_of(GEMM)).inputs for _ in range(2))
    assert all(np.array_equal(a, b) for a, b in zip(one, two, strict=True))


@pytest.mark.parametrize("name", [w.name for w in select("tiny") if w.operator != "gelu"])
def test_numpy_is_within_the_bound(name: str) -> None:
    case = case_of(workload_of(name))
    prepared = SYSTEMS["numpy"].prepare(case, 1)
    check.check_result(prepared.result(prepared.call()), case.reference(), case.empty().dtype)


@pytest.mark.parametrize("operator", ["softmax", "layernorm", "gelu", "attention", "stencil"])
def test_the_bound_is_about_that_of_the_oracle(operator: str) -> None:
    case = case_of(next(w for w in select("tiny", [f"{operator}/*"])))
    program: Any = case.operator.program(case.workload)
    slot = execute(program, (*case.inputs, case.empty()), arithmetic=ToleranceArithmetic()).slots[-1]
    cells = slot.view.storage.cells
    want = case.reference()
    error = np.broadcast_to(want.error, want.value.shape)
    for place in np.ndindex(want.value.shape):
        value = cells[slot.positions[place]]
        assert abs(float(value) - want.value[place]) <= error[place]
        allowed = tolerance_of(value, "float32")
        assert error[place] < 1e-40 if allowed == 0 else 0.1 * error[place] <= allowed <= 10 * error[place]


def test_a_product_left_out_is_found() -> None:
    case = case_of(workload_of("matmul/float32/m=256,k=256,n=256"))
    a, b = case.inputs
    k = int(np.flatnonzero(a[3])[0])
    short = a @ b
    short[3] -= a[3, k] * b[k]
    with pytest.raises(check.WrongResult, match=r"elements are wrong, the first at \[3, "):
        check.check_result(short, case.reference(), np.dtype("float32"))


def test_a_result_that_was_not_written_is_found() -> None:
    case = case_of(workload_of(SOFTMAX))
    with pytest.raises(check.WrongResult, match="45 of 45 elements are wrong"):
        check.check_result(case.empty(), case.reference(), np.dtype("float32"))
    with pytest.raises(check.WrongResult, match="not float32"):
        check.check_result(np.zeros((5, 9)), case.reference(), np.dtype("float32"))


def test_sums_that_may_round_have_a_bound_and_exact_ones_none() -> None:
    tenths = Approximate.exact(np.full((1, 100), 0.1, np.float32), "float32").sum(1)
    assert 0 < tenths.error[0] < 1e-4
    assert Approximate.exact(np.ones((1, 2**8)), "bfloat16").sum(1).error[0] == 0
    assert Approximate.exact(np.ones((1, 2**8 + 1)), "bfloat16").sum(1).error[0] > 0


# Measuring.


def test_calls_take_turns() -> None:
    turns: list[str] = []
    found = interleaved({"a": lambda: 1, "b": lambda: 2}, Effort(rounds=4, seconds=1e-5), turns.append)
    assert {name: len(values) for name, values in found.items()} == {"a": 4, "b": 4}
    assert [sorted(turns[at : at + 2]) for at in range(0, 10, 2)] == [["a", "b"]] * 5  # one to see how long they take


def test_a_ratio_survives_drift() -> None:
    drift = np.linspace(1, 5, 9)
    assert ratio((2.0 * drift).tolist(), drift.tolist()) == pytest.approx(0.5)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_peak_counts_what_is_computed(dtype: str) -> None:
    peak = peaks.fma(dtype, 1, rounds=3)
    lanes = peaks.vector_bytes() // peak.memory.itemsize
    peak.call()
    values = np.arange(12.0)
    for _ in range(3):
        values = values * 0.999 + 0.001
    assert np.allclose(peak.memory[0, 64 : 64 + lanes], values.sum(), rtol=1e-5)
    assert not peak.memory[0, 64 + lanes :].any()
    assert peak.flops == 3 * lanes * len(values) * 2


def said(request: dict[str, Any]) -> tuple[list[dict[str, Any]], list[Any]]:
    steps: list[Any] = []
    return worker.measure({"threads": 1, "effort": {"rounds": 2, "seconds": 1e-5}, **request}, steps.append), steps


def fake(monkeypatch: pytest.MonkeyPatch, prepare: Any) -> None:
    monkeypatch.setitem(SYSTEMS, "fake", System("fake", "numpy", ("numpy",), prepare))


def softmax_into(out: Any, case: Any) -> None:
    out[...] = case.reference().value


def test_rows_have_figures_and_ratios(monkeypatch: pytest.MonkeyPatch) -> None:
    def prepare(case: Any, threads: int) -> Prepared:
        out = case.empty()
        return Prepared(lambda: softmax_into(out, case), lambda _: out)

    fake(monkeypatch, prepare)
    rows, steps = said({"workload": SOFTMAX, "systems": ["numpy", "fake"]})
    assert [row["status"] for row in rows] == ["ok", "ok"]
    assert rows[0]["times_numpy"] == 1.0
    assert rows[1]["times_numpy"] < 1.0
    assert rows[0]["lower"] <= rows[0]["median"] <= rows[0]["upper"]
    assert {"step": "first call", "system": "fake"} in steps


def test_what_is_wrong_is_not_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []

    def prepare(case: Any, threads: int) -> Prepared:
        return Prepared(lambda: calls.append(1), lambda _: np.zeros((5, 9), np.float32))

    fake(monkeypatch, prepare)
    rows, _ = said({"workload": SOFTMAX, "systems": ["fake", "numpy"]})
    assert (rows[0]["status"], len(calls)) == ("wrong", 1)
    assert "rounding explains" in rows[0]["reason"]
    assert "median" not in rows[0]
    assert "median" in rows[1]


def test_a_system_that_changes_its_inputs_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    def prepare(case: Any, threads: int) -> Prepared:
        value = case.reference().value.astype(np.float32)
        return Prepared(lambda: case.inputs[0].fill(0), lambda _: value)

    fake(monkeypatch, prepare)
    rows, _ = said({"workload": SOFTMAX, "systems": ["fake"]})
    assert (rows[0]["status"], rows[0]["reason"]) == ("wrong", "the inputs are not what they were")


@pytest.mark.parametrize(
    ("error", "status"),
    [(UnsupportedError("cannot"), "unsupported"), (ValueError("in /home/me/x.py"), "failed")],
)
def test_what_a_system_raises_is_its_reason(monkeypatch: pytest.MonkeyPatch, error: Exception, status: str) -> None:
    def prepare(case: Any, threads: int) -> Prepared:
        raise error

    fake(monkeypatch, prepare)
    rows, _ = said({"workload": SOFTMAX, "systems": ["fake"]})
    assert rows[0]["status"] == status
    assert rows[0]["reason"] in ("cannot", "ValueError: in x.py")


def test_a_system_that_is_not_installed_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    absent = System("fake", "no-such-library", ("no_such_library",), lambda case, threads: pytest.fail("prepared"))
    monkeypatch.setitem(SYSTEMS, "fake", absent)
    rows, _ = said({"workload": SOFTMAX, "systems": ["fake"]})
    assert rows[0]["status"] == "unavailable"
    assert "not installed" in rows[0]["reason"]
    assert absent.version == ""


def test_the_program_as_it_is_written_is_a_system() -> None:
    rows, _ = said({"workload": SOFTMAX, "systems": ["mlcref-unscheduled"]})
    assert (rows[0]["status"], rows[0]["samples"]) == ("ok", 2)
    assert rows[0]["peak_flops_per_second"] > 0


# Processes that die, runs that are interrupted.

DIES = "import json, os, sys\nos.write(int(sys.argv[1]), b'{\"step\": \"prepare\", \"system\": \"x\"}\\n')\n"


@pytest.mark.parametrize(
    ("end", "limit", "message"),
    [
        ("os.kill(os.getpid(), 11)", 30, "by signal 11 in the step 'prepare'"),
        ("sys.exit('the words of /usr/lib/x')", 30, "with status 1 in the step 'prepare': the words of x"),
        ("import time; time.sleep(60)", 0.5, "no end of the step 'prepare' within 0.5 s"),
    ],
)
def test_a_worker_that_is_lost_says_whose_step_it_was(end: str, limit: float, message: str) -> None:
    with Child(1, limit, (sys.executable, "-c", DIES + end)) as child:
        with pytest.raises(WorkerLost, match=message) as caught:
            child.ask({"kind": "measure"})
        assert caught.value.system in ("x", None)


class FakeChild:
    """Answers for every system, but dies of "torch"."""

    closed = 0

    def __init__(self, threads: int, limit: float) -> None:
        self.threads = threads

    def ask(self, request: dict[str, Any], on_step: Any) -> Any:
        on_step("prepare", "torch")
        if "torch" in request["systems"]:
            raise WorkerLost("the process ended by signal 11", "torch")
        return [{"system": name, "status": "ok", "reason": "", "median": 1.0} for name in request["systems"]]

    def close(self) -> None:
        FakeChild.closed += 1


def planned(**changes: Any) -> Plan:
    return Plan("tiny", ("softmax*", "gelu*"), ("numpy", "torch"), (1,), QUICK, memory=False, peaks=False, **changes)


def test_a_system_that_kills_the_worker_costs_only_its_row(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "Child", FakeChild)
    rows = list(run.run(planned()).rows())
    assert [(row["system"], row["status"]) for row in rows] == [("numpy", "ok"), ("torch", "failed")] * 2
    assert "signal 11" in rows[1]["reason"]


def test_an_interrupted_run_goes_on(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(run, "Child", FakeChild)
    path = tmp_path / "results.jsonl"

    def interrupt(group: dict[str, Any]) -> None:
        raise KeyboardInterrupt

    closed = FakeChild.closed
    with pytest.raises(KeyboardInterrupt):
        run.run(planned(), path, Listener(group=interrupt))
    assert FakeChild.closed > closed
    with path.open("a") as file:
        file.write('{"kind": "group", "workl')  # cut off
    done: list[str] = []
    begun: list[tuple[int, int]] = []
    listener = Listener(begin=lambda *counts: begun.append(counts), group=lambda group: done.append(group["workload"]))
    results = run.run(planned(), path, listener)
    assert begun == [(2, 1)]
    assert done == [w.name for w in select("tiny", ["gelu*"])]
    kept = Results.read(path)
    assert kept is not None
    assert kept.as_json() == results.as_json()
    assert kept.complete


def test_results_of_another_run_are_set_aside(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(run, "Child", FakeChild)
    path = tmp_path / "results.jsonl"
    run.run(planned(), path)
    before = path.read_text()
    run.run(planned(limit=7.0), path)
    assert path.with_name("results.jsonl.previous").read_text() == before
    assert json.loads(path.read_text().splitlines()[0])["limit"] == 7.0


def test_threads_are_counted_from_one() -> None:
    with pytest.raises(MlcrefError, match="counted from 1"):
        run.run(Plan(threads=(0,)))


# The whole of it.


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    results, html = tmp_path / "r.jsonl", tmp_path / "r.html"
    command = ["bench", "--suite", "tiny", "--only", "softmax*", "--threads", "1", "--rounds", "2", "--no-peaks"]
    systems = ["--systems", "numpy,mlcref"]
    files = ["--results", str(results), "--html", str(html), "--json"]
    assert main([*command, *systems, *files]) == 0
    found = json.loads(capsys.readouterr().out)
    rows = {row["system"]: row for row in found["rows"]}
    assert found["complete"]
    assert rows["numpy"]["status"] == rows["mlcref"]["status"] == "ok"
    assert rows["numpy"]["peak_rss_bytes"] >= rows["numpy"]["loaded_rss_bytes"] > 0
    text = json.dumps(found) + html.read_text()
    assert str(Path.home()) + "/" not in text
    assert socket.gethostname() not in text
    assert main(["bench", "--show", "--results", str(results)]) == 0
    assert "geometric mean of 1 workload" in capsys.readouterr().out


def test_the_page_shows_every_row() -> None:
    shared = {"flops": 10, "moved_bytes": 20, "tensor_bytes": 20, "threads": 2}
    figures = {"lower": 1e-6, "median": 2e-6, "upper": 3e-6, "samples": 5, "flops_per_second": 5e6,
               "bytes_per_second": 1e7, "times_numpy": 1.0}  # fmt: skip
    header = {"systems": ["numpy", "torch", "jax"], "suite": "tiny", "machine": {}, "versions": {"a": "1 < 2"}}
    results = Results(header)
    results.add_peaks(2, {"flops float32": 4e11, "bandwidth L2": 5e10})
    rows = [
        {"system": "numpy", "status": "ok", "reason": "", **figures},
        {"system": "torch", "status": "wrong", "reason": "1 <b> 2"},
        {"system": "jax", "status": "unavailable", "reason": "not installed"},
    ]
    results.add_group({"workload": "w", **shared, "rows": rows})
    text = page(results)
    for part in ("2.00 µs", "wrong: 1 &lt;b&gt; 2", "unavailable: not installed", "1 &lt; 2", "L2 50.0 GB/s"):
        assert part in text
    assert text.count("<tr class=") == 3
    assert all(f"<td>{name}</td>" in text for name in ("numpy", "torch", "jax"))
    assert not [part for part in ("http", "src=", "href=", "url(", "<script", "<link", "@import") if part in text]
    assert text.count("<svg") == 2
    for start in (at for at in range(len(text)) if text.startswith("<svg", at)):
        svg = ElementTree.fromstring(text[start : text.index("</svg>", start) + 6])
        _, _, width, height = (float(number) for number in svg.attrib["viewBox"].split())
        for circle in svg.iter("circle"):
            assert 0 <= float(circle.attrib["cx"]) <= width
            assert 0 <= float(circle.attrib["cy"]) <= height


def test_names_that_do_not_exist(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "--suite", "tiny", "--only", "nothing*", "--list"]) == 2
    assert "no workload" in capsys.readouterr().err
    assert main(["bench", "--systems", "nobody"]) == 2
    assert "there is no system 'nobody'" in capsys.readouterr().err
