"""assert_backend_matches: what it accepts, what it catches, what it says."""

from __future__ import annotations

import re
import runpy
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mlcref.errors import UnsupportedError
from mlcref.script import from_source
from mlcref.testing import BackendMismatch, Failure, assert_backend_matches, load_failure, save_failure
from mlcref.testing.contents import KINDS, awkward, draw_arguments, index_limits

SUM = from_source("""
@T.prim_func
def total(X: T.Buffer((40,), "float32"), Y: T.Buffer((1,), "float32")):
    for k in range(40):
        with T.block("Y"):
            vk = T.axis.reduce(40, k)
            with T.init():
                Y[0] = T.float32(0)
            Y[0] = Y[0] + X[vk]
""")
FIRST_HALF = from_source("""
@T.prim_func
def half(X: T.Buffer((4,), "float32"), Y: T.Buffer((4,), "float32")):
    for i in range(2):
        Y[i] = X[i] + T.float32(1)
""")


def pairwise(x: Any, y: Any) -> None:
    y[0] = x.reshape(8, 5).sum(axis=0).sum()


def forgets_last(x: Any, y: Any) -> None:
    y[0] = x[:-1].sum()


@pytest.mark.parametrize("kind", KINDS)
def test_another_order_of_a_sum_is_accepted(kind: str) -> None:
    assert assert_backend_matches(SUM, pairwise, kind, trials=10).inputs == 10


@pytest.mark.parametrize("kind", KINDS)
def test_a_forgotten_element_is_not(kind: str) -> None:
    with pytest.raises(BackendMismatch, match=r"Y\[0\]: expected .*; rounding explains"):
        assert_backend_matches(SUM, forgets_last, kind, trials=40)


def test_arrays_without_dimensions() -> None:
    func = from_source("""
@T.prim_func
def total(X: T.Buffer((4,), "int32"), Y: T.Buffer((), "int32")):
    for k in range(4):
        with T.block("Y"):
            vk = T.axis.reduce(4, k)
            with T.init():
                Y[()] = 0
            Y[()] = Y[()] + X[vk]
""")
    assert assert_backend_matches(func, lambda x, y: np.copyto(y, x.sum())).inputs == 9
    with pytest.raises(BackendMismatch, match="Y: expected"):
        assert_backend_matches(func, lambda x, y: np.copyto(y, x[1:].sum()), "random")


def test_small_integers_leave_no_tolerance() -> None:
    def off_by_one_bit(x: Any, y: Any) -> None:
        y[0] = np.nextafter(x.sum(), np.float32(100))

    with pytest.raises(BackendMismatch, match="rounding explains no difference"):
        assert_backend_matches(SUM, off_by_one_bit, "small-int")


def test_elements_that_are_not_written_must_stay() -> None:
    def writes_all(x: Any, y: Any) -> None:
        y[:] = x + 1

    with pytest.raises(BackendMismatch, match=r"Y\[2\]"):
        assert_backend_matches(FIRST_HALF, writes_all, "random")


def test_inputs_must_stay() -> None:
    def in_place(x: Any, y: Any) -> None:
        x += 1
        y[:2] = x[:2]

    with pytest.raises(BackendMismatch, match=r"  X\[0\]: expected"):
        assert_backend_matches(FIRST_HALF, in_place, "random")


def test_writes_behind_the_array_are_seen() -> None:
    def too_far(x: Any, y: Any) -> None:
        y[:2] = x[:2] + 1
        np.lib.stride_tricks.as_strided(y, (5,), y.strides)[4] = 7

    with pytest.raises(BackendMismatch, match="wrote outside of Y"):
        assert_backend_matches(FIRST_HALF, too_far)


def test_the_report_replays() -> None:
    with pytest.raises(BackendMismatch, match="replay: assert_backend_matches") as caught:
        assert_backend_matches(SUM, forgets_last, "random", seed=5, trials=[7])
    assert "replay: assert_backend_matches(total, …, inputs='random', seed=5, trials=[7])" in str(caught.value)
    with pytest.raises(BackendMismatch, match="replay: assert_backend_matches") as again:
        assert_backend_matches(SUM, forgets_last, inputs="random", seed=5, trials=[7])
    assert str(again.value) == str(caught.value)
    error = caught.value
    assert (error.buffer, error.indices) == ("Y", (0,))
    assert abs(error.expected - error.got) > error.bound > 0
    np.testing.assert_array_equal(error.arguments[0], draw_arguments(SUM, "random", 5, 7)[0])


def test_an_exception_of_the_backend_says_on_which_input() -> None:
    def broken(x: Any, y: Any) -> None:
        raise ZeroDivisionError("no")

    with pytest.raises(ZeroDivisionError, match="no") as caught:
        assert_backend_matches(SUM, broken)
    assert caught.value.__notes__ == ["raised by the backend of total, on input 0 (small-int, seed 0)"]


def test_a_program_without_meaning_compares_nothing() -> None:
    f = from_source("""
@T.prim_func
def f(A: T.Buffer((4,), "float32")):
    A[4] = T.float32(0)
""")
    with pytest.raises(UnsupportedError, match="no input could be compared: f means nothing"):
        assert_backend_matches(f, lambda a: None)


def test_decisions_that_depend_on_rounding_compare_nothing() -> None:
    f = from_source("""
@T.prim_func
def f(A: T.Buffer((2,), "float32"), B: T.Buffer((1,), "float32")):
    B[0] = T.Select(A[0] / T.float32(3) * T.float32(3) == A[0], T.float32(1), T.float32(0))
""")
    with pytest.raises(UnsupportedError, match="depends on rounding"):
        assert_backend_matches(f, lambda a, b: b.fill(7), arguments=[(np.ones(2, "f"), np.zeros(1, "f"))])


def test_symbolic_shapes_are_tried_at_several_sizes() -> None:
    f = from_source("""
@T.prim_func
def f(a: T.handle, b: T.handle):
    n = T.int32()
    A = T.match_buffer(a, (n,), "float32")
    B = T.match_buffer(b, (n,), "float32")
    for i in range(n):
        B[i] = A[i] * T.float32(2)
""")
    seen = set()

    def kernel(a: Any, b: Any) -> None:
        seen.add(len(a))
        np.multiply(a, 2, out=b)

    assert_backend_matches(f, kernel, "random", trials=6)
    assert len(seen) > 2


def test_indices_stay_in_bounds() -> None:
    f = from_source("""
@T.prim_func
def rows(A: T.Buffer((5, 2), "bfloat16"), I: T.Buffer((9,), "int64"), B: T.Buffer((9, 2), "bfloat16")):
    for i, j in T.grid(9, 2):
        B[i, j] = A[I[i], j]
""")
    assert list(index_limits(f).values()) == [5]

    def kernel(a: Any, order: Any, b: Any) -> None:
        b[:] = a[order]

    assert assert_backend_matches(f, kernel).undefined == 0


def test_wrong_calls() -> None:
    with pytest.raises(TypeError, match="give call or build"):
        assert_backend_matches(SUM)
    with pytest.raises(ValueError, match="not 'large'"):
        assert_backend_matches(SUM, pairwise, "large")


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16", "int8", "uint32", "bool", "float8_e4m3fn"])
def test_awkward_values_are_finite_and_different(dtype: str) -> None:
    values = awkward(dtype)
    assert np.isfinite(values.astype("float64")).all()
    assert len(values) >= (2 if dtype == "bool" else 4)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "int64", "bool"])
def test_failures_come_back_from_disk(dtype: str, tmp_path: Any) -> None:
    f = from_source(f"""
@T.prim_func
def f(A: T.Buffer((3,), "{dtype}"), n: T.int32):
    A[n] = A[0]
""")
    arguments = (awkward(dtype)[[1, 0, 1]], 2)
    path = save_failure(tmp_path, Failure(f, arguments, "tests/t.py::test_f[1]"), "wrong\nvery")
    again = load_failure(path)
    assert (again.test, again.arguments[1]) == ("tests/t.py::test_f[1]", 2)
    assert again.arguments[0].dtype == arguments[0].dtype
    assert again.arguments[0].tobytes() == arguments[0].tobytes()
    assert path == save_failure(tmp_path, Failure(again.func, again.arguments, again.test), "other words")


def test_the_examples_of_the_page_run(tmp_path: Any) -> None:
    page = (Path(__file__).parents[2] / "docs" / "testing.md").read_text(encoding="utf-8")
    found = re.findall(r"^```python\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    assert len(found) == 4
    for number, code in enumerate(found):
        path = tmp_path / f"example_{number}.py"
        path.write_text(code, encoding="utf-8")
        runpy.run_path(str(path))
