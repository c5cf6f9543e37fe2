"""Scalars beside whole tensors: ``alpha * A`` with a number that the call gives."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import mlcref as tvm
from mlcref import te
from mlcref.ir import blocks_in, structural_equal
from mlcref.testing import assert_backend_matches

A = te.placeholder((6, 4), name="A")
VALUES = np.arange(1, 25, dtype="float32").reshape(6, 4)
SUMS: dict[str, Callable[[Any, Any], Any]] = {
    "alpha * A": lambda alpha, a: alpha * a, "A * alpha": lambda alpha, a: a * alpha,
    "alpha + A": lambda alpha, a: alpha + a, "alpha - A": lambda alpha, a: alpha - a,
    "A - alpha": lambda alpha, a: a - alpha, "alpha / A": lambda alpha, a: alpha / a,
    "(alpha + 1) * A": lambda alpha, a: (alpha + 1) * a,
}  # fmt: skip


@pytest.mark.parametrize("dtype", ["float32", "float64", "int32", "int64"])
@pytest.mark.parametrize("form", SUMS.values(), ids=SUMS)
def test_a_scalar_stands_on_either_side(form: Callable[[Any, Any], Any], dtype: str) -> None:
    alpha = te.var("alpha", dtype)
    B = form(alpha, A)
    func = te.create_prim_func([A, alpha, B])
    wide = "float64" if dtype == "float64" else "float32"
    assert (B.dtype, func.params[1]) == (wide, alpha)
    b = np.full((6, 4), np.nan, wide)
    tvm.interpret(func, VALUES, 3, b)
    np.testing.assert_array_equal(b, form(np.dtype(wide).type(3), VALUES.astype(wide)))


@pytest.mark.parametrize(("dtype", "value"), [("float32", 2.5), ("int32", -3), ("int64", 2**40)])
def test_schedules_and_compiled_code_take_it(dtype: str, value: float) -> None:
    n, alpha = te.var("n"), te.var("alpha", dtype)
    X, Y = te.placeholder((n, 8), name="X"), te.placeholder((8,), name="Y")
    Z = alpha * X + Y
    args = [X, alpha, Y, Z]
    s = te.create_schedule(Z.op)
    te.schedule.AutoInlineInjective(s)
    rows, lanes = s[Z].op.axis
    s[Z].parallel(rows)
    s[Z].vectorize(lanes)
    shown = str(tvm.lower(s, args, simple_mode=True))
    assert f"alpha: T.{dtype}" in shown
    assert shown.count("for ") == 2
    func = s.tensor_ir(args).mod["main"]
    x, y = np.random.default_rng(0).standard_normal((5, 8)).astype("float32"), np.ones(8, "float32")
    module = tvm.build(s, args, "llvm")
    assert_backend_matches(func, module, arguments=[[x, value, y, np.full((5, 8), np.nan, "float32")]])
    with pytest.raises(tvm.TVMError, match="alpha"):
        module(x, "two", y, np.zeros((5, 8), "float32"))


def test_in_a_body_a_tensor_without_dimensions_is_its_element_on_either_side() -> None:
    t, alpha = te.placeholder((), name="t"), te.var("alpha", "float32")
    for body in (
        lambda i, j: alpha * t + A[i, j] * t, lambda i, j: t * alpha + t * A[i, j], lambda i, j: i * t + t * j,
        lambda i, j: (i + 1) * t - A[i, j],
    ):  # fmt: skip
        B = te.compute((6, 4), body, name="B")
        names = [block.name for block in blocks_in(te.create_prim_func([A, alpha, t, B]).body)]
        assert names == ["root", "B"]


def test_outside_of_a_body_it_is_a_tensor() -> None:
    t, alpha = te.placeholder((), name="t"), te.var("alpha", "float32")
    assert isinstance(alpha * t, te.Tensor)
    left, right = (te.create_prim_func([t, alpha, tensor]) for tensor in (alpha * t, t * alpha))
    assert not structural_equal(left, right)  # operands stay where they were written


def test_a_tensor_may_be_made_inside_a_body() -> None:
    B = te.compute((6, 4), lambda i, j: (2.0 * A)[i, j] + A[i, j], name="B")
    b = np.zeros((6, 4), "float32")
    tvm.interpret(te.create_prim_func([A, B]), VALUES, b)
    np.testing.assert_array_equal(b, VALUES * 3)
