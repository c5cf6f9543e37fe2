"""Vectors divided by one number: the same bits as division, for every dividend and divisor."""

from __future__ import annotations

import ctypes
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import mlcref
from mlcref import te
from mlcref.codegen.divisions import division_by_one
from mlcref.codegen.prelude import Prelude
from mlcref.runtime import why_no_compiler
from mlcref.runtime.compiler import find_compiler, run

pytestmark = pytest.mark.skipif(why_no_compiler() is not None, reason="no C compiler")

TYPES = {"float32x16": "float32", "float64x8": "float64"}


@pytest.fixture(scope="module")
def library(tmp_path_factory: Any) -> ctypes.CDLL:
    """``by_one_dtype(rows, columns, x, s, y)``: each row of x divided by its element of s."""
    prelude, loops = Prelude(), []
    for dtype in TYPES:
        made = division_by_one(dtype)
        assert made is not None
        element = "float" if TYPES[dtype] == "float32" else "double"
        loops.append(
            f"void by_one_{dtype}(int64_t n, int64_t m, {dtype} *x, {element} *s, {dtype} *y)"
            f" {{ for (int64_t i = 0; i < n; i++) for (int64_t j = 0; j < m; j++)"
            f" y[i * m + j] = {prelude.c_function(made)}(x[i * m + j], s[i] - ({dtype}){{0}}); }}"
        )
    folder: Path = tmp_path_factory.mktemp("divisions")
    source = folder / "divisions.c"
    source.write_text("\n".join(["#include <stdint.h>", *prelude.code.values(), *loops]), encoding="utf-8")
    compiler = find_compiler()
    run(compiler.command, [*compiler.flags, str(source), "-o", str(folder / "divisions.so"), "-lm"])
    return ctypes.CDLL(str(folder / "divisions.so"))


def divided(library: ctypes.CDLL, dtype: str, x: np.ndarray, s: np.ndarray) -> np.ndarray:
    y = np.empty_like(x)
    lanes = 512 // (8 * x.dtype.itemsize)
    pointers = [ctypes.c_void_p(a.ctypes.data) for a in (x, s, y)]
    library[f"by_one_{dtype}"](ctypes.c_int64(len(s)), ctypes.c_int64(x.shape[1] // lanes), *pointers)
    return y


def check(library: ctypes.CDLL, dtype: str, x: np.ndarray, s: np.ndarray) -> None:
    with np.errstate(all="ignore"):
        wanted = x / s[:, None]
    got = divided(library, dtype, x, s)
    bits = f"uint{8 * x.dtype.itemsize}"
    same = (got.view(bits) == wanted.view(bits)) | (np.isnan(got) & np.isnan(wanted))
    assert same.all(), (x[~same][:3], wanted[~same][:3], got[~same][:3])


@pytest.mark.parametrize("dtype", TYPES)
def test_any_numbers(library: Any, dtype: str) -> None:
    element, rng = TYPES[dtype], np.random.default_rng(1)
    bits = np.dtype(element).itemsize * 8
    x = rng.integers(0, 2**bits, (500, 64), f"uint{bits}").view(element)
    s = rng.integers(0, 2**bits, 500, f"uint{bits}").view(element)
    check(library, dtype, x, s)


@pytest.mark.parametrize("dtype", TYPES)
def test_numbers_near_one_whose_quotients_lie_between_two_floats(library: Any, dtype: str) -> None:
    """Products of the divisor and a middle between two floats: the hardest quotients to round."""
    element, rng = TYPES[dtype], np.random.default_rng(2)
    s = np.ldexp(rng.uniform(0.5, 1, 2000), rng.integers(-30, 30, 2000)).astype(element)
    s[:300] = np.nextafter(np.ldexp(1.0, rng.integers(-30, 30, 300)).astype(element), np.array(0, element))
    quotient = rng.uniform(1, 2, (2000, 64)).astype(element)
    middle = quotient.astype("longdouble") + np.spacing(quotient).astype("longdouble") / 2
    check(library, dtype, (middle * s[:, None]).astype(element), s)


@pytest.mark.parametrize("dtype", TYPES)
def test_every_exponent_and_special_number(library: Any, dtype: str) -> None:
    """Also where the one or the other way of dividing ends."""
    element, info = TYPES[dtype], np.finfo(TYPES[dtype])
    rng = np.random.default_rng(3)
    exponents = np.arange(info.minexp - info.nmant, info.maxexp)
    x = np.ldexp(rng.uniform(1, 2, (len(exponents), 64)), exponents[:, None]).astype(element)
    special = np.array([0.0, -0.0, np.inf, -np.inf, np.nan, info.max, info.tiny, info.smallest_subnormal], element)
    x = np.concatenate([x, -x, np.tile(special, (20, 8))])
    for scale in (1.5, 0.7, -3.0, 2.0**39, 2.0**41, 2.0**-39, 2.0**-41, np.inf, 0.0, np.nan, 1e-40):
        check(library, dtype, x, np.full(len(x), scale, element))


@pytest.mark.parametrize("zero", [0.0, -0.0])
def test_zeros_among_other_numbers_keep_their_signs(library: Any, zero: float) -> None:
    x = np.linspace(1, 2, 64, dtype="float32").reshape(1, 64)
    x[0, ::3] = zero
    check(library, "float32x16", x, np.array([3.0], "float32"))


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16"])
def test_rows_divided_by_their_sums(dtype: str) -> None:
    """As kernels use it: a vectorized loop, and what is left over."""
    x, s = te.placeholder((5, 77), dtype, name="X"), te.placeholder((5,), dtype, name="S")
    y = te.compute((5, 77), lambda i, j: x[i, j] / s[i] + x[i, j] / te.const(3.0, dtype), name="Y")
    sch = mlcref.tir.Schedule(te.create_prim_func([x, s, y]))
    sch.vectorize(sch.get_loops(sch.get_block("Y"))[-1])
    rng = np.random.default_rng(4)
    given, by = rng.uniform(-9, 9, (5, 77)).astype(dtype), rng.uniform(0.5, 100, 5).astype(dtype)
    out = np.empty_like(given)
    mlcref.compile(sch.mod)["main"](given, by, out)
    np.testing.assert_array_equal(out, given / by[:, None] + given / np.array(3.0, dtype))
