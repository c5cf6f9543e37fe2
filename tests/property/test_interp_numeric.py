"""Every operation on random operands against numpy in the same type."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlcref import dtype as dt
from mlcref.interp.bound import BoundArithmetic, error_of
from mlcref.interp.numeric import binary, converter, round_integer, rounder
from mlcref.ir import EQ, GE, GT, LE, LT, NE, Add, Div, FloorDiv, FloorMod, Mul, Sub

FLOATS = ("float16", "float32", "float64")
INTEGERS = ("int8", "uint8", "int16", "int32", "uint32", "int64")
ARITHMETIC = {Add: np.add, Sub: np.subtract, Mul: np.multiply}
COMPARISONS = {EQ: np.equal, NE: np.not_equal, LT: np.less, LE: np.less_equal, GT: np.greater, GE: np.greater_equal}


def numbers(dtype: str) -> st.SearchStrategy[Any]:
    if dt.is_float(dtype):
        return st.floats(width=dt.parse(dtype).bits)  # type: ignore[arg-type]
    return st.integers(*dt.integer_range(dtype))


def same(a: Any, b: Any) -> bool:
    return bool(np.array_equal(np.array([a]), np.array([b]), equal_nan=isinstance(a, float))) and np.signbit(
        a
    ) == np.signbit(b)


@pytest.mark.parametrize("dtype", FLOATS)
@given(data=st.data())
def test_float_operations(dtype: str, data: st.DataObject) -> None:
    a, b = data.draw(numbers(dtype)), data.draw(numbers(dtype))
    x, y = (np.array([v], dtype) for v in (a, b))
    with np.errstate(all="ignore"):
        for kind, f in {**ARITHMETIC, Div: np.divide}.items():
            want, got = float(f(x, y)[0]), binary(kind, dtype)(a, b)
            assert same(got, want) or (want != want and got != got), kind.__name__
        for kind, f in COMPARISONS.items():
            assert binary(kind, dtype)(a, b) == bool(f(x, y)[0]), kind.__name__


@pytest.mark.parametrize("dtype", INTEGERS)
@given(data=st.data())
def test_integer_operations(dtype: str, data: st.DataObject) -> None:
    a, b = data.draw(numbers(dtype)), data.draw(numbers(dtype))
    x, y = (np.array([v], dtype) for v in (a, b))
    with np.errstate(all="ignore"):
        for kind, f in ARITHMETIC.items():
            assert binary(kind, dtype)(a, b) == int(f(x, y)[0]), kind.__name__
        if b not in (0, -1):
            assert binary(FloorDiv, dtype)(a, b) == int(np.floor_divide(x, y)[0])
            assert binary(FloorMod, dtype)(a, b) == int(np.remainder(x, y)[0])


@pytest.mark.parametrize("source", INTEGERS)
@pytest.mark.parametrize("target", INTEGERS)
@given(data=st.data())
def test_integer_conversions(source: str, target: str, data: st.DataObject) -> None:
    value = data.draw(numbers(source))
    assert converter(source, target)(value) == int(np.array([value], source).astype(target)[0])


@pytest.mark.parametrize("target", ["float16", "float32"])
@given(value=st.floats())
def test_rounding_of_floats(target: str, value: float) -> None:
    with np.errstate(all="ignore"):
        want = float(np.array([value]).astype(target)[0])
    got = rounder(target)(value)
    assert same(got, want) or (want != want and got != got)


@given(value=st.integers(-(2**63), 2**64 - 1))
def test_integers_become_float32_in_one_rounding(value: int) -> None:
    array = np.array([value], "int64" if value < 2**63 else "uint64")
    assert round_integer(value, "float32") == float(array.astype("float32")[0])


@pytest.mark.parametrize("dtype", ["float16", "float32"])
@given(data=st.data())
def test_the_bound_covers_float64_evaluation(dtype: str, data: st.DataObject) -> None:
    """A chain of operations stays within its bound of the same chain in much higher precision."""
    small = st.floats(-8, 8, width=16)
    start, steps = (
        data.draw(small),
        data.draw(st.lists(st.tuples(st.sampled_from([Add, Sub, Mul, Div]), small), max_size=6)),
    )
    bounds, value, exact = BoundArithmetic(), start, np.longdouble(start)
    for kind, operand in steps:
        if kind is Div and abs(operand) < 0.1:
            continue
        value = bounds.binary(kind, dtype, False)(value, operand)
        exact = {Add: np.add, Sub: np.subtract, Mul: np.multiply, Div: np.divide}[kind](exact, np.longdouble(operand))
    if np.isfinite(value):
        slack = abs(exact) * np.longdouble(2) ** -60
        assert abs(np.longdouble(float(value)) - exact) <= np.longdouble(error_of(value)) + slack
