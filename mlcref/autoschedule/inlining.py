"""Elementwise blocks become part of what reads them."""

from __future__ import annotations

from mlcref.autoschedule.structure import contraction_of, grouped, nest_of, used_in
from mlcref.autoschedule.work import Work
from mlcref.ir import BlockRealize, Buffer, loads
from mlcref.schedule import BlockRV, find


def inline_elementwise(work: Work, block: BlockRV) -> bool:
    """Put a block without reduction into the blocks that read it, where none of its elements is then computed twice;
    says whether it was."""
    realize = find.block_of(work.func, work.token(block))
    written = [region.buffer for region in realize.block.writes]
    readers = find.consumers(work.func, realize)
    if find.is_reduction(realize) or len(written) != 1 or len(readers) != 1 or written[0] in work.func.buffers:
        return False
    return _reads_once(work, readers[0], written[0]) and work.tries("compute_inline", block)


def _reads_once(work: Work, reader: BlockRealize, buffer: Buffer) -> bool:
    """Does each element of ``buffer`` go into one instance of the reader, which is no sum of products?"""
    nest = nest_of(work.func, reader.block.token)
    if nest is None or contraction_of(nest) is not None or grouped(nest) is not None:
        return False
    reads = [load for load in loads(nest.store.value) if load.buffer is buffer]
    places = {tuple(load.indices) for load in reads}
    return len(places) == 1 and all(used_in(load) == set(nest.extents) for load in reads)
