"""The code of the slides "Tensor Program Abstraction" (Machine Learning Compilation, summer 2022)."""
# ruff: noqa: UP031

import numpy as np
import pytest

import mlcref as tvm
from mlcref import te
from mlcref.script import tir as T

a_np = np.arange(128, dtype="float32")
b_np = np.ones(128, dtype="float32")


# ---- Vector add: Python, tensor expression, TVMScript


def add(a: np.ndarray, b: np.ndarray, c: np.ndarray):
    for i in range(128):
        c[i] = a[i] + b[i]


def test_vector_add_in_python():
    c_np = np.empty(128, dtype="float32")
    add(a_np, b_np, c_np)
    np.testing.assert_array_equal(c_np, a_np + b_np)


@tvm.script.ir_module
class MyModule:
    @T.prim_func
    def main(A: T.Buffer[128, "float32"],
             B: T.Buffer[128, "float32"],
             C: T.Buffer[128, "float32"]):
        # extra annotations for the function
        T.func_attr({"global_symbol": "main", "tir.noalias": True})
        for i in range(128):
            with T.block("C"):
                # declare a data parallel iterator on spatial domain
                vi = T.axis.spatial(128, i)
                C[vi] = A[vi] + B[vi]


@tvm.script.ir_module
class MyModuleWithTupleShapes:
    @T.prim_func
    def main(A: T.Buffer[(128,), "float32"],
             B: T.Buffer[(128,), "float32"],
             C: T.Buffer[(128,), "float32"]):
        T.func_attr({"global_symbol": "main", "tir.noalias": True})
        for i in range(128):
            with T.block("C"):
                vi = T.axis.spatial(128, i)
                C[vi] = A[vi] + B[vi]


def test_vector_add_by_tensor_expression():
    A = te.placeholder((128,), name="A")
    B = te.placeholder((128,), name="B")
    C = te.compute((128,), lambda i: A[i] + B[i], name="C")
    func = te.create_prim_func([A, B, C])
    # mark the function name of the generated TensorIR
    func = func.with_attr("global_symbol", "main")
    ir_mod_from_te = tvm.IRModule({"main": func})
    tvm.ir.assert_structural_equal(ir_mod_from_te, MyModule)


def test_show(capsys: pytest.CaptureFixture[str]):
    MyModule.show()
    assert 'with T.block("C"):' in capsys.readouterr().out


def test_both_spellings_of_a_shape():
    tvm.ir.assert_structural_equal(MyModule, MyModuleWithTupleShapes)
    assert type(MyModule) is tvm.IRModule
    assert 'A: T.Buffer((128,), "float32")' in MyModule.script()


def run_vector_add(module) -> np.ndarray:
    rt_mod = tvm.build(module, target="llvm")  # The module for CPU backends.
    func = rt_mod["main"]
    a = tvm.nd.array(np.arange(128, dtype="float32"))
    b = tvm.nd.array(np.ones(128, dtype="float32"))
    c = tvm.nd.empty((128,), dtype="float32")
    func(a, b, c)
    return c.numpy()


def test_build_and_run():
    np.testing.assert_array_equal(run_vector_add(MyModule), a_np + b_np)


# ---- Transform: split, reorder, parallel


def scheduled() -> tvm.tir.Schedule:
    sch = tvm.tir.Schedule(MyModule)
    # Get block by its name
    block_c = sch.get_block("C")
    # Get loops surrounding the block
    (i,) = sch.get_loops(block_c)
    # Tile the loop nesting.
    i_0, i_1, i_2 = sch.split(i, factors=[None, 4, 4])
    sch.reorder(i_0, i_2, i_1)
    sch.parallel(i_0)
    return sch


def test_transform():
    sch = tvm.tir.Schedule(MyModule)
    assert type(sch) is tvm.tir.Schedule
    block_c = sch.get_block("C")
    (i,) = sch.get_loops(block_c)
    i_0, i_1, i_2 = sch.split(i, factors=[None, 4, 4])
    assert "for i_0, i_1, i_2 in T.grid(8, 4, 4):" in sch.mod.script()

    sch.reorder(i_0, i_2, i_1)
    assert "for i_0, i_2, i_1 in T.grid(8, 4, 4):" in sch.mod.script()

    sch.parallel(i_0)
    assert "for i_0 in T.parallel(8):" in sch.mod.script()
    assert "for i_2, i_1 in T.grid(4, 4):" in sch.mod.script()


def test_transformed_program_builds_and_runs():
    np.testing.assert_array_equal(run_vector_add(scheduled().mod), a_np + b_np)
    rt_mod = tvm.compile(scheduled().mod, target="llvm")
    c = tvm.nd.array(np.zeros(128, "float32"))
    rt_mod["main"](tvm.nd.array(a_np), tvm.nd.array(b_np), c)
    np.testing.assert_array_equal(c.numpy(), a_np + b_np)


def test_the_scheduled_form_written_by_hand():
    from mlcref.script import tir

    @tir.prim_func
    def main(A: tir.Buffer[128, "float32"], B: tir.Buffer[128, "float32"], C: tir.Buffer[128, "float32"]):
        tir.func_attr({"global_symbol": "main", "tir.noalias": True})
        for i_0 in tir.parallel(8):
            for i_2, i_1 in tir.grid(4, 4):
                with tir.block("C"):
                    vi = tir.axis.spatial(128, i_0 * 16 + i_1 * 4 + i_2)
                    C[vi] = A[vi] + B[vi]

    tvm.ir.assert_structural_equal(main, scheduled().mod["main"])
    np.testing.assert_array_equal(run_vector_add(tvm.IRModule({"main": main})), a_np + b_np)


# ---- Matrix multiplication: Python, tensor expression, TVMScript, transformed

SIZE = 32


def matmul(a: np.ndarray, b: np.ndarray, c: np.ndarray):
    for y in range(SIZE):
        for x in range(SIZE):
            for k in range(SIZE):
                if k == 0:
                    c[y, x] = 0
                c[y, x] += a[y, k] * b[k, x]


@tvm.script.ir_module
class MatmulModule:
    @T.prim_func
    def main(A: T.Buffer[(SIZE, SIZE), "float32"],
             B: T.Buffer[(SIZE, SIZE), "float32"],
             C: T.Buffer[(SIZE, SIZE), "float32"]):
        T.func_attr({"global_symbol": "main", "tir.noalias": True})
        for y, x, k in T.grid(SIZE, SIZE, SIZE):
            with T.block("C"):
                vy, vx, vk = T.axis.remap("SSR", [y, x, k])
                with T.init():
                    C[vy, vx] = 0.0
                C[vy, vx] = C[vy, vx] + A[vy, vk] * B[vk, vx]


a_mat = np.random.default_rng(0).random((SIZE, SIZE), dtype="float32")
b_mat = np.random.default_rng(1).random((SIZE, SIZE), dtype="float32")


def test_matmul_in_python():
    c_np = np.empty((SIZE, SIZE), dtype="float32")
    matmul(a_mat, b_mat, c_np)
    np.testing.assert_allclose(c_np, a_mat @ b_mat, rtol=1e-5)


def test_matmul_by_tensor_expression():
    A = te.placeholder((SIZE, SIZE), name="A")
    B = te.placeholder((SIZE, SIZE), name="B")
    k = te.reduce_axis((0, SIZE), name="k")
    C = te.compute((SIZE, SIZE), lambda y, x: te.sum(A[y, k] * B[k, x], axis=k), name="C")
    func = te.create_prim_func([A, B, C])
    tvm.ir.assert_structural_equal(tvm.IRModule({"main": func}), MatmulModule)


def test_matmul_in_blocks():
    dtype, target, dev = "float32", "llvm", tvm.cpu(0)
    sch = tvm.tir.Schedule(MatmulModule)
    block_c = sch.get_block("C")
    # Get loops surrounding the block
    (y, x, k) = sch.get_loops(block_c)
    block_size = 8
    yo, yi = sch.split(y, [None, block_size])
    xo, xi = sch.split(x, [None, block_size])
    sch.reorder(yo, xo, k, yi, xi)

    func = tvm.build(sch.mod, target=target)
    a = tvm.nd.array(a_mat, dev)
    b = tvm.nd.array(b_mat, dev)
    c = tvm.nd.array(np.zeros((SIZE, SIZE), dtype=dtype), dev)
    func["main"](a, b, c)
    np.testing.assert_allclose(c.numpy(), a_mat @ b_mat, rtol=1e-5)

    evaluator = func.time_evaluator("main", dev, number=1)
    print("after transformation: %f" % evaluator(a, b, c).mean)


def test_matmul_scheduled_as_a_tensor_expression():
    """The same loops by a schedule of the expression: what it does is what the TensorIR schedule does."""
    A = te.placeholder((SIZE, SIZE), name="A")
    B = te.placeholder((SIZE, SIZE), name="B")
    k = te.reduce_axis((0, SIZE), name="k")
    C = te.compute((SIZE, SIZE), lambda y, x: te.sum(A[y, k] * B[k, x], axis=k), name="C")
    s = te.create_schedule(C.op)
    y, x = s[C].op.axis
    s[C].reorder(y, k, x)

    sch = tvm.tir.Schedule(MatmulModule)
    block = sch.get_block("C")
    y, x, k = sch.get_loops(block)
    sch.reorder(y, k, x)
    sch.decompose_reduction(block, k)
    tvm.ir.assert_structural_equal(s.tensor_ir([A, B, C]).mod, sch.mod)
    c = tvm.nd.empty((SIZE, SIZE), dtype="float32")
    tvm.build(s, [A, B, C], target="llvm")(tvm.nd.array(a_mat), tvm.nd.array(b_mat), c)
    np.testing.assert_allclose(c.numpy(), a_mat @ b_mat, rtol=1e-5)


def transformed_matmul() -> tvm.tir.Schedule:
    sch = tvm.tir.Schedule(MatmulModule)
    block_c = sch.get_block("C")
    y, x, k = sch.get_loops(block_c)
    yo, yi = sch.split(y, factors=[None, 8])
    xo, xi = sch.split(x, factors=[None, 8])
    ko, ki = sch.split(k, factors=[None, 4])
    sch.reorder(yo, xo, ko, yi, ki, xi)
    sch.parallel(yo)
    sch.vectorize(xi)
    sch.unroll(ki)
    return sch


@pytest.mark.parametrize("transformed", [False, True], ids=["as written", "transformed"])
def test_matmul_builds_and_runs(transformed: bool):
    module = transformed_matmul().mod if transformed else MatmulModule
    rt_mod = tvm.build(module, target="llvm")
    c = tvm.nd.empty((SIZE, SIZE), dtype="float32")
    rt_mod["main"](tvm.nd.array(a_mat), tvm.nd.array(b_mat), c)
    np.testing.assert_allclose(c.numpy(), a_mat @ b_mat, rtol=1e-5)
    evaluator = rt_mod.time_evaluator("main", tvm.cpu(), number=10)
    assert evaluator(tvm.nd.array(a_mat), tvm.nd.array(b_mat), c).mean > 0


def test_transformed_matmul_keeps_its_meaning():
    c = np.zeros((SIZE, SIZE), "float32")
    tvm.interpret(transformed_matmul().mod["main"], a_mat, b_mat, c)
    np.testing.assert_allclose(c, a_mat @ b_mat, rtol=1e-5)
