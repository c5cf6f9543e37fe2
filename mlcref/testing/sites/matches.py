"""Regions under other names: of lower rank, of padded memory, of regions that have a name already."""

from __future__ import annotations

from collections.abc import Sequence

from mlcref.ir import (
    Buffer, BufferRegion, Expr, MatchBufferRegion, PrimFunc, Range, Stmt, Var, cast, const, seq, store,
)  # fmt: skip
from mlcref.testing.sites.calls import address, reversing
from mlcref.testing.sites.parts import DTYPES, Axis, Pick, buffer, instance, nested, padded, program


class _Matched:
    """A block that reads a box of a buffer, by the name that it gives it."""

    def __init__(self, pick: Pick) -> None:
        self.pick = pick
        self.dtype: str = pick(DTYPES)
        self.shape = [pick([2, 3, 4]) for _ in range(pick([2, 3]))]
        self.given = buffer("A", self.shape, self.dtype)
        self.source = self.given
        if pick([True, True, False]):
            self.source = buffer("X", self.shape, self.dtype, padded(pick, self.shape) if pick([True, False]) else ())
        self.lost = pick(range(len(self.shape)))
        """Leading dimensions that the name does not have: a block iterator runs over each."""
        self.kept = [pick(range(1, size + 1)) for size in self.shape[self.lost :]]
        self.moving = pick([False, True])
        """Does the box move along the first dimension that is kept? Else it lies at the end of each."""
        self.out = buffer("B", [*(axis.extent for axis in self.axes()), *self.kept], self.dtype)

    def axes(self) -> list[Axis]:
        """The iterators of the block."""
        moved = [self.shape[self.lost] - self.kept[0] + 1] if self.moving else []
        return [Axis(0, extent) for extent in [*self.shape[: self.lost], *moved]]

    def function(self) -> PrimFunc:
        """The program: where the source is no parameter, a block fills it before."""
        axes = self.axes()
        loops = [Var(f"i{n}") for n in range(len(axes))]
        source, name = self.source, self.name("M", len(self.kept))
        block = instance("B", axes, loops, lambda v: (None, self.body(v, name)),
                         matches=lambda v: [MatchBufferRegion(name, BufferRegion(source, self.box(v)))])  # fmt: skip
        nest = nested([(var, axis.extent) for var, axis in zip(loops, axes, strict=True)], block)
        if source is self.given:
            return program((self.given, self.out), nest)
        return program((self.given, self.out), seq(self.filling(), nest), [source])

    def filling(self) -> Stmt:
        """The source gets its elements."""
        axes = [Axis(0, size) for size in self.shape]
        loops = [Var(f"f{n}") for n in range(len(axes))]
        block = instance("X", axes, loops, lambda v: (None, store(self.source, self.given[tuple(v)], v)))
        return nested(list(zip(loops, self.shape, strict=True)), block)

    def box(self, iterators: Sequence[Var]) -> tuple[Range, ...]:
        """The region that gets a name."""
        sizes = zip(self.shape[self.lost :], self.kept, strict=True)
        starts: list[Expr] = [const(size - extent) for size, extent in sizes]
        if self.moving:
            starts[0] = iterators[-1]
        box = [Range(start, const(extent)) for start, extent in zip(starts, self.kept, strict=True)]
        return (*(Range(var, const(1)) for var in iterators[: self.lost]), *box)

    def name(self, name: str, rank: int) -> Buffer:
        """A name of the last ``rank`` dimensions, whose strides and offset are variables or are not spoken of."""
        shape = tuple(const(extent) for extent in self.kept[len(self.kept) - rank :])
        strides = tuple(Var(f"{name}_s{n}") for n in range(rank)) if self.pick([True, True, False]) else ()
        return Buffer(name, shape, self.dtype, strides=strides, elem_offset=self.pick([None, Var(f"{name}_offset")]))

    def body(self, outer: Sequence[Var], name: Buffer) -> Stmt:
        """What is done with the region: its elements are read by this name, or row by row by names for the rows."""
        points = [Var(f"x{n}") for n in range(len(self.kept))]
        if len(points) == 1 or self.pick([True, False]):
            return self.elements(outer, points, name)
        row, rest = self.name("R", len(points) - 1), [Range(const(0), const(extent)) for extent in self.kept[1:]]

        def parts(own: Sequence[Var]) -> tuple[None, Stmt]:
            return None, self.elements([*outer, *own], points[1:], row)

        block = instance("R", [Axis(0, self.kept[0])], points[:1], parts, matches=lambda own: [
            MatchBufferRegion(row, BufferRegion(name, (Range(own[0], const(1)), *rest)))
        ])  # fmt: skip
        return nested([(points[0], self.kept[0])], block)

    def elements(self, outer: Sequence[Var], points: Sequence[Var], name: Buffer) -> Stmt:
        """The elements go out one by one, or a row at a time by a function on pointers."""
        sizes = self.kept[len(self.kept) - len(points) :]
        loops = list(zip(points, sizes, strict=True))
        if not name.strides or self.pick([True, True, False]):
            return nested(loops, self.put(outer, points, name, points))
        start = (*points[:-1], const(0))
        goal = address(self.out[(*outer, *start)])
        return nested(loops[:-1], reversing(address(name[start]), goal, sizes[-1], name.strides[-1], 1))

    def put(self, outer: Sequence[Var], points: Sequence[Var], read: Buffer, at: Sequence[Expr]) -> Stmt:
        """An element goes out, and with it where the name says that it lies."""
        value = read[tuple(at)]
        known = [part for part in (*read.strides, read.elem_offset) if isinstance(part, Var)]
        for weight, part in enumerate(known if self.pick([True, False]) else []):
            value = value + cast(self.dtype, part) * (weight + 1)
        return store(self.out, value, [*outer, *points])


def matched(pick: Pick) -> PrimFunc:
    """A block that reads boxes of a buffer, each by a name for it."""
    return _Matched(pick).function()
