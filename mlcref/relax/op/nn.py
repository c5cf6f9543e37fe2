"""``relax.op.nn``: the operators of neural networks."""

from mlcref.relax.op.activation import (
    attention,
    dropout,
    gelu,
    gelu_tanh,
    leakyrelu,
    log_softmax,
    relu,
    relu6,
    silu,
    softmax,
)
from mlcref.relax.op.normalize import batch_norm, group_norm, layer_norm, rms_norm
from mlcref.relax.op.window import adaptive_avg_pool2d, avg_pool2d, conv1d, conv2d, max_pool2d, pad

__all__ = [
    "adaptive_avg_pool2d", "attention", "avg_pool2d", "batch_norm", "conv1d", "conv2d", "dropout", "gelu", "gelu_tanh",
    "group_norm", "layer_norm", "leakyrelu", "log_softmax", "max_pool2d", "pad", "relu", "relu6", "rms_norm", "silu",
    "softmax",
]  # fmt: skip
