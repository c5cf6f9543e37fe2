"""A model end to end: a graph of primitive tensor functions and library calls, compiled, run, its weights bound.

Run it: ``python examples/tutorial/end_to_end.py``. Each step prints what it made. The model classifies pictures of
clothes (Fashion-MNIST); pictures and weights come with mlcref.
"""

from __future__ import annotations

import numpy as np

import mlcref as tvm
from mlcref import relax
from mlcref.demo.dataset import load_images, load_weights
from mlcref.script import relax as R
from mlcref.script import tir as T

pictures = load_images(shipped=True).first(50)
weights = load_weights()


def predicted_by_numpy(x: np.ndarray) -> np.ndarray:
    hidden = np.maximum(x @ weights["w0"].T + weights["b0"], 0)
    return hidden @ weights["w1"].T + weights["b1"]


# ---- 1. Two tensor programs of symbolic shape, and a graph function that calls them. `R.call_dps_packed` passes the
# memory of the result last, as primitive tensor functions want it; what it returns is that memory, so that the graph
# has values and no effects. A name that is no function of the module is looked up among registered ones.


@tvm.script.ir_module
class Model:
    @T.prim_func
    def linear(x: T.handle, w: T.handle, b: T.handle, z: T.handle):
        m, n = T.int64(), T.int64()
        X, W = T.match_buffer(x, (1, m), "float32"), T.match_buffer(w, (n, m), "float32")
        B, Z = T.match_buffer(b, (n,), "float32"), T.match_buffer(z, (1, n), "float32")
        for i, j, k in T.grid(1, n, m):
            with T.block("Z"):
                vi, vj, vk = T.axis.remap("SSR", [i, j, k])
                with T.init():
                    Z[vi, vj] = B[vj]
                Z[vi, vj] = Z[vi, vj] + X[vi, vk] * W[vj, vk]

    @R.function
    def main(
        x: R.Tensor((1, "m"), "float32"), w0: R.Tensor(("n", "m"), "float32"), b0: R.Tensor(("n",), "float32"),
        w1: R.Tensor(("k", "n"), "float32"), b1: R.Tensor(("k",), "float32"),
    ):  # fmt: skip
        n, k = T.int64(), T.int64()
        with R.dataflow():
            lv0 = R.call_dps_packed("linear", (x, w0, b0), R.Tensor((1, n), "float32"))
            lv1 = R.call_dps_packed("tutorial.relu", (lv0,), R.Tensor((1, n), "float32"))
            out = R.call_dps_packed("linear", (lv1, w1, b1), R.Tensor((1, k), "float32"))
            R.output(out)
        return out


print(Model.script())

# ---- 2. The library: one function, in numpy, that fills its last argument. Tensors share their memory by DLPack.


@tvm.register_global_func("tutorial.relu", override=True)
def relu(x: tvm.runtime.Tensor, out: tvm.runtime.Tensor) -> None:
    np.maximum(np.from_dlpack(x), np.float32(0), out=np.from_dlpack(out))


# ---- 3. What the graph means: the oracle runs every call by itself.

x = pictures.images[:1].reshape(1, 784)
names = ("w0", "b0", "w1", "b1")
meant = tvm.interpret_graph(Model, x, *[weights[name] for name in names])
assert np.abs(meant - predicted_by_numpy(x)).max() < 1e-3

# ---- 4. Compiled, it is a program of a virtual machine: one instruction per call, and memory planned ahead.

vm = relax.VirtualMachine(tvm.compile(Model, target="cython"), tvm.cpu())
found = vm["main"](tvm.runtime.tensor(x), *[tvm.runtime.tensor(weights[name]) for name in names])
assert np.abs(found.numpy() - meant).max() < 1e-3
print("it sees:", ("T-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "boot")[
    int(found.numpy().argmax())])  # fmt: skip

# ---- 5. The weights do not change from call to call: bound to the module, they are constants, and sizes are numbers.

bound = relax.transform.BindParams("main", weights)(Model)
assert [param.name_hint for param in bound["main"].params] == ["x"]
print(bound["main"].params[0].struct_info)
vm = relax.VirtualMachine(tvm.compile(bound, target="cython"), tvm.cpu())
right = 0
for picture, label in zip(pictures.images, pictures.labels, strict=True):
    scores = vm["main"](picture.reshape(1, 784)).numpy()
    right += int(scores.argmax() == label)
    assert scores.argmax() == predicted_by_numpy(picture.reshape(1, 784)).argmax()
print(f"{right} of {len(pictures)} pictures recognised")
assert right > 40

# ---- 6. A program of the module may be exchanged for another one that means the same; the graph does not notice. This
# schedule sums up two columns side by side, for whatever sizes the layers have.

sch = tvm.tir.Schedule(tvm.IRModule({"linear": bound["linear"]}))
i, j, k = sch.get_loops(sch.get_block("Z", func_name="linear"))
j_0, j_1 = sch.split(j, factors=[None, 2])
sch.reorder(i, j_0, k, j_1)
sch.unroll(j_1)
exchanged = bound.clone()
exchanged.update_func(exchanged.get_global_var("linear"), sch.mod["linear"])
print(exchanged["linear"].script())

other = relax.VirtualMachine(tvm.compile(exchanged, target="cython"), tvm.cpu())
picture = pictures.images[:1].reshape(1, 784)
assert np.array_equal(other["main"](picture).numpy(), vm["main"](picture).numpy())
for name, machine in {"as written": vm, "two columns": other}.items():
    print(f"{name}: {machine.module.time_evaluator('main', tvm.cpu(), number=10)(picture).mean * 1e6:.0f} us")

# ---- 7. The pipeline does that for all programs, and for what stands between them: see graph_optimization.py.

tvm.remove_global_func("tutorial.relu")
