"""Schedules of convolutions in groups, channels last: groups as lanes, and one product of matrices for each group."""

from __future__ import annotations

from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import mlcref
from mlcref import te
from mlcref.autoschedule import Machine, autoschedule
from mlcref.ir import IRModule, PrimFunc, call, conjunction, const
from mlcref.testing.backend import assert_backend_matches
from mlcref.verify import check_equivalent

machines = st.builds(
    Machine, vector_bytes=st.sampled_from([8, 16]), registers=st.sampled_from([8, 12, 32]),
    l2_bytes=st.sampled_from([64, 512]), threads=st.sampled_from([1, 2, 3]), parallel_work=st.just(0),
)  # fmt: skip


def grouped_conv2d(size: int, groups: int, channels: int, filters: int, kernel: int, padding: int) -> PrimFunc:
    """A convolution of a square image, NHWC, weights HWIO; ``channels`` and ``filters`` are those of a group."""
    X = te.placeholder((1, size, size, groups * channels), name="X")
    W, wide = te.placeholder((kernel, kernel, channels, groups * filters), name="W"), size + 2 * padding

    def padded(b: Any, i: Any, j: Any, c: Any) -> Any:
        inside = conjunction((i >= padding, i < size + padding, j >= padding, j < size + padding))
        return call("if_then_else", inside, X[b, i - padding, j - padding, c], const(0.0, "float32"))

    P = te.compute((1, wide, wide, groups * channels), padded, name="P") if padding else X
    y, x, c = (te.reduce_axis((0, n), name=name) for n, name in ((kernel, "y"), (kernel, "x"), (channels, "c")))

    def element(b: Any, i: Any, j: Any, o: Any) -> Any:
        return te.sum(P[b, i + y, j + x, te.floordiv(o, filters) * channels + c] * W[y, x, c, o], axis=[y, x, c])

    out = wide - kernel + 1
    return te.create_prim_func([X, W, te.compute((1, out, out, groups * filters), element, name="Y")])


@settings(max_examples=5, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.builds(grouped_conv2d, st.integers(2, 3), st.integers(1, 5), st.integers(1, 4), st.integers(1, 3),
              st.integers(1, 2), st.integers(0, 1)),
    machines,
)  # fmt: skip
def test_schedules_mean_the_same(func: PrimFunc, machine: Machine) -> None:
    sch = autoschedule(func, machine=machine, check="oracle")
    assert check_equivalent(func, sch.mod["main"], minimize=False, max_statements=200_000)


def test_compiled_kernels_match_the_oracle() -> None:
    made = [grouped_conv2d(3, 16, 4, 4, 2, 1), grouped_conv2d(3, 17, 2, 3, 1, 0), grouped_conv2d(2, 2, 3, 18, 2, 1)]
    module = IRModule({f"f{i}": func for i, func in enumerate(made)})
    scheduled = autoschedule(module, machine=Machine(threads=2, parallel_work=0)).mod
    compiled = mlcref.compile(scheduled, "cython --num-cores=2")
    for name, func in module.prim_funcs().items():
        assert_backend_matches(func, compiled[name], ("small-int", "random"), trials=1, seed=0)


def test_groups_are_lanes_where_they_fill_a_vector() -> None:
    sch = autoschedule(grouped_conv2d(4, 16, 4, 4, 3, 1), machine=Machine())
    assert "Y_global = T.alloc_buffer((1, 4, 4, 4, 16))" in sch.mod.script()
