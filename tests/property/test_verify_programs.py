"""Verdicts against brute force: what many inputs show is refuted, and what was not changed is accepted."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, note
from hypothesis import strategies as st

from mlcref.errors import OracleError, WellformedError
from mlcref.interp import interpret
from mlcref.ir import Add, Const, For, Max, Min, Mul, PrimFunc, Sub, const, rewrite, walk
from mlcref.script import from_source, print_script
from mlcref.verify import check_equivalent, replay
from mlcref.verify.generate import program
from mlcref.verify.inputs import KINDS, arguments

MOST_BLOCKS = 3


def spoiled(func: PrimFunc, pick: Any) -> PrimFunc:
    """``func`` with one node replaced by another of its kind."""
    target = pick([n for n in walk(func.body) if isinstance(n, Add | Max | Mul | Const | For)])

    def replace(node: Any) -> Any:
        if node is not target:
            return None
        match node:
            case Add():
                return pick([Sub(node.a, node.b), Mul(node.a, node.b)])
            case Mul():
                return Add(node.a, node.b)
            case Max():
                return Min(node.a, node.b)
            case Const() if node.dtype in ("float32", "int32"):
                return const(node.value + pick([1, -1, 5]), node.dtype)
            case For() if isinstance(node.extent, Const) and node.extent.value > 1:
                return For(node.loop_var, node.min, const(node.extent.value - 1), node.kind, node.body)
        return None

    made: PrimFunc = rewrite(replace, func)
    return made


def run(func: PrimFunc, given: tuple[Any, ...]) -> list[Any] | None:
    arrays = [array.copy() for array in given]
    try:
        interpret(func, *arrays, poison=(func.buffers[-1].name,))
    except OracleError:
        return None
    return arrays


def differ(f: PrimFunc, g: PrimFunc) -> bool:
    """Do ten inputs show a difference that is no rounding?"""
    for number in range(10):
        inputs = arguments(f, {}, KINDS[number % 5], np.random.default_rng(number))
        want, got = run(f, inputs), run(g, inputs)
        if want is not None and (got is None or any(map(unlike, want, got))):
            return True
    return False


def unlike(a: Any, b: Any) -> bool:
    return not np.allclose(a, b, rtol=1e-4, equal_nan=True)


@given(st.data())
def test_what_brute_force_shows_is_refuted(data: st.DataObject) -> None:
    def pick(options: Any) -> Any:
        return data.draw(st.sampled_from(list(options)))

    f = program(pick, MOST_BLOCKS)
    try:
        g = spoiled(f, pick)
    except WellformedError:
        assume(False)
    note(print_script(g))
    poison = (f.buffers[-1].name,)
    verdict = check_equivalent(f, g, poison=poison)
    assert verdict.status in ("TESTED", "REFUTED")
    if differ(f, g):
        assert verdict.status == "REFUTED"
    if verdict.status == "REFUTED":
        assert replay(verdict.as_json()).status == "REFUTED"


@given(st.data(), st.integers(0, 5))
def test_a_program_refines_its_own_print(data: st.DataObject, seed: int) -> None:
    f = program(lambda options: data.draw(st.sampled_from(list(options))), MOST_BLOCKS)
    verdict = check_equivalent(f, from_source(print_script(f)), seed=seed, poison=(f.buffers[-1].name,))
    assert verdict.status == "TESTED"
    assert "bit by bit" in verdict.detail
    assert (verdict.p_miss is not None) == (f.buffers[0].type == "float32")


@pytest.mark.parametrize("size", [3, 8])
@given(order=st.permutations(range(8)))
def test_sums_in_any_order_are_one_function(size: int, order: list[int]) -> None:
    chosen = [k for k in order if k < size]
    text = "@T.prim_func\ndef f(A: T.Buffer((8,), 'float32'), B: T.Buffer((1,), 'float32')):\n    B[0] = {}\n"
    plain = from_source(text.format(" + ".join(f"A[{k}] * A[{k}]" for k in range(size))))
    mixed = from_source(text.format(" + ".join(f"A[{k}] * A[{k}]" for k in chosen)))
    short = from_source(text.format(" + ".join(f"A[{k}] * A[{k}]" for k in chosen[1:])))
    assert check_equivalent(plain, mixed).p_miss is not None
    assert check_equivalent(plain, short).status == "REFUTED"
