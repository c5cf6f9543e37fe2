"""Memory of allocated buffers: set_scope, storage_align."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from mlcref.ir import (
    BlockRealize, Buffer, MatchBufferRegion, PrimFunc, Token, index, replace, replace_at, replace_block,
    replace_buffers, unique_name, walk,
)  # fmt: skip
from mlcref.schedule.cache import SCOPES
from mlcref.schedule.dataflow import check_races
from mlcref.schedule.draws import wild
from mlcref.schedule.find import block_of
from mlcref.schedule.maps import find_access
from mlcref.schedule.table import Pick, Primitive, Result, refusal, refuse, register
from mlcref.schedule.thread_scopes import scope_conflict

ALIGN = "buffer_dim_align"
"""The annotation of storage_align: a list of [position among the writes, axis, factor, offset]."""


def _allocated(func: PrimFunc, rule: str, realize: BlockRealize, buffer: Buffer) -> Token:
    """The block that allocates the buffer; refuses other buffers."""
    for token, owner in index(func).blocks.items():
        if buffer in owner.block.alloc_buffers:
            return token
    what = f"{buffer.name} is not allocated by a block"
    raise refusal(func, rule, what, [(realize, f"writes {buffer.name}")], "its memory is decided by the caller")


# ---- set_scope


@dataclass(frozen=True, slots=True)
class ScopeFacts:
    """The buffer in its old and its new scope (None: it is in this scope already), and the block that allocates it."""

    old: Buffer
    new: Buffer | None
    owner: Token


def plan_set_scope(
    func: PrimFunc, block: Token, buffer_index: int | str | Buffer, storage_scope: str
) -> ScopeFacts:
    """Put an allocated buffer that the block writes into another memory: "global", "shared", "local" …

    >>> from mlcref.schedule import Schedule
    >>> from mlcref.script import from_source
    >>> sch = Schedule(from_source('''
    ... @T.prim_func
    ... def f(A: T.Buffer((8,), "float32"), C: T.Buffer((8,), "float32")):
    ...     B = T.alloc_buffer((8,))
    ...     for i in range(8):
    ...         with T.block("B"):
    ...             vi = T.axis.spatial(8, i)
    ...             B[vi] = A[vi]
    ...     for i in range(8):
    ...         with T.block("C"):
    ...             vi = T.axis.spatial(8, i)
    ...             C[vi] = B[vi]
    ... '''))
    >>> sch.set_scope("B", 0, "shared")
    >>> sch.get(sch.get_block("C")).body
    C[vi] = B_shared[vi]

    Raises ``ScheduleError`` for parameters, and where threads could no longer share what they share.

    Source: TVM ``set_scope``.
    """
    name = "set_scope"
    realize = block_of(func, block)
    old = find_access(func, f"{name}.P1", realize, buffer_index, "write")[2]
    marks = [(realize, f"writes {old.name}")]
    if storage_scope.partition(".")[0] not in SCOPES:
        what = f"there is no storage scope {storage_scope!r}"
        raise refusal(func, f"{name}.P2", what, marks, f"one of {', '.join(SCOPES)}, or one of them with a suffix")
    owner = _allocated(func, f"{name}.P3", realize, old)
    if storage_scope == old.scope:
        return ScopeFacts(old, None, owner)
    for node in walk(func.body):
        if isinstance(node, MatchBufferRegion) and node.source.buffer is old:
            what = f"{old.name} is matched by {node.buffer.name}, whose scope would be another one"
            raise refusal(func, f"{name}.P3", what, marks)
    facts = ScopeFacts(old, replace(old, name=_renamed(func, old, storage_scope), scope=storage_scope), owner)
    new = build_set_scope(func, facts)[0]
    conflict = scope_conflict(new)
    if conflict is not None:
        refuse(func, f"{name}.P4", conflict.text, [*marks, *conflict.marks])
    check_races(func, f"{name}.P4", new, marks)
    return facts


def _renamed(func: PrimFunc, buffer: Buffer, scope: str) -> str:
    used = {b.name for realize in index(func).blocks.values() for b in realize.block.alloc_buffers}
    used |= {b.name for b in func.buffers}
    return unique_name(f"{buffer.name}_{scope.replace('.', '_')}", used)


def build_set_scope(func: PrimFunc, facts: ScopeFacts) -> Result:
    """The function with the buffer exchanged."""
    if facts.new is None:
        return func, ()
    owner = index(func).blocks[facts.owner]
    return replace_at(func, {owner: replace_buffers(owner, {facts.old: facts.new})}), ()


def draw_set_scope(pick: Pick, func: PrimFunc) -> dict[str, Any] | None:
    """A block, one of its outputs that is allocated, and a scope."""
    found = _sites(func)
    if not found:
        return None
    token, position, _ = pick(found)
    return {"block": token, "buffer_index": position, "storage_scope": pick(["global", "local", "shared"])}


def _sites(func: PrimFunc) -> list[tuple[Token, int, Buffer]]:
    blocks = index(func).blocks
    allocated = {buffer for realize in blocks.values() for buffer in realize.block.alloc_buffers}
    return [
        (token, n, region.buffer)
        for token, realize in blocks.items()
        for n, region in enumerate(realize.block.writes)
        if region.buffer in allocated
    ]


# ---- storage_align


@dataclass(frozen=True, slots=True)
class AlignFacts:
    """The block and its new list of alignments."""

    block: Token
    alignments: tuple[tuple[int, int, int, int], ...]


def plan_storage_align(
    func: PrimFunc, block: Token, buffer_index: int | str | Buffer, axis: int, factor: int, offset: int
) -> AlignFacts:
    """Ask that the stride of ``axis`` of a buffer that the block writes be ``k * factor + offset`` elements for some k,
    so that columns fall into different banks of shared memory.

    It is a hint on the block, ``buffer_dim_align``: indices mean what they meant, and a backend may leave it aside. The
    CPU backend does.

    >>> from mlcref.schedule import Schedule
    >>> from mlcref.script import from_source
    >>> sch = Schedule(from_source('''
    ... @T.prim_func
    ... def f(A: T.Buffer((8, 8), "float32"), C: T.Buffer((8, 8), "float32")):
    ...     B = T.alloc_buffer((8, 8))
    ...     for i, j in T.grid(8, 8):
    ...         with T.block("B"):
    ...             vi, vj = T.axis.remap("SS", [i, j])
    ...             B[vi, vj] = A[vi, vj]
    ...     for i, j in T.grid(8, 8):
    ...         with T.block("C"):
    ...             vi, vj = T.axis.remap("SS", [i, j])
    ...             C[vi, vj] = B[vj, vi]
    ... '''))
    >>> sch.storage_align("B", 0, axis=-2, factor=32, offset=1)
    >>> dict(sch.get(sch.get_block("B")).annotations)
    {'buffer_dim_align': [[0, 0, 32, 1]]}

    Raises ``ScheduleError`` for parameters, axes that do not exist, and factors that are not positive.

    Source: TVM ``storage_align``.
    """
    name = "storage_align"
    realize = block_of(func, block)
    _, position, buffer = find_access(func, f"{name}.P1", realize, buffer_index, "write")
    marks = [(realize, f"writes {buffer.name}")]
    _allocated(func, f"{name}.P2", realize, buffer)
    if not -buffer.ndim <= axis < buffer.ndim:
        what = f"{buffer.name} has no axis {axis}"
        raise refusal(func, f"{name}.P3", what, marks, f"from {-buffer.ndim} to {buffer.ndim - 1}")
    if factor <= 0:
        raise refusal(func, f"{name}.P4", f"the factor {factor} is not positive", marks)
    known = _alignments(func, realize, marks)
    new = (position, axis % buffer.ndim, factor, offset)
    kept = [new if row[:2] == new[:2] else row for row in known]
    return AlignFacts(block, tuple(kept if new in kept else [*kept, new]))


def _alignments(func: PrimFunc, realize: BlockRealize, marks: Sequence[Any]) -> list[tuple[int, int, int, int]]:
    """The alignments that the block has."""
    given = realize.block.annotations.get(ALIGN, [])
    rows: list[tuple[int, int, int, int]] = []
    for row in given if isinstance(given, list | tuple) else [None]:
        if not isinstance(row, list | tuple) or len(row) != 4 or not all(isinstance(n, int) for n in row):
            what = f"the annotation {ALIGN!r} is {given!r}"
            raise refusal(func, "storage_align.P5", what, marks, "a list of [output, axis, factor, offset]")
        rows.append((row[0], row[1], row[2], row[3]))
    return rows


def build_storage_align(func: PrimFunc, facts: AlignFacts) -> Result:
    """The function with the annotation."""
    block = index(func).blocks[facts.block].block
    annotations = block.annotations.updated({ALIGN: [list(row) for row in facts.alignments]})
    return replace_block(func, facts.block, replace(block, annotations=annotations)), ()


def draw_storage_align(pick: Pick, func: PrimFunc) -> dict[str, Any] | None:
    """A block, one of its outputs that is allocated, and an alignment; sometimes an output, an axis or a factor that
    there cannot be."""
    found = [site for site in _sites(func) if site[2].ndim]
    if not found:
        return None
    token, position, buffer = pick(found)
    axis = pick(range(-buffer.ndim, buffer.ndim))
    chosen = {"block": token, "buffer_index": position, "axis": axis}
    chosen |= {"factor": pick([1, 4, 32]), "offset": pick([0, 1])}
    if wild(pick):
        outputs = len(index(func).blocks[token].block.writes)
        chosen |= pick([{"buffer_index": outputs}, {"axis": buffer.ndim}, {"axis": -buffer.ndim - 1}, {"factor": 0}])
    return chosen


def recorded_output(rule: str) -> Any:
    """For ``recorded``: the output by its position."""

    def recorded(func: PrimFunc, block: Token, buffer_index: Any, **_: Any) -> dict[str, Any]:
        return {"buffer_index": find_access(func, rule, block_of(func, block), buffer_index, "write")[1]}

    return recorded


SET_SCOPE = register(
    Primitive(
        "set_scope",
        {
            "P1": "the block has the output",
            "P2": "the storage scope is known",
            "P3": "a block allocates the buffer, and no other buffer is matched to it",
            "P4": "the blocks that use the buffer do so in the threads that share the new memory",
        },
        plan_set_scope,
        build_set_scope,
        draw_set_scope,
        attributes=("buffer_index", "storage_scope"),
        forceable=frozenset({"P4"}),
        recorded=recorded_output("set_scope.P1"),
    )
)
STORAGE_ALIGN = register(
    Primitive(
        "storage_align",
        {
            "P1": "the block has the output",
            "P2": "a block allocates the buffer",
            "P3": "the buffer has the axis",
            "P4": "the factor is positive",
            "P5": "an annotation that is there already is a list of alignments",
        },
        plan_storage_align,
        build_storage_align,
        draw_storage_align,
        attributes=("buffer_index", "axis", "factor", "offset"),
        recorded=recorded_output("storage_align.P1"),
    )
)
