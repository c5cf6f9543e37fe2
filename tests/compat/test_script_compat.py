"""Both parsers read both printers: what TVM prints is read here and round-trips, what is printed here TVM accepts."""

from __future__ import annotations

import textwrap
from typing import Any

import pytest

from mlcref import ir
from mlcref.script import from_source, print_script

pytest.importorskip("tvm", reason="TVM is not installed; it is what these tests compare with", exc_type=ImportError)
tvm_script = pytest.importorskip("tvm.script", reason="this TVM has no TVMScript", exc_type=ImportError)

pytestmark = pytest.mark.filterwarnings("ignore::mlcref.errors.ScriptWarning")

BODIES = {
    "clz": 'x: T.let[T.int32] = T.clz(5)\nA[0] = T.Cast("float32", x)',
    "bind": "x = T.bind(A[0])\nA[1] = x",
    "scalar": "x: T.float32 = A[0]\nx = x + A[1]\nif x > T.float32(0):\n    x = T.float32(3)\nA[0] = x",
    "extern with pointers": (
        'T.evaluate(T.call_extern("int32", "foo", A.data, A.access_ptr("r"), B.access_ptr("w", offset=4), '
        "T.address_of(B[3])))"
    ),
    "packed with a buffer": 'T.call_packed("bar", A, 3, A[0], "text")',
    "packed with a pointer": 'T.call_packed("bar", A.data, 3)',
    "access_ptr": 'T.evaluate(T.tvm_access_ptr(T.type_annotation("float32"), A.data, 0, 16, 1))',
    "strided store": "A[0:16:2] = T.Broadcast(T.float32(1), 8)",
    "vector load": "A[T.Ramp(0, 2, 8)] = B[T.Ramp(0, 1, 8)] + B[T.Ramp(8, 1, 8)]",
    "undef": "A[0] = T.undef()",
    "assume": "T.assume(A[0] > T.float32(0))",
    "likely": "A[0] = T.if_then_else(T.likely(B[0] > T.float32(0)), T.float32(1), T.float32(2))",
    "reinterpret": 'A[0] = T.reinterpret("float32", T.uint32(5))',
    "q_multiply_shift": 'A[0] = T.Cast("float32", T.q_multiply_shift(T.int32(5), T.int32(3), T.int32(31), T.int32(2)))',
    "q_multiply_shift_per_axis": (
        'A[0] = T.Cast("float32", T.q_multiply_shift_per_axis(T.int32(5), T.int32(3), T.int32(1), T.int32(2), '
        "T.int32(31), T.bool(True), T.bool(False)))"
    ),
    "while and break": (
        "while A[0] < T.float32(3):\n    if A[1] > T.float32(0):\n        break\n    A[0] = A[1] + T.float32(1)"
    ),
    "continue": "for i in range(3):\n    if A[i] > T.float32(0):\n        continue\n    A[i] = T.float32(0)",
    "assert": 'assert A[0] < T.float32(3), "msg"\nA[0] = T.float32(1)',
    "view": 'V = T.decl_buffer((4,), "float32", data=A.data, elem_offset=4, strides=(2,))\nV[0] = A[0]',
    "decl_buffer": 'V = T.decl_buffer((4, 4), "float32", data=A.data)\nV[0, 1] = A[0]',
    "shared": 'K = T.alloc_buffer((16,), "float32", scope="shared", annotations={"q": 1})\nK[0] = A[0]\nA[1] = K[0]',
    "cell by allocation": 'K = T.alloc_buffer((1,), "float32", scope="local")\nK[0] = A[0]\nA[1] = K[0]',
    "let": 'v = T.int32()\nA[0] = T.Let(T.Cast("float32", v + 1), where={v: T.int32(2)})',
    "functions": (
        "A[0] = T.pow(A[0], A[1]) + T.fabs(A[0]) + T.erf(A[0]) + T.round(A[0]) + T.nearbyint(A[0])"
        "\nA[1] = T.hypot(A[0], A[0]) + T.nextafter(A[0], A[0])"
        "\nA[3] = T.asinh(A[0]) + T.acosh(A[0]) + T.atanh(A[0]) + T.ldexp(A[0], A[1])"
        "\nA[2] = T.fmod(A[0], A[0]) + T.trunc(A[0]) + T.copysign(A[0], A[0]) + T.atan2(A[0], A[0]) + T.sigmoid(A[0])"
    ),
    "popcount": 'A[0] = T.Cast("float32", T.popcount(T.int32(-1)))',
    "isnan": "A[0] = T.Select(T.isnan(A[0]), A[0], A[1]) + T.Select(T.isinf(A[0]), A[0], A[1])",
    "limits": 'A[0] = T.max(A[0], T.min_value("float32")) + T.infinity("float32") + T.float32("nan")',
    "integers": (
        'x: T.let[T.int32] = T.Cast("int32", A[0])\n'
        'A[0] = T.Cast("float32", T.truncdiv(x, 2) + T.truncmod(x, 2) + T.ceildiv(x, 2) + x // 3 % 4)\n'
        'A[1] = T.Cast("float32", (x >> 2) + (x << 2) + ~x + (x ^ 7) + (x & 3) + (x | 4))'
    ),
    "pragma": 'with T.attr(0, "pragma_x", 1):\n    A[0] = T.float32(1)\nA[1] = T.float32(2)',
    "attribute table": 'with T.attr({"pragma_a": 1, "pragma_b": "on"}):\n    A[1] = T.float32(1)',
    "env_thread": (
        'tx = T.env_thread("threadIdx.x")\nwith T.launch_thread(tx, 32):\n    A[tx] = T.float32(1)\n'
        "with T.launch_thread(tx, 32):\n    A[tx] = T.float32(2)"
    ),
    "launch_thread": (
        'bx = T.launch_thread("blockIdx.x", 4)\ntx = T.launch_thread("threadIdx.x", 32)\nA[bx * 32 + tx] = T.float32(1)'
    ),
    "vthread": 'vx = T.launch_thread("vthread.x", 4)\nA[vx] = T.float32(1)',
    "allreduce": (
        'bx = T.launch_thread("blockIdx.x", 4)\ntx = T.launch_thread("threadIdx.x", 32)\n'
        'red = T.alloc_buffer((1,), "float32", scope="local")\n'
        'with T.attr(T.comm_reducer(lambda x, y: x + y, [T.float32(0)]), "reduce_scope", '
        'T.reinterpret("handle", T.uint64(0))):\n'
        "    T.tvm_thread_allreduce(T.uint32(1), A[bx * 32 + tx], T.bool(True), red[0], tx)\n"
        'T.tvm_storage_sync("shared")\nif tx == 0:\n    B[bx] = red[0]'
    ),
    "argmax reducer": (
        "with T.attr(T.comm_reducer(lambda x0, x1, y0, y1: (T.Select(x1 >= y1, x0, y0), T.Select(x1 >= y1, x1, y1)), "
        '[T.int32(-1), T.float32(0)]), "reduce_scope", T.reinterpret("handle", T.uint64(0))):\n    T.evaluate(0)'
    ),
    "vscale": 'A[0] = T.Cast("float32", T.vscale())',
    "struct": 'T.evaluate(T.tvm_struct_get(A.data, 0, 1, "handle"))',
    "profiling": "T.evaluate(T.start_profile_intrinsic(3))\nT.evaluate(T.end_profile_intrinsic(3))",
    "pure extern": 'A[0] = T.call_pure_extern("float32", "foo", A[0])',
    "choice": "A[0] = T.float32(1) if A[1] > T.float32(0) else A[2]",
    "nodes": "A[0] = T.Mul(A[0], A[1]) + T.Add(A[0], A[1])",
    "vload": "A.vstore([0], A.vload([1]) + T.float32(1))",
    "conditions": (
        "if A[0] > T.float32(0) and A[1] > T.float32(0) or not A[2] > T.float32(0):\n    A[0] = T.float32(0)\n"
        "elif A[3] == T.float32(1):\n    A[0] = T.float32(2)\nelse:\n    A[0] = T.float32(3)"
    ),
    "loops": (
        "for i in T.unroll(4):\n    for j in T.vectorized(4):\n        for k in T.parallel(4):\n"
        '            A[i] = T.float32(1)\nfor i in T.serial(2, 4, annotations={"a": [1, {"b": 2.5}]}):\n'
        "    A[i] = T.float32(1)"
    ),
    "float8": 'A[0] = T.Cast("float32", T.Cast("float8_e4m3fn", A[0]) + T.float8_e4m3fn(1.5))',
}

FUNCTIONS = {
    "symbolic": """
@T.prim_func(s_tir=True)
def f(a: T.handle, b: T.handle):
    n = T.int64()
    m = T.int32()
    A = T.match_buffer(a, (n, m), "float32")
    B = T.match_buffer(b, (n,), "float32", strides=(T.int64(2),), elem_offset=m, offset_factor=4)
    for i in range(n):
        with T.sblock("x"):
            vi = T.axis.spatial(n, i)
            T.reads(A[vi, 0])
            T.writes(B[vi])
            T.sblock_attr({"a": [1, {"b": 2.5}], "t": T.target({"kind": "llvm"})})
            B[vi] = A[vi, 0]
""",
    "dims by name": """
@T.prim_func(s_tir=True)
def f(A: T.Buffer(("n", "m"), "float32"), B: T.Buffer(("n",), "float32")):
    n = T.int32()
    m = T.int32()
    B[0] = A[0, m - 1]
""",
    "matched region": """
@T.prim_func(s_tir=True)
def f(A: T.Buffer((16, 16), "float32")):
    with T.sblock("x"):
        T.reads(A[0:4, 0:4])
        T.writes()
        s0 = T.int32()
        s1 = T.int32()
        M = T.match_buffer(A[0:4, 0:4], (4, 4), "float32", strides=(s0, s1), offset_factor=1)
        T.evaluate(T.call_extern("int32", "f", M.access_ptr("r"), M.strides[0]))
""",
    "argmax": """
@T.prim_func(s_tir=True)
def f(A: T.Buffer((16, 16), "float32"), B: T.Buffer((16,), "int32"), C: T.Buffer((16,), "float32")):
    for i, k in T.grid(16, 16):
        with T.sblock("argmax"):
            vi, vk = T.axis.remap("SR", [i, k])
            T.reads(A[vi, vk])
            T.writes(B[vi], C[vi])
            with T.init():
                B[vi] = -1
                C[vi] = T.min_value("float32")
            v0: T.let[T.int32] = T.Select(C[vi] >= A[vi, vk], B[vi], vk)
            v1: T.let[T.float32] = T.Select(C[vi] >= A[vi, vk], C[vi], A[vi, vk])
            B[vi] = v0
            C[vi] = v1
""",
    "module": """
@I.ir_module
class Module:
    I.module_attrs({"x": 1})
    @T.prim_func(s_tir=True)
    def f(A: T.Buffer((16, 16), "float32")):
        T.func_attr({"tirx.noalias": True, "q": T.int64(3), "l": [1, 2.5, "x"]})
        A[0, 0] = 1.0
    @T.prim_func(private=True)
    def g(p: T.handle("float32"), n: T.int32):
        A = T.decl_buffer((16, 16), "float32", data=p)
        A[0, n] = 1.0
""",
    "types": """
@T.prim_func
def f(A: T.Buffer((128,), "float8_e4m3fn"), B: T.Buffer((128,), "bfloat16"), C: T.Buffer((4,), "bool"),
      D: T.Buffer((4,), "uint64"), E: T.Buffer((4,), "float64"), sc: T.float16, z: T.bool, G: T.Buffer((), "int8"),
      H: T.Buffer((4,), "float8_e5m2"), K: T.Buffer((4,), "uint8")):
    A[0] = T.float8_e4m3fn(1.5)
    B[0] = T.bfloat16(1.5) + T.bfloat16("inf")
    C[0] = T.bool(True)
    C[1] = z
    C[2] = not z
    E[0] = T.float64(1.5) + T.float64("nan")
    G[()] = T.int8(-3)
    D[0] = T.uint64(3)
    H[0] = T.Cast("float8_e5m2", sc)
    K[0] = T.uint8(255)
""",
    "iterators": """
@T.prim_func(s_tir=True)
def f(A: T.Buffer((16, 20), "float32", strides=(32, 1)), B: T.Buffer((16,), scope="shared")):
    for i in T.serial(16, annotations={"a": [1, 2], "d": {"x": 1.5}}):
        for j in T.thread_binding(16, thread="threadIdx.x", annotations={"q": True}):
            with T.sblock("b"):
                vi = T.axis.opaque(16, i)
                vj = T.axis.scan((2, 18), j + 2)
                T.where(i * 4 + j < 20 and j < 3)
                T.reads(B[vi])
                T.writes(A[vi, vj])
                A[vi, vj] = B[vi]
""",
}

TEXTS = {
    **{
        name: '@T.prim_func\ndef f(A: T.Buffer((128,), "float32"), B: T.Buffer((128,), "float32")):\n'
        + textwrap.indent(body, "    ")
        for name, body in BODIES.items()
    },
    **FUNCTIONS,
}


def in_tvm(text: str) -> Any:
    from tvm.script import ir as I
    from tvm.script import tirx as T

    return tvm_script.from_source(text, extra_vars={"T": T, "I": I})


def check_round_trip(printed_by_tvm: str) -> Any:
    """Read TVM's text; it prints and reads back equal in both dialects; TVM reads the print."""
    ours = from_source(printed_by_tvm)
    for dialect in ("tir", "tirx"):
        text = print_script(ours, dialect=dialect)
        assert ir.first_difference(ours, from_source(text)) is None, text
        assert print_script(from_source(text), dialect=dialect) == text
    again = in_tvm(print_script(ours, dialect="tirx"))
    back = from_source(again.script())
    assert ir.first_difference(ours, back) is None, print_script(ours, dialect="tirx") + again.script()
    return ours


@pytest.mark.parametrize("name", TEXTS)
def test_what_tvm_prints_is_read_and_what_is_printed_tvm_reads(name: str) -> None:
    theirs = in_tvm("# from tvm.script import tirx as T\n" + TEXTS[name])
    check_round_trip(theirs.script())


@pytest.mark.parametrize("name", TEXTS)
def test_the_text_and_what_tvm_makes_of_it_are_one_program_here(name: str) -> None:
    header = "# from tvm.script import ir as I\n# from tvm.script import tirx as T\n\n"
    direct, through = from_source(header + TEXTS[name]), from_source(in_tvm(TEXTS[name]).script())
    for text in (print_script(direct, dialect="tirx"), print_script(through, dialect="tirx")):
        in_tvm(text)


@pytest.mark.parametrize("name", ["matmul", "softmax", "conv", "argmax", "pad", "split reduction"])
def test_what_tvm_makes_of_tensor_expressions_and_schedules(name: str) -> None:
    check_round_trip(_theirs(name).script())


def _theirs(name: str) -> Any:
    from tvm import te, topi

    data, weight = te.placeholder((1, 3, 8, 8), name="data"), te.placeholder((4, 3, 3, 3), name="weight")
    a, b = te.placeholder((16, 32), name="a"), te.placeholder((32, 8), name="b")
    if name == "matmul":
        return te.create_prim_func([a, b, topi.matmul(a, b)])
    if name == "softmax":
        return te.create_prim_func([a, topi.nn.softmax(a)])
    if name == "conv":
        return te.create_prim_func([data, weight, topi.nn.conv2d_nchw(data, weight, 1, 1, 1)])
    if name == "argmax":
        return te.create_prim_func([a, topi.argmax(a, axis=1)])
    if name == "pad":
        return te.create_prim_func([data, topi.nn.pad(data, (0, 0, 1, 1), (0, 0, 1, 1))])
    return _scheduled(te.create_prim_func([a, topi.sum(a, axis=1)]))


def _scheduled(func: Any) -> Any:
    from tvm.s_tir import Schedule

    sch = Schedule(func)
    block = sch.get_sblock(next(part.name for part in ir.blocks_in(from_source(func.script()).body) if part.iter_vars))
    i, k = sch.get_loops(block)
    outer, _ = sch.split(k, [4, None])
    sch.bind(i, "blockIdx.x")
    sch.bind(outer, "threadIdx.x")
    sch.annotate(i, "note", {"a": [1, 2]})
    return sch.mod


@pytest.mark.parametrize("seed", range(12))
def test_tvm_accepts_scheduled_programs_that_are_printed_here(seed: int) -> None:
    import random

    from mlcref.schedule import Schedule

    chance = random.Random(seed)
    sch = Schedule(from_source(MATMUL))
    loops = sch.get_loops(sch.get_block("C"))
    outer, inner = sch.split(chance.choice(loops), [None, chance.choice([2, 3, 8])])
    sch.annotate(outer, "note", [seed, {"nested": "value"}])
    sch.unroll(inner)
    if chance.random() < 0.5:
        sch.cache_read(sch.get_block("C"), 0, "shared")
    again = from_source(in_tvm(print_script(sch.mod["main"], dialect="tirx")).script())
    assert ir.first_difference(sch.mod["main"], again) is None


MATMUL = """
@T.prim_func
def main(A: T.Buffer((16, 8), "float32"), B: T.Buffer((8, 16), "float32"), C: T.Buffer((16, 16), "float32")):
    for i, j, k in T.grid(16, 16, 8):
        with T.block("C"):
            vi, vj, vk = T.axis.remap("SSR", [i, j, k])
            with T.init():
                C[vi, vj] = T.float32(0)
            C[vi, vj] = C[vi, vj] + A[vi, vk] * B[vk, vj]
"""
