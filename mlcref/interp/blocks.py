"""Block instances: iterator domains, and the epochs that ``T.init`` opens (rules block.domain, block.init,
block.repeat)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from mlcref.ir.expr import Const, Var
from mlcref.ir.stmt import Block, Token

Key = tuple[Token, tuple[int, ...]]
Domains = tuple[tuple[int, int], ...]


class Epoch:
    """The updates since an init: which reduce points were seen. ``read_by`` is who looked at the result meanwhile."""

    __slots__ = ("key", "read_by", "seen")

    def __init__(self, key: Key, size: int) -> None:
        self.key = key
        self.seen = bytearray(size)
        self.read_by: Any = None


class Frame:
    """One instance of a block: the values of its iterators, its parent instance, and the epochs of the blocks inside
    it."""

    __slots__ = ("block", "bound", "epoch", "epochs", "parent", "point", "spatial", "starts", "threaded")

    def __init__(
        self, block: Block | None, parent: Frame | None, point: tuple[int, ...], spatial: tuple[int, ...]
    ) -> None:
        self.block, self.parent, self.point, self.spatial = block, parent, point, spatial
        self.epochs: dict[Key, Epoch] = {}
        self.epoch: Epoch | None = None
        self.starts = False
        self.threaded = False
        """Is this the instance of one thread among several?"""
        self.bound: list[Var] = []
        """Variables that the block's matched buffers gave a value."""


class Iterators:
    """The iterators of a block by position: ``reduced`` and ``others``; ``domains`` when they are constant."""

    __slots__ = ("domains", "others", "reduced", "vars")

    def __init__(self, block: Block) -> None:
        kinds = [it.iter_type for it in block.iter_vars]
        self.vars = tuple(it.var for it in block.iter_vars)
        self.reduced = tuple(i for i, kind in enumerate(kinds) if kind == "reduce")
        self.others = tuple(i for i, kind in enumerate(kinds) if kind != "reduce")
        self.domains: Domains | None = None
        if all(isinstance(it.dom.min, Const) and isinstance(it.dom.extent, Const) for it in block.iter_vars):
            bounds = [(int(it.dom.min.value), int(it.dom.extent.value)) for it in block.iter_vars]  # type: ignore[attr-defined]
            self.domains = tuple((low, low + extent) for low, extent in bounds)

    def at_start(self, point: Sequence[int], domains: Domains) -> bool:
        """Is every reduce iterator at the minimum of its domain?"""
        for i in self.reduced:  # noqa: SIM110  (called per instance; a generator costs twice as much)
            if point[i] != domains[i][0]:
                return False
        return True

    def rank(self, point: Sequence[int], domains: Domains) -> int:
        """The number of the reduce point in row-major order."""
        rank = 0
        for i in self.reduced:
            low, high = domains[i]
            rank = rank * (high - low) + point[i] - low
        return rank

    def reduce_points(self, domains: Domains) -> int:
        """Number of reduce points."""
        return math.prod(domains[i][1] - domains[i][0] for i in self.reduced)
