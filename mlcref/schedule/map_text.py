"""Index maps from the text of a trace, ``lambda i, j: (i // 4, j, i % 4,)``. The text is read, never run."""

from __future__ import annotations

import ast
from collections.abc import Callable, Mapping
from typing import Any

from mlcref import dtype as dt
from mlcref.arith import IndexMap
from mlcref.errors import MlcrefError, ScheduleError
from mlcref.ir import (
    EQ, GE, GT, LE, LT, NE, Add, And, Const, Expr, FloorDiv, FloorMod, Max, Min, Mul, Not, Or, Sub, Var, as_expr,
    binary, call, cast, const,
)  # fmt: skip

_OPERATORS: dict[type, type[Any]] = {
    ast.Add: Add, ast.Sub: Sub, ast.Mult: Mul, ast.FloorDiv: FloorDiv, ast.Mod: FloorMod, ast.Eq: EQ, ast.NotEq: NE,
    ast.Lt: LT, ast.LtE: LE, ast.Gt: GT, ast.GtE: GE, ast.And: And, ast.Or: Or,
}  # fmt: skip
_DEEPEST = 60


def index_map_of(node: ast.Lambda) -> IndexMap:
    """The index map that a lambda writes. Raises ``ScheduleError`` for other lambdas.

    >>> index_map_of(ast.parse("lambda i: (i // 4, i % 4,)", mode="eval").body)
    IndexMap(lambda i: (i // 4, i % 4,))
    """
    given = node.args
    names = [arg.arg for arg in given.args]
    others = (given.vararg, given.kwarg, *given.kwonlyargs, *given.posonlyargs, *given.defaults)
    if any(others) or len(set(names)) != len(names):
        raise _refused(node)
    variables = [Var(name) for name in names]
    env = {v.name: v for v in variables}
    parts = node.body.elts if isinstance(node.body, ast.Tuple | ast.List) else [node.body]
    try:
        return IndexMap(variables, [_expr(part, env, 0) for part in parts])
    except MlcrefError as error:
        raise ScheduleError(f"line {node.lineno} of the trace: {error.what}", rule="trace.P4") from error


def _refused(node: ast.expr) -> ScheduleError:
    what = f"line {node.lineno} of the trace: {ast.unparse(node)[:60]!r} is no part of an index map"
    return ScheduleError(what, rule="trace.P4")


def _expr(node: ast.expr, env: Mapping[str, Var], depth: int) -> Expr:
    if depth > _DEEPEST:
        raise _refused(node)

    def inner(part: ast.expr) -> Expr:
        return _expr(part, env, depth + 1)

    match node:
        case ast.Name(id=name) if name in env:
            return env[name]
        case ast.Constant(value=bool() | int() | float() as value):
            return as_expr(value)
        case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=int() | float() as value)):
            return as_expr(-value)
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            return Not(inner(operand))
        case ast.BinOp(op=op, left=a, right=b) if type(op) in _OPERATORS:
            return binary(_OPERATORS[type(op)], inner(a), inner(b))
        case ast.Compare(left=a, ops=[op], comparators=[b]) if type(op) in _OPERATORS:
            return binary(_OPERATORS[type(op)], inner(a), inner(b))
        case ast.BoolOp(op=op, values=[a, b]):
            return binary(_OPERATORS[type(op)], inner(a), inner(b))
        case ast.Call(func=ast.Attribute(value=ast.Name(id="T"), attr=name), args=args, keywords=[]):
            return _called(node, name, args, inner)
    raise _refused(node)


def _called(node: ast.expr, name: str, args: list[ast.expr], inner: Callable[[ast.expr], Expr]) -> Expr:
    """``T.float32(0)``, ``T.Cast("float32", i)``, ``T.min(i, j)``, ``T.if_then_else(c, i, j)``."""
    if name == "Cast" and len(args) == 2 and isinstance(args[0], ast.Constant) and isinstance(args[0].value, str):
        return cast(dt.canonical(args[0].value), inner(args[1]))
    values = [inner(arg) for arg in args]
    if name in ("min", "max") and len(values) == 2:
        return binary(Min if name == "min" else Max, *values)
    if name == "if_then_else" and len(values) == 3:
        return call(name, *values)
    known = dt.is_float(name) or name.startswith(("int", "uint", "bool"))
    if len(values) == 1 and isinstance(values[0], Const) and known:
        return const(values[0].value, name)
    raise _refused(node)
