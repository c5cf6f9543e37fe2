"""Random graphs of tensor program calls: the machine agrees with the oracle, scripts parse back, parameters bind."""

import functools

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from mlcref import relax
from mlcref.driver import compile as compile_module
from mlcref.interp.graph import interpret_graph
from mlcref.ir import GlobalVar, IRModule, Var, assert_structural_equal, graph
from mlcref.relax.lower_graph import lower_graph
from mlcref.runtime.vm import VirtualMachine, VMExecutable
from mlcref.script import from_source
from mlcref.script.print_graph import metadata_of

PROGRAMS = """
class Module:
    @T.prim_func
    def add(a: T.handle, b: T.handle, c: T.handle):
        T.func_attr({"tir.noalias": True})
        m, n = T.int64(), T.int64()
        A = T.match_buffer(a, (m, n), "int32")
        B = T.match_buffer(b, (m, n), "int32")
        C = T.match_buffer(c, (m, n), "int32")
        for i, j in T.grid(m, n):
            with T.block("C"):
                vi, vj = T.axis.remap("SS", [i, j])
                C[vi, vj] = A[vi, vj] + B[vi, vj]

    @T.prim_func
    def transpose(a: T.handle, b: T.handle):
        m, n = T.int64(), T.int64()
        A = T.match_buffer(a, (m, n), "int32")
        B = T.match_buffer(b, (n, m), "int32")
        for i, j in T.grid(n, m):
            with T.block("B"):
                vi, vj = T.axis.remap("SS", [i, j])
                B[vi, vj] = A[vj, vi]

    @T.prim_func
    def matmul(a: T.handle, b: T.handle, c: T.handle):
        m, n, k = T.int64(), T.int64(), T.int64()
        A = T.match_buffer(a, (m, k), "int32")
        B = T.match_buffer(b, (k, n), "int32")
        C = T.match_buffer(c, (m, n), "int32")
        for i, j, l in T.grid(m, n, k):
            with T.block("C"):
                vi, vj, vl = T.axis.remap("SSR", [i, j, l])
                with T.init():
                    C[vi, vj] = 0
                C[vi, vj] = C[vi, vj] + A[vi, vl] * B[vl, vj]

    @T.prim_func
    def stack(a: T.handle, b: T.handle, c: T.handle):
        m, n, l = T.int64(), T.int64(), T.int64()
        A = T.match_buffer(a, (m, n), "int32")
        B = T.match_buffer(b, (m, n), "int32")
        C = T.match_buffer(c, (l, n), "int32")
        for i, j in T.grid(l, n):
            with T.block("C"):
                vi, vj = T.axis.remap("SS", [i, j])
                C[vi, vj] = T.if_then_else(vi < m, A[vi, vj], B[vi - m, vj])

    @T.prim_func
    def divide(a: T.handle, q: T.handle, r: T.handle):
        m, n = T.int64(), T.int64()
        A = T.match_buffer(a, (m, n), "int32")
        Q = T.match_buffer(q, (m, n), "int32")
        D = T.match_buffer(r, (m, n), "int32")
        for i, j in T.grid(m, n):
            with T.block("Q"):
                vi, vj = T.axis.remap("SS", [i, j])
                Q[vi, vj] = A[vi, vj] // 3
                D[vi, vj] = A[vi, vj] % 3

    @T.prim_func
    def shift(a: T.handle, b: T.handle, amount: T.int64):
        m, n = T.int64(), T.int64()
        A = T.match_buffer(a, (m, n), "int32")
        B = T.match_buffer(b, (m, n), "int32")
        for i, j in T.grid(m, n):
            with T.block("B"):
                vi, vj = T.axis.remap("SS", [i, j])
                B[vi, vj] = A[vi, vj] + T.int32(amount)
"""


@functools.cache
def programs():
    return from_source(PROGRAMS).prim_funcs()


@functools.cache
def kernels():
    """The tensor programs, compiled once for all graphs."""
    return compile_module(IRModule(programs()), "cython").functions


class Builder:
    """A graph function under construction, by choices of ``draw``."""

    def __init__(self, draw):
        self.draw = draw
        self.dims = [Var(name, "int64") for name in "pq"]
        self.known = []
        self.bindings = []
        self.blocks = []
        p, q = self.dims
        shapes = [(p, q), *draw(st.lists(st.sampled_from([(p, q), (q, p), (q, 2), (2, p), (1, 3)]), max_size=3))]
        self.params = [graph.Var(f"x{i}", self.info(shape)) for i, shape in enumerate(shapes)]
        self.known += self.params

    @staticmethod
    def info(shape):
        return graph.TensorStructInfo(shape, "int32")

    def pick(self, items):
        return self.draw(st.sampled_from(items))

    def operand(self, fits=lambda shape: True):
        found = [value for value in self.known if fits(shape_of(value))]
        if self.draw(st.integers(0, 7)) == 0:
            rows, columns = self.pick([(1, 3), (2, 2), (3, 7)])
            constant = graph.const(np.arange(rows * columns, dtype="int32").reshape(rows, columns))
            found = [constant] if fits(constant.struct_info.shape.values) else found
        return self.pick(found) if found else None

    def step(self):
        name = self.pick(list(programs()))
        a = self.operand()
        m, n = shape_of(a)
        alike = {"add": lambda s: same(s, (m, n)), "matmul": lambda s: same(s[:1], (n,))}
        partner = {**alike, "stack": alike["add"]}
        b = self.operand(partner[name]) if name in partner else None
        if name in partner and b is None:
            return
        shapes = {"add": [(m, n)], "transpose": [(n, m)], "stack": [(m * 2, n)], "divide": [(m, n), (m, n)],
                  "shift": [(m, n)]}  # fmt: skip
        outs = shapes[name] if name != "matmul" else [(m, shape_of(b)[1])]
        infos = [self.info(shape) for shape in outs]
        args = (a,) if b is None else (a, b)
        result = infos if len(infos) > 1 else infos[0]
        if name == "shift":
            amount = graph.ShapeExpr([self.pick([*self.dims, m + n * 2])])
            self.bind(graph.call_tir(GlobalVar(name), args, result, amount))
        elif self.pick([True, False]):
            self.bind(graph.call_dps_packed(name, args, result))
        else:
            self.bind(graph.call_tir(GlobalVar(name), args, result))

    def bind(self, value):
        exported = self.pick([True, False])
        var = (graph.Var if exported else graph.DataflowVar)(f"v{len(self.bindings)}", value.struct_info)
        self.bindings.append(graph.VarBinding(var, value))
        if isinstance(value.struct_info, graph.TensorStructInfo):
            self.known.append(var)
        else:
            self.bind(graph.TupleGetItem(var, self.pick([0, 1])))

    def close_block(self):
        if self.bindings:
            self.blocks.append(graph.DataflowBlock(tuple(self.bindings)))
            self.known = [value for value in self.known if not isinstance(value, graph.DataflowVar)]
            self.bindings = []

    def function(self):
        for _ in range(self.draw(st.integers(1, 2))):
            for _ in range(self.draw(st.integers(1, 4))):
                self.step()
            self.close_block()
        last = graph.Tuple([self.known[-1], *self.draw(st.lists(st.sampled_from(self.known), max_size=2))])
        if self.pick([True, False]):
            last = graph.Tuple([last, graph.ShapeExpr(self.dims)])
        body = graph.SeqExpr(tuple(self.blocks), last)
        return graph.Function(tuple(self.params), body, body.struct_info).with_attr("global_symbol", "main")


def shape_of(value):
    return value.struct_info.shape.values


def same(a, b):
    return all(x is y or str(x) == str(y) for x, y in zip(a, b, strict=True))


@st.composite
def graphs(draw):
    func = Builder(draw).function()
    module = IRModule({**programs(), "main": func})
    sizes = dict(zip(func.shape_vars(), draw(st.tuples(st.integers(1, 4), st.integers(1, 4))), strict=True))
    arrays = []
    for k, param in enumerate(func.params):
        shape = [sizes.get(extent, extent) for extent in param.struct_info.shape.values]
        count = int(np.prod([int(size) for size in shape]))
        arrays.append((np.arange(count, dtype="int32") * (k + 3) - 5).reshape([int(size) for size in shape]))
    return module, arrays


def leaves(value):
    if isinstance(value, tuple):
        return [leaf for item in value for leaf in leaves(item)]
    return [value if isinstance(value, int) else (value.numpy() if hasattr(value, "numpy") else value).tolist()]


def run_machine(module, arrays):
    lowered, constants = lower_graph(module)
    return VirtualMachine(VMExecutable(lowered, constants, kernels()))["main"](*arrays)


@given(graphs())
def test_the_machine_agrees_with_the_oracle(case):
    module, arrays = case
    before = [array.copy() for array in arrays]
    assert leaves(run_machine(module, arrays)) == leaves(interpret_graph(module, *arrays))
    assert all(np.array_equal(old, new) for old, new in zip(before, arrays, strict=True))


@given(graphs(), st.sampled_from(["tir", "tirx"]), st.booleans())
def test_scripts_parse_back_to_equal_graphs(case, dialect, full):
    module, _ = case
    relax.wellformed_graph(module)
    func = module["main"]
    text = func.script(dialect=dialect, show_meta=full)
    again = from_source(text, env={} if full else {"metadata": metadata_of(func)})
    assert_structural_equal(func, again)
    assert again.script(dialect=dialect, show_meta=full) == text


@given(graphs(), st.data())
def test_bound_parameters_mean_the_same(case, data):
    module, arrays = case
    names = [param.name_hint for param in module["main"].params]
    chosen = data.draw(st.sets(st.sampled_from(names), min_size=1))
    values = dict(zip(names, arrays, strict=True))
    bound = relax.transform.BindParams("main", {name: values[name] for name in chosen})(module)
    relax.wellformed_graph(bound)
    rest = [values[name] for name in names if name not in chosen]
    expected = leaves(interpret_graph(module, *arrays))
    assert leaves(interpret_graph(bound, *rest)) == expected
    assert leaves(run_machine(bound, rest)) == expected


@given(graphs())
def test_fused_graphs_mean_the_same(case):
    module, arrays = case
    expected = leaves(interpret_graph(module, *arrays))
    grouped = relax.transform.Sequential([relax.transform.AnnotateTIROpPattern(), relax.transform.FuseOps()])(module)
    assert leaves(interpret_graph(grouped, *arrays)) == expected
    assert leaves(run_machine(grouped, arrays)) == expected
    again = from_source(grouped.script(show_meta=True))
    assert_structural_equal(again["main"], grouped["main"])
    fused = relax.transform.Sequential([relax.transform.FuseTIR()])(grouped)
    assert not any("Primitive" in func.attrs for func in fused.functions.values())
    assert leaves(interpret_graph(fused, *arrays)) == expected
