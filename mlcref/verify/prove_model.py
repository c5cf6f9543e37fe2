"""A program as isl sees it: where statements run, when, and what they access.

Every loop is a dimension. The memory of an allocation that starts anew at a statement (rule memory.lifetime) is
addressed by the loops around that statement, too, so that a private copy or a forgotten content is just another cell.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from mlcref.ir import Binary, Buffer, BufferLoad, BufferStore, Expr, For, IterVar, PrimFunc, Token, Var
from mlcref.ir.base import Node
from mlcref.verify.prove_affine import Env, Interval
from mlcref.verify.prove_isl import isl


class NotModelled(Exception):
    """Something in the program that no proof speaks about; the message says what."""


@dataclass(frozen=True)
class Place:
    """Where a statement stands: the loops around it, the conditions under which it runs, its time, its blocks.

    ``env`` and ``ranges`` say what variables are. ``exact``: does it run whenever ``domain`` holds?

    Under thread axes, ``mode`` is "lock" where statements run in lock step (``lanes`` are the dimensions of the threads
    that do) and "phase" within a phase; ``coords`` are the coordinates of the thread by tag. ``forks`` are the
    loops without order, the grids and the phase around it; ``collective`` is the reduction that stands for its threads.
    """

    loops: tuple[For, ...]
    dims: tuple[str, ...]
    domain: tuple[str, ...]
    time: tuple[str, ...]
    frames: tuple[Frame, ...]
    env: Env
    ranges: Mapping[Var, Interval]
    exact: bool = True
    mode: str = "host"
    lanes: tuple[str, ...] = ()
    coords: Mapping[str, str] = field(default_factory=dict)
    forks: tuple[Fork, ...] = ()
    collective: tuple[object, tuple[str, ...]] | None = None

    @property
    def threaded(self) -> bool:
        """Is it what one thread among several does?"""
        return any(tag.startswith("threadIdx") for tag in self.coords)

    def iteration(self, fork: Fork) -> tuple[object, tuple[str, ...]]:
        """Which iteration (or thread) of ``fork`` it belongs to: a label and coordinates, equal in the same one."""
        if fork.name is not None:
            return (), fork.name
        if self.collective is not None:
            return self.collective
        return tuple(sorted(self.coords)), tuple(self.coords[tag] for tag in sorted(self.coords))

    def values(self, point: Sequence[int]) -> dict[str, int]:
        """The values of the loop variables at ``point``, outer first."""
        return {loop.loop_var.name: value for loop, value in zip(self.loops, point, strict=True)}


@dataclass(frozen=True, eq=False)
class Fork:
    """Something whose iterations run in no order: a parallel or vectorized loop, a grid of blockIdx instances, or a
    phase of threads. ``around`` are the dimensions that tell one execution of it from another; ``name`` tells its
    iterations apart, None for the threads of a phase. ``certain``: does it happen as it is modelled?"""

    key: object
    what: str
    around: tuple[str, ...]
    name: tuple[str, ...] | None
    threads: bool
    certain: bool = True


@dataclass(frozen=True, eq=False)
class Limit:
    """Something that must hold wherever ``place`` runs, by ``rule``; ``holds`` is None where it is not affine."""

    rule: str
    what: str
    holds: str | None
    place: Place


@dataclass(frozen=True, eq=False)
class Frame:
    """The instances of a block. ``place`` is that of its body, ``bindings`` its iterators' values as text, None where
    they are not affine; ``outer`` counts the loops around the block that contains it."""

    name: str
    token: Token
    iters: tuple[IterVar, ...]
    bindings: tuple[str | None, ...]
    domains: tuple[tuple[str, str] | None, ...]
    place: Place
    outer: int
    node: Any

    def of_kind(self, *kinds: str) -> list[str | None]:
        """The values of the iterators of these kinds."""
        return [text for it, text in zip(self.iters, self.bindings, strict=True) if it.iter_type in kinds]

    @property
    def reduces(self) -> bool:
        """Has it a reduce iterator?"""
        return any(it.iter_type == "reduce" for it in self.iters)

    @property
    def exact(self) -> bool:
        """Is all known about its instances?"""
        return self.place.exact and None not in self.bindings and None not in self.domains


@dataclass(frozen=True, eq=False)
class Event:
    """One access of a statement, in all its instances. ``cell`` are home dimensions and indices as text, an index that
    is not affine is None. ``used``: further conditions under which the loaded value matters; ``decides``: does it
    decide what runs or where? ``known`` says whether ``used`` is all there is to it."""

    name: str
    kind: str
    buffer: Buffer
    cell: tuple[str | None, ...]
    place: Place
    node: Node
    stmt: Any
    late: bool
    used: tuple[str, ...] = ()
    decides: bool = False
    known: bool = True
    via: tuple[Buffer, tuple[str | None, ...]] | None = None
    """The name under which the program accesses it, and the indices there, where that is a matched region."""

    @property
    def exact(self) -> bool:
        """Does it happen exactly in the modelled instances, on the modelled cells?"""
        return self.place.exact and None not in self.cell

    @property
    def time(self) -> tuple[str, ...]:
        """When: loads come before the store of their statement."""
        return (*self.place.time, "1" if self.late else "0")


@dataclass
class Model:
    """What was found in a function. ``unordered`` is why nothing can be said about order; ``doubtful`` why it is known
    only where threads do not conflict; ``unclear`` why values are not known, by rule. ``homes`` are the loops that
    give a buffer new memory, ``private`` the thread axes of which each thread has its own. ``limits`` are conditions
    of rules that are no sets of accesses."""

    func: PrimFunc
    params: tuple[str, ...] = ()
    context: tuple[str, ...] = ()
    names: dict[str, str] = field(default_factory=dict)
    shapes: dict[Buffer, tuple[str | None, ...]] = field(default_factory=dict)
    homes: dict[Buffer, tuple[str, ...]] = field(default_factory=dict)
    private: dict[Buffer, tuple[str, ...]] = field(default_factory=dict)
    tuples: dict[Buffer, str] = field(default_factory=dict)
    events: list[Event] = field(default_factory=list)
    frames: list[Frame] = field(default_factory=list)
    limits: list[Limit] = field(default_factory=list)
    unordered: str = ""
    doubtful: str = ""
    unclear: dict[str, str] = field(default_factory=dict)
    computed: list[tuple[Binary, Place]] = field(default_factory=list)
    asserts: list[tuple[Expr, Place]] = field(default_factory=list)
    maps: dict[tuple[str, bool], Any] = field(default_factory=dict)

    # --- text ---

    def text(self, body: str) -> str:
        """``body`` with the parameters in front."""
        return f"[{', '.join(self.params)}] -> {{ {body} }}"

    def where(self, *conditions: str) -> str:
        """The conditions, and what is known about sizes, behind a colon."""
        return " : " + " and ".join([*self.context, *conditions] or ["true"])

    def instance(self, name: str, dims: Sequence[str], *conditions: str) -> isl.Set:
        """The set of instances of ``dims`` under ``conditions``."""
        return isl.Set(self.text(f"{name}[{', '.join(dims)}]{self.where(*conditions)}"))

    def relation(self, name: str, dims: Sequence[str], target: str, out: Sequence[str], *conditions: str) -> isl.Map:
        """The map from instances to ``target[out]``."""
        head = f"{name}[{', '.join(dims)}] -> {target}[{', '.join(out)}]"
        return isl.Map(self.text(head + self.where(*conditions)))

    # --- sets and maps of events ---

    def access(self, event: Event, used: bool = False) -> isl.Map:
        """From the instances of ``event`` to the cells it may touch; with ``used`` only where the value matters."""
        key = (event.name, used)
        if key not in self.maps:
            cell = [f"free{k}" if text is None else text for k, text in enumerate(event.cell)]
            conditions = (*event.place.domain, *(event.used if used else ()))
            target = self.tuples[event.buffer]
            self.maps[key] = self.relation(event.name, event.place.dims, target, cell, *conditions).detect_equalities()
        return self.maps[key]

    def head(self, buffer: Buffer) -> int:
        """How many coordinates of a cell say which memory it is, before the indices."""
        return len(self.homes[buffer]) + len(self.private[buffer])

    def cells(self, buffer: Buffer) -> isl.Set:
        """All elements of a parameter."""
        dims = [f"d{k}" for k in range(len(buffer.shape))]
        inside = [f"0 <= {d} < {extent}" for d, extent in zip(dims, self.shapes[buffer], strict=True)]
        return self.instance(self.tuples[buffer], dims, *inside)

    @cached_property
    def depth(self) -> int:
        """The length of the longest time."""
        return max((len(event.time) for event in self.events), default=0) + 1

    def schedule(self, event: Event) -> isl.Map:
        """From the instances of ``event`` to their times, all of one length."""
        time = [*event.time, *["0"] * (self.depth - len(event.time))]
        return self.relation(event.name, event.place.dims, "", time, *event.place.domain)

    def reads(self) -> list[Event]:
        """All loads."""
        return [event for event in self.events if event.kind == "read"]

    def writes(self) -> list[Event]:
        """All stores."""
        return [event for event in self.events if event.kind == "write"]

    def loads_of(self, stmt: Any, load: BufferLoad) -> list[Event]:
        """The events of one load of one statement (it may stand there twice)."""
        return self.by_load.get((stmt, load), [])

    @cached_property
    def by_load(self) -> dict[tuple[Any, Node], list[Event]]:
        """Events of loads by statement and load."""
        found: dict[tuple[Any, Node], list[Event]] = {}
        for event in self.reads():
            found.setdefault((event.stmt, event.node), []).append(event)
        return found

    @cached_property
    def by_store(self) -> dict[BufferStore, Event]:
        """The write of each store."""
        return {event.stmt: event for event in self.writes()}


def lexicographic(names: Sequence[str], dims: int, *, strict: bool) -> isl.Map:
    """From the points of ``names[0]`` to the points of ``names[1]`` that come later (or, if not strict, at the same
    time)."""
    a, b = [f"a{k}" for k in range(dims)], [f"b{k}" for k in range(dims)]
    cases = []
    for k in range(dims):
        same = [f"{x} = {y}" for x, y in zip(a[:k], b[:k], strict=True)]
        cases.append(" and ".join([*same, f"{a[k]} < {b[k]}"]))
    if not strict:
        cases.append(" and ".join(f"{x} = {y}" for x, y in zip(a, b, strict=True)) or "true")
    condition = " or ".join(f"({case})" for case in cases) or "false"
    return isl.Map(f"{{ {names[0]}[{', '.join(a)}] -> {names[1]}[{', '.join(b)}] : {condition} }}")
