"""What loops say about the values of their variables."""

from __future__ import annotations

from collections.abc import Mapping

from mlcref.ir import Expr, For, Stmt, Var, constant

Bound = int | Expr | tuple[int | None, int | None]
Domains = Mapping[Var, Bound]


def loop_domain(loop: For) -> Bound:
    """The values of ``loop``'s variable, as :mod:`mlcref.arith.interval` takes them."""
    low, extent = constant(loop.min), constant(loop.extent)
    if low == 0:
        return loop.extent if extent is None else extent
    return (low, low + extent - 1) if low is not None and extent is not None else (low, None)


def with_loop(dom: Domains, stmt: Stmt) -> Domains:
    """``dom`` as it is inside ``stmt``: with the variable of a loop, unchanged for any other statement."""
    return {**dom, stmt.loop_var: loop_domain(stmt)} if isinstance(stmt, For) else dom


def shape_domain(variables: tuple[Var, ...]) -> Domains:
    """Shape variables: sizes are not negative."""
    return dict.fromkeys(variables, (0, None))
