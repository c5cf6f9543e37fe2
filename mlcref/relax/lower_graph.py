"""Graph functions to linear programs of the virtual machine."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NoReturn

import numpy as np

from mlcref.errors import UnsupportedError
from mlcref.ir import graph
from mlcref.ir.base import Node
from mlcref.ir.expr import Expr, Var
from mlcref.ir.function import GlobalVar, IRModule
from mlcref.ir.visit import substitute
from mlcref.relax.plan_memory import in_place_calls, in_place_name
from mlcref.relax.rewriter import inputs_of
from mlcref.relax.wellformed import dimensions_of_call, resolve, wellformed_graph
from mlcref.runtime.vm_program import (
    Allocate,
    GetField,
    Instruction,
    Invoke,
    LoadConstant,
    MakeShape,
    MakeTuple,
    Program,
)


def lower_graph(module: IRModule) -> tuple[dict[str, Program], tuple[np.ndarray[Any, Any], ...]]:
    """The programs of the graph functions of ``module``, by name, and the constants that they share.

    Calls name kernels by the keys of ``module`` and registered functions by their names. What the memory plan of a
    function writes in place is a call of the program of that name (``plan_memory.programs_to_compile``). Raises
    ``WellformedError`` for a graph that breaks an invariant or does not fit its plan, ``UnsupportedError`` for an
    operator without lowering.
    """
    wellformed_graph(module)
    pool: dict[int, tuple[int, np.ndarray[Any, Any]]] = {}
    programs = {
        name: _Lowering(name, func, module, pool).program()
        for name, func in module.functions.items()
        if isinstance(func, graph.Function)
    }
    return programs, tuple(array for _, array in pool.values())


def _casts_of_params(func: graph.Function) -> dict[graph.Var, graph.MatchCast]:
    """The first ``match_cast`` of each parameter about which nothing but its type and rank is known."""
    found: dict[graph.Var, graph.MatchCast] = {}
    for binding in func.bindings():
        if isinstance(binding, graph.MatchCast) and isinstance(binding.value, graph.Var):
            info = binding.value.struct_info
            if binding.value in func.params and isinstance(info, graph.TensorStructInfo) and info.shape is None:
                found.setdefault(binding.value, binding)
    return found


class _Lowering:
    def __init__(
        self, name: str, func: graph.Function, module: IRModule, pool: dict[int, tuple[int, np.ndarray[Any, Any]]]
    ) -> None:
        self.name, self.func, self.module, self.pool = name, func, module, pool
        self.code: list[Instruction] = []
        self.registers: dict[graph.Var, int] = {param: i for i, param in enumerate(func.params)}
        self.count = len(func.params)
        self.dims: dict[Var, Expr] = {}
        self.casts = _casts_of_params(func)
        self.over = in_place_calls(module, func)

    def program(self) -> Program:
        for binding in self.func.bindings():
            self.check(binding)
            self.registers[binding.var] = self.bound(binding)
        result = self.value(self.func.body.body)
        params = tuple([self.cast(param) for param in self.func.params])
        return Program(self.name, params, tuple(self.code), self.count, result)

    def cast(self, param: graph.Var) -> graph.Var:
        """``param`` as its ``match_cast`` describes it: a call checks its arguments by that."""
        binding = self.casts.get(param)
        return param if binding is None else graph.Var(param.name_hint, binding.struct_info)

    def register(self) -> int:
        self.count += 1
        return self.count - 1

    def bound(self, binding: graph.Binding) -> int:
        """The register that holds what a variable is bound to."""
        if binding.var in self.over and isinstance(binding.value, graph.Call):
            return self.call_in_place(binding.value, self.over[binding.var])
        return self.value(binding.value)

    def value(self, value: Node) -> int:
        """The register that holds ``value`` from here on."""
        if isinstance(value, graph.Var):
            return self.registers[value]
        if isinstance(value, graph.Call):
            return self.call(value)
        if isinstance(value, graph.Constant):
            return self.emit(LoadConstant(self.register(), self.constant(value)))
        if isinstance(value, graph.ShapeExpr):
            return self.emit(MakeShape(self.register(), self.extents(value.values)))
        if isinstance(value, graph.Tuple):
            fields = tuple([self.value(field) for field in value.fields])
            return self.emit(MakeTuple(self.register(), fields))
        if isinstance(value, graph.TupleGetItem):
            source = self.value(value.tuple_value)
            return self.emit(GetField(self.register(), source, value.index))
        raise UnsupportedError(
            f"{self.name}: a {type(value).__name__} has no value at run time", rule="graph.lower", root=self.func
        )

    def check(self, binding: graph.Binding) -> None:
        if isinstance(binding, graph.MatchCast) and binding not in self.casts.values():
            self.refuse("match_cast of what is no parameter", binding, "give the value a known shape")

    def refuse(self, what: str, node: Node, hint: str) -> NoReturn:
        marks = [(node, "neither a tensor program nor a registered function")]
        message = f"{self.name}: {what} has no lowering"
        raise UnsupportedError(message, rule="graph.lower", root=self.func, marks=marks, hint=hint)

    def emit(self, instruction: Allocate | LoadConstant | MakeShape | MakeTuple | GetField) -> int:
        self.code.append(instruction)
        return instruction.to

    def constant(self, value: graph.Constant) -> int:
        index, _ = self.pool.setdefault(id(value.data), (len(self.pool), value.data))
        return index

    def inlined(self, callee: graph.Function, call: graph.Call) -> int:
        """The instructions of another graph function."""
        outer, own = self.dims, dimensions_of_call(callee, call)
        self.over |= in_place_calls(self.module, callee)
        self.registers.update({param: self.value(arg) for param, arg in zip(callee.params, call.args, strict=True)})
        self.dims = {var: substitute(size, outer) for var, size in own.items()}
        for binding in callee.bindings():
            self.check(binding)
            self.registers[binding.var] = self.bound(binding)
        result = self.value(callee.body.body)
        self.dims = outer
        return result

    def extents(self, values: Iterable[Expr]) -> tuple[Expr, ...]:
        """Extents in the dimensions of the function that is called from outside."""
        return tuple([substitute(value, self.dims) for value in values])

    def call(self, call: graph.Call) -> int:
        if isinstance(call.op, GlobalVar):
            return self.inlined(self.module[call.op], call)
        if call.op not in (graph.CALL_TIR, graph.CALL_DPS_PACKED):
            op = call.op.name if isinstance(call.op, graph.Op) else type(call.op).__name__
            self.refuse(f"a call of {op}", call, "relax.transform.LegalizeOps makes it a call of a tensor program")
        sources = [self.value(field) for field in inputs_of(call)]
        results = [self.allocate(info) for info in graph.destinations(call.sinfo_args[0])]
        name, packed = self.callee(call.args[0])
        self.code.append(Invoke(name, packed, (*sources, *results), self.scalars(call)))
        if isinstance(call.sinfo_args[0], graph.TupleStructInfo):
            return self.emit(MakeTuple(self.register(), tuple(results)))
        return results[0]

    def call_in_place(self, call: graph.Call, position: int) -> int:
        """A call whose result is written over input ``position``."""
        sources = [self.value(field) for field in inputs_of(call)]
        name, _ = self.callee(call.args[0])
        planned = in_place_name(self.module, name, position)
        self.code.append(Invoke(planned, False, tuple(sources), self.scalars(call)))
        return sources[position]

    def scalars(self, call: graph.Call) -> tuple[Expr, ...]:
        """The numbers that a call hands over behind its tensors."""
        return self.extents([size for shape in call.args[2:] if isinstance(shape, graph.ShapeExpr) for size in shape])

    def allocate(self, info: graph.StructInfo) -> int:
        if not isinstance(info, graph.TensorStructInfo) or info.shape is None:
            raise UnsupportedError(f"{self.name}: a result of unknown shape", rule="graph.lower", root=self.func)
        return self.emit(Allocate(self.register(), self.extents(info.shape.values), info.dtype))

    def callee(self, callee: Node) -> tuple[str, bool]:
        """The key of the tensor program in the module, or the name of a registered function and True."""
        program = resolve(self.module, callee)
        if program is not None:
            return next(key for key, func in self.module.functions.items() if func is program), False
        if isinstance(callee, graph.ExternFunc):
            return callee.global_symbol, True
        name = callee.name_hint if isinstance(callee, GlobalVar) else type(callee).__name__
        raise UnsupportedError(f"{self.name}: {name!r} is no tensor program", rule="graph.lower", root=self.func)
