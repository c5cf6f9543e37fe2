"""``T.match_buffer`` in a block: another name for a region of a buffer. Accesses go to the buffer itself."""

from __future__ import annotations

from mlcref.errors import UnsupportedError
from mlcref.ir import (
    Block, Buffer, BufferLoad, BufferStore, DeclBuffer, Expr, MatchBufferRegion, Node, Stmt, Var, const, constant,
    replace, replace_buffers, rewrite, substitute, walk,
)  # fmt: skip
from mlcref.lower.pointers import pointed


def resolve_match_buffers(block: Block, body: Stmt) -> Stmt:
    """``body`` of ``block`` with accesses of its matched buffers redirected, and their stride and offset variables
    replaced. A matched buffer with pointers to it, or with views of its own, becomes a view.
    """
    for match in reversed(block.match_buffers):
        views = {node.source for node in walk(body) if isinstance(node, DeclBuffer)}
        is_memory = match.buffer in pointed(body) or match.buffer in views
        body = substitute(_declared(match, body) if is_memory else _redirect(match, body), _layout_values(match))
    return body


def _declared(match: MatchBufferRegion, body: Stmt) -> Stmt:
    """``body`` with the matched buffer as a view of the region."""
    buffer, source, region = match.buffer, match.source.buffer, match.source.region
    strides = row_major_strides(source)
    _source_indices(match, tuple([r.min for r in region[len(region) - len(buffer.shape) :]]))  # refuses other ranks
    terms = [r.min * stride for r, stride in zip(region, strides, strict=True)]
    offset = sum(terms[1:], terms[0]) if terms else const(0)
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


def _layout_values(match: MatchBufferRegion) -> dict[Var, Expr]:
    """The values of variables that stand for the strides and the offset of the matched buffer."""
    source, region = match.source.buffer, match.source.region
    strides = row_major_strides(source)
    values: dict[Var, Expr] = {}
    for var, stride in zip(match.buffer.strides, strides[len(strides) - len(match.buffer.strides) :], strict=True):
        if isinstance(var, Var):
            values[var] = stride
    offset = match.buffer.elem_offset
    if isinstance(offset, Var):
        terms = [r.min * stride for r, stride in zip(region, strides, strict=True)]
        values[offset] = sum(terms[1:], terms[0])
    return values


def row_major_strides(buffer: Buffer) -> tuple[Expr, ...]:
    """Elements between neighbours along each dimension: the buffer's strides, or those of a dense row-major array."""
    if buffer.strides:
        return buffer.strides
    strides: list[Expr] = [const(1, "int32")] * len(buffer.shape)
    for axis in reversed(range(len(buffer.shape) - 1)):
        strides[axis] = buffer.shape[axis + 1] * strides[axis + 1]
    return tuple(strides)
