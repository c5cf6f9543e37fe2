"""Rewriting by patterns keeps what generated graphs mean. Elements are integers, so that results must be equal."""

import numpy as np
import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st

from mlcref import relax
from mlcref.interp.graph import interpret_graph
from mlcref.relax.dpl import PatternContext, is_op, rewrite_bindings, wildcard
from mlcref.testing.graphs import graphs

op = relax.op
INTEGERS = ("int32", "int64")


def unary(name):
    return is_op(f"relax.{name}")(wildcard())


def binary(name, *parts):
    return is_op(f"relax.{name}")(*(parts or (wildcard(), wildcard())))


def means(module, arguments):
    return leaves(interpret_graph(module, *arguments))


def leaves(value):
    return [leaf for item in value for leaf in leaves(item)] if isinstance(value, tuple) else [value]


def same(found, expected):
    assert len(found) == len(expected)
    for a, b in zip(found, expected, strict=True):
        assert a.dtype == b.dtype
        assert np.array_equal(a, b)


def two_sums():
    """Two sums become differences that share what is turned around."""
    v = wildcard()
    with PatternContext() as ctx:
        first, second = binary("add", v, wildcard()), binary("add", v, wildcard())

    def rewriter(found, bindings):
        turned = op.negative(found[v])
        return {found[one]: op.subtract(bindings[found[one]].args[1], turned) for one in (first, second)}

    return ctx, rewriter


def doubly_negated():
    """The negative of a negative that nothing else uses."""
    with PatternContext() as ctx:
        inner, outer = unary("negative"), unary("negative")
        inner >> outer
    return ctx, lambda found, bindings: {found[outer]: bindings[found[inner]].args[0]}


def differences_of_products():
    """A product and the difference that has it for an operand."""
    with PatternContext() as ctx:
        product, total = binary("multiply"), binary("subtract")
        product ^ total

    def rewriter(found, bindings):
        a, b = bindings[found[total]].args
        turned = op.multiply(*bindings[found[product]].args[::-1])
        return {found[total]: op.add(a, op.negative(b)), found[product]: turned}

    return ctx, rewriter


RULES = {two_sums: "add add split", doubly_negated: "negative negative negative add",
         differences_of_products: "multiply multiply subtract subtract reshape"}  # fmt: skip


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
@given(data=st.data())
@settings(max_examples=50, deadline=None)
def test_rewritten_bindings_mean_the_same(rule, data):
    case = data.draw(graphs(RULES[rule].split(), INTEGERS, max_steps=8))
    ctx, rewriter = rule()
    before = case.module.script()
    after = case.module.clone()
    after.update_func("main", rewrite_bindings(ctx, rewriter, case.module["main"]))
    event(str(after["main"] is case.module["main"]))
    relax.wellformed_graph(after)
    same(means(after, case.arguments), means(case.module, case.arguments))
    assert case.module.script() == before
