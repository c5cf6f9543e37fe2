"""What is asked of a model, rule by rule: a question is answered by the emptiness of a set of violations."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import product

from mlcref.ir import Buffer, For, blocks_in
from mlcref.verify.prove_affine import NotAffine, affine, condition, type_range
from mlcref.verify.prove_isl import isl
from mlcref.verify.prove_model import Event, Frame, Model, Place

PROVED, REFUTED, UNKNOWN = "PROVED", "REFUTED", "UNKNOWN"
_SMALL = (1, 2, 3, 5, 9, 17, 65, 2**20)


@dataclass(frozen=True)
class Proof:
    """The answer about one rule. ``status`` is "PROVED", "REFUTED" or "UNKNOWN".

    Of a refutation, ``sizes`` are the values of shape variables and scalar parameters, ``instance`` the values of the
    loop variables, ``other`` those of the second instance where two conflict. ``detail`` says what was found, or why
    nothing is known.
    """

    rule: str
    status: str
    detail: str = ""
    sizes: Mapping[str, int] = field(default_factory=dict)
    instance: Mapping[str, int] = field(default_factory=dict)
    other: Mapping[str, int] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return self.status == PROVED

    def __str__(self) -> str:
        parts = [f"{self.rule}: {self.status}", self.detail]
        for title, values in (("sizes", self.sizes), ("at", self.instance), ("and", self.other)):
            if values:
                parts.append(f"{title} " + ", ".join(f"{name}={value}" for name, value in values.items()))
        return "; ".join(part for part in parts if part)


class Unclear(Exception):
    """A question that the model does not answer; the message says why."""


@dataclass
class Violation:
    """A set of instances (or a relation between instances) that would break a rule. ``certain``: does each of them?
    ``places`` are those of the instances."""

    found: isl.Set | isl.Map
    what: str
    places: tuple[Place, ...]
    certain: bool = True


Check = Callable[[Model], Iterator[Violation]]


def judge(rule: str, model: Model, check: Check) -> Proof:
    """Look for a violation; the first certain one refutes."""
    doubt = ""
    try:
        for violation in check(model):
            if violation.found.is_empty():
                continue
            if violation.certain:
                return refuted(rule, model, violation)
            doubt = doubt or f"not known: {violation.what}"
    except (Unclear, NotAffine) as error:
        return Proof(rule, UNKNOWN, str(error))
    return Proof(rule, UNKNOWN, doubt) if doubt else Proof(rule, PROVED)


def refuted(rule: str, model: Model, violation: Violation) -> Proof:
    """The refutation with a concrete instance, at small sizes where there are some."""
    wrapped = violation.found.wrap() if isinstance(violation.found, isl.Map) else violation.found
    found = _small(model, wrapped)
    if found is None:
        return Proof(rule, UNKNOWN, f"only at sizes beyond their types: {violation.what}")
    point = found.sample_point()
    names = found.get_var_names(isl.dim_type.param)
    sizes = {model.names[name]: _coordinate(point, isl.dim_type.param, k) for k, name in enumerate(names)}
    values = [_coordinate(point, isl.dim_type.set, k) for k in range(found.dim(isl.dim_type.set))]
    instances = []
    for place in violation.places:
        instances.append(place.values(values[: len(place.dims)]))
        values = values[len(place.dims) :]
    return Proof(rule, REFUTED, violation.what, sizes, *instances)


def _coordinate(point: isl.Point, kind: isl.dim_type, k: int) -> int:
    value: int = point.get_coordinate_val(kind, k).to_python()
    return value


def _small(model: Model, found: isl.Set) -> isl.Set | None:
    """``found`` with parameters that are as small as it allows, and inside of their types."""
    if not model.params:
        return found
    for limit in _SMALL:
        near = isl.Set(model.text(" : " + " and ".join(f"-{limit} <= {name} <= {limit}" for name in model.params)))
        restricted = found.intersect_params(near)
        if not restricted.is_empty():
            return restricted
    limits = {var: type_range(var.type) for var in (*model.func.shape_vars(), *model.func.scalars)}
    bounds = [limits[var] for var in limits if var.name in model.names.values()]
    low, high = max(b[0] for b in bounds), min(b[1] for b in bounds)
    near = isl.Set(model.text(" : " + " and ".join(f"{low} <= {name} <= {high}" for name in model.params)))
    restricted = found.intersect_params(near)
    return None if restricted.is_empty() else restricted


# --- one instance ---


def bounds(model: Model) -> Iterator[Violation]:
    """Rule memory.bounds: each index lies in its dimension."""
    for event in model.events:
        home = len(model.homes[event.buffer])
        for axis, (index, extent) in enumerate(zip(event.cell[home:], model.shapes[event.buffer], strict=True)):
            if index is None or extent is None:
                raise Unclear(f"an index or extent of {event.buffer.name} is not affine")
            outside = f"not (0 <= {index} < {extent})"
            found = model.instance(event.name, event.place.dims, *event.place.domain, outside)
            what = f"{event.buffer.name} is {event.kind} out of bounds in dimension {axis}"
            yield Violation(found, what, (event.place,), event.place.exact)


def domains(model: Model) -> Iterator[Violation]:
    """Rule block.domain: the value bound to an iterator lies in its domain."""
    for frame in model.frames:
        for it, value, domain in zip(frame.iters, frame.bindings, frame.domains, strict=True):
            if value is None or domain is None:
                raise Unclear(f"the binding or domain of {it.var.name} in block {frame.name} is not affine")
            outside = f"not ({domain[0]} <= {value} < {domain[0]} + {domain[1]})"
            found = model.instance("I", frame.place.dims, *frame.place.domain, outside)
            what = f"block {frame.name}: {it.var.name} is outside of its domain"
            yield Violation(found, what, (frame.place,), frame.place.exact)


def overflow(model: Model) -> Iterator[Violation]:
    """Rule value.index: index arithmetic stays in its type."""
    for node, place in model.computed:
        low, high = type_range(node.dtype)
        outside = f"not ({low} <= {affine(node, place.env)} <= {high})"
        found = model.instance("I", place.dims, *place.domain, outside)
        yield Violation(found, "index arithmetic overflows its type", (place,), place.exact)


def assertions(model: Model) -> Iterator[Violation]:
    """Rule stmt.assert: assertions hold."""
    for e, place in model.asserts:
        found = model.instance("I", place.dims, *place.domain, f"not ({condition(e, place.env)})")
        yield Violation(found, "an assertion does not hold", (place,), place.exact)


def regions(model: Model) -> Iterator[Violation]:
    """Rule block.regions: a block accesses what it declares, and so do the blocks around it."""
    for event in model.events:
        for frame in event.place.frames:
            if (not frame.iters and not frame.place.frames) or _allocates(frame, event.buffer):
                continue
            found = model.access(event)
            for box in _boxes(model, event, frame):
                found = found.subtract(box)
            what = f"block {frame.name} {event.kind}s what its T.{event.kind}s does not cover of {event.buffer.name}"
            yield Violation(found.domain(), what, (event.place,), event.exact)


def _allocates(frame: Frame, buffer: Buffer) -> bool:
    return any(buffer in block.alloc_buffers for block in blocks_in(frame.node))


def _boxes(model: Model, event: Event, frame: Frame) -> Iterator[isl.Map]:
    block = frame.node.block
    home = model.homes[event.buffer]
    for region in (*block.writes, *(block.reads if event.kind == "read" else ())):
        if region.buffer is not event.buffer:
            continue
        names, inside = [f"x{k}" for k in range(len(region.region))], []
        for name, r in zip(names, region.region, strict=True):
            low, count = affine(r.min, frame.place.env), affine(r.extent, frame.place.env)
            inside.append(f"{low} <= {name} < {low} + {count}")
        yield model.relation(event.name, event.place.dims, model.tuples[event.buffer], [*home, *names], *inside)


# --- two instances that conflict ---


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


def races(model: Model) -> Iterator[Violation]:
    """Rule loop.race: iterations of parallel and vectorized loops do not conflict."""
    forks: dict[For, list[Event]] = {}
    for event in model.events:
        for loop in event.place.loops:
            if loop.kind in ("parallel", "vectorized"):
                forks.setdefault(loop, []).append(event)
    for loop, events in forks.items():
        depth = events[0].place.loops.index(loop)
        shared = [event for event in events if len(model.homes[event.buffer]) <= depth]
        for a, b, same_cell in conflicts(model, shared):
            found = same_cell.intersect(apart(model, a, b, depth))
            what = f"two iterations of {loop.kind} {loop.loop_var.name} conflict on {a.buffer.name}"
            yield Violation(found, what, (a.place, b.place), a.exact and b.exact)


def apart(model: Model, a: Event, b: Event, depth: int) -> isl.Map:
    """Pairs of instances that agree on the loops above ``depth`` and differ in that one."""
    x, y = [f"x{k}" for k in range(len(a.place.dims))], [f"y{k}" for k in range(len(b.place.dims))]
    same = [f"{x[k]} = {y[k]}" for k in range(depth)]
    return model.relation(a.name, x, b.name, y, *same, f"{x[depth]} != {y[depth]}")


def alike(model: Model, a: Event, b: Event, count: int) -> isl.Map:
    """Pairs of instances that agree on the first ``count`` loops."""
    x, y = [f"x{k}" for k in range(len(a.place.dims))], [f"y{k}" for k in range(len(b.place.dims))]
    return model.relation(a.name, x, b.name, y, *(f"{x[k]} = {y[k]}" for k in range(count)))


def spatial(model: Model) -> Iterator[Violation]:
    """Rule block.spatial, first half: instances with different spatial values do not conflict."""
    for frame in model.frames:
        values = frame.of_kind("spatial")
        if not values:
            continue
        if None in values:
            raise Unclear(f"a spatial binding of block {frame.name} is not affine")
        events = [event for event in model.events if frame in event.place.frames]
        inside = [event for event in events if len(model.homes[event.buffer]) <= len(frame.place.dims)]
        for a, b, same_cell in conflicts(model, inside):
            found = same_cell.intersect(alike(model, a, b, frame.outer))
            if found.is_empty():
                continue
            keys = [model.relation(e.name, e.place.dims, "K", [str(v) for v in values]) for e in (a, b)]
            found = found.subtract(keys[0].apply_range(keys[1].reverse()))
            what = f"block {frame.name}: two spatial points conflict on {a.buffer.name}"
            yield Violation(found, what, (a.place, b.place), a.exact and b.exact)
