"""``pytest bench/test_latency.py --benchmark-enable``: how long compiling takes, and what a call costs.

Compiling is measured in new processes with an empty cache, since a process pays for Cython once and remembers what it
built. Figures and bars: docs/architecture.md.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mlcref import IRModule, compile, te
from mlcref.autoschedule import Machine, autoschedule
from mlcref.benchmark.operators import case_of
from mlcref.benchmark.systems import SYSTEMS
from mlcref.benchmark.workload import select
from mlcref.ir import PrimFunc
from mlcref.runtime import source_cache

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
    machines = [
        Machine(vector_bytes, registers, l2_bytes, threads=2, terms=terms)
        for vector_bytes in (16, 32, 64) for registers in (16, 20, 24, 32) for terms in (64, 128, 256)
        for l2_bytes in (1 << 18, 1 << 20)
    ]  # fmt: skip
    return IRModule({f"candidate{n}": scheduled(256, machine) for n, machine in enumerate(machines[:count])})


FIRST, SECOND, MANY, HIT = "first compile", "second compile", "64 candidates", "hit in a new process"

_PROGRAM = """
import json, sys, time
from bench.test_latency import candidates, scheduled
from mlcref import compile
seconds = {}
def timed(name, program):
    start = time.perf_counter()
    compile(program, "cython")
    seconds[name] = time.perf_counter() - start
if sys.argv[1] == "build":
    first, second, many = scheduled(128), scheduled(256), candidates(64)
    timed("first compile", first)
    timed("second compile", second)
    timed("64 candidates", many)
else:
    timed("hit in a new process", scheduled(256))
print(json.dumps(seconds))
"""


def in_new_process(mode: str, cache: Path) -> dict[str, float]:
    """Seconds by name, as a new process with that cache measures them, imports and schedules not included."""
    environment = {**os.environ, "MLCREF_CACHE": str(cache), "PYTHONPATH": str(Path(__file__).parents[1])}
    done = subprocess.run([sys.executable, "-c", _PROGRAM, mode], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    seconds: dict[str, float] = json.loads(done.stdout)
    return seconds


def report() -> dict[str, float]:
    """All of it once: ``python -m bench.test_latency``."""
    from tempfile import TemporaryDirectory

    with TemporaryDirectory() as folder:
        return {**in_new_process("build", Path(folder)), **in_new_process("hit", Path(folder))}


def test_compile_latency(benchmark: Any, tmp_path: Path) -> None:
    if not benchmark.enabled:
        pytest.skip("takes seconds")
    seconds = benchmark.pedantic(in_new_process, ("build", tmp_path), rounds=1)
    benchmark.extra_info.update({**seconds, **in_new_process("hit", tmp_path)})


def test_hit_in_process(benchmark: Any) -> None:
    func = scheduled(64)
    compile(func, TARGET)
    assert source_cache._sources
    benchmark(compile, func, TARGET)


@pytest.fixture(scope="module")
def call() -> Callable[[], None]:
    """A checked call of a kernel that does next to nothing."""
    module = compile(product(1, 1, 1), "cython --num-cores=1")
    kernel, arrays = module["main"], [np.ones((1, 1), "float32") for _ in range(3)]
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
        print(f"{name:24}{1000 * taken:9.1f} ms")
