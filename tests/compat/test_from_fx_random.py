"""Random small models of torch through ``from_fx``: layers, functions and residual connections in any order that fits.

What torch computes, what the oracle says of the graph and of its tensor programs, and for some what runs compiled, all
stay within the bound of the graph. Graphs with changes in place compute what torch does, or are refused.
"""

from __future__ import annotations

import operator
from typing import Any

import pytest
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

torch = pytest.importorskip("torch", reason="the importer is compared with torch, which is not installed")
from torch import fx, nn  # noqa: E402
from torch.nn import functional as F  # noqa: E402

from fx_check import check  # noqa: E402

from mlcref.importers import UnsupportedNode, from_fx  # noqa: E402
from mlcref.interp.graph import interpret_graph  # noqa: E402
from mlcref.runtime.compiler import why_no_compiler  # noqa: E402


class Steps(nn.Module):
    """Steps one after the other; each takes values so far, by number. What no step takes is returned."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList()
        self.steps: list[tuple[Any, tuple[int, ...]]] = []

    def add(self, step: Any, operands: tuple[int, ...]) -> None:
        if isinstance(step, nn.Module):
            self.layers.append(step)
        self.steps.append((step, operands))

    def forward(self, x: Any) -> Any:
        values = [x]
        for step, operands in self.steps:
            values.append(step(*[values[number] for number in operands]))
        used = {number for _, operands in self.steps for number in operands}
        return tuple(value for number, value in enumerate(values) if number not in used)


ELEMENTWISE = [
    nn.ReLU(), nn.GELU(), nn.SiLU(), nn.Tanh(), nn.Sigmoid(), nn.LeakyReLU(0.3), nn.Hardswish(), nn.ELU(),
    nn.Identity(), nn.Dropout(0.2), torch.abs, torch.square, lambda x: x * 2 - 1, lambda x: 1 / (x.abs() + 1),
    lambda x: torch.where(x > 0.1, x, x / 4), lambda x: x.clamp(-1.0, 0.5), lambda x: x.double().float(),
    lambda x: F.relu(x.clone(), inplace=True), lambda x: torch.sqrt(x * x + 1),
    lambda x: torch.exp(-x * x),
]  # fmt: skip
PAIRS = [
    torch.add, torch.mul, torch.sub, torch.maximum, lambda a, b: a / (b * b + 1), lambda a, b: torch.cat([a, b], 1),
]  # fmt: skip


class Source:
    """Draws steps that fit the shapes of the values so far."""

    def __init__(self, draw: Any) -> None:
        self.draw = draw
        self.model = Steps()

    def pick(self, options: Any) -> Any:
        return self.draw(st.sampled_from(list(options)))

    def moves(self, shape: tuple[int, ...]) -> list[Any]:
        """Steps that move elements, or sum them up."""
        axis, last = self.pick(range(len(shape))), len(shape) - 1
        count, many = shape[axis], self.pick([1, 2])
        return [
            lambda x: x.transpose(0, last), lambda x: x.flip(axis), lambda x: x.unsqueeze(axis), nn.Flatten(),
            lambda x: x.sum(axis, keepdim=True), lambda x: x.mean(axis, keepdim=True), lambda x: x.amax(axis),
            lambda x: F.softmax(x, dim=axis), lambda x: x.reshape(x.size(0), -1), lambda x: x.chunk(2, axis)[0],
            lambda x: x.narrow(axis, count // 2, count - count // 2), lambda x: x[..., ::many],
            lambda x: F.pad(x, (1, many), value=0.5), lambda x: x.squeeze(), lambda x: torch.stack([x, x], axis),
            lambda x: x.permute(*range(1, last + 1), 0), lambda x: x - x.mean(axis, keepdim=True),
        ]  # fmt: skip

    def layers(self, shape: tuple[int, ...]) -> list[Any]:
        """Layers with weights, and windows, for data of this shape."""
        found: list[Any] = []
        if len(shape) >= 1:
            found += [nn.Linear(shape[-1], self.pick([1, 3, 6])), nn.LayerNorm(shape[-1])]
        if len(shape) == 3:
            embed = self.pick([1, 2] if shape[2] % 2 == 0 else [1])
            found += [nn.Conv1d(shape[1], self.pick([2, 4]), self.pick([1, 2]) if shape[2] > 1 else 1)]
            found += [nn.BatchNorm1d(shape[1]), nn.MaxPool1d(2, 1, 1), nn.AdaptiveAvgPool1d(2)]
            found += [lambda x: x @ x.transpose(1, 2), nn.TransformerEncoderLayer(shape[2], embed, 5, batch_first=True)]
        if len(shape) == 4:
            groups = 2 if shape[1] % 2 == 0 else 1
            found += [nn.Conv2d(shape[1], self.pick([2, 4]), self.pick([1, 3]), self.pick([1, 2]), 1, groups=groups)]
            found += [nn.BatchNorm2d(shape[1]), nn.MaxPool2d(2, 1, 1), nn.AvgPool2d(2, 1, 1)]
            found += [nn.AdaptiveAvgPool2d((2, 1)), nn.GroupNorm(groups, shape[1])]
            found += [lambda x: F.scaled_dot_product_attention(x, x, x)]
        return found

    def step(self, values: list[Any]) -> tuple[Any, tuple[int, ...]]:
        number = self.pick(range(max(len(values) - 3, 0), len(values)))
        alike = [other for other, value in enumerate(values) if value.shape == values[number].shape]
        if len(alike) > 1 and self.draw(st.booleans()) and values[number].dim() > 1:
            return self.pick(PAIRS), (number, self.pick(alike))
        shape = tuple(values[number].shape)
        kinds = [ELEMENTWISE, self.moves(shape) if shape else [], self.layers(shape)]
        return self.pick(self.pick([kind for kind in kinds if kind])), (number,)


@st.composite
def models(draw: Any) -> tuple[Steps, Any]:
    """A model and an input."""
    torch.manual_seed(draw(st.integers(0, 99)))
    shape = draw(st.sampled_from([(3, 5), (2, 4, 6), (2, 3, 5, 4), (1, 4, 4, 4)]))
    source, values = Source(draw), [torch.randn(shape)]
    for _ in range(draw(st.integers(1, 6))):
        step, operands = source.step(values)
        if isinstance(step, nn.Module):
            step.eval()
        with torch.no_grad():
            made = step(*[values[number] for number in operands])
        if made.numel() > 400 or made.dim() > 4:
            continue
        values.append(made)
        source.model.add(step, operands)
    return source.model.eval(), values[0]


quick = settings(suppress_health_check=list(HealthCheck), deadline=None)


@settings(quick, max_examples=40)
@given(case=models())
def test_the_oracle_agrees_with_torch(case: Any) -> None:
    model, x = case
    check(fx.symbolic_trace(model), x)


@pytest.mark.skipif(why_no_compiler() is not None, reason="no compiler")
@settings(quick, max_examples=2)
@given(case=models())
def test_compiled_models_agree_with_torch(case: Any) -> None:
    model, x = case
    check(fx.symbolic_trace(model), x, run=True)


WHOLE = slice(None)


@st.composite
def changing(draw: Any) -> fx.GraphModule:
    """A graph of views, copies and changes in place; some of its values are returned."""
    graph, root = fx.Graph(), nn.Module()
    root.relu, root.same, root.dropout = nn.ReLU(inplace=True), nn.Identity(), nn.Dropout(0.5).eval()
    values = [graph.placeholder("x")]
    for _ in range(draw(st.integers(2, 8))):
        value, other = draw(st.sampled_from(values[-4:])), draw(st.sampled_from(values))
        values.append(draw(st.sampled_from([
            lambda v, w: graph.call_method("t", (v,)), lambda v, w: graph.call_method("contiguous", (v,)),
            lambda v, w: graph.call_function(operator.getitem, (v, (WHOLE, slice(0, 3)))),
            lambda v, w: graph.call_method("clone", (v,)), lambda v, w: graph.call_method("add_", (v, 1.0)),
            lambda v, w: graph.call_method("mul_", (v, w)), lambda v, w: graph.call_module("relu", (v,)),
            lambda v, w: graph.call_module("same", (v,)), lambda v, w: graph.call_function(operator.iadd, (v, w)),
            lambda v, w: graph.call_function(torch.add, (v, w)), lambda v, w: graph.call_method("view", (v, 3, 3)),
            lambda v, w: graph.call_function(F.relu, (v,), {"inplace": True}),
            lambda v, w: graph.call_method("reshape", (v, 3, 3)), lambda v, w: graph.call_method("float", (v,)),
            lambda v, w: graph.call_function(operator.getitem, (graph.call_method("chunk", (v, 1)), 0)),
            lambda v, w: graph.call_module("dropout", (v,)),
        ]))(value, other))  # fmt: skip
    graph.output(tuple(draw(st.lists(st.sampled_from(values), min_size=1, max_size=3))))
    return fx.GraphModule(root, graph)


@settings(quick, max_examples=80)
@given(model=changing())
def test_changes_in_place_are_followed_or_refused(model: fx.GraphModule) -> None:
    x = torch.arange(-4.0, 5.0).view(3, 3)
    try:
        wanted = model(x.clone())
    except RuntimeError:  # operands that overlap: torch refuses
        return
    try:
        module = from_fx(model, [((3, 3), "float32")])
    except UnsupportedNode as refused:
        event(str(refused.rule))
        return
    for found, value in zip(interpret_graph(module, x.numpy()), wanted, strict=True):
        assert found.tolist() == value.tolist()
