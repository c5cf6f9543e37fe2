"""Array dataflow: which store did a loaded value come from (Feautrier, "Dataflow analysis of array and scalar
references", 1991), computed by isl."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from mlcref.ir import Buffer
from mlcref.verify.prove_isl import isl
from mlcref.verify.prove_model import Event, Model, lexicographic
from mlcref.verify.prove_violations import PROVED, UNKNOWN, Proof, Unclear, Violation, refuted


class Flow:
    """The last writers of everything that is read, and of the parameters in the end.

    ``uncertain``: buffers with a store of which it is not known exactly when it runs or where it writes. There, a
    source is a store that certainly ran, though another may have followed.
    """

    def __init__(self, model: Model, poison: Sequence[str] = ()) -> None:
        if model.unordered:
            raise Unclear(model.unordered)
        self.model, self.poison = model, tuple(poison)
        self.uncertain = {event.buffer for event in model.writes() if not event.exact}
        self.finals = {buffer: f"F{k}" for k, buffer in enumerate(model.func.buffers)}
        sinks, sources = isl.UnionMap("{ }"), isl.UnionMap("{ }")
        times = isl.UnionMap("{ }")
        for event in model.events:
            if event.kind == "write" and not event.exact:
                continue
            times = times.union(isl.UnionMap.from_map(self.time(event)))
            access = isl.UnionMap.from_map(model.access(event))
            if event.kind == "read":
                sinks = sinks.union(access)
            else:
                sources = sources.union(access)
        for buffer in self.finals:
            sinks = sinks.union(isl.UnionMap.from_map(self.final(buffer)))
            times = times.union(isl.UnionMap.from_map(self.end(buffer)))
        self.result = self.compute(sinks, sources, times)
        self.dependence = self.result.get_must_dependence()
        self.missing = self.result.get_must_no_source()

    @staticmethod
    def compute(sinks: isl.UnionMap, sources: isl.UnionMap, times: isl.UnionMap) -> isl.UnionFlow:
        """isl's dataflow analysis. The answer is checked (every load is accounted for, stores are of the same element):
        given accesses whose equalities are hidden, isl has been seen to lose loads that no store precedes."""
        sinks, sources = sinks.detect_equalities(), sources.detect_equalities()
        result = isl.UnionAccessInfo.from_sink(sinks).set_must_source(sources).set_schedule_map(times).compute_flow()
        dependence = result.get_must_dependence()
        answered = dependence.range().union(result.get_must_no_source().domain())
        if not sinks.domain().is_subset(answered):
            raise Unclear("isl's dataflow analysis does not account for every load")
        if not dependence.is_subset(sources.apply_range(sinks.reverse())):
            raise Unclear("isl's dataflow analysis found stores of other elements")
        return result

    def time(self, event: Event) -> isl.Map:
        """From instances to times; the end of the program comes behind all of them."""
        return self.stamp(event.name, event.place.dims, event.time, event.place.domain)

    def stamp(self, name: str, dims: Sequence[str], time: Sequence[str], domain: Sequence[str]) -> isl.Map:
        """From ``name[dims]`` to a time of full length."""
        padded = ["0", *time, *["0"] * (self.model.depth - len(time))]
        return self.model.relation(name, dims, "", padded, *domain)

    def final(self, buffer: Buffer) -> isl.Map:
        """The reads of the caller: every element of a parameter, in the end."""
        cells = self.model.cells(buffer)
        name = self.finals[buffer]
        return cells.identity().set_tuple_name(isl.dim_type.in_, name)

    def end(self, buffer: Buffer) -> isl.Map:
        """When the caller reads."""
        dims = [f"d{k}" for k in range(len(buffer.shape))]
        return self.model.relation(self.finals[buffer], dims, "", ["1", *["0"] * self.model.depth])

    def before(self, a: Event, b: tuple[str, tuple[str, ...], tuple[str, ...]]) -> isl.Map:
        """Pairs of instances, the first earlier; ``b`` is a name, its dimensions and its time."""
        later = lexicographic(("", ""), self.model.depth + 1, strict=True)
        return self.time(a).apply_range(later).apply_range(self.stamp(*b, ()).reverse())

    def source(self, read: Event | Buffer, write: Event) -> isl.Map:
        """From the instances of a load (or of the final read of a parameter) to the store its value came from."""
        space = self._pair(self._name(read), self._arity(read), write.name, len(write.place.dims))
        return self.dependence.extract_map(space).reverse()

    def unwritten(self, read: Event | Buffer) -> isl.Map:
        """From instances of a load to the cell, where nothing was written to it before."""
        buffer = read if isinstance(read, Buffer) else read.buffer
        cell = self.model.head(buffer) + len(buffer.shape)
        text = self.model.text(
            f"{self._name(read)}[{_names('a', self._arity(read))}] -> {self.model.tuples[buffer]}[{_names('b', cell)}]"
        )
        return self.missing.extract_map(isl.Map(text).get_space())

    def _name(self, read: Event | Buffer) -> str:
        return self.finals[read] if isinstance(read, Buffer) else read.name

    def _arity(self, read: Event | Buffer) -> int:
        return len(read.shape) if isinstance(read, Buffer) else len(read.place.dims)

    def _pair(self, read: str, dims: int, write: str, other: int) -> isl.Space:
        """The space from stores to loads, as dependences go."""
        text = f"{write}[{_names('b', other)}] -> {read}[{_names('a', dims)}]"
        return isl.Map(self.model.text(text)).get_space()

    def given(self, buffer: Buffer) -> bool:
        """Does the memory of ``buffer`` have content from the start?"""
        return buffer in self.finals and buffer.name not in self.poison

    def undefined_reads(self) -> Iterator[tuple[Event, isl.Set]]:
        """Loads, where they may find nothing, and where it matters."""
        for event in self.model.reads():
            if self.given(event.buffer):
                continue
            found = self.unwritten(event).domain()
            if event.used:
                found = found.intersect(self.model.access(event, used=True).domain())
            if not found.is_empty():
                yield event, found


def _names(prefix: str, count: int) -> str:
    return ", ".join(f"{prefix}{k}" for k in range(count))


# --- rules value.undefined, memory.output, block.coverage ---

_ROUNDS = 16


def tainted(flow: Flow) -> dict[Event, isl.Set]:
    """Of each store: instances that certainly store an undefined value; not all, when it takes many steps to see."""
    model = flow.model
    found: dict[Event, isl.Set] = {}
    stored = {event.stmt: event for event in model.writes()}
    certain = [e for e in model.reads() if e.exact and e.known and e.buffer not in flow.uncertain]
    reads = [e for e in certain if e.stmt in stored and not e.decides]
    wrong = {e: s for e, s in flow.undefined_reads() if e in reads}
    for _ in range(_ROUNDS):
        changed = False
        for read in reads:
            bad = wrong.get(read)
            for write, instances in found.items():
                via = flow.source(read, write).intersect_range(instances).domain()
                if not via.is_empty():
                    via = via.intersect(model.access(read, used=True).domain())
                    bad = via if bad is None else bad.union(via)
            if bad is None or bad.is_empty():
                continue
            write = stored[read.stmt]
            here = bad.set_tuple_name(write.name)
            known = found.get(write)
            if known is None or not here.is_subset(known):
                found[write] = here if known is None else known.union(here).coalesce()
                changed = True
        if not changed:
            break
    return found


def undefined(model: Model, flow: Flow) -> Proof:
    """Rule value.undefined: what decides is defined."""
    rule = "value.undefined"
    deciding = [event for event in model.reads() if event.decides]
    if not deciding:
        return Proof(rule, PROVED, "no loaded value decides what runs or where")
    missing = list(flow.undefined_reads())
    if not missing:
        return Proof(rule, PROVED, "every load finds what an earlier store left")
    bad = tainted(flow)
    for read in deciding:
        found = dict(missing).get(read, isl.Set.empty(flow.unwritten(read).domain().get_space()))
        for write, instances in bad.items():
            found = found.union(flow.source(read, write).intersect_range(instances).domain())
        if read.exact and read.known and read.buffer not in flow.uncertain and not found.is_empty():
            what = f"{read.buffer.name} is used before it has a value"
            return refuted(rule, model, Violation(found, what, (read.place,)))
    event = missing[0][0]
    return Proof(rule, UNKNOWN, f"{event.buffer.name} may be read before it is written, and some value decides")


def output(model: Model, flow: Flow) -> Proof:
    """Rule memory.output: in the end every element of every parameter has a value."""
    rule = "memory.output"
    missing = list(flow.undefined_reads())
    holes = [(b, flow.unwritten(b).domain()) for b in flow.finals if not flow.given(b)]
    holes = [(b, found) for b, found in holes if not found.is_empty()]
    if not missing and not holes:
        return Proof(rule, PROVED, "every load finds what an earlier store left")
    for buffer, found in [*holes, *_tainted_outputs(flow)]:
        if buffer not in flow.uncertain:
            proof = refuted(rule, model, Violation(found, f"an element of {buffer.name} is undefined in the end", ()))
            return Proof(rule, proof.status, proof.detail, proof.sizes)
    buffer = holes[0][0] if holes else missing[0][0].buffer
    return Proof(rule, UNKNOWN, f"{buffer.name} may be read before it is written; whether that matters is not known")


def _tainted_outputs(flow: Flow) -> Iterator[tuple[Buffer, isl.Set]]:
    for write, instances in tainted(flow).items():
        for buffer in flow.finals:
            if buffer is write.buffer:
                found = flow.source(buffer, write).intersect_range(instances).domain()
                if not found.is_empty():
                    yield buffer, found


def coverage(model: Model, flow: Flow) -> Iterator[Violation]:
    """Rule block.coverage: an output that is written is written in full, unless its old content is read."""
    for buffer in flow.finals:
        writes = [event for event in model.writes() if event.buffer is buffer]
        if not writes:
            continue
        holes = flow.unwritten(buffer).domain()
        if holes.is_empty():
            continue
        for event in [*writes, *(e for e in model.reads() if e.buffer is buffer)]:
            if not event.exact:
                raise Unclear(f"whether {buffer.name} is covered depends on what is not modelled")
        touched = isl.Set.empty(holes.params().get_space())
        updated = touched
        for event in writes:
            touched = touched.union(model.access(event).domain().params())
        for event in model.reads():
            if event.buffer is buffer:
                updated = updated.union(flow.unwritten(event).domain().params())
        found = holes.intersect_params(touched.subtract(updated))
        yield Violation(found, f"an element of {buffer.name} is never written", ())
