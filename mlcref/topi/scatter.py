"""Tensors with some elements replaced: ``topi.scatter_elements``, ``topi.scatter_nd``. Updates are made one after the
other, in a block that no schedule divides."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from mlcref import te
from mlcref.errors import UnsupportedError
from mlcref.ir import Buffer, Expr, ExprLike, Max, Min, Select, Stmt, as_expr, binary, load, seq, store
from mlcref.te import Tensor
from mlcref.topi.operands import OperatorError, axis_of, fits, number, one_of, told
from mlcref.topi.scan import nest

_COMBINE: dict[str, Callable[[Expr, Expr], Expr]] = {
    "update": lambda old, new: new,
    "add": lambda old, new: old + new,
    "mul": lambda old, new: old * new,
    "min": lambda old, new: binary(Min, old, new),
    "max": lambda old, new: binary(Max, old, new),
}


def scatter_elements(
    data: Tensor, indices: Tensor, updates: Tensor, axis: ExprLike = 0, reduction: str = "update"
) -> Tensor:  # fmt: skip
    """``data`` with each of ``updates`` put where its index stands along ``axis``, at its own place otherwise; negative
    indices count from the end. ``reduction`` says what is done with the element there: "update" replaces it, "add",
    "mul", "min" and "max" combine both.

    Raises OperatorError (topi.O1, topi.O2, topi.O3) and UnsupportedError (topi.U1) for "mean". As
    ``tvm.topi.scatter_elements``.

    >>> from mlcref import te, topi
    >>> X, I, U = te.placeholder((4, 3)), te.placeholder((2, 3), "int32"), te.placeholder((2, 3))
    >>> topi.scatter_elements(X, I, U, axis=0, reduction="add").ndim
    2
    """
    at = axis_of(axis, data.ndim, "scatter_elements")
    if not data.ndim == indices.ndim == updates.ndim:
        raise OperatorError(f"scatter_elements of {told(updates.shape)} into {told(data.shape)}", rule="topi.O1")
    for a, b in zip(indices.shape, updates.shape, strict=True):
        fits(a, b, f"scatter_elements of {told(updates.shape)} at {told(indices.shape)}")

    def place(index: Callable[..., Expr], *i: Any) -> tuple[Sequence[Any], Sequence[Any]]:
        return i, (*i[:at], _from_the_front(index(*i), data.shape[at]), *i[at + 1 :])

    return _scattered(data, indices, updates, place, reduction, "scatter_elements_generic")


def scatter_nd(data: Tensor, indices: Tensor, updates: Tensor, mode: str) -> Tensor:
    """``data`` with each slice of ``updates`` put at its point: the first dimension of ``indices`` counts the
    coordinates of a point. ``mode`` is what ``reduction`` is for :func:`scatter_elements`. Raises OperatorError
    (topi.O1, topi.O3, topi.O5). As ``tvm.topi.scatter_nd``.

    >>> from mlcref import te, topi
    >>> X, I, U = te.placeholder((4, 3)), te.placeholder((1, 2), "int32"), te.placeholder((2, 3))
    >>> topi.scatter_nd(X, I, U, "update").ndim
    2
    """
    count, points = number(indices.shape[0], "the number of coordinates of scatter_nd"), indices.ndim - 1
    whole = [*indices.shape[1:], *data.shape[count:]]
    if count > data.ndim or len(whole) != updates.ndim:
        raise OperatorError(f"scatter_nd of {told(updates.shape)} at {told(indices.shape)}", rule="topi.O1")
    for a, b in zip(whole, updates.shape, strict=True):
        fits(a, b, f"scatter_nd of {told(updates.shape)} to {told(whole)}")

    def place(index: Callable[..., Expr], *i: Any) -> tuple[Sequence[Any], Sequence[Any]]:
        return i, (*(index(as_expr(d), *i[:points]) for d in range(count)), *i[points:])

    return _scattered(data, indices, updates, place, mode, "scatter_nd_generic")


def _from_the_front(index: Expr, extent: Expr) -> Expr:
    return Select(index < 0, index + extent, index)


def _scattered(
    data: Tensor, indices: Tensor, updates: Tensor, place: Callable[..., Any], mode: str, name: str
) -> Tensor:
    """``place(index, *i)`` gives where in ``updates`` and where in ``data`` update number ``i`` is."""
    if mode == "mean":
        raise UnsupportedError("scatter with a mean is not supported", rule="topi.U1", hint="add, and divide")
    combine = _COMBINE[one_of(mode, tuple(_COMBINE), "the reduction of scatter")]
    if data.dtype != updates.dtype:
        raise OperatorError(f"scatter of {updates.dtype} into {data.dtype}", rule="topi.O4", hint="topi.cast it first")

    def statements(ins: Sequence[Buffer], outs: Sequence[Buffer]) -> Stmt:
        def update(*i: Any) -> Stmt:
            source, target = place(lambda *at: load(ins[1], at), *i)
            return store(outs[0], combine(load(outs[0], target), load(ins[2], source)), target)

        copy = nest(data.shape, lambda *i: store(outs[0], load(ins[0], i), i))
        return seq(copy, nest(updates.shape, update))

    made: Tensor = te.extern(data.shape, [data, indices, updates], statements, name, data.dtype, tag=name)
    return made
