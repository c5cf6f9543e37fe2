"""Timing: how often a function runs, and what is said about it."""

import pytest

from mlcref.errors import CallError
from mlcref.runtime import BenchmarkResult, time_evaluator


def test_number_and_repeat():
    calls = []
    result = time_evaluator(calls.append, number=3, repeat=4)("x")
    assert calls == ["x"] * (1 + 3 * 4)
    assert len(result.results) == 4
    assert all(seconds > 0 for seconds in result.results)


def test_number_grows_until_a_measurement_is_long_enough():
    calls = []
    result = time_evaluator(lambda: calls.append(1), number=1, repeat=2, min_repeat_ms=5)()
    assert len(calls) > 100
    assert result.mean < 1e-3


def test_statistics():
    result = BenchmarkResult((1.0, 2.0, 6.0))
    assert (result.mean, result.median, result.min, result.max) == (3.0, 2.0, 1.0, 6.0)
    assert result.std == pytest.approx((14 / 3) ** 0.5)


@pytest.mark.parametrize(("seconds", "unit"), [(2.0, "s"), (2e-3, "ms"), (2e-6, "us"), (2e-10, "ns")])
def test_table_chooses_its_unit(seconds, unit):
    assert f"mean ({unit})" in str(BenchmarkResult((seconds,)))


@pytest.mark.parametrize("wrong", [{"number": 0}, {"repeat": 0}, {"min_repeat_ms": -1}])
def test_nothing_to_measure(wrong):
    with pytest.raises(CallError, match=r"time_evaluator: nothing to measure with number=.*\[timing.number\]"):
        time_evaluator(print, **wrong)
