"""Other iterators for a block: transform_block_layout."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from mlcref.arith import IndexMap, expr_key, linear, simplify
from mlcref.errors import MlcrefError
from mlcref.ir import (
    BlockRealize, Const, Expr, For, IterVar, PrimFunc, Range, Stmt, Token, Var, cast, const, constant, index, replace,
    replace_at, substitute, variables,
)  # fmt: skip
from mlcref.schedule.accesses import simplify_accesses
from mlcref.schedule.dataflow import check_scope
from mlcref.schedule.draws import wild
from mlcref.schedule.find import block_of, loops_above, starts_at_zero
from mlcref.schedule.loop import plain_loop
from mlcref.schedule.maps import as_index_map, draw_map, index_type
from mlcref.schedule.nest import iterator_ranges
from mlcref.schedule.reducers import order_free
from mlcref.schedule.table import Handle, Pick, Primitive, Result, refusal, refuse, register

NAME = "transform_block_layout"


@dataclass(frozen=True, slots=True)
class BlockLayoutFacts:
    """The block, its loops (outer to inner), the new iterators with their loops, and the old iterators over each."""

    realize: BlockRealize
    loops: tuple[For, ...]
    items: tuple[IterVar, ...]
    axes: tuple[Var, ...]
    inverse: IndexMap


def plan_transform_block_layout(func: PrimFunc, block: Token, index_map: Any) -> BlockLayoutFacts:
    """Let a block run over other iterators: the values of ``index_map``, which must be sums of digits of the old ones,
    each digit once. The loops of the block are exchanged for loops over the new iterators.

    >>> from mlcref.schedule import Schedule
    >>> from mlcref.script import from_source
    >>> sch = Schedule(from_source('''
    ... @T.prim_func
    ... def f(A: T.Buffer((8, 4), "float32"), B: T.Buffer((8, 4), "float32")):
    ...     for i, j in T.grid(8, 4):
    ...         with T.block("B"):
    ...             vi, vj = T.axis.remap("SS", [i, j])
    ...             B[vi, vj] = A[vi, vj]
    ... '''))
    >>> sch.transform_block_layout("B", lambda i, j: (i * 4 + j,))
    >>> sch.get(sch.get_block("B")).body
    B[v0 // 4, v0 % 4] = A[v0 // 4, v0 % 4]

    Raises ``ScheduleError`` when the iterators are not bound to plain loops of their own around the block alone, when
    the map is not one to one onto a box, or mixes spatial and reduce iterators.

    Source: TVM ``transform_block_layout``.
    """
    realize = block_of(func, block)
    check_scope(func, f"{NAME}.P1", realize)
    items, marks = realize.block.iter_vars, [(realize, "this block")]
    dtype = index_type([item.dom.extent for item in items])
    loops = _own_loops(func, realize)
    mapped = as_index_map(func, f"{NAME}.P4", index_map, len(items), dtype, marks)
    extents = [item.dom.extent for item in items]
    try:
        back = mapped.inverse(extents)
        shape = mapped.map_shape(extents)
    except MlcrefError as error:
        hint = "digits of the iterators, each once, that fill the new extents"
        raise refusal(func, f"{NAME}.P4", error.what, marks, hint) from error
    kinds = [_iter_type(func, realize, mapped, value) for value in mapped.final_indices]
    new = tuple([IterVar(Var(f"v{n}", dtype), Range(const(0, dtype), cast(dtype, extent)), kind)
                 for n, (extent, kind) in enumerate(zip(shape, kinds, strict=True))])  # fmt: skip
    _check_order(func, realize, loops, mapped, new)
    axes = tuple([Var(f"ax{n}", dtype) for n in range(len(new))])
    return BlockLayoutFacts(realize, tuple(loops), new, axes, back)


def _check_order(
    func: PrimFunc, realize: BlockRealize, loops: Sequence[For], mapped: IndexMap, new: Sequence[IterVar]
) -> None:
    """Operands of a reduction come in another order only where that does not matter (P6): otherwise the number of an
    operand, counted by the new loops, must be what it was by the old ones."""
    items, values = realize.block.iter_vars, list(realize.iter_values)
    old = [(mapped.initial_indices[k], items[k].dom.extent) for loop in loops
           for k, value in enumerate(values) if value is loop.loop_var and _runs_reducing(items[k])]  # fmt: skip
    own = [(value, item.dom.extent) for value, item in zip(mapped.final_indices, new, strict=True)
           if _runs_reducing(item)]  # fmt: skip
    if not old or order_free(realize.block.body):
        return
    domain = {var: item.dom.extent for var, item in zip(mapped.initial_indices, items, strict=True)}
    known = {var: int(n) if isinstance(n, Const) else n for var, n in domain.items()}
    before, after = (linear(simplify(_count(digits), known), {}) for digits in (old, own))
    if (before - after).number() != 0:
        what = f"the operands of block {realize.block.name} would come in another order"
        marks = [(realize, "not known to be commutative")]
        refuse(func, f"{NAME}.P6", what, marks, "register its reducer, or keep the order of its reduction")


def _runs_reducing(item: IterVar) -> bool:
    """Is it an iterator of a reduction with more than one value?"""
    return item.iter_type != "spatial" and constant(item.dom.extent) != 1


def _count(digits: Sequence[tuple[Expr, Expr]]) -> Expr:
    """The number with these digits, each with its base."""
    total, _ = digits[0]
    for digit, base in digits[1:]:
        total = total * base + digit
    return total


def _own_loops(func: PrimFunc, realize: BlockRealize) -> list[For]:
    """The loops that the iterators are bound to, one each, around the block alone (P2, P3), outer to inner."""
    name, values = realize.block.name, realize.iter_values
    marks = [(realize, "bound here")]
    if not values or not all(isinstance(v, Var) for v in values) or len({id(v) for v in values}) != len(values):
        what = f"the iterators of block {name} are not bound to one loop variable each"
        raise refusal(func, f"{NAME}.P2", what, marks)
    loops = loops_above(func, realize)[-len(values) :]
    if {loop.loop_var for loop in loops} != set(values):
        what = f"the iterators of block {name} are not bound to the loops next to it"
        raise refusal(func, f"{NAME}.P2", what, marks)
    bodies: list[Any] = [*loops, realize]
    for outer, inner in pairwise(bodies):
        if outer.body is not inner:
            what = f"loop {outer.loop_var.name} holds more than block {name}"
            raise refusal(func, f"{NAME}.P2", what, [(outer, "this loop"), *marks])
    extents = dict(zip(values, [item.dom for item in realize.block.iter_vars], strict=True))
    for loop in loops:
        domain = extents[loop.loop_var]
        if not plain_loop(loop) or loop.step is not None:
            what = f"loop {loop.loop_var.name} is {loop.kind}, annotated, or has steps"
            raise refusal(func, f"{NAME}.P3", what, [(loop, "this loop")], "before parallel, vectorize, bind, annotate")
        whole = expr_key(loop.extent) == expr_key(domain.extent)
        if not starts_at_zero(loop) or constant(domain.min) != 0 or not whole:
            what = f"loop {loop.loop_var.name} does not run over the iterator's domain"
            raise refusal(func, f"{NAME}.P3", what, [(loop, "this loop")])
    reduce = {v for v, item in zip(values, realize.block.iter_vars, strict=True) if item.iter_type != "spatial"}
    if any(variables(c) & reduce for c in realize.predicate):
        what = f"a condition on reduce iterators decides which iterations block {name} has"
        raise refusal(func, f"{NAME}.P3", what, marks)
    return loops


def _iter_type(func: PrimFunc, realize: BlockRealize, mapped: IndexMap, value: Expr) -> str:
    """What a new iterator is: what the old ones in it are, of those with more than one value; spatial, if it has one
    value (P5)."""
    items = dict(zip(mapped.initial_indices, realize.block.iter_vars, strict=True))
    value = simplify(value, {v: item.dom.extent for v, item in items.items()})
    used = [item for v, item in items.items() if v in variables(value)]
    kinds = {item.iter_type for item in used}
    if kinds == {"spatial", "reduce"}:
        kinds = {item.iter_type for item in used if constant(item.dom.extent) != 1}
    kind = min(kinds, default="spatial")
    if len(kinds) > 1 or kind not in ("spatial", "reduce"):
        what = f"the new iterator `{value!r}` is neither spatial nor reduce"
        refuse(func, f"{NAME}.P5", what, [(realize, "this block")])
    return kind


def build_transform_block_layout(func: PrimFunc, facts: BlockLayoutFacts) -> Result:
    """The block over its new iterators, under new loops."""
    realize, block = facts.realize, facts.realize.block
    values = [v for v in realize.iter_values if isinstance(v, Var)]
    inside = _inverted(facts, [item.var for item in block.iter_vars], [item.var for item in facts.items])
    outside = _inverted(facts, values, facts.axes)
    body = substitute(replace(block, iter_vars=()), inside)
    new = replace(simplify_accesses(body, iterator_ranges(facts.items)), iter_vars=facts.items)
    nest: Stmt = BlockRealize(facts.axes, tuple([substitute(c, outside) for c in realize.predicate]), new)
    for axis, item in reversed(list(zip(facts.axes, facts.items, strict=True))):
        nest = For(axis, const(0, axis.type), item.dom.extent, "serial", nest)
    return replace_at(func, {facts.loops[0]: nest}), ()


def _inverted(facts: BlockLayoutFacts, old: Sequence[Var], new: Sequence[Var]) -> dict[Var, Expr]:
    """The old variables over the new ones."""
    own: dict[Var, Expr] = dict(zip(facts.inverse.initial_indices, new, strict=True))
    values = [substitute(e, own) for e in facts.inverse.final_indices]
    return {var: cast(var.type, value) for var, value in zip(old, values, strict=True)}


def consume_transform_block_layout(func: PrimFunc, block: Token, index_map: Any) -> set[Handle]:
    """The loops of the block."""
    return {v for v in block_of(func, block).iter_values if isinstance(v, Var)}


def recorded_block_layout(func: PrimFunc, block: Token, index_map: Any) -> dict[str, Any]:
    """The map as traces keep it."""
    items = block_of(func, block).block.iter_vars
    dtype = index_type([item.dom.extent for item in items])
    return {"index_map": as_index_map(func, f"{NAME}.P4", index_map, len(items), dtype, ())}


def draw_transform_block_layout(pick: Pick, func: PrimFunc) -> dict[str, Any] | None:
    """A block with iterators and a map that moves, turns or fuses them, or splits them by a divisor."""
    sites = [(token, r.block.iter_vars) for token, r in index(func).blocks.items() if r.block.iter_vars]
    if not sites:
        return None
    if not wild(pick):
        blocks = index(func).blocks
        sites = [site for site in sites if all(isinstance(v, Var) for v in blocks[site[0]].iter_values)] or sites
    token, items = pick(sites)
    extents = [int(item.dom.extent.value) if isinstance(item.dom.extent, Const) else None for item in items]
    return {"block": token, "index_map": draw_map(pick, len(items), extents)}


TRANSFORM_BLOCK_LAYOUT = register(
    Primitive(
        NAME,
        {
            "P1": "the block is in the body of its scope, where there are only loops and blocks",
            "P2": "each iterator is bound to a loop of its own, and these loops hold nothing but the block",
            "P3": "the loops are plain and run over the domains of the iterators; conditions are on spatial ones",
            "P4": "the map is one to one from the domains of the iterators onto a box",
            "P5": "each new iterator is made of spatial or of reduce iterators alone",
            "P6": "the operands of a reduction keep their order unless it is commutative",
        },
        plan_transform_block_layout,
        build_transform_block_layout,
        draw_transform_block_layout,
        consume_transform_block_layout,
        attributes=("index_map",),
        forceable=frozenset({"P5", "P6"}),
        recorded=recorded_block_layout,
    )
)
