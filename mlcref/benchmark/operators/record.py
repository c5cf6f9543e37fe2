"""What the suite knows about an operator."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mlcref import dtype as dt
from mlcref.benchmark.bounds import Approximate
from mlcref.benchmark.workload import Workload
from mlcref.ir import IRModule, PrimFunc

Array = np.ndarray[Any, Any]


@dataclass(frozen=True, slots=True)
class Operator:
    """An operator for every workload of its table.

    ``program`` is the TensorIR function (inputs in order, then the result), or a module whose graph function ``main``
    returns the result. ``inputs`` draws them. ``reference`` gives the result in float64 with its bound. ``numpy`` makes
    the function that a user of numpy would write, or raises ``UnsupportedError``. ``flops`` counts one for each
    addition, multiplication, division, comparison and intrinsic of the definition. ``moved`` is the number of bytes
    that must be read or written at least (by default, each tensor once). The last ``weights`` inputs are constants of a
    trained model.
    """

    program: Callable[[Workload], PrimFunc | IRModule]
    inputs: Callable[[Workload, np.random.Generator], tuple[Array, ...]]
    result: Callable[[Workload], tuple[int, ...]]
    reference: Callable[..., Approximate]
    numpy: Callable[[Workload], Callable[..., Array]]
    flops: Callable[[Workload], int]
    moved: Callable[[Workload], int] | None = None
    result_dtype: Callable[[Workload], str] = lambda workload: workload.dtype
    weights: int = 0


@dataclass(frozen=True)
class Case:
    """A workload with its inputs, an array for the result, and what can be said of it before it runs."""

    workload: Workload
    operator: Operator
    inputs: tuple[Array, ...]

    def empty(self) -> Array:
        """Memory for a result, filled with what no kernel computes: NaN, or the smallest integer."""
        dtype = self.operator.result_dtype(self.workload)
        poison = np.nan if dt.is_float(dtype) else dt.integer_range(dtype)[0]
        return np.full(self.operator.result(self.workload), poison, dt.numpy_dtype(dtype))

    def reference(self) -> Approximate:
        """The result in float64 with its bound."""
        return self.operator.reference(self.workload, *self.inputs)

    @property
    def flops(self) -> int:
        """Floating-point (or integer) operations of one call."""
        return self.operator.flops(self.workload)

    @property
    def tensor_bytes(self) -> int:
        """Bytes of the inputs and of the result."""
        shape, dtype = self.operator.result(self.workload), self.operator.result_dtype(self.workload)
        made = int(np.prod(shape)) * dt.numpy_dtype(dtype).itemsize
        return sum(array.nbytes for array in self.inputs) + made

    @property
    def moved_bytes(self) -> int:
        """Bytes that any implementation has to read or write."""
        return self.tensor_bytes if self.operator.moved is None else self.operator.moved(self.workload)


def integers(generator: np.random.Generator, shape: Sequence[int], dtype: str) -> Array:
    """Numbers from -4 to 4: their sums of products are exact in any order, so that every kernel must agree."""
    return generator.integers(-4, 4, tuple(shape), endpoint=True).astype(dt.numpy_dtype(dtype))


def normal(generator: np.random.Generator, shape: Sequence[int], dtype: str) -> Array:
    """Standard normal numbers."""
    return generator.standard_normal(tuple(shape)).astype(dt.numpy_dtype(dtype))
