"""The harness reports what a broken transformation does as wrong, and is never broken by it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from mlcref.errors import ScheduleError
from mlcref.ir import For, PrimFunc, Stmt, Var, const, replace_at
from mlcref.schedule import TABLE
from mlcref.testing.campaign import picker
from mlcref.testing.harness import Example, primitive_example


def example(monkeypatch: pytest.MonkeyPatch, **changes: Any) -> Example:
    """An example of ``add_unit_loop`` with a part of its record changed."""
    monkeypatch.setitem(TABLE, "add_unit_loop", replace(TABLE["add_unit_loop"], **changes))
    return primitive_example("add_unit_loop", picker(0, 0))


def test_a_program_that_has_no_text_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    def build(func: PrimFunc, stmt: Stmt) -> Any:
        var = Var("u")
        return replace_at(func, {stmt: For(const(0), var, const(1), "serial", stmt)}), (var,)  # type: ignore[arg-type]

    found = example(monkeypatch, build=build)
    assert found.outcome == "wrong"
    assert "there is no text: AttributeError" in str(found)


def test_a_rule_that_is_no_text_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    def plan(func: PrimFunc, **_: Any) -> Any:
        raise ScheduleError("refused", rule=func)  # type: ignore[arg-type]

    assert example(monkeypatch, plan=plan).outcome == "wrong"
