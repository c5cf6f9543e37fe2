"""The two idioms of traversal: :func:`rewrite` (bottom-up, by a function that returns None to keep a node) and a plain
recursive function that dispatches on the node type and calls :func:`map_children` for the rest.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from operator import is_
from typing import Any, TypeVar

from mlcref.ir.base import BELOW, BUFFER_FIELDS, CHILDREN, FIELDS, REFERENCES, Node, Role, nothing_below, replace
from mlcref.ir.buffer import Buffer, BufferLoad
from mlcref.ir.expr import Expr, Var
from mlcref.ir.stmt import Block

N = TypeVar("N", bound=Node)


def children(node: Node) -> tuple[Any, ...]:
    """The nodes that ``node`` owns, in field order. Buffers and bound variables are not among them."""
    return BELOW[type(node)](node)


def map_children(f: Callable[[Any], Any], node: N) -> N:
    """``node`` with ``f`` applied to each child; the same object when no child changed."""
    changes: dict[str, Any] = {}
    for name in CHILDREN[type(node)]:
        value = getattr(node, name)
        if type(value) is tuple:
            new = tuple([f(item) for item in value])
            if not all(map(is_, new, value)):
                changes[name] = new
        elif value is not None:
            new_value = f(value)
            if new_value is not value:
                changes[name] = new_value
    return replace(node, **changes) if changes else node


def rewrite(f: Callable[[Any], Any], root: N) -> N:
    """Rebuild ``root`` bottom-up: each node, its children already rewritten, is replaced by ``f(node)`` unless that is
    None.

    Iterative (depth of the tree is no limit) and memoised by identity; unchanged subtrees come back as the same
    objects.
    """
    memo: dict[int, Any] = {}
    stack: list[tuple[Any, tuple[Any, ...] | None]] = [(root, None)]
    while stack:
        node, below = stack.pop()
        if id(node) in memo:
            continue
        if below is None:
            below = BELOW[type(node)](node)
            if below:
                stack.append((node, below))
                stack.extend([(child, None) for child in below])
                continue
        rebuilt = node
        for child in below:
            if memo[id(child)] is not child:
                rebuilt = map_children(lambda child: memo[id(child)], node)
                break
        new = f(rebuilt)
        memo[id(node)] = rebuilt if new is None else new
    result: N = memo[id(root)]
    return result


def walk(root: Node) -> Iterator[Any]:
    """``root`` and everything below it, parents first, children in field order."""
    stack = [root]
    while stack:
        node = stack.pop()
        yield node
        below = BELOW[type(node)]
        if below is not nothing_below:
            stack.extend(below(node)[::-1])


def variables(root: Node) -> set[Var]:
    """Variables used in ``root`` (binding places do not count)."""
    return {node for node in walk(root) if type(node) is Var}


def loads(root: Node) -> list[BufferLoad]:
    """Every load below ``root``, in order."""
    return [node for node in walk(root) if type(node) is BufferLoad]


def buffers_used(root: Node) -> dict[Buffer, None]:
    """Buffers that loads, stores and regions below ``root`` refer to, in order of appearance."""
    used: dict[Buffer, None] = {}
    for node in walk(root):
        for name in REFERENCES[type(node)]:
            if getattr(node, name) is not None:
                used[getattr(node, name)] = None
    return used


def substitute(root: N, values: Mapping[Var, Expr]) -> N:
    """``root`` with variables replaced. Buffers whose shape mentions a variable are replaced by new ones as well."""
    if not values:
        return root
    buffer_map: dict[Buffer, Buffer] = {}
    for buffer in _buffers_of(root):
        new = substitute_buffer(buffer, values)
        if new is not buffer:
            buffer_map[buffer] = new
    result = rewrite(lambda n: values.get(n) if type(n) is Var else None, root)
    return replace_buffers(result, buffer_map) if buffer_map else result


def substitute_buffer(buffer: Buffer, values: Mapping[Var, Expr]) -> Buffer:
    """``buffer`` with variables in its shape, strides and offset replaced; itself when there are none."""
    return map_children(lambda child: substitute(child, values), buffer)


def _buffers_of(root: Node) -> dict[Buffer, None]:
    found: dict[Buffer, None] = {}
    for node in walk(root):
        for name in BUFFER_FIELDS[type(node)]:
            value = getattr(node, name)
            for item in value if type(value) is tuple else (value,):
                if isinstance(item, Buffer):
                    found[item] = None
    return found


def replace_buffers(root: N, mapping: Mapping[Buffer, Buffer]) -> N:
    """``root`` with buffers exchanged in loads, stores, regions, allocations and declarations."""
    if not mapping:
        return root

    def exchange(node: Node) -> Node | None:
        changes: dict[str, Any] = {}
        for name, role, _ in FIELDS[type(node)]:
            if role is Role.PLAIN or role is Role.CHILD:
                continue
            value = getattr(node, name)
            if isinstance(value, Buffer):
                changes[name] = mapping.get(value, value)
            elif type(value) is tuple:
                changes[name] = tuple([mapping.get(v, v) if isinstance(v, Buffer) else v for v in value])
        changes = {k: v for k, v in changes.items() if _differs(v, getattr(node, k))}
        return replace(node, **changes) if changes else None

    return rewrite(exchange, root)


def _differs(new: Any, old: Any) -> bool:
    if type(new) is tuple:
        return any(x is not y for x, y in zip(new, old, strict=True))
    return new is not old


def blocks_in(root: Node) -> list[Block]:
    """Every block below ``root``, outer ones first."""
    return [node for node in walk(root) if type(node) is Block]


def any_node(root: Node, kinds: type | tuple[type, ...]) -> bool:
    """Is there a node of one of ``kinds`` in ``root``?"""
    stack = [root]
    while stack:
        node = stack.pop()
        if isinstance(node, kinds):
            return True
        below = BELOW[type(node)]
        if below is not nothing_below:
            stack.extend(below(node))
    return False
