"""Conversions of what moves a window over data: convolutions, pooling, padding."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from mlcref import topi
from mlcref.importers.fx_table import converts
from mlcref.relax import op


def repeated(value: Any, dims: int) -> list[int]:
    """One number for each dimension."""
    found = list(value) if isinstance(value, tuple | list) else [value]
    return found * dims if len(found) == 1 else found


def batched(at: Any, x: Any, dims: int, convert: Callable[[Any], Any]) -> Any:
    """``convert(x)``; torch lets the batch be left out, then it is 1 meanwhile."""
    if len(at.shape(x)) == dims + 2:
        return convert(x)
    made = convert(at.emit(op.expand_dims(x, 0)))
    return at.emit(op.squeeze(made, 0))


# Convolutions


def with_bias(at: Any, x: Any, bias: Any, dims: int) -> Any:
    """``x`` plus one number for each channel."""
    if bias is None:
        return x
    return at.emit(op.add(x, at.emit(op.reshape(bias, [1, -1, *[1] * dims]))))


def _same_padding(kernel: Sequence[int], dilation: Sequence[int]) -> list[int]:
    """What torch's "same" adds before each dimension, then after each."""
    total = [d * (k - 1) for k, d in zip(kernel, dilation, strict=True)]
    return [n // 2 for n in total] + [n - n // 2 for n in total]


def _convolution(dims: int) -> Callable[..., Any]:
    build = {1: op.nn.conv1d, 2: op.nn.conv2d}[dims]

    def convert(
        at: Any, input: Any, weight: Any, bias: Any = None, stride: Any = 1, padding: Any = 0, dilation: Any = 1,
        groups: int = 1,
    ) -> Any:  # fmt: skip
        spread = repeated(dilation, dims)
        pads = {"valid": [0] * dims, "same": _same_padding(at.shape(weight)[2:], spread)}
        padding = pads[padding] if isinstance(padding, str) else repeated(padding, dims)

        def convolved(x: Any) -> Any:
            made = at.emit(build(x, weight, repeated(stride, dims), padding, spread, groups))
            return with_bias(at, made, bias, dims)

        return batched(at, input, dims, convolved)

    converts(f"torch.conv{dims}d F.conv{dims}d")(convert)
    return convert


def _convolution_layer(dims: int, convolve: Callable[..., Any]) -> None:
    def convert(at: Any, layer: Any, input: Any) -> Any:
        at.only("zeros", padding_mode=layer.padding_mode)
        weight, bias = weights(at, layer)
        return convolve(at, input, weight, bias, layer.stride, layer.padding, layer.dilation, layer.groups)

    converts(f"nn.Conv{dims}d")(convert)


def weights(at: Any, layer: Any) -> tuple[Any, Any]:
    """Weight and bias of a layer, None for those that it has not."""
    held = (layer.weight, layer.bias)
    return tuple([None if one is None else at.parameter(one) for one in held])  # type: ignore[return-value]


def _transposed(dims: int) -> Callable[..., Any]:
    name = {1: "conv1d_transpose_ncw", 2: "conv2d_transpose_nchw"}[dims]

    def convert(
        at: Any, input: Any, weight: Any, bias: Any = None, stride: Any = 1, padding: Any = 0, output_padding: Any = 0,
        groups: int = 1, dilation: Any = 1,
    ) -> Any:  # fmt: skip
        at.only([1] * dims, dilation=repeated(dilation, dims))
        steps, cut, more = (repeated(numbers, dims) for numbers in (stride, padding, output_padding))
        options = [steps, cut, at.info(input).dtype, more]
        build = getattr(topi.nn, name if groups == 1 else f"group_{name}")
        options += [groups] if groups > 1 else []

        def convolved(x: Any) -> Any:
            return with_bias(at, at.block_builder.emit_te(build, x, weight, *options), bias, dims)

        return batched(at, input, dims, convolved)

    converts(f"torch.conv_transpose{dims}d F.conv_transpose{dims}d")(convert)
    return convert


def _transposed_layer(dims: int, convolve: Callable[..., Any]) -> None:
    def convert(at: Any, layer: Any, input: Any, output_size: Any = None) -> Any:
        at.only("zeros", padding_mode=layer.padding_mode)
        at.only(output_size=output_size)
        weight, bias = weights(at, layer)
        return convolve(
            at, input, weight, bias, layer.stride, layer.padding, layer.output_padding, layer.groups, layer.dilation
        )  # fmt: skip

    converts(f"nn.ConvTranspose{dims}d")(convert)


for _dims in (1, 2):
    _convolution_layer(_dims, _convolution(_dims))
    _transposed_layer(_dims, _transposed(_dims))

# Pooling. In one dimension a pool is one of two whose first extent is 1.


def _flat(dims: int, values: Any, fill: int) -> list[int]:
    return [fill] * (2 - dims) + repeated(values, dims)


def _sizes(dims: int, kernel_size: Any, stride: Any, padding: Any) -> list[list[int]]:
    """Extents, strides and padding of windows; by default they do not overlap."""
    step = kernel_size if stride is None or stride in ([], ()) else stride
    return [_flat(dims, kernel_size, 1), _flat(dims, step, 1), _flat(dims, padding, 0)]


def pooled(at: Any, x: Any, dims: int, pool: Callable[[Any], Any]) -> Any:
    """What ``pool``, which takes two dimensions, makes of data of ``dims`` dimensions."""

    def convert(batch: Any) -> Any:
        if dims == 2:
            return at.emit(pool(batch))
        return at.emit(op.squeeze(at.emit(pool(at.emit(op.expand_dims(batch, 2)))), 2))

    return batched(at, x, dims, convert)


def _max_pool(dims: int) -> Callable[..., Any]:
    def convert(
        at: Any, input: Any, kernel_size: Any, stride: Any = None, padding: Any = 0, dilation: Any = 1,
        ceil_mode: bool = False, return_indices: bool = False,
    ) -> Any:  # fmt: skip
        at.only(False, return_indices=return_indices)
        numbers = [*_sizes(dims, kernel_size, stride, padding), _flat(dims, dilation, 1)]
        return pooled(at, input, dims, lambda x: op.nn.max_pool2d(x, *numbers, ceil_mode=bool(ceil_mode)))

    converts(f"torch.max_pool{dims}d F.max_pool{dims}d")(convert)
    return convert


def _max_pool_layer(dims: int, pool: Callable[..., Any]) -> None:
    def convert(at: Any, layer: Any, input: Any) -> Any:
        return pool(
            at, input, layer.kernel_size, layer.stride, layer.padding, layer.dilation, layer.ceil_mode,
            layer.return_indices,
        )  # fmt: skip

    converts(f"nn.MaxPool{dims}d")(convert)


def _avg_pool(dims: int) -> Callable[..., Any]:
    def convert(
        at: Any, input: Any, kernel_size: Any, stride: Any = None, padding: Any = 0, ceil_mode: bool = False,
        count_include_pad: bool = True, divisor_override: Any = None,
    ) -> Any:  # fmt: skip
        at.only(divisor_override=divisor_override)
        numbers = _sizes(dims, kernel_size, stride, padding)
        flags = {"ceil_mode": bool(ceil_mode), "count_include_pad": bool(count_include_pad)}
        return pooled(at, input, dims, lambda x: op.nn.avg_pool2d(x, *numbers, **flags))

    converts("torch.avg_pool1d F.avg_pool1d" if dims == 1 else "F.avg_pool2d")(convert)
    return convert


def _avg_pool_layer(dims: int, pool: Callable[..., Any]) -> None:
    def convert(at: Any, layer: Any, input: Any) -> Any:
        override = getattr(layer, "divisor_override", None)
        size = (layer.kernel_size, layer.stride, layer.padding)
        return pool(at, input, *size, layer.ceil_mode, layer.count_include_pad, override)

    converts(f"nn.AvgPool{dims}d")(convert)


def _adaptive_avg_pool(dims: int) -> None:
    def convert(at: Any, input: Any, output_size: Any) -> Any:
        own = at.shape(input)[-dims:]
        size = [have if want is None else want for have, want in zip(own, repeated(output_size, dims), strict=True)]
        return pooled(at, input, dims, lambda x: op.nn.adaptive_avg_pool2d(x, _flat(dims, size, 1)))

    converts("torch.adaptive_avg_pool1d F.adaptive_avg_pool1d" if dims == 1 else "F.adaptive_avg_pool2d")(convert)
    converts(f"nn.AdaptiveAvgPool{dims}d")(lambda at, layer, input: convert(at, input, layer.output_size))


for _dims in (1, 2):
    _max_pool_layer(_dims, _max_pool(_dims))
    _avg_pool_layer(_dims, _avg_pool(_dims))
    _adaptive_avg_pool(_dims)


# Padding


@converts("F.pad")
def pad(at: Any, input: Any, pad: Sequence[int], mode: str = "constant", value: Any = None) -> Any:
    """Widths come in pairs, from the last dimension on; a negative one cuts off."""
    at.only("constant", mode=mode)
    shape = at.shape(input)
    pairs = [(0, 0)] * (len(shape) - len(pad) // 2) + [tuple(pad[k : k + 2]) for k in range(len(pad) - 2, -1, -2)]
    widths = [max(width, 0) for pair in pairs for width in pair]
    if any(widths):
        input = at.emit(op.nn.pad(input, widths, "constant", float(value or 0)))
    cut = [axis for axis, pair in enumerate(pairs) if min(pair) < 0]
    if not cut:
        return input
    begin = [max(-pairs[axis][0], 0) for axis in cut]
    end = [at.shape(input)[axis] + min(pairs[axis][1], 0) for axis in cut]
    return at.emit(op.strided_slice(input, cut, begin, end))


def _padding_layer(name: str) -> None:
    def convert(at: Any, layer: Any, input: Any) -> Any:
        return pad(at, input, layer.padding, "constant", getattr(layer, "value", 0))

    converts(f"nn.{name}")(convert)


for _dims in (1, 2):
    _padding_layer(f"ZeroPad{_dims}d")
    _padding_layer(f"ConstantPad{_dims}d")


@converts("F.pixel_shuffle torch.pixel_shuffle")
def _pixel_shuffle(at: Any, input: Any, upscale_factor: int) -> Any:
    *batch, c, h, w = at.shape(input)
    r, first = upscale_factor, len(batch)
    split = at.emit(op.reshape(input, [*batch, c // (r * r), r, r, h, w]))
    turned = at.emit(op.permute_dims(split, [*range(first), *(first + axis for axis in (0, 3, 1, 4, 2))]))
    return at.emit(op.reshape(turned, [*batch, c // (r * r), h * r, w * r]))


converts("nn.PixelShuffle")(lambda at, layer, input: _pixel_shuffle(at, input, layer.upscale_factor))
