"""Bring a torch model: traced, imported, looked at, scheduled, compiled, checked, timed.

Run it: ``python examples/tutorial/bring_a_torch_model.py``. It needs torch. Each step prints what it made.
"""

from __future__ import annotations

from collections import Counter
from time import perf_counter

import numpy as np
import torch
from torch import fx, nn

import mlcref as tvm
from mlcref import relax
from mlcref.demo.dataset import load_images, load_weights
from mlcref.importers import UnsupportedNode, from_fx
from mlcref.testing.graph_bounds import bounded_graph

TARGET = "cython --num-cores=1"

# ---- 1. A model. This one classifies pictures of clothes; its weights come with mlcref.

model = nn.Sequential(nn.Linear(784, 128), nn.ReLU(), nn.Linear(128, 10)).eval()
for layer, number in ((model[0], 0), (model[2], 1)):
    layer.weight.data, layer.bias.data = (torch.from_numpy(load_weights()[f"{kind}{number}"].copy()) for kind in "wb")

# ---- 2. torch.fx runs the model on stand-ins and writes down what it calls. The importer reads that list.

traced = fx.symbolic_trace(model)
print(traced.code)
module = from_fx(traced, [((1, 784), "float32")])
module.show()

# ---- 3. The graph as it runs: operators become tensor programs, neighbours are fused, each program gets a schedule,
# and weights get the layout that the schedule wants.

optimised = relax.get_pipeline("autoschedule", target=TARGET)(module)
print("programs before fusion:", len(relax.transform.LegalizeOps()(module)) - 1)
print("programs after it:", Counter(type(func).__name__ for func in optimised.functions.values())["PrimFunc"])
vm = relax.VirtualMachine(tvm.compile(optimised, TARGET), tvm.cpu())

# ---- 4. Is it right? Rounding differs from implementation to implementation, but not without limit: for each logit
# there is a bound that follows from the sums and products above. torch keeps to it, and so does what was compiled.

images = load_images(shipped=True).first(100)
agree = 0
for image in images.images[:, None]:
    bound = bounded_graph(module, image)
    ours = vm["main"](image).numpy()
    with torch.no_grad():
        theirs = model(torch.from_numpy(image)).numpy()
    assert bound.covers(ours).all() and bound.covers(theirs).all()
    agree += int(ours.argmax() == theirs.argmax())
print(f"{agree} of {len(images)} predictions agree; the logits may be off by {bound.error.max():.1g}")

# ---- 5. Tensors go back and forth without a copy.

x = torch.from_numpy(images.images[:1])
print(images.class_names[int(torch.from_dlpack(vm["main"](x)).argmax())])


def microseconds(call, argument, count=2000):
    """The median time of a call."""
    taken = []
    for _ in range(count):
        start = perf_counter()
        call(argument)
        taken.append(perf_counter() - start)
    return float(np.median(taken)) * 1e6


with torch.inference_mode():
    torch.set_num_threads(1)
    print(f"torch {microseconds(model, x):.1f} µs, mlcref {microseconds(vm['main'], images.images[:1]):.1f} µs")

# ---- 6. What the importer does not know, it says, and where. A conversion of your own can stand in.


class Ranked(nn.Module):
    """Running sums of the logits."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.cumsum(x, 1)


ranked = fx.symbolic_trace(Ranked())
try:
    from_fx(ranked, [((1, 10), "float32")])
except UnsupportedNode as error:
    print(error)


def cumsum(node, importer):
    """``torch.cumsum`` by the operator of topi."""
    return importer.block_builder.emit_te(tvm.topi.cumsum, importer.env[node.args[0]], node.args[1])


taught = from_fx(ranked, [((1, 4), "float32")], custom_convert_map={"cumsum": cumsum})
print(tvm.interpret_graph(taught, np.float32([[1, 2, 3, 4]])))
