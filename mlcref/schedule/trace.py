"""The record of what was done to a schedule: text and JSON in TVM's own forms, and replay."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Protocol

from mlcref.errors import MlcrefError, ScheduleError
from mlcref.ir import Binary
from mlcref.ir.base import show_script
from mlcref.schedule.handles import RV, BlockRV, ExprRV, LoopRV
from mlcref.schedule.instruction import OPTIONAL, QUERIES, VARIADIC, Instruction, Output, check_dialect, handles_in
from mlcref.schedule.trace_json import read_json
from mlcref.schedule.trace_text import read_text

__all__ = ["OPTIONAL", "QUERIES", "VARIADIC", "DecisionProvider", "Instruction", "Replayable", "Trace"]

DecisionProvider = Callable[[Instruction, Sequence[Any], Sequence[Any], Any], Any]
"""``(instruction, inputs, attributes, decision) -> decision``; decisions of instructions that sample nothing are None.
"""
_HEADS = {
    "tir": ["# from tvm import tir", "def apply_schedule(sch: tir.Schedule) -> None:"],
    "tirx": ["# from tvm import s_tir", "def apply_trace(sch: s_tir.Schedule) -> None:"],
}


class Replayable(Protocol):
    """What a trace is applied to: a schedule."""

    def replay_instruction(self, name: str, arguments: Mapping[str, Any], decision: Any) -> tuple[Output, ...]:
        """Run one instruction and return its outputs."""


class Trace:
    """A list of instructions. ``print(trace)`` is a Python function that does it all again.

    ``decisions`` may give instructions other decisions than they have.

    >>> trace = Trace.from_python('b0 = sch.get_block("C")\\nl1, = sch.get_loops(block=b0)\\nsch.parallel(loop=l1)')
    >>> trace.as_json()
    [[['GetBlock', [], ['C'], ['b0']], ['GetLoops', ['b0'], [], ['l1']], ['Parallel', ['l1'], [], []]], []]
    """

    def __init__(
        self, insts: Sequence[Instruction] = (), decisions: Mapping[Instruction, Any] | None = None
    ) -> None:
        given = decisions or {}
        self.insts: list[Instruction] = [
            replace(inst, decision=given[inst]) if inst in given else inst for inst in insts
        ]

    # -- forms

    @classmethod
    def from_python(cls, text: str) -> Trace:
        """The trace that ``text`` shows, as mlcref and TVM print traces. The text is read, never run.

        Raises ``ScheduleError`` for anything that is not a list of instructions.
        """
        return cls(read_text(text))

    @classmethod
    def from_json(cls, form: Any) -> Trace:
        """The trace in JSON form (nested lists, or their text). Raises ``ScheduleError`` for other forms."""
        return cls(read_json(form))

    def names(self) -> dict[RV, str]:
        """Names of the handles as TVM counts them: b0, l1, v2 …"""
        found: dict[RV, str] = {}
        count = 0
        for inst in self.insts:
            for rv in inst.outputs:
                if rv is None:
                    count += 1
                elif rv not in found:
                    letter = "b" if isinstance(rv, BlockRV) else "l" if isinstance(rv, LoopRV) else "v"
                    found[rv] = f"{letter}{count}"
                    count += 1
        return found

    def as_python(self, remove_postproc: bool = False, *, dialect: str = "tir") -> list[str]:
        """One line of Python per instruction. ``dialect`` "tirx" spells them as TVM does since 0.22."""
        check_dialect(dialect)
        names = self.names()
        return [inst.as_python(names, dialect) for inst in self._kept(remove_postproc)]

    def as_json(self, remove_postproc: bool = False, *, dialect: str = "tir") -> list[Any]:
        """``[instructions, decisions]`` with decisions as ``[index, value]``: TVM's JSON form, of plain lists."""
        check_dialect(dialect)
        names, insts = self.names(), self._kept(remove_postproc)
        decisions = [[i, inst.decision] for i, inst in enumerate(insts) if inst.decision is not None]
        return [[inst.as_json(names, dialect) for inst in insts], decisions]

    def to_json(self) -> str:
        """:meth:`as_json` as text."""
        return json.dumps(self.as_json())

    def script(self, *, dialect: str = "tir") -> str:
        """The trace as a Python function."""
        body = [f"  {line}" for line in self.as_python(dialect=dialect)] or ["  pass"]
        return "\n".join([*_HEADS[dialect], *body])

    def show(self, **options: Any) -> None:
        """Print the trace, highlighted where the terminal can."""
        show_script(self, **options)

    def __str__(self) -> str:
        return self.script()

    __repr__ = __str__

    def __len__(self) -> int:
        return len(self.insts)

    # -- instructions and decisions

    @property
    def decisions(self) -> dict[Instruction, Any]:
        """The sampled decisions by instruction."""
        return {inst: inst.decision for inst in self.insts if inst.decision is not None}

    def append(self, inst: Instruction, decision: Any = None) -> None:
        """Add an instruction at the end, with another decision where one is given."""
        self.insts.append(inst if decision is None else replace(inst, decision=decision))

    def pop(self) -> Instruction | None:
        """Remove and return the last instruction; None when there is none."""
        return self.insts.pop() if self.insts else None

    def get_decision(self, inst: Instruction) -> Any:
        """The decision of an instruction, None when it has none."""
        return inst.decision

    def with_decision(self, inst: Instruction, decision: Any, remove_postproc: bool = False) -> Trace:
        """This trace with another decision for the sampling instruction ``inst``. Raises ``MlcrefError`` when it is not
        in this trace, or samples nothing.
        """
        if inst not in self.insts or not inst.name.startswith("sample_"):
            raise MlcrefError("the instruction is not part of this trace, or samples nothing")
        return Trace([replace(own, decision=decision) if own is inst else own for own in self._kept(remove_postproc)])

    def simplified(self, remove_postproc: bool = False) -> Trace:
        """This trace without queries and samples whose outputs nothing uses."""
        used: set[RV] = set()
        kept: list[Instruction] = []
        for inst in reversed(self._kept(remove_postproc)):
            if not inst.is_pure or any(rv in used for rv in inst.outputs if rv is not None):
                kept.append(inst)
                used.update(handles_in(list(inst.arguments.values())))
        return Trace(kept[::-1])

    def _kept(self, remove_postproc: bool) -> list[Instruction]:
        end = len(self.insts)
        if remove_postproc:
            end = next((i for i, inst in enumerate(self.insts) if inst.name == "enter_postproc"), end)
        return self.insts[:end]

    # -- replay

    def apply_to_schedule(
        self,
        sch: Replayable,
        remove_postproc: bool = False,
        decision_provider: DecisionProvider | None = None,
        after: Callable[[Instruction], None] | None = None,
    ) -> None:
        """Do everything again on ``sch``; what has no decision is sampled anew.

        ``decision_provider(inst, inputs, attributes, decision)`` is asked at every instruction and may change
        decisions; ``after(inst)`` is called when an instruction has been applied.
        """
        env: dict[RV, Any] = {}
        for inst in self._kept(remove_postproc):
            here = replace(inst, arguments={key: _translate(value, env) for key, value in inst.arguments.items()})
            decision = inst.decision
            if decision_provider is not None:
                decision = decision_provider(inst, here.inputs, here.attrs, decision)
            outputs = sch.replay_instruction(inst.name, here.arguments, decision)
            if len(outputs) != len(inst.outputs):
                what = f"{inst.name} hands out {len(outputs)} handles here, {len(inst.outputs)} in the trace"
                raise ScheduleError(what, rule="trace.P6", hint="an instruction before it did something else here")
            env.update({old: new for old, new in zip(inst.outputs, outputs, strict=True) if old is not None})
            if after is not None:
                after(inst)

    @staticmethod
    def apply_json_to_schedule(json_obj: Any, sch: Replayable) -> None:
        """Apply a trace in JSON form (nested lists, or their text) to ``sch``."""
        Trace.from_json(json_obj).apply_to_schedule(sch)


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
