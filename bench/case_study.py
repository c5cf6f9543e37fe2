"""The 128×128 matmul with relu of the course's case study: unscheduled, scheduled, and the same loops written by hand
in C.

``python bench/case_study.py`` prints medians of interleaved runs, so that other load on the machine hits all forms
alike, and exits with 1 when the unscheduled program takes more than 1.2 times as long as the C loops, or the schedule
gains less than a factor of 3.
"""

from __future__ import annotations

import statistics
import sys
from collections.abc import Callable, Mapping
from ctypes import CDLL, c_void_p, cast
from functools import partial
from pathlib import Path
from tempfile import mkdtemp

import numpy as np

from mlcref.benchmark.measure import Effort, interleaved
from mlcref.driver import compile
from mlcref.ir import IRModule
from mlcref.runtime import BufferParam, Launcher, find_compiler
from mlcref.schedule import Schedule
from mlcref.script import from_source

RUNS = 21
SECONDS_PER_RUN = 0.01

PROGRAM = """
from mlcref.script import tir as T

@T.prim_func
def mm_relu(A: T.Buffer((128, 128), "float32"), B: T.Buffer((128, 128), "float32"), C: T.Buffer((128, 128), "float32")):
    T.func_attr({"global_symbol": "mm_relu", "tir.noalias": True})
    Y = T.alloc_buffer((128, 128), dtype="float32")
    for i, j, k in T.grid(128, 128, 128):
        with T.block("Y"):
            vi, vj, vk = T.axis.remap("SSR", [i, j, k])
            with T.init():
                Y[vi, vj] = T.float32(0)
            Y[vi, vj] = Y[vi, vj] + A[vi, vk] * B[vk, vj]
    for i, j in T.grid(128, 128):
        with T.block("C"):
            vi, vj = T.axis.remap("SS", [i, j])
            C[vi, vj] = T.max(Y[vi, vj], T.float32(0))
"""

C_LOOPS = """
static void mm_relu(float* restrict A, float* restrict B, float* restrict C) {
    static float Y[128 * 128];
    for (int i = 0; i < 128; i++)
        for (int j = 0; j < 128; j++)
            for (int k = 0; k < 128; k++) {
                if (k == 0)
                    Y[i * 128 + j] = 0.0f;
                Y[i * 128 + j] = Y[i * 128 + j] + A[i * 128 + k] * B[k * 128 + j];
            }
    for (int i = 0; i < 128; i++)
        for (int j = 0; j < 128; j++)
            C[i * 128 + j] = Y[i * 128 + j] > 0.0f ? Y[i * 128 + j] : 0.0f;
}
void kernel(void** args) { mm_relu(args[0], args[1], args[2]); }
"""
"""The loops as the program writes them: the init where k is 0, inside the nest."""

C_INIT_OUTSIDE = C_LOOPS.replace(
    """            for (int k = 0; k < 128; k++) {
                if (k == 0)
                    Y[i * 128 + j] = 0.0f;
                Y[i * 128 + j] = Y[i * 128 + j] + A[i * 128 + k] * B[k * 128 + j];
            }
""",
    """        {
            Y[i * 128 + j] = 0.0f;
            for (int k = 0; k < 128; k++)
                Y[i * 128 + j] = Y[i * 128 + j] + A[i * 128 + k] * B[k * 128 + j];
        }
""",
)
"""What a C programmer would rather write, as a second yardstick: gcc then interchanges and vectorises the loops."""


def unscheduled() -> IRModule:
    """The program as the course writes it."""
    return IRModule.from_expr(from_source(PROGRAM))


def scheduled(factor: int = 4) -> IRModule:
    """The course's schedule of it."""
    sch = Schedule(unscheduled())
    block = sch.get_block("Y", func_name="mm_relu")
    _, j, k = sch.get_loops(block)
    j0, j1 = sch.split(j, factors=[None, factor])
    sch.reorder(j0, k, j1)
    sch.reverse_compute_at(sch.get_block("C", func_name="mm_relu"), j0)
    sch.decompose_reduction(block, k)
    return sch.mod


def c_loops(text: str = C_LOOPS) -> Launcher:
    """Loops written by hand, built with the flags of generated kernels and called in the same way."""
    compiler, folder = find_compiler(), Path(mkdtemp(prefix="mlcref-bench-"))
    source, library = folder / "loops.c", folder / "loops.so"
    source.write_text(text)
    compiler.shared_library(source, library)
    address = cast(CDLL(str(library)).kernel, c_void_p).value
    assert address is not None
    shape = (128, 128)
    params = [
        BufferParam("A", "float32", shape),
        BufferParam("B", "float32", shape),
        BufferParam("C", "float32", shape, written=True),
    ]
    return Launcher(address, params, "mm_relu")


def forms() -> dict[str, Callable[..., None]]:
    """What is compared, by name."""
    made: dict[str, Callable[..., None]] = {
        "C loops": c_loops(),
        "C loops, init outside": c_loops(C_INIT_OUTSIDE),
        "unscheduled": compile(unscheduled())["mm_relu"],
    }
    for factor in (4, 8, 16):
        made[f"scheduled, factor {factor}"] = compile(scheduled(factor))["mm_relu"]
    return made


def arguments() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Random A and B, and memory for C."""
    rng = np.random.default_rng(0)
    a, b = (rng.random((128, 128), dtype=np.float32) for _ in range(2))
    return a, b, np.empty((128, 128), np.float32)


def medians(
    functions: Mapping[str, Callable[..., None]], args: tuple[np.ndarray, ...], runs: int = RUNS
) -> dict[str, float]:
    """Seconds per call of each function: the median of ``runs`` interleaved measurements."""
    calls = {name: partial(function, *args) for name, function in functions.items()}
    taken = interleaved(calls, Effort(runs, SECONDS_PER_RUN))
    return {name: statistics.median(values) for name, values in taken.items()}


def main() -> int:
    """Measure, print, judge."""
    functions, args = forms(), arguments()
    want = np.maximum(args[0] @ args[1], 0)
    for name, function in functions.items():
        args[2][:] = np.nan
        function(*args)
        np.testing.assert_allclose(args[2], want, rtol=1e-4, err_msg=name)
    result = medians(functions, args)
    for name, value in result.items():
        speed, ratio = 2 * 128**3 / value / 1e9, result["C loops"] / value
        print(f"{name:24s} {value * 1e3:8.3f} ms  {speed:7.2f} Gflop/s  {ratio:6.2f} × C loops")
    overhead = result["unscheduled"] / result["C loops"]
    gain = result["unscheduled"] / result["scheduled, factor 4"]
    print(f"unscheduled / C loops = {overhead:.2f} (at most 1.2), unscheduled / scheduled = {gain:.1f} (at least 3)")
    return 0 if overhead <= 1.2 and gain >= 3 else 1


if __name__ == "__main__":
    sys.exit(main())
