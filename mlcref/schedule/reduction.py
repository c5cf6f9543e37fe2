"""Reductions: decompose_reduction takes the init out of a reduction block."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from mlcref.arith import access_regions, affine, linear, proved, simplify, uses_any
from mlcref.ir import (
    LT,
    BlockRealize,
    BufferLoad,
    BufferRegion,
    Expr,
    For,
    PrimFunc,
    Stmt,
    Token,
    Var,
    any_node,
    buffers_used,
    const,
    index,
    make_block,
    replace,
    replace_at,
    seq,
    substitute,
    unique_name,
)
from mlcref.schedule.dataflow import check_races, check_scope, shared_loops
from mlcref.schedule.dependence import reduce_loops, spatial_loops
from mlcref.schedule.draws import draw_reduced
from mlcref.schedule.find import block_of, constant_extent, blocks_below, is_reduction, loop_of, loops_above
from mlcref.schedule.nest import contains, iterator_ranges, needed, ranges_at, split_predicate, tells_apart
from mlcref.schedule.table import Pick, Primitive, Result, refusal, refuse, register


@dataclass(frozen=True, slots=True)
class DecomposeFacts:
    """The block, the loop before which the init goes, the loops that the init needs, and its predicate over them."""

    realize: BlockRealize
    loop: For
    init_loops: tuple[For, ...]
    predicate: tuple[Expr, ...]


def plan_decompose_reduction(func: PrimFunc, block: Token, loop: Var) -> DecomposeFacts:
    """Take the init of a reduction block out into a block of its own before ``loop``. Returns the init block; the old
    handle stands for the update that is left.

    No loop of the reduction may be above ``loop``. The init runs through the loops at or below ``loop`` that feed
    spatial iterators, as ``i_init`` and so on.

    >>> from mlcref.schedule.examples import Schedule, row_sums, shown
    >>> sch = Schedule(row_sums)
    >>> print(shown(sch))
    for i, k in T.grid(4, 8):
        with T.block("B"):
            vi, vk = T.axis.remap("SR", [i, k])
            with T.init():
                B[vi] = T.float32(0.0)
            B[vi] = B[vi] + A[vi, vk]
    >>> _, k = sch.get_loops("B")
    >>> init = sch.decompose_reduction("B", k)
    >>> print(shown(sch))
    for i in range(4):
        with T.block("B_init"):
            vi = T.axis.spatial(4, i)
            B[vi] = T.float32(0.0)
        for k in range(8):
            with T.block("B_update"):
                vi, vk = T.axis.remap("SR", [i, k])
                B[vi] = B[vi] + A[vi, vk]

    Source: TVM ``decompose_reduction``.
    """
    name = "decompose_reduction"
    realize, target = block_of(func, block), loop_of(func, loop)
    marks = [(realize, "the reduction"), (target, "the init goes before this loop")]
    scope = check_scope(func, f"{name}.P2", realize)
    if not is_reduction(realize):
        raise refusal(func, f"{name}.P1", f"block {realize.block.name} has no init", marks)
    _check_plain(func, realize, marks)
    path = loops_above(func, realize)
    if target not in path:
        raise refusal(func, f"{name}.P2", f"loop {loop.name} is not above block {realize.block.name}", marks)
    position = path.index(target)
    reduced = reduce_loops(realize)
    for outer in path[:position]:
        if outer.loop_var in reduced and constant_extent(outer) != 1:
            what = f"loop {outer.loop_var.name} of the reduction is above loop {loop.name}"
            refuse(func, f"{name}.P3", what, [*marks, (outer, "of the reduction")], "reorder first, or pick it")
    for inner in path:
        bound = inner.kind == "thread_binding" and "vthread" not in (inner.thread or "")
        if bound and inner.loop_var in reduced and constant_extent(inner) != 1:
            what = f"loop {inner.loop_var.name} of the reduction is bound to {inner.thread}"
            refuse(func, f"{name}.P8", what, [*marks, (inner, "its threads reduce together")], "bind afterwards")
    below = path[position:]
    _check_once(func, realize, target, below)
    predicate = _init_predicate(func, realize, target, below)
    _check_other_users(func, realize, target, scope)
    spatial = spatial_loops(realize)
    needed_loops = tuple([inner for inner in below if inner.loop_var in spatial])
    _check_ranges(func, realize, needed_loops, {inner.loop_var for inner in below} - spatial)
    facts = DecomposeFacts(realize, target, needed_loops, predicate)
    check_races(func, f"{name}.P7", build_decompose(func, facts)[0], marks)
    return facts


def _check_plain(func: PrimFunc, realize: BlockRealize, marks: list[tuple[Any, str]]) -> None:
    """The init can stand alone: no private buffers in it, and spatial and reduce iterators only (P1)."""
    block = realize.block
    assert block.init is not None
    private = {*block.alloc_buffers, *(m.buffer for m in block.match_buffers)}
    if private & set(buffers_used(block.init)):
        raise refusal(func, "decompose_reduction.P1", f"the init of block {block.name} uses a private buffer", marks)
    for item in block.iter_vars:
        if item.iter_type not in ("spatial", "reduce"):
            what = f"{item.var.name} of block {block.name} is an {item.iter_type} iterator"
            raise refusal(func, "decompose_reduction.P1", what, [*marks, (item, "this iterator")])


def _check_once(func: PrimFunc, realize: BlockRealize, target: For, below: list[For]) -> None:
    """Each instance runs at most once in an iteration of the loops above ``target``: the updates then follow one init
    (P4).
    """
    enumerating, _ = split_predicate(func, realize)
    ranges = ranges_at(func, realize)
    apart = {loop.loop_var for loop in below}
    moving = [
        item
        for item, value in zip(realize.block.iter_vars, realize.iter_values, strict=True)
        if item.iter_type == "spatial" and uses_any(value, apart)
    ]
    once = affine(realize.iter_values, ranges, told_apart=apart, predicate=enumerating) is not None
    block = realize.block
    alone = [replace(realize, block=replace(block, writes=(region,))) for region in block.writes]
    if not once or not alone or not all(tells_apart(one, moving) for one in alone):
        what = f"the loops from {target.loop_var.name} on may run an instance (element) of {realize.block.name} twice"
        refuse(func, "decompose_reduction.P4", what, [(realize, "the reduction"), (target, "from here on")])


def _init_predicate(func: PrimFunc, realize: BlockRealize, target: For, below: list[For]) -> tuple[Expr, ...]:
    """When the first instance of each reduction runs: the predicate with the reduction's own loops at 0 (P5)."""
    rule, ranges, spatial = "decompose_reduction.P5", ranges_at(func, realize), spatial_loops(realize)
    marks = [(realize, "the reduction"), (target, "the init goes before this loop")]
    starts = {loop.loop_var: loop.min for loop in below if loop.loop_var not in spatial}
    starts |= {loop.loop_var: loop.min for loop in loops_above(func, target) if constant_extent(loop) == 1}
    mixed = reduce_loops(realize) & spatial
    for item, value in zip(realize.block.iter_vars, realize.iter_values, strict=True):
        if item.iter_type == "reduce" and not mixed:
            offset = linear(substitute(value, starts), ranges) - linear(item.dom.min, ranges)
            if offset.number() != 0:
                what = f"{item.var.name} does not start at the first value of its domain"
                refuse(func, rule, what, [*marks, (item, "this iterator")])
    result: list[Expr] = []
    for conjunct in realize.predicate:
        first = simplify(substitute(conjunct, starts), ranges)
        verdict = proved(first, ranges)
        if verdict is False:
            what = "the predicate leaves out the first instance of the reduction"
            refuse(func, rule, what, marks)
        if verdict is None:
            result.append(first)
    outside = {var: extent for var, extent in ranges.items() if var not in {loop.loop_var for loop in below}}
    for loop in below:
        some = LT(const(0, loop.extent.dtype), loop.extent)
        if loop.loop_var in starts and proved(some, outside) is not True:
            if uses_any(loop.extent, set(starts)):
                what = f"loop {loop.loop_var.name} may have no iteration, which depends on a loop of the reduction"
                refuse(func, rule, what, [*marks, (loop, "this loop")])
            result.append(some)  # where the reduction has nothing to reduce, it stores nothing either
    return tuple(result)


def _check_ranges(func: PrimFunc, realize: BlockRealize, loops: tuple[For, ...], left_out: set[Var]) -> None:
    """The ranges of the loops of the init do not depend on loops that the init does not have (P5)."""
    for loop in loops:
        if uses_any(loop.min, left_out) or uses_any(loop.extent, left_out):
            what = f"the range of loop {loop.loop_var.name} depends on a loop of the reduction"
            raise refusal(func, "decompose_reduction.P5", what, [(loop, "this loop"), (realize, "the reduction")])


def _check_other_users(func: PrimFunc, realize: BlockRealize, target: For, scope: BlockRealize) -> None:
    """Other blocks under the loop do not notice that all inits come first (P6)."""
    rule, order = "decompose_reduction.P6", index(func).order
    outputs = {region.buffer: region for region in realize.block.writes}
    assert realize.block.init is not None
    loaded = set(buffers_used(realize.block.init)) - set(outputs) if any_node(realize.block.init, BufferLoad) else set()
    for other in blocks_below(target):
        marks = [(realize, "the reduction"), (other, "under the loop too")]
        if other is realize:
            continue
        if any(w.buffer in outputs or w.buffer in loaded for w in other.block.writes):
            what = f"block {other.block.name} writes what block {realize.block.name} initialises, or reads in its init"
            refuse(func, rule, what, marks)
        shared = shared_loops(func, realize, other)
        for region in other.block.reads:
            if region.buffer in outputs and not (
                order[other] > order[realize]
                and _reads_own(func, realize, other, outputs[region.buffer], region, shared)
            ):
                what = f"block {other.block.name} may read {region.buffer.name} before its reduction is done"
                refuse(func, rule, what, marks)


def _reads_own(
    func: PrimFunc,
    realize: BlockRealize,
    other: BlockRealize,
    written: BufferRegion,
    read: BufferRegion,
    shared: set[Var],
) -> bool:
    """Does the reader use only what the reduction writes in the same iteration of the loops around both?"""
    ranges = ranges_at(func, other)
    theirs = needed(func, other, read, shared)
    own = needed(func, realize, written, shared)
    return all(contains(a, b, ranges) for a, b in zip(own, theirs, strict=True))


def build_decompose(func: PrimFunc, facts: DecomposeFacts) -> Result:
    """The init in its own nest before the loop, the update in the place of the reduction."""
    realize, block = facts.realize, facts.realize.block
    names = {other.block.name for other in index(func).blocks.values()}
    init = _init_nest(func, facts, unique_name(f"{block.name}_init", names))
    ranges = iterator_ranges(block.iter_vars)
    reads, writes = access_regions(block.body, None, ranges, private=block.alloc_buffers, matched=block.match_buffers)
    update_name = unique_name(f"{block.name}_update", names)
    update = replace(block, name=update_name, init=None, reads=reads, writes=writes)
    token = blocks_below(init)[0].block.token
    func = replace_at(func, {realize: replace(realize, block=update)})
    loop = index(func).loops[facts.loop.loop_var]
    return replace_at(func, {loop: seq(init, loop)}), (token,)


def _init_nest(func: PrimFunc, facts: DecomposeFacts, name: str) -> Stmt:
    block = facts.realize.block
    assert block.init is not None
    loop_vars: dict[Var, Expr] = {
        loop.loop_var: Var(f"{loop.loop_var.name}_init", loop.loop_var.type) for loop in facts.init_loops
    }
    spatial = [
        (item, value)
        for item, value in zip(block.iter_vars, facts.realize.iter_values, strict=True)
        if item.iter_type == "spatial"
    ]
    own: dict[Var, Expr] = {item.var: Var(item.var.name, item.var.type) for item, _ in spatial}
    items = [replace(item, var=own[item.var]) for item, _ in spatial]
    body = substitute(block.init, own)  # moved, not copied: the handles in it stay
    reads, writes = access_regions(body, None, iterator_ranges(items))
    made = make_block(name, body, iter_vars=items, reads=reads, writes=writes, annotations=block.annotations)
    values = tuple([substitute(value, loop_vars) for _, value in spatial])
    predicate = tuple([substitute(conjunct, loop_vars) for conjunct in facts.predicate])
    result: Stmt = BlockRealize(values, predicate, made)
    for loop in reversed(facts.init_loops):
        start, extent = substitute(loop.min, loop_vars), substitute(loop.extent, loop_vars)
        result = replace(loop, loop_var=loop_vars[loop.loop_var], min=start, extent=extent, body=result)
    return result


def draw_decompose_reduction(pick: Pick, func: PrimFunc) -> dict[str, Any] | None:
    """A reduction block and one of the loops above it, sometimes any loop."""
    site = draw_reduced(pick, func)
    return None if site is None else {"block": site[0], "loop": site[1]}


DECOMPOSE_REDUCTION = register(
    Primitive(
        "decompose_reduction",
        {
            "P1": "the block has an init without private buffers, and spatial and reduce iterators only",
            "P2": "the loop is above the block in its scope, where there are only loops and blocks",
            "P3": "no loop of the reduction is above the loop",
            "P4": "from the loop on, each instance runs at most once; spatial ones write different elements",
            "P5": "the reduction starts at its first instance, where the predicate can hold",
            "P6": "other blocks under the loop use the output only after the reduction, in the same iteration",
            "P7": "no concurrent loop gets conflicting iterations, no thread another's private memory",
            "P8": "no loop of the reduction is bound to a thread axis, other than vthread",
        },
        plan_decompose_reduction,
        build_decompose,
        draw_decompose_reduction,
        returns="one",
        forceable=frozenset({"P3", "P4", "P5", "P6", "P7", "P8"}),
    )
)
