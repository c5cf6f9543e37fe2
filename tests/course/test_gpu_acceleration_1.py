"""The course's chapter on GPU acceleration, part 1, in our own words: threads, shared memory, local blocking, and
cooperative fetching.

The schedules run at the sizes of the chapter; the oracle, which runs threads in lock step, judges them at small sizes.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import mlcref as tvm
from mlcref import interpret
from mlcref.errors import MlcrefError
from mlcref.ir import For, IRModule, PrimFunc, walk
from mlcref.interp import findings
from mlcref.lower import lower
from mlcref.script import from_source
from tests.course.marks import blocks_of

part_1 = blocks_of("gpu_1")

VECTOR_ADD = """
@T.prim_func
def main(A: T.Buffer((N,), "float32"), B: T.Buffer((N,), "float32"), C: T.Buffer((N,), "float32")) -> None:
    T.func_attr({"global_symbol": "main", "tir.noalias": True})
    for i in T.grid(N):
        with T.block("C"):
            vi = T.axis.remap("S", [i])
            C[vi] = A[vi] + B[vi]
"""
WINDOW_SUM = """
@T.prim_func
def main(A: T.Buffer((N + 3,), "float32"), B: T.Buffer((N,), "float32")) -> None:
    T.func_attr({"global_symbol": "main", "tir.noalias": True})
    for i in T.grid(N):
        with T.block("C"):
            vi = T.axis.remap("S", [i])
            B[vi] = A[vi] + A[vi + 1] + A[vi + 2]
"""
MATMUL = """
@T.prim_func
def main(A: T.Buffer((N, N), "float32"), B: T.Buffer((N, N), "float32"), C: T.Buffer((N, N), "float32")) -> None:
    T.func_attr({"global_symbol": "main", "tir.noalias": True})
    for i, j, k in T.grid(N, N, N):
        with T.block("C"):
            vi, vj, vk = T.axis.remap("SSR", [i, j, k])
            with T.init():
                C[vi, vj] = 0.0
            C[vi, vj] = C[vi, vj] + A[vi, vk] * B[vk, vj]
"""


def module(text: str, n: int) -> IRModule:
    return IRModule({"main": from_source(text, env={"N": n})})


def bound(func: PrimFunc) -> list[tuple[str, int]]:
    """The thread axes of a program with their extents, outer to inner."""
    return [(node.thread, int(node.extent)) for node in walk(func.body) if isinstance(node, For) and node.thread]  # type: ignore[call-overload,misc]


def small_integers(func: PrimFunc, seed: int = 0) -> list[np.ndarray[Any, Any]]:
    """Arguments on which sums of float32 are exact."""
    rng = np.random.default_rng(seed)
    return [rng.integers(-4, 5, [int(n) for n in buffer.shape]).astype(buffer.dtype) for buffer in func.buffers]


def ran(mod: IRModule) -> list[np.ndarray[Any, Any]]:
    """The arrays after a run that starts without an output, in a program whose blocks are what they say."""
    func = mod["main"]
    arrays = small_integers(func)
    assert findings(func, *small_integers(func)) == []
    interpret(func, *arrays, poison=(func.buffers[-1].name,))
    return arrays


def on_threads(mod: IRModule, nthread: int) -> tuple[Any, Any, Any]:
    sch = tvm.tir.Schedule(mod)
    block = sch.get_block("C")
    (i,) = sch.get_loops(block=block)
    i0, i1 = sch.split(i, [None, nthread])
    sch.bind(i0, "blockIdx.x")
    sch.bind(i1, "threadIdx.x")
    return sch, block, i1


@part_1((2, 5))
def test_vector_add_on_blocks_of_threads() -> None:
    sch, _, _ = on_threads(module(VECTOR_ADD, 1024), 128)
    assert bound(sch.mod["main"]) == [("blockIdx.x", 8), ("threadIdx.x", 128)]
    small, _, _ = on_threads(module(VECTOR_ADD, 24), 8)
    a, b, c = ran(small.mod)
    np.testing.assert_array_equal(c, a + b)


def window_sum(n: int, nthread: int) -> Any:
    """A stretch of the input in shared memory, fetched by all threads of a block together."""
    sch, block, i1 = on_threads(module(WINDOW_SUM, n), nthread)
    shared = sch.cache_read(block, read_buffer_index=0, storage_scope="shared")
    sch.compute_at(shared, i1)
    fetch = sch.get_loops(shared)[-1]
    _, inner = sch.split(fetch, [None, nthread])
    sch.bind(inner, "threadIdx.x")
    return sch


@part_1((7, 10))
def test_window_sum_fetches_cooperatively() -> None:
    sch = window_sum(1024, 128)
    func = sch.mod["main"]
    assert ("threadIdx.x", 128) in bound(func)[2:]  # of the fetch, whose 130 elements take two rounds
    assert [buffer.scope for buffer in func.root.alloc_buffers] == ["shared"]
    a, b = ran(window_sum(32, 8).mod)
    np.testing.assert_array_equal(b, a[:-3] + a[1:-2] + a[2:-1])


@part_1(9)
def test_threads_that_fetch_for_themselves_give_the_same() -> None:
    """Before the fetch is bound, each thread brings its own window."""
    sch, block, i1 = on_threads(module(WINDOW_SUM, 16), 4)
    sch.compute_at(sch.cache_read(block, 0, "shared"), i1)
    a, b = ran(sch.mod)
    np.testing.assert_array_equal(b, a[:-3] + a[1:-2] + a[2:-1])


def blocking(sch: Any, local_y: int, local_x: int, block_y: int, block_x: int, tile_k: int) -> Any:
    block = sch.get_block("C")
    local = sch.cache_write(block, 0, "local")
    i, j, k = sch.get_loops(block=block)
    i0, i1, i2 = sch.split(loop=i, factors=[None, block_y, local_y])
    j0, j1, j2 = sch.split(loop=j, factors=[None, block_x, local_x])
    k0, k1 = sch.split(loop=k, factors=[None, tile_k])
    sch.unroll(k1)
    sch.reorder(i0, j0, i1, j1, k0, k1, i2, j2)
    sch.reverse_compute_at(local, j1)
    for loop, axis in ((i0, "blockIdx.y"), (j0, "blockIdx.x"), (i1, "threadIdx.y"), (j1, "threadIdx.x")):
        sch.bind(loop, axis)
    sch.decompose_reduction(block, k0)
    return sch


@part_1(13, 14)
def test_local_blocking() -> None:
    sch = blocking(tvm.tir.Schedule(module(MATMUL, 1024)), 8, 8, 8, 8, 4)
    axes = bound(sch.mod["main"])[:4]
    assert axes == [("blockIdx.y", 16), ("blockIdx.x", 16), ("threadIdx.y", 8), ("threadIdx.x", 8)]
    small = blocking(tvm.tir.Schedule(module(MATMUL, 8)), 2, 2, 2, 2, 4)
    a, b, c = ran(small.mod)
    np.testing.assert_array_equal(c, a @ b)


def fetch_together(sch: Any, block: Any, nthread: int, index: int, at: Any, lanes: int) -> None:
    cache = sch.cache_read(block=block, read_buffer_index=index, storage_scope="shared")
    sch.compute_at(block=cache, loop=at)
    inner = sch.fuse(*sch.get_loops(block=cache)[-2:])
    _, tx, vec = sch.split(loop=inner, factors=[None, nthread, lanes])
    sch.vectorize(vec)
    sch.bind(tx, "threadIdx.x")


def blocking_with_shared(
    sch: Any, local_y: int, local_x: int, block_y: int, block_x: int, tile_k: int, lanes: int = 4
) -> Any:
    block = sch.get_block("C")
    local = sch.cache_write(block, 0, "local")
    i, j, k = sch.get_loops(block=block)
    i0, i1, i2 = sch.split(loop=i, factors=[None, block_y, local_y])
    j0, j1, j2 = sch.split(loop=j, factors=[None, block_x, local_x])
    k0, k1 = sch.split(loop=k, factors=[None, tile_k])
    sch.reorder(i0, j0, i1, j1, k0, k1, i2, j2)
    sch.reverse_compute_at(local, j1)
    sch.bind(i0, "blockIdx.y")
    sch.bind(j0, "blockIdx.x")
    tx = sch.fuse(i1, j1)
    sch.bind(tx, "threadIdx.x")
    nthread = block_y * block_x
    fetch_together(sch, block, nthread, 0, k0, lanes)
    fetch_together(sch, block, nthread, 1, k0, lanes)
    sch.decompose_reduction(block, k0)
    return sch


@part_1(16)
def test_shared_memory_blocking() -> None:
    sch = blocking_with_shared(tvm.tir.Schedule(module(MATMUL, 1024)), 8, 8, 8, 8, 8)
    func = sch.mod["main"]
    assert sorted(buffer.scope for buffer in func.root.alloc_buffers) == ["local", "shared", "shared"]
    assert [axis for axis, _ in bound(func)].count("threadIdx.x") == 3
    small = blocking_with_shared(tvm.tir.Schedule(module(MATMUL, 8)), 2, 2, 2, 2, 4, lanes=2)
    a, b, c = ran(small.mod)
    np.testing.assert_array_equal(c, a @ b)


def test_local_blocking_runs_on_the_cpu_too() -> None:
    """Without shared memory the threads keep to themselves: lowering makes loops of them."""
    sch = blocking(tvm.tir.Schedule(module(MATMUL, 32)), 2, 2, 4, 4, 4)
    a, b, c = small_integers(sch.mod["main"])
    interpret(lower(sch.mod["main"]), a, b, c)
    np.testing.assert_array_equal(c, a @ b)


@part_1(6, 11, 12, 15, 17, 19)
@pytest.mark.parametrize("target", ["cuda", "metal"])
def test_what_needs_a_gpu_is_refused_by_name(target: str) -> None:
    """The chapter builds and measures with CUDA and Metal, prints the device code, and tunes for a Tesla P100: there is
    no generator of such code here yet, and saying so beats another target's code.
    """
    sch, _, _ = on_threads(module(VECTOR_ADD, 1024), 128)
    with pytest.raises(MlcrefError, match=target):
        tvm.compile(sch.mod, target=target)
