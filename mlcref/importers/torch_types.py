"""Data types of torch: their names, and to which type operands of different types are converted."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mlcref import dtype as dt
from mlcref.errors import UnsupportedError
from mlcref.importers.fx_table import look_up


def default_float() -> str:
    """The type of what torch makes of Python's floats, and of integers that are divided.

    >>> default_float()
    'float32'
    """
    ask = look_up("torch.get_default_dtype")
    return "float32" if ask is None else dtype_name(ask())


def dtype_name(dtype: Any) -> str:
    """The name of a ``torch.dtype``.

    >>> dtype_name("torch.bfloat16")
    'bfloat16'
    """
    return dt.canonical(str(dtype).removeprefix("torch."))


def _category(dtype: str) -> int:
    return 0 if dt.is_bool(dtype) else 1 if dt.is_integer(dtype) else 2


def result_type(tensors: Sequence[tuple[str, int]], scalars: Sequence[Any] = ()) -> str:
    """The type that operands are converted to: ``tensors`` are data types with numbers of dimensions, ``scalars`` are
    Python numbers.

    A higher category (bool, integer, float) wins; within one, tensors with dimensions before those without, both before
    Python numbers. Raises ``UnsupportedError`` for types of which neither holds the other. Source:
    ``torch.result_type``.

    >>> result_type([("int64", 2), ("float16", 0)]), result_type([("int32", 1)], [0.5])
    ('float16', 'float32')
    """
    ranked = [
        [dtype for dtype, ndim in tensors if ndim],
        [dtype for dtype, ndim in tensors if not ndim],
        [_scalar_type(value) for value in scalars],
    ]
    highest = max(_category(dtype) for group in ranked for dtype in group)
    group = next(found for found in ranked if any(_category(dtype) == highest for dtype in found))
    return _widest([dtype for dtype in group if _category(dtype) == highest])


def _scalar_type(value: Any) -> str:
    return "bool" if isinstance(value, bool) else "int64" if isinstance(value, int) else default_float()


def _widest(dtypes: Sequence[str]) -> str:
    widest = max(dtypes, key=lambda dtype: dt.parse(dtype).bits)
    for dtype in set(dtypes) - {widest}:
        same_size = dt.parse(dtype).bits == dt.parse(widest).bits
        if same_size or (dt.parse(widest).code == "uint" and dt.parse(dtype).code == "int"):
            hint = "convert one of them first"
            raise UnsupportedError(f"operands of {dtype} and {widest}", rule="fx.dtype", hint=hint)
    return widest
