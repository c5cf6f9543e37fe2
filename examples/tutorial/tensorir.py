"""TensorIR: what a block says, and what the oracle does with programs that say something wrong.

Run it: ``python examples/tutorial/tensorir.py``. Each step prints what it made.
"""

from __future__ import annotations

import warnings

import numpy as np

import mlcref as tvm
from mlcref.interp import findings
from mlcref.script import tir as T

# ---- 1. Three things: buffers, loops, and blocks. A block is a unit of computation. Its iterators have domains, and
# say what they are for: "spatial" ones number independent results, "reduce" ones what is combined into each of them.


@T.prim_func
def mm_relu(A: T.Buffer((16, 16), "float32"), B: T.Buffer((16, 16), "float32"), C: T.Buffer((16, 16), "float32")):
    Y = T.alloc_buffer((16, 16), "float32")
    for i, j, k in T.grid(16, 16, 16):
        with T.block("Y"):
            vi = T.axis.spatial(16, i)
            vj = T.axis.spatial(16, j)
            vk = T.axis.reduce(16, k)
            with T.init():
                Y[vi, vj] = T.float32(0)
            Y[vi, vj] = Y[vi, vj] + A[vi, vk] * B[vk, vj]
    for i, j in T.grid(16, 16):
        with T.block("C"):
            vi, vj = T.axis.remap("SS", [i, j])
            C[vi, vj] = T.max(Y[vi, vj], T.float32(0))


rng = np.random.default_rng(0)
a, b = rng.integers(-3, 4, (2, 16, 16)).astype("float32")
c = np.zeros((16, 16), "float32")
tvm.interpret(mm_relu, a, b, c)
assert np.array_equal(c, np.maximum(a @ b, 0))

# ---- 2. What each block reads and writes was not written: it follows from the body. It is printed, because schedules
# go by it, and not by the body.

print(mm_relu.script())
assert "T.reads(A[vi, vk], B[vk, vj])" in mm_relu.script()

# ---- 3. `T.init` runs where the reduction begins, wherever the loops put that. In another order, with the init in the
# middle of the loops, the block is the same, and so is its meaning.

sch = tvm.tir.Schedule(mm_relu)
i, j, k = sch.get_loops("Y")
sch.reorder(k, i, j)
other = np.zeros((16, 16), "float32")
tvm.interpret(sch.mod["main"], a, b, other)
assert np.array_equal(other, c)

# ---- 4. Domains are promises. Loops that leave out an element of one are worth a warning when the text is read.

SHORT = """
@T.prim_func
def short(A: T.Buffer((16,), "float32"), B: T.Buffer((16,), "float32")):
    for i in range(15):
        with T.block("B"):
            vi = T.axis.spatial(16, i)
            B[vi] = A[vi]
"""
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    short = tvm.script.from_source(SHORT)
print(caught[0].message)
assert "extent 15" in str(caught[0].message)

# ---- 5. And an element that was never written stops the oracle, where compiled code would return what was in memory.

try:
    tvm.interpret(short, np.ones(16, "float32"), np.zeros(16, "float32"), poison=("B",))
    raise AssertionError("the oracle has missed it")
except tvm.TVMError as error:
    print(error)

# ---- 6. So do iterations that run at once and disagree. Each of these adds to the same element.


@T.prim_func
def racy(A: T.Buffer((16,), "float32"), S: T.Buffer((1,), "float32")):
    for k in T.parallel(16):
        with T.block("S"):
            vk = T.axis.reduce(16, k)
            with T.init():
                S[0] = T.float32(0)
            S[0] = S[0] + A[vk]


try:
    tvm.interpret(racy, np.ones(16, "float32"), np.zeros(1, "float32"))
    raise AssertionError("the oracle has missed it")
except tvm.TVMError as error:
    print(error)

# ---- 7. A block may say what it reads and writes itself. Says it too little, its meaning is the same, but a schedule
# would be misled; `findings` lists such claims.


@T.prim_func
def modest(A: T.Buffer((16,), "float32"), B: T.Buffer((16,), "float32")):
    for i in range(16):
        with T.block("B"):
            vi = T.axis.spatial(16, i)
            T.reads(A[vi])
            T.writes(B[vi])
            B[vi] = A[vi] + A[15 - vi]


found = findings(modest, np.ones(16, "float32"), np.zeros(16, "float32"))
print(found[0])
assert findings(mm_relu, a, b, c) == []
assert len(found) >= 1
