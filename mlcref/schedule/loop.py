"""Loop transformations: split, fuse, reorder."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from math import prod
from typing import Any

from mlcref.arith import affine, simplify
from mlcref.ir import BlockRealize, Const, Expr, For, PrimFunc, Stmt, Var, as_expr, cast, index, replace, replace_at
from mlcref.ir import variables as used_variables
from mlcref.schedule.dataflow import any_concurrent, check_races
from mlcref.schedule.dependence import carried_conflicts, reduce_loops, same_order, spatial_loops
from mlcref.schedule.draws import any_loops, nests, shuffled, wild
from mlcref.schedule.find import (
    blocks_below,
    chain,
    constant_extent,
    domain_at,
    loop_of,
    starts_at_zero,
)
from mlcref.schedule.rebind import guard, rebind
from mlcref.schedule.reducers import order_free
from mlcref.schedule.table import Handle, Pick, Primitive, Result, refusal, refuse, register


def plain_loop(loop: For) -> bool:
    """Is the loop serial and without annotations, so that it can be rebuilt?"""
    return loop.kind == "serial" and not loop.annotations


def draw_loop(pick: Pick, func: PrimFunc) -> For | None:
    """Any loop of the function."""
    loops = list(index(func).loops.values())
    return pick(loops) if loops else None


@dataclass(frozen=True, slots=True)
class SplitFacts:
    """The loop, the extents of the new loops, and whether their product is known to be the loop's extent."""

    loop: For
    factors: tuple[Expr, ...]
    perfect: bool
    predicated: bool
    keep_units: bool


def plan_split(
    func: PrimFunc,
    loop: Var,
    factors: list[int | None],
    preserve_unit_iters: bool = True,
    disable_predication: bool = False,
) -> SplitFacts:
    """Split a loop into a nest whose extents are ``factors``, outer to inner; one of them may be None and is inferred.

    When the product of the factors is more than the extent, blocks inside get the predicate that keeps the extra
    iterations out; ``disable_predication`` leaves it away (the program then means nothing unless the accesses stay in
    bounds).

    >>> from mlcref.schedule.examples import Schedule, doubled, shown
    >>> sch = Schedule(doubled)
    >>> print(shown(sch))
    for i in range(10):
        with T.block("B"):
            vi = T.axis.spatial(10, i)
            B[vi] = A[vi] * T.float32(2.0)
    >>> (i,) = sch.get_loops("B")
    >>> outer, inner = sch.split(i, factors=[None, 4])
    >>> print(shown(sch))
    for i_0, i_1 in T.grid(3, 4):
        with T.block("B"):
            vi = T.axis.spatial(10, i_0 * 4 + i_1)
            T.where(i_0 * 4 + i_1 < 10)
            B[vi] = A[vi] * T.float32(2.0)

    Source: TVM ``split``.
    """
    found = loop_of(func, loop)
    if not plain_loop(found):
        raise refusal(func, "split.P1", f"loop {loop.name} is {found.kind} or annotated", [(found, "to be split")],
                      "split before parallel, vectorize, unroll, bind or annotate")  # fmt: skip
    if not starts_at_zero(found):
        refuse(func, "split.P2", f"loop {loop.name} does not start at 0", [(found, "to be split")])
    given = [f for f in factors if f is not None and f != -1]
    if len(factors) - len(given) > 1:
        raise refusal(func, "split.P3", "more than one factor is to be inferred", [(found, "to be split")])
    if not factors or any(f <= 0 for f in given):
        raise refusal(func, "split.P4", f"factors {factors} are not positive", [(found, "to be split")])
    return _split_facts(func, found, factors, given, preserve_unit_iters, disable_predication)


def _split_facts(
    func: PrimFunc, found: For, factors: list[int | None], given: list[int], keep_units: bool, unpredicated: bool
) -> SplitFacts:
    product, extent = prod(given), constant_extent(found)
    dtype = found.loop_var.type
    if len(given) == len(factors):
        if extent is None:
            what = "the extent is symbolic: leave one factor to be inferred"
            refuse(func, "split.P5", what, [(found, "to be split")], "write None for one factor")
        elif product < extent:
            what = f"the factors {factors} make {product} iterations, the loop has {extent}"
            refuse(func, "split.P5", what, [(found, "to be split")])
        inferred: Expr = as_expr(0, dtype)
    elif extent is None:
        inferred = simplify((found.extent + (product - 1)) // product, domain_at(func, found))
    else:
        inferred = as_expr(-(-extent // product), dtype)
    sizes = tuple([as_expr(f, dtype) if f is not None and f != -1 else cast(dtype, inferred) for f in factors])
    perfect = extent is not None and prod(int(s.value) for s in sizes if isinstance(s, Const)) == extent
    if extent is None:
        perfect = product == 1
    return SplitFacts(found, sizes, perfect, not perfect and not unpredicated, keep_units)


def build_split(func: PrimFunc, facts: SplitFacts) -> Result:
    """The nest of a split."""
    loop = facts.loop
    new = [Var(f"{loop.loop_var.name}_{i}", loop.loop_var.type) for i in range(len(facts.factors))]
    terms: list[tuple[Expr, Expr]] = [
        (var, size) for var, size in zip(new, facts.factors, strict=True) if facts.keep_units or not _is_one(size)
    ]
    value: Expr = as_expr(0, loop.loop_var.type)
    for i, (var, size) in enumerate(terms):
        value = var if i == 0 else value * size + var
    domain = domain_at(func, loop)
    domain.pop(loop.loop_var, None)
    domain.update({v: int(s.value) for v, s in zip(new, facts.factors, strict=True) if isinstance(s, Const)})
    value = simplify(value, domain) if facts.perfect else value
    body = rebind(loop.body, {loop.loop_var: value}, domain, raw=not facts.perfect)
    if facts.predicated:
        body = guard(body, value < loop.extent)
    for var, size in reversed(list(zip(new, facts.factors, strict=True))):
        body = For(var, as_expr(0, var.type), size, "serial", body)
    return replace_at(func, {loop: body}), tuple(new)


def _is_one(size: Expr) -> bool:
    return isinstance(size, Const) and int(size.value) == 1


def draw_split(pick: Pick, func: PrimFunc) -> dict[str, Any] | None:
    """A loop and two to four factors, one of them inferred; sometimes all are given, now and then too small ones."""
    loop = draw_loop(pick, func)
    if loop is None:
        return None
    arguments: dict[str, Any] = {"loop": loop.loop_var, "preserve_unit_iters": pick([True, True, True, False])}
    extent = constant_extent(loop)
    if extent is not None and wild(pick):
        inner, middle = pick([1, 2, 3, 4]), pick([1, 1, 2])
        outer = max(1, -(-extent // (inner * middle)) + pick([0, 0, 1, -1]))
        factors = [outer, middle, inner] if middle > 1 else [outer, inner]
        exact = outer * middle * inner == extent
        return {**arguments, "factors": factors, "disable_predication": exact and pick([False, True])}
    inferred: list[int | None] = [pick([1, 2, 3, 4]) for _ in range(pick([1, 1, 2, 2, 3]))]
    inferred.insert(pick(range(len(inferred) + 1)), None)
    return {**arguments, "factors": inferred}


def consume_loop(func: PrimFunc, loop: Var, **_: Any) -> set[Handle]:
    """The handle of the one loop goes stale."""
    return {loop}


@dataclass(frozen=True, slots=True)
class FuseFacts:
    """The loops, outer to inner."""

    loops: tuple[For, ...]
    keep_units: bool
    kind: str


def plan_fuse(func: PrimFunc, loops: list[Var], preserve_unit_iters: bool = True) -> FuseFacts:
    """Fuse a nest of loops, outer to inner and each the only statement of the one above, into one loop.

    Loops that are all parallel (vectorized, unrolled) become one that is, too.

    >>> from mlcref.schedule.examples import Schedule, shown, table
    >>> sch = Schedule(table)
    >>> print(shown(sch))
    for i, j in T.grid(4, 8):
        with T.block("B"):
            vi, vj = T.axis.remap("SS", [i, j])
            B[vi, vj] = A[vi, vj] * T.float32(2.0)
    >>> i, j = sch.get_loops("B")
    >>> fused = sch.fuse(i, j)
    >>> print(shown(sch))
    for i_j_fused in range(32):
        with T.block("B"):
            vi = T.axis.spatial(4, i_j_fused // 8)
            vj = T.axis.spatial(8, i_j_fused % 8)
            B[vi, vj] = A[vi, vj] * T.float32(2.0)

    Source: TVM ``fuse``.
    """
    found = tuple([loop_of(func, var) for var in loops])
    marks = [(loop, "to be fused") for loop in found]
    if not found:
        raise refusal(func, "fuse.P1", "no loops are given")
    for outer, inner in pairwise(found):
        if outer.body is not inner:
            what = f"loop {inner.loop_var.name} is not the only statement of loop {outer.loop_var.name}"
            raise refusal(func, "fuse.P1", what, [(outer, "outer"), (inner, "inner")])
    for loop in found:
        if loop.kind != found[0].kind or loop.kind == "thread_binding" or loop.annotations:
            kinds = f"loop {found[0].loop_var.name} is {found[0].kind}, " if loop.kind != found[0].kind else ""
            what = f"{kinds}loop {loop.loop_var.name} is {loop.kind}{' and annotated' if loop.annotations else ''}"
            raise refusal(func, "fuse.P2", what, marks, "fuse before parallel, vectorize, unroll, bind or annotate")
        if not starts_at_zero(loop):
            refuse(func, "fuse.P3", f"loop {loop.loop_var.name} does not start at 0", marks)
        if _depends(loop.extent, {other.loop_var for other in found}):
            raise refusal(
                func, "fuse.P4", f"the extent of loop {loop.loop_var.name} depends on another of the loops", marks
            )
    return FuseFacts(found, preserve_unit_iters, found[0].kind)


def _depends(value: Expr, variables: set[Var]) -> bool:
    return bool(used_variables(value) & variables)


def build_fuse(func: PrimFunc, facts: FuseFacts) -> Result:
    """The fused loop."""
    loops = facts.loops
    fused = Var("_".join(loop.loop_var.name for loop in loops) + "_fused", loops[0].loop_var.type)
    extent = loops[0].extent
    for loop in loops[1:]:
        extent = extent * loop.extent
    values: dict[Var, Expr] = {}
    rest: Expr = fused
    for loop in reversed(loops[1:]):
        unit = _is_one(loop.extent) and not facts.keep_units
        values[loop.loop_var] = as_expr(0, fused.type) if unit else rest % loop.extent
        rest = rest if unit else rest // loop.extent
    values[loops[0].loop_var] = rest
    domain = domain_at(func, loops[-1])
    if isinstance(extent, Const):
        domain[fused] = int(extent.value)
    body = rebind(loops[-1].body, values, domain, raw=not isinstance(extent, Const))
    return replace_at(func, {loops[0]: For(fused, as_expr(0, fused.type), extent, facts.kind, body)}), (fused,)


def draw_fuse(pick: Pick, func: PrimFunc) -> dict[str, Any] | None:
    """Two or three loops, each directly in the one before; sometimes any loops."""
    found = nests(func)
    if not found:
        return None
    path = pick(found)
    loops = any_loops(pick, func) if wild(pick) else [loop.loop_var for loop in path[: pick([2, 2, 3])]]
    return {"loops": loops, "preserve_unit_iters": pick([True, True, True, False])}


def consume_loops(func: PrimFunc, loops: list[Var], **_: Any) -> set[Handle]:
    """The handles of all the loops go stale."""
    return set(loops)


@dataclass(frozen=True, slots=True)
class ReorderFacts:
    """The chain of loops as it is and as it will be, outer to inner."""

    chain: tuple[For, ...]
    order: tuple[For, ...]


def plan_reorder(func: PrimFunc, loops: list[Var]) -> ReorderFacts:
    """Put loops of one nest into the given order; loops of the nest that are not named keep their places.

    The blocks inside must have spatial and reduce iterators only (instances may run in any order), bound to the loops
    by an independent affine map, and no two of them may depend on each other across iterations of the loops.

    >>> from mlcref.schedule.examples import Schedule, shown, table
    >>> sch = Schedule(table)
    >>> print(shown(sch))
    for i, j in T.grid(4, 8):
        with T.block("B"):
            vi, vj = T.axis.remap("SS", [i, j])
            B[vi, vj] = A[vi, vj] * T.float32(2.0)
    >>> i, j = sch.get_loops("B")
    >>> sch.reorder(j, i)
    >>> print(shown(sch))
    for j, i in T.grid(8, 4):
        with T.block("B"):
            vi, vj = T.axis.remap("SS", [i, j])
            B[vi, vj] = A[vi, vj] * T.float32(2.0)

    Source: TVM ``reorder``.
    """
    found = [loop_of(func, var) for var in loops]
    marks = [(loop, "to be reordered") for loop in found]
    if len(set(found)) != len(found) or not found:
        raise refusal(func, "reorder.P1", "a loop is given twice" if found else "no loops are given", marks)
    path = chain(func, found)
    if path is None or any(outer.body is not inner for outer, inner in pairwise(path)):
        raise refusal(
            func, "reorder.P2", "the loops are not one nest", marks, "between them there must be nothing but loops"
        )
    variables = {loop.loop_var for loop in path}
    for loop in path:
        if _depends(loop.extent, variables) or _depends(loop.min, variables):
            raise refusal(
                func, "reorder.P3", f"the range of loop {loop.loop_var.name} depends on another of the loops", marks
            )
    named = iter(found)
    order = tuple([next(named) if loop in set(found) else loop for loop in path])
    running = {loop.loop_var for loop in path if constant_extent(loop) != 1}
    if not same_order(path, order, running):  # otherwise the iterations stay as they are
        _check_blocks(func, path, order)
        _check_reductions(func, path, order)
    facts = ReorderFacts(tuple(path), order)
    if any_concurrent(func):  # inside a loop of a reduction an iteration keeps no memory of its own
        check_races(func, "reorder.P6", build_reorder(func, facts)[0], marks)
    return facts


def _check_blocks(func: PrimFunc, path: list[For], order: tuple[For, ...]) -> None:
    for realize in blocks_below(path[-1]):
        for item in realize.block.iter_vars:
            if item.iter_type not in ("spatial", "reduce"):
                what = f"{item.var.name} of block {realize.block.name} is an {item.iter_type} iterator"
                refuse(func, "reorder.P4", what, [(path[0], "to be reordered"), (realize, "ordered")])
        domain = domain_at(func, realize)
        if _accumulates(realize) and affine(realize.iter_values, domain, predicate=realize.predicate) is None:
            what = f"the bindings of block {realize.block.name} are no independent affine map of the loops"
            refuse(func, "reorder.P5", what, [(path[0], "to be reordered"), (realize, "bound here")])
        _check_init(func, path, realize)
    conflict = next(carried_conflicts(func, path, order), None)
    if conflict is not None:
        refuse(func, "reorder.P6", conflict.text, [(path[0], "to be reordered"), *conflict.marks])


def _check_reductions(func: PrimFunc, path: list[For], order: tuple[For, ...]) -> None:
    """Operands of a reduction come in another order only where that does not matter."""
    for realize in blocks_below(path[-1]):
        reduced = reduce_loops(realize)
        before, after = ([loop for loop in loops if loop.loop_var in reduced and constant_extent(loop) != 1]
                         for loops in (path, order))  # fmt: skip
        if before != after and not order_free(realize.block.body):
            what = f"the operands of block {realize.block.name} would come in another order"
            marks = [(after[0], "to be reordered"), (realize, "not known to be commutative")]
            refuse(func, "reorder.P8", what, marks, "register its reducer, or keep the order of its reduction loops")


def _accumulates(realize: BlockRealize) -> bool:
    """Does an instance that runs twice do more than one that runs once: has it reductions, or reads what it writes?"""
    block = realize.block
    written = {region.buffer for region in block.writes}
    reduced = block.init is not None or any(item.iter_type != "spatial" for item in block.iter_vars)
    return reduced or any(region.buffer in written for region in block.reads)


def _check_init(func: PrimFunc, path: list[For], realize: BlockRealize) -> None:
    """A loop that moves on in space and in the reduction at once fixes the order in which an init meets its updates."""
    mixed = reduce_loops(realize) & spatial_loops(realize) & {loop.loop_var for loop in path}
    if realize.block.init is not None and mixed:
        name = next(loop.loop_var.name for loop in path if loop.loop_var in mixed)
        what = f"loop {name} feeds spatial and reduce iterators of block {realize.block.name}, which has an init"
        marks = [(path[0], "to be reordered"), (realize, "its init comes first")]
        refuse(func, "reorder.P7", what, marks, "decompose_reduction first")


def build_reorder(func: PrimFunc, facts: ReorderFacts) -> Result:
    """The loops in their new order."""
    body: Stmt = facts.chain[-1].body
    for loop in reversed(facts.order):
        body = replace(loop, body=body)
    if facts.order == facts.chain:
        return func, ()
    return replace_at(func, {facts.chain[0]: body}), ()


def draw_reorder(pick: Pick, func: PrimFunc) -> dict[str, Any] | None:
    """Some loops of a nest, in any order; sometimes any loops."""
    found = nests(func)
    if not found:
        return None
    path = pick(found)
    if wild(pick):
        return {"loops": any_loops(pick, func)}
    if pick([True, False]):
        inner = pick(path[1:])
        return {"loops": [inner.loop_var, path[0].loop_var]}
    return {"loops": shuffled(pick, [loop.loop_var for loop in path])[: pick([2, 3, 4])]}


SPLIT = register(
    Primitive(
        "split",
        {
            "P1": "the loop is serial and not annotated",
            "P2": "the loop starts at 0",
            "P3": "at most one factor is inferred",
            "P4": "given factors are positive",
            "P5": "the product of the factors is at least the extent",
        },
        plan_split,
        build_split,
        draw_split,
        consume_loop,
        "list",
        ("preserve_unit_iters", "disable_predication"),
        frozenset({"P2", "P5"}),
    )  # fmt: skip
)
FUSE = register(
    Primitive(
        "fuse",
        {
            "P1": "each loop is the only statement of the loop before it",
            "P2": "the loops are all serial, parallel, vectorized or unrolled, and not annotated",
            "P3": "the loops start at 0",
            "P4": "no extent depends on another of the loops",
        },
        plan_fuse,
        build_fuse,
        draw_fuse,
        consume_loops,
        "one",
        ("preserve_unit_iters",),
        frozenset({"P3"}),
    )  # fmt: skip
)
REORDER = register(
    Primitive(
        "reorder",
        {
            "P1": "each loop is given once",
            "P2": "the loops lie in one nest with nothing but loops between",
            "P3": "no range depends on another of the loops",
            "P4": "blocks below have spatial and reduce iterators only",
            "P5": "blocks below that reduce or update are bound by an independent affine map",
            "P6": "no iterations whose order changes depend on each other across blocks",
            "P7": "no loop feeds spatial and reduce iterators of a block with an init",
            "P8": "the loops of a reduction keep their order unless it is commutative",
        },
        plan_reorder,
        build_reorder,
        draw_reorder,
        forceable=frozenset({"P4", "P5", "P6", "P7", "P8"}),
    )  # fmt: skip
)
