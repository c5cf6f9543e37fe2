"""The course's chapter "TensorIR: Tensor Program Abstraction Case Study": its code in its order, with its assertions.

``IPython.display.Code(…)`` is replaced by the script that it shows.
"""
# ruff: noqa: RUF059, UP031

import numpy as np
import pytest

import mlcref as tvm
from mlcref import te
from mlcref.errors import ScriptWarning
from mlcref.ir.module import IRModule
from mlcref.script import tir as T
from tests.course.marks import blocks_of

case_study = blocks_of("case_study")

# ---- Learning one Tensor Program Abstraction

dtype = "float32"
a_np = np.random.rand(128, 128).astype(dtype)
b_np = np.random.rand(128, 128).astype(dtype)
# a @ b is equivalent to np.matmul(a, b)
c_mm_relu = np.maximum(a_np @ b_np, 0)


def lnumpy_mm_relu(A: np.ndarray, B: np.ndarray, C: np.ndarray):
    Y = np.empty((128, 128), dtype="float32")
    for i in range(128):
        for j in range(128):
            for k in range(128):
                if k == 0:
                    Y[i, j] = 0
                Y[i, j] = Y[i, j] + A[i, k] * B[k, j]
    for i in range(128):
        for j in range(128):
            C[i, j] = max(Y[i, j], 0)


@case_study((2, 5))
def test_low_level_numpy():
    c_np = np.empty((128, 128), dtype=dtype)
    lnumpy_mm_relu(a_np, b_np, c_np)
    np.testing.assert_allclose(c_mm_relu, c_np, rtol=1e-5)


@tvm.script.ir_module
class MyModule:
    @T.prim_func
    def mm_relu(A: T.Buffer((128, 128), "float32"),
                B: T.Buffer((128, 128), "float32"),
                C: T.Buffer((128, 128), "float32")):
        T.func_attr({"global_symbol": "mm_relu", "tir.noalias": True})
        Y = T.alloc_buffer((128, 128), dtype="float32")
        for i, j, k in T.grid(128, 128, 128):
            with T.block("Y"):
                vi = T.axis.spatial(128, i)
                vj = T.axis.spatial(128, j)
                vk = T.axis.reduce(128, k)
                with T.init():
                    Y[vi, vj] = T.float32(0)
                Y[vi, vj] = Y[vi, vj] + A[vi, vk] * B[vk, vj]
        for i, j in T.grid(128, 128):
            with T.block("C"):
                vi = T.axis.spatial(128, i)
                vj = T.axis.spatial(128, j)
                C[vi, vj] = T.max(Y[vi, vj], T.float32(0))


@case_study(13)
def test_wrong_program_due_to_loop_and_block_iteration_mismatch():
    with pytest.warns(ScriptWarning, match=r"127(.|\n)*128"):

        @tvm.script.ir_module
        class WrongModule:
            @T.prim_func
            def relu(A: T.Buffer((128,), "float32"), C: T.Buffer((128,), "float32")):
                for i in range(127):
                    with T.block("C"):
                        vi = T.axis.spatial(128, i)
                        C[vi] = T.max(A[vi], T.float32(0))


@tvm.script.ir_module
class MyModuleWithAxisRemapSugar:
    @T.prim_func
    def mm_relu(A: T.Buffer((128, 128), "float32"),
                B: T.Buffer((128, 128), "float32"),
                C: T.Buffer((128, 128), "float32")):
        T.func_attr({"global_symbol": "mm_relu", "tir.noalias": True})
        Y = T.alloc_buffer((128, 128), dtype="float32")
        for i, j, k in T.grid(128, 128, 128):
            with T.block("Y"):
                vi, vj, vk = T.axis.remap("SSR", [i, j, k])
                with T.init():
                    Y[vi, vj] = T.float32(0)
                Y[vi, vj] = Y[vi, vj] + A[vi, vk] * B[vk, vj]
        for i, j in T.grid(128, 128):
            with T.block("C"):
                vi, vj = T.axis.remap("SS", [i, j])
                C[vi, vj] = T.max(Y[vi, vj], T.float32(0))


@case_study(6, 16)
def test_the_sugar_is_the_same_program():
    tvm.ir.assert_structural_equal(MyModule, MyModuleWithAxisRemapSugar)


@case_study(18, 19)
def test_types_of_module_and_function():
    assert type(MyModule) is IRModule
    assert type(MyModule["mm_relu"]) is tvm.tir.PrimFunc


@tvm.script.ir_module
class MyModuleWithTwoFunctions:
    @T.prim_func
    def mm(A: T.Buffer((128, 128), "float32"),
           B: T.Buffer((128, 128), "float32"),
           Y: T.Buffer((128, 128), "float32")):
        T.func_attr({"global_symbol": "mm", "tir.noalias": True})
        for i, j, k in T.grid(128, 128, 128):
            with T.block("Y"):
                vi, vj, vk = T.axis.remap("SSR", [i, j, k])
                with T.init():
                    Y[vi, vj] = T.float32(0)
                Y[vi, vj] = Y[vi, vj] + A[vi, vk] * B[vk, vj]

    @T.prim_func
    def relu(A: T.Buffer((128, 128), "float32"),
             B: T.Buffer((128, 128), "float32")):
        T.func_attr({"global_symbol": "relu", "tir.noalias": True})
        for i, j in T.grid(128, 128):
            with T.block("B"):
                vi, vj = T.axis.remap("SS", [i, j])
                B[vi, vj] = T.max(A[vi, vj], T.float32(0))


@case_study(20)
def test_a_module_of_two_functions():
    assert list(MyModuleWithTwoFunctions.functions) == ["mm", "relu"]
    lib = tvm.compile(MyModuleWithTwoFunctions, target="llvm")
    a_nd, b_nd = tvm.runtime.tensor(a_np), tvm.runtime.tensor(b_np)
    y_nd = tvm.runtime.tensor(np.empty((128, 128), dtype="float32"))
    c_nd = tvm.runtime.tensor(np.empty((128, 128), dtype="float32"))
    lib["mm"](a_nd, b_nd, y_nd)
    lib["relu"](y_nd, c_nd)
    np.testing.assert_allclose(c_mm_relu, c_nd.numpy(), rtol=1e-5)


# ---- Transformation


def lnumpy_mm_relu_v2(A: np.ndarray, B: np.ndarray, C: np.ndarray):
    Y = np.empty((128, 128), dtype="float32")
    for i in range(128):
        for j0 in range(32):
            for k in range(128):
                for j1 in range(4):
                    j = j0 * 4 + j1
                    if k == 0:
                        Y[i, j] = 0
                    Y[i, j] = Y[i, j] + A[i, k] * B[k, j]
    for i in range(128):
        for j in range(128):
            C[i, j] = max(Y[i, j], 0)


def lnumpy_mm_relu_v3(A: np.ndarray, B: np.ndarray, C: np.ndarray):
    Y = np.empty((128, 128), dtype="float32")
    for i in range(128):
        for j0 in range(32):
            # Y_init
            for j1 in range(4):
                j = j0 * 4 + j1
                Y[i, j] = 0
            # Y_update
            for k in range(128):
                for j1 in range(4):
                    j = j0 * 4 + j1
                    Y[i, j] = Y[i, j] + A[i, k] * B[k, j]
            # C
            for j1 in range(4):
                j = j0 * 4 + j1
                C[i, j] = max(Y[i, j], 0)


@case_study(21, 30)
@pytest.mark.parametrize("variant", [lnumpy_mm_relu_v2, lnumpy_mm_relu_v3])
def test_variants_in_low_level_numpy(variant):
    c_np = np.empty((128, 128), dtype=dtype)
    variant(a_np, b_np, c_np)
    np.testing.assert_allclose(c_mm_relu, c_np, rtol=1e-5)


@case_study((22, 29), (31, 37))
def test_transformation_build_and_run():
    assert 'with T.block("Y"):' in MyModule.script()

    sch = tvm.tir.Schedule(MyModuleWithAxisRemapSugar)

    block_Y = sch.get_block("Y", func_name="mm_relu")
    i, j, k = sch.get_loops(block_Y)

    j0, j1 = sch.split(j, factors=[None, 4])
    assert "for i, j_0, j_1, k in T.grid(128, 32, 4, 128):" in sch.mod.script()

    sch.reorder(j0, k, j1)
    assert "for i, j_0, k, j_1 in T.grid(128, 32, 128, 4):" in sch.mod.script()

    block_C = sch.get_block("C", "mm_relu")
    sch.reverse_compute_at(block_C, j0)
    assert "for i, j_0 in T.grid(128, 32):" in sch.mod.script()

    sch.decompose_reduction(block_Y, k)
    script = sch.mod.script()
    assert script.index('T.block("Y_init")') < script.index('T.block("Y_update")') < script.index('T.block("C")')

    # Build and Run
    rt_lib = tvm.compile(MyModule, target="llvm")

    a_nd = tvm.runtime.tensor(a_np)
    b_nd = tvm.runtime.tensor(b_np)
    c_nd = tvm.runtime.tensor(np.empty((128, 128), dtype="float32"))
    assert type(c_nd) is tvm.runtime.Tensor

    func_mm_relu = rt_lib["mm_relu"]
    func_mm_relu(a_nd, b_nd, c_nd)

    np.testing.assert_allclose(c_mm_relu, c_nd.numpy(), rtol=1e-5)

    rt_lib_after = tvm.compile(sch.mod, target="llvm")
    c_nd = tvm.runtime.tensor(np.empty((128, 128), dtype="float32"))
    rt_lib_after["mm_relu"](a_nd, b_nd, c_nd)
    np.testing.assert_allclose(c_mm_relu, c_nd.numpy(), rtol=1e-5)

    f_timer_before = rt_lib.mod.time_evaluator("mm_relu", tvm.cpu())
    print("Time cost of MyModule %g sec" % f_timer_before(a_nd, b_nd, c_nd).mean)
    f_timer_after = rt_lib_after.mod.time_evaluator("mm_relu", tvm.cpu())
    print("Time cost of transformed sch.mod %g sec" % f_timer_after(a_nd, b_nd, c_nd).mean)
    assert f_timer_before(a_nd, b_nd, c_nd).mean > 0


def transform(mod, jfactor):
    sch = tvm.tir.Schedule(mod)
    block_Y = sch.get_block("Y", func_name="mm_relu")
    i, j, k = sch.get_loops(block_Y)
    j0, j1 = sch.split(j, factors=[None, jfactor])
    sch.reorder(j0, k, j1)
    block_C = sch.get_block("C", "mm_relu")
    sch.reverse_compute_at(block_C, j0)
    return sch.mod


@case_study(38)
def test_exercise_another_factor():
    mod_transformed = transform(MyModule, jfactor=8)

    rt_lib_transformed = tvm.compile(mod_transformed, "llvm")
    a_nd, b_nd = tvm.runtime.tensor(a_np), tvm.runtime.tensor(b_np)
    c_nd = tvm.runtime.tensor(np.empty((128, 128), dtype="float32"))
    f_timer_transformed = rt_lib_transformed.mod.time_evaluator("mm_relu", tvm.cpu())
    print("Time cost of transformed mod_transformed %g sec" % f_timer_transformed(a_nd, b_nd, c_nd).mean)
    np.testing.assert_allclose(c_mm_relu, c_nd.numpy(), rtol=1e-5)
    assert "for k, j_1 in T.grid(128, 8):" in mod_transformed.script()


@pytest.mark.parametrize("jfactor", [1, 2, 16, 32, 128])
def test_every_factor_is_equivalent(jfactor):
    small = te_mm_relu(8).with_attr({"global_symbol": "mm_relu"})
    sch_mod = transform(IRModule({"mm_relu": small}), min(jfactor, 8))
    a, b = a_np[:8, :8].copy(), b_np[:8, :8].copy()
    c = np.zeros((8, 8), "float32")
    tvm.interpret(sch_mod, a, b, c, entry="mm_relu")
    np.testing.assert_allclose(c, np.maximum(a @ b, 0), rtol=1e-5)


# ---- Ways to Create and Interact with TensorIR


def te_mm_relu(n):
    A = te.placeholder((n, n), "float32", name="A")
    B = te.placeholder((n, n), "float32", name="B")
    k = te.reduce_axis((0, n), "k")
    Y = te.compute((n, n), lambda i, j: te.sum(A[i, k] * B[k, j], axis=k), name="Y")
    C = te.compute((n, n), lambda i, j: te.max(Y[i, j], 0), name="C")
    return te.create_prim_func([A, B, C])


@case_study(39, 41)
def test_generate_tensorir_using_tensor_expression():
    A = te.placeholder((128, 128), "float32", name="A")
    B = te.placeholder((128, 128), "float32", name="B")
    k = te.reduce_axis((0, 128), "k")
    Y = te.compute((128, 128), lambda i, j: te.sum(A[i, k] * B[k, j], axis=k), name="Y")
    C = te.compute((128, 128), lambda i, j: te.max(Y[i, j], 0), name="C")

    te_func = te.create_prim_func([A, B, C]).with_attr({"global_symbol": "mm_relu"})
    MyModuleFromTE = tvm.IRModule({"mm_relu": te_func})
    assert "Y = T.alloc_buffer((128, 128))" in MyModuleFromTE.script()
    tvm.ir.assert_structural_equal(MyModuleFromTE, MyModule)
