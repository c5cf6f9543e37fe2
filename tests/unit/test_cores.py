"""Threads of a parallel region do not stay on one core."""

from __future__ import annotations

import os
import subprocess
import sys

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


def test_the_names_are_taken() -> None:
    """A buffer called ``core`` does not meet the variable."""
    func = from_source(SCALE.replace("B:", "core:").replace("B[", "core[").replace('"B"', '"core"'))
    assert mlcref.compile(func, "cython --num-cores=2")["main"] is not None
