"""The oracle for graph functions: every call runs by itself, tensor programs in the interpreter.

* R1 the arguments fix the symbolic dimensions; sizes that disagree are an error before anything runs;
* R2 a destination starts undefined; an element of it that the tensor program leaves undefined is an error;
* R3 calls are pure: one that changes an input is an error. Inputs are handed over as copies, so that one tensor may be
  passed twice;
* R4 a name that is neither a tensor program of the module nor registered means nothing;
* R5 an operator computes what its reference says, floats in float64 and rounded once; what the reference refuses (an
  index out of range, an integer divided by 0) means nothing;
* R6 what ``match_cast`` says of a value holds.

A registered function is trusted to fill its destinations. They start as NaN, integers as the smallest number.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NoReturn

import numpy as np

from mlcref import dtype as dt
from mlcref.errors import CallError, MlcrefError, OracleError, UnsupportedError
from mlcref.interp.numeric import Refusal
from mlcref.interp.run import interpret
from mlcref.ir import graph
from mlcref.ir.base import Node
from mlcref.ir.buffer import Buffer
from mlcref.ir.function import BaseFunc, GlobalVar, IRModule, PrimFunc, as_module
from mlcref.ir.graph_ops import Operator, operator_of
from mlcref.ir.registry import get_global_func
from mlcref.ir.shapes import Sizes, evaluate, match_arguments

Array = np.ndarray[Any, Any]


class HostTensor(Array):
    """What the oracle passes to registered functions: a numpy array with the methods of a runtime tensor."""

    @property
    def array(self) -> Array:
        """The same memory as a plain numpy array."""
        return self.view(np.ndarray)

    def numpy(self) -> Array:
        """A copy as a plain numpy array."""
        return self.array.copy()

    def copyfrom(self, source: Any) -> HostTensor:
        """Overwrite the content."""
        self[...] = np.asarray(source)
        return self


def interpret_graph(
    program: IRModule | BaseFunc,
    *args: Any,
    entry: str = "main",
    as_tensor: Callable[[Array], Any] = lambda array: array.view(HostTensor),
) -> Any:
    """What the graph function ``entry`` returns for ``args``: a numpy array, or a tuple of results.

    Tensors are numpy arrays or what ``np.asarray`` understands, shapes tuples of ints. ``as_tensor`` makes what
    registered functions receive of an array; it must share the memory. Raises ``CallError`` for arguments that do not
    fit, ``OracleError`` (rules ``graph.R2`` … ``graph.R4``) for a program that means nothing.

    >>> from mlcref.ir.graph import Function, SeqExpr, TensorStructInfo, Var
    >>> x = Var("x", TensorStructInfo((2,), "float32"))
    >>> interpret_graph(Function((x,), SeqExpr((), x), x.struct_info), np.float32([1, 2]))
    array([1., 2.], dtype=float32)
    """
    module = as_module(program)
    func = module[entry] if isinstance(program, IRModule) else program
    if not isinstance(func, graph.Function):
        raise MlcrefError(f"{entry} is no graph function", hint="run a tensor program with mlcref.interpret")
    values = [_argument(param.struct_info, arg) for param, arg in zip(func.params, args, strict=False)]
    sizes = match_arguments(func.name, func.params, [*values, *args[len(values) :]])
    return _Run(module, func, sizes, as_tensor).result(values)


class _Run:
    def __init__(
        self, module: IRModule, func: graph.Function, sizes: Sizes, as_tensor: Callable[[Array], Any]
    ) -> None:
        self.module, self.func, self.sizes, self.as_tensor = module, func, sizes, as_tensor
        self.values: dict[graph.Var, Any] = {}

    def fail(self, rule: str, what: str, node: Node, hint: str | None = None) -> NoReturn:
        marks = [(node, what)]
        raise OracleError(f"{self.func.name}: {what}", rule=f"graph.{rule}", root=self.func, marks=marks, hint=hint)

    def result(self, arguments: list[Any]) -> Any:
        self.values.update(zip(self.func.params, arguments, strict=True))
        for binding in self.func.bindings():
            value = self.evaluate(binding.value, binding)
            if isinstance(binding, graph.MatchCast):
                self.cast(binding, value)
            self.values[binding.var] = value
        return self.evaluate(self.func.body.body, self.func)

    def evaluate(self, value: Node, at: Node) -> Any:
        if isinstance(value, graph.Var):
            return self.values[value]
        if isinstance(value, graph.Constant):
            return value.data.copy()
        if isinstance(value, graph.ShapeExpr):
            return tuple(evaluate(extent, self.sizes) for extent in value.values)
        if isinstance(value, graph.Tuple):
            return tuple(self.evaluate(item, at) for item in value.fields)
        if isinstance(value, graph.TupleGetItem):
            return self.evaluate(value.tuple_value, at)[value.index]
        if isinstance(value, graph.Call) and value.op in (graph.CALL_TIR, graph.CALL_DPS_PACKED):
            return self.call(value, at)
        if isinstance(value, graph.Call) and isinstance(value.op, GlobalVar):
            return self.call_function(value, value.op, at)
        operator = operator_of(value) if isinstance(value, graph.Call) else None
        if operator is not None and isinstance(value, graph.Call):
            return self.operate(operator, value, at)
        op = value.op if isinstance(value, graph.Call) else value
        what = op.name if isinstance(op, graph.Op) else type(op).__name__
        raise UnsupportedError(f"{self.func.name}: {what} has no meaning here", root=self.func, marks=[(at, what)])

    def cast(self, binding: graph.MatchCast, value: Any) -> None:
        """Check what a ``match_cast`` says of ``value``, and learn the dimensions that it binds."""
        probe = graph.Var(binding.var.name_hint, binding.struct_info)
        try:
            found = match_arguments(self.func.name, (probe,), (value,), self.sizes)
        except CallError as error:
            self.fail("R6", f"match_cast does not hold: {error.what}", binding)
        self.sizes.update(found)

    def call_function(self, call: graph.Call, name: GlobalVar, at: Node) -> Any:
        """A call of a graph function of the module."""
        callee = self.module.functions.get(name.name_hint)
        if not isinstance(callee, graph.Function):
            self.fail("R4", f"{name.name_hint!r} is no graph function of the module", at)
        values = [self.evaluate(arg, at) for arg in call.args]
        sizes = match_arguments(callee.name, callee.params, values)
        return _Run(self.module, callee, sizes, self.as_tensor).result(values)

    def operate(self, operator: Operator, call: graph.Call, at: Node) -> Any:
        """What the reference of an operator computes, in the type that the operator announces."""
        try:
            result = operator.compute([self.evaluate(arg, at) for arg in call.args], call.attrs)
        except Refusal as refusal:
            self.fail("R5", f"{operator.name}: {refusal}", at, refusal.hint)
        info = call.struct_info
        if isinstance(info, graph.TupleStructInfo):
            pairs = zip(result, info.fields, strict=True)
            return tuple(self.announced(value, field, operator, at) for value, field in pairs)
        return self.announced(result, info, operator, at)

    def announced(self, value: Any, info: graph.StructInfo, operator: Operator, at: Node) -> Array:
        assert isinstance(info, graph.TensorStructInfo) and info.shape is not None
        with np.errstate(over="ignore"):
            array = np.asarray(value).astype(dt.numpy_dtype(info.dtype))
        shape = tuple(evaluate(extent, self.sizes) for extent in info.shape)
        if array.shape != shape:
            self.fail("R5", f"{operator.name} gives {array.shape} where {shape} is announced", at)
        return array

    def call(self, call: graph.Call, at: Node) -> Any:
        given = self.evaluate(call.args[1], at)
        inputs = given if isinstance(given, tuple) else (given,)
        infos = graph.destinations(call.sinfo_args[0])
        results = [self.destination(info) for info in infos]
        scalars = [size for shape in call.args[2:] for size in self.evaluate(shape, at)]
        copies = [item.copy() if isinstance(item, np.ndarray) else item for item in inputs]
        name, callee = self.callee(call.args[0], at)
        if isinstance(callee, PrimFunc):
            self.interpret(callee, copies, results, scalars, at)
        else:
            callee(*[self.tensor(item) for item in (*copies, *results)], *scalars)
        for i, (item, copy) in enumerate(zip(inputs, copies, strict=True)):
            if isinstance(item, np.ndarray) and item.tobytes() != copy.tobytes():
                hint = "calls of a graph are pure: write to the destination"
                self.fail("R3", f"{name} changes its input {i}", at, hint)
        return tuple(results) if isinstance(call.sinfo_args[0], graph.TupleStructInfo) else results[0]

    def tensor(self, value: Any) -> Any:
        return self.as_tensor(value) if isinstance(value, np.ndarray) else value

    def callee(self, callee: Node, at: Node) -> tuple[str, PrimFunc | Callable[..., object]]:
        name = callee.name_hint if isinstance(callee, GlobalVar) else callee.global_symbol  # type: ignore[attr-defined]
        for program in _candidates(self.module, name):
            return name, program
        registered = None if isinstance(callee, GlobalVar) else get_global_func(name, allow_missing=True)
        if registered is None:
            hint = f'define it, or register it: @mlcref.register_global_func("{name}")'
            self.fail("R4", f"{name!r} is neither a tensor program of the module nor registered", at, hint)
        return name, registered

    def destination(self, info: graph.StructInfo) -> Array:
        """A new array that shows where nothing was written."""
        assert isinstance(info, graph.TensorStructInfo)
        shape = [evaluate(extent, self.sizes) for extent in info.shape or ()]
        undefined = np.nan if dt.is_float(info.dtype) else dt.integer_range(info.dtype)[0]
        return np.full(shape, undefined, dt.numpy_dtype(info.dtype))

    def interpret(
        self, program: PrimFunc, inputs: list[Any], results: list[Array], scalars: list[int], at: Node
    ) -> None:
        read = {param.name for param in program.params[: len(inputs)]}
        written = program.params[len(inputs) : len(inputs) + len(results)]
        poison = tuple(param.name for param in written if isinstance(param, Buffer) and param.name not in read)
        try:
            interpret(program, *inputs, *results, *scalars, poison=poison)
        except MlcrefError as error:
            bound = f"{at.var.name_hint} = " if isinstance(at, graph.VarBinding) else ""
            error.add_note(f"while running {bound}{program.name}(...) of the graph function {self.func.name}")
            raise


def _candidates(module: IRModule, name: str) -> Iterator[PrimFunc]:
    programs = module.prim_funcs()
    if name in programs:
        yield programs[name]
    for program in programs.values():
        if program.attrs.get("global_symbol") == name:
            yield program


def _argument(info: graph.StructInfo, value: Any) -> Any:
    """A tensor argument as a numpy array of its own; anything else as it is."""
    if isinstance(info, graph.TupleStructInfo) and isinstance(value, tuple | list) and len(value) == len(info.fields):
        return tuple(_argument(field, item) for field, item in zip(info.fields, value, strict=True))
    if not isinstance(info, graph.TensorStructInfo) or not hasattr(value, "shape"):
        return value
    return np.array(value, order="C", subok=False)
