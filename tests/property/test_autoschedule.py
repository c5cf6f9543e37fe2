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
from mlcref.ir import IRModule, PrimFunc, call, conjunction, const
from mlcref.testing.backend import assert_backend_matches
from mlcref.verify import check_equivalent

extents = st.integers(1, 9)
machines = st.builds(
    Machine, vector_bytes=st.sampled_from([8, 16]), registers=st.sampled_from([8, 12]),
    l2_bytes=st.sampled_from([64, 512]), threads=st.sampled_from([1, 2, 3]), terms=st.sampled_from([2, 3, 64]),
    parallel_work=st.just(0),
)  # fmt: skip
quick = settings(max_examples=8, suppress_health_check=[HealthCheck.too_slow])


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


products = st.builds(matmul, st.lists(st.integers(1, 3), max_size=1), extents, extents, extents, st.booleans())
convolutions = st.builds(
    conv2d, st.integers(3, 5), st.integers(1, 2), st.integers(1, 5), st.integers(1, 3), st.integers(1, 2),
    st.integers(0, 1),
)  # fmt: skip


@quick
@given(st.one_of(products, convolutions), machines)
def test_schedules_mean_the_same(func: PrimFunc, machine: Machine) -> None:
    sch = autoschedule(func, machine=machine, check="oracle")
    assert all(inst.verdict is None or bool(inst.verdict) for inst in sch.trace.insts)
    assert check_equivalent(func, sch.mod["main"], minimize=False, max_statements=200_000)


SHAPES = [(7, 9, 5), (13, 33, 70), (30, 10, 8), (24, 128, 16)]


@pytest.mark.parametrize("threads", [1, 2])
def test_compiled_products_match_the_oracle(threads: int) -> None:
    funcs = {f"f{i}": matmul([], *shape, turned=False) for i, shape in enumerate(SHAPES)}
    machine = Machine(threads=threads, terms=32, parallel_work=0)
    module = mlcref.compile(autoschedule(IRModule(funcs), machine=machine).mod, f"cython --num-cores={threads}")
    for name, func in funcs.items():
        assert_backend_matches(func, module[name], ("small-int", "random"), trials=1, seed=0)


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
