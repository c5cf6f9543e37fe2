"""Iterator maps against enumeration: what ``affine`` claims about telling iterations apart, and about bijections."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlcref.arith import affine, evaluate, points, tile
from mlcref.ir import Expr, Var, const

I, J, K, N = Var("i"), Var("j"), Var("k"), Var("n")


def digits(var: Var) -> st.SearchStrategy[Expr]:
    """A variable or one of its digits."""
    factor = st.sampled_from([1, 2, 3, 4, 6])
    return st.one_of(
        st.just(var), factor.map(lambda f: var // f), factor.map(lambda f: var % f),
        st.tuples(factor, factor).map(lambda fg: var // fg[0] % fg[1]),
    )  # fmt: skip


def sums() -> st.SearchStrategy[Expr]:
    """Up to three digits of any variables with scales."""
    one = st.sampled_from([I, J, K]).flatmap(digits)
    term = st.tuples(one, st.sampled_from([1, 1, 2, 3, 4, 6, 12, -1])).map(lambda t: t[0] * t[1])
    return st.lists(term, min_size=1, max_size=3).map(lambda ts: sum(ts[1:], ts[0]))


maps = st.lists(st.one_of(sums(), sums().map(lambda e: e // 4), sums().map(lambda e: e % 4)), min_size=1, max_size=3)
domains = st.fixed_dictionaries(dict.fromkeys((I, J, K), st.sampled_from([1, 2, 3, 4, 6, 8, 12])))


def images(values: Any, dom: dict[Var, int]) -> list[tuple[int, ...]]:
    every = points(dom)
    assert every is not None
    return [tuple(evaluate(v, point) for v in values) for point in every]


@given(maps, domains)
def test_bijections_are_bijections(values, dom):
    rows = affine(values, dom, bijective=True)
    if rows is None:
        return
    found = images(values, dom)
    assert len(set(found)) == len(found)
    for d, row in enumerate(rows):
        column = sorted({image[d] for image in found})
        assert len(column) == tile(row) == column[-1] - column[0] + 1
    box = 1
    for row in rows:
        box *= tile(row)
    assert box == len(found)


@given(maps, domains)
def test_values_tell_the_digits_apart(values, dom):
    rows = affine(values, dom)
    if rows is None or any(not isinstance(d.source, Var) for row in rows for d in row):
        return
    every = list(points(dom))
    used = [d for row in rows for d in row]
    seen: dict[tuple[int, ...], tuple[int, ...]] = {}
    for point, image in zip(every, images(values, dom), strict=True):
        taken = tuple(point[d.source] // d.lower % d.extent for d in used)
        assert seen.setdefault(image, taken) == taken


def holds(predicate: list[Expr], point: dict[Var, int]) -> bool:
    return all(evaluate(condition, point) for condition in predicate)


bounded = st.one_of(
    st.just([]), st.tuples(st.sampled_from([(I, J), (J, K)]), st.integers(2, 4), st.integers(1, 12)).map(
        lambda t: [t[0][0] * t[1] + t[0][1] < t[2]]
    )
)  # fmt: skip
padded = st.tuples(st.sampled_from([(I, J, K), (K, I, J)]), st.integers(1, 10), st.integers(2, 4)).map(
    lambda t: [t[0][2] * t[1] + (t[0][0] * t[2] + t[0][1])]
)


@given(st.one_of(maps, padded), domains, bounded)
def test_surjective_maps_take_every_combination(values, dom, predicate):
    rows = affine(values, dom, surjective=True, predicate=predicate)
    if rows is None:
        return
    found = {tuple(evaluate(v, p) for v in values) for p in points(dom) if holds(predicate, p)}
    box = 1
    for d, row in enumerate(rows):
        column = {image[d] for image in found}
        assert len(column) == tile(row) == max(column) - min(column) + 1
        box *= tile(row)
    assert len(found) == box


@given(st.one_of(maps, padded), domains, bounded, st.sets(st.sampled_from([I, J, K])))
def test_told_apart_variables_are(values, dom, predicate, apart):
    if affine(values, dom, told_apart=apart, predicate=predicate) is None:
        return
    seen: dict[Any, Any] = {}
    for point in points(dom):
        if holds(predicate, point):
            image = tuple(evaluate(v, point) for v in values)
            rest = tuple(point[v] for v in dom if v not in apart)
            mine = tuple(point[v] for v in dom if v in apart)
            assert seen.setdefault((image, rest), mine) == mine


def test_a_bounded_sum_is_one_digit():
    dom = {K: 3, I: 3, J: 4}
    value, predicate = K * 10 + (I * 4 + J), [I * 4 + J < 10]
    assert affine([value], dom) is None
    (row,) = affine([value], dom, surjective=True, told_apart=dom, predicate=predicate)
    assert tile(row) == 30


@given(st.permutations([2, 3, 4]), st.permutations([0, 1, 2]))
def test_fused_and_split_again_is_found(extents, order):
    """The map that a fuse and a split make is recognised, whatever the extents."""
    a, b, c = extents
    fused = {I: a * b * c}
    values = [I // (b * c), I // c % b, I % c]
    assert affine([values[o] for o in order], fused, bijective=True) is not None
    split = {I: a, J: b, K: c}
    assert affine([I * (b * c) + J * c + K], split, bijective=True) is not None
    whole = I * (b * c) + J * c + K
    assert affine([whole // 6, whole % 6], split, bijective=True) is not None


@pytest.mark.parametrize(
    ("values", "dom", "plain", "bijective"),
    [
        ([I, J], {I: 4, J: 4}, True, True),
        ([J], {I: 4, J: 4}, True, False),
        ([I + J], {I: 4, J: 4}, False, False),
        ([I * 8 + J], {I: 4, J: 4}, False, False),
        ([I, I], {I: 4}, False, False),
        ([I // 2, I % 4], {I: 8}, False, False),
        ([I // 4, I % 4], {I: 10}, True, False),
        ([I // 4, I % 4], {I: 8}, True, True),
        ([I * I], {I: 8}, False, False),
        ([11 - I], {I: 12}, True, True),
        ([const(0), I], {I: 3}, True, True),
        ([I * 4 + J], {I: N, J: 4}, True, True),
        ([I], {}, True, True),
        ([I * 4 + J], {J: 4}, True, True),
        ([I + J * 4], {J: 4}, False, False),
        ([(I * 4 + J) // 2], {I: 3, J: 4}, True, False),
    ],
)
def test_cases(values, dom, plain, bijective):
    assert (affine(values, dom) is not None) is plain
    assert (affine(values, dom, bijective=True) is not None) is bijective
