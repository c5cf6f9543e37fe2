"""What the oracle runs and the compiler does not: loops with a step, return values, calls of functions of the module,
shuffles, pointers as values, declared views beside blocks. Who knows none of them asks here before it starts.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from weakref import WeakSet

from mlcref.errors import UnsupportedError
from mlcref.ir.base import Node
from mlcref.ir.compound import Let, Shuffle
from mlcref.ir.expr import Call
from mlcref.ir.function import PrimFunc
from mlcref.ir.stmt import BlockRealize, DeclBuffer, For, LetStmt, Return, Stmt
from mlcref.ir.visit import children, walk

_CALLS = {
    "call_function": "a call of another function of the module",
    "isnullptr": "a pointer as a value",
}


def special_node(func: PrimFunc, *, lowered: bool = False) -> tuple[Node, str] | None:
    """The first node of ``func`` that only the oracle understands, with what it is; None when there is none. In
    ``lowered`` programs shuffles of two vectors of the length of the result are ordinary.

    >>> from mlcref.script import from_source
    >>> f = from_source('''
    ... @T.prim_func
    ... def f(A: T.Buffer((4,), "float32")):
    ...     for i in range(0, 4, 2):
    ...         A[i] = 0.0
    ... ''')
    >>> special_node(f)[1]
    'a loop with a step'
    """
    pointer = next((param for param in func.scalars if param.type == "handle"), None)
    if pointer is not None:
        return pointer, "a pointer as a parameter"
    if _ordinary(func.body):
        return None
    if isinstance(func.body, BlockRealize):
        view = next((node for node in walk(func.body) if isinstance(node, DeclBuffer)), None)
        if view is not None:
            return view, "a declared view beside blocks"
    nodes = (node for node in walk(func.body) if not (lowered and _is_exchange(node)))
    return next(((node, what) for node in nodes if (what := _special(node))), None)


_known: WeakSet[Stmt] = WeakSet()
"""Statements without special nodes and declared views: schedules share most of theirs, and ask at each step."""


def _ordinary(root: Stmt) -> bool:
    """Is there certainly nothing special in ``root``?"""
    stack: list[Node] = [root]
    new: list[Stmt] = []
    while stack:
        node = stack.pop()
        if isinstance(node, Stmt):
            if node in _known:
                continue
            new.append(node)
        if isinstance(node, DeclBuffer) or _special(node):
            return False
        stack.extend(children(node))
    _known.update(new)
    return True


def _special(node: Node) -> str:
    rule = _SPECIAL.get(type(node))
    return "" if rule is None else rule(node)


def _pointer(node: Any) -> str:
    return "a pointer as a value" if node.var.type == "handle" else ""


_SPECIAL: dict[type[Node], Callable[[Any], str]] = {
    For: lambda node: "" if node.step is None else "a loop with a step",
    Call: lambda node: _CALLS.get(node.op, ""),
    LetStmt: _pointer,
    Let: _pointer,
    Return: lambda node: "a return value",
    Shuffle: lambda node: "a shuffle",
}


def _is_exchange(node: Node) -> bool:
    return isinstance(node, Shuffle) and [vector.dtype for vector in node.vectors] == [node.dtype] * 2


def refuse_unscheduled(func: PrimFunc, who: str, *, lowered: bool = False) -> None:
    """Raise ``UnsupportedError``, in the name of ``who``, when ``func`` has a node that only the oracle understands;
    ``lowered`` as in :func:`special_node`.
    """
    found = special_node(func, lowered=lowered)
    if found is not None:
        node, what = found
        raise UnsupportedError(
            f"{who} does not know {what}", root=func, marks=[(node, "here")],
            hint="the oracle runs this program as it is",
        )  # fmt: skip
