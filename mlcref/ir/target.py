"""What code is generated for."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import field, fields, replace
from types import TracebackType
from typing import Any, ClassVar

from mlcref.errors import MlcrefError
from mlcref.ir.cpu import Cpu, available_cores, host_cpu
from mlcref.records import dataclass

_BACKENDS = {"cython": "cython", "llvm": "cython", "c": "cython", "cuda": "cuda", "nvidia": "cuda", "metal": "metal"}

_CPU_FIELDS = tuple([field.name for field in fields(Cpu)])


@dataclass(frozen=True)
class Target:
    """A target: its kind and options, from ``"llvm --num-cores=1"``, ``{"kind": "cython", "num-cores": 1}`` or a bare
    name.

    "cython", "llvm" and "c" all select the Cython backend of the host CPU. ``host`` is what runs the code that calls
    the kernels: a CPU.

    >>> Target("llvm --num-cores=1").num_cores
    1
    """

    spec: Any
    host: Target | str | Mapping[str, Any] | None = field(default=None, compare=False)
    kind: str = field(init=False)
    options: dict[str, Any] = field(init=False, compare=False)
    _current: ClassVar[list[Target]] = []

    def __post_init__(self) -> None:
        options = _parse(self.spec)
        kind = str(options.pop("kind"))
        if kind.partition("/")[0] not in _BACKENDS:
            known = ", ".join(sorted(_BACKENDS))
            raise MlcrefError(f"unknown target kind {kind!r}", hint=f"known kinds: {known}")
        host = None if self.host is None else Target(self.host)
        if host is not None and host.backend != "cython":
            raise MlcrefError(f"the host must be a CPU, not {host.kind}", hint='write host="llvm"')
        object.__setattr__(self, "host", host)
        object.__setattr__(self, "spec", json.dumps({"kind": kind, **options}, sort_keys=True))
        object.__setattr__(self, "kind", kind)
        object.__setattr__(self, "options", options)

    @property
    def backend(self) -> str:
        """The backend that serves this target ("cython", "cuda", …)."""
        return _BACKENDS[self.kind.partition("/")[0]]

    @property
    def num_cores(self) -> int:
        """Threads that a parallel loop may use: the option ``num-cores``, else ``mlcref.ir.cpu.available_cores()``."""
        value = self.options.get("num-cores")
        return int(value) if value is not None else available_cores()

    @property
    def max_num_threads(self) -> int:
        """Threads that a block of a GPU may have: the option ``max_num_threads``, else 1024 for CUDA, 256 for others.

        Raises ``MlcrefError`` for a CPU.

        >>> Target("cuda").max_num_threads, Target("cuda --max_num_threads=64").max_num_threads
        (1024, 64)
        """
        if self.backend == "cython":
            raise MlcrefError(f"target {self.kind} has no blocks of threads", hint='such as Target("cuda") has')
        return int(self.options.get("max_num_threads", 1024 if self.backend == "cuda" else 256))

    @property
    def cpu(self) -> Cpu:
        """The core that code is fitted to: the options ``vector-bytes``, ``vector-registers``, ``l1-bytes`` and
        ``l2-bytes``; what is not given is that of this machine. Raises ``MlcrefError`` for what is no power of two of
        bytes from 1 to 64.

        >>> Target("cython --vector-bytes=16 --vector-registers=16").cpu.vector_bytes
        16
        """
        given = {name: self.options.get(name.replace("_", "-")) for name in _CPU_FIELDS}
        cpu = replace(host_cpu(), **{name: int(value) for name, value in given.items() if value is not None})
        if cpu.vector_bytes not in (1, 2, 4, 8, 16, 32, 64):
            raise MlcrefError(
                f"vectors of {cpu.vector_bytes} bytes", hint="--vector-bytes is 16, 32 or 64, or 1 for scalar code"
            )
        return cpu

    @staticmethod
    def current(allow_none: bool = True) -> Target | None:
        """The innermost target of a ``with Target(...):``."""
        if Target._current:
            return Target._current[-1]
        if allow_none:
            return None
        raise MlcrefError("no target is current", hint='use `with mlcref.target.Target("llvm"): ...`')

    def __enter__(self) -> Target:
        Target._current.append(self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        Target._current.pop()

    def __str__(self) -> str:
        return str(self.spec)

    __repr__ = __str__


def _parse(spec: Any) -> dict[str, Any]:
    if isinstance(spec, Target):
        return {"kind": spec.kind, **spec.options}
    if isinstance(spec, Mapping):
        return {"kind": "cython", **spec}
    text = str(spec).strip()
    if text.startswith("{"):
        loaded: dict[str, Any] = json.loads(text)
        return loaded
    words = text.split()
    if not words:
        raise MlcrefError("empty target", hint='write for example "llvm" or "cython --num-cores=2"')
    options: dict[str, Any] = {"kind": words[0]}
    for word in words[1:]:
        key, equals, value = word.lstrip("-").partition("=")
        if not word.startswith("-") or not key:
            raise MlcrefError(f"target option {word!r} is not of the form --key=value")
        options[key] = (int(value) if value.lstrip("-").isdigit() else value) if equals else True
    return options
