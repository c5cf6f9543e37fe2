"""The compiled launcher and its Python twin accept the same calls, compute the same, and refuse in the same words."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlcref.errors import CallError
from mlcref.runtime import BufferParam, ScalarParam, launch, launch_ctypes, tensor

PARAMS = [BufferParam("A", "float32", ("n", 2), True), ScalarParam("n", "int32"), ScalarParam("s", "float32")]
ADD = [BufferParam(name, "float32", ("n",), written=name == "C") for name in "ABC"]

FORMS = {
    "same": lambda x: x,
    "tensor": tensor,
    "view": memoryview,
    "double": lambda x: x.astype("float64"),
    "matrix": lambda x: x.reshape(-1, 1),
    "list": lambda x: x.tolist(),
}
STEPS = st.sampled_from([1, 1, 1, 2, -1])
PIECES = st.tuples(st.integers(0, 3), st.integers(0, 12), STEPS, st.sampled_from(sorted(FORMS)))
INTEGERS = st.one_of(st.integers(-2, 4), st.sampled_from([2**31, 2**63, 2**64, True, 2.0, np.int64(2), None]))
NUMBERS = st.one_of(st.floats(), st.integers(-9, 9), st.sampled_from(["1", 1e39, np.float32(2), None]))


def outcome(launcher, kernels, kernel, params, args, memory):
    """What one call did: the memory afterwards, or the words of the refusal."""
    try:
        launcher.Launcher(kernels.address(kernel), params, kernel)(*args)
    except CallError as refusal:
        return str(refusal)
    return memory.tobytes()


@pytest.fixture(autouse=True)
def needs_both():
    if not launch.COMPILED:
        pytest.skip("mlcref was installed without its compiled launcher")


@given(pieces=st.lists(PIECES, min_size=2, max_size=4))
def test_buffers(kernels, pieces):
    outcomes = []
    for launcher in (launch, launch_ctypes):
        memory = np.arange(16, dtype="float32")
        args = [FORMS[form](memory[start : start + size : step]) for start, size, step, form in pieces]
        outcomes.append(outcome(launcher, kernels, "add", ADD, args, memory))
    assert outcomes[0] == outcomes[1]


@given(rows=st.integers(0, 3), n=INTEGERS, s=NUMBERS)
def test_scalars(kernels, rows, n, s):
    outcomes = []
    for launcher in (launch, launch_ctypes):
        memory = np.arange(2 * rows, dtype="float32").reshape(rows, 2)
        outcomes.append(outcome(launcher, kernels, "scale", PARAMS, (memory, n, s), memory))
    assert outcomes[0] == outcomes[1]
