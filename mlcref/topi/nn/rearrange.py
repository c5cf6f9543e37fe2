"""Operators that move elements between dimensions: ``topi.nn.flatten``, ``topi.nn.space_to_depth`` …"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mlcref.ir import Expr, ExprLike
from mlcref.te import Tensor
from mlcref.topi.index import strided_slice
from mlcref.topi.nn.padding import pad
from mlcref.topi.operands import OperatorError, dimensions, each, number, numbers, one_of, product, same, unflat
from mlcref.topi.shape import reshape, transpose


def flatten(data: Tensor) -> Tensor:
    """``data`` with all dimensions after the first as one. Raises OperatorError (topi.O1). As
    ``tvm.topi.nn.flatten``.

    >>> from mlcref import te, topi
    >>> [int(extent) for extent in topi.nn.flatten(te.placeholder((1, 32, 13, 13))).shape]
    [1, 5408]
    """
    if data.ndim < 1:
        raise OperatorError("flatten of a tensor without dimensions", rule="topi.O1")
    return each(
        (data.shape[0], product(data.shape[1:])),
        lambda i, j: data(i, *unflat(j, data.shape[1:])) if data.ndim > 1 else data(i),
        "compute", axes=["i", "j"],
    )  # fmt: skip


def space_to_depth(data: Tensor, block_size: int, layout: str = "NCHW") -> Tensor:
    """Squares of ``block_size`` pixels as channels: the place in the square counts before the channel. ``layout`` is
    NCHW or NHWC. Raises OperatorError (topi.O1, topi.O3). As ``tvm.topi.nn.space_to_depth``.

    >>> from mlcref import te, topi
    >>> [int(extent) for extent in topi.nn.space_to_depth(te.placeholder((1, 2, 4, 6)), 2).shape]
    [1, 8, 2, 3]
    """
    n, c, h, w = _image(data, layout, "space_to_depth")
    size = _block(block_size)
    if same(h % size, 0) is False or same(w % size, 0) is False:
        raise OperatorError(f"space_to_depth of {h!r} x {w!r} by {size}", rule="topi.O1")

    def value(*i: Any) -> Any:
        b, d, y, x = _channels_first(i, layout)
        place = (b, d % c, y * size + d // (c * size), x * size + d // c % size)
        return data(*_ordered(place, layout))

    return each(_ordered((n, c * (size * size), h // size, w // size), layout), value, "space_to_depth", axes="i")


def depth_to_space(data: Tensor, block_size: int, layout: str = "NCHW", mode: str = "DCR") -> Tensor:
    """Channels as squares of ``block_size`` pixels: the place in the square counts before the channel (``mode="DCR"``)
    or after it ("CDR"). Raises OperatorError (topi.O1, topi.O3). As ``tvm.topi.nn.depth_to_space``.

    >>> from mlcref import te, topi
    >>> [int(extent) for extent in topi.nn.depth_to_space(te.placeholder((1, 8, 2, 3)), 2).shape]
    [1, 2, 4, 6]
    """
    one_of(mode, ("DCR", "CDR"), "mode")
    n, depth, h, w = _image(data, layout, "depth_to_space")
    size = _block(block_size)
    if same(depth % (size * size), 0) is False:
        raise OperatorError(f"depth_to_space of {depth!r} channels by {size}", rule="topi.O1")
    c = depth // (size * size)

    def value(*i: Any) -> Any:
        b, d, y, x = _channels_first(i, layout)
        square = y % size * size + x % size
        channel = square * c + d if mode == "DCR" else d * (size * size) + square
        return data(*_ordered((b, channel, y // size, x // size), layout))

    return each(_ordered((n, c, h * size, w * size), layout), value, "depth_to_space", axes="i")


def _block(block_size: int) -> int:
    size = number(block_size, "block_size")
    if size < 1:
        raise OperatorError(f"blocks of {size} x {size} pixels", rule="topi.O3")
    return size


def _image(data: Tensor, layout: str, name: str) -> Sequence[Expr]:
    """N, C, H, W."""
    one_of(layout, ("NCHW", "NHWC"), "layout")
    return _channels_first(dimensions(data, 4, name), layout)


def _channels_first(indices: Sequence[Any], layout: str) -> Sequence[Any]:
    return [indices[layout.index(letter)] for letter in "NCHW"]


def _ordered(place: Sequence[Any], layout: str) -> list[Any]:
    return [place["NCHW".index(letter)] for letter in layout]


def space_to_batch_nd(
    data: Tensor, block_shape: Sequence[int], pad_before: Sequence[ExprLike], pad_after: Sequence[ExprLike],
    pad_value: ExprLike = 0.0,
) -> Tensor:  # fmt: skip
    """The dimensions from the second on, padded, cut into blocks of ``block_shape``; the place in the block counts
    before the batch. Raises OperatorError (topi.O1, topi.O3). As ``tvm.topi.nn.space_to_batch_nd``.

    >>> from mlcref import te, topi
    >>> [int(e) for e in topi.nn.space_to_batch_nd(te.placeholder((1, 4, 3)), [2], [0], [0]).shape]
    [2, 2, 3]
    """
    blocks = numbers(block_shape, len(block_shape), "block_shape")
    count = len(blocks)
    if not 0 < count < data.ndim or min(blocks) < 1:
        raise OperatorError(f"space_to_batch_nd of {data.ndim} dimensions by {blocks}", rule="topi.O3")
    rest = [0] * (data.ndim - 1 - count)
    padded = pad(data, [0, *pad_before, *rest], [0, *pad_after, *rest], pad_value, "T_pad")
    for extent, size in zip(padded.shape[1:], blocks, strict=False):
        if same(extent % size, 0) is False:
            raise OperatorError(f"space_to_batch_nd of {extent!r} by {size}", rule="topi.O1")
    cut: list[ExprLike] = [padded.shape[0]]
    for extent, size in zip(padded.shape[1:], blocks, strict=False):
        cut += [extent // size, size]
    whole = [*cut, *padded.shape[1 + count :]]
    order = [*range(2, 2 * count + 1, 2), 0, *range(1, 2 * count, 2), *range(2 * count + 1, len(whole))]
    moved = transpose(reshape(padded, whole), order)
    places = [extent // size for extent, size in zip(padded.shape[1:], blocks, strict=False)]
    return reshape(moved, [padded.shape[0] * product(blocks), *places, *padded.shape[1 + count :]])


def batch_to_space_nd(
    data: Tensor, block_shape: Sequence[int], crop_begin_list: Sequence[int], crop_end_list: Sequence[int]
) -> Tensor:  # fmt: skip
    """What :func:`space_to_batch_nd` did, undone; then ``crop_begin_list`` and ``crop_end_list`` are cut off. Raises
    OperatorError (topi.O1, topi.O3). As ``tvm.topi.nn.batch_to_space_nd``.

    >>> from mlcref import te, topi
    >>> [int(e) for e in topi.nn.batch_to_space_nd(te.placeholder((2, 2, 3)), [2], [0], [1]).shape]
    [1, 3, 3]
    """
    blocks = numbers(block_shape, len(block_shape), "block_shape")
    count = len(blocks)
    if not 0 < count < data.ndim or min(blocks) < 1:
        raise OperatorError(f"batch_to_space_nd of {data.ndim} dimensions by {blocks}", rule="topi.O3")
    size = product(blocks)
    if same(data.shape[0] % size, 0) is False:
        raise OperatorError(f"batch_to_space_nd of a batch of {data.shape[0]!r} by {blocks}", rule="topi.O1")
    batch = data.shape[0] // size
    cut = reshape(data, [*blocks, batch, *data.shape[1:]])
    order = [count]
    for d in range(count):
        order += [count + 1 + d, d]
    moved = transpose(cut, [*order, *range(2 * count + 1, cut.ndim)])
    extents = [extent * block for extent, block in zip(data.shape[1:], blocks, strict=False)]
    joined = reshape(moved, [batch, *extents, *data.shape[1 + count :]])
    begin = numbers(crop_begin_list, count, "crop_begin_list")
    end = numbers(crop_end_list, count, "crop_end_list")
    ends = [extent - after for extent, after in zip(extents, end, strict=True)]
    return strided_slice(joined, list(begin), ends, axes=list(range(1, count + 1)))
