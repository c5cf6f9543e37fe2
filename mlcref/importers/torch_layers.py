"""Conversions of layers: linear ones, normalizations, activations, softmax, dropout."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from mlcref.importers.fx_table import converts
from mlcref.importers.torch_arithmetic import as_float, clamp, linear, relu
from mlcref.importers.torch_moves import as_type
from mlcref.importers.torch_types import dtype_name
from mlcref.importers.torch_windows import weights
from mlcref.ir import graph
from mlcref.relax import op


@converts("nn.Linear")
def linear_layer(at: Any, layer: Any, input: Any) -> Any:
    """A product with the weight, plus the bias if there is one."""
    return linear(at, input, *weights(at, layer))


# What a model that does not learn passes on


@converts("nn.Identity", alias=True)
def _identity(at: Any, layer: Any, input: Any) -> Any:
    return input


@converts("F.dropout F.dropout1d F.dropout2d F.dropout3d F.alpha_dropout", alias=True)
def dropout(at: Any, input: Any, p: float = 0.5, training: bool = True, inplace: bool = False) -> Any:
    """The tensor itself; raises ``UnsupportedNode`` where elements would be dropped."""
    at.evaluating(training and p > 0)
    return input


def dropout_layer(at: Any, layer: Any, input: Any) -> Any:
    """Nothing, unless the layer is learning."""
    return dropout(at, input, layer.p, layer.training)


converts("nn.Dropout nn.Dropout1d nn.Dropout2d nn.Dropout3d nn.AlphaDropout", alias=True)(dropout_layer)

# Normalizations


def vector(at: Any, held: Any, count: int, fill: float, dtype: str) -> Any:
    """A parameter, or ``count`` times ``fill`` where a layer has none."""
    return graph.const(np.full(count, fill), dtype) if held is None else held


@converts("F.batch_norm")
def _batch_norm(
    at: Any, input: Any, running_mean: Any, running_var: Any, weight: Any = None, bias: Any = None,
    training: bool = False, momentum: float = 0.1, eps: float = 1e-5,
) -> Any:  # fmt: skip
    at.evaluating(training or running_mean is None)
    dtype, count = at.info(input).dtype, at.shape(input)[1]
    gamma, beta = vector(at, weight, count, 1.0, dtype), vector(at, bias, count, 0.0, dtype)
    made = at.emit(op.nn.batch_norm(input, gamma, beta, running_mean, running_var, axis=1, epsilon=eps))
    return at.emit(graph.TupleGetItem(made, 0))


def batch_norm_layer(at: Any, layer: Any, input: Any) -> Any:
    """A batch normalization by the statistics that were learned."""
    at.evaluating(layer.training or layer.running_mean is None)
    statistics = at.parameter(layer.running_mean), at.parameter(layer.running_var)
    return _batch_norm(at, input, *statistics, *weights(at, layer), eps=layer.eps)


converts("nn.BatchNorm1d nn.BatchNorm2d nn.BatchNorm3d")(batch_norm_layer)


@converts("F.layer_norm torch.layer_norm")
def _layer_norm(
    at: Any, input: Any, normalized_shape: Sequence[int], weight: Any = None, bias: Any = None, eps: float = 1e-5,
    cudnn_enable: bool = True,
) -> Any:  # fmt: skip
    shape, dtype = list(normalized_shape), at.info(input).dtype
    gamma = graph.const(np.ones(shape), dtype) if weight is None else weight
    beta = graph.const(np.zeros(shape), dtype) if bias is None else bias
    return at.emit(op.nn.layer_norm(input, gamma, beta, list(range(-len(shape), 0)), epsilon=eps))


@converts("nn.LayerNorm")
def layer_norm_layer(at: Any, layer: Any, input: Any) -> Any:
    """A normalization over the last dimensions."""
    return _layer_norm(at, input, layer.normalized_shape, *weights(at, layer), eps=layer.eps)


@converts("nn.RMSNorm")
def _rms_norm_layer(at: Any, layer: Any, input: Any) -> Any:
    if layer.eps is None:
        at.refuse("fx.argument", "RMSNorm without eps", "give the layer an eps")
    shape, dtype = list(layer.normalized_shape), at.info(input).dtype
    weight = graph.const(np.ones(shape), dtype) if layer.weight is None else at.parameter(layer.weight)
    return at.emit(op.nn.rms_norm(input, weight, list(range(-len(shape), 0)), layer.eps))


@converts("F.group_norm")
def _group_norm(at: Any, input: Any, num_groups: int, weight: Any = None, bias: Any = None, eps: float = 1e-5) -> Any:
    dtype, shape = at.info(input).dtype, at.shape(input)
    gamma, beta = vector(at, weight, shape[1], 1.0, dtype), vector(at, bias, shape[1], 0.0, dtype)
    spatial = list(range(2, len(shape)))
    return at.emit(op.nn.group_norm(input, gamma, beta, num_groups, 1, spatial, epsilon=eps))


@converts("nn.GroupNorm")
def _group_norm_layer(at: Any, layer: Any, input: Any) -> Any:
    return _group_norm(at, input, layer.num_groups, *weights(at, layer), eps=layer.eps)


# Activations


def _plain_layer(name: str, build: Callable[[Any], Any]) -> None:
    """Enter a layer without parameters or options."""
    converts(f"nn.{name}")(lambda at, layer, input: at.emit(build(as_float(at, input))))


_plain_layer("SiLU", op.nn.silu)
_plain_layer("Sigmoid", op.sigmoid)
_plain_layer("Tanh", op.tanh)
_plain_layer("ReLU6", op.nn.relu6)
converts("nn.ReLU")(lambda at, layer, input: relu(at, input))


@converts("F.gelu")
def gelu(at: Any, input: Any, approximate: str = "none") -> Any:
    """``x / 2 * (1 + erf(x / sqrt(2)))``, or its approximation "tanh"."""
    builds = {"none": op.nn.gelu, "tanh": op.nn.gelu_tanh}
    return at.emit(builds[approximate](input))


converts("nn.GELU")(lambda at, layer, input: gelu(at, input, layer.approximate))


@converts("F.leaky_relu")
def _leaky_relu(at: Any, input: Any, negative_slope: float = 0.01, inplace: bool = False) -> Any:
    return at.emit(op.nn.leakyrelu(input, negative_slope))


converts("nn.LeakyReLU")(lambda at, layer, input: _leaky_relu(at, input, layer.negative_slope))


@converts("F.elu")
def _elu(at: Any, input: Any, alpha: float = 1.0, inplace: bool = False) -> Any:
    one, dtype = graph.const(1.0, at.info(input).dtype), at.info(input).dtype
    below = at.emit(op.multiply(at.emit(op.subtract(at.emit(op.exp(input)), one)), graph.const(alpha, dtype)))
    return at.emit(op.where(at.emit(op.greater(input, graph.const(0.0, dtype))), input, below))


converts("nn.ELU")(lambda at, layer, input: _elu(at, input, layer.alpha))


@converts("F.hardtanh")
def _hardtanh(at: Any, input: Any, min_val: float = -1.0, max_val: float = 1.0, inplace: bool = False) -> Any:
    return clamp(at, input, min_val, max_val)


converts("nn.Hardtanh")(lambda at, layer, input: clamp(at, input, layer.min_val, layer.max_val))


@converts("F.hardsigmoid")
def hardsigmoid(at: Any, input: Any, inplace: bool = False) -> Any:
    """``relu6(x + 3) / 6``."""
    dtype = at.info(input).dtype
    raised = at.emit(op.nn.relu6(at.emit(op.add(input, graph.const(3.0, dtype)))))
    return at.emit(op.divide(raised, graph.const(6.0, dtype)))


@converts("F.hardswish")
def _hardswish(at: Any, input: Any, inplace: bool = False) -> Any:
    return at.emit(op.multiply(input, hardsigmoid(at, input)))


converts("nn.Hardsigmoid")(lambda at, layer, input: hardsigmoid(at, input))
converts("nn.Hardswish")(lambda at, layer, input: _hardswish(at, input))

# Softmax


def _over_axis(name: str, build: Callable[..., Any]) -> Callable[..., Any]:
    def convert(
        at: Any, input: Any, dim: int | None = None, third: Any = None, dtype: Any = None, _stacklevel: int = 3
    ) -> Any:
        wanted = dtype if third is None or isinstance(third, int) else third  # F has a number here, torch the type
        if dim is None:
            at.refuse("fx.argument", f"{name} without dim", "say over which axis")
        return at.emit(build(input if wanted is None else as_type(at, input, dtype_name(wanted)), dim))

    converts(f"torch.{name} F.{name} Tensor.{name}")(convert)
    return convert


softmax = _over_axis("softmax", op.nn.softmax)
log_softmax = _over_axis("log_softmax", op.nn.log_softmax)
converts("nn.Softmax")(lambda at, layer, input: softmax(at, input, layer.dim))
converts("nn.LogSoftmax")(lambda at, layer, input: log_softmax(at, input, layer.dim))
