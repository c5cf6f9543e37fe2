"""Convolutions of each channel on its own: ``topi.nn.depthwise_conv2d_nchw``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from mlcref import te
from mlcref.ir import Expr, as_expr
from mlcref.te import Tensor
from mlcref.topi.nn.conv import Numbers
from mlcref.topi.nn.windows import Padding, dilated, pad_amounts, padded_input, positions
from mlcref.topi.operands import dimensions, each, fits, numbers, one_of


def depthwise_conv2d_nchw(
    Input: Tensor, Filter: Tensor, stride: Numbers, padding: Padding, dilation: Numbers, out_dtype: str | None = None
) -> Tensor:  # fmt: skip
    """Each channel of data NCHW with its own kernels: ``Filter`` is (channels, results per channel, H, W). Raises
    OperatorError (topi.O1). As ``tvm.topi.nn.depthwise_conv2d_nchw``.

    >>> from mlcref import te, topi
    >>> Y = topi.nn.depthwise_conv2d_nchw(te.placeholder((1, 3, 8, 8)), te.placeholder((3, 2, 3, 3)), 1, 1, 1)
    >>> [int(extent) for extent in Y.shape]
    [1, 6, 8, 8]
    """
    return _depthwise(Input, Filter, (stride, padding, dilation), (1, 2, 3), (0, 1, 2, 3), out_dtype)


def depthwise_conv2d_nhwc(
    Input: Tensor, Filter: Tensor, stride: Numbers, padding: Padding, dilation: Numbers, kernel_layout: str = "HWOI",
    out_dtype: str | None = None,
) -> Tensor:  # fmt: skip
    """As :func:`depthwise_conv2d_nchw`, of data NHWC; ``Filter`` is (H, W, channels, results per channel), or (H, W,
    results per channel, channels) with ``kernel_layout="HWIO"``. As ``tvm.topi.nn.depthwise_conv2d_nhwc``.

    >>> from mlcref import te, topi
    >>> topi.nn.depthwise_conv2d_nhwc(te.placeholder((1, 8, 8, 3)), te.placeholder((3, 3, 3, 1)), 1, 1, 1).ndim
    4
    """
    one_of(kernel_layout, ("HWOI", "HWIO"), "kernel_layout")
    kernel_axes = (2, 3, 0, 1) if kernel_layout == "HWOI" else (3, 2, 0, 1)
    return _depthwise(Input, Filter, (stride, padding, dilation), (3, 1, 2), kernel_axes, out_dtype)


def _depthwise(
    data: Tensor, kernel: Tensor, settings: tuple[Numbers, Padding, Numbers], axes: Sequence[int],
    kernel_axes: Sequence[int], out_dtype: str | None,
) -> Tensor:  # fmt: skip
    """``axes`` are channel, H, W of the data; ``kernel_axes`` channel, result of a channel, H, W of the kernel."""
    name = "a depthwise convolution"
    dimensions(data, 4, name)
    dimensions(kernel, 4, name)
    channel, *spatial = axes
    fits(kernel.shape[kernel_axes[0]], data.shape[channel], f"{name} has so many channels in the kernel and input")
    strides, steps = numbers(settings[0], 2, "strides"), numbers(settings[2], 2, "dilations")
    window = dilated([kernel.shape[d] for d in kernel_axes[2:]], steps)
    before, after = pad_amounts(settings[1], window)
    places = positions([data.shape[d] for d in spatial], window, strides, before, after, name)
    shape = list(data.shape)
    results = data.shape[channel] * kernel.shape[kernel_axes[1]]
    for d, extent in zip(axes, [results, *places], strict=True):
        shape[d] = extent
    source = padded_input(data, spatial, before, after, "PaddedInput")
    element = _element(source, kernel, axes, kernel_axes, strides, steps, out_dtype or data.dtype)
    tag = "depthwise_conv2d_nchw" if channel == 1 else "depthwise_conv2d_nhwc"
    return each(shape, element, "DepthwiseConv2d", tag, axes=list("bcij" if channel == 1 else "bijc"))


def _element(
    source: Tensor, kernel: Tensor, axes: Sequence[int], kernel_axes: Sequence[int], strides: Sequence[int],
    steps: Sequence[int], dtype: str,
) -> Callable[..., Expr]:  # fmt: skip
    channel, *spatial = axes
    own, result, *window = kernel_axes
    multiplier = kernel.shape[result]
    taps = [te.reduce_axis((0, kernel.shape[d]), name) for d, name in zip(window, ("di", "dj"), strict=True)]

    def element(*i: Any) -> Any:
        at, tap_at = list(i), list(i)
        at[channel] = tap_at[own] = i[channel] // multiplier
        tap_at[result] = i[channel] % multiplier
        for d, w, tap, stride, step in zip(spatial, window, taps, strides, steps, strict=True):
            at[d], tap_at[w] = i[d] * stride + tap * step, tap
        return te.sum(as_expr(source(*at)).astype(dtype) * as_expr(kernel(*tap_at)).astype(dtype), axis=taps)

    return element
