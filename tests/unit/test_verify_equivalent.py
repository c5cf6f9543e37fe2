"""Verdicts: what is tested, what is refuted with which counterexample, what is not decided."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from mlcref.ir import For, PrimFunc, const, rewrite
from mlcref.script import from_source
from mlcref.script import tir as T
from mlcref.verify import Verdict, check_equivalent, check_passes
from mlcref.verify.inputs import contents, interesting_sizes

MATMUL = """
@T.prim_func
def f(A: T.Buffer((4, 6), "float32"), B: T.Buffer((6, 4), "float32"), C: T.Buffer((4, 4), "float32")):
    for i, j, {k} in T.grid(4, 4, {extents}):
        with T.block("C"):
            vi, vj = T.axis.remap("SS", [i, j])
            vk = T.axis.reduce(6, {binding})
            {where}
            with T.init():
                C[vi, vj] = T.float32({start})
            C[vi, vj] = C[vi, vj] + A[vi, vk] * B[vk, vj]
"""


def matmul(k: str = "k", extents: str = "6", binding: str = "k", where: str = "pass", start: str = "0") -> Any:
    return from_source(MATMUL.format(k=k, extents=extents, binding=binding, where=where, start=start))


def test_a_split_with_its_predicate_is_equal_bit_by_bit() -> None:
    split = matmul("k0, k1", "2, 4", "k0 * 4 + k1", "T.where(k0 * 4 + k1 < 6)")
    verdict = check_equivalent(matmul(), split)
    assert verdict
    assert str(verdict) == "TESTED(p_miss <= 3.5e-18): 1 input, all results equal bit by bit"


def test_a_split_without_its_predicate_means_nothing() -> None:
    verdict = check_equivalent(matmul(), matmul("k0, k1", "2, 4", "k0 * 4 + k1"))
    assert verdict.status == "REFUTED"
    assert verdict.counterexample is not None
    assert verdict.counterexample.error is not None
    assert verdict.counterexample.error.rule == "block.domain"
    assert "vk=6 is outside of its domain" in str(verdict)


def test_a_reordered_reduction_is_equal_within_the_bound() -> None:
    reordered = matmul("k", "6", "(6 - k) % 6")
    verdict = check_equivalent(matmul(), reordered, trials=2)
    assert verdict.status == "TESTED"
    assert verdict.p_miss is not None
    assert "differ by no more than rounding explains" in verdict.detail


@pytest.mark.parametrize(
    ("other", "buffer"),
    [(matmul(start="1"), "C"), (matmul("k", "5", "k + 0"), "C"), (matmul(where="T.where(k < 5)"), "C")],
)
def test_wrong_results_are_refuted_with_element_and_values(other: Any, buffer: str) -> None:
    verdict = check_equivalent(matmul(), other, seed=7)
    assert verdict.status == "REFUTED"
    example = verdict.counterexample
    assert example is not None
    assert (example.buffer, example.seed) == (buffer, 7)
    a, b = example.inputs["A"].astype("float64"), example.inputs["B"].astype("float64")
    assert example.expected == pytest.approx((a @ b)[example.indices])
    assert example.got != example.expected
    again = check_equivalent(matmul(), other, inputs=[example.arguments])
    assert again.status == "REFUTED"


def test_a_tiny_error_that_allclose_would_miss_is_refuted() -> None:
    text = """
@T.prim_func
def f(A: T.Buffer((4,), "float32"), B: T.Buffer((4,), "float32")):
    for i in range(4):
        B[i] = A[i] / (A[i] * A[i] + T.float32({eps}))
"""
    f, g = from_source(text.format(eps="1")), from_source(text.format(eps="1.000001"))
    assert check_equivalent(f, f)
    verdict = check_equivalent(f, g)
    assert verdict.status == "REFUTED"
    assert verdict.counterexample is not None
    assert verdict.counterexample.got == pytest.approx(verdict.counterexample.expected, rel=1e-5)


def copying(target: str, *, stop: int = 4) -> PrimFunc:
    func: PrimFunc = from_source(f"""
@T.prim_func
def f(A: T.Buffer((4,), "float32"), B: T.Buffer((4,), "float32")):
    for i in range({stop}):
        {target}
""")
    return func


def test_elements_that_f_leaves_alone_must_keep_their_bits() -> None:
    f = copying("B[i] = A[i]", stop=3)
    assert check_equivalent(f, copying("B[i] = A[i]")).status == "REFUTED"
    assert check_equivalent(f, copying("B[i] = A[i]"), poison=("B",))
    assert check_equivalent(copying("B[i] = A[i]"), f).status == "REFUTED"


def test_rewriting_an_element_with_what_it_holds_is_allowed() -> None:
    f = copying("B[i] = A[i]", stop=3)
    assert check_equivalent(f, copying("B[i] = T.if_then_else(i < 3, A[i], B[i])"))


def test_a_changed_input_is_refuted() -> None:
    verdict = check_equivalent(copying("B[i] = A[i]"), copying("B[i] = A[i]; A[i] = T.float32(0)"))
    assert verdict.counterexample is not None
    assert verdict.counterexample.buffer == "A"


def test_an_undefined_result_is_refuted() -> None:
    g = from_source("""
@T.prim_func
def g(A: T.Buffer((4,), "float32"), B: T.Buffer((4,), "float32")):
    C = T.alloc_buffer((4,), "float32")
    for i in range(4):
        B[i] = C[i]
""")
    verdict = check_equivalent(copying("B[i] = A[i]"), g)
    assert verdict.counterexample is not None
    assert verdict.counterexample.got == "undefined"


def test_inputs_on_which_f_means_nothing_do_not_count() -> None:
    gather = """
@T.prim_func
def f(A: T.Buffer((4,), "float32"), I: T.Buffer((3,), "int32"), B: T.Buffer((3,), "float32")):
    for i in range(3):
        B[i] = {value}
"""
    f = from_source(gather.format(value="A[I[i]]"))
    verdict = check_equivalent(f, f)
    assert verdict.status == "TESTED"
    assert verdict.detail.startswith("3 inputs,")
    assert verdict.trials == 5  # small and random ones have no meaning; indices, and adversarial floats with indices
    clamped = from_source(gather.format(value="A[T.max(T.min(I[i], 3), 0)]"))
    assert check_equivalent(f, clamped)
    assert check_equivalent(clamped, f).status == "REFUTED"


def test_a_program_that_is_never_defined_is_no_reference() -> None:
    f = copying("B[i + 1] = A[i]")
    verdict = check_equivalent(f, f)
    assert verdict.status == "UNSUPPORTED"
    assert "defined on no input that was tried: B[4] is out of bounds" in verdict.detail
    assert not verdict


def test_other_signatures_are_not_compared() -> None:
    g = from_source("""
@T.prim_func
def g(A: T.Buffer((4,), "float32"), B: T.Buffer((5,), "float32")):
    B[0] = A[0]
""")
    verdict = check_equivalent(copying("B[i] = A[i]"), g)
    assert str(verdict) == "UNSUPPORTED: parameters B and B differ in kind, data type or shape"


def test_a_budget_ends_in_unsupported() -> None:
    f = copying("B[i] = A[i]")
    verdict = check_equivalent(f, f, max_statements=3)
    assert verdict.status == "UNSUPPORTED"
    assert verdict.detail.startswith("budget")


def test_branches_that_depend_on_rounding_are_not_decided() -> None:
    text = """
@T.prim_func
def f(A: T.Buffer((3,), "float32"), B: T.Buffer((1,), "float32")):
    B[0] = T.if_then_else({sum} > T.float32(1.0), T.float32(1), T.float32(0))
"""
    f, g = (from_source(text.format(sum=s)) for s in ("A[0] + (A[1] + A[2])", "(A[0] + A[1]) + A[2]"))
    values = np.array([0.5, 0.5, 2.0**-25], "float32")
    close = check_equivalent(f, g, inputs=[[np.array([2.0**-24, 2.0**-24, 1.0], "float32"), np.zeros(1, "float32")]])
    assert close.status == "UNSUPPORTED"
    assert "depends on rounding" in close.detail
    assert check_equivalent(f, f, inputs=[[values, np.zeros(1, "float32")]])


COPY = """
@T.prim_func
def f(a: T.handle, b: T.handle):
    n = T.int64()
    A = T.match_buffer(a, (n,), "float32")
    B = T.match_buffer(b, (n,), "float32")
    {body}
"""


def test_symbolic_shapes_are_tried_around_the_split() -> None:
    f = from_source(COPY.format(body="for i in range(n): B[i] = A[i]"))
    guarded = "for i, j in T.grid((n + 3) // 4, 4):\n        if i * 4 + j < n: B[i * 4 + j] = A[i * 4 + j]"
    dropped = "for i, j in T.grid(n // 4, 4): B[i * 4 + j] = A[i * 4 + j]"
    assert {0, 1, 3, 4, 5, 9} <= set(interesting_sizes(from_source(COPY.format(body=guarded))))
    assert check_equivalent(f, from_source(COPY.format(body=guarded)))
    verdict = check_equivalent(f, from_source(COPY.format(body=dropped)))
    assert verdict.counterexample is not None
    assert verdict.counterexample.inputs["A"].shape[0] % 4 != 0


def test_given_inputs_are_left_as_they_were() -> None:
    a, b = np.ones(4, "float32"), np.zeros(4, "float32")
    f = copying("B[i] = A[i]")
    assert check_equivalent(f, f, inputs=[(a, b)])
    assert (b == 0).all()


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float64", "uint8", "int64", "bool"])
@pytest.mark.parametrize("kind", ["small", "random", "index"])
def test_contents_have_type_and_shape(dtype: str, kind: str) -> None:
    array = contents(dtype, (3, 5), kind, np.random.default_rng(0))
    assert array.shape == (3, 5)
    assert array.dtype.name == dtype
    assert len(np.unique(array)) > 1


def halve_extents(func: PrimFunc) -> PrimFunc:
    """A wrong pass."""
    return rewrite(lambda n: For(n.loop_var, n.min, const(2), n.kind, n.body) if isinstance(n, For) else None, func)


def rename(func: PrimFunc) -> PrimFunc:
    """A harmless pass."""
    renamed: PrimFunc = func.with_attr("global_symbol", "renamed")
    return renamed


def test_passes_are_checked_one_by_one_up_to_the_culprit() -> None:
    f = copying("B[i] = A[i]")
    found = check_passes([rename, lambda func: func, ("halve", halve_extents), rename], f)
    assert [(v.name, v.verdict.status) for v in found] == [("rename", "TESTED"), ("halve", "REFUTED")]
    assert not found[-1]
    wanted = "halve: REFUTED: input 0 (small)\nB[3]: expected 0.0, got 1.0\nthe second program never writes it\n"
    assert str(found[-1]).startswith(wanted)


def test_verdicts_are_true_only_when_tested() -> None:
    assert [bool(Verdict(s, "")) for s in ("TESTED", "REFUTED", "UNSUPPORTED")] == [True, False, False]
    _ = T
