"""Generated kernels compute what the program says: types, arithmetic, memory, parallel loops, shapes."""

from typing import Any

import numpy as np
import pytest

from mlcref.driver import compile
from mlcref.errors import CallError, UnsupportedError
from mlcref.interp import interpret
from mlcref.ir import PrimFunc
from mlcref.runtime import why_no_compiler
from mlcref.script import from_source

pytestmark = pytest.mark.skipif(why_no_compiler() is not None, reason="no C compiler")
HEAD = "from mlcref.script import tir as T\n@T.prim_func\n"
INTEGERS = ["int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"]
FLOATS = ["float32", "float64"]


def read(text: str) -> PrimFunc:
    func = from_source(HEAD + text)
    assert isinstance(func, PrimFunc)
    return func


def agree(func: PrimFunc, *arrays: Any, target: str = "cython --num-cores=2") -> None:
    """The oracle and the compiled kernel leave the same bits in every array."""
    want = [a.copy() if isinstance(a, np.ndarray) else a for a in arrays]
    got = [a.copy() if isinstance(a, np.ndarray) else a for a in arrays]
    interpret(func, *want)
    compile(func, target)(*got)
    for i, (x, y) in enumerate(zip(got, want, strict=True)):
        assert not isinstance(x, np.ndarray) or x.tobytes() == y.tobytes(), f"parameter {i}: {x} instead of {y}"


def elementwise(expression: str, dtype: str, result: str, count: int) -> PrimFunc:
    return read(f"""
def main(A: T.Buffer(({count},), "{dtype}"), B: T.Buffer(({count},), "{dtype}"), C: T.Buffer(({count},), "{result}")):
    for i in range({count}):
        with T.block("C"):
            vi = T.axis.spatial({count}, i)
            C[vi] = {expression}
""")


def extremes(dtype: str) -> tuple[np.ndarray, np.ndarray]:
    """Pairs of every interesting value with every divisor other than 0 (and without the overflowing quotient)."""
    info = np.iinfo(dtype)
    values = sorted({info.min, info.min + 1, info.max, 0, 1, 7, max(-7, info.min), max(-1, info.min), 100})
    pairs = [(a, b) for a in values for b in values if b != 0 and not (a == info.min and b == -1)]
    a, b = zip(*pairs, strict=True)
    return np.array(a, dtype), np.array(b, dtype)


@pytest.mark.parametrize("dtype", INTEGERS)
@pytest.mark.parametrize(
    "expression",
    [
        "A[vi] + B[vi]", "A[vi] - B[vi]", "A[vi] * B[vi]", "A[vi] // B[vi]", "A[vi] % B[vi]",
        "T.truncdiv(A[vi], B[vi])",
        "T.truncmod(A[vi], B[vi])", "T.max(A[vi], B[vi])", "T.min(A[vi], B[vi])", "T.abs(A[vi])", "A[vi] & B[vi]",
        "T.Select(A[vi] < B[vi], A[vi], B[vi])",
    ],
)  # fmt: skip
def test_integers_wrap_and_divide_as_the_oracle_says(dtype: str, expression: str) -> None:
    a, b = extremes(dtype)
    agree(elementwise(expression, dtype, dtype, len(a)), a, b, np.zeros(len(a), dtype))


SPECIALS = [0.0, -0.0, 1.5, -2.75, np.inf, -np.inf, np.nan, 1e-42, 3e38]


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize(
    "expression",
    ["A[vi] + B[vi]", "A[vi] * B[vi]", "A[vi] / B[vi]", "T.max(A[vi], B[vi])", "T.min(A[vi], B[vi])", "T.sqrt(A[vi])",
     "T.abs(A[vi])", "T.floor(A[vi])", "T.Select(A[vi] < B[vi], A[vi], B[vi])"],
)  # fmt: skip
def test_floats_keep_signed_zeros_and_infinities(dtype: str, expression: str) -> None:
    pairs = [(a, b) for a in SPECIALS for b in SPECIALS]
    a, b = (np.array(side, dtype) for side in zip(*pairs, strict=True))
    func = elementwise(expression, dtype, dtype, len(pairs))
    want, got = np.zeros(len(pairs), dtype), np.zeros(len(pairs), dtype)
    interpret(func, a, b, want)
    compile(func)(a, b, got)
    np.testing.assert_array_equal(got, want)
    known = ~np.isnan(want)
    assert np.array_equal(np.signbit(got[known]), np.signbit(want[known]))


@pytest.mark.parametrize("lanes", [2, 3, 4, 7, 16, 40])
@pytest.mark.parametrize(
    "expression",
    [
        "T.max(A[vi], B[vi])",
        "T.Select(A[vi] <= B[vi], B[vi], A[vi] - B[vi])",
        "A[vi] * T.float32(2) + B[vi]",
        "T.cast(T.cast(A[vi], 'int32') * 3, 'float32')",
    ],
)
def test_vector_loops_agree(lanes: int, expression: str) -> None:
    func = read(f"""
def main(A: T.Buffer((5, {lanes}), "float32"), B: T.Buffer((5, {lanes}), "float32"), C: T.Buffer((5, {lanes}),
"float32")):
    for i in range(5):
        for j in T.vectorized({lanes}):
            with T.block("C"):
                vx, vi0 = T.axis.remap("SS", [i, j])
                C[vx, vi0] = {expression.replace("[vi]", "[vx, vi0]")}
""")
    rng = np.random.default_rng(lanes)
    a, b = (rng.integers(-9, 9, (5, lanes)).astype("float32") for _ in range(2))
    agree(func, a, b, np.zeros((5, lanes), "float32"))
    assert "float32x" in compile(func).get_source()


@pytest.mark.parametrize("source", FLOATS + INTEGERS + ["bool"])
@pytest.mark.parametrize("target", FLOATS + INTEGERS + ["bool"])
def test_casts_agree(source: str, target: str) -> None:
    values = [0, 1] if source == "bool" else [0, 1, 100] if source[0] == "u" or target[0] == "u" else [-3, 0, 1, 100]
    a = np.array(values, source)
    func = elementwise(f'T.cast(A[vi], "{target}")', source, target, len(values))
    agree(func, a, a.copy(), np.zeros(len(values), target))


def test_conditional_expressions_load_from_one_side_only() -> None:
    func = read("""
def main(A: T.Buffer((4,), "float32"), C: T.Buffer((8,), "float32")):
    for i in range(8):
        with T.block("C"):
            vi = T.axis.spatial(8, i)
            C[vi] = T.if_then_else(2 <= vi and vi < 6, A[vi - 2], T.float32(-1))
""")
    agree(func, np.arange(4, dtype="float32"), np.zeros(8, "float32"))


def test_private_memory_of_parallel_iterations_is_apart() -> None:
    func = read("""
def main(A: T.Buffer((8, 9000), "float32"), C: T.Buffer((8, 9000), "float32")):
    for i in T.parallel(8):
        with T.block("row"):
            vi = T.axis.spatial(8, i)
            X = T.alloc_buffer((9000,), "float32")
            for j in range(9000):
                with T.block("X"):
                    vj = T.axis.spatial(9000, j)
                    X[vj] = A[vi, vj] * T.float32(2)
            for j in range(9000):
                with T.block("C"):
                    vj = T.axis.spatial(9000, j)
                    C[vi, vj] = X[8999 - vj] + T.float32(1)
""")
    a, c = np.arange(72000, dtype="float32").reshape(8, 9000), np.zeros((8, 9000), "float32")
    module = compile(func, "cython --num-cores=2")
    for _ in range(5):
        module(a, c)
        np.testing.assert_array_equal(c, 2 * a[:, ::-1] + 1)
    assert "threadid()" in module.get_source()


def test_symbolic_shapes_and_scalars_come_with_the_call() -> None:
    func = read("""
def main(a: T.handle, s: T.float32, k: T.int32, c: T.handle):
    n, m = T.int64(), T.int64()
    A = T.match_buffer(a, (n, m), "float32")
    C = T.match_buffer(c, (m, n), "float32")
    X = T.alloc_buffer((m, n), "float32")
    for i, j in T.grid(m, n):
        with T.block("X"):
            vi, vj = T.axis.remap("SS", [i, j])
            X[vi, vj] = A[vj, vi] * s
    for i, j in T.grid(m, n):
        with T.block("C"):
            vi, vj = T.axis.remap("SS", [i, j])
            C[vi, vj] = X[vi, n - 1 - vj] + T.cast(k, "float32")
""")
    module = compile(func)
    for n, m in [(1, 1), (3, 5), (0, 4)]:
        a, c = np.arange(n * m, dtype="float32").reshape(n, m), np.full((m, n), -1, "float32")
        module(a, 2.0, 3, c)
        np.testing.assert_array_equal(c, 2 * a.T[:, ::-1] + 3)
    with pytest.raises(CallError, match="already"):
        module(np.zeros((2, 3), "float32"), 1.0, 1, np.zeros((2, 2), "float32"))


def test_integer_arithmetic_on_loop_variables_wraps_in_values_and_is_exact_in_indices() -> None:
    func = read("""
def main(C: T.Buffer((40000,), "int32")):
    for i in range(40000):
        with T.block("C"):
            vi = T.axis.spatial(40000, i)
            C[vi] = vi * vi * 3
""")
    i = np.arange(40000, dtype="int64")
    c = np.zeros(40000, "int32")
    compile(func)(c)
    np.testing.assert_array_equal(c, (i * i * 3).astype("int32"))


@pytest.mark.parametrize("name", ["lambda", "int", "cdef", "args", "float", "i_0", "main_body"])
def test_any_name_can_be_a_parameter(name: str) -> None:
    from mlcref.ir import Attrs, BlockRealize, Buffer, Var, const, loop, make_block, store

    i, buffer = Var(name), Buffer(name, (const(3),))
    body = loop(i, 3, store(buffer, buffer[i] + 1.0, [i]))
    func = PrimFunc((buffer,), BlockRealize((), (), make_block("root", body)), Attrs({"global_symbol": name}))
    x = np.zeros(3, "float32")
    compile(func)[name](x)
    assert x.tolist() == [1, 1, 1]


def test_half_precision_is_refused_not_computed_wrong() -> None:
    func = elementwise("A[vi] + B[vi]", "float16", "float16", 4)
    with pytest.raises(UnsupportedError, match=r"float16.*codegen\.dtype"):
        compile(func)


def test_calls_with_an_effect_are_refused() -> None:
    func = read("""
def main(A: T.Buffer((4,), "float32")):
    T.evaluate(T.call_extern("f", 1, dtype="int32"))
""")
    with pytest.raises(UnsupportedError, match=r"call_extern.*codegen\.intrinsic"):
        compile(func)
