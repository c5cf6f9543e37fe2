"""Passes over graphs: after each the oracle finds the same results, for random graphs of dense layers and what stands
between them. Elements are small integers, so that sums are exact in any order."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mlcref import relax, te
from mlcref.autoschedule import Machine
from mlcref.driver import compile as compile_module
from mlcref.interp.graph import interpret_graph
from mlcref.ir import GlobalVar, IRModule, Max, PrimFunc, const, graph
from mlcref.relax import transform
from mlcref.relax.pipeline import RemoveUncalledFunctions, ScheduleTensorPrograms
from mlcref.runtime.compiler import why_no_compiler
from mlcref.runtime.vm import VirtualMachine

quick = settings(max_examples=25, suppress_health_check=[HealthCheck.too_slow], deadline=None)
machines = st.builds(
    Machine, vector_bytes=st.sampled_from([8, 16]), registers=st.sampled_from([8, 12]),
    l2_bytes=st.sampled_from([64, 512]), threads=st.sampled_from([1, 2, 3]), terms=st.sampled_from([2, 3, 64]),
    parallel_work=st.just(0),
)  # fmt: skip
Shape = tuple[int, ...]


def tensor(shape: Shape) -> Any:
    return te.placeholder(shape, "float32")


@functools.cache
def program(kind: str, *shapes: Shape) -> PrimFunc:
    """A tensor program that computes ``kind`` of tensors of these shapes."""
    inputs = [tensor(shape) for shape in shapes]
    a, zero = inputs[0], const(0.0, "float32")
    if kind in ("dense", "matmul", "linear"):
        b, columns = inputs[1], shapes[1][1] if kind == "matmul" else shapes[1][0]
        k = te.reduce_axis((0, shapes[0][1]), name="k")
        turned = kind != "matmul"
        out = te.compute(
            (shapes[0][0], columns), lambda i, j: te.sum(a[i, k] * (b[j, k] if turned else b[k, j]), axis=k), name="Y"
        )
        if kind == "linear":
            y = out
            out = te.compute((shapes[0][0], columns), lambda i, j: y[i, j] + inputs[2][j], name="Z")
    elif kind == "transpose":
        out = te.compute(shapes[0][::-1], lambda i, j: a[j, i], name="Y")
    elif kind == "relu":
        out = te.compute(shapes[0], lambda i, j: Max(a[i, j], zero), name="Y")
    elif kind == "bias":
        out = te.compute(shapes[0], lambda i, j: a[i, j] + inputs[1][j], name="Y")
    elif kind == "add":
        out = te.compute(shapes[0], lambda i, j: a[i, j] + inputs[1][i, j], name="Y")
    else:
        k = te.reduce_axis((0, shapes[0][1]), name="k")
        out = te.compute((shapes[0][0], 1), lambda i, j: te.sum(a[i, k], axis=k), name="Y")
    return te.create_prim_func([*inputs, out])


def result_shape(kind: str, *shapes: Shape) -> Shape:
    rows, columns = shapes[0]
    return {
        "transpose": (columns, rows), "matmul": (rows, shapes[-1][-1]), "dense": (rows, shapes[-1][0]),
        "linear": (rows, shapes[-1][0]), "sum": (rows, 1),
    }.get(kind, (rows, columns))  # fmt: skip


KINDS = ("dense", "matmul", "linear", "transpose", "relu", "bias", "add", "sum")


class Builder:
    """A graph function under construction, by choices of ``draw``."""

    def __init__(self, draw: Any) -> None:
        self.draw = draw
        self.module: dict[str, Any] = {}
        self.params: list[graph.Var] = []
        self.bindings: list[graph.VarBinding] = []
        self.known: list[graph.GraphExpr] = []
        self.fresh((draw(st.integers(1, 6)), draw(st.integers(1, 9))), constant=False)

    def fresh(self, shape: Shape, constant: bool | None = None) -> graph.GraphExpr:
        """A new parameter, or a constant."""
        if self.draw(st.integers(0, 3)) > 0 if constant is None else constant:
            seed = self.draw(st.integers(0, 9))
            values = np.random.default_rng(seed).integers(-3, 4, shape).astype("float32")
            return graph.const(values)
        made = graph.Var(f"x{len(self.params)}", graph.TensorStructInfo(shape, "float32"))
        self.params.append(made)
        if len(shape) == 2:
            self.known.append(made)
        return made

    def operand(self, shape: Shape) -> graph.GraphExpr:
        found = [value for value in self.known if shape_of(value) == shape]
        return self.draw(st.sampled_from(found)) if found and self.draw(st.booleans()) else self.fresh(shape)

    def step(self) -> None:
        kind, a = self.draw(st.sampled_from(KINDS)), self.draw(st.sampled_from(self.known[-3:]))
        if self.draw(st.integers(0, 7)) == 0:
            a = self.fresh(shape_of(a))
        rows, columns = shape_of(a)
        inputs = [a]
        width = self.draw(st.integers(1, 20))
        more: dict[str, list[Shape]] = {
            "dense": [(width, columns)], "matmul": [(columns, width)], "linear": [(width, columns), (width,)],
            "bias": [(columns,)], "add": [(rows, columns)],
        }  # fmt: skip
        inputs += [self.operand(shape) if len(shape) > 1 else self.fresh(shape) for shape in more.get(kind, [])]
        shapes = [shape_of(value) for value in inputs]
        made, name = program(kind, *shapes), f"{kind}_{'_'.join('x'.join(map(str, shape)) for shape in shapes)}"
        self.module[name] = made.with_attr("global_symbol", name) if self.draw(st.booleans()) else made
        info = graph.TensorStructInfo(result_shape(kind, *shapes), "float32")
        var = self.draw(st.sampled_from([graph.Var, graph.DataflowVar]))(f"v{len(self.bindings)}", info)
        self.bindings.append(graph.VarBinding(var, graph.call_tir(GlobalVar(name), inputs, info)))
        self.known.append(var)

    def function(self) -> graph.Function:
        for _ in range(self.draw(st.integers(1, 5))):
            self.step()
        seen = [value for value in self.known if isinstance(value, graph.Var) and type(value) is graph.Var]
        last = self.bindings[-1]
        out = graph.Var("out", last.var.struct_info)
        self.bindings[-1] = graph.VarBinding(out, last.value)
        results = [out, *self.draw(st.lists(st.sampled_from(seen), max_size=2))]
        results = [out if value is last.var else value for value in results]
        body = graph.SeqExpr(
            (graph.DataflowBlock(tuple(self.bindings)),), graph.Tuple(results) if len(results) > 1 else out
        )
        return graph.Function(tuple(self.params), body, body.struct_info).with_attr("global_symbol", "main")


def shape_of(value: graph.GraphExpr) -> Shape:
    info = value.struct_info
    assert isinstance(info, graph.TensorStructInfo)
    return tuple(int(extent.value) for extent in info.shape)  # type: ignore[attr-defined, union-attr]


@st.composite
def graphs(draw: Any) -> tuple[IRModule, list[np.ndarray[Any, Any]]]:
    builder = Builder(draw)
    func = builder.function()
    generator = np.random.default_rng(7)
    arrays = [generator.integers(-3, 4, shape_of(param)).astype("float32") for param in func.params]
    return IRModule({**builder.module, "main": func}), arrays


def results(module: IRModule, arrays: list[np.ndarray[Any, Any]]) -> list[list[Any]]:
    found = interpret_graph(module, *arrays)
    return [item.tolist() for item in (found if isinstance(found, tuple) else (found,))]


PASSES = {
    "FoldConstant": [transform.FoldConstant()],
    "DeadCodeElimination": [transform.DeadCodeElimination()],
    "AttachAttrLayoutFreeBuffers": [transform.AttachAttrLayoutFreeBuffers()],
    "AnnotateTIROpPattern": [transform.AnnotateTIROpPattern()],
    "FuseOps": [transform.AnnotateTIROpPattern(), transform.FuseOps()],
    "FuseTIR": [transform.AnnotateTIROpPattern(), transform.FuseOps(), transform.FuseTIR()],
    "StaticPlanMemory": [transform.StaticPlanMemory()],
    "SplitLayoutRewritePreproc": [transform.AttachAttrLayoutFreeBuffers(), transform.SplitLayoutRewritePreproc()],
}


@pytest.mark.parametrize("name", PASSES)
@quick
@given(case=graphs())
def test_a_pass_keeps_what_a_graph_means(name: str, case: Any) -> None:
    module, arrays = case
    before = module.script()
    after = transform.Sequential(PASSES[name])(module)
    assert results(after, arrays) == results(module, arrays)
    assert module.script() == before


@quick
@given(case=graphs(), machine=machines)
def test_the_layouts_of_constants_keep_what_a_graph_means(case: Any, machine: Machine) -> None:
    module, arrays = case
    expected = results(module, arrays)
    prepared = transform.AttachAttrLayoutFreeBuffers()(relax.get_pipeline("zero")(module))
    scheduled = ScheduleTensorPrograms("cython", machine=machine)(prepared)
    assert results(scheduled, arrays) == expected
    split = transform.Sequential([transform.SplitLayoutRewritePreproc()])(scheduled)
    assert results(split, arrays) == expected
    folded = transform.Sequential([transform.FoldConstant(), RemoveUncalledFunctions()])(split)
    assert results(folded, arrays) == expected
    assert not any("prepack" in name for name in folded.functions)


@pytest.mark.skipif(why_no_compiler() is not None, reason="no compiler")
@settings(max_examples=3, deadline=None)
@given(case=graphs(), machine=machines)
def test_compiled_graphs_agree_with_the_oracle(case: Any, machine: Machine) -> None:
    module, arrays = case
    optimised = relax.get_pipeline("autoschedule", target="cython", machine=machine)(module)
    run = VirtualMachine(compile_module(optimised, "cython"))["main"]
    for _ in range(2):
        found = run(*arrays)
        found = [item.numpy().tolist() for item in (found if isinstance(found, tuple) else (found,))]
        assert found == results(module, arrays)
