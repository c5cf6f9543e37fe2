"""Results of the block-moving primitives, as programs: the course's uses and one case per rule of naming."""

from __future__ import annotations

from typing import Any

import pytest

from mlcref.ir import IRModule, assert_structural_equal
from mlcref.schedule import Schedule
from mlcref.script import from_source, print_script
from mlcref.script import tir as T


def assert_body(sch: Schedule, expected: str) -> None:
    """Is the function, printed without its first lines and its regions, the expected text?"""
    skip = ("#", "@T", "def ", "T.reads", "T.writes", "T.func_attr")
    lines = [line[4:] for line in print_script(sch.mod["main"]).splitlines()]
    shown = [line.rstrip() for line in lines if line.strip() and not line.strip().startswith(skip)]
    kept = [line for line in shown if "= T.alloc" not in line]
    assert "\n".join(kept[kept.index(next(k for k in kept if k.startswith(("for", "with")))) :]) == expected.strip()


# ---- the case study of the course (tensor program abstraction): C = relu(A @ B)


@T.prim_func
def mm_relu(A: T.Buffer((128, 128), "float32"), B: T.Buffer((128, 128), "float32"), C: T.Buffer((128, 128), "float32")):
    T.func_attr({"global_symbol": "mm_relu", "tir.noalias": True})
    Y = T.alloc_buffer((128, 128), dtype="float32")
    for i, j, k in T.grid(128, 128, 128):
        with T.block("Y"):
            vi, vj, vk = T.axis.remap("SSR", [i, j, k])
            with T.init():
                Y[vi, vj] = T.float32(0)
            Y[vi, vj] = Y[vi, vj] + A[vi, vk] * B[vk, vj]
    for i, j in T.grid(128, 128):
        with T.block("C"):
            vi, vj = T.axis.remap("SS", [i, j])
            C[vi, vj] = T.max(Y[vi, vj], T.float32(0))


@T.prim_func
def mm_relu_transformed(
    A: T.Buffer((128, 128), "float32"), B: T.Buffer((128, 128), "float32"), C: T.Buffer((128, 128), "float32")
):
    T.func_attr({"global_symbol": "mm_relu", "tir.noalias": True})
    Y = T.alloc_buffer((128, 128), dtype="float32")
    for i, j_0 in T.grid(128, 32):
        for j_1_init in range(4):
            with T.block("Y_init"):
                vi = T.axis.spatial(128, i)
                vj = T.axis.spatial(128, j_0 * 4 + j_1_init)
                Y[vi, vj] = T.float32(0)
        for k, j_1 in T.grid(128, 4):
            with T.block("Y_update"):
                vi = T.axis.spatial(128, i)
                vj = T.axis.spatial(128, j_0 * 4 + j_1)
                vk = T.axis.reduce(128, k)
                Y[vi, vj] = Y[vi, vj] + A[vi, vk] * B[vk, vj]
        for ax0 in range(4):
            with T.block("C"):
                vi = T.axis.spatial(128, i)
                vj = T.axis.spatial(128, j_0 * 4 + ax0)
                C[vi, vj] = T.max(Y[vi, vj], T.float32(0))


def test_the_case_study_of_the_course() -> None:
    sch = Schedule(IRModule({"mm_relu": mm_relu}))
    block_Y = sch.get_block("Y", func_name="mm_relu")
    _, j, k = sch.get_loops(block_Y)
    j0, j1 = sch.split(j, factors=[None, 4])
    sch.reorder(j0, k, j1)
    block_C = sch.get_block("C", "mm_relu")
    sch.reverse_compute_at(block_C, j0)
    sch.decompose_reduction(block_Y, k)
    assert_structural_equal(sch.mod["mm_relu"], mm_relu_transformed)
    assert sch.get(block_Y).name == "Y_update"


# ---- the exercise of the course: transform bmm_relu to the target module


@T.prim_func
def bmm_relu(
    A: T.Buffer((16, 128, 128), "float32"),
    B: T.Buffer((16, 128, 128), "float32"),
    C: T.Buffer((16, 128, 128), "float32"),
) -> None:
    T.func_attr({"global_symbol": "bmm_relu", "tir.noalias": True})
    Y = T.alloc_buffer([16, 128, 128], dtype="float32")
    for n, i, j, k in T.grid(16, 128, 128, 128):
        with T.block("Y"):
            vn, vi, vj, vk = T.axis.remap("SSSR", [n, i, j, k])
            with T.init():
                Y[vn, vi, vj] = T.float32(0)
            Y[vn, vi, vj] = Y[vn, vi, vj] + A[vn, vi, vk] * B[vn, vk, vj]
    for n, i, j in T.grid(16, 128, 128):
        with T.block("C"):
            vn, vi, vj = T.axis.remap("SSS", [n, i, j])
            C[vn, vi, vj] = T.max(Y[vn, vi, vj], T.float32(0))


@T.prim_func
def bmm_relu_target(
    A: T.Buffer((16, 128, 128), "float32"),
    B: T.Buffer((16, 128, 128), "float32"),
    C: T.Buffer((16, 128, 128), "float32"),
) -> None:
    T.func_attr({"global_symbol": "bmm_relu", "tir.noalias": True})
    Y = T.alloc_buffer([16, 128, 128], dtype="float32")
    for i0 in T.parallel(16):
        for i1, i2_0 in T.grid(128, 16):
            for ax0_init in T.vectorized(8):
                with T.block("Y_init"):
                    n, i = T.axis.remap("SS", [i0, i1])
                    j = T.axis.spatial(128, i2_0 * 8 + ax0_init)
                    Y[n, i, j] = T.float32(0)
            for ax1_0 in T.serial(32):
                for ax1_1 in T.unroll(4):
                    for ax0 in T.serial(8):
                        with T.block("Y_update"):
                            n, i = T.axis.remap("SS", [i0, i1])
                            j = T.axis.spatial(128, i2_0 * 8 + ax0)
                            k = T.axis.reduce(128, ax1_0 * 4 + ax1_1)
                            Y[n, i, j] = Y[n, i, j] + A[n, i, k] * B[n, k, j]
            for i2_1 in T.vectorized(8):
                with T.block("C"):
                    n, i = T.axis.remap("SS", [i0, i1])
                    j = T.axis.spatial(128, i2_0 * 8 + i2_1)
                    C[n, i, j] = T.max(Y[n, i, j], T.float32(0))


@pytest.mark.parametrize("parallel_first", [False, True])
def test_the_exercise_of_the_course_reaches_its_target(parallel_first: bool) -> None:
    sch = Schedule(IRModule({"bmm_relu": bmm_relu}))
    Y, C = sch.get_block("Y", func_name="bmm_relu"), sch.get_block("C", func_name="bmm_relu")
    n, _, j = sch.get_loops(C)
    if parallel_first:
        sch.parallel(n)
    j0, j1 = sch.split(j, [None, 8])
    sch.compute_at(Y, j0)
    *_, ax0, ax1 = sch.get_loops(Y)
    k0, k1 = sch.split(ax1, [None, 4])
    sch.reorder(k0, k1, ax0)
    init = sch.decompose_reduction(Y, k0)
    sch.vectorize(sch.get_loops(init)[-1])
    sch.vectorize(j1)
    sch.unroll(k1)
    if not parallel_first:
        sch.parallel(n)
    assert_structural_equal(sch.mod["bmm_relu"], bmm_relu_target)


# ---- names, guards, places


@T.prim_func
def chain(A: T.Buffer((20,), "float32"), D: T.Buffer((16,), "float32")):
    B = T.alloc_buffer((20,), "float32")
    C = T.alloc_buffer((18,), "float32")
    for i in range(20):
        with T.block("B"):
            vi = T.axis.spatial(20, i)
            B[vi] = A[vi] * T.float32(2)
    for i in range(18):
        with T.block("C"):
            vi = T.axis.spatial(18, i)
            C[vi] = B[vi] + B[vi + 2]
    for i in range(16):
        with T.block("D"):
            vi = T.axis.spatial(16, i)
            D[vi] = C[vi] + C[vi + 2]


def test_compute_at_computes_the_halo() -> None:
    sch = Schedule(chain)
    i0, _ = sch.split(sch.get_loops("D")[0], [None, 5])
    sch.compute_at("C", i0)
    assert_body(
        sch,
        """
for i in range(20):
    with T.block("B"):
        vi = T.axis.spatial(20, i)
        B[vi] = A[vi] * T.float32(2.0)
for i_0 in range(4):
    for ax0 in range(7):
        with T.block("C"):
            vi = T.axis.spatial(18, i_0 * 5 + ax0)
            T.where(i_0 * 5 + ax0 < 18)
            C[vi] = B[vi] + B[vi + 2]
    for i_1 in range(5):
        with T.block("D"):
            vi = T.axis.spatial(16, i_0 * 5 + i_1)
            T.where(i_0 * 5 + i_1 < 16)
            D[vi] = C[vi] + C[vi + 2]
""",
    )


def test_unit_loops_and_the_place_among_the_statements() -> None:
    sch = Schedule(mm_relu)
    loops = sch.get_loops("C")
    sch.compute_at("Y", loops[1], preserve_unit_loops=True, index=-2)
    names = [sch.get(loop).loop_var.name for loop in sch.get_loops("Y")]
    assert names == ["i", "j", "ax0", "ax1", "ax2"]
    assert [int(sch.get(loop).extent) for loop in sch.get_loops("Y")[2:]] == [1, 1, 128]


def test_reverse_compute_at_guards_what_sticks_out() -> None:
    sch = Schedule(mm_relu)
    i, j, k = sch.get_loops("Y")
    j0, j1 = sch.split(j, [None, 5])
    sch.reorder(i, j0, k, j1)
    sch.reverse_compute_at("C", j0)
    text = print_script(sch.mod["main"])
    assert "vj = T.axis.spatial(128, j_0 * 5 + ax0)" in text
    assert text.count("T.where(j_0 * 5 + ax0 < 128)") == 1


def test_caches_copy_what_is_there_before_the_first_reader() -> None:
    sch = Schedule(mm_relu)
    read = sch.cache_read("Y", 0, "shared")
    write = sch.cache_write("C", 0, "local")
    assert sch.get(read).name == "A_shared"
    assert sch.get(write).name == "C_local"
    text = print_script(sch.mod["main"])
    assert 'A_shared = T.alloc_buffer((128, 128), scope="shared")' in text
    assert text.index('T.block("A_shared")') < text.index('T.block("Y")') < text.index('T.block("C_local")')
    assert "C_local[vi, vj] = T.max(Y[vi, vj]" in text
    assert "C[v0, v1] = C_local[v0, v1]" in text
    assert [sch.get(loop).loop_var.name for loop in sch.get_loops(read)] == ["ax0", "ax1"]


def test_a_cache_in_the_loops_of_its_writer_copies_a_tile() -> None:
    sch = Schedule(chain)
    i0, _ = sch.split(sch.get_loops("D")[0], [4, 4])
    sch.compute_at("C", i0)
    sch.cache_read("D", "C", "local")
    assert_body(
        sch,
        """
for i in range(20):
    with T.block("B"):
        vi = T.axis.spatial(20, i)
        B[vi] = A[vi] * T.float32(2.0)
for i_0 in range(4):
    for ax0 in range(6):
        with T.block("C"):
            vi = T.axis.spatial(18, i_0 * 4 + ax0)
            C[vi] = B[vi] + B[vi + 2]
    for ax0 in range(6):
        with T.block("C_local"):
            v0 = T.axis.spatial(18, i_0 * 4 + ax0)
            C_local[v0] = C[v0]
    for i_1 in range(4):
        with T.block("D"):
            vi = T.axis.spatial(16, i_0 * 4 + i_1)
            D[vi] = C_local[vi] + C_local[vi + 2]
""",
    )


def test_only_named_consumers_read_the_cache() -> None:
    sch = Schedule(
        from_source(
            """
@T.prim_func
def main(A: T.Buffer((8,), "float32"), B: T.Buffer((8,), "float32"), C: T.Buffer((8,), "float32")):
    for i in range(8):
        with T.block("B"):
            vi = T.axis.spatial(8, i)
            B[vi] = A[vi]
    for i in range(8):
        with T.block("C"):
            vi = T.axis.spatial(8, i)
            C[vi] = A[vi]
"""
        )
    )
    sch.cache_read("B", "A", "local", consumer_blocks=[sch.get_block("C")])
    text = print_script(sch.mod["main"])
    assert "B[vi] = A[vi]" in text
    assert "C[vi] = A_local[vi]" in text


def test_inlining_both_ways_gives_the_same_expression() -> None:
    forward, backward = Schedule(chain), Schedule(chain)
    forward.compute_inline("B")
    assert "C[vi] = A[vi] * T.float32(2.0) + A[vi + 2] * T.float32(2.0)" in print_script(forward.mod["main"])
    assert "T.reads(A[vi:vi + 3])" in print_script(forward.mod["main"])
    backward.cache_write("D", 0, "local")
    backward.reverse_compute_inline("D_local")
    assert_structural_equal(backward.mod["main"], chain)


def test_decomposed_names_handles_and_reads() -> None:
    sch = Schedule(mm_relu)
    Y = sch.get_block("Y")
    init = sch.decompose_reduction(Y, sch.get_loops(Y)[0])
    assert (sch.get(init).name, sch.get(Y).name) == ("Y_init", "Y_update")
    assert [sch.get(loop).loop_var.name for loop in sch.get_loops(init)] == ["i_init", "j_init"]
    assert [region.buffer.name for region in sch.get(Y).reads] == ["Y", "A", "B"]


def test_decomposing_a_padded_reduction_guards_its_init() -> None:
    sch = Schedule(mm_relu)
    i, _, k = sch.get_loops("Y")
    i0, i1 = sch.split(i, [None, 3])
    k0, _ = sch.split(k, [None, 5])
    sch.reorder(i0, k0, i1)
    sch.decompose_reduction("Y", k0)
    text: Any = print_script(sch.mod["main"])
    assert text.count("T.where(i_0 * 3 + i_1_init < 128)") == 1
    assert text.count("T.where(i_0 * 3 + i_1 < 128 and k_0 * 5 + k_1 < 128)") == 1
