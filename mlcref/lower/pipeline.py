"""The passes from a scheduled program to one that a code generator can write down, in order.

Each pass is a pure function from a ``PrimFunc`` to a ``PrimFunc`` that means the same, so the oracle can run the
program between any two of them. To add a pass: its file, and its line in ``PIPELINE``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from mlcref.ir import PrimFunc, Target, refuse_unscheduled, wellformed
from mlcref.lower.compact_buffers import compact_buffers
from mlcref.lower.hoist_conditions import hoist_conditions
from mlcref.lower.join_sums import join_sums
from mlcref.lower.lower_blocks import lower_blocks
from mlcref.lower.partition_tails import partition_tails
from mlcref.lower.pointers import declare_pointed
from mlcref.lower.promote_accumulators import promote_accumulators
from mlcref.lower.serialize_threads import serialize_threads
from mlcref.lower.short_loops import vectorize_short_loops
from mlcref.lower.simplify import simplify
from mlcref.lower.sink_allocations import sink_allocations
from mlcref.lower.unroll import unroll
from mlcref.lower.vectorize import vectorize
from mlcref.lower.widen_copies import widen_copies

After = Callable[[str, PrimFunc], None]


@dataclass(frozen=True, slots=True)
class Pass:
    """A named step of lowering. ``stage`` is the stage of its result, as ``ir.wellformed`` checks it; ``fit`` gives the
    step for a target, where that makes a difference.
    """

    name: str
    run: Callable[[PrimFunc], PrimFunc]
    stage: str = "blockless"
    fit: Callable[[Target], Callable[[PrimFunc], PrimFunc]] | None = None

    def fitted(self, target: Target | None) -> Callable[[PrimFunc], PrimFunc]:
        """The step for ``target``; for any, without one."""
        return self.run if target is None or self.fit is None else self.fit(target)


def _vectorize_for(target: Target) -> Callable[[PrimFunc], PrimFunc]:
    return partial(vectorize, vector_bytes=target.cpu.vector_bytes)


PIPELINE: tuple[Pass, ...] = (
    Pass("lower_blocks", lower_blocks),
    Pass("declare_pointed", declare_pointed),
    Pass("serialize_threads", serialize_threads),
    Pass("simplify", simplify),
    Pass("partition_tails", partition_tails),
    Pass("sink_allocations", sink_allocations),
    Pass("compact_buffers", compact_buffers),
    Pass("widen_copies", widen_copies),
    Pass("vectorize_short_loops", vectorize_short_loops),
    Pass("vectorize", vectorize, fit=_vectorize_for),
    Pass("unroll", unroll),
    Pass("simplify_indices", simplify),
    Pass("join_sums", join_sums),
    Pass("hoist_conditions", hoist_conditions),
    Pass("promote_accumulators", promote_accumulators),
)


def lower(func: PrimFunc, target: Target | None = None, after: After | None = None) -> PrimFunc:
    """``func`` in the stage "blockless", ready for code generation for ``target``.

    ``after(pass_name, program)`` is called with the program after every pass. Raises ``UnsupportedError`` for what
    the passes cannot translate and ``WellformedError`` when a pass broke an invariant: after each pass with ``after``,
    which the tests give, at the end without it.
    """
    refuse_unscheduled(func, "lowering")
    for step in PIPELINE:
        func = step.fitted(target)(func)
        if after is not None:
            wellformed(func, step.stage)
            after(step.name, func)
    wellformed(func, PIPELINE[-1].stage)
    return func
