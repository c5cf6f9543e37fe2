"""blockize: the loops below a point, with the block in them, become one block."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain as concatenated
from typing import Any

from mlcref.arith import (
    Linear, Span, access_regions, affine, expr_key, linear, proved, relax, relax_form, simplify, term, tile, uses_any,
)  # fmt: skip
from mlcref.ir import (
    BlockRealize, BufferRegion, Const, Expr, For, IterVar, PrimFunc, Range, Stmt, Token, Var, buffers_used, const,
    index, make_block, replace, replace_at, seq, substitute, unique_name, variables,
)  # fmt: skip
from mlcref.schedule.dataflow import check_scope
from mlcref.schedule.dependence import is_private, separated
from mlcref.schedule.find import block_of, blocks_below, child_blocks, is_reduction, loop_of, loops_above
from mlcref.schedule.nest import Ranges, iterator_ranges, ranges_at, starts_at_zero
from mlcref.schedule.table import Handle, Pick, Primitive, Result, left_out, refusal, register

_SPLIT = "split the loops so that the inner ones fill tiles of one size, then reorder"
LoopOrBlocks = Any
"""What ``target`` is: the variable of a loop, or a list of the tokens of blocks."""


@dataclass(frozen=True, slots=True)
class Digits:
    """An iterator taken apart: ``outer * inner extent + inner``. ``extent`` is that of the inner part, 1 where there
    is none; ``outer_extent`` that of the outer part."""

    item: IterVar
    outer: Expr
    outer_extent: Expr
    inner: Expr
    extent: Expr
    unit: bool = False

    @property
    def has_inner(self) -> bool:
        """Does the inner block keep an iterator?"""
        return not _is_one(self.extent)


@dataclass(frozen=True, slots=True)
class Part:
    """A block with its iterators taken apart, the loops around it that go into the new block, and its conditions."""

    realize: BlockRealize
    loops: tuple[For, ...]
    digits: tuple[Digits, ...]
    outer_predicate: tuple[Expr, ...]
    inner_predicate: tuple[Expr, ...]
    init_predicate: tuple[Expr, ...]


@dataclass(frozen=True, slots=True)
class BlockizeFacts:
    """The statement that becomes the body of the new block, the blocks in it, and the new block's name."""

    body: Stmt
    parts: tuple[Part, ...]
    name: str
    keep_units: bool


def plan_blockize(func: PrimFunc, target: LoopOrBlocks, preserve_unit_iters: bool = True) -> BlockizeFacts:
    """Make one block, ``<name>_o``, of a loop and everything in it; or of a list of blocks and the loops that they do
    not share. Returns the new block; the old handle is the block inside, and the loops keep theirs.

    The iterators are taken apart: ``vi = vi_o * 16 + vi_i``, where the loops inside run through vi_i. The init of a
    reduction goes into the init of the new block. Iterators of extent 1 are replaced by 0 unless
    ``preserve_unit_iters``.

    >>> from mlcref.schedule import Schedule
    >>> from mlcref.script import tir as T
    >>> @T.prim_func
    ... def double(A: T.Buffer((8,), "float32"), B: T.Buffer((8,), "float32")):
    ...     for i, j in T.grid(2, 4):
    ...         with T.block("B"):
    ...             vi = T.axis.spatial(8, i * 4 + j)
    ...             B[vi] = A[vi] * T.float32(2)
    >>> sch = Schedule(double)
    >>> outer = sch.blockize(sch.get_loops(sch.get_block("B"))[1])
    >>> sch.get(outer).name, [item.var.name for item in sch.get(outer).iter_vars]
    ('B_o', ['vi_o'])
    >>> print(sch.mod.script().partition("vi_o = ")[2])  # doctest: +NORMALIZE_WHITESPACE
    T.axis.spatial(2, i)
                    T.reads(A[vi_o * 4:vi_o * 4 + 4])
                    T.writes(B[vi_o * 4:vi_o * 4 + 4])
                    for j in range(4):
                        with T.block("B"):
                            vi_i = T.axis.spatial(4, j)
                            T.reads(A[vi_o * 4 + vi_i])
                            T.writes(B[vi_o * 4 + vi_i])
                            B[vi_o * 4 + vi_i] = A[vi_o * 4 + vi_i] * T.float32(2.0)

    Raises ``ScheduleError`` where the loops inside do not run through whole digits of the iterators.

    Source: TVM ``blockize``.
    """
    if isinstance(target, list | tuple):
        return _plan_blocks(func, list(target), preserve_unit_iters)
    loop = loop_of(func, target)
    found = blocks_below(loop)
    if len(found) != 1:
        marks = [(loop, "to become a block"), *((realize, "a block") for realize in found)]
        raise refusal(func, "blockize.P1", f"there are {len(found)} blocks under loop {target.name}, not one", marks,
                      "give the blocks as a list")  # fmt: skip
    (realize,) = found
    check_scope(func, "blockize.P2", realize)
    path = loops_above(func, realize)
    part = _take_apart(func, realize, path, path[path.index(loop) :], preserve_unit_iters)
    if is_reduction(realize):
        _check_init(func, part)
    return BlockizeFacts(loop, (part,), _name(func, f"{realize.block.name}_o"), preserve_unit_iters)


def _name(func: PrimFunc, wanted: str) -> str:
    return unique_name(wanted, {realize.block.name for realize in index(func).blocks.values()})


# ---- several blocks


def _plan_blocks(func: PrimFunc, tokens: list[Token], keep_units: bool) -> BlockizeFacts:
    """The blocks of the lowest statement that holds all of them, each with the same outer iterators."""
    realizes = [block_of(func, token) for token in tokens]
    if not realizes:
        raise refusal(func, "blockize.P1", "no blocks are given")
    marks = [(realize, "to go into one block") for realize in realizes]
    scopes = {check_scope(func, "blockize.P2", realize) for realize in realizes}
    if len(scopes) > 1:
        raise refusal(func, "blockize.P2", "the blocks are in different scopes", marks)
    paths = [loops_above(func, realize) for realize in realizes]
    shared = len([1 for level in zip(*paths, strict=False) if len(set(level)) == 1])
    if len(realizes) == 1:
        raise refusal(func, "blockize.P1", "a list of one block", marks, "blockize a loop around it")
    body = paths[0][shared - 1].body if shared else next(iter(scopes)).block.body
    inside = blocks_below(body)
    if set(inside) != set(realizes):
        other = next(realize for realize in inside if realize not in realizes)
        what = f"block {other.block.name} stands between or beside the given ones"
        raise refusal(func, "blockize.P1", what, [*marks, (other, "not given")], "give it, too")
    parts = tuple([_take_apart(func, realize, loops_above(func, realize), loops_above(func, realize)[shared:],
                               keep_units) for realize in inside])  # fmt: skip
    _check_alike(func, parts, marks)
    _check_apart(func, parts, paths[0][:shared], marks)
    joined = "_".join(part.realize.block.name for part in parts)
    return BlockizeFacts(body, parts, _name(func, f"outer_{joined}_"), keep_units)


def _check_alike(func: PrimFunc, parts: Sequence[Part], marks: list[tuple[Any, str]]) -> None:
    """The new block has one set of iterators, all of them spatial, and one predicate (P6)."""
    first = parts[0]
    for part in parts:
        reduced = [d.item for d in part.digits if d.item.iter_type != "spatial" and not _is_one(d.outer_extent)]
        if reduced:
            what = f"iterator {reduced[0].var.name} of block {part.realize.block.name} is no spatial one"
            raise refusal(func, "blockize.P6", what, [*marks, (reduced[0], "goes into the new block")])
        outer = [(expr_key(d.outer), expr_key(d.outer_extent)) for d in part.digits]
        conditions = [expr_key(c) for c in part.outer_predicate]
        if outer != [(expr_key(d.outer), expr_key(d.outer_extent)) for d in first.digits] or conditions != [
            expr_key(c) for c in first.outer_predicate
        ]:
            what = f"blocks {first.realize.block.name} and {part.realize.block.name} have different outer iterators"
            raise refusal(func, "blockize.P6", what, marks)


def _check_apart(func: PrimFunc, parts: Sequence[Part], loops: Sequence[For], marks: list[tuple[Any, str]]) -> None:
    """Different iterations of the loops around write different elements: the new block's iterators are spatial (P7)."""
    realizes = [part.realize for part in parts]
    uses: dict[Any, list[tuple[BlockRealize, BufferRegion]]] = {}
    written = {region.buffer for realize in realizes for region in realize.block.writes}
    for realize in realizes:
        for region in (*realize.block.reads, *realize.block.writes):
            if region.buffer in written:
                uses.setdefault(region.buffer, []).append((realize, region))
    moving = [loop for loop in loops if not _is_one(loop.extent)]
    for buffer, regions in uses.items():
        if left_out("blockize.P7"):
            continue
        if moving and not is_private(func, moving[-1], buffer) and not separated(func, moving, regions):
            what = f"several iterations of the loops around the blocks use the same elements of {buffer.name}"
            raise refusal(func, "blockize.P7", what, marks)


# ---- one block


def _take_apart(
    func: PrimFunc, realize: BlockRealize, path: Sequence[For], loops: Sequence[For], keep_units: bool
) -> Part:
    """The iterators over outer and inner loops (P3), the conditions likewise (P4)."""
    ranges, inner = ranges_at(func, realize), {loop.loop_var for loop in loops}
    marks = [(realize, "this block"), *((loop, "goes into the new block") for loop in loops[:1])]
    _check_loops(func, loops, {loop.loop_var for loop in path} - inner, marks)
    outer_predicate: list[Expr] = []
    inner_predicate: list[Expr] = []
    for conjunct in realize.predicate:
        used = variables(conjunct) & {loop.loop_var for loop in path}
        if used & inner and not used <= inner:
            what = f"a condition of block {realize.block.name} is about loops inside and outside of the new block"
            raise refusal(func, "blockize.P4", what, [(conjunct, "this condition"), *marks],
                          "blockize at a loop that takes all of them in")  # fmt: skip
        (inner_predicate if used & inner else outer_predicate).append(conjunct)
    forms = [linear(value, ranges) for value in realize.iter_values]
    parts = [form.only(lambda atom: bool(Linear({atom: 1}).variables() & inner)) for form in forms]
    rows = None
    if all(part.variables() <= inner for part in parts):
        rows = affine([p.expr() for p in parts], {v: ranges[v] for v in inner}, surjective=True,
                      told_apart=inner if is_reduction(realize) else (), predicate=inner_predicate)  # fmt: skip
    if rows is None:
        what = f"the loops do not run through digits of the iterators of block {realize.block.name}, each on its own"
        raise refusal(func, "blockize.P3", what, marks, _SPLIT)
    digits: list[Digits] = []
    for k, (form, part, item) in enumerate(zip(forms, parts, realize.block.iter_vars, strict=True)):
        digit = _digits(form, part, item, tile(rows[k]), inner, ranges, keep_units)
        if digit is None:
            what = f"the loops do not run through a whole digit of iterator {item.var.name}"
            raise refusal(func, "blockize.P3", what, [(item, f"bound to {realize.iter_values[k]!r}"), *marks], _SPLIT)
        digits.append(digit)
    init = _init_predicate(func, realize, loops, inner_predicate, ranges) if is_reduction(realize) else ()
    return Part(realize, tuple(loops), tuple(digits), tuple(outer_predicate), tuple(inner_predicate), init)


def _check_loops(func: PrimFunc, loops: Sequence[For], outer: set[Var], marks: list[tuple[Any, str]]) -> None:
    for loop in loops:
        plain = loop.kind != "thread_binding" and loop.step is None and isinstance(loop.min, Const)
        if not plain or int(loop.min) or uses_any(loop.extent, outer):  # type: ignore[call-overload]
            what = f"loop {loop.loop_var.name} is bound to a thread axis, or has a range that is not a fixed 0 … n"
            raise refusal(func, "blockize.P3", what, [(loop, "this loop"), *marks])


def _digits(
    form: Linear, part: Linear, item: IterVar, size: int | None, inner: Collection[Var], ranges: Ranges, units: bool
) -> Digits | None:
    """``form`` as ``outer * n + inner``; None when it is no such sum."""
    dtype, full = item.var.type, item.dom.extent
    zero, one = const(0, dtype), const(1, full.dtype)
    if not starts_at_zero(item):
        return None
    if not units and _is_one(full):
        return Digits(item, zero, full, zero, one, unit=True)
    if not part.terms:
        return Digits(item, form.cast(dtype).expr(), full, zero, one)
    if size is None:
        atom = form.atom()
        extent = ranges.get(atom) if isinstance(atom, Var) else None
        whole = isinstance(extent, Expr) and expr_key(extent) == expr_key(full)
        return Digits(item, zero, one, form.cast(dtype).expr(), full) if whole else None
    span = relax_form(part, set(inner), ranges)
    if span is None or not isinstance(full, Const):
        return None
    rest = (form - part).shift(span.lo)
    if size == 0 or int(full) % size or rest.constant % size or any(k % size for k in rest.terms.values()):
        return None
    if any(k < 0 for k in part.terms.values()):  # what a condition leaves of a falling digit starts elsewhere
        return None
    outer = Linear({a: k // size for a, k in rest.terms.items()}, rest.constant // size, rest.dtype)
    return Digits(item, outer.cast(dtype).expr(), const(int(full) // size, full.dtype),
                  part.shift(-span.lo).cast(dtype).expr(), const(size, full.dtype))  # fmt: skip


def _check_init(func: PrimFunc, part: Part) -> None:
    """The init can stand in the new block: it needs nothing of the old one but its iterators (P5)."""
    block = part.realize.block
    assert block.init is not None
    private = {*block.alloc_buffers, *(m.buffer for m in block.match_buffers)}
    if private & set(buffers_used(block.init)):
        marks = [(part.realize, "the reduction")]
        raise refusal(func, "blockize.P5", f"the init of block {block.name} uses a private buffer", marks)
    for item in block.iter_vars:
        if item.iter_type not in ("spatial", "reduce"):
            what = f"{item.var.name} of block {block.name}, which has an init, is an {item.iter_type} iterator"
            raise refusal(func, "blockize.P5", what, [(item, "this iterator"), (part.realize, "the reduction")])
        if item.iter_type == "reduce" and uses_any(block.init, {item.var}):
            what = f"the init of block {block.name} uses the reduce iterator {item.var.name}"
            raise refusal(func, "blockize.P5", what, [(item, "this iterator"), (part.realize, "the reduction")])


def _init_predicate(
    func: PrimFunc, realize: BlockRealize, loops: Sequence[For], predicate: Sequence[Expr], ranges: Ranges
) -> tuple[Expr, ...]:
    """When the first instance of each reduction runs: the conditions with the loops that only reduce at 0 (P5)."""
    spatial = {var for item, value in zip(realize.block.iter_vars, realize.iter_values, strict=True)
               if item.iter_type == "spatial" for var in variables(value)}  # fmt: skip
    starts: dict[Var, Expr] = {loop.loop_var: loop.min for loop in loops if loop.loop_var not in spatial}
    kept: list[Expr] = []
    for conjunct in predicate:
        first = simplify(substitute(conjunct, starts), ranges)
        verdict = proved(first, ranges)
        if verdict is False:
            what = "the predicate leaves out the first instance of the reduction"
            raise refusal(func, "blockize.P5", what, [(conjunct, "this condition"), (realize, "the reduction")])
        if verdict is None:
            kept.append(first)
    for loop in loops:  # the init moves out of them
        if loop.loop_var in starts and not (isinstance(loop.extent, Const) and int(loop.extent) > 0):
            what = f"loop {loop.loop_var.name} of the reduction may have no iteration, where the init does not run"
            raise refusal(func, "blockize.P5", what, [(loop, "this loop"), (realize, "the reduction")],
                          "decompose_reduction first")  # fmt: skip
    return tuple(kept)


# ---- the new block


def build_blockize(func: PrimFunc, facts: BlockizeFacts) -> Result:
    """The loops and blocks inside the new block."""
    first = facts.parts[0]
    items = tuple([_iterator(d, "o", d.outer_extent) for d in first.digits])
    single = len(facts.parts) == 1
    edits: dict[Any, Stmt | None] = {}
    reads: list[BufferRegion] = []
    writes: list[BufferRegion] = []
    init: Stmt | None = None
    for part in facts.parts:
        inner, lifted = _inner(part, items, separate_init=single)
        edits[part.realize] = inner
        reads += lifted[0]
        writes += lifted[1]
        if single and part.realize.block.init is not None:
            init = _init(func, part, items)
    ranges = iterator_ranges(items)
    block = make_block(facts.name, _edited(facts.body, edits), iter_vars=items, init=init,
                       reads=_merged(reads, ranges), writes=_merged(writes, ranges))  # fmt: skip
    outer = BlockRealize(tuple([d.outer for d in first.digits]), first.outer_predicate, block)
    return replace_at(func, {facts.body: outer}), (block.token,)


def _edited(stmt: Stmt, edits: Mapping[Any, Stmt | None]) -> Stmt:
    holder = PrimFunc((), stmt)
    return replace_at(holder, edits).body


def _values(part: Part, items: Sequence[IterVar], inner: Mapping[IterVar, Var]) -> dict[Var, Expr]:
    """The old iterators over the new ones."""
    values: dict[Var, Expr] = {}
    for digit, item in zip(part.digits, items, strict=True):
        dtype = item.var.type
        if digit.unit:
            values[digit.item.var] = const(0, dtype)
        elif not digit.has_inner:
            values[digit.item.var] = item.var
        elif _is_one(digit.outer_extent):
            values[digit.item.var] = inner[digit.item]
        else:
            size = int(digit.extent)  # type: ignore[call-overload]
            values[digit.item.var] = (term(item.var).scale(size) + term(inner[digit.item])).cast(dtype).expr()
    return values


def _iterator(digit: Digits, name: str, extent: Expr) -> IterVar:
    var = Var(f"{digit.item.var.name}_{name}", digit.item.var.type)
    return IterVar(var, Range(const(0, extent.dtype), extent), digit.item.iter_type)


Regions = tuple[list[BufferRegion], list[BufferRegion]]


def _inner(part: Part, items: Sequence[IterVar], *, separate_init: bool) -> tuple[BlockRealize, Regions]:
    """The old block over the inner iterators, and its regions over the outer ones."""
    block = part.realize.block
    own = {digit.item: _iterator(digit, "i", digit.extent) for digit in part.digits if digit.has_inner}
    values = _values(part, items, {item: made.var for item, made in own.items()})
    iter_values = tuple([digit.inner for digit in part.digits if digit.has_inner])
    made = substitute(replace(block, iter_vars=()), values)
    ranges = {**iterator_ranges(items), **iterator_ranges(own.values())}
    over = {item.var for item in own.values()}
    lifted = ([_lifted(r, over, ranges) for r in made.reads], [_lifted(w, over, ranges) for w in made.writes])
    made = replace(made, iter_vars=tuple(own.values()), token=block.token)
    if separate_init and block.init is not None:
        reads, writes = access_regions(made.body, None, ranges, private=made.alloc_buffers, matched=made.match_buffers)
        made = replace(made, init=None, reads=reads, writes=writes)
    return BlockRealize(iter_values, part.inner_predicate, made), lifted


def _lifted(region: BufferRegion, over: set[Var], ranges: Ranges) -> BufferRegion:
    """``region`` while the iterators ``over`` run."""
    return BufferRegion(region.buffer, tuple([_lifted_range(d, full, over, ranges) for d, full in
                                              zip(region.region, region.buffer.shape, strict=True)]))  # fmt: skip


def _lifted_range(dimension: Range, full: Expr, over: set[Var], ranges: Ranges) -> Range:
    if not uses_any(dimension, over):
        return Range(simplify(dimension.min, ranges), dimension.extent)
    extent = simplify(dimension.extent, ranges)
    span = relax(dimension.min, over, ranges) if isinstance(extent, Const) else None
    if span is None:
        return Range(const(0, full.dtype), full)
    return _cut(span.widen(int(extent) - 1), full)  # type: ignore[call-overload]


def _cut(span: Span, full: Expr) -> Range:
    """The span inside a dimension; numbers are cut to it."""
    start, size = span.start(), span.extent
    first = start.number()
    if isinstance(full, Const) and (size >= int(full) or first is not None):
        first = first if first is not None and size < int(full) else 0
        last = min(first + size, int(full))
        first = max(first, 0)
        return Range(const(first, full.dtype), const(max(last - first, 0), full.dtype))
    value = start.cast(full.dtype).expr()
    return Range(value, const(size, value.dtype))


def _merged(regions: Sequence[BufferRegion], ranges: Ranges) -> tuple[BufferRegion, ...]:
    """One region per buffer: where several blocks use one, around all of them."""
    found: dict[Any, BufferRegion] = {}
    for region in regions:
        known = found.get(region.buffer)
        found[region.buffer] = region if known is None else _around(known, region, ranges)
    return tuple(found.values())


def _around(a: BufferRegion, b: BufferRegion, ranges: Ranges) -> BufferRegion:
    dims = zip(a.region, b.region, a.buffer.shape, strict=True)
    return BufferRegion(a.buffer, tuple([_around_range(x, y, full, ranges) for x, y, full in dims]))


def _around_range(a: Range, b: Range, full: Expr, ranges: Ranges) -> Range:
    if expr_key(a) == expr_key(b):
        return a
    gap = (linear(b.min, ranges) - linear(a.min, ranges)).number()
    if gap is None or not isinstance(a.extent, Const) or not isinstance(b.extent, Const):
        return Range(const(0, full.dtype), full)
    low, high = min(0, gap), max(int(a.extent), gap + int(b.extent))
    return _cut(Span(linear(a.min, ranges), low, high - 1), full)


def _init(func: PrimFunc, part: Part, items: Sequence[IterVar]) -> Stmt:
    """The init of the old block, with its spatial inner iterators and the loops that feed them."""
    block = part.realize.block
    assert block.init is not None
    spatial = [digit for digit in part.digits if digit.has_inner and digit.item.iter_type == "spatial"]
    needed = [digit.inner for digit in spatial] + list(part.init_predicate)
    used = set(concatenated.from_iterable(variables(expr) for expr in needed))
    loops = [loop for loop in part.loops if loop.loop_var in used]
    loop_vars: dict[Var, Expr] = {loop.loop_var: Var(loop.loop_var.name, loop.loop_var.type) for loop in loops}
    own = {digit.item: _iterator(digit, "i_init", digit.extent) for digit in spatial}
    values = _values(part, items, {**{d.item: d.item.var for d in part.digits}, **{i: m.var for i, m in own.items()}})
    body = substitute(block.init, values)  # moved, not copied: the handles in it stay
    ranges = {**iterator_ranges(items), **iterator_ranges(own.values())}
    reads, writes = access_regions(body, None, ranges)
    made = make_block(_name(func, f"{block.name}_init"), body, iter_vars=tuple(own.values()), reads=reads,
                      writes=writes)  # fmt: skip
    predicate = tuple([substitute(conjunct, loop_vars) for conjunct in part.init_predicate])
    result: Stmt = BlockRealize(tuple([substitute(d.inner, loop_vars) for d in spatial]), predicate, made)
    for loop in reversed(loops):
        extent = substitute(loop.extent, loop_vars)
        result = replace(loop, loop_var=loop_vars[loop.loop_var], extent=extent, body=result)
    return seq(result)


def _is_one(extent: Expr) -> bool:
    return isinstance(extent, Const) and int(extent) == 1


def draw_blockize(pick: Pick, func: PrimFunc) -> dict[str, Any] | None:
    """A loop, sometimes the blocks of a scope."""
    loops = list(index(func).loops.values())
    options: list[Handle] = [loop.loop_var for loop in loops]
    if not options:
        return None
    scopes = [found for realize in index(func).blocks.values() if len(found := child_blocks(realize)) > 1]
    scopes += [found for loop in loops if len(found := blocks_below(loop)) > 1]
    units = pick([True, True, False])
    if scopes and pick([False, False, True]):
        found = pick(scopes)
        start = pick(range(len(found) - 1))
        return {"target": [realize.block.token for realize in found[start : start + 2]], "preserve_unit_iters": units}
    return {"target": pick(options), "preserve_unit_iters": units}


BLOCKIZE = register(
    Primitive(
        "blockize",
        {
            "P1": "there is one block under the loop, or the given blocks are all that their common loop holds",
            "P2": "the blocks are in one scope, where there are only loops and blocks",
            "P3": "the loops inside are plain and run through whole digits of the iterators, which start at 0",
            "P4": "each condition is about loops inside or about loops outside",
            "P5": "an init uses no private buffer, in a block of spatial and reduce iterators, and its instance runs",
            "P6": "several blocks have the same outer iterators, all spatial, and the same conditions",
            "P7": "several blocks: different iterations of the loops around use different elements of what they write",
        },
        plan_blockize,
        build_blockize,
        draw_blockize,
        returns="one",
        attributes=("preserve_unit_iters",),
        forceable=frozenset({"P7"}),
    )
)
