"""Passes over graphs, one by one: what they change, what they leave, what they refuse."""

import numpy as np
import pytest

from mlcref import interpret, relax
from mlcref.demo.dataset import load_images, load_weights
from mlcref.demo.engines import compiled_engine, numpy_engine
from mlcref.demo.model import model
from mlcref.driver.compile import compile_tensor_programs
from mlcref.driver.graph import compile_graph
from mlcref.errors import MlcrefError, OracleError
from mlcref.interp.graph import interpret_graph
from mlcref.ir import For, IRModule, Target, assert_structural_equal, blocks_in, graph, walk
from mlcref.relax import transform
from mlcref.relax.split_program import split_program
from mlcref.runtime import oracle_backend
from mlcref.runtime.vm import VirtualMachine
from mlcref.script import from_source

MODULE = """
class Module:
    @T.prim_func
    def dense(X: T.Buffer((2, 3), "int32"), W: T.Buffer((4, 3), "int32"), Y: T.Buffer((2, 4), "int32")):
        T.func_attr({"global_symbol": "dense", "tir.noalias": True})
        for i, j, k in T.grid(2, 4, 3):
            with T.block("Y"):
                vi, vj, vk = T.axis.remap("SSR", [i, j, k])
                with T.init():
                    Y[vi, vj] = 0
                Y[vi, vj] = Y[vi, vj] + X[vi, vk] * W[vj, vk]

    @T.prim_func(private=True)
    def twice(W: T.Buffer((4, 3), "int32"), V: T.Buffer((4, 3), "int32")):
        for i, j in T.grid(4, 3):
            with T.block("V"):
                vi, vj = T.axis.remap("SS", [i, j])
                V[vi, vj] = W[vi, vj] * 2

    @R.function
    def main(x: R.Tensor((2, 3), "int32"), w: R.Tensor((4, 3), "int32")):
        cls = Module
        with R.dataflow():
            v = R.call_tir(cls.twice, (w,), R.Tensor((4, 3), "int32"))
            unused = R.call_tir(cls.twice, (v,), R.Tensor((4, 3), "int32"))
            a = R.call_tir(cls.dense, (x, v), R.Tensor((2, 4), "int32"))
            R.output(a)
        return a
"""
W = np.arange(12, dtype="int32").reshape(4, 3)
X = np.arange(6, dtype="int32").reshape(2, 3)


def module(*names, text=MODULE):
    made = from_source(text)
    return transform.BindParams("main", {name: {"w": W, "x": X}[name] for name in names})(made)


def names_of(mod):
    return [name for name, func in mod.functions.items() if not isinstance(func, graph.Function)]


def bound(mod):
    return [binding.var.name_hint for binding in mod["main"].bindings()]


def test_calls_on_constants_become_constants():
    folded = transform.FoldConstant()(module("w"))
    assert bound(folded) == ["a"]
    (call,) = [binding.value for binding in folded["main"].bindings()]
    assert np.array_equal(call.args[1].fields[1].data, W * 2)
    whole = transform.FoldConstant()(module("w", "x"))
    assert bound(whole) == []
    assert np.array_equal(whole["main"].body.body.data, X @ (W * 2).T)
    assert np.array_equal(interpret_graph(whole), X @ (W * 2).T)


def test_what_depends_on_arguments_stays():
    before = module()
    assert_structural_equal(transform.FoldConstant()(before)["main"], before["main"])


def test_a_call_on_constants_that_means_nothing_is_an_error():
    text = MODULE.replace("T.grid(4, 3)", "T.grid(4, 2)")
    with pytest.raises(OracleError, match="undefined"):
        transform.FoldConstant()(module("w", text=text))


def test_registered_functions_are_not_run():
    text = MODULE.replace("R.call_tir(cls.twice, (w,)", 'R.call_dps_packed("env.twice", (w,)')
    assert bound(transform.FoldConstant()(module("w", text=text))) == ["v", "unused", "a"]


def test_dead_code_goes():
    mod = transform.DeadCodeElimination()(module())
    assert bound(mod) == ["v", "a"]
    assert names_of(mod) == ["dense", "twice"]
    assert names_of(transform.DeadCodeElimination()(transform.FoldConstant()(module("w")))) == ["dense"]
    whole = transform.FoldConstant()(module("w", "x"))
    assert names_of(transform.DeadCodeElimination()(whole)) == ["dense"]
    assert names_of(transform.DeadCodeElimination(["main"])(whole)) == []
    with pytest.raises(MlcrefError, match="no function 'other'"):
        transform.DeadCodeElimination(["other"])(mod)


def test_calls_outside_dataflow_blocks_stay():
    text = MODULE.replace("with R.dataflow():", "if True:")
    lines = [line[4:] if line.startswith(" " * 12) and "R.call" in line else line for line in text.splitlines()]
    text = "\n".join(line for line in lines if "R.output" not in line and "if True" not in line)
    assert bound(transform.DeadCodeElimination()(module(text=text))) == ["v", "unused", "a"]


def test_programs_say_which_parameters_are_constants():
    attached = transform.AttachAttrLayoutFreeBuffers()(transform.FoldConstant()(module("w")))
    assert attached["dense"].attrs["layout_free_buffers"] == [1]
    assert "layout_free_buffers" not in attached["twice"].attrs
    text = attached["dense"].script()
    assert_structural_equal(from_source(text), attached["dense"])


def test_a_program_called_in_two_ways_becomes_two():
    text = MODULE.replace("R.output(a)", "b = R.call_tir(cls.dense, (x, w), R.Tensor((2, 4), 'int32'))\n"
                          "            R.output(a, b)").replace("return a", "return a, b")  # fmt: skip
    bound_w = module("w", text=text)
    attached = transform.AttachAttrLayoutFreeBuffers()(bound_w)
    assert attached["dense_1"].attrs["layout_free_buffers"] == [1]
    assert "layout_free_buffers" not in attached["dense"].attrs
    assert [a.tolist() for a in interpret_graph(attached, X)] == [a.tolist() for a in interpret_graph(bound_w, X)]


PACKED = """
@T.prim_func
def main(X: T.Buffer((2, 6), "int32"), W: T.Buffer((5, 6), "int32"), Y: T.Buffer((2, 5), "int32")):
    T.func_attr({"global_symbol": "main", "tir.noalias": True})
    P = T.alloc_buffer((2, 6, 4), "int32")
    Q = T.alloc_buffer((2, 6, 4), "int32")
    S = T.alloc_buffer((5,), "int32")
    for part in T.parallel(2):
        for a, b in T.grid(6, 4):
            with T.block("P"):
                v0 = T.axis.spatial(5, part * 4 + b)
                v1 = T.axis.spatial(6, a)
                T.where(part * 4 + b < 5)
                P[v0 // 4, v1, v0 % 4] = W[v0, v1]
        for again, a in T.grid(3, 6):
            for b in T.vectorized(4):
                with T.block("Q"):
                    v0, v1, v2 = T.axis.remap("SSS", [part, a, b])
                    Q[v0, v1, v2] = T.if_then_else(v0 * 4 + v2 < 5, P[v0, v1, v2], 0) + 1
    for j, k in T.grid(5, 6):
        with T.block("S"):
            vj, vk = T.axis.remap("SR", [j, k])
            with T.init():
                S[vj] = 0
            S[vj] = S[vj] + W[vj, vk]
    for i, j, k in T.grid(2, 5, 6):
        with T.block("Y"):
            vi, vj, vk = T.axis.remap("SSR", [i, j, k])
            with T.init():
                Y[vi, vj] = S[vj]
            Y[vi, vj] = Y[vi, vj] + X[vi, vk] * (Q[vj // 4, vk, vj % 4] - 1)
"""


def run(func, *args, results):
    out = [np.zeros(shape, "int32") for shape in results]
    interpret(func, *args, *out)
    return out


def test_a_program_is_split_into_what_constants_determine_and_the_rest():
    func, w, x = from_source(PACKED), np.arange(30, dtype="int32").reshape(5, 6), np.arange(12, dtype="int32")
    x = x.reshape(2, 6)
    split = split_program(func, (1,), 2)
    assert split.inputs == (0,)
    assert [part.inputs for part in split.before] == [(1,), (1,)]
    (q,), (s,) = (run(part.program, w, results=[shape])
                  for part, shape in zip(split.before, [(2, 6, 4), (5,)], strict=True))  # fmt: skip
    assert s.tolist() == w.sum(axis=1).tolist()
    assert [block.name for block in _blocks(split.program)] == ["Y"]
    (y,) = run(split.program, x, q, s, results=[(2, 5)])
    assert y.tolist() == run(func, x, w, results=[(2, 5)])[0].tolist()
    assert {loop.kind for loop in _loops(split.before[0].program)} == {"serial"}
    assert "again" not in split.before[0].program.script()


def _blocks(func):
    return [block for block in blocks_in(func.body) if block.name != "root"]


def _loops(func):
    return [node for node in walk(func.body) if isinstance(node, For)]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("= W[v0, v1]", "= W[v0, v1] + X[0, 0]"),  # P depends on an argument, and Q with it
        ("Y[vi, vj] = S[vj]", "Q[vj // 4, 0, vj % 4] = 7\n                Y[vi, vj] = S[vj]"),  # Q is written later
    ],
)
def test_blocks_that_depend_on_more_stay(old, new):
    split = split_program(from_source(PACKED.replace(old, new)), (1,), 2)
    assert [part.program.params[-1].name for part in split.before][-1] == "S"
    assert "Q" in {block.name for block in _blocks(split.program)}


def test_elements_that_nothing_defines_are_zeros():
    text = PACKED.replace("T.if_then_else(v0 * 4 + v2 < 5, P[v0, v1, v2], 0)", "P[v0, v1, v2]")
    part = split_program(from_source(text), (1,), 2).before[0]
    (q,) = run(part.program, np.full((5, 6), 7, "int32"), results=[(2, 6, 4)])
    assert q[1].tolist() == [[8, 1, 1, 1]] * 6


def test_a_sum_that_is_added_to_several_times_is_added_to_as_often():
    thrice = """for j in range(5):
        with T.block("S"):
            vj = T.axis.spatial(5, j)
            S[vj] = 0
    for again, j, k in T.grid(3, 5, 6):
        with T.block("S_update"):
            vj, vk, va = T.axis.remap("SRR", [j, k, again])
            S[vj] = S[vj] + W[vj, vk]
    for i, j, k in T.grid(2, 5, 6):"""
    start, end = PACKED.index("for j, k in T.grid(5, 6)"), PACKED.index("for i, j, k in T.grid(2, 5, 6):")
    for text in (thrice, thrice.replace(', va = T.axis.remap("SRR", [j, k, again])', ' = T.axis.remap("SR", [j, k])')):
        func = from_source(PACKED[:start] + text + PACKED[end + len("for i, j, k in T.grid(2, 5, 6):") :])
        part = split_program(func, (1,), 2).before[1]
        w = np.arange(30, dtype="int32").reshape(5, 6)
        (s,) = run(part.program, w, results=[(5,)])
        assert s.tolist() == (3 * w.sum(axis=1)).tolist()


def test_programs_without_such_blocks_are_not_split():
    assert split_program(from_source(PACKED), (), 2) is None
    assert split_program(from_source(MODULE)["dense"], (1,), 2) is None
    opaque = PACKED.replace("    for part in T.parallel(2):", "    for part in T.thread_binding(2, 'blockIdx.x'):")
    assert split_program(from_source(opaque), (1,), 2) is None


def test_the_pipeline_schedules_and_prepares():
    made = relax.get_pipeline("autoschedule", target="cython --num-cores=1")(module("w"))
    assert names_of(made) == ["dense"]
    assert interpret_graph(made, X).tolist() == (X @ (W * 2).T).tolist()
    with pytest.raises(MlcrefError, match="no pipeline 'zero point'"):
        relax.get_pipeline("zero point")
    assert list(relax.get_pipeline("zero")(IRModule({"dense": from_source(MODULE)["dense"]})).functions) == ["dense"]


def test_the_prepared_graph_runs_in_the_oracle_too():
    made = relax.get_pipeline("autoschedule", target="cython --num-cores=1")(module("w"))
    for build in (oracle_backend.build, compile_tensor_programs):
        run = VirtualMachine(compile_graph(made, Target("cython"), build))["main"]
        assert run(X).numpy().tolist() == (X @ (W * 2).T).tolist()


def test_images_are_classified_as_by_numpy():
    weights, images = load_weights(), load_images(shipped=True).images[:64]
    numpy, engine = numpy_engine(weights), compiled_engine(model(), weights, "cython", optimised=True)
    for image in images:
        expected, found = numpy(image[None]), engine(image[None])
        assert found.argmax() == expected.argmax()
        assert np.abs(found - expected).max() < 1e-4 * np.abs(expected).max()


def test_bound_dimensions_leave_extents_that_parse_back():
    func = from_source("""
@R.function
def main(x: R.Tensor(("n",), "int32"), y: R.Tensor(("m",), "int32")):
    n, m = T.int64(), T.int64()
    z = R.concat((x, x, y))
    return z
""")
    made = transform.BindParams("main", {"x": X[0]})(IRModule({"main": func}))
    assert "m + 6" in made.script()
    assert_structural_equal(from_source(made.script(show_meta=True)), made)


def test_functions_that_take_shapes_become_no_tensor_program():
    mod = from_source("""
@I.ir_module
class Module:
    @R.function(private=True)
    def f(x: R.Tensor(("n * 2",), "int32"), s: R.Shape(["n"])) -> R.Tensor(("n * 2",), "int32"):
        R.func_attr({"Primitive": 1})
        n = T.int64()
        with R.dataflow():
            y = R.negative(x)
            R.output(y)
        return y

    @R.function
    def main(x: R.Tensor(("n * 2",), "int32"), w: R.Tensor(("n",), "int32")) -> R.Tensor(("n * 2",), "int32"):
        cls = Module
        n = T.int64()
        with R.dataflow():
            y: R.Tensor((n * 2,), "int32") = cls.f(x, R.shape([n]))
            R.output(y)
        return y
""")
    after = transform.FuseTIR()(transform.LegalizeOps()(mod))
    assert isinstance(after["f"], graph.Function)
    x = np.arange(4, dtype="int32")
    assert interpret_graph(after, x, x[:2]).tolist() == (-x).tolist()
