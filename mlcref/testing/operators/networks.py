"""Cases of activations, fully connected layers, normalizations, softmax, padding and the rest of ``topi.nn``."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from mlcref.testing.operators.case import FLOATS, NUMBERS, Array, Case, Draw, Operator
from mlcref.testing.operators.convolutions import reordered
from mlcref.testing.operators.elementwise import _erf as erf

ANY = (*NUMBERS, "bool")


def _activation(name: str, reference: Callable[[Array], Array], dtypes: tuple[str, ...] = FLOATS) -> Operator:
    def draw(d: Draw) -> Case:
        x = d.array(d.shape(), dtypes)
        return Case([x], lambda topi, x: getattr(topi.nn, name)(x), reference)

    return Operator(f"nn.{name}", draw)


def _gelu_tanh(x: Array) -> Array:
    return np.asarray(0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))))


def _leaky_relu(d: Draw) -> Case:
    x, alpha = d.array(d.shape(), FLOATS), d.pick((0.25, 0.5, 0.1))
    slope = float(np.asarray(alpha, x.dtype))
    return Case([x], lambda topi, x: topi.nn.leaky_relu(x, alpha), lambda x: np.where(x > 0, x, x * slope))


def _prelu(d: Draw) -> Case:
    shape, dtype = d.shape(), d.pick(FLOATS)
    axis = d.axis(len(shape))
    x, slope = d.array(shape, dtype), d.array([shape[axis]], dtype, 0, 1)

    def reference(x: Array, s: Array) -> Array:
        slopes = s.reshape([-1 if n == axis % x.ndim else 1 for n in range(x.ndim)])
        return np.where(x > 0, x, x * slopes)

    return Case([x, slope], lambda topi, x, s: topi.nn.prelu(x, s, axis), reference)


def _softplus(d: Draw) -> Case:
    x, beta, threshold = d.array(d.shape(), FLOATS, exact=True), d.pick((1.0, 2.0, 0.5)), d.pick((20.0, 1.0))

    def reference(x: Array) -> Array:
        return np.where(beta * x > threshold, x, np.log1p(np.exp(beta * x)) / beta)

    return Case([x], lambda topi, x: topi.nn.softplus(x, beta, threshold), reference)


def _nn_matmul(d: Draw) -> Case:
    rows, depth, columns = (d.count(1, 4) for _ in range(3))
    turn_a, turn_b, dtype = d.flag(), d.flag(), d.pick(NUMBERS)
    batches = d.pick((((), ()), ((2,), (2,)), ((2,), ()), ((1, 3), (2, 1))))
    x = d.array((*batches[0], *((depth, rows) if turn_a else (rows, depth))), dtype)
    y = d.array((*batches[1], *((columns, depth) if turn_b else (depth, columns))), dtype)
    arrays = [x, y, d.array([columns], dtype)][: d.count(2, 3)]

    def reference(x: Array, y: Array, *bias: Array) -> Array:
        product = np.matmul(x.swapaxes(-1, -2) if turn_a else x, y.swapaxes(-1, -2) if turn_b else y)
        return np.asarray(product + bias[0] if bias else product)

    return Case(
        arrays, lambda topi, x, y, *b: topi.nn.matmul(x, y, *b, transpose_a=turn_a, transpose_b=turn_b), reference
    )


def _dense(d: Draw) -> Case:
    rows, depth, columns, dtype = d.count(1, 4), d.count(1, 6), d.count(1, 4), d.pick((*NUMBERS, "int8"))
    wide = "int32" if dtype == "int8" else dtype
    arrays = [d.array((rows, depth), dtype), d.array((columns, depth), dtype), d.array([columns], wide)]

    def reference(x: Array, w: Array, *bias: Array) -> Array:
        product = x.astype("int64") @ w.T.astype("int64") if x.dtype.kind != "f" else x @ w.T
        return product + bias[0] if bias else product

    return Case(
        arrays[: d.count(2, 3)], lambda topi, x, w, *b: topi.nn.dense(x, w, *b, out_dtype=wide), reference
    )  # fmt: skip


def _batch_matmul(d: Draw) -> Case:
    rows, depth, columns, batch = (d.count(1, 3) for _ in range(4))
    turn_a, turn_b, dtype = d.flag(), d.flag(), d.pick(NUMBERS)
    x = d.array((d.pick((1, batch)), *((depth, rows) if turn_a else (rows, depth))), dtype)
    y = d.array((batch, *((columns, depth) if turn_b else (depth, columns))), dtype)

    def reference(x: Array, y: Array) -> Array:
        return np.asarray((x.swapaxes(1, 2) if turn_a else x) @ (y.swapaxes(1, 2) if turn_b else y))

    return Case(
        [x, y], lambda topi, x, y: topi.nn.batch_matmul(x, y, transpose_a=turn_a, transpose_b=turn_b), reference
    )  # fmt: skip


def _batch_norm(d: Draw) -> Case:
    shape, dtype = d.shape(2, 3, 3), d.pick(("float32", "float64"))
    axis, epsilon, center, scale = d.axis(len(shape)), d.pick((None, 1e-3)), d.flag(), d.flag()
    training, momentum = d.flag(), d.pick((None, 0.25))
    at = axis % len(shape)
    if training:
        shape = tuple(extent if n == at else extent + 1 for n, extent in enumerate(shape))
    x, channels = d.array(shape, dtype), [shape[at]]
    gamma, beta, mean = (d.array(channels, dtype) for _ in range(3))
    arrays = [x, gamma, beta, mean, d.array(channels, dtype, 1, 4)]
    over = tuple(n for n in range(len(shape)) if n != at)
    if training and np.ptp(x, over).min() < 1:  # a small variance has a large bound
        x[tuple(0 if n != at else slice(None) for n in range(x.ndim))] += 5

    def normalized(x: Array, g: Array, b: Array, m: Array, v: Array) -> Any:
        wide = [each.reshape([-1 if n == at else 1 for n in range(x.ndim)]) for each in (g, b)]
        rate, means, variances = 0.1 if momentum is None else momentum, m, v
        if training:
            means, variances = x.mean(over), x.var(over)
        rows = [each.reshape(wide[0].shape) for each in (means, variances)]
        result = (x - rows[0]) / np.sqrt(rows[1] + (epsilon or 1e-5))
        result = result * wide[0] if scale else result
        result = result + wide[1] if center else result
        return [result, (1 - rate) * m + rate * means, (1 - rate) * v + rate * variances] if training else result

    def build(topi: Any, *tensors: Any) -> Any:
        results = topi.nn.batch_norm(*tensors, axis, epsilon, center, scale, training, momentum)
        return results if training else results[0]

    return Case(arrays, build, normalized)


def _spread_out(d: Draw, shape: tuple[int, ...], over: tuple[int, ...], dtype: str) -> Array:
    """Random numbers whose rows over some axes are far from constant, so that bounds are small."""
    x = d.array(shape, dtype)
    ramp = np.zeros(shape)
    for axis in over:
        ramp = ramp + np.arange(shape[axis]).reshape([-1 if n == axis else 1 for n in range(len(shape))]) * 8
    return np.asarray(x + ramp.astype(x.dtype), x.dtype)


def _normalize(x: Array, over: tuple[int, ...]) -> Array:
    return np.asarray((x - x.mean(over, keepdims=True)) / np.sqrt(x.var(over, keepdims=True) + 1e-5))


def _layer_norm(d: Draw) -> Case:
    shape, dtype = d.shape(1, 3), d.pick(FLOATS[:3])
    over = tuple(sorted(d.order(len(shape))[: d.count(1, len(shape))]))
    own = [shape[n] for n in over]
    arrays = [_spread_out(d, shape, over, dtype), d.array(own, dtype), d.array(own, dtype)]

    def reference(x: Array, g: Array, b: Array) -> Array:
        wide = [extent if n in over else 1 for n, extent in enumerate(shape)]
        return _normalize(x, over) * g.reshape(wide) + b.reshape(wide)

    return Case(arrays, lambda topi, *xs: topi.nn.layer_norm(*xs, axis=list(over)), reference)


def _instance_norm(d: Draw) -> Case:
    shape, dtype = (d.count(1, 2), d.count(1, 3), *d.shape(1, 2)), d.pick(FLOATS[:3])
    over = tuple(range(2, len(shape)))
    arrays = [_spread_out(d, shape, over, dtype), d.array([shape[1]], dtype), d.array([shape[1]], dtype)]

    def reference(x: Array, g: Array, b: Array) -> Array:
        wide = (1, -1) + (1,) * len(over)
        return _normalize(x, over) * g.reshape(wide) + b.reshape(wide)

    return Case(arrays, lambda topi, *xs: topi.nn.instance_norm(*xs, 1, list(over)), reference)


def _group_norm(d: Draw) -> Case:
    groups, dtype = d.count(1, 3), d.pick(FLOATS[:3])
    shape = (d.count(1, 2), groups * d.count(1, 2), *d.shape(1, 2, 3))
    over = tuple(range(2, len(shape)))
    arrays = [_spread_out(d, shape, over, dtype), d.array([shape[1]], dtype), d.array([shape[1]], dtype)]

    def reference(x: Array, g: Array, b: Array) -> Array:
        split = x.reshape(shape[0], groups, -1, *shape[2:])
        wide = (1, -1) + (1,) * len(over)
        return _normalize(split, tuple(range(2, split.ndim))).reshape(shape) * g.reshape(wide) + b.reshape(wide)

    return Case(arrays, lambda topi, *xs: topi.nn.group_norm(*xs, groups, 1, list(over)), reference)


def _rms_norm(d: Draw) -> Case:
    shape, dtype = d.shape(1, 3), d.pick(FLOATS[:3])
    over = tuple(sorted(d.order(len(shape))[: d.count(1, len(shape))]))
    arrays = [_spread_out(d, shape, over, dtype), d.array([shape[n] for n in over], dtype)]

    def reference(x: Array, w: Array) -> Array:
        wide = [extent if n in over else 1 for n, extent in enumerate(shape)]
        return np.asarray(x / np.sqrt((x * x).mean(over, keepdims=True) + 1e-5) * w.reshape(wide))

    return Case(arrays, lambda topi, *xs: topi.nn.rms_norm(*xs, list(over)), reference)


def _lrn(d: Draw) -> Case:
    """Of small integers: errors do not pass through the power."""
    x, size, axis = d.array(d.shape(2, 4, 3), ("float32", "float64"), exact=True), d.pick((1, 3, 5)), d.count(0, 1)
    alpha, beta, bias = size * d.pick((0.5, 1.0)), d.pick((0.75, 1.0)), float(d.count(1, 2))

    def reference(x: Array) -> Array:
        sides = [(size // 2, size // 2) if n == axis else (0, 0) for n in range(x.ndim)]
        seen = np.lib.stride_tricks.sliding_window_view(np.pad(x * x, sides), size, axis)
        return np.asarray(x / (bias + alpha / size * seen.sum(-1)) ** beta)

    return Case([x], lambda topi, x: topi.nn.lrn(x, size, axis, alpha, beta, bias), reference)


def _scale_shift(layout: str) -> Operator:
    def draw(d: Draw) -> Case:
        dtype, channels = d.pick(NUMBERS), d.count(1, 3)
        x = reordered(d.array((d.count(1, 2), channels, d.count(1, 3), d.count(1, 3)), dtype), "NCHW", layout)
        wide = [-1 if letter == "C" else 1 for letter in layout]
        return Case(
            [x, d.array([channels], dtype), d.array([channels], dtype)],
            lambda topi, *xs: getattr(topi.nn, f"scale_shift_{layout.lower()}")(*xs),
            lambda x, a, b: x * a.reshape(wide) + b.reshape(wide),
        )

    return Operator(f"nn.scale_shift_{layout.lower()}", draw)


def _softmax_of(x: Array, axis: int) -> Array:
    powers = np.exp(x - x.max(axis, keepdims=True))
    return np.asarray(powers / powers.sum(axis, keepdims=True))


def _softmax(name: str, reference: Callable[[Array, int], Array]) -> Operator:
    def draw(d: Draw) -> Case:
        x = d.array(d.shape(), FLOATS)
        axis = d.axis(x.ndim)
        return Case([x], lambda topi, x: getattr(topi.nn, name)(x, axis), lambda x: reference(x, axis))

    return Operator(f"nn.{name}", draw)


def _attention(d: Draw) -> Case:
    batch, heads, queries, keys, depth, deep = (d.count(1, n) for n in (2, 2, 3, 3, 3, 2))
    dtype, mask, scale = d.pick(("float32", "float64")), d.pick((None, "TopLeft", "BottomRight")), d.pick((None, 0.5))
    keys = max(keys, queries) if mask == "BottomRight" else keys
    shapes = [(batch, queries, heads, depth), (batch, keys, heads, depth), (batch, keys, heads, deep)]
    arrays = [d.array(shape, dtype, -2, 2) for shape in shapes]
    if d.flag():
        arrays.append(d.array((d.pick((1, batch)), d.pick((1, heads)), queries, keys), dtype, -2, 2))

    def reference(q: Array, k: Array, v: Array, *bias: Array) -> Array:
        scores = np.einsum("bqnh,bknh->bnqk", q, k) * (1 / math.sqrt(depth) if scale is None else scale)
        scores = scores + bias[0] if bias else scores
        late = keys - queries if mask == "BottomRight" else 0
        seen = np.tri(queries, keys, late, dtype=bool) if mask else np.ones((queries, keys), bool)
        return np.asarray(np.einsum("bnqk,bknh->bqnh", _softmax_of(np.where(seen, scores, -1e300), -1), v))

    def build(topi: Any, q: Any, k: Any, v: Any, bias: Any = None) -> Any:
        return topi.nn.attention(q, k, v, bias, scale, mask)

    return Case(arrays, build, reference)


def _nll_loss(d: Draw) -> Case:
    samples, classes, dtype = d.count(1, 4), d.count(1, 4), d.pick(("float32", "float64"))
    rest, reduction = d.pick(((), (2,), (2, 2))), d.pick(("none", "sum", "mean"))
    predictions = d.array((samples, classes, *rest), dtype, -3, 0)
    targets, weights = d.array((samples, *rest), "int32", 0, classes - 1), d.array([classes], dtype, 1, 3)
    ignored = d.pick((-100, 0)) if (targets != 0).any() else -100

    def reference(p: Array, t: Array, w: Array) -> Array:
        chosen = np.take_along_axis(p, t[:, None], 1)[:, 0]
        weight = np.where(t == ignored, 0, w[t])
        if reduction == "mean":
            return np.asarray((-chosen * weight).sum() / weight.sum())
        return -chosen * weight if reduction == "none" else np.asarray((-chosen * weight).sum())

    return Case(
        [predictions, targets, weights], lambda topi, p, t, w: topi.nn.nll_loss(p, t, w, reduction, ignored), reference
    )


def _amounts(d: Draw, x: Array, most: int) -> tuple[list[int], list[int]]:
    return [d.count(0, min(most, e)) for e in x.shape], [d.count(0, min(most, e)) for e in x.shape]


def _pad(d: Draw) -> Case:
    x, value = d.array(d.shape(), NUMBERS), d.count(0, 3)
    before, after = _amounts(d, x, 3)
    sides = list(zip(before, before if (both := d.flag()) else after, strict=True))
    return Case(
        [x], lambda topi, x: topi.nn.pad(x, before, None if both else after, value),
        lambda x: np.pad(x, sides, constant_values=value),
    )  # fmt: skip


def _continued(name: str, mode: str, less: int = 0) -> Operator:
    def draw(d: Draw) -> Case:
        x = d.array([extent + less for extent in d.shape()], ANY)
        before, after = ([min(n, e - less) for n, e in zip(side, x.shape, strict=True)] for side in _amounts(d, x, 3))
        kind: Any = mode
        return Case(
            [x], lambda topi, x: getattr(topi.nn, name)(x, before, after),
            lambda x: np.pad(x, list(zip(before, after, strict=True)), kind),
        )  # fmt: skip

    return Operator(f"nn.{name}", draw)


def _mirror_pad(d: Draw) -> Case:
    mode = d.pick(("SYMMETRIC", "REFLECT"))
    gap = 1 if mode == "REFLECT" else 0
    x = d.array([extent + gap for extent in d.shape()], ANY)
    before, after = ([min(n, e - gap) for n, e in zip(side, x.shape, strict=True)] for side in _amounts(d, x, 3))
    kind: Any = mode.lower()
    return Case(
        [x], lambda topi, x: topi.nn.mirror_pad(x, before, after, mode),
        lambda x: np.pad(x, list(zip(before, after, strict=True)), kind),
    )  # fmt: skip


def _dilate(d: Draw) -> Case:
    x, value = d.array(d.shape(), NUMBERS), d.count(0, 2)
    strides = [d.count(1, 3) for _ in x.shape]

    def reference(x: Array) -> Array:
        spread = np.full([(e - 1) * s + 1 for e, s in zip(x.shape, strides, strict=True)], value, x.dtype)
        spread[tuple(slice(None, None, stride) for stride in strides)] = x
        return spread

    return Case([x], lambda topi, x: topi.nn.dilate(x, strides, value), reference)


def _flatten(d: Draw) -> Case:
    x = d.array(d.shape(1, 4, 3), ANY)
    return Case([x], lambda topi, x: topi.nn.flatten(x), lambda x: x.reshape(x.shape[0], -1))


def _space_to_depth(d: Draw) -> Case:
    size, layout, c = d.count(1, 3), d.pick(("NCHW", "NHWC")), d.count(1, 2)
    h, w = d.count(1, 2), d.count(1, 2)
    x = reordered(d.array((1, c, h * size, w * size), ANY), "NCHW", layout)

    def reference(x: Array) -> Array:
        squares = reordered(x, layout, "NCHW").reshape(1, c, h, size, w, size).transpose(0, 3, 5, 1, 2, 4)
        return reordered(squares.reshape(1, c * size * size, h, w), "NCHW", layout)

    return Case([x], lambda topi, x: topi.nn.space_to_depth(x, size, layout), reference)


def _depth_to_space(d: Draw) -> Case:
    size, layout, c, mode = d.count(1, 3), d.pick(("NCHW", "NHWC")), d.count(1, 2), d.pick(("DCR", "CDR"))
    h, w = d.count(1, 2), d.count(1, 2)
    x = reordered(d.array((1, c * size * size, h, w), ANY), "NCHW", layout)

    def reference(x: Array) -> Array:
        data = reordered(x, layout, "NCHW")
        if mode == "DCR":
            squares = data.reshape(1, size, size, c, h, w).transpose(0, 3, 4, 1, 5, 2)
        else:
            squares = data.reshape(1, c, size, size, h, w).transpose(0, 1, 4, 2, 5, 3)
        return reordered(squares.reshape(1, c, h * size, w * size), "NCHW", layout)

    return Case([x], lambda topi, x: topi.nn.depth_to_space(x, size, layout, mode), reference)


def _space_to_batch_nd(d: Draw) -> Case:
    blocks = [d.count(1, 2) for _ in range(d.count(1, 2))]
    before = [d.count(0, 1) for _ in blocks]
    after = [d.count(0, 1) for _ in blocks]
    extents = [block * d.count(1, 2) + (-b - a) % block for block, b, a in zip(blocks, before, after, strict=True)]
    rest = d.shape(0, 1)
    x = d.array((d.count(1, 2), *extents, *rest), NUMBERS)

    def reference(x: Array) -> Array:
        padded = np.pad(x, [(0, 0), *zip(before, after, strict=True), *[(0, 0)] * len(rest)])
        cut = [padded.shape[0]]
        for extent, block in zip(padded.shape[1:], blocks, strict=False):
            cut += [extent // block, block]
        count = len(blocks)
        order = [*range(2, 2 * count + 1, 2), 0, *range(1, 2 * count, 2), *range(2 * count + 1, len(cut) + len(rest))]
        return padded.reshape(*cut, *rest).transpose(order).reshape(-1, *cut[1::2], *rest)

    return Case([x], lambda topi, x: topi.nn.space_to_batch_nd(x, blocks, before, after), reference)


def _batch_to_space_nd(d: Draw) -> Case:
    blocks = [d.count(1, 2) for _ in range(d.count(1, 2))]
    count, rest, batch = len(blocks), d.shape(0, 1), d.count(1, 2)
    x = d.array((batch * math.prod(blocks), *(d.count(2, 3) for _ in blocks), *rest), NUMBERS)
    begin, end = ([d.count(0, 1) for _ in blocks] for _ in range(2))

    def reference(x: Array) -> Array:
        order = [count]
        for n in range(count):
            order += [count + 1 + n, n]
        moved = x.reshape(*blocks, batch, *x.shape[1:]).transpose([*order, *range(2 * count + 1, x.ndim + count)])
        extents = [extent * block for extent, block in zip(x.shape[1:], blocks, strict=False)]
        kept = [slice(low, extent - high) for low, extent, high in zip(begin, extents, end, strict=True)]
        return np.asarray(moved.reshape(batch, *extents, *rest)[(slice(None), *kept)])

    return Case([x], lambda topi, x: topi.nn.batch_to_space_nd(x, blocks, begin, end), reference)


OPERATORS = (
    _activation("relu", lambda x: np.maximum(x, 0), NUMBERS),
    _activation("silu", lambda x: x / (1 + np.exp(-x))),
    _activation("gelu", lambda x: x * (1 + erf(x / math.sqrt(2))) / 2),
    _activation("gelu_tanh", _gelu_tanh),
    Operator("nn.leaky_relu", _leaky_relu),
    Operator("nn.prelu", _prelu),
    Operator("nn.softplus", _softplus),
    Operator("nn.matmul", _nn_matmul),
    Operator("nn.dense", _dense),
    Operator("nn.batch_matmul", _batch_matmul),
    Operator("nn.batch_norm", _batch_norm),
    Operator("nn.layer_norm", _layer_norm),
    Operator("nn.instance_norm", _instance_norm),
    Operator("nn.group_norm", _group_norm),
    Operator("nn.rms_norm", _rms_norm),
    Operator("nn.lrn", _lrn),
    _scale_shift("NCHW"),
    _scale_shift("NHWC"),
    _softmax("softmax", _softmax_of),
    _softmax("log_softmax", lambda x, axis: np.log(_softmax_of(x, axis))),
    Operator("nn.attention", _attention),
    Operator("nn.nll_loss", _nll_loss),
    Operator("nn.pad", _pad),
    Operator("nn.mirror_pad", _mirror_pad),
    _continued("reflect_pad", "reflect", 1),
    _continued("replicate_pad", "edge"),
    _continued("circular_pad", "wrap"),
    Operator("nn.dilate", _dilate),
    Operator("nn.flatten", _flatten),
    Operator("nn.space_to_depth", _space_to_depth),
    Operator("nn.depth_to_space", _depth_to_space),
    Operator("nn.space_to_batch_nd", _space_to_batch_nd),
    Operator("nn.batch_to_space_nd", _batch_to_space_nd),
)
