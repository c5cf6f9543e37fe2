"""Float64 references with a bound, element by element, of how far a correct kernel may be from them.

The rules are those of :mod:`mlcref.testing.tolerance`, for whole arrays: an operation passes on the errors of its
operands and rounds once; a sum of ``n`` terms may be taken in any order, contracted or not, and is off by at most
``inherited + gamma(n) * magnitude`` (Higham, "Accuracy and Stability of Numerical Algorithms", 4.2), and by nothing
where the terms are integers whose absolute values add up to no more than the significand holds. So on small integers
kernels must agree bit by bit. The float64 arithmetic of the reference itself is granted ``2**-45`` of the magnitude.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from mlcref import dtype as dt

Array = np.ndarray[Any, Any]

DIGITS = {"float64": 53, "float32": 24, "float16": 11, "bfloat16": 8}
_SMALLEST = {"float64": 2.0**-1074, "float32": 2.0**-149, "float16": 2.0**-24, "bfloat16": 2.0**-133}
ULPS = 4.0
"""Granted to exp, erf and square roots of a library, as in ``assert_backend_matches``."""
_REFERENCE = 2.0**-45


@dataclass(frozen=True)
class Approximate:
    """Real numbers (``value``, float64) that a kernel computes in ``dtype`` up to ``error``; integers exactly.

    >>> third = Approximate.exact(np.ones(1), "float32") / Approximate.exact(np.full(1, 3.0), "float32")
    >>> bool(0 < third.error[0] < 2**-25), bool(third.covers(np.float32([1 / 3]))[0]), third.covers([0.3333]).tolist()
    (True, True, [False])
    """

    value: Array
    error: Array
    dtype: str

    @staticmethod
    def exact(array: Any, dtype: str) -> Approximate:
        """Inputs and constants of ``dtype``."""
        value = np.asarray(array).astype(np.float64)
        return Approximate(value, np.zeros((), np.float64), dtype)

    def covers(self, result: Any) -> Array:
        """Which elements of ``result`` a correct kernel may have computed."""
        with np.errstate(invalid="ignore"):
            distance = np.abs(np.asarray(result).astype(np.float64) - self.value)
            return np.asarray(distance <= self.error)

    # One operation and its rounding.

    def __add__(self, other: Approximate) -> Approximate:
        return self.rounded(self.value + other.value, self.error + other.error)

    def __sub__(self, other: Approximate) -> Approximate:
        return self.rounded(self.value - other.value, self.error + other.error)

    def __mul__(self, other: Approximate) -> Approximate:
        return self.rounded(self.value * other.value, self._product_error(other))

    def __truediv__(self, other: Approximate) -> Approximate:
        margin = np.abs(other.value) - other.error
        with np.errstate(divide="ignore", invalid="ignore"):
            quotient = self.value / other.value
            inherited = np.where(margin > 0, (self.error + np.abs(quotient) * other.error) / margin, np.inf)
        return self.rounded(quotient, inherited)

    def scaled(self, factor: float) -> Approximate:
        """Times a constant that is itself rounded: also covers a division by its reciprocal."""
        return self.rounded(self.value * factor, np.abs(factor) * self.error, roundings=2.0)

    def exp(self) -> Approximate:
        """The exponential."""
        value = np.exp(self.value)
        return self.rounded(value, value * np.expm1(self.error), roundings=2 * ULPS)

    def erf(self) -> Approximate:
        """The error function, whose slope is at most 2 / sqrt(pi)."""
        return self.rounded(erf(self.value), self.error * (2 / np.sqrt(np.pi)), roundings=2 * ULPS)

    def sqrt(self) -> Approximate:
        """The square root."""
        value = np.sqrt(self.value)
        return self.rounded(value, value - np.sqrt(np.maximum(self.value - self.error, 0.0)), roundings=2 * ULPS)

    def maximum(self, other: float) -> Approximate:
        """The larger one of each element and a constant."""
        return Approximate(np.maximum(self.value, other), self.error, self.dtype)

    def converted(self, dtype: str) -> Approximate:
        """In another type: rounded once where that one is narrower."""
        moved = Approximate(self.value, self.error, dtype)
        if not dt.is_float(dtype) or DIGITS[dtype] >= DIGITS[self.dtype]:
            return moved
        return moved.rounded(self.value, self.error)

    # Whole axes.

    def max(self, axis: int, *, keepdims: bool = False) -> Approximate:
        """The largest element along an axis."""
        error = np.broadcast_to(self.error, self.value.shape).max(axis=axis, keepdims=keepdims)
        return Approximate(self.value.max(axis=axis, keepdims=keepdims), error, self.dtype)

    def sum(self, axis: int, *, keepdims: bool = False) -> Approximate:
        """The sum along an axis, in any order."""
        value = self.value.sum(axis=axis, keepdims=keepdims)
        terms = self.value.shape[axis]
        if not np.any(self.error) and self._exact_sum(terms * _largest(self.value), _integers(self.value)):
            return Approximate(value, np.zeros_like(value), self.dtype)
        inherited = np.broadcast_to(self.error, self.value.shape).sum(axis=axis, keepdims=keepdims)
        magnitude = np.abs(self.value).sum(axis=axis, keepdims=keepdims) + inherited
        return Approximate(value, inherited + self.gamma(terms) * magnitude, self.dtype)

    def contract(self, other: Approximate, product: Callable[[Array, Array], Array], terms: int) -> Approximate:
        """Sums of ``terms`` products each: ``product`` is bilinear, a matmul or a convolution of arrays."""
        value = product(self.value, other.value)
        integers = _integers(self.value) and _integers(other.value)
        certain = not (np.any(self.error) or np.any(other.error))
        if certain and self._exact_sum(terms * _largest(self.value) * _largest(other.value), integers):
            return Approximate(value, np.zeros_like(value), self.dtype)
        a, b = np.abs(self.value) + self.error, np.abs(other.value) + other.error
        magnitude = product(a, b)
        inherited = 0.0 if certain else magnitude - product(np.abs(self.value), np.abs(other.value))
        rounding = self.gamma(terms + 1) * magnitude + terms * _SMALLEST[self.dtype]
        return Approximate(value, np.maximum(inherited, 0.0) + rounding, self.dtype)

    # What they share, and rules for other operations.

    def _product_error(self, other: Approximate) -> Array:
        mixed = np.abs(self.value) * other.error + np.abs(other.value) * self.error
        return np.asarray(mixed + self.error * other.error)

    def rounded(self, value: Array, inherited: Any, roundings: float = 1.0) -> Approximate:
        """``value``, which is off by ``inherited`` through its operands and rounded so many times."""
        unit = roundings * 2.0 ** -DIGITS[self.dtype] + _REFERENCE
        own = unit * (np.abs(value) + inherited) + roundings * _SMALLEST[self.dtype]
        return Approximate(value, np.asarray(inherited + own), self.dtype)

    def gamma(self, terms: int) -> float:
        """What so many roundings in a row amount to, relative to the magnitude."""
        unit = terms * (2.0 ** -DIGITS[self.dtype] + _REFERENCE)
        return unit / (1 - unit) if unit < 1 else np.inf

    def _exact_sum(self, magnitude: float, integers: bool) -> bool:
        return not dt.is_float(self.dtype) or (integers and magnitude <= 2.0 ** DIGITS[self.dtype])


def _integers(array: Array) -> bool:
    return bool(np.array_equal(array, np.rint(array)))


def _largest(array: Array) -> float:
    return float(np.abs(array).max(initial=0.0))


def erf(x: Array) -> Array:
    """The error function in float64, element by element: numpy has none.

    >>> erf(np.array([0.0, 3.0])).round(6).tolist()
    [0.0, 0.999978]
    """
    flat = np.fromiter(map(math.erf, x.ravel().tolist()), np.float64, x.size)
    return flat.reshape(x.shape)
