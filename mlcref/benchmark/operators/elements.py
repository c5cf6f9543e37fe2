"""Element by element, and moves of elements: gelu, exp, transpose, stencil, gather."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from mlcref import dtype as dt
from mlcref import te
from mlcref.benchmark.bounds import Approximate
from mlcref.benchmark.operators.record import Array, Operator, integers, normal
from mlcref.benchmark.workload import Workload
from mlcref.errors import UnsupportedError
from mlcref.ir import PrimFunc


def _shape(w: Workload) -> tuple[int, int]:
    return w["rows"], w["columns"]


def _normal(w: Workload, rng: np.random.Generator) -> tuple[Array, ...]:
    return (normal(rng, _shape(w), w.dtype),)


def _gelu(w: Workload) -> PrimFunc:
    x = te.placeholder(_shape(w), w.dtype, name="X")
    half, one, scale = (te.const(value, w.dtype) for value in (0.5, 1.0, math.sqrt(0.5)))
    y = te.compute(_shape(w), lambda i, j: x[i, j] * half * (te.erf(x[i, j] * scale) + one), name="Y")
    return te.create_prim_func([x, y])


def _gelu_reference(w: Workload, x: Array) -> Approximate:
    given = Approximate.exact(x, w.dtype)
    grown = given.scaled(math.sqrt(0.5)).erf() + Approximate.exact(1.0, w.dtype)
    return given * Approximate.exact(0.5, w.dtype) * grown


def _gelu_numpy(w: Workload) -> Callable[..., Array]:
    raise UnsupportedError("numpy has no erf", rule="bench.expressible")


GELU = Operator(_gelu, _normal, _shape, _gelu_reference, _gelu_numpy, lambda w: 5 * w["rows"] * w["columns"])


def _exp(w: Workload) -> PrimFunc:
    x = te.placeholder(_shape(w), w.dtype, name="X")
    return te.create_prim_func([x, te.compute(_shape(w), lambda i, j: te.exp(x[i, j]), name="Y")])


def _exp_numpy(w: Workload) -> Callable[..., Array]:
    out = np.empty(_shape(w), w.dtype)
    return lambda x: np.exp(x, out=out)


EXP = Operator(
    _exp,
    _normal,
    _shape,
    lambda w, x: Approximate.exact(x, w.dtype).exp(),
    _exp_numpy,
    lambda w: w["rows"] * w["columns"],
)


def _transpose(w: Workload) -> PrimFunc:
    x = te.placeholder(_shape(w), w.dtype, name="X")
    return te.create_prim_func([x, te.compute(_shape(w)[::-1], lambda i, j: x[j, i], name="Y")])


TRANSPOSE = Operator(
    _transpose,
    lambda w, rng: (integers(rng, _shape(w), w.dtype),),
    lambda w: _shape(w)[::-1],
    lambda w, x: Approximate.exact(x.T, w.dtype),
    lambda w: lambda x: np.ascontiguousarray(x.T),
    lambda w: 0,
)


def _stencil(w: Workload) -> PrimFunc:
    x = te.placeholder(_shape(w), w.dtype, name="X")
    fifth = te.const(0.2, w.dtype)

    def mean(i: te.Axis, j: te.Axis) -> object:
        return (x[i + 1, j + 1] + x[i, j + 1] + x[i + 2, j + 1] + x[i + 1, j] + x[i + 1, j + 2]) * fifth

    return te.create_prim_func([x, te.compute(_inside(w), lambda i, j: mean(i, j), name="Y")])


def _inside(w: Workload) -> tuple[int, int]:
    return w["rows"] - 2, w["columns"] - 2


def _neighbours(x: Array) -> list[Array]:
    return [x[1:-1, 1:-1], x[:-2, 1:-1], x[2:, 1:-1], x[1:-1, :-2], x[1:-1, 2:]]


def _stencil_numpy(w: Workload) -> Callable[..., Array]:
    def mean(x: Array) -> Array:
        middle, above, below, left, right = _neighbours(x)
        return np.asarray((middle + above + below + left + right) * np.float32(0.2))

    return mean


STENCIL = Operator(
    _stencil,
    lambda w, rng: (integers(rng, _shape(w), w.dtype),),
    _inside,
    lambda w, x: Approximate.exact(np.stack(_neighbours(x)), w.dtype).sum(0).scaled(0.2),
    _stencil_numpy,
    lambda w: 5 * (w["rows"] - 2) * (w["columns"] - 2),
)


def _gather(w: Workload) -> PrimFunc:
    table = te.placeholder(_shape(w), w.dtype, name="X")
    index = te.placeholder((w["picked"],), "int32", name="I")
    y = te.compute((w["picked"], w["columns"]), lambda i, j: table[index[i], j], name="Y")
    return te.create_prim_func([table, index, y])


def _gather_inputs(w: Workload, rng: np.random.Generator) -> tuple[Array, ...]:
    table = integers(rng, _shape(w), w.dtype)
    return table, rng.integers(0, w["rows"], w["picked"], dtype=np.int32)


def _gather_numpy(w: Workload) -> Callable[..., Array]:
    out = np.empty((w["picked"], w["columns"]), w.dtype)
    return lambda table, index: np.take(table, index, axis=0, out=out, mode="clip")


GATHER = Operator(
    _gather,
    _gather_inputs,
    lambda w: (w["picked"], w["columns"]),
    lambda w, table, index: Approximate.exact(table[index], w.dtype),
    _gather_numpy,
    lambda w: 0,
    moved=lambda w: w["picked"] * (4 + 2 * w["columns"] * dt.numpy_dtype(w.dtype).itemsize),
)
