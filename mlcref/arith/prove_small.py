"""Proof by trying every value, for domains of few points. Shares no rule with :mod:`mlcref.arith.simplify`."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator, Mapping
from itertools import product
from math import prod
from typing import Any

from mlcref.arith.interval import Domain
from mlcref.errors import UnsupportedError
from mlcref.ir import (
    EQ, GE, GT, LE, LT, NE, Add, And, Binary, Call, Cast, Const, Expr, FloorDiv, FloorMod, Max, Min, Mul, Not, Or,
    Select, Sub, Var,
)  # fmt: skip

_OPERATIONS: dict[type[Expr], Callable[[Any, Any], Any]] = {
    Add: operator.add, Sub: operator.sub, Mul: operator.mul, FloorDiv: operator.floordiv, FloorMod: operator.mod,
    Min: min, Max: max, EQ: operator.eq, NE: operator.ne,
    LT: operator.lt, LE: operator.le, GT: operator.gt, GE: operator.ge,
    And: lambda a, b: a and b, Or: lambda a, b: a or b,
}  # fmt: skip


def evaluate(expr: Expr, env: Mapping[Var, int]) -> int:
    """The value of an integer or bool expression, as mathematics has it (no overflow).

    Raises ``UnsupportedError`` for anything but integer arithmetic, comparisons and choices.

    >>> from mlcref.ir import Var
    >>> i = Var("i")
    >>> evaluate((i - 1) // 4, {i: 0})
    -1
    """
    match expr:
        case Var():
            return env[expr]
        case Const(value, _) if not isinstance(value, float):
            return int(value)
        case Not(a):
            return int(not evaluate(a, env))
        case Cast("int32" | "int64" | "bool", value):
            return evaluate(value, env)
        case Select(condition, a, b) | Call("if_then_else", (condition, a, b)):
            return evaluate(a if evaluate(condition, env) else b, env)
        case Binary(a=a, b=b) if type(expr) in _OPERATIONS:
            return int(_OPERATIONS[type(expr)](evaluate(a, env), evaluate(b, env)))
    raise UnsupportedError(f"{type(expr).__name__} is not evaluated at compile time", rule="arith.small")


def points(dom: Domain, limit: int = 4096) -> Iterator[dict[Var, int]] | None:
    """Every assignment of values from ``dom``; None when an extent is not constant or there are more than ``limit``."""
    ranges: list[range] = []
    for extent in dom.values():
        if isinstance(extent, tuple):
            lo, hi = extent
            if lo is None or hi is None:
                return None
            ranges.append(range(lo, hi + 1))
        elif isinstance(extent, int | Const):
            ranges.append(range(int(extent)))
        else:
            return None
    if prod(len(r) for r in ranges) > limit:
        return None
    return (dict(zip(dom, values, strict=True)) for values in product(*ranges))


def proved_small(condition: Expr, dom: Domain, limit: int = 4096) -> bool | None:
    """As :func:`mlcref.arith.proved`, by trying all points of ``dom``; None also when there are more than ``limit``.

    >>> from mlcref.ir import Var
    >>> i = Var("i")
    >>> proved_small(i * i < 10, {i: 4}), proved_small(i * i < 10, {i: 5})
    (True, None)
    """
    every = points(dom, limit)
    if every is None:
        return None
    verdicts = {bool(evaluate(condition, env)) for env in every}
    return True if verdicts <= {True} else False if verdicts == {False} else None
