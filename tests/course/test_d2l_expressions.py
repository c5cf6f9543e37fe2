"""The chapter *Expressions* of "Dive into Deep Learning Compiler", in our own words: data types, shapes, index
expressions, reductions, conditions. Each program is scheduled by default, built and run beside numpy.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import mlcref as tvm
from mlcref import te
from tests.course.marks import blocks_of

vector_add_page = blocks_of("vector_add")
data_types = blocks_of("data_types")
shapes = blocks_of("shapes")
index_shape = blocks_of("index_shape")
reductions = blocks_of("reductions")
if_then_else = blocks_of("if_then_else")
all_any = blocks_of("all_any")

Array = np.ndarray[Any, Any]


def built(args: list[Any]) -> Any:
    """A module that computes the last of ``args``, by a schedule that changes nothing."""
    s = te.create_schedule(args[-1].op)
    return tvm.build(s, args)


def random(shape: Any, dtype: str = "float32") -> Array:
    return np.random.default_rng(0).normal(size=shape).astype(dtype)


# ---- vector add, which the book begins with


def vector_add(n: Any, dtype: str = "float32") -> list[Any]:
    A, B = te.placeholder((n,), dtype, name="a"), te.placeholder((n,), dtype, name="b")
    return [A, B, te.compute(A.shape, lambda i: A[i] + B[i], name="c")]


@vector_add_page((1, 7), 12)
def test_vector_add_in_numpy_and_what_an_expression_is_made_of() -> None:
    a, b, c = random(100), random(100) + 1, np.empty(100, "float32")
    for i in range(100):
        c[i] = a[i] + b[i]
    np.testing.assert_array_equal(c, a + b)

    A, B, C = vector_add(100)
    assert [(tensor.dtype, [int(n) for n in tensor.shape]) for tensor in (A, B, C)] == [("float32", [100])] * 3
    assert (type(A.op), type(C.op)) == (te.PlaceholderOp, te.ComputeOp)
    assert type(A.op).__bases__[0] is te.Operation
    y = tvm.nd.array(np.ones(2))
    assert (y.dtype, y.asnumpy().tolist()) == ("float64", [1.0, 1.0])


@vector_add_page(8, 9, 10)
def test_vector_add_lowers_to_one_loop() -> None:
    A, B, C = vector_add(100)
    s = te.create_schedule(C.op)
    assert (type(s), type(s[C])) == (te.Schedule, te.Stage)
    (store,) = [line.strip() for line in str(tvm.lower(s, [A, B, C], simple_mode=True)).splitlines() if "] = " in line]
    assert store == "c[i] = a[i] + b[i]"


@vector_add_page(11, (13, 18))
def test_vector_add_runs_and_checks_its_arguments() -> None:
    args = vector_add(100)
    s = te.create_schedule(args[2].op)
    module = tvm.build(s, args)
    a, b = random(100), random(100) + 1
    x, y, z = tvm.nd.array(a), tvm.nd.array(b), tvm.nd.empty((100,))
    module(x, y, z)
    np.testing.assert_array_equal(z.asnumpy(), a + b)
    with pytest.raises(tvm.TVMError, match=r"b.shape\[0\] must be 100, got 99"):
        module(x, tvm.nd.array(random(99)), z)
    with pytest.raises(tvm.TVMError, match="c must be float32"):
        module(x, y, tvm.nd.array(random(100, "float64")))


# ---- data types


@data_types((1, 4))
@pytest.mark.parametrize("dtype", ["int8", "int16", "int32", "int64", "float16", "float64"])
def test_types_of_elements(dtype: str) -> None:
    args = vector_add(10, dtype)
    a, b = np.arange(10).astype(dtype), (np.arange(10) * 9 - 30).astype(dtype)
    c = np.zeros(10, dtype)
    tvm.interpret(te.create_prim_func(args), a, b, c)
    np.testing.assert_array_equal(c, a + b)
    x, y, z = tvm.nd.array(a), tvm.nd.array(b), tvm.nd.empty((10,), dtype)
    built(args)(x, y, z)
    assert z.dtype == dtype
    np.testing.assert_array_equal(z.asnumpy(), a + b)


@data_types(5, 6)
def test_conversion_of_elements() -> None:
    """Numbers beside elements take their type; ``astype`` says which one it is to be."""
    A = te.placeholder((10,), "float32", name="a")
    shifted = te.compute(A.shape, lambda i: A[i] + 1, name="b")
    whole = te.compute(A.shape, lambda i: A[i].astype("int32") * te.const(2, "int32"), name="c")
    assert (shifted.dtype, whole.dtype) == ("float32", "int32")
    s = te.create_schedule([shifted.op, whole.op])
    a, b, c = random(10) * 5, np.zeros(10, "float32"), np.zeros(10, "int32")
    tvm.build(s, [A, shifted, whole])(a, b, c)
    np.testing.assert_array_equal(b, a + np.float32(1))
    np.testing.assert_array_equal(c, a.astype("int32") * 2)


# ---- shapes


@shapes((1, 3))
def test_a_shape_that_the_call_decides() -> None:
    module = built(vector_add(te.var("n")))
    for n in (1, 5, 1000):
        a, b, c = random(n), random(n), np.zeros(n, "float32")
        module(a, b, c)
        np.testing.assert_array_equal(c, a + b)
    with pytest.raises(tvm.TVMError, match=r"b.shape\[0\] is 6, but n is 5 already"):
        module(random(5), random(6), np.zeros(5, "float32"))


@shapes(4, 5)
def test_any_number_of_dimensions() -> None:
    """One expression for all ranks: the indices as one tuple."""

    def add(ndim: int) -> list[Any]:
        A = te.placeholder([te.var(f"n{d}") for d in range(ndim)], name="a")
        B = te.placeholder(A.shape, name="b")
        return [A, B, te.compute(A.shape, lambda *i: A[i] + B(*i), name="c")]

    for ndim in (1, 2, 4):
        module, shape = built(add(ndim)), (2, 3, 4, 5)[:ndim]
        a, b, c = random(shape), random(shape), np.zeros(shape, "float32")
        module(a, b, c)
        np.testing.assert_array_equal(c, a + b)


# ---- index and shape expressions


@index_shape((1, 3))
def test_transpose() -> None:
    n, m = te.var("n"), te.var("m")
    A = te.placeholder((n, m), name="a")
    module = built([A, te.compute((m, n), lambda i, j: A[j, i], name="b")])
    a, b = np.arange(12, dtype="float32").reshape(3, 4), np.zeros((4, 3), "float32")
    module(a, b)
    np.testing.assert_array_equal(b, a.T)


@index_shape((4, 6))
def test_reshape() -> None:
    """The number of an element, counted by rows, says where it was and where it goes."""
    n, m, p, q = te.var("n"), te.var("m"), te.var("p"), te.var("q")
    A = te.placeholder((n, m), name="a")
    flat = te.compute((m * n,), lambda i: A[i // m, i % m], name="b")
    module, a = built([A, flat]), np.arange(12, dtype="float32").reshape(3, 4)
    b = np.zeros(12, "float32")
    module(a, b)
    np.testing.assert_array_equal(b, a.reshape(-1))

    B = te.compute((p, q), lambda i, j: A[(i * q + j) // m, (i * q + j) % m], name="b")
    module, b = built([A, p, q, B]), np.zeros((5, 4), "float32")
    module(np.arange(20, dtype="float32").reshape(2, 10), 5, 4, b)
    np.testing.assert_array_equal(b, np.arange(20).reshape(5, 4))


@index_shape(7, 8)
def test_slice() -> None:
    """Where the slice begins and its steps are arguments of the call."""
    bi, bj, si, sj = (te.var(name) for name in ("bi", "bj", "si", "sj"))
    A = te.placeholder((te.var("n"), te.var("m")), name="a")
    shape = ((A.shape[0] - bi) // si, (A.shape[1] - bj) // sj)
    B = te.compute(shape, lambda i, j: A[i * si + bi, j * sj + bj], name="b")
    module = built([A, bi, si, bj, sj, B])
    a = np.arange(12, dtype="float32").reshape(3, 4)
    b = np.zeros((1, 3), "float32")
    module(a, 1, 2, 1, 1, b)
    np.testing.assert_array_equal(b, a[1:2, 1:4])
    b = np.zeros((2, 1), "float32")
    module(a, 1, 1, 0, 4, b)
    np.testing.assert_array_equal(b, a[1:3, 0:1])


# ---- reductions


@reductions(3, 8)
def test_sums_and_products_of_rows_as_loops() -> None:
    a = np.arange(1, 13, dtype="float32").reshape(3, 4)
    sums, products = np.empty(3, "float32"), np.empty(3, "float32")
    for i in range(3):
        sums[i], products[i] = 0, 1
        for j in range(4):
            sums[i] = sums[i] + a[i, j]
            products[i] = products[i] * a[i, j]
    np.testing.assert_array_equal(sums, a.sum(axis=1))
    np.testing.assert_array_equal(products, a.prod(axis=1))


@vector_add_page(19)
def test_modules_are_not_written_to_files(tmp_path: Any) -> None:
    with pytest.raises(tvm.TVMError, match="compiled modules cannot be exported"):
        built(vector_add(100)).export_library(str(tmp_path / "vector-add.tar"))


@reductions(1, 2, 4, 5)
def test_sum_of_rows() -> None:
    n, m = te.var("n"), te.var("m")
    A, j = te.placeholder((n, m), name="a"), te.reduce_axis((0, m), name="j")
    B = te.compute((n,), lambda i: te.sum(A[i, j], axis=j), name="b")
    shown = str(tvm.lower(te.create_schedule(B.op), [A, B], simple_mode=True))
    order = [shown.index(part) for part in ("b[i] = T.float32(0.0)", "for j in range(m)", "b[i] = b[i] + a[i, j]")]
    assert order == sorted(order)
    a, b = np.round(random((3, 4)) * 9), np.zeros(3, "float32")
    built([A, B])(a, b)
    np.testing.assert_array_equal(b, a.sum(axis=1))


@reductions(6, 7)
def test_sum_of_everything() -> None:
    """A result without dimensions."""
    n, m = te.var("n"), te.var("m")
    A, i, j = te.placeholder((n, m), name="a"), te.reduce_axis((0, n), name="i"), te.reduce_axis((0, m), name="j")
    B = te.compute((), lambda: te.sum(A[i, j], axis=(i, j)), name="b")
    a, b = np.round(random((3, 4)) * 9), np.zeros((), "float32")
    built([A, B])(a, b)
    assert b == a.sum()


@reductions((9, 11))
def test_product_by_a_reducer_of_ones_own() -> None:
    product = te.comm_reducer(lambda x, y: x * y, lambda dtype: te.const(1, dtype=dtype), name="product")
    n, m = te.var("n"), te.var("m")
    A, k = te.placeholder((n, m), name="a"), te.reduce_axis((0, m), name="k")
    B = te.compute((n,), lambda i: product(A[i, k], axis=k), name="b")
    a, b = np.arange(1, 13, dtype="float32").reshape(3, 4), np.zeros(3, "float32")
    built([A, B])(a, b)
    np.testing.assert_array_equal(b, a.prod(axis=1))


# ---- conditions


@if_then_else((1, 4))
def test_lower_triangle() -> None:
    n, m = te.var("n"), te.var("m")
    A = te.placeholder((n, m), name="a")
    B = te.compute(A.shape, lambda i, j: te.if_then_else(i >= j, A[i, j], 0.0), name="b")
    a, b = random((3, 4)), np.zeros((3, 4), "float32")
    built([A, B])(a, b)
    np.testing.assert_array_equal(b, np.tril(a))


@all_any((1, 4))
def test_padding() -> None:
    """Zeros around a matrix: any of four conditions says that an element is one of them."""
    p, n, m = 1, te.var("n"), te.var("m")
    A = te.placeholder((n, m), name="a")
    B = te.compute(
        (n + p * 2, m + p * 2),
        lambda i, j: te.if_then_else(te.any(i < p, i >= n + p, j < p, j >= m + p), 0.0, A[i - p, j - p]), name="b",
    )  # fmt: skip
    a, b = np.ones((3, 4), "float32"), np.zeros((5, 6), "float32")
    built([A, B])(a, b)
    np.testing.assert_array_equal(b, np.pad(a, 1))
    inner = te.compute(
        (n + p * 2, m + p * 2),
        lambda i, j: te.if_then_else(te.all(i >= p, i < n + p, j >= p, j < m + p), A[i - p, j - p], 0.0), name="b",
    )  # fmt: skip
    assert tvm.verify.check_equivalent(te.create_prim_func([A, B]), te.create_prim_func([A, inner]))
