"""What is said about operators that do not fit, builders used out of turn, and passes that are none."""

import numpy as np
import pytest

import mlcref as tvm
from mlcref import relax
from mlcref.errors import (
    CallError,
    MlcrefError,
    OracleError,
    ScriptError,
    TypeMismatch,
    UnsupportedError,
    WellformedError,
)
from mlcref.interp.graph import interpret_graph
from mlcref.ir import GlobalVar, IRModule, Var, graph
from mlcref.relax.plan_memory import memory_plan
from mlcref.script import from_source

op, nn = relax.op, relax.op.nn


def tensor(*shape, dtype="float32"):
    return relax.Var("x", relax.TensorStructInfo(shape, dtype))


N = Var("n", "int64")
X = tensor(2, 3)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: op.add(X, tensor(4)), r"add: shapes \(2, 3\) and \(4,\) do not broadcast"),
        (lambda: op.add(X, tensor(N)), r"add: shapes \(2, 3\) and \(n,\) do not broadcast"),
        (lambda: op.add(X, tensor(2, 3, dtype="int32")), "add of float32 and int32"),
        (lambda: op.add(X, tensor(2, 3, dtype="bool")), "add of float32 and bool"),
        (lambda: op.add(X, 1.0), "x2 is a float, no tensor"),
        (lambda: op.add(X), "missing a required argument: 'x2'"),
        (lambda: op.add(X, relax.Var("y", relax.TensorStructInfo(None, "float32", 2))), "of known shape as x2"),
        (lambda: op.add(X, relax.Tuple((X,))), "a tensor of known shape as x2"),
        (lambda: op.exp(tensor(2, dtype="int32")), "exp is defined on floats, not on int32"),
        (lambda: op.bitwise_and(X, X), "bitwise_and is not defined on float32"),
        (lambda: op.logical_not(X), "defined on bool, not on float32"),
        (lambda: op.where(X, X, X), "the condition of where is bool"),
        (lambda: op.where(tensor(2, 1, dtype="bool"), X, tensor(2, 3, dtype="int8")), "where of float32 and int8"),
        (lambda: op.ewise_fma(X, X, tensor(3, dtype="int8")), "ewise_fma of float32, float32 and int8"),
        (lambda: op.ewise_fma(*[tensor(3, dtype="bool")] * 3), "not defined on bool"),
        (lambda: op.clip(X, 2, 1), "clip to 2.0 … 1.0"),
        (lambda: op.clip(tensor(2, dtype="bool"), 0, 1), "clip is not defined on bool"),
        (lambda: op.clip(tensor(2, dtype="int8"), 0, 0.5), "bounds that are no integers"),
        (lambda: op.clip(X, "0", 1), "min is '0', no number"),
        (lambda: op.astype(X, "float31"), "float31"),
        (lambda: op.sum(X, axis=2), "sum: axis 2 of a tensor of 2 dimensions"),
        (lambda: op.sum(X, axis=[0, -2]), "an axis is given twice"),
        (lambda: op.sum(X, axis=0.5), r"axis is 0\.5, no int"),
        (lambda: op.sum(X, keepdims="no"), "keepdims is 'no', neither True nor False"),
        (lambda: op.sum(tensor(2, dtype="bool")), "sum is not defined on bool"),
        (lambda: op.sum(tensor(0, 2), axis=0), "sum of nothing"),
        (lambda: op.argmax(tensor(2, dtype="bool")), "argmax is not defined on bool"),
        (lambda: op.matmul(X, X), "the extents summed over: 3 and 2 are not known to be equal"),
        (lambda: op.matmul(X, tensor(3, 2, dtype="int8")), "matmul of float32 and int8"),
        (lambda: op.matmul(tensor(2, dtype="bool"), tensor(2, dtype="bool")), "matmul is not defined on bool"),
        (lambda: op.matmul(tensor(), X), "without dimensions"),
        (lambda: op.matmul(tensor(2, 0), tensor(0, 2)), "matmul of nothing"),
        (lambda: op.linear(X, tensor(1, 2, 3)), "a weight of 1 or 2 dimensions"),
        (lambda: op.permute_dims(X, [0]), r"permute_dims of 2 dimensions by \[0\]"),
        (lambda: op.reshape(X, (7,)), "the numbers of elements are not known to be equal"),
        (lambda: op.reshape(X, (-1, -1)), "-1 stands for one extent"),
        (lambda: op.reshape(X, (-1, 4)), "6 is no multiple of 4"),
        (lambda: op.reshape(X, (-1, 0)), "-1 beside an extent of 0"),
        (lambda: op.reshape(X, relax.Var("s", relax.ShapeStructInfo(ndim=2))), "a shape of known extents as shape"),
        (lambda: op.reshape(X, X), "a shape of known extents as shape"),
        (lambda: op.squeeze(X, 0), r"squeeze: axis 0 of \(2, 3\) is not 1"),
        (lambda: op.broadcast_to(X, (2, 2)), "do not broadcast"),
        (lambda: op.broadcast_to(X, (3,)), r"\(2, 3\) does not stretch to \(3,\)"),
        (lambda: op.concat([X, tensor(2, 3, dtype="int8")]), "concat of float32 and int8"),
        (lambda: op.concat([X, tensor(3)]), "tensors of 2 and 1 dimensions"),
        (lambda: op.concat([X, tensor(2, 4)]), "extents of axis 1: 3 and 4"),
        (lambda: op.concat(X), "takes a tuple of tensors"),
        (lambda: op.concat([]), "takes a tuple of tensors"),
        (lambda: op.stack([X, tensor(3, 3)]), "stack: extents of axis 0"),
        (lambda: op.split(X, 2, 1), "3 into 2 parts of one size"),
        (lambda: op.split(X, 0), "split into 0 parts"),
        (lambda: op.split(X, [2, 1]), r"cuts \[2, 1\] of an extent of 2"),
        (lambda: op.split(tensor(N), [1]), "the extent is n, which must be a number"),
        (lambda: op.strided_slice(X, [0], [0, 1], [1]), "a begin, an end and a stride for each axis"),
        (lambda: op.strided_slice(X, [0], [0], [1], [0]), "a stride is 0"),
        (lambda: op.strided_slice(tensor(N), [0], [0], [1]), "n, which must be a number"),
        (lambda: op.repeat(X, -1), "repeat: -1 times"),
        (lambda: op.take(X, X), "indices are integers, not float32"),
        (lambda: op.take(X, tensor(1, dtype="int32")), "take from 2 dimensions needs an axis"),
        (lambda: op.take(X, tensor(1, dtype="int32"), 0, mode="wrap"), "mode is 'wrap'"),
        (lambda: op.full((2,), X), "full takes one value"),
        (lambda: op.full_like(X, X), "full_like takes one value"),
        (lambda: op.tril(tensor(2)), "tril takes matrices"),
        (lambda: nn.layer_norm(X, tensor(2), tensor(3), [1]), r"takes weights of float32\(3,\)"),
        (lambda: nn.layer_norm(X, tensor(2), tensor(3), [1, 0]), "takes axes in order"),
        (lambda: nn.layer_norm(X, tensor(3), tensor(3), [1], center=False), "center is False"),
        (lambda: nn.batch_norm(X, *[tensor(3)] * 4, axis=1, training=True), "a model that learns"),
        (lambda: nn.batch_norm(X, *[tensor(2, 1)] * 4, axis=1), "takes vectors of float32"),
        (lambda: nn.batch_norm(X, *[tensor(2)] * 4, axis=1), "the numbers of channels"),
        (lambda: nn.group_norm(tensor(2, 3), tensor(3), tensor(3), 2, 1, [0]), "3 channels in 2 groups"),
        (lambda: nn.group_norm(tensor(2, 4), tensor(4), tensor(4), 2, 1, [1]), "axes do not name the channels"),
        (lambda: nn.group_norm(tensor(2, 4), tensor(3), tensor(4), 2, 1, [0]), r"weights of float32\(4,\)"),
        (lambda: nn.conv2d(X, X), "takes data of 4 dimensions"),
        (lambda: nn.conv2d(tensor(1, 3, 4, 4), tensor(2, 2, 3, 3)), "the numbers of channels: 3 and 2"),
        (lambda: nn.conv2d(tensor(1, 3, 4, 4), tensor(2, 3, 5, 5)), "the window is larger than the padded data"),
        (lambda: nn.conv2d(tensor(1, 4, 4, 4), tensor(3, 2, 1, 1), groups=2), "3 outputs in 2 groups"),
        (lambda: nn.conv2d(tensor(1, 3, 4, 4), tensor(2, 3, 1, 1), strides=0), "strides are positive"),
        (lambda: nn.conv2d(tensor(1, 3, 4, 4), tensor(2, 3, 1, 1), strides=[1, 2, 3]), "strides takes 2 numbers"),
        (lambda: nn.conv2d(tensor(1, 3, 4, 4), tensor(2, 3, 1, 1), padding=-1), "padding takes 1, 2 or 4 numbers"),
        (lambda: nn.conv2d(tensor(1, 3, 4, 4), tensor(2, 3, 1, 1), data_layout="NCHW4c"), "data_layout is 'NCHW4c'"),
        (lambda: nn.conv2d(tensor(1, 3, 4, 4), tensor(2, 3, 1, 1, dtype="int8")), "of float32 and int8"),
        (lambda: nn.conv2d(tensor(1, 3, 4, 4), tensor(2, 3, 1, 1), out_layout="NHWC"), "out_layout is 'NHWC'"),
        (lambda: nn.max_pool2d(X), "takes 4 dimensions"),
        (lambda: nn.max_pool2d(tensor(1, 1, 4, 4), 2, padding=2), "a window of 2 may lie in the padding alone"),
        (lambda: nn.max_pool2d(tensor(1, 1, N, 4), 2, padding=2), "a window of 2 may lie in the padding alone"),
        (lambda: nn.max_pool2d(tensor(1, 1, 3, 3), 1, 3, ceil_mode=True), "may lie in the padding alone"),
        (lambda: nn.adaptive_avg_pool2d(tensor(1, 1, N, 3), 1), "the extent of H is n"),
        (lambda: nn.adaptive_avg_pool2d(tensor(1, 1, 3, 3), [1, 2, 3]), "output_size takes 2 numbers, got 3"),
        (lambda: nn.adaptive_avg_pool2d(tensor(1, 1, 3, 3), 0), "an output of 0"),
        (lambda: nn.pad(X, [1, 1]), "takes 4 widths, got 2"),
        (lambda: nn.pad(X, [1, 1, -1, 0]), "pad by"),
        (lambda: nn.pad(tensor(2, dtype="int8"), [0, 1], pad_value=0.5), r"pad of int8 with 0\.5"),
        (lambda: nn.pad(X, [0] * 4, "reflect"), "pad_mode is 'reflect'"),
        (lambda: nn.attention(X, X, X), "takes .batch, length, heads, size."),
        (lambda: nn.attention(tensor(1, 2, 3, 4), tensor(1, 2, 3, 5), tensor(1, 2, 3, 4)), "extents of axis 3"),
        (lambda: nn.attention(*[tensor(1, 2, 3, 4)] * 3, tensor(1, 3, 2)), "a bias of .batch, heads, queries, keys."),
        (lambda: nn.softmax(X, 2), "axis 2 of a tensor of 2 dimensions"),
        (lambda: graph.Call(relax.Op.get("relax.add"), [X]).struct_info, "relax.add takes 2 operands, got 1"),
        (lambda: graph.Call(relax.Op.get("relax.exp"), [X], {"y": 1}).struct_info, "no attribute 'y'"),
        (lambda: graph.Call(relax.Op.get("relax.astype"), [X]).struct_info, "needs the attribute 'dtype'"),
    ],
)  # fmt: skip
def test_operators_that_do_not_fit(make, message):
    with pytest.raises(TypeMismatch, match=message):
        make()


def read(*lines, parameter='x: R.Tensor((2, 3), "float32")'):
    return from_source("\n".join(["@R.function", f"def main({parameter}):", *("    " + line for line in lines)]))


@pytest.mark.parametrize(
    ("lines", "message", "caret"),
    [
        (["y = R.add(x, R.const([1.0, 2.0]))", "return y"], "do not broadcast", "R.add(x, R.const([1.0, 2.0]))"),
        (["y = R.nn.rleu(x)", "return y"], r"R\.nn\.rleu is unknown", "R.nn.rleu"),
        (["y = R.add(x)", "return y"], "missing a required argument", "R.add(x)"),
        (["y = R.add(x, x, y=x)", "return y"], "unexpected keyword", None),
        (['y: R.Tensor((3, 2), "float32") = R.exp(x)', "return y"], r"y is R\.Tensor\(\(2, 3\)", "y"),
        (["y = R.match_cast(x, 3)", "return y"], "takes a description", None),
        (["m = T.int64()", 'y = R.match_cast(x, R.Tensor((2, "m"), "float32"))', "return y"], "annotations only", None),
    ],
)
def test_scripts_of_operators_that_cannot_be_read(lines, message, caret):
    with pytest.raises(ScriptError, match=message) as caught:
        read(*lines)
    if caret is not None:
        error = caught.value
        assert error.source_line[error.column - 1 :][: error.width] == caret


# What the oracle refuses


def ran(value, *arrays, **parameters):
    params = list(dict.fromkeys(var for var in relax.analysis.all_vars(value)))
    return interpret_graph(relax.Function(params, graph.SeqExpr(*_bound(value))), *arrays)


def _bound(value):
    var = relax.Var("y", value.struct_info)
    return (graph.BindingBlock([graph.VarBinding(var, value)]),), var


@pytest.mark.parametrize(
    ("value", "arrays", "message"),
    [
        (op.take(tensor(3), tensor(2, dtype="int32"), 0), [[0, 0, 0], [0, 3]], r"an index is not in 0 … 2"),
        (op.take(tensor(3), tensor(2, dtype="int32"), 0), [[0, 0, 0], [0, -1]], r"an index is not in 0 … 2"),
        (op.floor_divide(*[tensor(2, dtype="int32") for _ in "ab"]), [[1, 1], [1, 0]], "divided by 0"),
        (op.astype(tensor(2), "int8"), [[1, np.nan]], "astype"),
        (op.sum(tensor(N)), [[]], "sum of nothing"),
    ],
)
def test_operators_that_mean_nothing(value, arrays, message):
    variables = relax.analysis.all_vars(value)
    given = [np.array(a, var.struct_info.dtype) for a, var in zip(arrays, variables, strict=True)]
    with pytest.raises(OracleError, match=message) as caught:
        ran(value, *given)
    assert caught.value.rule == "graph.R5"


def test_a_match_cast_that_does_not_hold_is_refused():
    func = read(
        "m = T.int64()", 'y = R.match_cast(x, R.Tensor((m, m), "float32"))', "return y",
        parameter='x: R.Tensor(dtype="float32", ndim=2)',
    )  # fmt: skip
    assert interpret_graph(func, np.ones((2, 2), "float32")).shape == (2, 2)
    with pytest.raises(OracleError, match=r"match_cast does not hold.*y.shape\[1\] is 3"):
        interpret_graph(func, np.ones((2, 3), "float32"))
    machine = relax.VirtualMachine(tvm.compile(func), tvm.cpu())
    assert machine["main"](np.ones((2, 2), "float32")).shape == (2, 2)
    with pytest.raises(CallError, match=r"x\.shape\[1\] is 3, but m is 2 already"):
        machine["main"](np.ones((2, 3), "float32"))


def test_a_match_cast_of_a_value_is_not_lowered():
    func = read("y = R.exp(x)", 'z = R.match_cast(y, R.Tensor((2, 3), "float32"))', "return z")
    assert interpret_graph(func, np.ones((2, 3), "float32")).shape == (2, 3)
    with pytest.raises(UnsupportedError, match="match_cast of what is no parameter has no lowering"):
        tvm.compile(func)


# Calls of graph functions


def with_callee(call):
    f = relax.Function([X], X)
    var = relax.Var("y", call.struct_info)
    body = graph.SeqExpr((graph.BindingBlock([graph.VarBinding(var, call)]),), var)
    return IRModule({"f": f, "main": relax.Function([Y], body)})


Y = tensor(2, 3)
INFO = X.struct_info


@pytest.mark.parametrize(
    ("call", "rule", "message"),
    [
        (relax.Call(GlobalVar("g"), [Y], None, [INFO]), "G4", "no graph function 'g'"),
        (relax.Call(GlobalVar("f"), [Y, Y], None, [INFO]), "G4", "takes 1 arguments, got 2"),
        (relax.Call(GlobalVar("f"), [relax.const([1.0])], None, [INFO]), "G4", "f does not take this as x"),
        (relax.Call(GlobalVar("f"), [relax.const([[1.0]])], None, [INFO]), "G4", "f does not take this as x"),
        (relax.Call(GlobalVar("f"), [Y], None, [tensor(3).struct_info]), "G5", "does not return what the call says"),
    ],
)
def test_calls_of_functions_that_do_not_fit(call, rule, message):
    with pytest.raises(WellformedError, match=message) as caught:
        relax.wellformed_graph(with_callee(call))
    assert caught.value.rule == f"graph.{rule}"


# Builders, mutators, passes


def started():
    return relax.BlockBuilder()


def test_a_builder_used_out_of_turn():
    with pytest.raises(MlcrefError, match="nothing can be bound outside a function"):
        started().emit(op.exp(X))
    bb = started()
    with pytest.raises(MlcrefError, match="main has no result"), bb.function("main", [X]):
        bb.emit(op.exp(X))
    with pytest.raises(MlcrefError, match="only a dataflow block has outputs"), started_function(bb):
        bb.emit_output(op.exp(X))
    with (
        pytest.raises(MlcrefError, match="dataflow blocks do not nest"),
        started_function(bb),
        bb.dataflow(),
        bb.dataflow(),
    ):
        pass
    with pytest.raises(MlcrefError, match="does not end inside a dataflow block"), started_function(bb), bb.dataflow():
        bb.emit_func_output(X)
    with started_function(bb):
        bb.emit_func_output(X)
        with pytest.raises(MlcrefError, match="has a result already"):
            bb.emit_func_output(X)
    with pytest.raises(MlcrefError, match="parameters of main are given once"), started_function(bb):
        bb.emit_func_output(X, params=[X])
    with pytest.raises(MlcrefError, match="functions do not nest"), started_function(bb), bb.function("g"):
        pass
    with pytest.raises(MlcrefError, match="still being written"), started_function(bb):
        bb.finalize()
    with pytest.raises(TypeMismatch, match="not float"), started_function(bb):
        bb.emit(1.0)
    assert list(bb.get()) == ["main"]


def started_function(bb):
    return bb.function("main", [X])


@pytest.mark.parametrize(
    ("func", "args", "message"),
    [
        (lambda a: 1, [X], "returns int, no te.Tensor"),
        (lambda a: a, [relax.Var("o")], "takes tensors of known shape, not R.Object"),
    ],
)
def test_tensor_expressions_that_do_not_fit(func, args, message):
    bb = started()
    with pytest.raises(TypeMismatch, match=message), started_function(bb):
        bb.emit_te(func, *args)


def test_decorators_of_classes_that_are_none():
    with pytest.raises(TypeMismatch, match="no subclass of PyExprMutator"):
        relax.expr_functor.mutator(int)
    with pytest.raises(TypeMismatch, match="no subclass of PyExprVisitor"):
        relax.expr_functor.visitor(int)
    with pytest.raises(UnsupportedError, match="is no expression of a graph"):
        relax.PyExprVisitor().visit_expr(INFO)


def test_passes_that_are_none():
    with pytest.raises(TypeMismatch, match="int has no transform_module"):
        tvm.transform.module_pass(int)
    with pytest.raises(TypeMismatch, match="a pass is a function or a class"):
        tvm.transform.module_pass(3, name="three")
    with pytest.raises(TypeMismatch, match="Nothing gives NoneType, no module"):
        tvm.transform.module_pass(lambda mod, ctx: None, name="Nothing")(IRModule())
    with pytest.raises(TypeMismatch, match="LegalizeOps takes a module, not Function"):
        relax.transform.LegalizeOps()(relax.Function([X], X))
    with pytest.raises(MlcrefError, match="the module has no function 'g'"):
        relax.transform.DeadCodeElimination(["g"])(IRModule())


def three_calls(second):
    """Programs of sin, ``second`` and cos."""
    bb, x = relax.BlockBuilder(), tensor(4)
    with bb.function("main", [x]):
        with bb.dataflow():
            out = bb.emit_output(op.cos(bb.emit(second(bb.emit(op.sin(x))))))
        bb.emit_func_output(out)
    return relax.transform.LegalizeOps()(bb.get())


def test_a_memory_plan_of_another_function_is_refused():
    """The program was exchanged after planning for one that reads the elements it would have overwritten."""
    module = relax.transform.StaticPlanMemory()(three_calls(op.exp))
    module.update_func("exp", three_calls(lambda x: op.flip(x, axis=0))["flip"])
    with pytest.raises(WellformedError, match=r"main: the memory plan does not fit the function: lv1  \[graph\.plan\]"):
        tvm.compile(module)


def test_offsets_need_numbers():
    bb, x = relax.BlockBuilder(), tensor(N)
    with bb.function("main", [x]):
        bb.emit_func_output(bb.emit(op.exp(bb.emit(op.sin(x)))))
    module = relax.transform.LegalizeOps()(bb.get())
    with pytest.raises(UnsupportedError, match="gv has symbolic extents: its size is known when it is called"):
        memory_plan(module)
    with pytest.raises(MlcrefError, match="the module has no graph function 'other'"):
        memory_plan(module, "other")
