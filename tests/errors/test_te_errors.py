"""What tensor expressions refuse, by rule."""

from collections.abc import Callable
from typing import Any

import pytest

from mlcref import te
from mlcref.errors import MlcrefError, TypeMismatch, UnsupportedError

A = te.placeholder((4, 8), name="A")
V = te.placeholder((4,), name="V")
I = te.placeholder((4,), "int32", name="I")
k = te.reduce_axis((0, 8), "k")
s = te.var("s")
B = te.compute((4,), lambda i: V[i] + 1.0, name="B")
PAIR = te.comm_reducer(lambda x, y: te.max(x[0], y[0]), lambda *dtypes: [te.min_value(d) for d in dtypes], name="pair")
NONE = te.comm_reducer(lambda x, y: x, lambda *dtypes: te.const(0, dtypes[0]), name="none")
MOST = te.comm_reducer(
    lambda x, y: (x[0] + y[0], x[1] + y[0]), lambda *dtypes: [te.const(0, d) for d in dtypes], name="most"
)


def refused(words: str, make: Callable[[], Any]) -> MlcrefError:
    with pytest.raises(MlcrefError, match=words) as caught:
        make()
    return caught.value


def computed(fcompute: Callable[..., Any], shape: Any = (4,)) -> te.Tensor:
    return te.compute(shape, fcompute, name="C")


@pytest.mark.parametrize(
    ("words", "make"),
    [
        ("an extent of X must be an integer, not float32", lambda: te.placeholder((4, 2.0), name="X")),
        ("an extent of C is -1", lambda: computed(lambda i: 0.0, shape=(-1,))),
        ("the domain of reduce_axis r must be a pair, not 8", lambda: te.reduce_axis(8, "r")),
        ("a bound of reduce_axis r must be an integer", lambda: te.reduce_axis((0, 1.5), "r")),
        ("an index of A must be an integer, not float32", lambda: computed(lambda i: A[i, V[i]])),
    ],
)
def test_shapes_bounds_and_indices_are_integers(words: str, make: Callable[[], Any]) -> None:
    assert refused(words, make).rule == "te.T1"


@pytest.mark.parametrize(
    ("words", "make"),
    [
        ("sum reduces over Axis\\(i, spatial\\), which is no", lambda: te.sum(A[0, k], axis=[k, B.op.axis[0]])),
        ("max reduces over 1, which is no reduce axis", lambda: te.max(A[0, k], axis=[k, 1])),
        ("sum needs reduce axes, each of them once", lambda: te.sum(A[0, k], axis=[k, k])),
        ("sum needs reduce axes, each of them once", lambda: te.sum(A[0, k], axis=[])),
        ("where= of min is no condition but float32", lambda: te.min(A[0, k], axis=k, where=A[0, k])),
        ("max of two values takes no where=", lambda: te.max(V[0], V[1], where=V[0] > 0)),
        ("sum of float32 cannot start at init= of int32", lambda: te.sum(A[0, k], axis=k, init=I[0])),
        ("sum is not defined on bool: its identity is int32", lambda: te.sum(A[0, k] > 0, axis=k)),
    ],
)
def test_what_a_reduction_takes(words: str, make: Callable[[], Any]) -> None:
    assert refused(words, make).rule == "te.T2"


@pytest.mark.parametrize(
    ("words", "make"),
    [
        ("A has 2 dimensions but is indexed with 3", lambda: A[0, 1, 2]),
        ("A has 2 dimensions but is read with 1 indices", lambda: computed(lambda i: A[i])),
        ("V has 1 dimensions but is read with 0 indices", lambda: computed(lambda i: B[i] + V)),
        ("A has 2 dimensions but is read with 0 indices", lambda: A // 2),
        ("A has 2 dimensions but is read with 0 indices", lambda: A % s),
        ("A has 2 dimensions but is read with 0 indices", lambda: computed(lambda i: (i + 1) * A)),
    ],
)
def test_a_tensor_is_read_with_one_index_per_dimension(words: str, make: Callable[[], Any]) -> None:
    assert refused(words, make).rule == "te.T3"


def test_the_hint_writes_the_access_out() -> None:
    assert refused("A has 2 dimensions", lambda: A < 0).hint == "write A[i, j]"


@pytest.mark.parametrize(
    ("words", "make"),
    [
        ("compute C has 2 dimensions, its function takes 1", lambda: computed(lambda i: A[i, 0], shape=(4, 8))),
        ("compute C has 1 dimensions, its function takes 2", lambda: computed(lambda i, j: A[i, j])),
        ("compute C needs a function of the indices, not", lambda: computed(V[0])),  # type: ignore[arg-type]
        ("the function of compute C returns None, no value", lambda: computed(lambda i: None)),
        ("the function of compute C has keyword parameters", lambda: computed(lambda i, *, j=0: V[i])),
    ],
)
def test_the_function_of_a_compute(words: str, make: Callable[[], Any]) -> None:
    assert refused(words, make).rule == "te.T4"


@pytest.mark.parametrize(
    "fcompute",
    [
        lambda i: te.sum(A[i, k], axis=k) * 2.0,
        lambda i: te.sum(te.max(A[i, k], axis=k), axis=te.reduce_axis((0, 2), "r")),
        lambda i: te.exp(te.sum(A[i, k], axis=k)),
    ],
)
def test_a_reduction_stands_at_the_top(fcompute: Callable[..., Any]) -> None:
    error = refused("compute C uses a reduction inside an expression", lambda: computed(fcompute))
    assert error.rule == "te.T5"
    assert error.hint is not None
    assert error.hint.startswith("compute the reduction as a tensor of its own")


@pytest.mark.parametrize(
    ("words", "args"),
    [
        ("B reads V, which is not among the arguments", [B]),
        ("V is given twice", [V, V, B]),
        ("no computed tensor is among the arguments", [V, A]),
        ("takes a list of tensors and variables", B),
        ("3 is neither a tensor nor a te.var", [V, 3, B]),
        ("C uses s, which nothing binds", [V, computed(lambda i: V[i] + s)]),
        ("C uses k, which nothing binds", [A, computed(lambda i: A[i, k])]),
    ],
)
def test_arguments_of_create_prim_func(words: str, args: Any) -> None:
    assert refused(words, lambda: te.create_prim_func(args)).rule == "te.T6"


def test_a_derived_extent_binds_nothing() -> None:
    n = te.var("n")
    X = te.placeholder((n * 2,), name="X")
    Y = te.compute(X.shape, lambda i: X[i] * 2.0, name="Y")
    assert refused("Y uses n, which nothing binds", lambda: te.create_prim_func([X, Y])).rule == "te.T6"


@pytest.mark.parametrize(
    ("words", "rule", "make"),
    [
        ("max is of one value, not of 2", "te.T2", lambda: te.max((V[0], I[0]), axis=k)),
        ("pair of 2 values combines them to 1", "te.T2", lambda: PAIR((A[0, k], A[1, k]), axis=k)),
        ("none of 2 values has an identity of 1", "te.T2", lambda: NONE((A[0, k], A[1, k]), axis=k)),
        ("most is not defined on float32, int32: its identity is float32, int32, the combination float32, float32",
         "te.T2", lambda: MOST((A[0, k], I[0]), axis=k)),
        ("most of 2 values cannot start at init= of 1", "te.T2", lambda: MOST((A[0, k], A[1, k]), axis=k, init=0.0)),
        ("compute C returns 1 values that are not those of one reduction, in order", "te.T5",
         lambda: computed(lambda i: MOST((A[i, k], A[i, k]), axis=k)[0])),
        ("compute C returns 2 values that are not those", "te.T5",
         lambda: computed(lambda i: MOST((A[i, k], A[i, k]), axis=k)[::-1])),
        ("compute C returns 2 values that are not those", "te.T5",
         lambda: computed(lambda i: (te.sum(A[i, k], axis=k), V[i]))),
        ("the function of compute C returns no value", "te.T4", lambda: computed(lambda i: ())),
        ("the function of compute C returns None, no value", "te.T4", lambda: computed(lambda i: (V[i], None))),
    ],
)  # fmt: skip
def test_several_values_at_once(words: str, rule: str, make: Callable[[], Any]) -> None:
    assert refused(words, make).rule == rule


@pytest.mark.parametrize(
    "make", [lambda: A + V, lambda: V * te.placeholder((te.var("n"),)), lambda: te.placeholder((4, 2)) / A]
)
def test_shapes_of_tensors_in_arithmetic(make: Callable[[], Any]) -> None:
    assert refused("do not broadcast", make).rule == "te.T7"


@pytest.mark.parametrize(
    ("words", "make"),
    [
        ("te.all takes conditions, not a value of int32", lambda: te.all(I[0], V[0] > 0)),
        ("te.any needs a condition", lambda: te.any()),
        ("te.if_then_else takes conditions, not a value of float32", lambda: te.if_then_else(V[0], 1.0, 0.0)),
        ("exp is defined on float operands, not on int32", lambda: te.exp(I[0])),
        ("`/` on int32 is ambiguous", lambda: te.div(I[0], 2)),
        ("truncating division is defined on integers, not on float32", lambda: te.truncdiv(V[0], V[1])),
    ],
)
def test_functions_check_their_operands(words: str, make: Callable[[], Any]) -> None:
    with pytest.raises(TypeMismatch, match=words):
        make()


@pytest.mark.parametrize(
    ("words", "make"),
    [
        ("an input of extern X is 3, no tensor", lambda: external([A, 3])),
        ("the type of extern X does not follow from its inputs", lambda: external([A, I])),
        ("the type of extern X does not follow from its inputs", lambda: external([])),
        ("extern X has 1 shapes and 2 types", lambda: external([A], dtype=["int8", "int8"])),
        ("the function of extern X returns None, no call", lambda: external([A], made=None)),
    ],
)
def test_what_extern_calls(words: str, make: Callable[[], Any]) -> None:
    assert refused(words, make).rule == "te.T8"


def external(inputs: list[Any], made: Any = 0, **options: Any) -> Any:
    value = None if made is None else te.const(0)
    return te.extern((4,), inputs, lambda ins, outs: value, name="X", **options)


def test_extern_lays_no_buffers_out() -> None:
    with pytest.raises(UnsupportedError, match="extern with buffers of one's own layout") as caught:
        external([A], in_buffers=[A])
    assert caught.value.rule == "te.U1"
