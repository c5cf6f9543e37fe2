"""The virtual machine: instructions, plans, memory, devices, timing. Kernels here are Python functions."""

import numpy as np
import pytest

from mlcref import relax
from mlcref.errors import CallError, UnsupportedError
from mlcref.ir import Var, graph, register_global_func, remove_global_func
from mlcref.runtime.array import Device, NDArray, cpu, tensor
from mlcref.runtime.vm import (
    Allocate,
    GetField,
    Invoke,
    LoadConstant,
    MakeShape,
    MakeTuple,
    Program,
    VirtualMachine,
    VMExecutable,
)


def info(*shape, dtype="float32"):
    return graph.TensorStructInfo(shape, dtype)


def add(a, b, out):
    out.array[...] = a.array + b.array


def scale(a, out, factor):
    out.array[...] = a.array * factor


N = Var("n", "int64")
X = graph.Var("x", info(2, N))
SHAPE = info(2, N).shape.values


def machine(*code, params=(X,), registers=8, result, constants=(), kernels=(add, scale)):
    program = Program("main", tuple(params), tuple(code), registers, result)
    named = {kernel.__name__: kernel for kernel in kernels}
    return VirtualMachine(VMExecutable({"main": program}, constants, named), cpu())


def test_kernels_write_into_fresh_tensors_of_the_planned_shape():
    vm = machine(Allocate(1, SHAPE, "float32"), Invoke("add", False, (0, 0, 1)), result=1)
    x = np.ones((2, 3), "float32")
    first, second = vm["main"](x), vm["main"](tensor(x))
    assert isinstance(first, NDArray)
    assert first.shape == (2, 3)
    assert np.array_equal(first.numpy(), x + x)
    assert not np.shares_memory(first.array, second.array)
    assert vm["main"](np.ones((2, 5), "float32")).shape == (2, 5)
    assert vm["main"](np.ones((2, 0), "float32")).shape == (2, 0)


def test_scalars_follow_the_tensors():
    vm = machine(Allocate(1, SHAPE, "float32"), Invoke("scale", False, (0, 1), (N * 2 + 1,)), result=1)
    assert vm["main"](np.ones((2, 3), "float32")).numpy().tolist() == [[7.0] * 3] * 2


def test_tuples_and_shapes_are_values():
    vm = machine(MakeShape(1, (N, N + 1)), MakeTuple(2, (0, 1)), GetField(3, 2, 1), MakeTuple(4, (3, 2)), result=4)
    shape, (x, again) = vm["main"](np.ones((2, 3), "float32"))
    assert shape == again == (3, 4)
    assert x.shape == (2, 3)


def test_constants_are_copied_when_they_are_returned():
    constant = np.arange(3, dtype="float32")
    vm = machine(LoadConstant(1, 0), MakeTuple(2, (1, 0)), result=2, constants=(constant,))
    first, x = vm["main"](np.ones((2, 3), "float32"))
    first[0] = 9
    assert vm["main"](x)[0].numpy().tolist() == [0.0, 1.0, 2.0]
    assert constant[0] == 0


def test_an_argument_that_is_returned_shares_its_memory():
    x = np.ones((2, 3), "float32")
    assert np.shares_memory(machine(result=0)["main"](x).array, x)


def test_arguments_may_come_through_dlpack():
    class Foreign:
        def __init__(self, array):
            self.array = array

        def __dlpack__(self, **request):
            return self.array.__dlpack__(**request)

        def __dlpack_device__(self):
            return self.array.__dlpack_device__()

    x = np.ones((2, 3), "float32")
    assert np.shares_memory(machine(result=0)["main"](Foreign(x)).array, x)


def test_an_argument_whose_memory_cannot_be_shared_is_refused():
    class Elsewhere:
        def __dlpack__(self, **request):
            raise BufferError("it lives on another device")

        def __dlpack_device__(self):
            return 2, 0

    with pytest.raises(CallError, match="the memory of a Elsewhere cannot be shared"):
        machine(result=0)["main"](Elsewhere())


def test_registered_functions_get_tensors_whose_writes_are_seen():
    seen = []

    def double(x, out):
        seen.append((type(x), x.dtype, out.shape))
        np.from_dlpack(out)[...] = 2 * np.from_dlpack(x)

    register_global_func("vm.double", double, override=True)
    try:
        vm = machine(Allocate(1, SHAPE, "float32"), Invoke("vm.double", True, (0, 1)), result=1)
    finally:
        remove_global_func("vm.double")
    assert vm["main"](np.ones((2, 2), "float32")).numpy().tolist() == [[2.0, 2.0]] * 2
    assert seen == [(NDArray, "float32", (2, 2))]
    assert vm.executable.packed_names() == ("vm.double",)


def test_plans_are_checked_per_shape_and_type_and_are_bounded():
    vm = machine(Allocate(1, SHAPE, "float32"), Invoke("add", False, (0, 0, 1)), result=1)
    for size in range(100):
        assert vm["main"](np.ones((2, size), "float32")).shape == (2, size)
    assert len(vm["main"]._plans) <= 64
    with pytest.raises(CallError, match="x must be float32, got float64"):
        vm["main"](np.ones((2, 99)))
    with pytest.raises(CallError, match=r"x\.shape\[0\] must be 2, got 3"):
        vm["main"](np.ones((3, 99), "float32"))
    with pytest.raises(CallError, match="takes 1 argument"):
        vm["main"]()


def test_a_negative_extent_is_refused_before_anything_runs():
    ran = []
    vm = machine(Invoke("note", False, (0,)), Allocate(1, (N - 5,), "int8"), result=1, kernels=[ran.append])
    vm.functions["note", False] = ran.append
    with pytest.raises(CallError, match=r"main: a result would have the shape \(-2,\)"):
        vm["main"](np.ones((2, 3), "float32"))
    assert ran == []


def test_tuple_arguments():
    pair = graph.Var("pair", graph.TupleStructInfo([info(N), info(N)]))
    vm = machine(
        GetField(1, 0, 0), GetField(2, 0, 1), Allocate(3, (N,), "float32"), Invoke("add", False, (1, 2, 3)),
        params=(pair,), result=3,
    )  # fmt: skip
    x = np.ones(3, "float32")
    assert vm["main"]((x, x)).numpy().tolist() == [2.0] * 3
    with pytest.raises(CallError, match=r"pair\[1\]\.shape\[0\] is 4, but n is 3 already, from pair\[0\]\.shape\[0\]"):
        vm["main"]((x, np.ones(4, "float32")))
    with pytest.raises(CallError, match="pair must be a tuple of 2 values"):
        vm["main"]((x,))
    with pytest.raises(CallError, match=r"pair\[1\] must be dense"):
        vm["main"]((x, np.ones(6, "float32")[::2]))


def test_time_evaluator_measures_seconds_per_call():
    vm = machine(Allocate(1, SHAPE, "float32"), Invoke("add", False, (0, 0, 1)), result=1)
    result = vm.module.time_evaluator("main", cpu(), number=3, repeat=2)(np.ones((2, 3), "float32"))
    assert len(result.results) == 2
    assert 0 < result.mean < 1


def test_only_the_host_runs_programs():
    executable = VMExecutable({})
    with pytest.raises(UnsupportedError, match="does not run on cuda:0"):
        VirtualMachine(executable, Device("cuda"))
    assert relax.VirtualMachine(executable, [cpu()]).device == cpu()


def test_programs_print():
    vm = machine(
        LoadConstant(1, 0), Allocate(2, (N, info(4).shape[0]), "float32"), MakeShape(3, (N,)),
        Invoke("scale", False, (0, 2), (N,)),
        MakeTuple(4, (2, 3)), GetField(5, 4, 0), result=5, constants=(np.zeros(1),),
    )  # fmt: skip
    assert vm.executable.as_text() == "\n".join([
        "main(%0: x)",
        "  %1 = constant 0",
        "  %2 = allocate float32[n, 4]",
        "  %3 = shape [n]",
        "  kernel scale[%0, %2, n]",
        "  %4 = tuple [%2, %3]",
        "  %5 = %4[0]",
        "  return %5",
    ])  # fmt: skip
    assert vm.executable.get_source() == ""
