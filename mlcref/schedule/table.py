"""The record that a schedule primitive is, and the table of all of them.

Everything about a primitive comes from its record: the method of :class:`~mlcref.schedule.schedule.Schedule` and its
stub, the trace and its replay, the error texts, the property test. To add one: a record in ``schedule/<family>.py``, an
error test per precondition.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import wraps
from typing import Any, Literal, Protocol

from mlcref.errors import MlcrefError, ScheduleError
from mlcref.ir import PrimFunc, Token, Var, refuse_unscheduled

Handle = Var | Token
"""What a handle is inside a function: the variable of a loop, the token of a block."""

Result = tuple[PrimFunc, tuple[Handle, ...]]
"""What ``build`` returns: the new function and the handles it hands out."""


class Pick(Protocol):
    """The one source of choices: ``pick(options)`` returns one of them. Hypothesis, the tuner and replay all provide
    it.
    """

    def __call__(self, options: Sequence[Any], weights: Sequence[float] | None = None) -> Any:
        """One of ``options``."""


Arguments = Callable[[Pick, PrimFunc], dict[str, Any] | None]


def no_handles(func: PrimFunc, **arguments: Any) -> set[Handle]:
    """For ``consumes``: every handle stays valid."""
    return set()


@dataclass(frozen=True, slots=True)
class Primitive:
    """A function from programs to programs that keeps the meaning, or refuses.

    ``plan(func, **arguments)`` checks the preconditions (``P1`` … in ``preconditions``) and returns the facts that
    ``build`` needs, or raises ``ScheduleError``; ``build(func, facts)`` cannot fail. ``consumes(func, **arguments)``
    names the handles that go stale. ``arguments(pick, func)`` draws arguments that have a chance to be legal, None
    where there is no place for the primitive. ``attributes`` are the parameters that TVM's JSON traces keep apart from
    the inputs. ``forceable`` are the preconditions without which ``build`` still returns a well-formed program, which
    then may mean something else: :func:`forced` leaves them out. ``recorded(func, **arguments)`` gives the arguments
    that traces keep in another form.
    """

    name: str
    preconditions: Mapping[str, str]
    plan: Callable[..., Any]
    build: Callable[[PrimFunc, Any], Result]
    arguments: Arguments
    consumes: Callable[..., set[Handle]] = no_handles
    returns: Literal["none", "one", "list"] = "none"
    attributes: tuple[str, ...] = ()
    forceable: frozenset[str] = frozenset()
    recorded: Callable[..., Mapping[str, Any]] | None = None
    signature: inspect.Signature = field(init=False)

    def __post_init__(self) -> None:
        parameters = list(inspect.signature(self.plan).parameters.values())[1:]
        object.__setattr__(self, "signature", inspect.Signature(parameters))
        object.__setattr__(self, "plan", _for_known_programs(self.name, self.plan))

    @property
    def doc(self) -> str:
        """The docstring of the plan (prose, arguments, before → after) and the preconditions."""
        text = inspect.getdoc(self.plan) or ""
        conditions = "".join(f"\n* {number}: {what}" for number, what in sorted(self.preconditions.items()))
        return f"{text}\n\nRaises ``ScheduleError`` unless\n{conditions}" if conditions else text


def _for_known_programs(name: str, plan: Callable[..., Any]) -> Callable[..., Any]:
    """``plan``, refusing programs with nodes that primitives know nothing of."""

    @wraps(plan)
    def planned(func: PrimFunc, *args: Any, **arguments: Any) -> Any:
        refuse_unscheduled(func, name)
        return plan(func, *args, **arguments)

    return planned


TABLE: dict[str, Primitive] = {}
"""Every primitive by name."""


def register(primitive: Primitive) -> Primitive:
    """Put a record into the table."""
    if primitive.name in TABLE:
        raise MlcrefError(f"two primitives are called {primitive.name}")
    TABLE[primitive.name] = primitive
    return primitive


_left_out: ContextVar[frozenset[str]] = ContextVar("left_out", default=frozenset())
_skipped: ContextVar[tuple[str, ...]] = ContextVar("skipped", default=())


@contextmanager
def forced(preconditions: Iterable[str]) -> Iterator[None]:
    """Plans leave out the named preconditions ("P3") that are forceable: for ``enable_check=False`` and the harness."""
    token, before = _left_out.set(frozenset(preconditions)), _skipped.set(())
    try:
        yield
    finally:
        _left_out.reset(token)
        _skipped.reset(before)


def left_out(rule: str) -> bool:
    """Is the precondition ``<primitive>.P<n>`` not to be checked? Plans ask this of forceable preconditions only."""
    return rule.rpartition(".")[2] in _left_out.get()


def skipped_preconditions() -> tuple[str, ...]:
    """The preconditions that did not hold and were left out, so far in this ``with forced(...)``."""
    return _skipped.get()


def refuse(
    func: PrimFunc,
    rule: str,
    what: str | Callable[[], str],
    marks: Iterable[tuple[Any, str]] = (),
    hint: str | None = None,
) -> None:
    """Raise the :func:`refusal` of a forceable precondition, unless it is left out; then the plan goes on."""
    if not left_out(rule):
        raise refusal(func, rule, what, marks, hint)
    if rule not in _skipped.get():
        _skipped.set((*_skipped.get(), rule))


def refusal(
    func: PrimFunc,
    rule: str,
    what: str | Callable[[], str],
    marks: Iterable[tuple[Any, str]] = (),
    hint: str | None = None,
) -> ScheduleError:
    """The error of a precondition that does not hold; ``rule`` is ``<primitive>.P<n>``, ``marks`` are drawn on the
    script.
    """
    name = rule.partition(".")[0]
    lazy = (lambda: f"{name}: {what()}") if callable(what) else f"{name}: {what}"
    return ScheduleError(lazy, rule=rule, root=func, marks=tuple(marks), hint=hint)
