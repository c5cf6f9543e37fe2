"""Matched regions as names for parts of other buffers (rule memory.alias): an access of the region is an access of its
source, some elements further on."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

from mlcref.ir import Buffer, Expr, MatchBufferRegion, Var
from mlcref.verify.prove_affine import Env, NotAffine, affine
from mlcref.verify.prove_model import Limit, Model, NotModelled, Place

Text = str | None


@dataclass(frozen=True)
class Layout:
    """Extents, strides and offset of a buffer within its memory, in elements; None where they are not affine.
    ``match`` is what it was cut from and ``starts`` where, for a matched region."""

    shape: tuple[Text, ...]
    strides: tuple[Text, ...]
    offset: Text
    match: MatchBufferRegion | None = None
    starts: tuple[Text, ...] = ()


def text_of(e: Expr, env: Env) -> Text:
    """``e`` as text; None when it is not affine."""
    try:
        return affine(e, env)
    except NotAffine:
        return None


def in_source(match: MatchBufferRegion, indices: Sequence[Text], env: Env) -> tuple[Buffer, tuple[Text, ...]]:
    """The element of the source that ``indices`` of the region name."""
    starts = [text_of(r.min, env) for r in match.source.region]
    return match.source.buffer, shifted(starts, indices)


def shifted(starts: Sequence[Text], indices: Sequence[Text]) -> tuple[Text, ...]:
    """Indices of a region as indices of its source; the region lacks leading dimensions."""
    dropped = len(starts) - len(indices)
    return (*starts[:dropped], *(_sum(low, k) for low, k in zip(starts[dropped:], indices, strict=True)))


class Aliases:
    """The matched regions of a function."""

    def __init__(self, model: Model, let: set[Var]) -> None:
        self.model, self.let = model, let
        self.layouts: dict[Buffer, Layout] = {}

    def resolve(self, buffer: Buffer, indices: tuple[Text, ...]) -> tuple[Buffer, tuple[Text, ...]]:
        """The memory behind a name."""
        layout = self.layouts.get(buffer)
        while layout is not None and layout.match is not None:
            buffer, indices = layout.match.source.buffer, shifted(layout.starts, indices)
            layout = self.layouts.get(buffer)
        return buffer, indices

    def layout(self, buffer: Buffer, env: Env) -> Layout:
        """Of any buffer; memory that is no region is dense where no strides are declared."""
        if buffer not in self.layouts:
            if buffer not in self.model.shapes:
                raise NotModelled(f"{buffer.name} is another name of other memory, or has none")
            shape = self.model.shapes[buffer]
            strides = tuple(text_of(stride, env) for stride in buffer.strides) or _dense(shape)
            self.layouts[buffer] = Layout(shape, strides, "0")
        return self.layouts[buffer]

    def match(self, match: MatchBufferRegion, at: Place) -> Place:
        """Note a region; ``at`` with the variables that it gives values to."""
        buffer, region = match.buffer, match.source.region
        source = self.layout(match.source.buffer, at.env)
        if buffer.type != match.source.buffer.type:
            raise NotModelled(f"{buffer.name} reads {match.source.buffer.name} as another data type")
        starts = tuple(text_of(r.min, at.env) for r in region)
        extents = tuple(text_of(r.extent, at.env) for r in region)
        outside = f"{buffer.name} matches what is out of bounds in {match.source.buffer.name}"
        for low, extent, bound in zip(starts, extents, source.shape, strict=True):
            known = low is not None and extent is not None and bound is not None
            self.limit("memory.bounds", outside, f"({low} >= 0 and {low} + {extent} <= {bound})" if known else None, at)
        dropped = len(region) - len(buffer.shape)
        if dropped < 0:
            raise NotModelled(f"{buffer.name} has more dimensions than the region it matches")
        for extent in extents[:dropped]:
            self.agree("1", extent, match, at)
        offset: Text = source.offset
        for low, stride in zip(starts, source.strides, strict=True):
            offset = _sum(offset, _product(low, stride))
        at = self.unify(buffer.shape, extents[dropped:], match, at)
        at = self.unify(buffer.strides, source.strides[dropped:], match, at)
        at = self.unify(() if buffer.elem_offset is None else (buffer.elem_offset,), (offset,), match, at)
        self.layouts[buffer] = Layout(extents[dropped:], source.strides[dropped:], offset, match, starts)
        self.model.shapes[buffer] = extents[dropped:]
        return at

    def unify(self, declared: Sequence[Expr], actual: Sequence[Text], match: MatchBufferRegion, at: Place) -> Place:
        """Variables that have no value yet take theirs; everything else must agree."""
        for e, text in zip(declared, actual, strict=False):
            if isinstance(e, Var) and e not in at.ranges and e not in self.let:
                ranges = {**at.ranges, e: (-(2**63), 2**63 - 1)}
                at = dataclasses.replace(at, env={**at.env, e: text} if text else at.env, ranges=ranges)
            else:
                self.agree(text_of(e, at.env), text, match, at)
        return at

    def agree(self, declared: Text, actual: Text, match: MatchBufferRegion, at: Place) -> None:
        """Rule memory.alias."""
        holds = None if declared is None or actual is None else f"{declared} = {actual}"
        what = f"{match.buffer.name} has the shape, strides and offset of the region that it matches"
        self.limit("memory.alias", what, holds, at)

    def limit(self, rule: str, what: str, holds: Text, at: Place) -> None:
        """Note a condition."""
        self.model.limits.append(Limit(rule, what, holds, at))


def _sum(a: Text, b: Text) -> Text:
    if a is None or b is None:
        return None
    return a if b == "0" else b if a == "0" else f"({a} + {b})"


def _product(a: Text, b: Text) -> Text:
    if "0" in (a, b):
        return "0"
    if a is None or b is None:
        return None
    if not a.lstrip("-").isdigit():
        a, b = b, a
    if not a.lstrip("-").isdigit():
        return None
    return str(int(a) * int(b)) if b.lstrip("-").isdigit() else f"({a} * {b})"


def _dense(shape: Sequence[Text]) -> tuple[Text, ...]:
    """Row-major strides."""
    strides: list[Text] = ["1"]
    for extent in reversed(shape[1:]):
        strides.append(_product(extent, strides[-1]))
    return tuple(reversed(strides)) if shape else ()
