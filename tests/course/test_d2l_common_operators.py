"""The chapter *Common Operators* of "Dive into Deep Learning Compiler", in our own words: each operator as a tensor
expression, run with the default schedule beside numpy.
"""

from __future__ import annotations

import numpy as np
import pytest

import mlcref as tvm
from mlcref import te
from tests.course.d2l_operators import (
    batch_norm, batch_norm_inputs, batch_norm_reference, broadcast_add, check, conv, conv_out_size, conv_reference,
    depthwise_conv, depthwise_reference, equivalent, matmul, padding, pool, pool_reference, small_integers,
)  # fmt: skip
from tests.course.marks import blocks_of

broadcast_add_page = blocks_of("op_broadcast_add")
matmul_page = blocks_of("op_matmul")
conv_page = blocks_of("op_conv")
depthwise_page = blocks_of("op_depthwise_conv")
pooling_page = blocks_of("op_pooling")
batch_norm_page = blocks_of("op_batch_norm")


@broadcast_add_page((1, 4))
@pytest.mark.parametrize(("one", "other"), [((3, 1), (3, 4)), ((3, 1), (1, 4)), ((1, 1), (3, 4)), ((3, 4), (3, 4))])
def test_broadcast_add(one: tuple[int, int], other: tuple[int, int]) -> None:
    args = broadcast_add(one, other)
    a, b = small_integers(args[:2])
    check(args, inputs=[a, b], result=a + b, build=one == (3, 1))
    whole = [args[0], args[1], args[0] + args[1]]  # the same by arithmetic on tensors
    assert tvm.verify.check_equivalent(te.create_prim_func(args), te.create_prim_func(whole))


def test_broadcast_add_in_any_number_of_dimensions() -> None:
    """The exercise: shapes of different ranks."""
    A, B = te.placeholder((5, 1, 3), name="A"), te.placeholder((4, 1), name="B")
    a, b = small_integers([A, B])
    check([A, B, A + B], inputs=[a, b], result=a + b, build=False)


@matmul_page((1, 3))
def test_matmul() -> None:
    args = matmul(10, 12, 7)
    a, b = small_integers(args[:2])
    check(args, inputs=[a, b], result=a @ b)


@conv_page((1, 4))
def test_padding() -> None:
    X = te.placeholder((2, 3, 4), name="X")
    Y = padding(X, 1, 2)
    (x,) = small_integers([X])
    check([X, Y], inputs=[x], result=np.pad(x, ((0, 0), (1, 1), (2, 2))), build=False)
    assert conv_out_size(64, 3, 1, 1) == 64


@conv_page((5, 9))
@pytest.mark.parametrize(("k", "p", "s"), [(3, 1, 1), (3, 0, 2), (5, 2, 3)])
def test_convolution(k: int, p: int, s: int) -> None:
    args = conv(4, 3, 12, k, p, s)[:3]
    x, kernel = small_integers(args[:2])
    check(args, inputs=[x, kernel], result=conv_reference(x, kernel, p, s), build=s == 1)


@depthwise_page((1, 7))
@pytest.mark.parametrize(("k", "p", "s"), [(3, 1, 1), (3, 0, 2)])
def test_depthwise_convolution(k: int, p: int, s: int) -> None:
    args = depthwise_conv(4, 12, k, p, s)[:3]
    x, kernel = small_integers(args[:2])
    check(args, inputs=[x, kernel], result=depthwise_reference(x, kernel, p, s), build=s == 1)


@pooling_page((1, 6))
@pytest.mark.parametrize("kind", ["max", "avg"])
@pytest.mark.parametrize(("k", "p", "s"), [(3, 1, 1), (2, 0, 2)])
def test_pooling(kind: str, k: int, p: int, s: int) -> None:
    args = pool(kind, 4, 12, k, p, s)[:2]
    (x,) = small_integers(args[:1])
    check(args, inputs=[x], result=pool_reference(x, kind, k, p, s), build=s == 1)


@pooling_page(2)
def test_pooling_is_tagged() -> None:
    X, Y, PaddedX = pool("avg", 4, 12, 3, 1, 1)
    assert (Y.op.tag, Y.op.input_tensors[0].op.tag, PaddedX.op.input_tensors) == ("pool_avg", "pool_sum", (X,))


@batch_norm_page((1, 6))
def test_batch_normalization() -> None:
    args, inputs = batch_norm(3, 8), batch_norm_inputs(3, 8)
    check(args, inputs=inputs, result=batch_norm_reference(*inputs))


def test_the_result_may_be_left_out_for_reading() -> None:
    A, B, C = broadcast_add((3, 1), (1, 4))
    s = te.create_schedule(C.op)
    assert "C[x, y] = A[x, 0] + B[0, y]" in str(tvm.lower(s, [A, B], simple_mode=True))
    with pytest.raises(tvm.TVMError, match="the result C is not among the arguments"):
        tvm.lower(s, [A, B])


def test_batch_normalization_in_one_loop_nest() -> None:
    """Six intermediate tensors, until they are inlined."""
    args = batch_norm(3, 8)
    s = te.create_schedule(args[-1].op)
    assert len(s.stages) == 6
    te.schedule.AutoInlineInjective(s)
    shown = str(tvm.lower(s, args, simple_mode=True))
    assert shown.count("for ") == 1
    assert "alloc_buffer" not in shown
    equivalent(args, s)
