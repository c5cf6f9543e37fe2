"""Tensor expressions: tensors described by what each of their elements is, turned into schedulable functions.

    A = te.placeholder((128, 128), name="A")
    B = te.placeholder((128, 128), name="B")
    k = te.reduce_axis((0, 128), name="k")
    C = te.compute((128, 128), lambda i, j: te.sum(A[i, k] * B[k, j], axis=k), name="C")
    func = te.create_prim_func([A, B, C])

Names and behaviour are those of ``tvm.te``. What is refused, by rule:

* te.T1 shapes, bounds and indices are integers, extents not negative;
* te.T2 a reduction takes distinct reduce axes, a ``where=`` that is a condition, an ``init=`` of its own type, and a
  type it is defined on;
* te.T3 a tensor is read with one index per dimension;
* te.T4 the function of a compute takes one index per dimension and returns a value;
* te.T5 a reduction stands at the top of a compute;
* te.T6 ``create_prim_func`` gets distinct tensors and variables, a computed tensor among them, every placeholder that
  is read and every variable that is used;
* te.T7 the shapes of tensors in arithmetic broadcast;
* te.T8 what :func:`extern` calls gets tensors, and makes tensors of a known type;
* te.U1 buffers of one's own layout for :func:`extern` are not supported.

Schedules: :mod:`mlcref.te.schedule`.
"""

from typing import TYPE_CHECKING

from mlcref.ir import const
from mlcref.on_use import names_on_use
from mlcref.te.axis import Axis, TensorExpressionError, reduce_axis, var
from mlcref.te.compute import compute, placeholder
from mlcref.te.extern import ExternOp, extern
from mlcref.te.functions import (
    Select,
    abs,
    acos,
    acosh,
    all,
    any,
    asin,
    asinh,
    atan,
    atanh,
    ceil,
    cos,
    cosh,
    div,
    erf,
    exp,
    exp2,
    exp10,
    floor,
    floordiv,
    floormod,
    fmod,
    if_then_else,
    isfinite,
    isinf,
    isnan,
    log,
    log1p,
    log2,
    log10,
    nearbyint,
    popcount,
    power,
    round,
    rsqrt,
    sigmoid,
    sin,
    sinh,
    sqrt,
    tan,
    tanh,
    trunc,
    truncdiv,
    truncmod,
)  # fmt: skip
from mlcref.te.prim_func import create_prim_func
from mlcref.te.reduction import CommReducer, Reduce, comm_reducer, max, max_value, min, min_value, prod, sum
from mlcref.te.tensor import ComputeOp, Operation, PlaceholderOp, Tensor, TensorSlice
from mlcref.te import elementwise  # enters the operators on whole tensors

if TYPE_CHECKING:
    from mlcref.te import schedule
    from mlcref.te.schedule import Schedule, Stage, create_schedule, decl_tensor_intrin, thread_axis
else:
    __getattr__, __dir__ = names_on_use(
        __name__, {"mlcref.te.schedule": "Schedule Stage create_schedule decl_tensor_intrin thread_axis"}, ["schedule"]
    )

indexdiv, indexmod = floordiv, floormod

__all__ = [
    "Axis", "CommReducer", "ComputeOp", "ExternOp", "Operation", "PlaceholderOp", "Reduce", "Schedule", "Select",
    "Stage", "Tensor", "TensorExpressionError", "TensorSlice", "abs", "acos", "acosh", "all", "any", "asin",
    "asinh", "atan", "atanh", "ceil", "comm_reducer", "compute", "const", "cos", "cosh", "create_prim_func",
    "create_schedule", "decl_tensor_intrin", "div", "erf", "exp", "exp10", "exp2", "extern", "floor", "floordiv",
    "floormod", "fmod", "if_then_else", "indexdiv", "indexmod", "isfinite", "isinf", "isnan", "log", "log10",
    "log1p", "log2", "max", "max_value", "min", "min_value", "nearbyint", "placeholder", "popcount", "power", "prod",
    "reduce_axis", "round", "rsqrt", "schedule", "sigmoid", "sin", "sinh", "sqrt", "sum", "tan", "tanh",
    "thread_axis", "trunc", "truncdiv", "truncmod", "var",
]  # fmt: skip
