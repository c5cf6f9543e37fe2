"""TVM's older names of the array functions: ``nd.array``, ``nd.empty``, ``nd.NDArray``."""

from mlcref.runtime.array import Device, NDArray, cpu, device, empty, from_dlpack
from mlcref.runtime.array import tensor as array

__all__ = ["array", "empty", "from_dlpack", "NDArray", "Device", "cpu", "device"]
