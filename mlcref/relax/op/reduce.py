"""Reductions over axes: all of them, unless ``axis`` says which; ``keepdims`` keeps the reduced axes with extent 1."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from mlcref import dtype as dt
from mlcref import te, topi
from mlcref.arith import product
from mlcref.ir.graph import StructInfo, TensorStructInfo
from mlcref.relax.op.rows import Builder, flag, int_attr, ints, over_some, require, require_float, require_some, row
from mlcref.relax.op.shapes import axes_of, extents, tensor

Axes = tuple[int, ...] | None
Array = np.ndarray[Any, Any]


def reduced_shape(x: TensorStructInfo, axis: Sequence[int] | None, keepdims: bool, name: str) -> list[Any]:
    """The shape after a reduction of ``x``."""
    over = axes_of(axis, x.ndim, name)
    require_some(name, [extents(x)[position] for position in over])
    kept: list[Any] = []
    for position, extent in enumerate(extents(x)):
        if position not in over:
            kept.append(extent)
        elif keepdims:
            kept.append(1)
    return kept


def _reduction(name: str, legalize: Any, reference: Any, summary: str, floats: bool = False) -> Builder:
    def infer(x: TensorStructInfo, axis: Axes, keepdims: bool) -> StructInfo:
        require(not dt.is_bool(x.dtype), f"{name} is not defined on bool")
        if floats:
            require_float(name, x.dtype)
        return tensor(reduced_shape(x, axis, keepdims, name), x.dtype)

    return row(
        name, "x", (ints("axis", None), flag("keepdims", False)), infer,
        lambda x, axis, keepdims: legalize(x, _listed(axis), keepdims),
        _of_some(name, reference), summary,
    )  # fmt: skip


def _of_some(name: str, reference: Any) -> Any:
    def compute(x: Array, axis: Any, keepdims: bool) -> Any:
        axes = range(x.ndim) if axis is None else axis if isinstance(axis, tuple) else (axis,)
        over_some(name, [x.shape[position] for position in axes])
        return reference(x, axis=axis, keepdims=keepdims)

    return compute


def _listed(axis: Axes) -> list[int] | None:
    return None if axis is None else list(axis)


def _count(x: te.Tensor, axis: list[int] | None) -> Any:
    """How many elements go into one of the result, as a number of the type of ``x``."""
    over = range(x.ndim) if axis is None else [position % x.ndim for position in axis]
    return product([x.shape[position] for position in over]).astype(x.dtype)


def mean_of(x: te.Tensor, axis: list[int] | None, keepdims: bool) -> te.Tensor:
    total, count = topi.sum(x, axis, keepdims), _count(x, axis)
    return te.compute(total.shape, lambda *i: total(*i) / count, name="T_divide")


def variance_of(x: te.Tensor, axis: list[int] | None, keepdims: bool) -> te.Tensor:
    apart = topi.subtract(x, mean_of(x, axis, True))
    return mean_of(topi.multiply(apart, apart), axis, keepdims)


sum = _reduction("sum", topi.sum, np.sum, "The sum over ``axis``; integers wrap.")
prod = _reduction("prod", topi.prod, np.prod, "The product over ``axis``; integers wrap.")
max = _reduction("max", topi.max, np.max, "The largest element over ``axis``.")
min = _reduction("min", topi.min, np.min, "The smallest element over ``axis``.")
mean = _reduction("mean", mean_of, np.mean, "The mean over ``axis`` (floats).", floats=True)
variance = _reduction("variance", variance_of, np.var, "The mean square distance from the mean (floats).", floats=True)
std = _reduction(
    "std", lambda x, axis, keepdims: topi.sqrt(variance_of(x, axis, keepdims)), np.std,
    "The square root of the variance (floats).", floats=True,
)  # fmt: skip


def _place(name: str, legalize: Any, reference: Any, what: str) -> Builder:
    def infer(x: TensorStructInfo, axis: int | None, keepdims: bool) -> StructInfo:
        require(not dt.is_bool(x.dtype), f"{name} is not defined on bool")
        return tensor(reduced_shape(x, None if axis is None else [axis], keepdims, name), "int64")

    return row(
        name, "x", (int_attr("axis", None), flag("keepdims", False)), infer,
        lambda x, axis, keepdims: topi.cast(legalize(x, axis, keepdims), "int64"),
        _of_some(name, reference),
        f"Where the first {what} element over ``axis`` stands, as int64.",
    )  # fmt: skip


argmax = _place("argmax", topi.argmax, np.argmax, "largest")
argmin = _place("argmin", topi.argmin, np.argmin, "smallest")
