"""Where values that do not live at the same time lie in one block of memory."""

from __future__ import annotations

from collections.abc import Sequence
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


def plan_memory(values: Sequence[Lifetime]) -> tuple[tuple[int, ...], int]:
    """The offset of each value, and the bytes of the block: values that meet do not overlap.

    The largest values are placed first, each as low as it fits. Source: Pisarchyk and Lee, "Efficient memory management
    for deep neural net inference" (2020), greedy by size.

    >>> plan_memory([Lifetime(100, 0, 1), Lifetime(64, 1, 2), Lifetime(40, 2, 3)])
    ((0, 128, 0), 192)
    """
    offsets: dict[int, int] = {}
    total = 0
    for i in sorted(range(len(values)), key=lambda i: (-values[i].size, i)):
        taken = sorted((at, at + _rounded(values[j].size)) for j, at in offsets.items() if values[j].meets(values[i]))
        size, lowest = _rounded(values[i].size), 0
        for start, end in taken:
            if lowest + size <= start:
                break
            lowest = max(lowest, end)
        offsets[i] = lowest
        total = max(total, lowest + size)
    return tuple([offsets[i] for i in range(len(values))]), total


def _rounded(size: int) -> int:
    return -(-size // ALIGNMENT) * ALIGNMENT
