"""What a schedule hands to its user: names for blocks, loops and sampled numbers. What they stand for is kept by the
schedule.
"""

from __future__ import annotations

from mlcref.ir.base import node, plain
from mlcref.ir.expr import Var


class BlockRV:
    """A block of the scheduled module."""

    __slots__ = ("__weakref__",)


class LoopRV:
    """A loop of the scheduled module, or one of the two places that are no loop: the root (outside of all loops) and
    inside the consumers (inlined), as ``sample_compute_location`` may choose them.
    """

    __slots__ = ("__weakref__",)


@node
class ExprRV(Var):
    """A number that the schedule sampled; usable in arithmetic and wherever a primitive takes a number."""

    name: str = plain(structural=False)
    type: str = "int32"


RV = BlockRV | LoopRV | ExprRV

ROOT = Var("root")
"""What a LoopRV for the root stands for: the block stays where it is."""
INLINE = Var("inline")
"""What a LoopRV for inlining stands for."""
