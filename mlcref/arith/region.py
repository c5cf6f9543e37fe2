"""Regions: which box of a buffer a statement touches.

Along one dimension a :class:`Span` says "from ``base + lo`` to ``base + hi``", where ``base`` is a linear form over
what is visible outside. None stands for "the whole dimension": the answer whenever nothing better is known. Every
answer covers what is touched.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from collections.abc import Set as AbstractSet
from math import gcd

from mlcref.arith.interval import Domain, Extent, Interval
from mlcref.arith.linear import INDEX_TYPES, Atom, Linear, Quotient, Remainder, atom_variables, expr_key, number, term
from mlcref.arith.simplify import Simplifier, simplify
from mlcref.ir import (
    AllocBuffer, BlockRealize, Buffer, BufferLoad, BufferRegion, BufferStore, Call, Const, DeclBuffer, Expr, For, Let,
    LetStmt, MatchBufferRegion, Node, Range, Stmt, Var, any_node, cast, children, const, loads, substitute,
)  # fmt: skip
from mlcref.records import dataclass


@dataclass(frozen=True, slots=True)
class Span:
    """The integers from ``base + lo`` to ``base + hi``, both inclusive."""

    base: Linear
    lo: int
    hi: int

    @property
    def extent(self) -> int:
        """How many integers."""
        return self.hi - self.lo + 1

    def start(self) -> Linear:
        """The first integer."""
        return self.base.shift(self.lo)

    def widen(self, more: int) -> Span:
        """With ``more`` integers at the end."""
        return Span(self.base, self.lo, self.hi + more)


def relax(expr: Expr, inner: AbstractSet[Var], dom: Domain) -> Span | None:
    """A span around the values of ``expr`` while the variables ``inner`` run through ``dom``; None when there is none.

    An expression that loads from a buffer has no span: its value may change.

    >>> from mlcref.ir import Var
    >>> i, j = Var("i"), Var("j")
    >>> span = relax(i * 4 + j, {j}, {i: 8, j: 4})
    >>> span.lo, span.hi, span.base.terms == {i: 4}
    (0, 3, True)
    """
    if any_node(expr, BufferLoad):
        return None
    return relax_form(Simplifier(dom).linear(expr), inner, dom)


def relax_form(form: Linear, inner: AbstractSet[Var], dom: Domain) -> Span | None:
    """As :func:`relax`, for a linear form."""
    simplifier = Simplifier(dom)
    base, values = Linear({}, 0, form.dtype), Interval(form.constant, form.constant)
    for atom, k in form.terms.items():
        outer, varying = _relax_atom(atom, inner, simplifier)
        base = base + outer.scale(k)
        values = values + varying.scale(k)
    if values.lo is None or values.hi is None:
        return None
    return Span(base, values.lo, values.hi)


def _relax_atom(atom: Atom, inner: AbstractSet[Var], simplifier: Simplifier) -> tuple[Linear, Interval]:
    """The part of an atom that stays and an interval around the part that varies."""
    used = atom_variables(atom)
    if not any(var in inner for var in used):
        fixed = simplifier.atom_bounds(atom)
        return (term(atom), Interval(0, 0)) if fixed.single is None else (number(0), fixed)
    if isinstance(atom, Quotient) and not isinstance(atom, Remainder) and not all(var in inner for var in used):
        return _relax_quotient(atom, inner, simplifier)
    return number(0), simplifier.atom_bounds(atom)


def _relax_quotient(atom: Quotient, inner: AbstractSet[Var], simplifier: Simplifier) -> tuple[Linear, Interval]:
    """``(a + b) // c`` with a outside and b varying lies between ``a // c + lo // c`` and ``a // c + (c - g + hi) //
    c``, where g is the common divisor of a and c: the remainder of a is at most c - g."""
    span = relax_form(atom.form, inner, simplifier.dom)
    if span is None:
        return number(0), simplifier.atom_bounds(atom)
    c = atom.divisor
    step = _common_divisor(span.base, c)
    return simplifier.divide(span.base, c), Interval(span.lo // c, (c - step + span.hi) // c)


def _common_divisor(form: Linear, c: int) -> int:
    return gcd(c, form.constant, *form.terms.values())


def union(spans: Sequence[Span | None]) -> Span | None:
    """A span around all of them; None when one is None or when their bases do not differ by numbers."""
    result: Span | None = None
    for i, span in enumerate(spans):
        if span is None:
            return None
        if i == 0 or result is None:
            result = span
            continue
        gap = (span.base - result.base).number()
        if gap is None:
            return None
        result = Span(result.base, min(result.lo, span.lo + gap), max(result.hi, span.hi + gap))
    return result


@dataclass(frozen=True, slots=True)
class Clipped:
    """A range ``start … start + extent - 1`` inside or around ``0 … full - 1``: where it can stick ``below`` or
    ``above``, a guard is needed. ``extent`` is None for the whole of a dimension with a symbolic extent."""

    start: Linear
    extent: int | None
    below: bool = False
    above: bool = False


def clip(span: Span | None, full: Extent, dom: Domain, *, exact: bool = False) -> Clipped:
    """The span cut to a dimension of extent ``full``.

    A constant span is cut; one that is as long as the dimension becomes the dimension (not when ``exact``); any other
    keeps its size, with guards where it is not proved to be inside.
    """
    size = int(full) if isinstance(full, int | Const) else None
    if span is None or (size is not None and span.extent >= size and span.base.terms and not exact):
        return Clipped(number(0), size)
    constant = span.base.number()
    if constant is not None and size is not None:
        lo, hi = max(span.lo + constant, 0), min(span.hi + constant, size - 1)
        lo, hi = (lo, hi) if lo <= hi else (0, size - 1)
        return Clipped(number(lo, span.base.dtype), hi - lo + 1)
    simplifier = Simplifier(dom)
    below = simplifier.bounds(span.start()).lo
    last = span.base.shift(span.hi)
    over = simplifier.bounds(last.shift(1) - (number(size) if size is not None else _form(full, simplifier))).hi
    return Clipped(span.start(), span.extent, below is None or below < 0, over is None or over > 0)


def _form(full: Extent, simplifier: Simplifier) -> Linear:
    assert isinstance(full, Expr)
    return simplifier.linear(full)


# ---- access regions of a block


def access_regions(
    body: Stmt,
    init: Stmt | None,
    dom: Domain,
    *,
    private: Collection[Buffer] = (),
    matched: Sequence[MatchBufferRegion] = (),
) -> tuple[tuple[BufferRegion, ...], tuple[BufferRegion, ...]]:
    """What a block with this body and init reads and writes, as regions over what is visible outside: one per buffer,
    in order of appearance.

    ``dom`` has the block's iterators. Loops inside are relaxed; conditions are ignored (the region may be larger than
    what is touched); blocks inside count with their declared regions; an index that loads from memory counts as the
    whole dimension. With an init, buffers that the block writes are left out of the reads (TVM's convention).
    ``private`` buffers, those that the block allocates, are left out; ``matched`` buffers count as the regions they
    stand for.

    >>> from mlcref.ir import Buffer, Var, const, store
    >>> v, A, B = Var("v"), Buffer("A", (const(8),)), Buffer("B", (const(8),))
    >>> reads, writes = access_regions(store(B, A[v], [v]), None, {v: 8})
    >>> reads[0].buffer, writes[0].region[0].min is v
    (A, True)
    """
    found = _Accesses(dom, set(private), {m.buffer: m.source for m in matched})
    found.statement(body)
    if init is not None:
        found.statement(init)
    reads = {b: a for b, a in found.reads.items() if init is None or b not in found.writes}
    return (
        tuple([found.region(buffer, accesses) for buffer, accesses in reads.items()]),
        tuple([found.region(buffer, accesses) for buffer, accesses in found.writes.items()]),
    )


@dataclass(frozen=True, slots=True)
class _Access:
    """Ranges touched, with the variables bound between the block and the access."""

    ranges: tuple[Range, ...]
    inner: frozenset[Var]


class _Accesses:
    def __init__(self, dom: Domain, private: set[Buffer], matched: dict[Buffer, BufferRegion]) -> None:
        self.dom: dict[Var, Extent] = dict(dom)
        self.private = private
        self.matched = matched
        self.reads: dict[Buffer, list[_Access]] = {}
        self.writes: dict[Buffer, list[_Access]] = {}
        self.inner: frozenset[Var] = frozenset()

    def statement(self, node: Node) -> None:
        """Collect what ``node`` touches."""
        match node:
            case BufferStore(buffer, value, indices):
                self.statement(value)
                for index in indices:
                    self.statement(index)
                self.touch(self.writes, buffer, _points(indices))
            case BufferLoad(buffer, indices):
                self.touch(self.reads, buffer, _points(indices))
                for index in indices:
                    self.statement(index)
            case For():
                self.loop(node)
            case BlockRealize():
                self.realize(node)
            case LetStmt(var, value, body) | Let(var, value, body):
                self.statement(value)
                self.under(var, None, body)
            case Call(op="call_function"):
                self.call(node)
            case _:
                self.other(node)

    def call(self, node: Call) -> None:
        """Another function may use all of the memory that it is given."""
        for arg in node.args:
            self.statement(arg)
        pointers = [part for arg in node.args if arg.dtype == "handle" for part in loads(arg)]
        for buffer in dict.fromkeys(part.buffer for part in pointers):
            for into in (self.reads, self.writes):
                self.touch(into, buffer, _whole(buffer).region)

    def other(self, node: Node) -> None:
        """Any other node: the buffers that it introduces are its own."""
        if isinstance(node, AllocBuffer):
            self.private = self.private | {node.buffer}
        elif isinstance(node, DeclBuffer):
            self.matched = {**self.matched, node.buffer: _whole(node.source)}
        for child in children(node):
            self.statement(child)

    def under(self, var: Var, values: Extent | None, body: Node) -> None:
        before = self.inner
        self.inner = before | {var}
        if values is not None:
            self.dom[var] = values
        self.statement(body)
        self.inner = before

    def loop(self, node: For) -> None:
        self.statement(node.min)
        self.statement(node.extent)
        if node.step is not None:
            self.statement(node.step)
        self.under(node.loop_var, _loop_values(node, self.dom), node.body)

    def realize(self, node: BlockRealize) -> None:
        """A block inside counts with its declared regions, its iterators replaced by their values."""
        for part in (*node.iter_values, *node.predicate):
            self.statement(part)
        values = {item.var: value for item, value in zip(node.block.iter_vars, node.iter_values, strict=True)}
        for into, regions in ((self.reads, node.block.reads), (self.writes, node.block.writes)):
            for region in regions:
                self.touch(into, region.buffer, tuple([substitute(r, values) for r in region.region]))

    def touch(self, into: dict[Buffer, list[_Access]], buffer: Buffer, ranges: tuple[Range, ...]) -> None:
        if buffer in self.matched:
            source = self.matched[buffer]
            self.touch(into, source.buffer, source.region)
        elif buffer not in self.private:
            into.setdefault(buffer, []).append(_Access(ranges, self.inner))

    def region(self, buffer: Buffer, accesses: Sequence[_Access]) -> BufferRegion:
        """One region around all accesses of a buffer."""
        return BufferRegion(buffer, tuple([self.dimension(d, full, accesses) for d, full in enumerate(buffer.shape)]))

    def dimension(self, d: int, full: Expr, accesses: Sequence[_Access]) -> Range:
        plain = self.same_range(d, accesses)
        if plain is not None:
            return plain
        spans = [self.span(access.ranges[d], access.inner) for access in accesses]
        span = union(spans)
        size = int(full.value) if isinstance(full, Const) else None
        if span is None or (size is not None and span.extent >= size):
            return Range(const(0, full.dtype), full)
        constant = span.base.number()
        if constant is not None:
            lo = max(span.lo + constant, 0)
            hi = span.hi + constant if size is None else min(span.hi + constant, size - 1)
            return Range(const(lo, full.dtype), const(max(hi - lo + 1, 0), full.dtype))
        start = span.start().expr()
        return Range(start, const(span.extent, start.dtype))

    def same_range(self, d: int, accesses: Sequence[_Access]) -> Range | None:
        """The range of the dimension as written, when all accesses agree on it and nothing in it varies."""
        first = accesses[0].ranges[d]
        if first.min.dtype not in INDEX_TYPES or any_node(first, BufferLoad):
            return None
        if any(expr_key(a.ranges[d]) != expr_key(first) for a in accesses[1:]):
            return None
        inner = accesses[0].inner.union(*[a.inner for a in accesses])
        return None if uses_any(first, inner) else first

    def span(self, item: Range, inner: frozenset[Var]) -> Span | None:
        if item.min.dtype not in INDEX_TYPES:
            return None
        span = relax(item.min, inner, self.dom)
        extent = simplify(item.extent, self.dom)
        if span is None or not isinstance(extent, Const):
            return None
        return span.widen(int(extent.value) - 1)


def _points(indices: Sequence[Expr]) -> tuple[Range, ...]:
    """Ranges of one element (a vector index stands in its range as it is; :meth:`_Accesses.span` takes the whole
    dimension)."""
    return tuple([Range(index, const(1, index.dtype if index.dtype in INDEX_TYPES else "int32")) for index in indices])


def _whole(buffer: Buffer) -> BufferRegion:
    return BufferRegion(buffer, tuple([Range(const(0, extent.dtype), extent) for extent in buffer.shape]))


def _loop_values(node: For, dom: Domain) -> Extent | None:
    """Values of a loop's variable: an extent from 0, or bounds."""
    simplifier = Simplifier(dom)
    start = simplifier.bounds(simplifier.linear(node.min))
    if start.single == 0:
        return node.extent
    last = simplifier.bounds(simplifier.linear(cast(node.min.dtype, node.min) + node.extent)).hi
    return (start.lo, None if last is None else last - 1)


def uses_any(root: Node, variables: AbstractSet[Var]) -> bool:
    """Is one of ``variables`` used in ``root``?"""
    if isinstance(root, Var):
        return root in variables
    return bool(variables) and any(uses_any(child, variables) for child in children(root))
