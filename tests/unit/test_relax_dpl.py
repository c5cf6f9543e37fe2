"""The dataflow pattern language, by example."""

import numpy as np
import pytest

from mlcref import relax
from mlcref.errors import MlcrefError, TypeMismatch
from mlcref.interp.graph import interpret_graph
from mlcref.ir import GlobalVar
from mlcref.relax.dpl import (
    is_call_dps_packed,
    is_call_tir,
    is_const,
    is_dfv,
    is_expr,
    is_gv,
    is_op,
    is_shape,
    is_tuple,
    is_tuple_get_item,
    is_var,
    rewrite_call,
    wildcard,
)
from mlcref.script import from_source

op = relax.op

FUNC = from_source("""
@R.function
def main(x: R.Tensor((2, 3), "float32"), w: R.Tensor((3, 4), "float32")):
    with R.dataflow():
        y = R.matmul(x, w)
        z = R.add(y, R.const([1.0, 2.0, 3.0, 4.0]))
        s = R.nn.softmax(z, axis=1)
        parts = R.split(s, 2, axis=1)
        left = parts[0]
        both = (left, s)
        p = R.call_dps_packed("lib.f", (left, s), R.Tensor((2,), "float32"))
        r = R.reshape(s, R.shape([8]))
        R.output(z, r, both, p)
    return (z, r, both, p)
""")
VALUES = relax.analysis.get_var2val(FUNC)
VARS = {var.name_hint: var for var in relax.analysis.bound_vars(FUNC)}
MATMUL = is_op("relax.matmul")(wildcard(), wildcard())


@pytest.mark.parametrize(
    ("pattern", "name", "matches"),
    [
        (wildcard(), "x", True),
        (MATMUL, "y", True),
        (MATMUL, "z", False),
        (is_op("relax.add")(MATMUL, is_const()), "z", True),
        (is_op("relax.add")(is_const(), MATMUL), "z", False),
        (is_op("relax.add")(wildcard()), "z", False),
        (is_op("relax.add")(MATMUL, varg_default_wildcard=True), "z", True),
        (is_op("relax.add")(is_var("y"), wildcard()), "z", True),
        (is_op("relax.add")(is_dfv(), wildcard()), "z", True),
        (is_op("relax.matmul")(is_dfv(), wildcard()), "y", False),
        (is_op("relax.add")(wildcard(), is_expr(relax.const([1.0, 2.0, 3.0, 4.0]))), "z", True),
        (is_op("relax.add")(wildcard(), is_expr(relax.const([1.0, 2.0, 3.0, 5.0]))), "z", False),
        (is_op("relax.matmul")(is_expr(VARS["x"]), wildcard()), "y", True),
        (is_op("relax.matmul")(is_expr(VARS["w"]), wildcard()), "y", False),
        (is_op("relax.nn.softmax")(wildcard()).has_attr({"axis": 1}), "s", True),
        (is_op("relax.nn.softmax")(wildcard()).has_attr({"axis": 0}), "s", False),
        (is_op("relax.nn.softmax")(wildcard()).has_attr({"axes": 1}), "s", False),
        (wildcard().has_dtype("float32"), "x", True),
        (wildcard().has_dtype("float16"), "x", False),
        (MATMUL.has_shape((2, 4)), "y", True),
        (MATMUL.has_shape((2, 3)), "y", False),
        (wildcard().has_struct_info(VARS["x"].struct_info), "x", True),
        (MATMUL | is_var("x"), "x", True),
        (MATMUL & wildcard().has_shape((2, 4)), "y", True),
        (~MATMUL, "x", True),
        (~MATMUL, "y", False),
        (is_op("relax.add")(~is_var("y"), wildcard()), "z", False),
        (MATMUL.optional(lambda m: is_op("relax.add")(m, wildcard())), "z", True),
        (MATMUL.optional(lambda m: is_op("relax.add")(m, wildcard())), "y", True),
        (is_tuple_get_item(is_op("relax.split")(wildcard()), 0), "left", True),
        (is_tuple_get_item(is_op("relax.split")(wildcard()), 1), "left", False),
        (is_tuple_get_item(wildcard()), "left", True),
        (is_tuple([is_tuple_get_item(wildcard()), is_op("relax.nn.softmax")(wildcard())]), "both", True),
        (is_tuple([is_op("relax.nn.softmax")(wildcard()), is_tuple_get_item(wildcard())]), "both", False),
        (is_tuple([is_op("relax.nn.softmax")(wildcard()), wildcard()], unordered=True), "both", True),
        (is_tuple([MATMUL, wildcard()], unordered=True), "both", False),
        (is_tuple([wildcard()]), "both", False),
        (is_call_dps_packed("lib.f"), "p", True),
        (is_call_dps_packed("lib.f", [is_var("left"), wildcard()]), "p", True),
        (is_call_dps_packed("lib.g"), "p", False),
        (is_call_tir("lib.f"), "p", False),
        (is_op("relax.reshape")(wildcard(), is_shape((8,))), "r", True),
        (is_op("relax.reshape")(wildcard(), is_shape((4, 2))), "r", False),
    ],
)
def test_patterns(pattern, name, matches):
    assert pattern.match(VARS[name], VALUES) is matches


def test_variables_are_closed_without_their_bindings():
    assert not MATMUL.match(VARS["y"])
    assert MATMUL.match(VALUES[VARS["y"]])
    assert is_gv("f").match(GlobalVar("f"))
    assert not is_gv("f").match(GlobalVar("g"))


def test_one_pattern_matches_one_expression():
    x, y = (relax.Var(name, relax.TensorStructInfo((2,), "float32")) for name in "xy")
    a = wildcard()
    double = is_op("relax.add")(a, a)
    assert double.match(op.add(x, x))
    assert not double.match(op.add(x, y))
    assert is_op("relax.add")(wildcard(), wildcard()).match(op.add(x, y))


def test_parts_of_a_match():
    x, w, b = wildcard(), wildcard(), is_const()
    product = is_op("relax.matmul")(x, w)
    found = is_op("relax.add")(product, b).extract_matched_expr(VARS["z"], VALUES)
    assert (found[x], found[w], found[product]) == (VARS["x"], VARS["w"], VARS["y"])
    assert found[b].data.tolist() == [1, 2, 3, 4]
    assert is_op("relax.add")(b, product).extract_matched_expr(VARS["z"], VALUES) is None


def test_calls_are_rewritten_and_what_is_unused_goes():
    x, w, b = wildcard(), wildcard(), is_const()
    pattern = is_op("relax.add")(is_op("relax.matmul")(x, w), b)

    def rewriter(call, found):
        return op.call_dps_packed("lib.linear", (found[x], found[w], found[b]), call.struct_info)

    new = rewrite_call(pattern, rewriter, FUNC)
    relax.wellformed_graph(new)
    assert [binding.var.name_hint for binding in new.bindings()][:2] == ["z", "s"]


def test_later_calls_see_what_earlier_ones_became():
    func = from_source("""
@R.function
def main(x: R.Tensor((2,), "float32")):
    a = R.add(x, x)
    b = R.add(a, a)
    return b
""")
    v = wildcard()
    new = rewrite_call(is_op("relax.add")(v, v), lambda call, found: op.multiply(found[v], relax.const(2.0)), func)
    assert [binding.value.op.name for binding in new.bindings()] == ["relax.multiply"] * 2
    x = np.float32([1, 2])
    assert interpret_graph(new, x).tolist() == interpret_graph(func, x).tolist() == [4, 8]
    assert rewrite_call(is_op("relax.exp")(v), lambda call, found: call, func) is func
    kept = rewrite_call(is_op("relax.add")(v, v), lambda call, found: call, func)
    assert kept is func


def test_what_is_no_pattern_is_refused():
    with pytest.raises(MlcrefError, match=r"no operator 'relax\.matmull'"):
        is_op("relax.matmull")
    with pytest.raises(TypeMismatch, match="the arguments of a pattern are patterns, not Var"):
        is_op("relax.exp")(VARS["x"])
    with pytest.raises(TypeMismatch, match="the rewriter returns NoneType"):
        rewrite_call(MATMUL, lambda call, found: None, FUNC)
