"""Windows over images: convolutions, one filter per channel, pooling; NHWC (filters HWIO) and NCHW (filters OIHW)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from mlcref import te
from mlcref.benchmark.bounds import Approximate
from mlcref.benchmark.operators.record import Array, Operator, integers, normal
from mlcref.benchmark.workload import Workload
from mlcref.ir import PrimFunc


def output_size(w: Workload) -> int:
    """Height and width of the result.

    >>> output_size(Workload("max_pool", "float32", (("size", 7), ("kernel", 3), ("stride", 2), ("padding", 1))))
    4
    """
    return (w["size"] + 2 * w["padding"] - w["kernel"]) // w["stride"] + 1


def image(w: Workload, channels: int, size: int) -> tuple[int, ...]:
    """The shape of a batch of one image, in the layout of the workload."""
    return (1, size, size, channels) if w.layout == "NHWC" else (1, channels, size, size)


def _index(w: Workload, n: Any, c: Any, y: Any, x: Any) -> tuple[Any, ...]:
    return (n, y, x, c) if w.layout == "NHWC" else (n, c, y, x)


def _named(w: Workload, axes: tuple[Any, ...]) -> tuple[Any, ...]:
    """Axes in the layout of the workload as batch, channel, row, column."""
    n, a, b, c = axes
    return (n, c, a, b) if w.layout == "NHWC" else (n, a, b, c)


def _padded(w: Workload, x: te.Tensor, filling: Any) -> te.Tensor:
    size, p = w["size"], w["padding"]
    if not p:
        return x

    def element(*axes: Any) -> Any:
        n, c, i, j = _named(w, axes)
        inside = te.all(i >= p, i < size + p, j >= p, j < size + p)
        return te.if_then_else(inside, x[_index(w, n, c, i - p, j - p)], filling)

    return te.compute(image(w, w["channels"], size + 2 * p), _four(element), name="P")


def _four(function: Callable[..., Any]) -> Callable[[Any, Any, Any, Any], Any]:
    """``te.compute`` counts the parameters of its function."""
    return lambda n, a, b, c: function(n, a, b, c)


def _conv2d(w: Workload) -> PrimFunc:
    x = te.placeholder(image(w, w["channels"], w["size"]), w.dtype, name="X")
    weight = te.placeholder(_filters(w), w.dtype, name="W")
    padded, s = _padded(w, x, te.const(0.0, w.dtype)), w["stride"]
    per_group, filters_per_group = w["channels"] // w["groups"], w["filters"] // w["groups"]
    rc, ry, rx = (te.reduce_axis((0, size), name=name) for size, name in _window(w, per_group))

    def element(*axes: Any) -> Any:
        n, f, y, x = _named(w, axes)
        channel = rc if w["groups"] == 1 else te.floordiv(f, filters_per_group) * per_group + rc
        taken = padded[_index(w, n, channel, y * s + ry, x * s + rx)]
        factor = weight[ry, rx, rc, f] if w.layout == "NHWC" else weight[f, rc, ry, rx]
        return te.sum(taken * factor, axis=[ry, rx, rc] if w.layout == "NHWC" else [rc, ry, rx])

    y = te.compute(image(w, w["filters"], output_size(w)), _four(element), name="Y")
    return te.create_prim_func([x, weight, y])


def _window(w: Workload, channels: int) -> tuple[tuple[int, str], ...]:
    return (channels, "rc"), (w["kernel"], "ry"), (w["kernel"], "rx")


def _filters(w: Workload) -> tuple[int, ...]:
    per_group, k = w["channels"] // w["groups"], w["kernel"]
    return (k, k, per_group, w["filters"]) if w.layout == "NHWC" else (w["filters"], per_group, k, k)


def windows(w: Workload, x: Array, filling: float) -> Array:
    """What each element of the result sees: channel, row, column, row and column in the window; a view."""
    channels_first = (x.transpose(0, 3, 1, 2) if w.layout == "NHWC" else x)[0]
    p, k, s = w["padding"], w["kernel"], w["stride"]
    padded = np.pad(channels_first, ((0, 0), (p, p), (p, p)), constant_values=filling) if p else channels_first
    return np.lib.stride_tricks.sliding_window_view(padded, (k, k), axis=(1, 2))[:, ::s, ::s]


def _back(w: Workload, y: Array) -> Array:
    """From channel, row, column to the layout of the workload."""
    return np.ascontiguousarray(y.transpose(1, 2, 0) if w.layout == "NHWC" else y)[None]


def convolved(w: Workload, x: Array, weight: Array) -> Array:
    """The convolution as products of matrices, one for each group."""
    seen = windows(w, x, 0.0)
    by_filter = weight.transpose(3, 2, 0, 1) if w.layout == "NHWC" else weight
    inputs, outputs = np.split(seen, w["groups"]), np.split(by_filter, w["groups"])
    parts = [np.tensordot(f, g, axes=([1, 2, 3], [0, 3, 4])) for f, g in zip(outputs, inputs, strict=True)]
    return _back(w, np.concatenate(parts))


CONV2D = Operator(
    _conv2d,
    lambda w, rng: (
        integers(rng, image(w, w["channels"], w["size"]), w.dtype),
        integers(rng, _filters(w), w.dtype),
    ),
    lambda w: image(w, w["filters"], output_size(w)),
    lambda w, x, weight: Approximate.exact(x, w.dtype).contract(
        Approximate.exact(weight, w.dtype), lambda a, b: convolved(w, a, b), conv2d_terms(w)
    ),
    lambda w: lambda x, weight: convolved(w, x, weight),
    lambda w: 2 * output_size(w) ** 2 * w["filters"] * conv2d_terms(w),
    weights=1,
)


def conv2d_terms(w: Workload) -> int:
    """How many products make an element of the result."""
    return w["channels"] // w["groups"] * w["kernel"] ** 2


def _depthwise(w: Workload) -> PrimFunc:
    x = te.placeholder(image(w, w["channels"], w["size"]), w.dtype, name="X")
    weight = te.placeholder(_channel_filters(w), w.dtype, name="W")
    padded, s = _padded(w, x, te.const(0.0, w.dtype)), w["stride"]
    ry, rx = (te.reduce_axis((0, w["kernel"]), name=name) for name in ("ry", "rx"))

    def element(*axes: Any) -> Any:
        n, c, y, x = _named(w, axes)
        factor = weight[ry, rx, c] if w.layout == "NHWC" else weight[c, ry, rx]
        return te.sum(padded[_index(w, n, c, y * s + ry, x * s + rx)] * factor, axis=[ry, rx])

    y = te.compute(image(w, w["channels"], output_size(w)), _four(element), name="Y")
    return te.create_prim_func([x, weight, y])


def _channel_filters(w: Workload) -> tuple[int, ...]:
    k = w["kernel"]
    return (k, k, w["channels"]) if w.layout == "NHWC" else (w["channels"], k, k)


def filtered(w: Workload, x: Array, weight: Array) -> Array:
    """Every channel with its own filter."""
    by_channel = weight.transpose(2, 0, 1) if w.layout == "NHWC" else weight
    return _back(w, np.einsum("chwij,cij->chw", windows(w, x, 0.0), by_channel))


DEPTHWISE = Operator(
    _depthwise,
    lambda w, rng: (
        integers(rng, image(w, w["channels"], w["size"]), w.dtype),
        integers(rng, _channel_filters(w), w.dtype),
    ),
    lambda w: image(w, w["channels"], output_size(w)),
    lambda w, x, weight: Approximate.exact(x, w.dtype).contract(
        Approximate.exact(weight, w.dtype), lambda a, b: filtered(w, a, b), w["kernel"] ** 2
    ),
    lambda w: lambda x, weight: filtered(w, x, weight),
    lambda w: 2 * output_size(w) ** 2 * w["channels"] * w["kernel"] ** 2,
    weights=1,
)


def _max_pool(w: Workload) -> PrimFunc:
    x = te.placeholder(image(w, w["channels"], w["size"]), w.dtype, name="X")
    padded, s = _padded(w, x, te.min_value(w.dtype)), w["stride"]
    ry, rx = (te.reduce_axis((0, w["kernel"]), name=name) for name in ("ry", "rx"))

    def element(*axes: Any) -> Any:
        n, c, y, x = _named(w, axes)
        return te.max(padded[_index(w, n, c, y * s + ry, x * s + rx)], axis=[ry, rx])

    y = te.compute(image(w, w["channels"], output_size(w)), _four(element), name="Y")
    return te.create_prim_func([x, y])


def largest(w: Workload, x: Array) -> Array:
    """The largest element of every window."""
    return _back(w, windows(w, x, -np.inf).max(axis=(3, 4)))


MAX_POOL = Operator(
    _max_pool,
    lambda w, rng: (normal(rng, image(w, w["channels"], w["size"]), w.dtype),),
    lambda w: image(w, w["channels"], output_size(w)),
    lambda w, x: Approximate.exact(largest(w, x), w.dtype),
    lambda w: lambda x: largest(w, x),
    lambda w: output_size(w) ** 2 * w["channels"] * w["kernel"] ** 2,
)


def pixel_axes(w: Workload) -> tuple[int, int]:
    """The axes of rows and columns."""
    return (1, 2) if w.layout == "NHWC" else (2, 3)


def _mean_pool(w: Workload) -> PrimFunc:
    x = te.placeholder(image(w, w["channels"], w["size"]), w.dtype, name="X")
    ry, rx = (te.reduce_axis((0, w["size"]), name=name) for name in ("ry", "rx"))
    total = te.compute(
        (1, w["channels"]), lambda n, c: te.sum(x[_index(w, n, c, ry, rx)], axis=[ry, rx]), name="S"
    )
    count = te.const(float(w["size"] ** 2), w.dtype)
    return te.create_prim_func([x, te.compute((1, w["channels"]), lambda n, c: total[n, c] / count, name="Y")])


def _mean_pool_reference(w: Workload, x: Array) -> Approximate:
    pixels = x.transpose(0, 3, 1, 2) if w.layout == "NHWC" else x
    flat = Approximate.exact(pixels.reshape(1, w["channels"], -1), w.dtype)
    return flat.sum(2).scaled(1 / w["size"] ** 2)


MEAN_POOL = Operator(
    _mean_pool,
    lambda w, rng: (integers(rng, image(w, w["channels"], w["size"]), w.dtype),),
    lambda w: (1, w["channels"]),
    _mean_pool_reference,
    lambda w: lambda x: x.mean(axis=pixel_axes(w)),
    lambda w: w["channels"] * (w["size"] ** 2 + 1),
)
