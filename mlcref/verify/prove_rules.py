"""What is asked of a model, rule by rule: a question is answered by the emptiness of a set of violations."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from mlcref.ir import Buffer, blocks_in
from mlcref.verify.prove_alias import in_source
from mlcref.verify.prove_affine import affine, condition, type_range
from mlcref.verify.prove_isl import isl
from mlcref.verify.prove_model import Event, Frame, Model
from mlcref.verify.prove_races import conflicts
from mlcref.verify.prove_violations import Check, Unclear, Violation

# --- one instance ---


def bounds(model: Model) -> Iterator[Violation]:
    """Rule memory.bounds: each index lies in its dimension."""
    for event in model.events:
        buffer, indices = event.via or (event.buffer, event.cell[model.head(event.buffer) :])
        for axis, (index, extent) in enumerate(zip(indices, model.shapes[buffer], strict=True)):
            if index is None or extent is None:
                raise Unclear(f"an index or extent of {buffer.name} is not affine")
            outside = f"not (0 <= {index} < {extent})"
            found = model.instance(event.name, event.place.dims, *event.place.domain, outside)
            what = f"{buffer.name} is {event.kind} out of bounds in dimension {axis}"
            yield Violation(found, what, (event.place,), event.place.exact)
    yield from limits("memory.bounds")(model)


def limits(rule: str) -> Check:
    """Conditions of ``rule`` that stand for themselves."""

    def check(model: Model) -> Iterator[Violation]:
        for limit in model.limits:
            if limit.rule != rule:
                continue
            if limit.holds is None:
                raise Unclear(f"not known: {limit.what}")
            found = model.instance("I", limit.place.dims, *limit.place.domain, f"not ({limit.holds})")
            yield Violation(found, limit.what, (limit.place,), limit.place.exact)

    return check


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
        buffer, indices = event.via or (event.buffer, event.cell[model.head(event.buffer) :])
        for frame in reversed(event.place.frames):
            for match in frame.node.block.match_buffers:
                if match.buffer is buffer:  # the block declares what it does in terms of the source
                    buffer, indices = in_source(match, indices, frame.place.env)
            if (not frame.iters and not frame.place.frames) or _allocates(frame, buffer):
                continue
            found = _touched(model, event, indices)
            for box in _boxes(model, event, frame, buffer):
                found = found.subtract(box)
            what = f"block {frame.name} {event.kind}s what its T.{event.kind}s does not cover of {buffer.name}"
            yield Violation(found.domain(), what, (event.place,), event.exact)


def _allocates(frame: Frame, buffer: Buffer) -> bool:
    return any(buffer in block.alloc_buffers for block in blocks_in(frame.node))


def _touched(model: Model, event: Event, indices: Sequence[str | None]) -> isl.Map:
    """From instances to the elements that they access, under the name that ``indices`` belong to."""
    texts = [f"free{k}" if text is None else text for k, text in enumerate(indices)]
    return model.relation(event.name, event.place.dims, "E", texts, *event.place.domain)


def _boxes(model: Model, event: Event, frame: Frame, buffer: Buffer) -> Iterator[isl.Map]:
    block = frame.node.block
    for region in (*block.writes, *(block.reads if event.kind == "read" else ())):
        if region.buffer is not buffer:
            continue
        names, inside = [f"x{k}" for k in range(len(region.region))], []
        for name, r in zip(names, region.region, strict=True):
            low, count = affine(r.min, frame.place.env), affine(r.extent, frame.place.env)
            inside.append(f"{low} <= {name} < {low} + {count}")
        yield model.relation(event.name, event.place.dims, "E", names, *inside)


# --- two instances that conflict ---


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
        inside = [event for event in events if set(model.homes[event.buffer]) <= set(frame.place.dims)]
        for a, b, same_cell in conflicts(model, inside):
            found = same_cell.intersect(alike(model, a, b, frame.outer))
            if found.is_empty():
                continue
            keys = [model.relation(e.name, e.place.dims, "K", [str(v) for v in values]) for e in (a, b)]
            found = found.subtract(keys[0].apply_range(keys[1].reverse()))
            what = f"block {frame.name}: two spatial points conflict on {a.buffer.name}"
            yield Violation(found, what, (a.place, b.place), a.exact and b.exact)
