"""Functions for the bodies of computes: ``te.exp(x)``, ``te.if_then_else(c, a, b)``, ``te.all(…)``."""

from __future__ import annotations

import functools
from collections.abc import Callable

from mlcref import dtype as dt
from mlcref.errors import TypeMismatch
from mlcref.ir import INTRINSICS, And, Div, Expr, ExprLike, FloorDiv, FloorMod, Mod, Or, as_expr, call
from mlcref.ir import Select as SelectNode
from mlcref.ir.expr import Binary, binary, divide, match_types


def _unary(name: str) -> Callable[[ExprLike], Expr]:
    def function(x: ExprLike) -> Expr:
        return call(name, x)

    function.__name__ = function.__qualname__ = name
    operands = INTRINSICS[name].operands
    function.__doc__ = f"The intrinsic ``{name}`` of ``x`` ({operands} type)."
    return function


abs = _unary("abs")
round = _unary("round")
acos = _unary("acos")
acosh = _unary("acosh")
asin = _unary("asin")
asinh = _unary("asinh")
atan = _unary("atan")
atanh = _unary("atanh")
ceil = _unary("ceil")
cos = _unary("cos")
cosh = _unary("cosh")
erf = _unary("erf")
exp = _unary("exp")
exp10 = _unary("exp10")
exp2 = _unary("exp2")
floor = _unary("floor")
isfinite = _unary("isfinite")
isinf = _unary("isinf")
isnan = _unary("isnan")
log = _unary("log")
log10 = _unary("log10")
log1p = _unary("log1p")
log2 = _unary("log2")
nearbyint = _unary("nearbyint")
popcount = _unary("popcount")
rsqrt = _unary("rsqrt")
sigmoid = _unary("sigmoid")
sin = _unary("sin")
sinh = _unary("sinh")
sqrt = _unary("sqrt")
tan = _unary("tan")
tanh = _unary("tanh")
trunc = _unary("trunc")


def power(x: ExprLike, y: ExprLike) -> Expr:
    """``x`` to the power of ``y``, both floats. As ``tvm.te.power``.

    >>> from mlcref import te
    >>> te.power(te.var("x", "float32"), 2)
    T.pow(x, T.float32(2.0))
    """
    return call("pow", x, y)


def fmod(x: ExprLike, y: ExprLike) -> Expr:
    """Remainder of ``x / y`` with the sign of ``x``, both floats. As ``tvm.te.fmod``.

    >>> from mlcref import te
    >>> te.fmod(te.var("x", "float32"), 2.5).dtype
    'float32'
    """
    return call("fmod", x, y)


def if_then_else(condition: ExprLike, true_value: ExprLike, false_value: ExprLike) -> Expr:
    """``true_value`` where ``condition`` holds, else ``false_value``; only the one taken is evaluated.

    The way to pad: the index in the value not taken may be out of bounds. Raises ``TypeMismatch`` unless
    ``condition`` is bool.

    >>> from mlcref import te
    >>> A = te.placeholder((8,), name="A")
    >>> P = te.compute((10,), lambda i: te.if_then_else(te.all(i >= 1, i < 9), A[i - 1], 0.0), name="P")
    """
    return call("if_then_else", _condition(condition, "if_then_else"), true_value, false_value)


def Select(condition: ExprLike, true_value: ExprLike, false_value: ExprLike) -> Expr:
    """``true_value`` where ``condition`` holds, else ``false_value``; both are evaluated. As ``tvm.tir.Select``.

    Raises ``TypeMismatch`` unless ``condition`` is bool.

    >>> from mlcref import te
    >>> x = te.var("x", "float32")
    >>> te.Select(x > 0, x, 0)
    T.Select(x > T.float32(0.0), x, T.float32(0.0))
    """
    return SelectNode(_condition(condition, "Select"), *match_types(true_value, false_value))


def all(*conditions: ExprLike) -> Expr:
    """True where every condition holds; all of them are evaluated. As ``tvm.te.all``.

    Raises ``TypeMismatch`` for an operand that is not bool.

    >>> from mlcref import te
    >>> i = te.var("i")
    >>> te.all(i >= 1, i < 9)
    i >= 1 and i < 9
    """
    return _joined(And, "all", conditions)


def any(*conditions: ExprLike) -> Expr:
    """True where a condition holds; all of them are evaluated. As ``tvm.te.any``.

    Raises ``TypeMismatch`` for an operand that is not bool.

    >>> from mlcref import te
    >>> i = te.var("i")
    >>> te.any(i < 1, i >= 9)
    i < 1 or i >= 9
    """
    return _joined(Or, "any", conditions)


def _joined(op: type[Binary], name: str, conditions: tuple[ExprLike, ...]) -> Expr:
    if not conditions:
        raise TypeMismatch(f"te.{name} needs a condition")
    return functools.reduce(op, [_condition(condition, name) for condition in conditions])


def _condition(condition: ExprLike, name: str) -> Expr:
    expr = as_expr(condition)
    if not dt.is_bool(expr.dtype):
        raise TypeMismatch(f"te.{name} takes conditions, not a value of {expr.dtype}", hint="compare it: x != 0")
    return expr


def div(a: ExprLike, b: ExprLike) -> Expr:
    """``a / b`` of floats; raises ``TypeMismatch`` on integers. As ``tvm.te.div``, which truncates integers.

    >>> from mlcref import te
    >>> te.div(te.var("x", "float32"), 2)
    x / T.float32(2.0)
    """
    return divide(a, b)


def floordiv(a: ExprLike, b: ExprLike) -> Expr:
    """``a // b`` of integers, rounded towards minus infinity; raises ``TypeMismatch`` on floats. As TVM's.

    >>> floordiv(-7, 2).value
    -4
    """
    return binary(FloorDiv, a, b)


def floormod(a: ExprLike, b: ExprLike) -> Expr:
    """``a % b`` of integers with the sign of ``b``; raises ``TypeMismatch`` on floats. As ``tvm.te.floormod``.

    >>> floormod(-7, 2).value
    1
    """
    return binary(FloorMod, a, b)


def truncdiv(a: ExprLike, b: ExprLike) -> Expr:
    """Quotient of integers rounded towards zero; raises ``TypeMismatch`` on floats. As ``tvm.te.truncdiv``.

    >>> from mlcref import te
    >>> te.truncdiv(te.var("i"), 4).dtype
    'int32'
    """
    return _integers(Div, a, b)


def truncmod(a: ExprLike, b: ExprLike) -> Expr:
    """Remainder of :func:`truncdiv`; raises ``TypeMismatch`` on floats. As ``tvm.te.truncmod``.

    >>> from mlcref import te
    >>> te.truncmod(te.var("i"), 4).dtype
    'int32'
    """
    return _integers(Mod, a, b)


def _integers(op: type[Binary], a: ExprLike, b: ExprLike) -> Expr:
    result = binary(op, a, b)
    if not dt.is_integer(result.dtype):
        raise TypeMismatch(f"a truncating division is defined on integers, not on {result.dtype}")
    return result
