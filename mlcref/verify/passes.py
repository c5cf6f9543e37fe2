"""A pipeline of passes under the oracle: the program after each pass is checked against the one before."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

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


def check_passes(passes: Iterable[Pass | tuple[str, Pass]], func: PrimFunc, **options: Any) -> list[PassVerdict]:
    """Run ``passes`` one after the other on ``func`` and check each result against its input.

    A pass is a function from program to program, or a pair of a name and one. ``options`` are those of
    :func:`check_equivalent`. Ends behind the first pass that is refuted, so that the last verdict is the culprit's.
    A pass that returns its input is not checked.
    """
    verdicts: list[PassVerdict] = []
    for item in passes:
        name, apply = item if isinstance(item, tuple) else (getattr(item, "__name__", str(item)), item)
        after = apply(func)
        if after is func:
            continue
        verdicts.append(PassVerdict(name, check_equivalent(func, after, **options), func, after))
        if verdicts[-1].verdict.status == REFUTED:
            break
        func = after
    return verdicts
