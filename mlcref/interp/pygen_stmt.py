"""Statements of generated programs: loops, blocks with their domains and epochs, stores, and the tracking of races."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

from mlcref import dtype as dt
from mlcref.interp.placement import is_barrier, is_thread
from mlcref.interp.pygen_blocks import Bound, Instance, axis_of, jumps_out
from mlcref.interp.pygen_code import Lines, Memory, NotGenerated, Users, View
from mlcref.interp.pygen_races import conflicting, one_lane
from mlcref.interp.pygen_static import Axis, Linear, holds, injective, same
from mlcref.interp.pygen_views import Views
from mlcref.ir.buffer import BufferLoad
from mlcref.ir.expr import Const, Expr, Var
from mlcref.ir.stmt import (
    AllocBuffer, AssertStmt, AttrStmt, BlockRealize, Break, BufferStore, Continue, DeclBuffer, Evaluate, For,
    IfThenElse, LetStmt, SeqStmt, Stmt, While,
)  # fmt: skip
from mlcref.ir.visit import any_node, walk


class Statements(Views):
    """Generates statements."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.comments = False
        """Put the script of each outermost loop above what it becomes?"""
        self.forks = 0
        """Loops without order around us whose iterations are not proven to be apart."""

    def vector_nest(self, stmt: For) -> bool:
        """Generate the nest as numpy statements, if that is possible and worth it."""
        return False

    def filled_by(self, stmt: For) -> Memory | None:
        """The memory of which the loop surely writes every element, if there is one."""
        return None

    def stmt(self, stmt: Stmt) -> None:
        """One statement."""
        self.slot = 0
        for buffer in self.facts.allocations.get(stmt, ()):
            self.allocate(buffer)
        match stmt:
            case BufferStore():
                self.store(stmt)
            case BlockRealize():
                self.block(stmt)
            case For():
                if self.comments and not self.loop_depth:
                    self.body += ["", *(f"# {line}" for line in stmt.script().strip().splitlines() if line)]
                self.loop(stmt)
            case SeqStmt():
                for part in stmt.seq:
                    self.stmt(part)
            case IfThenElse():
                self.branch(stmt)
            case LetStmt():
                self.bind(stmt.var, self.value(stmt.value), stmt.value)
                with self.level(stmt.var), self.opaque():
                    self.stmt(stmt.body)
            case AllocBuffer():
                self.allocate(stmt.buffer)
                self.stmt(stmt.body)
            case AttrStmt() if stmt.key == "reduce_scope" or stmt.key.startswith(("pragma_", "mlcref.")):
                self.stmt(stmt.body)
            case DeclBuffer():
                with self.declared(stmt):
                    self.stmt(stmt.body)
            case Evaluate() if is_barrier(stmt):
                self.lonely_barrier(stmt)
            case Evaluate():
                self.named(self.value(stmt.value))
            case AssertStmt():
                self.refuse_unless(self.value(stmt.condition, True))
            case While():
                self.while_loop(stmt)
            case Break() | Continue():
                self.line("break" if type(stmt) is Break else "continue")
            case _:
                raise NotGenerated(f"a {type(stmt).__name__}")

    @contextmanager
    def opaque(self) -> Iterator[None]:
        """Statements about whose order in the instance nothing is proven."""
        loops = self.instances[-1].loops
        loops.append(None)
        self.branch_depth += 1
        yield
        self.branch_depth -= 1
        loops.pop()

    def branch(self, stmt: IfThenElse) -> None:
        """A condition."""
        with self.opaque():
            head = f"if {self.value(stmt.condition, True)}:"
            with self.indented(head), self.knowing(self.known.assume(stmt.condition)):
                self.stmt(stmt.then_case)
            if stmt.else_case is not None:
                with self.indented("else:"):
                    self.stmt(stmt.else_case)

    def while_loop(self, stmt: While) -> None:
        """Test, run, repeat."""
        with self.opaque(), self.indented("while True:"), self.level():
            self.loop_depth += 1
            self.line(f"if not {self.value(stmt.condition, True)}: break")
            self.stmt(stmt.body)
            self.loop_depth -= 1

    # --- stores ---

    def store(self, stmt: BufferStore) -> None:
        """Value, address, then the element and its mark."""
        if any(dt.lanes(index.dtype) != 1 for index in stmt.indices):
            self.vector_store(stmt)
            return
        view = self.view(stmt.buffer)
        value = self.value(stmt.value)
        address = self.locate(view, stmt.indices, keep=True)
        self.put(view.memory, address, value)

    def put(self, memory: Memory, address: str, value: str) -> None:
        """Store an element."""
        for users in memory.forks:
            if users.threads:
                value = self.named(value)
            now = f", {memory.name}[{address}], {value}" if users.threads else ""
            self.line(f"{users.name}.write({address}{now})")
        self.line(f"{memory.name}[{address}] = {value}")
        self.note_written(memory, f"{memory.name}_w[{address}] = 1")

    def vector_store(self, stmt: BufferStore) -> None:
        """A vector store as a loop over its lanes, where no lane reads what another one writes."""
        lanes = max(dt.lanes(index.dtype) for index in stmt.indices)
        lane = Var("lane", "int32")
        scalar = BufferStore(
            stmt.buffer, one_lane(stmt.value, lane), tuple(one_lane(index, lane) for index in stmt.indices)
        )
        axis = Axis(lane, 0, lanes)
        self.known.ranges[lane] = (0, lanes - 1)
        view = self.view(stmt.buffer)
        target = self.flat(view, scalar.indices)
        loads = [node for node in walk(scalar) if type(node) is BufferLoad and self.uses(node, view.memory)]
        if target is None or not injective(target, [axis]):
            raise NotGenerated("a vector store to lanes that are not proven to be apart")
        for load in loads:
            source = self.flat(self.view(load.buffer), load.indices)
            if source is None or not same(source, target):
                raise NotGenerated("a vector store that reads other lanes")
        nest = For(lane, Const(0), Const(lanes), "serial", scalar)
        self.loop(nest)

    # --- loops ---

    def loop(self, stmt: For) -> None:
        """A loop, as numpy statements where that pays."""
        if stmt.kind == "thread_binding" and jumps_out(stmt.body):
            raise NotGenerated("break or continue out of a thread axis")
        if is_thread(stmt):
            self.threads(stmt)
            return
        axis = self.ranged(stmt)
        with ExitStack() as stack:
            tracked = self.fork(stmt, axis, stack) if stmt.kind in ("parallel", "vectorized") else []
            filled = self.filled_by(stmt) if self.forks == 0 and not self.quiet else None
            if filled is not None:
                self.quiet.append(filled)
            if self.forks or axis is None or not self.vector_nest(stmt):
                loops = self.instances[-1].loops
                loops.append(axis)
                if axis is None or not self.accumulating_loop(stmt, axis):
                    self.plain_loop(stmt, axis, tracked)
                loops.pop()
            if filled is not None:
                self.quiet.pop()
                self.note_written(filled, f"{filled.name}_w[:] = {filled.name}_one")
                if filled.place == (self.loop_depth, self.branch_depth):
                    filled.checked = False

    def threads(self, stmt: For) -> None:
        """A loop over a thread axis."""
        raise NotGenerated("threads")

    def lonely_barrier(self, stmt: Evaluate) -> None:
        """A barrier, or something that all threads do together, outside of lock step."""
        raise NotGenerated("a barrier")

    def ranged(self, stmt: For) -> Axis | None:
        """Note the range of a loop's variable; the loop with its bounds, where they are constant."""
        axis = axis_of(stmt, self.known)
        if axis is not None:
            self.known.ranges[stmt.loop_var] = (axis.start, axis.start + max(axis.extent, 1) - 1)
        else:
            (low, high), count = self.known.interval(stmt.min), self.known.interval(stmt.extent)
            self.known.ranges[stmt.loop_var] = (low, high + max(count[1], 1) - 1)
        return axis

    def fork(self, stmt: For, axis: Axis | None, stack: ExitStack) -> list[str]:
        """A loop without order: its iterations are apart, or users are tracked when the program runs."""
        if any_node(stmt.body, Break):
            raise NotGenerated("break in a loop without order")
        return self.tracking(self.conflicts(stmt, axis), stack, threads=False)

    def conflicts(self, stmt: For, axis: Axis | None) -> list[Memory]:
        """The memories that two iterations of a loop may use, one of them to write."""
        return conflicting(self, [stmt.body], [axis or Axis(stmt.loop_var, 0, 2)])

    def tracking(self, conflicts: Sequence[Memory], stack: ExitStack, *, threads: bool) -> list[str]:
        """Track the users of memories as long as the stack is open; the names of who does it."""
        tracked = []
        for memory in conflicts:
            users = Users(self.fresh(f"users_of_{memory.name}"), threads)
            memory.forks.append(users)
            stack.callback(memory.forks.pop)
            tracked.append(users.name)
            self.line(f"{users.name} = {'Threads' if threads else 'Users'}()")
        if conflicts:
            self.forks += 1
            stack.callback(self._join)
        return tracked

    def _join(self) -> None:
        self.forks -= 1

    def head(self, stmt: For, axis: Axis | None) -> str:
        """The first line of a loop."""
        name = self.names[stmt.loop_var] = self.fresh(stmt.loop_var.name)
        if axis is not None:
            end = axis.start + axis.extent
            return f"for {name} in range({f'{axis.start}, {end}' if axis.start else end}):"
        start = self.named(self.value(stmt.min, True))
        return f"for {name} in range({start}, {start} + {self.value(stmt.extent, True)}):"

    def plain_loop(self, stmt: For, axis: Axis | None, tracked: Sequence[str]) -> None:
        """The iterations one after the other; ``tracked`` are told which one runs."""
        with self.indented(self.head(stmt, axis)), self.level(stmt.loop_var):
            self.loop_depth += 1
            for users in tracked:
                self.line(f"{users}.now = {self.names[stmt.loop_var]}")
            self.stmt(stmt.body)
            self.loop_depth -= 1

    def accumulating_loop(self, stmt: For, axis: Axis) -> bool:
        """A loop whose only statement updates one element: the element stays in a local variable meanwhile."""
        store, realize = stmt.body, None
        if isinstance(store, BlockRealize):
            realize, store = store, store.block.body
        if not isinstance(store, BufferStore) or axis.extent < 1 or self.forks:
            return False
        if self.facts.allocations.get(stmt.body) or self.facts.allocations.get(store):
            return False
        with ExitStack() as stack:
            self.depth.setdefault(stmt.loop_var, len(self.levels))
            starts: list[tuple[Linear, int]] = []
            if realize is not None:
                bound = self.plain_block(realize)
                if bound is None or (realize.block.init is not None and not self.proven_order(bound, ())):
                    return False
                stack.enter_context(self.knowing(self.with_forms(realize.block, bound)))
                first = realize.block.init
                if isinstance(first, BufferStore):
                    place = self.flat(self.view(first.buffer), first.indices)
                    if place is None or not self.one_place(realize.block, bound, place):
                        return False
                starts = [(form, bound.domains[i][0]) for i in bound.reduced if (form := bound.forms[i]) is not None]
            view = self.view(store.buffer)
            memory, target = view.memory, self.flat(view, store.indices)
            loads = [node for node in walk(store.value) if type(node) is BufferLoad and self.uses(node, memory)]
            if target is None or stmt.loop_var in target.variables() or not loads or not self.in_bounds(view, store):
                return False
            forms = [self.flat(self.view(load.buffer), load.indices) for load in loads]
            if any(form is None or not same(form, target) for form in forms):
                return False
            init = realize.block.init if realize is not None else None
            if init is not None and not self._starts_here(stmt, store, init, starts, view, target):
                return False
            self._accumulate(stmt, axis, store, init, starts, memory, target)
        return True

    def _starts_here(
        self, stmt: For, store: BufferStore, init: Stmt, starts: Sequence[tuple[Linear, int]], view: View,
        target: Linear,
    ) -> bool:  # fmt: skip
        """Does the init store a constant to the element of the update, and only in the first iteration?"""
        if not isinstance(init, BufferStore) or not isinstance(init.value, Const) or init.buffer is not store.buffer:
            return False
        form = self.flat(view, init.indices)
        return form is not None and same(form, target) and any(stmt.loop_var in f.terms for f, _ in starts)

    def in_bounds(self, view: View, access: BufferStore | BufferLoad) -> bool:
        """Is each index proven to be in its dimension?"""
        ranges = [self.known.interval(index) for index in access.indices]
        inside = all(low >= 0 and high < extent for (low, high), extent in zip(ranges, view.shape, strict=True))
        return inside and view.inside

    def _accumulate(
        self, stmt: For, axis: Axis, store: BufferStore, init: Stmt | None,
        starts: Sequence[tuple[Linear, int]], memory: Memory, target: Linear,
    ) -> None:  # fmt: skip
        address = self.address(target, keep=True)
        held = self.fresh(f"{memory.name}_at")
        first = []
        for form, low in starts if init is not None else ():
            rest = form.plus(Linear({stmt.loop_var: form.terms.get(stmt.loop_var, 0)}), -1)
            if rest.terms:
                first.append(f"{self.address(rest)} == {low - form.terms.get(stmt.loop_var, 0) * axis.start}")
        if isinstance(init, BufferStore):
            begin = f"{held} = {self.value(init.value)}"
            if first:
                with self.indented(f"if {' and '.join(first)}:"):
                    self.line(begin)
                with self.indented("else:"):
                    self.line(f"{held} = {memory.name}[{address}]")
            else:
                self.line(begin)
        else:
            self.fetch(held, memory, address)
        self.accumulators.append((memory, held))
        with self.indented(self.head(stmt, axis)), self.level(stmt.loop_var):
            self.line(f"{held} = {self.value(store.value)}")
        self.accumulators.pop()
        self.put(memory, address, held)

    def fetch(self, name: str, memory: Memory, address: str) -> None:
        """Load an element that must have a value."""
        if memory.checked:
            self.refuse_undefined(memory, f"{memory.name}_w[{address}]")
        self.line(f"{name} = {memory.name}[{address}]")

    # --- blocks ---

    def begin(self, stmt: BlockRealize, bound: Bound, stack: ExitStack) -> None:
        """What else an instance needs that has begun: a reduction over threads acts as one thread."""

    def block(self, stmt: BlockRealize) -> None:
        """One instance: predicate, iterators, epoch, init, body."""
        undecided = [c for c in stmt.predicate if holds(c, self.known) is not True]
        if not undecided:
            self.instance(stmt)
            return
        names = [self.named(self.value(condition, True)) for condition in undecided]
        known = self.known
        for condition in undecided:
            known = known.assume(condition)
        self.branch_depth += 1
        with self.indented(f"if {' and '.join(names)}:"), self.knowing(known):
            self.instance(stmt, undecided)
        self.branch_depth -= 1

    def instance(self, stmt: BlockRealize, conditions: Sequence[Expr] = ()) -> None:
        """An instance whose predicate holds; it runs under these conditions."""
        block = stmt.block
        bound = self.forms_of(stmt)
        for i, (it, value) in enumerate(zip(block.iter_vars, stmt.iter_values, strict=True)):
            form, (low, high) = bound.forms[i], bound.domains[i]
            least, most = self.known.interval(value)
            text = self.named(self.value(value, True)) if form is None else self.address(form)
            if least < low or most >= high:
                self.refuse_unless(f"{low} <= {text} < {high}")
            if form is None:
                name = self.fresh(it.var.name)
                self.line(f"{name} = {text}")
                self.names[it.var] = name
                self.known.ranges[it.var] = (max(least, low), max(low, min(most, high - 1)))
                text = name
            bound.texts.append(text)
        unnamed = [it.var for it, form in zip(block.iter_vars, bound.forms, strict=True) if form is None]
        with self.knowing(self.with_forms(block, bound)), self.level(*unnamed), ExitStack() as stack:
            self.begin(stmt, bound, stack)
            stack.enter_context(self.matches(block))
            starts = [f"{bound.texts[i]} == {bound.domains[i][0]}" for i in bound.reduced]
            proven = not starts or self.proven_order(bound, conditions)
            if block.init is not None and not proven:
                self.track_epochs(block, bound, " and ".join(starts))
            prologue: Lines = []
            self.body.append(prologue)
            self.instances.append(Instance(prologue, threaded=self.threaded))
            if block.init is not None and starts:
                self.branch_depth += 1
                with self.indented(f"if {' and '.join(starts)}:"):
                    self.stmt(block.init)
                self.branch_depth -= 1
            elif block.init is not None:
                self.stmt(block.init)
            if isinstance(block.init, BufferStore) and isinstance(block.body, BufferStore) and proven:
                view = self.view(block.init.buffer)
                form = self.flat(view, block.init.indices)
                same_place = form is not None and self.one_place(block, bound, form)
                self.initialised = (view.memory, form) if form is not None and same_place else None
            self.stmt(block.body)
            self.initialised = None
            self.instances.pop()
