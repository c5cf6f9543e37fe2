"""``T.tvm_thread_allreduce``: one value per thread in, their reduction out, in every thread (rule thread.allreduce)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol, TypeVar

from mlcref.errors import UnsupportedError
from mlcref.interp.memory import View
from mlcref.ir.base import Node
from mlcref.ir.buffer import Buffer, BufferLoad
from mlcref.ir.compound import CommReducer
from mlcref.ir.expr import Call, Expr, Var
from mlcref.ir.index import index
from mlcref.ir.function import PrimFunc
from mlcref.ir.stmt import AttrStmt, Evaluate, Stmt

T = TypeVar("T")
Values = tuple[Any, ...]


class Thread(Protocol):
    """What an allreduce asks of a lane."""

    coordinates: dict[str, int]


class LockstepMachine(Protocol):
    """What an allreduce asks of the machine whose lanes take part in it."""

    func: PrimFunc
    env: dict[Var, Any]
    reducer: CommReducer | None

    def value(self, e: Expr, exact: bool = False) -> Any:
        """The value of an expression."""

    def integer(self, e: Expr) -> int:
        """The value of a count."""

    def truth(self, e: Expr) -> bool:
        """The value of a condition."""

    def view(self, buffer: Buffer) -> View:
        """The memory of a buffer, of the lane that runs."""

    def write(self, view: View, indices: tuple[Any, ...], node: Node, value: Any) -> None:
        """Store one element."""

    def in_phase(self, stmt: Stmt, lanes: Sequence[Any], act: Callable[[], T]) -> list[T]:
        """What ``act`` gives in every lane."""

    def unsupported(self, what: str, stmt: Stmt) -> UnsupportedError:
        """The refusal of something that the rules of threads leave open."""


def reducer_of(stmt: AttrStmt) -> CommReducer | None:
    """The reduction that an attribute names, if it names one."""
    return stmt.target if isinstance(stmt.target, CommReducer) else None


def all_reduce(machine: LockstepMachine, stmt: Evaluate, lanes: Sequence[Thread]) -> None:
    """``T.tvm_thread_allreduce(n, values…, condition, results…, threads…)`` in lock step.

    Threads that differ only in the axes ``threads`` are one group. Their values are combined in ascending order, the
    identity in place of those whose condition is false, and each thread stores the result of its group.
    """
    call = stmt.value
    assert isinstance(call, Call)
    count = machine.integer(call.args[0])
    values, condition = call.args[1 : 1 + count], call.args[1 + count]
    results, axes = call.args[2 + count : 2 + 2 * count], call.args[2 + 2 * count :]
    reducer = machine.reducer
    if reducer is None or len(reducer.result) != count:
        raise machine.unsupported("an allreduce without a comm_reducer of as many values around it", stmt)
    tags = _tags(machine, stmt, axes)

    def own() -> Values:
        given = values if machine.truth(condition) else reducer.identity
        return tuple(machine.value(value) for value in given)

    given = machine.in_phase(stmt, lanes, own)
    groups: dict[Any, list[Values]] = {}
    keys = [tuple((tag, at) for tag, at in lane.coordinates.items() if tag not in tags) for lane in lanes]
    for key, value in zip(keys, given, strict=True):
        groups.setdefault(key, []).append(value)
    reduced = {key: _fold(machine, reducer, parts) for key, parts in groups.items()}
    results_of = iter(reduced[key] for key in keys)

    def put() -> None:
        for place, value in zip(results, next(results_of), strict=True):
            if not isinstance(place, BufferLoad):
                raise machine.unsupported("an allreduce into something that is no element of a buffer", stmt)
            indices = tuple(machine.value(i, True) for i in place.indices)
            machine.write(machine.view(place.buffer), indices, place, value)

    machine.in_phase(stmt, lanes, put)


def _tags(machine: LockstepMachine, stmt: Evaluate, axes: Sequence[Expr]) -> set[str]:
    """The thread axes that are reduced over."""
    loops = index(machine.func).loops
    tags = {loops[axis].thread or "" for axis in axes if isinstance(axis, Var) and axis in loops}
    if not all(tag.startswith("threadIdx") for tag in tags):
        raise UnsupportedError("an allreduce over an axis other than threadIdx", root=machine.func,
                               marks=[(stmt, "here")])  # fmt: skip
    return tags


def _fold(machine: LockstepMachine, reducer: CommReducer, parts: Sequence[Values]) -> Values:
    """The values of a group combined from the first to the last."""
    total = parts[0]
    for part in parts[1:]:
        machine.env.update(zip((*reducer.lhs, *reducer.rhs), (*total, *part), strict=True))
        total = tuple(machine.value(e) for e in reducer.result)
    for var in (*reducer.lhs, *reducer.rhs):
        machine.env.pop(var, None)
    return total
