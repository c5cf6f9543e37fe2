"""The bound a priori: no correct kernel is outside of it, and it is tight enough to see errors."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlcref.interp.bound import Undecided
from mlcref.ir import LT, Add, Div, Max, Mul, Sub
from mlcref.testing.tolerance import ToleranceArithmetic, tolerance_of

ARITHMETIC = ToleranceArithmetic()
numbers = st.floats(-1000, 1000, width=32)


def total(values: list[float]) -> Any:
    add, result = ARITHMETIC.binary(Add, "float32", False), 0.0
    for value in values:
        result = add(result, value)
    return result


@given(st.lists(numbers, min_size=1, max_size=12), st.randoms(use_true_random=False))
def test_sums_in_any_order_are_within(values: list[float], random: Any) -> None:
    ours = total(values)
    tree = [np.float32(v) for v in values]
    while len(tree) > 1:
        a, b = (tree.pop(random.randrange(len(tree))) for _ in range(2))
        tree.append(np.float32(a + b))
    assert abs(float(tree[0]) - float(ours)) <= tolerance_of(ours, "float32")


@given(st.lists(st.integers(-8, 8).map(float), min_size=1, max_size=12))
def test_sums_of_integers_are_exact(values: list[float]) -> None:
    assert tolerance_of(total(values), "float32") == 0


@given(numbers, numbers, numbers)
def test_contracted_products_are_within(a: float, b: float, c: float) -> None:
    product = ARITHMETIC.binary(Mul, "float32", False)(a, b)
    ours = ARITHMETIC.binary(Add, "float32", False)(product, c)
    fused = float(np.float32(float(Fraction(a) * Fraction(b) + Fraction(c))))
    assert abs(fused - float(ours)) <= tolerance_of(ours, "float32")


@given(st.lists(numbers, min_size=2, max_size=6), numbers)
def test_quotients_and_products_of_sums_are_within(values: list[float], x: float) -> None:
    theirs = np.float32(0)
    for value in reversed(values):
        theirs = np.float32(theirs + np.float32(value))
    ours = total(values)
    product = ARITHMETIC.binary(Mul, "float32", False)(ours, x)
    assert abs(float(theirs * np.float32(x)) - float(product)) <= tolerance_of(product, "float32")
    if float(ours) != 0 and theirs != 0:
        quotient = ARITHMETIC.binary(Div, "float32", False)(x, ours)
        with np.errstate(over="ignore"):
            divided = float(np.float32(x) / theirs)
        tolerance = tolerance_of(quotient, "float32")
        assert tolerance == np.inf or abs(divided - float(quotient)) <= tolerance


@given(numbers)
def test_intrinsics_may_be_off_by_some_ulps(x: float) -> None:
    ours = ARITHMETIC.intrinsic("tanh", "float32", "float32")(x)
    tolerance = tolerance_of(ours, "float32")
    assert 3 * np.spacing(np.float32(abs(ours))) <= tolerance <= 40 * np.spacing(np.float32(abs(ours))) + 1e-44


def test_integer_intrinsics_are_exact() -> None:
    assert ARITHMETIC.intrinsic("bitwise_and", "int64", "int64")(2**60 + 1, 2**61 - 1) == 2**60 + 1
    assert ARITHMETIC.intrinsic("abs", "int64", "int64")(-(2**60) - 1) == 2**60 + 1
    one = ARITHMETIC.intrinsic("reinterpret", "int32", "float32")(0x3F800000)
    assert one == 1.0 and tolerance_of(one, "float32") == 0


def test_a_small_error_in_a_long_sum_is_outside() -> None:
    ours = total([1 + i / 1024 for i in range(1000)])
    assert tolerance_of(ours, "float32") < 0.5


def test_comparisons_near_a_tie_are_undecided() -> None:
    third = ARITHMETIC.binary(Div, "float32", False)(1.0, 3.0)
    back = ARITHMETIC.binary(Mul, "float32", False)(third, 3.0)
    less = ARITHMETIC.binary(LT, "float32", False)
    assert less(third, 1.0) is True
    with pytest.raises(Undecided, match="depends on rounding"):
        less(back, 1.0)


def test_conversions() -> None:
    third = ARITHMETIC.binary(Div, "float32", False)(1.0, 3.0)
    wide = ARITHMETIC.converter("float32", "float64")(third)
    narrow = ARITHMETIC.converter("float32", "float16")(third)
    assert tolerance_of(wide, "float64") < 2e-7 < 1e-4 < tolerance_of(narrow, "float16") < 1e-3
    assert tolerance_of(ARITHMETIC.converter("int32", "float32")(2**24), "float32") == 0
    assert tolerance_of(ARITHMETIC.converter("int32", "float32")(2**24 + 1), "float32") > 0
    assert tolerance_of(ARITHMETIC.binary(Max, "float32", False)(third, 0.0), "float32") > 0
    assert tolerance_of(ARITHMETIC.binary(Sub, "float32", False)(5.0, 3.0), "float32") == 0


def test_a_maximum_is_as_large_as_what_won() -> None:
    """A maximum starts at -3.4e38: what is subtracted from it must not be granted errors of that size."""
    largest = ARITHMETIC.binary(Max, "float32", False)(-3.4028234663852886e38, 2.5)
    assert tolerance_of(ARITHMETIC.binary(Sub, "float32", False)(0.1, largest), "float32") < 1e-6
