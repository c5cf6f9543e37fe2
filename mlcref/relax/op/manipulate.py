"""Operators that move elements: reshape, transpose, join, cut, repeat, pick by index."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from mlcref import dtype as dt
from mlcref import te, topi
from mlcref.arith import product, quotient, same, same_shape, simplified
from mlcref.errors import OracleError, TypeMismatch
from mlcref.ir import Expr, constant
from mlcref.ir.graph import Call, GraphExpr, ShapeExpr, StructInfo, TensorStructInfo, TupleStructInfo, dim
from mlcref.ir.graph_ops import Attribute, register_function
from mlcref.relax.op.rows import choice, flag, int_attr, ints, require, row
from mlcref.relax.op.shapes import (
    Shape, axes_of, axis_of, broadcast, extents, is_one, listed, number, require_same, tensor, written,
)  # fmt: skip

Array = np.ndarray[Any, Any]

# One tensor in another shape


def _infer_permute(x: TensorStructInfo, axes: tuple[int, ...] | None) -> StructInfo:
    return tensor([extents(x)[axis] for axis in _order(x.ndim, axes)], x.dtype)


def _order(ndim: int, axes: tuple[int, ...] | None) -> tuple[int, ...]:
    if axes is None:
        return tuple(reversed(range(ndim)))
    order = axes_of(axes, ndim, "permute_dims")
    require(len(order) == ndim, f"permute_dims of {ndim} dimensions by {list(axes)}")
    return order


permute_dims = row(
    "permute_dims", "x", (ints("axes", None),), _infer_permute, lambda x, axes: topi.transpose(x, _order(x.ndim, axes)),
    lambda x, axes: np.transpose(x, axes), "Dimension ``d`` of the result is ``axes[d]`` of ``x``; reversed for None.",
)  # fmt: skip


def _same_size(a: Shape, b: Shape) -> bool:
    """Do two shapes have the same number of elements?"""
    times = quotient(a, b)
    return constant(times) == 1 if times is not None else constant(product(a)) == constant(product(b)) == 0


def _infer_reshape(x: TensorStructInfo, shape: Shape) -> StructInfo:
    message = f"reshape of {listed(extents(x))} to {listed(shape)}: the numbers of elements are not known to be equal"
    require(_same_size(extents(x), shape), message)
    return tensor(shape, x.dtype)


_reshape = row(
    "reshape", "x shape:shape", (), _infer_reshape, lambda x, shape: topi.reshape(x, list(shape)),
    lambda x, shape: x.reshape(shape), "The elements in row-major order in another shape.",
)  # fmt: skip


def reshape(x: GraphExpr, shape: Any) -> Call:
    """The elements of ``x`` in row-major order in ``shape``; one of its extents may be -1: what is left over.

    Raises ``TypeMismatch`` unless the numbers of elements are known to be equal. Source: ``relax.op.reshape``.

    >>> from mlcref import relax
    >>> x = relax.Var("x", relax.TensorStructInfo((2, 6), "float32"))
    >>> relax.op.reshape(x, (3, -1)).struct_info
    R.Tensor((3, 4), dtype="float32")
    """
    if isinstance(shape, tuple | list):
        shape = ShapeExpr(_filled(shape, x.struct_info))
    return _reshape(x, shape)


def _filled(shape: Sequence[Any], info: StructInfo) -> list[Any]:
    """``shape`` with a number in place of -1."""
    open_ = [axis for axis, extent in enumerate(shape) if _is_minus_one(extent)]
    if not open_ or not isinstance(info, TensorStructInfo) or info.shape is None:
        return list(shape)
    require(len(open_) == 1, "reshape: -1 stands for one extent")
    given = [dim(extent) for axis, extent in enumerate(shape) if axis != open_[0]]
    require(constant(product(given)) != 0, "reshape: -1 beside an extent of 0")
    left = quotient(info.shape, given)
    message = f"reshape: {written(product(info.shape))} is no multiple of {written(product(given))}"
    require(left is not None, message)
    return [left if axis == open_[0] else extent for axis, extent in enumerate(shape)]


def _is_minus_one(extent: Any) -> bool:
    return (constant(extent) if isinstance(extent, Expr) else extent) == -1


register_function("reshape", reshape)

flatten = row(
    "flatten", "x", (), lambda x: tensor([product(extents(x))], x.dtype),
    lambda x: topi.reshape(x, [product(x.shape)]),
    lambda x: x.reshape(-1), "The elements in row-major order in one dimension.",
)  # fmt: skip


def _new_axes(ndim: int, axis: tuple[int, ...]) -> tuple[int, ...]:
    return axes_of(axis, ndim + len(axis), "expand_dims")


def _expanded(shape: Shape, axis: tuple[int, ...]) -> list[Any]:
    new, rest = _new_axes(len(shape), axis), iter(shape)
    return [1 if position in new else next(rest) for position in range(len(shape) + len(axis))]


def _expand(x: te.Tensor, axis: tuple[int, ...]) -> te.Tensor:
    for position in sorted(_new_axes(x.ndim, axis)):
        x = topi.expand_dims(x, position)
    return x


expand_dims = row(
    "expand_dims", "x", (ints("axis"),), lambda x, axis: tensor(_expanded(extents(x), axis), x.dtype), _expand,
    np.expand_dims, "``x`` with new axes of extent 1 at the positions ``axis`` of the result.",
)  # fmt: skip


def _infer_squeeze(x: TensorStructInfo, axis: tuple[int, ...]) -> StructInfo:
    gone = axes_of(axis, x.ndim, "squeeze")
    for position in gone:
        require(is_one(extents(x)[position]), f"squeeze: axis {position} of {listed(extents(x))} is not 1")
    return tensor([extent for position, extent in enumerate(extents(x)) if position not in gone], x.dtype)


_squeeze = row(
    "squeeze", "x", (ints("axis"),), _infer_squeeze, lambda x, axis: topi.squeeze(x, list(axis)),
    lambda x, axis: np.squeeze(x, axis), "``x`` without the axes ``axis``, whose extents are 1.",
)  # fmt: skip


def squeeze(x: GraphExpr, axis: int | Sequence[int] | None = None) -> Call:
    """``x`` without the axes ``axis``, whose extents are 1; without all axes that are known to be 1 for None.

    Raises ``TypeMismatch`` for an axis that is not known to be 1. Source: ``relax.op.squeeze``.

    >>> from mlcref import relax
    >>> relax.op.squeeze(relax.Var("x", relax.TensorStructInfo((1, 6, 1), "float32"))).struct_info
    R.Tensor((6,), dtype="float32")
    """
    info = x.struct_info
    if axis is None and isinstance(info, TensorStructInfo) and info.shape is not None:
        axis = [position for position, extent in enumerate(info.shape) if is_one(extent)]
    return _squeeze(x, axis)


register_function("squeeze", squeeze)


def _infer_broadcast(x: TensorStructInfo, shape: Shape) -> StructInfo:
    message = f"broadcast_to: {listed(extents(x))} does not stretch to {listed(shape)}"
    require(same_shape(broadcast(extents(x), shape, "broadcast_to"), shape), message)
    return tensor(shape, x.dtype)


broadcast_to = row(
    "broadcast_to", "x shape:shape", (), _infer_broadcast, lambda x, shape: topi.broadcast_to(x, list(shape)),
    np.broadcast_to, "``x`` repeated along axes of extent 1 and new ones in front, to ``shape``.",
)  # fmt: skip

# Joining and cutting


def _alike(tensors: Sequence[TensorStructInfo], name: str) -> TensorStructInfo:
    first = tensors[0]
    for other in tensors[1:]:
        require(other.dtype == first.dtype, f"{name} of {first.dtype} and {other.dtype}")
        require(other.ndim == first.ndim, f"{name} of tensors of {first.ndim} and {other.ndim} dimensions")
    return first


def _infer_concat(tensors: Sequence[TensorStructInfo], axis: int) -> StructInfo:
    first = _alike(tensors, "concat")
    at = axis_of(axis, first.ndim, "concat")
    shape = list(extents(first))
    for other in tensors[1:]:
        for position, extent in enumerate(extents(other)):
            if position != at:
                require_same(shape[position], extent, f"concat: extents of axis {position}")
        shape[at] = shape[at] + extents(other)[at]
    return tensor(shape, first.dtype)


concat = row(
    "concat", "*tensors", (int_attr("axis", 0),), _infer_concat, lambda tensors, axis: topi.concatenate(tensors, axis),
    lambda tensors, axis: np.concatenate(tensors, axis), "Tensors one after the other along ``axis``.",
)  # fmt: skip


def _infer_stack(tensors: Sequence[TensorStructInfo], axis: int) -> StructInfo:
    first = _alike(tensors, "stack")
    at = axis_of(axis, first.ndim + 1, "stack")
    for other in tensors[1:]:
        for position, (a, b) in enumerate(zip(extents(first), extents(other), strict=True)):
            require_same(a, b, f"stack: extents of axis {position}")
    return tensor([*extents(first)[:at], len(tensors), *extents(first)[at:]], first.dtype)


stack = row(
    "stack", "*tensors", (int_attr("axis", 0),), _infer_stack, lambda tensors, axis: topi.stack(tensors, axis),
    lambda tensors, axis: np.stack(tensors, axis), "Tensors of one shape side by side along a new axis.",
)  # fmt: skip


def _cuts(x: TensorStructInfo, sections: int | tuple[int, ...], axis: int) -> tuple[int, list[Any]]:
    """The axis, and where along it parts begin and end."""
    at = axis_of(axis, x.ndim, "split")
    extent = extents(x)[at]
    if isinstance(sections, int):
        require(sections > 0, f"split into {sections} parts")
        part = simplified(extent // sections)
        require(same(part * sections, extent), lambda: f"split: {written(extent)} into {sections} parts of one size")
        return at, [part * k for k in range(sections)] + [extent]
    ends = [0, *sections, number(extent, "split: the extent")]
    require(sorted(ends) == ends, f"split: cuts {list(sections)} of an extent of {ends[-1]}")
    return at, ends


def _infer_split(x: TensorStructInfo, indices_or_sections: Any, axis: int) -> StructInfo:
    at, cuts = _cuts(x, indices_or_sections, axis)
    sizes = [end - start for start, end in pairwise(cuts)]
    shapes = [[*extents(x)[:at], size, *extents(x)[at + 1 :]] for size in sizes]
    return TupleStructInfo([tensor(shape, x.dtype) for shape in shapes])


def _sections(value: Any) -> Any:
    return ints("indices").convert(value) if isinstance(value, tuple | list) else int_attr("sections").convert(value)


split = row(
    "split", "x", (Attribute("indices_or_sections", _sections), int_attr("axis", 0)), _infer_split,
    lambda x, indices_or_sections, axis: topi.split(x, indices_or_sections, axis),
    lambda x, indices_or_sections, axis: tuple(np.split(x, indices_or_sections, axis)),
    "The tuple of parts of ``x`` along ``axis``: so many of one size, or cut before each of some indices.",
)  # fmt: skip


def _range(extent: int, begin: int, end: int, stride: int) -> range:
    """The indices that Python's slice takes."""
    return range(extent)[begin:end:stride]


def _sliced(x: TensorStructInfo, axes: Any, begin: Any, end: Any, strides: Any) -> dict[int, range]:
    name = "strided_slice"
    counts = {len(axes), len(begin), len(end), *([] if strides is None else [len(strides)])}
    require(len(counts) == 1, f"{name} takes a begin, an end and a stride for each axis")
    steps = strides or (1,) * len(axes)
    require(0 not in steps, f"{name}: a stride is 0")
    places = axes_of(axes, x.ndim, name)
    sizes = [number(extents(x)[place], f"{name}: the extent of axis {place}") for place in places]
    return {place: _range(*each) for place, *each in zip(places, sizes, begin, end, steps, strict=True)}


def _infer_slice(x: TensorStructInfo, axes: Any, begin: Any, end: Any, strides: Any, **_: Any) -> StructInfo:
    taken = _sliced(x, axes, begin, end, strides)
    shape = [len(taken[axis]) if axis in taken else extent for axis, extent in enumerate(extents(x))]
    return tensor(shape, x.dtype)


def _slice(x: te.Tensor, axes: Any, begin: Any, end: Any, strides: Any, **_: Any) -> te.Tensor:
    return topi.strided_slice(x, begin, end, strides, axes)


def _slice_reference(x: Array, axes: Any, begin: Any, end: Any, strides: Any, **_: Any) -> Array:
    index: list[Any] = [slice(None)] * x.ndim
    for axis, low, high, step in zip(axes, begin, end, strides or (1,) * len(axes), strict=True):
        index[axis] = slice(low, high, step)
    result: Array = x[tuple(index)]
    return result


strided_slice = row(
    "strided_slice", "x",
    (ints("axes"), ints("begin"), ints("end"), ints("strides", None), flag("assume_inbound", False)),
    _infer_slice, _slice, _slice_reference, "``x[begin:end:strides]`` along ``axes``, as Python slices.",
)  # fmt: skip

# Repeating


def _infer_repeat(data: TensorStructInfo, repeats: int, axis: int | None) -> StructInfo:
    require(repeats >= 0, f"repeat: {repeats} times")
    if axis is None:
        return tensor([product(extents(data)) * repeats], data.dtype)
    at = axis_of(axis, data.ndim, "repeat")
    return tensor([e * repeats if d == at else e for d, e in enumerate(extents(data))], data.dtype)


def _repeat(data: te.Tensor, repeats: int, axis: int | None) -> te.Tensor:
    flat = data if axis is not None else topi.reshape(data, [product(data.shape)])
    return topi.repeat(flat, repeats, 0 if axis is None else axis)


repeat = row(
    "repeat", "data", (int_attr("repeats"), int_attr("axis", None)), _infer_repeat, _repeat,
    lambda data, repeats, axis: np.repeat(data, repeats, axis), "Each element along ``axis`` so many times.",
)  # fmt: skip


def _infer_tile(data: TensorStructInfo, repeats: tuple[int, ...]) -> StructInfo:
    ndim = max(data.ndim, len(repeats))
    times = (1,) * (ndim - len(repeats)) + repeats
    shape = (dim(1),) * (ndim - data.ndim) + extents(data)
    return tensor([extent * count for extent, count in zip(shape, times, strict=True)], data.dtype)


tile = row(
    "tile", "data", (ints("repeats"),), _infer_tile, lambda data, repeats: topi.tile(data, list(repeats)),
    lambda data, repeats: np.tile(data, repeats), "The whole tensor so many times along each axis.",
)  # fmt: skip


def _infer_flip(data: TensorStructInfo, axis: int) -> StructInfo:
    axis_of(axis, data.ndim, "flip")
    return tensor(extents(data), data.dtype)


flip = row(
    "flip", "data", (int_attr("axis"),), _infer_flip, topi.flip, lambda data, axis: np.flip(data, axis),
    "``data`` backwards along ``axis``.",
)  # fmt: skip

# Elements by index


def _infer_take(x: TensorStructInfo, indices: TensorStructInfo, axis: int | None, mode: str) -> StructInfo:
    require(dt.is_integer(indices.dtype), f"take: indices are integers, not {indices.dtype}")
    at = _take_axis(x.ndim, axis)
    return tensor([*extents(x)[:at], *extents(indices), *extents(x)[at + 1 :]], x.dtype)


def _take_axis(ndim: int, axis: int | None) -> int:
    if axis is None and ndim != 1:
        raise TypeMismatch(f"take from {ndim} dimensions needs an axis")
    return axis_of(axis or 0, ndim, "take")


def _take_reference(x: Array, indices: Array, axis: int | None, mode: str) -> Array:
    at = _take_axis(x.ndim, axis)
    if indices.size and not (indices.min() >= 0 and indices.max() < x.shape[at]):
        raise OracleError(f"take: an index is not in 0 … {x.shape[at] - 1}", rule="graph.R5")
    return np.take(x, indices.astype("int64"), axis=at)


take = row(
    "take", "x indices", (int_attr("axis", None), choice("mode", ("fast",), "fast")), _infer_take,
    lambda x, indices, axis, mode: topi.take(x, indices, _take_axis(x.ndim, axis), mode=mode),
    _take_reference, "The parts of ``x`` along ``axis`` at ``indices``, which must be in range.",
)  # fmt: skip
