"""Exactly which elements of a buffer a block writes: a box, or nothing that is known.

More than that is no help: a copy of elements that were not written would put something else over them.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from itertools import combinations

from mlcref.arith import Linear, Span, linear
from mlcref.ir import (
    Block,
    BlockRealize,
    Buffer,
    BufferLoad,
    BufferRegion,
    BufferStore,
    Const,
    For,
    LetStmt,
    PrimFunc,
    SeqStmt,
    Stmt,
    Var,
    any_node,
    buffers_used,
    variables,
    walk,
)
from mlcref.ir.index import stmt_children
from mlcref.schedule.find import loops_above
from mlcref.schedule.nest import Ranges, Spans, contains, executed, iterator_domain, iterator_ranges

Box = list[Span]


def written(
    func: PrimFunc, realize: BlockRealize, outer: Collection[Var], buffer: Buffer | None = None
) -> Spans | None:
    """Exactly the elements of ``buffer`` (None: its one output) that the block writes while all loops but ``outer``
    run, as a box; None when that is not known. It may stick out where a predicate keeps the block inside its domains.
    """
    if buffer is None:
        if len(realize.block.writes) != 1:
            return None
        buffer = realize.block.writes[0].buffer
    spans = executed(func, realize, outer, realize.predicate)
    own = _by_instance(func, realize, buffer)
    if spans is None or own is None:
        return None
    running = {loop.loop_var for loop in loops_above(func, realize)} - set(outer)
    if any(span.base.variables() & running for span in own):  # a loop that is used other than by the bindings
        return None
    by_var = {item.var: span for item, span in zip(realize.block.iter_vars, spans, strict=True)}
    result: Spans = []
    used: set[Var] = set()
    for span in own:
        composed = _compose(span, by_var, used)
        if composed is None:
            return None
        result.append(composed[0])
    return result


def _by_instance(func: PrimFunc, realize: BlockRealize, buffer: Buffer) -> Box | None:
    """What one instance of a block writes, over its iterators: all that it stores, under the buffer's name or another,
    is one box."""
    block, ranges = realize.block, iterator_ranges(realize.block.iter_vars)
    names: dict[Buffer, list[Linear]] = {buffer: [Linear()] * len(buffer.shape)}
    for match in block.match_buffers:
        if match.source.buffer is buffer:
            if len(match.buffer.shape) != len(buffer.shape):
                return None
            names[match.buffer] = [linear(dimension.min, ranges) for dimension in match.source.region]
    boxes: list[Box] = []
    for name, starts in names.items():
        for part in (block.body, *([] if block.init is None else [block.init])):
            found = _stored(func, part, name, ranges)
            if found is None:
                return None
            boxes += [[Span(s.base + start, s.lo, s.hi) for s, start in zip(b, starts, strict=True)] for b in found]
    return _one_box(boxes, ranges)


def _stored(func: PrimFunc, stmt: Stmt, buffer: Buffer, ranges: Ranges) -> list[Box] | None:
    """The boxes that a statement stores into a buffer; None where that depends on more than the iterators."""
    if isinstance(stmt, BufferStore):
        if stmt.buffer is not buffer:
            return []
        loaded = any(any_node(i, BufferLoad) for i in stmt.indices)
        return None if loaded else [[Span(linear(i, ranges), 0, 0) for i in stmt.indices]]
    if isinstance(stmt, SeqStmt):
        parts = [_stored(func, part, buffer, ranges) for part in stmt.seq]
        return None if any(part is None for part in parts) else [box for part in parts for box in part or ()]
    if isinstance(stmt, LetStmt):
        found = _stored(func, stmt.body, buffer, ranges)
        private = found is not None and any(stmt.var in span.base.variables() for box in found for span in box)
        return None if private else found
    if isinstance(stmt, For):
        stray = any(isinstance(part, BufferStore) and part.buffer is buffer for part in _outside_blocks(stmt))
        return None if stray else _stored(func, stmt.body, buffer, ranges)
    if isinstance(stmt, BlockRealize):
        if all(region.buffer is not buffer for region in stmt.block.writes):
            return []
        own = {loop.loop_var for loop in loops_above(func, stmt)}
        known = all(variables(conjunct) <= own for conjunct in stmt.predicate)
        spans = written(func, stmt, (), buffer) if known else None
        box = [span for span in spans or () if span is not None]
        return [box] if spans is not None and len(box) == len(spans) else None
    return None if buffer in buffers_used(stmt) else []


def _outside_blocks(stmt: Stmt) -> Iterator[Stmt]:
    yield stmt
    if not isinstance(stmt, BlockRealize):
        for part in stmt_children(stmt):
            yield from _outside_blocks(part)


def disjoint(a: Spans, b: Spans) -> bool:
    """Do two boxes provably have no element in common? None is all of a dimension."""
    for x, y in zip(a, b, strict=True):
        gap = None if x is None or y is None else (y.base - x.base).number()
        if x is not None and y is not None and gap is not None and (y.lo + gap > x.hi or y.hi + gap < x.lo):
            return True
    return False


def _one_box(boxes: list[Box], ranges: Ranges) -> Box | None:
    """The box that all of them make together, joined two at a time along one dimension."""
    left = list(boxes)
    while len(left) > 1:
        for i, j in combinations(range(len(left)), 2):
            joined = _joined(left[i], left[j], ranges)
            if joined is not None:
                left = [box for k, box in enumerate(left) if k not in (i, j)] + [joined]
                break
        else:
            return None
    return left[0] if left else None


def _joined(a: Box, b: Box, ranges: Ranges) -> Box | None:
    """The two as one, where they differ in one dimension at most and leave no gap there."""
    different = [d for d in range(len(a)) if not (contains(a[d], b[d], ranges) and contains(b[d], a[d], ranges))]
    if not different:
        return a
    d = different[0]
    gap = (b[d].base - a[d].base).number()
    if len(different) > 1 or gap is None:
        return None
    low, high = b[d].lo + gap, b[d].hi + gap
    if low > a[d].hi + 1 or high < a[d].lo - 1:
        return None
    return [*a[:d], Span(a[d].base, min(a[d].lo, low), max(a[d].hi, high)), *a[d + 1 :]]


def _compose(span: Span, values: Mapping[Var, Span | None], used: set[Var]) -> tuple[Span | None] | None:
    """The elements of ``span`` while its one iterator in ``values`` takes them, in a tuple, since None stands for all.
    """
    moving = span.base.only(lambda atom: not Linear({atom: 1}).variables().isdisjoint(values))
    rest = span.base - moving
    if not moving.terms:
        return (span,)
    atom, factor = next(iter(moving.terms.items()))
    if len(moving.terms) > 1 or not isinstance(atom, Var) or atom in used:
        return None
    used.add(atom)
    taken = values[atom]
    if taken is None:
        return (None,) if factor == 1 and span.extent == 1 and rest.shift(span.lo).number() == 0 else None
    if taken.lo != taken.hi and span.extent < abs(factor):
        return None
    first, last = (taken.lo, taken.hi) if factor > 0 else (taken.hi, taken.lo)
    return (Span(taken.base.scale(factor) + rest, factor * first + span.lo, factor * last + span.hi),)


def may_not_run(writer: BlockRealize) -> bool:
    """Has a block of it an iterator with a symbolic, perhaps empty domain that is no part of what is written?"""
    for block in (node for node in walk(writer) if isinstance(node, Block)):
        used = {var for region in block.writes for dimension in region.region for var in variables(dimension.min)}
        if any(not isinstance(item.dom.extent, Const) and item.var not in used for item in block.iter_vars):
            return True
    return False


def ends_inside(writer: BlockRealize, region: BufferRegion, d: int, span: Span | None) -> bool:
    """Does the span end where the writer's domain ends? It may stick out of the domain; the copy is cut at the buffer's
    end, so the two must be one."""
    form, extent = linear(region.region[d].min, {}), region.buffer.shape[d]
    if span is None or form.variables().isdisjoint(item.var for item in writer.block.iter_vars):
        return True
    for item in writer.block.iter_vars:
        factor = form.terms.get(item.var)
        domain = iterator_domain(item)
        if factor is not None and domain is not None:
            width = linear(region.region[d].extent, {}).number()
            whole = linear(extent, {}).number()
            if width is None or whole is None:
                return False
            ends = form.constant, factor * domain.hi + form.constant
            first, last = min(ends), max(ends) + width - 1
            return (first, last) == (0, whole - 1) or (not span.base.terms and first <= span.lo and span.hi <= last)
    return False
