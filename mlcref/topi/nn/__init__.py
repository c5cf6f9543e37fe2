"""Operators of neural networks, under the names of ``tvm.topi.nn``; see :mod:`mlcref.topi`."""

from mlcref.topi.broadcast import add
from mlcref.topi.image import upsampling
from mlcref.topi.index import strided_slice
from mlcref.topi.nn.activation import gelu, gelu_tanh, leaky_relu, prelu, relu, silu, softplus
from mlcref.topi.nn.conv import (
    conv,
    conv1d,
    conv1d_ncw,
    conv1d_nwc,
    conv2d,
    conv2d_hwcn,
    conv2d_nchw,
    conv2d_nhwc,
    conv3d_ncdhw,
    conv3d_ndhwc,
    group_conv1d_ncw,
    group_conv1d_nwc,
    group_conv2d_nchw,
    group_conv2d_nhwc,
)
from mlcref.topi.nn.conv_transpose import (
    conv1d_transpose_ncw,
    conv2d_transpose_nchw,
    conv3d_transpose_ncdhw,
    group_conv1d_transpose_ncw,
    group_conv2d_transpose_nchw,
)
from mlcref.topi.nn.dense import batch_matmul, dense, matmul
from mlcref.topi.nn.depthwise import depthwise_conv2d_nchw, depthwise_conv2d_nhwc
from mlcref.topi.nn.norm import (
    batch_norm,
    group_norm,
    instance_norm,
    layer_norm,
    lrn,
    rms_norm,
    scale_shift_nchw,
    scale_shift_nhwc,
)
from mlcref.topi.nn.padding import circular_pad, dilate, mirror_pad, pad, reflect_pad, replicate_pad
from mlcref.topi.nn.pooling import (
    adaptive_pool,
    adaptive_pool1d,
    adaptive_pool3d,
    global_pool,
    pool1d,
    pool2d,
    pool3d,
)
from mlcref.topi.nn.rearrange import batch_to_space_nd, depth_to_space, flatten, space_to_batch_nd, space_to_depth
from mlcref.topi.nn.softmax import attention, log_softmax, nll_loss, softmax
from mlcref.topi.shape import concatenate

__all__ = [
    "adaptive_pool", "adaptive_pool1d", "adaptive_pool3d", "add", "attention", "batch_matmul", "batch_norm",
    "batch_to_space_nd", "circular_pad", "concatenate", "conv", "conv1d", "conv1d_ncw", "conv1d_nwc",
    "conv1d_transpose_ncw", "conv2d", "conv2d_hwcn", "conv2d_nchw", "conv2d_nhwc", "conv2d_transpose_nchw",
    "conv3d_ncdhw", "conv3d_ndhwc", "conv3d_transpose_ncdhw", "dense", "depth_to_space", "depthwise_conv2d_nchw",
    "depthwise_conv2d_nhwc", "dilate", "flatten", "gelu", "gelu_tanh", "global_pool", "group_conv1d_ncw",
    "group_conv1d_nwc", "group_conv1d_transpose_ncw", "group_conv2d_nchw", "group_conv2d_nhwc",
    "group_conv2d_transpose_nchw", "group_norm", "instance_norm", "layer_norm", "leaky_relu", "log_softmax", "lrn",
    "matmul", "mirror_pad", "nll_loss", "pad", "pool1d", "pool2d", "pool3d", "prelu", "reflect_pad", "relu",
    "replicate_pad", "rms_norm", "scale_shift_nchw", "scale_shift_nhwc", "silu", "softmax", "softplus",
    "space_to_batch_nd", "space_to_depth", "strided_slice", "upsampling",
]  # fmt: skip
