"""Allocations move into a loop whose iterations use different parts of the buffer, so that one part is enough.

A block that reduces keeps the allocations of its inputs above its reduction loops. Where each iteration of such a
loop fills and uses elements of its own, nothing is carried over, and the buffer may as well start anew in each.
"""

from __future__ import annotations

from mlcref import arith
from mlcref.ir import AllocBuffer, DeclBuffer, For, PrimFunc, Stmt, loads, map_children, replace, walk
from mlcref.lower.accesses import Located, located_accesses
from mlcref.lower.domains import Domains, shape_domain, with_loop


def sink_allocations(func: PrimFunc) -> PrimFunc:
    """``func`` with each allocation inside as many of the loops directly below it as keep their elements apart."""
    return replace(func, body=_visit(func.body, shape_domain(func.shape_vars())))


def _visit(stmt: Stmt, dom: Domains) -> Stmt:
    if isinstance(stmt, AllocBuffer):
        body = stmt.body
        if isinstance(body, For) and _iterations_apart(stmt, body, dom):
            return _visit(replace(body, body=replace(stmt, body=body.body)), dom)
    inner = with_loop(dom, stmt)
    return map_children(lambda child: _visit(child, inner) if isinstance(child, Stmt) else child, stmt)


def _iterations_apart(alloc: AllocBuffer, loop: For, dom: Domains) -> bool:
    """Do different iterations of ``loop`` touch different positions along some dimension of the buffer?"""
    header = [*loads(loop.min), *loads(loop.extent)]
    aliases = [node for node in walk(loop.body) if isinstance(node, DeclBuffer) and node.source is alloc.buffer]
    if aliases or any(load.buffer is alloc.buffer for load in header) or loop.kind == "vectorized":
        return False
    accesses = list(located_accesses(loop.body, alloc.buffer, with_loop(dom, loop)))
    return any(_apart_along(axis, loop, accesses) for axis in range(len(alloc.buffer.shape)))


def _apart_along(axis: int, loop: For, accesses: list[Located]) -> bool:
    span = arith.union([arith.relax(access.indices[axis], access.inner, access.dom) for access in accesses])
    if span is None or span.base.variables() & frozenset[object]().union(*(access.inner for access in accesses)):
        return False
    step = span.base.terms.get(loop.loop_var, 0)
    others = span.base.only(lambda atom: atom is not loop.loop_var)
    return abs(step) >= span.extent and loop.loop_var not in others.variables()
