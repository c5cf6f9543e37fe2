"""Adapters for callables of other systems, and the bridge to TVM."""

from __future__ import annotations

import importlib.util
from typing import Any

import numpy as np
import pytest

from mlcref.errors import MlcrefError, UnsupportedError
from mlcref.ir import structural_equal
from mlcref.script import from_source
from mlcref.testing import assert_backend_matches, from_tvm, peers, to_tvm

MATMUL = from_source("""
@T.prim_func
def main(A: T.Buffer((5, 3), "float32"), B: T.Buffer((3, 4), "float32"), C: T.Buffer((5, 4), "float32")):
    for i, j, k in T.grid(5, 4, 3):
        with T.block("C"):
            vi, vj, vk = T.axis.remap("SSR", [i, j, k])
            with T.init():
                C[vi, vj] = T.float32(0)
            C[vi, vj] = C[vi, vj] + A[vi, vk] * B[vk, vj]
""")
ABSENT = {
    name: importlib.util.find_spec(name) is None for name in ("torch", "jax", "numba", "tvm")
}


def loops(a: Any, b: Any, c: Any) -> None:
    for i in range(a.shape[0]):
        for j in range(b.shape[1]):
            c[i, j] = 0
            for k in range(a.shape[1]):
                c[i, j] += a[i, k] * b[k, j]


ADAPTERS = {
    "numpy": lambda: peers.numpy_function(lambda a, b: a @ b),
    "torch": lambda: peers.torch_function(lambda a, b: a @ b),
    "jax": lambda: peers.jax_function(lambda a, b: a @ b),
    "numba": lambda: peers.numba_function(loops),
    "tvm": lambda: peers.tvm_function(MATMUL),
}


@pytest.mark.parametrize("name", ADAPTERS)
def test_a_matmul_of_every_peer_matches(name: str) -> None:
    if ABSENT.get(name):
        library = "Apache TVM" if name == "tvm" else name
        with pytest.raises(UnsupportedError, match=rf"(?s){library} cannot .*pip install"):
            ADAPTERS[name]()
        return
    assert assert_backend_matches(MATMUL, ADAPTERS[name]()).inputs == 9


def test_results_must_fit() -> None:
    arrays = [np.zeros(3, "float32"), np.zeros(3, "float32")]
    with pytest.raises(MlcrefError, match=r"returned float64\[3\], the program computes float32\[3\]"):
        peers.numpy_function(lambda a: a.astype("float64"))(*arrays)
    with pytest.raises(MlcrefError, match="returned 2 results, not 1"):
        peers.numpy_function(lambda a: (a, a))(*arrays)


def test_from_tvm_reads_what_has_a_script() -> None:
    class Printed:
        def script(self) -> str:
            return MATMUL.script(dialect="tirx")

    assert structural_equal(from_tvm(Printed()), MATMUL)
    assert from_tvm(MATMUL) is MATMUL
    with pytest.raises(UnsupportedError, match="reads modules and functions of TVM, not int"):
        from_tvm(3)


def test_to_tvm_and_back() -> None:
    if ABSENT["tvm"]:
        with pytest.raises(UnsupportedError, match="Apache TVM cannot be imported"):
            to_tvm(MATMUL)
        return
    assert structural_equal(from_tvm(to_tvm(MATMUL)), MATMUL)
