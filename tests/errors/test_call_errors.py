"""Each rule of a call refuses before anything is written, and says which parameter and what to do."""

import numpy as np
import pytest

from mlcref.errors import CallError, UnsupportedError
from mlcref.runtime import BufferParam, ScalarParam, tensor, time_evaluator

ADD = [BufferParam(name, "float32", ("n",), written=name == "C") for name in "ABC"]
FIXED = [BufferParam(name, "float32", (2, 4), written=name == "C") for name in "ABC"]
SCALE = [BufferParam("A", "float32", ("n", 2), True), ScalarParam("n", "int32"), ScalarParam("s", "float32")]


def ones(*shape, dtype="float32"):
    return np.ones(shape, dtype)


def read_only(x):
    x.flags.writeable = False
    return x


def unaligned():
    return np.zeros(17, "uint8")[1:].view("float32")


@pytest.fixture
def call(launcher, kernels):
    """Call a function whose arguments do not fit, and check that all of its buffers stay as they were."""

    def run(params, kernel, *args):
        arrays = [x for x in args if isinstance(x, np.ndarray)]
        before = [x.copy() for x in arrays]
        try:
            launcher.Launcher(kernels.address(kernel), params, "f")(*args)
        finally:
            for old, new in zip(before, arrays, strict=True):
                np.testing.assert_array_equal(old, new)

    return run


# Arguments for A, B, C; the words; the rule; how the hint begins.
ADD_CASES = {
    "count": ([ones(4), ones(4)], r"f: takes 3 arguments \(A: float32\[n\], .*\), got 2", "count", "outputs are"),
    "too many": ([ones(4)] * 4, r"takes 3 arguments .* got 4", "count", None),
    "list": ([ones(4), [1.0] * 4, ones(4)], r"B must be an array \(float32\[n\]\), got list", "type", r"np.array\(B, "),
    "none": ([ones(4), ones(4), None], r"C must be an array .* got NoneType", "type", r"np.array\(C, "),
    "masked": ([np.ma.array(ones(4)), ones(4), ones(4)], r"A is a masked array", "type", "pass A.filled"),
    "dtype": (
        [ones(4), ones(4, dtype="float64"), ones(4)],
        r"B must be float32\[n\], got float64\[4\]", "dtype", r'B.astype\("float32"\)',
    ),
    "swapped": (
        [ones(4, dtype=">f4"), ones(4), ones(4)],
        r"A must be float32\[n\], got byte-swapped float32\[4\]", "dtype", r'A.astype\("float32"\)',
    ),
    "rank": (
        [ones(4), ones(2, 2), ones(4)],
        r"B must have 1 dimensions \(float32\[n\]\), got float32\[2, 2\]", "rank", None,
    ),
    "symbol": (
        [ones(4), ones(4), ones(5)],
        r"C.shape\[0\] is 5, but n is 4 already, from A.shape\[0\]; expected float32\[n\], got float32\[5\]",
        "symbol", None,
    ),
    "stride": (
        [ones(8)[::2], ones(4), ones(4)],
        r"A must be dense and row-major, got strides \(8,\) .*", "layout", r"np.ascontiguousarray\(A\)",
    ),
    "reversed": (
        [ones(4)[::-1], ones(4), ones(4)],
        r"A must be dense and row-major, got strides \(-4,\) .*", "layout", r"np.ascontiguousarray\(A\)",
    ),
    "output stride": ([ones(4), ones(4), ones(8)[::2]], r"C must be dense .*", "layout", "write to a new array"),
    "aligned": ([unaligned(), ones(4), ones(4)], r"A is not aligned to its elements", "aligned", r"A.copy\(\)"),
    "read-only": ([ones(4), ones(4), read_only(ones(4))], r"C is written .* read-only", "readonly", "pass a writable"),
    "bytes": (
        [ones(4), ones(4), memoryview(bytes(16)).cast("f")],
        r"C is written by the function, but read-only", "readonly", "pass a writable",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", ADD_CASES)
def test_buffers(call, case):
    args, words, rule, hint = ADD_CASES[case]
    ending = rf"\nhint: {hint}" if hint else "$"
    with pytest.raises(CallError, match=rf"{words}  \[call.{rule}\]{ending}"):
        call(ADD, "add", *args)


@pytest.mark.parametrize("offset", [0, 1, 3])
def test_overlap_under_noalias(call, offset):
    memory = ones(8)
    with pytest.raises(CallError, match=r"f: A and C overlap in memory  \[call.alias\]\nhint: .* writes to C"):
        call(ADD, "add", memory[offset : offset + 4], ones(4), memory[3:7])


def test_overlap_of_tensors(launcher, kernels):
    a = tensor(ones(4))
    with pytest.raises(CallError, match=r"B and C overlap in memory  \[call.alias\]"):
        launcher.Launcher(kernels.address("add"), ADD, "f")(tensor(ones(4)), a, a.array)


@pytest.mark.parametrize("shape", [(3, 4), (2, 3), (2, 5), (0, 4)])
def test_constant_extents(call, shape):
    wrong = next(axis for axis in (0, 1) if shape[axis] != (2, 4)[axis])
    words = rf"B.shape\[{wrong}\] must be {(2, 4)[wrong]}, got {shape[wrong]}; expected float32\[2, 4\]"
    with pytest.raises(CallError, match=rf"{words}.*\[call.shape\]"):
        call(FIXED, "add", ones(2, 4), ones(*shape), ones(2, 4))


SCALAR_CASES = {
    "float for int": (2.0, 1.0, r"n: int32 must be an integer, got 2.0  \[call.scalar\]\nhint: pass an int"),
    "too large": (2**31, 1.0, r"n: int32 must lie in \[-2147483648, 2147483647\], got 2147483648  \[call.scalar\]"),
    "huge": (2**70, 1.0, r"n: int32 must lie in"),
    "another size": (3, 1.0, r"A.shape\[0\] is 2, but n is 3 already, from argument n; .*\[call.symbol\]"),
    "negative size": (-1, 1.0, r"A.shape\[0\] is 2, but n is -1 already"),
    "text": (2, "1.0", r"s: float32 must be a number, got str  \[call.scalar\]"),
    "array": (2, ones(2), r"s: float32 must be a number, got ndarray  \[call.scalar\]"),
    "none": (2, None, r"s: float32 must be a number, got NoneType  \[call.scalar\]"),
    "overflow": (2, 1e39, r"s: float32 cannot hold 1e\+39  \[call.scalar\]\nhint: it overflows"),
}


@pytest.mark.parametrize("case", SCALAR_CASES)
def test_scalars(call, case):
    n, s, message = SCALAR_CASES[case]
    with pytest.raises(CallError, match=message):
        call(SCALE, "scale", ones(2, 2), n, s)


def test_binding_and_timing_check_too(launcher, kernels):
    add = launcher.Launcher(kernels.address("add"), ADD, "f")
    with pytest.raises(CallError, match=r"f: B must be float32"):
        add.bind(ones(4), ones(4, dtype="int32"), ones(4))
    with pytest.raises(CallError, match=r"f: B must be float32"):
        time_evaluator(add)(ones(4), ones(4, dtype="int32"), ones(4))


def test_call_error_is_a_type_error_and_a_value_error():
    assert issubclass(CallError, TypeError)
    assert issubclass(CallError, ValueError)


def test_vector_parameter_is_unsupported(launcher):
    with pytest.raises(UnsupportedError, match="parameter A has the vector type float32x4"):
        launcher.Launcher(1, [BufferParam("A", "float32x4", (2,))], "f")
