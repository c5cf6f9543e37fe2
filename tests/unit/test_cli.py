"""The command line: check, show, explain."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from mlcref.cli import main
from mlcref.cli.other_rules import PRECONDITION_REMEDIES, REMEDIES
from mlcref.cli.rules import all_rules
from mlcref.interp.rules import DEFINES, RULES
from mlcref.ir import structural_equal
from mlcref.schedule import TABLE
from mlcref.script import from_source

ROOT = Path(__file__).parents[2]
GOOD = """
@T.prim_func
def double(A: T.Buffer((8,), "float32"), B: T.Buffer((8,), "float32")):
    for i in range(8):
        with T.block("B"):
            vi = T.axis.spatial(8, i)
            B[vi] = A[vi] * T.float32(2)
"""


@pytest.fixture
def script(tmp_path: Path) -> Path:
    path = tmp_path / "program.py"
    path.write_text(GOOD)
    return path


def test_check_accepts(script: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", str(script)]) == 0
    assert capsys.readouterr().out.startswith("double: TESTED")


def test_check_reports_and_points_at_the_rule(script: Path, capsys: pytest.CaptureFixture[str]) -> None:
    script.write_text(GOOD.replace("A[vi]", "A[vi + 1]"))
    assert main(["check", str(script)]) == 1
    out = capsys.readouterr().out
    assert "A[8] is out of bounds" in out
    assert "more: python -m mlcref explain memory.bounds" in out


def test_check_of_chosen_rules(script: Path) -> None:
    script.write_text(GOOD.replace("A[vi] *", "(A[vi] + B[T.max(vi - 1, 0)]) *"))
    assert main(["check", str(script), "--rules", "meaningless"]) == 0
    assert main(["check", str(script), "--rules", "block.spatial,memory.bounds"]) == 1


def test_check_as_json(script: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", str(script), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["double"]["status"] == "TESTED"
    assert found["double"]["exit_code"] == 0


def test_check_with_proofs(script: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("islpy", reason="static proofs need islpy: pip install mlcref[prove]")
    assert main(["check", str(script), "--prove"]) == 0
    assert capsys.readouterr().out.startswith("double: PROVED: no call breaks memory.bounds, ")
    script.write_text(GOOD.replace("(8,)", "(80000000,)").replace("8)", "80000000)").replace("8, i", "80000000, i"))
    assert main(["check", str(script)]) == 2
    assert "too large for the oracle" in capsys.readouterr().err
    assert main(["check", str(script), "--prove"]) == 0
    assert "no run confirms it (budget: the buffers are too large for a run)" in capsys.readouterr().out
    for name in [name for name in sys.modules if name.startswith("mlcref.verify.prove_isl")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.delitem(sys.modules, "mlcref.verify.prove", raising=False)
    monkeypatch.setitem(sys.modules, "islpy", None)
    assert main(["check", str(script), "--prove"]) == 2
    assert "pip install mlcref[prove]" in capsys.readouterr().err


def test_check_of_a_module_looks_at_every_function(script: Path, capsys: pytest.CaptureFixture[str]) -> None:
    wrong = GOOD.replace("A[vi]", "A[vi + 1]").replace("double", "wrong")
    body = "".join(f"    {line}\n" for line in (GOOD + wrong).splitlines())
    script.write_text(f"@I.ir_module\nclass Module:\n{body}")
    assert main(["check", str(script)]) == 1
    out = capsys.readouterr().out
    assert "double: TESTED" in out
    assert "wrong: REFUTED" in out


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("x = (", "script.syntax"),
        ("", "0 functions"),
        ("__import__('os').system('echo bad')", "mlcref:"),
        (GOOD.replace("range(8)", "range(__import__('os').getpid())"), "mlcref:"),
        ("x = " + "(" * 3000 + "1" + ")" * 3000, "mlcref:"),
    ],
)
def test_bad_input_is_refused(script: Path, capsys: pytest.CaptureFixture[str], text: str, words: str) -> None:
    script.write_text(text)
    assert main(["check", str(script)]) == 2
    captured = capsys.readouterr()
    assert words in captured.err
    assert "bad" not in captured.out


def test_missing_files_and_endless_programs(script: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", str(script.parent / "absent.py")]) == 2
    assert "No such file" in capsys.readouterr().err
    endless = "@T.prim_func\ndef f(A: T.Buffer((8,), 'int32')):\n    for i in range(1000000000):\n        A[0] = i\n"
    script.write_text(endless)
    assert main(["check", str(script), "--max-statements", "1000"]) == 2
    assert "budget" in capsys.readouterr().out
    script.write_text(GOOD.replace("8", "10000000000"))
    assert main(["check", str(script)]) == 2
    assert "too large" in capsys.readouterr().err


@pytest.mark.parametrize("dialect", ["tir", "tirx"])
def test_show(script: Path, capsys: pytest.CaptureFixture[str], dialect: str) -> None:
    assert main(["show", str(script), "--dialect", dialect]) == 0
    out = capsys.readouterr().out
    assert ("T.sblock" in out) == (dialect == "tirx")
    assert structural_equal(from_source(out), from_source(GOOD))


def test_show_numpy(script: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show", str(script), "--dialect", "numpy"]) == 0
    compile(capsys.readouterr().out, "numpy", "exec")


def test_show_numpy_wants_sizes(script: Path, capsys: pytest.CaptureFixture[str]) -> None:
    script.write_text("""
@T.prim_func
def f(a: T.handle):
    n = T.int32()
    A = T.match_buffer(a, (n,), "float32")
    for i in range(n):
        A[i] = T.float32(2)
""")
    assert main(["show", str(script), "--dialect", "numpy"]) == 2
    assert "the source depends on n" in capsys.readouterr().err
    assert main(["show", str(script), "--dialect", "numpy", "--size", "n=8"]) == 0
    assert main(["show", str(script), "--dialect", "numpy", "--size", "n"]) == 2
    assert "cli.size" in capsys.readouterr().err


@pytest.mark.parametrize("rule", ["memory.bounds", "parallel.P3", "wellformed.W1", "script.name", "call.shape"])
def test_explain_has_rule_example_and_remedy(rule: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", rule]) == 0
    out = capsys.readouterr().out
    assert out.startswith(f"{rule} · ")
    assert "\nexample:\n" in out
    assert "\nremedy: " in out


def test_explain_lists(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", "block"]) == 0
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == [
        rule for rule in RULES if rule.startswith("block.")
    ]
    assert main(["explain"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == len(all_rules())


@pytest.mark.parametrize(("wrong", "meant"), [("memry.bouns", "memory.bounds"), ("paralel.p1", "parallel.P1")])
def test_explain_guesses(wrong: str, meant: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", wrong]) == 2
    assert f"did you mean {meant}" in capsys.readouterr().err


def test_every_rule_that_is_raised_is_explained() -> None:
    known = all_rules()
    assert set(RULES) <= set(known)
    assert {f"{name}.{number}" for name, record in TABLE.items() for number in record.preconditions} <= set(known)
    assert all(text.prose for text in known.values())


def test_remedies_are_of_rules_that_exist() -> None:
    assert set(REMEDIES) <= set(RULES)
    assert [rule for rule, severity in RULES.items() if severity != DEFINES and rule not in REMEDIES] == []
    statements = {text for record in TABLE.values() for text in record.preconditions.values()}
    assert set(PRECONDITION_REMEDIES) <= statements


def test_the_page_is_the_one_in_docs() -> None:
    shipped = ROOT / "mlcref" / "cli" / "semantics.md"
    assert shipped.read_bytes() == (ROOT / "docs" / "semantics.md").read_bytes()


WITHOUT_COMPILER = f"""
import sys
from mlcref.cli import main
from mlcref.runtime import why_no_compiler
from mlcref.script import from_source
from mlcref.testing import assert_backend_matches, programs, peers
import numpy as np

assert why_no_compiler() is not None
double = from_source({GOOD!r})
assert_backend_matches(double, peers.numpy_function(lambda a: a * np.float32(2)))
assert programs() is not None
sys.exit(main(["check", sys.argv[1]]))
"""


WITHOUT_HYPOTHESIS = """
import sys
sys.modules["hypothesis"] = None
import mlcref.testing
try:
    mlcref.testing.programs
except ImportError as error:
    print(error)
"""


def test_hypothesis_is_needed_by_the_strategies_alone() -> None:
    command = [sys.executable, "-c", WITHOUT_HYPOTHESIS]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.stdout == "mlcref.testing.programs needs Hypothesis: pip install mlcref[test]\n"


def test_everything_here_works_without_a_compiler(script: Path) -> None:
    environment = {**os.environ, "CC": "/nonexistent", "PATH": "/nonexistent", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", WITHOUT_COMPILER, str(script)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("double: TESTED")
