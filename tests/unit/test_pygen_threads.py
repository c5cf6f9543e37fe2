"""Threads in generated code: the machine's bits, and every doubt left to the machine."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from mlcref.errors import OracleError, UnsupportedError
from mlcref.interp import execute, interpret
from mlcref.interp.pygen import execute_generated, source
from mlcref.ir import PrimFunc
from mlcref.script import from_source


def floats(*shape: int) -> Any:
    return np.arange(np.prod(shape), dtype="float32").reshape(shape)


def finished(func: PrimFunc, *args: Any) -> bool:
    """Does generated code finish? Then it has the machine's cells and marks, in both forms."""
    wanted = execute(func, args, engine="machine")
    done = [execute_generated(func, args, (), arrays=arrays) for arrays in (True, False)]
    for binding in done:
        for got, want in zip(binding.slots if binding else (), wanted.slots, strict=False):
            assert [repr(cell) for cell in got.view.storage.cells] == [repr(cell) for cell in want.view.storage.cells]
            assert bytes(got.view.storage.touched) == bytes(want.view.storage.touched)
    return None not in done


def reports(func: PrimFunc, *args: Any) -> str:
    """The report of the machine, which generated code leads to as well."""
    for arrays in (True, False):
        assert execute_generated(func, args, (), arrays=arrays) is None
    texts = []
    for engine in ("machine", "pygen", "auto"):
        with pytest.raises(OracleError, match=r"\[") as caught:
            interpret(func, *(np.copy(arg) if isinstance(arg, np.ndarray) else arg for arg in args), engine=engine)
        texts.append(str(caught.value))
    assert texts[0] == texts[1] == texts[2]
    return texts[0]


MATMUL = """
@T.prim_func
def f(A: T.Buffer((8, 8), "float32"), B: T.Buffer((8, 8), "float32"), C: T.Buffer((8, 8), "float32")):
    A_s = T.alloc_buffer((8, 8), "float32", scope="shared")
    C_l = T.alloc_buffer((8, 8), "float32", scope="local")
    for by in T.thread_binding(2, thread="blockIdx.y"):
        for ty in T.thread_binding(4, thread="threadIdx.y"):
            for tx in T.thread_binding(4, thread="threadIdx.x"):
                for k0 in range(2):
                    for ay in T.thread_binding(4, thread="threadIdx.y"):
                        for ax in T.thread_binding(4, thread="threadIdx.x"):
                            with T.block("A_s"):
                                v0 = T.axis.spatial(8, by * 4 + {row})
                                v1 = T.axis.spatial(8, k0 * 4 + ax)
                                A_s[v0, v1] = A[v0, v1]
                    for j, k1 in T.grid(2, 4):
                        with T.block("C"):
                            vi = T.axis.spatial(8, by * 4 + ty)
                            vj = T.axis.spatial(8, tx * 2 + j)
                            vk = T.axis.reduce(8, k0 * 4 + k1)
                            with T.init():
                                C_l[vi, vj] = T.float32(0)
                            C_l[vi, vj] = C_l[vi, vj] + A_s[vi, vk] * B[vk, vj]
                for j in range(2):
                    with T.block("C_l"):
                        vi = T.axis.spatial(8, by * 4 + ty)
                        vj = T.axis.spatial(8, tx * 2 + j)
                        C[vi, vj] = C_l[vi, vj]
"""


def test_a_tiled_matmul_becomes_numpy_statements() -> None:
    func = from_source(MATMUL.format(row="ay"))
    a, b, c = floats(8, 8), floats(8, 8)[::-1].copy(), np.zeros((8, 8), "float32")
    assert finished(func, a, b, c)
    assert "ordered(" in source(func) and "Threads()" not in source(func)


def test_an_element_that_no_thread_fetches_is_undefined() -> None:
    func = from_source(MATMUL.format(row="ay // 2"))
    a, b, c = floats(8, 8), floats(8, 8), np.zeros((8, 8), "float32")
    assert "A_s[2, 0]" in reports(func, a, b, c)


def test_a_race_of_threads_and_of_blocks() -> None:
    text = """
@T.prim_func
def f(A: T.Buffer((4,), "float32")):
    for t in T.thread_binding(4, thread="{tag}"):
        A[3 - t] = A[t]
"""
    for tag in ("threadIdx.x", "blockIdx.x"):
        assert f"race on A[2]: written by thread {tag}=1, read by {tag}=2" in reports(
            from_source(text.format(tag=tag)), floats(4)
        )


def test_the_same_bits_are_no_race() -> None:
    text = """
@T.prim_func
def f(A: T.Buffer((4,), "float32"), B: T.Buffer((1,), "float32")):
    for t in T.thread_binding(4, thread="threadIdx.x"):
        B[0] = A[t]
"""
    func = from_source(text)
    assert finished(func, np.full(4, 3, "float32"), floats(1))
    assert finished(func, np.full(4, np.nan, "float32"), floats(1))
    assert "thread.race" in reports(func, np.array([0.0, -0.0, 0.0, 0.0], "float32"), floats(1))


EXPLICIT = """
@T.prim_func(s_tir=False)
def f(A: T.Buffer((2, 4), "float32"), n: T.int32):
    b = T.launch_thread("blockIdx.x", 2)
    S = T.alloc_buffer((4,), "float32", scope="shared")
    t = T.launch_thread("threadIdx.x", 4)
    S[t] = A[b, t]
    {barrier}
    A[b, t] = S[3 - t]
    T.tvm_storage_sync("shared")
"""


@pytest.mark.parametrize(
    ("barrier", "rule"),
    [('T.tvm_storage_sync("shared")', ""), ("T.evaluate(0)", "thread.race"),
     ('if t < 2:\n        T.tvm_storage_sync("shared")', "thread.sync"),
     ('if n < 2:\n        T.tvm_storage_sync("shared")', ""),
     ('for i in range(n):\n        T.tvm_storage_sync("shared")', ""),
     ('for i in range(t):\n        T.tvm_storage_sync("shared")', "thread.sync"),
     ('if A[b, t] < T.float32(99):\n        T.tvm_storage_sync("shared")', "")],
)  # fmt: skip
def test_written_barriers(barrier: str, rule: str) -> None:
    func = from_source(EXPLICIT.format(barrier=barrier))
    if rule:
        assert rule in reports(func, floats(2, 4), 1)
    else:
        assert finished(func, floats(2, 4), 1)


def test_threads_that_part_ways_are_one_phase() -> None:
    text = """
@T.prim_func
def f(A: T.Buffer((4,), "float32"), B: T.Buffer((4,), "float32"), n: T.int32):
    for t in T.thread_binding(4, thread="threadIdx.x"):
        if t < n:
            A[t] = T.float32(7)
            B[t] = A[{other}]
"""
    apart, crossing = from_source(text.format(other="t")), from_source(text.format(other="3 - t"))
    for n in (0, 3, 4):
        assert finished(apart, floats(4), floats(4), n)
    assert finished(crossing, floats(4), floats(4), 4)  # all of them agree: there is a barrier
    assert "thread.race" in reports(crossing, floats(4), floats(4), 3)


def test_variables_around_barriers_belong_to_a_thread() -> None:
    text = """
@T.prim_func
def f(A: T.Buffer((4,), "float32"), I: T.Buffer((4,), "int32")):
    S = T.alloc_buffer((4,), "float32", scope="shared")
    for t in T.thread_binding(4, thread="threadIdx.x"):
        with T.block("b"):
            v = T.axis.spatial(4, I[t])
            w = T.axis.opaque(4, 3 - t)
            S[v] = A[w]
            A[v] = S[w]
"""
    func = from_source(text)
    assert finished(func, floats(4), np.array([2, 0, 3, 1], "int32"))
    assert "block.domain" in reports(func, floats(4), np.array([2, 0, 4, 1], "int32"))
    assert "thread.race" in reports(func, floats(4), np.array([2, 0, 2, 1], "int32"))


def test_private_memory_of_two_nests_of_one_kernel() -> None:
    text = """
@T.prim_func
def f(A: T.Buffer((4,), "float32")):
    L = T.alloc_buffer((1,), "float32", scope="local")
    for b in T.thread_binding(1, thread="blockIdx.x"):
        for t in T.thread_binding(4, thread="threadIdx.x"):
            L[0] = A[t]
        for u in T.thread_binding({extent}, thread="{tag}"):
            A[u] = L[0] + L[0]
"""
    assert finished(from_source(text.format(extent=4, tag="threadIdx.x")), floats(4))
    assert finished(from_source(text.format(extent=2, tag="threadIdx.x")), floats(4))
    assert not finished(from_source(text.format(extent=2, tag="threadIdx.y")), floats(4))  # undefined values


def test_a_reduction_over_threads() -> None:
    text = """
@T.prim_func
def f(A: T.Buffer((2, 4), "float32"), B: T.Buffer((2,), "float32")):
    for i in T.thread_binding(2, thread="blockIdx.x"):
        for k in T.thread_binding(4, thread="threadIdx.x"):
            with T.block("B"):
                vi = T.axis.spatial(2, i)
                vk = T.axis.reduce(4, {k})
                with T.init():
                    B[vi] = T.float32(0)
                B[{i}] = B[{i}] + A[vi, vk]
"""
    assert finished(from_source(text.format(k="k", i="vi")), floats(2, 4), floats(2))
    assert "block.init" in reports(from_source(text.format(k="3 - k", i="vi")), floats(2, 4), floats(2))
    assert "block.repeat" in reports(from_source(text.format(k="k // 2", i="vi")), floats(2, 4), floats(2))
    assert "thread.race" in reports(from_source(text.format(k="k", i="0")), floats(2, 4), floats(2))


ALLREDUCE = """
@T.prim_func(s_tir=False)
def f(A: T.Buffer((2, 2, 4), "float32"), B: T.Buffer((2, 2), "float32")):
    total = T.alloc_buffer((1,), "float32", scope="{scope}")
    b = T.launch_thread("blockIdx.x", 2)
    s = T.launch_thread("threadIdx.y", 2)
    t = T.launch_thread("threadIdx.x", 4)
    with T.attr(T.comm_reducer(lambda x, y: {combine}, [T.float32(0)]), "reduce_scope", T.reinterpret("handle", T.uint64(0))):
        T.tvm_thread_allreduce(T.uint32(1), A[b, s, t], t < 3, total[0], t)
    B[b, s] = total[0]
"""  # noqa: E501


@pytest.mark.parametrize("combine", ["x + y", "T.max(x, y)", "x - y"])
def test_an_allreduce(combine: str) -> None:
    func = from_source(ALLREDUCE.format(scope="local", combine=combine))
    assert finished(func, floats(2, 2, 4) / np.float32(3), floats(2, 2))
    assert "thread.race" in reports(
        from_source(ALLREDUCE.format(scope="shared", combine=combine)), floats(2, 2, 4), floats(2, 2)
    )


def test_other_extents_for_an_open_axis() -> None:
    text = """
@T.prim_func
def f(A: T.Buffer((4,), "float32")):
    for t in T.thread_binding(4, thread="threadIdx.x"):
        for u in T.thread_binding(2, thread="threadIdx.x"):
            A[u] = A[u] + T.float32(1)
"""
    assert "thread.extent" in reports(from_source(text), floats(4))


def test_an_epoch_of_each_thread() -> None:
    text = """
@T.prim_func
def f(A: T.Buffer((4, 4), "float32"), B: T.Buffer((4,), "float32")):
    for t in T.thread_binding(4, thread="threadIdx.x"):
        for k in range(4):
            with T.block("B"):
                vi = T.axis.spatial(4, {i})
                vk = T.axis.reduce(4, (k {shift}) % 4)
                with T.init():
                    B[vi] = T.float32(0)
                B[vi] = B[vi] + A[vi, vk]
                A[vi, vk] = T.float32(0)
"""
    assert finished(from_source(text.format(i="t", shift="")), floats(4, 4), floats(4))
    assert "block.init" in reports(from_source(text.format(i="t", shift="+ 1")), floats(4, 4), floats(4))
    assert "thread.race" in reports(from_source(text.format(i="t // 2", shift="")), floats(4, 4), floats(4))


# --- other names for memory ---

MATCHED = """
@T.prim_func
def f(A: T.Buffer((4, 6), "float32"), n: T.int32):
    for i in {loop}:
        with T.block("row"):
            vi = T.axis.spatial(4, i)
            s = T.int32()
            e = T.int32()
            T.reads(A[vi, {low}:{low} + 3])
            T.writes(A[vi, {low}:{low} + 3])
            R = T.match_buffer(A[vi, {low}:{low} + 3], ({extent},), "float32", strides=[s], elem_offset=e)
            for j in range(2):
                R[j] = R[j + 1] + T.float32(1) + T.Cast("float32", s + e)
"""


@pytest.mark.parametrize("loop", ["range(4)", "T.parallel(4)", 'T.thread_binding(4, thread="threadIdx.x")'])
def test_matched_buffers(loop: str) -> None:
    for low in ("1", "vi", "n"):
        assert finished(from_source(MATCHED.format(loop=loop, low=low, extent=3)), floats(4, 6), 2)
    assert "memory.bounds" in reports(from_source(MATCHED.format(loop=loop, low="vi + 1", extent=3)), floats(4, 6), 2)
    assert "memory.bounds" in reports(from_source(MATCHED.format(loop=loop, low="n", extent=3)), floats(4, 6), 5)
    assert "memory.alias" in reports(from_source(MATCHED.format(loop=loop, low="1", extent=2)), floats(4, 6), 2)


def test_two_names_for_one_element_race() -> None:
    text = """
@T.prim_func
def f(A: T.Buffer((8,), "float32")):
    for i in T.parallel(4):
        with T.block("pair"):
            vi = T.axis.spatial(4, i)
            T.reads(A[0:8])
            T.writes(A[0:8])
            R = T.match_buffer(A[vi:vi + 2], (2,), "float32")
            R[{j}] = T.float32(1)
"""
    assert finished(from_source(text.format(j="0")), floats(8))
    assert "loop.race" in reports(from_source(text.format(j="vi % 2")), floats(8))


DECLARED = """
@T.prim_func(s_tir=False)
def f(A: T.Buffer((12,), "float32"), n: T.int32):
    for i in range(3):
        R = T.decl_buffer((2, 3), "float32", data=A.data, elem_offset={offset})
        for j, k in T.grid(2, 3):
            R[j, k] = R[j, k] + T.float32(1)
"""


def test_declared_buffers() -> None:
    assert finished(from_source(DECLARED.format(offset="i * 3")), floats(12), 2)
    assert finished(from_source(DECLARED.format(offset="i + n")), floats(12), 2)
    assert "outside of the memory it is a view of" in reports(
        from_source(DECLARED.format(offset="i + n")), floats(12), 5
    )


# --- the order of reductions ---


def test_a_reduction_whose_outer_loop_does_more() -> None:
    text = """
@T.prim_func
def f(A: T.Buffer((8, 8), "float32"), B: T.Buffer((8, 8), "float32"), C: T.Buffer((8, 8), "float32")):
    S = T.alloc_buffer((8, 8), "float32")
    for k0 in range(2):
        for i, k in T.grid(8, 4):
            with T.block("S"):
                vi = T.axis.spatial(8, i)
                vk = T.axis.spatial(8, k0 * 4 + k)
                S[vi, vk] = A[vi, vk]
        for i, j, k1 in T.grid(8, 8, 4):
            with T.block("C"):
                vi, vj = T.axis.remap("SS", [i, j])
                vk = T.axis.reduce(8, k0 * 4 + k1)
                with T.init():
                    C[vi, vj] = T.float32(0)
                C[vi, vj] = C[vi, vj] + S[vi, vk] * B[vk, vj]
"""
    assert finished(from_source(text), floats(8, 8), floats(8, 8), floats(8, 8))


def test_a_condition_that_cuts_off_the_start_of_a_reduction() -> None:
    text = """
@T.prim_func
def f(A: T.Buffer((4,), "float32"), B: T.Buffer((1,), "float32")):
    for k in range(4):
        with T.block("B"):
            vk = T.axis.reduce(4, k)
            T.where({condition})
            with T.init():
                B[0] = T.float32(0)
            B[0] = B[0] + A[vk]
"""
    assert finished(from_source(text.format(condition="k < 3")), floats(4), floats(1))
    assert "block.init" in reports(from_source(text.format(condition="k > 0")), floats(4), floats(1))


def test_a_break_leaves_the_loop_around_the_threads() -> None:
    func = from_source("""
@T.prim_func
def f(A: T.Buffer((4,), "float32"), B: T.Buffer((40,), "float32")):
    for i in range(40):
        B[i] = T.float32(1)
        for t in T.thread_binding(4, thread="threadIdx.x"):
            if A[t] > T.float32(2):
                break
""")
    with pytest.raises(UnsupportedError, match="break or continue out of a thread axis"):
        interpret(func, floats(4), floats(40), engine="pygen")
    b = np.zeros(40, "float32")
    interpret(func, floats(4), b)
    assert b.sum() == 1
