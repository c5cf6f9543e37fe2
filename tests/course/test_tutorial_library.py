"""The tutorial about libraries and the page about graphs run, and say what they promise."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

import numpy as np
import pytest

import mlcref
from mlcref.runtime import why_no_compiler
from mlcref.testing.graph_bounds import bounded_graph

ROOT = Path(mlcref.__file__).parents[1]


@pytest.mark.skipif(why_no_compiler() is not None, reason="no compiler")
def test_your_own_library(capsys: pytest.CaptureFixture[str]) -> None:
    names = runpy.run_path(str(ROOT / "examples" / "tutorial" / "your_own_library.py"))
    shown = capsys.readouterr().out
    for words in (
        'R.func_attr({"Codegen": "mylib"', "asked for mylib.dense", 'R.call_dps_packed("fused_relax_matmul_',
        "by more than rounding explains", "in C: ", "_blas", "R.split(", "equal: True",
    ):  # fmt: skip
        assert words in shown
    bound = bounded_graph(names["model"], names["image"])
    for result in (names["checked"], names["result"], names["expected"]):
        assert np.all(bound.covers(result))


def test_the_page_about_graphs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page = (ROOT / "docs" / "relax.md").read_text(encoding="utf-8")
    examples = re.findall(r"^```python\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    path = tmp_path / "example.py"
    mlcref.remove_global_func("relax.ext.mylib")
    try:
        for example in examples:
            path.write_text(example, encoding="utf-8")
            names = runpy.run_path(str(path))
    finally:
        mlcref.remove_global_func("relax.ext.mylib")
    assert capsys.readouterr().out.count("R.matmul(") == 1
    assert len(names["passes"]) == 2
    table = page[page.index("| pass of") : page.index("`relax.get_pipeline")]
    for name in re.findall(r"^\| `(\w+)", table, re.MULTILINE):
        assert hasattr(mlcref.relax.transform, name), name
    for target in re.findall(r"\]\(([^)]+)\)", page):
        assert (ROOT / "docs" / target).exists(), target
