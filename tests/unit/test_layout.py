"""Index maps, layouts of parameters, traces with maps, and hints on storage."""

from __future__ import annotations

import random
from contextlib import suppress
from functools import partial
from typing import Any

import numpy as np
import pytest

import mlcref
from mlcref.errors import MlcrefError, ScheduleError
from mlcref.interp import interpret
from mlcref.ir import Const, PrimFunc, index
from mlcref.lower import lower
from mlcref.schedule import TABLE, Schedule, Trace
from mlcref.schedule.map_json import map_from_json
from mlcref.schedule.maps import draw_map, pad_map
from mlcref.script import from_source
from mlcref.script import tir as T
from mlcref.tir import IndexMap
from mlcref.verify import check_equivalent, in_old_layout
from mlcref.verify.generate import program


@T.prim_func
def chain(A: T.Buffer((14, 8), "float32"), C: T.Buffer((14, 8), "float32")):
    B = T.alloc_buffer((14, 8), "float32")
    for i, j in T.grid(14, 8):
        with T.block("B"):
            vi, vj = T.axis.remap("SS", [i, j])
            B[vi, vj] = A[vi, vj] * T.float32(2)
    for i, j in T.grid(14, 8):
        with T.block("C"):
            vi, vj = T.axis.remap("SS", [i, j])
            C[vi, vj] = B[vi, vj] + T.float32(1)


@T.prim_func
def reversed_row(A: T.Buffer((12,), "float32"), C: T.Buffer((12,), "float32")):
    for i in range(12):
        with T.block("C"):
            vi = T.axis.spatial(12, i)
            C[vi] = A[11 - vi]


@T.prim_func
def symbolic(a: T.handle, c: T.handle):
    n = T.int64()
    A = T.match_buffer(a, (n, 4), "float32")
    C = T.match_buffer(c, (n, 4), "float32")
    B = T.alloc_buffer((n, 4), "float32")
    for i, j in T.grid(n, T.int64(4)):
        with T.block("B"):
            vi, vj = T.axis.remap("SS", [i, j])
            B[vi, vj] = A[vi, vj] + T.float32(1)
    for i, j in T.grid(n, T.int64(4)):
        with T.block("C"):
            vi, vj = T.axis.remap("SS", [i, j])
            C[vi, vj] = B[vi, vj]


def choose(rng: random.Random, options: Any, weights: Any = None) -> Any:
    return rng.choice(list(options))


def block_of(sch: Schedule, name: str) -> str:
    return repr(sch.get(sch.get_block(name)).body)


# ---- index maps


def test_from_func_takes_variadic_and_keyword_indices() -> None:
    assert IndexMap.from_func(lambda *x: x[::-1], 3, index_dtype="int32").as_lambda() == (
        "lambda x_0, x_1, x_2: (x_2, x_1, x_0,)"
    )
    assert IndexMap.from_func(lambda i, *, k: [k, i, 0], index_dtype="int32").as_lambda() == "lambda i, k: (k, i, 0,)"
    assert IndexMap.from_func(lambda i: i // 2, index_dtype="int32").as_lambda() == "lambda i: (i // 2,)"


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: IndexMap.from_func(lambda *x: x), "needs ndim"),
        (lambda: IndexMap.from_func(lambda i: ["i"]), "not str"),
        (lambda: IndexMap.from_func(lambda i, **k: [i]), "no \\*\\*keywords"),
        (lambda: IndexMap.from_func(lambda i: [i, IndexMap.AXIS_SEPARATOR, i]), "axis separators"),
        (lambda: IndexMap.from_func(lambda i: [i - 1]).map_shape([4]), "may be negative"),
        (lambda: IndexMap.from_func(lambda i: [i]).map_indices([1, 2]), "takes 1 indices, not 2"),
        (lambda: IndexMap.from_func(lambda i: [i // 4, i % 4]).inverse([14]), "leaves elements out"),
        (lambda: IndexMap.from_func(lambda i: [i % 4]).inverse([14]), "no one-to-one affine map"),
        (lambda: map_from_json('{"nodes": []}'), "no index map in JSON form"),
    ],
)
def test_what_is_no_map_is_refused(make: Any, text: str) -> None:
    with pytest.raises(MlcrefError, match=text):
        make()


def test_separators_are_given_apart() -> None:
    index_map, separators = IndexMap.from_func_with_separators(lambda i, j: [i, IndexMap.AXIS_SEPARATOR, j])
    assert separators == [1]
    assert len(index_map.final_indices) == 2


def test_equivalent_maps() -> None:
    a = IndexMap.from_func(lambda i, j: (i * 4 + j) // 4 * 4 + j % 4, index_dtype="int32")
    assert a.is_equivalent_to(IndexMap.from_func(lambda i, j: i * 4 + j, index_dtype="int32"))
    assert not a.is_equivalent_to(IndexMap.from_func(lambda i, j: i * 4 + j % 4))
    assert not a.is_equivalent_to(IndexMap.from_func(lambda i: i))
    b = IndexMap.from_func(lambda x, y: (x * 8 + y * 4) // 4)
    assert b.is_equivalent_to(IndexMap.from_func(lambda i, j: 2 * i + j))


def test_inverse_given_by_the_caller() -> None:
    skewed = IndexMap.from_func(lambda i, j: (i, (i + j) % 4), inverse_index_map=lambda i, j: (i, (j - i) % 4))
    assert skewed.inverse([4, 4]).as_lambda().startswith("lambda i, j: (i, (j - i) %")


# ---- transform_layout


def test_reversed_access_is_right_where_tvm_is_not() -> None:
    sch = Schedule(reversed_row)  # TVM: A[vi // -2 + 5, vi % -2 * -1], where vi = 11 gives A[-1, 1]
    sch.transform_layout("C", "A", lambda i: (i // 2, i % 2))
    halves = IndexMap.from_func(lambda i: (i // 2, i % 2))
    after = in_old_layout(sch.mod["main"], "A", [12], halves)
    assert check_equivalent(reversed_row, after).status == "TESTED"


def test_maps_that_lose_elements_are_refused_where_tvm_takes_them() -> None:
    sch = Schedule(chain)
    with pytest.raises(ScheduleError, match="one to one"):
        sch.transform_layout("B", "B", lambda i, j: (i % 8 // 2, j), pad_value=0.0)


def test_any_one_to_one_map_of_a_small_shape_is_taken() -> None:
    sch = Schedule(chain)
    sch.transform_layout("B", "B", lambda i, j: (i, (i + j) % 8))
    assert block_of(sch, "C") == "C[vi, vj] = B[vi, (vi + vj) % 8] + T.float32(1.0)"
    assert check_equivalent(chain, sch.mod["main"]).status == "TESTED"


def test_symbolic_shapes_move() -> None:
    sch = Schedule(symbolic)
    sch.transform_layout("B", "B", lambda i, j: (j, i))
    assert block_of(sch, "B") == "B[vj, vi] = A[vi, vj] + T.float32(1.0)"
    assert check_equivalent(symbolic, sch.mod["main"]).status == "TESTED"
    sch.transform_block_layout("C", lambda i, j: (j % 2, i, j // 2))
    assert block_of(sch, "C") == "C[v1, v2 * T.int64(2) + v0] = B[v2 * T.int64(2) + v0, v1]"
    assert check_equivalent(symbolic, sch.mod["main"]).status == "TESTED"
    sch.transform_layout("B", "A", lambda i, j: (j // 2, i, j % 2))
    assert block_of(sch, "B") == "B[vj, vi] = A[vj // T.int64(2), vi, vj % T.int64(2)] + T.float32(1.0)"
    with pytest.raises(ScheduleError, match="no known bound"):
        sch.transform_layout("C", "C", lambda i, j: (i // 4, j, i % 4), pad_value=0.0)


@pytest.mark.parametrize("pad_value", [None, 0, 2.5])
def test_layouts_of_parameters_keep_the_meaning(pad_value: Any) -> None:
    """Random maps on every parameter, checked in the old layout, padding included."""
    done = 0
    for seed in range(40):
        rng = random.Random(seed)
        func = program(rng.choice, max_blocks=2, dtypes=("float32",))
        buffer = rng.choice(func.buffers)
        mapped = draw_map(partial(choose, rng), buffer.ndim)
        sites = [(token, (kind, n)) for token, r in index(func).blocks.items()
                 for kind, regions in (("read", r.block.reads), ("write", r.block.writes))
                 for n, region in enumerate(regions) if region.buffer is buffer]  # fmt: skip
        layout = TABLE["transform_layout"]
        try:
            facts = layout.plan(func, sites[0][0], sites[0][1], mapped, pad_value)
        except ScheduleError:
            continue
        after: PrimFunc = layout.build(func, facts)[0]
        shape = [int(n.value) for n in buffer.shape if isinstance(n, Const)]
        pads = None if facts.padding is None else pad_map(pad_value, facts.new.ndim, buffer.type, "int32")
        verdict = check_equivalent(func, in_old_layout(after, buffer.name, shape, mapped, pads))
        assert verdict.status == "TESTED", f"{func}\n{after}\n{verdict}"
        done += 1
    assert done > 10


def test_wrong_padding_is_found() -> None:
    sch = Schedule(chain)
    sch.transform_layout("C", "C", lambda i, j: (i // 4, i % 4, j), pad_value=1.0)
    quads = IndexMap.from_func(lambda i, j: (i // 4, i % 4, j))
    ones, zeros = (pad_map(value, 3, "float32", "int32") for value in (1.0, 0.0))
    good = in_old_layout(sch.mod["main"], "C", [14, 8], quads, ones)
    assert check_equivalent(chain, good).status == "TESTED"
    assert check_equivalent(chain, in_old_layout(sch.mod["main"], "C", [14, 8], quads, zeros)).status == "REFUTED"


def test_in_old_layout_needs_the_parameter() -> None:
    with pytest.raises(MlcrefError, match="no buffer parameter 'X'"):
        in_old_layout(chain, "X", [14, 8], IndexMap.from_func(lambda i, j: (j, i)))


# ---- reindex


@T.prim_func
def in_one_loop(A: T.Buffer((8, 4), "float32"), C: T.Buffer((8, 4), "float32")):
    B = T.alloc_buffer((8, 4), "float32")
    for i in range(8):
        for j in range(4):
            with T.block("B"):
                vi, vj = T.axis.remap("SS", [i, j])
                B[vi, vj] = A[vi, vj]
        for j in range(4):
            with T.block("C"):
                vi, vj = T.axis.remap("SS", [i, j])
                C[vi, vj] = B[vi, 3 - vj]


@T.prim_func
def two_writers(A: T.Buffer((8,), "float32"), B: T.Buffer((4,), "float32"), C: T.Buffer((8,), "float32")):
    for i in range(8):
        with T.block("C"):
            vi = T.axis.spatial(8, i)
            C[vi] = A[vi]
    for i in range(4):
        with T.block("D"):
            vi = T.axis.spatial(4, i)
            C[vi + 2] = B[vi]


@T.prim_func
def rows(A: T.Buffer((6, 10), "float32"), C: T.Buffer((6,), "float32")):
    for i, k_0, k_1 in T.grid(6, 4, 3):
        with T.block("C"):
            vi = T.axis.spatial(6, i)
            vk = T.axis.reduce(10, k_0 * 3 + k_1)
            T.where(k_0 * 3 + k_1 < 10)
            with T.init():
                C[vi] = T.float32(0)
            C[vi] = C[vi] + A[vi, vk]


@pytest.mark.parametrize(
    ("func", "act"),
    [
        (in_one_loop, lambda s: s.reindex("C", ("read", 0))),
        (in_one_loop, lambda s: s.reindex("B", ("write", 0))),
        (in_one_loop, lambda s: s.reindex_cache_read("C", 0, "local", lambda i, j: (j, i))),
        (in_one_loop, lambda s: s.reindex_cache_write("B", 0, "local", lambda i, j: (j // 2, i, j % 2))),
        (two_writers, lambda s: s.reindex_cache_write("C", 0, "local", lambda i: (i // 2, i % 2))),
        (two_writers, lambda s: s.reindex("D", ("write", 0))),
        (rows, lambda s: s.reindex_cache_write("C", 0, "local", lambda i, k: (5 - i,))),
        (rows, lambda s: s.reindex_cache_read("C", 0, "shared", lambda i, k: (k * 6 + i,))),
    ],
)
def test_copies_stand_next_to_the_block(func: PrimFunc, act: Any) -> None:
    """TVM puts these copies outside of loops that go on writing, or after other writers, or refuses."""
    sch = Schedule(func)
    act(sch)
    assert check_equivalent(func, sch.mod["main"]).status == "TESTED"


# ---- traces


def scheduled() -> Schedule:
    sch = Schedule(chain)
    sch.transform_layout("B", "B", lambda i, j: (i // 4, i % 4, j), pad_value=lambda i, j, k: T.float32(0))
    sch.transform_block_layout("C", lambda i, j: (j, i))
    sch.reindex_cache_read("C", 0, "local", lambda i, j: (j * 8 + i,))
    sch.reindex("C", ("write", 0))
    sch.set_scope("B", "B", "shared")
    sch.storage_align("B", 0, axis=-1, factor=32, offset=1)
    return sch


def test_traces_with_maps_come_back_from_text_and_json() -> None:
    sch = scheduled()
    assert [line.partition("sch.")[2].partition("(")[0] for line in sch.trace.as_python()][1::2] == [
        "transform_layout", "transform_block_layout", "reindex_cache_read", "reindex", "set_scope", "storage_align",
    ]  # fmt: skip
    assert check_equivalent(chain, sch.mod["main"]).status == "TESTED"
    for trace in (Trace.from_python(str(sch.trace)), Trace.from_json(sch.trace.to_json())):
        again = Schedule(chain)
        trace.apply_to_schedule(again)
        assert again.mod.script() == sch.mod.script()
        assert again.trace.as_python() == sch.trace.as_python()


@pytest.mark.parametrize("text", ["lambda i: (open(i),)", "lambda i=1: (i,)", "lambda i, i2: (i.x,)", "lambda i: (j,)"])
def test_lambdas_that_are_no_maps_are_refused(text: str) -> None:
    lines = f'b0 = sch.get_block(name="B")\nsch.transform_layout(block=b0, buffer=("write", 0), index_map={text})'
    with pytest.raises(ScheduleError, match=r"no part of an index map|no trace in Python form"):
        Trace.from_python(lines)


# ---- storage


def test_set_scope_to_its_own_scope_changes_nothing() -> None:
    sch = Schedule(chain)
    before = sch.mod["main"]
    sch.set_scope("B", 0, "global")
    assert sch.mod["main"] is before


def test_alignments_are_replaced_by_axis() -> None:
    sch = Schedule(chain)
    for axis, factor, offset in ((0, 32, 1), (1, 4, 0), (-2, 16, 8)):
        sch.storage_align("B", 0, axis, factor, offset)
    assert sch.get(sch.get_block("B")).annotations["buffer_dim_align"] == [[0, 0, 16, 8], [0, 1, 4, 0]]


def test_aligned_storage_computes_the_same() -> None:
    sch = Schedule(chain)
    sch.storage_align("B", 0, axis=0, factor=32, offset=1)
    sch.set_scope("B", 0, "shared")
    a = np.arange(14 * 8, dtype="float32").reshape(14, 8)
    for func in (sch.mod["main"], lower(sch.mod["main"])):
        c = np.zeros_like(a)
        interpret(func, a, c)
        np.testing.assert_array_equal(c, a * 2 + 1)
    c = np.zeros_like(a)
    mlcref.build(sch.mod)["main"](a, c)
    np.testing.assert_array_equal(c, a * 2 + 1)


def test_digits_of_a_sum_that_does_not_start_at_zero() -> None:
    """`1 - -i // 2` runs from 1 on, so that its thirds are no digits of it; the padding was that of a sum from 0."""
    before = from_source("""
@T.prim_func
def main(A: T.Buffer((33,), "int32"), C: T.Buffer((33,), "int32")):
    B = T.alloc_buffer((33,), "int32")
    for i in range(33):
        with T.block("B"):
            vi = T.axis.spatial(33, i)
            B[vi] = A[vi]
    for i in range(33):
        with T.block("C"):
            vi = T.axis.spatial(33, i)
            C[vi] = B[vi] + 2
""")
    for n in (1, 2, 16):
        sch, halves = Schedule(before), IndexMap.from_func(partial(falling_halves, n))
        with suppress(ScheduleError):
            sch.transform_layout(sch.get_block("C"), ("read", 0), halves, pad_value=5)
        verdict = check_equivalent(before, sch.mod["main"])
        assert verdict, str(verdict)


def falling_halves(n: int, i: Any) -> tuple[Any, ...]:
    half = n - i * -1 // 2
    return half // 3, half % 3, i * -1 % 2
