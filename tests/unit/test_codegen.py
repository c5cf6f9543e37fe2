"""Generated kernels compute what the program says: types, arithmetic, memory, parallel loops, shapes."""

from typing import Any

import numpy as np
import pytest

from mlcref.driver import compile
from mlcref.errors import CallError, UnsupportedError
from mlcref.interp import interpret
from mlcref.ir import IRModule, PrimFunc
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


def agree_all(funcs: list[PrimFunc], *arrays: np.ndarray) -> str:
    """As :func:`agree` for many functions in one module; gives its source. NaNs agree whatever their bits."""
    module = compile(IRModule({f"f{i}": func for i, func in enumerate(funcs)}), "cython --num-cores=2")
    for i, func in enumerate(funcs):
        want, got = ([a.copy() for a in arrays] for _ in range(2))
        interpret(func, *want)
        module[f"f{i}"](*got)
        for x, y in zip(got, want, strict=True):
            np.testing.assert_array_equal(x, y, err_msg=func.script())
            known = ~np.isnan(y) if y.dtype.kind == "f" else np.full(y.shape, True)
            assert x[known].tobytes() == y[known].tobytes(), func.script()
    source: str = module.get_source()
    return source


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


INTEGER_EXPRESSIONS = [
    "A[vi] + B[vi]", "A[vi] - B[vi]", "A[vi] * B[vi]", "A[vi] // B[vi]", "A[vi] % B[vi]", "T.truncdiv(A[vi], B[vi])",
    "T.truncmod(A[vi], B[vi])", "T.max(A[vi], B[vi])", "T.min(A[vi], B[vi])", "T.abs(A[vi])", "A[vi] & B[vi]",
    "T.Select(A[vi] < B[vi], A[vi], B[vi])",
]  # fmt: skip


@pytest.mark.parametrize("dtype", INTEGERS)
def test_integers_wrap_and_divide_as_the_oracle_says(dtype: str) -> None:
    a, b = extremes(dtype)
    agree_all([elementwise(e, dtype, dtype, len(a)) for e in INTEGER_EXPRESSIONS], a, b, np.zeros(len(a), dtype))


SPECIALS = [0.0, -0.0, 1.5, -2.75, np.inf, -np.inf, np.nan, 1e-42, 3e38]


FLOAT_EXPRESSIONS = [
    "A[vi] + B[vi]", "A[vi] * B[vi]", "A[vi] / B[vi]", "T.max(A[vi], B[vi])", "T.min(A[vi], B[vi])", "T.sqrt(A[vi])",
    "T.abs(A[vi])", "T.floor(A[vi])", "T.Select(A[vi] < B[vi], A[vi], B[vi])",
]  # fmt: skip


@pytest.mark.parametrize("dtype", FLOATS)
def test_floats_keep_signed_zeros_and_infinities(dtype: str) -> None:
    pairs = [(a, b) for a in SPECIALS for b in SPECIALS]
    a, b = (np.array(side, dtype) for side in zip(*pairs, strict=True))
    funcs = [elementwise(e, dtype, dtype, len(pairs)) for e in FLOAT_EXPRESSIONS]
    agree_all(funcs, a, b, np.zeros(len(pairs), dtype))


VECTOR_EXPRESSIONS = [
    "T.max(A[vx, vi], B[vx, vi])",
    "T.Select(A[vx, vi] <= B[vx, vi], B[vx, vi], A[vx, vi] - B[vx, vi])",
    "A[vx, vi] * T.float32(2) + B[vx, vi]",
    "T.cast(T.cast(A[vx, vi], 'int32') * 3 + vi, 'float32')",
    "A[vx, vi] - B[vx, 0]",
    "T.if_then_else(A[vx, vi] < B[vx, vi] and not (vi == 2 or B[vx, vi] > T.float32(3)), A[vx, vi], B[vx, vi])",
    "T.if_then_else(vi >= 1, A[vx, vi - 1], T.float32(0)) + T.if_then_else(vx < 2, B[vx, vi], T.float32(7))",
    "T.cast(A[vx, vi] < B[vx, vi], 'float32') + T.abs(A[vx, vi]) * T.floor(B[vx, vi])",
    "T.cast(T.abs(T.cast(A[vx, vi], 'int8')) & T.cast(5, 'int8') ^ T.cast(vi, 'int8'), 'float32')",
    "T.Select(T.isnan(A[vx, vi] / B[vx, vi]), T.float32(1), T.sqrt(T.abs(A[vx, vi])))",
    "T.Select(T.isfinite(A[vx, vi] / B[vx, vi]), T.float32(1), T.Select(T.isinf(A[vx, vi]), T.float32(2), -A[vx, vi]))",
]


@pytest.mark.parametrize("lanes", [2, 3, 7, 16, 40])
def test_vector_loops_agree(lanes: int) -> None:
    text = f"""
def main(a: T.handle, b: T.handle, c: T.handle):
    A = T.match_buffer(a, (5, {lanes}), "float32")
    B = T.match_buffer(b, (5, {lanes}), "float32")
    C = T.match_buffer(c, (5, {lanes}), "float32")
    for i in range(5):
        for j in T.vectorized({lanes}):
            with T.block("C"):
                vx, vi = T.axis.remap("SS", [i, j])
                C[vx, vi] = EXPRESSION
"""
    rng = np.random.default_rng(lanes)
    a, b = (rng.integers(-9, 9, (5, lanes)).astype("float32") for _ in range(2))
    funcs = [read(text.replace("EXPRESSION", expression)) for expression in VECTOR_EXPRESSIONS]
    source = agree_all(funcs, a, b, np.zeros((5, lanes), "float32"))
    assert source.count("<float32x") >= len(funcs)


@pytest.mark.parametrize("source", FLOATS + INTEGERS + ["bool"])
def test_casts_agree(source: str) -> None:
    values = [0, 1] if source == "bool" else [0, 1, 100]
    a = np.array(values, source)
    targets = FLOATS + INTEGERS + ["bool"]
    funcs = {t: elementwise(f'T.cast(A[vi], "{t}")', source, t, len(values)) for t in targets}
    module = compile(IRModule(funcs))
    for target, func in funcs.items():
        want, got = np.zeros(len(values), target), np.zeros(len(values), target)
        interpret(func, a, a.copy(), want)
        module[target](a, a.copy(), got)
        assert got.tobytes() == want.tobytes(), target


def test_negative_floats_truncate_towards_zero() -> None:
    a = np.array([-2.75, -0.5, 2.75], "float32")
    agree(elementwise('T.cast(A[vi], "int8")', "float32", "int8", 3), a, a.copy(), np.zeros(3, "int8"))


@pytest.mark.parametrize(
    ("dtype", "value"),
    [("int64", -(2**63)), ("int64", 2**63 - 1), ("uint64", 2**64 - 1), ("int32", -(2**31)), ("float32", "-inf"),
     ("float64", "nan"), ("float32", "-0.0"), ("float32", "1e-45")],
)  # fmt: skip
def test_constants_of_any_size_arrive(dtype: str, value: object) -> None:
    written = f'T.{dtype}("{value}")' if isinstance(value, str) else f"T.{dtype}({value})"
    agree(elementwise(written, dtype, dtype, 1), *(np.zeros(1, dtype) for _ in range(3)))


def test_loops_on_data_end_as_the_data_says() -> None:
    func = read("""
def main(A: T.Buffer((4,), "int32"), C: T.Buffer((4,), "int32")):
    for i in range(4):
        with T.block("C"):
            vi = T.axis.opaque(4, i)
            C[vi] = 0
            while C[vi] * C[vi] < A[vi]:
                C[vi] = C[vi] + 1
            for k in range(100):
                if k > A[vi]:
                    break
                C[vi] = C[vi] + 1
""")
    agree(func, np.array([0, 1, 17, 90], "int32"), np.zeros(4, "int32"))


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
    assert "+ thread * " in module.get_source()


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


def test_calls_with_an_effect_are_refused() -> None:
    func = read("""
def main(A: T.Buffer((4,), "float32")):
    T.evaluate(T.call_extern("f", 1, dtype="int32"))
""")
    with pytest.raises(UnsupportedError, match=r"call_extern.*codegen\.intrinsic"):
        compile(func)
