"""The course's chapter "Integration with Machine Learning Frameworks": its code in its order, with its assertions.

Blocks that need torch are skipped where it is not installed. The image and the weights are those that mlcref ships.
"""

import numpy as np
import pytest

import mlcref as tvm
from mlcref import relax, te, topi
from mlcref.demo.dataset import load_images, load_weights
from mlcref.ir import assert_structural_equal
from mlcref.script.print_graph import metadata_of
from tests.course.marks import blocks_of

chapter = blocks_of("integration")

# ---- Build an IRModule through a builder: create TensorIR from tensor expression

A = te.placeholder((128, 128), name="A", dtype="float32")
B = te.placeholder((128, 128), name="B", dtype="float32")


def te_matmul(A: te.Tensor, B: te.Tensor) -> te.Tensor:
    assert A.shape[1] == B.shape[0]
    n = A.shape[0]
    m = B.shape[1]
    k = te.reduce_axis((0, A.shape[1]), name="k")
    return te.compute((n, m), lambda i, j: te.sum(A[i, k] * B[k, j], axis=k), name="matmul")


C = te_matmul(A, B)


def blocks(func):
    return [block.name for block in tvm.ir.blocks_in(func) if block.name != "root"]


@chapter(1, (3, 9))
def test_a_tensor_expression_becomes_a_tensor_program(capsys):
    te.create_prim_func([A, B, C]).show()
    assert 'with T.block("matmul"):' in capsys.readouterr().out


def te_relu(A: te.Tensor) -> te.Tensor:
    return te.compute(A.shape, lambda *i: te.max(A(*i), 0), name="relu")


@chapter((10, 12))
def test_one_function_for_every_number_of_dimensions():
    X1 = te.placeholder((10,), name="X1", dtype="float32")
    Y1 = te_relu(X1)
    X2 = te.placeholder((10, 20), name="X1", dtype="float32")
    Y2 = te_relu(X2)
    assert [te.create_prim_func(args).params[1].ndim for args in ([X1, Y1], [X2, Y2])] == [1, 2]


@chapter((13, 15))
def test_intermediate_tensors_are_inside_or_parameters():
    C = te_matmul(A, B)
    D = te_relu(C)
    inside, outside = te.create_prim_func([A, B, D]), te.create_prim_func([A, B, C, D])
    assert [param.name for param in inside.params] == ["A", "B", "relu"]
    assert [param.name for param in outside.params] == ["A", "B", "matmul", "relu"]
    assert blocks(inside) == blocks(outside) == ["matmul", "relu"]


# ---- Use BlockBuilder to create an IRModule


def build():
    A = relax.Var("A", relax.TensorStructInfo((128, 128), "float32"))
    B = relax.Var("B", relax.TensorStructInfo((128, 128), "float32"))
    bb = relax.BlockBuilder()

    with bb.function("main"):
        with bb.dataflow():
            C = bb.emit_te(te_matmul, A, B)
            D = bb.emit_te(te_relu, C)
            R = bb.emit_output(D)
        bb.emit_func_output(R, params=[A, B])
    return bb.get()


@chapter(16, 17, 24)
def test_a_module_from_tensor_expressions():
    MyModule = build()
    assert list(MyModule) == ["te_matmul", "te_relu", "main"]
    relax.wellformed_graph(MyModule)
    assert [binding.var.name_hint for binding in MyModule["main"].bindings()] == ["lv", "lv1", "gv"]
    a, b = np.random.default_rng(0).standard_normal((2, 128, 128), "float32")
    vm = relax.VirtualMachine(tvm.compile(MyModule, target="llvm"), tvm.cpu())
    np.testing.assert_allclose(vm["main"](a, b).numpy(), np.maximum(a @ b, 0), rtol=1e-4, atol=1e-4)


@chapter(19, 20, 25)
def test_parameters_may_be_given_in_the_beginning():
    A = relax.Var("A", relax.TensorStructInfo((128, 128), "float32"))
    B = relax.Var("B", relax.TensorStructInfo((128, 128), "float32"))
    bb = relax.BlockBuilder()
    with bb.function("main", params=[A, B]):
        with bb.dataflow():
            C = bb.emit_te(te_matmul, A, B)
            assert type(C) is relax.DataflowVar
            assert isinstance(C, relax.Var)
            D = bb.emit_te(te_relu, C)
            R = bb.emit_output(D)
        bb.emit_func_output(R)
    assert_structural_equal(bb.get(), build())


# ---- Import a model from PyTorch


def map_param(param):
    return relax.const(param.data.cpu().numpy(), "float32")


def fetch_attr(fx_mod, target: str):
    """Helper function to fetch an attr"""
    target_atoms = target.split(".")
    attr_itr = fx_mod
    for i, atom in enumerate(target_atoms):
        if not hasattr(attr_itr, atom):
            raise RuntimeError(f"Node referenced nonexistant target {'.'.join(target_atoms[:i])}")
        attr_itr = getattr(attr_itr, atom)
    return attr_itr


def from_fx(fx_mod, input_shapes, call_function_map, call_module_map):
    input_index = 0
    node_map = {}
    named_modules = dict(fx_mod.named_modules())

    bb = relax.BlockBuilder()

    fn_inputs = []
    fn_output = None
    with bb.function("main"):
        with bb.dataflow():
            for node in fx_mod.graph.nodes:
                if node.op == "placeholder":
                    # create input placeholder
                    shape = input_shapes[input_index]
                    input_index += 1
                    input_var = relax.Var(node.target, relax.TensorStructInfo(shape, "float32"))
                    fn_inputs.append(input_var)
                    node_map[node] = input_var
                elif node.op == "get_attr":
                    node_map[node] = map_param(fetch_attr(fx_mod, node.target))
                elif node.op == "call_function":
                    node_map[node] = call_function_map[node.target](bb, node_map, node)
                elif node.op == "call_module":
                    named_module = named_modules[node.target]
                    node_map[node] = call_module_map[type(named_module)](bb, node_map, node, named_module)
                elif node.op == "output":
                    output = node_map[node.args[0]]
                    assert fn_output is None
                    fn_output = bb.emit_output(output)
        # output and finalize the function
        bb.emit_func_output(output, fn_inputs)
    return bb.get()


def map_matmul(bb, node_map, node):
    A = node_map[node.args[0]]
    B = node_map[node.args[1]]
    return bb.emit_te(te_matmul, A, B)


def map_relu(bb, node_map, node):
    A = node_map[node.args[0]]
    return bb.emit_te(te_relu, A)


@chapter(2, (26, 30))
def test_a_traced_model():
    torch = pytest.importorskip("torch", reason="the chapter imports a model of torch")
    from torch import fx, nn

    class MyModel(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.randn(128, 128))

        def forward(self, x):
            x = torch.matmul(x, self.weight)
            return torch.relu(x)

    model = MyModel()
    fx_module = fx.symbolic_trace(model)
    assert isinstance(fx_module, fx.GraphModule)
    operations = ["placeholder", "get_attr", "call_function", "call_function", "output"]
    assert [node.op for node in fx_module.graph.nodes] == operations
    MyModule = from_fx(
        fx_module,
        input_shapes=[(1, 128)],
        call_function_map={
            torch.matmul: map_matmul,
            torch.relu: map_relu,
        },
        call_module_map={},
    )
    relax.wellformed_graph(MyModule)
    x = torch.randn(1, 128)
    vm = relax.VirtualMachine(tvm.compile(MyModule, target="llvm"), tvm.cpu())
    np.testing.assert_allclose(vm["main"](x).numpy(), model(x).detach().numpy(), rtol=1e-4, atol=1e-4)


# ---- Coming back to FashionMNIST example


def map_nn_linear(bb, node_map, node, nn_mod):
    x = node_map[node.args[0]]
    w = map_param(nn_mod.weight)
    if nn_mod.bias is not None:
        b = map_param(nn_mod.bias)
    y = bb.emit_te(topi.nn.dense, x, w)
    return bb.emit_te(topi.add, y, b)


def map_nn_relu(bb, node_map, node, nn_mod):
    return map_relu(bb, node_map, node)


def map_nn_relu_op(bb, node_map, node, nn_mod):
    A = node_map[node.args[0]]
    return bb.emit(relax.op.nn.relu(A))


def map_nn_linear_op(bb, node_map, node, nn_mod):
    x = node_map[node.args[0]]
    w = map_param(nn_mod.weight)
    b = map_param(nn_mod.bias)
    return bb.emit(relax.op.linear(x, w, b))


def mlp(torch):
    class MLP(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.linear0 = torch.nn.Linear(784, 128, bias=True)
            self.relu = torch.nn.ReLU()
            self.linear1 = torch.nn.Linear(128, 10, bias=True)

        def forward(self, x):
            x = self.linear0(x)
            x = self.relu(x)
            return self.linear1(x)

    model, params = MLP(), load_weights()
    for name, layer in (("0", model.linear0), ("1", model.linear1)):
        layer.weight.data = torch.from_numpy(params[f"w{name}"].copy())
        layer.bias.data = torch.from_numpy(params[f"b{name}"].copy())
    return model


@chapter(31, (33, 39))
@pytest.mark.parametrize("level", ["tensor expressions", "operators"])
def test_the_model_classifies_as_torch_does(level):
    torch = pytest.importorskip("torch", reason="the chapter imports a model of torch")
    model = mlp(torch)
    maps = {
        "tensor expressions": {torch.nn.Linear: map_nn_linear, torch.nn.ReLU: map_nn_relu},
        "operators": {torch.nn.Linear: map_nn_linear_op, torch.nn.ReLU: map_nn_relu_op},
    }
    MLPModule = from_fx(
        torch.fx.symbolic_trace(model), input_shapes=[(1, 784)], call_function_map={}, call_module_map=maps[level]
    )
    relax.wellformed_graph(MLPModule)
    ex = tvm.compile(MLPModule, target="llvm")
    vm = relax.VirtualMachine(ex, tvm.cpu())
    test_data = load_images(shipped=True)
    for img, label in zip(test_data.images[:8].reshape(8, 1, 784), test_data.labels[:8], strict=True):
        nd_res = vm["main"](tvm.runtime.tensor(img)).numpy()
        torch_res = model(torch.from_numpy(img.copy())).detach().numpy()
        np.testing.assert_allclose(nd_res, torch_res, rtol=1e-4, atol=1e-3)
        assert nd_res.argmax() == torch_res.argmax()


@chapter(39)
def test_operators_stay_operators_until_they_are_lowered():
    """``relax.op.linear`` is three operators; the same as the script of the chapter's last block."""
    x = relax.Var("x", relax.TensorStructInfo((1, 784), "float32"))
    w, b = relax.const(np.ones((128, 784), "float32")), relax.const(np.ones(128, "float32"))
    bb = relax.BlockBuilder()
    with bb.function("main", [x]):
        with bb.dataflow():
            lv = bb.emit(relax.op.linear(x, w, b))
            gv = bb.emit_output(relax.op.nn.relu(lv))
        bb.emit_func_output(gv)
    module = bb.get()
    names = [binding.value.op.name for binding in module["main"].bindings()]
    assert names == ["relax.permute_dims", "relax.matmul", "relax.add", "relax.nn.relu"]
    again = tvm.script.from_source(module.script(), env={"metadata": metadata_of(module)})
    assert_structural_equal(again, module)
