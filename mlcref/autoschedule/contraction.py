"""Sums of products (matrix products, convolutions): register tiles over a packed operand."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

from mlcref.autoschedule.lanes import vectorize_last
from mlcref.autoschedule.structure import Contraction, contraction_of, nest_of, takes_pairs
from mlcref.autoschedule.tiles import Tile, panels_at_once, reduced_at_once, register_tile, rounded_up
from mlcref.autoschedule.transposes import exchanged, in_tiles, moved_in_tiles
from mlcref.autoschedule.work import Work
from mlcref.dtype import parse
from mlcref.ir import Expr, IterVar, Var, loads
from mlcref.schedule import BlockRV, LoopRV, find

_FEW_ROWS = 4
"""So few rows do not pay for packing."""
BATCH, PANELS, ROWS, STRIPS = "batch", "panels", "rows", "strips"
"""What is shared among threads: the batch, the panels of lanes, the outer rows, the strips of a row."""


def schedule_contraction(work: Work, block: BlockRV, *, exact: bool = False) -> bool:
    """Tile a sum of products; says whether the block is one. With ``exact``, lanes are padded
    to whole vectors only, not to whole tiles.

    The trace is that of a blocked matrix product: the operand that holds the lanes is copied into panels of the tile's
    width, whose rows lie one after the other; a tile of the output stays in registers while the sum runs.
    Source: Goto and van de Geijn, "Anatomy of high-performance matrix multiplication" (2008).
    """
    nest = nest_of(work.func, work.token(block))
    form = None if nest is None else contraction_of(nest)
    if form is None or not form.rows:
        return False
    plan = planned(work, form, exact)
    if plan.is_padded and form.narrow.buffer is form.wide.buffer:
        return False  # a product of a matrix with itself: padding would have to be that of rows and of columns at once
    after = follower_of(work, block, form)
    pack, cut = _pad(work, block, plan)
    if after is not None and cut is not None and not work.tries("compute_inline", cut):
        after = None
    if plan.converts:
        _copy(work, block, form)
    _tile(work, block, plan, pack, after or cut)
    return True


def _copy(work: Work, block: BlockRV, form: Contraction) -> None:
    """The operand without lanes in memory of its own, unless padding has put it there."""
    reads = [region.buffer for region in work.block(block).reads]
    if form.narrow.buffer in reads:
        copy = work.sch.cache_read(block, reads.index(form.narrow.buffer), "global", [block])
        vectorize_last(work, copy)
        work.finish(copy)


def follower_of(work: Work, block: BlockRV, form: Contraction) -> BlockRV | None:
    """The one block that uses the result, element by element: it takes over each tile while that is in the cache."""
    out = form.nest.store.buffer
    readers = find.consumers(work.func, form.nest.realize)
    if out in work.func.buffers or len(readers) != 1:
        return None
    nest = nest_of(work.func, readers[0].block.token)
    if nest is None or nest.reduce or len(nest.order) != len(out.shape):
        return None
    wanted = [item.var for item in nest.order]
    for load in loads(nest.store.value):
        if load.buffer is out and not all(any(i is v for i in load.indices) for v in wanted):
            return None
    (follower,) = work.sch.get_consumers(block)
    return follower


@dataclass(frozen=True, slots=True)
class Plan:
    """Sizes: the register ``tile``, ``reduced`` terms at a time, ``slab`` panels at a time, extents after padding,
    of the lanes to a multiple of ``unit``; ``shared`` is what ``threads`` share, None for one thread; ``pairs`` is 2
    where two terms are taken at once."""

    form: Contraction
    tile: Tile
    reduced: int | None
    slab: int
    packed: bool
    extents: dict[Var, int]
    shared: str | None
    threads: int
    pairs: int
    unit: int

    @property
    def row(self) -> IterVar:
        """The iterator over the rows of the tile."""
        return self.form.rows[-1]

    @property
    def parts(self) -> int:
        """In how many parts the sum is taken."""
        return 1 if self.reduced is None else self.extents[self.form.nest.reduce[0].var] // self.reduced

    @property
    def converts(self) -> bool:
        """Does a copy of the operand without lanes save conversions? Lowering keeps such copies converted."""
        return self.packed and parse(self.form.narrow.buffer.type).bits < parse(self.form.nest.store.buffer.type).bits

    @property
    def is_padded(self) -> bool:
        """Do tiles reach over the ends?"""
        return self.extents != self.form.nest.extents


def planned(work: Work, form: Contraction, exact: bool = False) -> Plan:
    """The sizes for a sum of products on the machine."""
    machine, extents = work.machine, dict(form.nest.extents)
    row, lane, reduce = form.rows[-1].var, form.lane.var, form.nest.reduce
    rows = prod(extents[item.var] for item in form.rows)
    packed = rows > _FEW_ROWS and all(isinstance(index, Var) for index in form.wide.indices)
    dtype = form.nest.store.buffer.type
    tile = register_tile(extents[row], extents[lane], machine.lanes(dtype), machine, exact)
    unit = machine.lanes(dtype) if exact else tile.columns
    packed = packed and not (exact and extents[lane] <= tile.columns and extents[lane] % unit == 0)
    terms = prod(extents[item.var] for item in reduce)
    reduced = reduced_at_once(terms, machine) if len(reduce) == 1 and packed else None
    threads = machine.threads if prod(extents.values()) >= machine.parallel_work else 1
    if packed:
        extents[lane] = rounded_up(extents[lane], unit)
    is_even = len(reduce) == 1 or extents[reduce[-1].var] % 2 == 0
    pairs = 2 if packed and not exact and is_even and takes_pairs(form) else 1
    if reduced is not None:
        reduced = rounded_up(reduced, pairs)
        extents[reduce[0].var] = rounded_up(terms, reduced)
    panels = -(-extents[lane] // tile.columns)
    panel_bytes = (reduced or terms) * tile.columns * _packed_bits(form) // 8
    fits = panels * panel_bytes <= machine.l2_bytes
    shared = _shared(form, extents, panels, fits, threads, -(-extents[row] // tile.rows), packed and not exact)
    if shared == PANELS:
        panels = rounded_up(panels, threads)
        if packed and not exact:
            unit = threads * tile.columns
            extents[lane] = panels * tile.columns
    own = panels // threads if shared == PANELS else panels
    slab = 1 if packed and exact else panels_at_once(own, panel_bytes, machine) if packed else own
    return Plan(form, tile, reduced, slab, packed, extents, shared, threads, pairs, unit)


def _packed_bits(form: Contraction) -> int:
    """Bits of an element of the packed operand: lowering keeps floats as they are summed, integers of 8 bits as 16."""
    given, summed = parse(form.wide.buffer.type), parse(form.nest.store.buffer.type)
    return max(given.bits, min(summed.bits, 32 if given.is_float else 16))


def _shared(
    form: Contraction, extents: dict[Var, int], panels: int, fits: bool, threads: int, strips: int, padded: bool
) -> str | None:
    """What the threads share: whole problems, rows over a packed operand that all can hold, panels, strips: panels
    where they are a multiple of the threads, or come closer to one than strips do and may be ``padded``."""
    if threads == 1:
        return None
    if prod(extents[item.var] for item in form.batch) >= threads:
        return BATCH
    if fits and prod(extents[item.var] for item in form.rows[:-1]) >= 2 * threads:
        return ROWS
    idle_panels, idle_strips = (1 - n / rounded_up(n, threads) for n in (panels, strips))
    return PANELS if idle_panels == 0 or (padded and idle_panels < idle_strips) else STRIPS


def _pad(work: Work, block: BlockRV, plan: Plan) -> tuple[BlockRV | None, BlockRV | None]:
    """Round extents up: the block that fills the operand with the lanes, and the one that cuts out the result."""
    if not plan.is_padded:
        return None, None
    form, sch = plan.form, work.sch
    units = {form.lane.var: plan.unit}
    if plan.reduced is not None:
        units[form.nest.reduce[0].var] = plan.reduced
    sch.pad_einsum(block, [units.get(item.var, 1) for item in form.nest.realize.block.iter_vars])
    pack = None
    for copy in sch.get_producers(block):
        read = work.block(copy).reads[0].buffer if work.block(copy).reads else None
        if read is form.wide.buffer and plan.packed:
            pack = copy
        elif read is form.narrow.buffer and plan.converts:
            vectorize_last(work, copy)
            work.finish(copy)
        elif read in (form.narrow.buffer, form.wide.buffer) and work.block(copy).name.endswith("_pad"):
            sch.compute_inline(copy)
    if work.block(block).writes[0].buffer is form.nest.store.buffer:
        return pack, None
    (cut,) = sch.get_consumers(block)
    return pack, cut


def _tile(work: Work, block: BlockRV, plan: Plan, pack: BlockRV | None, cut: BlockRV | None) -> None:
    """Split and order the loops, fill the panels where they are used, vectorize."""
    sch, form = work.sch, plan.form
    loops = dict(zip([item.var for item in form.nest.order], sch.get_loops(block), strict=True))
    across, slab, panel, lane = work.split(
        loops[form.lane.var], plan.threads if plan.shared == PANELS else 1, None, plan.slab, plan.tile.columns
    )
    share, strip, row = work.split(
        loops[plan.row.var], plan.threads if plan.shared == STRIPS else 1, None, plan.tile.rows
    )
    terms = [loops[item.var] for item in form.nest.reduce]
    part: list[LoopRV] = []
    if plan.parts > 1:
        part, terms = work.split(terms[0], None, plan.reduced or 1)
    batch = [loops[item.var] for item in form.batch]
    rows = [loops[item.var] for item in form.rows[:-1]]
    columns = [loops[item.var] for item in form.columns]
    pair: list[LoopRV] = []
    if plan.pairs > 1:
        last, pair = work.split(terms[-1], None, plan.pairs)
        terms = [*terms[:-1], *last]
    outer = [*share, *across, *columns, *slab, *part]
    outer = [*rows, *outer] if plan.shared == ROWS else [*outer, *rows]
    sch.reorder(*batch, *outer, *strip, *panel, *terms, *row, *lane, *pair)
    shared = {BATCH: batch, PANELS: across, ROWS: rows, STRIPS: share}.get(plan.shared or "", [])
    if plan.packed:
        _pack(work, block, plan, pack, part or slab or across or columns or share or batch)
    if cut is not None:
        inside = panel or strip or outer if plan.parts == 1 else slab or across
        follow(work, cut, inside, [*batch, *outer] if plan.parts == 1 else None)
    if shared:
        sch.parallel(sch.fuse(*shared) if len(shared) > 1 else shared[0])
    for loop in (*row, *pair):
        sch.unroll(loop)
    for loop in lane:
        sch.vectorize(loop)
    if pair and terms:
        work.finish(sch.decompose_reduction(block, (part or terms)[0]))
    work.finish(block)


def follow(work: Work, cut: BlockRV, inside: list[LoopRV], around: list[LoopRV] | None) -> None:
    """Move what uses the result ``inside`` the loops of a tile. What exchanges its dimensions goes under the loops
    ``around`` the tiles, where there are such, to be done in square tiles of its own."""
    made = nest_of(work.func, work.token(cut))
    turned = exchanged(made) if made is not None and around is not None else None
    place = inside if turned is None or around is None else around
    if place and not work.tries("reverse_compute_at", cut, place[-1]):
        return
    if turned is not None:
        moved_in_tiles(work, cut, turned)
    else:
        vectorize_last(work, cut)
    work.finish(cut)


def _pack(work: Work, block: BlockRV, plan: Plan, pack: BlockRV | None, where: list[LoopRV]) -> None:
    """The operand with the lanes in panels, filled at ``where``, or before all threads that need the same ones."""
    sch, wide = work.sch, plan.form.wide
    reads = [region.buffer for region in work.block(block).reads]
    copied = work.block(pack).writes[0].buffer if pack is not None else wide.buffer
    position = reads.index(copied)
    if pack is None:
        pack = sch.cache_read(block, position, "global", [block])
    at_start = plan.shared in (ROWS, STRIPS)
    if where and not at_start:
        sch.compute_at(pack, where[-1], preserve_unit_loops=True)
    if plan.unit < plan.tile.columns:
        _fill(work, plan, pack)
        return
    axis = next(d for d, i in enumerate(wide.indices) if i is plan.form.lane.var)
    width = plan.tile.columns
    terms = next((d for d, i in enumerate(wide.indices) if i is plan.form.nest.reduce[-1].var), axis)

    def panels(*index: Expr) -> list[Expr]:
        others = [i // plan.pairs if d == terms else i for d, i in enumerate(index) if d != axis]
        lane = index[axis] % width
        if plan.pairs > 1:
            lane = lane * plan.pairs + index[terms] % plan.pairs
        return [index[axis] // width, *others, lane]

    sch.transform_layout(block, ("read", position), panels)
    own = sch.get_loops(pack)[-len(wide.indices) :]
    panel, lane = sch.split(own[axis], [None, width])
    others = [loop for d, loop in enumerate(own) if d != axis]
    if axis == len(own) - 1:
        sch.reorder(panel, *others, lane)
        sch.vectorize(lane)
    else:
        down = next((loop for loop in reversed(others) if work.extent(loop) > 1), others[-1])
        in_tiles(work, pack, [panel, *[loop for loop in others if loop is not down]], down, lane)
    if at_start and plan.threads > 1:
        sch.parallel(panel)
    work.finish(pack)


def _fill(work: Work, plan: Plan, pack: BlockRV) -> None:
    """Fill a panel whose lanes lie in the operand as they do in the panel."""
    vectorize_last(work, pack)
    outer = work.sch.get_loops(pack)[-len(plan.form.wide.indices) : -1]
    if plan.shared in (ROWS, STRIPS):
        work.share(outer, plan.threads * work.machine.parallel_work)
    work.finish(pack)
