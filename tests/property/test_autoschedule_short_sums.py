"""Convolutions of few channels, which come first: lanes along the pixels of a row, results made where they belong."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import mlcref
from mlcref import te
from mlcref.autoschedule import Machine, autoschedule
from mlcref.autoschedule.core import with_rules
from mlcref.ir import IRModule, Max, PrimFunc, const
from mlcref.runtime import why_no_compiler
from mlcref.testing.backend import assert_backend_matches
from mlcref.verify import check_equivalent

machines = st.builds(
    Machine, vector_bytes=st.sampled_from([8, 16]), registers=st.sampled_from([8, 12]), threads=st.sampled_from([1, 2]),
    terms=st.sampled_from([3, 64]), parallel_work=st.just(0),
)  # fmt: skip


def convolution(
    images: int, inputs: int, size: int, outputs: int, kernel: int, stride: int, clipped: bool, dtype: str = "float32"
) -> PrimFunc:
    """A convolution of square images, NCHW, weights OIHW; its results may be clipped."""
    X = te.placeholder((images, inputs, size, size), dtype, name="X")
    W = te.placeholder((outputs, inputs, kernel, kernel), dtype, name="W")
    c, y, x = (te.reduce_axis((0, n), name=name) for n, name in ((inputs, "c"), (kernel, "y"), (kernel, "x")))
    out = (size - kernel) // stride + 1

    def element(n: Any, o: Any, i: Any, j: Any) -> Any:
        return te.sum(X[n, c, i * stride + y, j * stride + x] * W[o, c, y, x], axis=[c, y, x])

    Y = te.compute((images, outputs, out, out), element, name="Y")
    if not clipped:
        return te.create_prim_func([X, W, Y])
    Z = te.compute(Y.shape, lambda n, o, i, j: Max(Y[n, o, i, j], const(0.0, dtype)), name="Z")
    return te.create_prim_func([X, W, Z])


convolutions = st.builds(
    convolution, st.integers(1, 2), st.integers(1, 2), st.integers(4, 7), st.sampled_from([1, 4, 5, 6, 7, 8]),
    st.integers(2, 3), st.integers(1, 2), st.booleans(),
)  # fmt: skip


@settings(max_examples=12, suppress_health_check=[HealthCheck.too_slow])
@given(convolutions, machines)
def test_schedules_of_convolutions_of_few_channels_mean_the_same(func: PrimFunc, machine: Machine) -> None:
    sch = autoschedule(func, machine=machine, check="oracle")
    assert all(inst.verdict is None or bool(inst.verdict) for inst in sch.trace.insts)
    assert check_equivalent(func, sch.mod["main"], minimize=False, max_statements=200_000)


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("clipped", [False, True])
def test_short_sums_are_made_where_they_belong(threads: int, clipped: bool) -> None:
    machine = Machine(vector_bytes=16, registers=12, threads=threads, parallel_work=0)
    func = convolution(1, 1, 7, 8, 3, 1, clipped)
    sch, applied = with_rules(func, machine=machine, check="oracle")
    assert applied == [("main", "Y", "short_sums")]
    assert "cache_write" not in str(sch.trace) and "transform_layout" not in str(sch.trace)
    assert ("parallel" in str(sch.trace)) == (threads > 1)
    assert check_equivalent(func, sch.mod["main"], minimize=False, max_statements=200_000)


@pytest.mark.parametrize(
    ("inputs", "outputs", "terms", "dtype"),
    [(1, 8, 8, "float32"), (9, 8, 64, "float32"), (1, 11, 64, "float32"), (1, 8, 64, "int32")],
)
def test_other_sums_have_filters_as_lanes(inputs: int, outputs: int, terms: int, dtype: str) -> None:
    """Long ones, those of filters in odd numbers, of integers."""
    func = convolution(1, inputs, 9, outputs, 3, 1, False, dtype)
    machine = Machine(vector_bytes=16, registers=12, terms=terms)
    assert with_rules(func, machine=machine)[1] == [("main", "Y", "channels_first")]


@pytest.mark.skipif(why_no_compiler() is not None, reason="no C compiler")
def test_compiled_convolutions_of_few_channels_have_the_results_of_the_oracle() -> None:
    shapes = [(2, 1, 18, 8, 3, 1, True), (1, 3, 35, 6, 3, 2, False), (1, 2, 25, 4, 2, 1, True)]
    funcs = {f"f{number}": convolution(*shape) for number, shape in enumerate(shapes)}
    module = mlcref.compile(autoschedule(IRModule(funcs)).mod, "cython --num-cores=1")
    for name, func in funcs.items():
        assert_backend_matches(func, module[name], ("small-int", "random"), trials=1, seed=0)
