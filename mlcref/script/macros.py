"""Functions of the parser: ``T.macro`` and ``T.inline`` (statements), lambdas (expressions).

They are syntax trees with the names around them. Calling one reads its body again with its parameters bound; nothing
of it is executed.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from mlcref.errors import TypeMismatch
from mlcref.ir import CommReducer, Expr, Var, as_expr, children
from mlcref.records import dataclass
from mlcref.script.source import Source


@dataclass(frozen=True, eq=False)
class Macro:
    """Statements with parameters. ``env`` are the names around the definition (None: those around the call)."""

    node: ast.FunctionDef
    source: Source
    env: Mapping[str, Any] | None

    def __call__(self, *args: Any, **options: Any) -> Any:
        raise TypeMismatch(f"the macro {self.node.name} is called in a script only")


@dataclass(frozen=True, eq=False)
class Closure:
    """A lambda: an expression with parameters. ``evaluate(values)`` reads the body with the parameters bound."""

    names: tuple[str, ...]
    evaluate: Callable[[Mapping[str, Any]], Any]

    def __call__(self, *values: Any) -> Any:
        if len(values) != len(self.names):
            raise TypeMismatch(f"a lambda of {len(self.names)} parameters is given {len(values)} values")
        return self.evaluate(dict(zip(self.names, values, strict=True)))


@dataclass(frozen=True, eq=False)
class InlineCall:
    """A macro with its arguments, where a statement is expected."""

    macro: Macro
    values: Mapping[str, Any]


def bind_arguments(macro: Macro, args: Sequence[Any], options: Mapping[str, Any], defaults: Sequence[Any]) -> Any:
    """The values of a macro's parameters; raises ``TypeMismatch`` when they do not fit."""
    spec = macro.node.args
    names = [arg.arg for arg in (*spec.posonlyargs, *spec.args, *spec.kwonlyargs)]
    if spec.vararg or spec.kwarg or len(args) > len(names) - len(spec.kwonlyargs):
        raise TypeMismatch(f"the macro {macro.node.name} takes {len(names)} plain parameters, got {len(args)}")
    values = dict(zip(names[len(spec.posonlyargs) + len(spec.args) - len(defaults) :], defaults, strict=False))
    given = dict(zip(names, args, strict=False))
    for name, value in options.items():
        if name not in names or name in given:
            raise TypeMismatch(f"the macro {macro.node.name} takes no other argument called {name}")
        given[name] = value
    values.update(given)
    missing = [name for name in names if name not in values]
    if missing:
        raise TypeMismatch(f"the macro {macro.node.name} is called without {', '.join(missing)}")
    return values


def comm_reducer(combiner: Any, identity: Any) -> CommReducer:
    """``T.comm_reducer(lambda x, y: x + y, [T.float32(0)])``: the reduction of an allreduce."""
    start = tuple(as_expr(value) for value in (identity if isinstance(identity, tuple | list) else (identity,)))
    names = combiner.names if isinstance(combiner, Closure) else _parameters(combiner)
    if len(names) != 2 * len(start):
        raise TypeMismatch(f"a reduction of {len(start)} values has {2 * len(start)} parameters, not {len(names)}")
    variables = [Var(name, value.dtype) for name, value in zip(names, (*start, *start), strict=True)]
    result = combiner(*variables)
    results = result if isinstance(result, tuple | list) else (result,)
    exprs: tuple[Expr, ...] = tuple(as_expr(part) for part in results)
    if [part.dtype for part in exprs] != [part.dtype for part in start]:
        raise TypeMismatch("a reduction gives values of the types of its identity")
    return CommReducer(tuple(variables[: len(start)]), tuple(variables[len(start) :]), exprs, start)


def _parameters(function: Any) -> tuple[str, ...]:
    code = getattr(function, "__code__", None)
    if code is None:
        raise TypeMismatch("T.comm_reducer needs a lambda")
    names: tuple[str, ...] = code.co_varnames[: code.co_argcount]
    return names


MAX_NODES = 100_000
"""Largest expression that a name of the parser stands for."""


def tree_size(value: Any) -> int:
    """Number of nodes of an expression written out, where parts that are shared count each time."""
    from_node: dict[int, int] = {}
    stack: list[tuple[Any, bool]] = [(value, False)]
    while stack:
        node, ready = stack.pop()
        if id(node) in from_node:
            continue
        parts = _parts(node)
        if ready:
            from_node[id(node)] = 1 + sum(from_node[id(part)] for part in parts)
        else:
            stack.append((node, True))
            stack.extend((part, False) for part in parts)
    return from_node[id(value)]


def _parts(node: Any) -> list[Any]:
    if isinstance(node, tuple | list):
        return list(node)
    if isinstance(node, dict):
        return list(node.values())
    return list(children(node)) if isinstance(node, Expr) else []
