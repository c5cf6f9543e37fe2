"""Two products added one after the other to the same integers are added together: ``c = c + a0 * b0; c = c + a1 * b1``
becomes ``c = c + (a0 * b0 + a1 * b1)``, for which there are instructions.

Integers wrap, so that the order of additions does not matter; floats are left alone.
"""

from __future__ import annotations

from mlcref import dtype as dt
from mlcref.ir import (
    Add, BufferLoad, BufferStore, Expr, Mul, PrimFunc, SeqStmt, Stmt, children_of, map_children,
    replace, seq, walk,
)  # fmt: skip
from mlcref.lower.pieces import piece_key


def join_sums(func: PrimFunc) -> PrimFunc:
    """``func`` with pairs of products of integer vectors in one statement."""
    return replace(func, body=_visit(func.body))


def _visit(stmt: Stmt) -> Stmt:
    stmt = map_children(lambda child: _visit(child) if isinstance(child, Stmt) else child, stmt)
    if not isinstance(stmt, SeqStmt):
        return seq(*children_of(stmt))
    made: list[Stmt] = []
    for part in stmt.seq:
        joined = _joined(made[-1], part) if made else None
        if joined is None:
            made.append(part)
        else:
            made[-1] = joined
    return seq(*made)


def _joined(first: Stmt, second: Stmt) -> Stmt | None:
    """Two statements as one; None where they are not two products for one vector of integers."""
    if not isinstance(first, BufferStore) or not isinstance(second, BufferStore) or first.buffer is not second.buffer:
        return None
    a, b = _product(first), _product(second)
    if a is None or b is None or piece_key(first) != piece_key(second):
        return None
    if any(isinstance(node, BufferLoad) and node.buffer is first.buffer for node in walk(b)):
        return None
    assert isinstance(first.value, Add)
    return replace(first, value=Add(first.value.a, Add(a, b)))


def _product(stmt: BufferStore) -> Expr | None:
    """What is added to the vector of integers that is stored, when that is one product."""
    value = stmt.value
    if not isinstance(value, Add) or not dt.is_integer(value.dtype) or dt.lanes(value.dtype) == 1:
        return None
    old, product = value.a, value.b
    if not isinstance(old, BufferLoad) or old.buffer is not stmt.buffer or piece_key(old) != piece_key(stmt):
        return None
    return product if isinstance(product, Mul) else None
