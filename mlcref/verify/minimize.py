"""Smaller counterexamples: first smaller shapes, then zeros and ones in place of other numbers."""

from __future__ import annotations

import time
from collections.abc import Iterator
from itertools import product
from typing import Any, Protocol

import numpy as np

from mlcref.errors import CallError, UnsupportedError
from mlcref.ir import PrimFunc
from mlcref.verify.inputs import Array, Trial, arguments, size_variables
from mlcref.verify.report import Counterexample

_MOST_ATTEMPTS = 200
_MOST_SECONDS = 0.3
_LARGEST_SIZE = 6


class Check(Protocol):
    """A comparison of a program ``f`` with another one, which can be repeated on other arguments."""

    f: PrimFunc
    seed: int
    in_field: bool

    def attempt(self, trial: Trial) -> tuple[bool, Counterexample | None]:
        """Does this input count, and does it show a difference?"""


def minimized(check: Check, example: Counterexample) -> Counterexample:
    """A counterexample of the same kind with smaller symbolic shapes and simpler contents, as far as 200 runs and 0.3
    seconds go. One that only the field shows has no contents that matter, and stays."""
    if example.domain == "field":
        return example
    return _Search(check, example).run()


class _Search:
    def __init__(self, check: Check, example: Counterexample) -> None:
        self.check, self.best = check, example
        self.attempts = 0
        self.end = time.monotonic() + _MOST_SECONDS
        check.in_field = False

    def run(self) -> Counterexample:
        self.shrink_shapes()
        for number, argument in enumerate(self.best.arguments):
            if isinstance(argument, np.ndarray):
                self.shrink_array(number)
        return self.best

    @property
    def over(self) -> bool:
        """Is the search at its end?"""
        return self.attempts >= _MOST_ATTEMPTS or time.monotonic() > self.end

    def refutes(self, candidate: tuple[Any, ...]) -> bool:
        """Do these arguments show the same kind of difference? Then they are the best so far."""
        if self.over:
            return False
        self.attempts += 1
        try:
            _, found = self.check.attempt(Trial(self.best.trial, "given", candidate))
        except (UnsupportedError, CallError):
            return False
        old_rule, new_rule = (x.report.rule if x and x.report else None for x in (self.best, found))
        if found is None or new_rule != old_rule or found.domain != self.best.domain:
            return False
        self.best = found
        return True

    def shrink_shapes(self) -> None:
        """The smallest sizes, in the order of their sum, that show the difference."""
        names = size_variables(self.check.f)
        if not names:
            return
        cells = sum(x.size for x in self.best.arguments if isinstance(x, np.ndarray))
        sizes = range(_LARGEST_SIZE + 1)
        for chosen in sorted(product(sizes, repeat=len(names)), key=sum)[:_MOST_ATTEMPTS]:
            rng = np.random.default_rng((self.check.seed, self.best.trial))
            candidate = arguments(self.check.f, dict(zip(names, chosen, strict=True)), "small", rng)
            if sum(x.size for x in candidate if isinstance(x, np.ndarray)) >= cells or self.over:
                return
            if self.refutes(candidate):
                return

    def shrink_array(self, number: int) -> None:
        """Zeros where they do, then ones."""
        for value in (0, 1):
            for part in self.parts(number, value):
                self.replace(number, part, value)

    def parts(self, number: int, value: int) -> Iterator[slice]:
        """All of an array, its halves, its quarters, … as far as they hold other numbers than ``value`` and 0."""
        size = self.best.arguments[number].size
        length = size
        while length and not self.over:
            for start in range(0, size, length):
                part = slice(start, start + length)
                found = self.best.arguments[number].reshape(-1)[part]
                if not _is_simple(found, value):
                    yield part
            length //= 2

    def replace(self, number: int, part: slice, value: int) -> None:
        """Try ``value`` in a part of an array."""
        candidate = list(self.best.arguments)
        changed = candidate[number].copy(order="C")
        flat = changed.reshape(-1)
        flat[part] = np.where(flat[part] == 0, flat[part], value) if value else value
        candidate[number] = changed
        self.refutes(tuple(candidate))


def _is_simple(numbers: Array, value: int) -> bool:
    return bool(np.all((numbers == 0) | (numbers == value)))
