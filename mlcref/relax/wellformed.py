"""Invariants of graph functions, and of the calls that they make into the tensor programs of their module."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NoReturn

from mlcref import dtype as dt
from mlcref.arith import same_info
from mlcref.errors import TypeMismatch, WellformedError
from mlcref.ir import graph
from mlcref.ir.base import Node
from mlcref.ir.buffer import Buffer
from mlcref.ir.expr import Const, Expr, Var
from mlcref.ir.function import BaseFunc, GlobalVar, IRModule, PrimFunc, as_module
from mlcref.ir.visit import map_children, substitute, variables, walk


def wellformed_graph(program: IRModule | BaseFunc) -> None:
    """Raise ``WellformedError`` unless every graph function of ``program`` keeps these invariants.

    * G1 a variable is bound once and used after its binding; a dataflow variable is used in its block only;
    * G2 every symbolic dimension is the whole extent of a dimension of some parameter, or of a ``match_cast`` before;
    * G3 every call is bound to a variable, its operands are variables, constants, shapes and tuples of those; no block
      is empty, and plain blocks do not follow each other;
    * G4 a called tensor program exists, and its parameters fit the inputs, then the results, then the scalars;
      a called graph function exists, takes such arguments, returns what the call says, and does not call its caller;
    * G5 what a variable says about its value, and the function about its result, is what the value is.

    >>> from mlcref.ir.graph import Function, SeqExpr, TensorStructInfo, Var
    >>> x = Var("x", TensorStructInfo((2, 3), "float32"))
    >>> wellformed_graph(Function((x,), SeqExpr((), x), x.struct_info))
    """
    module = as_module(program)
    for func in module.functions.values():
        if isinstance(func, graph.Function):
            _Checker(func, module).check()


def resolve(module: IRModule, callee: Node) -> PrimFunc | None:
    """The tensor program of ``module`` that ``callee`` names, by key or global symbol; None for another function."""
    if isinstance(callee, GlobalVar):
        found = module.functions.get(callee.name_hint)
        return found if isinstance(found, PrimFunc) else None
    if not isinstance(callee, graph.ExternFunc):
        return None
    programs = module.prim_funcs()
    if callee.global_symbol in programs:
        return programs[callee.global_symbol]
    return next((f for f in programs.values() if f.attrs.get("global_symbol") == callee.global_symbol), None)


class _Checker:
    def __init__(self, func: graph.Function, module: IRModule) -> None:
        self.func, self.module = func, module
        self.bound: set[graph.Var] = set()
        self.scope: set[graph.Var] = set()
        self.dims = set(func.shape_vars())

    def fail(self, rule: str, what: str, node: Node, hint: str | None = None) -> NoReturn:
        message = f"{self.func.name}: {what}"
        raise WellformedError(message, rule=f"graph.{rule}", root=self.func, marks=[(node, what)], hint=hint)

    def check(self) -> None:
        for param in self.func.params:
            self.bind(param, self.func)
        previous: graph.BindingBlock | None = None
        for block in self.func.body.blocks:
            if not block.bindings or (type(block) is graph.BindingBlock and type(previous) is graph.BindingBlock):
                self.fail("G3", "a block of bindings is empty, or two plain ones follow each other", block)
            previous = block
            for binding in block.bindings:
                self.binding(binding)
            self.scope = {var for var in self.scope if not isinstance(var, graph.DataflowVar)}
        self.operand(self.func.body.body, self.func.body.body)
        self.dimensions(self.func.ret_struct_info, self.func)
        if not same_info(self.func.ret_struct_info, self.func.body.struct_info):
            self.fail("G5", "the result is not what the function says it returns", self.func.body.body)

    def bind(self, var: graph.Var, at: Node) -> None:
        if var in self.bound:
            self.fail("G1", f"variable {var.name_hint} is bound twice", at)
        self.dimensions(var.struct_info, at)
        self.bound.add(var)
        self.scope.add(var)

    def binding(self, binding: graph.Binding) -> None:
        value = binding.value
        if isinstance(value, graph.Call):
            self.call(value, binding)
        elif isinstance(value, graph.TupleGetItem):
            self.operand(value.tuple_value, binding)
        else:
            self.operand(value, binding)
        announced = binding.struct_info if isinstance(binding, graph.MatchCast) else self.inferred(binding)
        if not same_info(binding.var.struct_info, announced):
            self.fail("G5", f"the value of {binding.var.name_hint} is not what the variable says", binding)
        if isinstance(binding, graph.MatchCast):
            self.dims.update(binding.new_dims(self.dims))
        self.bind(binding.var, binding)

    def inferred(self, binding: graph.VarBinding) -> graph.StructInfo:
        try:
            return binding.value.struct_info
        except TypeMismatch as error:
            self.fail("G5", error.what, binding, error.hint)

    def operand(self, value: Node, at: Node) -> None:
        if isinstance(value, graph.Var):
            if value not in self.scope:
                hint = "list it in R.output" if isinstance(value, graph.DataflowVar) and value in self.bound else None
                self.fail("G1", f"variable {value.name_hint} is used where it is not bound", at, hint)
        elif isinstance(value, graph.Tuple):
            for item in value.fields:
                self.operand(item, at)
        elif isinstance(value, graph.ShapeExpr):
            self.dimensions(value, at)
        elif not isinstance(value, graph.Constant | graph.ExternFunc | GlobalVar):
            self.fail("G3", f"a {type(value).__name__} stands where a variable or constant should", at)

    def dimensions(self, node: Node, at: Node) -> None:
        for name in sorted(var.name for var in _dimensions(node) - self.dims):
            hint = f'add a parameter with the extent "{name}"'
            self.fail("G2", f"no parameter says what the dimension {name} is", at, hint)

    def call(self, call: graph.Call, at: graph.Binding) -> None:
        for arg in call.args:
            self.operand(arg, at)
        for info in call.sinfo_args:
            self.dimensions(info, at)
        if isinstance(call.op, GlobalVar):
            self.graph_call(call.op, call, at)
        if call.op not in (graph.CALL_TIR, graph.CALL_DPS_PACKED):
            return
        callee = resolve(self.module, call.args[0])
        if callee is not None:
            self.signature(callee, call, at)
        elif isinstance(call.args[0], GlobalVar):
            name = call.args[0].name_hint
            known = ", ".join(self.module.prim_funcs()) or "none"
            self.fail("G4", f"the module has no tensor program {name!r}", at, f"its tensor programs: {known}")

    def graph_call(self, name: GlobalVar, call: graph.Call, at: graph.Binding) -> None:
        callee = self.module.functions.get(name.name_hint)
        if not isinstance(callee, graph.Function):
            self.fail("G4", f"the module has no graph function {name.name_hint!r}", at)
        if _reaches(self.module, callee, self.func):
            self.fail("G4", f"{name.name_hint} calls {self.func.name}, which calls it", at)
        if len(call.args) != len(callee.params):
            count = len(callee.params)
            self.fail("G4", f"{name.name_hint} takes {count} arguments, got {len(call.args)}", at)
        returned = returned_by(callee, call)
        for param, arg in zip(callee.params, call.args, strict=True):
            wanted = in_terms_of_caller(param.struct_info, callee, call)
            if isinstance(arg, GlobalVar) or not same_info(wanted, arg.struct_info):
                self.fail("G4", f"{name.name_hint} does not take this as {param.name_hint}", at)
        if not same_info(returned, call.struct_info):
            self.fail("G5", f"{name.name_hint} does not return what the call says", at)

    def signature(self, callee: PrimFunc, call: graph.Call, at: graph.Binding) -> None:
        given = list(_passed(call))
        name = callee.name
        if len(given) != len(callee.params):
            count = len(callee.params)
            self.fail("G4", f"{name} takes {count} arguments, inputs and results together, got {len(given)}", at)
        extents: dict[Var, Expr] = {}
        for param, value in zip(callee.params, given, strict=True):
            if isinstance(param, Buffer) and isinstance(value, graph.StructInfo):
                if isinstance(value, graph.TensorStructInfo):
                    self.buffer(name, param, value, extents, at)
            elif isinstance(param, Buffer) or isinstance(value, graph.StructInfo):
                wanted = "a tensor" if isinstance(param, Buffer) else "a number"
                self.fail("G4", f"{name} takes {wanted} as {param.name}", at)

    def buffer(
        self, name: str, param: Buffer, info: graph.TensorStructInfo, extents: dict[Var, Expr], at: graph.Binding
    ) -> None:
        if info.dtype != dt.canonical(param.type):
            self.fail("G4", f"{name} takes {param.name} of {param.type}, got {info.dtype}", at)
        if info.ndim not in (-1, param.ndim):
            self.fail("G4", f"{name} takes {param.name} of {param.ndim} dimensions, got {info.ndim}", at)
        for axis, (expected, got) in enumerate(zip(param.shape, info.shape or (), strict=False)):
            known = extents.setdefault(expected, got) if isinstance(expected, Var) else expected
            if isinstance(known, Const) and isinstance(got, Const) and known.value != got.value:
                what = f"{name} takes {param.name}.shape[{axis}] = {known.value}, got {got.value}"
                self.fail("G4", what, at)


def in_terms_of_caller(info: graph.StructInfo, callee: graph.Function, call: graph.Call) -> graph.StructInfo:
    """``info``, found in ``callee``, with the extents that the arguments of ``call`` give its dimensions."""
    return map_extents(info, dimensions_of_call(callee, call))


def dimensions_of_call(callee: graph.Function, call: graph.Call) -> dict[Var, Expr]:
    """What the symbolic dimensions of ``callee`` are for its caller."""
    found: dict[Var, Expr] = {}
    for param, arg in zip(callee.params, call.args, strict=True):
        if isinstance(arg, GlobalVar):
            continue
        given = list(graph.extents_of(arg.struct_info))
        for extent, size in zip(graph.extents_of(param.struct_info), given, strict=False):
            if isinstance(extent, Var):
                found.setdefault(extent, size)
    return found


def map_extents(info: graph.StructInfo, dims: Mapping[Var, Expr]) -> graph.StructInfo:
    """``info`` with dimensions replaced."""

    def replaced(node: Any) -> Any:
        return substitute(node, dims) if isinstance(node, Expr) else map_children(replaced, node)

    new: graph.StructInfo = replaced(info)
    return new


def returned_by(callee: graph.Function, call: graph.Call) -> graph.StructInfo:
    """What ``call`` of ``callee`` returns, in the dimensions of the caller."""
    return in_terms_of_caller(callee.ret_struct_info, callee, call)


def _reaches(module: IRModule, start: graph.Function, goal: graph.Function) -> bool:
    """Does ``start`` call ``goal``, or is it that?"""
    seen: list[BaseFunc] = [start]
    for func in seen:
        names = [node.op.name_hint for node in walk(func)
                 if isinstance(node, graph.Call) and isinstance(node.op, GlobalVar)]  # fmt: skip
        called = [module.functions[name] for name in names if name in module.functions]
        seen += [other for other in called if other not in seen]
    return goal in seen


def _dimensions(node: Node) -> set[Var]:
    if isinstance(node, graph.StructInfo):
        return set().union(*(variables(extent) for extent in graph.extents_of(node)))
    return {item for item in walk(node) if isinstance(item, Var)}


def _passed(call: graph.Call) -> Iterator[Any]:
    """What a destination-passing call hands over: struct infos of inputs and results, then the scalars."""
    inputs = call.args[1]
    fields: Iterable[Any] = inputs.fields if isinstance(inputs, graph.Tuple) else (inputs,)
    for field in fields:
        yield field.struct_info
    for result in call.sinfo_args:
        yield from graph.destinations(result)
    for shape in call.args[2:]:
        if isinstance(shape, graph.ShapeExpr):
            yield from shape.values
