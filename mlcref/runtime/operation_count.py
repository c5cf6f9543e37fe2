"""How many operations on floats a tensor program makes, by its loops."""

from __future__ import annotations

from mlcref import dtype as dt
from mlcref.errors import CallError, UnsupportedError
from mlcref.ir import (
    Binary, BlockRealize, BufferLoad, BufferStore, Call, Const, Expr, For, PrimFunc, SeqStmt, Stmt, Var, children,
)  # fmt: skip
from mlcref.ir.shapes import Sizes, evaluate


def float_operations(program: PrimFunc, sizes: Sizes) -> int | None:
    """The operations on floats of one call, where ``sizes`` are the values of symbolic extents: additions, products,
    comparisons and calls of functions count as one each, work on padding included.

    None where the loops do not say it: conditions, while loops, extents that depend on other loops, and calls whose
    work is not seen. Source: TVM's ``estimate_tir_flops``.

    >>> from mlcref import te
    >>> A = te.placeholder((8, 8), name="A")
    >>> float_operations(te.create_prim_func([A, te.compute((8, 8), lambda i, j: A[i, j] * 2.0 + 1.0)]), {})
    128
    """
    try:
        return _count(program.body, sizes)
    except _UnknownCount:
        return None


class _UnknownCount(Exception):
    """The loops do not say how much is done."""


def _count(stmt: Stmt, sizes: Sizes) -> int:
    if isinstance(stmt, For):
        return _extent(stmt, sizes) * _count(stmt.body, sizes)
    if isinstance(stmt, SeqStmt):
        return sum(_count(part, sizes) for part in stmt.seq)
    if isinstance(stmt, BlockRealize):
        return _count(stmt.block.body, sizes)
    if isinstance(stmt, BufferStore):
        return _operations(stmt.value)
    raise _UnknownCount


def _extent(loop: For, sizes: Sizes) -> int:
    if loop.step is not None:
        raise _UnknownCount
    try:
        return max(evaluate(loop.extent, sizes), 0)
    except (CallError, UnsupportedError):
        raise _UnknownCount from None


def _operations(value: Expr) -> int:
    """The operations of an expression, those of indices left out."""
    if isinstance(value, BufferLoad | Const | Var):
        return 0
    own = 0
    if isinstance(value, Call):
        if dt.is_float(value.dtype):
            own = int(value.op != "if_then_else")
        if value.op in ("call_extern", "call_packed", "call_function"):
            raise _UnknownCount
    elif isinstance(value, Binary):
        own = int(dt.is_float(value.a.dtype))
    return own + sum(_operations(part) for part in children(value) if isinstance(part, Expr))
