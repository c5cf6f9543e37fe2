"""Inverses of iterator maps: the variables as expressions over the values, and where no variables lead to a value."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mlcref.arith.interval import Domain
from mlcref.arith.itermap import Digit, Reader, Row, tile
from mlcref.arith.linear import Linear, number, term
from mlcref.arith.simplify import Simplifier
from mlcref.ir import EQ, LE, LT, And, Const, Expr, Or, Var, const
from mlcref.records import dataclass


@dataclass(frozen=True, slots=True)
class Inverse:
    """``variables`` over the axes, and the condition under which a point of the axes is no value of the map (None: it
    always is one)."""

    variables: dict[Var, Expr]
    padding: Expr | None


def invert(values: Sequence[Expr], dom: Domain, axes: Mapping[Var, int | None]) -> Inverse | None:
    """The inverse of an iterator map on ``dom``, over ``axes``: a variable per value, with its extent where known.

    None when the map does not tell all variables of ``dom`` apart, or is none.

    >>> from mlcref.ir import Var
    >>> i, a, b = Var("i"), Var("a"), Var("b")
    >>> found = invert([i // 4, i % 4], {i: 14}, {a: 4, b: 4})
    >>> found.variables[i], found.padding
    (a * 4 + b, a == 3 and 2 <= b)
    """
    reader = Reader(dom)
    rows = [reader.row(value) for value in values]
    known = [row for row in rows if row is not None]
    if len(known) != len(rows) or not reader.disjoint(known) or not reader.tells_apart(known, set(dom)):
        return None
    solver = _Solver(reader, Simplifier({a: n for a, n in axes.items() if n is not None}))
    for value, row, (axis, extent) in zip(values, known, axes.items(), strict=True):
        if not solver.axis(reader.simplifier.linear(value), row, axis, extent):
            return None
    found = solver.solve(list(dom))
    kept: dict[Var, Expr] = {value: axis for value, axis in zip(values, axes, strict=True) if isinstance(value, Var)}
    return Inverse({**found.variables, **kept}, found.padding)


class _Solver:
    """The digits of each source, each with its value over the axes."""

    def __init__(self, reader: Reader, simplifier: Simplifier) -> None:
        self.reader, self.simplifier = reader, simplifier
        self.found: dict[Any, list[tuple[Digit, Linear]]] = {}
        self.padding: list[Expr] = []

    def axis(self, value: Linear, row: Row, axis: Var, extent: int | None) -> bool:
        """Take the digits out of the value along one axis. False when it does not start at a known number."""
        if any(digit.extent is None for digit in row):
            if len(row) != 1 or row[0].scale != 1:
                return False
            lowest, size = value.constant, None
        else:
            lowest = value.constant + self._lowest(value)
            size = tile(row)
            values = self.reader.simplifier.bounds(value)
            if size is None or values.lo != lowest or values.hi != lowest + size - 1:
                return False
        form = term(axis).shift(-lowest)
        if lowest > 0:
            self.padding.append(LT(axis, const(lowest, axis.type)))
        if size is not None and extent is not None and lowest + size < extent:
            self.padding.append(LE(const(lowest + size, axis.type), axis))
        self._take(form, row)
        return True

    def _lowest(self, value: Linear) -> int:
        """The least value of the terms."""
        lows = [self.reader.simplifier.atom_bounds(a).scale(k).lo for a, k in value.terms.items()]
        return sum(low for low in lows if low is not None)

    def _take(self, form: Linear, row: Row) -> None:
        """The digits of a sum that starts at 0: positions in a mixed radix, from the end where they count down."""
        ordered = sorted([d for d in row if d.extent != 1], key=lambda d: abs(d.scale))
        for position, digit in enumerate(ordered):
            value = self.simplifier.divide(form, abs(digit.scale))
            if position + 1 < len(ordered) and digit.extent is not None:
                value = self.simplifier.remainder(value, digit.extent)
            if digit.scale < 0:
                assert digit.extent is not None
                value = value.scale(-1).shift(digit.extent - 1)
            self.found.setdefault(digit.source, []).append((digit, value))

    def solve(self, variables: Sequence[Var]) -> Inverse:
        """Sources from their digits, fused ones before the sources inside them."""
        pending = [source for source in self.found if source in self.reader.fused]
        done: set[Any] = set()
        while pending:
            source = next(s for s in pending if not any(self._inside(s, other) for other in pending if other is not s))
            pending.remove(source)
            done.add(source)
            row, total, _ = self.reader.fused[source]
            self._take(self._value(source, total), row)
            pending += [d.source for d in row if d.source in self.reader.fused and d.source not in (*pending, *done)]
        values = {var: self._value(var, self.reader.extent(var)).cast(var.type).expr() for var in variables}
        padding = [p for p in self.padding if self.simplifier.proved(p) is not False]
        condition = padding[0] if padding else None
        for more in padding[1:]:
            assert condition is not None
            condition = Or(condition, more)
        return Inverse(values, condition)

    def _inside(self, source: Any, other: Any) -> bool:
        """Is ``source`` part of the sum ``other``?"""
        parts = [digit.source for digit in self.reader.fused[other][0]]
        return source in parts or any(self._inside(source, part) for part in parts if part in self.reader.fused)

    def _value(self, source: Any, total: int | None) -> Linear:
        """The value of a source, and the condition under which its digits say more than it has values."""
        digits = sorted(self.found.get(source, ()), key=lambda pair: pair[0].lower)
        result = number(0)
        for digit, value in digits:
            result = self.simplifier.plus(result, value.scale(digit.lower))
        upper_first = Linear(dict(reversed(result.terms.items())), result.constant, result.dtype)
        if total is not None and digits:
            self._check(source, digits, upper_first, total)
        return upper_first

    def _check(self, source: Any, digits: Sequence[tuple[Digit, Linear]], value: Linear, total: int) -> None:
        top, upper = digits[-1]
        reached = top.lower * (top.extent or 1)
        if top.extent is None or reached <= total:
            return
        full, rest = divmod(total, top.lower)
        if len(digits) == 1 or source in self.reader.fused:
            self.padding.append(self._at_least(value, total))
            return
        lower = number(0)
        for digit, part in reversed(digits[:-1]):
            lower = lower + part.scale(digit.lower)
        beyond = self._at_least(lower, rest)
        if top.extent == 1:
            self.padding.append(beyond)
        else:
            last = EQ(upper.shift(-upper.constant).expr(), const(full - upper.constant, upper.dtype))
            self.padding.append(And(last, beyond))

    def _at_least(self, form: Linear, limit: int) -> Expr:
        whole = form.shift(-form.constant)
        return LE(const(limit - form.constant, form.dtype), whole.expr())


def constant_extent(extent: Any) -> int | None:
    """An extent that is a number."""
    if isinstance(extent, Const):
        return int(extent.value)
    return extent if isinstance(extent, int) else None
