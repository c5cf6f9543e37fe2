"""Move a block under a loop of another nest: compute_at (a producer to its consumers), reverse_compute_at (the other
way).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mlcref.arith import Span
from mlcref.ir import (
    BlockRealize,
    BufferRegion,
    Const,
    Expr,
    For,
    PrimFunc,
    Stmt,
    Token,
    Var,
    index,
    replace,
    replace_at,
    seq,
)
from mlcref.schedule.dataflow import (
    check_movable,
    check_races,
    check_scope,
    choose_position,
    input_writers,
    insert,
    keeps_contents,
    positions,
    shared_loops,
    uses_of,
)
from mlcref.schedule.dependence import reduce_loops
from mlcref.schedule.find import block_of, blocks_below, child_blocks, loop_of, loops_above, scope_of
from mlcref.schedule.nest import (
    Ranges,
    always_defined,
    carried,
    contains,
    covers_domains,
    executed,
    iterator_domain,
    needed,
    needed_by_all,
    nest,
    ranges_at,
    solve,
    split_predicate,
    tells_apart,
    written,
)
from mlcref.schedule.table import Handle, Pick, Primitive, Result, refusal, refuse, register
from mlcref.schedule.thread_scopes import shared_by_threads

Want = dict[int, Span | None]
"""Values of iterators by position; an iterator that is left out takes all values of its domain."""


@dataclass(frozen=True, slots=True)
class MoveFacts:
    """The block, the loop it goes under, its new nest and the place for it."""

    realize: BlockRealize
    loop: For
    moved: Stmt
    position: int


def build_move(func: PrimFunc, facts: MoveFacts) -> Result:
    """The block out of its old place and into its new one."""
    body = seq(*insert(facts.loop, facts.position, facts.moved))
    return replace_at(func, {facts.realize: None, facts.loop: replace(facts.loop, body=body)}), ()


def consume_loops_above(func: PrimFunc, block: Token, **_: Any) -> set[Handle]:
    """The loops around the block alone go stale."""
    realize = block_of(func, block)
    gone: set[Handle] = set()
    for around in reversed(loops_above(func, realize)):
        if blocks_below(around) != [realize]:
            break
        gone.add(around.loop_var)
    return gone


def _meet(func: PrimFunc, name: str, block: Token, loop: Var) -> tuple[BlockRealize, For, BlockRealize]:
    """The block, the loop, and the scope that they share (P1, P2)."""
    realize, target = block_of(func, block), loop_of(func, loop)
    scope = check_scope(func, f"{name}.P2", realize)
    marks = [(realize, "to be moved"), (target, "under this loop")]
    if scope_of(func, target) is not scope or target not in _loops_in(scope):
        what = f"block {realize.block.name} and loop {loop.name} are not in one scope"
        raise refusal(func, f"{name}.P1", what, marks)
    if target in set(index(func).above(realize)):
        raise refusal(func, f"{name}.P1", f"loop {loop.name} is above block {realize.block.name} already", marks)
    return realize, target, scope


def _loops_in(scope: BlockRealize) -> set[Stmt]:
    """Loops in the body of a block, outside the blocks in it."""
    found: set[Stmt] = set()
    stack = [scope.block.body]
    while stack:
        stmt = stack.pop()
        if isinstance(stmt, For):
            found.add(stmt)
            stack.append(stmt.body)
        stack.extend(getattr(stmt, "seq", ()))
    return found


def plan_compute_at(
    func: PrimFunc, block: Token, loop: Var, preserve_unit_loops: bool = False, index: int = -1
) -> MoveFacts:
    """Move a producer under a loop of its consumers: each iteration computes what they need in it.

    The new loops ``ax0 …`` run through the iterators in their order; loops of extent 1 are left out unless
    ``preserve_unit_loops``. ``index`` is the place among the statements of the loop: -1 the last one possible (before
    the first consumer), -2 the first one possible.

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
    >>> (j,) = sch.get_loops("C")
    >>> sch.compute_at("B", j)
    >>> print(shown(sch))
    B = T.alloc_buffer((8,))
    for j in range(8):
        with T.block("B"):
            vi = T.axis.spatial(8, j)
            B[vi] = A[vi] * T.float32(2.0)
        with T.block("C"):
            vj = T.axis.spatial(8, j)
            C[vj] = B[vj] + T.float32(1.0)

    Source: TVM ``compute_at``.
    """
    name = "compute_at"
    realize, target, scope = _meet(func, name, block, loop)
    output = check_movable(func, f"{name}.P3", realize, scope)
    consumers = _consumers_below(func, realize, target, scope, output)
    _check_inputs(func, realize, target, scope, output)
    ranges = ranges_at(func, target)
    loops = [*loops_above(func, target), target]
    around = {outer.loop_var for outer in loops if not shared_by_threads(output.buffer, outer)}
    uses = [use for use in uses_of(child_blocks(scope), output.buffer) if use[0] is not realize]
    want = _spatial(realize, solve(realize, output, needed_by_all(func, uses, around)))
    keep = _regenerated(func, name, realize, target)
    _check_instances(func, realize, target, scope, want)
    place = choose_position(func, f"{name}.P8", target, 0, positions(target, consumers)[0], index)
    moved = nest(realize, want, ranges, keep, units=preserve_unit_loops)
    facts = MoveFacts(realize, target, moved, place)
    check_races(func, f"{name}.P9", build_move(func, facts)[0], [(realize, "to be moved"), (target, "under this loop")])
    return facts


def _consumers_below(
    func: PrimFunc, realize: BlockRealize, target: For, scope: BlockRealize, output: BufferRegion
) -> list[BlockRealize]:
    """The readers of the block's output, all of them under the loop, which comes after the block (P4, P5)."""
    name, buffer = realize.block.name, output.buffer
    marks: list[tuple[Any, str]] = [(realize, "to be moved"), (target, "under this loop")]
    if buffer not in scope.block.alloc_buffers:
        what = f"block {name} writes {buffer.name}, which is used outside block {scope.block.name}"
        refuse(func, "compute_at.P4", what, marks, "cache_write makes an intermediate buffer of an output")
    below = set(blocks_below(target))
    consumers = [b for b, _ in uses_of(child_blocks(scope), buffer) if b is not realize]
    if not consumers:
        raise refusal(func, "compute_at.P5", f"no block reads {buffer.name}", marks)
    for consumer in consumers:
        if consumer not in below:
            what = f"block {consumer.block.name} reads {buffer.name} and is not under loop {target.loop_var.name}"
            refuse(func, "compute_at.P5", what, [*marks, (consumer, "reads it")])
    order = index(func).order
    if order[realize] > order[target]:
        refuse(func, "compute_at.P5", f"block {name} comes after loop {target.loop_var.name}", marks)
    inside = [consumer for consumer in consumers if consumer in below]
    if not inside:
        raise refusal(func, "compute_at.P5", f"no reader of {buffer.name} is under loop {target.loop_var.name}", marks)
    return inside


def _check_inputs(
    func: PrimFunc, realize: BlockRealize, target: For, scope: BlockRealize, output: BufferRegion
) -> None:
    """What the block reads is there at the new place as it was at the old one, and complete (P6)."""
    input_writers(func, "compute_at.P6", realize, scope)
    shared = shared_loops(func, realize, target)
    if reduce_loops(realize) & shared:
        what = f"a loop around both block {realize.block.name} and loop {target.loop_var.name} feeds its reduction"
        refuse(func, "compute_at.P6", what, [(realize, "not finished there"), (target, "the loop")])


def _spatial(realize: BlockRealize, want: Mapping[int, Span | None]) -> Want:
    """The part of ``want`` that is about spatial iterators: a reduction always runs in full."""
    return {k: span for k, span in want.items() if realize.block.iter_vars[k].iter_type == "spatial"}


def _regenerated(func: PrimFunc, name: str, realize: BlockRealize, target: For) -> list[Expr]:
    """The conjuncts that the new nest keeps (P7)."""
    _, others = split_predicate(func, realize)
    kept = carried(func, realize, others)
    if kept is None:
        what = f"the predicate of block {realize.block.name} is not about its iterators"
        raise refusal(func, f"{name}.P7", what, [(realize, "has the predicate")])
    return kept


def _check_instances(func: PrimFunc, realize: BlockRealize, target: For, scope: BlockRealize, want: Want) -> None:
    """Every instance that the new nest may run is one that runs now, with the same contents of what it reads (P7)."""
    enumerating, _ = split_predicate(func, realize)
    shared = shared_loops(func, realize, target)
    inside = _stays_inside(func, realize, shared, enumerating, want, ranges_at(func, target))
    blocks = child_blocks(scope)
    alone = not keeps_contents(realize.block.writes[0].buffer, blocks, shared)
    spatial = [item for item in realize.block.iter_vars if item.iter_type == "spatial"]
    safe = always_defined(realize) or covers_domains(func, realize, enumerating)
    if not inside and not (alone and safe and tells_apart(realize, spatial)):
        what = f"the loops of block {realize.block.name} do not provably run through what its consumers need"
        refuse(func, "compute_at.P7", what, [(realize, "to be moved"), (target, "under this loop")])


def _stays_inside(
    func: PrimFunc, realize: BlockRealize, shared: set[Var], enumerating: list[Expr], want: Want, ranges: Ranges
) -> bool:
    """Does the block run through ``want`` in each iteration of the shared loops?"""
    taken = executed(func, realize, shared, enumerating)
    if taken is None:
        return False
    for k, (span, item) in enumerate(zip(taken, realize.block.iter_vars, strict=True)):
        domain = iterator_domain(item)
        if not contains(span, domain, ranges) and not contains(span, want.get(k, domain), ranges):
            return False
    return True


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
    realize, target, scope = _meet(func, name, block, loop)
    output = check_movable(func, f"{name}.P3", realize, scope)
    inside = _producers_below(func, realize, target, scope)
    _check_users_later(func, realize, target, scope, output)
    keep = _regenerated(func, name, realize, target)
    around = {outer.loop_var for outer in loops_above(func, target)} | {loop}
    shared = shared_loops(func, realize, target)
    want = _finished(func, realize, target, inside, around, shared)
    everything = _finished(func, realize, target, inside, shared, shared)
    _check_coverage(func, realize, target, want, everything, shared)
    last = max(positions(target, [producer for _, producer in inside]))
    parts = len(getattr(target.body, "seq", (target.body,)))
    place = choose_position(func, f"{name}.P8", target, last + 1, parts, index)
    moved = nest(realize, _spatial(realize, want), ranges_at(func, target), keep, units=preserve_unit_loops, exact=True)
    facts = MoveFacts(realize, target, moved, place)
    check_races(func, f"{name}.P9", build_move(func, facts)[0], [(realize, "to be moved"), (target, "under this loop")])
    return facts


def _producers_below(
    func: PrimFunc, realize: BlockRealize, target: For, scope: BlockRealize
) -> list[tuple[BufferRegion, BlockRealize]]:
    """The producers under the loop, finished in each iteration; the others come before the loop (P4, P5)."""
    rule, name = "reverse_compute_at.P4", realize.block.name
    below, order = set(blocks_below(target)), index(func).order
    found = input_writers(func, rule, realize, scope, single=True)
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
        if reduce_loops(producer) & around:
            what = f"the reduction of block {producer.block.name} is not finished inside loop {target.loop_var.name}"
            refuse(func, "reverse_compute_at.P5", what, [*marks, (producer, "goes on outside")],
                   "pick a loop outside the loops of the reduction")  # fmt: skip
    return inside


def _check_users_later(
    func: PrimFunc, realize: BlockRealize, target: For, scope: BlockRealize, output: BufferRegion
) -> None:
    """No block between the new place and the old one uses the output (P6)."""
    order = index(func).order
    marks: list[tuple[Any, str]] = [(realize, "to be moved"), (target, "under this loop")]
    if order[realize] < order[target]:
        what = f"block {realize.block.name} comes before loop {target.loop_var.name}"
        refuse(func, "reverse_compute_at.P6", what, marks)
    for user, _ in uses_of(child_blocks(scope), output.buffer):
        if order[user] < order[realize]:
            what = f"block {user.block.name} uses {output.buffer.name} before block {realize.block.name} writes it"
            refuse(func, "reverse_compute_at.P6", what, [*marks, (user, "uses it")])


def _finished(
    func: PrimFunc,
    realize: BlockRealize,
    target: For,
    inside: list[tuple[BufferRegion, BlockRealize]],
    around: set[Var],
    shared: set[Var],
) -> Want:
    """The iterator values whose reads the producers finish while all their loops but ``around`` run (P5)."""
    rule = "reverse_compute_at.P5"
    solutions: list[Want] = []
    ranges = ranges_at(func, target)
    marks: list[tuple[Any, str]] = [(realize, "to be moved"), (target, "under this loop")]
    for region, producer in inside:
        made = written(func, producer, around)
        if made is None:
            what = (
                f"what block {producer.block.name} finishes in an iteration of {target.loop_var.name} is no known box"
            )
            raise refusal(func, rule, what, [*marks, (producer, "the producer")])
        every = needed(func, realize, region, shared)
        partial = [None if contains(made[d], every[d], ranges) else made[d] for d in range(len(made))]
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
        solutions.append(solved)
    want = max(solutions, key=len)
    # Two producers that fix different iterators could leave out combinations of their values.
    if any(span is None or not _same(want.get(k), span) for solved in solutions for k, span in solved.items()):
        what = f"the producers of block {realize.block.name} finish different parts in an iteration"
        refuse(func, rule, what, marks)
    return want


def _same(a: Span | None, b: Span | None) -> bool:
    return a is not None and b is not None and contains(a, b, {}) and contains(b, a, {})


def _check_coverage(
    func: PrimFunc, realize: BlockRealize, target: For, want: Want, everything: Want, shared: set[Var]
) -> None:
    """Together the iterations run exactly the instances that run now, and none cuts a reduction (P7)."""
    marks = [(realize, "to be moved"), (target, "under this loop")]
    ranges = ranges_at(func, target)
    enumerating, _ = split_predicate(func, realize)
    taken = executed(func, realize, shared, enumerating)
    for k, item in enumerate(realize.block.iter_vars):
        domain = iterator_domain(item)
        if item.iter_type == "reduce" and not contains(want.get(k, domain), domain, ranges):
            what = f"the reduction over {item.var.name} would be cut into the iterations of {target.loop_var.name}"
            refuse(func, "reverse_compute_at.P7", what, [*marks, (item, "the iterator")])
        now = None if taken is None else _cut(taken[k], domain)
        then = _cut(everything.get(k, domain), domain)
        if taken is None or not contains(then, now, ranges) or not contains(now, then, ranges):
            what = f"the iterations would not provably run every instance of block {realize.block.name}, and no other"
            refuse(func, "reverse_compute_at.P7", what, [*marks, (item, "this iterator")])


def _cut(span: Span | None, domain: Span | None) -> Span | None:
    """A constant span cut to the domain; all of a domain as None, so that symbolic ones compare."""
    if span is None or domain is None or span.base.terms:
        return span
    lo, hi = span.lo + span.base.constant, span.hi + span.base.constant
    return Span(domain.base, max(lo, domain.lo), min(hi, domain.hi))


def _draw(pick: Pick, func: PrimFunc, reverse: bool) -> dict[str, Any] | None:
    """A block and a loop around one of the blocks that it feeds (reads from)."""
    pairs: list[tuple[BlockRealize, For]] = []
    for realize in index(func).blocks.values():
        if realize is func.body or not realize.block.iter_vars:
            continue
        own = {r.buffer for r in (realize.block.reads if reverse else realize.block.writes)}
        for other in child_blocks(scope_of(func, realize)):
            theirs = {r.buffer for r in (other.block.writes if reverse else other.block.reads)}
            if other is not realize and own & theirs:
                pairs += [(realize, loop) for loop in loops_above(func, other)]
    if not pairs:
        return None
    realize, loop = pick(pairs)
    return {
        "block": realize.block.token,
        "loop": loop.loop_var,
        "preserve_unit_loops": pick([False, True]),
        "index": pick([-1, -2]),
    }


def draw_compute_at(pick: Pick, func: PrimFunc) -> dict[str, Any] | None:
    """A producer and a loop around one of its consumers."""
    return _draw(pick, func, reverse=False)


def draw_reverse_compute_at(pick: Pick, func: PrimFunc) -> dict[str, Any] | None:
    """A consumer and a loop around one of its producers."""
    return _draw(pick, func, reverse=True)


_COMMON = {
    "P1": "the loop is in the scope of the block and not above it",
    "P2": "the block is in the body of its scope, where there are only loops and blocks",
    "P3": "the block is complete or a reduction with its init, and the only writer of its one output",
    "P8": "the index is after the producers and before the consumers under the loop",
    "P9": "no concurrent loop gets conflicting iterations, no thread another's private memory",
}
COMPUTE_AT = register(
    Primitive(
        "compute_at",
        {
            **_COMMON,
            "P4": "the output is allocated in the scope",
            "P5": "every reader of the output is under the loop, which comes after the block",
            "P6": "writers of what it reads come before it and are done; no loop left around it feeds its reduction",
            "P7": "the new nest runs only instances that run now: its loops cover the domains",
        },
        plan_compute_at,
        build_move,
        draw_compute_at,
        consume_loops_above,
        attributes=("preserve_unit_loops", "index"),
        forceable=frozenset({"P3", "P4", "P5", "P6", "P7", "P9"}),
    )
)
REVERSE_COMPUTE_AT = register(
    Primitive(
        "reverse_compute_at",
        {
            **_COMMON,
            "P4": "a producer is under the loop, the others are done before it; each input has one writer at most",
            "P5": "each iteration finishes what the block's instances in it read, element by element",
            "P6": "nothing uses the output before the block's old place",
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
