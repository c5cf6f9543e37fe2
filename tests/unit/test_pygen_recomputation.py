"""Generated code of reductions that a loop computes again, or whose elements a quotient chooses."""

from __future__ import annotations

import numpy as np
import pytest

from mlcref.interp import interpret
from mlcref.interp.pygen import source
from mlcref.script import from_source

AGAIN = """
@T.prim_func
def f(A: T.Buffer((64, 64), "float32"), B: T.Buffer((64,), "float32")):
    for i, j in T.grid({rows}, 64):
        with T.block("B"):
            vi = T.axis.spatial(64, {element})
            vj = T.axis.reduce(64, j)
            with T.init():
                B[vi] = T.float32({start})
            B[vi] = B[vi] + A[vi, vj]
"""
ELEMENTS = [(2, "0"), (64, "0"), (64, "5"), (64, "i // 64"), (32, "i // 32 + 3"), (64, "i // 2"), (8, "i % 8 * 8"),
            (16, "i % 8"), (64, "i")]  # fmt: skip


def sums(text: str) -> list[list[float]]:
    """What every engine stores."""
    func = from_source(text)
    a = np.random.default_rng(0).standard_normal((64, 64)).astype("float32")
    found = []
    for engine in ("machine", "auto", "pygen"):
        b = np.full(64, 7, "float32")
        interpret(func, a, b, engine=engine)
        found.append(b.tolist())
    return found


@pytest.mark.parametrize("start", [0, 2])
@pytest.mark.parametrize(("rows", "element"), ELEMENTS)
def test_a_sum_that_is_computed_again_starts_anew(rows: int, element: str, start: int) -> None:
    machine, auto, pygen = sums(AGAIN.format(rows=rows, element=element, start=start))
    assert machine == auto == pygen


def test_a_block_without_reduce_iterators_starts_in_every_instance() -> None:
    text = """
@T.prim_func
def f(A: T.Buffer((64, 64), "float32"), B: T.Buffer((64,), "float32")):
    for i in range(64):
        with T.block("B"):
            vo = T.axis.opaque(64, i)
            with T.init():
                B[0] = T.float32(1)
            B[0] = B[0] + A[vo, 0]
"""
    machine, auto, pygen = sums(text)
    assert machine == auto == pygen


def test_quotients_choose_elements() -> None:
    text = AGAIN.format(rows=64, element="i", start=0)
    head, _, _ = text.partition("        with")
    text = head + "        B[i // 2] = B[i // 2] + A[i, j]\n"
    assert "None[" not in source(from_source(text))
    machine, auto, pygen = sums(text)
    assert machine == auto == pygen


def test_a_sum_that_is_computed_once_is_one_statement() -> None:
    assert "ordered(" in source(from_source(AGAIN.format(rows=64, element="i", start=0)))


def test_a_sum_without_init_whose_point_is_a_quotient() -> None:
    text = """
@T.prim_func
def f(A: T.Buffer((64, 64), "float32"), B: T.Buffer((64,), "float32")):
    for o in range(16):
        B[1] = A[o, 1]
        for i in range(8):
            with T.block("B"):
                vk = T.axis.reduce(8, i * 5 // 6)
                B[0] = B[0] + A[vk, 0]
"""
    machine, auto, pygen = sums(text)
    assert machine == auto == pygen
