"""Index maps in the JSON form of TVM's traces: a list of nodes that refer to each other by position."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, NamedTuple

from mlcref.arith import IndexMap
from mlcref.errors import ScheduleError, UnsupportedError
from mlcref.ir import (
    EQ, GE, GT, LE, LT, NE, Add, And, Binary, Cast, Const, Expr, FloorDiv, FloorMod, Max, Min, Mul, Or, Select, Sub,
    Var,
)  # fmt: skip

_BINARY: dict[str, type[Binary]] = {
    f"prim.{kind.__name__}": kind
    for kind in (EQ, GE, GT, LE, LT, NE, Add, And, FloorDiv, FloorMod, Max, Min, Mul, Or, Sub)
}
_NONE = 0


class Access(NamedTuple):
    """One of the accesses of a block: ``("read", 0)``. TVM's JSON form has position and kind as two numbers."""

    kind: str
    position: int

    def as_json(self) -> list[int]:
        """Position and kind as numbers."""
        return [self.position, int(self.kind == "write")]

    @staticmethod
    def from_json(position: Any, kind: Any) -> Access:
        """The access of two numbers."""
        return Access("write" if int(kind) else "read", int(position))


def map_to_json(index_map: IndexMap) -> str:
    """The text of an index map. Raises ``UnsupportedError`` for expressions other than arithmetic and comparisons."""
    writer = _Writer()
    initial = writer.add("ffi.Array", [writer.expr(v) for v in index_map.initial_indices])
    final = writer.add("ffi.Array", [writer.expr(e) for e in index_map.final_indices])
    inverse = index_map.inverse_index_map
    given = _NONE if inverse is None else writer.add("ffi.String", map_to_json(inverse))
    root = writer.add(
        "tirx.IndexMap", {"initial_indices": initial, "final_indices": final, "inverse_index_map": given}
    )
    return json.dumps({"root_index": root, "nodes": writer.nodes, "metadata": {"tvm_version": "0.27.0"}})


class _Writer:
    def __init__(self) -> None:
        self.nodes: list[dict[str, Any]] = [{"type": "None"}]
        self.types: dict[str, int] = {}
        self.variables: dict[Var, int] = {}

    def add(self, kind: str, content: Any) -> int:
        self.nodes.append({"type": kind, "data": content})
        return len(self.nodes) - 1

    def of_type(self, dtype: str) -> int:
        if dtype not in self.types:
            self.types[dtype] = self.add("ir.PrimType", {"span": _NONE, "dtype": dtype})
        return self.types[dtype]

    def expr(self, e: Expr) -> int:
        """The position of an expression."""
        if isinstance(e, Var):
            if e not in self.variables:
                fields = {"span": _NONE, "ty": self.of_type(e.type), "name": self.add("ffi.String", e.name)}
                self.variables[e] = self.add("ir.Var", fields)
            return self.variables[e]
        head = {"span": _NONE, "ty": self.of_type(e.dtype)}
        if isinstance(e, Const) and isinstance(e.value, float):
            return self.add("ir.FloatImm", {**head, "value": e.value})
        if isinstance(e, Const):
            return self.add("ir.IntImm", {**head, "value": self.add("int", int(e.value))})
        if isinstance(e, Binary) and f"prim.{type(e).__name__}" in _BINARY:
            return self.add(f"prim.{type(e).__name__}", {**head, "a": self.expr(e.a), "b": self.expr(e.b)})
        if isinstance(e, Cast):
            return self.add("prim.Cast", {**head, "value": self.expr(e.value)})
        if isinstance(e, Select):
            parts = {name: self.expr(getattr(e, name)) for name in ("condition", "true_value", "false_value")}
            return self.add("prim.Select", {**head, **parts})
        raise UnsupportedError(f"a trace in JSON form has no {type(e).__name__} in index maps", rule="trace.json")


def map_from_json(text: str) -> IndexMap:
    """The index map of a text. Raises ``ScheduleError`` for a text that is none."""
    try:
        graph = json.loads(text)
        found = _Reader(graph["nodes"]).value(graph["root_index"])
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise ScheduleError(f"no index map in JSON form: {error}", rule="trace.json") from error
    if not isinstance(found, IndexMap):
        raise ScheduleError("a trace in JSON form has an object that is no index map", rule="trace.json")
    return found


class _Reader:
    def __init__(self, nodes: list[dict[str, Any]]) -> None:
        self.nodes = nodes
        self.known: dict[int, Any] = {}

    def value(self, position: int) -> Any:
        """What stands at a position; the same object each time."""
        if position not in self.known:
            node = self.nodes[position]
            self.known[position] = self.built(node["type"], node.get("data"))
        return self.known[position]

    def built(self, kind: str, content: Any) -> Any:
        if kind in ("None", "int", "ffi.String", "float"):
            return content
        if kind == "ir.PrimType":
            return content["dtype"]
        if kind == "ffi.Array":
            return [self.value(item) for item in content]
        if kind == "tirx.IndexMap":
            inverse = self.value(content["inverse_index_map"])
            given = map_from_json(inverse) if isinstance(inverse, str) else inverse
            return IndexMap(self.value(content["initial_indices"]), self.value(content["final_indices"]), given)
        return self.expression(kind, content, self.value(content["ty"]))

    def expression(self, kind: str, content: Mapping[str, Any], dtype: str) -> Expr:
        if kind == "ir.Var":
            return Var(self.value(content["name"]), dtype)
        if kind == "ir.IntImm":
            number = self.value(content["value"])
            return Const(bool(number) if dtype == "bool" else int(number), dtype)
        if kind == "ir.FloatImm":
            return Const(float(content["value"]), dtype)
        if kind in _BINARY:
            return _BINARY[kind](self.value(content["a"]), self.value(content["b"]))
        if kind == "prim.Cast":
            return Cast(dtype, self.value(content["value"]))
        if kind == "prim.Select":
            return Select(*[self.value(content[name]) for name in ("condition", "true_value", "false_value")])
        raise ScheduleError(f"index maps in JSON form with {kind} are not supported", rule="trace.json")
