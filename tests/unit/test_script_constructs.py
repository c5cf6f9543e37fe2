"""The rest of TVMScript: macros, lambdas, pointers, threads, variables that are stored to, TVM's own spellings."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from mlcref import ir
from mlcref.errors import CallError, MlcrefError, OracleError, ScriptError, UnsupportedError
from mlcref.interp import interpret
from mlcref.ir import register_global_func
from mlcref.script import from_source, print_script
from mlcref.script import tir as T


def flat(*lines: str, params: str = 'A: T.Buffer((16,), "float32"), B: T.Buffer((16,), "int32")') -> Any:
    body = "\n".join(f"    {line}" for line in lines)
    return from_source(f"@T.prim_func(s_tir=False)\ndef f({params}):\n{body}\n")


def run(func: Any, a: Any = None, b: Any = None) -> tuple[Any, Any]:
    a = np.zeros(16, "float32") if a is None else np.asarray(a, "float32")
    b = np.zeros(16, "int32") if b is None else np.asarray(b, "int32")
    interpret(func, a, b)
    return a, b


def same_in_both_dialects(func: Any) -> None:
    for dialect in ("tir", "tirx"):
        text = print_script(func, dialect=dialect)
        assert ir.first_difference(func, from_source(text)) is None, text


# Macros, lambdas, values of the parser

WIDTH = 4


@T.macro
def fill(A: Any, value: Any, at: Any = 0) -> None:
    for i in range(WIDTH):
        A[at + i] = value


@T.macro(hygienic=False)
def fill_here(A: Any) -> None:
    for i in range(width):  # type: ignore[name-defined]
        A[i] = 7


def test_macros_of_python_objects() -> None:
    width = 3

    @T.prim_func
    def f(A: T.Buffer((16,), "float32"), B: T.Buffer((16,), "int32")):
        fill(A, T.float32(2))
        fill(A, T.float32(3), at=8)
        fill_here(B)

    a, b = run(f)
    assert list(a) == [2] * 4 + [0] * 4 + [3] * 4 + [0] * 4
    assert list(b[: width + 1]) == [7, 7, 7, 0]


def test_macros_in_texts_number_the_blocks_of_later_calls() -> None:
    func = from_source("""
# from tvm.script import tirx as T
@T.inline
def step(A, i):
    with T.sblock("step"):
        vi = T.axis.spatial(16, i)
        A[vi] = A[vi] + T.float32(1)

@T.prim_func(s_tir=True)
def f(A: T.Buffer((16,), "float32"), B: T.Buffer((16,), "int32")):
    for i in range(16):
        step(A, i)
        step(A, i)
""")
    assert [block.name for block in ir.blocks_in(func.body)[1:]] == ["step", "step_1"]
    assert list(run(func)[0]) == [2] * 16


def test_macros_inside_functions_see_names_as_they_are_when_called() -> None:
    func = from_source("""
@T.prim_func
def f(A: T.Buffer((16,), "float32"), B: T.Buffer((16,), "int32")):
    n = T.meta_var(1)
    @T.inline
    def put(value):
        B[n] = value
    put(5)
    n = T.meta_var(2)
    put(6)
""")
    assert list(run(func)[1][:3]) == [0, 5, 6]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        ("fill()", "called without A, value"),
        ("fill(A, 1, 2, 3)", "takes 3 plain parameters"),
        ("fill(A, 1, A=2)", "takes no other argument called A"),
        ("B[0] = fill(A, 1)", "is no expression"),
    ],
)
def test_calls_of_macros_that_do_not_fit(call: str, message: str) -> None:
    text = f'@T.prim_func\ndef f(A: T.Buffer((16,), "float32"), B: T.Buffer((16,), "int32")):\n    {call}'
    with pytest.raises(ScriptError, match=message):
        from_source(text, env={"fill": fill})


def test_lambdas_and_choices_of_the_parser() -> None:
    func = flat(
        "twice = lambda x: x * 2",
        "size = T.meta_var((1, 2, 3))",
        "B[0] = twice(twice(B[1]))",
        "B[2] = 5 if len(size) == 3 else B[100]",
        "B[3] = B[1] if B[1] > 0 else 9",
    )
    assert list(run(func, b=[0, 3] + [0] * 14)[1][:4]) == [12, 3, 5, 3]


# Variables that are stored to, views, slices


def test_variables_that_are_stored_to() -> None:
    func = flat("x: T.int32 = 1", "for i in range(3):", "    x = x + x", "y: T.int32", "y = x", "B[0] = y", "B[1] = x")
    assert list(run(func)[1][:2]) == [8, 8]
    same_in_both_dialects(func)


def test_variables_that_are_stored_to_in_a_block() -> None:
    func = from_source("""
@T.prim_func
def f(A: T.Buffer((16,), "float32"), B: T.Buffer((16,), "int32")):
    with T.block("count"):
        T.reads()
        T.writes(B[0])
        x: T.int32 = 0
        while x < 5:
            x = x + 2
        B[0] = x
""")
    assert run(func)[1][0] == 6


def test_views_of_buffers_and_pointers() -> None:
    func = flat(
        'V = T.Buffer((4,), "int32", data=B.data, elem_offset=4, strides=(2,))',
        "W = B.view(4, 4)",
        "p: T.let[T.handle('int32')] = B.data",
        'X = T.decl_buffer((16,), "int32", data=p)',
        "V[1] = 7",
        "W[3, 3] = 8",
        "X[0] = 9",
    )
    assert list(run(func)[1]) == [9, 0, 0, 0, 0, 0, 7, 0, 0, 0, 0, 0, 0, 0, 0, 8]
    same_in_both_dialects(func)


def test_pointer_parameters_are_buffers_once_declared() -> None:
    func = flat(
        'A = T.decl_buffer((4, 4), "float32", data=p)',
        'C = T.decl_buffer((16,), "float32", data=p)',
        "C[5] = A[0, 0]",
        params='p: T.handle("float32"), n: T.int32',
    )
    a = np.arange(1, 17, dtype="float32").reshape(4, 4)
    interpret(func, a, 0)
    assert a[1, 1] == 1


def test_slices_with_steps() -> None:
    func = flat("A[0:16:2] = T.Broadcast(T.float32(1), 8)", "A[1:4] = A[0:6:2]")
    assert list(run(func)[0][:6]) == [1, 1, 1, 1, 1, 0]
    assert "A[0:16:2] = " in print_script(func)
    same_in_both_dialects(func)


def test_vector_methods_of_buffers() -> None:
    func = flat('A.vstore([0], A.vload([4], "float32x4") + T.Broadcast(T.float32(1), 4))')
    assert list(run(func, a=range(16))[0][:5]) == [5, 6, 7, 8, 4]


# Tuple reductions, assumptions, undefined values, types


def test_a_reduction_of_pairs() -> None:
    @T.prim_func
    def argmax(X: T.Buffer((4, 8), "float32"), I: T.Buffer((4,), "int32"), V: T.Buffer((4,), "float32")):
        for i, k in T.grid(4, 8):
            with T.block("argmax"):
                vi, vk = T.axis.remap("SR", [i, k])
                with T.init():
                    I[vi] = -1
                    V[vi] = T.min_value("float32")
                index: T.int32 = T.Select(V[vi] >= X[vi, vk], I[vi], vk)
                value: T.float32 = T.Select(V[vi] >= X[vi, vk], V[vi], X[vi, vk])
                I[vi] = index
                V[vi] = value

    x = np.random.default_rng(1).standard_normal((4, 8)).astype("float32")
    where, value = np.zeros(4, "int32"), np.zeros(4, "float32")
    interpret(argmax, x, where, value, checks="signature")
    assert list(where) == list(x.argmax(1))
    assert list(value) == list(x.max(1))
    same_in_both_dialects(argmax)


def test_undefined_values_may_be_moved_but_not_decide() -> None:
    moved = flat("C = T.alloc_buffer((1,), 'int32')", "C[0] = T.undef()", "B[0] = T.Select(B[0] == 0, 1, C[0])")
    assert run(moved)[1][0] == 1
    with pytest.raises(OracleError, match=r"T\.undef\(\) was never written, and its value decides a condition"):
        run(flat("if T.undef() > 0:", "    B[0] = 1"))


@pytest.mark.parametrize(
    "kind",
    ["int8", "uint16", "int64", "uint64", "float16", "bfloat16", "float64", "float8_e4m3fn", "float8_e5m2", "bool"],
)
def test_every_data_type_in_buffers_literals_and_casts(kind: str) -> None:
    func = from_source(f"""
@T.prim_func
def f(A: T.Buffer((4,), "{kind}"), B: T.Buffer((4,), "float32")):
    A[1] = T.{kind}(1)
    A[2] = T.Cast("{kind}", B[2])
    B[0] = T.Cast("float32", A[1])
""")
    same_in_both_dialects(func)
    a, b = np.zeros(4, dtype_of(kind)), np.ones(4, "float32")
    interpret(func, a, b)
    assert [float(a[1]), float(a[2]), b[0]] == [1, 1, 1]


def dtype_of(kind: str) -> Any:
    from mlcref.dtype import numpy_dtype

    return numpy_dtype(kind)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("T.clz(T.uint8(1))", 7),
        ("T.clz(T.int64(-1))", 0),
        ("T.popcount(T.int32(-1))", 32),
        ("T.popcount(T.uint8(255))", 8),
        ('T.reinterpret("int32", T.float32(-0.0))', -(2**31)),
        ('T.reinterpret("int32", T.uint32(4294967295))', -1),
        ("T.q_multiply_shift(7, 1 << 30, 31, 1)", 7),
        ("T.q_multiply_shift(-3, 1 << 30, 31, 0)", -1),
        ("T.q_multiply_shift_per_axis(7, 1 << 30, 1, 0, 31, T.bool(True), T.bool(False))", 7),
        ("T.shift_left(1, 4) | 3", 19),
        ("~T.int32(5) ^ 1", -5),
    ],
)
def test_bits(value: str, expected: int) -> None:
    assert run(flat(f"B[0] = {value}"))[1][0] == expected


def test_sizes_that_do_not_agree_are_no_reinterpretation() -> None:
    with pytest.raises(ScriptError, match="the widths differ"):
        flat('B[0] = T.reinterpret("int32", T.int64(1))')


# Functions of the host


@register_global_func("constructs.add_one", override=True)
def add_one(source: Any, target: Any) -> None:
    target[...] = source + 1


def host(*pointers: str) -> Any:
    return flat(f'T.call_extern("int32", "constructs.add_one", {", ".join(pointers)})')


def test_pointers_are_arrays_of_what_they_reach() -> None:
    func = host("A.access_ptr('r', offset=4, extent=2)", "A.access_ptr('w', offset=0, extent=2)")
    assert list(run(func, a=range(16))[0][:3]) == [5, 6, 2]
    assert list(run(host("A.data", "A.data"), a=range(16))[0][:3]) == [1, 2, 3]
    assert list(run(host("T.address_of(A[15])", "A.access_ptr('rw')"), a=range(16))[0][:3]) == [16, 16, 16]
    same_in_both_dialects(func)


def test_pointers_into_matched_regions_start_at_the_region() -> None:
    func = from_source("""
@T.prim_func
def f(A: T.Buffer((16,), "float32"), B: T.Buffer((16,), "int32")):
    for i in range(4):
        with T.block("tile"):
            vi = T.axis.spatial(4, i)
            T.reads(A[vi * 4:vi * 4 + 4])
            T.writes(A[vi * 4:vi * 4 + 4])
            M = T.match_buffer(A[vi * 4:vi * 4 + 4], (4,), "float32", offset_factor=4)
            T.call_extern("int32", "constructs.add_one", M.access_ptr("r"), M.access_ptr("w"))
""")
    a = np.arange(16, dtype="float32")
    interpret(func, a, np.zeros(16, "int32"), checks="signature")
    assert list(a) == list(range(1, 17))
    same_in_both_dialects(func)


def test_undefined_memory_is_not_given_to_read() -> None:
    func = flat('C = T.alloc_buffer((4,), "float32")', 'T.call_packed("constructs.add_one", C, A)')
    with pytest.raises(OracleError, match=r"C\[0\] was never written"):
        run(func)


def test_pointers_end_with_their_memory() -> None:
    with pytest.raises(OracleError, match="which has 16"):
        run(host("A.access_ptr('r', offset=8, extent=9)", "A.access_ptr('w')"))


def test_read_only_arrays_given_to_write_are_refused_before_the_call() -> None:
    a = np.zeros(16, "float32")
    a.setflags(write=False)
    with pytest.raises(CallError, match="read-only"):
        interpret(host("A.access_ptr('r')", "A.access_ptr('w')"), a, np.zeros(16, "int32"))


def test_races_through_pointers_are_seen() -> None:
    func = flat("for i in T.parallel(2):", '    T.call_extern("int32", "constructs.add_one", A.data, A.data)')
    with pytest.raises(OracleError, match=r"race on A\[0\]"):
        run(func)


@pytest.mark.parametrize(
    "line",
    [
        "T.evaluate(T.vscale())",
        'T.evaluate(T.tvm_struct_get(A.data, 0, 1, "int32"))',
        "T.start_profile_intrinsic(1)",
        "T.ptx_wait_group(0)",
        'T.ptx_legacy.mma("m8n8k4", A.data)',
        "T.tvm_mma_sync(A.data, 0)",
    ],
)
def test_what_has_no_meaning_here_is_read_printed_and_refused(line: str) -> None:
    func = flat(line)
    same_in_both_dialects(func)
    with pytest.raises(UnsupportedError, match=r"has no meaning here|as a value"):
        run(func)


# Threads


def test_thread_axes_that_are_launched() -> None:
    func = flat(
        'tx = T.env_thread("threadIdx.x")',
        "with T.launch_thread(tx, 16):",
        "    A[tx] = T.float32(1)",
        'with T.attr(tx, "thread_extent", 8):',
        "    B[tx] = tx",
    )
    a, b = run(func)
    assert list(a) == [1] * 16
    assert list(b) == [*range(8), *[0] * 8]
    assert 'with T.launch_thread("threadIdx.x", 16) as tx:' in print_script(func)
    same_in_both_dialects(func)


def test_a_missing_barrier_is_a_race() -> None:
    lines = ['S = T.alloc_buffer((16,), "int32", scope="shared")', 't = T.launch_thread("threadIdx.x", 16)',
             "S[t] = B[t]", 'T.tvm_storage_sync("shared")', "B[t] = S[15 - t]", "S[t] = B[t]"]  # fmt: skip
    with pytest.raises(OracleError, match=r"race on S\["):
        run(flat(*lines), b=range(16))
    assert list(run(flat(*lines[:-1]), b=range(16))[1]) == list(range(15, -1, -1))


def allreduce(condition: str, reducer: str, axes: str = "t") -> Any:
    return flat(
        'x = T.launch_thread("threadIdx.y", 4)',
        't = T.launch_thread("threadIdx.x", 4)',
        'R = T.alloc_buffer((1,), "int32", scope="local")',
        f'with T.attr({reducer}, "reduce_scope", T.reinterpret("handle", T.uint64(0))):',
        f"    T.tvm_thread_allreduce(T.uint32(1), B[x * 4 + t], {condition}, R[0], {axes})",
        "B[x * 4 + t] = R[0]",
    )


def test_allreduce_per_group_and_over_all_threads() -> None:
    total = "T.comm_reducer(lambda a, b: a + b, [0])"
    rows = np.arange(16).reshape(4, 4)
    assert list(run(allreduce("T.bool(True)", total), b=range(16))[1]) == list(np.repeat(rows.sum(1), 4))
    assert list(run(allreduce("T.bool(True)", total, "t, x"), b=range(16))[1]) == [120] * 16
    largest = "T.comm_reducer(lambda a, b: T.max(a, b), [T.min_value('int32')])"
    assert list(run(allreduce("t < 2", largest), b=range(16))[1]) == list(np.repeat(rows[:, 1], 4))


def test_allreduce_of_pairs() -> None:
    func = flat(
        't = T.launch_thread("threadIdx.x", 16)',
        'I = T.alloc_buffer((1,), "int32", scope="local")',
        'V = T.alloc_buffer((1,), "float32", scope="local")',
        "with T.attr(T.comm_reducer(lambda i, v, j, w: (T.Select(v >= w, i, j), T.Select(v >= w, v, w)), "
        "[-1, T.float32(0)]), 'reduce_scope', T.reinterpret('handle', T.uint64(0))):",
        "    T.tvm_thread_allreduce(T.uint32(2), t, A[t], T.bool(True), I[0], V[0], t)",
        "B[t] = I[0]",
    )
    a = np.random.default_rng(2).random(16)
    assert set(run(func, a=a)[1]) == {int(np.asarray(a, "float32").argmax())}
    same_in_both_dialects(func)


def test_an_allreduce_needs_its_reducer() -> None:
    lines = ['t = T.launch_thread("threadIdx.x", 4)',
             "T.tvm_thread_allreduce(T.uint32(1), B[t], T.bool(True), B[t], t)"]  # fmt: skip
    with pytest.raises(UnsupportedError, match="without a comm_reducer"):
        run(flat(*lines))
    with pytest.raises(ScriptError, match="2 parameters, not 1"):
        allreduce("T.bool(True)", "T.comm_reducer(lambda a: a, [0])")


# TVM's own spellings


def test_texts_of_tvm_with_type_variables_and_dimensions_by_name() -> None:
    func = from_source("""# from typing import TypeVar
# from tvm.script import tirx as T
# from tvm.tirx.layout import Axis

n = TypeVar("n")
@T.prim_func(s_tir=True)
def f(A: T.Buffer((n, "m"), "float32"), B: T.Buffer((n,), "float32", strides=(T.int64(1),), elem_offset=m)):
    m = T.int32()
    # with T.sblock("root"):
    for i in range(n):
        with T.sblock("x"):
            vi = T.axis.spatial(n, i)
            B[vi] = A[vi, 0]
""")
    assert [(var.name, var.type) for var in func.shape_vars()] == [("n", "int64"), ("m", "int32")]
    same_in_both_dialects(func)


def test_size_variables() -> None:
    func = flat(
        "n = T.int64(is_size_var=True)", 'A = T.match_buffer(a, (n,), "float32")', "A[0] = 1.0", params="a: T.handle"
    )
    assert [var.name for var in func.shape_vars()] == ["n"]


def test_messages_of_assertions_as_tvm_writes_them() -> None:
    func = flat('assert B[0] == 0, ("RuntimeError", ["B", " is not 0"])')
    with pytest.raises(OracleError, match="assertion failed: B is not 0"):
        run(func, b=[1] * 16)


def test_jumps_as_tvm_writes_them() -> None:
    lines = ["if i == 1:", "    T.continue_loop()", "if i == 3:", "    T.break_loop()", "B[i] = 1"]
    func = flat("for i in range(9):", *(f"    {line}" for line in lines))
    assert list(run(func)[1][:5]) == [1, 0, 1, 0, 0]


def test_tables_of_attributes() -> None:
    func = flat('with T.attr({"pragma_a": 1, "pragma_b": "on"}):', "    B[0] = 1", "B[1] = 2")
    assert [node.key for node in ir.walk(func.body) if isinstance(node, ir.AttrStmt)] == ["pragma_a", "pragma_b"]
    assert 'with T.attr({"pragma_a": 1}):' in print_script(func, dialect="tirx")
    same_in_both_dialects(func)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("T.evaluate(T.address_of(B[0] + 1))", "points to an element"),
        ("T.evaluate(A.access_ptr('x'))", "access_ptr takes"),
        ('T.launch_thread("blockIdx.q", 4)', "unknown thread axis"),
        ('T.launch_thread("blockIdx.x", 4)', "this thread axis has no variable"),
        ("for i in T.serial(0, 8, step=-2):\n        B[i] = 0", "the step of a loop is positive, not -2"),
        ("for i in T.serial(0, 8, step=A[0]):\n        B[i] = 0", "the step of a loop is an integer, not float32"),
        ("B[0] = T.Ramp(0, 1, T.vscale() * 4)", "whose length is no constant"),
        ("V = T.decl_buffer((4,), data=B[0])", "must be the memory of a buffer"),
        ("return A.data", "a tensor program returns a number, not a handle"),
    ],
)
def test_what_does_not_fit_is_refused(line: str, message: str) -> None:
    with pytest.raises(MlcrefError, match=message):
        flat(line)
