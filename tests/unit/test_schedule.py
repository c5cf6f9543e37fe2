"""The schedule itself: methods from records, traces in text and JSON, replay, copies, sampling."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import mlcref.schedule.schedule
from mlcref.errors import ScheduleError
from mlcref.ir import IRModule, structural_equal
from mlcref.schedule import TABLE, BlockRV, LoopRV, Schedule, Trace
from mlcref.schedule.choices import perfect_tiles
from mlcref.schedule.stub import stub_text
from mlcref.script import tir as T


@T.prim_func
def matmul(A: T.Buffer((128, 128), "float32"), B: T.Buffer((128, 128), "float32"), C: T.Buffer((128, 128), "float32")):
    T.func_attr({"global_symbol": "main", "tir.noalias": True})
    for i, j, k in T.grid(128, 128, 128):
        with T.block("C"):
            vi, vj, vk = T.axis.remap("SSR", [i, j, k])
            with T.init():
                C[vi, vj] = T.float32(0)
            C[vi, vj] = C[vi, vj] + A[vi, vk] * B[vk, vj]


def stochastic(sch: Schedule) -> Schedule:
    block = sch.get_block("C", "main")
    i, j, k = sch.get_loops(block=block)
    factors = sch.sample_perfect_tile(loop=j, n=2)
    j_0, j_1 = sch.split(loop=j, factors=factors)
    sch.reorder(i, j_0, k, j_1)
    step = sch.sample_categorical([0, 16, 64], [0.2, 0.3, 0.5])
    sch.annotate(i, "pragma_auto_unroll_max_step", step)
    sch.parallel(i)
    return sch


def test_every_record_has_a_method_with_its_doc() -> None:
    for name, record in TABLE.items():
        assert getattr(Schedule, name).__doc__ == record.doc
        assert "Source: TVM" in record.doc


def test_the_stub_is_what_the_table_says() -> None:
    path = Path(mlcref.schedule.schedule.__file__).with_suffix(".pyi")
    assert path.read_text(encoding="utf-8") == stub_text(), "run python -m mlcref.schedule.stub"


def test_a_prim_func_becomes_main() -> None:
    assert list(Schedule(matmul).mod.functions) == ["main"]


def test_trace_text_is_tvms() -> None:
    sch = Schedule(matmul)
    block = sch.get_block("C", "main")
    i, j, k = sch.get_loops(block=block)
    j_0, j_1 = sch.split(loop=j, factors=[None, 4])
    sch.reorder(i, j_0, k, j_1)
    assert str(sch.trace) == (
        "# from tvm import tir\n"
        "def apply_schedule(sch: tir.Schedule) -> None:\n"
        '  b0 = sch.get_block(name="C", func_name="main")\n'
        "  l1, l2, l3 = sch.get_loops(block=b0)\n"
        "  l4, l5 = sch.split(loop=l2, factors=[None, 4], preserve_unit_iters=True, disable_predication=False)\n"
        "  sch.reorder(l1, l4, l3, l5)"
    )


def test_trace_json_is_tvms() -> None:
    sch = Schedule(matmul)
    (i, j, _) = sch.get_loops(sch.get_block("C"))
    tile = sch.sample_perfect_tile(i, n=2, decision=[16, 8])
    sch.split(i, tile)
    sch.reorder(j)
    insts, decisions = sch.trace.as_json()
    assert insts == [
        ["GetBlock", [], ["C", "main"], ["b0"]],
        ["GetLoops", ["b0"], [], ["l1", "l2", "l3"]],
        ["SamplePerfectTile", ["l1"], [2, 16], ["v4", "v5"]],
        ["Split", ["l1", "v4", "v5"], [True, False], ["l6", "l7"]],
        ["Reorder", ["l2"], [], []],
    ]
    assert decisions == [[2, [16, 8]]]


def test_replay_in_both_forms_gives_the_same_program() -> None:
    sch = stochastic(Schedule(matmul, seed=3))
    again = Schedule(matmul)
    sch.trace.apply_to_schedule(again)
    assert structural_equal(again.mod, sch.mod)
    assert str(again.trace) == str(sch.trace)
    from_json = Schedule(matmul)
    Trace.apply_json_to_schedule(json.loads(json.dumps(sch.trace.as_json())), from_json)
    assert structural_equal(from_json.mod, sch.mod)
    assert from_json.trace.as_json() == sch.trace.as_json()


def test_the_printed_trace_is_python_that_runs() -> None:
    sch = stochastic(Schedule(matmul, seed=5))
    again = Schedule(matmul)
    space: dict[str, object] = {"tir": type("tir", (), {"Schedule": Schedule})}
    exec(str(sch.trace), space)
    space["apply_schedule"](again)  # type: ignore[operator]
    assert structural_equal(again.mod, sch.mod)


def test_with_decision_changes_one_choice() -> None:
    sch = stochastic(Schedule(matmul, seed=1))
    inst = next(i for i in sch.trace.insts if i.name == "sample_perfect_tile")
    changed = Schedule(matmul)
    sch.trace.with_decision(inst, [32, 4]).apply_to_schedule(changed)
    assert changed.trace.get_decision(changed.trace.insts[2]) == [32, 4]
    assert "T.grid(32, 128, 4)" in changed.mod.script()
    assert len(changed.trace) == len(sch.trace)


def test_the_same_seed_makes_the_same_choices() -> None:
    traces = [str(stochastic(Schedule(matmul, seed=s)).trace) for s in (7, 7, *range(8))]
    assert traces[0] == traces[1]
    assert len(set(traces)) > 3


def test_copies_are_independent_and_share_handles() -> None:
    sch = Schedule(matmul)
    i, _, _ = sch.get_loops("C")
    other = sch.copy()
    other.parallel(i)
    assert "T.parallel" not in sch.mod.script()
    assert "T.parallel" in other.mod.script()
    sch.split(i, [None, 4])


def test_queries() -> None:
    sch = Schedule(matmul)
    block = sch.get_block("C")
    root = sch.get_block("root")
    (child,) = sch.get_child_blocks(root)
    assert sch.get(child) is sch.get(block)
    assert sch.get_producers(block) == [] == sch.get_consumers(block)
    assert sch.get(sch.get_output_blocks(root)[0]) is sch.get(block)
    assert isinstance(block, BlockRV)
    assert all(isinstance(loop, LoopRV) for loop in sch.get_loops(block))
    assert sch.get(sch.get_loops(block)[0]).loop_var.name == "i"


def test_sampled_numbers_take_part_in_arithmetic() -> None:
    sch = Schedule(matmul)
    i, _, _ = sch.get_loops("C")
    _, inner = sch.sample_perfect_tile(i, n=2, decision=[32, 4])
    assert sch.get(inner * 2) == 8
    sch.split(i, [None, inner * 2])
    again = Schedule(matmul)
    sch.trace.apply_to_schedule(again)
    assert structural_equal(again.mod, sch.mod)


@pytest.mark.parametrize(("extent", "n", "limit"), [(12, 2, -1), (128, 3, 16), (7, 2, 4), (1, 3, 1)])
def test_perfect_tiles_are_all_the_factorisations(extent: int, n: int, limit: int) -> None:
    divisors = [d for d in range(1, extent + 1) if extent % d == 0]
    tiles: list[tuple[int, ...]] = [()]
    for _ in range(n):
        tiles = [(*t, d) for t in tiles for d in divisors]
    wanted = {t for t in tiles if _product(t) == extent and (limit < 0 or t[-1] <= limit)}
    assert set(perfect_tiles(extent, n, limit)) == wanted
    assert len(perfect_tiles(extent, n, limit)) == len(wanted)


def _product(factors: tuple[int, ...]) -> int:
    result = 1
    for factor in factors:
        result *= factor
    return result


def test_several_functions() -> None:
    sch = Schedule(IRModule({"f": matmul, "g": matmul}))
    with pytest.raises(ScheduleError, match=r"several functions.*get_block\.P2"):
        sch.get_block("C")
    f, g = sch.get_loops(sch.get_block("C", "f")), sch.get_loops(sch.get_block("C", func_name="g"))
    sch.parallel(g[0])
    assert "parallel" in sch.mod["g"].script()
    assert "parallel" not in sch.mod["f"].script()
    with pytest.raises(ScheduleError, match="of 2 functions"):
        sch.reorder(f[0], g[1])
    sch.work_on("f")
    assert sch.get(sch.get_block("C")) is sch.mod["f"].root.body.body.body.body.block


def test_split_that_does_not_divide_gets_a_predicate() -> None:
    sch = Schedule(matmul)
    i, _, _ = sch.get_loops("C")
    sch.split(i, factors=[None, 48])
    text = sch.mod.script()
    assert "T.where(i_0 * 48 + i_1 < 128)" in text
    assert "vi = T.axis.spatial(128, i_0 * 48 + i_1)" in text


def test_fuse_binds_by_quotient_and_remainder() -> None:
    sch = Schedule(matmul)
    i, j, _ = sch.get_loops("C")
    sch.fuse(i, j)
    text = sch.mod.script()
    assert "vi = T.axis.spatial(128, i_j_fused // 128)" in text
    assert "vj = T.axis.spatial(128, i_j_fused % 128)" in text


def test_fused_loops_of_one_kind_keep_it() -> None:
    sch = Schedule(matmul)
    i, j, _ = sch.get_loops("C")
    sch.parallel(i)
    sch.parallel(j)
    fused = sch.fuse(i, j)
    assert sch.get(fused).kind == "parallel"  # type: ignore[union-attr]
    assert sch.get(sch.fuse(fused)).kind == "parallel"  # type: ignore[union-attr]


def test_a_refused_call_by_name_leaves_no_instruction() -> None:
    sch = Schedule(matmul)
    with pytest.raises(ScheduleError, match=r"compute_inline\.P2"):
        sch.compute_inline("C")
    assert len(sch.trace) == 0
