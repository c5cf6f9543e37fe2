"""Inputs for kernels under test: contents by kind, sizes for symbolic shapes, indices that stay in bounds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from mlcref import dtype as dt
from mlcref.interp.evaluate import Evaluator
from mlcref.ir import Buffer, BufferLoad, BufferStore, Const, PrimFunc, Var, walk
from mlcref.verify.inputs import contents, interesting_sizes, size_variables

Array = np.ndarray[Any, Any]
KINDS = ("small-int", "random", "adversarial")
"""``small-int``: integers from -3 to 3, also as floats, where sums and products are exact. ``random``: normal floats,
all integers. ``adversarial``: zeros of both signs, subnormal and large numbers, neighbours of 1, values that cancel,
the ends of integer types; all finite."""


def index_limits(func: PrimFunc) -> dict[Buffer, int]:
    """The integer parameters that ``func`` indexes with, and the smallest constant extent that each of them indexes.

    >>> from mlcref.script import from_source
    >>> f = from_source('''
    ... @T.prim_func
    ... def rows(A: T.Buffer((5, 4), "float32"), I: T.Buffer((2,), "int32"), B: T.Buffer((2, 4), "float32")):
    ...     for i, j in T.grid(2, 4):
    ...         B[i, j] = A[I[i], j]
    ... ''')
    >>> {buffer.name: limit for buffer, limit in index_limits(f).items()}
    {'I': 5}
    """
    limits: dict[Buffer, int] = {}
    for access in walk(func.body):
        if not isinstance(access, BufferLoad | BufferStore):
            continue
        for index, extent in zip(access.indices, access.buffer.shape, strict=True):
            for load in walk(index):
                if isinstance(load, BufferLoad) and load.buffer in func.buffers and not dt.is_float(load.buffer.type):
                    known = int(extent.value) if isinstance(extent, Const) else 1
                    limits[load.buffer] = min(known, limits.get(load.buffer, known))
    return limits


def shapes(func: PrimFunc, sizes: dict[Var, int]) -> dict[Buffer, tuple[int, ...]]:
    """The shape of each buffer parameter once its variables are known."""
    evaluator = Evaluator(func, dict(sizes), {})
    return {buffer: tuple(evaluator.integer(extent) for extent in buffer.shape) for buffer in func.buffers}


def chosen_sizes(func: PrimFunc, number: int) -> dict[Var, int]:
    """Sizes for the symbolic shapes of ``func`` in trial ``number``: around every constant that splits a loop."""
    names = size_variables(func)
    sizes = interesting_sizes(func) if names else []
    return {var: sizes[(number + shift + len(sizes) // 2) % len(sizes)] for shift, var in enumerate(names)}


def draw_arguments(func: PrimFunc, kind: str, seed: int, number: int) -> tuple[Any, ...]:
    """The arguments of trial ``number``; the same for the same seed. Outputs get contents, too: no kernel may rely on
    zeros.
    """
    rng = np.random.default_rng((seed, number))
    sizes = chosen_sizes(func, number)
    known, limits = shapes(func, sizes), index_limits(func)
    made: list[Any] = []
    for param in func.params:
        if isinstance(param, Buffer):
            made.append(np.asarray(draw(param.type, known[param], kind, rng, limits.get(param))))  # of shape (), too
        else:
            made.append(sizes[param] if param in sizes else draw(param.type, (), "small-int", rng)[()].item())
    return tuple(made)


def draw(dtype: str, shape: Sequence[int], kind: str, rng: np.random.Generator, limit: int | None = None) -> Array:
    """An array of ``dtype`` and ``shape`` with contents of ``kind``; of indices below ``limit`` where that is given.

    >>> draw("int8", (3,), "random", np.random.default_rng(0), limit=1)
    array([0, 0, 0], dtype=int8)
    """
    if limit is not None:
        return rng.integers(0, max(limit, 1), shape).astype(dt.numpy_dtype(dtype))
    if kind == "small-int":
        return contents(dtype, shape, "small", rng)
    if kind == "random":
        return contents(dtype, shape, "random", rng)
    if kind != "adversarial":
        raise ValueError(f"inputs are of the kinds {', '.join(KINDS)}, not {kind!r}")
    values = awkward(dtype)
    return values[rng.integers(0, len(values), shape)].reshape(tuple(shape))


def awkward(dtype: str) -> Array:
    """Values of ``dtype`` on which kernels go wrong, the simplest first."""
    numpy_type = dt.numpy_dtype(dtype)
    if dt.is_bool(dtype):
        return np.array([False, True])
    if not dt.is_float(dtype):
        low, high = dt.integer_range(dtype)
        return np.array(sorted({0, 1, high, low, high - 1, low + 1, max(low, -1)}, key=abs), numpy_type)
    digits = {2: 10, 4: 23, 8: 52}.get(numpy_type.itemsize, 2)
    if dt.parse(dtype).code == "bfloat":
        digits = 7
    step, large = 2.0**-digits, 2.0 ** (digits + 1)
    values = [0.0, 1.0, -1.0, -0.0, 0.5, 1 + step, 1 - step / 2, large, -large, large + 2, -1 - step, 3.0]
    tiny = np.array([1], f"uint{8 * numpy_type.itemsize}").view(numpy_type)  # the smallest subnormal number
    return np.concatenate([np.array(values).astype(numpy_type), tiny, -tiny])
