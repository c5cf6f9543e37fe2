"""Kernels of several threads beside other settings, other libraries and in other processes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from mlcref.ir import Target, cpu
from mlcref.runtime import why_no_compiler

PRODUCT = """
import multiprocessing, os, sys, threading
import numpy as np
import mlcref
from mlcref import te
from mlcref.autoschedule import Machine, autoschedule

def product():
    A, B = te.placeholder((37, 300), name="A"), te.placeholder((300, 200), name="B")
    k = te.reduce_axis((0, 300), name="k")
    C = te.compute((37, 200), lambda i, j: te.sum(A[i, k] * B[k, j], axis=k), name="C")
    machine = Machine(threads=3, parallel_work=1)
    return mlcref.compile(autoschedule(te.create_prim_func([A, B, C]), machine=machine).mod, "cython --num-cores=3")

made = product()
assert made.workspace_bytes("main") > 0

def is_right(seed):
    generator = np.random.default_rng(seed)
    a, b = (generator.integers(-4, 5, shape).astype("float32") for shape in ((37, 300), (300, 200)))
    c = np.full((37, 200), np.nan, "float32")
    made["main"](a, b, c)
    return np.array_equal(c, a @ b)
"""
ALONE = "print(all(map(is_right, range(4))))"
TOGETHER = """
right = []
def work(first):
    right.extend(map(is_right, range(first, first + 20)))
threads = [threading.Thread(target=work, args=(20 * n,)) for n in range(4)]
for thread in threads: thread.start()
for thread in threads: thread.join()
print(len(right) == 80 and all(right))
"""
FORKED = """
before = is_right(0)
with multiprocessing.get_context("fork").Pool(2) as pool:
    print(before and all(pool.map_async(is_right, range(8)).get(60)) and is_right(9))
"""
DISPLAYED = {"OMP_DISPLAY_ENV": "verbose"}
pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or why_no_compiler() is not None, reason="needs Linux and a C compiler"
)


def said(program: str, settings: dict[str, str]) -> tuple[str, str]:
    """What a new process prints, and what it says of errors."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("OMP_", "GOMP_"))}
    command = [sys.executable, "-W", "ignore", "-c", PRODUCT + program]
    done = subprocess.run(command, capture_output=True, text=True, env={**inherited, **settings}, timeout=100)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip(), done.stderr


@pytest.mark.parametrize("settings", [{"OMP_NUM_THREADS": "1"}, {"OMP_THREAD_LIMIT": "2"}])
def test_fewer_threads_than_the_target_has_compute_the_same(settings: dict[str, str]) -> None:
    assert said(ALONE, settings)[0] == "True"


@pytest.mark.parametrize("program", [TOGETHER, FORKED], ids=["threads", "processes"])
def test_calls_of_several_threads_and_processes_are_right(program: str) -> None:
    assert said(program, {})[0] == "True"


@pytest.mark.parametrize(("settings", "spins"), [({}, "10000"), ({"GOMP_SPINCOUNT": "7"}, "7")])
def test_idle_threads_spin_briefly_unless_the_user_says_otherwise(settings: dict[str, str], spins: str) -> None:
    words = said("print(os.environ.get('GOMP_SPINCOUNT'))", {**DISPLAYED, **settings})
    assert words[0] == str(settings.get("GOMP_SPINCOUNT"))
    if "GOMP_SPINCOUNT" not in words[1]:
        pytest.skip("this OpenMP does not show how long it spins")
    assert f"GOMP_SPINCOUNT = '{spins}'" in words[1]


def test_threads_by_default(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(8)))
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(cpu, "_SHARE", tmp_path / "cpu.max")
    assert Target("cython").num_cores == 8
    for share, cores in (("max 100000", 8), ("250000 100000", 3), ("1000 100000", 1), ("none", 8)):
        (tmp_path / "cpu.max").write_text(share)
        assert Target("cython").num_cores == cores
    (tmp_path / "cpu.max").write_text("250000 100000")
    for allowed, cores in (("2", 2), ("2,4", 2), ("16", 3), ("0", 3), ("many", 3), ("", 3)):
        monkeypatch.setenv("OMP_NUM_THREADS", allowed)
        assert Target("cython").num_cores == cores
    assert Target("cython --num-cores=5").num_cores == 5
