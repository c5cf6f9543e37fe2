"""Copies of buffers laid out by the iterators of a block: reindex, reindex_cache_read, reindex_cache_write.

A copy that is read goes right before the part of the program with the block, one that is written right after it, so
that nothing happens to the buffer in between. It copies the elements that the block uses, for every value of the
iterators that occur in the access.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from mlcref.arith import IndexMap, proved
from mlcref.errors import MlcrefError
from mlcref.ir import (
    Block, BlockRealize, Buffer, BufferLoad, BufferRegion, BufferStore, Const, Expr, For, IterVar, PrimFunc, Range,
    SeqStmt, Stmt, Token, Var, children_of, const, constant, index, make_block, replace, replace_at, replace_block,
    seq, substitute, unique_name, variables,
)  # fmt: skip
from mlcref.schedule.accesses import Ranges, rewrite_accesses
from mlcref.schedule.cache import SCOPES
from mlcref.schedule.dataflow import check_races
from mlcref.schedule.dependence import reduce_loops
from mlcref.schedule.find import block_of, child_blocks, loops_above, readers, writers
from mlcref.schedule.map_json import Access
from mlcref.schedule.maps import as_index_map, draw_map, find_access, index_type
from mlcref.schedule.nest import covers_domains, iterator_ranges, ranges_at
from mlcref.schedule.single_access import Use, find_use, variables_of
from mlcref.schedule.table import Pick, Primitive, Result, refusal, refuse, register


@dataclass(frozen=True, slots=True)
class ReindexFacts:
    """The use, the new buffer and its indices in the block, the copy, its block, and beside what it stands."""

    use: Use
    cache: Buffer
    indices: tuple[Expr, ...]
    copy: Stmt
    token: Token
    beside: Stmt
    after: bool


# ---- the place of the copy


def _site(func: PrimFunc, name: str, use: Use, *, front: bool) -> tuple[Stmt, bool]:
    """Beside which statement the copy goes, and whether after it: the one with the block, of those in sequence with
    others that use the buffer, or else in the scope. With ``front`` what nobody writes is copied before everything."""
    where, blocks = index(func), child_blocks(use.scope)
    others = [b for b in writers(blocks, use.buffer) if b is not use.realize]
    if use.kind == "write":
        others += [b for b in readers(blocks, use.buffer) if b is not use.realize]
    around = {up for other in others for up in where.above(other)}
    part: Stmt = use.realize
    for up in where.above(use.realize):
        if up in around or up is use.scope or (up is use.scope.block.body and isinstance(up, SeqStmt)):
            break
        part = up
    if use.kind == "read":
        return (children_of(use.scope.block.body)[0] if front and not others else part, False)
    if reduce_loops(use.realize) & {loop.loop_var for loop in loops_above(func, part)}:
        what = f"the reduction of block {use.realize.block.name} goes on where {use.buffer.name} is used again"
        refuse(func, f"{name}.P5", what, [(use.realize, "this block"), *[(b, "uses it, too") for b in others]])
    later = None if front else _first_after(func, part, others)
    return (part, True) if later is None else (later, False)


def _first_after(func: PrimFunc, part: Stmt, others: Sequence[BlockRealize]) -> Stmt | None:
    """The first statement after ``part``, in sequence with it, that has one of the other blocks."""
    where = index(func)
    sequence = where.parent[part]
    if not isinstance(sequence, SeqStmt):
        return None
    using = {up for other in others for up in (other, *where.above(other))}
    after = sequence.seq[[stmt is part for stmt in sequence.seq].index(True) + 1 :]
    return next((stmt for stmt in after if stmt in using), None)


# ---- the copy


def _cache(func: PrimFunc, use: Use, suffix: str, scope: str, shape: Sequence[Expr]) -> Buffer:
    used = {b.name for realize in index(func).blocks.values() for b in realize.block.alloc_buffers}
    used |= {b.name for b in func.buffers}
    return Buffer(unique_name(f"{use.buffer.name}_{suffix}", used), tuple(shape), use.buffer.type, scope)


def _copy_block(func: PrimFunc, use: Use, cache: Buffer, name: str, items: Sequence[IterVar], indices: Any) -> Block:
    """The block that copies one element, over ``items`` in the place of the iterators of the access."""
    values = {old.var: new.var for old, new in zip(use.items, items, strict=True)}
    outer = tuple([substitute(e, values) for e in use.indices])
    inner = tuple([substitute(e, values) for e in indices])
    source, target = (use.buffer, outer), (cache, inner)
    if use.kind == "write":
        source, target = target, source
    regions = [BufferRegion(b, tuple([Range(i, const(1, i.dtype)) for i in at])) for b, at in (source, target)]
    store = BufferStore(target[0], BufferLoad(*source), target[1])
    label = unique_name(name, {realize.block.name for realize in index(func).blocks.values()})
    return make_block(label, store, iter_vars=items, reads=regions[:1], writes=regions[1:])


def plan_reindex(func: PrimFunc, block: Token, buffer: Any) -> ReindexFacts:
    """Copy a buffer that the block reads (or writes) into a new one whose dimensions are the iterators of the block in
    the access, in their order; the block uses the new one. Returns the copy block.

    ``buffer`` is ("read" or "write", position), a name, or the buffer.

    >>> from mlcref.schedule import Schedule
    >>> from mlcref.script import from_source
    >>> sch = Schedule(from_source('''
    ... @T.prim_func
    ... def f(A: T.Buffer((6,), "float32"), B: T.Buffer((4, 3), "float32")):
    ...     for i, j in T.grid(4, 3):
    ...         with T.block("B"):
    ...             vi, vj = T.axis.remap("SS", [i, j])
    ...             B[vi, vj] = A[vi + vj]
    ... '''))
    >>> copy = sch.reindex("B", ("read", 0))
    >>> sch.get(copy).body
    A_reindex[v0, v1] = A[v0 + v1]
    >>> sch.get(sch.get_block("B")).body
    B[vi, vj] = A_reindex[vi, vj]

    Raises ``ScheduleError`` when the access is not at one place known for all values of the iterators, or when other
    blocks use the buffer so that the copy would come too early or too late.

    Source: TVM ``reindex``.
    """
    name = "reindex"
    use = find_use(func, name, block, buffer, None)
    beside, after = _site(func, name, use, front=use.kind == "write")
    shape = [item.dom.extent for item in use.items]
    cache = _cache(func, use, "reindex", use.buffer.scope, shape)
    items = [replace(item, var=Var(f"v{n}", item.var.type), iter_type="spatial") for n, item in enumerate(use.items)]
    written = cache.name if use.kind == "read" else use.buffer.name
    copy = _copy_block(func, use, cache, f"{written}_reindex", items, variables_of(use))
    part = bool(loops_above(func, beside)) or use.scope is not func.body  # of the instances that there are
    nest = _some_iterations(func, name, use, copy, beside) if part else _all_iterations(copy)
    if not part and use.kind == "write":
        _check_runs(func, name, use)
    return _checked(func, name, ReindexFacts(use, cache, tuple(variables_of(use)), nest, copy.token, beside, after))


def _check_runs(func: PrimFunc, name: str, use: Use) -> None:
    """The block runs for all values of its iterators (P6), those that the output is not indexed with included."""
    used = set(variables_of(use))
    others = [item for item in use.realize.block.iter_vars if item.var not in used]
    if not all(isinstance(item.dom.extent, Const) and int(item.dom.extent) > 0 for item in others):
        what = f"block {use.realize.block.name} writes nothing where a reduction has no operands"
        refuse(func, f"{name}.P6", what, [(use.realize, "this block")])
    if not covers_domains(func, use.realize, use.realize.predicate):
        what = f"block {use.realize.block.name} is not known to run for all values of its iterators"
        refuse(func, f"{name}.P6", what, [(use.realize, "this block")])


def _all_iterations(copy: Block) -> Stmt:
    """The copy for all values of its iterators."""
    axes = tuple([Var(f"ax{n}", item.var.type) for n, item in enumerate(copy.iter_vars)])
    nest: Stmt = BlockRealize(axes, (), copy)
    for axis, item in reversed(list(zip(axes, copy.iter_vars, strict=True))):
        nest = For(axis, const(0, axis.type), item.dom.extent, "serial", nest)
    return nest


def _some_iterations(func: PrimFunc, name: str, use: Use, copy: Block, beside: Stmt) -> Stmt:
    """The copy under loops like those of the block, as far as they are not around ``beside``."""
    loops, kept = _copied_loops(func, name, use, beside)
    own: dict[Var, Expr] = {loop.loop_var: Var(loop.loop_var.name, loop.loop_var.type) for loop in loops}
    values = dict(zip([i.var for i in use.realize.block.iter_vars], use.realize.iter_values, strict=True))
    bindings = tuple([substitute(values[item.var], own) for item in use.items])
    nest: Stmt = BlockRealize(bindings, tuple([substitute(c, own) for c in kept]), copy)
    for loop in reversed(loops):
        var = own[loop.loop_var]
        assert isinstance(var, Var)
        nest = For(var, loop.min, loop.extent, "serial", nest)
    return nest


def _checked(func: PrimFunc, name: str, facts: ReindexFacts) -> ReindexFacts:
    check_races(func, f"{name}.P7", build_reindex(func, facts)[0], [(facts.use.realize, "this block")])
    return facts


def plan_reindex_cache_read(
    func: PrimFunc, block: Token, read_buffer_index: int | str | Buffer, storage_scope: str, index_map: Any
) -> ReindexFacts:
    """Copy a buffer that the block reads into a new one in ``storage_scope``, where the element of the iterators
    ``i, j`` is at ``index_map(i, j)``; the block reads the new one. Returns the copy block.

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
    >>> copy = sch.reindex_cache_read("B", 0, "shared", lambda i, j: (j, i))
    >>> sch.get(sch.get_block("B")).body
    B[vi, vj] = A_shared[vj, vi]

    Raises ``ScheduleError`` as ``reindex``, and for maps that are not one to one on the iterators in the access.

    Source: TVM ``reindex_cache_read``.
    """
    return _plan_cache(func, "reindex_cache_read", block, read_buffer_index, storage_scope, index_map)


def plan_reindex_cache_write(
    func: PrimFunc, block: Token, write_buffer_index: int | str | Buffer, storage_scope: str, index_map: Any
) -> ReindexFacts:
    """Let the block write into a new buffer in ``storage_scope``, where the element of the iterators ``i, j`` is at
    ``index_map(i, j)``, and copy it to the old one afterwards. Returns the copy block.

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
    >>> copy = sch.reindex_cache_write("B", 0, "local", lambda i, j: (i // 2, j, i % 2))
    >>> sch.get(copy).body
    B[vi, vj] = B_local[vi // 2, vj, vi % 2]

    Raises ``ScheduleError`` as ``reindex_cache_read``.

    Source: TVM ``reindex_cache_write``.
    """
    return _plan_cache(func, "reindex_cache_write", block, write_buffer_index, storage_scope, index_map)


def _plan_cache(
    func: PrimFunc, name: str, block: Token, buffer_index: Any, storage_scope: str, index_map: Any
) -> ReindexFacts:
    kind = "read" if name == "reindex_cache_read" else "write"
    use = find_use(func, name, block, buffer_index, kind)
    if storage_scope.partition(".")[0] not in SCOPES:
        what = f"there is no storage scope {storage_scope!r}"
        hint = f"one of {', '.join(SCOPES)}, or one of them with a suffix"
        raise refusal(func, f"{name}.P8", what, [(use.realize, "this block")], hint)
    shape, indices = _mapped(func, name, use, index_map)
    beside, after = _site(func, name, use, front=use.kind == "read")
    suffix = storage_scope.replace(".", "_")
    cache = _cache(func, use, suffix, storage_scope, shape)
    items = [replace(item, var=Var(item.var.name, item.var.type), iter_type="spatial") for item in use.items]
    copy = _copy_block(func, use, cache, cache.name, items, indices)
    nest = _some_iterations(func, name, use, copy, beside)
    # The map is one to one: iterations share its elements where they share those of a copy with the iterators as axes.
    plain = _cache(func, use, suffix, storage_scope, [item.dom.extent for item in items])
    like = _copy_block(func, use, plain, plain.name, items, variables_of(use))
    similar = _some_iterations(func, name, use, like, beside)
    _checked(func, name, ReindexFacts(use, plain, tuple(variables_of(use)), similar, like.token, beside, after))
    return ReindexFacts(use, cache, indices, nest, copy.token, beside, after)


def _mapped(func: PrimFunc, name: str, use: Use, index_map: Any) -> tuple[list[Expr], tuple[Expr, ...]]:
    """The shape of the new buffer and its indices in the block (P9)."""
    items, marks, rule = use.realize.block.iter_vars, [(use.realize, "this block")], f"{name}.P9"
    mapped = as_index_map(func, rule, index_map, len(items), index_type([item.dom.extent for item in items]), marks)
    by_item = dict(zip([item.var for item in items], mapped.initial_indices, strict=True))
    used = {v for e in mapped.final_indices for v in variables(e)}
    if used != {by_item[v] for v in variables_of(use)}:
        what = f"the map uses other iterators than the access: ({', '.join(repr(e) for e in use.indices)})"
        raise refusal(func, rule, what, marks)
    own = IndexMap([by_item[v] for v in variables_of(use)], mapped.final_indices)
    extents = [item.dom.extent for item in use.items]
    try:
        shape = own.map_shape(extents)
    except MlcrefError as error:
        raise refusal(func, rule, error.what, marks) from error
    if own.injective(extents) is not True:
        refuse(func, rule, f"{own!r} is not known to be one to one", marks)
    return shape, tuple(own.map_indices(variables_of(use), iterator_ranges(use.items)))


def _copied_loops(func: PrimFunc, name: str, use: Use, beside: Stmt) -> tuple[list[For], list[Expr]]:
    """The loops of the block that its copy needs, and the conditions on them (P6)."""
    above, marks = loops_above(func, use.realize), [(use.realize, "this block")]
    fixed = {loop.loop_var for loop in loops_above(func, beside)}
    values = dict(zip([i.var for i in use.realize.block.iter_vars], use.realize.iter_values, strict=True))
    needed = {v for item in use.items for v in variables(values[item.var])}
    loops = [loop for loop in above if loop.loop_var not in fixed and loop.loop_var in needed]
    visible = fixed | {loop.loop_var for loop in loops}
    every = {loop.loop_var for loop in above}
    for loop in loops:
        if loop.step is not None or variables(loop.extent) & every or variables(loop.min) & every:
            what = f"loop {loop.loop_var.name} has steps, or a range that depends on other loops"
            raise refusal(func, f"{name}.P6", what, [(loop, "this loop")])
    kept = [c for c in use.realize.predicate if not variables(c) & (every - visible)]
    left = [c for c in use.realize.predicate if variables(c) & (every - visible)]
    holds = _holds_once(above, left, visible)
    if left and not holds and (use.kind == "write" or not _bindings_inside(func, use, values)):
        what = f"a condition on other loops decides what block {use.realize.block.name} uses"
        refuse(func, f"{name}.P6", what, marks)
    other = [loop for loop in above if loop.loop_var not in visible]
    if use.kind == "write" and not all(isinstance(o.extent, Const) and int(o.extent.value) > 0 for o in other):
        what = f"a loop may have no iterations, and block {use.realize.block.name} then writes nothing"
        refuse(func, f"{name}.P6", what, marks)
    return loops, kept


def _holds_once(above: Sequence[For], conditions: Sequence[Expr], visible: set[Var]) -> bool:
    """Are the conditions on other loops alone, and do they hold in the first iteration of these? Then the block runs
    for all values of the visible variables."""
    first: dict[Var, Expr] = {o.loop_var: o.min for o in above if o.loop_var not in visible}
    return not any(variables(c) & visible for c in conditions) and all(
        proved(substitute(c, first), {}) is True for c in conditions
    )


def _bindings_inside(func: PrimFunc, use: Use, values: dict[Var, Expr]) -> bool:
    """Do the bindings stay in the domains of the iterators without any condition?"""
    ranges = ranges_at(func, use.realize)
    return all(
        proved(values[item.var] >= 0, ranges) is True and proved(values[item.var] < item.dom.extent, ranges) is True
        for item in use.items
    )


# ---- the new program


def build_reindex(func: PrimFunc, facts: ReindexFacts) -> Result:
    """The copy in its place, the block on the new buffer, which the scope allocates."""
    use, token = facts.use, facts.use.realize.block.token
    pair = (facts.beside, facts.copy) if facts.after else (facts.copy, facts.beside)
    func = replace_at(func, {facts.beside: seq(*pair)})
    here = tuple([Range(i, const(1, i.dtype)) for i in facts.indices])

    def point(buffer: Buffer, indices: Sequence[Expr], ranges: Ranges) -> tuple[Buffer, Sequence[Expr]]:
        return (facts.cache, facts.indices) if buffer is use.buffer else (buffer, indices)

    def region(node: BufferRegion, ranges: Ranges) -> BufferRegion:
        return BufferRegion(facts.cache, here) if node.buffer is use.buffer else node

    block = index(func).blocks[token].block
    func = replace_block(func, token, rewrite_accesses(block, {}, point, region))
    scope = index(func).blocks[use.scope.block.token].block
    allocated = replace(scope, alloc_buffers=(*scope.alloc_buffers, facts.cache))
    return replace_block(func, scope.token, allocated), (facts.token,)


# ---- choices and records


def _draw(pick: Pick, func: PrimFunc, kinds: Sequence[str]) -> tuple[Token, BlockRealize, str, int] | None:
    sites = []
    for token, realize in index(func).blocks.items():
        for kind, regions in (("read", realize.block.reads), ("write", realize.block.writes)):
            if kind in kinds and realize is not func.body:
                sites += [(token, realize, kind, n) for n in range(len(regions))]
    return pick(sites) if sites else None


def draw_reindex(pick: Pick, func: PrimFunc) -> dict[str, Any] | None:
    """A block and one of its accesses."""
    site = _draw(pick, func, ("read", "write"))
    return None if site is None else {"block": site[0], "buffer": (site[2], site[3])}


def _draw_cache(pick: Pick, func: PrimFunc, kind: str) -> dict[str, Any] | None:
    """A block, one of its accesses, a scope, and a map of the iterators in the access."""
    site = _draw(pick, func, (kind,))
    if site is None:
        return None
    token, realize, _, position = site
    region = (realize.block.reads if kind == "read" else realize.block.writes)[position]
    items = realize.block.iter_vars
    used = [n for n, item in enumerate(items) if any(item.var in variables(r.min) for r in region.region)]
    drawn = draw_map(pick, len(used), [constant(items[n].dom.extent) for n in used])
    initial = [Var(item.var.name) for item in items]
    own: dict[Var, Expr] = {v: initial[n] for v, n in zip(drawn.initial_indices, used, strict=True)}
    mapped = IndexMap(initial, [substitute(e, own) for e in drawn.final_indices])
    bound = any(loop.kind == "thread_binding" for loop in index(func).loops.values())
    scopes = ["global", "local"] if bound else ["global", "local", "shared"]
    return {"block": token, f"{kind}_buffer_index": position, "storage_scope": pick(scopes), "index_map": mapped}


def draw_reindex_cache_read(pick: Pick, func: PrimFunc) -> dict[str, Any] | None:
    """A block and one of the buffers that it reads."""
    return _draw_cache(pick, func, "read")


def draw_reindex_cache_write(pick: Pick, func: PrimFunc) -> dict[str, Any] | None:
    """A block and one of the buffers that it writes."""
    return _draw_cache(pick, func, "write")


def recorded_reindex(func: PrimFunc, block: Token, buffer: Any) -> dict[str, Any]:
    """The access by its position."""
    kind, position, _ = find_access(func, "reindex.P1", block_of(func, block), buffer)
    return {"buffer": Access(kind, position)}


def recorded_cache(func: PrimFunc, block: Token, **arguments: Any) -> dict[str, Any]:
    """The access by its position, the map as an index map."""
    kind = "read" if "read_buffer_index" in arguments else "write"
    name, key = f"reindex_cache_{kind}", f"{kind}_buffer_index"
    realize = block_of(func, block)
    items = realize.block.iter_vars
    dtype = index_type([item.dom.extent for item in items])
    mapped = as_index_map(func, f"{name}.P9", arguments["index_map"], len(items), dtype, ())
    return {key: find_access(func, f"{name}.P1", realize, arguments[key], kind)[1], "index_map": mapped}


_COMMON = {
    "P1": "the block has the access",
    "P2": "the block has no blocks inside and is in the body of its scope, where there are only loops and blocks",
    "P3": "the block uses the buffer at one place, given by its iterators and in bounds for all their values",
    "P4": "a buffer that it reads, it does not write; one that it writes, it writes from an init on, each element once",
    "P5": "the reduction of the block is finished where its output is copied",
    "P6": "the copy runs for the values of the iterators for which the block runs",
    "P7": "concurrent iterations have copies of their own",
}
_CACHE = {**_COMMON, "P8": "the storage scope is known",
          "P9": "the map is one to one on the iterators in the access and uses just them"}  # fmt: skip
REINDEX = register(
    Primitive(
        "reindex",
        _COMMON,
        plan_reindex,
        build_reindex,
        draw_reindex,
        returns="one",
        attributes=("buffer",),
        forceable=frozenset({"P3", "P4", "P5", "P6", "P7"}),
        recorded=recorded_reindex,
    )
)
REINDEX_CACHE_READ = register(
    Primitive(
        "reindex_cache_read",
        {number: text for number, text in _CACHE.items() if number != "P5"},  # the copy is never too late
        plan_reindex_cache_read,
        build_reindex,
        draw_reindex_cache_read,
        returns="one",
        attributes=("read_buffer_index", "storage_scope"),
        forceable=frozenset({"P3", "P4", "P6", "P7", "P9"}),
        recorded=recorded_cache,
    )
)
REINDEX_CACHE_WRITE = register(
    Primitive(
        "reindex_cache_write",
        _CACHE,
        plan_reindex_cache_write,
        build_reindex,
        draw_reindex_cache_write,
        returns="one",
        attributes=("write_buffer_index", "storage_scope"),
        forceable=frozenset({"P3", "P4", "P5", "P6", "P7", "P9"}),
        recorded=recorded_cache,
    )
)
