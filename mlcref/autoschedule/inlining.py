"""Elementwise blocks become part of what reads them."""

from __future__ import annotations

from mlcref.arith import same_shape
from mlcref.autoschedule.structure import contraction_of, grouped, nest_of, used_in
from mlcref.autoschedule.work import Work
from mlcref.ir import BlockRealize, Buffer, BufferLoad, BufferStore, loads
from mlcref.schedule import BlockRV, find


def inline_elementwise(work: Work, block: BlockRV) -> bool:
    """Put a block without reduction into the blocks that read it, where none of its elements is then computed twice, or
    it only copies a buffer as it is; says whether it was."""
    realize = find.block_of(work.func, work.token(block))
    written = [region.buffer for region in realize.block.writes]
    readers = find.consumers(work.func, realize)
    if find.is_reduction(realize) or len(written) != 1 or not readers or written[0] in work.func.buffers:
        return False
    if _is_copy(realize) and not any(_reads(reader, realize.block.reads[0].buffer) for reader in readers):
        return work.tries("compute_inline", block)
    if len(readers) != 1:
        return False
    return _reads_once(work, readers[0], written[0]) and work.tries("compute_inline", block)


def _is_copy(realize: BlockRealize) -> bool:
    """Does the block store the elements of a buffer where they lie there? So does the padding of a convolution that has
    none."""
    stored = realize.block.body
    if not isinstance(stored, BufferStore) or not isinstance(stored.value, BufferLoad):
        return False
    pairs = zip(stored.indices, stored.value.indices, strict=False)
    same = all(a is b for a, b in pairs) and same_shape(stored.buffer.shape, stored.value.buffer.shape)
    return same and stored.buffer.type == stored.value.buffer.type


def _reads(reader: BlockRealize, buffer: Buffer) -> bool:
    return any(load.buffer is buffer for load in loads(reader))


def _reads_once(work: Work, reader: BlockRealize, buffer: Buffer) -> bool:
    """Does each element of ``buffer`` go into one instance of the reader, which is no sum of products?"""
    nest = nest_of(work.func, reader.block.token)
    if nest is None or contraction_of(nest) is not None or grouped(nest) is not None:
        return False
    reads = [load for load in loads(nest.store.value) if load.buffer is buffer]
    places = {tuple(load.indices) for load in reads}
    return len(places) == 1 and all(used_in(load) == set(nest.extents) for load in reads)
