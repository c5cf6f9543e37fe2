"""How far a correct implementation of a graph may be from exact arithmetic: a bound for each element of the result.

Every operator gets its operands with what they may be off and adds what it rounds itself, by the rules of
:mod:`mlcref.benchmark.bounds`: sums in any order, contracted or not, functions of a library up to 4 ulps. On small
integers sums and products are exact. A normalization may also be computed as ``x * a + b`` with ``a`` and ``b``
computed before, as libraries do. A comparison of what may be equal is unknown, and so is what depends on it, within the
distance of the two outcomes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import numpy as np

from mlcref import dtype as dt
from mlcref.benchmark.bounds import DIGITS, ULPS, Approximate
from mlcref.errors import MlcrefError, UnsupportedError
from mlcref.ir import IRModule, graph
from mlcref.ir.function import BaseFunc, as_module
from mlcref.ir.graph_ops import Operator, operator_of
from mlcref.ir.shapes import evaluate, match_arguments
from mlcref.relax.analysis import remove_all_unused

Array = np.ndarray[Any, Any]
Rule = Callable[..., Any]
R = TypeVar("R", bound=Callable[..., Any])
"""Takes the operator, its operands (``Approximate``, tuples of them, shapes, None) and its attributes by name."""

RULES: dict[str, Rule] = {}
"""By the operator's name in ``relax.op``."""


def bounded_graph(program: IRModule | BaseFunc, *args: Any, entry: str = "main") -> Any:
    """What the graph function ``entry`` computes of ``args`` in exact arithmetic, each element with its bound: an
    ``Approximate`` or a tuple of them, whose ``covers(result)`` says which elements of a result are right.

    ``args`` are arrays of the types of the parameters, taken as they are. Raises ``UnsupportedError`` (rule
    ``graph.bound``) for an operator without a rule and for tensor programs. Source: Higham, "Accuracy and Stability of
    Numerical Algorithms", 3.1 and 4.2.

    >>> from mlcref import relax
    >>> x = relax.Var("x", relax.TensorStructInfo((2,), "float32"))
    >>> call = relax.op.divide(x, relax.const(3.0))
    >>> third = bounded_graph(relax.Function([x], relax.SeqExpr((), call)), np.float32([1, 3]))
    >>> third.covers(np.float32([1 / 3, 1])), third.covers([0.3333, 1.0])
    (array([ True,  True]), array([False,  True]))
    """
    module = as_module(program)
    func = module[entry] if isinstance(program, IRModule) else program
    if not isinstance(func, graph.Function):
        raise MlcrefError(f"{entry} is no graph function", rule="graph.bound")
    sizes = match_arguments(func.name, func.params, args)
    func = remove_all_unused(func)
    values = {param: _exact(np.asarray(arg)) for param, arg in zip(func.params, args, strict=True)}

    def value_of(node: Any) -> Any:
        if isinstance(node, graph.Var):
            return values[node]
        if isinstance(node, graph.Constant):
            return _exact(node.data)
        if isinstance(node, graph.ShapeExpr):
            return tuple([int(evaluate(extent, sizes)) for extent in node.values])
        if isinstance(node, graph.Tuple):
            return tuple([value_of(field) for field in node.fields])
        if isinstance(node, graph.TupleGetItem):
            return value_of(node.tuple_value)[node.index]
        return _operated(node, [value_of(arg) for arg in getattr(node, "args", ())])

    for binding in func.bindings():
        values[binding.var] = value_of(binding.value)
    return value_of(func.body.body)


def _exact(array: Array) -> Approximate:
    return Approximate.exact(array, dt.canonical(array.dtype))


def _operated(node: Any, operands: list[Any]) -> Any:
    operator = operator_of(node) if isinstance(node, graph.Call) else None
    if operator is not None and _is_exact(node, operands):
        return _exact(operator.compute([_content(operand) for operand in operands], node.attrs))
    rule = None if operator is None else RULES.get(operator.name.removeprefix("relax."))
    if operator is None or rule is None:
        what = operator.name if operator is not None else getattr(node, "op", type(node).__name__)
        raise UnsupportedError(f"no rule bounds {what}", rule="graph.bound", hint="bound the graph before LegalizeOps")
    operands += [None] * (len(operator.operands) - len(operands))
    with np.errstate(all="ignore"):  # what is not a number is so in the graph, too
        return rule(operator, *operands, **operator.converted(node.attrs))


def _is_exact(node: graph.Call, operands: list[Any]) -> bool:
    """Are these integers or bools that come of exact operands?"""
    info = node.struct_info
    if not isinstance(info, graph.TensorStructInfo) or dt.is_float(info.dtype):
        return False
    tensors = [one for operand in operands for one in (operand if isinstance(operand, tuple) else (operand,))]
    return not any(isinstance(one, Approximate) and np.any(one.error) for one in tensors)


def _content(operand: Any) -> Any:
    """An exact operand as the reference takes it."""
    if isinstance(operand, tuple):
        return tuple([_content(one) for one in operand])
    return operand.value.astype(dt.numpy_dtype(operand.dtype)) if isinstance(operand, Approximate) else operand


def rule(names: str) -> Callable[[R], R]:
    """Enter the rule of the operators ``names``."""

    def enter(function: R) -> R:
        RULES.update(dict.fromkeys(names.split(), function))
        return function

    return enter


def _full(x: Approximate) -> Array:
    """The error of each element."""
    return np.broadcast_to(x.error, x.value.shape)


def _made(x: Approximate, value: Array, error: Array) -> Approximate:
    return Approximate(value, np.asarray(error), x.dtype)


# Elements that move, and choices among elements


@rule(
    "permute_dims reshape flatten expand_dims squeeze broadcast_to concat stack split strided_slice repeat tile flip "
    "tril triu nn.max_pool2d max min"
)
def _moved(operator: Operator, x: Any, *shape: Any, **attrs: Any) -> Any:
    """What is done to the elements is done to their errors; an extremum is off by no more than its operands."""
    several = isinstance(x, tuple)
    values, errors = ([pick(one) for one in (x if several else (x,))] for pick in (lambda one: one.value, _full))
    made = [operator.compute([tuple(given) if several else given[0], *shape], attrs) for given in (values, errors)]
    first = x[0] if several else x
    if isinstance(made[0], tuple):
        return tuple([_made(first, value, error) for value, error in zip(*made, strict=True)])
    return _made(first, *made)


@rule("nn.pad")
def _padded(operator: Operator, x: Approximate, **attrs: Any) -> Approximate:
    around = operator.compute([_full(x)], {**attrs, "pad_value": 0.0})
    return _made(x, operator.compute([x.value], attrs), around)


@rule("take")
def _taken(operator: Operator, x: Approximate, indices: Approximate, **attrs: Any) -> Approximate:
    at = indices.value.astype("int64")
    return _made(x, *(operator.compute([part, at], attrs) for part in (x.value, _full(x))))


@rule("nn.relu nn.relu6 clip abs negative")
def _as_far(operator: Operator, x: Approximate, **attrs: Any) -> Approximate:
    """Functions that bring nothing further apart, and round nothing."""
    return _made(x, operator.compute([x.value], attrs), x.error)


@rule("maximum minimum")
def _extremum(operator: Operator, a: Approximate, b: Approximate) -> Approximate:
    return _made(a, operator.compute([a.value, b.value], {}), np.maximum(a.error, b.error))


@rule("equal not_equal less less_equal greater greater_equal")
def _compared(operator: Operator, a: Approximate, b: Approximate) -> Approximate:
    apart = a.error + b.error
    unknown = (np.abs(a.value - b.value) <= apart) & (apart > 0)
    holds = operator.compute([a.value, b.value], {})
    return Approximate(holds.astype(float), unknown.astype(float), "bool")


@rule("logical_and logical_or logical_xor logical_not")
def _logical(operator: Operator, *operands: Approximate) -> Approximate:
    holds = operator.compute([x.value.astype(bool) for x in operands], {})
    error = operands[0].error if len(operands) == 1 else np.maximum(operands[0].error, operands[1].error)
    return Approximate(holds.astype(float), error, "bool")


@rule("where")
def _chosen(operator: Operator, condition: Approximate, a: Approximate, b: Approximate) -> Approximate:
    holds = condition.value.astype(bool)
    with np.errstate(invalid="ignore"):
        between = np.where(condition.error > 0, np.abs(a.value - b.value) + np.maximum(a.error, b.error), 0.0)
    value, error = np.where(holds, a.value, b.value), np.where(holds, a.error, b.error)
    return _made(a, value, np.maximum(error, between))


@rule("astype")
def _converted(operator: Operator, x: Approximate, dtype: str) -> Approximate:
    if not dt.is_float(dtype) and np.any(x.error):
        raise UnsupportedError(f"a rounded number as {dtype} depends on rounding", rule="graph.bound")
    if not dt.is_float(dtype):
        return _exact(operator.compute([x.value], {"dtype": dtype}))
    if dt.is_float(x.dtype):
        return x.converted(dtype)
    made = Approximate(x.value, x.error, dtype)
    return made if np.all(np.abs(x.value) <= 2.0 ** DIGITS[dtype]) else made.rounded(x.value, x.error)


@rule("zeros ones")
def _filled(operator: Operator, shape: tuple[int, ...], dtype: str) -> Approximate:
    return Approximate.exact(operator.compute([shape], {"dtype": dtype}), dtype)


@rule("zeros_like ones_like")
def _filled_like(operator: Operator, x: Approximate, dtype: str | None) -> Approximate:
    return Approximate.exact(operator.compute([x.value], {"dtype": dtype or x.dtype}), dtype or x.dtype)


# One rounding


RULES.update({
    "add": lambda _, a, b: a + b, "subtract": lambda _, a, b: a - b, "multiply": lambda _, a, b: a * b,
    "divide": lambda _, a, b: a / b, "ewise_fma": lambda _, a, b, c: a * b + c, "square": lambda _, x: x * x,
    "sqrt": lambda _, x: x.sqrt(), "exp": lambda _, x: x.exp(), "erf": lambda _, x: x.erf(),
    "rsqrt": lambda _, x: _one(x) / x.sqrt(),
})  # fmt: skip


def _one(x: Approximate) -> Approximate:
    return Approximate.exact(1.0, x.dtype)


def _sloped(slope: float) -> Callable[..., Approximate]:
    """The rule of a function whose slope is at most ``slope``."""

    def compute(operator: Operator, x: Approximate, **attrs: Any) -> Approximate:
        return x.rounded(operator.compute([x.value], attrs), slope * _full(x), roundings=2 * ULPS)

    return compute


_sigmoid = rule("sigmoid")(_sloped(0.25))
_tanh = rule("tanh sin cos atan asinh")(_sloped(1.0))


@rule("nn.leakyrelu")
def _leaky(operator: Operator, x: Approximate, alpha: float) -> Approximate:
    inherited = max(1.0, abs(alpha)) * _full(x)
    return x.rounded(operator.compute([x.value], {"alpha": alpha}), inherited, roundings=2.0)  # alpha is, too


@rule("log")
def _log(operator: Operator, x: Approximate) -> Approximate:
    with np.errstate(all="ignore"):
        inherited = np.where(x.value > x.error, -np.log1p(-x.error / x.value), np.inf)
    return x.rounded(operator.compute([x.value], {}), inherited, roundings=2 * ULPS)


@rule("power")
def _power(operator: Operator, x: Approximate, y: Approximate) -> Approximate:
    """Monotone in the base and in the exponent where the base is positive; else known for exact operands."""
    value = operator.compute([x.value, y.value], {})
    corners = [(x.value + a * x.error, y.value + b * y.error) for a in (-1, 1) for b in (-1, 1)]
    moved = [np.abs(operator.compute([*corner], {}) - value) for corner in corners]
    exact = (x.error == 0) & (y.error == 0)
    inherited = np.where(x.value - x.error > 0, np.maximum.reduce(moved), np.where(exact, 0.0, np.inf))
    return x.rounded(value, inherited * (1 + 2.0**-40), roundings=2 * ULPS)


@rule("nn.silu")
def _silu(operator: Operator, x: Approximate) -> Approximate:
    return x * _sigmoid(operator_named("sigmoid"), x)


@rule("nn.gelu")
def _gelu(operator: Operator, x: Approximate) -> Approximate:
    return x.scaled(0.5) * (_one(x) + x.scaled(math.sqrt(0.5)).erf())


@rule("nn.gelu_tanh")
def _gelu_tanh(operator: Operator, x: Approximate) -> Approximate:
    inner = (x + (x * x * x).scaled(0.044715)).scaled(math.sqrt(2 / math.pi))
    return x.scaled(0.5) * (_one(x) + _tanh(operator_named("tanh"), inner))


def operator_named(name: str) -> Operator:
    """The row of an operator."""
    found = operator_of(graph.Op.get(f"relax.{name}"))
    assert found is not None
    return found


# Sums


@rule("matmul nn.conv1d nn.conv2d")
def _contracted(operator: Operator, a: Approximate, b: Approximate, **attrs: Any) -> Approximate:
    outputs = attrs["kernel_layout"].index("O") if "kernel_layout" in attrs else None
    terms = a.value.shape[-1] if outputs is None else b.value.size // b.value.shape[outputs]
    made = a.contract(b, lambda x, y: operator.compute([x, y], attrs), terms)
    return made if attrs.get("out_dtype") is None else made.converted(attrs["out_dtype"])


def _linear(x: Approximate, function: Callable[[Array], Array], terms: int) -> Approximate:
    """A sum of up to ``terms`` elements, each times a number that is not negative, and one division."""
    value, inherited = function(x.value), function(_full(x))
    magnitude = function(np.abs(x.value)) + inherited
    return x.rounded(value, inherited + x.gamma(terms + 2) * magnitude)


@rule("sum")
def _sum(operator: Operator, x: Approximate, axis: Any, keepdims: bool) -> Approximate:
    axes = range(x.value.ndim) if axis is None else sorted(one % x.value.ndim for one in axis)
    for one in reversed(axes):
        x = x.sum(one, keepdims=keepdims)
    return x


@rule("mean")
def _mean(operator: Operator, x: Approximate, axis: Any, keepdims: bool) -> Approximate:
    def average(array: Array) -> Array:
        return np.asarray(array.mean(axis, keepdims=keepdims))

    return _linear(x, average, x.value.size // max(average(x.value).size, 1))


@rule("nn.avg_pool2d nn.adaptive_avg_pool2d")
def _average_pool(operator: Operator, x: Approximate, **attrs: Any) -> Approximate:
    terms = math.prod(attrs["pool_size"]) if "pool_size" in attrs else x.value.size
    return _linear(x, lambda array: operator.compute([array], attrs), terms)


@rule("variance")
def _variance(operator: Operator, x: Approximate, axis: Any, keepdims: bool) -> Approximate:
    apart = x - _mean(operator, x, axis, True)
    return _mean(operator, apart * apart, axis, keepdims)


@rule("std")
def _std(operator: Operator, x: Approximate, axis: Any, keepdims: bool) -> Approximate:
    return _variance(operator, x, axis, keepdims).sqrt()


@rule("nn.softmax")
def _softmax(operator: Operator, x: Approximate, axis: int) -> Approximate:
    powers = _below(x, axis).exp()
    return powers / powers.sum(axis, keepdims=True)


@rule("nn.log_softmax")
def _log_softmax(operator: Operator, x: Approximate, axis: int) -> Approximate:
    below = _below(x, axis)
    return below - _log(operator_named("log"), below.exp().sum(axis, keepdims=True))


def _below(x: Approximate, axis: int) -> Approximate:
    """``x`` minus the largest along an axis; what is minus infinity stays so."""
    made = x - x.max(axis, keepdims=True)
    return _made(made, made.value, np.where(np.isneginf(x.value), 0.0, made.error))


@rule("nn.attention")
def _attention(
    operator: Operator, query: Approximate, key: Approximate, value: Approximate, bias: Approximate | None,
    scale: float | None, causal_mask: str | None, window_size: None,
) -> Approximate:  # fmt: skip
    size, length = query.value.shape[3], key.value.shape[1]
    scores = query.contract(key, lambda a, b: np.einsum("bmhd,bnhd->bhmn", a, b), size)
    scores = scores.scaled(1 / math.sqrt(size) if scale is None else scale)
    scores = scores if bias is None else scores + bias
    if causal_mask is not None:
        shift = 0 if causal_mask == "TopLeft" else length - query.value.shape[1]
        seen = np.tril(np.ones(scores.value.shape[2:], bool), shift)
        scores = _made(scores, np.where(seen, scores.value, -np.inf), np.where(seen, scores.error, 0.0))
    weights = _softmax(operator, scores, -1)
    return weights.contract(value, lambda a, b: np.einsum("bhmn,bnhe->bmhe", a, b), length)


# Normalizations


def _normalized(
    x: Approximate, mean: Approximate, variance: Approximate, epsilon: float, gamma: Approximate, beta: Approximate
) -> Approximate:
    """``(x - mean) / sqrt(variance + epsilon) * gamma + beta``, or as ``x * a + b``, which rounds where it cancels."""
    deviation = (variance + Approximate.exact(epsilon, x.dtype).scaled(1.0)).sqrt()
    made = (x - mean) / deviation * gamma + beta
    with np.errstate(divide="ignore"):
        size = (np.abs(x.value) + np.abs(mean.value)) / np.maximum(deviation.value - deviation.error, 0.0)
    apart = np.abs(made.value) + size * np.abs(gamma.value) + np.abs(beta.value)
    return _made(made, made.value, made.error + x.gamma(int(4 * ULPS)) * apart)


def _along(x: Approximate, axes: Sequence[int], ndim: int) -> Approximate:
    """A weight whose axes are ``axes`` of the data, so that it broadcasts with them."""
    sizes = dict(zip([axis % ndim for axis in axes], x.value.shape, strict=True))
    shape = [sizes.get(position, 1) for position in range(ndim)]
    return _made(x, x.value.reshape(shape), _full(x).reshape(shape))


@rule("nn.batch_norm")
def _batch_norm(
    operator: Operator, x: Approximate, gamma: Approximate, beta: Approximate, mean: Approximate, variance: Approximate,
    axis: int, epsilon: float, center: bool, scale: bool, **_: Any,
) -> tuple[Approximate, ...]:  # fmt: skip
    weights = gamma if scale else _exact(np.ones_like(gamma.value)), beta if center else _exact(beta.value * 0)
    m, v, g, b = (_along(one, [axis], x.value.ndim) for one in (mean, variance, *weights))
    return _normalized(x, m, v, epsilon, g, b), mean, variance


@rule("nn.layer_norm")
def _layer_norm(
    operator: Operator, x: Approximate, gamma: Approximate, beta: Approximate, axes: Sequence[int], epsilon: float,
    **_: Any,
) -> Approximate:  # fmt: skip
    over = tuple(axes)
    weights = [_along(one, over, x.value.ndim) for one in (gamma, beta)]
    return _normalized(x, *_moments(operator, x, over), epsilon, *weights)


def _moments(operator: Operator, x: Approximate, over: tuple[int, ...]) -> tuple[Approximate, Approximate]:
    return _mean(operator, x, over, True), _variance(operator, x, over, True)


@rule("nn.rms_norm")
def _rms_norm(
    operator: Operator, x: Approximate, weight: Approximate, axes: Sequence[int], epsilon: float
) -> Approximate:
    square = _mean(operator, x * x, tuple(axes), True)
    return x / (square + Approximate.exact(epsilon, x.dtype).scaled(1.0)).sqrt() * _along(weight, axes, x.value.ndim)


@rule("nn.group_norm")
def _group_norm(
    operator: Operator, x: Approximate, gamma: Approximate, beta: Approximate, num_groups: int, channel_axis: int,
    axes: Sequence[int], epsilon: float, **_: Any,
) -> Approximate:  # fmt: skip
    shape, ndim = x.value.shape, x.value.ndim
    if channel_axis % ndim != 1 or sorted(axis % ndim for axis in axes) != list(range(2, ndim)):
        raise UnsupportedError("no rule bounds group_norm of another layout than (n, channels, …)", rule="graph.bound")
    groups = (shape[0], num_groups, shape[1] // num_groups, *shape[2:])
    grouped = _made(x, x.value.reshape(groups), _full(x).reshape(groups))
    weights = [_made(one, one.value.reshape(groups[1:3] + (1,) * (ndim - 2)), np.zeros(())) for one in (gamma, beta)]
    moments = _moments(operator, grouped, tuple(range(2, ndim + 1)))
    made = _normalized(grouped, *moments, epsilon, *weights)
    return _made(x, made.value.reshape(shape), made.error.reshape(shape))
