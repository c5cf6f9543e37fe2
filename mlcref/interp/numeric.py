"""Exact-width arithmetic on plain Python numbers: what each operation on each data type computes.

Floats of every width are Python floats that are representable in their type, integers are Python ints inside their
range, truth values are bools. :class:`Arithmetic` hands out one function per operation and data type; the machine
looks it up once per node. A function that refuses its operands raises :class:`Refusal`; who called it knows where on
the script that was.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from functools import cache
from typing import Any

from mlcref import dtype as dt
from mlcref.errors import UnsupportedError
from mlcref.ir.expr import (
    EQ,
    GE,
    GT,
    LE,
    LT,
    NE,
    Add,
    And,
    Binary,
    Div,
    FloorDiv,
    FloorMod,
    Max,
    Min,
    Mod,
    Mul,
    Or,
    Sub,
)
from mlcref.ir.intrinsics import INTRINSICS
from mlcref.rounding import round_integer, rounder

Number = Any
Operation = Callable[..., Number]


class Refusal(Exception):
    """Operands on which an operation means nothing: the rule, and what happened."""

    def __init__(self, rule: str, what: str, hint: str | None = None) -> None:
        super().__init__(what)
        self.rule, self.what, self.hint = rule, what, hint


# --- integers: rules value.wrap, value.division, value.shift, value.index ---


@cache
def wrapper(dtype: str) -> Callable[[int], int]:
    """The function that takes an integer into ``dtype`` modulo ``2**bits`` (two's complement).

    >>> wrapper("int8")(130), wrapper("uint8")(-1)
    (-126, 255)
    """
    low, high = dt.integer_range(dtype)
    modulus = high - low + 1

    def wrap(value: int) -> int:
        return value if low <= value <= high else (value - low) % modulus + low

    return wrap


@cache
def _exact(dtype: str) -> Callable[[int], int]:
    low, high = dt.integer_range(dtype)

    def check(value: int) -> int:
        if not low <= value <= high:
            raise Refusal(
                "value.index",
                f"index arithmetic gives {value}, which does not fit {dtype}",
                hint="use int64 for the loops and shapes of this program",
            )
        return value

    return check


def trunc_div(a: int, b: int) -> int:
    """Quotient rounded towards zero.

    >>> trunc_div(-7, 2), trunc_mod(-7, 2)
    (-3, -1)
    """
    quotient = abs(a) // abs(b)
    return quotient if (a < 0) == (b < 0) else -quotient


def trunc_mod(a: int, b: int) -> int:
    """Remainder of :func:`trunc_div`: it has the sign of ``a``."""
    return a - b * trunc_div(a, b)


def _divides(f: Callable[[int, int], int], dtype: str) -> Operation:
    low, high = dt.integer_range(dtype)

    def divide(a: int, b: int) -> int:
        if b == 0:
            raise Refusal("value.division", f"{a} is divided by zero")
        if b == -1 and not low <= -a <= high:
            raise Refusal("value.division", f"{a} divided by -1 does not fit {dtype}")
        return f(a, b)

    return divide


def divide_float(a: float, b: float) -> float:
    """IEEE division: x/0 is an infinity, 0/0 is NaN."""
    try:
        return a / b
    except ZeroDivisionError:
        if a == 0 or a != a:
            return math.nan
        return math.copysign(math.inf, a) * math.copysign(1.0, b)


# --- one function per operation and type ---

_RING: dict[type[Binary], Operation] = {Add: operator.add, Sub: operator.sub, Mul: operator.mul}
_COMPARE: dict[type[Binary], Operation] = {
    EQ: operator.eq,
    NE: operator.ne,
    LT: operator.lt,
    LE: operator.le,
    GT: operator.gt,
    GE: operator.ge,
    And: lambda a, b: a and b,
    Or: lambda a, b: a or b,
}
_CHOOSE: dict[type[Binary], Operation] = {
    Max: lambda a, b: a if a > b else b,  # rule value.minmax: the second operand on NaN and on equal values
    Min: lambda a, b: a if a < b else b,
}
_DIVIDE: dict[type[Binary], Operation] = {
    Div: trunc_div,
    Mod: trunc_mod,
    FloorDiv: operator.floordiv,
    FloorMod: operator.mod,
}


def _composed(f: Operation, after: Callable[[Any], Any]) -> Operation:
    return lambda a, b: after(f(a, b))


def _float_binary(kind: type[Binary], dtype: str) -> Operation | None:
    round_ = rounder(dtype)
    if kind in _RING:
        f = _RING[kind]
        return f if dtype == "float64" else _composed(f, round_)
    return _composed(divide_float, round_) if kind is Div else None


def _integer_binary(kind: type[Binary], dtype: str, exact: bool) -> Operation | None:
    if kind in _RING:
        return _composed(_RING[kind], _exact(dtype) if exact else wrapper(dtype))
    return _divides(_DIVIDE[kind], dtype) if kind in _DIVIDE else None


@cache
def binary(kind: Any, dtype: str, exact: bool = False) -> Operation:
    """The function of a binary node of class ``kind`` on operands of the scalar type ``dtype``.

    With ``exact``, integer results that do not fit are refused instead of wrapped: that is index arithmetic.

    >>> from mlcref.ir import Add, Div
    >>> binary(Add, "int8")(100, 100), binary(Div, "float32")(1.0, 3.0)
    (-56, 0.3333333432674408)
    """
    found: Operation | None = _COMPARE.get(kind)
    if found is None and not dt.is_bool(dtype):
        found = _CHOOSE.get(kind)
        if found is None:
            found = _float_binary(kind, dtype) if dt.is_float(dtype) else _integer_binary(kind, dtype, exact)
    if found is None:
        raise UnsupportedError(f"{kind.__name__} is not defined on {dtype}")
    return found


@cache
def converter(source: str, target: str) -> Callable[[Any], Any]:
    """The function that converts scalars of type ``source`` to ``target``: rule value.cast.

    >>> converter("float32", "int8")(-2.5), converter("int32", "int8")(200)
    (-2, -56)
    """
    if source == target:
        return lambda value: value
    if dt.is_bool(target):
        return lambda value: value != 0
    if dt.is_float(target):
        return rounder(target) if dt.is_float(source) else lambda value: round_integer(int(value), target)
    if not dt.is_integer(target) or "handle" in (source, target):
        raise UnsupportedError(f"conversion of {source} to {target}")
    return _truncates(target) if dt.is_float(source) else lambda value: wrapper(target)(int(value))


def _truncates(target: str) -> Callable[[float], int]:
    low, high = dt.integer_range(target)

    def truncate(value: float) -> int:
        if not math.isfinite(value) or not low <= math.trunc(value) <= high:
            raise Refusal(
                "value.cast",
                f"{value} is converted to {target}, where it has no value",
                hint="clamp it before the conversion",
            )
        return math.trunc(value)

    return truncate


@cache
def intrinsic(name: str, operand: str, result: str) -> Operation:
    """The function of an intrinsic on operands of the scalar type ``operand``: its reference in float64, rounded
    once."""
    row = INTRINSICS.get(name)
    reference = None if row is None else row.typed(operand, result) if row.typed is not None else row.reference
    if reference is None:
        raise UnsupportedError(f"the oracle does not know the intrinsic {name!r}")
    if name in ("shift_left", "shift_right"):
        return _shift(reference, operand)
    if dt.is_float(result):
        round_ = rounder(result)
        return lambda *operands: round_(reference(*operands))
    if dt.is_integer(result):
        wrap = wrapper(result)
        return lambda *operands: wrap(reference(*operands))
    return reference


def _shift(reference: Operation, dtype: str) -> Operation:
    bits, wrap = dt.parse(dtype).bits, wrapper(dtype)

    def shift(value: int, count: int) -> int:
        if not 0 <= count < bits:
            raise Refusal("value.shift", f"{value} of type {dtype} is shifted by {count}")
        return wrap(reference(value, count))

    return shift


class Arithmetic:
    """The arithmetic in which a program runs. This one is the machine's; other domains override what they compute
    otherwise."""

    def binary(self, kind: Any, dtype: str, exact: bool) -> Operation:
        """The function of a binary node on scalars of ``dtype``; ``exact`` in index arithmetic."""
        return binary(kind, dtype, exact)

    def intrinsic(self, name: str, operand: str, result: str) -> Operation:
        """The function of an intrinsic."""
        return intrinsic(name, operand, result)

    def converter(self, source: str, target: str) -> Operation:
        """The function of a conversion."""
        return converter(source, target)


MACHINE = Arithmetic()
