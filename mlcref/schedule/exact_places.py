"""Places where integer arithmetic is exact (docs/semantics.md, value.index): indices, conditions, bounds. Elsewhere it
wraps, and what wraps cannot be moved into such a place: there it would mean nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from mlcref import dtype as dt
from mlcref.ir import (
    Add, AssertStmt, BlockRealize, Buffer, BufferLoad, BufferStore, Call, Cast, Expr, For, IfThenElse, Mul, Node,
    PrimFunc, Sub, While, any_node, walk,
)  # fmt: skip
from mlcref.schedule.table import refuse

Marks = Sequence[tuple[Any, str]]


def check_exact_places(
    func: PrimFunc, rule: str, buffer: Buffer, value: Expr, reader: BlockRealize, marks: Marks
) -> None:
    """Refuse, by ``rule``, when ``value`` for the elements of ``buffer`` would put arithmetic that may wrap into
    an index, a bound or a condition of ``reader``.
    """
    if _may_wrap(value) and any(
        isinstance(node, BufferLoad) and node.buffer is buffer for place in _exact(reader.block) for node in walk(place)
    ):
        what = f"block {reader.block.name} reads {buffer.name} in an index or a condition, where nothing wraps"
        refuse(func, rule, what, marks, "do the arithmetic in a wider type")


def _may_wrap(value: Expr) -> bool:
    """Is there integer arithmetic in ``value`` on what is in memory, whose size is not known?"""
    return any(_wraps(node) and any_node(node, BufferLoad) for node in walk(value))


def _wraps(node: Node) -> bool:
    if isinstance(node, Add | Sub | Mul):
        return dt.is_integer(node.dtype)
    if isinstance(node, Cast):
        return dt.is_integer(node.type) and dt.is_integer(node.value.dtype)
    return isinstance(node, Call) and node.op != "if_then_else" and dt.is_integer(node.dtype)


def _exact(root: Node) -> Iterator[Expr]:
    for node in walk(root):
        if isinstance(node, BufferLoad | BufferStore):
            yield from node.indices
        elif isinstance(node, Call) and node.op == "if_then_else":
            yield node.args[0]
        elif isinstance(node, IfThenElse | While | AssertStmt):
            yield node.condition
        elif isinstance(node, For):
            yield from (node.min, node.extent)
        elif isinstance(node, BlockRealize):
            yield from (*node.iter_values, *node.predicate)
