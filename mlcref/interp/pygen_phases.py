"""Phases of generated kernels: loop nests over the threads of a block (rules thread.phase, thread.race).

Phases whose threads are proven to be apart are plain nests, which may become numpy statements; in all others, the
users of elements are tracked. What each thread computes for itself between phases is memory of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

from mlcref import dtype as dt
from mlcref.interp.placement import is_thread
from mlcref.interp.pygen_blocks import Bound, axis_of, jumps_out
from mlcref.interp.pygen_code import NotGenerated
from mlcref.interp.pygen_races import conflicting
from mlcref.interp.pygen_static import Axis, Linear
from mlcref.interp.pygen_vector import Nests
from mlcref.ir.buffer import Buffer, BufferLoad
from mlcref.ir.expr import Call, Const, Expr, Var
from mlcref.ir.intrinsics import INTRINSICS
from mlcref.ir.stmt import BlockRealize, Evaluate, For, LetStmt, SeqStmt, Stmt
from mlcref.ir.visit import walk


class Phases(Nests):
    """Generates what all threads of a block do, one after the other."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.cells: list[tuple[Var, Buffer]] = []
        """Variables that each thread computes for itself between phases, with the memory that holds them."""
        self.now: list[str] = []
        """The thread that runs, as texts; known in phases whose users are tracked."""
        self.trackers: list[str] = []
        """Who tracks the users of the phase at hand."""

    def thread_axis(self, stmt: For) -> Axis:
        """The axis that a loop opens."""
        axis = axis_of(stmt, self.known)
        if jumps_out(stmt.body):
            raise NotGenerated("break or continue out of a thread axis")
        if axis is None:
            raise NotGenerated("a thread axis without constant bounds")
        self.known.ranges[axis.var] = (axis.start, axis.start + max(axis.extent, 1) - 1)
        return axis

    @contextmanager
    def projected(self, stmt: For) -> Iterator[None]:
        """An axis that is open already: its variable is the coordinate of the thread."""
        axis, opened = self.thread_axis(stmt), self.open[stmt.thread or ""]
        if axis.extent != opened.extent:
            self.line("doubt()")
        self.known.forms[axis.var] = Linear({opened.var: 1}, axis.start - opened.start)
        yield
        del self.known.forms[axis.var]

    def lonely_barrier(self, stmt: Evaluate) -> None:
        """A barrier outside of lock step: a single thread waits for nobody."""
        sync = isinstance(stmt.value, Call) and stmt.value.op == "tvm_storage_sync"
        if self.threaded or not sync:
            self.line("doubt()")

    # --- all threads, one after the other ---

    @contextmanager
    def each_lane(self, lanes: Sequence[Axis] | None = None) -> Iterator[None]:
        """Lines that every thread runs, in order."""
        loops, axes = self.instances[-1].loops, self.lanes if lanes is None else lanes
        mark = len(loops)
        with ExitStack() as stack:
            for axis in axes:
                name = self.names[axis.var] = self.fresh(axis.var.name)
                end = axis.start + axis.extent
                stack.enter_context(self.indented(f"for {name} in range({axis.start}, {end}):"))
                stack.enter_context(self.level(axis.var))
                loops.append(axis)
                self.loop_depth += 1
            for var, cell in self.cells:
                self.names[var] = self.fresh(var.name)
                self.line(f"{self.names[var]} = {self.load(BufferLoad(cell, ()))}")
                stack.enter_context(self.level(var))
            yield
            self.loop_depth -= len(axes)
            del loops[mark:]

    def uniform(self, *parts: Expr) -> bool:
        """Do the threads of lock step surely agree on these values?"""
        apart = {axis.var for axis in self.lanes} | {var for var, _ in self.cells}
        if not self.lanes:
            return True
        for part in parts:
            for node in walk(part):
                if isinstance(node, Var):
                    form = self.known.forms.get(node)
                    if not apart.isdisjoint(form.variables() if form is not None else {node}):
                        return False
                elif isinstance(node, BufferLoad):
                    view = self.view(node.buffer)
                    if view.memory.per_thread or not apart.isdisjoint(view.start.variables()):
                        return False
                elif isinstance(node, Call):
                    row = INTRINSICS.get(node.op)
                    if row is None or row.effect:
                        return False
        return True

    @contextmanager
    def every_lane(self, *uses: Expr) -> Iterator[None]:
        if self.in_phase or self.uniform(*uses):
            yield
        else:
            with self.each_lane():
                yield

    def agreed(self, parts: Sequence[Expr], together: Callable[[list[str]], None], apart: Callable[[], None]) -> None:
        """``together`` with the values of ``parts`` where all threads agree on them, else ``apart``."""
        if self.uniform(*parts):
            together([self.named(self.value(part, True)) for part in parts])
            return
        found = self.fresh("found")
        self.line(f"{found} = {{}}")
        with self.each_lane():
            self.line(f"{found}[{''.join(self.value(part, True) + ', ' for part in parts)}] = 0")
        names = [self.fresh("agreed") for _ in parts]
        with self.opaque():
            with self.indented(f"if len({found}) == 1:"):
                self.line(f"(({', '.join(names)},),) = {found}")
                together(names)
            with self.indented("else:"):
                apart()

    @contextmanager
    def held(self, var: Var, value: Expr, *, exact: bool = False) -> Iterator[None]:
        """A variable; around barriers, each thread may have another value of it."""
        if self.in_phase or self.uniform(value):
            with super().held(var, value, exact=exact):
                yield
            return
        form = self.known.linear(value) if dt.is_integer(var.type) else None
        if form is not None and form.variables() <= {axis.var for axis in self.lanes} | set(self.depth):
            self.known.forms[var] = form
            yield
            del self.known.forms[var]
            return
        with self.cell(var, lambda: self.value(value, exact)):
            yield

    @contextmanager
    def cell(self, var: Var, text: Callable[[], str]) -> Iterator[None]:
        """Memory for a variable of each thread."""
        buffer = Buffer(var.name, (), var.type, "local")
        self.allocate_own(buffer)
        view = self.views[buffer] = self.view(buffer)
        del self._own[buffer]
        with self.each_lane():
            self.put(view.memory, self.locate(view, (), keep=True), text())
            view.memory.checked = False
        self.cells.append((var, buffer))
        yield
        self.cells.pop()

    # --- phases ---

    def phase(self, parts: Sequence[Stmt]) -> None:
        """Statements without barriers: all threads one after the other, in which no two may conflict."""
        opened: list[tuple[str, Axis]] = []
        with ExitStack() as stack:
            while len(parts) == 1 and isinstance(stmt := parts[0], For) and is_thread(stmt):
                buffers = self.facts.allocations.get(stmt, ())
                if buffers and (self.lanes or (opened and not self.facts.private.isdisjoint(buffers))):
                    break
                self.in_phase = True
                for buffer in buffers:
                    self.allocate(buffer)
                self.in_phase = False
                tag = stmt.thread or ""
                if tag in self.open:
                    stack.enter_context(self.projected(stmt))
                else:
                    self.open[tag] = self.thread_axis(stmt)
                    stack.callback(self.open.pop, tag)
                    opened.append((tag, self.open[tag]))
                parts = (stmt.body,)
            self.run_phase(parts, [*self.lanes, *(axis for _, axis in opened)])

    def run_phase(self, parts: Sequence[Stmt], axes: Sequence[Axis]) -> None:
        """The loops of a phase."""
        if any(axis.extent < 1 for axis in axes):
            return
        self.in_phase, comments, self.comments = True, self.comments, False
        with ExitStack() as stack:
            conflicts = conflicting(self, parts, axes, "threads")
            if conflicts:
                self.trackers = self.tracking(conflicts, stack, threads=True)
                with self.each_lane(axes):
                    self.now = [self.names[axis.var] for axis in axes]
                    self.note_thread()
                    for part in parts:
                        self.stmt(part)
                self.trackers, self.now = [], []
            else:
                self.stmt(_nest(parts, axes, self.cells_for(parts)))
        self.in_phase, self.comments = False, comments

    def cells_for(self, parts: Sequence[Stmt]) -> list[tuple[Var, Buffer]]:
        """The variables of threads that these statements need, by name or in addresses."""
        used = {var for view in self.views.values() for var in view.start.variables()}
        for node in (node for part in parts for node in walk(part)):
            if isinstance(node, Var):
                form = self.known.forms.get(node)
                used |= {node} if form is None else form.variables()
        return [(var, cell) for var, cell in self.cells if var in used]

    def note_thread(self, *reduction: str) -> None:
        """Tell the trackers of a phase which thread runs, or which reduction over threads."""
        for users in self.trackers:
            self.line(f"{users}.now = ({''.join(text + ', ' for text in reduction or self.now)})")

    def within_phase(self, stmt: For) -> None:
        """A thread axis inside a phase: its threads run one after the other and belong to the same phase."""
        tag = stmt.thread or ""
        if tag in self.open:
            with self.projected(stmt):
                self.stmt(stmt.body)
            return
        axis, outer, loops = self.thread_axis(stmt), self.now, self.instances[-1].loops
        self.open[tag] = axis
        loops.append(axis)
        with self.indented(self.head(stmt, axis)), self.level(axis.var):
            self.loop_depth += 1
            self.now = [*outer, repr(tag), self.names[axis.var]]
            self.note_thread()
            self.stmt(stmt.body)
            self.loop_depth -= 1
        loops.pop()
        del self.open[tag]
        self.now = outer
        self.note_thread()

    def begin(self, stmt: BlockRealize, bound: Bound, stack: ExitStack) -> None:
        if stmt.block not in self.facts.collective:
            return
        own = not self.facts.private.isdisjoint(self.facts.collective[stmt.block])
        if self.instances[-1].threaded or own or stmt in self.facts.threads:
            self.line("doubt()")  # no reduction over threads has a meaning here
        token = self.bound_object("reduction", stmt.block.token)
        name = [repr("collective"), token, *(bound.texts[i] for i in bound.others)]
        self.note_thread(*name)
        stack.callback(self.note_thread)


def _like(var: Var, value: int) -> Const:
    return Const(value, var.type)


def _nest(parts: Sequence[Stmt], axes: Sequence[Axis], cells: Sequence[tuple[Var, Buffer]]) -> Stmt:
    """The threads of a phase as loops, with the variables that each computed for itself."""
    body = parts[0] if len(parts) == 1 else SeqStmt(tuple(parts))
    for var, cell in reversed(cells):
        body = LetStmt(var, BufferLoad(cell, ()), body)
    for axis in reversed(axes):
        body = For(axis.var, _like(axis.var, axis.start), _like(axis.var, axis.extent), "serial", body)
    return body
