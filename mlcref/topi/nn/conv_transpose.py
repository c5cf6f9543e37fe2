"""Transposed convolutions: ``topi.nn.conv2d_transpose_nchw``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from mlcref import te
from mlcref.ir import Expr, as_expr
from mlcref.te import Tensor
from mlcref.topi.nn.conv import Numbers
from mlcref.topi.nn.padding import dilate, pad
from mlcref.topi.nn.windows import Padding, divides, pad_amounts
from mlcref.topi.operands import OperatorError, dimensions, each, fits, number, numbers

_LETTERS = ("", "w", "hw", "dhw")


def conv1d_transpose_ncw(
    data: Tensor, kernel: Tensor, stride: Numbers, padding: Padding, out_dtype: str, output_padding: Numbers
) -> Tensor:  # fmt: skip
    """As :func:`conv2d_transpose_nchw`, in one spatial dimension. As ``tvm.topi.nn.conv1d_transpose_ncw``.

    >>> from mlcref import te, topi
    >>> X, W = te.placeholder((1, 2, 4)), te.placeholder((2, 3, 3))
    >>> [int(extent) for extent in topi.nn.conv1d_transpose_ncw(X, W, 2, 0, "float32", 0).shape]
    [1, 3, 9]
    """
    return _transposed(data, kernel, (stride, padding, output_padding, 1), out_dtype, 1)


def group_conv1d_transpose_ncw(
    data: Tensor, kernel: Tensor, stride: Numbers, padding: Padding, out_dtype: str, output_padding: Numbers,
    groups: int,
) -> Tensor:  # fmt: skip
    """:func:`conv1d_transpose_ncw` in groups. As ``tvm.topi.nn.group_conv1d_transpose_ncw``.

    >>> from mlcref import te, topi
    >>> X, W = te.placeholder((1, 2, 4)), te.placeholder((2, 3, 3))
    >>> [int(extent) for extent in topi.nn.group_conv1d_transpose_ncw(X, W, 2, 0, "float32", 0, 2).shape]
    [1, 6, 9]
    """
    return _transposed(data, kernel, (stride, padding, output_padding, groups), out_dtype, 1)


def conv2d_transpose_nchw(
    Input: Tensor, Filter: Tensor, strides: Numbers, padding: Padding, out_dtype: str, output_padding: Numbers
) -> Tensor:  # fmt: skip
    """What takes gradients of a convolution back to its input: each element of data NCHW times the kernel (I, O, H, W),
    added up ``strides`` apart. ``padding`` elements are cut off at each side, ``output_padding`` fewer at the end.

    Raises OperatorError (topi.O1, topi.O3). As ``tvm.topi.nn.conv2d_transpose_nchw``.

    >>> from mlcref import te, topi
    >>> X, W = te.placeholder((1, 4, 5, 5)), te.placeholder((4, 3, 3, 3))
    >>> [int(extent) for extent in topi.nn.conv2d_transpose_nchw(X, W, (2, 2), (1, 1), "float32", (1, 1)).shape]
    [1, 3, 10, 10]
    """
    return _transposed(Input, Filter, (strides, padding, output_padding, 1), out_dtype, 2)


def group_conv2d_transpose_nchw(
    data: Tensor, kernel: Tensor, stride: Numbers, padding: Padding, out_dtype: str, output_padding: Numbers,
    groups: int,
) -> Tensor:  # fmt: skip
    """:func:`conv2d_transpose_nchw` in groups. As ``tvm.topi.nn.group_conv2d_transpose_nchw``.

    >>> from mlcref import te, topi
    >>> X, W = te.placeholder((1, 4, 5, 5)), te.placeholder((4, 3, 3, 3))
    >>> topi.nn.group_conv2d_transpose_nchw(X, W, 2, 1, "float32", 0, 2).ndim
    4
    """
    return _transposed(data, kernel, (stride, padding, output_padding, groups), out_dtype, 2)


def conv3d_transpose_ncdhw(
    Input: Tensor, Filter: Tensor, strides: Numbers, padding: Padding, out_dtype: str, output_padding: Numbers
) -> Tensor:  # fmt: skip
    """As :func:`conv2d_transpose_nchw`, in three spatial dimensions. As ``tvm.topi.nn.conv3d_transpose_ncdhw``.

    >>> from mlcref import te, topi
    >>> X, W = te.placeholder((1, 2, 3, 3, 3)), te.placeholder((2, 3, 2, 2, 2))
    >>> topi.nn.conv3d_transpose_ncdhw(X, W, 1, 0, "float32", 0).ndim
    5
    """
    return _transposed(Input, Filter, (strides, padding, output_padding, 1), out_dtype, 3)


def _transposed(
    data: Tensor, kernel: Tensor, settings: tuple[Numbers, Padding, Numbers, int], out_dtype: str, count: int
) -> Tensor:  # fmt: skip
    """The convolution of the dilated, padded data with the turned kernel."""
    stride, padding, output_padding, groups = settings
    name = f"conv{count}d_transpose_nc{_LETTERS[count]}"
    dimensions(data, count + 2, name)
    dimensions(kernel, count + 2, name)
    fits(kernel.shape[0], data.shape[1], f"{name} has so many channels in the kernel and in the input")
    divides(data.shape[1], groups, name)
    strides, more = numbers(stride, count, "strides"), numbers(output_padding, count, "output_padding")
    if any(step < 1 or not 0 <= extra < step for step, extra in zip(strides, more, strict=True)):
        raise OperatorError(f"{name} has strides {strides}, output_padding {more}: less than them", rule="topi.O3")
    extents = [number(extent, "an extent of the kernel") for extent in kernel.shape[2:]]
    before, after = pad_amounts(padding, extents)
    spread = dilate(data, [1, 1, *strides], name="data_dilate")
    low = [extent - 1 - amount for extent, amount in zip(extents, before, strict=True)]
    high = [e - 1 - amount + extra for e, amount, extra in zip(extents, after, more, strict=True)]
    source = pad(spread, [0, 0, *low], [0, 0, *high], name="data_pad")
    places = [room - extent + 1 for room, extent in zip(source.shape[2:], extents, strict=True)]
    shape = [data.shape[0], kernel.shape[1] * groups, *places]
    element = _element(source, _turned(kernel), groups, out_dtype)
    tag = f"group_{name}" if groups > 1 else name
    return each(shape, element, "compute", tag, axes=["b", "c", *_LETTERS[count]])


def _turned(kernel: Tensor) -> Tensor:
    """The kernel with its channels swapped and its spatial dimensions backwards."""

    def value(o: Any, i: Any, *place: Any) -> Any:
        return kernel(i, o, *(extent - 1 - p for extent, p in zip(kernel.shape[2:], place, strict=True)))

    shape = (kernel.shape[1], kernel.shape[0], *kernel.shape[2:])
    return each(shape, value, "kernel_transform", axes=["o", "i", *_LETTERS[kernel.ndim - 2]])


def _element(source: Tensor, turned: Tensor, groups: int, dtype: str) -> Callable[..., Expr]:
    letters: Sequence[str] = _LETTERS[turned.ndim - 2]
    inputs = turned.shape[1] // groups
    dc = te.reduce_axis((0, inputs), "dc")
    taps = [te.reduce_axis((0, extent), f"d{name}") for extent, name in zip(turned.shape[2:], letters, strict=True)]

    def element(b: Any, c: Any, *place: Any) -> Any:
        channel = c // turned.shape[0] * inputs + dc if groups > 1 else dc
        own = c % turned.shape[0] if groups > 1 else c
        seen = source(b, channel, *(p + tap for p, tap in zip(place, taps, strict=True)))
        weight = turned(own, channel, *taps)
        return te.sum(as_expr(seen).astype(dtype) * as_expr(weight).astype(dtype), axis=[dc, *taps])

    return element
