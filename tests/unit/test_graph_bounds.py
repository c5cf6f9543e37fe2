"""The bound of a graph holds for what float32 arithmetic makes of it, and does not hold for what is wrong."""

from __future__ import annotations

import random

import numpy as np
import pytest

from mlcref import relax
from mlcref.errors import MlcrefError, UnsupportedError
from mlcref.interp.graph import interpret_graph
from mlcref.ir import IRModule, graph
from mlcref.relax.transform import LegalizeOps
from mlcref.testing.graph_bounds import RULES, bounded_graph
from mlcref.testing.graph_recipes import RECIPES
from mlcref.testing.graph_source import GraphSource


def drawn(name, seed):
    """A module with one call of the operator, and float32 arguments; None where the draw does not fit."""
    rng = random.Random(seed)
    first = RECIPES[name][0]
    dtypes = ("float32",) if "float32" in first else first[:1]
    source = GraphSource(lambda options: rng.choice(list(options)), dtypes, symbolic=False)
    try:
        call = RECIPES[name][1](source)
    except MlcrefError:
        return None
    params = relax.analysis.free_vars(call)
    bb = relax.BlockBuilder()
    with bb.function("main", params):
        with bb.dataflow():
            gv = bb.emit_output(call)
        bb.emit_func_output(gv)
    return bb.get(), source.arguments(params, {})


def fields(value):
    return value if isinstance(value, tuple) else (value,)


@pytest.mark.parametrize("name", sorted(set(RULES) & set(RECIPES)))
def test_the_bound_holds_in_float32(name):
    tried = 0
    for seed in range(12):
        if (case := drawn(name, seed)) is None or 0 in [size for array in case[1] for size in array.shape]:
            continue
        module, arrays = case
        try:
            wanted = fields(bounded_graph(module, *arrays))
        except UnsupportedError:
            continue
        tried += 1
        for program in (module, LegalizeOps()(module)):
            for found, bound in zip(fields(interpret_graph(program, *arrays)), wanted, strict=True):
                finite = np.isfinite(bound.value)
                assert bound.covers(found)[finite].all(), (seed, program.script())
                assert found.shape == bound.value.shape
    assert tried


def test_every_float_operator_has_a_rule_or_is_named():
    floats = {name for name, (dtypes, _) in RECIPES.items() if "float32" in dtypes}
    assert floats - set(RULES) == {
        "acos", "acosh", "argmax", "argmin", "asin", "atan2", "atanh", "ceil", "cosh", "floor", "floor_divide",
        "floor_mod", "full", "full_like", "isfinite", "isinf", "isnan", "mod", "nn.dropout", "prod", "round", "sign",
        "sinh", "tan", "trunc",
    }  # fmt: skip


X = relax.Var("x", relax.TensorStructInfo((2, 3), "float32"))
ONES = relax.const(np.ones(3, "float32"))
THIRD = relax.op.divide(X, relax.const(3.0))
TWO = relax.const(np.ones(2, "float32"))


def function(call):
    return relax.Function([X], relax.SeqExpr((), call))


def test_a_wrong_last_digit_but_one_is_outside():
    x = np.float32([[1, 2, 3], [4, 5, 6]])
    bound = bounded_graph(function(relax.op.nn.softmax(X)), x)
    right = np.exp(x - 6) / np.exp(x - 6).sum(1, keepdims=True)
    assert bound.covers(right).all()
    assert not bound.covers(right * np.float32(1 + 1e-5)).any()


def test_small_integers_are_exact():
    x = np.float32([[1, 2, 3], [4, 5, 6]])
    product = relax.op.matmul(X, relax.op.permute_dims(X))
    bound = bounded_graph(function(product), x)
    assert not bound.error.any() and bound.value.tolist() == (x @ x.T).tolist()


def test_integers_of_exact_operands_are_exact():
    place = relax.op.floor_mod(relax.op.argmax(X, 1), relax.const(2, "int64"))
    bound = bounded_graph(function(place), np.eye(2, 3, dtype="float32"))
    assert (bound.value.tolist(), bound.error.any(), bound.dtype) == ([0, 1], False, "int64")


def test_a_choice_by_a_rounded_number_is_within_both_outcomes():
    third = relax.op.divide(X, relax.const(3.0))
    choice = relax.op.where(relax.op.greater(third, relax.const(1 / 3)), relax.const(5.0), relax.const(7.0))
    bound = bounded_graph(function(choice), np.float32([[1, 2, 3], [4, 5, 6]]))
    assert bound.covers(np.full((2, 3), 7.0)).tolist() == [[True, False, False], [False] * 3]
    assert bound.covers(np.full((2, 3), 5.0)).all()


@pytest.mark.parametrize(
    ("call", "what"),
    [
        (relax.op.argmax(THIRD), r"no rule bounds relax.argmax  \[graph.bound\]\nhint: bound the graph before Lega"),
        (relax.op.astype(relax.op.divide(X, relax.const(3.0)), "int32"), "depends on rounding"),
        (relax.op.nn.group_norm(X, TWO, TWO, 1, 0, [1]), "another layout"),
    ],
)
def test_what_has_no_bound_is_refused(call, what):
    with pytest.raises(UnsupportedError, match=what):
        bounded_graph(function(call), np.ones((2, 3), "float32"))


def test_a_tensor_program_has_no_bound_here():
    module = LegalizeOps()(IRModule({"main": function(relax.op.nn.relu(X))}))
    with pytest.raises(UnsupportedError, match="no rule bounds"):
        bounded_graph(module, np.ones((2, 3), "float32"))
    with pytest.raises(MlcrefError, match="relu is no graph function"):
        bounded_graph(module, entry="relu")
    assert isinstance(module["main"], graph.Function)
