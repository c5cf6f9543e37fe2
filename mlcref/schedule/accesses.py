"""Rewrites of the accesses of a program that need to know the ranges of the variables in the indices."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from mlcref.arith import simplify
from mlcref.arith.interval import Extent
from mlcref.arith.linear import INDEX_TYPES
from mlcref.ir import (
    BlockRealize, Buffer, BufferLoad, BufferRegion, BufferStore, Expr, For, Range, Var, map_children, replace,
)  # fmt: skip
from mlcref.schedule.find import loop_domain
from mlcref.schedule.nest import iterator_ranges

Ranges = Mapping[Var, Extent]
Points = Callable[[Buffer, Sequence[Expr], Ranges], tuple[Buffer, Sequence[Expr]]]
Regions = Callable[[BufferRegion, Ranges], BufferRegion]


def rewrite_accesses(root: Any, ranges: Ranges, point: Points, region: Regions) -> Any:
    """``root`` with every load and store put through ``point`` and every region through ``region``, together with the
    ranges of the variables there (``ranges`` at ``root``). Parts without accesses stay the same objects."""

    def visit(node: Any, ranges: Ranges) -> Any:
        if isinstance(node, BufferLoad | BufferStore):
            new = map_children(lambda child: visit(child, ranges), node)
            buffer, indices = point(new.buffer, new.indices, ranges)
            return replace(new, buffer=buffer, indices=tuple(indices))
        if isinstance(node, BufferRegion):
            return region(map_children(lambda child: visit(child, ranges), node), ranges)
        if isinstance(node, For):
            inner = {**ranges, **loop_domain(node)}
            return map_children(lambda child: visit(child, inner), node)
        if isinstance(node, BlockRealize):
            inside = {**ranges, **iterator_ranges(node.block.iter_vars)}
            return map_children(lambda child: visit(child, inside if child is node.block else ranges), node)
        return map_children(lambda child: visit(child, ranges), node)

    return visit(root, ranges)


def simplify_accesses(root: Any, ranges: Ranges) -> Any:
    """``root`` with the indices of all accesses simplified."""

    def point(buffer: Buffer, indices: Sequence[Expr], ranges: Ranges) -> tuple[Buffer, Sequence[Expr]]:
        return buffer, [simplified(index, ranges) for index in indices]

    def region(node: BufferRegion, ranges: Ranges) -> BufferRegion:
        return replace(node, region=tuple([Range(simplified(r.min, ranges), r.extent) for r in node.region]))

    return rewrite_accesses(root, ranges, point, region)


def simplified(index: Expr, ranges: Ranges) -> Expr:
    """An index in normal form; vectors stay as they are."""
    return simplify(index, ranges) if index.dtype in INDEX_TYPES else index
