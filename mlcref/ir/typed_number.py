"""Numbers of attributes that have a data type of their own: ``{"pad": T.int64(4)}``. Everywhere else they are plain
numbers.
"""

from __future__ import annotations

import math
from typing import Any

from mlcref import dtype as dt
from mlcref.ir.expr import Const


class TypedInt(int):
    """An integer of an attribute whose type is not int32.

    >>> TypedInt(4, "int64"), TypedInt(4, "int64") + 1
    (T.int64(4), 5)
    """

    dtype: str

    def __new__(cls, value: int, dtype: str) -> TypedInt:
        made = super().__new__(cls, value)
        made.dtype = dtype
        return made

    def __reduce__(self) -> tuple[Any, ...]:
        return TypedInt, (int(self), self.dtype)

    def __repr__(self) -> str:
        return f"T.{self.dtype}({int(self)})"


class TypedFloat(float):
    """A float of an attribute that was given a type.

    >>> TypedFloat(0.5, "float16")
    T.float16(0.5)
    """

    dtype: str

    def __new__(cls, value: float, dtype: str) -> TypedFloat:
        made = super().__new__(cls, value)
        made.dtype = dtype
        return made

    def __reduce__(self) -> tuple[Any, ...]:
        return TypedFloat, (float(self), self.dtype)

    def __repr__(self) -> str:
        value = float(self)
        return f"T.{self.dtype}({value!r})" if math.isfinite(value) else f'T.{self.dtype}("{value}")'


def plain_number(constant: Const) -> bool | int | float:
    """A constant as the value of an attribute: int32 and bool are plain, others keep their type. (``T.float64("inf")``
    is how a plain infinity is written.)
    """
    if constant.type == "float64" and not math.isfinite(constant.value):
        return float(constant.value)
    if dt.is_float(constant.type):
        return TypedFloat(constant.value, constant.type)
    if constant.type == "int32" or dt.is_bool(constant.type):
        value: int = constant.value
        return value
    return TypedInt(constant.value, constant.type)


def plain_attribute(value: Any) -> Any:
    """The value of an attribute with its constants as numbers, in lists and dictionaries, too."""
    if isinstance(value, Const):
        return plain_number(value)
    if isinstance(value, tuple | list):
        return [plain_attribute(item) for item in value]
    return {key: plain_attribute(item) for key, item in value.items()} if isinstance(value, dict) else value
