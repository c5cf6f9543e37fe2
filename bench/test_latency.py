"""``python -m bench.test_latency``: how long compiling takes, and what a call costs, beside the bars.

``pytest bench/test_latency.py --benchmark-enable`` measures the same. Compiling is measured in new processes with an
empty cache, since a process pays for Cython once and remembers what it built. Only on a machine that does nothing else
do the figures say anything: two processes are busy while candidates are built.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from itertools import product as product_of
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest

from mlcref import IRModule, compile, te
from mlcref.autoschedule import Machine, autoschedule
from mlcref.benchmark.operators import case_of
from mlcref.benchmark.systems import SYSTEMS
from mlcref.benchmark.workload import select
from mlcref.ir import PrimFunc
from mlcref.ir.base import script_of
from mlcref.runtime import source_cache
from mlcref.runtime.launch import time_calls

TARGET = "cython"


def product(rows: int, columns: int, terms: int) -> PrimFunc:
    """C = A @ B in float32."""
    a, b = te.placeholder((rows, terms), name="A"), te.placeholder((terms, columns), name="B")
    k = te.reduce_axis((0, terms), name="k")
    out = te.compute((rows, columns), lambda i, j: te.sum(a[i, k] * b[k, j], axis=k), name="C")
    return te.create_prim_func([a, b, out])


def scheduled(size: int, machine: Machine | None = None) -> PrimFunc:
    """A product of squares with the schedule for ``machine``."""
    return autoschedule(product(size, size, size), TARGET, machine=machine).mod["main"]


def candidates(count: int) -> IRModule:
    """As many different schedules of one product: tiles for machines of different vectors, registers and caches."""
    found: dict[str, PrimFunc] = {}
    for l2_bytes, registers, terms, vector_bytes in product_of(
        (1 << 16, 1 << 18), (8, 16, 20, 24, 28, 32), (32, 64, 128, 256), (16, 32, 64)
    ):
        func = scheduled(256, Machine(vector_bytes, registers, l2_bytes, threads=2, terms=terms))
        found.setdefault(script_of(func), func)
        if len(found) == count:
            break
    assert len(found) == count
    return IRModule({f"candidate{n}": func for n, func in enumerate(found.values())})


BARS = {
    "first compile": 1.8, "second compile": 0.5, "64 candidates": 4.0, "hit in process": 0.005,
    "hit in a new process": 0.150, "checked call": 250e-9,
}  # fmt: skip
"""Seconds, on two cores: of a new process from its start to the end of its first call, of a call without its kernel."""

_PROGRAM = """
import json, sys, time
from bench.test_latency import candidates, checked_call, scheduled
from mlcref import compile
seconds = {}
def timed(name, program):
    start = time.perf_counter()
    compile(program, "cython")
    seconds[name] = time.perf_counter() - start
first, second, many = scheduled(128), scheduled(256), candidates(64)
timed("first compile", first)
timed("second compile", second)
timed("64 candidates", many)
timed("hit in process", second)
seconds["checked call"] = checked_call()
print(json.dumps(seconds))
"""

_USER = """
import time
import mlcref as tvm
from mlcref import te
import numpy as np
A, B = te.placeholder((64, 64), name="A"), te.placeholder((64, 64), name="B")
k = te.reduce_axis((0, 64), name="k")
C = te.compute((64, 64), lambda i, j: te.sum(A[i, k] * B[k, j], axis=k), name="C")
module = tvm.compile(te.create_prim_func([A, B, C]), "cython")
a, c = np.ones((64, 64), "float32"), np.empty((64, 64), "float32")
module["main"](a, a, c)
print(time.perf_counter())
assert (c == 64).all()
"""


def in_new_process(program: str, folder: Path) -> str:
    """What a new process prints, with its kernels and its bytecode, as an installed package has it, in ``folder``."""
    environment = {**os.environ, "MLCREF_CACHE": str(folder / "kernels"), "PYTHONPYCACHEPREFIX": str(folder / "code"),
                   "PYTHONPATH": str(Path(__file__).parents[1])}  # fmt: skip
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def built(folder: Path) -> dict[str, float]:
    """The figures of a process that starts with an empty cache, imports and schedules not included."""
    in_new_process("import bench.test_latency, mlcref.codegen.cython, mlcref.driver, mlcref.lower.pipeline", folder)
    seconds: dict[str, float] = json.loads(in_new_process(_PROGRAM, folder))
    return seconds


def hit_in_new_process(folder: Path, runs: int = 9) -> float:
    """The median seconds from the start of a process to the end of its first call."""
    in_new_process(_USER, folder)
    taken = []
    for _ in range(runs):
        start = time.perf_counter()  # the clock of the machine, for all its processes
        taken.append(float(in_new_process(_USER, folder)) - start)
    return statistics.median(taken)


def small_call() -> tuple[Callable[..., None], list[Any]]:
    """A kernel that does next to nothing, and its arguments."""
    module = compile(product(1, 1, 1), "cython --num-cores=1")
    return module["main"], [np.ones((1, 1), "float32") for _ in range(3)]


def checked_call(calls: int = 20_000, runs: int = 15) -> float:
    """The median seconds of a checked call, without those of the kernel itself."""
    kernel, arrays = small_call()
    bound = kernel.bind(*arrays)  # type: ignore[attr-defined]
    taken = []
    for _ in range(runs):
        start = time.perf_counter()
        for _ in range(calls):
            kernel(*arrays)
        taken.append((time.perf_counter() - start - time_calls(bound, calls)) / calls)
    return statistics.median(taken)


def report() -> dict[str, float]:
    """All figures, in seconds."""
    with TemporaryDirectory() as folder:
        return {**built(Path(folder)), "hit in a new process": hit_in_new_process(Path(folder))}


def spelled(seconds: float) -> str:
    """Milliseconds, or nanoseconds where that reads better."""
    return f"{1e3 * seconds:9.1f} ms" if seconds >= 1e-4 else f"{1e9 * seconds:9.0f} ns"


def test_compile_latency(benchmark: Any, tmp_path: Path) -> None:
    if not benchmark.enabled:
        pytest.skip("takes seconds")
    seconds = benchmark.pedantic(built, (tmp_path,), rounds=1)
    benchmark.extra_info.update({**seconds, "hit in a new process": hit_in_new_process(tmp_path)})


def test_candidates_differ() -> None:
    assert len(candidates(64)) == 64


def test_hit_in_process(benchmark: Any) -> None:
    func = scheduled(64)
    compile(func, TARGET)
    assert source_cache._sources
    benchmark(compile, func, TARGET)


@pytest.fixture(scope="module")
def call() -> Callable[[], None]:
    """A checked call of a kernel that does next to nothing."""
    kernel, arrays = small_call()
    return lambda: kernel(*arrays)


def test_checked_call(benchmark: Any, call: Callable[[], None]) -> None:
    benchmark(call)


@pytest.fixture(scope="module")
def graph_call() -> Callable[[], object]:
    """A call of a graph of three kernels that do next to nothing."""
    case = case_of(select("tiny", ["mlp*"])[0])
    return SYSTEMS["mlcref"].prepare(case, 1).call


def test_graph_call(benchmark: Any, graph_call: Callable[[], object]) -> None:
    benchmark(graph_call)


if __name__ == "__main__":
    for name, taken in report().items():
        print(f"{name:24}{spelled(taken)}   bar {spelled(BARS[name])}   {'met' if taken <= BARS[name] else 'MISSED'}")
