"""create_prim_func against TVM's: the same tensor expressions in both, and the same script out of both."""

from __future__ import annotations

import random
import re
from collections.abc import Callable
from typing import Any

import pytest

from mlcref import te as our_te
from mlcref import tir as our_tir
from mlcref.ir import GE, GT, LE, LT, Block, For, PrimFunc, assert_structural_equal, replace, rewrite, walk
from mlcref.script import from_source
from tests.compat.te_programs import MORE_PROGRAMS, drawn_program

pytest.importorskip("tvm", reason="TVM is not installed; it is what these tests compare with", exc_type=ImportError)
tvm_te = pytest.importorskip("tvm.te", reason="this TVM has no tensor expressions", exc_type=ImportError)
pytest.importorskip("tvm.topi", reason="it gives TVM's tensors their operators", exc_type=ImportError)

Program = Callable[[Any], list[Any]]
PROGRAMS: dict[str, Program] = {}


def program(build: Program) -> Program:
    PROGRAMS[build.__name__] = build
    return build


def matmul(te: Any) -> list[Any]:
    A, B = te.placeholder((16, 8), name="A"), te.placeholder((8, 4), name="B")
    k = te.reduce_axis((0, 8), "k")
    Y = te.compute((16, 4), lambda i, j: te.sum(A[i, k] * B[k, j], axis=k), name="Y")
    return [A, B, Y, te.compute((16, 4), lambda i, j: te.max(Y[i, j], 0), name="C")]


@program
def matmul_relu(te: Any) -> list[Any]:
    A, B, _, C = matmul(te)
    return [A, B, C]


@program
def matmul_relu_with_the_product_as_a_parameter(te: Any) -> list[Any]:
    return matmul(te)


@program
def elementwise_in_any_number_of_dimensions(te: Any) -> list[Any]:
    A = te.placeholder((2, 3, 4), name="A")
    B = te.compute(A.shape, lambda *i: te.exp(A(*i)) + 1.0, name="B")
    return [A, te.compute(A.shape, lambda n, *i: te.max(B(n, *i), 0), name="C")]


@program
def row_maximum(te: Any) -> list[Any]:
    A, k = te.placeholder((8, 16), name="A"), te.reduce_axis((0, 16), "k")
    return [A, te.compute((8,), lambda i: te.max(A[i, k], axis=k), name="M")]


@program
def minimum_of_integers(te: Any) -> list[Any]:
    A, k = te.placeholder((8, 16), "int32", name="A"), te.reduce_axis((0, 16), "k")
    return [A, te.compute((8,), lambda i: te.min(A[i, k], axis=k), name="M")]


@program
def sum_of_everything_from_row_one_on(te: Any) -> list[Any]:
    A = te.placeholder((8, 16), name="A")
    k, n = te.reduce_axis((1, 5), "k"), te.reduce_axis((0, 16), "n")
    return [A, te.compute((), lambda: te.sum(A[k, n], axis=[k, n]), name="S")]


@program
def one_element(te: Any) -> list[Any]:
    A = te.placeholder((8,), name="A")
    return [A, te.compute((), lambda: A[0] + 1.0, name="S")]


@program
def product_by_a_reducer_of_ones_own(te: Any) -> list[Any]:
    product = te.comm_reducer(lambda x, y: x * y, lambda dtype: te.const(1, dtype), name="product")
    A, k = te.placeholder((8, 16), name="A"), te.reduce_axis((0, 16), "k")
    return [A, te.compute((8,), lambda i: product(A[i, k], axis=k), name="P")]


@program
def symbolic_matrix_vector(te: Any) -> list[Any]:
    n, m = te.var("n"), te.var("m")
    A, x, k = te.placeholder((n, m), name="A"), te.placeholder((m,), name="x"), te.reduce_axis((0, m), "k")
    return [A, x, te.compute((n,), lambda i: te.sum(A[i, k] * x[k], axis=k), name="y")]


@program
def derived_extent(te: Any) -> list[Any]:
    n = te.var("n")
    A = te.placeholder((n, 4), name="A")
    return [A, te.compute((n * 2,), lambda i: A[i // 2, 0] * 2.0, name="B")]


@program
def scalar_parameters(te: Any) -> list[Any]:
    A, s, t = te.placeholder((8,), name="A"), te.var("s"), te.var("t", "float32")
    return [A, s, t, te.compute((8,), lambda i: A[i] * t + s, name="B")]


@program
def long_extents(te: Any) -> list[Any]:
    n, m = te.const(8, "int64"), te.const(4, "int64")
    A, k = te.placeholder((n, m), name="A"), te.reduce_axis((0, m), "k")
    return [A, te.compute((n,), lambda i: te.sum(A[i, k], axis=k), name="S")]


@program
def names_by_default(te: Any) -> list[Any]:
    A, k = te.placeholder((8, 4)), te.reduce_axis((0, 4))
    B = te.compute((8,), lambda i: te.sum(A[i, k], axis=k))
    return [A, te.compute((8,), lambda i: B[i] * 2.0)]


@program
def accumulate_in_a_wider_type(te: Any) -> list[Any]:
    A, B = te.placeholder((8, 4), "int8", name="A"), te.placeholder((4,), "int8", name="B")
    k = te.reduce_axis((0, 4), "k")
    return [A, B, te.compute((8,), lambda i: te.sum(A[i, k].astype("int32") * B[k].astype("int32"), axis=k), name="C")]


@program
def padded_convolution(te: Any) -> list[Any]:
    X, W = te.placeholder((1, 3, 8, 8), name="X"), te.placeholder((4, 3, 3, 3), name="W")
    P = te.compute(
        (1, 3, 10, 10),
        lambda n, c, h, w: te.if_then_else(te.all(h >= 1, h < 9, w >= 1, w < 9), X[n, c, h - 1, w - 1], 0.0),
        name="P",
    )
    rc, rh, rw = te.reduce_axis((0, 3), "rc"), te.reduce_axis((0, 3), "rh"), te.reduce_axis((0, 3), "rw")
    return [X, W, te.compute(
        (1, 4, 8, 8),
        lambda n, f, y, x: te.sum(P[n, rc, y + rh, x + rw] * W[f, rc, rh, rw], axis=[rc, rh, rw]),
        name="Y",
    )]  # fmt: skip


@program
def diamond(te: Any) -> list[Any]:
    A = te.placeholder((8,), name="A")
    left = te.compute((8,), lambda i: A[i] + 1.0, name="left")
    right = te.compute((8,), lambda i: A[i] * 2.0, name="right")
    return [A, te.compute((8,), lambda i: right[i] + left[7 - i] + right[i], name="out")]


@program
def softmax(te: Any) -> list[Any]:
    A, k, n = te.placeholder((4, 8), name="A"), te.reduce_axis((0, 8), "k"), te.reduce_axis((0, 8), "n")
    top = te.compute((4,), lambda i: te.max(A[i, k], axis=k), name="top")
    E = te.compute((4, 8), lambda i, j: te.exp(A[i, j] - top[i]), name="E")
    total = te.compute((4,), lambda i: te.sum(E[i, n], axis=n), name="total")
    return [A, te.compute((4, 8), lambda i, j: E[i, j] / total[i], name="S")]


@program
def functions(te: Any) -> list[Any]:
    A = te.placeholder((8, 4), name="A")
    return [A, te.compute(
        (8,), lambda i: te.tanh(A[i, 0]) + te.sqrt(A[i, 1]) / te.power(A[i, 2], 2.0) - te.sigmoid(-A[i, 3]), name="B"
    )]  # fmt: skip


@program
def attributes(te: Any) -> list[Any]:
    A = te.placeholder((8,), name="A")
    attrs = {"rule": "none", "tiles": [2, 4]}
    return [A, te.compute((8,), lambda i: A[i] * 0.5, name="B", tag="injective", attrs=attrs)]


@program
def quotients_and_remainders(te: Any) -> list[Any]:
    A = te.placeholder((8, 16), name="A")
    return [A, te.compute((4, 32), lambda i, j: A[i * 2 + j // 16, j % 16], name="B")]


def first_largest(te: Any) -> Any:
    """The reducer of pairs (index, value) that keeps the larger value, of equal ones the first given."""

    def combine(x: Any, y: Any) -> Any:
        return te.if_then_else(x[1] >= y[1], x[0], y[0]), te.if_then_else(x[1] >= y[1], x[1], y[1])

    return te.comm_reducer(combine, lambda i, v: (te.const(-1, i), te.min_value(v)), name="argmax")


def ranked(te: Any) -> list[Any]:
    idx, val = te.placeholder((4, 8), "int32", name="idx"), te.placeholder((4, 8), name="val")
    k = te.reduce_axis((0, 8), "k")
    return [idx, val, *te.compute((4,), lambda i: first_largest(te)((idx[i, k], val[i, k]), axis=k), name="T")]


@program
def largest_and_its_place(te: Any) -> list[Any]:
    return ranked(te)


@program
def place_of_the_largest(te: Any) -> list[Any]:
    return ranked(te)[:3]


@program
def a_tensor_from_one_of_two(te: Any) -> list[Any]:
    idx, val, place, _ = ranked(te)
    return [idx, val, te.compute((4,), lambda i: place[i] + 1, name="U")]


@program
def two_values_at_once(te: Any) -> list[Any]:
    A = te.placeholder((4, 8), name="A")
    more, twice = te.compute((4, 8), lambda i, j: (A[i, j] + 1.0, A[i, j] * 2.0), name="B")
    return [A, more, te.compute((4, 8), lambda i, j: more[i, j] + twice[i, j], name="C")]


@program
def three_values_at_once_as_parameters(te: Any) -> list[Any]:
    A = te.placeholder((4,), name="A")
    return [A, *te.compute((4,), lambda i: (A[i] + 1.0, A[i].astype("int32"), A[3 - i]), name="B")[::-1]]


@program
def two_sums_of_one_pass(te: Any) -> list[Any]:
    A, k = te.placeholder((4, 8), name="A"), te.reduce_axis((0, 8), "k")
    both = te.comm_reducer(
        lambda x, y: (x[0] + y[0], x[1] + y[1]), lambda *dtypes: [te.const(0, d) for d in dtypes], name="both"
    )
    S, Q = te.compute((4,), lambda i: both((A[i, k], A[i, k] * A[i, k]), axis=k), name="S")
    return [A, te.compute((4,), lambda i: Q[i] - S[i] * S[i], name="V")]


@program
def arithmetic_on_whole_tensors(te: Any) -> list[Any]:
    X, mean, scale = (te.placeholder(shape, name=name) for shape, name in [((4, 8), "X"), ((4, 1), "M"), ((8,), "S")])
    return [X, mean, scale, (X - mean) * scale / 2.0 + -X]


@program
def arithmetic_on_tensors_without_dimensions(te: Any) -> list[Any]:
    X, s, t = te.placeholder((4,), name="X"), te.placeholder((), name="s"), te.var("t", "float32")
    return [X, s, t, 3.0 - (s + 1.0) * X, X.astype("int32"), X * t]


def unnumbered(name: str) -> str:
    return re.sub(r"_\d+$", "", name)


def names(func: PrimFunc) -> list[str]:
    """The names of everything that the function binds, in order; of buffers without the number that tells two apart."""
    found = [unnumbered(param.name) for param in func.params]
    for node in walk(func.body):
        if isinstance(node, Block):
            found += [node.name, *(i.var.name for i in node.iter_vars)]
            found += [unnumbered(buffer.name) for buffer in node.alloc_buffers]
        elif isinstance(node, For):
            found.append(node.loop_var.name)
    return found


def ours_and_theirs(build: Program) -> tuple[PrimFunc, PrimFunc]:
    """Our function, and TVM's as its script says, both with ``a > b`` and ``a >= b`` turned round as TVM's simplifier
    does in most functions.
    """

    def turned(node: Any) -> Any:
        if isinstance(node, GT):
            return LT(node.b, node.a)
        return LE(node.b, node.a) if isinstance(node, GE) else None

    ours = our_te.create_prim_func(build(our_te))
    theirs = from_source(tvm_te.create_prim_func(build(tvm_te)).script(syntax_sugar=False))
    assert isinstance(theirs, PrimFunc)
    return replace(ours, body=rewrite(turned, ours.body)), replace(theirs, body=rewrite(turned, theirs.body))


PROGRAMS.update(MORE_PROGRAMS)
REGIONS_SAID_OTHERWISE = {"gather_rows"}
"""TVM says that ``A[places[i], j]`` is read, where our block may read all rows."""


def without_reads(func: PrimFunc) -> PrimFunc:
    """``func`` whose blocks do not say what they read."""

    def unsaid(node: Any) -> Any:
        return replace(node, reads=()) if isinstance(node, Block) else None

    return replace(func, body=rewrite(unsaid, func.body))


@pytest.mark.parametrize("name", PROGRAMS)
def test_same_function_as_tvm(name: str) -> None:
    ours, theirs = ours_and_theirs(PROGRAMS[name])
    if name in REGIONS_SAID_OTHERWISE:
        ours, theirs = without_reads(ours), without_reads(theirs)
    assert_structural_equal(ours, theirs)


@pytest.mark.parametrize("build", PROGRAMS.values(), ids=PROGRAMS.keys())
def test_same_names_as_tvm(build: Program) -> None:
    ours, theirs = ours_and_theirs(build)
    assert names(ours) == names(theirs)


def bodies(te: Any, x: Any, y: Any, z: Any) -> list[Callable[..., Any]]:
    k = te.reduce_axis((0, 4), "k")
    return [
        lambda i, j: x[i, j] + y[j, i] * z[i, j],
        lambda *i: te.max(x(*i), y(*i)),
        lambda i, j: te.sum(x[i, k] * y[k, j] + z[i, j], axis=k),
        lambda i, j: x[y[i, j], j] + z[i, j],
        lambda i, j: te.if_then_else(i < 3, x[i + 1, j], y[i, j]),
    ]


def random_graph(te: Any, seed: int, distinct: bool = False) -> list[Any]:
    """Computes that read any tensors before them, some of them parameters, in any order."""
    rng = random.Random(seed)
    tensors = [te.placeholder((4, 4), "int32", name=name) for name in "ABC"]
    for count in range(rng.randint(2, 7)):
        chosen = rng.sample(tensors, 3) if distinct else rng.choices(tensors, k=3)
        body = rng.choice(bodies(te, *chosen))
        tensors.append(te.compute((4, 4), body, name=rng.choice(["D", f"T{count}"])))
    args = [*tensors[:3], tensors[-1], *(tensor for tensor in tensors[3:-1] if rng.random() < 0.3)]
    rng.shuffle(args)
    return args


@pytest.mark.parametrize("seed", range(30))
def test_blocks_of_random_graphs_come_in_the_order_of_tvm(seed: int) -> None:
    ours, theirs = ours_and_theirs(lambda te: random_graph(te, seed))
    assert names(ours) == names(theirs)


@pytest.mark.parametrize("seed", range(30))
def test_random_graphs_compute_what_tvm_computes(seed: int) -> None:
    """Up to the regions of tensors that a block reads at several places, which TVM writes with minima and maxima. The
    operands of a block are distinct tensors: TVM simplifies ``x + x``.
    """

    ours, theirs = ours_and_theirs(lambda te: random_graph(te, seed, distinct=True))
    assert_structural_equal(without_reads(ours), without_reads(theirs))


@pytest.mark.parametrize("seed", range(40))
def test_drawn_expressions_are_those_of_tvm(seed: int) -> None:
    """Up to the regions of matrices that are read at two places."""
    ours, theirs = ours_and_theirs(lambda te: drawn_program(te, seed))
    assert_structural_equal(without_reads(ours), without_reads(theirs))
    assert names(ours) == names(theirs)


def test_tvm_forgets_which_values_take_part_and_where_to_start() -> None:
    """Where following TVM would be wrong: it accepts ``where=`` and ``init=`` and drops them."""

    def build(te: Any) -> list[Any]:
        A, k = te.placeholder((8, 16), name="A"), te.reduce_axis((0, 16), "k")
        some = te.compute((8,), lambda i: te.sum(A[i, k], axis=k, where=A[i, k] > 0), name="some")
        shifted = te.compute((8,), lambda i: te.sum(A[i, k], axis=k, init=some[i]), name="shifted")
        return [A, some, shifted]

    theirs, ours = tvm_te.create_prim_func(build(tvm_te)).script(), our_te.create_prim_func(build(our_te)).script()
    assert "if_then_else" not in theirs
    assert "if_then_else" in ours
    assert "shifted[v_i] = some[v_i]" not in theirs
    assert "shifted[v_i] = some[v_i]" in ours


def sorted_by_a_function(te: Any, call: Callable[..., Any]) -> list[Any]:
    A = te.placeholder((4, 8), name="A")
    C = te.extern((4, 8), [A], lambda ins, outs: call("example.sort", ins[0], outs[0], 1), name="C")
    return [A, te.compute((4, 8), lambda i, j: C[i, j] + 1.0, name="D")]


def two_tensors_by_a_function(te: Any, call: Callable[..., Any]) -> list[Any]:
    A, B = te.placeholder((4, 8), name="A"), te.placeholder((8,), "int32", name="B")

    def called(ins: Any, outs: Any) -> Any:
        return call("example.both", ins[0], ins[1], outs[0], outs[1])

    attrs = {"library": "example"}
    return [A, B, *te.extern([(4, 8), (4,)], [A, B], called, name="E", dtype=["float32", "int32"], attrs=attrs)]


@pytest.mark.parametrize("build", [sorted_by_a_function, two_tensors_by_a_function])
def test_extern_calls_what_tvm_calls(build: Callable[..., list[Any]]) -> None:
    """Beside that, TVM's parameters may have an offset, and its block does not say what it reads and writes."""
    import tvm

    ours = our_te.create_prim_func(build(our_te, our_tir.call_packed))
    text = tvm_te.create_prim_func(build(tvm_te, tvm.tirx.call_packed)).script()
    theirs = from_source(re.sub(r"\w+\.elem_offset", "0", text.replace(", offset_factor=1", "")))
    assert isinstance(theirs, PrimFunc)

    def opaque(node: Any) -> Any:
        return replace(node, reads=(), writes=()) if isinstance(node, Block) and not node.iter_vars else None

    assert_structural_equal(replace(ours, body=rewrite(opaque, ours.body)), theirs)
    assert names(ours) == names(theirs)
