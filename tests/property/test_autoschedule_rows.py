"""Schedules along rows: reductions of rows, chains of blocks over the same rows, products with few rows, and rows
that become columns."""

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

extents = st.integers(1, 9)
long = st.integers(1, 20)
machines = st.builds(
    Machine, vector_bytes=st.sampled_from([8, 16]), registers=st.sampled_from([8, 12]),
    l2_bytes=st.sampled_from([64, 512]), threads=st.sampled_from([1, 2, 3]), terms=st.sampled_from([2, 3, 64]),
    parallel_work=st.sampled_from([0, 1000]),
)  # fmt: skip
quick = settings(max_examples=12, suppress_health_check=[HealthCheck.too_slow])
REDUCERS = {"sum": te.sum, "max": te.max, "min": te.min}


def row_reduction(rows: list[int], columns: int, kind: str, dtype: str = "float32") -> PrimFunc:
    """The sum, the largest or the smallest element of each row."""
    X, k = te.placeholder((*rows, columns), dtype, name="X"), te.reduce_axis((0, columns), name="k")
    n, reduce = len(rows), REDUCERS[kind]
    Y = te.compute(tuple(rows) or (1,), lambda *i: reduce(X[(*i[:n], k)], axis=k), name="Y")
    return te.create_prim_func([X, Y])


def blocks_of_rows(rows: int, height: int, width: int) -> PrimFunc:
    """The sum of each matrix of a batch."""
    X = te.placeholder((rows, height, width), name="X")
    a, b = te.reduce_axis((0, height), name="a"), te.reduce_axis((0, width), name="b")
    return te.create_prim_func([X, te.compute((rows,), lambda i: te.sum(X[i, a, b], axis=[a, b]), name="Y")])


def softmax(rows: list[int], columns: int, kept: bool) -> PrimFunc:
    """Of each row; ``kept`` keeps a dimension of one for the sums."""
    X = te.placeholder((*rows, columns), name="X")
    k, t = te.reduce_axis((0, columns), name="k"), te.reduce_axis((0, columns), name="t")
    unit = (1,) if kept else ()

    def of_row(i: Any) -> Any:
        return (*i[:-1], 0) if kept else i[:-1]

    n = len(rows)
    M = te.compute((*rows, *unit), lambda *i: te.max(X[(*i[:n], k)], axis=k), name="M")
    E = te.compute(X.shape, lambda *i: te.exp(X[i] - M[of_row(i)]), name="E")
    S = te.compute((*rows, *unit), lambda *i: te.sum(E[(*i[:n], t)], axis=t), name="S")
    return te.create_prim_func([X, te.compute(X.shape, lambda *i: E[i] / S[of_row(i)], name="Y")])


def layernorm(rows: int, columns: int) -> PrimFunc:
    """Each row less its mean, by its standard deviation, scaled and moved."""
    X = te.placeholder((rows, columns), name="X")
    G, B = te.placeholder((columns,), name="G"), te.placeholder((columns,), name="B")
    k, t = te.reduce_axis((0, columns), name="k"), te.reduce_axis((0, columns), name="t")
    count, small = const(float(columns), "float32"), const(1e-5, "float32")
    S = te.compute((rows,), lambda i: te.sum(X[i, k], axis=k), name="S")
    D = te.compute((rows, columns), lambda i, j: X[i, j] - S[i] / count, name="D")
    V = te.compute((rows,), lambda i: te.sum(D[i, t] * D[i, t], axis=t), name="V")
    Y = te.compute((rows, columns), lambda i, j: D[i, j] / te.sqrt(V[i] / count + small) * G[j] + B[j], name="Y")
    return te.create_prim_func([X, G, B, Y])


def log_sum_exp(rows: int, columns: int) -> PrimFunc:
    """A chain that ends in a reduction, with its largest elements as a second result."""
    X = te.placeholder((rows, columns), name="X")
    k, t = te.reduce_axis((0, columns), name="k"), te.reduce_axis((0, columns), name="t")
    M = te.compute((rows,), lambda i: te.max(X[i, k], axis=k), name="M")
    S = te.compute((rows,), lambda i: te.sum(te.exp(X[i, t] - M[i]), axis=t), name="S")
    return te.create_prim_func([X, M, te.compute((rows,), lambda i: te.log(S[i]) + M[i], name="Y")])


def products_with_rows(rows: int, columns: int, terms: int) -> PrimFunc:
    """``Y = relu(X W^T)`` for few rows of ``X``."""
    X, W = te.placeholder((rows, terms), name="X"), te.placeholder((columns, terms), name="W")
    k = te.reduce_axis((0, terms), name="k")
    P = te.compute((rows, columns), lambda i, j: te.sum(X[i, k] * W[j, k], axis=k), name="P")
    Y = te.compute((rows, columns), lambda i, j: Max(P[i, j], const(0.0, "float32")), name="Y")
    return te.create_prim_func([X, W, Y])


def transposed(shape: list[int], order: list[int], twice: bool) -> PrimFunc:
    """A tensor with its dimensions in another order; ``twice`` adds it to itself in its own order where it fits."""
    X = te.placeholder(tuple(shape), name="X")
    made = tuple([shape[axis] for axis in order])

    def element(*i: Any) -> Any:
        moved = X[tuple([i[order.index(axis)] for axis in range(len(shape))])]
        return moved + X[i] if twice and made == tuple(shape) else moved

    return te.create_prim_func([X, te.compute(made, element, name="Y")])


chains = st.one_of(
    st.builds(row_reduction, st.lists(extents, max_size=2), long, st.sampled_from(sorted(REDUCERS))),
    st.builds(blocks_of_rows, extents, extents, extents),
    st.builds(softmax, st.lists(st.integers(1, 4), min_size=1, max_size=2), long, st.booleans()),
    st.builds(layernorm, st.integers(1, 4), long),
    st.builds(log_sum_exp, st.integers(1, 4), long),
    st.builds(products_with_rows, st.integers(1, 3), extents, long),
    st.builds(transposed, st.lists(extents, min_size=3, max_size=3), st.permutations([0, 1, 2]), st.booleans()),
    st.builds(transposed, st.lists(long, min_size=2, max_size=2), st.just([1, 0]), st.booleans()),
)


@quick
@given(chains, machines)
def test_schedules_along_rows_mean_the_same(func: PrimFunc, machine: Machine) -> None:
    sch = autoschedule(func, machine=machine, check="oracle")
    assert all(inst.verdict is None or bool(inst.verdict) for inst in sch.trace.insts)
    assert check_equivalent(func, sch.mod["main"], minimize=False, max_statements=200_000)


@pytest.mark.parametrize("threads", [1, 2])
def test_compiled_rows_match_the_oracle(threads: int) -> None:
    made = [row_reduction([7], 150, kind) for kind in sorted(REDUCERS)] + [row_reduction([], 333, "sum")]
    made += [row_reduction([3], 70, "sum", "int32"), blocks_of_rows(3, 4, 37), softmax([3, 2], 83, True)]
    made += [softmax([5], 70, False), layernorm(5, 75), log_sum_exp(4, 40), products_with_rows(1, 9, 85)]
    made += [transposed([35, 50], [1, 0], False), transposed([20, 2, 33], [2, 1, 0], False)]
    made += [transposed([19, 19], [1, 0], True)]
    made += [row_reduction([3], 70, "max", dtype) for dtype in ("float16", "float64", "int8")]
    funcs = {f"f{i}": func for i, func in enumerate(made)}
    machine = Machine(threads=threads, parallel_work=0)
    module = mlcref.compile(autoschedule(IRModule(funcs), machine=machine).mod, f"cython --num-cores={threads}")
    for name, func in funcs.items():
        assert_backend_matches(func, module[name], ("small-int", "random"), trials=1, seed=0)
