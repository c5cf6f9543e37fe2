"""Traversals of graphs written as classes: ``PyExprVisitor`` looks, ``PyExprMutator`` rebuilds. Names are TVM's."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from mlcref.arith import same_info
from mlcref.errors import TypeMismatch, UnsupportedError
from mlcref.ir import GlobalVar, IRModule, graph
from mlcref.ir.base import Node
from mlcref.ir.visit import map_children
from mlcref.relax.block_builder import BlockBuilder

C = TypeVar("C", bound=type)

_METHODS: dict[type, str] = {
    graph.Constant: "visit_constant_", graph.Tuple: "visit_tuple_", graph.Var: "visit_var_",
    graph.DataflowVar: "visit_dataflow_var_", graph.ShapeExpr: "visit_shape_expr_",
    graph.ExternFunc: "visit_extern_func_", GlobalVar: "visit_global_var_", graph.Function: "visit_function_",
    graph.Call: "visit_call_", graph.SeqExpr: "visit_seq_expr_", graph.Op: "visit_op_",
    graph.TupleGetItem: "visit_tuple_getitem_",
}  # fmt: skip


def _method(visitor: object, expr: Node) -> Callable[[Any], Any]:
    name = _METHODS.get(type(expr))
    if name is None:
        raise UnsupportedError(f"a {type(expr).__name__} is no expression of a graph")
    found: Callable[[Any], Any] = getattr(visitor, name)
    return found


class PyExprVisitor:
    """Visits every expression and binding of a function in order; override ``visit_call_`` and the like.

    Source: ``relax.PyExprVisitor``.

    >>> from mlcref import relax
    >>> class Calls(PyExprVisitor):
    ...     def visit_call_(self, call):
    ...         print(call.op.name)
    >>> x = relax.Var("x", relax.TensorStructInfo((2,), "float32"))
    >>> Calls().visit_expr(relax.op.exp(x))
    relax.exp
    """

    def visit_expr(self, expr: Node) -> None:
        """Visit an expression or a function."""
        _method(self, expr)(expr)

    def visit_constant_(self, op: graph.Constant) -> None:
        """Visit a constant."""

    def visit_var_(self, op: graph.Var) -> None:
        """Visit the use of a variable."""

    def visit_dataflow_var_(self, op: graph.DataflowVar) -> None:
        """Visit the use of a variable of a dataflow block."""
        self.visit_var_(op)

    def visit_shape_expr_(self, op: graph.ShapeExpr) -> None:
        """Visit a shape."""

    def visit_extern_func_(self, op: graph.ExternFunc) -> None:
        """Visit a function by name."""

    def visit_global_var_(self, op: GlobalVar) -> None:
        """Visit a function of the module."""

    def visit_op_(self, op: graph.Op) -> None:
        """Visit an operator."""

    def visit_tuple_(self, op: graph.Tuple) -> None:
        """Visit a tuple: its fields."""
        for field in op.fields:
            self.visit_expr(field)

    def visit_tuple_getitem_(self, op: graph.TupleGetItem) -> None:
        """Visit a field of a tuple: the tuple."""
        self.visit_expr(op.tuple_value)

    def visit_call_(self, op: graph.Call) -> None:
        """Visit a call: what is called, then the arguments."""
        self.visit_expr(op.op)
        for arg in op.args:
            self.visit_expr(arg)

    def visit_seq_expr_(self, op: graph.SeqExpr) -> None:
        """Visit blocks of bindings, then the result."""
        for block in op.blocks:
            self.visit_binding_block(block)
        self.visit_expr(op.body)

    def visit_function_(self, op: graph.Function) -> None:
        """Visit a function: parameters, then the body."""
        for param in op.params:
            self.visit_var_def(param)
        self.visit_expr(op.body)

    def visit_binding_block(self, block: graph.BindingBlock) -> None:
        """Visit a block of bindings of either kind."""
        if isinstance(block, graph.DataflowBlock):
            self.visit_dataflow_block_(block)
        else:
            self.visit_binding_block_(block)

    def visit_binding_block_(self, block: graph.BindingBlock) -> None:
        """Visit a plain block."""
        for binding in block.bindings:
            self.visit_binding(binding)

    def visit_dataflow_block_(self, block: graph.DataflowBlock) -> None:
        """Visit a dataflow block."""
        for binding in block.bindings:
            self.visit_binding(binding)

    def visit_binding(self, binding: graph.Binding) -> None:
        """Visit a binding of either kind."""
        if isinstance(binding, graph.MatchCast):
            self.visit_match_cast_(binding)
        else:
            self.visit_var_binding_(binding)

    def visit_var_binding_(self, binding: graph.VarBinding) -> None:
        """Visit a binding: the value, then the variable."""
        self.visit_expr(binding.value)
        self.visit_var_def(binding.var)

    def visit_match_cast_(self, binding: graph.MatchCast) -> None:
        """Visit a match_cast: the value, then the variable."""
        self.visit_expr(binding.value)
        self.visit_var_def(binding.var)

    def visit_var_def(self, var: graph.Var) -> None:
        """Visit a variable where it is introduced."""


class PyExprMutator:
    """Rebuilds functions: override ``visit_call_`` and the like to return something else.

    ``builder_`` holds the module under construction and takes what is emitted on the way; ``visit_expr_post_order``
    rebuilds an expression from its visited parts. What did not change stays the same object. Source:
    ``relax.PyExprMutator``.

    >>> from mlcref import relax
    >>> class NoRelu(PyExprMutator):
    ...     def visit_call_(self, call):
    ...         call = self.visit_expr_post_order(call)
    ...         return call.args[0] if call.op == relax.Op.get("relax.nn.relu") else call
    >>> x = relax.Var("x", relax.TensorStructInfo((2,), "float32"))
    >>> NoRelu().visit_expr(relax.op.exp(relax.op.nn.relu(x)))
    R.exp(x)
    """

    def __init__(self, mod: IRModule | None = None) -> None:
        self.builder_ = BlockBuilder(mod)
        self.var_remap: dict[graph.Var, graph.Var] = {}

    def visit_expr(self, expr: Any) -> Any:
        """What stands for an expression or a function."""
        return _method(self, expr)(expr)

    def visit_expr_post_order(self, expr: Any) -> Any:
        """``expr`` with its parts visited."""
        return _method(_Default(self), expr)(expr)

    def visit_constant_(self, op: graph.Constant) -> Any:
        """What stands for a constant."""
        return op

    def visit_var_(self, op: graph.Var) -> Any:
        """What stands for the use of a variable."""
        return self.var_remap.get(op, op)

    def visit_dataflow_var_(self, op: graph.DataflowVar) -> Any:
        """What stands for the use of a variable of a dataflow block."""
        return self.visit_var_(op)

    def visit_shape_expr_(self, op: graph.ShapeExpr) -> Any:
        """What stands for a shape."""
        return op

    def visit_extern_func_(self, op: graph.ExternFunc) -> Any:
        """What stands for a function by name."""
        return op

    def visit_global_var_(self, op: GlobalVar) -> Any:
        """What stands for a function of the module."""
        return op

    def visit_op_(self, op: graph.Op) -> Any:
        """What stands for an operator."""
        return op

    def visit_tuple_(self, op: graph.Tuple) -> Any:
        """What stands for a tuple."""
        return map_children(self.visit_expr, op)

    def visit_tuple_getitem_(self, op: graph.TupleGetItem) -> Any:
        """What stands for a field of a tuple."""
        return map_children(self.visit_expr, op)

    def visit_call_(self, op: graph.Call) -> Any:
        """What stands for a call."""
        args = [self.visit_expr(arg) for arg in op.args]
        callee = self.visit_expr(op.op)
        same = callee is op.op and all(new is old for new, old in zip(args, op.args, strict=True))
        return op if same else graph.Call(callee, args, op.attrs, op.sinfo_args)

    def visit_function_(self, op: graph.Function) -> Any:
        """What stands for a function: the same parameters and attributes, the body visited."""
        params = [self.visit_var_def(param) for param in op.params]
        with self.builder_.scope([param.name_hint for param in params]):
            body = self.visit_expr(op.body)
        same = body is op.body and all(new is old for new, old in zip(params, op.params, strict=True))
        return op if same else graph.Function(params, body, body.struct_info, op.attrs)

    def visit_seq_expr_(self, op: graph.SeqExpr) -> Any:
        """What stands for blocks of bindings and their result."""
        names = [param for scope in self.builder_._scopes[-1:] for param in scope.names]
        with self.builder_.scope(names) as scope:
            for block in op.blocks:
                self.visit_binding_block(block)
            body = self.builder_._operand(self.visit_expr(op.body))
            scope.close()
        same = [block.bindings for block in scope.blocks], [block.bindings for block in op.blocks]
        unchanged = body is op.body and len(same[0]) == len(same[1]) and all(map(_identical, *same))
        return op if unchanged else graph.SeqExpr(tuple(scope.blocks), body)

    def visit_binding_block(self, block: graph.BindingBlock) -> None:
        """Visit a block of either kind."""
        if isinstance(block, graph.DataflowBlock):
            self.visit_dataflow_block_(block)
        else:
            self.visit_binding_block_(block)

    def visit_binding_block_(self, block: graph.BindingBlock) -> None:
        """Visit a plain block: what its bindings become is emitted."""
        for binding in block.bindings:
            self.visit_binding(binding)

    def visit_dataflow_block_(self, block: graph.DataflowBlock) -> None:
        """Visit a dataflow block: what its bindings become is emitted in one."""
        with self.builder_.dataflow():
            for binding in block.bindings:
                self.visit_binding(binding)

    def visit_binding(self, binding: graph.Binding) -> None:
        """Visit a binding of either kind."""
        if isinstance(binding, graph.MatchCast):
            self.visit_match_cast_(binding)
        else:
            self.visit_var_binding_(binding)

    def visit_var_binding_(self, binding: graph.VarBinding) -> None:
        """Emit a binding of what stands for the value."""
        value = self.builder_.normalize(self.visit_expr(binding.value))
        if value is binding.value and self.visit_var_def(binding.var) is binding.var:
            self.builder_.emit_normalized(binding)
        else:
            self.builder_.emit_normalized(graph.VarBinding(self._new_var(binding.var, value.struct_info), value))

    def visit_match_cast_(self, binding: graph.MatchCast) -> None:
        """Emit a match_cast of what stands for the value."""
        value = self.builder_._operand(self.visit_expr(binding.value))
        same = value is binding.value
        self.builder_.emit_normalized(
            binding if same else graph.MatchCast(binding.var, value, binding.struct_info)
        )  # fmt: skip

    def _new_var(self, var: graph.Var, info: graph.StructInfo) -> graph.Var:
        """A variable of ``info`` that stands for ``var`` from here on."""
        defined = self.visit_var_def(var)
        new = defined if same_info(defined.struct_info, info) else type(var)(var.name_hint, info)
        if new is not var:
            self.set_var_remap(var, new)
        return new

    def visit_var_def(self, var: graph.Var) -> graph.Var:
        """The variable that is introduced in place of ``var``."""
        return var

    def lookup_binding(self, var: graph.GraphExpr) -> graph.GraphExpr | None:
        """The rebuilt value of a variable; None for a parameter and for what is no variable."""
        return self.builder_.lookup_binding(var)

    def set_var_remap(self, var: graph.Var, new_var: graph.Var) -> None:
        """Let ``new_var`` stand for ``var`` from here on."""
        self.var_remap[var] = new_var

    def get_var_remap(self, var: graph.Var) -> graph.Var:
        """What stands for ``var``."""
        return self.var_remap.get(var, var)


def _identical(a: tuple[Any, ...], b: tuple[Any, ...]) -> bool:
    return len(a) == len(b) and all(x is y for x, y in zip(a, b, strict=True))


class _Default:
    """The methods of :class:`PyExprMutator` itself on a mutator, whatever its class overrides."""

    def __init__(self, mutator: PyExprMutator) -> None:
        self.mutator = mutator

    def __getattr__(self, name: str) -> Any:
        return getattr(PyExprMutator, name).__get__(self.mutator)


def mutator(cls: C) -> C:
    """Decorator of subclasses of ``PyExprMutator``; TVM needs it, here it only checks. Source:
    ``relax.expr_functor.mutator``."""
    return _checked(cls, PyExprMutator)


def visitor(cls: C) -> C:
    """Decorator of subclasses of ``PyExprVisitor``. Source: ``relax.expr_functor.visitor``."""
    return _checked(cls, PyExprVisitor)


def _checked(cls: C, base: type) -> C:
    if not issubclass(cls, base):
        raise TypeMismatch(f"{cls.__name__} is no subclass of {base.__name__}")
    return cls
