"""Operators that move elements: ``topi.transpose``, ``topi.reshape``, ``topi.concatenate``, ``topi.strided_slice`` …"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mlcref import te
from mlcref.ir import Const, Expr, ExprLike, as_expr
from mlcref.te import Tensor
from mlcref.topi.operands import (
    BROADCAST, OperatorError, Shape, axes_of, axis_of, each, fits, flat, number, product, same, told, unflat,
)  # fmt: skip


def transpose(a: Tensor, axes: Sequence[ExprLike] | None = None) -> Tensor:
    """Dimension ``d`` of the result is dimension ``axes[d]`` of ``a``; all reversed without ``axes``. Raises
    OperatorError (topi.O2). As ``tvm.topi.transpose``.

    >>> from mlcref import te, topi
    >>> [int(extent) for extent in topi.transpose(te.placeholder((2, 3, 4)), (1, 2, 0)).shape]
    [3, 4, 2]
    """
    order = list(reversed(range(a.ndim))) if axes is None else [axis_of(d, a.ndim, "transpose") for d in axes]
    if sorted(order) != list(range(a.ndim)):
        raise OperatorError(f"transpose of {a.ndim} dimensions by {order}", rule="topi.O2")
    places = [order.index(d) for d in range(a.ndim)]
    return each([a.shape[d] for d in order], lambda *i: a(*(i[place] for place in places)), "T_transpose")


def reshape(a: Tensor, newshape: Shape) -> Tensor:
    """The elements of ``a`` in row-major order, in ``newshape``; one of its extents may be -1: what is left over.

    Raises OperatorError (topi.O1) where the numbers of elements differ. As ``tvm.topi.reshape``.

    >>> from mlcref import te, topi
    >>> [int(extent) for extent in topi.reshape(te.placeholder((4, 6)), (3, -1)).shape]
    [3, 8]
    """
    shape = _inferred(newshape, a.shape)
    fits(product(a.shape), product(shape), f"reshape of {told(a.shape)} to {told(shape)} changes the size")
    return each(shape, lambda *i: a(*_places(i, shape, a.shape)), "T_reshape")


def _inferred(newshape: Shape, shape: Shape) -> list[Expr]:
    extents = [as_expr(extent) for extent in newshape]
    open_ = [d for d, extent in enumerate(extents) if isinstance(extent, Const) and extent.value == -1]
    if len(open_) > 1:
        raise OperatorError(f"reshape to {told(extents)}: -1 stands for one extent", rule="topi.O3")
    if open_:
        known = product([extent for d, extent in enumerate(extents) if d != open_[0]])
        if isinstance(known, Const) and known.value == 0:
            raise OperatorError(f"reshape to {told(extents)}: -1 beside an extent of 0", rule="topi.O3")
        extents[open_[0]] = product(shape) // known
    return extents


def _places(indices: Sequence[Any], new: Shape, old: Shape) -> list[Expr]:
    """Indices into ``old`` of the element at ``indices`` of ``new``. Where leading dimensions are products of the same
    size they are converted on their own, so that no index depends on what it need not."""
    places: list[Expr] = []
    n = o = 0
    while o < len(old):
        group = _group(new[n:], old[o:])
        count_new, count_old = group
        places += unflat(flat(indices[n : n + count_new], new[n : n + count_new]), old[o : o + count_old])
        n, o = n + count_new, o + count_old
    return places


def _group(new: Shape, old: Shape) -> tuple[int, int]:
    """How many leading dimensions of both make the smallest groups of one size, ones after them included."""
    for count_old in range(1, len(old) + 1):
        size = product(old[:count_old])
        for count_new in range(len(new) + 1):
            if same(product(new[:count_new]), size) and (count_old < len(old) or count_new == len(new)):
                return count_new, count_old
    return len(new), len(old)


def squeeze(a: Tensor, axis: ExprLike | Sequence[ExprLike] | None = None) -> Tensor:
    """``a`` without the dimensions ``axis``, which have extent 1; without all such dimensions for None. Raises
    OperatorError (topi.O1, topi.O2). As ``tvm.topi.squeeze``.

    >>> from mlcref import te, topi
    >>> topi.squeeze(te.placeholder((1, 3, 1)), axis=[0]).ndim
    2
    """
    ones = [d for d, extent in enumerate(a.shape) if same(extent, 1)]
    gone = ones if axis is None else list(axes_of(axis, a.ndim, "squeeze"))
    if not set(gone) <= set(ones):
        raise OperatorError(f"squeeze of {told(a.shape)} over the axes {gone}", rule="topi.O1")
    shape = [extent for d, extent in enumerate(a.shape) if d not in gone]

    def value(*i: Any) -> Any:
        rest = iter(i)
        return a(*(0 if d in gone else next(rest) for d in range(a.ndim)))

    return each(shape, value, "T_squeeze")


def expand_dims(a: Tensor, axis: ExprLike, num_newaxis: int = 1) -> Tensor:
    """``a`` with ``num_newaxis`` dimensions of extent 1 before its dimension ``axis`` (after the last for -1). Raises
    OperatorError (topi.O2). As ``tvm.topi.expand_dims``.

    >>> from mlcref import te, topi
    >>> [int(extent) for extent in topi.expand_dims(te.placeholder((2, 3)), axis=1).shape]
    [2, 1, 3]
    """
    at = axis_of(axis, a.ndim + 1, "expand_dims")
    ones = [as_expr(1)] * num_newaxis
    shape = [*a.shape[:at], *ones, *a.shape[at:]]
    return each(shape, lambda *i: a(*i[:at], *i[at + num_newaxis :]), "T_expand_dims", BROADCAST)


def flip(a: Tensor, axis: ExprLike = 0) -> Tensor:
    """``a`` backwards along ``axis``. Raises OperatorError (topi.O2). As ``tvm.topi.flip``.

    >>> from mlcref import te, topi
    >>> topi.flip(te.placeholder((2, 3)), axis=-1).ndim
    2
    """
    at = axis_of(axis, a.ndim, "flip")

    def value(*i: Any) -> Any:
        return a(*i[:at], a.shape[at] - 1 - i[at], *i[at + 1 :])

    return each(a.shape, value, "T_reverse_sequence")


def concatenate(a_tuple: Sequence[Tensor], axis: ExprLike = 0) -> Tensor:
    """Tensors one after the other along ``axis``; their other extents are equal. Raises OperatorError (topi.O1,
    topi.O2). As ``tvm.topi.concatenate``.

    >>> from mlcref import te, topi
    >>> A, B = te.placeholder((2, 3)), te.placeholder((4, 3))
    >>> [int(extent) for extent in topi.concatenate([A, B], axis=0).shape]
    [6, 3]
    """
    first = _alike(a_tuple, "concatenate")
    at = axis_of(axis, first.ndim, "concatenate")
    for x in a_tuple:
        for d in range(first.ndim):
            if d != at:
                fits(first.shape[d], x.shape[d], f"concatenate of {told(first.shape)} and {told(x.shape)}")
    starts = [as_expr(0)]
    for x in a_tuple:
        starts.append(starts[-1] + x.shape[at])
    shape = [*first.shape[:at], starts[-1], *first.shape[at + 1 :]]

    def value(*i: Any) -> Any:
        result = first(*i)
        for x, start in list(zip(a_tuple, starts, strict=False))[1:]:
            own = x(*i[:at], i[at] - start, *i[at + 1 :])
            result = te.if_then_else(start <= i[at], own, result)
        return result

    return each(shape, value, "T_concat")


def _alike(tensors: Sequence[Tensor], name: str) -> Tensor:
    """The first of ``tensors``, which all have its type and number of dimensions."""
    if not tensors:
        raise OperatorError(f"{name} of no tensors", rule="topi.O1")
    for x in tensors:
        if (x.ndim, x.dtype) != (tensors[0].ndim, tensors[0].dtype):
            raise OperatorError(f"{name} of tensors of different types or numbers of dimensions", rule="topi.O1")
    return tensors[0]


def stack(tensors: Sequence[Tensor], axis: ExprLike = 0) -> Tensor:
    """Tensors of one shape side by side along a new dimension ``axis``. Raises OperatorError (topi.O1, topi.O2). As
    ``tvm.topi.stack``.

    >>> from mlcref import te, topi
    >>> [int(extent) for extent in topi.stack([te.placeholder((2, 3)), te.placeholder((2, 3))], axis=1).shape]
    [2, 2, 3]
    """
    first = _alike(tensors, "stack")
    at = axis_of(axis, first.ndim + 1, "stack")
    for x in tensors:
        for a, b in zip(first.shape, x.shape, strict=True):
            fits(a, b, f"stack of {told(first.shape)} and {told(x.shape)}")

    def value(*i: Any) -> Any:
        own = (*i[:at], *i[at + 1 :])
        result = first(*own)
        for number_, x in enumerate(tensors[1:], 1):
            result = te.if_then_else(i[at] == number_, x(*own), result)
        return result

    return each([*first.shape[:at], as_expr(len(tensors)), *first.shape[at:]], value, "T_stack")


def split(ary: Tensor, indices_or_sections: ExprLike | Sequence[ExprLike], axis: ExprLike = 0) -> list[Tensor]:
    """``ary`` cut along ``axis``: before each of the indices, or into that many parts of one size. Raises OperatorError
    (topi.O2, topi.O3). As ``tvm.topi.split``.

    >>> from mlcref import te, topi
    >>> [int(part.shape[1]) for part in topi.split(te.placeholder((4, 6)), [1, 3], axis=1)]
    [1, 2, 3]
    """
    at = axis_of(axis, ary.ndim, "split")
    extent = ary.shape[at]
    if isinstance(indices_or_sections, tuple | list):
        cuts = [as_expr(cut) for cut in indices_or_sections]
    else:
        parts = number(indices_or_sections, "the number of parts of split")
        if parts < 1 or same(extent % parts, 0) is False:
            raise OperatorError(f"split of {told((extent,))} into {parts} parts of one size", rule="topi.O3")
        cuts = [extent // parts * part for part in range(1, parts)]
    starts, ends = [as_expr(0), *cuts], [*cuts, extent]
    return [_part(ary, at, start, end) for start, end in zip(starts, ends, strict=True)]


def _part(a: Tensor, at: int, start: Expr, end: Expr) -> Tensor:
    extent = end - start
    if isinstance(extent, Const) and extent.value < 0:
        raise OperatorError(f"split from {told((start,))} to {told((end,))}", rule="topi.O3")
    shape = [*a.shape[:at], extent, *a.shape[at + 1 :]]
    return each(shape, lambda *i: a(*i[:at], i[at] + start, *i[at + 1 :]), "T_split")


def tile(a: Tensor, reps: ExprLike | Sequence[ExprLike]) -> Tensor:
    """``a`` repeated ``reps[d]`` times along dimension ``d``, aligned from the last dimension on. As ``tvm.topi.tile``.

    >>> from mlcref import te, topi
    >>> [int(extent) for extent in topi.tile(te.placeholder((2, 3)), (2, 1, 2)).shape]
    [2, 2, 6]
    """
    given = list(reps) if isinstance(reps, tuple | list) else [reps]
    ndim = max(a.ndim, len(given))
    times = [as_expr(1)] * (ndim - len(given)) + [as_expr(each) for each in given]
    old = [as_expr(1)] * (ndim - a.ndim) + list(a.shape)
    shape = [extent * count for extent, count in zip(old, times, strict=True)]

    def value(*i: Any) -> Any:
        return a(*(index % extent for index, extent in zip(i[ndim - a.ndim :], a.shape, strict=True)))

    return each(shape, value, "T_tile", BROADCAST)


def repeat(a: Tensor, repeats: ExprLike, axis: ExprLike) -> Tensor:
    """Each element along ``axis`` ``repeats`` times. Raises OperatorError (topi.O2). As ``tvm.topi.repeat``.

    >>> from mlcref import te, topi
    >>> [int(extent) for extent in topi.repeat(te.placeholder((2, 3)), 2, axis=1).shape]
    [2, 6]
    """
    at = axis_of(axis, a.ndim, "repeat")
    shape = [*a.shape[:at], a.shape[at] * repeats, *a.shape[at + 1 :]]
    return each(shape, lambda *i: a(*i[:at], i[at] // repeats, *i[at + 1 :]), "T_repeat", BROADCAST)


def meshgrid(a_tuple: Sequence[Tensor], indexing: str) -> list[Tensor]:
    """Grids of the coordinates in vectors: one tensor per vector, with a dimension for each; the first two are swapped
    with ``indexing="xy"``. As ``tvm.topi.meshgrid``.

    >>> from mlcref import te, topi
    >>> [grid.ndim for grid in topi.meshgrid([te.placeholder((3,)), te.placeholder((4,))], "ij")]
    [2, 2]
    """
    if indexing not in ("ij", "xy"):
        raise OperatorError(f"indexing of meshgrid is {indexing!r}, not 'ij' or 'xy'", rule="topi.O3")
    order = list(range(len(a_tuple)))
    if indexing == "xy" and len(order) > 1:
        order[:2] = [1, 0]
    shape = [a_tuple[n].shape[0] if a_tuple[n].ndim else as_expr(1) for n in order]

    def grid(x: Tensor, at: int) -> Tensor:
        return each(shape, lambda *i: x(i[at]) if x.ndim else x(), "T_meshgrid")

    return [grid(x, order.index(n)) for n, x in enumerate(a_tuple)]
