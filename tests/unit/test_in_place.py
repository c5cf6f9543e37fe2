"""Which inputs a tensor program may write over: proved by accesses, refused where an element is read again."""

import numpy as np
import pytest

from mlcref import relax, te
from mlcref.autoschedule import autoschedule
from mlcref.driver import compile_graph
from mlcref.interp.graph import interpret_graph
from mlcref.interp.run import interpret
from mlcref.ir import Target
from mlcref.relax.in_place import in_place_inputs, in_place_program
from mlcref.relax.plan_memory import MEMORY_PLAN
from mlcref.runtime import oracle_backend
from mlcref.script import from_source

HEAD = """
@T.prim_func
def f(A: T.Buffer((8,), "float32"), B: T.Buffer((8,), "float32"), C: T.Buffer((8,), "float32")):
"""
GRID = """
    for i in range(8):
        with T.block("C"):
            v = T.axis.spatial(8, i)
            C[v] = VALUE
"""
SPLIT = """
    for i, j in T.grid(3, 3):
        with T.block("C"):
            v = T.axis.spatial(8, i * 3 + j)
            T.where(i * 3 + j < 8)
            C[v] = A[v] + B[7 - v]
"""
INIT = """
    for i, k in T.grid(8, 8):
        with T.block("C"):
            v, r = T.axis.remap("SR", [i, k])
            with T.init():
                C[v] = A[v]
            C[v] = C[v] + B[r]
"""
AGAIN = """
    for i, j in T.grid(8, 2):
        with T.block("C"):
            v = T.axis.spatial(8, i)
            C[v] = A[v] + B[v]
"""
TWO_STORES = """
    for i in range(8):
        with T.block("C"):
            v = T.axis.spatial(8, i)
            C[v] = A[v]
    for i in range(4):
        with T.block("D"):
            v = T.axis.spatial(4, i)
            C[v] = A[v] + B[v]
"""
CONDITION = """
    for i in range(8):
        with T.block("C"):
            v = T.axis.spatial(8, i)
            if A[7 - v] > T.float32(0):
                C[v] = A[v]
"""
GATHERED = """
    for i in range(8):
        with T.block("C"):
            v = T.axis.spatial(8, i)
            C[T.Cast("int32", B[v])] = A[T.Cast("int32", B[v])]
"""
EARLIER = """
    D = T.alloc_buffer((8,))
    for i in range(8):
        with T.block("D"):
            v = T.axis.spatial(8, i)
            D[v] = A[7 - v]
    for i in range(8):
        with T.block("C"):
            v = T.axis.spatial(8, i)
            C[v] = D[v] + B[v]
"""
EARLIER_IN_A_LOOP = """
    D = T.alloc_buffer((8,))
    for i in range(8):
        with T.block("D"):
            v = T.axis.spatial(8, i)
            D[v] = A[7 - v]
        with T.block("C"):
            v = T.axis.spatial(8, i)
            C[v] = D[v] + B[v]
"""
LATER = """
    D = T.alloc_buffer((8,))
    for i in range(8):
        with T.block("C"):
            v = T.axis.spatial(8, i)
            C[v] = B[v]
    for i in range(8):
        with T.block("D"):
            v = T.axis.spatial(8, i)
            D[v] = A[v]
"""
ADDRESS = """
    for i in range(8):
        with T.block("C"):
            v = T.axis.spatial(8, i)
            C[v] = T.call_extern("float32", "f", T.address_of(A[v]))
"""
MATCHED = """
    for i in range(8):
        with T.block("C"):
            v = T.axis.spatial(8, i)
            T.reads(A[v])
            T.writes(C[v])
            D = T.match_buffer(A[v], (), "float32", offset_factor=1)
            C[v] = A[v] + D[()]
"""


def value(text):
    return GRID.replace("VALUE", text)


def program(body):
    return from_source(HEAD + body)


@pytest.mark.parametrize(("body", "expected"), [
    (value("A[v] + B[v]"), (0, 1)),
    (value("A[v] * A[v] + B[7 - v]"), (0,)),
    (value("T.if_then_else(v < 4, A[v], B[v])"), (0, 1)),
    (value("A[v] + A[7 - v]"), (1,)),
    (value("A[7 - v]"), (1,)),
    (SPLIT, (0,)),
    (EARLIER, (0, 1)),
])  # fmt: skip
def test_an_input_may_be_overwritten_where_each_element_is_read_before(body, expected):
    func = program(body)
    assert in_place_inputs(func) == expected
    a, b = np.float32([3, 1, 4, 1, 5, 9, 2, 6]), np.float32([2, 7, 1, 8, 2, 8, 1, 8])
    out = np.zeros(8, "float32")
    interpret(func, a.copy(), b.copy(), out)
    for position in expected:
        arrays = [a.copy(), b.copy()]
        interpret(in_place_program(func, position), *arrays)
        assert arrays[position].tolist() == out.tolist()


@pytest.mark.parametrize(
    "body", [INIT, AGAIN, TWO_STORES, CONDITION, GATHERED, EARLIER_IN_A_LOOP, LATER, ADDRESS, MATCHED]
)
def test_other_programs_need_a_result_of_their_own(body):
    func = program(body)
    found = in_place_inputs(func)
    assert 0 not in found
    with pytest.raises(ValueError, match="cannot be written over input 0"):
        in_place_program(func, 0)


def test_type_and_shape_are_those_of_the_result():
    a, b = te.placeholder((4, 4), "int32", name="A"), te.placeholder((4,), "float32", name="B")
    out = te.compute((4, 4), lambda i, j: a[i, j].astype("float32") + b[j], name="C")
    assert in_place_inputs(te.create_prim_func([a, b, out])) == ()


def test_symbolic_extents_are_compared():
    n, m = te.var("n"), te.var("m")
    a, b = te.placeholder((n, m), name="A"), te.placeholder((m, n), name="B")
    func = te.create_prim_func([a, b, te.compute((n, m), lambda i, j: a[i, j] + b[j, i], name="C")])
    assert in_place_inputs(func) == (0,)


GRAPH = """
@I.ir_module
class Module:
    @T.prim_func
    def add(A: T.Buffer((4,), "float32"), B: T.Buffer((4,), "float32"), C: T.Buffer((4,), "float32")):
        for i in range(4):
            with T.block("C"):
                v = T.axis.spatial(4, i)
                C[v] = A[v] + B[v]

    @R.function
    def same(x: R.Tensor((4,), "float32")):
        return x

    @R.function
    def main(x: R.Tensor((4,), "float32")):
        cls = Module
        y = R.call_tir(cls.add, (x, x), R.Tensor((4,), "float32"))
        CALLS
        return w
"""


@pytest.mark.parametrize(("calls", "expected"), [
    ("w = R.call_tir(cls.add, (y, x), R.Tensor((4,), 'float32'))", {"w": "y"}),
    ("w = R.call_tir(cls.add, (y, y), R.Tensor((4,), 'float32'))", {}),
    ("z = R.call_tir(cls.add, (x, y), R.Tensor((4,), 'float32'))\n"
     "        w = R.call_tir(cls.add, (y, z), R.Tensor((4,), 'float32'))", {"w": "y"}),
    ("z = R.call_tir(cls.add, (x, y), R.Tensor((4,), 'float32'))\n        t = (y, z)\n        a = t[1]\n"
     "        b = R.call_tir(cls.add, (a, x), R.Tensor((4,), 'float32'))\n        c = t[0]\n"
     "        w = R.call_tir(cls.add, (b, c), R.Tensor((4,), 'float32'))", {"b": "z", "w": "b"}),
    ("z: R.Tensor((4,), 'float32') = cls.same(y)\n        a = R.call_tir(cls.add, (y, x), R.Tensor((4,), 'float32'))\n"
     "        w = R.call_tir(cls.add, (a, z), R.Tensor((4,), 'float32'))", {"w": "a"}),
    ("z = R.call_tir(cls.add, (y, x), R.Tensor((4,), 'float32'))\n        w = (z, y)", {}),
])  # fmt: skip
def test_a_value_is_overwritten_when_nothing_needs_it(calls, expected):
    module = from_source(GRAPH.replace("CALLS", calls))
    planned = relax.transform.StaticPlanMemory()(module)
    assert dict(planned["main"].attrs[MEMORY_PLAN]["in_place"]) == expected
    x = np.float32([1, 2, 3, 4])
    run = relax.VirtualMachine(compile_graph(planned, Target("cython"), oracle_backend.build))["main"]
    assert np.asarray(run(x)).tolist() == np.asarray(interpret_graph(module, x)).tolist()


def test_schedules_decide():
    """Rows of a softmax are read several times; with the loops fused, other rows have been written by then."""
    a = te.placeholder((16, 32), name="A")
    k = te.reduce_axis((0, 32), name="k")
    most = te.compute((16,), lambda i: te.max(a[i, k], axis=k), name="M")
    func = te.create_prim_func([a, te.compute((16, 32), lambda i, j: te.exp(a[i, j] - most[i]), name="C")])
    assert in_place_inputs(func) == (0,)
    scheduled = autoschedule(func, "cython --num-cores=2").mod["main"]
    for position in in_place_inputs(scheduled):
        x, y = np.random.default_rng(0).random((2, 16, 32)).astype("float32")
        expected = x.copy()
        interpret(scheduled, expected, y)
        interpret(in_place_program(scheduled, position), x)
        assert x.tolist() == y.tolist()
