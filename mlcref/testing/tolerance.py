"""How far a correct floating-point kernel may be from the oracle: a bound a priori, element by element.

:mod:`mlcref.interp.bound` adds up the rounding errors that one run really made. A kernel of another make rounds
elsewhere: it adds in another order, or contracts ``a*b + c``. The numbers here carry a bound that covers every such
run. A pending sum keeps the sum ``magnitude`` of the absolute values of its terms, their own errors ``inherited`` and
the number of additions: in any order the error is at most ``inherited + gamma(additions) * (magnitude + inherited)``
(Higham, "Accuracy and Stability of Numerical Algorithms", 4.2). Where all terms are multiples of one power of two
(``quantum``) and small enough, no order rounds and the bound is 0: on small integers kernels must agree exactly.
The bound is of the distance to the exact value: two runs are apart by up to twice as much.

Not covered: overflow or underflow of intermediate results that the oracle's order does not have, and distribution
(``a*c + b*c`` for ``(a + b)*c`` where ``a + b`` cancels).
"""

from __future__ import annotations

import math
from functools import partial
from typing import Any

from mlcref import dtype as dt
from mlcref.errors import UnsupportedError
from mlcref.interp.bound import BoundArithmetic, Bounded, Undecided, error_of
from mlcref.interp.numeric import Arithmetic, Operation
from mlcref.ir import Add, And, Compare, Div, Max, Min, Mul, Or, Sub

_FORMAT = {  # digits of the significand, exponent of the smallest positive number
    "float64": (53, -1074), "float32": (24, -149), "float16": (11, -24), "bfloat16": (8, -133),
    "float8_e4m3fn": (4, -9), "float8_e5m2": (3, -16),
}  # fmt: skip
_EXACT_INTRINSICS = frozenset(("abs", "floor", "ceil", "trunc", "round", "nearbyint"))


class Spread(float):
    """A float with what bounds its distance from the exact value in every run: see the module."""

    __slots__ = ("additions", "inherited", "magnitude", "quantum")
    magnitude: float
    inherited: float
    additions: int
    quantum: float

    def __new__(cls, value: float, magnitude: float, inherited: float, additions: int, quantum: float) -> Spread:
        made = super().__new__(cls, value)
        made.magnitude, made.inherited, made.additions, made.quantum = magnitude, inherited, additions, quantum
        return made


def _spread(value: float) -> Spread:
    """An input or a constant: exact."""
    if type(value) is Spread:
        return value
    return Spread(value, abs(value), error_of(value), 0, _quantum(value))


def _quantum(value: float) -> float:
    """The largest power of two that divides ``value``; infinite for 0, 0 for what is not finite."""
    if value == 0:
        return math.inf
    if not math.isfinite(value):
        return 0.0
    fraction, exponent = math.frexp(value)
    digits = int(fraction * 2.0**53)
    return math.ldexp(digits & -digits, exponent - 53)


class ToleranceArithmetic(Arithmetic):
    """The machine's arithmetic on :class:`Spread` floats; ``ulps`` is what an intrinsic of the kernel may be off.

    >>> add = ToleranceArithmetic().binary(Add, "float32", False)
    >>> tolerance_of(add(1.0, 2.0), "float32"), 0 < tolerance_of(add(1.0, 2.0**-30), "float32") < 2**-22
    (0.0, True)
    """

    def __init__(self, ulps: float = 4.0) -> None:
        self.ulps = ulps
        self.bounded = BoundArithmetic()

    def binary(self, kind: Any, dtype: str, exact: bool) -> Operation:
        """The function of a binary node."""
        plain = super().binary(kind, dtype, exact)
        if not dt.is_float(dtype) or kind in (And, Or):
            return plain
        if issubclass(kind, Compare):
            compare = self.bounded.binary(kind, dtype, exact)
            return lambda a, b: compare(_apart(a, dtype), _apart(b, dtype))
        if kind in (Add, Sub):
            return lambda a, b: _sum(plain(float(a), float(b)), _spread(a), _spread(b))
        if kind is Mul:
            return lambda a, b: _product(plain(float(a), float(b)), a, b, dtype)
        if kind is Div:
            return lambda a, b: _quotient(plain(float(a), float(b)), a, b, dtype)
        if kind in (Max, Min):
            return lambda a, b: _extremum(plain(float(a), float(b)), a, b, dtype)
        return lambda a, b: _certain(plain(float(a), float(b)), a, b, dtype, kind)

    def intrinsic(self, name: str, operand: str, result: str) -> Operation:
        """The function of an intrinsic: errors of its operands passed on, and ``ulps`` of its own."""
        if not dt.is_float(operand):
            return super().intrinsic(name, operand, result)  # integers are exact
        if not dt.is_float(result):
            plain = super().intrinsic(name, operand, result)
            return lambda *values: _certain(plain(*map(float, values)), *_two(values), operand, name)
        bounded = self.bounded.intrinsic(name, operand, result)
        own = 0.0 if name in _EXACT_INTRINSICS else self.ulps

        def spread(*values: float) -> Spread:
            found = bounded(*(_apart(value, operand) for value in values))
            exact = name in _EXACT_INTRINSICS and not any(tolerance_of(value, operand) for value in values)
            return _rounded(float(found), 0.0 if exact else 2 * error_of(found), result, own)

        return spread

    def converter(self, source: str, target: str) -> Operation:
        """The function of a conversion; a float near a step of the conversion to an integer is undecided."""
        if not dt.is_float(source):
            plain = super().converter(source, target)
            return partial(_from_integer, plain, target) if dt.is_float(target) else plain
        convert = self.bounded.converter(source, target)
        if not dt.is_float(target):
            return lambda value: convert(_apart(value, source))
        return partial(_narrowed, super().converter(source, target), source, target)


def tolerance_of(value: Any, dtype: str) -> float:
    """How far a correct kernel's ``dtype`` may be from ``value``; 0 for a plain number."""
    return 2 * error_of(_collapsed(value, dtype))


def _apart(value: float, dtype: str) -> float:
    """``value`` with a bound of its distance from what any other run has there."""
    found = _collapsed(value, dtype)
    return Bounded(float(found), 2 * error_of(found)) if type(found) is Bounded else found


def _collapsed(value: float, dtype: str) -> float:
    """``value`` with the error of its pending sum, in any order; a plain number stays one."""
    if type(value) is not Spread:
        return value
    error, digits = value.inherited, _FORMAT[dt.parse(dtype).element][0]
    if value.additions and not (error == 0 and value.magnitude <= value.quantum * 2.0**digits):
        unit = value.additions * 2.0**-digits
        gamma = unit / (1 - unit) if unit < 1 else math.inf
        error = _up(error + gamma * (value.magnitude + 2 * error))
    return Bounded(float(value), error) if math.isfinite(value) and error == error else Bounded(value, math.inf)


def _up(error: float) -> float:
    """A little more: the bound itself is computed with rounding."""
    return error * (1 + 2.0**-40) if error > 0 else error


def _rounded(value: float, error: float, dtype: str, ulps: float = 0.5) -> Spread:
    """A result with ``error`` from its operands that is then off by ``ulps``; no pending sum."""
    digits, lowest = _FORMAT[dt.parse(dtype).element]
    if not math.isfinite(value):
        return Spread(value, abs(value), error, 0, 0.0)
    own = 2 * ulps * (2.0**-digits * (abs(value) + 2 * error) + 2.0**lowest) if ulps else 0.0
    return Spread(value, abs(value), _up(error + own), 0, _quantum(value))


def _sum(value: float, a: Spread, b: Spread) -> Spread:
    return Spread(
        value,
        a.magnitude + b.magnitude,
        a.inherited + b.inherited,
        a.additions + b.additions + 1,
        min(a.quantum, b.quantum),
    )


def _product(value: float, a: float, b: float, dtype: str) -> Spread:
    x, y = _collapsed(a, dtype), _collapsed(b, dtype)
    digits, lowest = _FORMAT[dt.parse(dtype).element]
    ea, eb = error_of(x), error_of(y)
    if ea == eb == 0:
        p, q = _spread(a), _spread(b)
        quantum = p.quantum * q.quantum if value else math.inf
        if p.magnitude * q.magnitude <= quantum * 2.0**digits and quantum >= 2.0**lowest:
            return Spread(value, p.magnitude * q.magnitude, 0.0, 0, quantum)
    return _rounded(value, (abs(x) + 2 * ea) * eb + (abs(y) + ea) * ea, dtype)


def _quotient(value: float, a: float, b: float, dtype: str) -> Spread:
    x, y = _collapsed(a, dtype), _collapsed(b, dtype)
    ea, eb = error_of(x), error_of(y)
    margin = abs(y) - 2 * eb  # what the divisor is at least, in any run
    if ea == eb == 0:
        return _rounded(value, 0.0, dtype)
    if not margin > 0:
        return Spread(value, abs(value), math.inf, 0, 0.0)
    return _rounded(value, (ea + (abs(x) + ea) / margin * eb) / margin, dtype)


def _extremum(value: float, a: float, b: float, dtype: str) -> Spread:
    p, q = _spread(a), _spread(b)
    error = max(error_of(_collapsed(a, dtype)), error_of(_collapsed(b, dtype)))
    return Spread(value, abs(value), error, 0, min(p.quantum, q.quantum))  # not the magnitude of what lost


def _narrowed(plain: Operation, source: str, target: str, value: float) -> Spread:
    """A float converted; to a wider type nothing is rounded, in any run."""
    found = float(plain(float(value)))
    digits, lowest = _FORMAT[source]
    widens = _FORMAT[target][0] >= digits and _FORMAT[target][1] <= lowest
    error = error_of(_collapsed(value, source))
    return _rounded(found, error, target, 0 if widens or (error == 0 and found == value) else 0.5)


def _from_integer(plain: Operation, target: str, value: int) -> Spread:
    found = float(plain(value))
    return _rounded(found, 0.0, target, 0 if found == value else 0.5)


def _certain(result: Any, a: float, b: float, dtype: str, what: Any) -> Any:
    """A step function of two floats: known only where both are exact."""
    if error_of(_collapsed(a, dtype)) or error_of(_collapsed(b, dtype)):
        raise Undecided(f"{getattr(what, '__name__', what)} of floats depends on rounding")
    return result


def _two(values: tuple[float, ...]) -> tuple[float, float]:
    if len(values) > 2:
        raise UnsupportedError("a predicate of more than two floats has no tolerance")
    return values[0], values[-1]
