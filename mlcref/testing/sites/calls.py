"""A function on pointers, and calls of it."""

from __future__ import annotations

from typing import Any

from mlcref.errors import CallError
from mlcref.ir import Evaluate, Expr, ExprLike, call
from mlcref.ir.registry import register_global_func

_FUNCTION = "mlcref.testing.sites.reversed"


def _reversed(source: Any, target: Any, count: int, source_step: int, target_step: int) -> int:
    """``count`` elements from last to first; in memory they are ``source_step`` and ``target_step`` apart."""
    if (count - 1) * source_step >= len(source) or (count - 1) * target_step >= len(target):
        raise CallError("the last of the elements lies beyond the memory that was given")
    for n in range(count):
        target[n * target_step] = source[(count - 1 - n) * source_step]
    return 0


register_global_func(_FUNCTION, _reversed, override=True)


def address(element: Expr) -> Expr:
    """A pointer to an element."""
    return call("address_of", element, dtype="handle")


def reversing(source: Expr, target: Expr, count: ExprLike, source_step: ExprLike, target_step: ExprLike) -> Evaluate:
    """``count`` elements from the pointer ``source`` on go to ``target``, from last to first."""
    return Evaluate(call("call_extern", _FUNCTION, source, target, count, source_step, target_step, dtype="int32"))
