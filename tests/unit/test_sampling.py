"""What a schedule samples: tiles and places, their decisions, and how decisions of other programs are mended."""

from __future__ import annotations

from collections import Counter
from math import prod

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlcref.errors import ScheduleError
from mlcref.ir import structural_equal
from mlcref.schedule import LoopRV, Schedule, Trace
from mlcref.schedule.sampling import compute_locations
from mlcref.script import tir as T
from mlcref.verify import check_equivalent


@T.prim_func
def twice(A: T.Buffer((8, 12), "float32"), C: T.Buffer((8, 12), "float32")):
    B = T.alloc_buffer((8, 12))
    for i, j in T.grid(8, 12):
        with T.block("B"):
            vi, vj = T.axis.remap("SS", [i, j])
            B[vi, vj] = A[vi, vj] * T.float32(2)
    for i, j, u in T.grid(8, 12, 1):
        with T.block("C"):
            vi, vj = T.axis.remap("SS", [i, j])
            C[vi, vj] = B[vi, vj] + T.float32(1)


@T.prim_func
def row_sums(A: T.Buffer((8, 12), "float32"), C: T.Buffer((8,), "float32")):
    B = T.alloc_buffer((8, 12))
    for i, j in T.grid(8, 12):
        with T.block("B"):
            vi, vj = T.axis.remap("SS", [i, j])
            B[vi, vj] = A[vi, vj] * T.float32(2)
    for i, k in T.grid(8, 12):
        with T.block("C"):
            vi, vk = T.axis.remap("SR", [i, k])
            with T.init():
                C[vi] = T.float32(0)
            C[vi] = C[vi] + B[vi, vk]


@T.prim_func
def symbolic(a: T.handle, b: T.handle):
    n = T.int32()
    A = T.match_buffer(a, (n,), "float32")
    B = T.match_buffer(b, (n,), "float32")
    for i in range(n):
        with T.block("B"):
            vi = T.axis.spatial(n, i)
            B[vi] = A[vi] * T.float32(2)


def test_a_tile_of_a_symbolic_extent_leaves_the_first_factor_to_split() -> None:
    sch = Schedule(symbolic)
    (i,) = sch.get_loops("B")
    factors = sch.sample_perfect_tile(i, n=3)
    assert factors[0] is None
    assert [sch.get(factor) for factor in factors[1:]] == [1, 1]
    assert sch.trace.insts[-1].decision == [-1, 1, 1]
    sch.split(i, factors)
    assert sch.trace.as_python()[2:] == [
        "_, v3, v4 = sch.sample_perfect_tile(loop=l1, n=3, max_innermost_factor=16, decision=[-1, 1, 1])".replace(
            "v3, v4", "v3, v4"
        ),
        "l5, l6, l7 = sch.split(loop=l1, factors=[None, v3, v4], preserve_unit_iters=True, disable_predication=False)",
    ]
    again = Schedule(symbolic)
    Trace.from_json(sch.trace.as_json()).apply_to_schedule(again)
    assert structural_equal(again.mod, sch.mod)


@pytest.mark.parametrize(
    ("decision", "mended"), [([5, 5], [1, 12]), ([6, 2], [6, 2]), ([1, 4], [3, 4]), ([12, 0], [1, 12])]
)
def test_a_decision_for_another_extent_is_mended_from_the_inside(decision: list[int], mended: list[int]) -> None:
    sch = Schedule(twice)
    factors = sch.sample_perfect_tile(sch.get_loops("B")[1], n=2, decision=decision)
    assert [sch.get(factor) for factor in factors] == mended
    assert sch.trace.insts[-1].decision == mended


@given(st.integers(0, 99), st.integers(1, 4), st.data())
def test_the_inner_part_of_a_partitioned_tile_is_a_multiple(seed: int, n: int, data: st.DataObject) -> None:
    sch = Schedule(twice, seed=seed)
    position, factor = data.draw(st.integers(0, n - 1)), data.draw(st.sampled_from([1, 2, 3, 4, 6, 12]))
    decision = data.draw(st.none() | st.lists(st.integers(1, 12), min_size=n, max_size=n))
    tile = sch.sample_partitioned_tile(sch.get_loops("B")[1], n, position, factor, decision)
    values = [int(sch.get(v)) for v in tile]  # type: ignore[arg-type]
    assert prod(values) == 12
    assert prod(values[position:]) % factor == 0
    assert sch.trace.insts[-1].decision == values


@pytest.mark.parametrize(
    ("decision", "tile"), [([2, 3, 2], [2, 3, 2]), ([3, 1, 4], [3, 1, 4]), ([12, 1, 1], [3, 4, 1])]
)
def test_a_decision_without_the_factor_puts_it_first_in_the_inner_part(decision: list[int], tile: list[int]) -> None:
    sch = Schedule(twice)
    factor = 2 if decision == [2, 3, 2] else 4
    found = sch.sample_partitioned_tile(sch.get_loops("B")[1], 3, 1, factor, decision)
    assert [sch.get(v) for v in found] == tile


def test_what_is_no_multiple_of_the_inner_factor_is_left_to_split() -> None:
    sch = Schedule(twice)
    tile = sch.sample_partitioned_tile(sch.get_loops("B")[1], 2, 1, 5)
    assert [sch.get(v) for v in tile] == [-1, 1]


def test_places_are_the_inlined_one_the_root_and_loops_without_unit_extent() -> None:
    sch = Schedule(twice)
    block = sch.get_block("B")
    func = sch.mod["main"]
    token = sch.get(block).token  # type: ignore[union-attr]
    assert [decision for decision, _ in compute_locations(func, token)] == [-2, -1, 0, 1]
    token = sch.get(sch.get_block("C")).token  # type: ignore[union-attr]
    assert [decision for decision, _ in compute_locations(func, token)] == [-1]


def test_no_place_is_below_a_reduction() -> None:
    sch = Schedule(row_sums)
    token = sch.get(sch.get_block("B")).token  # type: ignore[union-attr]
    assert [decision for decision, _ in compute_locations(sch.mod["main"], token)] == [-2, -1, 0]


@pytest.mark.parametrize("decision", [-2, -1, 0, 1])
def test_compute_at_takes_every_place(decision: int) -> None:
    sch = Schedule(twice)
    block = sch.get_block("B")
    place = sch.sample_compute_location(block, decision=decision)
    assert isinstance(place, LoopRV)
    sch.compute_at(block, place)
    assert sch.trace.insts[-2].decision == decision
    after = sch.mod["main"]
    assert check_equivalent(twice, after)
    names = [realize.name for realize in map(sch.get, sch.get_child_blocks(sch.get_block("root")))]  # type: ignore[union-attr]
    assert names == (["C"] if decision == -2 else ["B", "C"])
    assert (after is twice) == (decision == -1)
    again = Schedule(twice)
    Trace.from_python(str(sch.trace)).apply_to_schedule(again)
    assert structural_equal(again.mod, sch.mod)


def test_reverse_compute_at_takes_the_root_and_inlined_places() -> None:
    sch = Schedule(twice)
    block = sch.get_block("C")
    place = sch.sample_compute_location(sch.get_block("B"), decision=-2)
    sch.reverse_compute_at(block, place)
    assert check_equivalent(twice, sch.mod["main"])
    assert "alloc_buffer" not in sch.mod.script()


@pytest.mark.parametrize("decision", [(5, 1), (-9, -1), (2, 1)])
def test_a_decision_that_is_no_place_becomes_the_one_before(decision: tuple[int, int]) -> None:
    sch = Schedule(twice)
    sch.sample_compute_location(sch.get_block("B"), decision=decision[0])
    assert sch.trace.insts[-1].decision == decision[1]


def test_all_places_are_sampled() -> None:
    sch = Schedule(twice, seed=0)
    block = sch.get_block("B")
    for _ in range(60):
        sch.sample_compute_location(block)
    counts = Counter(inst.decision for inst in sch.trace.insts[1:])
    assert set(counts) == {-2, -1, 0, 1}


def test_only_moves_take_a_place_that_is_no_loop() -> None:
    sch = Schedule(twice)
    place = sch.sample_compute_location(sch.get_block("B"), decision=-1)
    with pytest.raises(ScheduleError, match=r"no loop but for root.*handle\.P9"):
        sch.get(place)
    with pytest.raises(ScheduleError, match=r"handle\.P[19]"):
        sch.parallel(place)
    with pytest.raises(ScheduleError, match=r"handle\.P9"):
        sch.sample_perfect_tile(place, n=2)
