"""Running sums and products: ``topi.cumsum``, ``topi.cumprod``. Each is a loop in a block that no schedule divides."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import reduce
from operator import add, mul
from typing import Any

from mlcref import dtype as dt
from mlcref import te
from mlcref.ir import Buffer, ExprLike, Stmt, Var, as_expr, cast, const, load, loop, store
from mlcref.te import Tensor
from mlcref.topi.operands import axis_of, product
from mlcref.topi.shape import reshape


def cumsum(
    data: Tensor, axis: int | None = None, dtype: str | None = None, exclusive: bool | None = None
) -> Tensor:  # fmt: skip
    """The sums of the elements up to each one along ``axis`` (of all elements in row-major order for None), without the
    element itself where ``exclusive``. Elements are converted to ``dtype`` first, bool to int32 by default.

    Raises OperatorError (topi.O2). As ``tvm.topi.cumsum``.

    >>> from mlcref import te, topi
    >>> topi.cumsum(te.placeholder((2, 3), "int8"), axis=1, dtype="int32").dtype
    'int32'
    """
    return _scanned(data, axis, dtype, bool(exclusive), add, 0, "cumsum_generic")


def cumprod(
    data: Tensor, axis: int | None = None, dtype: str | None = None, exclusive: bool | None = None
) -> Tensor:  # fmt: skip
    """The products of the elements up to each one; else as :func:`cumsum`. As ``tvm.topi.cumprod``.

    >>> from mlcref import te, topi
    >>> topi.cumprod(te.placeholder((2, 3))).ndim
    1
    """
    return _scanned(data, axis, dtype, bool(exclusive), mul, 1, "cumprod_generic")


def _scanned(
    data: Tensor, axis: int | None, dtype: str | None, exclusive: bool, combine: Callable[[Any, Any], Any],
    identity: int, name: str,
) -> Tensor:  # fmt: skip
    source = reshape(data, (product(data.shape),)) if axis is None else data
    at = axis_of(0 if axis is None else axis, source.ndim, name)
    target = dt.canonical(dtype or ("int32" if dt.is_bool(data.dtype) else data.dtype))

    def statements(ins: Sequence[Buffer], outs: Sequence[Buffer]) -> Stmt:
        def element(*i: Var) -> Stmt:
            before = (*i[:at], i[at] - 1, *i[at + 1 :])
            first = const(identity, target) if exclusive else cast(target, load(ins[0], i))
            new = cast(target, load(ins[0], before if exclusive else i))
            rest = combine(load(outs[0], before), new)
            return store(outs[0], te.if_then_else(i[at] == 0, first, rest), i)

        return nest(source.shape, element)

    made: Tensor = te.extern(source.shape, [source], statements, name, target, tag=name)
    return made


def nest(shape: Sequence[ExprLike], body: Callable[..., Stmt]) -> Stmt:
    """``body`` of one index per dimension of ``shape``, in loops over all of them."""
    extents = [as_expr(extent) for extent in shape]
    indices = [Var(f"i{d}", extent.dtype) for d, extent in enumerate(extents)]
    pairs = zip(reversed(indices), reversed(extents), strict=True)
    return reduce(lambda inner, pair: loop(pair[0], pair[1], inner), pairs, body(*indices))
