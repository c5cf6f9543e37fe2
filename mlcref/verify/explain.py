"""What a counterexample says beyond its inputs: both programs, the statement that went wrong and its iteration."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from mlcref.errors import MlcrefError
from mlcref.interp.domains import execute_in
from mlcref.interp.evaluate import Evaluator
from mlcref.interp.memory import View
from mlcref.interp.numeric import MACHINE
from mlcref.ir import PrimFunc, Stmt
from mlcref.ir.base import Node
from mlcref.script import print_script
from mlcref.verify.report import Counterexample

_MOST_STATEMENTS = 200_000


def explained(f: PrimFunc, g: PrimFunc, example: Counterexample) -> Counterexample:
    """``example`` with the texts of the programs and the last store to the element; its arguments are copies."""
    arguments = tuple(copy.copy(argument) for argument in example.arguments)
    statement, iteration = ("", {}) if example.error is not None else _last_store(f, g, example)
    return replace(
        example,
        arguments=arguments,
        programs=(print_script(f), print_script(g)),
        statement=statement,
        iteration=iteration,
    )


class _LastStores:
    """A watcher that remembers the last store to each element."""

    def __init__(self) -> None:
        self.stores: dict[tuple[int, int], tuple[Stmt, Mapping[str, int]]] = {}

    def read(self, machine: Evaluator, view: View, position: int, indices: tuple[int, ...], node: Node) -> None:
        """Loads do not matter."""

    def write(
        self, machine: Evaluator, view: View, position: int, indices: tuple[int, ...], node: Node, value: Any
    ) -> None:
        """Note who stores."""
        values = {var.name: value for var, value in machine.env.items() if var not in machine.hidden}
        self.stores[id(view.storage), position] = (machine.statement, values)


def _last_store(f: PrimFunc, g: PrimFunc, example: Counterexample) -> tuple[str, Mapping[str, int]]:
    watcher = _LastStores()
    number = next(i for i, buffer in enumerate(f.buffers) if buffer.name == example.buffer)
    poison = tuple(q.name for p, q in zip(f.params, g.params, strict=True) if p.name in example.poison)
    try:
        binding = execute_in(
            g, example.arguments, MACHINE, poison=poison, watchers=[watcher], max_statements=_MOST_STATEMENTS
        )
    except MlcrefError:  # the second program does not run to its end: there is nothing to say
        return "", {}
    slot = binding.slots[number]
    position = int(slot.positions[example.indices])
    stmt, values = watcher.stores.get((id(slot.view.storage), position), (None, {}))
    return ("", {}) if stmt is None else (print_script(stmt).strip(), values)
