"""``autoschedule``: a schedule for each block of a module, by rules over its structure."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from mlcref.autoschedule.channels import schedule_channels_first
from mlcref.autoschedule.contraction import schedule_contraction
from mlcref.autoschedule.dots import schedule_dots
from mlcref.autoschedule.elementwise import schedule_elementwise
from mlcref.autoschedule.groups import schedule_groups
from mlcref.autoschedule.inlining import inline_elementwise
from mlcref.autoschedule.layouts import schedule_with_constant
from mlcref.autoschedule.machine import Machine
from mlcref.autoschedule.pixels import schedule_pixels
from mlcref.autoschedule.remaining import schedule_remaining
from mlcref.autoschedule.rows import schedule_rows
from mlcref.autoschedule.short_sums import schedule_short_sums
from mlcref.autoschedule.streams import schedule_columns, schedule_streams
from mlcref.autoschedule.transposes import schedule_transposed
from mlcref.autoschedule.windows import schedule_window
from mlcref.autoschedule.work import Work
from mlcref.ir import IRModule, PrimFunc
from mlcref.schedule import BlockRV, Schedule

RULES: tuple[Callable[[Work, BlockRV], bool], ...] = (
    schedule_with_constant, schedule_dots, schedule_streams, schedule_rows, schedule_pixels, schedule_short_sums,
    schedule_channels_first, schedule_contraction, schedule_groups, schedule_columns, schedule_window,
    schedule_transposed, schedule_elementwise, schedule_remaining,
)  # fmt: skip
"""In the order in which they are tried on a block; the first that fits schedules it."""


def autoschedule(
    mod: IRModule | PrimFunc, target: Any = None, *, check: str = "off", machine: Machine | None = None
) -> Schedule:
    """A schedule of all tensor programs of ``mod`` for ``target`` (default: this machine's CPU).

    The result's ``mod`` is the scheduled module, its ``trace`` the instructions that lead there, an ordinary trace:
    it can be shown, replayed and changed. With ``check="oracle"`` each instruction is verified as it is applied, which
    takes long for large shapes. ``machine`` are the sizes to fit to, instead of those that the target says.

    >>> from mlcref import te
    >>> A, B = te.placeholder((64, 64), name="A"), te.placeholder((64, 64), name="B")
    >>> k = te.reduce_axis((0, 64), name="k")
    >>> C = te.compute((64, 64), lambda i, j: te.sum(A[i, k] * B[k, j], axis=k), name="C")
    >>> sch = autoschedule(te.create_prim_func([A, B, C]), "cython --num-cores=1")
    >>> "sch.vectorize" in str(sch.trace)
    True
    """
    return with_rules(mod, target, check=check, machine=machine)[0]


Applied = tuple[str, str, str]
"""A function, one of its blocks, and the rule that scheduled it."""


def with_rules(
    mod: IRModule | PrimFunc, target: Any = None, *, check: str = "off", machine: Machine | None = None
) -> tuple[Schedule, list[Applied]]:
    """As :func:`autoschedule`, with the rule of each block; blocks that became part of others have none.

    >>> from mlcref import te
    >>> A = te.placeholder((64, 64), name="A")
    >>> B = te.compute((64, 64), lambda i, j: A[j, i], name="B")
    >>> with_rules(te.create_prim_func([A, B]))[1]
    [('main', 'B', 'transposed')]
    """
    sch = Schedule(mod, check=check)
    fitted = machine or Machine.of("cython" if target is None else target)
    applied: list[Applied] = []
    for name in sch.mod.prim_funcs():
        sch.work_on(name)
        applied += [(name, *found) for found in _schedule_function(Work(sch, name, fitted))]
    return sch, applied


def _schedule_function(work: Work) -> list[tuple[str, str]]:
    """Schedule all blocks; the names of those that a rule fits, each with that of the rule."""
    root = work.sch.get_block(work.func.root.name)
    blocks = [block for block in work.sch.get_child_blocks(root) if not inline_elementwise(work, block)]
    applied = []
    for block, token in [(block, work.token(block)) for block in blocks]:
        if token not in work.done:
            name = work.block(block).name
            rule = next((rule for rule in RULES if rule(work, block)), None)
            applied += [(name, rule.__name__.removeprefix("schedule_"))] if rule is not None else []
    return applied
