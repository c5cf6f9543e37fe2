"""The methods of a schedule that find blocks and loops and change nothing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NoReturn

from mlcref.errors import ScheduleError
from mlcref.ir import PrimFunc, Token, index
from mlcref.schedule import find
from mlcref.schedule.handles import BlockRV, LoopRV
from mlcref.schedule.state import ScheduleState, loop_var_of, token_of


class Queries(ScheduleState):
    """Blocks by name; loops around a block; blocks below, before and after one."""

    def get_block(self, name: str, func_name: str | None = None) -> BlockRV:
        """The block called ``name`` of a function (default: the one worked on, else the only one or "main").

        Raises ``ScheduleError`` when there is none or more than one.
        """
        func_name = func_name or self._default_function()
        func = self._func(func_name)
        found = [token for token, realize in index(func).blocks.items() if realize.block.name == name]
        if len(found) != 1:
            self._no_such_block(func, name, found)
        rv: BlockRV = self._new(func_name, found[0])
        self._record("get_block", {"name": name, "func_name": func_name}, [rv])
        return rv

    get_sblock = get_block

    def _no_such_block(self, func: PrimFunc, name: str, found: Sequence[Token]) -> NoReturn:
        blocks = index(func).blocks
        marks = [(blocks[token], f"block {name}") for token in found]
        known = ", ".join(realize.block.name for realize in blocks.values() if realize is not func.body)
        what = (
            f"{len(found)} blocks of {func.name} are called {name!r}" if found else f"{func.name} has no block {name!r}"
        )
        raise ScheduleError(what, rule="get_block.P1", root=func, marks=marks, hint=f"its blocks: {known}")

    def _default_function(self) -> str:
        if self._working_on is not None:
            return self._working_on
        names = list(self._mod.prim_funcs())
        if "main" in names:
            return "main"
        if len(names) == 1:
            return names[0]
        raise ScheduleError(
            "the module has several functions", rule="get_block.P2", hint=f"say func_name=, one of {', '.join(names)}"
        )

    def _block_arg(self, block: Any) -> Any:
        return self.get_block(block) if isinstance(block, str) else block

    def _block(self, block: Any) -> tuple[Any, str, PrimFunc, Token]:
        """A block argument as a handle, its function's name, the function, and its token."""
        block = self._block_arg(block)
        name, handle = self._resolve(block)
        return block, name, self._func(name), token_of(handle)

    def get_loops(self, block: Any) -> list[LoopRV]:
        """The loops above a block inside its scope, outer to inner."""
        block, name, func, token = self._block(block)
        loops = find.loops_above(func, find.block_of(func, token))
        outputs = [self._new(name, loop.loop_var) for loop in loops]
        self._record("get_loops", {"block": block}, outputs)
        return outputs

    def _blocks_query(self, query: str, parameter: str, rv: Any, blocks: Sequence[Any], name: str) -> list[BlockRV]:
        outputs = [self._new(name, realize.block.token) for realize in blocks]
        self._record(query, {parameter: rv}, outputs)
        return outputs

    def get_child_blocks(self, block_or_loop: Any) -> list[BlockRV]:
        """The blocks directly below a block or a loop, in order."""
        name, handle = self._resolve(block_or_loop)
        where = index(self._func(name))
        if isinstance(handle, Token):
            below = find.child_blocks(where.blocks[handle])
        else:
            below = find.blocks_below(where.loops[loop_var_of(handle)])
        return self._blocks_query("get_child_blocks", "block_or_loop", block_or_loop, below, name)

    def get_producers(self, block: Any) -> list[BlockRV]:
        """The other blocks of the same scope that write what the block reads, in order."""
        block, name, func, token = self._block(block)
        return self._blocks_query(
            "get_producers", "block", block, find.producers(func, find.block_of(func, token)), name
        )

    def get_consumers(self, block: Any) -> list[BlockRV]:
        """The other blocks of the same scope that read what the block writes, in order."""
        block, name, func, token = self._block(block)
        return self._blocks_query(
            "get_consumers", "block", block, find.consumers(func, find.block_of(func, token)), name
        )

    def get_output_blocks(self, scope_block: Any = None, *, block: Any = None) -> list[BlockRV]:
        """The blocks of a scope that write a buffer which is not allocated in the scope. TVM's Python calls the scope
        ``scope_block``, its traces ``block``."""
        block, name, func, token = self._block(block if scope_block is None else scope_block)
        realize = find.block_of(func, token)
        inner = set(realize.block.alloc_buffers)
        found = [b for b in find.child_blocks(realize) if any(w.buffer not in inner for w in b.block.writes)]
        return self._blocks_query("get_output_blocks", "block", block, found, name)

    def enter_postproc(self) -> None:
        """Mark the place in the trace where post-processing begins."""
        self._record("enter_postproc", {}, [])
