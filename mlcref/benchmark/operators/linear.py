"""Products of matrices: matmul, the scores of attention, attention, and a perceptron as a graph."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from mlcref import dtype as dt
from mlcref import te
from mlcref.benchmark.bounds import Approximate
from mlcref.benchmark.operators.record import Array, Operator, integers, normal
from mlcref.benchmark.workload import Workload
from mlcref.ir import IRModule, PrimFunc
from mlcref.script import from_source


def sum_dtype(dtype: str) -> str:
    """The type in which products of ``dtype`` are added up.

    >>> [sum_dtype(dtype) for dtype in ("float64", "bfloat16", "int8")]
    ['float64', 'float32', 'int32']
    """
    return {"float16": "float32", "bfloat16": "float32", "int8": "int32"}.get(dtype, dtype)


def matmul_result(w: Workload) -> str:
    """The type of a product of matrices: int8 gives int32, floats stay what they are."""
    return "int32" if w.dtype == "int8" else w.dtype


def _matmul(w: Workload) -> PrimFunc:
    wide = sum_dtype(w.dtype)
    a, b = te.placeholder((w["m"], w["k"]), w.dtype, name="A"), te.placeholder((w["k"], w["n"]), w.dtype, name="B")
    k = te.reduce_axis((0, w["k"]), name="k")

    def product(i: Any, j: Any) -> Any:
        return te.sum(a[i, k].astype(wide) * b[k, j].astype(wide), axis=k)

    c = te.compute((w["m"], w["n"]), product, name="C")
    if matmul_result(w) == wide:
        return te.create_prim_func([a, b, c])
    rounded = te.compute((w["m"], w["n"]), lambda i, j: c[i, j].astype(w.dtype), name="D")
    return te.create_prim_func([a, b, rounded])


def _matmul_reference(w: Workload, a: Array, b: Array) -> Approximate:
    wide = sum_dtype(w.dtype)
    product = Approximate.exact(a, wide).contract(Approximate.exact(b, wide), np.matmul, w["k"])
    return product.converted(matmul_result(w))


def _matmul_numpy(w: Workload) -> Callable[..., Array]:
    if w.dtype in ("float32", "float64"):
        out = np.empty((w["m"], w["n"]), w.dtype)
        return lambda a, b: np.asarray(np.matmul(a, b, out=out))
    wide = "float64" if w.dtype == "int8" else "float32"  # BLAS knows no other types; exact for int8
    narrow = dt.numpy_dtype(matmul_result(w))
    return lambda a, b: np.asarray(np.matmul(a.astype(wide), b.astype(wide)).astype(narrow))


MATMUL = Operator(
    _matmul,
    lambda w, rng: (integers(rng, (w["m"], w["k"]), w.dtype), integers(rng, (w["k"], w["n"]), w.dtype)),
    lambda w: (w["m"], w["n"]),
    _matmul_reference,
    _matmul_numpy,
    lambda w: 2 * w["m"] * w["k"] * w["n"],
    result_dtype=matmul_result,
)


def _heads(w: Workload) -> tuple[int, int, int]:
    return w["heads"], w["length"], w["depth"]


def _scores(w: Workload) -> tuple[te.Tensor, te.Tensor, te.Tensor]:
    heads, length, depth = _heads(w)
    q, k = (te.placeholder((heads, length, depth), w.dtype, name=name) for name in "QK")
    d = te.reduce_axis((0, depth), name="d")
    s = te.compute((heads, length, length), lambda h, i, j: te.sum(q[h, i, d] * k[h, j, d], axis=d), name="S")
    return q, k, s


def _transposed_product(q: Array, k: Array) -> Array:
    return np.asarray(np.matmul(q, k.transpose(0, 2, 1)))


QKT = Operator(
    lambda w: te.create_prim_func(list(_scores(w))),
    lambda w, rng: (integers(rng, _heads(w), w.dtype), integers(rng, _heads(w), w.dtype)),
    lambda w: (w["heads"], w["length"], w["length"]),
    lambda w, q, k: Approximate.exact(q, w.dtype).contract(
        Approximate.exact(k, w.dtype), _transposed_product, w["depth"]
    ),
    lambda w: _transposed_product,
    lambda w: 2 * w["heads"] * w["length"] ** 2 * w["depth"],
)


def _attention(w: Workload) -> PrimFunc:
    heads, length, depth = _heads(w)
    square, rows = (heads, length, length), (heads, length)
    q, k, s = _scores(w)
    v = te.placeholder((heads, length, depth), w.dtype, name="V")
    j, t, r = (te.reduce_axis((0, length), name=name) for name in "jtr")
    scale = te.const(1 / math.sqrt(depth), w.dtype)
    scaled = te.compute(square, lambda h, i, m: s[h, i, m] * scale, name="X")
    largest = te.compute(rows, lambda h, i: te.max(scaled[h, i, j], axis=j), name="M")
    e = te.compute(square, lambda h, i, m: te.exp(scaled[h, i, m] - largest[h, i]), name="E")
    total = te.compute(rows, lambda h, i: te.sum(e[h, i, t], axis=t), name="Z")
    p = te.compute(square, lambda h, i, m: e[h, i, m] / total[h, i], name="P")
    o = te.compute((heads, length, depth), lambda h, i, d: te.sum(p[h, i, r] * v[h, r, d], axis=r), name="O")
    return te.create_prim_func([q, k, v, o])


def _attention_reference(w: Workload, q: Array, k: Array, v: Array) -> Approximate:
    given = Approximate.exact(q, w.dtype).contract(Approximate.exact(k, w.dtype), _transposed_product, w["depth"])
    scores = given.scaled(1 / math.sqrt(w["depth"]))
    e = (scores - scores.max(-1, keepdims=True)).exp()
    p = e / e.sum(-1, keepdims=True)
    return p.contract(Approximate.exact(v, w.dtype), np.matmul, w["length"])


def _attention_numpy(w: Workload) -> Callable[..., Array]:
    scale = np.float32(1 / math.sqrt(w["depth"]))

    def attend(q: Array, k: Array, v: Array) -> Array:
        scores = _transposed_product(q, k) * scale
        scores -= scores.max(-1, keepdims=True)
        e = np.exp(scores, out=scores)
        e /= e.sum(-1, keepdims=True)
        return np.asarray(np.matmul(e, v))

    return attend


ATTENTION = Operator(
    _attention,
    lambda w, rng: (normal(rng, _heads(w), w.dtype), normal(rng, _heads(w), w.dtype), normal(rng, _heads(w), w.dtype)),
    _heads,
    _attention_reference,
    _attention_numpy,
    lambda w: w["heads"] * w["length"] ** 2 * (4 * w["depth"] + 6),
)

_LAYER = """
    @T.prim_func
    def {name}(X: T.Buffer(({b}, {k}), "{t}"), W: T.Buffer(({n}, {k}), "{t}"), B: T.Buffer(({n},), "{t}"),
               Z: T.Buffer(({b}, {n}), "{t}")):
        T.func_attr({{"global_symbol": "{name}", "tir.noalias": True}})
        Y = T.alloc_buffer(({b}, {n}), "{t}")
        for i, j, k in T.grid({b}, {n}, {k}):
            with T.block("Y"):
                vi, vj, vk = T.axis.remap("SSR", [i, j, k])
                with T.init():
                    Y[vi, vj] = T.{t}(0)
                Y[vi, vj] = Y[vi, vj] + X[vi, vk] * W[vj, vk]
        for i, j in T.grid({b}, {n}):
            with T.block("Z"):
                vi, vj = T.axis.remap("SS", [i, j])
                Z[vi, vj] = Y[vi, vj] + B[vj]
"""

_PERCEPTRON = """
@I.ir_module
class MLP:{first}{second}
    @T.prim_func
    def relu(X: T.Buffer(({b}, {n}), "{t}"), Y: T.Buffer(({b}, {n}), "{t}")):
        T.func_attr({{"global_symbol": "relu", "tir.noalias": True}})
        for i, j in T.grid({b}, {n}):
            with T.block("Y"):
                vi, vj = T.axis.remap("SS", [i, j])
                Y[vi, vj] = T.max(X[vi, vj], T.{t}(0))

    @R.function
    def main(x: R.Tensor(({b}, {k}), "{t}"), w0: R.Tensor(({n}, {k}), "{t}"), b0: R.Tensor(({n},), "{t}"),
             w1: R.Tensor(({o}, {n}), "{t}"), b1: R.Tensor(({o},), "{t}")):
        cls = MLP
        with R.dataflow():
            lv0 = R.call_tir(cls.linear0, (x, w0, b0), out_sinfo=R.Tensor(({b}, {n}), dtype="{t}"))
            lv1 = R.call_tir(cls.relu, (lv0,), out_sinfo=R.Tensor(({b}, {n}), dtype="{t}"))
            out = R.call_tir(cls.linear1, (lv1, w1, b1), out_sinfo=R.Tensor(({b}, {o}), dtype="{t}"))
            R.output(out)
        return out
"""


def _mlp(w: Workload) -> IRModule:
    b, k, n, o, t = w["batch"], w["inputs"], w["hidden"], w["outputs"], w.dtype
    first = _LAYER.format(name="linear0", b=b, k=k, n=n, t=t)
    second = _LAYER.format(name="linear1", b=b, k=n, n=o, t=t)
    module: IRModule = from_source(_PERCEPTRON.format(first=first, second=second, b=b, k=k, n=n, o=o, t=t))
    return module


def _mlp_inputs(w: Workload, rng: np.random.Generator) -> tuple[Array, ...]:
    b, k, n, o = w["batch"], w["inputs"], w["hidden"], w["outputs"]
    return tuple(integers(rng, shape, w.dtype) for shape in ((b, k), (n, k), (n,), (o, n), (o,)))


def _dense(x: Approximate, weight: Array, bias: Array) -> Approximate:
    product = x.contract(Approximate.exact(weight, x.dtype), lambda a, b: a @ b.T, weight.shape[1])
    total = product + Approximate.exact(bias, x.dtype)
    if not np.any(product.error) and np.abs(total.value).max() <= 2.0**24:
        return Approximate(total.value, product.error, x.dtype)  # integers still
    return total


def _mlp_reference(w: Workload, x: Array, w0: Array, b0: Array, w1: Array, b1: Array) -> Approximate:
    return _dense(_dense(Approximate.exact(x, w.dtype), w0, b0).maximum(0.0), w1, b1)


def _mlp_numpy(w: Workload) -> Callable[..., Array]:
    def forward(x: Array, w0: Array, b0: Array, w1: Array, b1: Array) -> Array:
        return np.asarray(np.maximum(x @ w0.T + b0, 0) @ w1.T + b1)

    return forward


MLP = Operator(
    _mlp,
    _mlp_inputs,
    lambda w: (w["batch"], w["outputs"]),
    _mlp_reference,
    _mlp_numpy,
    lambda w: 2 * w["batch"] * w["hidden"] * (w["inputs"] + w["outputs"] + 1) + w["batch"] * w["outputs"],
    weights=4,
)
