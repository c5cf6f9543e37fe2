"""Loops of kind "vectorized" as vector statements: ``Ramp`` indices, ``Broadcast`` scalars, elementwise arithmetic,
calls, conditions; ``Shuffle`` where a tile is copied transposed.

A loop is cut into pieces of at most a vector of the target, each a power of two of lanes. Where a statement has no
vector form the loop becomes serial: its iterations do not conflict, so that both mean the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from mlcref import arith
from mlcref import dtype as dt
from mlcref.ir import (
    EQ, GE, GT, INTRINSICS, LE, LT, NE, Add, And, Broadcast, Buffer, BufferLoad, BufferStore, Call, Cast, Compare, Div,
    Expr, For, IfThenElse, Max, Min, Mul, Node, Not, Or, PrimFunc, Ramp, Select, SeqStmt, Stmt, Sub, Var, any_node,
    children_of, conjunction, conjuncts, const, constant, fresh, map_children, replace, seq, substitute, variables,
    walk,
)  # fmt: skip
from mlcref.lower.conditional_values import eager_choices, first_choice, with_branch
from mlcref.lower.domains import Domains, shape_domain, with_loop
from mlcref.lower.transpose_tiles import transpose_tiles

VECTOR_BYTES = 64
"""Bytes of a vector where no target says so."""
MAX_UNROLLED = 8
"""Pieces of one loop that are written out rather than looped over."""
_ARITHMETIC = (Add, Sub, Mul, Div, Max, Min)
_COMPARISONS = (EQ, NE, LT, LE, GT, GE)
_INTEGER_CALLS = ("abs", "bitwise_and", "bitwise_or", "bitwise_xor", "bitwise_not", "shift_left", "shift_right")
_PREDICATES = ("isnan", "isinf", "isfinite")
_NARROW = ("bfloat16", "float8_e4m3fn", "float8_e5m2")
"""Floats that are computed with in float32."""
_ELEMENTS = (
    "float16", *_NARROW, "float32", "float64", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64",
)  # fmt: skip


def vectorize(func: PrimFunc, vector_bytes: int = VECTOR_BYTES) -> PrimFunc:
    """``func`` with its vectorized loops as statements over vectors of ``vector_bytes`` where those exist, as serial
    loops elsewhere.
    """
    func = eager_choices(transpose_tiles(func))
    return replace(func, body=_visit(func.body, shape_domain(func.shape_vars()), vector_bytes))


def _visit(stmt: Stmt, dom: Domains, vector_bytes: int) -> Stmt:
    inner = with_loop(dom, stmt)
    stmt = map_children(lambda child: _visit(child, inner, vector_bytes) if isinstance(child, Stmt) else child, stmt)
    if isinstance(stmt, For) and stmt.kind == "vectorized":
        return vectorized(stmt, dom, vector_bytes)
    return seq(*children_of(stmt))


def vectorized(loop: For, dom: Domains, vector_bytes: int = VECTOR_BYTES) -> Stmt:
    """``loop`` as vector statements, or as a serial loop where it has no vector form."""
    extent = constant(loop.extent)
    lanes = lanes_of_vectors(loop.body, vector_bytes)
    if extent is None or extent < 2 or lanes < 2 or not _has_vector_form(loop, dom):
        return replace(loop, kind="serial")
    return seq(*_pieces(loop, extent, lanes, dom))


def _has_vector_form(loop: For, dom: Domains) -> bool:
    try:
        _Lanes(loop.loop_var, loop.min, 2, with_loop(dom, loop)).statement(loop.body)
    except NoVectorForm:
        return False
    return True


def lanes_of_vectors(body: Stmt, vector_bytes: int = VECTOR_BYTES) -> int:
    """Lanes of a full vector of the widest elements that ``body`` touches; 0 where those fill more than a vector."""
    types = [node.buffer.type for node in walk(body) if isinstance(node, BufferLoad | BufferStore)]
    types += [node.type for node in walk(body) if isinstance(node, Cast)]
    return vector_bytes // max((_bytes_computed(name, body) for name in types if name in _ELEMENTS), default=8)


def _bytes_computed(dtype: str, body: Stmt) -> int:
    """Bytes of an element in the widest vector that holds it."""
    if dtype in _NARROW or (dtype == "float16" and any(map(_widens_float16, walk(body)))):
        return 4
    return dt.parse(dtype).bits // 8


def _widens_float16(node: Node) -> bool:
    """Is this an operation of float16 that is done in float32?"""
    if isinstance(node, Compare | Max | Min):
        return node.a.dtype == "float16"
    return isinstance(node, Call) and "float16" in (node.type, *(arg.dtype for arg in node.args))


def _pieces(loop: For, extent: int, most: int, dom: Domains) -> Iterable[Stmt]:
    """Full vectors in a loop, then the rest in ever smaller powers of two."""
    done = 0
    while done < extent:
        lanes = 1 << (min(most, extent - done).bit_length() - 1)
        count = (extent - done) // lanes
        start = loop.min + done
        if count > 1:
            piece = Var(loop.loop_var.name, loop.loop_var.type)
            body = _lanes(loop, start + piece * lanes, lanes, {**dom, piece: count})
            kind = "unrolled" if count <= MAX_UNROLLED else "serial"
            yield For(piece, const(0, piece.type), const(count, piece.type), kind, body)
        else:
            yield _lanes(loop, start, lanes, dom)
        done += count * lanes


def _lanes(loop: For, start: Expr, lanes: int, dom: Domains) -> Stmt:
    """The iterations from ``start`` on, ``lanes`` of them, as one."""
    body = fresh(loop.body)
    if lanes == 1:
        return substitute(body, {loop.loop_var: start})
    return _Lanes(loop.loop_var, start, lanes, with_loop(dom, loop)).statement(body)


class NoVectorForm(Exception):
    """A statement that is not written with vectors."""


class _Lanes:
    """Turns statements of one iteration into statements of ``lanes`` iterations of ``var``, from ``start`` on."""

    def __init__(self, var: Var, start: Expr, lanes: int, dom: Domains) -> None:
        self.var, self.start, self.lanes, self.dom = var, start, lanes, dom

    def statement(self, stmt: Stmt) -> Stmt:
        if isinstance(stmt, BufferStore):
            return self.store(stmt)
        if isinstance(stmt, SeqStmt):
            return seq(*[self.statement(part) for part in stmt.seq])
        if (
            isinstance(stmt, For)
            and stmt.kind in ("serial", "unrolled")
            and self.uniform(stmt.min)
            and self.uniform(stmt.extent)
        ):
            self.dom = with_loop(self.dom, stmt)
            return replace(stmt, body=self.statement(stmt.body))
        if isinstance(stmt, IfThenElse) and self.uniform(stmt.condition):
            other = None if stmt.else_case is None else self.statement(stmt.else_case)
            return replace(stmt, then_case=self.statement(stmt.then_case), else_case=other)
        if isinstance(stmt, IfThenElse) and stmt.else_case is None:
            return self.guarded(stmt)
        raise NoVectorForm

    def guarded(self, stmt: IfThenElse) -> Stmt:
        """A guard that some lanes may fail: vectors where all pass, else one lane after the other."""
        conditions = tuple([self.in_all_lanes(part) for part in conjuncts(stmt.condition)])
        one_by_one = self.one_by_one(stmt)
        return IfThenElse(conjunction(conditions), self.statement(stmt.then_case), one_by_one)

    def in_all_lanes(self, condition: Expr) -> Expr:
        """A condition that says that ``condition`` holds in every lane: that it does in the lane where it fails
        first.
        """
        if self.uniform(condition):
            return condition
        if not isinstance(condition, LT | LE | GT | GE) or any_node(condition, (BufferLoad, Call)):
            raise NoVectorForm
        form = arith.linear(condition.a - condition.b, self.dom)
        step = form.terms.get(self.var, 0)
        if not step or self.var in form.only(lambda atom: atom is not self.var).variables():
            raise NoVectorForm
        rises = (step > 0) == isinstance(condition, LT | LE)
        worst = self.start + (self.lanes - 1) if rises else self.start
        return arith.simplify(substitute(condition, {self.var: worst}), self.dom)

    def one_by_one(self, stmt: Stmt) -> Stmt:
        """The lanes as iterations of a serial loop."""
        lane = Var(self.var.name, self.var.type)
        body = substitute(fresh(stmt), {self.var: self.start + lane})
        return For(lane, const(0, lane.type), const(self.lanes, lane.type), "serial", body)

    def store(self, stmt: BufferStore) -> Stmt:
        choice = first_choice(stmt.value, self.uniform)
        if choice is not None:
            return self.chosen(stmt, choice)
        indices = self.indices(stmt.buffer, stmt.indices)
        if indices is None:
            raise NoVectorForm  # all iterations write one element
        return BufferStore(stmt.buffer, self.wide(stmt.value), indices)

    def chosen(self, stmt: BufferStore, choice: Call) -> Stmt:
        """A value that may be computed in some lanes only: vectors where it may in all, else one lane after the
        other.
        """
        conditions = tuple([self.in_all_lanes(part) for part in conjuncts(choice.args[0])])
        all_lanes = replace(stmt, value=with_branch(stmt.value, choice, choice.args[1]))
        return IfThenElse(conjunction(conditions), self.statement(all_lanes), self.one_by_one(stmt))

    def indices(self, buffer: Buffer, indices: tuple[Expr, ...]) -> tuple[Expr, ...] | None:
        """Where the lanes are: a ramp in the last dimension, or one through rows; None when all are at one place."""
        if all(self.uniform(index) for index in indices):
            return None
        *outer, last = indices
        if buffer.type not in _ELEMENTS or any(any_node(i, BufferLoad) for i in indices if not self.uniform(i)):
            raise NoVectorForm
        if not all(self.uniform(index) for index in outer):
            return self.through_rows(buffer, indices)
        form = arith.linear(last, self.dom)
        stride = form.terms.get(self.var, 0)
        rest = form.only(lambda atom: atom is not self.var).shift(form.constant)
        if not stride or self.var in rest.variables():
            raise NoVectorForm
        base = rest.expr() + self.start.astype(last.dtype) * stride
        return (*outer, Ramp(arith.simplify(base.astype(last.dtype), self.dom), const(stride, last.dtype), self.lanes))

    def through_rows(self, buffer: Buffer, indices: tuple[Expr, ...]) -> tuple[Expr, ...]:
        """Where the lanes are when they are neighbours that reach from one row into the next."""
        first = next(axis for axis, index in enumerate(indices) if not self.uniform(index))
        form = None if buffer.strides else arith.flat_position(buffer.shape[first:], indices[first:], self.dom)
        if form is None or form.terms.get(self.var) != 1:
            raise NoVectorForm
        rest = form.only(lambda atom: atom is not self.var).shift(form.constant)
        if self.var in rest.variables():
            raise NoVectorForm
        base = rest.expr() + self.start.astype(indices[-1].dtype)
        ramp = Ramp(arith.simplify(base, self.dom), const(1, indices[-1].dtype), self.lanes)
        return (*indices[:first], *arith.digits(ramp, buffer.shape[first:]))

    def uniform(self, expr: Expr) -> bool:
        """Is the value the same in all lanes?"""
        return self.var not in variables(expr)

    def wide(self, expr: Expr) -> Expr:
        """The value in all lanes, as a vector."""
        if self.uniform(expr):
            if dt.parse(expr.dtype).element not in _ELEMENTS:
                raise NoVectorForm
            return Broadcast(expr, self.lanes)
        rule = _RULES.get(type(expr))
        if rule is None or expr.dtype not in _ELEMENTS:
            raise NoVectorForm
        return rule(self, expr)

    def _load(self, expr: Any) -> Expr:
        indices = self.indices(expr.buffer, expr.indices)
        assert indices is not None
        return BufferLoad(expr.buffer, indices)

    def _binary(self, expr: Any) -> Expr:
        if isinstance(expr, Div) and not dt.is_float(expr.dtype):
            raise NoVectorForm
        made: Expr = type(expr)(self.wide(expr.a), self.wide(expr.b))
        return made

    def _cast(self, expr: Any) -> Expr:
        if dt.is_bool(expr.value.dtype):
            one, zero = (Broadcast(const(number, expr.type), self.lanes) for number in (1, 0))
            return Select(self.truth(expr.value), one, zero)
        return Cast(self._of_lanes(expr.type), self.wide(expr.value))

    def _select(self, expr: Any) -> Expr:
        return self._one_of(expr.condition, expr.true_value, expr.false_value)

    def _one_of(self, condition: Expr, yes: Expr, no: Expr) -> Expr:
        if self.uniform(condition):
            return Call("if_then_else", (condition, self.wide(yes), self.wide(no)), self._of_lanes(yes.dtype))
        return Select(self.truth(condition), self.wide(yes), self.wide(no))

    def _call(self, expr: Any) -> Expr:
        if expr.op == "if_then_else":
            return self._one_of(*expr.args)
        if expr.op == "likely":
            return self.wide(expr.args[0])
        row = INTRINSICS[expr.op]
        if row.effect or row.arity is None or row.result != "same":
            raise NoVectorForm
        if not dt.is_float(expr.type) and expr.op not in _INTEGER_CALLS:
            raise NoVectorForm
        return Call(expr.op, tuple([self.wide(arg) for arg in expr.args]), self._of_lanes(expr.type))

    def truth(self, expr: Expr) -> Expr:
        """A condition in all lanes, as a vector of truth values."""
        if self.uniform(expr):
            return Broadcast(expr, self.lanes)
        if isinstance(expr, And | Or):
            return type(expr)(self.truth(expr.a), self.truth(expr.b))
        if isinstance(expr, Not):
            return Not(self.truth(expr.a))
        if isinstance(expr, _COMPARISONS):
            return type(expr)(self.wide(expr.a), self.wide(expr.b))
        if isinstance(expr, Call) and expr.op == "likely":
            return self.truth(expr.args[0])
        if isinstance(expr, Call) and expr.op in _PREDICATES:
            return Call(expr.op, (self.wide(expr.args[0]),), self._of_lanes("bool"))
        raise NoVectorForm

    def _of_lanes(self, dtype: str) -> str:
        return dt.parse(dtype).with_lanes(self.lanes)

    def _variable(self, expr: Any) -> Expr:
        return Ramp(self.start.astype(expr.type), const(1, expr.type), self.lanes)


_RULES: dict[type, Callable[[_Lanes, Any], Expr]] = {
    BufferLoad: _Lanes._load, Cast: _Lanes._cast, Select: _Lanes._select, Var: _Lanes._variable,
    Call: _Lanes._call,
    **dict.fromkeys(_ARITHMETIC, _Lanes._binary),
}  # fmt: skip
