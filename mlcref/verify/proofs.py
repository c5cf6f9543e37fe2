"""Static proofs in verdicts: when they are asked for, what becomes of their answers, and a run that confirms them."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import Any, Literal

from mlcref.errors import MlcrefError
from mlcref.ir import Const, PrimFunc, buffers_used
from mlcref.verify.report import PROVED, REFUTED, UNSUPPORTED, Verdict

Proving = bool | Literal["auto"]
"""False: runs alone. True: a static proof first. "auto": the same where islpy is installed."""

CONFIRMING_STATEMENTS = 100_000
MOST_CONFIRMED_ELEMENTS = 2**16
MOST_RUN_ELEMENTS = 2**25
"""The oracle keeps an object per element: more of them would fill the memory."""


class ProofContradiction(MlcrefError):
    """A static proof and a run of the oracle say different things: a bug of mlcref, and no verdict. Please report it
    with both programs."""


@dataclass(frozen=True)
class Attempt:
    """What asking for a proof gave: ``evidence`` if it is proved, otherwise ``reason``. ``refuted`` are the answers
    about single rules that say what breaks them."""

    evidence: str = ""
    reason: str = ""
    refuted: tuple[Any, ...] = ()

    @property
    def proved(self) -> bool:
        """Is there a proof?"""
        return bool(self.evidence)

    def judged(self, verdict: Verdict, *programs: PrimFunc) -> Verdict:
        """The verdict of the runs, with what the attempt adds to it. Raises ``ProofContradiction``."""
        if self.proved and verdict.status == REFUTED:
            texts = "\n".join(map(repr, programs))
            raise ProofContradiction(
                f"static proof and run disagree: PROVED ({self.evidence}), but the run says\n{verdict}\n{texts}",
                hint="one of them is wrong, which is a bug of mlcref; report both programs with this text",
            )
        if self.proved:
            runs = f"no run confirms it ({verdict.detail})"
            if verdict.status != UNSUPPORTED:
                runs = f"confirmed by {verdict.trials} run{'s' if verdict.trials != 1 else ''}"
            return replace(verdict, status=PROVED, detail=f"{self.evidence}; {runs}", p_miss=None)
        if not self.reason or verdict.status == REFUTED:
            return verdict
        return replace(verdict, detail=f"{verdict.detail}; not proved: {self.reason}")


def attempt_equivalence(f: PrimFunc, g: PrimFunc, poison: Sequence[str], proving: Proving) -> Attempt:
    """Ask for a proof that ``g`` refines ``f``. Raises ``UnsupportedError`` without islpy, unless "auto"."""
    prover = _prover(proving)
    if isinstance(prover, Attempt):
        return prover
    found = prover.prove_equivalent(f, g, poison=tuple(poison))
    return Attempt(evidence=f"{found.detail}, for {_scope(f)}") if found else Attempt(reason=found.detail)


def attempt_rules(func: PrimFunc, rules: set[str], poison: Sequence[str], proving: Proving) -> Attempt:
    """Ask for a proof that ``func`` keeps ``rules``. Raises ``UnsupportedError`` without islpy, unless "auto"."""
    prover = _prover(proving)
    if isinstance(prover, Attempt):
        return prover
    asked = [rule for rule in prover.RULES_OF_PROOFS if rule in rules and not (rule == "value.index" and _sizes(func))]
    found = prover.prove(func, asked or ["memory.bounds"], poison=tuple(poison))
    if not asked and found["memory.bounds"].status == "UNKNOWN":  # is it modelled at all?
        return Attempt(reason=found["memory.bounds"].detail)
    missing = [found[rule] for rule in asked if not found[rule]]
    if not missing:
        return Attempt(evidence=f"no call breaks {', '.join(asked) or 'one of the rules'}, for {_scope(func)}")
    refuted = tuple(proof for proof in missing if proof.status == REFUTED)
    return Attempt(reason="; ".join(dict.fromkeys(map(_shown, missing))), refuted=refuted)


def confirmable(*programs: PrimFunc, most: int = MOST_CONFIRMED_ELEMENTS) -> bool:
    """Are the buffers small enough (``most`` elements), by default for a quick run that confirms a proof?"""
    for func in programs:
        for buffer in (*func.buffers, *buffers_used(func.body)):
            if prod(int(e.value) for e in buffer.shape if isinstance(e, Const)) > most:
                return False
    return True


def unconfirmed(seed: int) -> Verdict:
    """The verdict of a run that was not made."""
    return Verdict(UNSUPPORTED, "budget: the buffers are too large for a run", seed=seed)


def confirming_statements(given: int | None) -> int:
    """How many statements a run that confirms a proof may execute."""
    return CONFIRMING_STATEMENTS if given is None else min(given, CONFIRMING_STATEMENTS)


def _prover(proving: Proving) -> Any:
    if proving not in (False, True, "auto"):
        raise ValueError(f'prove is False, True or "auto", not {proving!r}')
    try:
        return importlib.import_module("mlcref.verify.prove") if proving else Attempt()
    except ModuleNotFoundError as error:
        if error.name != "islpy" or proving != "auto":
            raise
        return Attempt(reason="islpy is not installed (pip install mlcref[prove])")


def _sizes(func: PrimFunc) -> list[str]:
    return [var.name for var in func.shape_vars()]


def _scope(func: PrimFunc) -> str:
    sizes = _sizes(func)
    if not sizes:
        return "all inputs"
    return f"all inputs and all {', '.join(sizes)} on which index arithmetic does not overflow"


def _shown(proof: Any) -> str:
    return f"{proof.rule}: {proof.detail}" if proof.status == "UNKNOWN" else str(proof)
