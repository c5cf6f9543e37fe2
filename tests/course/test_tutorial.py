"""The tutorial in ``examples/tutorial`` runs, and says what it promises. Its files have assertions of their own."""

from __future__ import annotations

import re
import runpy
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import mlcref
from mlcref.runtime import why_no_compiler

TUTORIAL = Path(mlcref.__file__).parents[1] / "examples" / "tutorial"
SAYS = {
    "primitive_tensor_functions": ["call.shape", "memory.output", "TESTED", "seconds:"],
    "tensorir": ["loop i has extent 15", "B[15] is never written", "race on S[0]", "T.reads does not cover A[15]"],
    "schedules": ["TESTED", "sch.decompose_reduction(", "loop k feeds", "reverse_compute_at.P5", "scheduled: "],
    "end_to_end": ["it sees: boot", 'R.Tensor((1, 784), dtype="float32")', "43 of 50 pictures", "two columns: "],
    "automatic_optimization": ["decision=[", "best of 3: ", "sch.transform_layout(", "by rules: ", "TESTED"],
    "gpu": ['scope="shared"', "bind: loop k feeds", "tutorial.tile", "no backend for target cuda"],
    "graph_optimization": ["'nn.relu', 'multiply'", "cls.matmul_add", "FuseTIR: 2 bindings", "fused, scheduled: "],
}  # fmt: skip
"""What each file prints, among other things."""


def run(name: str) -> dict[str, Any]:
    return runpy.run_path(str(TUTORIAL / f"{name}.py"))


@pytest.mark.skipif(why_no_compiler() is not None, reason="no C compiler: the tutorial compares times")
@pytest.mark.parametrize("name", SAYS)
def test_a_chapter_runs_and_says_what_it_should(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    run(name)
    shown = capsys.readouterr().out
    assert [words for words in SAYS[name] if words not in shown] == []


def test_tensor_expressions(capsys: pytest.CaptureFixture[str]) -> None:
    names = run("tensor_expressions")
    shown = capsys.readouterr().out
    for words in ("for i_0 in T.parallel(32):", "sch.decompose_reduction(", "TESTED", "hint: rfactor", "scheduled: "):
        assert words in shown
    a, b, terms = np.abs(names["a"]).astype("float64"), np.abs(names["b"]), names["N"]
    bound = (a @ b) * (1.01 * terms * 2.0**-24)  # of a sum of that many products in any order, each rounded
    assert (np.abs(names["d"] - names["expected"]) <= bound).all()


def test_the_page_lists_the_files() -> None:
    page = (TUTORIAL / "README.md").read_text(encoding="utf-8")
    linked = re.findall(r"\]\((\w+\.py)\)", page)
    assert {f"{name}.py" for name in SAYS} <= set(linked)
    assert [name for name in linked if not (TUTORIAL / name).exists()] == []
