"""Memory that is shared through DLPack: what numpy does, and the types of floats that numpy has no name for.

A capsule holds a C struct that says where the elements are, with a function to give it back; who takes it out renames
the capsule. bfloat16 and float8 are lent by numpy as integers of as many bits, and their type is put into the struct.
Source: dlpack.h of DLPack 1.1.
"""

from __future__ import annotations

import ctypes
from typing import Any

import numpy as np

from mlcref import dtype as dt

Array = np.ndarray[Any, Any]

_HOST = 1
_FLOATS = {(4, 16): "bfloat16", (10, 8): "float8_e4m3fn", (12, 8): "float8_e5m2"}
"""Data types that numpy has no name for, by DLPack's code and their bits."""
_TYPES = {
    **_FLOATS, (6, 8): "bool", **{(2, bits): f"float{bits}" for bits in (16, 32, 64)},
    **{(code, bits): f"{kind}{bits}" for code, kind in enumerate(("int", "uint")) for bits in (8, 16, 32, 64)},
}  # fmt: skip
_NAMES = (b"dltensor_versioned", b"dltensor")
_USED = {name: b"used_" + name for name in _NAMES}
_READ_ONLY = 1


class _Device(ctypes.Structure):
    _fields_ = (("type", ctypes.c_int32), ("index", ctypes.c_int32))


class _DataType(ctypes.Structure):
    _fields_ = (("code", ctypes.c_uint8), ("bits", ctypes.c_uint8), ("lanes", ctypes.c_uint16))


class _Tensor(ctypes.Structure):
    _fields_ = (
        ("data", ctypes.c_void_p), ("device", _Device), ("ndim", ctypes.c_int32), ("dtype", _DataType),
        ("shape", ctypes.POINTER(ctypes.c_int64)), ("strides", ctypes.POINTER(ctypes.c_int64)),
        ("byte_offset", ctypes.c_uint64),
    )  # fmt: skip


class _Managed(ctypes.Structure):
    _fields_ = (("tensor", _Tensor), ("context", ctypes.c_void_p), ("deleter", ctypes.c_void_p))


class _Versioned(ctypes.Structure):
    _fields_ = (
        ("major", ctypes.c_uint32), ("minor", ctypes.c_uint32), ("context", ctypes.c_void_p),
        ("deleter", ctypes.c_void_p), ("flags", ctypes.c_uint64), ("tensor", _Tensor),
    )  # fmt: skip


_is_valid = ctypes.pythonapi.PyCapsule_IsValid
_is_valid.argtypes, _is_valid.restype = (ctypes.py_object, ctypes.c_char_p), ctypes.c_int
_pointer = ctypes.pythonapi.PyCapsule_GetPointer
_pointer.argtypes, _pointer.restype = (ctypes.py_object, ctypes.c_char_p), ctypes.c_void_p


_rename = ctypes.pythonapi.PyCapsule_SetName
_rename.argtypes, _rename.restype = (ctypes.py_object, ctypes.c_char_p), ctypes.c_int
_Deleter = ctypes.CFUNCTYPE(None, ctypes.c_void_p)


def imported(source: Any) -> Array:
    """The memory of ``source``, an object with ``__dlpack__`` or a capsule, as an array.

    Raises ``BufferError``, ``RuntimeError``, ``TypeError`` or ``ValueError`` where it cannot be shared, as numpy does.

    >>> x = np.arange(3, dtype="float32")
    >>> np.shares_memory(imported(x), x)
    True
    """
    if type(source).__name__ == "PyCapsule":
        return _taken(source)
    try:
        return np.from_dlpack(source)
    except (BufferError, RuntimeError):
        if source.__dlpack_device__()[0] != _HOST:
            raise
        return _taken(source.__dlpack__())


def exported(array: Array, **request: Any) -> Any:
    """A capsule with the memory of ``array``; ``request`` is what ``__dlpack__`` is asked for.

    Raises ``BufferError`` for a type that DLPack has no number for.
    """
    name = array.dtype.name
    code = next((code for code, known in _FLOATS.items() if known == name), None)
    if code is None:
        return array.__dlpack__(**request)
    capsule = array.view(f"uint{code[1]}").__dlpack__(**request)
    tensor = _opened(capsule)[1].tensor
    tensor.dtype.code, tensor.dtype.bits = code
    return capsule


def _opened(capsule: object) -> tuple[bytes, _Managed | _Versioned]:
    """The name of a capsule, and what it says: the struct itself, where it lies."""
    name = next((name for name in _NAMES if _is_valid(capsule, name)), None)
    if name is None:
        raise BufferError("the capsule holds no tensor, or somebody has taken it")
    kind = _Versioned if name == _NAMES[0] else _Managed
    return name, kind.from_address(_pointer(capsule, name) or 0)


class _Lent:
    """Memory that was taken out of a capsule, as numpy asks for it; gives it back when nobody needs it any more."""

    def __init__(self, managed: _Managed | _Versioned, interface: dict[str, Any]) -> None:
        self.managed, self.__array_interface__ = managed, interface

    def __del__(self) -> None:
        if self.managed.deleter:
            _Deleter(self.managed.deleter)(ctypes.addressof(self.managed))


def _taken(capsule: Any) -> Array:
    """The memory in a capsule. Nobody else can take it then."""
    name, managed = _opened(capsule)
    tensor = managed.tensor
    dtype = _TYPES.get((tensor.dtype.code, tensor.dtype.bits))
    if dtype is None or tensor.dtype.lanes != 1 or tensor.device.type != _HOST:
        where = (tensor.device.type, tensor.device.index)
        raise BufferError(f"type {tensor.dtype.code} of {tensor.dtype.bits} bits on device {where}")
    size, shape = tensor.dtype.bits // 8, tuple(tensor.shape[: tensor.ndim])
    if 0 in shape:
        return np.empty(shape, dt.numpy_dtype(dtype))
    strides = tuple([step * size for step in tensor.strides[: tensor.ndim]]) if tensor.strides else None
    fixed = isinstance(managed, _Versioned) and bool(managed.flags & _READ_ONLY)
    interface = {
        "version": 3, "typestr": f"{'|' if size == 1 else '<'}u{size}", "shape": shape, "strides": strides,
        "data": ((tensor.data or 0) + tensor.byte_offset, fixed),
    }  # fmt: skip
    _rename(capsule, _USED[name])
    lent: Array = np.asarray(_Lent(managed, interface))
    return lent.view(dt.numpy_dtype(dtype))
