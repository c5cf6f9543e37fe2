"""Every precondition of the loop primitives refuses with its rule, and leaves the schedule as it was."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from mlcref.errors import ScheduleError
from mlcref.schedule import TABLE, Schedule
from mlcref.script import tir as T


@T.prim_func
def matmul(A: T.Buffer((8, 8), "float32"), B: T.Buffer((8, 8), "float32"), C: T.Buffer((8, 8), "float32")):
    for i, j, k in T.grid(8, 8, 8):
        with T.block("C"):
            vi, vj, vk = T.axis.remap("SSR", [i, j, k])
            with T.init():
                C[vi, vj] = T.float32(0)
            C[vi, vj] = C[vi, vj] + A[vi, vk] * B[vk, vj]


@T.prim_func
def shifted(A: T.Buffer((8,), "float32"), B: T.Buffer((8,), "float32"), C: T.Buffer((8,), "float32")):
    for i in range(8):
        with T.block("B"):
            vi = T.axis.spatial(8, i)
            B[vi] = A[vi]
        with T.block("C"):
            vi = T.axis.spatial(8, i)
            C[vi] = B[T.max(vi - 1, 0)]


@T.prim_func
def branched(A: T.Buffer((8, 8), "float32"), B: T.Buffer((8, 8), "float32"), C: T.Buffer((8, 8), "float32")):
    for i in range(8):
        for j in range(8):
            with T.block("B"):
                vi, vj = T.axis.remap("SS", [i, j])
                B[vi, vj] = A[vi, vj]
        for j in range(8):
            with T.block("C"):
                vi, vj = T.axis.remap("SS", [i, j])
                C[vi, vj] = B[vi, vj]


@T.prim_func
def crossed(A: T.Buffer((8, 8), "float32"), B: T.Buffer((8, 8), "float32"), C: T.Buffer((8, 8), "float32")):
    for i, j in T.grid(8, 8):
        with T.block("B"):
            vi, vj = T.axis.remap("SS", [i, j])
            B[vi, vj] = A[vi, vj]
        with T.block("C"):
            vi, vj = T.axis.remap("SS", [i, j])
            C[vi, vj] = B[T.max(vi - 1, 0), T.min(vj + 1, 7)]


@T.prim_func
def staged(A: T.Buffer((8,), "float32"), C: T.Buffer((8,), "float32")):
    B = T.alloc_buffer((8,), "float32", scope="local")
    for _ in T.thread_binding(1, thread="blockIdx.x"):
        for i in range(8):
            with T.block("B"):
                vi = T.axis.spatial(8, i)
                B[vi] = A[vi]
        for i in range(8):
            with T.block("C"):
                vi = T.axis.spatial(8, i)
                C[vi] = B[vi]


@T.prim_func
def alternating(A: T.Buffer((8, 8), "float32"), B: T.Buffer((8,), "float32")):
    for i, j in T.grid(8, 8):
        with T.block("B"):
            vi, vj = T.axis.remap("SR", [i, j])
            with T.init():
                B[vi] = T.float32(0)
            B[vi] = A[vi, vj] - B[vi]


@T.prim_func
def summed(A: T.Buffer((8, 8), "float32"), B: T.Buffer((8,), "float32")):
    for i, j in T.grid(8, 8):
        with T.block("B"):
            vi, vj = T.axis.remap("SR", [i, j])
            with T.init():
                B[vi] = T.float32(0)
            B[vi] = B[vi] + A[vi, vj]


@T.prim_func
def from_one(A: T.Buffer((8,), "float32"), B: T.Buffer((8,), "float32")):
    for i in T.serial(1, 8):
        for j in T.serial(2, 4):
            with T.block("B"):
                vi = T.axis.spatial((1, 8), i)
                B[vi] = A[vi]


@T.prim_func
def triangle(A: T.Buffer((8, 8), "float32"), B: T.Buffer((8, 8), "float32")):
    for i in range(8):
        for j in range(i + 1):
            with T.block("B"):
                vi, vj = T.axis.remap("SS", [i, j])
                B[vi, vj] = A[vi, vj]


@T.prim_func
def ordered(A: T.Buffer((8, 8), "float32"), B: T.Buffer((8, 8), "float32")):
    for i, j in T.grid(8, 8):
        with T.block("B"):
            vi = T.axis.opaque(8, i)
            vj = T.axis.spatial(8, j)
            B[vi, vj] = A[vi, vj]


@T.prim_func
def updated(A: T.Buffer((4, 4), "float32"), B: T.Buffer((4, 4), "float32")):
    for i, j in T.grid(8, 4):
        with T.block("B"):
            vi = T.axis.spatial(4, i // 2 + i % 2 - i % 2)
            vj = T.axis.spatial(4, T.min(i, j) // 2)
            B[vi, vj] = B[vi, vj] + A[vi, vj]


@T.prim_func
def halved(A: T.Buffer((4, 4), "float32"), B: T.Buffer((4, 4), "float32")):
    for i, j in T.grid(8, 4):
        with T.block("B"):
            vi = T.axis.spatial(4, i // 2 + i % 2 - i % 2)
            vj = T.axis.spatial(4, T.min(i, j) // 2)
            B[vi, vj] = A[vi, vj]


@T.prim_func
def repeated(A: T.Buffer((4,), "float32"), B: T.Buffer((4,), "float32")):
    for i, j in T.grid(4, 3):
        with T.block("B"):
            vi = T.axis.spatial(4, i)
            B[vi] = A[vi]


@T.prim_func
def symbolic(a: T.handle, b: T.handle):
    n = T.int32()
    A = T.match_buffer(a, (n,), "float32")
    B = T.match_buffer(b, (n,), "float32")
    for i in range(n):
        with T.block("B"):
            vi = T.axis.spatial(n, i)
            B[vi] = A[vi]


def on(func: Any, block: str, act: Callable[..., Any]) -> Callable[[], Schedule]:
    """A schedule of ``func``, and ``act`` called on it with the loops of ``block``."""

    def run(sch: Schedule) -> None:
        act(sch, *sch.get_loops(sch.get_block(block)))

    run.func = func  # type: ignore[attr-defined]
    return run  # type: ignore[return-value]


CASES: dict[str, Any] = {
    "split.P1": on(matmul, "C", lambda s, i, j, k: (s.parallel(i), s.split(i, [None, 4]))),
    "split.P2": on(from_one, "B", lambda s, i, j: s.split(i, [None, 4])),
    "split.P3": on(matmul, "C", lambda s, i, j, k: s.split(i, [None, None])),
    "split.P4": on(matmul, "C", lambda s, i, j, k: s.split(i, [None, 0])),
    "split.P5": on(matmul, "C", lambda s, i, j, k: s.split(i, [2, 3])),
    "fuse.P1": on(matmul, "C", lambda s, i, j, k: s.fuse(i, k)),
    "fuse.P2": on(matmul, "C", lambda s, i, j, k: (s.parallel(i), s.fuse(i, j))),
    "fuse.P3": on(from_one, "B", lambda s, i, j: s.fuse(i, j)),
    "fuse.P4": on(triangle, "B", lambda s, i, j: s.fuse(i, j)),
    "reorder.P1": on(matmul, "C", lambda s, i, j, k: s.reorder(i, i)),
    "reorder.P2": on(branched, "B", lambda s, i, j: s.reorder(j, i)),
    "reorder.P6": on(crossed, "B", lambda s, i, j: s.reorder(j, i)),
    "reorder.P3": on(triangle, "B", lambda s, i, j: s.reorder(j, i)),
    "reorder.P4": on(ordered, "B", lambda s, i, j: s.reorder(j, i)),
    "reorder.P5": on(updated, "B", lambda s, i, j: s.reorder(j, i)),
    "reorder.P7": on(summed, "B", lambda s, i, j: s.reorder(*reversed(s.split(s.fuse(i, j), [None, 4])))),
    "reorder.P8": on(alternating, "B", lambda s, i, j: s.reorder(*reversed(s.split(j, [None, 4])))),
    "parallel.P2": on(ordered, "B", lambda s, i, j: s.parallel(j)),
    "parallel.P3": on(matmul, "C", lambda s, i, j, k: s.parallel(k)),
    "parallel.P4": on(repeated, "B", lambda s, i, j: s.parallel(j)),
    "parallel.P5": on(shifted, "B", lambda s, i: s.parallel(i)),
    "parallel.P1": on(matmul, "C", lambda s, i, j, k: (s.bind(i, "blockIdx.x"), s.parallel(i))),
    "vectorize.P1": on(matmul, "C", lambda s, i, j, k: (s.bind(i, "blockIdx.x"), s.vectorize(i))),
    "vectorize.P2": on(ordered, "B", lambda s, i, j: s.vectorize(j)),
    "vectorize.P3": on(matmul, "C", lambda s, i, j, k: s.vectorize(k)),
    "vectorize.P4": on(halved, "B", lambda s, i, j: s.vectorize(i)),
    "vectorize.P5": on(shifted, "B", lambda s, i: s.vectorize(i)),
    "unroll.P1": on(matmul, "C", lambda s, i, j, k: (s.bind(i, "blockIdx.x"), s.unroll(i))),
    "bind.P1": on(matmul, "C", lambda s, i, j, k: s.bind(i, "threadIdx.w")),
    "bind.P2": on(ordered, "B", lambda s, i, j: s.bind(j, "threadIdx.x")),
    "bind.P3": on(matmul, "C", lambda s, i, j, k: s.bind(k, "blockIdx.x")),
    "bind.P4": on(repeated, "B", lambda s, i, j: s.bind(j, "threadIdx.x")),
    "bind.P5": on(shifted, "B", lambda s, i: s.bind(i, "threadIdx.x")),
    "bind.P6": on(staged, "C", lambda s, _, i: s.bind(i, "threadIdx.x")),
    "bind.P7": on(matmul, "C", lambda s, i, j, k: (s.bind(i, "threadIdx.x"), s.bind(j, "threadIdx.x"))),
    "annotate.P1": on(matmul, "C", lambda s, i, j, k: (s.annotate(i, "note", 1), s.annotate(i, "note", 2))),
    "unannotate.P1": on(matmul, "C", lambda s, i, j, k: s.unannotate(i, "note")),
}


@pytest.mark.parametrize("rule", sorted(CASES))
def test_precondition(rule: str) -> None:
    act = CASES[rule]
    sch = Schedule(act.func)
    with pytest.raises(ScheduleError, match=rule.replace(".", r"\.")) as caught:
        act(sch)
    assert caught.value.rule == rule
    assert rule.partition(".")[2] in TABLE[rule.partition(".")[0]].preconditions


def test_a_refused_primitive_changes_nothing() -> None:
    sch = Schedule(matmul)
    _, _, k = sch.get_loops(sch.get_block("C"))
    before, length = sch.mod["main"], len(sch.trace)
    with pytest.raises(ScheduleError, match=r"feeds the reduce iterator vk of block C  \[parallel\.P3\]"):
        sch.parallel(k)
    assert sch.mod["main"] is before
    assert len(sch.trace) == length
    sch.unroll(k)


def test_a_stale_handle_says_which_instruction_consumed_it() -> None:
    sch = Schedule(matmul)
    i, j, _ = sch.get_loops(sch.get_block("C"))
    sch.split(i, factors=[None, 4])
    with pytest.raises(
        ScheduleError, match=r"loop i was consumed by `l4, l5 = sch\.split\(loop=l1, factors=\[None, 4\]"
    ):
        sch.fuse(i, j)


def test_the_error_is_drawn_on_the_script() -> None:
    sch = Schedule(matmul)
    _, _, k = sch.get_loops(sch.get_block("C"))
    with pytest.raises(ScheduleError, match=r"for k in range\(8\):\n +\^+  to be parallel\n"):
        sch.parallel(k)


def test_a_handle_of_another_schedule_is_refused() -> None:
    (i, *_) = Schedule(matmul).get_loops("C")
    with pytest.raises(ScheduleError, match="not from this schedule"):
        Schedule(matmul).parallel(i)


@pytest.mark.parametrize("name", ["D", ""])
def test_no_such_block(name: str) -> None:
    with pytest.raises(ScheduleError, match=r"has no block .*\n?hint: its blocks: C"):
        Schedule(matmul).get_block(name)


@pytest.mark.parametrize("sample", ["sample_perfect_tile", "sample_partitioned_tile"])
def test_a_decision_has_as_many_factors_as_asked_for(sample: str) -> None:
    sch = Schedule(matmul)
    with pytest.raises(ScheduleError, match=rf"{sample}\.P2"):
        getattr(sch, sample)(sch.get_loops("C")[0], n=2, decision=[8])
    with pytest.raises(ScheduleError, match=rf"{sample}\.P1"):
        getattr(sch, sample)(sch.get_loops("C")[0], n=0)


@pytest.mark.parametrize("arguments", [(2, 2, 1), (2, -1, 1), (2, 0, 0)])
def test_sample_partitioned_tile_refuses_what_is_no_partition(arguments: tuple[int, ...]) -> None:
    sch = Schedule(matmul)
    with pytest.raises(ScheduleError, match=r"sample_partitioned_tile\.P3"):
        sch.sample_partitioned_tile(sch.get_loops("C")[0], *arguments)


def test_a_symbolic_loop_needs_an_inferred_factor() -> None:
    sch = Schedule(symbolic)
    (i,) = sch.get_loops("B")
    with pytest.raises(ScheduleError, match=r"extent is symbolic.*split\.P5"):
        sch.split(i, [2, 4])


def test_threads_reduce_together_in_any_order() -> None:
    sch = Schedule(alternating)
    with pytest.raises(ScheduleError, match=r"loop j feeds the reduce iterator vj .*\n(.*\n)+ *\^+"):
        sch.bind(sch.get_loops("B")[1], "threadIdx.x")
    sch = Schedule(summed)
    sch.bind(sch.get_loops("B")[1], "threadIdx.x")
