"""Arguments of a call: numpy memory in, element storage for the machine, written elements back (rules
memory.parameters, call.*)."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from typing import Any, NoReturn

import numpy as np

from mlcref import dtype as dt
from mlcref.errors import CallError, UnsupportedError
from mlcref.interp.memory import Storage, Undefined, View, row_major, span
from mlcref.interp.numeric import converter
from mlcref.interp.rules import RULES
from mlcref.ir.buffer import Buffer, BufferLoad
from mlcref.ir.expr import Call, Const, Expr, Var
from mlcref.ir.function import PrimFunc
from mlcref.ir.stmt import BufferStore, DeclBuffer, MatchBufferRegion
from mlcref.ir.visit import walk
from mlcref.rounding import rounder

Array = np.ndarray[Any, Any]
Evaluate = Callable[[Expr, dict[Var, Any]], int]
MakeStorage = Callable[[Buffer, Array, bool], Storage]
"""Makes the storage of a dense parameter from its array; the last argument says whether it starts undefined."""


@dataclass
class Slot:
    """A buffer parameter in a call: the caller's object, its numpy view, and the cells the machine works on."""

    param: Buffer
    given: object
    array: Array
    view: View

    @property
    def positions(self) -> Array:
        """The cell of each element, in the shape of the array."""
        if self.view.strides == row_major(self.view.shape):
            return np.arange(math.prod(self.view.shape)).reshape(self.view.shape) + self.view.offset
        grids = np.indices(self.view.shape, dtype=np.int64)
        total = sum(grid * stride for grid, stride in zip(grids, self.view.strides, strict=True))
        return np.asarray(total, np.int64).reshape(self.view.shape) + self.view.offset

    def touched(self) -> Array:
        """Which elements the program wrote."""
        return np.frombuffer(bytes(self.view.storage.touched) + b"\0", np.bool_)[self.positions]

    def undefined(self) -> tuple[tuple[int, ...], Undefined | None] | None:
        """The first element without a value, and the load it came from if there was one."""
        cells = self.view.storage.cells
        if not any(cell is None or type(cell) is Undefined for cell in cells):
            return None
        for indices, position in np.ndenumerate(self.positions):
            cell = cells[position]
            if cell is None or type(cell) is Undefined:
                return indices, cell
        return None

    def write_back(self) -> None:
        """Copy the written elements into the caller's memory; all others keep their bits."""
        touched = self.touched()
        if not touched.any():
            return
        cells, numpy_type = self.view.storage.cells, dt.numpy_dtype(self.param.type)
        wide = np.float64 if dt.is_float(self.param.type) else numpy_type
        values = np.array([cells[position] for position in self.positions[touched]], wide)
        with np.errstate(over="ignore", invalid="ignore"):
            self.array[touched] = values.astype(numpy_type)
        self.publish()

    def publish(self) -> None:
        """Hand the array to an argument that does not share its memory."""
        if not np.shares_memory(self.array, _array_of(self.given)):
            self.given.copyfrom(self.array)  # type: ignore[attr-defined]


@dataclass
class Binding:
    """A checked call: the variables that the arguments give a value, and the memory of the buffer parameters."""

    env: dict[Var, Any] = field(default_factory=dict)
    slots: list[Slot] = field(default_factory=list)
    result: Any = None
    """What the function returned, after the run."""

    def slot(self, name: str) -> Slot:
        """The slot of the parameter called ``name``."""
        return next(slot for slot in self.slots if slot.param.name == name)


def bind(
    func: PrimFunc,
    args: Sequence[object],
    poison: Sequence[str],
    evaluate: Evaluate,
    storage: MakeStorage | None = None,
) -> Binding:
    """Check ``args`` against the parameters of ``func``; raises ``CallError`` before anything runs.

    ``evaluate`` gives the value of an extent, once the variables in it are known; ``storage`` makes the memory of
    dense parameters, where it is not the machine's.
    """
    return _Call(func, evaluate, storage).bind(args, poison)


def written_buffers(func: PrimFunc) -> set[Buffer]:
    """The buffers that ``func`` may write, through any of their names."""
    source: dict[Buffer, Buffer] = {}
    written: set[Buffer] = set()
    for node in walk(func.body):
        if isinstance(node, DeclBuffer):
            source[node.buffer] = node.source
        elif isinstance(node, MatchBufferRegion):
            source[node.buffer] = node.source.buffer
        elif isinstance(node, BufferStore):
            written.add(node.buffer)
        elif isinstance(node, Call):
            written |= _pointed_at(node)
    for buffer in list(written):
        while buffer in source:
            buffer = source[buffer]
            written.add(buffer)
    return written


def _pointed_at(call: Call) -> set[Buffer]:
    """The buffer that a function of the host may write through a pointer, and where an allreduce puts its results."""
    if call.op == "tvm_thread_allreduce":
        return {arg.buffer for arg in call.args if isinstance(arg, BufferLoad)}
    if call.op == "tvm_access_ptr":
        mask = call.args[4]
        data = call.args[1]
        readonly = isinstance(mask, Const) and int(mask.value) == 1
        return set() if readonly else {node.buffer for node in walk(data) if isinstance(node, BufferLoad)}
    if call.op in ("address_of", "tvm_stack_make_array"):
        return {node.buffer for node in walk(call.args[0]) if isinstance(node, BufferLoad)}
    if call.op in ("call_extern", "call_pure_extern", "call_packed", "call_function"):
        pointers = ("buffer_data", "buffer_argument")
        given = [arg.args[0] for arg in call.args if isinstance(arg, Call) and arg.op in pointers]
        return {load.buffer for load in given if isinstance(load, BufferLoad)}
    return set()


def _array_of(given: object) -> Array:
    """The numpy form of an argument; shares the memory where the object can."""
    if isinstance(given, np.ndarray):
        return given.view(np.ndarray)
    return np.asarray(given)


class _Call:
    def __init__(self, func: PrimFunc, evaluate: Evaluate, storage: MakeStorage | None) -> None:
        self.func, self.evaluate, self.storage = func, evaluate, storage
        self.binding = Binding()
        self.sources: dict[Var, str] = {}
        self.written = written_buffers(func)

    def refuse(self, rule: str, what: str, hint: str | None = None) -> NoReturn:
        assert rule in RULES, rule
        raise CallError(f"{self.func.name}: {what}", rule=rule, hint=hint)

    def bind(self, args: Sequence[object], poison: Sequence[str]) -> Binding:
        params = self.func.params
        if len(args) != len(params):
            names = ", ".join(p.name for p in params)
            self.refuse(
                "call.count",
                f"takes {len(params)} arguments ({names}), got {len(args)}",
                "outputs are arguments too: allocate them, then pass them" if len(args) < len(params) else None,
            )
        unknown = set(poison) - {b.name for b in self.func.buffers}
        if unknown:
            self.refuse("call.count", f"poison names {', '.join(sorted(unknown))}, which is no buffer parameter")
        pairs = list(zip(params, args, strict=True))
        for param, given in pairs:
            if isinstance(param, Var):
                self.binding.env[param] = self.scalar(param, given)
                self.sources[param] = f"argument {param.name}"
        arrays = [(param, given, self.array(param, given)) for param, given in pairs if isinstance(param, Buffer)]
        for param, _, array in arrays:
            self.bind_shape(param, array)
        for param, given, array in arrays:
            self.check_shape(param, array)
            self.binding.slots.append(Slot(param, given, array, self.view(param, array, param.name in poison)))
        self.share_memory()
        return self.binding

    def scalar(self, param: Var, given: object) -> Any:
        """A number of the parameter's type."""
        if param.type == "handle":
            raise UnsupportedError(f"{param.name}: a pointer as a parameter", hint="match it to a buffer")
        number = given.item() if isinstance(given, np.generic) else given
        if dt.is_float(param.type):
            if not isinstance(number, int | float):
                self.refuse("call.scalar", f"{param.name} must be a number, got {type(given).__name__}")
            return rounder(param.type)(float(number))
        if isinstance(number, float) or not hasattr(number, "__index__"):
            self.refuse("call.scalar", f"{param.name} must be an integer, got {given!r}")
        low, high = dt.integer_range(param.type)
        value = operator.index(number)
        if not low <= value <= high:
            self.refuse("call.scalar", f"{param.name} must lie in [{low}, {high}], got {value}")
        return converter("int64", param.type)(value)

    def array(self, param: Buffer, given: object) -> Array:
        """The numpy form of an argument of the right type and rank."""
        if not isinstance(given, np.ndarray) and not hasattr(given, "__array__") and not hasattr(given, "__buffer__"):
            self.refuse(
                "call.type",
                f"{param.name} must be an array, got {type(given).__name__}",
                f'np.array({param.name}, dtype="{param.type}") makes one',
            )
        array = _array_of(given)
        if array.dtype != dt.numpy_dtype(param.type):
            self.refuse(
                "call.dtype",
                f"{param.name} must be {param.type}, got {array.dtype.name}",
                f'{param.name}.astype("{param.type}") makes a converted copy',
            )
        if array.ndim != len(param.shape):
            self.refuse("call.rank", f"{param.name} must have {len(param.shape)} dimensions, got {array.ndim}")
        if param in self.written and not array.flags.writeable:
            self.refuse(
                "call.readonly", f"{param.name} is written by the function, but read-only", "pass a writable array"
            )
        return array

    def bind_shape(self, param: Buffer, array: Array) -> None:
        """Give variables that are an extent, a stride or an offset their value."""
        strides = [stride // array.itemsize for stride in array.strides]
        actual = [*zip(param.shape, array.shape, strict=True), *zip(param.strides, strides, strict=False)]
        if param.elem_offset is not None:
            actual.append((param.elem_offset, 0))
        for axis, (declared, value) in enumerate(actual):
            if not isinstance(declared, Var):
                continue
            known = self.binding.env.setdefault(declared, int(value))
            where = f"{param.name}.shape[{axis}]" if axis < array.ndim else f"a stride of {param.name}"
            source = self.sources.setdefault(declared, where)
            if known != value:
                self.refuse("call.symbol", f"{where} is {value}, but {declared.name} is {known} already, from {source}")

    def check_shape(self, param: Buffer, array: Array) -> None:
        """Extents that are numbers or expressions must be what the array has."""
        for axis, (declared, value) in enumerate(zip(param.shape, array.shape, strict=True)):
            expected = self.evaluate(declared, self.binding.env)
            if expected != value:
                self.refuse("call.shape", f"{param.name}.shape[{axis}] must be {expected}, got {value}")

    def view(self, param: Buffer, array: Array, poisoned: bool) -> View:
        """The memory of a parameter: row-major, whatever the strides of the array, unless the buffer declares
        strides."""
        shape = tuple(int(extent) for extent in array.shape)
        strides = row_major(shape)
        if param.strides:
            strides = tuple(self.evaluate(stride, self.binding.env) for stride in param.strides)
            if [stride * array.itemsize for stride in strides] != list(array.strides) and array.size > 1:
                got = [stride // array.itemsize for stride in array.strides]
                self.refuse(
                    "call.shape", f"{param.name} must have the strides {list(strides)}, got {got} (in elements)"
                )
        if any(stride < 0 for stride in strides) or dt.parse(param.type).lanes != 1:
            raise UnsupportedError(f"{param.name}: a buffer declared with negative strides or of a vector type")
        if param.elem_offset is not None and self.evaluate(param.elem_offset, self.binding.env) != 0:
            raise UnsupportedError(f"{param.name}: an element offset other than 0 in a parameter")
        if self.storage is not None and not param.strides:
            return View(param, self.storage(param, array, poisoned), shape, strides)
        storage = Storage([None] * span(shape, strides))
        view = View(param, storage, shape, strides)
        if not poisoned:
            with np.errstate(invalid="ignore"):  # the conversion of a signalling NaN
                wide = array.astype(np.float64) if dt.is_float(param.type) else array
            for position, value in zip(
                Slot(param, array, array, view).positions.ravel().tolist(), wide.ravel().tolist(), strict=True
            ):
                storage.cells[position] = value
        return view

    def share_memory(self) -> None:
        """Arguments that overlap: refused under noalias when one is written; otherwise they must be the same array."""
        for a, b in combinations(self.binding.slots, 2):
            if not np.may_share_memory(a.array, b.array) or not (a.param in self.written or b.param in self.written):
                continue
            if self.func.noalias:
                written = a if a.param in self.written else b
                self.refuse(
                    "call.alias",
                    f"{a.param.name} and {b.param.name} overlap in memory",
                    f"pass a copy of one; the function writes to {written.param.name} and is declared noalias",
                )
            if a.array.__array_interface__ != b.array.__array_interface__ or a.view.strides != b.view.strides:
                raise UnsupportedError(
                    f"{a.param.name} and {b.param.name} overlap in part: the oracle shares whole arrays only"
                )
            b.view.storage = a.view.storage
