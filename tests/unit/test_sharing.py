"""What generated text says once: the text, and that the meaning stays where sharing would be wrong."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from mlcref import compile, interpret
from mlcref.script import from_source

HEAD = "@T.prim_func\ndef main({params}):\n"
ALONE = '    T.func_attr({"tir.noalias": True})\n'
TILE = 'A: T.Buffer((8, 16), "float32"), B: T.Buffer((8, 64), "float32"), C: T.Buffer((8, 64), "float32")'


def run(params: str, body: str, *arrays: np.ndarray[Any, Any]) -> str:
    """The text of the program, which was compiled and agrees with the oracle."""
    lines = "".join(f"    {line}\n" for line in body.strip("\n").splitlines())
    func = from_source(HEAD.format(params=params) + ALONE + lines)
    expected = [array.copy() for array in arrays]
    interpret(func, *expected)
    module = compile(func, "cython --num-cores=2 --vector-bytes=64")
    module(*arrays)
    for array, wanted in zip(arrays, expected, strict=True):
        np.testing.assert_array_equal(array, wanted)
    text: str = module.get_source()
    return text


def tile() -> tuple[np.ndarray[Any, Any], ...]:
    rng = np.random.default_rng(0)
    return tuple(rng.integers(-9, 9, shape).astype("float32") for shape in [(8, 16), (8, 64), (8, 64)])


def test_operands_and_positions_are_said_once() -> None:
    text = run(TILE, """
for i in range(4):
    for k in range(8):
        for r in T.unroll(2):
            for j in T.vectorized(32):
                C[i * 2 + r, j + 32] = C[i * 2 + r, j + 32] + A[i * 2 + r, k] * B[k, j]
""", *tile())  # fmt: skip
    assert text.count("<float32x16*>(B + ") == 2
    assert text.count(" = splat_float32x16(A[") == 2
    assert text.count("cdef int64_t at") >= 1


def test_memory_that_changes_is_loaded_again() -> None:
    text = run(TILE, """
for i in range(8):
    for j in T.vectorized(16):
        C[i, j] = B[i, j] + B[i, j]
    for j in T.vectorized(16):
        B[i, j] = C[i, j] * C[i, j]
    for j in T.vectorized(16):
        C[i, j + 16] = B[i, j] + C[i, j]
    for j in T.vectorized(16):
        C[i, j + 32] = B[i, j] + C[i, j + 16]
""", *tile())  # fmt: skip
    assert "loaded" not in text


def test_parameters_that_may_overlap_are_loaded_again() -> None:
    memory = np.arange(64, dtype="float32")
    func = from_source(HEAD.format(params='A: T.Buffer((32,), "float32"), C: T.Buffer((32,), "float32")') + """
    T.func_attr({"tir.noalias": False})
    for i in range(2):
        for j in T.vectorized(16):
            C[j] = A[j] + A[j]
        for j in T.vectorized(16):
            C[j + 16] = A[j] + A[j]
""")  # fmt: skip
    compile(func, "cython --vector-bytes=64")(memory[:32], memory[:32])
    np.testing.assert_array_equal(memory[:16], 4 * np.arange(16))
    np.testing.assert_array_equal(memory[16:32], 8 * np.arange(16))


def test_positions_wait_for_their_guard() -> None:
    params = 'n: T.int64, A: T.Buffer((64,), "float32"), C: T.Buffer((64,), "float32")'
    func = from_source(HEAD.format(params=params) + """
    for i in T.serial(T.int64(64)):
        if n > T.int64(0):
            C[i // n + i + T.int64(3)] = A[i // n + i + T.int64(1)] + A[i // n + i + T.int64(2)]
            C[i // n + i + T.int64(4)] = A[i // n + i + T.int64(5)]
        C[i] = A[i]
""")  # fmt: skip
    a, c = np.arange(64, dtype="float32"), np.zeros(64, "float32")
    module = compile(func, "cython")
    module(0, a, c)
    np.testing.assert_array_equal(c, a)
    assert "at = " not in module.get_source()  # a C compiler may put the division back, but need not


def test_positions_of_variables_bound_inside() -> None:
    run('A: T.Buffer((8, 64), "float32"), C: T.Buffer((8, 64), "float32")', """
for i in range(8):
    C[i, 0] = A[i, 0]
    if i > 2:
        k = T.bind(T.Cast("int32", A[i, 0]) * 0 + i)
        C[k, i + 1] = A[k, i + 1] + A[k, i + 2] + A[k, i + 3]
        C[k, i + 2] = A[k, i + 4]
    for j in range(8):
        C[i, j + 8] = A[i, j + 8] + A[i, j + 9] + C[i, j + 8]
        C[i, j + 32] = A[i, j + 33]
""", np.arange(512, dtype="float32").reshape(8, 64), np.zeros((8, 64), "float32"))  # fmt: skip


@pytest.mark.parametrize("offset", [-3, 0, 2])
def test_negative_offsets(offset: int) -> None:
    text = run('A: T.Buffer((9, 16), "float32"), C: T.Buffer((9, 16), "float32")', f"""
for i, j in T.grid(6, 8):
    C[i + 2, j + 4] = A[i + 3, j + {offset + 4}] + A[i + 1, j + 3]
    C[i + 1, j + 3] = A[i + 2, j + 5] * T.float32(2)
""", np.arange(144, dtype="float32").reshape(9, 16), np.zeros((9, 16), "float32"))  # fmt: skip
    assert "at = i * 16 + j" in text


def test_elements_of_buffers_without_dimensions() -> None:
    text = run('S: T.Buffer((), "float32"), C: T.Buffer((32,), "float32")', """
for j in T.vectorized(16):
    C[j] = S[()] + C[j]
for j in T.vectorized(16):
    C[j + 16] = S[()] * C[j + 16]
""", np.full((), 3, "float32"), np.arange(32, dtype="float32"))  # fmt: skip
    assert text.count(" = splat_float32x16(") == 1


def test_a_condition_is_asked_once() -> None:
    a, b = np.arange(8, dtype="float32"), np.zeros(8, "float32")
    text = run('A: T.Buffer((8,), "float32"), B: T.Buffer((8,), "float32")', """
for i in range(8):
    if i < 3:
        B[i] = A[i]
    if i < 3:
        A[i] = T.float32(7)
    if i < 3:
        B[i] = B[i] + A[i]
    if i < 4:
        A[i] = A[i] + T.float32(1)
    else:
        A[i] = A[i] + T.float32(2)
    if i < 4:
        A[i] = A[i] * T.float32(2)
""", a, b)  # fmt: skip
    code = [line for line in text.splitlines() if not line.startswith("#")]
    assert [line.strip() for line in code if " if i < " in line] == ["if i < 3:", "if i < 4:", "if i < 4:"]


def test_a_condition_on_memory_is_asked_again() -> None:
    a = np.arange(8, dtype="float32")
    text = run('A: T.Buffer((8,), "float32")', """
for i in range(8):
    if A[i] < T.float32(3):
        A[i] = A[i] + T.float32(2)
    if A[i] < T.float32(3):
        A[i] = A[i] + T.float32(2)
""", a)  # fmt: skip
    assert len([line for line in text.splitlines() if " if A[i] <" in line and not line.startswith("#")]) == 2
