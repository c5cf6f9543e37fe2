"""Every operator of topi on random shapes, types and parameters: the oracle computes what numpy computes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlcref import te, topi
from mlcref.autoschedule import autoschedule
from mlcref.ir import IRModule, PrimFunc
from mlcref.testing.operators import OPERATORS, Case, check, draw_case, prim_func
from mlcref.testing.operators.page import page

KNOWN_SHAPES = ("broadcast_to", "collapse_sum")
"""Their cases give a shape in numbers, which are not known to be the extents of the input."""
CASES = max(50, settings().max_examples)


@pytest.mark.parametrize("name", OPERATORS)
@settings(max_examples=CASES)
@given(st.integers(0, 2**32 - 1))
def test_an_operator_computes_what_numpy_computes(name: str, seed: int) -> None:
    check(draw_case(name, seed))


@pytest.mark.parametrize("name", OPERATORS)
def test_the_default_schedule_keeps_what_an_operator_computes(name: str) -> None:
    for seed in range(2):
        case = draw_case(name, seed)
        scheduled = autoschedule(IRModule({"main": prim_func(case)})).mod["main"]
        assert isinstance(scheduled, PrimFunc)
        check(case, scheduled)


def symbolic(case: Case) -> PrimFunc | str | None:
    """The function with a variable for each extent above 1, equal ones the same; or the rule that refuses that."""
    sizes = {size: te.var(f"n{size}") for array in case.arrays for size in array.shape if size > 1}
    try:
        func: PrimFunc = prim_func(case, extent=lambda size: sizes.get(size, 1))
    except topi.OperatorError as error:
        return error.rule
    return func


@pytest.mark.parametrize("name", OPERATORS)
def test_extents_may_be_known_at_the_call_only(name: str) -> None:
    for seed in range(3):
        case = draw_case(name, seed)
        func = symbolic(case)
        if isinstance(func, PrimFunc):
            check(case, func)
        else:
            assert func == "topi.O5" or name in KNOWN_SHAPES


def test_every_operator_has_cases() -> None:
    public = [*topi.__all__, *(f"nn.{name}" for name in topi.nn.__all__)]
    public += [f"image.{name}" for name in topi.image.__all__]
    again = {"nn.add", "nn.concatenate", "nn.strided_slice"}  # the same functions as without nn
    assert set(OPERATORS) == set(public) - again - {"OperatorError", "image", "nn"}
    assert len(OPERATORS) >= 80


def test_the_page_is_up_to_date() -> None:
    text = (Path(__file__).parents[2] / "docs" / "topi.md").read_text()
    assert text == page(), "run python -m mlcref.testing.operators.page docs/topi.md"


X = np.array([[1.0, 2.0], [3.0, 4.0]], "float32")
THIRDS = np.array([1 / 3, 2 / 3], "float32")


@pytest.mark.parametrize(
    ("case", "words"),
    [
        (Case([X], lambda topi, x: topi.transpose(x), lambda x: x), r"T_transpose\[0, 1\] is 3.0, numpy says 2.0"),
        (Case([X], lambda topi, x: topi.sum(x, 0), lambda x: x), "numpy says"),
        (Case([THIRDS], lambda topi, x: topi.exp(x), lambda x: np.exp(x) * (1 + 1e-6)), "rounding explains"),
        (Case([X], lambda topi, x: topi.split(x, 2), lambda x: x[:1]), "2 outputs, 1 expected"),
    ],
)
def test_the_comparison_finds_what_is_wrong(case: Case, words: str) -> None:
    with pytest.raises(AssertionError, match=words):
        check(case)
