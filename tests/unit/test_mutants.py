"""The mutants: every diff fits the code as it is, and the published table is the one of the committed results."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from mlcref.lower import PIPELINE
from mlcref.schedule import TABLE

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.mutants.page import PAGE, text
from tests.mutants.store import ROOT, Mutant, mutants

MUTANTS = mutants()


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_the_edit_fits_and_is_python(mutant: Mutant) -> None:
    before = (ROOT / mutant.file).read_text(encoding="utf-8")
    after = mutant.applied(before)
    assert after != before
    compile(after, mutant.file, "exec")
    assert mutant.why
    assert mutant.origin


def test_there_are_enough_for_each_target() -> None:
    given = [mutant.target for mutant in MUTANTS]
    assert len(given) >= 150
    for target in [f"primitive:{name}" for name in TABLE] + [f"pass:{step.name}" for step in PIPELINE]:
        assert given.count(target) >= 3, target


def test_the_page_is_up_to_date() -> None:
    assert PAGE.read_text(encoding="utf-8") == text(), "run python -m tests.mutants.page"
