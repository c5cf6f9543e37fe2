"""Normalize: calls bound to variables."""

from __future__ import annotations

from mlcref.ir import BaseFunc, IRModule, graph
from mlcref.ir.transform import FunctionPass, PassContext, PassInfo
from mlcref.relax.expr_functor import PyExprMutator


class Normalize(FunctionPass):
    """Bind calls among operands to variables, and say what calls of functions return.

    Source: ``relax.transform.Normalize``.

    >>> from mlcref import relax
    >>> x = relax.Var("x", relax.TensorStructInfo((2,), "float32"))
    >>> f = relax.Function([x], relax.op.exp(relax.op.exp(x)))
    >>> len(list(Normalize()(IRModule({"main": f}))["main"].bindings()))
    2
    """

    info = PassInfo(1, "Normalize")
    kind = graph.Function

    def transform_function(self, func: graph.Function, mod: IRModule, ctx: PassContext) -> BaseFunc:
        """``func`` in normal form."""
        made: BaseFunc = PyExprMutator(mod).visit_expr(func)
        return made
