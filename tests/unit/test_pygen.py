"""Generated code: every construct computes the machine's bits, and refused programs are left to the machine."""

from __future__ import annotations

import gc
import weakref
from typing import Any

import numpy as np
import pytest

from mlcref import dtype as dt
from mlcref.errors import OracleError, UnsupportedError
from mlcref.interp import execute, interpret
from mlcref.interp.numeric import intrinsic
from mlcref.interp.pygen import execute_generated, source, statements
from mlcref.interp.pygen_support import Doubt, array_function, ordered, truncate
from mlcref.ir import PrimFunc
from mlcref.script import from_source

HEAD = """
@T.prim_func
def f(A: T.Buffer((40,), "{t}"), B: T.Buffer((40,), "{t}"), I: T.Buffer((40,), "int32"), C: T.Buffer((40,), "{r}")):
    for i in range(40):
        C[i] = {e}
"""

FLOAT_EXPRESSIONS = [
    "A[i] + B[i] * A[i] - B[i]", "A[i] / B[i]", "T.max(A[i], B[i])", "T.min(A[i], B[i])", "T.max(B[i], A[i] * A[i])",
    "T.Select(A[i] < B[i], A[i], A[i] * B[i])", "T.if_then_else(i > 0, A[i - 1], B[i])", "T.exp(A[i])",
    "T.sqrt(A[i])", "T.log(A[i])", "T.tanh(A[i]) + T.sigmoid(B[i])", "A[i] * T.Cast(A.dtype, i * 3)",
    "A[I[i]] + B[39 - i]", "T.if_then_else(I[i] < 20, A[I[i] + 20], B[i])", "A[i // 3] + B[i % 7]",
    "T.Select(T.And(A[i] > B[i], i < 20), A[i], B[i])", "T.abs(A[i])", "T.floor(A[i])",
    "T.if_then_else(i > 3, T.if_then_else(i < 30, A[i - 3], A[i]), B[i])",
]  # fmt: skip
INTEGER_EXPRESSIONS = [
    "A[i] + B[i] * A[i]", "A[i] - B[i]", "T.max(A[i], B[i])", "A[i] // T.Cast(A.dtype, 3)",
    "A[i] % T.Cast(A.dtype, 5)", "T.truncdiv(A[i], T.Cast(A.dtype, 3))", "T.bitwise_and(A[i], B[i])",
    "T.Select(A[i] == B[i], A[i], B[i])", "A[i] * T.Cast(A.dtype, i)", "T.shift_right(A[i], T.Cast(A.dtype, 1))",
    "A[I[i]]",
]  # fmt: skip


def inputs(func: PrimFunc, seed: int) -> list[Any]:
    rng = np.random.default_rng(seed)
    made = []
    for buffer in func.buffers:
        shape = [int(n) for n in buffer.shape]
        if buffer.name == "I":
            made.append(rng.integers(0, 40, shape).astype(np.int32))
        elif dt.is_float(buffer.type):
            values = rng.standard_normal(shape) * rng.choice([1, 1e-3, 1e3], shape)
            special = rng.choice([np.nan, np.inf, -np.inf, 0.0, -0.0], shape)
            made.append(np.where(rng.random(shape) < 0.2, special, values).astype(dt.numpy_dtype(buffer.type)))
        else:
            low, high = dt.integer_range(buffer.type)
            made.append(rng.integers(low, high, shape, endpoint=True, dtype=dt.numpy_dtype(buffer.type)))
    return made


def cells(binding: Any) -> list[list[str]]:
    return [["nan" if c != c else repr(c) for c in slot.view.storage.cells] for slot in binding.slots]


def check(func: PrimFunc, args: list[Any], *, generated: bool = True) -> None:
    """Generated code gives the machine's bits in both forms; with ``generated`` it must not leave it to the machine."""
    try:
        want: Any = cells(execute(func, args, engine="machine"))
    except OracleError:
        want = None
    for arrays in (True, False):
        got = execute_generated(func, args, (), arrays=arrays)
        assert got is not None or not generated
        assert got is None or cells(got) == want


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", "bfloat16"])
@pytest.mark.parametrize("text", FLOAT_EXPRESSIONS)
def test_float_expressions(text: str, dtype: str) -> None:
    func = from_source(HEAD.format(t=dtype, r=dtype, e=text.replace("A.dtype", f'"{dtype}"')))
    refusing = any(name in text for name in ("sqrt", "log", "exp"))  # their guards are left to the machine
    for seed in range(3):
        check(func, inputs(func, seed), generated=not refusing)


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int32", "int64"])
@pytest.mark.parametrize("text", INTEGER_EXPRESSIONS)
def test_integer_expressions(text: str, dtype: str) -> None:
    func = from_source(HEAD.format(t=dtype, r=dtype, e=text.replace("A.dtype", f'"{dtype}"')))
    for seed in range(3):
        check(func, inputs(func, seed))


@pytest.mark.parametrize(
    ("source_type", "target"),
    [("int64", "float32"), ("int32", "float32"), ("float64", "float32"), ("int32", "int8"), ("uint8", "int8"),
     ("float32", "float16"), ("int32", "bool"), ("int64", "bfloat16")],
)  # fmt: skip
def test_conversions(source_type: str, target: str) -> None:
    func = from_source(HEAD.format(t=source_type, r=target, e=f'T.Cast("{target}", A[i])'))
    for seed in range(3):
        check(func, inputs(func, seed))


REFUSED = {
    "division by zero": "C[i] = A[i] // (B[i] - B[i])",
    "float without integer value": 'C[i] = T.Cast("int32", T.Cast("float32", A[i]) / T.float32(0))',
    "out of bounds": "C[i] = A[i + 1]",
    "index that overflows": "C[i * 100000000 // 100000000] = 0",
    "out of bounds by content": "C[i] = A[B[i]]",
    "store out of bounds": "C[i - 1] = 0",
}


@pytest.mark.parametrize("what", REFUSED)
def test_refused_programs_are_left_to_the_machine(what: str) -> None:
    func = from_source(f"""
@T.prim_func
def f(A: T.Buffer((40,), "int32"), B: T.Buffer((40,), "int32"), C: T.Buffer((40,), "int32")):
    for i in range(40):
        {REFUSED[what]}
""")
    args = [np.arange(40, dtype=np.int32) + 1 for _ in range(3)]
    for arrays in (True, False):
        assert execute_generated(func, args, (), arrays=arrays) is None
    before = [a.copy() for a in args]
    texts = []
    for engine in ("machine", "pygen"):
        with pytest.raises(OracleError, match=r"\[") as caught:
            interpret(func, *args, engine=engine)
        texts.append(str(caught.value))
    assert texts[0] == texts[1]
    assert all((a == b).all() for a, b in zip(args, before, strict=True))


def test_undefined_values_are_left_to_the_machine() -> None:
    func = from_source("""
@T.prim_func
def f(A: T.Buffer((2,), "int32")):
    C = T.alloc_buffer((2,), "int32")
    C[1] = C[0] + 1
    A[0] = 5
""")
    a = np.zeros(2, "int32")
    assert execute_generated(func, [a], ()) is None
    interpret(func, a, engine="pygen")
    assert list(a) == [5, 0]


def test_poisoned_output_that_stays_undefined_is_reported() -> None:
    func = from_source("""
@T.prim_func
def f(A: T.Buffer((4,), "float32")):
    for i in range(3):
        A[i] = T.float32(1)
""")
    a = np.zeros(4, "float32")
    with pytest.raises(OracleError, match=r"A\[3\] is never written"):
        interpret(func, a, poison=("A",), engine="pygen")
    assert (a == 0).all()


def test_what_is_not_generated_is_named_and_auto_falls_back() -> None:
    func = from_source("""
@T.prim_func
def f(A: T.Buffer((4,), "float32")):
    for i in range(32):
        for t in T.thread_binding(i // 16 + 3, thread="threadIdx.x"):
            A[t] = A[t] + T.float32(1)
""")
    a = np.zeros(4, "float32")
    with pytest.raises(UnsupportedError, match="a thread axis without constant bounds"):
        interpret(func, a, engine="pygen")
    interpret(func, a)
    assert list(a) == [32, 32, 32, 16]


def test_unknown_engine() -> None:
    func = from_source('@T.prim_func\ndef f(A: T.Buffer((1,), "int32")):\n    A[0] = 1\n')
    with pytest.raises(ValueError, match="engine is one of"):
        interpret(func, np.zeros(1, "int32"), engine="fast")


def test_loops_jumps_scalars_and_symbolic_shapes() -> None:
    func = from_source("""
@T.prim_func
def f(a: T.handle, m: T.int32):
    n = T.int32()
    A = T.match_buffer(a, (n,), "int32")
    for i in range(n):
        if i == 3:
            continue
        if i > m:
            break
        A[i] = A[i] * 2 + m
    for i in range(n):
        for j in range(i):
            A[i] = A[i] + j
    while A[0] < 100:
        A[0] = A[0] + 7
""")
    for n in (1, 5, 9):
        for m in (0, 4, 20):
            check(func, [np.arange(n, dtype=np.int32), m])
    a = np.arange(0, 18, 2, dtype=np.int32)[::-1]
    b = a.copy()
    interpret(func, a, 4, engine="pygen")
    interpret(func, b, 4, engine="machine")
    assert list(a) == list(b)


def test_races_are_found_when_the_program_runs() -> None:
    text = """
@T.prim_func
def f(A: T.Buffer((40,), "int32"), I: T.Buffer((40,), "int32")):
    for i in T.parallel(40):
        A[I[i]] = i
"""
    func = from_source(text)
    a = np.zeros(40, np.int32)
    check(func, [a, np.arange(40, dtype=np.int32)])
    assert execute_generated(func, [a, np.zeros(40, np.int32)], ()) is None


def test_budget_counts_the_statements_of_the_machine() -> None:
    func = from_source("""
@T.prim_func
def f(A: T.Buffer((40,), "int32")):
    for i in range(40):
        A[i] = i
""")
    assert statements(func, ()) == 42
    for engine in ("machine", "auto", "pygen"):
        interpret(func, np.zeros(40, np.int32), max_statements=42, engine=engine)
        with pytest.raises(UnsupportedError, match="budget"):
            interpret(func, np.zeros(40, np.int32), max_statements=41, engine=engine)


def test_source_is_numpy_with_the_script_as_comments() -> None:
    func = from_source("""
@T.prim_func
def f(A: T.Buffer((64,), "float32"), B: T.Buffer((64,), "float32")):
    for i in range(64):
        B[i] = A[i] * T.float32(2)
""")
    text = source(func)
    assert "# for i in range(64):" in text
    assert "B_part[...] = (A_part * number)" in text


def test_source_of_symbolic_shapes_needs_sizes() -> None:
    func = from_source("""
@T.prim_func
def f(a: T.handle):
    n = T.int32()
    A = T.match_buffer(a, (n,), "int32")
    for i in range(n):
        A[i] = i
""")
    with pytest.raises(UnsupportedError, match="depends on n"):
        source(func)
    assert "range(7)" in source(func, sizes={"n": 7})


def test_ordered_reductions_are_sequential() -> None:
    rng = np.random.default_rng(0)
    values = (rng.standard_normal((5, 300)) * 10.0 ** rng.integers(-6, 6, (5, 300))).astype(np.float32)
    for kind, step in (("add", np.add), ("sub", np.subtract)):
        want = np.full(5, 3, np.float32)
        for k in range(300):
            want = step(want, values[:, k])
        assert ordered(kind, np.float32(3), values).tobytes() == want.tobytes()


@pytest.mark.parametrize("kind", ["max", "min"])
def test_ordered_max_keeps_the_second_operand(kind: str) -> None:
    rng = np.random.default_rng(1)
    values = rng.choice(np.array([np.nan, 0.0, -0.0, 1.0, -1.0], np.float32), (200, 6))
    got = ordered(kind, np.float32(-0.0), values)
    for row, result in zip(values, got, strict=True):
        best = np.float32(-0.0)
        for x in row:
            best = best if (best > x if kind == "max" else best < x) else x
        assert repr(float(best)) == repr(float(result))


@pytest.mark.parametrize("name", ["exp", "log", "sqrt", "tanh", "sigmoid"])
def test_array_functions_are_the_table(name: str) -> None:
    rng = np.random.default_rng(2)
    x = np.concatenate([rng.standard_normal(2000) * 30, [0.0, -0.0, np.inf, -np.inf, np.nan, 1e-45, 88.8, -104]])
    x = x.astype(np.float32)
    scalar = intrinsic(name, "float32", "float32")
    want = np.array([scalar(v) for v in x.tolist()], np.float32)
    with np.errstate(all="ignore"):
        got = array_function(name, "float32", "float32")(x)
    assert np.array_equal(got, want, equal_nan=True)


def test_truncate_leaves_doubt() -> None:
    assert truncate(np.array([-2.9, 127.5]), "int8").tolist() == [-2, 127]
    with pytest.raises(Doubt, match=r"^$"):
        truncate(np.array([128.0]), "int8")
    with pytest.raises(Doubt, match=r"^$"):
        truncate(np.array([np.nan]), "int32")


@pytest.mark.parametrize("name", ["view", "exp", "np", "class_", "A_np", "doubt"])
def test_names_of_the_program_do_not_collide(name: str) -> None:
    func = from_source(f"""
@T.prim_func
def {name}(A: T.Buffer((40,), "float32"), range: T.int32, A_w: T.Buffer((40,), "float32")):
    for t in range(40):
        A_w[t] = T.exp(A[t]) + T.Cast("float32", range)
""".replace("in range", "in T.serial"))
    check(func, [np.ones(40, np.float32), 3, np.ones(40, np.float32)])


def test_functions_are_not_kept_alive() -> None:
    kept = []
    for kind in ('T.serial(40)', 'T.thread_binding(40, thread="threadIdx.x")'):
        func = from_source(f"""
@T.prim_func
def f(A: T.Buffer((40,), "float32")):
    for t in {kind}:
        A[t] = A[t] * T.float32(3)
""")
        interpret(func, np.ones(40, np.float32))
        kept.append(weakref.ref(func))
        del func
    gc.collect()
    assert [ref() for ref in kept] == [None, None]
