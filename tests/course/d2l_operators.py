"""The operators of "Dive into Deep Learning Compiler" as tensor expressions, in our own words, and what numpy says they
compute. Batches are left out, as in the book.
"""

from __future__ import annotations

from typing import Any

import numpy as np

import mlcref as tvm
from mlcref import te, topi
from mlcref.testing import assert_backend_matches

Array = np.ndarray[Any, Any]
Tensors = list[Any]


def small_integers(args: Tensors, seed: int = 0) -> list[Array]:
    """An array per tensor, on which sums of float32 are exact."""
    rng = np.random.default_rng(seed)
    return [rng.integers(-4, 5, [int(n) for n in t.shape]).astype(t.dtype) for t in args]


def check(
    args: Tensors, s: te.Schedule | None = None, *, result: Array, inputs: list[Array], build: bool = True
) -> Any:
    """The schedule (by default: nothing changed) computes ``result``, the last argument, from ``inputs``: bit by bit in
    the oracle, within the bound of the rounding errors when compiled. Returns the compiled module, None without
    ``build``.
    """
    s = te.create_schedule(args[-1].op) if s is None else s
    func = s.tensor_ir(args).mod["main"]
    tvm.interpret(func, *inputs, out := np.full(result.shape, np.nan, result.dtype))
    np.testing.assert_array_equal(out, result)
    if not build:
        return None
    module = tvm.build(s, args, "llvm")
    assert_backend_matches(func, module, arguments=[[*inputs, np.full(result.shape, np.nan, result.dtype)]])
    return module


def equivalent(args: Tensors, s: te.Schedule) -> None:
    """The oracle finds no difference between the schedule and the expressions."""
    verdict = tvm.verify.check_equivalent(te.create_prim_func(args), s.tensor_ir(args).mod["main"])
    assert verdict, verdict


# ---- broadcast add


def broadcast_add(shape1: tuple[int, int], shape2: tuple[int, int]) -> Tensors:
    """``A + B`` of matrices, one of whose dimensions may be 1."""
    A, B = te.placeholder(shape1, name="A"), te.placeholder(shape2, name="B")
    shape = tuple(max(m, n) for m, n in zip(shape1, shape2, strict=True))

    def value(x: Any, y: Any) -> Any:
        return A[0 if shape1[0] == 1 else x, 0 if shape1[1] == 1 else y] + B[
            0 if shape2[0] == 1 else x, 0 if shape2[1] == 1 else y]  # fmt: skip

    return [A, B, te.compute(shape, value, name="C")]


# ---- matrix product


def matmul(n: int, m: int, depth: int) -> Tensors:
    A, B = te.placeholder((n, depth), name="A"), te.placeholder((depth, m), name="B")
    k = te.reduce_axis((0, depth), "k")
    return [A, B, te.compute((n, m), lambda x, y: te.sum(A[x, k] * B[k, y], axis=k), name="C")]


# ---- convolution


def padding(X: Any, ph: int, pw: int, value: float = 0.0) -> Any:
    """``X`` with ``ph`` rows and ``pw`` columns of ``value`` on each side of its last two dimensions."""
    nh, nw = X.shape[-2], X.shape[-1]

    def element(*i: Any) -> Any:
        outside = te.any(i[-2] < ph, i[-2] >= nh + ph, i[-1] < pw, i[-1] >= nw + pw)
        return te.if_then_else(outside, value, X[(*i[:-2], i[-2] - ph, i[-1] - pw)])

    return te.compute((*X.shape[:-2], nh + ph * 2, nw + pw * 2), element, name="PaddedX")


def conv_out_size(n: int, k: int, p: int, s: int) -> int:
    return (n - k + 2 * p) // s + 1


def conv(oc: int, ic: int, n: int, k: int, p: int = 0, s: int = 1) -> Tensors:
    """Convolution of ``n`` by ``n`` images of ``ic`` channels. Returns X, K, Y and the padded X."""
    ric, rkh, rkw = te.reduce_axis((0, ic), "ric"), te.reduce_axis((0, k), "rkh"), te.reduce_axis((0, k), "rkw")
    out = conv_out_size(n, k, p, s)
    X, K = te.placeholder((ic, n, n), name="X"), te.placeholder((oc, ic, k, k), name="K")
    PaddedX = padding(X, p, p) if p else X
    Y = te.compute(
        (oc, out, out),
        lambda c, i, j: te.sum(PaddedX[ric, i * s + rkh, j * s + rkw] * K[c, ric, rkh, rkw], axis=[ric, rkh, rkw]),
        name="Y",
    )
    return [X, K, Y, PaddedX]


def conv_reference(x: Array, kernel: Array, p: int, s: int) -> Array:
    windows = np.lib.stride_tricks.sliding_window_view(np.pad(x, ((0, 0), (p, p), (p, p))), kernel.shape[2:], (1, 2))
    return np.einsum("cijhw,ochw->oij", windows[:, ::s, ::s], kernel)


def depthwise_conv(ic: int, n: int, k: int, p: int = 0, s: int = 1) -> Tensors:
    """Each channel with a kernel of its own. Returns X, K, Y and the padded X."""
    rkh, rkw, out = te.reduce_axis((0, k), "rkh"), te.reduce_axis((0, k), "rkw"), conv_out_size(n, k, p, s)
    X, K = te.placeholder((ic, n, n), name="X"), te.placeholder((ic, 1, k, k), name="K")
    PaddedX = padding(X, p, p) if p else X
    Y = te.compute(
        (ic, out, out),
        lambda c, i, j: te.sum(PaddedX[c, i * s + rkh, j * s + rkw] * K[c, 0, rkh, rkw], axis=[rkh, rkw]), name="Y",
    )  # fmt: skip
    return [X, K, Y, PaddedX]


def depthwise_reference(x: Array, kernel: Array, p: int, s: int) -> Array:
    windows = np.lib.stride_tricks.sliding_window_view(np.pad(x, ((0, 0), (p, p), (p, p))), kernel.shape[2:], (1, 2))
    return np.einsum("cijhw,chw->cij", windows[:, ::s, ::s], kernel[:, 0])


# ---- pooling


def pool(kind: str, c: int, n: int, k: int, p: int = 0, s: int = 1) -> Tensors:
    """The maximum or the mean of windows. Returns X, Y and the padded X; a maximum is not of what pads."""
    X = te.placeholder((c, n, n), name="X")
    rkh, rkw, out = te.reduce_axis((0, k), "rkh"), te.reduce_axis((0, k), "rkw"), conv_out_size(n, k, p, s)
    low = te.min_value(X.dtype) if kind == "max" else 0.0
    PaddedX = padding(X, p, p, low) if p else X
    reducer = te.max if kind == "max" else te.sum
    total = te.compute(
        (c, out, out), lambda z, h, w: reducer(PaddedX[z, h * s + rkh, w * s + rkw], axis=[rkh, rkw]),
        tag="pool_max" if kind == "max" else "pool_sum", name="PoolMax" if kind == "max" else "PoolSum",
    )  # fmt: skip
    if kind == "max":
        return [X, total, PaddedX]
    mean = te.compute(total.shape, lambda z, h, w: total[z, h, w] / (k * k), tag="pool_avg", name="PoolAvg")
    return [X, mean, PaddedX]


def pool_reference(x: Array, kind: str, k: int, p: int, s: int) -> Array:
    fill = np.finfo(x.dtype).min if kind == "max" else 0
    around = np.pad(x, ((0, 0), (p, p), (p, p)), constant_values=fill)
    windows = np.lib.stride_tricks.sliding_window_view(around, (k, k), (1, 2))[:, ::s, ::s]
    return windows.max((3, 4)) if kind == "max" else windows.sum((3, 4)) / x.dtype.type(k * k)


# ---- batch normalization


def batch_norm(c: int, n: int, eps: float = 1e-5) -> Tensors:
    """``(X - mean) / sqrt(variance + eps) * gamma + beta``, by arithmetic on whole tensors."""
    X = te.placeholder((c, n, n), name="X")
    Mean, Var, Gamma, Beta = (te.placeholder((c, 1, 1), name=name) for name in ("Mean", "Var", "Gamma", "Beta"))
    return [X, Mean, Var, Gamma, Beta, (X - Mean) / topi.sqrt(Var + eps) * Gamma + Beta]


def batch_norm_inputs(c: int, n: int) -> list[Array]:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(c, n, n)).astype("float32")
    mean, gamma, beta = (rng.normal(size=(c, 1, 1)).astype("float32") for _ in range(3))
    return [x, mean, np.absolute(rng.normal(size=(c, 1, 1))).astype("float32") + 0.1, gamma, beta]


def batch_norm_reference(x: Array, mean: Array, var: Array, gamma: Array, beta: Array) -> Array:
    """In float32, one operation after the other, so that it is the same bit by bit."""
    return (x - mean) / np.sqrt(var + np.float32(1e-5)) * gamma + beta
