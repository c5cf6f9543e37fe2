"""How a random call of each graph operator is made, valid by construction: operands and attributes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from mlcref.arith import product
from mlcref.ir import constant, graph
from mlcref.ir.graph_ops import function_of
from mlcref.testing.graph_source import BOOL, FLOATS, INTEGERS, GraphSource, shape_of, tensor_of

Recipe = Callable[[GraphSource], graph.Call]
NUMBERS = (*INTEGERS, *FLOATS)
ANY = (*NUMBERS, *BOOL)

RECIPES: dict[str, tuple[tuple[str, ...], Recipe]] = {}
"""Of each operator: the data types of its first operand, and how a call is made."""


def call(name: str, *args: Any, **attrs: Any) -> graph.Call:
    """The call that ``relax.op`` makes."""
    function = function_of(name)
    assert function is not None
    return function(*args, **attrs)


def recipe(names: str, dtypes: tuple[str, ...]) -> Callable[[Callable[[str, GraphSource], graph.Call]], None]:
    """Enter a recipe for the operators ``names``."""

    def enter(make: Callable[[str, GraphSource], graph.Call]) -> None:
        for name in names.split():
            RECIPES[name] = (dtypes, lambda source, name=name: make(name, source))  # type: ignore[misc]

    return enter


_UNARY = "exp sqrt rsqrt log sigmoid erf sin cos tan sinh cosh tanh asin acos atan asinh acosh atanh floor ceil trunc"


@recipe(f"{_UNARY} round isnan isinf isfinite nn.gelu nn.gelu_tanh nn.silu", FLOATS)
def _unary(name: str, source: GraphSource) -> graph.Call:
    return call(name, source.any(FLOATS))


@recipe("negative abs sign square nn.relu nn.relu6", NUMBERS)
def _unary_number(name: str, source: GraphSource) -> graph.Call:
    return call(name, source.any(NUMBERS))


@recipe("nn.leakyrelu", FLOATS)
def _leaky(name: str, source: GraphSource) -> graph.Call:
    return call(name, source.any(FLOATS), source.pick([0.01, 0.5]))


@recipe("nn.dropout", FLOATS)
def _dropout(name: str, source: GraphSource) -> graph.Call:
    return call(name, source.any(FLOATS), rate=0.5)


@recipe("clip", NUMBERS)
def _clip(name: str, source: GraphSource) -> graph.Call:
    return call(name, source.any(NUMBERS), 0, source.pick([0, 2]))


@recipe("logical_not", BOOL)
def _logical_not(name: str, source: GraphSource) -> graph.Call:
    return call(name, source.any(BOOL))


@recipe("astype", ANY)
def _astype(name: str, source: GraphSource) -> graph.Call:
    return call(name, source.any(ANY), source.pick(source.dtypes))


def _pair(name: str, source: GraphSource, dtypes: tuple[str, ...], positive: bool = False) -> graph.Call:
    x = source.any(dtypes)
    y = source.stretchable(x, positive)
    return call(name, y, x) if not positive and source.pick([False, True]) else call(name, x, y)


@recipe("add subtract multiply maximum minimum", NUMBERS)
def _binary(name: str, source: GraphSource) -> graph.Call:
    return _pair(name, source, NUMBERS)


@recipe("divide floor_divide mod floor_mod", NUMBERS)
def _division(name: str, source: GraphSource) -> graph.Call:
    return _pair(name, source, NUMBERS, positive=True)


@recipe("power", FLOATS)
def _power(name: str, source: GraphSource) -> graph.Call:
    return _pair(name, source, FLOATS, positive=True)


@recipe("atan2", FLOATS)
def _atan2(name: str, source: GraphSource) -> graph.Call:
    return _pair(name, source, FLOATS)


@recipe("equal not_equal less less_equal greater greater_equal", NUMBERS)
def _compared(name: str, source: GraphSource) -> graph.Call:
    return _pair(name, source, NUMBERS)


@recipe("logical_and logical_or logical_xor", BOOL)
def _logical(name: str, source: GraphSource) -> graph.Call:
    return _pair(name, source, BOOL)


@recipe("bitwise_and bitwise_or bitwise_xor", INTEGERS)
def _bitwise(name: str, source: GraphSource) -> graph.Call:
    return _pair(name, source, INTEGERS)


@recipe("where", ANY)
def _where(name: str, source: GraphSource) -> graph.Call:
    x = source.any(ANY)
    condition = source.new([extent if source.pick([True, False]) else 1 for extent in shape_of(x)], "bool")
    return call(name, condition, x, source.stretchable(x))


@recipe("ewise_fma", NUMBERS)
def _fma(name: str, source: GraphSource) -> graph.Call:
    x = source.any(NUMBERS)
    return call(name, x, source.stretchable(x), source.stretchable(x))


@recipe("sum prod max min", NUMBERS)
def _reduced(name: str, source: GraphSource) -> graph.Call:
    x = source.any(NUMBERS)
    return call(name, x, source.pick([None, source.axes(x), source.axis(x)]), source.pick([False, True]))


@recipe("mean variance std", FLOATS)
def _averaged(name: str, source: GraphSource) -> graph.Call:
    x = source.any(FLOATS)
    return call(name, x, source.pick([None, source.axes(x), source.axis(x)]), source.pick([False, True]))


@recipe("argmax argmin", NUMBERS)
def _place(name: str, source: GraphSource) -> graph.Call:
    x = source.any(NUMBERS)
    return call(name, x, source.pick([None, source.axis(x)]), source.pick([False, True]))


@recipe("permute_dims", ANY)
def _permuted(name: str, source: GraphSource) -> graph.Call:
    x = source.any(ANY)
    rest, order = list(range(tensor_of(x).ndim)), []
    while rest:
        order.append(source.pick(rest))
        rest.remove(order[-1])
    return call(name, x, source.pick([None, order]))


@recipe("reshape", ANY)
def _reshaped(name: str, source: GraphSource) -> graph.Call:
    x = source.any(ANY)
    shape = list(shape_of(x))
    at = source.axis(x) % len(shape)
    joined = [*shape[: at - 1], product(shape[at - 1 : at + 1]), *shape[at + 1 :]] if at else [*shape, 1]
    return call(name, x, source.pick([joined, [-1], [1, *shape], [*shape[:at], -1, *shape[at + 1 :]]]))


@recipe("flatten", ANY)
def _flattened(name: str, source: GraphSource) -> graph.Call:
    return call(name, source.any(ANY))


@recipe("expand_dims", ANY)
def _expanded(name: str, source: GraphSource) -> graph.Call:
    x = source.any(ANY, (1, 2))
    return call(name, x, source.pick([0, -1, [0, 2], [-1, 0]]))


@recipe("squeeze", ANY)
def _squeezed(name: str, source: GraphSource) -> graph.Call:
    x = source.any(ANY)
    ones = [axis for axis, extent in enumerate(shape_of(x)) if constant(extent) == 1]
    return call(name, x, source.pick([None, ones]))


@recipe("broadcast_to", ANY)
def _broadcast(name: str, source: GraphSource) -> graph.Call:
    x = source.any(ANY, (1, 2))
    shape = [source.dim() if constant(extent) == 1 else extent for extent in shape_of(x)]
    return call(name, x, source.pick([shape, [2, *shape]]))


@recipe("concat stack", ANY)
def _joined(name: str, source: GraphSource) -> graph.Call:
    x = source.any(ANY, (1, 2))
    at, shape = source.axis(x), list(shape_of(x))
    others = [x]
    for _ in range(source.pick([0, 1, 2])):
        other = list(shape)
        other[at] = source.dim() if name == "concat" else other[at]
        others.append(source.like(other, tensor_of(x).dtype))
    return call(name, others, at)


@recipe("split", ANY)
def _split(name: str, source: GraphSource) -> graph.Call:
    x = source.any(ANY, numbers=True)
    at = source.axis(x)
    extent = constant(shape_of(x)[at]) or 0
    cuts = sorted({source.pick(range(extent + 1)), source.pick(range(extent + 1))})
    parts = [count for count in range(1, extent + 1) if extent % count == 0]
    return call(name, x, source.pick([source.pick(parts or [1]), cuts]), at)


@recipe("strided_slice", ANY)
def _sliced(name: str, source: GraphSource) -> graph.Call:
    x = source.any(ANY, numbers=True)
    axes = source.axes(x)
    ends = range(-5, 6)
    begin, end = ([source.pick(ends) for _ in axes] for _ in range(2))
    return call(name, x, axes, begin, end, source.pick([None, [source.pick([1, 2, -1]) for _ in axes]]))


@recipe("repeat", ANY)
def _repeated(name: str, source: GraphSource) -> graph.Call:
    x = source.any(ANY, (1, 2))
    return call(name, x, source.pick([0, 1, 2]), source.pick([None, source.axis(x)]))


@recipe("tile", ANY)
def _tiled(name: str, source: GraphSource) -> graph.Call:
    return call(name, source.any(ANY, (1, 2)), source.pick([[2], [1, 2], [2, 1, 3]]))


@recipe("flip", ANY)
def _flipped(name: str, source: GraphSource) -> graph.Call:
    x = source.any(ANY)
    return call(name, x, source.axis(x))


@recipe("take", ANY)
def _taken(name: str, source: GraphSource) -> graph.Call:
    x = source.any(ANY, (1, 2), numbers=True)
    at = source.axis(x)
    extent = constant(shape_of(x)[at]) or 0
    count = [source.dim() for _ in range(source.pick([0, 1, 2]))] if extent else [0]
    return call(name, x, source.new(count, source.pick(["int32", "int64"]), 0, max(extent - 1, 0)), at)


@recipe("full", ANY)
def _full(name: str, source: GraphSource) -> graph.Call:
    return call(name, _bound_shape(source), source.new([], source.dtype(ANY)))


def _bound_shape(source: GraphSource) -> list[Any]:
    """A shape of extents that some parameter binds."""
    bound = [extent for param in source.params for extent in shape_of(param)]
    return [source.pick([source.number(), *bound]) for _ in range(source.pick([0, 1, 2]))]


@recipe("zeros ones", ANY)
def _constant(name: str, source: GraphSource) -> graph.Call:
    return call(name, _bound_shape(source), source.dtype(ANY))


@recipe("full_like zeros_like ones_like", ANY)
def _constant_like(name: str, source: GraphSource) -> graph.Call:
    x = source.any(ANY)
    if name == "full_like":
        return call(name, x, source.new([], tensor_of(x).dtype))
    return call(name, x, source.pick([None, source.dtype(ANY)]))


@recipe("tril triu", NUMBERS)
def _triangle(name: str, source: GraphSource) -> graph.Call:
    return call(name, source.any(NUMBERS, (2, 3)), source.pick([0, 1, -1]))


@recipe("matmul", NUMBERS)
def _matmul(name: str, source: GraphSource) -> graph.Call:
    x = source.any(NUMBERS)
    shape, dtype = shape_of(x), tensor_of(x).dtype
    depth = shape[-1]
    batch = [extent if source.pick([True, False]) else 1 for extent in shape[:-2]]
    y = source.like(source.pick([[depth], [depth, source.dim()], [*batch, depth, source.dim()]]), dtype)
    wide = {"int8": "int32", "uint8": "int32", "float32": "float64"}.get(dtype)
    return call(name, x, y, source.pick([None, wide]))


@recipe("nn.softmax nn.log_softmax", FLOATS)
def _softmax(name: str, source: GraphSource) -> graph.Call:
    x = source.any(FLOATS)
    return call(name, x, source.axis(x))


@recipe("nn.layer_norm nn.rms_norm", FLOATS)
def _layer_norm(name: str, source: GraphSource) -> graph.Call:
    x = source.any(FLOATS)
    axes = source.axes(x) or [source.axis(x)]
    weights = [source.like([shape_of(x)[axis] for axis in axes], tensor_of(x).dtype) for _ in range(2)]
    return call(name, x, *weights, axes) if name == "nn.layer_norm" else call(name, x, weights[0], axes)


@recipe("nn.group_norm", FLOATS)
def _group_norm(name: str, source: GraphSource) -> graph.Call:
    x = source.new([source.dim(), source.pick([2, 4]), source.dim()], source.dtype(FLOATS))
    weights = [source.like([shape_of(x)[1]], tensor_of(x).dtype) for _ in range(2)]
    return call(name, x, *weights, source.pick([1, 2]), source.pick([1, -2]), [2])


@recipe("nn.batch_norm", FLOATS)
def _batch_norm(name: str, source: GraphSource) -> graph.Call:
    x = source.any(FLOATS)
    at, dtype = source.axis(x), tensor_of(x).dtype
    extent = shape_of(x)[at]
    weights = [source.like([extent], dtype) for _ in range(3)]
    flags = {"center": source.pick([True, False]), "scale": source.pick([True, False])}
    return call(name, x, *weights, source.new([extent], dtype, 1, 4), at, **flags)


def _image(source: GraphSource, dtypes: tuple[str, ...], layout: str, dims: int, channels: Any = None) -> graph.Var:
    extents = {"N": source.dim(), "C": source.dim() if channels is None else channels}
    shape = [extents[axis] if axis in extents else source.pick([3, 4, 5]) for axis in layout]
    return source.new(shape, source.dtype(dtypes)) if dims else source.any(dtypes, (4,))


@recipe("nn.conv1d nn.conv2d", NUMBERS)
def _conv(name: str, source: GraphSource) -> graph.Call:
    dims = 2 if name.endswith("2d") else 1
    layouts, kernels = (("NCHW", "NHWC"), ("OIHW", "HWIO", "OHWI")) if dims == 2 else (("NCW", "NWC"), ("OIW", "WIO"))
    layout, kernel, groups = source.pick(layouts), source.pick(kernels), source.pick([1, 1, 2])
    x = _image(source, NUMBERS, layout, dims, source.number() * groups)
    extents = {"O": source.number() * groups, "I": (constant(shape_of(x)[layout.index("C")]) or 0) // groups}
    shape = [extents[axis] if axis in extents else source.pick([1, 2, 3]) for axis in kernel]
    weight = source.new(shape, tensor_of(x).dtype)
    wide = [shape[kernel.index(axis)] for axis in kernel if axis not in "OI"]
    dilation = source.pick([1, 2]) if max(wide) < 3 else 1
    return call(name, x, weight, source.pick([1, 2]), source.pick([0, 1]), dilation, groups, layout, kernel)


@recipe("nn.max_pool2d", NUMBERS)
def _max_pool(name: str, source: GraphSource) -> graph.Call:
    return _pooled(name, source, NUMBERS)


@recipe("nn.avg_pool2d", FLOATS)
def _avg_pool(name: str, source: GraphSource) -> graph.Call:
    return _pooled(name, source, FLOATS)


def _pooled(name: str, source: GraphSource, dtypes: tuple[str, ...]) -> graph.Call:
    layout = source.pick(["NCHW", "NHWC"])
    size, stride = source.pick([1, 2, 3]), source.pick([1, 2])
    ceil_mode = size > 1 and stride == 1 and source.pick([False, True])
    return call(
        name, _image(source, dtypes, layout, 2), size, stride, source.pick([0, 1]) if size > 1 and not ceil_mode else 0,
        ceil_mode=ceil_mode, count_include_pad=source.pick([False, True]), layout=layout,
    )  # fmt: skip


@recipe("nn.adaptive_avg_pool2d", FLOATS)
def _adaptive_pool(name: str, source: GraphSource) -> graph.Call:
    layout = source.pick(["NCHW", "NHWC"])
    return call(name, _image(source, FLOATS, layout, 2), source.pick([None, 1, [2, 3], 2]), layout)


@recipe("nn.pad", NUMBERS)
def _padded(name: str, source: GraphSource) -> graph.Call:
    x = source.any(NUMBERS, (1, 2))
    return call(name, x, [source.pick([0, 1, 2]) for _ in range(2 * tensor_of(x).ndim)], pad_value=source.pick([0, 2]))


@recipe("nn.attention", FLOATS)
def _attention(name: str, source: GraphSource) -> graph.Call:
    dtype, (batch, length, heads, size) = source.dtype(FLOATS), (source.dim() for _ in range(4))
    keys = length if source.pick([True, False]) else source.dim()
    q = source.new([batch, length, heads, size], dtype)
    k = source.new([batch, keys, heads, size], dtype)
    v = source.new([batch, keys, heads, source.dim()], dtype)
    bias = source.pick([None, source.new([batch, heads, length, keys], dtype)])
    return call(name, q, k, v, bias, source.pick([None, 0.5]), source.pick([None, "TopLeft"]))
