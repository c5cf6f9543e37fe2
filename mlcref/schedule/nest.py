"""Loop nests made anew for a required part of a block: what compute_at, reverse_compute_at and the caches have in
common.

* :func:`needed`: which part of a buffer a block uses while some of its loops run;
* :func:`solve`: which iterator values of a block touch a part of a buffer;
* :func:`executed`: exactly which values the iterators take (:mod:`~mlcref.schedule.written`: which elements are
  written);
* :func:`carried`: what of a predicate must stay when the loops change;
* :func:`nest`: loops ``ax0 …`` that run through given spans of the iterators, guarded where they stick out.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from mlcref.arith import (
    Linear,
    Span,
    affine,
    bounds,
    clip,
    expr_key,
    linear,
    proved,
    relax,
    relax_form,
    simplify,
    term,
    tile,
    union,
)
from mlcref.arith.interval import Extent
from mlcref.arith.linear import INDEX_TYPES
from mlcref.dtype import is_float
from mlcref.ir import (
    GE,
    GT,
    LE,
    LT,
    Add,
    BlockRealize,
    BufferRegion,
    Cast,
    Const,
    Div,
    Expr,
    FloorDiv,
    FloorMod,
    For,
    IterVar,
    Mod,
    PrimFunc,
    Range,
    Stmt,
    Var,
    const,
    index,
    replace,
    substitute,
    variables,
    walk,
)
from mlcref.schedule.find import loops_above

Ranges = dict[Var, Extent]
Spans = list[Span | None]
"""A span per dimension or iterator; None is all of it."""


# ---- ranges of variables, symbolic ones too


def ranges_at(func: PrimFunc, stmt: Stmt) -> Ranges:
    """Ranges of the loop variables and block iterators visible at ``stmt`` (its own loop variable included)."""
    found: Ranges = {}
    for up in reversed([stmt, *index(func).above(stmt)]):
        if isinstance(up, For):
            found[up.loop_var] = _extent(up.min, up.extent)
        elif isinstance(up, BlockRealize) and up is not stmt:
            found.update(iterator_ranges(up.block.iter_vars))
    return found


def iterator_ranges(items: Iterable[IterVar]) -> Ranges:
    """Ranges of block iterators."""
    return {item.var: _extent(item.dom.min, item.dom.extent) for item in items}


def _extent(start: Expr, extent: Expr) -> Extent:
    """The range of a variable from ``start`` on; unknown ends where that is no number."""
    if not isinstance(start, Const):
        return (None, None)
    if isinstance(extent, Const):
        first = int(start.value)
        return int(extent.value) if first == 0 else (first, first + int(extent.value) - 1)
    return extent if int(start.value) == 0 else (int(start.value), None)


def starts_at_zero(item: IterVar) -> bool:
    """Does the iterator's domain begin with 0?"""
    return isinstance(item.dom.min, Const) and int(item.dom.min.value) == 0


# ---- regions below loops


def needed(func: PrimFunc, realize: BlockRealize, region: BufferRegion, outer: Collection[Var]) -> Spans:
    """The part of ``region.buffer`` that the block touches while all loops of its scope but ``outer`` run."""
    ranges = ranges_at(func, realize)
    values = bindings(realize)
    inner = {loop.loop_var for loop in loops_above(func, realize)} - set(outer)
    return [_needed(dimension, values, inner, ranges) for dimension in region.region]


def _needed(dimension: Range, values: Mapping[Var, Expr], inner: set[Var], ranges: Ranges) -> Span | None:
    extent = simplify(substitute(dimension.extent, values), ranges)
    if not isinstance(extent, Const):
        return None
    span = relax(substitute(dimension.min, values), inner, ranges)
    return None if span is None else span.widen(int(extent.value) - 1)


def needed_by_all(func: PrimFunc, uses: Sequence[tuple[BlockRealize, BufferRegion]], outer: Collection[Var]) -> Spans:
    """The part of one buffer that several blocks touch while all loops but ``outer`` run."""
    parts = [needed(func, realize, region, outer) for realize, region in uses]
    return [union(spans) for spans in zip(*parts, strict=True)]


def bindings(realize: BlockRealize) -> dict[Var, Expr]:
    """The values of a block's iterators."""
    return {item.var: value for item, value in zip(realize.block.iter_vars, realize.iter_values, strict=True)}


def solve(realize: BlockRealize, region: BufferRegion, spans: Spans) -> dict[int, Span | None]:
    """Values of the block's iterators, by position, with which ``region`` touches ``spans``. An iterator that is left
    out may need every value.
    """
    position = {item.var: k for k, item in enumerate(realize.block.iter_vars)}
    found: dict[int, list[Span | None]] = {}
    for dimension, span in zip(region.region, spans, strict=True):
        form = linear(dimension.min, {})
        used = [atom for atom in form.terms if isinstance(atom, Var) and atom in position]
        if span is None or len(form.terms) != 1 or not used or not isinstance(dimension.extent, Const):
            continue
        solution = _solve(form, form.terms[used[0]], int(dimension.extent.value), span)
        if solution is not None:
            found.setdefault(position[used[0]], []).append(solution)
    return {k: union(solutions) for k, solutions in found.items()}


def _solve(form: Linear, factor: int, width: int, span: Span) -> Span | None:
    """The v with ``factor*v + constant … + width - 1`` touching the span; None when that is no span."""
    if factor < 1 or span.base.constant % factor or any(k % factor for k in span.base.terms.values()):
        return None
    base = Linear({a: k // factor for a, k in span.base.terms.items()}, span.base.constant // factor, span.base.dtype)
    lo = span.lo - form.constant - width + 1
    return Span(base, -(-lo // factor), (span.hi - form.constant) // factor)


# ---- what exactly is executed


def executed(func: PrimFunc, realize: BlockRealize, outer: Collection[Var], predicate: Sequence[Expr]) -> Spans | None:
    """Exactly the values that the block's iterators take, in every combination, while all loops of its scope but
    ``outer`` run and ``predicate`` holds; None when they are no such box. They may stick out of the domains, where the
    predicate cuts them off.
    """
    ranges = ranges_at(func, realize)
    inner = {loop.loop_var for loop in loops_above(func, realize)} - set(outer)
    predicate = [conjunct for conjunct in _tightest(predicate) if not _shortens(conjunct, inner, ranges)]
    realize, predicate = _from_zero(realize, predicate, inner, ranges)
    forms = [linear(value, ranges) for value in realize.iter_values]
    clips = {id(c) for c in predicate if _clips_a_domain(c, realize, ranges)}
    conditions = [c for c in predicate if id(c) not in clips or variables(c) <= inner]
    if any(not variables(c) <= inner for c in conditions):
        return None
    parts = [form.only(lambda atom: bool(Linear({atom: 1}).variables() & inner)) for form in forms]
    if any(not part.variables() <= inner for part in parts):
        return None
    rows = affine([part.expr() for part in parts], {v: ranges[v] for v in inner}, surjective=True, predicate=conditions)
    if rows is None:
        return None
    spans: Spans = []
    for form, part, row, item in zip(forms, parts, rows, realize.block.iter_vars, strict=True):
        size, span = tile(row), relax_form(part, inner, ranges)
        falls = {digit.scale < 0 for digit in row if digit.extent != 1}
        if size is not None and span is not None and (len(falls) < 2 or not conditions):
            low = span.hi - size + 1 if falls == {True} else span.lo  # conditions cut off the last iterations
            spans.append(Span(form - part, low, low + size - 1))
            if not _meets(spans[-1], item):
                return None
        elif _whole(form, item, ranges):
            spans.append(None)
        else:
            return None
    return spans


def _meets(span: Span | None, item: IterVar) -> bool:
    """May any value of the span be one of the iterator? A predicate that never holds keeps it from all of them."""
    domain, start = iterator_domain(item), None if span is None else span.base.number()
    if span is None or domain is None or start is None:
        return True
    return start + span.lo <= domain.hi and start + span.hi >= domain.lo


def _from_zero(
    realize: BlockRealize, predicate: Sequence[Expr], inner: set[Var], ranges: Ranges
) -> tuple[BlockRealize, Sequence[Expr]]:
    """Values and predicate with the loops ``inner`` that start elsewhere counted from 0, as ``ranges`` then says too.
    """
    starts: dict[Var, Expr] = {}
    for var in inner:
        known = ranges[var]
        if isinstance(known, tuple) and known[0] is not None and known[1] is not None:
            starts[var] = Add(var, const(known[0], var.type))
            ranges[var] = known[1] - known[0] + 1
    if not starts:
        return realize, predicate
    values = tuple([substitute(value, starts) for value in realize.iter_values])
    return replace(realize, iter_values=values), [substitute(conjunct, starts) for conjunct in predicate]


def _tightest(predicate: Sequence[Expr]) -> list[Expr]:
    """The conjuncts without those that follow from another one about the same sum."""
    kept: dict[Any, tuple[int, Expr]] = {}
    for conjunct in predicate:
        form = _below_zero(conjunct, {})
        key = id(conjunct) if form is None else form.shift(-form.constant).key
        bound = 0 if form is None else form.constant
        if key not in kept or kept[key][0] < bound:
            kept[key] = (bound, conjunct)
    return [conjunct for _, conjunct in kept.values()]


def _shortens(conjunct: Expr, inner: set[Var], ranges: Ranges) -> bool:
    """Does the conjunct only start a loop of ``inner`` later or end it earlier? ``ranges`` then says so."""
    form = _below_zero(conjunct, {})
    if form is None or len(form.terms) != 1:
        return False
    ((var, factor),) = form.terms.items()
    known = ranges.get(var) if isinstance(var, Var) and var in inner else None
    low, high = (0, known - 1) if isinstance(known, int) else known if isinstance(known, tuple) else (None, None)
    if not isinstance(var, Var) or low is None or high is None or factor not in (1, -1):
        return False
    low, high = (low, min(high, -form.constant - 1)) if factor == 1 else (max(low, form.constant + 1), high)
    if low > high:
        return False
    ranges[var] = high + 1 if low == 0 else (low, high)
    return True


def _whole(form: Linear, item: IterVar, ranges: Ranges) -> bool:
    """Is the value one loop variable with the (symbolic) extent of the iterator's domain?"""
    atom = form.atom()
    extent = ranges.get(atom) if isinstance(atom, Var) else None
    return isinstance(extent, Expr) and expr_key(extent) == expr_key(item.dom.extent)


def covers_domains(func: PrimFunc, realize: BlockRealize, predicate: Sequence[Expr]) -> bool:
    """Do the iterators take every combination of values of their domains (where ``predicate`` holds)?"""
    spans = executed(func, realize, (), predicate)
    if spans is None:
        return _windows_cover(func, realize, predicate)
    return all(
        span is None or contains(span, iterator_domain(item), {})
        for span, item in zip(spans, realize.block.iter_vars, strict=True)
    )


def _windows_cover(func: PrimFunc, realize: BlockRealize, predicate: Sequence[Expr]) -> bool:
    """Do windows that overlap (``i + ax0``) leave out no value of a domain? Each iterator has loops of its own, and the
    conditions only keep it in its domain.
    """
    ranges, inner = ranges_at(func, realize), {loop.loop_var for loop in loops_above(func, realize)}
    realize, predicate = _from_zero(realize, predicate, inner, ranges)
    if not all(_clips_a_domain(conjunct, realize, ranges) for conjunct in predicate):
        return False
    used: set[Any] = set()
    for value, item in zip(realize.iter_values, realize.block.iter_vars, strict=True):
        form, domain, reach = linear(value, ranges), iterator_domain(item), 1
        if domain is None or not set(form.terms) <= inner - used:
            return False
        used |= set(form.terms)
        for atom in sorted(form.terms, key=lambda a: abs(form.terms[a])):
            count = ranges.get(atom) if isinstance(atom, Var) else None
            if not isinstance(count, int) or count < 1 or abs(form.terms[atom]) > reach:
                return False
            reach += abs(form.terms[atom]) * (count - 1)
        low = bounds(form.expr(), ranges).lo
        if low is None or low > 0 or low + reach - 1 < domain.hi:
            return False
    return True


def iterator_domain(item: IterVar) -> Span | None:
    """The domain of an iterator as a span; None when it is symbolic."""
    if isinstance(item.dom.extent, Const) and starts_at_zero(item):
        return Span(Linear({}, 0, item.var.type), 0, int(item.dom.extent.value) - 1)
    return None


def always_defined(realize: BlockRealize) -> bool:
    """May the block run at any point of its domains, whether or not it does so now? Its reads are then in bounds, and
    nothing in it divides integers or makes integers of floats."""
    ranges = iterator_ranges(realize.block.iter_vars)
    for node in walk(realize.block):
        if (
            isinstance(node, Div | Mod | FloorDiv | FloorMod)
            and not is_float(node.dtype)
            and not isinstance(node.b, Const)
        ):
            return False
        if isinstance(node, Cast) and is_float(node.value.dtype) and not is_float(node.dtype):
            return False
    return all(
        _in_bounds(dimension, extent, ranges)
        for region in realize.block.reads
        for dimension, extent in zip(region.region, region.buffer.shape, strict=True)
    )


def _in_bounds(dimension: Range, extent: Expr, ranges: Ranges) -> bool:
    end = simplify(dimension.min + dimension.extent, ranges)
    return proved(dimension.min >= 0, ranges) is True and proved(end <= extent, ranges) is True


def tells_apart(realize: BlockRealize, items: Sequence[IterVar]) -> bool:
    """Does the place of its one output tell instances apart that differ in one of the iterators?"""
    ranges = iterator_ranges(realize.block.iter_vars)
    apart = {item.var for item in items if not (isinstance(item.dom.extent, Const) and int(item.dom.extent.value) == 1)}
    region = realize.block.writes[0].region
    if all(isinstance(d.extent, Const) and int(d.extent.value) == 1 for d in region):
        return affine([d.min for d in region], ranges, told_apart=apart) is not None
    strided: set[Var] = set()
    for dimension in region:
        form, width = linear(dimension.min, ranges), linear(dimension.extent, ranges).number()
        if len(form.terms) == 1 and width is not None:
            strided |= {v for v, k in form.terms.items() if isinstance(v, Var) and k >= width}
    return apart <= strided


def contains(outer: Span | None, inner: Span | None, ranges: Ranges) -> bool:
    """Is every integer of ``inner`` provably in ``outer``? None is the whole dimension."""
    if outer is None:
        return True
    if inner is None:
        return False
    low = bounds((inner.start() - outer.start()).expr(), ranges).lo
    high = bounds((outer.base.shift(outer.hi) - inner.base.shift(inner.hi)).expr(), ranges).lo
    return low is not None and low >= 0 and high is not None and high >= 0


def in_bounds(span: Span | None, extent: Expr) -> Span | None:
    """A constant span cut to a dimension: nothing outside of a buffer is read."""
    start, full = (None, None) if span is None else (span.base.number(), linear(extent, {}).number())
    if span is None or start is None or full is None:
        return span
    return Span(span.base, max(span.lo, -start), min(span.hi, full - 1 - start))


# ---- predicates


def _below_zero(condition: Expr, ranges: Ranges) -> Linear | None:
    """The form that is below 0 exactly where the comparison holds; None for other conditions."""
    if not isinstance(condition, LT | LE | GT | GE) or condition.a.dtype not in INDEX_TYPES:
        return None
    gap = linear(condition.a, ranges) - linear(condition.b, ranges)
    if isinstance(condition, GT | GE):
        gap = gap.scale(-1)
    return gap if isinstance(condition, LT | GT) else gap.shift(-1)


def _clips_a_domain(condition: Expr, realize: BlockRealize, ranges: Ranges) -> bool:
    """Does the conjunct only keep a binding inside its iterator's domain?"""
    form = _below_zero(condition, ranges)
    for item, value in zip(realize.block.iter_vars, realize.iter_values, strict=True):
        if form is not None and starts_at_zero(item):
            bound = linear(value, ranges)
            above = (bound - form - linear(item.dom.extent, ranges)).number()
            below = (bound + form).number()
            if (above is not None and above >= 0) or (below is not None and below <= -1):
                return True
    return False


def _bounds_a_digit(condition: Expr, realize: BlockRealize, ranges: Ranges) -> bool:
    """Is the conjunct ``L < n`` for a binding ``s*n*rest + s*L + low`` with ``0 <= low < s``? Then it only says where
    rest goes on; without a rest, it says that the binding stays inside its domain.
    """
    if not isinstance(condition, LT) or not isinstance(condition.b, Const):
        return False
    n, digit = int(condition.b.value), linear(condition.a, ranges)
    return any(
        _has_digit(linear(value, ranges), digit, n, item, ranges)
        for item, value in zip(realize.block.iter_vars, realize.iter_values, strict=True)
    )


def _has_digit(value: Linear, digit: Linear, n: int, item: IterVar, ranges: Ranges) -> bool:
    first = next(iter(digit.terms), None)
    scale, odd = divmod(value.terms.get(first, 0), digit.terms[first]) if first is not None else (0, 0)
    if scale < 1 or odd or n < 1:
        return False
    rest = value - digit.scale(scale)
    upper = rest.only(lambda atom: rest.terms[atom] % (scale * n) == 0)
    low = bounds((rest - upper).expr(), ranges)
    if low.lo is None or low.hi is None or low.lo < 0 or low.hi >= scale:
        return False
    domain = iterator_domain(item)
    return bool(upper.terms) or (domain is not None and starts_at_zero(item) and scale * n > domain.hi)


def split_predicate(func: PrimFunc, realize: BlockRealize) -> tuple[list[Expr], list[Expr]]:
    """The conjuncts that only say how loops run through the domains, and the others."""
    ranges = ranges_at(func, realize)
    enumerating: list[Expr] = []
    others: list[Expr] = []
    for condition in realize.predicate:
        plain = _clips_a_domain(condition, realize, ranges) or _bounds_a_digit(condition, realize, ranges)
        (enumerating if plain else others).append(condition)
    return enumerating, others


def carried(func: PrimFunc, realize: BlockRealize, others: Sequence[Expr]) -> list[Expr] | None:
    """The conjuncts ``others`` over the block's own iterators; None when one of them cannot be said so."""
    ranges = ranges_at(func, realize)
    own = {item.var for item in realize.block.iter_vars}
    inverse = {
        value: item.var
        for item, value in zip(realize.block.iter_vars, realize.iter_values, strict=True)
        if isinstance(value, Var)
    }
    result: list[Expr] = []
    for condition in others:
        rewritten = substitute(condition, inverse)
        for item, value in zip(realize.block.iter_vars, realize.iter_values, strict=True):
            form = _below_zero(condition, ranges)
            if form is not None and not variables(rewritten) <= own:
                for sign in (1, -1):
                    rest = form - linear(value, ranges).scale(sign)
                    if rest.number() is not None:
                        below = (term(item.var).scale(sign) + rest).cast(item.var.type)
                        rewritten = LT(below.expr(), const(0, item.var.type))
        if not variables(rewritten) <= own:
            return None
        result.append(rewritten)
    return result


# ---- the nest


def _guards(value: Linear, item: IterVar, below: bool, above: bool, ranges: Ranges) -> list[Expr]:
    """Conditions that keep a value in the iterator's domain, constants on the side of the bound."""
    rest, constant, dtype = value.shift(-value.constant), value.constant, item.var.type
    end = linear(item.dom.extent, ranges).shift(-constant).cast(dtype)
    low = [LE(const(-constant, dtype), rest.expr())] if below else []
    return [*low, LT(rest.expr(), end.expr())] if above else [*low]


def nest(
    realize: BlockRealize,
    want: Mapping[int, Span | None],
    ranges: Ranges,
    keep: Sequence[Expr] = (),
    *,
    units: bool = False,
    exact: bool = False,
) -> Stmt:
    """Loops that run through ``want`` (by iterator position; iterators left out run through their domains) with the
    block inside, guarded where a span may stick out of a domain, and by ``keep``. Loops of extent 1 are left out unless
    ``units``. A span as long as its domain becomes all of it unless ``exact``.
    """
    loops: list[tuple[Var, Expr]] = []
    values: list[Expr] = []
    guards: list[Expr] = []
    for k, item in enumerate(realize.block.iter_vars):
        part = clip(want.get(k), item.dom.extent, ranges, exact=exact)
        dtype = item.var.type
        start, size = part.start.cast(dtype), part.extent
        value, form = start.expr(), start
        if size != 1 or units:
            loop_var = Var(f"ax{len(loops)}", dtype)
            loops.append((loop_var, item.dom.extent if size is None else const(size, dtype)))
            value, form = loop_var if start.number() == 0 else Add(value, loop_var), start + term(loop_var)
        guards += _guards(form, item, part.below, part.above, ranges)
        values.append(value)
    own = {item.var: value for item, value in zip(realize.block.iter_vars, values, strict=True)}
    guards += [simplify(substitute(condition, own), ranges) for condition in keep]
    result: Stmt = replace(realize, iter_values=tuple(values), predicate=tuple(guards))
    for loop_var, extent in reversed(loops):
        result = For(loop_var, const(0, loop_var.type), extent, "serial", result)
    return result
