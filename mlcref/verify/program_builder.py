"""What puts drawn programs together: parameters, blocks in nests of several styles, nests that share a loop."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from mlcref.arith import access_regions
from mlcref.ir import (
    Attrs,
    BlockRealize,
    Buffer,
    BufferStore,
    Const,
    Expr,
    For,
    IterVar,
    PrimFunc,
    Range,
    Stmt,
    Var,
    as_expr,
    blocks_in,
    const,
    make_block,
    seq,
    substitute,
)

Choose = Callable[[Sequence[Any]], Any]
Body = Callable[[Sequence[Var], Sequence[Var]], Expr]


@dataclass
class Nest:
    """Loops with their first values and extents, the values of the iterators over them, and where these run."""

    loops: list[tuple[Var, int, int]]
    values: list[Expr]
    kinds: list[str]
    where: list[Expr] = field(default_factory=list)


Style = Callable[[Choose, Nest], None]
"""Changes how the loops of a nest, one per iterator at first, give the iterators their values."""


class Builder:
    """A program in the making: parameters, made buffers, statements. ``styles`` are those that nests are drawn from,
    ``index`` the type of loops, iterators and extents.
    """

    def __init__(
        self,
        pick: Choose,
        dtypes: Sequence[str],
        extents: Sequence[int],
        styles: Sequence[Style] = (),
        index: str = "int32",
    ) -> None:
        self.pick = pick
        self.extents = extents
        self.styles = styles
        self.index = index
        self.dtype: str = pick(list(dtypes))
        self.params: list[Buffer] = []
        self.made: list[Buffer] = []
        self.kept: list[Buffer] = []
        self.stmts: list[Stmt] = []
        self.blocks = 0

    def buffer(self, name: str, shape: Sequence[int], dtype: str) -> Buffer:
        """A buffer of the program."""
        return Buffer(name, tuple(const(n, self.index) for n in shape), dtype)

    def param(self, shape: Sequence[int], dtype: str) -> Buffer:
        """One more input."""
        buffer = self.buffer("ABCDEFGHPQRSUVWX"[len(self.params)], shape, dtype)
        self.params.append(buffer)
        return buffer

    def new(self, shape: Sequence[int], dtype: str) -> Buffer:
        """A buffer that the next block makes."""
        buffer = self.buffer(f"T{len(self.made)}", shape, dtype)
        self.made.append(buffer)
        return buffer

    def block(
        self,
        shape: Sequence[int],
        body: Body,
        dtype: str,
        *,
        reduce: Sequence[int] = (),
        combine: Callable[[Expr, Expr], Expr] | None = None,
        start: Any = 0,
        into: Buffer | None = None,
        at: Callable[[Sequence[Var]], Sequence[Expr]] = tuple,
        plain: bool = False,
    ) -> Buffer:
        """A nest over ``shape`` that computes a new buffer, or elements ``at`` of ``into``, reducing over ``reduce``:
        with an init where ``start`` is not None. ``plain``: one loop per iterator, whatever the styles.
        """
        out = self.new(shape, dtype) if into is None else into

        def stored(spatial: Sequence[Var], reduced: Sequence[Var]) -> tuple[Stmt | None, Stmt]:
            index, value = tuple(at(spatial)), body(spatial, reduced)
            if combine is None:
                return None, BufferStore(out, value, index)
            init = None if start is None else BufferStore(out, as_expr(start, out.type), index)
            return init, BufferStore(out, combine(out[index], value), index)

        self.nest(shape, reduce, stored, plain=plain)
        return out

    def nest(
        self,
        shape: Sequence[int],
        reduce: Sequence[int],
        stored: Callable[[Sequence[Var], Sequence[Var]], tuple[Stmt | None, Stmt]],
        *,
        plain: bool = False,
    ) -> None:
        """A nest with a block whose init and body are ``stored`` for its iterators."""
        name = f"T{self.blocks}"
        self.blocks += 1
        extents = [*shape, *reduce]
        loops = [Var(n, self.index) for n in "ijklmn"[: len(extents)]]
        iters = [Var(f"v{loop.name}", self.index) for loop in loops]
        kinds = ["spatial"] * len(shape) + ["reduce"] * len(reduce)
        domains = [Range(self._number(0), self._number(n)) for n in extents]
        items = [IterVar(v, d, kind) for v, d, kind in zip(iters, domains, kinds, strict=True)]
        init, stmt = stored(iters[: len(shape)], iters[len(shape) :])
        reads, writes = access_regions(stmt, init, dict(zip(iters, extents, strict=True)))
        block = make_block(name, stmt, iter_vars=items, reads=reads, writes=writes, init=init)
        drawn = Nest([(loop, 0, n) for loop, n in zip(loops, extents, strict=True)], [*loops], kinds)
        if self.styles and not plain:
            self.pick(self.styles)(self.pick, drawn)
        result: Stmt = BlockRealize(tuple(drawn.values), tuple(drawn.where), block)
        for loop, low, extent in reversed(drawn.loops):
            result = For(loop, self._number(low), self._number(extent), "serial", result)
        self.stmts.append(result)

    def _number(self, value: int) -> Const:
        return const(value, self.index)

    def together(self, depth: int = 1, late: int = 0) -> None:
        """Put the last two nests under ``depth`` common loops, the second ``late`` iterations of the first later."""
        first, second = self.stmts[-2:]
        self.stmts[-2:] = [self._together(first, second, depth, late)]

    def _together(self, first: Stmt, second: Stmt, depth: int, late: int) -> Stmt:
        if not depth or not isinstance(first, For) or not isinstance(second, For):
            return seq(first, second)
        var, extent = Var(first.loop_var.name, self.index), first.extent
        a = substitute(first.body, {first.loop_var: var})
        b = substitute(second.body, {second.loop_var: var - late if late else var})
        if late:
            a, b = _where(a, var < extent), _where(b, var >= late)
            extent = self._number(int(first.extent) + late)  # type: ignore[call-overload]
        return For(var, first.min, extent, "serial", self._together(a, b, depth - 1, 0))

    def function(self, outputs: Sequence[Buffer]) -> PrimFunc:
        """The program, with ``outputs`` after the inputs and memory for the other buffers that were made."""
        attrs = Attrs({"global_symbol": "main", "tir.noalias": True})
        inner = [buffer for buffer in self.made if buffer not in outputs]
        root = make_block("root", seq(*self.stmts), alloc_buffers=inner)
        return PrimFunc((*self.params, *outputs), BlockRealize((), (), root), attrs)

    def sinks(self) -> list[Buffer]:
        """The buffers that were made and nothing but their own updates reads, and those to be kept."""
        read = {
            region.buffer
            for stmt in self.stmts
            for block in blocks_in(stmt)
            for region in block.reads
            if all(region.buffer is not written.buffer for written in block.writes)
        }
        return [buffer for buffer in self.made if buffer not in read or buffer in self.kept]


def _where(stmt: Stmt, condition: Expr) -> Stmt:
    """The nest, its block under one more condition."""
    if isinstance(stmt, For):
        return For(stmt.loop_var, stmt.min, stmt.extent, stmt.kind, _where(stmt.body, condition))
    assert isinstance(stmt, BlockRealize)
    return BlockRealize(stmt.iter_values, (*stmt.predicate, condition), stmt.block)


def shape_of(buffer: Buffer) -> list[int]:
    """The extents of a buffer of constant shape."""
    return [int(n.value) for n in buffer.shape if isinstance(n, Const)]


@dataclass(frozen=True)
class Stage:
    """A kind of block: what makes it from a buffer, and when it can."""

    name: str
    build: Callable[[Builder, Buffer], Buffer]
    fits: Callable[[Buffer], bool] = lambda source: True


# ---- styles of nests


def plainly(pick: Choose, nest: Nest) -> None:
    """One loop per iterator, in order."""


def permuted(pick: Choose, nest: Nest) -> None:
    """One loop moved outwards."""
    n = pick(range(len(nest.loops)))
    nest.loops.insert(0, nest.loops.pop(n))


def tiled(pick: Choose, nest: Nest) -> None:
    """One loop in two, with a condition where they do not divide."""
    n = pick(range(len(nest.loops)))
    loop, _, extent = nest.loops[n]
    inner = pick([2, 3, 4])
    outer = -(-extent // inner)
    i, j = Var(f"{loop.name}o", loop.type), Var(f"{loop.name}i", loop.type)
    nest.loops[n : n + 1] = [(i, 0, outer), (j, 0, inner)]
    nest.values[n] = i * inner + j
    if outer * inner != extent:
        nest.where.append(i * inner + j < extent)


def fused(pick: Choose, nest: Nest) -> None:
    """Two loops in one, with a quotient and a remainder."""
    pairs = [n for n in range(len(nest.loops) - 1) if nest.kinds[n] == nest.kinds[n + 1]]
    if not pairs:
        return
    n = pick(pairs)
    (first, _, outer), (second, _, inner) = nest.loops[n : n + 2]
    var = Var(f"{first.name}{second.name}", first.type)
    nest.loops[n : n + 2] = [(var, 0, outer * inner)]
    nest.values[n : n + 2] = [var // inner, var % inner]


def turned(pick: Choose, nest: Nest) -> None:
    """One spatial iterator from its end to its start."""
    n = pick(range(len(nest.loops)))
    loop, _, extent = nest.loops[n]
    if nest.kinds[n] == "spatial":
        nest.values[n] = extent - 1 - loop


def shifted(pick: Choose, nest: Nest) -> None:
    """One loop that does not start at 0."""
    n, low = pick(range(len(nest.loops))), pick([1, 2])
    loop, _, extent = nest.loops[n]
    nest.loops[n] = (loop, low, extent)
    nest.values[n] = loop - low


def beyond(pick: Choose, nest: Nest) -> None:
    """One loop with more iterations than the iterator has values."""
    n = pick(range(len(nest.loops)))
    loop, low, extent = nest.loops[n]
    nest.loops[n] = (loop, low, extent + pick([1, 2]))
    nest.where.append(loop < extent)


STYLES: tuple[Style, ...] = (
    plainly, plainly, plainly, plainly, permuted, tiled, fused, turned, shifted, beyond, tiled,
)  # fmt: skip
"""What the nests of varied programs are drawn from, simple ones first."""
