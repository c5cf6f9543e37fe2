"""Operators element by element: of one tensor, of two that broadcast, comparisons, choices and conversions."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from mlcref import dtype as dt
from mlcref import topi
from mlcref.errors import OracleError
from mlcref.interp.numeric import converter
from mlcref.ir.graph import StructInfo, TensorStructInfo
from mlcref.relax.op.rows import Builder, dtype_attr, float_attr, require, require_float, row
from mlcref.relax.op.shapes import broadcast, extents, tensor

Array = np.ndarray[Any, Any]


def every(function: Callable[..., Any]) -> Callable[[Array], Array]:
    """A function of Python numbers on each element."""

    def compute(x: Array) -> Array:
        return np.array([function(value) for value in x.reshape(-1).tolist()], x.dtype).reshape(x.shape)

    return compute


def unary(name: str, legalize: Any, reference: Any, summary: str, *, floats: bool = True, result: str = "") -> Builder:
    """A function of each element; ``result`` is the data type where it is not that of the operand."""

    def infer(x: TensorStructInfo) -> StructInfo:
        if floats:
            require_float(name, x.dtype)
        return tensor(extents(x), result or x.dtype)

    return row(name, "x", (), infer, legalize, reference, summary)


def binary(name: str, legalize: Any, reference: Any, summary: str, kinds: str = "number", result: str = "") -> Builder:
    """A function of two elements; ``kinds`` are the types it is defined on: "number", "float", "integer" or "bool"."""
    def infer(x1: TensorStructInfo, x2: TensorStructInfo) -> StructInfo:
        require(x1.dtype == x2.dtype, f"{name} of {x1.dtype} and {x2.dtype}", "convert one of them with astype")
        require(_accepts(kinds, x1.dtype), f"{name} is not defined on {x1.dtype}")
        return tensor(broadcast(extents(x1), extents(x2), name), result or x1.dtype)

    return row(name, "x1 x2", (), infer, legalize, reference, summary)


def _accepts(kinds: str, dtype: str) -> bool:
    if kinds == "number":
        return not dt.is_bool(dtype)
    known = {"float": dt.is_float, "integer": dt.is_integer, "bool": dt.is_bool}
    return kinds == "any" or known[kinds](dtype)


def nonzero(function: Callable[[Array, Array], Array], name: str) -> Callable[[Array, Array], Array]:
    """``function`` of integers, whose second operand must not be 0; on floats, IEEE division."""

    def divide(a: Array, b: Array) -> Array:
        if a.dtype.kind in "iu" and not np.all(b):
            raise OracleError(f"{name}: an integer is divided by 0", rule="graph.R5")
        return function(a, b)

    return divide


def larger(a: Array, b: Array) -> Array:
    """``a`` where it is larger, else ``b``: also where one of them is NaN."""
    return np.where(a > b, a, b)


def smaller(a: Array, b: Array) -> Array:
    """``a`` where it is smaller, else ``b``: also where one of them is NaN."""
    return np.where(a < b, a, b)


def _truncated(a: Array, b: Array) -> Array:
    if a.dtype.kind == "f":
        return a / b
    return np.where(a % b == 0, a // b, np.where((a < 0) == (b < 0), a // b, a // b + 1)).astype(a.dtype)


def _floor_mod(a: Array, b: Array) -> Array:
    return a - np.floor(a / b) * b if a.dtype.kind == "f" else a % b


def logistic(x: Array) -> Array:
    e = np.exp(-np.abs(x))
    return np.where(x < 0, e / (1 + e), 1 / (1 + e))


def _float(name: str, reference: Any, what: str) -> Builder:
    return unary(name, getattr(topi, name), reference, f"{what} of each element (floats).")


exp = _float("exp", np.exp, "The exponential")
log = _float("log", np.log, "The natural logarithm")
sqrt = _float("sqrt", np.sqrt, "The square root")
rsqrt = _float("rsqrt", lambda x: 1 / np.sqrt(x), "One over the square root")
sigmoid = _float("sigmoid", logistic, "``1 / (1 + exp(-x))``")
erf = _float("erf", every(math.erf), "The error function")
sin = _float("sin", np.sin, "The sine")
cos = _float("cos", np.cos, "The cosine")
tan = _float("tan", np.tan, "The tangent")
sinh = _float("sinh", np.sinh, "The hyperbolic sine")
cosh = _float("cosh", np.cosh, "The hyperbolic cosine")
tanh = _float("tanh", np.tanh, "The hyperbolic tangent")
asin = _float("asin", np.arcsin, "The inverse of the sine")
acos = _float("acos", np.arccos, "The inverse of the cosine")
atan = _float("atan", np.arctan, "The inverse of the tangent")
asinh = _float("asinh", np.arcsinh, "The inverse of the hyperbolic sine")
acosh = _float("acosh", np.arccosh, "The inverse of the hyperbolic cosine")
atanh = _float("atanh", np.arctanh, "The inverse of the hyperbolic tangent")
floor = _float("floor", np.floor, "The largest integer that is not larger")
ceil = _float("ceil", np.ceil, "The smallest integer that is not smaller")
trunc = _float("trunc", np.trunc, "The integer part")
round = _float("round", np.round, "The nearest integer, the even one of two,")
isnan = unary("isnan", topi.isnan, np.isnan, "Whether each element is NaN (floats).", result="bool")
isinf = unary("isinf", topi.isinf, np.isinf, "Whether each element is infinite (floats).", result="bool")
isfinite = unary("isfinite", topi.isfinite, np.isfinite, "Whether each element is finite (floats).", result="bool")
negative = unary("negative", topi.negative, np.negative, "Each element with the other sign.", floats=False)
abs = unary("abs", topi.abs, np.abs, "The absolute value of each element.", floats=False)
sign = unary("sign", topi.sign, np.sign, "-1, 0 or 1: the sign of each element.", floats=False)
square = unary("square", lambda x: topi.multiply(x, x), lambda x: x * x, "The square of each element.", floats=False)

add = binary("add", topi.add, np.add, "The sum of two tensors, broadcast.")
subtract = binary("subtract", topi.subtract, np.subtract, "The difference of two tensors, broadcast.")
multiply = binary("multiply", topi.multiply, np.multiply, "The product of two tensors, broadcast.")
divide = binary("divide", topi.divide, nonzero(_truncated, "divide"), "The quotient; integers are rounded towards 0.")
floor_divide = binary(
    "floor_divide", topi.floor_divide, nonzero(lambda a, b: np.floor(a / b) if a.dtype.kind == "f" else a // b,
                                               "floor_divide"), "The quotient rounded down.",
)  # fmt: skip
mod = binary("mod", topi.mod, nonzero(np.fmod, "mod"), "The remainder with the sign of ``x1``.")
floor_mod = binary(
    "floor_mod", topi.floor_mod, nonzero(_floor_mod, "floor_mod"), "The remainder with the sign of ``x2``."
)
power = binary("power", topi.power, np.power, "``x1`` to the power of ``x2`` (floats).", "float")
atan2 = binary("atan2", topi.atan2, np.arctan2, "The angle of the point (x2, x1) (floats).", "float")
maximum = binary("maximum", topi.maximum, larger, "The larger element, ``x2`` where one is NaN.")
minimum = binary("minimum", topi.minimum, smaller, "The smaller element, ``x2`` where one is NaN.")


def _compared(name: str, reference: Any, sign: str) -> Builder:
    return binary(name, getattr(topi, name), reference, f"Whether ``x1 {sign} x2``, element by element.", "any", "bool")


equal = _compared("equal", np.equal, "==")
not_equal = _compared("not_equal", np.not_equal, "!=")
less = _compared("less", np.less, "<")
less_equal = _compared("less_equal", np.less_equal, "<=")
greater = _compared("greater", np.greater, ">")
greater_equal = _compared("greater_equal", np.greater_equal, ">=")
logical_and = binary("logical_and", topi.logical_and, np.logical_and, "Whether both hold (bool).", "bool")
logical_or = binary("logical_or", topi.logical_or, np.logical_or, "Whether one holds (bool).", "bool")
logical_xor = binary("logical_xor", topi.logical_xor, np.not_equal, "Whether exactly one holds (bool).", "bool")
bitwise_and = binary("bitwise_and", topi.bitwise_and, np.bitwise_and, "The bits that both have.", "integer")
bitwise_or = binary("bitwise_or", topi.bitwise_or, np.bitwise_or, "The bits that one has.", "integer")
bitwise_xor = binary("bitwise_xor", topi.bitwise_xor, np.bitwise_xor, "The bits that exactly one has.", "integer")


def _infer_not(x: TensorStructInfo) -> StructInfo:
    require(dt.is_bool(x.dtype), f"logical_not is defined on bool, not on {x.dtype}")
    return x


logical_not = row("logical_not", "x", (), _infer_not, topi.logical_not, np.logical_not, "Whether it does not hold.")


def _infer_where(condition: TensorStructInfo, x1: TensorStructInfo, x2: TensorStructInfo) -> StructInfo:
    require(dt.is_bool(condition.dtype), f"the condition of where is bool, not {condition.dtype}")
    require(x1.dtype == x2.dtype, f"where of {x1.dtype} and {x2.dtype}", "convert one of them with astype")
    both = broadcast(extents(x1), extents(x2), "where")
    return tensor(broadcast(extents(condition), both, "where"), x1.dtype)


where = row(
    "where", "condition x1 x2", (), _infer_where, topi.where, np.where,
    "``x1`` where ``condition`` (bool) holds, else ``x2``; all three broadcast.",
)  # fmt: skip


def _infer_fma(x1: TensorStructInfo, x2: TensorStructInfo, x3: TensorStructInfo) -> StructInfo:
    require(x1.dtype == x2.dtype == x3.dtype, f"ewise_fma of {x1.dtype}, {x2.dtype} and {x3.dtype}")
    require(not dt.is_bool(x1.dtype), "ewise_fma is not defined on bool")
    both = broadcast(extents(x1), extents(x2), "ewise_fma")
    return tensor(broadcast(both, extents(x3), "ewise_fma"), x1.dtype)


ewise_fma = row(
    "ewise_fma", "x1 x2 x3", (), _infer_fma, lambda a, b, c: topi.add(topi.multiply(a, b), c),
    lambda a, b, c: a * b + c, "``x1 * x2 + x3``, broadcast.",
)  # fmt: skip


def _infer_clip(x: TensorStructInfo, min: float, max: float) -> StructInfo:
    require(min <= max, f"clip to {min} … {max}")
    require(not dt.is_bool(x.dtype), "clip is not defined on bool")
    whole = dt.is_float(x.dtype) or (float(min).is_integer() and float(max).is_integer())
    require(whole, f"clip of {x.dtype} to bounds that are no integers")
    return x


def _clipped(x: Any, min: float, max: float) -> Any:
    low, high = (min, max) if dt.is_float(x.dtype) else (int(min), int(max))
    return topi.clip(x, low, high)


clip = row(
    "clip", "x", (float_attr("min"), float_attr("max")), _infer_clip, _clipped,
    lambda x, min, max: np.clip(x, *((min, max) if x.dtype.kind == "f" else (int(min), int(max)))),
    "Each element, at least ``min`` and at most ``max``.",
)  # fmt: skip


def _converted(x: Array, dtype: str) -> Array:
    if dt.is_float(dtype):
        return x.astype("float64")
    convert = converter(dt.canonical(x.dtype), dtype)
    made = [convert(value) for value in x.reshape(-1).tolist()]
    return np.array(made, dt.numpy_dtype(dtype)).reshape(x.shape)


astype = row(
    "astype", "x", (dtype_attr(),), lambda x, dtype: tensor(extents(x), dtype), lambda x, dtype: topi.cast(x, dtype),
    _converted, "Each element converted to ``dtype``; floats to integers by dropping the fraction.",
)  # fmt: skip
