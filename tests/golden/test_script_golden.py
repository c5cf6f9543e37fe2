"""Printed programs, letter by letter, in both dialects. ``MLCREF_GOLDEN=write pytest`` writes the files again."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from mlcref.ir import IRModule, assert_structural_equal
from mlcref.script import from_source, ir_module
from mlcref.script import tir as T

FILES = Path(__file__).parent


@ir_module
class Module:
    @T.prim_func
    def linear(x: T.handle, W: T.Buffer((128, 784), "float32"), z: T.handle, scale: T.float32):
        T.func_attr({"global_symbol": "linear", "tir.noalias": True})
        n = T.int64()
        X = T.match_buffer(x, (n, 784), "float32")
        Z = T.match_buffer(z, (n, 128), "float32", offset_factor=16)
        Y = T.alloc_buffer((n, 128), "float32", scope="shared")
        for i in T.parallel(n):
            for j_0, k_0 in T.grid(32, 196):
                for k_1, j_1 in T.grid(4, 4):
                    with T.block("Y"):
                        vi = T.axis.spatial(n, i)
                        vj = T.axis.spatial(128, j_0 * 4 + j_1)
                        vk = T.axis.reduce(784, k_0 * 4 + k_1)
                        T.block_attr({"tile": [4, 4]})
                        with T.init():
                            Y[vi, vj] = 0
                        Y[vi, vj] += X[vi, vk] * W[vj, vk]
        for i, j in T.grid(n, 130):
            with T.block("Z"):
                T.where(j < 128)
                vi = T.axis.spatial(n, i)
                vj = T.axis.spatial(128, j)
                if vj % 2 == 0 and Y[vi, vj] > 0.0:
                    Z[vi, vj] = T.max(Y[vi, vj] * scale, T.float32(0.5)) - 1.0
                else:
                    Z[vi, vj] = T.Select(vi < 4, -Y[vi, vj], T.exp(Y[vi, vj]))

    @T.prim_func(private=True, s_tir=False)
    def flat(A: T.Buffer((64,), "float32", strides=(2,)), k: T.int32):
        assert k < 8, "k is small"
        with T.LetStmt(k * 8) as base:
            for i in T.vectorized(8):
                A[base + i] = 0.0
        local = T.alloc_buffer((16,), "float16", scope="local", annotations={"once": True})
        view = T.decl_buffer((4, 4), "float16", data=local.data)
        for i, j in T.grid(4, 4):
            view[i, j] = T.Cast("float16", A[i * 4 + j])
        top: T.int32 = T.min(k, 3)
        A[0:4] = T.Cast("float32x4", local[top : top + 4])
        T.call_extern("void", "finish", 1)


@pytest.mark.parametrize("dialect", ["tir", "tirx"])
def test_printed_module(dialect: str) -> None:
    assert isinstance(Module, IRModule)
    text = Module.script(dialect=dialect) + "\n"
    path = FILES / f"script_module_{dialect}.py.txt"
    if os.environ.get("MLCREF_GOLDEN") == "write":
        path.write_text(text)
    assert text == path.read_text()
    assert_structural_equal(from_source(path.read_text()), Module)
