"""Thread axes as serial loops, for a CPU.

Threads run in lock step with a barrier after each statement that touches memory of others; a serial loop runs them
one after the other. Both mean the same when no thread touches what another one has written between barriers: when the
elements of all memory that is stored and used again in a nest of threads are apart for different threads. Anything
else is refused.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from mlcref import arith
from mlcref.errors import UnsupportedError
from mlcref.ir import (
    AllocBuffer, Buffer, BufferLoad, BufferStore, Call, DeclBuffer, Expr, For, Node, PrimFunc, SeqStmt, Stmt, Var,
    While, buffers_used, children, constant, map_children, replace, structural_equal, substitute, walk,
)  # fmt: skip
from mlcref.lower.accesses import Located, located_accesses
from mlcref.lower.domains import Domains, shape_domain, with_loop

_HINT = "split the kernel, keep the buffer in local scope, or compile for a GPU"


def serialize_threads(func: PrimFunc) -> PrimFunc:
    """``func`` with its thread axes as serial loops; raises ``UnsupportedError`` where the order of the threads would
    matter.
    """
    if not any(isinstance(node, For) and node.kind == "thread_binding" for node in walk(func.body)):
        return func
    return replace(func, body=_Threads(func).visit(func.body, {}, shape_domain(func.shape_vars())))


@dataclass
class _Nest:
    """The threadIdx axes of one nest of threads: variables by tag, and their extents."""

    tag_of: dict[Var, str] = field(default_factory=dict)
    extents: dict[str, int] = field(default_factory=dict)


class _Threads:
    def __init__(self, func: PrimFunc) -> None:
        self.func = func
        self.views = {node.buffer: node.source for node in walk(func.body) if isinstance(node, DeclBuffer)}

    def refuse(self, what: str, stmt: Stmt) -> UnsupportedError:
        return UnsupportedError(what, rule="lower.threads", root=self.func, marks=[(stmt, "here")], hint=_HINT)

    def visit(self, stmt: Stmt, axes: Mapping[str, For], dom: Domains) -> Stmt:
        """``stmt`` without thread axes; ``axes`` are the open ones by tag."""
        if isinstance(stmt, AllocBuffer) and _is_private(stmt, axes) and _opens_threads(stmt.body, axes):
            raise self.refuse(f"each thread has its own {stmt.buffer.name}, which is used around a barrier", stmt)
        if not isinstance(stmt, For) or stmt.kind != "thread_binding":
            inner = with_loop(dom, stmt)
            return map_children(
                lambda child: self.visit(child, axes, inner) if isinstance(child, Stmt) else child, stmt
            )
        tag = stmt.thread or ""
        if tag in axes:
            return self.projected(stmt, axes, dom)
        is_nest = tag.startswith("threadIdx") and not any(name.startswith("threadIdx") for name in axes)
        opened = axes if "vthread" in tag else {**axes, tag: stmt}
        serial = replace(stmt, kind="serial", thread=None, body=self.visit(stmt.body, opened, with_loop(dom, stmt)))
        if is_nest:
            self.require_order_free(stmt, serial, dom)
        return serial

    def projected(self, stmt: For, axes: Mapping[str, For], dom: Domains) -> Stmt:
        """An axis that is open already has its value there, counted from where the loop begins."""
        outer = axes[stmt.thread or ""]
        if constant(stmt.extent) is None or constant(stmt.extent) != constant(outer.extent):
            raise self.refuse(f"two loops bound to {stmt.thread} have different extents", stmt)
        var = outer.loop_var
        same = constant(stmt.min) is not None and constant(stmt.min) == constant(outer.min)
        value = var if same else arith.simplify(var - outer.min + stmt.min, dom)
        return self.visit(substitute(stmt.body, {stmt.loop_var: value}), axes, dom)

    # ---- may the threads run one after the other?

    def require_order_free(self, threads: For, serial: For, dom: Domains) -> None:
        """Raise unless the threads of a nest keep to themselves. ``threads`` is the nest with, ``serial`` without its
        axes.
        """
        nest = _axes_of(threads)
        for names in _shared_between(threads, self.views):
            accesses = [access for name in names for access in located_accesses(serial, name, dom)]
            if not _alike(names) or not _threads_apart(accesses, nest, len(names[0].shape)):
                raise self.refuse(f"threads may read what other threads have written to {names[0].name}", threads)


def _is_private(stmt: AllocBuffer, axes: Mapping[str, For]) -> bool:
    """Has each thread its own copy? What the host or several kernels use is one memory for all."""
    if not _is_local(stmt.buffer):
        return False
    kernels = _kernels_using(stmt.body, stmt.buffer)
    return any("vthread" not in tag for tag in axes) or (len(kernels) == 1 and None not in kernels)


def _kernels_using(stmt: Stmt, buffer: Buffer, kernel: For | None = None) -> set[For | None]:
    """The outermost thread axes below which ``buffer`` is used; None stands for the host."""
    if kernel is None and isinstance(stmt, For) and stmt.thread is not None and "vthread" not in stmt.thread:
        kernel = stmt
    parts = list(children(stmt))
    used = any(isinstance(n, BufferLoad) and n.buffer is buffer for e in parts if isinstance(e, Expr) for n in walk(e))
    used = used or (isinstance(stmt, BufferStore) and stmt.buffer is buffer)
    used = used or (isinstance(stmt, DeclBuffer) and stmt.source is buffer)
    below = (_kernels_using(part, buffer, kernel) for part in parts if isinstance(part, Stmt))
    return ({kernel} if used else set()).union(*below)


def _axes_of(threads: For) -> _Nest:
    nest = _Nest()
    for node in walk(threads):
        if isinstance(node, For) and node.thread is not None and node.thread.startswith("threadIdx"):
            nest.tag_of[node.loop_var] = node.thread
            nest.extents[node.thread] = max(nest.extents.get(node.thread, 0), constant(node.extent) or 0)
    return nest


def _opens_threads(stmt: Stmt, axes: Mapping[str, For]) -> bool:
    """Is there an axis in ``stmt`` that makes more threads than there are?"""
    loops = (node for node in walk(stmt) if isinstance(node, For) and node.thread is not None)
    return any(loop.thread not in axes and "vthread" not in (loop.thread or "") for loop in loops)


def _is_local(buffer: Buffer) -> bool:
    return buffer.scope.partition(".")[0] == "local"


def _shared_between(nest: Stmt, views: Mapping[Buffer, Buffer]) -> list[list[Buffer]]:
    """The names, in a nest of threads, of each memory that is stored and used at another place or another time, too.
    ``views`` are the other names of buffers; what each thread allocates for itself is left out.
    """
    private = {node.buffer for node in walk(nest) if isinstance(node, AllocBuffer) and _is_local(node.buffer)}
    uses: dict[Buffer, list[BufferLoad | BufferStore]] = {}
    for node in walk(nest):
        if isinstance(node, BufferLoad | BufferStore):
            memory = node.buffer
            while memory in views:
                memory = views[memory]
            if memory not in private:
                uses.setdefault(memory, []).append(node)
    again = set(_stores_in_phases(nest))
    return [
        list(dict.fromkeys(node.buffer for node in nodes))
        for nodes in uses.values()
        if any(isinstance(node, BufferStore) and (len(nodes) > 1 or node in again) for node in nodes)
    ]


def _stores_in_phases(stmt: Stmt, phases: bool = False) -> Iterator[BufferStore]:
    """The stores in a loop around a barrier (``phases``: there is one outside ``stmt``): they happen several times."""
    if isinstance(stmt, BufferStore) and phases:
        yield stmt
    loop = isinstance(stmt, While) or (isinstance(stmt, For) and (stmt.thread is None or "vthread" in stmt.thread))
    phases = phases or (loop and any(_may_be_phases(node) for node in walk(stmt)))
    for part in children(stmt):
        if isinstance(part, Stmt):
            yield from _stores_in_phases(part, phases)


def _may_be_phases(node: Node) -> bool:
    """May there be a barrier: one that is written down, or that of a sequence which uses memory of several threads?"""
    if isinstance(node, Call) and node.op in ("tvm_storage_sync", "tvm_thread_allreduce"):
        return True
    return isinstance(node, SeqStmt) and any(not _is_local(buffer) for buffer in buffers_used(node))


def _alike(names: Sequence[Buffer]) -> bool:
    """Do equal indices into all names of a memory mean one element?"""
    first = names[0]
    return len(names) == 1 or all(
        name.elem_offset is None and not name.strides and name.type == first.type and name.ndim == first.ndim
        and all(structural_equal(x, y) for x, y in zip(name.shape, first.shape, strict=True))
        for name in names
    )  # fmt: skip


def _threads_apart(accesses: list[Located], nest: _Nest, rank: int) -> bool:
    """Does each thread have elements of its own: do some dimensions tell all threads apart?"""
    apart: set[str] = set()
    for axis in range(rank):
        apart |= _told_apart(axis, accesses, nest)
    return all(tag in apart for tag, extent in nest.extents.items() if extent != 1)


def _told_apart(axis: int, accesses: list[Located], nest: _Nest) -> set[str]:
    """The tags whose threads touch separate intervals of a dimension: position = sum of step * thread + a short one."""
    axis_of = {tag: Var(tag) for tag in nest.extents}
    canonical: dict[Var, Expr] = {var: axis_of[tag] for var, tag in nest.tag_of.items()}
    spans = []
    for access in accesses:
        known = {**access.dom, **{axis_of[tag]: extent for tag, extent in nest.extents.items()}}
        index = substitute(access.indices[axis], canonical)
        spans.append(arith.relax(index, access.inner - canonical.keys(), known))
    span = arith.union(spans)
    if span is None:
        return set()
    steps = sorted((step, tag) for tag, var in axis_of.items() if (step := span.base.terms.get(var, 0)))
    axes = set(axis_of.values())
    if span.base.only(lambda atom: atom not in axes).variables() & axes:
        return set()
    reach = span.extent
    for step, tag in steps:
        if step < reach or not nest.extents[tag]:
            return set()
        reach += step * (nest.extents[tag] - 1)
    return {tag for _, tag in steps}
