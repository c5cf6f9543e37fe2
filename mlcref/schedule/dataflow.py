"""What every primitive that moves or makes blocks asks of the program around them.

Such a primitive works inside one scope: the body of a block that holds nothing but loops and blocks. A block that is
moved is complete (spatial iterators only) or a reduction with its init, and is the only block of the scope that writes
its output.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import Any

from mlcref.arith import expr_key, uses_any
from mlcref.ir import (
    BlockRealize, Buffer, BufferRegion, BufferStore, For, PrimFunc, SeqStmt, Stmt, Token, Var, children_of, index,
)  # fmt: skip
from mlcref.ir.index import stmt_children
from mlcref.schedule.dependence import carried_conflicts, is_private, reads_first, reduce_loops, separated
from mlcref.schedule.find import (
    blocks_below,
    body_blocks,
    child_blocks,
    constant_extent,
    is_reduction,
    loops_above,
    readers,
    scope_of,
    writers,
)
from mlcref.schedule.nest import starts_at_zero, tells_apart
from mlcref.schedule.table import refusal, refuse
from mlcref.schedule.thread_scopes import (
    allocated_under_threads, bound_in_a_reduction, bound_inside_itself, scope_conflict,
)  # fmt: skip

CONCURRENT = ("parallel", "vectorized", "thread_binding")


def check_scope(func: PrimFunc, rule: str, realize: BlockRealize) -> BlockRealize:
    """The scope of a block; refuses the root block, blocks in an init, and scopes with statements outside blocks."""
    name = realize.block.name
    if realize is func.body:
        raise refusal(func, rule, "the root block has no scope", [(realize, "the root block")])
    scope = scope_of(func, realize)
    if realize not in body_blocks(scope):
        raise refusal(func, rule, f"block {name} is in the init of block {scope.block.name}", [(realize, "in an init")])
    stray = _stray(scope.block.body)
    if stray is not None:
        what = f"around block {name} there is more than loops and blocks"
        raise refusal(func, rule, what, [(stray, "outside the blocks"), (realize, "this block")])
    if scope.block.match_buffers:
        raise refusal(
            func, rule, f"block {scope.block.name} gives a buffer a second name", [(scope, "match_buffer here")]
        )
    loops = {loop.loop_var for loop in loops_above(func, realize)}
    if uses_any(realize.block, loops):
        raise refusal(
            func, rule, f"block {name} uses a loop variable around it other than by its bindings", [(realize, "here")]
        )
    return scope


def _stray(stmt: Stmt) -> Stmt | None:
    if isinstance(stmt, BlockRealize):
        return None
    if not isinstance(stmt, For | SeqStmt):
        return stmt
    return next((found for part in stmt_children(stmt) if (found := _stray(part)) is not None), None)


def check_movable(
    func: PrimFunc, rule: str, realize: BlockRealize, scope: BlockRealize, *, several: bool = False
) -> tuple[BufferRegion, ...]:
    """The output of a complete or reduction block; refuses any other block. With ``several`` it may have more outputs,
    if it writes the same elements of each (as a reduction of tuples does)."""
    block = realize.block
    marks = [(realize, "this block")]
    for item in block.iter_vars:
        if item.iter_type not in ("spatial", "reduce") or not starts_at_zero(item):
            what = f"{item.var.name} of block {block.name} is {item.iter_type} or does not start at 0"
            raise refusal(func, rule, what, [(item, "this iterator")])
    if len(block.writes) != 1 and not (several and block.writes):
        raise refusal(func, rule, f"block {block.name} writes {len(block.writes)} buffers, not one", marks)
    first = block.writes[0]
    for output in block.writes:
        if [expr_key(dimension) for dimension in output.region] != [expr_key(dimension) for dimension in first.region]:
            both = f"{first.buffer.name} and {output.buffer.name}"
            raise refusal(func, rule, f"block {block.name} writes different elements of {both}", marks)
        if any(item.iter_type == "reduce" for item in block.iter_vars) and not is_reduction(realize):
            what = f"block {block.name} updates {output.buffer.name} and has no init"
            refuse(func, rule, what, marks, "before decompose_reduction, or with the block that is not reduced")
        if any(region.buffer is output.buffer for region in block.reads):
            refuse(func, rule, f"block {block.name} reads what it writes, {output.buffer.name}", marks)
        for other in writers(child_blocks(scope), output.buffer):
            if other is not realize:
                what = f"blocks {block.name} and {other.block.name} both write {output.buffer.name}"
                refuse(func, rule, what, [(realize, "writes it"), (other, "writes it too")])
    return block.writes


def input_writers(
    func: PrimFunc,
    rule: str,
    realize: BlockRealize,
    scope: BlockRealize,
    *,
    single: bool = False,
    later: bool = False,
) -> list[tuple[BufferRegion, BlockRealize]]:
    """The writers of each buffer that the block reads (none: it comes from outside). Refuses a later one (unless
    ``later``), one whose reduction goes on around the block, and (``single``) more than one per buffer."""
    order = index(func).order
    found: list[tuple[BufferRegion, BlockRealize]] = []
    for region in realize.block.reads:
        others = [b for b in writers(child_blocks(scope), region.buffer) if b is not realize]
        read, marks = region.buffer.name, [(realize, "reads it"), *((b, "writes it") for b in others)]
        if single and len(others) > 1:
            what = f"{read}, read by block {realize.block.name}, is written by {len(others)} blocks"
            refuse(func, rule, what, marks)
        for other in others:
            if order[other] > order[realize] and not later:
                what = f"block {realize.block.name} reads {read} before block {other.block.name} writes it"
                refuse(func, rule, what, marks)
            if going_on(func, other, shared_loops(func, other, realize)):
                what = f"block {realize.block.name} reads {read} while the reduction of {other.block.name} goes on"
                refuse(func, rule, what, marks)
            found.append((region, other))
    return found


def check_not_overwritten(
    func: PrimFunc, rule: str, realize: BlockRealize, new: PrimFunc, readers: Sequence[Token]
) -> None:
    """Refuse where a block that comes after ``realize`` may write what ``readers`` read in ``new`` in its place, before
    they do so."""
    order = index(func).order
    for region in realize.block.reads:
        for writer in writers(child_blocks(scope_of(func, realize)), region.buffer):
            if order[writer] <= order[realize]:
                continue
            known = shared_loops(func, realize, writer)
            if not all(reads_first(new, token, writer.block.token, region.buffer, known) for token in readers):
                what = f"block {realize.block.name} reads {region.buffer.name}, which block {writer.block.name} may "
                what += "have written over by then"
                refuse(func, rule, what, [(realize, "reads it"), (writer, "writes it")])


def going_on(func: PrimFunc, realize: BlockRealize, loops: Collection[Var]) -> bool:
    """Does one of ``loops``, with more than one iteration, feed the reduction of the block?"""
    where = index(func).loops
    return any(constant_extent(where[var]) != 1 for var in reduce_loops(realize) & set(loops))


def uses_of(blocks: Sequence[BlockRealize], buffer: Buffer) -> list[tuple[BlockRealize, BufferRegion]]:
    """The blocks that read a buffer, with the regions."""
    return [(b, region) for b in readers(blocks, buffer) for region in b.block.reads if region.buffer is buffer]


def shared_loops(func: PrimFunc, a: Stmt, b: Stmt) -> set[Var]:
    """Variables of the loops, inside the scope, around both statements."""
    around = {loop.loop_var for loop in loops_above(func, a)}
    return around & {loop.loop_var for loop in loops_above(func, b)}


def keeps_contents(buffer: Buffer, blocks: Sequence[BlockRealize], loops: set[Var]) -> bool:
    """Does an allocated buffer keep its contents from one iteration of ``loops`` to the next, because one of them feeds
    a reduce iterator of a block that uses it?
    """
    users = [b for b in blocks if any(r.buffer is buffer for r in (*b.block.reads, *b.block.writes))]
    return any(reduce_loops(user) & loops for user in users)


def choose_position(func: PrimFunc, rule: str, loop: For, low: int, high: int, wanted: int) -> int:
    """The place among the statements of a loop: -1 the last possible, -2 the first possible, else the given one."""
    if wanted in (-1, -2):
        return high if wanted == -1 else low
    if not low <= wanted <= high:
        what = f"index {wanted} is not between {low} and {high}, where producers come before and consumers after"
        raise refusal(func, rule, what, [(loop, "the loop")])
    return wanted


def positions(loop: For, blocks: Sequence[BlockRealize]) -> list[int]:
    """Positions of the statements directly in a loop that hold one of ``blocks``."""
    wanted = set(blocks)
    return [i for i, part in enumerate(children_of(loop.body)) if wanted & set(blocks_below(part))]


def insert(loop: For, position: int, stmt: Stmt) -> tuple[Stmt, ...]:
    """The statements of a loop with one more at ``position``."""
    parts = children_of(loop.body)
    return (*parts[:position], stmt, *parts[position:])


# ---- loops whose iterations run at once


def any_concurrent(func: PrimFunc) -> bool:
    """Does any loop of the function run its iterations at once? If not, :func:`check_races` has nothing to find."""
    return any(loop.kind in CONCURRENT for loop in index(func).loops.values())


def check_races(func: PrimFunc, rule: str, new: PrimFunc, marks: Sequence[tuple[Any, str]]) -> None:
    """Refuse when a concurrent loop without conflicts in ``func`` has one in ``new``, or when blocks of different
    threads use one buffer in memory private to a thread. (A shared copy may wait to be moved under its threads.)
    """
    apart = scope_conflict(new, ("local", "warp")) or allocated_under_threads(func, new)
    apart = apart or bound_inside_itself(func, new) or bound_in_a_reduction(func, new)
    if apart is not None:
        refuse(func, rule, apart.text, marks, "do this before bind")
    before = index(func).loops
    for var, loop in index(new).loops.items():
        if loop.kind in CONCURRENT:
            known = set(_races(func, before[var])) if var in before else set()
            for text in _races(new, loop):
                if text not in known:
                    refuse(func, rule, text, marks, "make the loop parallel (vectorized, bound) afterwards")


def check_new_memory(func: PrimFunc, rule: str, new: PrimFunc, marks: Sequence[tuple[Any, str]]) -> None:
    """:func:`check_races` of a function with buffers that stay where they are put: blocks of different threads may not
    use one in shared memory either, unless there was such a buffer before.
    """
    check_races(func, rule, new, marks)
    conflict = scope_conflict(new)
    if conflict is not None and scope_conflict(func) is None:
        refuse(func, rule, conflict.text, marks, "do this before bind")


def _races(func: PrimFunc, loop: For) -> Iterator[str]:
    """Why iterations of a loop may conflict: everything that is not ruled out.

    Threads of one block run in lock step, so that statements of a sequence are apart, and may store the same bits to
    one element; virtual threads run one after the other (docs/semantics.md, thread.phase).
    """
    if loop.thread is not None and "vthread" in loop.thread:
        return
    lock_step = loop.thread is not None and loop.thread.startswith("threadIdx")
    if not lock_step:
        for conflict in carried_conflicts(func, [loop]):
            yield conflict.text
    for realize in blocks_below(loop):
        if lock_step and (stores_the_same(realize) or _reduce_together(realize, loop)):
            continue
        for region in realize.block.writes:
            if not is_private(func, loop, region.buffer) and not separated(func, [loop], [(realize, region)]):
                name = loop.loop_var.name
                yield f"iterations of {name} would all write {region.buffer.name} in block {realize.block.name}"


def _reduce_together(realize: BlockRealize, loop: For) -> bool:
    """Do the threads of ``loop`` reduce together, each a part of what the block reduces?"""
    return realize.block.init is not None and loop.loop_var in reduce_loops(realize)


def stores_the_same(realize: BlockRealize) -> bool:
    """Do instances that write the same element write the same bits? They do when the element tells the instance, and
    the block reads nothing that it writes."""
    block = realize.block
    written = {region.buffer for region in block.writes}
    if len(block.writes) != 1 or block.init is not None or any(region.buffer in written for region in block.reads):
        return False
    spatial = all(item.iter_type == "spatial" for item in block.iter_vars)
    return spatial and isinstance(block.body, BufferStore) and tells_apart(realize, block.iter_vars)
