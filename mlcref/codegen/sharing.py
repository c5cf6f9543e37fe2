"""What the statements of one sequence have in common: positions that differ by a number, and vectors loaded again.

An unrolled tile says the same address and the same operand many times. Said once, the text is a third as long, and so
is the time that Cython and the C compiler take for it; the instructions are the same.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Iterator

from mlcref import dtype as dt
from mlcref.arith import expr_key
from mlcref.ir import (
    Add, AllocBuffer, Broadcast, Buffer, BufferLoad, BufferStore, Call, Const, DeclBuffer, Evaluate, Expr, FloorDiv,
    FloorMod, For, IfThenElse, Let, LetStmt, Max, Min, Mul, Node, Ramp, SeqStmt, Stmt, Sub, Var, While, any_node,
    children, constant, walk,
)  # fmt: skip

OFTEN = 3
"""Uses that pay for a name of a position."""
_ACCESSES = (BufferLoad, BufferStore)
_BINDERS = (For, While, Let, LetStmt, AllocBuffer, DeclBuffer)


class Position:
    """The row-major position of an access, apart from a constant: ``key`` is equal for positions that differ by
    ``offset`` only; ``indices`` are those of offset 0.
    """

    __slots__ = ("indices", "key", "offset", "shape")

    def __init__(self, buffer: Buffer, indices: tuple[Expr, ...]) -> None:
        self.indices: list[Expr] = []
        self.offset = 0
        self.shape = buffer.shape
        extents = [constant(extent) for extent in buffer.shape[1:]]
        for index, extent in zip(indices, [1, *extents], strict=True):
            rest, number = _split(index.base if isinstance(index, Ramp) else index)
            self.indices.append(rest)
            self.offset = self.offset * (extent or 0) + number
        self.key: Hashable = (tuple(extents), tuple([expr_key(index) for index in self.indices]))

    def is_worth_a_name(self) -> bool:
        """Is computing it more than reading a variable?"""
        varying = [index for index in self.indices if not isinstance(index, Const)]
        return len(varying) > 1 or any(any_node(index, (Add, Sub)) for index in varying)


def static_shape(buffer: Buffer) -> bool:
    """Are all extents of ``buffer`` constants?"""
    return all(isinstance(extent, Const) for extent in buffer.shape)


def position(buffer: Buffer, indices: tuple[Expr, ...]) -> Position | None:
    """The position of an access; None where extents are symbolic, or computing an index early could fail or give
    another value.
    """
    if not indices or not static_shape(buffer):
        return None
    return Position(buffer, indices) if all(map(_is_harmless, indices)) else None


_HARMLESS = frozenset([Var, Const, Add, Sub, Mul, Min, Max, Ramp])


def _is_harmless(index: Expr) -> bool:
    """Can ``index`` be computed early, and more or less often?"""
    for node in walk(index):
        if type(node) not in _HARMLESS and not (
            isinstance(node, (FloorDiv, FloorMod)) and isinstance(node.b, Const) and node.b.value != 0
        ):
            return False
    return True


def _split(index: Expr) -> tuple[Expr, int]:
    if isinstance(index, Const):
        return Const(0, index.type), int(index.value)
    if isinstance(index, Add) and isinstance(index.b, Const):
        return index.a, int(index.b.value)
    return index, 0


def common_positions(stmt: SeqStmt, place: Callable[[Buffer, tuple[Expr, ...]], Position | None]) -> list[Position]:
    """Those positions, as ``place`` gives them, that the statements of ``stmt`` itself, not those of loops in it, use
    often.
    """
    seen: Counter[Hashable] = Counter()
    first: dict[Hashable, Position] = {}
    for part in stmt.seq:
        if not isinstance(part, (BufferStore, IfThenElse)) or any_node(part, _BINDERS):
            continue
        for node in walk(part):
            if isinstance(node, _ACCESSES):
                found = place(node.buffer, node.indices)
                if found is not None:
                    seen[found.key] += 1
                    first.setdefault(found.key, found)
    return [first[key] for key, count in seen.items() if count >= OFTEN and first[key].is_worth_a_name()]


def repeats_condition(before: Stmt | None, stmt: IfThenElse) -> bool:
    """Does ``stmt`` ask what the statement before it asked, of values that nothing changes?"""
    return (
        isinstance(before, IfThenElse)
        and before.else_case is None
        and stmt.else_case is None
        and expr_key(before.condition) == expr_key(stmt.condition)
        and not any_node(stmt.condition, (BufferLoad, Call))
    )


def vector_key(expr: Expr) -> Hashable:
    """Equal for vectors that are loaded from one place, or splat from one element; None for other expressions."""
    load = expr.value if isinstance(expr, Broadcast) else expr
    if not isinstance(load, BufferLoad) or dt.lanes(expr.dtype) < 2 or dt.is_bool(dt.parse(expr.dtype).element):
        return None
    if not all(map(_is_harmless, load.indices)):
        return None
    if any(isinstance(index, Ramp) and constant(index.stride) != 1 for index in load.indices):
        return None
    return (expr.dtype, id(load.buffer), tuple([expr_key(index) for index in load.indices]))


def repeated_vectors(stmt: SeqStmt) -> set[Hashable]:
    """Vectors that the stores of ``stmt`` load more than once, from memory that nothing in ``stmt`` changes."""
    if not any(isinstance(part, BufferStore) for part in stmt.seq) or any_node(stmt, (Evaluate, DeclBuffer)):
        return set()
    stored = {node.buffer for node in walk(stmt) if isinstance(node, BufferStore)}
    seen: Counter[Hashable] = Counter()
    for part in stmt.seq:
        if isinstance(part, BufferStore):
            for load, key in _certain_vectors(part.value):
                if _memory(load) not in stored:
                    seen[key] += 1
    return {key for key, count in seen.items() if count > 1}


def _memory(vector: Expr) -> Buffer:
    load = vector.value if isinstance(vector, Broadcast) else vector
    assert isinstance(load, BufferLoad)
    return load.buffer


def _certain_vectors(expr: Node) -> Iterator[tuple[Expr, Hashable]]:
    """Loaded vectors below ``expr`` that are computed whatever the values are, with their keys."""
    if isinstance(expr, Call):
        return
    key = vector_key(expr) if isinstance(expr, (Broadcast, BufferLoad)) else None
    if key is not None:
        assert isinstance(expr, Expr)
        yield expr, key
        return
    for child in children(expr):
        yield from _certain_vectors(child)

