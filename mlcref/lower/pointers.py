"""Memory that is given to functions of C: passes may move neither its elements nor what is done with them.

A buffer with a pointer to it gets a second name (``DeclBuffer``) that the pointers speak of. Passes leave alone what
has second names.
"""

from __future__ import annotations

from collections.abc import Mapping

from mlcref.errors import UnsupportedError
from mlcref.ir import (
    AllocBuffer, Buffer, BufferLoad, BufferStore, Call, Const, DeclBuffer, For, MatchBufferRegion, Node, PrimFunc, Stmt,
    map_children, replace, rewrite, walk,
)  # fmt: skip
from mlcref.ir.tensor_intrin import POINTERS

CALLS = ("call_extern", "call_pure_extern", "call_packed")
ABOUT_MEMORY = POINTERS | {"buffer_offset"}
"""Calls whose first argument, a load of an element, stands for where the element is."""


def pointed(root: Node) -> dict[Buffer, None]:
    """Buffers that pointers below ``root`` point to, in order."""
    found: dict[Buffer, None] = {}
    for node in walk(root):
        if isinstance(node, Call) and node.op in ABOUT_MEMORY and node.args and isinstance(node.args[0], BufferLoad):
            found[node.args[0].buffer] = None
    return found


def declare_pointed(func: PrimFunc) -> PrimFunc:
    """``func`` in which pointers point to buffers of their own, declared over parameters and allocations.

    Raises ``UnsupportedError`` for pointers in a program with thread axes.
    """
    targets = pointed(func.body)
    if not targets:
        return func
    thread = next((n for n in walk(func.body) if isinstance(n, For) and n.kind == "thread_binding"), None)
    if thread is not None:
        raise UnsupportedError("a function of C is called in a program with thread axes", rule="lower.pointer",
                               root=func, marks=[(thread, "this axis")])  # fmt: skip
    declared = {node.buffer for node in walk(func.body) if isinstance(node, DeclBuffer)}
    names = {buffer: replace(buffer, name=f"{buffer.name}_memory") for buffer in targets if buffer not in declared}
    body = _visit(rewrite(lambda node: _renamed(node, names), func.body), names)
    for param in func.buffers:
        if param in names:
            body = DeclBuffer(names[param], param, body)
    return replace(func, body=body)


def _renamed(node: Node, names: Mapping[Buffer, Buffer]) -> Node | None:
    if isinstance(node, Call) and node.op in ABOUT_MEMORY and node.args and isinstance(node.args[0], BufferLoad):
        load = node.args[0]
        if load.buffer in names:
            return replace(node, args=(replace(load, buffer=names[load.buffer]), *node.args[1:]))
    return None


def _visit(stmt: Stmt, names: Mapping[Buffer, Buffer]) -> Stmt:
    new = map_children(lambda child: _visit(child, names) if isinstance(child, Stmt) else child, stmt)
    if isinstance(new, AllocBuffer) and new.buffer in names:
        return replace(new, body=DeclBuffer(names[new.buffer], new.buffer, new.body))
    return new


def written_buffers(func: PrimFunc) -> set[Buffer]:
    """Buffers of ``func`` that it stores to, by whatever name, or gives to a function that may write them."""
    source: dict[Buffer, Buffer] = {}
    found: set[Buffer] = set()
    for node in walk(func.body):
        if isinstance(node, DeclBuffer):
            source[node.buffer] = node.source
        elif isinstance(node, MatchBufferRegion):
            source[node.buffer] = node.source.buffer
        elif isinstance(node, BufferStore):
            found.add(node.buffer)
        elif isinstance(node, Call) and node.op in CALLS:
            found.update(buffer for arg in node.args if not _read_only(arg) for buffer in pointed(arg))
    result: set[Buffer] = set()
    for buffer in found:
        while buffer in source:
            buffer = source[buffer]
        result.add(buffer)
    return result


def _read_only(pointer: Node) -> bool:
    """Is this ``A.access_ptr("r")``?"""
    mask = pointer.args[-1] if isinstance(pointer, Call) and pointer.op == "tvm_access_ptr" else None
    return isinstance(mask, Const) and not int(mask) & 2
