"""The function that rules work on."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import prod
from typing import Any

from mlcref.autoschedule.machine import Machine
from mlcref.errors import ScheduleError
from mlcref.ir import Block, For, PrimFunc, Token, Var
from mlcref.schedule import BlockRV, LoopRV, Schedule
from mlcref.schedule.find import constant_extent


@dataclass(slots=True)
class Work:
    """A schedule, the function of it that is worked on, the machine, and the blocks that need nothing more."""

    sch: Schedule
    name: str
    machine: Machine
    done: set[Token] = field(default_factory=set)

    @property
    def func(self) -> PrimFunc:
        """The function as it is now."""
        func = self.sch.mod[self.name]
        assert isinstance(func, PrimFunc)
        return func

    def block(self, rv: BlockRV) -> Block:
        """What a handle of a block stands for."""
        block = self.sch.get(rv)
        assert isinstance(block, Block)
        return block

    def token(self, rv: BlockRV) -> Token:
        """The block of a handle."""
        return self.block(rv).token

    def extent(self, rv: LoopRV) -> int:
        """The number of iterations of a loop."""
        loop = self.sch.get(rv)
        assert isinstance(loop, For)
        extent = constant_extent(loop)
        assert extent is not None
        return extent

    def variable(self, rv: LoopRV) -> Var:
        """The variable of a loop."""
        loop = self.sch.get(rv)
        assert isinstance(loop, For)
        return loop.loop_var

    def finish(self, *blocks: BlockRV) -> None:
        """No other rule looks at these blocks."""
        self.done.update(self.token(block) for block in blocks)

    def split(self, loop: LoopRV, *sizes: int | None) -> list[list[LoopRV]]:
        """Split a loop by ``sizes``, of which one is None: a list of one loop for each, empty where it would have one
        iteration."""
        known = prod(size or 1 for size in sizes)
        rest = -(-self.extent(loop) // known)
        wanted = [size != 1 if size is not None else rest > 1 for size in sizes]
        if sum(wanted) < 2:
            return [[loop] if here else [] for here in wanted] if any(wanted) else [[]] * (len(sizes) - 1) + [[loop]]
        factors = [size for size, here in zip(sizes, wanted, strict=True) if here]
        if None not in factors:
            factors[0] = None
        made = iter(self.sch.split(loop, factors))
        return [[next(made)] if here else [] for here in wanted]

    def share(self, loops: list[LoopRV], work: int) -> None:
        """Share outer loops among threads when ``work``, in products of a sum, pays for it."""
        if loops and self.machine.threads > 1 and work >= self.machine.parallel_work:
            try:
                outer = self.sch.fuse(*loops) if len(loops) > 1 else loops[0]
            except ScheduleError:  # what follows the block has taken one of the loops for its lanes
                return
            self.tries("parallel", outer)

    def tries(self, primitive: str, *arguments: Any) -> bool:
        """Apply a primitive where its preconditions allow it; says whether they did."""
        try:
            getattr(self.sch, primitive)(*arguments)
        except ScheduleError:
            return False
        return True
