"""What comparisons of one schedule in TVM and here share: the course's names, and indices simplified on both sides."""

from __future__ import annotations

from typing import Any

from mlcref.arith import simplify
from mlcref.ir import Expr, IRModule, PrimFunc, map_children


class OldNames:
    """TVM's schedule with the names of the course."""

    def __init__(self, sch: Any) -> None:
        self.sch = sch

    def __getattr__(self, name: str) -> Any:
        return getattr(self.sch, {"get_block": "get_sblock"}.get(name, name))


def normalised(program: Any) -> Any:
    """Index expressions simplified the same way on both sides."""

    def visit(node: Any) -> Any:
        new = map_children(visit, node)
        return simplify(new, {}) if isinstance(new, Expr) and new.dtype in ("int32", "int64") else new

    func = program["main"] if isinstance(program, IRModule) else program
    assert isinstance(func, PrimFunc)
    return visit(func).without_attr("global_symbol")
