"""The launcher without a compiled extension: same classes, same rules, a few microseconds slower per call."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterable
from time import perf_counter
from typing import Any

import numpy as np

from mlcref.runtime.call_check import Slot
from mlcref.runtime.signature import Param

_KERNEL = ctypes.CFUNCTYPE(None, ctypes.c_void_p)

Resolve = Callable[[str, tuple[Any, ...], bool, tuple[object, ...]], tuple[Slot, ...]]


class _State:
    """The module's settings, as in the compiled twin."""

    resolve: Resolve
    parallel_ran = False


def set_resolve(resolve_call: Resolve) -> None:
    """Install the check of a call: ``resolve_call(name, params, noalias, args)``."""
    _State.resolve = staticmethod(resolve_call)


def parallel_has_run() -> bool:
    """Has this process, or one that it was forked from, called a kernel marked ``parallel``?"""
    return _State.parallel_ran


class ArrayHolder:
    """Owns a numpy array; the base class of ``mlcref.runtime.NDArray``."""

    __slots__ = ("_array",)

    def __init__(self, array: np.ndarray[Any, Any]) -> None:
        if not isinstance(array, np.ndarray):
            raise TypeError(f"expected a numpy array, got {type(array).__name__}")
        self._array = array

    @property
    def array(self) -> np.ndarray[Any, Any]:
        """The array itself, not a copy."""
        return self._array


class Launcher:
    """A compiled kernel that checks its arguments; ``mlcref.runtime.launch`` states the contract."""

    def __init__(
        self, address: int, params: Iterable[Param], name: str, noalias: bool = True, parallel: bool = False
    ) -> None:
        self.address, self.params, self.name = address, tuple(params), name
        self.dtypes = [param.numpy_dtype for param in self.params]
        self.noalias, self.parallel = noalias, parallel
        self.kernel = _KERNEL(address)

    def __call__(self, *args: object) -> None:
        self.bind(*args)()

    def bind(self, *args: object) -> Bound:
        """Check the arguments once; the result runs the kernel on them each time it is called."""
        return Bound(self, _State.resolve(self.name, self.params, self.noalias, args))


class Bound:
    """A kernel with arguments checked and bound once; keeps them alive. Calling it runs the kernel."""

    def __init__(self, launcher: Launcher, slots: tuple[Slot, ...]) -> None:
        self.launcher, self.slots = launcher, slots
        self._memory = [_memory(slot) for slot in slots]
        self._pointers = (ctypes.c_void_p * len(slots))(*(address for address, _ in self._memory))

    def __call__(self) -> None:
        _State.parallel_ran |= self.launcher.parallel
        self.launcher.kernel(self._pointers)


def _memory(slot: Slot) -> tuple[int, object]:
    """The address of a slot, and the object that owns it."""
    if isinstance(slot, bytes):
        copy = (ctypes.c_char * len(slot)).from_buffer_copy(slot)
        return ctypes.addressof(copy), copy
    return slot.ctypes.data, slot


def time_calls(bound: Bound, number: int) -> float:
    """Seconds that ``number`` runs of ``bound`` take together, the loop in Python included."""
    start = perf_counter()
    for _ in range(number):
        bound()
    return perf_counter() - start
