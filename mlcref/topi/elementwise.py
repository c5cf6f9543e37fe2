"""Operators that compute each element from the element at the same place: ``topi.exp``, ``topi.cast`` …"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from mlcref import dtype as dt
from mlcref.ir import INTRINSICS, Expr, ExprLike, Max, Min, Not, Select, binary, call, const
from mlcref.ir import cast as convert
from mlcref.te import Tensor, compute
from mlcref.topi.operands import ELEMWISE, OperatorError, each, fits, floats, told

Unary = Callable[[Tensor], Tensor]


def mapped(x: Tensor, value: Callable[[Expr], ExprLike], name: str = "compute") -> Tensor:
    """The tensor of ``value`` of each element; its block is called ``name``, its loops ``i0, i1, …``."""
    return compute(x.shape, lambda *i: value(x(*i)), name=name, tag=ELEMWISE)


def marked(x: Tensor, value: Callable[[Expr], ExprLike], name: str) -> Tensor:
    """As :func:`mapped` with loops ``ax0, ax1, …``, as the operators that TVM writes in C++ have them."""
    return each(x.shape, lambda *i: value(x(*i)), name, ELEMWISE)


def _unary(name: str, intrinsic: str = "") -> Unary:
    row = INTRINSICS[intrinsic or name]

    def operator(x: Tensor) -> Tensor:
        if row.operands == "float":
            floats(x, name)
        return mapped(x, lambda element: call(row.name, element))

    operator.__name__ = operator.__qualname__ = name
    operator.__doc__ = f"The intrinsic ``{row.name}`` of each element ({row.operands} type). As ``tvm.topi.{name}``."
    return operator


exp = _unary("exp")
log = _unary("log")
log2 = _unary("log2")
log10 = _unary("log10")
sqrt = _unary("sqrt")
rsqrt = _unary("rsqrt")
sigmoid = _unary("sigmoid")
erf = _unary("erf")
sin = _unary("sin")
cos = _unary("cos")
tan = _unary("tan")
sinh = _unary("sinh")
cosh = _unary("cosh")
tanh = _unary("tanh")
asin = _unary("asin")
acos = _unary("acos")
atan = _unary("atan")
asinh = _unary("asinh")
acosh = _unary("acosh")
atanh = _unary("atanh")
floor = _unary("floor")
ceil = _unary("ceil")
trunc = _unary("trunc")
round = _unary("round", "nearbyint")
isnan = _unary("isnan")
isinf = _unary("isinf")
isfinite = _unary("isfinite")
abs = _unary("abs")


def identity(x: Tensor) -> Tensor:
    """A copy of ``x``. As ``tvm.topi.identity``.

    >>> from mlcref import te, topi
    >>> topi.identity(te.placeholder((2, 3), "int8")).dtype
    'int8'
    """
    return mapped(x, lambda element: element)


def negative(x: Tensor) -> Tensor:
    """Each element times -1; integers wrap. As ``tvm.topi.negative``.

    >>> from mlcref import te, topi
    >>> topi.negative(te.placeholder((4,))).dtype
    'float32'
    """
    if dt.is_integer(x.dtype) and dt.integer_range(x.dtype)[0] == 0:
        return mapped(x, lambda element: const(0, x.dtype) - element)
    return mapped(x, lambda element: -element)


def sign(x: Tensor) -> Tensor:
    """1, 0 or -1 in the type of ``x``; 0 for NaN. As ``tvm.topi.sign``.

    >>> from mlcref import te, topi
    >>> topi.sign(te.placeholder((4,), "int8")).dtype
    'int8'
    """
    one, zero = const(1, x.dtype), const(0, x.dtype)
    if dt.is_integer(x.dtype) and dt.integer_range(x.dtype)[0] == 0:
        return marked(x, lambda element: Select(zero < element, one, zero), "T_sign")
    below = const(-1, x.dtype)
    return marked(
        x, lambda element: Select(zero < element, one, Select(element < zero, below, zero)), "T_sign"
    )  # fmt: skip


def clip(x: Tensor, a_min: ExprLike, a_max: ExprLike) -> Tensor:
    """Each element, at most ``a_max`` and then at least ``a_min``, both converted to its type. As ``tvm.topi.clip``.

    >>> from mlcref import te, topi
    >>> topi.clip(te.placeholder((4,)), 0, 6).dtype
    'float32'
    """
    low, high = convert(x.dtype, a_min), convert(x.dtype, a_max)
    return mapped(x, lambda element: binary(Max, binary(Min, element, high), low))


def cast(x: Tensor, dtype: str) -> Tensor:
    """Each element converted to ``dtype``: a float to an integer truncates, an integer to a narrower one wraps, to bool
    is ``!= 0``. As ``tvm.topi.cast``.

    >>> from mlcref import te, topi
    >>> topi.cast(te.placeholder((4,), "int8"), "float32").dtype
    'float32'
    """
    return mapped(x, lambda element: convert(dt.canonical(dtype), element))


def reinterpret(x: Tensor, dtype: str) -> Tensor:
    """The bits of each element read as ``dtype`` of the same width. As ``tvm.topi.reinterpret``.

    >>> from mlcref import te, topi
    >>> topi.reinterpret(te.placeholder((4,)), "int32").dtype
    'int32'
    """
    target = dt.canonical(dtype)
    if dt.numpy_dtype(target).itemsize != dt.numpy_dtype(x.dtype).itemsize:
        raise OperatorError(f"{x.dtype} and {target} are not of one width", rule="topi.O4")
    return marked(x, lambda element: call("reinterpret", element, dtype=target), "tensor")


def bitwise_not(data: Tensor) -> Tensor:
    """All bits of each integer turned. As ``tvm.topi.bitwise_not``.

    >>> from mlcref import te, topi
    >>> topi.bitwise_not(te.placeholder((4,), "uint8")).dtype
    'uint8'
    """
    return marked(data, lambda element: call("bitwise_not", element), "T_bitwise_not")


def logical_not(data: Tensor) -> Tensor:
    """Whether each truth value does not hold. Raises OperatorError (topi.O4) unless ``data`` is bool. As
    ``tvm.topi.logical_not``.

    >>> from mlcref import te, topi
    >>> topi.logical_not(te.placeholder((4,), "bool")).dtype
    'bool'
    """
    if not dt.is_bool(data.dtype):
        raise OperatorError(f"logical_not is defined on bool, not on {data.dtype}", rule="topi.O4")
    return marked(data, Not, "T_logical_not")


def elemwise_sum(xs: Sequence[Tensor]) -> Tensor:
    """The sum of tensors of one shape. Raises OperatorError (topi.O1). As ``tvm.topi.elemwise_sum``.

    >>> from mlcref import te, topi
    >>> A, B = te.placeholder((2, 3)), te.placeholder((2, 3))
    >>> topi.elemwise_sum([A, B, A]).ndim
    2
    """
    if not xs or any(x.ndim != xs[0].ndim for x in xs):
        raise OperatorError("elemwise_sum takes tensors of one shape", rule="topi.O1")
    for x in xs[1:]:
        for a, b in zip(xs[0].shape, x.shape, strict=True):
            fits(a, b, f"elemwise_sum of {told(xs[0].shape)} and {told(x.shape)}")

    def total(*i: Any) -> Expr:
        result: Expr = xs[0](*i)
        for x in xs[1:]:
            result = result + x(*i)
        return result

    return each(xs[0].shape, total, "T_elemwise_sum", ELEMWISE)
