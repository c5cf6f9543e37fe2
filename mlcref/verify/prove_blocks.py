"""Epochs of reductions and repeated points (rules block.init, block.repeat, block.epoch, block.spatial).

Instances of one block run in the order of their times: that of the loops around it, but threads in lock step come last.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

from mlcref.verify.prove_flow import Flow
from mlcref.verify.prove_isl import isl
from mlcref.verify.prove_model import Event, Frame, Model, lexicographic
from mlcref.verify.prove_violations import Unclear, Violation


@dataclass
class Instances:
    """The instances of a block with an init: which share a key, which start an epoch."""

    model: Model
    frame: Frame

    @cached_property
    def all(self) -> isl.Set:
        """Every instance."""
        return self.model.instance("I", self.frame.place.dims, *self.frame.place.domain)

    def map(self, texts: list[str | None]) -> isl.Map:
        """From instances to the parent instance and ``texts``."""
        place = self.frame.place
        out = [*place.dims[: self.frame.outer], *(str(text) for text in texts)]
        return self.model.relation("I", place.dims, "K", out, *place.domain)

    @cached_property
    def key(self) -> isl.Map:
        """From instances to keys: parent instance and iterators that are not reduced."""
        return self.map(self.frame.of_kind("spatial", "opaque", "scan"))

    @cached_property
    def point(self) -> isl.Map:
        """From instances to reduce points."""
        place = self.frame.place
        return self.model.relation(
            "I", place.dims, "P", [str(text) for text in self.frame.of_kind("reduce")], *place.domain
        )

    @cached_property
    def starts(self) -> isl.Set:
        """Instances in which init runs."""
        frame, place = self.frame, self.frame.place
        pairs = zip(frame.iters, frame.bindings, frame.domains, strict=True)
        first = [f"{text} = {domain[0]}" for it, text, domain in pairs if it.iter_type == "reduce" and domain]
        return self.model.instance("I", place.dims, *place.domain, *first)

    @cached_property
    def same_key(self) -> isl.Map:
        """Pairs of instances of one key."""
        return self.key.apply_range(self.key.reverse())

    def order(self, *, strict: bool) -> isl.Map:
        """Pairs of instances, the second later (or the same)."""
        place = self.frame.place
        count = len(place.dims)
        ordered = [step for step in place.time if step in place.dims]
        ordered += [dim for dim in place.dims if dim not in ordered]
        if ordered == list(place.dims):
            return lexicographic(("I", "I"), count, strict=strict)
        time = self.model.relation("I", place.dims, "", ordered)
        return time.apply_range(lexicographic(("", ""), count, strict=strict)).apply_range(time.reverse())

    @cached_property
    def within(self) -> isl.Map:
        """Pairs of one key, the second not before the first, with no later start up to the second."""
        after = self.same_key.intersect(self.order(strict=True))
        to_start = after.intersect_range(self.starts)
        onward = self.same_key.intersect(self.order(strict=False))
        return onward.subtract(to_start.apply_range(onward))


def reductions(model: Model) -> Iterator[Instances]:
    """Blocks with an init and a reduce iterator."""
    for frame in model.frames:
        if frame.node.block.init is not None and frame.reduces:
            if not frame.exact:
                raise Unclear(f"the instances of block {frame.name} are not known exactly")
            yield Instances(model, frame)


def inits(model: Model) -> Iterator[Violation]:
    """Rule block.init: an instance that starts an epoch comes before every update."""
    for block in reductions(model):
        earlier = block.same_key.intersect(block.order(strict=False).reverse()).intersect_range(block.starts)
        found = block.all.subtract(earlier.domain())
        yield Violation(found, f"block {block.frame.name} updates before its init", (block.frame.place,))


def repeats(model: Model) -> Iterator[Violation]:
    """Rule block.repeat: in one epoch each reduce point comes once."""
    for block in reductions(model):
        if block.key.range_product(block.point).is_injective():
            continue
        same_point = block.point.apply_range(block.point.reverse())
        found = block.within.intersect(same_point).intersect(block.order(strict=True))
        what = f"block {block.frame.name} runs a reduce point twice in one epoch"
        yield Violation(found, what, (block.frame.place, block.frame.place))


def epochs(model: Model, flow: Flow) -> Iterator[Violation]:
    """Rule block.epoch: epochs are complete, and nobody reads before they are."""
    for block in reductions(model):
        if any(block.frame in frame.place.frames or frame in block.frame.place.frames
               for frame in model.frames if frame.node.block.init is not None):  # fmt: skip
            raise Unclear(f"block {block.frame.name} has an init and contains or is in a block with an init")
        ever = block.same_key.intersect_domain(block.starts).apply_range(block.point)
        seen = block.within.intersect_domain(block.starts).apply_range(block.point)
        what = f"an epoch of block {block.frame.name} ends before all its reduce points were seen"
        yield Violation(ever.subtract(seen).domain(), what, (block.frame.place,))
        yield from _early_readers(model, flow, block)


def _early_readers(model: Model, flow: Flow, block: Instances) -> Iterator[Violation]:
    """Reads, by others, of an element of an epoch that goes on afterwards."""
    if block.key.is_injective():
        return
    frame = block.frame
    for write in model.writes():
        if frame not in write.place.frames:
            continue
        owner = _projection(model, write, frame)
        for read in model.reads():
            if frame in read.place.frames or read.buffer is not write.buffer:
                continue
            used = flow.source(read, write)
            if used.is_empty():
                continue
            if not read.exact or read.buffer in flow.uncertain:
                raise Unclear("which values are read is not known exactly")
            goes_on = block.within.intersect(block.order(strict=True))
            continued = used.apply_range(owner).apply_range(goes_on)
            later = flow.before(read, _entry(block))
            found = continued.intersect(later)
            yield Violation(found.domain(), f"{read.buffer.name} is read before block {frame.name} has finished it",
                            (read.place,))  # fmt: skip


def _entry(block: Instances) -> tuple[str, tuple[str, ...], tuple[str, ...]]:
    """Name, dimensions and time of the instances themselves."""
    place = block.frame.place
    return "I", place.dims, place.time


def _projection(model: Model, event: Event, frame: Frame) -> isl.Map:
    dims = event.place.dims
    return model.relation(event.name, dims, "I", dims[: len(frame.place.dims)])


def repetitions(model: Model) -> Iterator[Violation]:
    """Rule block.spatial, second half: a point that runs twice does not read what it writes."""
    for frame in model.frames:
        if not frame.iters or any(it.iter_type != "spatial" for it in frame.iters):
            continue
        if None in frame.bindings:
            raise Unclear(f"a binding of block {frame.name} is not affine")
        block = Instances(model, frame)
        if block.key.is_injective():
            continue
        events = [event for event in model.events if frame in event.place.frames]
        different = lexicographic(("I", "I"), len(frame.place.dims), strict=True)
        twice = block.same_key.intersect(different.union(different.reverse())).domain()
        for read in events:
            writes = [event for event in events if event.kind == "write" and event.buffer is read.buffer]
            if read.kind == "write" or not writes:
                continue
            first = _reads_first(model, read, writes, frame)
            for write in writes:
                both = first.intersect(_cells(model, write, frame))
                found = both.domain().intersect(twice)
                exact = frame.exact and read.exact and all(w.exact for w in writes)
                what = f"block {frame.name} runs a point twice and reads what it writes there"
                yield Violation(found, what, (frame.place,), exact)


def _cells(model: Model, event: Event, frame: Frame) -> isl.Map:
    """From instances of the block to the cells that ``event`` touches in them."""
    return _projection(model, event, frame).reverse().apply_range(model.access(event))


def _reads_first(model: Model, read: Event, writes: list[Event], frame: Frame) -> isl.Map:
    """The cells that an instance of the block reads before it has written them."""
    access = model.access(read)
    covered = isl.Map.empty(access.get_space())
    count = len(frame.place.dims)
    for write in writes:
        if not write.exact:
            continue
        x, y = [f"x{k}" for k in range(len(read.place.dims))], [f"y{k}" for k in range(len(write.place.dims))]
        same = model.relation(read.name, x, write.name, y, *(f"{x[k]} = {y[k]}" for k in range(count)))
        earlier = before_map(model, write, read).reverse().intersect(same)
        covered = covered.union(earlier.apply_range(model.access(write)).intersect(access))
    return _projection(model, read, frame).reverse().apply_range(access.subtract(covered))


def before_map(model: Model, a: Event, b: Event) -> isl.Map:
    """Pairs of instances of two events, the first earlier."""
    return model.schedule(a).apply_range(lexicographic(("", ""), model.depth, strict=True)).apply_range(
        model.schedule(b).reverse())  # fmt: skip
