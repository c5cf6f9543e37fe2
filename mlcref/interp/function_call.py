"""Calls of other functions of the module: arguments become the memory and the variables of the callee (rule
call.function)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any, NoReturn, Protocol

from mlcref.errors import OracleError, UnsupportedError
from mlcref.interp.arguments import written_buffers
from mlcref.interp.host import HostCaller, Memory, argument
from mlcref.interp.memory import View, row_major, span
from mlcref.ir.buffer import Buffer, BufferLoad
from mlcref.ir.expr import Call, Expr, Var
from mlcref.ir.function import GlobalVar, PrimFunc


class FunctionCaller(HostCaller, Protocol):
    """What a call asks of the machine that makes it."""

    functions: Mapping[str, PrimFunc]
    calling: tuple[PrimFunc, ...]

    def unify_in(self, env: dict[Var, Any], declared: Sequence[Expr], actual: Sequence[int]) -> bool:
        """Bind variables of ``env`` that have no value yet; do all others agree?"""


def callee_of(machine: FunctionCaller, e: Call) -> PrimFunc:
    """The function that is called. Recursion is refused: its depth would have no bound."""
    target = e.args[0]
    name = target.name_hint if isinstance(target, GlobalVar) else ""
    func = machine.functions.get(name)
    if func is None:
        raise UnsupportedError(
            f"the function {name} of a module", root=machine.func, marks=[(e, "called here")],
            hint="interpret(module, …) knows the functions of the module; a function alone does not",
        )  # fmt: skip
    if func is machine.func or func in machine.calling:
        raise UnsupportedError(f"recursion: {name} calls itself", root=machine.func, marks=[(e, "called here")])
    return func


class FunctionCall:
    """The arguments of one call, bound to the parameters of the callee."""

    def __init__(self, machine: FunctionCaller, e: Call, func: PrimFunc) -> None:
        self.machine, self.call, self.func = machine, e, func
        self.env: dict[Var, Any] = {}
        self.views: dict[Buffer, View] = {}

    def refuse(self, what: str) -> NoReturn:
        raise self.failure(what)

    def failure(self, what: str) -> OracleError:
        """The report of a call that does not fit."""
        return self.machine.failure("call.function", f"{self.func.name}: {what}", [(self.call, "called here")])

    def bind(self) -> None:
        """Fill ``env`` and ``views``: whole buffers first, since they give the variables in shapes their values."""
        given = self.call.args[1:]
        if len(given) != len(self.func.params):
            self.refuse(f"takes {len(self.func.params)} arguments, got {len(given)}")
        pairs = list(zip(self.func.params, given, strict=True))
        for param, arg in pairs:
            if isinstance(param, Var):
                self.env[param] = self.number(param, arg)
        for param, arg in pairs:
            if isinstance(param, Buffer) and _is_whole(arg):
                self.views[param] = self.whole(param, arg)
        for param, arg in pairs:
            if isinstance(param, Buffer) and not _is_whole(arg):
                self.views[param] = self.pointed(param, arg)
        self.check_overlap()

    def number(self, param: Var, arg: Expr) -> Any:
        if arg.dtype == param.type == "handle":
            return argument(self.machine, arg)
        if arg.dtype != param.type:
            self.refuse(f"{param.name} is {param.type}, got {arg.dtype}")
        return self.machine.defined(self.machine.value(arg), arg, "an argument of a call")

    def whole(self, param: Buffer, arg: Expr) -> View:
        """A buffer given as it is: its type and shape are those of the parameter."""
        load = arg.args[0] if isinstance(arg, Call) else arg
        assert isinstance(load, BufferLoad)
        view = self.machine.view(load.buffer)
        if load.buffer.type != param.type or len(view.shape) != len(param.shape):
            self.refuse(f"{param.name} is {param.type} with {len(param.shape)} dimensions, got {load.buffer.type} with "
                        f"{len(view.shape)}")  # fmt: skip
        if not self.machine.unify_in(self.env, param.shape, view.shape):
            self.refuse(f"{load.buffer.name} of shape {view.shape} does not fit {param.name}")
        fits = self.machine.unify_in(self.env, param.strides, view.strides)
        if not fits or (not param.strides and not _dense(view)):
            self.refuse(f"{load.buffer.name} does not lie in memory as {param.name} does")
        return View(param, view.storage, view.shape, view.strides, self.start(param, view.offset))

    def start(self, param: Buffer, position: int) -> int:
        """Where the elements begin when the pointer is at ``position``. An offset without a value is none."""
        if param.elem_offset is None:
            return position
        if isinstance(param.elem_offset, Var) and param.elem_offset not in self.env:
            self.env[param.elem_offset] = 0
        return position + self.extent(param, param.elem_offset)

    def pointed(self, param: Buffer, arg: Expr) -> View:
        """The memory behind a pointer, which must hold all of the parameter."""
        memory = argument(self.machine, arg) if arg.dtype == "handle" else None
        if not isinstance(memory, Memory):
            self.refuse(f"{param.name} is memory, and is given a {'null pointer' if memory is not None else arg.dtype}")
        if memory.view.buffer.type != param.type:
            self.refuse(f"{param.name} is {param.type}, the memory given is {memory.view.buffer.type}")
        shape = tuple(self.extent(param, extent) for extent in param.shape)
        strides = tuple(self.extent(param, stride) for stride in param.strides) or row_major(shape)
        start = self.start(param, memory.start)
        if any(number < 0 for number in (*shape, *strides)) or start + span(shape, strides) > memory.stop:
            self.refuse(f"{param.name} of shape {shape} reaches beyond the memory it is given")
        return View(param, memory.view.storage, shape, strides, start)

    def extent(self, param: Buffer, expr: Expr) -> int:
        """An extent, stride or offset of a parameter, from the arguments alone."""
        if isinstance(expr, Var) and expr not in self.env:
            self.refuse(f"nothing says what {expr.name} in the shape of {param.name} is")
        outer, self.machine.env = self.machine.env, self.env
        try:
            return self.machine.integer(expr)
        finally:
            self.machine.env = outer

    def check_overlap(self) -> None:
        """Under noalias, memory that the callee writes is given once."""
        written = written_buffers(self.func)
        for a, b in combinations(self.views.values(), 2):
            apart = a.offset + span(a.shape, a.strides) <= b.offset or b.offset + span(b.shape, b.strides) <= a.offset
            if a.storage is not b.storage or apart or not self.func.noalias:
                continue
            if a.buffer in written or b.buffer in written:
                self.refuse(f"{a.buffer.name} and {b.buffer.name} overlap in memory, and the function is noalias")


def _is_whole(arg: Expr) -> bool:
    return isinstance(arg, Call) and arg.op == "buffer_argument"


def _dense(view: View) -> bool:
    """Do the elements lie in row-major order without gaps?"""
    dense = row_major(view.shape)
    return 0 in view.shape or all(
        extent == 1 or stride == expected
        for extent, stride, expected in zip(view.shape, view.strides, dense, strict=True)
    )
