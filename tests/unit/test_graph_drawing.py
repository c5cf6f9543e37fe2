"""Drawings of graphs: every call with its inputs, bytes and what it was made of."""

import xml.etree.ElementTree

import numpy as np
import pytest
from hypothesis import given, settings

from mlcref import relax
from mlcref.errors import MlcrefError
from mlcref.ir import IRModule, register_global_func, remove_global_func
from mlcref.relax.graph_steps import between_bytes, fused_from, graph_steps
from mlcref.script import from_source
from mlcref.testing.graphs import graphs

op = relax.op


def block():
    """relu(x @ w + b) + x, and the sum of its rows."""
    bb = relax.BlockBuilder()
    x = relax.Var("x", relax.TensorStructInfo((4, 8), "float32"))
    w, b = relax.const(np.ones((8, 8), "float32")), relax.const(np.ones(8, "float32"))
    with bb.function("main", [x]):
        with bb.dataflow():
            y = bb.emit(op.nn.relu(bb.emit(op.add(bb.emit(op.matmul(x, w)), b))))
            z = bb.emit_output(op.add(y, x))
            total = bb.emit_output(op.sum(z, axis=1))
        bb.emit_func_output(relax.Tuple([z, total]))
    return bb.get()


def test_steps_say_what_is_called_on_what():
    steps = graph_steps(block())
    assert [(step.name, step.call, step.inputs) for step in steps] == [
        ("lv", "matmul", ("x",)), ("lv1", "add", ("lv",)), ("lv2", "nn.relu", ("lv1",)), ("gv", "add", ("lv2", "x")),
        ("gv1", "sum", ("gv",)),
    ]  # fmt: skip
    assert {step.kind for step in steps} == {"operator"}
    assert [step.returned for step in steps] == [False] * 3 + [True] * 2
    assert steps[-1].result == "float32[4]"
    assert steps[-1].bytes == 16
    assert between_bytes(steps) == 3 * 4 * 8 * 4


def test_fused_calls_are_found_in_what_they_were_made_of():
    module = block()
    after = graph_steps(relax.get_pipeline("zero")(module))
    found = fused_from(graph_steps(module), after)
    assert {name: [step.call for step in members] for name, members in found.items()} == {
        "gv": ["matmul", "add", "nn.relu", "add"], "gv1": ["sum"],
    }  # fmt: skip
    assert after[0].kind == "kernel"
    assert len(after[0].parts) == 4


def test_both_are_printed(capsys):
    module = block()
    relax.show(module, relax.get_pipeline("zero")(module))
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "main: 5 calls, 384 bytes between them -> 2 calls, 0 bytes between them"
    assert lines[1] == "├── gv = fused_matmul_add_relu_add1(x): float32[4, 8], 128 bytes, returned"
    assert lines[2] == "│   ├── lv = matmul(x): float32[4, 8], 128 bytes"
    assert lines[-1] == "└── gv1 = sum(gv): float32[4], 16 bytes, returned"


def test_one_is_printed_with_its_blocks_and_its_plan(capsys):
    legal = relax.transform.LegalizeOps()(block())
    relax.show(relax.transform.StaticPlanMemory()(legal))
    out = capsys.readouterr().out
    assert "lv1 = add(lv): float32[4, 8], 128 bytes, in place of lv\n" in out
    relax.show(relax.get_pipeline("zero")(block()))
    assert "blocks: matmul, T_add, compute, T_add_1" in capsys.readouterr().out


def test_other_calls():
    text = """
@I.ir_module
class Module:
    @R.function
    def other(x: R.Tensor(("n", 2), "float16")):
        n = T.int64()
        y = R.call_dps_packed("drawing.f", (x,), R.Tensor((n, 2), "float16"))
        return y

    @R.function
    def main(x: R.Tensor(("n", 2), "float16")):
        n = T.int64()
        cls = Module
        y: R.Tensor((n, 2), "float16") = cls.other(x)
        z = (y, x)
        a = z[0]
        b = R.add(a, a)
        return b
"""
    register_global_func("drawing.f", print, override=True)
    try:
        module = from_source(text)
    finally:
        remove_global_func("drawing.f")
    (inner,), outer = graph_steps(module, "other"), graph_steps(module)
    assert (inner.call, inner.kind, inner.result, inner.bytes) == ("drawing.f", "packed", "float16[n, 2]", None)
    assert [(step.call, step.kind, step.inputs) for step in outer] == [
        ("other", "function", ("x",)), ("add", "operator", ("y", "y")),
    ]  # fmt: skip
    assert between_bytes(outer) is None


def test_functions_that_are_not_there():
    with pytest.raises(MlcrefError, match=r"the module has no graph function 'other'(?s:.*)its graph functions: main"):
        relax.show(block(), func_name="other")
    with pytest.raises(MlcrefError, match="its graph functions: none"):
        graph_steps(IRModule({}))


def shapes_of(text):
    root = xml.etree.ElementTree.fromstring(text)
    return [child.tag.rpartition("}")[2] for child in root], root


def test_svg_has_a_box_for_each_call_in_the_colour_of_its_kernel():
    module = block()
    kinds, root = shapes_of(relax.to_svg(module, relax.get_pipeline("zero")(module)))
    boxes = [child for child in root if child.tag.endswith("rect")]
    assert kinds.count("rect") == 7
    assert kinds.count("path") == 4 + 1
    colours = [box.get("fill") for box in boxes]
    assert colours[:4] == [colours[5]] * 4
    assert colours[4] == colours[6] != colours[5]


@settings(max_examples=20)
@given(graphs())
def test_every_graph_can_be_drawn(case):
    fused = relax.get_pipeline("zero")(case.module)
    before, after = graph_steps(case.module), graph_steps(fused)
    members = [step.name for steps in fused_from(before, after).values() for step in steps]
    assert set(members) <= {step.name for step in before}
    kinds, _ = shapes_of(relax.to_svg(case.module, fused))
    assert kinds.count("rect") == len(before) + len(after)
