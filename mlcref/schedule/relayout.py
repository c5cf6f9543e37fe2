"""The program in the new layout of a buffer: what transform_layout builds from its facts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mlcref.arith import IndexMap, relax
from mlcref.arith.interval import Extent
from mlcref.ir import (
    EQ, BlockRealize, Buffer, BufferLoad, BufferRegion, BufferStore, Evaluate, Expr, For, IterVar, Not, Or, PrimFunc,
    Range, SeqStmt, Stmt, Token, Var, call, cast, conjuncts, const, constant, index, make_block, replace, replace_at,
    replace_block, rewrite, seq, substitute, unique_name, variables,
)  # fmt: skip
from mlcref.schedule.accesses import Ranges, rewrite_accesses, simplify_accesses
from mlcref.schedule.nest import iterator_ranges
from mlcref.schedule.table import Result


@dataclass(frozen=True, slots=True)
class Padding:
    """What the new layout leaves free: the inverse over ``axes``, the condition over them, and what is there."""

    axes: tuple[Var, ...]
    inverse: Mapping[Var, Expr]
    condition: Expr
    value: Expr


@dataclass(frozen=True, slots=True)
class LayoutFacts:
    """The buffer in both layouts, the map, and what to do about padding: nothing, ``"inside"`` (the producer computes
    it), ``"after"`` (a block writes it), ``"assume"`` (the caller provides it). ``made`` is the new function, where the
    plan had to look at it."""

    old: Buffer
    new: Buffer
    index_map: IndexMap
    padding: Padding | None = None
    where: str = "nowhere"
    writer: Token | None = None
    loops: tuple[For, ...] = ()
    made: PrimFunc | None = None


def build_transform_layout(func: PrimFunc, facts: LayoutFacts) -> Result:
    """Every access in the new layout, and the padding."""
    if facts.made is not None:
        return facts.made, ()
    func = _relaid(func, facts)
    if facts.where in ("after", "assume"):
        func = _with_block(func, facts)
    return func, ()


def _relaid(func: PrimFunc, facts: LayoutFacts) -> PrimFunc:
    old, new, mapped = facts.old, facts.new, facts.index_map
    known: dict[tuple[int, ...], Sequence[Expr]] = {}  # by the expressions themselves, which the old function keeps

    def point(buffer: Buffer, indices: Sequence[Expr], ranges: Ranges) -> tuple[Buffer, Sequence[Expr]]:
        if buffer is not old:
            return buffer, indices
        key = tuple([id(e) for e in indices])
        if not all(isinstance(e, Var) for e in indices):
            return new, mapped.map_indices(indices, ranges)
        if key not in known:
            known[key] = mapped.map_indices(indices, ranges)
        return new, known[key]

    def region(node: BufferRegion, ranges: Ranges) -> BufferRegion:
        if node.buffer is not old:
            return node
        if all(constant(r.extent) == 1 for r in node.region):
            _, places = point(old, [r.min for r in node.region], ranges)
            return replace(node, buffer=new, region=tuple([Range(e, const(1, e.dtype)) for e in places]))
        return map_region(node, new, mapped, ranges)

    body = rewrite_accesses(func.body, {}, point, region)
    params = tuple([new if p is old else p for p in func.params])
    func = PrimFunc(params, body, func.attrs)
    for token, realize in index(func).blocks.items():
        if old in realize.block.alloc_buffers:
            kept = tuple([new if b is old else b for b in realize.block.alloc_buffers])
            return replace_block(func, token, replace(realize.block, alloc_buffers=kept))
    return func


def map_region(node: BufferRegion, new: Buffer, mapped: IndexMap, ranges: Ranges) -> BufferRegion:
    """The region of the new layout around the elements of a region of the old one."""
    inner: dict[Var, Extent] = {}
    indices: list[Expr] = []
    for dimension in node.region:
        if constant(dimension.extent) == 1:
            indices.append(dimension.min)
        else:
            inside = Var("within", dimension.min.dtype)
            size = constant(dimension.extent)
            inner[inside] = dimension.extent if size is None else size
            indices.append(dimension.min + inside if constant(dimension.min) != 0 else inside)
    around = {**ranges, **inner}
    found: list[Range] = []
    for value, extent in zip(mapped.map_indices(indices, around), new.shape, strict=True):
        span = relax(value, set(inner), around) if variables(value) & set(inner) else None
        if not variables(value) & set(inner):
            found.append(Range(value, const(1, value.dtype)))
        elif span is None or (constant(extent) is not None and span.extent >= (constant(extent) or 0)):
            found.append(Range(const(0, extent.dtype), extent))
        else:
            found.append(Range(span.start().cast(value.dtype).expr(), const(span.extent, value.dtype)))
    return replace(node, buffer=new, region=tuple(found))


def over_new_layout(func: PrimFunc, facts: LayoutFacts) -> PrimFunc | None:
    """Every access in the new layout, the writer under loops over it, storing the pad value where no old element is.
    None when the writer does not store to the point of the new layout that its loops are at."""
    padding, writer = facts.padding, _writer(func, facts)
    assert padding is not None
    block, first = writer.block, [v is facts.loops[0].loop_var for v in writer.iter_values].index(True)
    items = [IterVar(Var(f"v_{a.name}", a.type), Range(const(0, a.type), cast(a.type, n)), "spatial")
             for a, n in zip(padding.axes, facts.new.shape, strict=True)]  # fmt: skip
    own = dict(zip(padding.axes, [item.var for item in items], strict=True))
    gone = block.iter_vars[first : first + len(facts.loops)]
    inverse = zip(facts.index_map.initial_indices, gone, strict=True)
    values = {item.var: cast(item.var.type, substitute(padding.inverse[i], own)) for i, item in inverse}
    kept = (*block.iter_vars[:first], *items, *block.iter_vars[first + len(gone) :])
    ranges = iterator_ranges(kept)

    def guarded(stmt: Stmt) -> Stmt:
        assert isinstance(stmt, BufferStore)
        pad = substitute(padding.value, own)
        value = call("if_then_else", substitute(padding.condition, own), pad, stmt.value)
        return replace(stmt, value=value)

    parts = replace(block, iter_vars=(), init=None if block.init is None else guarded(block.init),
                    body=guarded(block.body))  # fmt: skip
    changed = replace(simplify_accesses(substitute(parts, values), ranges), iter_vars=kept)
    bindings = (*writer.iter_values[:first], *padding.axes, *writer.iter_values[first + len(gone) :])
    new = replace(writer, iter_values=bindings, block=changed)
    inner = replace_inner(facts.loops[-1].body, writer, new)
    func = replace_at(func, {facts.loops[0]: _loops(padding.axes, facts.new.shape, inner)})
    return _straight(_relaid(func, facts), facts, items)


def _straight(func: PrimFunc, facts: LayoutFacts, items: Sequence[IterVar]) -> PrimFunc | None:
    """The writer's accesses of the buffer at the iterators themselves; None when one is elsewhere."""
    point = tuple([item.var for item in items])
    elsewhere = False

    def straighten(node: Any) -> Any:
        nonlocal elsewhere
        if not (isinstance(node, BufferLoad | BufferStore) and node.buffer is facts.new):
            return None
        for index_, item in zip(node.indices, items, strict=True):
            unit = constant(item.dom.extent) == 1 and constant(index_) == 0
            elsewhere = elsewhere or not (index_ is item.var or unit)
        return replace(node, indices=point)

    writer = _writer(func, facts)
    block = writer.block
    body, init = rewrite(straighten, block.body), block.init and rewrite(straighten, block.init)
    here = tuple([Range(v, const(1, v.type)) for v in point])
    regions = {name: tuple([replace(r, region=here) if r.buffer is facts.new else r for r in getattr(block, name)])
               for name in ("reads", "writes")}  # fmt: skip
    block = replace(block, body=body, init=init, **regions)
    return None if elsewhere else replace_at(func, {writer: replace(writer, block=block)})


def replace_inner(stmt: Stmt, old: Stmt, new: Stmt) -> Stmt:
    """A chain of loops with another innermost statement."""
    if stmt is old:
        return new
    assert isinstance(stmt, For)
    return replace(stmt, body=replace_inner(stmt.body, old, new))


def _loops(axes: Sequence[Var], extents: Sequence[Expr], body: Stmt) -> Stmt:
    for axis, extent in reversed(list(zip(axes, extents, strict=True))):
        body = For(axis, const(0, axis.type), cast(axis.type, extent), "serial", body)
    return body


def _with_block(func: PrimFunc, facts: LayoutFacts) -> PrimFunc:
    """A block over the new layout: after the writers it writes the padding, before everything it assumes it."""
    padding, new = facts.padding, facts.new
    assert padding is not None
    items = [IterVar(Var(f"v_{a.name}", a.type), Range(const(0, a.type), cast(a.type, n)), "spatial")
             for a, n in zip(padding.axes, new.shape, strict=True)]  # fmt: skip
    point = tuple([item.var for item in items])
    own: dict[Var, Expr] = dict(zip(padding.axes, point, strict=True))
    region = BufferRegion(new, tuple([Range(v, const(1, v.type)) for v in point]))
    value = substitute(padding.value, own)
    used = {realize.block.name for realize in index(func).blocks.values()}
    if facts.where == "assume":
        held = Or(Not(substitute(padding.condition, own)), EQ(BufferLoad(new, point), value))
        name = unique_name(f"buffer_{new.name}_assumptions", used)
        block = make_block(name, Evaluate(call("assume", held)), iter_vars=items, reads=[region])
    else:
        name = unique_name(f"buffer_{new.name}_padding", used)
        block = make_block(name, BufferStore(new, value, point), iter_vars=items, writes=[region])
    where = () if facts.where == "assume" else conjuncts(padding.condition)
    nest = _loops(padding.axes, new.shape, BlockRealize(padding.axes, where, block))
    part = func.root.body
    if facts.where == "assume":
        return replace_at(func, {part: seq(nest, part)})
    part = _part_with(func, _writer(func, facts), new)
    return replace_at(func, {part: seq(part, nest)})


def _writer(func: PrimFunc, facts: LayoutFacts) -> BlockRealize:
    assert facts.writer is not None
    return index(func).blocks[facts.writer]


def _part_with(func: PrimFunc, writer: BlockRealize, buffer: Buffer) -> Stmt:
    """The statement with the writer, of those in sequence in the scope that owns the buffer."""
    assert isinstance(func.body, BlockRealize)
    owner = func.body
    for realize in index(func).blocks.values():
        if buffer in realize.block.alloc_buffers:
            owner = realize
    if writer is owner:
        return owner.block.body
    part: Stmt = writer
    for up in index(func).above(writer):
        if up is owner or (up is owner.block.body and isinstance(up, SeqStmt)):
            break
        part = up
    return part
