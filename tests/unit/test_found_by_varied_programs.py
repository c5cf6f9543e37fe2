"""Programs on which primitives went wrong when the harness first drew them."""

from __future__ import annotations

from typing import Any

import pytest

from mlcref.errors import ScheduleError
from mlcref.interp import findings
from mlcref.lower.serialize_threads import serialize_threads
from mlcref.schedule import Schedule
from mlcref.script import from_source
from mlcref.verify import check_equivalent
from mlcref.verify.inputs import arguments
from numpy.random import default_rng

UNKNOWN_ROWS = """
@T.prim_func
def main(a: T.handle, b: T.handle):
    n = T.int32()
    A = T.match_buffer(a, (n, 4), "float32")
    B = T.match_buffer(b, (n, 4), "float32")
    for i, j in T.grid(n, 4):
        with T.block("B"):
            vi, vj = T.axis.remap("SS", [i, j])
            B[vi, vj] = A[vi, vj] + T.float32(1)
"""
PARTS = """
@T.prim_func
def main(A: T.Buffer((8,), "float32"), B: T.Buffer((8,), "float32")):
    for i in range(4):
        with T.block("part"):
            vi = T.axis.spatial(4, i)
            for j in range(2):
                with T.block("B"):
                    vj = T.axis.spatial(8, vi * 2 + j)
                    B[vj] = A[vj] + T.float32(1)
"""


@pytest.mark.parametrize("act", ["parallel", "vectorize"])
@pytest.mark.parametrize("at", [0, 1])
def test_loops_beside_loops_of_unknown_size_run_at_once(act: str, at: int) -> None:
    before = from_source(UNKNOWN_ROWS)
    sch = Schedule(before)
    getattr(sch, act)(sch.get_loops("B")[at])
    assert check_equivalent(before, sch.mod["main"]).status == "TESTED"


@pytest.mark.parametrize("access", [("read", 0), ("write", 0)])
def test_a_copy_inside_a_block_is_of_what_the_block_uses(access: Any) -> None:
    before = from_source(PARTS)
    sch = Schedule(before)
    sch.reindex("B", access)
    after = sch.mod["main"]
    assert check_equivalent(before, after).status == "TESTED"
    assert findings(after, *arguments(after, {}, "small", default_rng(0))) == []


def test_a_reduction_that_does_not_commute_gets_iterators_that_count_its_operands_as_before() -> None:
    before = from_source("""
@T.prim_func
def main(A: T.Buffer((4, 6), "float32"), B: T.Buffer((4,), "float32")):
    for i, k in T.grid(4, 6):
        with T.block("B"):
            vi, vk = T.axis.remap("SR", [i, k])
            with T.init():
                B[vi] = T.float32(0)
            B[vi] = B[vi] * T.float32(2) + A[vi, vk]
""")
    sch = Schedule(before)
    sch.transform_block_layout("B", lambda i, k: [k // 3, i, k % 3])
    assert check_equivalent(before, sch.mod["main"]).status == "TESTED"


def test_what_a_loop_writes_from_its_end_is_copied_whole() -> None:
    before = from_source("""
@T.prim_func
def main(A: T.Buffer((7,), "float32"), B: T.Buffer((7,), "float32")):
    for i, j in T.grid(2, 4):
        with T.block("B"):
            vi = T.axis.spatial(7, 6 - (i * 4 + j))
            T.where(i * 4 + j < 7)
            B[vi] = A[vi] + T.float32(1)
""")
    sch = Schedule(before)
    sch.cache_write("B", 0, "local")
    assert check_equivalent(before, sch.mod["main"]).status == "TESTED"


def test_a_consumer_of_more_rows_than_are_produced_stays() -> None:
    """Symbolic, the padded rows are others than those of the producer's loops: the last one would never be written."""
    before = from_source("""
@T.prim_func
def main(a: T.handle, C: T.Buffer((2,), "float32")):
    n = T.int32()
    A = T.match_buffer(a, (n, 2))
    B = T.alloc_buffer((n, 2))
    P = T.alloc_buffer(((n + 1) // 2 * 2, 2))
    for i, j in T.grid(n, 2):
        with T.block("B"):
            vi, vj = T.axis.remap("SS", [i, j])
            B[vi, vj] = A[vi, vj] * T.float32(2.0)
    for i, j in T.grid((n + 1) // 2 * 2, 2):
        with T.block("P"):
            vi, vj = T.axis.remap("SS", [i, j])
            T.reads(B[vi, vj])
            P[vi, vj] = T.if_then_else(vi < n, B[vi, vj], T.float32(0.0))
    for j, i in T.grid(2, (n + 1) // 2 * 2):
        with T.block("C"):
            vj, vi = T.axis.remap("SR", [j, i])
            with T.init():
                C[vj] = T.float32(0.0)
            C[vj] = C[vj] + P[vi, vj]
""")
    sch = Schedule(before)
    inner = sch.get_loops(sch.get_block("B"))[1]
    with pytest.raises(ScheduleError, match=r"provably run every instance.*reverse_compute_at.P7"):
        sch.reverse_compute_at(sch.get_block("P"), inner)


def test_a_sum_over_part_of_its_domain_is_not_completed_by_a_move() -> None:
    """The loops leave out two values of `vk`; a nest over its whole domain would double the sum twice more."""
    before = from_source("""
@T.prim_func
def main(A: T.Buffer((2, 8), "float32"), C: T.Buffer((2,), "float32")):
    B = T.alloc_buffer((2,))
    for i, k_0, k_1 in T.grid(2, 3, 2):
        with T.block("B"):
            vi = T.axis.spatial(2, i)
            vk = T.axis.reduce(8, k_0 * 2 + k_1)
            with T.init():
                B[vi] = T.float32(0.0)
            B[vi] = B[vi] * T.float32(2.0) + A[vi, vk]
    for i in range(2):
        with T.block("C"):
            vi = T.axis.spatial(2, i)
            C[vi] = B[vi]
""")
    sch = Schedule(before)
    (loop,) = sch.get_loops(sch.get_block("C"))
    with pytest.raises(ScheduleError, match=r"compute_at.P7"):
        sch.compute_at(sch.get_block("B"), loop)


def test_an_open_axis_counts_from_where_each_loop_begins() -> None:
    func = from_source("""
@T.prim_func
def main(A: T.Buffer((4,), "int32"), B: T.Buffer((4,), "int32")):
    for t in T.thread_binding(2, 6, thread="threadIdx.x"):
        for u in T.thread_binding(0, 4, thread="threadIdx.x"):
            B[u] = A[t - 2] * 2
""")
    verdict = check_equivalent(func, serialize_threads(func))
    assert verdict, str(verdict)


def test_memory_of_parallel_iterations_does_not_become_that_of_a_kernel() -> None:
    """Each iteration of `j` has a row of its own; under a thread axis the row is one for all of them."""
    before = from_source("""
@T.prim_func
def main(A: T.Buffer((5, 6), "int32"), C: T.Buffer((5, 6), "int32")):
    B = T.alloc_buffer((5, 6), "int32")
    for i in range(5):
        for j in T.parallel(6):
            for k in range(6):
                with T.block("B"):
                    vi, vk = T.axis.remap("SS", [i, k])
                    B[vi, vk] = A[vi, vk] * 2
            with T.block("C"):
                vi, vj = T.axis.remap("SS", [i, j])
                C[vi, vj] = B[vi, vj]
""")
    sch = Schedule(before)
    with pytest.raises(ScheduleError, match=r"one memory for all iterations of the parallel loop j.*bind.P6"):
        sch.bind(sch.get_loops(sch.get_block("C"))[0], "blockIdx.y")


def test_an_axis_is_not_bound_again_inside_a_block_of_one_of_its_threads() -> None:
    before = from_source("""
@T.prim_func
def main(A: T.Buffer((2, 2), "float32"), C: T.Buffer((2, 2), "float32")):
    for i in T.thread_binding(2, thread="threadIdx.y"):
        with T.block("rows"):
            vi = T.axis.spatial(2, i)
            for j in range(2):
                with T.block("C"):
                    vj = T.axis.spatial(2, j)
                    C[vi, vj] = A[vj, vi]
""")
    sch = Schedule(before)
    with pytest.raises(ScheduleError, match=r"threadIdx.y is bound already.*bind.P7"):
        sch.bind(sch.get_loops(sch.get_block("C"))[0], "threadIdx.y")


def test_what_a_block_that_never_runs_writes_is_not_copied() -> None:
    before = from_source("""
@T.prim_func
def main(A: T.Buffer((2, 4), "float32"), B: T.Buffer((2, 4), "float32")):
    for i in range(4):
        with T.block("parts"):
            vi = T.axis.spatial(4, i)
            for j in range(2):
                with T.block("B"):
                    vj = T.axis.spatial(2, j)
                    B[vj, vi] = A[vj, vi]
            for k in range(3, 4):
                with T.block("behind"):
                    vk = T.axis.spatial(2, vi % 1 * 4 + k)
                    T.where(vi % 1 * 4 + k < 2)
                    B[vk, vi] = A[vk, vi] * T.float32(2)
""")
    with pytest.raises(ScheduleError, match=r"block behind writes before the copy.*cache_write.P6"):
        Schedule(before).cache_write("behind", 0, "global")


def test_padding_takes_no_memory_that_all_threads_of_a_kernel_would_share() -> None:
    before = from_source("""
@T.prim_func
def main(A: T.Buffer((3,), "float32"), C: T.Buffer((2, 3), "float32")):
    B = T.alloc_buffer((3,), scope="local")
    for i in T.thread_binding(2, thread="blockIdx.y"):
        with T.block("row"):
            for j in range(3):
                with T.block("B"):
                    vj = T.axis.spatial(3, j)
                    B[vj] = A[vj]
        for j in range(3):
            with T.block("C"):
                vi, vj = T.axis.remap("SS", [i, j])
                C[vi, vj] = B[vj]
""")
    with pytest.raises(ScheduleError, match=r"A_pad of scope 'global' would be one for all threads of blockIdx.y"):
        Schedule(before).pad_einsum("B", [4])


def test_partial_results_of_a_sum_over_nothing_are_left_out() -> None:
    before = from_source("""
@T.prim_func
def main(a: T.handle, B: T.Buffer((3,), "float32")):
    n = T.int32()
    A = T.match_buffer(a, (n, 3), "float32")
    for i, j, k in T.grid(3, n, 1):
        with T.block("B"):
            vi = T.axis.spatial(3, i)
            vj = T.axis.reduce(n, j + k)
            with T.init():
                B[vi] = T.float32(0)
            B[vi] = B[vi] + A[vj, vi]
""")
    sch = Schedule(before)
    sch.rfactor(sch.get_loops("B")[2], 0)
    assert "T.where(0 < n)" in sch.mod["main"].script()
    assert check_equivalent(before, sch.mod["main"]).status == "TESTED"


ROWS_IN_A_REDUCTION = """
@T.prim_func
def main(A: T.Buffer((2, 3), "int32"), B: T.Buffer((2, 4), "int32")):
    for i in range(2):
        with T.block("rows"):
            vi = T.axis.spatial(2, i)
            vr = T.axis.reduce(1, 0)
            with T.init():
                for j in range(4):
                    with T.block("first"):
                        vj = T.axis.spatial(4, j)
                        B[vi, vj] = 0
            for j, k in T.grid(4, 3):
                with T.block("B"):
                    vj, vk = T.axis.remap("SR", [j, k])
                    B[vi, vj] = B[vi, vj] + A[vi, vk]
"""


@pytest.mark.parametrize("inner", ["first", "B"])
@pytest.mark.parametrize("outer_first", [False, True])
def test_nothing_is_bound_inside_a_reduction_of_a_kernel(inner: str, outer_first: bool) -> None:
    before = from_source(ROWS_IN_A_REDUCTION)
    sch = Schedule(before)
    loops = [(sch.get_loops("rows")[0], "blockIdx.x"), (sch.get_loops(inner)[0], "threadIdx.x")]
    first, second = loops if outer_first else loops[::-1]
    sch.bind(*first)
    assert check_equivalent(before, sch.mod["main"]).status == "TESTED"
    with pytest.raises(ScheduleError, match=r"no barrier separates the init of block rows.*bind.P6"):
        sch.bind(*second)


def test_a_nest_of_threads_is_not_moved_under_their_axis() -> None:
    before = from_source("""
@T.prim_func
def main(A: T.Buffer((3,), "float32"), C: T.Buffer((1, 3), "float32")):
    B = T.alloc_buffer((3,), "float32")
    with T.block("parts"):
        for i in T.thread_binding(3, thread="threadIdx.x"):
            with T.block("B"):
                vi = T.axis.spatial(3, i)
                B[vi] = A[vi] + T.float32(1)
    for i in T.thread_binding(1, thread="threadIdx.x"):
        for j in range(3):
            with T.block("C"):
                vi, vj = T.axis.remap("SS", [i, j])
                C[vi, vj] = B[vj]
""")
    sch = Schedule(before)
    with pytest.raises(ScheduleError, match=r"loop i would be bound to threadIdx.x inside loop i.*compute_at.P9"):
        sch.compute_at("parts", sch.get_loops("C")[1], preserve_unit_loops=True)


def test_blocks_around_a_writer_declare_the_padding_that_is_written() -> None:
    before = from_source("""
@T.prim_func
def main(A: T.Buffer((6,), "int32"), C: T.Buffer((6,), "int32")):
    B = T.alloc_buffer((6,), "int32")
    with T.block("all"):
        T.reads(A[0:6])
        T.writes(B[0:6])
        for i in range(6):
            with T.block("B"):
                vi = T.axis.spatial(6, i)
                B[vi] = A[vi] * 2
    for i in range(6):
        with T.block("C"):
            vi = T.axis.spatial(6, i)
            C[vi] = B[vi] + 1
""")
    sch = Schedule(before)
    sch.transform_layout("B", ("write", 0), lambda i: (i // 2 + 1, i % 2), pad_value=1)
    after = sch.mod["main"]
    assert check_equivalent(before, after).status == "TESTED"
    assert "T.writes(B[1:4, 0:2])" in after.script()
    assert 'with T.block("buffer_B_padding")' in after.script()


def test_memory_of_parallel_iterations_stays_theirs_when_loops_change_places() -> None:
    before = from_source("""
@T.prim_func
def main(A: T.Buffer((3,), "float32"), C: T.Buffer((3,), "float32")):
    B = T.alloc_buffer((3,), "float32")
    for i in T.parallel(3):
        for j in range(1):
            for k in range(3):
                with T.block("B"):
                    vk = T.axis.spatial(3, k)
                    B[vk] = A[vk] * T.float32(2)
            with T.block("C"):
                vi, vj = T.axis.remap("SR", [i, j])
                with T.init():
                    C[vi] = T.float32(0)
                C[vi] = C[vi] + B[vi + vj]
""")
    sch = Schedule(before)
    i, j, _ = sch.get_loops("B")
    with pytest.raises(ScheduleError, match=r"B.*reorder.P6"):
        sch.reorder(j, i)


def test_a_condition_that_leaves_out_the_first_values_is_no_edge() -> None:
    before = from_source("""
@T.prim_func
def main(A: T.Buffer((3,), "float32"), B: T.Buffer((3,), "float32")):
    for i in range(3):
        with T.block("all"):
            vi = T.axis.spatial(3, i)
            B[vi] = A[vi]
    for i, j in T.grid(2, 2):
        with T.block("some"):
            vi = T.axis.spatial(3, i * 2 + j)
            T.where(1 <= i * 2 + j and i * 2 + j < 3)
            B[vi] = A[vi] * T.float32(2)
""")
    with pytest.raises(ScheduleError, match=r"block some does not run for all its iterators.*pad_einsum.P6"):
        Schedule(before).pad_einsum("some", [4])
