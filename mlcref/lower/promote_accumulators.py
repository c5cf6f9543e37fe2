"""Elements that a loop keeps updating at fixed places are held in a private tile while the loop runs.

``for k: C[i] = C[i] + …`` becomes ``tile = C[i]; for k: tile = tile + …; C[i] = tile``. The code generator gives such
tiles C variables, one per element or vector, which a C compiler keeps in registers.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations

from mlcref import dtype as dt
from mlcref.ir import (
    AllocBuffer, Buffer, BufferLoad, BufferStore, Call, DeclBuffer, Expr, For, IfThenElse, Let, LetStmt, Node,
    PrimFunc, Ramp, Stmt, Var, While, any_node, children, children_of, const, map_children, replace, rewrite, seq,
    variables, walk,
)  # fmt: skip
from mlcref.lower.accesses import owned_buffers
from mlcref.lower.domains import Domains, shape_domain, with_loop
from mlcref.lower.hoist_conditions import runs
from mlcref.lower.jumps import leaves_loop
from mlcref.lower.pieces import Access, apart, piece_key, starts

MAX_PIECES = 32
_PLACES = frozenset([AllocBuffer, BufferLoad, BufferStore])


def promote_accumulators(func: PrimFunc) -> PrimFunc:
    """``func`` with the accumulators of its serial loops in private tiles, each around the outermost loop that allows
    it.
    """
    if any_node(func.body, DeclBuffer):
        return func
    return replace(func, body=_visit(func.body, shape_domain(func.shape_vars()), owned_buffers(func)))


def _visit(stmt: Stmt, dom: Domains, owned: set[Buffer]) -> Stmt:
    before: list[Stmt] = []
    after: list[Stmt] = []
    tiles: list[Buffer] = []
    if isinstance(stmt, For) and stmt.kind == "serial" and runs(stmt) and not leaves_loop(stmt.body):
        for buffer in [b for b in _accumulators(stmt) if b in owned]:
            pieces = _pieces(stmt, buffer, with_loop(dom, stmt))
            if pieces is not None:
                tile = _tile(buffer, pieces)
                tiles.append(tile)
                stmt = replace(stmt, body=_redirected(stmt.body, buffer, tile, pieces))
                before += [BufferStore(tile, BufferLoad(buffer, p.indices), p.in_tile) for p in pieces.values()]
                after += [
                    BufferStore(buffer, BufferLoad(tile, p.in_tile), p.indices) for p in pieces.values() if p.stored
                ]
    inner = with_loop(dom, stmt)
    stmt = map_children(lambda child: _visit(child, inner, owned) if isinstance(child, Stmt) else child, stmt)
    result = seq(*before, *children_of(stmt), *after)
    for tile in reversed(tiles):
        result = AllocBuffer(tile, result)
    return result


@dataclass(slots=True)
class _Piece:
    """An element or vector of a buffer, and where it is in the tile."""

    indices: tuple[Expr, ...]
    in_tile: tuple[Expr, ...]
    lanes: int
    stored: bool


def _accumulators(loop: For) -> list[Buffer]:
    """Buffers from outside that the loop's body both loads and stores."""
    nodes = [node for node in walk(loop.body) if type(node) in _PLACES]
    made = {node.buffer for node in nodes if isinstance(node, AllocBuffer)}
    loaded = {node.buffer for node in nodes if isinstance(node, BufferLoad)}
    stored = dict.fromkeys(node.buffer for node in nodes if isinstance(node, BufferStore))
    return [buffer for buffer in stored if buffer in loaded and buffer not in made]


def _pieces(loop: For, buffer: Buffer, dom: Domains) -> dict[object, _Piece] | None:
    """The pieces of ``buffer`` that the loop accesses, by the key of their indices; None unless they are fixed and
    disjoint.
    """
    found: dict[object, _Piece] = {}
    inner = _bound_inside(loop)
    size = 0
    for access, certain in _accesses(loop.body, buffer, True):
        if not certain or any(any_node(index, BufferLoad) or variables(index) & inner for index in access.indices):
            return None
        key, stored = piece_key(access), isinstance(access, BufferStore)
        if key in found:
            found[key].stored |= stored
            continue
        lanes = max((dt.lanes(i.dtype) for i in access.indices), default=1)
        place = const(size) if lanes == 1 else Ramp(const(size), const(1), lanes)
        found[key] = _Piece(access.indices, (place,), lanes, stored)
        size += lanes
        if len(found) > MAX_PIECES:
            return None
    return found if _disjoint(list(found.values()), dom) else None


def _bound_inside(loop: For) -> set[Var]:
    inner = {loop.loop_var}
    for node in walk(loop.body):
        kind = type(node)
        if kind is For:
            inner.add(node.loop_var)
        elif kind is Let or kind is LetStmt:
            inner.add(node.var)
    return inner


def _accesses(node: Node, buffer: Buffer, certain: bool) -> Iterator[tuple[Access, bool]]:
    """Every access to ``buffer``, and whether it is certain to happen in each iteration."""
    if isinstance(node, BufferLoad | BufferStore) and node.buffer is buffer:
        yield node, certain
    if isinstance(node, IfThenElse | While) or (isinstance(node, Call) and node.op == "if_then_else"):
        certain = False
    elif isinstance(node, For):
        certain = certain and runs(node) and not leaves_loop(node.body) and node.kind != "parallel"
    for child in children(node):
        yield from _accesses(child, buffer, certain)


def _disjoint(pieces: list[_Piece], dom: Domains) -> bool:
    """Do no two pieces share an element, and does each hold neighbours?"""
    begins = [starts(piece.indices, dom) for piece in pieces]
    if any(start is None for begin in begins for start in begin):
        return False
    pairs = combinations(zip(pieces, begins, strict=True), 2)
    return all(apart(a.indices, a_starts, b.indices, b_starts) for (a, a_starts), (b, b_starts) in pairs)


def _tile(buffer: Buffer, pieces: dict[object, _Piece]) -> Buffer:
    size = sum(piece.lanes for piece in pieces.values())
    return Buffer(f"{buffer.name}_tile", (const(size),), buffer.type, "local")


def _redirected(body: Stmt, buffer: Buffer, tile: Buffer, pieces: dict[object, _Piece]) -> Stmt:
    def exchange(node: Node) -> Node | None:
        if isinstance(node, BufferLoad | BufferStore) and node.buffer is buffer:
            return replace(node, buffer=tile, indices=pieces[piece_key(node)].in_tile)
        return None

    return rewrite(exchange, body)
