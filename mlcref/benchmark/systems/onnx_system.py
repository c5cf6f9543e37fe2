"""ONNX Runtime: one model per workload, its trained weights constants, as it is deployed; inputs and outputs bound to
memory once.
"""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np

from mlcref.benchmark.operators import Case
from mlcref.benchmark.operators.rows import EPSILON
from mlcref.benchmark.systems.record import Array, Prepared, System, inexpressible

_OPSET, _IR_VERSION = 20, 10


@dataclass
class _Graph:
    """Nodes over the inputs x0, x1, … and constants; the last one makes y."""

    nodes: list[tuple[str, list[str], str, dict[str, Any]]] = field(default_factory=list)
    constants: dict[str, Array] = field(default_factory=dict)

    def node(self, kind: str, inputs: list[str], output: str = "y", **attributes: Any) -> _Graph:
        self.nodes.append((kind, inputs, output, attributes))
        return self

    def constant(self, name: str, value: Array) -> str:
        self.constants[name] = value
        return name


Builder = Callable[[Case, _Graph], object]


def _channels_first(case: Case) -> None:
    if case.workload.layout == "NHWC":
        raise inexpressible("onnxruntime", "", f"has no {case.workload.operator} of NHWC images on the CPU")


def _window(case: Case) -> dict[str, Any]:
    w = case.workload
    return {"kernel_shape": [w["kernel"]] * 2, "strides": [w["stride"]] * 2, "pads": [w["padding"]] * 4}


def _conv2d(case: Case, graph: _Graph) -> None:
    _channels_first(case)
    graph.node("Conv", ["x0", "x1"], group=case.workload["groups"], **_window(case))


def _depthwise(case: Case, graph: _Graph) -> None:
    _channels_first(case)
    graph.constant("x1", case.inputs[1][:, None])
    graph.node("Conv", ["x0", "x1"], group=case.workload["channels"], **_window(case))


def _max_pool(case: Case, graph: _Graph) -> None:
    _channels_first(case)
    graph.node("MaxPool", ["x0"], **_window(case))


def _mean_pool(case: Case, graph: _Graph) -> None:
    _channels_first(case)
    axes = graph.constant("axes", np.array([2, 3]))
    graph.node("ReduceMean", ["x0", axes], keepdims=0)


def _qkt(case: Case, graph: _Graph) -> None:
    graph.node("Transpose", ["x1"], "k", perm=[0, 2, 1]).node("MatMul", ["x0", "k"])


def _attention(case: Case, graph: _Graph) -> None:
    scale = graph.constant("scale", np.array(1 / math.sqrt(case.workload["depth"]), case.workload.dtype))
    graph.node("Transpose", ["x1"], "k", perm=[0, 2, 1]).node("MatMul", ["x0", "k"], "s")
    graph.node("Mul", ["s", scale], "x").node("Softmax", ["x"], "p", axis=-1).node("MatMul", ["p", "x2"])


def _along_axis(kind: str, case: Case, graph: _Graph) -> None:
    axes = graph.constant("axes", np.array([case.workload["axis"]]))
    graph.node(kind, ["x0", axes], keepdims=0)


def _mlp(case: Case, graph: _Graph) -> None:
    graph.node("Gemm", ["x0", "x1", "x2"], "a", transB=1).node("Relu", ["a"], "b")
    graph.node("Gemm", ["b", "x3", "x4"], transB=1)


BUILDERS: dict[str, Builder] = {
    "attention": _attention,
    "conv2d": _conv2d,
    "depthwise": _depthwise,
    "exp": lambda case, graph: graph.node("Exp", ["x0"]),
    "gather": lambda case, graph: graph.node("Gather", ["x0", "x1"], axis=0),
    "gelu": lambda case, graph: graph.node("Gelu", ["x0"]),
    "layernorm": lambda case, graph: graph.node("LayerNormalization", ["x0", "x1", "x2"], axis=1, epsilon=EPSILON),
    "matmul": lambda case, graph: graph.node(
        "MatMulInteger" if case.workload.dtype == "int8" else "MatMul", ["x0", "x1"]
    ),
    "max": partial(_along_axis, "ReduceMax"),
    "max_pool": _max_pool,
    "mean_pool": _mean_pool,
    "mlp": _mlp,
    "qkt": _qkt,
    "softmax": lambda case, graph: graph.node("Softmax", ["x0"], axis=1),
    "sum": partial(_along_axis, "ReduceSum"),
    "transpose": lambda case, graph: graph.node("Transpose", ["x0"], perm=[1, 0]),
}


def _model(case: Case, graph: _Graph, fed: int) -> bytes:
    """The model as bytes: the first ``fed`` inputs are fed, the others are constants."""
    onnx = importlib.import_module("onnx")
    helper = importlib.import_module("onnx.helper")
    from_array = importlib.import_module("onnx.numpy_helper").from_array
    element = helper.np_dtype_to_tensor_dtype

    def described(name: str, array: Array) -> Any:
        return helper.make_tensor_value_info(name, element(array.dtype), array.shape)

    for number, array in enumerate(case.inputs[fed:], fed):
        graph.constants.setdefault(f"x{number}", array)
    nodes = [helper.make_node(kind, inputs, [output], **given) for kind, inputs, output, given in graph.nodes]
    inputs = [described(f"x{number}", array) for number, array in enumerate(case.inputs[:fed])]
    constants = [from_array(np.ascontiguousarray(array), name) for name, array in graph.constants.items()]
    built = helper.make_graph(nodes, "workload", inputs, [described("y", case.empty())], constants)
    opsets = [helper.make_opsetid("", _OPSET)]
    model: bytes = helper.make_model(built, opset_imports=opsets, ir_version=_IR_VERSION).SerializeToString()
    assert onnx is not None
    return model


def _prepare(case: Case, threads: int) -> Prepared:
    runtime = importlib.import_module("onnxruntime")
    build = BUILDERS.get(case.workload.operator)
    if build is None:
        raise inexpressible("onnxruntime", case.workload.operator)
    graph, fed = _Graph(), len(case.inputs) - case.operator.weights
    build(case, graph)
    options = runtime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.log_severity_level = 4
    model = _model(case, graph, fed)
    session = runtime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    binding, out = session.io_binding(), case.empty()
    kept = [runtime.OrtValue.ortvalue_from_numpy(array) for array in case.inputs[:fed]]
    for number, value in enumerate(kept):
        binding.bind_ortvalue_input(f"x{number}", value)
    made = runtime.OrtValue.ortvalue_from_numpy(out)
    binding.bind_ortvalue_output("y", made)
    return Prepared(partial(session.run_with_iobinding, binding), lambda _: np.asarray(made.numpy()))


ONNXRUNTIME = System("onnxruntime", "onnxruntime", ("onnxruntime", "onnx"), _prepare)
