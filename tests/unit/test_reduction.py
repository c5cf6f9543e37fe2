"""Names, handles and structure that rfactor, pad_einsum, add_unit_loop and loop_partition make."""

from __future__ import annotations

import time
from typing import Any

import pytest

from mlcref.errors import ScheduleError
from mlcref.ir import Add, Const, Max, const, index
from mlcref.schedule import Schedule
from mlcref.schedule.reducers import REDUCERS, register_reducer
from mlcref.script import from_source
from mlcref.script import tir as T
from mlcref.verify import check_equivalent


@T.prim_func
def matmul(A: T.Buffer((8, 10), "float32"), B: T.Buffer((10, 6), "float32"), C: T.Buffer((8, 6), "float32")):
    for i, j, k in T.grid(8, 6, 10):
        with T.block("C"):
            vi, vj, vk = T.axis.remap("SSR", [i, j, k])
            with T.init():
                C[vi, vj] = T.float32(0)
            C[vi, vj] = C[vi, vj] + A[vi, vk] * B[vk, vj]


def rows(update: str, start: str, columns: int = 12, dtype: str = "float32") -> Any:
    return from_source(f"""
@T.prim_func
def main(A: T.Buffer((4, {columns}), "{dtype}"), C: T.Buffer((4,), "{dtype}")):
    for i, k in T.grid(4, {columns}):
        with T.block("C"):
            vi, vk = T.axis.remap("SR", [i, k])
            with T.init():
                C[vi] = {start}
            C[vi] = {update}
""")


def realize(sch: Schedule, block: Any) -> Any:
    return index(sch.mod["main"]).blocks[sch.get(block).token]


def names(sch: Schedule, block: Any) -> list[str]:
    return [sch.get(loop).loop_var.name for loop in sch.get_loops(block)]


def same(before: Any, sch: Schedule) -> bool:
    return check_equivalent(before, sch.mod["main"]).status == "TESTED"


def test_rfactor_names_and_handles() -> None:
    sch = Schedule(matmul)
    block = sch.get_block("C")
    i, j, k = sch.get_loops(block)
    outer, inner = sch.split(k, [None, 5])
    partial = sch.rfactor(inner, 1)
    assert (sch.get(partial).name, sch.get(block).name) == ("C_rf", "C")
    assert names(sch, partial) == ["i", "j", "k_0", "k_1"]
    assert names(sch, block) == ["i", "j", "k_1"]
    kept = [sch.get(loop) for loop in sch.get_loops(block)]
    assert [sch.get(loop) for loop in (i, j, inner)] == kept
    with pytest.raises(ScheduleError, match="stale handle: loop k_0"):
        sch.get(outer)
    assert [item.var.name for item in sch.get(partial).iter_vars] == ["vk_1", "vi", "vj", "vk_0"]
    assert [item.iter_type for item in sch.get(block).iter_vars] == ["reduce", "spatial", "spatial"]
    (buffer,) = sch.get(sch.get_block("root")).alloc_buffers
    assert (buffer.name, [int(n.value) for n in buffer.shape if isinstance(n, Const)]) == ("C_rf", [8, 5, 6])


def test_rfactor_without_reduce_iterators_left_stores() -> None:
    sch = Schedule(matmul)
    partial = sch.rfactor(sch.get_loops(sch.get_block("C"))[2], -1)
    assert sch.get(partial).init is None
    assert same(matmul, sch)


def test_the_second_step_keeps_spatial_conditions_and_the_start() -> None:
    before = rows("C[vi] + A[vi, vk]", "T.float32(3)", 10)
    sch = Schedule(before)
    i, k = sch.get_loops(sch.get_block("C"))
    sch.split(i, [None, 3])
    _outer, inner = sch.split(k, [None, 4])
    partial = sch.rfactor(inner, 0)
    assert repr(realize(sch, sch.get_block("C")).predicate) == "(i_0 * 3 + i_1 < 4,)"
    assert sch.get(partial).init.value.value == 0
    assert sch.get(sch.get_block("C")).init.value.value == 3
    assert same(before, sch)


def test_empty_partial_results_are_left_out() -> None:
    before = rows("C[vi] + A[vi, vk]", "T.float32(0)", 20)
    sch = Schedule(before)
    outer, _ = sch.split(sch.get_loops(sch.get_block("C"))[1], [8, 3])
    sch.rfactor(outer, 0)
    assert repr(realize(sch, sch.get_block("C")).predicate) == "(k_0 * 3 < 20,)"
    assert same(before, sch)


def test_a_maximum_starts_where_it_started() -> None:
    before = rows("T.max(C[vi], A[vi, vk])", 'T.float32("-inf")')
    sch = Schedule(before)
    outer, _inner = sch.split(sch.get_loops(sch.get_block("C"))[1], [3, 4])
    partial = sch.rfactor(outer, 0)
    assert sch.get(partial).init.value.value == float("-inf")
    assert same(before, sch)


def test_a_registered_reducer() -> None:
    before = rows("C[vi] + A[vi, vk] + C[vi] * A[vi, vk]", "0", dtype="int32")
    sch = Schedule(before)
    outer, _ = sch.split(sch.get_loops(sch.get_block("C"))[1], [3, 4])
    with pytest.raises(ScheduleError, match="no known reducer"):
        sch.rfactor(outer, 0)
    own = register_reducer(1, lambda x, y: [Add(Add(x[0], y[0]), x[0] * y[0])], lambda dtypes: [const(0, dtypes[0])])
    try:
        sch.rfactor(outer, 0)
    finally:
        REDUCERS.remove(own)
    assert same(before, sch)


def test_a_product_is_padded_where_zeros_do_no_harm() -> None:
    sch = Schedule(matmul)
    block = sch.get_block("C")
    sch.pad_einsum(block, [1, 4, 4])
    assert [int(sch.get(loop).extent.value) for loop in sch.get_loops(block)] == [8, 8, 12]
    assert [r.block.name for r in index(sch.mod["main"]).blocks.values()] == ["root", "A_pad", "B_pad", "C", "C_pad"]
    assert same(matmul, sch)


def test_iterators_of_another_type_than_the_extents_are_padded() -> None:
    before = from_source("""
@T.prim_func
def main(A: T.Buffer((4, 6), "int32"), B: T.Buffer((6, 5), "int32"), C: T.Buffer((4, 5), "int32")):
    for i, j, k in T.grid(T.int64(4), T.int64(5), T.int64(6)):
        with T.block("C"):
            vi, vj, vk = T.axis.remap("SSR", [i, j, k])
            with T.init():
                C[vi, vj] = 0
            C[vi, vj] = C[vi, vj] + A[vi, vk] * B[vk, vj]
""")
    sch = Schedule(before)
    sch.pad_einsum(sch.get_block("C"), [1, 4, 4])
    assert same(before, sch)


def test_only_what_was_read_is_padded() -> None:
    """The input goes on behind the iterator's domain; zeros begin there, not at its end."""
    before = from_source("""
@T.prim_func
def main(A: T.Buffer((16,), "float32"), C: T.Buffer((1,), "float32")):
    for k in range(10):
        with T.block("C"):
            vk = T.axis.reduce(10, k)
            with T.init():
                C[0] = T.float32(0)
            C[0] = C[0] + A[vk]
""")
    sch = Schedule(before)
    sch.pad_einsum(sch.get_block("C"), [4])
    assert same(before, sch)


def test_what_no_padded_iterator_reads_stays_as_it_is() -> None:
    """A convolution padded along its outputs: the image is read at sums of iterators, at more than one place."""
    before = from_source("""
@T.prim_func
def main(X: T.Buffer((8, 2), "float32"), W: T.Buffer((3, 2, 5), "float32"), Y: T.Buffer((6, 5), "float32")):
    for i, o, r, c in T.grid(6, 5, 3, 2):
        with T.block("Y"):
            vi, vo, vr, vc = T.axis.remap("SSRR", [i, o, r, c])
            with T.init():
                Y[vi, vo] = T.float32(0)
            Y[vi, vo] = Y[vi, vo] + (X[vi + vr, vc] + X[vi, vc]) * W[vr, vc, vo]
""")
    sch = Schedule(before)
    sch.pad_einsum(sch.get_block("Y"), [1, 4, 1, 1])
    assert [r.block.name for r in index(sch.mod["main"]).blocks.values()] == ["root", "W_pad", "Y", "Y_pad"]
    assert same(before, sch)
    sch = Schedule(before)
    with pytest.raises(ScheduleError, match="X at more than one place"):
        sch.pad_einsum(sch.get_block("Y"), [4, 4, 1, 1])


def test_a_true_region_may_say_less_than_the_index() -> None:
    """TVM pads the loop but not the buffer (examples/found_in_tvm/pad_einsum_region.py)."""
    before = from_source("""
@T.prim_func
def main(A: T.Buffer((1, 2), "float32"), C: T.Buffer((1, 2), "float32")):
    for i, j in T.grid(1, 2):
        with T.block("C"):
            vi, vj = T.axis.remap("SS", [i, j])
            T.reads(A[0, vj])
            T.writes(C[vi, vj])
            C[vi, vj] = A[vi, vj]
""")
    sch = Schedule(before)
    sch.pad_einsum(sch.get_block("C"), [4, 4])
    assert same(before, sch)


def test_no_iteration_no_copy() -> None:
    before = from_source("""
@T.prim_func
def main(a: T.handle, c: T.handle):
    n = T.int32()
    m = T.int32()
    A = T.match_buffer(a, (n, m), "float32")
    C = T.match_buffer(c, (n,), "float32")
    for i, k in T.grid(n, m):
        with T.block("C"):
            vi, vk = T.axis.remap("SR", [i, k])
            with T.init():
                C[vi] = T.float32(0)
            C[vi] = C[vi] + A[vi, vk]
""")
    padded, factored = Schedule(before), Schedule(before)
    padded.pad_einsum(padded.get_block("C"), [4, 4])
    factored.rfactor(factored.split(factored.get_loops(factored.get_block("C"))[1], [4, None])[0], 0)
    assert same(before, padded)
    assert same(before, factored)


def test_unit_loops() -> None:
    sch = Schedule(matmul)
    block = sch.get_block("C")
    inner = sch.add_unit_loop(block)
    outer = sch.add_unit_loop(sch.get_loops(block)[0])
    assert names(sch, block) == ["u", "i", "j", "k", "u"]
    assert [sch.get(loop) for loop in (outer, inner)] == [sch.get(loop) for loop in sch.get_loops(block)[:: 4]]
    assert same(matmul, sch)


def test_only_the_first_part_of_a_reduction_starts_it() -> None:
    sch = Schedule(matmul)
    block = sch.get_block("C")
    i, _, k = sch.get_loops(block)
    parts = sch.loop_partition(k, [3, None, 2])
    assert [(sch.get(p).loop_var.name, sch.get(p).min.value, sch.get(p).extent.value) for p in parts] == [
        ("k0", 0, 3),
        ("k1", 3, 5),
        ("k2", 8, 2),
    ]
    inits = [sch.get(sch.get_block(f"C_k{n}")).init for n in range(3)]
    assert [init is None for init in inits] == [False, True, True]
    assert sch.get(i).loop_var.name == "i"
    for gone in (block, k):
        with pytest.raises(ScheduleError, match="stale handle"):
            sch.get(gone)
    assert same(matmul, sch)


def test_a_cut_between_reductions_keeps_their_inits() -> None:
    sch = Schedule(matmul)
    _, j, k = sch.get_loops(sch.get_block("C"))
    _first, _rest = sch.loop_partition(sch.fuse(j, k), [20, None])
    assert [sch.get(sch.get_block(f"C_j_k_fused{n}")).init is None for n in range(2)] == [False, False]
    assert same(matmul, sch)


def test_parts_say_what_they_use() -> None:
    sch = Schedule(matmul)
    sch.loop_partition(sch.get_loops(sch.get_block("C"))[1], [2, None])
    assert repr(sch.get(sch.get_block("C_j_common")).writes) == "(C[i, 0:6],)"
    assert repr(sch.get(sch.get_block("C_j1_partition")).reads) == "(A[i, 0:10], B[0:10, 2:6])"


def test_time_per_application() -> None:
    """On a matrix product: about a millisecond each; ten times that is a defect even on a busy machine."""
    sch = Schedule(matmul)
    start = time.process_time()
    for _ in range(10):
        fresh = sch.copy()
        block = fresh.get_block("C")
        fresh.pad_einsum(block, [1, 4, 4])
        i, _, k = fresh.get_loops(block)
        fresh.rfactor(fresh.split(k, [None, 4])[0], 0)
        fresh.add_unit_loop(block)
        fresh.loop_partition(i, [2, None])
    assert time.process_time() - start < 10 * 4 * 0.01


def test_the_order_of_operands_does_not_matter() -> None:
    for update, op in (("A[vi, vk] + C[vi]", Add), ("T.max(A[vi, vk], C[vi])", Max)):
        before = rows(update, "T.float32(0)")
        sch = Schedule(before)
        sch.rfactor(sch.get_loops(sch.get_block("C"))[1], 0)
        value = sch.get(sch.get_block("C")).body.value
        assert type(value) is op
        assert same(before, sch)
