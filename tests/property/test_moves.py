"""Programs that only move elements, as constants are folded: numpy gives the bits that the oracle gives, or nothing."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlcref import dtype as dt
from mlcref import interpret, te
from mlcref.ir import PrimFunc
from mlcref.relax.moving import moved
from mlcref.schedule import Schedule
from mlcref.script import from_source

quick = settings(max_examples=60, deadline=None)
DTYPES = ("float32", "float64", "float16", "bfloat16", "int8", "int32", "bool")
CASTS = (
    ("float32", "float16"), ("float64", "float16"), ("float64", "float32"), ("float32", "bfloat16"),
    ("float16", "float32"), ("bfloat16", "float32"), ("int8", "int32"), ("uint8", "float32"),
)  # fmt: skip


def elements(shape: tuple[int, ...], dtype: str, seed: int, finite: bool = False) -> np.ndarray[Any, Any]:
    """Numbers of all magnitudes, and what is special about floats."""
    rng = np.random.default_rng(seed)
    if not dt.is_float(dtype):
        return rng.integers(0, 2 if dtype == "bool" else 100, shape).astype(dt.numpy_dtype(dtype))
    values = rng.standard_normal(shape) * 2.0 ** rng.integers(-30, 12, shape)
    special = [0.0, -0.0, 1.0] if finite else [np.nan, np.inf, -np.inf, -0.0]
    values[rng.random(shape) < 0.2] = rng.choice(special)
    return values.astype(dt.numpy_dtype(dtype))


def in_the_oracle(program: PrimFunc, arrays: list[np.ndarray[Any, Any]]) -> np.ndarray[Any, Any]:
    output = program.buffers[-1]
    result = np.zeros([int(n) for n in output.shape], dt.numpy_dtype(output.type))  # type: ignore[call-overload]
    interpret(program, *arrays, result, poison=(output.name,))
    return result


def agree(program: PrimFunc, arrays: list[np.ndarray[Any, Any]]) -> None:
    found = moved(program, arrays)
    assert found is not None
    expected = in_the_oracle(program, arrays)
    assert (found.dtype, found.shape, found.tobytes()) == (expected.dtype, expected.shape, expected.tobytes())


@st.composite
def moves(draw: Any) -> tuple[PrimFunc, list[np.ndarray[Any, Any]]]:
    """A layout, padding, slice or joining of a matrix, or two of these, with loops in some order."""
    dtype = draw(st.sampled_from(DTYPES))
    rows, columns = draw(st.integers(1, 7)), draw(st.integers(1, 9))
    A, B = te.placeholder((rows, columns), dtype, name="A"), te.placeholder((rows, columns), dtype, name="B")
    tile, pad = draw(st.integers(1, 5)), draw(st.integers(0, 3))
    tiles = -(-columns // tile)
    zero = te.const(0, dtype)

    def element(tensor: Any, i: Any, j: Any) -> Any:
        inside = te.all(i >= 0, i < tensor.shape[0], j >= 0, j < tensor.shape[1])
        return te.if_then_else(inside, tensor[i, j], zero)

    kind = draw(st.sampled_from(["turn", "pack", "pad", "join", "slice", "nested"]))
    made = {
        "turn": lambda: te.compute((columns, rows), lambda i, j: A[j, columns - 1 - i], name="C"),
        "pack": lambda: te.compute((tiles, rows, tile), lambda t, i, j: element(A, i, t * tile + j), name="C"),
        "pad": lambda: te.compute((rows + pad, columns + 2), lambda i, j: element(A, i - pad, j - 1), name="C"),
        "join": lambda: te.compute(
            (rows, columns * 2), lambda i, j: te.if_then_else(j < columns, A[i, j], B[i, j - columns]), name="C"),
        "slice": lambda: te.compute(
            (rows, tiles), lambda i, j: A[i, te.min(j * tile, columns - 1)], name="C"),
        "nested": lambda: te.compute(
            (rows, columns + tile), lambda i, j: te.if_then_else(
                j < columns, te.if_then_else(te.any(i % 2 == 0, j // 2 == 1), A[i, j], B[i, j]), zero), name="C"),
    }[kind]()  # fmt: skip
    C = made
    if draw(st.booleans()):
        shape = C.shape
        C = te.compute((*shape[1:], shape[0]), lambda *i: made(i[-1], *i[:-1]), name="D")
    sch = Schedule(te.create_prim_func([A, B, C]))
    loops = sch.get_loops(sch.get_block(C.op.name))
    if draw(st.booleans()):
        loops = [loops[-1], *loops[:-1]]
        sch.reorder(*loops)
    extent = int(sch.get(loops[0]).extent)  # type: ignore[call-overload, union-attr]
    sch.split(loops[0], [None, draw(st.sampled_from([n for n in (1, 2, 3, 5, 7) if extent % n == 0]))])
    if draw(st.booleans()):
        sch.parallel(sch.get_loops(sch.get_block(C.op.name))[0])
    seed = draw(st.integers(0, 99))
    return sch.mod["main"], [elements((rows, columns), dtype, seed + k) for k in range(2)]


@quick
@given(case=moves())
def test_moves_give_the_bits_of_the_oracle(case: Any) -> None:
    agree(*case)


@pytest.mark.parametrize(("source", "target"), CASTS)
def test_conversions_give_the_bits_of_the_oracle(source: str, target: str) -> None:
    A = te.placeholder((40, 9), source, name="A")
    program = te.create_prim_func([A, te.compute((9, 40), lambda i, j: A[j, i].astype(target), name="B")])
    agree(program, [elements((40, 9), source, seed=3, finite=True)])


@pytest.mark.parametrize("special", [np.nan, np.inf, 1e30])
def test_conversions_of_what_stays_no_finite_number_are_left_to_the_oracle(special: float) -> None:
    A = te.placeholder((2,), name="A")
    program = te.create_prim_func([A, te.compute((2,), lambda i: A[i].astype("float16"), name="B")])
    assert moved(program, [np.array([1, special], "float32")]) is None


LEFT_TO_THE_ORACLE = {
    "computes": "B[v] = A[v] + T.int32(1)",
    "out of bounds": "B[v] = A[v + 1]",
    "writes an element twice": "B[v // 2] = A[v]",
    "leaves an element": "B[T.max(v, 1)] = A[v]",
    "writes out of bounds": "B[v + 1] = A[v]",
    "an index that was loaded": "B[v] = A[A[v]]",
    "a branch out of bounds": "B[v] = T.if_then_else(v < 3, A[v], A[v + 1])",
    "both sides are evaluated": "B[v] = T.Select(v < 3, A[v + 1], 0)",
    "reads what it writes": "B[v] = T.if_then_else(v < 4, A[v], B[v])",
}


def of_four(statement: str, extent: int = 4, binding: str = "T.axis.spatial(4, i)", where: str = "") -> PrimFunc:
    found = from_source(f"""
@T.prim_func
def main(A: T.Buffer((4,), "int32"), B: T.Buffer((4,), "int32")):
    for i in range({extent}):
        with T.block("B"):
            v = {binding}
            {where or "T.reads(A[0:4])"}
            {statement}
""")
    assert isinstance(found, PrimFunc)
    return found


def test_a_plain_copy_is_known() -> None:
    agree(of_four("B[v] = A[v]"), [np.arange(4, dtype="int32")])


def program(body: str) -> PrimFunc:
    """A program of blocks over 4 elements: ``C`` is allocated."""
    lines = "\n".join(f"    {line}" for line in body.strip().splitlines())
    found = from_source(f"""
@T.prim_func
def main(A: T.Buffer((4,), "int32"), B: T.Buffer((4,), "int32")):
    C = T.alloc_buffer((4,), "int32")
{lines}
""")
    assert isinstance(found, PrimFunc)
    return found


def nest(statement: str, extent: int = 4) -> str:
    return f"""for i in range({extent}):
    with T.block("x"):
        v = T.axis.spatial({extent}, i)
        {statement}
"""


def test_one_nest_after_the_other() -> None:
    """Whole tensors on the way, remainders of negative numbers, comparisons with equality."""
    array = np.array([5, 6, 7, 8], "int32")
    agree(program(nest("C[v] = A[(v - 3) % 4]") + nest("B[v] = T.if_then_else(v <= 1, C[3 - v], A[v])")), [array])
    agree(program(nest("B[v] = A[v]") + nest("B[v] = T.if_then_else(v >= 2, A[0], A[v // 2])")), [array])
    agree(program(nest("B[v] = A[v]") + nest("B[v] = A[3 - v]", 2)), [array])


@pytest.mark.parametrize(
    "body",
    [
        nest("C[v] = A[v]", 3) + nest("B[v] = C[v]"),
        nest("B[v] = A[v]") + nest("B[v] = B[3 - v]"),
        nest("A[v] = 0") + nest("B[v] = A[v]"),
        nest("B[v % 4] = A[v // 2]", 8),
        nest("T.reads()\n        with T.init():\n            B[v] = 1\n        B[v] = A[v]"),
    ],
    ids=["part of a tensor", "in place", "an input", "twice", "an init"],
)
def test_what_depends_on_an_order_is_left_to_the_oracle(body: str) -> None:
    assert moved(program(body), [np.arange(4, dtype="int32")]) is None


def test_other_conversions_are_left_to_the_oracle() -> None:
    A = te.placeholder((2,), name="A")
    converted = te.create_prim_func([A, te.compute((2,), lambda i: A[i].astype("int32"), name="B")])
    assert moved(converted, [np.array([1.5, -1.5], "float32")]) is None


@pytest.mark.parametrize("statement", LEFT_TO_THE_ORACLE.values(), ids=LEFT_TO_THE_ORACLE)
def test_other_programs_are_left_to_the_oracle(statement: str) -> None:
    assert moved(of_four(statement), [np.arange(4, dtype="int32")]) is None


@pytest.mark.filterwarnings("ignore::mlcref.errors.ScriptWarning")
def test_blocks_that_say_more_are_left_to_the_oracle() -> None:
    array = [np.arange(4, dtype="int32")]
    assert moved(of_four("B[v] = A[v]", 3), array) is None
    assert moved(of_four("B[v] = A[v]", where="T.where(i < 4)"), array) is None
    assert moved(of_four("B[v] = A[v]", 4, "T.axis.spatial(3, i)"), array) is None
    assert moved(of_four("B[v] = A[v]", 4, "T.axis.reduce(4, i)"), array) is None
    assert moved(of_four("B[v] = A[v]"), [np.arange(4, dtype="int64")]) is None
    assert moved(of_four("B[v] = A[v]"), [np.arange(5, dtype="int32")]) is None
