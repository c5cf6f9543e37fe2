"""Schedules: the same program in another order, step by step, each step checked.

Run it: ``python examples/tutorial/schedules.py``. Each step prints what it made.
"""

from __future__ import annotations

import numpy as np

import mlcref as tvm

# ---- 1. The program to be transformed: a product, then ReLU.


def product_and_relu(n: int) -> tvm.tir.PrimFunc:
    text = """
@T.prim_func
def main(A: T.Buffer((N, N), "float32"), B: T.Buffer((N, N), "float32"), C: T.Buffer((N, N), "float32")):
    Y = T.alloc_buffer((N, N), "float32")
    for i, j, k in T.grid(N, N, N):
        with T.block("Y"):
            vi, vj, vk = T.axis.remap("SSR", [i, j, k])
            with T.init():
                Y[vi, vj] = T.float32(0)
            Y[vi, vj] = Y[vi, vj] + A[vi, vk] * B[vk, vj]
    for i, j in T.grid(N, N):
        with T.block("C"):
            vi, vj = T.axis.remap("SS", [i, j])
            C[vi, vj] = T.max(Y[vi, vj], T.float32(0))
"""
    made = tvm.script.from_source(text, env={"N": n})
    assert isinstance(made, tvm.tir.PrimFunc)
    return made


# ---- 2. A schedule holds the program and handles of its blocks and loops. Each primitive rewrites the program; with
# check="oracle", it also runs the program before and after, and stops at the first difference.

N = 128
sch = tvm.tir.Schedule(product_and_relu(N))
Y, C = sch.get_block("Y"), sch.get_block("C")
i, j, k = sch.get_loops(Y)

j_0, j_1 = sch.split(j, factors=[None, 16])  # the columns in panels
sch.reorder(i, j_0, k, j_1)  # a panel's columns innermost: neighbours in memory
sch.reverse_compute_at(C, j_0)  # ReLU of a panel while it is at hand
sch.decompose_reduction(Y, k)  # zeros first, then sums
sch.vectorize(j_1)
sch.vectorize(sch.get_loops("Y_init")[-1])
sch.parallel(i)
print(sch.mod["main"].script())

# ---- 3. It means the same. A verdict says how sure it is: here, inputs on which a difference would show were run.

small = tvm.tir.Schedule(product_and_relu(16))
sch.trace.apply_to_schedule(small, remove_postproc=False)
verdict = tvm.verify.check_equivalent(product_and_relu(16), small.mod["main"])
print(verdict)
assert verdict

# ---- 4. What was just used: the trace. It is the schedule as a program, which can be printed, stored and run again.

print(sch.trace)
again = tvm.tir.Schedule(product_and_relu(N))
sch.trace.apply_to_schedule(again, remove_postproc=False)
tvm.ir.assert_structural_equal(again.mod, sch.mod)

# ---- 5. What would change the meaning is refused, drawn on the program, with a hint.

wrong = tvm.tir.Schedule(product_and_relu(32))
for attempt in (
    lambda: wrong.parallel(wrong.get_loops("Y")[2]),  # all would add to one element
    lambda: wrong.compute_inline(wrong.get_block("Y")),  # a reduction has no one expression
    lambda: wrong.reverse_compute_at(wrong.get_block("C"), wrong.get_loops("Y")[2]),  # sums that are not finished
):
    try:
        attempt()
        raise AssertionError("this should have been refused")
    except tvm.TVMError as error:
        print(error, end="\n\n")
tvm.ir.assert_structural_equal(wrong.mod["main"], product_and_relu(32))  # a refusal changes nothing

# ---- 6. And every step of a schedule can be put to the oracle as it is made.

checked = tvm.tir.Schedule(product_and_relu(8), check="oracle")
i, j, k = checked.get_loops("Y")
checked.split(k, factors=[None, 3])  # 3 does not divide 8: the last part is shorter
checked.fuse(i, j)
print(checked.mod["main"].script())

# ---- 7. What it brings.

a, b = np.random.default_rng(0).standard_normal((2, N, N)).astype("float32")
c, expected = np.zeros((N, N), "float32"), np.maximum(a.astype("float64") @ b, 0)
times = {}
for name, func in {"as written": product_and_relu(N), "scheduled": sch.mod["main"]}.items():
    library = tvm.compile(func, target="cython")
    library["main"](a, b, c)
    bound = np.abs(a).astype("float64") @ np.abs(b) * (1.01 * N * 2.0**-24)  # of sums of N products, each rounded
    assert (np.abs(c - expected) <= bound).all()
    times[name] = library.time_evaluator("main", number=3)(a, b, c).mean
    print(f"{name}: {times[name] * 1e3:.3f} ms")
assert times["scheduled"] < times["as written"]
