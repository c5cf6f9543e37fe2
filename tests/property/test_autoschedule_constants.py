"""Schedules of products one of whose operands is a constant: each instruction means what the program before it does."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import mlcref
from mlcref import te
from mlcref.autoschedule import Machine, autoschedule
from mlcref.autoschedule.layouts import LAYOUT_FREE
from mlcref.ir import PrimFunc
from mlcref.testing.backend import assert_backend_matches
from mlcref.verify import check_equivalent

machines = st.builds(
    Machine, vector_bytes=st.sampled_from([8, 16]), registers=st.sampled_from([8, 12]),
    l2_bytes=st.sampled_from([64, 512]), threads=st.sampled_from([1, 2]), terms=st.sampled_from([2, 3, 64]),
    parallel_work=st.just(0),
)  # fmt: skip


def linear(rows: int, columns: int, terms: int, free: tuple[int, ...] = (1, 2)) -> PrimFunc:
    """``Z[i, j] = sum(X[i, k] * W[j, k]) + B[j]`` with the parameters ``free`` constant."""
    X, W = te.placeholder((rows, terms), name="X"), te.placeholder((columns, terms), name="W")
    B, k = te.placeholder((columns,), name="B"), te.reduce_axis((0, terms), name="k")
    Y = te.compute((rows, columns), lambda i, j: te.sum(X[i, k] * W[j, k], axis=k), name="Y")
    Z = te.compute((rows, columns), lambda i, j: Y[i, j] + B[j], name="Z")
    made: PrimFunc = te.create_prim_func([X, W, B, Z]).with_attr(LAYOUT_FREE, list(free))
    return made


@settings(max_examples=6, suppress_health_check=[HealthCheck.too_slow])
@given(st.builds(linear, st.integers(1, 6), st.integers(1, 20), st.integers(1, 9)), machines)
def test_schedules_mean_the_same(func: PrimFunc, machine: Machine) -> None:
    sch = autoschedule(func, machine=machine, check="oracle")
    assert all(inst.verdict is None or bool(inst.verdict) for inst in sch.trace.insts)
    assert check_equivalent(func, sch.mod["main"], minimize=False, max_statements=200_000)


def copies(func: PrimFunc, **sizes: int) -> list[list[int]]:
    """The shapes of the copies of constants that a schedule makes."""
    scheduled = autoschedule(func, machine=Machine(**sizes)).mod["main"]
    return [[int(n.value) for n in b.shape] for b in scheduled.root.alloc_buffers if b.name.startswith("W_")]


def test_few_rows_read_a_copy_from_start_to_end() -> None:
    assert copies(linear(1, 128, 20)) == [[20, 128]]
    assert copies(linear(1, 256, 20)) == [[2, 20, 128]]
    assert copies(linear(2, 100, 20)) == [[20, 100]]


def test_other_products_are_scheduled_as_ever() -> None:
    assert copies(linear(1, 128, 20, free=())) == []
    assert copies(linear(1, 128, 20, free=(0, 2))) == []
    assert copies(linear(1, 10, 20)) == []
    plain, free = (autoschedule(linear(30, 100, 20, free=free)) for free in ((), (1, 2)))
    assert str(plain.trace) == str(free.trace)


@pytest.mark.parametrize("shape", [(1, 128, 33), (2, 200, 40), (3, 384, 17)])
def test_compiled_kernels_match_the_oracle(shape: tuple[int, int, int]) -> None:
    func = linear(*shape)
    module = mlcref.compile(autoschedule(func).mod)
    assert_backend_matches(func, module["main"], ("small-int",), trials=1, seed=0)
