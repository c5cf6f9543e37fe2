"""What the generator can prove before a program runs: intervals, linear forms, distinct addresses.

Short arguments over constant extents, on purpose apart from :mod:`mlcref.arith`: an oracle that shared the simplifier
would share its mistakes. "Not proven" is always a safe answer: the check is then made when the program runs.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from mlcref import dtype as dt
from mlcref.ir.buffer import BufferLoad
from mlcref.ir.compound import Select
from mlcref.ir.expr import (
    EQ, GE, GT, LE, LT, Add, And, Binary, Call, Cast, Compare, Const, Div, Expr, FloorDiv, FloorMod, Max, Min, Mod,
    Mul, Sub, Var,
)  # fmt: skip

Interval = tuple[int, int]
INFINITE = 1 << 200


@dataclass(frozen=True, eq=False)
class Quotient:
    """The atom ``form // divisor`` of a linear form."""

    form: Linear
    divisor: int


Atom = Any
"""A variable, or a :class:`Quotient`; quotients of equal forms are one object per :class:`Known`."""


@dataclass(frozen=True, eq=False)
class Linear:
    """A sum of atoms with integer coefficients, none of them 0, and a constant."""

    terms: Mapping[Atom, int]
    constant: int = 0

    def plus(self, other: Linear, factor: int = 1) -> Linear:
        """This plus ``factor`` times the other."""
        terms = dict(self.terms)
        for atom, coefficient in other.terms.items():
            total = terms.get(atom, 0) + factor * coefficient
            if total:
                terms[atom] = total
            else:
                terms.pop(atom, None)
        return Linear(terms, self.constant + factor * other.constant)

    def times(self, factor: int) -> Linear:
        """This times a number."""
        if factor == 1:
            return self
        return Linear({a: c * factor for a, c in self.terms.items()} if factor else {}, self.constant * factor)

    @property
    def key(self) -> frozenset[tuple[int, int]]:
        """Equal for forms that differ in the constant only."""
        return frozenset((id(atom), coefficient) for atom, coefficient in self.terms.items())

    def variables(self) -> set[Var]:
        """The variables in the atoms."""
        found: set[Var] = set()
        for atom in self.terms:
            found |= atom.form.variables() if isinstance(atom, Quotient) else {atom}
        return found


ZERO = Linear({})


def same(a: Linear, b: Linear) -> bool:
    """Are the two equal for all values of their atoms?"""
    return a.constant == b.constant and a.key == b.key


@dataclass
class Known:
    """What is known at a place of the program: the range of each variable, the linear form of those that stand for one,
    and ranges of whole forms (from conditions)."""

    ranges: dict[Var, Interval] = field(default_factory=dict)
    forms: dict[Var, Linear] = field(default_factory=dict)
    facts: dict[frozenset[tuple[int, int]], Interval] = field(default_factory=dict)
    quotients: dict[tuple[frozenset[tuple[int, int]], int, int], Quotient] = field(default_factory=dict)

    # --- linear forms ---

    def linear(self, e: Expr) -> Linear | None:
        """``e`` as a linear form; None where it is none, or where one of its operations may overflow."""
        form = self._linear(e)
        return form if form is None or fits(self.range_of(form), e.dtype) else None

    def _linear(self, e: Expr) -> Linear | None:
        match e:
            case Const() if type(e.value) is int:
                return Linear({}, e.value)
            case Var():
                form = self.forms.get(e)
                return form if form is not None else Linear({e: 1}) if dt.is_integer(e.type) else None
            case Add() | Sub() if dt.is_integer(e.dtype):
                a, b = self.linear(e.a), self.linear(e.b)
                return None if a is None or b is None else a.plus(b, 1 if type(e) is Add else -1)
            case Mul() if dt.is_integer(e.dtype):
                a, b = self.linear(e.a), self.linear(e.b)
                if a is None or b is None or (a.terms and b.terms):
                    return None
                return a.times(b.constant) if not b.terms else b.times(a.constant)
            case FloorDiv() | FloorMod() if isinstance(e.b, Const) and e.b.value > 0:
                form, divisor = self.linear(e.a), int(e.b.value)
                if form is None:
                    return None
                quotient = self.quotient(form, divisor)
                return quotient if type(e) is FloorDiv else form.plus(quotient, -divisor)
            case Cast() if dt.is_integer(e.type) and dt.is_integer(e.value.dtype):
                low, high = dt.integer_range(e.type)
                inner = self.interval(e.value)
                return self.linear(e.value) if low <= inner[0] and inner[1] <= high else None
        return None

    def quotient(self, form: Linear, divisor: int) -> Linear:
        """``form // divisor``."""
        if divisor == 1:
            return form
        low, high = self.range_of(form)
        if low // divisor == high // divisor:
            return Linear({}, low // divisor)
        whole = {a: c for a, c in form.terms.items() if c % divisor == 0}
        rest = Linear({a: c for a, c in form.terms.items() if c % divisor}, form.constant)
        result = Linear({a: c // divisor for a, c in whole.items()})
        low, high = self.range_of(rest)
        if low // divisor == high // divisor:
            return Linear(result.terms, low // divisor)
        found = self.quotients.setdefault((rest.key, rest.constant, divisor), Quotient(rest, divisor))
        return result.plus(Linear({found: 1}))

    # --- intervals ---

    def range_of(self, form: Linear) -> Interval:
        """The range of a linear form."""
        low = high = form.constant
        for atom, coefficient in form.terms.items():
            a, b = self._atom_range(atom)
            low += min(coefficient * a, coefficient * b)
            high += max(coefficient * a, coefficient * b)
        fact = self.facts.get(form.key) if self.facts else None
        if fact is not None:
            low, high = max(low, fact[0] + form.constant), min(high, fact[1] + form.constant)
        return low, high

    def _atom_range(self, atom: Atom) -> Interval:
        if isinstance(atom, Quotient):
            low, high = self.range_of(atom.form)
            return low // atom.divisor, high // atom.divisor
        return self.variable(atom)

    def variable(self, var: Var) -> Interval:
        """The range of a variable."""
        found = self.ranges.get(var)
        return found if found is not None else _type_range(var.type)

    def interval(self, e: Expr) -> Interval:
        """The range of an integer expression."""
        plain = self._interval(e)
        if isinstance(e, Var | Add | Sub | FloorMod) or self.facts:
            form = self.linear(e) if not isinstance(e, Const | BufferLoad) else None
            if form is not None:
                low, high = self.range_of(form)
                return max(low, plain[0]), min(high, plain[1])
        return plain

    def _interval(self, e: Expr) -> Interval:
        match e:
            case Const():
                return int(e.value), int(e.value)
            case Var():
                return self.variable(e)
            case Binary() if not isinstance(e, Compare) and dt.is_integer(e.dtype):
                found = _binary_interval(e, self.interval(e.a), self.interval(e.b))
                return found if fits(found, e.dtype) else _type_range(e.dtype)
            case Cast() if dt.is_integer(e.type) and dt.is_integer(e.value.dtype):
                low, high = self.interval(e.value)
                least, most = dt.integer_range(e.type)
                return (low, high) if least <= low and high <= most else (least, most)
            case Select():
                return _hull(self.interval(e.true_value), self.interval(e.false_value))
            case Call() if e.op == "if_then_else":
                return _hull(self.interval(e.args[1]), self.interval(e.args[2]))
        return _type_range(e.dtype)

    # --- conditions ---

    def assume(self, condition: Expr) -> Known:
        """What is known where ``condition`` holds."""
        known = Known(self.ranges, self.forms, dict(self.facts), self.quotients)
        known._assume(condition)
        return known

    def _assume(self, e: Expr) -> None:
        if isinstance(e, And):
            self._assume(e.a)
            self._assume(e.b)
        elif isinstance(e, LT | LE | GT | GE | EQ) and dt.is_integer(e.a.dtype):
            a, b = self.linear(e.a), self.linear(e.b)
            if a is None or b is None:
                return
            difference = a.plus(b, -1)  # (condition) 0
            limit = 1 if isinstance(e, LT | GT) else 0
            if isinstance(e, LT | LE | EQ):
                self.note(difference, (-INFINITE, -limit))
            if isinstance(e, GT | GE | EQ):
                self.note(difference, (limit, INFINITE))

    def note(self, form: Linear, interval: Interval) -> None:
        """``form``, its constant included, lies in ``interval``; so does the negated form."""
        low, high = interval[0] - form.constant, interval[1] - form.constant
        for key, (a, b) in ((form.key, (low, high)), (form.times(-1).key, (-high, -low))):
            old = self.facts.get(key, (-INFINITE, INFINITE))
            self.facts[key] = max(a, old[0]), min(b, old[1])


def _type_range(dtype: str) -> Interval:
    element = dt.parse(dtype).element
    return dt.integer_range(element) if dt.is_integer(element) or element == "bool" else (-INFINITE, INFINITE)


def _hull(a: Interval, b: Interval) -> Interval:
    return min(a[0], b[0]), max(a[1], b[1])


def _binary_interval(e: Binary, a: Interval, b: Interval) -> Interval:
    """The exact range of the mathematical result, or the type's where that is not simple."""
    match e:
        case Add():
            return a[0] + b[0], a[1] + b[1]
        case Sub():
            return a[0] - b[1], a[1] - b[0]
        case Mul():
            products = [x * y for x in a for y in b]
            return min(products), max(products)
        case Min():
            return min(a[0], b[0]), min(a[1], b[1])
        case Max():
            return max(a[0], b[0]), max(a[1], b[1])
        case FloorDiv() | Div() if b[0] > 0 and (type(e) is FloorDiv or a[0] >= 0):
            quotients = [x // y for x in a for y in b]
            return min(quotients), max(quotients)
        case FloorMod() | Mod() if b[0] > 0 and (type(e) is FloorMod or a[0] >= 0):
            return (a[0], a[1]) if 0 <= a[0] and a[1] < b[0] else (0, b[1] - 1)
    return _type_range(e.dtype)


def fits(interval: Interval, dtype: str) -> bool:
    """Does every integer of the interval fit the type?"""
    low, high = dt.integer_range(dtype)
    return low <= interval[0] and interval[1] <= high


def holds(e: Expr, known: Known) -> bool | None:
    """Is the condition surely true, surely false, or not known?"""
    if isinstance(e, And):
        a, b = holds(e.a, known), holds(e.b, known)
        return False if a is False or b is False else True if a and b else None
    if not isinstance(e, LT | LE | GT | GE | EQ) or not dt.is_integer(e.a.dtype):
        return None
    x, y = known.linear(e.a), known.linear(e.b)
    if x is None or y is None:
        return None
    low, high = known.range_of(x.plus(y, -1))
    sure, never = {
        LT: (high < 0, low >= 0), LE: (high <= 0, low > 0), GT: (low > 0, high <= 0), GE: (low >= 0, high < 0),
        EQ: (low == high == 0, low > 0 or high < 0),
    }[type(e)]  # fmt: skip
    return True if sure else False if never else None


# --- distinct addresses ---


@dataclass(frozen=True, eq=False)
class Axis:
    """A loop: its variable and its constant bounds."""

    var: Var
    start: int
    extent: int


def injective(form: Linear, loops: Iterable[Axis]) -> bool:
    """Is the form different at any two points of the loops? Proven for mixed-radix forms: each coefficient exceeds
    what all smaller ones reach together."""
    extents = {axis.var: axis.extent for axis in loops if axis.extent > 1}
    pairs = []
    for atom, coefficient in form.terms.items():
        if isinstance(atom, Quotient):
            if not atom.form.variables().isdisjoint(extents):
                return False
        elif atom in extents:
            pairs.append((abs(coefficient), extents[atom]))
    reach = 0
    for coefficient, extent in sorted(pairs):
        if coefficient <= reach:
            return False
        reach += coefficient * (extent - 1)
    return len(pairs) == len(extents)


def grows_from(form: Linear, loops: Sequence[Axis], start: int) -> bool:
    """Is the form a growing mixed-radix number of the loops alone, ``start`` at their first point and nowhere else?"""
    alone = all(not isinstance(atom, Quotient) and c > 0 for atom, c in form.terms.items())
    known = {axis.var for axis in loops}
    first = form.constant + sum(form.terms.get(axis.var, 0) * axis.start for axis in loops)
    return alone and all(atom in known for atom in form.terms) and first == start


def digits_apart(
    axes: Sequence[Axis], forms: Sequence[Linear | None], known: Known, inner: set[Var]
) -> bool:
    """Do different points of ``axes`` make the forms reach disjoint sets? ``inner`` are the variables bound inside.

    Proven where an address is a mixed-radix number of which the axes are digits: a digit for each coefficient, as wide
    as all forms together reach; only below the first axis may the others overlap.
    """
    fork = {axis.var: axis.extent for axis in axes if axis.extent > 1}
    digits: list[dict[int, Interval]] = []
    shared: tuple[dict[Var, int], frozenset[tuple[int, int]]] | None = None
    for form in forms:
        found = _digits(form, fork, known, inner) if form is not None else None
        if found is None or (shared is not None and shared != found[0]):
            return False
        shared = found[0]
        digits.append(found[1])
    if shared is None or not fork:
        return True
    places = [(abs(coefficient), True, fork[var] - 1) for var, coefficient in shared[0].items()]
    for coefficient in {c for one in digits for c in one}:
        ranges = [one.get(coefficient, (0, 0)) for one in digits]
        places.append((coefficient, False, max(high for _, high in ranges) - min(low for low, _ in ranges)))
    reach, told = 0, False
    for coefficient, is_axis, span in sorted(place for place in places if place[2]):
        told = told or is_axis
        if told and coefficient <= reach:
            return False
        reach += coefficient * span
    return True


def _digits(
    form: Linear, fork: Mapping[Var, int], known: Known, inner: set[Var]
) -> tuple[tuple[dict[Var, int], frozenset[tuple[int, int]]], dict[int, Interval]] | None:
    """The coefficients of the axes and what is the same for all of them, and the range of each other digit."""
    own: dict[Var, int] = {}
    outer: dict[Atom, int] = {}
    digits: dict[int, Interval] = {1: (form.constant, form.constant)}
    for atom, coefficient in form.terms.items():
        variables = atom.form.variables() if isinstance(atom, Quotient) else {atom}
        if not variables.isdisjoint(fork):
            if isinstance(atom, Quotient):
                return None
            own[atom] = coefficient
        elif variables.isdisjoint(inner):
            outer[atom] = coefficient
        else:
            low, high = known.range_of(Linear({atom: 1 if coefficient > 0 else -1}))
            a, b = digits.get(abs(coefficient), (0, 0))
            digits[abs(coefficient)] = a + low, b + high
    return ((own, Linear(outer).key), digits) if len(own) == len(fork) else None
