"""Inlining by rule."""

from __future__ import annotations

from mlcref.te.schedule.schedule import Schedule
from mlcref.te.tensor import ComputeOp


def AutoInlineInjective(s: Schedule) -> None:
    """Inline each stage that is neither a reduction nor a result and whose loops and place were not decided yet. As
    ``te.schedule.AutoInlineInjective`` of TVM up to 0.17.

    >>> from mlcref import te
    >>> A = te.placeholder((4,), name="A")
    >>> B = te.compute((4,), lambda i: A[i] + 1.0, name="B")
    >>> C = te.compute((4,), lambda i: B[i] * 2.0, name="C")
    >>> s = te.create_schedule(C.op)
    >>> AutoInlineInjective(s)
    >>> s[B].inlined, s[C].inlined
    (True, False)
    """
    for stage in s.stages:
        injective = isinstance(stage.op, ComputeOp) and not stage.op.reduce_axis
        if injective and not stage.is_output and not stage.is_scheduled:
            stage.compute_inline()
