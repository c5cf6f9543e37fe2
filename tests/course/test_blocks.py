"""The table of blocks is true: each block is run by a test or has a reason, and the page says so."""

from __future__ import annotations

import pytest

from tests.course.blocks import CHAPTERS, FOLDER, PAGE, Claim, claims, counted, page, running
from tests.course.chapters import REASONS, Chapter

CLAIMS = claims()
every_chapter = pytest.mark.parametrize("chapter", CHAPTERS, ids=[one.key for one in CHAPTERS])


def run_by_tests(chapter: Chapter) -> set[int]:
    return {number for claim in CLAIMS if claim.key == chapter.key for number in claim.numbers}


@every_chapter
def test_the_blocks_are_counted_from_one(chapter: Chapter) -> None:
    numbers = [number for row in chapter.rows for number in row.numbers]
    assert numbers == list(range(1, len(numbers) + 1))


@every_chapter
def test_each_block_is_run_or_has_a_reason(chapter: Chapter) -> None:
    known = {number for row in chapter.rows for number in row.numbers}
    excused = {number for row in chapter.rows if row.reason for number in row.numbers}
    assert known - excused - run_by_tests(chapter) == set()
    assert run_by_tests(chapter) <= known
    assert {row.reason for row in chapter.rows if row.reason} <= set(REASONS)


@every_chapter
def test_the_code_that_a_title_names_stands_where_it_is_run(chapter: Chapter) -> None:
    texts = {path.name: path.read_text(encoding="utf-8") for path in FOLDER.glob("test_*.py")}
    operators = (FOLDER / "d2l_operators.py").read_text(encoding="utf-8")
    for row in chapter.rows:
        tests = running(chapter, row, CLAIMS)
        said = "".join([texts[claim.file] for claim in tests]) + operators
        missing = [word for word in row.words if tests and word not in said]
        assert missing == [], f"{chapter.key} {row.first}: {missing}"


def test_every_claim_is_about_a_chapter() -> None:
    assert {claim.key for claim in CLAIMS} <= {one.key for one in CHAPTERS}
    assert len({one.key for one in CHAPTERS}) == len(CHAPTERS)
    assert all(claim.test.startswith("test_") for claim in CLAIMS)


def test_a_block_that_no_test_runs_is_seen() -> None:
    chapter = CHAPTERS[0]
    without = [claim for claim in CLAIMS if claim.test != "test_exercise_another_factor"]
    assert counted(chapter, without)[0] == counted(chapter, CLAIMS)[0] - 1
    more = [*CLAIMS, Claim("case_study", (1,), "test_case_study.py", "test_nothing")]
    assert counted(chapter, more)[2] == counted(chapter, CLAIMS)[2] + 1


def test_the_page_is_up_to_date() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(CHAPTERS, CLAIMS), "run python -m tests.course.blocks"
