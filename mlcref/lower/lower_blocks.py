"""Blocks become plain statements: iterators by their values, predicates and inits as conditions, allocations where
they live.
"""

from __future__ import annotations

from mlcref.errors import UnsupportedError
from mlcref.ir import (
    EQ, AllocBuffer, BlockRealize, Buffer, BufferLoad, Expr, For, IfThenElse, LetStmt, PrimFunc, Stmt, Var, any_node,
    cast, children_of, conjunction, map_children, replace, seq, substitute, variables,
)  # fmt: skip
from mlcref.lower.match_buffers import Layout, matched_layout, resolve_match_buffers
from mlcref.lower.place_allocations import allocation_sites


def lower_blocks(func: PrimFunc) -> PrimFunc:
    """``func`` without blocks.

    A block becomes ``if predicate: { if every reduce iterator is at its minimum: init; body }`` with the iterators
    substituted by their values; block allocations become ``AllocBuffer`` around the lowest statement that
    :func:`allocation_sites` finds. Raises ``UnsupportedError`` for reductions over threads.
    """
    return replace(func, body=_Lowering(func).visit(func.body))


class _Lowering:
    def __init__(self, func: PrimFunc) -> None:
        self.func = func
        self.sites = allocation_sites(func)
        self.per_thread: set[Var] = set()
        self.layouts: dict[Buffer, Layout] = {}

    def visit(self, stmt: Stmt) -> Stmt:
        """``stmt`` without blocks, inside its allocations."""
        if isinstance(stmt, BlockRealize):
            return self.realize(stmt)
        if isinstance(stmt, For) and stmt.thread is not None and "vthread" not in stmt.thread:
            self.per_thread.add(stmt.loop_var)
        lowered = map_children(lambda child: self.visit(child) if isinstance(child, Stmt) else child, stmt)
        return self.allocated(stmt, seq(*children_of(lowered)))

    def allocated(self, stmt: Stmt, lowered: Stmt) -> Stmt:
        """``lowered`` inside the allocations whose site is ``stmt``."""
        for buffer in reversed(self.sites.get(stmt, [])):
            lowered = AllocBuffer(buffer, lowered)
        return lowered

    def realize(self, stmt: BlockRealize) -> Stmt:
        """One block. The predicate comes first: where it is false nothing of the block happens."""
        block = stmt.block
        self.follow_threads(stmt)
        values = {it.var: cast(it.var.type, value) for it, value in zip(block.iter_vars, stmt.iter_values, strict=True)}
        for match in block.match_buffers:
            self.layouts[match.buffer] = matched_layout(match, self.layouts)
        body = self.visit(block.body)
        if block.init is not None:
            starts = [EQ(it.var, cast(it.var.type, it.dom.min)) for it in block.iter_vars if it.iter_type == "reduce"]
            init = self.visit(block.init)
            body = seq(IfThenElse(conjunction(starts), init) if starts else init, body)
        body = self.allocated(stmt, _bound(resolve_match_buffers(block, body, self.layouts), values))
        return IfThenElse(conjunction(stmt.predicate), body) if stmt.predicate else body

    def follow_threads(self, stmt: BlockRealize) -> None:
        """Note which iterators differ between threads; a reduction over such is one result of many threads."""
        for it, value in zip(stmt.block.iter_vars, stmt.iter_values, strict=True):
            if not variables(value) & self.per_thread:
                continue
            if it.iter_type == "reduce":
                raise UnsupportedError(
                    f"reduce iterator {it.var.name} of block {stmt.block.name} is bound to threads",
                    rule="lower.collective",
                    root=self.func,
                    marks=[(stmt, "here")],
                    hint="rfactor the reduction, or bind a spatial loop",
                )
            self.per_thread.add(it.var)


def _bound(body: Stmt, values: dict[Var, Expr]) -> Stmt:
    """``body`` with iterators replaced by their values; a value that loads from memory is computed once, before the
    body.
    """
    body = substitute(body, {var: value for var, value in values.items() if not any_node(value, BufferLoad)})
    for var, value in values.items():
        if any_node(value, BufferLoad):
            body = LetStmt(var, value, body)
    return body
