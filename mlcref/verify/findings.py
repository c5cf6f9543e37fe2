"""Is one program as it should be? Its meaning on inputs, and what its blocks declare about themselves."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from math import prod
from typing import Any

import numpy as np

from mlcref.errors import CallError, MlcrefError, OracleError, UnsupportedError
from mlcref.interp.domains import execute_in
from mlcref.interp.numeric import MACHINE
from mlcref.interp.rules import MEANINGLESS, RULES, SIGNATURE
from mlcref.interp.run import check_output, select
from mlcref.interp.signature import SignatureCheck
from mlcref.ir import IRModule, PrimFunc
from mlcref.verify.inputs import Trial, arguments, trials as draw
from mlcref.verify.proofs import (
    MOST_CONFIRMED_ELEMENTS,
    MOST_RUN_ELEMENTS,
    Attempt,
    ProofContradiction,
    Proving,
    attempt_rules,
    confirmable,
    confirming_statements,
    unconfirmed,
)
from mlcref.verify.report import REFUTED, TESTED, UNSUPPORTED, Finding, Verdict
from mlcref.verify.runs import Limits, traits_of


def verify(
    f: PrimFunc | IRModule,
    *,
    rules: Iterable[str] | None = None,
    inputs: Iterable[Sequence[Any]] | None = None,
    trials: int | None = None,
    seed: int = 0,
    poison: Sequence[str] = (),
    entry: str = "main",
    max_statements: int | None = None,
    timeout: float | None = None,
    prove: Proving = False,
) -> Verdict:
    """Does ``f`` mean something on inputs, and is what its blocks declare true?

    ``rules`` chooses what to look for: ids of ``docs/semantics.md`` ("block.epoch"), their first parts ("block"), or
    severities ("meaningless", "signature"); everything when it is None. ``inputs`` is a list of argument lists;
    otherwise ``trials`` are drawn, and for programs that index with what they load, these are valid indices (integers
    from 0 to the smallest extent). The verdict is "REFUTED" with ``findings``, one per rule and place; "TESTED" when
    no input showed one; "UNSUPPORTED" when the oracle cannot run it or a budget (``max_statements`` of each run,
    ``timeout`` in seconds) ends. A run that means nothing ends there: signature findings behind it are not seen.

    With ``prove`` (True, or "auto": only where islpy is installed) a static proof is tried first, of each rule
    (:mod:`mlcref.verify.prove`): "PROVED" says that no call whose arguments fit breaks one of ``rules``, and a short
    run confirms it. A rule that is refuted statically is looked for in a run at those sizes. Otherwise the runs
    decide, and ``detail`` says what could not be proved.

    Raises ``ValueError`` for unknown rules, and for ``prove`` with ``inputs``; ``UnsupportedError`` for ``prove=True``
    without islpy; ``ProofContradiction`` if proof and run disagree.

    >>> from mlcref.script import from_source
    >>> f = from_source('''
    ... @T.prim_func
    ... def f(A: T.Buffer((4,), "float32")):
    ...     for i in range(3):
    ...         with T.block("A"):
    ...             vi = T.axis.spatial(3, i)
    ...             A[vi + 1] = A[vi] + A[vi + 1]
    ... ''')
    >>> verdict = verify(f)
    >>> verdict.status, [finding.rule for finding in verdict.findings]
    ('REFUTED', ['block.spatial'])
    >>> verify(f, rules=["meaningless"]).status
    'TESTED'
    """
    func, chosen = select(f, entry), _chosen(rules)
    limits = Limits(max_statements, None if timeout is None else time.monotonic() + timeout)
    if prove and inputs is not None:
        raise ValueError("prove is about all inputs: leave inputs out")
    if not prove:
        return _run(func, chosen, inputs, trials, seed, tuple(poison), limits)
    attempt = attempt_rules(func, chosen, poison, prove)
    if attempt.proved:
        limits = Limits(confirming_statements(max_statements), limits.deadline)
        runs = _run(func, chosen, None, 1, seed, tuple(poison), limits) if confirmable(func) else unconfirmed(seed)
        return attempt.judged(runs, func)
    verdict = unconfirmed(seed)
    if confirmable(func, most=MOST_RUN_ELEMENTS):
        verdict = _run(func, chosen, None, trials, seed, tuple(poison), limits)
    if verdict.status != REFUTED and attempt.refuted:
        found = _refuted(func, chosen, attempt, seed, tuple(poison), limits)
        verdict = verdict if found is None else found
    return attempt.judged(verdict, func)


def _refuted(
    func: PrimFunc, chosen: set[str], attempt: Attempt, seed: int, poison: tuple[str, ...], limits: Limits
) -> Verdict | None:
    """The verdict on rules that were refuted statically: runs at those sizes, where these can be run."""
    variables = {var.name: var for var in (*func.shape_vars(), *func.scalars)}
    for proof in attempt.refuted:
        sizes = {variables[name]: value for name, value in proof.sizes.items()}
        try:
            verdict = _run_at(func, sizes, seed, poison, limits) if _runs(func, sizes) else None
        except (CallError, UnsupportedError):
            verdict = None
        if verdict is None or verdict.status == UNSUPPORTED:
            finding = Finding(proof.rule, RULES[proof.rule], proof.detail, str(proof))
            return Verdict(REFUTED, f"{proof} (a static proof; not run)", seed=seed, findings=(finding,))
        if verdict.status == TESTED:
            raise ProofContradiction(
                f"static proof and run disagree: {proof}, but the run shows no finding\n{func!r}",
                hint="one of them is wrong, which is a bug of mlcref; report the program with this text",
            )
        kept = tuple(finding for finding in verdict.findings if finding.rule in chosen)
        if kept:
            return replace(verdict, findings=kept, detail=f"found statically: {proof}")
    return None


def _run_at(
    func: PrimFunc, sizes: dict[Any, int], seed: int, poison: tuple[str, ...], limits: Limits
) -> Verdict:
    """The verdict of one run at ``sizes``."""
    call = arguments(func, sizes, _kinds(func, None)[0], np.random.default_rng(seed))
    return _run(func, set(RULES), [call], None, seed, poison, limits)


def _runs(func: PrimFunc, sizes: Mapping[Any, int]) -> bool:
    """Are arguments of these sizes small enough?"""
    return confirmable(func) and prod(max(1, abs(value)) for value in sizes.values()) <= MOST_CONFIRMED_ELEMENTS


def _run(
    func: PrimFunc,
    chosen: set[str],
    inputs: Iterable[Sequence[Any]] | None,
    trials: int | None,
    seed: int,
    poison: tuple[str, ...],
    limits: Limits,
) -> Verdict:
    """The verdict of runs."""
    if inputs is None:
        calls = draw(func, func, _kinds(func, trials), seed)
    else:
        calls = (Trial(number, "given", tuple(arguments)) for number, arguments in enumerate(inputs))
    found: dict[tuple[str, str], Finding] = {}
    tried = 0
    for trial in calls:
        tried += 1
        try:
            limits.check()
            reports = _errors(func, trial, poison, limits)
        except UnsupportedError as error:
            return Verdict(UNSUPPORTED, error.what, seed=seed, trials=tried)
        for report in reports:
            finding = Finding.of(report)
            if finding.rule in chosen:
                found.setdefault((finding.rule, report.drawing()), finding)
    return _verdict(tuple(found.values()), tried, seed)


def _verdict(found: tuple[Finding, ...], tried: int, seed: int) -> Verdict:
    """What the findings on ``tried`` inputs amount to."""
    counted = f"{tried} input{'s' if tried != 1 else ''}"
    if not tried:
        return Verdict(UNSUPPORTED, "there were no inputs", seed=seed)
    if found:
        what = f"{len(found)} finding{'s' if len(found) != 1 else ''} on {counted}"
        return Verdict(REFUTED, what, seed=seed, trials=tried, findings=found)
    return Verdict(TESTED, f"{counted}, no findings", seed=seed, trials=tried)


def _chosen(rules: Iterable[str] | None) -> set[str]:
    """The ids of the rules that ``rules`` names."""
    every = {rule for rule, severity in RULES.items() if severity in (MEANINGLESS, SIGNATURE)}
    if rules is None:
        return every
    if isinstance(rules, str):
        rules = [rules]
    chosen: set[str] = set()
    for name in rules:
        named = {rule for rule in every if name in (rule, rule.partition(".")[0], RULES[rule])}
        if not named:
            raise ValueError(f"no rule is called {name!r}; rules are {', '.join(sorted(every))}")
        chosen |= named
    return chosen


def _kinds(func: PrimFunc, count: int | None) -> list[str]:
    """Kinds of inputs on which a program should mean something."""
    traits = traits_of(func)
    kinds = ["index"] if traits.indirect else ["small", "random"] if traits.choices else ["small"]
    return [kinds[number % len(kinds)] for number in range(count)] if count is not None else kinds


def _errors(func: PrimFunc, trial: Trial, poison: tuple[str, ...], limits: Limits) -> list[MlcrefError]:
    """The reports of one run."""
    check = SignatureCheck()
    try:
        binding = execute_in(
            func, trial.arguments, MACHINE, poison=poison, watchers=[check],
            max_statements=limits.max_statements, deadline=limits.deadline,
        )  # fmt: skip
        check.uncovered(func, binding)
        for slot in binding.slots:
            check_output(func, slot)
    except (OracleError, CallError) as error:
        return [*check.found, error]
    return list(check.found)
