"""Programs next to a precondition's border: what is provably right is accepted, its neighbour is refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from mlcref.errors import ScheduleError
from mlcref.schedule import Schedule
from mlcref.script import tir as T
from mlcref.verify.equivalent import check_equivalent

Act = Callable[[Schedule], Any]


@T.prim_func
def in_place(A: T.Buffer((6,), "int32")):
    B = T.alloc_buffer((6,), "int32")
    for i in range(6):
        with T.block("B"):
            vi = T.axis.spatial(6, i)
            B[vi] = A[vi] * 2
    for i in range(6):
        with T.block("C"):
            vi = T.axis.spatial(6, i)
            A[vi] = B[vi] + 1


@T.prim_func
def in_place_reversed(A: T.Buffer((6,), "int32")):
    B = T.alloc_buffer((6,), "int32")
    for i in range(6):
        with T.block("B"):
            vi = T.axis.spatial(6, i)
            B[vi] = A[vi] * 2
    for i in range(6):
        with T.block("C"):
            vi = T.axis.spatial(6, i)
            A[vi] = B[5 - vi] + 1


@T.prim_func
def in_place_neighbours(A: T.Buffer((6,), "int32")):
    B = T.alloc_buffer((6,), "int32")
    for i in range(6):
        with T.block("B"):
            vi = T.axis.spatial(6, i)
            B[vi] = A[vi] + A[T.min(vi + 1, 5)]
        with T.block("C"):
            vi = T.axis.spatial(6, i)
            A[vi] = B[vi] + 1


@T.prim_func
def in_place_twice(A: T.Buffer((6,), "int32")):
    B = T.alloc_buffer((6,), "int32")
    for r in range(2):
        for i in range(6):
            with T.block("B"):
                vi = T.axis.spatial(6, i)
                B[vi] = A[vi] * 2
    for i in range(6):
        with T.block("C"):
            vi = T.axis.spatial(6, i)
            A[vi] = B[vi] + 1


@T.prim_func
def replaced_later(A: T.Buffer((6,), "int32"), C: T.Buffer((6,), "int32"), D: T.Buffer((6,), "int32")):
    B = T.alloc_buffer((6,), "int32")
    for i in range(6):
        with T.block("D"):
            vi = T.axis.spatial(6, i)
            D[vi] = C[vi] + 3
    for i in range(6):
        with T.block("B"):
            vi = T.axis.spatial(6, i)
            B[vi] = A[5 - vi] * 2
    for i in range(6):
        with T.block("C"):
            vi = T.axis.spatial(6, i)
            C[vi] = B[vi] + 1
    for i in range(6):
        with T.block("A"):
            vi = T.axis.spatial(6, i)
            A[vi] = D[vi]


@T.prim_func
def replaced_between(A: T.Buffer((6,), "int32"), C: T.Buffer((6,), "int32")):
    B = T.alloc_buffer((6,), "int32")
    for i in range(6):
        with T.block("B"):
            vi = T.axis.spatial(6, i)
            B[vi] = A[vi] * 2
    for i in range(6):
        with T.block("A"):
            vi = T.axis.spatial(6, i)
            A[vi] = C[vi] + 5
    for i in range(6):
        with T.block("C"):
            vi = T.axis.spatial(6, i)
            C[vi] = B[vi] + 1


@T.prim_func
def replaced_in_the_loop(A: T.Buffer((6,), "int32"), C: T.Buffer((6,), "int32")):
    B = T.alloc_buffer((6,), "int32")
    for i in range(6):
        with T.block("B"):
            vi = T.axis.spatial(6, i)
            B[vi] = A[vi] * 2
    for i in range(6):
        with T.block("C"):
            vi = T.axis.spatial(6, i)
            C[vi] = B[vi] + 1
        with T.block("A"):
            vi = T.axis.spatial(6, i)
            A[5 - vi] = C[vi]


@T.prim_func
def running_sums(A: T.Buffer((2,), "int32"), C: T.Buffer((2,), "int32")):
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
        for i in range(2):
            with T.block("C"):
                vi = T.axis.spatial(2, i)
                C[vi] = B[vi] + 1


@T.prim_func
def windows(A: T.Buffer((6,), "int32"), D: T.Buffer((5,), "int32")):
    B = T.alloc_buffer((6,), "int32")
    C = T.alloc_buffer((6,), "int32")
    for i in range(6):
        with T.block("B"):
            vi = T.axis.spatial(6, i)
            B[vi] = A[vi] * 2
    for i in range(5):
        for k in range(2):
            with T.block("C"):
                vi = T.axis.spatial(6, i + k)
                C[vi] = B[vi] + 1
        with T.block("D"):
            vi = T.axis.spatial(5, i)
            D[vi] = C[vi] + C[vi + 1]


@T.prim_func
def windows_with_gaps(A: T.Buffer((6,), "int32"), D: T.Buffer((6,), "int32")):
    B = T.alloc_buffer((6,), "int32")
    for i in range(6):
        with T.block("B"):
            vi = T.axis.spatial(6, i)
            B[vi] = A[vi] * 2
    for i, k in T.grid(2, 2):
        with T.block("C"):
            vi = T.axis.spatial(6, i * 4 + k)
            D[vi] = B[vi] + 1


@T.prim_func
def later_start(A: T.Buffer((6,), "int32"), C: T.Buffer((6,), "int32")):
    B = T.alloc_buffer((6,), "int32")
    for i in range(8):
        with T.block("B"):
            vi = T.axis.spatial(6, i - 1)
            T.where(i >= 1 and i < 7 and i < 8)
            B[vi] = A[vi] // T.max(A[vi], 1)
    for i in range(6):
        with T.block("C"):
            vi = T.axis.spatial(6, i)
            C[vi] = B[vi] + 1


@T.prim_func
def start_too_late(A: T.Buffer((6,), "int32"), C: T.Buffer((6,), "int32")):
    B = T.alloc_buffer((6,), "int32")
    for i in range(8):
        with T.block("B"):
            vi = T.axis.spatial(6, i - 1)
            T.where(i >= 2 and i < 7)
            B[vi] = A[vi] // T.max(A[vi], 1)
    for i in range(6):
        with T.block("C"):
            vi = T.axis.spatial(6, i)
            T.where(i >= 1)
            C[vi] = B[vi] + 1


@T.prim_func
def horner(A: T.Buffer((3, 6), "int32"), C: T.Buffer((3,), "int32")):
    B = T.alloc_buffer((3,), "int32")
    for i, k0, k1 in T.grid(3, 2, 3):
        with T.block("B"):
            vi = T.axis.spatial(3, i)
            vk = T.axis.reduce(6, k0 * 3 + k1)
            with T.init():
                B[vi] = 0
            B[vi] = B[vi] * 2 + A[vi, vk]
    for i in range(3):
        with T.block("C"):
            vi = T.axis.spatial(3, i)
            C[vi] = B[vi]


@T.prim_func
def horner_by_columns(A: T.Buffer((3, 2, 3), "int32"), C: T.Buffer((3,), "int32")):
    B = T.alloc_buffer((3,), "int32")
    for i, k1, k0 in T.grid(3, 3, 2):
        with T.block("B"):
            vi, vk0, vk1 = T.axis.remap("SRR", [i, k0, k1])
            with T.init():
                B[vi] = 0
            B[vi] = B[vi] * 2 + A[vi, vk0, vk1]
    for i in range(3):
        with T.block("C"):
            vi = T.axis.spatial(3, i)
            C[vi] = B[vi]


@T.prim_func
def taken_off(A: T.Buffer((3, 2, 3), "int32"), C: T.Buffer((3,), "int32")):
    for i, k0, k1 in T.grid(3, 2, 3):
        with T.block("C"):
            vi, vk0, vk1 = T.axis.remap("SRR", [i, k0, k1])
            with T.init():
                C[vi] = 7
            C[vi] = C[vi] - A[vi, vk0, vk1]


@T.prim_func
def alternating(A: T.Buffer((3, 2, 3), "int32"), C: T.Buffer((3,), "int32")):
    for i, k0, k1 in T.grid(3, 2, 3):
        with T.block("C"):
            vi, vk0, vk1 = T.axis.remap("SRR", [i, k0, k1])
            with T.init():
                C[vi] = 7
            C[vi] = A[vi, vk0, vk1] - C[vi]


@T.prim_func
def rows_after_each_other(
    A: T.Buffer((5, 4), "int32"), B: T.Buffer((5, 4), "int32"), C: T.Buffer((5, 4), "int32")
):
    for i, j in T.grid(6, 4):
        with T.block("B"):
            vi, vj = T.axis.remap("SS", [i, j])
            T.where(i < 5)
            B[vi, vj] = A[vi, vj] * 2
        with T.block("C"):
            vi = T.axis.spatial(5, i - 1)
            vj = T.axis.spatial(4, j)
            T.where(i >= 1)
            C[vi, vj] = B[vi, vj] + 1


@T.prim_func
def diagonals_after_each_other(
    A: T.Buffer((5, 4), "int32"), B: T.Buffer((5, 4), "int32"), C: T.Buffer((5, 4), "int32")
):
    for i, j in T.grid(6, 4):
        with T.block("B"):
            vi, vj = T.axis.remap("SS", [i, j])
            T.where(i < 5)
            B[vi, vj] = A[vi, vj] * 2
        with T.block("C"):
            vi = T.axis.spatial(5, i - 1)
            vj = T.axis.spatial(4, j)
            T.where(i >= 1)
            C[vi, vj] = B[vi, T.min(vj + 1, 3)] + 1


@T.prim_func
def one_row(A: T.Buffer((1, 4), "int32"), C: T.Buffer((1,), "int32")):
    for i, k in T.grid(1, 4):
        with T.block("C"):
            vi, vk = T.axis.remap("SR", [i, k])
            with T.init():
                C[vi] = 3
            C[vi] = C[vi] + A[vi, vk]


@T.prim_func
def two_rows(A: T.Buffer((2, 4), "int32"), C: T.Buffer((2,), "int32")):
    for i, k in T.grid(2, 4):
        with T.block("C"):
            vi, vk = T.axis.remap("SR", [i, k])
            with T.init():
                C[vi] = 3
            C[vi] = C[vi] + A[vi, vk]


@T.prim_func
def two_outputs(A: T.Buffer((4, 3), "int32"), C: T.Buffer((4,), "int32"), D: T.Buffer((4,), "int32")):
    for i, k in T.grid(4, 3):
        with T.block("C"):
            vi, vk = T.axis.remap("SR", [i, k])
            with T.init():
                C[vi] = 0
                D[vi] = 1
            C[vi] = C[vi] + A[vi, vk]
            D[vi] = D[vi] * A[vi, vk]


@T.prim_func
def sometimes_stored(A: T.Buffer((4, 3), "int32"), C: T.Buffer((4,), "int32")):
    for i, k in T.grid(4, 3):
        with T.block("C"):
            vi, vk = T.axis.remap("SR", [i, k])
            with T.init():
                C[vi] = 0
            if A[vi, vk] > 0:
                C[vi] = C[vi] + A[vi, vk]


@T.prim_func
def parallel_tiles(A: T.Buffer((8,), "int32"), C: T.Buffer((8,), "int32")):
    for i_0 in range(3):
        for i_1 in T.parallel(3):
            with T.block("C"):
                vi = T.axis.spatial(8, i_0 * 3 + i_1)
                T.where(i_0 * 3 + i_1 < 8)
                C[vi] = A[vi] + 1


@T.prim_func
def scaled_afterwards(A: T.Buffer((6,), "int32"), C: T.Buffer((6,), "int32")):
    for i in range(6):
        with T.block("C"):
            vi = T.axis.spatial(6, i)
            C[vi] = A[vi] * 2
    for i in range(6):
        with T.block("D"):
            vi = T.axis.spatial(6, i)
            C[vi] = C[vi] + 1


@T.prim_func
def scaled_and_read(A: T.Buffer((6,), "int32"), C: T.Buffer((6,), "int32"), E: T.Buffer((6,), "int32")):
    for i in range(6):
        with T.block("C"):
            vi = T.axis.spatial(6, i)
            C[vi] = A[vi] * 2
    for i in range(6):
        with T.block("D"):
            vi = T.axis.spatial(6, i)
            C[vi] = C[vi] + 1
    for i in range(6):
        with T.block("E"):
            vi = T.axis.spatial(6, i)
            E[vi] = C[vi]


@T.prim_func
def replaced_at_once(A: T.Buffer((6,), "int32"), C: T.Buffer((6,), "int32")):
    for i in range(6):
        with T.block("C"):
            vi = T.axis.spatial(6, i)
            C[vi] = A[vi] * 2
        with T.block("D"):
            vi = T.axis.spatial(6, i)
            C[vi] = A[vi] + 1


@T.prim_func
def replaced_before_it_is_read(A: T.Buffer((6,), "int32"), C: T.Buffer((6,), "int32"), E: T.Buffer((6,), "int32")):
    for i in range(6):
        with T.block("C"):
            vi = T.axis.spatial(6, i)
            C[vi] = A[vi] * 2
    for i in range(6):
        with T.block("D"):
            vi = T.axis.spatial(6, i)
            C[vi] = A[vi] + 1
    for i in range(6):
        with T.block("E"):
            vi = T.axis.spatial(6, i)
            E[vi] = C[vi]


def written_to(scope: str, *readers: str) -> Act:
    return lambda sch: sch.cache_write("C", 0, scope, list(readers) or None)


def read_from(block: str) -> Act:
    return lambda sch: sch.cache_read(block, "A", "local")


def at(block: str, target: str) -> Act:
    return lambda sch: sch.compute_at(block, sch.get_loops(target)[0])


def swapped(block: str) -> Act:
    return lambda sch: sch.reorder(*sch.get_loops(block)[::-1])


def back(block: str, target: str) -> Act:
    return lambda sch: sch.reverse_compute_at(block, sch.get_loops(target)[0])


def inline(block: str) -> Act:
    return lambda sch: sch.compute_inline(block)


def inline_back(block: str) -> Act:
    return lambda sch: sch.reverse_compute_inline(block)


def fused(sch: Schedule) -> None:
    sch.transform_block_layout("C", lambda i, k: (i * 4 + k,))


def copied(scope: str = "local") -> Act:
    return lambda sch: sch.reindex_cache_write("C", 0, scope, lambda i, *_: (i // 2, i % 2))


ACCEPTED: list[tuple[Any, Act]] = [
    (in_place, at("B", "C")),
    (in_place, inline("B")),
    (in_place, inline_back("C")),
    (in_place, back("C", "B")),
    (replaced_later, back("C", "B")),
    (replaced_later, at("B", "C")),
    (replaced_later, inline("B")),
    (replaced_later, inline_back("C")),
    (running_sums, inline_back("C")),
    (windows, inline_back("C")),
    (later_start, at("B", "C")),
    (later_start, inline("B")),
    (later_start, inline_back("C")),
    (horner, at("B", "C")),
    (rows_after_each_other, swapped("B")),
    (diagonals_after_each_other, lambda sch: sch.reorder(*sch.get_loops("B"))),
    (taken_off, swapped("C")),
    (taken_off, lambda sch: sch.pad_einsum(sch.get_block("C"), [1, 2, 2])),
    (one_row, fused),
    (two_outputs, copied()),
    (parallel_tiles, copied("global")),
    (replaced_later, read_from("B")),
    (in_place_reversed, read_from("B")),
    (scaled_afterwards, written_to("local")),
    (scaled_and_read, written_to("local")),
]
REFUSED: list[tuple[str, Any, Act]] = [
    ("compute_at.P6", in_place_reversed, at("B", "C")),
    ("reverse_compute_at.P6", replaced_between, back("C", "B")),
    ("compute_inline.P5", in_place_reversed, inline("B")),
    ("compute_inline.P5", in_place_neighbours, inline("B")),
    ("reverse_compute_inline.P5", in_place_neighbours, inline_back("C")),
    ("reverse_compute_inline.P5", in_place_twice, inline_back("C")),
    ("compute_at.P6", replaced_between, at("B", "C")),
    ("reverse_compute_inline.P5", replaced_between, inline_back("C")),
    ("compute_at.P6", replaced_in_the_loop, at("B", "C")),
    ("compute_inline.P5", replaced_in_the_loop, inline("B")),
    ("reverse_compute_inline.P4", windows_with_gaps, inline_back("C")),
    ("compute_inline.P4", start_too_late, inline("B")),
    ("compute_at.P7", horner_by_columns, at("B", "C")),
    ("reorder.P6", diagonals_after_each_other, swapped("B")),
    ("reorder.P8", alternating, swapped("C")),
    ("transform_block_layout.P5", two_rows, fused),
    ("reindex_cache_write.P4", sometimes_stored, copied()),
    ("cache_read.P5", in_place_neighbours, read_from("B")),
    ("cache_write.P5", scaled_and_read, written_to("local", "E")),
    ("cache_write.P5", replaced_at_once, written_to("local")),
    ("cache_write.P5", replaced_before_it_is_read, written_to("local")),
]


def _name(value: Any) -> str | None:
    return getattr(value, "name", None) or (value if isinstance(value, str) else None)


@pytest.mark.parametrize(("func", "act"), ACCEPTED, ids=_name)
def test_accepted_and_right(func: Any, act: Act) -> None:
    sch = Schedule(func)
    act(sch)
    verdict = check_equivalent(func, sch.mod["main"])
    assert verdict, str(verdict)


@pytest.mark.parametrize(("rule", "func", "act"), REFUSED, ids=_name)
def test_refused(rule: str, func: Any, act: Act) -> None:
    with pytest.raises(ScheduleError, match=rule.replace(".", r"\.") + r"\]\n(.*\n)* *\^+") as caught:
        act(Schedule(func))
    assert caught.value.rule == rule
