"""The accesses to a buffer, with what is known of the loops around each."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from mlcref.ir import (
    AllocBuffer, Buffer, BufferLoad, BufferStore, Expr, For, Let, LetStmt, Node, PrimFunc, Var, children, walk,
)  # fmt: skip
from mlcref.lower.domains import Domains, with_loop


@dataclass(frozen=True, slots=True)
class Located:
    """Indices of one access, the domains of the variables in scope there, and those bound between the root and it."""

    indices: tuple[Expr, ...]
    dom: Domains
    inner: frozenset[Var]


def located_accesses(
    root: Node, buffer: Buffer, dom: Domains, inner: frozenset[Var] = frozenset()
) -> Iterator[Located]:
    """Every load and store of ``buffer`` below ``root``, where ``dom`` holds."""
    if isinstance(root, BufferLoad | BufferStore) and root.buffer is buffer:
        yield Located(root.indices, dom, inner)
    if isinstance(root, For):
        dom, inner = with_loop(dom, root), inner | {root.loop_var}
    elif isinstance(root, Let | LetStmt):
        inner = inner | {root.var}
    for child in children(root):
        yield from located_accesses(child, buffer, dom, inner)


def owned_buffers(func: PrimFunc) -> set[Buffer]:
    """The buffers that share memory with no other one: those allocated here, and the parameters of a function that says
    so."""
    private = {node.buffer for node in walk(func.body) if isinstance(node, AllocBuffer)}
    return private | set(func.buffers) if func.noalias else private
