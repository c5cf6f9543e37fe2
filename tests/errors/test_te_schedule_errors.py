"""What schedules of tensor expressions refuse, by rule."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

import mlcref as tvm
from mlcref import te
from mlcref.errors import MlcrefError, ScheduleError, TypeMismatch, UnsupportedError

A = te.placeholder((8, 8), name="A")
k = te.reduce_axis((0, 8), "k")
B = te.compute((8, 8), lambda i, j: A[i, j] + 1.0, name="B")
C = te.compute((8, 8), lambda x, y: te.sum(B[x, k] * B[k, y], axis=k), name="C")
D, E = te.compute((8,), lambda i: (A[i, 0], A[0, i]), name="DE")
F = te.compute((8,), lambda i: D[i] + E[i], name="F")
x, y = C.op.axis

Make = Callable[[te.Schedule], Any]


def refused(words: str, make: Callable[[], Any]) -> MlcrefError:
    with pytest.raises(MlcrefError, match=words) as caught:
        make()
    return caught.value


CASES: list[tuple[str, str, Make]] = [
    ("te.S1", "there is no thread axis 'threadIdx.w'", lambda s: te.thread_axis("threadIdx.w")),
    ("te.S1", "the domain of thread axis threadIdx.x must be a pair", lambda s: te.thread_axis((1, 4), "threadIdx.x")),
    ("te.S1", "'threadIdx.x' is no thread axis", lambda s: s[C].bind(x, "threadIdx.x")),  # type: ignore[arg-type]
    ("te.S2", "split of x takes either factor= or nparts=", lambda s: s[C].split(x)),
    ("te.S2", "split of x takes either factor= or nparts=", lambda s: s[C].split(x, 2, 2)),
    ("te.S2", "is no loop of stage C", lambda s: (s[C].split(x, 2), s[C].split(x, 2))),
    ("te.S2", "is no loop of stage B", lambda s: s[B].vectorize(x)),
    ("te.S3", "loops x, k of stage C are not each right inside", lambda s: s[C].fuse(x, k)),
    ("te.S3", "loops y, x of stage C are not each right inside", lambda s: s[C].fuse(y, x)),
    ("te.S3", "fuse of y, k: spatial loops and loops of the red", lambda s: s[C].fuse(y, k)),
    ("te.S3", "fuse of no loops of stage C", lambda s: s[C].fuse()),
    ("te.S4", "reorder of stage C is given a loop twice", lambda s: s[C].reorder(x, y, x)),
    ("te.S5", "loop x is bound to blockIdx.x already", lambda s: [
        s[C].bind(x, te.thread_axis(tag)) for tag in ("blockIdx.x", "threadIdx.x")]),
    ("te.S6", "stage C cannot be computed inside itself", lambda s: s[C].compute_at(s[C], x)),
    ("te.S6", "A\\) computes nothing that could be inlined", lambda s: s[A].compute_inline()),
    ("te.S6", "compute_at of PlaceholderOp\\(A\\)", lambda s: s[A].compute_at(s[C], x)),
    ("te.S7", "stage C is in memory that the caller gives", lambda s: s[C].set_scope("local")),
    ("te.S7", "Axis\\(k, reduce\\) is no dimension of C", lambda s: s[C].storage_align(k, 4, 1)),
    ("te.S8", "PlaceholderOp\\(X\\) is not computed in this", lambda s: s[te.placeholder((4,), name="X").op]),
    ("te.S8", "A is an input: there is nothing to schedule", lambda s: te.create_schedule(A.op)),
    ("te.S8", "create_schedule takes operations, not Tensor", lambda s: te.create_schedule(C)),  # type: ignore[arg-type]
    ("te.S10", "x is neither an axis of the reduction C nor half of one", lambda s: s.rfactor(C, x)),
    ("te.S10", "k is neither an axis", lambda s: (s[C].split(k, 2), s.rfactor(C, k))),
    ("te.S10", "k is neither an axis", lambda s: (s[C].split(x, 2), s.rfactor(C, k))),
    ("te.S10", "k is neither an axis", lambda s: (s[C].vectorize(y), s.rfactor(C, k))),
    ("te.S10", "C has no place 3 for one more dimension", lambda s: s.rfactor(C, k, 3)),
    ("te.S11", "no tensor intrinsic 'unknown' is registered", lambda s: s[C].tensorize(y, "unknown")),
    ("te.S11", "decl_tensor_intrin: intrinsics are described in TensorIR", lambda s: te.decl_tensor_intrin(C.op, len)),
    ("te.S11", "prefetch of stage C", lambda s: s[C].prefetch(A, y, 1)),
    ("te.S11", "double_buffer of stage C", lambda s: s[C].double_buffer()),
    ("te.S11", "env_threads of stage C", lambda s: s[C].env_threads([])),
    ("te.S11", "set_store_predicate of stage C", lambda s: s[C].set_store_predicate(y)),
    ("te.S10", "rfactor of PlaceholderOp\\(A\\)", lambda s: s.rfactor(A, k)),
    ("te.S9", "stage C does not read A", lambda s: s.cache_read(A, "shared", [C])),
    ("te.S9", "cache_write of C after its loops were changed", lambda s: (s[C].split(x, 2), s.cache_write(C, "local"))),
    ("te.S9", "A\\) computes nothing that could be cached", lambda s: s.cache_write(A, "local")),
]  # fmt: skip


@pytest.mark.parametrize(("rule", "words", "make"), CASES)
def test_a_schedule_refuses_at_once(rule: str, words: str, make: Make) -> None:
    assert refused(words, lambda: make(te.create_schedule(C.op))).rule == rule


def test_partial_results_of_what_is_known() -> None:
    own = te.comm_reducer(lambda a, b: a + b, lambda dtype: te.const(0, dtype), name="own")
    n = te.var("n")
    X, r = te.placeholder((4, n), name="X"), te.reduce_axis((0, n), "r")
    some = te.compute((4,), lambda i: te.sum(A[i, k], axis=k, where=A[i, k] > 0), name="some")
    for words, out, loop in [
        ("only te.sum, prod, max and min are known", te.compute((8,), lambda i: own(A[i, k], axis=k), name="R"), None),
        ("rfactor of the reduction axis r of symbolic ext", te.compute((4,), lambda i: te.sum(X[i, r], axis=r)), r),
        ("rfactor of some: all of its reduction, with a where=", some, None),
    ]:
        s = te.create_schedule(out.op)
        with pytest.raises(UnsupportedError, match=words) as caught:
            s.rfactor(out, k if loop is None else s[out].split(loop, 4)[0])
        assert caught.value.rule == "te.S10"


def test_a_computation_in_several_blocks_is_not_moved() -> None:
    s = te.create_schedule(F.op)
    with pytest.raises(UnsupportedError, match="compute_at of ComputeOp\\(DE\\): only a computation in one block"):
        s[D].compute_at(s[F], F.op.axis[0])
    with pytest.raises(UnsupportedError, match="set_scope of the 2 tensors of DE"):
        s[D].set_scope("local")
    assert refused("cache_write takes all 2 tensors of DE, in order", lambda: s.cache_write(E, "local")).rule == "te.S9"


LATER: list[tuple[str, str, Make]] = [
    ("te.S5", "loop y of stage C, to be vectorize, was split or fused", lambda s: (
        s[C].vectorize(y), s[C].split(y, 2))),
    ("te.S5", "loop x of stage C has 8 iterations, blockIdx.x is of 4", lambda s: s[C].bind(
        x, te.thread_axis((0, 4), "blockIdx.x"))),
    ("te.S6", "which has no such loop any more", lambda s: (s[B].compute_at(s[C], x), s[C].split(x, 2))),
    ("te.S6", "stage C is to be computed at stage B, which is inlined or does not need it", lambda s: s[C].compute_at(
        s[B], B.op.axis[0])),
    ("parallel.P3", "loop k feeds the reduce iterator v_k of block C", lambda s: s[C].parallel(k)),
    ("compute_inline.P2", "block C has an init", lambda s: s[C].compute_inline()),
]  # fmt: skip


@pytest.mark.parametrize(("rule", "words", "make"), LATER)
def test_a_schedule_refuses_when_it_is_lowered(rule: str, words: str, make: Make) -> None:
    s = te.create_schedule(C.op)
    make(s)
    error = refused(words, lambda: s.tensor_ir([A, C]))
    assert isinstance(error, ScheduleError)
    assert error.rule == rule


def test_lowering_needs_the_results_and_nothing_foreign() -> None:
    s = te.create_schedule(C.op)
    assert refused("the result C is not among the arguments", lambda: s.tensor_ir([A, B])).rule == "te.T6"
    both = te.create_schedule([D.op, C.op])
    assert refused("the result DE is not among the arguments", lambda: both.tensor_ir([A, C])).rule == "te.T6"
    assert both.tensor_ir([A, C, E]).mod["main"].params[2].name == "DE_v1"
    assert refused("F is not computed in this schedule", lambda: s.tensor_ir([A, C, F])).rule == "te.T6"
    assert refused("B reads A, which is not among the arguments", lambda: s.tensor_ir([C])).rule == "te.T6"


def test_what_lower_and_build_take() -> None:
    s = te.create_schedule(C.op)
    refused("lower of a schedule needs the parameters", lambda: tvm.lower(s))
    refused("build of a schedule needs the parameters", lambda: tvm.build(s))
    func = te.create_prim_func([A, C])
    with pytest.raises(TypeMismatch, match="lower takes a schedule, a module or a function, not Tensor"):
        tvm.lower(C, [A, C])
    with pytest.raises(TypeMismatch, match="lower of a module takes no args"):
        tvm.lower(func, [A, C])
    with pytest.raises(TypeMismatch, match="build of a module takes no args"):
        tvm.build(func, [A, C])
