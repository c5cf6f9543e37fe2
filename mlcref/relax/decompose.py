"""DecomposeOpsForInference: operators with several results become arithmetic, which fuses with what is around it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from mlcref.errors import MlcrefError
from mlcref.ir import IRModule, graph
from mlcref.ir.graph_ops import Operator, operator_of
from mlcref.ir.transform import Pass, PassContext, PassInfo
from mlcref.relax.block_builder import BlockBuilder
from mlcref.relax.dead_code import without_unused
from mlcref.relax.expr_functor import PyExprMutator
from mlcref.relax.op.create import ones_like
from mlcref.relax.op.elementwise import add, divide, multiply, sqrt, subtract
from mlcref.relax.op.manipulate import expand_dims


class DecomposeOpsForInference(Pass):
    """Write ``nn.batch_norm`` and ``nn.dropout``, as they are when a model runs, out in operators of one result.

    What a batch normalization does to its data follows the steps of its tensor program, so that the legalized graph
    computes the same bits; parts that depend on constants alone are then computed ahead (``FoldConstant``), and the
    others fuse with a convolution before and an activation after them. Only the function ``func_name`` is rewritten, or
    all without one. Raises ``MlcrefError`` (rule ``relax.decompose``) for a name that is no graph function. Source:
    ``relax.transform.DecomposeOpsForInference``.

    >>> from mlcref import relax
    >>> bb = relax.BlockBuilder()
    >>> x = relax.Var("x", relax.TensorStructInfo((2, 3), "float32"))
    >>> with bb.function("main", [x]):
    ...     with bb.dataflow():
    ...         pair = bb.emit(relax.op.nn.dropout(x))
    ...         gv = bb.emit_output(relax.op.nn.relu(relax.TupleGetItem(pair, 0)))
    ...     bb.emit_func_output(gv)
    >>> [binding.value for binding in DecomposeOpsForInference()(bb.get())["main"].bindings()]
    [R.nn.relu(x)]
    """

    info = PassInfo(0, "DecomposeOpsForInference")

    def __init__(self, func_name: str | None = None) -> None:
        self.func_name = func_name

    def transform_module(self, mod: IRModule, ctx: PassContext) -> IRModule:
        """A copy of ``mod`` with the operators written out."""
        if self.func_name is not None and not isinstance(mod.functions.get(self.func_name), graph.Function):
            hint = f"functions: {', '.join(map(str, mod.functions))}"
            raise MlcrefError(f"there is no graph function {self.func_name}", rule="relax.decompose", hint=hint)
        mutator = _Decomposer(mod)
        for name, func in mod.functions.items():
            if isinstance(func, graph.Function) and self.func_name in (None, name):
                rewritten = mutator.visit_expr(func)
                mutator.builder_.update_func(name, func if rewritten is func else without_unused(rewritten))
        return mutator.builder_.get()


class _Decomposer(PyExprMutator):
    def visit_call_(self, op: graph.Call) -> Any:
        call = self.visit_expr_post_order(op)
        operator = operator_of(call)
        rule = None if operator is None else RULES.get(operator.name.removeprefix("relax."))
        return call if rule is None or operator is None else rule(self.builder_, operator, call)

    def visit_tuple_getitem_(self, op: graph.TupleGetItem) -> Any:
        field = self.visit_expr_post_order(op)
        value = self.lookup_binding(field.tuple_value)
        return value.fields[field.index] if isinstance(value, graph.Tuple) else field

    def visit_var_binding_(self, binding: graph.VarBinding) -> None:
        """A variable for a field that is another variable now is that one from here on."""
        field = self.visit_expr(binding.value) if isinstance(binding.value, graph.TupleGetItem) else None
        if isinstance(binding.var, graph.DataflowVar) and isinstance(field, graph.Var):
            self.var_remap[binding.var] = field
        else:
            super().visit_var_binding_(binding)


def _batch_norm(builder: BlockBuilder, operator: Operator, call: graph.Call) -> graph.Tuple:
    data, gamma, beta, mean, variance = call.args
    attrs, info = operator.converted(call.attrs), data.struct_info  # type: ignore[union-attr]
    assert isinstance(info, graph.TensorStructInfo)
    others = [axis for axis in range(info.ndim) if axis != attrs["axis"] % info.ndim]

    def along(vector: Any) -> graph.GraphExpr:
        return builder.emit(expand_dims(vector, others))

    value = builder.emit(subtract(data, along(mean)))
    shifted = builder.emit(add(along(variance), graph.const(attrs["epsilon"], info.dtype)))
    value = builder.emit(divide(value, builder.emit(sqrt(shifted))))
    value = builder.emit(multiply(value, along(gamma))) if attrs["scale"] else value
    value = builder.emit(add(value, along(beta))) if attrs["center"] else value
    return graph.Tuple([value, mean, variance])  # type: ignore[list-item]


def _dropout(builder: BlockBuilder, operator: Operator, call: graph.Call) -> graph.Tuple:
    data: Any = call.args[0]
    return graph.Tuple([data, builder.emit(ones_like(data))])


RULES: dict[str, Callable[[BlockBuilder, Operator, graph.Call], graph.Tuple]] = {
    "nn.batch_norm": _batch_norm,
    "nn.dropout": _dropout,
}
"""By operator: how a call is written out, as the tuple of its results."""
