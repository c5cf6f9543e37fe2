"""Convolutions whose channels come before the pixels, as products of matrices: filters times pixels.

The pixels of an image lie one after the other, so that a vector takes them across the ends of rows. What a window of
one element sees is the image itself; larger windows, and those that leave out pixels, are copied next to each other.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import prod

from mlcref.arith import flat_position
from mlcref.autoschedule.contraction import follower_of, schedule_contraction
from mlcref.autoschedule.elementwise import schedule_elementwise
from mlcref.autoschedule.structure import Contraction, contraction_of, nest_of, used_in
from mlcref.autoschedule.work import Work
from mlcref.ir import Expr, IterVar, Var, constant
from mlcref.schedule import BlockRV

_MANY_FILTERS = 2
"""So many filters for each pixel pay for copies of overlapping windows: the filters need not be packed then."""


def schedule_pixels(work: Work, block: BlockRV) -> bool:
    """Tile a sum of products over windows with lanes along all pixels; says whether the block is one that gains."""
    nest = nest_of(work.func, work.token(block))
    form = None if nest is None else contraction_of(nest)
    if form is None or not form.rows or any(index is form.lane.var for index in form.wide.indices):
        return False
    pixels = _pixels(form)
    is_image = _are_neighbours(form, pixels)
    if not pixels or not (is_image or _pays(form, pixels)):
        return False
    seen = _as_rows(work, block, form, pixels, is_image)
    if not is_image:
        schedule_elementwise(work, seen)
    schedule_contraction(work, block, exact=True)
    if is_image:
        work.tries("compute_inline", seen)
    return True


def _pixels(form: Contraction) -> list[IterVar]:
    """The iterators over the last dimensions of the output that the filters have nothing to do with, outer to inner;
    none where the output is not indexed by iterators."""
    by_var = {item.var: item for item in form.nest.spatial}
    indices = form.nest.store.indices
    if len(by_var) != len(indices) or not all(index in by_var for index in indices):
        return []
    found: list[IterVar] = []
    for index in reversed(indices):
        item = next(item for var, item in by_var.items() if var is index)
        if item is not form.lane and item not in form.columns:
            break
        found.insert(0, item)
    return found


def _are_neighbours(form: Contraction, pixels: Sequence[IterVar]) -> bool:
    """Are the elements that go with pixels next to each other neighbours, too?"""
    extents, wide = form.nest.extents, form.wide
    at = len(wide.indices) - len(pixels)
    place = None if at < 0 else flat_position(wide.buffer.shape[at:], wide.indices[at:], extents)
    if place is None:
        return False
    wanted = {item.var: prod(extents[other.var] for other in pixels[n + 1 :]) for n, item in enumerate(pixels)}
    once = {item.var for item in form.nest.order if extents[item.var] == 1}
    found = {atom: factor for atom, factor in place.terms.items() if atom not in once}
    return found == {var: factor for var, factor in wanted.items() if var not in once}


def _pays(form: Contraction, pixels: Sequence[IterVar]) -> bool:
    """Is a copy of what the windows see small: no larger than the image, or than the filters?"""
    extents = form.nest.extents
    image = prod(constant(extent) or 1 for extent in form.wide.buffer.shape)
    if prod(extents[var] for var in used_in(form.wide)) <= image:
        return True
    seen = prod(extents[item.var] for item in pixels)
    return seen * _MANY_FILTERS <= prod(extents[item.var] for item in form.rows)


def _as_rows(
    work: Work, block: BlockRV, form: Contraction, pixels: Sequence[IterVar], is_image: bool
) -> BlockRV:
    """Let the block work on rows of all pixels; the block that fills those that it reads."""
    sch, items, used = work.sch, form.nest.realize.block.iter_vars, used_in(form.wide)
    reads = [region.buffer for region in work.block(block).reads]
    read = [item for item in items if item.var in used]
    stored = [next(item for item in items if item.var is index) for index in form.nest.store.indices]
    terms = [item for item in items if item not in stored]
    others, outer = [item for item in read if item not in pixels], stored[: -len(pixels)]
    in_rows = Rows(tuple(pixels), form.nest.extents)
    after = follower_of(work, block, form)
    seen = sch.reindex_cache_read(block, reads.index(form.wide.buffer), "global", in_rows.map(items, others))
    made = sch.reindex_cache_write(block, 0, "global", in_rows.map(items, outer))
    if after is not None:
        token = work.token(after)
        if work.tries("reverse_compute_inline", after):
            work.done.add(token)
    sch.transform_block_layout(block, in_rows.map(items, outer, terms))
    sch.transform_block_layout(made, in_rows.map([item for item in items if item in stored], outer))
    if is_image:
        sch.transform_block_layout(seen, in_rows.map(read, others))
    else:
        loops = dict(zip([item.var for item in read], sch.get_loops(seen), strict=True))
        sch.reorder(*[loops[item.var] for item in (*others, *pixels)])
    return seen


@dataclass(frozen=True, slots=True)
class Rows:
    """Pixels one after the other: the iterators over them as one."""

    pixels: tuple[IterVar, ...]
    extents: Mapping[Var, int]

    def map(
        self, given: Sequence[IterVar], before: Sequence[IterVar], after: Sequence[IterVar] = ()
    ) -> Callable[..., list[Expr]]:
        """The function from values of the ``given`` iterators to those ``before``, the pixel, and those ``after``."""

        def ordered(*values: Expr) -> list[Expr]:
            by_item = dict(zip([item.var for item in given], values, strict=True))
            pixel = by_item[self.pixels[0].var]
            for item in self.pixels[1:]:
                pixel = pixel * self.extents[item.var] + by_item[item.var]
            return [*[by_item[item.var] for item in before], pixel, *[by_item[item.var] for item in after]]

        return ordered
