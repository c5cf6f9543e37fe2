"""The published table of memory plans is what the planner does, and keeps the bar."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from bench.memory_plan import BAR, PAGE, legalized


def test_the_page_is_up_to_date():
    text = PAGE.read_text(encoding="utf-8")
    for network in ("ResNet-50", "SqueezeNet 1.1"):
        assert f"| {' | '.join(legalized(network).cells())} |" in text, "run python -m bench.memory_plan --write"


def test_every_plan_is_within_the_bar():
    lines = [line for line in PAGE.read_text(encoding="utf-8").splitlines() if line.startswith("| ")]
    ratios = [float(line.split("|")[at]) for line in lines[2:] for at in (7, 11)]
    assert len(ratios) == 16
    assert max(ratios) <= BAR
