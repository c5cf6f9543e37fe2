"""BindParams where the dimensions of a parameter stand inside its extents."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from mlcref import relax
from mlcref.errors import CallError, MlcrefError
from mlcref.interp.graph import interpret_graph
from mlcref.ir import IRModule
from mlcref.script import from_source


def module(w: str, dims: str = "n", k: str = "n") -> IRModule:
    """``x`` of ``k`` elements, and ``w`` of the shape ``w``, which it returns; ``k`` and ``w`` are extents, as text."""
    extents, shape = (", ".join([f'"{extent}"' for extent in text.split(", ")]) for text in (w, k))
    found = from_source(f"""
class Module:
    @R.function
    def main(x: R.Tensor(({shape},), "float32"), w: R.Tensor(({extents},), "float32")):
        {dims} = {", ".join(["T.int64()"] * len(dims.split(",")))}
        with R.dataflow():
            y = R.add(x, x)
            R.output(y)
        return (y, w)
""")
    assert isinstance(found, IRModule)
    return found


def bound(mod: IRModule, size: int | tuple[int, ...], name: str = "w") -> IRModule:
    return relax.transform.BindParams("main", {name: np.zeros(size, "float32")})(mod)


def length_of_x(mod: IRModule) -> int:
    func: Any = mod["main"]
    return int(func.params[0].struct_info.shape[0])


@pytest.mark.parametrize(
    ("extent", "size", "n"),
    [("n + 1", 5, 4), ("n * 2 + 1", 5, 2), ("3 * n", 6, 2), ("n * 4 - n - 2", 7, 3), ("10 - n", 4, 6), ("n + n", 8, 4)],
)
def test_an_extent_says_what_its_dimension_is(extent: str, size: int, n: int) -> None:
    made = bound(module(extent), size)
    relax.wellformed_graph(made)
    assert length_of_x(made) == n
    y, w = interpret_graph(made, np.ones(n, "float32"))
    assert y.tolist() == [2.0] * n
    assert w.shape == (size,)


def test_one_dimension_after_the_other() -> None:
    assert length_of_x(bound(module("m + n, n + 1", "m, n", "m, n"), (7, 3))) == 5
    assert length_of_x(bound(module("m * n, n", "m, n", "m, 1"), (6, 2))) == 3


def test_a_shape_that_no_dimension_makes() -> None:
    with pytest.raises(CallError, match="an extent of w is 4, which no n makes of n "):
        bound(module("n * 2 + 1"), 4)
    with pytest.raises(CallError, match="an extent of w is 0, which no n makes"):
        bound(module("n + 1"), 0)


def test_shapes_that_disagree() -> None:
    with pytest.raises(CallError, match=r"w.shape\[1\]"):
        bound(module("n, n + 1"), (3, 5))
    with pytest.raises(CallError, match="with n = 4"):
        bound(module("n + 1, n * 2"), (5, 9))


@pytest.mark.parametrize(("extent", "dims"), [("n // 2", "n"), ("n * n", "n"), ("n - n", "n")])
def test_a_dimension_that_does_not_follow(extent: str, dims: str) -> None:
    with pytest.raises(MlcrefError, match=r"the extent .* of w does not say what .*n is(.|\n)*bind a parameter"):
        bound(module(extent, dims), 4)
    with pytest.raises(MlcrefError, match=r"n [*] m of w does not say what m, n is"):
        bound(module("n * m", "m, n", "m, n"), 6)
