"""Threads in generated programs: what :mod:`mlcref.interp.lanes` does, as loops (rules thread.phase, thread.sync,
thread.allreduce).

A kernel is cut at its barriers when it is generated: what stands around barriers runs once for all threads of a block,
and each phase is a loop nest over them. Where threads could disagree on an extent or a condition around barriers, the
program looks whether they do, and has both forms.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any

from mlcref.interp.placement import is_thread
from mlcref.interp.pygen_blocks import Bound, Instance
from mlcref.interp.pygen_code import NotGenerated
from mlcref.interp.pygen_phases import Phases
from mlcref.interp.pygen_races import conflicting
from mlcref.interp.pygen_static import Axis, holds
from mlcref.ir.buffer import BufferLoad
from mlcref.ir.compound import CommReducer, conjunction
from mlcref.ir.expr import EQ, Call, Const, Expr, Var
from mlcref.ir.index import index
from mlcref.ir.stmt import (
    AllocBuffer, AttrStmt, Block, BlockRealize, DeclBuffer, Evaluate, For, IfThenElse, LetStmt, SeqStmt, Stmt, While,
)  # fmt: skip


class Threads(Phases):
    """Generates kernels."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.reducer: CommReducer | None = None

    def threads(self, stmt: For) -> None:
        """A thread axis: met by the host it opens a kernel, within a phase it adds a coordinate."""
        if not self.in_phase:
            self.lockstep(stmt, entered=True)
        else:
            self.within_phase(stmt)

    # --- lock step ---

    def lockstep(self, stmt: Stmt, *, entered: bool = False) -> None:
        """A statement in all threads of a block, with a barrier after each part of a sequence."""
        self.slot = 0
        if stmt not in self.facts.phases:
            self.phase([stmt])
            return
        if not entered:
            for buffer in self.facts.allocations.get(stmt, ()):
                self.allocate(buffer)
        if stmt in self.facts.jumps:
            self.line("doubt()")  # break or continue around a barrier
            return
        match stmt:
            case SeqStmt():
                for group in self.facts.groups(stmt):
                    if len(group) == 1:
                        self.lockstep(group[0])
                    else:
                        self.phase(group)
            case Evaluate(value=Call(op="tvm_storage_sync")):
                pass
            case Evaluate():
                self.all_reduce(stmt)
            case For() if is_thread(stmt):
                self.open_axis(stmt)
            case For():
                self.loop_together(stmt)
            case IfThenElse():
                self.branch_together(stmt)
            case While():
                self.while_together(stmt)
            case BlockRealize():
                self.block_together(stmt)
            case AllocBuffer():
                self.allocate(stmt.buffer)
                self.lockstep(stmt.body)
            case DeclBuffer():
                with self.declared(stmt):
                    self.lockstep(stmt.body)
            case LetStmt():
                with self.held(stmt.var, stmt.value), self.opaque():
                    self.lockstep(stmt.body)
            case AttrStmt():
                self.attribute(stmt)
            case _:
                self.line("doubt()")

    def open_axis(self, stmt: For) -> None:
        """A thread axis around barriers: the instances of blockIdx run one after the other, threadIdx makes lanes."""
        tag = stmt.thread or ""
        if tag in self.open:
            with self.projected(stmt):
                self.lockstep(stmt.body)
            return
        axis, grid = self.thread_axis(stmt), tag.startswith("blockIdx")
        if grid and self.threaded:
            self.line("doubt()")  # threads already differ
        elif axis.extent < 1:
            return
        elif grid:
            self.run_grid(stmt, axis)
        else:
            self.open[tag] = axis
            self.lanes.append(axis)
            self.lockstep(stmt.body)
            self.lanes.pop()
            del self.open[tag]

    def run_grid(self, stmt: For, axis: Axis) -> None:
        """The instances of a blockIdx axis: no barrier between them, so any conflict is a race."""
        tag = stmt.thread or ""
        with ExitStack() as stack:
            tracked = self.tracking(conflicting(self, [stmt.body], [axis], "grid"), stack, threads=True)
            loops = self.instances[-1].loops
            loops.append(axis)
            with self.indented(self.head(stmt, axis)), self.level(axis.var):
                self.loop_depth += 1
                for users in tracked:
                    self.line(f"{users}.now = {self.names[axis.var]}")
                self.open[tag] = axis
                self.lockstep(stmt.body)
                del self.open[tag]
                self.loop_depth -= 1
            loops.pop()

    # --- reductions over threads ---

    def attribute(self, stmt: AttrStmt) -> None:
        """An attribute around barriers."""
        if stmt.key != "reduce_scope" and not stmt.key.startswith(("pragma_", "mlcref.")):
            raise NotGenerated(f"attribute {stmt.key!r}")
        outer = self.reducer
        self.reducer = stmt.target if isinstance(stmt.target, CommReducer) else outer
        self.lockstep(stmt.body)
        self.reducer = outer

    def all_reduce(self, stmt: Evaluate) -> None:
        """Rule thread.allreduce: the values of each group combined in the order of its threads, then stored by each."""
        call, reducer = stmt.value, self.reducer
        assert isinstance(call, Call)
        count = self.constant(call.args[0])
        values, condition = call.args[1 : 1 + count], call.args[1 + count]
        places, axes = call.args[2 + count : 2 + 2 * count], call.args[2 + 2 * count :]
        loops = index(self.func).loops
        tags = {loops[axis].thread or "" for axis in axes if isinstance(axis, Var) and axis in loops}
        sound = all(tag.startswith("threadIdx") for tag in tags) and all(isinstance(p, BufferLoad) for p in places)
        if reducer is None or len(reducer.result) != count or not sound:
            self.line("doubt()")
            return
        totals = self.fresh("totals")
        self.line(f"{totals} = {{}}")
        kept = [axis.var for tag, axis in self.open.items() if axis in self.lanes and tag not in tags]
        with self.each_lane():
            key = self.named(f"({''.join(self.names[var] + ', ' for var in kept)})", "key")
            self._combine(reducer, values, condition, f"{totals}[{key}]", f"{key} in {totals}")
        self._put_totals(places, totals, kept)

    def _combine(
        self, reducer: CommReducer, values: Sequence[Expr], condition: Expr, total: str, begun: str
    ) -> None:
        given = [self.fresh("given") for _ in values]
        with self.indented(f"if {self.value(condition, True)}:"):
            for name, value in zip(given, values, strict=True):
                self.line(f"{name} = {self.value(value)}")
        with self.indented("else:"):
            for name, value in zip(given, reducer.identity, strict=True):
                self.line(f"{name} = {self.value(value)}")
        with self.indented(f"if {begun}:"):
            for position, (left, right) in enumerate(zip(reducer.lhs, reducer.rhs, strict=True)):
                self.names[left], self.names[right] = self.fresh(left.name), given[position]
                self.line(f"{self.names[left]} = {total}[{position}]")
            with self.level(*reducer.lhs, *reducer.rhs):
                results = [self.named(self.value(e)) for e in reducer.result]
                self.line(f"{total} = ({''.join(result + ', ' for result in results)})")
        with self.indented("else:"):
            self.line(f"{total} = ({''.join(name + ', ' for name in given)})")

    def _put_totals(self, places: Sequence[Expr], totals: str, kept: Sequence[Var]) -> None:
        self.in_phase = True
        loads = [place for place in places if isinstance(place, BufferLoad)]
        with ExitStack() as stack:
            shared = dict.fromkeys(memory for load in loads if not (memory := self.view(load.buffer).memory).per_thread)
            self.trackers = self.tracking(list(shared), stack, threads=True)
            with self.each_lane():
                self.now = [self.names[axis.var] for axis in self.lanes]
                self.note_thread()
                key = f"({''.join(self.names[var] + ', ' for var in kept)})"
                for position, load in enumerate(loads):
                    view = self.view(load.buffer)
                    address = self.locate(view, load.indices, keep=True)
                    self.put(view.memory, address, f"{totals}[{key}][{position}]")
            self.trackers, self.now = [], []
        self.in_phase = False

    # --- statements around barriers: uniform in all threads, otherwise one phase ---

    def loop_together(self, stmt: For) -> None:
        """A loop around barriers; one without order only where a single thread runs it."""
        forked = stmt.kind in ("parallel", "vectorized")
        if forked and self.threaded:
            self.line("doubt()")
            return
        axis = self.ranged(stmt)
        with ExitStack() as stack:
            tracked = self.fork(stmt, axis, stack) if forked else []
            if axis is not None or self.uniform(stmt.min, stmt.extent):
                self.iterate(stmt, axis, self.head(stmt, axis), tracked)
                return
            name = self.names[stmt.loop_var] = self.fresh(stmt.loop_var.name)
            self.agreed(
                [stmt.min, stmt.extent],
                lambda at: self.iterate(stmt, None, f"for {name} in range({at[0]}, {at[0]} + {at[1]}):", tracked),
                lambda: self.phase([stmt]),
            )

    def iterate(self, stmt: For, axis: Axis | None, head: str, tracked: Sequence[str]) -> None:
        """The iterations of a loop around barriers."""
        loops, name = self.instances[-1].loops, self.names[stmt.loop_var]
        loops.append(axis)
        with self.indented(head), self.level(stmt.loop_var):
            self.loop_depth += 1
            for users in tracked:
                self.line(f"{users}.now = {name}")
            self.lockstep(stmt.body)
            self.loop_depth -= 1
        loops.pop()

    def branch_together(self, stmt: IfThenElse) -> None:
        """A branch around barriers."""

        def together(names: list[str]) -> None:
            with self.opaque():
                with self.indented(f"if {names[0]}:"), self.knowing(self.known.assume(stmt.condition)):
                    self.lockstep(stmt.then_case)
                if stmt.else_case is not None:
                    with self.indented("else:"):
                        self.lockstep(stmt.else_case)

        self.agreed([stmt.condition], together, lambda: self.phase([stmt]))

    def while_together(self, stmt: While) -> None:
        """A loop around barriers on each of whose tests the threads must agree."""
        with self.opaque(), self.indented("while True:"), self.level():
            self.loop_depth += 1
            self.agreed([stmt.condition], self._leave_unless, lambda: self.line("doubt()"))
            self.lockstep(stmt.body)
            self.loop_depth -= 1

    def _leave_unless(self, names: list[str]) -> None:
        self.line(f"if not {names[0]}: break")

    def block_together(self, stmt: BlockRealize) -> None:
        """A block instance of each thread around barriers."""
        undecided = [c for c in stmt.predicate if holds(c, self.known) is not True]
        if not undecided:
            self.instance_together(stmt)
            return
        known = self.known
        for condition in undecided:
            known = known.assume(condition)

        def together(names: list[str]) -> None:
            with self.opaque(), self.indented(f"if {names[0]}:"), self.knowing(known):
                self.instance_together(stmt, undecided)

        self.agreed([conjunction(undecided)], together, lambda: self.phase([stmt]))

    def instance_together(self, stmt: BlockRealize, conditions: Sequence[Expr] = ()) -> None:
        """Instances whose predicate holds."""
        block = stmt.block
        if block in self.facts.collective:
            self.line("doubt()")
            return
        bound = self.forms_of(stmt)
        with ExitStack() as stack:
            for i, (it, value) in enumerate(zip(block.iter_vars, stmt.iter_values, strict=True)):
                self._bind_iterator(it.var, value, bound, i, stack)
            stack.enter_context(self.knowing(self.with_forms(block, bound)))
            stack.enter_context(self.matches(block))
            if block.init is not None:
                self._start(block, block.init, bound, conditions)
            prologue: list[Any] = []
            self.body.append(prologue)
            self.instances.append(Instance(prologue, lanes=tuple(self.lanes), threaded=self.threaded))
            self.lockstep(block.body)
            self.instances.pop()

    def _bind_iterator(self, var: Var, value: Expr, bound: Bound, i: int, stack: ExitStack) -> None:
        """One iterator of an instance: its domain is checked, and a value that is not linear is kept."""
        form, (low, high) = bound.forms[i], bound.domains[i]
        least, most = self.known.interval(value)

        def checked() -> str:
            text = self.address(form, keep=True) if form is not None else self.named(self.value(value, True), "at")
            if least < low or most >= high:
                self.refuse_unless(f"{low} <= {text} < {high}")
            return text

        if form is not None:
            if least < low or most >= high:
                with self.every_lane(value):
                    checked()
            return
        if self.uniform(value):
            self.names[var] = self.fresh(var.name)
            self.line(f"{self.names[var]} = {checked()}")
            stack.enter_context(self.level(var))
        else:
            stack.enter_context(self.cell(var, checked))
        self.known.ranges[var] = (max(least, low), max(low, min(most, high - 1)))

    def _start(self, block: Block, init: Stmt, bound: Bound, conditions: Sequence[Expr]) -> None:
        """Rules block.init and block.repeat for an instance of each thread, and its init."""
        if not bound.reduced:
            self.phase([init])
            return
        starts = conjunction([EQ(block.iter_vars[i].var, Const(bound.domains[i][0], block.iter_vars[i].var.type))
                              for i in bound.reduced])  # fmt: skip
        instance = self.instances[-1]
        mark, known = len(instance.loops), {axis.var for axis in instance.lanes}
        instance.loops.extend(axis for axis in self.lanes if axis.var not in known)
        proven = self.proven_order(bound, conditions)
        del instance.loops[mark:]
        iterators = [it.var for it in block.iter_vars]
        if not proven:
            with self.each_lane():
                bound.texts = [self.variable(var) for var in iterators]
                self.track_epochs(block, bound, self.value(starts, True))
        if self.uniform(starts):
            with self.opaque(), self.indented(f"if {self.value(starts, True)}:"):
                self.phase([init])
        else:
            self.phase([IfThenElse(starts, init)])
