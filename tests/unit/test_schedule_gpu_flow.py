"""A GPU schedule in the usual order: threads are bound first, copies in their memory are moved under them afterwards.
The program means the same after every step."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from mlcref.ir import PrimFunc
from mlcref.schedule import Schedule
from mlcref.script import tir as T
from mlcref.verify import check_equivalent


@T.prim_func
def matmul(A: T.Buffer((8, 8), "float32"), B: T.Buffer((8, 8), "float32"), C: T.Buffer((8, 8), "float32")):
    for i, j, k in T.grid(8, 8, 8):
        with T.block("C"):
            vi, vj, vk = T.axis.remap("SSR", [i, j, k])
            with T.init():
                C[vi, vj] = T.float32(0)
            C[vi, vj] = C[vi, vj] + A[vi, vk] * B[vk, vj]


def steps(sch: Schedule) -> list[Callable[[], Any]]:
    """One call per instruction; each looks its handles up when it runs."""

    def tile() -> None:
        i, j, k = sch.get_loops("C")
        i0, i1 = sch.split(i, [None, 4])
        j0, j1 = sch.split(j, [None, 4])
        sch.reorder(i0, j0, i1, j1, k)

    def fetch() -> None:
        ax0, ax1 = sch.get_loops("A_shared")[-2:]
        fused = sch.fuse(ax0, ax1)
        sch.bind(sch.split(fused, [None, 4])[1], "threadIdx.x")

    return [
        tile,
        lambda: sch.bind(sch.get_loops("C")[0], "blockIdx.y"),
        lambda: sch.bind(sch.get_loops("C")[1], "blockIdx.x"),
        lambda: sch.bind(sch.get_loops("C")[2], "threadIdx.y"),
        lambda: sch.bind(sch.get_loops("C")[3], "threadIdx.x"),
        lambda: sch.cache_write("C", 0, "local"),
        lambda: sch.reverse_compute_at("C_local", sch.get_loops("C")[3]),
        lambda: sch.cache_read("C", 0, "shared"),
        lambda: sch.compute_at("A_shared", sch.get_loops("C")[1]),
        fetch,
    ]


@pytest.mark.parametrize("count", range(1, 11))
def test_every_step_keeps_the_meaning(count: int) -> None:
    sch = Schedule(matmul)
    acts = steps(sch)
    for act in acts[: count - 1]:
        act()
    before = sch.mod["main"]
    acts[count - 1]()
    after = sch.mod["main"]
    assert isinstance(before, PrimFunc)
    assert isinstance(after, PrimFunc)
    verdict = check_equivalent(before, after)
    assert verdict.status == "TESTED", verdict
    assert verdict.detail.endswith("all results equal bit by bit")
