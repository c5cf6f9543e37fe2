"""How a test says which blocks of a course it runs."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

Test = TypeVar("Test", bound=Callable[..., object])
Numbers = int | tuple[int, int]
"""A block, or the first and the last of several."""


def blocks_of(key: str) -> Callable[..., Callable[[Test], Test]]:
    """The decorator of tests that run blocks of the chapter ``key``."""

    def shows(*numbers: Numbers) -> Callable[[Test], Test]:
        if not numbers:
            raise ValueError(f"a test that runs no block of {key}")
        return lambda test: test

    return shows
