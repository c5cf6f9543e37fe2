"""What a CPU offers to generated code: width and number of vector registers, caches. Read when asked for, never on
import.
"""

from __future__ import annotations

import os
import platform
from functools import cache
from pathlib import Path

from mlcref.records import dataclass

_CACHES = Path("/sys/devices/system/cpu/cpu0/cache")
_SHARE = Path("/sys/fs/cgroup/cpu.max")
_UNITS = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30}


@dataclass(frozen=True, slots=True)
class Cpu:
    """Sizes of one core: bytes of a vector, vector registers, bytes of its first and second cache.

    Where vectors are no wider than an element, code is scalar.
    """

    vector_bytes: int = 64
    vector_registers: int = 32
    l1_bytes: int = 32 << 10
    l2_bytes: int = 1 << 20


@cache
def host_cpu() -> Cpu:
    """The core that this process runs on; the defaults of :class:`Cpu` stand for caches that the system does not
    describe.
    """
    width, registers = vector_unit(platform.machine(), cpu_flags())
    return Cpu(width, registers, _cache_bytes(1) or Cpu().l1_bytes, _cache_bytes(2) or Cpu().l2_bytes)


def vector_unit(machine: str, flags: str) -> tuple[int, int]:
    """Bytes of a vector and the number of vector registers, from the names of architecture and instruction sets.

    >>> vector_unit("x86_64", "sse2 avx avx2 fma"), vector_unit("aarch64", "fp asimd"), vector_unit("riscv64", "")
    ((32, 16), (16, 32), (1, 16))
    """
    known = set(flags.split())
    if machine.lower() in ("x86_64", "amd64"):
        return (64, 32) if "avx512f" in known else (32, 16) if "avx2" in known else (16, 16)
    if machine.lower() in ("aarch64", "arm64"):
        return 16, 32
    return 1, 16


@cache
def cpu_flags() -> str:
    """The instruction sets as the system names them, for example ``"… sse2 avx2 …"``; empty where it names none."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ""
    found = (line.partition(":")[2].strip() for line in lines if line.split(":")[0].strip() in ("flags", "Features"))
    return next(found, "")


def available_cores() -> int:
    """Threads that this process should start: one for each core that it may run on, but no more than its share of time
    pays for (that of its control group, as containers have it), nor than ``OMP_NUM_THREADS`` says.

    >>> available_cores() >= 1
    True
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    allowed = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0].strip()
    limits = [cores, _share_of_time(), int(allowed) if allowed.isdigit() and int(allowed) else None]
    return min(limit for limit in limits if limit is not None)


def _share_of_time() -> int | None:
    """The cores that the process's control group pays for, rounded up; None where it has no limit."""
    try:
        quota, period = _SHARE.read_text().split()
    except (OSError, ValueError):
        return None
    return max(-(-int(quota) // int(period)), 1) if quota.isdigit() else None


def _cache_bytes(level: int) -> int | None:
    """The size of the cache of that level that holds data; None where the system does not say."""
    for folder in sorted(_CACHES.glob("index*")):
        try:
            here, kind, size = [(folder / name).read_text().strip() for name in ("level", "type", "size")]
        except OSError:
            continue
        if here == str(level) and kind in ("Data", "Unified") and size[:-1].isdigit() and size[-1] in _UNITS:
            return int(size[:-1]) * _UNITS[size[-1]]
    return None
