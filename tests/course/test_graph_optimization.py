"""The course's chapter "Computational Graph Optimization": its code in its order, with its assertions.

The image and the weights are those that mlcref ships; plots are left out. The last blocks compile the fused model and
run it.
"""
# ruff: noqa: RET504

import numpy as np

import mlcref as tvm
from mlcref import relax, topi
from mlcref.demo.dataset import load_images, load_weights
from mlcref.script import relax as R
from tests.course.marks import blocks_of

chapter = blocks_of("graph_optimization")

# ---- Pattern match and rewriting


@tvm.script.ir_module
class MyModule:
    @R.function
    def main(x: R.Tensor((3, 4), "float32"), y: R.Tensor((3, 4), "float32")):
        with R.dataflow():
            lv0 = relax.op.multiply(x, y)
            gv0 = relax.op.add(lv0, y)
            R.output(gv0)
        return gv0


relax_func = MyModule["main"]


@chapter((1, 8), (10, 13))
def test_the_parts_of_a_function():
    assert type(relax_func) is relax.Function
    assert [param.name_hint for param in relax_func.params] == ["x", "y"]
    func_body = relax_func.body
    assert type(func_body) is relax.SeqExpr
    assert [type(block) for block in func_body.blocks] == [relax.DataflowBlock]
    dataflow_block = func_body.blocks[0]
    binding = dataflow_block.bindings[0]
    assert binding.var.name_hint == "lv0"
    assert isinstance(binding.value, relax.Call)
    assert binding.value.op == tvm.ir.Op.get("relax.multiply")


@relax.expr_functor.mutator
class EwiseFMARewriter(relax.PyExprMutator):
    def visit_call_(self, call):
        call = self.visit_expr_post_order(call)
        add_op = tvm.ir.Op.get("relax.add")
        multiply_op = tvm.ir.Op.get("relax.multiply")
        ewise_fma_op = tvm.ir.Op.get("relax.ewise_fma")

        if call.op != add_op:
            return call

        value = self.lookup_binding(call.args[0])
        if value is None:
            return call

        if not isinstance(value, relax.Call) or value.op != multiply_op:
            return call

        fma_call = relax.Call(
            ewise_fma_op, [value.args[0], value.args[1], call.args[1]], None, None
        )
        return fma_call


updated_fn = EwiseFMARewriter().visit_expr(MyModule["main"])


def operators(func):
    """The names of the operators that a function calls."""
    return [binding.value.op.name for binding in func.bindings()]


@chapter(14, 15)
def test_a_fused_multiply_add_takes_the_place_of_the_addition():
    assert operators(updated_fn) == ["relax.multiply", "relax.ewise_fma"]
    assert operators(relax.analysis.remove_all_unused(updated_fn)) == ["relax.ewise_fma"]
    x, y = np.arange(24, dtype="float32").reshape(2, 3, 4)
    expected = tvm.interpret_graph(MyModule, x, y)
    assert np.array_equal(tvm.interpret_graph(relax.analysis.remove_all_unused(updated_fn), x, y), expected)


# ---- Fuse linear and ReLU

mlp_params = load_weights()


def create_model():
    bb = relax.BlockBuilder()
    x = relax.Var("x", relax.TensorStructInfo((1, 784), "float32"))
    w0 = relax.const(mlp_params["w0"], "float32")
    b0 = relax.const(mlp_params["b0"], "float32")
    w1 = relax.const(mlp_params["w1"], "float32")
    b1 = relax.const(mlp_params["b1"], "float32")
    with bb.function("main", [x]):
        with bb.dataflow():
            lv0 = bb.emit(relax.op.matmul(x, relax.op.permute_dims(w0)))
            lv1 = bb.emit(relax.op.add(lv0, b0))
            lv2 = bb.emit(relax.op.nn.relu(lv1))
            lv3 = bb.emit(relax.op.matmul(lv2, relax.op.permute_dims(w1)))
            lv4 = bb.emit(relax.op.add(lv3, b1))
            gv = bb.emit_output(lv4)
        bb.emit_func_output(gv)

    return bb.get()


MLPModel = create_model()


@relax.expr_functor.mutator
class MatmulAddFusor(relax.PyExprMutator):
    def __init__(self, mod: tvm.IRModule) -> None:
        super().__init__()
        self.mod_ = mod
        # cache pre-defined ops
        self.add_op = tvm.ir.Op.get("relax.add")
        self.dense_op = tvm.ir.Op.get("relax.matmul")
        self.counter = 0

    def transform(self) -> tvm.IRModule:
        for global_var, func in self.mod_.functions.items():
            if not isinstance(func, relax.Function):
                continue
            # avoid already fused primitive functions
            if func.attrs is not None and "Primitive" in func.attrs.keys() and func.attrs["Primitive"] != 0:  # noqa: SIM118
                continue
            updated_func = self.visit_expr(func)
            updated_func = relax.analysis.remove_all_unused(updated_func)
            self.builder_.update_func(global_var, updated_func)

        return self.builder_.get()

    def visit_call_(self, call):
        call = self.visit_expr_post_order(call)

        def match_call(node, op):
            if not isinstance(node, relax.Call):
                return False
            return node.op == op

        # pattern match dense => add
        if not match_call(call, self.add_op):
            return call

        value = self.lookup_binding(call.args[0])
        if value is None:
            return call

        if not match_call(value, self.dense_op):
            return call

        x = value.args[0]
        w = value.args[1]
        b = call.args[1]

        # construct a new fused primitive function
        param_x = relax.Var("x", relax.TensorStructInfo(x.struct_info.shape, x.struct_info.dtype))
        param_w = relax.Var("w", relax.TensorStructInfo(w.struct_info.shape, w.struct_info.dtype))
        param_b = relax.Var("b", relax.TensorStructInfo(b.struct_info.shape, b.struct_info.dtype))

        bb = relax.BlockBuilder()

        fn_name = "fused_dense_add%d" % (self.counter)  # noqa: UP031
        self.counter += 1
        with bb.function(fn_name, [param_x, param_w, param_b]):
            with bb.dataflow():
                lv0 = bb.emit(relax.op.matmul(param_x, param_w))
                gv = bb.emit_output(relax.op.add(lv0, param_b))
            bb.emit_func_output(gv)

        # Add Primitive attribute to the fused funtions
        fused_fn = bb.get()[fn_name].with_attr("Primitive", 1)
        global_var = self.builder_.add_func(fused_fn, fn_name)

        # construct call into the fused function
        return relax.Call(global_var, [x, w, b], None, None)


@tvm.ir.transform.module_pass(opt_level=2, name="MatmulAddFuse")
class FuseDenseAddPass:
    """The wrapper for the LowerTensorIR pass."""

    def transform_module(self, mod, ctx):
        return MatmulAddFusor(mod).transform()


MLPFused = FuseDenseAddPass()(MLPModel)


@chapter((16, 19))
def test_dense_and_add_are_fused():
    assert set(MLPFused) == {"main", "fused_dense_add0", "fused_dense_add1"}
    relax.wellformed_graph(MLPFused)
    called = [binding.value.op for binding in MLPFused["main"].bindings() if isinstance(binding.value, relax.Call)]
    names = [op.name_hint for op in called if isinstance(op, relax.GlobalVar)]
    assert names == ["fused_dense_add0", "fused_dense_add1"]
    assert tvm.ir.Op.get("relax.add") not in called


# ---- Map to TensorIR calls


@relax.expr_functor.mutator
class LowerToTensorIR(relax.PyExprMutator):
    def __init__(self, mod: tvm.IRModule, op_map) -> None:
        super().__init__()
        self.mod_ = mod
        self.op_map = {
            tvm.ir.Op.get(k): v for k, v in op_map.items()
        }

    def visit_call_(self, call):
        call = self.visit_expr_post_order(call)

        if call.op in self.op_map:
            return self.op_map[call.op](self.builder_, call)
        return call

    def transform(self) -> tvm.IRModule:
        for global_var, func in self.mod_.functions.items():
            if not isinstance(func, relax.Function):
                continue
            updated_func = self.visit_expr(func)
            self.builder_.update_func(global_var, updated_func)

        return self.builder_.get()


def map_matmul(bb, call):
    x, w = call.args
    return bb.call_te(topi.nn.matmul, x, w)


def map_add(bb, call):
    a, b = call.args
    return bb.call_te(topi.add, a, b)


def map_relu(bb, call):
    return bb.call_te(topi.nn.relu, call.args[0])


def map_transpose(bb, call):
    return bb.call_te(topi.transpose, call.args[0])


op_map = {
    "relax.matmul": map_matmul,
    "relax.add": map_add,
    "relax.nn.relu": map_relu,
    "relax.permute_dims": map_transpose,
}


@tvm.ir.transform.module_pass(opt_level=0, name="LowerToTensorIR")
class LowerToTensorIRPass:
    """The wrapper for the LowerTensorIR pass."""

    def transform_module(self, mod, ctx):
        return LowerToTensorIR(mod, op_map).transform()


MLPModelTIR = LowerToTensorIRPass()(MLPFused)


@chapter(20)
def test_every_operator_is_a_tensor_program():
    relax.wellformed_graph(MLPModelTIR)
    assert set(MLPModelTIR.prim_funcs()) == {"transpose", "transpose1", "matmul", "matmul1", "add", "add1", "relu"}


# ---- Fuse the TensorIR functions

MLPModelFinal = relax.transform.FuseTIR()(MLPModelTIR)


@chapter(21)
def test_the_fused_functions_are_tensor_programs():
    assert {"fused_dense_add0", "fused_dense_add1"} <= set(MLPModelFinal.prim_funcs())


@chapter(22, 24)
def test_the_model_runs():
    test_data = load_images(shipped=True)
    img = test_data.images[:1].reshape(1, 784)
    ex = tvm.compile(MLPModelFinal, target="llvm")
    vm = relax.VirtualMachine(ex, tvm.cpu())
    data_nd = tvm.runtime.tensor(img.reshape(1, 784))

    nd_res = vm["main"](data_nd)

    pred_kind = np.argmax(nd_res.numpy(), axis=1)
    assert pred_kind[0] == test_data.labels[0]
    np.testing.assert_allclose(nd_res.numpy(), tvm.interpret_graph(MLPModel, img), rtol=1e-4, atol=1e-4)
