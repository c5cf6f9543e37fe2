"""Simplification of index expressions, bounds, and proofs of conditions.

Everything rests on linear forms (:mod:`mlcref.arith.linear`). Expressions of type int32 and int64 are integers that do
not overflow, as in TVM's arithmetic analyzer; other expressions are left as they are, with their parts simplified.
Nothing is ever divided by a number that is not positive.

Rules of ``//`` and ``%`` by a constant c, tried in this order:

* ``(c*q + r) // c = q + r // c`` and ``(c*q + r) % c = r % c``;
* bounds decide: ``r // c`` is a number when all values of r fall into one multiple of c;
* ``(g*x + low) // c = x // (c/g)`` and ``(g*x + low) % c = g*(x % (c/g)) + low`` when g divides c and ``0 <= low < g``;
* ``(x // a) // b = x // (a*b)``, ``(x % a) % b = x % b`` when b divides a, ``(x // a) % b = x % (a*b) // a``;
* in sums, ``k*e*(y // (l*e)) + k*((y // l) % e) = k*(y // l)``.
"""

from __future__ import annotations

from collections.abc import Callable
from math import gcd

from mlcref.arith.interval import EVERYTHING, Domain, Interval, interval_of, symbolic_extent
from mlcref.arith.linear import INDEX_TYPES, Atom, Linear, Opaque, Quotient, Remainder, number, reads_same, term
from mlcref.errors import TypeMismatch
from mlcref.ir import (
    EQ, GE, GT, LE, LT, NE, Add, And, Binary, Call, Cast, Compare, Const, Expr, FloorDiv, FloorMod, Max, Min, Mul, Not,
    Or, Select, Sub, Var, const, map_children,
)  # fmt: skip

_SYMBOLIC_STEPS = 8


def simplify(expr: Expr, dom: Domain) -> Expr:
    """``expr`` in normal form, equal to it wherever the variables are in ``dom``; itself when it is in normal form
    already.

    >>> from mlcref.ir import Var
    >>> i, j = Var("i"), Var("j")
    >>> simplify((i * 4 + j) // 4, {i: 8, j: 4}) is i
    True
    """
    return Simplifier(dom).simplify(expr)


def iter_form(expr: Expr, dom: Domain) -> Expr:
    """As :func:`simplify`, but a sum under ``//`` or ``%`` stays whole, as TVM leaves it in the bindings of block
    iterators."""
    return Simplifier(dom, whole_sums=True).simplify(expr)


def proved(condition: Expr, dom: Domain) -> bool | None:
    """True when ``condition`` holds everywhere in ``dom``, False when it holds nowhere, None when that is not known.

    >>> from mlcref.ir import Var
    >>> i, n = Var("i"), Var("n")
    >>> proved(i < n, {i: n}), proved(i < 3, {i: 4}), proved(i < 0, {i: 4})
    (True, None, False)
    """
    return Simplifier(dom).proved(condition)


def bounds(expr: Expr, dom: Domain) -> Interval:
    """An interval around the values of an integer expression. Ends are open where nothing is known."""
    simplifier = Simplifier(dom)
    return simplifier.bounds(simplifier.linear(expr))


def linear(expr: Expr, dom: Domain) -> Linear:
    """The linear form of an integer expression."""
    return Simplifier(dom).linear(expr)


class Simplifier:
    """The rules under one domain. ``whole_sums`` keeps sums under ``//`` and ``%`` together (see :func:`iter_form`)."""

    def __init__(self, dom: Domain, *, whole_sums: bool = False) -> None:
        self.dom = dom
        self.whole_sums = whole_sums

    # ---- expressions

    def simplify(self, expr: Expr) -> Expr:
        """See the function :func:`simplify`."""
        if isinstance(expr, Var | Const):
            return expr
        if expr.dtype in INDEX_TYPES:
            try:
                result = self.linear(expr).expr()
            except TypeMismatch:  # a coefficient outside the type: the original stands
                return expr
            return expr if reads_same(result, expr) else result
        rule = _CONDITIONS.get(type(expr))
        if rule is not None:
            return rule(self, expr)
        return self._parts(expr)

    def _parts(self, expr: Expr) -> Expr:
        return map_children(lambda part: self.simplify(part) if isinstance(part, Expr) else part, expr)

    def linear(self, expr: Expr) -> Linear:
        """The linear form of an integer expression, in normal form."""
        if isinstance(expr, Var):
            return term(expr)
        if isinstance(expr, Const):
            return number(int(expr.value), expr.type)
        if expr.dtype in INDEX_TYPES:
            rule = _ARITHMETIC.get(type(expr))
            found = rule(self, expr) if rule is not None and isinstance(expr, Binary) else None
            if found is not None:
                return found
            new = self._choose(self._parts(expr))
            if new is not expr:
                return self.linear(new)
        return term(Opaque(expr), expr.dtype)

    def _choose(self, expr: Expr) -> Expr:
        """A conditional value whose condition is known becomes one of its values."""
        if isinstance(expr, Select):
            verdict = self.proved(expr.condition)
            return expr if verdict is None else expr.true_value if verdict else expr.false_value
        if isinstance(expr, Call) and expr.op == "if_then_else":
            verdict = self.proved(expr.args[0])
            return expr if verdict is None else expr.args[1] if verdict else expr.args[2]
        return expr

    # ---- bounds

    def bounds(self, form: Linear) -> Interval:
        """An interval around the values of ``form``."""
        result = self._plain_bounds(form)
        lo, hi = result.lo, result.hi
        if hi is None:
            hi = self._symbolic_upper(form)
        if lo is None:
            upper = self._symbolic_upper(form.scale(-1))
            lo = None if upper is None else -upper
        return Interval(lo, hi)

    def _plain_bounds(self, form: Linear) -> Interval:
        result = Interval(form.constant, form.constant)
        for atom, k in form.terms.items():
            result = result + self.atom_bounds(atom).scale(k)
        return result

    def _symbolic_upper(self, form: Linear) -> int | None:
        """The upper end after variables with symbolic extents are replaced by their largest (smallest) value: i by n -
        1."""
        for _ in range(_SYMBOLIC_STEPS):
            symbolic = [(v, symbolic_extent(v, self.dom)) for v in form.terms if isinstance(v, Var)]
            found = [(v, extent) for v, extent in symbolic if extent is not None]
            if not found:
                return self._plain_bounds(form).hi
            var, extent = found[0]
            k = form.terms[var]
            form = form + term(var).scale(-k)
            if k > 0:
                form = form + self.linear(extent).shift(-1).scale(k)
        return None

    def atom_bounds(self, atom: Atom) -> Interval:
        """An interval around the values of one atom."""
        if isinstance(atom, Var):
            return interval_of(atom, self.dom)
        if isinstance(atom, Remainder):
            return self._remainder_bounds(atom)
        if isinstance(atom, Quotient):
            return self.bounds(atom.form).quotient(atom.divisor)
        return self._expr_bounds(atom.expr)

    def _remainder_bounds(self, atom: Remainder) -> Interval:
        inside = self.bounds(atom.form).remainder(atom.divisor)
        step = gcd(atom.divisor, *atom.form.terms.values())
        if inside == Interval(0, atom.divisor - 1) and step > 1:
            first = atom.form.constant % step
            return Interval(first, atom.divisor - step + first)
        return inside

    def _expr_bounds(self, expr: Expr) -> Interval:
        match expr:
            case Min(a, b):
                return self._value(a).minimum(self._value(b))
            case Max(a, b):
                return self._value(a).maximum(self._value(b))
            case Select(_, a, b) | Call("if_then_else", (_, a, b)):
                return self._value(a).union(self._value(b))
            case Cast(_, value) if value.dtype in INDEX_TYPES and expr.dtype in INDEX_TYPES:
                inner = self._value(value)
                fits = expr.dtype == "int64" or (inner.lo is not None and inner.hi is not None)
                return inner if fits else EVERYTHING
            case FloorMod(_, divisor):
                return self._symbolic_remainder(self._value(divisor))
            case Cast(_, value) if value.dtype == "bool":
                return Interval(0, 1)
        return EVERYTHING

    def _symbolic_remainder(self, divisor: Interval) -> Interval:
        if divisor.lo is None or divisor.lo < 1:
            return EVERYTHING
        return Interval(0, None if divisor.hi is None else divisor.hi - 1)

    def _value(self, expr: Expr) -> Interval:
        return self.bounds(self.linear(expr)) if expr.dtype in INDEX_TYPES else EVERYTHING

    # ---- division

    def divide(self, form: Linear, c: int) -> Linear:
        """``form // c`` for a positive number c."""
        if c == 1:
            return form
        whole, rest = self._by_divisor(form, c)
        settled = self._one_multiple(rest, c)
        if settled is not None:
            return whole.shift(settled)
        split = None if self.whole_sums and len(form.terms) > 1 else self._low_part(rest, c)
        if split is not None:
            step, high, _ = split
            return self.plus(whole, self.divide(high, c // step))
        atom = rest.atom()
        if isinstance(atom, Quotient) and not isinstance(atom, Remainder):
            return self.plus(whole, self.divide(atom.form, atom.divisor * c))
        return self.plus(whole, term(Quotient(rest, c), form.dtype))

    def remainder(self, form: Linear, c: int) -> Linear:
        """``form % c`` for a positive number c."""
        if c == 1:
            return number(0, form.dtype)
        _, rest = self._by_divisor(form, c)
        settled = self._one_multiple(rest, c)
        if settled is not None:
            return rest.shift(-settled * c)
        split = None if self.whole_sums and len(form.terms) > 1 else self._low_part(rest, c)
        if split is not None:
            step, high, low = split
            return self.plus(self.remainder(high, c // step).scale(step), low)
        atom = rest.atom()
        if isinstance(atom, Remainder) and atom.divisor % c == 0:
            return self.remainder(atom.form, c)
        if isinstance(atom, Quotient) and not isinstance(atom, Remainder):
            return self.divide(self.remainder(atom.form, atom.divisor * c), atom.divisor)
        return term(Remainder(rest, c), form.dtype)

    def _by_divisor(self, form: Linear, c: int) -> tuple[Linear, Linear]:
        """``form = c * whole + rest``; a sum that must stay whole is all rest."""
        if self.whole_sums and len(form.terms) > 1:
            return number(0, form.dtype), form
        whole = Linear({a: k // c for a, k in form.terms.items() if k % c == 0}, form.constant // c, form.dtype)
        rest = Linear({a: k for a, k in form.terms.items() if k % c}, form.constant % c, form.dtype)
        return whole, rest

    def _one_multiple(self, form: Linear, c: int) -> int | None:
        """The value of ``form // c`` when bounds say that there is only one."""
        return self.bounds(form).quotient(c).single

    def _low_part(self, form: Linear, c: int) -> tuple[int, Linear, Linear] | None:
        """``form = step * high + low`` with ``0 <= low < step``, for the largest step below c that divides c, or
        None."""
        steps = {gcd(k, c) for k in form.terms.values()}
        for step in sorted(steps, reverse=True):
            if not 1 < step < c:
                continue
            low = Linear({a: k for a, k in form.terms.items() if k % step}, form.constant % step, form.dtype)
            if self._one_multiple(low, step) == 0:
                whole = {a: k // step for a, k in form.terms.items() if k % step == 0}
                return step, Linear(whole, form.constant // step, form.dtype), low
        return None

    def plus(self, a: Linear, b: Linear) -> Linear:
        """The sum, with neighbouring digits of one source put together: ``k*e*(y // (l*e)) + k*((y // l) % e) = k*(y //
        l)``, and the same below another digit: ``4 * (y % 32 // 4) + y % 4 = y % 32``."""
        form = a + b
        for atom in form.terms:
            digit = digit_of(atom)
            if digit is None:
                continue
            source, lower, extent = digit
            k = form.terms[atom]
            for upper, factor in form.terms.items():
                if factor == k * extent and upper is not atom:
                    joined = self._joined(upper, source, lower, extent)
                    if joined is not None:
                        return self._merged(form, upper, atom, joined.scale(k))
        return form

    def _joined(self, upper: Atom, source: Linear, lower: int, extent: int) -> Linear | None:
        """``source // lower``, or some more of its digits, when ``upper`` holds the digits above ``lower * extent``."""
        rest = self.divide(source, lower * extent).atom()
        if rest is not None and (rest is upper if isinstance(rest, Var) else rest == upper):
            return self.divide(source, lower)
        above = digit_of(upper)
        if above is not None and above[1] == lower * extent and above[0].key == source.key:
            return self.divide(self.remainder(source, above[1] * above[2]), lower)
        return None

    def _merged(self, form: Linear, upper: Atom, digit: Atom, joined: Linear) -> Linear:
        """``form`` with ``joined`` in the place of the two digits."""
        result = number(form.constant, form.dtype)
        for atom, k in form.terms.items():
            if atom is upper:
                result = result + joined
            elif atom is not digit:
                result = result + Linear({atom: k}, 0, form.dtype)
        return self.plus(result, number(0, form.dtype))

    # ---- conditions

    def proved(self, condition: Expr) -> bool | None:
        """See the function :func:`proved`."""
        match condition:
            case Const(value, "bool"):
                return bool(value)
            case And(a, b):
                return _all(self.proved(a), self.proved(b))
            case Or(a, b):
                return _not(_all(_not(self.proved(a)), _not(self.proved(b))))
            case Not(a):
                return _not(self.proved(a))
            case Call("likely", (a,)):
                return self.proved(a)
            case Compare(a=a, b=b) if a.dtype in INDEX_TYPES:
                return self._compare(type(condition), self.linear(a) - self.linear(b))
        return None

    def _compare(self, op: type[Expr], difference: Linear) -> bool | None:
        """Is ``difference op 0``?"""
        if op is EQ or op is NE:
            equal = self._is_zero(difference)
            return equal if op is EQ else _not(equal)
        if op is GT or op is GE:
            return self._compare(LT if op is GT else LE, difference.scale(-1))
        values = self.bounds(difference.shift(1) if op is LT else difference)  # a < b is a + 1 <= b
        if values.hi is not None and values.hi <= 0:
            return True
        return False if values.lo is not None and values.lo > 0 else None

    def _is_zero(self, form: Linear) -> bool | None:
        values = self.bounds(form)
        if values.single == 0:
            return True
        if 0 not in values or (form.terms and form.constant % gcd(*form.terms.values())):
            return False
        return None


def digit_of(atom: Atom) -> tuple[Linear, int, int] | None:
    """``(source, lower, extent)`` of an atom that reads ``(source // lower) % extent``: ``y % e``, or ``y % (l*e) //
    l``."""
    if isinstance(atom, Remainder):
        return atom.form, 1, atom.divisor
    if isinstance(atom, Quotient):
        inner = atom.form.atom()
        if isinstance(inner, Remainder) and inner.divisor % atom.divisor == 0:
            return inner.form, atom.divisor, inner.divisor // atom.divisor
    return None


def _all(a: bool | None, b: bool | None) -> bool | None:
    if a is False or b is False:
        return False
    return True if a and b else None


def _not(a: bool | None) -> bool | None:
    return None if a is None else not a


# ---- tables: how each node becomes a linear form (None: it is an atom), and how conditions simplify


def _product(s: Simplifier, e: Binary) -> Linear | None:
    a, b = s.linear(e.a), s.linear(e.b)
    if not b.terms:
        return a.scale(b.constant)
    return b.scale(a.constant) if not a.terms else None


def _floor_div(s: Simplifier, e: Binary) -> Linear | None:
    divisor = s.linear(e.b).number()
    return s.divide(s.linear(e.a), divisor) if divisor is not None and divisor > 0 else None


def _floor_mod(s: Simplifier, e: Binary) -> Linear | None:
    divisor = s.linear(e.b).number()
    return s.remainder(s.linear(e.a), divisor) if divisor is not None and divisor > 0 else None


def _extremum(s: Simplifier, e: Binary) -> Linear | None:
    """min and max of operands whose order is known."""
    a, b = s.linear(e.a), s.linear(e.b)
    gap = s.bounds(a - b)
    if gap.hi is not None and gap.hi <= 0:
        return a if isinstance(e, Min) else b
    if gap.lo is not None and gap.lo >= 0:
        return b if isinstance(e, Min) else a
    return None


_ARITHMETIC: dict[type[Expr], Callable[[Simplifier, Binary], Linear | None]] = {
    Add: lambda s, e: s.plus(s.linear(e.a), s.linear(e.b)),
    Sub: lambda s, e: s.plus(s.linear(e.a), s.linear(e.b).scale(-1)),
    Mul: _product,
    FloorDiv: _floor_div,
    FloorMod: _floor_mod,
    Min: _extremum,
    Max: _extremum,
}


def _condition(s: Simplifier, e: Expr) -> Expr:
    """A condition that is decided becomes a constant; ``and`` and ``or`` lose operands that do not matter."""
    verdict = s.proved(e)
    if verdict is not None:
        return const(verdict, "bool")
    new = s._parts(e)
    if new is not e:
        return _condition(s, new)
    if isinstance(e, And | Or):
        neutral = isinstance(e, And)
        for operand, other in ((e.a, e.b), (e.b, e.a)):
            if isinstance(operand, Const) and operand.value is neutral:
                return other
    if isinstance(e, Not) and isinstance(e.a, Not):
        return e.a.a
    return e


_CONDITIONS: dict[type[Expr], Callable[[Simplifier, Expr], Expr]] = dict.fromkeys(
    (LT, LE, GT, GE, EQ, NE, And, Or, Not), _condition
)
