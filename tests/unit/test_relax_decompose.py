"""DecomposeOpsForInference: the same bits once legalized, within the bound of the graph, and kernels that fuse."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings

from mlcref import relax
from mlcref.errors import MlcrefError
from mlcref.interp.graph import interpret_graph
from mlcref.ir import IRModule, graph
from mlcref.relax import transform
from mlcref.testing.graph_bounds import bounded_graph
from mlcref.testing.graphs import graphs


def var(name: str, *shape: int) -> relax.Var:
    return relax.Var(name, relax.TensorStructInfo(shape, "float32"))


def block(residual: bool = True) -> IRModule:
    """A convolution, a normalization whose statistics are returned, too, an addition and relu."""
    x, held = var("x", 1, 3, 5, 4), [var(name, 3) for name in ("gamma", "beta", "mean", "variance")]
    weight = relax.const(np.random.default_rng(0).standard_normal((3, 3, 3, 3)), "float32")
    bb = relax.BlockBuilder()
    with bb.function("main", [x, *held]):
        with bb.dataflow():
            y = bb.emit(relax.op.nn.conv2d(x, weight, padding=1))
            made = bb.emit(relax.op.nn.batch_norm(y, *held, axis=1))
            y = bb.emit(relax.TupleGetItem(made, 0))
            y = bb.emit(relax.op.add(y, x)) if residual else y
            gv = bb.emit_output(relax.op.nn.relu(y))
            mean = bb.emit_output(relax.TupleGetItem(made, 1))
        bb.emit_func_output([gv, mean])
    return bb.get()


def arguments() -> list[np.ndarray]:
    rng = np.random.default_rng(1)
    shapes = [(1, 3, 5, 4), (3,), (3,), (3,), (3,)]
    return [np.abs(rng.standard_normal(shape)).astype("float32") for shape in shapes]


def operators(module: IRModule) -> list[str]:
    values = [binding.value for binding in module["main"].bindings()]
    return [value.op.name.removeprefix("relax.") for value in values if isinstance(value, graph.Call)]


def leaves(value):
    return [leaf for item in value for leaf in leaves(item)] if isinstance(value, tuple) else [value]


def test_the_legalized_graph_computes_the_same_bits():
    module, arrays = block(), arguments()
    apart = transform.DecomposeOpsForInference()(module)
    relax.wellformed_graph(apart)
    assert "nn.batch_norm" not in operators(apart) and "nn.batch_norm" in operators(module)
    results = [interpret_graph(transform.LegalizeOps()(m), *arrays) for m in (module, apart)]
    for one, other in zip(*results, strict=True):
        assert one.tobytes() == other.tobytes()
    for bound, found in zip(bounded_graph(module, *arrays), results[1], strict=True):
        assert bound.covers(found).all()


def test_it_fuses_with_a_convolution():
    held = dict(zip(("gamma", "beta", "mean", "variance"), arguments()[1:], strict=True))
    module = transform.BindParams("main", held)(block())
    counts = [len(relax.get_pipeline("zero")(m)) for m in (module, transform.DecomposeOpsForInference()(module))]
    assert counts == [4, 2]  # "main", and convolution, normalization, sum with relu: or one program


def test_only_the_function_that_is_named():
    module = block()
    module.update_func("other", module["main"].with_attr("global_symbol", "other"))
    apart = transform.DecomposeOpsForInference("other")(module)
    assert operators(apart) == operators(module) and apart["main"] is module["main"]
    assert apart["other"] is not module["other"]
    with pytest.raises(MlcrefError, match=r"there is no graph function mian  \[relax.decompose\]\nhint: .*: main"):
        transform.DecomposeOpsForInference("mian")(module)


@settings(max_examples=60, deadline=None)
@given(graphs(["nn.batch_norm", "nn.dropout", "add", "nn.relu", "multiply", "permute_dims"], ["float32"], 5))
def test_graphs_keep_their_meaning(case):
    apart = transform.DecomposeOpsForInference()(case.module)
    relax.wellformed_graph(apart)
    assert not {"nn.batch_norm", "nn.dropout"} & set(operators(apart))
    before, after = (
        leaves(interpret_graph(transform.LegalizeOps()(module), *case.arguments)) for module in (case.module, apart)
    )
    for one, other in zip(before, after, strict=True):
        assert (one.dtype, one.shape) == (other.dtype, other.shape)
        assert np.array_equal(one, other, equal_nan=True)
