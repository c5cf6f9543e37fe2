"""The operators that ``workloads.toml`` names."""

import numpy as np

from mlcref.benchmark.operators.convolution import CONV2D, DEPTHWISE, MAX_POOL, MEAN_POOL
from mlcref.benchmark.operators.elements import EXP, GATHER, GELU, STENCIL, TRANSPOSE
from mlcref.benchmark.operators.linear import ATTENTION, MATMUL, MLP, QKT
from mlcref.benchmark.operators.record import Case, Operator
from mlcref.benchmark.operators.rows import LAYERNORM, MAX, SOFTMAX, SUM
from mlcref.benchmark.workload import Workload

OPERATORS: dict[str, Operator] = {
    "attention": ATTENTION, "conv2d": CONV2D, "depthwise": DEPTHWISE, "exp": EXP, "gather": GATHER, "gelu": GELU,
    "layernorm": LAYERNORM, "matmul": MATMUL, "max": MAX, "max_pool": MAX_POOL, "mean_pool": MEAN_POOL, "mlp": MLP,
    "qkt": QKT, "softmax": SOFTMAX, "stencil": STENCIL, "sum": SUM, "transpose": TRANSPOSE,
}  # fmt: skip

__all__ = ["OPERATORS", "Case", "Operator", "case_of"]


def case_of(workload: Workload) -> Case:
    """The workload with its inputs, the same ones everywhere.

    >>> from mlcref.benchmark.workload import workload_of
    >>> case = case_of(workload_of("matmul/float32/m=1,k=784,n=128"))
    >>> case.flops, case.tensor_bytes
    (200704, 405056)
    """
    operator = OPERATORS[workload.operator]
    return Case(workload, operator, operator.inputs(workload, np.random.default_rng(workload.seed)))
