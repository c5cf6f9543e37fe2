"""Traces of TVM here, and ours there: text, JSON, decisions and simplification, of instructions that both know."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from mlcref.ir import IRModule, structural_equal
from mlcref.schedule import Schedule, Trace
from mlcref.script import from_source

tvm = pytest.importorskip("tvm", reason="compares with Apache TVM, which is not installed", exc_type=ImportError)

PROGRAM = """
@T.prim_func
def main(A: T.Buffer((16, 16), "float32"), B: T.Buffer((16, 16), "float32"), C: T.Buffer((16, 16), "float32")):
    Y = T.alloc_buffer((16, 16), dtype="float32")
    for i, j, k in T.grid(16, 16, 16):
        with T.block("Y"):
            vi, vj, vk = T.axis.remap("SSR", [i, j, k])
            with T.init():
                Y[vi, vj] = T.float32(0)
            Y[vi, vj] = Y[vi, vj] + A[vi, vk] * B[vk, vj]
    for i, j in T.grid(16, 16):
        with T.block("C"):
            vi, vj = T.axis.remap("SS", [i, j])
            C[vi, vj] = T.max(Y[vi, vj], T.float32(0))
"""


def theirs() -> Any:
    text = IRModule({"main": from_source(PROGRAM)}).script(dialect="tirx")
    return tvm.s_tir.Schedule(tvm.script.from_source(text))


def form(trace: Any) -> Any:
    """A trace of TVM in JSON form, with Python's numbers."""
    return json.loads(json.dumps(trace.as_json(), default=lambda number: number.value))


# Each gets a schedule of TVM, or one of ours behind TVM's names.


def queries(sch: Any) -> None:
    root = sch.get_sblock("root")
    sch.get_child_blocks(root)
    y = sch.get_sblock("Y", "main")
    sch.get_producers(sch.get_sblock("C"))
    sch.get_consumers(y)
    sch.get_output_blocks(root)
    sch.get_child_blocks(sch.get_loops(y)[0])
    sch.enter_postproc()


def samples(sch: Any) -> None:
    y = sch.get_sblock("Y")
    i, j, k = sch.get_loops(y)
    step = sch.sample_categorical([1, 2, 4], [0.5, 0.25, 0.25], decision=1)
    a, b, c = sch.sample_perfect_tile(i, n=3, decision=[2, 2, 4])
    sch.sample_partitioned_tile(j, n=3, partition_pos=1, innerpart_factor=4, decision=[2, 4, 2])
    sch.sample_partitioned_tile(k, n=2, partition_pos=1, innerpart_factor=3)
    sch.sample_perfect_tile(k, n=2, max_innermost_factor=4, decision=[5, 3])
    sch.split(i, [a, None, c])
    sch.split(j, [None, step, 2], preserve_unit_iters=False)
    sch.annotate(y, "sampled", b)


def places(sch: Any) -> None:
    y, c = sch.get_sblock("Y"), sch.get_sblock("C")
    sch.compute_at(y, sch.sample_compute_location(y, decision=-1))
    sch.compute_at(y, sch.sample_compute_location(y, decision=0), preserve_unit_loops=True)
    sch.sample_compute_location(y, decision=9)
    sch.sample_compute_location(c, decision=-2)


def inlined(sch: Any) -> None:
    c = sch.get_sblock("C")
    copy = sch.cache_write(c, 0, "global")
    sch.compute_at(c, sch.sample_compute_location(c, decision=-2))
    sch.get_loops(copy)


def annotations(sch: Any) -> None:
    y = sch.get_sblock("Y")
    i, _, _ = sch.get_loops(y)
    sch.annotate(y, "text", "hello")
    sch.annotate(y, "list", [1, "two", 3.5])
    sch.annotate(y, "mapping", {"a": 1, "b": [2, 3]})
    sch.annotate(i, "number", 1.5)
    sch.annotate(i, "more", 3)
    sch.unannotate(i, "more")


def moves(sch: Any) -> None:
    y, c = sch.get_sblock("Y"), sch.get_sblock("C")
    i, j, k = sch.get_loops(y)
    i_0, i_1 = sch.split(i, [None, 4])
    sch.reorder(i_0, j, i_1, k)
    sch.reverse_compute_at(c, i_0)
    copy = sch.cache_read(y, 0, "global", consumer_blocks=[y])
    sch.compute_at(copy, j, index=0)
    sch.parallel(i_0)
    sch.unroll(i_1)
    sch.decompose_reduction(y, k)


def vectors(sch: Any) -> None:
    i, j = sch.get_loops(sch.get_sblock("C"))
    lanes = sch.split(sch.fuse(i, j), [None, 8])
    sch.vectorize(lanes[1])
    i, j, _ = sch.get_loops(sch.get_sblock("Y"))
    sch.bind(i, "blockIdx.x")
    sch.bind(j, "threadIdx.x")


ACTS: list[Callable[[Any], None]] = [queries, samples, places, inlined, annotations, moves, vectors]
each = pytest.mark.parametrize("act", ACTS, ids=lambda act: act.__name__)


@each
def test_the_same_calls_make_the_same_trace(act: Callable[[Any], None]) -> None:
    ours, peer = Schedule(from_source(PROGRAM)), theirs()
    act(ours)
    act(peer)
    assert ours.trace.script(dialect="tirx") == str(peer.trace)
    assert ours.trace.as_json(dialect="tirx") == form(peer.trace)


@each
def test_both_forms_are_read_and_replayed(act: Callable[[Any], None]) -> None:
    peer = theirs()
    act(peer)
    text, json_form = Trace.from_python(str(peer.trace)), Trace.from_json(form(peer.trace))
    assert str(text) == str(json_form)
    assert text.as_json() == json_form.as_json()
    assert text.as_json(dialect="tirx") == form(peer.trace)
    replayed = [Schedule(from_source(PROGRAM)) for _ in range(2)]
    text.apply_to_schedule(replayed[0])
    Trace.apply_json_to_schedule(form(peer.trace), replayed[1])
    assert structural_equal(replayed[0].mod, replayed[1].mod)
    assert replayed[0].trace.script(dialect="tirx") == str(peer.trace)


@each
def test_tvm_replays_our_json(act: Callable[[Any], None]) -> None:
    ours, peer, again = Schedule(from_source(PROGRAM)), theirs(), theirs()
    act(ours)
    act(peer)
    tvm.s_tir.schedule.Trace.apply_json_to_schedule(ours.trace.as_json(dialect="tirx"), again)
    tvm.ir.assert_structural_equal(again.mod, peer.mod)
    assert str(again.trace) == str(peer.trace)


@each
def test_both_drop_the_same_instructions(act: Callable[[Any], None]) -> None:
    ours, peer = Schedule(from_source(PROGRAM)), theirs()
    act(ours)
    act(peer)
    if act is samples:
        assert "sample_categorical" in str(ours.trace.simplified())
    for remove_postproc in (True, False):
        mine = ours.trace.simplified(remove_postproc).as_python(dialect="tirx")
        assert mine == list(peer.trace.simplified(remove_postproc).as_python())
        assert ours.trace.as_python(remove_postproc, dialect="tirx") == list(peer.trace.as_python(remove_postproc))
        assert ours.trace.as_json(remove_postproc, dialect="tirx")[0] == [
            [kind, *rest] for kind, *rest in json.loads(json.dumps(
                peer.trace.as_json(remove_postproc), default=lambda number: number.value))[0]
        ]  # fmt: skip


def test_another_decision() -> None:
    ours, peer = Schedule(from_source(PROGRAM)), theirs()
    samples(ours)
    samples(peer)
    position = 3
    mine = ours.trace.with_decision(ours.trace.insts[position], [4, 2, 2], remove_postproc=False)
    other = peer.trace.with_decision(peer.trace.insts[position], [4, 2, 2], remove_postproc=False)
    assert mine.as_python(dialect="tirx") == list(other.as_python())
    assert [i.kind.name.replace("GetBlock", "GetSBlock") for i in mine.insts] == [i.kind.name for i in other.insts]
    assert [i.kind.is_pure for i in mine.insts] == [bool(i.kind.is_pure) for i in other.insts]


def test_providers_see_the_same_decisions() -> None:
    seen: tuple[list[Any], list[Any]] = ([], [])

    def provider(into: list[Any]) -> Callable[..., Any]:
        def decide(inst: Any, inputs: Any, attrs: Any, decision: Any) -> Any:
            into.append((str(inst.kind.name).replace("SBlock", "Block"), len(inputs), len(attrs), decision is None))
            return decision

        return decide

    ours, peer = Schedule(from_source(PROGRAM)), theirs()
    samples(ours)
    samples(peer)
    ours.trace.apply_to_schedule(Schedule(from_source(PROGRAM)), False, provider(seen[0]))
    peer.trace.apply_to_schedule(theirs(), False, provider(seen[1]))
    assert seen[0] == seen[1]
