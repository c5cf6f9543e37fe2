"""Statements of the IR: loops, blocks, stores. One set of nodes serves every stage from script to code generation."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from mlcref.ir.base import NO_ATTRS, Attrs, Node, binds, node, plain
from mlcref.ir.buffer import Buffer, Range
from mlcref.ir.expr import Const, Expr, ExprLike, Var, as_expr, cast

FOR_KINDS = ("serial", "parallel", "vectorized", "unrolled", "thread_binding")
ITER_TYPES = ("spatial", "reduce", "opaque", "scan")
THREAD_TAGS = ("blockIdx.x", "blockIdx.y", "blockIdx.z", "threadIdx.x", "threadIdx.y", "threadIdx.z",
               "vthread", "vthread.x", "vthread.y", "vthread.z")  # fmt: skip


class Stmt(Node):
    """Base of statements. A statement node occurs once in a function."""

    __slots__ = ()


@node
class BufferStore(Stmt):
    """``buffer[indices] = value``."""

    buffer: Buffer
    value: Expr
    indices: tuple[Expr, ...]


@node
class Evaluate(Stmt):
    """Evaluate a call for its effect."""

    value: Expr


@node
class SeqStmt(Stmt):
    """Statements one after the other; none of them is a ``SeqStmt`` (build with :func:`seq`)."""

    seq: tuple[Stmt, ...]


@node
class For(Stmt):
    """A loop over ``min … min + extent - 1``. ``kind`` is one of ``FOR_KINDS``; ``thread`` the tag of a thread_binding
    loop. With a ``step`` it takes ``min``, ``min + step``, … as long as that is below ``min + extent``.
    """

    loop_var: Var = binds()
    min: Expr
    extent: Expr
    kind: str
    body: Stmt
    thread: str | None = None
    annotations: Attrs = NO_ATTRS
    step: Expr | None = None


@node
class While(Stmt):
    """Repeat ``body`` while ``condition`` holds."""

    condition: Expr
    body: Stmt


@node
class Break(Stmt):
    """Leave the innermost loop."""


@node
class Continue(Stmt):
    """Go on with the next iteration of the innermost loop."""


@node
class Return(Stmt):
    """End the function with ``value`` (``return e``, ``T.ret(e)``)."""

    value: Expr


@node
class IfThenElse(Stmt):
    """``then_case`` where ``condition`` holds, else ``else_case`` if there is one."""

    condition: Expr
    then_case: Stmt
    else_case: Stmt | None = None


@node
class LetStmt(Stmt):
    """``body`` in which ``var`` stands for ``value``, evaluated once on entry."""

    var: Var = binds()
    value: Expr
    body: Stmt


@node
class AssertStmt(Stmt):
    """Stop with ``message`` unless ``condition`` holds."""

    condition: Expr
    message: str


@node
class AttrStmt(Stmt):
    """``body`` under an attribute: pragmas, and the reduction of an allreduce ("reduce_scope", a ``CommReducer``)."""

    key: str
    target: Expr | None
    value: Expr
    body: Stmt


@node
class AllocBuffer(Stmt):
    """``body`` with storage for ``buffer``, undefined on entry. What block allocations become in lowering."""

    buffer: Buffer = binds()
    body: Stmt
    annotations: Attrs = NO_ATTRS


@node
class DeclBuffer(Stmt):
    """``body`` in which ``buffer`` is another view of the memory of ``source``, ``buffer.elem_offset`` elements in."""

    buffer: Buffer = binds()
    source: Buffer
    body: Stmt


@node
class IterVar(Node):
    """A block iterator: its variable, its domain and whether it is "spatial", "reduce", "opaque" or "scan"."""

    var: Var = binds()
    dom: Range
    iter_type: str


@node
class BufferRegion(Node):
    """A box of ``buffer``: a range per dimension."""

    buffer: Buffer
    region: tuple[Range, ...]


@node
class MatchBufferRegion(Node):
    """``buffer`` as a name for the region ``source`` of another buffer (``T.match_buffer`` in a block)."""

    buffer: Buffer = binds()
    source: BufferRegion


@node
class Token(Node):
    """The identity of a block. Every rewrite that keeps the block keeps its token."""

    hint: str = plain(structural=False)

    def __repr__(self) -> str:
        return f"Token({self.hint})"


@node
class Block(Stmt):
    """A unit of scheduling: iterators with domains, what it reads and writes, its private buffers, ``init`` and
    ``body``.
    """

    token: Token = binds()
    name: str
    iter_vars: tuple[IterVar, ...]
    alloc_buffers: tuple[Buffer, ...] = binds()
    match_buffers: tuple[MatchBufferRegion, ...]
    reads: tuple[BufferRegion, ...]
    writes: tuple[BufferRegion, ...]
    init: Stmt | None
    body: Stmt
    annotations: Attrs = NO_ATTRS


@node
class BlockRealize(Stmt):
    """``block`` with values for its iterators, in the instances where every conjunct of ``predicate`` holds."""

    iter_values: tuple[Expr, ...]
    predicate: tuple[Expr, ...]
    block: Block


def seq(*stmts: Stmt | None) -> Stmt:
    """The statements in order, flattened; a single one stands for itself. Nones are dropped."""
    flat: list[Stmt] = []
    for stmt in stmts:
        if isinstance(stmt, SeqStmt):
            flat.extend(stmt.seq)
        elif stmt is not None:
            flat.append(stmt)
    return flat[0] if len(flat) == 1 else SeqStmt(tuple(flat))


def children_of(stmt: Stmt) -> tuple[Stmt, ...]:
    """The statements directly in sequence under ``stmt``: the parts of a ``SeqStmt``, else itself."""
    return stmt.seq if isinstance(stmt, SeqStmt) else (stmt,)


def make_block(
    name: str,
    body: Stmt,
    *,
    iter_vars: Sequence[IterVar] = (),
    reads: Sequence[BufferRegion] = (),
    writes: Sequence[BufferRegion] = (),
    init: Stmt | None = None,
    alloc_buffers: Iterable[Buffer] = (),
    annotations: Attrs = NO_ATTRS,
    token: Token | None = None,
) -> Block:
    """A block with a new token (or the given one)."""
    return Block(token or Token(name), name, tuple(iter_vars), tuple(alloc_buffers), (), tuple(reads), tuple(writes),
                 init, body, annotations)  # fmt: skip


def loop(var: Var, extent: ExprLike, body: Stmt, kind: str = "serial", *, start: ExprLike = 0) -> For:
    """A loop of ``var`` over ``start … start + extent - 1``; both get the type of ``var``."""
    return For(var, cast(var.type, as_expr(start)), cast(var.type, as_expr(extent)), kind, body)


def store(buffer: Buffer, value: ExprLike, indices: Sequence[ExprLike]) -> BufferStore:
    """``buffer[indices] = value`` with the value converted to the buffer's type."""
    return BufferStore(buffer, cast(buffer.type, as_expr(value)), tuple(as_expr(index) for index in indices))


def constant(expr: Expr) -> int | None:
    """The integer that ``expr`` is, or None when it is not constant."""
    return int(expr.value) if isinstance(expr, Const) else None
