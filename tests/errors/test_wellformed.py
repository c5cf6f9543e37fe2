"""Each invariant of the IR is checked."""

from __future__ import annotations

import random
from typing import Any

import pytest

from mlcref.errors import WellformedError
from mlcref.ir import (
    Add,
    AllocBuffer,
    BlockRealize,
    Buffer,
    BufferStore,
    For,
    PrimFunc,
    SeqStmt,
    Stmt,
    Var,
    const,
    index,
    replace,
    replace_at,
    seq,
    wellformed,
)
from mlcref.verify.generate import program

func = program(random.Random(3).choice)
loop = next(iter(index(func).loops.values()))
realize = next(r for r in index(func).blocks.values() if r is not func.body)
A = func.buffers[0]
zero = const(0, A.type)
store = BufferStore(A, zero, tuple(const(0) for _ in A.shape))


def instead(stmt: Stmt) -> PrimFunc:
    return replace_at(func, {loop: stmt})


def body(stmt: Stmt) -> PrimFunc:
    return replace_at(func, {loop.body: stmt})


CASES: dict[str, Any] = {
    "W1 .* bound twice": lambda: instead(seq(loop, replace(loop, body=store))),
    "W1 variable q": lambda: body(BufferStore(A, zero, tuple(Var("q") for _ in A.shape))),
    "W1 buffer Q": lambda: body(BufferStore(Buffer("Q", (const(4),), A.type), zero, (const(0),))),
    "W2 BufferStore occurs twice": lambda: instead(SeqStmt((store, store))),
    "W3 operands": lambda: body(BufferStore(A, Add(zero, const(1, "int64")), store.indices)),
    "W3 dimensions": lambda: body(BufferStore(A, zero, (*store.indices, const(0)))),
    "W3 is stored to": lambda: body(BufferStore(A, const(1.0, "float64"), store.indices)),
    "W3 no integer": lambda: body(BufferStore(A, zero, tuple(const(0.0) for _ in A.shape))),
    "W4 sequence": lambda: instead(replace(loop, body=SeqStmt((store,)))),
    "W4 loop kind": lambda: instead(replace(loop, kind="sideways")),
    "W4 thread axis": lambda: instead(replace(loop, kind="thread_binding", thread="threadIdx.w")),
    "W4 values": lambda: replace_at(func, {realize: replace(realize, iter_values=())}),
    "W4 iterator type": lambda: replace_at(func, {realize: _with_iter_type(realize)}),
    "W5 root": lambda: PrimFunc(func.params, loop, func.attrs),
    "W5 flat allocation": lambda: body(AllocBuffer(Buffer("Q", (const(4),)), store)),
}


def _with_iter_type(old: BlockRealize) -> BlockRealize:
    first, *rest = old.block.iter_vars
    return replace(old, block=replace(old.block, iter_vars=(replace(first, iter_type="sideways"), *rest)))


@pytest.mark.parametrize("name", sorted(CASES))
def test_invariant(name: str) -> None:
    rule, _, words = name.partition(" ")
    with pytest.raises(WellformedError, match=words) as caught:
        wellformed(CASES[name]())
    assert caught.value.rule == f"wellformed.{rule}"


def test_a_blockless_function_has_no_blocks() -> None:
    with pytest.raises(WellformedError, match="is left after lowering"):
        wellformed(func, "blockless")
    flat = PrimFunc(func.params, For(Var("i"), const(0), const(4), "serial", store), func.attrs)
    wellformed(flat, "blockless")
    with pytest.raises(ValueError, match="unknown stage"):
        wellformed(flat, "later")
