"""Index expressions in normal form; loops that run once or never, conditions that are known, and empty statements
removed.

Only indices, extents and conditions on loop and shape variables are touched: there integers do not overflow. Values
are kept as they are written, since their arithmetic wraps and rounds.
"""

from __future__ import annotations

from mlcref import arith
from mlcref.ir import (
    EQ, AllocBuffer, BufferLoad, BufferStore, Const, DeclBuffer, Evaluate, Expr, For, IfThenElse, LetStmt, Node,
    PrimFunc, SeqStmt, Stmt, Var, any_node, buffers_used, conjunction, conjuncts, const, constant, map_children,
    replace, rewrite, seq, substitute, variables,
)  # fmt: skip
from mlcref.lower.domains import Domains, shape_domain, with_loop
from mlcref.lower.jumps import leaves_loop


def simplify(func: PrimFunc) -> PrimFunc:
    """``func`` with its index arithmetic simplified and without statements that do nothing."""
    body = simplified(func.body, shape_domain(func.shape_vars()))
    return replace(func, body=Evaluate(const(0)) if body is None else body)


def simplified(stmt: Stmt, dom: Domains) -> Stmt | None:
    """``stmt`` simplified under ``dom``; None when it does nothing."""
    if isinstance(stmt, For):
        return _loop(stmt, dom)
    if isinstance(stmt, IfThenElse):
        return _condition(stmt, dom)
    if isinstance(stmt, SeqStmt):
        parts = [part for part in (simplified(part, dom) for part in stmt.seq) if part is not None]
        return seq(*parts) if parts else None
    if isinstance(stmt, BufferStore):
        indices = tuple([simplify_index(index, dom) for index in stmt.indices])
        return replace(stmt, indices=indices, value=simplify_value(stmt.value, dom))
    if isinstance(stmt, Evaluate):
        return None if isinstance(stmt.value, Const) else replace(stmt, value=simplify_value(stmt.value, dom))
    if isinstance(stmt, LetStmt) and isinstance(stmt.value, Var | Const):
        return simplified(substitute(stmt.body, {stmt.var: stmt.value}), dom)
    return _other(stmt, dom)


def _other(stmt: Stmt, dom: Domains) -> Stmt | None:
    body = getattr(stmt, "body", None)
    new = None if body is None else simplified(body, dom)
    if body is not None and new is None:
        return None
    result = map_children(lambda child: new if isinstance(child, Stmt) else simplify_value(child, dom), stmt)
    if isinstance(result, AllocBuffer | DeclBuffer) and result.buffer not in buffers_used(result.body):
        return result.body
    return result


def _loop(stmt: For, dom: Domains) -> Stmt | None:
    stmt = replace(stmt, min=simplify_index(stmt.min, dom), extent=simplify_index(stmt.extent, dom))
    count = constant(stmt.extent)
    if count is not None and count <= 0:
        return None
    if count == 1 and not leaves_loop(stmt.body):
        return simplified(substitute(stmt.body, {stmt.loop_var: stmt.min}), dom)
    body = simplified(stmt.body, with_loop(dom, stmt))
    return None if body is None else replace(stmt, body=body)


def _condition(stmt: IfThenElse, dom: Domains) -> Stmt | None:
    condition = simplify_condition(stmt.condition, dom)
    then_case = simplified(stmt.then_case, dom)
    else_case = None if stmt.else_case is None else simplified(stmt.else_case, dom)
    if isinstance(condition, Const):
        return then_case if condition.value else else_case
    if then_case is None and else_case is None and not any_node(condition, BufferLoad):
        return None
    if then_case is None:
        return replace(stmt, condition=condition, then_case=Evaluate(const(0)), else_case=else_case)
    return replace(stmt, condition=condition, then_case=then_case, else_case=else_case)


def simplify_condition(condition: Expr, dom: Domains) -> Expr:
    """The conjuncts of ``condition`` that are not known to hold; the constant False when one never does."""
    kept: list[Expr] = []
    for part in conjuncts(condition):
        if not is_index_arithmetic(part, dom):
            kept.append(simplify_value(part, dom))
            continue
        verdict = arith.proved(part, dom)
        if verdict is False:
            return const(False)
        if verdict is None:
            kept += at_minimum(arith.simplify(part, dom), dom)
    return conjunction(kept)


def at_minimum(condition: Expr, dom: Domains) -> list[Expr]:
    """``sum == its minimum`` as one condition per loop: each loop is at its own minimum. Any other condition stays.

    ``k_0 * 4 + k_1 == 0`` becomes ``k_0 == 0`` and ``k_1 == 0``, so that each can leave its loop.
    """
    if (
        not isinstance(condition, EQ)
        or not isinstance(condition.b, Const)
        or condition.a.dtype not in ("int32", "int64")
    ):
        return [condition]
    form = arith.linear(condition.a, dom)
    lows = {atom: arith.bounds(atom, dom).lo for atom in form.terms if isinstance(atom, Var)}
    if len(lows) < max(len(form.terms), 2) or any(factor < 0 for factor in form.terms.values()):
        return [condition]
    known = {var: low for var, low in lows.items() if low is not None}
    total = form.constant + sum(form.terms[var] * low for var, low in known.items())
    if len(known) < len(lows) or total != condition.b.value:
        return [condition]
    return [EQ(var, const(low, var.type)) for var, low in known.items()]


def simplify_index(index: Expr, dom: Domains) -> Expr:
    """An index, extent or bound in normal form. Integers that are loaded from memory count as exact here."""
    return arith.simplify(index, dom)


def simplify_value(value: Expr, dom: Domains) -> Expr:
    """``value`` with the indices of its loads simplified."""

    def visit(node: Node) -> Node | None:
        if isinstance(node, BufferLoad):
            return replace(node, indices=tuple([simplify_index(index, dom) for index in node.indices]))
        return None

    return rewrite(visit, value)


def is_index_arithmetic(condition: Expr, dom: Domains) -> bool:
    """Does ``condition`` speak of loop and shape variables only?"""
    return not any_node(condition, BufferLoad) and all(var in dom for var in variables(condition))
