"""A domain without rounding: integers as the machine has them, floats as fractions.

Results say what a program means as a real function, so that errors of the machine or of a kernel can be measured
instead of bounded. Functions with irrational values (exp, sqrt, …) have no meaning here and are refused; infinities
and NaN are kept as floats.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction
from typing import Any

from mlcref import dtype as dt
from mlcref.errors import UnsupportedError
from mlcref.interp.arguments import Binding
from mlcref.interp.numeric import Arithmetic, Operation, Refusal, divide_float
from mlcref.ir.expr import Add, Div, Mul, Sub

Exact = Fraction | float
"""A finite number, or an infinity or NaN."""


def exact(value: Any) -> Any:
    """``value`` as a fraction, if it is finite.

    >>> exact(0.5), exact(float("inf"))
    (Fraction(1, 2), inf)
    """
    return Fraction(value) if not isinstance(value, float) or math.isfinite(value) else value


def _divide(a: Exact, b: Exact) -> Exact:
    return divide_float(_float(a), 0.0) if b == 0 else a / b


_OPERATIONS: dict[type, Callable[[Any, Any], Exact]] = {
    Add: lambda a, b: a + b,
    Sub: lambda a, b: a - b,
    Mul: lambda a, b: a * b,
    Div: _divide,
}


def _half_away(value: Fraction) -> int:
    return math.floor(abs(value) + Fraction(1, 2)) * (1 if value >= 0 else -1)


_FUNCTIONS: dict[str, Callable[..., Any]] = {
    "abs": abs,
    "likely": lambda x: x,
    "floor": math.floor,
    "ceil": math.ceil,
    "trunc": math.trunc,
    "round": _half_away,
    "nearbyint": round,
    "fmod": lambda a, b: a - b * math.trunc(a / b),
    "isnan": lambda x: False,
    "isinf": lambda x: False,
    "isfinite": lambda x: True,
}


def _float(value: Exact) -> float:
    """The nearest float64; an infinity where there is none."""
    try:
        return float(value)
    except OverflowError:
        return math.copysign(math.inf, value)


class ExactArithmetic(Arithmetic):
    """The machine's integers, and fractions.

    >>> ExactArithmetic().binary(Div, "float32", False)(1.0, 3.0)
    Fraction(1, 3)
    """

    def lift_arguments(self, binding: Binding) -> None:
        """Arguments need no change: operations read floats as the fractions that they are."""

    def binary(self, kind: Any, dtype: str, exact_index: bool) -> Operation:
        """The function of a binary node."""
        plain = super().binary(kind, dtype, exact_index)
        operation = _OPERATIONS.get(kind)
        if not dt.is_float(dtype):
            return plain
        if operation is None:
            return lambda a, b: plain(exact(a), exact(b))

        def apply(a: Any, b: Any) -> Any:
            x, y = exact(a), exact(b)
            if type(x) is Fraction and type(y) is Fraction:
                return operation(x, y)
            return plain(_float(x), _float(y))

        return apply

    def intrinsic(self, name: str, operand: str, result: str) -> Operation:
        """The function of an intrinsic with rational values."""
        plain = super().intrinsic(name, operand, result)
        if not dt.is_float(operand):
            return plain
        function = _FUNCTIONS.get(name)
        if name == "pow":
            return _power
        if function is None:
            raise UnsupportedError(f"{name} has no value in the exact domain", hint="use the domain field or bound")

        def apply(*operands: Any) -> Any:
            values = [exact(x) for x in operands]
            if all(type(x) is Fraction for x in values):
                return exact(function(*values)) if dt.is_float(result) else function(*values)
            return plain(*map(_float, values))

        return apply

    def converter(self, source: str, target: str) -> Operation:
        """The function of a conversion: between floats nothing happens."""
        plain = super().converter(source, target)
        if dt.is_float(target):
            return exact
        if not dt.is_float(source) or dt.is_bool(target):
            return plain
        low, high = dt.integer_range(target)

        def truncate(value: Any) -> int:
            number = exact(value)
            if type(number) is Fraction and low <= math.trunc(number) <= high:
                return math.trunc(number)
            raise Refusal("value.cast", f"{value} is converted to {target}, where it has no value")

        return truncate


def _power(a: Any, b: Any) -> Any:
    base, power = exact(a), exact(b)
    if type(base) is not Fraction or type(power) is not Fraction or power.denominator != 1 or abs(power) > 1024:
        raise UnsupportedError("pow has a value in the exact domain for small integer exponents only")
    if base == 0 and power < 0:
        return math.inf
    return base ** int(power)
