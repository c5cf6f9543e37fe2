"""How a loop runs: parallel, vectorized, unrolled, bound to a thread axis."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from mlcref.arith import affine, linear
from mlcref.arith.linear import atom_variables
from mlcref.ir import (
    BlockRealize, Expr, For, PrimFunc, Var, const, index, replace, replace_at, structural_equal, substitute, variables,
    walk,
)  # fmt: skip
from mlcref.ir.stmt import THREAD_TAGS
from mlcref.schedule.dataflow import stores_the_same
from mlcref.schedule.dependence import carried_conflict, is_private, separated
from mlcref.schedule.find import blocks_below, constant_extent, domain_at, loop_of, loops_above, scope_of
from mlcref.schedule.draws import wild
from mlcref.schedule.loop import draw_loop
from mlcref.schedule.reducers import order_free
from mlcref.schedule.thread_scopes import (
    allocated_under_threads, bound_in_a_reduction, scope_conflict, shared_by_iterations,
)  # fmt: skip
from mlcref.schedule.table import Pick, Primitive, Result, refusal, refuse, register


@dataclass(frozen=True, slots=True)
class KindFacts:
    """The loop, its new kind and thread axis."""

    loop: For
    kind: str
    thread: str | None = None


def build_kind(func: PrimFunc, facts: KindFacts) -> Result:
    """The loop with its new kind."""
    return replace_at(func, {facts.loop: replace(facts.loop, kind=facts.kind, thread=facts.thread)}), ()


def plan_parallel(func: PrimFunc, loop: Var) -> KindFacts:
    """Run the iterations of a loop on several threads.

    >>> from mlcref.schedule.examples import Schedule, doubled, shown
    >>> sch = Schedule(doubled)
    >>> print(shown(sch))
    for i in range(10):
        with T.block("B"):
            vi = T.axis.spatial(10, i)
            B[vi] = A[vi] * T.float32(2.0)
    >>> sch.parallel(sch.get_loops("B")[0])
    >>> print(shown(sch))
    for i in T.parallel(10):
        with T.block("B"):
            vi = T.axis.spatial(10, i)
            B[vi] = A[vi] * T.float32(2.0)

    Source: TVM ``parallel``, with the preconditions of the module ``dependence`` on top: iterations must not conflict.
    """
    return _concurrent(func, loop, "parallel", "parallel")


def plan_vectorize(func: PrimFunc, loop: Var) -> KindFacts:
    """Run the iterations of a loop in the lanes of vectors.

    >>> from mlcref.schedule.examples import Schedule, doubled, shown
    >>> sch = Schedule(doubled)
    >>> print(shown(sch))
    for i in range(10):
        with T.block("B"):
            vi = T.axis.spatial(10, i)
            B[vi] = A[vi] * T.float32(2.0)
    >>> sch.vectorize(sch.get_loops("B")[0])
    >>> print(shown(sch))
    for i in T.vectorized(10):
        with T.block("B"):
            vi = T.axis.spatial(10, i)
            B[vi] = A[vi] * T.float32(2.0)

    Source: TVM ``vectorize``, with the preconditions of the module ``dependence`` on top: iterations must not conflict.
    """
    return _concurrent(func, loop, "vectorize", "vectorized")


def plan_unroll(func: PrimFunc, loop: Var) -> KindFacts:
    """Write the iterations of a loop one after the other.

    >>> from mlcref.schedule.examples import Schedule, doubled, shown
    >>> sch = Schedule(doubled)
    >>> print(shown(sch))
    for i in range(10):
        with T.block("B"):
            vi = T.axis.spatial(10, i)
            B[vi] = A[vi] * T.float32(2.0)
    >>> sch.unroll(sch.get_loops("B")[0])
    >>> print(shown(sch))
    for i in T.unroll(10):
        with T.block("B"):
            vi = T.axis.spatial(10, i)
            B[vi] = A[vi] * T.float32(2.0)

    Source: TVM ``unroll``.
    """
    found = loop_of(func, loop)
    if found.kind == "thread_binding":
        raise refusal(func, "unroll.P1", f"loop {loop.name} is bound to {found.thread}", [(found, "to be unrolled")])
    return KindFacts(found, "unrolled")


def plan_bind(func: PrimFunc, loop: Var, thread_axis: str) -> KindFacts:
    """Bind a loop to a thread axis: blockIdx, threadIdx (.x .y .z) or vthread.

    A reduce iterator may be fed by threadIdx, in a block that has its init and reduces in any order (the threads then
    reduce together), and by vthread, whose iterations run in order.

    >>> from mlcref.schedule.examples import Schedule, doubled, shown
    >>> sch = Schedule(doubled)
    >>> print(shown(sch))
    for i in range(10):
        with T.block("B"):
            vi = T.axis.spatial(10, i)
            B[vi] = A[vi] * T.float32(2.0)
    >>> sch.bind(sch.get_loops("B")[0], "threadIdx.x")
    >>> print(shown(sch))
    for i in T.thread_binding(10, thread="threadIdx.x"):
        with T.block("B"):
            vi = T.axis.spatial(10, i)
            B[vi] = A[vi] * T.float32(2.0)

    Source: TVM ``bind``.
    """
    if thread_axis not in THREAD_TAGS:
        found = loop_of(func, loop)
        raise refusal(
            func,
            "bind.P1",
            f"there is no thread axis {thread_axis!r}",
            [(found, "to be bound")],
            f"one of {', '.join(THREAD_TAGS)}",
        )
    if "vthread" in thread_axis:  # its iterations run in order
        bound = KindFacts(loop_of(func, loop), "thread_binding", thread_axis)
    else:
        shared = thread_axis.startswith("threadIdx")
        bound = _concurrent(func, loop, "bind", "thread_binding", thread_axis, reduce_allowed=shared)
    changed = build_kind(func, bound)[0]
    conflict = scope_conflict(changed) or allocated_under_threads(func, changed) or shared_by_iterations(func, changed)
    conflict = conflict or bound_in_a_reduction(func, changed)
    if conflict is not None:
        refuse(func, "bind.P6", conflict.text, [(bound.loop, "to be bound"), *conflict.marks])
    _check_axis(func, bound.loop, thread_axis)
    return bound


def _check_axis(func: PrimFunc, loop: For, axis: str) -> None:
    """In one kernel, from the outermost bound loop on, an axis has one extent. Bound inside itself it is a projection:
    each thread runs its own iteration of the inner loop, where all threads ran all of them before."""
    above = [node for node in index(func).above(loop) if isinstance(node, For)]
    kernel = next((node for node in reversed(above) if node.kind == "thread_binding"), loop)
    below = {node for node in walk(loop) if isinstance(node, For)}
    for node in walk(kernel):
        if isinstance(node, For) and node.thread == axis and node is not loop:
            marks = [(loop, "to be bound"), (node, "bound here")]
            if not structural_equal(node.extent, loop.extent):
                refuse(func, "bind.P7", f"{axis} is bound already, with another extent", marks)
            elif node in below or (node in above and not _is_shared_work(func, loop, node)):
                refuse(func, "bind.P7", f"{axis} is bound already", marks)


def _is_shared_work(func: PrimFunc, loop: For, threads: For) -> bool:
    """Do all iterations of ``threads`` run the same instances below ``loop``, for memory that all of them see, and
    would the bits be the same if each instance ran once?"""
    if threads.thread is None or not threads.thread.startswith("threadIdx"):
        return False
    if scope_of(func, loop) is not scope_of(func, threads):  # iterators of a block may differ in what looks the same
        return False
    between = [node.loop_var for node in index(func).above(loop) if isinstance(node, For) and threads in
               set(index(func).above(node))]  # fmt: skip
    for realize in blocks_below(loop):
        used = {var for part in (*realize.iter_values, *realize.predicate) for var in variables(part)}
        private = any(r.buffer.scope.partition(".")[0] in ("local", "warp") for r in realize.block.writes)
        if threads.loop_var in used or private or not stores_the_same(realize):
            return False
        if any(threads.loop_var in variables(extent) for extent in _extents(func, between)):
            return False
    return len(blocks_below(loop)) == 1


def _extents(func: PrimFunc, loops: list[Var]) -> list[Expr]:
    found = [index(func).loops[var] for var in loops]
    return [*(node.min for node in found), *(node.extent for node in found)]


def _concurrent(
    func: PrimFunc, var: Var, name: str, kind: str, thread: str | None = None, reduce_allowed: bool = False
) -> KindFacts:
    """The checks of everything that runs iterations at once."""
    loop = loop_of(func, var)
    if loop.kind == "thread_binding" and name != "bind":
        raise refusal(func, f"{name}.P1", f"loop {var.name} is bound to {loop.thread}", [(loop, f"to be {kind}")])
    if constant_extent(loop) == 1:  # one iteration has nothing to conflict with
        return KindFacts(loop, kind, thread)
    for realize in blocks_below(loop):
        _check_iterators(func, loop, realize, name, kind, reduce_allowed)
    changed = replace_at(func, {loop: replace(loop, kind=kind, thread=thread)})
    for realize in blocks_below(loop):
        _check_instances(func, changed, loop, realize, name, kind)
    conflict = carried_conflict(changed, [index(changed).loops[var]])
    if conflict is not None:
        refuse(func, f"{name}.P5", conflict.text, [(loop, f"to be {kind}"), *conflict.marks])
    return KindFacts(loop, kind, thread)


def _check_iterators(
    func: PrimFunc, loop: For, realize: BlockRealize, name: str, kind: str, reduce_allowed: bool
) -> None:
    for item, value in zip(realize.block.iter_vars, realize.iter_values, strict=True):
        if item.iter_type not in ("spatial", "reduce"):
            what = f"{item.var.name} of block {realize.block.name} is an {item.iter_type} iterator"
            refuse(func, f"{name}.P2", what, [(loop, f"to be {kind}"), (realize, "ordered")])
        # Threads reduce together from an init on, in any order; an update without one would be a plain read and write.
        together = reduce_allowed and realize.block.init is not None and order_free(realize.block.body)
        if loop.loop_var in variables(value) and item.iter_type == "reduce" and not together:
            what = f"loop {loop.loop_var.name} feeds the reduce iterator {item.var.name} of block {realize.block.name}"
            refuse(func, f"{name}.P3", what, [(loop, f"to be {kind}"), (item, f"{item.var.name} is reduced")],
                   "rfactor or decompose_reduction first, or pick a spatial loop")  # fmt: skip


def _check_instances(
    func: PrimFunc, changed: PrimFunc, loop: For, realize: BlockRealize, name: str, kind: str
) -> None:
    """Different iterations must be different instances of the block, or work on memory private in ``changed``."""
    rule, marks = f"{name}.P4", [(loop, f"to be {kind}"), (realize, "bound here")]
    domain, values, var = domain_at(func, realize), realize.iter_values, loop.loop_var
    new = index(changed).loops[var]
    if all(is_private(changed, new, region.buffer) for region in realize.block.writes):
        return
    if _tells_iterations_apart(func, loop, realize) or _uses_apart(changed, new, realize):
        return
    if affine(values, domain, predicate=realize.predicate) is None:
        what = f"the bindings of block {realize.block.name} are no independent affine map of the loops"
        refuse(func, rule, what, marks)
    elif affine(values, domain, told_apart=(var,), predicate=realize.predicate) is None:
        what = f"several iterations of {var.name} write the same elements in block {realize.block.name}"
        refuse(func, rule, what, marks)


def _uses_apart(func: PrimFunc, loop: For, realize: BlockRealize) -> bool:
    """Do different iterations of ``loop`` use different elements of all that the block writes? That also holds for
    blocks without iterators, whose regions name the loop."""
    regions = [*realize.block.reads, *realize.block.writes]
    return all(
        separated(func, [loop], [(realize, other) for other in regions if other.buffer is region.buffer])
        for region in realize.block.writes
    )


def _tells_iterations_apart(func: PrimFunc, loop: For, realize: BlockRealize) -> bool:
    """Do the bindings differ in different iterations of ``loop``, whatever the loops outside it stand at?"""
    domain = domain_at(func, realize)
    units = {var: const(0, var.type) for var, extent in domain.items() if isinstance(extent, int) and extent == 1}
    if loop.loop_var in units:
        return True
    inside = {other.loop_var for other in loops_above(func, realize)}
    inside -= {other.loop_var for other in loops_above(func, loop)}
    forms = [linear(substitute(value, units), {}) for value in realize.iter_values]
    groups = [set(atom_variables(atom)) for form in forms for atom in form.terms]
    while mixed := [group for group in groups if group & inside and not group <= inside]:
        inside = inside.union(*mixed)  # an outer loop inside a quotient cannot be taken as fixed
    moving = [form.only(lambda atom: not atom_variables(atom).isdisjoint(inside)).expr() for form in forms]
    mine = {var: extent for var, extent in domain.items() if var in inside}
    conditions = [substitute(conjunct, units) for conjunct in realize.predicate]
    known = [conjunct for conjunct in conditions if variables(conjunct) <= inside]
    return affine(moving, mine, told_apart=(loop.loop_var,), predicate=known) is not None


def draw_kind(pick: Pick, func: PrimFunc) -> dict[str, Any] | None:
    """Any loop."""
    loop = draw_loop(pick, func)
    return None if loop is None else {"loop": loop.loop_var}


def draw_bind(pick: Pick, func: PrimFunc) -> dict[str, Any] | None:
    """Any loop and a thread axis; more often than not a loop without one, and often an axis that is in use."""
    loops = list(index(func).loops.values())
    free = [loop for loop in loops if loop.thread is None]
    if not loops:
        return None
    loop = pick(free if free and not wild(pick) else loops)
    seldom = pick(["blockIdx.y", "threadIdx.y", "vthread"])
    used = [loop.thread for loop in loops if loop.thread is not None]
    axis = pick(["blockIdx.x", "threadIdx.x", "vthread.x", seldom])
    return {"loop": loop.loop_var, "thread_axis": pick(used) if used and pick([False, True, True]) else axis}


_CONCURRENT = (
    "blocks below have spatial and reduce iterators only",
    "the loop feeds no reduce iterator",
    "different iterations are different instances of each block below, or write elements or memory of their own",
    "no block below uses what another block writes in another iteration",
)

_FORCEABLE = frozenset({"P2", "P3", "P4", "P5"})


def _numbered(*texts: str) -> dict[str, str]:
    return {f"P{i}": text for i, text in enumerate(texts, 1)}


PARALLEL = register(
    Primitive(
        "parallel",
        _numbered("the loop is not bound to a thread axis", *_CONCURRENT),
        plan_parallel,
        build_kind,
        draw_kind,
        forceable=_FORCEABLE,
    )
)
VECTORIZE = register(
    Primitive(
        "vectorize",
        _numbered("the loop is not bound to a thread axis", *_CONCURRENT),
        plan_vectorize,
        build_kind,
        draw_kind,
        forceable=_FORCEABLE,
    )
)
UNROLL = register(
    Primitive("unroll", _numbered("the loop is not bound to a thread axis"), plan_unroll, build_kind, draw_kind)
)
BIND = register(
    Primitive(
        "bind",
        _numbered(
            "the thread axis exists", *_CONCURRENT, "private buffers are used in one thread each",
            "in its kernel the axis has one extent, and inside itself it is bound for work that all its threads share",
        ),
        plan_bind,
        build_kind,
        draw_bind,
        attributes=("thread_axis",),
        forceable=_FORCEABLE | {"P6", "P7"},
    )  # fmt: skip
)
