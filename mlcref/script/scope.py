"""Names of a script while it is parsed: lexical frames over the names around the script."""

from __future__ import annotations

import builtins
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

PYTHON_FUNCTIONS = {
    name: getattr(builtins, name) for name in ("abs", "bool", "float", "int", "len", "max", "min", "round", "sum")
}
"""Functions of Python that scripts may apply to plain values."""


class Scope:
    """Frames of names, innermost last; below them the environment (closure, globals, or ``env=``)."""

    def __init__(self, env: Mapping[str, Any]) -> None:
        self.env = env
        self.frames: list[dict[str, Any]] = [{}]

    @contextmanager
    def frame(self) -> Iterator[None]:
        """Names defined inside are forgotten afterwards."""
        self.frames.append({})
        try:
            yield
        finally:
            self.frames.pop()

    def define(self, name: str, value: Any) -> None:
        """Bind ``name`` in the innermost frame."""
        self.frames[-1][name] = value

    def outer(self, name: str) -> Any:
        """The value of ``name`` in a frame around the innermost one; None when there is none."""
        return next((frame[name] for frame in reversed(self.frames[:-1]) if name in frame), None)

    def lookup(self, name: str) -> Any:
        """The value of ``name``; raises ``KeyError``."""
        for frame in reversed(self.frames):
            if name in frame:
                return frame[name]
        if name in self.env:
            return self.env[name]
        return PYTHON_FUNCTIONS[name]

    def __contains__(self, name: str) -> bool:
        return any(name in frame for frame in self.frames) or name in self.env or name in PYTHON_FUNCTIONS

    def names(self) -> list[str]:
        """Names that the script itself defines, and short lists of those around it."""
        local = [name for frame in self.frames for name in frame]
        return [*local, *(name for name in self.env if not name.startswith("_"))]


def did_you_mean(name: str, known: list[str]) -> str | None:
    """A hint with the nearest known names, if one is near."""
    import difflib  # here, since most scripts have no unknown name

    near = difflib.get_close_matches(name, known, n=2)
    return f"did you mean {' or '.join(dict.fromkeys(near))}?" if near else None
