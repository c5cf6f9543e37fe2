"""Conversions of attention: the function, the layer of several heads, and the encoder layer around it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from mlcref import dtype as dt
from mlcref.importers.fx_table import converts
from mlcref.importers.torch_arithmetic import linear, relu
from mlcref.importers.torch_layers import gelu, layer_norm_layer, linear_layer, softmax
from mlcref.importers.torch_moves import parts, transpose
from mlcref.importers.torch_windows import weights as weights_of
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


@dataclass(frozen=True)
class Heads:
    """Attention of several heads: the weights and biases of the three linear layers in front, and of the one behind."""

    count: int
    projections: tuple[tuple[Any, Any], ...]
    output: tuple[Any, Any]

    def __call__(
        self, at: Any, tensors: tuple[Any, Any, Any], mask: Any, causal: bool, need_weights: bool, average: bool
    ) -> tuple[Any, Any]:
        """The result and the weights: their mean over the heads, each head's, or None; (…, length, size)."""
        if mask is not None and len(at.shape(mask)) != 2:
            at.refuse("fx.argument", "a mask of three dimensions", "give one mask of (queries, keys) for all heads")
        q, k, v = (self._split(at, linear(at, x, *w)) for x, w in zip(tensors, self.projections, strict=True))
        made, weights = weighted_values(at, q, k, v, _negated(at, mask), causal and mask is None, None)
        shape = at.shape(made)
        joined = at.emit(op.reshape(transpose(at, made, -3, -2), [*shape[:-3], shape[-2], shape[-3] * shape[-1]]))
        shown = None if not need_weights else at.emit(op.mean(weights, -3)) if average else weights
        return linear(at, joined, *self.output), shown

    def _split(self, at: Any, x: Any) -> Any:
        """(…, length, size) as (…, heads, length, size of a head)."""
        *outer, size = at.shape(x)
        split = at.emit(op.reshape(x, [*outer, self.count, size // self.count]))
        return transpose(at, split, -3, -2)


def _negated(at: Any, mask: Any) -> Any:
    """A mask whose bools say what does not count, as one of ``scaled_dot_product_attention``."""
    if mask is None or not dt.is_bool(at.info(mask).dtype):
        return mask
    return at.emit(op.logical_not(mask))


def _projections(at: Any, size: int, whole: Any, separate: list[Any], bias: Any) -> tuple[tuple[Any, Any], ...]:
    """The three linear layers in front, whose weights are held as one or separately, the biases as one."""
    cuts = [size, 2 * size]
    weights = separate if whole is None else parts(at, whole, cuts, 0)
    return tuple(zip(weights, [None] * 3 if bias is None else parts(at, bias, cuts, 0), strict=True))


@converts("nn.MultiheadAttention")
def multihead_attention(
    at: Any, layer: Any, query: Any, key: Any, value: Any, key_padding_mask: Any = None, need_weights: bool = True,
    attn_mask: Any = None, average_attn_weights: bool = True, is_causal: bool = False,
) -> Any:  # fmt: skip
    """The layer; its tensors are (length, batch, size) unless it is ``batch_first``."""
    at.evaluating(layer.training and layer.dropout > 0)
    at.only(key_padding_mask=key_padding_mask, bias_k=layer.bias_k, bias_v=layer.bias_v)
    at.only(False, add_zero_attn=layer.add_zero_attn)
    held = [layer.in_proj_bias, layer.in_proj_weight, layer.q_proj_weight, layer.k_proj_weight, layer.v_proj_weight]
    bias, whole, *separate = [None if one is None else at.parameter(one) for one in held]
    front = _projections(at, layer.embed_dim, whole, separate, bias)
    heads = Heads(layer.num_heads, front, weights_of(at, layer.out_proj))
    options = (attn_mask, is_causal, need_weights, average_attn_weights)
    return _batch_first(at, heads, (query, key, value), layer.batch_first, options)


def _batch_first(at: Any, heads: Heads, tensors: tuple[Any, Any, Any], first: bool, options: Any) -> tuple[Any, Any]:
    """``heads`` of tensors whose batch stands first, or second."""
    if first or len(at.shape(tensors[0])) == 2:
        return heads(at, tensors, *options)
    query, key, value = (transpose(at, x, 0, 1) for x in tensors)
    result, weights = heads(at, (query, key, value), *options)
    return transpose(at, result, 0, 1), weights


@converts("F.multi_head_attention_forward")
def _multi_head_attention_forward(
    at: Any, query: Any, key: Any, value: Any, embed_dim_to_check: int, num_heads: int, in_proj_weight: Any,
    in_proj_bias: Any, bias_k: Any, bias_v: Any, add_zero_attn: bool, dropout_p: float, out_proj_weight: Any,
    out_proj_bias: Any, training: bool = True, key_padding_mask: Any = None, need_weights: bool = True,
    attn_mask: Any = None, use_separate_proj_weight: bool = False, q_proj_weight: Any = None, k_proj_weight: Any = None,
    v_proj_weight: Any = None, static_k: Any = None, static_v: Any = None, average_attn_weights: bool = True,
    is_causal: bool = False,
) -> Any:  # fmt: skip
    at.evaluating(training and dropout_p > 0)
    at.only(key_padding_mask=key_padding_mask, bias_k=bias_k, bias_v=bias_v, static_k=static_k, static_v=static_v)
    at.only(False, add_zero_attn=add_zero_attn)
    whole = None if use_separate_proj_weight else in_proj_weight
    separate = [q_proj_weight, k_proj_weight, v_proj_weight]
    front = _projections(at, embed_dim_to_check, whole, separate, in_proj_bias)
    heads = Heads(num_heads, front, (out_proj_weight, out_proj_bias))
    options = (attn_mask, is_causal, need_weights, average_attn_weights)
    return _batch_first(at, heads, (query, key, value), False, options)


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
