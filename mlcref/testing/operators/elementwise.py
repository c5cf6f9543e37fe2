"""Cases of the operators on each element, on pairs of elements, and of the reductions."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from mlcref.testing.operators.case import FLOATS, INTEGERS, NUMBERS, Array, Case, Draw, Operator

_erf = np.vectorize(math.erf, otypes=[np.float64])
Function = Callable[..., Any]


def _unary(
    name: str, reference: Function, dtypes: tuple[str, ...] = FLOATS, low: float = -3, high: float = 3
) -> Operator:  # fmt: skip
    def draw(d: Draw) -> Case:
        x = d.array(d.shape(0, 3), dtypes, low, high)
        return Case([x], lambda topi, x: getattr(topi, name)(x), reference)

    return Operator(name, draw)


def _special(name: str, reference: Function) -> Operator:
    """Of floats, infinities and NaN among them."""

    def draw(d: Draw) -> Case:
        x = d.array(d.shape(), FLOATS)
        x.flat[d.count(0, x.size - 1)] = d.pick((np.inf, -np.inf, np.nan, 0.0))
        return Case([x], lambda topi, x: getattr(topi, name)(x), reference)

    return Operator(name, draw)


def _sigmoid(x: Array) -> Array:
    return np.asarray(1 / (1 + np.exp(-x)))


def _clip(d: Draw) -> Case:
    x = d.array(d.shape(), NUMBERS)
    low, high = d.count(-2, 0), d.count(1, 3)
    low = max(low, 0) if x.dtype.kind == "u" else low
    return Case([x], lambda topi, x: topi.clip(x, low, high), lambda x: np.clip(x, low, high))


def _cast(d: Draw) -> Case:
    x = d.array(d.shape(), (*NUMBERS, "bool"), low=0)
    target = d.pick(("int32", "float32", "bool", "int8", "float16", "float64", "uint8"))
    return Case([x], lambda topi, x: topi.cast(x, target), lambda y: y.astype(target))


def _reinterpret(d: Draw) -> Case:
    x = d.array(d.shape(), ("float32", "int32"))
    target = "int32" if x.dtype == np.float32 else "float32"
    return Case([x], lambda topi, x: topi.reinterpret(x, target), lambda _: x.view(target))


def _elemwise_sum(d: Draw) -> Case:
    shape, dtype = d.shape(), d.pick(NUMBERS)
    arrays = [d.array(shape, dtype) for _ in range(d.count(1, 4))]
    return Case(arrays, lambda topi, *xs: topi.elemwise_sum(list(xs)), lambda *xs: sum(xs[1:], xs[0]))


def _binary(
    name: str, reference: Function, dtypes: tuple[str, ...] = NUMBERS, first: tuple[float, float] = (-3, 3),
    second: tuple[float, float] = (-3, 3), nonzero: bool = False,
) -> Operator:  # fmt: skip
    def draw(d: Draw) -> Case:
        shapes, dtype = d.broadcast_pair(), d.pick(dtypes)
        x, y = d.array(shapes[0], dtype, *first), d.array(shapes[1], dtype, *second)
        if nonzero:
            y[y == 0] = 1
        if d.count(0, 3) == 3:  # a number in place of the second tensor
            number = y.flat[0].item()
            return Case([x], lambda topi, x: getattr(topi, name)(x, number), lambda x: reference(x, y.flat[0]))
        return Case([x, y], lambda topi, x, y: getattr(topi, name)(x, y), reference)

    return Operator(name, draw)


def _divided(x: Array, y: Array) -> Array:
    if np.asarray(x).dtype.kind == "f":
        return np.asarray(x / y)
    wide, by = np.asarray(x, "int64"), np.asarray(y, "int64")
    return np.asarray(np.sign(wide) * np.sign(by) * (abs(wide) // abs(by)))


def _where(d: Draw) -> Case:
    shapes, dtype = d.broadcast_pair(), d.pick(NUMBERS)
    condition = d.array(shapes[0], ("bool", "int32"), 0, 2)
    x, y = d.array(shapes[1], dtype), d.array(shapes[0], dtype)
    return Case([condition, x, y], lambda topi, c, x, y: topi.where(c, x, y), lambda c, x, y: np.where(c != 0, x, y))


def _broadcast_to(d: Draw) -> Case:
    shape, other = d.broadcast_pair()
    x, whole = d.array(shape, NUMBERS), np.broadcast_shapes(shape, other)
    return Case([x], lambda topi, x: topi.broadcast_to(x, whole), lambda x: np.broadcast_to(x, whole))


def _reduction(name: str, reference: Function, dtypes: tuple[str, ...] = NUMBERS, high: float = 3) -> Operator:
    def draw(d: Draw) -> Case:
        x = d.array(d.shape(), dtypes, -high, high)
        axis, keepdims = d.axes(x.ndim), d.flag()
        over = tuple(axis) if isinstance(axis, list) else axis
        return Case(
            [x], lambda topi, x: getattr(topi, name)(x, axis, keepdims),
            lambda x: reference(x, axis=over, keepdims=keepdims),
        )  # fmt: skip

    return Operator(name, draw)


def _place(name: str, best: Function) -> Operator:
    """Of few different values, so that the best often stands at several places."""

    def draw(d: Draw) -> Case:
        x = d.array(d.shape(), NUMBERS, -2, 2)
        axis, keepdims, last = d.pick((None, d.axis(x.ndim))), d.flag(), d.flag()

        def reference(x: Array) -> Array:
            row = x.reshape(-1) if axis is None else x
            along = 0 if axis is None else axis
            found = best(np.flip(row, along), along) if last else best(row, along)
            found = row.shape[along] - 1 - found if last else found
            if not keepdims:
                return np.asarray(found)
            return np.reshape(found, (1,) * x.ndim) if axis is None else np.expand_dims(found, axis)

        return Case([x], lambda topi, x: getattr(topi, name)(x, axis, keepdims, last), reference)

    return Operator(name, draw)


def _collapse_sum(d: Draw) -> Case:
    x = d.array(d.shape(), NUMBERS)
    target = tuple(extent if d.flag() else 1 for extent in x.shape)[d.count(0, x.ndim - 1) :]

    def reference(x: Array) -> Array:
        gone = tuple(range(x.ndim - len(target)))
        summed = x.sum(axis=gone)
        return np.asarray(summed.sum(axis=tuple(n for n, e in enumerate(target) if e == 1), keepdims=True))

    return Case([x], lambda topi, x: topi.collapse_sum(x, target), reference)


OPERATORS = (
    *(_unary(name, getattr(np, name)) for name in ("exp", "sin", "cos", "sinh", "cosh", "tanh")),
    _unary("tan", np.tan, low=-1, high=1),
    _unary("erf", _erf),
    _unary("sigmoid", _sigmoid),
    *(_unary(name, getattr(np, name), low=0.5, high=9) for name in ("log", "log2", "log10", "sqrt")),
    _unary("rsqrt", lambda x: 1 / np.sqrt(x), low=0.5, high=9),
    _unary("asin", np.arcsin, low=-1, high=1),
    _unary("acos", np.arccos, low=-1, high=1),
    _unary("atan", np.arctan),
    _unary("asinh", np.arcsinh),
    _unary("acosh", np.arccosh, low=1, high=9),
    _unary("atanh", np.arctanh, low=-0.9, high=0.9),
    *(_unary(name, getattr(np, name)) for name in ("floor", "ceil", "trunc", "round")),
    *(_special(name, getattr(np, name)) for name in ("isnan", "isinf", "isfinite")),
    _unary("abs", np.abs, NUMBERS),
    _unary("sign", np.sign, NUMBERS),
    _unary("negative", np.negative, NUMBERS),
    _unary("identity", np.copy, (*NUMBERS, "bool")),
    _unary("bitwise_not", np.invert, INTEGERS),
    _unary("logical_not", np.logical_not, ("bool",)),
    Operator("clip", _clip),
    Operator("cast", _cast),
    Operator("reinterpret", _reinterpret),
    Operator("elemwise_sum", _elemwise_sum),
    *(_binary(name, getattr(np, name)) for name in ("add", "subtract", "multiply", "maximum", "minimum")),
    _binary("divide", _divided, nonzero=True),
    _binary("floor_divide", np.floor_divide, (*INTEGERS, "float32"), (-9, 9), nonzero=True),
    _binary("floor_mod", np.mod, INTEGERS, (-9, 9), nonzero=True),
    _binary("mod", np.fmod, (*INTEGERS, *FLOATS[:3]), (-9, 9), nonzero=True),
    _binary("power", np.power, FLOATS[:3], (0.5, 3)),
    _binary("atan2", np.arctan2, FLOATS[:3], second=(0.5, 3)),
    _binary("log_add_exp", np.logaddexp, FLOATS[:3]),
    *(_binary(name, getattr(np, name), INTEGERS, (0, 6), (0, 3)) for name in ("left_shift", "right_shift")),
    *(_binary(name, getattr(np, name)) for name in
      ("greater", "less", "greater_equal", "less_equal", "equal", "not_equal")),
    *(_binary(name, getattr(np, name), ("bool",)) for name in ("logical_and", "logical_or", "logical_xor")),
    *(_binary(name, getattr(np, name), INTEGERS) for name in ("bitwise_and", "bitwise_or", "bitwise_xor")),
    Operator("where", _where),
    Operator("broadcast_to", _broadcast_to),
    _reduction("sum", np.sum),
    _reduction("prod", np.prod, high=2),
    _reduction("max", np.max),
    _reduction("min", np.min),
    _reduction("all", np.all, ("bool",)),
    _reduction("any", np.any, ("bool",)),
    _place("argmax", np.argmax),
    _place("argmin", np.argmin),
    Operator("collapse_sum", _collapse_sum),
)  # fmt: skip
