"""Reductions taken apart: rfactor, then decompose_reduction and parallel loops over the partial results, stay right."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, note
from hypothesis import strategies as st

from mlcref.errors import ScheduleError
from mlcref.ir import PrimFunc, Var, index
from mlcref.schedule import Schedule
from mlcref.script import from_source
from mlcref.verify import check_equivalent

SELECT = {
    "kept": "M[vi] {b}= V[vi, vk]",
    "first": "M[vi] {b} V[vi, vk] or M[vi] == V[vi, vk] and O[vi] < vk",
    "last": "M[vi] {b} V[vi, vk] or M[vi] == V[vi, vk] and O[vi] > vk",
}


def single(update: str, start: str, dtype: str, rows: int, columns: int) -> str:
    """A reduction of a matrix by rows, into a buffer that is read afterwards."""
    return f"""
@T.prim_func
def main(A: T.Buffer(({rows}, {columns}), "{dtype}"), D: T.Buffer(({rows},), "{dtype}")):
    C = T.alloc_buffer(({rows},), "{dtype}")
    for i, k in T.grid({rows}, {columns}):
        with T.block("R"):
            vi, vk = T.axis.remap("SR", [i, k])
            with T.init():
                C[vi] = T.cast({start}, "{dtype}")
            C[vi] = {update}
    for i in range({rows}):
        with T.block("D"):
            vi = T.axis.spatial({rows}, i)
            D[vi] = C[vi] + C[vi]
"""


def pairs(better: str, tie: str, rows: int, columns: int) -> str:
    """Where each row has its largest or smallest element."""
    keeps = SELECT[tie].format(b=better)
    value = keeps if tie == "kept" else f"M[vi] {better} V[vi, vk]"
    return f"""
@T.prim_func
def main(V: T.Buffer(({rows}, {columns}), "int32"), O: T.Buffer(({rows},), "int32"), M: T.Buffer(({rows},), "int32")):
    for i, k in T.grid({rows}, {columns}):
        with T.block("R"):
            vi, vk = T.axis.remap("SR", [i, k])
            with T.init():
                O[vi] = -1
                M[vi] = T.{"min" if better == ">" else "max"}_value("int32")
            v_o: T.int32 = T.Select({keeps}, O[vi], vk)
            v_m: T.int32 = T.Select({value}, M[vi], V[vi, vk])
            O[vi] = v_o
            M[vi] = v_m
"""


def moments(rows: int, columns: int) -> str:
    """Two sums at once, without ``T.let``."""
    return f"""
@T.prim_func
def main(V: T.Buffer(({rows}, {columns}), "int32"), O: T.Buffer(({rows},), "int32"), M: T.Buffer(({rows},), "int32")):
    for i, k in T.grid({rows}, {columns}):
        with T.block("R"):
            vi, vk = T.axis.remap("SR", [i, k])
            with T.init():
                O[vi] = 0
                M[vi] = -5
            O[vi] = O[vi] + V[vi, vk]
            M[vi] = T.max(V[vi, vk] * 2, M[vi])
"""


def draw_program(pick: Any) -> PrimFunc:
    rows, columns = pick([1, 2, 3]), pick([1, 2, 4, 5, 6, 7])
    kind = pick(["sum", "prod", "max", "min", "argmax", "argmin", "moments"])
    if kind in ("argmax", "argmin"):
        return from_source(pairs(">" if kind == "argmax" else "<", pick(list(SELECT)), rows, columns))
    if kind == "moments":
        return from_source(moments(rows, columns))
    update = {
        "sum": pick(["C[vi] + A[vi, vk]", "A[vi, vk] * A[vi, vk] + C[vi]"]),
        "prod": "C[vi] * A[vi, vk]",
        "max": "T.max(C[vi], A[vi, vk])",
        "min": "T.min(A[vi, vk], C[vi])",
    }[kind]
    return from_source(single(update, pick(["0", "1", "-100"]), pick(["int32", "float32"]), rows, columns))


def attempt(act: Any, *arguments: Any) -> Any:
    """The result, None when the call is refused."""
    try:
        return act(*arguments)
    except ScheduleError:
        return None


def factored(sch: Schedule, pick: Any) -> bool:
    """Split and reorder the loops of the reduction, then rfactor one of them."""
    i, *reduced = sch.get_loops(sch.get_block("R"))
    for _ in range(pick([0, 1, 1, 2])):
        at = pick(range(len(reduced)))
        reduced[at : at + 1] = sch.split(reduced[at], pick([[None, 2], [2, None], [None, 3], [4, None]]))
    if pick([False, True]) and len(reduced) > 1:
        attempt(sch.reorder, reduced[0], i)
    partial = attempt(sch.rfactor, pick(reduced), pick([0, 1, -1]))
    if partial is None:
        return False
    for block in (partial, sch.get_block("R")):
        if pick([True, False]) and sch.get(block).init is not None:
            loops = sch.get_loops(block)
            attempt(sch.decompose_reduction, block, pick(loops))
    for loop in sch.get_loops(partial):
        if sch.get(loop).loop_var is factor_of(sch, partial):
            attempt(sch.parallel, loop)
    return True


def factor_of(sch: Schedule, partial: Any) -> Var:
    """The loop that feeds the first iterator of the block of the partial results."""
    var = index(sch.mod["main"]).blocks[sch.get(partial).token].iter_values[0]
    assert isinstance(var, Var)
    return var


@given(st.data())
def test_partial_results_stay_right(data: st.DataObject) -> None:
    def pick(options: Any) -> Any:
        return data.draw(st.sampled_from(list(options)))

    before = draw_program(pick)
    sch = Schedule(before)
    if not factored(sch, pick):
        return
    after = sch.mod["main"]
    note(f"{before!r}\n{sch.trace}\n{after!r}")
    verdict = check_equivalent(before, after, poison=[b.name for b in before.buffers[1:]], trials=8, minimize=False)
    assert verdict.status == "TESTED", verdict


@pytest.mark.parametrize("better", [">", "<"])
def test_pairs_are_decomposed_too(better: str) -> None:
    before = from_source(pairs(better, "first", 3, 6))
    sch = Schedule(before)
    factors = sch.split(sch.get_loops(sch.get_block("R"))[1], [3, None])
    partial = sch.rfactor(factors[1], 1)
    for block in (partial, sch.get_block("R")):
        sch.decompose_reduction(block, sch.get_loops(block)[1])
    assert check_equivalent(before, sch.mod["main"], trials=10).status == "TESTED"


@pytest.mark.parametrize("at", [0, 1])
@pytest.mark.parametrize(("size", "outer"), [(7, 4), (8, 3), (20, 8), (5, 5)])
def test_the_factor_loop_runs_in_parallel(size: int, outer: int, at: int) -> None:
    before = from_source(single("C[vi] + A[vi, vk]", "0", "float32", 3, size))
    sch = Schedule(before)
    factors = sch.split(sch.get_loops(sch.get_block("R"))[1], [outer, None])
    partial = sch.rfactor(factors[at], 0)
    loops = sch.get_loops(partial)
    sch.decompose_reduction(partial, loops[2 - at])
    sch.decompose_reduction(sch.get_block("R"), factors[at])
    sch.parallel(loops[1 + at])
    assert check_equivalent(before, sch.mod["main"], poison=["D"]).status == "TESTED"
