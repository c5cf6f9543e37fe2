"""Your own library for a part of a model: say what it takes, what it calls, and let the oracle check it.

Run it: ``python examples/tutorial/your_own_library.py``. Each step prints what it made.
"""

from __future__ import annotations

import numpy as np

import mlcref as tvm
from mlcref import relax
from mlcref.contrib import blas
from mlcref.contrib.c_kernel import c_kernel
from mlcref.interp.graph import interpret_graph
from mlcref.relax.dpl import PatternContext, is_op, rewrite_bindings, wildcard
from mlcref.runtime import why_no_compiler

# ---- 1. A model: two dense layers, with weights that it carries along.

rng = np.random.default_rng(0)
w0, b0, w1 = (rng.normal(size=shape).astype("float32") for shape in ((784, 128), (128,), (128, 10)))

bb = relax.BlockBuilder()
x = relax.Var("x", relax.TensorStructInfo((1, 784), "float32"))
with bb.function("main", [x]):
    with bb.dataflow():
        hidden = bb.emit(relax.op.nn.relu(relax.op.add(relax.op.matmul(x, relax.const(w0)), relax.const(b0))))
        logits = bb.emit_output(relax.op.matmul(hidden, relax.const(w1)))
    bb.emit_func_output(logits)
model = bb.get()
image = rng.random((1, 784)).astype("float32")

# ---- 2. What the library takes: a pattern. The parts of it that are anything become what the library is given.

dense = is_op("relax.nn.relu")(is_op("relax.add")(is_op("relax.matmul")(wildcard(), wildcard()), wildcard()))
fused = relax.transform.FuseOpsByPattern([("mylib.dense", dense)], bind_constants=False, annotate_codegen=True)(model)
print(fused.script())

# ---- 3. The library: one function, which gets the graph function of each match and returns what to call for it.
#
# What it returns is called with numpy arrays: the inputs, then the results to fill.


@relax.register_library("mylib", override=True)
def mylib(func: relax.Function):
    print(f"asked for {func.attrs['Composite']} of {[str(param.struct_info) for param in func.params]}")

    def dense_layer(x, w, b, out):
        np.matmul(x, w, out=out)
        np.add(out, b, out=out)
        np.maximum(out, 0, out=out)

    return dense_layer


offloaded = relax.transform.RunCodegen()(fused)
print(offloaded.script())

# ---- 4. The oracle runs it as well, and checks each result of the library: it must be what the graph function says,
# up to what rounding explains. So does the virtual machine, without the check. All else is compiled as ever.

expected = interpret_graph(model, image)
checked = interpret_graph(offloaded, image)
executable = tvm.compile(relax.get_pipeline("zero")(offloaded), target="llvm")
vm = relax.VirtualMachine(executable, tvm.cpu())
result = vm["main"](image).numpy()
for place, found in {"the oracle": checked, "the machine": result}.items():
    print(f"largest difference in {place}: {np.abs(found - expected).max():.2g}")

# ---- 5. A library with a mistake: it forgets the bias.


@relax.register_library("careless", override=True)
def careless(func: relax.Function):
    return lambda x, w, b, out: np.maximum(x @ w, 0, out=out)


passes = [
    relax.transform.FuseOpsByPattern([("careless.dense", dense)], bind_constants=False, annotate_codegen=True),
    relax.transform.RunCodegen(),
]
try:
    interpret_graph(tvm.transform.Sequential(passes)(model), image)
except tvm.MlcrefError as error:
    print(error)

# ---- 6. A function of C instead. Its text is compiled here; a library may write it to the shapes that it is given.

SOURCE = """
void dense(const float *x, const float *w, const float *b, float *y) {{
    for (int j = 0; j < {columns}; ++j) y[j] = b[j];
    for (int k = 0; k < {terms}; ++k)
        for (int j = 0; j < {columns}; ++j) y[j] += x[k] * w[k * {columns} + j];
    for (int j = 0; j < {columns}; ++j) y[j] = y[j] > 0 ? y[j] : 0;
}}
"""


@relax.register_library("clib", override=True)
def clib(func: relax.Function):
    terms, columns = (int(extent) for extent in func.params[1].struct_info.shape)
    return c_kernel(func, "dense", SOURCE.format(terms=terms, columns=columns))


if why_no_compiler() is None:
    passes[0] = relax.transform.FuseOpsByPattern([("clib.dense", dense)], bind_constants=False, annotate_codegen=True)
    in_c = tvm.transform.Sequential(passes)(model)
    print(f"in C: {np.abs(interpret_graph(in_c, image) - expected).max():.2g}")

# ---- 7. A library that is there: the BLAS of numpy, for all products of a graph with what follows them.

print(blas.offload(model).script())

# ---- 8. Patterns for more than one call: two products of the same input become one, which is then cut in two.

x, wq, wk = (relax.Var(name, relax.TensorStructInfo((64, 64), "float32")) for name in ("x", "wq", "wk"))
bb = relax.BlockBuilder()
with bb.function("main", [x, wq, wk]):
    with bb.dataflow():
        q, k = bb.emit(relax.op.matmul(x, wq)), bb.emit(relax.op.matmul(x, wk))
        scores = bb.emit_output(relax.op.matmul(q, relax.op.permute_dims(k)))
    bb.emit_func_output(scores)
attention = bb.get()["main"]

v, first, second = wildcard(), wildcard(), wildcard()
with PatternContext() as ctx:
    left, right = is_op("relax.matmul")(v, first), is_op("relax.matmul")(v, second)


def once(found, bindings):
    both = relax.op.matmul(found[v], relax.op.concat([found[first], found[second]], axis=1))
    halves = relax.op.split(both, 2, axis=1)
    return {found[left]: relax.TupleGetItem(halves, 0), found[right]: relax.TupleGetItem(halves, 1)}


rewritten = rewrite_bindings(ctx, once, attention)
print(rewritten.script())
arguments = [rng.integers(-3, 4, (64, 64)).astype("float32") for _ in range(3)]
print("equal:", np.array_equal(interpret_graph(rewritten, *arguments), interpret_graph(attention, *arguments)))
