"""The record of what was done to a schedule: text and JSON in TVM's own forms, and replay."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from mlcref.errors import MlcrefError, ScheduleError
from mlcref.ir import Add, Binary, Const, Expr, FloorDiv, FloorMod, Max, Min, Mul, Sub
from mlcref.ir.base import show_script
from mlcref.schedule.handles import RV, BlockRV, ExprRV, LoopRV

VARIADIC = {"reorder": "loops", "fuse": "loops"}
"""Instructions whose first parameter collects positional arguments."""
OPTIONAL = {"consumer_blocks"}
"""Lists that TVM writes in text only when they are given, and in JSON as a list of their own."""
LISTS = {
    "get_loops",
    "get_child_blocks",
    "get_producers",
    "get_consumers",
    "get_output_blocks",
    "sample_perfect_tile",
    "split",
}
"""Instructions that return a list, however short."""
FIXED_SPELLING = {"get_block": ("GetBlock", "GetSBlock"), "get_child_blocks": ("GetChildBlocks",),
                  "enter_postproc": ("EnterPostproc",)}  # fmt: skip
DecisionProvider = Callable[["Instruction", Sequence[Any], Mapping[str, Any], Any], Any]


@dataclass(frozen=True, slots=True)
class Instruction:
    """One call of a schedule method: ``name``, arguments by parameter (handles stay handles), outputs, sampled
    ``decision``.
    """

    name: str
    arguments: Mapping[str, Any]
    outputs: tuple[RV, ...] = ()
    decision: Any = None
    attributes: tuple[str, ...] = ()
    verdict: Any = field(default=None, compare=False)

    @property
    def kind(self) -> str:
        """TVM's name of the instruction kind, such as ``SamplePerfectTile``."""
        if self.name in FIXED_SPELLING:
            return FIXED_SPELLING[self.name][0]
        return "".join(part.capitalize() for part in self.name.split("_"))

    def as_python(self, names: Mapping[RV, str]) -> str:
        """The call as a line of Python."""
        parts: list[str] = []
        for key, value in self.arguments.items():
            if value is None and key in OPTIONAL:
                continue
            if VARIADIC.get(self.name) == key:
                parts += [_python(item, names) for item in value]
            else:
                parts.append(f"{key}={_python(value, names)}")
        if self.decision is not None:
            parts.append(f"decision={_python(self.decision, names)}")
        left = ", ".join(names[rv] for rv in self.outputs) + (
            "," if self.name in LISTS and len(self.outputs) == 1 else ""
        )
        call = f"sch.{self.name}({', '.join(parts)})"
        return f"{left} = {call}" if left else call

    def as_json(self, names: Mapping[RV, str]) -> list[Any]:
        """``[kind, inputs, attributes, outputs]`` as TVM writes it."""
        inputs: list[Any] = []
        attributes: list[Any] = []
        for key, value in self.arguments.items():
            if key in self.attributes:
                attributes.append(value if isinstance(value, str) else _json(value, names))
            elif key in OPTIONAL:
                inputs.append([_json(item, names) for item in value or ()])
            elif isinstance(value, list | tuple):
                inputs += [_json(item, names) for item in value]
            else:
                inputs.append(_json(value, names))
        return [self.kind, inputs, attributes, [names[rv] for rv in self.outputs]]


class Replayable(Protocol):
    """What a trace is applied to: a schedule."""

    def replay_instruction(self, name: str, arguments: Mapping[str, Any], decision: Any) -> tuple[RV, ...]:
        """Run one instruction and return its outputs."""

    def arguments_from_json(
        self, kind: str, inputs: Sequence[Any], attributes: Sequence[Any]
    ) -> tuple[str, dict[str, Any]]:
        """Name and arguments of an instruction in its JSON form."""


class Trace:
    """A list of instructions. ``print(trace)`` is a Python function that does it all again."""

    def __init__(self, insts: Sequence[Instruction] = ()) -> None:
        self.insts: list[Instruction] = list(insts)

    def names(self) -> dict[RV, str]:
        """Names of the handles as TVM counts them: b0, l1, v2 …"""
        found: dict[RV, str] = {}
        for inst in self.insts:
            for rv in inst.outputs:
                if rv not in found:
                    letter = "b" if isinstance(rv, BlockRV) else "l" if isinstance(rv, LoopRV) else "v"
                    found[rv] = f"{letter}{len(found)}"
        return found

    @property
    def decisions(self) -> list[tuple[int, Any]]:
        """The sampled decisions with the positions of their instructions."""
        return [(i, inst.decision) for i, inst in enumerate(self.insts) if inst.decision is not None]

    def as_python(self) -> list[str]:
        """One line of Python per instruction."""
        names = self.names()
        return [inst.as_python(names) for inst in self.insts]

    def as_json(self, remove_postproc: bool = False) -> list[Any]:
        """``[instructions, decisions]`` with decisions as ``[index, value]``: TVM's JSON form, of plain lists."""
        names = self.names()
        insts = self._before_postproc() if remove_postproc else self.insts
        decisions = [[i, inst.decision] for i, inst in enumerate(insts) if inst.decision is not None]
        return [[inst.as_json(names) for inst in insts], decisions]

    def to_json(self) -> str:
        """:meth:`as_json` as text."""
        return json.dumps(self.as_json())

    def _before_postproc(self) -> list[Instruction]:
        at = next((i for i, inst in enumerate(self.insts) if inst.name == "enter_postproc"), len(self.insts))
        return self.insts[:at]

    def append(self, inst: Instruction) -> None:
        """Add an instruction at the end."""
        self.insts.append(inst)

    def pop(self) -> Instruction | None:
        """Remove and return the last instruction; None when there is none."""
        return self.insts.pop() if self.insts else None

    def get_decision(self, inst: Instruction) -> Any:
        """The decision of an instruction, None when it has none."""
        return inst.decision

    def with_decision(self, inst: Instruction, decision: Any, remove_postproc: bool = False) -> Trace:
        """This trace with another decision for the sampling instruction ``inst``."""
        if not any(own is inst for own in self.insts):
            raise MlcrefError("the instruction is not part of this trace")
        insts = self._before_postproc() if remove_postproc else self.insts
        return Trace([replace(own, decision=decision) if own is inst else own for own in insts])

    def apply_to_schedule(
        self,
        sch: Replayable,
        remove_postproc: bool = False,
        decision_provider: DecisionProvider | None = None,
        after: Callable[[Instruction], None] | None = None,
    ) -> None:
        """Do everything again on ``sch``.

        ``decision_provider(inst, inputs, attributes, decision)`` may change decisions; ``after(inst)`` is called when
        an instruction has been applied.
        """
        env: dict[RV, Any] = {}
        for inst in self._before_postproc() if remove_postproc else self.insts:
            arguments = {key: _translate(value, env) for key, value in inst.arguments.items()}
            decision = inst.decision
            if decision_provider is not None and decision is not None:
                decision = decision_provider(inst, list(arguments.values()), arguments, decision)
            outputs = sch.replay_instruction(inst.name, arguments, decision)
            env.update(zip(inst.outputs, outputs, strict=True))
            if after is not None:
                after(inst)

    @staticmethod
    def apply_json_to_schedule(json_obj: Any, sch: Replayable) -> None:
        """Apply a trace in JSON form (nested lists, or their text) to ``sch``."""
        loaded = json.loads(json_obj) if isinstance(json_obj, str) else json_obj
        try:
            insts, decisions = loaded
            by_index = {int(i): value for i, value in decisions}
            rows = [(str(kind), list(inputs), list(attrs), list(outputs)) for kind, inputs, attrs, outputs in insts]
        except (TypeError, ValueError) as error:
            raise ScheduleError(f"no trace in JSON form: {error}", hint="expected [instructions, decisions]") from error
        env: dict[str, Any] = {}
        for i, (kind, inputs, attributes, outputs) in enumerate(rows):
            values = [_from_json(item, env) for item in inputs]
            name, arguments = sch.arguments_from_json(kind, values, attributes)
            made = sch.replay_instruction(name, arguments, by_index.get(i))
            env.update(zip(outputs, made, strict=True))

    def show(self, **options: Any) -> None:
        """Print the trace, highlighted where the terminal can."""
        show_script(self, **options)

    def __str__(self) -> str:
        body = [f"  {line}" for line in self.as_python()] or ["  pass"]
        return "\n".join(["# from tvm import tir", "def apply_schedule(sch: tir.Schedule) -> None:", *body])

    __repr__ = __str__

    def __len__(self) -> int:
        return len(self.insts)


_SYMBOLS: dict[type[Binary], str] = {Add: "+", Sub: "-", Mul: "*", FloorDiv: "//", FloorMod: "%"}


def _python(value: Any, names: Mapping[RV, str]) -> str:
    if isinstance(value, BlockRV | LoopRV | ExprRV):
        return names.get(value, "_")
    if isinstance(value, list | tuple):
        return f"[{', '.join(_python(item, names) for item in value)}]"
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{_python(k, names)}: {_python(v, names)}" for k, v in value.items()) + "}"
    if isinstance(value, str):
        return json.dumps(value)
    if isinstance(value, Const):
        return repr(value.value)
    if isinstance(value, Min | Max):
        return f"{value.symbol}({_python(value.a, names)}, {_python(value.b, names)})"
    if isinstance(value, Binary) and type(value) in _SYMBOLS:
        return f"({_python(value.a, names)} {_SYMBOLS[type(value)]} {_python(value.b, names)})"
    return repr(value)


def _json(value: Any, names: Mapping[RV, str]) -> Any:
    if isinstance(value, BlockRV | LoopRV | ExprRV):
        return names[value]
    if isinstance(value, Const):
        return value.value
    if isinstance(value, Expr):
        return _python(value, names)
    if isinstance(value, list | tuple):
        return [_json(item, names) for item in value]
    if isinstance(value, Mapping):
        return {key: _json(item, names) for key, item in value.items()}
    if value is None:
        return "None"
    return json.dumps(value) if isinstance(value, str) else value


def _from_json(value: Any, env: Mapping[str, Any]) -> Any:
    if isinstance(value, list):
        return [_from_json(item, env) for item in value]
    if isinstance(value, str):
        if value in env:
            return env[value]
        if value == "None":
            return None
        return json.loads(value) if value.startswith('"') else value
    return value


def _translate(value: Any, env: Mapping[RV, Any]) -> Any:
    if isinstance(value, BlockRV | LoopRV | ExprRV):
        return env.get(value, value)
    if isinstance(value, Binary):
        return type(value)(_translate(value.a, env), _translate(value.b, env))
    if isinstance(value, list | tuple):
        return [_translate(item, env) for item in value]
    if isinstance(value, Mapping):
        return {key: _translate(item, env) for key, item in value.items()}
    return value
