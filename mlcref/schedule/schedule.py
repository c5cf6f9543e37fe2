"""The schedule that users hold: the core with a method per record of the table."""

from __future__ import annotations

from mlcref.schedule import (
    annotate, block_layout, blockize, cache, compute_at, inline, kinds, layout, loop, pad_einsum, partition,
    reduction, reindex, reverse_compute_at, rfactor, storage, tensorize,
)  # fmt: skip
from mlcref.schedule.core import ScheduleCore, method_of
from mlcref.schedule.table import TABLE

FAMILIES = (
    loop, kinds, compute_at, reverse_compute_at, cache, inline, reduction, annotate, blockize, layout, block_layout,
    tensorize, storage, rfactor, partition, pad_einsum, reindex,
)  # fmt: skip
"""The modules whose records make up the table; importing them fills it."""


class Schedule(ScheduleCore):
    """A module under transformation: each method applies a primitive that keeps its meaning, or refuses and changes
    nothing.

    >>> from mlcref.script import tir as T
    >>> @T.prim_func
    ... def double(A: T.Buffer((8,), "float32"), B: T.Buffer((8,), "float32")):
    ...     for i in range(8):
    ...         with T.block("B"):
    ...             vi = T.axis.spatial(8, i)
    ...             B[vi] = A[vi] * T.float32(2)
    >>> sch = Schedule(double)
    >>> (i,) = sch.get_loops(sch.get_block("B"))
    >>> outer, inner = sch.split(i, factors=[None, 4])
    >>> sch.vectorize(inner)
    >>> print(sch.trace)
    # from tvm import tir
    def apply_schedule(sch: tir.Schedule) -> None:
      b0 = sch.get_block(name="B", func_name="main")
      l1, = sch.get_loops(block=b0)
      l2, l3 = sch.split(loop=l1, factors=[None, 4], preserve_unit_iters=True, disable_predication=False)
      sch.vectorize(loop=l3)
    """


for _record in TABLE.values():
    setattr(Schedule, _record.name, method_of(_record))
