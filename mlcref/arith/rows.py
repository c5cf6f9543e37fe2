"""Positions in memory, row by row, of elements whose indices are digits of one number.

Lanes that are neighbours in memory may reach from one row of a buffer into the next ones: then the indices of the
access are the digits of a ramp. The oracle takes them as any vectors of indices; code generators ask
:func:`ramp_through_rows` where the first lane is.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

from mlcref import dtype as dt
from mlcref.arith.interval import Domain
from mlcref.arith.linear import Linear, expr_key
from mlcref.arith.simplify import linear, simplify
from mlcref.ir import Broadcast, Expr, FloorDiv, FloorMod, Ramp, const, constant


def flat_position(shape: Sequence[Expr], indices: Sequence[Expr], dom: Domain) -> Linear | None:
    """Where an element is, row by row, in a box of that shape, as a linear form; None where the shape is not constant.

    >>> from mlcref.ir import Var
    >>> i = Var("i", "int64")
    >>> flat_position([const(3), const(7)], [i // 7, i % 7], {i: 21}).terms == {i: 1}
    True
    """
    place: Expr | None = None
    for extent, part in zip(shape, indices, strict=True):
        size = constant(extent)
        if size is None:
            return None
        place = part if place is None else place * size + part
    return None if place is None else linear(simplify(place, dom), dom)


def digits(ramp: Ramp, shape: Sequence[Expr]) -> tuple[Expr, ...]:
    """The indices of the elements that lie at the positions of ``ramp`` in a box of that constant shape.

    >>> digits(Ramp(const(5), const(1), 4), [const(3), const(7)])[1]
    T.Ramp(5, 1, 4) % T.Broadcast(7, 4)
    """
    sizes = [constant(extent) or 1 for extent in shape]
    found: list[Expr] = []
    for axis, size in enumerate(sizes):
        below = prod(sizes[axis + 1 :])
        index: Expr = ramp if below == 1 else FloorDiv(ramp, _all_lanes(below, ramp))
        found.append(index if axis == 0 else FloorMod(index, _all_lanes(size, ramp)))
    return tuple(found)


def ramp_through_rows(shape: Sequence[Expr], indices: Sequence[Expr]) -> tuple[int, Ramp] | None:
    """From which dimension on the indices are the digits of a ramp of neighbours, and that ramp; None for any other
    access.

    >>> ramp, shape = Ramp(const(5), const(1), 4), [const(3), const(7)]
    >>> ramp_through_rows(shape, digits(ramp, shape)) == (0, ramp)
    True
    """
    first = next((axis for axis, index in enumerate(indices) if dt.lanes(index.dtype) > 1), len(indices))
    if len(indices) - first < 2:
        return None
    last = indices[-1]
    ramp = last.a if isinstance(last, FloorMod) else None
    if not isinstance(ramp, Ramp) or constant(ramp.stride) != 1:
        return None
    if any(constant(extent) is None for extent in shape[first:]):
        return None
    pairs = zip(digits(ramp, shape[first:]), indices[first:], strict=True)
    return (first, ramp) if all(expr_key(a) == expr_key(b) for a, b in pairs) else None


def _all_lanes(number: int, ramp: Ramp) -> Expr:
    return Broadcast(const(number, dt.parse(ramp.dtype).element), ramp.lanes)
