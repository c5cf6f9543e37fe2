"""The mutants of passes over graphs: every diff fits the code as it is, there are enough, and all were killed."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2]))

from mlcref.testing.graph_harness import SUBJECTS
from tests.mutants.run import GRAPH_RESULTS
from tests.mutants.store import GRAPHS, ROOT, Mutant, mutants

MUTANTS = mutants(GRAPHS)


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_the_edit_fits_and_is_python(mutant: Mutant) -> None:
    before = (ROOT / mutant.file).read_text(encoding="utf-8")
    after = mutant.applied(before)
    assert after != before
    compile(after, mutant.file, "exec")
    assert mutant.why
    assert mutant.origin


def test_there_are_enough_for_each_pass() -> None:
    given = [mutant.target for mutant in MUTANTS]
    for name in [*SUBJECTS, "BindParams"]:
        assert given.count(f"graph:{name}") >= 3, name


def test_all_were_killed() -> None:
    results = json.loads(GRAPH_RESULTS.read_text(encoding="utf-8"))
    assert results.keys() == {mutant.name for mutant in MUTANTS}, "run python -m tests.mutants.run --graphs"
    alive = [name for name, result in results.items() if result["status"] != "killed"]
    assert not alive
