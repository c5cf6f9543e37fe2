"""The domains beside the machine: fractions, points of a finite field, float64 with bounds."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlcref.errors import OracleError, UnsupportedError
from mlcref.interp.domains import DOMAINS, BudgetError, execute_in, results
from mlcref.interp.exact import ExactArithmetic, exact
from mlcref.interp.field import OMEGA, P, Q, FieldArithmetic, FieldValue, lift, lifted, miss_probability
from mlcref.ir import Add, Div, Max, Min, Mul, PrimFunc, Sub
from mlcref.script import from_source

FIELD = FieldArithmetic(3)


def func(body: str, n: int = 4) -> PrimFunc:
    lines = "\n".join(f"    {line}" for line in body.strip("\n").splitlines())
    made: PrimFunc = from_source(
        f'@T.prim_func\ndef f(A: T.Buffer(({n},), "float32"), B: T.Buffer(({n},), "float32")):\n{lines}\n'
    )
    return made


def residues(program: PrimFunc, field: FieldArithmetic, name: str = "B") -> list[int]:
    size = int(program.buffers[0].shape[0].value)
    arrays = [np.arange(1, size + 1, dtype="float32") / 7, np.zeros(size, "float32")]
    slot = execute_in(program, arrays, field).slot(name)
    return [lifted(cell).residue for cell in slot.view.storage.cells]


# --- the field ---


def is_prime(n: int) -> bool:
    """Miller and Rabin, certain below 2**64 with these bases."""
    odd, twos = n - 1, 0
    while odd % 2 == 0:
        odd, twos = odd // 2, twos + 1
    for base in (2, 3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37):
        power = pow(base, odd, n)
        if power in (1, n - 1):
            continue
        for _ in range(twos - 1):
            power = power * power % n
            if power == n - 1:
                break
        else:
            return False
    return True


def test_both_moduli_are_primes_and_omega_has_order_q() -> None:
    assert is_prime(P)
    assert is_prime(Q)
    assert P == 2 * Q + 1
    assert pow(OMEGA, Q, P) == 1 != OMEGA


floats = st.integers(-1000, 1000).map(lambda n: n / 8)
points = st.tuples(floats, st.integers(0, P - 1), st.integers(0, Q - 1)).map(
    lambda x: make(x[0], residue=x[1], power=x[2])
)


def make(real: float, *, residue: int, power: int) -> FieldValue:
    value = FieldValue(real)
    value.residue, value.power, value.up, value.down, value.term, value.flags = residue, power, 1, 0, residue, 0
    return value


def op(kind: Any, a: float, b: float, field: FieldArithmetic = FIELD) -> Any:
    return field.binary(kind, "float32", False)(a, b)


def function(name: str, *operands: float) -> Any:
    return FIELD.intrinsic(name, "float32", "float32")(*operands)


@given(points, points, points)
def test_sums_and_products_do_not_depend_on_order(a: Any, b: Any, c: Any) -> None:
    for kind in (Add, Mul):
        left, right = op(kind, op(kind, a, b), c), op(kind, a, op(kind, c, b))
        assert (left.residue, left.power) == (right.residue, right.power)
    spread, folded = op(Add, op(Mul, a, c), op(Mul, b, c)), op(Mul, op(Add, a, b), c)
    assert spread.residue == folded.residue
    assert op(Sub, op(Add, a, b), b).residue == a.residue


@given(points, points)
def test_division_undoes_multiplication(a: Any, b: Any) -> None:
    if b.residue and b.power:
        quotient = op(Div, op(Mul, a, b), b)
        assert (quotient.residue, quotient.power) == (a.residue, a.power)


@given(points, points)
def test_exp_turns_sums_into_products(a: Any, b: Any) -> None:
    assert function("exp", op(Add, a, b)).residue == op(Mul, function("exp", a), function("exp", b)).residue


@given(points)
def test_known_functions_are_what_they_are(a: Any) -> None:
    assert op(Mul, function("rsqrt", a), function("sqrt", a)).residue == 1
    sigmoid = op(Div, 1.0, op(Add, 1.0, function("exp", op(Sub, 0.0, a))))
    assert function("sigmoid", a).residue == sigmoid.residue
    assert function("pow", a, 3.0).residue == op(Mul, a, op(Mul, a, a)).residue
    assert function("tanh", a).residue == function("tanh", a).residue != function("erf", a).residue


@pytest.mark.parametrize("order", ["set", "shadow", "top", "bottom", "random"])
@given(points, points, points)
def test_max_and_min_are_those_of_a_total_order(order: str, a: Any, b: Any, c: Any) -> None:
    field = FieldArithmetic(5, order)
    for kind in (Max, Min):
        assert op(kind, op(kind, a, b, field), c, field).residue == op(kind, a, op(kind, c, b, field), field).residue
        assert op(kind, a, a, field).residue == a.residue
    assert op(Max, a, -math.inf, field).residue == a.residue
    assert op(Min, a, 3.4028234663852886e38, field).residue == a.residue


@given(points)
def test_the_orders_put_0_where_they_say(a: Any) -> None:
    top, bottom = FieldArithmetic(1, "top"), FieldArithmetic(1, "bottom")
    assert op(Max, a, 0.0, top).residue == 0
    assert op(Max, a, 0.0, bottom).residue == a.residue


@given(floats)
def test_constants_are_their_rational_numbers(x: float) -> None:
    fraction = Fraction(x)
    assert lift(x).residue * fraction.denominator % P == fraction.numerator % P
    assert op(Mul, x, 8.0).residue == int(x * 8) % P


def test_shadows_are_the_machines_values() -> None:
    assert float(op(Div, 1.0, 3.0)) == np.float32(1) / np.float32(3)
    assert float(function("exp", lift(1.0))) == np.float32(math.e)


def test_degrees_bound_the_probability() -> None:
    a = make(1.0, residue=5, power=7)
    product = op(Mul, op(Mul, a, a), a)
    assert (product.up, product.down) == (3, 0)
    ratio = op(Add, op(Div, a, product), a)
    assert (ratio.up, ratio.down) == (4, 3)
    assert miss_probability(product.degree + ratio.degree) == pytest.approx(10 / Q)


def test_points_are_drawn_by_seed_and_element() -> None:
    copy = func("for i in range(4): B[i] = A[i]")
    assert residues(copy, FieldArithmetic(1)) == residues(copy, FieldArithmetic(1))
    assert len({*residues(copy, FieldArithmetic(1)), *residues(copy, FieldArithmetic(2))}) == 8


def test_a_softmax_in_two_forms_is_one_function() -> None:
    plain = "S = T.alloc_buffer((1,), 'float32')\nS[0] = T.float32(0)\n"
    plain += "for i in range(4):\n    S[0] = S[0] + T.exp(A[i])\n"
    plain += "for i in range(4):\n    B[i] = T.exp(A[i]) / S[0]"
    shifted = plain.replace("T.exp(A[i])", "T.exp(A[i] - A[2])")
    wrong = plain.replace("T.exp(A[i]) / S", "T.exp(A[i] + A[i]) / S")
    assert residues(func(plain), FIELD) == residues(func(shifted), FIELD)
    assert not set(residues(func(plain), FIELD)) & set(residues(func(wrong), FIELD))


def test_an_unknown_order_is_refused() -> None:
    with pytest.raises(ValueError, match="order is one of set, shadow, top, bottom, random, not 'up'"):
        FieldArithmetic(0, "up")


# --- fractions ---


def test_exact_results_have_no_error() -> None:
    thirds = func("for i in range(4): B[i] = (A[i] / T.float32(3) + T.float32(16777216)) - T.float32(16777216)")
    found = results(thirds, np.array([1, 2, 3, 0.5], "float32"), np.zeros(4, "float32"))["B"]
    assert list(found) == [Fraction(1, 3), Fraction(2, 3), 1, Fraction(1, 6)]


@given(st.lists(st.floats(-1e6, 1e6, width=32), min_size=4, max_size=4))
def test_exact_sums_are_those_of_python(values: list[float]) -> None:
    body = "B[0] = T.float32(0)\nfor i in range(4): B[0] = B[0] + A[i]"
    found = results(func(body), np.array(values, "float32"), np.zeros(4, "float32"))["B"]
    assert found[0] == sum(map(Fraction, values))


def test_exact_functions() -> None:
    arithmetic = ExactArithmetic()
    third = Fraction(-7, 3)

    def of(name: str, *operands: Any, result: str = "float32") -> Any:
        return arithmetic.intrinsic(name, "float32", result)(*operands)

    assert [of(name, third) for name in ("floor", "ceil", "trunc", "round", "abs")] == [-3, -2, -2, -2, -third]
    assert of("pow", third, 2.0) == Fraction(49, 9)
    assert of("isnan", third, result="bool") is False
    assert of("isinf", math.inf, result="bool") is True
    assert arithmetic.converter("float32", "int8")(third) == -2
    assert arithmetic.binary(Div, "float32", False)(third, 0.0) == -math.inf
    assert arithmetic.binary(Max, "float32", False)(third, -2.0) == -2
    assert arithmetic.binary(Add, "int8", False)(100, 100) == -56
    assert math.isnan(exact(math.nan))


def test_what_has_no_fraction_is_refused() -> None:
    with pytest.raises(UnsupportedError, match="exp has no value in the exact domain"):
        results(func("B[0] = T.exp(A[0])"), np.ones(4, "float32"), np.ones(4, "float32"))
    with pytest.raises(UnsupportedError, match="small integer exponents only"):
        results(func("B[0] = T.pow(A[0], T.float32(0.5))"), np.ones(4, "float32"), np.ones(4, "float32"))
    to_int = from_source("""
@T.prim_func
def f(A: T.Buffer((1,), "float32"), B: T.Buffer((1,), "int8")):
    B[0] = T.Cast("int8", A[0] * A[0])
""")
    with pytest.raises(OracleError, match=r"10000 is converted to int8.*\[value.cast\]"):
        results(to_int, np.array([100], "float32"), np.zeros(1, "int8"))


# --- all of them ---


@pytest.mark.parametrize("domain", sorted(DOMAINS))
def test_every_domain_runs_what_the_machine_runs(domain: str) -> None:
    body = "for i in T.parallel(4):\n    with T.block('B'):\n        vi = T.axis.spatial(4, i)\n"
    body += "        B[vi] = T.max(A[vi] * A[3 - vi], T.float32(2))"
    a, b = np.arange(4, dtype="float32"), np.zeros(4, "float32")
    found = results(func(body), a, b, domain=domain)["B"]
    assert [float(x) for x in found] == [2, 2, 2, 2]
    assert (b == 0).all()
    race = func("for i in T.parallel(4): B[0] = A[i]")
    with pytest.raises(OracleError, match=r"\[loop.race\]"):
        results(race, a, b, domain=domain)


def test_float64_shows_what_float32_hides() -> None:
    program = func("B[0] = (A[0] + T.float32(100000000)) - T.float32(100000000)")
    a, b = np.ones(4, "float32"), np.zeros(4, "float32")
    assert float(results(program, a, b, domain="machine")["B"][0]) == 0
    assert float(results(program, a, b, domain="wide")["B"][0]) == 1


def test_an_unknown_domain_is_refused() -> None:
    with pytest.raises(ValueError, match="domain is one of machine, exact, field, bound, wide, not 'real'"):
        results(func("B[0] = A[0]"), np.ones(4, "float32"), np.ones(4, "float32"), domain="real")


def test_a_deadline_ends_a_run() -> None:
    program = func("for i in range(1000000000): B[0] = A[0]")
    with pytest.raises(BudgetError, match="budget: the time allowed by timeout is over"):
        execute_in(program, [np.ones(4, "float32"), np.ones(4, "float32")], FIELD, deadline=0.0)
