"""Simplification, bounds and proofs against evaluation at every point of random small domains."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from mlcref.arith import bounds, evaluate, expr_key, iter_form, points, proved, simplify
from mlcref.ir import (
    EQ, GE, GT, LE, LT, NE, Add, And, BlockRealize, Buffer, Cast, Const, Expr, FloorDiv, FloorMod, Max, Min, Mul, Not,
    Or, PrimFunc, Select, Sub, Var, const, make_block, rewrite, store, wellformed,
)  # fmt: skip

VARIABLES = (Var("i"), Var("j"), Var("k"))

extents = st.one_of(st.integers(1, 9), st.tuples(st.integers(-5, 0), st.integers(0, 5)))
domains = st.fixed_dictionaries(dict.fromkeys(VARIABLES, extents))
numbers = st.integers(-9, 9).map(const)
divisors = st.sampled_from([1, 2, 3, 4, 6, 8, 12]).map(const)


def _grow(children: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    pairs = st.tuples(children, children)
    return st.one_of(
        st.builds(lambda op, ab: op(*ab), st.sampled_from([Add, Sub]), pairs),
        st.builds(Mul, children, numbers),
        st.builds(lambda op, a, b: op(a, b), st.sampled_from([FloorDiv, FloorMod]), children, divisors),
        st.builds(lambda op, ab: op(*ab), st.sampled_from([Min, Max]), pairs),
        st.builds(lambda op, ab, cd: Select(op(*ab), *cd), st.sampled_from([LT, LE, EQ]), pairs, pairs),
    )


leaves = st.one_of(st.sampled_from(VARIABLES), numbers)
expressions = st.recursive(leaves, _grow, max_leaves=8)
affine_sums = st.recursive(
    leaves,
    lambda c: st.one_of(
        st.builds(Add, c, c),
        st.builds(Mul, c, st.sampled_from([2, 3, 4, 8, -1]).map(const)),
        st.builds(lambda op, a, b: op(a, b), st.sampled_from([FloorDiv, FloorMod]), c, divisors),
    ),
    max_leaves=6,
)
comparisons = st.builds(
    lambda op, a, b: op(a, b),
    st.sampled_from([LT, LE, GT, GE, EQ, NE]),
    st.one_of(expressions, affine_sums),
    expressions,
)
conditions = st.recursive(
    comparisons, lambda c: st.one_of(st.builds(And, c, c), st.builds(Or, c, c), st.builds(Not, c)), max_leaves=3
)


def widened(expr: Expr) -> Expr:
    """The expression in int64, by casts of its variables."""

    def widen(node: Any) -> Any:
        if isinstance(node, Var):
            return Cast("int64", node)
        return const(node.value, "int64") if isinstance(node, Const) and node.type == "int32" else None

    return rewrite(widen, expr)


def every_point(dom: dict[Var, Any]) -> list[dict[Var, int]]:
    """All points of a small constant domain, or 100 of them spread over it."""
    found = points(dom)
    assert found is not None
    every = list(found)
    return every[:: len(every) // 100 + 1] + every[-1:]


both = st.one_of(expressions, affine_sums)


@given(both, domains)
def test_value_is_preserved(expr, dom):
    new, bound = simplify(expr, dom), iter_form(expr, dom)
    for point in every_point(dom):
        assert evaluate(new, point) == evaluate(bound, point) == evaluate(expr, point)


@given(both, domains)
def test_value_is_preserved_without_domains(expr, dom):
    new = simplify(expr, {})
    assert all(evaluate(new, point) == evaluate(expr, point) for point in every_point(dom))


@given(both, domains)
def test_int64_stays_int64(expr, dom):
    wide = widened(expr)
    new = simplify(wide, dom)
    assert new.dtype == "int64"
    out = Buffer("out", (const(1, "int64"),), "int64")
    body = make_block("root", store(out, new, [const(0, "int64")]))
    wellformed(PrimFunc((out, *dom), BlockRealize((), (), body)))
    assert all(evaluate(new, point) == evaluate(expr, point) for point in every_point(dom))


@given(both, domains)
def test_normal_form_is_stable(expr, dom):
    once = simplify(expr, dom)
    assert simplify(once, dom) is once
    bound = iter_form(expr, dom)
    assert expr_key(iter_form(bound, dom)) == expr_key(bound)


@given(both, domains)
def test_bounds_contain_every_value(expr, dom):
    values = bounds(expr, dom)
    assert all(evaluate(expr, point) in values for point in every_point(dom))


@given(st.dictionaries(st.sampled_from([Var("a"), Var("b"), Var("c")]), st.integers(-4, 4)), domains)
def test_bounds_of_sums_are_tight(coefficients, dom):
    expr = sum((v * k for v, k in zip(dom, coefficients.values(), strict=False)), const(0))
    every = points(dom)
    assert every is not None
    found = [evaluate(expr, point) for point in every]
    values = bounds(expr, dom)
    assert (values.lo, values.hi) == (min(found), max(found))


@given(conditions, domains)
def test_proofs_agree_with_enumeration(condition, dom):
    verdict = proved(condition, dom)
    assert verdict is None or {bool(evaluate(condition, point)) for point in every_point(dom)} == {verdict}


@given(conditions, domains)
def test_conditions_keep_their_truth(condition, dom):
    new = simplify(condition, dom)
    assert new.dtype == "bool"
    assert all(bool(evaluate(new, point)) == bool(evaluate(condition, point)) for point in every_point(dom))
    assert simplify(new, dom) is new


@given(st.integers(1, 5), st.integers(1, 5), st.integers(0, 3), st.integers(-2, 2))
def test_symbolic_extents_never_prove_too_much(n, m, slack, offset):
    """i < n and j < m known only by name: a proof must hold for the numbers."""
    i, j, size, width = Var("i"), Var("j"), Var("n"), Var("m")
    condition = i * 4 + j * 2 + offset < size * 4 + width * 2 - slack
    verdict = proved(condition, {i: size, j: width})
    found = {bool(evaluate(condition, {i: a, j: b, size: n, width: m})) for a in range(n) for b in range(m)}
    assert verdict is None or found == {verdict}
