"""Tensors without inputs, and parts of matrices: ``topi.full``, ``topi.arange``, ``topi.eye``, ``topi.trilu``."""

from __future__ import annotations

import math
from typing import Any

from mlcref import dtype as dt
from mlcref.ir import Const, Expr, ExprLike, Select, as_expr, cast, const
from mlcref.te import Tensor, compute
from mlcref.topi.operands import ELEMWISE, INJECTIVE, OperatorError, Shape, each


def full(shape: Shape, dtype: str, fill_value: ExprLike) -> Tensor:
    """A tensor of ``shape`` that holds ``fill_value`` converted to ``dtype`` everywhere. As ``tvm.topi.full``.

    >>> from mlcref import topi
    >>> topi.full((2, 3), "int8", 7).dtype
    'int8'
    """
    value = cast(dt.canonical(dtype), fill_value)
    return each(shape, lambda *i: value, "T_full", ELEMWISE)


def full_like(x: Tensor, fill_value: ExprLike) -> Tensor:
    """A tensor of the shape and type of ``x`` that holds ``fill_value`` everywhere. As ``tvm.topi.full_like``.

    >>> from mlcref import te, topi
    >>> topi.full_like(te.placeholder((2, 3), "int8"), 7).dtype
    'int8'
    """
    value = cast(x.dtype, fill_value)
    return each(x.shape, lambda *i: value, "T_full_like", ELEMWISE)


def arange(start: ExprLike, stop: ExprLike | None = None, step: ExprLike = 1, dtype: str = "float32") -> Tensor:
    """``start, start + step, …`` before ``stop``; from 0 to ``start`` without ``stop``. Three known numbers, or a known
    integer ``step > 0`` between integers. Raises OperatorError (topi.O3, topi.O5). As ``tvm.topi.arange``.

    >>> from mlcref import topi
    >>> [int(extent) for extent in topi.arange(1, 8, 3, "int32").shape]
    [3]
    """
    first, last = (as_expr(0), as_expr(start)) if stop is None else (as_expr(start), as_expr(stop))
    by, target = as_expr(step), dt.canonical(dtype)
    if isinstance(by, Const) and by.value == 0:
        raise OperatorError("arange by steps of 0", rule="topi.O3")

    def value(i: Any) -> Expr:
        exact = dt.is_float(target) and any(dt.is_float(part.dtype) for part in (first, by))
        return cast(target, first) + cast(target, by) * cast(target, i) if exact else cast(target, first + by * i)

    return each((_count(first, last, by),), value, "T_arange")


def _count(first: Expr, last: Expr, by: Expr) -> Expr:
    if isinstance(first, Const) and isinstance(last, Const) and isinstance(by, Const):
        return const(max(0, math.ceil((last.value - first.value) / by.value)))
    if any(dt.is_float(part.dtype) for part in (first, last, by)) or not isinstance(by, Const) or by.value < 0:
        raise OperatorError("arange needs known numbers, or integers and a known positive step", rule="topi.O5")
    return (last - first + by - 1) // by


def eye(n: ExprLike, m: ExprLike | None = None, k: ExprLike = 0, dtype: str = "float32") -> Tensor:
    """The ``n`` x ``m`` matrix (square without ``m``) with 1 on diagonal ``k``, which is above the main one where
    positive, and 0 elsewhere. As ``tvm.topi.eye``.

    >>> from mlcref import topi
    >>> topi.eye(3, k=1, dtype="int32").ndim
    2
    """
    one, zero = const(1, dt.canonical(dtype)), const(0, dt.canonical(dtype))
    return compute(
        (n, n if m is None else m), lambda i, j: Select(as_expr(j - i) == as_expr(k), one, zero), "eye", INJECTIVE
    )  # fmt: skip


def trilu(data: Tensor, k: ExprLike, upper: bool) -> Tensor:
    """The part of each matrix (the last two dimensions) on and above (``upper``) or below diagonal ``k``; 0 elsewhere.
    Raises OperatorError (topi.O1). As ``tvm.topi.trilu``.

    >>> from mlcref import te, topi
    >>> topi.trilu(te.placeholder((2, 4, 4)), 0, upper=True).ndim
    3
    """
    if data.ndim < 2:
        raise OperatorError(f"trilu takes matrices, {data.name} has {data.ndim} dimensions", rule="topi.O1")
    zero = const(0, data.dtype)

    def value(*i: Any) -> Expr:
        diagonal = i[-1] - i[-2]
        return Select(diagonal >= k if upper else diagonal <= k, as_expr(data(*i)), zero)

    return compute(data.shape, value, name="trilu", tag=ELEMWISE)
