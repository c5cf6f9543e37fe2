"""The registry of backends: what turns scheduled tensor programs into a module that runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from mlcref.errors import UnsupportedError
from mlcref.ir import PrimFunc, Target
from mlcref.records import dataclass
from mlcref.runtime.module import Module


@dataclass(frozen=True, slots=True)
class Backend:
    """A backend by name. ``build`` makes a module of functions; ``unavailable`` says why it cannot work here, or
    None.
    """

    name: str
    build: Callable[[Mapping[str, PrimFunc], Target], Module]
    unavailable: Callable[[], str | None]


BACKENDS: dict[str, Backend] = {}


def register_backend(backend: Backend) -> None:
    """Make ``backend`` the one of its name."""
    BACKENDS[backend.name] = backend


def backend_for(target: Target) -> Backend:
    """The backend that serves ``target``; raises ``UnsupportedError`` when there is none."""
    found = BACKENDS.get(target.backend)
    if found is None:
        known = ", ".join(BACKENDS)
        raise UnsupportedError(f"no backend for target {target.kind}", rule="compile.target", hint=f"backends: {known}")
    return found
