"""Memory shared with torch, both ways: what one writes the other sees, for every data type that both have."""

import gc

import ml_dtypes
import numpy as np
import pytest

import mlcref
from mlcref import relax
from mlcref.errors import CallError, UnsupportedError
from mlcref.runtime import from_dlpack, tensor
from mlcref.script import from_source

torch = pytest.importorskip("torch", reason="torch is not installed")
DTYPES = (
    "float16", "float32", "float64", "bfloat16", "float8_e4m3fn", "float8_e5m2", "int8", "int16", "int32", "int64",
    "uint8", "bool",
)  # fmt: skip


def numbers(name, *shape):
    """A torch tensor of 0 and 1 in turn."""
    values = torch.arange(int(np.prod(shape))) % 2
    return values.to(getattr(torch, name)).reshape(shape)


def as_lists(array):
    return array.astype("float32").tolist()


@pytest.mark.parametrize("name", DTYPES)
def test_torch_memory_is_taken_as_it_is(name):
    given = numbers(name, 2, 3)
    taken = from_dlpack(given)
    assert (taken.dtype, taken.shape) == (name, (2, 3))
    assert as_lists(taken.array) == [[0, 1, 0], [1, 0, 1]]
    assert taken.array.ctypes.data == given.data_ptr()
    taken.array[0, 0] = 1
    assert given[0, 0].item() == 1
    del given
    gc.collect()
    assert as_lists(taken.array) == [[1, 1, 0], [1, 0, 1]]


@pytest.mark.parametrize("name", DTYPES)
@pytest.mark.parametrize("as_capsule", [False, True])
def test_torch_takes_memory_as_it_is(name, as_capsule):
    given = mlcref.runtime.empty((3,), name)
    given.array[...] = np.array([1, 0, 1]).astype(given.array.dtype)
    taken = torch.from_dlpack(given.to_dlpack() if as_capsule else given)
    assert (str(taken.dtype), taken.shape) == (f"torch.{name}", (3,))
    assert taken.data_ptr() == given.array.ctypes.data
    taken[1] = 1
    assert as_lists(given.array) == [1, 1, 1]
    del given
    gc.collect()
    assert taken.to(torch.float32).tolist() == [1, 1, 1]


@pytest.mark.parametrize("name", ["float32", "bfloat16"])
def test_capsules_strides_and_empty_tensors(name):
    given = numbers(name, 3, 4)
    capsule = torch.utils.dlpack.to_dlpack(given)
    assert from_dlpack(capsule).array.ctypes.data == given.data_ptr()
    turned = from_dlpack(given.T)
    assert as_lists(turned.array) == given.T.to(torch.float32).tolist()
    assert turned.array.ctypes.data == given.data_ptr()
    assert from_dlpack(given[1:, ::2]).array.ctypes.data == given[1:, ::2].data_ptr()
    assert from_dlpack(given[:0]).shape == (0, 4)
    assert from_dlpack(torch.tensor(1.0, dtype=given.dtype)).shape == ()


def test_a_capsule_is_used_once():
    capsule = torch.utils.dlpack.to_dlpack(torch.zeros(2))
    from_dlpack(capsule)
    with pytest.raises(UnsupportedError, match=r"the memory of a PyCapsule cannot be shared(?s:.*)array\.dlpack"):
        from_dlpack(capsule)


@pytest.mark.parametrize("given", [
    torch.zeros(2, requires_grad=True), torch.zeros(2, dtype=torch.complex64).conj(),
    torch.zeros(2, device="meta"), torch.zeros(2).to_sparse(),
])  # fmt: skip
def test_what_cannot_be_shared_is_refused(given):
    with pytest.raises(UnsupportedError, match=r"the memory of a Tensor cannot be shared(?s:.*)array\.dlpack"):
        from_dlpack(given)
    with pytest.raises(CallError, match="the memory of a Tensor cannot be shared"):
        machine("float32")["main"](given)


PROGRAM = """
@I.ir_module
class Module:
    @T.prim_func
    def twice(A: T.Buffer((2, 3), "DTYPE"), B: T.Buffer((2, 3), "DTYPE")):
        for i, j in T.grid(2, 3):
            with T.block("B"):
                vi, vj = T.axis.remap("SS", [i, j])
                B[vi, vj] = A[vi, vj] + A[vi, vj]

    @R.function
    def main(x: R.Tensor((2, 3), "DTYPE")):
        cls = Module
        y = R.call_tir(cls.twice, (x,), R.Tensor((2, 3), "DTYPE"))
        return y
"""


def machine(dtype):
    return relax.VirtualMachine(mlcref.compile(from_source(PROGRAM.replace("DTYPE", dtype))))


@pytest.mark.parametrize("name", ["float32", "bfloat16"])
def test_models_take_and_give_tensors_of_torch(name):
    run, given = machine(name), numbers(name, 2, 3)
    for _ in range(2):
        made = torch.from_dlpack(run["main"](given))
        assert torch.equal(made, given + given)
    with pytest.raises(CallError, match="must be dense"):
        run["main"](numbers(name, 3, 2).T)


def test_kernels_write_into_tensors_of_torch():
    module = mlcref.compile(from_source(PROGRAM.replace("DTYPE", "bfloat16")))
    given, out = numbers("bfloat16", 2, 3), torch.zeros(2, 3, dtype=torch.bfloat16)
    module.library["twice"](given, out)
    assert torch.equal(out, given + given)


def test_numpy_shares_what_it_has_names_for():
    made = tensor(np.arange(3, dtype="int16"))
    np.from_dlpack(made)[0] = 7
    assert made.numpy().tolist() == [7, 1, 2]
    assert from_dlpack(np.zeros(2, "float32")).dtype == "float32"
    with pytest.raises(UnsupportedError, match=r"(?s)cannot be shared.*array\.dlpack"):
        from_dlpack(np.zeros(2, ml_dtypes.float8_e4m3b11fnuz))
