"""One property for every primitive, every pass and whole schedules: what comes out means what went in, or the call is
refused. The examples are those of ``mlcref.testing.harness``, drawn by Hypothesis."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, note, settings
from hypothesis import strategies as st

from mlcref.lower import PIPELINE
from mlcref.schedule import TABLE
from mlcref.testing.campaign import draw
from mlcref.testing.harness import RIGHT, WRONG, Example, pass_example, primitive_example, trace_example

outcomes: Counter[tuple[str, str]] = Counter()
checked = settings(
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large]
)


def picker(data: st.DataObject) -> Callable[..., Any]:
    return lambda options, weights=None: data.draw(st.sampled_from(list(options)))


def settle(example: Example, name: str, noted: Callable[[str], Any] = note) -> None:
    noted(str(example))
    outcomes[name, example.outcome] += 1
    assert example.outcome != WRONG, example.what


@pytest.mark.parametrize("name", sorted(TABLE))
def test_primitive_keeps_the_meaning(name: str) -> None:
    @checked
    @given(st.data())
    def check(data: st.DataObject) -> None:
        settle(primitive_example(name, picker(data), force=False), name)

    check()
    seed = 0  # rare sites: the plain draws of the harness are cheap
    while not outcomes[name, RIGHT] and seed < 300:
        settle(draw(f"primitive:{name}", 0, seed), name, noted=print)
        seed += 1
    assert outcomes[name, RIGHT] > 0, f"{name} was never applied: its arguments() finds no legal site"


@pytest.mark.parametrize("name", [step.name for step in PIPELINE])
def test_pass_keeps_the_meaning(name: str) -> None:
    @checked
    @given(st.data())
    def check(data: st.DataObject) -> None:
        settle(pass_example(name, picker(data)), name)

    check()


@checked
@given(st.data())
def test_schedules_keep_the_meaning(data: st.DataObject) -> None:
    settle(trace_example(picker(data)), "trace")
