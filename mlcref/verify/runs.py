"""Runs of programs for verdicts: what a program is like, how it is run on a trial, and what is remembered of it."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

from mlcref import dtype as dt
from mlcref.interp.arguments import Binding
from mlcref.interp.domains import BudgetError, execute_in
from mlcref.interp.field import FieldArithmetic
from mlcref.interp.numeric import MACHINE, Arithmetic
from mlcref.interp.run import execute
from mlcref.ir import (
    BlockRealize,
    BufferLoad,
    BufferStore,
    Cast,
    Compare,
    Const,
    Expr,
    For,
    IfThenElse,
    Max,
    Min,
    PrimFunc,
    Select,
    Stmt,
    While,
    walk,
)
from mlcref.ir.expr import Binary, Call, Div, FloorDiv, FloorMod, Mod
from mlcref.ir.index import index, stmt_children
from mlcref.verify.inputs import Trial

LARGEST_FIELD_RUN = 100_000
"""Programs that execute more stores run in the machine domain alone, where the fast engine serves."""
_MOST_REMEMBERED = 32
_MOST_CELLS = 1 << 14
_PARTIAL = (Div, FloorDiv, FloorMod, Mod)
_STEPS = frozenset(("floor", "ceil", "trunc", "round", "nearbyint", "abs", "isnan", "isinf", "isfinite", "copysign"))


@dataclass(frozen=True)
class Traits:
    """What inputs a program needs.

    ``floats``: it has float parameters. ``indirect``: memory decides an index, a bound or a branch. ``choices``: it
    takes decisions on values (comparisons, conversions to integers, divisions and shifts of integers). ``ordered``:
    it has a max or min. ``stores``: how many stores it executes, where loops have constant extents.
    """

    floats: bool
    indirect: bool
    choices: bool
    ordered: bool
    stores: int


_traits: WeakKeyDictionary[PrimFunc, Traits] = WeakKeyDictionary()


def traits_of(func: PrimFunc) -> Traits:
    """The traits of ``func``, found once."""
    found = _traits.get(func)
    if found is None:
        found = _traits[func] = _find_traits(func)
    return found


def _find_traits(func: PrimFunc) -> Traits:
    indirect = choices = False
    kinds: set[type] = set()
    for stmt in index(func).order:
        if not indirect:
            indirect = any(_loads(e) for e in _deciding(stmt))
    for node in walk(func.body):
        kind = type(node)
        kinds.add(kind)
        if kind is BufferLoad and any(_loads(e) for e in node.indices):
            indirect = True
        elif not choices:
            choices = _chooses(node)
    floats = any(dt.is_float(p.type) for p in func.params)
    return Traits(floats, indirect, choices or indirect, bool(kinds & {Max, Min}), _stores(func.body))


def _deciding(stmt: Stmt) -> list[Expr]:
    """The expressions of ``stmt`` that are addresses, bounds or conditions."""
    match stmt:
        case BufferStore():
            return list(stmt.indices)
        case For():
            return [stmt.min, stmt.extent, *([] if stmt.step is None else [stmt.step])]
        case IfThenElse() | While():
            return [stmt.condition]
        case BlockRealize():
            return [*stmt.iter_values, *stmt.predicate]
    return []


def _loads(e: Expr) -> bool:
    return type(e) is not Const and any(type(node) is BufferLoad for node in walk(e))


def _chooses(node: Any) -> bool:
    match node:
        case Select():
            return _loads(node.condition)
        case Cast():
            return dt.is_float(dt.parse(node.value.dtype).element) and not dt.is_float(dt.parse(node.type).element)
        case Call():
            if node.op in ("if_then_else", "shift_left", "shift_right"):
                return any(_loads(arg) for arg in (node.args[:1] if node.op == "if_then_else" else node.args[1:]))
            return node.op in _STEPS
        case Binary() if isinstance(node, Compare) or (isinstance(node, _PARTIAL) and not dt.is_float(node.a.dtype)):
            return _loads(node)
    return False


def _stores(stmt: Stmt) -> int:
    own = int(isinstance(stmt, BufferStore)) + sum(_stores(part) for part in stmt_children(stmt))
    if isinstance(stmt, For):
        return own * (int(stmt.extent.value) if isinstance(stmt.extent, Const) else 4)
    return own


@dataclass(frozen=True)
class Limits:
    """Budgets: statements of one run, and the moment (of ``time.monotonic``) at which a check ends."""

    max_statements: int | None = None
    deadline: float | None = None

    def check(self) -> None:
        """Raise when the time is over."""
        if self.deadline is not None and time.monotonic() > self.deadline:
            raise BudgetError("budget: the time allowed by timeout is over")


_memory: WeakKeyDictionary[PrimFunc, dict[tuple[Any, ...], Binding]] = WeakKeyDictionary()


def run_trial(
    func: PrimFunc, trial: Trial, poison: tuple[str, ...], limits: Limits, arithmetic: Arithmetic = MACHINE
) -> Binding:
    """One run on the arguments of ``trial``, which stay as they are. Runs on drawn arguments are remembered by
    program. Raises as :func:`mlcref.interp.domains.execute_in` does."""
    limits.check()
    if isinstance(arithmetic, FieldArithmetic):
        domain: tuple[Any, ...] = (arithmetic.seed, arithmetic.order)
    else:
        domain = ("machine",)
    if trial.key is None or (arithmetic is not MACHINE and domain == ("machine",)):
        return _run(func, trial, poison, limits, arithmetic)
    key = (trial.key, domain, poison, limits.max_statements)
    remembered = _memory.setdefault(func, {})
    found = remembered.get(key)
    if found is None:
        found = _run(func, trial, poison, limits, arithmetic)
        if sum(len(slot.view.storage.cells) for slot in found.slots) <= _MOST_CELLS:
            while len(remembered) >= _MOST_REMEMBERED:
                del remembered[next(iter(remembered))]
            remembered[key] = found
    return found


def _run(
    func: PrimFunc, trial: Trial, poison: tuple[str, ...], limits: Limits, arithmetic: Arithmetic
) -> Binding:
    if arithmetic is MACHINE and limits.deadline is None:
        return execute(func, trial.arguments, poison=poison, max_statements=limits.max_statements)
    return execute_in(
        func,
        trial.arguments,
        arithmetic,
        poison=poison,
        max_statements=limits.max_statements,
        deadline=limits.deadline,
    )
