"""Do two programs compute every output element from the same expression over the same source elements?

Loaded values are replaced by the expressions that the dataflow says were stored, down to the contents of parameters. A
sum, product, maximum or minimum is the collection of its contributions, in any order, whether written as one
expression or accumulated by a reduction (as in Verdoolaege, Janssens and Bruynooghe, "Equivalence checking of static
affine programs using widening to handle recurrences", 2012, but with reductions closed by the dataflow, not widened).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from mlcref import dtype as dt
from mlcref.ir import Binary, Call, Cast, Const, Expr, Max, Min, Not, Select, Var
from mlcref.verify.prove_affine import NotAffine, affine
from mlcref.verify.prove_extract import exact_arithmetic
from mlcref.verify.prove_isl import isl
from mlcref.verify.prove_model import Event, Frame
from mlcref.verify.prove_violations import Unclear
from mlcref.verify.prove_sources import COLLECTED, DEEPEST, Collector, Given, Part, Side, Value, branches

class Matching:
    """The comparison. Relations go from instances of the first program to instances of the second."""

    def __init__(self, f: Side, g: Side) -> None:
        self.f, self.g = f, g
        self.active: dict[tuple[int, str, int, str], isl.Map] = {}
        self.assumed: set[tuple[int, str, int, str]] = set()
        self.depth = 0

    def equal(self, a: Value, x: Any, b: Value, y: Any, pairs: isl.Map) -> isl.Map:
        """Of ``pairs`` of instances of ``x`` and ``y``: those in which ``a`` and ``b`` are certainly equal."""
        pairs = pairs.coalesce()
        if pairs.is_empty():
            return pairs
        key = (id(a), self.f.name(x), id(b), self.g.name(y))
        if key in self.active:  # both sides went back in time since: equal if everything assumed there is
            self.assumed.add(key)
            return pairs.intersect(self.active[key])
        if self.depth > DEEPEST:
            raise Unclear("expressions are nested too deeply")
        self.active[key] = pairs
        self.depth += 1
        found: isl.Map = self.compare(a, x, b, y, pairs)
        self.depth -= 1
        del self.active[key]
        if key in self.assumed:
            self.assumed.discard(key)
            if not pairs.is_subset(found):
                return isl.Map.empty(pairs.get_space())
        return found

    def compare(self, a: Value, x: Any, b: Value, y: Any, pairs: isl.Map) -> isl.Map:
        """One step: look through loads, then conditions, then operators."""
        if self.f.loads(a, x):
            return self.through_left(a, x, b, y, pairs)
        if self.g.loads(b, y):
            return self.through_right(a, x, b, y, pairs)
        given = isinstance(a, Given), isinstance(b, Given)
        if all(given):
            return self.same_element(a, b, pairs)
        followed = self.cases(a, x, b, y, pairs)
        if followed is not None:
            return followed
        if not any(given) and a.dtype != b.dtype:
            return isl.Map.empty(pairs.get_space())
        op = self.collected(a) or self.collected(b)
        if op is not None:
            return self.collections(op, a, x, b, y, pairs)
        return isl.Map.empty(pairs.get_space()) if any(given) else self.operators(a, x, b, y, pairs)

    @staticmethod
    def collected(a: Value) -> type | None:
        """The operation whose contributions make the value."""
        return type(a) if type(a) in COLLECTED else None

    def through_left(self, a: Value, x: Any, b: Value, y: Any, pairs: isl.Map) -> isl.Map:
        result = isl.Map.empty(pairs.get_space())
        for value, site, flow in self.f.sources(a, x):
            inner = self.equal(value, site, b, y, flow.reverse().apply_range(pairs))
            result = result.union(flow.apply_range(inner).intersect(pairs))
        return result.coalesce()

    def through_right(self, a: Value, x: Any, b: Value, y: Any, pairs: isl.Map) -> isl.Map:
        result = isl.Map.empty(pairs.get_space())
        for value, site, flow in self.g.sources(b, y):
            inner = self.equal(a, x, value, site, pairs.apply_range(flow))
            result = result.union(inner.apply_range(flow.reverse()).intersect(pairs))
        return result.coalesce()

    def same_element(self, a: Given, b: Given, pairs: isl.Map) -> isl.Map:
        """Both are what a parameter held: the same element of the same parameter?"""
        if self.f.model.func.buffers.index(a.buffer) != self.g.model.func.buffers.index(b.buffer):
            return isl.Map.empty(pairs.get_space())
        left, right = (given.cell.set_tuple_name(isl.dim_type.out, "C") for given in (a, b))
        return pairs.intersect(left.apply_range(right.reverse()))

    # --- conditions ---

    def cases(self, a: Value, x: Any, b: Value, y: Any, pairs: isl.Map) -> isl.Map | None:
        """Follow a conditional whose condition is affine into both branches."""
        split = branches(self.f, a, x)
        if split is not None:
            chosen, yes, no = split
            taken = pairs.intersect_domain(chosen)
            return self.equal(yes, x, b, y, taken).union(self.equal(no, x, b, y, pairs.subtract(taken)))
        split = branches(self.g, b, y)
        if split is not None:
            chosen, yes, no = split
            taken = pairs.intersect_range(chosen)
            return self.equal(a, x, yes, y, taken).union(self.equal(a, x, no, y, pairs.subtract(taken)))
        return None

    # --- operators ---

    def operators(self, a: Value, x: Any, b: Value, y: Any, pairs: isl.Map) -> isl.Map:
        """Constants, index arithmetic, and operators whose operands keep their places."""
        if isinstance(a, Const) and isinstance(b, Const):
            same = repr(a.value) == repr(b.value)
            return pairs if same else isl.Map.empty(pairs.get_space())
        if isinstance(a, Var) and isinstance(b, Var) and a in self.f.model.func.scalars:
            scalars = self.f.model.func.scalars.index(a), self.g.model.func.scalars
            if b in scalars[1] and scalars[1].index(b) == scalars[0]:
                return pairs
        left, right = _affine_value(self.f, a, x), _affine_value(self.g, b, y)
        if left is not None and right is not None:
            return pairs.intersect(left.apply_range(right.reverse()))
        operands, others = _operands(a), _operands(b)
        if operands is None or others is None or _head(a) != _head(b) or len(operands) != len(others):
            return isl.Map.empty(pairs.get_space())
        for p, q in zip(operands, others, strict=True):
            pairs = self.equal(p, x, q, y, pairs)
        return pairs

    # --- collections ---

    def collections(self, op: type, a: Value, x: Any, b: Value, y: Any, pairs: isl.Map) -> isl.Map:
        """Both values as collections of contributions, as large as can be, or of the next values alone."""
        deep = Collector(self.f, op, deep=True), Collector(self.g, op, deep=True)
        found = self.matched(deep, a, x, b, y, pairs)
        if not (deep[0].went_deep or deep[1].went_deep) or pairs.is_subset(found):
            return found
        shallow = Collector(self.f, op, deep=False), Collector(self.g, op, deep=False)
        return found.union(self.matched(shallow, a, x, b, y, pairs))

    def matched(self, collectors: tuple[Collector, Collector], a: Value, x: Any, b: Value, y: Any, pairs: isl.Map
                ) -> isl.Map:  # fmt: skip
        """The pairs whose contributions can be matched one to one."""
        left = collectors[0].parts(a, x, pairs.domain())
        right = collectors[1].parts(b, y, pairs.range())
        open_left = [part.to.apply_range(pairs).coalesce() for part in left]
        open_right = [part.to.apply_range(pairs.reverse()).coalesce() for part in right]
        repeatable = collectors[0].op in (Max, Min)
        for i, p in enumerate(left):
            for j, q in enumerate(right):
                closed = open_left[i].is_empty(), open_right[j].is_empty()
                if all(closed) or (any(closed) and not repeatable):
                    continue
                context = p.to.apply_range(pairs).apply_range(q.to.reverse())
                matched = self.equal(p.value, p.site, q.value, q.site, context)
                if not repeatable:
                    matched = _one_to_one(matched, p, q, open_left[i], open_right[j])
                open_left[i] = open_left[i].subtract(matched.apply_range(q.to))
                open_right[j] = open_right[j].subtract(matched.reverse().apply_range(p.to))
        for part, rest in zip(left, open_left, strict=True):
            pairs = pairs.subtract(part.to.reverse().apply_range(rest))
        for part, rest in zip(right, open_right, strict=True):
            pairs = pairs.subtract(part.to.reverse().apply_range(rest).reverse())
        return pairs


def _one_to_one(matched: isl.Map, p: Part, q: Part, left: isl.Map, right: isl.Map) -> isl.Map:
    """A part of ``matched`` in which, for each pair of results, each contribution has at most one partner.

    ``left`` are the contributions (with the result on the other side) that have no partner yet, ``right`` likewise.
    """
    forth = _with_results(matched, q).intersect_domain(left.wrap()).domain_factor_domain()
    back = _with_results(matched.reverse(), p).intersect_domain(right.wrap()).domain_factor_domain()
    unmatched = forth.intersect(back.reverse())
    for candidate in (unmatched, *_same_iterators(unmatched, p, q), _nearest(unmatched)):
        if (
            _with_results(candidate, q).is_single_valued()
            and _with_results(candidate.reverse(), p).is_single_valued()
        ):
            return candidate
    return isl.Map.empty(matched.get_space())


def _same_iterators(matched: isl.Map, p: Part, q: Part) -> Iterator[isl.Map]:
    """The pairs whose blocks have the same values of their iterators, where both have as many."""
    if isinstance(p.site, Event) and isinstance(q.site, Event) and p.site.place.frames and q.site.place.frames:
        frames = p.site.place.frames[-1], q.site.place.frames[-1]
        if len(frames[0].iters) == len(frames[1].iters) and all(frame.exact for frame in frames):
            yield matched.intersect(_iterators(p, frames[0]).apply_range(_iterators(q, frames[1]).reverse()))


def _iterators(part: Part, frame: Frame) -> isl.Map:
    """From the instances of a part's store to the iterators of its block."""
    assert isinstance(part.site, Event)
    text = f"{part.site.name}[{', '.join(part.site.place.dims)}] -> I[{', '.join(map(str, frame.bindings))}]"
    names = part.to.get_space().get_var_names(isl.dim_type.param)
    return isl.Map(f"[{', '.join(names)}] -> {{ {text} }}")


def _nearest(matched: isl.Map) -> isl.Map:
    """One partner for each, the first."""
    return matched.lexmin().reverse().lexmin().reverse()


def _with_results(matched: isl.Map, other: Part) -> isl.Map:
    """From a contribution and the result on the other side to its partner."""
    tagged = other.to.reverse().range_map().reverse()
    return matched.apply_range(tagged).uncurry()


def _affine_value(side: Side, a: Value, x: Any) -> isl.Map | None:
    """From instances to the integer that ``a`` is, where it is index arithmetic."""
    if not isinstance(a, Expr) or not dt.is_integer(a.dtype) or not exact_arithmetic(a, x.place.ranges):
        return None
    try:
        return side.model.relation(x.name, x.place.dims, "V", [affine(a, x.place.env)], *x.place.domain)
    except NotAffine:
        return None


def _head(a: Expr) -> tuple[Any, ...]:
    """What an operator is, without its operands."""
    if isinstance(a, Call):
        return ("call", a.op, a.type)
    if isinstance(a, Cast):
        return ("cast", a.type, a.value.dtype)
    if isinstance(a, Select):
        return ("call", "if_then_else", a.dtype)
    return (type(a), a.dtype, a.a.dtype if isinstance(a, Binary) else "")


def _operands(a: Value) -> tuple[Expr, ...] | None:
    """The operands of an operator; None for what is no operator."""
    match a:
        case Binary():
            return (a.a, a.b)
        case Call():
            return a.args
        case Cast():
            return (a.value,)
        case Not():
            return (a.a,)
        case Select():
            return (a.condition, a.true_value, a.false_value)
    return None
