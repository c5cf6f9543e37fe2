"""The importer without torch: its table, and the page about it."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import mlcref
from mlcref import relax
from mlcref.demo.dataset import load_images, load_weights
from mlcref.driver import compile as compile_module
from mlcref.errors import UnsupportedError
from mlcref.importers import fx, fx_table
from mlcref.importers.torch_types import result_type
from mlcref.ir import IRModule
from mlcref.runtime.vm import VirtualMachine
from mlcref.testing.graph_bounds import bounded_graph

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


def classifier(batch: int) -> IRModule:
    """The graph that the importer makes of the demo's model."""
    x = relax.Var("x", relax.TensorStructInfo((batch, 784), "float32"))
    w0, b0, w1, b1 = (relax.const(load_weights()[name]) for name in ("w0", "b0", "w1", "b1"))
    bb = relax.BlockBuilder()
    with bb.function("main", [x]):
        with bb.dataflow():
            hidden = bb.emit(relax.op.nn.relu(relax.op.linear(x, w0, b0)))
            gv = bb.emit_output(relax.op.linear(hidden, w1, b1))
        bb.emit_func_output(gv)
    return bb.get()


@pytest.mark.parametrize("threads", [1, 2])
def test_the_classifier_keeps_to_its_bound(threads: int) -> None:
    images, target = load_images(shipped=True).images[:60].reshape(3, 20, 784), f"cython --num-cores={threads}"
    module = classifier(20)
    run = VirtualMachine(compile_module(relax.get_pipeline("autoschedule", target=target)(module), target))["main"]
    for batch in images:
        bound = bounded_graph(module, batch)
        found = run(batch).numpy()
        assert bound.covers(found).all() and (found.argmax(1) == bound.value.argmax(1)).all()
        assert not bound.covers(found + np.float32(0.5)).any()
