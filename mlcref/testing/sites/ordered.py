"""Blocks whose instances continue each other's work: what one leaves in a buffer the next goes on from."""

from __future__ import annotations

from collections.abc import Sequence

from mlcref.ir import EQ, Expr, IfThenElse, PrimFunc, Stmt, Var, conjunction, const, loop, seq, store
from mlcref.testing.sites.parts import DTYPES, Axis, Parts, Pick, buffer, instance, program

_KINDS = ("spatial", "opaque", "reduce", "scan")
_Loop = tuple[Var, int, int]


class _Continued:
    """A running value per point of the spatial iterators, over all the others.

    The first ``outer`` of the ``axes`` belong to an outer block, if there is one; the buffer of the value lives
    ``inside`` of it or in the root. The value begins in the init of the block or by a condition.
    """

    def __init__(self, pick: Pick) -> None:
        self.pick = pick
        self.dtype: str = pick(DTYPES)
        self.axes = [Axis(pick([0, 0, 1, 2]), pick([2, 3]), pick(_KINDS)) for _ in range(pick([2, 1, 3]))]
        self.outer = pick([0, 0, 1]) if len(self.axes) > 1 else 0
        self.inside = bool(self.outer) and pick([False, True])
        self.by_init = any(axis.kind == "reduce" for axis in self.axes[self.outer :]) and pick([False, True])
        sizes = [axis.low + axis.extent for axis in self.axes]
        self.given, self.out = buffer("A", sizes, self.dtype), buffer("B", sizes, self.dtype)
        self.own = [n for n, axis in enumerate(self.axes) if axis.kind == "spatial"]
        self.kept = buffer("X", [sizes[n] for n in self.own] or [1], self.dtype)

    def function(self) -> PrimFunc:
        """The program."""
        outer, values, where = self.loops("ij", self.axes[: self.outer])
        if not self.outer:
            return program((self.given, self.out), self.inner(()), [self.kept])

        def parts(iterators: Sequence[Var]) -> tuple[Stmt | None, Stmt]:
            return None, self.inner(iterators)

        here, above = ([self.kept], []) if self.inside else ([], [self.kept])
        block = instance("outer", self.axes[: self.outer], values, parts, where=where, allocated=here)
        return program((self.given, self.out), _around(outer, block), above)

    def loops(self, names: str, axes: Sequence[Axis]) -> tuple[list[_Loop], list[Expr], list[Expr]]:
        """Loops for some iterators, in a drawn order, the values that they give them, and where these are any."""
        found: list[_Loop] = []
        values: list[Expr] = []
        where: list[Expr] = []
        for name, axis in zip(names, axes, strict=False):
            var, low = Var(name), self.pick([0, axis.low])
            if self.pick([False, False, True]):  # in tiles of two, of which the last is cut
                inner, low = Var(f"{name}i"), 0
                found += [(var, 0, -(-axis.extent // 2)), (inner, 0, 2)]
                value: Expr = var * 2 + inner
                where += [value < axis.extent] if axis.extent % 2 else []
            else:
                found.append((var, low, axis.extent))
                value = var
            values.append(value + (axis.low - low) if axis.low > low else value)
        if found:
            found.insert(0, found.pop(self.pick(range(len(found)))))
        return found, values, where

    def inner(self, outer: Sequence[Var]) -> Stmt:
        """The nest of the block that keeps the value, and of the one that reads it, if that is another."""
        axes = self.axes[self.outer :]
        loops, values, where = self.loops("xyz", axes)
        if self.pick([True, False]):
            return _around(loops, instance("X", axes, values, self.updating(outer, reads=True), where=where))
        later = axes if self.pick([True, False]) else [Axis(axis.low, axis.extent) for axis in axes]
        update = instance("X", axes, values, self.updating(outer, reads=False), where=where)
        read = instance("B", later, values, lambda own: (None, self.read([*outer, *own])), where=where)
        return _around(loops, seq(update, read))

    def updating(self, outer: Sequence[Var], reads: bool) -> Parts:
        """A block that begins or continues the value; ``reads``: it puts it out as well."""

        def parts(own: Sequence[Var]) -> tuple[Stmt | None, Stmt]:
            iterators = [*outer, *own]
            begin = store(self.kept, const(self.pick([0, 1]), self.dtype), self.at(iterators))
            total, element = self.kept[tuple(self.at(iterators))], self.given[tuple(iterators)]
            value = total + element if self.pick([True, False]) else element - total
            stmts: list[Stmt] = [store(self.kept, value, self.at(iterators))]
            if not self.by_init:
                first = self.first(iterators)
                stmts.insert(0, IfThenElse(conjunction(first), begin) if first else begin)
            if reads:
                stmts.append(self.read(iterators))
            return begin if self.by_init else None, seq(*stmts)

        return parts

    def at(self, iterators: Sequence[Var]) -> list[Expr]:
        """Where the value is kept."""
        return [iterators[n] for n in self.own] or [const(0)]

    def first(self, iterators: Sequence[Var]) -> list[Expr]:
        """That no instance has come before this one, since the buffer is there."""
        start = self.outer if self.inside else 0
        return [
            EQ(var, const(axis.low))
            for var, axis in list(zip(iterators, self.axes, strict=True))[start:]
            if axis.kind != "spatial"
        ]

    def read(self, iterators: Sequence[Var]) -> Stmt:
        """The value is put out."""
        return store(self.out, self.kept[tuple(self.at(iterators))] * 2, iterators)


def _around(loops: Sequence[_Loop], body: Stmt) -> Stmt:
    for var, low, extent in reversed(loops):
        body = loop(var, extent, body, start=low)
    return body


def continued(pick: Pick) -> PrimFunc:
    """A block over iterators of all kinds that begins a value at the first of the ordered ones and continues it."""
    return _Continued(pick).function()
