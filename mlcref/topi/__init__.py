"""Operators as tensor expressions, under the names of ``tvm.topi``: ``topi.add``, ``topi.nn.conv2d``, ``topi.sum`` …

    A, B = te.placeholder((1, 784), name="A"), te.placeholder((128, 784), name="B")
    C = topi.nn.relu(topi.nn.dense(A, B))
    func = te.create_prim_func([A, B, C])

Each operator takes tensors (and numbers) and returns a tensor, or a list of them; what it makes is ordinary computes of
:mod:`mlcref.te`, which become blocks. docs/topi.md lists all of them with the results of their tests. What is refused,
by rule:

* topi.O1 shapes that do not fit;
* topi.O2 an axis that is not there, or is given twice;
* topi.O3 a parameter outside of its values;
* topi.O4 a type that the operator is not defined on;
* topi.O5 a size that is known only at the call, where a number is needed;
* topi.U1 what is not supported, though TVM has it.
"""

from mlcref.topi import image, nn
from mlcref.topi.broadcast import (
    add,
    atan2,
    bitwise_and,
    bitwise_or,
    bitwise_xor,
    broadcast_to,
    divide,
    equal,
    floor_divide,
    floor_mod,
    greater,
    greater_equal,
    left_shift,
    less,
    less_equal,
    log_add_exp,
    logical_and,
    logical_or,
    logical_xor,
    maximum,
    minimum,
    mod,
    multiply,
    not_equal,
    power,
    right_shift,
    subtract,
    where,
)
from mlcref.topi.creation import arange, eye, full, full_like, trilu
from mlcref.topi.elementwise import (
    abs,
    acos,
    acosh,
    asin,
    asinh,
    atan,
    atanh,
    bitwise_not,
    cast,
    ceil,
    clip,
    cos,
    cosh,
    elemwise_sum,
    erf,
    exp,
    floor,
    identity,
    isfinite,
    isinf,
    isnan,
    log,
    log2,
    log10,
    logical_not,
    negative,
    reinterpret,
    round,
    rsqrt,
    sigmoid,
    sign,
    sin,
    sinh,
    sqrt,
    tan,
    tanh,
    trunc,
)
from mlcref.topi.index import (
    expand_like,
    gather,
    gather_nd,
    one_hot,
    reverse_sequence,
    sequence_mask,
    sliding_window,
    strided_slice,
    take,
    unravel_index,
)
from mlcref.topi.linear import einsum, matmul, tensordot
from mlcref.topi.operands import OperatorError
from mlcref.topi.reduction import all, any, argmax, argmin, collapse_sum, max, min, prod, sum
from mlcref.topi.scan import cumprod, cumsum
from mlcref.topi.scatter import scatter_elements, scatter_nd
from mlcref.topi.shape import (
    concatenate,
    expand_dims,
    flip,
    meshgrid,
    repeat,
    reshape,
    split,
    squeeze,
    stack,
    tile,
    transpose,
)
from mlcref.topi.sort import argsort, searchsorted, sort, topk

__all__ = [
    "OperatorError", "abs", "acos", "acosh", "add", "all", "any", "arange", "argmax", "argmin", "argsort", "asin",
    "asinh", "atan", "atan2", "atanh", "bitwise_and", "bitwise_not", "bitwise_or", "bitwise_xor", "broadcast_to",
    "cast", "ceil", "clip", "collapse_sum", "concatenate", "cos", "cosh", "cumprod", "cumsum", "divide", "einsum",
    "elemwise_sum", "equal", "erf", "exp", "expand_dims", "expand_like", "eye", "flip", "floor", "floor_divide",
    "floor_mod", "full", "full_like", "gather", "gather_nd", "greater", "greater_equal", "identity", "image",
    "isfinite", "isinf", "isnan", "left_shift", "less", "less_equal", "log", "log10", "log2", "log_add_exp",
    "logical_and", "logical_not", "logical_or", "logical_xor", "matmul", "max", "maximum", "meshgrid", "min",
    "minimum", "mod", "multiply", "negative", "nn", "not_equal", "one_hot", "power", "prod", "reinterpret", "repeat",
    "reshape", "reverse_sequence", "right_shift", "round", "rsqrt", "scatter_elements", "scatter_nd", "searchsorted",
    "sequence_mask", "sigmoid", "sign", "sin", "sinh", "sliding_window", "sort", "split", "sqrt", "squeeze", "stack",
    "strided_slice", "subtract", "sum", "take", "tan", "tanh", "tensordot", "tile", "topk", "transpose", "trilu",
    "trunc", "unravel_index", "where",
]  # fmt: skip
