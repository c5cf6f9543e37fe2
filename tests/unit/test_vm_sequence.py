"""Programs of compiled kernels as one call: fresh results, planned memory, checks, threads, forks."""

import functools
import os
import threading

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from mlcref import compile as compile_module
from mlcref.errors import CallError
from mlcref.ir import graph, register_global_func, remove_global_func
from mlcref.runtime import BufferParam, launch, vm, vm_sequence
from mlcref.runtime.array import NDArray, tensor
from mlcref.runtime.memory_plan import ALIGNMENT, Lifetime, plan_memory
from mlcref.script import from_source

needs_sequences = pytest.mark.skipif(launch.KernelSequence is None, reason="installed without compiled launcher")

TEXT = """
class Module:
    @T.prim_func
    def add(a: T.handle, b: T.handle, c: T.handle):
        T.func_attr({"tir.noalias": True})
        n = T.int64()
        A = T.match_buffer(a, (n,), "int32")
        B = T.match_buffer(b, (n,), "int32")
        C = T.match_buffer(c, (n,), "int32")
        for i in range(n):
            with T.block("C"):
                vi = T.axis.spatial(n, i)
                C[vi] = A[vi] + B[vi]

    @T.prim_func
    def scale(a: T.handle, b: T.handle, factor: T.int64):
        T.func_attr({"tir.noalias": True})
        n = T.int64()
        A = T.match_buffer(a, (n,), "int32")
        B = T.match_buffer(b, (n,), "int32")
        for i in T.parallel(n):
            with T.block("B"):
                vi = T.axis.spatial(n, i)
                B[vi] = A[vi] * T.int32(factor)

    @R.function
    def main(x: R.Tensor(("n",), "int32"), y: R.Tensor(("n",), "int32")):
        n = T.int64()
        cls = Module
        with R.dataflow():
            a = R.call_tir(cls.add, (x, y), R.Tensor((n,), "int32"))
            b = R.call_tir(cls.scale, (a,), R.Tensor((n,), "int32"), tir_vars=R.shape([n]))
            c = R.call_tir(cls.add, (b, a), R.Tensor((n,), "int32"))
            d = R.call_tir(cls.add, (c, x), R.Tensor((n,), "int32"))
            R.output(c, d)
        return RESULT
"""


@functools.cache
def compiled(result="(c, d)"):
    return compile_module(from_source(TEXT.replace("RESULT", result)), "cython --num-cores=2")


def main(result="(c, d)"):
    return vm.VirtualMachine(compiled(result))["main"]


def expected(x, y):
    a = x + y
    c = a * len(x) + a
    return [c.tolist(), (c + x).tolist()]


def lists(result):
    return [item.numpy().tolist() for item in result]


X, Y = np.arange(5, dtype="int32"), np.arange(5, dtype="int32")[::-1].copy()


@needs_sequences
def test_a_program_of_kernels_is_one_call_that_changes_with_the_shapes():
    run = main()
    assert lists(run(X, Y)) == expected(X, Y)
    first = run._last
    assert first.memory == ALIGNMENT  # of a: c is written over b, in the memory of the result
    assert lists(run(X[:3], Y[:3])) == expected(X[:3], Y[:3])
    assert run._last is not first
    assert lists(run(X, Y)) == expected(X, Y)
    assert run._last is first
    assert len(run._plans) == 2


def test_results_are_not_overwritten_by_the_next_call():
    run = main()
    first = run(X, Y)
    second = run(Y * 3, X)
    assert lists(first) == expected(X, Y)
    assert lists(second) == expected(Y * 3, X)
    assert all(isinstance(item, NDArray) for item in first)
    assert isinstance(main("d")(X, Y), NDArray)


def test_a_tensor_passed_twice_is_not_taken_for_one_argument():
    run, x = main(), tensor(X)
    assert lists(run(x, x)) == expected(X, X)
    assert lists(run(x, Y)) == expected(X, Y)
    assert lists(run(Y, x)) == expected(Y, X)


@pytest.mark.parametrize("result", ["(c, x)", "(c, c)", "((c, d), d)", "(c, R.shape([n]))"])
def test_other_results_are_made_step_by_step(result):
    run = main(result)
    for _ in range(2):
        value = run(X, Y)
        first = value[0][0] if isinstance(value[0], tuple) else value[0]
        assert first.numpy().tolist() == expected(X, Y)[0]
    assert run._last is None


def test_programs_that_call_python_functions_run_step_by_step():
    text = TEXT.replace("R.call_tir(cls.add, (c, x)", 'R.call_dps_packed("sum_of", (c, x)')
    module = from_source(text.replace("RESULT", "d"))

    @register_global_func("sum_of", override=True)
    def sum_of(a, b, out):
        out.array[...] = a.array + b.array

    try:
        run = vm.VirtualMachine(compile_module(module))["main"]
        assert run(X, Y).numpy().tolist() == expected(X, Y)[1]
        assert run._last is None
    finally:
        remove_global_func("sum_of")


@pytest.mark.parametrize(("argument", "rule"), [
    (X.astype("int64"), "call.dtype"), (np.zeros((5, 1), "int32"), "call.rank"), (X[:4], "call.symbol"),
    (np.zeros(10, "int32")[::2], "call.layout"), (np.zeros(21, "uint8")[1:].view("int32"), "call.aligned"),
    ([1, 2, 3, 4, 5], "call.type"),
])  # fmt: skip
def test_arguments_are_checked_in_every_call(argument, rule):
    run = main()
    run(X, Y)
    with pytest.raises(CallError, match=r"\w+: ") as caught:
        run(X, argument)
    assert caught.value.rule == rule
    assert lists(run(X, Y)) == expected(X, Y)
    with pytest.raises(CallError, match="takes 2 arguments"):
        run(X)


def test_views_and_read_only_arrays_are_arguments():
    run = main()
    x = X.view(type("Mine", (np.ndarray,), {}))
    y = Y.copy()
    y.flags.writeable = False
    for _ in range(2):
        assert lists(run(x, y)) == expected(X, Y)


def test_calls_at_the_same_time_have_memory_of_their_own():
    run, wrong = main(), []
    size = 20000

    def call(number):
        x = np.full(size, number, "int32")
        for _ in range(20):
            if lists(run(x, x)) != expected(x, x):
                wrong.append(number)

    threads = [threading.Thread(target=call, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_a_forked_child_runs_the_program():
    run = main()
    run(X, Y)
    child = os.fork()
    if child == 0:
        os._exit(0 if lists(run(X, Y)) == expected(X, Y) else 1)
    assert os.waitpid(child, 0)[1] == 0


@needs_sequences
def test_parallel_kernels_are_known_to_have_run():
    run = main()
    run(X, Y)
    assert run._last.parallel
    assert any(launcher.parallel_has_run() for launcher in launch._launchers)


def test_kernels_that_write_to_an_argument_run_step_by_step():
    text = TEXT.replace("C[vi] = A[vi] + B[vi]", "C[vi] = A[vi] + B[vi]\n                A[vi] = 0")
    run = vm.VirtualMachine(compile_module(from_source(text.replace("RESULT", "d"))))["main"]
    x = X.copy()
    x.flags.writeable = False
    with pytest.raises(CallError, match="written by the function"):
        run(x, Y)
    run(X.copy(), Y)
    assert run._last is None


def test_without_sequences_the_steps_give_the_same(monkeypatch):
    monkeypatch.setattr(vm_sequence, "KernelSequence", None)
    run = main()
    assert lists(run(X, Y)) == expected(X, Y)
    assert run._last is None


NO_ARGUMENTS = """
class Module:
    @T.prim_func
    def ones(A: T.Buffer((3,), "int32")):
        for i in range(3):
            with T.block("A"):
                vi = T.axis.spatial(3, i)
                A[vi] = 1

    @R.function
    def main():
        cls = Module
        a = R.call_tir(cls.ones, (), R.Tensor((3,), "int32"))
        return a
"""


def test_a_program_without_arguments(monkeypatch):
    executable = compile_module(from_source(NO_ARGUMENTS))
    for _ in range(2):
        run = vm.VirtualMachine(executable)["main"]
        assert run().numpy().tolist() == run().numpy().tolist() == [1, 1, 1]
        monkeypatch.setattr(vm_sequence, "KernelSequence", None)


@needs_sequences
def test_weights_may_be_arguments():
    count = 120
    params = ", ".join(f'x{i}: R.Tensor((3,), "int32")' for i in range(count))
    steps = "".join(
        f"\n            a{i} = R.call_tir(cls.add, (a{i - 1}, x{i}), R.Tensor((3,), 'int32'))" for i in range(1, count)
    ).replace("(a0,", "(x0,")
    kept = TEXT[: TEXT.index("    @R.function")]
    text = f"{kept}    @R.function\n    def main({params}):\n        cls = Module\n        with R.dataflow():{steps}"
    text += f"\n            R.output(a{count - 1})\n        return a{count - 1}\n"
    run = vm.VirtualMachine(compile_module(from_source(text), "cython --num-cores=2"))["main"]
    given = [np.full(3, i, "int32") for i in range(count)]
    assert run(*given).numpy().tolist() == [count * (count - 1) // 2] * 3
    assert run._last is not None


@needs_sequences
def test_a_sequence_is_made_of_launchers_and_few_arguments():
    param = [BufferParam("A", "int32", (1,))] * (launch.MOST_ARGUMENTS + 1)
    with pytest.raises(ValueError, match="arguments at most"):
        launch.KernelSequence(param, [], [], 0, NDArray, True)
    with pytest.raises(TypeError, match="Launcher"):
        launch.KernelSequence([], [(None, [])], [], 0, NDArray, True)


LIFETIMES = st.builds(
    lambda size, first, length: Lifetime(size, first, first + length),
    st.integers(0, 400), st.integers(0, 8), st.integers(0, 4),
)  # fmt: skip


@given(st.lists(LIFETIMES, max_size=9))
@example([Lifetime(256, 0, 0), Lifetime(192, 1, 1), Lifetime(128, 0, 1), Lifetime(64, 0, 1)])
@example([Lifetime(256, 0, 0), Lifetime(64, 1, 2), Lifetime(64, 1, 1), Lifetime(32, 0, 2)])
def test_values_that_meet_do_not_overlap(values):
    offsets, total = plan_memory(values)
    rounded = [-(-value.size // ALIGNMENT) * ALIGNMENT for value in values]
    assert all(offset % ALIGNMENT == 0 for offset in offsets)
    assert all(offset + size <= total for offset, size in zip(offsets, rounded, strict=True))
    for i, a in enumerate(values):
        for j, b in enumerate(values[:i]):
            if a.meets(b):
                assert offsets[i] + a.size <= offsets[j] or offsets[j] + b.size <= offsets[i]
    needed = [[i for i, value in enumerate(values) if value.first <= step <= value.last] for step in range(13)]
    assert max(sum(rounded[i] for i in step) for step in needed) <= total <= sum(rounded)


def test_constants_are_aligned_copies():
    given = graph.const(np.arange(7, dtype="int32"))
    machine = vm.VirtualMachine(vm.VMExecutable({}, (given.data,)))
    (made,) = machine.constants
    assert made.array.ctypes.data % ALIGNMENT == 0
    assert made.array.tolist() == given.data.tolist()
    assert not np.shares_memory(made.array, given.data)
