"""Threads: a thread axis does not iterate, it opens lanes (rules thread.phase, thread.scope, thread.extent,
thread.collective).

A statement with barriers in it runs in lock step: part by part, each part by all lanes before the next begins. A
statement without barriers is one phase: the machine runs it lane by lane, and the race check refuses programs for
which that order matters. A statement in which the lanes part ways (an extent or a condition that differs between
them) has no barriers: it is one phase.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from mlcref.errors import UnsupportedError
from mlcref.interp.allreduce import all_reduce, reducer_of
from mlcref.interp.blocks import Frame
from mlcref.interp.evaluate import Path
from mlcref.interp.machine import Machine
from mlcref.interp.memory import PerThread, View
from mlcref.interp.placement import is_thread, scope_kind
from mlcref.interp.races import Fork
from mlcref.ir.buffer import Buffer
from mlcref.ir.compound import CommReducer
from mlcref.ir.expr import Call, Var
from mlcref.ir.stmt import (
    AllocBuffer,
    AttrStmt,
    BlockRealize,
    DeclBuffer,
    Evaluate,
    For,
    IfThenElse,
    LetStmt,
    SeqStmt,
    Stmt,
    While,
)

T = TypeVar("T")


class Lane:
    """The state of one thread: its variables, its view of memory, its block instance and its coordinates by tag."""

    __slots__ = ("coordinates", "env", "frame", "views")

    def __init__(
        self, env: dict[Var, Any], views: dict[Buffer, View | PerThread], frame: Frame, coordinates: dict[str, int]
    ) -> None:
        self.env, self.views, self.frame, self.coordinates = env, views, frame, coordinates

    def fork(self, tag: str, coordinate: int, var: Var, value: int) -> Lane:
        """A lane that goes its own way from here, with one more coordinate."""
        coordinates = {**self.coordinates, tag: coordinate}
        return Lane({**self.env, var: value}, dict(self.views), self.frame, coordinates)


Lanes = Sequence[Lane]


class LaneMachine(Machine):
    """The machine with threads. ``phase`` is the phase that runs, None outside of kernels and between phases;
    ``extents`` are the extents of the open thread axes."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.phase: Fork | None = None
        self.extents: dict[str, int] = {}
        self.reducer: CommReducer | None = None
        self._paths: list[Path] = []

    def each(self, lanes: Lanes, act: Callable[[], T]) -> list[T]:
        """What ``act`` gives in every lane, in order."""
        results = []
        for lane in lanes:
            self.env, self.views, self.frame, self.coordinates = lane.env, lane.views, lane.frame, lane.coordinates
            results.append(act())
            lane.frame = self.frame
        return results

    def unsupported(self, what: str, stmt: Stmt) -> UnsupportedError:
        """The refusal of something that the rules of threads leave open."""
        return UnsupportedError(what, root=self.func, marks=[(stmt, "here")])

    # --- thread axes outside of lock step ---

    def threads(self, stmt: For) -> None:
        """A thread axis met by the host opens a kernel; met within a phase it adds a coordinate."""
        if stmt.step is not None:
            raise self.unsupported("a thread axis with a step", stmt)
        if not is_thread(stmt):
            self.in_order(stmt, lambda: self.run(stmt.body))
        elif self.phase is None:
            outer = Lane(self.env, self.views, self.frame, self.coordinates)
            self.lockstep(stmt, [outer])
            self.each([outer], lambda: self.env.pop(stmt.loop_var, None))
        else:
            self.within_phase(stmt)

    def in_order(self, stmt: For, act: Callable[[], None]) -> None:
        """vthread: a loop in order."""
        for i in self.iterations(stmt):
            self.env[stmt.loop_var] = i
            act()
        self.env.pop(stmt.loop_var, None)

    def within_phase(self, stmt: For) -> None:
        """A thread axis inside a phase: its threads run one after the other and belong to the same phase."""
        tag = stmt.thread or ""
        if tag in self.extents:
            self.project(stmt)
            self.run(stmt.body)
        else:
            start, extent, path = self.integer(stmt.min), self.integer(stmt.extent), self.path
            self.extents[tag] = extent
            for i in range(extent):
                self.coordinates[tag], self.env[stmt.loop_var] = i, start + i
                self.path = self.renamed(path, tuple(self.coordinates.items()))
                self.run(stmt.body)
            self.path = path
            del self.extents[tag]
            self.coordinates.pop(tag, None)
        self.env.pop(stmt.loop_var, None)

    def renamed(self, path: Path, name: object) -> Path:
        """``path`` with another name for the thread of the running phase."""
        return tuple((fork, name if fork is self.phase else at) for fork, at in path)

    def project(self, stmt: For) -> None:
        """An axis that is open already: its variable is the coordinate of the lane."""
        tag, extent = stmt.thread or "", self.integer(stmt.extent)
        opened = self.extents[tag]
        if extent != opened:
            raise self.failure(
                "thread.extent",
                f"{tag} has extent {extent} here but {opened} around it",
                [(stmt, "bound again here")],
                hint="bind loops of one extent to a thread axis, and guard the block with T.where",
            )
        self.env[stmt.loop_var] = self.integer(stmt.min) + self.coordinates[tag]

    # --- lock step ---

    def lockstep(self, stmt: Stmt, lanes: Lanes) -> None:
        """Execute ``stmt`` in all lanes, with a barrier after each part of a sequence."""
        if stmt not in self.facts.phases:
            self.run_phase(stmt, lanes)
            return
        if stmt in self.facts.jumps:
            raise self.unsupported("break or continue around a barrier", stmt)
        self.statement = stmt
        self.allocate_together(stmt, self.facts.allocations.get(stmt, ()), lanes)
        match stmt:
            case SeqStmt():
                for group in self.facts.groups(stmt):
                    if len(group) == 1:
                        self.lockstep(group[0], lanes)
                    else:
                        self.run_phase(stmt, lanes, group)
            case Evaluate(value=Call(op="tvm_storage_sync")):
                pass
            case Evaluate(value=Call(op="tvm_thread_allreduce")):
                all_reduce(self, stmt, lanes)
            case For(kind="thread_binding") if is_thread(stmt):
                self.open_axis(stmt, lanes)
            case For():
                self.loop_together(stmt, lanes)
            case IfThenElse():
                self.branch_together(stmt, lanes)
            case While():
                self.while_together(stmt, lanes)
            case BlockRealize():
                self.block_together(stmt, lanes)
            case AllocBuffer():
                self.allocate_together(stmt, [stmt.buffer], lanes)
                self.lockstep(stmt.body, lanes)
            case DeclBuffer():
                self.each(lanes, lambda: self.views.update({stmt.buffer: self.declared(stmt)}))
                self.lockstep(stmt.body, lanes)
            case LetStmt():
                self.each(lanes, lambda: self.env.update({stmt.var: self.value(stmt.value)}))
                self.lockstep(stmt.body, lanes)
            case AttrStmt():
                self.check_attribute(stmt)
                outer, reducer = self.reducer, reducer_of(stmt)
                self.reducer = outer if reducer is None else reducer
                self.lockstep(stmt.body, lanes)
                self.reducer = outer
            case _:
                raise self.unsupported(f"a {type(stmt).__name__} around a barrier", stmt)

    def run_phase(self, stmt: Stmt, lanes: Lanes, parts: Sequence[Stmt] = ()) -> None:
        """Execute ``stmt`` (or only some parts of it) without barriers, lane after lane."""

        def act() -> None:
            for part in parts or (stmt,):
                self.run(part)

        self.in_phase(stmt, lanes, act)

    def in_phase(self, stmt: Stmt, lanes: Lanes, act: Callable[[], T]) -> list[T]:
        """What ``act`` gives in every lane; its accesses belong to one phase."""
        self.phase = phase = Fork(stmt, threads=True)
        path = self.path

        def run_lane() -> T:
            self.path = (*path, (phase, tuple(self.coordinates.items())))
            return act()

        results = self.each(lanes, run_lane)
        self.path, self.phase = path, None
        return results

    def open_axis(self, stmt: For, lanes: Lanes) -> None:
        """A thread axis around barriers: blockIdx instances run one after the other, threadIdx makes more lanes."""
        tag = stmt.thread or ""
        if stmt.step is not None:
            raise self.unsupported("a thread axis with a step", stmt)
        if tag in self.extents:
            self.each(lanes, lambda: self.project(stmt))
            self.lockstep(stmt.body, lanes)
            return
        ranges = set(self.each(lanes, lambda: (self.integer(stmt.min), self.integer(stmt.extent))))
        grid = tag.startswith("blockIdx")
        if len(ranges) != 1 or (grid and any(open_tag.startswith("threadIdx") for open_tag in self.extents)):
            raise self.unsupported(f"{tag} opened where threads already differ", stmt)
        ((start, extent),) = ranges
        self.extents[tag] = extent
        opened = [[lane.fork(tag, i, stmt.loop_var, start + i) for i in range(extent)] for lane in lanes]
        if grid:
            self.run_grid(stmt, opened[0])
        else:
            self.lockstep(stmt.body, [lane for group in opened for lane in group])
        del self.extents[tag]

    def run_grid(self, stmt: For, instances: Lanes) -> None:
        """The instances of a blockIdx axis: no barrier between them, so any conflict is a race."""
        grid, path = Fork(stmt, threads=True), self.path
        for i, lane in enumerate(instances):
            self.path = (*path, (grid, ((stmt.thread, i),)))
            self.lockstep(stmt.body, [lane])
        self.path = path

    # --- statements around barriers: uniform in all lanes, otherwise one phase ---

    def loop_together(self, stmt: For, lanes: Lanes) -> None:
        """A loop around barriers; one without order only where a single lane runs it."""
        fork = Fork(stmt) if stmt.kind in ("parallel", "vectorized") else None
        if fork is not None and any(tag.startswith("threadIdx") for tag in self.extents):
            raise self.unsupported(f"a {stmt.kind} loop around a barrier of threads", stmt)
        ranges = set(self.each(lanes, lambda: self.iterations(stmt)))
        if len(ranges) != 1:
            self.run_phase(stmt, lanes)
            return
        (iterations,) = ranges
        path = self.path
        for i in iterations:
            for lane in lanes:
                lane.env[stmt.loop_var] = i
            if fork is not None:
                self.path = (*path, (fork, i))
            self.lockstep(stmt.body, lanes)
        self.path = path
        for lane in lanes:
            lane.env.pop(stmt.loop_var, None)

    def branch_together(self, stmt: IfThenElse, lanes: Lanes) -> None:
        """A branch around barriers."""
        conditions = self.each(lanes, lambda: self.truth(stmt.condition))
        if len(set(conditions)) != 1:
            self.run_phase(stmt, lanes)
        elif conditions[0]:
            self.lockstep(stmt.then_case, lanes)
        elif stmt.else_case is not None:
            self.lockstep(stmt.else_case, lanes)

    def while_together(self, stmt: While, lanes: Lanes) -> None:
        """A while loop around barriers: all lanes must agree on every test."""
        while True:
            conditions = set(self.each(lanes, lambda: self.truth(stmt.condition)))
            if len(conditions) != 1:
                raise self.unsupported("a while loop around a barrier on which the threads disagree", stmt)
            if conditions == {False}:
                return
            self.lockstep(stmt.body, lanes)

    def block_together(self, stmt: BlockRealize, lanes: Lanes) -> None:
        """A block instance per lane around barriers."""
        block = stmt.block
        holds = set(self.each(lanes, lambda: self.all_hold(stmt.predicate)))
        if len(holds) != 1:
            self.run_phase(stmt, lanes)
            return
        if holds == {False}:
            return
        if block in self.facts.collective:
            raise self.unsupported(f"block {block.name} reduces over threads and has a barrier in it", stmt)
        frames = self.each(lanes, lambda: self.enter(stmt))
        starting = [lane for lane, frame in zip(lanes, frames, strict=True) if frame.starts]
        if block.init is not None and starting:
            self.run_phase(block.init, starting)
        self.lockstep(block.body, lanes)
        self.each(lanes, lambda: self.leave(self.frame))

    # --- memory: rule thread.scope ---

    def allocate_together(self, stmt: Stmt, buffers: Sequence[Buffer], lanes: Lanes) -> None:
        """New memory: ``local`` for each lane, any other scope one for all of them."""
        local = [buffer for buffer in buffers if scope_kind(buffer) == "local"]
        common = [buffer for buffer in buffers if scope_kind(buffer) != "local"]
        self.each(lanes, lambda: Machine.allocate(self, stmt, local))
        self.each(lanes[:1], lambda: Machine.allocate(self, stmt, common))
        for lane in lanes[1:]:
            lane.views.update({buffer: lanes[0].views[buffer] for buffer in common})

    def allocate(self, stmt: Stmt, buffers: Sequence[Buffer]) -> None:
        """New memory of the lane that runs; threads that went apart cannot allocate memory for all."""
        apart = any(tag.startswith("threadIdx") for tag in self.coordinates)
        for buffer in buffers:
            if apart and scope_kind(buffer) != "local":
                raise self.unsupported(
                    f"allocation of {buffer.name} ({buffer.scope}) by threads one after the other", stmt
                )
        super().allocate(stmt, buffers)

    def depth(self) -> int:
        """Threads that open later in the phase share what is allocated in it, too."""
        forks = [fork for fork, _ in self.path]
        return forks.index(self.phase) if self.phase in forks else len(forks)

    # --- reductions over threads: rule thread.collective ---

    def enter(self, stmt: BlockRealize) -> Frame:
        """Bind a block; the lanes of a collective reduction act as one for the race check."""
        if stmt.block in self.facts.collective:
            self.check_collective(stmt)
        frame = super().enter(stmt)
        frame.threaded = any(tag.startswith("threadIdx") for tag in self.coordinates)
        if stmt.block in self.facts.collective:
            self._paths.append(self.path)
            self.path = self.renamed(self.path, ("collective", stmt.block.token, frame.spatial))
        return frame

    def leave(self, frame: Frame) -> None:
        """End a block instance."""
        if frame.block in self.facts.collective:
            self.path = self._paths.pop()
        super().leave(frame)

    def check_collective(self, stmt: BlockRealize) -> None:
        """A collective needs a result that all its threads see, and one parent instance for all of them."""
        name = stmt.block.name
        if self.frame.threaded:
            raise self.unsupported(f"block {name} reduces over threads inside a block instance of one thread", stmt)
        for buffer in self.facts.collective[stmt.block]:
            if buffer in self.facts.private:
                raise self.unsupported(
                    f"a reduction over threads into {buffer.name}, of which each thread has its own", stmt
                )
