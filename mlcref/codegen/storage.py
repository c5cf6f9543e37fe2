"""Where the memory of an allocation comes from: C variables, the stack, or the heap."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

from mlcref.codegen.c_expr import Expressions
from mlcref.codegen.c_types import item_size
from mlcref.codegen.registers import Key, register_pieces
from mlcref.ir import (
    AllocBuffer, Buffer, Const, DeclBuffer, Expr, For, Stmt, Var, buffers_used, constant, variables, walk,
)  # fmt: skip

STACK_BYTES = 16384
"""The largest buffer on the stack, and a quarter of what one function puts there."""


def static_bytes(buffer: Buffer) -> int | None:
    """The size of ``buffer`` when its shape is constant."""
    extents = [constant(extent) for extent in buffer.shape]
    if any(extent is None for extent in extents):
        return None
    return prod(extent for extent in extents if extent is not None) * item_size(buffer.type)


def in_registers(alloc: AllocBuffer) -> dict[Key, str] | None:
    """The pieces to hold in C variables, or None. Another function cannot see them, so no parallel loop may use the
    buffer.
    """
    for node in walk(alloc.body):
        if isinstance(node, For) and node.kind == "parallel" and alloc.buffer in buffers_used(node):
            return None
    return register_pieces(alloc)


def shape_variables(buffer: Buffer) -> set[Var]:
    """The variables that the size of ``buffer`` depends on."""
    return {var for extent in buffer.shape for var in variables(extent)}


def _layout_variables(buffer: Buffer) -> set[Var]:
    """The variables that strides and offset of a view depend on."""
    parts: list[Expr] = [*buffer.strides, *([] if buffer.elem_offset is None else [buffer.elem_offset])]
    return {var for part in parts for var in variables(part)}


def element_count(buffer: Buffer) -> int:
    """The number of elements of a buffer of constant shape."""
    return prod(int(extent) for extent in buffer.shape if isinstance(extent, Const))


def padded_count(buffer: Buffer, expressions: Expressions) -> str:
    """The number of elements as text, rounded up so that whole cache lines separate neighbours."""
    line = 64 // item_size(buffer.type)
    if static_bytes(buffer) is not None:
        return str((element_count(buffer) + line - 1) // line * line)
    extents = " * ".join(f"({expressions.index(extent)})" for extent in buffer.shape)
    return f"({extents} // {line} + 1) * {line}"


def free_names(stmt: Stmt, bound: Sequence[Var]) -> tuple[list[Buffer], list[Var]]:
    """Buffers and variables that ``stmt`` takes from outside: those it uses among what is ``bound`` around it."""
    made = {node.buffer for node in walk(stmt) if isinstance(node, AllocBuffer | DeclBuffer)}
    buffers = [buffer for buffer in buffers_used(stmt) if buffer not in made]
    used = variables(stmt)
    for buffer in (*buffers, *made):
        used |= shape_variables(buffer) | _layout_variables(buffer)
    return buffers, [var for var in bound if var in used]
