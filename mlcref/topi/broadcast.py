"""Operators on two tensors, or a tensor and a number, whose shapes are brought together as numpy does it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from mlcref import dtype as dt
from mlcref import te
from mlcref.ir import (
    EQ, GE, GT, LE, LT, NE, Add, And, Binary, Const, Div, Expr, ExprLike, FloorDiv, FloorMod, Max, Min, Mod, Mul, Or,
    Select, Sub, as_expr, binary, call, const,
)  # fmt: skip
from mlcref.ir.expr import match_types
from mlcref.te import Tensor
from mlcref.topi.operands import BROADCAST, ELEMWISE, OperatorError, Shape, each, same, told

Operand = Tensor | ExprLike
BinaryOperator = Callable[[Operand, Operand], Any]


def common_shape(*shapes: Shape) -> tuple[Expr, ...]:
    """The shape that ``shapes`` are broadcast to: dimensions are matched from the last on, and one of extent 1 is
    repeated. Raises OperatorError (topi.O1) where extents differ, or are not known to be equal.

    >>> [int(extent) for extent in common_shape((3, 1), (4,))]
    [3, 4]
    """
    ndim = max(map(len, shapes))
    aligned = [(as_expr(1),) * (ndim - len(shape)) + tuple(map(as_expr, shape)) for shape in shapes]
    return tuple(_common_extent(extents, shapes) for extents in zip(*aligned, strict=True))


def _common_extent(extents: Sequence[Expr], shapes: Sequence[Shape]) -> Expr:
    wide = [extent for extent in extents if not _is_one(extent)]
    for extent in wide[1:]:
        if not same(wide[0], extent):
            raise OperatorError(f"shapes do not fit: {' and '.join(map(told, shapes))}", rule="topi.O1")
    return wide[0] if wide else extents[0]


def _is_one(extent: Expr) -> bool:
    return isinstance(extent, Const) and extent.value == 1


def read(x: Operand, indices: Sequence[Any], shape: Shape) -> Expr:
    """The element of ``x`` at the indices of a ``shape`` that it is broadcast to; a number is itself."""
    if not isinstance(x, Tensor):
        return as_expr(x)
    own, whole = indices[len(indices) - x.ndim :], shape[len(shape) - x.ndim :]
    places = zip(own, x.shape, map(as_expr, whole), strict=True)
    return as_expr(x(*[0 if _is_one(extent) and not _is_one(wide) else index for index, extent, wide in places]))


def combined(combine: Callable[[Any, Any], ExprLike], lhs: Operand, rhs: Operand, name: str) -> Any:
    """``combine`` of the elements of two operands; of two numbers a number."""
    if not isinstance(lhs, Tensor) and not isinstance(rhs, Tensor):
        return as_expr(combine(lhs, rhs))
    shapes = [x.shape for x in (lhs, rhs) if isinstance(x, Tensor)]
    whole = common_shape(*shapes)

    def value(*i: Any) -> ExprLike:
        # A number stays one, so that it adopts the type of the tensor.
        return combine(*(read(x, i, whole) if isinstance(x, Tensor) else x for x in (lhs, rhs)))

    return each(whole, value, name, BROADCAST if len(shapes) == 2 else ELEMWISE)


def _operator(name: str, combine: Callable[[Any, Any], ExprLike], what: str) -> BinaryOperator:
    def operator(lhs: Operand, rhs: Operand) -> Any:
        return combined(combine, lhs, rhs, f"T_{name}")

    operator.__name__ = operator.__qualname__ = name
    operator.__doc__ = f"""{what} of two tensors, or a tensor and a number, broadcast.

    Raises OperatorError (topi.O1) for shapes that do not fit. As ``tvm.topi.{name}``.
    """
    return operator


def _node(kind: type[Binary]) -> Callable[[ExprLike, ExprLike], Expr]:
    return lambda a, b: binary(kind, a, b)


def _by_type(integers: type[Binary], floats: Callable[[Expr, Expr], Expr]) -> Callable[[ExprLike, ExprLike], Expr]:
    """``integers`` of integers and ``floats`` of floats."""

    def value(a: ExprLike, b: ExprLike) -> Expr:
        x, y = match_types(a, b)
        return floats(x, y) if dt.is_float(x.dtype) else binary(integers, x, y)

    return value


def _logical(kind: type[Binary]) -> Callable[[ExprLike, ExprLike], Expr]:
    def value(a: ExprLike, b: ExprLike) -> Expr:
        x, y = as_expr(a), as_expr(b)
        if not (dt.is_bool(x.dtype) and dt.is_bool(y.dtype)):
            raise OperatorError(f"a logical operator takes bool, not {x.dtype} and {y.dtype}", rule="topi.O4")
        return kind(x, y)

    return value


def _logarithm_of_sum(a: ExprLike, b: ExprLike) -> Expr:
    """As ``log(exp(a) + exp(b))``, with exponentials that do not overflow."""
    x, y = match_types(a, b)
    high, low = binary(Max, x, y), binary(Min, x, y)
    return high + call("log1p", call("exp", low - high))


add = _operator("add", _node(Add), "The sum")
subtract = _operator("subtract", _node(Sub), "The difference")
multiply = _operator("multiply", _node(Mul), "The product")
divide = _operator("divide", _node(Div), "The quotient, of integers rounded towards 0,")
floor_divide = _operator(
    "floor_divide", _by_type(FloorDiv, lambda a, b: te.floor(a / b)), "The quotient rounded down"
)
mod = _operator("mod", _by_type(Mod, te.fmod), "The remainder with the sign of the first operand")
floor_mod = _operator(
    "floor_mod", _by_type(FloorMod, lambda a, b: a - te.floor(a / b) * b), "The remainder with the sign of the second"
)
maximum = _operator("maximum", _node(Max), "The larger")
minimum = _operator("minimum", _node(Min), "The smaller")
power = _operator("power", te.power, "The power (floats)")
atan2 = _operator("atan2", lambda a, b: call("atan2", a, b), "The angle of the point (rhs, lhs)")
log_add_exp = _operator("log_add_exp", _logarithm_of_sum, "The logarithm of the sum of the exponentials")
left_shift = _operator("left_shift", lambda a, b: call("shift_left", a, b), "The first shifted left by the second")
right_shift = _operator("right_shift", lambda a, b: call("shift_right", a, b), "The first shifted right by the second")
greater = _operator("greater", _node(GT), "Whether ``lhs > rhs``, element by element")
less = _operator("less", _node(LT), "Whether ``lhs < rhs``, element by element")
greater_equal = _operator("greater_equal", _node(GE), "Whether ``lhs >= rhs``, element by element")
less_equal = _operator("less_equal", _node(LE), "Whether ``lhs <= rhs``, element by element")
equal = _operator("equal", _node(EQ), "Whether ``lhs == rhs``, element by element")
not_equal = _operator("not_equal", _node(NE), "Whether ``lhs != rhs``, element by element")
logical_and = _operator("logical_and", _logical(And), "Whether both truth values hold")
logical_or = _operator("logical_or", _logical(Or), "Whether one of the truth values holds")
logical_xor = _operator("logical_xor", _logical(NE), "Whether one of the truth values holds, not both")
bitwise_and = _operator("bitwise_and", lambda a, b: call("bitwise_and", a, b), "The bits that both have")
bitwise_or = _operator("bitwise_or", lambda a, b: call("bitwise_or", a, b), "The bits that one has")
bitwise_xor = _operator("bitwise_xor", lambda a, b: call("bitwise_xor", a, b), "The bits in which they differ")


def where(condition: Operand, x: Operand, y: Operand) -> Any:
    """``x`` where ``condition`` is not 0, elsewhere ``y``, all three broadcast. As ``tvm.topi.where``.

    >>> from mlcref import te, topi
    >>> c, x = te.placeholder((3, 1), "bool"), te.placeholder((4,))
    >>> [int(extent) for extent in topi.where(c, x, 0.0).shape]
    [3, 4]
    """
    shapes = [operand.shape for operand in (condition, x, y) if isinstance(operand, Tensor)]
    whole = common_shape(*shapes) if shapes else ()

    def value(*i: Any) -> Expr:
        chosen = read(condition, i, whole)
        holds = chosen if dt.is_bool(chosen.dtype) else binary(NE, chosen, const(0, chosen.dtype))
        yes, no = match_types(*(read(one, i, whole) if isinstance(one, Tensor) else one for one in (x, y)))
        return Select(holds, yes, no)

    return each(whole, value, "T_where", BROADCAST) if shapes else value()


def broadcast_to(data: Tensor, shape: Shape) -> Tensor:
    """``data`` repeated to ``shape``. Raises OperatorError (topi.O1). As ``tvm.topi.broadcast_to``.

    >>> from mlcref import te, topi
    >>> topi.broadcast_to(te.placeholder((3, 1)), (2, 3, 4)).ndim
    3
    """
    whole = common_shape(data.shape, shape)
    if len(whole) != len(shape) or not all(same(a, b) for a, b in zip(whole, shape, strict=True)):
        raise OperatorError(f"{told(data.shape)} cannot be broadcast to {told(shape)}", rule="topi.O1")
    return each(tuple(shape), lambda *i: read(data, i, shape), "T_broadcast_to", BROADCAST)
