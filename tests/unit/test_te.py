"""Tensor expressions: what create_prim_func makes of them, and what it computes."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest

from mlcref import te, tir
from mlcref.interp import interpret
from mlcref.ir import (
    PrimFunc, assert_structural_equal, blocks_in, loop, register_global_func, remove_global_func, store, walk,
)  # fmt: skip
from mlcref.ir.stmt import For
from mlcref.script import from_source

HEADER = "from mlcref.script import tir as T\n\n"


@contextmanager
def registered(name: str, function: Callable[..., Any]) -> Iterator[None]:
    register_global_func(name, function)
    try:
        yield
    finally:
        remove_global_func(name)


def parsed(text: str) -> PrimFunc:
    func = from_source(HEADER + text)
    assert isinstance(func, PrimFunc)
    return func


def loops(func: PrimFunc) -> list[For]:
    return [node for node in walk(func.body) if isinstance(node, For)]


def matmul_relu() -> list[te.Tensor]:
    A = te.placeholder((16, 8), "float32", name="A")
    B = te.placeholder((8, 4), "float32", name="B")
    k = te.reduce_axis((0, 8), "k")
    Y = te.compute((16, 4), lambda i, j: te.sum(A[i, k] * B[k, j], axis=k), name="Y")
    C = te.compute((16, 4), lambda i, j: te.max(Y[i, j], 0), name="C")
    return [A, B, Y, C]


def test_matmul_relu_is_the_program_of_the_course() -> None:
    A, B, _, C = matmul_relu()
    expected = parsed('''
@T.prim_func
def main(A: T.Buffer((16, 8), "float32"), B: T.Buffer((8, 4), "float32"), C: T.Buffer((16, 4), "float32")):
    T.func_attr({"global_symbol": "main", "tir.noalias": True})
    Y = T.alloc_buffer((16, 4))
    for i, j, k in T.grid(16, 4, 8):
        with T.block("Y"):
            v_i, v_j, v_k = T.axis.remap("SSR", [i, j, k])
            T.reads(A[v_i, v_k], B[v_k, v_j])
            T.writes(Y[v_i, v_j])
            with T.init():
                Y[v_i, v_j] = T.float32(0.0)
            Y[v_i, v_j] = Y[v_i, v_j] + A[v_i, v_k] * B[v_k, v_j]
    for i, j in T.grid(16, 4):
        with T.block("C"):
            v_i, v_j = T.axis.remap("SS", [i, j])
            T.reads(Y[v_i, v_j])
            T.writes(C[v_i, v_j])
            C[v_i, v_j] = T.max(Y[v_i, v_j], T.float32(0.0))
''')
    func = te.create_prim_func([A, B, C])
    assert_structural_equal(func, expected)
    assert_structural_equal(parsed(func.script()), func)


def test_names_of_blocks_loops_iterators_and_buffers() -> None:
    A, B, _, C = matmul_relu()
    func = te.create_prim_func([A, B, C])
    root, *blocks = blocks_in(func.body)
    assert [block.name for block in blocks] == ["Y", "C"]
    assert [loop.loop_var.name for loop in loops(func)] == ["i", "j", "k", "i", "j"]
    assert [[each.var.name for each in block.iter_vars] for block in blocks] == [["v_i", "v_j", "v_k"], ["v_i", "v_j"]]
    assert [each.iter_type for each in blocks[0].iter_vars] == ["spatial", "spatial", "reduce"]
    assert [buffer.name for buffer in func.params] == ["A", "B", "C"]
    assert [buffer.name for buffer in root.alloc_buffers] == ["Y"]


def test_an_intermediate_tensor_can_be_a_parameter() -> None:
    func = te.create_prim_func(matmul_relu())
    assert [buffer.name for buffer in func.params] == ["A", "B", "Y", "C"]
    assert func.root.alloc_buffers == ()
    a, b = np.ones((16, 8), "float32"), np.full((8, 4), 2, "float32")
    y, c = np.zeros((16, 4), "float32"), np.zeros((16, 4), "float32")
    interpret(func, a, b, y, c)
    np.testing.assert_array_equal(y, np.full((16, 4), 16))
    np.testing.assert_array_equal(c, y)


def test_two_calls_share_no_buffer_and_no_variable() -> None:
    tensors = matmul_relu()
    first, second = te.create_prim_func(tensors), te.create_prim_func(tensors)
    assert_structural_equal(first, second)
    assert not set(first.params) & set(second.params)
    assert not {loop.loop_var for loop in loops(first)} & {loop.loop_var for loop in loops(second)}


def test_star_parameters_name_the_axes_i0_i1() -> None:
    A = te.placeholder((2, 3, 4), name="A")
    B = te.compute(A.shape, lambda *i: A(*i) + 1.0, name="B")
    C = te.compute(A.shape, lambda n, *rest: B[(n, *rest)] * 2.0, name="C")
    assert [axis.name for axis in B.op.axis] == ["i0", "i1", "i2"]
    assert [axis.name for axis in C.op.axis] == ["n", "i0", "i1"]


def test_a_tensor_is_indexed_at_once_or_step_by_step() -> None:
    A = te.placeholder((4, 4), name="A")
    straight = te.compute((4,), lambda i: A[i, 3], name="B")
    stepwise = te.compute((4,), lambda i: A[i][3], name="B")
    called = te.compute((4,), lambda i: A(i, 3), name="B")
    expected = te.create_prim_func([A, straight])
    assert_structural_equal(te.create_prim_func([A, stepwise]), expected)
    assert_structural_equal(te.create_prim_func([A, called]), expected)


def test_shape_dtype_and_inputs_of_a_tensor() -> None:
    A = te.placeholder((4, 8), "int8", name="A")
    B = te.compute((4,), lambda i: A[i, 0].astype("int32") + A[i, 1].astype("int32"), name="B")
    assert (A.ndim, A.dtype, [int(n) for n in A.shape]) == (2, "int8", [4, 8])
    assert (B.ndim, B.dtype, B.name) == (1, "int32", "B")
    assert B.op.input_tensors == (A,)
    assert A.shape[0] == B.shape[0]
    assert A.op.input_tensors == ()


def test_inputs_are_found_after_their_python_names_are_gone() -> None:
    A = te.placeholder((4,), name="A")
    C = te.compute((4,), lambda i: te.compute((4,), lambda j: A[j] * 2.0, name="B")[i] + 1.0, name="C")
    func = te.create_prim_func([A, C])
    assert [block.name for block in blocks_in(func.body)] == ["root", "B", "C"]


def test_producers_come_before_consumers_each_once() -> None:
    A = te.placeholder((4,), name="A")
    left = te.compute((4,), lambda i: A[i] + 1.0, name="left")
    right = te.compute((4,), lambda i: left[i] * 2.0, name="right")
    out = te.compute((4,), lambda i: right[i] - left[i], name="out")
    func = te.create_prim_func([out, A])
    assert [block.name for block in blocks_in(func.body)] == ["root", "left", "right", "out"]
    result = np.zeros(4, "float32")
    interpret(func, result, np.arange(4, dtype="float32"))
    np.testing.assert_array_equal(result, np.arange(4) + 1)


def test_independent_blocks_come_in_the_order_of_the_arguments_and_of_use() -> None:
    A = te.placeholder((4,), "int32", name="A")
    first, second, third = (te.compute((4,), lambda i: A[i] % 4, name=name) for name in ("first", "second", "third"))
    used = te.compute((4,), lambda i: second[third[i]] + first[i], name="used")
    assert [tensor.name for tensor in used.op.input_tensors] == ["third", "second", "first"]
    blocks = blocks_in(te.create_prim_func([A, used]).body)
    assert [block.name for block in blocks] == ["root", "third", "second", "first", "used"]
    blocks = blocks_in(te.create_prim_func([A, second, used, third]).body)
    assert [block.name for block in blocks] == ["root", "second", "third", "first", "used"]


def test_regions_know_where_an_axis_starts() -> None:
    A = te.placeholder((4,), name="A")
    k = te.reduce_axis((8, 12), "k")
    S = te.compute((), lambda: te.sum(A[k // 8] * A[0], axis=k), name="S")
    (region,) = blocks_in(te.create_prim_func([A, S]).body)[1].reads
    assert (int(region.region[0].min), int(region.region[0].extent)) == (0, 2)


def test_equal_names_give_different_block_names() -> None:
    A = te.placeholder((4,), name="A")
    B = te.compute((4,), lambda i: A[i] + 1.0)
    C = te.compute((4,), lambda i: B[i] + 1.0)
    func = te.create_prim_func([A, C])
    assert [block.name for block in blocks_in(func.body)] == ["root", "compute", "compute_1"]


def test_reduction_over_a_range_that_does_not_start_at_zero() -> None:
    A = te.placeholder((8,), "int32", name="A")
    k = te.reduce_axis((2, 6), "k")
    total = te.compute((), lambda: te.sum(A[k], axis=k), name="total")
    func = te.create_prim_func([A, total])
    (loop,) = loops(func)
    assert (int(loop.min), int(loop.extent)) == (2, 4)
    result = np.zeros((), "int32")
    interpret(func, np.arange(8, dtype="int32"), result)
    assert result == 2 + 3 + 4 + 5


def test_a_scalar_without_reduction_gets_a_unit_iterator() -> None:
    A = te.placeholder((4,), name="A")
    first = te.compute((), lambda: A[0] + 1.0, name="first")
    func = te.create_prim_func([A, first])
    block = blocks_in(func.body)[1]
    assert [(each.var.name, int(each.dom.extent)) for each in block.iter_vars] == [("vi", 1)]
    result = np.zeros((), "float32")
    interpret(func, np.arange(4, dtype="float32"), result)
    assert result == 1


@pytest.mark.parametrize(
    ("reducer", "expected"), [(te.max, np.max), (te.min, np.min), (te.sum, np.sum), (te.prod, np.prod)]
)
@pytest.mark.parametrize("dtype", ["float32", "int32", "float16", "int8"])
def test_reducers(reducer: te.CommReducer, expected: object, dtype: str) -> None:
    A = te.placeholder((3, 2, 2), dtype, name="A")
    k, n = te.reduce_axis((0, 2), "k"), te.reduce_axis((0, 2), "n")
    R = te.compute((3,), lambda i: reducer(A[i, k, n], axis=[k, n]), name="R")
    a = np.array([[[-1, -2], [-3, -4]], [[1, 2], [3, 4]], [[0, -7], [5, 1]]], dtype)
    r = np.zeros(3, dtype)
    interpret(te.create_prim_func([A, R]), a, r)
    np.testing.assert_array_equal(r, expected(a, axis=(1, 2)).astype(dtype))  # type: ignore[operator]


def test_a_reducer_of_ones_own() -> None:
    either = te.comm_reducer(lambda x, y: te.any(x, y), lambda dtype: te.const(False, dtype), name="either")
    A = te.placeholder((3, 2), "int32", name="A")
    k = te.reduce_axis((0, 2), "k")
    R = te.compute((3,), lambda i: either(A[i, k] > 4, axis=k), name="R")
    r = np.zeros(3, "bool")
    interpret(te.create_prim_func([A, R]), np.array([[1, 2], [5, 1], [4, 9]], "int32"), r)
    assert r.tolist() == [False, True, True]


def test_where_takes_only_some_values() -> None:
    A = te.placeholder((2, 4), "int32", name="A")
    k = te.reduce_axis((0, 4), "k")
    S = te.compute((2,), lambda i: te.sum(A[i, k], axis=k, where=A[i, k] > 0), name="S")
    M = te.compute((2,), lambda i: te.max(A[i, k], axis=k, where=A[i, k] < 3), name="M")
    a = np.array([[1, -2, 3, -4], [-1, 2, 7, 1]], "int32")
    s, m = np.zeros(2, "int32"), np.zeros(2, "int32")
    interpret(te.create_prim_func([A, S, M]), a, s, m)
    assert s.tolist() == [4, 10]
    assert m.tolist() == [1, 2]


def test_a_reduction_can_start_at_a_given_value() -> None:
    A, bias = te.placeholder((2, 3), name="A"), te.placeholder((2,), name="bias")
    k = te.reduce_axis((0, 3), "k")
    S = te.compute((2,), lambda i: te.sum(A[i, k], axis=k, init=bias[i]), name="S")
    s = np.zeros(2, "float32")
    interpret(te.create_prim_func([A, bias, S]), np.ones((2, 3), "float32"), np.array([10, 20], "float32"), s)
    assert s.tolist() == [13, 23]


def test_max_of_two_values_is_no_reduction() -> None:
    A = te.placeholder((4,), name="A")
    B = te.compute((4,), lambda i: te.min(te.max(A[i], 0), 6), name="B")
    assert B.op.reduce_axis == ()
    b = np.zeros(4, "float32")
    interpret(te.create_prim_func([A, B]), np.array([-1, 3, 7, 6], "float32"), b)
    assert b.tolist() == [0, 3, 6, 6]


def test_padding_reads_only_inside() -> None:
    A = te.placeholder((4,), "int32", name="A")
    P = te.compute((6,), lambda i: te.if_then_else(te.all(i >= 1, i < 5), A[i - 1], 0), name="P")
    p = np.ones(6, "int32")
    interpret(te.create_prim_func([A, P]), np.array([1, 2, 3, 4], "int32"), p)
    assert p.tolist() == [0, 1, 2, 3, 4, 0]


def test_an_axis_takes_part_in_arithmetic() -> None:
    A = te.placeholder((10,), "int32", name="A")
    k = te.reduce_axis((0, 3), "k")
    weight = te.if_then_else(k == 1, k, -k)
    C = te.compute((4,), lambda i: te.sum(A[i + k * 2 - k] * (2 - k) + weight, axis=k), name="C")
    a, c = np.arange(10, dtype="int32"), np.zeros(4, "int32")
    interpret(te.create_prim_func([A, C]), a, c)
    assert c.tolist() == [sum(a[i + k] * (2 - k) + (k if k == 1 else -k) for k in range(3)) for i in range(4)]


def test_symbolic_extents_are_bound_by_the_arguments() -> None:
    n, m = te.var("n"), te.var("m")
    A = te.placeholder((n, m), name="A")
    k = te.reduce_axis((0, m), "k")
    R = te.compute((n,), lambda i: te.sum(A[i, k], axis=k), name="R")
    D = te.compute((n * 2,), lambda i: R[i // 2], name="D")
    func = te.create_prim_func([A, D])
    assert func.shape_vars() == (n, m)
    for rows, columns in [(2, 3), (1, 5)]:
        a, d = np.random.default_rng(0).integers(0, 9, (rows, columns)).astype("float32"), np.zeros(2 * rows, "float32")
        interpret(func, a, d)
        np.testing.assert_array_equal(d, np.repeat(a.sum(axis=1), 2))


def test_scalar_parameters_stay_in_their_place() -> None:
    A = te.placeholder((4,), "int32", name="A")
    shift = te.var("shift")
    B = te.compute((4,), lambda i: A[i] + shift, name="B")
    func = te.create_prim_func([A, shift, B])
    assert func.params[1] is shift
    b = np.zeros(4, "int32")
    interpret(func, np.arange(4, dtype="int32"), 5, b)
    assert b.tolist() == [5, 6, 7, 8]


def test_int64_extents_make_int64_loops() -> None:
    n = te.const(4, "int64")
    A = te.placeholder((n, n), name="A")
    k = te.reduce_axis((0, n), "k")
    R = te.compute((n,), lambda i: te.sum(A[i, k], axis=k), name="R")
    func = te.create_prim_func([A, R])
    assert {loop.loop_var.dtype for loop in loops(func)} == {"int64"}
    assert {each.var.dtype for each in blocks_in(func.body)[1].iter_vars} == {"int64"}


def test_attributes_become_annotations_of_the_block() -> None:
    A = te.placeholder((4,), name="A")
    B = te.compute((4,), lambda i: A[i], name="B", tag="injective", attrs={"schedule_rule": "none", "tiles": [2, 2]})
    block = blocks_in(te.create_prim_func([A, B]).body)[1]
    assert dict(block.annotations) == {"schedule_rule": "none", "tiles": [2, 2]}
    assert B.op.tag == "injective"


def test_functions_are_the_intrinsics_of_the_same_name() -> None:
    x = te.var("x", "float32")
    for name in ("exp", "tanh", "sqrt", "floor", "round", "abs", "sigmoid", "erf"):
        made = getattr(te, name)(x)
        assert (made.op, made.dtype) == (name, "float32")
    assert te.isnan(x).dtype == "bool"
    assert (te.power(x, 2).op, te.power(x, 2).args[1].value) == ("pow", 2.0)


def test_integer_division_rounds_as_its_name_says() -> None:
    A = te.placeholder((4,), "int32", name="A")
    functions = {"fd": te.floordiv, "fm": te.floormod, "td": te.truncdiv, "tm": te.truncmod}
    outputs = [te.compute((4,), _applied(function, A), name=name) for name, function in functions.items()]
    results = [np.zeros(4, "int32") for _ in outputs]
    interpret(te.create_prim_func([A, *outputs]), np.array([7, -7, 6, -6], "int32"), *results)
    assert [r.tolist() for r in results] == [[2, -3, 2, -2], [1, 2, 0, 0], [2, -2, 2, -2], [1, -1, 0, 0]]


def _applied(function: object, A: te.Tensor) -> object:
    return lambda i: function(A[i], 3)  # type: ignore[operator]


def test_a_reduction_of_pairs_gives_two_tensors() -> None:
    A, k = te.placeholder((3, 5), "int32", name="A"), te.reduce_axis((0, 5), "k")
    later = te.comm_reducer(
        lambda x, y: (te.Select(x[1] > y[1], x[0], y[0]), te.max(x[1], y[1])),
        lambda index, value: (te.const(-1, index), te.min_value(value)), name="later",
    )  # fmt: skip
    place, top = te.compute((3,), lambda i: later((k, A[i, k]), axis=k), name="M")
    assert (place.value_index, top.value_index, place.op is top.op) == (0, 1, True)
    assert (place.op.num_outputs, place.op.output(1), place.op.input_tensors) == (2, top, (A,))
    a = np.array([[1, 7, 3, 7, 2], [-5, -6, -7, -5, -9], [0, 0, 0, 0, 0]], "int32")
    where, largest = np.zeros(3, "int32"), np.zeros(3, "int32")
    interpret(te.create_prim_func([A, place, top]), a, where, largest)
    np.testing.assert_array_equal(where, [3, 3, 4])
    np.testing.assert_array_equal(largest, a.max(1))


def test_two_reductions_in_one_start_where_they_are_told_and_take_what_they_are_told() -> None:
    A, k = te.placeholder((6,), "int32", name="A"), te.reduce_axis((0, 6), "k")
    both = te.comm_reducer(
        lambda x, y: (x[0] + y[0], x[1] * y[1]), lambda s, p: (te.const(0, s), te.const(1, p)), name="both"
    )
    total, product = te.compute((), lambda: both((A[k], A[k]), axis=k, where=A[k] > 1, init=(100, 2)), name="R")
    s, p = np.zeros((), "int32"), np.zeros((), "int32")
    interpret(te.create_prim_func([A, total, product]), np.arange(6, dtype="int32"), s, p)
    assert (s, p) == (100 + 2 + 3 + 4 + 5, 2 * 2 * 3 * 4 * 5)


def test_a_reducer_combines_two_tuples_as_well() -> None:
    swap = te.comm_reducer(lambda x, y: (y[1], x[0]), lambda a, b: (te.const(0, a), te.const(0, b)), name="swap")
    A = te.placeholder((4,), "int32", name="A")
    C, D = te.compute((4,), lambda i: swap((A[i], 1), (2, A[i] * 3)), name="C")
    c, d = np.zeros(4, "int32"), np.zeros(4, "int32")
    interpret(te.create_prim_func([A, C, D]), np.arange(4, dtype="int32"), c, d)
    np.testing.assert_array_equal(c, np.arange(4) * 3)
    np.testing.assert_array_equal(d, np.arange(4))


def test_an_output_that_nobody_holds_is_computed_all_the_same() -> None:
    A = te.placeholder((4,), "int32", name="A")
    C, _ = te.compute((4,), lambda i: (A[i] + 1, A[i] * 2), name="C")
    del _
    func = te.create_prim_func([A, C])
    assert [buffer.name for buffer in func.root.alloc_buffers] == ["C_v1"]
    assert [block.name for block in blocks_in(func.body)] == ["root", "C_v0", "C_v1"]


def test_arithmetic_on_tensors_broadcasts_as_numpy_does() -> None:
    rng = np.random.default_rng(0)
    shapes = [((2, 3, 4), (4,)), ((3, 1), (2, 1, 4)), ((), (2, 2)), ((5,), ()), ((1, 3), (2, 3))]
    for left, right in shapes:
        A, B = te.placeholder(left, "int32", name="A"), te.placeholder(right, "int32", name="B")
        a, b = (np.asarray(rng.integers(-9, 9, shape), "int32") for shape in (left, right))
        expected = (a - b) * b + 2 * -a
        C = (A - B) * B + 2 * -A
        c = np.zeros(expected.shape, "int32")
        interpret(te.create_prim_func([A, B, C]), a, b, c)
        np.testing.assert_array_equal(c, expected)


def test_a_tensor_without_dimensions_is_a_number_in_a_body() -> None:
    A, s = te.placeholder((4,), "int32", name="A"), te.placeholder((), "int32", name="s")
    C = te.compute((4,), lambda i: A[i] * s + (s - A[i]), name="C")
    assert [block.name for block in blocks_in(te.create_prim_func([A, s, C]).body)] == ["root", "C"]


def test_extern_runs_a_registered_function() -> None:
    A = te.placeholder((3, 4), "int32", name="A")
    C = te.extern((3, 4), [A], lambda ins, outs: tir.call_packed("test_te.reverse", ins[0], outs[0]), name="C")
    a, c = np.arange(12, dtype="int32").reshape(3, 4), np.zeros((3, 4), "int32")
    with registered("test_te.reverse", lambda source, target: np.copyto(target, source[::-1])):
        interpret(te.create_prim_func([A, C]), a, c)
    np.testing.assert_array_equal(c, a[::-1])


def test_extern_between_computations() -> None:
    """What the function writes is an allocation, which it gets as memory without values."""
    A = te.placeholder((6,), "int32", name="A")
    B = te.compute((6,), lambda i: A[i] * 2, name="B")

    def called(ins: Any, outs: Any) -> Any:
        return tir.call_extern("int32", "test_te.sums", outs[0].access_ptr("w"), outs[1].access_ptr("w"),
                               ins[0].access_ptr("r"), 6)  # fmt: skip

    S, M = te.extern([(6,), (1,)], [B], called, name="S", dtype="int32")
    D = te.compute((6,), lambda i: S[i] - M[0], name="D")
    assert (S.op.input_tensors, S.op.axis, M.value_index) == ((B,), (), 1)

    def sums(running: Any, largest: Any, source: Any, n: int) -> None:
        running[:n] = np.cumsum(source[:n])
        largest[0] = source[:n].max()

    s = te.create_schedule(D.op)
    s[D].vectorize(s[D].split(D.op.axis[0], 4)[1])
    a, d = np.array([3, -1, 4, 1, -5, 9], "int32"), np.zeros(6, "int32")
    with registered("test_te.sums", sums):
        interpret(s.tensor_ir([A, D]).mod["main"], a, d)
    np.testing.assert_array_equal(d, np.cumsum(a * 2) - 18)


def test_extern_by_statements() -> None:
    A = te.placeholder((4,), "int32", name="A")

    def filled(ins: Any, outs: Any) -> Any:
        i = te.var("i")
        return loop(i, 4, store(outs[0], ins[0][3 - i], [i]))

    C = te.extern((4,), [A], filled, name="C")
    a, c = np.arange(4, dtype="int32"), np.zeros(4, "int32")
    for _ in range(2):  # the statements are copied into each function
        interpret(te.create_prim_func([A, C]), a, c)
        np.testing.assert_array_equal(c, a[::-1])
