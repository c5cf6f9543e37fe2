"""Arithmetic on whole tensors: ``A + b``, ``-A``, ``A.astype("int32")``. Each computes a new tensor.

Shapes broadcast as numpy's do: aligned at the last dimension, where extents of 1 and missing dimensions are repeated.
The names are those that TVM's topi gives the same operators.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from mlcref.ir import Const, Expr, ExprLike, Var, constant, structural_equal
from mlcref.ir.expr import Add, Mul, Sub, binary, divide
from mlcref.te.axis import Operand, TensorExpressionError
from mlcref.te.compute import compute, describing_elements
from mlcref.te.tensor import ELEMENTWISE, Tensor


def _apply(name: str, value: Callable[[Any, Any], Expr], a: Any, b: Any) -> Any:
    """``value`` of the elements of ``a`` and ``b``, one of them a tensor. In the body of a compute a tensor without
    dimensions stands for its only element, and so does any beside an expression, which has to be one element.
    """
    tensors = [side for side in (a, b) if isinstance(side, Tensor)]
    scalars = [side for side in (a, b) if not isinstance(side, Tensor)]
    single = all(tensor.ndim == 0 for tensor in tensors)
    beside_expression = any(isinstance(side, Operand) or (isinstance(side, Expr) and not _is_free(side))
                            for side in scalars)  # fmt: skip
    if (single and beside_expression) or (describing_elements() and (single or beside_expression)):
        return value(*[side.as_expr() if isinstance(side, Tensor) else side for side in (a, b)])
    shape: tuple[Expr, ...] = ()
    for tensor in tensors:
        shape = broadcast_shape(shape, tensor.shape, name)
    return compute(shape, _Elements(value, a, b, len(shape)), name=f"T_{name}", tag="broadcast")


def _is_free(scalar: Expr) -> bool:
    return isinstance(scalar, Const | Var)


class _Elements:
    """The function of the indices ``ax0, ax1, …``, which :func:`compute` names its loops after."""

    def __init__(self, value: Callable[[Any, Any], Expr], a: Any, b: Any, ndim: int) -> None:
        self.value, self.a, self.b = value, a, b
        kind = inspect.Parameter.POSITIONAL_ONLY
        self.__signature__ = inspect.Signature([inspect.Parameter(f"ax{d}", kind) for d in range(ndim)])

    def __call__(self, *indices: Expr) -> Expr:
        return self.value(element(self.a, indices), element(self.b, indices))


def element(operand: Any, indices: Sequence[Expr]) -> Any:
    """The element of ``operand`` that takes part at ``indices`` of the broadcast shape; a scalar stands for itself."""
    if not isinstance(operand, Tensor):
        return operand
    own = indices[len(indices) - operand.ndim :]
    return operand(*[0 if constant(n) == 1 else i for n, i in zip(operand.shape, own, strict=True)])


def broadcast_shape(a: Sequence[Expr], b: Sequence[Expr], name: str = "broadcast") -> tuple[Expr, ...]:
    """The shape that ``a`` and ``b`` broadcast to; raises TensorExpressionError (te.T7) where extents differ.

    >>> from mlcref import te
    >>> broadcast_shape(te.placeholder((4, 1)).shape, te.placeholder((8,)).shape)
    (4, 8)
    """
    short, long = sorted((tuple(a), tuple(b)), key=len)
    missing = len(long) - len(short)
    return long[:missing] + tuple(_extent(m, n, name) for m, n in zip(short, long[missing:], strict=True))


def _extent(m: Expr, n: Expr, name: str) -> Expr:
    if constant(m) == 1:
        return n
    if constant(n) == 1 or structural_equal(m, n) or (constant(m) is not None and constant(m) == constant(n)):
        return m
    raise TensorExpressionError(
        f"{name}: extents {m!r} and {n!r} do not broadcast", rule="te.T7", hint="equal, or one of them 1"
    )


def _cast(tensor: Tensor, dtype: str) -> Any:
    return compute(tensor.shape, lambda *i: tensor(*i).astype(dtype), tag="elemwise")


_BINARY: dict[str, Callable[[ExprLike, ExprLike], Expr]] = {
    "add": partial(binary, Add), "subtract": partial(binary, Sub), "multiply": partial(binary, Mul), "divide": divide,
}  # fmt: skip
ELEMENTWISE.update({name: partial(_apply, name, value) for name, value in _BINARY.items()})
ELEMENTWISE["cast"] = _cast
