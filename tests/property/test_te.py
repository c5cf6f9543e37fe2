"""Random tensor expressions: the oracle's result of the function is numpy's result of the same expression."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from mlcref import te
from mlcref.interp import interpret
from mlcref.ir import structural_equal
from mlcref.script import from_source


@dataclass
class Pair:
    """A tensor and the array that it stands for."""

    tensor: te.Tensor
    array: np.ndarray[Any, Any]


@dataclass
class Scalar:
    """A scalar parameter and its value."""

    var: Any
    value: int


SCALARS = [Scalar(te.var("s"), 3), Scalar(te.var("t"), -5)]


BINARY = {
    "add": (lambda a, b: a + b, np.add),
    "sub": (lambda a, b: a - b, np.subtract),
    "mul": (lambda a, b: a * b, np.multiply),
    "max": (te.max, np.maximum),
    "min": (te.min, np.minimum),
}
REDUCERS = {"sum": (te.sum, np.sum), "max": (te.max, np.max), "min": (te.min, np.min)}


WHOLE = {
    "tensor first": lambda a, s: a * s, "scalar first": lambda a, s: s * a, "less": lambda a, s: s - a,
    "more": lambda a, s: a + s, "both": lambda a, s: (s + 1) * a - s,
}  # fmt: skip


def wrapped(array: np.ndarray[Any, Any], bits: int = 32) -> np.ndarray[Any, Any]:
    return array.astype(np.int64).astype(f"int{bits}")


def elementwise(draw: st.DrawFn, pairs: list[Pair], name: str) -> Pair:
    """Two tensors of one shape combined, the second shifted cyclically along its first dimension."""
    first = draw(st.sampled_from(pairs))
    second = draw(st.sampled_from([p for p in pairs if p.array.shape == first.array.shape]))
    build, reference = BINARY[draw(st.sampled_from(sorted(BINARY)))]
    shift, n = draw(st.integers(0, 3)), first.array.shape[0] if first.array.ndim else 1

    def value(*i: Any) -> Any:
        shifted = ((i[0] + shift) % n, *i[1:]) if i else i
        return build(first.tensor(*i), second.tensor(*shifted))

    array = np.roll(second.array, -shift, axis=0) if second.array.ndim else second.array
    return Pair(te.compute(first.array.shape, value, name=name), wrapped(reference(first.array, array)))


def whole(draw: st.DrawFn, pairs: list[Pair], name: str) -> Pair:
    """A scalar parameter beside a whole tensor of some dimension, on either side."""
    source = draw(st.sampled_from([pair for pair in pairs if pair.array.ndim]))
    scalar = draw(st.sampled_from(SCALARS))
    form = WHOLE[draw(st.sampled_from(sorted(WHOLE)))]
    tensor = form(source.tensor, scalar.var)
    made = te.compute(tensor.shape, lambda *i: tensor(*i) + 0, name=name)
    return Pair(made, wrapped(form(source.array.astype("int64"), scalar.value)))


def reduction(draw: st.DrawFn, pairs: list[Pair], name: str) -> Pair:
    """A tensor reduced over some of its dimensions, taken in any order."""
    source = draw(st.sampled_from(pairs))
    if source.array.ndim == 0:
        return elementwise(draw, pairs, name)
    over = draw(st.lists(st.integers(0, source.array.ndim - 1), min_size=1, unique=True))
    build, reference = REDUCERS[draw(st.sampled_from(sorted(REDUCERS)))]
    axes = {d: te.reduce_axis((0, source.array.shape[d]), f"k{d}") for d in over}
    kept = [d for d in range(source.array.ndim) if d not in axes]

    def value(*i: Any) -> Any:
        place = {**dict(zip(kept, i, strict=True)), **axes}
        return build(source.tensor(*[place[d] for d in range(source.array.ndim)]), axis=list(axes.values()))

    shape = tuple(source.array.shape[d] for d in kept)
    return Pair(te.compute(shape, value, name=name), wrapped(reference(source.array, axis=tuple(over))))


def transposed(draw: st.DrawFn, pairs: list[Pair], name: str) -> Pair:
    """A tensor with its dimensions permuted."""
    source = draw(st.sampled_from(pairs))
    order = draw(st.permutations(range(source.array.ndim)))
    array = source.array.transpose(order)
    places = [order.index(d) for d in range(len(order))]
    return Pair(te.compute(array.shape, lambda *i: source.tensor(*[i[place] for place in places]), name=name), array)


def padded(draw: st.DrawFn, pairs: list[Pair], name: str) -> Pair:
    """A tensor with a border around its last dimension; the indices outside are never read."""
    source = draw(st.sampled_from(pairs))
    if source.array.ndim == 0:
        return elementwise(draw, pairs, name)
    before, after, fill = draw(st.integers(0, 2)), draw(st.integers(0, 2)), draw(st.integers(-3, 3))
    n = source.array.shape[-1]

    def value(*i: Any) -> Any:
        inside = te.all(i[-1] >= before, i[-1] < before + n)
        return te.if_then_else(inside, source.tensor(*i[:-1], i[-1] - before), fill)

    width = [(0, 0)] * (source.array.ndim - 1) + [(before, after)]
    array = np.pad(source.array, width, constant_values=fill)
    return Pair(te.compute(array.shape, value, name=name), array)


@st.composite
def programs(draw: st.DrawFn) -> tuple[list[Pair], list[Pair]]:
    """Placeholders with their arrays, and computed tensors with what they should be."""
    shape = draw(st.lists(st.integers(1, 4), min_size=1, max_size=3))
    rng = np.random.default_rng(draw(st.integers(0, 99)))
    tensors = [te.placeholder(shape, "int32", name=name) for name in ("A", "B")]
    inputs = [Pair(tensor, rng.integers(-9, 9, shape).astype("int32")) for tensor in tensors]
    pairs = list(inputs)
    for count in range(draw(st.integers(1, 4))):
        kind = draw(st.sampled_from([elementwise, reduction, transposed, padded, whole]))
        pairs.append(kind(draw, pairs, f"T{count}"))
    return inputs, pairs[2:]


@settings(max_examples=60, deadline=None)
@given(programs(), st.data())
def test_the_oracle_computes_what_numpy_computes(program: tuple[list[Pair], list[Pair]], draw: st.DataObject) -> None:
    inputs, computed = program
    last = computed[-1]
    shown = [pair for pair in computed[:-1] if draw.draw(st.booleans())] + [last]
    func = te.create_prim_func([*[pair.tensor for pair in inputs + shown], *[one.var for one in SCALARS]])
    results = [np.full(pair.array.shape, -77, "int32") for pair in shown]
    interpret(func, *[pair.array for pair in inputs], *results, *[one.value for one in SCALARS])
    for pair, result in zip(shown, results, strict=True):
        np.testing.assert_array_equal(result, pair.array)


@settings(max_examples=30, deadline=None)
@given(programs())
def test_the_script_of_a_function_reads_back_as_the_function(program: tuple[list[Pair], list[Pair]]) -> None:
    inputs, computed = program
    func = te.create_prim_func([*[pair.tensor for pair in [*inputs, computed[-1]]], *[one.var for one in SCALARS]])
    assert structural_equal(from_source(func.script()), func)
