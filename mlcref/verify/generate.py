"""Small valid programs, drawn by ``pick(options)``: what property tests transform, lower and compile.

Programs are chains of one to four blocks over small buffers: elementwise, broadcast, transpose, stencil, sum, max,
matrix product and, where asked for, gather, pad, reshape, conversion and intrinsics, with non-divisible extents, of
floats or integers. Every element of the output is written; every access is in bounds, whatever the inputs hold.

Options are ordered from simple to complex, so that a ``pick`` that minimises finds the simple program.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from mlcref import dtype as dt
from mlcref.arith import access_regions
from mlcref.ir import (
    And,
    Attrs,
    BlockRealize,
    Buffer,
    BufferStore,
    Const,
    Expr,
    FloorDiv,
    FloorMod,
    For,
    IterVar,
    Max,
    Min,
    PrimFunc,
    Range,
    Stmt,
    Var,
    as_expr,
    binary,
    call,
    cast,
    const,
    make_block,
    seq,
)

Choose = Callable[[Sequence[Any]], Any]
Body = Callable[[Sequence[Var], Sequence[Var]], Expr]
EXTENTS = (2, 3, 4, 6, 8)
DTYPES = ("float32", "int32")
ALL_DTYPES = ("float32", "int32", "float64", "float16", "bfloat16", "int8", "int16", "int64", "uint8", "uint32")
_WIDER = {
    "float16": "float32", "bfloat16": "float32", "float32": "float64", "int8": "int32", "uint8": "int16",
    "int16": "float32", "int32": "int8", "int64": "int32", "uint32": "int64", "float64": "float32",
}  # fmt: skip
"""The conversions drawn: all have a meaning for every value (a float becomes no integer)."""


class _Builder:
    def __init__(self, pick: Choose, dtypes: Sequence[str], extents: Sequence[int]) -> None:
        self.pick = pick
        self.extents = extents
        self.dtype: str = pick(list(dtypes))
        self.params: list[Buffer] = []
        self.made: list[Buffer] = []
        self.stmts: list[Stmt] = []

    def param(self, shape: Sequence[int], dtype: str) -> Buffer:
        buffer = _buffer("ABCDEFGHPQRSUVWX"[len(self.params)], shape, dtype)
        self.params.append(buffer)
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
    ) -> Buffer:
        """A nest that computes a new buffer of ``shape``, reducing over ``reduce``."""
        name = f"T{len(self.made)}"
        out = _buffer(name, shape, dtype)
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
            init = BufferStore(out, as_expr(start, dtype), index)
        stmt: Stmt = BufferStore(out, value, index)
        reads, writes = access_regions(stmt, init, dict(zip(iters, extents, strict=True)))
        block = make_block(name, stmt, iter_vars=items, reads=reads, writes=writes, init=init)
        nest: Stmt = BlockRealize(tuple(loops), (), block)
        for loop, extent in reversed(list(zip(loops, extents, strict=True))):
            nest = For(loop, const(0), const(extent), "serial", nest)
        self.stmts.append(nest)
        self.made.append(out)
        return out


def _buffer(name: str, shape: Sequence[int], dtype: str) -> Buffer:
    return Buffer(name, tuple(const(n) for n in shape), dtype)


def _shape(buffer: Buffer) -> list[int]:
    return [int(n.value) for n in buffer.shape if isinstance(n, Const)]


def _elementwise(b: _Builder, source: Buffer) -> Buffer:
    factor = const(b.pick([1, 2, 3]), source.type)
    choice = b.pick(["scale", "shift", "relu"])

    def body(v: Sequence[Var], _: Sequence[Var]) -> Expr:
        x = source[tuple(v)]
        if choice == "scale":
            return x * factor
        return x + factor if choice == "shift" else Max(x, const(0, source.type))

    return b.block(_shape(source), body, source.type)


def _transpose(b: _Builder, source: Buffer) -> Buffer:
    return b.block(_shape(source)[::-1], lambda v, _: source[tuple(reversed(v))], source.type)


def _combine(b: _Builder, source: Buffer) -> Buffer:
    """With another buffer of the same shape, or a row that is broadcast."""
    shape = _shape(source)
    known = [x for x in (*b.made, *b.params) if x is not source and x.type == source.type]
    others = [x for x in known if _shape(x) == shape]
    if others:
        other = b.pick(others)
        return b.block(shape, lambda v, _: source[tuple(v)] + other[tuple(v)], source.type)
    row = b.param(shape[-1:], source.type)
    return b.block(shape, lambda v, _: source[tuple(v)] + row[v[-1]], source.type)


def _stencil(b: _Builder, source: Buffer) -> Buffer:
    shape = _shape(source)
    if b.pick([False, True]) and shape[0] > 1:
        smaller = [shape[0] - 1, *shape[1:]]
        return b.block(smaller, lambda v, _: source[tuple(v)] + source[(v[0] + 1, *v[1:])], source.type)

    def padded(v: Sequence[Var], _: Sequence[Var]) -> Expr:
        left = call("if_then_else", v[0] > 0, source[(v[0] - 1, *v[1:])], const(0, source.type))
        return source[tuple(v)] + left

    return b.block(shape, padded, source.type)


def _reduce(b: _Builder, source: Buffer) -> Buffer:
    shape = _shape(source)

    def element(v: Sequence[Var], k: Sequence[Var]) -> Expr:
        return source[(*v, *k)]

    if b.pick([False, True]):
        return b.block(shape[:-1], element, source.type, reduce=shape[-1:], combine=lambda a, x: a + x)
    low = -1000 if dt.is_float(source.type) else max(-1000, dt.integer_range(source.type)[0])
    return b.block(
        shape[:-1], element, source.type, reduce=shape[-1:], combine=lambda a, x: binary(Max, a, x), start=low
    )


def _matmul(b: _Builder, source: Buffer) -> Buffer:
    shape = _shape(source)
    columns = b.pick(b.extents)
    weight = b.param([shape[-1], columns], source.type)
    return b.block(
        [*shape[:-1], columns],
        lambda v, k: source[(*v[:-1], k[0])] * weight[k[0], v[-1]],
        source.type,
        reduce=shape[-1:],
        combine=lambda a, x: a + x,
    )


def _gather(b: _Builder, source: Buffer) -> Buffer:
    """Rows in an order that the inputs decide; any input is brought into bounds."""
    shape, rows = _shape(source), b.pick(b.extents)
    order = b.param([rows], "int32")
    last = const(shape[0] - 1)
    clamped = b.pick([True, False])

    def body(v: Sequence[Var], _: Sequence[Var]) -> Expr:
        row = order[v[0]]
        inside = Min(Max(row, const(0)), last) if clamped else FloorMod(row, const(shape[0]))
        return source[(inside, *v[1:])]

    return b.block([rows, *shape[1:]], body, source.type)


def _pad(b: _Builder, source: Buffer) -> Buffer:
    """With a border of a constant around the first dimension."""
    shape, border = _shape(source), const(b.pick([0, 1]), source.type)
    before, after = b.pick([0, 1, 2]), b.pick([1, 2])

    def body(v: Sequence[Var], _: Sequence[Var]) -> Expr:
        inside = And(v[0] >= before, v[0] < shape[0] + before)
        return call("if_then_else", inside, source[(v[0] - before, *v[1:])], border)

    return b.block([shape[0] + before + after, *shape[1:]], body, source.type)


def _flatten(b: _Builder, source: Buffer) -> Buffer:
    rows, columns = _shape(source)

    def body(v: Sequence[Var], _: Sequence[Var]) -> Expr:
        return source[FloorDiv(v[0], const(columns)), FloorMod(v[0], const(columns))]

    return b.block([rows * columns], body, source.type)


def _convert(b: _Builder, source: Buffer) -> Buffer:
    target = _WIDER[source.type]
    return b.block(_shape(source), lambda v, _: cast(target, source[tuple(v)]), target)


def _activate(b: _Builder, source: Buffer) -> Buffer:
    name = b.pick(["sqrt", "tanh", "exp"])

    def body(v: Sequence[Var], _: Sequence[Var]) -> Expr:
        x = source[tuple(v)]
        if name == "tanh":
            return call(name, x)
        bounded = Max(x, const(0, source.type)) if name == "sqrt" else Min(x, const(4, source.type))
        return call(name, bounded)

    return b.block(_shape(source), body, source.type)


@dataclass(frozen=True)
class Stage:
    """A kind of block: what makes it from the buffer before, and when it can."""

    name: str
    build: Callable[[_Builder, Buffer], Buffer]
    fits: Callable[[Buffer], bool] = lambda source: True


def _has_columns(source: Buffer) -> bool:
    return len(source.shape) > 1


STAGES = (
    Stage("elementwise", _elementwise),
    Stage("transpose", _transpose),
    Stage("combine", _combine),
    Stage("stencil", _stencil),
    Stage("reduce", _reduce, _has_columns),
    Stage("matmul", _matmul, _has_columns),
)
ALL_STAGES = (  # those that always fit come first: their numbers stay when the shape before them shrinks
    *STAGES[:4],
    Stage("pad", _pad),
    Stage("gather", _gather),
    Stage("convert", _convert),
    *STAGES[4:],
    Stage("flatten", _flatten, lambda source: len(source.shape) == 2),
    Stage("activate", _activate, lambda source: dt.is_float(source.type)),
)


def program(
    pick: Choose,
    max_blocks: int = 4,
    *,
    dtypes: Sequence[str] = DTYPES,
    stages: Sequence[Stage] = STAGES,
    extents: Sequence[int] = EXTENTS,
) -> PrimFunc:
    """A valid schedulable program of at most ``max_blocks`` blocks, its output the last parameter.

    ``stages`` are the kinds of blocks, ``dtypes`` the types of the first input, ``extents`` the sizes of inputs.

    >>> from random import Random
    >>> func = program(Random(0).choice)
    >>> func.params[-1] in func.root.alloc_buffers
    False
    """
    b = _Builder(pick, dtypes, extents)
    source = b.param([pick(extents) for _ in range(pick([1, 2, 2]))], b.dtype)
    more = True
    while more:  # asked after each block, so that a search for a smaller program can leave out any of them
        source = pick([stage for stage in stages if stage.fits(source)]).build(b, source)
        more = len(b.made) < max_blocks and pick([False, True, True, True])
    attrs = Attrs({"global_symbol": "main", "tir.noalias": True})
    root = make_block("root", seq(*b.stmts), alloc_buffers=b.made[:-1])
    return PrimFunc((*b.params, source), BlockRealize((), (), root), attrs)
