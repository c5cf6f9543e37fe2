"""blockize and tensorize: names, structure, handles, traces."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

import mlcref as tvm
from mlcref import interpret
from mlcref.interp import findings
from mlcref.ir import BlockRealize, PrimFunc, first_difference, walk
from mlcref.schedule import Schedule, Trace
from mlcref.script import from_source
from mlcref.verify import check_equivalent

MATMUL = from_source("""
@T.prim_func
def main(A: T.Buffer((8, 8), "float32"), B: T.Buffer((8, 8), "float32"), C: T.Buffer((8, 8), "float32")):
    for i, j, k in T.grid(8, 8, 8):
        with T.block("C"):
            vi, vj, vk = T.axis.remap("SSR", [i, j, k])
            with T.init():
                C[vi, vj] = T.float32(0)
            C[vi, vj] = C[vi, vj] + A[vi, vk] * B[vj, vk]
""")
CHAIN = from_source("""
@T.prim_func
def main(A: T.Buffer((8, 12), "float32"), D: T.Buffer((8, 12), "float32")):
    B = T.alloc_buffer((8, 12), "float32")
    for i, j in T.grid(8, 12):
        with T.block("B"):
            vi, vj = T.axis.remap("SS", [i, j])
            B[vi, vj] = A[vi, vj] * T.float32(2)
    for i, j in T.grid(8, 12):
        with T.block("D"):
            vi, vj = T.axis.remap("SS", [i, j])
            D[vi, vj] = B[vi, vj] + T.float32(1)
""")


def blocks(func: PrimFunc) -> dict[str, Any]:
    return {node.block.name: node.block for node in walk(func.body) if isinstance(node, BlockRealize)}


def tiled(sch: Schedule, name: str = "C", tile: int = 4) -> list[Any]:
    split = [sch.split(loop, [None, tile]) for loop in sch.get_loops(name)]
    sch.reorder(*[outer for outer, _ in split], *[inner for _, inner in split])
    return [inner for _, inner in split]


def test_names_and_structure_of_a_tiled_reduction() -> None:
    sch = Schedule(MATMUL)
    old = sch.get_block("C")
    inner = tiled(sch)
    outer = sch.blockize(inner[0])
    found = blocks(sch.mod["main"])
    assert list(found) == ["root", "C_o", "C_init", "C"]
    assert [item.var.name for item in found["C_o"].iter_vars] == ["vi_o", "vj_o", "vk_o"]
    assert [item.var.name for item in found["C_init"].iter_vars] == ["vi_i_init", "vj_i_init"]
    assert [item.var.name for item in found["C"].iter_vars] == ["vi_i", "vj_i", "vk_i"]
    assert found["C"].init is None
    assert [repr(region) for region in found["C_o"].reads] == [
        "A[vi_o * 4:vi_o * 4 + 4, vk_o * 4:vk_o * 4 + 4]", "B[vj_o * 4:vj_o * 4 + 4, vk_o * 4:vk_o * 4 + 4]",
    ]  # fmt: skip
    assert sch.get(old).name == "C"  # the old handle is the block inside
    assert sch.get(outer).name == "C_o"
    assert [sch.get(loop) for loop in inner] == [sch.get(loop) for loop in sch.get_loops(old)]
    assert check_equivalent(MATMUL, sch.mod["main"])


def test_several_blocks_become_one() -> None:
    sch = Schedule(CHAIN)
    i_0, _ = sch.split(sch.get_loops("D")[0], [None, 2])
    sch.compute_at(sch.get_block("B"), i_0)
    both = sch.blockize([sch.get_block("B"), sch.get_block("D")])
    assert sch.get(both).name == "outer_B_D_"
    assert [repr(region) for region in sch.get(both).writes] == [
        "B[vi_o * 2:vi_o * 2 + 2, 0:12]", "D[vi_o * 2:vi_o * 2 + 2, 0:12]",
    ]  # fmt: skip
    assert len(sch.get_loops(both)) == 1
    arrays = [np.ones((8, 12), "float32") for _ in range(2)]
    assert findings(sch.mod["main"], *arrays) == []
    assert check_equivalent(CHAIN, sch.mod["main"])


def test_symbolic_extents_are_whole_digits() -> None:
    func = from_source("""
@T.prim_func
def main(a: T.handle, b: T.handle):
    n = T.int32()
    A = T.match_buffer(a, (n, n), "float32")
    B = T.match_buffer(b, (n, n), "float32")
    for i, j in T.grid(n, n):
        with T.block("B"):
            vi, vj = T.axis.remap("SS", [i, j])
            B[vi, vj] = A[vi, vj]
""")
    sch = Schedule(func)
    outer = sch.blockize(sch.get_loops("B")[1])
    assert [repr(region) for region in sch.get(outer).writes] == ["B[vi_o, 0:n]"]
    assert check_equivalent(func, sch.mod["main"])


# ---- tensorize


def function(parameters: str, body: str) -> PrimFunc:
    lines = "\n".join(f"        {line}" for line in body.strip("\n").splitlines())
    return from_source(f'@T.prim_func\ndef main({parameters}):\n    with T.block("root"):\n{lines}\n')


def register(name: str, parameters: str, desc: str, impl: str, strided: str | None = None) -> None:
    described = function(parameters, desc)
    tvm.tir.TensorIntrin.register(name, described, function(strided or parameters, impl), override=True)


ROWS = ", ".join(f'{name}: T.Buffer((4,), "float32")' for name in "XY")
DOT = 'P: T.Buffer((4,), "float32"), Q: T.Buffer((4,), "float32"), R: T.Buffer((1,), "float32")'
TWICE = """
for i in {kind}(4):
    with T.block("x"):
        vi = T.axis.spatial(4, i)
        Y[vi] = X[vi] * T.float32(2)
"""
EXTERN = """
T.reads(X[0:4])
T.writes(Y[0:4])
T.call_extern("int32", "unit.double", X.access_ptr("r"), Y.access_ptr("w"))
"""


def test_a_row_of_a_matrix_stands_for_a_vector() -> None:
    register("unit.row", ROWS, TWICE.format(kind="range"), TWICE.format(kind="T.vectorized"))
    sch = Schedule(CHAIN)
    _, inner = sch.split(sch.get_loops("B")[1], [None, 4])
    block = sch.get_block("B")
    sch.tensorize(inner, "unit.row")
    made = sch.get(sch.get_block("B_o"))
    assert [repr(match.source) for match in made.match_buffers] == [
        "A[vi_o, vj_o * 4:vj_o * 4 + 4]", "B[vi_o, vj_o * 4:vj_o * 4 + 4]",
    ]  # fmt: skip
    with pytest.raises(tvm.MlcrefError, match="stale handle"):
        sch.get(block)
    assert check_equivalent(CHAIN, sch.mod["main"])


DESC_DOT = """
for k in range(4):
    with T.block("dot"):
        vk = T.axis.reduce(4, k)
        R[0] = R[0] + P[vk] * Q[vk]
"""
IMPL_DOT = "for k in T.unroll(4):\n    R[0] = R[0] + P[k] * Q[k]"


def test_an_init_of_the_block_stays_and_one_buffer_may_be_read_twice() -> None:
    register("unit.dot", DOT, DESC_DOT, IMPL_DOT)
    func = from_source("""
@T.prim_func
def main(A: T.Buffer((8, 8), "float32"), C: T.Buffer((8, 8), "float32")):
    for i, j, k in T.grid(8, 8, 8):
        with T.block("C"):
            vi, vj, vk = T.axis.remap("SSR", [i, j, k])
            with T.init():
                C[vi, vj] = T.float32(0)
            C[vi, vj] = C[vi, vj] + A[vi, vk] * A[vj, vk]
""")
    sch = Schedule(func)
    _, inner = sch.split(sch.get_loops("C")[2], [None, 4])
    sch.tensorize(inner, "unit.dot")
    found = blocks(sch.mod["main"])
    assert list(found) == ["root", "C_o", "C_init"]
    assert found["C_o"].init is not None
    assert check_equivalent(func, sch.mod["main"])


def test_two_places_have_names_of_their_own() -> None:
    impl = from_source("""
@T.prim_func
def impl(x: T.handle, y: T.handle):
    s, t = T.int32(), T.int32()
    X = T.match_buffer(x, (4,), "float32", strides=[s])
    Y = T.match_buffer(y, (4,), "float32", strides=[t])
    with T.block("root"):
        for i in range(4):
            Y[i] = X[i] * T.float32(2)
""")
    desc = function(ROWS, TWICE.format(kind="range"))
    tvm.tir.TensorIntrin.register("unit.strided", desc, impl, override=True)
    func = from_source("""
@T.prim_func
def main(A: T.Buffer((8,), "float32"), B: T.Buffer((8,), "float32"), C: T.Buffer((8,), "float32")):
    for i in range(8):
        with T.block("B"):
            vi = T.axis.spatial(8, i)
            B[vi] = A[vi] * T.float32(2)
    for i in range(8):
        with T.block("C"):
            vi = T.axis.spatial(8, i)
            C[vi] = B[vi] * T.float32(2)
""")
    sch = Schedule(func)
    for name in ("B", "C"):
        sch.tensorize(sch.split(sch.get_loops(name)[0], [None, 4])[1], "unit.strided")
    assert check_equivalent(func, sch.mod["main"])
    again = from_source(sch.mod["main"].script())
    assert first_difference(sch.mod["main"], again) is None


def test_traces_replay_as_text_and_json() -> None:
    register("unit.dot", DOT, DESC_DOT, IMPL_DOT)
    sch = Schedule(MATMUL)
    block = sch.blockize(tiled(sch)[2], preserve_unit_iters=False)
    sch.tensorize(block, "unit.dot")
    assert sch.trace.as_python()[-1] == (
        'sch.tensorize(block_or_loop=b10, tensor_intrin="unit.dot", preserve_unit_iters=True)'
    )
    text, other = json.loads(json.dumps(sch.trace.as_json())), Schedule(MATMUL)
    Trace.apply_json_to_schedule(text, other)
    assert first_difference(other.mod, sch.mod) is None
    third = Schedule(MATMUL)
    sch.trace.apply_to_schedule(third, remove_postproc=False)
    assert first_difference(third.mod, sch.mod) is None


def test_a_trace_with_a_list_of_blocks_replays() -> None:
    sch = Schedule(CHAIN)
    sch.blockize([sch.get_block("B"), sch.get_block("D")])
    other = Schedule(CHAIN)
    Trace.apply_json_to_schedule(json.loads(json.dumps(sch.trace.as_json())), other)
    assert first_difference(other.mod, sch.mod) is None


def test_the_oracle_runs_what_an_impl_calls() -> None:
    register("unit.extern", ROWS, TWICE.format(kind="range"), EXTERN)
    sch = Schedule(CHAIN)
    sch.tensorize(sch.split(sch.get_loops("B")[1], [None, 4])[1], "unit.extern")

    def double(x: Any, y: Any) -> None:
        y[:4] = x[:4] * 2

    tvm.register_global_func("unit.double", double, override=True)
    try:
        assert check_equivalent(CHAIN, sch.mod["main"])
        arrays = [np.ones((8, 12), "float32"), np.zeros((8, 12), "float32")]
        interpret(sch.mod["main"], *arrays)
        assert (arrays[1] == 3).all()
    finally:
        tvm.remove_global_func("unit.double")
