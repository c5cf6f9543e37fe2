"""The text of one Cython function: statements, declarations, and the functions that its parallel loops call."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from functools import partial
from typing import Any

from mlcref import dtype as dt
from mlcref.codegen.c_expr import Expressions
from mlcref.codegen.c_types import Names, c_type
from mlcref.codegen.prelude import Prelude
from mlcref.codegen.registers import Key, Slot
from mlcref.codegen.sharing import common_positions, repeated_vectors, repeats_condition
from mlcref.codegen.storage import (
    STACK_BYTES,
    element_count,
    free_names,
    in_registers,
    padded_count,
    shape_variables,
    static_bytes,
)
from mlcref.codegen.workspace import Share
from mlcref.errors import UnsupportedError
from mlcref.ir import (
    AllocBuffer, AttrStmt, Break, Buffer, BufferStore, Call, Continue, DeclBuffer, Evaluate, For, IfThenElse, LetStmt,
    Ramp, SeqStmt, Stmt, Var, While, constant,
)  # fmt: skip
from mlcref.lower.domains import loop_domain
from mlcref.lower.jumps import leaves_loop


_LOOP = """cdef void {name}(void** shared, int64_t first, int64_t last, int64_t thread) noexcept nogil:
    cdef int64_t i
    for i in range(first, last):
        {call}"""


class FunctionText:
    """Writes one function. ``threads`` is 1 inside a parallel loop, where further parallel loops are serial.

    ``arguments`` are the buffers and variables that the function takes, in order; ``sizes`` the variables that the
    caller of the kernel gives, on which the size of memory may depend.
    """

    def __init__(self, name: str, prelude: Prelude, module_names: Names, *, threads: int, restrict: bool) -> None:
        self.name, self.prelude, self.module_names = name, prelude, module_names
        self.threads, self.restrict = threads, restrict
        self.names = Names(module_names.taken)
        self.expressions = Expressions(prelude, self.names)
        self.arguments: dict[Buffer | Var, str] = {}
        self.workspaces: dict[Buffer, None] = {}
        self.sizes: frozenset[Var] = frozenset()
        self.bound: dict[Var, None] = {}
        self.declared: list[str] = []
        self.lines: list[str] = []
        self.at_exit: list[str] = []
        self.shares: list[Share] = []
        self.has_growing_memory = False
        self.bodies: list[FunctionText] = []
        self.loops: list[str] = []
        self.is_parallel_body = False
        self.stack_left = 4 * STACK_BYTES

    # ---- the whole

    @property
    def allocates_inside(self) -> bool:
        """Does it, or a body of its loops, allocate memory whose size is known only there?"""
        return self.has_growing_memory or any(body.allocates_inside for body in self.bodies)

    def all_texts(self) -> list[str]:
        """The bodies of its parallel loops, the loops over them, then this function."""
        return [*(body.text() for body in self.bodies), *self.loops, self.text()]

    def text(self) -> str:
        """The function."""
        head = f"cdef void {self.name}({', '.join(self.arguments.values())}) noexcept nogil:"
        inner = [*self._workspace(), *self.declared, *(self.lines or ["pass"]), *self.at_exit]
        return "\n".join([head, *(f"    {line}" for line in inner)])

    def parameters(self, buffers: Sequence[Buffer], scalars: Sequence[Var], exact: set[Var]) -> None:
        """Declare parameters; those of ``exact`` are ``int64_t`` whatever their type says."""
        for buffer in buffers:
            self.buffer_parameter(buffer)
        for var in scalars:
            kind = "int64_t" if var in exact else c_type(var.type)
            self.arguments[var] = f"{kind} {self.names.name(var, var.name)}"
            self.bound[var] = None
        self.expressions.exact |= exact

    def buffer_parameter(self, buffer: Buffer) -> None:
        """Declare a pointer to the memory of ``buffer``."""
        kind = self.prelude.pointer(buffer.type, self.restrict)
        self.arguments[buffer] = f"{kind} {self.names.name(buffer, buffer.name)}"

    # ---- statements

    def statements(self, stmt: Stmt, depth: int = 0) -> None:
        """Append the lines of ``stmt``."""
        rule = _RULES.get(type(stmt))
        if rule is None:
            raise _unsupported(f"the Cython backend cannot write a {type(stmt).__name__}", stmt)
        rule(self, stmt, depth)

    def line(self, text: str, depth: int) -> None:
        """Append one line."""
        self.lines.append("    " * depth + text)

    def _sequence(self, stmt: SeqStmt, depth: int) -> None:
        expressions = self.expressions
        positions, repeated, loaded = expressions.positions, expressions.repeated, expressions.loaded
        expressions.positions = {**positions, **self._named_positions(stmt, depth)}
        shared = repeated_vectors(stmt) if self.restrict and not expressions.views else set()
        expressions.loaded = {}
        for before, part in zip((None, *stmt.seq), stmt.seq, strict=False):
            expressions.repeated = shared if isinstance(part, BufferStore) else set()
            expressions.load_once = partial(self._load_once, depth=depth)
            if isinstance(part, IfThenElse) and repeats_condition(before, part):
                self.statements(part.then_case, depth + 1)  # goes on with what stands under the condition
            else:
                self.statements(part, depth)
        expressions.positions, expressions.repeated, expressions.loaded = positions, repeated, loaded

    def _named_positions(self, stmt: SeqStmt, depth: int) -> dict[Hashable, str]:
        """A variable for each position that the statements often count from."""
        named: dict[Hashable, str] = {}
        for place in common_positions(stmt, self.expressions.place):
            if place.key in self.expressions.positions:
                continue
            named[place.key] = self.names.new("at")
            self.declared.append(f"cdef int64_t {named[place.key]}")
            self.line(f"{named[place.key]} = {self.expressions.row_major(place.shape, place.indices)}", depth)
        return named

    def _load_once(self, kind: str, text: str, depth: int) -> str:
        name = self.names.new("loaded")
        self.declared.append(f"cdef {kind} {name}")
        self.line(f"{name} = {text}", depth)
        return name

    def _store(self, stmt: BufferStore, depth: int) -> None:
        expressions = self.expressions
        value = expressions.value(stmt.value)
        slot = expressions.slot(stmt)
        if slot is not None:
            self.line(f"{slot.name} = {value}", depth)
            return
        place, address = self.names.of[stmt.buffer], expressions.address(stmt.buffer, stmt.indices)
        last = stmt.indices[-1] if stmt.indices else None
        if last is None or dt.lanes(last.dtype) == 1:
            self.line(f"{place}[{address}] = {value}", depth)
        elif not isinstance(last, Ramp) or constant(last.stride) == 1:
            self.line(f"(<{self.prelude.vector(stmt.value.dtype)}*>({place} + {address}))[0] = {value}", depth)
        else:
            scatter = expressions.vectors.scatter(stmt.value.dtype)
            self.line(f"{scatter}({place} + {address}, {expressions.index(last.stride)}, {value})", depth)

    def _loop(self, stmt: For, depth: int) -> None:
        if stmt.kind == "thread_binding":
            raise _unsupported("a thread axis is left, and the Cython backend runs on the CPU", stmt)
        first = self.expressions.index(stmt.min)
        last = self.expressions.index(stmt.extent if first == "0" else stmt.min + stmt.extent)
        var = stmt.loop_var
        self.expressions.exact.add(var)  # a loop variable is an exact integer
        self.expressions.domain[var] = loop_domain(stmt)
        if stmt.kind == "parallel" and self.threads > 1:
            self._parallel(stmt, first, last, depth)
            return
        name = self.names.name(var, var.name)
        self.declared.append(f"cdef int64_t {name}")
        self.line(f"for {name} in range({last if first == '0' else f'{first}, {last}'}):", depth)
        self.bound[var] = None
        self.statements(stmt.body, depth + 1)
        del self.bound[var]

    def _condition(self, stmt: IfThenElse, depth: int) -> None:
        self.line(f"if {self.expressions.value(stmt.condition)}:", depth)
        self.statements(stmt.then_case, depth + 1)
        if stmt.else_case is not None:
            self.line("else:", depth)
            self.statements(stmt.else_case, depth + 1)

    def _while(self, stmt: While, depth: int) -> None:
        self.line(f"while {self.expressions.value(stmt.condition)}:", depth)
        self.statements(stmt.body, depth + 1)

    def _let(self, stmt: LetStmt, depth: int) -> None:
        name = self.names.name(stmt.var, stmt.var.name)
        kind = self.prelude.vector(stmt.var.type) if dt.lanes(stmt.var.type) > 1 else c_type(stmt.var.type)
        self.declared.append(f"cdef {kind} {name}")
        self.line(f"{name} = {self.expressions.value(stmt.value)}", depth)
        self.bound[stmt.var] = None
        self.statements(stmt.body, depth)
        del self.bound[stmt.var]

    def _evaluate(self, stmt: Evaluate, depth: int) -> None:
        if isinstance(stmt.value, Call) and stmt.value.op in ("call_extern", "call_pure_extern"):
            self.line(self.expressions.foreign_call(stmt.value), depth)
            return
        self.expressions.value(stmt.value)  # raises for other calls with an effect; a value alone has none
        self.line("pass", depth)

    def _attribute(self, stmt: AttrStmt, depth: int) -> None:
        if not stmt.key.startswith("pragma_"):
            raise _unsupported(f"the Cython backend does not know the attribute {stmt.key}", stmt)
        self.statements(stmt.body, depth)

    def _break(self, stmt: Stmt, depth: int) -> None:
        self.line("break" if isinstance(stmt, Break) else "continue", depth)

    def _view(self, stmt: DeclBuffer, depth: int) -> None:
        """A buffer in the memory of another one."""
        buffer, source = stmt.buffer, stmt.source
        if buffer.type != source.type:
            raise _unsupported(f"{buffer.name} reads the {source.type} of {source.name} as {buffer.type}", stmt)
        name = self.names.name(buffer, buffer.name)
        self.declared.append(f"cdef {c_type(buffer.type)}* {name}")
        offset = "0" if buffer.elem_offset is None else self.expressions.index(buffer.elem_offset)
        self.line(f"{name} = {self.names.of[source]} + ({offset})", depth)
        self.expressions.views[buffer] = self.expressions.views.get(source, source)
        self.statements(stmt.body, depth)

    # ---- parallel loops

    def _parallel(self, stmt: For, first: str, last: str, depth: int) -> None:
        """The body becomes a function, and the loop over a thread's iterations another one. What they take from here
        they find in an array of pointers; each thread has its own slice of the body's workspaces.
        """
        if leaves_loop(stmt.body):
            raise _unsupported("a parallel loop cannot be left by break or continue", stmt)
        body = self._outlined(stmt)
        pointers: list[str] = []
        given: list[str] = []
        for item, declared in body.arguments.items():
            kind, place = declared.rpartition(" ")[0], f"shared[{len(pointers)}]"
            if item is stmt.loop_var:
                given.append("i")
            elif not isinstance(item, Buffer):
                given.append(f"(<{kind}*>{place})[0]")
                pointers.append(f"&{self.names.of[item]}")
            elif item in body.workspaces:
                apart, slices = self._slices(item, len(pointers), depth)
                given.append(f"<{kind}>{place} + thread * {apart}")
                pointers += slices
            else:
                given.append(f"<{kind}>{place}")
                pointers.append(self.names.of[item])
        loop = self._function_name(f"{body.name}_loop")
        self.loops.append(_LOOP.format(name=loop, call=f"{body.name}({', '.join(given)})"))
        self.prelude.cores()
        shared = self.names.new("shared")
        self.declared.append(f"cdef void* {shared}[{max(len(pointers), 1)}]")
        for k, pointer in enumerate(pointers):
            self.line(f"{shared}[{k}] = <void*>{pointer}", depth)
        self.line(f"in_parallel({loop}, {shared}, {first}, {last}, {self.threads})", depth)

    def _outlined(self, stmt: For) -> FunctionText:
        name = self._function_name(f"{self.name}_{stmt.loop_var.name}")
        buffers, scalars = free_names(stmt.body, [*self.bound, stmt.loop_var])
        views = {buffer: memory for buffer, memory in self.expressions.views.items() if buffer in buffers}
        apart = self.restrict and not views  # a view and its memory are two pointers to one place
        body = FunctionText(name, self.prelude, self.module_names, threads=1, restrict=apart)
        body.is_parallel_body, body.sizes = True, self.sizes
        body.expressions.domain, body.expressions.lets = self.expressions.domain, self.expressions.lets
        buffers = list(dict.fromkeys([*buffers, *views.values()]))
        body.expressions.views.update(views)
        body.parameters(buffers, scalars, {var for var in scalars if var in self.expressions.exact})
        body.statements(stmt.body)
        self.bodies.append(body)
        return body

    def _function_name(self, hint: str) -> str:
        """A name for a function of the module which no variable here has."""
        made = Names(self.module_names.taken | self.names.taken).new(hint)
        self.module_names.taken.add(made)
        self.names.taken.add(made)
        return made

    def _slices(self, buffer: Buffer, number: int, depth: int) -> tuple[str, list[str]]:
        """How far apart the slices of the threads are, and what is shared from ``number`` on: their block, which is
        taken when the function starts, and the distance where it is no constant.
        """
        name, apart = self.names.name(buffer, buffer.name), padded_count(buffer, self.expressions)
        self._heap(buffer, self.threads)
        if apart.isdigit():
            return apart, [name]
        distance = self.names.new(f"{buffer.name}_apart")
        self.declared.append(f"cdef int64_t {distance}")
        self.line(f"{distance} = {apart}", depth)
        return f"(<int64_t*>shared[{number + 1}])[0]", [name, f"&{distance}"]

    # ---- allocations

    def _allocation(self, stmt: AllocBuffer, depth: int) -> None:
        buffer, pieces = stmt.buffer, in_registers(stmt)
        size = static_bytes(buffer)
        if pieces is not None:
            self._registers(buffer, pieces)
        elif size is not None and size <= min(STACK_BYTES, self.stack_left):
            self.stack_left -= size
            name = self.names.name(buffer, buffer.name)
            self.declared.append(f"cdef {c_type(buffer.type)}[{max(element_count(buffer), 1)}] {name}")
        elif not shape_variables(buffer) <= self.sizes:
            self._heap_in_place(stmt, depth)
            return
        elif self.is_parallel_body:
            self.buffer_parameter(buffer)
            self.workspaces[buffer] = None
        else:
            self.names.name(buffer, buffer.name)
            self._heap(buffer, 1)
        self.statements(stmt.body, depth)

    def _registers(self, buffer: Buffer, pieces: dict[Key, str]) -> None:
        slots: dict[Key | None, Slot] = {}
        for key, dtype in pieces.items():
            hint = "_".join([buffer.name, *(str(start) for start, _ in key)]) if len(pieces) > 1 else buffer.name
            slots[key] = Slot(self.names.new(hint), dtype)
            kind = self.prelude.vector(dtype) if dt.lanes(dtype) > 1 else c_type(dtype)
            self.declared.append(f"cdef {kind} {slots[key].name}")
        self.expressions.slots[buffer] = slots

    def _heap(self, buffer: Buffer, copies: int) -> None:
        """Memory from the start of the function to its end: a share of the workspace."""
        if not self.shares:
            self.prelude.workspace()
            self.at_exit.append("keep_workspace(workspace)")
        self.shares.append(Share(buffer, copies))

    def _workspace(self) -> list[str]:
        """The lines that take the workspace and point buffers to their shares."""
        if not self.shares:
            return []
        sizes = [share.size(self.expressions) for share in self.shares]
        lines = [f"cdef char* workspace = take_workspace({' + '.join(sizes)})"]
        for i, share in enumerate(self.shares):
            kind, start = c_type(share.buffer.type), " + ".join(["workspace", *sizes[:i]])
            lines.append(f"cdef {kind}* {self.names.of[share.buffer]} = <{kind}*>({start})")
        return lines

    def _heap_in_place(self, stmt: AllocBuffer, depth: int) -> None:
        """Memory whose size is known only here."""
        if leaves_loop(stmt.body):
            raise _unsupported(f"the memory of {stmt.buffer.name} cannot be left by break or continue", stmt)
        self.prelude.allocation()
        self.has_growing_memory = True
        buffer, kind = stmt.buffer, c_type(stmt.buffer.type)
        name = self.names.name(buffer, buffer.name)
        self.declared.append(f"cdef {kind}* {name}")
        self.line(f"{name} = <{kind}*>allocate({padded_count(buffer, self.expressions)} * sizeof({kind}))", depth)
        self.statements(stmt.body, depth)
        self.line(f"release({name})", depth)


def _unsupported(what: str, stmt: Stmt) -> UnsupportedError:
    return UnsupportedError(what, rule="codegen.statement", root=stmt, marks=[(stmt, "here")])


_RULES: dict[type, Callable[[FunctionText, Any, int], None]] = {
    SeqStmt: FunctionText._sequence, BufferStore: FunctionText._store, For: FunctionText._loop, IfThenElse:
    FunctionText._condition, While: FunctionText._while, LetStmt: FunctionText._let, Evaluate:
    FunctionText._evaluate, AttrStmt: FunctionText._attribute, AllocBuffer: FunctionText._allocation, DeclBuffer:
    FunctionText._view, Break: FunctionText._break, Continue: FunctionText._break,
}  # fmt: skip
