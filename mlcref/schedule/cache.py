"""Copies of buffers in other memory: cache_read, cache_write.

A copy goes before the first reader, at the lowest place around both it and the writer, and copies exactly what the
writer writes in an iteration of the loops around that place. Anything larger would copy elements over that another
iteration has written.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from mlcref.arith import Span, linear
from mlcref.ir import (
    BlockRealize,
    Buffer,
    BufferLoad,
    BufferRegion,
    BufferStore,
    IterVar,
    PrimFunc,
    Range,
    SeqStmt,
    Stmt,
    Token,
    Var,
    children_of,
    const,
    index,
    make_block,
    replace,
    replace_at,
    replace_block,
    replace_buffers,
    seq,
    unique_name,
)
from mlcref.schedule.dataflow import check_races, check_scope, keeps_contents, shared_loops, uses_of
from mlcref.schedule.dependence import reduce_loops
from mlcref.schedule.draws import draw_cached
from mlcref.schedule.find import block_of, blocks_below, body_blocks, child_blocks, is_reduction, loops_above, writers
from mlcref.schedule.nest import Spans, contains, in_bounds, needed, needed_by_all, nest, ranges_at
from mlcref.schedule.table import Pick, Primitive, Result, refusal, refuse, register
from mlcref.schedule.written import disjoint, ends_inside, may_not_run, written

SCOPES = ("global", "shared", "local", "warp", "wmma", "m16n8k8")
"""First parts of the names of storage scopes."""


@dataclass(frozen=True, slots=True)
class CacheFacts:
    """The scope block, the buffer and its cache, the new nest, its place, and the blocks that use the cache instead."""

    scope: Token
    buffer: Buffer
    cache: Buffer
    copy: Stmt
    token: Token
    beside: Stmt
    after: bool
    users: tuple[Token, ...]


def build_cache(func: PrimFunc, facts: CacheFacts) -> Result:
    """The copy in its place, the users on the cache, the cache allocated by the scope."""
    pair = (facts.beside, facts.copy) if facts.after else (facts.copy, facts.beside)
    func = replace_at(func, {facts.beside: seq(*pair)})
    where = index(func).blocks
    func = replace_at(func, {where[t]: replace_buffers(where[t], {facts.buffer: facts.cache}) for t in facts.users})
    scope = index(func).blocks[facts.scope].block
    return replace_block(func, facts.scope, replace(scope, alloc_buffers=(*scope.alloc_buffers, facts.cache))), (
        facts.token,
    )


def _region(func: PrimFunc, name: str, realize: BlockRealize, wanted: int | str | Buffer, kind: str) -> BufferRegion:
    """The access that the caller means: by position, by the buffer's name, or by the buffer (P1)."""
    regions = realize.block.reads if kind == "read" else realize.block.writes
    for position, region in enumerate(regions):
        if wanted == position if isinstance(wanted, int) else wanted is region.buffer or wanted == region.buffer.name:
            return region
    known = ", ".join(f"{i}: {r.buffer.name}" for i, r in enumerate(regions)) or "none"
    what = f"block {realize.block.name} has no {kind} access {wanted!r}"
    raise refusal(func, f"{name}.P1", what, [(realize, "this block")], f"its {kind}s: {known}")


def _cache_buffer(func: PrimFunc, name: str, buffer: Buffer, storage_scope: str) -> Buffer:
    """A compact buffer like ``buffer`` in another scope (P2)."""
    if storage_scope.partition(".")[0] not in SCOPES:
        what = f"there is no storage scope {storage_scope!r}"
        raise refusal(func, f"{name}.P2", what, hint=f"one of {', '.join(SCOPES)}, or one of them with a suffix")
    used = {b.name for realize in index(func).blocks.values() for b in realize.block.alloc_buffers}
    used |= {b.name for b in func.buffers}
    label = unique_name(f"{buffer.name}_{storage_scope}", used)
    return Buffer(label, buffer.shape, buffer.type, storage_scope)


def _consumers(
    func: PrimFunc, name: str, scope: BlockRealize, buffer: Buffer, named: Sequence[Token | str] | None
) -> list[BlockRealize]:
    """The blocks of the scope that are meant to use the cache: those named, or (None) all readers (P4)."""
    readers = [b for b, _ in uses_of(child_blocks(scope), buffer)]
    if named is None:
        return readers
    chosen = [b for b in readers if b.block.token in named or b.block.name in named]
    if len(chosen) != len(set(named)):
        what = f"not every consumer block that is given reads {buffer.name}"
        marks = [(b, "reads it") for b in readers]
        raise refusal(func, f"{name}.P4", what, marks, f"readers: {', '.join(b.block.name for b in readers) or 'none'}")
    return chosen


def _site(func: PrimFunc, scope: BlockRealize, writer: BlockRealize, reader: BlockRealize | None) -> tuple[Stmt, bool]:
    """Beside which statement the copy goes, and whether after it: before the part with the first reader of the lowest
    sequence around it and the writer, or after the part of the scope's body with the writer."""
    above_writer = set(index(func).above(writer))
    part: Stmt = writer if reader is None else reader
    for up in index(func).above(part):
        if reader is not None and up in above_writer:
            return part, False
        if up is scope:
            break
        if not (isinstance(up, SeqStmt) and up is scope.block.body):
            part = up
    return part, True


def _copy(func: PrimFunc, source: Buffer, target: Buffer, spans: Spans, beside: Stmt) -> tuple[Stmt, Token]:
    """Loops that copy ``spans`` from one buffer to the other, one block instance per element."""
    items = [
        IterVar(Var(f"v{d}", extent.dtype), Range(const(0, extent.dtype), extent), "spatial")
        for d, extent in enumerate(source.shape)
    ]
    point = tuple([item.var for item in items])
    cache = target if target.name.startswith(source.name + "_") else source
    name = unique_name(cache.name, {realize.block.name for realize in index(func).blocks.values()})
    region = tuple([Range(v, const(1, v.type)) for v in point])
    block = make_block(
        name,
        BufferStore(target, BufferLoad(source, point), point),
        iter_vars=items,
        reads=[BufferRegion(source, region)],
        writes=[BufferRegion(target, region)],
    )
    want = dict(enumerate(spans))
    return nest(BlockRealize((), (), block), want, ranges_at(func, beside), units=True, exact=True), block.token


def _first(func: PrimFunc, blocks: Sequence[BlockRealize]) -> BlockRealize | None:
    order = index(func).order
    return min(blocks, key=lambda b: order[b], default=None)


def plan_cache_read(
    func: PrimFunc,
    block: Token,
    read_buffer_index: int | str | Buffer,
    storage_scope: str,
    consumer_blocks: list[Token] | None = None,
) -> CacheFacts:
    """Copy a buffer that the block reads into a new one in ``storage_scope``, and let its readers in the scope (or only
    ``consumer_blocks``) read the copy. Returns the copy block.

    ``read_buffer_index`` is a position in the block's reads, a buffer's name, or a buffer. A buffer that no block of
    the scope writes is copied at the front of the scope, in full. A copy in shared or local memory has to be under the
    same thread loops as its readers: move it there with ``compute_at``.

    >>> from mlcref.schedule.examples import Schedule, doubled, shown
    >>> sch = Schedule(doubled)
    >>> print(shown(sch))
    for i in range(10):
        with T.block("B"):
            vi = T.axis.spatial(10, i)
            B[vi] = A[vi] * T.float32(2.0)
    >>> copy = sch.cache_read("B", 0, "local")
    >>> print(shown(sch))
    A_local = T.alloc_buffer((10,), scope="local")
    for ax0 in range(10):
        with T.block("A_local"):
            v0 = T.axis.spatial(10, ax0)
            A_local[v0] = A[v0]
    for i in range(10):
        with T.block("B"):
            vi = T.axis.spatial(10, i)
            B[vi] = A_local[vi] * T.float32(2.0)

    Source: TVM ``cache_read``.
    """
    name = "cache_read"
    realize = block_of(func, block)
    scope = check_scope(func, f"{name}.P3", realize)
    buffer = _region(func, name, realize, read_buffer_index, "read").buffer
    cache = _cache_buffer(func, name, buffer, storage_scope)
    consumers = _consumers(func, name, scope, buffer, consumer_blocks)
    found = _writers_before(func, scope, buffer, consumers)
    writer = found[0] if found else None
    sites = {_site(func, scope, each, _first(func, consumers)) for each in found}
    if writer is None:
        beside, after = children_of(scope.block.body)[0], False
        spans = _read_in_scope(func, scope, buffer)
    elif len(found) > 1 and len(sites) == 1 and not loops_above(func, next(iter(sites))[0]):
        (beside, after), uses = next(iter(sites)), uses_of(consumers, buffer)  # all of them are done before the copy
        spans = [in_bounds(w, n) for w, n in zip(needed_by_all(func, uses, ()), buffer.shape, strict=True)]
    else:
        if len(found) > 1:
            names = " and ".join(b.block.name for b in found)
            refuse(func, "cache_read.P5", f"{buffer.name} is written by {names}", [(b, "writes it") for b in found])
        beside, after = _site(func, scope, writer, _first(func, consumers))
        spans = _written_there(func, name, scope, writer, buffer, beside, f"{name}.P6")
        spans = _with_what_is_read(func, scope, writer, buffer, consumers, beside, spans)
    copy, token = _copy(func, buffer, cache, spans, beside)
    users = tuple([b.block.token for b in consumers])
    facts = CacheFacts(scope.block.token, buffer, cache, copy, token, beside, after, users)
    check_races(func, f"{name}.P6", build_cache(func, facts)[0], [(realize, "this block")])
    return facts


def _writers_before(
    func: PrimFunc, scope: BlockRealize, buffer: Buffer, consumers: Sequence[BlockRealize]
) -> list[BlockRealize]:
    """The writers of the buffer in the scope, before all who shall read the copy (P4, P5); those that come after them,
    in other loops, do not matter."""
    order, inside = index(func).order, body_blocks(scope)
    found = writers(child_blocks(scope), buffer)
    found = [each for each in found if not consumers or any(
        order[each] <= order[b] or shared_loops(func, each, b) for b in consumers
    )]  # fmt: skip
    for consumer in consumers:
        marks = [(consumer, f"reads {buffer.name}"), *((b, "writes it") for b in found)]
        if consumer in found and len(found) > 1:
            what = f"{buffer.name} is written by {' and '.join(b.block.name for b in found)}"
            refuse(func, "cache_read.P5", what, marks)
        if consumer not in inside or consumer in found:
            what = f"block {consumer.block.name} also writes {buffer.name}, or is in an init"
            refuse(func, "cache_read.P4", what, marks)
        if any(order[each] > order[consumer] for each in found):
            what = f"block {consumer.block.name} reads {buffer.name} before it is written"
            refuse(func, "cache_read.P5", what, marks)
    return found


def _with_what_is_read(
    func: PrimFunc,
    scope: BlockRealize,
    writer: BlockRealize,
    buffer: Buffer,
    consumers: Sequence[BlockRealize],
    beside: Stmt,
    spans: Spans,
) -> Spans:
    """What to copy of a buffer that holds more than the writer writes now: what is read, where no loops are around the
    copy; else nothing but what is written may be read (P6)."""
    around = {loop.loop_var for loop in loops_above(func, beside)}
    blocks = child_blocks(scope)
    if buffer in scope.block.alloc_buffers and not keeps_contents(buffer, blocks, around):
        return spans
    uses = uses_of(consumers, buffer)
    for consumer, region in uses:
        shared = around & {loop.loop_var for loop in loops_above(func, consumer)}
        read = zip(needed(func, consumer, region, shared), buffer.shape, strict=True)
        wanted, made = [in_bounds(w, n) for w, n in read], written(func, writer, shared, buffer)
        ranges = ranges_at(func, consumer)
        if made is None or not all(contains(m, w, ranges) for m, w in zip(made, wanted, strict=True)):
            if not around:
                read = zip(needed_by_all(func, uses, ()), buffer.shape, strict=True)
                return [in_bounds(w, n) for w, n in read]
            what = f"block {consumer.block.name} may read more of {buffer.name} than is written before the copy"
            refuse(func, "cache_read.P6", what, [(consumer, "reads it"), (writer, "writes it")])
    return spans


def _read_in_scope(func: PrimFunc, scope: BlockRealize, buffer: Buffer) -> Spans:
    """What the scope declares to read, which is all that the consumers do read; without that the whole buffer (P6)."""
    for region in scope.block.reads:
        if region.buffer is buffer:
            spans = [_as_span(dimension) for dimension in region.region]
            if any(span is not None and span.extent < 1 for span in spans):
                what = f"block {scope.block.name} reads nothing of {buffer.name}"
                refuse(func, "cache_read.P6", what, [(scope, "reads none of it")])
            return spans
    return [None] * len(buffer.shape)


def _as_span(dimension: Range) -> Span | None:
    extent = linear(dimension.extent, {}).number()
    return None if extent is None else Span(linear(dimension.min, {}), 0, extent - 1)


def _written_there(
    func: PrimFunc, name: str, scope: BlockRealize, writer: BlockRealize, buffer: Buffer, beside: Stmt, rule: str
) -> Spans:
    """Exactly what the writer writes while the loops around the copy stand still; more is harmless where there are none
    and nobody else can have written the buffer."""
    around = {loop.loop_var for loop in loops_above(func, beside)}
    region = next(r for r in writer.block.writes if r.buffer is buffer)
    spans = written(func, writer, around, buffer)
    if name == "cache_write" and buffer not in scope.block.alloc_buffers and may_not_run(writer):
        what = f"block {writer.block.name} may not run at all, and {buffer.name} then keeps what it held"
        refuse(func, rule, what, [(writer, f"writes {buffer.name}")])
    if spans is not None and (
        not writer.predicate or all(ends_inside(writer, region, d, span) for d, span in enumerate(spans))
    ):
        return spans
    alone = len(writers(child_blocks(scope), buffer)) == 1
    if around or (name == "cache_write" and not (alone and buffer in scope.block.alloc_buffers)):
        what = f"what block {writer.block.name} writes before the copy is no known box of {buffer.name}"
        refuse(func, rule, what, [(writer, f"writes {buffer.name}")])
    return needed(func, writer, region, ())


def plan_cache_write(
    func: PrimFunc,
    block: Token,
    write_buffer_index: int | str | Buffer,
    storage_scope: str,
    consumer_blocks: list[Token] | None = None,
) -> CacheFacts:
    """Let the block write into a new buffer in ``storage_scope`` and copy that to the old one afterwards. Returns the
    copy block. Readers go on reading the old buffer, except for ``consumer_blocks``, which read the new one.

    >>> from mlcref.schedule.examples import Schedule, doubled, shown
    >>> sch = Schedule(doubled)
    >>> print(shown(sch))
    for i in range(10):
        with T.block("B"):
            vi = T.axis.spatial(10, i)
            B[vi] = A[vi] * T.float32(2.0)
    >>> copy = sch.cache_write("B", 0, "local")
    >>> print(shown(sch))
    B_local = T.alloc_buffer((10,), scope="local")
    for i in range(10):
        with T.block("B"):
            vi = T.axis.spatial(10, i)
            B_local[vi] = A[vi] * T.float32(2.0)
    for ax0 in range(10):
        with T.block("B_local"):
            v0 = T.axis.spatial(10, ax0)
            B[v0] = B_local[v0]

    Source: TVM ``cache_write``.
    """
    name = "cache_write"
    realize = block_of(func, block)
    scope = check_scope(func, f"{name}.P3", realize)
    region = _region(func, name, realize, write_buffer_index, "write")
    buffer = region.buffer
    cache = _cache_buffer(func, name, buffer, storage_scope)
    readers = _later_readers(func, realize, scope, buffer)
    consumers = [] if consumer_blocks is None else _consumers(func, name, scope, buffer, consumer_blocks)
    beside, after = _site(func, scope, realize, _first(func, readers))
    _check_others(func, realize, scope, buffer, (beside, after), consumers)
    _check_finished(func, realize, beside)
    spans = _written_there(func, name, scope, realize, buffer, beside, f"{name}.P6")
    _check_covered(func, realize, scope, buffer, consumers)
    copy, token = _copy(func, cache, buffer, spans, beside)
    users = (realize.block.token, *(b.block.token for b in consumers))
    facts = CacheFacts(scope.block.token, buffer, cache, copy, token, beside, after, users)
    check_races(func, f"{name}.P6", build_cache(func, facts)[0], [(realize, "this block")])
    return facts


def _later_readers(func: PrimFunc, realize: BlockRealize, scope: BlockRealize, buffer: Buffer) -> list[BlockRealize]:
    """The other blocks that read the buffer, all of them after the block, which does not read it (P4, P5)."""
    order, name = index(func).order, realize.block.name
    reads_itself = any(r.buffer is buffer for r in realize.block.reads)
    if reads_itself or (any(i.iter_type == "reduce" for i in realize.block.iter_vars) and not is_reduction(realize)):
        what = f"block {name} reads what {buffer.name} held before"
        refuse(func, "cache_write.P5", what, [(realize, "reads and writes it")], "before decompose_reduction")
    readers = [b for b, _ in uses_of(child_blocks(scope), buffer)]
    for reader in readers:
        if order[reader] < order[realize]:
            what = f"block {reader.block.name} reads {buffer.name} before block {name} writes it"
            refuse(func, "cache_write.P4", what, [(reader, "reads it"), (realize, "writes it")])
    return readers


def _check_others(
    func: PrimFunc, realize: BlockRealize, scope: BlockRealize, buffer: Buffer, site: tuple[Stmt, bool],
    consumers: Sequence[BlockRealize],
) -> None:  # fmt: skip
    """What others write of the buffer is something else, or not written between the block and its copy, with consumers
    that read the new buffer never (P5)."""
    order, (beside, after) = index(func).order, site
    around = {loop.loop_var for loop in loops_above(func, beside)}
    copied = order[realize] if after else min(order[b] for b in blocks_below(beside))
    for other in writers(child_blocks(scope), buffer):
        if other is realize:
            continue
        between = shared_loops(func, realize, other) - around or order[realize] < order[other] < copied
        apart = disjoint(_box(func, realize, buffer), _box(func, other, buffer))
        if other in consumers or ((between or consumers) and not apart):
            what = f"blocks {realize.block.name} and {other.block.name} both write {buffer.name}"
            refuse(func, "cache_write.P5", what, [(realize, "writes it"), (other, "writes it too")])


def _box(func: PrimFunc, realize: BlockRealize, buffer: Buffer) -> Spans:
    """A box around what the block writes."""
    region = next(region for region in realize.block.writes if region.buffer is buffer)
    return written(func, realize, (), buffer) or needed(func, realize, region, ())


def _check_finished(func: PrimFunc, realize: BlockRealize, beside: Stmt) -> None:
    """No loop around the copy goes on with the block's reduction (P4)."""
    around = {loop.loop_var for loop in loops_above(func, beside)}
    if reduce_loops(realize) & around:
        what = f"the reduction of block {realize.block.name} is not finished where a reader follows"
        refuse(func, "cache_write.P4", what, [(realize, "goes on outside"), (beside, "the copy would follow this")])


def _check_covered(
    func: PrimFunc, realize: BlockRealize, scope: BlockRealize, buffer: Buffer, consumers: Sequence[BlockRealize]
) -> None:
    """Consumers read only what the block writes in the same iteration: the cache has nothing else (P7)."""
    if buffer in scope.block.alloc_buffers and len(writers(child_blocks(scope), buffer)) == 1:
        return
    for consumer, region in uses_of(consumers, buffer):
        shared = shared_loops(func, realize, consumer)
        made, wanted = written(func, realize, shared, buffer), needed(func, consumer, region, shared)
        if made is None or not all(contains(m, w, {}) for m, w in zip(made, wanted, strict=True)):
            what = f"block {consumer.block.name} reads more of {buffer.name} than block {realize.block.name} writes"
            refuse(func, "cache_write.P7", what, [(consumer, "reads it"), (realize, "writes it")])


def draw_cache_read(pick: Pick, func: PrimFunc) -> dict[str, Any] | None:
    """A block and one of the buffers that it reads."""
    return draw_cached(pick, func, "read")


def draw_cache_write(pick: Pick, func: PrimFunc) -> dict[str, Any] | None:
    """A block and one of the buffers that it writes."""
    return draw_cached(pick, func, "write")


_COMMON = {
    "P1": "the block has the access",
    "P2": "the storage scope is known",
    "P3": "the block is in the body of its scope, where there are only loops and blocks",
    "P6": "what is written before the copy is a known box, one of its own for each concurrent iteration and thread",
}
CACHE_READ = register(
    Primitive(
        "cache_read",
        {
            **_COMMON,
            "P4": "the consumers read the buffer, do not write it, and are in the body of the scope",
            "P5": "writers of the buffer come before the consumers, several outside their loops, or after them all",
        },
        plan_cache_read,
        build_cache,
        draw_cache_read,
        returns="one",
        attributes=("read_buffer_index", "storage_scope"),
        forceable=frozenset({"P4", "P5", "P6"}),
    )
)
CACHE_WRITE = register(
    Primitive(
        "cache_write",
        {
            **_COMMON,
            "P4": "readers come after the block and after its reduction",
            "P5": "the block does not read the buffer, and no other block writes what it writes before it is copied",
            "P7": "consumers of the cache read only what the block writes",
        },
        plan_cache_write,
        build_cache,
        draw_cache_write,
        returns="one",
        attributes=("write_buffer_index", "storage_scope"),
        forceable=frozenset({"P4", "P5", "P6", "P7"}),
    )
)
