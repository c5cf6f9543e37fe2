"""Patterns that match bindings together, and rewriting those, by example."""

import numpy as np
import pytest

from mlcref import relax
from mlcref.errors import MlcrefError, TypeMismatch
from mlcref.interp.graph import interpret_graph
from mlcref.relax.dpl import (
    PatternContext,
    is_call_dps_packed,
    is_const,
    is_op,
    is_var,
    make_fused_bias_activation_pattern,
    rewrite_bindings,
    wildcard,
)
from mlcref.script import from_source

op = relax.op

QKV = from_source("""
@R.function
def main(x: R.Tensor((4, 6), "int32"), wq: R.Tensor((6, 2), "int32"), wk: R.Tensor((6, 3), "int32")):
    with R.dataflow():
        q = R.matmul(x, wq)
        wv = R.negative(wk)
        k = R.matmul(x, wk)
        v = R.matmul(x, wv)
        qq = R.abs(q)
        out = R.add(R.add(k, v), k)
        R.output(qq, out)
    return (qq, out)
""")
CHAIN = from_source("""
@R.function
def main(x: R.Tensor((4,), "float32"), y: R.Tensor((4,), "float32")):
    with R.dataflow():
        a = R.exp(x)
        b = R.negative(a)
        c = R.exp(y)
        d = R.negative(c)
        e = R.add(c, b)
        f = R.subtract(d, e)
        g = R.call_dps_packed("lib.f", (f, e), R.Tensor((4,), "float32"))
        R.output(e, g)
    return (e, g)
""")


def block(func):
    return func.body.blocks[0]


def names(found, *patterns):
    return None if found is None else [found[pattern].name_hint for pattern in patterns]


def unary(name):
    return is_op(f"relax.{name}")(wildcard())


def test_edges_say_what_uses_what():
    with PatternContext() as ctx:
        exp, neg = unary("exp"), unary("negative")
        exp.used_by(neg)
    assert names(ctx.match_dfb(block(CHAIN)), exp, neg) == ["a", "b"]
    with PatternContext() as ctx:
        exp, neg, add = unary("exp"), unary("negative"), is_op("relax.add")(wildcard(), wildcard())
        exp.fork_to(neg, add)
    assert names(ctx.match_dfb(block(CHAIN)), exp, neg, add) == ["c", "d", "e"]
    with PatternContext() as ctx:
        exp, neg = unary("exp"), unary("negative")
        y = is_var("y")
        y ^ exp >> neg
    assert ctx.match_dfb(block(CHAIN)) is None, "c has another user"
    with PatternContext() as ctx:
        exp, neg = unary("exp"), unary("negative")
        sequence = is_var("x") >> exp >> neg
    assert names(ctx.match_dfb(block(CHAIN)), *sequence) == ["x", "a", "b"]
    assert len(sequence) == 3


def test_only_used_by_does_not_match_what_is_seen_outside():
    with PatternContext() as ctx:
        add = is_op("relax.add")(wildcard(), wildcard())
        packed = is_call_dps_packed("lib.f")
        add ^ packed
    assert names(ctx.match_dfb(block(CHAIN)), add, packed) == ["e", "g"]
    with PatternContext() as ctx:
        add = is_op("relax.add")(wildcard(), wildcard())
        last = is_op("relax.subtract")(wildcard(), wildcard())
        add >> last
    assert ctx.match_dfb(block(CHAIN)) is None


@pytest.mark.parametrize(("index", "matches"), [(-1, True), (0, False), (1, True), (2, False)])
def test_edges_name_an_input(index, matches):
    with PatternContext() as ctx:
        neg, add = unary("negative"), is_op("relax.add")(wildcard(), wildcard())
        neg.used_by(add, index=index)
    assert (ctx.match_dfb(block(CHAIN)) is not None) == matches
    with PatternContext() as ctx:
        add, packed = is_op("relax.add")(wildcard(), wildcard()), is_call_dps_packed("lib.f")
        add.used_by(packed, index=index)
    assert (ctx.match_dfb(block(CHAIN)) is not None) == matches


def test_patterns_match_variables_of_their_own():
    with PatternContext() as ctx:
        first, second = unary("exp"), unary("exp")
    assert names(ctx.match_dfb(block(CHAIN)), first, second) == ["a", "c"]
    assert [names(found, first, second) for found in ctx.matches(block(CHAIN))] == [["a", "c"], ["c", "a"]]
    with PatternContext() as ctx:
        unary("exp"), unary("exp"), unary("exp")
    assert ctx.match_dfb(block(CHAIN)) is None


def test_a_context_inside_of_another_one():
    with PatternContext() as outer:
        exp = unary("exp")
        with PatternContext(incremental=True) as inner:
            exp >> unary("negative")
        with PatternContext() as other:
            unary("abs")
        assert PatternContext.current() is outer
    assert names(outer.match_dfb(block(CHAIN)), exp) == ["a"]
    assert list(outer.roots) == [exp]
    assert len(inner.roots) == 2
    assert len(other.roots) == 1
    assert inner.match_dfb(block(CHAIN))[exp].name_hint == "a"


def merged(ctx, parts, rewritten):
    v, products, weights = parts

    def rewriter(found, bindings):
        assert {found[product] for product in products} <= bindings.keys()
        widths = [found[weight].struct_info.shape[1] for weight in weights]
        both = op.matmul(found[v], op.concat([found[weight] for weight in weights], axis=1))
        starts = [sum(int(width) for width in widths[:i]) for i in range(len(widths) + 1)]
        rewritten.append([found[product].name_hint for product in products])
        return {
            found[product]: op.strided_slice(both, [1], [start], [stop])
            for product, start, stop in zip(products, starts, starts[1:], strict=False)
        }

    return rewriter


def test_three_products_become_one():
    v, weights = wildcard(), [wildcard() for _ in range(3)]
    with PatternContext() as ctx:
        products = [is_op("relax.matmul")(v, weight) for weight in weights]
    rewritten = []
    new = rewrite_bindings(ctx, merged(ctx, (v, products, weights), rewritten), QKV)
    relax.wellformed_graph(new)
    ops = " ".join(binding.value.op.name.removeprefix("relax.") for binding in new.bindings())
    assert rewritten == [["q", "k", "v"]]
    assert ops == "negative concat matmul strided_slice strided_slice strided_slice abs add add"
    rng = np.random.default_rng(0)
    arguments = [rng.integers(-4, 5, shape).astype("int32") for shape in ((4, 6), (6, 2), (6, 3))]
    for a, b in zip(interpret_graph(new, *arguments), interpret_graph(QKV, *arguments), strict=True):
        assert a.tolist() == b.tolist()


def test_matches_that_the_rewriter_leaves_are_passed_over():
    with PatternContext() as ctx:
        exp = unary("exp")
    seen = []

    def second_only(found, bindings):
        seen.append(found[exp].name_hint)
        return {found[exp]: op.sqrt(bindings[found[exp]].args[0])} if found[exp].name_hint == "c" else {}

    new = rewrite_bindings(ctx, second_only, CHAIN)
    assert seen == ["a", "c", "a"]
    assert [b.value.op.name for b in new.bindings()][:3] == ["relax.exp", "relax.negative", "relax.sqrt"]
    assert rewrite_bindings(ctx, lambda found, bindings: {found[exp]: bindings[found[exp]]}, CHAIN) is CHAIN


def test_what_is_unused_goes_before_the_next_match():
    func = from_source("""
@R.function
def main(x: R.Tensor((4,), "float32")):
    with R.dataflow():
        a = R.negative(x)
        b = R.negative(a)
        c = R.negative(b)
        d = R.negative(c)
        R.output(d)
    return d
""")
    with PatternContext() as ctx:
        inner, outer = unary("negative"), unary("negative")
        inner >> outer
    x = func.params[0]
    new = rewrite_bindings(ctx, lambda found, bindings: {found[outer]: bindings[found[inner]].args[0]}, func)
    assert [binding.var.name_hint for binding in new.bindings()] == ["b", "d"]
    relax.wellformed_graph(new)
    assert interpret_graph(new, np.float32([1, 2, 3, 4])).tolist() == [1, 2, 3, 4]
    assert new.params == (x,)


def test_shared_expressions_are_computed_once():
    with PatternContext() as ctx:
        first, second = unary("exp"), unary("exp")

    def rewriter(found, bindings):
        both = op.add(bindings[found[first]].args[0], bindings[found[second]].args[0])
        return {found[first]: op.abs(both), found[second]: both}

    new = rewrite_bindings(ctx, rewriter, CHAIN)
    relax.wellformed_graph(new)
    values = [(binding.var.name_hint, repr(binding.value)) for binding in new.bindings()][:4]
    assert values == [("lv", "R.add(x, y)"), ("a", "R.abs(lv)"), ("b", "R.negative(a)"), ("c", "lv")]


def test_new_values_that_do_not_fit():
    with PatternContext() as ctx:
        exp = unary("exp")
        add = is_op("relax.add")(wildcard(), wildcard())
    x = CHAIN.params[0]

    def returning(made):
        return lambda found, bindings: made(found)

    for made, error, message in [
        (lambda found: None, TypeMismatch, "the rewriter returns NoneType, no mapping"),
        (lambda found: {found[exp]: 1.0}, TypeMismatch, "the rewriter returns float for a, no expression"),
        (lambda found: {x: op.exp(x)}, TypeMismatch, "gives a value for x, which the block does not bind"),
        (lambda found: {"a": op.exp(x)}, TypeMismatch, "gives a value for str, which the block does not bind"),
        (lambda found: {found[exp]: op.astype(x, "int32")}, TypeMismatch, "the new value of a is .*int32.*, not"),
        (lambda found: {found[exp]: op.exp(found[add])}, MlcrefError, "the new value of a needs itself"),
        (lambda found: {found[exp]: op.exp(op.exp(x))}, MlcrefError, "the bindings match again and again"),
    ]:
        with pytest.raises(error, match=message):
            rewrite_bindings(ctx, returning(made), CHAIN)


def test_edges_and_contexts_out_of_place():
    exp = unary("exp")
    with pytest.raises(MlcrefError, match="is written inside a context"):
        exp >> unary("negative")
    with pytest.raises(MlcrefError, match="no context is open"):
        PatternContext.current()
    with PatternContext() as ctx, pytest.raises(TypeMismatch, match="an edge joins patterns, not str"):
        exp ^ "negative"
    with pytest.raises(MlcrefError, match="the context has no patterns"):
        ctx.match_dfb(block(CHAIN))


def test_ready_made_patterns():
    func = from_source("""
@R.function
def main(x: R.Tensor((2, 3), "float32"), w: R.Tensor((3, 4), "float32")):
    a = R.matmul(x, w)
    b = R.add(a, R.const([1.0, 2.0, 3.0, 4.0]))
    c = R.nn.relu(b)
    return c
""")
    values = relax.analysis.get_var2val(func)
    a, b, c = values
    plain = make_fused_bias_activation_pattern("relax.matmul")
    biased = make_fused_bias_activation_pattern("relax.matmul", with_bias=True)
    active = make_fused_bias_activation_pattern("relax.matmul", with_bias=True, activation="relax.nn.relu")
    assert [pattern.match(var, values) for pattern, var in ((plain, a), (biased, b), (active, c))] == [True] * 3
    assert [pattern.match(var, values) for pattern, var in ((plain, b), (biased, c), (active, a))] == [False] * 3
    assert is_const().match(values[b].args[1])
