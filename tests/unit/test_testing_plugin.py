"""The pytest plugin, in sessions of their own: failures are kept and replayed, foreign suites are left alone."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from importlib.metadata import entry_points
from pathlib import Path

import pytest

INSTALLED = any(entry.name == "mlcref" for entry in entry_points(group="pytest11"))
"""Does pytest find the plugin by its entry point? A tree that is only on the path has none."""
ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples" / "foreign_project"
DRAWN = '''
from hypothesis import Phase, given, settings, strategies as st
from mlcref import interpret
from mlcref.testing import assert_backend_matches, inputs, programs
import builds

@settings(max_examples=25, deadline=None, database=None, derandomize=True,
          phases=[Phase.generate, Phase.shrink])
@given(st.data())
def test_compiler(data):
    func = data.draw(programs(dtypes=["int32"], blocks=["elementwise", "transpose"]))
    assert_backend_matches(func, build=builds.build, arguments=[data.draw(inputs(func))])
'''
BUILD = '''
from mlcref import interpret
seen = []

def build(func):
    seen.append(func)
    return lambda *args: (interpret(func, *args), BUG)
'''
BUG = "len(func.params[0].shape) == 2 and args[-1].fill(1)"


def run_pytest(folder: Path, *options: str) -> str:
    """Standard output of pytest in ``folder``, with the plugin and without what this session sets."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST", "HYPOTHESIS"))}
    environment["PYTHONPATH"] = os.pathsep.join([str(ROOT), str(folder)])
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-p", "no:benchmark", "-q", *options]
    if not INSTALLED:
        command += ["-p", "_mlcref_pytest"]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert not done.stderr, done.stderr
    return done.stdout


def copy(source: Path, target: Path) -> None:
    for name in ("kernels.py", "test_kernels.py", "pytest.ini"):
        (target / name).write_text((source / name).read_text(encoding="utf-8"), encoding="utf-8")


def test_the_example_catches_its_bug_keeps_it_and_replays_it(tmp_path: Path) -> None:
    copy(EXAMPLE, tmp_path)
    out = run_pytest(tmp_path)
    assert "1 failed, 1 passed" in out
    assert "out[0]: expected" in out
    assert re.search(r"replay: pytest 'test_kernels\.py::test_sum\[blocked_sum\]' --mlcref-corpus='.*corpus'", out)
    (script,) = (tmp_path / "corpus").glob("*.py")
    assert script.with_suffix(".npz").exists()
    again = run_pytest(tmp_path, "--mlcref-trials=1", "--mlcref-seed=3")
    assert f"on the saved inputs of {script}" in again
    assert len(list((tmp_path / "corpus").glob("*.py"))) == 1, "a replayed failure is the same failure"
    kernels = tmp_path / "kernels.py"
    kernels.write_text(kernels.read_text().replace("def blocked_sum", "def old").replace("def fixed_", "def ")
                       .replace("    blocked_sum(x, out)", "    old(x, out)") + "\n\nfixed_blocked_sum = blocked_sum\n")
    assert "2 passed" in run_pytest(tmp_path)


def test_the_example_is_short() -> None:
    assert len((EXAMPLE / "test_kernels.py").read_text(encoding="utf-8").splitlines()) < 30


def test_a_shrunk_failure_of_a_drawn_program_is_kept_and_replayed_first(tmp_path: Path) -> None:
    (tmp_path / "test_drawn.py").write_text(DRAWN)
    (tmp_path / "builds.py").write_text(BUILD.replace("BUG", BUG))
    out = run_pytest(tmp_path, "--mlcref-corpus=found")
    (script,) = (tmp_path / "found").glob("*.py")
    text = script.read_text()
    assert text.startswith("# found by: test_drawn.py::test_compiler\n")
    assert text.count("with T.block(") == 1 + text.count('# with T.block("root")')
    assert "A: T.Buffer((1, 1)" in text
    assert f"kept: {script}" in out
    (tmp_path / "builds.py").write_text(BUILD.replace("BUG", "None"))
    (tmp_path / "test_order.py").write_text(
        DRAWN + "\ndef test_order():\n    assert len(builds.seen[0].params[0].shape) == 2\n"
    )
    for path in (tmp_path / "found").glob("*.py"):
        path.write_text(path.read_text().replace("test_drawn.py", "test_order.py"))
    assert "2 passed" in run_pytest(tmp_path, "--mlcref-corpus=found", "test_order.py")


def test_without_a_corpus_nothing_is_written(tmp_path: Path) -> None:
    copy(EXAMPLE, tmp_path)
    (tmp_path / "pytest.ini").unlink()
    before = set(tmp_path.iterdir())
    assert "the failure is not kept: name a directory with --mlcref-corpus=DIR" in run_pytest(tmp_path)
    assert {path for path in tmp_path.iterdir() if path.name != "__pycache__"} == before


def test_a_foreign_suite_does_not_import_mlcref(tmp_path: Path) -> None:
    (tmp_path / "test_foreign.py").write_text(
        "import sys\n\ndef test_it():\n    assert not [m for m in sys.modules if m.split('.')[0] == 'mlcref']\n"
        "\ndef test_wrong():\n    assert 1 == 2\n"
    )
    out = run_pytest(tmp_path, "--strict-config", "--strict-markers", "-W", "error")
    assert "1 failed, 1 passed" in out
    assert "mlcref" not in out.replace("sys.modules if m.split('.')[0] == 'mlcref'", "")


def test_a_wrong_setting_is_refused(tmp_path: Path) -> None:
    (tmp_path / "pytest.ini").write_text("[pytest]\nmlcref_trials = many\n")
    with pytest.raises(AssertionError, match="mlcref_trials is a positive number, not 'many'"):
        run_pytest(tmp_path)


def test_the_plugin_is_an_entry_point_and_is_packaged() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert project["project"]["entry-points"]["pytest11"] == {"mlcref": "_mlcref_pytest"}
    assert project["tool"]["setuptools"]["py-modules"] == ["_mlcref_pytest"]
