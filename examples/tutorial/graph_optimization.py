"""Graph optimisation: operators are found, exchanged, made into tensor programs and fused; each step means the same.

Run it: ``python examples/tutorial/graph_optimization.py``. Each step prints what it made. The model classifies pictures
of clothes (Fashion-MNIST); pictures and weights come with mlcref.
"""

from __future__ import annotations

import numpy as np

import mlcref as tvm
from mlcref import relax, te, topi
from mlcref.demo.dataset import load_images, load_weights
from mlcref.relax.dpl import is_op, rewrite_call, wildcard

TARGET = "cython --num-cores=1"
pictures = load_images(shipped=True).first(20)
weights = load_weights()
x = pictures.images[:1].reshape(1, 784)

# ---- 1. The model, emitted operator by operator. Each call infers type and shape of what it gives.

bb = relax.BlockBuilder()
picture = relax.Var("x", relax.TensorStructInfo((1, 784), "float32"))
w0, b0, w1, b1 = (relax.const(weights[name], "float32") for name in ("w0", "b0", "w1", "b1"))
with bb.function("main", [picture]):
    with bb.dataflow():
        hidden = bb.emit(relax.op.nn.relu(relax.op.linear(picture, w0, b0)))
        doubled = bb.emit(relax.op.add(hidden, hidden))
        scores = bb.emit_output(relax.op.linear(doubled, w1, b1))
    bb.emit_func_output(scores)
model = bb.get()


def operators(module: tvm.IRModule) -> list[str]:
    """The operators that the main function calls, in order."""
    calls = [binding.value for binding in module["main"].bindings()]
    return [call.op.name.removeprefix("relax.") for call in calls if isinstance(call, relax.Call)]


def means_the_same(module: tvm.IRModule) -> bool:
    """Within rounding: the oracle runs both graphs."""
    found, expected = (tvm.interpret_graph(one, x) for one in (module, model))
    return bool(np.abs(found - expected).max() < 1e-3)


model.show()
print(operators(model))
assert operators(model)[:4] == ["permute_dims", "matmul", "add", "nn.relu"]

# ---- 2. A rewriting by pattern: what is added to itself is multiplied by 2.

summand = wildcard()
pattern = is_op("relax.add")(summand, summand)


def twice(call: relax.Call, matched: dict) -> relax.Call:
    return relax.op.multiply(matched[summand], relax.const(np.float32(2)))


rewritten = tvm.IRModule({"main": rewrite_call(pattern, twice, model["main"])})
print(operators(rewritten))
assert operators(rewritten).count("multiply") == 1 and means_the_same(rewritten)

# ---- 3. A pass of one's own: a mutator visits every call, here to make one of a product and its bias.


@relax.expr_functor.mutator
class LinearLayers(relax.PyExprMutator):
    """Exchanges additions to products for calls of one tensor program that does both."""

    def visit_call_(self, call: relax.Call) -> relax.Call:
        call = self.visit_expr_post_order(call)
        product = self.lookup_binding(call.args[0]) if call.op == tvm.ir.Op.get("relax.add") else None
        if not isinstance(product, relax.Call) or product.op != tvm.ir.Op.get("relax.matmul"):
            return call
        return self.builder_.call_te(matmul_add, *product.args, call.args[1])


def matmul_add(a: te.Tensor, b: te.Tensor, bias: te.Tensor) -> te.Tensor:
    return topi.add(topi.nn.matmul(a, b), bias)


@tvm.ir.transform.module_pass(opt_level=0, name="CallLinearLayers")
class CallLinearLayers:
    def transform_module(self, module: tvm.IRModule, ctx: object) -> tvm.IRModule:
        mutator = LinearLayers(module)
        changed = mutator.visit_expr(module["main"])
        mutator.builder_.update_func(module.get_global_var("main"), relax.analysis.remove_all_unused(changed))
        return mutator.builder_.get()


by_hand = CallLinearLayers()(model)
print(by_hand["main"].script())
assert means_the_same(by_hand)

# ---- 4. Nobody has to write that: the passes that stand do it for all operators, in an order that is called "zero".
# What follows from constants is computed, operators become tensor programs, and neighbours become one.

steps = [
    relax.transform.FoldConstant(), relax.transform.LegalizeOps(), relax.transform.FoldConstant(),
    relax.transform.AnnotateTIROpPattern(), relax.transform.FuseOps(), relax.transform.FuseTIR(),
]  # fmt: skip
stage = model
for step in steps:
    stage = step(stage)
    assert means_the_same(stage)
    bindings, programs = list(stage["main"].bindings()), stage.prim_funcs()
    print(f"{step.info.name}: {len(bindings)} bindings, {len(programs)} tensor programs")
fused = relax.get_pipeline("zero")(model)
print(sorted(fused.prim_funcs()))
assert len(fused.prim_funcs()) < len(relax.transform.LegalizeOps()(model).prim_funcs())

# ---- 5. And with schedules by rules, which also say in which layout they want the weights.

fast = relax.get_pipeline("autoschedule", target=TARGET)(model)
assert means_the_same(fast)
milliseconds = {}
for name, module in {"operator by operator": relax.transform.LegalizeOps()(model), "fused, scheduled": fast}.items():
    vm = relax.VirtualMachine(tvm.compile(module, TARGET), tvm.cpu())
    for image in pictures.images:
        scores = vm["main"](image.reshape(1, 784)).numpy()
        assert scores.argmax() == tvm.interpret_graph(model, image.reshape(1, 784)).argmax()
    milliseconds[name] = vm.module.time_evaluator("main", tvm.cpu(), number=20)(x).mean * 1e3
    print(f"{name}: {milliseconds[name]:.3f} ms")
assert milliseconds["fused, scheduled"] < milliseconds["operator by operator"]
