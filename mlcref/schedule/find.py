"""Where things are in a function, as primitives ask: scopes, loops, writers and readers, domains."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from mlcref.errors import ScheduleError
from mlcref.ir import (
    BlockRealize,
    Buffer,
    Const,
    Expr,
    For,
    Index,
    PrimFunc,
    Stmt,
    Token,
    Var,
    index,
)
from mlcref.ir.index import stmt_children

Domain = dict[Var, Any]
"""Variables with values 0 … n-1, by n (an int or an expression). A variable with another range is left out."""


def loop_of(func: PrimFunc, var: Var) -> For:
    """The loop of ``var``; raises for a handle that is not of this function."""
    found = index(func).loops.get(var)
    if found is None:
        raise ScheduleError(f"{func.name} has no loop {var.name}", rule="handle.P1")
    return found


def block_of(func: PrimFunc, token: Token) -> BlockRealize:
    """The block of ``token``, in its realize; raises for a handle that is not of this function."""
    found = index(func).blocks.get(token)
    if found is None:
        raise ScheduleError(f"{func.name} has no block {token.hint}", rule="handle.P2")
    return found


def scope_of(func: PrimFunc, stmt: Stmt) -> BlockRealize:
    """The block around ``stmt``; the root block for itself."""
    for up in index(func).above(stmt):
        if isinstance(up, BlockRealize):
            return up
    if isinstance(stmt, BlockRealize):
        return stmt
    raise ScheduleError(f"{func.name} has no root block", rule="handle.P3")


def loops_above(func: PrimFunc, stmt: Stmt) -> list[For]:
    """Loops around ``stmt`` inside its scope, outer to inner."""
    found: list[For] = []
    for up in index(func).above(stmt):
        if isinstance(up, BlockRealize):
            break
        if isinstance(up, For):
            found.append(up)
    return found[::-1]


def blocks_below(stmt: Stmt) -> list[BlockRealize]:
    """Blocks in ``stmt`` in order, not entering blocks."""
    if isinstance(stmt, BlockRealize):
        return [stmt]
    return [block for part in stmt_children(stmt) for block in blocks_below(part)]


def child_blocks(realize: BlockRealize) -> list[BlockRealize]:
    """Blocks directly in the scope of a block: of its body, then those of its init."""
    block = realize.block
    return blocks_below(block.body) + (blocks_below(block.init) if block.init is not None else [])


def body_blocks(realize: BlockRealize) -> list[BlockRealize]:
    """Blocks directly in the body (not the init) of a block."""
    return blocks_below(realize.block.body)


def writers(blocks: Iterable[BlockRealize], buffer: Buffer) -> list[BlockRealize]:
    """Blocks that write ``buffer``."""
    return [b for b in blocks if any(w.buffer is buffer for w in b.block.writes)]


def readers(blocks: Iterable[BlockRealize], buffer: Buffer) -> list[BlockRealize]:
    """Blocks that read ``buffer``."""
    return [b for b in blocks if any(r.buffer is buffer for r in b.block.reads)]


def producers(func: PrimFunc, realize: BlockRealize) -> list[BlockRealize]:
    """Other blocks of the same scope that write what ``realize`` reads."""
    blocks = child_blocks(scope_of(func, realize))
    read = {region.buffer for region in realize.block.reads}
    return [b for b in blocks if b is not realize and any(w.buffer in read for w in b.block.writes)]


def consumers(func: PrimFunc, realize: BlockRealize) -> list[BlockRealize]:
    """Other blocks of the same scope that read what ``realize`` writes."""
    blocks = child_blocks(scope_of(func, realize))
    written = {region.buffer for region in realize.block.writes}
    return [b for b in blocks if b is not realize and any(r.buffer in written for r in b.block.reads)]


def is_reduction(realize: BlockRealize) -> bool:
    """Has the block an init?"""
    return realize.block.init is not None


def constant_extent(loop: For) -> int | None:
    """The loop's extent when it is a constant."""
    return int(loop.extent.value) if isinstance(loop.extent, Const) else None


def starts_at_zero(loop: For) -> bool:
    """Does the loop run from 0, one by one?"""
    return isinstance(loop.min, Const) and int(loop.min.value) == 0 and loop.step is None


def domain_at(func: PrimFunc, stmt: Stmt) -> Domain:
    """Ranges of the loop variables and block iterators visible at ``stmt`` (its own loop variable included)."""
    around = [stmt, *index(func).above(stmt)]
    domain: Domain = {}
    for up in reversed(around):
        if isinstance(up, For):
            domain.update(loop_domain(up))
        elif isinstance(up, BlockRealize) and up is not stmt:
            domain.update(iter_domain(up))
    return domain


def loop_domain(loop: For) -> Domain:
    """The range of a loop's variable, where it starts at 0."""
    return {loop.loop_var: _number(loop.extent)} if starts_at_zero(loop) else {}


def _number(extent: Expr) -> Any:
    return int(extent.value) if isinstance(extent, Const) else extent


def iter_domain(realize: BlockRealize) -> Domain:
    """The ranges of a block's iterators, where they start at 0."""
    domain: Domain = {}
    for item in realize.block.iter_vars:
        if isinstance(item.dom.min, Const) and int(item.dom.min.value) == 0:
            domain[item.var] = _number(item.dom.extent)
    return domain


def chain(func: PrimFunc, loops: Sequence[For]) -> list[For] | None:
    """The loops from the outermost to the innermost of ``loops`` when they lie on one path with only loops between,
    else None.
    """
    where = index(func)
    inner = max(loops, key=lambda loop: sum(1 for _ in where.above(loop)))
    todo, found = set(loops), []
    for up in [inner, *where.above(inner)]:
        if not todo:
            break
        if not isinstance(up, For):
            return None
        found.append(up)
        todo.discard(up)
    return None if todo else found[::-1]


def enclosing_loops(where: Index, stmt: Stmt) -> Iterator[For]:
    """Every loop around ``stmt``, through blocks, inner to outer."""
    return (up for up in where.above(stmt) if isinstance(up, For))
