"""The base of expressions, and what Python's operators do on them.

The nodes that the operators build are subclasses of :class:`Expr`; :mod:`mlcref.ir.expr` enters in ``BUILD`` how each
is made.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from mlcref.errors import TypeMismatch
from mlcref.ir.base import Node

ExprLike = Any
"""An expression, or a Python number that becomes a constant."""

BUILD: dict[str, Callable[..., Expr]] = {}
"""What each operator builds, by the name of the node or of the function."""


def takes_over(other: object) -> bool:
    """Does ``other`` say itself what an expression beside it means, as whole tensors do?"""
    return getattr(type(other), "takes_over", False)


class Expr(Node):
    """Base of expressions. ``dtype`` is the type of the value."""

    __slots__ = ()

    @property
    def dtype(self) -> str:
        """Data type of the value, as a string."""
        raise NotImplementedError

    def astype(self, dtype: str) -> Expr:
        """This value converted to ``dtype``."""
        return BUILD["cast"](dtype, self)

    def __add__(self, other: ExprLike) -> Expr:
        return NotImplemented if takes_over(other) else BUILD["Add"](self, other)

    def __radd__(self, other: ExprLike) -> Expr:
        return BUILD["Add"](other, self)

    def __sub__(self, other: ExprLike) -> Expr:
        return NotImplemented if takes_over(other) else BUILD["Sub"](self, other)

    def __rsub__(self, other: ExprLike) -> Expr:
        return BUILD["Sub"](other, self)

    def __mul__(self, other: ExprLike) -> Expr:
        return NotImplemented if takes_over(other) else BUILD["Mul"](self, other)

    def __rmul__(self, other: ExprLike) -> Expr:
        return BUILD["Mul"](other, self)

    def __truediv__(self, other: ExprLike) -> Expr:
        return NotImplemented if takes_over(other) else BUILD["divide"](self, other)

    def __rtruediv__(self, other: ExprLike) -> Expr:
        return BUILD["divide"](other, self)

    def __floordiv__(self, other: ExprLike) -> Expr:
        return BUILD["FloorDiv"](self, other)

    def __rfloordiv__(self, other: ExprLike) -> Expr:
        return BUILD["FloorDiv"](other, self)

    def __mod__(self, other: ExprLike) -> Expr:
        return BUILD["FloorMod"](self, other)

    def __rmod__(self, other: ExprLike) -> Expr:
        return BUILD["FloorMod"](other, self)

    def __neg__(self) -> Expr:
        return BUILD["negate"](self)

    def __lt__(self, other: ExprLike) -> Expr:
        return BUILD["LT"](self, other)

    def __le__(self, other: ExprLike) -> Expr:
        return BUILD["LE"](self, other)

    def __gt__(self, other: ExprLike) -> Expr:
        return BUILD["GT"](self, other)

    def __ge__(self, other: ExprLike) -> Expr:
        return BUILD["GE"](self, other)

    def __eq__(self, other: object) -> Any:
        if not isinstance(other, Expr | int | float):
            return NotImplemented
        return BUILD["EQ"](self, other)

    def __ne__(self, other: object) -> Any:
        if not isinstance(other, Expr | int | float):
            return NotImplemented
        return BUILD["NE"](self, other)

    __hash__ = object.__hash__

    def __lshift__(self, other: ExprLike) -> Expr:
        return BUILD["shift_left"](self, other)

    def __rshift__(self, other: ExprLike) -> Expr:
        return BUILD["shift_right"](self, other)

    def __and__(self, other: ExprLike) -> Expr:
        return BUILD["bitwise_and"](self, other)

    def __or__(self, other: ExprLike) -> Expr:
        return BUILD["bitwise_or"](self, other)

    def __xor__(self, other: ExprLike) -> Expr:
        return BUILD["bitwise_xor"](self, other)

    def __invert__(self) -> Expr:
        return BUILD["invert"](self)

    def __bool__(self) -> bool:
        raise TypeMismatch(
            lambda: f"the truth of `{self!r}` is not known before the program runs",
            hint="use T.And / T.Or / T.Select / T.if_then_else, or mlcref.ir.structural_equal to compare programs",
        )
