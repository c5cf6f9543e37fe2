"""``topi.nn.softmax``, ``topi.nn.log_softmax`` and what is built of them: attention, the loss of a classifier."""

from __future__ import annotations

import math
from typing import Any

from mlcref import te
from mlcref.ir import Const, Div, Expr, ExprLike, Select, as_expr, binary, const
from mlcref.te import Tensor
from mlcref.topi.broadcast import read
from mlcref.topi.operands import BROADCAST, OperatorError, axis_of, dimensions, each, fits, floats, one_of, told
from mlcref.topi.reduction import reduced
from mlcref.topi.reduction import sum as total


def softmax(x: Tensor, axis: ExprLike = -1) -> Tensor:
    """``exp(x - max)`` divided by its sum, over ``axis``. Raises OperatorError (topi.O2, topi.O4). As
    ``tvm.topi.nn.softmax``.

    >>> from mlcref import te, topi
    >>> topi.nn.softmax(te.placeholder((1, 10))).ndim
    2
    """
    floats(x, "softmax")
    at = axis_of(axis, x.ndim, "softmax")
    top = reduced(x, at, False, te.max, "T_softmax_maxelem")
    powers = each(x.shape, lambda *i: te.exp(x(*i) - top(*_without(i, at))), "T_softmax_exp")
    whole = reduced(powers, at, False, te.sum, "T_softmax_expsum")

    def value(*i: Any) -> Expr:
        return powers(*i) / whole(*_without(i, at))  # type: ignore[no-any-return]

    return each(x.shape, value, "T_softmax_norm", "softmax_output", attrs={"axis": at})


def log_softmax(x: Tensor, axis: ExprLike = -1) -> Tensor:
    """``x - max - log(sum(exp(x - max)))`` over ``axis``. Raises OperatorError (topi.O2, topi.O4). As
    ``tvm.topi.nn.log_softmax``.

    >>> from mlcref import te, topi
    >>> topi.nn.log_softmax(te.placeholder((1, 10))).ndim
    2
    """
    floats(x, "log_softmax")
    at = axis_of(axis, x.ndim, "log_softmax")
    top = reduced(x, at, False, te.max, "T_softmax_maxelem")
    whole = reduced(x, at, False, te.sum, "T_softmax_expsum", lambda *i: te.exp(x(*i) - top(*_without(i, at))))

    def value(*i: Any) -> Expr:
        row = _without(i, at)
        return x(*i) - top(*row) - te.log(whole(*row))  # type: ignore[no-any-return]

    return each(x.shape, value, "T_log_softmax_norm", "log_softmax_output", attrs={"axis": at})


def _without(indices: tuple[Any, ...], at: int) -> tuple[Any, ...]:
    return indices[:at] + indices[at + 1 :]


def attention(
    query: Tensor, key: Tensor, value: Tensor, bias: Tensor | None = None, scale: float | None = None,
    causal_mask: str | None = None,
) -> Tensor:  # fmt: skip
    """``softmax(query @ key.T * scale + bias) @ value`` of each head: what ``relax.op.nn.attention`` becomes.

    ``query`` is (batch, queries, heads, depth), ``key`` and ``value`` (batch, keys, heads, depth of each), the result
    (batch, queries, heads, depth of value); ``bias`` is broadcast to (batch, heads, queries, keys). ``scale`` is
    ``1 / sqrt(depth)`` by default. With ``causal_mask="TopLeft"`` query q sees the keys up to q, with "BottomRight" the
    last query sees all of them. Raises OperatorError (topi.O1, topi.O3, topi.O4).

    >>> from mlcref import te, topi
    >>> Q, K = te.placeholder((1, 4, 2, 8)), te.placeholder((1, 6, 2, 8))
    >>> [int(extent) for extent in topi.nn.attention(Q, K, K).shape]
    [1, 4, 2, 8]
    """
    floats(query, "attention")
    batch, queries, heads, depth = dimensions(query, 4, "attention")
    for x in (key, value):
        for d, extent in ((0, batch), (2, heads)):
            fits(dimensions(x, 4, "attention")[d], extent, f"attention of {told(query.shape)} to {told(x.shape)}")
    fits(key.shape[3], depth, f"attention of {told(query.shape)} to {told(key.shape)}")
    fits(key.shape[1], value.shape[1], "attention has so many keys and values")
    scores = _scores(query, key, bias, scale, causal_mask)
    weights = softmax(scores)
    k = te.reduce_axis((0, value.shape[1]), "k")

    def element(b: Any, q: Any, n: Any, h: Any) -> Any:
        return te.sum(weights(b, n, q, k) * value(b, k, n, h), axis=k)

    return each((batch, queries, heads, value.shape[3]), element, "T_attention", "matmul")


def _scores(query: Tensor, key: Tensor, bias: Tensor | None, scale: float | None, mask: str | None) -> Tensor:
    """How much each query sees of each key, before the softmax."""
    batch, queries, heads, depth = query.shape
    keys = key.shape[1]
    k = te.reduce_axis((0, depth), "k")
    products = each(
        (batch, heads, queries, keys), lambda b, n, i, j: te.sum(query(b, i, n, k) * key(b, j, n, k), axis=k),
        "T_batch_matmul_NT", "batch_matmul",
    )  # fmt: skip
    if mask is not None:
        one_of(mask, ("TopLeft", "BottomRight"), "causal_mask")
    late = keys - queries if mask == "BottomRight" else as_expr(0)

    def value(*i: Any) -> Expr:
        score = products(*i) * _scale(scale, depth, query.dtype)
        if bias is not None:
            score = score + read(bias, i, products.shape)
        return score if mask is None else Select(i[3] <= i[2] + late, score, te.min_value(query.dtype))

    return each(products.shape, value, "T_attention_score", BROADCAST)


def _scale(scale: float | None, depth: Expr, dtype: str) -> Expr:
    if scale is not None:
        return const(scale, dtype)
    if isinstance(depth, Const):
        return const(1.0 / math.sqrt(int(depth)), dtype)
    return te.rsqrt(depth.astype(dtype))


def nll_loss(predictions: Tensor, targets: Tensor, weights: Tensor, reduction: str, ignore_index: int) -> Tensor:
    """The negative of the prediction (a log-probability) of each target class, times the weight of the class; 0 where
    the target is ``ignore_index``. ``reduction`` is "none", "sum", or "mean": the sum divided by that of the weights.

    ``predictions`` are (samples, classes, …), ``targets`` (samples, …) or, for predictions without samples, one class.
    Raises OperatorError (topi.O1, topi.O3, topi.O4). As ``tvm.topi.nn.nll_loss``.

    >>> from mlcref import te, topi
    >>> P, T, W = te.placeholder((5, 3)), te.placeholder((5,), "int32"), te.placeholder((3,))
    >>> topi.nn.nll_loss(P, T, W, "mean", -100).ndim
    0
    """
    floats(predictions, "nll_loss")
    one_of(reduction, ("none", "sum", "mean"), "reduction")
    if predictions.ndim != targets.ndim + 1:
        raise OperatorError(f"nll_loss of {told(predictions.shape)} for {told(targets.shape)}", rule="topi.O1")
    fits(predictions.shape[1 if targets.ndim else 0], weights.shape[0], "nll_loss has so many classes and weights")
    zero = const(0, predictions.dtype)

    def of_class(*i: Any) -> tuple[Expr, Expr, Expr]:
        target = as_expr(targets(*i) if targets.ndim else targets)
        return target != ignore_index, as_expr(weights(target)), as_expr(predictions(*i[:1], target, *i[1:]))

    def loss(*i: Any) -> Expr:
        counts, weight, prediction = of_class(*i)
        return te.if_then_else(counts, -prediction * weight, zero)

    def weight_of(*i: Any) -> Expr:
        counts, weight, _ = of_class(*i)
        return te.if_then_else(counts, weight, zero)

    losses = each(targets.shape, loss, "nll_loss", BROADCAST)
    if reduction == "none":
        return losses
    summed = total(losses) if targets.ndim else losses
    if reduction == "sum":
        return summed
    each_weight = each(targets.shape, weight_of, "nll_loss", BROADCAST)
    whole = total(each_weight) if targets.ndim else each_weight
    return each((), lambda: binary(Div, summed, whole), "T_divide", BROADCAST)
