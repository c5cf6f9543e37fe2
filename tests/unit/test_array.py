"""Arrays behave as TVM's: copies in and out, shared memory through the protocols."""

import gc
import sys

import ml_dtypes
import numpy as np
import pytest

from mlcref.errors import CallError, TypeMismatch, UnsupportedError
from mlcref.runtime import Device, NDArray, Tensor, cpu, device, empty, from_dlpack, nd, tensor


def test_tensor_and_numpy_copy():
    source = np.arange(6, dtype="float32").reshape(2, 3)
    a = tensor(source)
    source[:] = 0
    copied = a.numpy()
    copied[:] = -1
    assert a.numpy().tolist() == [[0, 1, 2], [3, 4, 5]]
    assert (a.shape, a.dtype, a.ndim, a.size, a.device, len(a)) == ((2, 3), "float32", 2, 6, cpu(0), 2)


def test_older_names():
    a = nd.array(np.ones(2, "int8"), device=cpu(0))
    assert isinstance(a, NDArray)
    assert Tensor is NDArray
    assert a.asnumpy().tolist() == [1, 1]
    assert nd.empty((2,), "int8").shape == (2,)


@pytest.mark.parametrize("source", [np.ones((3, 2)).T, np.ones(3, ">f4"), [[1, 2]], 3.5, np.ones(2).view(np.recarray)])
def test_tensor_is_dense_and_native(source):
    a = tensor(source)
    assert a.array.flags.c_contiguous
    assert a.array.dtype.isnative
    assert type(a.array) is np.ndarray
    np.testing.assert_array_equal(a.array, np.asarray(source))


@pytest.mark.parametrize("shape", [3, (2, 3), [4], ()])
def test_empty(shape):
    a = empty(shape, "bfloat16")
    assert a.dtype == "bfloat16"
    assert a.shape == np.empty(shape).shape
    assert a.array.dtype == ml_dtypes.bfloat16


def test_copyto_and_copyfrom():
    a, b = tensor([1.0, 2.0]), tensor([0.0, 0.0])
    assert a.copyto(b) is b
    assert b.numpy().tolist() == [1, 2]
    c = a.copyto(cpu(0))
    assert c is not a
    assert c.numpy().tolist() == [1, 2]
    assert a.copyfrom(np.zeros(2)).numpy().tolist() == [0, 0]
    assert c.numpy().tolist() == [1, 2]


@pytest.mark.parametrize("other", [np.zeros(3), np.zeros(2, "float32"), np.zeros((1, 2))])
def test_copy_of_another_shape_or_dtype(other):
    a = tensor([1.0, 2.0])
    with pytest.raises(CallError, match=r"cannot copy float\d\d\[.*\] into float64\[2\]  \[array.copy\]"):
        tensor(other).copyto(a)
    assert a.numpy().tolist() == [1, 2]


def test_items():
    a = tensor(np.zeros((2, 2)))
    a[0] = 1
    a[1, 1] = 2
    assert a[:, 1].tolist() == [1, 2]


def test_protocols_share_memory():
    a = tensor(np.zeros(3, "float32"))
    np.asarray(a)[0] = 1
    np.from_dlpack(a)[1] = 2
    from_dlpack(a.array)[2] = 3
    assert a.numpy().tolist() == [1, 2, 3]
    assert a.__dlpack_device__() == (1, 0)
    assert memoryview(a.array).tolist() == [1, 2, 3]
    assert np.array(a, dtype="float64").tolist() == [1, 2, 3]


def test_torch_shares_memory():
    torch = pytest.importorskip("torch", reason="torch is not installed")
    a = tensor(np.zeros(2, "float32"))
    torch.from_dlpack(a)[0] = 7
    assert a.numpy().tolist() == [7, 0]


@pytest.mark.parametrize("dtype", ["bfloat16", "float8_e4m3fn", "float8_e5m2", "float16", "bool"])
@pytest.mark.parametrize("as_capsule", [False, True])
def test_dlpack_of_types_that_numpy_has_no_name_for(dtype, as_capsule):
    given = empty((2, 3), dtype)
    given.array[...] = np.float32([[1, 0, 1], [0, 1, 0]]).astype(given.array.dtype)
    taken = from_dlpack(given.to_dlpack() if as_capsule else given)
    assert (taken.dtype, taken.shape) == (dtype, (2, 3))
    assert np.shares_memory(taken.array, given.array)
    taken.array[1] = taken.array[0]
    del taken
    gc.collect()
    assert given.array.astype("float32").tolist() == [[1, 0, 1]] * 2


def test_dlpack_keeps_the_memory_of_what_is_gone():
    taken = from_dlpack(tensor(np.full(1000, 3.0)).to_dlpack())
    gc.collect()
    assert taken.array.tolist() == [3.0] * 1000
    taken = from_dlpack(NDArray(np.ones((4, 6), ml_dtypes.bfloat16)[1:, ::2]))
    gc.collect()
    assert taken.array.tolist() == [[1.0] * 3] * 3
    assert from_dlpack(empty((0, 2), "bfloat16")).shape == (0, 2)


@pytest.mark.parametrize("dtype", ["bfloat16", "float32"])
def test_dlpack_gives_the_memory_back_once(dtype):
    array = np.ones(8, dtype)
    held = sys.getrefcount(array)
    for _ in range(20):
        taken = from_dlpack(NDArray(array).to_dlpack())
        assert sys.getrefcount(array) > held
        del taken
        from_dlpack(NDArray(array))
        NDArray(array).to_dlpack()
    gc.collect()
    assert sys.getrefcount(array) == held


def test_dlpack_of_a_type_that_has_no_number():
    strange = NDArray(np.zeros(2, "datetime64[s]"))
    with pytest.raises(UnsupportedError, match=r"datetime64\[s\] has no DLPack form: .*\[array.dlpack\]"):
        np.from_dlpack(strange)


@pytest.mark.parametrize("source", [3, "text", [1.0]])
def test_what_has_no_dlpack_form(source):
    with pytest.raises(UnsupportedError, match=r"the memory of a \w+ cannot be shared(?s:.*)\[array.dlpack\]"):
        from_dlpack(source)


def test_printing():
    a = tensor(np.ones((1, 2), "float32"))
    assert repr(a) == "<mlcref.runtime.NDArray shape=(1, 2), float32, cpu:0>\narray([[1., 1.]], dtype=float32)"
    assert str(a) == "[[1. 1.]]"


def test_devices():
    assert cpu() == Device("cpu", 0) == device("cpu") == device("cpu:0") == device("llvm", 0)
    assert (cpu(1).device_type, cpu(1).device_id, cpu(1).index) == (1, 1, 1)
    assert (str(cpu(1)), repr(cpu(1))) == ("cpu:1", "cpu(1)")
    assert device("cpu:2") == cpu(2)


def test_other_devices_are_refused():
    with pytest.raises(UnsupportedError, match=r"no arrays on device 'cuda'  \[array.device\]"):
        device("cuda")
    with pytest.raises(UnsupportedError, match="no arrays on device cuda:0"):
        empty(2, device=Device("cuda"))
    with pytest.raises(UnsupportedError, match="no arrays on device cuda:0"):
        tensor([1.0]).copyto(Device("cuda"))
    with pytest.raises(UnsupportedError, match="no arrays on device cuda:0"):
        Device("cuda").sync()


@pytest.mark.parametrize("source", ["text", [None], 1j])
def test_elements_without_a_data_type(source):
    with pytest.raises(TypeMismatch, match="unknown data type"):
        tensor(source)


def test_holder_wants_an_array(launcher):
    with pytest.raises(TypeError, match="expected a numpy array, got list"):
        launcher.ArrayHolder([1.0])
