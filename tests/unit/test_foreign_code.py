"""Functions of C that a program brings along: compiled with it, called with numbers and with pointers into buffers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from mlcref import compile, interpret, register_global_func, remove_global_func
from mlcref.codegen.foreign import imported_texts
from mlcref.contrib import clang, utils
from mlcref.errors import CompileError, OracleError, TypeMismatch, UnsupportedError
from mlcref.ir import PrimFunc, Target
from mlcref.lower import lower
from mlcref.lower.pointers import written_buffers
from mlcref.runtime import why_no_compiler
from mlcref.script import from_source

needs_compiler = pytest.mark.skipif(why_no_compiler() is not None, reason="no C compiler")
ADD = "void add(float *out, const float *x, int n, int stride) { for (int i = 0; i < n; ++i) out[i * stride] += x[i]; }"


def read(body: str, text: str = ADD, head: str = "", key: str = "pragma_import_c") -> PrimFunc:
    """A function of A[4, 6] and B[24] whose body runs in a loop of one iteration that imports ``text``."""
    lines = "\n".join(f"        {line}" for line in body.strip("\n").splitlines())
    return from_source(f'''
@T.prim_func
def main(A: T.Buffer((4, 6), "float32"), B: T.Buffer((24,), "float32"){head}):
    T.func_attr({{"global_symbol": "main", "tir.noalias": True}})
    for once in T.serial(1, annotations={{"{key}": TEXT}}):
{lines}
''', env={"TEXT": text})  # fmt: skip


def meaning(out: Any, x: Any, n: int, stride: int) -> None:
    out[: n * stride : stride] += x[:n]


def arrays() -> list[np.ndarray[Any, Any]]:
    return [np.arange(24, dtype="float32").reshape(4, 6), np.arange(24, dtype="float32") * 100]


def agree(func: PrimFunc, *scalars: int) -> list[np.ndarray[Any, Any]]:
    """Oracle, oracle after each pass, and compiled code: all the same."""
    register_global_func("add", meaning, override=True)
    try:
        wanted = arrays()
        interpret(func, *wanted, *scalars)

        def after(name: str, lowered: PrimFunc) -> None:
            got = arrays()
            interpret(lowered, *got, *scalars)
            for x, y in zip(got, wanted, strict=True):
                np.testing.assert_array_equal(x, y, err_msg=name)

        lower(func, after=after)
    finally:
        remove_global_func("add")
    if why_no_compiler() is None:
        got = arrays()
        compile(func)["main"](*got, *scalars)
        for x, y in zip(got, wanted, strict=True):
            np.testing.assert_array_equal(x, y)
    return wanted


CALL = "T.evaluate(T.call_extern('add', {}, dtype='void'))"


@pytest.mark.parametrize(
    ("body", "place"),
    [
        (CALL.format("A.access_ptr('rw'), B.access_ptr('r'), 6, 1"), (0, slice(0, 6))),
        (CALL.format("A.access_ptr('rw', offset=6), B.access_ptr('r', offset=3), 2, 1"), (1, slice(0, 2))),
        (CALL.format("T.address_of(A[2, 1]), T.address_of(B[5]), 3, 1"), (2, slice(1, 4))),
        (CALL.format("A.data, B.data, 4, 6"), (slice(0, 4), 0)),
    ],
    ids=["whole", "offset", "address", "data"],
)
def test_pointers_to_parameters(body: str, place: Any) -> None:
    a, b = arrays()
    result, _ = agree(read(body))
    start = {"offset=3": 3, "B[5]": 5}
    first = next((n for text, n in start.items() if text in body), 0)
    a[place] += b[first : first + a[place].size]
    np.testing.assert_array_equal(result, a)


def test_pointers_to_allocations_of_the_middle_of_a_program() -> None:
    """The copy is not shrunk, kept in registers or moved, though only the call says what it uses of it."""
    result, _ = agree(read(f"""
C = T.alloc_buffer((4, 6), "float32")
for i, j in T.grid(4, 6):
    with T.block("copy"):
        vi, vj = T.axis.remap("SS", [i, j])
        C[vi, vj] = A[vi, vj]
for i in range(4):
    with T.block("add"):
        vi = T.axis.spatial(4, i)
        T.reads(C[vi, 0:6], B[0:6])
        T.writes(C[vi, 0:6])
        {CALL.format("T.address_of(C[vi, 0]), B.access_ptr('r'), 6, 1")}
for i, j in T.grid(4, 6):
    with T.block("back"):
        vi, vj = T.axis.remap("SS", [i, j])
        A[vi, vj] = C[vi, vj] * T.float32(2)
"""))  # fmt: skip
    a, b = arrays()
    np.testing.assert_array_equal(result, (a + b[:6]) * 2)


MATCHED = """
for i in T.{kind}(2):
    with T.block("tile"):
        vi = T.axis.spatial(2, i)
        T.reads(A[vi * 2:vi * 2 + 2, 2:5], B[vi * 4:vi * 4 + 2])
        T.writes(A[vi * 2:vi * 2 + 2, 2:5])
        s = T.int32()
        M = T.match_buffer(A[vi * 2:vi * 2 + 2, 2:5], (2, 3), "float32", strides=[s, 1])
        N = T.match_buffer(B[vi * 4:vi * 4 + 2], (2,), "float32")
        M[1, 2] = M[0, 0] + N[1]
        T.evaluate(T.call_extern("add", M.access_ptr("rw"), N.access_ptr("r"), 2, s, dtype="void"))
"""


@pytest.mark.parametrize("kind", ["serial", "parallel", "unroll", "vectorized"])
def test_a_matched_region_with_its_stride(kind: str) -> None:
    a, b = arrays()
    for row in (0, 2):
        a[row + 1, 4] = a[row, 2] + b[row * 2 + 1]
        a[row : row + 2, 2] += b[row * 2 : row * 2 + 2]
    result, _ = agree(read(MATCHED.format(kind=kind)))
    np.testing.assert_array_equal(result, a)


def test_a_parallel_loop_inside_the_region() -> None:
    result, _ = agree(read("""
with T.block("outer"):
    T.reads(A[1:4, 0:6], B[0:24])
    T.writes(A[1:4, 0:6])
    s = T.int32()
    M = T.match_buffer(A[1:4, 2:6], (3, 4), "float32", strides=[s, 1])
    for i in T.parallel(3):
        with T.block("row"):
            vi = T.axis.spatial(3, i)
            T.reads(M[vi, 0:4], B[0:4])
            T.writes(M[vi, 0:4])
            M[vi, 0] = M[vi, 0] + T.float32(1)
            T.evaluate(T.call_extern("add", M.access_ptr("rw", offset=vi * s, extent=4), T.address_of(B[vi]), s - 2, 1,
                                     dtype="void"))
"""))  # fmt: skip
    a, b = arrays()
    for row in range(3):
        a[row + 1, 2] += 1
        a[row + 1, 2:] += b[row : row + 4]
    np.testing.assert_array_equal(result, a)


def test_symbolic_extents() -> None:
    func = from_source("""
@T.prim_func
def main(a: T.handle, b: T.handle):
    n = T.int32()
    A = T.match_buffer(a, (4, n), "float32")
    B = T.match_buffer(b, (24,), "float32")
    for i in T.serial(4, annotations={"pragma_import_c": TEXT}):
        with T.block("row"):
            vi = T.axis.spatial(4, i)
            T.reads(A[vi, 0:n], B[0:24])
            T.writes(A[vi, 0:n])
            R = T.match_buffer(A[vi, 1:n], (n - 1,), "float32")
            T.evaluate(T.call_extern("add", R.access_ptr("rw"), B.access_ptr("r"), n - 1, 1, dtype="void"))
""", env={"TEXT": ADD})  # fmt: skip
    result, _ = agree(func)
    a, b = arrays()
    a[:, 1:] += b[:5]
    np.testing.assert_array_equal(result, a)


def test_a_view_of_a_view() -> None:
    result, _ = agree(read("""
with T.block("outer"):
    T.reads(A[1:4, 0:6], B[0:24])
    T.writes(A[1:4, 0:6])
    M = T.match_buffer(A[1:4, 0:6], (3, 6), "float32")
    for i in range(3):
        with T.block("row"):
            vi = T.axis.spatial(3, i)
            T.reads(M[vi, 2:6], B[0:4])
            T.writes(M[vi, 2:6])
            R = T.match_buffer(M[vi, 2:6], (4,), "float32")
            T.evaluate(T.call_extern("add", R.access_ptr("rw"), B.access_ptr("r"), 4, 1, dtype="void"))
"""))  # fmt: skip
    a, b = arrays()
    a[1:, 2:] += b[:4]
    np.testing.assert_array_equal(result, a)


def test_a_function_that_takes_a_region_for_a_dense_array_is_found_out() -> None:
    func = read(MATCHED.format(kind="serial").replace(', 2, s, dtype', ', 2, 3, dtype'))
    register_global_func("add", meaning, override=True)
    try:
        with pytest.raises(OracleError, match="beside the elements of M"):
            interpret(func, *arrays())
    finally:
        remove_global_func("add")


@needs_compiler
def test_a_pure_function_of_numbers_in_an_expression() -> None:
    func = read('for i in range(24):\n    B[i] = T.call_pure_extern("float32", "twice", B[i]) + T.float32(1)',
                "float twice(float x) { return 2 * x; }")  # fmt: skip
    a, b = arrays()
    compile(func)["main"](a, b)
    np.testing.assert_array_equal(b, arrays()[1] * 2 + 1)


@needs_compiler
def test_a_parameter_written_by_a_function_only_is_known_to_be_written() -> None:
    func = read(CALL.format("A.access_ptr('rw'), B.access_ptr('r'), 6, 1"))
    assert {buffer.name for buffer in written_buffers(func)} == {"A"}
    a, b = arrays()
    a.setflags(write=False)
    with pytest.raises(TypeError, match=r"read-only|writ"):
        compile(func)["main"](a, b)


@needs_compiler
def test_two_modules_may_have_functions_of_one_name() -> None:
    body = CALL.format("A.access_ptr('rw'), B.access_ptr('r'), 1, 1")
    one = compile(read(body, "void add(float *a, float *b, int n, int s) { a[0] = 1; }"))
    two = compile(read(body, "void add(float *a, float *b, int n, int s) { a[0] = 2; }"))
    for lib, value in ((one, 1), (two, 2), (one, 1)):
        a, b = arrays()
        lib["main"](a, b)
        assert a[0, 0] == value


@needs_compiler
def test_a_function_of_the_c_library_of_the_same_name_is_not_called() -> None:
    text = "#include <string.h>\nvoid lfind(float *a, float *b, int n, int s) { memset(a, 0, 4); a[0] += 7; }"
    a, b = arrays()
    compile(read(CALL.replace("'add'", "'lfind'").format("A.data, B.data, 1, 1"), text))["main"](a, b)
    assert a[0, 0] == 7


@pytest.mark.parametrize(
    ("text", "arguments", "match"),
    [
        ("int one() { return 1; }", "A.data, B.data, 1, 1", "which no imported C text defines"),
        (ADD, "A.data, B.data, 1", "gives 3 arguments, the C text takes 4"),
        (ADD.replace("float *out", "double *o"), "A.data, B.data, 1, 1", r"to float32, the C text has 'double \*o'"),
        (ADD, "A.data, 3, 1, 1", "is a number"),
        (ADD, "A.data, B.data, A.data, 1", "is memory"),
        (ADD, "A.data, B.data, 1, 'text'", "a string or an array"),
        ("; ModuleID = 'x'\ndefine i32 @add() { ret i32 0 }", "A.data, B.data, 1, 1", "is LLVM's, not C"),
        ('extern "C" {\n' + ADD + "\n}", "A.data, B.data, 1, 1", 'extern "C" block'),
    ],
    ids=["undefined", "count", "element", "number", "memory", "string", "llvm", "block"],
)
def test_what_cannot_be_called_is_refused(text: str, arguments: str, match: str) -> None:
    from mlcref.runtime.cython_backend import generate

    with pytest.raises(UnsupportedError, match=match):
        generate({"main": read(CALL.format(arguments), text)}, Target("c"))


def test_a_function_with_an_effect_stands_alone() -> None:
    from mlcref.runtime.cython_backend import generate

    func = read('B[0] = T.call_extern("float32", "twice", B[1])', "float twice(float x) { return 2 * x; }")
    with pytest.raises(UnsupportedError, match="call_extern"):
        generate({"main": func}, Target("c"))


def test_functions_in_threads_are_refused() -> None:
    func = read("for t in T.thread_binding(4, thread='threadIdx.x'):\n    " + CALL.format("A.data, B.data, 1, 1"))
    with pytest.raises(UnsupportedError, match="thread axes"):
        lower(func)


@needs_compiler
def test_what_the_compiler_refuses_is_told_in_its_words() -> None:
    with pytest.raises(CompileError, match="undeclared"):
        compile(read(CALL.format("A.data, B.data, 1, 1"), ADD.replace("x[i]", "y[i]")))


@pytest.mark.parametrize("key", ["pragma_import_c", "pragma_import_llvm"])
def test_both_annotations_import(key: str) -> None:
    assert list(imported_texts(read("B[0] = 1.0", key=key))) == [ADD]


def test_text_of_course_code() -> None:
    folder = utils.tempdir()
    path = folder.relpath("code.c")
    assert clang.create_llvm(ADD, output=path) == ADD
    assert clang.create_llvm([path]) == ADD
    assert folder.listdir() == ["code.c"]
    folder.remove()
    with pytest.raises(TypeMismatch, match="C source"):
        clang.create_llvm(3)
