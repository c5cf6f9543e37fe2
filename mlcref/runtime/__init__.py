"""Runs compiled code: builds and loads kernels, checks calls, holds arrays, measures."""

from mlcref.runtime import nd
from mlcref.runtime.array import Device, NDArray, cpu, device, empty, from_dlpack, tensor
from mlcref.runtime.build import LoadedKernels, build_kernels
from mlcref.runtime.compiler import find_compiler, why_no_compiler
from mlcref.runtime.launch import Bound, Launcher
from mlcref.runtime.module import Module
from mlcref.runtime.signature import BufferParam, Param, ScalarParam
from mlcref.runtime.timing import BenchmarkResult, time_evaluator

Tensor = NDArray
"""TVM's newer name."""

__all__ = [
    "tensor", "empty", "from_dlpack", "nd", "NDArray", "Tensor", "Device", "cpu", "device",
    "build_kernels", "LoadedKernels", "find_compiler", "why_no_compiler",
    "Launcher", "Bound", "Module", "Param", "BufferParam", "ScalarParam",
    "BenchmarkResult", "time_evaluator",
]  # fmt: skip
