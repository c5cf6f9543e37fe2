"""Loops of kind "unrolled" written out, as long as the result stays small."""

from __future__ import annotations

from mlcref.ir import (
    BufferStore,
    Evaluate,
    For,
    PrimFunc,
    Stmt,
    children_of,
    constant,
    fresh,
    map_children,
    replace,
    seq,
    walk,
)
from mlcref.lower.jumps import leaves_loop

LIMIT = 512
"""The largest number of statements that one loop may become."""


def unroll(func: PrimFunc) -> PrimFunc:
    """``func`` with its unrolled loops of constant extent as sequences; loops that would grow past ``LIMIT`` become
    serial.
    """
    return replace(func, body=_visit(func.body))


def _visit(stmt: Stmt) -> Stmt:
    stmt = map_children(lambda child: _visit(child) if isinstance(child, Stmt) else child, stmt)
    if not isinstance(stmt, For) or stmt.kind != "unrolled":
        return seq(*children_of(stmt))
    extent = constant(stmt.extent)
    if extent is None or extent * _size(stmt.body) > LIMIT or leaves_loop(stmt.body):
        return replace(stmt, kind="serial")
    return seq(*[fresh(stmt.body, {stmt.loop_var: stmt.min + i}) for i in range(extent)])


def _size(stmt: Stmt) -> int:
    return sum(isinstance(node, BufferStore | Evaluate) for node in walk(stmt))
