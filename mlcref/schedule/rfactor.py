"""rfactor: a reduction in two steps, first partial results for every iteration of one loop, then over these."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from mlcref.arith import access_regions, affine, linear, proved, simplify, uses_any
from mlcref.ir import (
    LE, LT, Add, BlockRealize, Buffer, BufferLoad, BufferStore, Const, Expr, For, IterVar, LetStmt, Mul, PrimFunc,
    Range, Stmt, Token, Var, buffers_used, const, fresh, index, make_block, replace, replace_at, replace_block, seq,
    structural_equal, substitute, unique_name, variables, walk,
)  # fmt: skip
from mlcref.ir.index import stmt_children, with_stmt_children
from mlcref.schedule.dataflow import any_concurrent, check_new_memory, check_scope
from mlcref.schedule.dependence import reduce_loops, spatial_loops
from mlcref.schedule.draws import draw_reduced
from mlcref.schedule.find import blocks_below, is_reduction, loop_of, loops_above
from mlcref.schedule.nest import Ranges, iterator_ranges, ranges_at, split_predicate, tells_apart
from mlcref.schedule.reducers import NoReduction, Reduction, reduction_of
from mlcref.schedule.table import Handle, Pick, Primitive, Result, refusal, refuse, register


@dataclass(frozen=True, slots=True)
class RfactorFacts:
    """The loop, the block and the loops above it, its reduction, the new dimension, when the write-back runs."""

    loop: For
    realize: BlockRealize
    path: tuple[For, ...]
    reduction: Reduction
    axis: int
    predicate: tuple[Expr, ...]
    scope: Token


def plan_rfactor(func: PrimFunc, loop: Var, factor_axis: int) -> RfactorFacts:
    """Reduce in two steps: one partial result for each iteration of ``loop``, in a new buffer with one more dimension
    at ``factor_axis``; then the partial results. Returns the block of the partial results; the old handle, those of
    the loop and of the spatial loops stand for the second nest, other loops of the reduction are gone.

    The partial results start at the identity of the reduction (sum, prod, min, max, argmax and argmin over pairs,
    those of :func:`~mlcref.schedule.reducers.register_reducer`, and several at once). With no reduce iterator left,
    they are plain stores. Where the predicate leaves some partial result empty, the second step leaves it out.

    >>> from mlcref.schedule import Schedule
    >>> from mlcref.script import tir as T
    >>> @T.prim_func
    ... def total(A: T.Buffer((8,), "float32"), B: T.Buffer((1,), "float32")):
    ...     for k_0, k_1 in T.grid(2, 4):
    ...         with T.block("B"):
    ...             vk = T.axis.reduce(8, k_0 * 4 + k_1)
    ...             with T.init():
    ...                 B[0] = T.float32(0)
    ...             B[0] = B[0] + A[vk]
    >>> sch = Schedule(total)
    >>> partial = sch.rfactor(sch.get_loops("B")[1], factor_axis=0)
    >>> print(sch.mod["main"].script())
    # from tvm.script import tir as T
    <BLANKLINE>
    @T.prim_func
    def total(A: T.Buffer((8,), "float32"), B: T.Buffer((1,), "float32")):
        # with T.block("root"):
        B_rf = T.alloc_buffer((4, 1))
        for k_0, k_1 in T.grid(2, 4):
            with T.block("B_rf"):
                vk_1, vk_0 = T.axis.remap("SR", [k_1, k_0])
                T.reads(A[vk_0 * 4 + vk_1])
                T.writes(B_rf[vk_1, 0])
                with T.init():
                    B_rf[vk_1, 0] = T.float32(0.0)
                B_rf[vk_1, 0] = B_rf[vk_1, 0] + A[vk_0 * 4 + vk_1]
        for k_1 in range(4):
            with T.block("B"):
                vk_1 = T.axis.reduce(4, k_1)
                T.reads(B_rf[vk_1, 0])
                T.writes(B[0])
                with T.init():
                    B[0] = T.float32(0.0)
                B[0] = B[0] + B_rf[vk_1, 0]

    Source: TVM ``rfactor``.
    """
    found = loop_of(func, loop)
    realize, scope = _reduction_block(func, found)
    path = tuple(loops_above(func, realize))
    _check_loops(func, found, realize, path)
    reduction = _reduction(func, found, realize)
    rank = len(reduction.indices)
    if not -rank - 1 <= factor_axis <= rank:
        what = f"factor_axis {factor_axis} is not between {-rank - 1} and {rank}"
        raise refusal(func, "rfactor.P6", what, [(found, "to be factored")])
    _check_order(func, found, realize, path, reduction)
    predicate = _second_predicate(func, found, realize, path)
    _check_outputs(func, found, realize, reduction)
    _check_inputs(func, found, realize, path, reduction)
    facts = RfactorFacts(found, realize, path, reduction, factor_axis % (rank + 1), predicate, scope.block.token)
    if any_concurrent(func):
        marks = [(found, "to be factored"), (realize, "the reduction")]
        check_new_memory(func, "rfactor.P11", build_rfactor(func, facts)[0], marks)
    return facts


def _reduction_block(func: PrimFunc, loop: For) -> tuple[BlockRealize, BlockRealize]:
    """The one block below the loop, and its scope (P1, P2)."""
    if loop.kind != "serial":
        raise refusal(func, "rfactor.P1", f"loop {loop.loop_var.name} is {loop.kind}", [(loop, "to be factored")],
                      "rfactor before parallel, vectorize, unroll and bind")  # fmt: skip
    blocks = blocks_below(loop)
    marks: list[tuple[Any, str]] = [(loop, "to be factored"), *[(b, "below it") for b in blocks]]
    if len(blocks) != 1:
        what = f"below loop {loop.loop_var.name} there are {len(blocks)} blocks, not one"
        raise refusal(func, "rfactor.P2", what, marks)
    (realize,) = blocks
    scope = check_scope(func, "rfactor.P2", realize)
    if not is_reduction(realize):
        what = f"block {realize.block.name} has no init"
        raise refusal(func, "rfactor.P2", what, marks, "rfactor before decompose_reduction")
    return realize, scope


def _check_loops(func: PrimFunc, loop: For, realize: BlockRealize, path: Sequence[For]) -> None:
    """The loop is one of the reduction; the loops of the reduction are its own (P3, P7)."""
    reduced, spatial, name = reduce_loops(realize), spatial_loops(realize), realize.block.name
    marks = [(loop, "to be factored"), (realize, "the reduction")]
    for item in realize.block.iter_vars:
        if item.iter_type not in ("spatial", "reduce"):
            what = f"{item.var.name} of block {name} is an {item.iter_type} iterator"
            raise refusal(func, "rfactor.P3", what, [*marks, (item, "this iterator")])
    if loop.loop_var not in reduced:
        what = f"loop {loop.loop_var.name} feeds no reduce iterator of block {name}"
        raise refusal(func, "rfactor.P3", what, marks, "pick a loop of the reduction")
    inside = False
    around = {outer.loop_var for outer in path}
    reduced &= around
    for outer in path:
        var, mark = outer.loop_var, [*marks, (outer, "this loop")]
        if var in reduced & spatial:
            what = f"loop {var.name} feeds spatial and reduce iterators of block {name}"
            raise refusal(func, "rfactor.P3", what, mark, "split it so that each part feeds one kind")
        if var in reduced and not inside and blocks_below(outer) != [realize]:
            raise refusal(func, "rfactor.P7", f"other blocks are in loop {var.name} of the reduction", mark)
        inside = inside or var in reduced
        if inside and var not in reduced | spatial and not _is(outer.extent, 1):
            what = f"loop {var.name} repeats what is in the loops of the reduction"
            raise refusal(func, "rfactor.P7", what, mark)
        needed = around if var is loop.loop_var or _renewed(realize, loop, var) else reduced
        if var in reduced and (uses_any(outer.min, needed) or uses_any(outer.extent, needed)):
            what = f"the range of loop {var.name} depends on another of the loops"
            raise refusal(func, "rfactor.P7", what, mark)


def _is(value: Expr, number: int) -> bool:
    return isinstance(value, Const) and int(value.value) == number


def _renewed(realize: BlockRealize, loop: For, var: Var) -> bool:
    """Does the loop ``var`` get a reduce iterator of its own, since it shares one with ``loop``?"""
    return any({loop.loop_var, var} <= variables(value) for value in realize.iter_values)


def _reduction(func: PrimFunc, loop: For, realize: BlockRealize) -> Reduction:
    """What is reduced and how (P4, P5)."""
    block = realize.block
    assert block.init is not None
    marks = [(loop, "to be factored"), (realize, "the reduction")]
    if block.alloc_buffers or block.match_buffers:
        raise refusal(func, "rfactor.P4", f"block {block.name} has private buffers", marks)
    try:
        found = reduction_of(block.init, block.body)
    except NoReduction as reason:
        rule = "rfactor.P5" if reason.pattern else "rfactor.P4"
        hint = "sum, prod, min, max, argmax, argmin, or register_reducer" if reason.pattern else None
        raise refusal(func, rule, f"block {block.name}: {reason}", marks, hint) from None
    reduced = {item.var for item in block.iter_vars if item.iter_type == "reduce"}
    if any(uses_any(place, reduced) for place in found.indices):
        raise refusal(func, "rfactor.P4", f"a reduce iterator of block {block.name} indexes the output", marks)
    return found


def _check_order(
    func: PrimFunc, loop: For, realize: BlockRealize, path: Sequence[For], reduction: Reduction
) -> None:
    """Operands that must keep their order do so when the loop is the outermost of the reduction (P5)."""
    reduced = reduce_loops(realize)
    outer = [up for up in path[: path.index(loop)] if up.loop_var in reduced and not _is(up.extent, 1)]
    if outer and not reduction.commutative:
        what = f"block {realize.block.name} keeps the first of equal values, and partial results would change the order"
        marks = [(loop, "to be factored"), (outer[0], "of the reduction, outside"), (realize, "the reduction")]
        refuse(func, "rfactor.P5", what, marks, "compare the indices of equal values, or pick the outer loop")


def _second_predicate(func: PrimFunc, loop: For, realize: BlockRealize, path: Sequence[For]) -> tuple[Expr, ...]:
    """When there is a partial result: the predicate at the first iteration of the other loops of the reduction (P8)."""
    ranges, reduced = ranges_at(func, realize), reduce_loops(realize) & {outer.loop_var for outer in path}
    others = [outer for outer in path if outer.loop_var in reduced and outer is not loop]
    starts = {outer.loop_var: outer.min for outer in others}
    _check_start(func, loop, realize, {**starts, loop.loop_var: loop.min}, ranges)
    result: list[Expr] = []
    for condition in realize.predicate:
        mine = variables(condition) & reduced
        if not mine:
            result.append(condition)
            continue
        first = simplify(substitute(condition, starts), ranges)
        if proved(first, ranges) is True:
            continue
        _check_condition(func, loop, realize, path, condition)
        result.append(first)
    outside = {var: known for var, known in ranges.items() if var not in starts}
    for outer in others:
        some = LT(const(0, outer.extent.dtype), outer.extent)
        if proved(some, outside) is not True and not isinstance(outer.extent, Const):
            result.append(some)
    return tuple(result)


def _check_start(
    func: PrimFunc, loop: For, realize: BlockRealize, starts: dict[Var, Expr], ranges: Ranges
) -> None:
    """In the first iteration every reduce iterator is where its domain begins (P8)."""
    for item, value in zip(realize.block.iter_vars, realize.iter_values, strict=True):
        if item.iter_type == "reduce":
            offset = linear(substitute(value, starts), ranges) - linear(item.dom.min, ranges)
            if offset.number() != 0:
                what = f"{item.var.name} does not start at the first value of its domain"
                marks = [(loop, "to be factored"), (item, "this iterator")]
                refuse(func, "rfactor.P8", what, marks)


def _check_condition(
    func: PrimFunc, loop: For, realize: BlockRealize, path: Sequence[For], condition: Expr
) -> None:
    """Where the condition holds it holds in earlier iterations of the reduction too; other loops in it make other
    instances (P8)."""
    around = {outer.loop_var for outer in path}
    reduced = reduce_loops(realize) & around
    marks = [(loop, "to be factored"), (realize, "the reduction")]
    if not _falls(func, condition, variables(condition) & reduced, path):
        what = f"block {realize.block.name} may start its reduction late: {condition!r}"
        refuse(func, "rfactor.P8", what, marks)
    rest = (variables(condition) & around) - reduced
    enumerating, _ = split_predicate(func, realize)
    if rest and affine(realize.iter_values, ranges_at(func, realize), told_apart=rest, predicate=enumerating) is None:
        what = f"one reduction of block {realize.block.name} has different parts at different times: {condition!r}"
        refuse(func, "rfactor.P8", what, marks)


def _falls(func: PrimFunc, condition: Expr, loops: set[Var], path: Sequence[For]) -> bool:
    """Is the condition ``a < b`` or ``a <= b`` with ``a`` growing with the loops, and ``b`` not?"""
    if not isinstance(condition, LT | LE) or uses_any(condition.b, loops):
        return False
    return _grows(condition.a, loops, [outer.extent for outer in path])


def _grows(value: Expr, loops: set[Var], positive: Sequence[Expr]) -> bool:
    if not uses_any(value, loops) or isinstance(value, Var):
        return True
    if isinstance(value, Add):
        return _grows(value.a, loops, positive) and _grows(value.b, loops, positive)
    if isinstance(value, Mul):
        for a, b in ((value.a, value.b), (value.b, value.a)):
            factor = proved(b >= 0, {}) is True or any(structural_equal(b, extent) for extent in positive)
            if not uses_any(b, loops) and factor:
                return _grows(a, loops, positive)
    return False


def _check_outputs(func: PrimFunc, loop: For, realize: BlockRealize, reduction: Reduction) -> None:
    """Different spatial instances write different elements (P9)."""
    spatial = [item for item in realize.block.iter_vars if item.iter_type == "spatial"]
    if not (realize.block.writes and tells_apart(realize, spatial)):
        what = f"different instances of block {realize.block.name} write the same element"
        refuse(func, "rfactor.P9", what, [(loop, "to be factored"), (realize, "the reduction")])


def _check_inputs(
    func: PrimFunc, loop: For, realize: BlockRealize, path: Sequence[For], reduction: Reduction
) -> None:
    """The partial results are computed before the outermost loop: nothing in it makes what they are made of (P10)."""
    used = set(buffers_used(realize)) - set(reduction.outputs)
    for other in blocks_below(path[0]):
        written = [region.buffer for region in other.block.writes if region.buffer in used]
        if other is not realize and written:
            what = f"block {other.block.name} writes {written[0].name} under loop {path[0].loop_var.name}"
            marks = [(loop, "to be factored"), (realize, f"reads {written[0].name}"), (other, "writes it")]
            refuse(func, "rfactor.P10", what, marks, "move the producer out of the loops first")


# ---- the two nests


def build_rfactor(func: PrimFunc, facts: RfactorFacts) -> Result:
    """The nest of the partial results before the outermost loop, the second step in the place of the reduction."""
    name = f"{facts.realize.block.name}_rf"
    label = unique_name(name, {other.block.name for other in index(func).blocks.values()})
    buffers = _partial_buffers(func, facts)
    token = Token(label)
    first = _first_nest(facts, buffers, label, token)
    second = _second_nest(func, facts, buffers)
    func = replace_at(func, {facts.path[0]: seq(first, second)})
    scope = index(func).blocks[facts.scope].block
    return replace_block(func, facts.scope, replace(scope, alloc_buffers=(*scope.alloc_buffers, *buffers))), (token,)


def _partial_buffers(func: PrimFunc, facts: RfactorFacts) -> list[Buffer]:
    used = {b.name for realize in index(func).blocks.values() for b in realize.block.alloc_buffers}
    used |= {b.name for b in func.buffers}
    made: list[Buffer] = []
    for output in facts.reduction.outputs:
        shape = (*output.shape[: facts.axis], facts.loop.extent, *output.shape[facts.axis :])
        made.append(Buffer(unique_name(f"{output.name}_rf", used), shape, output.type, output.scope))
        used.add(made[-1].name)
    return made


def _place(facts: RfactorFacts, indices: Sequence[Expr], factor: Var) -> tuple[Expr, ...]:
    """Where the partial result of an iteration of the loop is."""
    at: Expr = factor if _is(facts.loop.min, 0) else factor - facts.loop.min
    return (*indices[: facts.axis], at, *indices[facts.axis :])


def _update(buffers: Sequence[Buffer], place: tuple[Expr, ...], values: Sequence[Expr]) -> Stmt:
    """Store the values, which read the buffers, all at once."""
    if len(buffers) == 1:
        return BufferStore(buffers[0], values[0], place)
    names = [Var(f"v_{buffer.name}", buffer.type) for buffer in buffers]
    body = seq(*[BufferStore(buffer, var, place) for buffer, var in zip(buffers, names, strict=True)])
    for var, value in reversed(list(zip(names, values, strict=True))):
        body = LetStmt(var, value, body)
    return body


def _stores(buffers: Sequence[Buffer], place: tuple[Expr, ...], values: Sequence[Expr]) -> Stmt:
    return seq(*[BufferStore(buffer, value, place) for buffer, value in zip(buffers, values, strict=True)])


def _first_nest(facts: RfactorFacts, buffers: Sequence[Buffer], name: str, token: Token) -> Stmt:
    """All loops anew; the loop's iterator is spatial now, and the loops that shared a reduce iterator with it have
    iterators of their own."""
    realize, loop, reduction = facts.realize, facts.loop, facts.reduction
    factor = _iterator(loop, "spatial")
    items, values, renamed = _split_iterators(facts, factor)
    place = _place(facts, [substitute(i, renamed) for i in reduction.indices], factor.var)
    operands = [substitute(fresh(e), renamed) for e in reduction.operands]
    init: Stmt | None = None
    if any(item.iter_type == "reduce" for item in items):
        old = [BufferLoad(buffer, place) for buffer in buffers]
        body = _update(buffers, place, reduction.combined(old, operands))
        init = _stores(buffers, place, [substitute(fresh(e), renamed) for e in reduction.identities()])
    else:
        body = _stores(buffers, place, operands)
    reads, writes = access_regions(body, init, iterator_ranges(items))
    block = make_block(name, body, iter_vars=items, reads=reads, writes=writes, init=init,
                       annotations=realize.block.annotations, token=token)  # fmt: skip
    loops: dict[Var, Expr] = {up.loop_var: Var(up.loop_var.name, up.loop_var.type) for up in facts.path}
    predicate = tuple([substitute(c, loops) for c in realize.predicate])
    result: Stmt = BlockRealize(tuple([substitute(v, loops) for v in values]), predicate, block)
    for up in reversed(facts.path):
        start, extent = substitute(up.min, loops), substitute(up.extent, loops)
        result = replace(up, loop_var=loops[up.loop_var], min=start, extent=extent, body=result)
    return result


def _iterator(loop: For, kind: str) -> IterVar:
    return IterVar(Var(f"v{loop.loop_var.name}", loop.loop_var.type), Range(loop.min, loop.extent), kind)


def _split_iterators(facts: RfactorFacts, factor: IterVar) -> tuple[list[IterVar], list[Expr], dict[Var, Expr]]:
    """Iterators of the first block, their values, and what the old iterators are in terms of them."""
    by_loop: dict[Var, Expr] = {facts.loop.loop_var: factor.var}
    loops = {up.loop_var: up for up in facts.path}
    items: list[IterVar] = [factor]
    made: list[Expr] = [facts.loop.loop_var]
    renamed: dict[Var, Expr] = {}
    taken: list[tuple[Var, Expr]] = []
    for item, value in zip(facts.realize.block.iter_vars, facts.realize.iter_values, strict=True):
        if facts.loop.loop_var not in variables(value):
            own = Var(item.var.name, item.var.type)
            renamed[item.var] = own
            items.append(replace(item, var=own))
            made.append(value)
            continue
        for var in (node for node in walk(value) if type(node) is Var):
            if var in loops and var not in by_loop:
                new = _iterator(loops[var], "reduce")
                by_loop[var] = new.var
                items.append(new)
                made.append(var)
        taken.append((item.var, value))
    return items, made, {**renamed, **{var: substitute(value, by_loop) for var, value in taken}}


def _second_nest(func: PrimFunc, facts: RfactorFacts, buffers: Sequence[Buffer]) -> Stmt:
    """What was there, without the other loops of the reduction."""
    realize, block, reduction = facts.realize, facts.realize.block, facts.reduction
    factor = _iterator(facts.loop, "reduce")
    kept = [
        (item, value)
        for item, value in zip(block.iter_vars, realize.iter_values, strict=True)
        if item.iter_type == "spatial"
    ]
    items = [factor, *[item for item, _ in kept]]
    old = [BufferLoad(output, reduction.indices) for output in reduction.outputs]
    partial = [BufferLoad(buffer, _place(facts, reduction.indices, factor.var)) for buffer in buffers]
    body = _update(reduction.outputs, reduction.indices, reduction.combined(old, partial))
    reads, writes = access_regions(body, block.init, iterator_ranges(items))
    own = {region.buffer: region for region in reads}
    reads = tuple([own.pop(buffer) for buffer in buffers]) + tuple(own.values())  # in the order of the outputs
    new = replace(block, iter_vars=tuple(items), body=body, reads=reads, writes=writes)
    result: Stmt = BlockRealize((facts.loop.loop_var, *[value for _, value in kept]), facts.predicate, new)
    dropped = {up.loop_var for up in facts.path} & reduce_loops(realize) - {facts.loop.loop_var}
    child: Stmt = realize
    for up in index(func).above(realize):
        if not (isinstance(up, For) and up.loop_var in dropped):
            rebuilt = with_stmt_children(up, tuple([result if part is child else part for part in stmt_children(up)]))
            assert rebuilt is not None
            result = rebuilt
        child = up
        if up is facts.path[0]:
            break
    return result


def consume_rfactor(func: PrimFunc, loop: Var, factor_axis: int) -> set[Handle]:
    """The other loops of the reduction."""
    (realize,) = blocks_below(loop_of(func, loop))
    above = {up.loop_var for up in loops_above(func, realize)}
    return set(reduce_loops(realize) & above - {loop})


def draw_rfactor(pick: Pick, func: PrimFunc) -> dict[str, Any] | None:
    """A loop of a reduction and a place for the new dimension; sometimes any loop."""
    site = draw_reduced(pick, func, lambda realize, loop: bool(realize.block.writes) and loop in reduce_loops(realize))
    if site is None:
        return None
    writes = index(func).blocks[site[0]].block.writes
    rank = len(writes[0].region) if writes else 0
    return {"loop": site[1], "factor_axis": pick(range(-rank - 1, rank + 1))}


RFACTOR = register(
    Primitive(
        "rfactor",
        {
            "P1": "the loop is serial",
            "P2": "below the loop is one block, with an init, in the body of a scope of loops and blocks only",
            "P3": "the loop feeds reduce iterators, and no loop feeds reduce and spatial ones",
            "P4": "init and body store each output once, all at one place without reduce iterators",
            "P5": "the reduction is a known one whose operands may be regrouped so",
            "P6": "factor_axis is a place among the dimensions of the output",
            "P7": "the loops of the reduction hold this block only, nothing in them repeats it, ranges are independent",
            "P8": "the reduction starts at its first instance, and what the predicate leaves out comes at the end",
            "P9": "spatial instances write different elements",
            "P10": "no other block under the outermost loop writes what the reduction reads",
            "P11": "no concurrent loop gets conflicting iterations, no thread another's private memory",
        },
        plan_rfactor,
        build_rfactor,
        draw_rfactor,
        consume_rfactor,
        "one",
        ("factor_axis",),
        frozenset({"P5", "P8", "P9", "P10", "P11"}),
    )
)
