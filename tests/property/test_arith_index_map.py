"""Index maps and their inverses against a look at every point."""

from __future__ import annotations

from itertools import product
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from mlcref.arith import IndexMap, affine, evaluate
from mlcref.errors import MlcrefError
from mlcref.ir import Const, Expr, FloorDiv, FloorMod, Var
from mlcref.schedule.map_json import map_from_json, map_to_json
from mlcref.schedule.maps import draw_map

Point = tuple[int, ...]


def picker(data: st.DataObject) -> Any:
    return lambda options, weights=None: data.draw(st.sampled_from(list(options)))


@st.composite
def cases(draw: Any) -> tuple[IndexMap, list[int]]:
    """A map and the shape that it is used on: digits and sums of the indices, some of them turned round."""
    shape = draw(st.lists(st.integers(1, 9), min_size=1, max_size=3))
    pick = lambda options, weights=None: draw(st.sampled_from(list(options)))  # noqa: E731
    return draw_map(pick, len(shape), shape if draw(st.booleans()) else ()), shape


@st.composite
def digits(draw: Any) -> tuple[IndexMap, list[int]]:
    """Values of which each is a digit of a linear form with scales of both signs."""
    shape = draw(st.lists(st.integers(1, 7), min_size=1, max_size=2))
    initial = [Var(f"i{n}") for n in range(len(shape))]
    values: list[Expr] = []
    for _ in range(draw(st.integers(1, 3))):
        value: Expr = Const(draw(st.integers(-3, 20)), "int32")
        for v in initial:
            value = value + v * draw(st.sampled_from([-6, -3, -2, -1, 0, 1, 2, 3, 6]))
        for kind in draw(st.lists(st.sampled_from([FloorDiv, FloorMod]), max_size=2)):
            value = kind(value, Const(draw(st.sampled_from([2, 3, 4, 6])), "int32"))
        values.append(value)
    return IndexMap(initial, values), shape


def image(index_map: IndexMap, shape: list[int]) -> dict[Point, list[Point]]:
    """The old points at each new one."""
    found: dict[Point, list[Point]] = {}
    for point in product(*map(range, shape)):
        env = dict(zip(index_map.initial_indices, point, strict=True))
        found.setdefault(tuple([evaluate(e, env) for e in index_map.final_indices]), []).append(point)
    return found


@given(st.one_of(cases(), digits()))
def test_maps_said_to_be_one_to_one_are(case: tuple[IndexMap, list[int]]) -> None:
    index_map, shape = case
    apart = all(len(points) == 1 for points in image(index_map, shape).values())
    assert index_map.injective(shape) is apart
    dom = dict(zip(index_map.initial_indices, shape, strict=True))
    rows = affine(index_map.final_indices, dom, told_apart=index_map.initial_indices)
    assert rows is None or apart


@given(st.one_of(cases(), digits()))
def test_surjective_maps_fill_a_box(case: tuple[IndexMap, list[int]]) -> None:
    index_map, shape = case
    dom = dict(zip(index_map.initial_indices, shape, strict=True))
    if affine(index_map.final_indices, dom, surjective=True) is not None:
        points = set(image(index_map, shape))
        box = [range(min(axis), max(axis) + 1) for axis in zip(*points, strict=True)]
        assert points == set(product(*box))


@given(st.one_of(cases(), digits()))
def test_inverse_and_padding(case: tuple[IndexMap, list[int]]) -> None:
    index_map, shape = case
    try:
        new_shape = [int(e.value) for e in index_map.map_shape(shape) if isinstance(e, Const)]
    except MlcrefError:
        return
    found = image(index_map, shape)
    assert all(0 <= x < n for point in found for x, n in zip(point, new_shape, strict=True))
    try:
        inverse, padding = index_map.non_surjective_inverse(shape)
    except MlcrefError:
        return
    for point in product(*map(range, new_shape)):
        env = dict(zip(inverse.initial_indices, point, strict=True))
        assert bool(evaluate(padding, env)) == (point not in found), point
        if point in found:
            assert [tuple(evaluate(e, env) for e in inverse.final_indices)] == found[point]
    filled = len(found) == len(list(product(*map(range, new_shape))))
    assert index_map.fills(shape) is filled
    assert (isinstance(padding, Const) and not padding.value) <= filled


@given(st.one_of(cases(), digits()))
def test_json_gives_the_map_back(case: tuple[IndexMap, list[int]]) -> None:
    index_map, _ = case
    again = map_from_json(map_to_json(index_map))
    assert again.as_lambda() == index_map.as_lambda()
    assert again.is_equivalent_to(index_map)


@given(cases(), st.data())
def test_mapped_indices_have_the_values_of_the_map(case: tuple[IndexMap, list[int]], data: st.DataObject) -> None:
    index_map, shape = case
    variables = [Var(f"v{n}") for n in range(len(shape))]
    turn = data.draw(st.booleans())
    given_ = [n - 1 - v if turn else v + 0 for n, v in zip(shape, variables, strict=True)]
    mapped = index_map.map_indices(given_, dict(zip(variables, shape, strict=True)))
    for point in product(*map(range, shape)):
        old = [n - 1 - x if turn else x for n, x in zip(shape, point, strict=True)]
        want = [evaluate(e, dict(zip(index_map.initial_indices, old, strict=True))) for e in index_map.final_indices]
        assert [evaluate(e, dict(zip(variables, point, strict=True))) for e in mapped] == want
