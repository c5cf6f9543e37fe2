"""Does a kernel of any make compute what a program means? The oracle runs beside it, on the same inputs."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from mlcref import dtype as dt
from mlcref.errors import OracleError, UnsupportedError
from mlcref.interp import execute, interpret
from mlcref.interp.bound import Undecided
from mlcref.interp.run import select
from mlcref.ir import IRModule, PrimFunc, structural_equal
from mlcref.testing.contents import KINDS, chosen_sizes, draw_arguments
from mlcref.testing.corpus import failures_of
from mlcref.testing.guard import Guarded, guarded
from mlcref.testing.session import session
from mlcref.testing.tolerance import ToleranceArithmetic, tolerance_of

Call = Callable[..., Any]


class BackendMismatch(AssertionError):
    """A backend that does not compute what the program means.

    ``func`` and ``arguments`` (as they were before the call) are the evidence; ``buffer`` and ``indices`` name the
    first wrong element, ``expected`` and ``got`` what should be there and what is, ``bound`` by how much rounding could
    explain a difference.
    """

    func: PrimFunc
    arguments: tuple[Any, ...] = ()
    buffer: str = ""
    indices: tuple[int, ...] = ()
    expected: Any = None
    got: Any = None
    bound: float = 0.0


@dataclass
class Agreement:
    """What was compared: ``inputs`` on which all elements agreed, those on which the program means nothing
    (``undefined``), those whose result depends on rounding (``undecided``); ``elements`` that differ within the bound.
    """

    inputs: int = 0
    undefined: int = 0
    undecided: int = 0
    elements: int = 0
    reasons: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class _Trial:
    func: PrimFunc
    call: Call
    arguments: tuple[Any, ...]
    label: str
    replay: str


def assert_backend_matches(
    func: PrimFunc | IRModule,
    call: Call | None = None,
    inputs: str | Sequence[str] = KINDS,
    *,
    build: Callable[[PrimFunc], Call] | None = None,
    trials: int | Sequence[int] | None = None,
    seed: int | None = None,
    arguments: Sequence[Sequence[Any]] | None = None,
    ulps: float = 4.0,
    entry: str = "main",
    max_statements: int | None = None,
) -> Agreement:
    """Assert that ``call`` computes what ``func`` means, on inputs of the kinds ``inputs``.

    ``call`` takes the arguments of ``func`` (numpy arrays and numbers, outputs included) and writes its results into
    the arrays; ``mlcref.testing.peers`` adapts other kinds of callables. Instead of it, ``build`` makes the callable
    from the program, so that saved failures of other programs can be replayed. ``inputs`` are of the kinds
    "small-int", "random" and "adversarial"; ``trials`` of each are drawn (a list runs exactly those numbers), at sizes
    around the constants of the program when shapes are symbolic. ``arguments`` are argument lists to use instead.

    Every element must be equal; floats may differ by what rounding explains: a rigorous bound for sums in any order
    and contracted products (:mod:`mlcref.testing.tolerance`), in which each intrinsic of the backend is granted
    ``ulps``. Elements that ``func`` does not write, and the memory around the arrays, must stay as they are.

    Raises ``BackendMismatch``, an ``AssertionError`` whose text names the first wrong element, what was expected, the
    bound, and the line that replays it; ``UnsupportedError`` when no input could be compared.

    >>> from mlcref.script import from_source
    >>> double = from_source('''
    ... @T.prim_func
    ... def double(A: T.Buffer((3,), "float32"), B: T.Buffer((3,), "float32")):
    ...     for i in range(3):
    ...         B[i] = A[i] * T.float32(2)
    ... ''')
    >>> def kernel(a, b):
    ...     b[:] = a + a
    >>> assert_backend_matches(double, kernel).inputs
    9
    """
    __tracebackhide__ = True
    program = select(func, entry)
    if (call is None) == (build is None):
        raise TypeError("give call or build, one of them")
    check = _Check(ulps, max_statements)
    check.replay_corpus(program, call, build)
    mine = call if call is not None else build(program)  # type: ignore[misc]
    if arguments is not None:
        given = [_Trial(program, mine, tuple(a), f"argument list {i}", "") for i, a in enumerate(arguments)]
        return check.run(given)
    kinds = (inputs,) if isinstance(inputs, str) else tuple(inputs)
    chosen = session().seed if seed is None else seed
    return check.run(_drawn(program, mine, kinds, session().trials if trials is None else trials, chosen))


def _drawn(
    func: PrimFunc, call: Call, kinds: Sequence[str], trials: int | Sequence[int], seed: int
) -> Iterator[_Trial]:
    for kind in kinds:
        if kind not in KINDS:
            raise ValueError(f"inputs are of the kinds {', '.join(KINDS)}, not {kind!r}")
    for number in range(trials) if isinstance(trials, int) else trials:
        for kind in kinds:
            arguments = draw_arguments(func, kind, seed, number)
            replay = f"assert_backend_matches({func.name}, …, inputs={kind!r}, seed={seed}, trials=[{number}])"
            sizes = "".join(f", {var.name} = {size}" for var, size in chosen_sizes(func, number).items())
            yield _Trial(func, call, arguments, f"input {number} ({kind}, seed {seed}{sizes})", replay)


class _Check:
    def __init__(self, ulps: float, max_statements: int | None) -> None:
        self.ulps, self.max_statements = ulps, max_statements
        self.result = Agreement()

    def run(self, trials: Iterable[_Trial]) -> Agreement:
        """Run them; something must have been compared."""
        __tracebackhide__ = True
        for trial in trials:
            self.attempt(trial)
        if not self.result.inputs:
            reasons = "; ".join(dict.fromkeys(self.result.reasons)) or "there were no inputs"
            raise UnsupportedError(f"no input could be compared: {reasons}", rule="testing.inputs")
        return self.result

    def replay_corpus(self, func: PrimFunc, call: Call | None, build: Callable[[PrimFunc], Call] | None) -> None:
        """The saved failures of the running test come first, once; one that still fails ends it."""
        __tracebackhide__ = True
        now = session()
        if now.corpus is None or not now.test:
            return
        for failure in failures_of(now.corpus, now.test):
            key = (now.test, failure.path)
            if key in now.replayed or (build is None and not structural_equal(failure.func, func)):
                continue
            mine = build(failure.func) if build is not None else call
            assert mine is not None
            label = f"the saved inputs of {failure.path}"
            self.attempt(_Trial(failure.func, mine, failure.arguments, label, ""))
            now.replayed.add(key)

    def attempt(self, trial: _Trial) -> None:
        """One call of both; raises ``BackendMismatch``."""
        __tracebackhide__ = True
        want = [copy.copy(argument) for argument in trial.arguments]
        try:
            interpret(trial.func, *want, max_statements=self.max_statements)
        except OracleError as error:
            self.result.undefined += 1
            self.result.reasons.append(f"{trial.func.name} means nothing on the inputs tried ({error.what})")
            return
        got = [guarded(argument) for argument in trial.arguments]
        try:
            trial.call(*(argument.array if isinstance(argument, Guarded) else argument for argument in got))
        except Exception as error:
            error.add_note(f"raised by the backend of {trial.func.name}, on {trial.label}")
            raise
        self.compare(trial, want, got)

    def compare(self, trial: _Trial, want: Sequence[Any], got: Sequence[Any]) -> None:
        """Raise for the first parameter that is wrong."""
        __tracebackhide__ = True
        pairs = [(w, g) for w, g in zip(want, got, strict=True) if isinstance(g, Guarded)]
        for buffer, (_, given) in zip(trial.func.buffers, pairs, strict=True):
            if not given.intact():
                raise _mismatch(trial, f"the backend wrote outside of {buffer.name}")
        different = [np.argwhere(_unequal(w, g.array)) for w, g in pairs]
        try:
            tolerances = self.tolerances(trial) if any(map(len, different)) else []
        except Undecided as error:
            self.result.undecided += 1
            self.result.reasons.append(error.what)
            return
        for number, (places, (w, g)) in enumerate(zip(different, pairs, strict=True)):
            differing = [tuple(map(int, place)) for place in places]
            bounds = {at: tolerances[number].get(at, 0.0) for at in differing}
            wrong = [at for at in differing if not _within(w[at], g.array[at], bounds[at])]
            if wrong:
                raise _wrong_element(trial, number, wrong[0], w, g.array, bounds[wrong[0]], len(wrong))
            self.result.elements += len(differing)
        self.result.inputs += 1

    def tolerances(self, trial: _Trial) -> list[dict[tuple[int, ...], float]]:
        """The tolerance of each element of each parameter that may differ at all."""
        binding = execute(
            trial.func, trial.arguments, arithmetic=ToleranceArithmetic(self.ulps), max_statements=self.max_statements
        )
        found: list[dict[tuple[int, ...], float]] = []
        for slot in binding.slots:
            floats = dt.is_float(slot.param.type)
            places = np.ndindex(slot.view.shape) if floats else ()
            cells, positions = slot.view.storage.cells, slot.positions
            found.append({at: tolerance_of(cells[positions[at]], slot.param.type) for at in places})
        return found


def _unequal(want: Any, got: Any) -> Any:
    """Where two arrays differ; all NaNs are one, zeros of both signs too."""
    with np.errstate(invalid="ignore"):
        return (want != got) & ~((want != want) & (got != got))


def _within(want: Any, got: Any, bound: float) -> bool:
    if not bound:
        return False
    return bound == float("inf") or bool(abs(float(want) - float(got)) <= bound)


def _mismatch(trial: _Trial, what: str) -> BackendMismatch:
    with np.printoptions(threshold=12, edgeitems=3, precision=9):
        shown = [f"  {p.name} = {value!r}" for p, value in zip(trial.func.params, trial.arguments, strict=True)]
    replay = [f"replay: {trial.replay}"] if trial.replay else []
    lines = [f"{trial.func.name}: the backend disagrees with the oracle on {trial.label}", f"  {what}", *shown, *replay]
    error = BackendMismatch("\n".join(lines))
    error.func, error.arguments = trial.func, trial.arguments
    return error


def _wrong_element(
    trial: _Trial, number: int, at: tuple[int, ...], want: Any, got: Any, bound: float, count: int
) -> BackendMismatch:
    name = trial.func.buffers[number].name
    element = f"{name}[{', '.join(map(str, at))}]" if at else name
    expected, found = want[at].item(), got[at].item()
    explains = f"rounding explains at most {bound:.3g}" if bound else "rounding explains no difference"
    what = f"{element}: expected {expected!r}, got {found!r}; {explains}"
    if count > 1:
        what += f"\n  {count} of {want.size} elements of {name} are wrong, this is the first"
    error = _mismatch(trial, what)
    error.buffer, error.indices, error.expected, error.got, error.bound = name, at, expected, found, bound
    return error
