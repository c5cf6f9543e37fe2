"""Every precondition of rfactor, pad_einsum, add_unit_loop and loop_partition refuses with its rule."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from mlcref.errors import MlcrefError, ScheduleError
from mlcref.ir import const
from mlcref.schedule import TABLE, Schedule
from mlcref.schedule.reducers import REDUCERS, register_reducer
from mlcref.script import from_source
from mlcref.script import tir as T

NAMES = ("rfactor", "pad_einsum", "add_unit_loop", "loop_partition")


@T.prim_func
def matmul(A: T.Buffer((8, 8), "float32"), B: T.Buffer((8, 8), "float32"), C: T.Buffer((8, 8), "float32")):
    for i, j, k in T.grid(8, 8, 8):
        with T.block("C"):
            vi, vj, vk = T.axis.remap("SSR", [i, j, k])
            with T.init():
                C[vi, vj] = T.float32(0)
            C[vi, vj] = C[vi, vj] + A[vi, vk] * B[vk, vj]


@T.prim_func
def relu(A: T.Buffer((7, 7), "float32"), D: T.Buffer((7,), "float32")):
    B = T.alloc_buffer((7, 7), "float32")
    for i, j in T.grid(7, 7):
        with T.block("B"):
            vi, vj = T.axis.remap("SS", [i, j])
            B[vi, vj] = T.max(A[vi, vj], T.float32(0))
    for i, j in T.grid(7, 7):
        with T.block("D"):
            vi, vj = T.axis.remap("SR", [i, j])
            with T.init():
                D[vi] = T.float32(0)
            D[vi] = D[vi] + B[vi, vj]


def reduction(update: str, init: str = "C[vi] = T.float32(0)", where: str = "", bind: str = "k") -> Any:
    """A reduction of rows of A into C."""
    guard = f"            T.where({where})\n" if where else ""
    return from_source(f"""
@T.prim_func
def main(A: T.Buffer((8, 8), "float32"), C: T.Buffer((8,), "float32")):
    for i, k in T.grid(8, 8):
        with T.block("C"):
            vi = T.axis.spatial(8, i)
            vk = T.axis.reduce(8, {bind})
{guard}            with T.init():
                {init}
            {update}
""")


ADDS = "C[vi] = C[vi] + A[vi, vk]"
ONE_AT_ONCE = from_source("""
@T.prim_func
def main(A: T.Buffer((1,), "float32"), C: T.Buffer((1,), "float32")):
    for k in T.vectorized(1):
        with T.block("C"):
            vk = T.axis.reduce(1, k)
            with T.init():
                C[0] = T.float32(0)
            C[0] = C[0] + A[vk]
""")
SUM = reduction(ADDS)


def last(sch: Schedule, block: str = "C") -> Any:
    return sch.get_loops(sch.get_block(block))[-1]


def bound(sch: Schedule) -> None:
    k = last(sch)
    sch.bind(k, "threadIdx.x")
    sch.rfactor(k, 0)


def plain(sch: Schedule) -> None:
    sch.rfactor(sch.get_loops(sch.get_block("B"))[1], 0)


def kept_order(sch: Schedule) -> None:
    _, inner = sch.split(last(sch), [2, 4])
    sch.rfactor(inner, 0)


def fused(sch: Schedule) -> None:
    _, j, k = sch.get_loops(sch.get_block("C"))
    sch.rfactor(sch.fuse(j, k), 0)


def produced(sch: Schedule) -> None:
    i, _ = sch.get_loops(sch.get_block("D"))
    sch.compute_at(sch.get_block("B"), i)
    sch.rfactor(last(sch, "D"), 0)


REPEATED = from_source("""
@T.prim_func
def main(A: T.Buffer((8,), "float32"), C: T.Buffer((1,), "float32")):
    for k in range(8):
        for r in range(2):
            with T.block("C"):
                vk = T.axis.reduce(8, k)
                with T.init():
                    C[0] = T.float32(0)
                C[0] = C[0] + A[vk]
""")
SAME_PLACE = from_source("""
@T.prim_func
def main(A: T.Buffer((8, 8), "float32"), C: T.Buffer((1,), "float32")):
    for i, k in T.grid(8, 8):
        with T.block("C"):
            vi, vk = T.axis.remap("SR", [i, k])
            with T.init():
                C[0] = T.float32(0)
            C[0] = C[0] + A[vi, vk]
""")
ARGMAX = from_source("""
@T.prim_func
def main(V: T.Buffer((8,), "int32"), C: T.Buffer((1,), "int32"), M: T.Buffer((1,), "int32")):
    for k in range(8):
        with T.block("C"):
            vk = T.axis.reduce(8, k)
            with T.init():
                C[0] = -1
                M[0] = T.min_value("int32")
            v_c: T.int32 = T.Select(M[0] >= V[vk], C[0], vk)
            v_m: T.int32 = T.Select(M[0] >= V[vk], M[0], V[vk])
            C[0] = v_c
            M[0] = v_m
""")
ROTATED = from_source("""
@T.prim_func
def main(A: T.Buffer((8, 8), "float32"), C: T.Buffer((8,), "float32")):
    for i in T.parallel(8):
        for k in range(8):
            with T.block("C"):
                vi = T.axis.spatial(8, (i + 1) % 8)
                vk = T.axis.reduce(8, k)
                with T.init():
                    C[vi] = T.float32(0)
                C[vi] = C[vi] + A[vi, vk]
""")
SHIFTED = from_source("""
@T.prim_func
def main(A: T.Buffer((8,), "float32"), C: T.Buffer((8,), "float32")):
    for i in range(8):
        with T.block("C"):
            vi = T.axis.spatial(8, i)
            C[vi] = A[(vi + 1) % 8]
""")
DIVIDES = from_source("""
@T.prim_func
def main(A: T.Buffer((7,), "int32"), C: T.Buffer((7,), "int32")):
    for i in range(7):
        with T.block("C"):
            vi = T.axis.spatial(7, i)
            C[vi] = 8 // A[vi]
""")
DIAGONAL = from_source("""
@T.prim_func
def main(A: T.Buffer((7,), "float32"), C: T.Buffer((7, 7), "float32")):
    for i in range(7):
        with T.block("C"):
            vi = T.axis.spatial(7, i)
            C[vi, vi] = A[vi]
""")
INSIDE = from_source("""
@T.prim_func
def main(A: T.Buffer((4, 7), "float32"), C: T.Buffer((4, 7), "float32")):
    for i in range(4):
        with T.block("row"):
            vr = T.axis.spatial(4, i)
            T.reads(A[vr, 0:7])
            T.writes(C[vr, 0:7])
            for j in range(7):
                with T.block("C"):
                    vj = T.axis.spatial(7, j)
                    C[0, vj] = A[vr, vj]
""")


def pad(*padding: int, block: str = "C") -> Callable[[Schedule], None]:
    return lambda sch: sch.pad_einsum(sch.get_block(block), list(padding))


def padded_alone(sch: Schedule) -> None:
    i, _ = sch.get_loops(sch.get_block("D"))
    sch.compute_at(sch.get_block("B"), i)
    sch.pad_einsum(sch.get_block("B"), [4, 1])


def padded_input(sch: Schedule) -> None:
    i, _ = sch.get_loops(sch.get_block("D"))
    sch.compute_at(sch.get_block("B"), i)
    sch.pad_einsum(sch.get_block("D"), [1, 4])


def cut(*factors: int | None, block: str = "C", at: int = 0) -> Callable[[Schedule], None]:
    return lambda sch: sch.loop_partition(sch.get_loops(sch.get_block(block))[at], list(factors)) and None


def cut_parallel(sch: Schedule) -> None:
    i = sch.get_loops(sch.get_block("C"))[0]
    sch.parallel(i)
    sch.loop_partition(i, [2, None])


def cut_shared(sch: Schedule) -> None:
    i, _ = sch.get_loops(sch.get_block("D"))
    sch.compute_at(sch.get_block("B"), i)
    sch.loop_partition(i, [2, None])


def cut_below_reduction(sch: Schedule) -> None:
    i, j, k = sch.get_loops(sch.get_block("C"))
    sch.reorder(k, i, j)
    sch.loop_partition(i, [2, None])


def cut_mixed(sch: Schedule) -> None:
    _, j, k = sch.get_loops(sch.get_block("C"))
    sch.loop_partition(sch.fuse(j, k), [5, None])


def cut_around_threads(sch: Schedule) -> None:
    outer, inner = sch.split(last(sch), [2, 4])
    sch.bind(inner, "threadIdx.x")
    sch.loop_partition(outer, [1, None])


SYMBOLIC = from_source("""
@T.prim_func
def main(a: T.handle, c: T.handle):
    n = T.int32()
    A = T.match_buffer(a, (n,), "float32")
    C = T.match_buffer(c, (n,), "float32")
    for i in range(n):
        with T.block("C"):
            vi = T.axis.spatial(n, i)
            C[vi] = A[vi]
""")
CASES: list[tuple[str, Any, Callable[[Schedule], Any], str]] = [
    ("rfactor.P1", matmul, bound, "loop k is thread_binding"),
    ("rfactor.P2", relu, plain, "block B has no init"),
    ("rfactor.P3", matmul, lambda s: s.rfactor(s.get_loops(s.get_block("C"))[0], 0), "loop i feeds no reduce"),
    ("rfactor.P3", matmul, fused, "feeds spatial and reduce iterators"),
    ("rfactor.P4", reduction(ADDS, "T.evaluate(0)"), lambda s: s.rfactor(last(s), 0), "more than"),
    ("rfactor.P5", reduction("C[vi] = C[vi] - A[vi, vk]"), lambda s: s.rfactor(last(s), 0), "no known reducer"),
    ("rfactor.P5", ARGMAX, kept_order, "keeps the first of equal values"),
    ("rfactor.P6", SUM, lambda s: s.rfactor(last(s), 2), "factor_axis 2 is not between -2 and 1"),
    ("rfactor.P7", REPEATED, lambda s: s.rfactor(s.get_loops(s.get_block("C"))[0], 0), "loop r repeats"),
    ("rfactor.P8", reduction(ADDS, bind="7 - k"), lambda s: s.rfactor(last(s), 0), "does not start"),
    ("rfactor.P8", reduction(ADDS, where="k * k < 30"), lambda s: s.rfactor(last(s), 0), "late"),
    ("rfactor.P9", SAME_PLACE, lambda s: s.rfactor(last(s), 0), "write the same element"),
    ("rfactor.P10", relu, produced, "block B writes B under loop i"),
    ("rfactor.P11", ROTATED, lambda s: s.rfactor(last(s), 0), "iterations of i would all write C_rf"),
    ("pad_einsum.P1", matmul, pad(4, 4), "not one positive number for each of 3"),
    ("pad_einsum.P1", matmul, pad(4, 0, 4), "not one positive number"),
    ("pad_einsum.P2", matmul, pad(block="root"), "the root block has no scope"),
    ("pad_einsum.P3", SHIFTED, pad(3), "more than one place, or not at iterators"),
    ("pad_einsum.P4", relu, padded_alone, "loop i is not for iterator vi of block B alone"),
    ("pad_einsum.P4", ONE_AT_ONCE, pad(2), "more than one iteration of loop k would run at once"),
    ("pad_einsum.P5", DIVIDES, pad(4), "may mean nothing for zeros"),
    ("pad_einsum.P5", reduction("C[vi] = T.max(C[vi], A[vi, vk])"), pad(1, 3), "change the max"),
    ("pad_einsum.P5", reduction("C[vi] = C[vi] + T.exp(A[vi, vk])"), pad(1, 3), "change the sum"),
    ("pad_einsum.P6", SAME_PLACE, pad(3, 1), "vi does not index all outputs"),
    ("pad_einsum.P6", DIAGONAL, pad(4), "one iterator in two dimensions"),
    ("pad_einsum.P7", relu, padded_input, "block B uses B in the same loops"),
    ("pad_einsum.P8", INSIDE, pad(4), "block row around it does not use all of"),
    ("add_unit_loop.P1", matmul, lambda s: s.add_unit_loop(s.get_block("root")), "no place around the root block"),
    ("loop_partition.P1", matmul, cut_parallel, "loop i is parallel"),
    ("loop_partition.P2", SYMBOLIC, cut(2, None), "the range of loop i is no constant"),
    ("loop_partition.P3", matmul, cut(None, None, 1), "more than one factor"),
    ("loop_partition.P4", matmul, cut(0, None), "not positive"),
    ("loop_partition.P4", matmul, cut(None), "not positive"),
    ("loop_partition.P5", matmul, cut(4, 5), "too many for the 8 iterations"),
    ("loop_partition.P5", matmul, cut(4, 4, None), "too many for the 8 iterations"),
    ("loop_partition.P6", relu, cut_shared, "more than loops around one block"),
    ("loop_partition.P7", matmul, cut_below_reduction, "loop k above belongs to the reduction"),
    ("loop_partition.P7", matmul, cut_mixed, "feeds spatial and reduce iterators"),
    ("loop_partition.P7", SUM, cut_around_threads, "reduce together from the init"),
]


@pytest.mark.parametrize(("rule", "program", "act", "text"), CASES, ids=[f"{c[0]}-{i}" for i, c in enumerate(CASES)])
def test_refused(rule: str, program: Any, act: Callable[[Schedule], Any], text: str) -> None:
    sch = Schedule(program)
    with pytest.raises(ScheduleError, match=text) as caught:
        act(sch)
    assert caught.value.rule == rule


def test_every_precondition_has_a_test() -> None:
    wanted = {f"{name}.{number}" for name in NAMES for number in TABLE[name].preconditions}
    assert wanted == {case[0] for case in CASES}


@pytest.mark.parametrize(
    ("combine", "start", "law"),
    [
        (lambda x, y: [x[0] + y[0]], 1, "has another identity"),
        (lambda x, y: [x[0] + y[0] + x[0] * y[0] * (x[0] - y[0])], 0, "is not commutative"),
        (lambda x, y: [x[0] + y[0] + x[0] * y[0] * 2 + x[0] * x[0] * y[0] * y[0]], 0, "is not associative"),
    ],
)
def test_a_reducer_keeps_the_laws(combine: Any, start: int, law: str) -> None:
    known = list(REDUCERS)
    with pytest.raises(MlcrefError, match=law):
        register_reducer(1, combine, lambda dtypes: [const(start, dtypes[0])])
    assert known == REDUCERS
