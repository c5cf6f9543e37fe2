"""The domains in which the oracle runs programs: one machine, several arithmetics.

``machine``: numbers of their types, as ``docs/semantics.md`` says. ``exact``: fractions (:mod:`mlcref.interp.exact`).
``field``: a random point of a finite field beside the machine's floats (:mod:`mlcref.interp.field`). ``bound``: each
float with a bound of its rounding error (:mod:`mlcref.interp.bound`); ``wide``: the same with all floats in float64.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from mlcref import dtype as dt
from mlcref.errors import UnsupportedError
from mlcref.interp.arguments import Binding, bind
from mlcref.interp.bound import BoundArithmetic, WideArithmetic
from mlcref.interp.evaluate import Evaluator
from mlcref.interp.exact import ExactArithmetic, exact
from mlcref.interp.field import FieldArithmetic
from mlcref.interp.lanes import LaneMachine
from mlcref.interp.numeric import MACHINE, Arithmetic
from mlcref.interp.placement import facts_of
from mlcref.interp.races import RaceCheck
from mlcref.interp.run import check_output, select
from mlcref.interp.signature import SignatureCheck
from mlcref.ir.buffer import Buffer
from mlcref.ir.function import IRModule, PrimFunc
from mlcref.ir.stmt import Stmt

DOMAINS: dict[str, Callable[[], Arithmetic]] = {
    "machine": lambda: MACHINE,
    "exact": ExactArithmetic,
    "field": FieldArithmetic,
    "bound": BoundArithmetic,
    "wide": WideArithmetic,
}


class BudgetError(UnsupportedError):
    """A run that was ended by ``max_statements`` or ``timeout``."""


class TimedMachine(LaneMachine):
    """The machine with a clock: it looks at it every 64 statements."""

    def __init__(self, *args: Any, deadline: float, **options: Any) -> None:
        super().__init__(*args, **options)
        self.deadline, self.ticks = deadline, 0

    def run(self, stmt: Stmt) -> None:
        """Execute ``stmt``, while there is time."""
        self.ticks += 1
        if not self.ticks & 63 and time.monotonic() > self.deadline:
            raise BudgetError("budget: the time allowed by timeout is over")
        super().run(stmt)


def execute_in(
    func: PrimFunc,
    args: Sequence[object],
    arithmetic: Arithmetic,
    *,
    poison: Sequence[str] = (),
    watchers: Sequence[Any] = (),
    max_statements: int | None = None,
    deadline: float | None = None,
) -> Binding:
    """Run ``func`` in a domain and return its memory; ``args`` stay as they are. ``deadline`` is a moment of
    ``time.monotonic``.

    Raises ``CallError``, ``OracleError`` and, at the end of a budget, ``UnsupportedError``.
    """
    binding = bind(func, args, poison, lambda e, env: Evaluator(func, dict(env), {}).integer(e))
    if isinstance(arithmetic, FieldArithmetic):
        arithmetic.lift_arguments(binding)
    views: dict[Buffer, Any] = {slot.param: slot.view for slot in binding.slots}
    options: dict[str, Any] = {
        "arithmetic": arithmetic,
        "watchers": [*([RaceCheck()] if facts_of(func).forks else []), *watchers],
        "block_watchers": [watcher for watcher in watchers if isinstance(watcher, SignatureCheck)],
        "max_statements": max_statements,
    }
    env = dict(binding.env)
    if deadline is not None:
        machine: LaneMachine = TimedMachine(func, env, views, deadline=deadline, **options)
    else:
        machine = LaneMachine(func, env, views, **options)
    try:
        binding.result = machine.execute()
    except RecursionError:
        raise UnsupportedError(f"{func.name} nests its expressions or statements too deeply for the oracle") from None
    return binding


def results(
    program: PrimFunc | IRModule,
    *args: object,
    domain: str = "exact",
    poison: Sequence[str] = (),
    entry: str = "main",
    max_statements: int | None = None,
) -> dict[str, Any]:
    """Run a program in a domain; the contents of its buffer parameters afterwards, by name, as arrays of objects.

    Elements are ints, bools, and for floats: ``Fraction`` (exact), ``FieldValue`` with a ``residue`` (field),
    ``Bounded`` with an ``error`` (bound, wide), ``float`` (machine). The arguments stay as they are. Raises as
    :func:`mlcref.interp.interpret` does.

    >>> import numpy as np
    >>> from mlcref.script import from_source
    >>> f = from_source('''
    ... @T.prim_func
    ... def f(A: T.Buffer((2,), "float32")):
    ...     A[0] = T.float32(1) / A[1]
    ... ''')
    >>> results(f, np.array([1, 3], "float32"))["A"].tolist()
    [Fraction(1, 3), Fraction(3, 1)]
    """
    if domain not in DOMAINS:
        raise ValueError(f"domain is one of {', '.join(DOMAINS)}, not {domain!r}")
    func = select(program, entry)
    binding = execute_in(func, args, DOMAINS[domain](), poison=poison, max_statements=max_statements)
    found: dict[str, Any] = {}
    for slot in binding.slots:
        check_output(func, slot)
        array = np.empty(slot.view.shape, object)
        for indices, position in np.ndenumerate(slot.positions):
            cell = slot.view.storage.cells[position]
            array[indices] = exact(cell) if domain == "exact" and dt.is_float(slot.param.type) else cell
        found[slot.param.name] = array
    return found
