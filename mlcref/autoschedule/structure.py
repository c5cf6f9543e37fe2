"""What the rules look at: blocks with one loop per iterator, and the part that each iterator plays in each access."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mlcref.ir import (
    Add, BlockRealize, BufferLoad, BufferStore, Cast, Expr, FloorDiv, For, IterVar, Mul, PrimFunc, Stmt, Token, Var,
    constant, variables, walk,
)  # fmt: skip
from mlcref.schedule import find


@dataclass(frozen=True, slots=True)
class Nest:
    """A block whose iterators each run over one loop from 0 on, all of them its own, and that stores one element.

    ``extents`` is by iterator; ``order`` are the iterators as the loops stand, outer to inner.
    """

    realize: BlockRealize
    store: BufferStore
    order: tuple[IterVar, ...]
    extents: dict[Var, int]

    @property
    def spatial(self) -> tuple[IterVar, ...]:
        """The iterators over elements of the output."""
        return tuple([item for item in self.order if item.iter_type == "spatial"])

    @property
    def reduce(self) -> tuple[IterVar, ...]:
        """The iterators over what is combined."""
        return tuple([item for item in self.order if item.iter_type == "reduce"])


def nest_of(func: PrimFunc, token: Token) -> Nest | None:
    """The block as a nest; None when it is not one (it was scheduled already, or has several stores)."""
    realize = find.block_of(func, token)
    block, loops = realize.block, find.loops_above(func, realize)
    if not isinstance(block.body, BufferStore) or realize.predicate or block.match_buffers:
        return None
    if not all(isinstance(value, Var) for value in realize.iter_values):
        return None
    by_loop = dict(zip(realize.iter_values, block.iter_vars, strict=True))
    extents = {loop.loop_var: find.constant_extent(loop) for loop in loops}
    if len(by_loop) != len(block.iter_vars) or set(by_loop) != set(extents) or None in extents.values():
        return None
    if any(not find.starts_at_zero(loop) or loop.kind != "serial" for loop in loops):
        return None
    if len(own_loops(func, realize)) < len(loops):
        return None
    order = tuple([by_loop[loop.loop_var] for loop in loops])
    if any(item.iter_type not in ("spatial", "reduce") for item in order):
        return None
    return Nest(realize, block.body, order, {by_loop[v].var: n for v, n in extents.items() if n is not None})


def own_loops(func: PrimFunc, realize: BlockRealize) -> list[For]:
    """The innermost loops around a block that hold nothing else, outer to inner."""
    below: Stmt = realize
    own: list[For] = []
    for loop in reversed(find.loops_above(func, realize)):
        if loop.body is not below:
            break
        own.insert(0, loop)
        below = loop
    return own


@dataclass(frozen=True, slots=True)
class Contraction:
    """``out[spatial] += narrow[…] * wide[…]``: a sum of products. ``lane`` is the iterator over the last dimension of
    the output, found in ``wide`` alone; ``rows`` are spatial iterators of ``narrow`` alone, ``batch`` those of both.
    """

    nest: Nest
    narrow: BufferLoad
    wide: BufferLoad
    lane: IterVar
    rows: tuple[IterVar, ...]
    columns: tuple[IterVar, ...]
    batch: tuple[IterVar, ...]


def contraction_of(nest: Nest) -> Contraction | None:
    """The sum of products that a block is, None for any other block."""
    factors = _factors(nest)
    if factors is None or not nest.store.indices:
        return None
    last = nest.store.indices[-1]
    lane = next((item for item in nest.spatial if item.var is last), None)
    used = [used_in(factor) for factor in factors]
    if lane is None or (lane.var in used[0]) == (lane.var in used[1]):
        return None
    narrow, wide = factors if lane.var in used[1] else factors[::-1]
    in_narrow, in_wide = used_in(narrow), used_in(wide)
    others = [item for item in nest.spatial if item is not lane]
    return Contraction(
        nest, narrow, wide, lane,
        rows=tuple([item for item in others if item.var in in_narrow and item.var not in in_wide]),
        columns=tuple([item for item in others if item.var in in_wide and item.var not in in_narrow]),
        batch=tuple([item for item in others if (item.var in in_narrow) == (item.var in in_wide)]),
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Grouped:
    """A sum of products of ``seen`` and ``filters`` over channels in groups. ``lane`` is the iterator over the last
    dimension of the output: all filters, of which ``filters`` tells each, ``seen`` the group alone. There are ``count``
    groups of ``size`` filters, which see ``channels`` channels.
    """

    nest: Nest
    seen: BufferLoad
    filters: BufferLoad
    lane: IterVar
    size: int
    count: int
    channels: int


def grouped(nest: Nest) -> Grouped | None:
    """The sum of products in groups that a block is, None for any other block."""
    factors = _factors(nest)
    last = nest.store.indices[-1] if nest.store.indices else None
    lane = next((item for item in nest.spatial if item.var is last), None)
    if factors is None or lane is None:
        return None
    for seen, filters in (factors, factors[::-1]):
        sizes = set(_divisors(seen.indices[-1], lane)) if seen.indices and filters.indices else set()
        size, all_channels = sizes.pop() if len(sizes) == 1 else None, constant(seen.buffer.shape[-1])
        outer = {var for index in (*seen.indices[:-1], *filters.indices[:-1]) for var in variables(index)}
        if size is None or size < 2 or all_channels is None or nest.extents[lane.var] % size != 0:
            continue
        count = nest.extents[lane.var] // size
        known = filters.indices[-1] is lane.var and lane.var not in outer and seen.buffer is not filters.buffer
        if known and all_channels % count == 0:
            return Grouped(nest, seen, filters, lane, size, count, all_channels // count)
    return None


def _divisors(index: Expr, item: IterVar) -> list[int | None]:
    """By what an iterator is divided wherever it occurs in an index; None where it is not."""
    divided = [node for node in walk(index) if isinstance(node, FloorDiv) and node.a is item.var]
    bare = sum(node is item.var for node in walk(index)) - len(divided)
    return [constant(node.b) for node in divided] + [None] * bare


def are(indices: Sequence[Expr], items: Sequence[IterVar]) -> bool:
    """Are these indices just these iterators, in this order?"""
    return len(indices) == len(items) and all(i is item.var for i, item in zip(indices, items, strict=True))


def takes_pairs(form: Contraction) -> bool:
    """Are short integers multiplied and summed as int32, of which there are instructions for two terms at once, and
    do terms follow each other in memory?
    """
    types = {form.narrow.buffer.type, form.wide.buffer.type}
    last = form.nest.reduce[-1].var
    if form.nest.store.buffer.type != "int32" or not types <= {"int8", "uint8", "int16"}:
        return False
    return form.narrow.indices[-1] is last and last in used_in(form.wide)


def used_in(load: BufferLoad) -> set[Var]:
    """The variables in the indices of an access."""
    return {var for index in load.indices for var in variables(index)}


def _factors(nest: Nest) -> tuple[BufferLoad, BufferLoad] | None:
    """The loads that a block multiplies and sums, conversions left out."""
    value, out = nest.store.value, nest.store
    if nest.realize.block.init is None or not isinstance(value, Add) or not nest.reduce:
        return None
    old, product = value.a, _plain(value.b)
    if not isinstance(old, BufferLoad) or old.buffer is not out.buffer or old.indices != out.indices:
        return None
    if not isinstance(product, Mul):
        return None
    a, b = _plain(product.a), _plain(product.b)
    return (a, b) if isinstance(a, BufferLoad) and isinstance(b, BufferLoad) else None


def _plain(expr: Expr) -> Expr:
    return _plain(expr.value) if isinstance(expr, Cast) else expr
