"""A program text with its place in a file: errors that point at it, and the text behind decorated Python objects."""

from __future__ import annotations

import ast
import linecache
import warnings
from collections.abc import Callable
from functools import lru_cache
from typing import Any

from mlcref.errors import MlcrefError, ScriptError, ScriptWarning, UnsupportedError


class UnsupportedScript(ScriptError, UnsupportedError):
    """A construct that TVMScript has and this parser does not read."""


class Source:
    """The text of a file (or string) that is being parsed.

    >>> import ast
    >>> source = Source("x = y + 1")
    >>> source.error(ast.parse(source.text).body[0].value.left, "y is not defined").column
    5
    """

    def __init__(self, text: str, filename: str = "<script>") -> None:
        self.text = text
        self.filename = filename
        self.lines = text.splitlines()

    def line(self, number: int) -> str:
        """Line ``number``, counted from 1; empty outside the text."""
        return self.lines[number - 1] if 0 < number <= len(self.lines) else ""

    def place(self, node: Any) -> tuple[int, int, int]:
        """Line and column (from 1) where ``node`` of the Python AST begins, and its width on that line."""
        number = int(getattr(node, "lineno", 1))
        raw = self.line(number).encode()
        start = int(getattr(node, "col_offset", 0))
        same_line = getattr(node, "end_lineno", number) == number
        end = int(getattr(node, "end_col_offset", start + 1)) if same_line else len(raw.rstrip())
        column = len(raw[:start].decode(errors="replace"))
        return number, column + 1, max(1, len(raw[start:end].decode(errors="replace")))

    def error(
        self, node: Any, what: str, hint: str | None = None, *, rule: str | None = None, kind: type[ScriptError] =
        ScriptError,
    ) -> ScriptError:  # fmt: skip
        """The error to raise for ``node`` of the Python AST."""
        line, column, width = self.place(node)
        return kind(
            what,
            filename=self.filename,
            line=line,
            column=column,
            source_line=self.line(line),
            width=width,
            rule=rule,
            hint=hint,
        )

    def unsupported(self, node: Any, what: str, hint: str | None = None) -> ScriptError:
        """The error for something that TVMScript has and this parser does not read."""
        return self.error(node, what, hint, rule="script.unsupported", kind=UnsupportedScript)

    def located(self, node: Any, error: Exception) -> ScriptError:
        """``error``, which building an expression raised, at ``node``; an error that has a place keeps it."""
        if isinstance(error, ScriptError):
            return error
        if isinstance(error, MlcrefError):
            kind = UnsupportedScript if isinstance(error, UnsupportedError) else ScriptError
            return self.error(node, error.what, error.hint, rule=error.rule, kind=kind)
        return self.error(node, str(error) or type(error).__name__)

    def warn(self, node: Any, what: str) -> None:
        """Warn with ``ScriptWarning``, file, line and caret."""
        error = self.error(node, what)
        warnings.warn_explicit(str(error), ScriptWarning, self.filename, error.line)

    def parse(self) -> ast.Module:
        """The Python syntax tree; raises ``ScriptError`` where the text is no Python."""
        return _syntax_tree(self.text, self.filename)


@lru_cache(maxsize=16)
def _syntax_tree(text: str, filename: str) -> ast.Module:
    try:
        return ast.parse(text)
    except SyntaxError as error:
        line = (error.text or "").rstrip("\n")
        raise ScriptError(
            f"syntax error: {error.msg}", filename=filename, line=error.lineno or 1, column=error.offset or 1,
            source_line=line,
            rule="script.syntax",
        ) from error  # fmt: skip
    except (ValueError, RecursionError, MemoryError) as error:
        reason = str(error) or "it is nested too deeply"
        raise ScriptError(
            f"the text cannot be read: {reason}", filename=filename, line=1, column=1, source_line="",
            rule="script.syntax",
        ) from None  # fmt: skip


def definition_of(function: Callable[..., Any]) -> tuple[ast.FunctionDef, Source]:
    """The syntax tree of a Python function and its source; raises ``ScriptError`` when the text cannot be found."""
    source = _source_file(function.__code__.co_filename, function.__name__)
    first = function.__code__.co_firstlineno
    for node in ast.walk(source.parse()):
        if isinstance(node, ast.FunctionDef) and node.name == function.__name__ and _first_line(node) == first:
            return node, source
    raise _no_source(function.__name__)


def class_definition_of(cls: type, member: Callable[..., Any]) -> tuple[ast.ClassDef, Source]:
    """The syntax tree of the class that ``member``, one of its functions, stands in."""
    source = _source_file(member.__code__.co_filename, cls.__name__)
    first = member.__code__.co_firstlineno
    for node in ast.walk(source.parse()):
        if isinstance(node, ast.ClassDef) and node.name == cls.__name__ and first in _first_lines(node):
            return node, source
    raise _no_source(cls.__name__)


def _first_lines(node: ast.ClassDef) -> set[int]:
    return {_first_line(part) for part in node.body if isinstance(part, ast.FunctionDef)}


def _first_line(node: ast.FunctionDef) -> int:
    return min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])


def _source_file(filename: str, name: str) -> Source:
    linecache.checkcache(filename)
    lines = linecache.getlines(filename)
    if not lines:
        raise _no_source(name)
    return Source("".join(lines), filename)


def _no_source(name: str) -> ScriptError:
    return ScriptError(
        f"the source text of {name} cannot be found",
        rule="script.source",
        hint="pass the text to mlcref.script.from_source",
    )
