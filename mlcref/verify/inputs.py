"""Inputs for checks: sizes for symbolic shapes, and contents that make mistakes visible."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from mlcref import dtype as dt
from mlcref.interp.evaluate import Evaluator
from mlcref.ir import Buffer, Const, FloorDiv, FloorMod, For, Mul, PrimFunc, Var, variables, walk

Array = np.ndarray[Any, Any]
KINDS = ("small", "random", "index", "negative", "positive", "far negative", "far positive", "adversarial")
"""``small``: small integers, also as floats, where sums and products are exact, so that results compare bit by bit.
``random``: normal floats and all integers. ``index``: integers from 0 to the smallest extent, for programs that index
with them. ``negative``, ``positive``: numbers of one sign, where a wrong identity of max or min shows; ``far``: large
ones. ``adversarial``: NaN, infinities, -0.0, denormals, the largest numbers."""

_LARGEST_FACTOR = 64
_MOST_SIZES = 12
_FAR = {"float16": 3e4, "float8_e4m3fn": 200.0, "float8_e5m2": 3e4}


@dataclass(frozen=True)
class Trial:
    """One call: its number, the kind of contents, and the arguments. ``key`` names contents that can be drawn again.
    """

    number: int
    kind: str
    arguments: tuple[Any, ...]
    key: tuple[Any, ...] | None = None


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
        elif param in sizes:
            made.append(sizes[param])
        else:
            plain = kind if dt.is_float(param.type) and kind != "adversarial" else "index"
            made.append(contents(param.type, (), plain, rng, 4)[()].item())
    return tuple(made)


def contents(dtype: str, shape: Sequence[int], kind: str, rng: np.random.Generator, indices: int = 4) -> Array:
    """An array of ``dtype`` and ``shape`` with contents of ``kind``; ``indices`` is the end of the range of "index"."""
    numpy_type = dt.numpy_dtype(dtype)
    if dt.is_bool(dtype):
        return rng.integers(0, 2, shape).astype(numpy_type)
    unsigned, is_float = dt.parse(dtype).code == "uint", dt.is_float(dtype)
    if kind == "adversarial" and is_float:
        return np.resize(rng.permutation(_special(dtype)), shape)
    if kind == "index" or kind == "adversarial":
        return rng.integers(0, indices, shape).astype(numpy_type)
    if kind == "small":
        return rng.integers(0 if unsigned else -3, 4, shape).astype(numpy_type)
    if kind in ("negative", "positive"):
        signed = rng.integers(1, 4, shape) * (-1 if kind.endswith("negative") and not unsigned else 1)
        return signed.astype(numpy_type)
    if kind.startswith("far") and not is_float:
        low, high = dt.integer_range(dtype)
        end = low // 8 if kind.endswith("negative") and not unsigned else high // 8
        return rng.integers(min(end, end // 2), max(end, end // 2), shape, endpoint=True).astype(numpy_type)
    if kind.startswith("far"):
        sign = -1.0 if kind.endswith("negative") else 1.0
        return (sign * _FAR.get(dtype, 1e9) * (1 + rng.random(shape))).astype(numpy_type)
    if is_float:
        return rng.standard_normal(shape).astype(numpy_type)
    low, high = dt.integer_range(dtype)
    return rng.integers(low, high, shape, endpoint=True, dtype=numpy_type)


@lru_cache
def _special(dtype: str) -> Array:
    """The numbers that algebra forgets."""
    numpy_type = dt.numpy_dtype(dtype)
    tiny = {"float32": 2.0**-149, "float64": 5e-324, "float16": 2.0**-24, "bfloat16": 2.0**-133}.get(dtype, 2.0**-9)
    large = {"float32": 3e38, "float64": 1e308, "float16": 6e4, "bfloat16": 3e38}.get(dtype, 240.0)
    values = np.array([math.nan, math.inf, -math.inf, -0.0, 0.0, tiny, -tiny, large, -large, 1.0, -1.0])
    with np.errstate(over="ignore", invalid="ignore"):
        return values.astype(numpy_type)


def trials(f: PrimFunc, g: PrimFunc, kinds: Sequence[str], seed: int, *, first: int = 0) -> Iterator[Trial]:
    """A call per kind; with symbolic shapes at least one per interesting size, small ones first."""
    names = size_variables(f)
    sizes = interesting_sizes(f, g) if names else []
    signature = _signature(f) if not names else None
    for number in range(first, first + max(len(kinds), len(sizes))):
        kind = kinds[(number - first) % len(kinds)]
        if signature is not None:
            key = (signature, kind, seed, number)
            yield Trial(number, kind, _drawn(key, f), key)
        else:
            chosen = {var: sizes[(number + shift) % len(sizes)] for shift, var in enumerate(names)}
            yield Trial(number, kind, arguments(f, chosen, kind, np.random.default_rng((seed, number))))


def overlapping(func: PrimFunc, kinds: Sequence[str], seed: int) -> Iterator[tuple[Any, ...]]:
    """Arguments of a function that does not exclude it, in which one array stands for every buffer of its type and
    shape: a call per kind, where there are two such buffers.
    """
    if func.noalias:
        return
    for trial in trials(func, func, kinds, seed):
        arrays: dict[Any, Array] = {}
        made = tuple([arrays.setdefault((x.dtype, x.shape), x) if _is_array(x) else x for x in trial.arguments])
        if len(arrays) < len(func.buffers):
            yield made


def _is_array(argument: Any) -> bool:
    return isinstance(argument, np.ndarray)


def _signature(func: PrimFunc) -> tuple[Any, ...]:
    """Of which type and shape the arguments are, when shapes are constant."""
    evaluator = Evaluator(func, {}, {})
    return tuple(
        (p.type, tuple(evaluator.integer(extent) for extent in p.shape)) if isinstance(p, Buffer) else (p.type, None)
        for p in func.params
    )


_memory: dict[tuple[Any, ...], tuple[Any, ...]] = {}
_MOST_REMEMBERED = 64


def _drawn(key: tuple[Any, ...], func: PrimFunc) -> tuple[Any, ...]:
    """The arguments of a key; the last ones are remembered, as both programs and the next check use them."""
    found = _memory.pop(key, None)
    if found is None:
        *_, kind, seed, number = key
        found = arguments(func, {}, kind, np.random.default_rng((seed, number)))
        while len(_memory) >= _MOST_REMEMBERED:
            del _memory[next(iter(_memory))]
    _memory[key] = found
    return found
