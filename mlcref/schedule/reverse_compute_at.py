"""Move a consumer under a loop of its producers: reverse_compute_at."""

from __future__ import annotations

from typing import Any

from mlcref.arith import Span, expr_key
from mlcref.ir import BlockRealize, BufferRegion, Const, For, IterVar, PrimFunc, Token, Var, variables
from mlcref.ir import index as index_of
from mlcref.schedule.compute_at import (
    COMMON,
    MoveFacts,
    Want,
    build_move,
    consume_loops_above,
    meet,
    regenerated,
    spatial_part,
)
from mlcref.schedule.dataflow import (
    check_movable,
    check_races,
    choose_position,
    going_on,
    input_writers,
    positions,
    shared_loops,
    uses_of,
)
from mlcref.schedule.dependence import reads_first
from mlcref.schedule.draws import draw_move
from mlcref.schedule.find import blocks_below, child_blocks, loops_above
from mlcref.schedule.nest import (
    Spans,
    contains,
    executed,
    in_bounds,
    iterator_domain,
    needed,
    nest,
    ranges_at,
    solve,
    split_predicate,
)
from mlcref.schedule.table import Pick, Primitive, refusal, refuse, register
from mlcref.schedule.written import written


def plan_reverse_compute_at(
    func: PrimFunc, block: Token, loop: Var, preserve_unit_loops: bool = False, index: int = -1
) -> MoveFacts:
    """Move a consumer under a loop of its producers: each iteration uses what they finish in it.

    The new loops ``ax0 …`` run through the iterators in their order; loops of extent 1 are left out unless
    ``preserve_unit_loops``. ``index`` is the place among the statements of the loop: -1 the last one possible, -2 the
    first one possible (after the last producer).

    >>> from mlcref.schedule.examples import Schedule, shown, two_stages
    >>> sch = Schedule(two_stages)
    >>> print(shown(sch))
    B = T.alloc_buffer((8,))
    for i in range(8):
        with T.block("B"):
            vi = T.axis.spatial(8, i)
            B[vi] = A[vi] * T.float32(2.0)
    for j in range(8):
        with T.block("C"):
            vj = T.axis.spatial(8, j)
            C[vj] = B[vj] + T.float32(1.0)
    >>> (i,) = sch.get_loops("B")
    >>> sch.reverse_compute_at("C", i)
    >>> print(shown(sch))
    B = T.alloc_buffer((8,))
    for i in range(8):
        with T.block("B"):
            vi = T.axis.spatial(8, i)
            B[vi] = A[vi] * T.float32(2.0)
        with T.block("C"):
            vj = T.axis.spatial(8, i)
            C[vj] = B[vj] + T.float32(1.0)

    Source: TVM ``reverse_compute_at``.
    """
    name = "reverse_compute_at"
    realize, target, scope = meet(func, name, block, loop)
    outputs = check_movable(func, f"{name}.P3", realize, scope, several=True)
    inside = _producers_below(func, realize, target, scope)
    if index_of(func).order[realize] < index_of(func).order[target]:
        what = f"block {realize.block.name} comes before loop {loop.name}"
        refuse(func, f"{name}.P6", what, [(realize, "to be moved"), (target, "under this loop")])
    keep = regenerated(func, name, realize, target)
    shared = shared_loops(func, realize, target)
    enumerating, _ = split_predicate(func, realize)
    taken = executed(func, realize, shared, enumerating)
    now: Want = {} if taken is None else _cut_short(realize, taken)
    each, together = _finished(func, realize, target, inside, shared)
    want, everything = {**now, **each}, {**now, **together}
    for k in each.keys() & now.keys() - together.keys():
        if not contains(now[k], each[k], ranges_at(func, target)):
            what = f"what is finished in an iteration of {loop.name} leads to instances that other iterations run now"
            refuse(func, f"{name}.P7", what, [(realize, "to be moved"), (target, "under this loop")])
    _check_coverage(func, realize, target, want, everything, taken)
    last = max(positions(target, [producer for _, producer in inside]))
    parts = len(getattr(target.body, "seq", (target.body,)))
    place = choose_position(func, f"{name}.P8", target, last + 1, parts, index)
    run = spatial_part(realize, want)
    moved = nest(realize, run, ranges_at(func, target), keep, units=preserve_unit_loops, exact=True)
    facts = MoveFacts(realize, target, moved, place)
    new = build_move(func, facts)[0]
    for output in outputs:
        _check_users(func, realize, target, scope, output, new)
    check_races(func, f"{name}.P9", new, [(realize, "to be moved"), (target, "under this loop")])
    return facts


def _producers_below(
    func: PrimFunc, realize: BlockRealize, target: For, scope: BlockRealize
) -> list[tuple[BufferRegion, BlockRealize]]:
    """The producers under the loop, finished in each iteration; the others come before the loop (P4, P5)."""
    rule, name = "reverse_compute_at.P4", realize.block.name
    below, order = set(blocks_below(target)), index_of(func).order
    found = input_writers(func, rule, realize, scope)
    marks: list[tuple[Any, str]] = [(realize, "to be moved"), (target, "under this loop")]
    for _, producer in found:
        if producer not in below and order[producer] > order[target]:
            what = f"block {producer.block.name}, which block {name} reads, comes after loop {target.loop_var.name}"
            refuse(func, rule, what, [*marks, (producer, "comes later")])
        if producer not in below and shared_loops(func, producer, target) - shared_loops(func, producer, realize):
            what = f"block {producer.block.name}, read by block {name}, goes on around loop {target.loop_var.name}"
            refuse(func, rule, what, [*marks, (producer, "not done there")])
    inside = [(region, producer) for region, producer in found if producer in below]
    if not inside:
        raise refusal(func, rule, f"no producer of block {name} is under loop {target.loop_var.name}", marks)
    around = {loop.loop_var for loop in loops_above(func, target)} | {target.loop_var}
    for _, producer in inside:
        if going_on(func, producer, around):
            what = f"the reduction of block {producer.block.name} is not finished inside loop {target.loop_var.name}"
            refuse(func, "reverse_compute_at.P5", what, [*marks, (producer, "goes on outside")],
                   "pick a loop outside the loops of the reduction")  # fmt: skip
    return inside


def _check_users(
    func: PrimFunc, realize: BlockRealize, target: For, scope: BlockRealize, output: BufferRegion, new: PrimFunc
) -> None:
    """What uses the output before the old place of the block still does so before ``new`` writes it (P6)."""
    order = index_of(func).order
    marks: list[tuple[Any, str]] = [(realize, "to be moved"), (target, "under this loop")]
    for user, _ in uses_of(child_blocks(scope), output.buffer):
        known = shared_loops(func, user, realize)
        if order[user] < order[realize] and not reads_first(
            new, user.block.token, realize.block.token, output.buffer, known
        ):
            what = f"block {user.block.name} uses {output.buffer.name} before block {realize.block.name} writes it"
            refuse(func, "reverse_compute_at.P6", what, [*marks, (user, "uses it")])


def _finished(
    func: PrimFunc,
    realize: BlockRealize,
    target: For,
    inside: list[tuple[BufferRegion, BlockRealize]],
    shared: set[Var],
) -> tuple[Want, Want]:
    """The iterator values whose reads the producers finish in an iteration of the loop, and in all of them while the
    ``shared`` loops stand still (P5)."""
    rule = "reverse_compute_at.P5"
    ranges, around = ranges_at(func, target), {loop.loop_var for loop in loops_above(func, target)} | {target.loop_var}
    marks: list[tuple[Any, str]] = [(realize, "to be moved"), (target, "under this loop")]
    solutions: list[tuple[Want, Want]] = []
    for region, producer in inside:
        made, total = (written(func, producer, outer, region.buffer) for outer in (around, shared))
        if made is None or total is None:
            what = (
                f"what block {producer.block.name} finishes in an iteration of {target.loop_var.name} is no known box"
            )
            raise refusal(func, rule, what, [*marks, (producer, "the producer")])
        every = needed(func, realize, region, shared)
        read = [in_bounds(span, size) for span, size in zip(every, region.buffer.shape, strict=True)]
        partial = [None if contains(span, read[d], ranges) else span for d, span in enumerate(made)]
        for d, span in enumerate(partial):
            extent = region.region[d].extent
            if span is not None and not (isinstance(extent, Const) and int(extent.value) == 1):
                what = f"an instance of block {realize.block.name} needs elements from several iterations"
                refuse(func, rule, what, [*marks, (producer, f"writes {region.buffer.name}")])
        solved = solve(realize, region, partial)
        if len(solved) < sum(span is not None for span in partial):
            what = (
                f"the elements of {region.buffer.name} do not say which instances of block {realize.block.name} to run"
            )
            refuse(func, rule, what, [*marks, (producer, f"writes {region.buffer.name}")])
        # No element leads to an instance that reads out of bounds, and so nothing: `every` counts then, not `read`.
        ends = [
            None if part is None or contains(span, wanted, ranges) else span
            for part, span, wanted in zip(partial, total, every, strict=True)
        ]
        solutions.append((solved, solve(realize, region, ends)))
    each = _agreed(func, realize, marks, [solved for solved, _ in solutions])
    return each, _agreed(func, realize, marks, [together for _, together in solutions])


def _agreed(func: PrimFunc, realize: BlockRealize, marks: list[tuple[Any, str]], solutions: list[Want]) -> Want:
    """What all producers agree on: two that fix different iterators could leave out combinations of their values."""
    want = max(solutions, key=len)
    if any(span is None or not _same(want.get(k), span) for solved in solutions for k, span in solved.items()):
        what = f"the producers of block {realize.block.name} finish different parts in an iteration"
        refuse(func, "reverse_compute_at.P5", what, marks)
    return want


def _cut_short(realize: BlockRealize, taken: Spans) -> Want:
    """Of the values that spatial iterators take now: those that are not the whole domain."""
    found: Want = {}
    for k, item in enumerate(realize.block.iter_vars):
        domain, span = iterator_domain(item), _cut(taken[k], iterator_domain(item))
        if item.iter_type == "spatial" and span is not None and not contains(span, domain, {}):
            found[k] = span
    return found


def _same(a: Span | None, b: Span | None) -> bool:
    return a is not None and b is not None and contains(a, b, {}) and contains(b, a, {})


def _check_coverage(
    func: PrimFunc, realize: BlockRealize, target: For, want: Want, everything: Want, taken: Spans | None
) -> None:
    """Together the iterations run exactly the instances that run now, and none cuts a reduction (P7)."""
    marks = [(realize, "to be moved"), (target, "under this loop")]
    ranges = ranges_at(func, target)
    for k, item in enumerate(realize.block.iter_vars):
        domain = iterator_domain(item)
        if item.iter_type == "reduce" and not contains(want.get(k, domain), domain, ranges):
            what = f"the reduction over {item.var.name} would be cut into the iterations of {target.loop_var.name}"
            refuse(func, "reverse_compute_at.P7", what, [*marks, (item, "the iterator")])
        now = None if taken is None else _cut(taken[k], domain)
        then = _cut(everything.get(k, domain), domain)
        unlike = domain is None and not _as_long_as_read(realize, item)
        if unlike or taken is None or not contains(then, now, ranges) or not contains(now, then, ranges):
            what = f"the iterations would not provably run every instance of block {realize.block.name}, and no other"
            refuse(func, "reverse_compute_at.P7", what, [*marks, (item, "this iterator")])


def _as_long_as_read(realize: BlockRealize, item: IterVar) -> bool:
    """Is a symbolic domain as long as each dimension that the iterator runs through?"""
    for region in realize.block.reads:
        for dimension, extent in zip(region.region, region.buffer.shape, strict=True):
            if item.var in variables(dimension.min) and expr_key(extent) != expr_key(item.dom.extent):
                return False
    return True


def _cut(span: Span | None, domain: Span | None) -> Span | None:
    """A constant span cut to the domain; all of a domain as None, so that symbolic ones compare."""
    if span is None or domain is None or span.base.terms:
        return span
    lo, hi = span.lo + span.base.constant, span.hi + span.base.constant
    return Span(domain.base, max(lo, domain.lo), min(hi, domain.hi))


def draw_reverse_compute_at(pick: Pick, func: PrimFunc) -> dict[str, Any] | None:
    """A consumer and a loop around one of its producers."""
    return draw_move(pick, func, reverse=True)


REVERSE_COMPUTE_AT = register(
    Primitive(
        "reverse_compute_at",
        {
            **COMMON,
            "P4": "a producer is under the loop, the others are done before it",
            "P5": "each iteration finishes what the block's instances in it read, element by element",
            "P6": "what uses the output before the block's old place does so before the new one, element by element",
            "P7": "together the iterations run the instances that run now, and none cuts a reduction",
        },
        plan_reverse_compute_at,
        build_move,
        draw_reverse_compute_at,
        consume_loops_above,
        attributes=("preserve_unit_loops", "index"),
        forceable=frozenset({"P3", "P4", "P5", "P6", "P7", "P9"}),
    )
)
