"""What each primitive promises to have done, beside keeping the meaning: a split has the factors that were asked for,
a moved block is under the loop, an annotation is there; and what passes promise. The harness checks it every time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from math import prod
from typing import Any

from mlcref.ir import (
    Block, Buffer, BufferLoad, Call, Const, DeclBuffer, For, PrimFunc, Token, Var, index, structural_equal, walk,
)  # fmt: skip
from mlcref.schedule.find import constant_extent, loops_above
from mlcref.schedule.table import Handle

Promise = Callable[[PrimFunc, PrimFunc, dict[str, Any], Sequence[Handle]], "str | None"]
"""From the programs before and after, the arguments and the handles that were returned: what is not so, or None."""


def broken(name: str, before: PrimFunc, after: PrimFunc, given: dict[str, Any], made: Sequence[Handle]) -> str | None:
    """What primitive ``name`` did not do, None when it kept its promise (or makes none that is checked here)."""
    promise = PROMISES.get(name)
    return promise(before, after, given, made) if promise is not None else None


def _block(func: PrimFunc, token: Any) -> Block:
    return index(func).blocks[token].block


def _loop(func: PrimFunc, var: Any) -> For:
    return index(func).loops[var]


def _kind(kind: str) -> Promise:
    def promise(before: PrimFunc, after: PrimFunc, given: dict[str, Any], made: Sequence[Handle]) -> str | None:
        loop = _loop(after, given["loop"])
        wanted = (kind, given.get("thread_axis"))
        if (loop.kind, loop.thread) != wanted:
            return f"the loop is {loop.kind}, not {kind}"
        return None if loop.annotations == _loop(before, given["loop"]).annotations else "annotations are lost"

    return promise


def _split(before: PrimFunc, after: PrimFunc, given: dict[str, Any], made: Sequence[Handle]) -> str | None:
    extents = [constant_extent(_loop(after, var)) for var in made]
    wanted = [None if f in (None, -1) else f for f in given["factors"]]
    if len(extents) != len(wanted) or any(w is not None and w != e for w, e in zip(wanted, extents, strict=True)):
        return f"the loops have the extents {extents}, not {wanted}"
    total, sizes = constant_extent(_loop(before, given["loop"])), [e for e in extents if e is not None]
    if total is None or len(sizes) < len(extents) or None not in wanted:
        return None
    given_product = prod(w for w in wanted if w is not None)
    return None if prod(sizes) == given_product * -(-total // given_product) else "the inferred factor is not the least"


def _fuse(before: PrimFunc, after: PrimFunc, given: dict[str, Any], made: Sequence[Handle]) -> str | None:
    extents = [constant_extent(_loop(before, var)) for var in given["loops"]]
    known = [e for e in extents if e is not None]
    got = constant_extent(_loop(after, made[0]))
    return None if len(known) < len(extents) or got == prod(known) else f"the fused loop has the extent {got}"


def _reorder(before: PrimFunc, after: PrimFunc, given: dict[str, Any], made: Sequence[Handle]) -> str | None:
    loops = [_loop(after, var) for var in given["loops"]]
    for outer, inner in pairwise(loops):
        if outer not in set(index(after).above(inner)):
            return f"loop {outer.loop_var.name} is not above loop {inner.loop_var.name}"
    for loop in loops:
        old = _loop(before, loop.loop_var)
        if (loop.kind, loop.thread, loop.annotations) != (old.kind, old.thread, old.annotations):
            return f"loop {loop.loop_var.name} runs in another way than before"
    return None


def _annotate(before: PrimFunc, after: PrimFunc, given: dict[str, Any], made: Sequence[Handle]) -> str | None:
    old, new = (_annotations(func, given["block_or_loop"]) for func in (before, after))
    old[given["ann_key"]] = given["ann_val"]
    return None if old == new else f"the annotations are {new}"


def _unannotate(before: PrimFunc, after: PrimFunc, given: dict[str, Any], made: Sequence[Handle]) -> str | None:
    old, new = (_annotations(func, given["block_or_loop"]) for func in (before, after))
    del old[given["ann_key"]]
    return None if old == new else f"the annotations are {new}"


def _annotations(func: PrimFunc, handle: Handle) -> dict[str, Any]:
    return dict((_block(func, handle) if isinstance(handle, Token) else _loop(func, handle)).annotations)


def _moved(before: PrimFunc, after: PrimFunc, given: dict[str, Any], made: Sequence[Handle]) -> str | None:
    if not isinstance(given["loop"], Var) or given["loop"] not in index(before).loops:
        return None
    realize, target = index(after).blocks[given["block"]], _loop(after, given["loop"])
    return None if target in loops_above(after, realize) else "the block is not under the loop"


def _gone(before: PrimFunc, after: PrimFunc, given: dict[str, Any], made: Sequence[Handle]) -> str | None:
    return "the block is still there" if given["block"] in index(after).blocks else None


def _cached(before: PrimFunc, after: PrimFunc, given: dict[str, Any], made: Sequence[Handle]) -> str | None:
    copy = _block(after, made[0])
    used = [region.buffer for region in (*copy.reads, *copy.writes)]
    new = [buffer for buffer in used if buffer in _allocated(after) - _allocated(before)]
    if len(new) != 1:
        return f"the copy uses {len(new)} new buffers"
    wanted = given.get("storage_scope", new[0].scope)
    return None if new[0].scope == wanted else f"the new buffer has the scope {new[0].scope!r}"


def _allocated(func: PrimFunc) -> set[Buffer]:
    blocks = [realize.block for realize in index(func).blocks.values()]
    return {buffer for block in blocks for buffer in (*block.alloc_buffers, *(m.buffer for m in block.match_buffers))}


def _decompose(before: PrimFunc, after: PrimFunc, given: dict[str, Any], made: Sequence[Handle]) -> str | None:
    update, init = index(after).blocks[given["block"]], index(after).blocks[made[0]]  # type: ignore[index]
    if update.block.init is not None or init.block.init is not None:
        return "there is an init still"
    order = index(after).order
    if any(item.iter_type == "reduce" for item in init.block.iter_vars):
        return "the init has reduce iterators"
    return None if order[init] < order[update] else "the init comes after the update"


def _set_scope(before: PrimFunc, after: PrimFunc, given: dict[str, Any], made: Sequence[Handle]) -> str | None:
    old, new = _allocated(before), _allocated(after)
    if len(old) != len(new):
        return "another number of buffers"
    names = {buffer.name: buffer for buffer in old}
    changed = [b for b in new if b.name not in names or names[b.name].scope != b.scope]
    written = {region.buffer for region in _block(after, given["block"]).writes}
    written |= {region.buffer for region in _block(after, given["block"]).reads}
    if any(b.scope != given["storage_scope"] or b not in written for b in changed) or len(changed) > 1:
        return f"the scopes of {', '.join(sorted(b.name for b in changed))} are others"
    return None if any(b.scope == given["storage_scope"] for b in written) else "no buffer has the scope"


def _storage_align(before: PrimFunc, after: PrimFunc, given: dict[str, Any], made: Sequence[Handle]) -> str | None:
    key = "buffer_dim_align"
    old, new = _annotations(before, given["block"]), _annotations(after, given["block"])
    rows_before, rows_after = ([tuple(map(int, row)) for row in x.pop(key, ())] for x in (old, new))
    if old != new:
        return "other annotations have changed"
    position = given["buffer_index"]
    buffer = _block(before, given["block"]).writes[position].buffer if isinstance(position, int) else None
    if buffer is None:
        return None
    axis = given["axis"] % len(buffer.shape)
    wanted = (position, axis, given["factor"], given["offset"])
    others = [row for row in rows_before if row[:2] != wanted[:2]]
    return None if sorted(rows_after) == sorted([*others, wanted]) else f"the rows are {rows_after}"


def _pad_einsum(before: PrimFunc, after: PrimFunc, given: dict[str, Any], made: Sequence[Handle]) -> str | None:
    if structural_equal(before, after):
        return None
    old, new = _block(before, given["block"]).iter_vars, _block(after, given["block"]).iter_vars
    for x, y, factor in zip(old, new, given["padding"], strict=True):
        if isinstance(x.dom.extent, Const) and isinstance(y.dom.extent, Const):
            wanted = -(-int(x.dom.extent.value) // factor) * factor
            if int(y.dom.extent.value) != wanted:
                return f"{x.var.name} has {y.dom.extent} values, not {wanted}"
    return None


PROMISES: dict[str, Promise] = {
    "parallel": _kind("parallel"), "vectorize": _kind("vectorized"), "unroll": _kind("unrolled"),
    "bind": _kind("thread_binding"), "split": _split, "fuse": _fuse, "reorder": _reorder, "annotate": _annotate,
    "unannotate": _unannotate, "compute_at": _moved, "reverse_compute_at": _moved, "compute_inline": _gone,
    "reverse_compute_inline": _gone, "cache_read": _cached, "cache_write": _cached, "reindex": _cached,
    "reindex_cache_read": _cached, "reindex_cache_write": _cached, "decompose_reduction": _decompose,
    "set_scope": _set_scope, "storage_align": _storage_align, "pad_einsum": _pad_einsum,
}  # fmt: skip
"""By primitive; others promise nothing but their handles and the meaning."""


# ---- passes


def broken_by_pass(name: str, after: PrimFunc) -> str | None:
    """What is not so after the pass ``name``, beside what its result means; None when it kept its promise."""
    promise = OF_PASSES.get(name)
    return promise(after) if promise is not None else None


def _pointers_have_names(after: PrimFunc) -> str | None:
    """Pointers speak of second names alone, so that passes see whose memory may change; threads have none."""
    names = {node.buffer for node in walk(after.body) if isinstance(node, DeclBuffer)}
    pointers = [node for node in walk(after.body) if isinstance(node, Call) and node.op in _POINTING]
    for pointer in pointers:
        if isinstance(pointer.args[0], BufferLoad) and pointer.args[0].buffer not in names:
            return f"a pointer goes to {pointer.args[0].buffer.name}, not to a second name of it"
    threads = any(isinstance(node, For) and node.kind == "thread_binding" for node in walk(after.body))
    return "there are pointers in a program with thread axes" if pointers and threads else None


_POINTING = ("address_of", "buffer_data", "tvm_stack_make_array", "buffer_offset")
OF_PASSES: dict[str, Callable[[PrimFunc], str | None]] = {"declare_pointed": _pointers_have_names}
