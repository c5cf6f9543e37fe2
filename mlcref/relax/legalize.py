"""LegalizeOps: calls of operators become calls of tensor programs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from mlcref.errors import UnsupportedError
from mlcref.ir import IRModule, graph
from mlcref.ir.graph_ops import Operator, operator_of
from mlcref.ir.transform import Pass, PassContext, PassInfo
from mlcref.relax.block_builder import BlockBuilder
from mlcref.relax.expr_functor import PyExprMutator

LegalizeFunc = Callable[[BlockBuilder, graph.Call], graph.GraphExpr]


class LegalizeOps(Pass):
    """Replace calls of operators by ``call_tir`` of tensor programs, by the rows of the table.

    ``customize_legalize_map`` has other functions ``(builder, call) -> expression`` by names such as "relax.add". A
    function with the attribute ``Primitive`` is legalized as well. Raises ``UnsupportedError`` for an operator that is
    not in the table. Source: ``relax.transform.LegalizeOps``.

    >>> from mlcref import relax
    >>> bb = relax.BlockBuilder()
    >>> x = relax.Var("x", relax.TensorStructInfo((2, 3), "float32"))
    >>> with bb.function("main", [x]):
    ...     bb.emit_func_output(bb.emit(relax.op.nn.relu(x)))
    >>> list(LegalizeOps()(bb.get()))
    ['main', 'relu']
    """

    info = PassInfo(0, "LegalizeOps")

    def __init__(self, customize_legalize_map: Mapping[str, LegalizeFunc] | None = None) -> None:
        self.custom = dict(customize_legalize_map or {})

    def transform_module(self, mod: IRModule, ctx: PassContext) -> IRModule:
        """``mod`` with calls of tensor programs in place of operators."""
        mutator = _Legalizer(mod, self.custom)
        for name, func in mod.functions.items():
            if isinstance(func, graph.Function):
                mutator.builder_.update_func(name, mutator.visit_expr(func))
        return mutator.builder_.get()


class _Legalizer(PyExprMutator):
    def __init__(self, mod: IRModule, custom: Mapping[str, LegalizeFunc]) -> None:
        super().__init__(mod)
        self.custom = custom

    def visit_call_(self, op: graph.Call) -> Any:
        call = self.visit_expr_post_order(op)
        if not isinstance(call.op, graph.Op) or call.op in (graph.CALL_TIR, graph.CALL_DPS_PACKED):
            return call
        if call.op.name in self.custom:
            return self.custom[call.op.name](self.builder_, call)
        operator = operator_of(call)
        if operator is None:
            raise UnsupportedError(f"{call.op.name} has no legalization", rule="graph.legalize")
        return legalized(self.builder_, operator, call)


def legalized(builder: BlockBuilder, operator: Operator, call: graph.Call) -> graph.GraphExpr:
    """``call`` of ``operator`` as a call of a tensor program that ``builder`` takes into its module."""
    operands = [*call.args, *[None] * (len(operator.operands) - len(call.args))]
    name = operator.name.rpartition(".")[2]
    made = builder.call_te(operator.legalize, *operands, primfunc_name_hint=name, **operator.converted(call.attrs))
    one_field = isinstance(call.struct_info, graph.TupleStructInfo) and len(call.struct_info.fields) == 1
    return graph.Tuple((made,)) if one_field else made
