"""Conditions out of loops over vectors: those that do not vary, and those that hold in the first iteration only.

``for k: { if k == 0: init; update }`` becomes ``init; for k: update``, so that the accumulators of the loop can stay
in registers. Only loops over vector statements are changed: elsewhere the program's own loops are kept, and
``decompose_reduction`` is what takes an init out of them.
"""

from __future__ import annotations

from dataclasses import dataclass

from mlcref.ir import (
    EQ, BufferLoad, BufferStore, Call, Const, DeclBuffer, Evaluate, Expr, For, IfThenElse, PrimFunc, Ramp, Stmt,
    any_node, children_of, conjunction, conjuncts, constant, map_children, replace, seq, substitute, variables, walk,
)  # fmt: skip
from mlcref.lower.domains import Domains, shape_domain, with_loop
from mlcref.lower.jumps import leaves_loop
from mlcref.lower.pieces import Access, Starts, apart, starts


def hoist_conditions(func: PrimFunc) -> PrimFunc:
    """``func`` with conditions moved out of the loops over vectors in which they do not vary, innermost loops first.

    Functions whose buffers may overlap are left alone.
    """
    if not func.noalias or any_node(func.body, DeclBuffer):
        return func
    return replace(func, body=_visit(func.body, shape_domain(func.shape_vars())))


def _visit(stmt: Stmt, dom: Domains) -> Stmt:
    inner = with_loop(dom, stmt)
    stmt = map_children(lambda child: _visit(child, inner) if isinstance(child, Stmt) else child, stmt)
    if isinstance(stmt, For) and stmt.kind == "serial" and any_node(stmt, Ramp):
        return _without_conditions(stmt, inner)
    return seq(*children_of(stmt))


def _without_conditions(loop: For, dom: Domains) -> Stmt:
    """The starts of ``loop`` before it, and the loop inside the conditions that do not vary in it."""
    if not runs(loop) or leaves_loop(loop.body):
        return loop
    first, rest = _split_starts(loop, dom)
    if not rest:
        return loop
    return seq(*first, _invariant(replace(loop, body=seq(*rest)) if first else loop))


def _split_starts(loop: For, dom: Domains) -> tuple[list[Stmt], list[Stmt]]:
    """Statements for the first iteration only, as they read before the loop, and the others.

    A start may pass what comes before it in the body when both touch different elements.
    """
    first: list[Stmt] = []
    rest: list[Stmt] = []
    parts = children_of(loop.body)
    if all(_starting(part, loop) is None for part in parts):
        return first, list(parts)
    effects = {part: Effects.of(part, dom) for part in parts}
    for part in parts:
        conditions = _starting(part, loop)
        if conditions is None or not all(commute(effects[part], effects[other]) for other in rest):
            rest.append(part)
            continue
        assert isinstance(part, IfThenElse)
        start = substitute(part.then_case, {loop.loop_var: loop.min})
        first.append(IfThenElse(conjunction(conditions), start) if conditions else start)
    return first, rest


def _starting(stmt: Stmt, loop: For) -> tuple[Expr, ...] | None:
    """The conditions that remain of ``if var == min and …`` once the first part is known; None for any other
    statement.
    """
    if not isinstance(stmt, IfThenElse) or stmt.else_case is not None:
        return None
    parts = conjuncts(stmt.condition)
    kept = tuple([part for part in parts if not _is_start(part, loop)])
    if len(kept) == len(parts) or not all(is_pure(part) and loop.loop_var not in variables(part) for part in kept):
        return None
    return kept


def _is_start(condition: Expr, loop: For) -> bool:
    if not isinstance(condition, EQ) or condition.a is not loop.loop_var:
        return False
    return isinstance(condition.b, Const) and constant(loop.min) == condition.b.value


@dataclass(frozen=True, slots=True)
class Effects:
    """What a statement does: ``only_accesses`` when it but loads and stores; each access with where it starts."""

    only_accesses: bool
    stores: list[tuple[Access, Starts]]
    accesses: list[tuple[Access, Starts]]

    @staticmethod
    def of(stmt: Stmt, dom: Domains) -> Effects:
        """The effects of ``stmt``."""
        nodes = list(walk(stmt))
        if any(isinstance(node, For | Evaluate) for node in nodes):
            return Effects(False, [], [])
        accesses = [(node, starts(node.indices, dom)) for node in nodes if isinstance(node, BufferLoad | BufferStore)]
        return Effects(True, [access for access in accesses if isinstance(access[0], BufferStore)], accesses)


def commute(a: Effects, b: Effects) -> bool:
    """May the one run before the other as well as after? Decided for statements that only load and store, at
    comparable places.
    """
    return a.only_accesses and b.only_accesses and not _conflict(a, b) and not _conflict(b, a)


def _conflict(a: Effects, b: Effects) -> bool:
    """Does ``a`` store where ``b`` may load or store?"""
    return any(
        not apart(x.indices, x_starts, y.indices, y_starts)
        for x, x_starts in a.stores for y, y_starts in b.accesses if x.buffer is y.buffer
    )  # fmt: skip


def runs(loop: For) -> bool:
    """Is the loop known to run at least once?"""
    extent = constant(loop.extent)
    return extent is not None and extent > 0


def _invariant(loop: For) -> Stmt:
    """``loop`` inside those conjuncts of its body's condition that do not vary in it."""
    body = loop.body
    if not isinstance(body, IfThenElse) or body.else_case is not None:
        return loop
    parts = conjuncts(body.condition)
    outer = [part for part in parts if is_pure(part) and loop.loop_var not in variables(part)]
    if not outer:
        return loop
    kept = set(outer)
    inner = [part for part in parts if part not in kept]
    new_body = IfThenElse(conjunction(inner), body.then_case) if inner else body.then_case
    return IfThenElse(conjunction(outer), replace(loop, body=new_body))


def is_pure(condition: Expr) -> bool:
    """Does evaluating ``condition`` earlier, or more often, change nothing? True without loads and calls."""
    return not any_node(condition, (BufferLoad, Call))
