"""What the suite asks of a system: is it here, and a call for a workload."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from importlib import metadata
from typing import Any

import numpy as np

from mlcref.benchmark.operators import Case
from mlcref.errors import UnsupportedError
from mlcref.runtime.module import Module

Array = np.ndarray[Any, Any]


@dataclass(frozen=True, slots=True)
class Prepared:
    """A workload ready to run: ``call`` is what is timed, ``result`` makes an array of what it returned. ``library``
    are the functions that mlcref compiled for it: what they allocate is checked.
    """

    call: Callable[[], Any]
    result: Callable[[Any], Array]
    library: Module | None = None


@dataclass(frozen=True, slots=True)
class System:
    """A system by name. ``library`` is the distribution that it comes from, ``modules`` what it imports.

    ``prepare(case, threads)`` does what a user would do once: compile, convert, pack. It raises ``UnsupportedError``
    for what the system cannot say. ``unavailable`` gives a further reason why it cannot run here. ``slow`` systems run
    only when they are asked for by name.
    """

    name: str
    library: str
    modules: tuple[str, ...]
    prepare: Callable[[Case, int], Prepared]
    unavailable: Callable[[], str | None] = lambda: None
    slow: bool = False

    @property
    def version(self) -> str:
        """Of its library; empty where that is not installed."""
        try:
            return metadata.version(self.library)
        except metadata.PackageNotFoundError:
            return ""

    def why_not(self) -> str | None:
        """Why it cannot run here, or None; imports its library."""
        try:
            for module in self.modules:
                importlib.import_module(module)
        except (ImportError, OSError) as error:  # a library whose own libraries do not load
            return f"not installed: {error}"
        return self.unavailable()


def inexpressible(system: str, operator: str, why: str = "") -> UnsupportedError:
    """The error for an operator that a system has no way to say."""
    reason = why or f"has no {operator}"
    return UnsupportedError(f"{system} {reason}", rule="bench.expressible")


def returned(value: Any) -> Array:
    """The result of a call that returns an array."""
    return np.asarray(value)
