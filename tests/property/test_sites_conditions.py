"""The sites of conditions, starts and vectors: programs that mean something, right and wrong situations in each."""

from collections.abc import Callable

import pytest

from mlcref.errors import ScheduleError
from mlcref.ir import IfThenElse, PrimFunc, Ramp, any_node, structural_equal, wellformed
from mlcref.lower import PIPELINE
from mlcref.schedule import Schedule
from mlcref.testing.campaign import picker
from mlcref.testing.harness import RIGHT, judged
from mlcref.testing.sites.conditions import (
    bound_blocks,
    conditions_on_sums,
    unrolled_loops,
    vector_reduction,
    vectorized_loops,
)

Site = Callable[..., PrimFunc]
SITES = (bound_blocks, conditions_on_sums, unrolled_loops, vector_reduction, vectorized_loops)
PROGRAMS = 40


def lowered(func: PrimFunc, last: str) -> tuple[PrimFunc, PrimFunc]:
    """Before and after the pass ``last``."""
    before = func
    for step in PIPELINE:
        before, func = func, step.run(func)
        if step.name == last:
            break
    return before, func


@pytest.mark.parametrize("site", SITES, ids=lambda site: site.__name__)
def test_the_programs_are_wellformed_and_defined_on_every_input(site: Site) -> None:
    for number in range(PROGRAMS):
        func = site(picker(0, number))
        wellformed(func, "schedulable" if site is bound_blocks else "blockless")
        assert judged(func, func, {}) == (RIGHT, "")


@pytest.mark.parametrize(
    ("site", "name"),
    [(conditions_on_sums, "simplify"), (vectorized_loops, "vectorize"), (unrolled_loops, "unroll"),
     (vector_reduction, "hoist_conditions")],
)  # fmt: skip
def test_the_pass_has_something_to_do_in_some_of_them(site: Site, name: str) -> None:
    pairs = [lowered(site(picker(1, number)), name) for number in range(PROGRAMS)]
    assert sum(not structural_equal(before, after) for before, after in pairs) >= PROGRAMS // 8


def test_some_conditions_stay_in_their_loops_over_vectors() -> None:
    pairs = [lowered(vector_reduction(picker(2, number)), "hoist_conditions") for number in range(PROGRAMS)]
    kept = [before for before, after in pairs if structural_equal(before, after)]
    assert any(any_node(func.body, Ramp) and any_node(func.body, IfThenElse) for func in kept)


def test_bindings_that_tell_iterations_apart_and_others() -> None:
    accepted = set()
    for number in range(PROGRAMS):
        schedule = Schedule(bound_blocks(picker(3, number)))
        try:
            schedule.vectorize(schedule.get_loops("B")[-1])
            accepted.add(True)
        except ScheduleError:
            accepted.add(False)
    assert accepted == {True, False}
