"""What the machine can do at most, measured by kernels of ours that the runtime compiles.

The FMA kernel keeps twelve vectors of accumulators in registers and does nothing but multiply and add to them; the
copy kernel reads one array and writes another. Every thread works on its own. Both are written in C with vectors of
GCC, so that what they measure is the machine and not the compiler.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from time import perf_counter
from typing import Any

import numpy as np

from mlcref.runtime import BufferParam, Launcher, Param, ScalarParam, build_kernels

Array = np.ndarray[Any, Any]

_FLOPS_PER_ROUND = {"float32": 2 * 12, "float64": 2 * 12}
_KERNELS = ("fma_float32", "fma_float64", "copy", "lanes")
WORKING_SETS = {"L2": 1 << 20, "L3": 1 << 25, "memory": 1 << 29}
"""Bytes that the copy kernel reads and writes, by the level of a usual machine's memory that holds them."""

_C = """
#if defined(__AVX512F__)
#define WIDTH 64
#elif defined(__AVX__)
#define WIDTH 32
#else
#define WIDTH 16
#endif
#define FMA(T)                                                                                                \\
typedef T lanes_##T __attribute__((vector_size(WIDTH), aligned(sizeof(T)), may_alias));                       \\
static void rounds_##T(T* out, long long rounds) {                                                            \\
    lanes_##T x = (lanes_##T){0} + out[0], y = (lanes_##T){0} + out[1];                                       \\
    lanes_##T z = {0}, a = z + out[2], b = z + out[3], c = z + out[4], d = z + out[5], e = z + out[6];        \\
    lanes_##T f = z + out[7], g = z + out[8], h = z + out[9], p = z + out[10], q = z + out[11];               \\
    lanes_##T r = z + out[12], s = z + out[13];                                                               \\
    for (long long i = 0; i < rounds; i++) {                                                                  \\
        a = a * x + y; b = b * x + y; c = c * x + y; d = d * x + y; e = e * x + y; f = f * x + y;             \\
        g = g * x + y; h = h * x + y; p = p * x + y; q = q * x + y; r = r * x + y; s = s * x + y;             \\
    }                                                                                                         \\
    *(lanes_##T*)(out + 64) = a + b + c + d + e + f + g + h + p + q + r + s;                                   \\
}                                                                                                             \\
static void mlcref_fma_##T(T* out, long long rounds, long long threads) {                                     \\
    _Pragma("omp parallel for num_threads(threads) schedule(static)")                                         \\
    for (long long t = 0; t < threads; t++) rounds_##T(out + 128 * t, rounds);                                \\
}
FMA(float)
FMA(double)
static void mlcref_copy(const float* from, float* to, long long count, long long repeats, long long threads) {
    _Pragma("omp parallel for num_threads(threads) schedule(static)")
    for (long long t = 0; t < threads; t++) {
        long long first = t * count / threads, last = (t + 1) * count / threads;
        for (long long n = 0; n < repeats; n++) {
            for (long long i = first; i < last; i++) to[i] = from[i] + 1.0f;
            __asm__ volatile("" ::: "memory");
        }
    }
}
"""

_TEXT = f'''
cdef extern from *:
    """{_C}"""
    int WIDTH
    void mlcref_fma_float(float* out, long long rounds, long long threads) nogil
    void mlcref_fma_double(double* out, long long rounds, long long threads) nogil
    void mlcref_copy(const float* a, float* b, long long count, long long repeats, long long threads) nogil

cdef void fma_float32(void** args) noexcept nogil:
    mlcref_fma_float(<float*>args[0], (<long long*>args[1])[0], (<long long*>args[2])[0])

cdef void fma_float64(void** args) noexcept nogil:
    mlcref_fma_double(<double*>args[0], (<long long*>args[1])[0], (<long long*>args[2])[0])

cdef void copy(void** args) noexcept nogil:
    mlcref_copy(<float*>args[0], <float*>args[1], (<long long*>args[2])[0], (<long long*>args[3])[0],
                (<long long*>args[4])[0])

cdef void lanes(void** args) noexcept nogil:
    (<long long*>args[0])[0] = WIDTH
'''


@dataclass(frozen=True, slots=True)
class Peak:
    """A call that does ``flops`` operations, all of them multiplications and additions in registers. ``memory`` holds
    128 numbers for each thread: the factor, the addend, where each accumulator starts, and from the 64th on their sums.
    """

    call: Callable[[], object]
    flops: int
    memory: Array


@cache
def _addresses() -> dict[str, int]:
    built = build_kernels(_TEXT, _KERNELS)
    return {name: built.address(name) for name in _KERNELS}


@cache
def vector_bytes() -> int:
    """The width of the vectors that the kernels use.

    >>> vector_bytes() in (16, 32, 64)
    True
    """
    width = np.zeros(1, np.int64)
    Launcher(_addresses()["lanes"], [BufferParam("W", "int64", (1,), written=True)], "lanes")(width)
    return int(width[0])


def fma(dtype: str, threads: int, rounds: int = 1_000_000) -> Peak:
    """The FMA kernel for float32 or float64; raises ``CompileError`` where kernels cannot be built.

    >>> fma("float32", 1, 10).flops == 10 * 24 * vector_bytes() // 4
    True
    """
    memory = np.zeros((threads, 128), dtype)
    memory[:, 0], memory[:, 1] = 0.999, 0.001  # the accumulators tend to 1
    memory[:, 2:14] = np.arange(12)  # from where they are: of equal ones, the compiler keeps one
    params: list[Param] = [BufferParam("O", dtype, memory.shape, written=True), _number("rounds"), _number("threads")]
    launcher = Launcher(_addresses()[f"fma_{dtype}"], params, f"fma_{dtype}", parallel=threads > 1)
    lanes = vector_bytes() // memory.itemsize
    return Peak(launcher.bind(memory, rounds, threads), _FLOPS_PER_ROUND[dtype] * lanes * rounds * threads, memory)


def _number(name: str) -> ScalarParam:
    return ScalarParam(name, "int64")


def bandwidth(size: int, threads: int, now: Callable[[], float] = perf_counter, samples: int = 7) -> float:
    """Bytes read and written per second when ``size`` bytes are copied over and over: the best of ``samples``."""
    count = size // 8
    arrays = np.ones(count, np.float32), np.ones(count, np.float32)  # zeros would be one page, many times
    params: list[Param] = [
        BufferParam("A", "float32", (count,)),
        BufferParam("B", "float32", (count,), written=True),
        *(_number(name) for name in ("count", "repeats", "threads")),
    ]
    launcher = Launcher(_addresses()["copy"], params, "copy", parallel=threads > 1)
    repeats = max(1, (1 << 27) // size)
    call = launcher.bind(*arrays, count, repeats, threads)
    call()
    return max(_rate(call, 8 * count * repeats, now) for _ in range(samples))


def _rate(call: Callable[[], object], amount: int, now: Callable[[], float]) -> float:
    start = now()
    call()
    return amount / (now() - start)


def measured(threads: int, now: Callable[[], float] = perf_counter) -> dict[str, float]:
    """Peak operations per second for float32 and float64, and bytes per second of each level of the memory: the best
    samples, since a roof is what nothing exceeds. ``now`` is the clock.
    """
    found = {f"bandwidth {level}": bandwidth(size, threads, now) for level, size in WORKING_SETS.items()}
    for dtype in _FLOPS_PER_ROUND:
        peak = fma(dtype, threads)
        peak.call()
        found[f"flops {dtype}"] = max(_rate(peak.call, peak.flops, now) for _ in range(9))
    return found
