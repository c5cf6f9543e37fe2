"""``BlockBuilder``: graph functions and modules written step by step in Python."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NoReturn

from mlcref.arith import same_info
from mlcref.errors import MlcrefError, TypeMismatch
from mlcref.ir import BaseFunc, GlobalVar, IRModule, PrimFunc, graph, structural_equal
from mlcref.ir.graph_calls import call_result
from mlcref.relax.call_te import tensor_program

_PUBLIC = "global_symbol"


class Scope:
    """A function under construction: its closed blocks, and the bindings of the block that is open."""

    def __init__(self, names: Iterable[str] = ()) -> None:
        self.blocks: list[graph.BindingBlock] = []
        self.pending: list[graph.Binding] = []
        self.dataflow = False
        self.names = set(names)

    def unique(self, hint: str) -> str:
        """``hint``, or the first of hint1, hint2, … that is free."""
        found = next(name for name in _numbered(hint) if name not in self.names)
        self.names.add(found)
        return found

    def close(self) -> None:
        """End the open block. Blocks without bindings vanish, plain ones merge with a plain one before."""
        kind = graph.DataflowBlock if self.dataflow else graph.BindingBlock
        if self.pending and self.blocks and kind is type(self.blocks[-1]) is graph.BindingBlock:
            self.blocks[-1] = kind((*self.blocks[-1].bindings, *self.pending))
        elif self.pending:
            self.blocks.append(kind(tuple(self.pending)))
        self.pending = []
        self.dataflow = False


def _numbered(hint: str) -> Iterator[str]:
    yield hint
    number = 1
    while True:
        yield f"{hint}{number}"
        number += 1


class BlockBuilder:
    """Builds graph functions and the tensor programs that they call.

    Calls may be nested: each is bound to a variable of its own. Raises ``MlcrefError`` (rule ``graph.builder``) where a
    step is taken out of place, ``TypeMismatch`` for operands that do not fit. Source: ``relax.BlockBuilder``.

    >>> from mlcref import relax
    >>> bb = BlockBuilder()
    >>> x = relax.Var("x", relax.TensorStructInfo((1, 784), "float32"))
    >>> with bb.function("main", [x]):
    ...     with bb.dataflow():
    ...         lv = bb.emit(relax.op.nn.relu(x))
    ...         gv = bb.emit_output(relax.op.add(lv, lv))
    ...     bb.emit_func_output(gv)
    >>> [binding.var.name_hint for binding in bb.get()["main"].bindings()]
    ['lv', 'gv']
    """

    def __init__(self, mod: IRModule | None = None) -> None:
        self._module = IRModule() if mod is None else mod.clone()
        self._scopes: list[Scope] = []
        self._values: dict[graph.Var, graph.GraphExpr] = {}
        self._result: tuple[graph.GraphExpr, Sequence[graph.Var] | None] | None = None

    # Functions

    @contextmanager
    def function(
        self, name: str, params: graph.Var | Sequence[graph.Var] | None = None, attrs: Mapping[str, Any] | None = None,
        private: bool = False,
    ) -> Iterator[None]:  # fmt: skip
        """Inside, the function ``name`` is written; ``emit_func_output`` ends it. ``private`` gives it no symbol."""
        if self._scopes:
            _refuse("functions do not nest", "end the function with emit_func_output first")
        given = [params] if isinstance(params, graph.Var) else params
        self._result = None
        with self.scope([param.name_hint for param in given or ()]) as scope:
            yield
            func = self._function(name, given, scope)
        own = {} if private else {_PUBLIC: name}
        self._module.update_func(name, func.with_attr({**own, **(attrs or {})}))

    def _function(self, name: str, params: Sequence[graph.Var] | None, scope: Scope) -> graph.Function:
        if self._result is None:
            _refuse(f"{name} has no result", "call emit_func_output at the end of the function")
        output, late = self._result
        self._result = None
        if (params is None) == (late is None):
            _refuse(f"the parameters of {name} are given once", "to function(...) or to emit_func_output(...)")
        return graph.Function(params or late or (), graph.SeqExpr(tuple(scope.blocks), output))

    @contextmanager
    def scope(self, names: Iterable[str] = ()) -> Iterator[Scope]:
        """Inside, bindings are collected in the blocks of a new scope; ``names`` are taken."""
        self._scopes.append(Scope(names))
        try:
            yield self._scopes[-1]
        finally:
            self._scopes.pop()

    @property
    def _scope(self) -> Scope:
        if not self._scopes:
            _refuse("nothing can be bound outside a function", 'write: with bb.function("main", [x]):')
        return self._scopes[-1]

    @contextmanager
    def dataflow(self) -> Iterator[None]:
        """Inside, a dataflow block is written; what ``emit_output`` binds is seen after it."""
        scope = self._scope
        if scope.dataflow:
            _refuse("dataflow blocks do not nest", "end the block first")
        scope.close()
        scope.dataflow = True
        yield
        scope.close()

    def emit_func_output(
        self, output: graph.GraphExpr | Sequence[Any], params: graph.Var | Sequence[graph.Var] | None = None
    ) -> None:
        """End the function: its result is ``output``, a sequence stands for a tuple.

        A variable of a dataflow block stands for the output of the block that it was bound to by ``emit_output``.
        """
        scope = self._scope
        if scope.dataflow:
            _refuse("a function does not end inside a dataflow block", "call emit_func_output behind the block")
        if self._result is not None:
            _refuse("the function has a result already", "call emit_func_output once")
        result = self._seen_outside(self._operand(_value(output)), scope)
        scope.close()
        self._result = (result, [params] if isinstance(params, graph.Var) else params)

    def _seen_outside(self, value: graph.GraphExpr, scope: Scope) -> graph.GraphExpr:
        """``value`` with outputs of dataflow blocks in place of the variables that they stand for."""
        if isinstance(value, graph.Tuple):
            return graph.Tuple([self._seen_outside(field, scope) for field in value.fields])
        if not isinstance(value, graph.DataflowVar):
            return value
        bindings = (binding for block in scope.blocks for binding in block.bindings if binding.value is value)
        found = next((binding.var for binding in bindings if not isinstance(binding.var, graph.DataflowVar)), None)
        if found is None:
            _refuse(f"{value.name_hint} is not seen outside its dataflow block", "bind it by emit_output")
        return found

    # Bindings

    def emit(self, expr: graph.GraphExpr | Sequence[Any], name_hint: str = "") -> graph.Var:
        """Bind ``expr`` to a new variable."""
        scope = self._scope
        kind = graph.DataflowVar if scope.dataflow else graph.Var
        return self._bind(kind, self.normalize(_value(expr)), name_hint or ("lv" if scope.dataflow else "gv"))

    def emit_output(self, expr: graph.GraphExpr | Sequence[Any], name_hint: str = "") -> graph.Var:
        """Bind ``expr`` to a new variable that is seen behind the dataflow block."""
        if not self._scope.dataflow:
            _refuse("only a dataflow block has outputs", "call emit")
        return self._bind(graph.Var, self.normalize(_value(expr)), name_hint or "gv")

    def match_cast(self, value: graph.GraphExpr, struct_info: graph.StructInfo, name_hint: str = "") -> graph.Var:
        """Bind ``value`` to a variable of ``struct_info``, which is checked when the program runs."""
        scope = self._scope
        kind = graph.DataflowVar if scope.dataflow else graph.Var
        operand = self._operand(_value(value))
        var = kind(scope.unique(name_hint or ("lv" if scope.dataflow else "gv")), struct_info)
        self.emit_normalized(graph.MatchCast(var, operand, struct_info))
        return var

    def emit_te(
        self, func: Callable[..., Any], *args: Any, primfunc_name_hint: str | None = None, **options: Any
    ) -> graph.Var:
        """Bind the result of the te function ``func``, as a call of a new tensor program: see ``call_te``."""
        return self.emit(self.call_te(func, *args, primfunc_name_hint=primfunc_name_hint, **options))

    def _bind(self, kind: type[graph.Var], value: graph.GraphExpr, hint: str) -> graph.Var:
        var = kind(self._scope.unique(hint), value.struct_info)
        self.emit_normalized(graph.VarBinding(var, value))
        return var

    def emit_normalized(self, binding: graph.Binding) -> None:
        """Add a binding whose value is in normal form, with its own variable."""
        self._scope.names.add(binding.var.name_hint)
        self._scope.pending.append(binding)
        self._values[binding.var] = binding.value

    @property
    def bindings(self) -> Mapping[graph.Var, graph.GraphExpr]:
        """The values of the variables that were bound so far."""
        return self._values

    def lookup_binding(self, var: graph.GraphExpr) -> graph.GraphExpr | None:
        """What ``var`` is bound to; None for a parameter and for what is no variable."""
        return self._values.get(var) if isinstance(var, graph.Var) else None

    def normalize(self, expr: graph.GraphExpr) -> graph.GraphExpr:
        """``expr`` with calls among its operands bound to variables, and with what a call of a function returns."""
        if isinstance(expr, graph.Call):
            args = [arg if isinstance(arg, GlobalVar) else self._operand(arg) for arg in expr.args]
            changed = any(new is not old for new, old in zip(args, expr.args, strict=True))
            return self._announced(graph.Call(expr.op, args, expr.attrs, expr.sinfo_args) if changed else expr)
        if isinstance(expr, graph.TupleGetItem):
            operand = self._operand(expr.tuple_value)
            return expr if operand is expr.tuple_value else graph.TupleGetItem(operand, expr.index)
        return self._operand(expr)

    def _announced(self, call: graph.Call) -> graph.Call:
        """``call`` with what the function of the module returns for its arguments."""
        if not isinstance(call.op, GlobalVar):
            return call
        callee = self._module.functions.get(call.op.name_hint)
        if not isinstance(callee, graph.Function):
            return call
        result = call_result(callee, [arg.struct_info for arg in call.args if isinstance(arg, graph.GraphExpr)])
        known = bool(call.sinfo_args) and same_info(call.struct_info, result)
        return call if known else graph.Call(call.op, call.args, call.attrs, (result,))

    def _operand(self, expr: graph.GraphExpr) -> graph.GraphExpr:
        if isinstance(expr, graph.Tuple):
            fields = [self._operand(field) for field in expr.fields]
            same = all(new is old for new, old in zip(fields, expr.fields, strict=True))
            return expr if same else graph.Tuple(fields)
        return self.emit(expr) if isinstance(expr, graph.Call | graph.TupleGetItem) else expr

    # Tensor programs and the module

    def call_te(
        self, func: Callable[..., Any], *args: Any, primfunc_name_hint: str | None = None, **options: Any
    ) -> graph.Call:
        """A call of a new tensor program that computes ``func(*args, **options)``.

        ``func`` gets te tensors for tensors of the graph, lists of them for tuples, extents for shapes. The program is
        called ``primfunc_name_hint`` or as the function; one that is there already is used again. Source:
        ``relax.BlockBuilder.call_te``.
        """
        atoms = {name: self._atom(option) for name, option in options.items()}
        program = tensor_program(func, tuple(self._atom(arg) for arg in args), atoms)
        hint = primfunc_name_hint or str(getattr(func, "__name__", "compute"))
        name = self.add_func(program.func, "compute" if "<" in hint else re.sub(r"\W", "", hint))
        dims = graph.ShapeExpr(program.dims) if program.dims else None
        return graph.call_tir(name, program.inputs, program.result, dims)

    def _atom(self, arg: Any) -> Any:
        """``arg`` with calls bound to variables, and the fields of a tuple variable one by one."""
        if isinstance(arg, tuple | list):
            return type(arg)([self._atom(item) for item in arg])
        if not isinstance(arg, graph.GraphExpr):
            return arg
        operand = self._operand(arg)
        info = operand.struct_info
        if isinstance(operand, graph.Var) and isinstance(info, graph.TupleStructInfo):
            return graph.Tuple([self.emit(graph.TupleGetItem(operand, index)) for index in range(len(info.fields))])
        return operand

    def add_func(self, func: BaseFunc, func_name: str) -> GlobalVar:
        """Add ``func`` to the module under ``func_name``, made unique; a tensor program that is there is used again."""
        for name in _numbered(func_name):
            known = self._module.functions.get(name)
            if known is None:
                self._module.update_func(name, func)
                return GlobalVar(name)
            if isinstance(func, PrimFunc) and structural_equal(known, func):
                return GlobalVar(name)
        raise AssertionError("names do not end")

    def update_func(self, gv: GlobalVar | str, func: BaseFunc) -> None:
        """Put ``func`` in the module under the name ``gv``."""
        self._module.update_func(gv, func)

    def get(self) -> IRModule:
        """The module as it is now."""
        return self._module.clone()

    def finalize(self) -> IRModule:
        """The module, when everything is written."""
        if self._scopes:
            _refuse("a function is still being written", "finalize the module behind it")
        return self.get()


def _value(item: Any) -> graph.GraphExpr:
    if isinstance(item, tuple | list):
        return graph.Tuple([_value(field) for field in item])
    if not isinstance(item, graph.GraphExpr):
        raise TypeMismatch(f"a value of a graph is a tensor, a tuple or a shape, not {type(item).__name__}")
    return item


def _refuse(what: str, hint: str) -> NoReturn:
    raise MlcrefError(what, rule="graph.builder", hint=hint)
