"""Where the operands of a random call of an operator come from: values of the graph so far, and new parameters."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from mlcref import dtype as dt
from mlcref.arith import same_shape
from mlcref.ir import Var, constant, graph
from mlcref.ir.shapes import evaluate

Pick = Callable[..., Any]
"""Chooses one of a sequence of options."""

INTEGERS, FLOATS, BOOL = ("int32", "int64", "int8", "uint8"), ("float32", "float64"), ("bool",)


class GraphSource:
    """Tensors of a graph that grows, in ``dtypes`` and of at most ``max_ndim`` dimensions.

    ``new`` makes a parameter; ``arguments`` draws arrays for all of them, in the ranges that were asked for.
    """

    def __init__(self, pick: Pick, dtypes: Sequence[str], max_ndim: int = 4, symbolic: bool = True) -> None:
        self.pick, self.dtypes, self.max_ndim = pick, tuple(dtypes), max_ndim
        self.dims = [Var("n", "int64"), Var("m", "int64")] if symbolic else []
        self.params: list[graph.Var] = []
        self.values: list[graph.Var] = []
        self.ranges: dict[graph.Var, tuple[int, int]] = {}

    def number(self) -> int:
        """An extent that is a number."""
        return int(self.pick([1, 2, 3, 4]))

    def dim(self) -> Any:
        """An extent: a number, or a symbolic one."""
        return self.pick([self.number(), *self.dims])

    def dtype(self, among: Sequence[str]) -> str:
        """One of the data types of the source that are ``among`` some."""
        return str(self.pick([dtype for dtype in self.dtypes if dtype in among]))

    def new(self, shape: Sequence[Any], dtype: str, low: int = -3, high: int = 3) -> graph.Var:
        """A new parameter whose elements are in ``low … high``."""
        param = graph.Var(f"x{len(self.params)}", graph.TensorStructInfo(shape, dtype))
        self.params.append(param)
        self.values.append(param)
        self.ranges[param] = (max(low, 0) if dtype.startswith(("u", "bool")) else low, high)
        return param

    def like(self, shape: Sequence[Any], dtype: str) -> graph.Var:
        """A tensor of ``shape`` and ``dtype``: one that is there, or a new one."""
        wanted = graph.TensorStructInfo(shape, dtype)
        assert wanted.shape is not None
        found = [
            value for value in self.values
            if tensor_of(value).dtype == wanted.dtype and same_shape(shape_of(value), wanted.shape.values)
        ]  # fmt: skip
        known: graph.Var | None = self.pick([None, *found])
        return self.new(shape, dtype) if known is None else known

    def any(
        self, dtypes: Sequence[str], ndim: Sequence[int] = (1, 2, 3), numbers: bool = False
    ) -> graph.Var:
        """A tensor of one of ``dtypes`` and numbers of dimensions; with ``numbers``, of extents that are numbers."""
        found = [
            value for value in self.values
            if tensor_of(value).dtype in dtypes and tensor_of(value).ndim in ndim
            and not (numbers and any(constant(extent) is None for extent in shape_of(value)))
        ]  # fmt: skip
        known: graph.Var | None = self.pick([None, *found, *found])
        if known is not None:
            return known
        count = self.pick([count for count in ndim if count <= self.max_ndim])
        shape = [self.number() if numbers else self.dim() for _ in range(count)]
        return self.new(shape, self.dtype(dtypes))

    def stretchable(self, value: graph.Var, positive: bool = False) -> graph.Var:
        """A tensor of the same type that broadcasts with ``value``; with ``positive``, of elements above 0."""
        shape = [extent if self.pick([True, True, False]) else 1 for extent in shape_of(value)]
        shape = shape[self.pick([0, 0, *range(len(shape) + 1)]) :]
        dtype = tensor_of(value).dtype
        return self.new(shape, dtype, 1, 4) if positive else self.like(shape, dtype)

    def axis(self, value: graph.Var) -> int:
        """An axis of a tensor, counted from the front or from the back."""
        ndim = tensor_of(value).ndim
        return int(self.pick(range(-ndim, ndim)))

    def axes(self, value: graph.Var) -> list[int]:
        """Some axes of a tensor, in order."""
        return [axis for axis in range(tensor_of(value).ndim) if self.pick([True, False])]

    def sizes(self) -> dict[Var, int]:
        """A number for each symbolic extent."""
        return {var: self.number() for var in self.dims}

    def arguments(self, params: Sequence[graph.Var], sizes: dict[Var, int]) -> list[np.ndarray[Any, Any]]:
        """An array for each of ``params``."""
        return [self._array(param, sizes) for param in params]

    def _array(self, param: graph.Var, sizes: dict[Var, int]) -> np.ndarray[Any, Any]:
        shape = [evaluate(extent, sizes) for extent in shape_of(param)]
        rng = np.random.default_rng(self.pick(range(8)))
        low, high = self.ranges[param]
        dtype = tensor_of(param).dtype
        if dt.is_bool(dtype):
            return np.asarray(rng.integers(0, 2, shape)).astype(bool)
        values = np.asarray(rng.integers(low, high + 1, shape))
        if dt.is_float(dtype) and self.pick([False, True]):
            values = np.asarray(values + rng.random(shape) * (high > low))
        return values.astype(dt.numpy_dtype(dtype))


def tensor_of(value: graph.GraphExpr) -> graph.TensorStructInfo:
    """The struct info of a tensor."""
    info = value.struct_info
    assert isinstance(info, graph.TensorStructInfo)
    return info


def shape_of(value: graph.GraphExpr) -> tuple[Any, ...]:
    """The extents of a tensor of known shape."""
    shape = tensor_of(value).shape
    assert shape is not None
    return shape.values
