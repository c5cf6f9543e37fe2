"""The library "blas": matrix products, with a bias and a rectifier, by the BLAS that numpy calls.

    mod = blas.offload(mod)      # before LegalizeOps
    relax.get_pipeline("zero")(mod)

Products of float32 or float64, in any batches that broadcast; the second factor may be a transposed matrix, as the
weights of a linear layer are. What follows, a sum with something of the result's shape or smaller and ``nn.relu``, is
done in the memory of the result.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from mlcref.arith import same_info
from mlcref.ir import IRModule, graph
from mlcref.relax.dpl import is_op, wildcard
from mlcref.relax.run_codegen import register_library
from mlcref.relax.transform import FuseOpsByPattern, FusionPattern, PatternCheckContext, RunCodegen, Sequential

Array = np.ndarray[Any, Any]


def patterns() -> list[FusionPattern]:
    """What the library takes, the most first: for ``FuseOpsByPattern``.

    >>> [pattern.name for pattern in patterns()][:3]
    ['blas.matmul_transposed_bias_relu', 'blas.matmul_transposed_bias', 'blas.matmul_transposed_relu']
    """
    return [_pattern(turned, then) for turned in ("_transposed", "") for then in ("_bias_relu", "_bias", "_relu", "")]


def _pattern(turned: str, then: str) -> FusionPattern:
    weight = wildcard()
    pattern = product = is_op("relax.matmul")(wildcard(), is_op("relax.permute_dims")(weight) if turned else weight)
    if "bias" in then:
        pattern = is_op("relax.add")(product, wildcard())
    if "relu" in then:
        pattern = is_op("relax.nn.relu")(pattern)
    return FusionPattern(f"blas.matmul{turned}{then}", pattern, {"product": product}, _fits)


def offload(mod: IRModule) -> IRModule:
    """``mod`` with what the library takes done by the library. Run it on operators, before ``LegalizeOps``.

    >>> from mlcref import relax
    >>> bb = relax.BlockBuilder()
    >>> x, w = (relax.Var(name, relax.TensorStructInfo((2, 2), "float32")) for name in "xw")
    >>> with bb.function("main", [x, w]):
    ...     with bb.dataflow():
    ...         out = bb.emit_output(relax.op.nn.relu(relax.op.matmul(x, w)))
    ...     bb.emit_func_output(out)
    >>> next(offload(bb.get())["main"].bindings()).value.op.name
    'relax.call_dps_packed'
    """
    return Sequential([FuseOpsByPattern(patterns(), annotate_codegen=True), RunCodegen()], name="blas")(mod)


def _fits(context: PatternCheckContext) -> bool:
    """Floats that BLAS multiplies, a transposed matrix, and one result, of one shape all the way."""
    if context.has_leaking_intermediate_variables():
        return False
    product = context.annotated_expr["product"]
    assert isinstance(product, graph.Call)
    infos = [arg.struct_info for arg in product.args if isinstance(arg, graph.GraphExpr)]
    result = product.struct_info
    if not all(isinstance(info, graph.TensorStructInfo) and info.ndim >= 2 for info in infos):
        return False
    if not isinstance(result, graph.TensorStructInfo) or result.dtype not in ("float32", "float64"):
        return False
    if any(isinstance(info, graph.TensorStructInfo) and info.dtype != result.dtype for info in infos):
        return False
    for var, value in context.matched_bindings.items():
        if isinstance(value, graph.Call) and value.op == graph.Op.get("relax.permute_dims"):
            if not _turns(value):
                return False
        elif not same_info(var.struct_info, result):
            return False
    return True


def _turns(call: graph.Call) -> bool:
    """Does it exchange the two dimensions of a matrix?"""
    info, axes = call.struct_info, call.attrs.get("axes")
    return isinstance(info, graph.TensorStructInfo) and info.ndim == 2 and (axes is None or list(axes) == [1, 0])


@register_library("blas", override=True)
def library(func: graph.Function) -> Callable[..., None]:
    """The function that computes ``func``, one of those that :func:`patterns` match."""
    params = {param: i for i, param in enumerate(func.params)}
    steps = [(binding.var, binding.value) for binding in func.bindings() if isinstance(binding.value, graph.Call)]

    def compute(*arrays: Array) -> None:
        out, values = arrays[-1], dict[graph.GraphExpr, Array]()

        def operand(node: Any) -> Array:
            if isinstance(node, graph.Constant):
                array: Array = node.data
                return array
            return arrays[params[node]] if node in params else values[node]

        for var, call in steps:
            values[var] = _APPLY[call.op](out, *[operand(arg) for arg in call.args])

    return compute


def _turned(out: Array, x: Array) -> Array:
    return x.T


def _product(out: Array, x: Array, y: Array) -> Array:
    return np.matmul(x, y, out=out)


def _sum(out: Array, x: Array, y: Array) -> Array:
    return np.add(x, y, out=out)


def _rectified(out: Array, x: Array) -> Array:
    return np.maximum(x, 0, out=out)


_APPLY: dict[Any, Callable[..., Array]] = {
    graph.Op.get("relax.permute_dims"): _turned, graph.Op.get("relax.matmul"): _product,
    graph.Op.get("relax.add"): _sum, graph.Op.get("relax.nn.relu"): _rectified,
}  # fmt: skip

__all__ = ["library", "offload", "patterns"]
