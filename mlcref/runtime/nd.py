"""TVM's older names of the array functions: ``nd.array``, ``nd.empty``, ``nd.NDArray``."""

from __future__ import annotations

from typing import Any

from mlcref.runtime.array import Device, NDArray, cpu, device, empty, from_dlpack, tensor

__all__ = ["array", "empty", "from_dlpack", "NDArray", "Device", "cpu", "device"]


def array(source: Any, device: Device | None = None, ctx: Device | None = None) -> NDArray:
    """A new array with a copy of ``source``, as :func:`tensor`; ``ctx`` is TVM's older name of ``device``.

    >>> array([1.5, 2.5], ctx=cpu(0)).shape
    (2,)
    """
    return tensor(source, ctx if device is None else device)
