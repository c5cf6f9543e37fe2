"""The names of ``T`` for expressions. They work outside scripts too: ``T.exp(x)`` is the call node."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import ml_dtypes
import numpy as np

from mlcref import dtype as dt
from mlcref import ir
from mlcref.errors import TypeMismatch
from mlcref.ir import INTRINSICS, Const, Expr, ExprLike, as_expr, binary, conjunction, const
from mlcref.ir.expr import match_types
from mlcref.script.forms import BufferSlice, DataOf, lanes_of, load_origin
from mlcref.script.type_names import dtype_of


def _intrinsic(name: str) -> Callable[..., Expr]:
    def make(*args: ExprLike, dtype: Any = None) -> Expr:
        return ir.call(name, *args, dtype=None if dtype is None else dtype_of(dtype))

    make.__name__, make.__doc__ = name, f"The intrinsic ``{name}``; see mlcref.ir.intrinsics."
    return make


def _node(kind: type[ir.Binary]) -> Callable[[ExprLike, ExprLike], Expr]:
    def make(a: ExprLike, b: ExprLike) -> Expr:
        x, y = match_types(a, b)
        return kind(x, y)

    make.__name__, make.__doc__ = kind.__name__, f"The node ``{kind.__name__}``, without folding constants."
    return make


NODES: dict[str, Callable[[ExprLike, ExprLike], Expr]] = {
    kind.__name__: _node(kind)
    for kind in (
        ir.Add, ir.Sub, ir.Mul, ir.Div, ir.Mod, ir.FloorDiv, ir.FloorMod, ir.Min, ir.Max, ir.EQ, ir.NE, ir.LT, ir.LE,
        ir.GT, ir.GE,
        ir.And, ir.Or,
    )
}  # fmt: skip
"""Constructors of binary nodes by name."""


def max(a: ExprLike, b: ExprLike) -> Expr:
    """The larger of two values."""
    return binary(ir.Max, a, b)


def min(a: ExprLike, b: ExprLike) -> Expr:
    """The smaller of two values."""
    return binary(ir.Min, a, b)


def floordiv(a: ExprLike, b: ExprLike) -> Expr:
    """Integer division rounded towards minus infinity."""
    return binary(ir.FloorDiv, a, b)


def floormod(a: ExprLike, b: ExprLike) -> Expr:
    """Remainder with the sign of the divisor."""
    return binary(ir.FloorMod, a, b)


def truncdiv(a: ExprLike, b: ExprLike) -> Expr:
    """Integer division rounded towards zero."""
    return NODES["Div"](a, b)


def truncmod(a: ExprLike, b: ExprLike) -> Expr:
    """Remainder of the division rounded towards zero."""
    return NODES["Mod"](a, b)


def ceildiv(a: ExprLike, b: ExprLike) -> Expr:
    """Integer division rounded up."""
    return binary(ir.FloorDiv, binary(ir.Add, a, binary(ir.Sub, b, 1)), b)


def all(*conditions: ExprLike) -> Expr:
    """Every condition holds."""
    return conjunction([as_condition(condition) for condition in conditions])


def any(*conditions: ExprLike) -> Expr:
    """One of the conditions holds."""
    exprs = [as_condition(condition) for condition in conditions] or [Const(False, "bool")]
    result = exprs[0]
    for expr in exprs[1:]:
        result = ir.Or(result, expr)
    return result


def as_condition(value: ExprLike) -> Expr:
    """``value`` as an expression of type bool; raises ``TypeMismatch`` for another type."""
    expr = as_expr(value)
    if not dt.is_bool(expr.dtype):
        raise TypeMismatch(f"a condition is bool, not {expr.dtype}", hint="compare the value with 0")
    return expr


def Not(a: ExprLike) -> Expr:
    """The condition does not hold."""
    return ir.Not(as_condition(a))


def Select(condition: ExprLike, true_value: ExprLike, false_value: ExprLike) -> Expr:
    """One of two values; both are evaluated."""
    a, b = match_types(true_value, false_value)
    return ir.Select(as_condition(condition), a, b)


def if_then_else(condition: ExprLike, true_value: ExprLike, false_value: ExprLike, dtype: Any = None) -> Expr:
    """One of two values; only that one is evaluated."""
    if dtype is not None:
        true_value, false_value = cast(true_value, dtype), cast(false_value, dtype)
    return ir.call("if_then_else", as_condition(condition), true_value, false_value)


def Cast(dtype: Any, value: ExprLike) -> Expr:
    """The node ``Cast``, without converting constants at once."""
    return ir.Cast(dtype_of(dtype), as_expr(value))


def cast(value: ExprLike, dtype: Any) -> Expr:
    """``value`` converted to ``dtype``."""
    return ir.cast(dtype_of(dtype), value)


def Ramp(base: ExprLike, stride: ExprLike, lanes: ExprLike) -> Expr:
    """The vector ``base, base + stride, …``."""
    a, b = match_types(base, stride)
    return ir.Ramp(a, b, lanes_of(lanes))


def Broadcast(value: ExprLike, lanes: ExprLike) -> Expr:
    """A vector of equal elements."""
    return ir.Broadcast(as_expr(value), lanes_of(lanes))


def Shuffle(vectors: Any, indices: Any) -> Expr:
    """Lanes of vectors, picked by their numbers: ``T.Shuffle([a, b], [3, 0])``."""
    picked = tuple(as_expr(index) for index in indices)
    if not vectors or not picked:
        raise TypeMismatch("T.Shuffle takes vectors and the numbers of lanes")
    return ir.Shuffle(tuple(as_expr(vector) for vector in vectors), picked)


def call_extern(*args: Any, dtype: Any = None) -> Expr:
    """A C function: ``T.call_extern("int32", "f", x)`` or ``T.call_extern("f", x, dtype="int32")``."""
    return _extern("call_extern", args, dtype)


def call_pure_extern(*args: Any, dtype: Any = None) -> Expr:
    """:func:`call_extern` of a function without effect."""
    return _extern("call_pure_extern", args, dtype)


def _extern(op: str, args: tuple[Any, ...], dtype: Any) -> Expr:
    named = len(args) > 1 and isinstance(args[1], str)
    if dtype is None and named and not isinstance(args[0], str):
        dtype, args = args[0], args[1:]  # T.handle().ty
    if dtype is None and named and _is_dtype(args[0]):
        dtype, args = args[0], args[1:]
    if not args or not isinstance(args[0], str):
        raise TypeMismatch(f"T.{op} needs the name of a function")
    return ir.call(op, *args, dtype=dtype_of(dtype or "int32"))


def _is_dtype(name: str) -> bool:
    try:
        dt.parse(name)
    except TypeMismatch:
        return False
    return True


def call_packed(name: str, *args: Any, dtype: Any = "int32") -> Expr:
    """A function registered with ``register_global_func``. A buffer is given as an array."""
    return ir.call("call_packed", name, *(_array(arg) for arg in args), dtype=dtype_of(dtype))


def _array(arg: Any) -> Any:
    """A buffer as TVM gives it to a packed function: pointer, shape, strides, rank, type and offset."""
    if not isinstance(arg, ir.Buffer):
        return arg
    if arg.strides or arg.elem_offset is not None:
        raise TypeMismatch(f"{arg.name} is given to a packed function, but has strides or an offset")
    shape = ir.call("tvm_stack_make_shape", *arg.shape)
    kind = ir.cast(arg.dtype, Const(0))
    return ir.call("tvm_stack_make_array", DataOf(arg), shape, 0, len(arg.shape), kind, 0)


def reinterpret(dtype: Any, value: ExprLike) -> Expr:
    """The bits of ``value`` as another type: ``T.reinterpret("float32", x)``."""
    name, expr = dtype_of(dtype), as_expr(value)
    sizes = {dt.parse(kind).bits * dt.lanes(kind) for kind in (name, expr.dtype)}
    if len(sizes) != 1:
        raise TypeMismatch(f"T.reinterpret of {expr.dtype} as {name}: the widths differ")
    return ir.call("reinterpret", expr, dtype=name)


def address_of(element: Any) -> Expr:
    """A pointer to an element of a buffer (to its first, for a buffer): ``T.address_of(A[i, j])``."""
    if isinstance(element, ir.Buffer):
        element = load_origin(element)
    if isinstance(element, BufferSlice) or not isinstance(as_expr(element), ir.BufferLoad):
        raise TypeMismatch("T.address_of points to an element of a buffer", hint="write T.address_of(A[i, j])")
    return ir.call("address_of", element)


def type_annotation(dtype: Any) -> Expr:
    """A data type as an argument of ``T.tvm_access_ptr``."""
    return ir.call("type_annotation", dtype=dtype_of(dtype))


def undef(dtype: Any = "int32") -> Expr:
    """A value of which nothing is known."""
    return ir.call("undef", dtype=dtype_of(dtype))


def tvm_struct_get(pointer: Any, index: Any, field: Any, dtype: Any) -> Expr:
    """A field of a structure of the call convention."""
    return ir.call("tvm_struct_get", pointer, index, field, dtype=dtype_of(dtype))


def min_value(dtype: Any) -> Expr:
    """The smallest finite value of a type."""
    name = dtype_of(dtype)
    return const(float(_float_limits(name).min) if dt.is_float(name) else dt.integer_range(name)[0], name)


def max_value(dtype: Any) -> Expr:
    """The largest finite value of a type."""
    name = dtype_of(dtype)
    return const(float(_float_limits(name).max) if dt.is_float(name) else dt.integer_range(name)[1], name)


def _float_limits(dtype: str) -> Any:
    native = dtype in ("float16", "float32", "float64")
    return np.finfo(dtype) if native else ml_dtypes.finfo(dt.numpy_dtype(dtype))  # type: ignore[no-untyped-call]


def infinity(dtype: Any) -> Expr:
    """Infinity of a floating-point type."""
    return const(math.inf, dtype_of(dtype))


SPECIAL = {
    "if_then_else", "call_extern", "call_pure_extern", "call_packed", "reinterpret", "address_of", "type_annotation",
    "undef", "tvm_struct_get", "buffer_data", "buffer_offset", "buffer_argument", "call_function",
}  # fmt: skip
INTRINSIC_NAMES: dict[str, Callable[..., Expr]] = {name: _intrinsic(name) for name in INTRINSICS if name not in SPECIAL}
"""A function for each row of the table of intrinsics."""
ALIASES = {
    "fabs": INTRINSIC_NAMES["abs"],
    "power": INTRINSIC_NAMES["pow"],
    "ramp": Ramp,
    "broadcast": Broadcast,
    "tvm_call_packed": call_packed,
    "truncdiv": truncdiv,
    "BitwiseAnd": INTRINSIC_NAMES["bitwise_and"],
    "BitwiseOr": INTRINSIC_NAMES["bitwise_or"],
    "BitwiseXor": INTRINSIC_NAMES["bitwise_xor"],
    "BitwiseNot": INTRINSIC_NAMES["bitwise_not"],
    "LShift": INTRINSIC_NAMES["shift_left"],
    "RShift": INTRINSIC_NAMES["shift_right"],
}

__all__ = [
    "Broadcast", "Cast", "Not", "Ramp", "Select", "Shuffle", "address_of", "all", "any", "call_extern", "call_packed",
    "call_pure_extern", "reinterpret", "tvm_struct_get", "type_annotation", "undef", "cast", "ceildiv",
    "floordiv", "floormod",
    "if_then_else", "infinity", "max", "max_value", "min", "min_value", "truncdiv", "truncmod",
]  # fmt: skip
