"""Schedules of tensor expressions: what they make of loops, places, caches and marks, and what lowering shows."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import mlcref as tvm
from mlcref import te
from mlcref.ir import For, PrimFunc, blocks_in, walk
from mlcref.script import from_source
from mlcref.verify import check_equivalent


def expressions(n: int = 8) -> tuple[Any, ...]:
    A, B = te.placeholder((n, n), name="A"), te.placeholder((n, n), name="B")
    k = te.reduce_axis((0, n), "k")
    P = te.compute((n, n), lambda i, j: A[i, j] + 1.0, name="P")
    C = te.compute((n, n), lambda x, y: te.sum(P[x, k] * B[k, y], axis=k), name="C")
    return A, B, P, C, te.compute((n, n), lambda i, j: C[i, j] * 2.0, name="D")


def applied(s: te.Schedule, args: list[Any]) -> PrimFunc:
    """The scheduled function, which means what the expressions mean."""
    func = s.tensor_ir(args).mod["main"]
    verdict = check_equivalent(te.create_prim_func(args), func)
    assert verdict, verdict
    return func


def nest(func: PrimFunc, block: str) -> list[tuple[str, int]]:
    """The loops around a block: names and extents."""
    sch = tvm.tir.Schedule(func)
    return [(sch.get(loop).loop_var.name, int(sch.get(loop).extent)) for loop in sch.get_loops(block)]


def test_the_default_schedule_only_takes_the_init_out() -> None:
    A, B, _, C, D = expressions()
    sch = te.create_schedule(D.op).tensor_ir([A, B, D])
    names = [block.name for block in blocks_in(sch.mod["main"].body)]
    assert names == ["root", "P", "C_init", "C_update", "D"]
    reference = tvm.tir.Schedule(te.create_prim_func([A, B, D]))
    reference.decompose_reduction("C", reference.get_loops("C")[2])
    tvm.ir.assert_structural_equal(sch.mod["main"], reference.mod["main"])
    assert C.op.axis[0].name == "x"


def test_the_trace_says_what_was_done() -> None:
    A, B, _, C, D = expressions()
    s = te.create_schedule(D.op)
    outer, _ = s[D].split(D.op.axis[0], factor=4)
    s[C].compute_at(s[D], outer)
    sch = s.tensor_ir([A, B, D], name="kernel")
    kinds = [inst.kind for inst in sch.trace.insts if not inst.kind.startswith("Get")]
    assert kinds == ["Split", "ComputeAt", "DecomposeReduction"]
    func = te.create_prim_func([A, B, D]).with_attr("global_symbol", "kernel")
    again = tvm.tir.Schedule(tvm.IRModule({"kernel": func}))
    sch.trace.apply_to_schedule(again, remove_postproc=False)
    tvm.ir.assert_structural_equal(again.mod, sch.mod)


def test_split_fuse_reorder_tile() -> None:
    A, B, _, C, D = expressions()
    s = te.create_schedule(D.op)
    x, y = C.op.axis
    (k,) = C.op.reduce_axis
    x_outer, x_inner = s[C].split(x, nparts=3)
    k_outer, k_inner = s[C].split(k, factor=4)
    s[C].reorder(y, k_outer, x_inner)
    assert [axis.name for axis in s[C].leaf_iter_vars] == ["x.outer", "y", "k.outer", "x.inner", "k.inner"]
    fused = s[C].fuse(x_outer, y)
    assert (fused.name, fused.kind, k_inner.kind) == ("x.outer.y.fused", "spatial", "reduce")
    i_outer, j_outer, i_inner, j_inner = s[D].tile(*D.op.axis, 2, 4)
    assert [axis.name for axis in (i_outer, j_outer, i_inner, j_inner)] == ["i.outer", "j.outer", "i.inner", "j.inner"]
    func = applied(s, [A, B, D])
    assert nest(func, "C_update") == [("x_0_y_fused", 24), ("k_0", 2), ("x_1", 3), ("k_1", 4)]
    assert nest(func, "C_init") == [("x_0_y_fused", 24), ("x_1_init", 3)]
    assert nest(func, "D") == [("i_0", 4), ("j_0", 2), ("i_1", 2), ("j_1", 4)]


def test_what_is_said_of_loops() -> None:
    A, B, _, C, D = expressions()
    s = te.create_schedule(D.op)
    s[C].parallel(C.op.axis[0])
    s[C].vectorize(C.op.axis[1])
    s[C].reorder(C.op.axis[0], *C.op.reduce_axis, C.op.axis[1])
    s[C].pragma(C.op.reduce_axis[0], "auto_unroll_max_step", 16)
    s[D].unroll(D.op.axis[1])
    loops = [node for node in walk(applied(s, [A, B, D]).body) if isinstance(node, For)]
    assert [node.kind for node in loops] == ["serial"] * 2 + ["parallel", "vectorized", "serial", "vectorized"] + [
        "serial", "unrolled"]  # fmt: skip
    assert dict(loops[4].annotations) == {"pragma_auto_unroll_max_step": 16}


def test_places() -> None:
    A, B, P, C, D = expressions()
    s = te.create_schedule(D.op)
    s[P].compute_at(s[C], C.op.axis[0])
    s[C].compute_at(s[D], D.op.axis[0])
    func = applied(s, [A, B, D])
    assert nest(func, "P") == [("i", 8), ("ax0", 1), ("ax0", 1), ("ax1", 8)]
    s[P].compute_inline()
    assert [block.name for block in blocks_in(applied(s, [A, B, D]).body)] == ["root", "C_init", "C_update", "D"]
    s[P].compute_root()
    s[C].compute_root()
    assert not any(stage.is_scheduled for stage in s.stages)
    assert nest(applied(s, [A, B, D]), "P") == [("i", 8), ("j", 8)]


def test_caches_are_stages() -> None:
    A, B, P, C, D = expressions()
    s = te.create_schedule(D.op)
    total = s.cache_write(C, "local")
    shared = s.cache_read(B, "shared", [total])
    again = s.cache_read(shared, "local", [total.op])
    assert [stage.op.name for stage in s.stages] == ["P", "B_shared", "B_shared_local", "C_local", "C", "D"]
    assert (s[C].op.input_tensors, s[C].op.reduce_axis) == ((total,), ())
    assert (s[total].op.input_tensors, total.op.reduce_axis) == ((P, again), C.op.reduce_axis)
    assert s[D].op.input_tensors == (C,)
    assert [axis.name for axis in total.op.axis + shared.op.axis] == ["x_c", "y_c", "ax0", "ax1"]
    func = applied(s, [A, B, D])
    assert {buffer.name: buffer.scope for buffer in func.root.alloc_buffers} == {
        "P": "global", "B_shared": "shared", "B_shared_local": "local", "C_local": "local", "C": "global"}  # fmt: skip


def test_a_cache_for_some_of_the_readers() -> None:
    A = te.placeholder((8,), name="A")
    B = te.compute((8,), lambda i: A[i] + 1.0, name="B")
    C = te.compute((8,), lambda i: A[i] * B[i], name="C")
    s = te.create_schedule([B.op, C.op])
    cache = s.cache_read(A, "global", C)
    assert (s[B].op.input_tensors, s[C].op.input_tensors) == ((A,), (cache, B))
    s[cache].compute_at(s[C], C.op.axis[0])
    applied(s, [A, B, C])


def test_two_values_at_once_are_cached_together() -> None:
    A, k = te.placeholder((4, 8), "int32", name="A"), te.reduce_axis((0, 8), "k")
    both = te.comm_reducer(
        lambda x, y: (x[0] + y[0], te.max(x[1], y[1])), lambda s, m: (te.const(0, s), te.min_value(m)), name="both"
    )
    S, M = te.compute((4,), lambda i: both((A[i, k], A[i, k]), axis=k), name="R")
    s = te.create_schedule(S.op)
    sums, largest = s.cache_write([S, M], "local")
    assert (sums.op is largest.op, s[S] is s[M], s[S].op.num_outputs) == (True, True, 2)
    s[sums].compute_at(s[S], s[S].op.axis[0])
    func = applied(s, [A, S, M])
    assert [block.name for block in blocks_in(func.body)] == ["root", "R_local_init", "R_local_update", "R_v0", "R_v1"]


def test_partial_results() -> None:
    A, k = te.placeholder((4, 22), "int32", name="A"), te.reduce_axis((2, 22), "k")
    B = te.compute((4,), lambda i: te.max(A[i, k], axis=k, init=3), name="B")
    for part, place, shape in [(0, 0, [3, 4]), (1, -1, [4, 8])]:
        s = te.create_schedule(B.op)
        partial = s.rfactor(B, s[B].split(k, factor=8)[part], place)
        assert [int(n) for n in partial.shape] == shape
        assert (s[B].op.input_tensors, [stage.op.name for stage in s.stages]) == ((partial,), ["B_rf", "B"])
        s[partial].compute_at(s[B], s[B].op.axis[0])
        applied(s, [A, B])


def test_threads_reduce_together() -> None:
    A, k = te.placeholder((3, 20), name="A"), te.reduce_axis((0, 20), "k")
    B = te.compute((3,), lambda i: te.sum(A[i, k], axis=k), name="B")
    s = te.create_schedule(B.op)
    partial = s.rfactor(B, s[B].split(k, factor=4)[1])
    s[B].bind(B.op.axis[0], te.thread_axis("blockIdx.x"))
    (thread,) = s[B].op.reduce_axis
    s[B].bind(thread, te.thread_axis("threadIdx.x"))
    s[partial].compute_at(s[B], thread)
    (block,) = [block for block in blocks_in(applied(s, [A, B]).body) if block.name == "B"]
    assert block.init is not None


def test_memory() -> None:
    A, B, P, C, D = expressions()
    s = te.create_schedule(D.op)
    s[C].set_scope("global.accumulator")
    s[P].storage_align(P.op.axis[0], 16, 4)
    func = applied(s, [A, B, D])
    assert [buffer.scope for buffer in func.root.alloc_buffers if "C" in buffer.name] == ["global.accumulator"]
    (block,) = [block for block in blocks_in(func.body) if block.name == "P"]
    assert "buffer_dim_align" in dict(block.annotations)


def test_several_results() -> None:
    A, B, P, _, D = expressions()
    s = te.create_schedule([D.op, P.op])
    assert [stage.is_output for stage in s.stages] == [True, False, True]
    te.schedule.AutoInlineInjective(s)
    assert not any(stage.inlined for stage in s.stages)
    assert A in s
    assert s[A].op is A.op
    applied(s, [A, B, P, D])


def test_symbolic_extents() -> None:
    n, m = te.var("n"), te.var("m")
    A, k = te.placeholder((n, m), name="A"), te.reduce_axis((0, m), "k")
    S = te.compute((n,), lambda i: te.sum(A[i, k], axis=k), name="S")
    D = te.compute((n, m), lambda i, j: A[i, j] - S[i], name="D")
    s = te.create_schedule(D.op)
    outer, _ = s[D].split(D.op.axis[0], factor=4)
    s[S].compute_at(s[D], outer)
    s[S].split(k, factor=8)
    s[D].vectorize(s[D].split(D.op.axis[1], factor=4)[1])
    applied(s, [A, D])


def test_a_schedule_lowers_again_after_more_wishes() -> None:
    A, B, _, C, D = expressions()
    s = te.create_schedule(D.op)
    first = str(tvm.lower(s, [A, B, D], simple_mode=True))
    assert str(tvm.lower(s, [A, B, D], simple_mode=True)) == first
    s[C].reorder(C.op.axis[0], *C.op.reduce_axis, C.op.axis[1])
    assert str(tvm.lower(s, [A, B, D], simple_mode=True)) != first


def test_lowered_programs_run_and_build() -> None:
    A, B, _, _, D = expressions()
    a, b = (np.random.default_rng(seed).integers(-4, 5, (8, 8)).astype("float32") for seed in (0, 1))
    s = te.create_schedule(D.op)
    for simple in (True, False):
        lowered = tvm.lower(s, [A, B, D], name="kernel", simple_mode=simple)
        assert [*lowered.prim_funcs()] == ["kernel"]
        d = np.zeros((8, 8), "float32")
        tvm.interpret(lowered["kernel"], a, b, d)
        np.testing.assert_array_equal(d, (a + 1) @ b * 2)
    d = np.zeros((8, 8), "float32")
    tvm.build(lowered, "llvm")(a, b, d)
    np.testing.assert_array_equal(d, (a + 1) @ b * 2)
    assert tvm.build(s, [A, B, D], tvm.target.Target("llvm"), name="kernel").entry_name == "kernel"
    module = te.create_prim_func([A, B, D])
    assert len(tvm.lower(module).prim_funcs()) == 1


def register_tile() -> None:
    """``C += A @ B`` of tiles of 4 by 4, rows as vectors."""
    tile = 'A: T.Buffer((4, 4), "float32"), B: T.Buffer((4, 4), "float32"), C: T.Buffer((4, 4), "float32")'
    regions = "T.reads(C[0:4, 0:4], A[0:4, 0:4], B[0:4, 0:4])\n        T.writes(C[0:4, 0:4])"
    described, made = (
        from_source(f'@T.prim_func\ndef main({tile}):\n    with T.block("root"):\n        {regions}\n{body}')
        for body in (
            """        for i, j, k in T.grid(4, 4, 4):
            with T.block("u"):
                vi, vj, vk = T.axis.remap("SSR", [i, j, k])
                C[vi, vj] = C[vi, vj] + A[vi, vk] * B[vk, vj]
""",
            """        for i, k in T.grid(4, 4):
            for j in T.vectorized(4):
                C[i, j] = C[i, j] + A[i, k] * B[k, j]
""",
        )
    )
    assert isinstance(described, PrimFunc)
    assert isinstance(made, PrimFunc)
    tvm.tir.TensorIntrin.register("te.tile", described, made, override=True)


def test_a_stage_is_tensorized() -> None:
    """The init of the tiles goes before the loop of the reduction; the intrinsic takes the place of the rest."""
    register_tile()
    A, B, P, C, _ = expressions(16)
    s = te.create_schedule(C.op)
    s[P].compute_inline()
    x_outer, y_outer, x_inner, y_inner = s[C].tile(*C.op.axis, 4, 4)
    k_outer, k_inner = s[C].split(C.op.reduce_axis[0], 4)
    s[C].reorder(x_outer, y_outer, k_outer, x_inner, y_inner, k_inner)
    s[C].parallel(x_outer)
    s[C].tensorize(x_inner, "te.tile")
    with pytest.raises(tvm.TVMError, match=r"tensorize: block C_o_update is not what te\.tile describes"):
        s.tensor_ir([A, B, C])  # the sums of P are inside
    s[P].compute_root()
    func = applied(s, [A, B, C])
    assert [block.name for block in blocks_in(func.body)] == ["root", "P", "C_o_init", "C_init", "C_o_update"]
    with pytest.raises(tvm.TVMError, match="stage C is tensorized already"):
        s[C].tensorize(x_inner, "te.tile")
    t = te.create_schedule(C.op)
    _, inner = t[P].split(P.op.axis[0], 4)
    t[P].tensorize(inner, tvm.tir.TensorIntrin.get("te.tile"))
    t[P].split(inner, 2)
    with pytest.raises(tvm.TVMError, match=r"loop i\.inner of stage P, to be tensorized by te\.tile, was split"):
        t.tensor_ir([A, B, C])


def test_a_whole_reduction_is_tensorized() -> None:
    """No loop of the reduction is left outside: the init stays in the block."""
    register_tile()
    A, B, k = te.placeholder((8, 4), name="A"), te.placeholder((4, 8), name="B"), te.reduce_axis((0, 4), "k")
    C = te.compute((8, 8), lambda i, j: te.sum(A[i, k] * B[k, j], axis=k), name="C")
    s = te.create_schedule(C.op)
    _, _, inner, _ = s[C].tile(*C.op.axis, 4, 4)
    s[C].tensorize(inner, "te.tile")
    assert [block.name for block in blocks_in(applied(s, [A, B, C]).body)][1:] == ["C_o", "C_init"]


def test_virtual_threads_are_as_many_axes_as_are_made() -> None:
    """TE's "vthread" is a new axis each time; TensorIR's are three. One axis for two loops stays one."""
    A = te.placeholder((4, 6, 4, 8), name="A")
    B = te.compute((4, 6, 4, 8), lambda *i: A(*i) * 2.0, name="B")
    for count, expected in [(1, {"vthread"}), (3, {"vthread.x", "vthread.y", "vthread.z"})]:
        s = te.create_schedule(B.op)
        for axis in B.op.axis[:count]:
            s[B].bind(axis, te.thread_axis("vthread", name="v"))
        s[B].bind(B.op.axis[3], te.thread_axis("threadIdx.x"))
        found = [node.thread for node in walk(applied(s, [A, B]).body) if isinstance(node, For) and node.thread]
        assert set(found) == {*expected, "threadIdx.x"}
    s = te.create_schedule(B.op)
    for axis in B.op.axis:
        s[B].bind(axis, te.thread_axis("vthread"))
    with pytest.raises(tvm.TVMError, match="4 axes of virtual threads, where there are 3"):
        s.tensor_ir([A, B])
