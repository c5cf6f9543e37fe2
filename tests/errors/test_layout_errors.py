"""Every precondition of the primitives on layouts, reindexing and storage refuses with its rule."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from mlcref.errors import ScheduleError
from mlcref.ir import Buffer, const
from mlcref.schedule import TABLE, Schedule
from mlcref.script import tir as T
from mlcref.tir import IndexMap


@T.prim_func
def chain(A: T.Buffer((14, 8), "float32"), C: T.Buffer((14, 8), "float32")):
    B = T.alloc_buffer((14, 8), "float32")
    for i, j in T.grid(14, 8):
        with T.block("B"):
            vi, vj = T.axis.remap("SS", [i, j])
            B[vi, vj] = A[vi, vj] * T.float32(2)
    for i, j in T.grid(14, 8):
        with T.block("C"):
            vi, vj = T.axis.remap("SS", [i, j])
            C[vi, vj] = B[vi, vj]


@T.prim_func
def matmul(A: T.Buffer((8, 8), "float32"), B: T.Buffer((8, 8), "float32"), C: T.Buffer((8, 8), "float32")):
    for i, j, k in T.grid(8, 8, 8):
        with T.block("C"):
            vi, vj, vk = T.axis.remap("SSR", [i, j, k])
            with T.init():
                C[vi, vj] = T.float32(0)
            C[vi, vj] = C[vi, vj] + A[vi, vk] * B[vk, vj]


@T.prim_func
def matched(A: T.Buffer((8,), "float32"), C: T.Buffer((8,), "float32")):
    B = T.alloc_buffer((8,), "float32")
    for i in range(2):
        with T.block("B"):
            vi = T.axis.spatial(2, i)
            M = T.match_buffer(B[vi * 4 : vi * 4 + 4], (4,), offset_factor=1)
            for j in range(4):
                with T.block("B_i"):
                    vj = T.axis.spatial(4, j)
                    M[vj] = A[vi * 4 + vj]
    for i in range(8):
        with T.block("C"):
            vi = T.axis.spatial(8, i)
            C[vi] = B[vi]


@T.prim_func
def stencil(A: T.Buffer((9,), "float32"), C: T.Buffer((8,), "float32")):
    for i in range(8):
        with T.block("C"):
            vi = T.axis.spatial(8, i)
            C[vi] = A[vi] + A[vi + 1]


@T.prim_func
def padded(A: T.Buffer((8,), "float32"), C: T.Buffer((8,), "float32")):
    for i in range(8):
        with T.block("C"):
            vi = T.axis.spatial(8, i)
            C[vi] = T.if_then_else(vi > 0, A[vi - 1], T.float32(0))


@T.prim_func
def in_place(A: T.Buffer((8,), "float32"), B: T.Buffer((8,), "float32")):
    for i in range(8):
        with T.block("A"):
            vi = T.axis.spatial(8, i)
            A[vi] = A[vi] + T.float32(1)
    for i in range(8):
        with T.block("B"):
            vi = T.axis.spatial(8, i)
            B[vi] = A[vi]


@T.prim_func
def one_loop(A: T.Buffer((8,), "float32"), C: T.Buffer((8,), "float32")):
    B = T.alloc_buffer((8,), "float32")
    for i in range(8):
        with T.block("B"):
            vi = T.axis.spatial(8, i)
            B[vi] = A[vi]
        with T.block("C"):
            vi = T.axis.spatial(8, i)
            C[vi] = B[vi]


@T.prim_func
def part(A: T.Buffer((8,), "float32"), C: T.Buffer((8,), "float32")):
    for i in range(8):
        with T.block("C"):
            vi = T.axis.spatial(8, i)
            T.where(i < 6)
            C[vi] = A[vi]


@T.prim_func
def kernel(A: T.Buffer((14,), "float32"), C: T.Buffer((2, 14), "float32")):
    for b in T.thread_binding(2, thread="blockIdx.x"):
        with T.block("K"):
            vb = T.axis.spatial(2, b)
            B = T.alloc_buffer((14,), "float32", scope="local")
            D = T.alloc_buffer((14,), "float32", scope="shared")
            for t in T.thread_binding(14, thread="threadIdx.x"):
                with T.block("B"):
                    vt = T.axis.spatial(14, t)
                    B[vt] = A[vt]
                with T.block("D"):
                    vt = T.axis.spatial(14, t)
                    D[vt] = B[vt]
            for u in T.thread_binding(14, thread="threadIdx.x"):
                with T.block("C"):
                    vu = T.axis.spatial(14, u)
                    C[vb, vu] = D[13 - vu]


@T.prim_func
def at_once(A: T.Buffer((2, 8), "float32"), C: T.Buffer((2,), "float32")):
    for k in T.parallel(8):
        for i in range(2):
            with T.block("C"):
                vi, vk = T.axis.remap("SR", [i, k])
                with T.init():
                    C[vi] = T.float32(0)
                C[vi] = C[vi] + A[vi, vk]


@T.prim_func
def triangle(A: T.Buffer((4,), "float32"), C: T.Buffer((4, 4), "float32")):
    for i in range(4):
        for j in range(i + 1):
            with T.block("C"):
                vi = T.axis.spatial(4, i)
                vj = T.axis.spatial(4, j)
                C[vi, vj] = A[vj]


@T.prim_func
def unfinished(A: T.Buffer((4, 8), "float32"), C: T.Buffer((4,), "float32"), D: T.Buffer((8, 4), "float32")):
    for k in range(8):
        for i in range(4):
            with T.block("C"):
                vi, vk = T.axis.remap("SR", [i, k])
                with T.init():
                    C[vi] = T.float32(0)
                C[vi] = C[vi] + A[vi, vk]
        for i in range(4):
            with T.block("D"):
                vk, vi = T.axis.remap("SS", [k, i])
                D[vk, vi] = C[vi]


@T.prim_func
def slanted(A: T.Buffer((8, 8), "float32"), C: T.Buffer((8,), "float32")):
    for i, k in T.grid(8, 8):
        with T.block("C"):
            vi, vk = T.axis.remap("SR", [i, k])
            T.where(i + k < 8)
            with T.init():
                C[vi] = T.float32(0)
            C[vi] = C[vi] + A[vi, vk]


@T.prim_func
def two_places(A: T.Buffer((8,), "float32"), C: T.Buffer((16,), "float32")):
    for i in range(8):
        with T.block("C"):
            vi = T.axis.spatial(8, i)
            C[vi] = A[vi]
            C[vi + 8] = A[vi]


@T.prim_func
def parallel(A: T.Buffer((4, 8), "float32"), C: T.Buffer((4, 8), "float32")):
    for i in T.parallel(4):
        for j in range(8):
            with T.block("C"):
                vi, vj = T.axis.remap("SS", [i, j])
                C[vi, vj] = A[0, vj]


@T.prim_func
def annotated(A: T.Buffer((8,), "float32"), C: T.Buffer((8,), "float32")):
    B = T.alloc_buffer((8,), "float32")
    for i in range(8):
        with T.block("B"):
            vi = T.axis.spatial(8, i)
            T.block_attr({"buffer_dim_align": [1, 2]})
            B[vi] = A[vi]
    for i in T.parallel(8):
        with T.block("C"):
            vi = T.axis.spatial(8, i)
            C[vi] = B[vi]


@T.prim_func
def unit(A: T.Buffer((8,), "float32"), C: T.Buffer((1,), "float32")):
    for i in range(8):
        with T.block("C"):
            vi = T.axis.reduce(8, i)
            T.where(i < 6)
            with T.init():
                C[0] = T.float32(0)
            C[0] = C[0] + A[vi]


@T.prim_func
def horner(A: T.Buffer((4, 6), "float32"), B: T.Buffer((4,), "float32")):
    for i, k in T.grid(4, 6):
        with T.block("B"):
            vi, vk = T.axis.remap("SR", [i, k])
            with T.init():
                B[vi] = T.float32(0)
            B[vi] = B[vi] * T.float32(2) + A[vi, vk]


@T.prim_func
def no_operands(a: T.handle, B: T.Buffer((4,), "float32")):
    n = T.int32()
    A = T.match_buffer(a, (4, n), "float32")
    for i, k in T.grid(4, n):
        with T.block("B"):
            vi, vk = T.axis.remap("SR", [i, k])
            with T.init():
                B[vi] = T.float32(0)
            B[vi] = B[vi] + A[vi, vk]


def tiles(i: Any, j: Any) -> Any:
    return i // 4, j, i % 4


def nan(*_: Any) -> Any:
    return const(float("nan"), "float32")


Case = tuple[str, str, Any, Callable[[Schedule], Any]]
CASES: list[Case] = [
    ("transform_layout.P1", "no access", chain, lambda s: s.transform_layout("B", ("read", 1), tiles)),
    ("transform_layout.P1", "no access", chain, lambda s: s.transform_layout("B", "C", tiles)),
    ("transform_layout.P2", "takes 1 indices, not 2", chain, lambda s: s.transform_layout("B", "B", lambda i: [i])),
    ("transform_layout.P2", "takes 1 indices, not 2", chain,
     lambda s: s.transform_layout("B", "B", IndexMap.from_func(lambda i: [i]))),
    ("transform_layout.P2", "may be negative", chain, lambda s: s.transform_layout("B", "B", lambda i, j: [i - 1, j])),
    ("transform_layout.P2", "AXIS_SEPARATOR", chain,
     lambda s: s.transform_layout("B", "B", lambda i, j: [i, IndexMap.AXIS_SEPARATOR, j])),
    ("transform_layout.P3", "matched by another", matched, lambda s: s.transform_layout("C", "B", lambda i: [7 - i])),
    ("transform_layout.P4", "one to one", chain, lambda s: s.transform_layout("B", "B", lambda i, j: [i % 8, j], 0)),
    ("transform_layout.P5", "more elements", chain, lambda s: s.transform_layout("B", "B", tiles)),
    ("transform_layout.P6", "is int32, but B is float32", chain,
     lambda s: s.transform_layout("B", "B", tiles, lambda i, j, k: i)),
    ("transform_layout.P6", "more than the new indices", chain,
     lambda s: s.transform_layout("B", "B", tiles, lambda i, j, k: Buffer("X", (const(4),))[i])),
    ("transform_layout.P6", "no condition is known", chain,
     lambda s: s.transform_layout("B", "B", lambda i, j: [i * 2, j], 0)),
    ("transform_layout.P7", "cannot be assumed of padding", chain, lambda s: s.transform_layout("B", "A", tiles, nan)),
    ("transform_layout.P7", "different threads", kernel,
     lambda s: s.transform_layout("B", "B", lambda i: [i // 4, i % 4], 0)),
    ("transform_block_layout.P1", "root block", chain, lambda s: s.transform_block_layout("root", list)),
    ("transform_block_layout.P2", "holds more than", one_loop, lambda s: s.transform_block_layout("C", lambda i: [i])),
    ("transform_block_layout.P2", "one loop variable each", chain,
     lambda s: (s.split(s.get_loops("B")[0], [2, 7]), s.transform_block_layout("B", lambda i, j: [j, i]))),
    ("transform_block_layout.P3", "is parallel, annotated", parallel,
     lambda s: s.transform_block_layout("C", lambda i, j: [j, i])),
    ("transform_block_layout.P3", "condition on reduce", unit,
     lambda s: s.transform_block_layout("C", lambda i: [7 - i])),
    ("transform_block_layout.P4", "leaves elements out", chain, lambda s: s.transform_block_layout("B", tiles)),
    ("transform_block_layout.P4", "takes 1 indices", chain, lambda s: s.transform_block_layout("B", lambda i: [i])),
    ("transform_block_layout.P5", "neither spatial nor reduce", matmul,
     lambda s: s.transform_block_layout("C", lambda i, j, k: [i, j * 8 + k])),
    ("transform_block_layout.P6", "in another order", horner,
     lambda s: s.transform_block_layout("B", lambda i, k: [i, 5 - k])),
    ("reindex.P1", "no access", matmul, lambda s: s.reindex("C", ("read", 2))),
    ("reindex.P2", "blocks inside", matched, lambda s: s.reindex("B", ("read", 0))),
    ("reindex.P3", "more than one place", stencil, lambda s: s.reindex("C", ("read", 0))),
    ("reindex.P3", "not in the bounds", padded, lambda s: s.reindex("C", ("read", 0))),
    ("reindex.P4", "also writes", in_place, lambda s: s.reindex("A", ("read", 0))),
    ("reindex.P4", "held before", in_place, lambda s: s.reindex("A", ("write", 0))),
    ("reindex.P5", "goes on where C is used again", unfinished, lambda s: s.reindex("C", ("write", 0))),
    ("reindex.P6", "not known to run for all", part, lambda s: s.reindex("C", ("write", 0))),
    ("reindex.P6", "a reduction has no operands", no_operands, lambda s: s.reindex("B", ("write", 0))),
    ("reindex.P7", "iterations of k would all write", at_once, lambda s: s.reindex("C", ("write", 0))),
    ("reindex_cache_read.P1", "no access", matmul,
     lambda s: s.reindex_cache_read("C", 2, "local", lambda i, j, k: [i, k])),
    ("reindex_cache_read.P2", "root block", chain, lambda s: s.reindex_cache_read("root", 0, "local", list)),
    ("reindex_cache_read.P3", "more than one place", stencil,
     lambda s: s.reindex_cache_read("C", 0, "local", lambda i: [i])),
    ("reindex_cache_read.P4", "also writes", in_place, lambda s: s.reindex_cache_read("A", 0, "local", lambda i: [i])),
    ("reindex_cache_read.P6", "depends on other loops", triangle,
     lambda s: s.reindex_cache_read("C", 0, "local", lambda i, j: [j])),
    ("reindex_cache_read.P7", "different threads", kernel,
     lambda s: s.reindex_cache_read("B", 0, "local", lambda i: i)),
    ("reindex_cache_read.P8", "no storage scope", matmul,
     lambda s: s.reindex_cache_read("C", 0, "moon", lambda i, j, k: [i, k])),
    ("reindex_cache_read.P9", "other iterators than the access", matmul,
     lambda s: s.reindex_cache_read("C", 0, "local", lambda i, j, k: [i, j, k])),
    ("reindex_cache_read.P9", "not known to be one to one", matmul,
     lambda s: s.reindex_cache_read("C", 0, "local", lambda i, j, k: [i + k])),
    ("reindex_cache_write.P1", "no access", matmul,
     lambda s: s.reindex_cache_write("C", 1, "local", lambda i, j, k: [i, j])),
    ("reindex_cache_write.P2", "blocks inside", matched,
     lambda s: s.reindex_cache_write("B", 0, "local", lambda i: [i])),
    ("reindex_cache_write.P4", "held before", in_place,
     lambda s: s.reindex_cache_write("A", 0, "local", lambda i: [i])),
    ("reindex_cache_write.P3", "more than one place", two_places,
     lambda s: s.reindex_cache_write("C", 0, "local", lambda i: [i])),
    ("reindex_cache_write.P5", "goes on where C is used again", unfinished,
     lambda s: s.reindex_cache_write("C", 0, "local", lambda i, k: [i])),
    ("reindex_cache_write.P6", "condition on other loops", slanted,
     lambda s: s.reindex_cache_write("C", 0, "local", lambda i, k: [i])),
    ("reindex_cache_write.P7", "iterations of k would all write", at_once,
     lambda s: s.reindex_cache_write("C", 0, "local", lambda i, k: [i])),
    ("reindex_cache_write.P8", "no storage scope", chain,
     lambda s: s.reindex_cache_write("B", 0, "", lambda i, j: [i, j])),
    ("reindex_cache_write.P9", "may be negative", chain,
     lambda s: s.reindex_cache_write("B", 0, "local", lambda i, j: [i, j - 9])),
    ("set_scope.P1", "no access", chain, lambda s: s.set_scope("B", 1, "shared")),
    ("set_scope.P2", "no storage scope", chain, lambda s: s.set_scope("B", 0, "moon")),
    ("set_scope.P3", "not allocated by a block", chain, lambda s: s.set_scope("C", 0, "shared")),
    ("set_scope.P3", "matched by M", matched, lambda s: s.set_scope("B", 0, "shared")),
    ("set_scope.P4", "different threads", kernel, lambda s: s.set_scope("D", 0, "local")),
    ("storage_align.P1", "no access", chain, lambda s: s.storage_align("B", 1, 0, 32, 0)),
    ("storage_align.P2", "not allocated by a block", chain, lambda s: s.storage_align("C", 0, 0, 32, 0)),
    ("storage_align.P3", "no axis 2", chain, lambda s: s.storage_align("B", 0, 2, 32, 0)),
    ("storage_align.P4", "not positive", chain, lambda s: s.storage_align("B", 0, 0, 0, 0)),
    ("storage_align.P5", "is \\[1, 2\\]", annotated, lambda s: s.storage_align("B", 0, 0, 32, 0)),
]  # fmt: skip


@pytest.mark.parametrize(("rule", "text", "func", "act"), CASES, ids=[f"{c[0]}-{n}" for n, c in enumerate(CASES)])
def test_precondition(rule: str, text: str, func: Any, act: Callable[[Schedule], Any]) -> None:
    sch = Schedule(func)
    with pytest.raises(ScheduleError, match=text) as caught:
        act(sch)
    assert caught.value.rule == rule
    name = rule.partition(".")[0]
    assert name not in [inst.name for inst in sch.trace.insts]


def test_every_precondition_has_a_case() -> None:
    names = {case[0].partition(".")[0] for case in CASES}
    missing = {f"{n}.{p}" for n in names for p in TABLE[n].preconditions} - {case[0] for case in CASES}
    assert not missing
