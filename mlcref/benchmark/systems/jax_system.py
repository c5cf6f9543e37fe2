"""JAX: one jitted function per workload, its arguments on the device, the call waits for the result."""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable
from typing import Any

import numpy as np

from mlcref.benchmark.operators import Case
from mlcref.benchmark.operators.convolution import pixel_axes
from mlcref.benchmark.operators.linear import matmul_result, sum_dtype
from mlcref.benchmark.operators.rows import EPSILON
from mlcref.benchmark.systems.record import Prepared, System, inexpressible, returned

Builder = Callable[[Any, Case], Callable[..., Any]]


def _matmul(jax: Any, case: Case) -> Callable[..., Any]:
    wide, narrow = sum_dtype(case.workload.dtype), matmul_result(case.workload)
    return lambda a, b: jax.numpy.matmul(a, b, preferred_element_type=wide).astype(narrow)


def _attention(jax: Any, case: Case) -> Callable[..., Any]:
    scale = 1 / math.sqrt(case.workload["depth"])

    def attend(q: Any, k: Any, v: Any) -> Any:
        return jax.nn.softmax(jax.numpy.einsum("hid,hjd->hij", q, k) * scale, axis=-1) @ v

    return attend


def _convolution(jax: Any, case: Case) -> Callable[..., Any]:
    w = case.workload
    depthwise = w.operator == "depthwise"
    groups = w["channels"] if depthwise else w["groups"]
    layouts = (w.layout, "HWIO" if w.layout == "NHWC" else "OIHW", w.layout)

    def convolve(x: Any, weight: Any) -> Any:
        if depthwise:
            weight = weight[:, :, None] if w.layout == "NHWC" else weight[:, None]
        padding = [(w["padding"], w["padding"])] * 2
        return jax.lax.conv_general_dilated(
            x, weight, (w["stride"],) * 2, padding, dimension_numbers=layouts, feature_group_count=groups
        )

    return convolve


def _max_pool(jax: Any, case: Case) -> Callable[..., Any]:
    w = case.workload
    window, strides, padding = [1] * 4, [1] * 4, [(0, 0)] * 4
    for axis in pixel_axes(w):
        window[axis], strides[axis], padding[axis] = w["kernel"], w["stride"], (w["padding"],) * 2
    return lambda x: jax.lax.reduce_window(x, -np.inf, jax.lax.max, window, strides, padding)


def _layernorm(jax: Any, case: Case) -> Callable[..., Any]:
    def normalize(x: Any, g: Any, b: Any) -> Any:
        d = x - x.mean(1, keepdims=True)
        return d / jax.numpy.sqrt((d * d).mean(1, keepdims=True) + EPSILON) * g + b

    return normalize


def _stencil(jax: Any, case: Case) -> Callable[..., Any]:
    return lambda x: (x[1:-1, 1:-1] + x[:-2, 1:-1] + x[2:, 1:-1] + x[1:-1, :-2] + x[1:-1, 2:]) * 0.2


def _mlp(jax: Any, case: Case) -> Callable[..., Any]:
    return lambda x, w0, b0, w1, b1: jax.numpy.maximum(x @ w0.T + b0, 0) @ w1.T + b1


BUILDERS: dict[str, Builder] = {
    "attention": _attention,
    "conv2d": _convolution,
    "depthwise": _convolution,
    "exp": lambda jax, case: jax.numpy.exp,
    "gather": lambda jax, case: lambda table, index: table[index],
    "gelu": lambda jax, case: lambda x: jax.nn.gelu(x, approximate=False),
    "layernorm": _layernorm,
    "matmul": _matmul,
    "max": lambda jax, case: lambda x: x.max(case.workload["axis"]),
    "max_pool": _max_pool,
    "mean_pool": lambda jax, case: lambda x: x.mean(pixel_axes(case.workload)),
    "mlp": _mlp,
    "qkt": lambda jax, case: lambda q, k: jax.numpy.einsum("hid,hjd->hij", q, k),
    "softmax": lambda jax, case: lambda x: jax.nn.softmax(x, axis=1),
    "stencil": _stencil,
    "sum": lambda jax, case: lambda x: x.sum(case.workload["axis"]),
    "transpose": lambda jax, case: lambda x: x.T,
}


def _prepare(case: Case, threads: int) -> Prepared:
    jax = importlib.import_module("jax")
    importlib.import_module("jax.nn")
    jax.config.update("jax_enable_x64", True)
    build = BUILDERS.get(case.workload.operator)
    if build is None:
        raise inexpressible("jax", case.workload.operator)
    given = [jax.device_put(array) for array in case.inputs]
    compiled = jax.jit(build(jax, case)).lower(*given).compile()
    return Prepared(lambda: compiled(*given).block_until_ready(), returned)


JAX = System("jax", "jax", ("jax",), _prepare)
