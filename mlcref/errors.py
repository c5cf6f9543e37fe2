"""Errors that say what, where (drawn on the script), which rule, and what to do about it.

Formatting is lazy: an error that is caught and dropped costs no printing of programs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

Marks = Sequence[tuple[object, str]]
"""Pairs of an IR node and the label written under it."""

_draw: list[Callable[[object, Marks], str]] = []


def set_drawer(draw: Callable[[object, Marks], str]) -> None:
    """Install the function that draws marked nodes on the script of a root node (the script package does)."""
    _draw[:] = [draw]


class MlcrefError(Exception):
    """Base of every error that mlcref raises on purpose.

    ``what`` is one line, or a function that makes it. ``rule`` names the rule that was broken (``parallel.P1``),
    ``root`` and ``marks`` the program and the places on it, ``hint`` the way out.

    >>> print(MlcrefError("loop i feeds a reduction", rule="parallel.P2", hint="rfactor first"))
    loop i feeds a reduction  [parallel.P2]
    hint: rfactor first
    """

    def __init__(
        self,
        what: str | Callable[[], str],
        *,
        rule: str | None = None,
        root: object = None,
        marks: Marks = (),
        hint: str | None = None,
    ) -> None:
        super().__init__(what)
        self._what = what
        self.rule = rule
        self.root = root
        self.marks = tuple(marks)
        self.hint = hint

    @property
    def what(self) -> str:
        """The first line, without rule, drawing and hint."""
        if callable(self._what):
            self._what = self._what()
        return self._what

    def drawing(self) -> str:
        """The marked places on the script of ``root``; empty when there is nothing to draw."""
        if self.root is None or not self.marks or not _draw:
            return ""
        return _draw[0](self.root, self.marks)

    def __str__(self) -> str:
        head = f"{self.what}  [{self.rule}]" if self.rule else self.what
        parts = [head, self.drawing(), f"hint: {self.hint}" if self.hint else ""]
        return "\n".join(part for part in parts if part)


class ScriptError(MlcrefError):
    """A program text that cannot be read. ``filename``, ``line`` and ``column`` count from 1; the caret is in the text.
    """

    def __init__(
        self, what: str, *, filename: str = "<script>", line: int = 0, column: int = 0, source_line: str = "",
        width: int = 1, rule: str | None = None, hint: str | None = None,
    ) -> None:  # fmt: skip
        super().__init__(what, rule=rule, hint=hint)
        self.filename, self.line, self.column = filename, line, column
        self.source_line, self.width = source_line, max(width, 1)

    def drawing(self) -> str:
        """``file:line:column`` with the source line and carets under the culprit."""
        place = f"  {self.filename}:{self.line}:{self.column}"
        if not self.source_line:
            return place
        return f"{place}\n    {self.source_line}\n    {' ' * (self.column - 1)}{'^' * self.width}"


class ScriptWarning(UserWarning):
    """A program text that can be read but probably does not say what was meant."""


class WellformedError(MlcrefError):
    """An IR that breaks an invariant: a variable bound twice or used out of scope, a shared statement, a wrong dtype.
    """


class TypeMismatch(MlcrefError, TypeError):
    """An expression built from operands that do not fit."""


class OracleError(MlcrefError):
    """A program that means nothing: out of bounds, undefined value used, race, badly bound block, bad arithmetic."""


class ScheduleError(MlcrefError):
    """A schedule primitive whose precondition does not hold. The schedule is unchanged."""


class UnsupportedError(MlcrefError, NotImplementedError):
    """Something that this part of the compiler does not do; raised instead of a wrong answer."""


class CompileError(MlcrefError):
    """The generated code could not be built; carries the compiler's own words."""


class CallError(MlcrefError, TypeError, ValueError):
    """A compiled function called with arguments that do not fit; raised before anything is written."""
