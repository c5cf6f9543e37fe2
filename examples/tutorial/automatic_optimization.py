"""Automatic program optimisation: schedules with choices, search over them, and schedules by rules.

Run it: ``python examples/tutorial/automatic_optimization.py``. Each step prints what it made.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

import mlcref as tvm
from mlcref.script import tir as T

TARGET = "cython --num-cores=1"
N = 128


@tvm.script.ir_module
class Product:
    @T.prim_func
    def main(A: T.Buffer((N, N), "float32"), B: T.Buffer((N, N), "float32"), C: T.Buffer((N, N), "float32")):
        T.func_attr({"global_symbol": "main", "tir.noalias": True})
        for i, j, k in T.grid(N, N, N):
            with T.block("C"):
                vi, vj, vk = T.axis.remap("SSR", [i, j, k])
                with T.init():
                    C[vi, vj] = T.float32(0)
                C[vi, vj] = C[vi, vj] + A[vi, vk] * B[vk, vj]


rng = np.random.default_rng(0)
a, b = rng.integers(-3, 4, (2, N, N)).astype("float32")  # sums of small integers are exact in any order


def seconds(module: tvm.IRModule) -> float:
    """How long a call takes; the result is compared first."""
    library, c = tvm.compile(module, target=TARGET), np.full((N, N), np.nan, "float32")
    library["main"](a, b, c)
    assert np.array_equal(c, a @ b)
    return float(library.time_evaluator("main", number=3)(a, b, c).mean)


# ---- 1. A schedule with a free choice. Instead of a number, the tile size is drawn among those that divide the loop.


def panels(sch: tvm.tir.Schedule) -> tvm.tir.Schedule:
    block = sch.get_block("C")
    i, j, k = sch.get_loops(block)
    tile = sch.sample_perfect_tile(j, n=2, max_innermost_factor=64)
    j_0, j_1 = sch.split(j, factors=tile)
    sch.reorder(i, j_0, k, j_1)
    sch.decompose_reduction(block, k)
    return sch


sch = panels(tvm.tir.Schedule(Product, seed=1))
print(sch.trace)
assert "sample_perfect_tile" in str(sch.trace) and "decision=[" in str(sch.trace)

# ---- 2. The trace has the decision, so that the choice can be made again, or differently.

again = tvm.tir.Schedule(Product)
sch.trace.apply_to_schedule(again, remove_postproc=False)
tvm.ir.assert_structural_equal(again.mod, sch.mod)
print("tile sizes drawn:", {
    str(panels(tvm.tir.Schedule(Product, seed=seed)).trace).partition("decision=")[2].partition("]")[0] + "]"
    for seed in range(8)})  # fmt: skip

# ---- 3. Search: draw, compile, measure, keep the best. This is the simplest one; better ones learn from what they saw.


def random_search(space: Callable[[tvm.tir.Schedule], tvm.tir.Schedule], trials: int) -> tvm.tir.Schedule:
    candidates = [space(tvm.tir.Schedule(Product, seed=seed)) for seed in range(trials)]
    return min(candidates, key=lambda candidate: seconds(candidate.mod))


best = random_search(panels, trials=3)
written, found = seconds(Product), seconds(best.mod)
print(f"as written: {written * 1e3:.3f} ms, best of 3: {found * 1e3:.3f} ms")

# ---- 4. Or no search at all: rules that look at the structure of the blocks, and at the machine. Their result is an
# ordinary schedule.

ruled = tvm.autoschedule(Product, target=TARGET)
print(ruled.trace)
by_rules = seconds(ruled.mod)
print(f"by rules: {by_rules * 1e3:.3f} ms")
assert by_rules < written

# ---- 5. Whoever wrote it: a schedule is checked like any other. The rules fit small programs, too.

text = Product["main"].script().replace("128", "12")
small = tvm.script.from_source(text)
verdict = tvm.verify.check_equivalent(small, tvm.autoschedule(small, target=TARGET).mod["main"])
print(verdict)
assert verdict
