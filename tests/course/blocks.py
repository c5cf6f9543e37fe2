"""Which test runs which block of code of the courses: ``python -m tests.course.blocks`` writes ``docs/course.md``.

The chapters and their blocks are listed in ``mlc_chapters`` and ``d2l_chapters``, the blocks in the order of the page
and counted from 1. A test says what it runs by ``@case_study(3, (22, 28))``, where
``case_study = blocks_of("case_study")``: block 3, and 22 to 28. ``test_blocks.py`` checks that each block is run by a
test or has a reason, and that words in backquotes stand in the file of a test that runs the block.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.course.chapters import REASONS, Chapter, Row
from tests.course.d2l_chapters import D2L
from tests.course.marks import Numbers
from tests.course.mlc_chapters import MLC

FOLDER = Path(__file__).parent
PAGE = FOLDER.parents[1] / "docs" / "course.md"
CHAPTERS = (*MLC, *D2L)


@dataclass(frozen=True)
class Claim:
    """The test ``test`` of ``file`` runs the blocks ``numbers`` of the chapter ``key``."""

    key: str
    numbers: tuple[int, ...]
    file: str
    test: str
    with_torch: bool = False


def claims() -> list[Claim]:
    """What the decorators in the files of this folder say, in order of the files and lines."""
    return [claim for path in sorted(FOLDER.glob("test_*.py")) for claim in _claims_in(path)]


def _claims_in(path: Path) -> Iterator[Claim]:
    keys: dict[str, str] = {}
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Call):
            call, target = node.value, node.targets[0]
            if isinstance(call.func, ast.Name) and call.func.id == "blocks_of" and isinstance(target, ast.Name):
                keys[target.id] = ast.literal_eval(call.args[0])
        if isinstance(node, ast.FunctionDef):
            for mark in node.decorator_list:
                if isinstance(mark, ast.Call) and isinstance(mark.func, ast.Name) and mark.func.id in keys:
                    numbers = tuple(number for arg in mark.args for number in _expanded(ast.literal_eval(arg)))
                    yield Claim(keys[mark.func.id], numbers, path.name, node.name, _needs_torch(node))


def _needs_torch(test: ast.FunctionDef) -> bool:
    return any(isinstance(node, ast.Constant) and node.value == "torch" for node in ast.walk(test))


def _expanded(numbers: Numbers) -> range:
    first, last = numbers if isinstance(numbers, tuple) else (numbers, numbers)
    return range(first, last + 1)


def running(one: Chapter, row: Row, found: list[Claim]) -> list[Claim]:
    """The tests that run blocks of ``row``."""
    return [claim for claim in found if claim.key == one.key and set(claim.numbers) & set(row.numbers)]


def page(chapters: tuple[Chapter, ...], found: list[Claim]) -> str:
    """``docs/course.md``."""
    parts = [_INTRODUCTION, _summary(chapters, found)]
    course = ""
    for one in chapters:
        if one.course != course:
            course = one.course
            parts.append(f"## {course}\n")
        parts.append(_table(one, found))
    return "\n".join(parts)


_INTRODUCTION = """# The courses, block by block

Every block of code of "Machine Learning Compilation" (mlc.ai), and of the chapters *Expressions*, *Common Operators*,
*CPU Schedules* and *GPU Schedules* of "Dive into Deep Learning Compiler" (with the page that it begins with), and the
test in [tests/course](../tests/course) that runs it. What cannot run here as it stands has its reason; where a test
stands beside a reason, it runs what takes its place. Blocks are counted from 1 on each page; fragments and commands
count, too. [examples/tutorial](../examples/tutorial) goes the same way as a tutorial.

Written by `python -m tests.course.blocks` from the decorators of the tests; a test checks that it is up to date.
`python -m tests.course.verbatim FOLDER` runs the courses' own text, from a checkout, with mlcref in TVM's place: every
whole block of the first course that has no reason runs as it stands.
"""


def _summary(chapters: tuple[Chapter, ...], found: list[Claim]) -> str:
    reasons = "".join(f"| {name} | {text} |\n" for name, text in REASONS.items())
    lines = ["| page | blocks | run by a test | with a reason | of these replaced |\n|---|--:|--:|--:|--:|\n"]
    for one in chapters:
        run, excused, both = counted(one, found)
        total = one.rows[-1].last
        lines.append(f"| [{one.title}](#{_anchor(one)}) | {total} | {run} | {excused} | {both} |\n")
    return "".join(lines) + "\n| reason | |\n|---|---|\n" + reasons


def counted(one: Chapter, found: list[Claim]) -> tuple[int, int, int]:
    """How many blocks run as they stand, how many have a reason, and of how many of these a test runs a replacement."""
    excused = {number for row in one.rows if row.reason for number in row.numbers}
    run = {number for claim in found if claim.key == one.key for number in claim.numbers}
    return len(run - excused), len(excused), len(run & excused)


def _anchor(one: Chapter) -> str:
    return re.sub(r"[^a-z0-9 -]", "", one.title.lower()).replace(" ", "-")


def _table(one: Chapter, found: list[Claim]) -> str:
    lines = [f"### {one.title}\n\n| blocks | what | test | reason |\n|--:|---|---|---|\n"]
    for row in one.rows:
        numbers = str(row.first) if row.first == row.last else f"{row.first}–{row.last}"
        tests = ", ".join([_link(claim) for claim in running(one, row, found)])
        lines.append(f"| {numbers} | {row.title} | {tests} | {row.reason or ''} |\n")
    return "".join(lines)


def _link(claim: Claim) -> str:
    return f"[{claim.test}](../tests/course/{claim.file})" + " (with torch)" * claim.with_torch


def main() -> None:
    """Write the page."""
    PAGE.write_text(page(CHAPTERS, claims()), encoding="utf-8")


if __name__ == "__main__":
    main()
