"""What the sorting functions of TVM's runtime mean: ``tvm.contrib.sort.sort``, ``argsort``, ``argsort_nms``, ``topk``.

They are registered like functions of a user, for ``T.call_packed``. Equal elements keep their order, where the largest
come first, too; so there is one result. NaN has no place in the order: it is refused.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from mlcref.errors import CallError
from mlcref.interp.host import HostFunction
from mlcref.ir.registry import register_global_func

Array = np.ndarray[Any, Any]


def sort(source: Any, target: Any, axis: int, ascending: int) -> None:
    """Write the elements of ``source``, sorted along ``axis``, to ``target``, which has the same shape and type."""
    values, found = np.asarray(source), np.asarray(target)
    _check(found, values.shape, values.dtype)
    order = _order(values, _axis(values, axis), ascending)
    found[...] = np.take_along_axis(values, order, _axis(values, axis))


def argsort(source: Any, target: Any, axis: int, ascending: int) -> None:
    """Write where the sorted elements stand in ``source`` to ``target``: counts along ``axis``, in any number type."""
    values, found = np.asarray(source), np.asarray(target)
    _check(found, values.shape)
    _store_counts(found, _order(values, _axis(values, axis), ascending))


def argsort_nms(source: Any, counts: Any, target: Any, axis: int, ascending: int) -> None:
    """As :func:`argsort`, of the first ``counts`` elements of each row; those after them stay where they are.
    ``counts`` holds one number per row, in the order of the axes before and after ``axis``."""
    values, sizes, found = np.asarray(source), np.asarray(counts), np.asarray(target)
    along = _axis(values, axis)
    _check(found, values.shape)
    rows, sizes = np.moveaxis(values, along, -1), sizes.reshape(-1)
    if sizes.size < rows[..., 0].size:
        raise CallError(f"argsort_nms has {sizes.size} counts for {rows[..., 0].size} rows", rule="call.host")
    order = np.broadcast_to(np.arange(rows.shape[-1]), rows.shape).copy()
    for row, (place, count) in enumerate(zip(np.ndindex(rows.shape[:-1]), sizes, strict=False)):
        if not 0 <= count <= rows.shape[-1]:
            raise CallError(f"count {row} of argsort_nms is {count}, of {rows.shape[-1]} elements", rule="call.host")
        order[place][: int(count)] = _order(rows[place][: int(count)], 0, ascending)
    _store_counts(found, np.moveaxis(order, -1, along))


def topk(source: Any, *rest: Any) -> None:
    """``topk(source, *targets, k, axis, kind, ascending)``: the first ``k`` sorted elements along ``axis``, all where
    ``k`` is less than 1. ``kind`` says what the targets take: "values", "indices", or "both", the values first."""
    *targets, k, axis, kind, ascending = rest
    if kind not in ("both", "values", "indices") or len(targets) != (2 if kind == "both" else 1):
        raise CallError(f"topk is given {len(targets)} targets for {kind!r}", rule="call.host")
    values = np.asarray(source)
    along = _axis(values, axis)
    order = _order(values, along, ascending)
    chosen = order if k < 1 else np.take(order, range(min(int(k), values.shape[along])), along)
    if kind != "indices":
        found = np.asarray(targets[0])
        _check(found, chosen.shape, values.dtype)
        found[...] = np.take_along_axis(values, chosen, along)
    if kind != "values":
        found = np.asarray(targets[-1])
        _check(found, chosen.shape)
        _store_counts(found, chosen)


def _axis(values: Array, axis: int) -> int:
    """``axis`` counted from the front."""
    if not -values.ndim <= axis < values.ndim:
        raise CallError(f"axis {axis} of an array with {values.ndim} axes", rule="call.host")
    return int(axis) % values.ndim


def _check(target: Array, shape: tuple[int, ...], dtype: np.dtype[Any] | None = None) -> None:
    if target.shape != shape or (dtype is not None and target.dtype != dtype):
        wanted = f"{shape}" if dtype is None else f"{shape} of {dtype}"
        what = f"the result of the sort has the shape {wanted}; the target is {target.shape} of {target.dtype}"
        raise CallError(what, rule="call.host")


def _order(values: Array, axis: int, ascending: int) -> Array:
    """The places of the sorted elements; equal ones in their order."""
    if (values != values).any():
        raise CallError("NaN is not less or greater than any number: it cannot be sorted", rule="call.host")
    if ascending:
        return np.argsort(values, axis, kind="stable")
    backwards = np.argsort(np.flip(values, axis), axis, kind="stable")
    order: Array = values.shape[axis] - 1 - np.flip(backwards, axis)
    return order


def _store_counts(target: Array, counts: Array) -> None:
    stored = counts.astype(target.dtype)
    if (stored.astype(counts.dtype) != counts).any():
        raise CallError(f"{target.dtype} does not hold the counts of {counts.shape}", rule="call.host")
    target[...] = stored


for _function, _inputs in ((sort, 1), (argsort, 1), (argsort_nms, 2), (topk, 1)):
    register_global_func(f"tvm.contrib.sort.{_function.__name__}", HostFunction(_function, _inputs), override=True)
