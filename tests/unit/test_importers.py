"""The importer without torch: its table, and the page about it."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

import mlcref
from mlcref.errors import UnsupportedError
from mlcref.importers import fx, fx_table
from mlcref.importers.torch_types import result_type

ROOT = Path(mlcref.__file__).parents[1]


def test_the_page_lists_the_layers() -> None:
    page = (ROOT / "docs" / "importers.md").read_text(encoding="utf-8")
    (listed,) = re.findall(r"^\| layers \(`torch.nn`\) \| (.*) \|$", page, re.MULTILINE)
    assert listed.split() == sorted(fx_table.MODULES)
    assert fx.from_fx.__module__ == "mlcref.importers.fx"


def test_the_importer_comes_without_torch() -> None:
    program = "import sys, mlcref.importers.fx, mlcref.relax.frontend; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout == "False\n"


def test_names_are_looked_up_in_the_standard_library() -> None:
    assert fx_table.look_up("operator.add") is __import__("operator").add
    assert fx_table.look_up("torch.no.such") is None


def test_types_of_which_neither_holds_the_other() -> None:
    for pair in (("bfloat16", "float16"), ("uint8", "int8"), ("int16", "uint32")):
        with pytest.raises(UnsupportedError, match=r"operands of .* and .*  \[fx.dtype\]\nhint: convert one of them"):
            result_type([(dtype, 1) for dtype in pair])
