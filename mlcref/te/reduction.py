"""Reductions: ``te.sum(A[i, k] * B[k, j], axis=k)`` and what reducers are made of."""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence

import ml_dtypes

from mlcref import dtype as dt
from mlcref.errors import UnsupportedError
from mlcref.ir import Const, Expr, ExprLike, Max, Min, Var, as_expr, const
from mlcref.ir.base import Value, node
from mlcref.ir.expr import binary
from mlcref.te.axis import Axis, TensorExpressionError

Combine = Callable[[ExprLike, ExprLike], ExprLike]
Identity = Callable[[str], ExprLike]


def min_value(dtype: str) -> Const:
    """The smallest finite value of ``dtype``, where a maximum starts.

    >>> min_value("int8").value
    -128
    """
    return _limit(dtype, 0)


def max_value(dtype: str) -> Const:
    """The largest finite value of ``dtype``, where a minimum starts.

    >>> max_value("float16").value
    65504.0
    """
    return _limit(dtype, 1)


def _limit(dtype: str, side: int) -> Const:
    if dt.is_float(dtype):
        limits = ml_dtypes.finfo(dt.numpy_dtype(dtype))  # type: ignore[no-untyped-call]
        return const(float((limits.min, limits.max)[side]), dtype)
    return const(dt.integer_range(dtype)[side], dtype)


@node
class Reduce(Expr):
    """All values of ``source`` over ``axis`` combined by ``reducer``. Stands at the top of a compute and nowhere else.

    ``condition`` (or None) says which values take part; ``init`` (or None) is the first value in place of the identity.
    """

    reducer: Value
    source: Expr
    axis: Value
    condition: Expr | None
    init: Expr | None

    @property
    def dtype(self) -> str:
        return self.source.dtype

    def __repr__(self) -> str:
        return f"{self.reducer.name}({self.source!r}, axis=[{', '.join(axis.name for axis in self.axis)}])"


class CommReducer:
    """A commutative, associative way to combine two values, with its identity: ``te.sum``, ``te.max``, …

    >>> from mlcref import te
    >>> A, k = te.placeholder((4, 8), name="A"), te.reduce_axis((0, 8), "k")
    >>> te.compute((4,), lambda i: te.sum(A[i, k], axis=k), name="B").dtype
    'float32'
    """

    def __init__(self, name: str, combine: Combine, identity: Identity) -> None:
        self.name, self._combine, self._identity = name, combine, identity

    def combine(self, a: ExprLike, b: ExprLike) -> Expr:
        """The combination of two values."""
        return as_expr(self._combine(a, b))

    def identity(self, dtype: str) -> Expr:
        """The value that changes nothing, in ``dtype``."""
        return as_expr(self._identity(dtype), dtype)

    def __call__(
        self, expr: ExprLike, axis: ExprLike | Axis | Sequence[Axis],
        where: ExprLike | None = None, init: ExprLike | None = None,
    ) -> Expr:  # fmt: skip
        """Reduce ``expr`` over ``axis`` (one or a list); with an expression as ``axis``, combine the two values.

        Only values where the condition ``where`` holds take part. The reduction starts at ``init``, by default at the
        identity. Raises TensorExpressionError (te.T2) when ``axis`` are not distinct reduce axes. As ``tvm.te.sum``
        etc., except that ``tvm.te.create_prim_func`` drops ``where`` and ``init``.
        """
        if isinstance(axis, Axis | list | tuple):
            return self._reduce(expr, _reduce_axes(self.name, axis), where, init)
        if where is not None or init is not None:
            raise TensorExpressionError(
                f"{self.name} of two values takes no where= and no init=", rule="te.T2", hint="pass axis=k to reduce"
            )
        return self.combine(expr, axis)

    def _reduce(self, expr: ExprLike, axes: tuple[Axis, ...], where: ExprLike | None, init: ExprLike | None) -> Expr:
        if isinstance(expr, tuple | list):
            raise UnsupportedError(f"{self.name} of several values at once is not supported", rule="te.U1")
        source = as_expr(expr)
        condition = None if where is None else as_expr(where)
        start = None if init is None else as_expr(init, source.dtype)
        if condition is not None and not dt.is_bool(condition.dtype):
            raise TensorExpressionError(f"where= of {self.name} is no condition but {condition.dtype}", rule="te.T2")
        if start is not None and start.dtype != source.dtype:
            raise TensorExpressionError(
                f"{self.name} of {source.dtype} cannot start at init= of {start.dtype}", rule="te.T2", hint="use astype"
            )
        self._check_type(source.dtype)
        return Reduce(self, source, axes, condition, start)

    def _check_type(self, dtype: str) -> None:
        identity, combined = self.identity(dtype).dtype, self.combine(Var("x", dtype), Var("y", dtype)).dtype
        if (identity, combined) != (dtype, dtype):
            raise TensorExpressionError(
                f"{self.name} is not defined on {dtype}: its identity is {identity}, the combination {combined}",
                rule="te.T2",
            )

    def __repr__(self) -> str:
        return f"te.{self.name}"


def _reduce_axes(name: str, axis: Axis | Sequence[Axis]) -> tuple[Axis, ...]:
    axes = (axis,) if isinstance(axis, Axis) else tuple(axis)
    for one in axes:
        if not isinstance(one, Axis) or one.kind != "reduce":
            raise TensorExpressionError(
                f"{name} reduces over {one!r}, which is no reduce axis", rule="te.T2", hint="make it by te.reduce_axis"
            )
    if not axes or len(set(axes)) != len(axes):
        raise TensorExpressionError(f"{name} needs reduce axes, each of them once", rule="te.T2")
    return axes


def comm_reducer(fcombine: Combine, fidentity: Identity, name: str = "reduce") -> CommReducer:
    """A reducer of your own: ``fcombine(x, y)`` must be commutative and associative, ``fidentity(dtype)`` its identity.

    As ``tvm.te.comm_reducer``, for one value at a time.

    >>> from mlcref import te
    >>> product = te.comm_reducer(lambda x, y: x * y, lambda dtype: te.const(1, dtype), name="product")
    >>> product.identity("float32").value
    1.0
    """
    return CommReducer(name, fcombine, fidentity)


def _number(value: int) -> Identity:
    """The identity ``value``, of numbers only: a sum of truth values would be one of ``bool``."""
    return lambda dtype: const(value, "int32" if dt.is_bool(dtype) else dtype)


sum = CommReducer("sum", operator.add, _number(0))
prod = CommReducer("prod", operator.mul, _number(1))
max = CommReducer("max", lambda a, b: binary(Max, a, b), min_value)
min = CommReducer("min", lambda a, b: binary(Min, a, b), max_value)
