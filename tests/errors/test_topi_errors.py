"""What topi refuses, by rule."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from mlcref import te, topi
from mlcref.errors import UnsupportedError


def T(*shape: Any, dtype: str = "float32") -> te.Tensor:
    return te.placeholder(shape, dtype, name="T")


n, m = te.var("n"), te.var("m")
SHAPES: dict[str, Callable[[], Any]] = {
    "shapes do not fit: 2 x 3 and 4": lambda: topi.add(T(2, 3), T(4)),
    "shapes do not fit: n and m": lambda: topi.add(T(n), T(m)),
    "cannot be broadcast to 2": lambda: topi.broadcast_to(T(3, 2), (2,)),
    "elemwise_sum takes tensors of one shape": lambda: topi.elemwise_sum([T(2), T(2, 1)]),
    "elemwise_sum of 2 and 3": lambda: topi.elemwise_sum([T(2), T(3)]),
    "2 x 3 does not collapse to 2": lambda: topi.collapse_sum(T(2, 3), (2,)),
    "changes the size: 6 and 8": lambda: topi.reshape(T(2, 3), (4, 2)),
    "squeeze of 2 x 1": lambda: topi.squeeze(T(2, 1), 0),
    "concatenate of 2 x 3 and 2 x 4": lambda: topi.concatenate([T(2, 3), T(2, 4)], 0),
    "different types": lambda: topi.stack([T(2), T(2, dtype="int32")]),
    "concatenate of no tensors": lambda: topi.concatenate([]),
    "matmul of 2 x 3 and 4 x 5: 3 and 4": lambda: topi.matmul(T(2, 3), T(4, 5)),
    "no matrices": lambda: topi.matmul(T(2), T(2, 2)),
    "a product of 2 x 3 and 5 x 4: 3 and 4": lambda: topi.nn.dense(T(2, 3), T(5, 4)),
    "batch_matmul of 2 x 3": lambda: topi.nn.batch_matmul(T(2, 3), T(2, 3, 4)),
    "a bias of 4": lambda: topi.nn.dense(T(2, 3), T(5, 3), T(4, 1, 1)),
    "tensordot of 2 x 3 and 2 x 3: 3 and 2": lambda: topi.tensordot(T(2, 3), T(2, 3), 1),
    "j of 'ij,jk->ik' has the extents": lambda: topi.einsum("ij,jk->ik", T(2, 3), T(4, 5)),
    "gather from 2 dimensions by 1": lambda: topi.gather(T(2, 3), 0, T(2, dtype="int32")),
    "gather_nd of 3 coordinates": lambda: topi.gather_nd(T(2, 3), T(3, 1, dtype="int32")),
    "scatter_elements of 2 into 2 x 3": lambda: topi.scatter_elements(T(2, 3), T(2, dtype="int32"), T(2)),
    "scatter_elements of 2 at 3": lambda: topi.scatter_elements(T(4), T(3, dtype="int32"), T(2)),
    "scatter_nd of 5 at 1 x 2": lambda: topi.scatter_nd(T(2, 3), T(1, 2, dtype="int32"), T(5), "add"),
    "scatter_nd of 2 x 4 to 2 x 3": lambda: topi.scatter_nd(T(2, 3), T(1, 2, dtype="int32"), T(2, 4), "add"),
    "searchsorted of 2 in 3 x 3": lambda: topi.searchsorted(T(3, 3), T(2)),
    "trilu takes matrices": lambda: topi.trilu(T(3), 0, True),
    "channels in the kernel and in the input: 3 and 2": lambda: topi.nn.conv2d(T(1, 2, 4, 4), T(1, 3, 1, 1), 1, 0, 1),
    "takes 4 dimensions": lambda: topi.nn.conv2d_nchw(T(1, 2, 4), T(1, 2, 1), 1, 0, 1),
    "larger than the padded input": lambda: topi.nn.conv2d(T(1, 1, 2, 2), T(1, 1, 5, 5), 1, 1, 1),
    "do not fall into 2 groups": lambda: topi.nn.conv1d(T(1, 2, 4), T(3, 1, 1), groups=2),
    "layer_norm has parameters": lambda: topi.nn.layer_norm(T(2, 8), T(4), T(4), [1]),
    "layer_norm takes parameters of 8": lambda: topi.nn.layer_norm(T(2, 8), T(2, 8), T(8), [1]),
    "space_to_depth of": lambda: topi.nn.space_to_depth(T(1, 1, 3, 4), 2),
    "attention has so many keys and values": lambda: topi.nn.attention(T(1, 2, 1, 4), T(1, 3, 1, 4), T(1, 2, 1, 4)),
    "nll_loss of": lambda: topi.nn.nll_loss(T(2, 3), T(2, 2, dtype="int32"), T(3), "sum", -1),
}  # fmt: skip
AXES: dict[str, Callable[[], Any]] = {
    "axis 2 of 2 dimensions": lambda: topi.sum(T(2, 3), 2),
    "given an axis twice": lambda: topi.max(T(2, 3), [0, -2]),
    "transpose of 2 dimensions by": lambda: topi.transpose(T(2, 3), (0, 0)),
    "softmax over axis -3": lambda: topi.nn.softmax(T(2, 3), -3),
    "batch dimensions": lambda: topi.take(T(2, 3), T(2, dtype="int32"), 0, batch_dims=1),
    "needs two axes": lambda: topi.reverse_sequence(T(2, 3), T(2, dtype="int32"), 0, 0),
    "are no pairs": lambda: topi.tensordot(T(2, 3), T(2, 3), ((0, 1), (0,))),
}
PARAMETERS: dict[str, Callable[[], Any]] = {
    "-1 stands for one extent": lambda: topi.reshape(T(2, 3), (-1, -1)),
    "into 2 parts of one size": lambda: topi.split(T(3), 2),
    r"strided_slice over the axes \[0\] by \[0\]": lambda: topi.strided_slice(T(3), [0], [1], [0]),
    "not one of end, size": lambda: topi.strided_slice(T(3), [0], [1], slice_mode="begin"),
    "not one of clip, wrap, fast": lambda: topi.take(T(3), T(2, dtype="int32"), 0, mode="nan"),
    "steps of 0": lambda: topi.arange(0, 3, 0),
    "einsum cannot read": lambda: topi.einsum("i...->i", T(2, 3)),
    "indexing of meshgrid": lambda: topi.meshgrid([T(2), T(3)], "ji"),
    "the layout of": lambda: topi.nn.conv2d(T(1, 2, 4, 4), T(1, 2, 1, 1), 1, 0, 1, data_layout="NCHQ"),
    "not one of VALID, SAME": lambda: topi.nn.conv1d(T(1, 2, 4), T(1, 2, 1), padding="FULL"),
    "3 numbers, 2 are needed": lambda: topi.nn.conv2d(T(1, 2, 4, 4), T(1, 2, 1, 1), (1, 1, 1), 0, 1),
    r"has the strides \(0, 0\)": lambda: topi.nn.conv2d(T(1, 2, 4, 4), T(1, 2, 1, 1), 0, 0, 1),
    "output_padding": lambda: topi.nn.conv1d_transpose_ncw(T(1, 2, 4), T(2, 1, 3), 2, 0, "float32", 2),
    "pool_type is 'median'": lambda: topi.nn.global_pool(T(1, 2, 4, 4), "median"),
    r"adaptive_pool to \(0, 0\) parts": lambda: topi.nn.adaptive_pool(T(1, 2, 4, 4), 0, "max"),
    "1 and 1 numbers for 2 dimensions": lambda: topi.nn.pad(T(2, 3), [1]),
    "MirrorPadInput of": lambda: topi.nn.mirror_pad(T(2), [2], mode="REFLECT"),
    "ReplicatePadInput of -1 elements": lambda: topi.nn.replicate_pad(T(2), [-1]),
    "dilate is given 1 strides": lambda: topi.nn.dilate(T(2, 3), [1]),
    "group_norm of 3 channels in 2 groups": lambda: topi.nn.group_norm(T(1, 3, 2), T(3), T(3), 2, 1, [2]),
    "no middle": lambda: topi.nn.lrn(T(1, 3, 2), 2),
    "causal_mask is": lambda: topi.nn.attention(T(1, 2, 1, 4), T(1, 2, 1, 4), T(1, 2, 1, 4), causal_mask="Left"),
    "topk takes 4 of 3 elements": lambda: topi.topk(T(3), 4),
    "ret_type is 'all'": lambda: topi.topk(T(3), 1, ret_type="all"),
    "the reduction of scatter is": lambda: topi.scatter_elements(T(3), T(2, dtype="int32"), T(2), 0, "sub"),
    "method is 'area'": lambda: topi.image.resize2d(T(1, 1, 2, 2), [0.0] * 4, 4, method="area"),
}
TYPES: dict[str, Callable[[], Any]] = {
    "exp is defined on floats, not on int32": lambda: topi.exp(T(3, dtype="int32")),
    "sum is defined on numbers": lambda: topi.sum(T(3, dtype="bool")),
    "all is defined on bool": lambda: topi.all(T(3)),
    "logical_not is defined on bool": lambda: topi.logical_not(T(3)),
    "a logical operator takes bool": lambda: topi.logical_and(T(3), T(3)),
    "scatter of int32 into float32": lambda: topi.scatter_elements(T(3), T(2, dtype="int32"), T(2, dtype="int32")),
    "not of one width": lambda: topi.reinterpret(T(3), "float64"),
    "softmax is defined on floats": lambda: topi.nn.softmax(T(3, dtype="int8")),
    "linear interpolation": lambda: topi.image.resize2d(T(1, 1, 2, 2, dtype="int8"), [0.0] * 4, 4),
}
SIZES: dict[str, Callable[[], Any]] = {
    "the axis of a reduction must be a known integer": lambda: topi.sum(T(2, 3), n),
    "strides must be a known integer": lambda: topi.nn.conv1d(T(1, 2, 4), T(1, 2, 1), n),
    "arange needs known numbers": lambda: topi.arange(0, n, -1, "int32"),
    "an extent of resize": lambda: topi.image.resize1d(T(1, 1, n), [0.0, 0.0], 4),
}
CASES = {"topi.O1": SHAPES, "topi.O2": AXES, "topi.O3": PARAMETERS, "topi.O4": TYPES, "topi.O5": SIZES}


@pytest.mark.parametrize(
    ("rule", "words"), [(rule, words) for rule, cases in CASES.items() for words in cases]
)
def test_what_is_refused(rule: str, words: str) -> None:
    with pytest.raises(topi.OperatorError, match=words) as caught:
        CASES[rule][words]()
    assert caught.value.rule == rule


@pytest.mark.parametrize("arguments", [{"method": "cubic"}, {"coordinate_transformation_mode": "tf_crop_and_resize"}])
def test_what_is_not_supported(arguments: dict[str, str]) -> None:
    with pytest.raises(UnsupportedError, match="resize with") as caught:
        topi.image.resize2d(T(1, 1, 2, 2), [0.0] * 4, 4, **arguments)
    assert caught.value.rule == "topi.U1"


def test_scattering_means_is_not_supported() -> None:
    with pytest.raises(UnsupportedError, match="scatter with a mean"):
        topi.scatter_elements(T(3), T(2, dtype="int32"), T(2), 0, "mean")
