"""What the random cases of topi leave out: slices known at the call only, batches, numbers in place of tensors."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from mlcref import te, topi
from mlcref.interp import interpret
from mlcref.ir import Const, Expr


def run(inputs: list[Any], output: te.Tensor, arrays: list[Any], shape: tuple[int, ...]) -> Any:
    result = np.zeros(shape, output.dtype)
    interpret(te.create_prim_func([*inputs, output]), *arrays, result, poison=[output.name])
    return result


@pytest.mark.parametrize(("low", "high", "step"), [(1, 6, 2), (0, 5, 1), (6, 0, -1), (5, 1, -2), (6, 1, -2)])
def test_slices_known_at_the_call(low: int, high: int, step: int) -> None:
    A, begin, end = te.placeholder((7,), "int32", name="A"), te.var("begin"), te.var("end")
    B = topi.strided_slice(A, [begin], [end], [step])
    a = np.arange(7, dtype="int32")
    want = a[low:high:step]
    got = run([A, begin, end], B, [a, low, high], want.shape)
    np.testing.assert_array_equal(got, want)


def test_slices_by_size() -> None:
    A = te.placeholder((4, 6), "int32", name="A")
    a = np.arange(24, dtype="int32").reshape(4, 6)
    B = topi.strided_slice(A, [1, 2], [2, -1], slice_mode="size")
    np.testing.assert_array_equal(run([A], B, [a], (2, 4)), a[1:3, 2:])


def test_take_and_gather_in_batches() -> None:
    A = te.placeholder((2, 3, 4), "int32", name="A")
    a = np.arange(24, dtype="int32").reshape(2, 3, 4)
    for columns in ((5,), (2, 2)):
        places = te.placeholder((2, *columns), "int32", name="I")
        i = np.random.default_rng(0).integers(0, 3, (2, *columns)).astype("int32")
        want = np.stack([a[b].take(i[b], 0) for b in range(2)])
        got = run([A, places], topi.take(A, places, axis=1, batch_dims=1), [a, i], want.shape)
        np.testing.assert_array_equal(got, want)
    points = te.placeholder((1, 2, 5), "int32", name="P")
    p = np.random.default_rng(1).integers(0, 3, (1, 2, 5)).astype("int32")
    want = np.stack([a[b][p[0, b]] for b in range(2)])
    got = run([A, points], topi.gather_nd(A, points, batch_dims=1), [a, p], want.shape)
    np.testing.assert_array_equal(got, want)


def test_operators_on_numbers_alone_give_numbers() -> None:
    n = te.var("n")
    assert isinstance(topi.add(n, 1), Expr)
    total = topi.add(2, 3)
    assert isinstance(total, Const) and int(total) == 5
    assert isinstance(topi.where(n > 0, n, 0), Expr)


def test_a_number_takes_the_type_of_the_tensor() -> None:
    for dtype in ("float16", "float64", "int8", "int64"):
        assert topi.multiply(te.placeholder((3,), dtype), 2).dtype == dtype
    assert topi.full_like(te.placeholder((3,), "float16"), 0.1).dtype == "float16"


def test_a_norm_without_training_leaves_the_moving_moments_alone() -> None:
    X, moments = te.placeholder((2, 3)), [te.placeholder((3,), name=name) for name in "gbmv"]
    _, mean, variance = topi.nn.batch_norm(X, *moments)
    assert (mean, variance) == (moments[2], moments[3])


def test_large_numbers_do_not_overflow() -> None:
    A = te.placeholder((1, 3), "float32", name="A")
    a = np.array([[200.0, 199.0, -200.0]], "float32")
    want = np.array([[1, np.exp(-1.0), 0]]) / (1 + np.exp(-1.0))
    np.testing.assert_array_almost_equal_nulp(run([A], topi.nn.softmax(A), [a], (1, 3)), want.astype("float32"), 2)
    assert np.isfinite(run([A], topi.nn.log_softmax(A), [a], (1, 3))).all()
    assert run([A], topi.log_add_exp(A, 150.0), [a], (1, 3)).tolist() == [[200.0, 199.0, 150.0]]


def test_defaults_that_names_stand_for() -> None:
    A = te.placeholder((2, 3), "int32", name="A")
    assert [int(e) for e in topi.expand_dims(A, 0).shape] == [1, 2, 3]
    X, W = te.placeholder((1, 2, 8)), te.placeholder((4, 2, 3))
    for conv in (topi.nn.conv1d, topi.nn.conv1d_ncw, topi.nn.group_conv1d_ncw):
        assert [int(e) for e in conv(X, W).shape] == [1, 4, 6]
    products = topi.nn.batch_matmul(te.placeholder((1, 2, 3)), te.placeholder((4, 5, 3)))
    assert [int(e) for e in products.shape] == [4, 2, 5]


def test_the_extents_of_a_range_may_be_known_at_the_call() -> None:
    n = te.var("n")
    A = te.placeholder((n,), "int32", name="A")
    B = topi.add(A, topi.arange(0, n, dtype="int32"))
    a = np.array([5, 5, 5], "int32")
    np.testing.assert_array_equal(run([A], B, [a], (3,)), [5, 6, 7])


def test_blocks_carry_the_names_of_tvm() -> None:
    X, W, b = te.placeholder((1, 1, 6, 6), name="X"), te.placeholder((2, 1, 3, 3), name="W"), te.placeholder((2, 1, 1))
    Y = topi.nn.softmax(topi.nn.flatten(topi.nn.relu(topi.add(topi.nn.conv2d(X, W, 1, 1, 1), b))))
    names = [
        "pad_temp", "conv2d_nchw", "T_add", "compute", "compute_1", "T_softmax_maxelem", "T_softmax_exp",
        "T_softmax_expsum", "T_softmax_norm",
    ]  # fmt: skip
    lines = te.create_prim_func([X, W, b, Y]).script().splitlines()
    assert [line.split('"')[1] for line in lines if line.strip().startswith("with T.block(")] == names
