"""The text of a generated program while it grows: nested lines, names, addresses hoisted to where they are known."""

from __future__ import annotations

import keyword
import math
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from mlcref.errors import UnsupportedError
from mlcref.interp.memory import row_major, span
from mlcref.interp.placement import facts_of
from mlcref.interp.pygen_static import ZERO, Known, Linear, Quotient
from mlcref.ir.buffer import Buffer
from mlcref.ir.expr import Expr, Var
from mlcref.ir.function import PrimFunc

Lines: TypeAlias = list[Any]
"""Strings, lists of the same depth, and :class:`Indented` parts."""


class Indented(list[Any]):
    """Lines one level deeper."""


@dataclass
class Mark:
    """A line that notes written elements; left out where nobody asks."""

    memory: Memory
    text: str


def flatten(lines: Lines, depth: int = 0) -> Iterator[str]:
    """The lines as text."""
    for line in lines:
        if isinstance(line, str):
            yield "    " * depth + line if line else ""
        elif isinstance(line, Mark):
            if line.memory.parameter or line.memory.tracked:
                yield "    " * depth + line.text
        else:
            yield from flatten(line, depth + isinstance(line, Indented))


@dataclass
class Level:
    """A place where variables become known: what is computed from them goes into ``prologue``."""

    prologue: Lines
    names: dict[str, str] = field(default_factory=dict)


@dataclass(eq=False)
class Memory:
    """The storage of a buffer: its names in the program, its size, and what must be tracked about it."""

    buffer: Buffer
    name: str
    size: int
    parameter: bool
    checked: bool
    """May an element be undefined? Then loads look at the mask of written elements."""
    arrays: bool = False
    """Is it used by a numpy statement?"""
    written: bool = False
    tracked: bool = False
    """Does any load look at the mask?"""
    place: tuple[int, int] = (0, 0)
    """Loops and branches around the place where it starts undefined."""
    forks: list[Users] = field(default_factory=list)
    """Who tracks the use of its elements when the program runs: parallel loops, and threads."""
    per_thread: bool = False
    """Does each thread have a part of its own?"""


@dataclass(frozen=True, eq=False)
class View:
    """Where the elements of a buffer are: ``(i, j)`` at ``start + i * strides[0] + j * strides[1]`` of a memory."""

    memory: Memory
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    start: Linear = ZERO
    inside: bool = True
    """Are all elements in the memory?"""


@dataclass(frozen=True, eq=False)
class Users:
    """The name of an object that tracks users; threads may write the same bits to one element."""

    name: str
    threads: bool


class NotGenerated(UnsupportedError):
    """A construct that only the machine runs."""


class Code:
    """The state of generation that scalar and numpy statements share."""

    def __init__(self, func: PrimFunc, sizes: dict[Var, int]) -> None:
        self.func, self.facts = func, facts_of(func)
        self.body: Lines = []
        self.levels: list[Level] = []
        self.depth: dict[Var, int] = {}
        self.known = Known(forms={var: Linear({}, value) for var, value in sizes.items()})
        self.names: dict[Var, str] = {}
        self.memories: list[Memory] = []
        self.views: dict[Buffer, View] = {}
        self.namespace: dict[str, Any] = {}
        self.taken: dict[str, int] = {"t": 0, "np": 0}
        self.slots = self.slot = 0
        self.loop_depth = self.branch_depth = 0
        self.quiet: list[Memory] = []
        """Memories that the nest at hand fills entirely: its stores need not be noted one by one."""

    # --- names and lines ---

    def fresh(self, hint: str) -> str:
        """A name that is not used yet."""
        name = re.sub(r"\W", "_", hint, flags=re.ASCII) or "x"
        if name[0].isdigit() or keyword.iskeyword(name) or name in _RESERVED:
            name = f"{name}_" if not name[0].isdigit() else f"x{name}"
        count = self.taken.get(name)
        if count is None:
            self.taken[name] = 0
            return name
        self.taken[name] = count + 1
        return self.fresh(f"{name}_{count + 1}")

    def line(self, text: str) -> None:
        """One more line here."""
        self.body.append(text)

    def named(self, text: str, hint: str = "x") -> str:
        """``text`` as a name or a number, computed once."""
        if text.isidentifier() or text.lstrip("-").isdigit():
            return text
        name = self.fresh(hint)
        self.line(f"{name} = {text}")
        return name

    def note_written(self, memory: Memory, text: str) -> None:
        """A line that marks elements as written."""
        memory.written = True
        if not any(memory is filled for filled in self.quiet):
            self.body.append(Mark(memory, text))

    def refuse_undefined(self, memory: Memory, defined: str) -> None:
        """Give up where an element of a memory was not written."""
        memory.tracked = True
        self.line(f"if not {defined}: doubt()")

    def refuse_unless(self, condition: str) -> None:
        """Give up where the condition does not hold."""
        self.line(f"if not ({condition}): doubt()")

    @contextmanager
    def indented(self, head: str) -> Iterator[None]:
        """Lines under ``head``."""
        outer = self.body
        outer.append(head)
        self.body = Indented()
        outer.append(self.body)
        mark = len(self.body)
        yield
        if len(self.body) == mark or not any(True for _ in flatten(self.body)):
            self.body.append("pass")
        self.body = outer

    @contextmanager
    def level(self, *variables: Var) -> Iterator[None]:
        """Lines below which ``variables`` are known."""
        outer = self.body
        inner: Lines = []
        level = Level([])
        inner.append(level.prologue)
        outer.append(inner)
        for var in variables:
            self.depth[var] = len(self.levels)
        self.levels.append(level)
        self.body = inner
        yield
        self.levels.pop()
        self.body = outer

    @contextmanager
    def knowing(self, known: Known) -> Iterator[None]:
        """Lines where more is known."""
        outer, self.known = self.known, known
        yield
        self.known = outer

    def bound_object(self, hint: str, value: Any) -> str:
        """A name for a Python object that the program uses."""
        for name, found in self.namespace.items():
            if found is value:
                return name
        name = self.fresh(hint)
        self.namespace[name] = value
        return name

    # --- addresses ---

    def address(self, form: Linear, *, keep: bool = False) -> str:
        """A linear form as text; the part that is known further out is computed there. ``keep`` names the whole."""
        groups: dict[int, list[str]] = {}
        for atom, coefficient in form.terms.items():
            groups.setdefault(self._depth_of(atom), []).append(_term(self._atom(atom), coefficient))
        text, here = "", len(self.levels) - 1
        last = max(groups, default=0)
        for depth in sorted(groups):
            text = _joined([text, *groups[depth]])
            if depth == last and form.constant:
                text = _joined([text, str(form.constant)])
            if depth < here or (keep and depth == last):
                text = self.hoisted(text, depth)
        return text or str(form.constant)

    def hoisted(self, text: str, depth: int, hint: str = "at") -> str:
        """A name for ``text``, computed at the start of a level."""
        if text.isidentifier():
            return text
        level = self.levels[depth]
        name = level.names.get(text)
        if name is None:
            name = level.names[text] = self.fresh(hint)
            level.prologue.append(f"{name} = {text}")
        return name

    def _depth_of(self, atom: Any) -> int:
        if isinstance(atom, Quotient):
            return max((self.depth[var] for var in atom.form.variables()), default=0)
        if atom not in self.depth:
            raise NotGenerated(f"{atom.name} has no value here")
        return self.depth[atom]

    def _atom(self, atom: Any) -> str:
        if not isinstance(atom, Quotient):
            return self.names[atom]
        terms = [_term(self._atom(a), c) for a, c in atom.form.terms.items()]
        if atom.form.constant:
            terms.append(str(atom.form.constant))
        return f"({_joined(terms)}) // {atom.divisor}"

    # --- memory ---

    def constant(self, e: Expr) -> int:
        """The value of an expression that is constant once the sizes are known."""
        form = self.known.linear(e)
        if form is None or form.terms:
            raise NotGenerated("an extent that is not constant where it is needed")
        return form.constant

    def layout(self, buffer: Buffer) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Shape and strides of a buffer, in elements."""
        shape = tuple(self.constant(extent) for extent in buffer.shape)
        return shape, tuple(self.constant(stride) for stride in buffer.strides) or row_major(shape)

    def declare(self, buffer: Buffer, *, parameter: bool, checked: bool) -> Memory:
        """Storage for a buffer."""
        if buffer in self.views:
            return self.views[buffer].memory
        shape, strides = self.layout(buffer)
        if parameter and buffer.strides:
            raise NotGenerated("a parameter with declared strides")
        memory = self.new_memory(buffer, shape, strides, parameter=parameter, checked=checked)
        self.views[buffer] = View(memory, shape, strides)
        return memory

    def new_memory(
        self, buffer: Buffer, shape: Sequence[int], strides: Sequence[int], *, parameter: bool = False,
        checked: bool = True, copies: int = 1,
    ) -> Memory:  # fmt: skip
        """Storage for elements of this shape, ``copies`` times."""
        if min(shape, default=0) < 0 or min(strides, default=0) < 0 or math.prod(shape) * copies > 1 << 28:
            raise NotGenerated("a buffer of this shape")
        suffixes = ("_np", "_w", "_zero", "_w_np", "_one")
        name = self.fresh(buffer.name)
        while any(name + suffix in self.taken for suffix in suffixes):
            name = self.fresh(buffer.name)
        self.taken.update(dict.fromkeys((name + suffix for suffix in suffixes), 0))
        memory = Memory(buffer, name, span(shape, strides) * copies, parameter, checked)
        self.memories.append(memory)
        return memory

    def find_view(self, buffer: Buffer) -> View | None:
        """Where the elements of a buffer are; None where it has no memory yet."""
        return self.views.get(buffer)

    def view(self, buffer: Buffer) -> View:
        """Where the elements of a buffer in use are."""
        found = self.find_view(buffer)
        if found is None:
            raise NotGenerated(f"{buffer.name} has no memory here")
        return found


_RESERVED = {"range", "float", "set", "memoryview", "bytearray", "bytes", "np", "t", "view", "inside", "where_inside",
             "truncate", "ordered", "cells", "doubt", "Doubt", "Users", "Threads", "INF", "NAN", "len"}  # fmt: skip


def _term(atom: str, coefficient: int) -> str:
    if coefficient == 1:
        return atom
    return f"-{atom}" if coefficient == -1 and "//" not in atom else f"{atom} * {coefficient}"


def _joined(parts: list[str]) -> str:
    kept = [part for part in parts if part]
    return "".join(
        part if i == 0 else f" - {part[1:]}" if part.startswith("-") else f" + {part}" for i, part in enumerate(kept)
    )
