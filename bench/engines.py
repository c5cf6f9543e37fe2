"""The oracle's generated code against Python loops that a person would write, with the same float32 rounding.

``python bench/engines.py`` prints medians of interleaved runs, so that other load on the machine hits all forms alike,
and exits with 1 when scalar code is slower than the loops, numpy statements are less than 8 times as fast, or
``check_equivalent`` of two programs of ten small blocks takes more than 20 ms (5 ms when both were seen).
"""

from __future__ import annotations

import math
import statistics
import sys
from array import array
from collections.abc import Callable, Mapping
from time import perf_counter
from typing import Any

import numpy as np

from mlcref.benchmark.measure import Effort, interleaved
from mlcref.interp import interpret
from mlcref.interp.pygen import execute_generated
from mlcref.ir import PrimFunc
from mlcref.script import from_source
from mlcref.verify import check_equivalent

RUNS = 9
Array = np.ndarray[Any, Any]

MATMUL = """
@T.prim_func
def matmul(A: T.Buffer((64, 64), "float32"), B: T.Buffer((64, 64), "float32"), C: T.Buffer((64, 64), "float32")):
    for i, j, k in T.grid(64, 64, 64):
        with T.block("C"):
            vi, vj, vk = T.axis.remap("SSR", [i, j, k])
            with T.init():
                C[vi, vj] = T.float32(0)
            C[vi, vj] = C[vi, vj] + A[vi, vk] * B[vk, vj]
"""

SOFTMAX = """
@T.prim_func
def softmax(A: T.Buffer((64, 1024), "float32"), B: T.Buffer((64, 1024), "float32")):
    M = T.alloc_buffer((64,), "float32")
    E = T.alloc_buffer((64, 1024), "float32")
    S = T.alloc_buffer((64,), "float32")
    for i, k in T.grid(64, 1024):
        with T.block("M"):
            vi, vk = T.axis.remap("SR", [i, k])
            with T.init():
                M[vi] = T.min_value("float32")
            M[vi] = T.max(M[vi], A[vi, vk])
    for i, j in T.grid(64, 1024):
        with T.block("E"):
            vi, vj = T.axis.remap("SS", [i, j])
            E[vi, vj] = T.exp(A[vi, vj] - M[vi])
    for i, k in T.grid(64, 1024):
        with T.block("S"):
            vi, vk = T.axis.remap("SR", [i, k])
            with T.init():
                S[vi] = T.float32(0)
            S[vi] = S[vi] + E[vi, vk]
    for i, j in T.grid(64, 1024):
        with T.block("B"):
            vi, vj = T.axis.remap("SS", [i, j])
            B[vi, vj] = E[vi, vj] / S[vi]
"""


def matmul_by_hand(a: Array, b: Array, c: Array) -> None:
    """The three loops; a float32 cell rounds the product and the sum."""
    t = memoryview(array("f", [0.0]))
    A, B, C = a.ravel().tolist(), b.ravel().tolist(), c.ravel().tolist()
    for i in range(64):
        for j in range(64):
            C[i * 64 + j] = 0.0
            for k in range(64):
                t[0] = A[i * 64 + k] * B[k * 64 + j]
                t[0] = C[i * 64 + j] + t[0]
                C[i * 64 + j] = t[0]
    c[...] = np.array(C, np.float32).reshape(64, 64)


def softmax_by_hand(a: Array, b: Array) -> None:
    """Row by row: maximum, exponentials, sum, quotients."""
    t = memoryview(array("f", [0.0]))
    A, B = a.ravel().tolist(), b.ravel().tolist()
    for i in range(64):
        m = -3.4028234663852886e38
        for k in range(1024):
            x = A[i * 1024 + k]
            m = m if m > x else x
        s = 0.0
        for k in range(1024):
            t[0] = A[i * 1024 + k] - m
            t[0] = math.exp(t[0])
            B[i * 1024 + k] = t[0]
        for k in range(1024):
            t[0] = s + B[i * 1024 + k]
            s = t[0]
        for k in range(1024):
            t[0] = B[i * 1024 + k] / s
            B[i * 1024 + k] = t[0]
    b[...] = np.array(B, np.float32).reshape(64, 1024)


def medians(forms: Mapping[str, Callable[[], object]], runs: int = RUNS) -> dict[str, float]:
    """Median seconds of each form, the forms in turn."""
    times = interleaved(forms, Effort(runs, seconds=0.0))
    return {name: statistics.median(found) for name, found in times.items()}


def compare(name: str, func: PrimFunc, by_hand: Callable[..., None], arrays: list[Array]) -> tuple[float, float]:
    """How much faster than the loops scalar code and numpy statements are; checks that all give the same bits."""
    output = func.buffers[-1].name

    def scalar() -> None:
        binding = execute_generated(func, arrays, (output,), arrays=False)
        assert binding is not None
        binding.slots[-1].view.storage.write_back(binding.slots[-1])  # type: ignore[attr-defined]

    def whole() -> None:
        interpret(func, *arrays, poison=(output,), engine="pygen")

    results = []
    for form in (lambda: by_hand(*arrays), scalar, whole):
        arrays[-1][...] = 0
        form()
        results.append(arrays[-1].tobytes())
    assert results[0] == results[1] == results[2], f"{name}: the forms do not agree"
    found = medians({"hand": lambda: by_hand(*arrays), "scalar": scalar, "numpy": whole})
    ratios = found["hand"] / found["scalar"], found["hand"] / found["numpy"]
    print(
        f"{name:10} by hand {found['hand'] * 1e3:7.2f} ms   scalar {found['scalar'] * 1e3:7.2f} ms ({ratios[0]:.2f}x)"
        f"   numpy {found['numpy'] * 1e3:6.2f} ms ({ratios[1]:.1f}x)"
    )
    return ratios


def ten_blocks(shift: int) -> PrimFunc:
    """A chain of ten blocks of 64 instances each; ``shift`` makes another text of the same meaning."""
    lines = [
        "@T.prim_func",
        'def main(A: T.Buffer((8, 8), "float32"), C: T.Buffer((8, 8), "float32")):',
        *(f'    T{n} = T.alloc_buffer((8, 8), "float32")' for n in range(9)),
    ]
    for n in range(10):
        source, target = ("A" if n == 0 else f"T{n - 1}"), ("C" if n == 9 else f"T{n}")
        loops = ("i, j", "8, 8", "vi, vj", "[i, j]") if not shift else ("j, i", "8, 8", "vi, vj", "[i, j]")
        body = f"{source}[vi, vj] + T.float32({n})" if n % 2 else f"T.max({source}[vj, vi], T.float32({n}))"
        lines += [
            f"    for {loops[0]} in T.grid({loops[1]}):",
            f'        with T.block("{target}"):',
            f'            {loops[2]} = T.axis.remap("SS", {loops[3]})',
            f"            {target}[vi, vj] = {body}",
        ]
    return from_source("\n".join(lines))


def verdicts() -> tuple[float, float]:
    """Median seconds of a verdict on two programs of ten blocks: when they are new, and when both were seen."""
    cold, seen = [], []
    for _ in range(RUNS):
        f, g = ten_blocks(0), ten_blocks(1)
        for times in (cold, seen):
            start = perf_counter()
            verdict = check_equivalent(f, g)
            times.append(perf_counter() - start)
            assert verdict.status == "TESTED", verdict
    found = statistics.median(cold), statistics.median(seen)
    print(f"check_equivalent of ten blocks: cold {found[0] * 1e3:.1f} ms, both seen {found[1] * 1e3:.1f} ms")
    return found


def main() -> int:
    """Measure and judge."""
    rng = np.random.default_rng(0)

    def normal(*shape: int) -> Array:
        return rng.standard_normal(shape).astype(np.float32)

    ratios = [
        compare("matmul", from_source(MATMUL), matmul_by_hand, [normal(64, 64), normal(64, 64), normal(64, 64)]),
        compare("softmax", from_source(SOFTMAX), softmax_by_hand, [normal(64, 1024), normal(64, 1024)]),
    ]
    cold, seen = verdicts()
    good = all(scalar >= 1.0 and whole >= 8.0 for scalar, whole in ratios) and cold < 0.020 and seen < 0.005
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
