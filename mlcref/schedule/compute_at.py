"""Move a block under a loop of another nest: compute_at (a producer to its consumers), and what it has in common with
reverse_compute_at.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mlcref.arith import Linear, Span, linear
from mlcref.ir import (
    BlockRealize,
    BufferRegion,
    Expr,
    For,
    PrimFunc,
    Stmt,
    Token,
    Var,
    constant,
    index,
    replace,
    replace_at,
    seq,
)
from mlcref.schedule.dataflow import (
    check_movable,
    check_not_overwritten,
    check_races,
    check_scope,
    choose_position,
    going_on,
    input_writers,
    insert,
    keeps_contents,
    positions,
    shared_loops,
    uses_of,
)
from mlcref.schedule.draws import draw_move
from mlcref.schedule.dependence import reduce_loops
from mlcref.schedule.find import (
    block_of, blocks_below, child_blocks, constant_extent, loop_of, loops_above, scope_of,
)  # fmt: skip
from mlcref.schedule.nest import (
    Ranges,
    always_defined,
    carried,
    contains,
    covers_domains,
    executed,
    iterator_domain,
    needed_by_all,
    nest,
    ranges_at,
    solve,
    split_predicate,
    tells_apart,
)
from mlcref.schedule.reducers import order_free
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


def meet(func: PrimFunc, name: str, block: Token, loop: Var) -> tuple[BlockRealize, For, BlockRealize]:
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
    realize, target, scope = meet(func, name, block, loop)
    outputs = check_movable(func, f"{name}.P3", realize, scope, several=True)
    consumers = _consumers_below(func, realize, target, scope, outputs)
    _check_inputs(func, realize, target, scope)
    ranges = ranges_at(func, target)
    loops = [*loops_above(func, target), target]
    around = {loop.loop_var for loop in loops if not any(shared_by_threads(o.buffer, loop) for o in outputs)}
    uses = _uses(realize, scope, outputs)
    want = spatial_part(realize, solve(realize, outputs[0], needed_by_all(func, uses, around)))
    keep = regenerated(func, name, realize, target)
    _check_instances(func, realize, target, scope, want)
    place = choose_position(func, f"{name}.P8", target, 0, positions(target, consumers)[0], index)
    moved = nest(realize, want, ranges, keep, units=preserve_unit_loops)
    facts = MoveFacts(realize, target, moved, place)
    new = build_move(func, facts)[0]
    check_not_overwritten(func, f"{name}.P6", realize, new, [realize.block.token])
    check_races(func, f"{name}.P9", new, [(realize, "to be moved"), (target, "under this loop")])
    return facts


def _uses(
    realize: BlockRealize, scope: BlockRealize, outputs: Sequence[BufferRegion]
) -> list[tuple[BlockRealize, BufferRegion]]:
    """The other blocks that read one of the outputs, with the regions."""
    found = [use for output in outputs for use in uses_of(child_blocks(scope), output.buffer)]
    return [use for use in found if use[0] is not realize]


def _consumers_below(
    func: PrimFunc, realize: BlockRealize, target: For, scope: BlockRealize, outputs: Sequence[BufferRegion]
) -> list[BlockRealize]:
    """The readers of the block's outputs, all of them under the loop, which comes after the block (P4, P5)."""
    name = realize.block.name
    marks: list[tuple[Any, str]] = [(realize, "to be moved"), (target, "under this loop")]
    for buffer in [output.buffer for output in outputs]:
        if buffer not in scope.block.alloc_buffers:
            what = f"block {name} writes {buffer.name}, which is used outside block {scope.block.name}"
            refuse(func, "compute_at.P4", what, marks, "cache_write makes an intermediate buffer of an output")
    buffer = outputs[0].buffer
    below = set(blocks_below(target))
    consumers = list(dict.fromkeys(b for b, _ in _uses(realize, scope, outputs)))
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


def _check_inputs(func: PrimFunc, realize: BlockRealize, target: For, scope: BlockRealize) -> None:
    """What the block reads is complete, and it is done itself (P6)."""
    input_writers(func, "compute_at.P6", realize, scope, later=True)
    if going_on(func, realize, shared_loops(func, realize, target)):
        what = f"a loop around both block {realize.block.name} and loop {target.loop_var.name} feeds its reduction"
        refuse(func, "compute_at.P6", what, [(realize, "not finished there"), (target, "the loop")])


def spatial_part(realize: BlockRealize, want: Mapping[int, Span | None]) -> Want:
    """The part of ``want`` that is about spatial iterators: a reduction always runs in full."""
    return {k: span for k, span in want.items() if realize.block.iter_vars[k].iter_type == "spatial"}


def regenerated(func: PrimFunc, name: str, realize: BlockRealize, target: For) -> list[Expr]:
    """The conjuncts that the new nest keeps (P7)."""
    _, others = split_predicate(func, realize)
    kept = carried(func, realize, others)
    if kept is None:
        what = f"the predicate of block {realize.block.name} is not about its iterators"
        raise refusal(func, f"{name}.P7", what, [(realize, "has the predicate")])
    reduced = [loop for loop in loops_above(func, realize) if loop.loop_var in reduce_loops(realize)]
    running = [loop for loop in reduced if constant_extent(loop) != 1]
    if len(running) > 1 and not order_free(realize.block.body) and not _counts_up(func, realize, running):
        what = f"the new loops of block {realize.block.name} may take the operands of its reduction in another order"
        refuse(func, f"{name}.P7", what, [(realize, "not known to be commutative")])
    return kept


def _counts_up(func: PrimFunc, realize: BlockRealize, loops: Sequence[For]) -> bool:
    """Do the loops of a reduction take its operands in the order of its iterators? The number of an operand, counted by
    the iterators, then rises with the loops: each weighs more than all loops inside it together.
    """
    ranges, number = ranges_at(func, realize), Linear()
    for item, value in zip(realize.block.iter_vars, realize.iter_values, strict=True):
        if item.iter_type != "spatial":
            size = constant(item.dom.extent)
            if size is None:
                return False
            number = number.scale(size) + linear(value, ranges)
    span = 0
    for loop in reversed(loops):
        extent, weight = constant_extent(loop), number.terms.get(loop.loop_var, 0)
        if extent is None or weight <= span:
            return False
        span += weight * (extent - 1)
    return set(number.terms) <= reduce_loops(realize)


def _check_instances(func: PrimFunc, realize: BlockRealize, target: For, scope: BlockRealize, want: Want) -> None:
    """Every instance that the new nest may run is one that runs now, with the same contents of what it reads (P7)."""
    enumerating, _ = split_predicate(func, realize)
    shared = shared_loops(func, realize, target)
    inside = _stays_inside(func, realize, shared, enumerating, want, ranges_at(func, target))
    blocks = child_blocks(scope)
    alone = not any(keeps_contents(output.buffer, blocks, shared) for output in realize.block.writes)
    spatial = [item for item in realize.block.iter_vars if item.iter_type == "spatial"]
    more = always_defined(realize) and _whole_sums(func, realize, enumerating)
    safe = more or covers_domains(func, realize, enumerating)
    if not inside and not (alone and safe and tells_apart(realize, spatial)):
        what = f"the loops of block {realize.block.name} do not provably run through what its consumers need"
        refuse(func, "compute_at.P7", what, [(realize, "to be moved"), (target, "under this loop")])


def _whole_sums(func: PrimFunc, realize: BlockRealize, enumerating: list[Expr]) -> bool:
    """Do reduce iterators take all values of their domains now, so that a nest over the domains adds nothing?"""
    if not any(item.iter_type == "reduce" for item in realize.block.iter_vars):
        return True
    taken = executed(func, realize, (), enumerating)
    return taken is not None and all(
        item.iter_type != "reduce" or span is None or contains(span, iterator_domain(item), {})
        for span, item in zip(taken, realize.block.iter_vars, strict=True)
    )


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


def draw_compute_at(pick: Pick, func: PrimFunc) -> dict[str, Any] | None:
    """A producer and a loop around one of its consumers."""
    return draw_move(pick, func, reverse=False)


COMMON = {
    "P1": "the loop is in the scope of the block and not above it",
    "P2": "the block is in the body of its scope, where there are only loops and blocks",
    "P3": "the block is complete or a reduction with its init, and the only writer of its outputs, alike in each",
    "P8": "the index is after the producers and before the consumers under the loop",
    "P9": "no concurrent loop gets conflicting iterations, no thread another's private memory",
}
COMPUTE_AT = register(
    Primitive(
        "compute_at",
        {
            **COMMON,
            "P4": "the output is allocated in the scope",
            "P5": "every reader of the output is under the loop, which comes after the block",
            "P6": "what it reads is done and not yet written over; no loop left around it feeds its reduction",
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
