"""Traces from Python text, as TVM prints them. The text is read, never run."""

from __future__ import annotations

import ast
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from mlcref.arith import IndexMap
from mlcref.errors import ScheduleError
from mlcref.ir import Expr, Max, Min, as_expr
from mlcref.schedule.handles import RV
from mlcref.schedule.instruction import (
    OPERATORS, VARIADIC, Instruction, Output, attributes_of, known, made_by, parameters_of,
)  # fmt: skip
from mlcref.schedule.map_text import index_map_of
from mlcref.schedule.map_json import Access
from mlcref.schedule.table import TABLE

_BINARY: dict[type[ast.operator], str] = {
    ast.Add: "+", ast.Sub: "-", ast.Mult: "*", ast.FloorDiv: "//", ast.Mod: "%",
}  # fmt: skip
_LONGEST = 1_000_000
_DEEPEST = 100


def read_text(text: str) -> list[Instruction]:
    """The instructions of a trace printed as Python: the function ``apply_trace``, or its lines alone.

    Raises ``ScheduleError`` for anything else than calls of instructions on the schedule with literals, handles and
    sampled numbers as arguments.
    """
    if len(text) > _LONGEST:
        raise ScheduleError(f"a trace of {len(text)} characters", rule="trace.P4")
    try:
        tree = ast.parse(_dedented(text))
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise ScheduleError(f"no trace in Python form: {error}", rule="trace.P4") from None
    env: dict[str, RV] = {}
    return [_instruction(stmt, env) for stmt in _lines(tree) if not isinstance(stmt, ast.Pass)]


def _dedented(text: str) -> str:
    lines = [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    indent = len(lines[0]) - len(lines[0].lstrip()) if lines else 0
    return "\n".join(line[indent:] if line[:indent].isspace() else line for line in lines)


def _lines(tree: ast.Module) -> list[ast.stmt]:
    body = tree.body
    if len(body) == 1 and isinstance(body[0], ast.FunctionDef) and not body[0].decorator_list:
        return body[0].body
    return body


def _refused(node: ast.AST, what: str) -> ScheduleError:
    line = getattr(node, "lineno", 0)
    return ScheduleError(f"line {line} of the trace: {what}", rule="trace.P4")


def _instruction(stmt: ast.stmt, env: dict[str, RV]) -> Instruction:
    targets, call = _parts(stmt)
    function = call.func
    if not isinstance(function, ast.Attribute) or not isinstance(function.value, ast.Name):
        raise _refused(stmt, "no call of a method of the schedule")
    name = known(function.attr)
    arguments = _arguments(call, name, env)
    decision = arguments.pop("decision", None)
    outputs = tuple([None if label == "_" else made_by(name)() for label in targets])
    env.update({label: rv for label, rv in zip(targets, outputs, strict=True) if rv is not None})
    return Instruction(name, arguments, _typed(outputs), decision, attributes_of(name))


def _typed(outputs: tuple[Any, ...]) -> tuple[Output, ...]:
    return outputs


def _parts(stmt: ast.stmt) -> tuple[list[str], ast.Call]:
    """The names that are assigned, and the call."""
    if isinstance(stmt, ast.Expr) and isinstance(stmt.value, ast.Call):
        return [], stmt.value
    if isinstance(stmt, ast.Assign) and len(stmt.targets) == 1 and isinstance(stmt.value, ast.Call):
        (target,) = stmt.targets
        parts = target.elts if isinstance(target, ast.Tuple | ast.List) else [target]
        names = [part.id for part in parts if isinstance(part, ast.Name)]
        if len(names) == len(parts):
            return names, stmt.value
    raise _refused(stmt, "neither a call nor the assignment of its results to names")


def _arguments(call: ast.Call, name: str, env: Mapping[str, RV]) -> dict[str, Any]:
    """The arguments by parameter, in the order of the parameters, defaults of primitives included."""
    keys: Sequence[str] = [*parameters_of(name), "decision"]
    given: dict[str, Any] = {}
    values = [value_of(part, env) for part in call.args]
    if name in VARIADIC:
        given[VARIADIC[name]] = values
    elif len(values) <= len(keys):
        given.update(zip(keys, values, strict=False))
    else:
        raise _refused(call, f"{name} takes {len(keys)} arguments at most")
    for keyword in call.keywords:
        key = "block" if name == "get_output_blocks" and keyword.arg == "scope_block" else keyword.arg
        if key is None or key not in keys or key in given:
            raise _refused(call, f"{name} has no parameter {key}, or gets it twice")
        given[key] = value_of(keyword.value, env)
    if name in TABLE:
        for key, parameter in TABLE[name].signature.parameters.items():
            if key not in given and parameter.default is not parameter.empty:
                given[key] = parameter.default
    missing = [key for key in keys[:-1] if key not in given and key != "func_name"]
    if missing and (name in TABLE or name == "get_block" or not name.startswith("sample_") or "n" in missing):
        raise _refused(call, f"{name} needs {', '.join(missing)}")
    return {key: given[key] for key in keys if key in given}


def expression(text: str, env: Mapping[str, RV]) -> Any:
    """An expression over sampled numbers, from its text. Raises ``ScheduleError`` for any other text.

    >>> expression("(2 * 3)", {})
    6
    """
    try:
        tree = ast.parse(text, mode="eval")
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise ScheduleError(f"no expression: {error}", rule="trace.P4") from None
    return value_of(tree.body, env)


def value_of(node: ast.expr, env: Mapping[str, RV], depth: int = 0) -> Any:
    """The value of an argument: a literal, a handle, or arithmetic on sampled numbers."""
    if depth > _DEEPEST:
        raise _refused(node, "nested too deeply")

    def inner(part: ast.expr) -> Any:
        return value_of(part, env, depth + 1)

    match node:
        case ast.Constant(value=value) if value is None or isinstance(value, str | bool | int | float):
            return value
        case ast.Name(id=name):
            if name not in env:
                raise _refused(node, f"no instruction hands out {name!r}")
            return env[name]
        case ast.Tuple(elts=[ast.Constant(value="read" | "write" as access), ast.Constant(value=int(position))]):
            return Access(str(access), position)
        case ast.List(elts=parts) | ast.Tuple(elts=parts):
            return [inner(part) for part in parts]
        case ast.Dict(keys=keys, values=values) if None not in keys:
            return {inner(key): inner(value) for key, value in zip(keys, values, strict=True) if key is not None}
        case ast.Lambda():
            return index_map_of(node)
        case ast.Call(
            func=ast.Attribute(attr="from_func"),
            args=[ast.Lambda() as forth],
            keywords=[ast.keyword(arg="inverse_index_map", value=ast.Lambda() as back)],
        ):
            given = index_map_of(forth)
            return IndexMap(given.initial_indices, given.final_indices, index_map_of(back))
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return _negated(node, inner(operand))
        case ast.BinOp(op=op, left=left, right=right) if type(op) in _BINARY:
            return _binary(node, OPERATORS[_BINARY[type(op)]], inner(left), inner(right))
        case ast.Call(func=function, args=[left, right], keywords=[]) if _ends_in(function, ("max", "min")):
            kind = Max if _ends_in(function, ("max",)) else Min
            return _binary(node, kind, inner(left), inner(right))
    raise _refused(node, f"{ast.unparse(node)[:60]!r} is no value of a trace")


def _ends_in(function: ast.expr, names: Sequence[str]) -> bool:
    return isinstance(function, ast.Name) and function.id in names


def _negated(node: ast.expr, value: Any) -> Any:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise _refused(node, "a minus before what is no number")
    return -value


def _binary(node: ast.expr, kind: Callable[..., Any], a: Any, b: Any) -> Any:
    if not all(isinstance(x, int | Expr) and not isinstance(x, bool) for x in (a, b)):
        raise _refused(node, "arithmetic on what is no number")
    if isinstance(a, int) and isinstance(b, int):
        return _folded(node, kind, a, b)
    return kind(as_expr(a), as_expr(b))


def _folded(node: ast.expr, kind: Callable[..., Any], a: int, b: int) -> int:
    if kind in (Max, Min):
        return max(a, b) if kind is Max else min(a, b)
    symbol = next(symbol for symbol, made in OPERATORS.items() if made is kind)
    if symbol in ("//", "%") and b == 0:
        raise _refused(node, "a division by zero")
    if symbol in ("//", "%"):
        return a // b if symbol == "//" else a % b
    return {"+": a + b, "-": a - b, "*": a * b}[symbol]
