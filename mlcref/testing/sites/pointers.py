"""Functions on pointers to rows and columns of parameters and of padded memory."""

from __future__ import annotations

from mlcref.ir import (
    AllocBuffer, Buffer, BufferLoad, Const, DeclBuffer, Expr, PrimFunc, Stmt, Var, call, const, replace, seq,
    store,
)  # fmt: skip
from mlcref.testing.sites.calls import address, reversing
from mlcref.testing.sites.parts import DTYPES, Pick, buffer, flat_program, nested, padded


def called(pick: Pick) -> PrimFunc:
    """A matrix is copied, and its rows or columns are given to a function by pointers; now and then by threads."""
    shape, dtype = (pick([2, 3]), pick([2, 3, 4])), pick(DTYPES)
    given, out = buffer("A", shape, dtype), buffer("B", shape, dtype)
    kept = buffer("X", shape, dtype, padded(pick, shape) if pick([True, False]) else ())
    name = replace(kept, name="V") if pick([False, False, True]) else kept
    source, target = pick([(name, out), (given, name), (name, name)])
    along = pick([1, 0])
    line = Var("k")
    read, written = _pointer(pick, source, along, line, 1), _pointer(pick, target, along, line, 2)
    steps = _strides(source)[along], _strides(target)[along]
    calls = nested([(line, shape[1 - along])], reversing(read, written, shape[along], *steps))
    if pick([False] * 5 + [True]):
        calls = replace(calls, kind="thread_binding", thread="threadIdx.x")
    body = seq(_copied(given, kept), calls, *([_copied(kept, out)] if target is name else []))
    return flat_program((given, out), AllocBuffer(kept, body if name is kept else DeclBuffer(name, kept, body)))


def _copied(source: Buffer, target: Buffer) -> Stmt:
    at = (Var("i"), Var("j"))
    extents = [int(extent.value) for extent in source.shape if isinstance(extent, Const)]
    return nested(list(zip(at, extents, strict=True)), store(target, source[at], at))


def _strides(matrix: Buffer) -> tuple[Expr, ...]:
    return matrix.strides or (matrix.shape[1], const(1))


def _pointer(pick: Pick, matrix: Buffer, along: int, line: Var, mask: int) -> Expr:
    """Where a row or a column begins: an element's address, or a part of the memory that is read or written."""
    zero = const(0)
    if pick([True, False]):
        return address(matrix[(line, zero) if along else (zero, line)])
    strides = _strides(matrix)
    data = call("buffer_data", BufferLoad(matrix, (zero, zero)))
    extent = (matrix.shape[along] - 1) * strides[along] + 1
    annotation = call("type_annotation", dtype=matrix.type)
    return call("tvm_access_ptr", annotation, data, line * strides[1 - along], extent, mask)
