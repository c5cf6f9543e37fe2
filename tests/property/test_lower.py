"""Lowering and code generation keep the meaning of small scheduled programs: every pass, and the compiled kernels,
agree with the oracle bit for bit on small integers (on which float arithmetic is exact)."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlcref.driver import compile
from mlcref.errors import OracleError, ScheduleError, UnsupportedError
from mlcref.interp import interpret
from mlcref.ir import IRModule, PrimFunc, Target, blocks_in, structural_equal
from mlcref.lower import PIPELINE, lower
from mlcref.runtime import why_no_compiler
from mlcref.schedule import Schedule
from mlcref.script import from_source

HEAD = "from mlcref.script import tir as T\n"

MATMUL_RELU = """
@T.prim_func
def main(A: T.Buffer(({m}, {k}), "{t}"), B: T.Buffer(({k}, {n}), "{t}"), C: T.Buffer(({m}, {n}), "{t}")):
    T.func_attr({{"tir.noalias": True}})
    Y = T.alloc_buffer(({m}, {n}), "{t}")
    for i, j, k in T.grid({m}, {n}, {k}):
        with T.block("Y"):
            vi, vj, vk = T.axis.remap("SSR", [i, j, k])
            with T.init():
                Y[vi, vj] = T.cast(0, "{t}")
            Y[vi, vj] = Y[vi, vj] + A[vi, vk] * B[vk, vj]
    for i, j in T.grid({m}, {n}):
        with T.block("C"):
            vi, vj = T.axis.remap("SS", [i, j])
            C[vi, vj] = T.max(Y[vi, vj], T.cast(1, "{t}"))
"""

CHAIN = """
@T.prim_func
def main(A: T.Buffer(({m}, {n}), "{t}"), B: T.Buffer(({n},), "{t}"), C: T.Buffer(({n}, {m}), "{t}")):
    X = T.alloc_buffer(({m}, {n}), "{t}")
    for i, j in T.grid({m}, {n}):
        with T.block("X"):
            vi, vj = T.axis.remap("SS", [i, j])
            X[vi, vj] = A[vi, vj] * T.cast(3, "{t}") - B[vj]
    for i, j in T.grid({n}, {m}):
        with T.block("C"):
            vi, vj = T.axis.remap("SS", [i, j])
            C[vi, vj] = T.Select(X[vj, vi] < B[vi], X[vj, vi] + T.cast(vi * 2 + vj, "{t}"), T.min(A[vj, vi], B[vi]))
"""

PADDED_SUM = """
@T.prim_func
def main(A: T.Buffer(({m}, {n}), "{t}"), C: T.Buffer(({m}, {n}), "{t}")):
    T.func_attr({{"tir.noalias": True}})
    for i, j, k in T.grid({m}, {n}, 3):
        with T.block("C"):
            vi, vj, vk = T.axis.remap("SSR", [i, j, k])
            with T.init():
                C[vi, vj] = T.cast(2, "{t}")
            C[vi, vj] = C[vi, vj] + T.if_then_else(vj + vk >= 1 and vj + vk < {n} + 1, A[vi, vj + vk - 1], T.cast(1,
            "{t}"))
"""

ROW_MAX = """
@T.prim_func
def main(A: T.Buffer(({m}, {n}), "{t}"), C: T.Buffer(({m},), "{t}"), D: T.Buffer(({m}, {n}), "int32")):
    T.func_attr({{"tir.noalias": True}})
    M = T.alloc_buffer(({m},), "{t}")
    for i, k in T.grid({m}, {n}):
        with T.block("M"):
            vi, vk = T.axis.remap("SR", [i, k])
            with T.init():
                M[vi] = T.cast(-4, "{t}")
            M[vi] = T.max(M[vi], A[vi, vk])
    for i in T.serial({m}):
        with T.block("C"):
            vi = T.axis.spatial({m}, i)
            C[vi] = M[vi] + M[{m} - 1 - vi]
    for i, j in T.grid({m}, {n}):
        with T.block("D"):
            vi, vj = T.axis.remap("SS", [i, j])
            D[vi, vj] = T.cast(A[vi, vj] - M[vi], "int32") // 3 * 5 + (vi - vj) % 3
"""

TEMPLATES = [MATMUL_RELU, CHAIN, PADDED_SUM, ROW_MAX]
SIGNED = ["float32", "float64", "int8", "int32", "int64"]
SIZES = st.sampled_from([16, 8, 12, 4, 17, 5, 3, 2, 1])
KINDS = [
    "split", "fuse", "reorder", "parallel", "inner", "inner", "unroll", "bind", "decompose_reduction", "compute_at",
    "reverse_compute_at", "cache_read", "cache_write",
]  # fmt: skip
Draw = Callable[[Any], Any]


def function_of(sch: Schedule) -> PrimFunc:
    """The function that is being scheduled."""
    return next(iter(sch.mod.prim_funcs().values()))


def steps(sch: Schedule, draw: Draw) -> None:
    """One drawn schedule step; refusals leave the schedule as it is."""
    names = [block.name for block in blocks_in(function_of(sch).body) if block.name != "root"]
    block = sch.get_block(draw(st.sampled_from(names)))
    loops = sch.get_loops(block)
    if not loops:
        return
    loop = loops[draw(st.integers(0, len(loops) - 1))]
    kind = draw(st.sampled_from(KINDS))
    if kind == "split":
        sch.split(loop, [None, draw(st.integers(1, 6))])
    elif kind == "inner":
        inner = sch.split(loop, [None, draw(st.sampled_from([2, 3, 4, 8]))])[-1]
        if draw(st.booleans()):
            sch.reorder(*loops[loops.index(loop) + 1 :], inner)
        draw(st.sampled_from([sch.vectorize, sch.vectorize, sch.unroll]))(inner)
    elif kind == "fuse":
        sch.fuse(*loops[:2])
    elif kind == "reorder":
        sch.reorder(*draw(st.permutations(loops)))
    elif kind == "bind":
        sch.bind(loop, draw(st.sampled_from(["blockIdx.x", "threadIdx.x", "vthread.x"])))
    elif kind == "decompose_reduction":
        sch.decompose_reduction(block, loop)
    elif kind in ("compute_at", "reverse_compute_at"):
        getattr(sch, kind)(sch.get_block(draw(st.sampled_from(names))), loop)
    elif kind in ("cache_read", "cache_write"):
        getattr(sch, kind)(block, draw(st.integers(0, 1)), draw(st.sampled_from(["global", "local"])))
    else:
        getattr(sch, kind)(loop)


@st.composite
def programs(draw: Draw) -> PrimFunc:
    """A small program and a schedule of it, as one function."""
    template = draw(st.sampled_from(TEMPLATES))
    sizes = {name: draw(SIZES) for name in "mnk"}
    func = from_source(HEAD + template.format(t=draw(st.sampled_from(SIGNED)), **sizes))
    sch = Schedule(func)
    for _ in range(draw(st.integers(0, 5))):
        try:
            steps(sch, draw)
        except ScheduleError:
            continue
    return function_of(sch)


def inputs(func: PrimFunc, seed: int) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    return [rng.integers(-3, 4, [int(e) for e in buffer.shape]).astype(buffer.type) for buffer in func.buffers]


def results(run: Callable[..., None], arrays: list[np.ndarray]) -> list[np.ndarray]:
    copies = [array.copy() for array in arrays]
    run(*copies)
    return copies


def meaning(func: PrimFunc, arrays: list[np.ndarray]) -> list[np.ndarray] | None:
    """What the oracle computes; None where ``bind`` gave each thread memory that others need."""
    try:
        return results(lambda *xs: interpret(func, *xs), arrays)
    except (UnsupportedError, OracleError):
        assert "thread_binding" in func.script()
        return None


def assert_same(got: list[np.ndarray], want: list[np.ndarray], where: str, func: PrimFunc) -> None:
    for i, (x, y) in enumerate(zip(got, want, strict=True)):
        assert np.array_equal(x, y), f"{where}: parameter {i} differs in\n{func.script()}"


@given(programs(), st.integers(0, 99))
def test_every_pass_keeps_the_meaning(func: PrimFunc, seed: int) -> None:
    arrays = inputs(func, seed)
    want = meaning(func, arrays)
    if want is None:
        return

    def check(name: str, lowered: PrimFunc) -> None:
        try:
            got = results(lambda *xs: interpret(lowered, *xs), arrays)
        except UnsupportedError:  # thread axes in a form that the oracle leaves open, gone after the next passes
            assert name in ("lower_blocks", "declare_pointed")
            return
        assert_same(got, want, name, func)

    try:
        lower(func, Target("cython"), after=check)
    except UnsupportedError as error:
        if error.rule not in ("lower.threads", "lower.collective"):
            raise


@pytest.mark.skipif(why_no_compiler() is not None, reason="no C compiler")
@settings(max_examples=4)
@given(st.lists(programs(), min_size=8, max_size=8), st.integers(0, 99))
def test_compiled_kernels_agree_with_the_oracle(funcs: list[PrimFunc], seed: int) -> None:
    supported = {f"f{i}": func for i, func in enumerate(funcs) if can_lower(func)}
    if not supported:
        return
    module = compile(IRModule(supported), "cython --num-cores=2")
    for name, func in supported.items():
        arrays = inputs(func, seed)
        want = meaning(func, arrays)
        if want is not None:
            assert_same(results(module[name], arrays), want, "compiled", func)


def can_lower(func: PrimFunc) -> bool:
    try:
        lower(func, Target("cython"))
    except UnsupportedError:
        return False
    return True


@given(programs())
def test_lowering_is_deterministic_and_leaves_its_input_alone(func: PrimFunc) -> None:
    before = func.script()
    if can_lower(func):
        assert structural_equal(lower(func), lower(func))
    assert func.script() == before
    assert len({step.name for step in PIPELINE}) == len(PIPELINE)
