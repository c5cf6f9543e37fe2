"""An init defines one element: generated code trusts it only for updates of that element."""

from __future__ import annotations

import numpy as np
import pytest

from mlcref.errors import OracleError
from mlcref.interp import interpret
from mlcref.script import from_source

WALKING = """
@T.prim_func
def f(A: T.Buffer(({n},), "int32"), C: T.Buffer(({n},), "int32")):
    B = T.alloc_buffer(({n},), "int32")
    for {loops}:
        with T.block("B"):
            {iterators}
            with T.init():
                B[{place}] = 0
            B[{place}] = B[{place}] + A[{place}]
    for i in range({n}):
        with T.block("C"):
            vi = T.axis.spatial({n}, i)
            C[vi] = B[vi]
"""
CASES = {
    "one loop": ("k in range(16)", "vk = T.axis.reduce(16, k)", "vk // 4", 4),
    "inner loop stays": ("k, l in T.grid(4, 4)", 'vk, vl = T.axis.remap("RR", [k, l])', "vk", 4),
    "beside a spatial one": ("i, k in T.grid(7, 2)", 'vi, vk = T.axis.remap("SR", [i, k])', "vi + vk * 7", 14),
    "reduced outside": ("k, i in T.grid(2, 7)", 'vi, vk = T.axis.remap("SR", [i, k])', "vi + vk * 7", 14),
}


@pytest.mark.parametrize("engine", ["machine", "pygen", "auto"])
@pytest.mark.parametrize("name", CASES)
def test_updates_of_elements_that_no_init_wrote(name: str, engine: str) -> None:
    loops, iterators, place, n = CASES[name]
    func = from_source(WALKING.format(n=n, loops=loops, iterators=iterators, place=place))
    with pytest.raises(OracleError, match=r"is undefined in the end: it comes from B\["):
        interpret(func, np.ones(n, np.int32), np.zeros(n, np.int32), engine=engine)


@pytest.mark.parametrize("engine", ["machine", "pygen", "auto"])
def test_updates_of_the_element_that_the_init_wrote(engine: str) -> None:
    func = from_source(
        WALKING.format(n=4, loops="k in range(16)", iterators="vi = T.axis.spatial(4, k // 4)\n"
                       "            vk = T.axis.reduce(4, k % 4)", place="vi")  # fmt: skip
    )
    result = np.zeros(4, np.int32)
    interpret(func, np.arange(4, dtype=np.int32), result, engine=engine)
    assert result.tolist() == [0, 4, 8, 12]
