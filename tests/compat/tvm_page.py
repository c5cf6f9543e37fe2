"""Writes docs/tvm_agreement.md from the committed lists: ``python tests/compat/tvm_page.py``. Needs no TVM."""

from __future__ import annotations

import ast
import json
from collections import Counter
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "tvm_agreement.md"
FOUND = ROOT / "examples" / "found_in_tvm"
LISTS = Path(__file__).parent / "data"
METHODS = ("bits", "bound", "ulps")
HEAD = """
# Agreement with Apache TVM

Written by `tests/compat/tvm_page.py` from `tests/compat/data/`; do not edit.

TVM {tvm} builds operators of its topi as TensorIR functions and prints them; MetaSchedule schedules some of them.
mlcref parses each, the oracle runs it on small integers and on random numbers, and TVM compiles it with LLVM.
Elements that differ in their bits must lie within a bound computed for each of them, or, where the bound knows
nothing (tan, pow and others), within 64 units in the last place. "No reference": TVM does not compile its own
function. Every case of the catalogue (`tests/compat/topi_catalog.py`) is in the list; of each design space at most
eight schedules. The functions of TVM's runtime that it calls (`tvm.contrib.sort.*`) have a meaning of their own here,
in `mlcref/interp/sorting.py`. (`topi.nn.batch_to_space_nd` ends the process, since it leaves out an argument of the
C++ function; that function is called itself.)
"""
RACE = """
`index_put` stores in a parallel loop, so that its result is not determined where an index comes twice: the oracle
refuses it. With indices that differ (`index_put_distinct`) it agrees.
"""
PRINT = """
## Does TVM read our print?

"Equal": `structural_equal` of what TVM printed and of what it read from us. "Equal values": TVM prints what it read
from us as our program again, but float literals are rounded to their type here and kept as float64 there, an
integer of an annotation has another width, or memory that TVM allocates at a statement is the block's. "Differs": TVM
reads our print, but as a function of another form.
"""
REPLAYED = """
## Do MetaSchedule's traces replay here?

Every sketch of MetaSchedule's default spaces for the CPU and for CUDA, sampled with six seeds and rewritten by its
postprocessors (`tests/compat/schedule_agreement.py`). The trace, as TVM writes it in JSON, is applied to our schedule
of the same function. "Equal": the same structure as TVM's result, with index expressions simplified on both sides and
loops renamed. "Equivalent": another structure, and the oracle finds no difference. "Refused": a precondition of ours.
"""
FUZZED = """
`examples/found_in_tvm/fuzz.py` ran for {minutes} minutes over {seeds} seeds; TVM applied {applied} primitives and
refused {refused}. Results by kind (a rule of the oracle, or a wrong value): {kinds}. The list is
`tests/compat/data/fuzz.json`. (A "value" may also be a `transform_layout` of a parameter, which changes what the
caller passes.) Many wrong results have one cause; these scripts, minimised by hand, show one each:
"""


def load(name: str) -> Any:
    return json.loads((LISTS / name).read_text())


def causes(lines: list[dict[str, str]], status: str) -> list[str]:
    """One row per operator and cause."""
    found: Counter[tuple[str, str]] = Counter()
    for line in lines:
        if line["status"] == status:
            found[line["operator"], line["cause"].splitlines()[0]] += 1
    return [f"| {name} | {count} | {cause.replace('|', ' ')} |" for (name, cause), count in sorted(found.items())]


def table(lines: list[dict[str, str]], status: str, title: str) -> list[str]:
    rows = causes(lines, status)
    return ["", title, "", "| operator | cases | cause |", "|---|---|---|", *rows] if rows else []


def row(what: str, totals: dict[str, int]) -> str:
    columns = ("operators", "cases", "agree", "disagree", "unsupported", "no reference")
    return f"| {what} | " + " | ".join(str(totals.get(column, 0)) for column in columns) + " |"


def printed(lines: list[dict[str, str]]) -> list[str]:
    answers = Counter(line.get("print", "not reached") for line in lines)
    return [f"| {answer.replace('|', ' ')} | {count} |" for answer, count in answers.most_common()]


def references(lines: list[dict[str, str]]) -> list[str]:
    """Which cases were compared with something else than TVM's code of the function."""
    found: dict[str, list[str]] = {}
    for line in lines:
        if "reference" in line:
            found.setdefault(line["reference"], []).append(line["operator"])
    texts = [f"{text}: {', '.join(names)} ({len(names)} cases)." for text, names in found.items()]
    return ["", "Compared with something else than TVM's code of the same function, where it has none:", *texts]


def scripts() -> list[str]:
    """One row per script: its name and the first line of its docstring."""
    rows = []
    for path in sorted(FOUND.glob("*.py")):
        if path.stem not in ("fuzz", "show"):
            doc = ast.get_docstring(ast.parse(path.read_text())) or ""
            rows.append(f"| [{path.stem}](../examples/found_in_tvm/{path.name}) | {doc.splitlines()[0]} |")
    return rows


def fuzzed() -> list[str]:
    log = load("fuzz.json")
    kinds = ", ".join(f"{count} {kind}" for kind, count in log["kinds"].items())
    return [
        FUZZED.format(**{**log, "kinds": kinds}).strip(),
        "", "| script | what goes wrong |", "|---|---|", *scripts(),
    ]  # fmt: skip


def replayed() -> list[str]:
    """The section on traces that MetaSchedule samples and mlcref replays."""
    measured = load("schedules.json")
    lines, targets = measured["lines"], sorted({line["target"] for line in measured["lines"]})
    columns = ("equal", "equivalent", "undecided", "refused", "differs", "fails")
    rows = []
    for name in sorted({line["operator"] for line in lines}):
        for target in targets:
            counts = Counter(x["status"] for x in lines if (x["operator"], x["target"]) == (name, target))
            if counts:
                rows.append(f"| {name} | {target} | {sum(counts.values())} | "
                            + " | ".join(str(counts.get(column, 0)) for column in columns) + " |")  # fmt: skip
    totals = Counter(line["status"] for line in lines)
    why = Counter((line["operator"], line["target"], line["status"], line["cause"].splitlines()[0])
                  for line in lines if line["status"] != "equal")  # fmt: skip
    causes = [f"| {o} | {t} | {s} | {n} | {c.replace('|', ' ')} |" for (o, t, s, c), n in sorted(why.items())]
    return [
        REPLAYED.strip(), "",
        f"{len(lines)} traces of {len({line['operator'] for line in lines})} operators: "
        + ", ".join(f"{totals[column]} {column}" for column in columns if totals[column]) + ".", "",
        "| operator | space | traces | " + " | ".join(columns) + " |", "|---|---|---|" + "---|" * len(columns), *rows,
        "", "Not equal:", "",
        "| operator | space | status | traces | first difference, or the rule |", "|---|---|---|---|---|", *causes, "",
    ]  # fmt: skip


def page() -> str:
    """The text of the page."""
    measured = load("topi.json")
    totals, operators, schedules = measured["totals"], measured["operators"], measured["schedules"]
    by = [f"{totals['operators'].get(f'by {m}', 0)} + {totals['schedules'].get(f'by {m}', 0)} by {m}" for m in METHODS]
    lines = [
        HEAD.format(tvm=totals["tvm"]).strip(), "",
        "| | operators | cases | agree | disagree | unsupported | no reference |", "|---|---|---|---|---|---|---|",
        row("operators", totals["operators"]), row("sampled schedules", totals["schedules"]), "",
        f"The agreeing cases (operators + schedules): {', '.join(by)}.",
        *references(operators + schedules),
        *table(operators + schedules, "disagree", "Disagree:"), *RACE.rstrip().splitlines(),
        *table(operators + schedules, "unsupported", "Unsupported:"),
        *table(operators + schedules, "no reference", "No reference:"), "",
        PRINT.strip(), "", "| answer | cases |", "|---|---|", *printed(operators + schedules), "", *replayed(),
        "## Found in TVM's schedule primitives", "", *fuzzed(),
    ]  # fmt: skip
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    PAGE.write_text(page())
