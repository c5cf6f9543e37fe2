"""The launchers pass what the kernel expects, whichever form the arguments take."""

import array
import ctypes
import os
import subprocess
import sys
import textwrap
import threading

import ml_dtypes
import numpy as np
import pytest

from mlcref.runtime import BufferParam, ScalarParam, tensor
from mlcref.runtime.signature import extra_symbols

ADD = [BufferParam(name, "float32", ("n",), written=name == "C") for name in "ABC"]
SCALE = [BufferParam("A", "float32", ("n", 2), True), ScalarParam("n", "int32"), ScalarParam("s", "float32")]
SCALARS = [
    BufferParam("out", "float64", (9,), True),
    *(ScalarParam(f"s_{t}", t) for t in ("int8", "int32", "int64", "uint8", "uint64")),
    *(ScalarParam(f"s_{t}", t) for t in ("bool", "float32", "float64", "float16")),
]


@pytest.fixture
def add(launcher, kernels):
    return launcher.Launcher(kernels.address("add"), ADD, "add")


@pytest.mark.parametrize("size", [0, 1, 5])
def test_symbolic_size_reaches_the_kernel(add, size):
    a, b, c = np.arange(size, dtype="float32"), np.full(size, 10, "float32"), np.zeros(size, "float32")
    add(a, b, c)
    np.testing.assert_array_equal(c, a + b)


FORMS = {
    "numpy": np.asarray,
    "tensor": tensor,
    "memoryview": memoryview,
    "array": lambda x: array.array("f", x),
    "ctypes": lambda x: (ctypes.c_float * 3)(*x),
    "subclass": lambda x: x.view(np.recarray),
}


@pytest.mark.parametrize("form", FORMS)
def test_forms_of_an_array(add, form):
    a, b, c = (FORMS[form](np.array(values, "float32")) for values in ([1, 2, 3], [4, 5, 6], [0, 0, 0]))
    add(a, b, c)
    assert list(np.asarray(c)) == [5, 7, 9]


def test_object_with_dlpack_only(add):
    class Shared:
        def __init__(self, memory):
            self.memory = memory

        def __dlpack__(self, **request):
            return self.memory.__dlpack__(**request)

        def __dlpack_device__(self):
            return self.memory.__dlpack_device__()

    c = np.zeros(2, "float32")
    add(Shared(np.ones(2, "float32")), np.ones(2, "float32"), Shared(c))
    assert c.tolist() == [2, 2]


def test_equal_dtype_that_is_another_object(add):
    dtype = np.dtype("float32", metadata={"unit": "m"})
    c = np.zeros(2, dtype)
    add(np.ones(2, dtype), np.ones(2, "float32"), c)
    assert c.tolist() == [2, 2]


def test_read_only_inputs_and_equal_inputs_are_fine(add):
    a, c = np.ones(2, "float32"), np.zeros(2, "float32")
    a.flags.writeable = False
    add(a, a, c)
    assert c.tolist() == [2, 2]


def test_neighbours_in_one_array_do_not_overlap(add):
    memory = np.ones(6, "float32")
    add(memory[:2], memory[2:4], memory[4:])
    assert memory.tolist() == [1, 1, 1, 1, 2, 2]


def test_overlap_is_allowed_without_noalias(launcher, kernels):
    a = np.ones(2, "float32")
    launcher.Launcher(kernels.address("add"), ADD, "add", noalias=False)(a, a, a)
    assert a.tolist() == [2, 2]


def test_scalar_names_a_dimension(launcher, kernels):
    assert extra_symbols(SCALE) == ()
    a = np.ones((3, 2), "float32")
    launcher.Launcher(kernels.address("scale"), SCALE, "scale")(a, 3, 0.5)
    assert (a == 0.5).all()


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ((-128, -(2**31), -(2**53), 255, 2**53, True, 0.1, 0.1, 1.0),
         [-128, -(2**31), -(2**53), 255, 2**53, 1, float(np.float32(0.1)), 0.1, 0x3C00]),
        ((np.int8(1), np.int64(2), np.int16(3), np.uint8(4), 2**63, 0, np.float32(6), np.array(7.0), 0),
         [1, 2, 3, 4, 2**63, 0, 6, 7, 0]),
        ((True, False, np.bool_(1), 1, 1, np.bool_(0), 3, 4, np.float16(-1)), [1, 0, 1, 1, 1, 0, 3, 4, 0xBC00]),
        ((0, 0, 0, 0, 0, 1, float("inf"), float("-inf"), float("inf")), [0, 0, 0, 0, 0, 1, np.inf, -np.inf, 0x7C00]),
    ],
    ids=["extremes", "numpy", "bools", "infinities"],
)  # fmt: skip
def test_scalars_of_every_type(launcher, kernels, values, expected):
    out = np.zeros(9)
    launcher.Launcher(kernels.address("scalars"), SCALARS, "scalars")(out, *values)
    assert out.tolist() == expected


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float8_e4m3fn", "float8_e5m2", "bool", "int8", "uint16"])
def test_every_dtype_is_recognised(launcher, kernels, dtype):
    kind = np.dtype(getattr(ml_dtypes, dtype, dtype))
    a, b = np.arange(8 // kind.itemsize).astype(kind), np.zeros(8 // kind.itemsize, kind)
    params = [BufferParam("A", dtype, a.shape), BufferParam("B", dtype, b.shape, True)]
    copy = launcher.Launcher(kernels.address("copy_bytes"), params, "copy")
    copy(a, b)
    np.testing.assert_array_equal(a, b)
    copy(tensor(a), tensor(b))


def test_more_arguments_than_fit_the_stack(launcher, kernels):
    params = [*(ScalarParam(f"x{i}", "int64") for i in range(40)), BufferParam("S", "int64", (1,), True)]
    total = np.zeros(1, "int64")
    launcher.Launcher(kernels.address("sum_scalars"), params, "sum")(*range(40), total)
    assert total[0] == sum(range(40))


def test_rank_zero(launcher, kernels):
    params = [BufferParam("A", "float64", ()), BufferParam("B", "float64", (), True)]
    b = np.array(0.0)
    launcher.Launcher(kernels.address("copy_bytes"), params, "copy")(np.array(2.5), b)
    assert b == 2.5


def test_bound_runs_again_and_keeps_its_arrays(launcher, add):
    c = np.zeros(2, "float32")
    a = np.ones(2, "float32")
    bound = add.bind(a, np.ones(2, "float32"), c)
    assert c.tolist() == [0, 0]
    bound()
    a[:] = 5
    bound()
    assert c.tolist() == [6, 6]
    assert launcher.time_calls(bound, 3) > 0


def test_kernel_runs_without_the_interpreter_lock(launcher, kernels):
    params = [BufferParam("F", "int32", (1,)), BufferParam("S", "int32", (1,), True)]
    flag, seen = np.zeros(1, "int32"), np.zeros(1, "int32")
    wait = launcher.Launcher(kernels.address("wait_for_flag"), params, "wait")
    waiting = threading.Thread(target=wait, args=(flag, seen))
    waiting.start()
    flag[0] = 1
    waiting.join()
    assert seen[0] == 1


FORK = """
import os, sys, time
import numpy as np
from mlcref.runtime import BufferParam, build_kernels, launch, launch_ctypes

source = '''
from cython.parallel cimport prange
cdef void fill(void** args) noexcept nogil:
    cdef long i
    for i in prange(64, num_threads=2, schedule="static"):
        (<float*>args[0])[i] = 1
'''
Launcher = {"compiled": launch.Launcher, "ctypes": launch_ctypes.Launcher}[sys.argv[1]]
address = build_kernels(source, ["fill"]).address("fill")
fill = Launcher(address, [BufferParam("C", "float32", (64,), True)], "fill", parallel=sys.argv[2] == "ours")
c = np.zeros(64, "float32")
fill(c)
child = os.fork()
if child == 0:
    c[:] = 0
    fill(c)
    os._exit(0 if c.all() else 1)
for _ in range(200):
    done, status = os.waitpid(child, os.WNOHANG)
    if done:
        sys.exit(os.waitstatus_to_exitcode(status))
    time.sleep(0.05)
os.kill(child, 9)
sys.exit("the child hangs")
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the system has no fork")
@pytest.mark.parametrize("whose", ["ours", "another library's"])
def test_parallel_kernel_runs_in_a_forked_child(launcher, kernels, whose):
    """Whoever has used the threads of libgomp before."""
    kind = "ctypes" if launcher.__name__.endswith("ctypes") else "compiled"
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(FORK), kind, whose], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
