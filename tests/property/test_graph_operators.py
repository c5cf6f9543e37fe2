"""The operator table: every operator's legalization computes what its reference says, and infers the right shape."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlcref.ir import graph
from mlcref.ir.graph_ops import FUNCTIONS, OPERATORS, operator_of
from mlcref.ir.shapes import evaluate
from mlcref.relax.call_te import tensor_program
from mlcref.testing.backend import assert_backend_matches
from mlcref.testing.graph_recipes import RECIPES
from mlcref.testing.graph_source import BOOL, FLOATS, INTEGERS, GraphSource

graph.load_operators()


def test_every_operator_has_a_recipe():
    assert {name.removeprefix("relax.") for name in OPERATORS} == set(RECIPES)
    assert set(FUNCTIONS) == {*RECIPES, "linear", "nn.attention_bias"}
    assert len(OPERATORS) >= 100


def value_of(arg, arrays, sizes):
    """What an operand is, for the reference."""
    if isinstance(arg, graph.Tuple):
        return tuple(value_of(field, arrays, sizes) for field in arg.fields)
    if isinstance(arg, graph.ShapeExpr):
        return tuple(evaluate(extent, sizes) for extent in arg.values)
    return arrays[arg]


def dtypes_of(draw, name):
    """One type of each kind, at most, that the operator takes."""
    kinds = [kind for kind in (FLOATS, INTEGERS, BOOL) if set(kind) & set(RECIPES[name][0])]
    return (draw(st.sampled_from(draw(st.sampled_from(kinds)))),)


@pytest.mark.parametrize("name", list(RECIPES))
@given(data=st.data())
@settings(max_examples=5)
def test_legalizations_compute_what_the_reference_says(name, data):
    source = GraphSource(lambda options: data.draw(st.sampled_from(list(options))), dtypes_of(data.draw, name))
    call = RECIPES[name][1](source)
    operator = operator_of(call)
    operands = [*call.args, *[None] * (len(operator.operands) - len(call.args))]
    program = tensor_program(operator.legalize, tuple(operands), operator.converted(call.attrs))
    sizes = source.sizes()
    arrays = dict(zip(source.params, source.arguments(source.params, sizes), strict=True))
    inferred = graph.destinations(call.struct_info)
    outputs = [np.zeros([evaluate(extent, sizes) for extent in info.shape], info.dtype) for info in inferred]
    inputs = [arrays[item] for item in program.inputs]

    def reference(*given):
        result = operator.compute([value_of(arg, arrays, sizes) for arg in call.args], call.attrs)
        results = result if isinstance(result, tuple) else (result,)
        for output, made in zip(given[len(inputs) :][: len(outputs)], results, strict=True):
            assert output.shape == np.shape(made)
            with np.errstate(over="ignore"):
                output[...] = np.asarray(made).astype(output.dtype)

    scalars = [evaluate(extent, sizes) for extent in program.dims]
    agreement = assert_backend_matches(program.func, reference, arguments=[[*inputs, *outputs, *scalars]])
    assert agreement.undecided == 0
