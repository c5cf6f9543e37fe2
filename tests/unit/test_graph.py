"""Graph functions: nodes, equality, what arguments say about dimensions, reading scripts, binding parameters."""

import re

import numpy as np
import pytest

from mlcref import relax
from mlcref.errors import CallError, TypeMismatch, UnsupportedError
from mlcref.interp.graph import HostTensor, interpret_graph
from mlcref.ir import (
    GlobalVar,
    IRModule,
    Var,
    first_difference,
    graph,
    register_global_func,
    remove_global_func,
    structural_equal,
)
from mlcref.ir.shapes import evaluate, match_arguments
from mlcref.relax.lower_graph import lower_graph
from mlcref.runtime.array import NDArray, tensor
from mlcref.runtime.vm import Allocate, GetField, Invoke, LoadConstant, MakeShape, MakeTuple
from mlcref.script import from_source

HEADER = """
class Module:
    @T.prim_func
    def twice(X: T.Buffer((2, 3), "float32"), Y: T.Buffer((2, 3), "float32")):
        for i, j in T.grid(2, 3):
            with T.block("Y"):
                vi, vj = T.axis.remap("SS", [i, j])
                Y[vi, vj] = X[vi, vj] * T.float32(2)

    @T.prim_func
    def halves(x: T.handle, y: T.handle, z: T.handle):
        n = T.int64()
        X = T.match_buffer(x, (n * 2,), "int32")
        Y = T.match_buffer(y, (n,), "int32")
        Z = T.match_buffer(z, (n,), "int32")
        for i in range(n):
            with T.block("Y"):
                vi = T.axis.spatial(n, i)
                Y[vi] = X[vi]
                Z[vi] = X[vi + n]
"""


def module_of(function):
    """A module with two tensor programs and the graph function of this text."""
    lines = ["    " + line if line else line for line in function.strip("\n").splitlines()]
    return from_source(HEADER + "\n" + "\n".join(lines))


def info(*shape, dtype="float32"):
    return graph.TensorStructInfo(shape, dtype)


def relu_graph(size="n", dtype="float32", value=0.0):
    n = Var(size, "int64")
    x = graph.Var("x_" + size, info(1, n, dtype=dtype))
    call = graph.call_dps_packed("relu", (x, graph.const(value, dtype)), info(1, n, dtype=dtype))
    inner = graph.DataflowVar("inner", call.struct_info)
    again = graph.call_tir(GlobalVar("again"), (inner,), info(1, n, dtype=dtype))
    out = graph.Var("out", again.struct_info)
    block = graph.DataflowBlock((graph.VarBinding(inner, call), graph.VarBinding(out, again)))
    return graph.Function((x,), graph.SeqExpr((block,), out), call.struct_info)


# Nodes


def test_extents_are_int64_and_numbers_convert():
    shape = info(np.int32(3), Var("n", "int64"), Var("n", "int64") + 1).shape
    assert [extent.dtype for extent in shape] == ["int64", "int64", "int64"]
    assert shape[0].value == 3


def test_extents_that_are_no_int64_are_refused():
    with pytest.raises(TypeMismatch, match="int64, not int32"):
        info(Var("n", "int32"))
    with pytest.raises(TypeMismatch, match="cannot be -1"):
        info(-1)
    with pytest.raises(TypeMismatch, match="2 dimensions with ndim=3"):
        graph.TensorStructInfo((1, 2), "float32", 3)


def test_struct_info_follows_from_the_value():
    x = graph.Var("x", info(2, 3))
    pair = graph.Tuple((x, graph.const([1, 2])))
    assert structural_equal(pair.struct_info, graph.TupleStructInfo([info(2, 3), info(2, dtype="int32")]))
    assert structural_equal(graph.TupleGetItem(pair, 1).struct_info, info(2, dtype="int32"))
    two = graph.call_tir(GlobalVar("f"), (x,), [info(2), info(3)])
    assert structural_equal(two.struct_info, graph.TupleStructInfo([info(2), info(3)]))
    assert structural_equal(graph.ShapeExpr((2, 3)).struct_info, graph.ShapeStructInfo((2, 3)))


def test_operators_are_one_object_per_name():
    assert relax.Op.get("relax.call_tir") == graph.CALL_TIR
    assert relax.Op.get("relax.add") is relax.Op.get("relax.add")


def test_constants_keep_their_own_copy():
    array = np.zeros(3, "float32")
    constant = graph.Constant(array)
    array[0] = 1
    assert constant.data[0] == 0
    assert not constant.data.flags.writeable


@pytest.mark.parametrize(
    ("value", "dtype", "expected"),
    [(1.5, None, "float32"), (2, None, "int32"), ([1, 2], "int8", "int8"), (np.float64(1), None, "float64"),
     (tensor(np.zeros(2, "int16")), None, "int16"), (True, None, "bool"), (1.5, "bfloat16", "bfloat16")],
)  # fmt: skip
def test_constants_have_the_types_of_tvm(value, dtype, expected):
    assert graph.const(value, dtype).struct_info.dtype == expected


@pytest.mark.parametrize(("value", "dtype"), [(1.5, "int32"), (300, "int8"), ([1, -1], "uint8")])
def test_constants_that_a_type_does_not_hold_are_refused(value, dtype):
    with pytest.raises(TypeMismatch, match=f"not all of the values are {dtype}"):
        graph.const(value, dtype)


# Equality


def test_graphs_are_equal_up_to_names():
    assert structural_equal(relu_graph("n"), relu_graph("m"))
    assert structural_equal(IRModule({"main": relu_graph("n")}), IRModule({"main": relu_graph("m")}))


@pytest.mark.parametrize(
    ("other", "difference"),
    [
        (relu_graph(dtype="float64"), "params.*dtype: 'float32' vs 'float64'"),
        (relu_graph(value=1.0), "the elements of float32"),
        (relu_graph(value=-0.0), "the elements of float32"),
        (relu_graph().with_attr("Primitive", 1), "attrs"),
    ],
)
def test_the_first_difference_of_two_graphs_is_named(other, difference):
    assert re.search(difference, first_difference(relu_graph(), other))


def test_using_another_variable_is_a_difference():
    def second(use):
        x, y = graph.Var("x", info(2)), graph.Var("y", info(2))
        return graph.Function((x, y), graph.SeqExpr((), (x, y)[use]), info(2))

    assert first_difference(second(0), second(1)) == ".body.body: variable x vs variable y"


# Dimensions at call time


def test_arguments_fix_dimensions():
    n, m = Var("n", "int64"), Var("m", "int64")
    params = (graph.Var("x", info(n + m, 2)), graph.Var("y", info(n)), graph.Var("s", graph.ShapeStructInfo((m,))))
    x, y = np.zeros((7, 2), "float32"), np.zeros(3, "float32")
    assert match_arguments("f", params, (x, y, (4,))) == {n: 3, m: 4}
    with pytest.raises(CallError, match=r"x\.shape\[0\] must be .* = 8, got 7 \(with n = 3, m = 5\)"):
        match_arguments("f", params, (x, y, (5,)))


def test_extents_evaluate():
    n = Var("n", "int64")
    assert evaluate((n * 3 - 1) // 2 % 4, {n: 5}) == 3
    with pytest.raises(CallError, match="divides by zero"):
        evaluate(10 // n, {n: 0})
    with pytest.raises(CallError, match="do not say what the dimension n is"):
        evaluate(n + 1, {})
    with pytest.raises(UnsupportedError, match="no arithmetic on dimensions"):
        evaluate(n.astype("float32"), {n: 1})


# Reading scripts


def test_a_script_becomes_blocks_of_bindings():
    func = module_of("""
@R.function
def main(x: R.Tensor((2, 3), "float32")):
    cls = Module
    before = R.call_tir(cls.twice, (x,), out_sinfo=R.Tensor((2, 3), "float32"))
    with R.dataflow():
        inner = R.call_tir(cls.twice, x, R.Tensor((2, 3), "float32"))
        inner = R.call_tir(twice, (inner,), R.Tensor((2, 3), "float32"))
        out = inner
        R.output(out)
    return (out, before)
""")["main"]
    assert [type(block) for block in func.body.blocks] == [graph.BindingBlock, graph.DataflowBlock]
    kinds = [(binding.var.name_hint, type(binding.var)) for binding in func.bindings()]
    assert kinds == [("before", graph.Var), *[("inner", graph.DataflowVar)] * 2, ("out", graph.Var)]
    assert structural_equal(func.ret_struct_info, graph.TupleStructInfo([info(2, 3), info(2, 3)]))
    assert func.attrs["global_symbol"] == "main"


def test_the_last_assignment_to_a_name_is_the_output():
    func = module_of("""
@R.function(private=True)
def main(x: R.Tensor((2, 3), "float32")):
    R.func_attr({"Primitive": 1})
    with R.dataflow():
        y = R.call_dps_packed("twice", (x,), R.Tensor((2, 3), "float32"))
        y = R.call_dps_packed("twice", (y,), R.Tensor((2, 3), "float32"))
        R.output(y)
    return y
""")["main"]
    assert [type(binding.var) for binding in func.bindings()] == [graph.DataflowVar, graph.Var]
    assert dict(func.attrs) == {"Primitive": 1}


def test_nested_calls_are_bound_to_variables():
    func = module_of("""
@R.function
def main(x: R.Tensor(("n * 2",), "int32"), y: R.Tensor(("n",), "int32")):
    n = T.int64()
    pair = R.call_tir("halves", (x,), [R.Tensor((n,), "int32"), R.Tensor((n,), "int32")])
    return R.call_dps_packed("add", (pair[0], R.call_dps_packed("add", (pair[1], y), R.Tensor((n,), "int32"))),
                             R.Tensor((n,), "int32"))
""")["main"]
    values = [type(binding.value) for binding in func.bindings()]
    assert values == [graph.Call, graph.TupleGetItem, graph.TupleGetItem, graph.Call, graph.Call]
    relax.wellformed_graph(func)


def test_a_standalone_function_is_parsed_at_once():
    from mlcref.script import relax as R
    from mlcref.script import tir as T

    @R.function
    def double(x: R.Tensor((1, "n"), "float32")) -> R.Tensor((1, "n"), "float32"):
        n = T.int64()
        return R.call_dps_packed("env.double", (x, R.const(2.0)), R.Tensor((1, n), "float32"))

    assert isinstance(double, relax.Function)
    assert [var.name for var in double.shape_vars()] == ["n"]


def test_descriptions_of_other_values():
    func = from_source("""
@R.function
def main(s: R.Shape(["n", 2]), o: R.Object, t: R.Tuple(R.Tensor(("n",), "f32"), R.Tensor(dtype="int8", ndim=2))):
    n = T.int64()
    u = t[0]
    return (u, R.shape([n, n + 1]))
""")
    shape, anything, pair = (param.struct_info for param in func.params)
    n = func.shape_vars()[0]
    assert shape.values[0] is n
    assert isinstance(anything, graph.ObjectStructInfo)
    assert (pair.fields[1].shape, pair.fields[1].ndim) == (None, 2)


# Lowering


def test_lowering_gives_linear_programs_and_shared_constants():
    func = module_of("""
@R.function
def main(x: R.Tensor(("n * 2",), "int32"), y: R.Tensor(("n",), "int32")):
    n = T.int64()
    pair = R.call_tir(cls.halves, (x,), [R.Tensor((n,), "int32"), R.Tensor((n,), "int32")])
    left = pair[0]
    sum = R.call_dps_packed("add", (left, R.const([1], "int32")), R.Tensor((n,), "int32"), )
    return (sum, R.shape([n]))
""".replace("    n = T", "    cls = Module\n    n = T", 1))
    programs, constants = lower_graph(func)
    code = programs["main"].code
    assert [type(step) for step in code] == [
        Allocate, Allocate, Invoke, MakeTuple, GetField, LoadConstant, Allocate, Invoke, MakeShape, MakeTuple,
    ]  # fmt: skip
    assert (code[2].name, code[2].packed, code[2].args) == ("halves", False, (0, 2, 3))
    assert (code[7].name, code[7].packed) == ("add", True)
    assert [constant.tolist() for constant in constants] == [[1]]


# The oracle


def test_the_oracle_runs_tensor_programs_and_registered_functions():
    mod = module_of("""
@R.function
def main(x: R.Tensor((2, "n"), "float32")):
    cls = Module
    n = T.int64()
    t = R.call_dps_packed("graph.transpose", (x,), R.Tensor((n, 2), "float32"))
    y = R.call_tir(cls.twice, (R.const([[1, 2, 3], [4, 5, 6]], "float32"),), R.Tensor((2, 3), "float32"))
    return (t, y)
""")
    seen = []

    def transpose(x, out):
        seen.append(type(x))
        assert np.isnan(np.asarray(out)).all()
        np.from_dlpack(out)[...] = x.numpy().T

    x = np.arange(8, dtype="float32").reshape(2, 4)
    register_global_func("graph.transpose", transpose, override=True)
    try:
        for as_tensor in ({}, {"as_tensor": NDArray}):
            t, y = interpret_graph(mod, tensor(x), **as_tensor)
            assert np.array_equal(t, x.T)
            assert y.tolist() == [[2, 4, 6], [8, 10, 12]]
    finally:
        remove_global_func("graph.transpose")
    assert seen == [HostTensor, NDArray]


# BindParams


def test_bind_params_fixes_parameters_and_their_dimensions():
    mod = module_of("""
@R.function
def main(x: R.Tensor((1, "m"), "float32"), w: R.Tensor(("n", "m"), "float32"), b: R.Tensor(("n", "k"), "float32")):
    m, n, k = T.int64(), T.int64(), T.int64()
    with R.dataflow():
        y = R.call_dps_packed("env.linear", (x, w, b), R.Tensor((1, n * 2 + m), "float32"))
        R.output(y)
    return (y, w)
""")
    w = np.arange(6, dtype="float32").reshape(2, 3)
    bound = relax.transform.BindParams("main", {"w": tensor(w)})(mod)
    func = bound["main"]
    relax.wellformed_graph(bound)
    assert [param.name_hint for param in func.params] == ["x", "b"]
    assert structural_equal(func.params[0].struct_info, info(1, 3))
    assert [var.name for var in func.shape_vars()] == ["k"]
    assert structural_equal(func.ret_struct_info, graph.TupleStructInfo([info(1, 7), info(2, 3)]))
    assert np.array_equal(func.body.body.fields[1].data, w)
    assert len(mod["main"].params) == 3
