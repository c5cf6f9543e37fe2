"""Windows over images whose channels come first: lanes along the pixels of a row, wherever windows are moved to."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import mlcref
from mlcref import te
from mlcref.autoschedule import Machine, autoschedule
from mlcref.autoschedule.core import with_rules
from mlcref.ir import IRModule, PrimFunc, blocks_in
from mlcref.runtime import why_no_compiler
from mlcref.testing.backend import assert_backend_matches
from mlcref.verify import check_equivalent

machines = st.builds(
    Machine, vector_bytes=st.sampled_from([8, 16]), registers=st.sampled_from([8, 12]), threads=st.sampled_from([1, 2]),
    parallel_work=st.just(0),
)  # fmt: skip


def pooled(
    channels: int, size: int, kernel: int, stride: int, padding: int, largest: bool = True, dtype: str = "float32"
) -> PrimFunc:
    """The largest element, or the sum, of each window of a square image, NCHW."""
    X, wide = te.placeholder((1, channels, size, size), dtype, name="X"), size + 2 * padding
    filling = te.min_value(dtype) if largest else te.const(0, dtype)

    def padded(n: Any, c: Any, i: Any, j: Any) -> Any:
        inside = te.all(i >= padding, i < size + padding, j >= padding, j < size + padding)
        return te.if_then_else(inside, X[n, c, i - padding, j - padding], filling)

    P = te.compute((1, channels, wide, wide), padded, name="P") if padding else X
    y, x, out = te.reduce_axis((0, kernel), "y"), te.reduce_axis((0, kernel), "x"), (wide - kernel) // stride + 1
    combine = te.max if largest else te.sum
    Y = te.compute(
        (1, channels, out, out),
        lambda n, c, i, j: combine(P[n, c, i * stride + y, j * stride + x], axis=[y, x]),
        name="Y",
    )
    return te.create_prim_func([X, Y])


pools = st.builds(
    pooled, st.integers(1, 3), st.integers(3, 7), st.integers(1, 3), st.integers(1, 3), st.integers(0, 1), st.booleans()
)


@settings(max_examples=15, suppress_health_check=[HealthCheck.too_slow])
@given(pools, machines)
def test_schedules_of_windows_mean_the_same(func: PrimFunc, machine: Machine) -> None:
    sch = autoschedule(func, machine=machine, check="oracle")
    assert all(inst.verdict is None or bool(inst.verdict) for inst in sch.trace.insts)
    assert check_equivalent(func, sch.mod["main"], minimize=False, max_statements=200_000)


@pytest.mark.parametrize(("stride", "padding"), [(2, 0), (2, 1), (3, 1)])
def test_windows_that_are_moved_farther_have_lanes_and_read_no_padded_copy(stride: int, padding: int) -> None:
    machine = Machine(vector_bytes=16, registers=12, threads=2, parallel_work=0)
    sch, applied = with_rules(pooled(2, 7, 3, stride, padding), machine=machine, check="oracle")
    text = sch.mod["main"].script()
    assert applied == [("main", "Y", "window")]
    assert "T.vectorized" in text and "T.parallel" in text and "T.unroll" in text
    assert [block.name for block in blocks_in(sch.mod["main"].body)] == ["root", "Y"]


def test_threads_share_reductions_that_no_other_rule_fits() -> None:
    """Sums of columns stored as rows: the lanes of the output are far apart where they are read."""
    X, k = te.placeholder((3, 5, 4), name="X"), te.reduce_axis((0, 5), name="k")
    func = te.create_prim_func([X, te.compute((4, 3), lambda j, i: te.sum(X[i, k, j], axis=k), name="Y")])
    for threads, work in ((2, 0), (1, 0), (2, 10_000)):
        machine = Machine(vector_bytes=16, threads=threads, parallel_work=work)
        sch, applied = with_rules(func, machine=machine, check="oracle")
        assert applied == [("main", "Y", "remaining")]
        assert ("T.parallel" in sch.mod["main"].script()) == (threads == 2 and work == 0)
        assert check_equivalent(func, sch.mod["main"], minimize=False)


@pytest.mark.skipif(why_no_compiler() is not None, reason="no C compiler")
def test_compiled_windows_have_the_results_of_the_oracle() -> None:
    """Of all vectors' lengths and types of elements: loads of every second element end where the buffer does."""
    dtypes = ["float32", "float64", "int8", "uint16", "int32", "int64", "float16", "bfloat16"]
    funcs = {f"every_second_{dtype}": pooled(1, 67, 2, 2, 0, dtype != "int8", dtype) for dtype in dtypes}
    funcs |= {"padded": pooled(2, 35, 3, 2, 1), "every_third": pooled(1, 40, 3, 3, 0)}
    funcs |= {f"row_{size}": pooled(1, size, 2, 2, 0) for size in (4, 6, 8, 14, 26, 30)}
    module = mlcref.compile(autoschedule(IRModule(funcs)).mod, "cython --num-cores=1")
    for name, func in funcs.items():
        assert_backend_matches(func, module[name], ("small-int", "random"), trials=1, seed=0)
