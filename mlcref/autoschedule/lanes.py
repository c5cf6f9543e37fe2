"""Innermost loops as vectors."""

from __future__ import annotations

from mlcref.autoschedule.work import Work
from mlcref.schedule import BlockRV


def vectorize_last(work: Work, block: BlockRV) -> None:
    """Vectorize the innermost loop of a block where that is allowed."""
    loops = work.sch.get_loops(block)
    if loops and work.extent(loops[-1]) > 1:
        work.tries("vectorize", loops[-1])
