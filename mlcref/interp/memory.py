"""Memory: storage with an undefined state per element, and the views through which buffers see it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from mlcref.ir.buffer import Buffer


class Undefined:
    """The value of an element that was never written. It passes through loads, stores, conversions and arithmetic,
    and remembers where it was first loaded: rule value.undefined."""

    __slots__ = ("buffer", "indices", "node", "place")

    def __init__(self, buffer: Buffer, indices: tuple[int, ...], node: object, place: str) -> None:
        self.buffer, self.indices, self.node, self.place = buffer, indices, node, place

    def __repr__(self) -> str:
        return f"undefined {element(self.buffer, self.indices)}"


class Storage:
    """Elements one after the other. A cell is None until something is written; ``touched`` marks the cells the
    program wrote.

    ``depth`` is the number of forks (parallel loops, phases) that were open at the allocation: iterations of those
    cannot share it. ``writers`` and ``readers`` belong to the race check.
    """

    __slots__ = ("cells", "depth", "readers", "touched", "writers")

    def __init__(self, cells: list[Any], depth: int = 0) -> None:
        self.cells = cells
        self.depth = depth
        self.touched = bytearray(len(cells))
        self.writers: dict[int, Any] = {}
        self.readers: dict[int, Any] = {}


class View:
    """A buffer with memory: element ``(i, j)`` is cell ``offset + i * strides[0] + j * strides[1]`` of ``storage``."""

    __slots__ = ("buffer", "dims", "offset", "shape", "source", "storage", "strides")

    def __init__(
        self,
        buffer: Buffer,
        storage: Storage,
        shape: Sequence[int],
        strides: Sequence[int],
        offset: int = 0,
        source: tuple[View, tuple[int, ...]] | None = None,
    ) -> None:
        self.buffer, self.storage, self.offset = buffer, storage, offset
        self.shape, self.strides = tuple(shape), tuple(strides)
        self.dims = tuple(zip(self.shape, self.strides, strict=True))
        self.source = source
        """For a matched region: the view it was cut from, and where it starts there."""

    def locate(self, indices: Sequence[int]) -> int:
        """The cell of an element; -1 when an index is outside its dimension or the cell outside the storage."""
        position = self.offset
        for index, (extent, stride) in zip(indices, self.dims):  # noqa: B905  (the hottest line of the oracle)
            if not 0 <= index < extent:
                return -1
            position += index * stride
        return position if 0 <= position < len(self.storage.cells) else -1


class PerThread:
    """A ``local`` buffer that was allocated above the threads: one view per thread, made when the thread first uses
    it."""

    __slots__ = ("buffer", "shape", "strides", "views")

    def __init__(self, buffer: Buffer, shape: Sequence[int], strides: Sequence[int]) -> None:
        self.buffer, self.shape, self.strides = buffer, tuple(shape), tuple(strides)
        self.views: dict[tuple[tuple[str, int], ...], View] = {}

    def view(self, thread: tuple[tuple[str, int], ...]) -> View:
        """The view of ``thread``, given by its coordinates."""
        found = self.views.get(thread)
        if found is None:
            storage = Storage([None] * span(self.shape, self.strides))
            found = self.views[thread] = View(self.buffer, storage, self.shape, self.strides)
        return found


def row_major(shape: Sequence[int]) -> tuple[int, ...]:
    """Strides of a dense array, in elements.

    >>> row_major((2, 3, 4))
    (12, 4, 1)
    """
    return tuple(math.prod(shape[axis + 1 :]) for axis in range(len(shape)))


def span(shape: Sequence[int], strides: Sequence[int]) -> int:
    """Number of cells from the first to the last element.

    >>> span((2, 3), (10, 1)), span((2, 0), (0, 1))
    (13, 0)
    """
    if 0 in shape:
        return 0
    return 1 + sum((extent - 1) * stride for extent, stride in zip(shape, strides, strict=True))


def element(buffer: Buffer, indices: Sequence[Any]) -> str:
    """How reports write an element."""
    if not buffer.shape and buffer.name.startswith("T."):
        return buffer.name
    return f"{buffer.name}[{', '.join(map(str, indices))}]"
