"""Conflicts of two instances (rules loop.race, thread.race)."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product

from mlcref.ir import Buffer, BufferLoad, Const, Let, Var, walk
from mlcref.verify.prove_affine import NotAffine, affine
from mlcref.verify.prove_isl import isl
from mlcref.verify.prove_model import Event, Fork, Model
from mlcref.verify.prove_violations import Violation


def conflicts(model: Model, events: list[Event]) -> Iterator[tuple[Event, Event, isl.Map]]:
    """Pairs of accesses of one buffer, one of them a write, with the instances that touch one cell."""
    by_buffer: dict[Buffer, list[Event]] = {}
    for event in events:
        by_buffer.setdefault(event.buffer, []).append(event)
    for used in by_buffer.values():
        writes = [event for event in used if event.kind == "write"]
        for write, other in product(writes, used):
            if other.kind == "read" or used.index(other) >= used.index(write):
                yield write, other, model.access(write).apply_range(model.access(other).reverse())


def loop_races(model: Model) -> Iterator[Violation]:
    """Rule loop.race: iterations of parallel and vectorized loops do not conflict."""
    return _races(model, threads=False)


def thread_races(model: Model) -> Iterator[Violation]:
    """Rule thread.race: threads do not conflict in one phase, nor blockIdx instances at all, unless they write the same
    bits."""
    return _races(model, threads=True)


def _races(model: Model, *, threads: bool) -> Iterator[Violation]:
    events = [event for event in model.events if any(fork.threads == threads for fork in event.place.forks)]
    for a, b, same_cell in conflicts(model, events):
        if same_cell.is_empty():
            continue
        common = [x for x, y in zip(a.place.forks, b.place.forks, strict=False) if x is y]
        for number, fork in enumerate(common):
            if fork.threads != threads:
                continue
            together = _alike(model, a, b, fork.around, fork.around)
            found = same_cell.intersect(together).subtract(_same(model, a, b, fork))
            for outer in common[:number]:
                if outer.name is None:  # two threads of a phase around the loop: a question of that phase
                    found = found.intersect(_same(model, a, b, outer))
            writes = threads and b.kind == "write"
            if writes and not found.is_empty():
                found = found.subtract(_same_bits(model, a, b, fork, found))
            subject = f"two threads of {fork.what}" if threads else f"two iterations of {fork.what}"
            exact = a.exact and b.exact and fork.certain and not writes
            yield Violation(found, f"{subject} conflict on {a.buffer.name}", (a.place, b.place), exact)


def _alike(model: Model, a: Event, b: Event, left: tuple[str, ...], right: tuple[str, ...]) -> isl.Map:
    """Pairs of instances with equal values of ``left`` and ``right``."""
    keys = [model.relation(e.name, e.place.dims, "K", texts) for e, texts in ((a, left), (b, right))]
    return keys[0].apply_range(keys[1].reverse())


def _same(model: Model, a: Event, b: Event, fork: Fork) -> isl.Map:
    """Pairs of instances in one iteration of ``fork``."""
    (label, left), (other, right) = a.place.iteration(fork), b.place.iteration(fork)
    if label != other:
        return _alike(model, a, b, ("0",), ("1",))
    return _alike(model, a, b, left, right)


def _same_bits(model: Model, a: Event, b: Event, fork: Fork, found: isl.Map) -> isl.Map:
    """Of the pairs ``found``, those that certainly store the same value: a constant, or the same function of the same
    elements, which nobody writes meanwhile."""
    none = isl.Map.empty(found.get_space())
    if a.stmt is not b.stmt:
        x, y = a.stmt.value, b.stmt.value
        constants = isinstance(x, Const) and isinstance(y, Const) and (x.type, repr(x.value)) == (y.type, repr(y.value))
        return found if constants else none
    written = {event.buffer for event in model.writes() if fork in event.place.forks}
    for node in walk(a.stmt.value):
        if isinstance(node, Let):
            return none
        if isinstance(node, BufferLoad):
            events = model.loads_of(a.stmt, node)
            if len(events) != 1 or not events[0].exact or events[0].place.domain != a.place.domain:
                return none
            if events[0].buffer in written:
                return none
            access = model.access(events[0]).set_tuple_name(isl.dim_type.in_, a.name)
            found = found.intersect(access.apply_range(access.reverse()))
        if isinstance(node, Var):
            try:
                value = (affine(node, a.place.env),)
            except NotAffine:
                return none
            found = found.intersect(_alike(model, a, b, value, value))
    return found
