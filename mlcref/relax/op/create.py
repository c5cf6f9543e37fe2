"""New tensors: of one value, or with a triangle kept."""

from __future__ import annotations

from typing import Any

import numpy as np

from mlcref import dtype as dt
from mlcref import te, topi
from mlcref.ir.graph import StructInfo, TensorStructInfo
from mlcref.relax.op.rows import Builder, dtype_attr, int_attr, require, row
from mlcref.relax.op.shapes import Shape, extents, tensor

Array = np.ndarray[Any, Any]


def _filled(shape: Any, value: Any, name: str) -> te.Tensor:
    return te.compute(shape, lambda *i: value, name=name)


def _infer_full(shape: Shape, fill_value: TensorStructInfo, dtype: str | None) -> StructInfo:
    require(fill_value.ndim == 0, f"full takes one value, not a tensor of {fill_value.ndim} dimensions")
    return tensor(shape, dtype or fill_value.dtype)


full = row(
    "full", "shape:shape fill_value", (dtype_attr("dtype", None),), _infer_full,
    lambda shape, fill_value, dtype: _filled(shape, fill_value().astype(dtype or fill_value.dtype), "T_full"),
    lambda shape, fill_value, dtype: np.full(shape, fill_value),
    "A tensor of ``shape`` that is ``fill_value`` all over.",
)  # fmt: skip


def _infer_full_like(x: TensorStructInfo, fill_value: TensorStructInfo, dtype: str | None) -> StructInfo:
    require(fill_value.ndim == 0, f"full_like takes one value, not a tensor of {fill_value.ndim} dimensions")
    return tensor(extents(x), dtype or x.dtype)


full_like = row(
    "full_like", "x fill_value", (dtype_attr("dtype", None),), _infer_full_like,
    lambda x, fill_value, dtype: _filled(x.shape, fill_value().astype(dtype or x.dtype), "T_full_like"),
    lambda x, fill_value, dtype: np.full(x.shape, fill_value),
    "A tensor of the shape of ``x`` that is ``fill_value`` all over.",
)  # fmt: skip


def _constant(name: str, value: int) -> tuple[Builder, Builder]:
    """The operators that make ``value`` all over: of a shape, and of the shape of another tensor."""
    of_shape = row(
        name, "shape:shape", (dtype_attr(),), lambda shape, dtype: tensor(shape, dtype),
        lambda shape, dtype: _filled(shape, te.const(value, dtype), f"T_{name}"),
        lambda shape, dtype: np.full(shape, value, dt.numpy_dtype(dtype)),
        f"A tensor of ``shape`` that is {value} all over.",
    )  # fmt: skip
    like = row(
        f"{name}_like", "x", (dtype_attr("dtype", None),), lambda x, dtype: tensor(extents(x), dtype or x.dtype),
        lambda x, dtype: _filled(x.shape, te.const(value, dtype or x.dtype), f"T_{name}_like"),
        lambda x, dtype: np.full(x.shape, value), f"A tensor of the shape of ``x`` that is {value} all over.",
    )  # fmt: skip
    return of_shape, like


zeros, zeros_like = _constant("zeros", 0)
ones, ones_like = _constant("ones", 1)


def _triangle(name: str, upper: bool, reference: Any, what: str) -> Builder:
    def infer(x: TensorStructInfo, k: int) -> StructInfo:
        require(x.ndim >= 2, f"{name} takes matrices, not {x.ndim} dimensions")
        return tensor(extents(x), x.dtype)

    return row(
        name, "x", (int_attr("k", 0),), infer, lambda x, k: topi.trilu(x, k, upper),
        lambda x, k: reference(x, k), what,
    )  # fmt: skip


tril = _triangle("tril", False, np.tril, "``x`` with 0 above diagonal ``k`` of its last two dimensions.")
triu = _triangle("triu", True, np.triu, "``x`` with 0 below diagonal ``k`` of its last two dimensions.")
