"""Commutative reductions: which updates ``C = combine(C, value)`` rfactor can take apart.

A :class:`Reducer` combines tuples. To add one of your own, as TVM's registry of reducers has it:
:func:`register_reducer`, which tries the laws on numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np

from mlcref.errors import MlcrefError
from mlcref.interp import interpret
from mlcref.ir import (
    EQ, GE, GT, LE, LT, Add, And, Attrs, BlockRealize, Buffer, BufferLoad, BufferStore, Expr, For, LetStmt, Max, Min,
    Mul, Or, PrimFunc, Select, Stmt, Sub, Var, as_expr, binary, blocks_in, cast, children_of, const, loads, make_block,
    seq, structural_equal, substitute,
)  # fmt: skip
from mlcref.ir.base import FIELDS, Role

Values = Sequence[Expr]
Combine = Callable[[Values, Values], Sequence[Expr]]
Identity = Callable[[Sequence[str]], Sequence[Expr]]


@dataclass(frozen=True, slots=True)
class Reducer:
    """``combine(x, y)`` of ``arity`` values each. ``identity`` of their types; None where combining the first value of
    a reduction a second time changes nothing (a maximum), so that it serves as one. Without ``commutative`` operands
    must keep their order.
    """

    name: str
    arity: int
    combine: Combine
    identity: Identity | None = None
    commutative: bool = True

    def pattern(self, dtypes: Sequence[str]) -> tuple[list[Var], list[Var], list[Expr]]:
        """Left and right operands as variables, and what they combine to."""
        left = [Var(f"x{i}", dtype) for i, dtype in enumerate(dtypes)]
        right = [Var(f"y{i}", dtype) for i, dtype in enumerate(dtypes)]
        return left, right, list(self.combine(left, right))


def _single(op: type[Add | Mul | Min | Max]) -> Combine:
    return lambda x, y: [binary(op, x[0], y[0])]


def _everywhere(number: int) -> Identity:
    return lambda dtypes: [const(number, dtype) for dtype in dtypes]


def _extreme(better: type[GT | LT], tie: type[LT | GT]) -> Combine:
    """Index and value of the better one; of equal ones the one whose index is first (last) by ``tie``."""

    def combine(x: Values, y: Values) -> list[Expr]:
        first = Or(better(x[1], y[1]), And(EQ(x[1], y[1]), tie(x[0], y[0])))
        return [Select(first, x[0], y[0]), Select(better(x[1], y[1]), x[1], y[1])]

    return combine


def _kept(at_least: type[GE | LE]) -> Combine:
    """Index and value of the better one; of equal ones the one that was there before."""

    def combine(x: Values, y: Values) -> list[Expr]:
        keep = at_least(x[1], y[1])
        return [Select(keep, x[0], y[0]), Select(keep, x[1], y[1])]

    return combine


REDUCERS: list[Reducer] = [
    Reducer("sum", 1, _single(Add), _everywhere(0)),
    Reducer("prod", 1, _single(Mul), _everywhere(1)),
    Reducer("min", 1, _single(Min)),
    Reducer("max", 1, _single(Max)),
    Reducer("argmax", 2, _extreme(GT, LT)),
    Reducer("argmin", 2, _extreme(LT, LT)),
    Reducer("argmax_last", 2, _extreme(GT, GT)),
    Reducer("argmin_last", 2, _extreme(LT, GT)),
    Reducer("argmax_kept", 2, _kept(GE), commutative=False),
    Reducer("argmin_kept", 2, _kept(LE), commutative=False),
]
"""The reductions that are recognised; two or more that are independent of each other need no entry."""


def register_reducer(n_buffers: int, combiner: Combine, identity: Identity, name: str = "custom") -> Reducer:
    """Let reductions of ``n_buffers`` buffers by ``combiner(xs, ys)`` be recognised; ``identity(dtypes)`` are its
    neutral values. Returns the record.

    Raises ``MlcrefError`` when small numbers show that it is not associative, not commutative, or has another identity.

    >>> both = register_reducer(1, lambda x, y: [x[0] + y[0] + x[0] * y[0]], lambda dtypes: [const(0, dtypes[0])])
    >>> REDUCERS.remove(both)

    Source: TVM's ``ReducerRegistry``.
    """
    found = Reducer(name, n_buffers, lambda x, y: [as_expr(e) for e in combiner(x, y)], identity)
    for dtype in ("int32", "float32"):
        law = _broken_law(found, [dtype] * n_buffers)
        if law is not None:
            raise MlcrefError(f"the combiner of {name} {law} for {dtype}", rule="register_reducer.P1")
    REDUCERS.append(found)
    return found


def _broken_law(reducer: Reducer, dtypes: Sequence[str]) -> str | None:
    rows = list(product((-2, 0, 1, 3), repeat=reducer.arity))[:16]
    values: list[Values] = [[const(n, dtype) for n, dtype in zip(row, dtypes, strict=True)] for row in rows]
    assert reducer.identity is not None
    identity, combine = reducer.identity(dtypes), reducer.combine
    if not _same([combine(identity, x) for x in values], values):
        return "has another identity"
    pairs = list(product(values, repeat=2))
    if not _same([combine(x, y) for x, y in pairs], [combine(y, x) for x, y in pairs]):
        return "is not commutative"
    triples = [(x, y, z) for x, y in pairs[::3] for z in values[::3]]
    left = [combine(combine(x, y), z) for x, y, z in triples]
    right = [combine(x, combine(y, z)) for x, y, z in triples]
    return None if _same(left, right) else "is not associative"


def _same(a: Sequence[Values], b: Sequence[Values]) -> bool:
    return _numbers(a) == _numbers(b)


def _numbers(rows: Sequence[Values]) -> list[float]:
    """What constant expressions come to."""
    flat = [e for row in rows for e in row]
    out = Buffer("out", (const(len(flat)),), "float64")
    body = seq(*[BufferStore(out, cast("float64", e), (const(i),)) for i, e in enumerate(flat)])
    result = np.zeros(len(flat))
    interpret(PrimFunc((out,), BlockRealize((), (), make_block("root", body)), Attrs({})), result)
    return [float(x) for x in result]


# ---- which reduction a block is


@dataclass(frozen=True, slots=True)
class Part:
    """One reduction: its reducer and the positions of its buffers among the outputs."""

    reducer: Reducer
    positions: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Reduction:
    """``outputs[i][indices]`` start at ``starts[i]`` and are combined with ``operands[i]``."""

    outputs: tuple[Buffer, ...]
    indices: tuple[Expr, ...]
    starts: tuple[Expr, ...]
    operands: tuple[Expr, ...]
    parts: tuple[Part, ...]

    @property
    def commutative(self) -> bool:
        """May the operands change their order?"""
        return all(part.reducer.commutative for part in self.parts)

    def identities(self) -> list[Expr]:
        """Neutral values of the outputs."""
        found = list(self.starts)
        for part in self.parts:
            if part.reducer.identity is not None:
                neutral = part.reducer.identity([self.outputs[i].type for i in part.positions])
                for i, value in zip(part.positions, neutral, strict=True):
                    found[i] = value
        return found

    def combined(self, left: Values, right: Values) -> list[Expr]:
        """The values of the outputs from two of each."""
        found = list(left)
        for part in self.parts:
            made = part.reducer.combine([left[i] for i in part.positions], [right[i] for i in part.positions])
            for i, value in zip(part.positions, made, strict=True):
                found[i] = value
        return found


class NoReduction(Exception):
    """A block is no reduction that is known; ``pattern`` says whether its statements have the form of one."""

    def __init__(self, text: str, pattern: bool) -> None:
        super().__init__(text)
        self.pattern = pattern


def reduction_of(init: Stmt, body: Stmt) -> Reduction:
    """The reduction that a block with this init and body is. Raises ``NoReduction``."""
    starts = _stores(init, "the init")
    lets: dict[Var, Expr] = {}
    while isinstance(body, LetStmt):
        lets[body.var] = substitute(body.value, lets)
        body = body.body
    stores = _stores(body, "the body")
    first = stores[0]
    by_buffer = {store.buffer: store.value for store in starts}
    outputs = tuple([store.buffer for store in stores])
    if len(set(outputs)) != len(stores) or set(outputs) != set(by_buffer) or len(by_buffer) != len(starts):
        raise NoReduction("init and body do not store each of its outputs once", False)
    for store in (*starts, *stores):
        if len(store.buffer.shape) != len(first.indices) or not _equal(store.indices, first.indices):
            raise NoReduction("its outputs are not stored at the same place", False)
    if any(load.buffer in by_buffer for value in by_buffer.values() for load in loads(value)):
        raise NoReduction("the init reads an output", False)
    values = [substitute(store.value, lets) for store in stores]
    parts, operands = _recognised(outputs, first.indices, values, not any(_reads(s.value, outputs) for s in stores))
    return Reduction(outputs, first.indices, tuple([by_buffer[b] for b in outputs]), tuple(operands), parts)


def order_free(body: Stmt) -> bool:
    """Does the result of a reduction stay the same, but for rounding, when its operands come in another order?

    Decided for what updates an output: stores, or a nest of loops and blocks around them.
    """
    inner = [block.body for block in blocks_in(body)]
    if inner:
        return all(order_free(part) for part in inner)
    lets: dict[Var, Expr] = {}
    while isinstance(body, For | LetStmt):
        if isinstance(body, LetStmt):
            lets[body.var] = substitute(body.value, lets)
        body = body.body
    try:
        stores = _stores(body, "the body")
        outputs = tuple([store.buffer for store in stores])
        if len(set(outputs)) != len(stores) or any(not _equal(s.indices, stores[0].indices) for s in stores):
            return False
        values = [as_sum(store, substitute(store.value, lets)) for store in stores]
        together = not any(_reads(store.value, outputs) for store in stores)
        parts, _ = _recognised(outputs, stores[0].indices, values, together)
    except NoReduction:
        return False
    return all(part.reducer.commutative for part in parts)


def as_sum(store: BufferStore, value: Expr) -> Expr:
    """What takes operands off its output, as what adds them: their order matters as little."""
    if isinstance(value, Sub) and isinstance(value.a, BufferLoad) and value.a.buffer is store.buffer:
        return Add(value.a, value.b)
    return value


def _stores(stmt: Stmt, where: str) -> list[BufferStore]:
    parts = children_of(stmt)
    stores = [part for part in parts if isinstance(part, BufferStore)]
    if len(stores) != len(parts):
        raise NoReduction(f"{where} is more than stores", False)
    return stores


def _equal(a: Sequence[Expr], b: Sequence[Expr]) -> bool:
    return len(a) == len(b) and all(structural_equal(x, y) for x, y in zip(a, b, strict=True))


def _reads(value: Expr, buffers: Sequence[Buffer]) -> bool:
    return any(load.buffer in buffers for load in loads(value))


def _recognised(
    outputs: Sequence[Buffer], indices: Sequence[Expr], values: Values, together: bool
) -> tuple[tuple[Part, ...], list[Expr]]:
    """The reducers, and what the outputs are combined with. ``together``: all loads come before all stores."""
    old = [BufferLoad(buffer, tuple(indices)) for buffer in outputs]
    for reducer in REDUCERS:
        if reducer.arity == len(outputs) and (together or len(outputs) == 1):
            found = _operands(reducer, old, values)
            if found is not None:
                return (Part(reducer, tuple(range(len(outputs)))),), found
    parts: list[Part] = []
    operands: list[Expr] = []
    for i, value in enumerate(values):
        for reducer in REDUCERS:
            found = _operands(reducer, [old[i]], [value]) if reducer.arity == 1 else None
            if found is not None and not _reads(found[0], outputs):
                parts.append(Part(reducer, (i,)))
                operands += found
                break
        else:
            raise NoReduction("no known reducer combines its outputs so", True)
    return tuple(parts), operands


def _operands(reducer: Reducer, old: Values, values: Values) -> list[Expr] | None:
    """The right operands when ``values`` are ``reducer.combine(old, operands)``."""
    left, right, pattern = reducer.pattern([value.dtype for value in values])
    bound: dict[Var, Expr | None] = dict.fromkeys((*left, *right))
    if not all(_match(p, v, bound) for p, v in zip(pattern, values, strict=True)):
        return None
    a, b = [e for v in left if (e := bound[v]) is not None], [e for v in right if (e := bound[v]) is not None]
    found = b if _equal(a, old) else a if reducer.commutative and _equal(b, old) else None
    buffers = [load.buffer for load in old if isinstance(load, BufferLoad)]
    return None if found is None or any(_reads(value, buffers) for value in found) else found


def _match(pattern: Any, node: Any, bound: dict[Var, Expr | None]) -> bool:
    """Is ``node`` the pattern with expressions for the variables in ``bound``? Fills them in."""
    if type(pattern) is Var and pattern in bound:
        known = bound[pattern]
        if known is None:
            bound[pattern] = node
        return node.dtype == pattern.type and (known is None or structural_equal(known, node))
    if type(pattern) is not type(node):
        return False
    for name, role, _ in FIELDS[type(pattern)]:
        mine, other = getattr(pattern, name), getattr(node, name)
        if role is not Role.CHILD:
            if (mine != other) if role is Role.PLAIN else (mine is not other):
                return False
        elif type(mine) is tuple:
            if len(mine) != len(other) or not all(_match(p, n, bound) for p, n in zip(mine, other, strict=True)):
                return False
        elif (mine is None) != (other is None) or (mine is not None and not _match(mine, other, bound)):
            return False
    return True
