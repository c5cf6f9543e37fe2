"""Products with a transposed matrix that has few rows on one side: tiles of dot products along the rows of both."""

from __future__ import annotations

from math import prod

from mlcref.autoschedule.contraction import follow, follower_of
from mlcref.autoschedule.machine import Machine
from mlcref.autoschedule.partials import in_parts
from mlcref.autoschedule.structure import Contraction, contraction_of, nest_of
from mlcref.autoschedule.work import Work
from mlcref.dtype import is_float, parse
from mlcref.ir import variables
from mlcref.schedule import BlockRV, LoopRV, find

FEW_ROWS = 16
"""So few rows of a matrix do not pay for packing the other one."""
_FEW_NARROW_ROWS = 4
"""As few of elements that are widened: a packed copy is widened once."""
_LONG = 8
"""Vectors of a row that pay for adding up the lanes of a vector."""
READ = 4
"""An element of a matrix that is used few times, in products of a sum."""
_MOST = 8
"""Rows or columns of a tile."""


def schedule_dots(work: Work, block: BlockRV) -> bool:
    """Tile a sum of products along the last dimension of both factors, where one has few rows; says whether the block
    is one.

    Each element of a tile is a vector of partial sums, of which the lanes are added in the end. Every row of the tile
    is loaded once for all its products, and no operand is packed.
    """
    nest = nest_of(work.func, work.token(block))
    form = None if nest is None else contraction_of(nest)
    if form is None or not _fits(form, work.machine):
        return False
    after = follower_of(work, block, form)
    outer = _tile(work, block, form)
    if after is not None and outer and prod(tile_of(_rows(form), _sizes(form)[1], work.machine)) > 1:
        follow(work, after, outer, None)
    rows, columns, terms = _sizes(form)
    work.share(outer, rows * columns * terms + READ * (rows + columns) * terms)
    work.finish(block)
    return True


def _sizes(form: Contraction) -> tuple[int, int, int]:
    """Rows (times the batch), columns, terms."""
    extents = form.nest.extents
    others = prod(extents[item.var] for item in (*form.rows, *form.batch))
    return others, extents[form.lane.var], extents[form.nest.reduce[0].var]


def few_rows(form: Contraction, most: int) -> int:
    """How many rows are few: ``most``, or less where elements are narrower than the sum."""
    bits = parse(form.nest.store.buffer.type).bits
    narrow = any(parse(load.buffer.type).bits < bits for load in (form.narrow, form.wide))
    return min(most, _FEW_NARROW_ROWS) if narrow else most


def _rows(form: Contraction) -> int:
    return prod(form.nest.extents[item.var] for item in form.rows)


def _fits(form: Contraction, machine: Machine) -> bool:
    """Do terms follow each other in both factors, and are there few rows, or columns, and enough terms?"""
    nest, loads = form.nest, (form.narrow, form.wide)
    if len(nest.reduce) != 1 or len(form.rows) > 1 or form.columns or not is_float(nest.store.buffer.type):
        return False
    if nest.order[-1] is not nest.reduce[0]:
        return False
    term = nest.reduce[0].var
    if not all(load.indices[-1] is term and not any(term in variables(i) for i in load.indices[:-1]) for load in loads):
        return False
    lanes = machine.lanes(nest.store.buffer.type)
    _, columns, terms = _sizes(form)
    if terms < lanes or _rows(form) * columns < 4:
        return False
    return _rows(form) <= few_rows(form, FEW_ROWS) or (columns < lanes and terms >= _LONG * lanes)


def tile_of(rows: int, columns: int, machine: Machine) -> tuple[int, int]:
    """Rows and columns of a tile of dot products: as few loads for each product as registers allow, in tiles that
    leave nothing over where there are such. All rows where these are few, since the columns come from memory.

    >>> tile_of(1, 1024, Machine()), tile_of(3, 1024, Machine()), tile_of(64, 10, Machine())
    ((1, 8), (3, 4), (4, 5))
    """
    most = max(machine.registers * 5 // 8, 1)
    heights = [rows] if rows <= min(_MOST, most) else [n for n in range(1, _MOST + 1) if rows % n == 0 or n == 4]
    sizes = [(n, m) for n in heights for m in range(1, _MOST + 1) if n * m <= most and m <= columns]

    def score(size: tuple[int, int]) -> float:
        n, m = size
        used = rows * columns / (-(-rows // n) * n * (-(-columns // m) * m))
        return used * n * m / (n + m) if used == 1 else used * n * m / (n + m) / 2

    return max(sizes, key=score)


def _tile(work: Work, block: BlockRV, form: Contraction) -> list[LoopRV]:
    """Split, take apart and order the loops; those around the tiles."""
    sch, nest = work.sch, form.nest
    rows, (_, columns, _) = _rows(form), _sizes(form)
    height, width = tile_of(rows, columns, work.machine)
    loops = dict(zip([item.var for item in nest.order], sch.get_loops(block), strict=True))
    parts = in_parts(work, block, loops[nest.reduce[0].var], 1)
    batch = [loops[item.var] for item in form.batch]
    down, row_in = work.split(loops[form.rows[0].var], None, height) if form.rows else ([], [])
    across, column_in = work.split(loops[form.lane.var], None, width)
    outer = [*batch, *(across + down if rows <= FEW_ROWS else down + across)]
    inner = [*row_in, *column_in]
    sch.reorder(*outer, *inner, sch.get_loops(block)[-1])
    for part in reversed(parts if outer else []):
        sch.compute_at(part, outer[-1])
    for number, part in enumerate(parts):
        _as_vectors(work, part, len(outer), number == 0)
    work.finish(*parts)
    return outer


def _as_vectors(work: Work, part: BlockRV, outer: int, is_first: bool) -> None:
    """Vectorize partial sums below ``outer`` loops, the elements of a tile one after the other: in each step of the
    sum for the first ones."""
    realize = find.block_of(work.func, work.token(part))
    items, values = realize.block.iter_vars, realize.iter_values
    own = work.sch.get_loops(part)[outer:]
    (lane,) = [loop for loop in own if work.variable(loop) is values[0]]
    reduced = [value for item, value in zip(items, values, strict=True) if item.iter_type == "reduce"]
    summed = {var for value in reduced for var in variables(value)}
    terms = [loop for loop in own if work.variable(loop) in summed]
    elements = [loop for loop in own if loop is not lane and loop not in terms]
    work.sch.reorder(*(terms + elements if is_first else elements + terms), lane)
    for loop in elements if is_first else terms:
        work.sch.unroll(loop)
    work.tries("vectorize", lane)
