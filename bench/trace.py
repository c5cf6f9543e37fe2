"""What a trace of 40 instructions on a matmul costs, and what verifying each of them adds: ``python -m bench.trace``.

Bars: applying the trace to a matmul of 128³ takes less than 40 ms; with ``check="oracle"``, at extents at which the
oracle runs, less than 10 times what it takes without.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

from mlcref.ir import PrimFunc
from mlcref.schedule import Schedule
from mlcref.script import from_source

MOST_MILLISECONDS, MOST_TIMES = 40.0, 10.0
LARGE, SMALL = 128, 4


def matmul(n: int) -> PrimFunc:
    """C = A B, n by n."""
    func = from_source(f"""
@T.prim_func
def main(A: T.Buffer(({n}, {n}), "float32"), B: T.Buffer(({n}, {n}), "float32"), C: T.Buffer(({n}, {n}), "float32")):
    for i, j, k in T.grid({n}, {n}, {n}):
        with T.block("C"):
            vi, vj, vk = T.axis.remap("SSR", [i, j, k])
            with T.init():
                C[vi, vj] = T.float32(0)
            C[vi, vj] = C[vi, vj] + A[vi, vk] * B[vk, vj]
""")
    assert isinstance(func, PrimFunc)
    return func


def tile(sch: Any) -> None:
    """40 instructions, as MetaSchedule writes them: tiles of the loops, copies of the operands, kinds, annotations."""
    block = sch.get_block("C", func_name="main")
    i, j, k = sch.get_loops(block)
    i_0, i_1, i_2 = sch.split(i, sch.sample_perfect_tile(i, 3, 4))
    j_0, j_1, j_2 = sch.split(j, sch.sample_perfect_tile(j, 3, 4))
    k_0, k_1 = sch.split(k, sch.sample_perfect_tile(k, 2, 4))
    sch.reorder(i_0, j_0, i_1, j_1, k_0, k_1, i_2, j_2)
    written = sch.cache_write(block, 0, "global")
    sch.reverse_compute_at(written, j_1, preserve_unit_loops=True)
    for operand in (0, 1):
        copy = sch.cache_read(block, operand, "global")
        sch.compute_at(copy, k_0, preserve_unit_loops=True)
        sch.annotate(copy, "note", operand)
        loops = sch.get_loops(copy)
        sch.vectorize(sch.fuse(*loops[-2:]))
    step = sch.sample_categorical([0, 16, 64], [0.25, 0.25, 0.5])
    sch.annotate(i_0, "pragma_auto_unroll_max_step", step)
    sch.unannotate(i_0, "pragma_auto_unroll_max_step")
    fused = sch.fuse(i_0, j_0)
    sch.parallel(fused)
    sch.annotate(fused, "pragma_unroll_explicit", 1)
    sch.unroll(i_2)
    init = sch.decompose_reduction(block, k_0)
    sch.vectorize(sch.get_loops(init)[-1])
    sch.vectorize(j_2)
    for copied in (written, init):
        sch.annotate(copied, "note", 1)
        sch.get_consumers(copied)
    sch.get_producers(block)
    sch.enter_postproc()


def milliseconds(act: Callable[[], Any], repeat: int) -> float:
    """The median processor time of ``act``, once warm."""
    act()
    times = []
    for _ in range(repeat):
        start = time.process_time()
        act()
        times.append(time.process_time() - start)
    return 1e3 * statistics.median(times)


def main() -> None:
    """Measure and print."""
    first = Schedule(matmul(LARGE), seed=0)
    tile(first)
    large = milliseconds(lambda: first.trace.apply_to_schedule(Schedule(matmul(LARGE))), 15)
    print(f"{len(first.trace)} instructions on a matmul of {LARGE}³: {large:.1f} ms")

    def seeded(**options: Any) -> Callable[[], Any]:
        return lambda: tile(Schedule(matmul(SMALL), seed=0, **options))

    plain, checked = milliseconds(seeded(), 15), milliseconds(seeded(check="oracle"), 7)
    times = checked / plain
    print(f"on a matmul of {SMALL}³: {plain:.1f} ms, with check='oracle' {checked:.1f} ms: {times:.1f} times")
    print(f"bars: {MOST_MILLISECONDS:.0f} ms, {MOST_TIMES:.0f} times")


if __name__ == "__main__":
    main()
