"""Runs compiled code: builds and loads kernels, checks calls, holds arrays, measures."""

from typing import TYPE_CHECKING

from mlcref.on_use import names_on_use
from mlcref.runtime.array import Device, NDArray, cpu, device, empty, from_dlpack, tensor

if TYPE_CHECKING:
    from mlcref.runtime import dlpack, nd
    from mlcref.runtime.batch import Builders
    from mlcref.runtime.build import LoadedKernels, build_kernels
    from mlcref.runtime.compiler import find_compiler, why_no_compiler
    from mlcref.runtime.launch import Bound, Launcher
    from mlcref.runtime.module import Module
    from mlcref.runtime.signature import BufferParam, Param, ScalarParam
    from mlcref.runtime.timing import BenchmarkResult, time_evaluator
else:
    __getattr__, __dir__ = names_on_use(
        __name__,
        {
            "mlcref.runtime.batch": "Builders",
            "mlcref.runtime.build": "LoadedKernels build_kernels",
            "mlcref.runtime.compiler": "find_compiler why_no_compiler",
            "mlcref.runtime.launch": "Bound Launcher",
            "mlcref.runtime.module": "Module",
            "mlcref.runtime.signature": "BufferParam Param ScalarParam",
            "mlcref.runtime.timing": "BenchmarkResult time_evaluator",
        },
        ["dlpack", "nd"],
    )

Tensor = NDArray
"""TVM's newer name."""

__all__ = [
    "tensor", "empty", "from_dlpack", "dlpack", "nd", "NDArray", "Tensor", "Device", "cpu", "device",
    "Builders", "build_kernels", "LoadedKernels", "find_compiler", "why_no_compiler",
    "Launcher", "Bound", "Module", "Param", "BufferParam", "ScalarParam",
    "BenchmarkResult", "time_evaluator",
]  # fmt: skip
