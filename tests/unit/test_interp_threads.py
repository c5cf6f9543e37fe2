"""Thread axes in the oracle: lanes, barriers, scopes, collectives."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from mlcref.errors import OracleError, UnsupportedError
from mlcref.interp import interpret
from mlcref.script import tir as T


def floats(*shape: int) -> Any:
    return np.arange(np.prod(shape), dtype="float32").reshape(shape)


def test_a_bound_nest_without_barriers() -> None:
    @T.prim_func
    def f(A: T.Buffer((2, 3, 4), "float32"), B: T.Buffer((2, 3, 4), "float32")):
        for b in T.thread_binding(2, thread="blockIdx.x"):
            for i in range(3):
                for t in T.thread_binding(4, thread="threadIdx.x"):
                    with T.block("B"):
                        v0, v1, v2 = T.axis.remap("SSS", [b, i, t])
                        B[v0, v1, v2] = A[v0, v1, v2] + T.float32(1)

    b = np.zeros((2, 3, 4), "float32")
    interpret(f, floats(2, 3, 4), b)
    assert (b == floats(2, 3, 4) + 1).all()


def test_tiled_matmul_with_shared_memory_and_cooperative_loads() -> None:
    @T.prim_func
    def f(A: T.Buffer((8, 8), "float32"), B: T.Buffer((8, 8), "float32"), C: T.Buffer((8, 8), "float32")):
        A_s = T.alloc_buffer((8, 8), "float32", scope="shared")
        B_s = T.alloc_buffer((8, 8), "float32", scope="shared")
        C_l = T.alloc_buffer((8, 8), "float32", scope="local")
        for by in T.thread_binding(2, thread="blockIdx.y"):
            for bx in T.thread_binding(2, thread="blockIdx.x"):
                for ty in T.thread_binding(4, thread="threadIdx.y"):
                    for tx in T.thread_binding(4, thread="threadIdx.x"):
                        for k0 in range(2):
                            for ay in T.thread_binding(4, thread="threadIdx.y"):
                                for ax in T.thread_binding(4, thread="threadIdx.x"):
                                    with T.block("A_s"):
                                        v0 = T.axis.spatial(8, by * 4 + ay)
                                        v1 = T.axis.spatial(8, k0 * 4 + ax)
                                        A_s[v0, v1] = A[v0, v1]
                            for ay in T.thread_binding(4, thread="threadIdx.y"):
                                for ax in T.thread_binding(4, thread="threadIdx.x"):
                                    with T.block("B_s"):
                                        v0 = T.axis.spatial(8, k0 * 4 + ay)
                                        v1 = T.axis.spatial(8, bx * 4 + ax)
                                        B_s[v0, v1] = B[v0, v1]
                            for k1 in range(4):
                                with T.block("C"):
                                    vi = T.axis.spatial(8, by * 4 + ty)
                                    vj = T.axis.spatial(8, bx * 4 + tx)
                                    vk = T.axis.reduce(8, k0 * 4 + k1)
                                    with T.init():
                                        C_l[vi, vj] = T.float32(0)
                                    C_l[vi, vj] = C_l[vi, vj] + A_s[vi, vk] * B_s[vk, vj]
                        with T.block("C_l"):
                            vi = T.axis.spatial(8, by * 4 + ty)
                            vj = T.axis.spatial(8, bx * 4 + tx)
                            C[vi, vj] = C_l[vi, vj]

    a, b = floats(8, 8), floats(8, 8)[::-1].copy()
    c = np.zeros((8, 8), "float32")
    interpret(f, a, b, c)
    assert (c == a @ b).all()


def test_a_read_of_another_threads_element_needs_a_barrier() -> None:
    @T.prim_func
    def f(A: T.Buffer((4,), "float32"), B: T.Buffer((4,), "float32")):
        for t in T.thread_binding(4, thread="threadIdx.x"):
            S = T.alloc_buffer((4,), "float32", scope="shared")
            for r in range(2):
                S[(t + r) % 4] = A[t]
            B[t] = S[t]

    with pytest.raises(OracleError, match=r"race on S\[1\]: written by thread threadIdx.x=0, written by threadIdx.x=1"):
        interpret(f, floats(4), floats(4))


def test_threads_may_write_the_same_bits() -> None:
    @T.prim_func
    def f(A: T.Buffer((4,), "float32"), B: T.Buffer((1,), "float32")):
        for t in T.thread_binding(4, thread="threadIdx.x"):
            B[0] = A[0]

    b = np.zeros(1, "float32")
    interpret(f, np.full(4, 3, "float32"), b)
    assert b[0] == 3


def test_blocks_of_a_grid_have_no_barrier() -> None:
    @T.prim_func
    def f(A: T.Buffer((4,), "float32"), B: T.Buffer((4,), "float32")):
        for b in T.thread_binding(4, thread="blockIdx.x"):
            A[b] = T.float32(1)
            B[b] = A[3 - b]

    with pytest.raises(OracleError, match=r"race on A\[2\]: read by thread blockIdx.x=1, written by blockIdx.x=2"):
        interpret(f, floats(4), floats(4))


def test_two_kernels_have_a_barrier() -> None:
    @T.prim_func
    def f(A: T.Buffer((4,), "float32"), B: T.Buffer((4,), "float32")):
        for b in T.thread_binding(4, thread="blockIdx.x"):
            A[b] = A[b] + T.float32(1)
        for b in T.thread_binding(4, thread="blockIdx.x"):
            B[b] = A[3 - b]

    b = floats(4)
    interpret(f, floats(4), b)
    assert list(b) == [4, 3, 2, 1]


def test_a_divergent_branch_is_one_phase() -> None:
    @T.prim_func
    def disjoint(A: T.Buffer((4,), "float32"), B: T.Buffer((4,), "float32")):
        for t in T.thread_binding(4, thread="threadIdx.x"):
            if t < 3:
                A[t] = T.float32(7)
                B[t] = A[t]

    @T.prim_func
    def crossing(A: T.Buffer((4,), "float32"), B: T.Buffer((4,), "float32")):
        for t in T.thread_binding(4, thread="threadIdx.x"):
            if t < 3:
                A[t] = T.float32(7)
                B[t] = A[2 - t]

    b = np.zeros(4, "float32")
    interpret(disjoint, floats(4), b)
    assert list(b) == [7, 7, 7, 0]
    with pytest.raises(OracleError, match=r"race on A\[2\]: read by thread threadIdx.x=0, written by threadIdx.x=2"):
        interpret(crossing, floats(4), b)


def test_uniform_branches_and_loops_keep_their_barriers() -> None:
    @T.prim_func
    def f(A: T.Buffer((4,), "float32"), n: T.int32):
        S = T.alloc_buffer((4,), "float32", scope="shared")
        for t in T.thread_binding(4, thread="threadIdx.x"):
            for r in range(n):
                if r < 2:
                    S[t] = A[t]
                    A[t] = S[(t + 1) % 4]

    a = floats(4)
    interpret(f, a, 3)
    assert list(a) == [2, 3, 0, 1]


def test_local_memory_belongs_to_one_thread() -> None:
    @T.prim_func
    def f(A: T.Buffer((2, 4), "float32"), B: T.Buffer((2, 4), "float32")):
        L = T.alloc_buffer((1,), "float32", scope="local")
        for b in T.thread_binding(2, thread="blockIdx.x"):
            for t in T.thread_binding(4, thread="threadIdx.x"):
                with T.block("L"):
                    v0, v1 = T.axis.remap("SS", [b, t])
                    L[0] = A[v0, v1]
                with T.block("B"):
                    v0, v1 = T.axis.remap("SS", [b, t])
                    B[v0, v1] = L[0]

    b = np.zeros((2, 4), "float32")
    interpret(f, floats(2, 4), b)
    assert (b == floats(2, 4)).all()


def test_shared_memory_is_forgotten_between_blocks() -> None:
    @T.prim_func
    def f(A: T.Buffer((2, 4), "float32")):
        S = T.alloc_buffer((4,), "float32", scope="shared")
        for b in T.thread_binding(2, thread="blockIdx.x"):
            for t in T.thread_binding(4, thread="threadIdx.x"):
                if b == 0:
                    S[t] = A[b, t]
                A[b, t] = S[3 - t]

    with pytest.raises(OracleError, match=r"A\[1, 0\] is undefined in the end: it comes from S\[3\]"):
        interpret(f, floats(2, 4))


def test_global_allocations_are_shared_by_the_grid() -> None:
    @T.prim_func
    def f(A: T.Buffer((4,), "float32"), B: T.Buffer((4,), "float32")):
        G = T.alloc_buffer((4,), "float32")
        for b in T.thread_binding(2, thread="blockIdx.x"):
            for t in T.thread_binding(2, thread="threadIdx.x"):
                G[b * 2 + t] = A[b * 2 + t]
                B[b * 2 + t] = G[3 - (b * 2 + t)]

    with pytest.raises(OracleError, match=r"race on G\[2\]: read by thread blockIdx.x=0, written by blockIdx.x=1"):
        interpret(f, floats(4), floats(4))


def test_cross_thread_reduction_after_a_local_partial_sum() -> None:
    @T.prim_func
    def f(A: T.Buffer((3, 8), "float32"), B: T.Buffer((3,), "float32")):
        for i in T.thread_binding(3, thread="blockIdx.x"):
            for k0 in range(2):
                for k1 in T.thread_binding(4, thread="threadIdx.x"):
                    with T.block("B"):
                        vi = T.axis.spatial(3, i)
                        vk = T.axis.reduce(8, k0 * 4 + k1)
                        with T.init():
                            B[vi] = T.float32(0)
                        B[vi] = B[vi] + A[vi, vk]

    b = floats(3)
    interpret(f, floats(3, 8), b, poison=("B",))
    assert (b == floats(3, 8).sum(1)).all()


def test_two_keys_of_a_collective_still_race() -> None:
    @T.prim_func
    def f(A: T.Buffer((2, 4), "float32"), B: T.Buffer((1,), "float32")):
        for i in T.thread_binding(2, thread="threadIdx.y"):
            for k in T.thread_binding(4, thread="threadIdx.x"):
                with T.block("B"):
                    vi, vk = T.axis.remap("SR", [i, k])
                    with T.init():
                        B[0] = T.float32(0)
                    B[0] = B[0] + A[vi, vk]

    with pytest.raises(OracleError, match=r"race on B\[0\].*reduction B\[0\].*reduction B\[1\]"):
        interpret(f, floats(2, 4), floats(1))


def test_a_collective_into_local_memory_is_not_supported() -> None:
    @T.prim_func
    def f(A: T.Buffer((4,), "float32"), B: T.Buffer((1,), "float32")):
        L = T.alloc_buffer((1,), "float32", scope="local")
        for _ in T.thread_binding(1, thread="blockIdx.x"):
            for k in T.thread_binding(4, thread="threadIdx.x"):
                with T.block("L"):
                    vk = T.axis.reduce(4, k)
                    with T.init():
                        L[0] = T.float32(0)
                    L[0] = L[0] + A[vk]
        B[0] = T.float32(0)

    with pytest.raises(UnsupportedError, match="a reduction over threads into L, of which each thread has its own"):
        interpret(f, floats(4), floats(1))


def test_virtual_threads_are_serial() -> None:
    @T.prim_func
    def f(A: T.Buffer((4,), "float32")):
        for v in T.thread_binding(3, thread="vthread.x"):
            A[v + 1] = A[v] + A[v + 1]

    a = floats(4)
    interpret(f, a)
    assert list(a) == [0, 1, 3, 6]


def test_vectorized_loops_inside_threads_are_checked() -> None:
    @T.prim_func
    def f(A: T.Buffer((2, 4), "float32")):
        for t in T.thread_binding(2, thread="threadIdx.x"):
            for v in T.vectorized(3):
                A[t, v] = A[t, v + 1]

    with pytest.raises(OracleError, match=r"race on A\[0, 1\]: read by vectorized iteration v=0, written by v=1"):
        interpret(f, floats(2, 4))


def test_a_parallel_loop_around_a_barrier_is_not_supported() -> None:
    @T.prim_func
    def f(A: T.Buffer((4,), "float32")):
        S = T.alloc_buffer((4,), "float32", scope="shared")
        for t in T.thread_binding(4, thread="threadIdx.x"):
            for r in T.parallel(2):
                S[t] = A[t]
                A[t] = S[3 - t]

    with pytest.raises(UnsupportedError, match="a parallel loop around a barrier of threads"):
        interpret(f, floats(4))


def test_parallel_loops_between_the_axes_of_a_grid_are_checked() -> None:
    @T.prim_func
    def f(A: T.Buffer((2, 4), "float32"), n: T.int32):
        for b in T.thread_binding(2, thread="blockIdx.x"):
            for r in T.parallel(4):
                A[b, r] = T.float32(1)
                A[b, r * n] = T.float32(2)

    a = floats(2, 4)
    interpret(f, a, 1)
    assert (a == 2).all()
    with pytest.raises(OracleError, match=r"race on A\[0, 0\]: written by parallel iteration r=0, written by r=1"):
        interpret(f, a, 0)


def test_shared_memory_of_threads_that_parted_is_not_supported() -> None:
    @T.prim_func
    def f(A: T.Buffer((4,), "float32")):
        for t in T.thread_binding(4, thread="threadIdx.x"):
            for r in range(t):
                with T.block("inner"):
                    S = T.alloc_buffer((4,), "float32", scope="shared")
                    S[t] = A[t]
                    A[t] = S[t]

    with pytest.raises(UnsupportedError, match=r"allocation of S \(shared\) by threads one after the other"):
        interpret(f, floats(4))


def test_races_in_memory_of_one_thread() -> None:
    @T.prim_func
    def f(A: T.Buffer((2, 4), "float32")):
        L = T.alloc_buffer((4,), "float32", scope="local")
        for _ in T.thread_binding(1, thread="blockIdx.x"):
            for t in T.thread_binding(2, thread="threadIdx.x"):
                for v in T.vectorized(4):
                    L[v] = A[t, v]
            for t in T.thread_binding(2, thread="threadIdx.x"):
                for v in T.vectorized(3):
                    L[v] = L[v + 1]

    with pytest.raises(OracleError, match=r"race on L\[1\]: read by vectorized iteration v=0, written by v=1"):
        interpret(f, floats(2, 4))


def test_a_collective_inside_an_instance_of_one_thread_is_not_supported() -> None:
    @T.prim_func
    def f(A: T.Buffer((2, 4), "float32"), B: T.Buffer((2,), "float32")):
        for i in T.thread_binding(2, thread="threadIdx.y"):
            with T.block("outer"):
                vo = T.axis.spatial(2, i)
                for k in T.thread_binding(4, thread="threadIdx.x"):
                    with T.block("inner"):
                        vk = T.axis.reduce(4, k)
                        with T.init():
                            B[vo] = T.float32(0)
                        B[vo] = B[vo] + A[vo, vk]

    with pytest.raises(
        UnsupportedError, match="block inner reduces over threads inside a block instance of one thread"
    ):
        interpret(f, floats(2, 4), floats(2))


@pytest.mark.parametrize("engine", ["machine", "auto"])
def test_races_in_memory_that_is_allocated_in_the_phase(engine: str) -> None:
    @T.prim_func(s_tir=False)
    def f(A: T.Buffer((4,), "float32"), B: T.Buffer((4,), "float32")):
        for _ in T.thread_binding(1, thread="blockIdx.x"):
            S = T.alloc_buffer((4,), "float32", scope="shared")
            for t in T.thread_binding(4, thread="threadIdx.x"):
                S[t] = A[t]
                B[t] = S[0]
        for t in T.thread_binding(4, thread="threadIdx.x"):
            B[t] = B[t]
            T.tvm_storage_sync("shared")

    with pytest.raises(OracleError, match=r"race on S\[0\]: written by thread blockIdx.x=0 threadIdx.x=0, read by"):
        interpret(f, floats(4), floats(4), engine=engine)
