"""Operations of torch that change a tensor: who sees the change.

In a graph nothing changes. A node that stands for a changed tensor gets the result for its value; where another node
may share memory with it (a view) and is used later, the importer refuses.
"""

from __future__ import annotations

from typing import Any

from mlcref.importers.fx_table import ALIASES, VIEWS, Converter, look_up

_ASSIGNMENTS = ("iadd", "isub", "imul", "itruediv")


class InPlace:
    """Which nodes of a traced model stand for one tensor (``same``) and which may share memory (``memory``).

    Both map a node to the first of its kind; nodes that are absent stand for themselves.
    """

    def __init__(self, importer: Any) -> None:
        self.importer = importer
        self.same: dict[Any, Any] = {}
        self.memory: dict[Any, Any] = {}
        self.position = {node: at for at, node in enumerate(importer.model.graph.nodes)}

    def check(self, node: Any, arguments: dict[str, Any]) -> bool:
        """Does ``node`` change its first operand? Raises ``UnsupportedNode`` where a view used later would see it."""
        if not self._changes(node, arguments):
            return False
        changed = node.args[0]
        if self._origin(changed).op == "get_attr":
            self.importer.refuse("fx.in_place", "to change a parameter in place", "compute a new tensor")
        for other in self._sharing(changed):
            if self.same.get(other, other) is not self.same.get(changed, changed) and self._used_after(other, node):
                what = f"to change {changed.name} in place while {other.name}, which may share memory, is used later"
                self.importer.refuse("fx.in_place", what, "drop the underscore, or inplace=True")
        return True

    def settle(self, node: Any, converter: Converter | None, in_place: bool, value: Any) -> None:
        """Take note of what ``node`` shares with its first operand; after a change, all the same have ``value``."""
        first = next((arg for arg in node.args if arg in self.position), None) if node.args else None
        if first is None:
            return
        if in_place or converter in ALIASES:
            self.same[node] = self.same.get(first, first)
        if in_place or converter is None or converter in VIEWS or value is self.importer.env[first]:
            self.memory[node] = self._origin(first)
        if in_place:
            for other in self._sharing(first):
                if self.same.get(other, other) is self.same[node]:
                    self.importer.env[other] = value

    def _changes(self, node: Any, arguments: dict[str, Any]) -> bool:
        if not node.args or node.args[0] not in self.position:
            return False
        if node.op == "call_module":
            return bool(getattr(self.importer.named_modules[node.target], "inplace", False))
        if node.op == "call_method":
            named = node.target.strip("_") in _ASSIGNMENTS
            return bool(named or (node.target.endswith("_") and not node.target.endswith("__")))
        assigned = any(node.target is look_up(f"operator.{name}") for name in _ASSIGNMENTS)
        return bool(arguments.get("inplace")) or (assigned and self.importer.is_tensor(node.args[0]))

    def _origin(self, node: Any) -> Any:
        return self.memory.get(node, node)

    def _sharing(self, node: Any) -> list[Any]:
        origin = self._origin(node)
        return [other for other in self.importer.env if self._origin(other) is origin]

    def _used_after(self, other: Any, node: Any) -> bool:
        return any(self.position[user] > self.position[node] for user in other.users)
