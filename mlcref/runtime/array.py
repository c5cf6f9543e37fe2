"""Arrays and devices as TVM's runtime names them: numpy memory with a device, a data type name and DLPack.

``tensor`` and ``nd.array`` copy what they are given and ``numpy`` copies back, as in TVM; the attribute ``array``, the
buffer protocol, DLPack and ``np.asarray`` share the memory.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from mlcref import dtype as dtypes
from mlcref import runtime
from mlcref.errors import CallError, UnsupportedError
from mlcref.records import dataclass
from mlcref.runtime.launch import ArrayHolder

_DEVICE_TYPES = {"cpu": 1, "cuda": 2}  # DLPack's numbers
_HOST_NAMES = ("cpu", "llvm", "c", "cython")


@dataclass(frozen=True, slots=True)
class Device:
    """Where memory lives: ``type`` ("cpu") and ``index``.

    >>> cpu(0) == device("llvm")
    True
    """

    type: str
    index: int = 0

    @property
    def device_type(self) -> int:
        """DLPack's number of the type: 1 for "cpu"."""
        return _DEVICE_TYPES[self.type]

    @property
    def device_id(self) -> int:
        """TVM's older name of ``index``."""
        return self.index

    @property
    def exist(self) -> bool:
        """Can arrays be made there?"""
        return self.type == "cpu"

    def sync(self) -> None:
        """Wait until everything started there is done; on the host a call has finished when it returns.

        Raises ``UnsupportedError`` for another device.
        """
        _require_host(self)

    def __str__(self) -> str:
        return f"{self.type}:{self.index}"

    def __repr__(self) -> str:
        return f"{self.type}({self.index})"


def cpu(index: int = 0) -> Device:
    """The host's memory."""
    return Device("cpu", index)


def device(name: str, index: int = 0) -> Device:
    """The device called ``name``, such as "cpu" or "cpu:0"; targets that run on the host ("llvm", "c") name it too.

    Raises ``UnsupportedError`` for one that arrays cannot live on.
    """
    base, _, number = name.partition(":")
    if base in _HOST_NAMES:
        return cpu(int(number) if number else index)
    raise UnsupportedError(f"no arrays on device {name!r}", rule="array.device", hint='use "cpu"')


class NDArray(ArrayHolder):
    """A dense array in host memory; ``array`` is its numpy form, sharing memory."""

    __slots__ = ()

    @property
    def shape(self) -> tuple[int, ...]:
        """The extents."""
        return tuple(self.array.shape)

    @property
    def ndim(self) -> int:
        """The number of dimensions."""
        return self.array.ndim

    @property
    def size(self) -> int:
        """The number of elements."""
        return self.array.size

    @property
    def dtype(self) -> str:
        """The data type's name, such as "float32"."""
        return str(self.array.dtype.name)

    @property
    def device(self) -> Device:
        """Where the memory lives."""
        return cpu()

    def numpy(self) -> np.ndarray[Any, Any]:
        """A copy as a numpy array."""
        return self.array.copy()

    def asnumpy(self) -> np.ndarray[Any, Any]:
        """TVM's older name of ``numpy``."""
        return self.numpy()

    def copyto(self, target: NDArray | Device) -> NDArray:
        """Copy the content to an array of the same shape and data type, or to a new one on a device; gives the copy.

        Raises ``CallError`` where shape or data type differ.
        """
        if isinstance(target, Device):
            return tensor(self, target)
        return target.copyfrom(self)

    def copyfrom(self, source: Any) -> NDArray:
        """Overwrite the content with that of an array of the same shape and data type; gives this array.

        Raises ``CallError`` where shape or data type differ.
        """
        given = np.asarray(source)
        if (given.shape, given.dtype) != (self.array.shape, self.array.dtype):
            raise CallError(
                f"cannot copy {given.dtype.name}{list(given.shape)} into {self.dtype}{list(self.shape)}",
                rule="array.copy",
                hint="shape and data type must be equal",
            )
        self.array[...] = given
        return self

    def same_as(self, other: object) -> bool:
        """Are both the same object?"""
        return self is other

    def __getitem__(self, index: Any) -> Any:
        return self.array[index]

    def __setitem__(self, index: Any, value: Any) -> None:
        self.array[index] = value

    def __len__(self) -> int:
        return len(self.array)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray[Any, Any]:
        return np.array(self.array, dtype=dtype, copy=copy)

    def __dlpack__(self, **request: Any) -> Any:
        try:
            return runtime.dlpack.exported(self.array, **request)
        except BufferError as reason:
            message = f"{self.dtype} has no DLPack form: {reason}"
            raise UnsupportedError(message, rule="array.dlpack") from reason

    def to_dlpack(self) -> Any:
        """A DLPack capsule that shares the memory; TVM's older name of what ``torch.from_dlpack(array)`` asks for."""
        return self.__dlpack__()

    def __dlpack_device__(self) -> tuple[int, int]:
        return self.device.device_type, self.device.device_id

    def __repr__(self) -> str:
        return f"<mlcref.runtime.NDArray shape={self.shape}, {self.dtype}, {self.device}>\n{self.array!r}"

    def __str__(self) -> str:
        return str(self.array)


def tensor(source: Any, device: Device | None = None) -> NDArray:
    """A new array with a copy of ``source``: an array, nested lists or a number.

    Raises ``TypeMismatch`` for elements of no data type, ``UnsupportedError`` for a device other than the host.

    >>> print(tensor(np.arange(3, dtype="float32")))
    [0. 1. 2.]
    """
    _require_host(device)
    copied = np.array(source, order="C", subok=False)
    dtype = dtypes.numpy_dtype(dtypes.canonical(copied.dtype))
    return NDArray(copied.astype(dtype, copy=False))


_ALIGNMENT = 64
"""Bytes: a vector load that starts at a multiple of it touches one line of the cache, else half of them touch two."""


def constant(source: np.ndarray[Any, Any]) -> NDArray:
    """A new array with a copy of ``source`` at an address that vector loads like best, for what is read often.

    >>> constant(np.arange(3, dtype="float32")).array.ctypes.data % 64
    0
    """
    memory = np.empty(source.nbytes + _ALIGNMENT, "uint8")
    start = -memory.ctypes.data % _ALIGNMENT
    copy = memory[start : start + source.nbytes].view(source.dtype).reshape(source.shape)
    copy[...] = source
    return NDArray(copy)


def empty(shape: int | Sequence[int], dtype: str = "float32", device: Device | None = None) -> NDArray:
    """A new array whose content is not defined.

    Raises ``TypeMismatch`` for an unknown data type, ``UnsupportedError`` for a device other than the host.

    >>> empty((2, 3), "int8").shape
    (2, 3)
    """
    _require_host(device)
    return NDArray(np.empty(shape, dtype=dtypes.numpy_dtype(dtypes.canonical(dtype))))


def from_dlpack(source: Any) -> NDArray:
    """An array that shares the memory of an object with ``__dlpack__``, such as a torch tensor on the host, or of a
    DLPack capsule.

    Raises ``UnsupportedError`` for memory that cannot be shared: on another device, of another type, or of a tensor
    that keeps track of gradients.

    >>> x = np.zeros(2, "float32")
    >>> from_dlpack(x)[0] = 1
    >>> x
    array([1., 0.], dtype=float32)
    """
    try:
        return NDArray(runtime.dlpack.imported(source))
    except (AttributeError, BufferError, RuntimeError, TypeError, ValueError) as reason:
        message = f"the memory of a {type(source).__name__} cannot be shared: {reason}"
        raise UnsupportedError(message, rule="array.dlpack", hint="tensor(...) makes a copy") from reason


def _require_host(device: Device | None) -> None:
    if device is not None and not device.exist:
        raise UnsupportedError(f"no arrays on device {device}", rule="array.device", hint="use cpu(0)")
