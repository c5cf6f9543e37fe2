"""The course's chapter "Exercises for TensorIR", with solutions: its code in its order, with its assertions.

``IPython.display.Code(…)`` is replaced by the script that it shows, torch's convolution by one in numpy.
"""
# ruff: noqa: RUF059

import numpy as np
import pytest

import mlcref as tvm
from mlcref.script import tir as T
from tests.course.marks import blocks_of

exercises = blocks_of("tensorir_exercises")

# ---- Section 1: How to Write TensorIR


def lnumpy_add(a: np.ndarray, b: np.ndarray, c: np.ndarray):
    for i in range(4):
        for j in range(4):
            c[i, j] = a[i, j] + b[i, j]


@exercises((1, 5))
def test_element_wise_add():
    # init data
    a = np.arange(16).reshape(4, 4)
    b = np.arange(16, 0, -1).reshape(4, 4)
    # numpy version
    c_np = a + b
    # low-level numpy version
    c_lnumpy = np.empty((4, 4), dtype=np.int64)
    lnumpy_add(a, b, c_lnumpy)
    np.testing.assert_array_equal(c_lnumpy, c_np)

    # TensorIR version
    @tvm.script.ir_module
    class MyAdd:
        @T.prim_func
        def add(A: T.Buffer((4, 4), "int64"),
                B: T.Buffer((4, 4), "int64"),
                C: T.Buffer((4, 4), "int64")):
            T.func_attr({"global_symbol": "add"})
            for i, j in T.grid(4, 4):
                with T.block("C"):
                    vi = T.axis.spatial(4, i)
                    vj = T.axis.spatial(4, j)
                    C[vi, vj] = A[vi, vj] + B[vi, vj]

    rt_lib = tvm.compile(MyAdd, target="llvm")
    a_tvm = tvm.runtime.tensor(a)
    b_tvm = tvm.runtime.tensor(b)
    c_tvm = tvm.runtime.tensor(np.empty((4, 4), dtype=np.int64))
    rt_lib["add"](a_tvm, b_tvm, c_tvm)
    np.testing.assert_allclose(c_tvm.numpy(), c_np, rtol=1e-5)


@exercises((6, 8))
def test_exercise_1_broadcast_add():
    # init data
    a = np.arange(16).reshape(4, 4)
    b = np.arange(4, 0, -1).reshape(4)
    # numpy version
    c_np = a + b

    @tvm.script.ir_module
    class MyAdd:
        @T.prim_func
        def add(A: T.Buffer((4, 4), "int64"),
                B: T.Buffer((4,), "int64"),
                C: T.Buffer((4, 4), "int64")):
            T.func_attr({"global_symbol": "add", "tir.noalias": True})
            for i, j in T.grid(4, 4):
                with T.block("C"):
                    vi, vj = T.axis.remap("SS", [i, j])
                    C[vi, vj] = A[vi, vj] + B[vj]

    rt_lib = tvm.compile(MyAdd, target="llvm")
    a_tvm = tvm.runtime.tensor(a)
    b_tvm = tvm.runtime.tensor(b)
    c_tvm = tvm.runtime.tensor(np.empty((4, 4), dtype=np.int64))
    rt_lib["add"](a_tvm, b_tvm, c_tvm)
    np.testing.assert_allclose(c_tvm.numpy(), c_np, rtol=1e-5)


N, CI, H, W, CO, K = 1, 1, 8, 8, 2, 3
OUT_H, OUT_W = H - K + 1, W - K + 1
data = np.arange(N * CI * H * W).reshape(N, CI, H, W)
weight = np.arange(CO * CI * K * K).reshape(CO, CI, K, K)


def numpy_conv2d(images: np.ndarray, kernels: np.ndarray) -> np.ndarray:
    windows = np.lib.stride_tricks.sliding_window_view(images, kernels.shape[2:], axis=(2, 3))
    return np.einsum("nchwij,kcij->nkhw", windows, kernels)


@tvm.script.ir_module
class MyConv:
    @T.prim_func
    def conv(A: T.Buffer((N, CI, H, W), "int64"),
             B: T.Buffer((CO, CI, K, K), "int64"),
             C: T.Buffer((N, CO, OUT_H, OUT_W), "int64")):
        T.func_attr({"global_symbol": "conv", "tir.noalias": True})
        for b, k, i, j, di, dj, q in T.grid(N, CO, OUT_H, OUT_W, K, K, CI):
            with T.block("C"):
                vb, vk, vi, vj, vdi, vdj, vq = T.axis.remap("SSSSRRR", [b, k, i, j, di, dj, q])
                with T.init():
                    C[vb, vk, vi, vj] = T.int64(0)
                C[vb, vk, vi, vj] = C[vb, vk, vi, vj] + A[vb, vq, vi + vdi, vj + vdj] * B[vk, vq, vdi, vdj]


def run_conv() -> np.ndarray:
    rt_lib = tvm.compile(MyConv, target="llvm")
    data_tvm = tvm.runtime.tensor(data)
    weight_tvm = tvm.runtime.tensor(weight)
    conv_tvm = tvm.runtime.tensor(np.empty((N, CO, OUT_H, OUT_W), dtype=np.int64))
    rt_lib["conv"](data_tvm, weight_tvm, conv_tvm)
    return conv_tvm.numpy()


@exercises(9, 11)
def test_exercise_2_2d_convolution():
    np.testing.assert_allclose(run_conv(), numpy_conv2d(data, weight), rtol=1e-5)


@exercises(10)
def test_exercise_2_against_torch():
    torch = pytest.importorskip("torch", reason="the chapter's reference; numpy's stands in for it above")
    data_torch = torch.Tensor(data)
    weight_torch = torch.Tensor(weight)
    conv_torch = torch.nn.functional.conv2d(data_torch, weight_torch)
    conv_torch = conv_torch.numpy().astype(np.int64)
    np.testing.assert_allclose(run_conv(), conv_torch, rtol=1e-5)


# ---- Section 2: How to Transform TensorIR


@exercises(12)
def test_parallel_vectorize_and_unroll():
    @tvm.script.ir_module
    class MyAdd:
        @T.prim_func
        def add(A: T.Buffer((4, 4), "int64"),
                B: T.Buffer((4, 4), "int64"),
                C: T.Buffer((4, 4), "int64")):
            T.func_attr({"global_symbol": "add"})
            for i, j in T.grid(4, 4):
                with T.block("C"):
                    vi = T.axis.spatial(4, i)
                    vj = T.axis.spatial(4, j)
                    C[vi, vj] = A[vi, vj] + B[vi, vj]

    sch = tvm.tir.Schedule(MyAdd)
    block = sch.get_block("C", func_name="add")
    i, j = sch.get_loops(block)
    i0, i1 = sch.split(i, factors=[2, 2])
    sch.parallel(i0)
    sch.unroll(i1)
    sch.vectorize(j)
    script = sch.mod.script()
    assert "for i_0 in T.parallel(2):" in script
    assert "for i_1 in T.unroll(2):" in script
    assert "for j in T.vectorized(4):" in script

    a, b = np.arange(16).reshape(4, 4), np.arange(16, 0, -1).reshape(4, 4)
    c_tvm = tvm.runtime.tensor(np.empty((4, 4), dtype=np.int64))
    tvm.compile(sch.mod, target="llvm")["add"](tvm.runtime.tensor(a), tvm.runtime.tensor(b), c_tvm)
    np.testing.assert_array_equal(c_tvm.numpy(), a + b)


# Exercise 3: Transform a batch matmul program


def lnumpy_mm_relu_v2(A: np.ndarray, B: np.ndarray, C: np.ndarray, size: int = 128):
    Y = np.empty((16, size, size), dtype="float32")
    for n in range(16):
        for i in range(size):
            for j in range(size):
                for k in range(size):
                    if k == 0:
                        Y[n, i, j] = 0
                    Y[n, i, j] = Y[n, i, j] + A[n, i, k] * B[n, k, j]
    for n in range(16):
        for i in range(size):
            for j in range(size):
                C[n, i, j] = max(Y[n, i, j], 0)


@tvm.script.ir_module
class MyBmmRelu:
    @T.prim_func
    def bmm_relu(A: T.Buffer((16, 128, 128), "float32"),
                 B: T.Buffer((16, 128, 128), "float32"),
                 C: T.Buffer((16, 128, 128), "float32")):
        T.func_attr({"global_symbol": "bmm_relu", "tir.noalias": True})
        Y = T.alloc_buffer((16, 128, 128), dtype="float32")
        for n, i, j, k in T.grid(16, 128, 128, 128):
            with T.block("Y"):
                vn, vi, vj, vk = T.axis.remap("SSSR", [n, i, j, k])
                with T.init():
                    Y[vn, vi, vj] = T.float32(0)
                Y[vn, vi, vj] = Y[vn, vi, vj] + A[vn, vi, vk] * B[vn, vk, vj]
        for n, i, j in T.grid(16, 128, 128):
            with T.block("C"):
                vn, vi, vj = T.axis.remap("SSS", [n, i, j])
                C[vn, vi, vj] = T.max(Y[vn, vi, vj], T.float32(0))


@tvm.script.ir_module
class TargetModule:
    @T.prim_func
    def bmm_relu(A: T.Buffer((16, 128, 128), "float32"), B: T.Buffer((16, 128, 128), "float32"), C: T.Buffer((16, 128, 128), "float32")) -> None:  # noqa: E501
        T.func_attr({"global_symbol": "bmm_relu", "tir.noalias": True})
        Y = T.alloc_buffer([16, 128, 128], dtype="float32")
        for i0 in T.parallel(16):
            for i1, i2_0 in T.grid(128, 16):
                for ax0_init in T.vectorized(8):
                    with T.block("Y_init"):
                        n, i = T.axis.remap("SS", [i0, i1])
                        j = T.axis.spatial(128, i2_0 * 8 + ax0_init)
                        Y[n, i, j] = T.float32(0)
                for ax1_0 in T.serial(32):
                    for ax1_1 in T.unroll(4):
                        for ax0 in T.serial(8):
                            with T.block("Y_update"):
                                n, i = T.axis.remap("SS", [i0, i1])
                                j = T.axis.spatial(128, i2_0 * 8 + ax0)
                                k = T.axis.reduce(128, ax1_0 * 4 + ax1_1)
                                Y[n, i, j] = Y[n, i, j] + A[n, i, k] * B[n, k, j]
                for i2_1 in T.vectorized(8):
                    with T.block("C"):
                        n, i = T.axis.remap("SS", [i0, i1])
                        j = T.axis.spatial(128, i2_0 * 8 + i2_1)
                        C[n, i, j] = T.max(Y[n, i, j], T.float32(0))


def transformed() -> tvm.tir.Schedule:
    sch = tvm.tir.Schedule(MyBmmRelu)
    # Step 1. Get blocks
    Y = sch.get_block("Y", func_name="bmm_relu")
    C = sch.get_block("C", func_name="bmm_relu")
    # Step 2. Get loops
    b, i, j, k = sch.get_loops(Y)
    # Step 3. Organize the loops
    k0, k1 = sch.split(k, factors=[None, 4])
    j0, j1 = sch.split(j, factors=[None, 8])
    sch.reorder(j0, k0, k1, j1)
    sch.reverse_compute_at(C, j0)
    # Step 5 begins here: TVM refuses parallel once Y is split into an init and an update
    sch.parallel(b)
    # Step 4. decompose reduction
    Y_init = sch.decompose_reduction(Y, k0)
    # Step 5. vectorize / parallel / unroll
    sch.vectorize(sch.get_loops(Y_init)[-1])
    sch.vectorize(sch.get_loops(C)[-1])
    sch.unroll(k1)
    return sch


@exercises((14, 17))
def test_exercise_3_reaches_the_target():
    tvm.ir.assert_structural_equal(transformed().mod, TargetModule)


@exercises(18)
def test_exercise_3_build_and_evaluate():
    sch = transformed()
    before_rt_lib = tvm.compile(MyBmmRelu, target="llvm")
    after_rt_lib = tvm.compile(sch.mod, target="llvm")
    a_tvm = tvm.runtime.tensor(np.random.rand(16, 128, 128).astype("float32"))
    b_tvm = tvm.runtime.tensor(np.random.rand(16, 128, 128).astype("float32"))
    c_tvm = tvm.runtime.tensor(np.random.rand(16, 128, 128).astype("float32"))
    after_rt_lib["bmm_relu"](a_tvm, b_tvm, c_tvm)
    np.testing.assert_allclose(c_tvm.numpy(), np.maximum(a_tvm.numpy() @ b_tvm.numpy(), 0), rtol=1e-5)

    before_timer = before_rt_lib.mod.time_evaluator("bmm_relu", tvm.cpu(), number=2)
    print("Before transformation:")
    print(before_timer(a_tvm, b_tvm, c_tvm))
    np.testing.assert_allclose(c_tvm.numpy(), np.maximum(a_tvm.numpy() @ b_tvm.numpy(), 0), rtol=1e-5)

    f_timer = after_rt_lib.mod.time_evaluator("bmm_relu", tvm.cpu(), number=2)
    print("After transformation:")
    print(f_timer(a_tvm, b_tvm, c_tvm))
    assert f_timer(a_tvm, b_tvm, c_tvm).mean > 0


@exercises(13)
def test_exercise_3_hint_in_low_level_numpy():
    a, b = np.random.rand(2, 16, 4, 4).astype("float32")
    c = np.empty((16, 4, 4), "float32")
    lnumpy_mm_relu_v2(a, b, c, size=4)
    np.testing.assert_allclose(c, np.maximum(a @ b, 0), rtol=1e-5)
