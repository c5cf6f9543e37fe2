"""Layouts, reindexing and storage in TVM and here: the same trace, and the same program once indices are simplified."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from mlcref.arith import simplify
from mlcref.errors import ScheduleError
from mlcref.ir import BlockRealize, Expr, For, IRModule, PrimFunc, first_difference, index, map_children
from mlcref.schedule import TABLE, Schedule, Trace
from mlcref.schedule.find import loop_domain
from mlcref.schedule.nest import iterator_ranges
from mlcref.script import from_source
from mlcref.verify.generate import program as draw_program
from old_names import OldNames

tvm = pytest.importorskip("tvm", reason="compares with Apache TVM, which is not installed")

CHAIN = """
@T.prim_func
def main(A: T.Buffer(({n}, {m}), "float32"), C: T.Buffer(({n}, {m}), "float32")):
    B = T.alloc_buffer(({n}, {m}), dtype="float32")
    for i, j in T.grid({n}, {m}):
        with T.block("B"):
            vi, vj = T.axis.remap("SS", [i, j])
            B[vi, vj] = A[vi, vj] * T.float32(2)
    for i, j in T.grid({n}, {m}):
        with T.block("C"):
            vi, vj = T.axis.remap("SS", [i, j])
            C[vi, vj] = B[vi, vj] + T.float32(1)
"""
PROGRAMS = {
    "chain": CHAIN.format(n=16, m=16),
    "odd": CHAIN.format(n=14, m=6),
    "matmul": """
@T.prim_func
def main(A: T.Buffer((16, 8), "float32"), W: T.Buffer((8, 12), "float32"), C: T.Buffer((16, 12), "float32")):
    for i, j, k in T.grid(16, 12, 8):
        with T.block("C"):
            vi, vj, vk = T.axis.remap("SSR", [i, j, k])
            with T.init():
                C[vi, vj] = T.float32(0)
            C[vi, vj] = C[vi, vj] + A[vi, vk] * W[vk, vj]
""",
    "three": """
@T.prim_func
def main(A: T.Buffer((16, 16), "float32"), C: T.Buffer((16, 16), "float32")):
    B = T.alloc_buffer((16, 16), dtype="float32")
    D = T.alloc_buffer((16, 16), dtype="float32")
    for i, j in T.grid(16, 16):
        with T.block("B"):
            vi, vj = T.axis.remap("SS", [i, j])
            B[vi, vj] = A[vi, vj] * T.float32(2)
    for i, j in T.grid(16, 16):
        with T.block("D"):
            vi, vj = T.axis.remap("SS", [i, j])
            D[vi, vj] = A[vi, vj] + T.float32(2)
    for i, j in T.grid(16, 16):
        with T.block("C"):
            vi, vj = T.axis.remap("SS", [i, j])
            C[vi, vj] = B[vj, vi] + D[vi, vj]
""",
    "conv": """
@T.prim_func
def main(A: T.Buffer((1, 18, 3), "float32"), W: T.Buffer((3, 3, 4), "float32"), C: T.Buffer((1, 16, 4), "float32")):
    for n, i, f, k, c in T.grid(1, 16, 4, 3, 3):
        with T.block("C"):
            vn, vi, vf, vk, vc = T.axis.remap("SSSRR", [n, i, f, k, c])
            with T.init():
                C[vn, vi, vf] = T.float32(0)
            C[vn, vi, vf] = C[vn, vi, vf] + A[vn, vi + vk, vc] * W[vk, vc, vf]
""",
    "nested": """
@T.prim_func
def main(A: T.Buffer((16, 16), "float32"), C: T.Buffer((16, 16), "float32")):
    for io, jo in T.grid(4, 4):
        with T.block("C_o"):
            vio, vjo = T.axis.remap("SS", [io, jo])
            for i, j in T.grid(4, 4):
                with T.block("C"):
                    vi, vj = T.axis.remap("SS", [i, j])
                    C[vio * 4 + vi, vjo * 4 + vj] = A[vio * 4 + vi, vjo * 4 + vj]
""",
}


def split_first(sch: Any, block: str, factor: int) -> Any:
    token = sch.get_block(block)
    sch.split(sch.get_loops(token)[0], [None, factor])
    return token


def producer_under_consumer(sch: Any) -> Any:
    i, _ = sch.get_loops(sch.get_block("C"))
    sch.compute_at(sch.get_block("D"), i)
    return sch.get_block("C")


CASES: list[tuple[str, Callable[[Any], Any]]] = [
    ("chain", lambda s: s.transform_layout("B", ("write", 0), lambda i, j: [i // 4, j // 4, i % 4, j % 4])),
    ("chain", lambda s: s.transform_layout("B", "B", lambda i, j: [j, i])),
    ("chain", lambda s: s.transform_layout("B", "A", lambda i, j: [i * 16 + j])),
    ("chain", lambda s: s.transform_layout("C", "B", lambda i, j: [i // 8, i % 8 // 2, j, i % 2])),
    ("matmul", lambda s: s.transform_layout("C", "W", lambda i, j: [j // 4, i, j % 4])),
    ("nested", lambda s: s.transform_layout("C_o", "A", lambda i, j: [i // 4, j // 4, i % 4, j % 4])),
    ("nested", lambda s: s.transform_layout("C_o", "A", lambda i, j: [i * 16 + j])),
    ("odd", lambda s: s.transform_layout("B", "B", lambda i, j: [i // 4, i % 4, j], pad_value=0.0)),
    ("odd", lambda s: s.transform_layout("B", "A", lambda i, j: [i // 4, i % 4, j], pad_value=0.0)),
    ("odd", lambda s: s.transform_layout("C", "C", lambda i, j: [i // 4, j // 4, i % 4, j % 4], pad_value=1.5)),
    ("odd", lambda s: s.transform_layout(split_first(s, "B", 4), "B", lambda i, j: [i // 4, i % 4, j], pad_value=1.0)),
    ("odd", lambda s: s.transform_layout("B", "B", lambda i, j: [i // 8, i % 8 // 2, i % 2, j], pad_value=1.0)),
    ("odd", lambda s: s.transform_layout("B", "B", lambda i, j: [i // 4, i % 4, j], assume_injective_transform=True)),
    ("chain", lambda s: s.transform_block_layout("B", lambda i, j: [i * 16 + j])),
    ("chain", lambda s: s.transform_block_layout("C", lambda i, j: [j, i // 4, i % 4])),
    ("chain", lambda s: s.transform_block_layout("B", lambda i, j: [i // 4, j // 4, i % 4, j % 4])),
    ("matmul", lambda s: s.transform_block_layout("C", lambda i, j, k: [j, k // 4, i, k % 4])),
    ("matmul", lambda s: s.transform_block_layout("C", lambda i, j, k: [i * 12 + j, k])),
    ("conv", lambda s: s.transform_block_layout("C", lambda n, i, f, k, c: [n * 16 + i, f, k * 3 + c])),
    ("conv", lambda s: s.transform_block_layout("C", lambda n, i, f, k, c: [n, i, f, k * 3 + c])),
    ("conv", lambda s: s.transform_block_layout("C", lambda n, i, f, k, c: [i, f, k, c])),
    ("matmul", lambda s: s.reindex("C", ("read", 0))),
    ("matmul", lambda s: s.reindex("C", "W")),
    ("matmul", lambda s: s.reindex("C", ("write", 0))),
    ("three", lambda s: s.reindex("C", ("read", 0))),
    ("three", lambda s: s.reindex("B", ("write", 0))),
    ("three", lambda s: s.reindex("D", ("read", 0))),
    ("conv", lambda s: s.reindex("C", ("read", 0))),
    ("conv", lambda s: s.reindex("C", ("write", 0))),
    ("matmul", lambda s: s.reindex_cache_read("C", 0, "shared", lambda i, j, k: [k, i])),
    ("matmul", lambda s: s.reindex_cache_read("C", 1, "local", lambda i, j, k: [k // 4, j, k % 4])),
    ("matmul", lambda s: s.reindex_cache_read("C", 0, "global", lambda i, j, k: [i * 8 + k])),
    ("three", lambda s: s.reindex_cache_read("C", 0, "shared", lambda i, j: [i, j])),
    ("three", lambda s: s.reindex_cache_read("D", 0, "shared", lambda i, j: [j, i])),
    ("three", lambda s: s.reindex_cache_read(producer_under_consumer(s), 1, "local", lambda i, j: [j, i])),
    ("conv", lambda s: s.reindex_cache_read("C", 0, "shared", lambda n, i, f, k, c: [i, n, k * 3 + c])),
    ("conv", lambda s: s.reindex_cache_read("C", 1, "shared", lambda n, i, f, k, c: [f, k, c])),
    ("matmul", lambda s: s.reindex_cache_write("C", 0, "shared", lambda i, j, k: [j, i // 2, i % 2])),
    ("matmul", lambda s: s.reindex_cache_write(split_first(s, "C", 4), 0, "local", lambda i, j, k: [j, i])),
    ("chain", lambda s: s.reindex_cache_write("B", 0, "local", lambda i, j: [i * 16 + j])),
    ("chain", lambda s: s.reindex_cache_write("C", 0, "local", lambda i, j: [j, i])),
    ("three", lambda s: s.reindex_cache_write("B", 0, "shared", lambda i, j: [j, i])),
    ("three", lambda s: s.reindex_cache_write("D", 0, "shared", lambda i, j: [i // 4, j, i % 4])),
    ("conv", lambda s: s.reindex_cache_write("C", 0, "global", lambda n, i, f, k, c: [i, f, n])),
    ("conv", lambda s: s.reindex_cache_write("C", 0, "global", lambda n, i, f, k, c: [n, i * 4 + f])),
    ("chain", lambda s: s.set_scope("B", 0, "shared")),
    ("chain", lambda s: s.set_scope("B", "B", "local")),
    ("chain", lambda s: s.set_scope("B", 0, "global")),
    ("three", lambda s: s.set_scope("D", 0, "shared.dyn")),
    ("three", lambda s: (s.set_scope("D", 0, "shared"), s.set_scope("D", 0, "local"))),
    ("three", lambda s: (s.set_scope("D", 0, "shared"), s.set_scope("B", 0, "shared"))),
    ("three", lambda s: s.set_scope("D", 0, "warp")),
    ("odd", lambda s: s.set_scope(split_first(s, "B", 4), 0, "shared")),
    ("chain", lambda s: s.storage_align("B", 0, axis=0, factor=32, offset=1)),
    ("chain", lambda s: s.storage_align("B", 0, axis=-2, factor=16, offset=8)),
    ("chain", lambda s: s.storage_align("B", 0, axis=1, factor=4, offset=0)),
    ("three", lambda s: [s.storage_align("B", 0, axis=a, factor=f, offset=1) for a, f in ((-2, 32), (0, 16), (1, 4))]),
    ("three", lambda s: [s.storage_align(b, 0, axis=0, factor=8, offset=4) for b in ("B", "D")]),
    ("odd", lambda s: s.storage_align(split_first(s, "B", 4), 0, axis=-1, factor=8, offset=0)),
    ("three", lambda s: (s.set_scope("B", 0, "shared"), s.storage_align("B", 0, axis=0, factor=32, offset=8))),
    ("three", lambda s: (s.storage_align("B", 0, 0, 32, 8), s.reindex("C", ("read", 1)))),
]  # fmt: skip


def normalised(program: Any) -> Any:
    """Index expressions simplified the same way on both sides, in the ranges of the variables."""

    def visit(node: Any, dom: Any) -> Any:
        inner = dom
        if isinstance(node, For):
            inner = {**dom, **loop_domain(node)}
        if isinstance(node, BlockRealize):
            inner = {**dom, **iterator_ranges(node.block.iter_vars)}
            new = map_children(lambda c: visit(c, inner if c is node.block else dom), node)
        else:
            new = map_children(lambda c: visit(c, inner), node)
        return simplify(new, dom) if isinstance(new, Expr) and new.dtype in ("int32", "int64", "bool") else new

    func = program["main"] if isinstance(program, IRModule) else program
    assert isinstance(func, PrimFunc)
    return visit(func, {}).without_attr("global_symbol")


def in_tvm(func: Any) -> Any:
    """TVM's schedule of one of our programs."""
    return tvm.s_tir.Schedule(tvm.script.from_source(IRModule({"main": func}).script(dialect="tirx")))


def assert_same(ours: Any, theirs: Any) -> None:
    parsed = from_source(theirs.mod.script())
    difference = first_difference(normalised(ours.mod), normalised(parsed))
    assert difference is None, f"{difference}\n{ours.mod.script()}\n{theirs.mod.script()}"


@pytest.mark.parametrize(("program", "act"), CASES, ids=[f"{n}-{p}" for n, (p, _) in enumerate(CASES)])
def test_same_trace_and_same_program(program: str, act: Callable[[Any], Any]) -> None:
    ours = Schedule(from_source(PROGRAMS[program]))
    act(ours)
    theirs = in_tvm(from_source(PROGRAMS[program]))
    act(OldNames(theirs))
    assert ours.trace.as_python(dialect="tirx") == list(theirs.trace.as_python())
    assert_same(ours, theirs)
    rows = json.loads(json.dumps(theirs.trace.as_json(), default=lambda imm: getattr(imm, "value", None)))
    again = Schedule(from_source(PROGRAMS[program]))
    Trace.apply_json_to_schedule(rows, again)
    assert again.mod.script() == ours.mod.script()
    back = in_tvm(from_source(PROGRAMS[program]))
    tvm.s_tir.schedule.Trace.apply_json_to_schedule(ours.trace.as_json(dialect="tirx"), back)
    assert_same(ours, back)


ACCEPTED = 8
"""How many of the random calls below both sides accept, at the least."""


def choose(rng: random.Random, options: Any, weights: Any = None) -> Any:
    return rng.choice(list(options))


def test_random_calls_give_the_same_program() -> None:
    """Where both accept a random call, the programs are the same; ours may refuse, and TVM may not know a map."""
    same = 0
    for seed in range(20):
        rng = random.Random(seed)
        func = from_source(in_tvm(draw_program(rng.choice, max_blocks=2, dtypes=("float32",))).mod.script())["main"]
        name = rng.choice(["transform_layout", "transform_block_layout", "reindex", "reindex_cache_read",
                           "reindex_cache_write"])  # fmt: skip
        drawn = TABLE[name].arguments(partial(choose, rng), func)
        if drawn is None or drawn.get("pad_value") is not None:
            continue
        label = next(r.block.name for token, r in index(func).blocks.items() if token is drawn["block"])
        given = {**drawn, "block": label}
        ours, theirs = Schedule(func), in_tvm(func)
        if "index_map" in given:
            text = given["index_map"].as_lambda()
            given["index_map"] = eval(text)  # TVM takes a function
        try:
            getattr(ours, name)(**given)
            getattr(theirs, name)(**given)
        except (ScheduleError, RuntimeError, TypeError):
            continue
        assert_same(ours, theirs)
        same += 1
    assert same >= ACCEPTED
