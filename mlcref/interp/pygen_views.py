"""The memory of buffers in generated programs: allocations, what each thread has of its own, and other names for parts
of memory, whose addresses are composed when the program is generated (rules memory.lifetime, memory.alias,
thread.scope)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

from mlcref import dtype as dt
from mlcref.interp.memory import span
from mlcref.interp.placement import scope_kind
from mlcref.interp.pygen_blocks import Blocks
from mlcref.interp.pygen_code import Lines, Mark, Memory, NotGenerated, View
from mlcref.interp.pygen_static import Axis, Known, Linear
from mlcref.ir.buffer import Buffer, BufferLoad
from mlcref.ir.expr import Expr, Var
from mlcref.ir.index import index
from mlcref.ir.stmt import Block, DeclBuffer, For, MatchBufferRegion

Tags = tuple[str, ...]


@dataclass
class Own:
    """An allocation of which each thread has its own: the tags of the axes whose threads run one after the other from
    here on, where it starts undefined, and its memory by the other axes that are open where it is used."""

    serial: frozenset[str]
    resets: Lines
    place: tuple[int, int]
    memories: dict[Tags, Memory] = field(default_factory=dict)
    views: dict[tuple[Var, ...], View] = field(default_factory=dict)


class Views(Blocks):
    """Knows where the elements of each buffer are."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.open: dict[str, Axis] = {}
        """The open thread axes by tag."""
        self.lanes: list[Axis] = []
        """Those whose threads run in lock step."""
        self.in_phase = False
        """Do the threads run one after the other?"""
        self._own: dict[Buffer, Own] = {}
        self._memories: dict[tuple[Buffer, Tags], Memory] = {}

    @property
    def threaded(self) -> bool:
        """Is this the place of one thread among several?"""
        return any(tag.startswith("threadIdx") for tag in self.open)

    def find_view(self, buffer: Buffer) -> View | None:
        own = self._own.get(buffer)
        return self.views.get(buffer) if own is None else self._view_of_thread(buffer, own)

    def uses(self, load: BufferLoad, memory: Memory) -> bool:
        """May the load look at this memory?"""
        view = self.find_view(load.buffer)
        return view is None or view.memory is memory

    # --- allocations ---

    def allocate(self, buffer: Buffer) -> None:
        """Memory that is undefined from here on."""
        if dt.lanes(buffer.type) != 1:
            raise NotGenerated("memory of vectors")
        if buffer in self.facts.private:
            self.allocate_own(buffer)
            return
        if self.in_phase and self.threaded and scope_kind(buffer) != "local":
            self.line("doubt()")  # threads that went apart cannot allocate memory for all
        memory = self.declare(buffer, parameter=False, checked=True)
        memory.checked, memory.place = True, (self.loop_depth, self.branch_depth)
        if self.loop_depth:
            self.body.append(Mark(memory, f"{memory.name}_w[:] = {memory.name}_zero"))

    def allocate_own(self, buffer: Buffer) -> None:
        """Memory of which each thread has its own, now and of axes that are opened later."""
        locked = {axis.var for axis in self.lanes} if not self.in_phase else set()
        serial = frozenset(tag for tag, axis in self.open.items() if axis.var not in locked)
        own = self._own[buffer] = Own(serial, [], (self.loop_depth, self.branch_depth))
        self.body.append(own.resets)

    def _view_of_thread(self, buffer: Buffer, own: Own) -> View:
        """The part of the thread that the open axes make: they are leading dimensions."""
        tags = tuple(sorted(tag for tag in self.open if tag not in own.serial))
        axes = tuple(self.open[tag].var for tag in tags)
        found = own.views.get(axes)
        if found is None:
            shape, strides = self.layout(buffer)
            size, copies, start = span(shape, strides), 1, Linear({})
            for tag in reversed(tags):
                axis = self.open[tag]
                start = start.plus(Linear({axis.var: 1}, -axis.start).times(copies * size))
                copies *= self.most_threads(tag)
            memory = own.memories.get(tags)
            if memory is None:
                memory = own.memories[tags] = self._memory_of_threads(buffer, tags, copies)
                memory.checked, memory.place = True, own.place
                if own.place[0]:
                    own.resets.append(Mark(memory, f"{memory.name}_w[:] = {memory.name}_zero"))
            found = own.views[axes] = View(memory, shape, strides, start)
        return found

    def _memory_of_threads(self, buffer: Buffer, tags: Tags, copies: int) -> Memory:
        """One memory for all threads of the axes ``tags``."""
        memory = self._memories.get((buffer, tags))
        if memory is None:
            memory = self._memories[buffer, tags] = self.new_memory(buffer, *self.layout(buffer), copies=copies)
            memory.per_thread = True
        return memory

    def most_threads(self, tag: str) -> int:
        """The largest extent of a thread axis in the function."""
        loops = [s for s in index(self.func).order if isinstance(s, For) and s.thread == tag]
        return max(1, *(self.constant(loop.extent) for loop in loops))

    # --- other names ---

    @contextmanager
    def declared(self, stmt: DeclBuffer) -> Iterator[None]:
        """Another view of the memory of the source, ``elem_offset`` elements in."""
        buffer, source = stmt.buffer, self.view(stmt.source)
        if buffer.type != stmt.source.type:
            raise NotGenerated("a buffer declared with another type than its memory")
        shape, strides = self.layout(buffer)
        with ExitStack() as stack:
            offset = Linear({})
            if buffer.elem_offset is not None:
                offset = self.linear_value(buffer.elem_offset, stack)
            low, high = self.known.range_of(offset)
            inside = low >= 0 and high + span(shape, strides) <= _size(source)
            if not inside and source.memory.per_thread:
                raise NotGenerated("a part of the memory of a thread under another name")
            low, high = self.known.range_of(source.start.plus(offset))
            inside = inside or (low >= 0 and high + span(shape, strides) <= source.memory.size)
            self.views[buffer] = View(source.memory, shape, strides, source.start.plus(offset), inside)
            yield
            del self.views[buffer]

    def linear_value(self, e: Expr, stack: ExitStack) -> Linear:
        """Index arithmetic as a linear form; of a new variable where it is none itself."""
        form = self.known.linear(e)
        if form is None:
            form = Linear({(var := Var("offset", e.dtype)): 1})
            stack.enter_context(self.held(var, e, exact=True))
        return form

    @contextmanager
    def held(self, var: Var, value: Expr, *, exact: bool = False) -> Iterator[None]:
        """A variable that stands for a value."""
        self.bind(var, self.value(value, exact), value)
        with self.level(var):
            yield

    @contextmanager
    def matches(self, block: Block) -> Iterator[None]:
        """The matched buffers of a block; what they match is checked here."""
        bound: list[Var] = []
        with ExitStack() as stack:
            for match in block.match_buffers:
                source = self.view(match.source.buffer)
                lows = [self.linear_value(part.min, stack) for part in match.source.region]
                view = region_view(source, match, self.known, lows)
                if view is None:
                    raise NotGenerated("a matched region of variable extent")
                with self.every_lane(*(part.min for part in match.source.region)):
                    for part, form, extent in zip(match.source.region, lows, source.shape, strict=True):
                        low, high = self.known.interval(part.min)
                        size = self.constant(part.extent)
                        if low < 0 or high + size > extent:
                            self.refuse_unless(f"0 <= {self.address(form, keep=True)} <= {extent - size}")
                self._unify(match, source, view, bound)
                self.views[match.buffer] = view
            yield
            for match in block.match_buffers:
                del self.views[match.buffer]
            for var in bound:
                del self.known.forms[var]

    @contextmanager
    def every_lane(self, *uses: Expr) -> Iterator[None]:
        """Lines that run in every thread of lock step, where what they use differs between them."""
        yield

    def _unify(self, match: MatchBufferRegion, source: View, view: View, bound: list[Var]) -> None:
        """Variables in the declaration of a matched buffer take their values; all else must agree."""
        buffer, region = match.buffer, match.source.region
        dropped = len(region) - len(buffer.shape)
        if dropped < 0 or any(self.constant(r.extent) != 1 for r in region[:dropped]):
            self.line("doubt()")
            return
        pairs: list[tuple[Expr, Linear]] = [
            *((e, Linear({}, n)) for e, n in zip(buffer.shape, view.shape, strict=True)),
            *((e, Linear({}, n)) for e, n in zip(buffer.strides, view.strides, strict=False)),
        ]
        if buffer.elem_offset is not None:
            if source.memory.per_thread:
                raise NotGenerated("the offset of the memory of a thread")
            pairs.append((buffer.elem_offset, view.start))
        for e, form in pairs:
            if isinstance(e, Var) and e not in self.known.forms and e not in self.names:
                self.known.forms[e] = form
                bound.append(e)
                continue
            declared = self.known.linear(e)
            difference = declared.plus(form, -1) if declared is not None else None
            if difference is None or difference.terms or difference.constant:
                with self.every_lane(e, *(r.min for r in region)):
                    self.refuse_unless(f"{self.value(e, True)} == {self.address(form)}")


def _size(view: View) -> int:
    return span(view.shape, view.strides)


def region_view(
    source: View, match: MatchBufferRegion, known: Known, lows: Sequence[Linear | None] = ()
) -> View | None:
    """The view of a region of a buffer; None where it is not linear. ``lows`` are its first indices, where they are
    known already. Nothing is checked."""
    start, extents = source.start, []
    for part, low, stride in zip(
        match.source.region, lows or [known.linear(r.min) for r in match.source.region], source.strides, strict=True
    ):
        extent = known.linear(part.extent)
        if low is None or extent is None or extent.terms:
            return None
        start = start.plus(low.times(stride))
        extents.append(extent.constant)
    kept = max(len(extents) - len(match.buffer.shape), 0)
    return View(source.memory, tuple(extents[kept:]), tuple(source.strides[kept:]), start, source.inside)
