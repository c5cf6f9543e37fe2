"""Rules of simplification by example, in the order in which TVM prints its results."""

from __future__ import annotations

import pytest

from mlcref.arith import Interval, bounds, evaluate, iter_form, linear, proved, proved_small, simplify
from mlcref.errors import UnsupportedError
from mlcref.ir import And, Buffer, Cast, Max, Min, Not, Select, Var, call, const, structural_equal

i, j, n, m = Var("i"), Var("j"), Var("n"), Var("m")
w = Var("w", "int64")
DOM = {i: 8, j: 4}


def same(a, b):
    return structural_equal(a, b)


@pytest.mark.parametrize(
    ("expr", "expected"),
    [
        ((i * 4 + j) // 4, i),
        ((i * 4 + j) % 4, j),
        ((i * 8 + j) // 16, i // 2),
        ((i * 8 + j) % 16, i % 2 * 8 + j),
        (i // 4 * 4 + i % 4, i),
        ((i + j) // 4 * 4 + (i + j) % 4, i + j),
        (n // 2 // 3, n // 6),
        (n // 2 % 3, n % 6 // 2),
        (n % 12 % 4, n % 4),
        (n // 4 % 8 + n // 32 * 8, n // 4),
        (n % 32 // 4 * 4 + n % 4, n % 32),
        (8 - i * 4 + j, 8 - i * 4 + j),
        (j - i * 4, j - i * 4),
        (i + j - i, j),
        ((n + 5) // 4, (n + 1) // 4 + 1),
        ((n * 8 + 5) % 4, const(1)),
        (Min(i, const(9)), i),
        (Max(i + 1, i), i + 1),
        (Min(n, n + 1), n),
        (Select(i < 8, j, i), j),
        (call("if_then_else", i < 0, j, i), i),
        (w * 2 + w, w * 3),
    ],
)
def test_rules(expr, expected):
    found = simplify(expr, DOM)
    assert same(found, expected), f"{found!r}"


def test_bindings_keep_fused_sums_whole():
    expr = (i * 4 + j) // 16
    assert same(simplify(expr, DOM), i // 4)
    assert iter_form(expr, DOM) is expr
    assert same(iter_form((i * 2 + j) // 32, DOM), const(0))


def test_nothing_new_for_a_normal_form():
    expr = i * 4 + j + 3
    assert simplify(expr, DOM) is expr


def test_values_are_left_alone():
    x, A = Var("x", "float32"), Buffer("A", (const(8),))
    value = x + 1.0 - 1.0
    assert simplify(value, {}) is value
    assert same(simplify(A[i + 0] * 2.0, {}), A[i] * 2.0)


def test_parts_of_opaque_terms_are_simplified():
    A = Buffer("A", (const(8),), "int32")
    assert same(simplify(A[i + j - j] + 1 - 1, DOM), A[i])
    assert same(simplify(Cast("int64", i + j - j) + w, DOM), Cast("int64", i) + w)


def test_a_coefficient_that_does_not_fit_leaves_the_expression():
    expr = n * 65536 * 65536
    assert simplify(expr, {}) is expr


def test_symbolic_divisors_stay():
    expr = i // n + i % n
    assert simplify(expr, DOM) is expr
    assert proved(i % n < n, {i: 8, j: n}) is None
    assert bounds(i % n, {n: (1, 5)}) == Interval(0, 4)


@pytest.mark.parametrize(
    ("condition", "dom", "verdict"),
    [
        (i < 8, DOM, True),
        (i < 7, DOM, None),
        (i < 0, DOM, False),
        (i * 4 + j < n * 4, {i: n, j: 4}, True),
        (i * 4 + j < n * 4, {i: n, j: 5}, None),
        (i < j, {i: j, j: n}, True),
        (n >= 1, {i: n}, True),
        (n >= 2, {i: n}, None),
        ((i * 2).__eq__(j * 2 + 1), {}, False),
        ((i + 1).__eq__(1 + i), {}, True),
        ((i).__ne__(9), DOM, True),
        (Not(i < 8), DOM, False),
        (call("likely", i < 8), DOM, True),
        (i.astype("int64") < 8, DOM, True),
        (Var("x", "float32") < 1.0, {}, None),
    ],
)
def test_proofs(condition, dom, verdict):
    assert proved(condition, dom) is verdict


def test_conditions():
    keep = n < 5
    assert same(simplify(And(i < 8, keep), DOM), keep)
    assert same(simplify(And(i < 0, keep), DOM), const(False))
    assert simplify(Not(Not(keep)), {}) is keep


def test_linear_forms_keep_the_order_of_terms():
    form = linear(j * 3 + i - 2, {})
    assert list(form.terms.values()) == [3, 1]
    assert form.constant == -2
    assert form.variables() == {i, j}


def test_small_proofs():
    assert proved_small(i * i <= 49, {i: 8}) is True
    assert proved_small(i * i < 0, {i: 8}) is False
    assert proved_small(i * i < 4, {i: 8}) is None
    assert proved_small(i < n, {i: n}) is None
    assert proved_small(i < 8, {i: 1000, j: 1000}) is None
    with pytest.raises(UnsupportedError, match="BufferLoad is not evaluated"):
        evaluate(Buffer("A", (const(8),), "int32")[i], {i: 0})
