"""Calls of functions of the host: registered functions, on numbers, strings and memory (rule call.host).

A pointer (``A.access_ptr``, ``T.address_of``, ``A.data``) becomes a one-dimensional numpy array of the elements from
there on, a buffer given to ``T.call_packed`` an array of its shape. What the function leaves in them is stored.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from mlcref import dtype as dt
from mlcref.errors import UnsupportedError
from mlcref.interp.memory import Undefined, View
from mlcref.interp.numeric import converter
from mlcref.ir.buffer import BufferLoad
from mlcref.ir.expr import Call, Expr
from mlcref.ir.registry import get_global_func

if TYPE_CHECKING:
    from mlcref.interp.evaluate import Evaluator

READ, WRITE = 1, 2
POINTERS = frozenset({"address_of", "buffer_data", "tvm_access_ptr", "tvm_stack_make_array"})
CALLS = frozenset({"call_extern", "call_pure_extern", "call_packed"})


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

    def elements(self) -> list[tuple[tuple[int, ...], int]]:
        """Indices and cell of each element of the buffer that lies there."""
        shape, strides, offset = self.view.shape, self.view.strides, self.view.offset
        found = []
        for indices in np.ndindex(*shape):
            cell = offset + sum(i * stride for i, stride in zip(indices, strides, strict=True))
            if self.start <= cell < self.stop:
                found.append((tuple(int(i) for i in indices), cell))
        return found


def call_host(machine: Evaluator, e: Call) -> Any:
    """Call the registered function that the first argument names, and store what it wrote."""
    name = machine.value(e.args[0])
    function = get_global_func(str(name), allow_missing=True)
    arguments = [argument(machine, arg) for arg in e.args[1:]]
    if function is None:
        raise UnsupportedError(
            f"{e.op} of {name!r}",
            root=machine.func,
            marks=[(e, "called here")],
            hint="the oracle calls functions registered with register_global_func",
        )
    given = [fill(machine, arg) if isinstance(arg, Memory) else arg for arg in arguments]
    result = function(*given)
    for arg in arguments:
        if isinstance(arg, Memory):
            take_back(machine, arg)
    if result is None or dt.parse(e.type).code in ("void", "handle"):
        return 0
    return converter("float64" if isinstance(result, float) else "int64", e.type)(result)


def argument(machine: Evaluator, e: Expr) -> Any:
    """A number, a string, or the memory that a pointer points to."""
    if not isinstance(e, Call) or e.op not in POINTERS:
        return machine.defined(machine.value(e), e, "an argument of a call")
    if e.op == "tvm_access_ptr":
        return accessed(machine, e)
    if e.op == "tvm_stack_make_array":
        return whole(machine, e)
    load = _load_of(machine, e)
    view = machine.view(load.buffer)
    indices = tuple(machine.integer(index) for index in load.indices)
    start = 0 if e.op == "buffer_data" else machine.locate(view, indices, load)
    return Memory(e, view, start, len(view.storage.cells), READ | WRITE)


def accessed(machine: Evaluator, e: Call) -> Memory:
    """``A.access_ptr(mask, offset, extent)``: offset and extent count elements of the memory of ``A``."""
    data = e.args[1]
    if not isinstance(data, Call) or data.op != "buffer_data":
        raise UnsupportedError("a pointer that is no buffer's", root=machine.func, marks=[(e, "this pointer")])
    view = machine.view(_load_of(machine, data).buffer)
    start, extent, mask = (machine.integer(arg) for arg in e.args[2:])
    if extent < 0 or start < 0 or start + extent > len(view.storage.cells):
        raise machine.failure(
            "call.host",
            f"the pointer reaches the elements {start} … {start + extent - 1} of {view.buffer.name}, "
            f"which has {len(view.storage.cells)},",
            [(e, "this pointer")],
            hint="give access_ptr the extent that the function uses",
        )
    return Memory(e, view, start, start + extent, mask)


def whole(machine: Evaluator, e: Call) -> Memory:
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


def _load_of(machine: Evaluator, e: Expr) -> BufferLoad:
    load = e.args[0] if isinstance(e, Call) and e.args else None
    if not isinstance(load, BufferLoad):
        raise UnsupportedError("a pointer that is no buffer's", root=machine.func, marks=[(e, "this pointer")])
    return load


def fill(machine: Evaluator, memory: Memory) -> np.ndarray[Any, Any]:
    """The array that the function is given. What it may read must be defined; the rest is zero."""
    buffer, view = memory.view.buffer, memory.view
    array = np.zeros(memory.stop - memory.start, dt.numpy_dtype(buffer.type))
    if memory.mask & READ:
        for indices, cell in memory.elements():
            for watcher in machine.watchers:
                watcher.read(machine, view, cell, indices, memory.argument)
            value = view.storage.cells[cell]
            missing = Undefined(buffer, indices, memory.argument, machine.place()) if value is None else value
            array[cell - memory.start] = machine.defined(missing, memory.argument, "an argument of a call")
    memory.array = array
    shaped = memory.argument.op == "tvm_stack_make_array"
    return array.reshape(view.shape) if shaped else array


def take_back(machine: Evaluator, memory: Memory) -> None:
    """Store what the function left: every element where it only writes, else those that changed."""
    assert memory.array is not None
    view, kind = memory.view, memory.view.buffer.type
    wide = memory.array.astype(np.float64) if dt.is_float(kind) else memory.array
    values = wide.tolist()
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
