"""The rules of a call: which arguments a compiled function accepts, and what to say about the others.

This is the readable text of what the compiled launcher checks quickly; it decides every case that the fast path leaves
open. Nothing has been written when a ``CallError`` is raised.
"""

from __future__ import annotations

import operator
from collections.abc import Sequence
from itertools import combinations
from typing import Any, NoReturn

import numpy as np

from mlcref import dtype as dtypes
from mlcref import runtime
from mlcref.errors import CallError
from mlcref.runtime.signature import BufferParam, Param, ScalarParam, extra_symbols

Array = np.ndarray[Any, Any]
Slot = Array | bytes
"""What a kernel gets for one argument: an array to point to, or 8 bytes that start with a scalar's value."""

_SLOT_BYTES = 8


def resolve(
    holder: type, name: str, params: Sequence[Param], noalias: bool, args: tuple[object, ...]
) -> tuple[Slot, ...]:
    """The slots of a call of function ``name``: one per parameter, then one per extra symbolic dimension.

    ``holder`` is the class whose objects carry their numpy array as ``.array``. Raises ``CallError`` for the first
    misfit (rules ``call.count``, ``call.type``, ``call.dtype``, ``call.rank``, ``call.shape``, ``call.symbol``,
    ``call.layout``, ``call.aligned``, ``call.readonly``, ``call.scalar``, ``call.alias``).
    """
    check = _Call(holder, name)
    if len(args) != len(params):
        check.refuse_count(params, len(args))
    pairs = list(zip(params, args, strict=True))
    scalars = {i: check.scalar(p, a) for i, (p, a) in enumerate(pairs) if isinstance(p, ScalarParam)}
    buffers = {i: check.buffer(p, a) for i, (p, a) in enumerate(pairs) if isinstance(p, BufferParam)}
    if noalias:
        check.overlaps([(params[i], array) for i, array in buffers.items()])
    slots: dict[int, Slot] = {**scalars, **buffers}
    extra = (check.sizes[symbol][0] for symbol in extra_symbols(params))
    return (*(slots[i] for i in range(len(params))), *(_packed(size, np.dtype("int64")) for size in extra))


def _packed(value: object, dtype: np.dtype[Any]) -> bytes:
    return np.array(value, dtype=dtype).tobytes().ljust(_SLOT_BYTES, b"\0")


def _spelled(array: Array) -> str:
    return f"{_dtype_name(array)}[{', '.join(map(str, array.shape))}]"


def _dtype_name(array: Array) -> str:
    return array.dtype.name if array.dtype.isnative else f"byte-swapped {array.dtype.name}"


class _Call:
    """One call under check: the sizes that its symbolic dimensions have taken so far."""

    def __init__(self, holder: type, name: str) -> None:
        self.holder = holder
        self.name = name
        self.sizes: dict[str, tuple[int, str]] = {}

    def refuse(self, message: str, rule: str, hint: str | None = None) -> NoReturn:
        raise CallError(f"{self.name}: {message}", rule=f"call.{rule}", hint=hint)

    def refuse_count(self, params: Sequence[Param], given: int) -> NoReturn:
        plural = "argument" if len(params) == 1 else "arguments"
        hint = "outputs are arguments too: allocate them, then pass them" if given < len(params) else None
        self.refuse(f"takes {len(params)} {plural} ({', '.join(map(str, params))}), got {given}", "count", hint)

    # Scalars

    def scalar(self, param: ScalarParam, argument: object) -> bytes:
        """The slot of a number, whose value also fixes the symbolic dimension of the same name."""
        dtype = param.numpy_dtype
        value = self.real(param, argument) if dtypes.is_float(param.dtype) else self.integer(param, argument)
        self.sizes[param.name] = (int(value) if isinstance(value, int) else -1, f"argument {param.name}")
        return _packed(value, dtype)

    def integer(self, param: ScalarParam, argument: object) -> int:
        if isinstance(argument, (bool, np.bool_)):
            argument = int(argument)
        try:
            value = operator.index(argument)  # type: ignore[arg-type]
        except TypeError:
            self.refuse(f"{param} must be an integer, got {argument!r}", "scalar", "pass an int")
        low, high = dtypes.integer_range(param.dtype)
        if not low <= value <= high:
            self.refuse(f"{param} must lie in [{low}, {high}], got {value}", "scalar")
        return value

    def real(self, param: ScalarParam, argument: object) -> float:
        if isinstance(argument, (str, bytes)) or np.ndim(argument) != 0:  # type: ignore[arg-type]
            self.refuse(f"{param} must be a number, got {type(argument).__name__}", "scalar", "pass a float")
        try:
            value = float(argument)  # type: ignore[arg-type]
        except TypeError:
            self.refuse(f"{param} must be a number, got {type(argument).__name__}", "scalar", "pass a float")
        with np.errstate(over="ignore"):
            rounded = float(np.array(value).astype(param.numpy_dtype))
        if np.isfinite(value) and not np.isfinite(rounded):
            self.refuse(f"{param} cannot hold {value!r}", "scalar", "it overflows the data type")
        return value

    # Buffers

    def buffer(self, param: BufferParam, argument: object) -> Array:
        """The array behind the argument, once it fits the parameter."""
        array = self.view(param, argument)
        if array.dtype != param.numpy_dtype:
            hint = f'{param.name}.astype("{param.dtype}") makes a converted copy'
            self.refuse(f"{param.name} must be {param.kind}, got {_spelled(array)}", "dtype", hint)
        if array.ndim != len(param.shape):
            rank = len(param.shape)
            self.refuse(f"{param.name} must have {rank} dimensions ({param.kind}), got {_spelled(array)}", "rank")
        for axis, expected in enumerate(param.shape):
            self.extent(param, axis, expected, array)
        self.layout(param, array)
        return array

    def view(self, param: BufferParam, argument: object) -> Array:
        """The caller's memory as a numpy array, never a copy."""
        if isinstance(argument, self.holder):
            return argument.array  # type: ignore[attr-defined, no-any-return]
        if isinstance(argument, np.ma.MaskedArray):
            self.refuse(f"{param.name} is a masked array", "type", f"pass {param.name}.filled(value)")
        if isinstance(argument, np.ndarray):
            return argument.view(np.ndarray)
        try:
            if hasattr(argument, "__dlpack__"):
                return runtime.dlpack.imported(argument)
            return np.asarray(memoryview(argument))  # type: ignore[arg-type]
        except (BufferError, RuntimeError, TypeError, ValueError) as reason:
            self.refuse_type(param, argument, reason)

    def refuse_type(self, param: BufferParam, argument: object, reason: Exception) -> NoReturn:
        got = f"{param.name} must be an array ({param.kind}), got {type(argument).__name__}"
        if hasattr(argument, "__dlpack__"):
            self.refuse(f"{got}: {reason}", "type", "pass a host tensor whose memory can be shared, or a numpy array")
        self.refuse(got, "type", f'np.array({param.name}, dtype="{param.dtype}") makes one')

    def extent(self, param: BufferParam, axis: int, expected: int | str, array: Array) -> None:
        got = array.shape[axis]
        if isinstance(expected, str):
            size, source = self.sizes.setdefault(expected, (got, f"{param.name}.shape[{axis}]"))
            if got != size:
                message = f"{param.name}.shape[{axis}] is {got}, but {expected} is {size} already, from {source}"
                self.refuse(f"{message}; expected {param.kind}, got {_spelled(array)}", "symbol")
        elif got != expected:
            message = f"{param.name}.shape[{axis}] must be {expected}, got {got}"
            self.refuse(f"{message}; expected {param.kind}, got {_spelled(array)}", "shape")

    def layout(self, param: BufferParam, array: Array) -> None:
        if not array.flags.c_contiguous:
            message = f"{param.name} must be dense and row-major, got strides {array.strides} for shape {array.shape}"
            if param.written:
                hint = f"write to a new array of that shape, then copy it into {param.name}"
            else:
                hint = f"np.ascontiguousarray({param.name}) makes a dense copy"
            self.refuse(message, "layout", hint)
        if not array.flags.aligned:
            self.refuse(f"{param.name} is not aligned to its elements", "aligned", f"{param.name}.copy() is")
        if param.written and not array.flags.writeable:
            self.refuse(f"{param.name} is written by the function, but read-only", "readonly", "pass a writable array")

    def overlaps(self, buffers: Sequence[tuple[Param, Array]]) -> None:
        """Refuse two buffers that share memory when one of them is written."""
        for (a, first), (b, second) in combinations(buffers, 2):
            if (a.written or b.written) and np.may_share_memory(first, second):
                written = a if a.written else b
                hint = f"pass a copy of one; the function writes to {written.name} and is declared noalias"
                self.refuse(f"{a.name} and {b.name} overlap in memory", "alias", hint)
