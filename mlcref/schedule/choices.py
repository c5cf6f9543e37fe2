"""Where choices come from: every sampled decision is ``pick(options)``."""

from __future__ import annotations

import random
from collections.abc import Sequence
from functools import lru_cache
from typing import Any


class RandomPick:
    """Independent random choices from a seed; None draws a seed from the system.

    >>> RandomPick(0)([1, 2, 3]) in (1, 2, 3)
    True
    """

    def __init__(self, seed: int | None = None) -> None:
        self._random = random.Random(seed)

    def __call__(self, options: Sequence[Any], weights: Sequence[float] | None = None) -> Any:
        if weights is None:
            return options[self._random.randrange(len(options))]
        return self._random.choices(options, weights)[0]

    def fork(self) -> int:
        """A seed for another independent stream."""
        return self._random.randrange(1, 2**31)


@lru_cache(maxsize=4096)
def perfect_tiles(extent: int, n: int, max_innermost: int) -> tuple[tuple[int, ...], ...]:
    """All ways to write ``extent`` as a product of ``n`` factors with the last at most ``max_innermost`` (-1: no
    limit).

    >>> perfect_tiles(4, 2, -1)
    ((1, 4), (2, 2), (4, 1))
    """
    if n == 1:
        return ((extent,),) if max_innermost < 0 or extent <= max_innermost else ()
    return tuple((f, *rest) for f in _divisors(extent) for rest in perfect_tiles(extent // f, n - 1, max_innermost))


@lru_cache(maxsize=1024)
def _divisors(number: int) -> tuple[int, ...]:
    small = [d for d in range(1, int(number**0.5) + 1) if number % d == 0]
    return tuple(sorted({*small, *(number // d for d in small)}))
