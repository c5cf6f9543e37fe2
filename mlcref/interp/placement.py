"""Where block allocations live (rule memory.lifetime) and which statements contain barriers (rule thread.phase).

Computed once per function, from the statements alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from weakref import WeakKeyDictionary

from mlcref.ir.buffer import Buffer, BufferLoad
from mlcref.ir.expr import Call, Expr, Var
from mlcref.ir.function import PrimFunc
from mlcref.ir.index import index, stmt_children
from mlcref.ir.stmt import (
    Block,
    BlockRealize,
    Break,
    BufferStore,
    Continue,
    DeclBuffer,
    Evaluate,
    For,
    SeqStmt,
    Stmt,
)
from mlcref.ir.visit import children, variables, walk

Path = tuple[Stmt, ...]


def scope_kind(buffer: Buffer) -> str:
    """The memory scope without its suffix: "global", "shared", "local", …"""
    return buffer.scope.partition(".")[0]


def is_thread(stmt: Stmt, prefix: str = "") -> bool:
    """Is ``stmt`` a loop over a thread axis whose tag starts with ``prefix``? vthread is a serial loop."""
    return (
        isinstance(stmt, For)
        and stmt.thread is not None
        and stmt.thread.startswith(prefix)
        and "vthread" not in stmt.thread
    )


def is_barrier(stmt: Stmt, ops: tuple[str, ...] = ("tvm_storage_sync", "tvm_thread_allreduce")) -> bool:
    """Is ``stmt`` a barrier, or something that all threads do together?"""
    return isinstance(stmt, Evaluate) and isinstance(stmt.value, Call) and stmt.value.op in ops


class Facts:
    """What the machine needs to know about a function before it runs it.

    ``allocations``: the buffers that start anew at each entry of a statement. ``phases``: statements that contain a
    barrier. ``threads``: statements that contain thread axes, ``jumps`` a break or continue. ``private``: buffers of
    which each thread of a kernel has its own. ``collective``: blocks
    that reduce over threads, with what they write. ``forks``: does any loop run its iterations in no order?
    """

    def __init__(self, func: PrimFunc) -> None:
        self.allocations: dict[Stmt, list[Buffer]] = {}
        self.phases: set[Stmt] = set()
        self.threads: set[Stmt] = set()
        self.jumps: set[Stmt] = set()
        statements = list(index(func).order)
        blocks = any(isinstance(s, BlockRealize) for s in statements)
        self.explicit = not blocks and any(is_barrier(s, ("tvm_storage_sync",)) for s in statements)
        self.forks = any(
            isinstance(s, For) and (s.kind in ("parallel", "vectorized") or is_thread(s)) for s in statements
        )
        if any(is_thread(s) for s in statements):
            self._mark(func.body)
        self.collective = _collective_blocks(func) if self.threads else {}
        self.private = _private_buffers(func) if self.threads else set()
        for buffer, path in _lowest_paths(func).items():
            self.allocations.setdefault(self._in_scope(buffer, path), []).append(buffer)

    def _mark(self, stmt: Stmt) -> bool:
        """Fill ``phases``, ``threads`` and ``jumps`` bottom-up; does ``stmt`` touch memory that other threads see?"""
        parts = stmt_children(stmt)
        touching = [self._mark(part) for part in parts]
        implied = isinstance(stmt, SeqStmt) and any(touching) and not self.explicit
        if implied or is_barrier(stmt) or any(part in self.phases for part in parts):
            self.phases.add(stmt)
        if is_thread(stmt) or any(part in self.threads for part in parts):
            self.threads.add(stmt)
        if isinstance(stmt, Break | Continue) or any(part in self.jumps for part in parts):
            self.jumps.add(stmt)
        return any(touching) or any(scope_kind(buffer) != "local" for buffer in _used_by(stmt))

    def groups(self, stmt: SeqStmt) -> list[list[Stmt]]:
        """The parts of a sequence between which there is a barrier (rule thread.sync): each part, or, in a function
        that writes its barriers itself, the runs of parts without one."""
        if not self.explicit:
            return [[part] for part in stmt.seq]
        found: list[list[Stmt]] = []
        for part in stmt.seq:
            if found and part not in self.phases and found[-1][-1] not in self.phases:
                found[-1].append(part)
            else:
                found.append([part])
        return found

    def _in_scope(self, buffer: Buffer, path: Path) -> Stmt:
        """Rule thread.scope: ``global`` memory is allocated above all threads, ``shared`` where the threads run in
        lock step."""
        kind = scope_kind(buffer)
        if kind == "local" or not self.threads:
            return path[-1]
        outermost = next((s for s in path if is_thread(s, "" if kind == "global" else "threadIdx")), None)
        if outermost is None or outermost is path[-1]:
            return path[-1]
        if kind == "global":
            return outermost
        below = path[path.index(outermost) :]
        return next((s for s in reversed(below) if s in self.phases), outermost)


def _collective_blocks(func: PrimFunc) -> dict[Block, set[Buffer]]:
    """Blocks with an init of which a reduce iterator is bound to threads, with the buffers they write."""
    found: dict[Block, set[Buffer]] = {}
    sources: dict[Var, set[Var]] = {}
    threads: set[Var] = set()
    for stmt in index(func).order:
        if isinstance(stmt, For) and is_thread(stmt, "threadIdx"):
            threads.add(stmt.loop_var)
        elif isinstance(stmt, BlockRealize):
            for it, value in zip(stmt.block.iter_vars, stmt.iter_values, strict=True):
                used = variables(value)
                sources[it.var] = used.union(*(sources.get(var, set()) for var in used))
                if it.iter_type == "reduce" and sources[it.var] & threads and stmt.block.init is not None:
                    found[stmt.block] = {node.buffer for node in walk(stmt.block) if isinstance(node, BufferStore)}
    return found


def _lowest_paths(func: PrimFunc) -> dict[Buffer, Path]:
    """Of each block allocation: the path to the lowest statement that dominates its uses and the loops of its
    reductions."""
    found: dict[Buffer, Path] = {}
    for path, buffers in _uses((func.body,)):
        for buffer in buffers:
            owner = _owner(path, buffer)
            if owner is not None:
                lowest = _above_reductions(path, owner)
                found[buffer] = _common(found.get(buffer, lowest), lowest)
    return found


def _private_buffers(func: PrimFunc) -> set[Buffer]:
    """The buffers of scope "local" that only statements below one thread axis use."""
    found: dict[Buffer, Path] = {}
    for path, buffers in _uses((func.body,)):
        owned = {buffer: _owner(path, buffer) for buffer in buffers if scope_kind(buffer) == "local"}
        for buffer, owner in owned.items():
            lowest = path if owner is None else _above_reductions(path, owner)
            found[buffer] = _common(found.get(buffer, lowest), lowest)
    return {buffer for buffer, path in found.items() if any(is_thread(above) for above in path[:-1])}


def _uses(path: Path) -> Iterator[tuple[Path, set[Buffer]]]:
    used = _used_by(path[-1])
    if used:
        yield path, used
    for child in stmt_children(path[-1]):
        yield from _uses((*path, child))


def _used_by(stmt: Stmt) -> set[Buffer]:
    """Buffers that ``stmt`` itself loads, stores or renames; what it contains as statements is not counted."""
    used: set[Buffer] = set()
    if isinstance(stmt, BufferStore):
        used.add(stmt.buffer)
    elif isinstance(stmt, DeclBuffer):
        used.add(stmt.source)
    elif isinstance(stmt, BlockRealize):
        used.update(match.source.buffer for match in stmt.block.match_buffers)
    for part in children(stmt):
        if isinstance(part, Expr):
            used.update(node.buffer for node in walk(part) if type(node) is BufferLoad)
    return used


def _owner(path: Path, buffer: Buffer) -> int | None:
    """Depth of the block that allocates ``buffer``; None for parameters and flat allocations."""
    for depth, stmt in enumerate(path):
        if isinstance(stmt, BlockRealize) and buffer in stmt.block.alloc_buffers:
            return depth
    return None


def _above_reductions(path: Path, owner: int) -> Path:
    """``path`` up to the outermost loop that feeds an iterator whose instances continue each other's work."""
    feeding: set[Var] = set()
    for stmt in reversed(path[owner + 1 :]):
        if isinstance(stmt, BlockRealize):
            for it, value in zip(stmt.block.iter_vars, stmt.iter_values, strict=True):
                if it.iter_type != "spatial" or it.var in feeding:
                    feeding |= variables(value)
    for depth in range(owner + 1, len(path)):
        stmt = path[depth]
        if isinstance(stmt, For) and stmt.loop_var in feeding:
            return path[: depth + 1]
    return path


def _common(a: Path, b: Path) -> Path:
    length = 0
    while length < min(len(a), len(b)) and a[length] is b[length]:
        length += 1
    return a[:length]


_facts: WeakKeyDictionary[PrimFunc, Facts] = WeakKeyDictionary()


def facts_of(func: PrimFunc) -> Facts:
    """The facts of ``func``, remembered as long as it lives."""
    found = _facts.get(func)
    if found is None:
        found = _facts[func] = Facts(func)
    return found
