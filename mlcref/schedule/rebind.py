"""Exchange loop variables for other index expressions below a loop.

Inside blocks with iterators a loop variable does not occur (the bindings and predicates carry it in), so substitution
stops there.
"""

from __future__ import annotations

from collections.abc import Mapping

from mlcref.arith import iter_form, proved, simplify
from mlcref.ir import (
    BlockRealize,
    Expr,
    For,
    IfThenElse,
    SeqStmt,
    Stmt,
    Var,
    replace,
    seq,
    substitute,
)
from mlcref.ir.index import stmt_children, with_stmt_children
from mlcref.schedule.find import Domain, loop_domain


def rebind(stmt: Stmt, values: Mapping[Var, Expr], domain: Domain, *, raw: bool = False) -> Stmt:
    """``stmt`` with loop variables replaced by ``values``; bindings that change are simplified unless ``raw``.

    A conjunct of a predicate that changes is dropped when it always holds.
    """
    if isinstance(stmt, For):
        inner = {**domain, **loop_domain(stmt)}
        bounds = {"min": _value(stmt.min, values, domain, raw), "extent": _value(stmt.extent, values, domain, raw)}
        return replace(stmt, body=rebind(stmt.body, values, inner, raw=raw), **bounds)
    if isinstance(stmt, SeqStmt):
        return seq(*[rebind(part, values, domain, raw=raw) for part in stmt.seq])
    if isinstance(stmt, BlockRealize):
        return _rebind_realize(stmt, values, domain, raw)
    return substitute(stmt, values)


def _rebind_realize(stmt: BlockRealize, values: Mapping[Var, Expr], domain: Domain, raw: bool) -> BlockRealize:
    bindings = tuple([_value(value, values, domain, raw) for value in stmt.iter_values])
    predicate: list[Expr] = []
    for conjunct in stmt.predicate:
        new = substitute(conjunct, values)
        if new is not conjunct and not raw:
            if proved(new, domain) is True:
                continue
            new = simplify(new, domain)
        predicate.append(new)
    stmt = replace(stmt, iter_values=bindings, predicate=tuple(predicate))
    # A loop variable may be used as it is inside a block, by an inner opaque block or a plain statement.
    return substitute_inside(stmt, values)


def substitute_inside(stmt: BlockRealize, values: Mapping[Var, Expr]) -> BlockRealize:
    """``stmt`` with variables replaced inside its block."""
    return replace(stmt, block=substitute(stmt.block, values))


def _value(value: Expr, values: Mapping[Var, Expr], domain: Domain, raw: bool) -> Expr:
    new = substitute(value, values)
    return new if new is value or raw else iter_form(new, domain)


def guard(stmt: Stmt, condition: Expr) -> Stmt:
    """``stmt`` with ``condition`` added to the predicate of every block in it, and put around every other statement."""
    if isinstance(stmt, BlockRealize):
        return replace(stmt, predicate=(*stmt.predicate, condition))
    parts = stmt_children(stmt)
    if not parts:
        return IfThenElse(condition, stmt)
    guarded = with_stmt_children(stmt, tuple([guard(part, condition) for part in parts]))
    assert guarded is not None
    return guarded
