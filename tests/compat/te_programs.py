"""Tensor expressions that mean the same in mlcref and in TVM: each is a function of the module ``te`` of either."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

Program = Callable[[Any], list[Any]]
MORE_PROGRAMS: dict[str, Program] = {}


def program(build: Program) -> Program:
    MORE_PROGRAMS[build.__name__] = build
    return build


# ---- scalar parameters


def scaled(dtype: str, of: str = "float32") -> Program:
    def build(te: Any) -> list[Any]:
        alpha, A = te.var("alpha", dtype), te.placeholder((6, 4), of, name="A")
        return [A, alpha, alpha * A]

    return build


for scalar in ("float32", "float64", "int32", "int64", "int8"):
    MORE_PROGRAMS[f"{scalar} times float32"] = scaled(scalar)
MORE_PROGRAMS["int32 times int32"] = scaled("int32", "int32")
MORE_PROGRAMS["float32 times float16"] = scaled("float32", "float16")


@program
def scalar_first_in_every_operation(te: Any) -> list[Any]:
    alpha, A = te.var("alpha", "float32"), te.placeholder((6,), name="A")
    return [alpha, A, alpha + A, alpha - A, alpha / A, (alpha + 1.0) * A]


@program
def alpha_x_plus_y(te: Any) -> list[Any]:
    n, alpha = te.var("n"), te.var("alpha", "float32")
    X, Y = te.placeholder((n,), name="X"), te.placeholder((n,), name="Y")
    return [alpha, X, Y, te.compute((n,), lambda i: alpha * X[i] + Y[i], name="Z")]


@program
def general_matrix_product(te: Any) -> list[Any]:
    alpha, beta = te.var("alpha", "float32"), te.var("beta", "float32")
    A, B, C = te.placeholder((4, 8), name="A"), te.placeholder((8, 6), name="B"), te.placeholder((4, 6), name="C")
    k = te.reduce_axis((0, 8), "k")
    product = te.compute((4, 6), lambda i, j: te.sum(A[i, k] * B[k, j], axis=k), name="product")
    return [alpha, A, B, beta, C, te.compute((4, 6), lambda i, j: alpha * product[i, j] + beta * C[i, j], name="D")]


@program
def scalar_in_an_index_and_an_extent(te: Any) -> list[Any]:
    first, n = te.var("first"), te.var("n")
    A = te.placeholder((n,), name="A")
    return [A, first, te.compute((n - first,), lambda i: A[i + first], name="B")]


# ---- convolutions and pooling


@program
def dilated_convolution_with_steps(te: Any) -> list[Any]:
    X, W = te.placeholder((2, 3, 11, 11), name="X"), te.placeholder((4, 3, 3, 3), name="W")
    rc, rh, rw = (te.reduce_axis((0, 3), name) for name in ("rc", "rh", "rw"))
    return [X, W, te.compute(
        (2, 4, 4, 4),
        lambda n, f, y, x: te.sum(X[n, rc, y * 2 + rh * 2, x * 2 + rw * 2] * W[f, rc, rh, rw], axis=[rc, rh, rw]),
        name="Y")]  # fmt: skip


@program
def depthwise_convolution(te: Any) -> list[Any]:
    X, W = te.placeholder((4, 8, 8), name="X"), te.placeholder((4, 1, 3, 3), name="W")
    rh, rw = te.reduce_axis((0, 3), "rh"), te.reduce_axis((0, 3), "rw")
    return [X, W, te.compute(
        (4, 6, 6), lambda c, y, x: te.sum(X[c, y + rh, x + rw] * W[c, 0, rh, rw], axis=[rh, rw]), name="Y")]


@program
def transposed_convolution(te: Any) -> list[Any]:
    X, W = te.placeholder((8,), name="X"), te.placeholder((3,), name="W")
    spread = te.compute(
        (19,), lambda i: te.if_then_else(te.all(i >= 2, i < 17, i % 2 == 0), X[i // 2 - 1], 0.0), name="spread"
    )
    r = te.reduce_axis((0, 3), "r")
    return [X, W, te.compute((17,), lambda i: te.sum(spread[i + r] * W[2 - r], axis=r), name="Y")]


@program
def largest_and_mean_of_windows(te: Any) -> list[Any]:
    X = te.placeholder((2, 8, 8), name="X")
    rh, rw = te.reduce_axis((0, 2), "rh"), te.reduce_axis((0, 2), "rw")
    sh, sw = te.reduce_axis((0, 2), "sh"), te.reduce_axis((0, 2), "sw")
    top = te.compute((2, 4, 4), lambda c, y, x: te.max(X[c, y * 2 + rh, x * 2 + rw], axis=[rh, rw]), name="top")
    total = te.compute((2, 4, 4), lambda c, y, x: te.sum(X[c, y * 2 + sh, x * 2 + sw], axis=[sh, sw]), name="total")
    return [X, top, te.compute((2, 4, 4), lambda c, y, x: total[c, y, x] / 4.0, name="mean")]


# ---- graphs of several stages


@program
def layer_normalization(te: Any) -> list[Any]:
    X, g, b = te.placeholder((4, 8), name="X"), te.placeholder((8,), name="g"), te.placeholder((8,), name="b")
    k, m = te.reduce_axis((0, 8), "k"), te.reduce_axis((0, 8), "m")
    mean = te.compute((4,), lambda i: te.sum(X[i, k], axis=k) , name="mean")
    apart = te.compute((4, 8), lambda i, j: X[i, j] - mean[i] * 0.125, name="apart")
    var = te.compute((4,), lambda i: te.sum(apart[i, m] * apart[i, m], axis=m), name="var")
    return [X, g, b, te.compute(
        (4, 8), lambda i, j: apart[i, j] * te.rsqrt(var[i] * 0.125 + 1e-5) * g[j] + b[j], name="Y")]


@program
def attention_scores(te: Any) -> list[Any]:
    Q, K = te.placeholder((2, 4, 8), name="Q"), te.placeholder((2, 6, 8), name="K")
    d, m, n = te.reduce_axis((0, 8), "d"), te.reduce_axis((0, 6), "m"), te.reduce_axis((0, 6), "n")
    score = te.compute((2, 4, 6), lambda h, i, j: te.sum(Q[h, i, d] * K[h, j, d], axis=d), name="score")
    top = te.compute((2, 4), lambda h, i: te.max(score[h, i, m], axis=m), name="top")
    exps = te.compute((2, 4, 6), lambda h, i, j: te.exp(score[h, i, j] - top[h, i]), name="exps")
    total = te.compute((2, 4), lambda h, i: te.sum(exps[h, i, n], axis=n), name="total")
    return [Q, K, score, te.compute((2, 4, 6), lambda h, i, j: exps[h, i, j] / total[h, i], name="P")]


@program
def gather_rows(te: Any) -> list[Any]:
    A, places = te.placeholder((9, 4), name="A"), te.placeholder((5,), "int32", name="places")
    return [A, places, te.compute((5, 4), lambda i, j: A[places[i], j], name="B")]


@program
def one_hot(te: Any) -> list[Any]:
    places = te.placeholder((5,), "int32", name="places")
    return [places, te.compute((5, 7), lambda i, j: (places[i] == j).astype("float32"), name="B")]


@program
def lower_triangle(te: Any) -> list[Any]:
    A = te.placeholder((5, 5), name="A")
    return [A, te.compute((5, 5), lambda i, j: te.if_then_else(j <= i, A[i, j], 0.0), name="B")]


@program
def selection(te: Any) -> list[Any]:
    A, B = te.placeholder((8,), name="A"), te.placeholder((8,), name="B")
    return [A, B, te.compute((8,), lambda i: te.if_then_else(te.any(A[i] < B[i], B[i] < 0.0), A[i], B[i]), name="C")]


@program
def bounds_of_types(te: Any) -> list[Any]:
    A = te.placeholder((8,), "int8", name="A")
    return [A, te.compute((8,), lambda i: te.max(te.min(A[i], te.const(100, "int8")), te.min_value("int8")), name="B")]


@program
def batch_of_products_in_long_indices(te: Any) -> list[Any]:
    b, n = te.var("b", "int64"), te.var("n", "int64")
    A, B = te.placeholder((b, n, 4), name="A"), te.placeholder((b, 4, n), name="B")
    k = te.reduce_axis((0, 4), "k")
    return [A, B, te.compute((b, n, n), lambda x, i, j: te.sum(A[x, i, k] * B[x, k, j], axis=k), name="C")]


@program
def bytes_shifted_and_masked(te: Any) -> list[Any]:
    A = te.placeholder((8,), "int32", name="A")
    return [A, te.compute((8, 2), lambda i, j: (A[i] >> (j * 8)) & 255, name="B")]


@program
def many_functions(te: Any) -> list[Any]:
    A = te.placeholder((8, 6), name="A")
    return [A, te.compute(
        (8,), lambda i: te.floor(A[i, 0]) + te.ceil(A[i, 1]) * te.round(A[i, 2]) - te.abs(A[i, 3])
        + te.log(A[i, 4]) / te.cos(A[i, 5]), name="B")]  # fmt: skip


@program
def halves_in_single_precision(te: Any) -> list[Any]:
    A, B = te.placeholder((4, 8), "float16", name="A"), te.placeholder((8, 4), "float16", name="B")
    k = te.reduce_axis((0, 8), "k")
    total = te.compute(
        (4, 4), lambda i, j: te.sum(A[i, k].astype("float32") * B[k, j].astype("float32"), axis=k), name="total"
    )
    return [A, B, te.compute((4, 4), lambda i, j: total[i, j].astype("float16"), name="C")]


# ---- drawn expressions


def drawn_value(rng: random.Random, te: Any, leaves: list[Any], depth: int) -> Any:
    """An expression over float elements, each leaf at most once, so that nothing can be simplified."""
    if depth == 0 or len(leaves) == 1:
        return leaves.pop(rng.randrange(len(leaves)))
    kind = rng.choice(["add", "subtract", "multiply", "divide", "max", "min", "exp", "tanh", "select"])
    left = drawn_value(rng, te, leaves, depth - 1)
    if kind in ("exp", "tanh") or not leaves:
        return (te.exp if kind == "exp" else te.tanh)(left.astype("float32"))
    right = drawn_value(rng, te, leaves, depth - 1)
    if kind == "select" and leaves:
        return te.if_then_else(left < right, drawn_value(rng, te, leaves, 0), 1.5)
    made = {"add": left + right, "subtract": left - right, "multiply": left * right, "divide": left / right}
    return made[kind] if kind in made else (te.max if kind == "max" else te.min)(left, right)


def drawn_program(te: Any, seed: int) -> list[Any]:
    """One or two stages over matrices, a vector, and scalars of several types; one may be a reduction."""
    rng = random.Random(seed)
    A, B, v = (te.placeholder(shape, name=name) for shape, name in [((5, 7), "A"), ((5, 7), "B"), ((7,), "v")])
    scalars = [te.var("s", rng.choice(["float32", "int32", "int64"])), te.var("t", "float32")]

    def leaves(i: Any, j: Any) -> list[Any]:
        return [A[i, j], B[4 - i, j], v[j], *scalars, A[i, 6 - j], te.const(rng.choice([0.5, 2.0]), "float32")]

    if rng.random() < 0.5:
        k = te.reduce_axis((0, 7), "k")
        reducer = rng.choice([te.sum, te.max, te.min])
        first = te.compute((5,), lambda i: reducer(drawn_value(rng, te, leaves(i, k), 3), axis=k), name="first")
        last = te.compute((5, 7), lambda i, j: first[i] * drawn_value(rng, te, leaves(i, j), 2), name="last")
    else:
        first = te.compute((5, 7), lambda i, j: drawn_value(rng, te, leaves(i, j), 3), name="first")
        last = te.compute((7, 5), lambda i, j: first[j, i] + drawn_value(rng, te, leaves(j, i), 2), name="last")
    return [A, scalars[0], B, v, scalars[1], *([first] if rng.random() < 0.5 else []), last]
