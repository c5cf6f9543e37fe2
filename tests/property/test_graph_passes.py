"""Random graphs over the operator table: scripts parse back, and passes keep what the oracle says they mean."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from mlcref import relax
from mlcref.autoschedule import Machine
from mlcref.interp.graph import interpret_graph
from mlcref.ir import assert_structural_equal, graph
from mlcref.relax.lower_graph import lower_graph
from mlcref.runtime.vm import Invoke
from mlcref.script import from_source
from mlcref.testing.graphs import graphs


def leaves(value):
    return [leaf for item in value for leaf in leaves(item)] if isinstance(value, tuple) else [value]


def means(module, arguments):
    return leaves(interpret_graph(module, *arguments))


def same(a, b):
    assert [(x.dtype, x.shape) for x in a] == [(x.dtype, x.shape) for x in b]
    assert all(np.array_equal(x, y) for x, y in zip(a, b, strict=True))


@given(graphs())
def test_legalization_keeps_the_meaning_and_leaves_no_operator(case):
    legal = relax.transform.LegalizeOps()(case.module)
    relax.wellformed_graph(legal)
    same(means(legal, case.arguments), means(case.module, case.arguments))
    programs, _ = lower_graph(legal)
    assert all(not step.packed for step in programs["main"].code if isinstance(step, Invoke))


@given(graphs(), st.sampled_from(["tir", "tirx"]))
def test_scripts_of_operators_parse_back(case, dialect):
    relax.wellformed_graph(case.module)
    again = from_source(case.module.script(dialect=dialect, show_meta=True))
    assert_structural_equal(again, case.module)


@given(graphs(), st.data())
def test_dead_code_is_not_missed(case, data):
    """One result is kept; what only the others need goes."""
    func = case.module["main"]
    kept = data.draw(st.integers(0, len(func.body.body.fields) - 1))
    body = graph.SeqExpr(func.body.blocks, func.body.body.fields[kept])
    module = case.module.clone()
    module.update_func("main", graph.Function(func.params, body, None, func.attrs))
    clean = relax.transform.DeadCodeElimination()(module)
    relax.wellformed_graph(clean)
    used = set(relax.analysis.all_vars(clean["main"].body.body))
    for binding in reversed(list(clean["main"].bindings())):
        assert binding.var in used
        used.update(relax.analysis.all_vars(binding.value))
    same(means(clean, case.arguments), leaves(interpret_graph(case.module, *case.arguments)[kept]))


@given(graphs())
def test_normalize_and_a_mutator_without_changes_give_the_same_function(case):
    assert relax.transform.Normalize()(case.module)["main"] is case.module["main"]


class Nested(relax.PyExprMutator):
    """Every operand that is a call again in place of its variable: what Normalize must undo."""

    def visit_call_(self, op):
        call = self.visit_expr_post_order(op)
        args = [self.lookup_binding(arg) if self.inlined(arg) else arg for arg in call.args]
        return graph.Call(call.op, args, call.attrs, call.sinfo_args)

    def inlined(self, arg):
        return isinstance(arg, graph.DataflowVar) and isinstance(self.lookup_binding(arg), graph.Call)


@given(graphs())
@settings(max_examples=25)
def test_nested_calls_are_bound_again(case):
    nested = case.module.clone()
    nested.update_func("main", Nested().visit_expr(case.module["main"]))
    relax.wellformed_graph(nested)
    same(means(nested, case.arguments), means(case.module, case.arguments))


@given(graphs(), st.data())
@settings(max_examples=25)
def test_bound_parameters_mean_the_same_to_operators(case, data):
    names = [param.name_hint for param in case.module["main"].params]
    chosen = data.draw(st.sets(st.sampled_from(names), min_size=1))
    values = dict(zip(names, case.arguments, strict=True))
    bound = relax.transform.BindParams("main", {name: values[name] for name in chosen})(case.module)
    relax.wellformed_graph(bound)
    rest = [values[name] for name in names if name not in chosen]
    same(means(bound, rest), means(case.module, case.arguments))


@given(graphs())
@settings(max_examples=25)
def test_the_zero_pipeline_keeps_the_meaning(case):
    same(means(relax.get_pipeline("zero")(case.module), case.arguments), means(case.module, case.arguments))


MACHINE = Machine(vector_bytes=16, registers=12, l2_bytes=512, threads=2, terms=3, parallel_work=0)


@given(graphs(symbolic=False), st.data())
@settings(max_examples=15)
def test_scheduling_graphs_with_constants_keeps_the_meaning(case, data):
    names = [param.name_hint for param in case.module["main"].params]
    chosen = {name for name in names if data.draw(st.booleans())}
    values = dict(zip(names, case.arguments, strict=True))
    bound = relax.transform.BindParams("main", {name: values[name] for name in chosen})(case.module)
    scheduled = relax.get_pipeline("autoschedule", target="cython", machine=MACHINE)(bound)
    rest = [values[name] for name in names if name not in chosen]
    same(means(scheduled, rest), means(case.module, case.arguments))


@given(graphs())
@settings(max_examples=25)
def test_constants_are_folded_through_operators(case):
    names = [param.name_hint for param in case.module["main"].params]
    bound = relax.transform.BindParams("main", dict(zip(names, case.arguments, strict=True)))(case.module)
    folded = relax.transform.FoldConstant()(bound)
    relax.wellformed_graph(folded)
    left = [binding.value for binding in folded["main"].bindings() if isinstance(binding.value, graph.Call)]
    assert all(isinstance(value.struct_info, graph.TupleStructInfo) or not constants(value) for value in left)
    same(means(folded, []), means(case.module, case.arguments))


def constants(call):
    return all(isinstance(arg, graph.Constant) for arg in call.args)
