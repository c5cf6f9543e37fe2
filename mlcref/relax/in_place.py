"""Tensor programs that may write their result over one of their inputs: found by their accesses, not by their names."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from weakref import WeakKeyDictionary

from mlcref.arith import affine, same_shape
from mlcref.arith.linear import expr_key
from mlcref.ir import (
    Block, BlockRealize, Buffer, BufferLoad, BufferStore, Call, Const, Expr, For, PrimFunc, Var, blocks_in, constant,
    fresh, loads, replace_buffers, substitute, walk,
)  # fmt: skip
from mlcref.ir.index import index
from mlcref.ir.intrinsics import INTRINSICS
from mlcref.ir.stmt import IfThenElse, SeqStmt, Stmt

_STATEMENTS = (Block, BlockRealize, BufferStore, For, IfThenElse, SeqStmt)
_known: WeakKeyDictionary[PrimFunc, tuple[int, ...]] = WeakKeyDictionary()


def in_place_inputs(program: PrimFunc) -> tuple[int, ...]:
    """The positions of the inputs that the result of ``program`` may be written over.

    Such an input is of the type and shape of the result. The result is written by one statement, which writes each
    element once at most, and nothing reads it; whatever reads the input has ended before, or is a part of the value
    that this statement stores at the same place. So an element of the input is read for the last time when it is
    overwritten, in any order of the iterations, by several threads too. Programs with other statements than loops,
    conditions, blocks and stores, or with views of a buffer, have none.

    >>> from mlcref import te
    >>> A, B = te.placeholder((4,), name="A"), te.placeholder((4,), name="B")
    >>> in_place_inputs(te.create_prim_func([A, B, te.compute((4,), lambda i: A[i] + B[3 - i])]))
    (0,)
    """
    if program not in _known:
        _known[program] = tuple(_found(program))
    return _known[program]


def in_place_program(program: PrimFunc, position: int) -> PrimFunc:
    """``program`` with its result in the memory of input ``position``; it has no parameter for the result.

    Raises ``ValueError`` unless :func:`in_place_inputs` has the position.

    >>> from mlcref import te
    >>> A = te.placeholder((4,), name="A")
    >>> func = te.create_prim_func([A, te.compute((4,), lambda i: A[i] * 2.0, name="B")])
    >>> [param.name for param in in_place_program(func, 0).params]
    ['A']
    """
    if position not in in_place_inputs(program):
        raise ValueError(f"the result of {program.name} cannot be written over input {position}")
    result, given = _result(program), program.params[position]
    assert isinstance(result, Buffer) and isinstance(given, Buffer)
    params = tuple([param for param in program.params if param is not result])
    body = replace_buffers(program.body, {result: given})
    return fresh(PrimFunc(params, body, program.attrs.updated({"global_symbol": None})))


def _found(program: PrimFunc) -> Iterator[int]:
    result = _result(program)
    if result is None or not _is_plain(program):
        return
    stores = [node for node in walk(program.body) if isinstance(node, BufferStore) and node.buffer is result]
    if len(stores) != 1 or any(load.buffer is result for load in loads(program.body)):
        return
    (store,) = stores
    candidates = [
        position for position, param in enumerate(program.params)
        if isinstance(param, Buffer) and param is not result and _alike(param, result)
        and _read_before(program, store, param)
    ]  # fmt: skip
    if candidates and _written_once(program, store):
        yield from candidates


def _result(program: PrimFunc) -> Buffer | None:
    """The one buffer among the parameters that is written."""
    written = {node.buffer for node in walk(program.body) if isinstance(node, BufferStore)}
    found = [param for param in program.params if isinstance(param, Buffer) and param in written]
    return found[0] if len(found) == 1 else None


def _is_plain(program: PrimFunc) -> bool:
    """Are there only loops, conditions, blocks and stores, and no other names for the memory of parameters?"""
    for node in walk(program.body):
        if isinstance(node, Stmt) and not isinstance(node, _STATEMENTS):
            return False
        if isinstance(node, For) and node.step is not None:
            return False
        if isinstance(node, Call) and INTRINSICS[node.op].effect:  # among them addresses: what reads them is not seen
            return False
    if any(block.match_buffers for block in blocks_in(program.body)):
        return False
    plain = [b for b in program.buffers if not b.strides and b.elem_offset is None and b.data is None]
    return len(plain) == len(program.buffers) and all(buffer.scope == "global" for buffer in plain)


def _alike(a: Buffer, b: Buffer) -> bool:
    return a.type == b.type and len(a.shape) == len(b.shape) and same_shape(a.shape, b.shape)


def _read_before(program: PrimFunc, store: BufferStore, param: Buffer) -> bool:
    """Is every load of ``param`` in the value of ``store``, at its indices, or in a statement that ends before?"""
    wanted = [expr_key(position) for position in store.indices]
    inside = [load for load in loads(store.value) if load.buffer is param]
    if any([expr_key(position) for position in load.indices] != wanted for load in inside):
        return False
    earlier = [load for stmt in _ended_before(program, store) for load in loads(stmt) if load.buffer is param]
    everywhere = [load for load in loads(program.body) if load.buffer is param]
    return len(everywhere) == len(inside) + len(earlier)


def _ended_before(program: PrimFunc, store: BufferStore) -> Iterator[Stmt]:
    """The statements that stand before the one with ``store`` in sequences that run once."""
    spine = [*reversed(list(index(program).above(store))), store]
    for stmt, inner in pairwise(spine):
        if isinstance(stmt, SeqStmt):
            yield from stmt.seq[: stmt.seq.index(inner)]
        elif isinstance(stmt, For) and constant(stmt.extent) != 1:
            return


def _written_once(program: PrimFunc, store: BufferStore) -> bool:
    """Do no two iterations of the loops around ``store`` write the same element?"""
    above = list(index(program).above(store))
    values: dict[Var, Expr] = {}
    for stmt in reversed(above):
        if isinstance(stmt, BlockRealize):
            bound = zip(stmt.block.iter_vars, stmt.iter_values, strict=True)
            values.update({item.var: substitute(value, values) for item, value in bound})
    loops = [stmt for stmt in above if isinstance(stmt, For)]
    if any(constant(stmt.min) != 0 for stmt in loops):
        return False
    dom = {stmt.loop_var: _extent(stmt.extent) for stmt in loops}
    running = [stmt.loop_var for stmt in loops if constant(stmt.extent) != 1]
    places = [substitute(position, values) for position in store.indices]
    if any(isinstance(node, BufferLoad) for place in places for node in walk(place)):
        return False
    return affine(places, dom, told_apart=running) is not None


def _extent(extent: Expr) -> int | Expr:
    return int(extent.value) if isinstance(extent, Const) else extent
