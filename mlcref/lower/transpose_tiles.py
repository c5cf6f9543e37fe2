"""Square tiles that are copied with rows and columns exchanged: whole vectors are loaded, shuffled and stored.

``for y: for x in vectorized: B[…x…, y] = A[…y…, x]`` of 4, 8 or 16 iterations each loads neighbours in one order and
stores neighbours in the other. The tile is exchanged in registers, by log2(n) steps of n shuffles of two vectors; step
d exchanges the blocks of d × d lanes beside the diagonal. Rectangles are cut into such tiles, down to what is narrower
than 4. Tiles that a guard cuts off stay loops.
"""

from __future__ import annotations

from dataclasses import dataclass

from mlcref import arith
from mlcref import dtype as dt
from mlcref.ir import (
    GE, GT, LE, LT, Buffer, BufferLoad, BufferStore, Call, DeclBuffer, Expr, For, IfThenElse, LetStmt,
    PrimFunc, Ramp, Shuffle, Stmt, Var, any_node, conjunction, conjuncts, const, constant, fresh, map_children, replace,
    seq, substitute, variables,
)  # fmt: skip
from mlcref.lower.accesses import owned_buffers
from mlcref.lower.domains import Domains, shape_domain, with_loop

SIZES = (4, 8, 16)
VECTOR_BITS = 512
_NARROW, _ONE_LANE = 16, 128
"""Bits of elements of which two vectors are not mixed at will, and of vectors of which one instruction takes the
elements in turns."""
_LANES = ("float32", "float64", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64")


def transpose_tiles(func: PrimFunc) -> PrimFunc:
    """``func`` with its vectorized copies of transposed tiles as loads, shuffles and stores of vectors.

    Buffers that may overlap are left alone, since the whole tile is read before any of it is written.
    """
    if any_node(func.body, DeclBuffer):
        return func
    return replace(func, body=_visit(func.body, shape_domain(func.shape_vars()), owned_buffers(func)))


def _visit(stmt: Stmt, dom: Domains, owned: set[Buffer]) -> Stmt:
    choice = _choice_around(stmt)
    if choice is not None and _tile(choice.then_case, dom, owned) is not None:
        return map_children(lambda child: _visit(child, dom, owned) if isinstance(child, Stmt) else child, choice)
    tile = _tile(stmt, dom, owned)
    if tile is not None:
        whole = tile.exchanged()
        return IfThenElse(conjunction(tile.conditions), whole, fresh(stmt)) if tile.conditions else whole
    squares = _squares(stmt, dom, owned)
    if squares is not None:
        return seq(*[_visit(square, dom, owned) for square in squares])
    inner = with_loop(dom, stmt)
    return map_children(lambda child: _visit(child, inner, owned) if isinstance(child, Stmt) else child, stmt)


def _squares(stmt: Stmt, dom: Domains, owned: set[Buffer]) -> list[Stmt] | None:
    """The largest tiles in a corner of a rectangle that two loops copy, and the strips beside and below it; None if
    there is no tile in it. What lies at the end of a matrix is such a rectangle.
    """
    if not isinstance(stmt, For) or not isinstance(stmt.body, For) or not isinstance(stmt.body.body, BufferStore):
        return None
    high, wide = constant(stmt.extent) or 0, constant(stmt.body.extent) or 0
    if max(high, wide) > SIZES[-1]:
        return None
    for size in reversed(SIZES):
        if size <= min(high, wide) and _tile(_part(stmt, 0, 0, size, size), dom, owned) is not None:
            rows, columns = high // size * size, wide // size * size
            tiles: list[Stmt] = [
                _part(stmt, row, column, size, size)
                for row in range(0, rows, size) for column in range(0, columns, size)
            ]  # fmt: skip
            beside: list[Stmt] = [_part(stmt, 0, columns, high, wide - columns)] if columns < wide else []
            below: list[Stmt] = [_part(stmt, rows, 0, high - rows, columns)] if rows < high else []
            return tiles + beside + below
    return None


def _part(outer: For, row: int, column: int, high: int, wide: int) -> For:
    """``high`` iterations of ``outer`` from ``row`` on, of the loop inside ``wide`` from ``column`` on."""
    inner = outer.body
    assert isinstance(inner, For)
    moved = {outer.loop_var: outer.loop_var + row, inner.loop_var: inner.loop_var + column}
    loops = replace(inner, extent=const(wide), body=substitute(inner.body, moved))
    return fresh(replace(outer, extent=const(high), body=loops))


def _choice_around(stmt: Stmt) -> IfThenElse | None:
    """Two loops that store one of two values, where the condition is the same in all iterations: the choice between
    loops that store the one and the other."""
    if not isinstance(stmt, For) or not isinstance(stmt.body, For) or not isinstance(stmt.body.body, BufferStore):
        return None
    outer, inner, store = stmt, stmt.body, stmt.body.body
    value, own = store.value, {outer.loop_var, inner.loop_var}
    if not isinstance(value, Call) or value.op != "if_then_else":
        return None
    condition, yes, no = value.args
    if variables(condition) & own or any_node(condition, (BufferLoad, Call)):
        return None

    def storing(chosen: Expr) -> Stmt:
        return fresh(replace(outer, body=replace(inner, body=replace(store, value=chosen))))

    return IfThenElse(condition, storing(yes), storing(no))


@dataclass(frozen=True, slots=True)
class _Tile:
    """``size`` × ``size`` elements: along ``across`` the loaded ones are neighbours, along ``down`` the stored ones.
    All of them are copied where ``conditions`` hold.
    """

    across: For
    down: For
    load: BufferLoad
    store: BufferStore
    size: int
    conditions: tuple[Expr, ...]

    def exchanged(self) -> Stmt:
        """All rows loaded, the shuffles, all rows stored."""
        dtype = dt.parse(self.load.buffer.type).with_lanes(self.size)
        lines: list[tuple[Var, Expr]] = []

        def named(value: Expr) -> Var:
            lines.append((Var(f"row{len(lines)}", dtype), value))
            return lines[-1][0]

        rows: list[Expr] = [named(self._row(n)) for n in range(self.size)]
        distance = 1
        while distance < self.size:
            rows = [named(_exchange(rows, n, distance)) for n in range(self.size)]
            distance *= 2
        places = [self._indices(self.store.indices, self.across, n, self.down) for n in range(self.size)]
        result = seq(*[BufferStore(self.store.buffer, row, at) for row, at in zip(rows, places, strict=True)])
        for var, value in reversed(lines):
            result = LetStmt(var, value, result)
        return result

    def _row(self, number: int) -> Expr:
        return BufferLoad(self.load.buffer, self._indices(self.load.indices, self.down, number, self.across))

    def _indices(self, indices: tuple[Expr, ...], fixed: For, number: int, lanes: For) -> tuple[Expr, ...]:
        """Where a row is: at iteration ``number`` of ``fixed``, from the first iteration of ``lanes`` on."""
        at = {fixed.loop_var: fixed.min + number, lanes.loop_var: lanes.min}
        *outer, last = [substitute(index, at) for index in indices]
        return (*outer, Ramp(last, const(1, last.dtype), self.size))


def _exchange(rows: list[Expr], number: int, distance: int) -> Expr:
    """Row ``number`` after the step: its own lanes on its side of the diagonal, its partner's from the other side."""
    bits = dt.parse(rows[0].dtype).bits
    if bits <= _NARROW and bits * len(rows) <= _ONE_LANE:
        return _interleave(rows, number)
    size, upper = len(rows), number & distance == 0
    pair = (rows[number], rows[number + distance]) if upper else (rows[number - distance], rows[number])
    own = 0 if upper else size
    lanes = [own + n if (n & distance == 0) == upper else _partner(n, distance, size, upper) for n in range(size)]
    return Shuffle(pair, tuple([const(lane) for lane in lanes]))


def _interleave(rows: list[Expr], number: int) -> Expr:
    """Row ``number`` after the step: half the lanes of one row and as many of the row half the tile below in turns.

    As many such steps as exchanges make the same tile.
    """
    half = len(rows) // 2
    first = half * (number % 2)
    lanes = [first + n // 2 + len(rows) * (n % 2) for n in range(len(rows))]
    return Shuffle((rows[number // 2], rows[number // 2 + half]), tuple([const(lane) for lane in lanes]))


def _partner(lane: int, distance: int, size: int, upper: bool) -> int:
    """The lane of the pair from which the other block comes."""
    return size + lane - distance if upper else lane + distance


def _tile(stmt: Stmt, dom: Domains, owned: set[Buffer]) -> _Tile | None:
    """The tile that two loops copy; None if they do something else."""
    if not isinstance(stmt, For) or not isinstance(stmt.body, For):
        return None
    outer, inner, store = stmt, stmt.body, stmt.body.body
    guards: tuple[Expr, ...] = ()
    if isinstance(store, IfThenElse) and store.else_case is None:
        guards, store = tuple(conjuncts(store.condition)), store.then_case
    if not isinstance(store, BufferStore) or not isinstance(store.value, BufferLoad):
        return None
    load, dom = store.value, with_loop(with_loop(dom, outer), inner)
    size = _size(outer, inner, load.buffer.type)
    if size is None or load.buffer is store.buffer or not {load.buffer, store.buffer} <= owned:
        return None
    conditions = [_in_whole_tile(guard, (outer, inner), size, dom) for guard in guards]
    for across, down in ((inner, outer), (outer, inner)):
        if _is_row(load.indices, across, down, size, dom) and _is_row(store.indices, down, across, size, dom):
            known = tuple([condition for condition in conditions if condition is not None])
            return _Tile(across, down, load, store, size, known) if len(known) == len(conditions) else None
    return None


def _size(outer: For, inner: For, dtype: str) -> int | None:
    """The iterations of each loop, if they are as many as a vector has lanes and one of the loops is vectorized."""
    size, kinds = constant(outer.extent), {outer.kind, inner.kind}
    if size not in SIZES or constant(inner.extent) != size or outer.loop_var in variables(inner.min):
        return None
    if "vectorized" not in kinds or not kinds <= {"vectorized", "serial", "unrolled"}:
        return None
    return size if dtype in _LANES and dt.parse(dtype).bits * size <= VECTOR_BITS else None


def _in_whole_tile(guard: Expr, loops: tuple[For, For], size: int, dom: Domains) -> Expr | None:
    """A condition that says that ``guard`` holds in all iterations: that it does in the corner where it fails first."""
    if any_node(guard, (BufferLoad, Call)) or not isinstance(guard, LT | LE | GT | GE):
        return None
    if not dt.is_integer(guard.a.dtype):
        return None
    corner = {}
    for loop in loops:
        step = _step(guard.a - guard.b, loop.loop_var, dom)
        if step is None:
            return None
        rises = (step > 0) == isinstance(guard, LT | LE)
        corner[loop.loop_var] = loop.min + (size - 1) if rises else loop.min
    return arith.simplify(substitute(guard, corner), dom)


def _is_row(indices: tuple[Expr, ...], lanes: For, others: For, size: int, dom: Domains) -> bool:
    """Are the iterations of ``lanes`` neighbours, and those of ``others`` apart: in another dimension, or further in
    the same one than a row is long?
    """
    if not indices or any(any_node(index, (BufferLoad, Call)) for index in indices):
        return False
    *outer, last = indices
    if any(lanes.loop_var in variables(index) for index in outer) or _step(last, lanes.loop_var, dom) != 1:
        return False
    if others.loop_var not in variables(last):
        return any(_step(index, others.loop_var, dom) for index in outer)
    step = _step(last, others.loop_var, dom)
    return step is not None and abs(step) >= size and not any(others.loop_var in variables(index) for index in outer)


def _step(index: Expr, var: Var, dom: Domains) -> int | None:
    """How far ``index`` moves with ``var``; None when that is no fixed number."""
    form = arith.linear(index, dom)
    rest = form.only(lambda atom: atom is not var)
    return None if var in rest.variables() else form.terms.get(var, 0)
