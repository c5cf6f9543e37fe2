"""Products of matrices."""

from __future__ import annotations

from typing import Any

import numpy as np

from mlcref import dtype as dt
from mlcref import te
from mlcref.errors import TypeMismatch
from mlcref.ir.graph import Call, GraphExpr, StructInfo, TensorStructInfo
from mlcref.ir.graph_ops import register_function
from mlcref.relax.op.elementwise import add
from mlcref.relax.op.manipulate import permute_dims
from mlcref.relax.op.rows import dtype_attr, over_some, require, require_some, row
from mlcref.relax.op.shapes import broadcast, extents, is_one, require_same, tensor

Array = np.ndarray[Any, Any]


def _infer_matmul(x1: TensorStructInfo, x2: TensorStructInfo, out_dtype: str | None) -> StructInfo:
    require(x1.dtype == x2.dtype, f"matmul of {x1.dtype} and {x2.dtype}", "convert one of them with astype")
    require(not dt.is_bool(x1.dtype), "matmul is not defined on bool")
    a, b = extents(x1), extents(x2)
    require(bool(a and b), "matmul of a tensor without dimensions")
    require_same(a[-1], b[-2 if len(b) > 1 else 0], "matmul: the extents summed over")
    require_some("matmul", a[-1:])
    batch = broadcast(a[:-2], b[:-2], "matmul")
    rows, columns = a[-2:-1], b[-1:] if len(b) > 1 else ()
    return tensor([*batch, *rows, *columns], out_dtype or x1.dtype)


def _matmul(x1: te.Tensor, x2: te.Tensor, out_dtype: str | None) -> te.Tensor:
    """One block over the batch, rows and columns; each operand is read where it broadcasts to."""
    k = te.reduce_axis((0, x1.shape[-1]), "k")
    batch = broadcast(x1.shape[:-2], x2.shape[:-2], "matmul")
    rows, columns = x1.shape[-2:-1], x2.shape[-1:] if x2.ndim > 1 else ()
    dtype = out_dtype or x1.dtype

    def element(*i: Any) -> Any:
        at = i[: len(batch)]
        row, column = i[len(batch) : len(batch) + len(rows)], i[len(batch) + len(rows) :]
        a = x1(*_aligned(at, x1.shape[:-2]), *row, k)
        b = x2(*_aligned(at, x2.shape[:-2]), k, *column)
        return te.sum(a.astype(dtype) * b.astype(dtype), axis=k)

    return te.compute((*batch, *rows, *columns), element, name="matmul", tag="matmul")


def _aligned(batch: tuple[Any, ...], shape: tuple[Any, ...]) -> list[Any]:
    own = batch[len(batch) - len(shape) :]
    return [0 if is_one(extent) else index for index, extent in zip(own, shape, strict=True)]


def _matmul_reference(x1: Array, x2: Array, out_dtype: str | None) -> Array:
    over_some("matmul", x1.shape[-1:])
    wide = dt.numpy_dtype(out_dtype) if out_dtype and dt.is_integer(out_dtype) else x1.dtype
    result: Array = np.matmul(x1.astype(wide), x2.astype(wide))
    return result


matmul = row(
    "matmul", "x1 x2", (dtype_attr("out_dtype", None),), _infer_matmul, _matmul, _matmul_reference,
    "The product of matrices, with numpy's rules for vectors and batches; ``out_dtype`` is what it is summed in.",
)  # fmt: skip


def linear(data: GraphExpr, weight: GraphExpr, bias: GraphExpr | None = None, out_dtype: str | None = None) -> Call:
    """``data @ weight.T + bias``, as a call of ``matmul`` on ``permute_dims``, and of ``add`` where there is a bias.

    ``weight`` is (outputs, inputs), as in torch. Raises ``TypeMismatch``. Source: ``relax.op.linear``.

    >>> from mlcref import relax
    >>> x, w = (relax.Var(n, relax.TensorStructInfo(s, "float32")) for n, s in [("x", (1, 784)), ("w", (128, 784))])
    >>> relax.op.linear(x, w).struct_info
    R.Tensor((1, 128), dtype="float32")
    """
    info = weight.struct_info
    if not isinstance(info, TensorStructInfo) or info.ndim not in (1, 2):
        raise TypeMismatch("linear takes a weight of 1 or 2 dimensions")
    product = matmul(data, permute_dims(weight), out_dtype)
    return product if bias is None else add(product, bias)


register_function("linear", linear)

