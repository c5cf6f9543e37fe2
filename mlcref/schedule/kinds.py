"""How a loop runs: parallel, vectorized, unrolled, bound to a thread axis."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from mlcref.arith import affine
from mlcref.ir import (
    BlockRealize, For, PrimFunc, Var, index, replace, replace_at, structural_equal, variables, walk,
)  # fmt: skip
from mlcref.ir.stmt import THREAD_TAGS
from mlcref.schedule.dependence import carried_conflict, is_private
from mlcref.schedule.find import blocks_below, domain_at, loop_of
from mlcref.schedule.loop import draw_loop
from mlcref.schedule.thread_scopes import scope_conflict
from mlcref.schedule.table import Pick, Primitive, Result, refusal, register


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

    ``for i in range(8): …`` → parallel(i) → ``for i in T.parallel(8): …``

    Source: TVM ``parallel``, with the preconditions of the module ``dependence`` on top: iterations must not conflict.
    """
    return _concurrent(func, loop, "parallel", "parallel")


def plan_vectorize(func: PrimFunc, loop: Var) -> KindFacts:
    """Run the iterations of a loop in the lanes of vectors.

    ``for i in range(8): …`` → vectorize(i) → ``for i in T.vectorized(8): …``

    Source: TVM ``vectorize``, with the preconditions of the module ``dependence`` on top: iterations must not conflict.
    """
    return _concurrent(func, loop, "vectorize", "vectorized")


def plan_unroll(func: PrimFunc, loop: Var) -> KindFacts:
    """Write the iterations of a loop one after the other.

    ``for i in range(4): …`` → unroll(i) → ``for i in T.unroll(4): …``

    Source: TVM ``unroll``.
    """
    found = loop_of(func, loop)
    if found.kind == "thread_binding":
        raise refusal(func, "unroll.P1", f"loop {loop.name} is bound to {found.thread}", [(found, "to be unrolled")])
    return KindFacts(found, "unrolled")


def plan_bind(func: PrimFunc, loop: Var, thread_axis: str) -> KindFacts:
    """Bind a loop to a thread axis: blockIdx, threadIdx (.x .y .z) or vthread.

    ``for i in range(32): …`` → bind(i, "threadIdx.x") → ``for i in T.thread_binding(32, thread="threadIdx.x"): …``

    A reduce iterator may be fed by threadIdx only, in a block that has its init (the threads then reduce together).

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
    shared = thread_axis.startswith("threadIdx")
    bound = _concurrent(func, loop, "bind", "thread_binding", thread_axis, reduce_allowed=shared)
    conflict = scope_conflict(build_kind(func, bound)[0])
    if conflict is not None:
        raise refusal(func, "bind.P6", conflict.text, [(bound.loop, "to be bound"), *conflict.marks])
    _check_axis(func, bound.loop, thread_axis)
    return bound


def _check_axis(func: PrimFunc, loop: For, axis: str) -> None:
    """In one kernel, from the outermost bound loop on, an axis has one extent and is not bound inside itself."""
    above = [node for node in index(func).above(loop) if isinstance(node, For)]
    kernel = next((node for node in reversed(above) if node.kind == "thread_binding"), loop)
    below = {node for node in walk(loop) if isinstance(node, For)}
    for node in walk(kernel):
        if isinstance(node, For) and node.thread == axis and node is not loop:
            nested = node in below or node in above
            if nested or not structural_equal(node.extent, loop.extent):
                what = f"{axis} is bound already" + ("" if nested else ", with another extent")
                raise refusal(func, "bind.P7", what, [(loop, "to be bound"), (node, "bound here")])


def _concurrent(
    func: PrimFunc, var: Var, name: str, kind: str, thread: str | None = None, reduce_allowed: bool = False
) -> KindFacts:
    """The checks of everything that runs iterations at once."""
    loop = loop_of(func, var)
    if loop.kind == "thread_binding" and name != "bind":
        raise refusal(func, f"{name}.P1", f"loop {var.name} is bound to {loop.thread}", [(loop, f"to be {kind}")])
    for realize in blocks_below(loop):
        _check_iterators(func, loop, realize, name, kind, reduce_allowed)
    changed = replace_at(func, {loop: replace(loop, kind=kind, thread=thread)})
    for realize in blocks_below(loop):
        _check_instances(func, changed, loop, realize, name, kind)
    conflict = carried_conflict(changed, [index(changed).loops[var]])
    if conflict is not None:
        raise refusal(func, f"{name}.P5", conflict.text, [(loop, f"to be {kind}"), *conflict.marks])
    return KindFacts(loop, kind, thread)


def _check_iterators(
    func: PrimFunc, loop: For, realize: BlockRealize, name: str, kind: str, reduce_allowed: bool
) -> None:
    for item, value in zip(realize.block.iter_vars, realize.iter_values, strict=True):
        if item.iter_type not in ("spatial", "reduce"):
            what = f"{item.var.name} of block {realize.block.name} is an {item.iter_type} iterator"
            raise refusal(func, f"{name}.P2", what, [(loop, f"to be {kind}"), (realize, "ordered")])
        # Threads reduce together from an init on; an update without one would be a plain read, add and write.
        together = reduce_allowed and realize.block.init is not None
        if loop.loop_var in variables(value) and item.iter_type == "reduce" and not together:
            what = f"loop {loop.loop_var.name} feeds the reduce iterator {item.var.name} of block {realize.block.name}"
            raise refusal(func, f"{name}.P3", what, [(loop, f"to be {kind}"), (item, f"{item.var.name} is reduced")],
                          "rfactor or decompose_reduction first, or pick a spatial loop")  # fmt: skip


def _check_instances(
    func: PrimFunc, changed: PrimFunc, loop: For, realize: BlockRealize, name: str, kind: str
) -> None:
    """Different iterations must be different instances of the block, or work on memory private in ``changed``."""
    rule, marks = f"{name}.P4", [(loop, f"to be {kind}"), (realize, "bound here")]
    domain, values, var = domain_at(func, realize), realize.iter_values, loop.loop_var
    if affine(values, domain, predicate=realize.predicate) is None:
        what = f"the bindings of block {realize.block.name} are no independent affine map of the loops"
        raise refusal(func, rule, what, marks)
    told_apart = affine(values, domain, told_apart=(var,), predicate=realize.predicate) is not None
    new = index(changed).loops[var]
    if not told_apart and not all(is_private(changed, new, region.buffer) for region in realize.block.writes):
        what = f"several iterations of {var.name} write the same elements in block {realize.block.name}"
        raise refusal(func, rule, what, marks)


def draw_kind(pick: Pick, func: PrimFunc) -> dict[str, Any] | None:
    """Any loop."""
    loop = draw_loop(pick, func)
    return None if loop is None else {"loop": loop.loop_var}


def draw_bind(pick: Pick, func: PrimFunc) -> dict[str, Any] | None:
    """Any loop and a thread axis."""
    loop = draw_loop(pick, func)
    return (
        None
        if loop is None
        else {"loop": loop.loop_var, "thread_axis": pick(["blockIdx.x", "threadIdx.x", "vthread.x"])}
    )


_CONCURRENT = (
    "blocks below have spatial and reduce iterators only",
    "the loop feeds no reduce iterator",
    "different iterations are different instances of each block below, or write private memory",
    "no block below uses what another block writes in another iteration",
)


def _numbered(*texts: str) -> dict[str, str]:
    return {f"P{i}": text for i, text in enumerate(texts, 1)}


PARALLEL = register(
    Primitive(
        "parallel",
        _numbered("the loop is not bound to a thread axis", *_CONCURRENT),
        plan_parallel,
        build_kind,
        draw_kind,
    )
)
VECTORIZE = register(
    Primitive(
        "vectorize",
        _numbered("the loop is not bound to a thread axis", *_CONCURRENT),
        plan_vectorize,
        build_kind,
        draw_kind,
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
            "in its kernel the axis has one extent and is not bound inside itself",
        ),
        plan_bind,
        build_kind,
        draw_bind,
        attributes=("thread_axis",),
    )  # fmt: skip
)
