"""Memory that is private to threads: in a kernel, a buffer of scope "local" exists once per thread, one of scope
"shared" once per block of threads. Its users must therefore run in the same threads. What several kernels or the host
use is one memory for all (docs/semantics.md, thread.scope).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from mlcref.ir import BlockRealize, Buffer, For, PrimFunc, Stmt, Var, index
from mlcref.schedule.dependence import PRIVATE_TO, Conflict, has_copies
from mlcref.schedule.find import blocks_below


def scope_conflict(func: PrimFunc, scopes: Sequence[str] = tuple(PRIVATE_TO)) -> Conflict | None:
    """Two blocks that use a buffer of one of ``scopes`` in different threads, None when there are none."""
    where = index(func)
    for realize in where.blocks.values():
        for buffer in realize.block.alloc_buffers:
            kind = buffer.scope.partition(".")[0]
            if kind not in scopes:
                continue
            axes = PRIVATE_TO[kind]
            users = list(_users(realize.block.body, {buffer}))
            found = _different_threads(func, users, axes) if _in_one_kernel(func, users) else None
            if found is not None:
                text = f"{buffer.name} of scope {buffer.scope!r} is used by blocks in different threads"
                return Conflict(text, tuple((user, f"uses {buffer.name}") for user in found))
    return None


def allocated_under_threads(before: PrimFunc, after: PrimFunc) -> Conflict | None:
    """A buffer that ``after``, other than ``before``, allocates in a block under a thread axis that shares it: one
    memory for all threads, where the block stands for one of them. None when there is no such buffer."""
    known = {(buffer, tag) for buffer, tag, _ in _shared_in_blocks(before)}
    for buffer, tag, realize in _shared_in_blocks(after):
        if (buffer, tag) not in known:
            text = f"{buffer.name} of scope {buffer.scope!r} would be one for all threads of {tag}"
            return Conflict(text, ((realize, "in this block"),))
    return None


def _shared_in_blocks(func: PrimFunc) -> Iterator[tuple[Buffer, str, BlockRealize]]:
    where = index(func)
    for realize in where.blocks.values():
        for buffer in realize.block.alloc_buffers:
            for loop in where.above(realize):
                if not isinstance(loop, For) or has_copies(buffer, loop.thread) or shared_by_threads(buffer, loop):
                    continue
                yield buffer, loop.thread or "", realize


def bound_inside_itself(before: PrimFunc, after: PrimFunc) -> Conflict | None:
    """A thread axis that ``after``, other than ``before``, binds inside itself: each thread would run one iteration of
    the inner loop, of which it ran all. None when there is none."""
    known = set(_bound_twice(before))
    for inner, outer in _bound_twice(after):
        if (inner, outer) not in known:
            loops = index(after).loops
            text = f"loop {inner.name} would be bound to {loops[inner].thread} inside loop {outer.name}, which is"
            return Conflict(text, ((loops[outer], "this loop"), (loops[inner], "bound to the same axis")))
    return None


def _bound_twice(func: PrimFunc) -> Iterator[tuple[Var, Var]]:
    where = index(func)
    for var, loop in where.loops.items():
        for up in where.above(loop) if loop.thread is not None and "vthread" not in loop.thread else ():
            if isinstance(up, For) and up.thread == loop.thread:
                yield var, up.loop_var


def bound_in_a_reduction(before: PrimFunc, after: PrimFunc) -> Conflict | None:
    """A loop that ``after``, other than ``before``, binds in the init or the body of one reduction inside a kernel:
    there is no barrier between the two. None when there is none."""
    known = {(loop.loop_var, realize.block.token) for loop, realize in _bound_in_reductions(before)}
    for loop, realize in _bound_in_reductions(after):
        if (loop.loop_var, realize.block.token) not in known:
            text = f"no barrier separates the init of block {realize.block.name} from what is bound inside the block"
            return Conflict(text, ((realize, "this reduction"), (loop, "would be bound inside")))
    return None


def _bound_in_reductions(func: PrimFunc) -> Iterator[tuple[For, BlockRealize]]:
    where = index(func)
    for loop in filter(_is_axis, where.loops.values()):
        for up in where.above(loop):
            if isinstance(up, BlockRealize) and up.block.init is not None and any(map(_is_axis, where.above(up))):
                yield loop, up


def shared_by_iterations(before: PrimFunc, after: PrimFunc) -> Conflict | None:
    """A buffer of which each iteration of a parallel loop has its own in ``before``, and all of them one in ``after``,
    where a thread axis stands around: global memory is allocated above the axes. None when there is none."""
    known = {buffer for buffer, _, _ in _global_under_axes(before)}
    for buffer, loop, realize in _global_under_axes(after):
        if buffer not in known:
            text = f"{buffer.name} would be one memory for all iterations of the {loop.kind} loop {loop.loop_var.name}"
            return Conflict(text, ((loop, "this loop"), (realize, f"uses {buffer.name}")))
    return None


def _global_under_axes(func: PrimFunc) -> Iterator[tuple[Buffer, For, BlockRealize]]:
    """Global buffers that are used in one parallel loop alone, inside a thread axis that is inside their scope."""
    where = index(func)
    for realize in where.blocks.values():
        for buffer in realize.block.alloc_buffers:
            users = list(_users(realize.block.body, {buffer})) if buffer.scope == "global" else []
            chains = [[stmt for stmt in where.above(user) if isinstance(stmt, For)] for user in users]
            common = [loop for loop in chains[0] if all(loop in chain for chain in chains)] if chains else []
            for k, loop in enumerate(common):
                axes = [outer for outer in common[k + 1 :] if _is_axis(outer) and realize in set(where.above(outer))]
                if axes and loop.kind in ("parallel", "vectorized"):
                    yield buffer, loop, users[0]


def shared_by_threads(buffer: Buffer, loop: For) -> bool:
    """Do the iterations of ``loop``, run by threads, share what is computed into ``buffer`` inside it? Each of them
    then computes what all of them need, until the loops of the computation are bound to threads as well."""
    tag, kind = loop.thread or "", buffer.scope.partition(".")[0]
    if kind == "shared":
        return tag.startswith("threadIdx") or "vthread" in tag
    return kind == "warp" and tag == "threadIdx.x"


def _in_one_kernel(func: PrimFunc, users: Sequence[BlockRealize]) -> bool:
    """Is there one thread axis above all of ``users``?"""
    kernels = {next(filter(_is_axis, reversed([*index(func).above(user)])), None) for user in users}
    return len(kernels) == 1 and None not in kernels


def _is_axis(stmt: object) -> bool:
    return isinstance(stmt, For) and stmt.thread is not None and "vthread" not in stmt.thread


def _users(stmt: Stmt, names: set[Buffer]) -> Iterator[BlockRealize]:
    """The innermost blocks in a statement that use a buffer under one of its names."""
    for realize in blocks_below(stmt):
        block = realize.block
        known = names | {match.buffer for match in block.match_buffers if match.source.buffer in names}
        inner = [user for part in (block.init, block.body) if part is not None for user in _users(part, known)]
        if inner:
            yield from inner
        elif any(region.buffer in names for region in (*block.reads, *block.writes)):
            yield realize


def _different_threads(
    func: PrimFunc, users: list[BlockRealize], axes: tuple[str, ...]
) -> tuple[BlockRealize, BlockRealize] | None:
    around = [_threads(func, user, axes) for user in users]
    for user, loops in zip(users[1:], around[1:], strict=True):
        if loops != around[0]:
            return users[0], user
    return None


def _threads(func: PrimFunc, user: BlockRealize, axes: tuple[str, ...]) -> set[Var]:
    loops = (up for up in index(func).above(user) if isinstance(up, For) and up.thread is not None)
    return {loop.loop_var for loop in loops if str(loop.thread).startswith(axes)}
