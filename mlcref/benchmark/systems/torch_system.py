"""PyTorch, eager, without gradients; results go to memory of their own where the function takes ``out=``."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from mlcref import dtype as dt
from mlcref.benchmark.operators import Case
from mlcref.benchmark.operators.rows import EPSILON
from mlcref.benchmark.systems.record import Prepared, System, inexpressible

Call = Callable[[], Any]
Builder = Callable[[Any, Case, list[Any]], Call]


def _tensor(torch: Any, array: Any) -> Any:
    """The memory of a numpy array as a tensor."""
    if array.dtype == dt.numpy_dtype("bfloat16"):
        return torch.from_numpy(array.view(np.int16)).view(torch.bfloat16)
    return torch.from_numpy(array)


def _array(tensor: Any) -> Any:
    import torch

    if tensor.dtype is torch.bfloat16:
        return tensor.contiguous().view(torch.int16).numpy().view(dt.numpy_dtype("bfloat16"))
    return tensor.numpy()


def _out(torch: Any, case: Case) -> Any:
    return _tensor(torch, case.empty())


def _matmul(torch: Any, case: Case, given: list[Any]) -> Call:
    if case.workload.dtype == "int8":
        return partial(torch._int_mm, *given, out=_out(torch, case))
    return partial(torch.mm, *given, out=_out(torch, case))


def _qkt(torch: Any, case: Case, given: list[Any]) -> Call:
    q, k = given
    return partial(torch.bmm, q, k.transpose(1, 2), out=_out(torch, case))


def _attention(torch: Any, case: Case, given: list[Any]) -> Call:
    attend = torch.nn.functional.scaled_dot_product_attention
    return partial(attend, *(tensor[None] for tensor in given))


def _image(torch: Any, case: Case, x: Any) -> Any:
    """The input as torch sees it: NHWC is a memory format."""
    return x.permute(0, 3, 1, 2) if case.workload.layout == "NHWC" else x


def _conv2d(torch: Any, case: Case, given: list[Any]) -> Call:
    w, (x, weight) = case.workload, given
    if w.layout == "NHWC":
        weight = weight.permute(3, 2, 0, 1).contiguous(memory_format=torch.channels_last)
    convolve = torch.nn.functional.conv2d
    return partial(
        convolve, _image(torch, case, x), weight, stride=w["stride"], padding=w["padding"], groups=w["groups"]
    )


def _depthwise(torch: Any, case: Case, given: list[Any]) -> Call:
    w, (x, weight) = case.workload, given
    if w.layout == "NHWC":
        weight = weight.permute(2, 0, 1)[:, None].contiguous(memory_format=torch.channels_last)
    else:
        weight = weight[:, None]
    convolve = torch.nn.functional.conv2d
    return partial(
        convolve, _image(torch, case, x), weight, stride=w["stride"], padding=w["padding"], groups=w["channels"]
    )


def _max_pool(torch: Any, case: Case, given: list[Any]) -> Call:
    w = case.workload
    pool = torch.nn.functional.max_pool2d
    return partial(pool, _image(torch, case, given[0]), w["kernel"], w["stride"], w["padding"])


def _mean_pool(torch: Any, case: Case, given: list[Any]) -> Call:
    return partial(torch.mean, _image(torch, case, given[0]), dim=(2, 3), out=_out(torch, case))


def _layernorm(torch: Any, case: Case, given: list[Any]) -> Call:
    x, g, b = given
    return partial(torch.nn.functional.layer_norm, x, (case.workload["columns"],), g, b, EPSILON)


def _transpose(torch: Any, case: Case, given: list[Any]) -> Call:
    return partial(_out(torch, case).copy_, given[0].T)


def _stencil(torch: Any, case: Case, given: list[Any]) -> Call:
    x = given[0]
    middle, above, below, left, right = (
        x[1:-1, 1:-1], x[:-2, 1:-1], x[2:, 1:-1], x[1:-1, :-2], x[1:-1, 2:],
    )  # fmt: skip
    return lambda: (middle + above + below + left + right) * 0.2


def _gather(torch: Any, case: Case, given: list[Any]) -> Call:
    table, index = given
    return partial(torch.index_select, table, 0, index, out=_out(torch, case))


def _mlp(torch: Any, case: Case, given: list[Any]) -> Call:
    linear, relu = torch.nn.functional.linear, torch.relu
    x, w0, b0, w1, b1 = given
    return lambda: linear(relu(linear(x, w0, b0)), w1, b1)


def _along_axis(name: str) -> Builder:
    def build(torch: Any, case: Case, given: list[Any]) -> Call:
        return partial(getattr(torch, name), given[0], case.workload["axis"], out=_out(torch, case))

    return build


BUILDERS: dict[str, Builder] = {
    "attention": _attention,
    "conv2d": _conv2d,
    "depthwise": _depthwise,
    "exp": lambda torch, case, given: partial(torch.exp, given[0], out=_out(torch, case)),
    "gather": _gather,
    "gelu": lambda torch, case, given: partial(torch.nn.functional.gelu, given[0]),
    "layernorm": _layernorm,
    "matmul": _matmul,
    "max": _along_axis("amax"),
    "max_pool": _max_pool,
    "mean_pool": _mean_pool,
    "mlp": _mlp,
    "qkt": _qkt,
    "softmax": lambda torch, case, given: partial(torch.softmax, given[0], 1),
    "stencil": _stencil,
    "sum": _along_axis("sum"),
    "transpose": _transpose,
}


def _prepare(case: Case, threads: int) -> Prepared:
    torch = importlib.import_module("torch")
    torch.set_num_threads(threads)
    torch.set_grad_enabled(False)
    build = BUILDERS.get(case.workload.operator)
    if build is None:
        raise inexpressible("torch", case.workload.operator)
    call = build(torch, case, [_tensor(torch, array) for array in case.inputs])
    shape = case.operator.result(case.workload)
    if case.workload.layout == "NHWC" and len(shape) == 4:
        return Prepared(call, lambda value: _array(value.permute(0, 2, 3, 1)))
    return Prepared(call, lambda value: _array(value).reshape(shape))


TORCH = System("torch", "torch", ("torch",), _prepare)
