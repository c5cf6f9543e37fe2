"""Sites of primitives."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from mlcref.ir import (
    And, Buffer, Expr, For, Max, Min, PrimFunc, Select, Var, binary, call, const, replace,
)  # fmt: skip
from mlcref.verify.program_builder import STYLES, Builder, Nest, Style, shape_of
from mlcref.verify.varied_stages import highest, lowest

Pick = Callable[..., Any]
Vars = Sequence[Var]

_EXTENTS = (2, 3, 4, 5)


def _builder(pick: Pick, styles: Sequence[Style] = (), dtypes: Sequence[str] = ("float32", "int32")) -> Builder:
    return Builder(pick, dtypes, _EXTENTS, styles)


def _shape(pick: Pick, ranks: Sequence[int] = (1, 2, 2)) -> list[int]:
    return [pick(_EXTENTS) for _ in range(pick(ranks))]


def _if(condition: Expr, value: Expr, other: Expr) -> Expr:
    return call("if_then_else", condition, value, other)


def _add(a: Expr, b: Expr) -> Expr:
    return a + b


# ---- a producer and its consumers


def pairs(pick: Pick) -> PrimFunc:
    """A producer and a consumer of one, two or other elements of it: only the first may be merged, when nobody else
    sees what lies between them."""
    b = _builder(pick)
    made = _produced(b, pick, b.param(_shape(pick), b.dtype))
    seen = pick(["inside", "inside", "output", "output", "output", "twice"])
    if seen == "output":
        b.kept.append(made)
    if seen == "twice":
        b.block(shape_of(made), lambda v, _: made[tuple(v)] - const(1, made.type), made.type)
    _consumed(b, pick, made)
    return b.function(b.sinks())


def _produced(b: Builder, pick: Pick, source: Buffer) -> Buffer:
    shape, two = shape_of(source), const(2, source.type)
    kind = pick(["scaled", "joined", "turned", "reduced", "scaled"])
    if kind == "reduced":
        return b.block(shape, lambda v, k: source[(k[0], *v[1:])] * two, source.type, reduce=shape[:1], combine=_add)
    if kind == "joined":
        other = b.param(shape, source.type)
        return b.block(shape, lambda v, _: source[tuple(v)] - other[tuple(v)], source.type)
    if kind == "turned":
        return b.block(shape, lambda v, _: source[(shape[0] - 1 - v[0], *v[1:])] * two, source.type)
    return b.block(shape, lambda v, _: source[tuple(v)] * two, source.type)


def _consumed(b: Builder, pick: Pick, made: Buffer) -> Buffer:
    shape, dtype = shape_of(made), made.type
    kind = pick(["one", "same", "beside", "beside", "two", "two", "mirrored", "sum"])
    other = b.param(shape, dtype) if kind == "beside" else made
    place = _place(pick, shape)
    if kind == "mirrored":
        return b.block(shape[::-1], lambda v, _: made[tuple(reversed(v))] + const(1, dtype), dtype)
    if kind == "sum":
        return b.block(shape[:-1] or [1], lambda v, k: made[(*v[: len(shape) - 1], k[0])], dtype, reduce=shape[-1:],
                       combine=_add)  # fmt: skip

    def value(v: Vars, _: Vars) -> Expr:
        here = made[tuple(v)]
        if kind == "one":
            return here + const(1, dtype)
        if kind == "same":
            return here * here
        if kind == "beside":
            return here * const(2, dtype) + other[tuple(v)]
        return here - made[place(v)] * const(3, dtype)

    return b.block(shape, value, dtype)


def _place(pick: Pick, shape: Sequence[int]) -> Callable[[Vars], tuple[Any, ...]]:
    """Another element for each element: the first one, the one from the other end, the next one, the one across."""
    kind = pick(["first", "turned", "next", "across"])
    if kind == "first":
        return lambda v: (0, *v[1:])
    if kind == "turned":
        return lambda v: (shape[0] - 1 - v[0], *v[1:])
    if kind == "across" and len(set(shape)) == 1:
        return lambda v: tuple(reversed(v))
    return lambda v: ((v[0] + 1) % shape[0], *v[1:])


def meetings(pick: Pick) -> PrimFunc:
    """A consumer of two buffers, made one after the other, in loops of their own or under one: it can go to the loops
    of the last producer."""
    b = _builder(pick)
    source = b.param(_shape(pick), b.dtype)
    shape, dtype = shape_of(source), source.type
    together = pick([False, False, True])
    one = b.block(shape, lambda v, _: source[tuple(v)] * const(2, dtype), dtype, plain=True)
    first = source if pick([True, False, False]) else one
    two = b.block(shape, lambda v, _: first[tuple(v)] + const(1, dtype), dtype, plain=True)
    if together:
        b.together(pick(range(1, len(shape) + 1)))
    if pick([False, False, True]):
        b.block(shape, lambda v, _: one[tuple(v)] - const(3, dtype), dtype)
    turned = pick([False, False, True])
    weight = const(pick([1, 3]), dtype)

    def value(v: Vars, _: Vars) -> Expr:
        return one[tuple(v)] - two[(shape[0] - 1 - v[0], *v[1:]) if turned else tuple(v)] * weight

    b.block(shape, value, dtype)
    return b.function(b.sinks())


def unfinished(pick: Pick) -> PrimFunc:
    """Sums over some of the values of an iterator, or all, and what reads them."""
    extent, more = pick(_EXTENTS), pick([1, 2, 0])
    by_loop = pick([True, True, False])

    def ended(pick: Pick, nest: Nest) -> None:
        loop, _, _ = nest.loops[-1]
        if by_loop:
            nest.loops[-1] = (loop, 0, extent)
        else:
            nest.where.append(loop < extent)

    b = _builder(pick, (ended,))
    rows = _shape(pick, [1, 1, 2])
    source = b.param([*rows, extent + more], b.dtype)
    total = b.block(rows, lambda v, k: source[(*v, k[0])], b.dtype, reduce=[extent + more], combine=_add)
    b.block(rows, lambda v, _: total[tuple(v)] * const(2, b.dtype), b.dtype, plain=True)
    return b.function(b.sinks())


def partial(pick: Pick) -> PrimFunc:
    """A producer whose iterator has more values than run, and consumers of those that do: what it reads may end there
    as well."""
    extent, more = pick(_EXTENTS), pick([1, 2])

    def ended(pick: Pick, nest: Nest) -> None:
        loop, _, _ = nest.loops[0]
        if by_loop:
            nest.loops[0] = (loop, 0, extent)
        else:
            nest.where.append(loop < extent)

    by_loop, whole = pick([True, True, False]), pick([False, False, True])
    b = _builder(pick, (ended,))
    rest = [pick(_EXTENTS)] if pick([False, True]) else []
    source = b.param([extent + more * whole, *rest], b.dtype)
    dtype = source.type
    made = b.block([extent + more, *rest], lambda v, _: source[tuple(v)] * const(2, dtype), dtype)
    zero, size = const(0, dtype), extent if pick([False, False, True]) else extent + more
    kind = pick(["guarded", "guarded", "clamped"])

    def value(v: Vars, _: Vars) -> Expr:
        if size == extent:
            return made[tuple(v)]
        if kind == "guarded":
            return _if(v[0] < extent, made[tuple(v)], zero)
        return made[(binary(Min, v[0], const(extent - 1)), *v[1:])]

    b.block([size, *rest], value, dtype, plain=True)
    return b.function(b.sinks())


def windows(pick: Pick) -> PrimFunc:
    """A consumer that needs several elements for each of its own: neighbours, with steps, from the other end."""
    b = _builder(pick, STYLES)
    source = b.param([pick((4, 5, 6, 3)), *[pick(_EXTENTS) for _ in range(pick([0, 1]))]], b.dtype)
    (size, *rest), dtype = shape_of(source), source.type
    made = _produced(b, pick, source)
    at_once = pick(["", "", "", "", "blockIdx.x", "threadIdx.x"])
    step, width, stretch = pick([1, 2]), pick([2, 1, 3]), pick([1, 1, 2])
    kind = pick(["sum", "guarded", "guarded", "guarded", "halo", "turned", "wrapped", "shared"])
    side = pick(["before", "before", "after", "both"])
    total, last = (size - 1 - (width - 1) * stretch) // step + 1, const(size - 1)

    def inside(place: Expr) -> Expr:
        return binary(Min, binary(Max, place, const(0)), last)

    def value(v: Vars, _: Vars) -> Expr:
        if kind == "guarded":
            before = _if(v[0] >= step, made[(v[0] - step, *v[1:])], const(0, dtype))
            after = _if(v[0] < size - width, made[(v[0] + width, *v[1:])], const(0, dtype))
            return (before if side == "before" else after if side == "after" else before + after) + made[tuple(v)]
        if kind == "halo":
            return made[(inside(v[0] - step), *v[1:])] + made[(inside(v[0] + step), *v[1:])]
        if kind == "turned":
            return made[(size - 1 - v[0], *v[1:])] + made[tuple(v)]
        if kind == "wrapped":
            return made[((v[0] + step) % size, *v[1:])]
        return made[(v[0] // 2, *v[1:])] - made[(v[0] % 2, *v[1:])]

    if kind == "sum" and total > 0:
        b.block([total, *rest], lambda v, k: made[(v[0] * step + k[0] * stretch, *v[1:])], dtype, reduce=[width],
                combine=_add, plain=bool(at_once))  # fmt: skip
    else:
        b.block([size, *rest], value, dtype, plain=bool(at_once))
    loop = b.stmts[-1]
    if at_once and isinstance(loop, For):
        b.stmts[-1] = replace(loop, kind="thread_binding", thread=at_once)
    return b.function(b.sinks())


def slices(pick: Pick) -> PrimFunc:
    """A consumer of all or a part of a buffer, which does not run for all values of its iterator, or finds nothing for
    some of them."""

    def ended(pick: Pick, nest: Nest) -> None:
        loop, _, extent = nest.loops[0]
        nest.loops[0] = (loop, 0, extent - 1)

    b = _builder(pick, STYLES)
    source = b.param(_shape(pick), b.dtype)
    (size, *rest), dtype = shape_of(source), source.type
    made = _produced(b, pick, source)
    kind = pick(["all", "ended", "ended", "shifted", "strided", "repeated", "bordered", "bordered", "neighbours"])
    sizes = {"shifted": size - 1, "strided": (size + 1) // 2, "repeated": size * 2, "bordered": size + 2,
             "neighbours": size - 1}  # fmt: skip
    if kind == "ended":
        b.styles = (ended,)

    def value(v: Vars, _: Vars) -> Expr:
        places = {"shifted": v[0] + 1, "strided": v[0] * 2, "repeated": v[0] // 2, "bordered": v[0] - 1}
        here = made[(places.get(kind, v[0]), *v[1:])]
        if kind == "bordered":
            return _if(And(v[0] >= 1, v[0] < size + 1), here, const(3, dtype))
        return here - made[(v[0] + 1, *v[1:])] if kind == "neighbours" else here + const(1, dtype)

    b.block([sizes.get(kind, size), *rest], value, dtype)
    return b.function(b.sinks())


# ---- reductions


def folded(pick: Pick) -> PrimFunc:
    """A reduction in loops that each go on in space, in the reduction, or in both at once."""
    kind = pick(["mixed", "mixed", "outer", "plain", "turned"])
    parts, inner, rows = pick([2, 3, 1]), pick([2, 3, 1]), pick(_EXTENTS)

    def styled(pick: Pick, nest: Nest) -> None:
        (i, _, _), _ = nest.loops
        both, first, last = Var("f"), Var("k0"), Var("k1")
        if kind == "mixed":
            nest.loops[:] = [(both, 0, rows * parts), (last, 0, inner)]
            nest.values[:] = [both // parts, both % parts * inner + last]
        elif kind == "turned":
            nest.loops[:] = [(both, 0, rows * parts), (last, 0, inner)]
            nest.values[:] = [both % rows, both // rows * inner + last]
        elif kind == "outer":
            nest.loops[:] = [(first, 0, parts), (i, 0, rows), (last, 0, inner)]
            nest.values[:] = [i, first * inner + last]

    b = _builder(pick, (styled,))
    source = b.param([rows, parts * inner], b.dtype)
    combine: Callable[[Expr, Expr], Expr] = pick([_add, lambda a, x: a * 2 + x, lambda a, x: binary(Max, a, x)])
    b.block([rows], lambda v, k: source[v[0], k[0]], source.type, reduce=[parts * inner], combine=combine,
            start=pick([0, 5]))  # fmt: skip
    return b.function(b.sinks())


def einsums(pick: Pick) -> PrimFunc:
    """Sums of terms that are 0 where the inputs are, and of others."""
    b = _builder(pick)
    rows, columns, size = (pick((3, 5, 2, 4)) for _ in range(3))
    x, y = b.param([rows, size], b.dtype), b.param([size, columns], b.dtype)
    z = b.param([columns], b.dtype)
    three = const(3, b.dtype)
    terms: list[Callable[[Expr, Expr, Expr], Expr]] = [
        lambda p, q, r: p * q,
        lambda p, q, r: p + q,
        lambda p, q, r: p * q + three,
        lambda p, q, r: p - r,
        lambda p, q, r: p * q - q,
        lambda p, q, r: (p + r) * q,
        lambda p, q, r: binary(Max, p, r) * three,
        lambda p, q, r: binary(Min, p, q + three),
        lambda p, q, r: Select(r < three, p, q),
        lambda p, q, r: Select(r < three, p, three),
    ]
    term = pick(terms)
    combine, start = pick([(_add, 0), (_add, 0), (_add, 5), (lambda a, t: binary(Max, a, t), -1000)])
    b.block([rows, columns], lambda v, k: term(x[v[0], k[0]], y[k[0], v[1]], z[v[1]]), b.dtype, reduce=[size],
            combine=combine, start=start)  # fmt: skip
    return b.function(b.sinks())


# ---- single accesses


def borders(pick: Pick) -> PrimFunc:
    """One element for each, in bounds by a condition, by the loops, or anyhow."""
    before, after, kind = pick([1, 0, 2]), pick([0, 1]), pick(["if", "if", "where", "window", "clamped"])
    total = before + after

    def conditional(pick: Pick, nest: Nest) -> None:
        if kind == "where":
            nest.where += [nest.loops[0][0] >= before, nest.loops[0][0] < extent + before]

    b = _builder(pick, (conditional,))
    source = b.param(_shape(pick), b.dtype)
    (extent, *rest), dtype = shape_of(source), source.type
    zero = const(0, dtype)

    def guarded(place: Expr, v: Vars) -> Expr:
        return _if(And(place >= 0, place < extent), source[(place, *v[1:])], zero)

    if kind == "window":
        b.block([extent, *rest], lambda v, k: guarded(v[0] + k[0] - before, v), dtype, reduce=[total + 1], combine=_add)
    elif kind == "where":
        made = b.new([extent, *rest], dtype)
        b.block([extent + total, *rest], lambda v, _: source[(v[0] - before, *v[1:])], dtype, into=made,
                at=lambda v: (v[0] - before, *v[1:]))  # fmt: skip
    elif kind == "clamped":
        last = const(extent - 1)
        b.block([extent + total, *rest], lambda v, _: source[(binary(Min, v[0], last), *v[1:])], dtype)
    else:
        b.block([extent + total, *rest], lambda v, _: guarded(v[0] - before, v), dtype)
    return b.function(b.sinks())


# ---- iterations that depend on each other


def carried(pick: Pick) -> PrimFunc:
    """Two blocks under common loops, the second reading what the first has written in an iteration before, or
    overwriting what the first reads in another one."""
    b = _builder(pick)
    source = b.param([pick(_EXTENTS) for _ in range(pick([2, 2, 3]))], b.dtype)
    shape, dtype = shape_of(source), source.type
    two, flow = const(2, dtype), pick([True, False])
    back = [(0, 0), (-1, 1), (-1, 0), (0, -1), (-1, -1)]
    steps = pick(back if flow else [*back, (1, -1), (1, 0), (0, 1), (1, 1)])

    def near(buffer: Buffer, v: Vars) -> Expr:
        place = (*[x + step if step else x for x, step in zip(v, steps, strict=False)], *v[2:])
        inside = And(And(place[0] >= 0, place[0] < shape[0]), And(place[1] >= 0, place[1] < shape[1]))
        return _if(inside, buffer[place], const(1, dtype))

    if flow:
        one = b.block(shape, lambda v, _: source[tuple(v)] * two, dtype, plain=True)
        b.kept.append(one)
        b.block(shape, lambda v, _: near(one, v) + const(1, dtype), dtype, plain=True)
    else:
        read = b.block(shape, lambda v, _: near(source, v) + const(1, dtype), dtype, plain=True)
        b.block(shape, lambda v, _: read[tuple(v)] * two, dtype, into=source, plain=True)
    b.together(pick(range(2, len(shape) + 1)))
    loop = b.stmts[-1]
    if pick([False, False, True]) and isinstance(loop, For):
        b.stmts[-1] = replace(loop, kind="unrolled")
    return b.function(b.sinks())


# ---- reductions beside their producers


def fed(pick: Pick) -> PrimFunc:
    """A reduction of what a block under the same outer loops, some of them or none, has written."""
    b = _builder(pick)
    source = b.param([pick(_EXTENTS) for _ in range(pick([2, 2, 3]))], b.dtype)
    shape = shape_of(source)
    first = len(shape) - pick([1, 2, 2])  # the dimensions that are reduced begin here
    made = b.block(shape, lambda v, _: source[tuple(v)] * const(2, source.type), source.type, plain=True)
    read = pick([made, made, source])
    kind = pick(["sum", "max", "min", "max"])
    start = {"sum": const(0, source.type), "max": lowest(source.type), "min": highest(source.type)}[kind]

    def combine(a: Expr, x: Expr) -> Expr:
        return a + x if kind == "sum" else binary(Max if kind == "max" else Min, a, x)

    b.block(
        shape[:first] or [1], lambda v, k: read[(*v[:first], *k)], source.type, reduce=shape[first:], combine=combine,
        start=start, plain=True,
    )  # fmt: skip
    b.together(pick([0, *range(first + 1)]))
    return b.function(b.sinks())


# ---- layouts


def stored(pick: Pick) -> PrimFunc:
    """A buffer between a writer, row by row or not, and a reader."""
    b = _builder(pick)
    source = b.param([pick((3, 4, 2, 5, 7)) for _ in range(pick([1, 2, 2, 3]))], b.dtype)
    shape, dtype = shape_of(source), source.type
    turned, late = pick([False, False, True]), pick([False, False, False, True])
    made = b.new(shape, dtype)
    b.block(shape[::-1] if turned else shape, lambda v, _: source[_flipped(v, turned)] * const(2, dtype), dtype,
            into=made, at=lambda v: _flipped(v, turned))  # fmt: skip
    if late:
        b.block([1, *shape[1:]], lambda v, _: source[tuple(v)] - const(1, dtype), dtype, into=made)
    use = pick(["each", "sum", "neighbours"])
    if use == "sum":
        b.block(shape[:-1] or [1], lambda v, k: made[(*v[: len(shape) - 1], k[0])], dtype, reduce=shape[-1:],
                combine=_add)  # fmt: skip
    elif use == "neighbours":
        less = [shape[0] - 1, *shape[1:]]
        b.block(less, lambda v, _: made[tuple(v)] - made[(v[0] + 1, *v[1:])], dtype)
    else:
        b.block(shape, lambda v, _: made[tuple(v)] + const(1, dtype), dtype)
    return b.function(b.sinks())


def _flipped(v: Vars, turned: bool) -> tuple[Var, ...]:
    return tuple(reversed(v)) if turned else tuple(v)


SITES: dict[str, tuple[Callable[[Pick], PrimFunc], ...]] = {
    "primitive:compute_at": (windows, windows, partial, unfinished),
    "primitive:decompose_reduction": (folded,),
    "primitive:pad_einsum": (einsums,),
    "primitive:reindex": (borders,),
    "primitive:reorder": (carried,),
    "primitive:reverse_compute_at": (meetings, slices),
    "primitive:reverse_compute_inline": (pairs, pairs, pairs),
    "primitive:rfactor": (fed,),
    "primitive:transform_layout": (stored,),
}
