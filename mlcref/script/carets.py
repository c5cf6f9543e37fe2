"""Drawings under errors: the marked places of a program, underlined on its script."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mlcref.script.print import print_page


def draw(root: object, marks: Sequence[tuple[Any, str]]) -> str:
    """The lines of ``root``'s script on which marked nodes stand, and the lines around them that they are nested in.

    ``marks`` are pairs of a node and the label under it. Nodes that the script does not show are left out.
    """
    lines = print_page(root, marks=[node for node, _ in marks]).spans()
    shown = sorted({k for marked, (_, spans) in enumerate(lines) if spans for k in (marked, *_around(lines, marked))})
    drawn: list[str] = []
    for k in shown:
        text, spans = lines[k]
        drawn.append(f"  {text}")
        for mark, column, length in sorted(spans, key=lambda span: -span[1]):
            drawn.append(f"  {' ' * column}{'^' * length}  {marks[mark][1]}")
    return "\n".join(drawn)


def _around(lines: list[tuple[str, list[tuple[int, int, int]]]], inner: int) -> list[int]:
    """The lines that line ``inner`` is nested in."""
    depth = _indentation(lines[inner][0])
    found = []
    for k in range(inner - 1, -1, -1):
        text = lines[k][0]
        if text and _indentation(text) < depth:
            depth = _indentation(text)
            found.append(k)
    return found


def _indentation(text: str) -> int:
    return len(text) - len(text.lstrip())
