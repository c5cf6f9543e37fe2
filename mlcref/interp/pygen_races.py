"""Are the iterations of a loop without order apart? The static form of rule loop.race, and vectors as lanes."""

from __future__ import annotations

from mlcref import dtype as dt
from mlcref.interp.placement import Facts
from mlcref.interp.pygen_code import Memory, NotGenerated
from mlcref.interp.pygen_static import Axis, Known, Linear, parts_disjoint
from mlcref.ir.base import replace
from mlcref.ir.buffer import Buffer, BufferLoad
from mlcref.ir.compound import Ramp, Select
from mlcref.ir.expr import Broadcast, Call, Cast, Const, Expr, Var
from mlcref.ir.index import stmt_children
from mlcref.ir.stmt import AllocBuffer, BlockRealize, BufferStore, For, LetStmt, Stmt
from mlcref.ir.visit import children, map_children, walk


class _Accesses:
    """The addresses of all accesses below a loop, by buffer, as linear forms."""

    def __init__(self, known: Known, memories: dict[Buffer, Memory], facts: Facts) -> None:
        self.known = Known(dict(known.ranges), dict(known.forms), dict(known.facts), known.quotients)
        self.memories, self.facts = memories, facts
        self.forms: dict[Buffer, list[Linear | None]] = {}
        self.written: set[Buffer] = set()
        self.private: set[Buffer] = set()
        self.inner: set[Var] = set()

    def add(self, buffer: Buffer, indices: tuple[Expr, ...]) -> None:
        memory = self.memories.get(buffer)
        total: Linear | None = Linear({})
        if memory is None:
            total = None
        else:
            for index, stride in zip(indices, memory.strides, strict=True):
                form = self.known.linear(index) if dt.lanes(index.dtype) == 1 else None
                total = None if form is None or total is None else total.plus(form.times(stride))
        self.forms.setdefault(buffer, []).append(total)

    def visit(self, stmt: Stmt) -> None:
        self.private.update(self.facts.allocations.get(stmt, ()))
        if isinstance(stmt, AllocBuffer):
            self.private.add(stmt.buffer)
        for part in children(stmt):
            if isinstance(part, Expr):
                for node in walk(part):
                    if type(node) is BufferLoad:
                        self.add(node.buffer, node.indices)
        if isinstance(stmt, BufferStore):
            self.add(stmt.buffer, stmt.indices)
            self.written.add(stmt.buffer)
        elif isinstance(stmt, For):
            start, extent = self.known.interval(stmt.min), self.known.interval(stmt.extent)
            self.known.ranges[stmt.loop_var] = (start[0], start[1] + max(extent[1], 1) - 1)
            self.inner.add(stmt.loop_var)
        elif isinstance(stmt, LetStmt):
            self.inner.add(stmt.var)
        elif isinstance(stmt, BlockRealize):
            for it, value in zip(stmt.block.iter_vars, stmt.iter_values, strict=True):
                form = self.known.linear(value)
                if form is not None:
                    self.known.forms[it.var] = form
                self.inner.add(it.var)
        for child in stmt_children(stmt):
            self.visit(child)


def disjoint_iterations(
    stmt: For, axis: Axis | None, known: Known, memories: dict[Buffer, Memory], facts: Facts
) -> list[Buffer]:
    """The buffers on which two iterations of the loop may conflict; empty when all are proven to be apart."""
    if axis is not None and axis.extent <= 1:
        return []
    accesses = _Accesses(known, memories, facts)
    accesses.visit(stmt.body)
    return [
        buffer
        for buffer in accesses.forms
        if buffer in accesses.written
        and buffer not in accesses.private
        and not parts_disjoint(stmt.loop_var, 2, accesses.forms[buffer], accesses.known, accesses.inner)
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
