"""Blocks whose elements are neighbours in one order where they are read, and in another where they are stored."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

from mlcref.autoschedule.elementwise import COST
from mlcref.autoschedule.structure import Nest, nest_of, own_loops
from mlcref.autoschedule.work import Work
from mlcref.ir import Expr, IterVar, loads, variables
from mlcref.schedule import BlockRV, LoopRV, find

SIZES = (16, 8, 4)
"""Rows and columns of a tile; that many vectors are exchanged in registers."""
_TILES = 4
"""Tiles of a row of a square of tiles: what is read of a line of one side is near what is read next."""


def schedule_transposed(work: Work, block: BlockRV) -> bool:
    """Copy square tiles where a block exchanges dimensions; says whether it does."""
    nest = nest_of(work.func, work.token(block))
    pair = None if nest is None else exchanged(nest)
    if nest is None or pair is None:
        return False
    loops = dict(zip([item.var for item in nest.order], work.sch.get_loops(block), strict=True))
    down, across = (loops.pop(item.var) for item in pair)
    outer = in_tiles(work, block, list(loops.values()), down, across)
    work.share(outer, COST * prod(nest.extents.values()))
    work.finish(block)
    return True


def exchanged(nest: Nest) -> tuple[IterVar, IterVar] | None:
    """The iterator along which the elements that are read are neighbours, and the one along which those are that are
    stored, where these are two."""
    across = _at_end(nest.store.indices, nest)
    if nest.reduce or across is None:
        return None
    for load in loads(nest.store.value):
        down = _at_end(load.indices, nest)
        if down is None or down is across or min(nest.extents[down.var], nest.extents[across.var]) == 1:
            continue
        if any(i is down.var for i in nest.store.indices) and any(i is across.var for i in load.indices):
            return down, across
    return None


def _tiles(work: Work, loop: LoopRV, size: int) -> int:
    """How many tiles are together: a divisor of all."""
    count = -(-work.extent(loop) // size)
    return max(n for n in range(1, _TILES + 1) if count % n == 0 or n == 1)


def moved_in_tiles(work: Work, block: BlockRV, pair: tuple[IterVar, IterVar]) -> None:
    """As :func:`in_tiles`, for a block that was moved under other loops. ``pair`` are two of its iterators, as
    :func:`exchanged` found them."""
    realize = find.block_of(work.func, work.token(block))
    loops = work.sch.get_loops(block)
    loops = loops[len(loops) - len(own_loops(work.func, realize)) :]
    values = dict(zip([item.var for item in realize.block.iter_vars], realize.iter_values, strict=True))
    own = [[loop for loop in loops if work.variable(loop) in variables(values[item.var])][-1:] for item in pair]
    if not all(own) or own[0] == own[1]:
        return
    (down,), (across,) = own
    first = min(loops.index(down), loops.index(across))
    in_tiles(work, block, [loop for loop in loops[first:] if loop not in (down, across)], down, across)


def _at_end(indices: Sequence[Expr], nest: Nest) -> IterVar | None:
    """The iterator that is the last index."""
    return next((item for item in nest.spatial if indices and item.var is indices[-1]), None)


def in_tiles(work: Work, block: BlockRV, outer: list[LoopRV], down: LoopRV, across: LoopRV) -> list[LoopRV]:
    """Order the loops of a block by tiles below ``outer``, lanes along ``across``; the loops around the tiles."""
    lanes = work.machine.lanes(work.block(block).writes[0].buffer.type)
    sizes = [size for size in SIZES if size <= lanes] or [1]
    even = [size for size in sizes if work.extent(down) % size == 0 and work.extent(across) % size == 0]
    size = (even or sizes)[0]
    rows, row_tiles, row = work.split(down, None, _tiles(work, down, size), size)
    columns, column_tiles, column = work.split(across, None, _tiles(work, across, size), size)
    work.sch.reorder(*outer, *rows, *columns, *row_tiles, *column_tiles, *row, *column)
    for loop in column:
        work.tries("vectorize", loop)
    return [*outer, *rows, *columns]
