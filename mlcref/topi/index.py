"""Operators that choose elements by position or by index: ``topi.strided_slice``, ``topi.take``, ``topi.one_hot`` …"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mlcref import dtype as dt
from mlcref import te
from mlcref.ir import Const, Expr, ExprLike, Max, Min, Select, as_expr, binary, cast
from mlcref.te import Tensor
from mlcref.topi.operands import (
    BROADCAST, OperatorError, axes_of, axis_of, each, fits, number, numbers, one_of, product, told, unflat,
)  # fmt: skip


def strided_slice(
    a: Tensor, begin: Sequence[ExprLike], end: Sequence[ExprLike], strides: Sequence[ExprLike] | None = None,
    axes: Sequence[ExprLike] | None = None, slice_mode: str = "end", assume_inbound: bool = True,
) -> Tensor:  # fmt: skip
    """``a[begin:end:strides]`` along ``axes`` (by default the first ones): known numbers are read as Python's slices
    are, from the back where negative, cut to the extent. ``slice_mode="size"`` takes ``end`` as sizes, -1 for all that
    is left, and has no strides.

    A start or end that is known only at the call must be in bounds, in the direction of a known stride. Raises
    OperatorError (topi.O2, topi.O3, topi.O5). As ``tvm.topi.strided_slice``.

    >>> from mlcref import te, topi
    >>> B = topi.strided_slice(te.placeholder((4, 6)), [1, -1], [3, -7], [1, -2])
    >>> [int(extent) for extent in B.shape]
    [2, 3]
    """
    one_of(slice_mode, ("end", "size"), "slice_mode")
    over = [axis_of(d, a.ndim, "strided_slice") for d in (range(len(begin)) if axes is None else axes)]
    steps = [1] * len(over) if strides is None or slice_mode == "size" else [number(s, "a stride") for s in strides]
    steps += [1] * (len(over) - len(steps))
    if not len(over) == len(begin) == len(end) == len(set(over)) == len(steps) or 0 in steps:
        raise OperatorError(f"strided_slice over the axes {over} by {steps}", rule="topi.O3")
    starts: dict[int, tuple[Expr, int]] = {}
    shape = list(a.shape)
    for d, low, high, step in zip(over, begin, end, steps, strict=True):
        low, high = as_expr(low), as_expr(high)
        if slice_mode == "size":
            high = a.shape[d] if isinstance(high, Const) and high.value == -1 else low + high
        start, shape[d] = _range(low, high, step, a.shape[d])
        starts[d] = start, step

    def value(*i: Any) -> Any:
        return a(*(index * starts[d][1] + starts[d][0] if d in starts else index for d, index in enumerate(i)))

    return each(shape, value, "T_strided_slice")


def _range(low: Expr, high: Expr, step: int, extent: Expr) -> tuple[Expr, Expr]:
    """The first index and the number of indices of a slice."""
    if isinstance(low, Const) and isinstance(high, Const) and isinstance(extent, Const):
        found = range(*slice(int(low), int(high), step).indices(int(extent)))
        return cast(extent.dtype, found.start), cast(extent.dtype, len(found))
    low, high = _from_the_front(low, extent), _from_the_front(high, extent)
    count = (high - low + step - 1) // step if step > 0 else (low - high - step - 1) // -step
    return low, count


def _from_the_front(place: Expr, extent: Expr) -> Expr:
    return extent + place if isinstance(place, Const) and place.value < 0 else place


def take(a: Tensor, indices: Tensor, axis: ExprLike | None = None, batch_dims: int = 0, mode: str = "fast") -> Tensor:
    """The slices of ``a`` at ``indices`` along ``axis`` (of all elements in row-major order for None). ``mode`` says
    what an index out of bounds means: "clip" the nearest one, "wrap" counts from the other end, "fast" has no meaning.
    The first ``batch_dims`` dimensions belong to both.

    Raises OperatorError (topi.O2, topi.O3). As ``tvm.topi.take``.

    >>> from mlcref import te, topi
    >>> [int(e) for e in topi.take(te.placeholder((4, 3)), te.placeholder((2, 5), "int32"), axis=0).shape]
    [2, 5, 3]
    """
    one_of(mode, ("clip", "wrap", "fast"), "the mode of take")
    if axis is None:
        return each(
            indices.shape, lambda *i: a(*unflat(_inside(indices(*i), product(a.shape), mode), a.shape)), "T_take"
        )  # fmt: skip
    at = axis_of(axis, a.ndim, "take")
    if not 0 <= batch_dims <= min(at, indices.ndim):
        raise OperatorError(f"take has {batch_dims} batch dimensions for the axis {at}", rule="topi.O2")
    own = indices.ndim - batch_dims
    shape = [*a.shape[:at], *indices.shape[batch_dims:], *a.shape[at + 1 :]]

    def value(*i: Any) -> Any:
        chosen = indices(*i[:batch_dims], *i[at : at + own])
        return a(*i[:at], _inside(chosen, a.shape[at], mode), *i[at + own :])

    return each(shape, value, "T_take")


def _inside(index: Any, extent: Expr, mode: str) -> Expr:
    place = as_expr(index)
    if mode == "clip":
        return binary(Min, binary(Max, place, 0), extent - 1)
    return place % extent if mode == "wrap" else place


def gather(data: Tensor, axis: ExprLike, indices: Tensor) -> Tensor:
    """``indices`` with each index replaced by the element of ``data`` at it along ``axis``, else at the same place.
    Raises OperatorError (topi.O1, topi.O2). As ``tvm.topi.gather``.

    >>> from mlcref import te, topi
    >>> topi.gather(te.placeholder((4, 3)), 1, te.placeholder((4, 2), "int32")).dtype
    'float32'
    """
    at = axis_of(axis, data.ndim, "gather")
    if data.ndim != indices.ndim:
        raise OperatorError(f"gather from {data.ndim} dimensions by {indices.ndim}", rule="topi.O1")
    return each(indices.shape, lambda *i: data(*i[:at], indices(*i), *i[at + 1 :]), "T_gather")


def gather_nd(a: Tensor, indices: Tensor, batch_dims: int = 0) -> Tensor:
    """The slices of ``a`` at the points in ``indices``, whose first dimension counts the coordinates of a point. The
    first ``batch_dims`` dimensions of a slice are those of the points themselves.

    Raises OperatorError (topi.O1, topi.O5). As ``tvm.topi.gather_nd``.

    >>> from mlcref import te, topi
    >>> [int(e) for e in topi.gather_nd(te.placeholder((4, 3, 2)), te.placeholder((2, 5), "int32")).shape]
    [5, 2]
    """
    count = number(indices.shape[0], "the number of coordinates of gather_nd")
    if count + batch_dims > a.ndim or batch_dims >= indices.ndim:
        raise OperatorError(f"gather_nd of {count} coordinates from {a.ndim} dimensions", rule="topi.O1")
    points = indices.ndim - 1

    def value(*i: Any) -> Any:
        place = [indices(d, *i[:points]) for d in range(count)]
        return a(*i[:batch_dims], *place, *i[points:])

    return each([*indices.shape[1:], *a.shape[count + batch_dims :]], value, "T_gather_nd")


def one_hot(
    indices: Tensor, on_value: ExprLike, off_value: ExprLike, depth: ExprLike, axis: ExprLike, dtype: str
) -> Tensor:  # fmt: skip
    """A new dimension ``axis`` of extent ``depth`` that holds ``on_value`` at each index and ``off_value`` elsewhere.
    Raises OperatorError (topi.O2). As ``tvm.topi.one_hot``.

    >>> from mlcref import te, topi
    >>> [int(extent) for extent in topi.one_hot(te.placeholder((5,), "int32"), 1, 0, 4, -1, "float32").shape]
    [5, 4]
    """
    at = axis_of(axis, indices.ndim + 1, "one_hot")
    on, off = cast(dtype, on_value), cast(dtype, off_value)
    shape = [*indices.shape[:at], as_expr(depth), *indices.shape[at:]]
    return each(shape, lambda *i: Select(indices(*i[:at], *i[at + 1 :]) == i[at], on, off), "T_one_hot")


def sequence_mask(data: Tensor, valid_length: Tensor, mask_value: ExprLike = 0, axis: ExprLike = 0) -> Tensor:
    """``data`` with ``mask_value`` from position ``valid_length`` of each sequence on. ``axis`` is that of the
    sequences, 0 or 1; the other one of the two counts them. Raises OperatorError (topi.O2, topi.O1). As
    ``tvm.topi.sequence_mask``.

    >>> from mlcref import te, topi
    >>> topi.sequence_mask(te.placeholder((4, 3)), te.placeholder((3,), "int32"), -1.0).ndim
    2
    """
    at = axis_of(axis, data.ndim, "sequence_mask")
    if at > 1 or data.ndim < 2:
        raise OperatorError(f"sequence_mask of {data.ndim} dimensions along axis {at}", rule="topi.O2")
    fits(valid_length.shape[0], data.shape[1 - at], "sequence_mask has so many lengths and sequences")
    masked = cast(data.dtype, mask_value)

    def value(*i: Any) -> Any:
        return te.if_then_else(valid_length(i[1 - at]) <= i[at], masked, data(*i))

    return each(data.shape, value, "T_sequence_mask")


def reverse_sequence(a: Tensor, seq_lengths: Tensor, seq_axis: ExprLike = 1, batch_axis: ExprLike = 0) -> Tensor:
    """``a`` with the first ``seq_lengths`` elements of each sequence turned round; all where the length is larger than
    the extent. Raises OperatorError (topi.O1, topi.O2). As ``tvm.topi.reverse_sequence``.

    >>> from mlcref import te, topi
    >>> topi.reverse_sequence(te.placeholder((3, 4)), te.placeholder((3,), "int32")).ndim
    2
    """
    along, batch = (axis_of(d, a.ndim, "reverse_sequence") for d in (seq_axis, batch_axis))
    if along == batch or seq_lengths.ndim != 1:
        raise OperatorError("reverse_sequence needs two axes and one length per sequence", rule="topi.O2")
    fits(seq_lengths.shape[0], a.shape[batch], "reverse_sequence has so many lengths and sequences")

    def value(*i: Any) -> Any:
        length = binary(Min, seq_lengths(i[batch]), a.shape[along])
        place = te.if_then_else(i[along] < length, length - 1 - i[along], i[along])
        return a(*i[:along], place, *i[along + 1 :])

    return each(a.shape, value, "T_reverse_sequence")


def sliding_window(data: Tensor, axis: ExprLike, window_shape: Sequence[int], strides: Sequence[int]) -> Tensor:
    """Windows over the dimensions from ``axis`` on: where each stands, then its elements. Raises OperatorError
    (topi.O2, topi.O3). As ``tvm.topi.sliding_window``.

    >>> from mlcref import te, topi
    >>> [int(extent) for extent in topi.sliding_window(te.placeholder((4, 6)), 1, [3], [2]).shape]
    [4, 2, 3]
    """
    at = axis_of(axis, data.ndim, "sliding_window")
    window, steps = numbers(window_shape, len(window_shape), "windows"), numbers(strides, len(strides), "strides")
    if len(window) != data.ndim - at or len(steps) != len(window):
        raise OperatorError(f"sliding_window of {data.ndim} dimensions from {at} by {window}", rule="topi.O3")
    places = [(data.shape[at + d] - w) // s + 1 for d, (w, s) in enumerate(zip(window, steps, strict=True))]

    def value(*i: Any) -> Any:
        first, inside = i[at : data.ndim], i[data.ndim :]
        return data(*i[:at], *(p * s + w for p, s, w in zip(first, steps, inside, strict=True)))

    return each([*data.shape[:at], *places, *map(as_expr, window)], value, "T_sliding_window")


def unravel_index(indices: Tensor, shape: Tensor) -> Tensor:
    """The indices of elements, in an array whose shape is in ``shape``, at row-major positions: one row per dimension.
    Raises OperatorError (topi.O1, topi.O5). As ``tvm.topi.unravel_index``.

    >>> from mlcref import te, topi
    >>> [int(e) for e in topi.unravel_index(te.placeholder((5,), "int32"), te.placeholder((3,), "int32")).shape]
    [3, 5]
    """
    if shape.ndim != 1 or not dt.is_integer(indices.dtype):
        raise OperatorError(f"unravel_index takes integers and a vector, not {told(shape.shape)}", rule="topi.O1")
    count = number(shape.shape[0], "the number of dimensions of unravel_index")

    def value(row: Any, *i: Any) -> Any:
        places = unflat(indices(*i), [shape(d) for d in range(count)])
        places[0] = places[0] % shape(0)
        result = places[0]
        for d in range(1, count):
            result = te.if_then_else(row == d, places[d], result)
        return result

    return each([shape.shape[0], *indices.shape], value, "T_unravel")


def expand_like(a: Tensor, shape_like: Tensor, axis: ExprLike | Sequence[ExprLike]) -> Tensor:
    """``a`` repeated along the dimensions ``axis`` of ``shape_like`` that it lacks. Raises OperatorError (topi.O1,
    topi.O2). As ``tvm.topi.expand_like``.

    >>> from mlcref import te, topi
    >>> topi.expand_like(te.placeholder((3,)), te.placeholder((2, 3)), [0]).ndim
    2
    """
    new = axes_of(axis, shape_like.ndim, "expand_like")
    kept = [d for d in range(shape_like.ndim) if d not in new]
    if len(kept) != a.ndim:
        raise OperatorError(f"expand_like of {a.ndim} dimensions by {len(new)} to {shape_like.ndim}", rule="topi.O1")
    for d, extent in zip(kept, a.shape, strict=True):
        fits(shape_like.shape[d], extent, f"expand_like of {told(a.shape)} to {told(shape_like.shape)}")
    return each(shape_like.shape, lambda *i: a(*(i[d] for d in kept)), "T_expand_like", BROADCAST)
