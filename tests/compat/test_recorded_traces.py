"""Traces that TVM's MetaSchedule sampled (``record_traces.py``): read in both forms, written alike, and replayed."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from mlcref.errors import MlcrefError
from mlcref.schedule import Schedule, Trace
from mlcref.script import from_source

RECORDED = json.loads((Path(__file__).parent / "data" / "traces.json").read_text(encoding="utf-8"))
TRACES: list[dict[str, Any]] = RECORDED["traces"]


def test_there_are_as_many_as_promised() -> None:
    assert len(TRACES) >= 40
    assert len({record["operator"] for record in TRACES}) >= 8


def without_maps(form: Any) -> Any:
    """A trace in JSON form without the texts of index maps, which name their nodes as they like."""
    if isinstance(form, list):
        return [without_maps(part) for part in form]
    return "an index map" if isinstance(form, str) and form.startswith('{"root_index"') else form


@pytest.mark.parametrize("number", range(len(TRACES)))
def test_a_trace_of_tvm_is_read_and_written_alike(number: int) -> None:
    record = TRACES[number]
    text, form = Trace.from_python(record["text"]), Trace.from_json(record["json"])
    assert text.script(dialect="tirx") == form.script(dialect="tirx") == record["text"]
    wanted = without_maps(record["json"])
    assert without_maps(text.as_json(dialect="tirx")) == without_maps(form.as_json(dialect="tirx")) == wanted
    assert text.simplified(True).as_python(dialect="tirx") == record["simplified"]


def test_traces_of_tvm_replay() -> None:
    refused: Counter[str] = Counter()
    for record in TRACES[::6]:
        ours = Schedule(from_source(RECORDED["functions"][record["operator"]]))
        try:
            Trace.from_python(record["text"]).apply_to_schedule(ours)
        except MlcrefError as error:
            refused[error.rule or ""] += 1
        else:
            assert ours.trace.script(dialect="tirx") == record["text"]
    assert not refused
