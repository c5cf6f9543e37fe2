"""Statements of generated programs: loops, blocks with their domains and epochs, stores, and the tracking of races."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

from mlcref import dtype as dt
from mlcref.interp.pygen_code import Lines, Mark, Memory, NotGenerated
from mlcref.interp.pygen_races import disjoint_iterations, one_lane
from mlcref.interp.pygen_scalar import Scalars
from mlcref.interp.pygen_static import Axis, Interval, Known, Linear, grows_from, holds, injective, same
from mlcref.ir.buffer import Buffer, BufferLoad
from mlcref.ir.expr import LE, LT, Const, Expr, Var
from mlcref.ir.stmt import (
    AllocBuffer, AssertStmt, AttrStmt, Block, BlockRealize, Break, BufferStore, Continue, Evaluate, For, IfThenElse,
    LetStmt, SeqStmt, Stmt, While,
)  # fmt: skip
from mlcref.ir.visit import any_node, walk


@dataclass
class Instance:
    """The block instance in which statements are generated: where its epochs are made, and the loops since it began.

    ``loops`` holds None for anything other than a loop with constant bounds: then nothing is proven about order.
    """

    prologue: Lines
    loops: list[Axis | None] = field(default_factory=list)


@dataclass
class Bound:
    """The iterators of a block: the linear form or the text of each value, and its domain."""

    forms: list[Linear | None]
    texts: list[str]
    domains: list[Interval]
    reduced: list[int]
    others: list[int]


def axis_of(stmt: For, known: Known) -> Axis | None:
    """The loop with its bounds, where they are constant."""
    start, extent = known.linear(stmt.min), known.linear(stmt.extent)
    if start is None or extent is None or start.terms or extent.terms:
        return None
    return Axis(stmt.loop_var, start.constant, extent.constant)


class Statements(Scalars):
    """Generates statements."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.instances: list[Instance] = []
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
            case AttrStmt() if stmt.key.startswith(("pragma_", "mlcref.")):
                self.stmt(stmt.body)
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

    def allocate(self, buffer: Buffer) -> None:
        """Memory that is undefined from here on."""
        if dt.lanes(buffer.type) != 1:
            raise NotGenerated("memory of vectors")
        memory = self.declare(buffer, parameter=False, checked=True)
        memory.checked, memory.place = True, (self.loop_depth, self.branch_depth)
        if self.loop_depth:
            self.body.append(Mark(memory, f"{memory.name}_w[:] = {memory.name}_zero"))

    # --- stores ---

    def store(self, stmt: BufferStore) -> None:
        """Value, address, then the element and its mark."""
        if any(dt.lanes(index.dtype) != 1 for index in stmt.indices):
            self.vector_store(stmt)
            return
        memory = self.memory(stmt.buffer)
        value = self.value(stmt.value)
        address = self.locate(memory, stmt.indices, keep=True)
        self.put(memory, address, value)

    def put(self, memory: Memory, address: str, value: str) -> None:
        """Store an element."""
        for users in memory.loops:
            self.line(f"{users}.write({address})")
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
        memory = self.memory(stmt.buffer)
        target = self.flat(memory, scalar.indices)
        loads = [node for node in walk(scalar) if type(node) is BufferLoad and node.buffer is stmt.buffer]
        if target is None or not injective(target, [axis]):
            raise NotGenerated("a vector store to lanes that are not proven to be apart")
        for load in loads:
            source = self.flat(memory, load.indices)
            if source is None or not same(source, target):
                raise NotGenerated("a vector store that reads other lanes")
        nest = For(lane, Const(0), Const(lanes), "serial", scalar)
        self.loop(nest)

    # --- loops ---

    def loop(self, stmt: For) -> None:
        """A loop, as numpy statements where that pays."""
        if stmt.kind == "thread_binding":
            raise NotGenerated("threads")
        axis = axis_of(stmt, self.known)
        if axis is not None:
            self.known.ranges[stmt.loop_var] = (axis.start, axis.start + max(axis.extent, 1) - 1)
        else:
            (low, high), count = self.known.interval(stmt.min), self.known.interval(stmt.extent)
            self.known.ranges[stmt.loop_var] = (low, high + max(count[1], 1) - 1)
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

    def fork(self, stmt: For, axis: Axis | None, stack: ExitStack) -> list[str]:
        """A loop without order: its iterations are apart, or users are tracked when the program runs."""
        if any_node(stmt.body, Break):
            raise NotGenerated("break in a loop without order")
        conflicts = disjoint_iterations(stmt, axis, self.known, self.memories, self.facts)
        if not conflicts:
            return []
        self.forks += 1
        stack.callback(self._join, conflicts)
        tracked = []
        for buffer in conflicts:
            memory = self.memory(buffer)
            users = self.fresh(f"users_of_{memory.name}")
            memory.loops.append(users)
            tracked.append(users)
            self.line(f"{users} = Users()")
        return tracked

    def _join(self, conflicts: Sequence[Buffer]) -> None:
        self.forks -= 1
        for buffer in conflicts:
            self.memory(buffer).loops.pop()

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
        if not isinstance(store, BufferStore) or axis.extent < 1 or self.forks or self.facts.allocations.get(stmt.body):
            return False
        with ExitStack() as stack:
            self.depth.setdefault(stmt.loop_var, len(self.levels))
            starts: list[tuple[Linear, int]] = []
            if realize is not None:
                bound = self.plain_block(realize)
                if bound is None or (realize.block.init is not None and not self.proven_order(realize, bound)):
                    return False
                stack.enter_context(self.knowing(self.with_forms(realize.block, bound)))
                starts = [(form, bound.domains[i][0]) for i in bound.reduced if (form := bound.forms[i]) is not None]
            memory = self.memory(store.buffer)
            target = self.flat(memory, store.indices)
            loads = [node for node in walk(store.value) if type(node) is BufferLoad and node.buffer is store.buffer]
            if target is None or stmt.loop_var in target.variables() or not loads or not self.in_bounds(memory, store):
                return False
            if any((form := self.flat(memory, load.indices)) is None or not same(form, target) for load in loads):
                return False
            init = realize.block.init if realize is not None else None
            if init is not None and not self._starts_here(stmt, store, init, starts, memory, target):
                return False
            self._accumulate(stmt, axis, store, init, starts, memory, target)
        return True

    def _starts_here(
        self, stmt: For, store: BufferStore, init: Stmt, starts: Sequence[tuple[Linear, int]], memory: Memory,
        target: Linear,
    ) -> bool:  # fmt: skip
        """Does the init store a constant to the element of the update, and only in the first iteration?"""
        if not isinstance(init, BufferStore) or not isinstance(init.value, Const) or init.buffer is not store.buffer:
            return False
        form = self.flat(memory, init.indices)
        return form is not None and same(form, target) and any(stmt.loop_var in f.terms for f, _ in starts)

    def in_bounds(self, memory: Memory, access: BufferStore | BufferLoad) -> bool:
        """Is each index proven to be in its dimension?"""
        ranges = [self.known.interval(index) for index in access.indices]
        return all(low >= 0 and high < extent for (low, high), extent in zip(ranges, memory.shape, strict=True))

    def _accumulate(
        self, stmt: For, axis: Axis, store: BufferStore, init: Stmt | None,
        starts: Sequence[tuple[Linear, int]], memory: Memory, target: Linear,
    ) -> None:  # fmt: skip
        address = self.address(target, keep=True)
        held = self.fresh(f"{memory.name}_at")
        first = []
        for form, low in starts:
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

    def plain_block(self, realize: BlockRealize) -> Bound | None:
        """The iterators of a block without predicate, allocations and matches, whose values are in their domains; None
        for any other block."""
        block = realize.block
        if block.alloc_buffers or block.match_buffers:
            return None
        if any(holds(condition, self.known) is not True for condition in realize.predicate):
            return None
        bound = self.forms_of(realize)
        for form, (low, high) in zip(bound.forms, bound.domains, strict=True):
            if form is None:
                return None
            least, most = self.known.range_of(form)
            if least < low or most >= high:
                return None
        return bound

    def forms_of(self, realize: BlockRealize) -> Bound:
        """The iterators of a block, nothing checked."""
        block = realize.block
        kinds = [it.iter_type for it in block.iter_vars]
        domains = []
        for it in block.iter_vars:
            low, extent = self.constant(it.dom.min), self.constant(it.dom.extent)
            domains.append((low, low + extent))
        return Bound(
            [self.known.linear(value) for value in realize.iter_values], [], domains,
            [i for i, kind in enumerate(kinds) if kind == "reduce"],
            [i for i, kind in enumerate(kinds) if kind != "reduce"],
        )  # fmt: skip

    def with_forms(self, block: Block, bound: Bound) -> Known:
        """What is known inside of a block."""
        known = self.known.assume(Const(True, "bool"))
        for it, form, (low, high) in zip(block.iter_vars, bound.forms, bound.domains, strict=True):
            if form is not None:
                known.forms[it.var] = form
                known.note(form, (low, high - 1))
        return known

    def block(self, stmt: BlockRealize) -> None:
        """One instance: predicate, iterators, epoch, init, body."""
        if stmt.block.match_buffers:
            raise NotGenerated("a matched buffer")
        undecided = [c for c in stmt.predicate if holds(c, self.known) is not True]
        if not undecided:
            self.instance(stmt)
            return
        conditions = [self.named(self.value(condition, True)) for condition in undecided]
        known = self.known
        for condition in undecided:
            known = known.assume(condition)
        self.branch_depth += 1
        with self.indented(f"if {' and '.join(conditions)}:"), self.knowing(known):
            self.instance(stmt)
        self.branch_depth -= 1

    def instance(self, stmt: BlockRealize) -> None:
        """An instance whose predicate holds."""
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
        with self.knowing(self.with_forms(block, bound)), self.level(*unnamed):
            starts = [f"{bound.texts[i]} == {bound.domains[i][0]}" for i in bound.reduced]
            proven = not starts or self.proven_order(stmt, bound)
            if block.init is not None and not proven:
                self.track_epochs(block, bound, " and ".join(starts))
            prologue: Lines = []
            self.body.append(prologue)
            self.instances.append(Instance(prologue))
            if block.init is not None and starts:
                self.branch_depth += 1
                with self.indented(f"if {' and '.join(starts)}:"):
                    self.stmt(block.init)
                self.branch_depth -= 1
            elif block.init is not None:
                self.stmt(block.init)
            if isinstance(block.init, BufferStore) and isinstance(block.body, BufferStore) and proven:
                form = self.flat(self.memory(block.init.buffer), block.init.indices)
                self.initialised = None if form is None else (self.memory(block.init.buffer), form)
            self.stmt(block.body)
            self.initialised = None
            self.instances.pop()

    def track_epochs(self, block: Block, bound: Bound, starts: str) -> None:
        """Rules block.init and block.repeat, when the program runs."""
        epochs, seen = self.fresh(f"epochs_of_{block.name}"), self.fresh("seen")
        self.instances[-1].prologue.append(f"{epochs} = {{}}")
        key = self.named(f"({''.join(bound.texts[i] + ', ' for i in bound.others)})", "key")
        point = self.named(f"({''.join(bound.texts[i] + ', ' for i in bound.reduced)})", "point")
        self.line(f"if {starts}: {epochs}[{key}] = set()")
        self.line(f"{seen} = {epochs}.get({key})")
        self.line(f"if {seen} is None or {point} in {seen}: doubt()")
        self.line(f"{seen}.add({point})")

    def proven_order(self, stmt: BlockRealize, bound: Bound) -> bool:
        """Does every key start with its init, and does no reduce point come twice in an epoch? From the loops alone."""
        loops = self.instances[-1].loops
        forms = [form for form in bound.forms if form is not None]
        if any(axis is None or axis.extent < 1 for axis in loops) or len(forms) < len(bound.forms):
            return False
        axes = [axis for axis in loops if axis is not None]
        by_var = {axis.var: axis for axis in axes}
        reducing: dict[Var, None] = {}
        for i in bound.reduced:
            own = [by_var[var] for var in forms[i].terms if var in by_var]
            if len(own) < len(forms[i].terms) or any(axis.var in reducing for axis in own):
                return False
            if not grows_from(forms[i], own, bound.domains[i][0]) or not injective(forms[i], own):
                return False
            reducing.update(dict.fromkeys(axis.var for axis in own))
        if any(var in reducing for i in bound.others for var in forms[i].variables()):
            return False
        rest = [axis for axis in axes if axis.var not in reducing and axis.extent > 1]
        last = max((i for i, axis in enumerate(axes) if axis in rest), default=-1)
        inner = all(i > last for i, axis in enumerate(axes) if axis.var in reducing)
        key, weight = Linear({}), 1
        for i in reversed(bound.others):
            key = key.plus(forms[i].times(weight))
            weight *= max(bound.domains[i][1] - bound.domains[i][0], 1)
        return (inner or injective(key, rest)) and all(self._downward(c, reducing) for c in stmt.predicate)

    def _downward(self, condition: Expr, reducing: dict[Var, None]) -> bool:
        """Where the condition holds, does it hold at the first reduce point too?"""
        if holds(condition, self.known) is True:
            return True
        if not isinstance(condition, LT | LE):
            return False
        a, b = self.known.linear(condition.a), self.known.linear(condition.b)
        if a is None or b is None:
            return False
        difference = a.plus(b, -1)
        plain = all(atom in difference.terms for atom in difference.variables() if atom in reducing)
        return plain and all(difference.terms.get(var, 0) >= 0 for var in reducing)

