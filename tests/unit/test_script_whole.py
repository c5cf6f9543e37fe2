"""Loops with a step, return values, calls between functions, pointers, shuffles: read, printed in both dialects, run,
and refused by everything that does not know them.
"""

# ruff: noqa: E501 -- programs stand on one line here
from __future__ import annotations

import math
import pickle
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlcref import ir
from mlcref.errors import MlcrefError, OracleError, ScriptError, UnsupportedError
from mlcref.interp import findings, interpret
from mlcref.ir import register_global_func
from mlcref.ir.references import fma
from mlcref.ir.typed_number import TypedFloat, TypedInt
from mlcref.rounding import rounder
from mlcref.script import from_source, print_script

PARAMS = 'A: T.Buffer((16,), "float32"), B: T.Buffer((16,), "int32"), n: T.int32'


def func_of(*lines: str, result: str = "", flat: bool = False) -> Any:
    body = "\n".join(f"    {line}" for line in lines)
    return both(f"@T.prim_func(s_tir={not flat})\ndef f({PARAMS}){result}:\n{body}\n")


def both(text: str) -> Any:
    """The program, after it was printed and read in both dialects."""
    func = from_source(text)
    for dialect in ("tir", "tirx"):
        printed = print_script(func, dialect=dialect)
        again = from_source(printed)
        assert ir.first_difference(func, again) is None, printed
        assert print_script(again, dialect=dialect) == printed
    return func


def run(func: Any, n: int = 8, b: Any = None) -> tuple[Any, Any, Any]:
    """What the function returns, and the contents of A and B."""
    a, b = np.arange(16, dtype="float32"), np.zeros(16, "int32") if b is None else np.asarray(b, "int32")
    return interpret(func, a, b, n), a, b


# Loops with a step


@pytest.mark.parametrize(
    ("head", "visited"),
    [
        ("range(0, 16, 3)", [0, 3, 6, 9, 12, 15]),
        ("range(1, n, 2)", [1, 3, 5, 7]),
        ("T.serial(4, 4, step=2)", []),
        ('T.serial(0, 16, annotations={"a": 1}, step=n)', [0, 8]),
        ("T.parallel(0, 6, step=5)", [0, 5]),
        ("T.vectorized(0, 6, step=2)", [0, 2, 4]),
        ("T.unroll(2, 9, step=3)", [2, 5, 8]),
    ],
)
def test_loops_with_a_step(head: str, visited: list[int]) -> None:
    _, _, b = run(func_of(f"for i in {head}:", "    B[i] = 1"))
    assert list(np.nonzero(b)[0]) == visited


def test_a_step_of_one_is_no_step() -> None:
    assert func_of("for i in T.serial(0, 4, step=1):", "    B[i] = 1").script().count("for i in range(4):") == 1


def test_a_step_that_is_not_positive_means_nothing() -> None:
    func = func_of("for i in range(0, 8, n):", "    B[i] = 1")
    for step in (0, -1):
        with pytest.raises(OracleError, match=rf"the step of a loop is {step}"):
            run(func, step)


def test_a_break_and_a_continue_in_a_loop_with_a_step() -> None:
    lines = ["for i in range(0, 16, 3):", "    if i == 3:", "        continue", "    if i > 9:", "        break", "    B[i] = 1"]
    assert list(np.nonzero(run(func_of(*lines))[2])[0]) == [0, 6, 9]


# Return values


def test_the_function_ends_where_it_returns() -> None:
    func = func_of("for i in range(16):", "    B[i] = 1", "    if i == n:", "        return i * 2", "T.ret(-1)", result=" -> T.int32")
    assert run(func, 3)[0] == 6
    assert list(run(func, 3)[2]) == [1] * 4 + [0] * 12
    assert run(func, 99)[0] == -1


def test_returned_values_have_the_declared_type() -> None:
    assert func_of("return 1", result=" -> T.int64").root.body.value.dtype == "int64"
    assert run(func_of("return A[3]", result=" -> T.float32"))[0] == 3.0
    assert run(func_of("B[0] = 1"))[0] is None


@pytest.mark.parametrize(
    ("lines", "result", "message"),
    [
        (["B[0] = 1"], " -> T.int32", "is declared to return int32, and never does"),
        (["return 1"], " -> T.Buffer", "which is no data type"),
        (["if n > 1:", "    return"], "", "a return without a value before the end"),
        (["if n > 1:", "    return 1", "return T.int64(1)"], "", "int64 is returned, and int32 elsewhere"),
        (["T.ret(A)"], "", "is no expression"),
        (["B[0] = T.ret(1)"], "", "is no expression"),
    ],
)
def test_returns_that_do_not_fit(lines: list[str], result: str, message: str) -> None:
    with pytest.raises(ScriptError, match=message):
        func_of(*lines, result=result)


@pytest.mark.parametrize("kind", ["T.parallel(4)", "T.vectorized(4)", 'T.thread_binding(4, thread="threadIdx.x")'])
def test_no_return_out_of_loops_without_order(kind: str) -> None:
    with pytest.raises(UnsupportedError, match="a return out of a"):
        run(func_of(f"for i in {kind}:", "    return 1"))


def test_no_return_out_of_a_block() -> None:
    with pytest.raises(UnsupportedError, match="a return out of a block"):
        run(func_of('with T.block("x"):', "    T.reads()", "    T.writes()", "    return 1"))


def test_an_undefined_value_is_not_returned() -> None:
    with pytest.raises(OracleError, match="its value decides the value returned"):
        run(func_of("C = T.alloc_buffer((1,))", "return C[0]"))


# Calls between functions

MODULE = """
@I.ir_module
class Mod:
    @T.prim_func
    def main(A: T.Buffer((4,), "float32"), C: T.Buffer((1,), "int32")):
        C[0] = Mod.scale(A, T.address_of(A[3]), 2)
        Mod.scale(A, A.data, C[0])
        Mod.nothing()

    @T.prim_func
    def scale(a: T.handle, b: T.handle, k: T.int32) -> T.int32:
        n = T.int32()
        A = T.match_buffer(a, (n,), "float32")
        B = T.match_buffer(b, (1,), "float32")
        for i in T.parallel(n - 1):
            A[i] = A[i] + B[0] * T.Cast("float32", k)
        return k + n

    @T.prim_func(private=True)
    def nothing():
        T.evaluate(0)
"""


def test_functions_call_each_other_on_memory_and_numbers() -> None:
    a, c = np.array([0, 1, 2, 3], "float32"), np.zeros(1, "int32")
    interpret(both(MODULE.replace("A.data, C", "T.address_of(A[3]), C")), a, c)
    assert (list(a), c[0]) == ([24, 25, 26, 3], 6)


def test_races_are_found_across_calls() -> None:
    with pytest.raises(OracleError, match=r"loop\.race"):
        interpret(both(MODULE), np.ones(4, "float32"), np.zeros(1, "int32"))


def calling(call: str, callee: str, params: str = 'X: T.Buffer((4,), "float32")', attrs: str = "") -> Any:
    return both(f"""
@I.ir_module
class Module:
    @T.prim_func
    def main(A: T.Buffer((8,), "float32"), B: T.Buffer((4, 4), "float32"), n: T.int32):
        {call}

    @T.prim_func(private=True)
    def h({params}){callee}
""")


def ran(mod: Any) -> Any:
    a = np.arange(8, dtype="float32")
    interpret(mod, a, np.zeros((4, 4), "float32"), 3)
    return a


BODY = ":\n        X[0] = T.float32(9)"


@pytest.mark.parametrize(
    ("call", "callee", "params", "message"),
    [
        ("Module.h(A)", BODY, 'X: T.Buffer((4,), "float32")', r"A of shape \(8,\) does not fit X"),
        ("Module.h(B)", BODY, 'X: T.Buffer((16,), "float32")', "is float32 with 1 dimensions, got float32 with 2"),
        ("Module.h(A)", BODY, 'X: T.Buffer((8,), "int32")', "X is int32 with 1 dimensions, got float32"),
        ("Module.h(A.data)", BODY, 'X: T.Buffer((4,), "float64")', "X is float64, the memory given is float32"),
        ("Module.h(T.address_of(A[5]))", BODY, 'X: T.Buffer((4,), "float32")', "reaches beyond the memory"),
        ("Module.h(A.data)", BODY, 'X: T.Buffer(("m",), "float32")', "nothing says what m in the shape of X is"),
        ('Module.h(T.reinterpret("handle", T.uint64(0)))', BODY, 'X: T.Buffer((4,), "float32")', "given a null pointer"),
        (
            "Module.h(A, A.data)", ':\n        T.func_attr({"tir.noalias": True})' + BODY[1:],
            'X: T.Buffer((8,), "float32"), Y: T.Buffer((2,), "float32")', "X and Y overlap in memory",
        ),
        ("A[0] = Module.h(n)", " -> T.float32:\n        if n > 9:\n            return T.float32(1)", "n: T.int32", "without returning"),
    ],
)  # fmt: skip
def test_calls_that_do_not_fit_mean_nothing(call: str, callee: str, params: str, message: str) -> None:
    with pytest.raises(OracleError, match=message + r"(.|\n)*\[call\.function\]"):
        ran(calling(call, callee, params))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        ("Module.h()", "h takes 1 arguments, got 0"),
        ("Module.h(3)", "argument 0 of h is memory, not int32"),
        ("Module.g(A)", "no attribute 'g' here"),
        ("A[0] = Module.h(A)", "void"),
        ("Module.h(A[0:4])", "argument 0 of h is memory, not float32x4"),
        ("Module.h(X=A)", "unexpected keyword"),
    ],
)
def test_calls_that_the_parser_refuses(call: str, message: str) -> None:
    with pytest.raises(ScriptError, match=message):
        calling(call, BODY)


def test_arguments_take_the_type_of_the_parameter() -> None:
    mod = calling("A[0] = Module.h(3)", " -> T.float32:\n        return x * T.float32(2)", "x: T.float32")
    assert ran(mod)[0] == 6.0


@pytest.mark.parametrize("call", ["Module.h(n)", "Module.main(A, B, n)"])
def test_recursion_is_refused(call: str) -> None:
    mod = calling(call, ":\n        T.evaluate(Module.h(n))", "n: T.int32")
    with pytest.raises(UnsupportedError, match=r"recursion: (h|main) calls itself"):
        ran(mod)


def test_a_budget_holds_across_calls() -> None:
    lines = ["    @T.prim_func\n    def f0():\n        T.evaluate(0)"]
    for k in range(1, 30):  # each calls the one before twice
        lines.append(f"    @T.prim_func\n    def f{k}():\n        M.f{k - 1}()\n        M.f{k - 1}()")
    mod = from_source("@I.ir_module\nclass M:\n" + "\n".join(lines))
    with pytest.raises(UnsupportedError, match="budget"):
        interpret(mod, entry="f29", max_statements=10_000)


def test_calls_in_threads_and_checks_of_signatures_are_refused() -> None:
    text = 'for i in T.thread_binding(2, thread="threadIdx.x"):\n            Module.h(T.address_of(A[i * 4]))'
    with pytest.raises(UnsupportedError, match="a call of a function in a thread"):
        ran(calling(text, BODY))
    mod = calling("Module.h(A.data)", BODY)
    with pytest.raises(UnsupportedError, match="signature checks across calls"):
        findings(mod, np.zeros(8, "float32"), np.zeros((4, 4), "float32"), 3)
    with pytest.raises(UnsupportedError, match="the function h of a module"):
        interpret(mod["main"], np.zeros(8, "float32"), np.zeros((4, 4), "float32"), 3)


# Pointers and memory


def test_memory_by_pointers() -> None:
    func = func_of(
        'p = T.allocate([4], "int32", "global")',
        'P = T.decl_buffer((2, 2), "int32", data=p)',
        'q = T.allocate_const([5, 6, 7, 8], "int32", [2, 2])',
        'Q = T.decl_buffer((4,), "int32", data=q)',
        "r: T.handle = T.address_of(B[n])",
        'R = T.decl_buffer((2,), "int32", data=r, elem_offset=1)',
        "P[1, 1] = Q[2]",
        "R[1] = P[1, 1]",
        flat=True,
    )
    assert run(func, 3)[2][5] == 7


def test_allocations_by_pointers_make_a_function_flat() -> None:
    func = both(
        '@T.prim_func\ndef f(B: T.Buffer((4,), "int32")):\n    with T.allocate([1], "int32", "local") as p:\n'
        '        P = T.decl_buffer((1,), "int32", data=p)\n        P[0] = 3\n        B[0] = P[0]\n'
    )
    assert not isinstance(func.body, ir.BlockRealize)


def test_views_beside_blocks() -> None:
    lines = ['V = T.decl_buffer((4, 4), "int32", data=B.data)', "for i in range(4):", '    with T.block("x"):',
             "        vi = T.axis.spatial(4, i)", "        V[vi, 1] = vi"]  # fmt: skip
    func = func_of(*lines)
    assert list(run(func)[2].reshape(4, 4)[:, 1]) == [0, 1, 2, 3]
    with pytest.raises(UnsupportedError, match="signature checks of a declared view"):
        findings(func, np.zeros(16, "float32"), np.zeros(16, "int32"), 1)


def test_pointers_have_names_and_go_to_the_host() -> None:
    seen: list[Any] = []
    register_global_func("example.seen", lambda *args: seen.append(args), override=True)
    func = func_of(
        "p: T.handle = T.address_of(A[12])",
        'q: T.handle = T.reinterpret("handle", T.uint64(0))',
        "r: T.handle = T.if_then_else(n > 5, p, A.data)",
        "if T.isnullptr(q) and not T.isnullptr(p):",
        '    T.call_extern("int32", "example.seen", p, q, r)',
    )
    run(func, 8)
    run(func, 2)
    ((p, q, r), (_, _, other)) = seen
    assert (list(p), q, list(r), list(other)) == ([12, 13, 14, 15], None, [12, 13, 14, 15], list(range(16)))


def test_parameters_that_stay_pointers() -> None:
    func = both('@T.prim_func\ndef f(p: T.handle, B: T.Buffer((4,), "int32")):\n    B[0] = T.Cast("int32", T.isnullptr(p))\n')
    with pytest.raises(UnsupportedError, match="a pointer as a parameter"):
        interpret(func, None, np.zeros(4, "int32"))


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('V = T.decl_buffer((4,), "float32", data=T.reinterpret("handle", T.uint64(0)))', "must be the memory of a buffer"),
        ("p: T.handle = T.address_of(A[B[0]])\n    V = T.decl_buffer((4,), data=p)", "depends on the contents of a buffer"),
        ("p: T.handle = T.address_of(A[0])\n    B[0] = T.Cast('int32', p + p)", "is not defined on pointers"),
        ('p = T.allocate([4], "int32", "global", n > 1)', "T.allocate takes no condition"),
        ('p = T.allocate_const([1, 2, 3], "int32", [2, 2])', "of 4 elements is given 3"),
        ('p = T.allocate_const([1], "int8", [1 << 40])', "is given 1, at most 4096"),
        ('p = T.allocate_const([300], "int8", [1])', "300 does not fit int8"),
        ("B[0] = T.Shuffle([], [0])", "T.Shuffle takes vectors"),
        ("B[0] = T.Shuffle([B[0:2]], [2])", "are constants from 0 to 1"),
        ("B[0] = T.Shuffle([B[0:2]], [n])", "are constants from 0 to 1"),
        ("B[0] = T.Shuffle([B[0], A[0]], [0])", "a shuffle of float32 and int32"),
        ("A[0] = T.fma(A[0], B[0], B[1])", None),
        ("B[0] = T.fma(B[0], B[1], B[2])", "fma is defined on float operands"),
    ],
)
def test_pointers_and_vectors_that_do_not_fit(line: str, message: str | None) -> None:
    if message is None:
        func_of(line, flat=True)
        return
    with pytest.raises(MlcrefError, match=message):
        func_of(line, flat=True)


def test_a_number_is_no_pointer() -> None:
    with pytest.raises(UnsupportedError, match="a number as a pointer"):
        run(func_of('p: T.handle = T.reinterpret("handle", T.uint64(4096))', "T.evaluate(T.isnullptr(p))"))


def test_shuffles_pick_lanes() -> None:
    func = func_of("A[0:4] = T.Shuffle([A[4:6], A[8:10]], [3, 0, 1, 1])", "A[4] = T.Shuffle([A[1], A[2:4]], [2])")
    assert list(run(func)[1][:5]) == [9, 4, 5, 5, 5]


# Numbers


def exactly(a: float, b: float, c: float, dtype: str) -> float:
    """``a * b + c`` rounded once, by a search through the neighbours."""
    exact = Fraction(a) * Fraction(b) + Fraction(c)
    near = rounder(dtype)(float(exact))
    kind = np.dtype(dtype).type
    around = [float(np.nextafter(kind(near), kind(to))) for to in (-np.inf, np.inf)]
    return min((near, *around), key=lambda x: (abs(Fraction(x) - exact), np.array(x, dtype).tobytes()[0] & 1))


@given(st.data(), st.sampled_from(["float16", "float32", "float64"]))
def test_fma_rounds_once(data: Any, dtype: str) -> None:
    bits = np.finfo(dtype).nmant
    digits = st.integers(-(2**bits), 2**bits).map(lambda k: float(k) / 2.0 ** (bits // 2))
    a, b = data.draw(digits), data.draw(digits)
    c = rounder(dtype)(data.draw(st.sampled_from([-a * b, a * b, 1.0]))) * data.draw(st.sampled_from([1.0, 0.5, 2.0**-bits]))
    a, b, c = (rounder(dtype)(x) for x in (a, b, c))
    if max(map(abs, (a * b, c))) < float(np.finfo(dtype).max) / 4:
        assert rounder(dtype)(fma(dtype, dtype)(a, b, c)) == exactly(a, b, c, dtype)


def test_fma_of_special_numbers() -> None:
    f = fma("float32", "float32")
    assert math.isnan(f(math.inf, 0.0, 1.0))
    assert f(math.inf, 1.0, 1.0) == math.inf
    assert math.copysign(1, f(-0.0, 1.0, -0.0)) == -1
    assert f(1e308, 1e308, -1.0) == math.inf
    func = func_of("A[0] = T.fma(A[1], A[2], A[3])")
    assert run(func)[1][0] == 5.0


def test_numbers_of_attributes_keep_their_types() -> None:
    text = '@T.prim_func\ndef f():\n    T.func_attr({"a": T.int64(4), "b": 5, "c": [T.float16(0.5), 1.5], "d": T.bool(True)})\n    T.evaluate(0)\n'
    attrs = both(text).attrs
    assert repr(attrs["a"]) == "T.int64(4)"
    assert attrs["a"] == 4
    assert (attrs["c"][0].dtype, attrs["c"][1], attrs["d"]) == ("float16", 1.5, True)
    for number in (TypedInt(3, "int64"), TypedFloat(0.5, "float16")):
        assert repr(pickle.loads(pickle.dumps(number))) == repr(number)
    assert not ir.structural_equal(ir.Attrs({"a": TypedInt(4, "int64")}), ir.Attrs({"a": 4}))


def test_layouts_of_parameters_are_kept() -> None:
    layouts = ["offset_factor=4, align=16", "offset_factor=1", "elem_offset=8, offset_factor=4, scope='shared', align=256"]
    for layout in layouts:
        func = both(f'@T.prim_func\ndef f(A: T.Buffer((4,), "float32", {layout})):\n    T.evaluate(0)\n')
        assert all(part in func.script().replace('"', "'") for part in layout.split(", "))
