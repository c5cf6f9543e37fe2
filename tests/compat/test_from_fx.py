"""Models of torch through ``from_fx``: the graph computes what torch does, each element within the graph's bound."""

from __future__ import annotations

import itertools
import math
import operator
import re
import runpy
from pathlib import Path

import numpy as np
import pytest

import mlcref
from mlcref import relax
from mlcref.driver import compile as compile_module
from mlcref.errors import CallError, MlcrefError, TypeMismatch, UnsupportedError
from mlcref.importers import UnsupportedNode, detach_params, from_fx
from mlcref.importers.fx_table import FUNCTIONS, METHODS, MODULES, look_up
from mlcref.importers.torch_types import result_type
from mlcref.interp.graph import interpret_graph
from mlcref.runtime.vm import VirtualMachine
from mlcref.testing.graph_bounds import bounded_graph

torch = pytest.importorskip("torch", reason="the importer is compared with torch, which is not installed")
from torch import fx, nn  # noqa: E402
from torch.nn import functional as F  # noqa: E402

from fx_check import check  # noqa: E402


class Model(nn.Module):
    """A function of the input and some layers."""

    def __init__(self, function, *layers):
        super().__init__()
        self.function, self.layers = function, nn.ModuleList(layers)

    def forward(self, x):
        return self.function(x, *self.layers)


def traced(function, *layers):
    torch.manual_seed(0)
    for layer in layers:
        for held in [*layer.parameters(), *layer.buffers()]:
            if held.is_floating_point():
                held.data = torch.rand_like(held) + 0.5 if held.dim() == 1 else torch.randn_like(held)
    return fx.symbolic_trace(Model(function, *layers).eval())


def normal(*shape):
    torch.manual_seed(1)
    return torch.randn(shape)


SEQUENCE, IMAGE = (2, 6, 8), (2, 4, 7, 6)
LAYERS = [
    (nn.Linear(8, 3), SEQUENCE), (nn.Linear(8, 3, bias=False), (8,)), (nn.Identity(), IMAGE),
    (nn.Conv1d(6, 4, 3, stride=2, padding=1), SEQUENCE), (nn.Conv1d(6, 6, 3, groups=3, padding="same"), SEQUENCE),
    (nn.Conv2d(4, 5, 3, dilation=2, padding=(2, 1)), IMAGE), (nn.Conv2d(4, 8, 3, groups=4, bias=False), IMAGE),
    (nn.Conv2d(4, 2, 1), IMAGE[1:]), (nn.MaxPool1d(3, 2, 1), SEQUENCE), (nn.MaxPool2d(3, 2, 1, ceil_mode=True), IMAGE),
    (nn.MaxPool2d((2, 1), dilation=(1, 2)), IMAGE), (nn.AvgPool1d(2), SEQUENCE), (nn.AvgPool2d(3, 1, 1), IMAGE),
    (nn.AvgPool2d(3, 1, 1, count_include_pad=False), IMAGE[1:]), (nn.AdaptiveAvgPool1d(3), SEQUENCE),
    (nn.AdaptiveAvgPool2d((3, None)), IMAGE), (nn.AdaptiveAvgPool2d(1), IMAGE), (nn.BatchNorm1d(6), SEQUENCE),
    (nn.BatchNorm1d(7), (3, 7)), (nn.BatchNorm2d(4), IMAGE), (nn.BatchNorm2d(4, affine=False), IMAGE),
    (nn.LayerNorm(8), SEQUENCE), (nn.LayerNorm((6, 8), elementwise_affine=False), SEQUENCE),
    (nn.GroupNorm(2, 4), IMAGE), (nn.RMSNorm(8, eps=1e-5), SEQUENCE), (nn.ReLU(), IMAGE), (nn.ReLU6(), IMAGE),
    (nn.GELU(), IMAGE), (nn.GELU("tanh"), IMAGE), (nn.SiLU(), IMAGE), (nn.Sigmoid(), IMAGE), (nn.Tanh(), IMAGE),
    (nn.LeakyReLU(0.2), IMAGE), (nn.ELU(0.7), IMAGE), (nn.Hardtanh(), IMAGE), (nn.Hardsigmoid(), IMAGE),
    (nn.Hardswish(), IMAGE), (nn.Softmax(1), IMAGE), (nn.LogSoftmax(-1), IMAGE), (nn.Dropout(0.3), IMAGE),
    (nn.Dropout2d(0.3), IMAGE), (nn.Flatten(), IMAGE), (nn.Unflatten(1, (2, 3)), SEQUENCE), (nn.ZeroPad2d(1), IMAGE),
    (nn.ConstantPad1d((1, 2), 3.0), SEQUENCE), (nn.PixelShuffle(2), IMAGE),
    (nn.MultiheadAttention(8, 2, batch_first=True), SEQUENCE), (nn.MultiheadAttention(8, 4, bias=False), SEQUENCE),
    (nn.TransformerEncoderLayer(8, 2, 16, batch_first=True), SEQUENCE),
    (nn.TransformerEncoderLayer(8, 4, 16, activation="gelu", norm_first=True), SEQUENCE),
]  # fmt: skip


@pytest.mark.parametrize(("layer", "shape"), LAYERS, ids=lambda part: repr(part)[:40])
def test_a_layer(layer, shape):
    attention = isinstance(layer, nn.MultiheadAttention)
    check(traced(lambda x, layer: layer(x, x, x) if attention else layer(x), layer), normal(*shape))


MASK = torch.tril(torch.ones(6, 6, dtype=torch.bool))
EXPRESSIONS = {
    "arithmetic": lambda x: (1 - x) * 2 + x / 3 - torch.div(x, 2.5) + torch.add(x, x, alpha=2) - (-x),
    "numbers": lambda x: x * (x.size(-1) ** -0.5) + x.dim() - x.shape[1] // 4,
    "powers": lambda x: x.pow(2) + torch.sqrt(x.abs()) + torch.exp(x) * torch.rsqrt(x.square() + 1) + x**2,
    "functions": lambda x: torch.sigmoid(x) + x.tanh() + torch.erf(x) + torch.log(x.abs() + 1) + F.silu(x),
    "choices": lambda x: torch.where(x > 0, x, 0.5) + x.clamp(-1, 1) + torch.maximum(x, -x) + x.masked_fill(x < 0, 2.0),
    "logic": lambda x: torch.where(torch.logical_and(x > 0, x < 1) | (x == 2), x, -x),
    "reductions": lambda x: x.sum(-1) + torch.mean(x, 2) + x.amax(2) - torch.min(x, dim=2)[0] + x.max(2).values,
    "whole reductions": lambda x: x.mean() + x.sum() + x.max() - x.var(correction=0) + torch.std(x, unbiased=False),
    "shapes": lambda x: x.view(x.size(0), -1).reshape(4, -1).unsqueeze(1).squeeze(1).t().flatten().expand(2, -1),
    "axes": lambda x: x.permute(2, 0, 1).transpose(0, 1).swapaxes(1, 2).flip(1).repeat(1, 2, 1).contiguous().clone(),
    "names": lambda x: torch.permute(x, dims=(2, 0, 1)).sum(axis=1, keepdims=True)
    + torch.tile(x[:, 0, 0], dims=(8, 1, 3))
    + torch.reshape(input=x, shape=(8, 1, 12)).mean(dim=2, keepdim=True).flip(dims=(0,)),
    "parts": lambda x: torch.cat([x.chunk(4, 1)[2], torch.split(x, [2, 4], 1)[1], x.split(4, 1)[1]], 1),
    "stacks": lambda x: torch.stack([x.unbind(1)[2], x.sum(1)], -1) @ torch.stack(x.unbind(1)[:2], 1).narrow(2, 1, 3),
    "indices": lambda x: x[:, 1:-1, ::2, None] + x[0, 2, 3] + x[..., :1].select(-1, 0)[:, :1, None, None],
    "windows": lambda x: F.max_pool1d(F.pad(x, (1, -1), value=2.0), 2) + F.avg_pool1d(x, 2),
    "products": lambda x: torch.bmm(x, x.transpose(1, 2)) + torch.baddbmm(x[..., :6], x, x.transpose(1, 2), beta=2),
    "one product": lambda x: torch.addmm(x[0, 0, :6], x[0], x[1].T, alpha=0.5),
    "weights": lambda x: F.linear(x, torch.ones(3, 8), torch.arange(3.0)) + torch.full((3,), 2.0),
    "attention": lambda x: F.scaled_dot_product_attention(*[x.view(2, 6, 2, 4).transpose(1, 2)] * 3, is_causal=True),
    "masked attention": lambda x: F.scaled_dot_product_attention(x, x, x, attn_mask=MASK, scale=0.3),
    "softmax": lambda x: F.softmax(x, dim=-1) + torch.softmax(x, 1) + x.log_softmax(0),
    "types": lambda x: (x.double() * 2).to(torch.float32) + (x > 0).float() + torch.arange(8),
    "constants": lambda x: torch.ones(8) + x - (torch.ones(8) - x) * torch.arange(8.0) / (2 + x.abs()) + 2**x,
    "in place": lambda x: F.relu(x, inplace=True).add_(1).mul_(x) + x,
    "changed operands": lambda x: operator.iadd(x + 1, x) * x,
}  # fmt: skip


@pytest.mark.parametrize("name", EXPRESSIONS)
def test_an_expression(name):
    check(traced(EXPRESSIONS[name]), normal(*SEQUENCE))


@pytest.mark.parametrize(
    ("layer", "shape"),
    [(nn.ConvTranspose2d(4, 3, 3, 2, 1, 1), IMAGE), (nn.ConvTranspose1d(6, 4, 3, 2, groups=2), SEQUENCE)],
)
def test_a_transposed_convolution_is_exact_on_small_integers(layer, shape):
    model = traced(lambda x, layer: layer(x), layer)
    for held in model.parameters():
        held.data = torch.randint(-3, 4, held.shape).float()
    check(model, torch.randint(-3, 4, shape).float(), bounded=False)


def test_embeddings_and_integers():
    tokens = torch.tensor([[1, 0, 4], [4, 2, 2]])
    check(traced(lambda x, layer: layer(x) * 2 + layer.weight[x], nn.Embedding(5, 3)), tokens)
    check(traced(lambda x: torch.arange(12.0).view(6, 2)[x - 3]), tokens, bounded=False)
    check(traced(lambda x: (x // 2 + x % 3 - 1, x / 2, x.sum(), x & 1, x.argmax(-1))), tokens, bounded=False)


def test_one_parameter_is_one_constant():
    class Tied(nn.Module):
        def __init__(self):
            super().__init__()
            self.first = self.second = nn.Linear(3, 3)

        def forward(self, x):
            return self.second(self.first(x)) + self.first.weight

    module = check(fx.symbolic_trace(Tied().eval()), normal(3, 3))
    calls = [binding.value for binding in module["main"].bindings() if isinstance(binding.value, relax.Call)]
    constants = {id(arg) for call in calls for arg in call.args if isinstance(arg, relax.Constant)}
    assert len(constants) == 2


class Residual(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(4, 4, 3, padding=1, bias=False), nn.Conv2d(4, 4, 3, padding=1, bias=False)
        self.norm1, self.norm2 = nn.BatchNorm2d(4), nn.BatchNorm2d(4)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x):
        out = self.norm2(self.conv2(self.relu(self.norm1(self.conv1(x)))))
        out += x
        return self.relu(out)


def test_a_residual_block_compiles():
    torch.manual_seed(0)
    model = fx.symbolic_trace(Residual().eval())
    x = normal(*IMAGE)
    module = check(model, x)
    for program in (module, relax.get_pipeline("autoschedule", target="cython --num-cores=1")(module)):
        found = VirtualMachine(compile_module(program, "cython"))["main"](x.numpy()).numpy()
        assert bounded_graph(module, x.numpy()).covers(found).all()


class Exported(nn.Module):
    """Layers, functions and questions about shapes in one, as dynamo writes them down."""

    def __init__(self):
        super().__init__()
        self.linear, self.norm = nn.Linear(8, 8), nn.LayerNorm(8)
        self.conv, self.batch_norm = nn.Conv1d(6, 6, 3, padding=1), nn.BatchNorm1d(6)
        self.encoder = nn.TransformerEncoderLayer(8, 2, 16)
        self.cross = nn.MultiheadAttention(8, 2, kdim=3, vdim=5, batch_first=True)

    def forward(self, x):
        batch, length, size = x.shape
        y = self.batch_norm(self.conv(self.norm(F.gelu(self.linear(x)))))
        heads = y.view(batch, length, 2, size // 2).transpose(1, 2)
        z = F.scaled_dot_product_attention(heads, heads, heads).transpose(1, 2).reshape(batch, length, size)
        crossed, _ = self.cross(z, x[..., :3], x[..., 3:])
        return self.encoder(z + x)[:, -1], crossed, y.mean(-1)


@pytest.mark.parametrize("how", ["traced", pytest.param("exported", marks=pytest.mark.slow)])
@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning", "ignore::UserWarning")
def test_both_kinds_of_traces(how):
    torch.manual_seed(0)
    model, x = Exported().eval(), normal(*SEQUENCE)
    if how == "traced":
        check(fx.symbolic_trace(model), x)
    else:
        check(torch._dynamo.export(model)(x).graph_module, x)


def test_symbolic_batches():
    n = mlcref.tir.Var("n", "int64")
    model = traced(lambda x, layer: layer(x.view(x.shape[0], -1)), nn.Linear(48, 2))
    module = from_fx(model, [((n, 6, 8), "float32")])
    vm = VirtualMachine(compile_module(module, "cython"))
    for batch in (1, 3):
        x = normal(batch, 6, 8).numpy()
        assert bounded_graph(module, x).covers(vm["main"](x).numpy()).all()


TYPES = ["bool", "uint8", "int8", "int32", "int64", "float16", "bfloat16", "float32", "float64"]


@pytest.mark.parametrize("first", TYPES)
def test_operands_have_the_type_that_torch_gives_them(first):
    a = torch.ones(2, dtype=getattr(torch, first))
    for scalar in (True, 2, 0.5):
        assert f"torch.{result_type([(first, 1)], [scalar])}" == str(torch.result_type(a, scalar))
    for second, ndim in itertools.product(TYPES, (0, 1)):
        b = torch.ones([2] * ndim, dtype=getattr(torch, second))
        wanted = str(torch.result_type(a, b)).removeprefix("torch.")
        try:
            assert result_type([(first, 1), (second, ndim)]) == wanted
        except UnsupportedError:
            assert wanted not in (first, second)


# What the options say


def test_parameters_as_inputs():
    model = traced(lambda x, layer: layer(x), nn.Linear(8, 3))
    module = from_fx(model, [((2, 8), "float32")], keep_params_as_input=True)
    main = module["main"]
    assert [param.name_hint for param in main.params] == ["x", "layers.0.bias", "layers.0.weight"]
    assert main.attrs["num_input"] == 1
    detached, params = detach_params(module)
    assert "params" not in detached["main"].attrs and [array.shape for array in params["main"]] == [(3,), (3, 8)]
    x = normal(2, 8)
    found = interpret_graph(detached, x.numpy(), *[array.numpy() for array in params["main"]])
    plain = from_fx(model, [((2, 8), "float32")])
    assert found.tolist() == interpret_graph(plain, x.numpy()).tolist()
    assert bounded_graph(plain, x.numpy()).covers(model(x).detach().numpy()).all()


def test_pythons_own_functions_of_extents():
    graph = fx.Graph()
    x = graph.placeholder("x")
    root = graph.call_function(math.sqrt, (graph.call_method("size", (x, -1)),))
    graph.output(graph.call_function(operator.truediv, (x, root)))
    check(fx.GraphModule(nn.Module(), graph), normal(2, 5))


def test_the_default_type_of_floats():
    torch.set_default_dtype(torch.float64)
    try:
        check(traced(lambda x: x / 2 + torch.ones(3)), torch.tensor([1, 2, 3]))
    finally:
        torch.set_default_dtype(torch.float32)


def test_tuples():
    one, two = traced(lambda x: (x + 1,)), traced(lambda x: (x + 1, [x * 2, x]))
    info = [((2,), "float32")]

    def result(model, **options):
        return from_fx(model, info, **options)["main"].ret_struct_info

    tensor = relax.TensorStructInfo((2,), "float32")
    assert repr(result(one)) == repr(relax.TupleStructInfo([tensor]))
    assert repr(result(one, unwrap_unit_return_tuple=True)) == repr(tensor)
    nested = relax.TupleStructInfo([tensor, relax.TupleStructInfo([tensor, tensor])])
    assert repr(result(two)) == repr(result(two, no_bind_return_tuple=True)) == repr(nested)


def test_custom_conversions_come_first():
    model = traced(lambda x, layer: torch.cumsum(layer(x), 0).cos_(), nn.CELU())
    seen = []

    def celu(node, importer):
        seen.append((node.name, importer.named_modules[node.target].alpha))
        return importer.emit(relax.op.nn.relu(*importer.retrieve_args(node)))

    def cumsum(node, importer):
        return importer.block_builder.emit_te(mlcref.topi.cumsum, importer.env[node.args[0]], node.args[1])

    module = from_fx(model, [((3, 2), "float32")], custom_convert_map={nn.CELU: celu, "cumsum": cumsum})
    assert seen == [("layers_0", 1.0)]
    x = np.float32([[1, -2], [3, 4], [-5, 6]])
    found = interpret_graph(module, x)
    assert np.abs(found - np.cos(np.maximum(x, 0).cumsum(0))).max() <= 2.0**-24


def test_tvms_names():
    from mlcref.relax import frontend
    from mlcref.relax.frontend.torch import from_fx as theirs

    assert theirs is from_fx and frontend.detach_params is detach_params


# What is refused


def refused(function, *layers, shape=(3, 2)):
    model = fx.symbolic_trace(Model(function, *layers))
    with pytest.raises(UnsupportedNode) as caught:
        from_fx(model, [(shape, "float32")])
    return str(caught.value)


def test_a_refusal_shows_the_node_in_its_graph():
    assert refused(lambda x: torch.fft.fft(x + 1).abs()) == (
        "fft_fft: the function torch._C._fft.fft_fft is not supported  [fx.function]\n"
        "        add = x + 1\n"
        "        fft_fft = torch._C._fft.fft_fft(add)\n"
        "        ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^\n"
        "        abs_1 = fft_fft.abs()\n"
        "hint: give custom_convert_map a function of (node, importer) for it"
    )




def later(value, function):
    return function(value)


ATTENTION = nn.MultiheadAttention(2, 1).eval()
REFUSALS = {
    "the module CELU is not supported  [fx.module]": (lambda x, layer: layer(x), nn.CELU()),
    "the method cummax is not supported  [fx.method]": (lambda x: x.cummax(0),),
    "got an unexpected keyword argument 'out'": (lambda x: torch.sum(x, 0, out=x),),
    "hint: call model.eval() before tracing": (lambda x, layer: layer(x), nn.Dropout(0.1)),
    "a layer in training mode": (lambda x: F.dropout(x),),
    "a layer in training mode is not": (lambda x, layer: layer(x[None, :, :, None]), nn.BatchNorm2d(3)),
    "to change x in place while view, which may share memory": (lambda x: (x.view(-1), x.add_(1)),),
    "in place while x, which may share memory": (lambda x: x[0].add_(1) + x,),
    "to change a parameter in place": (lambda x, layer: layer.weight.mul_(2) + x, nn.Linear(2, 3)),
    "padding_mode='circular' is not supported": (lambda x, c: c(x[None]), nn.Conv1d(3, 3, 1, padding_mode="circular")),
    "var with correction is not": (lambda x: x.var(),),
    "to index by": (lambda x: x[x > 0],),
    "to index by (True,)": (lambda x: x[True],),
    "the type 'torch.DoubleTensor'": (lambda x: x.type("torch.DoubleTensor"),),
    "while contiguous, which may share memory": (lambda x: (x.contiguous(), x.add_(1)),),
    "while t, which may share memory": (lambda x: later(x.t(), lambda y: (y.contiguous().add_(1), y)),),
    "index 7 of an extent of 3": (lambda x: x[7],),
    "key_padding_mask=lv": (lambda x, a: a(x, x, x, key_padding_mask=x[:, 0] > 0), ATTENTION),
    "a tensor is needed, not NoneType": (lambda x, a: a(x, x, x, need_weights=False), ATTENTION),
    "operands of bfloat16 and float16": (lambda x: x.half() + x.bfloat16(),),
    "the attribute is_cuda of a tensor": (lambda x: x + x.is_cuda,),
}


@pytest.mark.parametrize("message", REFUSALS)
def test_what_is_refused(message):
    function, *layers = REFUSALS[message]
    assert message in refused(function, *layers)


def test_inputs_that_do_not_fit():
    model = traced(lambda x, layer: layer(x), nn.Linear(8, 3))
    with pytest.raises(MlcrefError, match=r"the model has 1 inputs \(x\), input_info 0  \[fx.input\]"):
        from_fx(model, [])
    with pytest.raises(TypeMismatch, match="the extents summed over: 7 and 8") as caught:
        from_fx(model, [((2, 7), "float32")])
    assert "while importing" in caught.value.__notes__[0]
    vm = VirtualMachine(compile_module(from_fx(model, [((2, 8), "float32")]), "cython"))
    with pytest.raises(CallError, match="x"):
        vm["main"](np.zeros((3, 8), "float32"))


def test_functions_of_the_same_name_from_elsewhere_are_refused():
    def relu(x):
        return x - 1

    graph = fx.Graph()
    graph.output(graph.call_function(relu, (graph.placeholder("x"),)))
    with pytest.raises(UnsupportedNode, match=r"the function .*relu is not supported"):
        from_fx(fx.GraphModule(nn.Module(), graph), [((2,), "float32")])


def test_the_table_names_what_torch_has():
    assert not [path for path in FUNCTIONS if look_up(path) is None]
    assert not [name for name in METHODS if not hasattr(torch.Tensor, name)]
    assert not [name for name in MODULES if not hasattr(nn, name)]


def test_the_tutorial(capsys):
    names = runpy.run_path(str(Path(mlcref.__file__).parents[1] / "examples" / "tutorial" / "bring_a_torch_model.py"))
    shown = capsys.readouterr().out
    for words in ("R.matmul(", "programs before fusion: 7\nprograms after it: 2", "100 of 100 predictions agree"):
        assert words in shown
    for words in ("Ankle boot", "the function torch.cumsum is not supported", "[[ 1.  3.  6. 10.]]"):
        assert words in shown
    assert names["bound"].error.max() < 0.1


def test_the_page():
    page = (Path(mlcref.__file__).parents[1] / "docs" / "importers.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"^```python\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    names: dict[str, object] = {}
    exec(compile(example, "importers.md", "exec"), names)
    assert bounded_graph(names["module"], names["x"].numpy()).covers(names["logits"].numpy()).all()
