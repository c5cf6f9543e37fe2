"""What generated programs call: refusals, rounding, views, ordered reductions, functions of arrays.

Everything here computes the same bits as :mod:`mlcref.interp.numeric`, or raises :class:`Doubt`.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any, NoReturn

import numpy as np

from mlcref import dtype as dt
from mlcref.interp.numeric import intrinsic

Array = np.ndarray[Any, Any]


class Doubt(Exception):
    """The generated code met something that it does not decide: the machine runs the program again."""


def doubt() -> NoReturn:
    """Give up: what follows is the machine's to judge."""
    raise Doubt


def cells(count: int) -> memoryview:
    """Numbers that are rounded to float32 when they are stored.

    >>> t = cells(1)
    >>> t[0] = 0.1
    >>> t[0]
    0.10000000149011612
    """
    return memoryview(array("f", bytes(4 * count)))


def view(memory: Array, start: int, shape: Sequence[int], strides: Sequence[int]) -> Array:
    """The elements ``start + i * strides[0] + …`` of flat memory as an array, without copying.

    >>> view(np.arange(6), 1, (2, 2), (3, 1)).tolist()
    [[1, 2], [4, 5]]
    """
    size = memory.itemsize
    return np.ndarray(shape, memory.dtype, memory, start * size, [stride * size for stride in strides])


def inside(index: Any, extent: int) -> Any:
    """``index``, all of whose elements must lie in ``[0, extent)``."""
    if np.min(index) < 0 or np.max(index) >= extent:
        raise Doubt
    return index


def where_inside(index: Any, extent: int, chosen: Any) -> Any:
    """``index`` where ``chosen`` holds, 0 elsewhere; checked as by :func:`inside`."""
    return inside(np.where(chosen, index, 0), extent)


def truncate(values: Any, dtype: str) -> Any:
    """Floats to integers; NaN, infinities and what the type cannot hold are in doubt."""
    whole = np.trunc(np.asarray(values, np.float64))
    low, high = dt.integer_range(dtype)
    if not np.all((whole >= low) & (whole <= min(high, 2.0**53))):
        raise Doubt
    return whole.astype(dtype)


class Users:
    """Who uses the elements of a memory during one run of a loop without order: the dynamic form of rule loop.race."""

    def __init__(self) -> None:
        self.writers: dict[int, Any] = {}
        self.readers: dict[int, Any] = {}
        self.now: Any = 0
        """The iteration that runs: anything but None."""

    def read(self, at: int) -> None:
        """An element is read; another iteration must not have written it."""
        if self.writers.get(at, self.now) != self.now:
            raise Doubt
        if self.readers.setdefault(at, self.now) != self.now:
            self.readers[at] = None

    def write(self, at: int) -> None:
        """An element is written; no other iteration may have used it."""
        if self.writers.get(at, self.now) != self.now or self.readers.get(at, self.now) != self.now:
            raise Doubt
        self.writers[at] = self.now


class Threads(Users):
    """Who uses the elements of a memory during one phase, or one grid: two threads may write the same bits (rule
    thread.race)."""

    def write(self, at: int, old: Any = None, new: Any = None) -> None:
        """An element is written; another thread may have written the same bits, and nothing else."""
        other = self.writers.get(at, self.now) != self.now and not (type(old) is type(new) and repr(old) == repr(new))
        if other or self.readers.get(at, self.now) != self.now:
            raise Doubt
        self.writers[at] = self.now


# --- ordered reductions ---

_RING = {"add": np.add, "sub": np.subtract, "mul": np.multiply}


def ordered(kind: str, start: Any, values: Array) -> Array:
    """Reduce the last axis of ``values`` onto ``start``, one after the other: bit for bit what a loop computes.

    >>> ordered("add", np.float32(1), np.array([[1e8, -1e8]], "float32")).tolist()
    [0.0]
    """
    if kind in _RING:
        chain = np.empty((*values.shape[:-1], values.shape[-1] + 1), values.dtype)
        chain[..., 0] = start
        chain[..., 1:] = values
        return _RING[kind].accumulate(chain, axis=-1, dtype=chain.dtype)[..., -1]
    best = (np.maximum if kind == "max" else np.minimum).reduce(values, axis=-1)
    best = np.maximum(start, best) if kind == "max" else np.minimum(start, best)
    if values.dtype.kind != "f" or not (np.isnan(best).any() or (best == 0).any()):
        return np.broadcast_to(best, values.shape[:-1])
    # NaN and the sign of zero depend on the order.
    result = np.broadcast_to(start, values.shape[:-1])
    for k in range(values.shape[-1]):
        part = values[..., k]
        result = np.where(result > part if kind == "max" else result < part, result, part)
    return result


# --- functions of arrays ---

_CLOSE: dict[str, Callable[[Any], Any]] = {"exp": np.exp, "log": np.log, "sqrt": np.sqrt, "tanh": np.tanh}


@cache
def array_function(name: str, operand: str, result: str) -> Callable[..., Any]:
    """An intrinsic on arrays of ``operand``: the function of the table, element by element.

    numpy's float64 result is taken where an error of 16 units in its last place cannot change the rounded float32;
    the few other elements are computed as the table says.
    """
    scalar = intrinsic(name, operand, result)
    numpy_type = dt.numpy_dtype(result)

    def each(*operands: Any) -> Any:
        shape = np.broadcast_shapes(*(np.shape(x) for x in operands))
        lists = [np.broadcast_to(x, shape).ravel().tolist() for x in operands]
        return np.array(list(map(scalar, *lists)), numpy_type).reshape(shape)

    close = _CLOSE.get(name)
    if close is None or (operand, result) != ("float32", "float32"):
        return each

    def screened(x: Any) -> Any:
        wide = np.asarray(close(np.asarray(x, np.float64)))
        rounded = wide.astype(np.float32)
        spread = np.abs(wide) * 2.0**-49
        risky = (wide - spread).astype(np.float32) != (wide + spread).astype(np.float32)
        if risky.any():
            rounded[risky] = each(np.broadcast_to(x, wide.shape)[risky])
        return rounded

    return screened


NAMES: dict[str, Any] = {
    "np": np, "Doubt": Doubt, "doubt": doubt, "cells": cells, "view": view, "inside": inside,
    "where_inside": where_inside, "truncate": truncate, "ordered": ordered,
    "Users": Users, "Threads": Threads, "INF": float("inf"), "NAN": float("nan"),
}  # fmt: skip
"""What generated source may name."""
