"""Operators that move a window over the data: convolutions, pooling, padding.

A layout such as "NCHW" names the axes; what is computed is computed for channels first, and indices are permuted.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from mlcref import dtype as dt
from mlcref import te, topi
from mlcref.arith import simplified
from mlcref.ir import constant
from mlcref.ir.graph import StructInfo, TensorStructInfo, dim
from mlcref.ir.graph_ops import Attribute
from mlcref.relax.op.rows import (
    Builder, also_accepts, choice, dtype_attr, flag, float_attr, int_attr, ints, optional, padding, repeated, require,
    require_float, row,
)  # fmt: skip
from mlcref.relax.op.shapes import Shape, described, extents, number, require_same, tensor

Array = np.ndarray[Any, Any]
Numbers = tuple[int, ...]
_SPATIAL = {1: "W", 2: "HW", 3: "DHW"}


def order_of(layout: str, wanted: str) -> list[int]:
    """Where in ``layout`` each axis of ``wanted`` stands."""
    return [layout.index(axis) for axis in wanted]


def windows(
    shape: Sequence[Any], sizes: Sequence[Any], strides: Numbers, pads: Numbers, dilation: Numbers
) -> list[Any]:
    """How many windows there are along each axis of ``shape``."""
    dims = len(strides)
    return [
        simplified((shape[d] + (pads[d] + pads[d + dims]) - dilation[d] * (sizes[d] - 1) - 1) // strides[d] + 1)
        for d in range(dims)
    ]  # fmt: skip


def _some(name: str, counts: list[Any]) -> list[Any]:
    """The numbers of windows; raises ``TypeMismatch`` where there are none."""
    for count in counts:
        known = constant(count)
        require(known is None or known > 0, f"{name}: the window is larger than the padded data")
    return counts


def _positive(name: str, **values: Numbers) -> None:
    for what, numbers in values.items():
        require(min(numbers) > 0, f"{name}: {what} are positive, not {list(numbers)}")


# Convolutions


def _infer_conv(dims: int) -> Callable[..., StructInfo]:
    name, outer = f"nn.conv{dims}d", f"NC{_SPATIAL[dims]}"

    def infer(
        data: TensorStructInfo, weight: TensorStructInfo, strides: Numbers, padding: Numbers, dilation: Numbers,
        groups: int, data_layout: str, kernel_layout: str, out_dtype: str | None,
    ) -> StructInfo:  # fmt: skip
        for info, what in ((data, "data"), (weight, "weight")):
            require(info.ndim == dims + 2, f"{name} takes {what} of {dims + 2} dimensions, got {info.ndim}")
        require(data.dtype == weight.dtype, f"{name} of {data.dtype} and {weight.dtype}")
        require(not dt.is_bool(data.dtype), f"{name} is not defined on bool")
        _positive(name, strides=strides, dilation=dilation, groups=(groups,))
        n, c, *size = (extents(data)[axis] for axis in order_of(data_layout, outer))
        o, i, *kernel = (extents(weight)[axis] for axis in order_of(kernel_layout, f"OI{_SPATIAL[dims]}"))
        require_same(c, i * groups, f"{name}: the numbers of channels")
        if groups > 1:
            outputs = number(o, f"{name}: the number of outputs")
            require(outputs % groups == 0, f"{name}: {outputs} outputs in {groups} groups")
        result = [n, o, *_some(name, windows(size, kernel, strides, padding, dilation))]
        return tensor([result[axis] for axis in order_of(outer, data_layout)], out_dtype or data.dtype)

    return infer


def _conv_reference(dims: int) -> Callable[..., Array]:
    outer, inner = f"NC{_SPATIAL[dims]}", f"OI{_SPATIAL[dims]}"

    def compute(
        data: Array, weight: Array, strides: Numbers, padding: Numbers, dilation: Numbers, groups: int,
        data_layout: str, kernel_layout: str, out_dtype: str | None,
    ) -> Array:  # fmt: skip
        wide = dt.numpy_dtype(out_dtype) if out_dtype and dt.is_integer(out_dtype) else data.dtype
        x = data.transpose(order_of(data_layout, outer)).astype(wide)
        w = weight.transpose(order_of(kernel_layout, inner)).astype(wide)
        view = _windows_of(x, w.shape[2:], strides, padding, dilation, 0)
        n, c, size = x.shape[0], w.shape[1], view.shape[2 : 2 + dims]
        split = view.reshape(n, groups, c, *size, *w.shape[2:])
        kernels = w.reshape(groups, w.shape[0] // groups, c, *w.shape[2:])
        s, k = "xyz"[:dims], "uvw"[:dims]
        result = np.einsum(f"ngc{s}{k},goc{k}->ngo{s}", split, kernels).reshape(n, w.shape[0], *size)
        back: Array = result.transpose(order_of(outer, data_layout))
        return back

    return compute


def _around(pads: Numbers) -> list[tuple[int, int]]:
    """What is added before and after each axis of (n, c, …)."""
    dims = len(pads) // 2
    return [(0, 0), (0, 0), *((pads[d], pads[d + dims]) for d in range(dims))]


def _windows_of(
    x: Array, sizes: Sequence[int], strides: Numbers, pads: Numbers, dilation: Numbers, value: Any
) -> Array:
    """A view (n, c, windows …, within a window …) of ``x`` with ``value`` around it."""
    dims = len(sizes)
    wide = np.pad(x, _around(pads), constant_values=value)
    spans = [(size - 1) * step + 1 for size, step in zip(sizes, dilation, strict=True)]
    view = np.lib.stride_tricks.sliding_window_view(wide, spans, tuple(range(2, 2 + dims)))
    picks = [slice(None, None, step) for step in (*strides, *dilation)]
    return view[(slice(None), slice(None), *picks)]


def _conv(
    data: te.Tensor, weight: te.Tensor, strides: Numbers, padding: Numbers, dilation: Numbers, groups: int,
    data_layout: str, kernel_layout: str, out_dtype: str | None,
) -> te.Tensor:  # fmt: skip
    return topi.nn.conv(data, weight, strides, padding, dilation, groups, data_layout, kernel_layout, out_dtype)


def _conv_row(dims: int, layouts: Sequence[str], kernels: Sequence[str]) -> Builder:
    attributes = (
        repeated("strides", dims, 1), padding("padding", dims), repeated("dilation", dims, 1), int_attr("groups", 1),
        choice("data_layout", layouts, layouts[0]), choice("kernel_layout", kernels, kernels[0]),
        dtype_attr("out_dtype", None),
    )  # fmt: skip
    name = f"nn.conv{dims}d"
    made = row(
        name, "data weight", attributes, _infer_conv(dims), _conv, _conv_reference(dims),
        f"The convolution over {dims} axes: products of ``weight`` with each window of ``data``, summed.",
    )  # fmt: skip
    return also_accepts(name, made, "out_layout", lambda call: call.attrs["data_layout"])


conv1d = _conv_row(1, ("NCW", "NWC"), ("OIW", "WIO", "OWI"))
conv2d = _conv_row(2, ("NCHW", "NHWC"), ("OIHW", "HWIO", "OHWI"))

# Pooling

_POOL = (
    repeated("pool_size", 2, 1), repeated("strides", 2, 1), padding("padding", 2), repeated("dilation", 2, 1),
    flag("ceil_mode", False), flag("count_include_pad", False), choice("layout", ("NCHW", "NHWC"), "NCHW"),
)  # fmt: skip


def _ceiled(strides: Numbers, pads: Numbers, ceil_mode: bool) -> Numbers:
    """Padding at the end such that the number of windows is rounded up."""
    return (*pads[:2], *(pads[2 + d] + strides[d] - 1 for d in range(2))) if ceil_mode else pads


def _infer_pool(name: str) -> Callable[..., StructInfo]:
    def infer(
        data: TensorStructInfo, pool_size: Numbers, strides: Numbers, padding: Numbers, dilation: Numbers,
        ceil_mode: bool, layout: str, **_: Any,
    ) -> StructInfo:  # fmt: skip
        require(data.ndim == 4, f"{name} takes 4 dimensions, got {data.ndim}")
        require_float(name, data.dtype) if "avg" in name else require(not dt.is_bool(data.dtype), f"{name} of bool")
        _positive(name, pool_size=pool_size, strides=strides, dilation=dilation)
        shape = [extents(data)[axis] for axis in order_of(layout, "NCHW")]
        pads = _ceiled(strides, padding, ceil_mode)
        size = _some(name, windows(shape[2:], pool_size, strides, pads, dilation))
        for d in range(2):
            _require_inside(name, shape[2 + d], size[d], pool_size[d], strides[d], (pads[d], pads[d + 2]), dilation[d])
        result = [*shape[:2], *size]
        return tensor([result[axis] for axis in order_of("NCHW", layout)], data.dtype)

    return infer


def _require_inside(
    name: str, extent: Any, count: Any, size: int, stride: int, pads: tuple[int, int], dilation: int
) -> None:
    """Every window has an element of the data."""
    known, total = constant(extent), constant(count)
    if known is None or total is None:
        fits = dilation == 1 and max(pads) < size
    else:
        starts = [k * stride - pads[0] for k in {0, total - 1}]
        fits = all(any(0 <= start + j * dilation < known for j in range(size)) for start in starts)
    message = f"{name}: a window of {size} may lie in the padding alone, {pads[0]} before and {pads[1]} after"
    require(fits, message, "pad less, or not with ceil_mode")


def _pool(kind: str) -> Callable[..., te.Tensor]:
    def legalize(
        data: te.Tensor, pool_size: Numbers, strides: Numbers, padding: Numbers, dilation: Numbers, ceil_mode: bool,
        count_include_pad: bool, layout: str,
    ) -> te.Tensor:  # fmt: skip
        return topi.nn.pool2d(
            data, pool_size, strides, dilation, padding, kind, ceil_mode, layout, count_include_pad
        )  # fmt: skip

    return legalize


def _pool_reference(fold: Callable[..., Array], value: float) -> Callable[..., Array]:
    def compute(
        data: Array, pool_size: Numbers, strides: Numbers, padding: Numbers, dilation: Numbers, ceil_mode: bool,
        count_include_pad: bool, layout: str,
    ) -> Array:  # fmt: skip
        x = data.transpose(order_of(layout, "NCHW"))
        lowest = value if data.dtype.kind == "f" else np.iinfo(data.dtype).min
        pads = _ceiled(strides, padding, ceil_mode)
        view = _windows_of(x, pool_size, strides, pads, dilation, lowest)
        counted = np.pad(np.ones_like(x), _around(padding), constant_values=int(count_include_pad))
        room = (0, 0, *(pads[2 + d] - padding[2 + d] for d in range(2)))
        ones = _windows_of(counted, pool_size, strides, room, dilation, 0)
        return fold(view, ones).transpose(order_of("NCHW", layout))

    return compute


max_pool2d = row(
    "nn.max_pool2d", "data", _POOL, _infer_pool("nn.max_pool2d"), _pool("max"),
    _pool_reference(lambda view, ones: view.max((-2, -1)), -np.inf), "The largest element of each window.",
)  # fmt: skip
avg_pool2d = row(
    "nn.avg_pool2d", "data", _POOL, _infer_pool("nn.avg_pool2d"), _pool("avg"),
    _pool_reference(lambda view, ones: view.sum((-2, -1)) / ones.sum((-2, -1)), 0.0),
    "The mean of each window, with or without the padding (floats).",
)  # fmt: skip


def _output_size(data: TensorStructInfo, output_size: Numbers | None, layout: str) -> list[Any]:
    own = [extents(data)[layout.index(axis)] for axis in "HW"]
    return own if output_size is None else list(output_size)


def _infer_adaptive(data: TensorStructInfo, output_size: Numbers | None, layout: str) -> StructInfo:
    name = "nn.adaptive_avg_pool2d"
    require(data.ndim == 4, f"{name} takes 4 dimensions, got {data.ndim}")
    require_float(name, data.dtype)
    shape = list(extents(data))
    for axis, size in zip("HW", _output_size(data, output_size, layout), strict=True):
        number(shape[layout.index(axis)], f"{name}: the extent of {axis}")
        require(constant(size) != 0 if not isinstance(size, int) else size > 0, f"{name}: an output of {size}")
        shape[layout.index(axis)] = size
    return tensor(shape, data.dtype)


def _adaptive(data: te.Tensor, output_size: Numbers | None, layout: str) -> te.Tensor:
    sizes = [number(dim(size), "the output") for size in _output_size(described(data), output_size, layout)]
    return topi.nn.adaptive_pool(data, sizes, "avg", layout)


def _bins(extent: int, count: int) -> list[tuple[int, int]]:
    """Where each of ``count`` windows over ``extent`` elements begins and ends."""
    return [(k * extent // count, -(-(k + 1) * extent // count)) for k in range(count)]


def _adaptive_reference(data: Array, output_size: Numbers | None, layout: str) -> Array:
    x = data.transpose(order_of(layout, "NCHW"))
    given = x.shape[2:] if output_size is None else output_size
    result = np.empty((*x.shape[:2], *given))
    rows, columns = (list(enumerate(_bins(x.shape[2 + d], given[d]))) for d in range(2))
    for (r, (top, bottom)), (c, (left, right)) in itertools.product(rows, columns):
        result[:, :, r, c] = x[:, :, top:bottom, left:right].mean((2, 3))
    return result.transpose(order_of("NCHW", layout))


def _in_one_layout(name: str, builder: Builder) -> Builder:
    return also_accepts(name, builder, "out_layout", lambda call: call.attrs["layout"])


max_pool2d = _in_one_layout("nn.max_pool2d", max_pool2d)
avg_pool2d = _in_one_layout("nn.avg_pool2d", avg_pool2d)
adaptive_avg_pool2d = row(
    "nn.adaptive_avg_pool2d", "data",
    (Attribute("output_size", optional(repeated("output_size", 2).convert), None),
     choice("layout", ("NCHW", "NHWC"), "NCHW")),
    _infer_adaptive, _adaptive,
    _adaptive_reference, "The means of ``output_size`` windows that cover the data evenly (floats).",
)  # fmt: skip

adaptive_avg_pool2d = _in_one_layout("nn.adaptive_avg_pool2d", adaptive_avg_pool2d)

# Padding


def _infer_pad(data: TensorStructInfo, pad_width: Numbers, pad_mode: str, pad_value: float) -> StructInfo:
    require(len(pad_width) == 2 * data.ndim, f"nn.pad takes {2 * data.ndim} widths, got {len(pad_width)}")
    require(min(pad_width, default=0) >= 0, f"nn.pad by {list(pad_width)}")
    require(dt.is_float(data.dtype) or float(pad_value).is_integer(), f"nn.pad of {data.dtype} with {pad_value}")
    require(not dt.is_bool(data.dtype), "nn.pad is not defined on bool")
    shape: Shape = extents(data)
    wide = [extent + (pad_width[2 * d] + pad_width[2 * d + 1]) for d, extent in enumerate(shape)]
    return tensor(wide, data.dtype)


def _pad(data: te.Tensor, pad_width: Numbers, pad_mode: str, pad_value: float) -> te.Tensor:
    value = pad_value if dt.is_float(data.dtype) else int(pad_value)
    return topi.nn.pad(data, list(pad_width[::2]), list(pad_width[1::2]), te.const(value, data.dtype))


pad = row(
    "nn.pad", "data", (ints("pad_width"), choice("pad_mode", ("constant",), "constant"), float_attr("pad_value", 0.0)),
    _infer_pad, _pad,
    lambda data, pad_width, pad_mode, pad_value: np.pad(
        data, list(zip(pad_width[::2], pad_width[1::2], strict=True)), constant_values=pad_value
    ),
    "``data`` with ``pad_value`` around it: before and after each axis as many as ``pad_width`` says.",
)  # fmt: skip
