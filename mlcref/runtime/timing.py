"""Measures compiled functions as TVM's ``time_evaluator`` does."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from time import perf_counter

from mlcref.errors import CallError
from mlcref.records import dataclass
from mlcref.runtime.launch import Launcher, time_calls

_MAX_NUMBER = 1 << 30
_UNITS = (("s", 1), ("ms", 1e3), ("us", 1e6), ("ns", 1e9))


@dataclass(frozen=True, slots=True)
class BenchmarkResult:
    """Seconds per call, one value per repetition, and their statistics.

    >>> print(BenchmarkResult((0.001, 0.003)))
    Execution time summary:
      mean (ms)  median (ms)  max (ms)  min (ms)  std (ms)
         2.0000       2.0000    3.0000    1.0000    1.0000
    """

    results: tuple[float, ...]

    @property
    def mean(self) -> float:
        """The mean, in seconds."""
        return statistics.fmean(self.results)

    @property
    def median(self) -> float:
        """The median, in seconds."""
        return statistics.median(self.results)

    @property
    def min(self) -> float:
        """The smallest, in seconds."""
        return min(self.results)

    @property
    def max(self) -> float:
        """The largest, in seconds."""
        return max(self.results)

    @property
    def std(self) -> float:
        """The standard deviation of the population, in seconds."""
        return statistics.pstdev(self.results)

    def __str__(self) -> str:
        values = {"mean": self.mean, "median": self.median, "max": self.max, "min": self.min, "std": self.std}
        unit, scale = next(((u, s) for u, s in _UNITS if self.median * s >= 1), _UNITS[-1])
        heads = [f"{name} ({unit})" for name in values]
        cells = [f"{value * scale:.4f}" for value in values.values()]
        widths = [max(len(head), len(cell)) for head, cell in zip(heads, cells, strict=True)]
        rows = [[text.rjust(width) for text, width in zip(row, widths, strict=True)] for row in (heads, cells)]
        return "\n".join(["Execution time summary:", *("  " + "  ".join(row) for row in rows)])

    __repr__ = __str__


def time_evaluator(
    function: Callable[..., object], number: int = 10, repeat: int = 1, min_repeat_ms: float = 0
) -> Callable[..., BenchmarkResult]:
    """A function that times ``function`` on its arguments: one call, then ``repeat`` times ``number`` measured ones.

    ``number`` grows until a measurement lasts ``min_repeat_ms`` milliseconds. A ``Launcher`` checks its arguments once
    and then runs in a compiled loop; anything else is called from Python. Raises ``CallError`` for numbers below 1.

    >>> time_evaluator(sorted, number=3, repeat=2)([2, 1]).min > 0
    True
    """
    if number < 1 or repeat < 1 or min_repeat_ms < 0:
        message = f"time_evaluator: nothing to measure with {number=}, {repeat=}, {min_repeat_ms=}"
        raise CallError(message, rule="timing.number", hint="number and repeat start at 1")

    def evaluate(*args: object) -> BenchmarkResult:
        seconds = _timer(function, args)
        seconds(1)
        return BenchmarkResult(_measure(seconds, number, repeat, min_repeat_ms / 1e3))

    return evaluate


def _timer(function: Callable[..., object], args: Sequence[object]) -> Callable[[int], float]:
    """Seconds that a number of calls takes."""
    if isinstance(function, Launcher):
        bound = function.bind(*args)
        return lambda number: time_calls(bound, number)

    def seconds(number: int) -> float:
        start = perf_counter()
        for _ in range(number):
            function(*args)
        return perf_counter() - start

    return seconds


def _measure(seconds: Callable[[int], float], number: int, repeat: int, least: float) -> tuple[float, ...]:
    results = []
    for _ in range(repeat):
        taken = seconds(number)
        while taken < least and number < _MAX_NUMBER:
            growth = least / taken * 1.1 if taken > 0 else 10.0
            number = min(_MAX_NUMBER, max(number + 1, int(number * min(growth, 10.0))))
            taken = seconds(number)
        results.append(taken / number)
    return tuple(results)
