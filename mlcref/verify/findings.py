"""Is one program as it should be? Its meaning on inputs, and what its blocks declare about themselves."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from typing import Any

from mlcref.errors import CallError, MlcrefError, OracleError, UnsupportedError
from mlcref.interp.domains import execute_in
from mlcref.interp.numeric import MACHINE
from mlcref.interp.rules import MEANINGLESS, RULES, SIGNATURE
from mlcref.interp.run import check_output, select
from mlcref.interp.signature import SignatureCheck
from mlcref.ir import IRModule, PrimFunc
from mlcref.verify.inputs import Trial, trials as draw
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
) -> Verdict:
    """Does ``f`` mean something on inputs, and is what its blocks declare true?

    ``rules`` chooses what to look for: ids of ``docs/semantics.md`` ("block.epoch"), their first parts ("block"), or
    severities ("meaningless", "signature"); everything when it is None. ``inputs`` is a list of argument lists;
    otherwise ``trials`` are drawn, and for programs that index with what they load, these are valid indices (integers
    from 0 to the smallest extent). The verdict is "REFUTED" with ``findings``, one per rule and place; "TESTED" when
    no input showed one; "UNSUPPORTED" when the oracle cannot run it or a budget (``max_statements`` of each run,
    ``timeout`` in seconds) ends. A run that means nothing ends there: signature findings behind it are not seen.

    Raises ``ValueError`` for unknown rules.

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
            reports = _errors(func, trial, tuple(poison), limits)
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
