"""The demo from end to end, on few oracle images and schedules."""

from __future__ import annotations

import json

import numpy as np
import pytest

from mlcref.cli import main
from mlcref.demo.access import access_trace, reordered
from mlcref.demo.model import BIG_LAYER, model, small_layer
from mlcref.demo.search import check_trace, stochastic_schedule
from mlcref.interp import interpret
from mlcref.schedule import Schedule


def test_the_demo_agrees_with_itself(capsys: pytest.CaptureFixture[str]) -> None:
    status = main(["demo", "--json", "--trials", "2", "--oracle-images", "1"])
    result = json.loads(capsys.readouterr().out)
    assert status == 0
    assert result["engines_agree"]
    assert result["verified"]
    assert result["full_size_verdict"].startswith("TESTED")
    by_name = {engine["engine"]: engine for engine in result["engines"]}
    assert by_name["numpy"]["images"] >= 1000
    assert by_name["compiled, scheduled"]["accuracy"] >= 0.87
    assert by_name["compiled, by rules"]["seconds_per_image"] < by_name["compiled, unscheduled"]["seconds_per_image"]
    assert result["instructions_checked"] >= 10


def test_bad_data_is_an_error_with_a_hint(capsys: pytest.CaptureFixture[str], tmp_path: object) -> None:
    assert main(["demo", "--data", str(tmp_path)]) == 2
    assert "t10k" in capsys.readouterr().err


@pytest.mark.parametrize("seed", range(6))
def test_every_sampled_schedule_is_checked_step_by_step(seed: int) -> None:
    sch = stochastic_schedule(Schedule(model()[BIG_LAYER], seed=seed))
    steps = check_trace(sch.trace, small_layer())
    checked = [step for step in steps if step.verdict is not None]
    assert len(checked) == 6
    assert all(step.verdict for step in checked)


def test_the_small_layer_is_the_big_one_in_small() -> None:
    layer = small_layer(3, 5)
    rng = np.random.default_rng(0)
    x, w, b = (rng.integers(-3, 4, shape).astype(np.float32) for shape in ((1, 5), (3, 5), (3,)))
    z = np.empty((1, 3), np.float32)
    interpret(layer, x, w, b, z)
    np.testing.assert_array_equal(z, x @ w.T + b)


def test_a_reorder_changes_the_strides() -> None:
    layer = small_layer(16, 24)
    before = {name: stride for name, _, stride in access_trace(layer)}
    after = {name: stride for name, _, stride in access_trace(reordered(layer))}
    assert before == {"Y": "0", "X": "1", "W": "1"}
    assert after == {"Y": "1", "X": "0", "W": "24"}
