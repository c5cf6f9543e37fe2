"""Exact-width arithmetic, operation by operation."""

from __future__ import annotations

import math
from typing import Any

import ml_dtypes
import numpy as np
import pytest

from mlcref.errors import UnsupportedError
from mlcref.interp.numeric import Refusal, binary, converter, intrinsic, round_integer, rounder, wrapper
from mlcref.ir import Add, And, Div, FloorDiv, FloorMod, Max, Min, Mod, Mul, Sub


def test_float32_rounds_after_each_operation() -> None:
    assert binary(Add, "float32")(2.0**24, 1.0) == 2.0**24
    assert binary(Mul, "float32")(np.float32(0.1).item(), 3.0) == np.float32(0.1) * np.float32(3)


def test_float32_overflows_to_infinity_without_a_warning() -> None:
    assert binary(Mul, "float32")(3e38, -10.0) == -math.inf


def test_bfloat16_rounds_once() -> None:
    just_above_half = 1 + 2.0**-8 + 2.0**-40
    assert rounder("bfloat16")(just_above_half) == 1 + 2.0**-7
    assert rounder("bfloat16")(1 + 2.0**-8) == 1.0  # the tie goes to even


@pytest.mark.parametrize(
    ("value", "expected"), [(65519.0, 65504.0), (65520.0, math.inf), (2.0**-25, 0.0), (2.0**-24, 2.0**-24)]
)
def test_float16_edges(value: float, expected: float) -> None:
    assert rounder("float16")(value) == expected


def test_rounding_keeps_the_sign_of_zero() -> None:
    assert math.copysign(1, rounder("float16")(-1e-30)) == -1


def test_float8_e4m3fn_has_no_infinity() -> None:
    assert rounder("float8_e4m3fn")(464.0) == 448.0
    assert math.isnan(rounder("float8_e4m3fn")(465.0))


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float8_e5m2", "float8_e4m3fn"])
def test_every_value_of_a_narrow_type_is_a_fixed_point(dtype: str) -> None:
    numpy_type = np.dtype(getattr(ml_dtypes, dtype) if dtype != "float16" else np.float16)
    unsigned = np.uint8 if numpy_type.itemsize == 1 else np.uint16
    with np.errstate(invalid="ignore"):
        values = np.arange(2 ** (8 * numpy_type.itemsize), dtype=unsigned).view(numpy_type).astype(np.float64)
    got = np.array([rounder(dtype)(x) for x in values.tolist()])
    np.testing.assert_array_equal(got, values)


@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [(1.0, 0.0, math.inf), (-1.0, 0.0, -math.inf), (1.0, -0.0, -math.inf), (math.inf, 0.0, math.inf), (6.0, 4.0, 1.5)],
)
def test_ieee_division(a: float, b: float, expected: float) -> None:
    assert binary(Div, "float64")(a, b) == expected


@pytest.mark.parametrize(("a", "b"), [(0.0, 0.0), (-0.0, 0.0), (math.nan, 0.0), (math.nan, 1.0)])
def test_ieee_division_gives_nan(a: float, b: float) -> None:
    assert math.isnan(binary(Div, "float32")(a, b))


@pytest.mark.parametrize(("a", "b"), [(7, 2), (-7, 2), (7, -2), (-7, -2), (6, 3), (-6, 3)])
def test_divisions_and_remainders_belong_together(a: int, b: int) -> None:
    floor, rest = binary(FloorDiv, "int32")(a, b), binary(FloorMod, "int32")(a, b)
    assert (floor, rest) == divmod(a, b)
    trunc, rest = binary(Div, "int32")(a, b), binary(Mod, "int32")(a, b)
    assert (trunc, rest) == (math.trunc(a / b), math.fmod(a, b))


@pytest.mark.parametrize("kind", [Div, Mod, FloorDiv, FloorMod])
def test_division_by_zero_is_refused(kind: Any) -> None:
    with pytest.raises(Refusal, match="divided by zero"):
        binary(kind, "int32")(3, 0)


@pytest.mark.parametrize("kind", [Div, Mod, FloorDiv, FloorMod])
def test_smallest_integer_by_minus_one_is_refused(kind: Any) -> None:
    with pytest.raises(Refusal, match="does not fit int8"):
        binary(kind, "int8")(-128, -1)


def test_integers_wrap() -> None:
    assert binary(Add, "int8")(127, 1) == -128
    assert binary(Sub, "uint8")(0, 1) == 255
    assert wrapper("int64")(2**63) == -(2**63)


def test_index_arithmetic_does_not_wrap() -> None:
    with pytest.raises(Refusal, match="does not fit int32") as refused:
        binary(Mul, "int32", exact=True)(2**16, 2**16)
    assert refused.value.rule == "value.index"


def test_max_and_min_keep_the_second_operand_on_nan_and_on_equal_zeros() -> None:
    greatest, least = binary(Max, "float32"), binary(Min, "float32")
    assert greatest(math.nan, 1.0) == 1.0
    assert math.isnan(greatest(1.0, math.nan))
    assert math.isnan(least(1.0, math.nan))
    assert math.copysign(1, greatest(0.0, -0.0)) == -1


def test_truth_values_have_no_sum() -> None:
    assert binary(And, "bool")(True, False) is False
    with pytest.raises(UnsupportedError, match="Add is not defined on bool"):
        binary(Add, "bool")


@pytest.mark.parametrize(
    ("value", "dtype", "expected"), [(3.99, "int32", 3), (-3.99, "int32", -3), (255.5, "uint8", 255)]
)
def test_float_to_integer_drops_the_fraction(value: float, dtype: str, expected: int) -> None:
    assert converter("float64", dtype)(value) == expected


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 2.0**31, -(2.0**31) - 1])
def test_float_to_integer_refuses_what_does_not_fit(value: float) -> None:
    with pytest.raises(Refusal, match="where it has no value"):
        converter("float64", "int32")(value)


def test_conversions_of_truth_values() -> None:
    assert converter("bool", "float32")(True) == 1.0
    assert converter("float32", "bool")(math.nan) is True
    assert converter("int32", "bool")(0) is False


def test_large_integers_round_once() -> None:
    value = 2**54 + 2**30 + 1  # float64 would drop the 1, and the tie would then go to even
    assert round_integer(value, "float32") == float(2**54 + 2**31)
    assert round_integer(-value, "float32") == -float(2**54 + 2**31)
    assert round_integer(2**54 + 2**30, "float32") == float(2**54)


def test_intrinsics_round_the_reference_once() -> None:
    assert intrinsic("exp", "float32", "float32")(1.0) == rounder("float32")(math.exp(1.0))
    assert intrinsic("abs", "int8", "int8")(-128) == -128
    assert intrinsic("popcount", "int8", "int8")(-1) == 8
    assert intrinsic("isnan", "float32", "bool")(math.nan) is True


@pytest.mark.parametrize("count", [-1, 8, 100])
def test_shifts_outside_of_the_width_are_refused(count: int) -> None:
    with pytest.raises(Refusal, match="is shifted by"):
        intrinsic("shift_left", "int8", "int8")(1, count)


def test_shifts() -> None:
    assert intrinsic("shift_left", "int8", "int8")(1, 7) == -128
    assert intrinsic("shift_right", "int32", "int32")(-5, 1) == -3


def test_unknown_intrinsics_are_refused() -> None:
    with pytest.raises(UnsupportedError, match="does not know the intrinsic 'frobnicate'"):
        intrinsic("frobnicate", "float32", "float32")
