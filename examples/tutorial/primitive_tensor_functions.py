"""Primitive tensor functions: one step of a model as a function of buffers, and how it is run, checked and changed.

Run it: ``python examples/tutorial/primitive_tensor_functions.py``. Each step prints what it made.
"""

from __future__ import annotations

import numpy as np

import mlcref as tvm
from mlcref.script import tir as T

# ---- 1. A model is steps. One of them, as numpy has it: rows of X times rows of W, plus B.

rng = np.random.default_rng(0)
x, w, b = (rng.integers(-4, 5, shape).astype("float32") for shape in [(4, 16), (8, 16), (8,)])
expected = x @ w.T + b

# ---- 2. The same step as a primitive tensor function. Its parameters are memory with a type and a shape; it returns
# nothing but fills the last of them. Who calls it decides where the result lives, and can use the memory again.


@T.prim_func
def linear(
    X: T.Buffer((4, 16), "float32"), W: T.Buffer((8, 16), "float32"), B: T.Buffer((8,), "float32"),
    Y: T.Buffer((4, 8), "float32"),
):  # fmt: skip
    for i, j, k in T.grid(4, 8, 16):
        with T.block("Y"):
            vi, vj, vk = T.axis.remap("SSR", [i, j, k])
            with T.init():
                Y[vi, vj] = B[vj]
            Y[vi, vj] = Y[vi, vj] + X[vi, vk] * W[vj, vk]


print(linear.script())

# ---- 3. What it means: the oracle runs it element by element, as the semantics says. Nothing is compiled.

y = np.zeros((4, 8), "float32")
tvm.interpret(linear, x, w, b, y)
assert np.array_equal(y, expected)

# ---- 4. What it costs is another question. Compiled, it is one function of C behind a checked call.

library = tvm.compile(linear, target="cython")
compiled = np.zeros((4, 8), "float32")
library["linear"](x, w, b, compiled)
assert np.array_equal(compiled, expected)
print("seconds:", library.time_evaluator("linear", number=100)(x, w, b, compiled).mean)

# ---- 5. A call that does not fit is refused before anything runs.

try:
    library["linear"](x, w.T.copy(), b, compiled)
except tvm.TVMError as error:
    print(error)

# ---- 6. So is a program that means nothing. Here nobody gave the sums a beginning: the memory of Y may hold anything.


@T.prim_func
def forgetful(X: T.Buffer((4, 16), "float32"), Y: T.Buffer((4,), "float32")):
    for i, k in T.grid(4, 16):
        with T.block("Y"):
            vi, vk = T.axis.remap("SR", [i, k])
            Y[vi] = Y[vi] + X[vi, vk]


try:
    tvm.interpret(forgetful, x, np.zeros(4, "float32"), poison=("Y",))
    raise AssertionError("the oracle has missed it")
except tvm.TVMError as error:
    print(error)

# ---- 7. One function for all sizes: extents that the arguments decide.


@T.prim_func
def row_sums(x: T.handle, y: T.handle):
    n, m = T.int64(), T.int64()
    X, Y = T.match_buffer(x, (n, m), "float32"), T.match_buffer(y, (n,), "float32")
    for i, k in T.grid(n, m):
        with T.block("Y"):
            vi, vk = T.axis.remap("SR", [i, k])
            with T.init():
                Y[vi] = T.float32(0)
            Y[vi] = Y[vi] + X[vi, vk]


for shape in [(1, 1), (3, 5), (4, 16)]:
    numbers, sums = rng.integers(0, 9, shape).astype("float32"), np.zeros(shape[0], "float32")
    tvm.interpret(row_sums, numbers, sums)
    assert np.array_equal(sums, numbers.sum(axis=1))

# ---- 8. Many functions compute the same. This one takes the columns in pairs; the oracle compares the two.

sch = tvm.tir.Schedule(linear)
i, j, k = sch.get_loops("Y")
j_0, j_1 = sch.split(j, factors=[None, 2])
sch.reorder(j_0, i, k, j_1)
verdict = tvm.verify.check_equivalent(linear, sch.mod["main"])
print(verdict)
assert verdict
