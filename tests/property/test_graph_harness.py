"""Every pass over graphs on generated modules, by the harness of the mutants: the same meaning, and what it is for."""

import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st

from mlcref.testing.graph_harness import SUBJECTS, WRONG, first_failure, graph_example


@pytest.mark.parametrize("name", [*SUBJECTS, "BindParams"])
@given(data=st.data())
@settings(max_examples=12, deadline=None)
def test_passes_keep_the_meaning_and_their_promises(name, data):
    example = graph_example(name, lambda options: options[data.draw(st.integers(0, len(options) - 1))])
    event(example.outcome)
    assert example.outcome != WRONG, example.what


def test_a_seed_gives_the_same_examples():
    number, _, what = first_failure("graph:FoldConstant", 0, 3)
    assert (number, what) == (None, "")
