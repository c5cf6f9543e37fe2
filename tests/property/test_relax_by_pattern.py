"""Functions made by patterns, merged, and given to libraries: generated graphs mean the same after each step."""

import pytest
from hypothesis import assume, event, given, settings
from hypothesis import strategies as st

from mlcref import get_global_func, list_global_func_names, relax, remove_global_func
from mlcref.driver.derived_extents import build_with_checks
from mlcref.driver.graph import compile_graph
from mlcref.interp.graph import interpret_graph
from mlcref.ir import Const, IRModule, Target, Var, graph
from mlcref.relax import transform
from mlcref.relax.dpl import is_const, is_op, is_tuple_get_item, wildcard
from mlcref.relax.fuse_tir import fused_program
from mlcref.relax.run_codegen import LibraryFunction, register_library
from mlcref.runtime import oracle_backend
from mlcref.runtime.vm import VirtualMachine
from mlcref.script import from_source
from mlcref.testing.graphs import graphs

OPERATORS = ["add", "subtract", "multiply", "negative", "maximum", "permute_dims", "sum", "concat", "split", "reshape"]


def op(name, *parts):
    return is_op(f"relax.{name}")(*parts)


def shared():
    v = wildcard()
    return op("add", v, op("negative", v))


def rectangle():
    v = op("negative", wildcard())
    return op("maximum", v, op("add", v, wildcard()))


def options():
    return op("add", wildcard(), wildcard()).optional(lambda v: op("negative", v) | op("sum", v))


PATTERNS = {
    "add": ("add", lambda: op("add", wildcard(), wildcard())),
    "negative": ("negative", lambda: op("negative", wildcard())),
    "chain": ("negative", lambda: op("negative", op("negative", wildcard()))),
    "shared": ("add negative", shared),
    "rectangle": ("maximum add negative", rectangle),
    "options": ("add negative sum", options),
    "product": ("add multiply", lambda: op("add", op("multiply", wildcard(), wildcard()), wildcard())),
    "fields": ("split add", lambda: op("add", is_tuple_get_item(op("split", wildcard())), wildcard())),
    "constant": (
        "multiply", lambda: op("multiply", wildcard(), is_const()) | op("multiply", is_const(), wildcard())
    ),
    "deep": (
        "subtract negative add", lambda: op("subtract", op("add", wildcard(), wildcard()), op("negative", wildcard()))
    ),
    "joined": ("concat", lambda: op("concat", wildcard())),
    "reshape": ("reshape negative", lambda: op("negative", op("reshape", wildcard(), wildcard()))),
}  # fmt: skip
LIBRARIES = ("one", "two")


def leaves(value):
    return [leaf for item in value for leaf in leaves(item)] if isinstance(value, tuple) else [value]


def means(module, arguments):
    return [(leaf.dtype.name, leaf.tolist()) for leaf in leaves(interpret_graph(module, *arguments))]


@st.composite
def cases(draw, symbolic=True):
    """Names of patterns; a module of what they match and more, with some constants; arguments."""
    names = draw(st.lists(st.sampled_from(sorted(PATTERNS)), min_size=1, max_size=5, unique=True))
    chosen = sorted({name for pattern in names for name in PATTERNS[pattern][0].split()})
    more = draw(st.lists(st.sampled_from(OPERATORS), max_size=1))
    case = draw(graphs([*chosen, *more], ("int32",), max_steps=9, symbolic=symbolic))
    params = case.module["main"].params
    plain = [p.name_hint for p in params if all(isinstance(e, Const | Var) for e in graph.extents_of(p.struct_info))]
    bound = {name for name in plain if draw(st.integers(0, 2)) == 0}
    values = dict(zip([param.name_hint for param in params], case.arguments, strict=True))
    module = transform.BindParams("main", {name: values[name] for name in bound})(case.module)
    return names, module, [values[param.name_hint] for param in module["main"].params]


@st.composite
def fusions(draw, names):
    """``FuseOpsByPattern`` by the patterns ``names``, for two libraries."""
    patterns = [(f"{draw(st.sampled_from(LIBRARIES))}.{name}", PATTERNS[name][1]()) for name in names]
    bind_constants, annotate_codegen = draw(st.booleans()), draw(st.booleans())
    return transform.FuseOpsByPattern(patterns, bind_constants, annotate_codegen)


def with_attr(module, name):
    return [func for func in module.functions.values() if name in func.attrs]


@given(case=cases(), data=st.data())
@settings(max_examples=60, deadline=None)
def test_functions_by_patterns_mean_the_same(case, data):
    names, module, arguments = case
    fusion = data.draw(fusions(names))
    before, expected = module.script(), means(module, arguments)
    fused = fusion(module)
    event(f"{min(len(with_attr(fused, 'Composite')), 3)} functions")
    relax.wellformed_graph(fused)
    assert means(fused, arguments) == expected
    assert module.script() == before
    assert means(from_source(fused.script(show_meta=True)), arguments) == expected
    merged = transform.MergeCompositeFunctions()(fused)
    relax.wellformed_graph(merged)
    assert means(merged, arguments) == expected
    if not fusion.annotate_codegen:
        called = with_attr(merged, "Codegen")
        event(f"merged {max([len(list(func.bindings())) for func in called], default=0)}")
        assert bool(called) == bool(with_attr(fused, "Composite"))
    again = fusion(fused)
    assert means(again, arguments) == expected
    assert means(relax.get_pipeline("zero")(merged), arguments) == expected


def interpreted(func):
    """A library that lets the oracle do its work."""

    def compute(*arrays):
        count = len(func.params)
        for result, found in zip(arrays[count:], leaves(interpret_graph(func, *arrays[:count])), strict=True):
            result[...] = found

    return compute


def programmed(func):
    """A library that makes a tensor program, where that is one."""
    legal = transform.LegalizeOps()(IRModule({"f": func}))
    return fused_program(legal, legal["f"])


@pytest.fixture(scope="module", autouse=True)
def libraries():
    for name, library in zip(LIBRARIES, (interpreted, programmed), strict=True):
        register_library(name, override=True)(library)
    yield
    for name in list_global_func_names():
        if name in ("relax.ext.one", "relax.ext.two") or isinstance(get_global_func(name, True), LibraryFunction):
            remove_global_func(name)


def in_the_oracle(funcs, target):
    """Tensor programs that need no compiler."""
    return build_with_checks(lambda named: oracle_backend.build(named, target), funcs)


def has_tensors(func):
    """Are its parameters and its results tensors (or shapes), not tuples?"""
    infos = [param.struct_info for param in func.params] + list(graph.destinations(func.ret_struct_info))
    return not any(isinstance(info, graph.TupleStructInfo) for info in infos)


@given(case=cases(), data=st.data())
@settings(max_examples=50, deadline=None)
def test_what_libraries_compute_means_the_same(case, data):
    names, module, arguments = case
    fused = data.draw(fusions(names))(module)
    merged = transform.MergeCompositeFunctions()(fused)
    assume(all(map(has_tensors, with_attr(merged, "Composite"))))
    before, expected = merged.script(), means(module, arguments)
    after = transform.RunCodegen()(merged)
    relax.wellformed_graph(after)
    kinds = [call.op for call in calls_of(after) if call.op in (graph.CALL_TIR, graph.CALL_DPS_PACKED)]
    event(f"{min(len(kinds), 2)} calls")
    assert not with_attr(after, "Codegen")
    assert means(after, arguments) == expected
    assert merged.script() == before
    again = from_source(after.script(show_meta=True))
    assert means(again, arguments) == expected
    machine = VirtualMachine(compile_graph(after, Target("cython"), in_the_oracle))
    assert [(leaf.dtype, leaf.numpy().tolist()) for leaf in leaves(machine["main"](*arguments))] == expected


def calls_of(module):
    values = [binding.value for func in module.functions.values() if isinstance(func, graph.Function)
              for binding in func.bindings()]  # fmt: skip
    return [value for value in values if isinstance(value, graph.Call)]
