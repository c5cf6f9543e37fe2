"""Normalizations: batch_norm, layer_norm, group_norm, rms_norm, as they are when a model runs."""

from __future__ import annotations

from typing import Any

import numpy as np

from mlcref import te, topi
from mlcref.arith import same_shape
from mlcref.errors import TypeMismatch
from mlcref.ir.graph import StructInfo, TensorStructInfo, TupleStructInfo
from mlcref.relax.op.rows import choice, flag, float_attr, int_attr, ints, require, require_float, row
from mlcref.relax.op.shapes import axes_of, axis_of, extents, listed, number, require_same, tensor

Array = np.ndarray[Any, Any]


def _along(array: Array, axis: int, ndim: int) -> Array:
    """A vector as an array that broadcasts along ``axis``."""
    return array.reshape([-1 if position == axis else 1 for position in range(ndim)])


# batch_norm


def _infer_batch(
    data: TensorStructInfo, gamma: TensorStructInfo, beta: TensorStructInfo, moving_mean: TensorStructInfo,
    moving_var: TensorStructInfo, axis: int, training: bool, **_: Any,
) -> StructInfo:  # fmt: skip
    name = "nn.batch_norm"
    require_float(name, data.dtype)
    if training:
        raise TypeMismatch(f"{name} of a model that learns is not supported", hint="pass training=False")
    channels = extents(data)[axis_of(axis, data.ndim, name)]
    for info in (gamma, beta, moving_mean, moving_var):
        require(info.ndim == 1 and info.dtype == data.dtype, f"{name} takes vectors of {data.dtype} beside data")
        require_same(extents(info)[0], channels, f"{name}: the numbers of channels")
    return TupleStructInfo([tensor(extents(data), data.dtype), moving_mean, moving_var])


def _batch(
    data: te.Tensor, gamma: te.Tensor, beta: te.Tensor, mean: te.Tensor, var: te.Tensor, axis: int, epsilon: float,
    center: bool, scale: bool, **_: Any,
) -> list[te.Tensor]:  # fmt: skip
    return topi.nn.batch_norm(data, gamma, beta, mean, var, axis, epsilon, center, scale, False)


def _batch_reference(
    data: Array, gamma: Array, beta: Array, mean: Array, var: Array, axis: int, epsilon: float, center: bool,
    scale: bool, **_: Any,
) -> tuple[Array, ...]:  # fmt: skip
    g, b, m, v = (_along(array, axis % data.ndim, data.ndim) for array in (gamma, beta, mean, var))
    value = (data - m) / np.sqrt(v + epsilon)
    value = value * g if scale else value
    return (value + b if center else value), mean, var


_EPSILON = float_attr("epsilon", 1e-5)
_WEIGHTED = (choice("center", (True,), True), choice("scale", (True,), True))

batch_norm = row(
    "nn.batch_norm", "data gamma beta moving_mean moving_var",
    (int_attr("axis"), _EPSILON, flag("center", True), flag("scale", True), float_attr("momentum", 0.1),
     flag("training", False)),
    _infer_batch, _batch, _batch_reference,
    "``(data - mean) / sqrt(var + epsilon) * gamma + beta`` along ``axis``, and the mean and variance as they were.",
)  # fmt: skip

# layer_norm and rms_norm


def _infer_layer(
    data: TensorStructInfo, gamma: TensorStructInfo, beta: TensorStructInfo, axes: tuple[int, ...], **_: Any
) -> StructInfo:
    return _infer_over("nn.layer_norm", data, (gamma, beta), axes)


def _infer_over(
    name: str, data: TensorStructInfo, weights: tuple[TensorStructInfo, ...], axes: tuple[int, ...]
) -> StructInfo:
    require_float(name, data.dtype)
    over = axes_of(axes, data.ndim, name)
    require(bool(over) and list(over) == sorted(over), f"{name} takes axes in order, not {list(axes)}")
    wanted = [extents(data)[axis] for axis in over]
    for info in weights:
        message = f"{name} takes weights of {data.dtype}{listed(wanted)}"
        require(info.dtype == data.dtype and same_shape(extents(info), wanted), message)
    return tensor(extents(data), data.dtype)


def _weight(array: Array, over: tuple[int, ...], ndim: int) -> Array:
    """``array``, whose axes are ``over`` of the data, as an array that broadcasts with the data."""
    sizes = dict(zip(over, array.shape, strict=True))
    return array.reshape([sizes.get(position, 1) for position in range(ndim)])


def _layer_reference(
    data: Array, gamma: Array, beta: Array, axes: tuple[int, ...], epsilon: float, **_: bool
) -> Array:
    over = axes_of(axes, data.ndim, "nn.layer_norm")
    mean, var = data.mean(over, keepdims=True), data.var(over, keepdims=True)
    value = (data - mean) / np.sqrt(var + epsilon)
    result: Array = value * _weight(gamma, over, data.ndim) + _weight(beta, over, data.ndim)
    return result


layer_norm = row(
    "nn.layer_norm", "data gamma beta", (ints("axes"), _EPSILON, *_WEIGHTED), _infer_layer,
    lambda data, gamma, beta, axes, epsilon, **_: topi.nn.layer_norm(data, gamma, beta, list(axes), epsilon),
    _layer_reference,
    "``data`` with mean 0 and variance 1 over ``axes``, times ``gamma`` plus ``beta`` (floats).",
)  # fmt: skip


def _rms_reference(data: Array, weight: Array, axes: tuple[int, ...], epsilon: float) -> Array:
    over = axes_of(axes, data.ndim, "nn.rms_norm")
    result: Array = data / np.sqrt((data * data).mean(over, keepdims=True) + epsilon) * _weight(weight, over, data.ndim)
    return result


rms_norm = row(
    "nn.rms_norm", "data weight", (ints("axes", -1), float_attr("epsilon", 1e-5)),
    lambda data, weight, axes, epsilon: _infer_over("nn.rms_norm", data, (weight,), axes),
    lambda data, weight, axes, epsilon: topi.nn.rms_norm(data, weight, list(axes), epsilon), _rms_reference,
    "``data`` divided by the root of the mean of its squares over ``axes``, times ``weight`` (floats).",
)  # fmt: skip

# group_norm


def _infer_group(
    data: TensorStructInfo, gamma: TensorStructInfo, beta: TensorStructInfo, num_groups: int, channel_axis: int,
    axes: tuple[int, ...], **_: Any,
) -> StructInfo:  # fmt: skip
    name = "nn.group_norm"
    require_float(name, data.dtype)
    at = axis_of(channel_axis, data.ndim, name)
    require(at not in axes_of(axes, data.ndim, name), f"{name}: axes do not name the channels, {channel_axis}")
    channels = number(extents(data)[at], f"{name}: the number of channels")
    require(num_groups > 0 and channels % num_groups == 0, f"{name}: {channels} channels in {num_groups} groups")
    for info in (gamma, beta):
        message = f"{name} takes weights of {data.dtype}({channels},)"
        require(info.dtype == data.dtype and same_shape(extents(info), [extents(data)[at]]), message)
    return tensor(extents(data), data.dtype)


def _group(
    data: te.Tensor, gamma: te.Tensor, beta: te.Tensor, num_groups: int, channel_axis: int, axes: tuple[int, ...],
    epsilon: float, **_: bool,
) -> te.Tensor:  # fmt: skip
    return topi.nn.group_norm(data, gamma, beta, num_groups, channel_axis, list(axes), epsilon)


def _group_reference(
    data: Array, gamma: Array, beta: Array, num_groups: int, channel_axis: int, axes: tuple[int, ...],
    epsilon: float, **_: bool,
) -> Array:  # fmt: skip
    at = channel_axis % data.ndim
    over = (at + 1, *(axis + (axis > at) for axis in axes_of(axes, data.ndim, "nn.group_norm")))
    shape = [*data.shape[:at], num_groups, data.shape[at] // num_groups, *data.shape[at + 1 :]]
    grouped = data.reshape(shape)
    mean, var = grouped.mean(over, keepdims=True), grouped.var(over, keepdims=True)
    value = ((grouped - mean) / np.sqrt(var + epsilon)).reshape(data.shape)
    result: Array = value * _along(gamma, at, data.ndim) + _along(beta, at, data.ndim)
    return result


group_norm = row(
    "nn.group_norm", "data gamma beta",
    (int_attr("num_groups"), int_attr("channel_axis"), ints("axes"), _EPSILON, *_WEIGHTED),
    _infer_group, _group, _group_reference,
    "As layer_norm over ``axes`` and each of ``num_groups`` groups of channels; one weight per channel (floats).",
)  # fmt: skip
