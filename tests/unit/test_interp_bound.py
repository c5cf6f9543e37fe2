"""The bound of rounding errors: 0 where nothing is rounded, enough where something is, infinite if nothing is known."""

from __future__ import annotations

import math
from typing import Any

import pytest

from mlcref.interp.bound import Bounded, BoundArithmetic, Undecided, error_of
from mlcref.ir import EQ, LT, Add, Div, Max, Mul, Sub

BOUNDS = BoundArithmetic()


def binary(kind: Any, a: float, b: float, dtype: str = "float32") -> Any:
    return BOUNDS.binary(kind, dtype, False)(a, b)


def intrinsic(name: str, *operands: float) -> Any:
    return BOUNDS.intrinsic(name, "float32", "float32")(*operands)


def test_exact_results_carry_no_error() -> None:
    assert error_of(binary(Mul, 3.0, 7.0)) == 0
    assert error_of(binary(Add, 2.0**23, 1.0)) == 0
    assert error_of(binary(Div, 6.0, 3.0)) == 0
    assert error_of(intrinsic("abs", -2.0)) == 0


def test_a_rounded_result_carries_what_was_lost() -> None:
    assert error_of(binary(Add, 2.0**24, 1.0)) == pytest.approx(1.0, rel=1e-9)
    assert 0 < error_of(binary(Div, 1.0, 3.0)) < 2.0**-25


def test_errors_add_and_multiply() -> None:
    x = Bounded(2.0, 0.5)
    assert error_of(binary(Add, x, x)) == pytest.approx(1.0, rel=1e-9)
    assert error_of(binary(Mul, x, 4.0)) == pytest.approx(2.0, rel=1e-9)
    assert error_of(binary(Mul, x, x)) == pytest.approx(2.25, rel=1e-9)
    assert error_of(binary(Max, x, Bounded(9.0, 0.25))) == 0.5


def test_a_divisor_that_may_be_zero_leaves_nothing_known() -> None:
    assert error_of(binary(Div, 1.0, Bounded(0.5, 0.5))) == math.inf
    assert error_of(binary(Div, 1.0, Bounded(1.0, 0.5))) >= 1.0


def test_overflow_leaves_nothing_known_but_a_true_infinity_is_exact() -> None:
    assert error_of(binary(Mul, 3e38, 10.0)) == math.inf
    assert error_of(binary(Add, math.inf, 1.0)) == 0
    assert error_of(binary(Div, 1.0, 0.0)) == 0


def test_monotone_functions_pass_errors_on() -> None:
    error = error_of(intrinsic("exp", Bounded(1.0, 0.5)))
    assert math.exp(1.5) - math.exp(1.0) <= error < 1.01 * (math.exp(1.5) - math.exp(1.0)) + 1e-6
    assert error_of(intrinsic("sin", Bounded(1.0, 0.25))) == pytest.approx(0.25, abs=1e-6)
    assert error_of(intrinsic("cosh", Bounded(1.0, 0.25))) == math.inf
    assert error_of(intrinsic("log", Bounded(0.5, 1.0))) == math.inf


def test_steps_are_seen() -> None:
    assert error_of(intrinsic("floor", Bounded(1.9, 0.2))) >= 1.0
    assert error_of(intrinsic("floor", Bounded(1.5, 0.2))) == 0.0


def test_comparisons_must_not_depend_on_rounding() -> None:
    assert binary(LT, Bounded(1.0, 0.25), 2.0) is True
    assert binary(EQ, 1.0, 1.0) is True
    with pytest.raises(Undecided, match="a comparison of floats depends on rounding"):
        binary(LT, Bounded(1.0, 0.25), 1.2)


def test_conversions() -> None:
    to_half = BOUNDS.converter("float32", "float16")
    assert error_of(to_half(1 + 2.0**-12)) == pytest.approx(2.0**-12, rel=1e-9)
    assert error_of(to_half(Bounded(1.0, 0.5))) == pytest.approx(0.5, rel=1e-9)
    to_int = BOUNDS.converter("float32", "int32")
    assert to_int(Bounded(2.5, 0.25)) == 2
    with pytest.raises(Undecided, match="conversion of float32 to int32 depends on rounding"):
        to_int(Bounded(2.9, 0.25))


def test_integers_are_left_alone() -> None:
    assert binary(Sub, 3, 5, "int32") == -2
    assert type(binary(Sub, 3, 5, "int32")) is int
