"""The elementary functions of generated kernels: at most 2 ulp from the exact value, on scalars and on vectors, with
and without fused multiply-add; right at zeros, infinities, NaN, denormals, overflow and underflow."""

from __future__ import annotations

import ctypes
import itertools
import math
from pathlib import Path
from typing import Any

import mpmath
import numpy as np
import pytest

from mlcref import dtype as dt
from mlcref.codegen.prelude import Prelude
from mlcref.codegen.vector_math import NAMES, elementary
from mlcref.interp.numeric import intrinsic
from mlcref.runtime import why_no_compiler
from mlcref.runtime.compiler import find_compiler, run

pytestmark = pytest.mark.skipif(why_no_compiler() is not None, reason="no C compiler")

TYPES = {
    "float32": ["float32", "float32x2", "float32x4", "float32x8", "float32x16"],
    "float64": ["float64", "float64x2", "float64x4", "float64x8"],
}
SAMPLES = 1200
ULPS = 2.0
EXACT = {
    "exp": mpmath.exp, "exp2": lambda x: mpmath.power(2, x), "log": mpmath.log, "log2": lambda x: mpmath.log(x, 2),
    "tanh": mpmath.tanh, "erf": mpmath.erf, "sigmoid": lambda x: 1 / (1 + mpmath.exp(-x)), "sqrt": mpmath.sqrt,
    "rsqrt": lambda x: 1 / mpmath.sqrt(x),
}  # fmt: skip
INTERVALS = {
    "float32": {"exp": (-104, 89), "exp2": (-150, 128), "tanh": (-10, 10), "erf": (-4.1, 4.1), "sigmoid": (-104, 20)},
    "float64": {"exp": (-746, 710), "exp2": (-1075, 1024), "tanh": (-20, 20), "erf": (-6, 6), "sigmoid": (-746, 40)},
}  # fmt: skip
"""Where a function is neither constant nor infinite; the others are defined for all positive numbers."""


@pytest.fixture(scope="module", params=["as kernels are compiled", "plain"])
def library(request: Any, tmp_path_factory: Any) -> ctypes.CDLL:
    """Every function on every type, as ``name_dtype(count, x, y)`` on arrays of whole vectors."""
    prelude, loops = Prelude(), []
    for name, dtype in itertools.product(NAMES, itertools.chain(*TYPES.values())):
        function = prelude.intrinsic(name, dtype, dtype)
        kind = dtype if dt.lanes(dtype) > 1 else {"float32": "float", "float64": "double"}[dtype]
        loops.append(
            f"void all_{function}(int64_t n, {kind} *x, {kind} *y)"
            f" {{ for (int64_t i = 0; i < n; i++) y[i] = {function}(x[i]); }}"
        )
    folder: Path = tmp_path_factory.mktemp("math")
    source = folder / "math.c"
    source.write_text("\n".join(["#include <stdint.h>", *prelude.code.values(), *loops]), encoding="utf-8")
    compiler = find_compiler()
    flags = compiler.flags if request.param == "as kernels are compiled" else ("-O1", "-fPIC", "-shared", "-w")
    run(compiler.command, [*flags, str(source), "-o", str(folder / "math.so"), "-lm"])
    return ctypes.CDLL(str(folder / "math.so"))


def computed(library: ctypes.CDLL, name: str, dtype: str, x: np.ndarray) -> np.ndarray:
    """The function on all of ``x``, whose length is a multiple of the lanes."""
    y = np.empty_like(x)
    function = library[f"all_{name}_{dtype}"]
    function(ctypes.c_int64(len(x) // dt.lanes(dtype)), *(ctypes.c_void_p(a.ctypes.data) for a in (x, y)))
    return y


def samples(name: str, element: str) -> np.ndarray:
    """Numbers over the whole range of the function, over all exponents, and around 1."""
    rng = np.random.default_rng(len(name))
    width = np.dtype(element).itemsize * 8
    anywhere = rng.integers(0, 2**width, SAMPLES, f"uint{width}").view(element)
    low, high = INTERVALS[element].get(name, (0.25, 4))
    parts = [anywhere, rng.uniform(low, high, SAMPLES), rng.uniform(0.5, 2, SAMPLES), rng.uniform(-1.5, 1.5, SAMPLES)]
    x = np.concatenate([part.astype(element) for part in parts])
    return x[np.isfinite(x)]


def padded(x: np.ndarray) -> np.ndarray:
    return np.concatenate([x, np.ones(-len(x) % 16, x.dtype)])


def exact(name: str, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The exact values as sums of two float64 numbers; the float64 ones are not rounded to the denormals' grid."""
    high, low = np.empty(len(x)), np.empty(len(x))
    with mpmath.workprec(140):
        for i, value in enumerate(x.tolist()):
            found = EXACT[name](mpmath.mpf(value))
            high[i] = float(found)
            low[i] = float(found - mpmath.mpf(high[i])) if math.isfinite(high[i]) else 0.0
    return high, low


def errors_in_ulps(got: np.ndarray, high: np.ndarray, low: np.ndarray) -> np.ndarray:
    """Distances in units of the last place of the exact value; beyond the largest float there is only infinity."""
    info = np.finfo(got.dtype)
    digits, lowest = (24, -149) if got.dtype == np.float32 else (53, -1074)
    exponents = np.frexp(np.abs(high))[1]
    units = np.ldexp(1.0, np.maximum(exponents - digits, lowest))
    with np.errstate(invalid="ignore", over="ignore"):
        error = np.abs((got.astype("float64") - high) - low) / units
    beyond = np.abs(high) >= float(info.max)
    return np.where(beyond, np.where(np.abs(got) >= info.max, 0.0, np.inf), error)


@pytest.fixture(scope="module")
def references() -> dict[tuple[str, str], tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """By function and element: arguments in the domain, exact values."""
    found = {}
    for name, element in itertools.product(NAMES, TYPES):
        x = samples(name, element)
        x = x[x > 0] if name in ("log", "log2", "sqrt", "rsqrt") else x
        x = padded(x)
        found[name, element] = (x, *exact(name, x))
    return found


@pytest.mark.parametrize("name", NAMES)
def test_at_most_two_ulp_from_the_exact_value(name: str, library: Any, references: Any) -> None:
    for element, dtypes in TYPES.items():
        x, high, low = references[name, element]
        for dtype in dtypes:
            error = errors_in_ulps(computed(library, name, dtype, x), high, low)
            worst = int(np.argmax(error))
            assert error[worst] <= ULPS, f"{name} on {dtype}: {error[worst]:.3f} ulp at {float(x[worst]).hex()}"


@pytest.mark.parametrize("name", NAMES)
def test_special_arguments(name: str, library: Any) -> None:
    for element, dtypes in TYPES.items():
        info = np.finfo(element)
        tiny, least, most = float(info.smallest_normal), float(info.smallest_subnormal), float(info.max)
        ends = [end for pair in INTERVALS[element].values() for end in pair]
        magnitudes = [0.0, least, 3 * least, tiny, tiny / 2, 1.0, most, math.inf, *ends]
        x = padded(np.array([sign * m for m in magnitudes for sign in (1, -1)] + [math.nan], element))
        want = np.array([intrinsic(name, element, element)(float(v)) for v in x], element)
        for dtype in dtypes:
            got = computed(library, name, dtype, x)
            special = ~np.isfinite(want) | (want == 0)
            np.testing.assert_array_equal(got[special], want[special], err_msg=f"{name} on {dtype}")
            zero = want == 0
            np.testing.assert_array_equal(np.signbit(got[zero]), np.signbit(want[zero]), err_msg=f"{name} on {dtype}")
            assert np.isfinite(got[~special]).all()
            unit = np.spacing(np.abs(want[~special]))
            assert (np.abs(got[~special].astype("float64") - want[~special]) <= 3 * unit).all()


@pytest.mark.parametrize("name", ["exp", "sigmoid", "exp2"])
def test_results_fade_through_the_denormals(name: str, library: Any) -> None:
    for element, dtypes in TYPES.items():
        low = INTERVALS[element][name][0]
        x = padded(np.linspace(low, low * 0.93, 400).astype(element))
        want = np.array([intrinsic(name, element, element)(float(v)) for v in x], element)
        assert (want[0] < want[-1]) and np.count_nonzero(want < np.finfo(element).smallest_normal) > 100
        for dtype in dtypes:
            got = computed(library, name, dtype, x)
            assert (np.abs(got.astype("float64") - want) <= 2 * np.spacing(want)).all()


def test_only_floats_have_formulas() -> None:
    assert elementary("exp", "int32") is None
    assert elementary("sin", "float32") is None
    made = elementary("exp", "float64x8")
    assert made is not None
    assert made.vectors == ("float64x8", "int64x8")
