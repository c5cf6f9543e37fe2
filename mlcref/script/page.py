"""What is being printed: lines, indentation, names in scope, and the marks that drawings under errors are made from."""

from __future__ import annotations

import keyword
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from mlcref.ir import unique_name
from mlcref.script.dialects import Dialect

_RESERVED = {*keyword.kwlist, "T", "R", "I", "range", "self", "cls"}
_OPEN, _CLOSE, _MARKS = 0xE000, 0xE800, 0x800


class Names:
    """Unique names for variables, buffers and functions. A name is free again when its frame ends."""

    def __init__(self) -> None:
        self.of_object: dict[Any, str] = {}
        self.used: set[str] = set(_RESERVED)
        self.frames: list[list[Any]] = [[]]

    def bind(self, item: Any, hint: str) -> str:
        """The name of ``item``: ``hint``, made valid and unique."""
        known = self.of_object.get(item)
        if known is not None:
            return known
        plain = re.sub(r"\W", "_", hint, flags=re.ASCII) or "v"
        name = unique_name(f"v{plain}" if plain[0].isdigit() else plain, self.used)
        self.used.add(name)
        self.of_object[item] = name
        self.frames[-1].append(item)
        return name

    @contextmanager
    def frame(self) -> Iterator[None]:
        """Names bound inside are free afterwards."""
        self.frames.append([])
        try:
            yield
        finally:
            for item in self.frames.pop():
                self.used.discard(self.of_object.pop(item))


class Page:
    """Lines of a script under way.

    ``marks`` are nodes whose text is to be found again: :meth:`mark` puts invisible brackets around it, which
    :meth:`text` leaves out and :meth:`spans` reads.
    """

    def __init__(self, dialect: Dialect, *, indent: int = 4, marks: Sequence[Any] = ()) -> None:
        self.dialect = dialect
        self.indent = " " * indent
        self.depth = 0
        self.lines: list[str] = []
        self.names = Names()
        self.loops: dict[Any, Any] = {}
        self.full_constants = False
        self.in_function = False
        self.module = "Module"
        self.flat = False
        self.constants: list[Any] = []
        self.marks: dict[Any, int] = {}
        for k, node in enumerate(marks[:_MARKS]):
            self.marks.setdefault(node, k)
        self.pending = set(self.marks.values())

    def line(self, text: str, *nodes: Any) -> None:
        """Write a line; marked ``nodes`` that it stands for are marked over its whole length."""
        for node in nodes:
            text = self.mark(node, text)
        self.lines.append(self.indent * self.depth + text if text else "")

    @contextmanager
    def indented(self) -> Iterator[None]:
        """Lines inside are one step further in, and names bound inside are free afterwards."""
        self.depth += 1
        try:
            with self.names.frame():
                yield
        finally:
            self.depth -= 1

    def mark(self, node: Any, text: str) -> str:
        """``text``, findable where ``node`` is marked and was not met before."""
        k = self.marks.get(node) if self.marks else None
        if k is None or k not in self.pending:
            return text
        self.pending.discard(k)
        return f"{chr(_OPEN + k)}{text}{chr(_CLOSE + k)}"

    def define(self, item: Any, hint: str) -> str:
        """The name of ``item`` where it is bound."""
        return self.mark(item, self.names.bind(item, hint))

    def text(self) -> str:
        """The text without marks."""
        return "\n".join(_strip(line) for line in self.lines)

    def spans(self) -> list[tuple[str, list[tuple[int, int, int]]]]:
        """Each line with the marks on it: index of the mark, first column (from 0), length."""
        return [(_strip(line), _spans(line)) for line in self.lines]


def _is_mark(char: str) -> bool:
    return _OPEN <= ord(char) < _CLOSE + _MARKS


def _strip(line: str) -> str:
    return "".join(char for char in line if not _is_mark(char)) if not line.isascii() else line


def _spans(line: str) -> list[tuple[int, int, int]]:
    found: list[tuple[int, int, int]] = []
    starts: dict[int, int] = {}
    column = 0
    for char in line:
        if not _is_mark(char):
            column += 1
        elif ord(char) < _CLOSE:
            starts[ord(char) - _OPEN] = column
        else:
            k = ord(char) - _CLOSE
            found.append((k, starts[k], max(1, column - starts[k])))
    return found
