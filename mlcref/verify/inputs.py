"""Inputs for checks: sizes for symbolic shapes, and contents that make mistakes visible."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mlcref import dtype as dt
from mlcref.interp.evaluate import Evaluator
from mlcref.ir import Buffer, Const, FloorDiv, FloorMod, For, Mul, PrimFunc, Var, variables, walk

Array = np.ndarray[Any, Any]
KINDS = ("small", "random", "index")
"""``small``: small integers, also as floats, where sums and products are exact, so that results compare bit by bit.
``random``: normal floats and all integers. ``index``: integers from 0 to the smallest extent, for programs that index
with them."""

_LARGEST_FACTOR = 64
_MOST_SIZES = 12


@dataclass(frozen=True)
class Trial:
    """One call: its number, the kind of contents, and the arguments."""

    number: int
    kind: str
    arguments: tuple[Any, ...]


def size_variables(func: PrimFunc) -> list[Var]:
    """The variables in the shapes of the parameters of ``func``."""
    found = {
        var: None for buffer in func.buffers for extent in buffer.shape for var in sorted(variables(extent), key=id)
    }
    return list(found)


def interesting_sizes(*funcs: PrimFunc) -> list[int]:
    """Sizes around every constant that splits a loop: 0, 1, f-1, f, f+1, 2f+1."""
    factors = {1}
    for func in funcs:
        for node in walk(func.body):
            parts = (
                (node.extent,)
                if isinstance(node, For)
                else (node.b,)
                if isinstance(node, FloorDiv | FloorMod | Mul)
                else ()
            )
            factors |= {int(p.value) for p in parts if isinstance(p, Const) and 1 < p.value <= _LARGEST_FACTOR}
    sizes = sorted({0, 1, *(size for f in factors for size in (f - 1, f, f + 1, 2 * f + 1))})
    step = max(1, -(-len(sizes) // _MOST_SIZES))
    return sizes[::step] if step == 1 else sorted({*sizes[::step], sizes[-1]})


def arguments(func: PrimFunc, sizes: dict[Var, int], kind: str, rng: np.random.Generator) -> tuple[Any, ...]:
    """Arguments of ``func`` whose contents are of ``kind``, outputs too: a function may read what they hold."""
    evaluator = Evaluator(func, dict(sizes), {})
    shapes = {b: tuple(evaluator.integer(extent) for extent in b.shape) for b in func.buffers}
    largest_index = max(1, min((extent for shape in shapes.values() for extent in shape if extent), default=1))
    made: list[Any] = []
    for param in func.params:
        if isinstance(param, Buffer):
            made.append(contents(param.type, shapes[param], kind, rng, largest_index))
        else:
            made.append(sizes[param] if param in sizes else contents(param.type, (), "index", rng, 4)[()].item())
    return tuple(made)


def contents(dtype: str, shape: Sequence[int], kind: str, rng: np.random.Generator, indices: int = 4) -> Array:
    """An array of ``dtype`` and ``shape`` with contents of ``kind``; ``indices`` is the end of the range of "index"."""
    numpy_type = dt.numpy_dtype(dtype)
    if dt.is_bool(dtype):
        return rng.integers(0, 2, shape).astype(numpy_type)
    unsigned = dt.parse(dtype).code == "uint"
    if kind == "index":
        return rng.integers(0, indices, shape).astype(numpy_type)
    if kind == "small":
        return rng.integers(0 if unsigned else -3, 4, shape).astype(numpy_type)
    if dt.is_float(dtype):
        return rng.standard_normal(shape).astype(numpy_type)
    low, high = dt.integer_range(dtype)
    return rng.integers(low, high, shape, endpoint=True, dtype=numpy_type)


def trials(f: PrimFunc, g: PrimFunc, count: int, seed: int) -> Iterator[Trial]:
    """``count`` calls; with symbolic shapes at least one per interesting size."""
    names = size_variables(f)
    sizes = interesting_sizes(f, g) if names else []
    for number in range(max(count, len(sizes))):
        rng = np.random.default_rng((seed, number))
        chosen = {var: sizes[(number + shift) % len(sizes)] for shift, var in enumerate(names)}
        kind = KINDS[number % len(KINDS)]
        yield Trial(number, kind, arguments(f, chosen, kind, rng))
