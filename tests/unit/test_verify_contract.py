"""What other projects build on: JSON, exit codes, seeds, budgets, small counterexamples, bisection, findings."""

from __future__ import annotations

import json
import re
import time
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mlcref.interp.rules import MEANINGLESS, RULES, SIGNATURE
from mlcref.ir import PrimFunc
from mlcref.script import from_source
from mlcref.verify import (
    Counterexample,
    Finding,
    Verdict,
    bisect_passes,
    bisect_trace,
    check_equivalent,
    replay,
    verify,
)
from mlcref.verify import json_form
from mlcref.verify.report import EXIT_CODES

ROOT = Path(__file__).parents[2]
CONTRACT = (ROOT / "docs" / "contract.md").read_text(encoding="utf-8")


def func(body: str, a: str = '(4,), "float32"', b: str = '(4,), "float32"') -> PrimFunc:
    lines = "\n".join(f"    {line}" for line in body.strip("\n").splitlines())
    made: PrimFunc = from_source(f"@T.prim_func\ndef f(A: T.Buffer({a}), B: T.Buffer({b})):\n{lines}\n")
    return made


def each(value: str, **types: str) -> PrimFunc:
    return func(f"for i in range(4):\n    B[i] = {value}", **types)


def example_of(verdict: Verdict) -> Counterexample:
    assert verdict.status == "REFUTED", str(verdict)
    assert verdict.counterexample is not None
    return verdict.counterexample


# --- the strength of verdicts ---


def test_reassociated_floats_are_equal_with_a_stated_bound() -> None:
    verdict = check_equivalent(each("A[0] + A[1] + A[2]"), each("A[1] + (A[2] + A[0])"), trials=2)
    assert verdict.status == "TESTED"
    assert verdict.p_miss == pytest.approx(2 / 2**60, rel=0.01)
    assert re.match(r"TESTED\(p_miss <= 1\.7e-18\): 2 inputs, ", str(verdict))


@pytest.mark.parametrize(
    ("value", "other", "domain"),
    [
        ("A[i] / (A[i] * A[i] + T.float32(1))", "A[i] / (A[i] * A[i] + T.float32(1.000001))", "machine"),
        ("A[i] / (A[i] * A[i] + T.float32(1))", "A[i] / (A[i] * A[i] + T.float32(1) + T.float32(1e-12))", "wide"),
        ("A[i] / (A[i] * A[i] + T.float32(1))", "A[i] / (A[i] * A[i] + T.float32(1) + T.float32(1e-30))", "field"),
        ("T.sqrt(A[i] * A[i] + T.float32(1))", "T.sqrt(A[i] * A[i] + T.float32(1) + T.float32(1e-12))", "wide"),
    ],
)
def test_a_forgotten_epsilon_is_refuted_however_small(value: str, other: str, domain: str) -> None:
    verdict = check_equivalent(each(value), each(other), seed=5)
    example = example_of(verdict)
    assert example.domain == domain
    assert example.expected != example.got
    assert replay(verdict).status == "REFUTED"
    if domain != "machine":
        assert example.replay == "check_equivalent(f, g, seed=5, trials=None)"


def test_what_the_field_does_not_know_has_no_stated_bound() -> None:
    verdict = check_equivalent(each("T.sqrt(A[i] * A[i])"), each("T.abs(A[i])"))
    assert verdict.status == "TESTED"
    assert verdict.p_miss is None
    assert "compared within bounds only, as the field does not know them" in verdict.detail


@pytest.mark.parametrize("identity", ["T.float32(0)", "T.float32(-1000)"])
def test_a_wrong_identity_of_max_is_refuted(identity: str) -> None:
    start = "B[0] = {}\nfor k in range(4):\n    B[0] = T.max(B[0], A[k])"
    verdict = check_equivalent(func(start.format('T.min_value("float32")')), func(start.format(identity)))
    example = example_of(verdict)
    assert example.got == float(identity[10:-1])
    assert example.expected < example.got


def test_a_wrong_identity_of_integers_is_refuted_too() -> None:
    types = {"a": '(4,), "int32"', "b": '(4,), "int32"'}
    start = "B[0] = {}\nfor k in range(4):\n    B[0] = T.max(B[0], A[k])"
    for identity in (0, -1000):
        right = func(start.format('T.min_value("int32")'), **types)
        verdict = check_equivalent(right, func(start.format(identity), **types))
        assert example_of(verdict).got == identity


def test_a_missing_operand_of_max_is_seen_whatever_its_value() -> None:
    body = "B[0] = T.max(T.max(A[0], A[1]), A[{}])"
    for seed in range(5):
        assert check_equivalent(func(body.format(2)), func(body.format(1)), seed=seed).status == "REFUTED"
    assert check_equivalent(func(body.format(2)), func("B[0] = T.max(A[2], T.max(A[1], A[0]))")).p_miss is not None


def test_special_numbers_are_tried_where_both_perform_the_same_operations() -> None:
    text = "for i in range(16):\n    B[i] = T.if_then_else({}, A[i], T.float32(0))"

    def chosen(condition: str) -> PrimFunc:
        return func(text.format(condition), a='(16,), "float32"', b='(16,), "float32"')

    verdict = check_equivalent(chosen("A[i] < T.float32(5)"), chosen("not A[i] >= T.float32(5)"))
    assert np.isnan(example_of(verdict).got)
    assert verdict.detail.endswith("(adversarial)")
    denormals = check_equivalent(chosen("A[i] > T.float32(0)"), chosen("A[i] > T.float32(1e-40)"))
    assert 0 < example_of(denormals).expected < 1e-40


def test_reassociation_is_not_held_against_infinities() -> None:
    choose = "T.if_then_else(A[i] > T.float32(0), {}, T.float32(0))"
    f, g = each(choose.format("A[0] + A[1] + A[2]")), each(choose.format("A[0] + (A[1] + A[2])"))
    assert check_equivalent(f, g)


def test_elements_that_f_leaves_alone_keep_their_bits() -> None:
    kept = func("for i in range(3):\n    B[i] = A[i]")
    assert check_equivalent(kept, func("for i in range(4):\n    B[i] = T.if_then_else(i < 3, A[i], B[i])"))
    rounds = func("for i in range(4):\n    B[i] = T.if_then_else(i < 3, A[i], B[i] + A[0] - A[0])")
    inputs = [(np.full(4, 1e9, "float32"), np.ones(4, "float32"))]
    assert example_of(check_equivalent(kept, rounds, inputs=inputs)).element == "B[3]"
    assert example_of(check_equivalent(kept, each("A[i]"))).element == "B[3]"


def test_buffers_without_dimensions_are_compared() -> None:
    types = {"a": '(), "float32"', "b": '(), "float32"'}
    f, g = func("B[()] = A[()] + A[()]", **types), func("B[()] = A[()] * T.float32(2)", **types)
    assert check_equivalent(f, g).p_miss is not None
    assert example_of(check_equivalent(f, func("B[()] = A[()]", **types))).element == "B[]"


def test_verdicts_repeat_by_seed() -> None:
    f, g = each("A[i] * A[i]"), each("A[i] * A[i] + A[3]")
    one, two, other = (check_equivalent(f, g, seed=seed, minimize=False) for seed in (1, 1, 2))
    assert one.as_json() == two.as_json() != other.as_json()
    assert one.seed == 1


# --- budgets ---


def test_statements_are_a_budget() -> None:
    verdict = check_equivalent(each("A[i]"), each("A[i]"), max_statements=3)
    assert str(verdict).startswith("UNSUPPORTED: budget")
    assert str(verify(each("A[i]"), max_statements=3)).startswith("UNSUPPORTED: budget")


def test_time_is_a_budget() -> None:
    endless = func("for i in range(1000000000):\n    B[0] = A[0]")
    start = time.monotonic()
    assert str(check_equivalent(endless, endless, timeout=0.1)).startswith("UNSUPPORTED: budget")
    assert str(verify(endless, timeout=0.1)).startswith("UNSUPPORTED: budget")
    assert time.monotonic() - start < 5


# --- small counterexamples ---


def test_inputs_shrink_to_zeros_and_ones() -> None:
    f, g = each("A[i] * A[i]"), func("for i in range(4):\n    B[i] = T.if_then_else(i < 2, A[i] * A[i], A[i] * A[3])")
    example = example_of(check_equivalent(f, g))
    a, b = example.arguments
    assert np.count_nonzero(a) == 1
    assert set(a) == {0, 1}
    assert not b.any()
    assert example.statement.startswith("B[i] = T.if_then_else(")
    assert example.iteration == {"i": example.indices[0]}
    assert example.programs[0].count("prim_func") == 1
    assert "np.array([" in example.replay
    scope = {"check_equivalent": check_equivalent, "f": f, "g": g, "np": np}
    assert eval(example.replay, scope).status == "REFUTED"


def test_symbolic_shapes_shrink() -> None:
    text = """
@T.prim_func
def f(a: T.handle, b: T.handle):
    n = T.int64()
    A = T.match_buffer(a, (n,), "float32")
    B = T.match_buffer(b, (n,), "float32")
    {body}
"""
    f = from_source(text.format(body="for i in range(n): B[i] = A[i]"))
    g = from_source(text.format(body="for i, j in T.grid(n // 4, 4): B[i * 4 + j] = A[i * 4 + j]"))
    assert [x.shape for x in example_of(check_equivalent(f, g)).arguments] == [(1,), (1,)]
    big = check_equivalent(f, g, inputs=[(np.ones(7, "float32"), np.zeros(7, "float32"))])
    assert [x.shape for x in example_of(big).arguments] == [(1,), (1,)]


# --- bisection ---


def scaled(factor: float) -> PrimFunc:
    return each(f"A[i] * T.float32({factor})")


def test_the_first_wrong_step_of_a_trace_is_found() -> None:
    programs = [scaled(2)] * 6 + [scaled(3)] * 5
    found = bisect_trace(programs)
    assert (found.step, found.name) == (5, "step 5")
    assert not found
    assert (found.before, found.after) == (programs[5], programs[6])
    assert found.checks <= 5
    example = example_of(found.verdict)
    assert (example.step, len(example.trace)) == ("step 5", 6)
    assert "first wrong step: step 5" in str(found)


def test_a_trace_is_replayed_by_a_callable() -> None:
    instructions = ["split", "reorder", "break", "unroll"]
    found = bisect_trace(instructions, lambda n: scaled(3 if "break" in instructions[:n] else 2))
    assert found.name == "break"
    assert example_of(found.verdict).trace == ("split", "reorder", "break")


def test_a_right_trace_has_no_wrong_step() -> None:
    found = bisect_trace([scaled(2), scaled(2), each("A[i] + A[i]")])
    assert found
    assert found.step is None
    assert found.checks == 1
    with pytest.raises(ValueError, match="there are 1 steps, but 2 names"):
        bisect_trace([scaled(2), scaled(2)], names=["a", "b"])
    with pytest.raises(ValueError, match="no program to start from"):
        bisect_trace([])


def test_the_first_wrong_pass_is_found() -> None:
    passes = [("keep", lambda f: f), ("spoil", lambda f: scaled(3)), ("rename", lambda f: f.with_attr("x", 1))]
    found = bisect_passes(passes, scaled(2))
    assert (found.step, found.name) == (1, "spoil")


# --- findings ---


BLEMISHED = func(
    """
for i in range(3):
    with T.block("B"):
        vi = T.axis.spatial(3, i)
        T.reads(A[vi])
        T.writes(B[vi])
        B[vi] = A[vi] + A[vi + 1]
"""
)


def test_verify_lists_what_a_program_breaks() -> None:
    verdict = verify(BLEMISHED)
    assert verdict.status == "REFUTED"
    assert [finding.rule for finding in verdict.findings] == ["block.regions", "block.coverage"]
    assert all(finding.severity == "signature" for finding in verdict.findings)
    assert "T.reads does not cover A[1]" in str(verdict)
    assert [f.rule for f in verify(BLEMISHED, rules=["block.coverage"]).findings] == ["block.coverage"]
    assert verify(BLEMISHED, rules=["meaningless"])
    assert verify(BLEMISHED, rules=["loop", "value"])


def test_verify_reports_runs_without_meaning() -> None:
    verdict = verify(each("A[i + 1]"))
    assert [(f.rule, f.severity) for f in verdict.findings] == [("memory.bounds", "meaningless")]
    inputs = [(np.ones(4, "float32"), np.ones(3, "float32"))]
    assert [f.rule for f in verify(each("A[i]"), inputs=inputs).findings] == ["call.shape"]


def test_verify_draws_valid_indices_for_gathers() -> None:
    gather = func("for i in range(4):\n    B[i] = B[A[i]]", a='(4,), "int32"')
    assert verify(gather, trials=5)
    assert verify(gather, inputs=[(np.array([0, 1, 2, 4], "int32"), np.ones(4, "float32"))]).status == "REFUTED"


def test_unknown_rules_are_refused() -> None:
    with pytest.raises(ValueError, match="no rule is called 'blok'"):
        verify(BLEMISHED, rules=["blok"])


# --- JSON, exit codes and the page that promises them ---


VERDICTS = {
    "tested": lambda: check_equivalent(each("A[i]"), each("A[i]")),
    "refuted": lambda: check_equivalent(each("A[i]"), each("A[i] + T.float32(1)")),
    "meaningless": lambda: check_equivalent(each("A[i]"), each("A[i + 1]")),
    "undefined": lambda: check_equivalent(
        each("A[i]"), func("C = T.alloc_buffer((4,), 'float32')\nfor i in range(4):\n    B[i] = C[i]")
    ),
    "field": lambda: check_equivalent(each("A[i] * A[i]"), each("A[i] * A[i] + T.float32(1e-30) * A[i]")),
    "special": lambda: check_equivalent(each("A[i]"), each("A[i]"), inputs=[]),
    "findings": lambda: verify(BLEMISHED),
    "bisected": lambda: bisect_trace([scaled(2), scaled(3)]).verdict,
    "bfloat16": lambda: check_equivalent(
        each("A[i]", a='(4,), "bfloat16"', b='(4,), "bfloat16"'),
        each("A[i] + T.bfloat16(1)", a='(4,), "bfloat16"', b='(4,), "bfloat16"'),
    ),
}


@pytest.mark.parametrize("name", VERDICTS)
def test_json_goes_there_and_back(name: str) -> None:
    verdict = VERDICTS[name]()
    text = json.dumps(verdict.as_json(), allow_nan=False)
    again = Verdict.from_json(text)
    assert json.dumps(again.as_json(), allow_nan=False) == text
    assert str(again) == str(verdict)
    assert again.exit_code == verdict.exit_code


def test_numbers_survive_json() -> None:
    special = np.array([np.nan, np.inf, -np.inf, -0.0, 1e-45, 3.4e38, 0.1], "float32")
    again = json_form.decoded(json.loads(json.dumps(json_form.encoded(special), allow_nan=False)))
    assert again.tobytes() == special.tobytes()
    wide = np.array([[2**63 - 1, -(2**63)]], "int64")
    assert (json_form.decoded(json_form.encoded(wide)) == wide).all()
    empty = np.zeros((0, 3), "int8")
    assert json_form.decoded(json_form.encoded(empty)).shape == (0, 3)


def test_json_of_another_shape_is_refused() -> None:
    form: dict[str, Any] = Verdict("TESTED", "1 input").as_json()
    with pytest.raises(ValueError, match="the schema is None"):
        Verdict.from_json({})
    with pytest.raises(ValueError, match=r"misses the fields \['detail'\], and has unknown \['extra'\]"):
        Verdict.from_json({**{k: v for k, v in form.items() if k != "detail"}, "extra": 1})
    with pytest.raises(ValueError, match="only a counterexample can be replayed"):
        replay(form)


def table(heading: str) -> list[str]:
    """The first column of the table under a heading of docs/contract.md."""
    section = CONTRACT.split(f"### {heading}\n")[1].split("\n#")[0]
    return re.findall(r"^\| `([^`]+)` \|", section, re.MULTILINE)


def test_the_page_lists_the_fields() -> None:
    assert table("A verdict") == list(json_form.VERDICT_FIELDS)
    assert table("A counterexample") == list(json_form.COUNTEREXAMPLE_FIELDS)
    assert table("A finding") == list(json_form.FINDING_FIELDS) == [f.name for f in fields(Finding)]
    refuted = VERDICTS["refuted"]().as_json()
    assert list(refuted) != []
    assert set(refuted) == set(json_form.VERDICT_FIELDS)
    assert set(refuted["counterexample"]) == set(json_form.COUNTEREXAMPLE_FIELDS)


def test_the_page_lists_the_rules_and_exit_codes() -> None:
    promised = dict(re.findall(r"^\| `([a-z]+\.[a-z]+)` \| (\w+) \|", CONTRACT, re.MULTILINE))
    assert promised == {rule: severity for rule, severity in RULES.items() if severity in (MEANINGLESS, SIGNATURE)}
    listed = dict(re.findall(r"^\| `([A-Z]+)` \| (\d) \|", CONTRACT, re.MULTILINE))
    assert {status: int(code) for status, code in listed.items()} == EXIT_CODES


def test_the_page_lists_what_the_oracle_can_report() -> None:
    """Every id in a call that makes a report is on the page, and every id on the page is in the oracle's text."""
    sources = [path.read_text(encoding="utf-8") for path in (ROOT / "mlcref" / "interp").rglob("*.py")
               if path.name != "rules.py"]  # fmt: skip
    calls = r'\b(?:failure|refuse|report|Refusal|OracleError|CallError)\((?:[\w.]+,\s*)?\s*"([a-z]+\.[a-z]+)"'
    reported = {rule for text in sources for rule in re.findall(calls, text)}
    assert len(reported) > 10
    assert reported <= set(table("Ids"))
    mentioned = {rule for text in sources for rule in re.findall(r'"([a-z]+\.[a-z]+)"', text)}
    assert set(table("Ids")) <= mentioned
