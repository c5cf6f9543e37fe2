"""Where records draw their arguments: places where a primitive is likely to apply, and now and then any place."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from mlcref.ir import BlockRealize, BufferStore, Const, For, PrimFunc, Token, Var, index, loads
from mlcref.schedule.dependence import reduce_loops
from mlcref.schedule.find import child_blocks, is_reduction, loops_above, readers, scope_of, writers
from mlcref.schedule.table import Pick


def wild(pick: Pick) -> bool:
    """Draw arguments that need not fit? One time in five."""
    return bool(pick([False, False, False, False, True]))


def shuffled(pick: Pick, items: Iterable[Any]) -> list[Any]:
    """``items`` in a drawn order."""
    left, result = list(items), []
    while left:
        result.append(left.pop(pick(range(len(left)))))
    return result


def any_loops(pick: Pick, func: PrimFunc) -> list[Var]:
    """One to three loops of the function in any order."""
    loops = list(index(func).loops)
    return shuffled(pick, loops)[: pick([2, 2, 3, 1])]


def nests(func: PrimFunc) -> list[list[For]]:
    """Every loop that has one directly in it, with all that follow it so."""
    found = []
    for loop in index(func).loops.values():
        path = [loop]
        while isinstance(path[-1].body, For):
            path.append(path[-1].body)
        if len(path) > 1:
            found.append(path)
    return found


def any_block(pick: Pick, func: PrimFunc) -> BlockRealize | None:
    """Any block but the root."""
    found = [realize for realize in index(func).blocks.values() if realize is not func.body]
    return pick(found) if found else None


def related(func: PrimFunc, reverse: bool) -> list[tuple[BlockRealize, BlockRealize]]:
    """Each block with each that it feeds, or (``reverse``) that it reads from, in its scope."""
    pairs: list[tuple[BlockRealize, BlockRealize]] = []
    for realize in index(func).blocks.values():
        if realize is not func.body:
            own = {r.buffer for r in (realize.block.reads if reverse else realize.block.writes)}
            for other in child_blocks(scope_of(func, realize)):
                theirs = {r.buffer for r in (other.block.writes if reverse else other.block.reads)}
                if other is not realize and own & theirs:
                    pairs.append((realize, other))
    return pairs


def draw_inline(pick: Pick, func: PrimFunc, reverse: bool) -> dict[str, Any] | None:
    """A block that is one store, with another such block to merge it into; sometimes any two blocks, or any block."""
    pairs = related(func, reverse)
    fitting = [(a, b) for a, b in pairs if _plain(a) and (not reverse or (_plain(b) and _elements(a)))]
    if reverse and pick([True, True, False]):
        fitting = [(a, b) for a, b in fitting if _reads_once(func, a)]
    sites = [a for a, b in fitting if _inner_output(func, b if reverse else a)]
    if not sites and pick([True] * 7 + [False]):
        return None
    if not sites or wild(pick):
        realize = any_block(pick, func) if wild(pick) else None
        sites = [a for a, _ in pairs] if realize is None else [realize]
    return {"block": pick(sites).block.token} if sites else None


def _elements(realize: BlockRealize) -> bool:
    """Does the block read one element of each buffer?"""
    boxes = [box for region in realize.block.reads for box in region.region]
    return all(isinstance(box.extent, Const) and int(box.extent) == 1 for box in boxes)


def _reads_once(func: PrimFunc, realize: BlockRealize) -> bool:
    """Does the block load what its scope has made at one place of its text?"""
    made = scope_of(func, realize).block.alloc_buffers
    return sum(load.buffer in made for load in loads(realize.block.body)) == 1


def _plain(realize: BlockRealize) -> bool:
    """Is the block one store, without an init?"""
    return isinstance(realize.block.body, BufferStore) and realize.block.init is None


def _inner_output(func: PrimFunc, realize: BlockRealize) -> bool:
    """Is what the block writes allocated around it, and written by it alone?"""
    scope = scope_of(func, realize)
    return all(
        region.buffer in scope.block.alloc_buffers and len(writers(child_blocks(scope), region.buffer)) == 1
        for region in realize.block.writes
    )


def draw_move(pick: Pick, func: PrimFunc, reverse: bool) -> dict[str, Any] | None:
    """A block and a loop around one of the blocks that it feeds (reads from), where it is likely to go; sometimes any
    such loop, any loop at all, any index."""
    pairs = related(func, reverse)
    fitting = [(a, b) for a, b in pairs if _movable(func, a, reverse)]
    sites = [(a.block.token, var) for a, b in fitting for var in _between(func, a, b, reverse)]
    if not sites and pick([True, True, True, False]):
        return None
    if not sites or wild(pick):
        every = list(index(func).loops) if pick([True, False]) else []
        sites = [(a.block.token, var) for a, b in pairs for var in every or _apart(func, a, b)]
    if not sites:
        return None
    block, loop = pick(sites)
    place = pick([-1, -2, 0, 1]) if wild(pick) else pick([-1, -2])
    return {"block": block, "loop": loop, "preserve_unit_loops": pick([False, True]), "index": place}


def _apart(func: PrimFunc, block: BlockRealize, other: BlockRealize) -> list[Var]:
    """The loops around ``other`` that are not around ``block``."""
    around = set(loops_above(func, block))
    return [loop.loop_var for loop in loops_above(func, other) if loop not in around]


def _between(func: PrimFunc, block: BlockRealize, other: BlockRealize, reverse: bool) -> list[Var]:
    """The loops around ``other`` that are not around ``block`` already; of a producer those that do not reduce, if no
    other producer comes later."""
    reduced = reduce_loops(other) if reverse else set()
    if reverse:
        blocks = child_blocks(scope_of(func, block))
        read = {region.buffer for region in block.block.reads}
        if any(r.buffer in read for b in blocks[blocks.index(other) + 1 :] if b is not block for r in b.block.writes):
            return []
    return [var for var in _apart(func, block, other) if var not in reduced]


def _movable(func: PrimFunc, realize: BlockRealize, reverse: bool) -> bool:
    """Has the block iterators and an output that it alone writes, inside the scope where its readers follow it?"""
    block, scope = realize.block, scope_of(func, realize)
    outputs = {region.buffer for region in block.writes}
    if not block.iter_vars or len(outputs) != 1 or any(region.buffer in outputs for region in block.reads):
        return False
    blocks = child_blocks(scope)
    alone = len(writers(blocks, next(iter(outputs)))) == 1
    if reverse:
        alone = alone and all(len(writers(blocks, region.buffer)) < 2 for region in block.reads)
    reduces = any(item.iter_type == "reduce" for item in block.iter_vars)
    return alone and (reverse or _inner_output(func, realize)) and (block.init is not None or not reduces)


def draw_cached(pick: Pick, func: PrimFunc, kind: str) -> dict[str, Any] | None:
    """A block, one of its accesses by position or name, and a scope; sometimes the blocks that are to use the copy."""
    sites: list[tuple[BlockRealize, int]] = []
    for realize in index(func).blocks.values():
        regions = realize.block.reads if kind == "read" else realize.block.writes
        if realize is not func.body:
            sites += [(realize, i) for i in range(len(regions))]
    if not sites:
        return None
    realize, position = pick(sites)
    buffer = (realize.block.reads if kind == "read" else realize.block.writes)[position].buffer
    bound = any(loop.kind == "thread_binding" for loop in index(func).loops.values())
    scopes = ["global", "local"] if bound else ["global", "local", "shared"]  # a shared copy is not yet in its threads
    arguments = {
        "block": realize.block.token,
        f"{kind}_buffer_index": buffer.name if wild(pick) else position,
        "storage_scope": pick(scopes),
    }
    if wild(pick):
        users = [b.block.token for b in readers(child_blocks(scope_of(func, realize)), buffer)]
        if users:
            arguments["consumer_blocks"] = shuffled(pick, users)[: pick(range(1, len(users) + 1))]
    return arguments


def draw_reduced(
    pick: Pick, func: PrimFunc, fits: Callable[[BlockRealize, Var], bool] = lambda realize, loop: True
) -> tuple[Token, Var] | None:
    """A reduction and a loop above it that ``fits``; sometimes any loop of the function."""
    far = wild(pick)
    sites: list[tuple[Token, Var]] = []
    for token, realize in index(func).blocks.items():
        if is_reduction(realize):
            around = list(index(func).loops) if far else [loop.loop_var for loop in loops_above(func, realize)]
            sites += [(token, loop) for loop in around if far or fits(realize, loop)]
    return pick(sites) if sites else None
