"""Schedules of products that have few rows or columns: tiles of dot products, and matrices read row after row."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import mlcref
from mlcref import te
from mlcref.autoschedule import Machine, autoschedule
from mlcref.ir import IRModule, Max, PrimFunc, const
from mlcref.testing.backend import assert_backend_matches
from mlcref.verify import check_equivalent

machines = st.builds(
    Machine, vector_bytes=st.sampled_from([8, 16]), registers=st.sampled_from([8, 16]),
    l2_bytes=st.sampled_from([64, 512, 4096]), threads=st.sampled_from([1, 2, 3]),
    parallel_work=st.sampled_from([0, 2000]),
)  # fmt: skip
quick = settings(max_examples=8, suppress_health_check=[HealthCheck.too_slow])


def product(
    batch: list[int], rows: int, columns: int, terms: int, turned: bool, clipped: bool, dtype: str = "float32"
) -> PrimFunc:
    """``X W``, or ``X W^T``, summed in float32 where it is narrow; ``clipped`` at 0."""
    X = te.placeholder((*batch, rows, terms), dtype, name="X")
    W = te.placeholder((*batch, columns, terms) if turned else (*batch, terms, columns), dtype, name="W")
    k, wide = te.reduce_axis((0, terms), name="k"), "float32" if dtype == "bfloat16" else dtype

    def element(*index: Any) -> Any:
        *outer, i, j = index
        x, w = X[(*outer, i, k)], W[(*outer, j, k) if turned else (*outer, k, j)]
        return te.sum(x.astype(wide) * w.astype(wide), axis=k)

    P = te.compute((*batch, rows, columns), element, name="P")
    if not clipped:
        return te.create_prim_func([X, W, P])
    return te.create_prim_func([X, W, te.compute(P.shape, lambda *i: Max(P[i], const(0.0, wide)), name="Y")])


def vector_product(columns: int, terms: int, turned: bool) -> PrimFunc:
    """``x W``, or ``W x`` with a matrix of rows of terms, of one vector."""
    X, k = te.placeholder((terms,), name="X"), te.reduce_axis((0, terms), name="k")
    W = te.placeholder((columns, terms) if turned else (terms, columns), name="W")
    P = te.compute((columns,), lambda j: te.sum(X[k] * (W[j, k] if turned else W[k, j]), axis=k), name="P")
    return te.create_prim_func([X, W, P])


def columns(rows: int, count: int, kind: str) -> PrimFunc:
    """The sum or the largest element of each column."""
    X, k = te.placeholder((rows, count), name="X"), te.reduce_axis((0, rows), name="k")
    reduce = {"sum": te.sum, "max": te.max}[kind]
    return te.create_prim_func([X, te.compute((count,), lambda j: reduce(X[k, j], axis=k), name="P")])


sizes = st.integers(1, 4)
batches = st.lists(st.integers(1, 2), max_size=1)
thin = st.one_of(
    st.builds(
        product, st.just([]), st.sampled_from([1, 2, 3, 6]), st.integers(1, 18), st.integers(1, 10), st.just(False),
        st.booleans(),
    ),
    st.builds(product, batches, sizes, st.integers(1, 9), st.integers(1, 12), st.just(True), st.booleans()),
    st.builds(vector_product, st.integers(1, 18), st.integers(1, 12), st.booleans()),
    st.builds(columns, st.integers(1, 20), st.integers(1, 20), st.sampled_from(["sum", "max"])),
    st.builds(product, batches, st.integers(17, 18), st.just(1), st.integers(16, 17), st.just(True), st.booleans()),
)


@quick
@given(thin, machines)
def test_schedules_mean_the_same(func: PrimFunc, machine: Machine) -> None:
    sch = autoschedule(func, machine=machine, check="oracle")
    assert all(inst.verdict is None or bool(inst.verdict) for inst in sch.trace.insts)
    assert check_equivalent(func, sch.mod["main"], minimize=False, max_statements=200_000)


@pytest.mark.parametrize("threads", [1, 2])
def test_compiled_kernels_match_the_oracle(threads: int) -> None:
    made = [product([], 1, 301, 37, False, True), product([], 8, 33, 130, False, False)]
    made += [product([2], 2, 35, 50, True, True), product([], 20, 10, 160, True, False)]
    made += [product([], 3, 21, 40, turned, False, "bfloat16") for turned in (False, True)]
    made += [vector_product(301, 50, turned) for turned in (False, True)]
    made += [columns(60, 301, kind) for kind in ("sum", "max")]
    funcs = {f"f{i}": func for i, func in enumerate(made)}
    machine = Machine(threads=threads, l2_bytes=16384, parallel_work=0)
    module = mlcref.compile(autoschedule(IRModule(funcs), machine=machine).mod, f"cython --num-cores={threads}")
    for name, func in funcs.items():
        assert_backend_matches(func, module[name], ("small-int", "random"), trials=1, seed=0)


def instructions(func: PrimFunc, machine: Machine) -> list[str]:
    return [inst.name for inst in autoschedule(func, machine=machine).trace.insts]


def test_nothing_is_packed() -> None:
    """Not where each row of the matrix is used few times."""
    for turned, rows in ((False, 8), (True, 16)):
        used = instructions(product([], rows, 1024, 1024, turned, False), Machine())
        assert "cache_read" not in used and "vectorize" in used
    assert "cache_read" in instructions(product([], 256, 256, 256, False, False), Machine())


def test_large_matrices_are_read_row_after_row() -> None:
    """The loop over columns is inside the one over terms; it is around that for matrices in the second cache."""

    def order(func: PrimFunc) -> list[int]:
        sch = autoschedule(func, machine=Machine())
        return [int(sch.get(loop).extent.value) for loop in sch.get_loops(sch.get_block("P_update"))]

    assert order(product([], 1, 1024, 1024, False, False)) == [1024 // 8, 1024 // 16, 1, 8, 16]
    assert order(columns(1024, 1024, "sum")) == [1024 // 8, 1024 // 16, 8, 16]
    assert order(product([], 1, 256, 256, False, False)) == [256 // 128, 256 // 8, 8, 1, 128]


def test_threads_share_the_columns() -> None:
    two = Machine(threads=2)
    assert "parallel" in instructions(product([], 1, 1024, 1024, False, False), two)
    assert "parallel" in instructions(product([], 1, 1024, 1024, True, False), two)
    assert "parallel" not in instructions(product([], 1, 128, 784, False, False), two)
    assert "parallel" not in instructions(product([], 1, 128, 784, True, False), two)
