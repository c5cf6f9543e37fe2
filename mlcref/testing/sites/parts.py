"""What sites build programs from."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

from mlcref.arith import access_regions
from mlcref.ir import (
    Attrs, BlockRealize, Buffer, Expr, IterVar, MatchBufferRegion, PrimFunc, Range, Stmt, Var, const, loop,
    make_block, replace,
)  # fmt: skip

Pick = Callable[..., Any]
"""Chooses one of some options, simple ones first."""
DTYPES = ("int32", "float32", "int8", "float64")
ATTRS = Attrs({"global_symbol": "main", "tir.noalias": True})


def buffer(name: str, shape: Sequence[int], dtype: str, strides: Sequence[int] = ()) -> Buffer:
    """A buffer of constant shape, in elements."""
    return Buffer(name, tuple(map(const, shape)), dtype, strides=tuple(map(const, strides)))


def padded(pick: Pick, shape: Sequence[int]) -> list[int]:
    """The strides of an array of that shape in a larger one."""
    sizes = [size + pick([0, 1, 2]) for size in shape]
    return [prod(sizes[axis + 1 :]) for axis in range(len(shape))]


def nested(loops: Sequence[tuple[Var, int]], body: Stmt) -> Stmt:
    """``body`` in loops from 0, given by their variables and extents, outer ones first."""
    for var, extent in reversed(loops):
        body = loop(var, extent, body)
    return body


def flat_program(params: Sequence[Buffer], body: Stmt) -> PrimFunc:
    """A program without blocks."""
    return PrimFunc(tuple(params), body, ATTRS)


def program(params: Sequence[Buffer], body: Stmt, allocated: Sequence[Buffer] = ()) -> PrimFunc:
    """A program of blocks, whose root allocates."""
    return PrimFunc(tuple(params), BlockRealize((), (), make_block("root", body, alloc_buffers=allocated)), ATTRS)


@dataclass(frozen=True)
class Axis:
    """A block iterator to be: from ``low`` on, ``extent`` values, and its kind."""

    low: int
    extent: int
    kind: str = "spatial"


Parts = Callable[[Sequence[Var]], "tuple[Stmt | None, Stmt]"]
"""The init and the body of a block for its iterators."""


def instance(
    name: str,
    axes: Sequence[Axis],
    values: Sequence[Expr],
    parts: Parts,
    *,
    where: Sequence[Expr] = (),
    allocated: Sequence[Buffer] = (),
    matches: Callable[[Sequence[Var]], Sequence[MatchBufferRegion]] = lambda iterators: (),
) -> BlockRealize:
    """A block over ``axes``, which have ``values`` here, under conditions; with what it declares to read and write."""
    iterators = [Var(f"v{n}") for n in range(len(axes))]
    init, body = parts(iterators)
    found = tuple(matches(iterators))
    dom = {var: (axis.low, axis.low + axis.extent - 1) for var, axis in zip(iterators, axes, strict=True)}
    reads, writes = access_regions(body, init, dom, private=allocated, matched=found)
    items = [
        IterVar(var, Range(const(axis.low), const(axis.extent)), axis.kind)
        for var, axis in zip(iterators, axes, strict=True)
    ]
    block = make_block(name, body, iter_vars=items, reads=reads, writes=writes, init=init, alloc_buffers=allocated)
    return BlockRealize(tuple(values), tuple(where), replace(block, match_buffers=found))
