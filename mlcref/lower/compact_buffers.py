"""Private buffers shrink to the part that one entry of their allocation uses."""

from __future__ import annotations

from mlcref.arith import Span, relax, union
from mlcref.ir import (
    AllocBuffer, Buffer, BufferLoad, BufferStore, DeclBuffer, Expr, Node, PrimFunc, Stmt, Var,
    const, constant, map_children, replace, rewrite, walk,
)  # fmt: skip
from mlcref.lower.accesses import Located, located_accesses
from mlcref.lower.domains import Domains, shape_domain, with_loop


def compact_buffers(func: PrimFunc) -> PrimFunc:
    """``func`` with each allocation cut, dimension by dimension, to a box that provably holds all its accesses.

    The box may start at a position that depends on the loops around the allocation; its extents are constants.
    """
    return replace(func, body=_visit(func.body, shape_domain(func.shape_vars())))


def _visit(stmt: Stmt, dom: Domains) -> Stmt:
    inner = with_loop(dom, stmt)
    stmt = map_children(lambda child: _visit(child, inner) if isinstance(child, Stmt) else child, stmt)
    return _compacted(stmt, dom) if isinstance(stmt, AllocBuffer) else stmt


def _compacted(alloc: AllocBuffer, dom: Domains) -> AllocBuffer:
    buffer = alloc.buffer
    aliased = any(isinstance(node, DeclBuffer) and node.source is buffer for node in walk(alloc.body))
    if aliased or buffer.strides or buffer.elem_offset is not None or not buffer.shape:
        return alloc
    accesses = list(located_accesses(alloc.body, buffer, dom))
    if not accesses:
        return alloc
    spans = [_shrunk(axis, extent, accesses) for axis, extent in enumerate(buffer.shape)]
    if all(span is None for span in spans):
        return alloc
    shape = [
        extent if span is None else const(span.extent, extent.dtype)
        for extent, span in zip(buffer.shape, spans, strict=True)
    ]
    small = replace(buffer, shape=tuple(shape))
    starts = [None if span is None else span.start().expr() for span in spans]
    return AllocBuffer(small, _moved(alloc.body, buffer, small, starts), alloc.annotations)


def _shrunk(axis: int, extent: Expr, accesses: list[Located]) -> Span | None:
    """What the accesses touch along one dimension, when that is smaller than the dimension."""
    span = union([relax(access.indices[axis], access.inner, access.dom) for access in accesses])
    full = constant(extent)
    if span is None or (full is not None and span.extent >= full):
        return None
    bound = frozenset[Var]().union(*(access.inner for access in accesses))
    return None if span.base.variables() & bound else span


def _moved(body: Stmt, old: Buffer, new: Buffer, starts: list[Expr | None]) -> Stmt:
    def exchange(node: Node) -> Node | None:
        if isinstance(node, BufferLoad | BufferStore) and node.buffer is old:
            indices = tuple([i if start is None else i - start for i, start in zip(node.indices, starts, strict=True)])
            return replace(node, buffer=new, indices=indices)
        return None

    return rewrite(exchange, body)
