"""The methods of a schedule that sample: numbers for tiles and annotations, places for blocks."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from math import prod
from typing import Any

from mlcref.errors import ScheduleError, UnsupportedError
from mlcref.ir import BlockRealize, For, PrimFunc, Token, index, variables
from mlcref.schedule import find
from mlcref.schedule.choices import perfect_tiles
from mlcref.schedule.handles import INLINE, ROOT, ExprRV, LoopRV
from mlcref.schedule.queries import Queries
from mlcref.schedule.state import loop_var_of
from mlcref.schedule.table import TABLE, Handle

INFERRED = -1
"""What stands in decisions for a factor that ``split`` infers."""


class Sampling(Queries):
    """Every choice is one ``pick`` among options; the trace keeps it as the decision of the instruction."""

    def sample_categorical(
        self, candidates: Sequence[int], probs: Sequence[float], decision: int | None = None
    ) -> ExprRV:
        """One of ``candidates`` by the weights ``probs``; ``decision`` is an index that fixes the choice.

        Raises ``ScheduleError`` unless there are as many weights as candidates, at least one, none negative, not all
        zero.

        Source: TVM ``sample_categorical``.
        """
        if not candidates or len(candidates) != len(probs) or min(probs) < 0 or sum(probs) <= 0:
            what = f"{len(candidates)} candidates with weights {list(probs)}"
            raise ScheduleError(what, rule="sample_categorical.P1")
        chosen = int(decision) if decision is not None else self._pick(range(len(candidates)), list(probs))
        if not 0 <= chosen < len(candidates):
            what = f"decision {chosen} is no index of {len(candidates)} candidates"
            raise ScheduleError(what, rule="sample_categorical.P2")
        output = ExprRV("v")
        self._numbers[output] = int(candidates[chosen])
        self._record("sample_categorical", {"candidates": list(candidates), "probs": list(probs)}, [output], chosen)
        return output

    def sample_perfect_tile(
        self, loop: Any, n: int, max_innermost_factor: int = 16, decision: Sequence[int] | None = None
    ) -> list[ExprRV | None]:
        """``n`` factors whose product is the loop's extent, uniformly; the last is at most ``max_innermost_factor``
        (-1: any).

        A ``decision`` that does not tile the extent is mended from the inside out: a factor that does not divide what
        is left becomes all that is left. When the extent is symbolic the factors are ``[None, 1, …]``, for ``split`` to
        infer. Raises ``ScheduleError`` when n is not positive, when there is no such tile, and for a decision of
        another length.

        Source: TVM ``sample_perfect_tile``.
        """
        rule = "sample_perfect_tile"
        func, found, extent = self._tiled(rule, loop, n)
        if extent is None:
            chosen: Sequence[int] = (INFERRED, *[1] * (n - 1))
        elif decision is not None:
            chosen = mended(rule, func, found, extent, n, decision)
        else:
            options = perfect_tiles(extent, n, max_innermost_factor)
            if not options:
                what = f"no {n} factors of {extent} end in one of at most {max_innermost_factor}"
                raise ScheduleError(what, rule=f"{rule}.P3", hint="raise max_innermost_factor")
            chosen = self._pick(options)
        outputs = self._sampled([None if factor == INFERRED else factor for factor in chosen])
        arguments = {"loop": loop, "n": n, "max_innermost_factor": max_innermost_factor}
        self._record(rule, arguments, outputs, list(chosen))
        return outputs

    def sample_partitioned_tile(
        self,
        loop: Any,
        n: int,
        partition_pos: int = 0,
        innerpart_factor: int = 1,
        decision: Sequence[int] | None = None,
    ) -> list[ExprRV]:
        """``n`` factors whose product is the loop's extent, and the product of those from ``partition_pos`` on a
        multiple of ``innerpart_factor``, uniformly.

        A ``decision`` whose inner part is no such multiple becomes ``[extent // innerpart_factor, 1, …,
        innerpart_factor, 1, …]``; otherwise it is mended as ``sample_perfect_tile`` does. When the extent is symbolic
        or no multiple of ``innerpart_factor`` the factors are ``[-1, 1, …]``, for ``split`` to infer. Raises
        ``ScheduleError`` when n is not positive, ``partition_pos`` is no position, ``innerpart_factor`` is not
        positive, or for a decision of another length.

        Source: TVM ``sample_partitioned_tile``.
        """
        rule = "sample_partitioned_tile"
        func, found, extent = self._tiled(rule, loop, n)
        if not 0 <= partition_pos < n or innerpart_factor < 1:
            what = f"partition_pos {partition_pos} of {n} factors, innerpart_factor {innerpart_factor}"
            raise ScheduleError(what, rule=f"{rule}.P3")
        if extent is None or extent % innerpart_factor:
            chosen: Sequence[int] = (INFERRED, *[1] * (n - 1))
        elif decision is None:
            every = perfect_tiles(extent, n, -1)
            fits = [tile for tile in every if prod(tile[partition_pos:]) % innerpart_factor == 0]
            chosen = self._pick(fits)
        elif prod(decision[partition_pos:]) % innerpart_factor:
            chosen = [extent // innerpart_factor, *[1] * (n - 1)]
            chosen[partition_pos] = innerpart_factor if partition_pos else extent
        else:
            chosen = mended(rule, func, found, extent, n, decision)
        outputs = [rv for rv in self._sampled(list(chosen)) if rv is not None]
        arguments = {
            "loop": loop, "n": n, "partition_pos": partition_pos, "innerpart_factor": innerpart_factor,
        }  # fmt: skip
        self._record(rule, arguments, outputs, list(chosen))
        return outputs

    def sample_compute_location(self, block: Any, decision: int | None = None) -> LoopRV:
        """A place for a block, uniformly: the root (where it is), inlined, or a loop of its consumers under which
        ``compute_at`` may move it. Hand it to ``compute_at``.

        The decision is -2 for inlined, -1 for the root, else the loop's position around the first consumer. Loops of
        extent 1 are left out, and those below a reduction. A ``decision`` that is no place becomes the nearest one
        before it.

        Source: TVM ``sample_compute_location``.
        """
        block, name, func, token = self._block(block)
        places = compute_locations(func, token)
        decisions = [position for position, _ in places]
        chosen = self._pick(decisions) if decision is None else _nearest(decisions, int(decision))
        output: LoopRV = LoopRV()
        self._handles[output] = (name, dict(places)[chosen])
        self._record("sample_compute_location", {"block": block}, [output], chosen)
        return output

    def _tiled(self, rule: str, loop: Any, n: int) -> tuple[PrimFunc, For, int | None]:
        name, var = self._resolve(loop)
        func = self._func(name)
        found = index(func).loops[loop_var_of(var)]
        if n < 1:
            raise ScheduleError(f"{rule}: n is not positive", rule=f"{rule}.P1", root=func, marks=[(found, "to tile")])
        return func, found, find.constant_extent(found)

    def _sampled(self, values: Sequence[int | None]) -> list[Any]:
        outputs = [None if value is None else ExprRV("v") for value in values]
        self._numbers.update(
            {rv: value for rv, value in zip(outputs, values, strict=True) if rv is not None and value is not None}
        )
        return outputs


def mended(rule: str, func: PrimFunc, loop: For, extent: int, n: int, decision: Sequence[int]) -> list[int]:
    """The decision with each factor that does not divide what is left of the extent replaced by all that is left.

    >>> from mlcref.schedule.sampling import mended
    >>> mended("sample_perfect_tile", None, None, 6, 2, [5, 4])
    [1, 6]
    """
    if len(decision) != n:
        what = f"decision {list(decision)} has {len(decision)} factors, not {n}"
        raise ScheduleError(what, rule=f"{rule}.P2", root=func, marks=[(loop, "to be tiled")])
    chosen, left = [1] * n, extent
    for i in range(n - 1, 0, -1):
        factor = int(decision[i])
        chosen[i] = factor if factor > 0 and left % factor == 0 else left
        left //= chosen[i]
    chosen[0] = left
    return chosen


def _nearest(decisions: Sequence[int], wanted: int) -> int:
    at = bisect_left(decisions, wanted)
    if at < len(decisions) and decisions[at] == wanted:
        return wanted
    return decisions[at - 1] if at else -1


def compute_locations(func: PrimFunc, block: Token) -> list[tuple[int, Handle]]:
    """The places where a block could be computed, with the decisions that stand for them, ascending."""
    places: list[tuple[int, Handle]] = [(-2, INLINE)] if _applies("compute_inline", func, block=block) else []
    places.append((-1, ROOT))
    readers = find.consumers(func, find.block_of(func, block))
    if not readers:
        return places
    candidates = _common_loops(func, readers)
    kinds = [_feeds_only_space(loop) for loop in candidates]
    last = max((i for i, spatial in enumerate(kinds) if spatial), default=-1)
    reduced = False
    for i, loop in enumerate(candidates):
        if find.constant_extent(loop) == 1:
            continue
        if reduced and kinds[i]:
            break
        reduced = reduced or not kinds[i]
        if i > last:
            break
        if _applies("compute_at", func, block=block, loop=loop.loop_var, preserve_unit_loops=True):
            places.append((i, loop.loop_var))
    return places


def _common_loops(func: PrimFunc, blocks: Sequence[BlockRealize]) -> list[For]:
    """The loops around all of ``blocks``, outer to inner."""
    first, *others = [find.loops_above(func, realize) for realize in blocks]
    return [loop for loop in first if all(loop in path for path in others)]


def _feeds_only_space(loop: For) -> bool:
    """Does the loop feed spatial iterators only, in all blocks below?"""
    for realize in find.blocks_below(loop):
        for item, value in zip(realize.block.iter_vars, realize.iter_values, strict=True):
            if item.iter_type != "spatial" and loop.loop_var in variables(value):
                return False
    return True


def _applies(name: str, func: PrimFunc, **arguments: Any) -> bool:
    """Would the primitive accept these arguments?"""
    try:
        TABLE[name].plan(func, **arguments)
    except (ScheduleError, UnsupportedError):
        return False
    return True
