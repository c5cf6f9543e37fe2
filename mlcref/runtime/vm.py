"""The virtual machine: runs linear programs over tensors, calling compiled kernels and registered Python functions.

``VirtualMachine(executable, device)["main"](x, ...)`` takes runtime tensors, numpy arrays or whatever shares its memory
through DLPack, and gives new runtime tensors. Arguments are checked before anything runs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import field
from typing import Any

import numpy as np

from mlcref import dtype as dt
from mlcref import runtime
from mlcref.errors import CallError, MlcrefError, UnsupportedError
from mlcref.ir import PrimFunc, graph
from mlcref.ir.registry import get_global_func
from mlcref.ir.shapes import Sizes, evaluate, match_arguments
from mlcref.records import dataclass
from mlcref.runtime import timing, vm_profile
from mlcref.runtime.array import Device, NDArray, constant, cpu, tensor
from mlcref.runtime.launch import KernelSequence
from mlcref.runtime.vm_profile import ProfileReport
from mlcref.runtime.vm_program import (
    Allocate, GetField, Instruction, Invoke, LoadConstant, MakeShape, MakeTuple, Program,
)  # fmt: skip
from mlcref.runtime.vm_sequence import kernel_sequence

__all__ = [
    "Allocate", "GetField", "Instruction", "Invoke", "LoadConstant", "LoadedProgram", "MakeShape", "MakeTuple",
    "ProfileReport", "Program", "VMExecutable", "VirtualMachine",
]  # fmt: skip


@dataclass(frozen=True)
class VMExecutable:
    """What compiling a module with graph functions gives: programs, their constants, and compiled kernels by name.

    ``library`` is the compiled module that the kernels come from, None when there are none; ``tensor_programs`` are
    the programs that they were compiled from, where these are known.
    """

    programs: Mapping[str, Program]
    constants: tuple[np.ndarray[Any, Any], ...] = ()
    kernels: Mapping[str, Callable[..., object]] = field(default_factory=dict)
    library: Any = None
    tensor_programs: Mapping[str, PrimFunc] = field(default_factory=dict)

    def packed_names(self) -> tuple[str, ...]:
        """The registered functions that the programs call, sorted."""
        steps = (step for program in self.programs.values() for step in program.code)
        return tuple(sorted({step.name for step in steps if isinstance(step, Invoke) and step.packed}))

    def as_text(self) -> str:
        """The instructions of every program."""
        return "\n\n".join(str(program) for program in self.programs.values())

    def get_source(self) -> str:
        """The generated source of the kernels; empty when there are none."""
        return "" if self.library is None else str(self.library.get_source())


class VirtualMachine:
    """Runs the programs of ``executable`` on ``device``.

    Functions that the programs call by name are looked up here: raises ``MlcrefError`` (rule ``vm.packed``) for a name
    that is not registered, ``UnsupportedError`` for a device other than the host. Source: ``relax.VirtualMachine``.

    >>> x = graph.Var("x", graph.TensorStructInfo((2,), "float32"))
    >>> first = Program("main", (x,), (MakeTuple(1, (0, 0)),), 2, 1)
    >>> print(VirtualMachine(VMExecutable({"main": first}))["main"](np.float32([1, 2]))[1])
    [1. 2.]
    """

    def __init__(self, executable: VMExecutable, device: Device | Sequence[Device] | None = None) -> None:
        for place in _devices(device):
            if not place.exist:
                message = f"the virtual machine does not run on {place}"
                raise UnsupportedError(message, rule="vm.device", hint="use cpu(0)")
        self.executable = executable
        self.device = _devices(device)[0]
        self.constants = tuple([constant(value) for value in executable.constants])
        self.functions: dict[tuple[str, bool], Callable[..., object]] = {
            **{(name, False): kernel for name, kernel in executable.kernels.items()},
            **{(name, True): _packed(name) for name in executable.packed_names()},
        }
        self._loaded = {name: LoadedProgram(self, program) for name, program in executable.programs.items()}

    def __getitem__(self, name: str) -> LoadedProgram:
        if name not in self._loaded:
            known = ", ".join(self._loaded)
            raise MlcrefError(f"the executable has no graph function {name!r}", hint=f"its functions: {known}")
        return self._loaded[name]

    @property
    def module(self) -> VirtualMachine:
        """The machine itself, which has ``time_evaluator``; TVM's name."""
        return self

    def time_evaluator(
        self, func_name: str, dev: Device | None = None, number: int = 10, repeat: int = 1, min_repeat_ms: float = 0
    ) -> Callable[..., timing.BenchmarkResult]:
        """A function that times ``func_name`` on its arguments, in seconds per call: see ``time_evaluator``."""
        _devices(dev)
        return timing.time_evaluator(self[func_name], number, repeat, min_repeat_ms)

    def profile(self, func_name: str, *args: object, number: int = 20) -> ProfileReport:
        """What each instruction of ``func_name`` takes, in ``number`` calls with ``args``.

        A program of compiled kernels is timed inside the loop that runs them, by a clock that is read after each.
        Raises ``CallError`` for arguments that do not fit and for ``number`` below 1. Source:
        ``VirtualMachine.profile``.

        >>> import mlcref
        >>> from mlcref import relax
        >>> bb = relax.BlockBuilder()
        >>> x = relax.Var("x", relax.TensorStructInfo((16,), "float32"))
        >>> with bb.function("main", [x]):
        ...     bb.emit_func_output(bb.emit(relax.op.nn.relu(x)))
        >>> machine = VirtualMachine(mlcref.compile(bb.get()))
        >>> [row.name for row in machine.profile("main", np.zeros(16, "float32")).rows if row.bytes]
        ['relu']
        """
        return self[func_name].profile(args, number)


class LoadedProgram:
    """A program of a machine, called with its arguments.

    The first call with arguments of some shapes plans the instructions for those shapes; later ones only run them. A
    program of compiled kernels alone is one checked call then; the memory between its kernels is kept for the next call
    with arguments of the same shapes.
    """

    _MAX_PLANS = 64

    def __init__(self, machine: VirtualMachine, program: Program) -> None:
        self.machine = machine
        self.program = program
        self._plans: dict[Any, _Plan] = {}
        self._spare = [None] * (program.registers - len(program.params))
        self._last: KernelSequence | None = None

    def __call__(self, *args: object) -> Any:
        """The result as a runtime tensor (or a tuple of them). Raises ``CallError`` before anything runs."""
        if self._last is not None:
            result = self._last.run(args)
            if result is not None:
                return result
        return self._planned(args)

    def profile(self, args: tuple[object, ...], number: int) -> ProfileReport:
        """What each instruction takes: see ``VirtualMachine.profile``."""
        vm_profile.require_runs(number)
        values = self._values(args)
        plan, programs = self._plan(values), self.machine.executable.tensor_programs
        in_one = plan.sequence is not None and hasattr(plan.sequence, "time_kernels")  # an older extension has none
        timed, runs = vm_profile.time_steps(
            self.program.code, plan.steps, lambda: [*values, *self._spare], programs, 1 if in_one else number
        )
        if in_one and plan.sequence is not None:
            timed = [item for item, step in zip(timed, self.program.code, strict=True) if isinstance(step, Invoke)]
            runs = vm_profile.time_sequence(plan.sequence, tuple(values), timed, number)
        return vm_profile.report_of(self.program.name, timed, runs)

    def _values(self, args: tuple[object, ...]) -> list[Any]:
        """The arguments as the program takes them; raises ``CallError`` where their number is wrong."""
        params = self.program.params
        if len(args) != len(params):
            match_arguments(self.program.name, params, args)
        return [_accepted(param.struct_info, value) for param, value in zip(params, args, strict=True)]

    def _planned(self, args: tuple[object, ...]) -> Any:
        values = self._values(args)
        plan = self._plan(values)
        if plan.sequence is not None:
            self._keep(plan.sequence)
            result = plan.sequence.run(tuple(values))
            if result is not None:
                return result
        registers: list[Any] = [*values, *self._spare]
        for step in plan.steps:
            step(registers)
        return self._own(registers[self.program.result])

    def _keep(self, sequence: KernelSequence) -> None:
        """Try ``sequence`` first from now on; the one before it gives its memory back."""
        if self._last is not None and self._last is not sequence:
            self._last.release()
        self._last = sequence

    def _plan(self, values: list[Any]) -> _Plan:
        key = tuple([_kind(value) for value in values])
        plan = self._plans.get(key)
        if plan is None:
            sizes = match_arguments(self.program.name, self.program.params, values)
            for param, value in zip(self.program.params, values, strict=True):
                self._require_dense(param.name_hint, value)
            if len(self._plans) >= self._MAX_PLANS:
                self._plans.pop(next(iter(self._plans)))
            steps = [self._step(instruction, sizes) for instruction in self.program.code]
            machine = self.machine
            sequence = kernel_sequence(self.program, sizes, machine.functions, machine.constants, values)
            plan = self._plans[key] = _Plan(steps, sequence)
        return plan

    def _require_dense(self, place: str, value: Any) -> None:
        if isinstance(value, tuple | list):
            for i, item in enumerate(value):
                self._require_dense(f"{place}[{i}]", item)
        elif isinstance(value, NDArray) and not value.array.flags.c_contiguous:
            raise CallError(
                f"{self.program.name}: {place} must be dense and row-major, got strides {value.array.strides} "
                f"for shape {value.shape}",
                rule="call.layout",
                hint=f"np.ascontiguousarray({place}) makes a dense copy",
            )

    def _step(self, instruction: Instruction, sizes: Sizes) -> _Step:
        if isinstance(instruction, Allocate):
            return _allocate(instruction, sizes, self.program.name)
        if isinstance(instruction, LoadConstant):
            return _put(instruction.to, self.machine.constants[instruction.index])
        if isinstance(instruction, MakeShape):
            return _put(instruction.to, tuple([evaluate(value, sizes) for value in instruction.values]))
        if isinstance(instruction, MakeTuple):
            return _make_tuple(instruction)
        if isinstance(instruction, GetField):
            return _get_field(instruction)
        function = self.machine.functions[instruction.name, instruction.packed]
        return _invoke(function, instruction.args, tuple([evaluate(value, sizes) for value in instruction.scalars]))

    def _own(self, result: Any) -> Any:
        """``result`` with copies of the machine's own constants, which the caller must not get hold of."""
        if isinstance(result, tuple):
            return tuple([self._own(item) for item in result])
        return tensor(result) if any(result is constant for constant in self.machine.constants) else result


_Step = Callable[[list[Any]], None]
"""One planned instruction: changes the registers."""


@dataclass(frozen=True, slots=True)
class _Plan:
    """A program for arguments of some shapes: its steps, and where it has such a form one call for all of them."""

    steps: list[_Step]
    sequence: KernelSequence | None


def _allocate(instruction: Allocate, sizes: Sizes, program: str) -> _Step:
    to, dtype = instruction.to, dt.numpy_dtype(instruction.dtype)
    shape = tuple([evaluate(extent, sizes) for extent in instruction.shape])
    if any(extent < 0 for extent in shape):
        raise CallError(f"{program}: a result would have the shape {shape}", rule="call.shape")

    def step(registers: list[Any]) -> None:
        registers[to] = NDArray(np.empty(shape, dtype))

    return step


def _put(to: int, value: object) -> _Step:
    def step(registers: list[Any]) -> None:
        registers[to] = value

    return step


def _make_tuple(instruction: MakeTuple) -> _Step:
    to, fields = instruction.to, instruction.fields

    def step(registers: list[Any]) -> None:
        registers[to] = tuple([registers[source] for source in fields])

    return step


def _get_field(instruction: GetField) -> _Step:
    to, source, index = instruction.to, instruction.source, instruction.index

    def step(registers: list[Any]) -> None:
        registers[to] = registers[source][index]

    return step


def _invoke(function: Callable[..., object], args: tuple[int, ...], scalars: tuple[int, ...]) -> _Step:
    def step(registers: list[Any]) -> None:
        function(*[registers[source] for source in args], *scalars)

    return step


def _packed(name: str) -> Callable[..., object]:
    function: Callable[..., object] | None = get_global_func(name, allow_missing=True)
    if function is None:
        raise MlcrefError(
            f"the program calls {name!r}, which is neither a function of the module nor registered",
            rule="vm.packed",
            hint=f'register it first: @mlcref.register_global_func("{name}")',
        )
    return function


def _devices(device: Device | Sequence[Device] | None) -> tuple[Device, ...]:
    if device is None:
        return (cpu(),)
    return (device,) if isinstance(device, Device) else tuple(device)


def _accepted(info: graph.StructInfo, value: Any) -> Any:
    """A tensor argument as a runtime tensor that shares its memory; anything else as it is."""
    if isinstance(value, NDArray):
        return value
    if isinstance(info, graph.TupleStructInfo) and isinstance(value, tuple | list) and len(value) == len(info.fields):
        return tuple([_accepted(field_info, item) for field_info, item in zip(info.fields, value, strict=True)])
    if not isinstance(info, graph.TensorStructInfo):
        return value
    if isinstance(value, np.ndarray):
        return NDArray(value.view(np.ndarray))
    if not hasattr(value, "__dlpack__"):
        return value
    try:
        return NDArray(runtime.dlpack.imported(value))
    except (BufferError, RuntimeError, TypeError, ValueError) as reason:
        message = f"the memory of a {type(value).__name__} cannot be shared: {reason}"
        raise CallError(message, rule="call.type", hint="pass a host tensor, or a numpy array") from reason


def _kind(value: Any) -> Any:
    """What the plan of a call depends on."""
    if isinstance(value, NDArray):
        array = value.array
        return array.shape, array.dtype, array.flags.c_contiguous
    if isinstance(value, tuple | list):
        return tuple([_kind(item) for item in value])
    return value if isinstance(value, int) else type(value)
