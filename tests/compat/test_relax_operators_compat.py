"""The operators of relax in Apache TVM: the same shapes and types, the same values, and scripts that both read."""

import random

import numpy as np
import pytest

from mlcref import relax
from mlcref.errors import MlcrefError
from mlcref.interp.graph import interpret_graph
from mlcref.ir import IRModule, assert_structural_equal, graph
from mlcref.script import from_source
from mlcref.testing.graph_recipes import RECIPES
from mlcref.testing.graph_source import GraphSource

tvm = pytest.importorskip("tvm", reason="Apache TVM is not installed")

APART = {
    "ewise_fma": "TVM does not broadcast",
    "split": "TVM takes one part for no tuple",
    "strided_slice": "TVM infers a negative extent where a slice begins behind its end",
}
OTHERWISE = {"nn.rms_norm": "TVM fails on weights of one dimension", "repeat": "TVM refuses to repeat 0 times"}


def drawn(name, seed):
    """A call of the operator, and arguments; None where the draw does not fit."""
    rng = random.Random(seed)
    dtypes = ("float32",) if "float32" in RECIPES[name][0] else RECIPES[name][0][:1]
    source = GraphSource(lambda options: rng.choice(list(options)), dtypes, symbolic=False)
    try:
        return RECIPES[name][1](source), dict(zip(source.params, source.arguments(source.params, {}), strict=True))
    except MlcrefError:
        return None


def function(call):
    """A function of the call alone, and its parameters."""
    params = relax.analysis.free_vars(call)
    var = relax.Var("y", call.struct_info)
    body = graph.SeqExpr((graph.BindingBlock([graph.VarBinding(var, call)]),), var)
    return relax.Function(params, body).with_attr("global_symbol", "main"), params


def leaves(value):
    if hasattr(value, "shape") or hasattr(value, "numpy"):
        return [value]
    return [leaf for item in value for leaf in leaves(item)]


def parsed(func):
    return tvm.script.from_source(IRModule({"main": func}).script(dialect="tirx"))


@pytest.mark.parametrize("name", sorted(set(RECIPES) - set(APART)))
def test_tvm_reads_the_scripts_and_computes_the_same(name):
    for seed in range(3):
        if (case := drawn(name, seed)) is None:
            continue
        call, arrays = case
        func, params = function(call)
        module = parsed(func)  # TVM infers the types again and compares
        if name == "nn.relu6":  # TVM makes it clip
            continue
        assert_structural_equal(from_source(module.script())["main"], func)
        if seed == 0 and name not in OTHERWISE and 0 not in [size for a in arrays.values() for size in a.shape]:
            vm = tvm.relax.VirtualMachine(tvm.compile(module, "llvm"), tvm.cpu())
            given = leaves(vm["main"](*[tvm.runtime.tensor(arrays[param]) for param in params]))
            wanted = leaves(interpret_graph(func, *[arrays[param] for param in params]))
            for a, b in zip(given, wanted, strict=True):
                np.testing.assert_allclose(a.numpy(), b, rtol=1e-4, atol=1e-5)
