"""Do iterations of loops depend on each other? Needed wherever iterations change their order or run at once.

Instances of one block are order-free by the meaning of spatial and reduce iterators. Between two blocks this module
shows that different iterations touch disjoint strips of every buffer that both use and one of them writes; what it
cannot show it reports.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations, pairwise
from typing import Any

from mlcref.arith import bounds, linear
from mlcref.arith.linear import Linear, Quotient, Remainder
from mlcref.ir import (
    BlockRealize,
    Buffer,
    BufferRegion,
    BufferStore,
    Const,
    Expr,
    For,
    IterVar,
    PrimFunc,
    Token,
    Var,
    as_expr,
    index,
    substitute,
    variables,
)
from mlcref.schedule.find import (
    Domain, blocks_below, child_blocks, constant_extent, domain_at, loops_above, scope_of, starts_at_zero,
)  # fmt: skip


PRIVATE_TO = {"local": ("threadIdx", "blockIdx"), "warp": ("threadIdx", "blockIdx"), "shared": ("blockIdx",)}
"""Of each scope: the thread axes whose iterations have copies of their own."""


@dataclass(frozen=True, slots=True)
class Conflict:
    """Two accesses that may touch one element in different iterations."""

    text: str
    marks: tuple[tuple[Any, str], ...]


@dataclass(frozen=True, slots=True)
class Strip:
    """One dimension of an access: coefficients of the loops in question, the rest that is fixed, and the values around
    it.
    """

    coefficients: tuple[int, ...]
    fixed: Linear
    lo: int
    hi: int


def is_private(func: PrimFunc, loop: For, buffer: Buffer) -> bool:
    """Does each iteration of ``loop`` have its own copy of ``buffer``?

    True when the scope allocates it, every use is below ``loop``, and no loop from the scope down to ``loop`` feeds a
    reduce iterator of a block that uses it (such a loop keeps one copy alive: docs/semantics.md, allocations). Of a
    loop over a thread axis, the scope of the buffer must have copies per thread as well.
    """
    scope = scope_of(func, loop)
    if buffer not in scope.block.alloc_buffers or not has_copies(buffer, loop.thread):
        return False
    if any(isinstance(up, For) and not has_copies(buffer, up.thread) for up in index(func).above(loop)):
        return False  # in a kernel its memory is allocated above the threads that share it
    inside = set(blocks_below(loop))
    users = [b for b in child_blocks(scope) if any(r.buffer is buffer for r in (*b.block.reads, *b.block.writes))]
    around = {outer.loop_var for outer in [*loops_above(func, loop), loop]}
    return all(user in inside and not reduce_loops(user) & around for user in users)


def has_copies(buffer: Buffer, thread: str | None) -> bool:
    """Does each iteration of a loop over the axis ``thread`` (None: no thread axis) have a copy of ``buffer``?"""
    if thread is None or thread.startswith("vthread"):
        return True
    return thread.startswith(PRIVATE_TO.get(buffer.scope.partition(".")[0], ()))


def reduce_loops(realize: BlockRealize) -> set[Var]:
    """Variables that feed iterators of the block other than spatial ones."""
    return {v for item, value in _bindings(realize) if item.iter_type != "spatial" for v in variables(value)}


def spatial_loops(realize: BlockRealize) -> set[Var]:
    """Variables that feed spatial iterators of the block."""
    return {v for item, value in _bindings(realize) if item.iter_type == "spatial" for v in variables(value)}


def _bindings(realize: BlockRealize) -> list[tuple[IterVar, Expr]]:
    return list(zip(realize.block.iter_vars, realize.iter_values, strict=True))


def carried_conflict(func: PrimFunc, path: Sequence[For]) -> Conflict | None:
    """A conflict between two blocks below the nest ``path`` in different iterations of it, None when there is provably
    none.
    """
    return next(carried_conflicts(func, path), None)


def reads_first(new: PrimFunc, reader: Token, writer: Token, buffer: Buffer, known: set[Var]) -> bool:
    """Does each instance of ``reader`` read its elements of ``buffer`` before ``writer`` writes them?

    Within one iteration of all loops around both it does so by the order of the text (or because one store reads before
    it writes); different iterations have to touch different elements. Of the loops ``known`` that is not asked.
    """
    where = index(new)
    first, second = where.blocks[reader], where.blocks[writer]
    if first is second:
        known = set()  # its instances must not depend on their order at all
        ordered = isinstance(first.block.body, BufferStore) and first.block.init is None
    else:
        ordered = where.order[first] < where.order[second]
    around = set(loops_above(new, second))
    path = [loop for loop in loops_above(new, first) if loop in around and loop.loop_var not in known]
    accesses = [(first, region) for region in first.block.reads if region.buffer is buffer]
    accesses += [(second, region) for region in second.block.writes if region.buffer is buffer]
    return ordered and (not path or not accesses or separated(new, path, accesses))


def carried_conflicts(func: PrimFunc, path: Sequence[For], order: Sequence[For] = ()) -> Iterator[Conflict]:
    """Every such conflict that is not ruled out; with ``order``, the nest as it will be, only those between iterations
    that come in another order then."""
    for first, second in combinations(blocks_below(path[-1]), 2):
        for a, b in _shared(first, second):
            if is_private(func, path[-1], a.buffer):
                continue
            mixed = entangled(func, path, [(first, a), (second, b)])
            if not mixed or (order and same_order(path, order, mixed)):
                continue
            names = ", ".join(loop.loop_var.name for loop in path)
            both = f"{first.block.name} and {second.block.name}"
            text = f"iterations of {names} are not independent: {both} share {a.buffer.name}"
            yield Conflict(text, ((first, f"uses {a.buffer.name}"), (second, f"uses {a.buffer.name}")))


def _shared(first: BlockRealize, second: BlockRealize) -> list[tuple[BufferRegion, BufferRegion]]:
    """Pairs of regions of one buffer of which at least one is written."""
    pairs: list[tuple[BufferRegion, BufferRegion]] = []
    for a_regions, b_regions in (
        (first.block.writes, second.block.writes),
        (first.block.writes, second.block.reads),
        (first.block.reads, second.block.writes),
    ):
        pairs += [(a, b) for a in a_regions for b in b_regions if a.buffer is b.buffer]
    return pairs


def same_order(before: Sequence[For], after: Sequence[For], among: set[Var]) -> bool:
    """Do the loops ``among`` come in the same order in both nests?"""
    first, second = ([loop for loop in nest if loop.loop_var in among] for nest in (before, after))
    return first == second


def separated(func: PrimFunc, path: Sequence[For], accesses: Sequence[tuple[BlockRealize, BufferRegion]]) -> bool:
    """Do different iterations of ``path`` touch disjoint parts of the buffer, whichever of ``accesses`` each makes?"""
    return not entangled(func, path, accesses)


def entangled(
    func: PrimFunc, path: Sequence[For], accesses: Sequence[tuple[BlockRealize, BufferRegion]]
) -> set[Var]:
    """The loops of ``path`` in which two iterations that touch one element may differ: in all others they agree.

    Loops whose indices come in pieces (``i // 4``, ``i % 4``, as after fuse) are taken as their digits.
    """
    axes = _axes(func, path, accesses)
    left = {var for var, extent in axes.extents.items() if extent != 1}
    order = list(axes.extents)
    for d in range(len(accesses[0][1].buffer.shape)):
        if not left:
            break
        strips = [_strip(func, path, axes, realize, region, d) for realize, region in accesses]
        known = [strip for strip in strips if strip is not None]
        if len(known) == len(strips):
            left -= {order[i] for i in _radix(known, list(axes.extents.values()))}
    parts = {loop.loop_var: variables(axes.values.get(loop.loop_var, loop.loop_var)) for loop in path}
    return {var for var, digits in parts.items() if digits & left}


@dataclass(frozen=True, slots=True)
class Axes:
    """Loops as digits: the value of each loop variable over the digits, and the extents of these, None if unknown."""

    values: dict[Var, Expr]
    extents: dict[Var, int | None]


def _axes(func: PrimFunc, path: Sequence[For], accesses: Sequence[tuple[BlockRealize, BufferRegion]]) -> Axes:
    axes = Axes({}, {})
    for loop in path:
        var, size = loop.loop_var, constant_extent(loop)
        whole = size is not None and starts_at_zero(loop)  # other loops have no digits
        cuts = {cut for access in accesses for cut in _cuts(access, var)} if whole else set()
        weights = [1, *sorted(cut for cut in cuts if size is not None and 1 < cut < size)]
        if size is None or len(weights) == 1 or any(high % low for low, high in pairwise(weights)):
            axes.extents[var] = size
            continue
        value: Expr | None = None
        for weight, above in zip(reversed(weights), [size, *reversed(weights[1:])], strict=True):
            digit = Var(f"{var.name}_{weight}", var.type)
            axes.extents[digit] = -(-above // weight)
            value = digit * weight if value is None else value + digit * weight
        axes.values[var] = as_expr(0, var.type) if value is None else value
    return axes


def _cuts(access: tuple[BlockRealize, BufferRegion], var: Var) -> Iterator[int]:
    """Where the indices of an access cut the values of ``var`` into digits."""
    realize, region = access
    bindings = {i.var: v for i, v in zip(realize.block.iter_vars, realize.iter_values, strict=True)}
    for box in region.region:
        yield from _cuts_in(linear(substitute(box.min, bindings), {}), var)


def _cuts_in(form: Linear, var: Var) -> Iterator[int]:
    for atom in form.terms:
        if isinstance(atom, Quotient):
            yield from _cuts_in(atom.form, var)
            for inner, factor in atom.form.terms.items():
                weight = _weight(inner, var)
                if weight and atom.divisor % abs(factor) == 0:
                    yield weight * (atom.divisor // abs(factor))


def _weight(atom: Any, var: Var) -> int:
    """The weight of the lowest digit of ``var`` that an atom keeps; 0 for atoms that are no part of it."""
    if atom is var:
        return 1
    if isinstance(atom, Quotient) and len(atom.form.terms) == 1:
        below = _weight(next(iter(atom.form.terms)), var)
        return below if isinstance(atom, Remainder) else below * atom.divisor
    return 0


def _strip(
    func: PrimFunc, path: Sequence[For], axes: Axes, realize: BlockRealize, region: BufferRegion, d: int
) -> Strip | None:
    """Dimension ``d`` of ``region`` over the axes; None when it is not affine in them."""
    box = region.region[d]
    if not isinstance(box.extent, Const):
        return None
    bindings = {i.var: v for i, v in zip(realize.block.iter_vars, realize.iter_values, strict=True)}
    digits = axes.extents.keys() - {loop.loop_var for loop in path}
    domain: Domain = {**domain_at(func, realize), **{v: axes.extents[v] for v in digits}}
    form = linear(substitute(substitute(box.min, bindings), axes.values), domain)
    inside = {loop.loop_var for loop in loops_above(func, realize)} - {loop.loop_var for loop in path}
    inside &= _below(func, path[-1])
    coefficients = tuple([form.terms.get(var, 0) for var in axes.extents])
    mine = set(axes.extents)
    rest = form.only(lambda atom: atom not in mine)
    inner = rest.only(lambda atom: bool(_variables(atom) & inside))
    fixed = rest - inner
    if fixed.variables() & (mine | inside) or inner.variables() - inside:
        return None
    spread = bounds(inner.expr(), domain)
    if spread.lo is None or spread.hi is None:
        return None
    return Strip(coefficients, fixed, spread.lo + form.constant, spread.hi + form.constant + int(box.extent.value) - 1)


def _variables(atom: Any) -> set[Var]:
    return Linear({atom: 1}).variables()


def _below(func: PrimFunc, loop: For) -> set[Var]:
    return {var for var, other in index(func).loops.items() if loop in set(index(func).above(other))}


def _radix(strips: Sequence[Strip], extents: Sequence[Any]) -> list[int]:
    """Positions of the loops that this dimension tells apart: their coefficients are the weights of a mixed radix."""
    first = strips[0]
    if any(s.coefficients != first.coefficients or (s.fixed - first.fixed).key != Linear().key for s in strips):
        return []
    used = sorted((abs(c), i) for i, c in enumerate(first.coefficients) if c)
    span = max(s.hi for s in strips) - min(s.lo for s in strips) + 1
    for weight, i in used:
        if weight < span or not isinstance(extents[i], int):
            return [] if (weight < span or (weight, i) != used[-1]) else [i for _, i in used]
        span += weight * (extents[i] - 1)
    return [i for _, i in used]
