"""Convolutions: ``topi.nn.conv2d_nchw``, ``topi.nn.conv1d``, ``topi.nn.depthwise_conv2d_nchw`` …"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from mlcref import te
from mlcref.ir import Expr, ExprLike, as_expr
from mlcref.te import Tensor
from mlcref.topi.nn.windows import Padding, dilated, divides, pad_amounts, padded_input, positions
from mlcref.topi.operands import OperatorError, dimensions, each, fits, numbers, spatial_axes, told

Numbers = ExprLike | Sequence[ExprLike]
_KERNEL_LAYOUTS = {"NCW": "OIW", "NWC": "WIO", "NCHW": "OIHW", "NHWC": "HWIO", "HWCN": "HWIO", "NCDHW": "OIDHW",
                   "NDHWC": "DHWIO"}  # fmt: skip


def conv(
    inp: Tensor, filt: Tensor, stride: Numbers, padding: Padding, dilation: Numbers, groups: int, data_layout: str,
    kernel_layout: str = "", out_dtype: str | None = None,
) -> Tensor:  # fmt: skip
    """The convolution (a correlation: the kernel is not turned) of ``inp`` with ``filt`` in one, two or three spatial
    dimensions, in any order of dimensions: ``data_layout`` of N, C and some of D, H, W; ``kernel_layout`` of O, I and
    the same.

    ``padding`` is as :func:`mlcref.topi.nn.pad_amounts` reads it. With ``groups``, group g of the output channels sees
    group g of the input channels. Factors are converted to ``out_dtype``, that of ``inp`` by default. Raises
    OperatorError (topi.O1, topi.O3). As ``tvm.topi.nn.conv``.

    >>> from mlcref import te, topi
    >>> X, W = te.placeholder((1, 8, 8, 4)), te.placeholder((3, 3, 2, 6))
    >>> [int(extent) for extent in topi.nn.conv(X, W, 2, 1, 1, 2, "NHWC").shape]
    [1, 4, 4, 6]
    """
    name = f"{'group_' if groups > 1 else ''}conv{inp.ndim - 2}d_{data_layout.lower()}"
    layout = kernel_layout or _KERNEL_LAYOUTS.get(data_layout, "")
    axes, kernel_axes = spatial_axes(data_layout, inp.ndim, name), spatial_axes(layout, filt.ndim, name, "OI")
    if len(axes) != len(kernel_axes):
        raise OperatorError(f"{name} of {told(inp.shape)} with {told(filt.shape)}", rule="topi.O1")
    strides, steps = numbers(stride, len(axes), "strides"), numbers(dilation, len(axes), "dilations")
    window = dilated([filt.shape[d] for d in kernel_axes], steps)
    before, after = pad_amounts(padding, window)
    places = positions([inp.shape[d] for d in axes], window, strides, before, after, name)
    channel, o, i = data_layout.index("C"), layout.index("O"), layout.index("I")
    divides(filt.shape[o], groups, name)
    fits(filt.shape[i] * groups, inp.shape[channel], f"{name} has so many channels in the kernel and in the input")
    shape = list(inp.shape)
    for d, extent in zip([channel, *axes], [filt.shape[o], *places], strict=True):
        shape[d] = extent
    source = padded_input(inp, axes, before, after)
    element = _correlation(source, filt, (channel, *axes), (o, i, *kernel_axes), strides, steps, groups, out_dtype)
    loops = {"N": "nn", "C": "ff", **dict(zip((data_layout[d] for d in axes), ("yy", "xx", "zz"), strict=False))}
    return each(shape, element, name, name, axes=[loops[letter] for letter in data_layout])


def _correlation(
    source: Tensor, filt: Tensor, axes: Sequence[int], kernel_axes: Sequence[int], strides: Sequence[int],
    steps: Sequence[int], groups: int, out_dtype: str | None,
) -> Callable[..., Expr]:  # fmt: skip
    """The element at some indices. ``axes`` are those of the channels and the spatial ones of the data, ``kernel_axes``
    those of output and input channels, then the spatial ones, of the kernel.
    """
    channel, *spatial = axes
    o, ci, *window = kernel_axes
    dtype = out_dtype or source.dtype
    rc = te.reduce_axis((0, filt.shape[ci]), "rc")
    taps = [te.reduce_axis((0, filt.shape[d]), name) for d, name in zip(window, ("ry", "rx", "rz"), strict=False)]

    def element(*i: Any) -> Any:
        at, tap_at = list(i), list(i)
        group = i[channel] // (filt.shape[o] // groups)
        at[channel] = group * filt.shape[ci] + rc if groups > 1 else rc
        tap_at[o], tap_at[ci] = i[channel], rc
        for d, w, tap, stride, step in zip(spatial, window, taps, strides, steps, strict=True):
            at[d], tap_at[w] = i[d] * stride + tap * step, tap
        return te.sum(as_expr(source(*at)).astype(dtype) * as_expr(filt(*tap_at)).astype(dtype), axis=[rc, *taps])

    return element


def _with_groups(
    data: Tensor, kernel: Tensor, settings: tuple[Numbers, Padding, Numbers, int], layouts: tuple[str, str],
    out_dtype: str | None,
) -> Tensor:  # fmt: skip
    strides, padding, dilation, groups = settings
    ndim = len(layouts[0])
    dimensions(data, ndim, f"a convolution of {layouts[0]}")
    dimensions(kernel, ndim, f"a convolution of {layouts[0]}")
    return conv(data, kernel, strides, padding, dilation, groups, *layouts, out_dtype)


def conv1d(
    data: Tensor, kernel: Tensor, strides: Numbers = 1, padding: Padding = "VALID", dilation: Numbers = 1,
    groups: int = 1, data_layout: str = "NCW", kernel_layout: str = "", out_dtype: str | None = None,
) -> Tensor:  # fmt: skip
    """:func:`conv` in one spatial dimension. As ``tvm.topi.nn.conv1d``.

    >>> from mlcref import te, topi
    >>> Y = topi.nn.conv1d(te.placeholder((1, 2, 8)), te.placeholder((4, 2, 3)), padding="SAME")
    >>> [int(extent) for extent in Y.shape]
    [1, 4, 8]
    """
    return _with_groups(data, kernel, (strides, padding, dilation, groups), (data_layout, kernel_layout), out_dtype)


def conv1d_ncw(
    data: Tensor, kernel: Tensor, strides: Numbers = 1, padding: Padding = "VALID", dilation: Numbers = 1,
    out_dtype: str | None = None,
) -> Tensor:  # fmt: skip
    """:func:`conv` of data NCW with a kernel OIW. As ``tvm.topi.nn.conv1d_ncw``.

    >>> from mlcref import te, topi
    >>> topi.nn.conv1d_ncw(te.placeholder((1, 2, 8)), te.placeholder((4, 2, 3))).ndim
    3
    """
    return _with_groups(data, kernel, (strides, padding, dilation, 1), ("NCW", "OIW"), out_dtype)


def conv1d_nwc(
    data: Tensor, kernel: Tensor, strides: Numbers = 1, padding: Padding = "VALID", dilation: Numbers = 1,
    out_dtype: str | None = None,
) -> Tensor:  # fmt: skip
    """:func:`conv` of data NWC with a kernel WIO. As ``tvm.topi.nn.conv1d_nwc``.

    >>> from mlcref import te, topi
    >>> topi.nn.conv1d_nwc(te.placeholder((1, 8, 2)), te.placeholder((3, 2, 4))).ndim
    3
    """
    return _with_groups(data, kernel, (strides, padding, dilation, 1), ("NWC", "WIO"), out_dtype)


def group_conv1d_ncw(
    data: Tensor, kernel: Tensor, strides: Numbers = 1, padding: Padding = "VALID", dilation: Numbers = 1,
    groups: int = 1, out_dtype: str | None = None,
) -> Tensor:  # fmt: skip
    """:func:`conv` of data NCW with a kernel OIW, in groups. As ``tvm.topi.nn.group_conv1d_ncw``.

    >>> from mlcref import te, topi
    >>> topi.nn.group_conv1d_ncw(te.placeholder((1, 4, 8)), te.placeholder((4, 2, 3)), groups=2).ndim
    3
    """
    return _with_groups(data, kernel, (strides, padding, dilation, groups), ("NCW", "OIW"), out_dtype)


def group_conv1d_nwc(
    data: Tensor, kernel: Tensor, strides: Numbers = 1, padding: Padding = "VALID", dilation: Numbers = 1,
    groups: int = 1, out_dtype: str | None = None,
) -> Tensor:  # fmt: skip
    """:func:`conv` of data NWC with a kernel WIO, in groups. As ``tvm.topi.nn.group_conv1d_nwc``.

    >>> from mlcref import te, topi
    >>> topi.nn.group_conv1d_nwc(te.placeholder((1, 8, 4)), te.placeholder((3, 2, 4)), groups=2).ndim
    3
    """
    return _with_groups(data, kernel, (strides, padding, dilation, groups), ("NWC", "WIO"), out_dtype)


def conv2d(
    input: Tensor, filter: Tensor, strides: Numbers, padding: Padding, dilation: Numbers, data_layout: str = "NCHW",
    kernel_layout: str = "", out_dtype: str | None = None,
) -> Tensor:  # fmt: skip
    """:func:`conv` in two spatial dimensions. As ``tvm.topi.nn.conv2d``.

    >>> from mlcref import te, topi
    >>> Y = topi.nn.conv2d(te.placeholder((1, 1, 28, 28)), te.placeholder((32, 1, 3, 3)), 1, 0, 1)
    >>> [int(extent) for extent in Y.shape]
    [1, 32, 26, 26]
    """
    return _with_groups(input, filter, (strides, padding, dilation, 1), (data_layout, kernel_layout), out_dtype)


def conv2d_nchw(
    Input: Tensor, Filter: Tensor, stride: Numbers, padding: Padding, dilation: Numbers, out_dtype: str | None = None
) -> Tensor:  # fmt: skip
    """:func:`conv` of data NCHW with a kernel OIHW. As ``tvm.topi.nn.conv2d_nchw``.

    >>> from mlcref import te, topi
    >>> topi.nn.conv2d_nchw(te.placeholder((1, 2, 8, 8)), te.placeholder((4, 2, 3, 3)), 1, 1, 1).ndim
    4
    """
    return _with_groups(Input, Filter, (stride, padding, dilation, 1), ("NCHW", "OIHW"), out_dtype)


def conv2d_nhwc(
    Input: Tensor, Filter: Tensor, stride: Numbers, padding: Padding, dilation: Numbers,
    out_dtype: str | None = "float32",
) -> Tensor:  # fmt: skip
    """:func:`conv` of data NHWC with a kernel HWIO. As ``tvm.topi.nn.conv2d_nhwc``.

    >>> from mlcref import te, topi
    >>> topi.nn.conv2d_nhwc(te.placeholder((1, 8, 8, 2)), te.placeholder((3, 3, 2, 4)), 1, 1, 1).ndim
    4
    """
    return _with_groups(Input, Filter, (stride, padding, dilation, 1), ("NHWC", "HWIO"), out_dtype)


def conv2d_hwcn(
    Input: Tensor, Filter: Tensor, stride: Numbers, padding: Padding, dilation: Numbers, out_dtype: str | None = None
) -> Tensor:  # fmt: skip
    """:func:`conv` of data HWCN with a kernel HWIO. As ``tvm.topi.nn.conv2d_hwcn``.

    >>> from mlcref import te, topi
    >>> topi.nn.conv2d_hwcn(te.placeholder((8, 8, 2, 1)), te.placeholder((3, 3, 2, 4)), 1, 1, 1).ndim
    4
    """
    return _with_groups(Input, Filter, (stride, padding, dilation, 1), ("HWCN", "HWIO"), out_dtype)


def group_conv2d_nchw(
    Input: Tensor, Filter: Tensor, stride: Numbers, padding: Padding, dilation: Numbers, groups: int,
    out_dtype: str | None = None,
) -> Tensor:  # fmt: skip
    """:func:`conv` of data NCHW with a kernel OIHW, in groups. As ``tvm.topi.nn.group_conv2d_nchw``.

    >>> from mlcref import te, topi
    >>> topi.nn.group_conv2d_nchw(te.placeholder((1, 4, 8, 8)), te.placeholder((4, 2, 3, 3)), 1, 1, 1, 2).ndim
    4
    """
    return _with_groups(Input, Filter, (stride, padding, dilation, groups), ("NCHW", "OIHW"), out_dtype)


def group_conv2d_nhwc(
    Input: Tensor, Filter: Tensor, stride: Numbers, padding: Padding, dilation: Numbers, groups: int,
    out_dtype: str | None = None,
) -> Tensor:  # fmt: skip
    """:func:`conv` of data NHWC with a kernel HWIO, in groups. As ``tvm.topi.nn.group_conv2d_nhwc``.

    >>> from mlcref import te, topi
    >>> topi.nn.group_conv2d_nhwc(te.placeholder((1, 8, 8, 4)), te.placeholder((3, 3, 2, 4)), 1, 1, 1, 2).ndim
    4
    """
    return _with_groups(Input, Filter, (stride, padding, dilation, groups), ("NHWC", "HWIO"), out_dtype)


def conv3d_ncdhw(
    Input: Tensor, Filter: Tensor, stride: Numbers, padding: Padding, dilation: Numbers, groups: int,
    out_dtype: str | None = None,
) -> Tensor:  # fmt: skip
    """:func:`conv` of data NCDHW with a kernel OIDHW. As ``tvm.topi.nn.conv3d_ncdhw``.

    >>> from mlcref import te, topi
    >>> topi.nn.conv3d_ncdhw(te.placeholder((1, 2, 4, 4, 4)), te.placeholder((4, 2, 3, 3, 3)), 1, 1, 1, 1).ndim
    5
    """
    return _with_groups(Input, Filter, (stride, padding, dilation, groups), ("NCDHW", "OIDHW"), out_dtype)


def conv3d_ndhwc(
    Input: Tensor, Filter: Tensor, stride: Numbers, padding: Padding, dilation: Numbers, groups: int,
    out_dtype: str | None = "float32",
) -> Tensor:  # fmt: skip
    """:func:`conv` of data NDHWC with a kernel DHWIO. As ``tvm.topi.nn.conv3d_ndhwc``.

    >>> from mlcref import te, topi
    >>> topi.nn.conv3d_ndhwc(te.placeholder((1, 4, 4, 4, 2)), te.placeholder((3, 3, 3, 2, 4)), 1, 1, 1, 1).ndim
    5
    """
    return _with_groups(Input, Filter, (stride, padding, dilation, groups), ("NDHWC", "DHWIO"), out_dtype)
