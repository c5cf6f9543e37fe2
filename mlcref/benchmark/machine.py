"""What results were measured on and with: no paths, no names of hosts or people."""

from __future__ import annotations

import hashlib
import importlib
import os
import platform
from collections.abc import Sequence
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

from mlcref.benchmark.systems import SYSTEMS
from mlcref.errors import CompileError
from mlcref.runtime.compiler import find_compiler

_WANTED = ("avx512f", "avx512_bf16", "avx512_fp16", "avx512_vnni", "amx_tile", "avx2", "fma", "asimd", "sve")


def machine() -> dict[str, Any]:
    """The processor, its instruction sets that matter here, cores, memory, system.

    >>> sorted(machine())
    ['cores', 'instruction_sets', 'memory_bytes', 'processor', 'system']
    """
    facts = _cpu_facts()
    flags = (facts.get("flags") or facts.get("Features") or "").split()
    return {
        "processor": facts.get("model name") or platform.processor() or platform.machine(),
        "instruction_sets": [name for name in _WANTED if name in flags],
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "memory_bytes": _memory_bytes(),
        "system": f"{platform.system()} {platform.machine()}",
    }


def _cpu_facts() -> dict[str, str]:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return {}
    return {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in reversed(lines))}


def _memory_bytes() -> int | None:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return None


def versions(systems: Sequence[str]) -> dict[str, str]:
    """Of Python, the compiler, mlcref and the libraries of ``systems``.

    >>> sorted(versions(["numpy"]))
    ['compiler', 'mlcref', 'mlcref source', 'numpy', 'python']
    """
    found = {"python": platform.python_version(), "compiler": _compiler_version()}
    found |= {SYSTEMS[name].library: SYSTEMS[name].version for name in systems}
    return {**found, "mlcref": str(importlib.import_module("mlcref").__version__), "mlcref source": source_digest()}


def _compiler_version() -> str:
    try:
        found = find_compiler()
    except CompileError:
        return "none"
    return found.version.splitlines()[0]


def source_digest() -> str:
    """Of mlcref's own text: results of another state of the code are not continued."""
    counted = hashlib.blake2b(digest_size=8)
    _count(resources.files("mlcref"), counted)
    return counted.hexdigest()


def _count(folder: Traversable, counted: Any) -> None:
    for entry in sorted(folder.iterdir(), key=lambda entry: entry.name):
        if entry.is_dir():
            _count(entry, counted)
        elif entry.name.endswith((".py", ".pyx")):
            counted.update(entry.name.encode() + entry.read_bytes())
