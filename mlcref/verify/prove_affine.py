"""Index expressions and conditions as text for isl, and intervals of index expressions."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from mlcref import dtype as dt
from mlcref.ir import (
    EQ,
    GE,
    GT,
    LE,
    LT,
    NE,
    Add,
    And,
    Binary,
    BufferLoad,
    Call,
    Cast,
    Compare,
    Const,
    Expr,
    FloorDiv,
    FloorMod,
    Max,
    Min,
    Mul,
    Not,
    Or,
    Sub,
    Var,
)

Env = Mapping[Var, str]
"""What variables in scope are, as text; a variable that is absent is not known to be affine."""
Interval = tuple[int, int]


class NotAffine(Exception):
    """An expression that isl cannot hold; the message says which."""


_COMPARE = {LT: "<", LE: "<=", GT: ">", GE: ">=", EQ: "=", NE: "!="}


def affine(e: Expr, env: Env) -> str:
    """The integer expression ``e``; raises ``NotAffine``."""
    match e:
        case Const() if dt.is_integer(e.type):
            return str(int(e.value))
        case Var() if e in env:
            return env[e]
        case Add() | Sub():
            return f"({affine(e.a, env)} {e.symbol} {affine(e.b, env)})"
        case Mul():
            return _product(e, env)
        case FloorDiv() | FloorMod():
            return _division(e, env)
        case Min() | Max():
            return f"{e.symbol}({affine(e.a, env)}, {affine(e.b, env)})"
        case Cast() if _widens(e):
            return affine(e.value, env)
        case Call() if e.op == "likely":
            return affine(e.args[0], env)
    raise NotAffine(_describe(e))


def condition(e: Expr, env: Env) -> str:
    """The truth of ``e``; raises ``NotAffine``."""
    match e:
        case Const():
            return "true" if e.value else "false"
        case And() | Or():
            return f"(({condition(e.a, env)}) {e.symbol} ({condition(e.b, env)}))"
        case Not():
            return f"(not ({condition(e.a, env)}))"
        case Compare() if type(e) in _COMPARE and dt.is_integer(e.a.dtype):
            return f"({affine(e.a, env)} {_COMPARE[type(e)]} {affine(e.b, env)})"
        case Call() if e.op == "likely":
            return condition(e.args[0], env)
    raise NotAffine(_describe(e))


def _product(e: Mul, env: Env) -> str:
    a, b = affine(e.a, env), affine(e.b, env)
    if not _is_number(a):
        a, b = b, a
    if not _is_number(a):
        raise NotAffine("a product of variables")
    return f"({a} * {b})" if not _is_number(b) else str(int(a) * int(b))


def _division(e: FloorDiv | FloorMod, env: Env) -> str:
    a, b = affine(e.a, env), affine(e.b, env)
    if not _is_number(b) or int(b) <= 0:
        raise NotAffine("a division by something else than a positive constant")
    return f"floor(({a})/{b})" if isinstance(e, FloorDiv) else f"(({a}) mod {b})"


def _is_number(text: str) -> bool:
    return text.lstrip("-").isdigit()


def _widens(e: Cast) -> bool:
    if not dt.is_integer(e.type) or not dt.is_integer(e.value.dtype):
        return False
    low, high = dt.integer_range(e.type)
    inner_low, inner_high = dt.integer_range(e.value.dtype)
    return low <= inner_low and inner_high <= high


def _describe(e: Expr) -> str:
    match e:
        case BufferLoad():
            return f"the content of {e.buffer.name}"
        case Var():
            return f"{e.name}, whose value is not affine"
        case Call():
            return f"a call of {e.op}"
        case Cast():
            return f"a conversion to {e.type}"
    return f"a {type(e).__name__}"


def is_affine(e: Expr, env: Env) -> bool:
    """Can isl hold the integer expression ``e``?"""
    try:
        affine(e, env)
    except NotAffine:
        return False
    return True


def interval(e: Expr, ranges: Mapping[Var, Interval]) -> Interval:
    """An interval that contains the integer expression ``e``, computed without overflow; its type's range when nothing
    is known."""
    match e:
        case Const():
            return int(e.value), int(e.value)
        case Var() if e in ranges:
            return ranges[e]
        case Cast() if _widens(e):
            return interval(e.value, ranges)
        case Binary() if type(e) in _BOUNDS:
            found = _BOUNDS[type(e)](interval(e.a, ranges), interval(e.b, ranges))
            if found is not None:
                return found
        case Call() if e.op == "likely":
            return interval(e.args[0], ranges)
    return type_range(e.dtype)


def type_range(dtype: str) -> Interval:
    """The smallest and the largest number of an integer type; of others, those of int64."""
    return dt.integer_range(dtype) if dt.is_integer(dtype) else (-(2**63), 2**63 - 1)


def _mul(x: Interval, y: Interval) -> Interval:
    corners = [a * b for a in x for b in y]
    return min(corners), max(corners)


def _floordiv(x: Interval, y: Interval) -> Interval | None:
    return (x[0] // y[0], x[1] // y[0]) if y[0] == y[1] and y[0] > 0 else None


def _floormod(x: Interval, y: Interval) -> Interval | None:
    if y[0] != y[1] or y[0] <= 0:
        return None
    return x if 0 <= x[0] and x[1] < y[0] else (0, y[0] - 1)


_BOUNDS: dict[type, Callable[[Interval, Interval], Interval | None]] = {
    Add: lambda x, y: (x[0] + y[0], x[1] + y[1]),
    Sub: lambda x, y: (x[0] - y[1], x[1] - y[0]),
    Mul: _mul,
    Min: lambda x, y: (min(x[0], y[0]), min(x[1], y[1])),
    Max: lambda x, y: (max(x[0], y[0]), max(x[1], y[1])),
    FloorDiv: _floordiv,
    FloorMod: _floormod,
}
