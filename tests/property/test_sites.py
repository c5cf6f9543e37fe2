"""Sites draw valid programs in which their pass finds something to do; arguments overlap where a function allows it."""

from __future__ import annotations

from random import Random

import pytest

from mlcref.interp.run import execute
from mlcref.ir import BlockRealize, PrimFunc, wellformed
from mlcref.lower import PIPELINE
from mlcref.script import from_source
from mlcref.testing.campaign import picker
from mlcref.testing.harness import RIGHT, UNDECIDED, WRONG, Pick, judged
from mlcref.testing.sites import SITES, site
from mlcref.verify.inputs import overlapping

SUM = '''
@T.prim_func
def f(A: T.Buffer((4,), "int32"), B: T.Buffer((4,), "int32"), C: T.Buffer((3,), "int32")):
    for k in range(4):
        B[1] = B[1] + A[k]
    C[0] = 0
'''


@pytest.mark.parametrize("target", sorted(SITES))
def test_a_site_draws_valid_programs(target: str) -> None:
    outcomes = []
    for number in range(30):
        drawn = _picker(number)
        func = drawn(SITES[target])(drawn)
        wellformed(func, "schedulable" if isinstance(func.body, BlockRealize) else "blockless")
        outcomes.append(judged(func, func, {})[0])
    assert set(outcomes) <= {RIGHT, UNDECIDED}
    assert outcomes.count(RIGHT) >= 25  # a race, now and then


@pytest.mark.parametrize("target", [target for target in sorted(SITES) if target.startswith("pass:")])
def test_the_pass_finds_something_to_do(target: str) -> None:
    name, programs = target.removeprefix("pass:"), (drawn(SITES[target])(drawn) for drawn in map(_picker, range(60)))
    assert any(_changed(func, name) for func in programs)


def _picker(number: int) -> Pick:
    return picker(5, number)


def _changed(func: PrimFunc, name: str) -> bool:
    for step in PIPELINE:
        before, func = func, step.run(func)
        if step.name == name:
            return func.script() != before.script()
    raise AssertionError(name)


def test_targets_without_a_site_have_none() -> None:
    assert all(site("pass:none", Random(seed).choice) is None for seed in range(4))


def test_one_array_stands_for_all_buffers_of_its_shape() -> None:
    func = from_source(SUM)
    calls = list(overlapping(func, ("small", "random"), 0))
    assert len(calls) == 2
    for a, b, c in calls:
        assert a is b and c is not a
        before = a.copy()
        result = execute(func, (a, b, c)).slots[0].view.storage.cells
        assert (a == before).all() and result[2:] == before[2:].tolist()
    assert not list(overlapping(func.with_attr("tir.noalias", True), ("small",), 0))


def test_an_order_that_counts_for_one_array_only_is_seen() -> None:
    func, turned = from_source(SUM), from_source(SUM.replace("A[k]", "A[3 - k]"))
    calls = list(overlapping(func, ("small", "random"), 0))
    assert judged(func, turned, {})[0] == RIGHT
    assert judged(func, turned, {"inputs": calls})[0] == WRONG
