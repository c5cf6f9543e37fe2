"""Which private buffers live in C variables: those accessed only in fixed, disjoint pieces."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from mlcref import dtype as dt
from mlcref.ir import AllocBuffer, Buffer, BufferLoad, BufferStore, DeclBuffer, Expr, Ramp, constant, walk

MAX_SLOTS = 64
Key = tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True)
class Slot:
    """A piece of a buffer, one element or one vector of ``dtype``, held in the C variable ``name``."""

    name: str
    dtype: str

    @staticmethod
    def key(indices: tuple[Expr, ...]) -> Key | None:
        """First element and number of elements along each dimension; None where they are not fixed."""
        pieces = [_piece(index) for index in indices]
        return None if any(piece is None for piece in pieces) else tuple(p for p in pieces if p is not None)


def _piece(index: Expr) -> tuple[int, int] | None:
    base, lanes = index, 1
    if isinstance(index, Ramp):
        base, lanes = index.base, index.lanes
        if constant(index.stride) != 1:
            return None
    start = constant(base)
    return None if start is None else (start, lanes)


def register_pieces(alloc: AllocBuffer) -> dict[Key, str] | None:
    """The pieces of the allocated buffer that the program uses, each with its data type; None when it must live in
    memory.

    A buffer qualifies when each access is to a fixed piece and no two pieces overlap without being the same.
    """
    pieces: dict[Key, str] = {}
    for node in walk(alloc.body):
        if isinstance(node, DeclBuffer) and node.source is alloc.buffer:
            return None
        if not isinstance(node, (BufferLoad, BufferStore)) or node.buffer is not alloc.buffer:
            continue
        key = Slot.key(node.indices)
        if key is None:
            return None
        pieces[key] = _piece_type(alloc.buffer, key)
        if len(pieces) > MAX_SLOTS:
            return None
    keys = list(pieces)
    clash = any(_overlap(a, b) for i, a in enumerate(keys) for b in keys[:i])
    return None if clash else pieces


def _piece_type(buffer: Buffer, key: Key) -> str:
    return dt.parse(buffer.type).with_lanes(max((lanes for _, lanes in key), default=1))


def _overlap(a: Key, b: Key) -> bool:
    pairs: list[Any] = list(zip(a, b, strict=True))
    return all(x < y + n and y < x + m for (x, m), (y, n) in pairs)
