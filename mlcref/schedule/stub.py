"""Write ``schedule.pyi`` from the table, so that type checkers and editors see every primitive: ``python -m
mlcref.schedule.stub``.
"""

from __future__ import annotations

import inspect
from pathlib import Path

from mlcref.schedule.schedule import Schedule
from mlcref.schedule.table import TABLE, Primitive
from mlcref.schedule.instruction import MAKE_LOOPS, VARIADIC

HEAD = """# Written by `python -m mlcref.schedule.stub` from the table of primitives; do not edit.
from collections.abc import Sequence
from types import ModuleType
from typing import Any

from mlcref.ir import Buffer, Expr
from mlcref.schedule.core import ScheduleCore
from mlcref.schedule.handles import BlockRV, LoopRV

FAMILIES: tuple[ModuleType, ...]

class Schedule(ScheduleCore):
"""
_TYPES = {
    "Var": "LoopRV",
    "Token": "BlockRV | str",
    "Handle": "BlockRV | LoopRV",
    "LoopOrBlocks": "LoopRV | Sequence[BlockRV]",
    "int": "int | Expr",
    "list[int]": "Sequence[int | Expr]",
    "list[int | None]": "Sequence[int | Expr | None]",
    "list[Token] | None": "Sequence[BlockRV | str] | None",
}
_RETURNS = {"none": "None", "one": "{}", "list": "list[{}]"}


def stub_text() -> str:
    """The text of the stub."""
    return HEAD + "\n".join(_method(TABLE[name]) for name in sorted(TABLE)) + "\n"


def _method(primitive: Primitive) -> str:
    signature = inspect.signature(getattr(Schedule, primitive.name))
    parameters = ["self"]
    for parameter in list(signature.parameters.values())[1:]:
        annotation = str(parameter.annotation)
        kind = _TYPES.get(annotation, annotation)
        if VARIADIC.get(primitive.name) == parameter.name:
            parameters.append(f"*{parameter.name}: LoopRV")
        else:
            default = "" if parameter.default is inspect.Parameter.empty else f" = {parameter.default!r}"
            parameters.append(f"{parameter.name}: {kind}{default}")
    made = _RETURNS[primitive.returns].format("LoopRV" if primitive.name in MAKE_LOOPS else "BlockRV")
    return f"    def {primitive.name}({', '.join(parameters)}) -> {made}: ..."


if __name__ == "__main__":
    Path(__file__).with_name("schedule.pyi").write_text(stub_text(), encoding="utf-8")
