"""Refusals of the importer, drawn on the code that ``torch.fx`` generated for the graph."""

from __future__ import annotations

import re
from typing import Any

from mlcref.errors import UnsupportedError

CUSTOM = "give custom_convert_map a function of (node, importer) for it"


class UnsupportedNode(UnsupportedError):
    """A node of a traced model that cannot be imported. ``node`` is the node; the text shows its line and those around.

    Where the trace recorded them, the line of the model's own source is named, too.
    """

    def __init__(self, what: str, node: Any, *, rule: str, hint: str | None = None) -> None:
        super().__init__(what, rule=rule, hint=hint)
        self.node = node

    def drawing(self) -> str:
        """The node's line in the code of the graph with carets under it, between its neighbours."""
        lines = _code(self.node)
        at = next((number for number, line in enumerate(lines) if _is_line_of(line, self.node)), None)
        if at is None:
            return f"    {self.node.format_node()}"
        indent = len(lines[at]) - len(lines[at].lstrip())
        carets = " " * indent + "^" * (len(lines[at]) - indent)
        shown = [*lines[max(at - 1, 0) : at + 1], carets, *lines[at + 1 : at + 2]]
        return "\n".join([*(f"    {line}" for line in shown), *_source_line(self.node)])


def _code(node: Any) -> list[str]:
    """The lines of the graph's ``forward``, without the statements that free values."""
    text = node.graph.python_code("self").src
    return [line.partition(";  ")[0].rstrip() for line in text.splitlines() if line.strip()]


def _is_line_of(line: str, node: Any) -> bool:
    if node.op == "output":
        return line.lstrip().startswith("return")
    if node.op == "placeholder":
        return line.lstrip().startswith("def ")
    return re.match(rf"\s*{re.escape(node.name)}\b[^=]*=", line) is not None


def _source_line(node: Any) -> list[str]:
    """Where the model's own source has the node; nothing where the trace did not record it."""
    places = re.findall(r'File "([^"]+)", line (\d+)', getattr(node, "stack_trace", None) or "")
    return [f"    from {places[-1][0]}:{places[-1][1]}"] if places else []
