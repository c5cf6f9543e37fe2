"""The memory of private buffers: as much as the formula says, kept between calls, never shared by calls."""

from __future__ import annotations

import ctypes
import os
import sys
import threading
from typing import Any

import numpy as np
import pytest

from mlcref import compile
from mlcref.codegen import formula_value
from mlcref.errors import MlcrefError, UnsupportedError
from mlcref.runtime import Module
from mlcref.script import from_source

ROWS, COLUMNS, THREADS = 6, 1 << 20, 2
ALLOCATED = THREADS * COLUMNS * 4 + COLUMNS * 4 + 64

REVERSED = f"""
@T.prim_func
def main(A: T.Buffer(({ROWS}, {COLUMNS}), "float32"), C: T.Buffer(({ROWS}, {COLUMNS}), "float32")):
    Y = T.alloc_buffer(({COLUMNS},), "float32")
    for j in range({COLUMNS}):
        with T.block("Y"):
            vj = T.axis.spatial({COLUMNS}, j)
            Y[vj] = A[0, vj] + T.float32(1)
    for i in T.parallel({ROWS}):
        with T.block("row"):
            vi = T.axis.spatial({ROWS}, i)
            X = T.alloc_buffer(({COLUMNS},), "float32")
            for j in range({COLUMNS}):
                with T.block("X"):
                    vj = T.axis.spatial({COLUMNS}, j)
                    X[vj] = A[vi, vj] * T.float32(2)
            for j in range({COLUMNS}):
                with T.block("C"):
                    vj = T.axis.spatial({COLUMNS}, j)
                    C[vi, vj] = X[{COLUMNS - 1} - vj] + Y[{COLUMNS - 1} - vj]
"""

SYMBOLIC = """
@T.prim_func
def main(a: T.handle, c: T.handle, m: T.int32):
    n = T.int32()
    A = T.match_buffer(a, (n, m), "float64")
    C = T.match_buffer(c, (n, m), "float64")
    X = T.alloc_buffer((n, m), "float64")
    for i, j in T.grid(n, m):
        with T.block("X"):
            vi, vj = T.axis.remap("SS", [i, j])
            X[vi, vj] = A[vi, vj] * 2.0
    for i, j in T.grid(n, m):
        with T.block("C"):
            vi, vj = T.axis.remap("SS", [i, j])
            C[vi, vj] = X[n - 1 - vi, vj]
"""


class MallocInfo(ctypes.Structure):
    """glibc's ``struct mallinfo2``."""

    _fields_ = [(name, ctypes.c_size_t) for name in (
        "arena", "ordblks", "smblks", "hblks", "hblkhd", "usmblks", "fsmblks", "uordblks", "fordblks", "keepcost",
    )]  # fmt: skip


def allocated() -> int:
    """Bytes that the process holds from malloc."""
    library = ctypes.CDLL(None)
    if not hasattr(library, "mallinfo2"):
        pytest.skip("this C library does not say how much memory is allocated")
    library.mallinfo2.restype = MallocInfo
    info = library.mallinfo2()
    return int(info.uordblks + info.hblkhd)


def module() -> Module:
    return compile(from_source(REVERSED), f"cython --num-cores={THREADS}")


def inputs(seed: int) -> np.ndarray[Any, Any]:
    return np.random.default_rng(seed).integers(0, 100, (ROWS, COLUMNS)).astype("float32")


def expected(a: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    return 2 * a[:, ::-1] + a[0, ::-1] + 1


def test_a_kernel_allocates_what_its_formula_says_and_keeps_it() -> None:
    made = module()
    assert made.workspaces["main"] == f"{THREADS * COLUMNS * 4} + {COLUMNS * 4} + 64" or made.workspaces["main"] == (
        f"{COLUMNS * 4} + {THREADS * COLUMNS * 4} + 64"
    )
    assert made.workspace_bytes("main") == ALLOCATED
    a = inputs(0)
    c = np.zeros_like(a)
    held = [allocated()]
    for _ in range(3):
        made(a, c)
        held.append(allocated())
    np.testing.assert_array_equal(c, expected(a))
    slack = 1 << 16
    assert abs(held[1] - held[0] - ALLOCATED) < slack
    assert max(held[1:]) - min(held[1:]) < slack


def test_calls_at_the_same_time_do_not_share_it() -> None:
    made = module()
    arrays = [(inputs(seed), np.zeros((ROWS, COLUMNS), "float32")) for seed in range(3)]
    wrong: list[int] = []

    def work(seed: int) -> None:
        a, c = arrays[seed]
        for _ in range(4):
            made(a, c)
            if not np.array_equal(c, expected(a)):
                wrong.append(seed)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


@pytest.mark.skipif(sys.platform != "linux", reason="forks")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_has_its_own() -> None:
    made = module()
    a, b = inputs(0), inputs(1)
    c = np.zeros_like(a)
    made(a, c)
    child = os.fork()
    if child == 0:
        made(b, c)
        os._exit(0 if np.array_equal(c, expected(b)) else 1)
    made(a, c)
    np.testing.assert_array_equal(c, expected(a))
    assert os.waitpid(child, 0)[1] == 0


def test_it_grows_with_symbolic_sizes() -> None:
    made = compile(from_source(SYMBOLIC), "cython --num-cores=1")
    for n, m in [(40, 100), (3, 5), (100, 200), (1, 1)]:
        a = np.random.default_rng(0).standard_normal((n, m))
        c = np.zeros_like(a)
        made(a, c, m)
        np.testing.assert_array_equal(c, 2 * a[::-1])
        assert n * m * 8 <= made.workspace_bytes("main", n=n, m=m) <= n * m * 8 + 128
    with pytest.raises(MlcrefError, match="depends on the size"):
        made.workspace_bytes("main", n=4)


def test_kernels_without_private_buffers_allocate_nothing() -> None:
    add = from_source("""
@T.prim_func
def main(A: T.Buffer((8,), "float32")):
    for i in range(8):
        A[i] = A[i] + T.float32(1)
""")
    assert compile(add, "cython").workspace_bytes("main") == 0


def test_what_depends_on_loops_has_no_formula() -> None:
    made = compile(from_source("""
@T.prim_func
def main(A: T.Buffer((8, 8), "float32")):
    for i in range(8):
        X = T.decl_buffer((i + 1,), "float32")
        for j in range(i + 1):
            X[j] = A[i, j] * T.float32(2)
        for j in range(i + 1):
            A[i, j] = X[i - j]
"""), "cython")  # fmt: skip
    a = np.arange(64, dtype="float32").reshape(8, 8)
    wanted = a.copy()
    for i in range(8):
        wanted[i, : i + 1] = 2 * a[i, : i + 1][::-1]
    made(a)
    np.testing.assert_array_equal(a, wanted)
    with pytest.raises(UnsupportedError, match="no formula says what main allocates"):
        made.workspace_bytes("main")


@pytest.mark.parametrize(("formula", "value"), [
    ("64", 64), ("4 * (n // 16 + 1) * 16", 64), ("max_int64(n, 9) - -2", 11), ("floormod_int64(n, 4) + n % 3", 1),
])  # fmt: skip
def test_formulas_are_evaluated(formula: str, value: int) -> None:
    assert formula_value(formula, {"n": 4}) == value


@pytest.mark.parametrize("formula", ["n + x", "n.real", "[n]"])
def test_other_texts_are_refused(formula: str) -> None:
    with pytest.raises(MlcrefError, match=r"depends on the size x|is not part of a workspace's formula"):
        formula_value(formula, {"n": 4})
