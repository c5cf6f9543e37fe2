"""Reductions that no other rule fits: their loops stay as they are, threads share the outer ones."""

from __future__ import annotations

from itertools import takewhile
from math import prod

from mlcref.autoschedule.structure import own_loops
from mlcref.autoschedule.work import Work
from mlcref.ir import variables
from mlcref.schedule import BlockRV, find

_COST = 8
"""A term, in products of a sum that others add up in vectors."""


def schedule_remaining(work: Work, block: BlockRV) -> bool:
    """Share a reduction among threads where that pays; says whether it is one whose outer loops are over results."""
    realize = find.block_of(work.func, work.token(block))
    loops = own_loops(work.func, realize)
    extents = [find.constant_extent(loop) for loop in loops]
    known = [extent for extent in extents if extent is not None]
    if not find.is_reduction(realize) or len(known) < len(loops) or any(loop.kind != "serial" for loop in loops):
        return False
    pairs = zip(realize.block.iter_vars, realize.iter_values, strict=True)
    reduced = {var for item, value in pairs if item.iter_type != "spatial" for var in variables(value)}
    outer = len(list(takewhile(lambda loop: loop.loop_var not in reduced, loops)))
    if outer == 0:
        return False
    work.share(work.sch.get_loops(block)[-len(loops) :][:outer], _COST * prod(known))
    work.finish(block)
    return True
