"""The schedule that users hold: the core with a method per record of the table."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from mlcref.schedule import annotate, cache, compute_at, inline, kinds, loop, reduction
from mlcref.schedule.core import ScheduleCore
from mlcref.schedule.table import TABLE, Primitive
from mlcref.schedule.trace import VARIADIC

FAMILIES = (loop, kinds, compute_at, cache, inline, reduction, annotate)
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


def _method(primitive: Primitive) -> Callable[..., Any]:
    variadic = VARIADIC.get(primitive.name)
    parameters = list(primitive.signature.parameters.values())
    if variadic:
        parameters = [
            p.replace(kind=p.VAR_POSITIONAL) if p.name == variadic else p.replace(kind=p.KEYWORD_ONLY)
            for p in parameters
        ]
    signature = inspect.Signature(parameters)

    def method(self: Schedule, *args: Any, **kwargs: Any) -> Any:
        bound = signature.bind(*args, **kwargs)
        bound.apply_defaults()
        return self._apply(primitive, dict(bound.arguments))

    method.__name__ = primitive.name
    method.__qualname__ = f"Schedule.{primitive.name}"
    method.__doc__ = primitive.doc
    receiver = inspect.Parameter("self", inspect.Parameter.POSITIONAL_OR_KEYWORD)
    method.__signature__ = signature.replace(parameters=[receiver, *parameters])  # type: ignore[attr-defined]
    return method


for _record in TABLE.values():
    setattr(Schedule, _record.name, _method(_record))
