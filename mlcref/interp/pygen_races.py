"""Are the iterations of a loop without order, or the threads of a phase, apart? The static form of the rules loop.race
and thread.race, and vectors as lanes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from mlcref import dtype as dt
from mlcref.interp.placement import is_thread
from mlcref.interp.pygen_code import Memory, NotGenerated, View
from mlcref.interp.pygen_static import Axis, Known, Linear, digits_apart
from mlcref.interp.pygen_views import region_view
from mlcref.ir.base import replace
from mlcref.ir.buffer import Buffer, BufferLoad
from mlcref.ir.compound import Let, Ramp, Select
from mlcref.ir.expr import Broadcast, Call, Cast, Const, Expr, Var
from mlcref.ir.index import stmt_children
from mlcref.ir.stmt import (
    AllocBuffer, BlockRealize, BufferStore, DeclBuffer, For, LetStmt, MatchBufferRegion, Stmt,
)  # fmt: skip
from mlcref.ir.visit import children, map_children, variables, walk

if TYPE_CHECKING:
    from mlcref.interp.pygen_views import Views


class _Accesses:
    """The addresses of all accesses below a loop, by memory, as linear forms."""

    def __init__(self, code: Views) -> None:
        known = code.known
        self.code, self.facts = code, code.facts
        self.known = Known(dict(known.ranges), dict(known.forms), dict(known.facts), known.quotients)
        self.views: dict[Buffer, View | None] = {}
        """Buffers that get another name below the loop; None for one whose addresses are not known."""
        self.sources: dict[Buffer, Buffer] = {}
        self.forms: dict[Memory, list[Linear | None]] = {}
        self.written: set[Memory] = set()
        self.private: set[Buffer] = set()
        self.inner: set[Var] = set()
        self.opens = self.collective = False
        """Are thread axes opened below, and are there reductions over threads?"""
        self.above = False
        """Is memory of several threads allocated below?"""

    def find_view(self, buffer: Buffer) -> View | None:
        return self.views[buffer] if buffer in self.views else self.code.find_view(buffer)

    def memory(self, buffer: Buffer) -> Memory | None:
        """The memory of a buffer; None where it is made below the loop."""
        while buffer in self.sources:
            buffer = self.sources[buffer]
        view = None if buffer in self.private else self.code.find_view(buffer)
        return None if view is None else view.memory

    def add(self, buffer: Buffer, indices: Sequence[Expr], *, written: bool = False) -> None:
        memory = self.memory(buffer)
        if memory is None:
            return
        view = self.find_view(buffer)
        total = None if view is None else view.start
        for index, stride in zip(indices, view.strides if view is not None else (), strict=view is not None):
            form = self.known.linear(index) if dt.lanes(index.dtype) == 1 else None
            total = None if form is None or total is None else total.plus(form.times(stride))
        self.forms.setdefault(memory, []).append(total)
        if written:
            self.written.add(memory)

    def visit(self, stmt: Stmt) -> None:
        allocated = {*self.facts.allocations.get(stmt, ()), *([stmt.buffer] if isinstance(stmt, AllocBuffer) else [])}
        self.above = self.above or (stmt in self.facts.threads and not allocated <= self.facts.private)
        self.private |= allocated
        if isinstance(stmt, DeclBuffer):
            self.views[stmt.buffer], self.sources[stmt.buffer] = None, stmt.source
        elif isinstance(stmt, For):
            self.loop(stmt)
        elif isinstance(stmt, LetStmt):
            self.inner.add(stmt.var)
        elif isinstance(stmt, BlockRealize):
            self.expressions(*stmt.predicate, *stmt.iter_values)
            self.block(stmt)
        parts = (part for part in children(stmt) if isinstance(part, Expr))
        self.expressions(*parts)
        if isinstance(stmt, BufferStore):
            self.add(stmt.buffer, stmt.indices, written=True)
        for child in stmt_children(stmt):
            self.visit(child)

    def expressions(self, *parts: Expr) -> None:
        """The loads in expressions, and the results of an allreduce."""
        for part in parts:
            for node in walk(part):
                if isinstance(node, Let):
                    self.inner.add(node.var)
                if type(node) is BufferLoad:
                    self.add(node.buffer, node.indices)
                if isinstance(node, Call) and node.op == "tvm_thread_allreduce":
                    for place in node.args:
                        if isinstance(place, BufferLoad):
                            self.add(place.buffer, place.indices, written=True)

    def loop(self, stmt: For) -> None:
        tag = stmt.thread or ""
        if is_thread(stmt) and tag in self.code.open:
            axis = self.code.open[tag]
            start = self.known.linear(stmt.min)
            if start is not None:
                self.known.forms[stmt.loop_var] = start.plus(Linear({axis.var: 1}, -axis.start))
                return
        self.opens = self.opens or is_thread(stmt)
        (low, high), count = self.known.interval(stmt.min), self.known.interval(stmt.extent)
        self.known.ranges[stmt.loop_var] = (low, high + max(count[1], 1) - 1)
        self.inner.add(stmt.loop_var)

    def block(self, stmt: BlockRealize) -> None:
        block = stmt.block
        self.collective = self.collective or block in self.facts.collective
        for it, value in zip(block.iter_vars, stmt.iter_values, strict=True):
            form = self.known.linear(value)
            if form is not None:
                self.known.forms[it.var] = form
            self.inner.add(it.var)
        for match in block.match_buffers:
            self.match(match)

    def match(self, match: MatchBufferRegion) -> None:
        buffer = match.buffer
        for e in (*buffer.shape, *buffer.strides, *((buffer.elem_offset,) if buffer.elem_offset is not None else ())):
            self.inner.update(variables(e))
        source = self.find_view(match.source.buffer)
        self.views[buffer] = None if source is None else region_view(source, match, self.known)
        self.sources[buffer] = match.source.buffer
        self.expressions(*(e for r in match.source.region for e in (r.min, r.extent)))


def conflicting(code: Views, parts: Sequence[Stmt], axes: Sequence[Axis], by: str = "iterations") -> list[Memory]:
    """The memories on which two points of the axes may conflict; empty when all are proven to be apart.

    The points are ``iterations`` of a loop, instances of a ``grid``, or ``threads`` of a phase: what each thread has of
    its own is apart, and there are more threads than points where they open another axis.
    """
    one = all(axis.extent <= 1 for axis in axes)
    if one and by != "threads":
        return []
    accesses = _Accesses(code)
    for part in parts:
        accesses.visit(part)
    together = by == "threads" and (accesses.opens or accesses.collective)
    if one and not together:
        return []
    if accesses.opens and accesses.above and by == "threads":
        raise NotGenerated("memory of the threads that a phase opens")
    own = any(memory.per_thread for memory in accesses.written)
    if own and accesses.opens and (by == "iterations" or (by == "threads" and accesses.collective)):
        raise NotGenerated("memory of threads around the axes that they open")
    apart = by == "grid" or (by == "threads" and not together)
    return [
        memory
        for memory, forms in accesses.forms.items()
        if memory in accesses.written
        and not (apart and memory.per_thread)
        and (together or not digits_apart(axes, forms, accesses.known, accesses.inner))
    ]


def one_lane(e: Expr, lane: Var) -> Expr:
    """What a vector expression computes in one lane; scalar parts stay.

    >>> from mlcref.ir import Ramp, Var, const
    >>> type(one_lane(Ramp(const(0), const(1), 4), Var("lane"))).__name__
    'Var'
    """
    if dt.lanes(e.dtype) == 1:
        return e
    match e:
        case Ramp() if dt.lanes(e.base.dtype) == 1 and dt.is_integer(e.base.dtype):
            step: Expr = lane if lane.type == e.base.dtype else Cast(e.base.dtype, lane)
            if not (isinstance(e.stride, Const) and e.stride.value == 1):
                step = step * e.stride
            return step if isinstance(e.base, Const) and e.base.value == 0 else e.base + step
        case Broadcast() if dt.lanes(e.value.dtype) == 1:
            return e.value
        case Const():
            return Const(e.value, dt.parse(e.type).element)
        case Cast() | Call():
            if type(e) is Call and e.op == "if_then_else" and dt.lanes(e.args[0].dtype) != 1:
                raise NotGenerated("a branch on a vector of conditions")
            return replace(map_children(lambda part: one_lane(part, lane), e), type=dt.parse(e.type).element)
        case Select() | BufferLoad():
            return map_children(lambda part: one_lane(part, lane), e)
    return map_children(lambda part: one_lane(part, lane), e)
