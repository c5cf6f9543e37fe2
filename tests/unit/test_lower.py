"""Each lowering pass by itself, on the smallest program that needs it."""

import numpy as np
import pytest

from mlcref.driver import compile
from mlcref.errors import UnsupportedError
from mlcref.interp import interpret
from mlcref.ir import (
    AllocBuffer, BlockRealize, For, IfThenElse, PrimFunc, Ramp, Shuffle, Target, any_node, const, structural_equal,
    walk,
)  # fmt: skip
from mlcref.lower import PIPELINE, lower
from mlcref.runtime import why_no_compiler
from mlcref.script import from_source

HEAD = "from mlcref.script import tir as T\n@T.prim_func\n"
NOALIAS = '\n    T.func_attr({"tir.noalias": True})'

REDUCTION = """
def main(A: T.Buffer((8, 8), "float32"), B: T.Buffer((8, 8), "float32"), C: T.Buffer((8, 8), "float32")):
    T.func_attr({"tir.noalias": True})
    for i, k_0, k_1 in T.grid(8, 2, 4):
        for j in T.vectorized(8):
            with T.block("C"):
                vi, vj = T.axis.remap("SS", [i, j])
                vk = T.axis.reduce(8, k_0 * 4 + k_1)
                with T.init():
                    C[vi, vj] = T.float32(0)
                C[vi, vj] = C[vi, vj] + A[vi, vk] * B[vk, vj]
"""

TWO_STAGES = """
def main(A: T.Buffer((64, 64), "float32"), C: T.Buffer((64, 64), "float32")):
    T.func_attr({"tir.noalias": True})
    X = T.alloc_buffer((64, 64), "float32")
    for i, j0 in T.grid(64, 16):
        for j1 in range(6):
            with T.block("X"):
                vi = T.axis.spatial(64, i)
                vj = T.axis.spatial(64, j0 * 4 + j1 - 1)
                T.where(1 <= j0 * 4 + j1 and j0 * 4 + j1 < 65)
                X[vi, vj] = A[vi, vj] + T.float32(1)
        for j1 in range(4):
            with T.block("C"):
                vi = T.axis.spatial(64, i)
                vj = T.axis.spatial(64, j0 * 4 + j1)
                C[vi, vj] = X[vi, vj] * T.float32(2)
"""


def read(text: str) -> PrimFunc:
    func = from_source(HEAD + text)
    assert isinstance(func, PrimFunc)
    return func


def until(name: str, func: PrimFunc) -> PrimFunc:
    """``func`` after the passes up to and including ``name``."""
    for step in PIPELINE:
        func = step.run(func)
        if step.name == name:
            return func
    raise AssertionError(name)


def kinds(func: PrimFunc) -> list[str]:
    return [node.kind for node in walk(func.body) if isinstance(node, For)]


def allocations(func: PrimFunc) -> dict[str, tuple[int, ...]]:
    found = [node.buffer for node in walk(func.body) if isinstance(node, AllocBuffer)]
    return {buffer.name: tuple(int(extent) for extent in buffer.shape) for buffer in found}


def test_after_is_called_with_every_intermediate_program() -> None:
    seen: list[str] = []
    last = lower(read(REDUCTION), Target("llvm"), after=lambda name, func: seen.append(name))
    assert seen == [step.name for step in PIPELINE]
    assert not any_node(last.body, BlockRealize)


def test_lower_blocks_guards_the_init_by_every_reduce_loop() -> None:
    lowered = until("simplify", read(REDUCTION))
    conditions = [node.condition for node in walk(lowered.body) if isinstance(node, IfThenElse)]
    assert [repr(c).strip() for c in conditions] == ["k_0 == 0 and k_1 == 0"]


def test_hoist_conditions_takes_the_init_out_of_the_reduction() -> None:
    lowered = until("hoist_conditions", read(REDUCTION))
    assert not any_node(lowered.body, IfThenElse)


def test_scalar_loops_keep_the_shape_that_the_program_gives_them() -> None:
    lowered = lower(read(REDUCTION.replace("T.vectorized", "T.serial").replace("8, 8", "8, 9").replace("(8)", "(9)")))
    assert any_node(lowered.body, IfThenElse)


def test_promote_accumulators_keeps_the_tile_out_of_memory() -> None:
    lowered = lower(read(REDUCTION))
    assert allocations(lowered) == {"C_tile": (8,)}


def test_allocations_sink_to_the_loop_that_dominates_their_uses() -> None:
    lowered = until("lower_blocks", read(TWO_STAGES))
    loops_above = []
    node = lowered.body
    while not isinstance(node, AllocBuffer):
        assert isinstance(node, For)
        loops_above.append(node.loop_var.name)
        node = node.body
    assert loops_above == ["i", "j0"]


def test_an_allocation_stays_above_the_loops_of_its_reduction() -> None:
    func = read("""
def main(A: T.Buffer((4, 8), "float32"), C: T.Buffer((4,), "float32")):
    S = T.alloc_buffer((4,), "float32")
    for k, i in T.grid(8, 4):
        with T.block("S"):
            vk, vi = T.axis.remap("RS", [k, i])
            with T.init():
                S[vi] = T.float32(0)
            S[vi] = S[vi] + A[vi, vk]
            C[vi] = S[vi]
""")
    assert isinstance(until("lower_blocks", func).body, AllocBuffer)


def test_compact_buffers_keeps_what_one_entry_uses() -> None:
    assert allocations(until("compact_buffers", read(TWO_STAGES))) == {"X": (1, 6)}


def test_an_allocation_sinks_into_a_loop_that_fills_and_uses_one_part_each_time() -> None:
    func = read("""
def main(A: T.Buffer((16, 8), "float32"), C: T.Buffer((8,), "float32")):
    T.func_attr({"tir.noalias": True})
    X = T.alloc_buffer((16, 8), "float32")
    for k_0 in range(4):
        for a, b in T.grid(4, 8):
            with T.block("X"):
                va = T.axis.spatial(16, k_0 * 4 + a)
                vb = T.axis.spatial(8, b)
                X[va, vb] = A[va, vb] * T.float32(2)
        for k_1, j in T.grid(4, 8):
            with T.block("C"):
                vj = T.axis.spatial(8, j)
                vk = T.axis.reduce(16, k_0 * 4 + k_1)
                with T.init():
                    C[vj] = T.float32(0)
                C[vj] = C[vj] + X[vk, vj]
""")
    assert isinstance(until("lower_blocks", func).body, AllocBuffer)
    assert isinstance(until("sink_allocations", func).body, For)
    assert allocations(until("compact_buffers", func)) == {"X": (4, 8)}


def test_an_allocation_whose_parts_overlap_between_iterations_stays() -> None:
    func = read("""
def main(A: T.Buffer((5,), "float32"), C: T.Buffer((4,), "float32")):
    X = T.alloc_buffer((5,), "float32")
    for i in range(4):
        with T.block("C"):
            vi = T.axis.opaque(4, i)
            X[vi + 1] = A[vi]
            C[vi] = T.if_then_else(vi >= 1, X[vi], T.float32(0))
""")
    assert isinstance(until("sink_allocations", func).body, AllocBuffer)


def test_compact_buffers_leaves_indirect_accesses_alone() -> None:
    text = TWO_STAGES.replace(
        'A: T.Buffer((64, 64), "float32"),', 'A: T.Buffer((64, 64), "float32"), P: T.Buffer((64,), "int32"),'
    )
    text = text.replace("X[vi, vj] * T.float32(2)", "X[vi, P[vj]] * T.float32(2)")
    assert allocations(until("compact_buffers", read(text))) == {"X": (1, 64)}


@pytest.mark.parametrize(
    ("extent", "lanes"), [(4, [4]), (6, [4, 2]), (7, [4, 2]), (16, [16]), (64, [16] * 4), (200, [16, 8])]
)
def test_vectorize_cuts_loops_into_powers_of_two(extent: int, lanes: list[int]) -> None:
    func = read(f"""
def main(A: T.Buffer(({extent},), "float32"), C: T.Buffer(({extent},), "float32")):
    for i in T.vectorized({extent}):
        with T.block("C"):
            vi = T.axis.spatial({extent}, i)
            C[vi] = A[vi] + T.float32(1)
""")
    lowered = lower(func)
    stores = [node.indices[0] for node in walk(lowered.body) if hasattr(node, "value") and hasattr(node, "indices")]
    assert [index.lanes for index in stores if isinstance(index, Ramp)] == lanes
    x, y = np.arange(extent, dtype="float32"), np.zeros(extent, "float32")
    interpret(lowered, x, y)
    assert np.array_equal(y, x + 1)


def test_what_has_no_vector_form_becomes_serial() -> None:
    func = read("""
def main(A: T.Buffer((8,), "float32"), C: T.Buffer((8,), "float32")):
    for i in T.vectorized(8):
        with T.block("C"):
            vi = T.axis.spatial(8, i)
            C[vi] = A[vi] + T.cast(vi % 3, "float32")
""")
    assert kinds(lower(func)) == ["serial"]


@pytest.mark.parametrize(
    ("dtype", "size"), [("float32", 16), ("float32", 4), ("float64", 8), ("int8", 16), ("int16", 8)]
)
@pytest.mark.parametrize("kinds", ["serial vectorized", "vectorized serial"])
def test_tiles_that_are_copied_transposed_become_shuffles(dtype: str, size: int, kinds: str) -> None:
    rows, columns = size + 3, 2 * size
    outer, inner = kinds.split()
    func = read(f"""
def main(A: T.Buffer(({rows}, {columns}), "{dtype}"), C: T.Buffer(({columns}, {rows}), "{dtype}")):
    T.func_attr({{"tir.noalias": True}})
    for i_0, j_0 in T.grid(2, 2):
        for i_1 in T.{outer}({size}):
            for j_1 in T.{inner}({size}):
                with T.block("C"):
                    vi = T.axis.spatial({rows}, i_0 * {size} + i_1)
                    vj = T.axis.spatial({columns}, j_0 * {size} + j_1)
                    T.where(i_0 * {size} + i_1 < {rows})
                    C[vj, vi] = A[vi, vj]
""")
    lowered = lower(func)
    assert sum(isinstance(node, Shuffle) for node in walk(lowered.body)) == size * (size.bit_length() - 1)
    x, y = np.arange(rows * columns).astype(dtype).reshape(rows, columns), np.zeros((columns, rows), dtype)
    interpret(lowered, x, y)
    assert np.array_equal(y, x.T)
    if why_no_compiler() is None:
        z = np.zeros_like(y)
        compile(func)(x, z)
        assert np.array_equal(z, x.T)


@pytest.mark.parametrize(
    ("rows", "columns", "shuffles"),
    [(13, 15, 3 * 8 + 5 * 2 * 4), (16, 15, 2 * 3 * 8 + 4 * 2 * 4), (4, 7, 2 * 4), (3, 16, 0), (20, 15, 0)],
)
def test_rectangles_are_cut_into_tiles(rows: int, columns: int, shuffles: int) -> None:
    """One of 8 × 8 and five of 4 × 4 in 13 × 15, for example; what is narrower than 4 stays."""
    func = read(f"""
def main(A: T.Buffer(({columns}, {rows}), "float32"), C: T.Buffer(({rows}, {columns}), "float32")):{NOALIAS}
    for i in T.serial({rows}):
        for j in T.vectorized({columns}):
            with T.block("C"):
                vi, vj = T.axis.remap("SS", [i, j])
                C[vi, vj] = A[vj, vi]
""")
    lowered = lower(func)
    assert sum(isinstance(node, Shuffle) for node in walk(lowered.body)) == shuffles
    x, y = np.arange(rows * columns, dtype="float32").reshape(columns, rows), np.zeros((rows, columns), "float32")
    interpret(lowered, x, y)
    assert np.array_equal(y, x.T)


@pytest.mark.parametrize(
    ("head", "statement"),
    [("", "C[vj, vi] = A[vi, vj]"), (NOALIAS, "C[vj, vi] = C[vi, vj]"), (NOALIAS, "C[vj, vi] = A[vj, vi]"),
     (NOALIAS, "C[vj, vi // 2 * 2] = A[vi, vj]"), (NOALIAS, "C[vj, vi] = A[vi, vj] + T.float32(1)")],
)  # fmt: skip
def test_other_copies_of_tiles_are_not_shuffled(head: str, statement: str) -> None:
    func = read(f"""
def main(A: T.Buffer((8, 8), "float32"), C: T.Buffer((8, 8), "float32")):{head}
    for i in T.serial(8):
        for j in T.vectorized(8):
            with T.block("C"):
                vi, vj = T.axis.remap("SS", [i, j])
                {statement}
""")
    assert not any_node(lower(func).body, Shuffle)


def test_guarded_vectors_fall_back_to_single_lanes_at_the_edge() -> None:
    func = read("""
def main(A: T.Buffer((10,), "float32"), C: T.Buffer((10,), "float32")):
    for i_0 in range(3):
        for i_1 in T.vectorized(4):
            with T.block("C"):
                vi = T.axis.spatial(10, i_0 * 4 + i_1)
                T.where(i_0 * 4 + i_1 < 10)
                C[vi] = A[vi] + T.float32(1)
""")
    lowered = lower(func)
    assert any_node(lowered.body, Ramp)
    x, y = np.arange(10, dtype="float32"), np.zeros(10, "float32")
    interpret(lowered, x, y)
    assert np.array_equal(y, x + 1)


def test_unroll_writes_small_loops_out_and_keeps_large_ones() -> None:
    text = """
def main(C: T.Buffer((EXTENT,), "float32")):
    for i in T.unroll(EXTENT):
        with T.block("C"):
            vi = T.axis.spatial(EXTENT, i)
            C[vi] = T.float32(1)
"""
    assert kinds(lower(read(text.replace("EXTENT", "5")))) == []
    assert kinds(lower(read(text.replace("EXTENT", "5000")))) == ["serial"]


def test_a_loop_that_is_left_early_is_not_unrolled() -> None:
    func = read("""
def main(A: T.Buffer((4,), "int32"), C: T.Buffer((1,), "int32")):
    for i in T.unroll(4):
        if A[i] > 2:
            break
        C[0] = C[0] + A[i]
""")
    assert kinds(lower(func)) == ["serial"]


THREADS = """
def main(A: T.Buffer((64,), "float32"), C: T.Buffer((64,), "float32")):
    T.func_attr({"tir.noalias": True})
    X = T.alloc_buffer((64,), "float32", scope="SCOPE")
    for b in T.thread_binding(4, thread="blockIdx.x"):
        for t in T.thread_binding(16, thread="threadIdx.x"):
            with T.block("X"):
                vi = T.axis.spatial(64, b * 16 + t)
                X[vi] = A[vi] + T.float32(1)
        for t in T.thread_binding(16, thread="threadIdx.x"):
            with T.block("C"):
                vi = T.axis.spatial(64, b * 16 + t)
                C[vi] = X[b * 16 + 15 - t]
"""


def test_threads_become_serial_loops_around_barriers() -> None:
    func = read(THREADS.replace("SCOPE", "shared"))
    lowered = lower(func)
    assert "thread_binding" not in kinds(lowered)
    x, y = np.arange(64, dtype="float32"), np.zeros(64, "float32")
    interpret(lowered, x, y)
    assert np.array_equal(y, (x + 1).reshape(4, 16)[:, ::-1].ravel())


def test_threads_that_keep_a_value_across_a_barrier_are_refused() -> None:
    with pytest.raises(UnsupportedError, match=r"own X(.|\n)*lower\.threads"):
        lower(read(THREADS.replace("SCOPE", "local")))


def test_threads_that_read_each_other_in_one_nest_are_refused() -> None:
    func = read("""
def main(A: T.Buffer((16,), "float32"), C: T.Buffer((16,), "float32")):
    X = T.alloc_buffer((16,), "float32", scope="shared")
    for t in T.thread_binding(16, thread="threadIdx.x"):
        with T.block("X"):
            vi = T.axis.spatial(16, t)
            X[vi] = A[vi]
        with T.block("C"):
            vi = T.axis.spatial(16, t)
            C[vi] = X[15 - vi]
""")
    with pytest.raises(UnsupportedError, match=r"other threads have written to X(.|\n)*lower\.threads"):
        lower(func)


EXCHANGE = """
@T.prim_func(s_tir=False)
def main(A: T.Buffer((16,), "float32"), C: T.Buffer((16,), "float32")):
    t = T.launch_thread("threadIdx.x", 16)
    X = T.alloc_buffer((16,), scope="SCOPE")
    Y = T.decl_buffer((16,), data=X.data, scope="SCOPE")
    STORE
    T.tvm_storage_sync("shared")
    C[t] = LOAD
"""


def exchange(store: str, load: str, scope: str = "shared") -> PrimFunc:
    return from_source(EXCHANGE.replace("STORE", store).replace("LOAD", load).replace("SCOPE", scope))


@pytest.mark.parametrize(("store", "load"), [("X[t] = A[t]", "X[15 - t]"), ("X[t] = A[t]", "Y[15 - t]")])
def test_memory_allocated_below_the_threads_that_share_it_is_shared(store: str, load: str) -> None:
    with pytest.raises(UnsupportedError, match=r"other threads have written to X(.|\n)*lower\.threads"):
        lower(exchange(store, load))


@pytest.mark.parametrize("scope", ["shared", "local"])
@pytest.mark.parametrize("load", ["X[t]", "Y[t]"])
def test_threads_may_read_what_they_have_written_themselves(load: str, scope: str) -> None:
    x, y = np.arange(16, dtype="float32"), np.zeros(16, "float32")
    interpret(lower(exchange("X[t] = A[t]", load, scope)), x, y)
    assert np.array_equal(y, x)


@pytest.mark.parametrize("rest", ['T.tvm_storage_sync("shared")', "D[t] = A[t]"])
def test_threads_that_write_in_turns_are_refused(rest: str) -> None:
    func = from_source(f"""
@T.prim_func(s_tir=False)
def main(A: T.Buffer((16,), "float32"), C: T.Buffer((16,), "float32"), D: T.Buffer((16,), "float32")):
    t = T.launch_thread("threadIdx.x", 16)
    for r in range(2):
        C[(t + r) % 16] = A[t]
        {rest}
""")
    with pytest.raises(UnsupportedError, match=r"other threads have written to C(.|\n)*lower\.threads"):
        lower(func)


def test_reductions_over_threads_are_refused() -> None:
    func = read("""
def main(A: T.Buffer((16,), "float32"), C: T.Buffer((1,), "float32")):
    for t in T.thread_binding(16, thread="threadIdx.x"):
        with T.block("C"):
            vi = T.axis.spatial(1, 0)
            vk = T.axis.reduce(16, t)
            with T.init():
                C[vi] = T.float32(0)
            C[vi] = C[vi] + A[vk]
""")
    with pytest.raises(UnsupportedError, match=r"bound to threads(.|\n)*lower\.collective"):
        lower(func)


def test_match_buffer_is_resolved_to_the_buffer_behind_it() -> None:
    func = read("""
def main(A: T.Buffer((8, 8), "float32"), C: T.Buffer((8, 8), "float32")):
    for i, j in T.grid(2, 2):
        with T.block("tile"):
            vi, vj = T.axis.remap("SS", [i, j])
            T.reads(A[vi * 4 : vi * 4 + 4, vj * 4 : vj * 4 + 4])
            T.writes(C[vi * 4 : vi * 4 + 4, vj * 4 : vj * 4 + 4])
            X = T.match_buffer(A[vi * 4 : vi * 4 + 4, vj * 4 : vj * 4 + 4], (4, 4), offset_factor=1)
            for a, b in T.grid(4, 4):
                C[vi * 4 + a, vj * 4 + b] = X[b, a]
""")
    x, want, got = (
        np.arange(64, dtype="float32").reshape(8, 8),
        np.zeros((8, 8), "float32"),
        np.zeros((8, 8), "float32"),
    )
    interpret(func, x, want)
    interpret(lower(func), x, got)
    assert np.array_equal(got, want)
    assert want[0, 1] == x[1, 0]


MATCH_OF_A_MATCH = """
def main(A: T.Buffer((4, 6), "float32"), C: T.Buffer((2, 2), "int32"), D: T.Buffer((2, 3), "float32")):
    for i in range(2):
        with T.block("tile"):
            vi = T.axis.spatial(2, i)
            T.reads(A[vi * 2 : vi * 2 + 2, 3:6])
            T.writes(C[vi, 0:2], D[vi, 0:3])
            M = T.match_buffer(A[vi * 2 : vi * 2 + 2, 3:6], (2, 3), "float32")
            for j in range(1):
                with T.block("column"):
                    vj = T.axis.spatial(1, j)
                    T.reads(M[0:2, vj + 1])
                    T.writes(C[vi, 0:2], D[vi, vj])
                    start = T.int32()
                    s, t = T.int32(), T.int32()
                    R = T.match_buffer(M[0:2, vj + 1], (2, 1), "float32", strides=[s, t], elem_offset=start)
                    C[vi, 0] = start
                    C[vi, 1] = s
                    D[vi, vj] = R[1, 0]
"""


def test_a_match_of_a_match_counts_in_the_memory_behind_both() -> None:
    func = read(MATCH_OF_A_MATCH)
    for program in (func, lower(func)):
        c, d = np.zeros((2, 2), "int32"), np.zeros((2, 3), "float32")
        interpret(program, np.arange(24, dtype="float32").reshape(4, 6), c, d)
        assert c.tolist() == [[4, 6], [16, 6]]
        assert d[:, 0].tolist() == [10, 22]


def test_lowered_programs_do_not_depend_on_the_order_of_runs() -> None:
    func = read(TWO_STAGES)
    assert structural_equal(lower(func), lower(func))
    assert const(1).value == 1
