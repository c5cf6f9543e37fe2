"""Normalizations: ``topi.nn.batch_norm``, ``topi.nn.layer_norm``, ``topi.nn.group_norm`` …

Means are subtracted before squares are added up, so that nothing cancels, and float16 and bfloat16 are computed in
float32, unless an operator says something else.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mlcref import te
from mlcref.ir import Div, Expr, ExprLike, as_expr, binary, call, const
from mlcref.te import Tensor
from mlcref.topi.elementwise import cast as converted
from mlcref.topi.operands import (
    BROADCAST, INJECTIVE, OperatorError, axes_of, axis_of, each, fits, floats, number, product, told,
)  # fmt: skip
from mlcref.topi.nn.padding import pad
from mlcref.topi.reduction import reduced
from mlcref.topi.shape import reshape

_NARROW = ("float16", "bfloat16")


def batch_norm(
    data: Tensor, gamma: Tensor, beta: Tensor, moving_mean: Tensor, moving_var: Tensor, axis: int | None = None,
    epsilon: float | None = None, center: bool | None = None, scale: bool | None = None, training: bool | None = None,
    momentum: float | None = None,
) -> list[Tensor]:  # fmt: skip
    """``(data - mean) / sqrt(var + epsilon) * gamma + beta`` along ``axis`` (1), and the moving mean and variance.

    The mean and the variance are the moving ones; with ``training`` those of ``data``, and the moving ones become
    ``(1 - momentum) * moving + momentum * new``. Without ``center`` there is no ``beta``, without ``scale`` no
    ``gamma``. Defaults: epsilon 1e-5, center and scale, no training, momentum 0.1. Raises OperatorError (topi.O1,
    topi.O2, topi.O4). As ``tvm.topi.nn.batch_norm``.

    >>> from mlcref import te, topi
    >>> X, parameters = te.placeholder((1, 3, 8, 8)), [te.placeholder((3,)) for _ in range(4)]
    >>> [result.ndim for result in topi.nn.batch_norm(X, *parameters)]
    [4, 1, 1]
    """
    floats(data, "batch_norm")
    at = axis_of(1 if axis is None else axis, data.ndim, "batch_norm")
    for each_ in (gamma, beta, moving_mean, moving_var):
        fits(each_.shape[0], data.shape[at], "batch_norm has so many parameters and channels")
    mean, variance, results = moving_mean, moving_var, [moving_mean, moving_var]
    if training:
        over = [d for d in range(data.ndim) if d != at]
        mean, variance = _moments(data, over)
        rate = 0.1 if momentum is None else momentum
        results = [_mixed(old, new, rate) for old, new in ((moving_mean, mean), (moving_var, variance))]
    shift = const(1e-5 if epsilon is None else epsilon, data.dtype)

    def value(*i: Any) -> Expr:
        c = i[at]
        result = (data(*i) - mean(c)) / te.sqrt(variance(c) + shift)
        if scale is None or scale:
            result = result * gamma(c)
        return as_expr(result + beta(c) if center is None or center else result)

    return [each(data.shape, value, "T_batch_norm", BROADCAST), *results]


def _mixed(old: Tensor, new: Tensor, rate: float) -> Tensor:
    kept, taken = const(1 - rate, old.dtype), const(rate, old.dtype)
    return each(old.shape, lambda c: old(c) * kept + new(c) * taken, f"{old.name}_new", "elemwise")


def _moments(data: Tensor, over: Sequence[int]) -> tuple[Tensor, Tensor]:
    """Mean and variance over the axes ``over``, each in the dimensions that are left."""
    count = product([data.shape[d] for d in over]).astype(data.dtype)
    kept = [d for d in range(data.ndim) if d not in over]

    def divided(total: Tensor, name: str) -> Tensor:
        return each(total.shape, lambda *i: binary(Div, total(*i), count), name, INJECTIVE)

    mean = divided(reduced(data, over, False, te.sum, f"{data.name}_sum"), f"{data.name}_mean")

    def square(*i: Any) -> Expr:
        apart = data(*i) - mean(*(i[d] for d in kept))
        return as_expr(apart * apart)

    return mean, divided(reduced(data, over, False, te.sum, f"{data.name}_var_sum", square), f"{data.name}_var")


def layer_norm(
    data: Tensor, gamma: Tensor, beta: Tensor, axis: ExprLike | Sequence[ExprLike], epsilon: float = 1e-5
) -> Tensor:  # fmt: skip
    """``(data - mean) * rsqrt(var + epsilon) * gamma + beta`` over the axes ``axis``, whose extents ``gamma`` and
    ``beta`` have. Raises OperatorError (topi.O1, topi.O2, topi.O4). As ``tvm.topi.nn.layer_norm``.

    >>> from mlcref import te, topi
    >>> topi.nn.layer_norm(te.placeholder((2, 8)), te.placeholder((8,)), te.placeholder((8,)), [1]).ndim
    2
    """
    over = axes_of(axis, data.ndim, "layer_norm")
    _parameters("layer_norm", (gamma, beta), [data.shape[d] for d in over])
    return _normalized(data, over, over, gamma, beta, epsilon, "T_layer_norm")


def instance_norm(
    data: Tensor, gamma: Tensor, beta: Tensor, channel_axis: int, axis: ExprLike | Sequence[ExprLike],
    epsilon: float = 1e-5,
) -> Tensor:  # fmt: skip
    """As :func:`layer_norm` over the axes ``axis``, with one ``gamma`` and ``beta`` per index of ``channel_axis``. As
    ``tvm.topi.nn.instance_norm``, which subtracts the square of the mean from the mean of the squares.

    >>> from mlcref import te, topi
    >>> X, g, b = te.placeholder((2, 3, 8)), te.placeholder((3,)), te.placeholder((3,))
    >>> topi.nn.instance_norm(X, g, b, 1, [2]).ndim
    3
    """
    over = axes_of(axis, data.ndim, "instance_norm")
    channel = axis_of(channel_axis, data.ndim, "instance_norm")
    _parameters("instance_norm", (gamma, beta), [data.shape[channel]])
    return _normalized(data, over, (channel,), gamma, beta, epsilon, "T_instance_norm")


def group_norm(
    data: Tensor, gamma: Tensor, beta: Tensor, num_groups: int, channel_axis: int,
    axes: ExprLike | Sequence[ExprLike], epsilon: float = 1e-5,
) -> Tensor:  # fmt: skip
    """As :func:`layer_norm` over ``axes`` and the channels of each of ``num_groups`` groups, with one ``gamma`` and
    ``beta`` per channel. As ``tvm.topi.nn.group_norm``, which subtracts the square of the mean from the mean of the
    squares.

    >>> from mlcref import te, topi
    >>> X, g, b = te.placeholder((2, 4, 8)), te.placeholder((4,)), te.placeholder((4,))
    >>> topi.nn.group_norm(X, g, b, 2, 1, [2]).ndim
    3
    """
    channel = axis_of(channel_axis, data.ndim, "group_norm")
    over = axes_of(axes, data.ndim, "group_norm")
    channels = number(data.shape[channel], "the number of channels of group_norm")
    if channel in over or num_groups < 1 or channels % num_groups:
        raise OperatorError(f"group_norm of {channels} channels in {num_groups} groups", rule="topi.O3")
    _parameters("group_norm", (gamma, beta), [data.shape[channel]])
    split = [num_groups, channels // num_groups]
    grouped = reshape(data, [*data.shape[:channel], *split, *data.shape[channel + 1 :]])
    inside = [channel + 1, *(d if d < channel else d + 1 for d in over)]
    scales, shifts = reshape(gamma, split), reshape(beta, split)
    result = _normalized(grouped, sorted(inside), (channel, channel + 1), scales, shifts, epsilon, "T_group_norm")
    return reshape(result, data.shape)


def _parameters(name: str, parameters: Sequence[Tensor], shape: Sequence[Expr]) -> None:
    for parameter in parameters:
        if parameter.ndim != len(shape):
            raise OperatorError(f"{name} takes parameters of {told(shape)}", rule="topi.O1")
        for a, b in zip(parameter.shape, shape, strict=True):
            fits(a, b, f"{name} has parameters of {told(parameter.shape)} for {told(shape)}")


def _normalized(
    data: Tensor, over: Sequence[int], own: Sequence[int], gamma: Tensor, beta: Tensor, epsilon: float, name: str
) -> Tensor:  # fmt: skip
    """``data`` normalized over the axes ``over``, with the parameters at the indices of the axes ``own``."""
    floats(data, name)
    if data.dtype in _NARROW:
        wide = [converted(x, "float32") for x in (data, gamma, beta)]
        return converted(_normalized(wide[0], over, own, wide[1], wide[2], epsilon, name), data.dtype)
    mean, variance = _moments(data, over)
    kept = [d for d in range(data.ndim) if d not in over]
    shift = const(epsilon, data.dtype)

    def value(*i: Any) -> Expr:
        at, parameter = [i[d] for d in kept], [i[d] for d in own]
        scaled = (data(*i) - mean(*at)) * te.rsqrt(variance(*at) + shift)
        return as_expr(scaled * gamma(*parameter) + beta(*parameter))

    return each(data.shape, value, name, INJECTIVE)


def rms_norm(data: Tensor, weight: Tensor, axis: ExprLike | Sequence[ExprLike], epsilon: float = 1e-5) -> Tensor:
    """``data * rsqrt(mean of squares + epsilon) * weight`` over the axes ``axis``, whose extents ``weight`` has. Raises
    OperatorError (topi.O1, topi.O2, topi.O4). As ``tvm.topi.nn.rms_norm``.

    >>> from mlcref import te, topi
    >>> topi.nn.rms_norm(te.placeholder((2, 8)), te.placeholder((8,)), [1]).ndim
    2
    """
    floats(data, "rms_norm")
    over = axes_of(axis, data.ndim, "rms_norm")
    _parameters("rms_norm", (weight,), [data.shape[d] for d in over])
    if data.dtype in _NARROW:
        wide = converted(data, "float32"), converted(weight, "float32")
        return converted(rms_norm(*wide, axis, epsilon), data.dtype)
    count = product([data.shape[d] for d in over]).astype(data.dtype)
    squares = reduced(data, over, False, te.sum, f"{data.name}_square_sum", lambda *i: data(*i) * data(*i))
    kept, shift = [d for d in range(data.ndim) if d not in over], const(epsilon, data.dtype)

    def value(*i: Any) -> Expr:
        scale = te.rsqrt(binary(Div, squares(*(i[d] for d in kept)), count) + shift)
        return as_expr(data(*i) * scale * weight(*(i[d] for d in over)))

    return each(data.shape, value, "T_rms_norm", INJECTIVE)


def lrn(
    data: Tensor, size: int, axis: int = 1, alpha: float = 0.0001, beta: float = 0.75, bias: float = 2
) -> Tensor:  # fmt: skip
    """``data / (bias + alpha / size * sum)**beta``, the sum of the squares of the ``size`` (odd) elements around along
    ``axis``. Raises OperatorError (topi.O2, topi.O3, topi.O4). As ``tvm.topi.nn.lrn``.

    >>> from mlcref import te, topi
    >>> topi.nn.lrn(te.placeholder((1, 8, 4, 4)), 5).ndim
    4
    """
    floats(data, "lrn")
    at = axis_of(axis, data.ndim, "lrn")
    if size < 1 or size % 2 == 0:
        raise OperatorError(f"lrn over {size} elements, which have no middle", rule="topi.O3")
    amounts = [size // 2 if d == at else 0 for d in range(data.ndim)]
    padded = pad(data, amounts, name="pad_data")
    tap = te.reduce_axis((0, size), "rxs")

    def total(*i: Any) -> Any:
        element = padded(*i[:at], i[at] + tap, *i[at + 1 :])
        return te.sum(element * element, axis=tap)

    squares = each(data.shape, total, "tensor")
    factor, low, exponent = (const(x, data.dtype) for x in (alpha / size, bias, beta))

    def value(*i: Any) -> Expr:
        return as_expr(data(*i) / call("pow", low + factor * squares(*i), exponent))

    return each(data.shape, value, "T_lrn", BROADCAST)


def scale_shift_nchw(Input: Tensor, Scale: Tensor, Shift: Tensor) -> Tensor:
    """Data NCHW times ``Scale`` plus ``Shift`` of each channel. As ``tvm.topi.nn.scale_shift_nchw``.

    >>> from mlcref import te, topi
    >>> topi.nn.scale_shift_nchw(te.placeholder((1, 3, 8, 8)), te.placeholder((3,)), te.placeholder((3,))).ndim
    4
    """
    return _scale_shift(Input, Scale, Shift, 1)


def scale_shift_nhwc(Input: Tensor, Scale: Tensor, Shift: Tensor) -> Tensor:
    """Data NHWC times ``Scale`` plus ``Shift`` of each channel. As ``tvm.topi.nn.scale_shift_nhwc``.

    >>> from mlcref import te, topi
    >>> topi.nn.scale_shift_nhwc(te.placeholder((1, 8, 8, 3)), te.placeholder((3,)), te.placeholder((3,))).ndim
    4
    """
    return _scale_shift(Input, Scale, Shift, 3)


def _scale_shift(data: Tensor, scale: Tensor, shift: Tensor, at: int) -> Tensor:
    _parameters("scale_shift", (scale, shift), [data.shape[at]])
    return each(data.shape, lambda *i: data(*i) * scale(i[at]) + shift(i[at]), "ScaleShift", BROADCAST)
