"""Annotations on blocks and loops."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from mlcref.ir import Attrs, Block, For, PrimFunc, Stmt, Token, index, replace, replace_at
from mlcref.schedule.find import block_of, loop_of
from mlcref.schedule.table import Handle, Pick, Primitive, Result, refusal, register


@dataclass(frozen=True, slots=True)
class AnnotateFacts:
    """The statement to change and its new annotations."""

    target: Handle
    annotations: Attrs


def _target(func: PrimFunc, target: Handle) -> tuple[Stmt, Block | For]:
    """The statement to draw, and the node that carries the annotations."""
    if isinstance(target, Token):
        realize = block_of(func, target)
        return realize, realize.block
    found = loop_of(func, target)
    return found, found


def plan_annotate(func: PrimFunc, block_or_loop: Handle, ann_key: str, ann_val: Any) -> AnnotateFacts:
    """Annotate a block or a loop: ``annotate(loop, "pragma_auto_unroll_max_step", 16)``.

    Values are strings, numbers, lists and mappings of them.

    >>> from mlcref.schedule.examples import Schedule, doubled, shown
    >>> sch = Schedule(doubled)
    >>> print(shown(sch))
    for i in range(10):
        with T.block("B"):
            vi = T.axis.spatial(10, i)
            B[vi] = A[vi] * T.float32(2.0)
    >>> (i,) = sch.get_loops("B")
    >>> sch.annotate(i, "pragma_auto_unroll_max_step", 16)
    >>> print(shown(sch))
    for i in T.serial(10, annotations={"pragma_auto_unroll_max_step": 16}):
        with T.block("B"):
            vi = T.axis.spatial(10, i)
            B[vi] = A[vi] * T.float32(2.0)

    Source: TVM ``annotate``.
    """
    stmt, node = _target(func, block_or_loop)
    if ann_key in node.annotations and node.annotations[ann_key] != ann_val:
        what = f"{ann_key!r} is {node.annotations[ann_key]!r} already"
        raise refusal(func, "annotate.P1", what, [(stmt, f"to get {ann_val!r}")], "unannotate first")
    return AnnotateFacts(block_or_loop, node.annotations.updated({ann_key: ann_val}))


def plan_unannotate(func: PrimFunc, block_or_loop: Handle, ann_key: str) -> AnnotateFacts:
    """Remove an annotation from a block or a loop.

    >>> from mlcref.schedule.examples import Schedule, doubled, shown
    >>> sch = Schedule(doubled)
    >>> (i,) = sch.get_loops("B")
    >>> sch.annotate(i, "note", 1)
    >>> print(shown(sch))
    for i in T.serial(10, annotations={"note": 1}):
        with T.block("B"):
            vi = T.axis.spatial(10, i)
            B[vi] = A[vi] * T.float32(2.0)
    >>> sch.unannotate(i, "note")
    >>> print(shown(sch))
    for i in range(10):
        with T.block("B"):
            vi = T.axis.spatial(10, i)
            B[vi] = A[vi] * T.float32(2.0)

    Source: TVM ``unannotate``.
    """
    stmt, node = _target(func, block_or_loop)
    if ann_key not in node.annotations:
        known = ", ".join(node.annotations) or "none"
        raise refusal(
            func,
            "unannotate.P1",
            f"there is no annotation {ann_key!r}",
            [(stmt, "not annotated")],
            f"annotations: {known}",
        )
    return AnnotateFacts(block_or_loop, node.annotations.updated({ann_key: None}))


def build_annotate(func: PrimFunc, facts: AnnotateFacts) -> Result:
    """The function with the annotations changed."""
    stmt, node = _target(func, facts.target)
    changed = replace(node, annotations=facts.annotations)
    new = changed if isinstance(changed, For) else replace(stmt, block=changed)
    return replace_at(func, {stmt: new}), ()


def draw_annotate(pick: Pick, func: PrimFunc) -> dict[str, Any] | None:
    """Any block or loop, and one of a few keys that nothing acts on."""
    where = index(func)
    target = pick([*where.loops, *where.blocks])
    return {"block_or_loop": target, "ann_key": pick(["note", "label", "hint", "origin", "remark"]),
            "ann_val": pick([1, 2])}  # fmt: skip


def draw_unannotate(pick: Pick, func: PrimFunc) -> dict[str, Any] | None:
    """A block or loop that has an annotation, where there is one."""
    where = index(func)
    found: list[tuple[Handle, str]] = [(var, key) for var, loop in where.loops.items() for key in loop.annotations]
    found += [(token, key) for token, realize in where.blocks.items() for key in realize.block.annotations]
    if not found:
        return None
    target, key = pick(found)
    return {"block_or_loop": target, "ann_key": key}


ANNOTATE = register(
    Primitive(
        "annotate",
        {"P1": "the key has no other value yet"},
        plan_annotate,
        build_annotate,
        draw_annotate,
        attributes=("ann_key",),
    )  # fmt: skip
)
UNANNOTATE = register(
    Primitive(
        "unannotate",
        {"P1": "the key is there"},
        plan_unannotate,
        build_annotate,
        draw_unannotate,
        attributes=("ann_key",),
    )
)
