"""What "Dive into Deep Learning Compiler" measures on CPUs, at one size each: what is measured is right.

The book plots times over sizes; times of this project are measured by ``python -m mlcref bench``.
"""

from __future__ import annotations

import timeit
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import mlcref as tvm
from mlcref import te
from mlcref.runtime import why_no_compiler
from tests.course.d2l_operators import Tensors, broadcast_add, matmul, small_integers
from tests.course.marks import blocks_of

architecture = blocks_of("cpu_arch")
overhead = blocks_of("cpu_call_overhead")
vector_add_page = blocks_of("cpu_vector_add")
broadcast_add_page = blocks_of("cpu_broadcast_add")
matmul_page = blocks_of("cpu_matmul")
blocking = blocks_of("cpu_block_matmul")

needs_compiler = pytest.mark.skipif(why_no_compiler() is not None, reason="no C compiler")


def bench_workload(workload: Callable[[int], float]) -> float:
    """Seconds per run of ``workload``, which takes a number of runs and returns their time."""
    workload(1)
    return workload(3) / 3


@architecture(2, 3, 7, 8)
def test_operations_a_second_by_numpy() -> None:
    for dtype in ("float32", "float64", "int32"):
        x = np.ones((100, 100), dtype)
        seconds = bench_workload(timeit.Timer(lambda: np.dot(x, x)).timeit)  # noqa: B023 - called at once
        assert 2 * 100**3 / seconds / 1e9 > 0
    assert bench_workload(timeit.Timer(lambda: np.exp(np.ones((100, 100), "float32"))).timeit) > 0


@overhead((1, 4), 7, 8)
def test_the_time_of_a_copy_by_numpy_and_by_tensors() -> None:
    for n in 2 ** np.arange(1, 8):
        x = np.random.default_rng(0).standard_normal(n).astype("float32")
        y = np.empty_like(x)
        assert bench_workload(timeit.Timer(lambda: np.copyto(y, x)).timeit) > 0  # noqa: B023 - called at once
        x_nd, y_nd = tvm.nd.array(x), tvm.nd.array(y)
        assert bench_workload(timeit.Timer(lambda: x_nd.copyto(y_nd)).timeit) > 0  # noqa: B023 - called at once
        np.testing.assert_array_equal(y_nd.numpy(), x)


def gflops(args: Tensors, s: te.Schedule, operations: int, expected: np.ndarray[Any, Any]) -> float:
    """Operations a second, in billions, of a schedule that computes ``expected`` of :func:`small_integers`."""
    target = "llvm -mcpu=skylake-avx512"
    module, ctx = tvm.build(s, args, target), tvm.context(target, 0)
    a, b = (tvm.nd.array(array, ctx) for array in small_integers(args[:2]))
    c = tvm.nd.array(np.full(expected.shape, np.nan, "float32"), ctx)
    timer = module.time_evaluator(module.entry_name, ctx=ctx, number=2)
    seconds = float(timer(a, b, c).mean)
    np.testing.assert_array_equal(c.asnumpy(), expected)
    return operations / seconds / 1e9


@needs_compiler
@vector_add_page(3, 7, 9, 11)
def test_times_of_vector_additions() -> None:
    n = 4096
    A, B = te.placeholder((n,), name="a"), te.placeholder((n,), name="b")
    args = [A, B, te.compute((n,), lambda i: A[i] + B[i], name="c")]
    a, b = small_integers(args[:2])
    times = [bench_workload(timeit.Timer(lambda: np.add(a, b)).timeit)]
    default, parallel, vectorized = (te.create_schedule(args[2].op) for _ in range(3))
    parallel[args[2]].parallel(args[2].op.axis[0])
    outer, inner = vectorized[args[2]].split(args[2].op.axis[0], factor=16)
    vectorized[args[2]].parallel(outer)
    vectorized[args[2]].vectorize(inner)
    times += [gflops(args, s, n, a + b) for s in (default, parallel, vectorized)]
    assert min(times) > 0


@needs_compiler
@broadcast_add_page((1, 3), 5, 7)
def test_times_of_broadcast_additions() -> None:
    args = broadcast_add((64, 1), (64, 64))
    a, b = small_integers(args[:2])
    good, bad = te.create_schedule(args[2].op), te.create_schedule(args[2].op)
    x, y = args[2].op.axis
    good[args[2]].parallel(x)
    good[args[2]].vectorize(y)
    bad[args[2]].reorder(y, x)
    times = [bench_workload(timeit.Timer(lambda: a + b).timeit)]
    times += [gflops(args, s, 64 * 64, a + b) for s in (good, bad)]
    assert min(times) > 0


@needs_compiler
@matmul_page(1, 2, 4, 5, 7, 9)
@blocking(1, 2, 4, 6)
def test_times_of_products() -> None:
    n = 48
    args = matmul(n, n, n)
    C = args[2]
    a, b = small_integers(args[:2])
    default, reordered, parallel, tiles, cached = (te.create_schedule(C.op) for _ in range(5))
    (x, y), (k,) = C.op.axis, C.op.reduce_axis
    for s in (reordered, parallel):
        s[C].reorder(x, k, y)
    parallel[C].parallel(x)
    tiles[C].tile(x, y, 8, 16)
    cache = cached.cache_write(C, "local")
    _, place, _, _ = cached[C].tile(*C.op.axis, 8, 16)
    cached[cache].compute_at(cached[C], place)
    times = [bench_workload(timeit.Timer(lambda: a @ b).timeit)]
    times += [gflops(args, s, 2 * n**3, a @ b) for s in (default, reordered, parallel, tiles, cached)]
    assert min(times) > 0
