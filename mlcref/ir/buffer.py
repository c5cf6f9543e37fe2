"""Buffers: tensors in memory, and the expressions that read them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mlcref import dtype as dt
from mlcref.errors import TypeMismatch
from mlcref.ir.base import Node, node, plain
from mlcref.ir.expr import Expr, ExprLike, Var, as_expr


@node
class Range(Node):
    """The integers from ``min`` on, ``extent`` of them."""

    min: Expr
    extent: Expr


@node
class Buffer(Node):
    """A tensor in memory: what an index means and where it lives. Identity is the object; aliases share ``data``.

    ``shape`` counts elements per dimension, ``strides`` (empty: row-major) elements between neighbours, ``elem_offset``
    elements before the first. ``offset_factor`` promises that the offset is a multiple of it; 0 says nothing about the
    offset. ``scope`` is "global", "shared", "local" or a scope with a suffix such as
    "global.accumulator".
    """

    name: str = plain(structural=False)
    shape: tuple[Expr, ...]
    type: str = "float32"
    scope: str = "global"
    strides: tuple[Expr, ...] = ()
    elem_offset: Expr | None = None
    data: Var | None = None
    align: int = 64
    offset_factor: int = 0

    @property
    def dtype(self) -> str:
        """Data type of an element."""
        return self.type

    @property
    def ndim(self) -> int:
        """Number of dimensions."""
        return len(self.shape)

    def __getitem__(self, indices: Any) -> Expr:
        indices = indices if isinstance(indices, tuple) else (indices,)
        return load(self, indices)

    def __repr__(self) -> str:
        return self.name


@node
class BufferLoad(Expr):
    """The element (or, where the last index is a vector, the elements) of ``buffer`` at ``indices``."""

    buffer: Buffer
    indices: tuple[Expr, ...]

    @property
    def dtype(self) -> str:
        count = 1 if not self.indices else max(dt.lanes(index.dtype) for index in self.indices)
        return self.buffer.type if count == 1 else dt.parse(self.buffer.type).with_lanes(count)


def load(buffer: Buffer, indices: Sequence[ExprLike]) -> BufferLoad:
    """``buffer[indices]``; raises ``TypeMismatch`` when the number of indices is not the buffer's rank."""
    if len(indices) != len(buffer.shape):
        raise TypeMismatch(f"{buffer.name} has {len(buffer.shape)} dimensions but is indexed with {len(indices)}")
    return BufferLoad(buffer, tuple(as_expr(index) for index in indices))
