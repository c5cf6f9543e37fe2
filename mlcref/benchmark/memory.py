"""Memory that a process holds, and whether a compiled function allocates more than its formula says."""

from __future__ import annotations

import ctypes
import resource
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from mlcref.benchmark.check import WrongResult
from mlcref.benchmark.report import bytes_words
from mlcref.runtime.module import Module

Value = TypeVar("Value")

_STATUS, _FORGET = Path("/proc/self/status"), Path("/proc/self/clear_refs")
_HELD_SLACK, _PEAK_SLACK = 1 << 16, 4 << 20
"""What the library of threads holds beside a workspace, and what a first call loads: code, stacks of threads."""


def peak_memory() -> int:
    """Bytes of memory that this process has had resident at most, since :func:`forget_peak` where that works.

    >>> peak_memory() > 1 << 20
    True
    """
    found = _resident("VmHWM")
    if found is None:  # no Linux; there the figure below may be that of the parent
        unit = 1 if sys.platform == "darwin" else 1024
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    return found


def forget_peak() -> bool:
    """Let the peak be what is resident now; says whether the system can."""
    try:
        _FORGET.write_text("5")
    except OSError:
        return False
    return True


def resident_memory() -> int | None:
    """Bytes that are resident now; None where the system does not say."""
    return _resident("VmRSS")


def _resident(key: str) -> int | None:
    try:
        lines = _STATUS.read_text().splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith(key)), None)


class _MallocInfo(ctypes.Structure):
    """glibc's ``struct mallinfo2``."""

    _fields_ = [(name, ctypes.c_size_t) for name in (
        "arena", "ordblks", "smblks", "hblks", "hblkhd", "usmblks", "fsmblks", "uordblks", "fordblks", "keepcost",
    )]  # fmt: skip


@cache
def _mallinfo() -> Callable[[], Any] | None:
    try:
        found: Any = ctypes.CDLL(None).mallinfo2
    except (AttributeError, OSError, TypeError):
        return None
    found.restype = _MallocInfo
    return found  # type: ignore[no-any-return]


def allocated_memory() -> int | None:
    """Bytes that the process holds from malloc; None where the C library does not say."""
    ask = _mallinfo()
    if ask is None:
        return None
    info = ask()
    return int(info.uordblks + info.hblkhd)


@dataclass(frozen=True, slots=True)
class Growth:
    """By how many bytes a call raised what the process holds from malloc, and its peak of resident memory; None where
    that cannot be known.
    """

    held: int | None
    peak: int | None


def watched(call: Callable[[], Value]) -> tuple[Value, Growth]:
    """What ``call`` returns, and by how much it raised the memory of the process.

    >>> import numpy as np
    >>> _, growth = watched(lambda: np.ones(1 << 23))  # so much is never memory that was used before
    >>> growth.peak is None or growth.peak >= 1 << 25
    True
    """
    forgets = forget_peak()
    before, resident = allocated_memory(), resident_memory()
    value = call()
    after, peak = allocated_memory(), peak_memory()
    held = None if before is None or after is None else after - before
    return value, Growth(held, peak - resident if forgets and resident is not None else None)


def workspace_bytes(library: Module) -> int:
    """The largest workspace of the functions of ``library``, which take turns. Raises ``UnsupportedError`` where one
    has no formula.
    """
    return max(library.workspace_bytes(name) for name in library.functions)


def check_growth(growth: Growth, library: Module) -> None:
    """Raise ``WrongResult`` where a call, the first one of ``library``, took more memory than its formula says.

    >>> check_growth(Growth(1 << 20, None), Module({"main": print}, "", "cython", {"main": "64 + 100"}))
    Traceback (most recent call last):
    mlcref.benchmark.check.WrongResult: a call allocates 1.0 MiB, its formula says 0.2 KiB  [bench.workspace]
    """
    allowed = workspace_bytes(library)
    for grown, slack in ((growth.held, _HELD_SLACK), (growth.peak, _PEAK_SLACK)):
        if grown is not None and grown > allowed + slack:
            said = f"a call allocates {bytes_words(grown)}, its formula says {bytes_words(allowed)}"
            raise WrongResult(said, rule="bench.workspace")
