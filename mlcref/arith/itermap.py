"""Iterator maps: do index expressions take loop variables apart into digits, each used once?

``i // 4`` and ``i % 4`` are the two digits of i in a mixed radix; ``i0 * 4 + i1`` puts two loops together. A tuple of
expressions made of such digits, each digit in one place, tells different iterations apart. That is what TVM's
quasi-affine iterator maps are for.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from itertools import pairwise
from typing import Any

from mlcref.arith.interval import Domain
from mlcref.arith.linear import INDEX_TYPES, Atom, Linear, Opaque, Quotient, Remainder, term
from mlcref.arith.simplify import Simplifier
from mlcref.ir import LT, Const, Expr, Var, variables
from mlcref.records import dataclass


@dataclass(frozen=True, slots=True)
class Digit:
    """``((source // lower) % extent) * scale``. ``source`` is a loop variable, or the key of a form that is itself a
    sum of digits; ``extent`` None says: all of a source whose extent is no number."""

    source: Any
    lower: int
    extent: int | None
    scale: int


Row = tuple[Digit, ...]


def affine(
    values: Sequence[Expr],
    dom: Domain,
    bijective: bool = False,
    *,
    surjective: bool = False,
    told_apart: Collection[Var] = (),
    predicate: Sequence[Expr] = (),
) -> list[Row] | None:
    """The digits of each value, or None when the values are no iterator map.

    When it is one, the values tell any two iterations apart that differ in a digit which is used at all. More is asked
    with ``surjective`` (together the values take every combination of a box of consecutive integers), with
    ``told_apart`` (iterations that differ in one of these variables have different values), and with ``bijective``
    (both, for all variables in ``dom``). A conjunct ``sum < n`` of ``predicate`` makes the sum one digit of extent n.

    >>> from mlcref.ir import Var
    >>> i, j = Var("i"), Var("j")
    >>> affine([i // 4, i % 4], {i: 8}, bijective=True) is not None, affine([i + j], {i: 4, j: 4}) is None
    (True, True)
    """
    everything = set(dom if bijective else told_apart)
    for as_written in (False, True):  # what is simplified one by one may have lost the sum that all are digits of
        reader = Reader(dom, predicate, as_written)
        rows = [reader.row(value) for value in values]
        found = [row for row in rows if row is not None]
        if len(found) != len(rows) or not reader.disjoint(found):
            continue
        if (surjective or bijective) and not reader.full(found):
            continue
        if reader.tells_apart(found, everything):
            return found
    return None


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


class Reader:
    """Reads expressions as sums of digits; remembers the fused sources that it met: key -> (row, extent, constant).
    A fused source is the sum of its row and the constant; it runs from 0 to extent - 1."""

    def __init__(self, dom: Domain, predicate: Sequence[Expr] = (), as_written: bool = False) -> None:
        self.dom = dict(dom)
        self.simplifier = Simplifier(dom)
        self.values = Simplifier({}) if as_written else self.simplifier
        self.fused: dict[Any, tuple[Row, int, int]] = {}
        self.bounded: list[tuple[Linear, Var]] = []
        open_conditions = [c for c in predicate if not self.simplifier.proved(c)]
        inner_first = sorted(open_conditions, key=lambda c: len(variables(c)))
        known = [self.learn(condition) for condition in inner_first]
        self.understood = all(known)

    def learn(self, condition: Expr) -> bool:
        """Of ``sum < n``: the sum is a source of its own, with n values. False for any other condition."""
        if not isinstance(condition, LT) or condition.a.dtype not in INDEX_TYPES:
            return False
        form, n = self.gather(self.simplifier.linear(condition.a)), self.simplifier.linear(condition.b).number()
        row = self.digits(form) if not form.constant and len(form.terms) > 1 else None
        total = tile(row) if row else None
        if n is not None and row and total is not None and 0 < n <= total and all(digit.scale > 0 for digit in row):
            source = Var("sum", form.dtype)
            self.fused[source] = (row, n, 0)
            self.dom[source] = n
            self.bounded.append((form, source))
            return True
        return False

    def gather(self, form: Linear) -> Linear:
        """``form`` with the sums that the predicate bounds as single terms."""
        for part, source in self.bounded:
            first = next(iter(part.terms))
            scale, odd = divmod(form.terms.get(first, 0), part.terms[first])
            if scale and not odd and all(form.terms.get(a) == k * scale for a, k in part.terms.items()):
                form = form - part.scale(scale) + term(source).scale(scale)
        return form

    def row(self, value: Expr) -> Row | None:
        row = self.digits(self.gather(self.values.linear(value)))
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
            gathered = self.gather(form)
            inner, lowest = self.digits(gathered), self.lowest(gathered)
            total = tile(inner) if inner else None
            if inner is None or total is None or lowest is None or lowest % (lower * (extent or 1)):
                return None
            form = form.shift(-lowest)  # the same digits, of a sum that starts at 0
            key = form.key
            self.fused[key] = (inner, total, form.constant)
        if total is None:
            return Digit(key, 1, None, scale) if lower == 1 and extent is None else None
        if lower >= max(total, 2):
            return None
        rest = -(-total // lower)
        return Digit(key, lower, rest if extent is None else min(extent, rest), scale)

    def lowest(self, form: Linear) -> int | None:
        """The least value of a sum: its digits start at 0, its terms (``-i // 2``) need not."""
        total = form.constant
        for atom, scale in form.terms.items():
            last = self.extent(atom) if isinstance(atom, Var) else None
            low = min(0, scale * (last - 1)) if last is not None else self.simplifier.atom_bounds(atom).scale(scale).lo
            if low is None:
                return None
            total += low
        return total

    def extent(self, var: Var) -> int | None:
        known = self.dom.get(var)
        if isinstance(known, tuple):
            lo, hi = known
            return hi + 1 if lo == 0 and hi is not None else None
        if isinstance(known, Const):
            return int(known)
        return known if isinstance(known, int) else None

    def marks(self, rows: Sequence[Row]) -> dict[Any, list[Digit]]:
        """The digits that are used of each source, lower ones first; digits of one value are left out."""
        used: dict[Any, list[Digit]] = {}
        for row in rows:
            for digit in row:
                if digit.source not in used and digit.source in self.fused:
                    used.setdefault(digit.source, [])
                    for key, digits in self.marks([self.fused[digit.source][0]]).items():
                        used.setdefault(key, []).extend(digits)
                used.setdefault(digit.source, []).append(digit)
        return {
            source: sorted([d for d in digits if d.extent != 1], key=lambda d: (d.lower, d.extent or 0))
            for source, digits in used.items()
        }

    def total(self, source: Any) -> int | None:
        """How many values a source has."""
        return self.fused[source][1] if source in self.fused else self.extent(source)

    def disjoint(self, rows: Sequence[Row]) -> bool:
        """Is no digit of any source used twice?"""
        for digits in self.marks(rows).values():
            if any(digit.extent is None for digit in digits) and len(digits) > 1:
                return False
            for below, above in pairwise(digits):
                assert below.extent is not None
                if above.lower % (below.lower * below.extent):
                    return False
        return True

    def full(self, rows: Sequence[Row]) -> bool:
        """Do the digits of each source take all combinations? Not when the last round of the uppermost is cut off, nor
        when the predicate bounds a sum whose parts are used on their own."""
        marks = self.marks(rows)
        loose = [form for form, source in self.bounded if source not in marks]
        if not self.understood or any(var in marks for form in loose for var in form.variables()):
            return False
        for source, digits in marks.items():
            total = self.total(source)
            if len(digits) > 1 and total is not None:
                top = digits[-1]
                assert top.extent is not None
                if top.lower * top.extent > total:
                    return False
        return True

    def tells_apart(self, rows: Sequence[Row], variables: set[Var]) -> bool:
        """Do the digits of ``variables``, and of the sums that they are part of, leave nothing out?"""
        marks = self.marks(rows)
        if any(self.extent(var) != 1 and var not in marks for var in variables):
            return False
        return all(
            self._complete(source, digits)
            for source, digits in marks.items()
            if source in variables or source in self.fused
        )

    def _complete(self, source: Any, digits: Sequence[Digit]) -> bool:
        reached = 1
        for digit in digits:
            if digit.extent is None:
                return True
            if digit.lower != reached:
                return False
            reached = digit.lower * digit.extent
        total = self.total(source)
        return total is not None and reached >= total


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
