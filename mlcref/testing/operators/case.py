"""One random call of an operator of :mod:`mlcref.topi`, what numpy makes of the same numbers, and the comparison."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mlcref import dtype as dt
from mlcref import te, topi
from mlcref.interp import execute, interpret
from mlcref.ir import PrimFunc, constant
from mlcref.testing.tolerance import ToleranceArithmetic, tolerance_of

Array = np.ndarray[Any, Any]
Pick = Callable[[Sequence[Any]], Any]

FLOATS = ("float32", "float16", "float64", "bfloat16")
INTEGERS = ("int32", "int8", "int64", "uint8")
NUMBERS = (*FLOATS[:3], *INTEGERS)
_MOST_STATEMENTS = 200_000
_ULPS = 1.0
"""What numpy's functions may be off by: those of the oracle are float64, rounded once."""


@dataclass(frozen=True)
class Case:
    """``build(topi, *tensors)`` calls the operator on tensors like ``arrays``; ``reference(*arrays)`` is what should
    come out, one array or several. It is given floats as float64, and may return float64 for any float type.
    """

    arrays: Sequence[Array]
    build: Callable[..., Any]
    reference: Callable[..., Any]


@dataclass(frozen=True)
class Operator:
    """An operator under its name in ``tvm.topi``; ``draw`` makes random cases."""

    name: str
    draw: Callable[[Draw], Case]


class Draw:
    """What cases are made of, chosen by ``pick``."""

    def __init__(self, pick: Pick) -> None:
        self.pick = pick
        self._numbers = np.random.default_rng(pick(range(10_000)))

    def flag(self) -> bool:
        """False or True."""
        return bool(self.pick((False, True)))

    def count(self, low: int, high: int) -> int:
        """An integer from ``low`` to ``high``, small ones first."""
        return int(self.pick(range(low, high + 1)))

    def shape(self, low: int = 1, high: int = 3, extent: int = 4) -> tuple[int, ...]:
        """``low`` to ``high`` extents from 1 to ``extent``."""
        return tuple(self.count(1, extent) for _ in range(self.count(low, high)))

    def axis(self, ndim: int) -> int:
        """An axis, counted from the front or from the back."""
        return int(self.pick(range(-ndim, ndim)))

    def axes(self, ndim: int) -> int | list[int] | None:
        """None, an axis, or several."""
        if self.flag():
            return self.pick((None, self.axis(ndim)))  # type: ignore[no-any-return]
        order = self._numbers.permutation(ndim)[: self.count(1, ndim)]
        return [int(d) - ndim * int(self._numbers.integers(2)) for d in order]

    def order(self, count: int) -> list[int]:
        """A permutation."""
        return [int(place) for place in self._numbers.permutation(count)]

    def array(
        self, shape: Sequence[int], dtype: str | Sequence[str], low: float = -3, high: float = 3, *,
        exact: bool | None = None,
    ) -> Array:  # fmt: skip
        """Numbers from ``low`` to ``high`` (from 0 where the type has no sign): small integers where ``exact``, else
        now small integers and now any floats.
        """
        chosen = dtype if isinstance(dtype, str) else self.pick(dtype)
        if dt.is_bool(chosen):
            return self._numbers.integers(0, 2, shape).astype(bool)
        unsigned = chosen.startswith("uint")
        if dt.is_float(chosen) and not (self.flag() if exact is None else exact):
            return self._numbers.uniform(low, high, shape).astype(dt.numpy_dtype(chosen))
        start, end = max(np.ceil(low), 0 if unsigned else -128), np.floor(high)
        return self._numbers.integers(int(start), int(end), shape, endpoint=True).astype(dt.numpy_dtype(chosen))

    def broadcast_pair(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Two shapes that can be brought together."""
        whole = self.shape(1, 3)
        pair = []
        for _ in range(2):
            some = tuple(extent if self._numbers.random() < 0.7 else 1 for extent in whole)
            pair.append(some[int(self._numbers.integers(len(some))) if self._numbers.random() < 0.3 else 0 :])
        return pair[0], pair[1]


@dataclass(frozen=True)
class Checked:
    """How many elements of a case are what numpy says, and how many are within a bound of rounding of it."""

    exact: int
    bounded: int


def prim_func(
    case: Case, library: Any = topi, expressions: Any = te, extent: Callable[[int], Any] = int
) -> Any:  # fmt: skip
    """The function of a case, built with ``library`` from placeholders of ``expressions``: inputs, then outputs.
    ``extent`` says what stands for each extent of the inputs."""
    inputs = [
        expressions.placeholder(tuple(map(extent, array.shape)), dt.canonical(array.dtype), name=f"A{number}")
        for number, array in enumerate(case.arrays)
    ]
    built = case.build(library, *inputs)
    outputs = [built] if isinstance(built, expressions.Tensor) else list(built)
    return expressions.create_prim_func([*inputs, *outputs])


def check(case: Case, func: PrimFunc | None = None) -> Checked:
    """Assert that the oracle's run of ``func`` (by default the function of the case) gives what numpy says, bit by bit;
    floats that runs may round otherwise must be within the a-priori bound of :mod:`mlcref.testing.tolerance`, which
    must be finite.
    """
    func = func or prim_func(case)
    expected = _expected(case)
    buffers = func.buffers[len(case.arrays) :]
    assert len(expected) == len(buffers), f"{len(buffers)} outputs, {len(expected)} expected"
    results = []
    for buffer, want in zip(buffers, expected, strict=True):
        pairs = zip(buffer.shape, want.shape, strict=False)
        fits = buffer.ndim == want.ndim and all(constant(a) in (None, b) for a, b in pairs)
        assert fits, f"{buffer.name} has the shape {buffer.shape}, numpy says {want.shape}"
        results.append(np.zeros(want.shape, dt.numpy_dtype(buffer.type)))
    poison = [buffer.name for buffer in buffers]
    interpret(func, *case.arrays, *results, poison=poison, max_statements=_MOST_STATEMENTS, engine="machine")
    if all(_same(got, want).all() for got, want in zip(results, expected, strict=True)):
        return Checked(sum(want.size for want in expected), 0)
    binding = execute(func, [*case.arrays, *results], arithmetic=ToleranceArithmetic(_ULPS), poison=poison,
                      max_statements=_MOST_STATEMENTS)  # fmt: skip
    slots = binding.slots[len(case.arrays) :]
    counts = [_compare(*each) for each in zip(slots, results, expected, strict=True)]
    return Checked(sum(count[0] for count in counts), sum(count[1] for count in counts))


def _expected(case: Case) -> list[Array]:
    """What numpy says, floats in float64."""
    wide = [array.astype(np.float64) if dt.is_float(dt.canonical(array.dtype)) else array for array in case.arrays]
    with np.errstate(all="ignore"):
        found = case.reference(*wide)
    return [np.asarray(each) for each in (found if isinstance(found, list | tuple) else [found])]


def _same(got: Array, want: Array) -> Array:
    """Where two arrays hold the same values; integers and truth values after wrapping to the type of ``got``."""
    if got.dtype.kind in "iub":
        return np.asarray(got == want.astype(got.dtype))
    wide = got.astype(np.float64)
    return np.asarray((wide == want) | ((wide != wide) & (want != want)))


def _compare(slot: Any, got: Array, want: Array) -> tuple[int, int]:
    """The number of elements that are the same, and that are within the bound."""
    same, dtype, cells = _same(got, want), slot.param.type, slot.view.storage.cells
    for at in map(tuple, np.argwhere(~same)):
        bound = tolerance_of(cells[slot.positions[at]], dtype) if dt.is_float(dtype) else 0.0
        value, wanted = got[at].item(), want[at].item()
        place = f"{slot.param.name}{[int(i) for i in at]}"
        assert 0 < bound < np.inf and abs(value - wanted) <= bound, (
            f"{place} is {value!r}, numpy says {wanted!r}; rounding explains {bound:.3g}"
        )
    return int(same.sum()), int((~same).sum())
