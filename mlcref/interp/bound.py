"""A domain that carries, with every float, a bound of its distance from the exact real value.

The machine's own result is computed as always; beside it, each rounding adds the error it really made (found with
rational arithmetic) and each operation passes on the errors of its operands. So two programs that compute the same
real function differ by at most the sum of their bounds, and where nothing was rounded they must agree bit by bit. The
method is running error analysis (Higham, "Accuracy and Stability of Numerical Algorithms", 3.3), a posteriori.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction
from typing import Any

from mlcref import dtype as dt
from mlcref.errors import UnsupportedError
from mlcref.interp.numeric import Arithmetic, Operation
from mlcref.ir.expr import Add, And, Compare, Div, Max, Min, Mul, Or, Sub
from mlcref.ir.intrinsics import INTRINSICS

_STEPS = frozenset(("floor", "ceil", "trunc", "round", "nearbyint"))
_GROWTH = ("exp", "exp2", "exp10", "log", "log2", "log10", "log1p", "sqrt", "rsqrt")
_MONOTONE = _STEPS | {*_GROWTH, "tanh", "sinh", "asin", "acos", "atan", "erf", "sigmoid"}
_LIPSCHITZ = frozenset(("sin", "cos", "abs"))
_REFERENCE_ERROR = 2.0**-48
"""Relative error granted to the float64 references of the intrinsics."""


class Undecided(UnsupportedError):
    """A comparison or a conversion whose result depends on how values were rounded: the bound says nothing here."""


class Bounded(float):
    """A float with ``error``, a bound of its distance from the exact value; infinite when nothing is known."""

    __slots__ = ("error",)
    error: float

    def __new__(cls, value: float, error: float) -> Bounded:
        made = super().__new__(cls, value)
        made.error = error
        return made


def error_of(value: Any) -> float:
    """The bound that comes with ``value``; 0 for a plain number."""
    return value.error if type(value) is Bounded else 0.0


def _up(error: float) -> float:
    """Errors are added up in floats: a little more than their sum."""
    return error * (1 + 2.0**-40) + 5e-324 if error > 0 else error


def _distance(rounded: float, exact: Fraction) -> float:
    return _up(float(abs(Fraction(rounded) - exact)))


def _product_error(a: float, b: float) -> float:
    ea, eb = error_of(a), error_of(b)
    return abs(a) * eb + abs(b) * ea + ea * eb


def _quotient_error(a: float, b: float) -> float:
    ea, eb = error_of(a), error_of(b)
    if ea == eb == 0:
        return 0.0
    margin = abs(b) * (abs(b) - eb)
    return (abs(a) * eb + abs(b) * ea) / margin if margin > 0 and abs(b) > eb else math.inf


_EXACT: dict[type, tuple[Callable[[Fraction, Fraction], Fraction], Callable[[float, float], float]]] = {
    Add: (lambda a, b: a + b, lambda a, b: error_of(a) + error_of(b)),
    Sub: (lambda a, b: a - b, lambda a, b: error_of(a) + error_of(b)),
    Mul: (lambda a, b: a * b, _product_error),
    Div: (lambda a, b: a / b, _quotient_error),
}


class BoundArithmetic(Arithmetic):
    """The machine's arithmetic on :class:`Bounded` floats.

    >>> third = BoundArithmetic().binary(Div, "float32", False)(1.0, 3.0)
    >>> 0 < third.error < 2**-25, BoundArithmetic().binary(Add, "float32", False)(1.0, 2.0).error
    (True, 0.0)
    """

    def binary(self, kind: Any, dtype: str, exact: bool) -> Operation:
        """The function of a binary node; comparisons of floats must not depend on rounding."""
        plain = super().binary(kind, dtype, exact)
        if not dt.is_float(dtype) or kind in (And, Or):
            return plain
        if issubclass(kind, Compare):
            return _decided(plain)
        if kind in (Max, Min):
            return lambda a, b: Bounded(plain(a, b), max(error_of(a), error_of(b)))
        return _rounded(plain, *_EXACT[kind])

    def intrinsic(self, name: str, operand: str, result: str) -> Operation:
        """The function of an intrinsic: monotone ones pass errors on by the values at both ends."""
        plain = super().intrinsic(name, operand, result)
        if INTRINSICS[name].typed is not None:
            return _exactly(plain)
        if not dt.is_float(result):
            return plain
        reference: Operation = INTRINSICS[name].reference  # type: ignore[assignment]

        def bounded(*operands: float) -> Bounded:
            value, rounded = reference(*operands), plain(*operands)
            if not math.isfinite(value) or not math.isfinite(rounded):
                return Bounded(rounded, math.inf if any(map(error_of, operands)) or math.isfinite(value) else 0.0)
            own = 0.0 if name == "abs" or name in _STEPS else abs(value) * _REFERENCE_ERROR

            return Bounded(rounded, _up(own + abs(rounded - value) + _passed_on(name, reference, value, operands)))

        return bounded

    def converter(self, source: str, target: str) -> Operation:
        """The function of a conversion; a float near a step of the conversion to an integer is undecided."""
        plain = super().converter(source, target)
        if dt.is_float(target):
            return lambda value: _converted(plain(value), value)
        if not dt.is_float(source):
            return plain

        def decided(value: float) -> Any:
            error = error_of(value)
            if error and (math.isinf(error) or plain(value - error) != plain(value + error)):
                raise Undecided(f"a conversion of {source} to {target} depends on rounding")
            return plain(value)

        return decided


class WideArithmetic(BoundArithmetic):
    """The same with every float in float64: a float32 program as the real function that it approximates, to about 16
    digits, with a bound. Two programs that differ here are different functions, however little.

    >>> 0 < WideArithmetic().binary(Div, "float32", False)(1.0, 3.0).error < 2**-53
    True
    """

    def binary(self, kind: Any, dtype: str, exact: bool) -> Operation:
        """The function of a binary node."""
        return super().binary(kind, _widened(dtype), exact)

    def intrinsic(self, name: str, operand: str, result: str) -> Operation:
        """The function of an intrinsic; float64 says nothing about the bits of narrower floats."""
        if INTRINSICS[name].typed is not None and dt.is_float(operand):
            return _no_bits
        return super().intrinsic(name, _widened(operand), _widened(result))

    def converter(self, source: str, target: str) -> Operation:
        """The function of a conversion: between floats nothing happens."""
        return super().converter(_widened(source), _widened(target))


def _widened(dtype: str) -> str:
    return "float64" if dt.is_float(dtype) else dtype


def _decided(plain: Operation) -> Operation:
    def compare(a: float, b: float) -> bool:
        error = error_of(a) + error_of(b)
        if error and not abs(a - b) > error:
            raise Undecided("a comparison of floats depends on rounding")
        result: bool = plain(a, b)
        return result

    return compare


def _no_bits(*operands: Any) -> Any:
    raise Undecided("bits of a float depend on its type")


def _exactly(plain: Operation) -> Operation:
    """An operation on the bits of its operands: it must not depend on rounding."""

    def compute(*operands: Any) -> Any:
        if any(map(error_of, operands)):
            raise Undecided("bits of a float depend on rounding")
        return plain(*operands)

    return compute


def _rounded(
    plain: Operation, exact: Callable[[Fraction, Fraction], Fraction], passed_on: Callable[[float, float], float]
) -> Operation:
    def operation(a: float, b: float) -> Bounded:
        result = plain(a, b)
        if not (math.isfinite(a) and math.isfinite(b) and math.isfinite(result)):
            certain = error_of(a) == error_of(b) == 0 and not (math.isfinite(a) and math.isfinite(b) and b != 0)
            return Bounded(result, 0.0 if certain else math.inf)
        return Bounded(result, _up(passed_on(a, b) + _distance(result, exact(Fraction(a), Fraction(b)))))

    return operation


def _passed_on(name: str, reference: Operation, value: float, operands: tuple[float, ...]) -> float:
    """How far the errors of the operands can move the value of an intrinsic."""
    if not any(map(error_of, operands)):
        return 0.0
    x, error = operands[0], error_of(operands[0])
    if name in _LIPSCHITZ:
        return error
    if name not in _MONOTONE or math.isinf(error):
        return math.inf
    ends: tuple[float, float] = reference(x + error), reference(x - error)
    if not all(map(math.isfinite, ends)):  # an end outside of the domain
        return math.inf
    slack = 0.0 if name in _STEPS else 2 * _REFERENCE_ERROR * max(abs(end) for end in ends)
    return max(abs(end - value) for end in ends) + slack


def _converted(rounded: float, value: float) -> Bounded:
    if not (math.isfinite(rounded) and math.isfinite(value)):
        return Bounded(rounded, math.inf if error_of(value) or math.isfinite(value) else 0.0)
    return Bounded(rounded, _up(error_of(value) + _distance(rounded, Fraction(value))))
