"""Operators of topi against TVM's: TVM's function of the same call, read here, computes what numpy computes."""

from __future__ import annotations

import inspect
import operator
from typing import Any

import pytest

from mlcref import topi
from mlcref.interp.bound import Undecided
from mlcref.ir import PrimFunc
from mlcref.script import from_source
from mlcref.testing.operators import OPERATORS, check, draw_case, prim_func

pytest.importorskip("tvm", reason="TVM is not installed; it is what these tests compare with", exc_type=ImportError)
tvm_te = pytest.importorskip("tvm.te", reason="this TVM has no tensor expressions", exc_type=ImportError)
tvm_topi = pytest.importorskip("tvm.topi", reason="this TVM has no topi", exc_type=ImportError)

CASES = 4
MOST = 40
OURS = {"nn.silu", "nn.gelu", "nn.gelu_tanh", "nn.attention"}
"""What TVM has as graph operators only."""
NOT_HERE = {
    "span", "auto_scheduler_rewritten_layout", "auto_scheduler_should_rewrite_layout", "meta_schedule_original_shape",
    "meta_schedule_origin_shape", "output_shape",
}  # fmt: skip
OTHERWISE = {
    "trilu": "TVM's takes the diagonal as an expression only",
    "nn.batch_to_space_nd": "passes too few arguments, which ends the process",
    "mod": "of floats it is a truncmod, which has no meaning",
    "atan2": "a number beside float64 becomes a float32",
    "reshape": "-1 stays an extent of -1",
    "scatter_elements": "takes the other extents of the indices for those of the tensor",
    "nn.lrn": "divides before its power, through which no bound is known",
    "one_hot": "on and off values are expressions only",
}
REFUSED = (AttributeError, IndexError, ValueError)


def theirs(name: str, seed: int) -> PrimFunc | None:
    """TVM's function of a case; None where TVM refuses the arguments."""
    import tvm

    try:
        made = prim_func(draw_case(name, seed), tvm_topi, tvm_te)
    except (tvm.error.InternalError, *REFUSED):
        return None
    if name in ("cumsum", "cumprod") and draw_case(name, seed).arrays[0].size == 1:
        return None  # printed as ``out_buf = …``, which is no store
    func = from_source(made.script())
    assert isinstance(func, PrimFunc)
    return func


def has(library: Any, name: str) -> bool:
    try:
        operator.attrgetter(name)(library)
    except AttributeError:
        return False
    return True


def test_what_tvm_lacks_is_known() -> None:
    assert {name for name in OPERATORS if not has(tvm_topi, name)} == OURS


@pytest.mark.parametrize("name", [name for name in OPERATORS if name not in OURS])
def test_same_parameters_and_defaults_as_tvm(name: str) -> None:
    """TVM's may have more behind ours: where a schedule of its own has rewritten a layout."""
    functions = [operator.attrgetter(name)(library) for library in (topi, tvm_topi)]
    ours, others = ([(p.name, p.default) for p in inspect.signature(f).parameters.values()] for f in functions)
    assert ours == others[: len(ours)]
    assert {more for more, _ in others[len(ours) :]} <= NOT_HERE


@pytest.mark.parametrize("name", [name for name in OPERATORS if name not in OURS and name not in OTHERWISE])
def test_tvm_means_the_same(name: str) -> None:
    compared = 0
    for seed in range(MOST):
        func = theirs(name, seed) if compared < CASES else None
        if func is not None:
            try:
                check(draw_case(name, seed), func)
            except Undecided:  # TVM computes a position in float32
                assert name.startswith(("image.", "nn.upsampling"))
            else:
                compared += 1
    assert compared == CASES, f"of {MOST} cases TVM takes {compared}"
