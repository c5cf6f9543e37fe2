"""Expressions of the IR.

Operators on expressions build nodes: ``a + b`` is ``Add(a, b)`` after both sides got one type. Two integer constants
fold, so that shapes stay numbers. ``a == b`` builds an ``EQ`` node as well; see :meth:`EQ.__bool__` for its truth
value.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, ClassVar

from mlcref import dtype as dt
from mlcref.errors import TypeMismatch
from mlcref.ir.base import Value, node, plain
from mlcref.ir.operators import BUILD
from mlcref.ir.operators import Expr as Expr
from mlcref.ir.operators import ExprLike as ExprLike
from mlcref.rounding import rounder


@node
class Var(Expr):
    """A variable: loop variable, block iterator, scalar parameter, shape variable, let binding. Identity is the object.
    """

    name: str = plain(structural=False)
    type: str = "int32"

    @property
    def dtype(self) -> str:
        return self.type


@node
class Const(Expr):
    """A number or truth value of type ``dtype``. Integers are Python ints, floats Python floats already rounded to
    ``dtype``.
    """

    value: Value
    type: str = "int32"

    @property
    def dtype(self) -> str:
        return self.type

    def __int__(self) -> int:
        return int(self.value)

    def __float__(self) -> float:
        return float(self.value)

    def __index__(self) -> int:
        if dt.is_float(self.type):
            raise TypeMismatch(f"{self.value} of type {self.type} is no index")
        return int(self.value)

    def __bool__(self) -> bool:
        return bool(self.value)


@node
class StringImm(Expr):
    """A string, as calls take it."""

    value: str

    @property
    def dtype(self) -> str:
        return "handle"


@node
class Cast(Expr):
    """``value`` converted to ``type``: float to int truncates, int to a narrower int wraps."""

    type: str
    value: Expr

    @property
    def dtype(self) -> str:
        return self.type


@node
class Binary(Expr):
    """Base of operations with two operands of one type. ``symbol`` is the Python operator, or the function's name."""

    symbol: ClassVar[str] = ""
    a: Expr
    b: Expr

    @property
    def dtype(self) -> str:
        leftmost = self.a
        while isinstance(leftmost, Binary) and not isinstance(leftmost, Compare):
            leftmost = leftmost.a  # a long sum is a deep tree
        return leftmost.dtype


@node
class Compare(Binary):
    """Base of comparisons; the value is bool with the operands' lanes."""

    @property
    def dtype(self) -> str:
        return dt.parse("bool").with_lanes(dt.lanes(self.a.dtype))


@node
class Add(Binary):
    """``a + b``."""

    symbol: ClassVar[str] = "+"


@node
class Sub(Binary):
    """``a - b``."""

    symbol: ClassVar[str] = "-"


@node
class Mul(Binary):
    """``a * b``."""

    symbol: ClassVar[str] = "*"


@node
class Div(Binary):
    """``a / b`` of floats (IEEE); of integers it truncates towards zero, as TVM's ``Div`` (``T.Div``, ``T.truncdiv``).
    """

    symbol: ClassVar[str] = "/"


@node
class Mod(Binary):
    """Remainder of the truncating integer division (``T.truncmod``)."""

    symbol: ClassVar[str] = "truncmod"


@node
class FloorDiv(Binary):
    """``a // b``, rounded towards minus infinity."""

    symbol: ClassVar[str] = "//"


@node
class FloorMod(Binary):
    """``a % b`` with the sign of ``b``."""

    symbol: ClassVar[str] = "%"


@node
class Min(Binary):
    """``a if a < b else b``: the second operand when either is NaN."""

    symbol: ClassVar[str] = "min"


@node
class Max(Binary):
    """``a if a > b else b``: the second operand when either is NaN."""

    symbol: ClassVar[str] = "max"


@node
class EQ(Compare):
    """``a == b``."""

    symbol: ClassVar[str] = "=="

    def __bool__(self) -> bool:
        """True when both sides are one object or equal constants, False for unequal constants; anything else raises."""
        if self.a is self.b:
            return True
        if isinstance(self.a, Const) and isinstance(self.b, Const):
            return bool(self.a.value == self.b.value)
        return Expr.__bool__(self)


@node
class NE(Compare):
    """``a != b``."""

    symbol: ClassVar[str] = "!="

    def __bool__(self) -> bool:
        """The opposite of :meth:`EQ.__bool__`."""
        return not EQ(self.a, self.b)


@node
class LT(Compare):
    """``a < b``."""

    symbol: ClassVar[str] = "<"


@node
class LE(Compare):
    """``a <= b``."""

    symbol: ClassVar[str] = "<="


@node
class GT(Compare):
    """``a > b``."""

    symbol: ClassVar[str] = ">"


@node
class GE(Compare):
    """``a >= b``."""

    symbol: ClassVar[str] = ">="


@node
class And(Compare):
    """Both hold; both operands are evaluated."""

    symbol: ClassVar[str] = "and"


@node
class Or(Compare):
    """Either holds; both operands are evaluated."""

    symbol: ClassVar[str] = "or"


@node
class Not(Expr):
    """The condition does not hold."""

    a: Expr

    @property
    def dtype(self) -> str:
        return self.a.dtype


@node
class Broadcast(Expr):
    """``value`` in each of ``lanes`` elements."""

    value: Expr
    lanes: int

    @property
    def dtype(self) -> str:
        return dt.parse(self.value.dtype).with_lanes(self.lanes)


@node
class Call(Expr):
    """An intrinsic of :mod:`mlcref.ir.intrinsics` (``op`` is its name) applied to ``args``, with a value of type
    ``type``.
    """

    op: str
    args: tuple[Expr, ...]
    type: str

    @property
    def dtype(self) -> str:
        return self.type


def const(value: Any, dtype: str | None = None) -> Const:
    """A constant of ``dtype``; without one, bool, int32 (int64 when it does not fit) or float32.

    Raises ``TypeMismatch`` for an integer outside the range of an integer type.
    """
    if isinstance(value, Const):
        value, dtype = value.value, dtype or value.type
    if dtype is None:
        if isinstance(value, bool):
            dtype = "bool"
        elif isinstance(value, int):
            dtype = "int32" if -(2**31) <= value < 2**31 else "int64"
        else:
            dtype = "float32"
    if dt.is_float(dtype):
        return Const(rounder(dt.parse(dtype).element)(float(value)), dtype)
    if dt.is_bool(dtype):
        return Const(bool(value), dtype)
    low, high = dt.integer_range(dtype)
    if int(value) != value or not low <= value <= high:
        raise TypeMismatch(f"{value} does not fit {dtype}")
    return Const(int(value), dtype)


def as_expr(value: ExprLike, dtype: str | None = None) -> Expr:
    """``value`` as an expression: expressions stay, numbers become constants (of ``dtype``, where given)."""
    if isinstance(value, Expr):
        return value
    if isinstance(value, str):
        return StringImm(value)
    if isinstance(value, bool | int | float) or hasattr(value, "__index__") or hasattr(value, "__float__"):
        plain_value = value.item() if hasattr(value, "item") else value
        return const(plain_value, dtype)
    to_expr = getattr(value, "as_expr", None)
    if to_expr is not None:
        result: Expr = to_expr()
        return result
    raise TypeMismatch(f"{value!r} of type {type(value).__name__} is no expression")


def cast(dtype: str, value: ExprLike) -> Expr:
    """``value`` converted to ``dtype``; constants convert at once, a scalar becomes a vector by ``Broadcast``."""
    expr = as_expr(value)
    if expr.dtype == dtype:
        return expr
    target, source = dt.parse(dtype), dt.parse(expr.dtype)
    if source.code == "void":
        raise TypeMismatch("a call without a value (void) is used as one")
    if target.lanes != source.lanes:
        if source.lanes != 1:
            raise TypeMismatch(f"cannot convert {expr.dtype} to {dtype}: the lane counts differ")
        return Broadcast(cast(target.element, expr), target.lanes)
    if isinstance(expr, Const) and not (dt.is_float(expr.type) and not dt.is_float(dtype)):
        low, high = dt.integer_range(dtype) if not dt.is_float(dtype) else (0, 0)
        if dt.is_float(dtype) or low <= int(expr.value) <= high:
            return const(expr.value, dtype)
    return Cast(dtype, expr)


def match_types(a: ExprLike, b: ExprLike) -> tuple[Expr, Expr]:
    """Both operands in one type: a number takes the other side's type, otherwise as :func:`mlcref.dtype.promote` says.
    """
    if not isinstance(a, Expr) and isinstance(b, Expr):
        a = _adopt(a, b.dtype)
    elif not isinstance(b, Expr) and isinstance(a, Expr):
        b = _adopt(b, a.dtype)
    a, b = as_expr(a), as_expr(b)
    if a.dtype == b.dtype:
        return a, b
    dtype = dt.promote(a.dtype, b.dtype)
    return cast(dtype, a), cast(dtype, b)


def _adopt(value: ExprLike, dtype: str) -> Expr:
    """A Python number beside an expression of ``dtype``."""
    element = dt.parse(dtype).element
    if isinstance(value, float) and not dt.is_float(element):
        return as_expr(value)
    if isinstance(value, int) and not isinstance(value, bool) and element == "bool":
        return as_expr(value)
    return as_expr(value, element) if not hasattr(value, "as_expr") else as_expr(value)


_FOLD: dict[type, Callable[[Any, Any], Any]] = {
    Add: lambda a, b: a + b,
    Sub: lambda a, b: a - b,
    Mul: lambda a, b: a * b,
    FloorDiv: lambda a, b: a // b,
    FloorMod: lambda a, b: a % b,
    Min: min,
    Max: max,
    EQ: lambda a, b: a == b,
    NE: lambda a, b: a != b,
    LT: lambda a, b: a < b,
    LE: lambda a, b: a <= b,
    GT: lambda a, b: a > b,
    GE: lambda a, b: a >= b,
}


def binary(op: type[Binary], a: ExprLike, b: ExprLike) -> Expr:
    """``op`` of both operands after :func:`match_types`; two integer constants fold where the result fits."""
    x, y = match_types(a, b)
    if op in (FloorDiv, FloorMod, Mod) and not dt.is_integer(x.dtype):
        raise TypeMismatch(f"{op.symbol} is defined on integers, not on {x.dtype}")
    if isinstance(x, Const) and isinstance(y, Const) and dt.is_integer(x.dtype) and op in _FOLD:
        return _folded(op, x, y)
    return op(x, y)


def _folded(op: type[Binary], x: Const, y: Const) -> Expr:
    """The constant that ``op`` makes of two integers; ``op`` itself for a division by zero or what does not fit."""
    if op in (FloorDiv, FloorMod) and y.value == 0:
        return op(x, y)
    value = _FOLD[op](x.value, y.value)
    if isinstance(value, bool):
        return Const(value, "bool")
    low, high = dt.integer_range(x.dtype)
    return Const(value, x.dtype) if low <= value <= high else op(x, y)


def divide(a: ExprLike, b: ExprLike) -> Expr:
    """``a / b`` of floats; raises on integers, where ``//`` or ``T.truncdiv`` says which division is meant."""
    x, y = match_types(a, b)
    if not dt.is_float(x.dtype):
        raise TypeMismatch(
            f"`/` on {x.dtype} is ambiguous", hint="use // (floor) or T.truncdiv, or cast to a float first"
        )
    return Div(x, y)


def negate(a: ExprLike) -> Expr:
    """``-a``: a constant changes its sign, anything else becomes ``a * -1`` as in TVM."""
    expr = as_expr(a)
    if isinstance(expr, Const):
        return const(-expr.value, expr.type)
    return binary(Mul, expr, -1.0 if dt.is_float(expr.dtype) else -1)


def _bitwise(op: str, a: ExprLike, b: ExprLike) -> Expr:
    x, y = match_types(a, b)
    if dt.is_float(x.dtype):
        raise TypeMismatch(f"{op} is defined on integers, not on {x.dtype}")
    return Call(op, (x, y), x.dtype)


def _inverted(a: Expr) -> Expr:
    return Not(a) if dt.is_bool(a.dtype) else Call("bitwise_not", (a,), a.dtype)


_OPERATORS: tuple[type[Binary], ...] = (Add, Sub, Mul, FloorDiv, FloorMod, LT, LE, GT, GE, EQ, NE)
_BITWISE = ("shift_left", "shift_right", "bitwise_and", "bitwise_or", "bitwise_xor")
BUILD.update({kind.__name__: partial(binary, kind) for kind in _OPERATORS})
BUILD.update({name: partial(_bitwise, name) for name in _BITWISE})
BUILD.update({"cast": cast, "divide": divide, "negate": negate, "invert": _inverted})
