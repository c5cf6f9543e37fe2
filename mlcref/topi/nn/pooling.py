"""Pooling: ``topi.nn.pool2d``, ``topi.nn.global_pool``, ``topi.nn.adaptive_pool``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mlcref import te
from mlcref.ir import Const, Div, Expr, ExprLike, Max, Min, as_expr, binary
from mlcref.te import Tensor
from mlcref.topi.nn.conv import Numbers
from mlcref.topi.nn.windows import dilated, padded_input, positions
from mlcref.topi.operands import OperatorError, each, numbers, one_of, same, spatial_axes


def pool1d(
    data: Tensor, kernel: Numbers, stride: Numbers, dilation: Numbers, padding: Numbers, pool_type: str,
    ceil_mode: bool = False, layout: str = "NCW", count_include_pad: bool = True,
) -> Tensor:  # fmt: skip
    """As :func:`pool2d`, in one spatial dimension. As ``tvm.topi.nn.pool1d``.

    >>> from mlcref import te, topi
    >>> [int(e) for e in topi.nn.pool1d(te.placeholder((1, 2, 8)), [2], [2], [1], [0, 0], "max").shape]
    [1, 2, 4]
    """
    return _pool(data, (kernel, stride, dilation, padding), pool_type, ceil_mode, layout, count_include_pad)


def pool2d(
    data: Tensor, kernel: Numbers, stride: Numbers, dilation: Numbers, padding: Numbers, pool_type: str,
    ceil_mode: bool = False, layout: str = "NCHW", count_include_pad: bool = True,
) -> Tensor:  # fmt: skip
    """The maximum ("max") or the mean ("avg") of each window of H x W.

    ``padding`` are the numbers before, then those after each dimension. With ``ceil_mode`` a last window that
    begins inside counts, too. A mean divides by the number of elements in the padded input, or with
    ``count_include_pad=False`` in the input itself; integers are divided rounding towards 0. A maximum of nothing is
    ``te.min_value``. Raises OperatorError (topi.O1, topi.O3). As ``tvm.topi.nn.pool2d``.

    >>> from mlcref import te, topi
    >>> X = te.placeholder((1, 32, 26, 26))
    >>> [int(e) for e in topi.nn.pool2d(X, [2, 2], [2, 2], [1, 1], [0, 0, 0, 0], "max").shape]
    [1, 32, 13, 13]
    """
    return _pool(data, (kernel, stride, dilation, padding), pool_type, ceil_mode, layout, count_include_pad)


def pool3d(
    data: Tensor, kernel: Numbers, stride: Numbers, dilation: Numbers, padding: Numbers, pool_type: str,
    ceil_mode: bool = False, layout: str = "NCDHW", count_include_pad: bool = True,
) -> Tensor:  # fmt: skip
    """As :func:`pool2d`, in three spatial dimensions. As ``tvm.topi.nn.pool3d``.

    >>> from mlcref import te, topi
    >>> topi.nn.pool3d(te.placeholder((1, 2, 4, 4, 4)), 2, 2, 1, 0, "avg").ndim
    5
    """
    return _pool(data, (kernel, stride, dilation, padding), pool_type, ceil_mode, layout, count_include_pad)


def _pool(
    data: Tensor, window: tuple[Numbers, Numbers, Numbers, Numbers], kind: str, ceil_mode: bool, layout: str,
    count_include_pad: bool,
) -> Tensor:  # fmt: skip
    one_of(kind, ("max", "avg"), "pool_type")
    axes = spatial_axes(layout, data.ndim, "a pooling")
    kernel, strides, steps = (numbers(each_, len(axes), "parameters of a window") for each_ in window[:3])
    both = window[3] if isinstance(window[3], tuple | list) else [window[3]] * (2 * len(axes))
    padding = numbers([*both, *both] if len(both) == len(axes) else both, 2 * len(axes), "the padding")
    before, after = padding[: len(axes)], padding[len(axes) :]
    room = [high + (step - 1 if ceil_mode else 0) for high, step in zip(after, strides, strict=True)]
    extents = [data.shape[d] for d in axes]
    whole = dilated([as_expr(extent) for extent in kernel], steps)
    shape = list(data.shape)
    places = positions(extents, whole, strides, before, room, "a pooling")
    for d, place, extent, low, stride in zip(axes, places, extents, before, strides, strict=True):
        # With ceil_mode a window may end behind the padded input, but it starts in the input or before it.
        shape[d] = binary(Min, place, (extent + (low - 1)) // stride + 1) if ceil_mode else place
    outside: ExprLike = te.min_value(data.dtype) if kind == "max" else 0
    source = padded_input(data, axes, before, room, value=outside) if any(before) or any(room) else data
    taps = [te.reduce_axis((0, extent), f"rv{n}") for n, extent in enumerate(kernel)]

    def element(*i: Any) -> Any:
        at: list[Any] = list(i)
        for d, tap, stride, step in zip(axes, taps, strides, steps, strict=True):
            at[d] = i[d] * stride + tap * step
        reducer = te.max if kind == "max" else te.sum
        return reducer(source(*at), axis=taps)

    if kind == "max":
        return each(shape, element, "pool_max", "pool_max")
    summed = each(shape, element, "pool_sum", "pool_sum")
    borders = [0] * len(axes) if not count_include_pad else list(before)
    ends = [e + (high if count_include_pad else 0) for e, high in zip(extents, after, strict=True)]

    def mean(*i: Any) -> Expr:
        count = as_expr(1)
        for n, d in enumerate(axes):
            start = i[d] * strides[n] - before[n]
            count = count * _inside(start, kernel[n], steps[n], -borders[n], ends[n])
        if any(before) or any(room):
            count = binary(Max, count, 1)
        return quotient(as_expr(summed(*i)), count)

    return each(shape, mean, "pool_avg", "elemwise")


def _inside(start: Expr, kernel: int, step: int, low: int, high: Expr) -> Expr:
    """How many of the ``kernel`` places ``start, start + step, …`` are in ``low … high - 1``."""
    before = binary(Max, (low - start + step - 1) // step, 0)
    until = binary(Min, (high - start + step - 1) // step, kernel)
    return binary(Max, until - before, 0)


def quotient(total: Expr, count: Expr) -> Expr:
    """``total / count`` in the type of ``total``; integers are rounded towards 0."""
    return binary(Div, total, count.astype(total.dtype))


def global_pool(data: Tensor, pool_type: str, layout: str = "NCHW") -> Tensor:
    """The maximum or the mean of each channel, whose spatial dimensions keep extent 1. As ``tvm.topi.nn.global_pool``.

    >>> from mlcref import te, topi
    >>> [int(extent) for extent in topi.nn.global_pool(te.placeholder((1, 3, 7, 7)), "avg").shape]
    [1, 3, 1, 1]
    """
    return _adaptive(data, [1] * (data.ndim - 2), pool_type, layout)


def adaptive_pool(data: Tensor, output_size: Numbers, pool_type: str, layout: str = "NCHW") -> Tensor:
    """The maximum or the mean of windows that cut H x W into ``output_size`` parts: part p of n of an extent e goes
    from ``p * e // n`` to before ``ceil((p + 1) * e / n)``. Raises OperatorError (topi.O3). As
    ``tvm.topi.nn.adaptive_pool``.

    >>> from mlcref import te, topi
    >>> [int(extent) for extent in topi.nn.adaptive_pool(te.placeholder((1, 3, 7, 7)), (2, 3), "max").shape]
    [1, 3, 2, 3]
    """
    return _adaptive(data, numbers(output_size, data.ndim - 2, "output_size"), pool_type, layout)


def adaptive_pool1d(data: Tensor, output_size: Numbers, pool_type: str, layout: str = "NCW") -> Tensor:
    """:func:`adaptive_pool` in one spatial dimension. As ``tvm.topi.nn.adaptive_pool1d``.

    >>> from mlcref import te, topi
    >>> topi.nn.adaptive_pool1d(te.placeholder((1, 3, 7)), 2, "max").ndim
    3
    """
    return _adaptive(data, numbers(output_size, data.ndim - 2, "output_size"), pool_type, layout)


def adaptive_pool3d(data: Tensor, output_size: Numbers, pool_type: str, layout: str = "NCDHW") -> Tensor:
    """:func:`adaptive_pool` in three spatial dimensions. As ``tvm.topi.nn.adaptive_pool3d``.

    >>> from mlcref import te, topi
    >>> topi.nn.adaptive_pool3d(te.placeholder((1, 3, 4, 4, 4)), 2, "max").ndim
    5
    """
    return _adaptive(data, numbers(output_size, data.ndim - 2, "output_size"), pool_type, layout)


def _adaptive(data: Tensor, sizes: Sequence[int], kind: str, layout: str) -> Tensor:
    one_of(kind, ("max", "avg"), "pool_type")
    axes = spatial_axes(layout, data.ndim, "an adaptive pooling")
    if any(size < 1 for size in sizes):
        raise OperatorError(f"adaptive_pool to {tuple(sizes)} parts", rule="topi.O3")
    parts = [_Parts(data.shape[d], size) for d, size in zip(axes, sizes, strict=True)]
    taps = [te.reduce_axis((0, part.longest), f"rv{n}") for n, part in enumerate(parts)]
    shape = list(data.shape)
    for d, size in zip(axes, sizes, strict=True):
        shape[d] = as_expr(size)

    def element(*i: Any) -> Any:
        at: list[Any] = list(i)
        within: list[Expr] = []
        for d, part, tap in zip(axes, parts, taps, strict=True):
            at[d] = part.start(i[d]) + tap
            within += [] if part.even else [at[d] < part.end(i[d])]
        reducer = te.max if kind == "max" else te.sum
        return reducer(data(*at), axis=taps, where=te.all(*within) if within else None)

    if kind == "max":
        return each(shape, element, "adaptive_pool_max", "adaptive_pool_max")
    summed = each(shape, element, "adaptive_pool_sum", "adaptive_pool_sum")

    def mean(*i: Any) -> Expr:
        count = as_expr(1)
        for d, part in zip(axes, parts, strict=True):
            count = count * (part.end(i[d]) - part.start(i[d]))
        return quotient(as_expr(summed(*i)), count)

    return each(shape, mean, "adaptive_pool_avg", "elemwise")


class _Parts:
    """An extent cut into ``count`` parts, which overlap where they are not ``even``."""

    def __init__(self, extent: Expr, count: int) -> None:
        self.extent, self.count = extent, count
        self.even = bool(same(extent % count, 0))

    def start(self, part: Any) -> Expr:
        """The first index of a part."""
        return as_expr(part * (self.extent // self.count) if self.even else part * self.extent // self.count)

    def end(self, part: Any) -> Expr:
        """The index after its last."""
        if self.even:
            return self.start(part + 1)
        return as_expr(((part + 1) * self.extent + (self.count - 1)) // self.count)

    @property
    def longest(self) -> Expr:
        """An extent that no part exceeds."""
        if self.even:
            return self.extent // self.count
        if not isinstance(self.extent, Const):
            return self.extent // self.count + 2
        extent, count = int(self.extent), self.count
        return as_expr(max(-(-(p + 1) * extent // count) - p * extent // count for p in range(count)))
