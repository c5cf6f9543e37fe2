"""Activations, softmax and attention: ``relax.op.nn`` of one tensor, or of a few of one shape."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from mlcref import te, topi
from mlcref.arith import same_shape
from mlcref.ir.graph import StructInfo, TensorStructInfo, TupleStructInfo
from mlcref.relax.op.elementwise import every, logistic, unary
from mlcref.ir.graph_ops import Attribute, register_function
from mlcref.relax.op.rows import Builder, choice, float_attr, int_attr, require, require_float, row
from mlcref.relax.op.shapes import axis_of, extents, require_same, tensor

Array = np.ndarray[Any, Any]


def _each(x: te.Tensor, value: Any, name: str) -> te.Tensor:
    return te.compute(x.shape, lambda *i: value(x(*i)), name=name, tag="elemwise")


relu = unary("nn.relu", topi.nn.relu, lambda x: np.where(x > 0, x, 0).astype(x.dtype), "``max(x, 0)``.", floats=False)
relu6 = unary("nn.relu6", lambda x: _each(x, lambda v: te.min(te.max(v, te.const(0, x.dtype)), te.const(6, x.dtype)),
              "T_relu6"), lambda x: np.clip(x, 0, 6), "``min(max(x, 0), 6)``.", floats=False)  # fmt: skip
gelu = unary("nn.gelu", topi.nn.gelu, lambda x: x * 0.5 * (1 + every(math.erf)(x * math.sqrt(0.5))),
             "``x / 2 * (1 + erf(x / sqrt(2)))`` (floats).")  # fmt: skip
gelu_tanh = unary(
    "nn.gelu_tanh", topi.nn.gelu_tanh, lambda x: x / 2 * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))),
    "An approximation of gelu by tanh (floats).",
)  # fmt: skip
silu = unary("nn.silu", topi.nn.silu, lambda x: x * logistic(x),
             "``x * sigmoid(x)`` (floats).")  # fmt: skip


def _infer_float(name: str) -> Any:
    def infer(data: TensorStructInfo, **_: Any) -> StructInfo:
        require_float(name, data.dtype)
        return tensor(extents(data), data.dtype)

    return infer


leakyrelu = row(
    "nn.leakyrelu", "data", (float_attr("alpha", 0.01),), _infer_float("nn.leakyrelu"),
    topi.nn.leaky_relu,
    lambda x, alpha: np.where(x > 0, x, x * alpha), "``x`` where it is above 0, else ``alpha * x`` (floats).",
)  # fmt: skip


def _infer_dropout(data: TensorStructInfo, rate: float) -> StructInfo:
    require_float("nn.dropout", data.dtype)
    return TupleStructInfo([data, data])


dropout = row(
    "nn.dropout", "data", (float_attr("rate", 0.5),), _infer_dropout,
    lambda x, rate: [topi.identity(x), topi.full_like(x, 1.0)], lambda x, rate: (x, np.ones_like(x)),
    "``data`` itself and a mask of ones: what dropping elements is when a model runs and does not learn.",
)  # fmt: skip


def _softmax_reference(x: Array, axis: int) -> Array:
    e = np.exp(x - x.max(axis, keepdims=True, initial=-np.inf))
    result: Array = e / e.sum(axis, keepdims=True)
    return result


def _over_axis(name: str, legalize: Any, reference: Any, summary: str) -> Builder:
    def infer(data: TensorStructInfo, axis: int) -> StructInfo:
        require_float(name, data.dtype)
        axis_of(axis, data.ndim, name)
        return tensor(extents(data), data.dtype)

    return row(name, "data", (int_attr("axis", -1),), infer, legalize, reference, summary)


softmax = _over_axis(
    "nn.softmax", topi.nn.softmax, _softmax_reference, "Exponentials divided by their sum over ``axis`` (floats)."
)
log_softmax = _over_axis(
    "nn.log_softmax", topi.nn.log_softmax, lambda x, axis: np.log(_softmax_reference(x, axis)),
    "The logarithm of the softmax over ``axis`` (floats).",
)  # fmt: skip


def _infer_attention(
    query: TensorStructInfo, key: TensorStructInfo, value: TensorStructInfo, bias: Any, scale: float | None,
    causal_mask: str | None, window_size: None,
) -> StructInfo:  # fmt: skip
    name = "nn.attention"
    for info in (query, key, value):
        require(info.ndim == 4, f"{name} takes (batch, length, heads, size), not {info.ndim} dimensions")
        require_float(name, info.dtype)
        require(info.dtype == query.dtype, f"{name} of {query.dtype} and {info.dtype}")
    q, k, v = extents(query), extents(key), extents(value)
    for axis, other in ((0, k), (2, k), (3, k), (0, v), (2, v)):
        require_same(q[axis], other[axis], f"{name}: extents of axis {axis}")
    require_same(k[1], v[1], f"{name}: the lengths of key and value")
    if bias is not None:
        require(bias.dtype == query.dtype, f"{name} of {query.dtype} and a bias of {bias.dtype}")
        wanted = (q[0], q[2], q[1], k[1])
        require(same_shape(extents(bias), wanted), f"{name} takes a bias of (batch, heads, queries, keys)")
    return tensor([*q[:3], v[3]], query.dtype)


def _attention(
    query: te.Tensor, key: te.Tensor, value: te.Tensor, bias: te.Tensor | None, scale: float | None,
    causal_mask: str | None, window_size: None,
) -> te.Tensor:  # fmt: skip
    batch, length, heads, size = query.shape
    d, j = te.reduce_axis((0, size), "d"), te.reduce_axis((0, key.shape[1]), "j")
    raw = te.compute(
        (batch, heads, length, key.shape[1]),
        lambda b, h, m, n: te.sum(query(b, m, h, d) * key(b, n, h, d), axis=d), name="T_scores",
    )  # fmt: skip
    factor = te.const(_scale(scale, size), query.dtype) if _known(scale, size) else None
    shift = key.shape[1] - length

    def scaled(b: Any, h: Any, m: Any, n: Any) -> Any:
        score = raw(b, h, m, n) * (te.rsqrt(size.astype(query.dtype)) if factor is None else factor)
        score = score if bias is None else score + bias(b, h, m, n)
        if causal_mask is None:
            return score
        last = m if causal_mask == "TopLeft" else m + shift
        return te.Select(n <= last, score, te.min_value(query.dtype))

    weights = topi.nn.softmax(te.compute(raw.shape, scaled, name="T_scaled"), -1)
    return te.compute(
        (batch, length, heads, value.shape[3]),
        lambda b, m, h, e: te.sum(weights(b, h, m, j) * value(b, j, h, e), axis=j), name="T_attention",
    )  # fmt: skip


def _known(scale: float | None, size: Any) -> bool:
    return scale is not None or hasattr(size, "value")


def _scale(scale: float | None, size: Any) -> float:
    return 1 / math.sqrt(int(size)) if scale is None else scale


def _attention_reference(
    query: Array, key: Array, value: Array, bias: Array | None, scale: float | None, causal_mask: str | None,
    window_size: None,
) -> Array:
    scores = np.einsum("bmhd,bnhd->bhmn", query, key) * _scale(scale, query.shape[3])
    scores = scores if bias is None else scores + bias
    if causal_mask is not None:
        offset = 0 if causal_mask == "TopLeft" else key.shape[1] - query.shape[1]
        seen = np.tril(np.ones(scores.shape[2:], bool), offset)
        scores = np.where(seen, scores, -np.inf)
    result: Array = np.einsum("bhmn,bnhe->bmhe", _softmax_reference(scores, -1), value)
    return result


def _optional_number(value: Any) -> float | None:
    return None if value is None else float_attr("scale").convert(value)


attention = row(
    "nn.attention", "query key value bias?",
    (Attribute("scale", _optional_number, None), choice("causal_mask", (None, "TopLeft", "BottomRight"), None),
     choice("window_size", (None,), None)),
    _infer_attention, _attention, _attention_reference,
    "Each query's mean of the values, weighted by the softmax of ``query · key * scale + bias``; (batch, length, "
    "heads, size). ``scale`` is one over the root of the size by default; masked keys do not count.",
)  # fmt: skip
register_function("nn.attention_bias", attention)  # TVM's scripts call it so where there is a bias
