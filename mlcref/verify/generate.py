"""Small valid programs, drawn by ``pick(options)``: what property tests transform, lower and compile.

Programs are chains of one to four blocks over small buffers: elementwise, broadcast, transpose, stencil, sum, max,
matrix product, with non-divisible extents, of floats or integers. Every element of the output is written, every access
is in bounds.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
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
    Max,
    PrimFunc,
    Range,
    Stmt,
    Var,
    as_expr,
    binary,
    call,
    const,
    make_block,
    seq,
)

Choose = Callable[[Sequence[Any]], Any]
EXTENTS = (2, 3, 4, 6, 8)


class _Builder:
    def __init__(self, pick: Choose) -> None:
        self.pick = pick
        self.dtype: str = pick(["float32", "int32"])
        self.params: list[Buffer] = []
        self.made: list[Buffer] = []
        self.stmts: list[Stmt] = []

    def buffer(self, name: str, shape: Sequence[int]) -> Buffer:
        return Buffer(name, tuple(const(n) for n in shape), self.dtype)

    def param(self, shape: Sequence[int]) -> Buffer:
        buffer = self.buffer("ABCDEFGH"[len(self.params)], shape)
        self.params.append(buffer)
        return buffer

    def number(self) -> Expr:
        return const(self.pick([1, 2, 3]), self.dtype)

    def block(
        self,
        shape: Sequence[int],
        reduce: Sequence[int],
        body: Callable[[Sequence[Var], Sequence[Var]], Expr],
        combine: Callable[[Expr, Expr], Expr] | None = None,
        start: Any = 0,
    ) -> Buffer:
        """A nest that computes a new buffer of ``shape``, reducing over ``reduce``."""
        name = f"T{len(self.made)}"
        out = self.buffer(name, shape)
        extents = [*shape, *reduce]
        loops = [Var(n) for n in "ijklmn"[: len(extents)]]
        iters = [Var(f"v{loop.name}") for loop in loops]
        kinds = ["spatial"] * len(shape) + ["reduce"] * len(reduce)
        items = [IterVar(v, Range(const(0), const(n)), kind) for v, n, kind in zip(iters, extents, kinds, strict=True)]
        spatial, reduced = iters[: len(shape)], iters[len(shape) :]
        value = body(spatial, reduced)
        index = tuple(spatial)
        init: Stmt | None = None
        if combine is not None:
            value = combine(out[index], value)
            init = BufferStore(out, as_expr(start, self.dtype), index)
        stmt: Stmt = BufferStore(out, value, index)
        reads, writes = access_regions(stmt, init, dict(zip(iters, extents, strict=True)))
        block = make_block(name, stmt, iter_vars=items, reads=reads, writes=writes, init=init)
        nest: Stmt = BlockRealize(tuple(loops), (), block)
        for loop, extent in reversed(list(zip(loops, extents, strict=True))):
            nest = For(loop, const(0), const(extent), "serial", nest)
        self.stmts.append(nest)
        self.made.append(out)
        return out


def _shape(buffer: Buffer) -> list[int]:
    return [int(n.value) for n in buffer.shape if isinstance(n, Const)]


def _elementwise(b: _Builder, source: Buffer) -> Buffer:
    factor = b.number()
    choice = b.pick(["scale", "shift", "relu"])

    def body(v: Sequence[Var], _: Sequence[Var]) -> Expr:
        x = source[tuple(v)]
        if choice == "scale":
            return x * factor
        return x + factor if choice == "shift" else Max(x, const(0, b.dtype))

    return b.block(_shape(source), [], body)


def _transpose(b: _Builder, source: Buffer) -> Buffer:
    return b.block(_shape(source)[::-1], [], lambda v, _: source[tuple(reversed(v))])


def _combine(b: _Builder, source: Buffer) -> Buffer:
    """With another buffer of the same shape, or a row that is broadcast."""
    shape = _shape(source)
    others = [x for x in (*b.made, *b.params) if x is not source and _shape(x) == shape]
    if others:
        other = b.pick(others)
        return b.block(shape, [], lambda v, _: source[tuple(v)] + other[tuple(v)])
    row = b.param(shape[-1:])
    return b.block(shape, [], lambda v, _: source[tuple(v)] + row[v[-1]])


def _stencil(b: _Builder, source: Buffer) -> Buffer:
    shape = _shape(source)
    if b.pick([False, True]) and shape[0] > 1:
        return b.block([shape[0] - 1, *shape[1:]], [], lambda v, _: source[tuple(v)] + source[(v[0] + 1, *v[1:])])

    def padded(v: Sequence[Var], _: Sequence[Var]) -> Expr:
        left = call("if_then_else", v[0] > 0, source[(v[0] - 1, *v[1:])], const(0, b.dtype))
        return source[tuple(v)] + left

    return b.block(shape, [], padded)


def _reduce(b: _Builder, source: Buffer) -> Buffer:
    shape = _shape(source)
    if b.pick([False, True]):
        return b.block(shape[:-1], shape[-1:], lambda v, k: source[(*v, *k)], lambda a, x: a + x)
    low = -1000
    return b.block(shape[:-1], shape[-1:], lambda v, k: source[(*v, *k)], lambda a, x: binary(Max, a, x), low)


def _matmul(b: _Builder, source: Buffer) -> Buffer:
    shape = _shape(source)
    columns = b.pick(EXTENTS)
    weight = b.param([shape[-1], columns])
    return b.block(
        [*shape[:-1], columns],
        shape[-1:],
        lambda v, k: source[(*v[:-1], k[0])] * weight[k[0], v[-1]],
        lambda a, x: a + x,
    )


STAGES = (_elementwise, _transpose, _combine, _stencil, _reduce, _matmul)


def program(pick: Choose, max_blocks: int = 4) -> PrimFunc:
    """A valid schedulable program of at most ``max_blocks`` blocks, its output the last parameter.

    >>> from random import Random
    >>> func = program(Random(0).choice)
    >>> func.params[-1] in func.root.alloc_buffers
    False
    """
    b = _Builder(pick)
    source = b.param([pick(EXTENTS) for _ in range(pick([1, 2, 2]))])
    for _ in range(pick(range(1, max_blocks + 1))):
        allowed = [s for s in STAGES if len(source.shape) > 1 or s not in (_reduce, _matmul)]
        source = pick(allowed)(b, source)
    attrs = Attrs({"global_symbol": "main", "tir.noalias": True})
    root = make_block("root", seq(*b.stmts), alloc_buffers=b.made[:-1])
    return PrimFunc((*b.params, source), BlockRealize((), (), root), attrs)
