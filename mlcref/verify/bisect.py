"""The first wrong step of a trace or of a pass pipeline."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from mlcref.ir import IRModule, PrimFunc
from mlcref.verify.equivalent import check_equivalent
from mlcref.verify.passes import NamedPass, Pass, named
from mlcref.verify.report import REFUTED, Verdict

Program = PrimFunc | IRModule
Replay = Callable[[int], Program]


@dataclass(frozen=True)
class Bisection:
    """What a bisection found: ``step`` is the number of the first wrong step (from 0), None when there is none;
    ``name`` what it is called; ``before`` and ``after`` the programs around it; ``verdict`` the one on ``after``
    against the program at the start, whose counterexample names the step and the trace up to it. ``checks`` counts the
    comparisons made."""

    step: int | None
    name: str
    before: Program
    after: Program
    verdict: Verdict
    checks: int

    def __bool__(self) -> bool:
        return self.step is None and bool(self.verdict)

    def __str__(self) -> str:
        return str(self.verdict) if self.step is None else f"step {self.step} ({self.name}) is wrong\n{self.verdict}"


def bisect_trace(
    steps: Sequence[Any], replay: Replay | None = None, *, names: Sequence[str] = (), **options: Any
) -> Bisection:
    """The first wrong step of a trace.

    ``steps`` are programs, the first the one to start from; or, with ``replay``, instructions of any kind, where
    ``replay(n)`` gives the program after the first n of them. ``names`` says how reports call the steps; the
    instructions themselves are their names otherwise. ``options`` are those of :func:`check_equivalent`.

    The last program is compared with the first; where it is refuted, halving finds a step before which the program
    still refines the first and after which it does not. So a step is found in about log2(n) comparisons; a wrong step
    that a later one makes good is not. Verdicts other than "REFUTED" count as right.

    >>> from mlcref.script import from_source
    >>> def scaled(factor):
    ...     return from_source(f'''
    ... @T.prim_func
    ... def f(A: T.Buffer((2,), "float32")):
    ...     for i in range(2):
    ...         A[i] = A[i] * T.float32({factor})
    ... ''')
    >>> found = bisect_trace([2, 2, 3, 3], replay=lambda n: scaled([2, 2, 2, 3, 3][n]), names=["a", "b", "c", "d"])
    >>> found.step, found.name, found.checks
    (2, 'c', 3)
    """
    if replay is None:
        programs = list(steps)
        if not programs:
            raise ValueError("there is no program to start from")
        count, replay = len(programs) - 1, programs.__getitem__
        labels = list(names) or [f"step {number}" for number in range(count)]
    else:
        count, labels = len(steps), list(names) or [str(step) for step in steps]
    if len(labels) != count:
        raise ValueError(f"there are {count} steps, but {len(labels)} names")
    return _search(replay, count, labels, options)


def bisect_passes(
    passes: Iterable[Pass | tuple[str, Pass] | NamedPass], func: PrimFunc, **options: Any
) -> Bisection:
    """The first wrong pass of a pipeline; ``passes`` are as :func:`check_passes` takes them. All of them are run, and
    few of the results compared.

    >>> from mlcref.script import from_source
    >>> f = from_source('''
    ... @T.prim_func
    ... def f(A: T.Buffer((3,), "float32")):
    ...     A[0] = T.float32(2)
    ... ''')
    >>> print(bisect_passes([("rename", lambda func: func.with_attr("global_symbol", "g"))], f))
    TESTED: 1 input, all results equal bit by bit
    """
    programs, labels = [func], []
    for item in passes:
        name, apply = named(item)
        programs.append(apply(programs[-1]))
        labels.append(name)
    return _search(programs.__getitem__, len(labels), labels, options)


def _search(replay: Replay, count: int, labels: Sequence[str], options: dict[str, Any]) -> Bisection:
    first, checks = replay(0), 0
    verdicts: dict[int, Verdict] = {}

    def wrong(number: int) -> bool:
        nonlocal checks
        checks += 1
        verdicts[number] = check_equivalent(first, replay(number), **options)
        return verdicts[number].status == REFUTED

    if not wrong(count):
        return Bisection(None, "", first, replay(count), verdicts[count], checks)
    right, bad = 0, count
    while bad - right > 1:
        middle = (right + bad) // 2
        if wrong(middle):
            bad = middle
        else:
            right = middle
    verdict, name = verdicts.get(bad), labels[bad - 1] if count else "the program itself"
    assert verdict is not None and verdict.counterexample is not None
    example = replace(verdict.counterexample, step=name, trace=tuple(labels[:bad]))
    step = max(bad - 1, 0)
    return Bisection(step, name, replay(max(bad - 1, 0)), replay(bad), replace(verdict, counterexample=example), checks)
