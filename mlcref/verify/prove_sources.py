"""Where values come from: the stores behind a load, accumulations as chains of stores, contributions to a sum."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from mlcref.ir import Add, Binary, Buffer, BufferLoad, BufferStore, Call, Const, Expr, Max, Min, Mul, Select
from mlcref.verify.prove_affine import NotAffine, condition
from mlcref.verify.prove_extract import exact_arithmetic
from mlcref.verify.prove_flow import Flow
from mlcref.verify.prove_isl import isl
from mlcref.verify.prove_model import Event, Model, lexicographic
from mlcref.verify.prove_violations import Unclear

COLLECTED = (Add, Mul, Max, Min)
_IDENTITY: dict[type, float] = {Add: 0, Mul: 1}
DEEPEST = 60


@dataclass(frozen=True, eq=False)
class Given:
    """What a parameter held before the program ran, as a value: from instances to elements of ``buffer``."""

    buffer: Buffer
    cell: isl.Map


Value = Any
"""An expression, the buffer whose final content is meant, or :class:`Given`."""


@dataclass(frozen=True)
class Part:
    """A contribution: a value, the store it stands in, and which instance of that contributes to which result."""

    value: Value
    site: Event | Buffer
    to: isl.Map


class Side:
    """One of the two programs."""

    def __init__(self, model: Model, flow: Flow) -> None:
        self.model, self.flow = model, flow
        self.groups: dict[tuple[Buffer, type], list[Event]] = {}
        for event in model.writes():
            op = self.accumulates(event)
            if op is not None:
                self.groups.setdefault((event.buffer, op), []).append(event)
        self._bases: dict[tuple[Buffer, type], Bases] = {}
        self._sources: dict[tuple[Value, str], list[tuple[Value, Event | Buffer, isl.Map]]] = {}

    def accumulates(self, write: Event) -> type | None:
        """The operation of a store ``C[i] = C[i] op e``."""
        value = write.stmt.value
        if type(value) not in COLLECTED:
            return None
        own = self.own_load(write)
        return type(value) if own is not None else None

    def own_load(self, write: Event) -> BufferLoad | None:
        """The operand that loads the very cell that is stored."""
        stmt: BufferStore = write.stmt
        for operand in (stmt.value.a, stmt.value.b):  # type: ignore[attr-defined]
            if isinstance(operand, BufferLoad) and operand.buffer is stmt.buffer:
                events = self.model.loads_of(stmt, operand)
                if len(events) == 1 and events[0].cell == write.cell:
                    return operand
        return None

    def loads(self, value: Value, site: Event | Buffer) -> list[Event | Buffer]:
        """The reads behind a value that is loaded; none for other values."""
        if isinstance(value, Buffer):
            return [value]
        if isinstance(value, BufferLoad):
            assert isinstance(site, Event)
            events = self.model.loads_of(site.stmt, value)
            if any(not event.exact for event in events):
                raise Unclear(f"which element of {value.buffer.name} is loaded depends on what is not modelled")
            return list(events)
        return []

    def sources(self, value: Value, site: Event | Buffer) -> list[tuple[Value, Event | Buffer, isl.Map]]:
        """Where a loaded value comes from: the value that was stored, the store, and the map to it from the instances
        of ``site``; or what memory held before."""
        if not isinstance(value, Buffer | BufferLoad):
            return []
        key = (value, self.name(site))
        if key not in self._sources:
            self._sources[key] = list(self.find_sources(value, site))
        return self._sources[key]

    def find_sources(self, value: Value, site: Event | Buffer) -> Iterator[tuple[Value, Event | Buffer, isl.Map]]:
        """The same, found out."""
        for read in self.loads(value, site):
            buffer = read if isinstance(read, Buffer) else read.buffer
            name = self.name(site)
            for write in self.model.writes():
                if write.buffer is not buffer:
                    continue
                found = self.flow.source(read, write).set_tuple_name(isl.dim_type.in_, name)
                if not found.is_empty():
                    yield write.stmt.value, write, found
            if self.flow.given(buffer):
                cell = self.flow.unwritten(read).set_tuple_name(isl.dim_type.in_, name)
                if not cell.is_empty():
                    yield Given(buffer, cell), site, cell.domain().identity()

    def name(self, site: Event | Buffer) -> str:
        """The name of the instances of ``site``."""
        return self.flow.finals[site] if isinstance(site, Buffer) else site.name

    def bases(self, write: Event) -> Bases | None:
        """What the accumulation that ``write`` belongs to began with."""
        op = self.accumulates(write)
        if op is None:
            return None
        key = (write.buffer, op)
        if key not in self._bases:
            self._bases[key] = Bases(self, self.groups[key])
        return self._bases[key]


class Bases:
    """Accumulations of one operation into one buffer: which stores belong to one chain, and what was there before."""

    def __init__(self, side: Side, group: list[Event]) -> None:
        self.side, self.group = side, group
        model, flow = side.model, side.flow
        others = [w for w in model.writes() if w.buffer is group[0].buffer and w not in group]
        sinks, sources, times = (isl.UnionMap("{ }") for _ in range(3))
        for write in group:
            sinks = sinks.union(isl.UnionMap.from_map(model.access(write)))
            times = times.union(isl.UnionMap.from_map(flow.time(write)))
        for write in others:
            sources = sources.union(isl.UnionMap.from_map(model.access(write)))
            times = times.union(isl.UnionMap.from_map(flow.time(write)))
        result = flow.compute(sinks, sources, times)
        self.before = result.get_must_dependence().reverse()
        self.nothing = result.get_must_no_source()
        self.others = others
        self._chains: dict[tuple[str, str], isl.Map] = {}

    def base(self, write: Event, other: Event) -> isl.Map:
        """From instances of ``write`` to the store that its chain began on."""
        shape = [f"{e.name}[{', '.join(f'{v}{k}' for k in range(len(e.place.dims)))}]"
                 for v, e in (("a", write), ("b", other))]  # fmt: skip
        return self.before.extract_map(isl.Map(self.side.model.text(" -> ".join(shape))).get_space())

    def bare(self, write: Event) -> isl.Map:
        """From instances of ``write`` to their cell, where the chain began on what memory held."""
        return self.nothing.extract_map(self.side.model.access(write).get_space())

    def chain(self, write: Event, member: Event) -> isl.Map:
        """From instances of ``member`` to those instances of ``write`` to whose chain they belong, themselves and
        later."""
        key = (write.name, member.name)
        if key not in self._chains:
            self._chains[key] = self.find_chain(write, member)
        return self._chains[key]

    def find_chain(self, write: Event, member: Event) -> isl.Map:
        """The same, found out."""
        flow, model = self.side.flow, self.side.model
        same = self.bare(member).apply_range(self.bare(write).reverse())
        for other in self.others:
            begun = self.base(member, other).apply_range(self.base(write, other).reverse())
            same = same.union(begun.intersect(model.access(member).apply_range(model.access(write).reverse())))
        later = lexicographic(("", ""), model.depth + 1, strict=False)
        order = flow.time(member).apply_range(later).apply_range(flow.time(write).reverse())
        return same.coalesce().intersect(order.coalesce()).coalesce()


class Collector:
    """Takes a value apart into its contributions; with ``deep`` through other buffers, too."""

    def __init__(self, side: Side, op: type, *, deep: bool) -> None:
        self.side, self.op, self.deep = side, op, deep
        self.found: list[Part] = []
        self.depth = 0
        self.went_deep = False

    def parts(self, a: Value, x: Any, results: isl.Set) -> list[Part]:
        """The contributions to ``a`` in the instances ``results`` of ``x``."""
        self.add(a, x, results.identity())
        return [part for part in self.found if not part.to.is_empty()]

    def add(self, a: Value, x: Any, to: isl.Map) -> None:
        self.depth += 1
        if self.depth > DEEPEST:
            raise Unclear("a reduction goes through too many stores")
        if to.is_empty() or self.identity(a):
            pass
        elif isinstance(a, Binary) and type(a) is self.op:
            bases = self.side.bases(x) if isinstance(x, Event) and x.kind == "write" and a is x.stmt.value else None
            if bases is None:
                self.add(a.a, x, to)
                self.add(a.b, x, to)
            else:
                self.chain(bases, x, to)
        elif not self.branch(a, x, to) and not self.look_through(a, x, to):
            self.found.append(Part(a, x, to))
        self.depth -= 1

    def branch(self, a: Value, x: Any, to: isl.Map) -> bool:
        """A conditional whose condition is affine contributes one of its values."""
        split = branches(self.side, a, x)
        if split is None:
            return False
        taken = to.intersect_domain(split[0])
        self.add(split[1], x, taken)
        self.add(split[2], x, to.subtract(taken))
        return True

    def identity(self, a: Value) -> bool:
        """Does it add nothing?"""
        return isinstance(a, Const) and self.op in _IDENTITY and a.value == _IDENTITY[self.op]

    def look_through(self, a: Value, x: Any, to: isl.Map) -> bool:
        """Take a loaded value apart where it is a collection of this kind, too; keeps count of repetitions."""
        sources = self.side.sources(a, x)
        if not self.deep or not any(self.leads_on(value) for value, _, _ in sources):
            return False
        steps = [(value, site, flow, flow.reverse().apply_range(to).coalesce()) for value, site, flow in sources]
        if not all(_countable(flow, to, onward) for _, _, flow, onward in steps):
            return False
        covered = isl.Set.empty(to.domain().get_space())
        for _, _, flow, _ in steps:
            covered = covered.union(flow.domain())
        if not to.domain().is_subset(covered):
            return False
        self.went_deep = True
        for value, site, _, onward in steps:
            self.add(value, site, onward)
        return True

    def leads_on(self, value: Value) -> bool:
        """Is it a collection, a copy of something, or nothing?"""
        return type(value) is self.op or isinstance(value, BufferLoad) or self.identity(value)

    def chain(self, bases: Bases, write: Event, to: isl.Map) -> None:
        """An accumulation: every store of its chain contributes its operand, and so does what was there before."""
        for member in bases.group:
            onward = bases.chain(write, member).apply_range(to).coalesce()
            if not onward.is_single_valued():
                raise Unclear(f"one store contributes to several sums in {write.buffer.name}")
            self.add(self.operand(member), member, onward)
        self.begin(bases, write, to)

    def operand(self, member: Event) -> Expr:
        """What a store adds."""
        own = self.side.own_load(member)
        value = member.stmt.value
        operand: Expr = value.b if value.a is own else value.a
        return operand

    def begin(self, bases: Bases, write: Event, to: isl.Map) -> None:
        """What was in memory before the first store of the chain."""
        for other in bases.others:
            begun = bases.base(write, other)
            onward = begun.reverse().apply_range(to).coalesce()
            value = other.stmt.value
            if self.op not in (Max, Min) and not self.identity(value) and not _countable(begun, to, onward):
                raise Unclear(f"one store begins several sums in {write.buffer.name}")
            self.add(value, other, onward)
        bare = bases.bare(write).domain()
        rest = to.intersect_domain(bare)
        if rest.is_empty():
            return
        if not self.side.flow.given(write.buffer):
            raise Unclear(f"a sum in {write.buffer.name} begins on undefined memory")
        self.found.append(Part(Given(write.buffer, bases.bare(write)), write, rest))


def _countable(flow: isl.Map, to: isl.Map, onward: isl.Map) -> bool:
    """Does every instance of the source stand for exactly one contribution to one result?"""
    return bool(onward.is_single_valued()) and bool(flow.range_product(to).is_injective())


def branches(side: Side, a: Value, x: Any) -> tuple[isl.Set, Expr, Expr] | None:
    """Of a conditional with an affine condition: the instances in which it holds, and both values."""
    if isinstance(a, Select):
        test, yes, no = a.condition, a.true_value, a.false_value
        if not exact_arithmetic(test, x.place.ranges):
            return None
    elif isinstance(a, Call) and a.op == "if_then_else":
        test, yes, no = a.args
    else:
        return None
    try:
        chosen = side.model.instance(x.name, x.place.dims, *x.place.domain, condition(test, x.place.env))
    except NotAffine:
        return None
    return chosen, yes, no
