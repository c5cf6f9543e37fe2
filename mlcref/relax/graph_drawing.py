"""Drawings of graph functions, before and after passes: in a terminal, and as SVG.

rich is imported where it is used: that takes 20 ms, which a program that shows nothing need not pay.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING

from mlcref.ir.function import IRModule
from mlcref.relax.graph_steps import Step, between_bytes, fused_from, graph_steps

if TYPE_CHECKING:
    from rich.tree import Tree


_PAGE = 160
"""Characters of a line where the output is no terminal."""


def show(before: IRModule, after: IRModule | None = None, func_name: str = "main") -> None:
    """Print the graph function ``func_name`` call by call: what is called, on what, what it makes, in how many bytes.

    A kernel shows its blocks. With ``after``, the module that passes made of ``before``, the calls of ``after`` are
    shown, each with the calls of ``before`` that it does, and what became of their number and of the bytes between
    them. Raises ``MlcrefError`` (rule ``graph.show``) where there is no such function.

    >>> from mlcref import relax
    >>> bb = relax.BlockBuilder()
    >>> x = relax.Var("x", relax.TensorStructInfo((2, 3), "float32"))
    >>> with bb.function("main", [x]):
    ...     with bb.dataflow():
    ...         out = bb.emit_output(relax.op.nn.relu(bb.emit(relax.op.add(x, x))))
    ...     bb.emit_func_output(out)
    >>> show(bb.get(), relax.get_pipeline("zero")(bb.get()))
    main: 2 calls, 24 bytes between them -> 1 call, 0 bytes between them
    └── gv = fused_add_relu(x): float32[2, 3], 24 bytes, returned
        ├── lv = add(x, x): float32[2, 3], 24 bytes
        └── gv = nn.relu(lv): float32[2, 3], 24 bytes, returned
    """
    from rich.console import Console

    console = Console(highlight=False, emoji=False)
    if not console.is_terminal:
        console = Console(highlight=False, emoji=False, width=_PAGE)
    console.print(tree(before, after, func_name))


def tree(before: IRModule, after: IRModule | None = None, func_name: str = "main") -> Tree:
    """What :func:`show` prints, as a tree of rich."""
    from rich.text import Text
    from rich.tree import Tree

    steps = graph_steps(before, func_name)
    shown = steps if after is None else graph_steps(after, func_name)
    parts = {} if after is None else fused_from(steps, shown)
    root = Tree(Text(f"{func_name}: {_summary(steps, None if after is None else shown)}"))
    for step in shown:
        node = root.add(Text(_line(step)))
        members = parts.get(step.name, [])
        for member in members if len(members) > 1 else ():
            node.add(Text(_line(member)))
        if len(members) <= 1 and len(step.parts) > 1:
            node.add(Text(f"blocks: {', '.join(step.parts)}"))
    return root


def _summary(before: Sequence[Step], after: Sequence[Step] | None) -> str:
    texts = []
    for steps in (before, after):
        if steps is not None:
            calls = f"{len(steps)} call{'' if len(steps) == 1 else 's'}"
            texts.append(f"{calls}, {_bytes(between_bytes(list(steps)))} between them")
    return " -> ".join(texts)


def _line(step: Step) -> str:
    line = f"{step.name} = {step.call}({', '.join(step.inputs)}): {step.result}, {_bytes(step.bytes)}"
    if step.over is not None:
        line += f", in place of {step.over}"
    return f"{line}, returned" if step.returned else line


def _bytes(size: int | None) -> str:
    if size is None:
        return "bytes not known"
    for unit, scale in (("MiB", 2**20), ("KiB", 2**10)):
        if size >= scale:
            return f"{size / scale:.1f} {unit}"
    return f"{size} bytes"


# SVG: a column of boxes for each module, calls from top to bottom; arcs at the left say which result a call takes.

_WIDTH, _HEIGHT, _GAP, _MARGIN, _ARCS = 380, 40, 14, 20, 90
_COLOURS = ("#cfe3f7", "#f9dcc4", "#d5efd2", "#e6d9f2", "#fbf0c4", "#d3ece9", "#f4d4de", "#e2e2e2")


def to_svg(before: IRModule, after: IRModule | None = None, func_name: str = "main") -> str:
    """A self-contained SVG of the graph function ``func_name``; with ``after``, both beside each other, calls that
    became one in one colour. Raises what :func:`show` raises.

    >>> from mlcref import relax
    >>> bb = relax.BlockBuilder()
    >>> x = relax.Var("x", relax.TensorStructInfo((2, 3), "float32"))
    >>> with bb.function("main", [x]):
    ...     bb.emit_func_output(bb.emit(relax.op.add(x, x)))
    >>> to_svg(bb.get()).count("<rect")
    1
    """
    columns = [graph_steps(before, func_name)]
    if after is not None:
        columns.append(graph_steps(after, func_name))
    colours = _colours(columns)
    drawn = [line for number, steps in enumerate(columns) for line in _column(steps, number, colours)]
    width = len(columns) * (_ARCS + _WIDTH + _MARGIN) + _MARGIN
    height = 3 * _MARGIN + max(len(steps) for steps in columns) * (_HEIGHT + _GAP)
    head = f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" font-family="sans-serif">'
    return "\n".join([head, *drawn, "</svg>"]) + "\n"


def _colours(columns: Sequence[list[Step]]) -> Mapping[str, str]:
    """A colour for each call of the last column, and for the calls that it does."""
    last = columns[-1]
    found = {step.name: _COLOURS[number % len(_COLOURS)] for number, step in enumerate(last)}
    for name, members in fused_from(columns[0], last).items():
        found.update({member.name: found[name] for member in members})
    return found


def _column(steps: Sequence[Step], number: int, colours: Mapping[str, str]) -> list[str]:
    left = _MARGIN + number * (_ARCS + _WIDTH + _MARGIN) + _ARCS
    tops = {step.name: 2 * _MARGIN + at * (_HEIGHT + _GAP) for at, step in enumerate(steps)}
    drawn = [_text(left, _MARGIN, _summary(steps, None), 13, "#000")]
    for step in steps:
        top = tops[step.name]
        for source in dict.fromkeys(step.inputs):
            if source in tops:
                drawn.append(_edge(left, tops[source], top))
        drawn.append(
            f'<rect x="{left}" y="{top}" width="{_WIDTH}" height="{_HEIGHT}" rx="6" '
            f'fill="{colours.get(step.name, "#ffffff")}" stroke="#555"/>'
        )
        call = f"{step.name} = {step.call}({', '.join(step.inputs)})"
        drawn.append(_text(left + 10, top + 16, _clipped(call, 50), 13, "#000"))
        drawn.append(_text(left + 10, top + 33, f"{step.result}, {_bytes(step.bytes)}", 11, "#444"))
    return drawn


def _edge(left: int, source: int, target: int) -> str:
    """From the bottom of a box to the next one, or around those in between."""
    start, end = source + _HEIGHT, target
    if end - start <= _GAP:
        x = left + _WIDTH // 2
        return f'<path d="M{x} {start} L{x} {end}" stroke="#555" fill="none"/>'
    out = left - min(_ARCS - 10, 14 + (end - start) // 12)
    start, end = source + _HEIGHT // 2, target + _HEIGHT // 2
    return f'<path d="M{left} {start} C{out} {start} {out} {end} {left} {end}" stroke="#555" fill="none"/>'


def _text(x: int, y: int, text: str, size: int, colour: str) -> str:
    return f'<text x="{x}" y="{y}" font-size="{size}" fill="{colour}">{escape(text)}</text>'


def _clipped(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[: most - 1]}…"
