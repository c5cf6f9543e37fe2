"""Examples of arithmetic on indices: what :mod:`mlcref.arith` says of a drawn expression, against all its values.

Every primitive and pass rests on it; mistakes there seldom show in programs, and then far from their cause.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from itertools import product
from typing import Any

from mlcref.arith import affine, bounds, evaluate, linear, proved, relax, simplify, union
from mlcref.ir import LE, LT, Expr, Var, const

Pick = Callable[..., Any]
Point = dict[Var, int]


def arith_example(pick: Pick) -> str | None:
    """What is wrong about one drawn expression and its neighbours, None when nothing is.

    >>> from random import Random
    >>> random = Random(0)
    >>> [arith_example(lambda options, weights=None: random.choice(options)) for _ in range(20)].count(None)
    20
    """
    i, j, k = variables = [Var("i"), Var("j"), Var("k")]
    extents: dict[Var, Any] = {var: pick([1, 2, 3, 4, 5, 6, 8]) for var in variables}
    if pick([False, False, True]):
        extents[k] = (pick([-3, -1, 1]), pick([1, 3, 4]))
    every = [dict(zip(variables, values, strict=True)) for values in product(*map(_values, extents.values()))]
    e, other = drawn(pick, variables, 3), drawn(pick, variables, 2)
    for check in (_forms, _regions, _conditions, *[_maps] * 6):
        found = check(pick, e, other, extents, every, (i, j, k))
        if found is not None:
            domain = ", ".join(f"{var.name}: {extent}" for var, extent in extents.items())
            return f"{found} with {domain}"
    return None


def _values(extent: Any) -> range:
    return range(extent) if isinstance(extent, int) else range(extent[0], extent[1] + 1)


def drawn(pick: Pick, variables: Sequence[Var], depth: int) -> Expr:
    """An index expression: sums, multiples, quotients and remainders, as schedules make them."""
    if depth == 0 or pick([False, False, False, True]):
        leaf: Expr = pick([*variables, *variables, const(pick([-3, 1, 2, 5]))])
        return leaf
    a: Any = drawn(pick, variables, depth - 1)
    made: Expr
    match pick(["sum", "sum", "difference", "multiple", "quotient", "remainder"]):
        case "sum":
            made = a * pick([1, 2, 3, 4, 8]) + drawn(pick, variables, depth - 1)
        case "difference":
            made = a - drawn(pick, variables, depth - 1)
        case "multiple":
            made = a * pick([-1, 2, 3, 4, 6])
        case "quotient":
            made = a // pick([2, 3, 4, 6, 8])
        case _:
            made = a % pick([2, 3, 4, 6, 8])
    return made


def _forms(pick: Pick, e: Expr, other: Expr, dom: Any, every: Sequence[Point], _: Any) -> str | None:
    for name, result in (("simplify", simplify(e, dom)), ("linear", linear(e, dom).expr())):
        for point in every:
            if evaluate(result, point) != evaluate(e, point):
                return f"{name}({e!r}) = {result!r}"
    known, values = bounds(e, dom), [evaluate(e, point) for point in every]
    if (known.lo is not None and min(values) < known.lo) or (known.hi is not None and max(values) > known.hi):
        return f"bounds({e!r}) = {known}, values from {min(values)} to {max(values)}"
    return None


def _regions(pick: Pick, e: Expr, other: Expr, dom: Any, every: Sequence[Point], names: Any) -> str | None:
    inner = {names[1], names[2]} if pick([True, False]) else {names[2]}
    spans = [relax(e, inner, dom), relax(other, inner, dom)]
    both = union(spans)
    for expr, span in ((e, spans[0]), (e, both), (other, both)):
        if span is None:
            continue
        for point in every:
            start, value = evaluate(span.start().expr(), point), evaluate(expr, point)
            if not start <= value <= start + span.hi - span.lo:
                return f"relax of {e!r} and {other!r} over {[v.name for v in inner]} leaves out {value}"
    return None


def _conditions(pick: Pick, e: Expr, other: Expr, dom: Any, every: Sequence[Point], _: Any) -> str | None:
    for condition in (LT(e, other), LE(e, const(pick([0, 3, 7])))):
        answer = proved(condition, dom)
        values = {bool(evaluate(condition, point)) for point in every}
        if answer is not None and values != {answer}:
            return f"proved({condition!r}) = {answer}"
    return None


def _maps(pick: Pick, e: Expr, other: Expr, dom: Any, every: Sequence[Point], names: Any) -> str | None:
    values, bound = _digits(pick, names), []
    if pick([False, True]):
        total = names[0] * pick([2, 3, 4]) + names[1]
        bound = [LT(total, const(pick([3, 5, 7])))]
    inside = [point for point in every if all(evaluate(c, point) for c in bound)]
    plain = {var: extent for var, extent in dom.items() if isinstance(extent, int)}
    apart = pick(names)
    if len(plain) < len(dom) or not inside:
        return None
    if affine(values, plain, told_apart=(apart,), predicate=bound) is not None:
        seen: dict[tuple[int, ...], int] = {}
        for point in inside:
            key = tuple(evaluate(value, point) for value in values)
            if seen.setdefault(key, point[apart]) != point[apart]:
                return f"{values} do not tell {apart.name} apart where {bound}"
    if affine(values, plain, surjective=True, predicate=bound) is not None:
        taken = {tuple(evaluate(value, point) for value in values) for point in inside}
        sides = [sorted({point[d] for point in taken}) for d in range(len(values))]
        size = 1
        for side in sides:
            size *= len(side)
            if side != list(range(side[0], side[-1] + 1)):
                size = -1
        if size != len(taken):
            return f"{values} do not fill a box where {bound}"
    return None


def _digits(pick: Pick, names: Sequence[Var]) -> list[Expr]:
    """Values such as bindings have: digits of loops and of sums of loops."""
    sources: defaultdict[int, Expr] = defaultdict(lambda: names[0])
    sources[1], sources[2] = names[1], names[0] * pick([2, 3, 4, 8]) + names[1]
    sources[3] = (names[0] * pick([2, 4]) + names[1]) * pick([2, 3]) + names[2]
    found: list[Expr] = []
    for _ in range(pick([1, 2, 3])):
        source = sources[pick([0, 1, 2, 3])]
        cut = pick([2, 3, 4, 6])
        found.append(pick([source, source // cut, source % cut, source // cut % 2, source * cut + names[2]]))
    return found
