"""Conversions of what moves elements: shapes, cutting and joining, indexing, conversions of type, new tensors."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

from mlcref import dtype as dt
from mlcref.importers.fx_table import converts, look_up
from mlcref.importers.torch_types import dtype_name
from mlcref.ir import graph
from mlcref.relax import op

# Questions about a tensor, which are answered now


@converts("Tensor.size torch.ops.aten.sym_size.int")
def _size(at: Any, input: Any, dim: int | None = None) -> Any:
    return at.shape(input) if dim is None else at.shape(input)[dim]


@converts("Tensor.dim")
def _dimensions(at: Any, input: Any) -> int:
    return len(at.shape(input))


@converts("Tensor.numel torch.numel")
def _number_of_elements(at: Any, input: Any) -> Any:
    count: Any = 1
    for extent in at.shape(input):
        count = count * extent
    return count


@converts("builtins.getattr")
def attribute(at: Any, owner: Any, name: str) -> Any:
    """``x.shape`` and the like, and the fields of what ``torch.max(x, dim)`` returns."""
    if isinstance(owner, tuple):
        fields = ("values", "indices")
        return owner[fields.index(name)] if name in fields else at.refuse("fx.attr", f"the field {name}")
    if name == "T":
        return at.emit(op.permute_dims(owner))
    shape = at.shape(owner)
    dtype = look_up(f"torch.{at.info(owner).dtype}")
    known = {"shape": shape, "ndim": len(shape), "device": None, "dtype": dtype}
    return known[name] if name in known else at.refuse("fx.attr", f"the attribute {name} of a tensor")


# One tensor in another shape


def as_list(values: Sequence[Any], named: Any = None) -> list[Any]:
    """Numbers given one by one, as one sequence, or by name."""
    values = values if named is None else (named,)
    first = values[0] if len(values) == 1 else values
    return list(first) if isinstance(first, tuple | list) else [first]


@converts("Tensor.view Tensor.reshape torch.reshape Tensor.view_as", view=True)
def _reshape(at: Any, input: Any, *sizes: Any, shape: Any = None) -> Any:
    if sizes and at.is_tensor(sizes[0]):
        sizes = at.shape(sizes[0])
    if len(sizes) == 1 and look_up("torch.dtype") is type(sizes[0]):
        at.refuse("fx.argument", "to view the bits of a tensor as another type")
    return at.emit(op.reshape(input, as_list(sizes, shape) if sizes or shape is not None else []))


@converts("torch.flatten Tensor.flatten", view=True)
def _flatten(at: Any, input: Any, start_dim: int = 0, end_dim: int = -1) -> Any:
    shape = at.shape(input)
    start, end = start_dim % max(len(shape), 1), end_dim % max(len(shape), 1)
    if start == end and shape:
        return input
    return at.emit(op.reshape(input, [*shape[:start], -1, *shape[end + 1 :]]))


@converts("nn.Flatten", view=True)
def _flatten_layer(at: Any, layer: Any, input: Any) -> Any:
    return _flatten(at, input, layer.start_dim, layer.end_dim)


@converts("torch.unflatten Tensor.unflatten", view=True)
def _unflatten(at: Any, input: Any, dim: int, sizes: Any) -> Any:
    shape = at.shape(input)
    place = dim % len(shape)
    return at.emit(op.reshape(input, [*shape[:place], *sizes, *shape[place + 1 :]]))


@converts("nn.Unflatten", view=True)
def _unflatten_layer(at: Any, layer: Any, input: Any) -> Any:
    return _unflatten(at, input, layer.dim, layer.unflattened_size)


@converts("torch.permute Tensor.permute", view=True)
def _permute(at: Any, input: Any, *axes: Any, dims: Any = None) -> Any:
    return at.emit(op.permute_dims(input, as_list(axes, dims)))


@converts("torch.transpose Tensor.transpose torch.swapaxes Tensor.swapaxes", view=True)
def transpose(at: Any, input: Any, dim0: int, dim1: int) -> Any:
    """Two dimensions swapped."""
    order = list(range(len(at.shape(input))))
    order[dim0], order[dim1] = order[dim1], order[dim0]
    return at.emit(op.permute_dims(input, order))


@converts("torch.t Tensor.t", view=True)
def _turned(at: Any, input: Any) -> Any:
    return at.emit(op.permute_dims(input)) if len(at.shape(input)) > 1 else input


@converts("torch.squeeze Tensor.squeeze", view=True)
def _squeeze(at: Any, input: Any, dim: Any = None) -> Any:
    shape = at.shape(input)
    given = range(len(shape)) if dim is None else dim if isinstance(dim, tuple | list) else [dim]
    ones = [axis for axis in given if isinstance(shape[axis], int) and shape[axis] == 1]  # torch keeps the others
    return at.emit(op.squeeze(input, ones)) if ones else input


@converts("torch.unsqueeze Tensor.unsqueeze", view=True)
def _unsqueeze(at: Any, input: Any, dim: int) -> Any:
    return at.emit(op.expand_dims(input, dim))


@converts("Tensor.expand torch.broadcast_to Tensor.broadcast_to Tensor.expand_as", view=True)
def _expand(at: Any, input: Any, *sizes: Any, size: Any = None) -> Any:
    wanted = list(at.shape(sizes[0])) if sizes and at.is_tensor(sizes[0]) else as_list(sizes, size)
    own = at.shape(input)
    own = (1,) * (len(wanted) - len(own)) + own
    extents = [a if isinstance(b, int) and b == -1 else b for a, b in zip(own, wanted, strict=True)]
    return at.emit(op.broadcast_to(input, extents))


@converts("Tensor.contiguous Tensor.to_dense Tensor.detach Tensor.cpu torch.detach", view=True)
def _same_tensor(at: Any, input: Any, *, memory_format: Any = None) -> Any:
    return input


@converts("Tensor.clone torch.clone")
def _copy(at: Any, input: Any, *, memory_format: Any = None) -> Any:
    return at.emit(input) if at.is_tensor(input) else input


@converts("torch.flip Tensor.flip")
def _flip(at: Any, input: Any, *axes: Any, dims: Any = None) -> Any:
    for axis in as_list(axes, dims):
        input = at.emit(op.flip(input, axis))
    return input


@converts("Tensor.repeat torch.tile Tensor.tile")
def _repeat(at: Any, input: Any, *repeats: Any, dims: Any = None) -> Any:
    return at.emit(op.tile(input, as_list(repeats, dims)))


@converts("torch.repeat_interleave Tensor.repeat_interleave")
def _repeat_elements(at: Any, input: Any, repeats: int, dim: int | None = None) -> Any:
    return at.emit(op.repeat(input, repeats, dim))


# Cutting and joining


def fields(at: Any, value: Any) -> tuple[Any, ...]:
    """The fields of a tuple of the graph, one by one."""
    return tuple([at.emit(graph.TupleGetItem(value, number)) for number in range(len(value.struct_info.fields))])


def parts(at: Any, input: Any, ends: Sequence[int], dim: int) -> tuple[Any, ...]:
    """``input`` cut along ``dim`` before each of ``ends``."""
    return fields(at, at.emit(op.split(input, list(ends), dim))) if ends else (input,)


@converts("torch.split Tensor.split", view=True)
def _split(at: Any, tensor: Any, split_size_or_sections: Any, dim: int = 0) -> Any:
    given, extent = split_size_or_sections, at.shape(tensor)[dim]
    if isinstance(given, int):
        return parts(at, tensor, range(given, extent, given), dim)
    return parts(at, tensor, list(itertools.accumulate(given))[:-1], dim)


@converts("torch.chunk Tensor.chunk", view=True)
def _chunk(at: Any, input: Any, chunks: int, dim: int = 0) -> Any:
    extent = at.shape(input)[dim]
    return _split(at, input, -(-extent // chunks), dim)


@converts("torch.unbind Tensor.unbind", view=True)
def _unbind(at: Any, input: Any, dim: int = 0) -> Any:
    pieces = _split(at, input, 1, dim)
    return tuple([at.emit(op.squeeze(piece, dim)) for piece in pieces])


@converts("torch.cat torch.concat torch.concatenate")
def _concatenate(at: Any, tensors: Any, dim: int = 0) -> Any:
    return at.emit(op.concat(list(tensors), dim))


@converts("torch.stack")
def _stack(at: Any, tensors: Any, dim: int = 0) -> Any:
    return at.emit(op.stack(list(tensors), dim))


# Indexing


@converts("operator.getitem", view=True)
def item(at: Any, owner: Any, index: Any) -> Any:
    """An element of a tuple, or a part of a tensor: numbers, slices, None and an ellipsis; or one tensor of indices."""
    if not at.is_tensor(owner):
        return owner[index]
    if isinstance(owner.struct_info, graph.TupleStructInfo):
        return at.emit(graph.TupleGetItem(owner, index))
    given = index if isinstance(index, tuple) else (index,)
    if len(given) == 1 and at.is_tensor(given[0]):
        return taken(at, owner, _from_the_end(at, given[0], at.shape(owner)[0]), 0)
    return _picked(at, owner, _complete(at, given, len(at.shape(owner))))


def _from_the_end(at: Any, indices: Any, extent: Any) -> Any:
    """Indices of which negative ones count from the end, counted from the front."""
    dtype = at.info(indices).dtype
    if not dt.is_integer(dtype) or dtype.startswith("u"):
        return indices
    negative = at.emit(op.less(indices, graph.const(0, dtype)))
    if not isinstance(extent, int):
        at.refuse("fx.argument", "to index along an extent that is not a number", "torch.index_select is converted")
    return at.emit(op.where(negative, at.emit(op.add(indices, graph.const(extent, dtype))), indices))


def _complete(at: Any, index: tuple[Any, ...], ndim: int) -> list[Any]:
    """``index`` with a slice for each axis that it leaves out."""
    if any(isinstance(entry, bool) or not isinstance(entry, int | slice | type(None) | type(...)) for entry in index):
        at.refuse("fx.argument", f"to index by {index!r}", "torch.index_select and torch.where are converted")
    own = sum(isinstance(entry, int | slice) for entry in index)
    place = index.index(...) if ... in index else len(index)
    return [*index[:place], *[slice(None)] * (ndim - own), *index[place + 1 :]]


def _picked(at: Any, x: Any, index: list[Any]) -> Any:
    shape = at.shape(x)
    own = [entry for entry in index if entry is not None]
    cut = {axis: entry for axis, entry in enumerate(own) if entry != slice(None)}
    for axis, entry in cut.items():
        if isinstance(entry, int) and not -shape[axis] <= entry < shape[axis]:
            at.refuse("fx.argument", f"index {entry} of an extent of {shape[axis]}", "index inside of the tensor")
    if cut:
        bounds = [_bounds(entry, shape[axis]) for axis, entry in cut.items()]
        x = at.emit(op.strided_slice(x, list(cut), *map(list, zip(*bounds, strict=True))))
    gone = [axis for axis, entry in cut.items() if isinstance(entry, int)]
    x = at.emit(op.squeeze(x, gone)) if gone else x
    kept = [entry for entry in index if not isinstance(entry, int)]
    new = [axis for axis, entry in enumerate(kept) if entry is None]
    return at.emit(op.expand_dims(x, new)) if new else x


def _bounds(entry: Any, extent: int) -> tuple[int, int, int]:
    """Begin, end and stride of what ``entry`` takes."""
    if isinstance(entry, int):
        return entry % extent, entry % extent + 1, 1
    begin, end, stride = entry.indices(extent)
    return begin, end, stride


@converts("torch.select Tensor.select", view=True)
def _select(at: Any, input: Any, dim: int, index: int) -> Any:
    ndim = len(at.shape(input))
    return _picked(at, input, [index if axis == dim % ndim else slice(None) for axis in range(ndim)])


@converts("torch.narrow Tensor.narrow", view=True)
def _narrow(at: Any, input: Any, dim: int, start: int, length: int) -> Any:
    ndim = len(at.shape(input))
    whole, part = slice(None), slice(start, start + length)
    return _picked(at, input, [part if axis == dim % ndim else whole for axis in range(ndim)])


def taken(at: Any, x: Any, indices: Any, axis: int) -> Any:
    """The parts of ``x`` at ``indices``, which must not be negative."""
    if not dt.is_integer(at.info(indices).dtype):
        at.refuse("fx.argument", f"to index by {at.info(indices).dtype}", "torch.where chooses by a condition")
    return at.emit(op.take(x, indices, axis))


@converts("torch.index_select Tensor.index_select")
def _index_select(at: Any, input: Any, dim: int, index: Any) -> Any:
    return taken(at, input, index, dim)


@converts("F.embedding")
def _embedding(
    at: Any, input: Any, weight: Any, padding_idx: Any = None, max_norm: Any = None, norm_type: float = 2.0,
    scale_grad_by_freq: bool = False, sparse: bool = False,
) -> Any:  # fmt: skip
    at.only(max_norm=max_norm)
    return taken(at, weight, input, 0)


@converts("nn.Embedding")
def _embedding_layer(at: Any, layer: Any, input: Any) -> Any:
    return _embedding(at, input, at.parameter(layer.weight), max_norm=layer.max_norm)


# Types and new tensors


@converts("Tensor.to", view=True)
def to(at: Any, input: Any, *wanted: Any, dtype: Any = None, device: Any = None, **options: Any) -> Any:
    """A tensor converted; devices are none of the graph's business."""
    dtypes = [given for given in (*wanted, dtype) if type(given) is look_up("torch.dtype")]
    like = [at.info(given).dtype for given in wanted if at.is_tensor(given)]
    names = [dtype_name(given) for given in dtypes] + like
    return as_type(at, input, names[0]) if names else input


@converts("Tensor.type", view=True)
def _type(at: Any, input: Any, dtype: Any = None) -> Any:
    if type(dtype) is not look_up("torch.dtype"):
        at.refuse("fx.argument", f"the type {dtype!r}", "give a torch.dtype")
    return as_type(at, input, dtype_name(dtype))


def as_type(at: Any, input: Any, dtype: str) -> Any:
    """A tensor in another type."""
    return input if at.info(input).dtype == dtype else at.emit(op.astype(input, dtype))


def _conversion(name: str, dtype: str) -> None:
    converts(f"Tensor.{name}", view=True)(lambda at, input: as_type(at, input, dtype))


for _name, _dtype in {
    "float": "float32", "double": "float64", "half": "float16", "bfloat16": "bfloat16", "int": "int32", "long": "int64",
    "bool": "bool",
}.items():  # fmt: skip
    _conversion(_name, _dtype)


@converts("Tensor.type_as", view=True)
def _type_as(at: Any, input: Any, other: Any) -> Any:
    return as_type(at, input, at.info(other).dtype)


@converts("torch.tril Tensor.tril")
def _lower_triangle(at: Any, input: Any, diagonal: int = 0) -> Any:
    return at.emit(op.tril(input, diagonal))


@converts("torch.triu Tensor.triu")
def _upper_triangle(at: Any, input: Any, diagonal: int = 0) -> Any:
    return at.emit(op.triu(input, diagonal))


def _created(name: str) -> None:
    """Enter a function that makes a tensor of numbers: torch makes it now, and it becomes a constant."""

    def convert(at: Any, *args: Any, **options: Any) -> Any:
        create = look_up(f"torch.{name}")
        options.pop("device", None)
        if any(at.is_tensor(arg) for arg in (*args, *options.values())):
            at.refuse("fx.argument", f"torch.{name} of a tensor's content")
        return at.constant(create(*args, **options))

    converts(f"torch.{name}")(convert)


for _name in ["arange", "zeros", "ones", "full", "eye", "linspace", "tensor", "scalar_tensor"]:
    _created(_name)


def _like(name: str) -> None:
    def convert(at: Any, input: Any, *, dtype: Any = None, device: Any = None, **options: Any) -> Any:
        return at.emit(getattr(op, name)(input, None if dtype is None else dtype_name(dtype)))

    converts(f"torch.{name}")(convert)


_like("zeros_like")
_like("ones_like")
