"""The same schedule in TVM and here: same trace, and the same program up to the form of index expressions."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from mlcref.ir import IRModule, first_difference
from mlcref.schedule import Schedule, Trace
from mlcref.script import from_source
from old_names import OldNames, normalised

tvm = pytest.importorskip("tvm", reason="compares with Apache TVM, which is not installed")

PROGRAMS = {
    "matmul": """
@T.prim_func
def main(A: T.Buffer((128, 128), "float32"), B: T.Buffer((128, 128), "float32"), C: T.Buffer((128, 128), "float32")):
    for i, j, k in T.grid(128, 128, 128):
        with T.block("C"):
            vi, vj, vk = T.axis.remap("SSR", [i, j, k])
            with T.init():
                C[vi, vj] = T.float32(0)
            C[vi, vj] = C[vi, vj] + A[vi, vk] * B[vk, vj]
""",
    "mm_relu": """
@T.prim_func
def main(A: T.Buffer((128, 128), "float32"), B: T.Buffer((128, 128), "float32"), C: T.Buffer((128, 128), "float32")):
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
""",
    "stencil": """
@T.prim_func
def main(A: T.Buffer((66, 64), "float32"), C: T.Buffer((64, 64), "float32")):
    B = T.alloc_buffer((66, 64), dtype="float32")
    for i, j in T.grid(66, 64):
        with T.block("B"):
            vi, vj = T.axis.remap("SS", [i, j])
            B[vi, vj] = A[vi, vj] * T.float32(2)
    for i, j in T.grid(64, 64):
        with T.block("C"):
            vi, vj = T.axis.remap("SS", [i, j])
            C[vi, vj] = B[vi, vj] + B[vi + 1, vj] + B[vi + 2, vj]
""",
}


def tile_matmul(sch: Any) -> None:
    block = sch.get_block("C")
    i, j, k = sch.get_loops(block)
    i_0, i_1 = sch.split(i, sch.sample_perfect_tile(i, n=2, decision=[16, 8]))
    j_0, j_1 = sch.split(j, [None, 48])
    sch.reorder(i_0, j_0, k, i_1, j_1)
    sch.parallel(i_0)
    sch.unroll(i_1)
    sch.annotate(i_0, "note", "outer")


def fuse_matmul(sch: Any) -> None:
    i, j, _ = sch.get_loops(sch.get_block("C"))
    fused = sch.fuse(i, j)
    sch.split(fused, [None, 4, 32])


def bind_matmul(sch: Any) -> None:
    i, j, _ = sch.get_loops(sch.get_block("C"))
    sch.bind(i, "blockIdx.x")
    sch.bind(j, "threadIdx.x")


def case_study(sch: Any) -> None:
    block = sch.get_block("Y")
    _, j, k = sch.get_loops(block)
    j_0, j_1 = sch.split(j, factors=[None, 4])
    sch.reorder(j_0, k, j_1)
    sch.vectorize(j_1)
    sch.reverse_compute_at(sch.get_block("C"), j_0)
    sch.decompose_reduction(block, k)


def cache_matmul(sch: Any) -> None:
    block = sch.get_block("C")
    i, j, k = sch.get_loops(block)
    i_0, i_1 = sch.split(i, [None, 8])
    k_0, k_1 = sch.split(k, [None, 16])
    sch.reorder(i_0, k_0, i_1, j, k_1)
    copy = sch.cache_read(block, 0, "shared")
    sch.compute_at(copy, k_0)
    out = sch.cache_write(block, 0, "local")
    sch.reverse_compute_at(out, i_0)


def stencil_at(sch: Any) -> None:
    i, _ = sch.get_loops(sch.get_block("C"))
    i_0, _ = sch.split(i, [None, 8])
    sch.compute_at(sch.get_block("B"), i_0)


def stencil_inline(sch: Any) -> None:
    sch.compute_inline(sch.get_block("B"))


CASES: list[tuple[str, Callable[[Any], None]]] = [
    ("matmul", tile_matmul),
    ("matmul", fuse_matmul),
    ("matmul", bind_matmul),
    ("matmul", cache_matmul),
    ("mm_relu", case_study),
    ("stencil", stencil_at),
    ("stencil", stencil_inline),
]


@pytest.mark.parametrize(("program", "act"), CASES, ids=[f"{p}-{f.__name__}" for p, f in CASES])
def test_same_trace_and_same_program(program: str, act: Callable[[Any], None]) -> None:
    ours = Schedule(from_source(PROGRAMS[program]))
    act(ours)
    theirs = tvm.s_tir.Schedule(tvm.script.from_source(ours_text(program)))
    act(OldNames(theirs))
    mine = [line.replace("get_block", "get_sblock") for line in ours.trace.as_python()]
    assert mine == list(theirs.trace.as_python())
    parsed = from_source(theirs.mod.script())
    difference = first_difference(normalised(ours.mod), normalised(parsed))
    assert difference is None, f"{difference}\n{ours.mod.script()}\n{theirs.mod.script()}"


def ours_text(program: str) -> str:
    """The program as TVM reads it: printed by our printer."""
    text: str = IRModule({"main": from_source(PROGRAMS[program])}).script(dialect="tirx")
    return text


@pytest.mark.parametrize("act", [tile_matmul, cache_matmul], ids=lambda act: act.__name__)
def test_a_trace_of_tvm_in_json_replays_here(act: Callable[[Any], None]) -> None:
    theirs = tvm.s_tir.Schedule(tvm.script.from_source(ours_text("matmul")))
    act(OldNames(theirs))
    ours = Schedule(from_source(PROGRAMS["matmul"]))
    Trace.apply_json_to_schedule(json.loads(json.dumps(theirs.trace.as_json(), default=lambda imm: imm.value)), ours)
    assert ours.trace.as_python()[1:] == list(theirs.trace.as_python())[1:]


@pytest.mark.parametrize("act", [tile_matmul, cache_matmul], ids=lambda act: act.__name__)
def test_a_trace_of_ours_in_json_replays_in_tvm(act: Callable[[Any], None]) -> None:
    ours = Schedule(from_source(PROGRAMS["matmul"]))
    act(ours)
    theirs = tvm.s_tir.Schedule(tvm.script.from_source(ours_text("matmul")))
    insts, decisions = ours.trace.as_json()
    insts[0][0] = "GetSBlock"
    tvm.s_tir.schedule.Trace.apply_json_to_schedule([insts, decisions], theirs)
    assert list(theirs.trace.as_python())[1:] == ours.trace.as_python()[1:]
