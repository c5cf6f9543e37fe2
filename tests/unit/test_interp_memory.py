"""Memory in the oracle: what is defined, where allocations live, which names share elements."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
import pytest

from mlcref.errors import CallError, OracleError, UnsupportedError
from mlcref.interp import interpret
from mlcref.script import tir as T


def floats(*shape: int) -> Any:
    return np.arange(np.prod(shape), dtype="float32").reshape(shape)


def test_undefined_values_pass_through_copies_and_arithmetic() -> None:
    @T.prim_func
    def f(A: T.Buffer((2,), "float32")):
        C = T.alloc_buffer((2,), "float32")
        D = T.alloc_buffer((2,), "float32")
        D[0] = T.exp(C[0] + T.float32(1))
        D[1] = T.Select(A[0] > T.float32(100), D[0], A[0])
        A[1] = D[1]

    a = np.array([5, 0], "float32")
    interpret(f, a)
    assert a[1] == 5


@pytest.mark.parametrize("value", ["A[I[0]]", "T.if_then_else(I[0] > 0, A[0], A[1])"])
def test_undefined_indices_and_conditions_are_refused(value: str) -> None:
    from mlcref.script import from_source

    f = from_source(f"""
@T.prim_func
def f(A: T.Buffer((2,), "float32")):
    I = T.alloc_buffer((1,), "int32")
    A[1] = {value}
""")
    with pytest.raises(OracleError, match=r"I\[0\] was never written, and its value decides (an index|a condition)"):
        interpret(f, floats(2))


def test_the_report_names_the_first_load_not_the_place_of_use() -> None:
    @T.prim_func
    def f(A: T.Buffer((3,), "float32")):
        C = T.alloc_buffer((3,), "int32")
        D = T.alloc_buffer((3,), "int32")
        for i in range(3):
            D[i] = C[i] + 1
        for j in range(3):
            if D[j] > 0:
                A[j] = T.float32(0)

    with pytest.raises(OracleError, match=r"C\[0\] was never written.*at j=0(.|\n)*no value yet at i=0"):
        interpret(f, floats(3))


def test_negative_indices_are_out_of_bounds() -> None:
    @T.prim_func
    def f(A: T.Buffer((2, 2), "float32")):
        for i in range(2):
            A[1, 0 - i] = T.float32(0)

    with pytest.raises(OracleError, match=r"A\[1, -1\] is out of bounds: index -1 of dimension 1"):
        interpret(f, floats(2, 2))


def test_an_allocation_outlives_the_loops_of_its_reduction() -> None:
    @T.prim_func
    def f(A: T.Buffer((2, 4), "float32"), B: T.Buffer((2,), "float32")):
        C = T.alloc_buffer((2,), "float32")
        for i, k in T.grid(2, 4):
            with T.block("C"):
                vi, vk = T.axis.remap("SR", [i, k])
                with T.init():
                    C[vi] = T.float32(0)
                C[vi] = C[vi] + A[vi, vk]
            with T.block("B"):
                vi, vk = T.axis.remap("SR", [i, k])
                B[vi] = C[vi]

    b = np.zeros(2, "float32")
    interpret(f, floats(2, 4), b)
    assert list(b) == [6, 22]


def test_an_allocation_is_forgotten_where_its_uses_begin_again() -> None:
    @T.prim_func
    def f(A: T.Buffer((4,), "float32"), B: T.Buffer((4,), "float32")):
        C = T.alloc_buffer((4,), "float32")
        for i in range(4):
            with T.block("C"):
                vi = T.axis.spatial(4, i)
                T.where(i < 1)
                C[vi] = A[vi]
            with T.block("B"):
                vi = T.axis.spatial(4, i)
                B[vi] = C[0]

    with pytest.raises(OracleError, match=r"B\[1\] is undefined in the end: it comes from C\[0\], loaded at i=1"):
        interpret(f, floats(4), floats(4))


def test_matched_regions_bind_strides_and_offset() -> None:
    @T.prim_func(check_well_formed=False)
    def f(A: T.Buffer((4, 6), "float32"), B: T.Buffer((4, 2), "int32")):
        for i in range(4):
            with T.block("B"):
                vi = T.axis.spatial(4, i)
                T.reads(A[vi, 2:5])
                T.writes(B[vi, 0:2], A[vi, 2:5])
                s = T.int32()
                e = T.int32()
                R = T.match_buffer(A[vi, 2:5], (3,), "float32", strides=[s], elem_offset=e)
                B[vi, 0] = s
                B[vi, 1] = e
                R[2] = T.float32(-1)

    a, b = floats(4, 6), np.zeros((4, 2), "int32")
    interpret(f, a, b)
    assert b.tolist() == [[1, 2], [1, 8], [1, 14], [1, 20]]
    assert (a[:, 4] == -1).all()


def test_a_matched_region_must_lie_in_its_source() -> None:
    @T.prim_func
    def f(A: T.Buffer((4,), "float32")):
        for i in range(4):
            with T.block("A"):
                vi = T.axis.spatial(4, i)
                T.reads()
                T.writes(A[vi : vi + 2])
                R = T.match_buffer(A[vi : vi + 2], (2,), "float32")
                R[0] = T.float32(0)

    with pytest.raises(OracleError, match=r"R matches A\[3:5\], which is out of bounds"):
        interpret(f, floats(4))


def test_nothing_is_written_when_the_run_fails() -> None:
    @T.prim_func
    def f(A: T.Buffer((4,), "float32"), B: T.Buffer((2,), "float32")):
        for i in range(4):
            A[i] = T.float32(9)
            B[i] = T.float32(9)

    a, b = floats(4), floats(2)
    with pytest.raises(OracleError, match=r"B\[2\] is out of bounds"):
        interpret(f, a, b)
    assert (a == floats(4)).all()
    assert (b == floats(2)).all()


def test_untouched_elements_keep_their_bits() -> None:
    @T.prim_func
    def f(A: T.Buffer((2,), "float32")):
        A[0] = A[1]

    a = np.array([0x7FC00001, 0x7F800123], "uint32").view("float32")
    interpret(f, a)
    assert a.view("uint32")[1] == 0x7F800123


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float64", "int8", "uint64", "bool"])
def test_arrays_of_every_type(dtype: str) -> None:
    from mlcref.script import from_source

    f = from_source(f"""
@T.prim_func
def f(A: T.Buffer((2,), "{dtype}"), B: T.Buffer((2,), "{dtype}")):
    for i in range(2):
        B[i] = A[1 - i]
""")
    numpy_type = ml_dtypes.bfloat16 if dtype == "bfloat16" else dtype
    a, b = np.array([1, 0]).astype(numpy_type), np.zeros(2, numpy_type)
    if dtype == "uint64":
        a[0] = 2**64 - 1
    interpret(f, a, b)
    assert b[1] == a[0]
    assert b[0] == a[1]


def test_transposed_and_reversed_arrays() -> None:
    @T.prim_func
    def f(A: T.Buffer((2, 3), "float32"), B: T.Buffer((2, 3), "float32")):
        for i, j in T.grid(2, 3):
            B[i, j] = A[i, j] + T.float32(1)

    a, b = floats(3, 2).T[:, ::-1], np.zeros((3, 2), "float32")
    interpret(f, a, b.T)
    assert (b.T == a + 1).all()


def test_declared_strides_must_be_the_strides_of_the_array() -> None:
    @T.prim_func
    def f(a: T.handle):
        s = T.int64()
        A = T.match_buffer(a, (2, 2), "float32", strides=[s, 1])
        A[1, 0] = T.Cast("float32", s)

    a = floats(2, 8)
    interpret(f, a[:, :2])
    assert a[1, 0] == 8
    with pytest.raises(CallError, match=r"A must have the strides \[2, 1\], got \[1, 2\]"):
        interpret(strided(), floats(2, 2).T)


def strided() -> Any:
    @T.prim_func
    def f(a: T.handle):
        A = T.match_buffer(a, (2, 2), "float32", strides=[2, 1])
        A[1, 0] = T.float32(0)

    return f


def test_zero_dimensions_and_empty_arrays() -> None:
    @T.prim_func
    def f(A: T.Buffer((), "float32"), b: T.handle):
        n = T.int64()
        B = T.match_buffer(b, (n, 2), "float32")
        A[()] = A[()] + T.float32(1)
        for i in range(n):
            B[i, 0] = A[()]

    a = np.array(1, "float32")
    interpret(f, a, np.zeros((0, 2), "float32"))
    assert a == 2


def test_one_array_twice_is_one_memory_without_noalias() -> None:
    @T.prim_func
    def f(A: T.Buffer((2,), "float32"), B: T.Buffer((2,), "float32")):
        A[0] = T.float32(5)
        B[1] = A[0] + B[0]

    a = floats(2)
    interpret(f, a, a)
    assert list(a) == [5, 10]
    with pytest.raises(UnsupportedError, match="overlap in part"):
        interpret(f, (whole := floats(3))[:2], whole[1:])


class Tensor:
    """Memory that numpy can look at, as the runtime's arrays are."""

    def __init__(self, array: Any) -> None:
        self.inside = array

    def __array__(self, dtype: Any = None, copy: Any = None) -> Any:
        return self.inside


class Copied(Tensor):
    """Memory of which numpy only gets copies."""

    def __array__(self, dtype: Any = None, copy: Any = None) -> Any:
        return self.inside.copy()

    def copyfrom(self, array: Any) -> None:
        self.inside[...] = array


@pytest.mark.parametrize("kind", [Tensor, Copied])
def test_results_reach_objects_that_hold_arrays(kind: Any) -> None:
    @T.prim_func
    def f(A: T.Buffer((2,), "float32")):
        A[0] = T.float32(7)

    a = kind(floats(2))
    interpret(f, a)
    assert list(a.inside) == [7, 1]
