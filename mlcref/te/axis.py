"""Axes of a tensor expression: what :func:`reduce_axis` returns, and the axes of a compute.

An axis stands for its variable wherever an expression may stand: ``A[i, k + 1]``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from mlcref import dtype as dt
from mlcref.errors import MlcrefError
from mlcref.ir import Const, Expr, ExprLike, Range, Var, as_expr, cast


class TensorExpressionError(MlcrefError, ValueError):
    """A tensor expression that does not describe a computation; ``rule`` is one of ``te.T1`` … of :mod:`mlcref.te`."""


def _lifted(operator: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    return lambda self, other: operator(self.as_expr(), other)


class Operand:
    """Base of what is no IR node but takes part in arithmetic: ``as_expr`` is the expression it stands for."""

    __slots__ = ()

    def as_expr(self) -> Expr:
        """The expression that this stands for."""
        raise NotImplementedError

    __add__, __radd__ = _lifted(Expr.__add__), _lifted(Expr.__radd__)
    __sub__, __rsub__ = _lifted(Expr.__sub__), _lifted(Expr.__rsub__)
    __mul__, __rmul__ = _lifted(Expr.__mul__), _lifted(Expr.__rmul__)
    __truediv__, __rtruediv__ = _lifted(Expr.__truediv__), _lifted(Expr.__rtruediv__)
    __floordiv__, __rfloordiv__ = _lifted(Expr.__floordiv__), _lifted(Expr.__rfloordiv__)
    __mod__ = _lifted(Expr.__mod__)
    __lt__, __le__ = _lifted(Expr.__lt__), _lifted(Expr.__le__)
    __gt__, __ge__ = _lifted(Expr.__gt__), _lifted(Expr.__ge__)
    __lshift__, __rshift__ = _lifted(Expr.__lshift__), _lifted(Expr.__rshift__)
    __and__, __or__, __xor__ = _lifted(Expr.__and__), _lifted(Expr.__or__), _lifted(Expr.__xor__)

    def __neg__(self) -> Expr:
        return -self.as_expr()

    def astype(self, dtype: str) -> Expr:
        """The value converted to ``dtype``."""
        return self.as_expr().astype(dtype)


class Axis(Operand):
    """A named range of integers: ``var`` runs over ``dom``; ``kind`` is "spatial" or "reduce"."""

    __slots__ = ("dom", "kind", "var")

    def __init__(self, var: Var, dom: Range, kind: str) -> None:
        self.var, self.dom, self.kind = var, dom, kind

    @property
    def name(self) -> str:
        """Name of the variable, and of the loop that it becomes."""
        return self.var.name

    @property
    def dtype(self) -> str:
        """Integer type of the variable."""
        return self.var.dtype

    def as_expr(self) -> Expr:
        """The variable."""
        return self.var

    def __eq__(self, other: object) -> Any:
        return self.var == (other.var if isinstance(other, Axis) else other)

    def __ne__(self, other: object) -> Any:
        return self.var != (other.var if isinstance(other, Axis) else other)

    def __hash__(self) -> int:
        return id(self)

    def __repr__(self) -> str:
        return f"Axis({self.name}, {self.kind})"


def integer(value: ExprLike, role: str) -> Expr:
    """``value`` as an integer expression; raises TensorExpressionError (te.T1) with its ``role`` when it is none."""
    expr = as_expr(value)
    if not dt.is_integer(expr.dtype):
        raise TensorExpressionError(f"{role} must be an integer, not {expr.dtype}", rule="te.T1")
    return expr


def axis(name: str, low: Expr, extent: Expr, kind: str) -> Axis:
    """An axis with a new variable over ``low … low + extent - 1``, in the type of ``extent``."""
    return Axis(Var(name, extent.dtype), Range(cast(extent.dtype, low), extent), kind)


def reduce_axis(dom: Any, name: str = "rv") -> Axis:
    """An axis to reduce over: ``dom`` is the pair (low, high), high excluded, or a ``Range``; bounds are integers.

    Raises TensorExpressionError (te.T1) when ``dom`` is no such pair. As ``tvm.te.reduce_axis``.

    >>> k = reduce_axis((0, 128), "k")
    >>> k.name, int(k.dom.extent), k.kind
    ('k', 128, 'reduce')
    """
    if isinstance(dom, Range):
        return axis(name, dom.min, dom.extent, "reduce")
    if not isinstance(dom, tuple | list) or len(dom) != 2:
        raise TensorExpressionError(
            f"the domain of reduce_axis {name} must be a pair, not {dom!r}", rule="te.T1", hint="write (0, n)"
        )
    low, high = (integer(bound, f"a bound of reduce_axis {name}") for bound in dom)
    starts_at_zero = isinstance(low, Const) and low.value == 0
    return axis(name, low, high if starts_at_zero else high - low, "reduce")


def var(name: str = "tindex", dtype: str = "int32") -> Var:
    """A scalar: an extent that the call binds, or a scalar parameter of ``create_prim_func``. As ``tvm.te.var``.

    >>> var("n").dtype
    'int32'
    """
    return Var(name, dt.canonical(dtype))
