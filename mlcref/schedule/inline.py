"""Put the expression of a block into its consumers (compute_inline), or of a consumer into its producer
(reverse_compute_inline).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mlcref.arith import Span, access_regions, affine
from mlcref.ir import (
    INTRINSICS,
    Block,
    BlockRealize,
    Buffer,
    BufferLoad,
    BufferStore,
    Call,
    Const,
    Expr,
    Let,
    PrimFunc,
    Token,
    Var,
    any_node,
    buffers_used,
    cast,
    const,
    fresh,
    index,
    map_children,
    replace,
    replace_at,
    replace_block,
    rewrite,
    substitute,
    walk,
)
from mlcref.schedule.compute_at import consume_loops_above
from mlcref.schedule.dataflow import (
    check_movable,
    check_not_overwritten,
    check_races,
    check_scope,
    input_writers,
    keeps_contents,
    shared_loops,
    uses_of,
)
from mlcref.schedule.dependence import reads_first, reduce_loops
from mlcref.schedule.draws import draw_inline
from mlcref.schedule.exact_places import check_exact_places
from mlcref.schedule.find import (
    block_of, body_blocks, child_blocks, constant_extent, domain_at, loops_above, scope_of, writers,
)  # fmt: skip
from mlcref.schedule.nest import (
    always_defined,
    contains,
    covers_domains,
    executed,
    iterator_domain,
    iterator_ranges,
    needed,
    ranges_at,
    solve,
    split_predicate,
)
from mlcref.schedule.table import Handle, Pick, Primitive, Result, refusal, refuse, register


@dataclass(frozen=True, slots=True)
class InlineFacts:
    """The block that goes away, the scope, the buffer between, and the new blocks by token."""

    realize: BlockRealize
    scope: Token
    buffer: Buffer
    blocks: Mapping[Token, Block]


def build_inline(func: PrimFunc, facts: InlineFacts) -> Result:
    """The function without the block and without the buffer between."""
    where = index(func).blocks
    edits: dict[Any, Any] = {where[t]: replace(where[t], block=block) for t, block in facts.blocks.items()}
    func = replace_at(func, {**edits, facts.realize: None})
    scope = index(func).blocks[facts.scope].block
    kept = tuple([b for b in scope.alloc_buffers if b is not facts.buffer])
    return replace_block(func, facts.scope, replace(scope, alloc_buffers=kept)), ()


# ---- blocks that are one store


def _the_store(func: PrimFunc, rule: str, realize: BlockRealize) -> BufferStore:
    """The store that the block is, without init, allocations, effects; refuses any other block."""
    block, body = realize.block, realize.block.body
    marks = [(realize, "this block")]
    if block.init is not None:
        raise refusal(func, rule, f"block {block.name} has an init", marks)
    if not isinstance(body, BufferStore) or block.alloc_buffers or block.match_buffers:
        raise refusal(func, rule, f"the body of block {block.name} is not one store", marks)
    if any(INTRINSICS[n.op].effect for n in walk(body) if isinstance(n, Call)):
        raise refusal(func, rule, f"block {block.name} calls a function with an effect", marks)
    return body


def _positions(realize: BlockRealize, indices: tuple[Expr, ...]) -> dict[Var, int] | None:
    """Where each iterator stands among the indices: every iterator with more than one value once, and nothing else."""
    found: dict[Var, int] = {}
    unit = {i.var for i in realize.block.iter_vars if isinstance(i.dom.extent, Const) and int(i.dom.extent.value) == 1}
    own = {i.var for i in realize.block.iter_vars}
    for d, item in enumerate(indices):
        if isinstance(item, Var) and item in own and item not in found:
            found[item] = d
        elif not (isinstance(item, Const) and int(item.value) == 0):
            return None
    return found if own - unit <= set(found) else None


def _fills(realize: BlockRealize, buffer: Buffer, places: Mapping[Var, int]) -> bool:
    """Are the indices of the buffer exactly the values of the iterators?"""
    extents: list[Any] = [1] * len(buffer.shape)
    for item in realize.block.iter_vars:
        if item.var in places:
            extents[places[item.var]] = item.dom.extent
    return all(_equal(extent, full) for extent, full in zip(extents, buffer.shape, strict=True))


def _equal(a: Any, b: Expr) -> bool:
    if isinstance(b, Const) and isinstance(a, Const | int):
        return int(a) == int(b.value)
    return a is b


def _runs_all(func: PrimFunc, rule: str, realize: BlockRealize) -> None:
    """Refuse a block that does not provably run every instance of its domains."""
    enumerating, others = split_predicate(func, realize)
    if others or not covers_domains(func, realize, enumerating):
        what = f"block {realize.block.name} does not provably run all of its instances"
        refuse(func, rule, what, [(realize, "this block")])


def with_regions(block: Block) -> Block:
    """The block, and the blocks in it, with the regions of what they now read and write."""
    init = None if block.init is None else _inner_regions(block.init)
    body = _inner_regions(block.body)
    ranges = iterator_ranges(block.iter_vars)
    reads, writes = access_regions(body, init, ranges, private=block.alloc_buffers, matched=block.match_buffers)
    return replace(block, init=init, body=body, reads=reads, writes=writes)


def _inner_regions(node: Any) -> Any:
    if isinstance(node, BlockRealize):
        return replace(node, block=with_regions(node.block))
    return node if isinstance(node, Expr) else map_children(_inner_regions, node)


# ---- compute_inline


def plan_compute_inline(func: PrimFunc, block: Token) -> InlineFacts:
    """Compute a block's elements where they are used, and remove the block and its buffer.

    The block is one store without init whose indices are its iterators, each once.

    >>> from mlcref.schedule.examples import Schedule, shown, two_stages
    >>> sch = Schedule(two_stages)
    >>> print(shown(sch))
    B = T.alloc_buffer((8,))
    for i in range(8):
        with T.block("B"):
            vi = T.axis.spatial(8, i)
            B[vi] = A[vi] * T.float32(2.0)
    for j in range(8):
        with T.block("C"):
            vj = T.axis.spatial(8, j)
            C[vj] = B[vj] + T.float32(1.0)
    >>> sch.compute_inline("B")
    >>> print(shown(sch))
    for j in range(8):
        with T.block("C"):
            vj = T.axis.spatial(8, j)
            C[vj] = A[vj] * T.float32(2.0) + T.float32(1.0)

    Source: TVM ``compute_inline`` (which also inverts affine indices).
    """
    name = "compute_inline"
    realize = block_of(func, block)
    scope = check_scope(func, f"{name}.P1", realize)
    (output,) = check_movable(func, f"{name}.P2", realize, scope)
    store = _the_store(func, f"{name}.P2", realize)
    buffer, marks = store.buffer, [(realize, "to be inlined")]
    if buffer not in scope.block.alloc_buffers:
        what = f"block {realize.block.name} writes {buffer.name}, which is used outside block {scope.block.name}"
        refuse(func, f"{name}.P3", what, marks)
    places = _positions(realize, store.indices)
    if places is None or not _fills(realize, buffer, places):
        what = (
            f"the indices of {buffer.name} are not the iterators of block {realize.block.name}, each once and in full"
        )
        raise refusal(func, f"{name}.P4", what, marks)
    if not always_defined(realize):
        _runs_all(func, f"{name}.P4", realize)
    input_writers(func, f"{name}.P5", realize, scope, later=True)
    consumers = _inline_consumers(func, realize, scope, buffer, store.value)
    _check_same_contents(func, realize, scope, consumers)
    blocks = {c.block.token: _inlined(c.block, store, places, realize) for c in consumers}
    facts = InlineFacts(realize, scope.block.token, output.buffer, blocks)
    new = build_inline(func, facts)[0]
    check_not_overwritten(func, f"{name}.P5", realize, new, list(blocks))
    check_races(func, f"{name}.P7", new, marks)
    return facts


def _inline_consumers(
    func: PrimFunc, realize: BlockRealize, scope: BlockRealize, buffer: Buffer, value: Expr
) -> list[BlockRealize]:
    """The readers of the buffer: later blocks in the body of the scope that load single elements of it, as values where
    the arithmetic may wrap (P6).
    """
    rule, name = "compute_inline.P6", realize.block.name
    order, inside = index(func).order, body_blocks(scope)
    consumers = [b for b, _ in uses_of(child_blocks(scope), buffer)]
    if not consumers:
        raise refusal(func, rule, f"no block reads {buffer.name}", [(realize, "to be inlined")])
    for consumer in consumers:
        marks = [(realize, "to be inlined"), (consumer, f"reads {buffer.name}")]
        if consumer not in inside or order[consumer] < order[realize]:
            what = f"block {consumer.block.name} is in an init, or comes before block {name}"
            refuse(func, rule, what, marks)
        for node in walk(consumer.block):
            if isinstance(node, BufferLoad) and node.buffer is buffer and any("x" in i.dtype for i in node.indices):
                raise refusal(func, rule, f"block {consumer.block.name} reads {buffer.name} in vectors", marks)
        check_exact_places(func, rule, buffer, value, consumer, marks)
        named = [m.source.buffer for inner in _blocks_of(consumer) for m in inner.match_buffers]
        if buffer in named or any(
            b.data is not None and b.data is buffer.data for b in buffers_used(consumer.block) if b is not buffer
        ):
            raise refusal(func, rule, f"block {consumer.block.name} gives {buffer.name} a second name", marks)
    return consumers


def _blocks_of(realize: BlockRealize) -> list[Block]:
    return [node for node in walk(realize) if isinstance(node, Block)]


def _check_same_contents(
    func: PrimFunc, realize: BlockRealize, scope: BlockRealize, consumers: list[BlockRealize]
) -> None:
    """What the block reads has the same contents where its consumers run (P5): no loop around both goes on with it, and
    no consumer reads what an earlier iteration left.
    """
    for consumer in consumers:
        shared = shared_loops(func, realize, consumer)
        enumerating, _ = split_predicate(func, realize)
        if not keeps_contents(realize.block.writes[0].buffer, child_blocks(scope), shared):
            continue
        region = next(r for r in consumer.block.reads if r.buffer is realize.block.writes[0].buffer)
        want = solve(realize, realize.block.writes[0], needed(func, consumer, region, shared))
        taken = executed(func, realize, shared, enumerating)
        ranges = ranges_at(func, consumer)
        for k, item in enumerate(realize.block.iter_vars):
            if taken is None or not contains(taken[k], want.get(k, iterator_domain(item)), ranges):
                what = f"block {consumer.block.name} may read what earlier iterations left in {region.buffer.name}"
                refuse(func, "compute_inline.P5", what, [(realize, "to be inlined"), (consumer, "reads it")])


def _inlined(block: Block, store: BufferStore, places: Mapping[Var, int], realize: BlockRealize) -> Block:
    """The consumer with the expression in the place of each load."""
    zeros = {i.var: const(0, i.var.type) for i in realize.block.iter_vars}

    def exchange(node: Any) -> Any:
        if isinstance(node, BufferLoad) and node.buffer is store.buffer:
            values = {var: cast(var.type, node.indices[d]) for var, d in places.items()}
            value = substitute(store.value, {**zeros, **values})
            return fresh(value) if any_node(value, Let) else value
        return None

    return with_regions(rewrite(exchange, block))


# ---- reverse_compute_inline


def plan_reverse_compute_inline(func: PrimFunc, block: Token) -> InlineFacts:
    """Store a consumer's elements where its producer computes them, and remove the consumer and the buffer between.

    Both are one store without init; the consumer reads one element of the producer's output, its indices the consumer's
    iterators, each once. A reduction is no such producer: its value is not final in each instance.

    >>> from mlcref.schedule.examples import Schedule, shown, two_stages
    >>> sch = Schedule(two_stages)
    >>> print(shown(sch))
    B = T.alloc_buffer((8,))
    for i in range(8):
        with T.block("B"):
            vi = T.axis.spatial(8, i)
            B[vi] = A[vi] * T.float32(2.0)
    for j in range(8):
        with T.block("C"):
            vj = T.axis.spatial(8, j)
            C[vj] = B[vj] + T.float32(1.0)
    >>> sch.reverse_compute_inline("C")
    >>> print(shown(sch))
    for i in range(8):
        with T.block("B"):
            vi = T.axis.spatial(8, i)
            C[vi] = A[vi] * T.float32(2.0) + T.float32(1.0)

    Source: TVM ``reverse_compute_inline``.
    """
    name = "reverse_compute_inline"
    realize = block_of(func, block)
    scope = check_scope(func, f"{name}.P1", realize)
    check_movable(func, f"{name}.P2", realize, scope)
    store = _the_store(func, f"{name}.P2", realize)
    producer, load = _single_producer(func, realize, scope, store)
    check_scope(func, f"{name}.P1", producer)
    made = _the_store(func, f"{name}.P3", producer)
    check_movable(func, f"{name}.P3", producer, scope)
    marks = [(producer, "the producer"), (realize, "to be inlined")]
    places = _positions(realize, load.indices)
    if places is None or not _fills(realize, load.buffer, places):
        what = f"block {realize.block.name} does not read {load.buffer.name} at its iterators, each once and in full"
        raise refusal(func, f"{name}.P4", what, marks)
    _runs_all(func, f"{name}.P4", realize)
    own = _positions(producer, made.indices)
    if own is None or not _fills(producer, made.buffer, own):
        what = f"block {producer.block.name} does not write {made.buffer.name} at its iterators, each once and in full"
        raise refusal(func, f"{name}.P4", what, marks)
    _runs_all(func, f"{name}.P4", producer)
    check_exact_places(func, f"{name}.P3", made.buffer, made.value, realize, marks)
    merged = _merged(producer, made, realize, store, load, places)
    facts = InlineFacts(realize, scope.block.token, made.buffer, {producer.block.token: merged})
    new = build_inline(func, facts)[0]
    _check_moves_earlier(func, realize, producer, scope, new)
    _check_follows(func, producer, own, realize, places)
    check_races(func, f"{name}.P6", new, marks)
    return facts


def _single_producer(
    func: PrimFunc, realize: BlockRealize, scope: BlockRealize, store: BufferStore
) -> tuple[BlockRealize, BufferLoad]:
    """The one block that the consumer reads from, through one buffer of the scope at one place (P3)."""
    rule, name = "reverse_compute_inline.P3", realize.block.name
    found = input_writers(func, rule, realize, scope, single=True)
    marks = [(realize, "to be inlined"), *((producer, "a producer") for _, producer in found)]
    if len(found) != 1 or found[0][0].buffer not in scope.block.alloc_buffers:
        what = f"block {name} does not read from exactly one block through a buffer of block {scope.block.name}"
        raise refusal(func, rule, what, marks)
    buffer, producer = found[0][0].buffer, found[0][1]
    others = [b for b, _ in uses_of(child_blocks(scope), buffer) if b is not realize]
    if others:
        what = f"block {others[0].block.name} reads {buffer.name} too"
        raise refusal(func, rule, what, [*marks, (others[0], "another reader")])
    loads = [node for node in walk(store.value) if isinstance(node, BufferLoad) and node.buffer is buffer]
    first = loads[0] if loads else None
    if first is None or any(
        any(x is not y for x, y in zip(load.indices, first.indices, strict=True)) for load in loads[1:]
    ):
        raise refusal(func, rule, f"block {name} does not read {buffer.name} at one place", marks)
    return producer, first


def _check_moves_earlier(
    func: PrimFunc, realize: BlockRealize, producer: BlockRealize, scope: BlockRealize, new: PrimFunc
) -> None:
    """Nothing uses elements of the consumer's output that ``new`` stores too early (P5)."""
    rule, order = "reverse_compute_inline.P5", index(func).order
    output = realize.block.writes[0].buffer
    marks = [(producer, "the producer"), (realize, "to be inlined")]
    for user, _ in uses_of(child_blocks(scope), output):
        known = shared_loops(func, user, realize)
        if order[user] < order[realize] and not reads_first(
            new, user.block.token, producer.block.token, output, known
        ):
            what = f"block {user.block.name} uses {output.name} before block {realize.block.name} writes it"
            refuse(func, rule, what, [*marks, (user, "uses it")])
    shared = shared_loops(func, realize, producer)
    users = [b for b in child_blocks(scope) if b in (realize, producer)]
    if keeps_contents(output, child_blocks(scope), shared) or any(reduce_loops(b) & shared for b in users):
        what = f"a loop around both blocks keeps {output.name} from one iteration to the next"
        refuse(func, rule, what, marks)


def _check_follows(
    func: PrimFunc, producer: BlockRealize, own: Mapping[Var, int], realize: BlockRealize, places: Mapping[Var, int]
) -> None:
    """Where what the producer reads changes in the loops around both blocks, the consumer takes up in each iteration
    all that the producer computes in it (P7): later the producer would have computed something else."""
    where, blocks = index(func).loops, child_blocks(scope_of(func, producer))
    shared = {v for v in shared_loops(func, realize, producer) if constant_extent(where[v]) != 1}
    sources = [w for region in producer.block.reads for w in writers(blocks, region.buffer)]
    changing = [w for w in sources if shared_loops(func, w, producer) & shared]
    running = [loop.loop_var for loop in loops_above(func, producer) if constant_extent(loop) != 1]
    domain, predicate = domain_at(func, producer), producer.predicate
    if not changing or affine(producer.iter_values, domain, told_apart=running, predicate=predicate) is not None:
        return
    made, taken = _spans(func, producer, own, shared), _spans(func, realize, places, shared)
    ranges = ranges_at(func, producer)
    if made is None or taken is None or not all(contains(taken.get(d), span, ranges) for d, span in made.items()):
        what = f"block {producer.block.name} may compute elements again, from other values, before block "
        what += f"{realize.block.name} uses them"
        marks = [(producer, "the producer"), (realize, "to be inlined"), (changing[0], "changes what it reads")]
        refuse(func, "reverse_compute_inline.P7", what, marks)


def _spans(
    func: PrimFunc, realize: BlockRealize, places: Mapping[Var, int], outer: set[Var]
) -> dict[int, Span | None] | None:
    """By dimension, the elements at the block's iterators while all loops but ``outer`` run; None if no such box."""
    spans = executed(func, realize, outer, split_predicate(func, realize)[0])
    items = zip(realize.block.iter_vars, spans or (), strict=False)
    return None if spans is None else {
        places[item.var]: iterator_domain(item) if span is None else span for item, span in items if item.var in places
    }


def _merged(
    producer: BlockRealize,
    made: BufferStore,
    realize: BlockRealize,
    store: BufferStore,
    load: BufferLoad,
    places: Mapping[Var, int],
) -> Block:
    """The producer with the consumer's store: its iterators are the indices at which the producer writes."""
    zeros = {i.var: const(0, i.var.type) for i in realize.block.iter_vars}
    values = {**zeros, **{var: made.indices[d] for var, d in places.items()}}

    def exchange(node: Any) -> Any:
        if isinstance(node, BufferLoad) and node.buffer is load.buffer:
            return fresh(made.value) if any_node(made.value, Let) else made.value
        return None

    value = rewrite(exchange, substitute(store.value, values))
    indices = tuple([substitute(i, values) for i in store.indices])
    body = BufferStore(store.buffer, value, indices)
    return with_regions(replace(producer.block, body=body))


# ---- records


def draw_compute_inline(pick: Pick, func: PrimFunc) -> dict[str, Any] | None:
    """A block that another one reads from."""
    return draw_inline(pick, func, reverse=False)


def draw_reverse_compute_inline(pick: Pick, func: PrimFunc) -> dict[str, Any] | None:
    """A block that reads from another one."""
    return draw_inline(pick, func, reverse=True)


def consume_block(func: PrimFunc, block: Token) -> set[Handle]:
    """The block and the loops around it alone go stale."""
    return {block, *consume_loops_above(func, block)}


COMPUTE_INLINE = register(
    Primitive(
        "compute_inline",
        {
            "P1": "the block is in the body of its scope, where there are only loops and blocks",
            "P2": "the block is one store without init or effects, and the only writer of its output",
            "P3": "the output is allocated in the scope",
            "P4": "its indices are the block's iterators, each once, and any instance could run",
            "P5": "what the block reads has the same contents where its consumers run",
            "P6": "the consumers are later blocks in the scope's body that load elements, as values if these wrap",
            "P7": "no concurrent loop gets conflicting iterations, no thread another's private memory",
        },
        plan_compute_inline,
        build_inline,
        draw_compute_inline,
        consume_block,
        forceable=frozenset({"P3", "P4", "P5", "P6", "P7"}),
    )
)
REVERSE_COMPUTE_INLINE = register(
    Primitive(
        "reverse_compute_inline",
        {
            "P1": "the blocks are in the body of their scope, where there are only loops and blocks",
            "P2": "the block is one store without init or effects, and the only writer of its output",
            "P3": "it reads one place of one buffer of the scope; the producer of that is one store without init",
            "P4": "both use the buffer at their iterators, each once, and run all their instances",
            "P5": "what uses the output before the block's old place does so before the new one, element by element",
            "P6": "no concurrent loop gets conflicting iterations, no thread another's private memory",
            "P7": "what the producer computes is used before it computes it again from other values",
        },
        plan_reverse_compute_inline,
        build_inline,
        draw_reverse_compute_inline,
        consume_block,
        forceable=frozenset({"P4", "P5", "P6", "P7"}),
    )
)
