"""Reductions: ``te.sum(A[i, k] * B[k, j], axis=k)`` and what reducers are made of."""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from typing import Any

import ml_dtypes

from mlcref import dtype as dt
from mlcref.ir import Const, Expr, ExprLike, Max, Min, Var, as_expr, const
from mlcref.ir.base import Value, node
from mlcref.ir.expr import binary
from mlcref.te.axis import Axis, TensorExpressionError

Combine = Callable[[Any, Any], Any]
Identity = Callable[..., Any]


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
    """All values of ``sources`` over ``axis`` combined by ``reducer``: of the combinations, one per source, number
    ``index``. Stands at the top of a compute and nowhere else.

    ``condition`` (or None) says which values take part; ``init`` (or ()) are the first values in place of the identity.
    """

    reducer: Value
    sources: tuple[Expr, ...]
    axis: Value
    condition: Expr | None
    init: tuple[Expr, ...]
    index: int = 0

    @property
    def dtype(self) -> str:
        return self.sources[self.index].dtype

    def gives(self, values: Sequence[Expr]) -> bool:
        """Are ``values`` all that this reduction gives, in order?"""
        return len(values) == len(self.sources) and all(
            isinstance(value, Reduce) and value.sources is self.sources and value.index == index
            for index, value in enumerate(values)
        )

    def __repr__(self) -> str:
        sources = repr(self.sources[0]) if len(self.sources) == 1 else f"({', '.join(map(repr, self.sources))})"
        part = f"[{self.index}]" if len(self.sources) > 1 else ""
        return f"{self.reducer.name}({sources}, axis=[{', '.join(axis.name for axis in self.axis)}]){part}"


class CommReducer:
    """A commutative, associative way to combine two values, with its identity: ``te.sum``, ``te.max``, …

    >>> from mlcref import te
    >>> A, k = te.placeholder((4, 8), name="A"), te.reduce_axis((0, 8), "k")
    >>> te.compute((4,), lambda i: te.sum(A[i, k], axis=k), name="B").dtype
    'float32'
    """

    def __init__(self, name: str, combine: Combine, identity: Identity, single: bool = False) -> None:
        self.name, self._combine, self._identity, self._single = name, combine, identity, single

    def combine(self, left: Sequence[Expr], right: Sequence[Expr]) -> tuple[Expr, ...]:
        """The combination of two tuples of values; of tuples of one value, the tuple of their combination."""
        if len(left) == 1:
            return self._values(self._combine(left[0], right[0]), left)
        return self._values(self._combine(tuple(left), tuple(right)), left)

    def identity(self, *dtypes: str) -> tuple[Expr, ...]:
        """The values, one per dtype, that change nothing."""
        values = self._identity(*dtypes)
        several = values if isinstance(values, tuple | list) else (values,)
        if len(several) != len(dtypes):
            raise TensorExpressionError(
                f"{self.name} of {len(dtypes)} values has an identity of {len(several)}", rule="te.T2"
            )
        return tuple([as_expr(value, dtype) for value, dtype in zip(several, dtypes, strict=True)])

    def _values(self, combined: Any, operands: Sequence[Expr]) -> tuple[Expr, ...]:
        values = combined if isinstance(combined, tuple | list) else (combined,)
        if len(values) != len(operands):
            raise TensorExpressionError(
                f"{self.name} of {len(operands)} values combines them to {len(values)}", rule="te.T2"
            )
        return tuple([as_expr(value) for value in values])

    def __call__(self, expr: Any, axis: Any, where: ExprLike | None = None, init: Any = None) -> Any:
        """Reduce ``expr`` over ``axis`` (one or a list); with an expression as ``axis``, combine the two values.

        A tuple as ``expr`` reduces all its values together, and gives a tuple. Only values where the condition
        ``where`` holds take part. The reduction starts at ``init``, by default at the identity. Raises
        TensorExpressionError (te.T2) when ``axis`` are not distinct reduce axes. As ``tvm.te.sum`` etc., except that
        ``tvm.te.create_prim_func`` drops ``where`` and ``init``.
        """
        sources = tuple([as_expr(each) for each in expr]) if isinstance(expr, tuple | list) else (as_expr(expr),)
        if self._single and len(sources) != 1:
            raise TensorExpressionError(f"{self.name} is of one value, not of {len(sources)}", rule="te.T2",
                                        hint="te.comm_reducer makes a reducer of several")  # fmt: skip
        if isinstance(axis, Axis) or (isinstance(axis, list | tuple) and _has_axis(axis, len(sources))):
            made = self._reduce(sources, _reduce_axes(self.name, axis), where, init)
        elif where is not None or init is not None:
            raise TensorExpressionError(
                f"{self.name} of two values takes no where= and no init=", rule="te.T2", hint="pass axis=k to reduce"
            )
        else:
            made = self._direct(expr, axis)
        return made if isinstance(expr, tuple | list) else made[0]

    def _direct(self, left: Any, right: Any) -> tuple[Expr, ...]:
        """The combination of two values as they are given: a number takes the type of the expression beside it."""
        lefts = left if isinstance(left, tuple | list) else (left,)
        return self._values(self._combine(left, right), lefts)

    def _reduce(
        self, sources: tuple[Expr, ...], axes: tuple[Axis, ...], where: ExprLike | None, init: Any
    ) -> tuple[Expr, ...]:
        condition = None if where is None else as_expr(where)
        if condition is not None and not dt.is_bool(condition.dtype):
            raise TensorExpressionError(f"where= of {self.name} is no condition but {condition.dtype}", rule="te.T2")
        start = () if init is None else self._start(sources, init)
        self._check_types([source.dtype for source in sources])
        return tuple([Reduce(self, sources, axes, condition, start, index) for index in range(len(sources))])

    def _start(self, sources: tuple[Expr, ...], init: Any) -> tuple[Expr, ...]:
        values = init if isinstance(init, tuple | list) else (init,)
        if len(values) != len(sources):
            raise TensorExpressionError(
                f"{self.name} of {len(sources)} values cannot start at init= of {len(values)}", rule="te.T2"
            )
        start = tuple([as_expr(value, source.dtype) for value, source in zip(values, sources, strict=True)])
        for value, source in zip(start, sources, strict=True):
            if value.dtype != source.dtype:
                raise TensorExpressionError(
                    f"{self.name} of {source.dtype} cannot start at init= of {value.dtype}", rule="te.T2",
                    hint="use astype",
                )  # fmt: skip
        return start

    def _check_types(self, dtypes: list[str]) -> None:
        left, right = [Var("x", dtype) for dtype in dtypes], [Var("y", dtype) for dtype in dtypes]
        identity = [value.dtype for value in self.identity(*dtypes)]
        combined = [value.dtype for value in self.combine(left, right)]
        if (identity, combined) != (dtypes, dtypes):
            raise TensorExpressionError(
                f"{self.name} is not defined on {', '.join(dtypes)}: its identity is {', '.join(identity)}, the "
                f"combination {', '.join(combined)}",
                rule="te.T2",
            )

    def __repr__(self) -> str:
        return f"te.{self.name}"


def _has_axis(axis: Sequence[Any], values: int) -> bool:
    """Is a tuple in the place of axes one? Otherwise it is the second of two tuples of values to combine."""
    return values == 1 or any(isinstance(one, Axis) for one in axis)


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

    For several values at once both get and return tuples: ``fcombine((i, v), (j, w))``, ``fidentity(dtype0, dtype1)``.
    As ``tvm.te.comm_reducer``.

    >>> from mlcref import te
    >>> product = te.comm_reducer(lambda x, y: x * y, lambda dtype: te.const(1, dtype), name="product")
    >>> product.identity("float32")[0].value
    1.0
    >>> last = te.comm_reducer(  # the largest value, and the last place where it is
    ...     lambda x, y: (te.Select(x[1] > y[1], x[0], y[0]), te.max(x[1], y[1])),
    ...     lambda index, value: (te.const(-1, index), te.min_value(value)), name="last")
    >>> A, k = te.placeholder((4, 8), name="A"), te.reduce_axis((0, 8), "k")
    >>> place, value = te.compute((4,), lambda i: last((k, A[i, k]), axis=k), name="M")
    >>> place.dtype, value.dtype
    ('int32', 'float32')
    """
    return CommReducer(name, fcombine, fidentity)


def _number(value: int) -> Identity:
    """The identity ``value``, of numbers only: a sum of truth values would be one of ``bool``."""
    return lambda dtype: const(value, "int32" if dt.is_bool(dtype) else dtype)


sum = CommReducer("sum", operator.add, _number(0), single=True)
prod = CommReducer("prod", operator.mul, _number(1), single=True)
max = CommReducer("max", lambda a, b: binary(Max, a, b), min_value, single=True)
min = CommReducer("min", lambda a, b: binary(Min, a, b), max_value, single=True)
