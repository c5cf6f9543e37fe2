"""add_unit_loop, and loop_partition: the range of a loop in consecutive parts, each in a block of its own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from mlcref.arith import Quotient, access_regions, affine, linear
from mlcref.ir import (
    Block, BlockRealize, Const, Expr, For, PrimFunc, Range, Stmt, Token, Var, const, fresh, index, make_block, replace,
    replace_at, seq, substitute, unique_name, walk,
)  # fmt: skip
from mlcref.schedule.dependence import reduce_loops, spatial_loops
from mlcref.schedule.find import block_of, constant_extent, is_reduction, loop_of, loops_above
from mlcref.schedule.loop import draw_loop, plain_loop
from mlcref.schedule.nest import iterator_ranges, ranges_at
from mlcref.schedule.table import Handle, Pick, Primitive, Result, refusal, refuse, register


def plan_add_unit_loop(func: PrimFunc, block_or_loop: Handle) -> Stmt:
    """Put a loop ``u`` of one iteration around a block or a loop. Returns it.

    >>> from mlcref.schedule import Schedule
    >>> from mlcref.script import tir as T
    >>> @T.prim_func
    ... def double(A: T.Buffer((8,), "float32"), B: T.Buffer((8,), "float32")):
    ...     for i in range(8):
    ...         with T.block("B"):
    ...             vi = T.axis.spatial(8, i)
    ...             B[vi] = A[vi] * T.float32(2)
    >>> sch = Schedule(double)
    >>> u = sch.add_unit_loop("B")
    >>> print(sch.mod["main"].script())
    # from tvm.script import tir as T
    <BLANKLINE>
    @T.prim_func
    def double(A: T.Buffer((8,), "float32"), B: T.Buffer((8,), "float32")):
        # with T.block("root"):
        for i, u in T.grid(8, 1):
            with T.block("B"):
                vi = T.axis.spatial(8, i)
                T.reads(A[vi])
                T.writes(B[vi])
                B[vi] = A[vi] * T.float32(2.0)

    Source: TVM ``add_unit_loop``.
    """
    if isinstance(block_or_loop, Var):
        return loop_of(func, block_or_loop)
    realize = block_of(func, block_or_loop)
    if realize is func.body:
        what = "there is no place around the root block"
        raise refusal(func, "add_unit_loop.P1", what, [(realize, "the root block")])
    return realize


def build_add_unit_loop(func: PrimFunc, stmt: Stmt) -> Result:
    """The loop around the statement."""
    var = Var("u")
    return replace_at(func, {stmt: For(var, const(0), const(1), "serial", stmt)}), (var,)


def draw_add_unit_loop(pick: Pick, func: PrimFunc) -> dict[str, Any] | None:
    """Any block or loop."""
    where = index(func)
    return {"block_or_loop": pick([*where.loops, *[token for token in where.blocks if token is not func.root.token]])}


@dataclass(frozen=True, slots=True)
class PartitionFacts:
    """The loop, where its parts begin and (last) where they end, the block below it, and whether only the first part
    keeps the block's init."""

    loop: For
    cuts: tuple[int, ...]
    realize: BlockRealize
    starts_once: bool


def plan_loop_partition(
    func: PrimFunc, loop: Var, factors: list[int | None], preserve_unit_iters: bool = True
) -> PartitionFacts:
    """Cut the range of a loop into consecutive parts of ``factors`` iterations, one of them None for the rest; without
    a None, what is left over is one more part. Returns the loops of the parts.

    Each part is a copy of the nest below in a block of its own, and all of them are in one block. Handles of the loop
    and of what was in it go stale. Where the loop belongs to a reduction, only the first part keeps the init.

    >>> from mlcref.schedule import Schedule
    >>> from mlcref.script import tir as T
    >>> @T.prim_func
    ... def double(A: T.Buffer((8,), "float32"), B: T.Buffer((8,), "float32")):
    ...     for i in range(8):
    ...         with T.block("B"):
    ...             vi = T.axis.spatial(8, i)
    ...             B[vi] = A[vi] * T.float32(2)
    >>> sch = Schedule(double)
    >>> first, rest = sch.loop_partition(sch.get_loops("B")[0], factors=[2, None])
    >>> print(sch.mod["main"].script())
    # from tvm.script import tir as T
    <BLANKLINE>
    @T.prim_func
    def double(A: T.Buffer((8,), "float32"), B: T.Buffer((8,), "float32")):
        # with T.block("root"):
        with T.block("B_i_common"):
            T.reads(A[0:8])
            T.writes(B[0:8])
            with T.block("B_i0_partition"):
                T.reads(A[0:2])
                T.writes(B[0:2])
                for i0 in range(2):
                    with T.block("B_i0"):
                        vi = T.axis.spatial(2, i0)
                        T.reads(A[vi])
                        T.writes(B[vi])
                        B[vi] = A[vi] * T.float32(2.0)
            with T.block("B_i1_partition"):
                T.reads(A[2:8])
                T.writes(B[2:8])
                for i1 in range(2, 8):
                    with T.block("B_i1"):
                        vi = T.axis.spatial((2, 8), i1)
                        T.reads(A[vi])
                        T.writes(B[vi])
                        B[vi] = A[vi] * T.float32(2.0)

    Source: TVM ``loop_partition``.
    """
    found = loop_of(func, loop)
    mark = [(found, "to be cut")]
    if not plain_loop(found):
        raise refusal(func, "loop_partition.P1", f"loop {loop.name} is {found.kind} or annotated", mark,
                      "cut before parallel, vectorize, unroll, bind or annotate")  # fmt: skip
    extent = constant_extent(found)
    if extent is None or not isinstance(found.min, Const):
        raise refusal(func, "loop_partition.P2", f"the range of loop {loop.name} is no constant", mark)
    cuts = _cuts(func, found, factors, extent)
    realize = _only_block(func, found)
    once = _check_reduction(func, found, realize, cuts)
    return PartitionFacts(found, cuts, realize, once)


def _cuts(func: PrimFunc, loop: For, factors: Sequence[int | None], extent: int) -> tuple[int, ...]:
    """Where the parts begin, and where the last one ends (P3, P4, P5)."""
    mark = [(loop, "to be cut")]
    given = [f for f in factors if f is not None and f != -1]
    inferred = len(factors) - len(given)
    if inferred > 1:
        raise refusal(func, "loop_partition.P3", "more than one factor is to be inferred", mark)
    if not given or any(f <= 0 for f in given):
        raise refusal(func, "loop_partition.P4", f"factors {list(factors)} are not positive numbers", mark)
    rest = extent - sum(given)
    if rest < inferred:
        what = f"the factors {list(factors)} are too many for the {extent} iterations of loop {loop.loop_var.name}"
        raise refusal(func, "loop_partition.P5", what, mark, "they are added, not multiplied")
    sizes = [rest if f is None or f == -1 else f for f in factors]
    if not inferred and rest:
        sizes.append(rest)
    assert isinstance(loop.min, Const)
    cuts = [int(loop.min.value)]
    for size in sizes:
        cuts.append(cuts[-1] + size)
    return tuple(cuts)


def _only_block(func: PrimFunc, loop: For) -> BlockRealize:
    """The block in the nest below the loop (P6)."""
    body: Stmt = loop
    while isinstance(body, For):
        body = body.body
    if not isinstance(body, BlockRealize):
        what = f"below loop {loop.loop_var.name} is more than loops around one block"
        raise refusal(func, "loop_partition.P6", what, [(loop, "to be cut"), (body, "this statement")])
    return body


def _check_reduction(func: PrimFunc, loop: For, realize: BlockRealize, cuts: Sequence[int]) -> bool:
    """Blocks with an init stay within one instance of the blocks around them (P7). Is the loop one of a reduction, so
    that the later parts go on with what the first one began?"""
    if not is_reduction(realize):
        return False
    reduced, spatial, rule = reduce_loops(realize), spatial_loops(realize), "loop_partition.P7"
    name, marks = realize.block.name, [(loop, "to be cut"), (realize, "the reduction")]
    path = loops_above(func, realize)
    for outer in path[: path.index(loop)]:
        if outer.loop_var in reduced and constant_extent(outer) != 1:
            what = f"loop {outer.loop_var.name} above belongs to the reduction of block {name}"
            refuse(func, rule, what, [*marks, (outer, "of the reduction")], "reorder it below, or decompose_reduction")
    if loop.loop_var not in reduced or _between_reductions(func, loop, realize, cuts):
        return False
    if loop.loop_var in spatial:
        what = f"loop {loop.loop_var.name} feeds spatial and reduce iterators of block {name}"
        refuse(func, rule, what, marks, "decompose_reduction first")
    ranges = ranges_at(func, realize)
    starts: dict[Var, Expr] = {up.loop_var: up.min for up in path if up.loop_var in reduced}
    for item, value in zip(realize.block.iter_vars, realize.iter_values, strict=True):
        if item.iter_type != "spatial" and loop.loop_var in set(walk(value)):
            offset = linear(substitute(value, starts), ranges) - linear(item.dom.min, ranges)
            if offset.number() != 0:
                what = f"{item.var.name} does not start at the first value of its domain"
                refuse(func, rule, what, [*marks, (item, "this iterator")])
    for inner in path:
        if inner.kind == "thread_binding" and inner.loop_var in reduced:
            what = f"the threads of {inner.thread} reduce together from the init of block {name} on"
            refuse(func, rule, what, [*marks, (inner, "bound here")], "bind afterwards")
    return True


def _between_reductions(func: PrimFunc, loop: For, realize: BlockRealize, cuts: Sequence[int]) -> bool:
    """Does every cut lie where a spatial iterator goes on, as ``f // 4`` at multiples of 4? Each reduction is then in
    one part."""
    ranges = ranges_at(func, realize)
    values = [
        value
        for item, value in zip(realize.block.iter_vars, realize.iter_values, strict=True)
        if item.iter_type == "spatial"
    ]
    steps = [
        atom.divisor
        for value in values
        for atom in linear(value, ranges).terms
        if type(atom) is Quotient and atom.form.atom() is loop.loop_var
    ]
    whole = all(any(at % step == 0 for step in steps) for at in cuts[1:-1])
    return whole and bool(steps) and affine(values, ranges, predicate=realize.predicate) is not None


def build_loop_partition(func: PrimFunc, facts: PartitionFacts) -> Result:
    """The parts, each in a block, and a block around them."""
    loop, name = facts.loop, f"{facts.realize.block.name}_{facts.loop.loop_var.name}"
    used = {realize.block.name for realize in index(func).blocks.values()}
    parts: list[Stmt] = []
    made: list[Var] = []
    for i, (start, end) in enumerate(zip(facts.cuts, facts.cuts[1:], strict=False)):
        var = Var(f"{loop.loop_var.name}{i}", loop.loop_var.type)
        body = _part(facts, var, start, end, i, used)
        nest = For(var, const(start, var.type), const(end - start, var.type), "serial", body)
        parts.append(BlockRealize((), (), _block(func, loop, f"{name}{i}_partition", nest, used)))
        made.append(var)
    common = BlockRealize((), (), _block(func, loop, f"{name}_common", seq(*parts), used))
    return replace_at(func, {loop: common}), tuple(made)


def _block(func: PrimFunc, loop: For, name: str, body: Stmt, used: set[str]) -> Block:
    """A block without iterators that says what it uses."""
    ranges = {var: extent for var, extent in ranges_at(func, loop).items() if var is not loop.loop_var}
    reads, writes = access_regions(body, None, ranges)
    label = unique_name(name, used)
    used.add(label)
    return make_block(label, body, reads=reads, writes=writes)


def _part(facts: PartitionFacts, var: Var, start: int, end: int, number: int, used: set[str]) -> Stmt:
    """A copy of what is below the loop, for the iterations from ``start`` to before ``end``."""
    body: Stmt = substitute(fresh(facts.loop.body), {facts.loop.loop_var: var})
    above: list[For] = []
    while isinstance(body, For):
        above.append(body)
        body = body.body
    assert isinstance(body, BlockRealize)
    block = body.block
    items = list(block.iter_vars)
    at = next((k for k, value in enumerate(body.iter_values) if value is var), None)
    if at is not None:
        kind = items[at].var.type
        items[at] = replace(items[at], dom=Range(const(start, kind), const(end - start, kind)))
    name = unique_name(f"{block.name}_{var.name}", used)
    used.add(name)
    block = replace(block, token=Token(name), name=name, iter_vars=tuple(items))
    if facts.starts_once and number > 0:
        ranges = iterator_ranges(items)
        reads, writes = access_regions(block.body, None, ranges, private=block.alloc_buffers,
                                       matched=block.match_buffers)  # fmt: skip
        block = replace(block, init=None, reads=reads, writes=writes)
    result: Stmt = replace(body, block=block)
    for outer in reversed(above):
        result = replace(outer, body=result)
    return result


def consume_loop_partition(
    func: PrimFunc, loop: Var, factors: list[int | None], preserve_unit_iters: bool = True
) -> set[Handle]:
    """The loop and everything in it."""
    gone: set[Handle] = set()
    for node in walk(loop_of(func, loop)):
        if isinstance(node, For):
            gone.add(node.loop_var)
        elif isinstance(node, Block):
            gone.add(node.token)
    return gone


def draw_loop_partition(pick: Pick, func: PrimFunc) -> dict[str, Any] | None:
    """A loop and one or two sizes, with or without a rest."""
    loop = draw_loop(pick, func)
    if loop is None:
        return None
    extent = constant_extent(loop) or 1
    first = pick(range(1, max(extent, 2)))
    factors: list[int | None] = [first]
    if extent - first > 1 and pick([False, True]):
        factors.append(pick(range(1, extent - first)))
    if pick([True, False]):
        factors.insert(pick(range(len(factors) + 1)), None)
    return {"loop": loop.loop_var, "factors": factors}


ADD_UNIT_LOOP = register(
    Primitive(
        "add_unit_loop",
        {"P1": "it is not the root block"},
        plan_add_unit_loop,
        build_add_unit_loop,
        draw_add_unit_loop,
        returns="one",
    )
)
LOOP_PARTITION = register(
    Primitive(
        "loop_partition",
        {
            "P1": "the loop is serial and not annotated",
            "P2": "the range of the loop is constant",
            "P3": "at most one factor is inferred",
            "P4": "factors are positive, and there are some",
            "P5": "together they are at most the extent, less than it where one is inferred",
            "P6": "below the loop are only loops and, in them, one block",
            "P7": "of a reduction with init the cut loop is the outermost, feeds no spatial iterator or is cut between "
            "reductions, begins with the first instance, and no loop is bound to threads",
        },
        plan_loop_partition,
        build_loop_partition,
        draw_loop_partition,
        consume_loop_partition,
        "list",
        ("preserve_unit_iters",),
        frozenset({"P7"}),
    )
)
