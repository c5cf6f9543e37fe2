"""Data types are strings as in TVM (``"float32"``, ``"int8x16"``, ``"bool"``); this is what is known about each.

>>> parse("float32x4").lanes
4
>>> numpy_dtype("bfloat16").itemsize
2
"""

from __future__ import annotations

import re
from functools import cache
from typing import Any

import ml_dtypes
import numpy as np

from mlcref.errors import TypeMismatch
from mlcref.records import dataclass

_FLOAT8 = ("float8_e4m3fn", "float8_e5m2")
_ABBREVIATIONS = {"f16": "float16", "f32": "float32", "f64": "float64", "bf16": "bfloat16",
                  "i8": "int8", "i16": "int16", "i32": "int32", "i64": "int64",
                  "u8": "uint8", "u16": "uint16", "u32": "uint32", "u64": "uint64"}  # fmt: skip
_PATTERN = re.compile(r"(float8_e4m3fn|float8_e5m2|bfloat|float|uint|int|bool|handle|void)(\d*)(?:x(\d+))?")
_DEFAULT_BITS = {"float": 32, "int": 32, "uint": 32, "bfloat": 16, "bool": 1, "handle": 64, "void": 0}


@dataclass(frozen=True, slots=True)
class DataType:
    """A parsed data type: ``code`` (float, bfloat, float8_*, int, uint, bool, handle, void), ``bits`` per lane,
    ``lanes``.
    """

    code: str
    bits: int
    lanes: int

    @property
    def is_float(self) -> bool:
        """Any floating-point type."""
        return self.code in ("float", "bfloat") or self.code in _FLOAT8

    @property
    def is_integer(self) -> bool:
        """Signed or unsigned integer (bool is neither)."""
        return self.code in ("int", "uint")

    @property
    def element(self) -> str:
        """The data type of one lane."""
        return _spell(self.code, self.bits, 1)

    def with_lanes(self, lanes: int) -> str:
        """The same element with another number of lanes."""
        return _spell(self.code, self.bits, lanes)


def _spell(code: str, bits: int, lanes: int) -> str:
    base = code if code in ("bool", "handle", "void") or code in _FLOAT8 else f"{code}{bits}"
    return base if lanes == 1 else f"{base}x{lanes}"


@cache
def parse(dtype: str) -> DataType:
    """What the name says; raises ``TypeMismatch`` for a name that is no data type."""
    match = _PATTERN.fullmatch(dtype)
    if not match:
        raise TypeMismatch(f"unknown data type {dtype!r}", hint='data types are written like "float32", "int8", "bool"')
    code, bits, lanes = match.groups()
    width = 8 if code in _FLOAT8 else int(bits) if bits else _DEFAULT_BITS[code]
    allowed = {"float": (16, 32, 64), "int": (8, 16, 32, 64), "uint": (1, 8, 16, 32, 64), "bfloat": (16,)}.get(code)
    if allowed and width not in allowed:
        raise TypeMismatch(
            f"unknown data type {dtype!r}", hint=f"{code} comes with {', '.join(map(str, allowed))} bits"
        )
    if (code, width) == ("uint", 1):
        code = "bool"
    return DataType(code, width, int(lanes or 1))


def canonical(dtype: Any) -> str:
    """The one spelling of a data type given as a name, an abbreviation (``"f32"``) or a numpy dtype."""
    if not isinstance(dtype, str):
        dtype = np.dtype(dtype).name
    parsed = parse(_ABBREVIATIONS.get(dtype, dtype))
    return _spell(parsed.code, parsed.bits, parsed.lanes)


def is_float(dtype: str) -> bool:
    """Is this a floating-point type?"""
    return parse(dtype).is_float


def is_integer(dtype: str) -> bool:
    """Is this a signed or unsigned integer type?"""
    return parse(dtype).is_integer


def is_bool(dtype: str) -> bool:
    """Is this bool, with any number of lanes?"""
    return parse(dtype).code == "bool"


def lanes(dtype: str) -> int:
    """Number of lanes; 1 for a scalar type."""
    return parse(dtype).lanes


def integer_range(dtype: str) -> tuple[int, int]:
    """Smallest and largest value of an integer type (bool counts as 0..1)."""
    parsed = parse(dtype)
    if parsed.code == "bool":
        return 0, 1
    if parsed.code == "uint":
        return 0, (1 << parsed.bits) - 1
    return -(1 << (parsed.bits - 1)), (1 << (parsed.bits - 1)) - 1


@cache
def numpy_dtype(dtype: str) -> np.dtype[Any]:
    """The numpy dtype of one element; raises ``TypeMismatch`` where numpy and ml_dtypes have none."""
    parsed = parse(dtype)
    if parsed.code == "bfloat":
        bfloat: np.dtype[Any] = np.dtype(ml_dtypes.bfloat16)
        return bfloat
    if parsed.code in _FLOAT8:
        float8: np.dtype[Any] = np.dtype(getattr(ml_dtypes, parsed.code))
        return float8
    if parsed.code in ("handle", "void"):
        raise TypeMismatch(f"data type {dtype!r} has no array form")
    return np.dtype(parsed.element)


def promote(a: str, b: str) -> str:
    """The type in which TVM computes a binary operation of two variables of types ``a`` and ``b``.

    Floats win over integers, more bits over fewer, unsigned over signed at equal width; scalars widen to vectors.
    """
    if a == b:
        return a
    pa, pb = parse(a), parse(b)
    count = max(pa.lanes, pb.lanes)
    if pa.lanes not in (1, count) or pb.lanes not in (1, count):
        raise TypeMismatch(f"cannot combine {a} with {b}: the lane counts differ")
    if "handle" in (pa.code, pb.code):
        raise TypeMismatch(f"cannot combine {a} with {b}")
    rank = max((pa, pb), key=lambda p: (p.is_float, p.is_integer, p.bits, p.code == "uint"))
    return rank.with_lanes(count)
