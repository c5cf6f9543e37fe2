"""Shapes with symbolic extents: normal forms, and equality whatever the symbolic extents are."""

from __future__ import annotations

import functools
import operator
from collections.abc import Iterable, Sequence

from mlcref.arith.simplify import proved, simplify
from mlcref.ir import EQ, Expr, Mul, const, constant, graph


def simplified(extent: Expr) -> Expr:
    """``extent`` in normal form.

    >>> from mlcref.ir import Var
    >>> n = Var("n", "int64")
    >>> simplified(n * 2 - n) is n
    True
    """
    return extent if constant(extent) is not None else simplify(extent, {})


def same(a: Expr, b: Expr) -> bool:
    """Are two extents known to be equal?"""
    if a is b:
        return True
    x, y = constant(a), constant(b)
    return x == y if x is not None and y is not None else bool(proved(EQ(a, b), {}))


def same_shape(a: Sequence[Expr], b: Sequence[Expr]) -> bool:
    """Are two shapes known to be equal?"""
    return len(a) == len(b) and all(same(x, y) for x, y in zip(a, b, strict=True))


def product(shape: Iterable[Expr]) -> Expr:
    """The number of elements, simplified.

    >>> from mlcref.ir import const
    >>> product([const(2, "int64"), const(3, "int64")]).value
    6
    """
    return simplified(functools.reduce(operator.mul, shape, const(1, "int64")))


def factors(shape: Iterable[Expr]) -> list[Expr]:
    """The extents of ``shape`` with products taken apart."""
    found: list[Expr] = []
    stack = list(shape)
    while stack:
        extent = stack.pop()
        if isinstance(extent, Mul):
            stack += [extent.a, extent.b]
        else:
            found.append(extent)
    return found


def quotient(whole: Iterable[Expr], part: Iterable[Expr]) -> Expr | None:
    """How many times the elements of the shape ``part`` go into those of ``whole``; None unless that is known.

    >>> from mlcref.ir import Var
    >>> n, m = Var("n", "int64"), Var("m", "int64")
    >>> quotient([n * m, n], [n, n]) is m
    True
    """
    rest, missing = factors(whole), []
    for extent in factors(part):
        found = next((k for k, other in enumerate(rest) if constant(other) is None and same(extent, other)), None)
        if found is None:
            missing.append(extent)
        else:
            del rest[found]
    size, count = product(rest), product(missing)
    if constant(count) == 0:
        return None
    result = simplified(size // count)
    return result if same(result * count, size) else None


def same_info(a: graph.StructInfo, b: graph.StructInfo) -> bool:
    """Do two struct infos say the same, with extents that are known to be equal?"""
    if type(a) is not type(b):
        return False
    if isinstance(a, graph.TensorStructInfo) and isinstance(b, graph.TensorStructInfo):
        alike = a.dtype == b.dtype and a.ndim == b.ndim and (a.shape is None) == (b.shape is None)
        return alike and same_shape(a.shape.values if a.shape else (), b.shape.values if b.shape else ())
    if isinstance(a, graph.ShapeStructInfo) and isinstance(b, graph.ShapeStructInfo):
        known = (a.values is None) == (b.values is None)
        return a.ndim == b.ndim and known and same_shape(a.values or (), b.values or ())
    if isinstance(a, graph.TupleStructInfo) and isinstance(b, graph.TupleStructInfo):
        return len(a.fields) == len(b.fields) and all(map(same_info, a.fields, b.fields))
    return True
