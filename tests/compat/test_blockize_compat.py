"""blockize and tensorize in TVM and here: same program up to the form of index expressions, same trace."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from typing import Any

import pytest

from mlcref.errors import ScheduleError
from mlcref.ir import IRModule, PrimFunc, first_difference
from mlcref.ir.tensor_intrin import TensorIntrin
from mlcref.schedule import Schedule, Trace
from mlcref.script import from_source
from old_names import OldNames, normalised

tvm = pytest.importorskip("tvm", reason="compares with Apache TVM, which is not installed")

MATMUL = """
@T.prim_func
def main(A: T.Buffer((64, 64), "float32"), B: T.Buffer((64, 64), "float32"), C: T.Buffer((64, 64), "float32")):
    for i, j, k in T.grid(64, 64, 64):
        with T.block("matmul"):
            vi, vj, vk = T.axis.remap("SSR", [i, j, k])
            with T.init():
                C[vi, vj] = T.float32(0)
            C[vi, vj] = C[vi, vj] + A[vi, vk] * B[vj, vk]
"""
CHAIN = """
@T.prim_func
def main(A: T.Buffer((64, 1, 60), "float32"), D: T.Buffer((64, 1, 60), "float32")):
    B = T.alloc_buffer((64, 1, 60), "float32")
    for i, u, j in T.grid(64, 1, 60):
        with T.block("B"):
            vi, vu, vj = T.axis.remap("SSS", [i, u, j])
            B[vi, vu, vj] = A[vi, vu, vj] * T.float32(2)
    for i, u, j in T.grid(64, 1, 60):
        with T.block("D"):
            vi, vu, vj = T.axis.remap("SSS", [i, u, j])
            D[vi, vu, vj] = B[vi, vu, vj] + T.float32(1)
"""


def tiled(sch: Any) -> Any:
    i, j, k = sch.get_loops("matmul")
    i, ii = sch.split(i, [None, 16])
    j, ji = sch.split(j, [None, 16])
    k, ki = sch.split(k, [None, 16])
    sch.reorder(i, j, k, ii, ji, ki)
    return i, j, k, ii, ji, ki


def tile(sch: Any) -> None:
    sch.blockize(tiled(sch)[3])


def reduction_only(sch: Any) -> None:
    sch.blockize(tiled(sch)[5])


def everything(sch: Any) -> None:
    sch.blockize(tiled(sch)[0], preserve_unit_iters=False)


def unit_loop_inside(sch: Any) -> None:
    sch.blockize(sch.get_loops("B")[1])


def unit_iterator_dropped(sch: Any) -> None:
    sch.blockize(sch.get_loops("B")[1], preserve_unit_iters=False)


def unit_loop_outside(sch: Any) -> None:
    sch.blockize(sch.get_loops("B")[2])


def condition_inside(sch: Any) -> None:
    _, _, j = sch.get_loops("B")
    outer, inner = sch.split(j, [None, 7])
    sch.vectorize(inner)
    sch.blockize(outer)


def condition_outside(sch: Any) -> None:
    i, _, j = sch.get_loops("B")
    sch.split(i, [None, 7])
    sch.blockize(j)


def twice(sch: Any) -> None:
    i, _, j = sch.get_loops("B")
    _, inner = sch.split(j, [None, 12])
    sch.blockize(inner)
    sch.blockize(i)


def fused(sch: Any) -> None:
    i, _, j = sch.get_loops("B")
    i_0, i_1 = sch.split(i, [None, 8])
    j_0, j_1 = sch.split(j, [None, 12])
    sch.reorder(i_0, j_0, i_1, j_1)
    inner = sch.fuse(i_1, j_1)
    sch.blockize(inner)


def decomposed(sch: Any) -> None:
    loops = tiled(sch)
    sch.decompose_reduction(sch.blockize(loops[3]), loops[2])


def cached(sch: Any) -> None:
    _, j, k, ii, *_ = tiled(sch)
    block = sch.blockize(ii)
    sch.compute_at(sch.cache_read(block, 0, storage_scope="global.A_reg"), k)
    sch.compute_at(sch.cache_read(block, 1, storage_scope="global.B_reg"), k)
    sch.reverse_compute_at(sch.cache_write(block, 0, storage_scope="global.accumulator"), j)
    sch.decompose_reduction(block, k)


CASES: list[tuple[str, Callable[[Any], None]]] = [
    (MATMUL, tile), (MATMUL, reduction_only), (MATMUL, everything), (MATMUL, decomposed), (MATMUL, cached),
    (CHAIN, unit_loop_inside), (CHAIN, unit_iterator_dropped), (CHAIN, unit_loop_outside), (CHAIN, condition_inside),
    (CHAIN, condition_outside), (CHAIN, twice), (CHAIN, fused),
]  # fmt: skip

DESC = """
@T.prim_func(s_tir=True)
def desc(a: T.handle, b: T.handle, c: T.handle) -> None:
    A = T.match_buffer(a, (16, 16), "float32", offset_factor=16, scope="global.A_reg")
    B = T.match_buffer(b, (16, 16), "float32", offset_factor=16, scope="global.B_reg")
    C = T.match_buffer(c, (16, 16), "float32", offset_factor=16, scope="global.accumulator")
    with T.sblock("root"):
        T.reads(C[0:16, 0:16], A[0:16, 0:16], B[0:16, 0:16])
        T.writes(C[0:16, 0:16])
        for i, j, k in T.grid(16, 16, 16):
            with T.sblock(""):
                vii, vjj, vkk = T.axis.remap("SSR", [i, j, k])
                C[vii, vjj] = C[vii, vjj] + A[vii, vkk] * B[vjj, vkk]
"""
IMPL = """
@T.prim_func(s_tir=True)
def impl(a: T.handle, b: T.handle, c: T.handle) -> None:
    sa = T.int32()
    sb = T.int32()
    sc = T.int32()
    A = T.match_buffer(a, (16, 16), "float32", offset_factor=16, strides=[sa, 1], scope="global.A_reg")
    B = T.match_buffer(b, (16, 16), "float32", offset_factor=16, strides=[sb, 1], scope="global.B_reg")
    C = T.match_buffer(c, (16, 16), "float32", offset_factor=16, strides=[sc, 1], scope="global.accumulator")
    with T.sblock("root"):
        T.reads(C[0:16, 0:16], A[0:16, 0:16], B[0:16, 0:16])
        T.writes(C[0:16, 0:16])
        T.evaluate(T.call_extern("tmm16", C.access_ptr("w"), A.access_ptr("r"), B.access_ptr("r"), sa, sb, sc,
                                 dtype="int32"))
"""
FILL = """
@T.prim_func(s_tir=True)
def desc(c: T.handle) -> None:
    C = T.match_buffer(c, (16, 16), "float32", offset_factor=1)
    with T.sblock("root"):
        T.reads()
        T.writes(C[0:16, 0:16])
        for i, j in T.grid(16, 16):
            with T.sblock("fill"):
                vi, vj = T.axis.remap("SS", [i, j])
                C[vi, vj] = T.float32(0)
"""
FILLED = """
@T.prim_func(s_tir=True)
def impl(c: T.handle) -> None:
    C = T.match_buffer(c, (16, 16), "float32", offset_factor=1)
    with T.sblock("root"):
        T.reads()
        T.writes(C[0:16, 0:16])
        for i in range(16):
            for j in T.vectorized(16):
                C[i, j] = T.float32(0)
"""


ROW = """
@T.prim_func(s_tir=True)
def desc(x: T.handle, y: T.handle) -> None:
    X = T.match_buffer(x, (12,), "float32", offset_factor=1)
    Y = T.match_buffer(y, (12,), "float32", offset_factor=1)
    with T.sblock("root"):
        T.reads(X[0:12])
        T.writes(Y[0:12])
        for i in range(12):
            with T.sblock("x"):
                vi = T.axis.spatial(12, i)
                Y[vi] = X[vi] * T.float32(2)
"""
ROW_IMPL = """
@T.prim_func(s_tir=True)
def impl(x: T.handle, y: T.handle) -> None:
    X = T.match_buffer(x, (12,), "float32", offset_factor=1)
    Y = T.match_buffer(y, (12,), "float32", offset_factor=1)
    with T.sblock("root"):
        T.reads(X[0:12])
        T.writes(Y[0:12])
        for i in T.vectorized(12):
            Y[i] = X[i] * T.float32(2)
"""
DOT = """
@T.prim_func(s_tir=True)
def desc(p: T.handle, q: T.handle, r: T.handle) -> None:
    P = T.match_buffer(p, (16,), "float32", offset_factor=1)
    Q = T.match_buffer(q, (16,), "float32", offset_factor=1)
    R = T.match_buffer(r, (1,), "float32", offset_factor=1)
    with T.sblock("root"):
        T.reads(R[0:1], P[0:16], Q[0:16])
        T.writes(R[0:1])
        for k in range(16):
            with T.sblock("dot"):
                vk = T.axis.reduce(16, k)
                R[0] = R[0] + P[vk] * Q[vk]
"""
DOT_IMPL = """
@T.prim_func(s_tir=True)
def impl(p: T.handle, q: T.handle, r: T.handle) -> None:
    P = T.match_buffer(p, (16,), "float32", offset_factor=1)
    Q = T.match_buffer(q, (16,), "float32", offset_factor=1)
    R = T.match_buffer(r, (1,), "float32", offset_factor=1)
    with T.sblock("root"):
        T.reads(R[0:1], P[0:16], Q[0:16])
        T.writes(R[0:1])
        R[0] = R[0] + T.call_pure_extern("float32", "dot16", P.access_ptr("r"), Q.access_ptr("r"))
"""


def row_by_loop(sch: Any) -> None:
    sch.tensorize(sch.split(sch.get_loops("B")[2], [None, 12])[1], "compat.row")


def row_by_block(sch: Any) -> None:
    sch.tensorize(sch.blockize(sch.split(sch.get_loops("B")[2], [None, 12])[1]), "compat.row")


def row_without_units(sch: Any) -> None:
    inner = sch.split(sch.get_loops("B")[2], [None, 12])[1]
    sch.tensorize(inner, "compat.row", preserve_unit_iters=False)


def row_in_a_vector_of_rows(sch: Any) -> None:
    i, u, j = sch.get_loops("B")
    outer, inner = sch.split(j, [None, 12])
    sch.reorder(outer, i, u)
    sch.tensorize(inner, "compat.row")
    sch.parallel(outer)


def dot(sch: Any) -> None:
    loops = tiled(sch)
    sch.decompose_reduction(sch.get_block("matmul"), loops[2])
    sch.tensorize(sch.get_loops("matmul_update")[-1], "compat.dot")


def dot_of_a_blockized_tile(sch: Any) -> None:
    loops = tiled(sch)
    sch.decompose_reduction(sch.blockize(loops[3]), loops[2])
    sch.tensorize(sch.get_loops("matmul")[-1], "compat.dot")


def tensorized(sch: Any) -> None:
    cached(sch)
    sch.tensorize(sch.get_block("matmul_o_update"), "compat.tmm16")


def tensorized_loop(sch: Any) -> None:
    loops = tiled(sch)
    start = sch.decompose_reduction(sch.get_block("matmul"), loops[2])
    sch.tensorize(sch.get_loops(start)[-2], "compat.fill")


def tensorized_block(sch: Any) -> None:
    loops = tiled(sch)
    block = sch.blockize(loops[3])
    start = sch.decompose_reduction(block, loops[2])
    sch.tensorize(start, "compat.fill")


TENSORIZED = [
    (MATMUL, tensorized), (MATMUL, tensorized_loop), (MATMUL, tensorized_block), (MATMUL, dot),
    (MATMUL, dot_of_a_blockized_tile), (CHAIN, row_by_loop), (CHAIN, row_by_block), (CHAIN, row_without_units),
    (CHAIN, row_in_a_vector_of_rows),
]  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def intrinsics() -> None:
    pairs = (("tmm16", DESC, IMPL), ("fill", FILL, FILLED), ("row", ROW, ROW_IMPL), ("dot", DOT, DOT_IMPL))
    for name, desc, impl in pairs:
        TensorIntrin.register(f"compat.{name}", from_source(desc), from_source(impl), override=True)
        theirs = (tvm.script.from_source(desc), tvm.script.from_source(impl))
        tvm.s_tir.TensorIntrin.register(f"compat.{name}", *theirs, override=True)


def in_tvm(func: PrimFunc) -> Any:
    text: str = IRModule({"main": func}).script(dialect="tirx")
    return tvm.script.from_source(text)


def both(text: str, act: Callable[[Any], None]) -> tuple[Any, Any]:
    ours = Schedule(from_source(text))
    act(ours)
    theirs = tvm.s_tir.Schedule(in_tvm(from_source(text)))
    act(OldNames(theirs))
    return ours, theirs


def difference(ours: Any, theirs: Any) -> str | None:
    return first_difference(normalised(ours.mod), normalised(from_source(theirs.mod.script())))


ALL = [*CASES, *TENSORIZED]


@pytest.mark.parametrize(("text", "act"), ALL, ids=[act.__name__ for _, act in ALL])
def test_same_trace_and_same_program(text: str, act: Callable[[Any], None]) -> None:
    ours, theirs = both(text, act)
    mine = [line.replace("get_block", "get_sblock") for line in ours.trace.as_python()]
    assert mine == list(theirs.trace.as_python())
    found = difference(ours, theirs)
    assert found is None, f"{found}\n{ours.mod.script()}\n{theirs.mod.script()}"


@pytest.mark.parametrize("act", [decomposed, tensorized, tensorized_loop], ids=lambda act: act.__name__)
def test_a_trace_of_tvm_in_json_replays_here(act: Callable[[Any], None]) -> None:
    _, theirs = both(MATMUL, act)
    ours = Schedule(from_source(MATMUL))
    Trace.apply_json_to_schedule(json.loads(json.dumps(theirs.trace.as_json(), default=lambda imm: imm.value)), ours)
    assert difference(ours, theirs) is None


def random_site(rng: random.Random) -> tuple[str, Callable[[Any], None]]:
    """Splits, a reorder or a fusion, and a blockize at any loop."""
    text, block = rng.choice([(MATMUL, "matmul"), (CHAIN, "B"), (CHAIN, "D")])
    plan = [(rng.choice([2, 4, 5, 8]), rng.randrange(8)) for _ in range(rng.choice([0, 1, 2]))]
    swap, fuse, at, units = rng.randrange(8), rng.random() < 0.2, rng.randrange(16), rng.random() < 0.7

    def act(sch: Any) -> None:
        for factor, which in plan:
            loop = list(sch.get_loops(block))[which % len(sch.get_loops(block))]
            if int(sch.get(loop).extent) >= factor:  # TVM drops the condition of a loop of one tile
                sch.split(loop, [None, factor])
        loops = list(sch.get_loops(block))
        if swap + 1 < len(loops):
            sch.reorder(loops[swap + 1], loops[swap])
        if fuse:
            loops = list(sch.get_loops(block))
            sch.fuse(loops[-2], loops[-1])
        loops = list(sch.get_loops(block))
        sch.blockize(loops[at % len(loops)], preserve_unit_iters=units)

    return text, act


def outcome(sch: Any, act: Callable[[Any], None]) -> Any:
    """The schedule after ``act``, or None where it refuses."""
    try:
        act(sch)
    except (ScheduleError, RuntimeError, ValueError, TypeError):  # TVM raises several kinds
        return None
    return sch


def test_random_sites_agree() -> None:
    agreed = refused = 0
    for seed in range(24):
        text, act = random_site(random.Random(seed))
        theirs = outcome(OldNames(tvm.s_tir.Schedule(in_tvm(from_source(text)))), act)
        if theirs is None:
            continue
        ours = outcome(Schedule(from_source(text)), act)
        if ours is None:
            refused += 1
            continue
        found = difference(ours, theirs.sch)
        assert found is None, f"{seed}: {found}\n{ours.mod.script()}\n{theirs.sch.mod.script()}"
        agreed += 1
    assert agreed >= 10, (agreed, refused)
    assert refused <= 3, (agreed, refused)
