"""The agreement with TVM: the committed list is whole and its page is up to date; a part of it is measured again."""

from __future__ import annotations

import importlib
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent
FOUND = HERE.parents[1] / "examples" / "found_in_tvm"
AGAIN = ("exp", "matmul", "softmax", "argmax", "max_pool2d", "gather", "floor_mod", "concatenate",
         "argsort", "topk")  # fmt: skip
SCRIPTS = sorted(path.stem for path in FOUND.glob("*.py") if path.stem not in ("fuzz", "show", "merge_with_itself"))
ONLY_COMPILED = ("vectorize_allocation",)


def script(folder: Path, name: str) -> Any:
    """The module ``name`` of ``folder``."""
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))
    return importlib.import_module(name)


@pytest.fixture(scope="module")
def agreement() -> Any:
    pytest.importorskip("tvm", reason="TVM is not installed; it is what these tests compare with", exc_type=ImportError)
    return script(HERE, "topi_agreement")


@pytest.fixture(scope="module")
def page() -> Any:
    return script(HERE, "tvm_page")


def measured_again(agreement: Any, name: str, number: int = 0) -> Any:
    operator = next(operator for operator in agreement.OPERATORS if operator.name == name)
    (line,) = agreement.plain(operator, operator.cases[number])
    return line


def test_the_page_is_up_to_date(page: Any) -> None:
    assert page.PAGE.read_text() == page.page(), "run python tests/compat/tvm_page.py"


@pytest.mark.parametrize("part", ["operators", "schedules"])
def test_the_totals_are_those_of_the_lines(page: Any, part: str) -> None:
    measured = page.load("topi.json")
    totals, lines = measured["totals"][part], measured[part]
    counts = Counter(line["status"] for line in lines)
    assert totals["cases"] == len(lines) == sum(counts.values())
    assert {status: totals[status] for status in counts} == counts
    assert all(line.get("cause") for line in lines if line["status"] != "agree")


def test_the_list_is_as_large_as_promised(page: Any) -> None:
    measured = page.load("topi.json")
    lines = measured["operators"] + measured["schedules"]
    agreeing = Counter(line["operator"] for line in measured["operators"] if line["status"] == "agree")
    assert sum(count >= 3 for count in agreeing.values()) >= 60
    assert len({line["operator"] for line in measured["schedules"] if line["status"] == "agree"}) >= 10
    assert sum(line["status"] == "unsupported" for line in lines) <= 0.05 * len(lines)


def test_every_case_of_the_catalogue_is_in_the_list(page: Any, agreement: Any) -> None:
    listed = [(line["operator"], line["arguments"]) for line in page.load("topi.json")["operators"]]
    assert listed == [(op.name, agreement.told(case)) for op in agreement.OPERATORS for case in op.cases]


@pytest.mark.parametrize("name", AGAIN)
def test_operators_agree_again(agreement: Any, name: str) -> None:
    line = measured_again(agreement, name)
    assert (line.status, line.print, line.reference) == ("agree", "equal", ""), line


def test_float16_is_compared_with_the_code_for_float32_where_tvm_has_no_other(agreement: Any) -> None:
    line = measured_again(agreement, "asinh", 1)
    assert (line.status, line.reference) == ("agree", agreement.FLOAT32_CODE), line


def test_a_block_that_is_all_of_a_function_reads_back(agreement: Any) -> None:
    line = measured_again(agreement, "searchsorted")
    assert (line.status, line.print) == ("agree", "equal values"), line


def test_a_wrong_program_disagrees(agreement: Any) -> None:
    """The comparison can fail: the code of a sum against the oracle's difference."""
    of = {operator.name: operator for operator in agreement.OPERATORS}
    case = of["add"].cases[0]
    ours = agreement.from_source(agreement.made_by_tvm(of["subtract"], case).script())
    code = agreement.code_of(agreement.made_by_tvm(of["add"], case))
    _, cause = agreement.compare(ours, code, of["add"], 2, "random")
    assert "here and" in cause


@pytest.mark.filterwarnings("ignore::mlcref.errors.ScriptWarning")  # about what is wrong, too
@pytest.mark.parametrize("name", SCRIPTS)
def test_what_was_found_in_tvm_is_still_there(agreement: Any, name: str) -> None:
    """Each script's schedule is accepted by TVM, and refuted here. Where this fails, TVM has been repaired."""
    found, show = script(FOUND, name), script(FOUND, "show")
    assert show.verdict(found.PROGRAM, found.steps).status == ("TESTED" if name in ONLY_COMPILED else "REFUTED")


@pytest.mark.parametrize("name", ["loop_partition_reduction", "reindex_init", "pad_einsum_max", "vectorize_allocation"])
def test_tvm_computes_wrong_numbers(agreement: Any, name: str) -> None:
    found, show = script(FOUND, name), script(FOUND, "show")
    func = agreement.from_source(found.PROGRAM)
    refuted = show.verdict(found.PROGRAM, found.steps).counterexample
    arguments = refuted.arguments if refuted else show.small_integers(func)
    want = [a.copy() for a in arguments]
    agreement.interpret(func, *want)
    got = show.computed(show.scheduled(found.PROGRAM, found.steps).mod, arguments)
    assert not isinstance(got, str) and not (got == want[-1]).all()


def test_merge_of_a_loop_with_itself_ends_the_process(agreement: Any) -> None:
    assert script(FOUND, "merge_with_itself").crash() != 0


@pytest.mark.filterwarnings("ignore::mlcref.errors.ScriptWarning")
def test_the_fuzzer_repeats_itself(agreement: Any) -> None:
    fuzz = script(FOUND, "fuzz")
    lines = [fuzz.one_seed(3, ["merge"]) for _ in range(2)]
    assert lines[0] == lines[1] and lines[0]["kind"] in ("ok", "unsupported", "value")
