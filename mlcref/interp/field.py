"""A domain that evaluates float programs at a random point of a finite field, beside the machine's own floats.

Every float carries, next to its machine value (the *shadow*), the value of the same real expression modulo the prime
``P``. Modulo a prime ``+ - * /`` are exact, so sums in another order are *equal*, while two different rational
functions of degree at most d agree at a random point with probability at most d/P (Schwartz 1980, Zippel 1979; used
for tensor programs by TASO, SOSP 2019, and Mirage, OSDI 2025). What is no rational function:

* ``exp`` is homomorphic: each value also has a residue modulo the prime ``Q``, where ``P = 2 Q + 1``, and
  ``exp(x) = OMEGA ** x`` for an element of order ``Q``. (2**61 - 1 is no such prime: the largest prime factor of
  2**61 - 2 is 1321.)
* other functions are random functions of their arguments: hashes with a seed;
* ``max`` and ``min`` are the set of what they choose from, without the extreme constants of the type, which are
  their identities: two of them with equal sets are equal under every total order. Instead they can choose under one
  order: that of the shadows, or one of the field in which 0 is the greatest, the least, or anywhere;
* comparisons, conversions to integers and ``abs`` follow the shadow: the answer is about the paths it takes.
"""

from __future__ import annotations

import math
import zlib
from fractions import Fraction
from functools import lru_cache
from random import Random
from typing import Any

from mlcref import dtype as dt
from mlcref.interp.arguments import Binding
from mlcref.interp.numeric import Arithmetic, Operation
from mlcref.ir.expr import Add, And, Compare, Div, Max, Min, Mul, Or, Sub

P = 2305843009213691579
"""The largest prime below 2**61 of which (P - 1) / 2 is prime too."""
Q = P // 2
OMEGA = 4

HASHED, ORDERED, SHADOWED = 1, 2, 4
"""Flags of values that are no rational functions: made with a hashed function, with max or min, with the shadow."""

ORDERS = ("set", "shadow", "top", "bottom", "random")
_LARGEST_POWER = 64


class FieldValue(float):
    """A machine float with ``residue`` mod P, ``power`` mod Q, the degrees ``up`` and ``down`` of numerator and
    denominator, ``term``, a hash of the operations that made it, and ``flags``."""

    __slots__ = ("down", "flags", "power", "residue", "term", "up")
    residue: int
    power: int
    up: int
    down: int
    term: int
    flags: int

    @property
    def degree(self) -> int:
        """Of the polynomial that vanishes where this value meets another one, this value's part."""
        return self.up + self.down


_new = float.__new__


def _make(real: float, residue: int, power: int, up: int, down: int, term: int, flags: int) -> FieldValue:
    made = _new(FieldValue, real)
    made.residue, made.power, made.up, made.down, made.term, made.flags = residue, power, up, down, term, flags
    return made


def _mix(*parts: int) -> int:
    """A number that depends on ``parts`` as if by chance; the same in every process."""
    return hash(parts)


@lru_cache(1 << 16)
def lift(value: float) -> FieldValue:
    """A constant in the field: the rational number that it is. Infinities and NaN are numbers of no meaning.

    >>> lift(0.5).residue * 2 % P, lift(3.0).power
    (1, 3)
    """
    value = float(value)
    term = _mix(1, hash(value) if value == value else 2)
    if not math.isfinite(value):
        return _make(value, _mix(3, term) % P, _mix(4, term) % Q, 0, 0, term, 0)
    top, bottom = value.as_integer_ratio()
    return _make(value, top * pow(bottom, -1, P) % P, top * pow(bottom, -1, Q) % Q, 0, 0, term, 0)


def lifted(value: float) -> FieldValue:
    """``value``, as a constant if it is a plain number."""
    return value if type(value) is FieldValue else lift(value)


def _down(a: FieldValue, b: FieldValue) -> tuple[int, int]:
    """Degrees of a sum of two fractions."""
    if a.down == b.down == 0:
        return (a.up if a.up > b.up else b.up), 0
    return max(a.up + b.down, b.up + a.down), a.down + b.down


def _inverse(value: int, modulus: int) -> int:
    return pow(value, -1, modulus) if value else _mix(5, modulus) % modulus


class FieldArithmetic(Arithmetic):
    """The machine's arithmetic with a point of the field beside each float. ``seed`` draws the point and the unknown
    functions, ``order`` (one of :data:`ORDERS`) how max and min choose.

    >>> field = FieldArithmetic(0)
    >>> third = field.binary(Div, "float32", False)(1.0, 3.0)
    >>> field.binary(Mul, "float32", False)(third, 3.0).residue
    1
    """

    def __init__(self, seed: int = 0, order: str = "set") -> None:
        if order not in ORDERS:
            raise ValueError(f"order is one of {', '.join(ORDERS)}, not {order!r}")
        self.seed, self.order = seed, order
        rng = Random(f"order {seed}")
        self.scale = rng.randrange(1, P)
        self.sets: dict[tuple[int, int], frozenset[int]] = {}
        """What a max or min of this residue chooses from."""
        self.shift = {"top": P - 1, "bottom": 0}.get(order, rng.randrange(P))

    def lift_arguments(self, binding: Binding) -> None:
        """Give every element of every float parameter, and every float scalar, a point of its own."""
        rng = Random(f"point {self.seed}")
        done: set[int] = set()
        for number, slot in enumerate(binding.slots):
            if not dt.is_float(slot.param.type) or id(slot.view.storage) in done:
                continue
            done.add(id(slot.view.storage))
            cells = slot.view.storage.cells
            for position, real in enumerate(cells):
                bits = rng.getrandbits(128)
                if real is not None:
                    term = _mix(6, number, position)
                    cells[position] = _make(real, (bits >> 64) % P, (bits & (1 << 64) - 1) % Q, 1, 0, term, 0)
        for number, (var, value) in enumerate(list(binding.env.items())):
            if dt.is_float(var.type):
                term = _mix(7, number)
                binding.env[var] = _make(value, rng.randrange(P), rng.randrange(Q), 1, 0, term, 0)

    # --- binary operations ---

    def binary(self, kind: Any, dtype: str, exact: bool) -> Operation:
        """The function of a binary node: exact in the field, rounded in the shadow."""
        plain = super().binary(kind, dtype, exact)
        if not dt.is_float(dtype) or kind in (And, Or) or issubclass(kind, Compare):
            return plain
        if kind in (Max, Min):
            return self.choice(plain, kind is Max, dtype)
        return {Add: _sum(plain, 1), Sub: _sum(plain, -1), Mul: _product(plain), Div: _quotient(plain)}[kind]

    def choice(self, plain: Operation, largest: bool, dtype: str) -> Operation:
        """max or min under the order."""
        extreme = _LARGEST.get(dtype, math.inf)
        ends = {lift(sign * value).residue: sign for sign in (-1.0, 1.0) for value in (extreme, math.inf)}
        scale, shift, by_shadow = self.scale, self.shift, self.order == "shadow"
        kind = 11 if largest else 12

        if self.order == "set":
            identity = frozenset(residue for residue, sign in ends.items() if sign == (-1.0 if largest else 1.0))
            return self.union(plain, kind, identity)

        def key(x: FieldValue) -> tuple[float, int]:
            rank = float(x) if by_shadow else ends.get(x.residue, 0.0)
            return rank, (x.residue * scale + shift) % P

        def choose(a: float, b: float) -> FieldValue:
            x, y = lifted(a), lifted(b)
            first = key(x) >= key(y) if largest else key(x) <= key(y)
            chosen, flags = (x if first else y), x.flags | y.flags | ORDERED
            term = _mix(kind, x.term, y.term)
            return _make(plain(a, b), chosen.residue, chosen.power, chosen.up, chosen.down, term, flags)

        return choose

    def union(self, plain: Operation, kind: int, identity: frozenset[int]) -> Operation:
        """max or min as the set of what it chooses from."""
        sets, seed = self.sets, self.seed

        def unite(a: float, b: float) -> FieldValue:
            x, y = lifted(a), lifted(b)
            real, flags, term = plain(a, b), x.flags | y.flags | ORDERED, _mix(kind, x.term, y.term)
            if y.residue in identity or x.residue == y.residue:
                return _make(real, x.residue, x.power, x.up, x.down, term, flags)
            if x.residue in identity:
                return _make(real, y.residue, y.power, y.up, y.down, term, flags)
            mine, other = sets.get((kind, x.residue)), sets.get((kind, y.residue))
            found = (mine or frozenset((x.residue,))) | (other or frozenset((y.residue,)))
            residue = _mix(kind, seed, hash(found)) % P
            sets[kind, residue] = found
            return _make(real, residue, _mix(8, seed, residue) % Q, 1 + x.degree + y.degree, 0, term, flags)

        return unite

    # --- functions ---

    def intrinsic(self, name: str, operand: str, result: str) -> Operation:
        """The function of an intrinsic: known ones by what they are, others hashed."""
        plain = super().intrinsic(name, operand, result)
        if not dt.is_float(result) or not dt.is_float(operand):
            return plain
        code = zlib.crc32(name.encode())
        special: Operation | None = getattr(self, f"_{name}", None)

        def function(*operands: float) -> FieldValue:
            real, values = plain(*operands), [lifted(x) for x in operands]
            term = _mix(code, *[x.term for x in values])
            found = special(*values) if special is not None else None
            if found is None:
                found = self.hashed(code, *values)
            return _make(real, found.residue, found.power, found.up, found.down, term, found.flags)

        return function

    def hashed(self, code: int, *operands: FieldValue) -> FieldValue:
        """The value of an unknown function; the degrees of its arguments count for collisions."""
        residue = _mix(self.seed, code, *[x.residue for x in operands]) % P
        flags = HASHED
        for x in operands:
            flags |= x.flags
        up = 1 + sum(x.degree for x in operands)
        return _make(0.0, residue, _mix(8, self.seed, residue) % Q, up, 0, 0, flags)

    def _exp(self, x: FieldValue) -> FieldValue:
        residue = pow(OMEGA, x.power, P)
        return _make(0.0, residue, _mix(8, self.seed, residue) % Q, 1 + x.degree, 0, 0, x.flags | HASHED)

    def _sigmoid(self, x: FieldValue) -> FieldValue:
        negated = _make(0.0, -x.residue % P, -x.power % Q, x.up, x.down, 0, x.flags)
        return lifted(_QUOTIENT(1.0, _SUM(1.0, self._exp(negated))))

    def _rsqrt(self, x: FieldValue) -> FieldValue:
        return lifted(_QUOTIENT(1.0, self.hashed(zlib.crc32(b"sqrt"), x)))

    def _likely(self, x: FieldValue) -> FieldValue:
        return x

    def _abs(self, x: FieldValue) -> FieldValue:
        negative = math.copysign(1.0, x) < 0
        residue, power = (-x.residue % P, -x.power % Q) if negative else (x.residue, x.power)
        return _make(0.0, residue, power, x.up, x.down, 0, x.flags | SHADOWED)

    def _pow(self, x: FieldValue, n: FieldValue) -> FieldValue | None:
        if n.degree or n.flags or not n.is_integer() or not 0 <= n <= _LARGEST_POWER:
            return None
        count = int(n)
        residue, power = pow(x.residue, count, P), pow(x.power, count, Q)
        return _make(0.0, residue, power, x.up * count, x.down * count, 0, x.flags)

    # --- conversions ---

    def converter(self, source: str, target: str) -> Operation:
        """The function of a conversion: between floats nothing happens in the field, integers are constants."""
        plain = super().converter(source, target)
        if not dt.is_float(target):
            return plain
        if not dt.is_float(source):
            return lambda value: _constant(plain(value), int(value))
        if source == target:
            return plain
        code = zlib.crc32(target.encode())

        def convert(value: float) -> FieldValue:
            x = lifted(value)
            return _make(plain(value), x.residue, x.power, x.up, x.down, _mix(9, code, x.term), x.flags)

        return convert


_LARGEST = {
    "float16": 65504.0,
    "bfloat16": math.ldexp(255, 120),
    "float32": math.ldexp(2**24 - 1, 104),
    "float64": math.ldexp(2**53 - 1, 971),
}


def _constant(real: float, value: int) -> float:
    if real == value:
        return real
    return _make(real, value % P, value % Q, 0, 0, _mix(10, value), 0)


def _sum(plain: Operation, sign: int) -> Operation:
    def add(a: float, b: float) -> FieldValue:
        real = plain(a, b)
        x = a if type(a) is FieldValue else lift(a)
        y = b if type(b) is FieldValue else lift(b)
        up, down = _down(x, y)
        residue, power = (x.residue + sign * y.residue) % P, (x.power + sign * y.power) % Q
        return _make(real, residue, power, up, down, hash((sign, x.term, y.term)), x.flags | y.flags)

    return add


def _product(plain: Operation) -> Operation:
    def multiply(a: float, b: float) -> FieldValue:
        real = plain(a, b)
        x = a if type(a) is FieldValue else lift(a)
        y = b if type(b) is FieldValue else lift(b)
        residue, power = x.residue * y.residue % P, x.power * y.power % Q
        return _make(real, residue, power, x.up + y.up, x.down + y.down, hash((13, x.term, y.term)), x.flags | y.flags)

    return multiply


def _quotient(plain: Operation) -> Operation:
    def divide(a: float, b: float) -> FieldValue:
        real, x, y = plain(a, b), lifted(a), lifted(b)
        residue, power = x.residue * _inverse(y.residue, P) % P, x.power * _inverse(y.power, Q) % Q
        term = hash((14, x.term, y.term))
        return _make(real, residue, power, x.up + y.down, x.down + y.up, term, x.flags | y.flags)

    return divide


_SUM, _QUOTIENT = _sum(lambda a, b: 0.0, 1), _quotient(lambda a, b: 0.0)


def miss_probability(degree: int) -> float:
    """A bound of the probability that two different functions, whose degrees sum up to ``degree``, are taken for
    equal at one random point.

    >>> miss_probability(0) < 1e-18 < miss_probability(64) < 1e-16
    True
    """
    return float(Fraction(max(degree, 1), Q)) * (1 + 2**-50)

