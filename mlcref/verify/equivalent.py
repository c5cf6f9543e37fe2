"""Does a program refine another one? Both run in the oracle on the same inputs, and every element is compared."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

from mlcref import dtype as dt
from mlcref.errors import CallError, OracleError, UnsupportedError
from mlcref.interp.arguments import Binding
from mlcref.interp.bound import BoundArithmetic, Undecided, WideArithmetic, error_of
from mlcref.interp.field import FieldArithmetic, miss_probability
from mlcref.interp.host import CALLS
from mlcref.interp.memory import Undefined
from mlcref.interp.numeric import MACHINE, Arithmetic
from mlcref.interp.run import select
from mlcref.ir import Buffer, Call, Const, IRModule, PrimFunc, Return, any_node, walk
from mlcref.verify.compare import Comparison, Difference, compare
from mlcref.verify.explain import explained
from mlcref.verify.inputs import KINDS, Trial, trials
from mlcref.verify.minimize import minimized
from mlcref.verify.proofs import (
    MOST_RUN_ELEMENTS,
    Proving,
    attempt_equivalence,
    confirmable,
    confirming_statements,
    unconfirmed,
)
from mlcref.verify.report import REFUTED, TESTED, UNSUPPORTED, Counterexample, Verdict
from mlcref.verify.runs import LARGEST_FIELD_RUN, Limits, run_trial, traits_of

CONTRASTS = ("random", "negative", "positive", "far negative", "far positive", "random", "random")
"""What is tried when the field knows of a difference that no machine value has shown yet."""


def check_equivalent(
    f: PrimFunc | IRModule,
    g: PrimFunc | IRModule,
    *,
    trials: int | None = None,
    seed: int = 0,
    inputs: Iterable[Sequence[Any]] | None = None,
    poison: Sequence[str] = (),
    entry: str = "main",
    max_statements: int | None = None,
    timeout: float | None = None,
    minimize: bool = True,
    prove: Proving = False,
) -> Verdict:
    """Does ``g`` refine ``f``: wherever ``f`` is defined, does ``g`` compute the same and touch nothing else?

    Both run on ``trials`` inputs (as many kinds as the programs need when it is None, at least one per interesting
    size when shapes are symbolic), or on ``inputs``, a list of argument lists. ``g`` must be defined, agree on every
    element that ``f`` writes, and leave every other element as it was; parameters in ``poison`` start undefined, and
    there ``g`` may define more.

    Integers must be equal. Floats must be equal at a random point of a finite field
    (:mod:`mlcref.interp.field`), so that only rounding may differ, and ``p_miss`` bounds the probability of a mistake.
    Floats that differ there are compared within a bound of the rounding errors of both runs
    (:mod:`mlcref.interp.bound`), as they are and once more in float64. On the caller's ``inputs``, and for programs
    that execute more than 100,000 stores, only these bounds decide. Where both perform the same operations and decide
    on values, NaN, infinities, -0.0 and denormals are tried too.

    "TESTED" says that no input showed a difference; it is no proof. Inputs on which ``f`` means nothing do not count;
    when there are no others the verdict is "UNSUPPORTED". ``max_statements`` bounds each run, ``timeout`` (seconds)
    the check: both end in "UNSUPPORTED: budget …". What the inputs do not reach, such as a branch never taken, is not
    seen. Counterexamples are made small unless ``minimize`` is false.

    With ``prove`` a static proof is tried first (:func:`mlcref.verify.prove.prove_equivalent`, within its budget of
    operations). The verdict is "PROVED" if there is one; a short run confirms it, and if that shows a difference
    ``ProofContradiction`` is raised. Otherwise the runs decide, and ``detail`` says what could not be proved. True
    raises ``UnsupportedError`` where islpy is not installed (``pip install mlcref[prove]``), "auto" leaves the proof
    out there. Together with ``inputs``, ``prove`` raises ``ValueError``: a proof is about all inputs.

    >>> from mlcref.script import from_source
    >>> text = '''
    ... @T.prim_func
    ... def f(A: T.Buffer((4,), "float32"), B: T.Buffer((4,), "float32")):
    ...     for i in range(4):
    ...         B[i] = A[i] * T.float32(2)
    ... '''
    >>> print(check_equivalent(from_source(text), from_source(text.replace("* T.float32(2)", "+ A[i]"))))
    TESTED(p_miss <= 1.7e-18): 1 input, all results equal bit by bit
    """
    if prove and inputs is not None:
        raise ValueError("prove is about all inputs: leave inputs out")
    deadline = None if timeout is None else time.monotonic() + timeout
    check = Check(select(f, entry), select(g, entry), tuple(poison), seed, Limits(max_statements, deadline))
    check.trials = trials
    mismatch = signature_mismatch(check.f, check.g)
    if mismatch:
        return Verdict(UNSUPPORTED, mismatch, seed=seed)
    if prove:
        attempt = attempt_equivalence(check.f, check.g, poison, prove)
        if attempt.proved or not confirmable(check.f, check.g, most=MOST_RUN_ELEMENTS):
            verdict = check.confirm()
        else:
            verdict = _run(check, None, trials, minimize)
        return attempt.judged(verdict, check.f, check.g)
    return _run(check, inputs, trials, minimize)


def _run(check: Check, inputs: Iterable[Sequence[Any]] | None, trials: int | None, minimize: bool) -> Verdict:
    """The verdict of the runs, with the counterexample in full."""
    verdict = check.run(check.given(inputs) if inputs is not None else check.drawn(trials), trials is None)
    if verdict.counterexample is None:
        return verdict
    example = minimized(check, verdict.counterexample) if minimize else verdict.counterexample
    return replace(verdict, counterexample=explained(check.f, check.g, example))


def signature_mismatch(f: PrimFunc, g: PrimFunc) -> str:
    """Why two programs cannot be called with the same arguments; empty when they can."""
    if any(p.type == "handle" for p in (*f.scalars, *g.scalars)):
        return "pointers as parameters have no values to try"
    if any_node(f.body, Return) or any_node(g.body, Return):
        return "programs that return values are not compared"
    if len(f.params) != len(g.params):
        return f"the programs take {len(f.params)} and {len(g.params)} arguments"
    for p, q in zip(f.params, g.params, strict=True):
        if _signature(p) != _signature(q):
            return f"parameters {p.name} and {q.name} differ in kind, data type or shape"
    return ""


def _signature(param: Any) -> tuple[Any, ...]:
    if not isinstance(param, Buffer):
        return ("scalar", param.type)
    return (param.type, *(extent.value if isinstance(extent, Const) else "symbolic" for extent in param.shape))


def _calls_host(func: PrimFunc) -> bool:
    return any(isinstance(node, Call) and node.op in CALLS for node in walk(func.body))


class Check:
    """A comparison of two programs: what it tries and what it has seen."""

    def __init__(self, f: PrimFunc, g: PrimFunc, poison: tuple[str, ...], seed: int, limits: Limits) -> None:
        self.f, self.g, self.poison, self.seed, self.limits = f, g, poison, seed, limits
        names = {p.name: q.name for p, q in zip(f.params, g.params, strict=False)}
        self.poison_of_g = tuple(names.get(name, name) for name in poison)
        mine, other = traits_of(f), traits_of(g)
        self.floats = mine.floats
        self.choices = mine.choices or other.choices
        self.ordered = mine.ordered or other.ordered
        self.indirect = mine.indirect or other.indirect
        self.in_field = self.floats and max(mine.stores, other.stores) <= LARGEST_FIELD_RUN
        self.in_field = self.in_field and not (_calls_host(f) or _calls_host(g))  # which knows floats, not the field
        self.trials: int | None = None
        self.undefined: OracleError | None = None
        self.within_bound = 0
        self.degree: int | None = None
        self.same_terms = True
        self.searched = False
        self.suspicious = False
        """Do elements differ in the field on which more inputs could decide?"""
        self.doubtful = 0
        """Elements that differ in the field, by no more than rounding in the machine, and are no rational functions."""

    def confirm(self) -> Verdict:
        """The verdict of a short run, beside a proof."""
        if not confirmable(self.f, self.g):
            return unconfirmed(self.seed)
        self.trials = 1
        self.limits = Limits(confirming_statements(self.limits.max_statements), self.limits.deadline)
        return self.run(self.drawn(1), adaptive=False)

    # --- inputs ---

    def given(self, inputs: Iterable[Sequence[Any]]) -> Iterator[Trial]:
        """Trials on the caller's arguments: what these are stands for nothing else, so that the field is left out."""
        self.in_field = False
        for number, arguments in enumerate(inputs):
            yield Trial(number, "given", tuple(arguments))

    def kinds(self) -> list[str]:
        """The kinds of inputs that the programs need."""
        kinds = ["small"] if self.floats or self.choices else ["random"]
        if self.choices:
            kinds.append("random")
        if self.indirect:
            kinds.append("index")
        if not self.floats and self.ordered:
            kinds += ["far negative", "far positive"]
        return kinds

    def drawn(self, count: int | None) -> Iterator[Trial]:
        """Trials on random arguments."""
        kinds = self.kinds()
        if count is not None:
            every = [*kinds, *(kind for kind in KINDS[:5] if kind not in kinds)]
            kinds = [every[number % len(every)] for number in range(count)]
        return trials(self.f, self.g, kinds, self.seed)

    # --- verdicts ---

    def run(self, calls: Iterator[Trial], adaptive: bool) -> Verdict:
        """The verdict over all trials; the first counterexample ends it."""
        try:
            return self.decide(calls, adaptive)
        except UnsupportedError as error:
            return Verdict(UNSUPPORTED, error.what, seed=self.seed)

    def decide(self, calls: Iterator[Trial], adaptive: bool) -> Verdict:
        """The verdict; raises ``UnsupportedError`` for programs the oracle cannot run, and at the end of a budget."""
        done, undecided, tried = 0, "", 0
        pending = [calls]
        while pending:
            for trial in pending.pop(0):
                tried += 1
                try:
                    counted, example = self.attempt(trial)
                except Undecided as error:
                    undecided = error.what
                    continue
                if example is not None:
                    trial, example = self.shown(trial, example)
                    kind = f"input {trial.number} ({trial.kind})"
                    return Verdict(REFUTED, kind, example, seed=self.seed, trials=tried)
                done += counted
            if adaptive:
                pending += self.further(done, tried)
        if undecided:
            return Verdict(UNSUPPORTED, undecided, seed=self.seed, trials=tried)
        if not done:
            reason = self.undefined.what if self.undefined else "there were no inputs"
            what = f"the first program is defined on no input that was tried: {reason}"
            return Verdict(UNSUPPORTED, what, seed=self.seed, trials=tried)
        return self.tested(done, tried)

    def shown(self, trial: Trial, example: Counterexample) -> tuple[Trial, Counterexample]:
        """A counterexample that machine values show, instead of one that only the field does, if there is one."""
        if example.domain == "field":
            for other in trials(self.f, self.g, CONTRASTS[:4], self.seed, first=trial.number + 1):
                with suppress(Undecided):
                    _, found = self.attempt(other)
                    if found is not None and found.domain != "field":
                        return other, found
        return trial, example

    def further(self, done: int, tried: int) -> list[Iterator[Trial]]:
        """More trials, where those of the plan did not say enough."""
        kinds: list[str] = []
        if not done and tried <= len(KINDS):
            kinds = [kind for kind in ("random", "index", "positive") if kind not in self.kinds()]
        elif self.suspicious and not self.searched:
            self.searched, kinds = True, list(CONTRASTS)
        elif done and self.in_field and self.same_terms and self.choices:
            self.same_terms, kinds = False, ["adversarial"] * 2
        return [trials(self.f, self.g, kinds, self.seed, first=tried)] if kinds else []

    def tested(self, done: int, tried: int) -> Verdict:
        """The verdict after ``done`` inputs that count showed nothing."""
        equal = "all results equal bit by bit"
        if self.within_bound:
            equal = f"{self.within_bound} elements differ by no more than rounding explains, all others not at all"
        detail = f"{done} input{'s' if done != 1 else ''}, {equal}"
        p_miss = None
        if self.doubtful:
            detail += f"; {self.doubtful} of them were compared within bounds only, as the field does not know them"
        elif self.degree is not None:
            p_miss = miss_probability(self.degree)
        return Verdict(TESTED, detail, p_miss=p_miss, seed=self.seed, trials=tried)

    def attempt(self, trial: Trial) -> tuple[bool, Counterexample | None]:
        """Does this input count, and does it show a difference?"""
        arithmetic = self.arithmetic(trial)
        try:
            want = self.execute(self.f, trial, arithmetic)
        except OracleError as error:
            self.undefined = error
            return False, None
        if any(type(cell) is Undefined for slot in want.slots for cell in slot.view.storage.cells):
            return False, None
        try:
            got = self.execute(self.g, trial, arithmetic)
        except OracleError as error:
            return True, self.counterexample(trial, error=error)
        except CallError as error:
            raise UnsupportedError(f"the second program refuses arguments of the first: {error.what}") from None
        found = compare(want, got)
        self.note(found)
        return True, self.judge(trial, found.differences) if found.differences else None

    def arithmetic(self, trial: Trial) -> Arithmetic:
        """The domain of a trial."""
        if not self.in_field or trial.kind == "adversarial":
            return MACHINE
        return FieldArithmetic(self.seed * 1000 + trial.number)

    def note(self, found: Comparison) -> None:
        """Remember what a comparison says about the strength of the verdict."""
        self.within_bound += found.rounded
        if found.floats:
            self.same_terms = self.same_terms and found.same_terms
            self.degree = max(self.degree or 0, found.degree)

    def execute(self, func: PrimFunc, trial: Trial, arithmetic: Arithmetic = MACHINE) -> Binding:
        """One run; the arguments stay as they are."""
        poison = self.poison if func is self.f else self.poison_of_g
        return run_trial(func, trial, poison, self.limits, arithmetic)

    # --- differences ---

    def judge(self, trial: Trial, differences: list[Difference]) -> Counterexample | None:
        """The first difference that rounding does not explain."""
        floats = [d for d in differences if self.may_be_rounding(d)]
        for d in differences:
            if d not in floats and (not d.same_bits or d.certain):
                return self.counterexample(trial, d, domain="field" if d.same_bits else "machine")
        if trial.kind == "adversarial" and floats:
            return self.counterexample(trial, floats[0])
        example = self.exceeds(trial, floats, BoundArithmetic(), "machine")
        if example is not None or not floats:
            return example
        with suppress(Undecided):
            example = self.exceeds(trial, floats, WideArithmetic(), "wide")
        if example is not None:
            return example
        for d in floats:
            if d.certain:
                return self.counterexample(trial, d, domain="field")
        self.within_bound += sum(not d.same_bits for d in floats)
        unknown = sum(d.residues is not None and d.residues[0] != d.residues[1] for d in floats)
        self.suspicious = self.suspicious or bool(unknown)
        self.doubtful += unknown
        return None

    def exceeds(
        self, trial: Trial, floats: list[Difference], domain: BoundArithmetic, name: str
    ) -> Counterexample | None:
        """The first of ``floats`` on which runs in ``domain`` differ by more than the errors of both."""
        want, got = self.execute(self.f, trial, domain), self.execute(self.g, trial, domain)
        for d in floats:
            x, y = (b.slots[d.slot].view.storage.cells[b.slots[d.slot].positions[d.indices]] for b in (want, got))
            tolerance = error_of(x) + error_of(y)
            if math.isinf(tolerance) or x == y or (x != x and y != y) or abs(x - y) <= tolerance:
                continue
            shown = replace(d, expected=float(x), got=float(y))
            return self.counterexample(trial, shown, tolerance=tolerance, domain=name)
        return None

    def may_be_rounding(self, d: Difference) -> bool:
        """Two floats, both computed?"""
        return d.computed and dt.is_float(self.f.buffers[d.slot].type) and isinstance(d.got, float)

    def counterexample(
        self,
        trial: Trial,
        d: Difference | None = None,
        *,
        tolerance: float = 0.0,
        error: OracleError | None = None,
        domain: str = "machine",
    ) -> Counterexample:
        """The report of a failed trial."""
        where: dict[str, Any] = {}
        if d is not None:
            values = (d.expected, d.got) if domain != "field" or d.residues is None else d.residues
            expected, got = (float(x) if isinstance(x, float) else x for x in values)
            where = {"buffer": self.f.buffers[d.slot].name, "indices": d.indices, "expected": expected, "got": got}
        return Counterexample(
            tuple(trial.arguments),
            tuple(p.name for p in self.f.params),
            self.seed,
            trial.number,
            tolerance=tolerance,
            error=error,
            domain=domain,
            poison=self.poison,
            trials=self.trials,
            **where,
        )
