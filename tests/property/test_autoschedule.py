"""Schedules that rules make: each instruction means what the program before it does, on machines so small that small
programs get tiles, tails, packed panels, partial sums and threads."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import mlcref
from mlcref import te
from mlcref.autoschedule import Machine, autoschedule
from mlcref.ir import IRModule, Max, PrimFunc, blocks_in, call, conjunction, const
from mlcref.testing.backend import assert_backend_matches
from mlcref.testing.strategies import programs
from mlcref.verify import check_equivalent

extents = st.integers(1, 9)
machines = st.builds(
    Machine, vector_bytes=st.sampled_from([8, 16]), registers=st.sampled_from([8, 12]),
    l2_bytes=st.sampled_from([64, 512]), threads=st.sampled_from([1, 2, 3]), terms=st.sampled_from([2, 3, 64]),
    parallel_work=st.just(0),
)  # fmt: skip
quick = settings(max_examples=12, suppress_health_check=[HealthCheck.too_slow])


def matmul(batch: list[int], rows: int, columns: int, terms: int, turned: bool, dtype: str = "float32") -> PrimFunc:
    """``C[…, i, j] += A[…, i, k] * B[…, k, j]``, or ``B[…, j, k]``."""
    A = te.placeholder((*batch, rows, terms), dtype, name="A")
    B = te.placeholder((*batch, columns, terms) if turned else (*batch, terms, columns), dtype, name="B")
    k = te.reduce_axis((0, terms), name="k")

    def element(*index: Any) -> Any:
        *outer, i, j = index
        return te.sum(A[(*outer, i, k)] * B[(*outer, j, k) if turned else (*outer, k, j)], axis=k)

    return te.create_prim_func([A, B, te.compute((*batch, rows, columns), element, name="C")])


def conv2d(size: int, inputs: int, outputs: int, kernel: int, stride: int, padding: int) -> PrimFunc:
    """A convolution of a square image, NHWC, weights HWIO."""
    X = te.placeholder((1, size, size, inputs), name="X")
    W = te.placeholder((kernel, kernel, inputs, outputs), name="W")
    wide = size + 2 * padding

    def padded(b: Any, i: Any, j: Any, c: Any) -> Any:
        inside = conjunction((i >= padding, i < size + padding, j >= padding, j < size + padding))
        return call("if_then_else", inside, X[b, i - padding, j - padding, c], const(0.0, "float32"))

    P = te.compute((1, wide, wide, inputs), padded, name="P") if padding else X
    out = (wide - kernel) // stride + 1
    y, x, c = (te.reduce_axis((0, n), name=name) for n, name in ((kernel, "y"), (kernel, "x"), (inputs, "c")))
    Y = te.compute(
        (1, out, out, outputs),
        lambda b, i, j, o: te.sum(P[b, i * stride + y, j * stride + x, c] * W[y, x, c, o], axis=[y, x, c]),
        name="Y",
    )
    return te.create_prim_func([X, W, Y])


def channels_first(size: int, inputs: int, outputs: int, kernel: int, stride: int, clipped: bool) -> PrimFunc:
    """A convolution of a square image, NCHW, weights OIHW; its results may be clipped."""
    X = te.placeholder((1, inputs, size, size), name="X")
    W, out = te.placeholder((outputs, inputs, kernel, kernel), name="W"), (size - kernel) // stride + 1
    c, y, x = (te.reduce_axis((0, n), name=name) for n, name in ((inputs, "c"), (kernel, "y"), (kernel, "x")))
    Y = te.compute(
        (1, outputs, out, out),
        lambda b, o, i, j: te.sum(X[b, c, i * stride + y, j * stride + x] * W[o, c, y, x], axis=[c, y, x]),
        name="Y",
    )
    if not clipped:
        return te.create_prim_func([X, W, Y])
    Z = te.compute(Y.shape, lambda b, o, i, j: Max(Y[b, o, i, j], zero), name="Z")
    return te.create_prim_func([X, W, Z])


def dense(rows: int, columns: int, terms: int) -> PrimFunc:
    """A product, a bias and a clipping."""
    A, B = te.placeholder((rows, terms), name="A"), te.placeholder((terms, columns), name="B")
    bias, k = te.placeholder((columns,), name="bias"), te.reduce_axis((0, terms), name="k")
    C = te.compute((rows, columns), lambda i, j: te.sum(A[i, k] * B[k, j], axis=k), name="C")
    D = te.compute((rows, columns), lambda i, j: C[i, j] + bias[j], name="D")
    return te.create_prim_func([A, B, bias, te.compute((rows, columns), lambda i, j: Max(D[i, j], zero), name="E")])


def window(size: int, channels: int, kernel: int, stride: int, depthwise: bool) -> PrimFunc:
    """A depthwise convolution, or the largest element of each window, NHWC."""
    X, out = te.placeholder((1, size, size, channels), name="X"), (size - kernel) // stride + 1
    W = te.placeholder((kernel, kernel, channels), name="W")
    y, x = te.reduce_axis((0, kernel), name="y"), te.reduce_axis((0, kernel), name="x")

    def element(b: Any, i: Any, j: Any, c: Any) -> Any:
        read = X[b, i * stride + y, j * stride + x, c]
        return te.sum(read * W[y, x, c], axis=[y, x]) if depthwise else te.max(read, axis=[y, x])

    Y = te.compute((1, out, out, channels), element, name="Y")
    return te.create_prim_func([X, W, Y] if depthwise else [X, Y])


def column_sums(rows: int, columns: int) -> PrimFunc:
    """The sum of each column."""
    X, k = te.placeholder((rows, columns), name="X"), te.reduce_axis((0, rows), name="k")
    return te.create_prim_func([X, te.compute((columns,), lambda j: te.sum(X[k, j], axis=k), name="Y")])


zero = const(0.0, "float32")
def conv2d_channels_first(size: int, inputs: int, outputs: int, kernel: int, stride: int) -> PrimFunc:
    """A convolution of a square image, NCHW, weights OIHW."""
    X = te.placeholder((1, inputs, size, size), name="X")
    W = te.placeholder((outputs, inputs, kernel, kernel), name="W")
    out = (size - kernel) // stride + 1
    c, y, x = (te.reduce_axis((0, n), name=name) for n, name in ((inputs, "c"), (kernel, "y"), (kernel, "x")))
    Y = te.compute(
        (1, outputs, out, out),
        lambda b, o, i, j: te.sum(X[b, c, i * stride + y, j * stride + x] * W[o, c, y, x], axis=[c, y, x]),
        name="Y",
    )
    return te.create_prim_func([X, W, Y])


products = st.builds(matmul, st.lists(st.integers(1, 3), max_size=1), extents, extents, extents, st.booleans())
convolutions = st.builds(
    conv2d, st.integers(3, 5), st.integers(1, 2), st.integers(1, 5), st.integers(1, 3), st.integers(1, 2),
    st.integers(0, 1),
)  # fmt: skip
others = st.one_of(
    st.builds(channels_first, st.integers(3, 6), st.integers(1, 3), extents, st.integers(1, 3), st.integers(1, 2),
              st.booleans()),
    st.builds(dense, extents, extents, extents),
    st.builds(window, st.integers(4, 6), extents, st.integers(1, 3), st.integers(1, 2), st.booleans()),
    st.builds(column_sums, extents, extents),
    st.builds(
        conv2d_channels_first, st.integers(3, 6), st.integers(1, 2), extents, st.integers(1, 3), st.integers(1, 2)
    ),
)


@quick
@given(st.one_of(products, convolutions, others, others), machines)
def test_schedules_mean_the_same(func: PrimFunc, machine: Machine) -> None:
    sch = autoschedule(func, machine=machine, check="oracle")
    assert all(inst.verdict is None or bool(inst.verdict) for inst in sch.trace.insts)
    assert check_equivalent(func, sch.mod["main"], minimize=False, max_statements=200_000)


@settings(max_examples=60)
@given(programs(), machines)
def test_drawn_programs_keep_their_meaning(func: PrimFunc, machine: Machine) -> None:
    sch = autoschedule(func, machine=machine)
    assert check_equivalent(func, sch.mod["main"], minimize=False, max_statements=200_000)


SHAPES = [(7, 9, 5), (13, 33, 70), (30, 10, 8), (24, 128, 16)]


@pytest.mark.parametrize("threads", [1, 2])
def test_compiled_kernels_match_the_oracle(threads: int) -> None:
    made = [matmul([], *shape, turned=False) for shape in SHAPES]
    made += [dense(13, 33, 7), window(9, 19, 3, 1, True), window(9, 19, 3, 2, False), column_sums(11, 35)]
    made += [channels_first(9, 3, 20, 3, 1, True), channels_first(10, 5, 18, 1, 2, False)]
    funcs = {f"f{i}": func for i, func in enumerate(made)}
    machine = Machine(threads=threads, terms=32, parallel_work=0)
    module = mlcref.compile(autoschedule(IRModule(funcs), machine=machine).mod, f"cython --num-cores={threads}")
    for name, func in funcs.items():
        assert_backend_matches(func, module[name], ("small-int", "random"), trials=1, seed=0)


@pytest.mark.parametrize(("kernel", "stride", "size"), [(1, 1, 5), (1, 2, 5), (2, 1, 3)])
@pytest.mark.parametrize("threads", [1, 2])
def test_pixels_of_channels_first_are_lanes(kernel: int, stride: int, size: int, threads: int) -> None:
    func = conv2d_channels_first(size, 3, 9, kernel, stride)
    machine = Machine(vector_bytes=16, registers=12, l2_bytes=256, threads=threads, parallel_work=0)
    sch = autoschedule(func, machine=machine, check="oracle")
    assert "reindex_cache_read" in str(sch.trace)
    assert check_equivalent(func, sch.mod["main"], minimize=False, max_statements=200_000)


@pytest.mark.parametrize("threads", [1, 2])
def test_what_follows_pixels_is_done_where_their_tile_is_written(threads: int) -> None:
    func = channels_first(5, 3, 9, 1, 1, True)
    machine = Machine(vector_bytes=16, registers=12, l2_bytes=256, threads=threads, parallel_work=0)
    sch = autoschedule(func, machine=machine, check="oracle")
    assert "reverse_compute_inline" in str(sch.trace)
    assert [buffer.name for buffer in sch.mod["main"].root.alloc_buffers if len(buffer.shape) == 4] == []
    assert check_equivalent(func, sch.mod["main"], minimize=False, max_statements=200_000)


@pytest.mark.parametrize("stays", [False, True])
def test_copies_as_they_are_are_not_made(stays: bool) -> None:
    """Such as the padding of a convolution that has none; one that keeps two operands apart stays."""
    A, B = te.placeholder((6, 5), name="A"), te.placeholder((6, 5), name="B")
    copied, k = te.compute((6, 5), lambda i, j: A[i, j], name="copied"), te.reduce_axis((0, 5), name="k")
    other = A if stays else B
    out = te.compute((6, 6), lambda i, j: te.sum(copied[i, k] * other[j, k], axis=k), name="C")
    func = te.create_prim_func([A, B, out])
    sch = autoschedule(func, machine=Machine(vector_bytes=16, threads=1), check="oracle")
    assert ("copied" in [block.name for block in blocks_in(sch.mod["main"].body)]) == stays
    assert check_equivalent(func, sch.mod["main"], minimize=False)


@given(st.integers(1, 9), st.integers(1, 9), st.booleans(), machines)
@settings(max_examples=20)
def test_products_of_a_matrix_with_itself(rows: int, terms: int, turned: bool, machine: Machine) -> None:
    terms = terms if turned else rows
    A, k = te.placeholder((rows, terms), name="A"), te.reduce_axis((0, terms), name="k")
    C = te.compute((rows, rows), lambda i, j: te.sum(A[i, k] * (A[j, k] if turned else A[k, j]), axis=k), name="C")
    func = te.create_prim_func([A, C])
    assert check_equivalent(func, autoschedule(func, machine=machine).mod["main"], minimize=False)


@pytest.mark.parametrize("size", [7, 20])
def test_vectors_reach_over_the_ends_of_rows(size: int) -> None:
    func = conv2d_channels_first(size, 8, 24, 1, 1)
    module = mlcref.compile(autoschedule(func, "cython --num-cores=1").mod)
    assert_backend_matches(func, module["main"], ("small-int", "random"), trials=1, seed=0)


def test_the_trace_replays() -> None:
    func = matmul([], 130, 70, 1600, turned=False)
    sch = autoschedule(func, "cython --num-cores=2")
    again = mlcref.tir.Schedule(func)
    sch.trace.apply_to_schedule(again)
    assert again.mod["main"].script() == sch.mod["main"].script()


def test_a_product_of_float_matrices() -> None:
    func = matmul([], 65, 130, 40, turned=True)
    module = mlcref.compile(autoschedule(func).mod)
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((65, 40), "float32"), rng.standard_normal((130, 40), "float32")
    c = np.zeros((65, 130), "float32")
    module["main"](a, b, c)
    np.testing.assert_allclose(c, a @ b.T, rtol=1e-4, atol=1e-4)
