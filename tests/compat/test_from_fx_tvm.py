"""The importer of Apache TVM and ours make the same calls of the same models; so does DecomposeOpsForInference."""

from __future__ import annotations

import pytest

from mlcref.importers import detach_params, from_fx
from mlcref.ir import graph
from mlcref.relax import transform

torch = pytest.importorskip("torch", reason="the models come from torch, which is not installed")
tvm = pytest.importorskip("tvm", reason="Apache TVM is not installed")
from torch import fx, nn  # noqa: E402

MODELS = {
    "mlp": (nn.Sequential(nn.Linear(784, 128), nn.ReLU(), nn.Linear(128, 10)), (1, 784)),
    "cnn": (
        nn.Sequential(
            nn.Conv2d(1, 8, 3, stride=2, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(),
            nn.Linear(392, 10), nn.Softmax(1),
        ),
        (1, 1, 28, 28),
    ),
    "pools": (nn.Sequential(nn.AdaptiveAvgPool2d(2), nn.AvgPool2d(2), nn.Sigmoid(), nn.Dropout()), (1, 4, 8, 8)),
    "rows": (nn.Sequential(nn.LayerNorm(8), nn.GELU(), nn.SiLU(), nn.Tanh(), nn.Identity()), (2, 8)),
}  # fmt: skip


def ours(module):
    values = [binding.value for binding in module["main"].bindings()]
    return [value.op.name for value in values if isinstance(value, graph.Call)]


def theirs(module):
    values = [binding.value for block in module["main"].body.blocks for binding in block.bindings]
    return [value.op.name for value in values if hasattr(value, "op")]


@pytest.mark.parametrize("keep", [False, True])
@pytest.mark.parametrize("name", MODELS)
def test_the_calls_are_the_same(name, keep):
    from tvm.relax.frontend import detach_params as detach
    from tvm.relax.frontend.torch import from_fx as tvm_from_fx

    model, shape = MODELS[name]
    traced, inputs = fx.symbolic_trace(model.eval()), [(shape, "float32")]
    a, b = (make(traced, inputs, keep_params_as_input=keep) for make in (tvm_from_fx, from_fx))
    assert theirs(a) == ours(b)
    apart = tvm.relax.transform.DecomposeOpsForInference()(a)
    assert theirs(apart) == ours(transform.DecomposeOpsForInference()(b))
    (a, held), (b, values) = detach(a), detach_params(b)
    assert len(a["main"].params) == len(b["main"].params)
    for one, other in zip(held.get("main", []), values.get("main", []), strict=True):
        assert (one.numpy() == other.numpy()).all()
