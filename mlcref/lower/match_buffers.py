"""``T.match_buffer`` in a block: another name for a region of a buffer. Accesses go to the buffer itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from mlcref.errors import UnsupportedError
from mlcref.ir import (
    Block, Buffer, BufferLoad, BufferStore, DeclBuffer, Expr, MatchBufferRegion, Node, Stmt, Var, const, constant,
    replace, replace_buffers, rewrite, substitute, walk,
)  # fmt: skip
from mlcref.lower.pointers import pointed


@dataclass(frozen=True, slots=True)
class Layout:
    """Where the elements of a buffer lie: ``strides`` between neighbours along each dimension, and the terms of the
    number of elements from the start of the memory to the first.
    """

    strides: tuple[Expr, ...]
    terms: tuple[Expr, ...] = ()


Layouts = Mapping[Buffer, Layout]
"""Of matched buffers; others begin where their memory does."""


def layout_of(buffer: Buffer, known: Layouts) -> Layout:
    """Where the elements of any buffer lie."""
    return known[buffer] if buffer in known else Layout(row_major_strides(buffer))


def matched_layout(match: MatchBufferRegion, known: Layouts) -> Layout:
    """Where the elements of a matched buffer lie, whatever it says of its strides."""
    source, region = layout_of(match.source.buffer, known), match.source.region
    terms = [r.min * stride for r, stride in zip(region, source.strides, strict=True)]
    return Layout(source.strides[len(region) - len(match.buffer.shape) :], (*source.terms, *terms))


def resolve_match_buffers(block: Block, body: Stmt, known: Layouts) -> Stmt:
    """``body`` of ``block`` with accesses of its matched buffers redirected, and their stride and offset variables
    replaced. A matched buffer with pointers to it, or with views of its own, becomes a view. ``known`` has the layouts
    of these and of the matched buffers of the blocks around.
    """
    for match in reversed(block.match_buffers):
        views = {node.source for node in walk(body) if isinstance(node, DeclBuffer)}
        is_memory = match.buffer in pointed(body) or match.buffer in views
        body = _declared(match, body, known) if is_memory else _redirect(match, body)
        body = substitute(body, _layout_values(match, known))
    return body


def _declared(match: MatchBufferRegion, body: Stmt, known: Layouts) -> Stmt:
    """``body`` with the matched buffer as a view of the region."""
    buffer, source, region = match.buffer, match.source.buffer, match.source.region
    strides = layout_of(source, known).strides
    _source_indices(match, tuple([r.min for r in region[len(region) - len(buffer.shape) :]]))  # refuses other ranks
    terms = [r.min * stride for r, stride in zip(region, strides, strict=True)]
    offset = _sum(terms)
    dropped = len(region) - len(buffer.shape)
    shape = tuple([r.extent for r in region[dropped:]])
    view = replace(buffer, strides=strides[dropped:], elem_offset=offset, shape=shape)
    return DeclBuffer(view, source, replace_buffers(body, {buffer: view}))


def _redirect(match: MatchBufferRegion, body: Stmt) -> Stmt:
    def exchange(node: Node) -> Node | None:
        if isinstance(node, BufferLoad | BufferStore) and node.buffer is match.buffer:
            return replace(node, buffer=match.source.buffer, indices=_source_indices(match, node.indices))
        return None

    return rewrite(exchange, body)


def _source_indices(match: MatchBufferRegion, indices: tuple[Expr, ...]) -> tuple[Expr, ...]:
    region = match.source.region
    dropped = len(region) - len(indices)
    if dropped < 0 or any(constant(r.extent) != 1 for r in region[:dropped]):
        raise UnsupportedError(
            f"{match.buffer.name} matches a region of another rank",
            rule="lower.match_buffer", root=match, marks=[(match, "here")],
            hint="only leading dimensions of extent 1 may be dropped",
        )  # fmt: skip
    inner = [r.min + index for r, index in zip(region[dropped:], indices, strict=True)]
    return (*(r.min for r in region[:dropped]), *inner)


def _layout_values(match: MatchBufferRegion, known: Layouts) -> dict[Var, Expr]:
    """The values of variables that stand for the strides and the offset of the matched buffer."""
    strides = layout_of(match.source.buffer, known).strides
    values: dict[Var, Expr] = {}
    for var, stride in zip(match.buffer.strides, strides[len(strides) - len(match.buffer.strides) :], strict=True):
        if isinstance(var, Var):
            values[var] = stride
    if isinstance(match.buffer.elem_offset, Var):
        values[match.buffer.elem_offset] = _sum(known[match.buffer].terms)
    return values


def _sum(terms: Sequence[Expr]) -> Expr:
    return sum(terms[1:], terms[0]) if terms else const(0)


def row_major_strides(buffer: Buffer) -> tuple[Expr, ...]:
    """Elements between neighbours along each dimension: the buffer's strides, or those of a dense row-major array."""
    if buffer.strides:
        return buffer.strides
    strides: list[Expr] = [const(1, "int32")] * len(buffer.shape)
    for axis in reversed(range(len(buffer.shape) - 1)):
        strides[axis] = buffer.shape[axis + 1] * strides[axis + 1]
    return tuple(strides)
