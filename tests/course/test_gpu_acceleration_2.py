"""The course's chapter on GPU acceleration, part 2, in our own words: blocks of tensor computations, special memory,
and a tensor intrinsic that is a function of C.

The schedules run at the sizes of the chapter, and so does the compiled result (the chapter leaves that cell out of its
own builds); the oracle judges small sizes, and small tiles, with a Python function as the meaning of the C function.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import mlcref as tvm
from mlcref import interpret
from mlcref.contrib import clang, utils
from mlcref.errors import ScheduleError, UnsupportedError
from mlcref.interp import findings
from mlcref.ir import BlockRealize, Call, For, IRModule, PrimFunc, walk
from mlcref.lower import lower
from mlcref.runtime import why_no_compiler
from mlcref.script import from_source
from mlcref.script import tir as T
from tests.course.marks import blocks_of

part_2 = blocks_of("gpu_2")

SIZE = 1024
TENSOR_BLOCK = """
@T.prim_func
def main(A: T.Buffer((N, N), "float32"), B: T.Buffer((N, N), "float32"), C: T.Buffer((N, N), "float32")) -> None:
    T.func_attr({"global_symbol": "main", "tir.noalias": True})
    for i0, j0, k0 in T.grid(N // W, N // W, N // W):
        with T.block("tmm-16x16"):
            vi0, vj0, vk0 = T.axis.remap("SSR", [i0, j0, k0])
            with T.init():
                for i1, j1 in T.grid(W, W):
                    with T.block("tmm_init"):
                        vi1, vj1 = T.axis.remap("SS", [i1, j1])
                        C[vi0 * W + vi1, vj0 * W + vj1] = T.float32(0)

            for i1, j1, k1 in T.grid(W, W, W):
                with T.block("tmm"):
                    vi1, vj1, vk1 = T.axis.remap("SSR", [i1, j1, k1])
                    C[vi0 * W + vi1, vj0 * W + vj1] += (
                        A[vi0 * W + vi1, vk0 * W + vk1] * B[vj0 * W + vj1, vk0 * W + vk1])
"""
MATMUL = """
@T.prim_func
def main(A: T.Buffer((N, N), "float32"), B: T.Buffer((N, N), "float32"), C: T.Buffer((N, N), "float32")) -> None:
    T.func_attr({"global_symbol": "main", "tir.noalias": True})
    for i, j, k in T.grid(N, N, N):
        with T.block("matmul"):
            vi, vj, vk = T.axis.remap("SSR", [i, j, k])
            with T.init():
                C[vi, vj] = T.float32(0)
            C[vi, vj] += A[vi, vk] * B[vj, vk]
"""
KERNEL = """
  extern "C" int tmm16(float *cc, float *aa, float *bb, int stride_a, int stride_b, int stride_c) {
    for (int i = 0; i < 16; ++i) {
        for (int j = 0; j < 16; ++j) {
            for (int k = 0; k < 16; ++k) {
                cc[i * stride_c + j] += aa[i * stride_a + k] * bb[j * stride_b + k];
            }
        }
    }
    return 0;
  }
"""


@T.prim_func
def tmm16_desc(a: T.handle, b: T.handle, c: T.handle) -> None:
    A = T.match_buffer(a, (16, 16), "float32", offset_factor=16, scope="global.A_reg")
    B = T.match_buffer(b, (16, 16), "float32", offset_factor=16, scope="global.B_reg")
    C = T.match_buffer(c, (16, 16), "float32", offset_factor=16, scope="global.accumulator")

    with T.block("root"):
        T.reads(C[0:16, 0:16], A[0:16, 0:16], B[0:16, 0:16])
        T.writes(C[0:16, 0:16])
        for i, j, k in T.grid(16, 16, 16):
            with T.block(""):
                vii, vjj, vkk = T.axis.remap("SSR", [i, j, k])
                C[vii, vjj] = C[vii, vjj] + A[vii, vkk] * B[vjj, vkk]


@T.prim_func
def tmm16_impl(a: T.handle, b: T.handle, c: T.handle) -> None:
    sa = T.int32()
    sb = T.int32()
    sc = T.int32()
    A = T.match_buffer(a, (16, 16), "float32", offset_factor=16, strides=[sa, 1], scope="global.A_reg")
    B = T.match_buffer(b, (16, 16), "float32", offset_factor=16, strides=[sb, 1], scope="global.B_reg")
    C = T.match_buffer(c, (16, 16), "float32", offset_factor=16, strides=[sc, 1], scope="global.accumulator")

    with T.block("root"):
        T.reads(C[0:16, 0:16], A[0:16, 0:16], B[0:16, 0:16])
        T.writes(C[0:16, 0:16])
        T.evaluate(
            T.call_extern(
                "tmm16",
                C.access_ptr("w"),
                A.access_ptr("r"),
                B.access_ptr("r"),
                sa,
                sb,
                sc,
                dtype="int32",
            )
        )


def meaning_of_tmm16(cc: Any, aa: Any, bb: Any, stride_a: int, stride_b: int, stride_c: int) -> int:
    """What the C function does, for the oracle: each pointer is a one-dimensional array."""

    def tile(memory: Any, stride: int) -> Any:
        return np.lib.stride_tricks.as_strided(memory, (16, 16), (stride * memory.itemsize, memory.itemsize))

    out = tile(cc, stride_c)
    out += tile(aa, stride_a) @ tile(bb, stride_b).T
    return 0


@pytest.fixture(autouse=True)
def tmm16() -> Iterator[None]:
    tvm.tir.TensorIntrin.register("tmm16", tmm16_desc, tmm16_impl, override=True)
    tvm.register_global_func("tmm16", meaning_of_tmm16, override=True)
    yield
    tvm.remove_global_func("tmm16")


def module(text: str, n: int, tile: int = 16) -> IRModule:
    return IRModule({"main": from_source(text, env={"N": n, "W": tile})})


def small_integers(n: int, seed: int = 0) -> list[np.ndarray[Any, Any]]:
    rng = np.random.default_rng(seed)
    return [rng.integers(-3, 4, (n, n)).astype("float32") for _ in range(3)]


def judged(mod: IRModule, n: int) -> None:
    """The oracle finds nothing wrong, and the matrix product in C."""
    a, b, c = small_integers(n)
    assert findings(mod["main"], *small_integers(n)) == []
    interpret(mod["main"], a, b, c, poison=("C",))
    np.testing.assert_array_equal(c, a @ b.T)


def names(func: PrimFunc) -> list[str]:
    return [node.block.name for node in walk(func.body) if isinstance(node, BlockRealize)][1:]


def tiled(n: int, tile: int = 16) -> tuple[Any, ...]:
    sch = tvm.tir.Schedule(module(MATMUL, n))
    i, j, k = sch.get_loops("matmul")
    i, ii = sch.split(i, factors=[None, tile])
    j, ji = sch.split(j, factors=[None, tile])
    k, ki = sch.split(k, factors=[None, tile])
    sch.reorder(i, j, k, ii, ji, ki)
    return sch, i, j, k, ii


def with_special_memory(n: int, tile: int = 16) -> tuple[Any, ...]:
    sch, i, j, k, ii = tiled(n, tile)
    block_mm = sch.blockize(ii)
    a_reg = sch.cache_read(block_mm, 0, storage_scope="global.A_reg")
    b_reg = sch.cache_read(block_mm, 1, storage_scope="global.B_reg")
    sch.compute_at(a_reg, k)
    sch.compute_at(b_reg, k)
    write_back = sch.cache_write(block_mm, 0, storage_scope="global.accumulator")
    sch.reverse_compute_at(write_back, j)
    return sch, i, k, block_mm


def tensorized(n: int) -> Any:
    sch, i, k, block_mm = with_special_memory(n)
    sch.decompose_reduction(block_mm, k)
    sch.tensorize(block_mm, "tmm16")
    folder = utils.tempdir()
    text = clang.create_llvm(KERNEL, output=folder.relpath("temp.ll"))
    assert folder.listdir() == ["temp.ll"]
    sch.annotate(i, "pragma_import_llvm", text)
    return sch


@part_2((2, 4))
def test_low_level_numpy_means_the_same() -> None:
    """The chapter's picture of an accelerator: fill, copy into registers, multiply and add tiles, copy back."""
    a, b, c = small_integers(32)
    for i in range(2):
        for j in range(2):
            accumulator = np.zeros((16, 16), "float32")
            for k in range(2):
                a_reg = a[i * 16 : i * 16 + 16, k * 16 : k * 16 + 16].copy()
                b_reg = b[j * 16 : j * 16 + 16, k * 16 : k * 16 + 16].copy()
                accumulator += a_reg @ b_reg.T
            c[i * 16 : i * 16 + 16, j * 16 : j * 16 + 16] = accumulator
    np.testing.assert_array_equal(c, a @ b.T)


@part_2(5, 6)
def test_a_block_with_tensorized_computation() -> None:
    mod = module(TENSOR_BLOCK, SIZE)
    assert "T.reads(A[vi0 * 16:vi0 * 16 + 16, vk0 * 16:vk0 * 16 + 16]" in mod.script()
    judged(module(TENSOR_BLOCK, 8, 4), 8)


@part_2(8)
@pytest.mark.skipif(why_no_compiler() is not None, reason="no C compiler")
def test_a_block_with_tensorized_computation_is_compiled() -> None:
    lib = tvm.compile(module(TENSOR_BLOCK, 64), target="llvm")
    a, b, c = small_integers(64)
    a_nd, b_nd, c_nd = tvm.runtime.tensor(a), tvm.runtime.tensor(b), tvm.runtime.tensor(c)
    lib["main"](a_nd, b_nd, c_nd)
    np.testing.assert_array_equal(c_nd.numpy(), a @ b.T)


@part_2(9)
def test_loops_around_a_tensorized_block() -> None:
    def reordered(mod: IRModule) -> Any:
        sch = tvm.tir.Schedule(mod)
        block_mm = sch.get_block("tmm-16x16")
        i, j, k = sch.get_loops(block_mm)
        i0, i1 = sch.split(i, [None, 4])
        sch.reorder(i0, j, i1, k)
        return sch

    sch = reordered(module(TENSOR_BLOCK, SIZE))
    extents = [int(sch.get(loop).extent) for loop in sch.get_loops("tmm-16x16")]
    assert extents == [16, 64, 4, 64]
    judged(reordered(module(TENSOR_BLOCK, 16, 2)).mod, 16)


@part_2((10, 12))
def test_blockize_makes_the_tensorized_block() -> None:
    sch, *_, ii = tiled(SIZE)
    block_mm = sch.blockize(ii)
    assert sch.get(block_mm).name == "matmul_o"
    assert [item.iter_type for item in sch.get(block_mm).iter_vars] == ["spatial", "spatial", "reduce"]
    assert names(sch.mod["main"]) == ["matmul_o", "matmul_init", "matmul"]
    small, *_, ii = tiled(8, 4)
    small.blockize(ii)
    judged(small.mod, 8)


@part_2(13)
def test_special_memory_scopes() -> None:
    sch, *_ = with_special_memory(SIZE)
    scopes = [buffer.scope for buffer in sch.mod["main"].root.alloc_buffers]
    assert sorted(scopes) == ["global.A_reg", "global.B_reg", "global.accumulator"]
    assert names(sch.mod["main"])[:2] == ["A_global.A_reg", "B_global.B_reg"]
    judged(with_special_memory(8, 4)[0].mod, 8)


@part_2(1, (14, 18))
def test_tensorize_at_the_size_of_the_chapter() -> None:
    sch = tensorized(SIZE)
    (call,) = [node for node in walk(sch.mod["main"].body) if isinstance(node, Call) and node.op == "call_extern"]
    assert call.args[0].value == "tmm16"
    outer = next(node for node in walk(sch.mod["main"].body) if isinstance(node, For))
    assert outer.annotations["pragma_import_llvm"] == KERNEL
    block = sch.get(sch.get_block("matmul_o_update"))
    assert [match.buffer.name for match in block.match_buffers] == ["A", "B", "C"]


def test_the_oracle_judges_the_tensorized_program() -> None:
    judged(tensorized(32).mod, 32)


def test_every_pass_keeps_its_meaning() -> None:
    def after(name: str, func: PrimFunc) -> None:
        a, b, c = small_integers(32)
        interpret(func, a, b, c, poison=("C",))
        np.testing.assert_array_equal(c, a @ b.T, err_msg=name)

    lower(tensorized(32).mod["main"], after=after)


@part_2(18, 19)
@pytest.mark.skipif(why_no_compiler() is not None, reason="no C compiler")
def test_the_kernel_is_compiled_and_called() -> None:
    lib = tvm.compile(tensorized(SIZE).mod, target="llvm")
    assert "tmm16(float *cc" in lib.get_source()
    a, b, _ = (np.random.default_rng(seed).random((SIZE, SIZE), "float32") for seed in range(3))
    c_nd = tvm.nd.array(np.empty((SIZE, SIZE), "float32"))
    lib["main"](tvm.nd.array(a), tvm.nd.array(b), c_nd)
    np.testing.assert_allclose(c_nd.numpy(), a @ b.T, rtol=1e-4)
    a, b, c = small_integers(SIZE)
    lib["main"](a, b, c)
    np.testing.assert_array_equal(c, a @ b.T)


def test_a_block_that_is_not_the_description_is_refused() -> None:
    sch, _, _, _, ii = tiled(SIZE)
    block_mm = sch.blockize(ii)
    with pytest.raises(ScheduleError, match=r"float32 in 'global' for float32 in 'global.accumulator'"):
        sch.tensorize(block_mm, "tmm16")


def test_without_its_meaning_the_oracle_says_how_to_register_one() -> None:
    tvm.remove_global_func("tmm16")
    with pytest.raises(UnsupportedError, match="register_global_func"):
        interpret(tensorized(32).mod, *small_integers(32))
