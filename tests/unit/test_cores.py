"""Threads of a parallel region do not stay on one core."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest

import mlcref
from mlcref.codegen.cython import emit
from mlcref.ir import Target
from mlcref.lower import lower
from mlcref.runtime import why_no_compiler
from mlcref.script import from_source

SCALE = """
@T.prim_func
def main(A: T.Buffer((2, 1024), "float32"), B: T.Buffer((2, 1024), "float32")):
    for i in T.parallel(2):
        for j in range(1024):
            with T.block("B"):
                vi, vj = T.axis.remap("SS", [i, j])
                B[vi, vj] = A[vi, vj] * T.float32(2)
"""
WORKERS = """
import os, sys
import numpy as np
import mlcref
from mlcref.script import from_source

cores = os.sched_getaffinity(0)
known = set(os.listdir("/proc/self/task"))
kernel = mlcref.compile(from_source(sys.argv[1]), "cython --num-cores=2")["main"]
a = np.ones((2, 1024), "float32")
b = np.zeros_like(a)
kernel(a, b)
(worker,) = [int(task) for task in set(os.listdir("/proc/self/task")) - known]
left = False
for turn in range(400 if sys.argv[2] == "false" else 20):  # until both are once on one core when a region begins
    os.sched_setaffinity(worker, {sorted(cores)[turn % len(cores)]})
    kernel(a, b)
    kernel(a, b)
    now = os.sched_getaffinity(worker)
    assert len(now) in (1, len(cores) - 1)
    if len(cores) > 2 and len(now) > 1 or now != {sorted(cores)[turn % len(cores)]}:
        left = True
        break
assert (b == 2).all()
assert os.sched_getaffinity(0) == cores or sys.argv[2] == "true"
print("left" if left else "stayed")
"""
several = pytest.mark.skipif(
    sys.platform != "linux" or len(os.sched_getaffinity(0)) < 2 or why_no_compiler() is not None,
    reason="needs Linux, two cores and a C compiler",
)


@several
@pytest.mark.parametrize(("bound", "found"), [("false", "left"), ("true", "stayed")])
def test_a_thread_on_the_core_of_the_first_one_leaves_it(bound: str, found: str) -> None:
    """Unless the user has bound threads to cores. The first thread keeps its cores."""
    settings = {**os.environ, "OMP_PROC_BIND": bound}
    done = subprocess.run([sys.executable, "-c", WORKERS, SCALE, bound], capture_output=True, text=True, env=settings)
    assert done.stdout.strip() == found, done.stderr


def test_regions_alone_ask_for_the_core() -> None:
    func = from_source(SCALE)
    one, two = (emit({"main": lower(func)}, Target(f"cython --num-cores={n}"), {"main": func}).text for n in (1, 2))
    assert "leave_core" not in one
    assert two.index("core = current_core()") < two.index("in prange(") < two.index("leave_core(core)\n")


@pytest.mark.parametrize("name", ["shared", "in_parallel", "iterations", "thread", "main_body_i_loop"])
def test_the_names_are_taken(name: str) -> None:
    """A buffer called as a variable of the region does not meet it."""
    func = from_source(SCALE.replace("B:", f"{name}:").replace("B[", f"{name}[").replace('"B"', f'"{name}"'))
    assert mlcref.compile(func, "cython --num-cores=2")["main"] is not None


ROWS = """
@T.prim_func
def main(a: T.handle, b: T.handle, first: T.int32, amount: T.float32):
    n = T.int64()
    A = T.match_buffer(a, (8, n), "float32")
    B = T.match_buffer(b, (8, n), "float32")
    for i in T.parallel(first, 8):
        with T.block("row"):
            vi = T.axis.spatial(8, i)
            T.reads(A[vi, 0:n])
            T.writes(B[vi, 0:n])
            E = T.alloc_buffer((n,), "float32")
            for j in range(n):
                with T.block("E"):
                    vj = T.axis.spatial(n, j)
                    E[vj] = A[vi, vj] * amount
            for j in range(n):
                with T.block("B"):
                    vj = T.axis.spatial(n, j)
                    B[vi, vj] = B[vi, vj] + E[n - 1 - vj]
"""


@several
@pytest.mark.parametrize("threads", [2, 3, 7, 16])
def test_each_iteration_runs_once(threads: int) -> None:
    """Each thread has its part, in memory of its own, whatever the numbers of threads and iterations."""
    kernel = mlcref.compile(from_source(ROWS), f"cython --num-cores={threads}")["main"]
    a = np.arange(8 * 5000, dtype="float32").reshape(8, 5000)
    for first in range(9):
        b = np.ones_like(a)
        kernel(a, b, first, 2.0)
        np.testing.assert_array_equal(b[:first], 1)
        np.testing.assert_array_equal(b[first:], 1 + 2 * a[first:, ::-1])
