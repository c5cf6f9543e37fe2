"""The library "blas" over generated graphs: results are within the bound of rounding, in the oracle and the machine."""

import numpy as np
from hypothesis import event, given, settings
from hypothesis import strategies as st

from mlcref import relax
from mlcref.contrib import blas
from mlcref.driver.derived_extents import build_with_checks
from mlcref.driver.graph import compile_graph
from mlcref.interp.graph import interpret_graph
from mlcref.ir import Target, graph
from mlcref.runtime import oracle_backend
from mlcref.runtime.vm import VirtualMachine
from mlcref.testing.graph_bounds import bounded_graph
from mlcref.testing.graphs import graphs

OPERATORS = ["matmul", "matmul", "matmul", "add", "nn.relu", "permute_dims"]


def leaves(value):
    return [leaf for item in value for leaf in leaves(item)] if isinstance(value, tuple) else [value]


def in_the_oracle(funcs, target):
    return build_with_checks(lambda named: oracle_backend.build(named, target), funcs)


@given(case=graphs(OPERATORS, ("float32",), max_steps=8), small=st.booleans())
@settings(max_examples=40, deadline=None)
def test_blas_stays_within_the_bound(case, small):
    arguments = [np.round(array) for array in case.arguments] if small else case.arguments
    after = blas.offload(case.module)
    values = [binding.value for binding in after["main"].bindings()]
    event(str(any(isinstance(value, graph.Call) and value.op == graph.CALL_DPS_PACKED for value in values)))
    bounds = leaves(bounded_graph(case.module, *arguments))
    machine = VirtualMachine(compile_graph(relax.get_pipeline("zero")(after), Target("cython"), in_the_oracle))
    for results in (interpret_graph(after, *arguments), machine["main"](*arguments)):
        for bound, result in zip(bounds, leaves(results), strict=True):
            found = result if isinstance(result, np.ndarray) else result.numpy()
            assert found.dtype == bound.dtype
            assert np.all(bound.covers(found))
            assert not small or np.array_equal(found, bound.value)
