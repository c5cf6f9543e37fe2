"""Measures calls that take turns: other load on the machine hits all of them alike, and ratios within a round mean
something even when the figures drift.
"""

from __future__ import annotations

import gc
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import repeat
from random import Random
from time import perf_counter, process_time, sleep
from typing import Any

from mlcref.runtime.build import no_garbage_collection

Call = Callable[[], Any]
Clock = Callable[[], float]
_LONG = 5.0
"""A call of as many turns is long: what it finds in the caches does not matter."""


@dataclass(frozen=True, slots=True)
class Effort:
    """How long to measure: ``rounds`` in which every call gets at least ``seconds``, ``rest`` seconds after each.

    The rest lets threads that a library keeps spinning go to sleep before the next one is measured. ``clock`` is
    "wall", or "cpu": what the process computed, whoever else had the core in between; it says nothing of several
    threads.
    """

    rounds: int = 15
    seconds: float = 0.01
    rest: float = 0.0
    clock: str = "wall"

    def for_threads(self, threads: int) -> Effort:
        """With a rest where threads could spin (torch's and ONNX Runtime's do so for 0.1 s), and the wall clock."""
        return self if threads == 1 else Effort(self.rounds, self.seconds, max(self.rest, 0.15))

    @property
    def now(self) -> Clock:
        """The clock."""
        return process_time if self.clock == "cpu" else perf_counter


def seconds_per_call(call: Call, number: int, now: Clock = perf_counter, *, warm: bool = True) -> float:
    """Seconds per call over ``number`` calls in a row, unless ``warm`` is False after one that is not counted."""
    if warm:
        call()
    start = now()
    for _ in repeat(None, number):
        call()
    return (now() - start) / number


def interleaved(
    calls: Mapping[str, Call], effort: Effort, turn: Callable[[str], None] = lambda name: None
) -> dict[str, list[float]]:
    """Seconds per call of every call in every round; the order within a round is drawn anew each time. ``turn`` hears
    whose turn it is. Calls that take long begin without one that is not counted.

    >>> found = interleaved({"one": lambda: 1, "two": lambda: 2}, Effort(rounds=3, seconds=1e-5))
    >>> {name: len(values) for name, values in found.items()}
    {'one': 3, 'two': 3}
    """
    now = effort.now
    gc.collect()
    with no_garbage_collection():
        once: dict[str, float] = {}
        for name, call in calls.items():
            turn(name)
            once[name] = _once(call, now)
        taken: dict[str, list[float]] = {name: [] for name in calls}
        order, chance = list(calls), Random(0)
        for _ in range(effort.rounds):
            chance.shuffle(order)
            for name in order:
                turn(name)
                number, warm = max(1, int(effort.seconds / once[name])), once[name] < _LONG * effort.seconds
                taken[name].append(seconds_per_call(calls[name], number, now, warm=warm))
                if effort.rest:
                    sleep(effort.rest)
    return taken


def _once(call: Call, now: Clock) -> float:
    """Seconds of a call once it is warm, undisturbed: turns of different lengths would be disturbed differently."""
    number, taken = 1, seconds_per_call(call, 1, now)
    while number * taken < 2e-4:
        number *= 4
        taken = seconds_per_call(call, number, now)
    again = 4 if number * taken < _LONG * 0.01 else 1
    return max(min(taken, *(seconds_per_call(call, number, now) for _ in range(again))), 1e-9)


def quartiles(values: Sequence[float]) -> tuple[float, float, float]:
    """Lower quartile, median, upper quartile.

    >>> quartiles([4, 1, 3, 2, 5])
    (2.0, 3.0, 4.0)
    """
    if len(values) == 1:
        return (values[0],) * 3
    low, middle, high = statistics.quantiles(values, n=4, method="inclusive")
    return low, middle, high


def ratio(values: Sequence[float], reference: Sequence[float]) -> float:
    """How many times as fast as the reference: the median over the rounds of the ratio within a round.

    >>> ratio([1.0, 2.0, 10.0], [2.0, 4.0, 10.0])
    2.0
    """
    return statistics.median(theirs / mine for mine, theirs in zip(values, reference, strict=True))
