"""The sorting functions of TVM's runtime: their one result, against Python's own sort; what they refuse."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlcref.errors import CallError, OracleError
from mlcref.interp import interpret
from mlcref.interp.sorting import argsort, argsort_nms, sort, topk
from mlcref.ir import register_global_func, remove_global_func
from mlcref.script import from_source
from mlcref.verify import check_equivalent

TYPES = ("float32", "float16", "float64", "int8", "uint8", "int32", "int64")
SHAPES = ((5,), (1, 1), (2, 3), (3, 4), (2, 3, 2), (7, 2))


@st.composite
def arrays(draw: st.DrawFn) -> tuple[np.ndarray[Any, Any], int, bool]:
    """An array with many equal elements, an axis of it, and an order."""
    shape, dtype = draw(st.sampled_from(SHAPES)), draw(st.sampled_from(TYPES))
    low = 0 if dtype == "uint8" else -2
    numbers = draw(st.lists(st.integers(low, 3), min_size=int(np.prod(shape)), max_size=int(np.prod(shape))))
    axis = draw(st.integers(-len(shape), len(shape) - 1))
    return np.array(numbers).astype(dtype).reshape(shape), axis, draw(st.booleans())


def places(row: list[Any], ascending: bool) -> list[int]:
    """Where the sorted elements stand, by Python's sort."""
    return sorted(range(len(row)), key=lambda i: (row[i] if ascending else -row[i], i))


def by_rows(values: np.ndarray[Any, Any], axis: int, of_row: Any) -> np.ndarray[Any, Any]:
    return np.apply_along_axis(lambda row: np.array(of_row(row.tolist())), axis, values)


@given(arrays())
def test_equal_elements_keep_their_order(case: tuple[np.ndarray[Any, Any], int, bool]) -> None:
    values, axis, ascending = case
    found, order = np.zeros_like(values), np.zeros(values.shape, "int32")
    sort(values, found, axis, ascending)
    argsort(values, order, axis, ascending)
    assert (order == by_rows(values, axis, lambda row: places(row, ascending))).all()
    assert (found == by_rows(values, axis, lambda row: sorted(row, reverse=not ascending))).all()


@given(arrays(), st.integers(0, 3), st.sampled_from(["both", "values", "indices"]))
def test_the_first_of_the_sorted_elements(case: tuple[np.ndarray[Any, Any], int, bool], k: int, kind: str) -> None:
    values, axis, ascending = case
    want = by_rows(values, axis, lambda row: places(row, ascending)[: k if k > 0 else len(row)])
    largest, order = np.zeros(want.shape, values.dtype), np.zeros(want.shape, "int64")
    targets = {"both": (largest, order), "values": (largest,), "indices": (order,)}[kind]
    topk(values, *targets, k, axis, kind, ascending)
    if kind != "values":
        assert (order == want).all()
    if kind != "indices":
        assert (largest == np.take_along_axis(values, want, axis)).all()


@given(arrays(), st.data())
def test_elements_after_the_count_stay(case: tuple[np.ndarray[Any, Any], int, bool], data: st.DataObject) -> None:
    values, axis, ascending = case
    rows = np.moveaxis(values, axis, -1)
    counts = [data.draw(st.integers(0, rows.shape[-1])) for _ in np.ndindex(rows.shape[:-1])]
    order = np.zeros(values.shape, "int32")
    argsort_nms(values, np.array(counts, "int32"), order, axis, ascending)
    for place, count in zip(np.ndindex(rows.shape[:-1]), counts, strict=True):
        row, got = rows[place].tolist(), np.moveaxis(order, axis, -1)[place].tolist()
        assert got == [*places(row[:count], ascending), *range(count, len(row))]


def test_zeros_of_both_signs_are_equal() -> None:
    order = np.zeros(4, "int32")
    argsort(np.array([0.0, -0.0, 0.0, -1.0]), order, 0, 1)
    assert order.tolist() == [3, 0, 1, 2]


A, B = np.zeros((2, 3), "float32"), np.zeros((2, 3), "float32")


@pytest.mark.parametrize(
    ("call", "what"),
    [
        (lambda: sort(np.array([np.nan, 1.0]), np.zeros(2), 0, 1), "NaN is not less or greater"),
        (lambda: sort(A, B, 2, 1), "axis 2 of an array with 2 axes"),
        (lambda: sort(A, B[:1], 0, 1), r"has the shape \(2, 3\) of float32; the target is \(1, 3\)"),
        (lambda: sort(A, B.astype("float64"), 0, 1), "of float32; the target is .* of float64"),
        (lambda: argsort(A, B[:1], 0, 1), r"has the shape \(2, 3\); the target"),
        (lambda: argsort(np.zeros(300), np.zeros(300, "int8"), 0, 1), "int8 does not hold the counts"),
        (lambda: topk(A, B, B, 2, 1, "values", 1), "topk is given 2 targets for 'values'"),
        (lambda: topk(A, B, 2, 1, "largest", 1), "1 targets for 'largest'"),
        (lambda: topk(A, B[:1], 2, 0, "values", 1), r"the shape \(2, 3\) of float32"),
        (lambda: argsort_nms(A, np.zeros(1), B, 1, 1), "1 counts for 2 rows"),
        (lambda: argsort_nms(A, np.array([0, 4]), B, 1, 1), "count 1 of argsort_nms is 4, of 3 elements"),
    ],
)
def test_what_is_refused(call: Any, what: str) -> None:
    with pytest.raises(CallError, match=what):
        call()


PROGRAM = """
@T.prim_func
def f(A: T.Buffer((2, 4), "float32"), B: T.Buffer((2, 4), "{dtype}")):
    C = T.alloc_buffer((2, 4), "float32")
    for i, j in T.grid(2, 4):
        with T.block("C"):
            vi, vj = T.axis.remap("SS", [i, j])
            C[vi, vj] = {value}
    with T.block("sorted"):
        T.reads(C[0:2, 0:4])
        T.writes(B[0:2, 0:4])
        T.call_packed("{name}", C, B, 1, 0)
"""


def program(name: str, value: str, dtype: str = "float32") -> Any:
    return from_source(PROGRAM.format(name=name, value=value, dtype=dtype))


def test_a_program_calls_them_with_targets_that_nobody_wrote() -> None:
    a = np.array([[1, 3, 2, 3], [0, 0, -1, 5]], "float32")
    b, order = np.zeros((2, 4), "float32"), np.zeros((2, 4), "int32")
    interpret(program("tvm.contrib.sort.sort", "A[vi, vj]"), a, b, poison=["B"], checks="signature")
    interpret(program("tvm.contrib.sort.argsort", "A[vi, vj]", "int32"), a, order, poison=["B"])
    assert b.tolist() == [[3, 3, 2, 1], [5, 0, 0, -1]]
    assert order.tolist() == [[1, 3, 2, 0], [3, 0, 1, 2]]


def test_what_they_refuse_means_nothing() -> None:
    func = program("tvm.contrib.sort.sort", "T.sqrt(A[vi, vj])")
    with pytest.raises(OracleError, match=r"'tvm.contrib.sort.sort' refuses its arguments: NaN") as caught:
        interpret(func, np.full((2, 4), -1, "float32"), np.zeros((2, 4), "float32"))
    assert caught.value.rule == "call.host"


def test_what_depends_on_rounding_is_not_given_to_the_host() -> None:
    """On these inputs the two sums differ by roundings, and by how much the function then differs, nobody knows."""
    register_global_func("sorting.scaled", lambda a, b, *_: np.copyto(b, a * 1e6), override=True)
    given = np.random.default_rng(0).uniform(-1, 1, (2, 2, 4)).astype("float32")
    inputs = [(a, np.zeros((2, 4), "float32")) for a in given]
    apart = "A[vi, vj] * T.float32(0.1) + A[vi, vj] * T.float32(0.7)"
    sums = [program("sorting.scaled", value) for value in (apart, "A[vi, vj] * (T.float32(0.1) + T.float32(0.7))")]
    try:
        verdict = check_equivalent(*sums, inputs=inputs)
    finally:
        remove_global_func("sorting.scaled")
    assert verdict.status == "UNSUPPORTED" and "depends on rounding" in verdict.detail
