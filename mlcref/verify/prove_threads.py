"""Thread axes in the model (rules thread.phase, thread.scope, thread.extent, thread.sync).

Statements run in lock step over the threads that are open, part by part, until one has no barrier in it: that one is a
phase, which the threads run one after the other. So the time of an instance has the coordinates of its thread where its
phase begins, and the threads that take part in a phase are iterations of a loop without order.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from mlcref.interp.placement import Facts, is_thread, scope_kind
from mlcref.ir import BlockRealize, Buffer, Expr, For, IfThenElse, PrimFunc, Stmt, loads, walk
from mlcref.verify.prove_affine import NotAffine, affine, condition
from mlcref.verify.prove_model import Fork, Limit, Model, NotModelled, Place

_DIMENSION = re.compile(r"\bi\d+\b")


@dataclass
class Threads:
    """What thread axes make of places."""

    model: Model
    facts: Facts
    extents: dict[str, str] = field(default_factory=dict)
    """Of each tag that is open here: its extent."""

    def enter(self, s: Stmt, at: Place) -> Place:
        """Where ``s`` runs: as the host says, in lock step, or in a phase of its own."""
        if at.mode == "host" and is_thread(s):
            at = dataclasses.replace(at, mode="lock")
        if at.mode != "lock":
            return at
        if s not in self.facts.phases:
            return self.phase(s, at)
        if at.lanes and not _uniform(s, at):
            if is_thread(s):
                raise NotModelled("a thread axis is opened where threads already differ")
            self.model.doubtful = "whether the threads part ways around a barrier is not known"
            return self.phase(s, at, certain=False)
        if isinstance(s, For) and s.kind in ("parallel", "vectorized") and at.threaded:
            raise NotModelled(f"a {s.kind} loop around a barrier of threads")
        if isinstance(s, BlockRealize) and s.block in self.facts.collective:
            raise NotModelled(f"block {s.block.name} reduces over threads and has a barrier in it")
        if isinstance(s, BlockRealize) and s.block.init is not None:
            self.model.unordered = f"block {s.block.name} has an init and a barrier in it"
        return at

    @staticmethod
    def phase(key: Stmt, at: Place, *, certain: bool = True) -> Place:
        """A phase begins: the threads that are in lock step run one after the other from here."""
        fork = Fork((key, "phase"), "one phase", _common(at), None, True, certain)
        return dataclasses.replace(
            at, mode="phase", time=(*at.time, *at.lanes), lanes=(), forks=(*at.forks, fork)
        )

    def open_axis(self, s: For, at: Place, inner: Place, low: str | None, count: str | None) -> Place:
        """``inner`` (the place of the body of a loop) where the loop is a thread axis."""
        tag = s.thread or ""
        dim = inner.dims[-1]
        if low is None or count is None:
            raise NotModelled(f"the extent of {tag} is not affine")
        self.extents[tag] = count
        coords = {**at.coords, tag: dim if low == "0" else f"({dim} - ({low}))"}
        inner = dataclasses.replace(inner, coords=coords)
        if at.mode == "phase":
            return inner
        if not tag.startswith("blockIdx"):
            return dataclasses.replace(inner, time=at.time, lanes=(*at.lanes, dim))
        if at.threaded:
            raise NotModelled(f"{tag} is opened where threads already differ")
        fork = Fork((s, "grid"), "the grid", _common(at), (dim,), True)
        return dataclasses.replace(inner, forks=(*at.forks, fork))

    def project(self, s: For, at: Place, low: str | None, count: str | None) -> str | None:
        """An axis that is open already: the value of its variable, as text."""
        tag = s.thread or ""
        holds = None if count is None else f"{count} = {self.extents[tag]}"
        self.model.limits.append(Limit("thread.extent", f"{tag} is bound again with another extent", holds, at))
        return None if low is None else f"({low} + {at.coords[tag]})"

    def barrier(self, at: Place) -> None:
        """A barrier in the middle of a phase is reached by some of the threads only."""
        if at.mode == "phase" and at.threaded:
            self.model.limits.append(Limit("thread.sync", "whether all threads reach a barrier", None, at))

    def home(self, buffer: Buffer, s: Stmt, at: Place) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """The loops that give new memory to a buffer allocated at ``s``, and the axes whose threads have their own."""
        if scope_kind(buffer) == "local":
            apart = buffer in self.facts.private and s in self.facts.threads
            return at.dims, tuple(self.tags(self.model.func)) if apart else ()
        if at.mode == "phase" and at.threaded:
            raise NotModelled(f"{buffer.name} ({buffer.scope}) is allocated by threads one after the other")
        return _common(at), ()

    @staticmethod
    def tags(func: PrimFunc) -> list[str]:
        """The thread axes of a function."""
        return sorted({s.thread or "" for s in walk(func.body) if isinstance(s, For) and is_thread(s)})

    def collective(self, s: BlockRealize, at: Place, bindings: Sequence[str | None]) -> Place:
        """``at`` in the body of a reduction over threads: they act as one."""
        name = s.block.name
        if at.frames and at.frames[-1].place.threaded:
            raise NotModelled(f"block {name} reduces over threads inside a block instance of one thread")
        if self.facts.collective[s.block] & self.facts.private:
            raise NotModelled(f"block {name} reduces over threads into memory of which each has its own")
        known = [text for text in bindings if text is not None]
        if len(known) < len(bindings):
            raise NotModelled(f"a binding of block {name}, which reduces over threads, is not affine")
        return dataclasses.replace(at, collective=(s.block.token, tuple(known)))


def _common(at: Place) -> tuple[str, ...]:
    """The dimensions that all threads in lock step share."""
    return tuple(dim for dim in at.dims if dim not in at.lanes)


def _uniform(s: Stmt, at: Place) -> bool:
    """Do all threads in lock step certainly agree on the extent or the condition of ``s``?"""
    if isinstance(s, For):
        return all(_same(e, at, truth=False) for e in (s.min, s.extent))
    if isinstance(s, IfThenElse):
        return _same(s.condition, at, truth=True)
    return not isinstance(s, BlockRealize) or all(_same(e, at, truth=True) for e in s.predicate)


def _same(e: Expr, at: Place, *, truth: bool) -> bool:
    if loads(e):
        return False
    try:
        text = condition(e, at.env) if truth else affine(e, at.env)
    except NotAffine:
        return False
    return not set(_DIMENSION.findall(text)) & set(at.lanes)
