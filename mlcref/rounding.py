"""Rounding of Python floats to the float types, once and half to even: rule value.rounding of docs/semantics.md."""

from __future__ import annotations

import math
import struct
from collections.abc import Callable
from functools import cache

_f32 = struct.Struct("f")

# mantissa bits (with the leading one), exponent of the smallest normal number, largest finite value, value on overflow
_FORMATS: dict[str, tuple[int, int, float, float]] = {
    "float16": (11, -14, 65504.0, math.inf),
    "bfloat16": (8, -126, math.ldexp(255, 120), math.inf),
    "float8_e5m2": (3, -14, 57344.0, math.inf),
    "float8_e4m3fn": (4, -6, 448.0, math.nan),
}


def _round_f32(value: float) -> float:
    return _f32.unpack(_f32.pack(value))[0]  # type: ignore[no-any-return]


def _round_narrow(value: float, bits: int, low: int, largest: float, overflow: float) -> float:
    """``value`` to ``bits`` significant bits, half to even, in one rounding; numbers under ``2**low`` lose bits."""
    if value == 0 or not math.isfinite(value):
        return math.copysign(overflow, value) if math.isinf(value) else value
    exponent = max(math.frexp(value)[1] - 1, low)
    quantum = math.ldexp(1.0, exponent - bits + 1)
    rounded = round(value / quantum) * quantum
    return math.copysign(overflow if abs(rounded) > largest else rounded, value)


@cache
def rounder(dtype: str) -> Callable[[float], float]:
    """The function that rounds a float to ``dtype`` (IEEE, half to even, once).

    >>> rounder("float32")(0.1), rounder("float16")(1e6), rounder("bfloat16")(1.00390626)
    (0.10000000149011612, inf, 1.0078125)
    """
    if dtype == "float64":
        return float
    if dtype == "float32":
        return _round_f32
    bits, low, largest, overflow = _FORMATS[dtype]
    return lambda value: _round_narrow(value, bits, low, largest, overflow)


def round_integer(value: int, dtype: str) -> float:
    """An integer of any size as a float of ``dtype``, rounded once."""
    excess = value.bit_length() - 53
    if dtype != "float64" and excess > 0:
        # Keep 53 bits and whether anything was lost below them: the second rounding sees what the first one dropped.
        magnitude = abs(value)
        kept = magnitude >> excess
        sticky = kept | (kept << excess != magnitude)
        value = (sticky << excess) * (1 if value > 0 else -1)
    return rounder(dtype)(float(value))
