"""Conversions of attention: the function, the layer of several heads, and the encoder layer around it."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from mlcref import dtype as dt
from mlcref.importers.fx_table import converts
from mlcref.importers.torch_arithmetic import linear, relu
from mlcref.importers.torch_layers import gelu, layer_norm_layer, linear_layer, softmax
from mlcref.importers.torch_moves import parts, transpose
from mlcref.ir import graph
from mlcref.relax import op


@converts("F.scaled_dot_product_attention")
def scaled_dot_product_attention(
    at: Any, query: Any, key: Any, value: Any, attn_mask: Any = None, dropout_p: float = 0.0, is_causal: bool = False,
    scale: float | None = None, enable_gqa: bool = False,
) -> Any:  # fmt: skip
    """(…, heads, length, size): without a mask the graph's own operator where there are four dimensions."""
    at.evaluating(dropout_p > 0)
    at.only(False, enable_gqa=enable_gqa)
    if attn_mask is not None or len(at.shape(query)) != 4 or len(at.shape(key)) != 4:
        return weighted_values(at, query, key, value, attn_mask, is_causal, scale)[0]
    turned = [transpose(at, x, 1, 2) for x in (query, key, value)]
    mask = "TopLeft" if is_causal else None
    made = at.emit(op.nn.attention(*turned, None, scale, mask))
    return transpose(at, made, 1, 2)


def weighted_values(
    at: Any, query: Any, key: Any, value: Any, mask: Any, causal: bool, scale: float | None
) -> tuple[Any, Any]:
    """Attention as products of matrices: the result and the weights. ``mask`` is added, or of bools: what counts."""
    size, dtype = at.shape(query)[-1], at.info(query).dtype
    factor = graph.const(1 / math.sqrt(size) if scale is None else scale, dtype)
    scores = at.emit(op.matmul(query, transpose(at, key, -2, -1)))
    scores = at.emit(op.multiply(scores, factor))
    if causal:
        rows, columns = at.shape(scores)[-2:]
        scores = masked(at, scores, graph.const(np.tril(np.ones((rows, columns), bool)), "bool"))
    weights = softmax(at, scores if mask is None else masked(at, scores, mask), -1)
    return at.emit(op.matmul(weights, value)), weights


def masked(at: Any, scores: Any, mask: Any) -> Any:
    """``scores`` plus a mask of numbers, or minus infinity where a mask of bools does not hold."""
    dtype = at.info(scores).dtype
    if dt.is_bool(at.info(mask).dtype):
        return at.emit(op.where(mask, scores, graph.const(-math.inf, dtype)))
    return at.emit(op.add(scores, mask))


@converts("nn.MultiheadAttention")
def multihead_attention(
    at: Any, layer: Any, query: Any, key: Any, value: Any, key_padding_mask: Any = None, need_weights: bool = True,
    attn_mask: Any = None, average_attn_weights: bool = True, is_causal: bool = False,
) -> Any:  # fmt: skip
    """The result and the weights: their mean over the heads, each head's, or None if they are not needed."""
    _check_heads(at, layer, key_padding_mask, attn_mask)
    first = layer.batch_first or len(at.shape(query)) == 2
    query, key, value = (x if first else transpose(at, x, 0, 1) for x in (query, key, value))
    q, k, v = (_heads(at, layer, x) for x in _projected(at, layer, query, key, value))
    mask = _negated(at, attn_mask)
    made, weights = weighted_values(at, q, k, v, mask, is_causal and mask is None, None)
    joined = at.emit(op.reshape(transpose(at, made, -3, -2), list(at.shape(query))))
    result = linear_layer(at, layer.out_proj, joined)
    shown = None if not need_weights else at.emit(op.mean(weights, -3)) if average_attn_weights else weights
    return result if first else transpose(at, result, 0, 1), shown


def _check_heads(at: Any, layer: Any, key_padding_mask: Any, attn_mask: Any) -> None:
    at.evaluating(layer.training and layer.dropout > 0)
    at.only(key_padding_mask=key_padding_mask, bias_k=layer.bias_k, bias_v=layer.bias_v)
    at.only(False, add_zero_attn=layer.add_zero_attn)
    if attn_mask is not None and len(at.shape(attn_mask)) != 2:
        at.refuse("fx.argument", "a mask of three dimensions", "give one mask of (queries, keys) for all heads")


def _negated(at: Any, mask: Any) -> Any:
    """A mask of this layer, whose bools say what does not count, as one of the function."""
    if mask is None or not dt.is_bool(at.info(mask).dtype):
        return mask
    return at.emit(op.logical_not(mask))


def _projected(at: Any, layer: Any, query: Any, key: Any, value: Any) -> list[Any]:
    """The linear layers in front of the heads."""
    bias = None if layer.in_proj_bias is None else at.parameter(layer.in_proj_bias)
    size = layer.embed_dim
    biases = [None] * 3 if bias is None else parts(at, bias, [size, 2 * size], 0)
    if layer.in_proj_weight is None:
        held = (layer.q_proj_weight, layer.k_proj_weight, layer.v_proj_weight)
        weights: Any = [at.parameter(one) for one in held]
    else:
        weights = parts(at, at.parameter(layer.in_proj_weight), [size, 2 * size], 0)
    return [linear(at, *each) for each in zip((query, key, value), weights, biases, strict=True)]


def _heads(at: Any, layer: Any, x: Any) -> Any:
    """(…, length, size) as (…, heads, length, size of a head)."""
    split = at.emit(op.reshape(x, [*at.shape(x)[:-1], layer.num_heads, layer.head_dim]))
    return transpose(at, split, -3, -2)


@converts("nn.TransformerEncoderLayer")
def encoder_layer(
    at: Any, layer: Any, src: Any, src_mask: Any = None, src_key_padding_mask: Any = None, is_causal: bool = False
) -> Any:
    """Attention and two linear layers, each added to its input, normalized before or after."""
    at.evaluating(layer.training)

    def attention(x: Any) -> Any:
        made, _ = multihead_attention(
            at, layer.self_attn, x, x, x, src_key_padding_mask, False, src_mask, is_causal=is_causal
        )
        return made

    def feed_forward(x: Any) -> Any:
        return linear_layer(at, layer.linear2, _activated(at, layer, linear_layer(at, layer.linear1, x)))

    for norm, step in ((layer.norm1, attention), (layer.norm2, feed_forward)):
        if layer.norm_first:
            src = at.emit(op.add(src, step(layer_norm_layer(at, norm, src))))
        else:
            src = layer_norm_layer(at, norm, at.emit(op.add(src, step(src))))
    return src


def _activated(at: Any, layer: Any, x: Any) -> Any:
    """The activation between the two linear layers."""
    name = getattr(layer.activation, "__name__", type(layer.activation).__name__).lower()
    if name not in ("relu", "gelu"):
        at.refuse("fx.argument", f"the activation {name}", "relu and gelu are converted")
    return relu(at, x) if name == "relu" else gelu(at, x, getattr(layer.activation, "approximate", "none"))
