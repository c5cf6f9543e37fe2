"""Kinds of operators, which calls are fused, and what they become."""

import numpy as np
import pytest

from mlcref import relax, te
from mlcref.driver import compile as compile_module
from mlcref.errors import MlcrefError, OracleError, ScriptError, WellformedError
from mlcref.interp.graph import interpret_graph
from mlcref.ir import GlobalVar, IRModule, Max, assert_structural_equal, blocks_in, call, const, graph
from mlcref.relax import transform
from mlcref.relax.fuse_tir import can_be_fused
from mlcref.relax.op_pattern import OpPatternKind, op_pattern
from mlcref.runtime.vm import VirtualMachine
from mlcref.script import from_source

N = 4
A, B, V = (te.placeholder(shape, "int32", name=name) for name, shape in (("A", (N, N)), ("B", (N, N)), ("V", (N,))))
ROW = te.placeholder((1, N), "int32", name="row")
ZERO = const(0)


def axis():
    return te.reduce_axis((0, N), name="k")


def made(inputs, element, shape=(N, N)):
    return te.create_prim_func([*inputs, te.compute(shape, element, name="Y")])


def product():
    k = axis()
    return made([A, B], lambda i, j: te.sum(A[i, k] * B[k, j], axis=k))


def total():
    k = axis()
    return made([A], lambda i: te.sum(A[i, k], axis=k), (N,))


def largest():
    k = axis()
    return made([A], lambda i, j: te.max(A[i, k] + 0 * j, axis=k))


def product_and_bias():
    k = axis()
    Y = te.compute((N, N), lambda i, j: te.sum(A[i, k] * B[k, j], axis=k), name="Y")
    return te.create_prim_func([A, B, V, te.compute((N, N), lambda i, j: Y[i, j] + V[j], name="Z")])


PROGRAMS = {
    "relu": made([A], lambda i, j: Max(A[i, j], ZERO)),
    "add": made([A, B], lambda i, j: A[i, j] + B[i, j]),
    "bias": made([A, V], lambda i, j: A[i, j] + V[j]),
    "transpose": made([A], lambda i, j: A[j, i]),
    "matmul": product(),
    "total": total(),
}


@pytest.mark.parametrize(
    ("func", "kind"),
    [
        (PROGRAMS["relu"], "ELEM_WISE"), (PROGRAMS["add"], "ELEM_WISE"), (PROGRAMS["bias"], "BROADCAST"),
        (PROGRAMS["transpose"], "INJECTIVE"), (PROGRAMS["matmul"], "OUT_EWISE_FUSABLE"),
        (PROGRAMS["total"], "COMM_REDUCE"), (largest(), "COMM_REDUCE"), (product_and_bias(), "OUT_EWISE_FUSABLE"),
        (made([ROW], lambda i, j: ROW[0, j]), "BROADCAST"), (made([ROW], lambda i, j: ROW[0, i]), "BROADCAST"),
        (made([A], lambda i, j: A[0, j]), "INJECTIVE"),
        (made([A], lambda i, j: A[N - 1 - i, j]), "INJECTIVE"), (made([V], lambda i, j: V[i]), "BROADCAST"),
        (made([A, V], lambda i, j: A[call("if_then_else", V[i] > 0, i, 0), j]), "OPAQUE"),
        (made([A], lambda i, j: A[i, i]), "INJECTIVE"), (made([], lambda i, j: const(1)), "ELEM_WISE"),
    ],
)  # fmt: skip
def test_kinds_of_operators(func, kind):
    assert op_pattern(func) is OpPatternKind[kind]


def test_a_kind_that_is_said_stays():
    said = PROGRAMS["relu"].with_attr("op_pattern", 8)
    annotated = transform.AnnotateTIROpPattern()(IRModule({"relu": said, "add": PROGRAMS["add"]}))
    assert [func.attrs["op_pattern"] for func in annotated.functions.values()] == [8, 0]


def module_of(*steps, outputs=()):
    """A graph ``name = program(operands)``; x, y and w are parameters, the last name is returned."""
    shapes = {"x": (N, N), "y": (N, N), "w": (N,)}
    params = {name: graph.Var(name, graph.TensorStructInfo(shape, "int32")) for name, shape in shapes.items()}
    values, bindings = dict(params), []
    for name, program, operands in steps:
        info = graph.TensorStructInfo(PROGRAMS[program].params[-1].shape, "int32")
        kind = graph.Var if name in (*outputs, steps[-1][0]) else graph.DataflowVar
        values[name] = kind(name, info)
        value = graph.call_tir(GlobalVar(program), [values[operand] for operand in operands], info)
        bindings.append(graph.VarBinding(values[name], value))
    last = [values[name] for name in (*outputs, steps[-1][0])]
    body = graph.SeqExpr((graph.DataflowBlock(tuple(bindings)),), graph.Tuple(last) if outputs else last[0])
    main = graph.Function(tuple(params.values()), body, body.struct_info).with_attr("global_symbol", "main")
    return IRModule({**PROGRAMS, "main": main})


ARRAYS = [np.arange(16, dtype="int32").reshape(N, N) - 7, np.arange(16, dtype="int32").reshape(N, N)[::-1] * 3 - 9,
          np.arange(4, dtype="int32") - 2]  # fmt: skip


def run(module):
    found = interpret_graph(module, *ARRAYS)
    return [item.tolist() for item in (found if isinstance(found, tuple) else (found,))]


def calls_of(module, name="main"):
    """What each binding calls."""
    values = [binding.value for binding in module[name].bindings()]
    callees = [value.op if isinstance(value.op, GlobalVar) else value.args[0] for value in values]
    return [callee.name_hint if isinstance(callee, GlobalVar) else callee.global_symbol for callee in callees]


def grouped(module):
    return transform.Sequential([transform.AnnotateTIROpPattern(), transform.FuseOps()])(module)


LINEAR = [("a", "matmul", "xy"), ("b", "bias", "aw"), ("c", "relu", "b")]


@pytest.mark.parametrize(
    ("steps", "expected"),
    [
        (LINEAR, ["fused_matmul_bias_relu"]),
        ([*LINEAR, ("d", "matmul", "cy")], ["fused_matmul_bias_relu", "matmul"]),
        ([*LINEAR, ("d", "matmul", "cy"), ("e", "relu", "d")], ["fused_matmul_bias_relu", "fused_matmul_relu"]),
        ([("a", "relu", "x"), ("b", "matmul", "ay")], ["relu", "matmul"]),
        ([("a", "relu", "x"), ("b", "total", "a")], ["fused_relu_total"]),
        ([("a", "matmul", "xy"), ("b", "transpose", "a")], ["matmul", "transpose"]),
        ([("a", "transpose", "x"), ("b", "transpose", "a")], ["fused_transpose_transpose"]),
        ([("a", "relu", "x"), ("b", "relu", "a"), ("c", "transpose", "a"), ("d", "add", "bc")],
         ["fused_relu_relu_transpose_add"]),
        ([("a", "relu", "x"), ("b", "transpose", "a"), ("c", "add", "ab"), ("d", "total", "c")],
         ["fused_relu_transpose_add_total"]),
        ([("a", "matmul", "xy"), ("b", "relu", "a"), ("c", "add", "ab")], ["fused_matmul_relu_add"]),
        ([("a", "matmul", "xy"), ("b", "total", "a"), ("c", "bias", "ab")], ["matmul", "total", "bias"]),
        ([("a", "matmul", "xy"), ("b", "matmul", "yx"), ("c", "add", "ab")], ["fused_matmul_add", "matmul"]),
    ],
)  # fmt: skip
def test_what_is_fused(steps, expected):
    module = module_of(*steps)
    after = grouped(module)
    assert sorted(calls_of(after)) == sorted(expected)
    assert run(after) == run(module)
    one = transform.Sequential([transform.FuseTIR(), transform.DeadCodeElimination(["main"])])(after)
    assert run(one) == run(module)
    assert len(one.prim_funcs()) == len(set(expected))


def test_results_of_the_block_are_computed():
    module = module_of(*LINEAR, outputs=["b"])
    after = grouped(module)
    assert calls_of(after) == ["fused_matmul_bias", "relu"]
    assert run(after) == run(module)


def test_opaque_programs_stay():
    module = module_of(*LINEAR)
    module.update_func("bias", PROGRAMS["bias"].with_attr("op_pattern", 8))
    assert calls_of(grouped(module)) == ["matmul", "bias", "relu"]
    packed = module_of(*LINEAR)
    text = packed.script().replace("R.call_tir(cls.relu, (b,)", 'R.call_dps_packed("env.relu", (b,)')
    assert calls_of(grouped(from_source(text))) == ["fused_matmul_bias", "env.relu"]


def test_a_fused_program_has_each_name_once_and_memory_between():
    fused = relax.get_pipeline("zero")(module_of(*LINEAR))
    (program,) = fused.prim_funcs().values()
    names = [block.name for block in blocks_in(program.body)]
    assert len(set(names)) == len(names) == 4
    assert [buffer.name for buffer in program.root.alloc_buffers] == ["a", "b"]
    assert [param.name for param in program.params] == ["x", "y", "w", "c"]
    assert program.noalias
    assert_structural_equal(from_source(fused.script()), fused)


def test_only_programs_without_aliases_make_one():
    module = module_of(*LINEAR)
    module.update_func("bias", PROGRAMS["bias"].without_attr("tir.noalias"))
    (program,) = relax.get_pipeline("zero")(module).prim_funcs().values()
    assert not program.noalias


def test_programs_that_write_to_an_input_stay():
    text = """
@T.prim_func
def main(A: T.Buffer((4, 4), "int32"), Y: T.Buffer((4, 4), "int32")):
    for i, j in T.grid(4, 4):
        with T.block("A"):
            vi, vj = T.axis.remap("SS", [i, j])
            A[vi, vj] = 1
    for i, j in T.grid(4, 4):
        with T.block("Y"):
            vi, vj = T.axis.remap("SS", [i, j])
            Y[vi, vj] = A[vi, vj]
"""
    func = from_source(text)
    assert not can_be_fused(func, 1)
    assert not can_be_fused(func, 0)
    assert can_be_fused(from_source(text.replace("A[vi, vj] = 1", "Y[vi, vj] = 1")), 1)


def test_the_machine_runs_what_is_not_yet_one_program():
    after = grouped(module_of(*LINEAR))
    assert VirtualMachine(compile_module(after))["main"](*ARRAYS).numpy().tolist() == run(after)[0]


def test_functions_that_call_others_stay():
    text = grouped(module_of(*LINEAR)).script()
    text = text.replace("R.call_tir(cls.relu, (b,)", 'R.call_dps_packed("env.relu", (b,)')
    kept = transform.FuseTIR()(from_source(text))
    assert calls_of(kept) == ["fused_matmul_bias_relu"]
    assert "Primitive" in kept["fused_matmul_bias_relu"].attrs


CALLER = """
class Module:
    @R.function(private=True)
    def pair(x: R.Tensor(("n", 2), "int32"), y: R.Tensor((2,), "int32")) -> R.Tuple(R.Tensor((2,), "int32"), R.Tensor(("n", 2), "int32")):
        return y, x

    @R.function
    def main(x: R.Tensor((3, "m"), "int32"), z: R.Tensor(("m", 2), "int32"), y: R.Tensor((2,), "int32")):
        m = T.int64()
        cls = Module
        a: R.Tuple(R.Tensor((2,), "int32"), R.Tensor((m, 2), "int32")) = cls.pair(z, y)
        return a[1], x
"""  # noqa: E501


def test_graph_functions_call_each_other():
    module = from_source(CALLER)
    relax.wellformed_graph(module)
    assert_structural_equal(from_source(module.script()), module)
    arrays = np.zeros((3, 5), "int32"), np.arange(10, dtype="int32").reshape(5, 2), np.zeros(2, "int32")
    assert interpret_graph(module, *arrays)[0].tolist() == arrays[1].tolist()
    assert VirtualMachine(compile_module(module))["main"](*arrays)[0].numpy().tolist() == arrays[1].tolist()


def test_dimensions_pass_through_several_calls():
    module = from_source("""
class Module:
    @T.prim_func
    def ones(a: T.handle, b: T.handle):
        k = T.int64()
        A = T.match_buffer(a, (k,), "int32")
        B = T.match_buffer(b, (k, k), "int32")
        for i, j in T.grid(k, k):
            with T.block("B"):
                vi, vj = T.axis.remap("SS", [i, j])
                B[vi, vj] = A[vi]

    @R.function(private=True)
    def inner(x: R.Tensor(("k",), "int32")):
        k = T.int64()
        cls = Module
        a = R.call_tir(cls.ones, (x,), R.Tensor((k, k), "int32"))
        return a

    @R.function(private=True)
    def middle(x: R.Tensor(("n",), "int32")):
        n = T.int64()
        cls = Module
        a: R.Tensor((n, n), "int32") = cls.inner(x)
        return a

    @R.function
    def main(x: R.Tensor(("m",), "int32")):
        m = T.int64()
        cls = Module
        a: R.Tensor((m, m), "int32") = cls.middle(x)
        return a
""")
    x = np.arange(3, dtype="int32")
    expected = interpret_graph(module, x).tolist()
    assert expected == [[0, 0, 0], [1, 1, 1], [2, 2, 2]]
    assert VirtualMachine(compile_module(module))["main"](x).numpy().tolist() == expected


@pytest.mark.parametrize(
    ("old", "new", "error", "match"),
    [
        ("cls.pair(z, y)", "cls.pair(z)", ScriptError, "takes 2 arguments, got 1"),
        ("cls.pair(z, y)", "cls.pair(x, y)", ScriptError, r"a is R\.Tuple\(.*\(3, 2\).* not R\.Tuple"),
        ("cls.pair(z, y)", "cls.pear(z, y)", ScriptError, "pear"),
        ("cls.pair(z, y)", "cls.main(x, z, y)", WellformedError, "calls it"),
        ('((2,), "int32"), R.Tensor((m, 2), "int32")) =', '((2,), "int32"), R.Tensor((m, 3), "int32")) =',
         ScriptError, r"a is R\.Tuple\(.*\(m, 2\).* not R\.Tuple"),
        ("cls.pair(z, y)", "cls.pair(x=z, y=y)", ScriptError, "plain arguments only"),
    ],
)  # fmt: skip
def test_wrong_calls_of_graph_functions(old, new, error, match):
    with pytest.raises(error, match=match):
        relax.wellformed_graph(from_source(CALLER.replace(old, new)))


def test_a_call_of_a_graph_function_says_what_it_returns():
    text = CALLER.replace('a: R.Tuple(R.Tensor((2,), "int32"), R.Tensor((m, 2), "int32")) =', "a =")
    assert_structural_equal(from_source(text), from_source(CALLER))
    with pytest.raises(MlcrefError, match="does not say what it is"):
        from_source(text.replace(' -> R.Tuple(R.Tensor((2,), "int32"), R.Tensor(("n", 2), "int32"))', ""))


def test_the_oracle_misses_a_graph_function():
    module = from_source(CALLER)
    alone = IRModule({"main": module["main"]})
    with pytest.raises(OracleError, match="'pair' is no graph function"):
        interpret_graph(alone, np.zeros((3, 5), "int32"), np.zeros((5, 2), "int32"), np.zeros(2, "int32"))
    with pytest.raises(WellformedError, match="no graph function 'pair'"):
        relax.wellformed_graph(alone)


LAYERS = """
@I.ir_module
class Module:
    @R.function
    def main(x: R.Tensor((7, 12), "float32"), w: R.Tensor((10, 12), "float32"), b: R.Tensor((10,), "float32")):
        with R.dataflow():
            turned = R.permute_dims(w)
            product = R.matmul(x, turned)
            total = R.add(product, b)
            out = R.nn.relu(total)
            R.output(out)
        return out
"""


def test_operators_become_one_scheduled_program():
    generator = np.random.default_rng(0)
    x, w, b = (generator.integers(-3, 4, shape).astype("float32") for shape in ((7, 12), (10, 12), (10,)))
    bound = transform.BindParams("main", {"w": w, "b": b})(from_source(LAYERS))
    made = relax.get_pipeline("autoschedule", target="cython --num-cores=1")(bound)
    assert calls_of(made) == ["fused_matmul_add_relu"]
    expected = np.maximum(x @ w.T + b, 0)
    assert np.array_equal(interpret_graph(made, x), expected)
    assert np.array_equal(VirtualMachine(compile_module(made))["main"](x).numpy(), expected)


def test_programs_with_indices_of_different_types_stay():
    wide = from_source(PROGRAMS["bias"].script().replace("T.grid(4, 4)", "T.grid(T.int64(4), T.int64(4))"))
    module = module_of(*LINEAR)
    module.update_func("bias", wide)
    after = grouped(module)
    assert calls_of(after) == ["matmul", "bias", "relu"]
    assert run(after) == run(module)


def test_groups_that_are_the_same_share_a_function():
    bb = relax.BlockBuilder()
    x = relax.Var("x", relax.TensorStructInfo((4, 4), "float32"))
    v = relax.Var("v", relax.TensorStructInfo((4,), "float32"))
    with bb.function("main", [x, v]):
        with bb.dataflow():
            y = x
            for weight in (1.0, 2.0, 3.0):
                y = bb.emit(relax.op.matmul(y, relax.const(np.full((4, 4), weight, "float32"))))
                y = bb.emit(relax.op.nn.relu(bb.emit(relax.op.add(y, v))))
            y = bb.emit(relax.op.matmul(y, x))
            out = bb.emit_output(relax.op.nn.relu(bb.emit(relax.op.add(y, y))))
        bb.emit_func_output(out)
    module = bb.get()
    fused = relax.get_pipeline("zero")(module)
    assert sorted(fused.functions) == ["fused_matmul_add1_relu", "fused_matmul_add_relu", "main"]
    data = [np.arange(16, dtype="float32").reshape(4, 4) - 7, np.float32([1, -2, 3, -4])]
    assert interpret_graph(fused, *data).tolist() == interpret_graph(module, *data).tolist()
