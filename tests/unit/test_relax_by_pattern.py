"""Functions made of what patterns match, by example."""

import numpy as np
import pytest

from mlcref import relax
from mlcref.errors import MlcrefError, TypeMismatch
from mlcref.interp.graph import interpret_graph
from mlcref.ir import GlobalVar, IRModule
from mlcref.relax import transform
from mlcref.relax.dpl import is_const, is_op, is_tuple_get_item, wildcard
from mlcref.relax.grouping import Grouping, binders_of_dimensions
from mlcref.script import from_source

NET = from_source("""
@I.ir_module
class Module:
    @R.function
    def main(x: R.Tensor((2, 3), "float32"), w: R.Tensor((3, 4), "float32")):
        with R.dataflow():
            a = R.matmul(x, w)
            b = R.add(a, R.const([1.0, 2.0, 3.0, 4.0]))
            c = R.nn.relu(b)
            d = R.matmul(c, R.const([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0], [2.0, 0.0]]))
            R.output(d)
        return d
""")
X, W = np.float32([[1, -2, 3], [0, 1, -1]]), np.arange(-6, 6, dtype="float32").reshape(3, 4)


def op(name, *parts):
    return is_op(f"relax.{name}")(*(parts or (wildcard(), wildcard())))


def dense():
    return op("add", op("matmul"), is_const())


def fused(module, *patterns, **options):
    result = transform.FuseOpsByPattern(patterns, **options)(module)
    relax.wellformed_graph(result)
    return result


def calls(func):
    """What a function calls, in order."""
    found = [binding.value.op for binding in func.bindings() if isinstance(binding.value, relax.Call)]
    return [op.name_hint if isinstance(op, GlobalVar) else op.name.removeprefix("relax.") for op in found]


def composites(module):
    return {name: func for name, func in module.functions.items() if "Composite" in func.attrs}


def test_a_match_becomes_a_function():
    result = fused(NET, ("lib.dense_relu", op("nn.relu", dense())))
    name = "fused_relax_matmul_relax_add_relax_nn_relu"
    assert calls(result["main"]) == [name, "matmul"]
    func = result[name]
    assert (func.attrs["Composite"], func.attrs["Primitive"]) == ("lib.dense_relu", 1)
    assert calls(func) == ["matmul", "add", "nn.relu"]
    assert [param.name_hint for param in func.params] == ["x", "w"]
    assert interpret_graph(result, X, W).tolist() == interpret_graph(NET, X, W).tolist()


def test_constants_stay_inside_or_are_handed_over():
    kept = fused(NET, ("lib.matmul", op("matmul")))
    assert sorted(len(func.params) for func in composites(kept).values()) == [1, 2]
    given = fused(NET, ("lib.matmul", op("matmul")), bind_constants=False)
    assert [len(func.params) for func in composites(given).values()] == [2, 2]
    assert interpret_graph(given, X, W).tolist() == interpret_graph(NET, X, W).tolist()


def test_earlier_patterns_come_first_and_options_take_what_they_can():
    small, large = ("lib.matmul", op("matmul")), ("lib.dense", dense())
    names = [func.attrs["Composite"] for func in composites(fused(NET, small, large)).values()]
    assert names == ["lib.matmul", "lib.matmul"]
    names = [func.attrs["Composite"] for func in composites(fused(NET, large, small)).values()]
    assert names == ["lib.dense", "lib.matmul"]
    with_options = op("matmul").optional(lambda v: op("add", v, is_const()).optional(lambda v: op("nn.relu", v)))
    assert [calls(func) for func in composites(fused(NET, ("lib.any", with_options))).values()] == [
        ["matmul", "add", "nn.relu"], ["matmul"]
    ]  # fmt: skip


def test_functions_for_a_library_call_them():
    result = fused(NET, ("lib.dense", dense()), annotate_codegen=True)
    inner, outer = "fused_relax_matmul_relax_add", "fused_relax_matmul_relax_add_lib"
    assert calls(result["main"]) == [outer, "nn.relu", "matmul"]
    assert calls(result[outer]) == [inner]
    assert (result[outer].attrs["Codegen"], result[outer].attrs["global_symbol"]) == ("lib", outer)
    assert calls(result[inner]) == ["matmul", "add"]
    again = fused(result, ("lib.matmul", op("matmul")), annotate_codegen=True)
    assert len(composites(again)) == 2, "functions that are fused already are left alone"


BRANCHES = from_source("""
@I.ir_module
class Module:
    @R.function
    def main(x: R.Tensor((2, 2), "int32"), w: R.Tensor((2, 2), "int32")):
        with R.dataflow():
            a = R.matmul(x, w)
            b = R.negative(a)
            c = R.abs(a)
            d = R.add(c, b)
            e = R.subtract(d, a)
            R.output(e, b)
        return (e, b)
""")


def test_what_is_used_outside_is_a_result_too():
    result = fused(BRANCHES, ("lib.f", op("abs", op("matmul"))))
    assert calls(result["main"]) == ["fused_relax_matmul_relax_abs", "negative", "add", "subtract"]
    func = result["fused_relax_matmul_relax_abs"]
    assert isinstance(func.ret_struct_info, relax.TupleStructInfo)
    arguments = np.int32([[1, 2], [3, -4]]), np.int32([[0, 1], [1, -1]])
    for a, b in zip(interpret_graph(result, *arguments), interpret_graph(BRANCHES, *arguments), strict=True):
        assert a.tolist() == b.tolist()


def test_nothing_runs_between_the_calls_of_a_function():
    m = op("matmul")
    result = fused(BRANCHES, ("lib.sum", op("subtract", op("add"), m)))
    assert not composites(result), "abs and negative need the product, and the sum needs them"
    whole = op("subtract", op("add", op("abs", m), op("negative", m)), m)
    assert calls(fused(BRANCHES, ("lib.all", whole))["main"]) == [
        "fused_relax_matmul_relax_negative_relax_abs_relax_add_relax_subtract"
    ]


def test_two_functions_do_not_wait_for_each_other():
    module = from_source("""
@I.ir_module
class Module:
    @R.function
    def main(x: R.Tensor((2,), "int32"), y: R.Tensor((2,), "int32")):
        with R.dataflow():
            a = R.abs(x)
            b = R.abs(y)
            c = R.negative(a)
            d = R.square(b)
            e = R.add(c, b)
            f = R.subtract(d, a)
            R.output(e, f)
        return (e, f)
""")
    first, second = op("add", op("negative", wildcard()), op("abs", wildcard())), op("subtract")
    crossing = op("subtract", op("square", wildcard()), op("abs", wildcard()))
    result = fused(module, ("lib.second", crossing), ("lib.first", first), ("lib.third", second))
    assert [func.attrs["Composite"] for func in composites(result).values()] == ["lib.second"]
    found = interpret_graph(result, np.int32([1, -2]), np.int32([3, 4]))
    assert [item.tolist() for item in found] == [[2, 2], [8, 14]]


def test_bindings_stand_behind_what_they_need():
    module = from_source("""
@I.ir_module
class Module:
    @R.function
    def main(x: R.Tensor((2,), "int32")):
        with R.dataflow():
            a = R.negative(x)
            b = R.abs(a)
            c = R.square(x)
            d = R.add(a, c)
            R.output(b, d)
        return (b, d)
""")
    result = fused(module, ("lib.f", op("add", op("negative", wildcard()), wildcard())))
    assert calls(result["main"]) == ["square", "fused_relax_negative_relax_add", "abs"]
    assert [item.tolist() for item in interpret_graph(result, np.int32([1, -2]))] == [[1, 2], [0, 6]]


def test_dimensions_that_no_argument_has_are_handed_over():
    module = from_source("""
@I.ir_module
class Module:
    @R.function
    def main(x: R.Tensor(("n", "m"), "int32")):
        n, m = T.int64(), T.int64()
        with R.dataflow():
            a = R.reshape(x, R.shape([n * m]))
            b = R.negative(a)
            c = R.reshape(b, R.shape([m, n]))
            R.output(c)
        return c
""")
    result = fused(module, ("lib.f", op("reshape", op("negative", wildcard()), wildcard())))
    (func,) = composites(result).values()
    assert [param.name_hint for param in func.params] == ["a", "dims"]
    x = np.arange(6, dtype="int32").reshape(2, 3)
    assert interpret_graph(result, x).tolist() == (-x).reshape(3, 2).tolist()


def test_equal_functions_are_made_once():
    module = from_source("""
@I.ir_module
class Module:
    @R.function
    def main(x: R.Tensor((2,), "int32"), y: R.Tensor(("n",), "int32"), z: R.Tensor(("m",), "int32")):
        n, m = T.int64(), T.int64()
        with R.dataflow():
            a = R.negative(R.abs(x))
            b = R.negative(R.abs(y))
            c = R.negative(R.abs(z))
            R.output(a, b, c)
        return (a, b, c)
""")
    result = fused(module, ("lib.f", op("negative", op("abs", wildcard()))), annotate_codegen=True)
    assert len(composites(result)) == 2
    assert len(set(calls(result["main"]))) == 2
    found = interpret_graph(result, *[np.arange(n, dtype="int32") for n in (2, 3, 4)])
    assert [item.tolist() for item in found] == [[0, -1], [0, -1, -2], [0, -1, -2, -3]]


def test_the_caller_decides_by_what_was_matched():
    seen = []

    def check(context):
        seen.append(context)
        return context.annotated_expr["root"].struct_info.shape[1].value == 2

    root, rhs = op("matmul"), wildcard()
    root = is_op("relax.matmul")(wildcard(), rhs)
    pattern = transform.FusionPattern(
        "lib.matmul", root, {"root": root, "rhs": rhs, "absent": wildcard()}, check,
        lambda parts: {"columns": int(parts["rhs"].struct_info.shape[1])},
    )  # fmt: skip
    result = fused(NET, pattern)
    (func,) = composites(result).values()
    assert func.attrs["columns"] == 2
    assert [context.matched_expr.op.name for context in seen] == ["relax.matmul"] * 2
    last, first = seen
    assert set(last.annotated_expr) == {"root", "rhs"}
    assert isinstance(last.annotated_expr["rhs"], relax.Constant)
    assert [var.name_hint for var in last.matched_bindings] == ["d"]
    assert last.value_to_bound_var[last.matched_expr].name_hint == "d"
    a = first.value_to_bound_var[first.matched_expr]
    assert [var.name_hint for var in first.var_usages[a]] == ["b"]


def test_fields_of_tuples_are_part_of_a_match():
    module = from_source("""
@I.ir_module
class Module:
    @R.function
    def main(x: R.Tensor((4,), "int32")):
        with R.dataflow():
            parts = R.split(x, 2)
            left = parts[0]
            right = parts[1]
            both = R.subtract(left, right)
            R.output(both)
        return both
""")
    s = op("split", wildcard())
    pattern = op("subtract", is_tuple_get_item(s, 0), is_tuple_get_item(s, 1))
    result = fused(module, ("lib.halves", pattern))
    assert calls(result["main"]) == ["fused_relax_split_relax_subtract"]
    assert interpret_graph(result, np.int32([5, 6, 1, 3])).tolist() == [4, 3]


def test_only_the_entry_functions_are_fused():
    module = IRModule({"main": NET["main"], "other": NET["main"].with_attr("global_symbol", "other")})
    result = fused(module, ("lib.matmul", op("matmul")), entry_functions=["other"])
    assert calls(result["main"]) == ["matmul", "add", "nn.relu", "matmul"]
    assert "matmul" not in calls(result["other"])
    with pytest.raises(MlcrefError, match="no function 'third'"):
        fused(module, entry_functions=["third"])


def test_calls_for_one_library_are_merged():
    result = fused(NET, ("a.matmul", op("matmul")), ("a.add", op("add")), ("b.relu", op("nn.relu", wildcard())))
    merged = transform.MergeCompositeFunctions()(result)
    relax.wellformed_graph(merged)
    first, relu, last = (merged[name] for name in calls(merged["main"]))
    assert calls(first) == ["fused_relax_matmul", "fused_relax_add"]
    assert [func.attrs["Codegen"] for func in (first, relu, last)] == ["a", "b", "a"]
    assert [func.attrs["global_symbol"] for func in (first, relu, last)] == calls(merged["main"])
    assert interpret_graph(merged, X, W).tolist() == interpret_graph(NET, X, W).tolist()


def test_calls_are_not_merged_around_another_one():
    result = fused(BRANCHES, ("a.matmul", op("matmul")), ("a.add", op("add")), ("a.minus", op("subtract")))
    merged = transform.MergeCompositeFunctions()(result)
    relax.wellformed_graph(merged)
    assert calls(merged["main"]) == [
        "fused_relax_matmul_a", "negative", "abs", "fused_relax_add_fused_relax_subtract_a"
    ]


@pytest.mark.parametrize(
    ("patterns", "message"),
    [
        ([op("matmul")], "a pattern for fusion is a FusionPattern or"),
        ([("lib.f",)], "a pattern for fusion is a FusionPattern or"),
        ([("lib.f", "matmul")], "has a name and a DFPattern, not 'lib.f', 'matmul'"),
        ([(op("matmul"), op("matmul"))], "has a name and a DFPattern"),
    ],
)
def test_what_is_no_pattern_for_fusion(patterns, message):
    with pytest.raises(TypeMismatch, match=message):
        transform.FuseOpsByPattern(patterns)


def test_what_binds_a_dimension_comes_first():
    func = from_source("""
@R.function
def main(x: R.Tensor("int32", ndim=1), y: R.Tensor(("n",), "int32")):
    n, m = T.int64(), T.int64()
    with R.dataflow():
        z = R.negative(y)
        c = R.match_cast(x, R.Tensor((m,), "int32"))
        f = R.full(R.shape([m]), R.const(1, "int32"))
        R.output(z, c, f)
    return (z, c, f)
""")
    binders = binders_of_dimensions(func)
    assert {dim.name: var.name_hint for dim, var in binders.items()} == {"m": "c"}
    grouping = Grouping(func.body.blocks[0], binders)
    assert grouping.needs == [set(), set(), {1}]
    assert grouping.join([0, 2])
    assert grouping.in_order() == [[1], [0, 2]]
    assert [var.name_hint for var in grouping.results([1])] == ["c"]
