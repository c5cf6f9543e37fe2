"""Values of ``if_then_else`` that may as well be computed where the condition fails.

A vector computes both values in all lanes and then selects. That is the same where neither can fail: no load that may
lie outside of its buffer or meet another thread's store, and no operation that is undefined for some operands.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from mlcref import arith
from mlcref import dtype as dt
from mlcref.ir import (
    INTRINSICS, Buffer, BufferLoad, BufferStore, Call, Cast, DeclBuffer, Div, Expr, FloorDiv, FloorMod, For, Mod, Node,
    PrimFunc, Select, Stmt, Var, any_node, children, map_children, replace, rewrite, variables, walk,
)  # fmt: skip
from mlcref.lower.domains import Domains, shape_domain, with_loop
from mlcref.lower.pieces import piece_key
from mlcref.lower.pointers import written_buffers

_DIVISIONS = (Div, Mod, FloorDiv, FloorMod)
_PARTIAL = ("shift_left", "shift_right")
Key = tuple[object, object]


def eager_choices(func: PrimFunc) -> PrimFunc:
    """``func`` in which an ``if_then_else`` that varies from lane to lane of a vectorized loop is a ``Select`` where
    both values can be computed in every lane.
    """
    fixed: frozenset[Buffer] = frozenset()
    if func.noalias and not any_node(func.body, DeclBuffer):
        fixed = frozenset(func.buffers) - written_buffers(func)
    return replace(func, body=_visit(func.body, _Scope(None, shape_domain(func.shape_vars()), fixed)))


def first_choice(value: Expr, uniform: Callable[[Expr], bool]) -> Call | None:
    """The first ``if_then_else`` in ``value`` whose condition is not ``uniform``; None if there is none."""
    for node in walk(value):
        if isinstance(node, Call) and node.op == "if_then_else" and not uniform(node.args[0]):
            return node
    return None


def with_branch(value: Expr, choice: Call, branch: Expr) -> Expr:
    """``value`` with one of its values in the place of ``choice``."""
    return rewrite(lambda node: branch if node is choice else None, value)


@dataclass(frozen=True, slots=True)
class _Scope:
    """The variable of the vectorized loop around, what is known of variables, and the buffers that nothing writes."""

    lane: Var | None
    dom: Domains
    fixed: frozenset[Buffer]


def _visit(stmt: Stmt, scope: _Scope) -> Stmt:
    if isinstance(stmt, BufferStore):
        return stmt if scope.lane is None else replace(stmt, value=_eager(stmt.value, scope.lane, scope))
    if isinstance(stmt, For):
        lane = stmt.loop_var if stmt.kind == "vectorized" else scope.lane
        scope = _Scope(lane, with_loop(scope.dom, stmt), scope.fixed)
    return map_children(lambda child: _visit(child, scope) if isinstance(child, Stmt) else child, stmt)


def _eager(value: Expr, lane: Var, scope: _Scope) -> Expr:
    certain = {_key(load) for load in _certain_loads(value)}

    def select(node: Node) -> Node | None:
        if not isinstance(node, Call) or node.op != "if_then_else" or lane not in variables(node.args[0]):
            return None
        total = all(_total(arg, certain, scope) for arg in node.args[1:])
        return Select(*node.args) if total else None

    return rewrite(select, value)


def _certain_loads(node: Node) -> Iterator[BufferLoad]:
    """The loads that happen whatever the conditions in ``node`` are."""
    if isinstance(node, BufferLoad):
        yield node
    first_only = isinstance(node, Call) and node.op == "if_then_else"
    for child in [*children(node)][: 1 if first_only else None]:
        yield from _certain_loads(child)


def _key(load: BufferLoad) -> Key:
    return load.buffer, piece_key(load)


def _total(value: Expr, certain: set[Key], scope: _Scope) -> bool:
    """Can ``value`` be computed whatever its operands are, given that the loads ``certain`` can?"""
    for node in walk(value):
        if isinstance(node, BufferLoad) and _key(node) not in certain and not _inside(node, scope):
            return False
        if isinstance(node, _DIVISIONS) and not dt.is_float(node.dtype):
            return False
        if isinstance(node, Cast) and dt.is_float(node.value.dtype) and not dt.is_float(node.type):
            return False
        if isinstance(node, Call) and (node.op in _PARTIAL or INTRINSICS[node.op].effect):
            return False
    return True


def _inside(load: BufferLoad, scope: _Scope) -> bool:
    """Does every lane load an element of a buffer that nothing writes?"""
    if load.buffer not in scope.fixed or any(any_node(index, (BufferLoad, Call)) for index in load.indices):
        return False
    for index, extent in zip(load.indices, load.buffer.shape, strict=True):
        low, room = arith.bounds(index, scope.dom).lo, arith.bounds(extent - 1 - index, scope.dom).lo
        if low is None or low < 0 or room is None or room < 0:
            return False
    return True
