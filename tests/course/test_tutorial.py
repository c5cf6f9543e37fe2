"""The tutorial in ``examples/tutorial`` runs, and says what it promises."""

from __future__ import annotations

import runpy
from pathlib import Path

import numpy as np
import pytest

import mlcref

TUTORIAL = Path(mlcref.__file__).parents[1] / "examples" / "tutorial"


def test_tensor_expressions(capsys: pytest.CaptureFixture[str]) -> None:
    names = runpy.run_path(str(TUTORIAL / "tensor_expressions.py"))
    shown = capsys.readouterr().out
    for words in ("for i_0 in T.parallel(32):", "sch.decompose_reduction(", "TESTED", "hint: rfactor", "scheduled: "):
        assert words in shown
    a, b, terms = np.abs(names["a"]).astype("float64"), np.abs(names["b"]), names["N"]
    bound = (a @ b) * (1.01 * terms * 2.0**-24)  # of a sum of that many products in any order, each rounded
    assert (np.abs(names["d"] - names["expected"]) <= bound).all()
