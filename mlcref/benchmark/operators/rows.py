"""Along rows and columns: softmax, layernorm, sum, max."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from mlcref import te
from mlcref.benchmark.bounds import Approximate
from mlcref.benchmark.operators.record import Array, Operator, normal
from mlcref.benchmark.workload import Workload
from mlcref.ir import PrimFunc

EPSILON = 1e-5


def _shape(w: Workload) -> tuple[int, int]:
    return w["rows"], w["columns"]


def _softmax(w: Workload) -> PrimFunc:
    rows, columns = _shape(w)
    x = te.placeholder((rows, columns), w.dtype, name="X")
    k, t = (te.reduce_axis((0, columns), name=name) for name in "kt")
    m = te.compute((rows,), lambda i: te.max(x[i, k], axis=k), name="M")
    e = te.compute((rows, columns), lambda i, j: te.exp(x[i, j] - m[i]), name="E")
    s = te.compute((rows,), lambda i: te.sum(e[i, t], axis=t), name="S")
    return te.create_prim_func([x, te.compute((rows, columns), lambda i, j: e[i, j] / s[i], name="Y")])


def _softmax_reference(w: Workload, x: Array) -> Approximate:
    given = Approximate.exact(x, w.dtype)
    e = (given - given.max(1, keepdims=True)).exp()
    return e / e.sum(1, keepdims=True)


def _softmax_numpy(w: Workload) -> Callable[..., Array]:
    out = np.empty(_shape(w), w.dtype)

    def softmax(x: Array) -> Array:
        np.subtract(x, x.max(1, keepdims=True), out=out)
        np.exp(out, out=out)
        return np.asarray(np.divide(out, out.sum(1, keepdims=True), out=out))

    return softmax


SOFTMAX = Operator(
    _softmax,
    lambda w, rng: (normal(rng, _shape(w), w.dtype),),
    _shape,
    _softmax_reference,
    _softmax_numpy,
    lambda w: 5 * w["rows"] * w["columns"],
)


def _layernorm(w: Workload) -> PrimFunc:
    rows, columns = _shape(w)
    x = te.placeholder((rows, columns), w.dtype, name="X")
    g, b = (te.placeholder((columns,), w.dtype, name=name) for name in ("G", "B"))
    k, t = (te.reduce_axis((0, columns), name=name) for name in "kt")
    count, epsilon = te.const(float(columns), w.dtype), te.const(EPSILON, w.dtype)
    total = te.compute((rows,), lambda i: te.sum(x[i, k], axis=k), name="S")
    d = te.compute((rows, columns), lambda i, j: x[i, j] - total[i] / count, name="D")
    v = te.compute((rows,), lambda i: te.sum(d[i, t] * d[i, t], axis=t), name="V")
    y = te.compute(
        (rows, columns), lambda i, j: d[i, j] / te.sqrt(v[i] / count + epsilon) * g[j] + b[j], name="Y"
    )
    return te.create_prim_func([x, g, b, y])


def _layernorm_reference(w: Workload, x: Array, g: Array, b: Array) -> Approximate:
    given = Approximate.exact(x, w.dtype)
    d = given - given.sum(1, keepdims=True).scaled(1 / w["columns"])
    variance = (d * d).sum(1, keepdims=True).scaled(1 / w["columns"])
    deviation = (variance + Approximate.exact(EPSILON, w.dtype)).sqrt()
    return d / deviation * Approximate.exact(g, w.dtype) + Approximate.exact(b, w.dtype)


def _layernorm_numpy(w: Workload) -> Callable[..., Array]:
    def layernorm(x: Array, g: Array, b: Array) -> Array:
        d = x - x.mean(1, keepdims=True)
        variance = np.square(d).mean(1, keepdims=True)
        d /= np.sqrt(variance + np.float32(EPSILON))
        d *= g
        d += b
        return np.asarray(d)

    return layernorm


LAYERNORM = Operator(
    _layernorm,
    lambda w, rng: (
        normal(rng, _shape(w), w.dtype),
        normal(rng, (w["columns"],), w.dtype),
        normal(rng, (w["columns"],), w.dtype),
    ),
    _shape,
    _layernorm_reference,
    _layernorm_numpy,
    lambda w: 7 * w["rows"] * w["columns"],
    weights=2,
)


def _reduced(w: Workload) -> tuple[int]:
    return (_shape(w)[1 - w["axis"]],)


def _reduction(reduce: Callable[..., Any]) -> Callable[[Workload], PrimFunc]:
    def program(w: Workload) -> PrimFunc:
        x = te.placeholder(_shape(w), w.dtype, name="X")
        k = te.reduce_axis((0, _shape(w)[w["axis"]]), name="k")
        y = te.compute(_reduced(w), lambda i: reduce(x[(i, k) if w["axis"] else (k, i)], axis=k), name="Y")
        return te.create_prim_func([x, y])

    return program


def _signs(w: Workload, rng: np.random.Generator) -> tuple[Array, ...]:
    """-1, 0 and 1: their sums are exact in any order, whatever the length."""
    return (rng.integers(-1, 1, _shape(w), dtype=np.int8, endpoint=True).astype(w.dtype),)


SUM = Operator(
    _reduction(te.sum),
    _signs,
    _reduced,
    lambda w, x: Approximate.exact(x, w.dtype).sum(w["axis"]),
    lambda w: lambda x: x.sum(w["axis"]),
    lambda w: w["rows"] * w["columns"],
)

MAX = Operator(
    _reduction(te.max),
    lambda w, rng: (normal(rng, _shape(w), w.dtype),),
    _reduced,
    lambda w, x: Approximate.exact(x, w.dtype).max(w["axis"]),
    lambda w: lambda x: x.max(w["axis"]),
    lambda w: w["rows"] * w["columns"],
)
