"""Copies of subtrees. Each variable, token and private buffer is bound once in a function, so a copy gets new ones."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from mlcref.ir.base import FIELDS, Node, Role
from mlcref.ir.buffer import Buffer
from mlcref.ir.expr import Expr, Var
from mlcref.ir.stmt import Token
from mlcref.ir.visit import substitute_buffer, walk

N = TypeVar("N", bound=Node)


def fresh(root: N, values: Mapping[Var, Expr] | None = None) -> N:
    """A copy of ``root`` in which everything that ``root`` binds is new; what it only uses stays, or is exchanged for
    its value among ``values``. These are variables bound around ``root``, on which no buffer from there depends.
    """
    bound = [item for node in walk(root) for item in _bound_by(node)]
    new_vars: dict[Any, Any] = {item: Var(item.name, item.type) for item in bound if isinstance(item, Var)}
    new_vars.update(values or {})
    mapping: dict[Any, Any] = dict(new_vars)
    for item in bound:
        if isinstance(item, Token):
            mapping[item] = Token(item.hint)
        elif isinstance(item, Buffer):
            resized = substitute_buffer(item, new_vars)
            mapping[item] = resized if resized is not item else _copy(item)

    def copy(node: Any) -> Any:
        if node is None:
            return None
        if type(node) is Var:
            return mapping.get(node, node)
        fields: list[Any] = []
        for name, role, _ in FIELDS[type(node)]:
            value = getattr(node, name)
            if role is Role.CHILD:
                value = tuple([copy(item) for item in value]) if type(value) is tuple else copy(value)
            elif role is not Role.PLAIN:
                value = _exchange(value, mapping)
            fields.append(value)
        return type(node)(*fields)

    result: N = copy(root)
    return result


def _bound_by(node: Node) -> list[Any]:
    found: list[Any] = []
    for name, role, _ in FIELDS[type(node)]:
        if role is Role.BINDING:
            value = getattr(node, name)
            found.extend(value if type(value) is tuple else (value,))
    return found


def _exchange(value: Any, mapping: dict[Any, Any]) -> Any:
    if type(value) is tuple:
        return tuple([mapping.get(item, item) for item in value])
    return mapping.get(value, value)


def _copy(node: Any) -> Any:
    return type(node)(*[getattr(node, name) for name, _, _ in FIELDS[type(node)]])
