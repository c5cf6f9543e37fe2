"""Graphs of well-known networks at their real shapes, batch 1, in float32; weights are parameters.

Normalizations that follow a convolution are part of its weights, as in a model that is deployed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from mlcref import relax
from mlcref.ir import IRModule, graph

Value = graph.Var
_IMAGE = (1, 3, 224, 224)
_op: Any = relax.op


class Network:
    """A graph under construction, layer by layer: each method emits calls and gives the value of the last one."""

    def __init__(self) -> None:
        self.builder = relax.BlockBuilder()
        self.params: list[graph.Var] = []

    def param(self, hint: str, *shape: int) -> graph.Var:
        """A new parameter."""
        self.params.append(graph.Var(f"{hint}{len(self.params)}", graph.TensorStructInfo(shape, "float32")))
        return self.params[-1]

    def emit(self, call: graph.GraphExpr) -> Value:
        """Bind a call."""
        return self.builder.emit(call)

    def convolution(
        self, x: Value, channels: int, kernel: int, stride: int = 1, pad: int | None = None, relu: bool = True
    ) -> Value:
        """A convolution with bias; the padding keeps the size unless it is given."""
        weight = self.param("w", channels, shape_of(x)[1], kernel, kernel)
        around = kernel // 2 if pad is None else pad
        y = self.emit(_op.nn.conv2d(x, weight, strides=stride, padding=around))
        y = self.emit(_op.add(y, self.param("b", 1, channels, 1, 1)))
        return self.emit(_op.nn.relu(y)) if relu else y

    def scaled(self, x: Value) -> Value:
        """A normalization that stands alone, ``relu(x * gamma + beta)``."""
        channels = shape_of(x)[1]
        y = self.emit(_op.multiply(x, self.param("g", 1, channels, 1, 1)))
        return self.emit(_op.nn.relu(self.emit(_op.add(y, self.param("b", 1, channels, 1, 1)))))

    def max_pool(self, x: Value, kernel: int, stride: int, padding: Sequence[int] = (0, 0, 0, 0)) -> Value:
        """The largest of each window."""
        return self.emit(_op.nn.max_pool2d(x, pool_size=kernel, strides=stride, padding=list(padding)))

    def classifier(self, x: Value, classes: int = 1000) -> Value:
        """The mean of each channel, then a dense layer."""
        channels = shape_of(x)[1]
        return self.dense(self.emit(_op.reshape(self.mean(x), [1, channels])), classes)

    def dense(self, x: Value, width: int) -> Value:
        """Rows times a matrix, and a bias."""
        y = self.emit(_op.matmul(x, self.param("w", shape_of(x)[-1], width)))
        return self.emit(_op.add(y, self.param("b", width)))

    def normalized(self, x: Value) -> Value:
        """Each row with mean 0 and variance 1, scaled and shifted."""
        width = shape_of(x)[-1]
        return self.emit(_op.nn.layer_norm(x, self.param("g", width), self.param("b", width), axes=-1))

    def mean(self, x: Value) -> Value:
        """The mean of each channel."""
        return self.emit(_op.nn.adaptive_avg_pool2d(x, 1))

    def concat(self, values: Sequence[Value]) -> Value:
        """Values joined along their channels."""
        return self.emit(_op.concat(list(values), 1))


def shape_of(value: Value) -> tuple[int, ...]:
    """The extents of a value, which are numbers."""
    return tuple([int(extent.value) for extent in graph.extents_of(value.struct_info)])  # type: ignore[attr-defined]


def _built(layers: Callable[[Network, Value], Value], *shape: int) -> IRModule:
    net = Network()
    x = net.param("x", *(shape or _IMAGE))
    with net.builder.function("main"):
        with net.builder.dataflow():
            out = net.builder.emit_output(layers(net, x))
        net.builder.emit_func_output(out, net.params)
    return net.builder.get()


# ResNet-50: https://arxiv.org/abs/1512.03385, table 1

_RESNET_STAGES = ((3, 64, 1), (4, 128, 2), (6, 256, 2), (3, 512, 2))
"""Blocks, channels inside them, stride of the first."""


def _bottleneck(net: Network, x: Value, channels: int, stride: int) -> Value:
    y = net.convolution(x, channels, 1)
    y = net.convolution(y, channels, 3, stride)
    y = net.convolution(y, 4 * channels, 1, relu=False)
    if shape_of(x) != shape_of(y):
        x = net.convolution(x, 4 * channels, 1, stride, relu=False)
    return net.emit(_op.nn.relu(net.emit(_op.add(y, x))))


def _resnet50(net: Network, x: Value) -> Value:
    x = net.max_pool(net.convolution(x, 64, 7, 2), 3, 2, (1, 1, 1, 1))
    for blocks, channels, stride in _RESNET_STAGES:
        for number in range(blocks):
            x = _bottleneck(net, x, channels, stride if number == 0 else 1)
    return net.classifier(x)


# Inception v1: https://arxiv.org/abs/1409.4842, table 1

_INCEPTION = (
    ((64, 96, 128, 16, 32, 32), (128, 128, 192, 32, 96, 64)),
    ((192, 96, 208, 16, 48, 64), (160, 112, 224, 24, 64, 64), (128, 128, 256, 24, 64, 64), (112, 144, 288, 32, 64, 64),
     (256, 160, 320, 32, 128, 128)),
    ((256, 160, 320, 32, 128, 128), (384, 192, 384, 48, 128, 128)),
)  # fmt: skip
"""Channels of 1x1, 3x3 reduce, 3x3, 5x5 reduce, 5x5 and pool; a pool halves the size between the groups."""
_UP = (0, 0, 1, 1)


def _inception(net: Network, x: Value, channels: tuple[int, ...]) -> Value:
    one, three_in, three, five_in, five, pooled = channels
    return net.concat([
        net.convolution(x, one, 1), net.convolution(net.convolution(x, three_in, 1), three, 3),
        net.convolution(net.convolution(x, five_in, 1), five, 5),
        net.convolution(net.max_pool(x, 3, 1, (1, 1, 1, 1)), pooled, 1),
    ])  # fmt: skip


def _inception_v1(net: Network, x: Value) -> Value:
    x = net.max_pool(net.convolution(x, 64, 7, 2), 3, 2, _UP)
    x = net.max_pool(net.convolution(net.convolution(x, 64, 1), 192, 3), 3, 2, _UP)
    for number, group in enumerate(_INCEPTION):
        x = net.max_pool(x, 3, 2, _UP) if number else x
        for channels in group:
            x = _inception(net, x, channels)
    return net.classifier(x)


# SqueezeNet 1.1: https://arxiv.org/abs/1602.07360, and the release of version 1.1

_FIRES = (((16, 64), (16, 64)), ((32, 128), (32, 128)), ((48, 192), (48, 192), (64, 256), (64, 256)))
"""Channels that a module squeezes to, and expands to twice; a pool halves the size before each group."""


def _squeezenet(net: Network, x: Value) -> Value:
    x = net.convolution(x, 64, 3, 2, pad=0)
    for group in _FIRES:
        x = net.max_pool(x, 3, 2)
        for squeezed, expanded in group:
            x = net.convolution(x, squeezed, 1)
            x = net.concat([net.convolution(x, expanded, 1), net.convolution(x, expanded, 3)])
    return net.emit(_op.reshape(net.mean(net.convolution(x, 1000, 1)), [1, 1000]))


# DenseNet-121: https://arxiv.org/abs/1608.06993, table 1

_DENSE_BLOCKS = (6, 12, 24, 16)
_GROWTH = 32


def _densenet121(net: Network, x: Value) -> Value:
    x = net.max_pool(net.convolution(x, 64, 7, 2), 3, 2, (1, 1, 1, 1))
    for number, layers in enumerate(_DENSE_BLOCKS):
        if number:
            x = net.convolution(net.scaled(x), shape_of(x)[1] // 2, 1, relu=False)
            x = net.emit(_op.nn.avg_pool2d(x, pool_size=2, strides=2))
        for _ in range(layers):
            y = net.convolution(net.scaled(x), 4 * _GROWTH, 1)
            x = net.concat([x, net.convolution(y, _GROWTH, 3, relu=False)])
    return net.classifier(net.scaled(x))


# Blocks


def _transformer(net: Network, x: Value, heads: int = 4) -> Value:
    """Attention over the tokens, then two dense layers, each added to what it was given: https://arxiv.org/abs/1706.03762
    with the normalizations first."""
    tokens, width = shape_of(x)
    each = width // heads
    normed = net.normalized(x)
    q, k, v = (
        net.emit(_op.permute_dims(net.emit(_op.reshape(net.dense(normed, width), [tokens, heads, each])), axes))
        for axes in ([1, 0, 2], [1, 2, 0], [1, 0, 2])
    )
    scores = net.emit(_op.multiply(net.emit(_op.matmul(q, k)), relax.const(each**-0.5)))
    mixed = net.emit(_op.matmul(net.emit(_op.nn.softmax(scores)), v))
    joined = net.emit(_op.reshape(net.emit(_op.permute_dims(mixed, [1, 0, 2])), [tokens, width]))
    x = net.emit(_op.add(net.dense(joined, width), x))
    wide = net.emit(_op.nn.gelu(net.dense(net.normalized(x), 4 * width)))
    return net.emit(_op.add(net.dense(wide, width), x))


def transformer_block(tokens: int = 128, width: int = 256) -> IRModule:
    """One block of a transformer with four heads, for one sequence."""
    return _built(_transformer, tokens, width)


def resnet_block(channels: int = 256, size: int = 56) -> IRModule:
    """One block of ResNet-50 that keeps its shape: three convolutions, a quarter of the channels inside."""
    return _built(lambda net, x: _bottleneck(net, x, channels // 4, 1), 1, channels, size, size)


BLOCKS: dict[str, Callable[..., IRModule]] = {"transformer block": transformer_block, "ResNet block": resnet_block}
"""Builders of parts of networks, whose sizes can be given."""

NETWORKS: dict[str, Callable[[], IRModule]] = {
    "ResNet-50": lambda: _built(_resnet50),
    "Inception v1": lambda: _built(_inception_v1),
    "SqueezeNet 1.1": lambda: _built(_squeezenet),
    "DenseNet-121": lambda: _built(_densenet121),
}
"""Builders of the graphs, by the names of the networks."""
