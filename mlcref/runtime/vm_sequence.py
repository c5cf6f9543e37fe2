"""Programs of the virtual machine that only call kernels, for arguments of one shape: one call of a ``KernelSequence``.

Every kernel's arguments are checked once, here. What a program keeps between its kernels lies in one planned block of
memory; its results are new with each call.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from mlcref import dtype as dt
from mlcref.ir.shapes import Sizes, evaluate
from mlcref.runtime.array import NDArray
from mlcref.runtime.launch import MOST_ARGUMENTS, KernelSequence, Launcher
from mlcref.runtime.memory_plan import Lifetime, plan_memory
from mlcref.runtime.signature import BufferParam
from mlcref.runtime.vm_program import Allocate, GetField, Invoke, LoadConstant, MakeTuple, Program

Functions = Mapping[tuple[str, bool], Callable[..., object]]


def kernel_sequence(
    program: Program, sizes: Sizes, functions: Functions, constants: Sequence[NDArray], values: Sequence[object]
) -> KernelSequence | None:
    """``program`` for arguments like ``values``, which give the dimensions ``sizes``; None where it has to be run step
    by step: it calls other functions than compiled kernels, a kernel writes to an argument or constant, or a result is
    an argument, a constant, a shape, the same tensor twice or a tuple in a tuple.

    Raises ``CallError`` where a kernel's arguments do not fit it.
    """
    if KernelSequence is None or len(values) > MOST_ARGUMENTS:
        return None
    if not all(isinstance(value, NDArray) for value in values):
        return None
    arguments = [value.array.view() for value in values if isinstance(value, NDArray)]  # objects of their own
    trace = _Trace(functions, sizes, [constant.array for constant in constants])
    trace.registers = [*arguments, *[None] * (program.registers - len(arguments))]
    if not all(trace.follows(instruction) for instruction in program.code) or not trace.calls:
        return None
    result = trace.registers[program.result]
    results = [*result] if isinstance(result, tuple) else [result]
    if len({id(array) for array in results}) < len(results) or any(not trace.made(array) for array in results):
        return None
    return _sequence(trace, arguments, results, single=not isinstance(result, tuple))


@dataclass
class _Trace:
    """A run of a program that calls nothing: arrays of their own for all values, and the calls to make."""

    functions: Functions
    sizes: Sizes
    constants: Sequence[np.ndarray[Any, Any]]
    registers: list[Any] = field(default_factory=list)
    allocated: dict[int, np.ndarray[Any, Any]] = field(default_factory=dict)
    calls: list[tuple[Launcher, tuple[Any, ...]]] = field(default_factory=list)

    def made(self, array: Any) -> bool:
        """Is it memory that the program allocates?"""
        return id(array) in self.allocated

    def follows(self, instruction: object) -> bool:
        """Take a step; False for one that a sequence of kernels cannot take."""
        registers = self.registers
        if isinstance(instruction, Allocate):
            shape = [evaluate(extent, self.sizes) for extent in instruction.shape]
            if any(extent < 0 for extent in shape):
                return False
            array = np.empty(shape, dt.numpy_dtype(instruction.dtype))
            self.allocated[id(array)] = registers[instruction.to] = array
        elif isinstance(instruction, LoadConstant):
            registers[instruction.to] = self.constants[instruction.index]
        elif isinstance(instruction, MakeTuple):
            registers[instruction.to] = tuple([registers[source] for source in instruction.fields])
        elif isinstance(instruction, GetField):
            registers[instruction.to] = registers[instruction.source][instruction.index]
        else:
            return isinstance(instruction, Invoke) and self.calls_kernel(instruction)
        return True

    def calls_kernel(self, instruction: Invoke) -> bool:
        function = self.functions[instruction.name, instruction.packed]
        given = [self.registers[source] for source in instruction.args]
        if not isinstance(function, Launcher) or not all(isinstance(array, np.ndarray) for array in given):
            return False
        written = [array for array, param in zip(given, function.params, strict=False) if param.written]
        if not all(self.made(array) for array in written):
            return False
        scalars = [evaluate(value, self.sizes) for value in instruction.scalars]
        bound = function.bind(*[NDArray(array) for array in given], *scalars)  # its slots are the arrays themselves
        self.calls.append((function, bound.slots))
        return True


def _sequence(
    trace: _Trace, arguments: list[np.ndarray[Any, Any]], results: list[np.ndarray[Any, Any]], single: bool
) -> KernelSequence:
    places: dict[int, tuple[str, int]] = {id(array): ("argument", i) for i, array in enumerate(arguments)}
    places.update({id(array): ("result", i) for i, array in enumerate(results)})
    between = [key for key in trace.allocated if key not in places]
    offsets, memory = plan_memory([_lifetime(trace, key) for key in between])
    places.update({key: ("memory", offset) for key, offset in zip(between, offsets, strict=True)})
    steps = [(launcher, [places.get(id(slot), slot) for slot in slots]) for launcher, slots in trace.calls]
    params = [BufferParam(f"_{i}", dt.canonical(array.dtype), array.shape) for i, array in enumerate(arguments)]
    made = [(array.dtype, array.shape) for array in results]
    return KernelSequence(params, steps, made, memory, NDArray, single)


def _lifetime(trace: _Trace, key: int) -> Lifetime:
    used = [number for number, (_, slots) in enumerate(trace.calls) if any(id(slot) == key for slot in slots)]
    return Lifetime(trace.allocated[key].nbytes, min(used, default=0), max(used, default=0))
