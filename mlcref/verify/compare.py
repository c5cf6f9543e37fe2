"""Two runs on the same input, element by element."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from mlcref import dtype as dt
from mlcref.interp.arguments import Binding, Slot
from mlcref.interp.field import FieldValue, lifted
from mlcref.interp.memory import Undefined


@dataclass
class Difference:
    """An element on which the runs do not agree. ``computed``: did f write it? An element that f leaves alone must
    keep its bits: rounding is no excuse. ``residues`` are both values in the field, None in the machine domain;
    ``certain`` says that they are values of rational functions."""

    slot: int
    indices: tuple[int, ...]
    expected: Any
    got: Any
    computed: bool = True
    residues: tuple[int, int] | None = None
    certain: bool = False

    @property
    def same_bits(self) -> bool:
        """Do only the values in the field differ?"""
        return same(self.expected, self.got)


@dataclass
class Comparison:
    """What two runs have in common. ``rounded`` counts floats that are equal in the field and not in their bits;
    ``degree`` is the largest sum of degrees of two floats that are equal in the field; ``same_terms``: every float was
    made by the same operations in the same order; ``floats``: how many were compared in the field."""

    differences: list[Difference] = field(default_factory=list)
    rounded: int = 0
    degree: int = 0
    floats: int = 0
    same_terms: bool = True


def compare(want: Binding, got: Binding) -> Comparison:
    """Every element that either run wrote."""
    found = Comparison()
    for number, (x, y) in enumerate(zip(want.slots, got.slots, strict=True)):
        if 1 not in x.view.storage.touched and 1 not in y.view.storage.touched:
            continue
        is_float = dt.is_float(x.param.type)
        for indices, a, b, computed in _pairs(x, y):
            if b is None or type(b) is Undefined:
                found.differences.append(Difference(number, indices, a, "undefined", computed))
            elif is_float and (type(a) is FieldValue or type(b) is FieldValue):
                _compare_fields(found, number, indices, lifted(a), lifted(b), computed)
            elif not same(a, b):
                found.differences.append(Difference(number, indices, a, b, computed))
    return found


def _pairs(want: Slot, got: Slot) -> Iterator[tuple[tuple[int, ...], Any, Any, bool]]:
    touched = want.touched()
    ours, theirs = want.positions, got.positions
    for indices in map(tuple, np.argwhere(touched | got.touched()).tolist()):
        a = want.view.storage.cells[ours[indices]]
        if a is not None:  # None: a poisoned element that f leaves undefined
            yield indices, a, got.view.storage.cells[theirs[indices]], bool(touched[indices])


def _compare_fields(
    found: Comparison, number: int, indices: tuple[int, ...], a: FieldValue, b: FieldValue, computed: bool
) -> None:
    found.floats += 1
    equal_bits = same(a, b)
    found.same_terms = found.same_terms and a.term == b.term
    finite = math.isfinite(a) and math.isfinite(b)
    if a.residue == b.residue and (equal_bits or (computed and finite)):
        found.rounded += not equal_bits
        found.degree = max(found.degree, a.degree + b.degree)
        return
    certain = a.residue != b.residue and not a.flags | b.flags
    residues = (a.residue, b.residue)
    found.differences.append(Difference(number, indices, float(a), float(b), computed, residues, certain))


def same(x: Any, y: Any) -> bool:
    """Equal bit by bit; all NaNs are one.

    >>> same(0.0, -0.0), same(float("nan"), float("nan")), same(1, 1)
    (False, True, True)
    """
    if x == y:
        return bool(x != 0 or math.copysign(1, x) == math.copysign(1, y))
    return bool(x != x and y != y)
