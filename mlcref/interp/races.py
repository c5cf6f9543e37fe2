"""Races: conflicting accesses by two iterations of a loop without order, or by two threads of a phase (loop.race,
thread.race).

Programs fork and join only, and the machine runs the iterations one after the other, so one writer and one reader per
element are enough to find whether an element has a race (Feng and Leiserson, "Efficient detection of determinacy
races in Cilk programs", 1997): a reader is replaced only by a reader that runs after it.
"""

from __future__ import annotations

from typing import Any

from mlcref.errors import OracleError
from mlcref.interp.evaluate import Evaluator, Path
from mlcref.interp.memory import View, element
from mlcref.ir.base import Node
from mlcref.ir.stmt import For, Stmt

Access = tuple[Path, Stmt]


class Fork:
    """One execution of a loop without order, or one phase of threads. Identity is the object."""

    __slots__ = ("stmt", "threads")

    def __init__(self, stmt: Stmt, threads: bool = False) -> None:
        self.stmt, self.threads = stmt, threads

    @property
    def name(self) -> str:
        """The loop variable of a loop."""
        return self.stmt.loop_var.name if isinstance(self.stmt, For) else ""

    def iteration(self, at: Any) -> str:
        """How reports write an iteration, or the coordinates of a thread."""
        if not self.threads:
            return f"{self.name}={at}"
        if at and at[0] == "collective":
            return f"the reduction {at[1].hint}{list(at[2])}"
        return " ".join(f"{tag}={value}" for tag, value in at) or "the only thread"


def divergence(a: Path, b: Path) -> tuple[Fork, Any, Any] | None:
    """The fork of which two paths are different iterations; None when one comes after the other."""
    for x, y in zip(a, b, strict=False):
        if x is y:
            continue
        if x[0] is not y[0]:
            return None
        if x[1] != y[1]:
            return x[0], x[1], y[1]
    return None


class RaceCheck:
    """A watcher that refuses races."""

    def read(self, machine: Evaluator, view: View, position: int, indices: tuple[int, ...], node: Node) -> None:
        """Refuse when another iteration wrote the element."""
        path, storage = machine.path, view.storage
        if len(path) <= storage.depth:
            return
        self._compare(machine, view, indices, "read", storage.writers.get(position), "written")
        previous = storage.readers.get(position)
        if previous is None or (previous[0] is not path and divergence(previous[0], path) is None):
            storage.readers[position] = (path, machine.statement)

    def write(
        self, machine: Evaluator, view: View, position: int, indices: tuple[int, ...], node: Node, value: Any
    ) -> None:
        """Refuse when another iteration read or wrote the element; two threads may write the same bits."""
        path, storage = machine.path, view.storage
        if len(path) <= storage.depth:
            return
        same_bits = _same_bits(storage.cells[position], value)
        self._compare(machine, view, indices, "written", storage.readers.get(position), "read")
        self._compare(machine, view, indices, "written", storage.writers.get(position), "written", same_bits)
        storage.writers[position] = (path, machine.statement)

    def _compare(
        self,
        machine: Evaluator,
        view: View,
        indices: tuple[int, ...],
        now: str,
        other: Access | None,
        then: str,
        same_bits: bool = False,
    ) -> None:
        if other is None or other[0] is machine.path:
            return
        found = divergence(other[0], machine.path)
        if found is not None and not (same_bits and found[0].threads):
            raise _race(machine, element(view.buffer, indices), found, (other[1], then), (machine.statement, now))


def _same_bits(a: Any, b: Any) -> bool:
    return type(a) is type(b) and repr(a) == repr(b)


def _race(
    machine: Evaluator, name: str, found: tuple[Fork, Any, Any], first: tuple[Stmt, str], second: tuple[Stmt, str]
) -> OracleError:
    fork, a, b = found
    one, two = fork.iteration(a), fork.iteration(b)
    kind = "thread" if fork.threads else f"{getattr(fork.stmt, 'kind', '')} iteration"
    marks = [(first[0], f"{name} {first[1]} at {one}"), (second[0], f"{name} {second[1]} at {two}")]
    if first[0] is second[0]:
        marks = [(first[0], f"{name} {first[1]} at {one}, {second[1]} at {two}")]
    what = f"race on {name}: {first[1]} by {kind} {one}, {second[1]} by {two}"
    rule = "thread.race" if fork.threads else "loop.race"
    return machine.failure(rule, what, marks, hint=_hint(fork, one, two))


def _hint(fork: Fork, one: str, two: str) -> str:
    if not fork.threads:
        return f"make {fork.name} serial, or give each iteration its own element"
    if "blockIdx" in one and one.split("threadIdx")[0] != two.split("threadIdx")[0]:
        return "no barrier separates the blocks of a grid: give each block its own elements, or write two kernels"
    return "separate the statements by a barrier (a sequence), or give each thread its own element"
