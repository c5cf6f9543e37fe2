"""Intervals of integers, each end possibly open, and what domains of variables mean.

A **domain** maps variables to what is known about their values: an extent ``n`` (an int or an integer expression: ``0 …
n - 1``) or a pair ``(lo, hi)``, both inclusive, None for "unknown". Variables that it does not mention may have any
value.
"""

from __future__ import annotations

from collections.abc import Mapping

from mlcref.ir import Const, Expr, Var
from mlcref.records import dataclass

Extent = int | Expr | tuple[int | None, int | None]
Domain = Mapping[Var, Extent]


@dataclass(frozen=True, slots=True)
class Interval:
    """The integers from ``lo`` to ``hi``, both inclusive; None leaves an end open.

    >>> Interval(0, 7) + Interval(1, None)
    Interval(lo=1, hi=None)
    """

    lo: int | None = None
    hi: int | None = None

    def __add__(self, other: Interval) -> Interval:
        return Interval(
            None if self.lo is None or other.lo is None else self.lo + other.lo,
            None if self.hi is None or other.hi is None else self.hi + other.hi,
        )

    def scale(self, factor: int) -> Interval:
        """Every element times ``factor``."""
        if factor == 0:
            return Interval(0, 0)
        lo = None if self.lo is None else self.lo * factor
        hi = None if self.hi is None else self.hi * factor
        return Interval(lo, hi) if factor > 0 else Interval(hi, lo)

    def quotient(self, divisor: int) -> Interval:
        """Every element ``// divisor``, for a positive divisor."""
        return Interval(
            None if self.lo is None else self.lo // divisor,
            None if self.hi is None else self.hi // divisor,
        )

    def remainder(self, divisor: int) -> Interval:
        """Every element ``% divisor``, for a positive divisor."""
        if self.lo is not None and self.hi is not None and self.lo // divisor == self.hi // divisor:
            return Interval(self.lo % divisor, self.hi % divisor)
        return Interval(0, divisor - 1)

    def union(self, other: Interval) -> Interval:
        """The smallest interval around both."""
        return Interval(
            None if self.lo is None or other.lo is None else min(self.lo, other.lo),
            None if self.hi is None or other.hi is None else max(self.hi, other.hi),
        )

    def minimum(self, other: Interval) -> Interval:
        """Values of ``min(a, b)`` for a in this interval and b in the other."""
        known = [end for end in (self.hi, other.hi) if end is not None]
        lo = None if self.lo is None or other.lo is None else min(self.lo, other.lo)
        return Interval(lo, min(known) if known else None)

    def maximum(self, other: Interval) -> Interval:
        """Values of ``max(a, b)`` for a in this interval and b in the other."""
        return self.scale(-1).minimum(other.scale(-1)).scale(-1)

    def __contains__(self, value: int) -> bool:
        return (self.lo is None or self.lo <= value) and (self.hi is None or value <= self.hi)

    @property
    def single(self) -> int | None:
        """The one element, or None when there are more or none."""
        return self.lo if self.lo is not None and self.lo == self.hi else None


EVERYTHING = Interval()


def interval_of(var: Var, dom: Domain) -> Interval:
    """What ``dom`` says in numbers about the value of ``var``.

    A variable that ``dom`` names only as the extent of another one is at least 1: where the other has a value, it has
    one.
    """
    known = dom.get(var)
    if known is None:
        return Interval(1, None) if any(extent is var for extent in dom.values()) else EVERYTHING
    if isinstance(known, tuple):
        return Interval(*known)
    if isinstance(known, Const):
        known = int(known)
    return Interval(0, known - 1) if isinstance(known, int) else Interval(0, None)


def symbolic_extent(var: Var, dom: Domain) -> Expr | None:
    """The extent of ``var`` when it is an expression that is no constant."""
    known = dom.get(var)
    return known if isinstance(known, Expr) and not isinstance(known, Const) else None
