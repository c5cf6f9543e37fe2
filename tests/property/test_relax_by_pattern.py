"""Functions made by patterns, merged, and given to libraries: generated graphs mean the same after each step."""

from hypothesis import event, given, settings
from hypothesis import strategies as st

from mlcref import relax
from mlcref.interp.graph import interpret_graph
from mlcref.ir import Const, Var, graph
from mlcref.relax import transform
from mlcref.relax.dpl import is_const, is_op, is_tuple_get_item, wildcard
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
@settings(max_examples=120, deadline=None)
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
