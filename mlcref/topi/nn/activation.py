"""Activations: ``topi.nn.relu``, ``topi.nn.leaky_relu``, ``topi.nn.prelu`` …"""

from __future__ import annotations

import math
from typing import Any

from mlcref import te
from mlcref.ir import Expr, ExprLike, Max, Select, as_expr, binary, call, const
from mlcref.te import Tensor, compute
from mlcref.topi.elementwise import mapped
from mlcref.topi.operands import BROADCAST, axis_of, fits, floats


def relu(x: Tensor) -> Tensor:
    """The larger of each element and 0. As ``tvm.topi.nn.relu``.

    >>> from mlcref import te, topi
    >>> topi.nn.relu(te.placeholder((2, 3))).dtype
    'float32'
    """
    return mapped(x, lambda element: binary(Max, element, const(0, x.dtype)))


def leaky_relu(x: Tensor, alpha: float) -> Tensor:
    """``x`` where it is positive, else ``alpha * x``, of floats. As ``tvm.topi.nn.leaky_relu``.

    >>> from mlcref import te, topi
    >>> topi.nn.leaky_relu(te.placeholder((2, 3)), 0.1).ndim
    2
    """
    floats(x, "leaky_relu")
    slope, zero = const(alpha, x.dtype), const(0, x.dtype)
    return mapped(x, lambda element: Select(element > zero, element, element * slope))


def prelu(x: Tensor, slope: Tensor, axis: ExprLike = 1) -> Tensor:
    """``x`` where it is positive, else ``slope * x``, with one slope per index of ``axis``. Raises OperatorError
    (topi.O1, topi.O2). As ``tvm.topi.nn.prelu``.

    >>> from mlcref import te, topi
    >>> topi.nn.prelu(te.placeholder((2, 3)), te.placeholder((3,))).ndim
    2
    """
    at = axis_of(axis, x.ndim, "prelu")
    fits(slope.shape[0], x.shape[at], "prelu has so many slopes and channels")

    def value(*i: Any) -> Expr:
        element = as_expr(x(*i))
        return Select(element > const(0, x.dtype), element, element * slope(i[at]))

    return compute(x.shape, value, tag=BROADCAST)


def softplus(x: Tensor, beta: float = 1.0, threshold: float = 20.0) -> Tensor:
    """``log(1 + exp(beta * x)) / beta``; ``x`` where ``beta * x`` is above ``threshold``. As ``tvm.topi.nn.softplus``.

    >>> from mlcref import te, topi
    >>> topi.nn.softplus(te.placeholder((2, 3))).ndim
    2
    """
    floats(x, "softplus")
    by, border = const(beta, x.dtype), const(threshold, x.dtype)

    def value(element: Expr) -> Expr:
        scaled = element if beta == 1.0 else element * by
        soft = call("log", const(1, x.dtype) + call("exp", scaled))
        return Select(scaled > border, element, soft if beta == 1.0 else soft / by)

    return mapped(x, value)


def silu(x: Tensor) -> Tensor:
    """``x * sigmoid(x)``: what ``relax.op.nn.silu`` becomes.

    >>> from mlcref import te, topi
    >>> topi.nn.silu(te.placeholder((2, 3))).ndim
    2
    """
    floats(x, "silu")
    return mapped(x, lambda element: element * te.sigmoid(element))


def gelu(x: Tensor) -> Tensor:
    """``x * (1 + erf(x / sqrt(2))) / 2``: what ``relax.op.nn.gelu`` becomes.

    >>> from mlcref import te, topi
    >>> topi.nn.gelu(te.placeholder((2, 3))).ndim
    2
    """
    floats(x, "gelu")
    half, root = const(0.5, x.dtype), const(math.sqrt(0.5), x.dtype)
    return mapped(x, lambda element: element * (half + te.erf(element * root) * half))


def gelu_tanh(x: Tensor) -> Tensor:
    """``x * (1 + tanh(sqrt(2 / pi) * (x + 0.044715 * x**3))) / 2``: what ``relax.op.nn.gelu_tanh`` becomes.

    >>> from mlcref import te, topi
    >>> topi.nn.gelu_tanh(te.placeholder((2, 3))).ndim
    2
    """
    floats(x, "gelu_tanh")
    half, one = const(0.5, x.dtype), const(1, x.dtype)
    outer, cubic = const(math.sqrt(2 / math.pi), x.dtype), const(0.044715, x.dtype)

    def value(element: Expr) -> Expr:
        inner = outer * (element + cubic * (element * element * element))
        return half * element * (one + te.tanh(inner))

    return mapped(x, value)
