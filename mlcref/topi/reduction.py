"""Reductions over some axes of a tensor: ``topi.sum``, ``topi.argmax`` …"""

from __future__ import annotations

import builtins
from collections.abc import Callable, Sequence
from typing import Any

from mlcref import dtype as dt
from mlcref import te
from mlcref.ir import And, Expr, ExprLike, Or, Select, as_expr, binary, const
from mlcref.ir import cast as convert
from mlcref.te import Axis, Tensor
from mlcref.topi.operands import REDUCE, OperatorError, Shape, axes_of, each, flat, product, same, told

Axes = ExprLike | Sequence[ExprLike] | None
Reducer = Callable[..., Expr]


def reduced(
    data: Tensor, axis: Axes, keepdims: bool, reducer: Reducer, name: str,
    value: Callable[..., ExprLike] | None = None, tag: str = REDUCE,
) -> Tensor:  # fmt: skip
    """``reducer`` of ``data`` over ``axis`` (an axis, several, or None for all); with ``keepdims`` they stay, with
    extent 1. ``value`` of all indices is what is reduced, by default the element.
    """
    over = axes_of(axis, data.ndim, "a reduction")
    if not over:
        return each(data.shape, lambda *i: data(*i), name, tag)
    axes = {d: te.reduce_axis((0, data.shape[d]), f"k{d}") for d in over}

    def element(*i: Any) -> Expr:
        rest = iter(i)
        places: list[Any] = []
        for d in range(data.ndim):
            kept = next(rest) if d not in axes or keepdims else None
            places.append(axes.get(d, kept))
        return reducer((value or data)(*places), axis=list(axes.values()))

    return each(kept_shape(data.shape, over, keepdims), element, name, tag)


def kept_shape(shape: Shape, over: Sequence[int], keepdims: bool) -> tuple[ExprLike, ...]:
    """The shape after a reduction over the axes ``over``.

    >>> kept_shape((2, 3, 4), (1,), False), kept_shape((2, 3, 4), (1,), True)
    ((2, 4), (2, 1, 4))
    """
    kept = [as_expr(1).astype(as_expr(e).dtype) if d in over and not isinstance(e, int) else 1 if d in over else e
            for d, e in enumerate(shape)]  # fmt: skip
    return tuple(extent for d, extent in enumerate(kept) if keepdims or d not in over)


def _numbers(data: Tensor, name: str) -> None:
    if dt.is_bool(data.dtype):
        raise OperatorError(f"{name} is defined on numbers, not on bool", rule="topi.O4", hint="topi.cast it first")


def sum(data: Tensor, axis: Axes = None, keepdims: bool = False) -> Tensor:
    """The sum over ``axis``; integers wrap. Raises OperatorError (topi.O2, topi.O4). As ``tvm.topi.sum``.

    >>> from mlcref import te, topi
    >>> [int(extent) for extent in topi.sum(te.placeholder((2, 3, 4)), axis=[0, 2]).shape]
    [3]
    """
    _numbers(data, "sum")
    return reduced(data, axis, keepdims, te.sum, f"{data.name}_red")


def prod(data: Tensor, axis: Axes = None, keepdims: bool = False) -> Tensor:
    """The product over ``axis``; integers wrap. Raises OperatorError (topi.O2, topi.O4). As ``tvm.topi.prod``.

    >>> from mlcref import te, topi
    >>> topi.prod(te.placeholder((2, 3)), axis=1).ndim
    1
    """
    _numbers(data, "prod")
    return reduced(data, axis, keepdims, te.prod, f"{data.name}_red")


def max(data: Tensor, axis: Axes = None, keepdims: bool = False) -> Tensor:
    """The maximum over ``axis``, at least ``te.min_value``. Raises OperatorError (topi.O2). As ``tvm.topi.max``.

    >>> from mlcref import te, topi
    >>> topi.max(te.placeholder((2, 3)), axis=-1, keepdims=True).ndim
    2
    """
    _numbers(data, "max")
    return reduced(data, axis, keepdims, te.max, f"{data.name}_red")


def min(data: Tensor, axis: Axes = None, keepdims: bool = False) -> Tensor:
    """The minimum over ``axis``, at most ``te.max_value``. Raises OperatorError (topi.O2). As ``tvm.topi.min``.

    >>> from mlcref import te, topi
    >>> topi.min(te.placeholder((2, 3))).ndim
    0
    """
    _numbers(data, "min")
    return reduced(data, axis, keepdims, te.min, f"{data.name}_red")


_all = te.comm_reducer(lambda a, b: binary(And, a, b), lambda dtype: const(True, dtype), name="all")
_any = te.comm_reducer(lambda a, b: binary(Or, a, b), lambda dtype: const(False, dtype), name="any")


def _truth(data: Tensor, name: str) -> None:
    if not dt.is_bool(data.dtype):
        raise OperatorError(f"{name} is defined on bool, not on {data.dtype}", rule="topi.O4", hint="compare it with 0")


def all(data: Tensor, axis: Axes = None, keepdims: bool = False) -> Tensor:
    """Whether all truth values over ``axis`` hold. Raises OperatorError (topi.O2, topi.O4). As ``tvm.topi.all``.

    >>> from mlcref import te, topi
    >>> topi.all(te.placeholder((2, 3), "bool"), axis=0).dtype
    'bool'
    """
    _truth(data, "all")
    return reduced(data, axis, keepdims, _all, f"{data.name}_red")


def any(data: Tensor, axis: Axes = None, keepdims: bool = False) -> Tensor:
    """Whether one of the truth values over ``axis`` holds. Raises OperatorError (topi.O2, topi.O4). As
    ``tvm.topi.any``.

    >>> from mlcref import te, topi
    >>> topi.any(te.placeholder((2, 3), "bool")).dtype
    'bool'
    """
    _truth(data, "any")
    return reduced(data, axis, keepdims, _any, f"{data.name}_red")


def argmax(data: Tensor, axis: Axes = None, keepdims: bool = False, select_last_index: bool = False) -> Tensor:
    """Where the maximum over ``axis`` stands, as int32: the first place, or the last with ``select_last_index``. Over
    several axes places are counted in row-major order. Raises OperatorError (topi.O2). As ``tvm.topi.argmax``.

    >>> from mlcref import te, topi
    >>> topi.argmax(te.placeholder((2, 3)), axis=1).dtype
    'int32'
    """
    return _place(data, axis, keepdims, select_last_index, max)


def argmin(data: Tensor, axis: Axes = None, keepdims: bool = False, select_last_index: bool = False) -> Tensor:
    """Where the minimum over ``axis`` stands; else as :func:`argmax`. As ``tvm.topi.argmin``.

    >>> from mlcref import te, topi
    >>> topi.argmin(te.placeholder((2, 3)), axis=0, keepdims=True).ndim
    2
    """
    return _place(data, axis, keepdims, select_last_index, min)


def _place(
    data: Tensor, axis: Axes, keepdims: bool, last: bool, extreme: Callable[..., Tensor]
) -> Tensor:  # fmt: skip
    """Two reductions: the extreme value, then the first (last) place that holds it. Neither keeps two values at once,
    so both are ordinary reductions, which schedules split and vectorize. A place that does not hold it counts as the
    last (first) one: of a row of NaN, which equals nothing, the place is one of the row, too.
    """
    over = axes_of(axis, data.ndim, "a reduction")
    extents = [data.shape[d] for d in over]
    best = extreme(data, axis, keepdims=True)
    other = const(0) if last else convert("int32", product(extents) - 1)

    def place(*i: Any) -> Expr:
        position = convert("int32", flat([_as_int(i[d]) for d in over], extents))
        at_best = data(*i) == best(*[0 if d in over else index for d, index in enumerate(i)])
        return Select(at_best, position, other)

    reducer = te.max if last else te.min
    return reduced(data, over, keepdims, reducer, f"{data.name}_red", place, "comm_reduce_idx")


def _as_int(index: Any) -> Expr:
    return index.var if isinstance(index, Axis) else as_expr(index)


def collapse_sum(data: Tensor, target_shape: Shape) -> Tensor:
    """The sum that turns ``data`` into ``target_shape``: what :func:`mlcref.topi.broadcast_to` repeated is added up.

    Raises OperatorError (topi.O1) where ``target_shape`` cannot be broadcast to the shape of ``data``. As
    ``tvm.topi.collapse_sum``.

    >>> from mlcref import te, topi
    >>> [int(extent) for extent in topi.collapse_sum(te.placeholder((2, 3, 4)), (3, 1)).shape]
    [3, 1]
    """
    more = data.ndim - len(target_shape)
    pairs = list(zip(data.shape[more:], target_shape, strict=True)) if more >= 0 else []
    over = [d + more for d, (old, new) in enumerate(pairs) if not same(old, new)]
    if more < 0 or not builtins.all(same(target_shape[d - more], 1) for d in over):
        raise OperatorError(f"{told(data.shape)} does not collapse to {told(target_shape)}", rule="topi.O1")
    summed = sum(data, [*range(more), *over], keepdims=True)
    zeros = [0] * more
    return each(tuple(target_shape), lambda *i: summed(*zeros, *i), f"{data.name}_collapsed") if more else summed
