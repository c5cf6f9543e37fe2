"""Statements that schedules and lowering produce: loops of every kind, flat allocations, vectors, host calls, lets."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from mlcref.errors import OracleError, UnsupportedError
from mlcref.interp import interpret, record_accesses
from mlcref.ir import (
    EQ,
    AllocBuffer,
    AssertStmt,
    AttrStmt,
    Break,
    Broadcast,
    Buffer,
    BufferStore,
    Call,
    Continue,
    DeclBuffer,
    Evaluate,
    For,
    IfThenElse,
    Let,
    LetStmt,
    PrimFunc,
    Ramp,
    SeqStmt,
    StringImm,
    Var,
    While,
    const,
    loop,
    register_global_func,
    remove_global_func,
    seq,
    store,
)
from mlcref.script import tir as T


def floats(*shape: int) -> Any:
    return np.arange(np.prod(shape), dtype="float32").reshape(shape)


def buffer(name: str, *shape: int, dtype: str = "float32", **options: Any) -> Buffer:
    return Buffer(name, tuple(const(n) for n in shape), dtype, **options)


def test_loops_start_at_their_minimum_and_may_be_empty() -> None:
    A, i, j = buffer("A", 4), Var("i"), Var("j")
    body = seq(loop(i, 2, store(A, 1.0, [i]), start=1), loop(j, -3, store(A, 9.0, [j])))
    a = np.zeros(4, "float32")
    interpret(PrimFunc((A,), body), a)
    assert list(a) == [0, 1, 1, 0]


def test_loop_variables_are_gone_after_the_loop() -> None:
    A, i, j = buffer("A", 2), Var("i"), Var("j")
    body = seq(loop(i, 2, store(A, 1.0, [i])), loop(j, 3, store(A, 1.0, [j])))
    with pytest.raises(OracleError, match=r"A\[2\] is out of bounds.* at j=2 "):
        interpret(PrimFunc((A,), body), floats(2))


def test_break_and_continue_belong_to_the_innermost_loop() -> None:
    A, i, j = buffer("A", 3, 4), Var("i"), Var("j")
    inner = seq(IfThenElse(j > i, Break()), IfThenElse(EQ(j, const(1)), Continue()), store(A, 1.0, [i, j]))
    a = np.zeros((3, 4), "float32")
    interpret(PrimFunc((A,), loop(i, 3, loop(j, 4, inner))), a)
    assert a.tolist() == [[1, 0, 0, 0], [1, 0, 0, 0], [1, 0, 1, 0]]


def test_break_out_of_a_parallel_loop_is_not_supported() -> None:
    A, i = buffer("A", 4), Var("i")
    body = loop(i, 4, seq(store(A, 1.0, [i]), IfThenElse(i > 1, Break())), "parallel")
    with pytest.raises(UnsupportedError, match="break out of a parallel loop"):
        interpret(PrimFunc((A,), body), floats(4))


def test_while() -> None:
    A = buffer("A", 2, dtype="int32")
    body = While(A[0] < 10, seq(store(A, A[0] + 3, [0]), store(A, A[1] + 1, [1])))
    a = np.zeros(2, "int32")
    interpret(PrimFunc((A,), body), a)
    assert list(a) == [12, 4]


def test_budget_ends_endless_loops() -> None:
    A = buffer("A", 1, dtype="int32")
    with pytest.raises(UnsupportedError, match="budget: the program runs more statements"):
        interpret(PrimFunc((A,), While(A[0] < 1, store(A, 0, [0]))), np.zeros(1, "int32"), max_statements=100)


def test_flat_allocations_are_undefined_at_each_entry() -> None:
    A, C, i = buffer("A", 2), buffer("C", 1), Var("i")
    body = loop(i, 2, AllocBuffer(C, seq(IfThenElse(i < 1, store(C, 5.0, [0])), store(A, C[0], [i]))))
    with pytest.raises(OracleError, match=r"A\[1\] is undefined in the end: it comes from C\[0\], loaded at i=1"):
        interpret(PrimFunc((A,), body), floats(2))


def test_declared_buffers_are_views() -> None:
    A, i = buffer("A", 3, 4), Var("i")
    flat = buffer("flat", 12)
    column = Buffer("column", (const(3),), "float32", strides=(const(4),), elem_offset=const(1))
    a = floats(3, 4)
    interpret(PrimFunc((A,), DeclBuffer(flat, A, loop(i, 12, store(flat, flat[i] + 1, [i])))), a)
    assert (a == floats(3, 4) + 1).all()
    interpret(PrimFunc((A,), DeclBuffer(column, A, loop(i, 3, store(column, 0.0, [i])))), a)
    assert (a[:, 1] == 0).all()
    assert (a[:, 0] != 0).all()


def test_a_view_cannot_leave_its_memory() -> None:
    A, i = buffer("A", 4), Var("i")
    view = Buffer("view", (const(4),), "float32", elem_offset=const(2))
    with pytest.raises(OracleError, match=r"view\[2\] lies outside of the memory it is a view of"):
        interpret(PrimFunc((A,), DeclBuffer(view, A, loop(i, 4, store(view, 0.0, [i])))), floats(4))


def test_a_view_of_another_type_is_not_supported() -> None:
    A = buffer("A", 4)
    view = buffer("view", 4, dtype="int32")
    with pytest.raises(UnsupportedError, match="view reads the float32 of A as int32"):
        interpret(PrimFunc((A,), DeclBuffer(view, A, store(view, 0, [0]))), floats(4))


def test_lets_are_evaluated_once() -> None:
    A, x, y = buffer("A", 2), Var("x", "float32"), Var("y", "float32")
    body = LetStmt(x, A[0] + 1.0, seq(store(A, 9.0, [0]), store(A, Let(y, x * x, y + y), [1])))
    a = np.array([2, 0], "float32")
    interpret(PrimFunc((A,), body), a)
    assert list(a) == [9, 18]


def test_vectors_compute_lane_by_lane() -> None:
    A, B = buffer("A", 8), buffer("B", 8)
    lanes = Ramp(const(1), const(2), 4)
    body = BufferStore(B, A[lanes] * Broadcast(const(2.0), 4) + A[Ramp(const(0), const(1), 4)], (lanes,))
    b = np.zeros(8, "float32")
    interpret(PrimFunc((A, B), body), floats(8), b)
    assert list(b) == [0, 2, 0, 7, 0, 12, 0, 17]


def test_vector_loads_come_before_the_store() -> None:
    A = buffer("A", 5)
    body = BufferStore(A, A[Ramp(const(0), const(1), 4)], (Ramp(const(1), const(1), 4),))
    a = floats(5)
    interpret(PrimFunc((A,), body), a)
    assert list(a) == [0, 0, 1, 2, 3]


def test_two_lanes_do_not_store_to_one_element() -> None:
    A = buffer("A", 4)
    body = BufferStore(A, A[Ramp(const(0), const(1), 4)], (Broadcast(const(1), 4),))
    with pytest.raises(OracleError, match="two lanes of a vector store write one element of A"):
        interpret(PrimFunc((A,), body), floats(4))


def test_lanes_are_bounds_checked_one_by_one() -> None:
    A, i = buffer("A", 6), Var("i")
    body = loop(i, 2, BufferStore(A, Broadcast(const(0.0), 4), (Ramp(i * 4, const(1), 4),)))
    with pytest.raises(OracleError, match=r"A\[6\] is out of bounds.* at i=1"):
        interpret(PrimFunc((A,), body), floats(6))


def test_host_functions_are_called_with_numbers() -> None:
    A = buffer("A", 2)
    seen: list[Any] = []
    register_global_func("test.note", seen.append, override=True)
    register_global_func("test.half", lambda x: x / 2, override=True)
    try:
        note = Evaluate(Call("call_packed", (StringImm("test.note"), A[0]), "int32"))
        half = store(A, Call("call_extern", (StringImm("test.half"), A[0]), "float32"), [1])
        a = np.array([3, 0], "float32")
        interpret(PrimFunc((A,), seq(note, half)), a)
    finally:
        remove_global_func("test.note")
        remove_global_func("test.half")
    assert seen == [3.0]
    assert a[1] == 1.5


def test_unknown_host_functions_are_not_supported() -> None:
    A = buffer("A", 1)
    call = Evaluate(Call("call_extern", (StringImm("nowhere"), A[0]), "int32"))
    with pytest.raises(UnsupportedError, match="call_extern of 'nowhere'"):
        interpret(PrimFunc((A,), call), floats(1))


def test_undefined_values_do_not_reach_the_host() -> None:
    A, C = buffer("A", 1), buffer("C", 1)
    call = Evaluate(Call("call_packed", (StringImm("test.note"), C[0]), "int32"))
    with pytest.raises(OracleError, match=r"C\[0\] was never written, and its value decides an argument of a call"):
        interpret(PrimFunc((A,), AllocBuffer(C, call)), floats(1))


def test_pragmas_are_ignored_and_other_attributes_refused() -> None:
    A = buffer("A", 1)
    a = floats(1)
    interpret(PrimFunc((A,), AttrStmt("pragma_auto_unroll_max_step", None, const(16), store(A, 4.0, [0]))), a)
    assert a[0] == 4
    with pytest.raises(UnsupportedError, match="attribute 'volatile_scope'"):
        interpret(PrimFunc((A,), AttrStmt("volatile_scope", None, const(1), store(A, 4.0, [0]))), a)


def test_assertions_and_sequences() -> None:
    A = buffer("A", 1)
    body = SeqStmt((AssertStmt(A[0] > 0.0, "A[0] is positive"), store(A, 7.0, [0])))
    with pytest.raises(OracleError, match=r"assertion failed: A\[0\] is positive"):
        interpret(PrimFunc((A,), body), np.array([0], "float32"))


def test_both_operands_of_and_are_evaluated() -> None:
    @T.prim_func
    def f(A: T.Buffer((2,), "float32")):
        for i in range(3):
            if T.And(i < 2, A[i] >= T.float32(0)):
                A[0] = T.float32(1)

    with pytest.raises(OracleError, match=r"A\[2\] is out of bounds"):
        interpret(f, floats(2))


def test_parallel_iterations_have_private_allocations() -> None:
    @T.prim_func
    def f(A: T.Buffer((4,), "float32"), B: T.Buffer((4,), "float32")):
        C = T.alloc_buffer((1,), "float32")
        for i in T.parallel(4):
            with T.block("C"):
                vi = T.axis.spatial(4, i)
                C[0] = A[vi]
            with T.block("B"):
                vi = T.axis.spatial(4, i)
                B[vi] = C[0]

    b = np.zeros(4, "float32")
    interpret(f, floats(4), b)
    assert (b == floats(4)).all()


@pytest.mark.parametrize("kind", ["parallel", "vectorized"])
def test_reductions_over_unordered_loops_are_races(kind: str) -> None:
    A, B, i = buffer("A", 4), buffer("B", 1), Var("i")
    func = PrimFunc((A, B), For(i, const(0), const(4), kind, store(B, B[0] + A[i], [0])))
    with pytest.raises(OracleError, match=rf"race on B\[0\]: written by {kind} iteration i=0, read by i=1"):
        interpret(func, floats(4), floats(1))


def test_races_are_found_through_serial_loops_and_across_statements() -> None:
    @T.prim_func
    def f(A: T.Buffer((8,), "float32"), B: T.Buffer((8,), "float32")):
        for i in T.parallel(2):
            for j in range(4):
                A[i * 4 + j] = T.float32(1)
            for j in range(4):
                B[i * 4 + j] = A[7 - (i * 4 + j)]

    with pytest.raises(OracleError, match=r"race on A\[4\]: read by parallel iteration i=0, written by i=1"):
        interpret(f, floats(8), floats(8))


def test_reading_what_everybody_reads_is_no_race_until_somebody_writes() -> None:
    @T.prim_func
    def f(A: T.Buffer((4,), "float32"), B: T.Buffer((1,), "float32")):
        for i in T.parallel(4):
            A[i] = B[0]
            if i == 3:
                B[0] = T.float32(1)

    with pytest.raises(OracleError, match=r"race on B\[0\]: read by parallel iteration i=0, written by i=3"):
        interpret(f, floats(4), floats(1))


def test_an_element_may_pass_from_one_parallel_loop_to_the_next() -> None:
    @T.prim_func
    def f(A: T.Buffer((4,), "float32"), B: T.Buffer((4,), "float32")):
        for r in range(2):
            for i in T.parallel(4):
                B[i] = A[3 - i]
            for i in T.parallel(4):
                A[3 - i] = B[(i + 1) % 4] + T.float32(1)

    a = floats(4)
    interpret(f, a, floats(4))
    assert list(a) == [4, 5, 2, 3]


def test_accesses_are_recorded_in_order() -> None:
    @T.prim_func
    def f(A: T.Buffer((2, 2), "float32"), B: T.Buffer((2,), "float32")):
        for i, j in T.grid(2, 2):
            B[i] = A[j, i]

    a = floats(2, 2)
    found = record_accesses(f, a, floats(2), limit=5)
    assert [(x.kind, x.buffer.name, x.indices, x.values) for x in found] == [
        ("read", "A", (0, 0), {"i": 0, "j": 0}),
        ("write", "B", (0,), {"i": 0, "j": 0}),
        ("read", "A", (1, 0), {"i": 0, "j": 1}),
        ("write", "B", (0,), {"i": 0, "j": 1}),
        ("read", "A", (0, 1), {"i": 1, "j": 0}),
    ]
    assert found[0].statement is found[1].statement
    assert len(record_accesses(f, a, floats(2))) == 8
