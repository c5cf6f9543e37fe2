"""Does a program refine another one? Both run in the oracle on the same inputs, and every element is compared."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mlcref import dtype as dt
from mlcref.errors import OracleError, UnsupportedError
from mlcref.interp.arguments import Binding, Slot
from mlcref.interp.bound import BoundArithmetic, Undecided, error_of
from mlcref.interp.memory import Undefined
from mlcref.interp.numeric import MACHINE, Arithmetic
from mlcref.interp.run import execute, select
from mlcref.ir import Buffer, Const, IRModule, PrimFunc
from mlcref.verify.inputs import Trial, trials
from mlcref.verify.report import REFUTED, TESTED, UNSUPPORTED, Counterexample, Verdict


def check_equivalent(
    f: PrimFunc | IRModule,
    g: PrimFunc | IRModule,
    *,
    trials: int = 3,
    seed: int = 0,
    inputs: Sequence[Sequence[Any]] | None = None,
    poison: Sequence[str] = (),
    entry: str = "main",
    max_statements: int | None = None,
) -> Verdict:
    """Does ``g`` refine ``f``: wherever ``f`` is defined, does ``g`` compute the same and touch nothing else?

    Both run on ``trials`` inputs (small integers, random numbers, small indices in turn; at least one per interesting
    size when shapes are symbolic), or on ``inputs``, a list of argument lists. ``g`` must be defined, agree on every
    element that ``f`` writes, and leave every other element as it was; parameters in ``poison`` start undefined, and
    there ``g`` may define more. Elements that are not equal bit by bit are compared within a bound of the rounding
    errors of both runs (:mod:`mlcref.interp.bound`), which is 0 where nothing was rounded.

    "TESTED" says that no input showed a difference; it is no proof. Inputs on which ``f`` means nothing do not count;
    when there are no others the verdict is "UNSUPPORTED". ``max_statements`` bounds each run. What the inputs do not
    reach, such as a branch never taken, is not seen.

    >>> from mlcref.script import from_source
    >>> text = '''
    ... @T.prim_func
    ... def f(A: T.Buffer((4,), "float32"), B: T.Buffer((4,), "float32")):
    ...     for i in range(4):
    ...         B[i] = A[i] * T.float32(2)
    ... '''
    >>> print(check_equivalent(from_source(text), from_source(text.replace("* T.float32(2)", "+ A[i]"))))
    TESTED: 3 inputs, all results equal bit by bit
    """
    check = _Check(select(f, entry), select(g, entry), tuple(poison), seed, max_statements)
    mismatch = check.signature_mismatch()
    if mismatch:
        return Verdict(UNSUPPORTED, mismatch)
    return check.run(check.given(inputs) if inputs is not None else check.drawn(trials))


@dataclass
class _Difference:
    """An element on which the runs do not agree bit by bit."""

    slot: int
    indices: tuple[int, ...]
    expected: Any
    got: Any
    computed: bool = True
    """Did f write it? An element that f leaves alone must keep its bits: rounding is no excuse."""


class _Check:
    def __init__(
        self, f: PrimFunc, g: PrimFunc, poison: tuple[str, ...], seed: int, max_statements: int | None
    ) -> None:
        self.f, self.g, self.poison, self.seed, self.max_statements = f, g, poison, seed, max_statements
        names = {p.name: q.name for p, q in zip(f.params, g.params, strict=False)}
        self.poison_of_g = tuple(names.get(name, name) for name in poison)
        self.undefined: OracleError | None = None
        self.within_bound = 0

    def signature_mismatch(self) -> str:
        """Why the two cannot be called with the same arguments; empty when they can."""
        if len(self.f.params) != len(self.g.params):
            return f"the programs take {len(self.f.params)} and {len(self.g.params)} arguments"
        for p, q in zip(self.f.params, self.g.params, strict=True):
            if _signature(p) != _signature(q):
                return f"parameters {p.name} and {q.name} differ in kind, data type or shape"
        return ""

    def given(self, inputs: Sequence[Sequence[Any]]) -> Iterator[Trial]:
        """Trials on the caller's arguments."""
        for number, arguments in enumerate(inputs):
            yield Trial(number, "given", tuple(arguments))

    def drawn(self, count: int) -> Iterator[Trial]:
        """Trials on random arguments."""
        return trials(self.f, self.g, count, self.seed)

    def run(self, calls: Iterator[Trial]) -> Verdict:
        """The verdict over all trials; the first counterexample ends it."""
        done, undecided = 0, ""
        for trial in calls:
            try:
                counted, counterexample = self.attempt(trial)
            except Undecided as error:
                undecided = error.what
                continue
            except UnsupportedError as error:
                return Verdict(UNSUPPORTED, error.what)
            if counterexample is not None:
                return Verdict(REFUTED, f"input {trial.number} ({trial.kind})", counterexample)
            done += counted
        if undecided:
            return Verdict(UNSUPPORTED, undecided)
        if not done:
            reason = self.undefined.what if self.undefined else "there were no inputs"
            return Verdict(UNSUPPORTED, f"the first program is defined on no input that was tried: {reason}")
        equal = "all results equal bit by bit"
        if self.within_bound:
            equal = f"{self.within_bound} elements differ by no more than rounding explains, all others not at all"
        return Verdict(TESTED, f"{done} input{'s' if done != 1 else ''}, {equal}")

    def attempt(self, trial: Trial) -> tuple[bool, Counterexample | None]:
        """Does this input count, and does it show a difference?"""
        try:
            want = self.execute(self.f, trial)
        except OracleError as error:
            self.undefined = error
            return False, None
        if any(type(cell) is Undefined for slot in want.slots for cell in slot.view.storage.cells):
            return False, None
        try:
            got = self.execute(self.g, trial)
        except OracleError as error:
            return True, self.counterexample(trial, error=error)
        differences = [d for i in range(len(want.slots)) for d in _differences(i, want.slots[i], got.slots[i])]
        return True, self.judge(trial, differences) if differences else None

    def execute(self, func: PrimFunc, trial: Trial, arithmetic: Arithmetic = MACHINE) -> Binding:
        """One run; the arguments stay as they are."""
        poison = self.poison if func is self.f else self.poison_of_g
        return execute(func, trial.arguments, poison=poison, arithmetic=arithmetic, max_statements=self.max_statements)

    def judge(self, trial: Trial, differences: list[_Difference]) -> Counterexample | None:
        """The first difference that rounding does not explain."""
        floats = [d for d in differences if self.may_be_rounding(d)]
        for d in differences:
            if d not in floats:
                return self.counterexample(trial, d)
        bounds = BoundArithmetic()
        want, got = self.execute(self.f, trial, bounds), self.execute(self.g, trial, bounds)
        for d in floats:
            pair = [binding.slots[d.slot] for binding in (want, got)]
            tolerance = sum(error_of(slot.view.storage.cells[slot.positions[d.indices]]) for slot in pair)
            if not abs(d.expected - d.got) <= tolerance and not math.isinf(tolerance):
                return self.counterexample(trial, d, tolerance=tolerance)
        self.within_bound += len(floats)
        return None

    def may_be_rounding(self, d: _Difference) -> bool:
        """Two floats, both computed?"""
        return d.computed and dt.is_float(self.f.buffers[d.slot].type) and isinstance(d.got, float)

    def counterexample(
        self, trial: Trial, d: _Difference | None = None, *, tolerance: float = 0.0, error: OracleError | None = None
    ) -> Counterexample:
        """The report of a failed trial."""
        where: dict[str, Any] = {}
        if d is not None:
            where = {"buffer": self.f.buffers[d.slot].name, "indices": d.indices, "expected": d.expected, "got": d.got}
        arguments = tuple(copy.copy(argument) for argument in trial.arguments)
        names = tuple(p.name for p in self.f.params)
        return Counterexample(arguments, names, self.seed, trial.number, tolerance=tolerance, error=error, **where)


def _signature(param: Any) -> tuple[Any, ...]:
    if not isinstance(param, Buffer):
        return ("scalar", param.type)
    return (param.type, *(extent.value if isinstance(extent, Const) else "symbolic" for extent in param.shape))


def _differences(number: int, want: Slot, got: Slot) -> Iterator[_Difference]:
    """The elements of one parameter on which two runs differ."""
    touched = want.touched()
    either = touched | got.touched()
    want_at, got_at = want.positions, got.positions
    for place in np.argwhere(either):
        indices = tuple(int(i) for i in place)
        x = want.view.storage.cells[want_at[indices]]
        y = got.view.storage.cells[got_at[indices]]
        if x is None:
            continue  # a poisoned element that f leaves undefined
        if y is None or type(y) is Undefined:
            yield _Difference(number, indices, x, "undefined")
        elif not _same(x, y):
            yield _Difference(number, indices, x, y, bool(touched[indices]))


def _same(x: Any, y: Any) -> bool:
    """Equal bit by bit; all NaNs are one."""
    if x != x and y != y:
        return True
    return bool(x == y) and (x != 0 or math.copysign(1, x) == math.copysign(1, y))
