"""Calls of functions of the host: registered functions, on numbers, strings and memory (rule call.host).

A pointer (``A.access_ptr``, ``T.address_of``, ``A.data``) becomes a one-dimensional numpy array of the elements from
there on, a buffer given to ``T.call_packed`` an array of its shape. What the function leaves in them is stored.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import count
from typing import Any, Protocol

import numpy as np

from mlcref import dtype as dt
from mlcref.errors import CallError, OracleError, UnsupportedError
from mlcref.interp.bound import Undecided, error_of
from mlcref.interp.memory import Undefined, View
from mlcref.interp.numeric import converter
from mlcref.ir.base import Node
from mlcref.ir.buffer import Buffer, BufferLoad
from mlcref.ir.expr import Call, Expr, StringImm, Var
from mlcref.ir.function import PrimFunc
from mlcref.ir.registry import get_global_func

READ, WRITE = 1, 2
POINTERS = frozenset({"address_of", "buffer_argument", "buffer_data", "tvm_access_ptr", "tvm_stack_make_array"})
CALLS = frozenset({"call_extern", "call_pure_extern", "call_packed"})


class HostCaller(Protocol):
    """What pointers and calls of the host ask of the machine that runs the program."""

    func: PrimFunc
    env: dict[Var, Any]
    watchers: Any

    def value(self, e: Expr, exact: bool = False) -> Any:
        """The value of an expression."""

    def integer(self, e: Expr) -> int:
        """The value of an extent or an index."""

    def defined(self, value: Any, node: Node, use: str) -> Any:
        """``value``, unless it is undefined."""

    def view(self, buffer: Buffer) -> View:
        """The memory of a buffer."""

    def locate(self, view: View, indices: tuple[Any, ...], node: Node) -> int:
        """The cell of an element."""

    def place(self) -> str:
        """Where the program is."""

    def failure(
        self, rule: str, what: str, marks: Sequence[tuple[object, str]] = (), *, hint: str | None = None
    ) -> OracleError:
        """The report of a broken rule."""


class Null:
    """The pointer to nothing: ``T.reinterpret("handle", T.uint64(0))``. A function of the host is given None."""

    def __repr__(self) -> str:
        return "null"


NULL = Null()


@dataclass(frozen=True)
class HostFunction:
    """A function that says what it does with arrays: it reads the first ``inputs`` of them, and writes all elements of
    the others without reading them. What the arguments may not be, it refuses with a ``CallError``."""

    call: Callable[..., Any]
    inputs: int

    def __call__(self, *args: Any) -> Any:
        return self.call(*args)

    def masked(self, arguments: list[Any]) -> list[Any]:
        """``arguments``, where memory is only read or only written."""
        arrays = count()
        return [
            replace(arg, mask=arg.mask & (READ if next(arrays) < self.inputs else WRITE))
            if isinstance(arg, Memory) else arg for arg in arguments
        ]  # fmt: skip


@dataclass
class Memory:
    """Cells of a buffer's storage that a function of the host is given: from ``start`` up to ``stop``; ``mask`` says
    whether it may read (1) and write (2) them."""

    argument: Call
    view: View
    start: int
    stop: int
    mask: int
    array: np.ndarray[Any, Any] | None = None
    before: bytes = b""

    def elements(self) -> list[tuple[tuple[int, ...], int]]:
        """Indices and cell of each element of the buffer that lies there."""
        shape, strides, offset = self.view.shape, self.view.strides, self.view.offset
        found = []
        for indices in np.ndindex(*shape):
            cell = offset + sum(i * stride for i, stride in zip(indices, strides, strict=True))
            if self.start <= cell < self.stop:
                found.append((tuple(int(i) for i in indices), cell))
        return found


def call_host(machine: HostCaller, e: Call) -> Any:
    """Call the registered function that the first argument names, and store what it wrote."""
    name = machine.value(e.args[0])
    function = get_global_func(str(name), allow_missing=True)
    arguments = [argument(machine, arg) for arg in e.args[1:]]
    if function is None:
        raise UnsupportedError(
            f"{e.op} of {name!r}",
            root=machine.func,
            marks=[(e, "called here")],
            hint="say what it does in Python: register_global_func(name, f); f gets an array for each pointer",
        )
    if isinstance(function, HostFunction):
        arguments = function.masked(arguments)
    finds = not isinstance(function, HostFunction)
    given = [fill(machine, a, finds) if isinstance(a, Memory) else None if a is NULL else a for a in arguments]
    try:
        result = function(*given)
    except CallError as error:
        what = f"{name!r} refuses its arguments: {error.what},"
        raise machine.failure("call.host", what, [(e, "called here")], hint=error.hint) from error
    for arg in arguments:
        if isinstance(arg, Memory):
            take_back(machine, arg)
    if result is None or dt.parse(e.type).code in ("void", "handle"):
        return 0
    return converter("float64" if isinstance(result, float) else "int64", e.type)(result)


def argument(machine: HostCaller, e: Expr) -> Any:
    """A number, a string, or the memory that a pointer points to."""
    if e.dtype == "handle" and not isinstance(e, StringImm) and not (isinstance(e, Call) and e.op in POINTERS):
        found = machine.value(e)
        return replace(found, array=None) if isinstance(found, Memory) else found
    if not isinstance(e, Call) or e.op not in POINTERS:
        return known(machine.defined(machine.value(e), e, "an argument of a call"))
    if e.op == "tvm_access_ptr":
        return accessed(machine, e)
    if e.op == "tvm_stack_make_array":
        return whole(machine, e)
    load = _load_of(machine, e)
    view = machine.view(load.buffer)
    indices = tuple(machine.integer(index) for index in load.indices)
    start = 0 if e.op == "buffer_data" else machine.locate(view, indices, load)
    return Memory(e, view, start, len(view.storage.cells), READ | WRITE)


def accessed(machine: HostCaller, e: Call) -> Memory:
    """``A.access_ptr(mask, offset, extent)``: offset and extent count elements of the memory of ``A``."""
    data = argument(machine, e.args[1]) if e.args[1].dtype == "handle" else None
    if not isinstance(data, Memory):
        raise UnsupportedError("a pointer that is no buffer's", root=machine.func, marks=[(e, "this pointer")])
    view = data.view
    start, extent, mask = (machine.integer(arg) for arg in e.args[2:])
    start += data.start
    stop = start + extent
    if view.shape and start == view.offset and stop <= start + view.strides[0] * view.shape[0]:
        stop = min(stop, len(view.storage.cells))  # whole rows, as access_ptr has it: the last one may be cut off
    if extent < 0 or start < 0 or stop > len(view.storage.cells):
        raise machine.failure(
            "call.host",
            f"the pointer reaches the elements {start} … {start + extent - 1} of {view.buffer.name}, "
            f"which has {len(view.storage.cells)},",
            [(e, "this pointer")],
            hint="give access_ptr the extent that the function uses",
        )
    return Memory(e, view, start, stop, mask)


def whole(machine: HostCaller, e: Call) -> Memory:
    """A buffer given to a packed function; it is one array, so its elements lie one after the other."""
    load = _load_of(machine, e.args[0])
    view = machine.view(load.buffer)
    count = int(np.prod(view.shape))
    memory = Memory(e, view, view.offset, view.offset + count, READ | WRITE)
    if len(memory.elements()) != count or any(k != cell - view.offset for k, (_, cell) in enumerate(memory.elements())):
        raise UnsupportedError(
            f"{view.buffer.name} is not dense: it cannot be given as one array",
            root=machine.func,
            marks=[(e, "given here")],
        )
    return memory


def _load_of(machine: HostCaller, e: Expr) -> BufferLoad:
    load = e.args[0] if isinstance(e, Call) and e.args else None
    if not isinstance(load, BufferLoad):
        raise UnsupportedError("a pointer that is no buffer's", root=machine.func, marks=[(e, "this pointer")])
    return load


def fill(machine: HostCaller, memory: Memory, finds: bool) -> np.ndarray[Any, Any]:
    """The array that the function is given. What it may read must be defined. What it only writes has its old values
    if it ``finds`` them (there are kernels that add to what they were given to write), NaN or 0 where there are none.
    """
    buffer, view = memory.view.buffer, memory.view
    array = np.zeros(memory.stop - memory.start, dt.numpy_dtype(buffer.type))
    if memory.mask & READ:
        for indices, cell in memory.elements():
            for watcher in machine.watchers:
                watcher.read(machine, view, cell, indices, memory.argument)
            value = view.storage.cells[cell]
            missing = Undefined(buffer, indices, memory.argument, machine.place()) if value is None else value
            value = known(machine.defined(missing, memory.argument, "an argument of a call"))
            array[cell - memory.start] = value
            if dt.is_float(buffer.type) and value == value != float(array[cell - memory.start]):
                raise _inexact()
    elif finds:
        for _, cell in memory.elements():
            value = view.storage.cells[cell]
            nothing = np.nan if dt.is_float(buffer.type) else 0
            array[cell - memory.start] = nothing if value is None or type(value) is Undefined else known(value)
    memory.array, memory.before = array, array.tobytes()
    shaped = memory.argument.op == "tvm_stack_make_array"
    return array.reshape(view.shape) if shaped else array


def known(value: Any) -> Any:
    """``value``, where it is exact: what becomes of an error in a function of the host, nobody knows."""
    if error_of(value):
        raise _inexact()
    return value


def _inexact() -> Undecided:
    return Undecided("a function of the host is given what depends on rounding")


def take_back(machine: HostCaller, memory: Memory) -> None:
    """Store what the function left: every element where it only writes, else those that changed."""
    assert memory.array is not None
    if not memory.mask & WRITE and memory.array.tobytes() == memory.before:
        return
    view, kind = memory.view, memory.view.buffer.type
    wide = memory.array.astype(np.float64) if dt.is_float(kind) else memory.array
    values = wide.tolist()
    _check_outside(machine, memory)
    for indices, cell in memory.elements():
        value, old = values[cell - memory.start], view.storage.cells[cell]
        if memory.mask & READ and type(value) is type(old) and repr(value) == repr(old):
            continue
        if not memory.mask & WRITE:
            raise machine.failure(
                "call.host",
                f"a function of the host wrote {view.buffer.name}, which it was given to read,",
                [(memory.argument, "given here")],
                hint='access_ptr("rw") lets it write',
            )
        for watcher in machine.watchers:
            watcher.write(machine, view, cell, indices, memory.argument, value)
        view.storage.cells[cell] = value
        view.storage.touched[cell] = 1


def _check_outside(machine: HostCaller, memory: Memory) -> None:
    """Between and around the elements of a view there is memory of others, which the pointer may reach and the function
    may not write."""
    array = memory.array
    assert array is not None
    own = np.zeros(array.size, bool)
    own[[cell - memory.start for _, cell in memory.elements()]] = True
    now, before = (np.frombuffer(bits, np.uint8).reshape(own.size, -1) for bits in (array.tobytes(), memory.before))
    if own.size and ((now != before).any(axis=1) & ~own).any():
        name = memory.view.buffer.name
        raise machine.failure(
            "call.host",
            f"a function of the host wrote beside the elements of {name}, which it was given,",
            [(memory.argument, "given here")],
            hint="pass the strides of the buffer to the function, and let it step by them",
        )
