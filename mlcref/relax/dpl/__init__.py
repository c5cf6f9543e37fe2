"""The dataflow pattern language: patterns of expressions, matching through bindings, rewriting calls and bindings.

    x, w, b = wildcard(), wildcard(), is_const()
    pattern = is_op("relax.add")(is_op("relax.matmul")(x, w), b)
    func = rewrite_call(pattern, lambda call, found: relax.op.linear(found[x], ..., found[b]), func)

Names are those of ``tvm.relax.dpl``. A variable matches a pattern when its value does, where the bindings are known.
One pattern object that stands in two places matches one and the same expression in both. Several patterns that are
written in a ``PatternContext`` match the bindings of a block together, and ``rewrite_bindings`` rewrites those.
"""

from mlcref.relax.dpl.context import PatternContext
from mlcref.relax.dpl.pattern import (
    CallPattern,
    DFPattern,
    PatternSeq,
    is_call_dps_packed,
    is_call_tir,
    is_const,
    is_dfv,
    is_expr,
    is_gv,
    is_op,
    is_shape,
    is_tuple,
    is_tuple_get_item,
    is_var,
    make_fused_bias_activation_pattern,
    wildcard,
)
from mlcref.relax.dpl.rewrite import rewrite_bindings, rewrite_call

__all__ = [
    "CallPattern", "DFPattern", "PatternContext", "PatternSeq", "is_call_dps_packed", "is_call_tir", "is_const",
    "is_dfv", "is_expr", "is_gv", "is_op", "is_shape", "is_tuple", "is_tuple_get_item", "is_var",
    "make_fused_bias_activation_pattern", "rewrite_bindings", "rewrite_call", "wildcard",
]  # fmt: skip
