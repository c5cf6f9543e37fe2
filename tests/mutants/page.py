"""The table of docs/primitives.md: ``python -m tests.mutants.page``.

It brings together the records of the primitives, the error tests, the campaign of the harness (``campaign.json``), the
results over the mutants (``results.json``).
"""

from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

from mlcref.lower import PIPELINE
from mlcref.schedule import TABLE
from tests.mutants.store import HERE, ROOT, mutants

PAGE = ROOT / "docs" / "primitives.md"
CAMPAIGN, RESULTS = HERE / "campaign.json", HERE / "results.json"
JUSTIFIED = HERE / "forced.json"
"""Of preconditions whose forced refusals are right more often than one time in ten: why they stay."""
HEAD = """# Schedule primitives and lowering passes: what was tested

Written by `python -m tests.mutants.page`; do not edit. Every row comes from the record of the primitive and from runs
of the harness (`mlcref.testing.harness`): programs of one to three blocks, up to three instructions before the one
under test, drawn arguments. *Examples* counts applications that were checked by the oracle, *wrong* those that changed
the meaning. A *forced* refusal is a call that a precondition refused, built all the same: where the oracle finds
nothing wrong with it, the precondition was too strict there. *Mutants* are the wrong edits of `tests/mutants` that the
harness killed, of those it was given. Times are means over the applications of the campaign, plan and build together.

"""


def _read(path: Path) -> dict[str, Any]:
    held: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    return held


def error_tests() -> Counter[str]:
    """How many places in tests/errors name each precondition."""
    found: Counter[str] = Counter()
    for path in sorted((ROOT / "tests" / "errors").glob("*.py")):
        found.update(re.findall(r"\b([a-z_]+\.P\d+)\b", path.read_text(encoding="utf-8").replace("\\\\.", ".")))
    return found


def killed(target: str, results: dict[str, Any]) -> str:
    """Killed and given mutants of a target; those that change no program are left out."""
    mine = [m for m in mutants() if m.target == target and not m.equivalent and m.name in results]
    return f"{sum(results.get(m.name, {}).get('status') == 'killed' for m in mine)} of {len(mine)}"


def forced_right(tally: dict[str, Any]) -> str:
    """The forced refusals that were right, of all that could be built and decided."""
    forced = tally.get("forced", {})
    right = sum(n for key, n in forced.items() if key.endswith(" right"))
    total = sum(n for key, n in forced.items() if key.endswith((" right", " wrong")))
    refusals = tally["outcomes"].get("refused", 0)
    return f"{right} of {total} ({100 * right / total:.0f} %)" if total else f"none of {refusals} can be built"


def primitive_rows() -> list[str]:
    campaign, results = _read(CAMPAIGN)["targets"], _read(RESULTS)
    errors = error_tests()
    rows = ["| primitive | preconditions | error tests | examples | refused | wrong | mutants killed | forced refusals "
            "that were right | ms |", "|---|---|---|---|---|---|---|---|---|"]  # fmt: skip
    for name, primitive in sorted(TABLE.items()):
        tally = campaign[f"primitive:{name}"]
        tests = sum(errors[f"{name}.{rule}"] for rule in primitive.preconditions)
        outcomes = tally["outcomes"]
        applied = sum(outcomes.get(kind, 0) for kind in ("right", "wrong", "undecided"))
        rows.append(
            f"| `{name}` | {len(primitive.preconditions)} | {tests} | {outcomes.get('right', 0)} | "
            f"{outcomes.get('refused', 0)} | {outcomes.get('wrong', 0)} | {killed(f'primitive:{name}', results)} | "
            f"{forced_right(tally)} | {1000 * tally['applying'] / max(applied, 1):.2f} |"
        )
    return rows


def pass_rows() -> list[str]:
    campaign, results = _read(CAMPAIGN)["targets"], _read(RESULTS)
    rows = ["| pass | programs checked | left as they were | refused | wrong | mutants killed |",
            "|---|---|---|---|---|---|"]  # fmt: skip
    for step in PIPELINE:
        outcomes = campaign[f"pass:{step.name}"]["outcomes"]
        rows.append(
            f"| `{step.name}` | {outcomes.get('right', 0)} | {outcomes.get('no site', 0)} "
            f"| {outcomes.get('refused', 0)} | {outcomes.get('wrong', 0)} | {killed(f'pass:{step.name}', results)} |"
        )
    return rows


def strict_rows() -> list[str]:
    """Preconditions that are often too strict, with the reason why they stay."""
    reasons = _read(JUSTIFIED)
    rows = ["| precondition | what it asks | forced and right | why it stays |", "|---|---|---|---|"]
    for name, primitive in sorted(TABLE.items()):
        forced = _read(CAMPAIGN)["targets"][f"primitive:{name}"].get("forced", {})
        for rule, text in primitive.preconditions.items():
            right, wrong = (forced.get(f"{name}.{rule} {kind}", 0) for kind in ("right", "wrong"))
            if right and right > (right + wrong) / 10:
                reason = reasons.get(f"{name}.{rule}", "")
                rows.append(f"| `{name}.{rule}` | {text} | {right} of {right + wrong} | {reason} |")
    return rows


def survivors() -> list[str]:
    """Mutants that live: those that change no program, and others."""
    results = _read(RESULTS)
    lines = []
    for mutant in mutants():
        found = results.get(mutant.name)
        if found is None or found["status"] != "killed":
            seeds = 0 if found is None else sum(number is not None for number, _, _ in found["found"])
            state = "not run yet" if found is None else f"{found['status']}, killed on {seeds} seeds"
            lines.append(f"* `{mutant.name}` ({mutant.target}; {state}): {mutant.why}. {mutant.equivalent}".rstrip())
    return lines or ["None."]


def text() -> str:
    """The page."""
    results = _read(RESULTS)
    given = [m for m in mutants() if not m.equivalent and m.name in results]
    dead = [m for m in given if results.get(m.name, {}).get("status") == "killed"]
    found = sorted(number for m in dead for number, _, _ in results[m.name]["found"])
    score = (
        f"Of {len(mutants())} mutants, {len(given)} were run that change the meaning of some program; {len(dead)} of "
        f"them were killed on each of three seeds ({100 * len(dead) / max(len(given), 1):.1f} %), within 500 examples; "
        f"the median took {found[len(found) // 2] if found else 0} examples."
    )
    parts = [HEAD + "## Primitives", "", *primitive_rows(), "",
             "## Preconditions that are often stricter than the oracle", "", *strict_rows(), "",
             "## Passes", "", *pass_rows(), "", "## Mutants", "", score, "",
             "### Not killed", "", *survivors(), ""]  # fmt: skip
    return "\n".join(parts)


def main() -> None:
    """The command."""
    PAGE.write_text(text(), encoding="utf-8")
    print(PAGE)


if __name__ == "__main__":
    main()
