"""Every precondition of the primitives that move blocks, copy buffers and split reductions refuses with its rule."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from mlcref.errors import ScheduleError
from mlcref.schedule import TABLE, Schedule
from mlcref.script import tir as T


@T.prim_func
def matmul_relu(A: T.Buffer((8, 8), "float32"), B: T.Buffer((8, 8), "float32"), D: T.Buffer((8, 8), "float32")):
    C = T.alloc_buffer((8, 8), "float32")
    for i, j, k in T.grid(8, 8, 8):
        with T.block("C"):
            vi, vj, vk = T.axis.remap("SSR", [i, j, k])
            with T.init():
                C[vi, vj] = T.float32(0)
            C[vi, vj] = C[vi, vj] + A[vi, vk] * B[vk, vj]
    for i, j in T.grid(8, 8):
        with T.block("D"):
            vi, vj = T.axis.remap("SS", [i, j])
            D[vi, vj] = T.max(C[vi, vj], T.float32(0))


@T.prim_func
def chain(A: T.Buffer((8,), "float32"), D: T.Buffer((8,), "float32")):
    B = T.alloc_buffer((8,), "float32")
    C = T.alloc_buffer((8,), "float32")
    for i in range(8):
        with T.block("B"):
            vi = T.axis.spatial(8, i)
            B[vi] = A[vi] * T.float32(2)
    for i in range(8):
        with T.block("C"):
            vi = T.axis.spatial(8, i)
            C[vi] = B[vi] + T.float32(1)
    for i in range(8):
        with T.block("D"):
            vi = T.axis.spatial(8, i)
            D[vi] = C[vi] * B[vi]


@T.prim_func
def halo(A: T.Buffer((9,), "float32"), C: T.Buffer((8,), "float32")):
    B = T.alloc_buffer((9,), "float32")
    for i in range(9):
        with T.block("B"):
            vi = T.axis.spatial(9, i)
            B[vi] = A[vi]
    for k in range(2):
        for i in T.parallel(8):
            with T.block("C"):
                vi = T.axis.spatial(8, i)
                vk = T.axis.reduce(2, k)  # noqa: F841
                with T.init():
                    C[vi] = T.float32(0)
                C[vi] = C[vi] + B[vi] + B[vi + 1]


@T.prim_func
def overwritten(A: T.Buffer((8,), "float32"), C: T.Buffer((8,), "float32"), D: T.Buffer((8,), "float32")):
    B = T.alloc_buffer((8,), "float32")
    for i in range(8):
        with T.block("B"):
            vi = T.axis.spatial(8, i)
            B[vi] = A[vi]
    for i in range(8):
        with T.block("A"):
            vi = T.axis.spatial(8, i)
            A[vi] = T.float32(0)
    for i in range(8):
        with T.block("C"):
            vi = T.axis.spatial(8, i)
            C[vi] = B[vi]
    for i in range(8):
        with T.block("D"):
            vi = T.axis.spatial(8, i)
            D[vi] = A[vi] + C[vi]


@T.prim_func
def triangle(A: T.Buffer((8, 8), "float32"), C: T.Buffer((8, 8), "float32")):
    B = T.alloc_buffer((8, 8), "float32")
    for i, j in T.grid(8, 8):
        with T.block("B"):
            vi = T.axis.spatial(8, i)
            vj = T.axis.spatial(8, (j + i) % 8)
            T.where(j < i)
            B[vi, vj] = A[vi, vj]
    for i, j in T.grid(8, 8):
        with T.block("C"):
            vi, vj = T.axis.remap("SS", [i, j])
            C[vi, vj] = T.if_then_else(vi > 99, B[vi, vj], A[vi, vj])


@T.prim_func
def with_plain_store(A: T.Buffer((8,), "float32"), C: T.Buffer((8,), "float32")):
    B = T.alloc_buffer((8,), "float32")
    C[0] = T.float32(1)
    for i in range(8):
        with T.block("B"):
            vi = T.axis.spatial(8, i)
            B[vi] = A[vi]
    for i in range(8):
        with T.block("C"):
            vi = T.axis.spatial(8, i)
            C[vi] = B[vi]


@T.prim_func
def row_sums(A: T.Buffer((8, 8), "float32"), C: T.Buffer((8,), "float32")):
    B = T.alloc_buffer((8, 8), "float32")
    for i, j in T.grid(8, 8):
        with T.block("B"):
            vi, vj = T.axis.remap("SS", [i, j])
            B[vi, vj] = A[vi, vj]
    for i, k in T.grid(8, 8):
        with T.block("C"):
            vi, vk = T.axis.remap("SR", [i, k])
            with T.init():
                C[vi] = T.float32(0)
            C[vi] = C[vi] + B[vi, vk]


@T.prim_func
def scatter(A: T.Buffer((8,), "float32"), idx: T.Buffer((8,), "int32"), C: T.Buffer((8,), "float32")):
    B = T.alloc_buffer((8,), "float32")
    for i in T.parallel(8):
        with T.block("B"):
            vi = T.axis.spatial(8, i)
            B[vi] = A[vi]
    for i in range(8):
        with T.block("C"):
            vi = T.axis.spatial(8, i)
            C[idx[vi]] = B[vi]


@T.prim_func
def looked_up(A: T.Buffer((8,), "float32"), idx: T.Buffer((8,), "int32"), C: T.Buffer((8,), "float32")):
    B = T.alloc_buffer((8,), "float32")
    for i in range(8):
        with T.block("B"):
            vi = T.axis.spatial(8, i)
            B[idx[vi]] = A[vi]
        with T.block("C"):
            vi = T.axis.spatial(8, i)
            C[vi] = B[idx[vi]]


@T.prim_func
def tiled(A: T.Buffer((9,), "float32"), D: T.Buffer((8,), "float32")):
    B = T.alloc_buffer((9,), "float32")
    C = T.alloc_buffer((8,), "float32")
    for t in T.parallel(2):
        for i in range(5):
            with T.block("B"):
                vi = T.axis.spatial(9, t * 4 + i)
                B[vi] = A[vi]
        for i in range(4):
            with T.block("C"):
                vi = T.axis.spatial(8, t * 4 + i)
                C[vi] = B[vi] + B[vi + 1]
    for i in range(8):
        with T.block("D"):
            vi = T.axis.spatial(8, i)
            D[vi] = C[vi]


@T.prim_func
def read_early(A: T.Buffer((8,), "float32"), C: T.Buffer((8,), "float32"), D: T.Buffer((8,), "float32")):
    B = T.alloc_buffer((8,), "float32")
    for i in range(8):
        with T.block("B"):
            vi = T.axis.spatial(8, i)
            B[vi] = A[vi]
    for i in range(8):
        with T.block("D"):
            vi = T.axis.spatial(8, i)
            D[vi] = C[vi]
    for i in range(8):
        with T.block("C"):
            vi = T.axis.spatial(8, i)
            C[vi] = B[vi]


@T.prim_func
def prefix_sums(A: T.Buffer((2,), "int32"), C: T.Buffer((2,), "int32")):
    S = T.alloc_buffer((2,), "int32")
    B = T.alloc_buffer((2,), "int32")
    for r in range(2):
        for i in range(2):
            with T.block("S"):
                vi, _vr = T.axis.remap("SR", [i, r])
                with T.init():
                    S[vi] = 0
                S[vi] = S[vi] + A[vi]
        for i in range(2):
            with T.block("B"):
                vi = T.axis.spatial(2, i)
                B[vi] = S[vi] * 2
        with T.block("C"):
            vi = T.axis.spatial(2, r)
            C[vi] = B[vi] + 1


@T.prim_func
def partial(A: T.Buffer((8,), "float32"), C: T.Buffer((12,), "float32"), D: T.Buffer((12,), "float32")):
    for i in range(8):
        with T.block("C"):
            vi = T.axis.spatial(8, i)
            C[vi] = A[vi]
    for i in range(12):
        with T.block("D"):
            vi = T.axis.spatial(12, i)
            D[vi] = C[vi]


@T.prim_func
def shared_row(A: T.Buffer((4, 8), "float32"), C: T.Buffer((4,), "float32")):
    B = T.alloc_buffer((1,), "float32")
    for i in range(4):
        for k in range(8):
            with T.block("B"):
                vi, vk = T.axis.remap("SR", [i, k])
                with T.init():
                    B[0] = T.float32(0)
                B[0] = B[0] + A[vi, vk]
        with T.block("C"):
            vi = T.axis.spatial(4, i)
            C[vi] = B[0]


@T.prim_func
def late(A: T.Buffer((4, 8), "float32"), C: T.Buffer((4,), "float32")):
    for i, k in T.grid(4, 8):
        with T.block("C"):
            vi, vk = T.axis.remap("SR", [i, k])
            T.where(k >= 1)
            with T.init():
                C[vi] = T.float32(0)
            C[vi] = C[vi] + A[vi, vk]


@T.prim_func
def neighbour(A: T.Buffer((4, 8), "float32"), C: T.Buffer((4,), "float32"), D: T.Buffer((4,), "float32")):
    for i in range(4):
        with T.block("D"):
            vi = T.axis.spatial(4, i)
            D[vi] = C[vi]
        for k in range(8):
            with T.block("C"):
                vi, vk = T.axis.remap("SR", [i, k])
                with T.init():
                    C[vi] = T.float32(0)
                C[vi] = C[vi] + A[vi, vk]


@T.prim_func
def private_tiles(A: T.Buffer((8, 8), "float32"), D: T.Buffer((8,), "float32")):
    C = T.alloc_buffer((8,), "float32", scope="local")
    for _ in T.thread_binding(1, thread="blockIdx.x"):
        for p in T.thread_binding(8, thread="threadIdx.x"):
            for k in range(8):
                with T.block("C"):
                    vi, vk = T.axis.remap("SR", [p, k])
                    with T.init():
                        C[vi] = T.float32(0)
                    C[vi] = C[vi] + A[vi, vk]
            with T.block("D"):
                vi = T.axis.spatial(8, p)
                D[vi] = C[vi]


@T.prim_func
def effects(A: T.Buffer((8,), "float32"), C: T.Buffer((8,), "float32")):
    B = T.alloc_buffer((8,), "float32")
    for i in range(8):
        with T.block("B"):
            vi = T.axis.spatial(8, i)
            B[vi // 2 * 2 + vi % 2] = T.call_extern("float32", "draw", A[vi])
    for i in range(8):
        with T.block("C"):
            vi = T.axis.spatial(8, i)
            C[vi] = B[vi]


@T.prim_func
def transposed_tiles(A: T.Buffer((8,), "float32"), C: T.Buffer((8,), "float32")):
    B = T.alloc_buffer((2, 4), "float32")
    for i in range(8):
        with T.block("B"):
            vi = T.axis.spatial(8, i)
            B[vi // 4, vi % 4] = A[vi]
    for i in range(8):
        with T.block("C"):
            vi = T.axis.spatial(8, i)
            C[vi] = B[vi // 4, vi % 4]


@T.prim_func
def left_over(A: T.Buffer((4,), "float32"), C: T.Buffer((4,), "float32")):
    B = T.alloc_buffer((4,), "float32")
    for i in range(4):
        with T.block("B"):
            vi = T.axis.spatial(4, i)
            B[vi] = A[vi]
        with T.block("C"):
            vi = T.axis.spatial(4, 3 - i)
            vk = T.axis.reduce(4, i)  # noqa: F841
            with T.init():
                C[vi] = T.float32(0)
            C[vi] = C[vi] + B[0]


@T.prim_func
def unused(A: T.Buffer((8,), "float32"), C: T.Buffer((8,), "float32")):
    B = T.alloc_buffer((8,), "float32")
    for i in range(8):
        with T.block("B"):
            vi = T.axis.spatial(8, i)
            B[vi] = A[vi]
    for i in range(8):
        with T.block("C"):
            vi = T.axis.spatial(8, i)
            C[vi] = A[vi]


@T.prim_func
def in_vectors(A: T.Buffer((8,), "float32"), C: T.Buffer((8,), "float32")):
    B = T.alloc_buffer((8,), "float32")
    for i in range(8):
        with T.block("B"):
            vi = T.axis.spatial(8, i)
            B[vi] = A[vi]
    for i in range(2):
        with T.block("C"):
            vi = T.axis.spatial(2, i)
            C[T.Ramp(vi * 4, 1, 4)] = B[T.Ramp(vi * 4, 1, 4)]


@T.prim_func
def compared(A: T.Buffer((8,), "int32"), C: T.Buffer((8,), "int32")):
    B = T.alloc_buffer((8,), "int32")
    for i in range(8):
        with T.block("B"):
            vi = T.axis.spatial(8, i)
            B[vi] = A[vi] * 3
    for i in range(8):
        with T.block("C"):
            vi = T.axis.spatial(8, i)
            C[vi] = T.if_then_else(B[vi] < 5, 1, 0)


def at(block: str, other: str, position: int, **options: Any) -> Callable[[Schedule], None]:
    return lambda s: s.compute_at(s.get_block(block), s.get_loops(other)[position], **options)


def reverse(block: str, other: str, position: int, **options: Any) -> Callable[[Schedule], None]:
    return lambda s: s.reverse_compute_at(s.get_block(block), s.get_loops(other)[position], **options)


def decompose(block: str, position: int) -> Callable[[Schedule], Any]:
    return lambda s: s.decompose_reduction(s.get_block(block), s.get_loops(block)[position])


def updated(act: Callable[[Schedule], Any]) -> Callable[[Schedule], Any]:
    """``act`` after the reduction C was taken apart."""

    def run(s: Schedule) -> None:
        s.decompose_reduction(s.get_block("C"), s.get_loops("C")[-1])
        act(s)

    return run


def bind_innermost(sch: Schedule, block: str) -> None:
    sch.bind(sch.get_loops(block)[-1], "threadIdx.x")


CASES: list[tuple[str, Any, Callable[[Schedule], Any]]] = [
    ("compute_at.P1", chain, at("B", "B", 0)),
    ("compute_at.P2", with_plain_store, at("B", "C", 0)),
    ("compute_at.P2", chain, at("root", "C", 0)),
    ("compute_at.P3", matmul_relu, updated(at("C_update", "D", 0))),
    ("compute_at.P4", read_early, at("C", "D", 0)),
    ("compute_at.P5", chain, at("B", "C", 0)),
    ("compute_at.P5", unused, at("B", "C", 0)),
    ("compute_at.P6", overwritten, at("B", "C", 0)),
    ("compute_at.P7", triangle, at("B", "C", 0)),
    ("compute_at.P8", chain, at("C", "D", 0, index=1)),
    ("compute_at.P9", halo, at("B", "C", 1)),
    ("reverse_compute_at.P1", chain, reverse("B", "B", 0)),
    ("reverse_compute_at.P2", with_plain_store, reverse("C", "B", 0)),
    ("reverse_compute_at.P3", matmul_relu, updated(reverse("C_update", "D", 0))),
    ("reverse_compute_at.P4", chain, reverse("B", "D", 0)),
    ("reverse_compute_at.P4", chain, reverse("D", "B", 0)),
    ("reverse_compute_at.P5", matmul_relu, reverse("D", "C", 2)),
    ("reverse_compute_at.P5", halo, reverse("C", "B", 0)),
    ("reverse_compute_at.P6", read_early, reverse("C", "B", 0)),
    ("reverse_compute_at.P7", row_sums, reverse("C", "B", 1)),
    ("reverse_compute_at.P7", partial, reverse("D", "C", 0)),
    ("reverse_compute_at.P8", chain, reverse("C", "B", 0, index=0)),
    ("reverse_compute_at.P9", scatter, reverse("C", "B", 0)),
    ("cache_read.P1", chain, lambda s: s.cache_read(s.get_block("C"), 1, "local")),
    ("cache_read.P2", chain, lambda s: s.cache_read(s.get_block("C"), 0, "register")),
    ("cache_read.P3", with_plain_store, lambda s: s.cache_read(s.get_block("B"), 0, "local")),
    ("cache_read.P4", chain, lambda s: s.cache_read(s.get_block("C"), "B", "local", [s.get_block("B")])),
    ("cache_read.P5", matmul_relu, updated(lambda s: s.cache_read(s.get_block("D"), "C", "local"))),
    ("cache_read.P6", looked_up, lambda s: s.cache_read(s.get_block("C"), "B", "local")),
    ("cache_write.P1", chain, lambda s: s.cache_write(s.get_block("C"), "D", "local")),
    ("cache_write.P2", chain, lambda s: s.cache_write(s.get_block("C"), 0, "")),
    ("cache_write.P3", with_plain_store, lambda s: s.cache_write(s.get_block("B"), 0, "local")),
    ("cache_write.P4", read_early, lambda s: s.cache_write(s.get_block("C"), 0, "local")),
    ("cache_write.P5", matmul_relu, updated(lambda s: s.cache_write(s.get_block("C_update"), 0, "local"))),
    ("cache_write.P6", scatter, lambda s: s.cache_write(s.get_block("C"), 0, "local")),
    ("cache_write.P7", partial, lambda s: s.cache_write(s.get_block("C"), 0, "local", [s.get_block("D")])),
    ("compute_inline.P1", with_plain_store, lambda s: s.compute_inline("B")),
    ("compute_inline.P2", matmul_relu, lambda s: s.compute_inline("C")),
    ("compute_inline.P2", effects, lambda s: s.compute_inline("B")),
    ("compute_inline.P3", chain, lambda s: s.compute_inline("D")),
    ("compute_inline.P4", transposed_tiles, lambda s: s.compute_inline("B")),
    ("compute_inline.P5", overwritten, lambda s: s.compute_inline("B")),
    ("compute_inline.P5", left_over, lambda s: s.compute_inline("B")),
    ("compute_inline.P6", unused, lambda s: s.compute_inline("B")),
    ("compute_inline.P6", in_vectors, lambda s: s.compute_inline("B")),
    ("compute_inline.P6", compared, lambda s: s.compute_inline("B")),
    ("compute_inline.P7", tiled, lambda s: s.compute_inline("C")),
    ("reverse_compute_inline.P1", with_plain_store, lambda s: s.reverse_compute_inline("C")),
    ("reverse_compute_inline.P2", row_sums, lambda s: s.reverse_compute_inline("C")),
    ("reverse_compute_inline.P3", chain, lambda s: s.reverse_compute_inline("C")),
    ("reverse_compute_inline.P3", matmul_relu, lambda s: s.reverse_compute_inline("D")),
    ("reverse_compute_inline.P3", compared, lambda s: s.reverse_compute_inline("C")),
    ("reverse_compute_inline.P4", transposed_tiles, lambda s: s.reverse_compute_inline("C")),
    ("reverse_compute_inline.P5", read_early, lambda s: s.reverse_compute_inline("C")),
    ("reverse_compute_inline.P6", scatter, lambda s: s.reverse_compute_inline("C")),
    ("reverse_compute_inline.P7", prefix_sums, lambda s: s.reverse_compute_inline("C")),
    ("decompose_reduction.P1", chain, decompose("C", 0)),
    ("decompose_reduction.P2", matmul_relu, lambda s: s.decompose_reduction("C", s.get_loops("D")[0])),
    ("decompose_reduction.P3", matmul_relu, lambda s: (s.reorder(*s.get_loops("C")[::-1]), decompose("C", 1)(s))),
    ("decompose_reduction.P4", shared_row, decompose("B", 0)),
    ("decompose_reduction.P5", late, decompose("C", 1)),
    ("decompose_reduction.P6", neighbour, decompose("C", 0)),
    ("decompose_reduction.P7", private_tiles, decompose("C", 1)),
    ("decompose_reduction.P8", matmul_relu, lambda s: (bind_innermost(s, "C"), decompose("C", 2)(s))),
]  # fmt: skip


@pytest.mark.parametrize(("rule", "func", "act"), CASES, ids=[f"{i}-{rule}" for i, (rule, _, _) in enumerate(CASES)])
def test_precondition(rule: str, func: Any, act: Callable[[Schedule], Any]) -> None:
    sch = Schedule(func)
    with pytest.raises(ScheduleError, match=rule.replace(".", r"\.")) as caught:
        act(sch)
    assert caught.value.rule == rule


MINE = ("compute_at", "reverse_compute_at", "cache_read", "cache_write", "compute_inline", "reverse_compute_inline",
        "decompose_reduction")  # fmt: skip


@pytest.mark.parametrize("name", MINE)
def test_every_precondition_has_a_case(name: str) -> None:
    tested = {rule.partition(".")[2] for rule, _, _ in CASES if rule.startswith(name + ".")}
    assert tested == set(TABLE[name].preconditions)


def test_a_refusal_is_drawn_and_changes_nothing() -> None:
    sch = Schedule(matmul_relu)
    before = sch.mod["main"]
    with pytest.raises(ScheduleError, match=r"block C is not finished inside loop k .*\n(.*\n)+ *\^+") as caught:
        reverse("D", "C", 2)(sch)
    assert sch.mod["main"] is before
    assert "pick a loop outside the loops of the reduction" in str(caught.value)
