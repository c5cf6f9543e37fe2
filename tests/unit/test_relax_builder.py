"""BlockBuilder, visitors and mutators, passes made by decorators, questions about functions, by example."""

import numpy as np
import pytest

import mlcref as tvm
from mlcref import relax, te, topi
from mlcref.errors import MlcrefError
from mlcref.interp.graph import interpret_graph
from mlcref.ir import GlobalVar, IRModule, Var, assert_structural_equal, graph
from mlcref.script import from_source
from mlcref.script import relax as R

op = relax.op


def tensor(*shape, name="x", dtype="float32"):
    return relax.Var(name, relax.TensorStructInfo(shape, dtype))


def built(write, *params, **options):
    bb = relax.BlockBuilder()
    with bb.function("main", params, **options):
        bb.emit_func_output(write(bb))
    return bb.get()


# BlockBuilder


def test_nested_calls_get_variables_and_names_are_numbered():
    x = tensor(2, 3)

    def write(bb):
        with bb.dataflow():
            a = bb.emit(op.add(op.exp(x), op.exp(x)))
            b = bb.emit(op.log(a), "logarithm")
            return bb.emit_output((b, a))

    func = built(write, x)["main"]
    assert [binding.var.name_hint for binding in func.bindings()] == ["lv", "lv1", "lv2", "logarithm", "gv"]
    kinds = [type(binding.var) for binding in func.bindings()]
    assert kinds == [relax.DataflowVar] * 4 + [relax.Var]
    assert isinstance(func.ret_struct_info, relax.TupleStructInfo)


def test_blocks_follow_each_other_as_in_a_script():
    x = tensor(2)

    def write(bb):
        bb.emit(bb.emit(op.exp(x)))
        with bb.dataflow():
            bb.emit_output(op.log(x))
        bb.emit(op.sin(x))
        return x

    func = built(write, x, attrs={"note": 1}, private=True)["main"]
    assert [len(block.bindings) for block in func.body.blocks] == [2, 1, 1]
    assert [type(block) for block in func.body.blocks] == [graph.BindingBlock, graph.DataflowBlock, graph.BindingBlock]
    assert dict(func.attrs) == {"note": 1}


def test_a_dataflow_variable_stands_for_the_output_bound_to_it():
    x = tensor(2)

    def write(bb):
        with bb.dataflow():
            inner = bb.emit(op.exp(x))
            bb.emit_output(inner)
        return (inner, x)

    module = built(write, x)
    relax.wellformed_graph(module)
    assert module["main"].body.body.fields[0].name_hint == "gv"

    def lost(bb):
        with bb.dataflow():
            return bb.emit(op.exp(x))

    with pytest.raises(MlcrefError, match=r"lv is not seen outside its dataflow block.*\n.*emit_output"):
        built(lost, x)


def test_tensor_programs_are_shared_and_named():
    x, y = tensor(2, 3), tensor(2, 3, name="y")

    def write(bb):
        a = bb.emit_te(topi.add, x, y)
        b = bb.emit_te(topi.add, a, a)
        c = bb.emit_te(topi.add, b, y)
        d = bb.emit_te(lambda t: te.compute(t.shape, lambda *i: t(*i) * 2.0, name="twice"), c)
        return bb.emit_te(topi.multiply, d, relax.const(2.0), primfunc_name_hint="scale")

    module = built(write, x, y)
    assert list(module) == ["add", "add1", "compute", "scale", "main"]
    assert "global_symbol" not in module["add"].attrs
    names = [param.name for param in module["add"].params]
    assert names == ["x", "y", "T_add"]
    ones = np.ones((2, 3), "float32")
    assert interpret_graph(module, ones, ones).tolist() == [[20.0] * 3] * 2


def test_symbolic_extents_become_variables_of_the_program():
    n = Var("n", "int64")
    x = tensor(n * 2, 3)

    def write(bb):
        return bb.emit_te(lambda t, k: te.compute((k, 3), lambda i, j: t(i * 2, j), name="even"), x, n)

    module = built(write, x, tensor(n, name="size"))
    call = next(module["main"].bindings()).value
    assert len(call.args) == 2  # the result binds n
    data = np.arange(12, dtype="float32").reshape(4, 3)
    assert np.array_equal(interpret_graph(module, data, np.zeros(2, "float32")), data[::2])
    assert not any(var is n for var in module["compute"].shape_vars())


def test_extents_that_no_argument_binds_are_passed_as_numbers():
    n = Var("n", "int64")
    x = tensor(n * 2)

    def write(bb):
        return bb.emit_te(lambda t: te.compute(t.shape, lambda i: t(i) + 1.0), x)

    module = built(write, x, tensor(n, name="s"))
    call = next(module["main"].bindings()).value
    assert call.args[2].values == (n,)
    assert interpret_graph(module, np.zeros(4, "float32"), np.zeros(2, "float32")).tolist() == [1] * 4
    vm = relax.VirtualMachine(tvm.compile(module), tvm.cpu())
    assert vm["main"](np.zeros(4, "float32"), np.zeros(2, "float32")).numpy().tolist() == [1] * 4


def test_tuples_go_to_tensor_expressions_field_by_field():
    x = tensor(4)

    def write(bb):
        parts = bb.emit(op.split(x, 2))
        return bb.emit_te(topi.concatenate, parts, 0)

    module = built(write, x)
    relax.wellformed_graph(module)
    legal = relax.transform.LegalizeOps()(module)
    assert interpret_graph(legal, np.arange(4, dtype="float32")).tolist() == [0, 1, 2, 3]


def test_match_cast_binds_dimensions():
    x = relax.Var("x", relax.TensorStructInfo(None, "float32", 2))
    m = Var("m", "int64")

    def write(bb):
        with bb.dataflow():
            y = bb.match_cast(x, relax.TensorStructInfo((m, 3), "float32"))
            return bb.emit_output(op.add(y, y))

    module = built(write, x)
    relax.wellformed_graph(module)
    assert_structural_equal(from_source(module.script()), module)
    vm = relax.VirtualMachine(tvm.compile(module), tvm.cpu())
    for rows in (2, 5):
        assert vm["main"](np.ones((rows, 3), "float32")).numpy().tolist() == [[2] * 3] * rows
    for passed in (module, relax.transform.LegalizeOps()(module), relax.get_pipeline("zero")(module)):
        assert interpret_graph(passed, np.ones((2, 3), "float32")).tolist() == [[2] * 3] * 2


def test_calls_of_functions_learn_what_they_return():
    n = Var("n", "int64")
    p = tensor(n, 2, name="p")
    bb = relax.BlockBuilder(IRModule({"twice": relax.Function([p], op.add(p, p), None)}))
    x = tensor(3, 2)
    with bb.function("main", [x]):
        y = bb.emit(relax.Call(GlobalVar("twice"), [op.exp(x)]))
        bb.emit_func_output(y)
    assert [int(extent) for extent in y.struct_info.shape] == [3, 2]
    module = relax.transform.Normalize()(bb.finalize())
    relax.wellformed_graph(module)
    assert_structural_equal(from_source(module.script()), module)


def test_results_are_described_as_in_scripts():
    x = tensor(2)
    one = op.call_dps_packed("f", x, R.Tensor((2,), "float32"))
    two = op.call_tir("f", [x], out_sinfo=[R.Tensor((2,), "float32"), R.Tensor((), "int32")])
    assert one.struct_info.ndim == 1
    assert [field.dtype for field in two.struct_info.fields] == ["float32", "int32"]
    assert isinstance(two.args[0], relax.ExternFunc)


# Visitors and mutators


TWO_BLOCKS = """
@R.function
def main(x: R.Tensor((2,), "float32"), u: R.Tensor(dtype="float32", ndim=1)):
    m = T.int64()
    a = R.exp(x)
    with R.dataflow():
        b = R.add(a, R.const([1.0, 2.0]))
        c = R.match_cast(u, R.Tensor((m,), "float32"))
        d = R.reshape(c, R.shape([m, 1]))
        R.output(b, d)
    t = (b, d)
    e = t[0]
    z = R.call_dps_packed("f", (e,), R.Tensor((2,), "float32"))
    return (z, e)
"""


def test_a_visitor_sees_everything_in_order():
    seen = []

    def recording(name):
        def visit(self, node):
            seen.append(name)
            getattr(relax.PyExprVisitor, name)(self, node)

        return visit

    names = [name for name in vars(relax.PyExprVisitor) if name.startswith("visit_")]
    Recorder = relax.expr_functor.visitor(type("Recorder", (relax.PyExprVisitor,), {n: recording(n) for n in names}))
    Recorder().visit_expr(from_source(TWO_BLOCKS))
    assert set(names) - set(seen) == {"visit_global_var_"}
    assert seen[:4] == ["visit_expr", "visit_function_", "visit_var_def", "visit_var_def"]
    assert seen.count("visit_call_") == 4
    assert seen.count("visit_binding") == 7


def test_a_mutator_without_changes_gives_the_same_object():
    func = from_source(TWO_BLOCKS)
    assert relax.PyExprMutator().visit_expr(func) is func


def test_a_mutator_can_change_types_and_add_bindings():
    class Half(relax.PyExprMutator):
        def visit_call_(self, call):
            call = self.visit_expr_post_order(call)
            if call.op != relax.Op.get("relax.exp"):
                return call
            return op.astype(op.exp(op.astype(call.args[0], "float16")), "float32")

        def visit_constant_(self, constant):
            return relax.const(constant.data * 2)

    func = from_source(TWO_BLOCKS)
    new = Half().visit_expr(func)
    relax.wellformed_graph(new)
    assert [binding.var.name_hint for binding in new.bindings()][:3] == ["gv", "gv1", "a"]
    assert next(b.value for b in new.bindings() if b.var.name_hint == "b").args[1].data.tolist() == [2, 4]


# Passes by decorators


@tvm.transform.module_pass(opt_level=3, name="Rename")
class Rename:
    def __init__(self, name):
        self.name = name

    def transform_module(self, mod, ctx):
        mod.update_func(self.name, mod["main"])
        return mod


@relax.transform.function_pass(opt_level=1)
def mark(func, mod, ctx):
    return func.with_attr("level", ctx.opt_level)


def test_passes_work_on_their_own_copy():
    module = IRModule({"main": relax.Function([tensor(2)], tensor(2))})
    assert list(Rename("other")(module)) == ["main", "other"]
    assert list(module) == ["main"]
    assert mark(module)["main"].attrs["level"] == 2
    assert (mark.info.name, mark.info.opt_level, Rename("x").info.opt_level) == ("mark", 1, 3)


def test_a_sequence_runs_what_the_context_enables():
    x = tensor(2)
    module, steps = IRModule({"main": relax.Function([x], x)}), tvm.transform.Sequential([mark, Rename("other")])
    assert list(steps(module)) == ["main"]
    with tvm.transform.PassContext(opt_level=3):
        assert list(steps(module)) == ["main", "other"]
        with tvm.transform.PassContext(opt_level=0, required_pass=["Rename"]):
            assert "level" not in steps(module)["other"].attrs
    with tvm.transform.PassContext(opt_level=3, disabled_pass=["Rename"]):
        assert list(steps(module)) == ["main"]
    assert tvm.transform.PassContext.current().opt_level == 2


def test_legalization_can_be_customized():
    x = tensor(2)
    module = built(lambda bb: bb.emit(op.exp(x)), x)
    custom = {"relax.exp": lambda bb, call: bb.call_te(topi.identity, call.args[0])}
    assert list(relax.transform.LegalizeOps(custom)(module)) == ["main", "identity"]


# Questions


def test_questions_about_variables_and_bindings():
    func = from_source(TWO_BLOCKS)
    names = [var.name_hint for var in relax.analysis.bound_vars(func)]
    assert names == ["x", "u", "a", "b", "c", "d", "t", "e", "z"]
    assert relax.analysis.free_vars(func) == []
    call = next(func.bindings()).value
    assert relax.analysis.free_vars(call) == [func.params[0]]
    assert relax.analysis.name_to_binding(func)["a"][0].value is call
    assert relax.analysis.well_formed(func)
    assert not relax.analysis.well_formed(relax.Function([], func.body))
    assert relax.analysis.all_global_vars(relax.Call(GlobalVar("f"), [])) != []


def test_unused_bindings_go_and_checks_stay():
    func = from_source(TWO_BLOCKS.replace("return (z, e)", "return x"))
    assert [binding.var.name_hint for binding in relax.analysis.remove_all_unused(func).bindings()] == ["c"]
