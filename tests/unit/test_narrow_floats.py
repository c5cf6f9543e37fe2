"""float16, bfloat16 and float8 in compiled code: every value and every tie, as scalars and as vectors, bit by bit as
the oracle; also built for machines without the instructions."""

from __future__ import annotations

from random import Random
from typing import Any

import ml_dtypes
import numpy as np
import pytest

from mlcref import dtype as dt
from mlcref.driver import compile
from mlcref.interp import interpret
from mlcref.ir import IRModule, PrimFunc
from mlcref.rounding import rounder
from mlcref.runtime import why_no_compiler
from mlcref.script import from_source
from mlcref.testing.backend import assert_backend_matches
from mlcref.verify.generate import program

pytestmark = pytest.mark.skipif(why_no_compiler() is not None, reason="no C compiler")
Array = np.ndarray[Any, Any]
NARROW = ("float16", "bfloat16", "float8_e4m3fn", "float8_e5m2")
INTEGERS = ("int8", "uint16", "int32", "int64", "uint64")


def elementwise(value: str, source: str, target: str, vectors: bool) -> PrimFunc:
    """``B[i] = value`` of ``A[i]`` and ``D[i]``, for any number of elements, or for 48 at a time."""
    index = "o * 48 + i" if vectors else "i"
    loops = "for o in range(n // 48):\n        for i in T.vectorized(48):" if vectors else "for i in range(n):"
    return from_source(f"""
@T.prim_func
def f(a: T.handle, d: T.handle, b: T.handle):
    T.func_attr({{"tir.noalias": True}})
    n = T.int64()
    A = T.match_buffer(a, (n,), "{source}")
    D = T.match_buffer(d, (n,), "{source}")
    B = T.match_buffer(b, (n,), "{target}")
    {loops}
            B[{index}] = {value.replace("A[i]", f"A[{index}]").replace("D[i]", f"D[{index}]")}
""")


def results(values: dict[str, str], source: str, x: Array, y: Array | None = None) -> dict[str, tuple[Array, Array]]:
    """For each value (by its type and a slash and any name) what scalar and vector code computes of ``x`` and ``y``."""
    count = -(-len(x) // 48) * 48
    x, y = (np.resize(array, count) for array in (x, x if y is None else y))
    funcs = {
        f"f{i}_{vectors:d}": elementwise(value, source, name.split("/")[0], vectors)
        for i, (name, value) in enumerate(values.items()) for vectors in (False, True)
    }  # fmt: skip
    module, found = compile(IRModule(funcs), "cython --num-cores=1"), {}
    for i, name in enumerate(values):
        both = []
        for vectors in (False, True):
            out = np.zeros(count, dt.numpy_dtype(name.split("/")[0]))
            module[f"f{i}_{vectors:d}"](x, y, out)
            both.append(out)
        found[name] = (both[0], both[1])
    return found


def assert_same(found: Array, expected: Array) -> None:
    """Equal bits; all NaNs count as one."""
    expected = np.resize(expected, len(found))
    if found.dtype.kind not in "iub":
        with np.errstate(invalid="ignore"):
            nan = np.isnan(found.astype("float64")) & np.isnan(expected.astype("float64"))
        found, expected = (np.where(nan, 0, array.view(f"u{array.itemsize}")) for array in (found, expected))
    np.testing.assert_array_equal(found, expected)


def all_values(dtype: str) -> Array:
    """Every value of a narrow type."""
    bits = dt.parse(dtype).bits
    return np.arange(1 << bits, dtype=f"uint{bits}").view(dt.numpy_dtype(dtype))


def ties(dtype: str, source: str) -> Array:
    """The values of a narrow type and what is halfway between them, with both neighbours, in a wider type."""
    with np.errstate(invalid="ignore"):
        values = all_values(dtype).astype("float64")
    values = np.sort(values[np.isfinite(values)])[:: 1 if len(values) < 1000 else 37]
    halfway = ((values[1:] + values[:-1]) / 2).astype(source)
    up, down = (np.nextafter(halfway, np.array(end, source)) for end in (np.inf, -np.inf))
    largest = float(ml_dtypes.finfo(dt.numpy_dtype(dtype)).max)
    ends = [largest * (1 + 2.0**-k) for k in range(2, 14)] + [3e38, -3e38, np.inf, -np.inf, np.nan, 1e-40, -0.0]
    with np.errstate(over="ignore"):
        return np.concatenate([values.astype(source), halfway, up, down, np.array(ends, source)])


@pytest.mark.parametrize("dtype", NARROW)
def test_every_value_converts_exactly(dtype: str) -> None:
    values = all_values(dtype)
    wide = {name: f'T.Cast("{name}", A[i])' for name in ("float32", "float64")}
    back = {f"{dtype}/back": f'T.Cast("{dtype}", T.Cast("float32", A[i]))', **wide}
    with np.errstate(invalid="ignore"):
        for name, pair in results(back, dtype, values).items():
            for found in pair:
                assert_same(found, values.astype(dt.numpy_dtype(name.split("/")[0])))


@pytest.mark.parametrize("dtype", NARROW)
@pytest.mark.parametrize("source", ["float32", "float64"])
def test_ties_round_to_even_once(dtype: str, source: str) -> None:
    given = ties(dtype, source)
    round_ = rounder(dtype)
    with np.errstate(invalid="ignore"):
        expected = np.array([round_(float(value)) for value in given]).astype(dt.numpy_dtype(dtype))
    for found in results({dtype: f'T.Cast("{dtype}", A[i])'}, source, given)[dtype]:
        assert_same(found, expected)


@pytest.mark.parametrize("dtype", NARROW)
def test_operations_are_those_of_the_oracle(dtype: str) -> None:
    bits, rng = dt.parse(dtype).bits, np.random.default_rng(0)
    x, y = (rng.integers(0, 1 << bits, 480).astype(f"uint{bits}").view(dt.numpy_dtype(dtype)) for _ in range(2))
    values = {f"{dtype}/{symbol}": f"A[i] {symbol} D[i]" for symbol in "+-*/"}
    values |= {f"{dtype}/{name}": f"T.{name}(A[i], D[i])" for name in ("max", "min")}
    values |= {f"{dtype}/{name}": f"T.{name}(A[i])" for name in ("sqrt", "abs", "floor")}
    values |= {f"{dtype}/select": "T.Select(A[i] < D[i], A[i], A[i] * D[i])", "bool": "A[i] >= D[i]",
               "bool/nan": "T.isnan(A[i])", "bool/cast": 'T.Cast("bool", A[i])'}  # fmt: skip
    values |= {f"{other}/cast": f'T.Cast("{other}", A[i])' for other in NARROW if other != dtype}
    for name, pair in results(values, dtype, x, y).items():
        expected = np.zeros(480, dt.numpy_dtype(name.split("/")[0]))
        interpret(elementwise(values[name], dtype, name.split("/")[0], False), x, y, expected)
        for found in pair:
            assert_same(found, expected)


@pytest.mark.parametrize("source", INTEGERS)
def test_integers_round_once(source: str) -> None:
    low, high = dt.integer_range(source)
    near = [(1 << k) + (1 << k >> j) + d for k in range(64) for j in (4, 9, 12) for d in (-1, 0, 1)]
    given = np.array([min(max(sign * n, low), high) for n in near for sign in (1, -1)], source)
    for dtype, pair in results({dtype: f'T.Cast("{dtype}", A[i])' for dtype in NARROW}, source, given).items():
        expected = np.zeros(len(given), dt.numpy_dtype(dtype))
        interpret(elementwise(f'T.Cast("{dtype}", A[i])', source, dtype, False), given, given, expected)
        for found in pair:
            assert_same(found, expected)


@pytest.mark.parametrize("dtype", NARROW)
def test_floats_lose_their_fractions(dtype: str) -> None:
    given = np.array([0, -0.75, 1.5, 3.75, -3.75, 100, -100, 96], dt.numpy_dtype(dtype))
    for name, pair in results({name: f'T.Cast("{name}", A[i])' for name in ("int8", "int64")}, dtype, given).items():
        for found in pair:
            assert_same(found, given.astype("float64").astype(name))


@pytest.mark.parametrize("flags", ["-mno-avx512fp16", "-mno-avx512f", "-mno-avx -mno-f16c"])
def test_machines_without_the_instructions(flags: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CC", f"gcc {flags}")
    if why_no_compiler() is not None:
        pytest.skip("gcc does not know these flags")
    test_ties_round_to_even_once("float16", "float64")
    x = all_values("float16")[::41]
    pair = results({"float16": "A[i] * D[i]"}, "float16", x, x[::-1])["float16"]
    expected = np.zeros(len(x), "float16")
    interpret(elementwise("A[i] * D[i]", "float16", "float16", False), x, x[::-1].copy(), expected)
    for found in pair:
        assert_same(found[: len(x)], expected)


def test_drawn_programs_have_the_bits_of_the_oracle() -> None:
    """bfloat16 and float8 exactly; float16 may be contracted."""
    funcs = {}
    for seed in range(24):
        dtype = NARROW[seed % 4]
        funcs[f"f{seed}"] = program(Random(seed).choice, 3, dtypes=(dtype,), extents=(2, 3, 5, 16, 33))
    module = compile(IRModule(funcs), "cython --num-cores=1")
    compared = sum(assert_backend_matches(f, module[name], trials=1).inputs for name, f in funcs.items())
    assert compared >= 48
