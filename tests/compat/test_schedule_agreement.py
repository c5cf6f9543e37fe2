"""Traces that MetaSchedule samples, replayed here: the committed list is as promised, and a part is measured again."""

from __future__ import annotations

import importlib
import json
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent
LINES: list[dict[str, Any]] = json.loads((HERE / "data" / "schedules.json").read_text())["lines"]


def test_the_list_is_as_large_and_as_good_as_promised() -> None:
    counts = Counter(line["status"] for line in LINES)
    assert len(LINES) >= 300
    assert len({line["operator"] for line in LINES}) >= 15
    assert {line["target"] for line in LINES} == {"llvm", "cuda"}
    assert set(counts) <= {"equal", "equivalent", "refused"}, counts
    assert counts["equal"] >= 0.9 * len(LINES)
    assert all(line["cause"] for line in LINES if line["status"] != "equal")


@pytest.mark.parametrize(("name", "target"), [("matmul", "cuda"), ("sum", "llvm"), ("relu", "cuda")])
def test_measured_again(name: str, target: str) -> None:
    pytest.importorskip("tvm", reason="TVM is not installed; it is what this test compares with", exc_type=ImportError)
    if str(HERE) not in sys.path:
        sys.path.insert(0, str(HERE))
    agreement = importlib.import_module("schedule_agreement")
    operator = next(operator for operator in agreement.OPERATORS if operator.name == name)
    theirs = agreement.made_by_tvm(operator, operator.cases[0])
    ours = agreement.from_source(theirs.script())
    for _, schedule in agreement.sampled(theirs, target, 1):
        result = agreement.from_source(schedule.mod.script())["main"]
        status, cause = agreement.replayed(ours, agreement.json_of(schedule.trace), result)
        assert status == "equal", cause
