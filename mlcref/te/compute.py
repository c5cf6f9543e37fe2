"""How tensors are made: :func:`placeholder` and :func:`compute`."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from contextvars import ContextVar
from typing import Any

from mlcref import dtype as dt
from mlcref.ir import NO_ATTRS, Attrs, Const, Expr, ExprLike, as_expr, const, walk
from mlcref.te.axis import TensorExpressionError, axis, integer
from mlcref.te.reduction import Reduce
from mlcref.te.tensor import ComputeOp, PlaceholderOp, Tensor


def extents_of(shape: ExprLike | Sequence[ExprLike], name: str) -> tuple[Expr, ...]:
    """The extents that ``shape``, a tuple or one extent, gives ``name``; raises TensorExpressionError (te.T1)."""
    extents = tuple(shape) if isinstance(shape, tuple | list) else (shape,)
    made = tuple(integer(extent, f"an extent of {name}") for extent in extents)
    for extent in made:
        if isinstance(extent, Const) and extent.value < 0:
            raise TensorExpressionError(f"an extent of {name} is {extent.value}", rule="te.T1")
    return made


def placeholder(shape: ExprLike | Sequence[ExprLike], dtype: str | None = None, name: str = "placeholder") -> Tensor:
    """An input tensor of ``shape``: a tuple of integers and ``te.var``s, or one extent. Float32 without ``dtype``.

    Raises TensorExpressionError (te.T1) for an extent that is no integer. As ``tvm.te.placeholder``.

    >>> placeholder((128, 128), "float32", name="A").shape[0].value
    128
    """
    return PlaceholderOp(name, [(name, extents_of(shape, name), dt.canonical(dtype or "float32"))]).output(0)


def compute(
    shape: ExprLike | Sequence[ExprLike], fcompute: Callable[..., Any], name: str = "compute", tag: str = "",
    attrs: Mapping[str, Any] | None = None,
) -> Tensor:  # fmt: skip
    """The tensor of ``shape`` whose element at ``i, j, …`` is ``fcompute(i, j, …)``; its dtype is that of the value.

    ``fcompute`` takes one index per dimension (``lambda i, j: …``, or ``lambda *i: …``); its parameters name the loops.
    A tuple of values makes a tuple of tensors of that shape, computed together. Raises TensorExpressionError: te.T1 for
    a wrong shape, te.T4 for a wrong ``fcompute``, te.T5 for a reduction that is not at the top. As ``tvm.te.compute``,
    except that TVM drops the dimensions for which ``fcompute`` has no parameter.

    >>> A = placeholder((128,), name="A")
    >>> compute((128,), lambda i: A[i] + 1.0, name="B").op.axis[0].name
    'i'
    >>> double, square = compute((128,), lambda i: (A[i] * 2.0, A[i] * A[i]), name="C")
    >>> square.value_index
    1
    """
    extents = extents_of(shape, name)
    names = _axis_names(fcompute, len(extents), name)
    ranges = zip(names, extents, strict=True)
    axes = tuple(axis(each, const(0, extent.dtype), extent, "spatial") for each, extent in ranges)
    body = _body(_described(fcompute, [one.var for one in axes]), name)
    outputs = ComputeOp(name, axes, body, tag, Attrs(attrs) if attrs else NO_ATTRS).outputs()
    several: Any = outputs  # a tuple, which the few that ask for it know
    return outputs[0] if len(outputs) == 1 else several


_describing: ContextVar[bool] = ContextVar("describing", default=False)


def describing_elements() -> bool:
    """Does the function of a compute run now? Then tensors without dimensions stand for their elements."""
    return _describing.get()


def _described(fcompute: Callable[..., Any], indices: Sequence[Expr]) -> Any:
    outside = _describing.set(True)
    try:
        return fcompute(*indices)
    finally:
        _describing.reset(outside)


def _body(value: Any, name: str) -> tuple[Expr, ...]:
    values = tuple(value) if isinstance(value, tuple | list) else (value,)
    if not values:
        raise TensorExpressionError(f"the function of compute {name} returns no value", rule="te.T4")
    for each in values:
        if each is None or isinstance(each, str):
            raise TensorExpressionError(f"the function of compute {name} returns {each!r}, no value", rule="te.T4")
    body = tuple([as_expr(each) for each in values])
    for part in _below_the_top(body):
        if any(isinstance(inner, Reduce) for inner in walk(part)):
            raise TensorExpressionError(
                f"compute {name} uses a reduction inside an expression", rule="te.T5",
                hint="compute the reduction as a tensor of its own, then use its elements",
            )  # fmt: skip
    reductions = [each for each in body if isinstance(each, Reduce)]
    if reductions and not reductions[0].gives(body):
        raise TensorExpressionError(
            f"compute {name} returns {len(body)} values that are not those of one reduction, in order", rule="te.T5",
            hint="return what the reducer returned; a tensor each for other values",
        )  # fmt: skip
    return body


def _below_the_top(body: Sequence[Expr]) -> list[Expr]:
    """The parts of the values in which no reduction may stand."""
    parts: list[Expr] = []
    for value in body:
        if isinstance(value, Reduce):
            parts += [*value.sources, *value.init, *([] if value.condition is None else [value.condition])]
        else:
            parts.append(value)
    return parts


def _axis_names(fcompute: Callable[..., Any], ndim: int, name: str) -> list[str]:
    """A name per dimension: the parameters' names, then i0, i1, … for a ``*`` parameter."""
    if not callable(fcompute):
        raise TensorExpressionError(f"compute {name} needs a function of the indices, not {fcompute!r}", rule="te.T4")
    parameters = list(inspect.signature(fcompute).parameters.values())
    names = [p.name for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    has_rest = any(p.kind is p.VAR_POSITIONAL for p in parameters)
    if any(p.kind in (p.KEYWORD_ONLY, p.VAR_KEYWORD) for p in parameters):
        raise TensorExpressionError(f"the function of compute {name} has keyword parameters", rule="te.T4")
    if len(names) > ndim or (len(names) < ndim and not has_rest):
        raise TensorExpressionError(
            f"compute {name} has {ndim} dimensions, its function takes {len(names)}", rule="te.T4",
            hint="one parameter per dimension, or lambda *i",
        )  # fmt: skip
    return names + [f"i{count}" for count in range(ndim - len(names))]
