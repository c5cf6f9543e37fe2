"""Short innermost serial loops that are vectors in all but name become vectorized loops.

A C compiler unrolls such loops before it could vectorise them and then leaves their accumulators in memory.
"""

from __future__ import annotations

from mlcref import arith
from mlcref import dtype as dt
from mlcref.ir import (
    Buffer, BufferLoad, BufferStore, DeclBuffer, Expr, For, PrimFunc, Stmt, any_node, children_of,
    constant, map_children, replace, seq, variables, walk,
)  # fmt: skip
from mlcref.lower.accesses import owned_buffers
from mlcref.lower.domains import Domains, shape_domain, with_loop
from mlcref.lower.pieces import piece_key
from mlcref.lower.vectorize import VECTOR_BYTES

MAX_VECTORS = 4


def vectorize_short_loops(func: PrimFunc) -> PrimFunc:
    """``func`` in which innermost serial loops of at most ``MAX_VECTORS`` vectors are of kind "vectorized", where
    that is safe.

    Safe means: every access to a stored buffer is at the element that the iteration stores, elements of different
    iterations differ, and no other buffer shares memory with it.
    """
    if any_node(func.body, DeclBuffer):
        return func
    return replace(func, body=_visit(func.body, shape_domain(func.shape_vars()), owned_buffers(func)))


def _visit(stmt: Stmt, dom: Domains, owned: set[Buffer]) -> Stmt:
    if (
        isinstance(stmt, For)
        and stmt.kind == "serial"
        and _is_short(stmt)
        and _is_vector(stmt, with_loop(dom, stmt), owned)
    ):
        return replace(stmt, kind="vectorized")
    inner = with_loop(dom, stmt)
    stmt = map_children(lambda child: _visit(child, inner, owned) if isinstance(child, Stmt) else child, stmt)
    return seq(*children_of(stmt))


def _is_short(loop: For) -> bool:
    """Is the body stores only, of a power of two of neighbours that fit few vectors?"""
    extent = constant(loop.extent)
    if extent is None or extent < 4 or extent & (extent - 1):
        return False
    stores = [part for part in children_of(loop.body) if isinstance(part, BufferStore)]
    if len(stores) < len(children_of(loop.body)):
        return False
    return all(extent * dt.parse(part.buffer.type).bits <= 8 * VECTOR_BYTES * MAX_VECTORS for part in stores)


def _is_vector(loop: For, dom: Domains, owned: set[Buffer]) -> bool:
    stored: dict[Buffer, object] = {}
    for part in children_of(loop.body):
        assert isinstance(part, BufferStore)
        key = piece_key(part)
        if (
            part.buffer not in owned
            or stored.setdefault(part.buffer, key) != key
            or _step(part.indices, loop, dom) != 1
        ):
            return False
    for node in walk(loop.body):
        if isinstance(node, BufferLoad):
            if node.buffer in stored and piece_key(node) != stored[node.buffer]:
                return False
            if _step(node.indices, loop, dom) not in (0, 1):
                return False
    return True


def _step(indices: tuple[Expr, ...], loop: For, dom: Domains) -> int | None:
    """How far an access moves from one iteration to the next, in its last dimension; None when that is not all it
    does.
    """
    if not indices:
        return 0
    *outer, last = indices
    if any(loop.loop_var in variables(index) for index in outer):
        return None
    form = arith.linear(last, dom)
    rest = form.only(lambda atom: atom is not loop.loop_var)
    return None if loop.loop_var in rest.variables() else form.terms.get(loop.loop_var, 0)
