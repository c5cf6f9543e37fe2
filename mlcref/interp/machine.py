"""The machine: what every statement does. This is the normative text of the semantics; ``docs/semantics.md`` explains
it.

One lane of execution is here, threads are in :mod:`mlcref.interp.lanes`, expressions in :mod:`mlcref.interp.evaluate`.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from mlcref.errors import OracleError, UnsupportedError
from mlcref.interp.blocks import Domains, Epoch, Frame, Iterators
from mlcref.interp.evaluate import Evaluator, spread
from mlcref.interp.function_call import FunctionCall, callee_of
from mlcref.interp.memory import PerThread, Storage, View, element, row_major, span
from mlcref.interp.placement import facts_of
from mlcref.interp.races import Fork
from mlcref.ir.buffer import Buffer
from mlcref.ir.expr import Call, Expr, Var
from mlcref.ir.function import PrimFunc
from mlcref.ir.index import index
from mlcref.ir.stmt import (
    AllocBuffer,
    AssertStmt,
    AttrStmt,
    Block,
    BlockRealize,
    Break,
    BufferStore,
    Continue,
    DeclBuffer,
    Evaluate,
    For,
    IfThenElse,
    LetStmt,
    MatchBufferRegion,
    Return,
    SeqStmt,
    Stmt,
    While,
)


class BlockWatcher(Protocol):
    """A watcher that also follows block instances."""

    def enter(self, machine: Machine, frame: Frame) -> None:
        """A block instance begins: iterators are bound and checked, nothing of it has run."""

    def leave(self, machine: Machine, frame: Frame) -> None:
        """A block instance is over."""


class _Break(Exception):
    """Leaves the innermost loop."""


class _Continue(Exception):
    """Goes on with the next iteration of the innermost loop."""


class _Return(Exception):
    """Ends the function."""

    def __init__(self, value: Any) -> None:
        super().__init__(value)
        self.value = value


class Machine(Evaluator):
    """Runs statements. ``frame`` is the innermost block instance; the outermost one stands for the call of the
    function."""

    def __init__(
        self,
        *args: Any,
        block_watchers: Sequence[BlockWatcher] = (),
        functions: Mapping[str, PrimFunc] | None = None,
        **options: Any,
    ) -> None:
        super().__init__(*args, **options)
        self.functions: Mapping[str, PrimFunc] = functions or {}
        self.calling: tuple[PrimFunc, ...] = ()
        self.block_watchers = tuple(block_watchers)
        self.frame = Frame(None, None, (), ())
        self._iterators: dict[Block, Iterators] = {}

    def execute(self) -> Any:
        """Run the function; the value it returns, or None."""
        try:
            self.run(self.func.body)
        except _Return as done:
            return done.value
        return None

    def run(self, stmt: Stmt) -> None:
        """Execute ``stmt``. Allocations that live here start anew (rule memory.lifetime)."""
        if self.remaining == 0:
            raise UnsupportedError("budget: the program runs more statements than max_statements allows")
        self.remaining -= 1
        self.statement = stmt
        if stmt in self.facts.allocations:
            self.allocate(stmt, self.facts.allocations[stmt])
        match stmt:
            case BufferStore():
                self.store(stmt)
            case BlockRealize():
                self.block(stmt)
            case For():
                self.loop(stmt)
            case SeqStmt():
                for part in stmt.seq:
                    self.run(part)
            case IfThenElse():
                if self.truth(stmt.condition):
                    self.run(stmt.then_case)
                elif stmt.else_case is not None:
                    self.run(stmt.else_case)
            case LetStmt():
                self.env[stmt.var] = self.value(stmt.value)
                self.run(stmt.body)
                del self.env[stmt.var]
            case AllocBuffer():
                self.allocate(stmt, [stmt.buffer])
                self.run(stmt.body)
            case DeclBuffer():
                if self.block_watchers and self.frame.block is not None:
                    marks = [(stmt, "here")]
                    raise UnsupportedError("signature checks of a declared view", root=self.func, marks=marks)
                self.views[stmt.buffer] = self.declared(stmt)
                self.run(stmt.body)
            case Evaluate():
                self.value(stmt.value)
            case AssertStmt():
                if not self.truth(stmt.condition):
                    raise self.failure("stmt.assert", f"assertion failed: {stmt.message}", [(stmt, "this assertion")])
            case AttrStmt():
                self.check_attribute(stmt)
                self.run(stmt.body)
            case While():
                self.while_loop(stmt)
            case Break():
                raise _Break
            case Continue():
                raise _Continue
            case Return():
                self.check_return(stmt)
                raise _Return(self.defined(self.value(stmt.value), stmt, "the value returned"))
            case _:
                raise UnsupportedError(
                    f"the oracle cannot run a {type(stmt).__name__}", root=self.func, marks=[(stmt, "here")]
                )

    # --- stores ---

    def store(self, stmt: BufferStore) -> None:
        """Evaluate the value, then the indices, then write. A vector is written lane by lane after all of it is
        known."""
        value = self.value(stmt.value)
        view = self.view(stmt.buffer)
        indices = tuple([self.value(index, True) for index in stmt.indices])
        if tuple not in map(type, indices):
            if type(value) is tuple:
                raise UnsupportedError("a vector stored at a scalar index", root=self.func, marks=[(stmt, "here")])
            self.write(view, indices, stmt, value)
            return
        lanes = list(zip(*spread([*indices, value]), strict=True))
        if len({lane[:-1] for lane in lanes}) < len(lanes):
            raise self.failure("loop.race", f"two lanes of a vector store write one element of {stmt.buffer.name}")
        for *lane, part in lanes:
            self.write(view, tuple(lane), stmt, part)

    # --- loops: rules loop.order and loop.race ---

    def loop(self, stmt: For) -> None:
        """Run the iterations in ascending order. Those of parallel and vectorized loops must not conflict."""
        if stmt.kind == "thread_binding":
            self.threads(stmt)
            return
        fork = Fork(stmt) if stmt.kind in ("parallel", "vectorized") else None
        outer = self.path
        for i in self.iterations(stmt):
            self.env[stmt.loop_var] = i
            if fork is not None:
                self.path = (*outer, (fork, i))
            try:
                self.run(stmt.body)
            except _Continue:
                continue
            except _Break:
                if fork is not None:
                    raise UnsupportedError(
                        f"break out of a {stmt.kind} loop", root=self.func, marks=[(stmt, "here")]
                    ) from None
                break
        self.path = outer
        self.env.pop(stmt.loop_var, None)

    def iterations(self, stmt: For) -> range:
        """The values of a loop variable (rule loop.step)."""
        start, extent = self.integer(stmt.min), self.integer(stmt.extent)
        step = 1 if stmt.step is None else self.integer(stmt.step)
        if step <= 0:
            raise self.failure("loop.step", f"the step of a loop is {step},", [(stmt, "this loop")],
                               hint="a loop counts up: turn the index round")  # fmt: skip
        return range(start, start + extent, step)

    def threads(self, stmt: For) -> None:
        """A loop over a thread axis."""
        raise UnsupportedError("this machine has no threads", root=self.func, marks=[(stmt, "thread axis")])

    def while_loop(self, stmt: While) -> None:
        """Test, run, repeat."""
        while self.truth(stmt.condition):
            try:
                self.run(stmt.body)
            except _Continue:
                continue
            except _Break:
                break
            self.statement = stmt

    def check_attribute(self, stmt: AttrStmt) -> None:
        """Pragmas mean nothing to the oracle, and a reduction what the allreduce in it makes of it; any other attribute
        would mean something, and is refused."""
        if stmt.key != "reduce_scope" and not stmt.key.startswith(("pragma_", "mlcref.")):
            raise UnsupportedError(f"attribute {stmt.key!r}", root=self.func, marks=[(stmt, "this attribute")])

    # --- functions: rules stmt.return, call.function ---

    def check_return(self, stmt: Return) -> None:
        """A function ends in one place at a time: not in a block, and not in one of many iterations without order."""
        for around in index(self.func).above(stmt):
            unordered = isinstance(around, For) and around.kind in ("parallel", "vectorized", "thread_binding")
            if unordered or (isinstance(around, BlockRealize) and around is not self.func.body):
                what = f"a return out of a {around.kind} loop" if isinstance(around, For) else "a return out of a block"
                raise UnsupportedError(what, root=self.func, marks=[(stmt, "here")])

    def call_function(self, e: Call) -> Any:
        """Run another function of the module on the memory that it is given; the value it returns, or 0."""
        func = callee_of(self, e)
        if self.block_watchers or self.coordinates:
            what = "a call of a function in a thread" if self.coordinates else "signature checks across calls"
            raise UnsupportedError(what, root=self.func, marks=[(e, "this call")])
        call = FunctionCall(self, e, func)
        call.bind()
        machine = copy.copy(self)
        machine.enter_function(func, call.env, dict(call.views))
        result = machine.execute()
        self.remaining = machine.remaining
        if result is None and e.type != "void":
            raise call.failure("ends without returning a value")
        return 0 if result is None else result

    def enter_function(self, func: PrimFunc, env: dict[Var, Any], views: dict[Buffer, View | PerThread]) -> None:
        """Become the machine that runs ``func``, which the function that ran until now calls."""
        self.calling = (*self.calling, self.func)
        self.func, self.env, self.views, self.facts = func, env, views, facts_of(func)
        self.statement, self.hidden, self.frame = func.body, frozenset(env), Frame(None, None, (), ())
        self._operations, self._iterators = {}, {}

    def unify_in(self, env: dict[Var, Any], declared: Sequence[Expr], actual: Sequence[int]) -> bool:
        """:meth:`unify` with the variables of another function."""
        outer, self.env = self.env, env
        bound = len(self.frame.bound)
        try:
            return self.unify(declared, actual)
        finally:
            self.env = outer
            del self.frame.bound[bound:]

    # --- blocks: rules block.where, block.domain, block.init ---

    def block(self, stmt: BlockRealize) -> None:
        """One instance of a block: predicate, iterators, init if it starts a reduction, body."""
        if stmt.predicate and not self.all_hold(stmt.predicate):
            return
        frame = self.enter(stmt)
        if frame.starts and stmt.block.init is not None:
            self.run(stmt.block.init)
        self.run(stmt.block.body)
        self.leave(frame)

    def all_hold(self, conditions: Sequence[Expr]) -> bool:
        """Do all the conditions hold? Each is evaluated, as the operands of ``And`` are."""
        values = [self.truth(condition) for condition in conditions]
        return all(values)

    def enter(self, stmt: BlockRealize) -> Frame:
        """Bind and check the iterators of an instance and make it the current one."""
        block = stmt.block
        iterators = self.iterators(block)
        point = tuple([self.integer(value) for value in stmt.iter_values])
        domains = iterators.domains or self.domains(block)
        for var, value, (low, high) in zip(iterators.vars, point, domains, strict=True):
            if not low <= value < high:
                raise self.outside_domain(stmt, var, value, (low, high))
            self.env[var] = value
        frame = Frame(block, self.frame, point, tuple([point[i] for i in iterators.others]))
        if block.init is not None:
            self.begin_update(frame, iterators, domains)
        self.frame = frame
        for match in block.match_buffers:
            self.views[match.buffer] = self.matched(match)
        for watcher in self.block_watchers:
            watcher.enter(self, frame)
        return frame

    def leave(self, frame: Frame) -> None:
        """End an instance: its iterators go out of scope."""
        for watcher in self.block_watchers:
            watcher.leave(self, frame)
        assert frame.block is not None and frame.parent is not None
        self.frame = frame.parent
        for var in (*self.iterators(frame.block).vars, *frame.bound):
            self.env.pop(var, None)

    def begin_update(self, frame: Frame, iterators: Iterators, domains: Domains) -> None:
        """Init runs when every reduce iterator is at its minimum; it opens an epoch in which each reduce point comes
        once."""
        frame.starts = iterators.at_start(frame.point, domains)
        if not iterators.reduced:
            return
        assert frame.block is not None
        epochs, key = self.frame.epochs, (frame.block.token, frame.spatial)
        if frame.starts:
            epochs[key] = Epoch(key, iterators.reduce_points(domains))
        epoch = epochs.get(key)
        if epoch is None:
            raise self.before_init(frame.block)
        rank = iterators.rank(frame.point, domains)
        if epoch.seen[rank]:
            raise self.repeated(frame)
        epoch.seen[rank] = 1
        frame.epoch = epoch

    def iterators(self, block: Block) -> Iterators:
        """The iterators of ``block``, sorted out once."""
        found = self._iterators.get(block)
        if found is None:
            found = self._iterators[block] = Iterators(block)
        return found

    def domains(self, block: Block) -> Domains:
        """The iterator domains of ``block`` where they depend on variables."""
        lows = [self.integer(it.dom.min) for it in block.iter_vars]
        extents = [self.integer(it.dom.extent) for it in block.iter_vars]
        return tuple((low, low + extent) for low, extent in zip(lows, extents, strict=True))

    # --- allocations and aliases: rules memory.lifetime, memory.alias ---

    def allocate(self, stmt: Stmt, buffers: Sequence[Buffer]) -> None:
        """Give buffers new memory, all of it undefined."""
        for buffer in buffers:
            shape, strides = self.layout(buffer)
            if buffer in self.facts.private and stmt in self.facts.threads:
                self.views[buffer] = PerThread(buffer, shape, strides)
            else:
                self.views[buffer] = View(
                    buffer, Storage([None] * span(shape, strides), self.depth()), shape, strides
                )

    def depth(self) -> int:
        """How many of the forks around this point share what is allocated here."""
        return len(self.path)

    def layout(self, buffer: Buffer) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Shape and strides of a buffer, in elements."""
        shape = tuple(self.integer(extent) for extent in buffer.shape)
        strides = tuple(self.integer(stride) for stride in buffer.strides) or row_major(shape)
        return shape, strides

    def declared(self, stmt: DeclBuffer) -> View:
        """Another view of the memory of the source, ``elem_offset`` elements in."""
        source = self.view(stmt.source)
        if stmt.buffer.type != stmt.source.type:
            raise UnsupportedError(
                f"{stmt.buffer.name} reads the {stmt.source.type} of {stmt.source.name} as {stmt.buffer.type}",
                root=self.func,
                marks=[(stmt, "declared here")],
            )
        shape, strides = self.layout(stmt.buffer)
        offset = 0 if stmt.buffer.elem_offset is None else self.integer(stmt.buffer.elem_offset)
        return View(stmt.buffer, source.storage, shape, strides, source.offset + offset)

    def matched(self, match: MatchBufferRegion) -> View:
        """The region of a source buffer under another name; variables in its shape, strides and offset take their
        values here."""
        region, buffer, source = match.source.region, match.buffer, self.view(match.source.buffer)
        start = tuple(self.integer(r.min) for r in region)
        extents = tuple(self.integer(r.extent) for r in region)
        for low, extent, bound in zip(start, extents, source.shape, strict=True):
            if low < 0 or low + extent > bound:
                raise self.outside_source(match, start, extents)
        offset = source.offset + sum(low * stride for low, stride in zip(start, source.strides, strict=True))
        dropped = len(extents) - len(buffer.shape)
        if dropped < 0 or any(extent != 1 for extent in extents[:dropped]):
            raise self.mismatch(match, extents)
        fits = self.unify(buffer.shape, extents[dropped:]) and self.unify(buffer.strides, source.strides[dropped:])
        if not fits or (buffer.elem_offset is not None and not self.unify((buffer.elem_offset,), (offset,))):
            raise self.mismatch(match, extents)
        return View(buffer, source.storage, extents[dropped:], source.strides[dropped:], offset, (source, start))

    def unify(self, declared: Sequence[Expr], actual: Sequence[int]) -> bool:
        """Bind variables that have no value yet; do all others agree? Nothing declared agrees with everything."""
        for expr, value in zip(declared, actual, strict=False):
            if isinstance(expr, Var) and expr not in self.env:
                self.env[expr] = value
                self.frame.bound.append(expr)
            elif self.integer(expr) != value:
                return False
        return True

    # --- reports ---

    def outside_domain(self, stmt: BlockRealize, var: Var, value: int, domain: tuple[int, int]) -> OracleError:
        """An iterator's value is not in its domain."""
        name, (low, high) = stmt.block.name, domain
        return self.failure(
            "block.domain",
            f"block {name}: {var.name}={value} is outside of its domain [{low}, {high})",
            [(stmt, f"{var.name} is bound to {value} here")],
            hint="guard the block with T.where, or make the axis as long as the loop bound to it",
        )

    def before_init(self, block: Block) -> OracleError:
        """An update in an instance before the one that initialises."""
        return self.failure(
            "block.init",
            f"block {block.name} updates before its init",
            [(self.statement, "no instance with every reduce iterator at its minimum came before")],
            hint="init runs when every reduce iterator is at the minimum of its domain; run that point first",
        )

    def repeated(self, frame: Frame) -> OracleError:
        """A reduce point that was already accumulated since the init."""
        assert frame.block is not None
        return self.failure(
            "block.repeat",
            f"block {frame.block.name} adds the reduce point {_point(frame)} twice since its init",
            [(self.statement, "this instance ran before")],
            hint="the loops bound to the reduce iterators must reach each point once",
        )

    def outside_source(self, match: MatchBufferRegion, start: tuple[int, ...], extents: tuple[int, ...]) -> OracleError:
        """A matched region that leaves its source."""
        region = [f"{low}:{low + extent}" for low, extent in zip(start, extents, strict=True)]
        what = f"{match.buffer.name} matches {element(match.source.buffer, region)}, which is out of bounds"
        return self.failure("memory.bounds", what, [(match, "matched here")])

    def mismatch(self, match: MatchBufferRegion, extents: tuple[int, ...]) -> OracleError:
        """A matched region of another shape or layout than declared."""
        what = f"{match.buffer.name} does not have the shape, strides or offset of the region {extents} that it matches"
        return self.failure(
            "memory.alias",
            what,
            [(match, "matched here")],
            hint="extents must agree; only leading dimensions of extent 1 may be dropped",
        )


def _point(frame: Frame) -> str:
    assert frame.block is not None
    pairs = zip(frame.block.iter_vars, frame.point, strict=True)
    return ", ".join(f"{it.var.name}={value}" for it, value in pairs if it.iter_type == "reduce")
