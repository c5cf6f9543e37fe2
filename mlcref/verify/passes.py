"""A pipeline of passes under the oracle: the program after each pass is checked against the one before."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Protocol

from mlcref.ir import PrimFunc
from mlcref.verify.equivalent import check_equivalent
from mlcref.verify.report import REFUTED, Verdict

Pass = Callable[[PrimFunc], PrimFunc]


@dataclass(frozen=True)
class PassVerdict:
    """What a pass made of a program, and the verdict on it."""

    name: str
    verdict: Verdict
    before: PrimFunc
    after: PrimFunc

    def __bool__(self) -> bool:
        return bool(self.verdict)

    def __str__(self) -> str:
        return f"{self.name}: {self.verdict}"


class NamedPass(Protocol):
    """A pass as pipelines hold them."""

    @property
    def name(self) -> str:
        """What it is called."""

    @property
    def run(self) -> Pass:
        """The function."""


def check_passes(
    passes: Iterable[Pass | tuple[str, Pass] | NamedPass], func: PrimFunc, **options: Any
) -> list[PassVerdict]:
    """Run ``passes`` one after the other on ``func`` and check each result against its input.

    A pass is a function from program to program, a pair of a name and one, or a record with ``name`` and ``run`` such
    as those of ``mlcref.lower.PIPELINE``. ``options`` are those of :func:`check_equivalent`. Ends behind the first
    pass that is refuted, so that the last verdict is the culprit's. A pass that returns its input is not checked.

    >>> from mlcref.script import from_source
    >>> f = from_source('''
    ... @T.prim_func
    ... def f(A: T.Buffer((3,), "float32")):
    ...     A[0] = T.float32(2)
    ... ''')
    >>> for found in check_passes([("rename", lambda func: func.with_attr("global_symbol", "g"))], f, trials=1):
    ...     print(found)
    rename: TESTED: 1 input, all results equal bit by bit
    """
    verdicts: list[PassVerdict] = []
    for item in passes:
        name, apply = named(item)
        after = apply(func)
        if after is func:
            continue
        verdicts.append(PassVerdict(name, check_equivalent(func, after, **options), func, after))
        if verdicts[-1].verdict.status == REFUTED:
            break
        func = after
    return verdicts


def named(item: Pass | tuple[str, Pass] | NamedPass) -> tuple[str, Pass]:
    """The name of a pass and its function."""
    if isinstance(item, tuple):
        return item
    if callable(item):
        return getattr(item, "__name__", str(item)), item
    return item.name, item.run
