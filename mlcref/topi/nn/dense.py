"""Products of matrices: ``topi.nn.matmul``, ``topi.nn.dense``, ``topi.nn.batch_matmul``."""

from __future__ import annotations

from typing import Any

from mlcref import te
from mlcref.te import Tensor
from mlcref.topi.broadcast import add, common_shape, read
from mlcref.topi.operands import OperatorError, Shape, each, fits, same, told


def matmul(
    tensor_a: Tensor, tensor_b: Tensor, bias: Tensor | None = None, out_dtype: str | None = None,
    transpose_a: bool = False, transpose_b: bool = False,
) -> Tensor:  # fmt: skip
    """The product of matrices in the last two dimensions, either of them given transposed, plus ``bias`` (broadcast).
    Dimensions before them are broadcast; factors are converted to ``out_dtype``, that of ``tensor_a`` by default.

    Raises OperatorError (topi.O1). As ``tvm.topi.nn.matmul``, which takes two dimensions.

    >>> from mlcref import te, topi
    >>> C = topi.nn.matmul(te.placeholder((3, 4), "int8"), te.placeholder((4, 5), "int8"), out_dtype="int32")
    >>> C.dtype
    'int32'
    """
    if tensor_a.ndim < 2 or tensor_b.ndim < 2:
        raise OperatorError(f"matmul of {told(tensor_a.shape)} and {told(tensor_b.shape)}", rule="topi.O1")
    name = f"T_matmul_{'T' if transpose_a else 'N'}{'T' if transpose_b else 'N'}"
    tag = "dense" if (transpose_a, transpose_b) == (False, True) else "matmul"
    result = _product(tensor_a, tensor_b, out_dtype, transpose_a, transpose_b, name, tag)
    return result if bias is None else _biased(result, bias)


def dense(data: Tensor, weight: Tensor, bias: Tensor | None = None, out_dtype: str | None = None) -> Tensor:
    """``data @ weight.T + bias``: a fully connected layer with one row of ``weight`` per output. Raises OperatorError
    (topi.O1). As ``tvm.topi.nn.dense``.

    >>> from mlcref import te, topi
    >>> Y = topi.nn.dense(te.placeholder((1, 784)), te.placeholder((128, 784)), te.placeholder((128,)))
    >>> [int(extent) for extent in Y.shape]
    [1, 128]
    """
    return matmul(data, weight, bias, out_dtype, transpose_b=True)


def batch_matmul(
    tensor_a: Tensor, tensor_b: Tensor, oshape: Shape | None = None, out_dtype: str | None = None,
    transpose_a: bool = False, transpose_b: bool = True,
) -> Tensor:  # fmt: skip
    """The products of two batches of matrices, the second given transposed by default; a batch of one matrix is
    repeated. ``oshape`` is checked against the shape of the result. Raises OperatorError (topi.O1). As
    ``tvm.topi.nn.batch_matmul``.

    >>> from mlcref import te, topi
    >>> [int(extent) for extent in topi.nn.batch_matmul(te.placeholder((2, 3, 4)), te.placeholder((2, 5, 4))).shape]
    [2, 3, 5]
    """
    if tensor_a.ndim != 3 or tensor_b.ndim != 3:
        raise OperatorError(f"batch_matmul of {told(tensor_a.shape)} and {told(tensor_b.shape)}", rule="topi.O1")
    name = f"T_batch_matmul_{'T' if transpose_a else 'N'}{'T' if transpose_b else 'N'}"
    result = _product(tensor_a, tensor_b, out_dtype, transpose_a, transpose_b, name, "batch_matmul")
    if oshape is not None and not all(same(a, b) for a, b in zip(oshape, result.shape, strict=True)):
        raise OperatorError(f"batch_matmul makes {told(result.shape)}, not {told(oshape)}", rule="topi.O1")
    return result


def _product(
    a: Tensor, b: Tensor, out_dtype: str | None, turn_a: bool, turn_b: bool, name: str, tag: str
) -> Tensor:  # fmt: skip
    rows, depth = a.shape[:-3:-1] if turn_a else a.shape[-2:]
    other, columns = b.shape[:-3:-1] if turn_b else b.shape[-2:]
    fits(depth, other, f"a product of {told(a.shape)} and {told(b.shape)}")
    batch = common_shape(a.shape[:-2], b.shape[:-2])
    k = te.reduce_axis((0, depth), "k")
    dtype = out_dtype or a.dtype

    def element(*i: Any) -> Any:
        left = read(a, (*i[:-2], k, i[-2]) if turn_a else (*i[:-2], i[-2], k), (*batch, *a.shape[-2:]))
        right = read(b, (*i[:-2], i[-1], k) if turn_b else (*i[:-2], k, i[-1]), (*batch, *b.shape[-2:]))
        return te.sum(left.astype(dtype) * right.astype(dtype), axis=k)

    return each((*batch, rows, columns), element, name, tag, axes="i" if not batch else "ax")


def _biased(product: Tensor, bias: Tensor) -> Tensor:
    added: Tensor = add(product, bias)
    fits(len(added.shape), len(product.shape), f"a bias of {told(bias.shape)} for {told(product.shape)}")
    for a, b in zip(added.shape, product.shape, strict=True):
        fits(a, b, f"a bias of {told(bias.shape)} for {told(product.shape)}")
    return added
