"""The operators of TVM's topi that the agreement is measured on: how each is built, and on which shapes and types.

Nothing here is chosen by whether it works: an operator that TVM can turn into a TensorIR function belongs here, and the
measurement says what became of it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from tvm import te, topi

Spec = tuple[tuple[int, ...], str]
"""Shape and data type of an argument."""


@dataclass(frozen=True)
class Operator:
    """``build`` makes the output tensors from placeholders; each of ``cases`` lists the placeholders of one case.
    ``ranges`` says for an argument in which interval its contents lie, where the operator has a domain."""

    name: str
    build: Callable[..., Any]
    cases: Sequence[Sequence[Spec]]
    ranges: dict[int, tuple[float, float]] = field(default_factory=dict)


OPERATORS: list[Operator] = []


def add(name: str, build: Callable[..., Any], *cases: Sequence[Spec], **ranges: tuple[float, float]) -> None:
    """Enter an operator; ``range0=(low, high)`` bounds the contents of argument 0."""
    OPERATORS.append(Operator(name, build, cases, {int(key[5:]): value for key, value in ranges.items()}))


def one(*specs: Spec) -> list[list[Spec]]:
    return [[spec] for spec in specs]


def pair(left: tuple[int, ...], right: tuple[int, ...], *dtypes: str) -> list[list[Spec]]:
    return [[(left, dtype), (right, dtype)] for dtype in dtypes]


FLOATS = one(((4, 5), "float32"), ((7,), "float16"), ((2, 3, 2), "float64"))
NUMBERS = one(((4, 5), "float32"), ((7,), "int32"), ((2, 3, 2), "float64"), ((6,), "int8"))
INTEGERS = pair((4, 5), (4, 5), "int32") + pair((3, 1), (4,), "int64") + pair((6,), (1,), "uint8")
BINARY = pair((4, 5), (4, 5), "float32") + pair((3, 1), (4,), "int32") + pair((2, 3), (3,), "float64")
BOOLEANS = pair((4, 5), (4, 5), "bool") + pair((3, 1), (4,), "bool") + pair((6,), (1,), "bool")
MATRICES = one(((4, 6), "float32"), ((3, 5), "int32"), ((2, 3), "float64"))
IMAGES = one(((1, 2, 4, 4), "float32"), ((1, 1, 6, 6), "float64"), ((2, 2, 4, 4), "int32"))
FLOAT_IMAGES = one(((1, 2, 4, 4), "float32"), ((1, 1, 6, 6), "float64"), ((2, 2, 4, 4), "float32"))

for _name in ("exp", "tanh", "sigmoid", "erf", "sin", "cos", "atan", "sinh", "cosh", "asinh"):
    add(_name, getattr(topi, _name), *FLOATS, range0=(-3, 3))
add("tan", topi.tan, *FLOATS, range0=(-1, 1))
for _name in ("log", "log2", "log10", "sqrt", "rsqrt"):
    add(_name, getattr(topi, _name), *FLOATS, range0=(1, 8))
add("asin", topi.asin, *FLOATS, range0=(-1, 1))
add("acos", topi.acos, *FLOATS, range0=(-1, 1))
add("acosh", topi.acosh, *FLOATS, range0=(2, 8))
add("atanh", topi.atanh, *FLOATS, range0=(0, 0.75))
for _name in ("floor", "ceil", "trunc", "round"):
    add(_name, getattr(topi, _name), *FLOATS)
add("fast_exp", topi.fast_exp, *one(((4, 5), "float32"), ((7,), "float32"), ((2, 3), "float32")), range0=(-3, 3))
add("fast_tanh", topi.fast_tanh, *one(((4, 5), "float32"), ((7,), "float32"), ((2, 3), "float32")), range0=(-3, 3))
add("fast_erf", topi.fast_erf, *one(((4, 5), "float32"), ((7,), "float32"), ((2, 3), "float32")), range0=(-3, 3))
for _name in ("abs", "negative", "sign", "identity"):
    add(_name, getattr(topi, _name), *NUMBERS)
for _name in ("isnan", "isfinite", "isinf"):
    add(_name, getattr(topi, _name), *FLOATS)
add("clip", lambda x: topi.clip(x, -1, 2), *NUMBERS)
add("cast_to_float", lambda x: topi.cast(x, "float32"), *one(((5,), "int8"), ((2, 3), "float64"), ((4,), "bool")))
add("cast_to_int", lambda x: topi.cast(x, "int32"), *one(((5,), "float32"), ((2, 3), "int8"), ((4,), "uint8")))
add("reinterpret", lambda x: topi.reinterpret(x, "int32" if x.dtype == "float32" else "float32"),
    *one(((4, 5), "float32"), ((7,), "int32"), ((2, 3), "uint32")), range0=(0, 9))  # fmt: skip
add("bitwise_not", topi.bitwise_not, *one(((4, 5), "int32"), ((7,), "int64"), ((6,), "uint8")))
add("logical_not", topi.logical_not, *one(((4, 5), "bool"), ((7,), "bool"), ((2, 3), "bool")))
add("fixed_point_multiply", lambda x: topi.fixed_point_multiply(x, 1 << 30, 2),
    *one(((4, 5), "int32"), ((7,), "int32"), ((2, 3), "int32")))  # fmt: skip

for _name in ("add", "subtract", "multiply", "maximum", "minimum", "greater", "less", "equal", "not_equal",
              "greater_equal", "less_equal"):  # fmt: skip
    add(_name, getattr(topi, _name), *BINARY)
add("divide", topi.divide, *pair((4, 5), (4, 5), "float32"), *pair((3, 1), (4,), "int32"),
    *pair((2, 3), (3,), "float64"), range1=(1, 5))  # fmt: skip
for _name in ("floor_divide", "floor_mod"):
    add(_name, getattr(topi, _name), *pair((4, 5), (4, 5), "int32"), *pair((3, 1), (4,), "int64"),
        *pair((2, 3), (3,), "float32"), range1=(1, 5))  # fmt: skip
add("mod", topi.mod, *pair((4, 5), (4, 5), "int32"), *pair((3, 1), (4,), "int64"), *pair((2, 3), (3,), "int8"),
    range1=(1, 5))  # fmt: skip
add("power", topi.power, *pair((4, 5), (4, 5), "float32"), *pair((3, 1), (4,), "float32"),
    *pair((2, 3), (3,), "float64"), range0=(1, 3), range1=(0, 3))  # fmt: skip
add("atan2", topi.atan2, *pair((4, 5), (4, 5), "float32"), *pair((3,), (3,), "float32"), *pair((2, 3), (2, 3),
    "float64"),
    range1=(1, 3))  # fmt: skip
add("log_add_exp", topi.log_add_exp, *pair((4, 5), (4, 5), "float32"), *pair((3, 1), (4,), "float32"),
    *pair((2, 3), (3,), "float64"))  # fmt: skip
for _name in ("bitwise_and", "bitwise_or", "bitwise_xor"):
    add(_name, getattr(topi, _name), *INTEGERS)
for _name in ("left_shift", "right_shift"):
    add(_name, getattr(topi, _name), *INTEGERS, range0=(0, 6), range1=(0, 4))
for _name in ("logical_and", "logical_or", "logical_xor"):
    add(_name, getattr(topi, _name), *BOOLEANS)
add("add_scalar", lambda x: topi.add(x, te.const(2, x.dtype)), *NUMBERS)
add("elemwise_sum", lambda x, y, z: topi.elemwise_sum([x, y, z]),
    *[[(s, d)] * 3 for s, d in (((4, 5), "float32"), ((7,), "int32"), ((2, 3), "float64"))])  # fmt: skip
add("where", topi.where, *[[(s, "bool"), (s, d), (s, d)] for s, d in
    (((4, 5), "float32"), ((7,), "int32"), ((2, 3), "float64"))])  # fmt: skip

add("sum", lambda x: topi.sum(x, axis=1), *MATRICES)
add("sum_all", lambda x: topi.sum(x, axis=None, keepdims=True), *MATRICES)
for _reduce in (topi.max, topi.min, topi.prod, topi.argmax, topi.argmin):
    add(_reduce.__name__, lambda x, f=_reduce: f(x, axis=-1), *MATRICES)
add("argmax_last", lambda x: topi.argmax(x, axis=0, select_last_index=True), *MATRICES)
for _reduce in (topi.all, topi.any):
    add(_reduce.__name__, lambda x, f=_reduce: f(x, axis=1),
        *one(((4, 5), "bool"), ((2, 7), "bool"), ((3, 1), "bool")))  # fmt: skip
add("collapse_sum", lambda x: topi.collapse_sum(x, (1, x.shape[1])), *MATRICES)
add("cumsum", lambda x: topi.cumsum(x, axis=1), *MATRICES)
add("cumprod", lambda x: topi.cumprod(x, axis=0), *MATRICES)

add("transpose", topi.transpose, *NUMBERS)
add("reshape", lambda x: topi.reshape(x, (2, -1) if False else (x.shape[1], x.shape[0])), *MATRICES)
add("flip", lambda x: topi.flip(x, axis=0), *NUMBERS)
add("squeeze", lambda x: topi.squeeze(x, axis=0), *one(((1, 5), "float32"), ((1, 2, 3), "int32"), ((1, 1), "float64")))
add("expand_dims", lambda x: topi.expand_dims(x, axis=1), *NUMBERS)
add("broadcast_to", lambda x: topi.broadcast_to(x, (3, 4)), *one(((4,), "float32"), ((3, 1), "int32"), ((1, 1),
    "float64")))  # fmt: skip
add("tile", lambda x: topi.tile(x, (2, 3)), *MATRICES)
add("repeat", lambda x: topi.repeat(x, 3, axis=1), *MATRICES)
add("concatenate", lambda x, y: topi.concatenate([x, y], axis=0), *[[((2, 3), d), ((4, 3), d)] for d in
    ("float32", "int32", "float16")])  # fmt: skip
add("stack", lambda x, y: topi.stack([x, y], axis=1), *pair((2, 3), (2, 3), "float32", "int32", "uint8"))
add("split", lambda x: topi.split(x, [1, 3], axis=1), *one(((4, 6), "float32"), ((3, 5), "int32"), ((2, 4), "float64")))
add("strided_slice", lambda x: topi.strided_slice(x, [0, 4], [2, 0], [1, -2]),
    *one(((4, 6), "float32"), ((3, 5), "int32"), ((2, 7), "float64")))  # fmt: skip
add("take", lambda x, i: topi.take(x, i, axis=0, mode="clip"), *[[((4, 3), d), ((5,), "int32")] for d in
    ("float32", "int32", "float64")], range1=(0, 3))  # fmt: skip
add("take_wrap", lambda x, i: topi.take(x, i, axis=1, mode="wrap"), *[[((4, 3), d), ((2, 2), "int32")] for d in
    ("float32", "int32", "float64")], range1=(-3, 5))  # fmt: skip
add("gather", lambda x, i: topi.gather(x, 1, i), *[[((4, 3), d), ((4, 2), "int32")] for d in
    ("float32", "int32", "float64")], range1=(0, 2))  # fmt: skip
add("gather_nd", lambda x, i: topi.gather_nd(x, i), *[[((3, 3), d), ((2, 4), "int32")] for d in
    ("float32", "int32", "float64")], range1=(0, 2))  # fmt: skip
add("one_hot", lambda i: topi.one_hot(i, te.const(1, "float32"), te.const(0, "float32"), 4, -1, "float32"),
    *one(((5,), "int32"), ((2, 3), "int32"), ((4,), "int64")), range0=(0, 3))  # fmt: skip
add("sequence_mask", lambda x, n: topi.sequence_mask(x, n, mask_value=-1.0, axis=0),
    *[[((4, 3), d), ((3,), "int32")] for d in ("float32", "float64", "float16")], range1=(0, 4))  # fmt: skip
add("reverse_sequence", lambda x, n: topi.reverse_sequence(x, n, 0, 1),
    *[[((4, 3), d), ((3,), "int32")] for d in ("float32", "int32", "float64")], range1=(1, 4))  # fmt: skip
add("full_like", lambda x: topi.full_like(x, 2.0), *FLOATS)
add("arange_like", lambda x: topi.add(x, topi.arange(te.const(0, "int32"), te.const(5, "int32"), te.const(1, "int32"),
    x.dtype)), *one(((4, 5), "float32"), ((2, 5), "int32"), ((5,), "float64")))  # fmt: skip
add("trilu", lambda x: topi.trilu(x, te.const(0, "int32"), True), *MATRICES)
add("matrix_set_diag", lambda x, y: topi.matrix_set_diag(x, y), *[[((4, 4), d), ((4,), d)] for d in
    ("float32", "int32", "float64")])  # fmt: skip
add("sliding_window", lambda x: topi.sliding_window(x, 0, [2, 3], [1, 2]), *MATRICES[:1],
    *one(((3, 5), "int32"), ((2, 3), "float64")))  # fmt: skip
add("unravel_index", lambda i, s: topi.unravel_index(i, s), *[[((n,), "int32"), ((2,), "int32")] for n in (3, 5, 8)],
    range0=(0, 8), range1=(3, 4))  # fmt: skip
add("meshgrid", lambda x, y: topi.meshgrid([x, y], "ij"), *pair((3,), (4,), "float32", "int32", "float64"))
add("layout_transform", lambda x: topi.layout_transform(x, "NCHW", "NHWC"), *IMAGES)
add("scatter_elements", lambda x, i, u: topi.scatter_elements(x, i, u, axis=0),
    *[[((4, 3), d), ((2, 3), "int32"), ((2, 3), d)] for d in ("float32", "int32", "float64")], range1=(0,
    3))  # fmt: skip
add("scatter_nd", lambda x, i, u: topi.scatter_nd(x, i, u, "add"),
    *[[((4, 3), d), ((1, 2), "int32"), ((2, 3), d)] for d in ("float32", "int32", "float64")], range1=(0,
    3))  # fmt: skip
add("searchsorted", lambda x, v: topi.searchsorted(x, v), *[[((n,), d), ((4,), d)] for n, d in
    ((1, "float32"), (1, "int32"), (1, "float64"), (5, "float32"))])  # fmt: skip
add("argsort", lambda x: topi.argsort(x, axis=1), *MATRICES)
add("argsort_descending", lambda x: topi.argsort(x, axis=0, is_ascend=0, dtype="int32"), *MATRICES)
add("argsort_counted", lambda x, n: topi.argsort(x, n, axis=1, is_ascend=0), *[[((m, 6), "float32"), ((m,), "int32")]
    for m in (1, 3, 4)], range1=(0, 6))  # fmt: skip
add("sort", lambda x: topi.sort(x, axis=1), *MATRICES)
add("sort_descending", lambda x: topi.sort(x, axis=0, is_ascend=0), *MATRICES)
add("topk", lambda x: topi.topk(x, 2, axis=1, dtype="int32"), *MATRICES)
add("topk_values", lambda x: topi.topk(x, 1, axis=0, ret_type="values", is_ascend=True), *MATRICES)
add("topk_indices", lambda x: topi.topk(x, 0, axis=1, ret_type="indices"), *MATRICES)
add("einsum", lambda x, y: topi.einsum("ij,jk->ik", x, y), *pair((3, 4), (4, 2), "float32", "int32", "float64"))
add("tensordot", lambda x, y: topi.tensordot(x, y, 1), *pair((3, 4), (4, 2), "float32", "int32", "float64"))
add("matmul", topi.matmul, *pair((3, 4), (4, 2), "float32", "int32", "float64"))
add("index_put", lambda x, i, u: topi.index_put(x, [i], u), *[[((5,), d), ((3,), "int32"), ((3,), d)] for d in
    ("float32", "int32", "float64")], range1=(0, 4))  # fmt: skip

add("index_put_distinct", lambda x, i, u: topi.index_put(x, [te.compute((3,), lambda k: i[k] + 5 * k)], u),
    *[[((15,), d), ((3,), "int32"), ((3,), d)] for d in ("float32", "int32", "float64")], range1=(0, 4))  # fmt: skip

add("relu", topi.nn.relu, *NUMBERS)
add("leaky_relu", lambda x: topi.nn.leaky_relu(x, 0.25), *FLOATS)
add("prelu", lambda x, s: topi.nn.prelu(x, s, 1), *[[((2, 3, 4), d), ((3,), d)] for d in
    ("float32", "float64", "float16")])  # fmt: skip
add("softplus", lambda x: topi.nn.softplus(x), *FLOATS)
add("dense", lambda x, w: topi.nn.dense(x, w), *pair((3, 4), (2, 4), "float32", "int32", "float64"))
add("dense_bias", lambda x, w, b: topi.nn.dense(x, w, b), *[[((3, 4), d), ((2, 4), d), ((2,), d)] for d in
    ("float32", "int32", "float64")])  # fmt: skip
add("dense_int8", lambda x, w: topi.nn.dense(x, w, out_dtype="int32"), *[[((m, 4), "int8"), ((2, 4), "int8")]
    for m in (1, 3, 5)])  # fmt: skip
add("batch_matmul", lambda x, y: topi.nn.batch_matmul(x, y), *pair((2, 3, 4), (2, 2, 4), "float32", "int32", "float64"))
add("softmax", topi.nn.softmax, *one(((3, 5), "float32"), ((2, 4), "float64"), ((2, 2, 3), "float32")))
add("fast_softmax", topi.nn.fast_softmax, *one(((3, 5), "float32"), ((2, 4), "float32"), ((2, 2, 3), "float32")))
add("log_softmax", topi.nn.log_softmax, *one(((3, 5), "float32"), ((2, 4), "float64"), ((1, 7), "float32")))
add("layer_norm", lambda x, g, b: topi.nn.layer_norm(x, g, b, [1]), *[[((3, n), d), ((n,), d), ((n,), d)] for n, d in
    ((4, "float32"), (5, "float16"), (2, "float32"))])  # fmt: skip
add("rms_norm", lambda x, g: topi.nn.rms_norm(x, g, [1]), *[[((3, n), d), ((n,), d)] for n, d in
    ((4, "float32"), (5, "float16"), (2, "float32"))])  # fmt: skip
add("group_norm", lambda x, g, b: topi.nn.group_norm(x, g, b, 2, 1, [2]), *[[((2, 4, n), d), ((4,), d), ((4,), d)]
    for n, d in ((3, "float32"), (2, "float16"), (5, "float32"))])  # fmt: skip
add("instance_norm", lambda x, g, b: topi.nn.instance_norm(x, g, b, 1, [2]), *[[((2, 3, n), d), ((3,), d), ((3,), d)]
    for n, d in ((3, "float32"), (2, "float16"), (5, "float32"))])  # fmt: skip
add("batch_norm", lambda x, g, b, m, v: topi.nn.batch_norm(x, g, b, m, v, training=False)[0],
    *[[(s, d), *[((s[1],), d)] * 4] for s, d in (((2, 3, 2), "float32"), ((2, 2, 3), "float64"), ((1, 3, 4),
    "float32"))],
    range4=(1, 4))  # fmt: skip
add("scale_shift_nchw", topi.nn.scale_shift_nchw, *[[((1, 2, 3, 3), d), ((2,), d), ((2,), d)] for d in
    ("float32", "int32", "float64")])  # fmt: skip
add("lrn", lambda x: topi.nn.lrn(x, 3, 1, 0.5, 0.75, 2.0), *FLOAT_IMAGES)
add("pad", lambda x: topi.nn.pad(x, [1, 0], [0, 2]), *MATRICES)
add("mirror_pad", lambda x: topi.nn.mirror_pad(x, [1, 1], [1, 1], "REFLECT"), *MATRICES)
add("dilate", lambda x: topi.nn.dilate(x, [2, 1]), *MATRICES)
add("flatten", topi.nn.flatten, *IMAGES)
add("space_to_depth", lambda x: topi.nn.space_to_depth(x, 2), *IMAGES)
add("depth_to_space", lambda x: topi.nn.depth_to_space(x, 2), *one(((1, 4, 2, 3), "float32"), ((2, 4, 2, 2), "int32"),
    ((1, 8, 1, 2), "float64")))  # fmt: skip
add("space_to_batch_nd", lambda x: topi.nn.space_to_batch_nd(x, [2], [0], [0]), *one(((1, 4, 3), "float32"),
    ((2, 6, 1), "int32"), ((1, 2, 2), "float64")))  # fmt: skip
# topi.nn.batch_to_space_nd forgets the last argument, the name, and ends the process.
add("batch_to_space_nd", lambda x: topi.cpp.nn.batch_to_space_nd(x, [2], [0], [1], "batch_to_space_nd"),
    *one(((2, 2, 3), "float32"), ((4, 3, 1), "int32"), ((2, 2, 2), "float64")))  # fmt: skip
for _kind in ("max", "avg"):
    add(f"{_kind}_pool2d", lambda x, k=_kind: topi.nn.pool2d(x, [2, 2], [2, 2], [1, 1], [1, 1, 1, 1], k), *FLOAT_IMAGES)
    add(f"{_kind}_pool1d", lambda x, k=_kind: topi.nn.pool1d(x, [3], [2], [1], [1, 0], k, layout="NCW"),
        *one(((1, 2, 7), "float32"), ((2, 1, 6), "float64"), ((1, 3, 5), "float32")))  # fmt: skip
    add(f"adaptive_{_kind}_pool", lambda x, k=_kind: topi.nn.adaptive_pool(x, (2, 3), k), *FLOAT_IMAGES)
    add(f"global_{_kind}_pool", lambda x, k=_kind: topi.nn.global_pool(x, k), *FLOAT_IMAGES)
add("conv1d_ncw", lambda x, w: topi.nn.conv1d_ncw(x, w, 1, 1, 1), *pair((1, 2, 6), (2, 2, 3), "float32", "int32",
    "float64"))  # fmt: skip
add("conv2d_nchw", lambda x, w: topi.nn.conv2d_nchw(x, w, 1, 1, 1), *pair((1, 2, 5, 5), (2, 2, 3, 3),
    "float32", "int32",
    "float64"))  # fmt: skip
add("conv2d_nhwc", lambda x, w: topi.nn.conv2d_nhwc(x, w, 2, 0, 1), *pair((1, 5, 5, 2), (3, 3, 2, 2),
    "float32", "int32",
    "float64"))  # fmt: skip
add("conv2d_hwcn", lambda x, w: topi.nn.conv2d_hwcn(x, w, 1, 0, 1), *pair((4, 4, 2, 1), (3, 3, 2, 2),
    "float32", "int32",
    "float64"))  # fmt: skip
add("depthwise_conv2d_nchw", lambda x, w: topi.nn.depthwise_conv2d_nchw(x, w, 1, 1, 1, x.dtype), *pair((1, 2, 4, 4),
    (2, 1, 3, 3), "float32", "int32", "float64"))  # fmt: skip
add("group_conv2d_nchw", lambda x, w: topi.nn.group_conv2d_nchw(x, w, 1, 0, 1, 2, x.dtype), *pair((1, 4, 4, 4),
    (2, 2, 3, 3), "float32", "int32", "float64"))  # fmt: skip
add("conv2d_transpose_nchw", lambda x, w: topi.nn.conv2d_transpose_nchw(x, w, (2, 2), (1, 1), x.dtype, (0, 0)),
    *pair((1, 2, 3, 3), (2, 1, 3, 3), "float32", "int32", "float64"))  # fmt: skip
add("conv1d_transpose_ncw", lambda x, w: topi.nn.conv1d_transpose_ncw(x, w, 2, 0, x.dtype, 0),
    *pair((1, 2, 4), (2, 2, 3), "float32", "int32", "float64"))  # fmt: skip
add("conv3d_ncdhw", lambda x, w: topi.nn.conv3d_ncdhw(x, w, 1, 0, 1, 1), *pair((1, 1, 3, 3, 3), (2, 1, 2, 2, 2),
    "float32", "int32", "float64"))  # fmt: skip
add("correlation_nchw", lambda x, y: topi.nn.correlation_nchw(x, y, 1, 1, 1, 1, 1, True), *pair((1, 2, 3, 3),
    (1, 2, 3, 3), "float32", "float64"), *pair((1, 1, 4, 3), (1, 1, 4, 3), "float32"))  # fmt: skip
add("upsampling", lambda x: topi.nn.upsampling(x, 2, 2, "NCHW", "nearest_neighbor"), *FLOAT_IMAGES)
add("resize2d_linear", lambda x: topi.image.resize2d(x, [0.0] * 4, (3, 5), "NCHW", "linear"), *FLOAT_IMAGES)
add("nll_loss", lambda p, t, w: topi.nn.nll_loss(p, t, w, "mean", -100), *[[((n, 4), d), ((n,), "int32"), ((4,), d)]
    for n, d in ((3, "float32"), (5, "float64"), (2, "float32"))], range1=(0, 3), range2=(1, 2))  # fmt: skip
add("bilinear_matmul_relu", lambda x, w: topi.nn.relu(topi.nn.dense(x, w)), *pair((3, 4), (2, 4), "float32", "int32",
    "float64"))  # fmt: skip
