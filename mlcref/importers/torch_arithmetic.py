"""Conversions of arithmetic: functions of each element, of two operands, reductions, products of matrices."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from typing import Any

from mlcref import dtype as dt
from mlcref.importers.fx_table import converts
from mlcref.importers.torch_types import default_float, dtype_name, result_type
from mlcref.ir import graph
from mlcref.relax import op

# One tensor


def as_float(at: Any, x: Any) -> Any:
    """``x`` in a floating-point type."""
    return x if dt.is_float(at.info(x).dtype) else at.emit(op.astype(x, default_float()))


def _each(name: str, build: Callable[[Any], Any], floats: bool = True, places: str = "torch Tensor") -> None:
    """Enter a function of each element, which torch has under ``name`` in some places; with ``floats``, of floats."""

    def convert(at: Any, input: Any, inplace: bool = False) -> Any:
        return at.emit(build(as_float(at, input) if floats else input))

    converts(" ".join(f"{place}.{name}" for place in places.split()))(convert)


for _name in ["ceil", "floor", "round", "trunc", "abs", "sign", "square"]:
    _each(_name, getattr(op, _name), floats=False)
for _name in (
    "acos", "acosh", "asin", "asinh", "atan", "atanh", "cos", "cosh", "erf", "exp", "log", "rsqrt", "sin", "sinh",
    "sqrt", "tan",
):  # fmt: skip
    _each(_name, getattr(op, _name))
_each("neg", op.negative, floats=False)
_each("negative", op.negative, floats=False)
_each("logical_not", op.logical_not, floats=False)
_each("isnan", op.isnan)
_each("isinf", op.isinf)
_each("isfinite", op.isfinite)
_each("reciprocal", lambda x: op.divide(graph.const(1.0, x.struct_info.dtype), x))
_each("sigmoid", op.sigmoid, places="torch Tensor F")
_each("tanh", op.tanh, places="torch Tensor F")
_each("silu", op.nn.silu, places="F")
_each("relu6", op.nn.relu6, floats=False, places="F")


@converts("torch.relu F.relu Tensor.relu")
def relu(at: Any, input: Any, inplace: bool = False) -> Any:
    """The larger one of each element and 0."""
    return at.emit(op.nn.relu(input))


@converts("operator.neg")
def _negative(at: Any, a: Any) -> Any:
    return at.emit(op.negative(a)) if at.is_tensor(a) else -a


# Two operands


def operands(at: Any, a: Any, b: Any, *, floats: bool = False) -> tuple[Any, Any]:
    """``a`` and ``b``, at least one of them a tensor, as tensors of the type that torch computes in."""
    tensors = [(at.info(x).dtype, at.info(x).ndim) for x in (a, b) if at.is_tensor(x)]
    numbers = [x for x in (a, b) if not at.is_tensor(x)]
    wanted = result_type(tensors, numbers)
    if floats and not dt.is_float(wanted):
        wanted = default_float()
    return converted(at, a, wanted), converted(at, b, wanted)


def converted(at: Any, x: Any, dtype: str) -> Any:
    """A tensor or a number as a tensor of ``dtype``."""
    if not at.is_tensor(x):
        if not isinstance(x, bool | int | float):
            at.refuse("fx.value", f"an operand of {type(x).__name__}", "give it as a number or a tensor")
        return graph.const(x, dtype)
    return x if at.info(x).dtype == dtype else at.emit(op.astype(x, dtype))


def _two(names: str, build: Callable[[Any, Any], Any], plain: Callable[[Any, Any], Any], floats: bool = False) -> None:
    """Enter a function of two operands; of two numbers, ``plain`` computes it."""

    def convert(at: Any, input: Any, other: Any) -> Any:
        if not (at.is_tensor(input) or at.is_tensor(other)):
            return plain(input, other)
        return at.emit(build(*operands(at, input, other, floats=floats)))

    converts(names)(convert)


def _named(name: str, *also: str) -> str:
    return " ".join([f"torch.{name} Tensor.{name}", *also])


_two(_named("multiply", "torch.mul Tensor.mul operator.mul operator.imul"), op.multiply, operator.mul)
_two("operator.add operator.iadd", op.add, operator.add)
_two("operator.sub operator.isub", op.subtract, operator.sub)
_two("operator.truediv operator.itruediv torch.true_divide", op.divide, operator.truediv, floats=True)
_two(_named("floor_divide", "operator.floordiv"), op.floor_divide, operator.floordiv)
_two(_named("remainder", "operator.mod"), op.floor_mod, operator.mod)
_two(_named("fmod"), op.mod, math.fmod)
_two(_named("atan2"), op.atan2, math.atan2, floats=True)
_two(_named("eq", "operator.eq"), op.equal, operator.eq)
_two(_named("ne", "operator.ne"), op.not_equal, operator.ne)
_two(_named("lt", "operator.lt"), op.less, operator.lt)
_two(_named("le", "operator.le"), op.less_equal, operator.le)
_two(_named("gt", "operator.gt"), op.greater, operator.gt)
_two(_named("ge", "operator.ge"), op.greater_equal, operator.ge)


def _logical(word: str, plain: Callable[[Any, Any], Any]) -> None:
    """Enter a logical function of bools, and the bitwise one, which is the same on bools."""
    truth, bits = getattr(op, f"logical_{word}"), getattr(op, f"bitwise_{word}")

    def bitwise(a: Any, b: Any) -> Any:
        return (truth if dt.is_bool(a.struct_info.dtype) else bits)(a, b)

    _two(_named(f"logical_{word}"), truth, plain)
    _two(_named(f"bitwise_{word}", f"operator.{plain.__name__}"), bitwise, plain)


_logical("and", operator.and_)
_logical("or", operator.or_)
_logical("xor", operator.xor)


def _scaled(names: str, build: Callable[[Any, Any], Any], swapped: bool = False) -> None:
    """Enter a sum of one operand and ``alpha`` times the other."""

    def convert(at: Any, input: Any, other: Any, *, alpha: Any = 1) -> Any:
        a, b = operands(at, input, other)
        if alpha != 1:
            b = at.emit(op.multiply(b, converted(at, alpha, at.info(b).dtype)))
        return at.emit(build(b, a) if swapped else build(a, b))

    converts(names)(convert)


_scaled("torch.add Tensor.add", op.add)
_scaled("torch.sub Tensor.sub torch.subtract Tensor.subtract", op.subtract)


@converts("torch.rsub")
def _reversed_difference(at: Any, input: Any, other: Any) -> Any:
    a, b = operands(at, input, other)
    return at.emit(op.subtract(b, a))


@converts("torch.div Tensor.div torch.divide Tensor.divide")
def _divide(at: Any, input: Any, other: Any, *, rounding_mode: str | None = None) -> Any:
    a, b = operands(at, input, other, floats=rounding_mode is None)
    if rounding_mode == "floor":
        return at.emit(op.floor_divide(a, b))
    quotient = at.emit(op.divide(a, b))  # that of integers is rounded towards 0
    return at.emit(op.trunc(quotient)) if rounding_mode and dt.is_float(at.info(a).dtype) else quotient


@converts("torch.pow Tensor.pow operator.pow")
def _power(at: Any, input: Any, exponent: Any) -> Any:
    if not (at.is_tensor(input) or at.is_tensor(exponent)):
        return input**exponent
    a, b = operands(at, input, exponent)
    if exponent == 2 and not at.is_tensor(exponent):
        return at.emit(op.square(a))
    if not dt.is_float(at.info(a).dtype):
        at.refuse("fx.dtype", "a power of integers", "convert the operands to floats")
    if exponent == 0.5 and not at.is_tensor(exponent):
        return at.emit(op.sqrt(a))
    return at.emit(op.power(a, b))


@converts("torch.maximum Tensor.maximum")
def _maximum(at: Any, input: Any, other: Any) -> Any:
    return at.emit(op.maximum(*operands(at, input, other)))


@converts("torch.minimum Tensor.minimum")
def _minimum(at: Any, input: Any, other: Any) -> Any:
    return at.emit(op.minimum(*operands(at, input, other)))


@converts("torch.clamp Tensor.clamp torch.clip Tensor.clip")
def clamp(at: Any, input: Any, min: Any = None, max: Any = None) -> Any:
    """Each element, at least ``min`` and at most ``max``, which are numbers or tensors."""
    for bound, build in ((min, op.maximum), (max, op.minimum)):
        if bound is not None:
            input = at.emit(build(*operands(at, input, bound)))
    return input


@converts("torch.where Tensor.where")
def _where(at: Any, condition: Any, input: Any, other: Any) -> Any:
    if not (at.is_tensor(input) or at.is_tensor(other)):
        input = graph.const(input, result_type([], [input, other]))
    return at.emit(op.where(condition, *operands(at, input, other)))


@converts("Tensor.masked_fill torch.masked_fill")
def _masked_fill(at: Any, input: Any, mask: Any, value: Any) -> Any:
    return at.emit(op.where(mask, converted(at, value, at.info(input).dtype), input))


# Reductions


def axes(at: Any, dim: Any) -> Any:
    """The axes of a reduction: None for all."""
    return None if dim is None or dim == () or dim == [] else dim


def _reduction(name: str, build: Callable[..., Any], floats: bool) -> None:
    def convert(at: Any, input: Any, dim: Any = None, keepdim: bool = False, *, dtype: Any = None) -> Any:
        own = at.info(input).dtype
        wanted = dtype_name(dtype) if dtype is not None else own if floats or dt.is_float(own) else "int64"
        return at.emit(build(converted(at, input, wanted), axes(at, dim), keepdim))

    converts(f"torch.{name} Tensor.{name}")(convert)


_reduction("sum", op.sum, floats=False)
_reduction("prod", op.prod, floats=False)
_reduction("mean", op.mean, floats=True)


def _spread(name: str, build: Callable[..., Any]) -> None:
    """Enter a variance or its root, of which torch's default divides by one less than the number of elements."""

    def convert(
        at: Any, input: Any, dim: Any = None, unbiased: bool | None = None, keepdim: bool = False, *,
        correction: int | None = None,
    ) -> Any:  # fmt: skip
        biased = correction == 0 or (isinstance(unbiased, bool) and not unbiased and correction is None)
        if not biased:
            at.refuse("fx.argument", f"{name} with correction", f"call torch.{name}(..., correction=0)")
        return at.emit(build(input, axes(at, dim), keepdim))

    converts(f"torch.{name} Tensor.{name}")(convert)


_spread("var", op.variance)
_spread("std", op.std)


def _extremum(name: str, build: Callable[..., Any], pair: Callable[..., Any], place: Callable[..., Any]) -> None:
    """Enter max or min: of all elements, of two tensors, or along an axis with where it stands."""

    def convert(at: Any, input: Any, dim: Any = None, keepdim: bool = False) -> Any:
        if dim is None:
            return at.emit(build(input))
        if at.is_tensor(dim):
            return at.emit(pair(*operands(at, input, dim)))
        return at.emit(build(input, dim, keepdim)), at.emit(place(input, dim, keepdim))

    converts(f"torch.{name} Tensor.{name}")(convert)


def _over(name: str, build: Callable[..., Any]) -> None:
    def convert(at: Any, input: Any, dim: Any = None, keepdim: bool = False) -> Any:
        if dim is None and keepdim:
            at.refuse("fx.argument", "keepdim without dim")
        return at.emit(build(input, dim, keepdim))

    converts(f"torch.{name} Tensor.{name}")(convert)


_extremum("max", op.max, op.maximum, op.argmax)
_extremum("min", op.min, op.minimum, op.argmin)
_over("amax", op.max)
_over("amin", op.min)
_over("argmax", op.argmax)
_over("argmin", op.argmin)

# Products of matrices


@converts("torch.matmul Tensor.matmul operator.matmul torch.mm Tensor.mm torch.bmm Tensor.bmm")
def _matmul(at: Any, input: Any, other: Any) -> Any:
    return at.emit(op.matmul(input, other))


def _sum_of_products(names: str) -> None:
    def convert(at: Any, input: Any, mat1: Any, mat2: Any, *, beta: Any = 1, alpha: Any = 1) -> Any:
        product, dtype = at.emit(op.matmul(mat1, mat2)), at.info(input).dtype
        if alpha != 1:
            product = at.emit(op.multiply(product, graph.const(alpha, dtype)))
        if beta == 0:
            return product
        return at.emit(op.add(input if beta == 1 else at.emit(op.multiply(input, graph.const(beta, dtype))), product))

    converts(names)(convert)


_sum_of_products("torch.addmm Tensor.addmm torch.baddbmm Tensor.baddbmm")


def linear(at: Any, input: Any, weight: Any, bias: Any = None) -> Any:
    """``input @ weight.T + bias``."""
    return at.emit(op.linear(input, weight, bias))


converts("F.linear")(linear)

