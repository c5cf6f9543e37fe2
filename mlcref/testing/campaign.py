"""Many examples of the harness, counted: ``python -m mlcref.testing.campaign primitives --examples 500 --seed 0``.

A campaign is a list of targets (primitives, passes, traces, compiled kernels) and a number of examples of each. Example
``i`` of seed ``s`` is always the same one. Progress is shown; with ``--out FILE`` what was counted is written after
every batch, and the next call with the same file goes on where it ended.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from random import Random
from typing import Any

from rich.progress import Progress

from mlcref.lower import PIPELINE
from mlcref.schedule import TABLE
from mlcref.testing.arith_example import arith_example
from mlcref.testing.compiled import compiled_examples
from mlcref.testing.harness import REFUSED, RIGHT, WRONG, Example, Pick, pass_example, primitive_example, trace_example

_BATCH = 50
_MOST_FAILURES = 20
_ENOUGH = 200
"""Examples among which every primitive and every pass finds something to do."""


@dataclass
class Tally:
    """What the examples of one target came to."""

    examples: int = 0
    seconds: float = 0.0
    applying: float = 0.0
    outcomes: dict[str, int] = field(default_factory=dict)
    rules: dict[str, int] = field(default_factory=dict)
    forced: dict[str, int] = field(default_factory=dict)
    lengths: dict[str, int] = field(default_factory=dict)
    applied: dict[str, int] = field(default_factory=dict)
    refused: dict[str, int] = field(default_factory=dict)
    lowered: dict[str, int] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)

    def add(self, example: Example, where: str) -> None:
        """Count an example; ``where`` says how to draw it again."""
        self.examples += 1
        self.applying += example.seconds
        _count(self.outcomes, example.outcome)
        if example.outcome == REFUSED:
            _count(self.rules, example.rule)
        if example.forced is not None:
            _count(self.forced, f"{example.rule} {example.forced}")
        done = [step for step in example.steps if step.outcome == "applied"]
        _count(self.lengths, str(len(done)))
        for step in example.steps:
            _count(self.refused if step.outcome == REFUSED else self.applied, step.name)
        if example.lowered:
            _count(self.lowered, example.lowered)
        if example.outcome == WRONG and len(self.failures) < _MOST_FAILURES:
            self.failures.append(f"# {where}\n{example}")


def _count(table: dict[str, int], key: str) -> None:
    table[key] = table.get(key, 0) + 1


def picker(seed: int, number: int) -> Pick:
    """The choices of example ``number`` of a seed."""
    random = Random(f"{seed}/{number}")

    def pick(options: Any, weights: Any = None) -> Any:
        choices = options if isinstance(options, list | tuple | range) else list(options)
        return choices[random.randrange(len(choices))] if weights is None else random.choices(choices, weights)[0]

    return pick


def draw(target: str, seed: int, number: int) -> Example:
    """Example ``number`` of ``seed`` for a target: "primitive:split", "pass:vectorize", "trace", "trace:lower"."""
    kind, _, name = target.partition(":")
    pick = picker(seed, number)
    if kind == "primitive":
        return primitive_example(name, pick)
    if kind == "pass":
        return pass_example(name, pick)
    if kind == "trace":
        return trace_example(pick, lowering=name == "lower")
    if kind == "compiled":
        return compiled_examples([pick])[0]
    if kind == "arith":
        found = arith_example(pick)
        return Example("arith", RIGHT if found is None else WRONG, what=found or "")
    raise ValueError(f"no target {target!r}: primitive:NAME, pass:NAME, trace, trace:lower, compiled or arith")


def first_failure(target: str, seed: int, examples: int, seconds: float = 300.0) -> tuple[int | None, float, str]:
    """The number of the first wrong example of ``seed``, the seconds it took, and what it showed; None without one."""
    start, applied = time.monotonic(), 0
    for number in range(examples):
        example = draw(target, seed, number)
        applied += example.outcome == RIGHT
        if example.outcome == WRONG:
            return number + 1, time.monotonic() - start, example.what.splitlines()[0] if example.what else ""
        if time.monotonic() - start > seconds:
            return None, time.monotonic() - start, f"out of time after {number + 1} examples"
    if not applied and examples >= _ENOUGH:
        return examples, time.monotonic() - start, "it was never applied"
    return None, time.monotonic() - start, ""


def targets(kind: str) -> list[str]:
    """The targets of a kind: "primitives", "passes", "traces" or "compiled"."""
    if kind == "primitives":
        return [f"primitive:{name}" for name in sorted(TABLE)]
    if kind == "passes":
        return [f"pass:{step.name}" for step in PIPELINE]
    return ["compiled"] if kind == "compiled" else ["trace:lower"]


def run_campaign(
    names: Iterable[str],
    seed: int,
    examples: int,
    out: Path | None = None,
    *,
    shown: Callable[[str, int], None] = lambda target, done: None,
) -> dict[str, Tally]:
    """``examples`` of each target, counted; goes on from ``out`` where it holds the same seed."""
    tallies = _read(out, seed)
    for target in names:
        tally = tallies.setdefault(target, Tally())
        while tally.examples < examples:
            start = time.monotonic()
            numbers = range(tally.examples, min(tally.examples + _BATCH, examples))
            if target == "compiled":
                drawn = iter(compiled_examples([picker(seed, number) for number in numbers]))
            else:
                drawn = (draw(target, seed, number) for number in numbers)
            for number, example in zip(numbers, drawn, strict=True):
                tally.add(example, f"draw({target!r}, {seed}, {number})")
            tally.seconds += time.monotonic() - start
            shown(target, tally.examples)
            if out is not None:
                _write(out, seed, tallies)
    return tallies


def _read(out: Path | None, seed: int) -> dict[str, Tally]:
    if out is None or not out.exists():
        return {}
    held = json.loads(out.read_text(encoding="utf-8"))
    return {name: Tally(**tally) for name, tally in held["targets"].items()} if held["seed"] == seed else {}


def _write(out: Path, seed: int, tallies: dict[str, Tally]) -> None:
    held = {"seed": seed, "targets": {name: asdict(tally) for name, tally in tallies.items()}}
    partial = out.with_name(f"{out.name}.{os.getpid()}")
    partial.write_text(json.dumps(held, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    partial.replace(out)


def merged(tallies: Iterable[Tally]) -> Tally:
    """The sum of tallies (of several seeds, say)."""
    total = Tally()
    for tally in tallies:
        total.examples += tally.examples
        total.seconds += tally.seconds
        total.applying += tally.applying
        total.failures += tally.failures
        for name in ("outcomes", "rules", "forced", "lengths", "applied", "refused", "lowered"):
            setattr(total, name, dict(Counter(getattr(total, name)) + Counter(getattr(tally, name))))
    return total


def _summary(name: str, tally: Tally) -> str:
    parts = [f"{tally.outcomes.get(kind, 0)} {kind}" for kind in (RIGHT, REFUSED, "no site", "undecided", WRONG)]
    right = sum(n for key, n in tally.forced.items() if key.endswith(f" {RIGHT}"))
    forced = sum(tally.forced.values())
    return f"{name:34s} {', '.join(parts)}; forced {forced}, right {right}; {tally.seconds:.1f} s"


def main(arguments: list[str] | None = None) -> int:
    """The command; returns 1 when an example was wrong."""
    parser = argparse.ArgumentParser(prog="python -m mlcref.testing.campaign", description=__doc__.splitlines()[0])
    parser.add_argument("kind", choices=["primitives", "passes", "traces", "compiled", "first"])
    parser.add_argument("--only", nargs="*", help="targets, such as primitive:split (default: all of the kind)")
    parser.add_argument("--seed", type=int, nargs="+", default=[0])
    parser.add_argument("--examples", type=int, default=500)
    parser.add_argument("--out", type=Path, help="a JSON file that is written after every batch and continued")
    options = parser.parse_args(arguments)
    if options.kind == "first":
        for target in options.only:
            found = [first_failure(target, seed, options.examples) for seed in options.seed]
            print(json.dumps([target, found]))
        return 0
    names = options.only or targets(options.kind)
    with Progress(disable=not sys.stderr.isatty()) as progress:
        rows = {name: progress.add_task(name, total=options.examples) for name in names}
        tallies = run_campaign(
            names, options.seed[0], options.examples, options.out,
            shown=lambda target, done: progress.update(rows[target], completed=done),
        )  # fmt: skip
    for name in names:
        print(_summary(name, tallies[name]))
    failures = [text for name in names for text in tallies[name].failures]
    print(*failures[:3], sep="\n\n")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
