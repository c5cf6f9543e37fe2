"""What is said about graphs that cannot be read, called, compiled or run."""

import numpy as np
import pytest

from mlcref import relax
from mlcref.driver import compile as compile_module
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
from mlcref.ir import GlobalVar, IRModule, Var, graph, register_global_func, remove_global_func
from mlcref.relax.lower_graph import lower_graph
from mlcref.runtime.vm import VirtualMachine
from mlcref.script import from_source

TWICE = """
class Module:
    @T.prim_func
    def twice(X: T.Buffer((2, 3), "float32"), Y: T.Buffer((2, 3), "float32")):
        for i, j in T.grid(2, 3):
            with T.block("Y"):
                vi, vj = T.axis.remap("SS", [i, j])
                Y[vi, vj] = X[vi, vj] * T.float32(2)

"""


def read(function):
    """The graph function of this text, in a module with the tensor program ``twice``."""
    return from_source(TWICE + "\n".join("    " + line for line in function.strip("\n").splitlines()))


def info(*shape, dtype="float32"):
    return graph.TensorStructInfo(shape, dtype)


# Scripts


def of_body(*lines, parameter='x: R.Tensor((2, "n"), "float32")', result=""):
    return "\n".join(["@R.function", f"def main({parameter}){result}:", *("    " + line for line in lines)])


CALL = 'R.call_dps_packed("twice", (x,), R.Tensor((2, 3), "float32"))'


@pytest.mark.parametrize(
    ("text", "message", "caret"),
    [
        (of_body("return z"), "z is not defined", "z"),
        (of_body("return x", parameter="x"), "needs a description", "x"),
        (of_body("return x", parameter="x: T.int32"), "T.int32 describes no value of a graph", "T.int32"),
        (of_body("return x", parameter='x: R.Tensor((2, 3))'), "R.Tensor needs a data type", "R.Tensor((2, 3))"),
        (of_body("return x", parameter='x: R.Tensor(("n + 1",), "float32")'), "no argument says what n is", None),
        (of_body("return x", parameter='x: R.Tensor(("n +",), "int8")'), "syntax error", 'R.Tensor(("n +",), "int8")'),
        (of_body("return x", parameter='x: R.Tensor((-1,), "float32")'), "a dimension cannot be -1", None),
        (of_body("return x", parameter='x: R.Tensor((2,), "float31")'), "unknown data type 'float31'", None),
        (of_body("m = T.int64()", "return x"), "no parameter says what m is", "m"),
        (of_body("n = T.int32()", "return x"), "a dimension is int64, not int32", "n"),
        (of_body("x"), "ends with `return` and a value", "x"),
        (of_body("return x", "return x"), "`return` stands at the end", "return x"),
        (of_body("return x, 1"), "not int", "x, 1"),
        (of_body("y = 1.5", "return y"), "not float", "1.5"),
        (of_body("for i in range(3):", "    y = x", "return x"), "For statements cannot be used", None),
        (of_body("x.y = x", "return x"), r"x\.y cannot be assigned to", "x.y"),
        (of_body("R.dataflow()", "return x"), "is no statement of a graph", "R.dataflow()"),
        (of_body("y = x[0]", "return y"), "only fields of a tuple can be taken", "x[0]"),
        (of_body("y = (x, x)[2]", "return y"), "no item 2", "2"),
        (of_body("t = (x, x)", "return t[2]"), "a tuple of 2 fields has no field 2", "t[2]"),
        (of_body("y = R.plus(x, x)", "return y"), "R.plus is unknown", "R.plus"),
        (of_body('y = R.call_tir(1, (x,), R.Tensor((2, 3), "float32"))', "return y"), "calls a tensor program", None),
        (of_body('y = R.call_dps_packed("twice", (x,))', "return y"), "does not say what its result is", None),
        (of_body('y = R.call_dps_packed("twice", (x, 2), R.Tensor((2, 3), "float32"))', "return y"), "not int", None),
        (of_body('y = R.call_tir("twice", (x,), R.Tensor(dtype="int8"))', "return y"), "tensors of known shape", None),
        (of_body('y = R.call_tir("twice", (x,), R.Tensor((2, "n"), "int8"))', "return y"), "in annotations only", None),
        (of_body(f'y: R.Tensor((3, 2), "int8") = {CALL}', "return y"), r"y is R\.Tensor\(\(2, 3\).* not R\.", "y"),
        (of_body(f'y: R.Tensor((2, "q"), "float32") = {CALL}', "return y"), "no parameter says what q is", None),
        (of_body("return x", result=' -> R.Tensor((2, 3), "int8")'), r"the function returns R\.Tensor\(\(2, n\)", None),
        (of_body('return metadata["relax.expr.Constant"][0]'), "leaves out its constants", "metadata"),
        (of_body("with R.dataflow():", f"    y = {CALL}", "return x"), r"ends with R\.output", None),
        (of_body("with R.dataflow():", f"    y = {CALL}", "    R.output(x)", "return x"),
         "x is not assigned in this block", "x"),
        (of_body("with R.dataflow():", f"    y = {CALL}", f"    z = {CALL}", "    R.output(z)", "return y"),
         "y is not seen outside its dataflow block", "y"),
        (of_body("with R.dataflow():", "    with R.dataflow():", "        R.output()", "    R.output()", "return x"),
         "dataflow blocks do not nest", None),
        (of_body("R.output(x)", "return x"), r"R\.output stands at the end of a dataflow block", None),
        ("@R.function(pure=False)\ndef main(x: R.Object):\n    return x", "impure", "False"),
        ("@R.function(fast=True)\ndef main(x: R.Object):\n    return x", "has no option 'fast'", "True"),
        ("@R.function\ndef main(*x: R.Object):\n    return x", "plain parameters only", None),
    ],
)  # fmt: skip
def test_scripts_that_cannot_be_read(text, message, caret):
    with pytest.raises(ScriptError, match=message) as caught:
        read(text)
    error = caught.value
    assert error.source_line
    if caret is not None:
        assert error.source_line[error.column - 1 :][: error.width] == caret


# Graphs that break an invariant


def call(callee, args, out, tir_vars=None):
    return graph.call_tir(GlobalVar(callee), args, out, tir_vars)


def of(params, *bindings, result=None, kind=graph.BindingBlock, module=True):
    result = bindings[-1].var if result is None else result
    body = graph.SeqExpr((kind(tuple(bindings)),), result)
    func = graph.Function(tuple(params), body, body.struct_info)
    programs = read(of_body("return x")).prim_funcs() if module else {}
    return IRModule({**programs, "main": func})


def bound(value, kind=graph.Var, name="y"):
    return graph.VarBinding(kind(name, value.struct_info), value)


X = graph.Var("x", info(2, 3))
N = Var("n", "int64")


def twice_of(arg):
    return call("twice", (arg,), info(2, 3))


INNER = bound(twice_of(X), graph.DataflowVar)
ONCE = bound(twice_of(X))


@pytest.mark.parametrize(
    ("module", "rule", "message"),
    [
        (of([X], ONCE, ONCE), "G1", "variable y is bound twice"),
        (of([], ONCE), "G1", "variable x is used where it is not bound"),
        (of([X], INNER, kind=graph.DataflowBlock), "G1", "variable y is used where it is not bound"),
        (of([X], bound(call("twice", (X,), info(2, N)))), "G2", "no parameter says what the dimension n is"),
        (of([X], bound(call("twice", (X,), info(2, 3), graph.ShapeExpr((N,))))), "G2", "what the dimension n is"),
        (of([X], bound(call("twice", (twice_of(X),), info(2, 3)))), "G3", "a Call stands where a variable"),
        (of([X], bound(call("thrice", (X,), info(2, 3)))), "G4", "no tensor program 'thrice'"),
        (of([X], bound(call("main", (X,), info(2, 3)))), "G4", "no tensor program 'main'"),
        (of([X], bound(call("twice", (X, X), info(2, 3)))), "G4", "twice takes 2 arguments, .* got 3"),
        (of([X], bound(call("twice", (), info(2, 3), graph.ShapeExpr((2,))))), "G4", "takes a tensor as Y"),
        (of([X], bound(call("twice", (X,), info(2, 3, dtype="int32")))), "G4", "Y of float32, got int32"),
        (of([X], bound(call("twice", (X,), info(6)))), "G4", "Y of 2 dimensions, got 1"),
        (of([X], bound(call("twice", (X,), info(2, 4)))), "G4", r"Y\.shape\[1\] = 3, got 4"),
        (of([X], graph.VarBinding(graph.Var("y", info(3)), twice_of(X))), "G5", "the value of y is not what"),
    ],
)
def test_graphs_that_break_an_invariant(module, rule, message):
    with pytest.raises(WellformedError, match=message) as caught:
        relax.wellformed_graph(module)
    assert caught.value.rule == f"graph.{rule}"
    with pytest.raises(WellformedError, match=message):
        compile_module(module)


def test_the_broken_binding_is_drawn_on_the_script():
    module = of([X], bound(call("twice", (X,), info(2, 4))))
    with pytest.raises(WellformedError, match=r"\^\^\^\^  twice takes Y\.shape\[1\] = 3, got 4") as caught:
        relax.wellformed_graph(module)
    assert 'y = R.call_tir(cls.twice, (x,), out_sinfo=R.Tensor((2, 4), dtype="float32"))' in str(caught.value)


def test_a_result_that_the_function_does_not_announce_is_refused():
    func = graph.Function((X,), graph.SeqExpr((), X), info(3, 2))
    with pytest.raises(WellformedError, match="not what the function says it returns"):
        relax.wellformed_graph(func)


def test_blocks_without_bindings_are_refused():
    func = graph.Function((X,), graph.SeqExpr((graph.DataflowBlock(()),), X), X.struct_info)
    with pytest.raises(WellformedError, match="a block of bindings is empty"):
        relax.wellformed_graph(func)


def test_symbolic_sizes_that_disagree_are_found_before_the_run():
    source = TWICE.replace("class Module:", """class Module:
    @T.prim_func
    def same(x: T.handle, y: T.handle):
        n = T.int64()
        X = T.match_buffer(x, (n,), "float32")
        Y = T.match_buffer(y, (n,), "float32")
        for i in range(n):
            with T.block("Y"):
                vi = T.axis.spatial(n, i)
                Y[vi] = X[vi]
""")
    module = from_source(source + """
    @R.function
    def main(x: R.Tensor((4,), "float32")):
        y = R.call_dps_packed("same", (x,), R.Tensor((5,), "float32"))
        return y
""")
    with pytest.raises(WellformedError, match=r"same takes Y\.shape\[0\] = 4, got 5"):
        relax.wellformed_graph(module)


# Operators without meaning


def test_an_operator_without_lowering_is_refused():
    module = of([X], bound(relax.op.add(X, X)))
    with pytest.raises(UnsupportedError, match=r"a call of relax\.add has no lowering.*\n(.*\n)*hint: .*LegalizeOps"):
        lower_graph(module)


def test_a_call_without_meaning_is_refused():
    module = of([X], bound(graph.Call(graph.new_op("test.nothing"), (X,), None, (info(2, 3),))))
    with pytest.raises(UnsupportedError, match=r"test\.nothing has no meaning here"):
        interpret_graph(module, np.zeros((2, 3), "float32"))
    with pytest.raises(UnsupportedError, match=r"test\.nothing has no legalization"):
        relax.transform.LegalizeOps()(module)
    with pytest.raises(MlcrefError, match=r"no operator 'relax\.ad'.*\n.*did you mean 'relax\.add'"):
        relax.Op.get("relax.ad")


# Calls


CALLED = """
@R.function
def main(x: R.Tensor((2, "n"), "float32"), y: R.Tensor(("n",), "float32"), s: R.Shape(["n"])):
    return (x, y)
"""


def arguments(**changes):
    good = {"x": np.zeros((2, 3), "float32"), "y": np.zeros(3, "float32"), "s": (3,)}
    return tuple({**good, **changes}.values())


@pytest.mark.parametrize(
    ("args", "rule", "message"),
    [
        (arguments()[:2], "count", r"main: takes 3 arguments \(x, y, s\), got 2"),
        (arguments(x=1.5), "type", "x must be a tensor, got float"),
        (arguments(x=np.zeros((2, 3))), "dtype", r"x must be float32, got float64\[2, 3\]"),
        (arguments(x=np.zeros(3, "float32")), "rank", r"x must have 2 dimensions, got float32\[3\]"),
        (arguments(x=np.zeros((4, 3), "float32")), "shape", r"x\.shape\[0\] must be 2, got 4"),
        (arguments(y=np.zeros(4, "float32")), "symbol", r"y\.shape\[0\] is 4, but n is 3 already, from x\.shape\[1\]"),
        (arguments(s=(4,)), "symbol", r"s\[0\] is 4, but n is 3 already"),
        (arguments(s=3), "type", "s must be a tuple of ints, got 3"),
        (arguments(s=(3, 3)), "rank", "s must have 1 extents, got 2"),
    ],
)  # fmt: skip
def test_arguments_that_do_not_fit(args, rule, message):
    module = read(CALLED)
    run = VirtualMachine(compile_graph_only(module))["main"]
    for call_it in (run, lambda *given: interpret_graph(module, *given)):
        with pytest.raises(CallError, match=message) as caught:
            call_it(*args)
        assert caught.value.rule == f"call.{rule}"
    run(*arguments())


def compile_graph_only(module):
    return compile_module(IRModule({"main": module["main"]}))


def test_the_machine_refuses_strided_arguments_and_the_oracle_takes_them():
    module = read(CALLED)
    x = np.zeros((3, 2), "float32").T
    with pytest.raises(CallError, match=r"x must be dense and row-major, got strides \(4, 8\)"):
        VirtualMachine(compile_graph_only(module))["main"](*arguments(x=x))
    assert interpret_graph(module, *arguments(x=x))[0].shape == (2, 3)


# BindParams


def test_binding_what_is_no_parameter_is_refused():
    module = read(of_body("return x"))
    one = np.zeros((2, 3), "float32")
    with pytest.raises(MlcrefError, match=r"main has no parameter 'w'\s+\[BindParams\.name\]\n.*parameters of main: x"):
        relax.transform.BindParams("main", {"w": one})(module)
    with pytest.raises(MlcrefError, match="twice is no graph function"):
        relax.transform.BindParams("twice", {})(module)
    with pytest.raises(MlcrefError, match="the module has no function 'other'"):
        relax.transform.BindParams("other", {})(module)
    with pytest.raises(CallError, match=r"x must be float32, got float64"):
        relax.transform.BindParams("main", {"x": np.zeros((2, 3))})(module)
    with pytest.raises(CallError, match=r"x\.shape\[0\] must be 2, got 3"):
        relax.transform.BindParams("main", {"x": one.T.copy()})(module)


# Registered functions


def packed_module():
    return read(of_body('y = R.call_dps_packed("errors.packed", (x,), R.Tensor((2, 3), "float32"))', "return y",
                        parameter='x: R.Tensor((2, 3), "float32")'))  # fmt: skip


@pytest.fixture
def packed():
    yield lambda function: register_global_func("errors.packed", function, override=True)
    remove_global_func("errors.packed")


def test_a_name_that_nobody_registered_is_refused():
    module = packed_module()
    with pytest.raises(MlcrefError, match=r"'errors\.packed', which is neither a function of the module"):
        VirtualMachine(compile_module(module))
    with pytest.raises(OracleError, match=r"'errors\.packed' is neither a tensor program of the module nor registered"):
        interpret_graph(module, np.zeros((2, 3), "float32"))


def test_the_oracle_refuses_a_call_that_changes_its_input(packed):
    def careless(x, out):
        x[0, 0] = 7.0
        out.copyfrom(x)

    packed(careless)
    with pytest.raises(OracleError, match=r"errors\.packed changes its input 0"):
        interpret_graph(packed_module(), np.zeros((2, 3), "float32"))


def test_the_oracle_refuses_a_tensor_program_that_leaves_its_result_undefined():
    module = from_source(TWICE.replace("T.grid(2, 3)", "T.grid(2, 2)") + """
    @R.function
    def main(x: R.Tensor((2, 3), "float32")):
        y = R.call_dps_packed("twice", (x,), R.Tensor((2, 3), "float32"))
        return y
""")
    with pytest.raises(OracleError, match=r"Y\[0, 2\] is never written") as caught:
        interpret_graph(module, np.zeros((2, 3), "float32"))
    assert caught.value.__notes__ == ["while running y = twice(...) of the graph function main"]


# Other


def test_unknown_entries_are_named():
    module = read(CALLED)
    machine = VirtualMachine(compile_graph_only(module))
    with pytest.raises(MlcrefError, match="no graph function 'other'"):
        machine["other"]
    with pytest.raises(MlcrefError, match="twice is no graph function"):
        interpret_graph(module, entry="twice")


def test_a_tuple_has_only_its_fields():
    with pytest.raises(TypeMismatch, match="a tuple of 1 fields has no field 1"):
        graph.TupleGetItem(graph.Tuple((X,)), 1).struct_info
