"""Iterator maps: do index expressions take loop variables apart into digits, each used once?

``i // 4`` and ``i % 4`` are the two digits of i in a mixed radix; ``i0 * 4 + i1`` puts two loops together. A tuple of
expressions made of such digits, each digit in one place, tells different iterations apart. That is what TVM's
quasi-affine iterator maps are for.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from mlcref.arith.interval import Domain
from mlcref.arith.linear import Atom, Linear, Opaque, Quotient, Remainder, term
from mlcref.arith.simplify import Simplifier
from mlcref.ir import Const, Expr, Var


@dataclass(frozen=True, slots=True)
class Digit:
    """``((source // lower) % extent) * scale``. ``source`` is a loop variable, or the key of a form that is itself a
    sum of digits; ``extent`` None says: all of a source whose extent is no number."""

    source: Any
    lower: int
    extent: int | None
    scale: int


Row = tuple[Digit, ...]


def affine(values: Sequence[Expr], dom: Domain, bijective: bool = False) -> list[Row] | None:
    """The digits of each value, or None when the values are no iterator map.

    When it is one, the values tell any two iterations apart that differ in a digit which is used at all. With
    ``bijective`` the values are moreover a bijection between the iterations of all variables in ``dom`` and a box of
    consecutive integers per value.

    >>> from mlcref.ir import Var
    >>> i, j = Var("i"), Var("j")
    >>> affine([i // 4, i % 4], {i: 8}, bijective=True) is not None, affine([i + j], {i: 4, j: 4}) is None
    (True, True)
    """
    reader = _Reader(dom)
    rows = [reader.row(value) for value in values]
    found = [row for row in rows if row is not None]
    if len(found) != len(rows) or not reader.disjoint(found, bijective):
        return None
    if bijective and not reader.uses_everything(found):
        return None
    return found


def tile(row: Row) -> int | None:
    """How many consecutive values the digits of one value run through; None when they leave gaps, overlap, or have no
    known extent.

    >>> tile((Digit("i", 1, 8, 4), Digit("j", 1, 4, 1)))
    32
    """
    reached = 1
    for digit in sorted(row, key=lambda d: abs(d.scale)):
        if digit.extent == 1:
            continue  # a loop of one iteration adds nothing, whatever its scale
        if abs(digit.scale) != reached or digit.extent is None:
            return None
        reached *= digit.extent
    return reached


def _compact(row: Row) -> bool:
    """As :func:`tile`, where the uppermost digit may have an unknown extent."""
    ordered = sorted(row, key=lambda d: (d.extent is None, abs(d.scale)))
    if not ordered or ordered[-1].extent is not None:
        return tile(row) is not None
    below = tile(tuple(ordered[:-1]))
    return below is not None and abs(ordered[-1].scale) == below


class _Reader:
    """Reads expressions as sums of digits; remembers the fused sources that it met: key -> (row, extent)."""

    def __init__(self, dom: Domain) -> None:
        self.dom = dom
        self.simplifier = Simplifier(dom)
        self.fused: dict[Any, tuple[Row, int]] = {}

    def row(self, value: Expr) -> Row | None:
        row = self.digits(self.simplifier.linear(value))
        return row if row is not None and _compact(row) else None

    def digits(self, form: Linear) -> Row | None:
        found = [self.digit(atom, scale) for atom, scale in form.terms.items()]
        row = tuple([digit for digit in found if digit is not None])
        return row if len(row) == len(found) else None

    def digit(self, atom: Atom, scale: int) -> Digit | None:
        if isinstance(atom, Opaque):
            return None
        form, lower, extent = _taken_apart(atom)
        source = form.atom()
        if isinstance(source, Var):
            key: Any = source
            total = self.extent(source)
        else:
            inner = self.digits(form) if not form.constant else None
            total = tile(inner) if inner and all(d.scale > 0 for d in inner) else None
            if inner is None or total is None:
                return None
            key = form.key
            self.fused[key] = (inner, total)
        if total is None:
            return Digit(key, 1, None, scale) if lower == 1 and extent is None else None
        if lower >= max(total, 2):
            return None
        rest = -(-total // lower)
        return Digit(key, lower, rest if extent is None else min(extent, rest), scale)

    def extent(self, var: Var) -> int | None:
        known = self.dom.get(var)
        if isinstance(known, tuple):
            lo, hi = known
            return hi + 1 if lo == 0 and hi is not None else None
        if isinstance(known, Const):
            return int(known)
        return known if isinstance(known, int) else None

    def disjoint(self, rows: Sequence[Row], bijective: bool) -> bool:
        """Is every digit of every source used once at most (bijective: exactly once, with none left over)?"""
        marks: dict[Any, list[Digit]] = {}
        for row in (*rows, *(inner for inner, _ in self.fused.values())):
            for digit in row:
                marks.setdefault(digit.source, []).append(digit)
        return all(self._source_disjoint(source, digits, bijective) for source, digits in marks.items())

    def _source_disjoint(self, source: Any, digits: list[Digit], bijective: bool) -> bool:
        if any(digit.extent is None for digit in digits):
            return len(digits) == 1
        total = self.extent(source) if isinstance(source, Var) else self.fused[source][1]
        reached = 1
        for digit in sorted(digits, key=lambda d: (d.lower, d.extent)):
            if digit.extent == 1:
                continue
            if digit.lower % reached or (bijective and digit.lower != reached):
                return False
            assert digit.extent is not None
            reached = digit.lower * digit.extent
        return not bijective or reached == total

    def uses_everything(self, rows: Sequence[Row]) -> bool:
        """Does every variable that takes more than one value occur?"""
        used = {digit.source for row in (*rows, *(inner for inner, _ in self.fused.values())) for digit in row}
        return all(var in used or self.extent(var) == 1 for var in self.dom)


def _taken_apart(atom: Var | Quotient) -> tuple[Linear, int, int | None]:
    """``(form, lower, extent)`` of ``(form // lower) % extent``; extent None when there is no ``%``."""
    if isinstance(atom, Var):
        return term(atom), 1, None
    inner = atom.form.atom()
    if isinstance(atom, Remainder):
        if isinstance(inner, Quotient) and not isinstance(inner, Remainder):
            return inner.form, inner.divisor, atom.divisor
        return atom.form, 1, atom.divisor
    if isinstance(inner, Remainder) and inner.divisor % atom.divisor == 0:
        return inner.form, atom.divisor, inner.divisor // atom.divisor
    return atom.form, atom.divisor, None
