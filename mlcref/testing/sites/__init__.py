"""Programs in which a pass or a primitive has something to do that :func:`mlcref.verify.generate.varied` seldom draws.

A *site* draws a program of one family by ``pick``: starts of reductions between statements, windows that overlap,
kernels whose threads read each other. Those of a pass may be blockless already: the passes before it run over both.
The harness draws half of the examples of a target from its sites.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from mlcref.ir import PrimFunc
from mlcref.testing.sites import (
    accumulators, borders, conditions, exact, instructions, lanes, memory, narrow, rows, tails, threads,
)  # fmt: skip

Site = Callable[[Callable[..., Any]], PrimFunc]
"""Draws a program."""

_MODULES = (accumulators, conditions, instructions, lanes, memory, narrow, tails, threads, borders, rows, exact)
SITES: dict[str, tuple[Site, ...]] = {}
for _module in _MODULES:
    for _target, _sites in _module.SITES.items():
        SITES[_target] = (*SITES.get(_target, ()), *_sites)
"""By target, as campaigns name them: ``pass:unroll``, ``primitive:split``."""


def site(target: str, pick: Callable[..., Any]) -> PrimFunc | None:
    """A program from one of the sites of a target, in half of the calls; None otherwise.

    >>> site("pass:none", lambda options: options[0]) is None
    True
    """
    if target not in SITES or pick([False, True]):
        return None
    made: Site = pick(SITES[target])
    return made(pick)
