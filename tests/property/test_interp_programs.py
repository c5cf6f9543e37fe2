"""Random programs in the oracle against numpy, and verdicts on programs that were broken on purpose."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlcref.interp import execute, findings, interpret
from mlcref.ir import For, PrimFunc, const, replace, replace_at, stmt
from mlcref.ir.index import index
from mlcref.script import from_source
from mlcref.verify import check_equivalent
from mlcref.verify.generate import program

DTYPES = ("float32", "float16", "int32", "int8")
extents = st.integers(1, 5)


def array(rng: np.random.Generator, shape: tuple[int, ...], dtype: str) -> Any:
    return rng.integers(-9, 9, shape).astype(dtype) if "int" in dtype else rng.standard_normal(shape).astype(dtype)


@given(n=extents, m=extents, k=extents, dtype=st.sampled_from(DTYPES), seed=st.integers(0, 99))
def test_matmul_sums_in_order(n: int, m: int, k: int, dtype: str, seed: int) -> None:
    f = from_source(f"""
@T.prim_func
def f(A: T.Buffer(({n}, {k}), "{dtype}"), B: T.Buffer(({k}, {m}), "{dtype}"), C: T.Buffer(({n}, {m}), "{dtype}")):
    for i, j, k in T.grid({n}, {m}, {k}):
        with T.block("C"):
            vi, vj, vk = T.axis.remap("SSR", [i, j, k])
            with T.init():
                C[vi, vj] = T.Cast("{dtype}", 0)
            C[vi, vj] = C[vi, vj] + A[vi, vk] * B[vk, vj]
""")
    rng = np.random.default_rng(seed)
    a, b, c = array(rng, (n, k), dtype), array(rng, (k, m), dtype), array(rng, (n, m), dtype)
    want = np.zeros((n, m), dtype)
    for step in range(k):
        want = want + a[:, step : step + 1] * b[step : step + 1]
    interpret(f, a, b, c, poison=("C",))
    np.testing.assert_array_equal(c, want)


EXPRESSIONS = {
    "A[i] + B[i] * A[i]": lambda a, b: a + b * a,
    "T.max(A[i] - B[i], B[i])": lambda a, b: np.maximum(a - b, b),
    "T.Select(A[i] < B[i], A[i], A[i] * B[i])": lambda a, b: np.where(a < b, a, a * b),
    "T.if_then_else(A[i] >= B[i], A[i], B[i]) - A[i]": lambda a, b: np.where(a >= b, a, b) - a,
}


@pytest.mark.parametrize("text", EXPRESSIONS)
@given(n=st.integers(1, 9), dtype=st.sampled_from(DTYPES), seed=st.integers(0, 99))
def test_elementwise(text: str, n: int, dtype: str, seed: int) -> None:
    f = from_source(f"""
@T.prim_func
def f(A: T.Buffer(({n},), "{dtype}"), B: T.Buffer(({n},), "{dtype}"), C: T.Buffer(({n},), "{dtype}")):
    for i in range({n}):
        C[i] = {text}
""")
    rng = np.random.default_rng(seed)
    a, b, c = (array(rng, (n,), dtype) for _ in range(3))
    interpret(f, a, b, c)
    np.testing.assert_array_equal(c, EXPRESSIONS[text](a, b))


def drawn_program(data: st.DataObject) -> PrimFunc:
    return program(lambda options: data.draw(st.sampled_from(list(options))), max_blocks=2)


@given(data=st.data())
def test_generated_programs_are_defined_and_honest(data: st.DataObject) -> None:
    func = drawn_program(data)
    args = [np.ones([int(n) for n in b.shape], b.type) for b in func.buffers]
    output = func.buffers[-1].name
    binding = execute(func, args, poison=(output,))
    assert binding.slot(output).undefined() is None
    assert findings(func, *args, poison=(output,)) == []


@given(data=st.data())
def test_dropping_an_iteration_of_the_output_is_refuted(data: st.DataObject) -> None:
    func = drawn_program(data)
    assert check_equivalent(func, func, trials=1)
    last = stmt.children_of(func.root.body)[-1]
    assert isinstance(last, For)
    loop = data.draw(st.sampled_from([s for s in nest(last) if s.extent.value > 0]))
    spatial = {id(v) for v in realize(last).iter_values[: len(func.buffers[-1].shape)]}
    if id(loop.loop_var) not in spatial:
        return
    broken = replace_at(func, {loop: replace(loop, extent=const(loop.extent.value - 1))})
    assert check_equivalent(func, broken).status == "REFUTED"


def nest(loop: Any) -> list[Any]:
    return [loop, *nest(loop.body)] if isinstance(loop, For) else []


def realize(loop: Any) -> Any:
    return nest(loop)[-1].body


@given(data=st.data())
def test_serial_loops_in_any_kind_without_order_race_or_agree(data: st.DataObject) -> None:
    """A loop made parallel either races or computes the same."""
    func = drawn_program(data)
    loops = [s for s in index(func).order if isinstance(s, For)]
    loop = data.draw(st.sampled_from(loops))
    parallel = replace_at(func, {loop: replace(loop, kind="parallel")})
    verdict = check_equivalent(func, parallel, trials=1)
    if verdict.status == "REFUTED":
        assert verdict.counterexample is not None
        assert verdict.counterexample.error is not None
        assert verdict.counterexample.error.rule == "loop.race"
        assert loop.extent.value > 1
    else:
        assert verdict.detail == "1 input, all results equal bit by bit"
