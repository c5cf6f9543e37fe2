"""Tensor expressions and their schedules: what is computed, and how.

Run it: ``python examples/tutorial/tensor_expressions.py``. Each step prints what it made.
"""

from __future__ import annotations

import numpy as np

import mlcref as tvm
from mlcref import te

N = 256

# ---- 1. What: each element of C, as a formula. Nothing is said about loops.

A = te.placeholder((N, N), name="A")
B = te.placeholder((N, N), name="B")
k = te.reduce_axis((0, N), name="k")
C = te.compute((N, N), lambda i, j: te.sum(A[i, k] * B[k, j], axis=k), name="C")
D = te.compute((N, N), lambda i, j: te.max(C[i, j], 0.0), name="D")

# ---- 2. The function that computes it, one block per tensor. Its loops are in no particular order yet.

func = te.create_prim_func([A, B, D])
print(func.script())

# ---- 3. How: wishes about the loops of each stage, and about where it is computed.
#
# D in tiles of 8 by 32; each row of tiles goes to a core. A tile of C is summed up where it is needed, in memory of its
# own, with the elements of a row as lanes of vectors.

s = te.create_schedule(D.op)
i_outer, j_outer, _, j_inner = s[D].tile(*D.op.axis, 8, 32)
s[D].parallel(i_outer)
s[D].vectorize(j_inner)

s[C].compute_at(s[D], j_outer)
i, j = C.op.axis
k_outer, k_inner = s[C].split(k, factor=4)
s[C].reorder(k_outer, i, k_inner, j)
s[C].unroll(k_inner)
s[C].vectorize(j)

# ---- 4. What the wishes come to: the loops, as a reader sees them, and the primitives that made them.

print(tvm.lower(s, [A, B, D], simple_mode=True))
print(s.tensor_ir([A, B, D]).trace)

# ---- 5. Does it mean the same? The oracle runs both programs, here those of smaller matrices.


def scheduled(n: int) -> tuple[tvm.tir.PrimFunc, tvm.tir.PrimFunc]:
    """The function before and after a schedule of the same kind, for matrices of ``n`` by ``n``."""
    X, Y, r = te.placeholder((n, n), name="X"), te.placeholder((n, n), name="Y"), te.reduce_axis((0, n), name="r")
    Z = te.compute((n, n), lambda i, j: te.sum(X[i, r] * Y[r, j], axis=r), name="Z")
    t = te.create_schedule(Z.op)
    cache = t.cache_write(Z, "local")
    _, outer, _, _ = t[Z].tile(*Z.op.axis, 4, 4)
    t[cache].compute_at(t[Z], outer)
    return te.create_prim_func([X, Y, Z]), t.tensor_ir([X, Y, Z]).mod["main"]


print(tvm.verify.check_equivalent(*scheduled(10)))

# ---- 6. A wish that would be wrong is refused, with the reason.

try:
    mistaken = te.create_schedule(D.op)
    mistaken[C].parallel(k)
    tvm.lower(mistaken, [A, B, D])
except tvm.TVMError as error:
    print(error)

# ---- 7. Run it.

a, b = np.random.default_rng(0).normal(size=(2, N, N)).astype("float32")
d = np.empty((N, N), "float32")
module = tvm.build(s, [A, B, D], target="llvm")
module(a, b, d)
expected = np.maximum(a.astype("float64") @ b, 0)
print(f"largest error: {np.abs(d - expected).max():.2g}")
for name, schedule in {"as written": te.create_schedule(D.op), "scheduled": s}.items():
    timed = tvm.build(schedule, [A, B, D], target="llvm").time_evaluator("main", tvm.cpu(), number=3)
    print(f"{name}: {timed(a, b, d).mean * 1e3:.2f} ms")
