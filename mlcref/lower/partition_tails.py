"""Loops over vectors whose last iterations have a guard become two: one without the guard, and the tail.

``for k_0 in 16: for k_1 in vectorized(64): if k_0 * 64 + k_1 < 1000: body`` becomes 15 iterations of whole vectors,
and one of 40 lanes. Inside loops without tails accumulators stay in registers.
"""

from __future__ import annotations

from mlcref import arith
from mlcref.ir import (
    GE, GT, LE, LT, BufferLoad, BufferStore, Call, Evaluate, Expr, For, IfThenElse, PrimFunc, Stmt, any_node, children,
    children_of, conjunction, conjuncts, const, constant, fresh, map_children, replace, seq, variables, walk,
)  # fmt: skip
from mlcref.lower.domains import Domains, shape_domain, with_loop
from mlcref.lower.jumps import leaves_loop
from mlcref.lower.simplify import simplified
from mlcref.lower.vectorize import lanes_of_vectors

LARGEST = 160
"""Vectors and elements that one iteration of a loop stores, at most, for the loop to be written twice."""


def partition_tails(func: PrimFunc) -> PrimFunc:
    """``func`` with the guarded last iterations of its loops over vectors on their own, and with loops no longer than
    the guard of their whole body.
    """
    return replace(func, body=_visit(func.body, shape_domain(func.shape_vars())))


def _visit(stmt: Stmt, dom: Domains) -> Stmt:
    if isinstance(stmt, For):
        stmt = _shortened(stmt, dom)
        parts = _partitioned(stmt, dom)
        if parts:
            return seq(*[_visit(part, dom) for part in parts])
    inner = with_loop(dom, stmt)
    stmt = map_children(lambda child: _visit(child, inner) if isinstance(child, Stmt) else child, stmt)
    return seq(*children_of(stmt))


def _shortened(loop: For, dom: Domains) -> For:
    """``loop`` without the iterations at its end in which a condition around its whole body fails."""
    body, extent = loop.body, constant(loop.extent)
    if not isinstance(body, IfThenElse) or body.else_case is not None or extent is None:
        return loop
    kept: list[Expr] = []
    length = extent
    for part in conjuncts(body.condition):
        count = _leading(part, loop, extent, dom) if variables(part) == {loop.loop_var} else extent
        if 0 < count < extent and _never(part, loop, count, extent, dom):
            length = min(length, count)
        else:
            kept.append(part)
    if length == extent:
        return loop
    inside = IfThenElse(conjunction(kept), body.then_case) if kept else body.then_case
    return replace(loop, extent=const(length, loop.extent.dtype), body=inside)


def _partitioned(loop: For, dom: Domains) -> list[Stmt]:
    """The iterations of ``loop`` in which a guard is known to hold, and the others; nothing when it stays whole."""
    extent = constant(loop.extent)
    if loop.kind != "serial" or extent is None or extent < 2 or constant(loop.min) is None or leaves_loop(loop.body):
        return []
    if not any(isinstance(node, For) and node.kind == "vectorized" for node in walk(loop.body)):
        return []
    counts = {_leading(part, loop, extent, inner) for part, inner in _guards(loop.body, with_loop(dom, loop))}
    cuts = [count for count in counts if 0 < count < extent]
    if not cuts or _stored(loop.body) > LARGEST:
        return []
    low, cut = constant(loop.min) or 0, min(cuts)
    tail = fresh(loop)
    assert isinstance(tail, For)
    parts = [
        replace(loop, extent=const(cut, loop.extent.dtype)),
        replace(tail, min=const(low + cut, loop.min.dtype), extent=const(extent - cut, loop.extent.dtype)),
    ]
    return [new for new in (simplified(part, dom) for part in parts) if new is not None]


def _guards(stmt: Stmt, dom: Domains) -> list[tuple[Expr, Domains]]:
    """The limits that conditions in ``stmt`` set, each with the domains of the variables around it; `k == 0` is the
    start of a reduction, which is left to ``hoist_conditions``."""
    found: list[tuple[Expr, Domains]] = []
    inner = with_loop(dom, stmt)
    if isinstance(stmt, IfThenElse) and stmt.else_case is None:
        parts = [part for part in conjuncts(stmt.condition) if isinstance(part, LT | LE | GT | GE)]
        found += [(part, dom) for part in parts if not any_node(part, (BufferLoad, Call))]
    for child in children(stmt):
        if isinstance(child, Stmt):
            found += _guards(child, inner)
    return found


def _leading(part: Expr, loop: For, extent: int, dom: Domains) -> int:
    """In how many first iterations a condition is known to hold, whatever the other variables are."""
    if loop.loop_var not in variables(part) or not all(var in dom or var is loop.loop_var for var in variables(part)):
        return extent
    low, high = 0, extent
    while low < high:
        middle = (low + high + 1) // 2
        if _proved(part, loop, 0, middle, dom) is True:
            low = middle
        else:
            high = middle - 1
    return low


def _never(part: Expr, loop: For, first: int, last: int, dom: Domains) -> bool:
    return _proved(part, loop, first, last, dom) is False


def _proved(part: Expr, loop: For, first: int, last: int, dom: Domains) -> bool | None:
    """Does a condition hold, or fail, in all iterations from ``first`` up to ``last``? None where that is not known."""
    low = constant(loop.min)
    if low is None:
        return None
    return arith.proved(part, {**dom, loop.loop_var: (low + first, low + last - 1)})


def _stored(stmt: Stmt) -> int:
    """Vectors and elements that one run of ``stmt`` stores, when the loops in it that are not serial are written
    out."""
    if isinstance(stmt, BufferStore | Evaluate):
        return 1
    below = sum(_stored(child) for child in children(stmt) if isinstance(child, Stmt))
    if not isinstance(stmt, For) or stmt.kind not in ("unrolled", "vectorized"):
        return below
    count = constant(stmt.extent) or 1
    return below * (-(-count // lanes_of_vectors(stmt.body)) if stmt.kind == "vectorized" else count)


