"""What a page of a course is: its blocks of code, in order, and why some of them do not run as they stand."""

from __future__ import annotations

import re
from dataclasses import dataclass

REASONS = {
    "shell": "a command that installs something, or describes the machine",
    "prose": "a fragment for the reader, which is part of the program that a neighbouring block runs",
    "plot": "a plot",
    "shipped": "downloads a data set or weights; here they are those that mlcref ships, or drawn ones",
    "shown": "notebook display: the text it shows is looked at instead",
    "cuda": "needs a CUDA device and code for it: there is no such backend, and the target is refused by name",
    "metal": "needs Metal: the target is refused by name",
    "tune": "`tune_tir` searches; the search is a later step, and `mlcref.autoschedule` stands in for its result",
    "proof": "binds loops that were fused and cut by sizes that do not divide them, which `bind` does not prove right; "
             "here each axis is cut by itself",
    "export": "writes a compiled module to a file, which is refused by name",
    "mxnet": "is computed by MXNet; here the reference is numpy's",
    "timing": "a curve of times over sizes, beside MXNet's: here one size, without MXNet; see `python -m mlcref bench`",
}  # fmt: skip


@dataclass(frozen=True)
class Row:
    """Blocks ``first`` to ``last`` of a chapter: what they do, and why they do not run as they stand, if so."""

    first: int
    last: int
    title: str
    reason: str | None

    @property
    def numbers(self) -> range:
        """The blocks, by number."""
        return range(self.first, self.last + 1)

    @property
    def words(self) -> list[str]:
        """The code that the title names."""
        return re.findall(r"`([^`]+)`", self.title)


@dataclass(frozen=True)
class Chapter:
    """A page of a course. ``key`` is what tests call it."""

    course: str
    key: str
    title: str
    rows: tuple[Row, ...]


def chapter(course: str, key: str, title: str, rows: str) -> Chapter:
    """A chapter from lines such as ``22-28  loops split and reordered`` or ``3  a picture  | plot``."""
    found = [_row(line) for line in rows.strip().splitlines()]
    return Chapter(course, key, title, tuple(found))


def _row(line: str) -> Row:
    numbers, rest = line.split(maxsplit=1)
    title, _, reason = rest.partition(" | ")
    first, _, last = numbers.partition("-")
    return Row(int(first), int(last or first), title.strip(), reason.strip() or None)
