"""pad_einsum: the iterators of a block rounded up, its inputs padded with zeros, its outputs cut out again."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mlcref.arith import access_regions, linear, simplify, uses_any
from mlcref.dtype import is_float
from mlcref.ir import (
    LT, Add, Block, BlockRealize, Buffer, BufferLoad, BufferRegion, BufferStore, Call, Cast, Const, Div, Expr, FloorDiv,
    FloorMod, For, IterVar, LetStmt, Max, Min, Mod, Mul, PrimFunc, Range, Select, SeqStmt, Stmt, Sub, Token, Var, call,
    cast, children_of, conjunction, const, index, loads, make_block, replace, replace_at, replace_block,
    replace_buffers, seq, structural_equal, unique_name, walk,
)  # fmt: skip
from mlcref.schedule.dataflow import CONCURRENT, any_concurrent, check_new_memory, check_scope
from mlcref.schedule.find import block_of, blocks_below, loops_above
from mlcref.schedule.nest import covers_domains, iterator_ranges, starts_at_zero
from mlcref.schedule.reducers import NoReduction, as_sum, reduction_of
from mlcref.schedule.table import Pick, Primitive, Result, refusal, refuse, register

ZERO_AT_ZERO = ("abs", "fabs", "sqrt", "sin", "tan", "tanh", "erf", "asin", "atan", "sinh")
"""Functions that are 0 at 0."""
Place = tuple[Expr, ...]


@dataclass(frozen=True, slots=True)
class Padding:
    """A buffer, what stands for it in the block, and how much of each dimension both have; ``cut`` are the dimensions
    in which the padded one has more."""

    buffer: Buffer
    padded: Buffer
    extents: tuple[Expr, ...]
    cut: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class PadFacts:
    """The block, the statement of its scope that it is in, new extents of iterators and loops, the buffers."""

    realize: BlockRealize
    part: Stmt
    scope: Token
    extents: Mapping[Var, Expr]
    inputs: tuple[Padding, ...]
    outputs: tuple[Padding, ...]


def plan_pad_einsum(func: PrimFunc, block: Token, padding: list[int]) -> PadFacts:
    """Round the extent of each iterator of a block up to a multiple of ``padding``. Buffers that such iterators index
    are copied: inputs with zeros behind their end before the block, outputs back after it.

    The block computes ``C[vi, vj] += A[vi, vk] * B[vk, vj]`` or the like: stores at iterators and constants. Where
    reduce iterators are padded, zeros must add nothing: a sum, of products with a padded factor.

    >>> from mlcref.schedule import Schedule
    >>> from mlcref.script import tir as T
    >>> @T.prim_func
    ... def total(A: T.Buffer((7,), "float32"), B: T.Buffer((1,), "float32")):
    ...     for k in range(7):
    ...         with T.block("B"):
    ...             vk = T.axis.reduce(7, k)
    ...             with T.init():
    ...                 B[0] = T.float32(0)
    ...             B[0] = B[0] + A[vk]
    >>> sch = Schedule(total)
    >>> sch.pad_einsum(sch.get_block("B"), [4])
    >>> print(sch.mod["main"].script())
    # from tvm.script import tir as T
    <BLANKLINE>
    @T.prim_func
    def total(A: T.Buffer((7,), "float32"), B: T.Buffer((1,), "float32")):
        # with T.block("root"):
        A_pad = T.alloc_buffer((8,))
        for i0 in range(8):
            with T.block("A_pad"):
                v0 = T.axis.spatial(8, i0)
                T.reads(A[v0])
                T.writes(A_pad[v0])
                A_pad[v0] = T.if_then_else(v0 < 7, A[v0], T.float32(0.0))
        for k in range(8):
            with T.block("B"):
                vk = T.axis.reduce(8, k)
                T.reads(A_pad[vk])
                T.writes(B[0])
                with T.init():
                    B[0] = T.float32(0.0)
                B[0] = B[0] + A_pad[vk]

    Source: TVM ``pad_einsum``.
    """
    realize = block_of(func, block)
    scope = check_scope(func, "pad_einsum.P2", realize)
    marks = [(realize, "to be padded")]
    items = realize.block.iter_vars
    if len(padding) != len(items) or any(isinstance(p, bool) or p <= 0 for p in padding):
        what = f"padding {padding} is not one positive number for each of {len(items)} iterators"
        raise refusal(func, "pad_einsum.P1", what, marks)
    rounded = _rounded(items, padding)
    places, stored = _einsum(func, realize, rounded)
    wider, longer = _wider_loops(func, realize, rounded)
    _check_values(func, realize, longer)
    padded = {buffer: place for buffer, place in places.items() if _uses(place, rounded)}
    outputs = [_padding(func, b, place, items, rounded, True) for b, place in padded.items() if b in stored]
    inputs = [_padding(func, b, place, items, rounded, False) for b, place in padded.items() if b not in stored]
    _check_outputs(func, realize, [places[buffer] for buffer in stored], longer, outputs)
    part = next(p for p in children_of(scope.block.body) if realize in blocks_below(p))
    _check_others(func, realize, part, inputs, outputs)
    facts = PadFacts(realize, part, scope.block.token, {**rounded, **wider}, tuple(inputs), tuple(outputs))
    _check_around(func, facts, scope)
    return facts


def _uses(place: Place, iterators: Collection[Var]) -> bool:
    return any(uses_any(i, set(iterators)) for i in place)


def _einsum(
    func: PrimFunc, realize: BlockRealize, rounded: Collection[Var]
) -> tuple[dict[Buffer, Place], list[Buffer]]:
    """Where the block uses each buffer, and which ones it stores: stores and nothing else, each buffer at one place
    made of iterators and constants (P3). Buffers that are read only where no padded iterator leads need no padding,
    so that any places will do."""
    block, rule = realize.block, "pad_einsum.P3"
    places: dict[Buffer, Place] = {}
    lets, values, stores = _parts(block)
    for stmt in stores:
        if not isinstance(stmt, BufferStore) or block.alloc_buffers or block.match_buffers:
            what = f"block {block.name} is more than stores"
            raise refusal(func, rule, what, [(realize, "to be padded"), (stmt, "this statement")])
    read = [load for value in values for load in loads(value)]
    moving = {load.buffer for load in read if _uses(load.indices, {*rounded, *lets})}
    moving |= {s.buffer for s in stores if isinstance(s, BufferStore)}
    uses = [(load.buffer, load.indices) for load in read if load.buffer in moving]
    for buffer, place in [*uses, *[(s.buffer, s.indices) for s in stores if isinstance(s, BufferStore)]]:
        known = places.setdefault(buffer, place)
        plain = all(isinstance(i, Const) or (type(i) is Var and i not in lets) for i in place)
        if not plain or not all(structural_equal(a, b) for a, b in zip(known, place, strict=True)):
            what = f"block {block.name} uses {buffer.name} at more than one place, or not at iterators"
            raise refusal(func, rule, what, [(realize, "to be padded")])
    stored = list(dict.fromkeys(stmt.buffer for stmt in stores if isinstance(stmt, BufferStore)))
    for item in block.iter_vars:
        if item.iter_type not in ("spatial", "reduce") or not starts_at_zero(item):
            what = f"{item.var.name} of block {block.name} is {item.iter_type} or does not start at 0"
            raise refusal(func, rule, what, [(item, "this iterator")])
    if block.init is None and any(load.buffer in stored for load in loads(block.body)):
        what = f"block {block.name} reads what it writes"
        raise refusal(func, rule, what, [(realize, "to be padded")], "pad before decompose_reduction")
    return places, stored


def _parts(block: Block) -> tuple[set[Var], list[Expr], list[Stmt]]:
    """Of body and init: the variables of ``T.let``, all values, and the statements under the lets."""
    lets: set[Var] = set()
    values: list[Expr] = []
    stores: list[Stmt] = []
    for stmt in (block.body, block.init):
        while isinstance(stmt, LetStmt):
            lets.add(stmt.var)
            values.append(stmt.value)
            stmt = stmt.body
        stores += children_of(stmt) if stmt is not None else ()
    return lets, [*values, *[s.value for s in stores if isinstance(s, BufferStore)]], stores


def _rounded(items: Sequence[IterVar], padding: Sequence[int]) -> dict[Var, Expr]:
    """New extents of the iterators that change."""
    found: dict[Var, Expr] = {}
    for item, step in zip(items, padding, strict=True):
        extent = item.dom.extent
        new = simplify((extent + (step - 1)) // step * step, {})
        if (linear(new, {}) - linear(extent, {})).number() != 0:
            found[item.var] = const(int(new.value), extent.dtype) if isinstance(new, Const) else new
    return found


def _wider_loops(
    func: PrimFunc, realize: BlockRealize, rounded: Mapping[Var, Expr]
) -> tuple[dict[Var, Expr], set[Var]]:
    """The loops that get longer, each feeding one iterator that is rounded up and nothing else, and these iterators
    (P4). An iterator that is not fed by one loop takes no new values."""
    loops = {loop.loop_var: loop for loop in loops_above(func, realize)}
    wider: dict[Var, Expr] = {}
    longer: set[Var] = set()
    for k, (item, value) in enumerate(zip(realize.block.iter_vars, realize.iter_values, strict=True)):
        if item.var not in rounded or not isinstance(value, Var) or value not in loops:
            continue
        loop, var = loops[value], value
        elsewhere = [*realize.iter_values[:k], *realize.iter_values[k + 1 :], *realize.predicate]
        elsewhere += [e for other in loops.values() for e in (other.min, other.extent)]
        fits = (linear(loop.extent, {}) - linear(item.dom.extent, {})).number() == 0 and _is(loop.min, 0)
        alone = blocks_below(loop) == [realize] and not any(uses_any(e, {var}) for e in elsewhere)
        if not (fits and alone) or loop.kind == "thread_binding":
            what = f"loop {var.name} is not for iterator {item.var.name} of block {realize.block.name} alone"
            raise refusal(func, "pad_einsum.P4", what, [(loop, "would get longer"), (realize, "to be padded")])
        if item.iter_type == "reduce" and loop.kind in CONCURRENT:  # possible as long as it has one iteration
            what = f"more than one iteration of loop {var.name} would run at once, and it reduces"
            raise refusal(func, "pad_einsum.P4", what, [(loop, "would get longer"), (realize, "to be padded")])
        wider[var] = rounded[item.var]
        longer.add(item.var)
    return wider, longer


def _is(value: Expr, number: int) -> bool:
    return isinstance(value, Const) and int(value.value) == number


def _check_values(func: PrimFunc, realize: BlockRealize, longer: set[Var]) -> None:
    """The new instances have a meaning, and zeros add nothing to a reduction (P5)."""
    block, marks = realize.block, [(realize, "to be padded")]
    for node in walk(block) if longer else ():
        if _may_fail(node):
            raise refusal(func, "pad_einsum.P5", f"{node!r} may mean nothing for zeros", [*marks, (node, "here")])
    reduced = {item.var for item in block.iter_vars if item.iter_type == "reduce"} & longer
    if reduced:
        hint = "only sums of products are padded with zeros"
        try:
            body = block.body  # what is taken off is 0 as well
            body = replace(body, value=as_sum(body, body.value)) if isinstance(body, BufferStore) else body
            found = reduction_of(block.init if block.init is not None else body, body)
        except NoReduction as reason:
            refuse(func, "pad_einsum.P5", f"block {block.name}: {reason}", marks, hint)
            return
        for part in found.parts:
            for var in reduced:
                zero = all(_zero(found.operands[i], var) for i in part.positions)
                if part.reducer.name != "sum" or not zero:
                    what = f"zeros where {var.name} is padded change the {part.reducer.name} of block {block.name}"
                    refuse(func, "pad_einsum.P5", what, marks, hint)


def _may_fail(node: Any) -> bool:
    """May an operation mean nothing for operands that did not occur before?"""
    if isinstance(node, Div | Mod | FloorDiv | FloorMod):
        return not is_float(node.dtype) and not isinstance(node.b, Const)
    if isinstance(node, Cast):
        return is_float(node.value.dtype) and not is_float(node.dtype)
    return isinstance(node, Call) and node.op != "if_then_else" and not is_float(node.dtype)


def _zero(value: Expr, var: Var) -> bool:
    """Is the value 0 where buffers that ``var`` indexes hold 0?"""
    match value:
        case BufferLoad():
            return _uses(value.indices, [var])
        case Const():
            return bool(value.value == 0)
        case Cast():
            return _zero(value.value, var)
        case Mul():
            return _zero(value.a, var) or _zero(value.b, var)
        case Add() | Sub() | Min() | Max():
            return _zero(value.a, var) and _zero(value.b, var)
        case Select():
            return _zero(value.true_value, var) and _zero(value.false_value, var)
        case Call() if value.op in ZERO_AT_ZERO:
            return _zero(value.args[0], var)
    return False


def _padding(
    func: PrimFunc, buffer: Buffer, place: Place, items: Sequence[IterVar], rounded: Mapping[Var, Expr], output: bool
) -> Padding:
    """The buffer that stands for another one: as long as the iterators, 1 where the index is 0."""
    shape: list[Expr] = []
    common: list[Expr] = []
    domains = {item.var: item.dom.extent for item in items}
    for i, extent in zip(place, buffer.shape, strict=True):
        domain: Expr | None = domains.get(i, None if output else extent) if isinstance(i, Var) else None
        if isinstance(i, Const) and (output or _is(i, 0)):
            domain = const(1, extent.dtype) if _is(i, 0) else None
        elif isinstance(i, Const):
            domain = extent
        inside = None if domain is None else _shorter(domain, extent)
        if inside is None:
            what = f"the block does not use {buffer.name} from its beginning, or it is not known how far"
            raise refusal(func, "pad_einsum.P3", what, hint=f"its index is {i!r}, the extent there {extent!r}")
        longer = rounded.get(i) if isinstance(i, Var) else None
        shape.append(longer if longer is not None else inside if isinstance(i, Const) else extent)
        common.append(inside if output or longer is not None else shape[-1])
    used = {b.name for realize in index(func).blocks.values() for b in realize.block.alloc_buffers}
    used |= {b.name for b in func.buffers}
    new = Buffer(unique_name(f"{buffer.name}_pad", used), tuple(shape), buffer.type, buffer.scope)
    cut = tuple([d for d, i in enumerate(place) if isinstance(i, Var) and i in rounded])
    return Padding(buffer, new, tuple(common), cut)


def _shorter(a: Expr, b: Expr) -> Expr | None:
    gap = (linear(a, {}) - linear(b, {})).number()
    return None if gap is None else b if gap >= 0 else a


def _check_outputs(
    func: PrimFunc, realize: BlockRealize, places: Sequence[Place], longer: set[Var], outputs: Sequence[Padding]
) -> None:
    """New spatial instances write elements of their own, and what is copied back was all written (P6)."""
    marks = [(realize, "to be padded")]
    for item in realize.block.iter_vars:
        if item.iter_type == "spatial" and item.var in longer and not all(_uses(p, [item.var]) for p in places):
            what = f"{item.var.name} does not index all outputs of block {realize.block.name}"
            refuse(func, "pad_einsum.P6", what, [*marks, (item, "this iterator")])
    for place in places if outputs else ():
        used = [i for i in place if isinstance(i, Var)]
        if len(set(used)) != len(used):
            what = f"an output of block {realize.block.name} has one iterator in two dimensions"
            refuse(func, "pad_einsum.P6", what, marks)
    path = loops_above(func, realize)
    sized = any(uses_any(up.extent, {other.loop_var for other in path}) for up in path)
    if outputs and (sized or not covers_domains(func, realize, realize.predicate)):
        refuse(func, "pad_einsum.P6", f"block {realize.block.name} does not run for all its iterators", marks)


def _check_others(
    func: PrimFunc, realize: BlockRealize, part: Stmt, inputs: Sequence[Padding], outputs: Sequence[Padding]
) -> None:
    """Nothing in the same statement of the scope makes an input, or uses an output (P7)."""
    made, used = {p.buffer for p in inputs}, {p.buffer for p in outputs}
    for other in blocks_below(part):
        writes, reads = ({r.buffer for r in regions} for regions in (other.block.writes, other.block.reads))
        shared = (writes & (made | used)) | (reads & used)
        if other is not realize and shared:
            names = ", ".join(sorted(buffer.name for buffer in shared))
            what = f"block {other.block.name} uses {names} in the same loops"
            refuse(func, "pad_einsum.P7", what, [(realize, "to be padded"), (other, f"uses {names}")])


def _check_around(func: PrimFunc, facts: PadFacts, scope: BlockRealize) -> None:
    """The scope may use all of the buffers that are copied, and threads see the memory they need (P8)."""
    rule, marks = "pad_einsum.P8", [(facts.realize, "to be padded")]
    for paddings, regions in ((facts.inputs, scope.block.reads), (facts.outputs, scope.block.writes)):
        for padding in paddings:
            buffer = padding.buffer
            if scope is not func.body and buffer not in scope.block.alloc_buffers and not _covers(regions, padding):
                what = f"block {scope.block.name} around it does not use all of {buffer.name}"
                refuse(func, rule, what, [*marks, (scope, "around it")])
    if facts.extents and any_concurrent(func):
        check_new_memory(func, rule, build_pad_einsum(func, facts)[0], marks)


def _covers(regions: Sequence[BufferRegion], padding: Padding) -> bool:
    return any(
        region.buffer is padding.buffer
        and all(_is(r.min, 0) and _reaches(r.extent, n) for r, n in zip(region.region, padding.extents, strict=True))
        for region in regions
    )


def _reaches(extent: Expr, wanted: Expr) -> bool:
    return (gap := (linear(extent, {}) - linear(wanted, {})).number()) is not None and gap >= 0


# ---- the program


def build_pad_einsum(func: PrimFunc, facts: PadFacts) -> Result:
    """Copies before and after the part of the scope with the block, in which the block works on padded buffers."""
    names = {realize.block.name for realize in index(func).blocks.values()}
    before = [_fill(padding, names) for padding in facts.inputs]
    runs = [up.extent for up in loops_above(func, facts.realize) if not isinstance(up.extent, Const)]
    after = [_cut(padding, runs, names) for padding in facts.outputs]
    func = replace_at(func, {facts.part: seq(*before, _widened(facts.part, facts), *after)})
    scope = index(func).blocks[facts.scope].block
    made = [padding.padded for padding in (*facts.inputs, *facts.outputs)]
    return replace_block(func, facts.scope, replace(scope, alloc_buffers=(*scope.alloc_buffers, *made))), ()


def _widened(stmt: Stmt, facts: PadFacts) -> Stmt:
    if isinstance(stmt, For):
        return replace(stmt, extent=facts.extents.get(stmt.loop_var, stmt.extent), body=_widened(stmt.body, facts))
    if isinstance(stmt, SeqStmt):
        return seq(*[_widened(part, facts) for part in stmt.seq])
    return replace(facts.realize, block=_padded_block(facts)) if stmt is facts.realize else stmt


def _padded_block(facts: PadFacts) -> Block:
    block = replace_buffers(facts.realize.block, {p.buffer: p.padded for p in (*facts.inputs, *facts.outputs)})
    items = tuple([_longer(item, facts.extents) for item in block.iter_vars])
    reads, writes = access_regions(block.body, block.init, iterator_ranges(items))
    return replace(block, iter_vars=items, reads=reads, writes=writes)


def _longer(item: IterVar, extents: Mapping[Var, Expr]) -> IterVar:
    return replace(item, dom=replace(item.dom, extent=extents.get(item.var, item.dom.extent)))


def _fill(padding: Padding, names: set[str]) -> Stmt:
    """The contents of an input, with zeros behind them."""
    items = _iterators(padding.padded.shape)
    point = tuple([item.var for item in items])
    inside = [LT(point[d], cast(point[d].dtype, padding.extents[d])) for d in padding.cut]
    value: Expr = BufferLoad(padding.buffer, point)
    if inside:
        value = call("if_then_else", conjunction(inside), value, const(0, value.dtype))
    return _copy_nest(padding, BufferStore(padding.padded, value, point), items, names)


def _cut(padding: Padding, runs: Sequence[Expr], names: set[str]) -> Stmt:
    """The contents of an output, without what was computed behind them; nothing where one of the extents ``runs`` is
    0, since then nothing was computed."""
    items = _iterators(padding.extents)
    point = tuple([item.var for item in items])
    some = [LT(const(0, n.dtype), n) for n in runs if not any(structural_equal(n, e) for e in padding.extents)]
    store = BufferStore(padding.buffer, BufferLoad(padding.padded, point), point)
    return _copy_nest(padding, store, items, names, tuple(some))


def _iterators(shape: Sequence[Expr]) -> list[IterVar]:
    return [
        IterVar(Var(f"v{d}", extent.dtype), Range(const(0, extent.dtype), extent), "spatial")
        for d, extent in enumerate(shape)
    ]


def _copy_nest(
    padding: Padding, body: BufferStore, items: Sequence[IterVar], names: set[str], predicate: tuple[Expr, ...] = ()
) -> Stmt:
    name = unique_name(padding.padded.name, names)
    names.add(name)
    place = tuple([Range(item.var, const(1, item.var.type)) for item in items])
    (load,) = loads(body.value)
    reads, writes = [BufferRegion(load.buffer, place)], [BufferRegion(body.buffer, place)]
    block = make_block(name, body, iter_vars=items, reads=reads, writes=writes)
    loops = [Var(f"i{d}", item.var.type) for d, item in enumerate(items)]
    result: Stmt = BlockRealize(tuple(loops), predicate, block)
    for var, item in reversed(list(zip(loops, items, strict=True))):
        result = For(var, const(0, var.type), item.dom.extent, "serial", result)
    return result


def draw_pad_einsum(pick: Pick, func: PrimFunc) -> dict[str, Any] | None:
    """A block that stores, and a small number for each of its iterators."""
    sites = [t for t, realize in index(func).blocks.items() if isinstance(realize.block.body, BufferStore)]
    if not sites:
        return None
    token = pick(sites)
    return {"block": token, "padding": [pick([1, 2, 4]) for _ in index(func).blocks[token].block.iter_vars]}


PAD_EINSUM = register(
    Primitive(
        "pad_einsum",
        {
            "P1": "padding is one positive number for each iterator",
            "P2": "the block is in the body of its scope, where there are only loops and blocks",
            "P3": "the block only stores, each buffer at one place of iterators and constants, and reads no old output",
            "P4": "loops that get longer are over the domain of one iterator, of this block alone, and not bound; "
            "those that reduce are run in order",
            "P5": "the operations mean something for zeros, and zeros add nothing to its reductions",
            "P6": "spatial iterators that get longer index all outputs; outputs that are padded are written in full",
            "P7": "no other block in the same statement of the scope writes its inputs or uses its outputs",
            "P8": "the scope uses all of the buffers, and threads see the memory they need",
        },
        plan_pad_einsum,
        build_pad_einsum,
        draw_pad_einsum,
        attributes=("padding",),
        forceable=frozenset({"P5", "P6", "P7", "P8"}),
    )
)
