"""How programs are picked and called; what is refused before anything runs."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from mlcref.errors import CallError, MlcrefError, UnsupportedError
from mlcref.interp import execute, interpret
from mlcref.ir import BaseFunc, IRModule
from mlcref.script import from_source
from mlcref.script import tir as T


def adding(amount: int) -> Any:
    return from_source(f"""
@T.prim_func
def f(A: T.Buffer((2,), "int32")):
    for i in range(2):
        A[i] = A[i] + {amount}
""")


def ints() -> Any:
    return np.zeros(2, "int32")


def test_entry_picks_the_function_of_a_module() -> None:
    module = IRModule({"main": adding(1), "other": adding(10)})
    a = ints()
    interpret(module, a)
    interpret(module, a, entry="other")
    assert list(a) == [11, 11]
    with pytest.raises(MlcrefError, match="the module has no function 'third'"):
        interpret(module, a, entry="third")


def test_the_only_function_of_a_module_needs_no_entry() -> None:
    a = ints()
    interpret(IRModule({"scale": adding(3)}), a)
    assert list(a) == [3, 3]


def test_graph_functions_have_their_own_oracle() -> None:
    with pytest.raises(UnsupportedError, match="main is no tensor program"):
        interpret(IRModule({"main": BaseFunc(), "f": adding(1)}), ints())


def test_execute_returns_memory_and_leaves_the_arguments() -> None:
    a = ints()
    slot = execute(adding(1), [a]).slot("A")
    assert slot.view.storage.cells == [1, 1]
    assert slot.touched().all()
    assert list(a) == [0, 0]


def test_unknown_checks_and_poison_are_refused() -> None:
    with pytest.raises(ValueError, match='checks is "meaning" or "signature", not "all"'.replace('"all"', "'all'")):
        interpret(adding(1), ints(), checks="all")
    with pytest.raises(CallError, match="poison names B, which is no buffer parameter"):
        interpret(adding(1), ints(), poison=("B",))


def test_scalar_arguments() -> None:
    @T.prim_func
    def f(A: T.Buffer((2,), "float32"), x: T.float32, n: T.int32):
        for i in range(n):
            A[i] = x

    a = np.zeros(2, "float32")
    interpret(f, a, 0.1, np.int64(1))
    assert list(a) == [np.float32(0.1), 0]
    with pytest.raises(CallError, match="x must be a number, got str"):
        interpret(f, a, "1", 1)


def test_a_scalar_that_is_also_an_extent_must_agree() -> None:
    @T.prim_func
    def f(a: T.handle, n: T.int64):
        A = T.match_buffer(a, (n,), "float32")
        for i in range(n):
            A[i] = T.float32(1)

    a = np.zeros(3, "float32")
    interpret(f, a, 3)
    assert (a == 1).all()
    with pytest.raises(CallError, match=r"A.shape\[0\] is 3, but n is 4 already, from argument n"):
        interpret(f, a, 4)


def test_extents_that_are_expressions() -> None:
    @T.prim_func
    def f(a: T.handle, b: T.handle):
        n = T.int64()
        A = T.match_buffer(a, (n * 2 + 1,), "float32")
        B = T.match_buffer(b, (n,), "float32")
        for i in range(n):
            B[i] = A[i * 2 + 1]

    b = np.zeros(3, "float32")
    interpret(f, np.arange(7, dtype="float32"), b)
    assert list(b) == [1, 3, 5]
    with pytest.raises(CallError, match=r"A.shape\[0\] must be 7, got 6"):
        interpret(f, np.arange(6, dtype="float32"), b)
