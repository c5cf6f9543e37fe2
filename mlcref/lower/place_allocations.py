"""Where block allocations live: the lowest statement that dominates every use and stays above the loops of unfinished
reductions.
"""

from __future__ import annotations

from collections.abc import Iterator

from mlcref.ir import (
    BlockRealize, Buffer, BufferLoad, BufferStore, DeclBuffer, Expr, For, PrimFunc, Stmt, Var, children, variables,
    walk,
)  # fmt: skip
from mlcref.ir.index import stmt_children

Path = tuple[Stmt, ...]


def allocation_sites(func: PrimFunc) -> dict[Stmt, list[Buffer]]:
    """For statements of a schedulable ``func``: the buffers to allocate around them (inside, for the allocating block
    itself).

    The site of a buffer is the lowest statement that contains all its uses and every loop feeding a reduce, opaque or
    ordered iterator of a block that uses it, and that lies under the allocating block (``docs/semantics.md``,
    Memory). Buffers without a use have no site.
    """
    sites: dict[Stmt, list[Buffer]] = {}
    for buffer, path in _lowest_paths(func).items():
        sites.setdefault(path[-1], []).append(buffer)
    return sites


def _lowest_paths(func: PrimFunc) -> dict[Buffer, Path]:
    found: dict[Buffer, Path] = {}
    for path, buffers in _uses((func.body,)):
        for buffer in buffers:
            owner = _owner_depth(path, buffer)
            if owner is None:
                continue
            allowed = _above_threads(_above_reductions(path, owner), owner, buffer)
            found[buffer] = _common(found[buffer], allowed) if buffer in found else allowed
    return found


def _uses(path: Path) -> Iterator[tuple[Path, set[Buffer]]]:
    """Every statement below, by its path from the root, with the buffers that it uses itself."""
    yield path, _used_by(path[-1])
    for child in stmt_children(path[-1]):
        yield from _uses((*path, child))


def _used_by(stmt: Stmt) -> set[Buffer]:
    used: set[Buffer] = set()
    if isinstance(stmt, BufferStore):
        used.add(stmt.buffer)
    elif isinstance(stmt, DeclBuffer):
        used.add(stmt.source)
    elif isinstance(stmt, BlockRealize):
        used.update(match.source.buffer for match in stmt.block.match_buffers)
    for part in children(stmt):
        if isinstance(part, Expr):
            used.update(node.buffer for node in walk(part) if isinstance(node, BufferLoad))
    return used


def _owner_depth(path: Path, buffer: Buffer) -> int | None:
    """The depth in ``path`` of the block that allocates ``buffer``; None for a buffer from elsewhere."""
    for depth, stmt in enumerate(path):
        if isinstance(stmt, BlockRealize) and buffer in stmt.block.alloc_buffers:
            return depth
    return None


def _above_reductions(path: Path, owner: int) -> Path:
    """``path`` cut at the outermost loop below ``owner`` that feeds an iterator whose instances share the buffer's
    contents.
    """
    feeding: set[Var] = set()
    for stmt in path[owner + 1 :]:
        if isinstance(stmt, BlockRealize):
            feeding |= _ordered_inputs(stmt)
    feeding = _through_bindings(feeding, path[owner + 1 :])
    for depth in range(owner + 1, len(path)):
        stmt = path[depth]
        if isinstance(stmt, For) and stmt.loop_var in feeding:
            return path[: depth + 1]
    return path


def _above_threads(path: Path, owner: int, buffer: Buffer) -> Path:
    """``path`` cut at the outermost thread axis that shares the buffer: one global copy for all, a shared one per
    block of threads.
    """
    kind = buffer.scope.partition(".")[0]
    if kind == "local":
        return path
    prefixes = ("threadIdx",) if kind == "shared" else ("blockIdx", "threadIdx")
    for depth in range(owner + 1, len(path)):
        stmt = path[depth]
        if isinstance(stmt, For) and stmt.thread is not None and stmt.thread.startswith(prefixes):
            return path[: depth + 1]
    return path


def _ordered_inputs(realize: BlockRealize) -> set[Var]:
    pairs = zip(realize.block.iter_vars, realize.iter_values, strict=True)
    values = [value for iter_var, value in pairs if iter_var.iter_type != "spatial"]
    return {var for value in values for var in variables(value)}


def _through_bindings(feeding: set[Var], path: Path) -> set[Var]:
    """``feeding`` with the iterators of blocks on the path replaced by what feeds them."""
    result = set(feeding)
    for stmt in reversed(path):
        if isinstance(stmt, BlockRealize):
            for iter_var, value in zip(stmt.block.iter_vars, stmt.iter_values, strict=True):
                if iter_var.var in result:
                    result |= variables(value)
    return result


def _common(a: Path, b: Path) -> Path:
    length = 0
    while length < min(len(a), len(b)) and a[length] is b[length]:
        length += 1
    return a[:length]
