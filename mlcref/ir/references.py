"""References of the intrinsics that depend on the widths of their types: bits, fixed-point products, neighbours.

Each function takes the data types of the first operand and of the result and returns the function on plain numbers.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from mlcref import dtype as dt
from mlcref.errors import TypeMismatch

if TYPE_CHECKING:
    from fractions import Fraction

Reference = Callable[..., Any]


def popcount(operand: str, result: str) -> Reference:
    """Number of bits that are set in the two's complement.

    >>> popcount("int8", "int8")(-1)
    8
    """
    mask = (1 << dt.parse(operand).bits) - 1
    return lambda value: (int(value) & mask).bit_count()


def clz(operand: str, result: str) -> Reference:
    """Number of zero bits above the highest one that is set; the width for 0.

    >>> clz("int32", "int32")(1), clz("int64", "int32")(0)
    (31, 64)
    """
    bits = dt.parse(operand).bits
    mask = (1 << bits) - 1
    return lambda value: bits - (int(value) & mask).bit_length()


def reinterpret(operand: str, result: str) -> Reference:
    """The same bits read as another type of the same width.

    >>> reinterpret("float32", "int32")(1.0) == 0x3F800000
    True
    """
    source, target = dt.numpy_dtype(operand), dt.numpy_dtype(result)
    if source.itemsize != target.itemsize:
        raise TypeMismatch(f"T.reinterpret of {operand} as {result}: the widths differ")

    def read(value: Any) -> Any:
        with np.errstate(all="ignore"):
            return np.asarray(value, np.float64 if dt.is_float(operand) else source).astype(source).view(target).item()

    return read


def nextafter(operand: str, result: str) -> Reference:
    """The neighbour of the first operand in the direction of the second, in their type."""
    kind = dt.numpy_dtype(result)
    if kind.kind != "f":
        raise TypeMismatch(f"T.nextafter is not defined on {result}")
    return lambda a, b: float(np.nextafter(kind.type(a), kind.type(b)))


def fma(operand: str, result: str) -> Reference:
    """``a * b + c``, rounded once: in float64 to odd where the result is narrower, so that the last rounding is right.

    >>> fma("float64", "float64")(1 + 2.0**-30, 1 - 2.0**-30, -1.0) == -(2.0**-60)
    True
    """
    from fractions import Fraction  # here, since few programs use fma

    narrow = dt.parse(result).bits < 64

    def fused(a: float, b: float, c: float) -> float:
        if not all(map(math.isfinite, (a, b, c))) or (c == 0 and (a == 0 or b == 0)):
            return a * b + c
        exact = Fraction(a) * Fraction(b) + Fraction(c)
        try:
            nearest = float(exact)
        except OverflowError:
            return math.inf if exact > 0 else -math.inf
        return _to_odd(nearest, exact) if narrow and Fraction(nearest) != exact else nearest

    return fused


def _to_odd(nearest: float, exact: Fraction) -> float:
    """Of the two neighbours of an inexact result the one whose last bit is set."""
    other = math.nextafter(nearest, math.inf if exact > nearest else -math.inf)
    return nearest if struct.unpack("<Q", struct.pack("<d", nearest))[0] & 1 else other


def ldexp(x: float, power: float) -> float:
    """``x * 2**power``."""
    if not math.isfinite(power):
        return x * 2.0**power if power == power else math.nan
    try:
        return math.ldexp(x, int(power))
    except OverflowError:
        return math.copysign(math.inf, x)


def q_multiply_shift(x: int, y: int, q: int, shift: int) -> int:
    """``x * y * 2**(shift - q)`` of a fixed-point number ``y`` with ``q`` fractional bits, rounded to nearest, halves
    up: TVM's definition for int32, in 64 bits.

    >>> q_multiply_shift(100, 1 << 30, 31, 0)
    50
    """
    left, right = max(shift, 0), max(-shift, 0)
    total = q + right
    product = (x << left) * y
    return (product + (1 << (total - 1))) >> total if total > 0 else product


def q_multiply_shift_per_axis(x: int, y: int, left: int, right: int, q: int, has_left: bool, has_right: bool) -> int:
    """:func:`q_multiply_shift` with the left and the right shift given apart."""
    value = x << left if has_left else x
    total = q + (right if has_right else 0)
    return (value * y + (1 << (total - 1))) >> total if total > 0 else value * y
