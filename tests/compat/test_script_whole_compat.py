"""Steps, return values, calls between functions, pointers, shuffles: TVM reads our print as what it printed."""

# ruff: noqa: E501 -- programs stand on one line here
from __future__ import annotations

from typing import Any

import pytest

from mlcref.script import from_source, print_script

pytest.importorskip("tvm", reason="TVM is not installed; it is what these tests compare with", exc_type=ImportError)
tvm_script = pytest.importorskip("tvm.script", reason="this TVM has no TVMScript", exc_type=ImportError)
tvm_ffi = pytest.importorskip("tvm_ffi", reason="this TVM has no structural_equal in tvm_ffi", exc_type=ImportError)

pytestmark = pytest.mark.filterwarnings("ignore::mlcref.errors.ScriptWarning")

HEADER = "# from tvm.script import tirx as T\n# from tvm.script import ir as I\n"
PARAMS = 'A: T.Buffer((16,), "float32"), B: T.Buffer((16,), "int32"), n: T.int32'
BODIES = {
    "steps": (
        "for i in range(0, 16, 2):\n    B[i] = 1\nfor i in range(1, n, 3):\n    B[i] = 1\n"
        'for i in T.serial(4, n, annotations={"a": 1}, step=n):\n    B[i] = 1\nfor i in T.unroll(0, 4, step=2):\n    B[i] = 1\n'
        "for i in T.parallel(0, 16, step=2):\n    B[i] = 1\nfor i in T.vectorized(0, 16, step=4):\n    B[i] = 1"
    ),
    "fma": "A[0] = T.fma(A[1], A[2], A[3])",
    "null": (
        'q: T.let[T.handle] = T.reinterpret("handle", T.uint64(0))\n'
        'if not T.isnullptr(q):\n    B[0] = 1\nT.evaluate(T.call_extern("int32", "f", q))'
    ),
    "addresses": (
        'r: T.let[T.handle("float32")] = T.address_of(A[4])\n'
        's: T.let[T.handle("float32")] = T.tvm_access_ptr(T.type_annotation("float32"), A.data, 0, 4, 1)\n'
        'T.evaluate(T.call_extern("int32", "f", r, s))'
    ),
    "shuffles": (
        "A[0:4] = T.Shuffle([A[T.Ramp(0, 1, 2)], A[T.Ramp(2, 1, 2)]], [3, 2, 1, 0])\n"
        "A[0] = T.Shuffle([A[T.Ramp(0, 1, 2)]], [1])\nA[0:2] = T.Shuffle([A[3], A[4]], [0, 1])"
    ),
    "thread_return": 't = T.launch_thread("threadIdx.x", 16)\nif t > 3:\n    T.thread_return()\nA[t] = T.float32(0)',
}
PROGRAMS = {
    "return": (
        "@T.prim_func\ndef f(n: T.int32) -> T.int32:\n    for i in range(n):\n        if i == 3:\n            return i\n    return -1\n"
    ),
    "return beside blocks": f"""
@T.prim_func(s_tir=True)
def f({PARAMS}) -> T.float32:
    for i in range(4):
        with T.sblock("a"):
            vi = T.axis.spatial(4, i)
            A[vi] = T.float32(0)
    return A[0]
""",
    "calls": """
@I.ir_module
class Module:
    @T.prim_func
    def main(A: T.Buffer((16,), "int32")):
        A[0] = Module.h(3) + Module.h(4)
        Module.g(A, A.data, 4)
        Module.g(A, T.address_of(A[3]), 4)
        Module.h(5)

    @T.prim_func(private=True)
    def h(n: T.int32) -> T.int32:
        return Module.h(n + 1)

    @T.prim_func
    def g(A: T.Buffer((16,), "int32"), b: T.handle, n: T.int32):
        B = T.match_buffer(b, (16,), "int32")
        A[0] = B[n]
""",
    "calls beside blocks": """
@I.ir_module
class Module:
    @T.prim_func(s_tir=True)
    def h(A: T.Buffer((16,), "int32")):
        for i in range(16):
            with T.sblock("a"):
                vi = T.axis.spatial(16, i)
                A[vi] = 0

    @T.prim_func(s_tir=True)
    def main(A: T.Buffer((16,), "int32")):
        Module.h(A)
        Module.h(A.data)
""",
    "pointers that stay": (
        '@T.prim_func\ndef f(a: T.handle, B: T.Buffer((4,), "int32")):\n    if T.isnullptr(a):\n        B[0] = 1\n'
    ),
    "dimensions by name": (
        '@T.prim_func(s_tir=True)\ndef f(A: T.Buffer(("n", "m"), "float32"), B: T.Buffer(("n",), "float32")):\n'
        '    A[0, 1] = T.Cast("float32", A.shape[1])\n'
    ),
    "layouts": (
        '@T.prim_func(s_tir=True)\ndef f(A: T.Buffer((4,), "float32", align=16, offset_factor=4), '
        'B: T.Buffer((4,), "float32", offset_factor=1), '
        'C: T.Buffer((4,), "float32", elem_offset=8, offset_factor=4, scope="shared", align=256)):\n    A[0] = T.float32(1)\n'
    ),
    "views beside blocks": f"""
@T.prim_func(s_tir=True)
def f({PARAMS}):
    V = T.decl_buffer((4, 4), "int32", data=B.data)
    for i in range(4):
        with T.sblock("a"):
            vi = T.axis.spatial(4, i)
            V[vi, 0] = 1
""",
    "typed attributes": """
@T.prim_func(s_tir=True)
def f(A: T.Buffer((4,), "float32")):
    T.func_attr({"x": T.int64(4), "y": 5, "f": T.float32(2), "l": [T.int64(1), 2], "big": 10000000000})
    for i in T.serial(4, annotations={"k": T.int64(3), "j": 2}):
        with T.sblock("b"):
            vi = T.axis.spatial(4, i)
            T.sblock_attr({"p": T.int64(4), "q": [1, T.int64(1)]})
            A[vi] = T.float32(0)
""",
}
for _name, _body in BODIES.items():
    PROGRAMS[_name] = f"@T.prim_func\ndef f({PARAMS}):\n" + "\n".join(f"    {line}" for line in _body.splitlines()) + "\n"


@pytest.mark.parametrize("name", PROGRAMS)
def test_tvm_reads_our_print_as_its_own_program(name: str) -> None:
    theirs: Any = tvm_script.from_source(HEADER + PROGRAMS[name])
    ours = print_script(from_source(theirs.script()), dialect="tirx")
    again = tvm_script.from_source(ours)
    assert tvm_ffi.structural_equal(theirs, again, map_free_vars=True), f"{theirs.script()}\n{ours}"
