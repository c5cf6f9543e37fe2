"""Does a block compute what the description of a tensor intrinsic says? Compared up to names, and up to where the
buffers' regions begin."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from mlcref.arith import Linear, linear
from mlcref.arith.linear import INDEX_TYPES
from mlcref.ir import (
    BlockRealize, Buffer, BufferLoad, BufferStore, Const, Expr, For, IterVar, Node, PrimFunc, SeqStmt, Stmt, Var,
    substitute,
)  # fmt: skip
from mlcref.ir.base import FIELDS, Role


@dataclass(frozen=True, slots=True)
class Difference:
    """Where the program and the description part: the nodes (None: nothing there), and in which way."""

    what: str
    program: Node | None
    desc: Node | None


@dataclass(slots=True)
class Match:
    """What is known so far: ``starts`` says for a buffer of the description which buffer stands for it, and the index
    of its first element there."""

    ranges: dict[Var, Any]
    desc: PrimFunc
    values: dict[Var, Expr] = field(default_factory=dict)
    buffers: dict[Buffer, Buffer] = field(default_factory=dict)
    starts: dict[Buffer, tuple[Linear, ...]] = field(default_factory=dict)
    inner: set[Var] = field(default_factory=set)

    # ---- statements

    def statement(self, a: Stmt, b: Stmt) -> Difference | None:
        """Compare statement ``a`` of the program with ``b`` of the description; None when they are equal."""
        if type(a) is not type(b):
            return Difference(f"{_kind(a)} for {_kind(b)}", a, b)
        if isinstance(a, For) and isinstance(b, For):
            return self.loop(a, b)
        if isinstance(a, BlockRealize) and isinstance(b, BlockRealize):
            return self.realize(a, b)
        if isinstance(a, SeqStmt) and isinstance(b, SeqStmt):
            if len(a.seq) != len(b.seq):
                return Difference(f"{len(a.seq)} statements for {len(b.seq)}", a, b)
            return self.first([self.statement(x, y) for x, y in zip(a.seq, b.seq, strict=True)])
        if isinstance(a, BufferStore) and isinstance(b, BufferStore):
            return self.access(a, b) or self.value(a.value, b.value)
        return self.fields(a, b)

    def first(self, found: Sequence[Difference | None]) -> Difference | None:
        """The first difference that there is."""
        return next((difference for difference in found if difference is not None), None)

    def loop(self, a: For, b: For) -> Difference | None:
        """Loops over one range. How they run does not matter (they are exchanged), but threads are somebody else's."""
        if a.kind == "thread_binding" or a.step is not None:
            return Difference("a loop over threads, or with a step", a, b)
        if not (self.same(a.min, b.min) and self.same(a.extent, b.extent)):
            return Difference(f"{a.extent!r} iterations for {b.extent!r}", a, b)
        self.bind(b.loop_var, a.loop_var, a.extent)
        return self.statement(a.body, b.body)

    def bind(self, theirs: Var, ours: Var, extent: Expr) -> None:
        """Let a variable of the description stand for one of the program."""
        self.values[theirs] = ours
        self.inner.add(ours)
        self.ranges[ours] = int(extent) if isinstance(extent, Const) else extent

    def realize(self, a: BlockRealize, b: BlockRealize) -> Difference | None:
        """Blocks with equal iterators, bindings, conditions, init and body; their names do not matter."""
        x, y = a.block, b.block
        if len(x.iter_vars) != len(y.iter_vars):
            return Difference(f"{len(x.iter_vars)} iterators for {len(y.iter_vars)}", a, b)
        for ours, value, theirs, wanted in zip(x.iter_vars, a.iter_values, y.iter_vars, b.iter_values, strict=True):
            found = self.iterator(ours, value, theirs, wanted)
            if found is not None:
                return found
        if len(a.predicate) != len(b.predicate):
            return Difference(f"{len(a.predicate)} conditions for {len(b.predicate)}", a, b)
        for ours_if, theirs_if in zip(a.predicate, b.predicate, strict=True):
            found = self.value(ours_if, theirs_if)
            if found is not None:
                return found
        for ours_it, theirs_it in zip(x.iter_vars, y.iter_vars, strict=True):
            self.bind(theirs_it.var, ours_it.var, ours_it.dom.extent)
        if x.match_buffers or y.match_buffers or len(x.alloc_buffers) != len(y.alloc_buffers):
            return Difference("private or matched buffers", a, b)
        for ours_buffer, theirs_buffer in zip(x.alloc_buffers, y.alloc_buffers, strict=True):
            found = self.allocation(ours_buffer, theirs_buffer)
            if found is not None:
                return found
        if (x.init is None) != (y.init is None):
            return Difference("an init" if y.init is None else "no init", a, b)
        started = None if x.init is None or y.init is None else self.statement(x.init, y.init)
        return started or self.statement(x.body, y.body)

    def iterator(self, a: IterVar, value: Expr, b: IterVar, wanted: Expr) -> Difference | None:
        """Iterators of one type over one domain with one binding."""
        if a.iter_type != b.iter_type:
            return Difference(f"a {a.iter_type} iterator for a {b.iter_type} one", a, b)
        if not (self.same(a.dom.min, b.dom.min) and self.same(a.dom.extent, b.dom.extent)):
            return Difference("an iterator over another domain", a, b)
        return None if self.same(value, wanted) else Difference("an iterator bound to something else", a, b)

    def allocation(self, a: Buffer, b: Buffer) -> Difference | None:
        """Private buffers of one shape, type and scope."""
        same = len(a.shape) == len(b.shape) and all(self.same(x, y) for x, y in zip(a.shape, b.shape, strict=True))
        if not same or (a.type, a.scope, bool(a.strides)) != (b.type, b.scope, bool(b.strides)):
            return Difference("a private buffer of another kind", a, b)
        self.buffers[b], self.starts[b] = a, tuple([Linear() for _ in a.shape])
        return None

    # ---- expressions

    def same(self, a: Expr, b: Expr) -> bool:
        """Are two integer expressions equal as linear forms?"""
        if a.dtype not in INDEX_TYPES or b.dtype not in INDEX_TYPES:
            return self.value(a, b) is None
        mapped = substitute(b, self.values)
        return bool(linear(a, self.ranges).key == linear(mapped, self.ranges).key)

    def value(self, a: Expr, b: Expr) -> Difference | None:
        """Compare values: the same operations in the same order."""
        if isinstance(a, BufferLoad) and isinstance(b, BufferLoad):
            return self.access(a, b)
        if type(a) is not type(b) or a.dtype != b.dtype:
            return Difference(f"{_kind(a)} of {a.dtype} for {_kind(b)} of {b.dtype}", a, b)
        if isinstance(a, Var):
            return None if self.values.get(b) is a else Difference("another variable", a, b)  # type: ignore[call-overload]
        if isinstance(a, Const) and isinstance(b, Const):
            return None if repr(a.value) == repr(b.value) else Difference(f"{a.value} for {b.value}", a, b)
        return self.fields(a, b)

    def fields(self, a: Node, b: Node) -> Difference | None:
        """Any other node, field by field."""
        for name, role, structural in FIELDS[type(a)]:
            x, y = getattr(a, name), getattr(b, name)
            if role is Role.BINDING or role is Role.REFERENCE:
                return Difference(f"a {_kind(a)} cannot be compared", a, b)
            if role is Role.PLAIN:
                if structural and x != y:
                    return Difference(f"{name} {x!r} for {y!r}", a, b)
                continue
            found = self.parts(x, y, a, b)
            if found is not None:
                return found
        return None

    def parts(self, x: Any, y: Any, a: Node, b: Node) -> Difference | None:
        """Children of two nodes: single ones, tuples of them, or none."""
        xs, ys = (x if type(x) is tuple else (x,)), (y if type(y) is tuple else (y,))
        if len(xs) != len(ys) or (x is None) != (y is None):
            return Difference("more or fewer parts", a, b)
        for ours, theirs in zip(xs, ys, strict=True):
            if ours is None:
                continue
            found = self.statement(ours, theirs) if isinstance(ours, Stmt) else self.value(ours, theirs)
            if found is not None:
                return found
        return None

    # ---- memory

    def access(self, a: BufferLoad | BufferStore, b: BufferLoad | BufferStore) -> Difference | None:
        """The same element of the region that stands for the buffer."""
        ours, theirs = a.buffer, b.buffer
        known = self.buffers.get(theirs)
        if known is None:
            found = self.region(a, b)
            if found is not None:
                return found
        elif known is not ours:
            return Difference(f"{ours.name} where {known.name} stands for {theirs.name}", a, b)
        start = self.start(a.indices, b.indices)
        if start is None or any(form.variables() & self.inner for form in start):
            return Difference("another element", a, b)
        first = self.starts.setdefault(theirs, start)
        if [form.key for form in start] != [form.key for form in first]:
            return Difference(f"an element of another region of {ours.name}", a, b)
        return None

    def region(self, a: BufferLoad | BufferStore, b: BufferLoad | BufferStore) -> Difference | None:
        """Let the buffer of the program stand for that of the description, where type, scope and rank allow it."""
        ours, theirs = a.buffer, b.buffer
        if theirs not in self.desc.buffers:
            return Difference(f"{theirs.name} is no parameter", a, b)
        if (ours.type, ours.scope) != (theirs.type, theirs.scope):
            return Difference(f"{ours.type} in {ours.scope!r} for {theirs.type} in {theirs.scope!r}", a, b)
        if len(ours.shape) < len(theirs.shape):
            return Difference(f"{len(ours.shape)} dimensions for {len(theirs.shape)}", a, b)
        self.buffers[theirs] = ours
        return None

    def start(self, ours: Sequence[Expr], theirs: Sequence[Expr]) -> tuple[Linear, ...] | None:
        """The index of the region's first element: leading dimensions that the description lacks stand still."""
        extra = len(ours) - len(theirs)
        if any(index.dtype not in INDEX_TYPES for index in (*ours, *theirs)):
            return None
        forms = [linear(index, self.ranges) for index in ours]
        mapped = [linear(substitute(index, self.values), self.ranges) for index in theirs]
        return (*forms[:extra], *(x - y for x, y in zip(forms[extra:], mapped, strict=True)))


def _kind(node: Node) -> str:
    return type(node).__name__
