"""Expressions that choose, bind or spread other expressions, and conditions as lists of conjuncts."""

from __future__ import annotations

from collections.abc import Sequence

from mlcref import dtype as dt
from mlcref.ir.base import binds, node
from mlcref.ir.expr import And, Const, Expr, Var


@node
class Select(Expr):
    """``true_value`` where ``condition`` holds, else ``false_value``; both are evaluated (``T.if_then_else`` evaluates
    one).
    """

    condition: Expr
    true_value: Expr
    false_value: Expr

    @property
    def dtype(self) -> str:
        return self.true_value.dtype


@node
class Let(Expr):
    """``body`` in which ``var`` stands for ``value``."""

    var: Var = binds()
    value: Expr
    body: Expr

    @property
    def dtype(self) -> str:
        return self.body.dtype


@node
class Ramp(Expr):
    """The vector ``base, base + stride, …`` of ``lanes`` elements."""

    base: Expr
    stride: Expr
    lanes: int

    @property
    def dtype(self) -> str:
        return dt.parse(self.base.dtype).with_lanes(self.lanes)


@node
class Shuffle(Expr):
    """The lanes of ``vectors``, one vector after the other, picked by ``indices``: a scalar for one index, else a
    vector.
    """

    vectors: tuple[Expr, ...]
    indices: tuple[Expr, ...]

    @property
    def dtype(self) -> str:
        return dt.parse(self.vectors[0].dtype).with_lanes(len(self.indices))


@node
class CommReducer(Expr):
    """A commutative reduction of tuples: ``result`` of the operands ``lhs`` and ``rhs``, with its ``identity``. The
    value of the attribute "reduce_scope" around ``T.tvm_thread_allreduce``.
    """

    lhs: tuple[Var, ...] = binds()
    rhs: tuple[Var, ...] = binds()
    result: tuple[Expr, ...]
    identity: tuple[Expr, ...]

    @property
    def dtype(self) -> str:
        return "handle"


def conjuncts(condition: Expr) -> tuple[Expr, ...]:
    """``condition`` as a tuple of conditions that must all hold; the constant True is the empty tuple."""
    if isinstance(condition, And):
        return conjuncts(condition.a) + conjuncts(condition.b)
    if isinstance(condition, Const) and condition.value is True:
        return ()
    return (condition,)


def conjunction(conditions: Sequence[Expr]) -> Expr:
    """The one condition that says all of ``conditions``; True when there are none."""
    if not conditions:
        return Const(True, "bool")
    result = conditions[0]
    for condition in conditions[1:]:
        result = And(result, condition)
    return result
