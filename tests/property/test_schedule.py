"""One property for every primitive: what a record builds means what the program meant, or the record refuses."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, note, settings
from hypothesis import strategies as st

from mlcref.errors import ScheduleError
from mlcref.interp import interpret
from mlcref.ir import PrimFunc, index, wellformed
from mlcref.schedule import TABLE, Primitive
from mlcref.verify.generate import program

applied: Counter[str] = Counter()
PREFIX = (
    "split",
    "fuse",
    "reorder",
    "compute_at",
    "reverse_compute_at",
    "decompose_reduction",
    "cache_read",
    "cache_write",
)


def run(func: PrimFunc, seed: int) -> list[np.ndarray[Any, Any]]:
    rng = np.random.default_rng(seed)
    arrays = [rng.integers(-3, 4, [int(n) for n in b.shape]).astype(b.dtype) for b in func.buffers]
    interpret(func, *arrays, poison=(func.buffers[-1].name,))
    return arrays


def handles(func: PrimFunc) -> set[Any]:
    where = index(func)
    return {*where.loops, *where.blocks}


def attempt(primitive: Primitive, func: PrimFunc, pick: Any) -> tuple[PrimFunc, dict[str, Any], tuple[Any, ...]] | None:
    """Draw arguments and apply; None when there is no place or a precondition refuses."""
    arguments = primitive.arguments(pick, func)
    if arguments is None:
        return None
    rule = None
    try:
        facts = primitive.plan(func, **arguments)
    except ScheduleError as error:
        rule = error.rule or ""
    if rule is not None:
        name, _, number = rule.partition(".")
        listed = name == primitive.name and number in primitive.preconditions
        assert listed or name == "handle", f"{rule} is not listed"
        return None
    new, outputs = primitive.build(func, facts)
    return new, arguments, outputs


@pytest.mark.parametrize("name", sorted(TABLE))
def test_primitive_keeps_the_meaning(name: str) -> None:
    primitive = TABLE[name]

    @settings(suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large])
    @given(st.data())
    def check(data: st.DataObject) -> None:
        def pick(options: Any, weights: Any = None) -> Any:
            return data.draw(st.sampled_from(list(options)))

        func = program(pick, max_blocks=3)
        expected = run(func, 0)
        before = ["annotate"] if name == "unannotate" else [p for p in PREFIX if p in TABLE]
        for _ in range(pick([0, 1, 1, 2])):
            done = attempt(TABLE[pick(before)], func, pick)
            func = func if done is None else done[0]
        done = attempt(primitive, func, pick)
        if done is None:
            return
        new, arguments, outputs = done
        note(f"before:\n{func!r}\n{name}({arguments})\nafter:\n{new!r}")
        wellformed(new)
        assert handles(new) >= set(outputs)
        assert handles(func) - handles(new) == primitive.consumes(func, **arguments) & handles(func)
        for got, want in zip(run(new, 0), expected, strict=True):
            np.testing.assert_array_equal(got, want)
        applied[name] += 1

    check()
    assert applied[name] > 0, f"{name} was never applied: its arguments() finds no legal site"
