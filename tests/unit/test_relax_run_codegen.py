"""Libraries for parts of a graph, by example: what they get, what becomes of what they return, and who checks it."""

import numpy as np
import pytest

from mlcref import get_global_func, list_global_func_names, register_global_func, relax, remove_global_func
from mlcref.contrib import blas
from mlcref.contrib.c_kernel import c_kernel
from mlcref.driver.graph import compile_graph
from mlcref.errors import MlcrefError, OracleError, TypeMismatch, UnsupportedError
from mlcref.interp.graph import interpret_graph
from mlcref.ir import GlobalVar, IRModule, Target, Var, graph
from mlcref.relax import transform
from mlcref.relax.dpl import is_op, is_tuple_get_item, wildcard
from mlcref.relax.run_codegen import LibraryFunction, register_library
from mlcref.runtime import oracle_backend, why_no_compiler
from mlcref.runtime.vm import VirtualMachine
from mlcref.script import from_source
from mlcref.testing.libraries import check_library_result

NET = from_source("""
@I.ir_module
class Module:
    @R.function
    def main(x: R.Tensor((2, 3), "float32"), w: R.Tensor((3, 4), "float32")):
        with R.dataflow():
            a = R.matmul(x, w)
            b = R.nn.relu(a)
            c = R.negative(b)
            R.output(c)
        return c
""")
X, W = (np.random.default_rng(0).integers(-3, 4, shape).astype("float32") for shape in ((2, 3), (3, 4)))
ROUNDED = [np.random.default_rng(shape[0]).normal(size=shape).astype("float32") for shape in ((2, 3), (3, 4))]


def op(name, *parts):
    return is_op(f"relax.{name}")(*(parts or (wildcard(), wildcard())))


def dense():
    return op("nn.relu", op("matmul"))


def offloaded(module, pattern, library="mylib", *, merge=False, **options):
    """``module`` with what matches ``pattern`` done by ``library``."""
    fused = transform.FuseOpsByPattern([(f"{library}.f", pattern)], annotate_codegen=not merge)(module)
    fused = transform.MergeCompositeFunctions()(fused) if merge else fused
    result = transform.RunCodegen(**options)(fused)
    relax.wellformed_graph(result)
    return result


@pytest.fixture
def library():
    """Registers a library as "mylib", and forgets it with all its functions."""

    def register(function):
        register_library("mylib", override=True)(function)
        return function

    yield register
    for name in list_global_func_names():
        if name == "relax.ext.mylib" or isinstance(get_global_func(name, allow_missing=True), LibraryFunction):
            remove_global_func(name)


def matmul_relu(x, w, out):
    np.maximum(x @ w, 0, out=out)


def called(module):
    return [
        value.args[0].global_symbol if value.op == graph.CALL_DPS_PACKED else
        value.op.name_hint if isinstance(value.op, GlobalVar) else value.op.name
        for value in (binding.value for binding in module["main"].bindings()) if isinstance(value, relax.Call)
    ]  # fmt: skip


def run(module, *arguments):
    """The module in the virtual machine, its tensor programs in the oracle."""
    result = VirtualMachine(compile_graph(module, Target("cython"), oracle_backend.build))["main"](*arguments)
    return [item.numpy() for item in result] if isinstance(result, tuple) else result.numpy()


def test_a_library_gets_the_function_and_is_called(library):
    seen = []

    @library
    def mylib(func, **options):
        seen.append((func, options))
        return matmul_relu

    after = offloaded(NET, dense(), target_options={"mylib": {"threads": 2}})
    ((func, options),) = seen
    assert func.attrs["Composite"] == "mylib.f"
    assert [param.name_hint for param in func.params] == ["x", "w"]
    assert options == {"threads": 2}
    assert called(after) == ["fused_relax_matmul_relax_nn_relu_mylib", "relax.negative"]
    assert list(after) == ["main"], "what is not called any more is gone"
    expected = interpret_graph(NET, X, W)
    assert np.array_equal(interpret_graph(after, X, W), expected)
    assert np.array_equal(run(after, X, W), expected)


def test_the_oracle_checks_what_a_library_computes(library):
    @library
    def mylib(func):
        def another_order(x, w, out):
            out[...] = np.maximum(sum(x[:, k : k + 1] * w[k] for k in (2, 0, 1)), 0)

        return another_order

    exact, rounded = interpret_graph(NET, *ROUNDED), interpret_graph(offloaded(NET, dense()), *ROUNDED)
    assert not np.array_equal(exact, rounded), "within the bound"
    library(lambda func: lambda x, w, out: np.multiply(np.maximum(x @ w, 0), np.float32(1.00001), out=out))
    wrong = offloaded(NET, dense())
    with pytest.raises(OracleError, match=r"fused_relax_matmul_relax_nn_relu_mylib\w*: the result at \[.*\] is "):
        interpret_graph(wrong, *ROUNDED)
    assert not np.array_equal(run(wrong, *ROUNDED), exact), "the machine only runs it"
    library(lambda func: lambda x, w, out: None)
    with pytest.raises(OracleError, match=r"\[0, 0\] is nan, the graph function says"):
        interpret_graph(offloaded(NET, dense()), X, W)

    @library
    def greedy(func):
        def change_an_input(x, w, out):
            matmul_relu(x, w, out)
            x[...] = 0

        return change_an_input

    with pytest.raises(OracleError, match="changes its input 0"):
        interpret_graph(offloaded(NET, dense()), X, W)


def test_integers_are_compared_exactly():
    x = relax.Var("x", relax.TensorStructInfo((2,), "int32"))
    func = relax.Function([x], relax.op.add(x, x))
    check_library_result("f", func, [np.int32([1, 2])], [np.int32([2, 4])])
    with pytest.raises(OracleError, match=r"f: the result at \[1\] is 5, the graph function says 4"):
        check_library_result("f", func, [np.int32([1, 2])], [np.int32([2, 5])])


def test_what_has_no_bound_must_be_equal():
    x = relax.Var("x", relax.TensorStructInfo((2,), "float32"))
    func = relax.Function([x], relax.op.acosh(x))
    exact = interpret_graph(func, np.float32([1, 2]))
    check_library_result("f", func, [np.float32([1, 2])], [exact])
    with pytest.raises(UnsupportedError, match=r"no rule bounds relax\.acosh"):
        check_library_result("f", func, [np.float32([1, 2])], [exact + np.float32(1e-6)])


def test_a_registered_function_of_runtime_tensors(library):
    library(lambda func: "tests.matmul_relu")
    types = []

    def packed(x, w, out):
        types.append(type(out).__name__)
        out.copyfrom(np.maximum(x.numpy() @ w.numpy(), 0))

    register_global_func("tests.matmul_relu", packed, override=True)
    try:
        after = offloaded(NET, dense())
        assert np.array_equal(run(after, X, W), interpret_graph(after, X, W))
        assert types == ["HostTensor", "NDArray"] or types == ["NDArray", "HostTensor"]
    finally:
        remove_global_func("tests.matmul_relu")


def test_a_tensor_program_is_compiled_with_the_module(library):
    program = from_source("""
@T.prim_func
def main(X: T.Buffer((2, 3), "float32"), W: T.Buffer((3, 4), "float32"), Y: T.Buffer((2, 4), "float32")):
    for i, j in T.grid(2, 4):
        for k in range(3):
            with T.block("Y"):
                vi, vj, vk = T.axis.remap("SSR", [i, j, k])
                with T.init():
                    Y[vi, vj] = T.float32(0)
                Y[vi, vj] = Y[vi, vj] + X[vi, vk] * W[vk, vj]
        with T.block("R"):
            vi, vj = T.axis.remap("SS", [i, j])
            Y[vi, vj] = T.max(Y[vi, vj], T.float32(0))
""")
    library(lambda func: program)
    after = offloaded(NET, dense())
    main, name = after
    assert (main, name.startswith("fused_relax_matmul_relax_nn_relu_mylib")) == ("main", True)
    assert next(after["main"].bindings()).value.op == graph.CALL_TIR
    assert np.array_equal(interpret_graph(after, X, W), interpret_graph(NET, X, W))
    assert np.array_equal(run(after, X, W), interpret_graph(NET, X, W))


def test_a_library_that_makes_nothing_leaves_the_function(library):
    library(lambda func: None)
    after = offloaded(NET, dense())
    assert called(after) == ["fused_relax_matmul_relax_nn_relu", "relax.negative"]
    assert list(after) == ["main", "fused_relax_matmul_relax_nn_relu"]
    assert np.array_equal(interpret_graph(after, X, W), interpret_graph(NET, X, W))
    zero = relax.get_pipeline("zero")(after)
    assert not any("Composite" in func.attrs for func in zero.functions.values())


def test_equal_functions_are_asked_for_once(library):
    asked = []

    @library
    def mylib(func):
        asked.append(func)
        return matmul_relu

    first, second = offloaded(NET, dense()), offloaded(NET, dense())
    assert called(first) == called(second)
    assert len(asked) == 1
    (name,) = called(first)[:1]
    remove_global_func(name)
    assert called(offloaded(NET, dense())) == called(first)
    assert len(asked) == 2
    wider = transform.BindParams("main", {"w": W})(NET)
    assert called(offloaded(wider, dense()))[0] != name, "another function, another name"
    library(lambda func: matmul_relu)
    assert called(offloaded(NET, dense()))[0] != name, "and so for another library under the same name"


SYMBOLIC = from_source("""
@I.ir_module
class Module:
    @R.function
    def main(x: R.Tensor(("n", "m"), "int32"), y: R.Tensor(("k", 2), "int32")):
        n, m, k = T.int64(), T.int64(), T.int64()
        with R.dataflow():
            a = R.negative(x)
            b = R.reshape(a, R.shape([n * m]))
            c = R.negative(y)
            d = R.reshape(c, R.shape([k * 2]))
            R.output(a, b, d)
        return (a, b, d)
""")


@pytest.mark.parametrize("merge", [False, True])
def test_symbolic_dimensions_and_several_results(library, merge):
    shapes = []

    @library
    def mylib(func):
        shapes.append([str(param.struct_info) for param in func.params])

        def compute(x, *results):
            for result in results:
                result[...] = -x.reshape(result.shape)

        return compute

    after = offloaded(SYMBOLIC, op("reshape", op("negative", wildcard()), wildcard()), merge=merge)
    assert len(shapes) == 2
    x, y = np.arange(6, dtype="int32").reshape(2, 3), np.arange(8, dtype="int32").reshape(4, 2)
    for results in (interpret_graph(after, x, y), run(after, x, y)):
        assert [item.tolist() for item in results] == [(-x).tolist(), (-x).ravel().tolist(), (-y).ravel().tolist()]


def test_dimensions_are_given_as_a_shape(library):
    module = from_source("""
@I.ir_module
class Module:
    @R.function
    def main(x: R.Tensor(("n * m",), "int32"), y: R.Tensor(("n", "m"), "int32")):
        n, m = T.int64(), T.int64()
        with R.dataflow():
            a = R.negative(x)
            b = R.reshape(a, R.shape([m, n]))
            R.output(b)
        return b
""")
    given = []

    @library
    def mylib(func):
        def compute(x, dims, out):
            given.append(dims)
            out[...] = -x.reshape(out.shape)

        return compute

    after = offloaded(module, op("reshape", op("negative", wildcard()), wildcard()))
    x, y = np.arange(6, dtype="int32"), np.zeros((2, 3), "int32")
    assert interpret_graph(after, x, y).tolist() == run(after, x, y).tolist() == [[0, -1], [-2, -3], [-4, -5]]
    assert [sorted(dims) for dims in given] == [[2, 3]] * 2


def test_merged_calls_stand_in_the_caller(library):
    library(lambda func: {"a": matmul_only, "b": relu_only}[func.attrs["Composite"][-1]])
    patterns = [("mylib.a", op("matmul")), ("mylib.b", op("nn.relu", wildcard()))]
    merged = transform.MergeCompositeFunctions()(transform.FuseOpsByPattern(patterns)(NET))
    after = transform.RunCodegen()(merged)
    relax.wellformed_graph(after)
    assert called(after) == ["fused_relax_matmul_mylib", "fused_relax_nn_relu_mylib", "relax.negative"]
    assert list(after) == ["main"]
    assert np.array_equal(interpret_graph(after, X, W), interpret_graph(NET, X, W))


def matmul_only(x, w, out):
    np.matmul(x, w, out=out)


def relu_only(x, out):
    np.maximum(x, 0, out=out)


def test_a_function_for_a_library_without_composites(library):
    module = from_source("""
@I.ir_module
class Module:
    @R.function
    def twice(x: R.Tensor((2,), "int32")) -> R.Tensor((2,), "int32"):
        R.func_attr({"Codegen": "mylib"})
        y = R.add(x, x)
        return y

    @R.function
    def main(x: R.Tensor((2,), "int32")) -> R.Tensor((2,), "int32"):
        cls = Module
        y: R.Tensor((2,), "int32") = cls.twice(x)
        return y
""")
    library(lambda func: lambda x, out: np.add(x, x, out=out))
    after = transform.RunCodegen()(module)
    assert list(after) == ["main"]
    assert interpret_graph(after, np.int32([1, 2])).tolist() == [2, 4]


def test_only_the_entry_functions_call_the_library(library):
    library(lambda func: matmul_relu)
    module = IRModule({"main": NET["main"], "other": NET["main"].with_attr("global_symbol", "other")})
    fused = transform.FuseOpsByPattern([("mylib.f", dense())], annotate_codegen=True)(module)
    after = transform.RunCodegen(entry_functions=["other"])(fused)
    assert called(after)[0] == "fused_relax_matmul_relax_nn_relu_mylib"
    assert next(after["other"].bindings()).value.op == graph.CALL_DPS_PACKED
    assert {"main", "other"} < set(after), "main still calls the graph function"


def test_what_is_refused(library):
    with pytest.raises(MlcrefError, match="no library is registered as 'nolib'"):
        offloaded(NET, dense(), "nolib")
    with pytest.raises(MlcrefError, match="no library is registered as 'nolib'"):
        transform.RunCodegen({"nolib": {}})(NET)
    with pytest.raises(MlcrefError, match=r"'my\.lib' is no name of a library"):
        register_library("my.lib")
    library(lambda func: 3)
    with pytest.raises(TypeMismatch, match="the library mylib returns int, no function"):
        offloaded(NET, dense())
    library(lambda func: "tests.unknown")
    with pytest.raises(MlcrefError, match=r"no function is registered as 'tests\.unknown'"):
        offloaded(NET, dense())
    with pytest.raises(MlcrefError, match="is registered already"):
        register_library("mylib")(lambda func: None)
    parts = from_source("""
@I.ir_module
class Module:
    @R.function
    def main(x: R.Tensor((4,), "int32")):
        with R.dataflow():
            a = R.split(x, 2)
            b = a[0]
            c = R.negative(b)
            R.output(c)
        return c
""")
    library(lambda func: relu_only)
    with pytest.raises(UnsupportedError, match="a, which the library mylib would be given, is no tensor"):
        offloaded(parts, op("negative", is_tuple_get_item(wildcard())))
    nested = from_source(parts.script().replace("output(c)", "output(a, c)").replace("return c", "return a, c")
                         .replace('-> R.Tensor((2,), dtype="int32")', ""))  # fmt: skip
    with pytest.raises(UnsupportedError, match="would have to make something else than a tensor"):
        offloaded(nested, op("negative", is_tuple_get_item(op("split", wildcard()))))
    cast = from_source("""
@I.ir_module
class Module:
    @R.function
    def f(x: R.Tensor("int32", ndim=1)) -> R.Tensor((2,), "int32"):
        R.func_attr({"Codegen": "mylib"})
        y = R.match_cast(x, R.Tensor((2,), "int32"))
        return y

    @R.function
    def main(x: R.Tensor("int32", ndim=1)) -> R.Tensor((2,), "int32"):
        cls = Module
        y: R.Tensor((2,), "int32") = cls.f(x)
        return y
""")
    with pytest.raises(UnsupportedError, match="a match_cast in a function for the library mylib"):
        transform.RunCodegen()(cast)


MLP = from_source("""
@I.ir_module
class Module:
    @R.function
    def main(x: R.Tensor(("n", 5), "float32"), w: R.Tensor((4, 5), "float32"), v: R.Tensor((4, 3), "float32")):
        n = T.int64()
        with R.dataflow():
            t = R.permute_dims(w)
            a = R.matmul(x, t)
            b = R.add(a, R.const([1.0, 2.0, 3.0, 4.0]))
            c = R.nn.relu(b)
            d = R.matmul(c, v)
            e = R.abs(d)
            f = R.matmul(e, R.permute_dims(R.permute_dims(e, axes=[0, 1]), axes=[1, 0]))
            g = R.add(f, f)
            R.output(g, f)
        return (g, f)
""")


def test_blas_takes_products_with_what_follows():
    after = blas.offload(MLP)
    names = [name.removeprefix("fused_").replace("relax_", "").partition("_blas")[0] for name in called(after)]
    assert names == [
        "permute_dims_matmul_add_nn_relu", "matmul", "relax.abs", "relax.permute_dims", "permute_dims_matmul",
        "relax.add",
    ]  # fmt: skip
    rng = np.random.default_rng(2)
    arguments = [rng.integers(-3, 4, shape).astype("float32") for shape in ((6, 5), (4, 5), (4, 3))]
    expected = interpret_graph(MLP, *arguments)
    for results in (interpret_graph(after, *arguments), run(after, *arguments)):
        for a, b in zip(results, expected, strict=True):
            assert np.array_equal(a, b)


@pytest.mark.parametrize(
    ("body", "taken"),
    [
        ("R.matmul(x, y)", 1),
        ("R.matmul(x, R.astype(y, 'float32'))", 1),
        ("R.matmul(R.astype(x, 'int32'), R.astype(y, 'int32'))", 0),
        ("R.matmul(x, y, out_dtype='float64')", 0),
        ("R.matmul(x, R.reshape(R.const([1.0, 2.0, 3.0]), R.shape([3])))", 0),
        ("R.add(R.matmul(x, y), R.reshape(x, R.shape([2, 1, 3])))", 1),
    ],
)
def test_what_blas_takes(body, taken):
    func = from_source(f"""
@R.function
def main(x: R.Tensor((2, 3), "float32"), y: R.Tensor((3, 3), "float32")):
    with R.dataflow():
        a = {body}
        R.output(a)
    return a
""")
    before = relax.transform.Normalize()(IRModule({"main": func}))
    after = blas.offload(before)
    assert sum("_blas" in name for name in called(after)) == taken
    x, y = np.arange(6, dtype="float32").reshape(2, 3), np.arange(9, dtype="float32").reshape(3, 3)
    assert np.array_equal(interpret_graph(after, x, y), interpret_graph(before, x, y))


@pytest.mark.skipif(why_no_compiler() is not None, reason="no compiler")
def test_a_function_of_c(library):
    source = """
#include <stdint.h>
void dense(const float *x, const float *w, float *y, int64_t n) {
    for (int64_t i = 0; i < n; ++i)
        for (int j = 0; j < 4; ++j) {
            float sum = 0;
            for (int k = 0; k < 3; ++k) sum += x[i * 3 + k] * w[k * 4 + j];
            y[i * 4 + j] = sum > 0 ? sum : 0;
        }
}
"""
    module = from_source(NET.script().replace("(2, 3)", '("n", 3)').replace("(2, 4)", '("n", 4)').replace(
        "with R.dataflow", "n = T.int64()\n        with R.dataflow", 1
    ).replace('lv: R.Tensor(("n", 4)', 'lv: R.Tensor((n, 4)'))  # fmt: skip
    library(lambda func: c_kernel(func, "dense", source))
    after = offloaded(module, dense())
    assert np.array_equal(interpret_graph(after, X, W), interpret_graph(NET, X, W))
    assert np.array_equal(run(after, X, W), interpret_graph(NET, X, W))
    library(lambda func: c_kernel(func, "sparse", source))
    with pytest.raises(UnsupportedError, match="'sparse', which no imported C text defines"):
        offloaded(module, dense())


@pytest.mark.skipif(why_no_compiler() is not None, reason="no compiler")
def test_a_function_of_c_that_is_given_dimensions():
    x = relax.Var("x", relax.TensorStructInfo((4,), "float32"))
    dims = relax.Var("dims", relax.ShapeStructInfo([Var("n", "int64")]))
    func = relax.Function([x, dims], relax.op.negative(x))
    text = "void f(const float *x, float *y, long n) { for (int i = 0; i < 4; ++i) y[i] = n * x[i]; }"
    y = np.empty(4, "float32")
    c_kernel(func, "f", text)(np.float32([1, 2, 3, 4]), (3,), y)
    assert y.tolist() == [3, 6, 9, 12]
    pair = relax.Var("p", relax.TupleStructInfo([x.struct_info]))
    with pytest.raises(UnsupportedError, match="f: a C function takes tensors of known shape and shapes"):
        c_kernel(relax.Function([pair], relax.TupleGetItem(pair, 0)), "f", text)
