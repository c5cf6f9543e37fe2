"""Pieces of buffers, an element or a vector each, and when two of them are surely apart."""

from __future__ import annotations

from collections.abc import Sequence

from mlcref import arith
from mlcref import dtype as dt
from mlcref.ir import BufferLoad, BufferStore, Expr, Ramp, constant
from mlcref.lower.domains import Domains

Access = BufferLoad | BufferStore
Starts = tuple[arith.Linear | None, ...]


def piece_key(access: Access) -> object:
    """Equal for accesses whose indices read the same."""
    return tuple([arith.expr_key(index) for index in access.indices])


def starts(indices: Sequence[Expr], dom: Domains) -> Starts:
    """Of each index: where it starts, as a linear form; None for a vector whose lanes are not neighbours."""
    return tuple([_start(index, dom) for index in indices])


def _start(index: Expr, dom: Domains) -> arith.Linear | None:
    if isinstance(index, Ramp):
        return arith.linear(index.base, dom) if constant(index.stride) == 1 else None
    return arith.linear(index, dom) if dt.lanes(index.dtype) == 1 else None


def apart(a: Sequence[Expr], a_starts: Starts, b: Sequence[Expr], b_starts: Starts) -> bool:
    """Do two pieces of one buffer share no element? True when their distance along some dimension is a number that
    says so.
    """
    for index_a, start_a, index_b, start_b in zip(a, a_starts, b, b_starts, strict=True):
        if start_a is None or start_b is None:
            continue
        distance = (start_a - start_b).number()
        if distance is not None and not -dt.lanes(index_a.dtype) < distance < dt.lanes(index_b.dtype):
            return True
    return False
