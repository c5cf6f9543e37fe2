"""Static proofs in verdicts: when they decide, what is said when they do not, and that they agree with runs."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

pytest.importorskip("islpy", reason="static proofs need islpy: pip install mlcref[prove]")

from mlcref.errors import UnsupportedError
from mlcref.ir import PrimFunc
from mlcref.script import from_source
from mlcref.verify import ProofContradiction, Verdict, check_equivalent, check_step, verify
from mlcref.verify import prove as prover
from mlcref.verify.prove_violations import PROVED, Proof

BROKEN = Proof("equivalence", PROVED, "wrongly")


def func(body: str) -> PrimFunc:
    lines = "\n".join(f"    {line}" for line in body.strip("\n").splitlines())
    made: PrimFunc = from_source(f"""
@T.prim_func
def f(a: T.handle, b: T.handle):
    n = T.int64()
    A = T.match_buffer(a, (n,), "float32")
    B = T.match_buffer(b, (n,), "float32")
{lines}
""")
    return made


ONE = func("for i in range(n):\n    B[i] = A[i] * T.float32(2)")
BACK = func("for i in T.parallel(n):\n    B[n - 1 - i] = T.float32(2) * A[n - 1 - i]")
TWICE = func("for i in range(n):\n    B[i] = A[i] + A[i]")
WRONG = func("for i in range(n):\n    B[i] = A[i] * T.if_then_else(i < 1000, T.float32(2), T.float32(3))")


def test_a_proof_decides_for_all_sizes_and_a_run_confirms_it() -> None:
    verdict = check_equivalent(ONE, BACK, prove=True)
    assert verdict.status == "PROVED" and verdict.exit_code == 0 and bool(verdict)
    assert "for all inputs and all n on which index arithmetic does not overflow; confirmed by" in verdict.detail
    assert verdict.p_miss is None and verdict.counterexample is None and verdict.trials > 0
    assert Verdict.from_json(verdict.as_json()) == verdict
    assert check_equivalent(ONE, BACK).status == "TESTED"


def test_without_a_proof_the_runs_decide_and_the_reason_is_said() -> None:
    verdict = check_equivalent(ONE, TWICE, prove=True)
    assert verdict.status == "TESTED" and verdict.p_miss is not None
    assert verdict.detail.endswith("not proved: B is not computed from the same expressions, or not recognisably")
    assert verdict.trials == check_equivalent(ONE, TWICE).trials
    assert check_equivalent(ONE, WRONG, prove=True).status != "PROVED"
    refuted = check_equivalent(ONE, func("for i in range(n):\n    B[i] = A[i]"), prove=True)
    assert refuted.status == "REFUTED" and "not proved" not in refuted.detail


def test_large_programs_are_proved_and_not_run() -> None:
    text = """
@T.prim_func
def f(A: T.Buffer((1000000, 1000), "float32"), B: T.Buffer((1000000, 1000), "float32")):
    for i, j in T.grid(1000000, 1000):
        B[{index}] = A[{index}]
"""
    f, g = from_source(text.format(index="i, j")), from_source(text.format(index="999999 - i, 999 - j"))
    verdict = check_equivalent(f, g, prove=True)
    assert verdict.status == "PROVED" and verdict.trials == 0
    assert verdict.detail.endswith("no run confirms it (budget: the buffers are too large for a run)")
    assert verify(g, prove=True).status == "PROVED"
    assert check_step(f, g, by="prove").status == "PROVED"
    assert str(check_step(f, g)).startswith("UNSUPPORTED: budget")


def test_proofs_are_about_all_inputs() -> None:
    inputs = [(np.ones(2, "float32"), np.ones(2, "float32"))]
    with pytest.raises(ValueError, match="prove is about all inputs"):
        check_equivalent(ONE, BACK, inputs=inputs, prove=True)
    with pytest.raises(ValueError, match="prove is about all inputs"):
        verify(ONE, inputs=inputs, prove="auto")
    with pytest.raises(ValueError, match='prove is False, True or "auto"'):
        check_equivalent(ONE, BACK, prove="never")  # type: ignore[arg-type]


CHECKS: list[Callable[..., Verdict]] = [
    lambda **options: check_equivalent(ONE, BACK, **options), lambda **options: verify(ONE, **options),
]  # fmt: skip


@pytest.mark.parametrize("check", CHECKS)
def test_without_islpy(check: Callable[..., Verdict], monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.startswith("mlcref.verify.prove")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "islpy", None)
    with pytest.raises(UnsupportedError, match=r"pip install mlcref\[prove\]"):
        check(prove=True)
    verdict = check(prove="auto")
    assert verdict.status == "TESTED"
    assert verdict.detail.endswith("not proved: islpy is not installed (pip install mlcref[prove])")
    assert check().status == "TESTED"


def test_a_proof_that_a_run_contradicts_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prover, "prove_equivalent", lambda f, g, poison: BROKEN)
    with pytest.raises(ProofContradiction, match=r"(?s)disagree: PROVED \(wrongly.*REFUTED.*range\(n\)"):
        check_equivalent(ONE, func("for i in range(n):\n    B[i] = A[i]"), prove=True)
    everything: Any = {rule: Proof(rule, PROVED) for rule in prover.RULES_OF_PROOFS}
    monkeypatch.setattr(prover, "prove", lambda f, rules, poison: everything)
    beyond = func("for i in range(n):\n    B[i] = A[i + 1]")
    with pytest.raises(ProofContradiction, match=r"(?s)disagree: PROVED.*memory.bounds"):
        verify(beyond, prove=True)
    refuted: Any = {**everything, "memory.bounds": Proof("memory.bounds", "REFUTED", "wrongly", {"n": 3})}
    monkeypatch.setattr(prover, "prove", lambda f, rules, poison: refuted)
    with pytest.raises(ProofContradiction, match="but the run shows no finding"):
        verify(ONE, prove=True)


def test_rules_of_one_program() -> None:
    verdict = verify(BACK, prove=True)
    assert verdict.status == "PROVED" and verdict.findings == ()
    assert "no call breaks memory.bounds, " in verdict.detail and "loop.race" in verdict.detail
    few = verify(BACK, rules=["loop.race"], prove=True)
    assert few.detail.startswith("no call breaks loop.race, for all inputs")
    square = verify(func("for i in range(n):\n    B[i * i // T.max(i, T.int64(1))] = A[i]"), prove=True)
    assert square.status == "TESTED" and "not proved: memory.bounds: an index or extent of B" in square.detail
    host = func("for i in range(n):\n    T.assume(A[i] > T.float32(-5))\n    B[i] = A[i]")
    assert verify(host, rules=["stmt.assume"], prove=True).status == "TESTED"


def test_what_no_input_shows_is_run_at_the_sizes_of_the_proof() -> None:
    late = func("for i in range(n):\n    B[i] = T.if_then_else(i == 300, A[i + 7], A[i])")
    assert verify(late).status == "TESTED"
    verdict = verify(late, prove=True)
    assert verdict.status == "REFUTED"
    assert verdict.findings[0].rule == "memory.bounds" and "A[307] is out of bounds" in verdict.findings[0].report
    assert verdict.detail.startswith("found statically: memory.bounds: REFUTED")
    very_late = func("for i in range(n):\n    B[i] = T.if_then_else(i == 3000000, A[i + 7], A[i])")
    verdict = verify(very_late, prove=True)
    assert verdict.status == "REFUTED" and verdict.detail.endswith("(a static proof; not run)")
    assert verdict.findings[0].severity == "meaningless" and "i=3000000" in verdict.findings[0].report


def test_steps() -> None:
    assert check_step(ONE, ONE).status == "PROVED"
    assert check_step(ONE, BACK).status == "TESTED"
    assert check_step(ONE, BACK, by="prove").status == "PROVED"
    wrong = func("for i in range(n):\n    B[i] = A[i]")
    for by in ("oracle", "prove"):
        assert check_step(ONE, wrong, by=by).status == "REFUTED"  # type: ignore[arg-type]
    with pytest.raises(ValueError, match='by is "oracle" or "prove"'):
        check_step(ONE, BACK, by="off")  # type: ignore[arg-type]
