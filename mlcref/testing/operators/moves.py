"""Cases of the operators that move, choose and make elements, and of sums of products."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from mlcref.testing.operators.case import NUMBERS, Array, Case, Draw, Operator

ANY = (*NUMBERS, "bool")


def _transpose(d: Draw) -> Case:
    x = d.array(d.shape(1, 4, 3), ANY)
    order = d.pick((None, d.order(x.ndim)))
    return Case([x], lambda topi, x: topi.transpose(x, order), lambda x: x.transpose(order))


def _reshape(d: Draw) -> Case:
    size = d.pick((1, 4, 6, 12, 24))
    old, new = _factors(d, size), _factors(d, size)
    x = d.array(old, ANY)
    if new and d.flag():
        new[d.count(0, len(new) - 1)] = -1
    return Case([x], lambda topi, x: topi.reshape(x, new), lambda x: x.reshape(new))


def _factors(d: Draw, size: int) -> list[int]:
    """Extents of ``size`` elements."""
    found: list[int] = []
    while size > 1 and len(found) < 3:
        found.append(d.pick([n for n in range(1, size + 1) if size % n == 0]))
        size //= found[-1]
    return [*found, size] if size > 1 or d.flag() else found


def _squeeze(d: Draw) -> Case:
    x = d.array([d.pick((1, 1, 2, 3)) for _ in range(d.count(1, 4))], ANY)
    ones = [n for n, extent in enumerate(x.shape) if extent == 1]
    axis = d.pick((None, ones, [n - x.ndim for n in ones]))
    over = None if axis is None else tuple(axis)
    return Case([x], lambda topi, x: topi.squeeze(x, axis), lambda x: np.squeeze(x, over))


def _expand_dims(d: Draw) -> Case:
    x, count = d.array(d.shape(0, 3), ANY), d.count(1, 2)
    axis = d.axis(x.ndim + 1)

    def reference(x: Array) -> Array:
        at = axis % (x.ndim + 1)
        return x.reshape(x.shape[:at] + (1,) * count + x.shape[at:])

    return Case([x], lambda topi, x: topi.expand_dims(x, axis, count), reference)


def _flip(d: Draw) -> Case:
    x = d.array(d.shape(), ANY)
    axis = d.axis(x.ndim)
    return Case([x], lambda topi, x: topi.flip(x, axis), lambda x: np.flip(x, axis))


def _concatenate(d: Draw) -> Case:
    shape, dtype = d.shape(), d.pick(ANY)
    axis = d.axis(len(shape))
    shapes = [list(shape) for _ in range(d.count(1, 3))]
    for each in shapes:
        each[axis] = d.count(1, 4)
    arrays = [d.array(each, dtype) for each in shapes]
    return Case(arrays, lambda topi, *xs: topi.concatenate(list(xs), axis), lambda *xs: np.concatenate(xs, axis))


def _stack(d: Draw) -> Case:
    shape, dtype = d.shape(), d.pick(ANY)
    arrays = [d.array(shape, dtype) for _ in range(d.count(1, 3))]
    axis = d.axis(len(shape) + 1)
    return Case(arrays, lambda topi, *xs: topi.stack(list(xs), axis), lambda *xs: np.stack(xs, axis))


def _split(d: Draw) -> Case:
    shape, parts = list(d.shape()), d.count(1, 3)
    axis = d.axis(len(shape))
    shape[axis] *= parts
    cuts = d.pick((parts, sorted({d.count(0, shape[axis]) for _ in range(parts)})))
    x = d.array(shape, ANY)
    cuts = [cut for cut in cuts if 0 < cut < shape[axis]] if isinstance(cuts, list) else cuts
    return Case([x], lambda topi, x: topi.split(x, cuts, axis), lambda x: np.split(x, cuts, axis))


def _strided_slice(d: Draw) -> Case:
    x = d.array(d.shape(1, 3, 6), ANY)
    over = [n - x.ndim * d.flag() for n in sorted(d.order(x.ndim)[: d.count(1, x.ndim)])]
    begin, end, strides, slices = [], [], [], [slice(None)] * x.ndim
    for axis in over:
        extent, step = x.shape[axis], d.pick((1, 2, -1, -2))
        low, high = d.count(0, extent - 1), d.count(0, extent)
        first, last = (min(low, high), max(low + 1, high)) if step > 0 else (max(low, high - 1), min(low, high) - 1)
        last = last - extent - 1 if step < 0 and last < 0 else last - extent if d.flag() and 0 < last < extent else last
        begin.append(first - extent if d.flag() else first)
        end.append(last if not (step < 0 and last == -1) else -extent - 1)
        strides.append(step)
        slices[axis] = slice(begin[-1], end[-1], step)
    return Case([x], lambda topi, x: topi.strided_slice(x, begin, end, strides, over), lambda x: x[tuple(slices)])


def _tile(d: Draw) -> Case:
    x, reps = d.array(d.shape(), ANY), [d.count(1, 3) for _ in range(d.count(1, 4))]
    return Case([x], lambda topi, x: topi.tile(x, reps), lambda x: np.tile(x, reps))


def _repeat(d: Draw) -> Case:
    x, count = d.array(d.shape(), ANY), d.count(1, 3)
    axis = d.axis(x.ndim)
    return Case([x], lambda topi, x: topi.repeat(x, count, axis), lambda x: np.repeat(x, count, axis))


def _meshgrid(d: Draw) -> Case:
    dtype, indexing = d.pick(NUMBERS), d.pick(("ij", "xy"))
    arrays = [d.array([d.count(1, 4)], dtype) for _ in range(d.count(1, 3))]
    return Case(
        arrays, lambda topi, *xs: topi.meshgrid(list(xs), indexing),
        lambda *xs: list(np.meshgrid(*xs, indexing=indexing)),
    )  # fmt: skip


def _take(d: Draw) -> Case:
    x, mode = d.array(d.shape(), ANY), d.pick(("fast", "clip", "wrap"))
    axis = d.pick((None, d.axis(x.ndim)))
    extent = x.size if axis is None else x.shape[axis]
    low, high = (0, extent - 1) if mode == "fast" else (-extent, 2 * extent)
    indices = d.array(d.shape(0, 2), ("int32", "int64"), low, high)
    modes: Any = "raise" if mode == "fast" else mode
    return Case(
        [x, indices], lambda topi, x, i: topi.take(x, i, axis, mode=mode), lambda x, i: np.take(x, i, axis, mode=modes)
    )


def _gather(d: Draw) -> Case:
    x = d.array(d.shape(), ANY)
    axis = d.axis(x.ndim)
    shape = list(x.shape)
    shape[axis] = d.count(1, 4)
    indices = d.array(shape, ("int32", "int64"), 0, x.shape[axis] - 1)
    return Case(
        [x, indices], lambda topi, x, i: topi.gather(x, axis, i), lambda x, i: np.take_along_axis(x, i, axis)
    )  # fmt: skip


def _gather_nd(d: Draw) -> Case:
    x = d.array(d.shape(1, 3), ANY)
    count = d.count(1, x.ndim)
    points = d.shape(1, 2)
    rows = [d.array(points, "int32", 0, x.shape[n] - 1) for n in range(count)]
    return Case([x, np.stack(rows)], lambda topi, x, i: topi.gather_nd(x, i), lambda x, i: x[tuple(i)])


def _one_hot(d: Draw) -> Case:
    depth, dtype, on, off = d.count(1, 5), d.pick(NUMBERS), d.count(1, 3), d.count(0, 1)
    indices = d.array(d.shape(0, 2), ("int32", "int64"), -1, depth)
    axis = d.axis(indices.ndim + 1)

    def reference(i: Array) -> Array:
        return np.moveaxis(np.where(i[..., None] == np.arange(depth), on, off), -1, axis)

    return Case([indices], lambda topi, i: topi.one_hot(i, on, off, depth, axis, dtype), reference)


def _sequence_mask(d: Draw) -> Case:
    x, axis = d.array(d.shape(2, 3), NUMBERS), d.count(0, 1)
    lengths = d.array([x.shape[1 - axis]], "int32", 0, x.shape[axis])

    def reference(x: Array, n: Array) -> Array:
        place = np.arange(x.shape[axis])
        kept = place[:, None] < n if axis == 0 else place < n[:, None]
        return np.where(kept.reshape(kept.shape + (1,) * (x.ndim - 2)), x, 1)

    return Case([x, lengths], lambda topi, x, n: topi.sequence_mask(x, n, 1, axis), reference)


def _reverse_sequence(d: Draw) -> Case:
    x = d.array(d.shape(2, 3), ANY)
    along, batch = d.order(x.ndim)[:2]
    lengths = d.array([x.shape[batch]], "int32", 0, x.shape[along] + 1)

    def reference(x: Array, n: Array) -> Array:
        rows = np.moveaxis(x, (batch, along), (0, 1)).copy()
        for row, count in zip(rows, n, strict=True):
            row[: int(count)] = row[: int(count)][::-1].copy()
        return np.moveaxis(rows, (0, 1), (batch, along))

    return Case([x, lengths], lambda topi, x, n: topi.reverse_sequence(x, n, along, batch), reference)


def _sliding_window(d: Draw) -> Case:
    x = d.array(d.shape(1, 3, 5), ANY)
    axis = d.count(0, x.ndim - 1)
    window = [d.count(1, extent) for extent in x.shape[axis:]]
    strides = [d.count(1, 2) for _ in window]

    def reference(x: Array) -> Array:
        whole = np.lib.stride_tricks.sliding_window_view(x, window, tuple(range(axis, x.ndim)))
        return np.asarray(whole[(slice(None),) * axis + tuple(slice(None, None, step) for step in strides)])

    return Case([x], lambda topi, x: topi.sliding_window(x, axis, window, strides), reference)


def _unravel_index(d: Draw) -> Case:
    shape = np.array(d.shape(), "int32")
    places = d.array(d.shape(0, 2), "int32", 0, math.prod(shape) - 1)
    return Case(
        [places, shape], lambda topi, i, s: topi.unravel_index(i, s),
        lambda i, s: np.stack([np.asarray(row) for row in np.unravel_index(i, tuple(s))]),
    )  # fmt: skip


def _expand_like(d: Draw) -> Case:
    like = d.array(d.shape(), NUMBERS)
    new = sorted(d.order(like.ndim)[: d.count(1, like.ndim)])
    x = d.array([extent for n, extent in enumerate(like.shape) if n not in new], NUMBERS)
    return Case(
        [x, like], lambda topi, x, y: topi.expand_like(x, y, new),
        lambda x, y: np.broadcast_to(np.expand_dims(x, tuple(new)), y.shape),
    )  # fmt: skip


def _full(d: Draw) -> Case:
    shape, dtype, value = d.shape(0, 3), d.pick(NUMBERS), d.count(0, 3)
    return Case([], lambda topi: topi.full(shape, dtype, value), lambda: np.full(shape, value))


def _full_like(d: Draw) -> Case:
    x, value = d.array(d.shape(0, 3), NUMBERS), d.count(0, 3)
    return Case([x], lambda topi, x: topi.full_like(x, value), lambda x: np.full(x.shape, value))


def _arange(d: Draw) -> Case:
    start, step, dtype = d.count(-4, 4), d.pick((1, 2, 3, -1, -2)), d.pick(("float32", "int32", "float64", "int64"))
    stop = start + step * d.count(1, 6) - (d.pick((0, 1)) if abs(step) > 1 else 0) * (1 if step > 0 else -1)
    if d.flag():
        return Case([], lambda topi: topi.arange(abs(stop) + 1, dtype=dtype), lambda: np.arange(abs(stop) + 1))
    return Case([], lambda topi: topi.arange(start, stop, step, dtype), lambda: np.arange(start, stop, step))


def _eye(d: Draw) -> Case:
    n, m, k, dtype = d.count(1, 4), d.pick((None, 1, 2, 5)), d.count(-2, 2), d.pick(NUMBERS)
    return Case([], lambda topi: topi.eye(n, m, k, dtype), lambda: np.eye(n, m, k))


def _trilu(d: Draw) -> Case:
    x, k, upper = d.array(d.shape(2, 3), NUMBERS), d.count(-3, 3), d.flag()
    return Case([x], lambda topi, x: topi.trilu(x, k, upper), lambda x: np.triu(x, k) if upper else np.tril(x, k))


def _matmul(d: Draw) -> Case:
    rows, depth, columns = (d.count(1, 5) for _ in range(3))
    turn_a, turn_b, dtype = d.flag(), d.flag(), d.pick(NUMBERS)
    x = d.array((depth, rows) if turn_a else (rows, depth), dtype)
    y = d.array((columns, depth) if turn_b else (depth, columns), dtype)
    return Case(
        [x, y], lambda topi, x, y: topi.matmul(x, y, turn_a, turn_b),
        lambda x, y: (x.T if turn_a else x) @ (y.T if turn_b else y),
    )  # fmt: skip


def _tensordot(d: Draw) -> Case:
    shape, dtype = d.shape(1, 3, 3), d.pick(NUMBERS)
    x, count = d.array(shape, dtype), d.count(0, len(shape))
    shared = shape[len(shape) - count :]
    axes: Any = count
    if d.flag():
        order = d.order(count)
        axes = (list(range(len(shape) - count, len(shape))), [order.index(n) for n in range(count)])
        shared = tuple(shared[n] for n in order)
    y = d.array((*shared, *d.shape(0, 2, 3)), dtype)
    return Case([x, y], lambda topi, x, y: topi.tensordot(x, y, axes), lambda x, y: np.tensordot(x, y, axes))


_SUBSCRIPTS = ("ij,jk->ik", "ij,jk", "bij,bjk->bik", "ij->ji", "ii->i", "ij->", "i,j->ij", "ij,ij->i", "i,ij,j->",
               "bhqd,bhkd->bhqk", "ii")  # fmt: skip


def _einsum(d: Draw) -> Case:
    subscripts, dtype = d.pick(_SUBSCRIPTS), d.pick(NUMBERS)
    extents = {letter: d.count(1, 3) for letter in sorted(set(subscripts) - set(",->"))}
    terms = subscripts.partition("->")[0].split(",")
    arrays = [d.array([extents[letter] for letter in term], dtype) for term in terms]
    return Case(arrays, lambda topi, *xs: topi.einsum(subscripts, *xs), lambda *xs: np.einsum(subscripts, *xs))


def _scan(name: str, function: Any) -> Operator:
    def draw(d: Draw) -> Case:
        x = d.array(d.shape(), (*NUMBERS[:3], "int32", "int8", "bool"), -2, 2)
        axis, exclusive, dtype = d.pick((None, d.axis(x.ndim))), d.flag(), d.pick((None, "int64", "float64"))
        dtype = "int32" if x.dtype == bool else "float64" if x.dtype.kind == "f" and dtype == "int64" else dtype
        along = 0 if axis is None else axis

        def reference(x: Array) -> Array:
            rows = x.reshape(-1) if axis is None else x
            whole = function(rows, along, dtype=None if dtype is None or x.dtype.kind == "f" else dtype)
            if not exclusive:
                return np.asarray(whole)
            first = np.full_like(whole.take([0], along), 0 if function is np.cumsum else 1)
            return np.concatenate([first, whole.take(range(rows.shape[along] - 1), along)], along)

        return Case([x], lambda topi, x: getattr(topi, name)(x, axis, dtype, exclusive), reference)

    return Operator(name, draw)


_UPDATES: dict[str, Any] = {
    "update": lambda old, new: new, "add": np.add, "mul": np.multiply, "min": np.minimum, "max": np.maximum,
}  # fmt: skip


def _scatter_elements(d: Draw) -> Case:
    shape, dtype, mode = d.shape(), d.pick(NUMBERS), d.pick(tuple(_UPDATES))
    axis = d.axis(len(shape))
    some = [d.count(1, extent) for extent in shape]
    some[axis] = d.count(1, 4)
    arrays = [d.array(shape, dtype), d.array(some, ("int32", "int64"), -shape[axis], shape[axis] - 1),
              d.array(some, dtype)]  # fmt: skip

    def reference(x: Array, i: Array, u: Array) -> Array:
        result = x.copy()
        for at in np.ndindex(i.shape):
            place = list(at)
            place[axis] = int(i[at])
            result[tuple(place)] = _UPDATES[mode](result[tuple(place)], u[at])
        return result

    return Case(arrays, lambda topi, x, i, u: topi.scatter_elements(x, i, u, axis, mode), reference)


def _scatter_nd(d: Draw) -> Case:
    x, mode = d.array(d.shape(), NUMBERS), d.pick(("update", "add"))
    count, points = d.count(1, x.ndim), d.shape(1, 2)
    rows = [d.array(points, "int32", 0, x.shape[n] - 1) for n in range(count)]
    updates = d.array((*points, *x.shape[count:]), str(x.dtype))

    def reference(x: Array, i: Array, u: Array) -> Array:
        result = x.copy()
        for at in np.ndindex(points):
            place = tuple(int(n) for n in i[(slice(None), *at)])
            result[place] = _UPDATES[mode](result[place], u[at])
        return result

    return Case([x, np.stack(rows), updates], lambda topi, x, i, u: topi.scatter_nd(x, i, u, mode), reference)


def _order(x: Array, axis: int, ascending: bool) -> Array:
    """Where the sorted elements stand; equal ones in their order."""
    if ascending:
        return np.argsort(x, axis, kind="stable")
    backwards = np.argsort(np.flip(x, axis), axis, kind="stable")
    return np.asarray(x.shape[axis] - 1 - np.flip(backwards, axis))


def _sort(d: Draw) -> Case:
    x, ascending = d.array(d.shape(), NUMBERS[:4]), d.flag()
    axis = d.axis(x.ndim)

    def reference(x: Array) -> Array:
        return np.take_along_axis(x, _order(x, axis, ascending), axis)

    return Case([x], lambda topi, x: topi.sort(x, axis, int(ascending)), reference)


def _argsort(d: Draw) -> Case:
    x, ascending, dtype = d.array(d.shape(), NUMBERS[:4]), d.flag(), d.pick(("float32", "int32", "int64"))
    axis = d.axis(x.ndim)
    rows = [extent for n, extent in enumerate(x.shape) if n != axis % x.ndim]
    counts = d.array(rows, "int32", 0, x.shape[axis])

    def reference(x: Array, counts: Array | None = None) -> Array:
        if counts is None:
            return _order(x, axis, ascending)
        lines = np.moveaxis(x, axis, -1)
        found = np.broadcast_to(np.arange(lines.shape[-1]), lines.shape).copy()
        for at in np.ndindex(counts.shape):
            found[at][: counts[at]] = _order(lines[at][: counts[at]], 0, ascending)
        return np.moveaxis(found, -1, axis)

    def build(topi: Any, x: Any, counts: Any = None) -> Any:
        return topi.argsort(x, counts, axis, int(ascending), dtype)

    return Case([x, counts][: d.count(1, 2)], build, reference)


def _topk(d: Draw) -> Case:
    x, ascending, kind = d.array(d.shape(), NUMBERS[:4]), d.flag(), d.pick(("both", "values", "indices"))
    axis, dtype = d.axis(x.ndim), d.pick(("int32", "int64"))
    k = d.count(0, x.shape[axis])

    def reference(x: Array) -> list[Array]:
        places = _order(x, axis, ascending).take(range(k or x.shape[axis]), axis)
        found = {"values": np.take_along_axis(x, places, axis), "indices": places}
        return [found[each] for each in (("values", "indices") if kind == "both" else (kind,))]

    return Case([x], lambda topi, x: topi.topk(x, k, axis, kind, ascending, dtype), reference)


def _searchsorted(d: Draw) -> Case:
    dtype, right, values = d.pick(NUMBERS[:4]), d.flag(), d.shape(1, 2)
    rows = d.pick(((), values[:-1]))
    sequence = np.sort(d.array((*rows, d.count(1, 6)), dtype), -1)

    def reference(s: Array, v: Array) -> Array:
        whole = np.broadcast_to(s, (*v.shape[:-1], s.shape[-1])) if s.ndim == 1 else s
        compared = whole[..., None, :] <= v[..., None] if right else whole[..., None, :] < v[..., None]
        return np.asarray(compared.sum(-1))

    return Case(
        [sequence, d.array(values, dtype)], lambda topi, s, v: topi.searchsorted(s, v, right, "int32"), reference
    )  # fmt: skip


OPERATORS = (
    _scan("cumsum", np.cumsum),
    _scan("cumprod", np.cumprod),
    Operator("scatter_elements", _scatter_elements),
    Operator("scatter_nd", _scatter_nd),
    Operator("sort", _sort),
    Operator("argsort", _argsort),
    Operator("topk", _topk),
    Operator("searchsorted", _searchsorted),
    Operator("transpose", _transpose),
    Operator("reshape", _reshape),
    Operator("squeeze", _squeeze),
    Operator("expand_dims", _expand_dims),
    Operator("flip", _flip),
    Operator("concatenate", _concatenate),
    Operator("stack", _stack),
    Operator("split", _split),
    Operator("strided_slice", _strided_slice),
    Operator("tile", _tile),
    Operator("repeat", _repeat),
    Operator("meshgrid", _meshgrid),
    Operator("take", _take),
    Operator("gather", _gather),
    Operator("gather_nd", _gather_nd),
    Operator("one_hot", _one_hot),
    Operator("sequence_mask", _sequence_mask),
    Operator("reverse_sequence", _reverse_sequence),
    Operator("sliding_window", _sliding_window),
    Operator("unravel_index", _unravel_index),
    Operator("expand_like", _expand_like),
    Operator("full", _full),
    Operator("full_like", _full_like),
    Operator("arange", _arange),
    Operator("eye", _eye),
    Operator("trilu", _trilu),
    Operator("matmul", _matmul),
    Operator("tensordot", _tensordot),
    Operator("einsum", _einsum),
)
