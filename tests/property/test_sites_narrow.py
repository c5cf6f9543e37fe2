"""The sites of narrow elements: programs that mean something, on which the passes do something, and rightly."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from mlcref.ir import PrimFunc, structural_equal, wellformed
from mlcref.lower import PIPELINE
from mlcref.testing.campaign import picker
from mlcref.testing.harness import RIGHT, judged
from mlcref.testing.sites.narrow import private_copies, sums_of_products

STEPS = {step.name: step.run for step in PIPELINE}
PROGRAMS = 60


@pytest.mark.parametrize(
    ("site", "name"), [(private_copies, "widen_copies"), (sums_of_products, "join_sums")],
)  # fmt: skip
def test_the_pass_is_right_on_them_and_changes_many_not_all(site: Callable[..., PrimFunc], name: str) -> None:
    changed = 0
    for number in range(PROGRAMS):
        func = site(picker(0, number))
        wellformed(func, "blockless")
        after = STEPS[name](func)
        wellformed(after, "blockless")
        assert judged(func, after, {}) == (RIGHT, "")
        changed += not structural_equal(func, after)
    assert PROGRAMS // 8 <= changed <= PROGRAMS - 5
