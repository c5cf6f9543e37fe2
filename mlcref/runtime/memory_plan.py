"""Where values that do not live at the same time lie in one block of memory."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

ALIGNMENT = 64
"""Bytes: each value starts at a multiple of it, so that vectors of any width may be aligned."""


@dataclass(frozen=True, slots=True)
class Lifetime:
    """A value of ``size`` bytes that is needed from step ``first`` to step ``last``."""

    size: int
    first: int
    last: int

    def meets(self, other: Lifetime) -> bool:
        """Is there a step at which both are needed?"""
        return self.first <= other.last and other.first <= self.last


Offsets = tuple[int, ...]


def plan_memory(values: Sequence[Lifetime]) -> tuple[Offsets, int]:
    """The offset of each value, and the bytes of the block: values that meet do not overlap.

    Values are placed one after the other, each as low as it fits: the largest first, and where this does not reach
    :func:`least_memory` in other orders too, then again with those first that stuck out; the best is taken. Source:
    Pisarchyk and Lee, "Efficient memory management for deep neural net inference" (2020), greedy by size.

    >>> plan_memory([Lifetime(100, 0, 1), Lifetime(64, 1, 2), Lifetime(40, 2, 3)])
    ((0, 128, 0), 192)
    """
    least, best = least_memory(values), None
    for first in _ORDERS:
        order = sorted(range(len(values)), key=lambda i: (first(values[i]), i))
        for _ in range(_ROUNDS):
            offsets, total = _placed(values, order)
            if best is None or total < best[1]:
                best = offsets, total
            if best[1] <= least:
                return best
            order.sort(key=lambda i: offsets[i] + rounded(values[i].size) < total)
    assert best is not None
    return best


_ORDERS: tuple[Callable[[Lifetime], tuple[int, ...]], ...] = (
    lambda value: (-value.size,),
    lambda value: (-value.size * (value.last - value.first + 1),),
    lambda value: (value.first - value.last, -value.size),
    lambda value: (-value.last, -value.size),
    lambda value: (value.first, -value.size),
)
"""What comes first: the largest value, the one that takes most memory for most steps, the one that lives longest, the
last, the first."""

_ROUNDS = 4
"""Attempts with each order."""


def least_memory(values: Iterable[Lifetime]) -> int:
    """The bytes that are needed at once at some step: no plan takes fewer.

    >>> least_memory([Lifetime(100, 0, 1), Lifetime(64, 1, 2), Lifetime(40, 2, 3)])
    192
    """
    changes: dict[int, int] = {}
    for value in values:
        changes[value.first] = changes.get(value.first, 0) + rounded(value.size)
        changes[value.last + 1] = changes.get(value.last + 1, 0) - rounded(value.size)
    now = most = 0
    for step in sorted(changes):
        now += changes[step]
        most = max(most, now)
    return most


def rounded(size: int) -> int:
    """The bytes that a value of ``size`` bytes takes."""
    return -(-size // ALIGNMENT) * ALIGNMENT


def _placed(values: Sequence[Lifetime], order: Iterable[int]) -> tuple[Offsets, int]:
    """The offset of each value when they are placed in this order, each as low as it fits."""
    offsets: dict[int, int] = {}
    total = 0
    for i in order:
        taken = sorted((at, at + rounded(values[j].size)) for j, at in offsets.items() if values[j].meets(values[i]))
        size, lowest = rounded(values[i].size), 0
        for start, end in taken:
            if lowest + size <= start:
                break
            lowest = max(lowest, end)
        offsets[i] = lowest
        total = max(total, lowest + size)
    return tuple([offsets[i] for i in range(len(values))]), total
