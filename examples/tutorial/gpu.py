"""Programs for GPUs: blocks of threads, shared memory, tensor intrinsics, judged without a device.

Run it: ``python examples/tutorial/gpu.py``. Each step prints what it made. The oracle runs the threads of a block in
lock step, tells threads' private memory apart, and refuses races; there is no generator of device code yet.
"""

from __future__ import annotations

import numpy as np

import mlcref as tvm
from mlcref.interp import findings
from mlcref.script import tir as T

rng = np.random.default_rng(0)


def judged(func: tvm.tir.PrimFunc, *arrays: np.ndarray) -> None:
    """The oracle runs ``func``, whose last argument starts without a value, and finds nothing wrong."""
    assert findings(func, *[array.copy() for array in arrays]) == []
    tvm.interpret(func, *arrays, poison=(func.buffers[-1].name,))


# ---- 1. Two levels: a grid of blocks, each of threads. Loops are bound to them; which iteration runs where is then
# the hardware's business.


@T.prim_func
def window_sum(A: T.Buffer((35,), "float32"), B: T.Buffer((32,), "float32")):
    for i in T.grid(32):
        with T.block("B"):
            vi = T.axis.remap("S", [i])
            B[vi] = A[vi] + A[vi + 1] + A[vi + 2]


sch = tvm.tir.Schedule(window_sum)
block = sch.get_block("B")
(i,) = sch.get_loops(block)
i_0, i_1 = sch.split(i, [None, 8])
sch.bind(i_0, "blockIdx.x")
sch.bind(i_1, "threadIdx.x")

# ---- 2. Memory that the threads of a block share. What they need, 10 elements for 8 threads, is fetched by all of them
# together: the copy's loop is split and bound to the same threads. Two rounds; in the second most threads have nothing
# to do, which the condition says.

shared = sch.cache_read(block, 0, "shared")
sch.compute_at(shared, i_1)
_, turn = sch.split(sch.get_loops(shared)[-1], [None, 8])
sch.bind(turn, "threadIdx.x")
print(sch.mod["main"].script())
assert "T.where(" in sch.mod["main"].script()

a, b = rng.integers(-9, 10, 35).astype("float32"), np.zeros(32, "float32")
judged(sch.mod["main"], a, b)
assert np.array_equal(b, a[:-3] + a[1:-2] + a[2:-1])

# ---- 3. A product. Threads of one block may sum up together; blocks, which do not wait for each other, may not.


@T.prim_func
def product(A: T.Buffer((16, 16), "float32"), B: T.Buffer((16, 16), "float32"), C: T.Buffer((16, 16), "float32")):
    for i, j, k in T.grid(16, 16, 16):
        with T.block("C"):
            vi, vj, vk = T.axis.remap("SSR", [i, j, k])
            with T.init():
                C[vi, vj] = T.float32(0)
            C[vi, vj] = C[vi, vj] + A[vi, vk] * B[vk, vj]


wrong = tvm.tir.Schedule(product)
try:
    wrong.bind(wrong.get_loops("C")[2], "blockIdx.x")
    raise AssertionError("this should have been refused")
except tvm.TVMError as error:
    print(error)

# ---- 4. Blocks of threads, each of which sums up a tile of its own in registers.

sch = tvm.tir.Schedule(product)
block = sch.get_block("C")
local = sch.cache_write(block, 0, "local")
i, j, k = sch.get_loops(block)
i_0, i_1, i_2 = sch.split(i, [None, 2, 4])
j_0, j_1, j_2 = sch.split(j, [None, 2, 4])
sch.reorder(i_0, j_0, i_1, j_1, k, i_2, j_2)
sch.reverse_compute_at(local, j_1)
for loop, axis in ((i_0, "blockIdx.y"), (j_0, "blockIdx.x"), (i_1, "threadIdx.y"), (j_1, "threadIdx.x")):
    sch.bind(loop, axis)
sch.decompose_reduction(block, k)
x, y = rng.integers(-3, 4, (2, 16, 16)).astype("float32")
z = np.zeros((16, 16), "float32")
judged(sch.mod["main"], x, y, z)
assert np.array_equal(z, x @ y)

# ---- 5. Units for whole tiles. An intrinsic says what it computes, as a program, and what stands for that.


@T.prim_func
def tile_description(
    A: T.Buffer((4, 4), "float32"), B: T.Buffer((4, 4), "float32"), C: T.Buffer((4, 4), "float32")
):
    with T.block("root"):
        T.reads(C[0:4, 0:4], A[0:4, 0:4], B[0:4, 0:4])
        T.writes(C[0:4, 0:4])
        for i, j, k in T.grid(4, 4, 4):
            with T.block("update"):
                vi, vj, vk = T.axis.remap("SSR", [i, j, k])
                C[vi, vj] = C[vi, vj] + A[vi, vk] * B[vk, vj]


@T.prim_func
def tile_call(a: T.handle, b: T.handle, c: T.handle):
    sa, sb, sc = T.int32(), T.int32(), T.int32()
    A = T.match_buffer(a, (4, 4), "float32", offset_factor=4, strides=[sa, 1])
    B = T.match_buffer(b, (4, 4), "float32", offset_factor=4, strides=[sb, 1])
    C = T.match_buffer(c, (4, 4), "float32", offset_factor=4, strides=[sc, 1])
    with T.block("root"):
        T.reads(C[0:4, 0:4], A[0:4, 0:4], B[0:4, 0:4])
        T.writes(C[0:4, 0:4])
        T.evaluate(T.call_extern("tutorial.tile", C.access_ptr("rw"), A.access_ptr("r"), B.access_ptr("r"), sc, sa, sb,
                                 dtype="int32"))  # fmt: skip


@tvm.register_global_func("tutorial.tile", override=True)
def tile(c: np.ndarray, a: np.ndarray, b: np.ndarray, *strides: int) -> int:
    """What the unit does, for the oracle: pointers are one-dimensional arrays."""

    def tile_of(memory: np.ndarray, stride: int) -> np.ndarray:
        return np.lib.stride_tricks.as_strided(memory, (4, 4), (stride * memory.itemsize, memory.itemsize))

    tile_of(c, strides[0])[...] += tile_of(a, strides[1]) @ tile_of(b, strides[2])
    return 0


tvm.tir.TensorIntrin.register("tutorial.tile", tile_description, tile_call, override=True)
sch = tvm.tir.Schedule(product)
block = sch.get_block("C")
outer, inner = zip(*[sch.split(loop, [None, 4]) for loop in sch.get_loops(block)], strict=True)
sch.reorder(*outer, *inner)
tiles = sch.blockize(inner[0])  # the tile as one block
sch.decompose_reduction(tiles, outer[2])
sch.tensorize(tiles, "tutorial.tile")
print(sch.mod["main"].script())
assert "call_extern" in sch.mod["main"].script()
z = np.zeros((16, 16), "float32")
tvm.interpret(sch.mod["main"], x, y, z, poison=("C",))
assert np.array_equal(z, x @ y)
tvm.remove_global_func("tutorial.tile")

# ---- 6. A device is asked for by name, and so is its absence.

try:
    tvm.compile(product, target="cuda")
    raise AssertionError("there is a backend for CUDA: say so here")
except tvm.TVMError as error:
    print(error)
