"""The course's two classifiers, imported from torch, beside torch and ONNX Runtime: ``python -m bench.models``.

The multilayer perceptron 784-128-10 has the weights of the demo; the convolutional network is trained here for a few
seconds, by torch and with a fixed seed. Both classify 1,000 images of Fashion-MNIST. Each row of the table is one
model, size of a batch and number of threads: how many predictions are those of torch, how near the logits of each
system come to the bound of the graph (1 would be its edge), and the time per image, medians of interleaved rounds.

Exits with 1 when a prediction of mlcref differs from torch's or a logit leaves the bound. Needs torch; ONNX Runtime is
measured where it is installed.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from importlib.util import find_spec
from time import perf_counter
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from torch import fx, nn

from mlcref import relax
from mlcref.benchmark.bounds import Approximate
from mlcref.benchmark.measure import Effort, interleaved
from mlcref.demo.dataset import DEBIAN_FOLDER, Images, load_images, load_split, load_weights
from mlcref.driver import compile as compile_module
from mlcref.importers import from_fx
from mlcref.runtime.vm import VirtualMachine
from mlcref.testing.graph_bounds import bounded_graph

Array = np.ndarray[Any, Any]
Classify = Callable[[Array], Array]
"""From a batch of images to its logits, (batch, 10)."""

SHAPES = {"mlp": (784,), "cnn": (1, 28, 28)}
CHUNK = 100
"""So many images are bounded at once."""


@dataclass(frozen=True, slots=True)
class Training:
    """How the convolutional network is trained: Adam on the mean cross entropy, images in the order of the files."""

    images: int = 6000
    epochs: int = 2
    batch: int = 50
    rate: float = 1e-3
    seed: int = 0


def mlp() -> nn.Sequential:
    """784-128-10 with the weights of the demo."""
    model, weights = nn.Sequential(nn.Linear(784, 128), nn.ReLU(), nn.Linear(128, 10)), load_weights()
    for layer, number in ((model[0], 0), (model[2], 1)):
        layer.weight.data, layer.bias.data = (torch.from_numpy(weights[f"{kind}{number}"].copy()) for kind in "wb")
    return model.eval()


def cnn(training: Training, images: Images) -> nn.Sequential:
    """The network of the course's exercise, trained on the first ``images``."""
    torch.manual_seed(training.seed)
    model = nn.Sequential(
        nn.Conv2d(1, 32, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(),
        nn.Linear(5408, 100), nn.ReLU(), nn.Linear(100, 10),
    )  # fmt: skip
    optimizer = torch.optim.Adam(model.parameters(), training.rate)
    x, y = torch.from_numpy(images.images).reshape(-1, *SHAPES["cnn"]), torch.from_numpy(images.labels)
    for _ in range(training.epochs):
        for start in range(0, min(training.images, len(images)), training.batch):
            part = slice(start, start + training.batch)
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(x[part]), y[part]).backward()
            optimizer.step()
    return model.eval()


def training_images() -> Images:
    """Debian's training images where they are installed, else those that are shipped."""
    found = (DEBIAN_FOLDER / "train-images-idx3-ubyte.gz").is_file()
    return load_split(DEBIAN_FOLDER, "train") if found else load_images(shipped=True)


# The systems


def imported(model: nn.Module, shape: Sequence[int]) -> Any:
    """The graph of a model for inputs of ``shape``."""
    return from_fx(fx.symbolic_trace(model), [(tuple(shape), "float32")])


def mlcref_system(model: nn.Module, shape: Sequence[int], threads: int) -> Classify:
    """Lowered, fused, scheduled, compiled for the virtual machine."""
    target = f"cython --num-cores={threads}"
    module = relax.get_pipeline("autoschedule", target=target)(imported(model, shape))
    return VirtualMachine(compile_module(module, target))["main"]


def torch_system(model: nn.Module, shape: Sequence[int], threads: int) -> Classify:
    """The model as torch runs it."""
    torch.set_num_threads(threads)
    return lambda x: model(torch.from_numpy(x))


def onnx_system(model: nn.Sequential, shape: Sequence[int], threads: int) -> Classify:
    """A session over the model written out as ONNX; input and output are bound once."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads, options.log_severity_level = threads, 1, 4
    session = onnxruntime.InferenceSession(onnx_model(model, shape), options, providers=["CPUExecutionProvider"])
    binding, out = session.io_binding(), np.empty((shape[0], 10), np.float32)
    binding.bind_output("y", "cpu", 0, np.float32, out.shape, out.ctypes.data)

    def classify(x: Array) -> Array:
        binding.bind_input("x", "cpu", 0, np.float32, x.shape, x.ctypes.data)
        session.run_with_iobinding(binding)
        return out

    return classify


SYSTEMS: dict[str, Callable[[Any, Sequence[int], int], Classify]] = {"mlcref": mlcref_system, "torch": torch_system}
if find_spec("onnxruntime") and find_spec("onnx"):
    SYSTEMS["onnxruntime"] = onnx_system


def onnx_model(model: nn.Sequential, shape: Sequence[int]) -> bytes:
    """The layers of a sequence as nodes of ONNX, with the weights as constants."""
    from onnx import helper, numpy_helper

    nodes, constants, last = [], [], "x"
    for number, layer in enumerate(model):
        kind, attributes = onnx_layer(layer)
        held = [(f"{name}{number}", part.detach().numpy()) for name, part in layer.named_parameters()]
        constants += [numpy_helper.from_array(array, name) for name, array in held]
        result = "y" if number == len(model) - 1 else f"v{number}"
        nodes.append(helper.make_node(kind, [last, *(name for name, _ in held)], [result], **attributes))
        last = result
    ends = [helper.make_tensor_value_info(name, 1, dims) for name, dims in (("x", shape), ("y", [shape[0], 10]))]
    graph = helper.make_graph(nodes, "model", ends[:1], ends[1:], constants)
    made: bytes = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10
    ).SerializeToString()
    return made


def onnx_layer(layer: nn.Module) -> tuple[str, dict[str, Any]]:
    """The operator of ONNX that a layer is, and its attributes."""
    if isinstance(layer, nn.Linear):
        return "Gemm", {"transB": 1}
    if isinstance(layer, nn.Conv2d):
        return "Conv", {"kernel_shape": layer.kernel_size, "strides": layer.stride}
    if isinstance(layer, nn.MaxPool2d):
        return "MaxPool", {"kernel_shape": [layer.kernel_size] * 2, "strides": [layer.stride] * 2}
    return {nn.ReLU: "Relu", nn.Flatten: "Flatten"}[type(layer)], {}


# What is found


@dataclass
class Row:
    """One model, size of a batch and number of threads. Times are seconds per image; ``distance`` is the largest error
    of a logit as a share of its bound; ``same`` counts predictions that are torch's."""

    model: str
    batch: int
    threads: int
    images: int
    compile_seconds: float = 0.0
    same: dict[str, int] = field(default_factory=dict)
    accuracy: float = 0.0
    distance: dict[str, float] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)

    @property
    def right(self) -> bool:
        """Are mlcref's predictions those of torch, and all of its logits within the bound?"""
        return self.same["mlcref"] == self.images and self.distance["mlcref"] <= 1


def all_logits(classify: Classify, images: Array, batch: int) -> Array:
    """The logits of all images, classified ``batch`` at a time; the last batch is filled up with the first images."""
    count = len(images)
    filled = np.concatenate([images, np.resize(images, (-count % batch, *images.shape[1:]))])
    parts = (filled[start : start + batch] for start in range(0, count, batch))
    return np.concatenate([np.array(_numpy(classify(np.ascontiguousarray(part)))) for part in parts])[:count]


def _numpy(tensor: Any) -> Array:
    return tensor.numpy() if hasattr(tensor, "numpy") else tensor


def bounds(model: nn.Module, images: Array) -> Approximate:
    """What the model computes of ``images``, with the bound of each logit."""
    parts = [images[start : start + CHUNK] for start in range(0, len(images), CHUNK)]
    found = [bounded_graph(imported(model, part.shape), part) for part in parts]
    value, error = (np.concatenate([pick(one) for one in found]) for pick in (lambda f: f.value, lambda f: f.error))
    return Approximate(value, error, "float32")


def measured(row: Row, model: nn.Sequential, test: Images, bound: Approximate, effort: Effort) -> Row:
    """``row`` filled in: each system is built, compared on all images, and timed in turns."""
    images, calls = test.images.reshape(-1, *SHAPES[row.model]), {}
    for system, build in SYSTEMS.items():
        start = perf_counter()
        calls[system] = build(model, (row.batch, *SHAPES[row.model]), row.threads)
        row.compile_seconds = row.compile_seconds or perf_counter() - start  # mlcref is the first one
    logits = {system: all_logits(classify, images, row.batch) for system, classify in calls.items()}
    for system, found in logits.items():
        row.same[system] = int((found.argmax(1) == logits["torch"].argmax(1)).sum())
        row.distance[system] = float((np.abs(found - bound.value) / bound.error).max())
    row.accuracy = float((logits["mlcref"].argmax(1) == test.labels).mean())
    x = np.resize(images, (row.batch, *images.shape[1:]))
    timed = {system: partial(classify, x) for system, classify in calls.items()}
    taken = interleaved(timed, effort.for_threads(row.threads))
    row.seconds = {system: statistics.median(found) / row.batch for system, found in taken.items()}
    return row


def run(
    models: dict[str, nn.Sequential], test: Images, batches: Sequence[int], threads: Sequence[int], effort: Effort
) -> list[Row]:
    """All rows."""
    with torch.inference_mode():
        limits = {name: bounds(model, test.images.reshape(-1, *SHAPES[name])) for name, model in models.items()}
        return [
            measured(Row(name, batch, count, len(test)), model, test, limits[name], effort)
            for name, model in models.items() for batch in batches for count in threads
        ]  # fmt: skip


def table(rows: Sequence[Row]) -> Table:
    """The rows for people."""
    made = Table(title="Fashion-MNIST, models of torch", title_justify="left")
    systems = list(SYSTEMS)
    titles = ["model", "batch", "threads", "compiled in", "accuracy", "as torch"]
    titles += [f"error/bound {s}" for s in systems] + [f"µs/image {s}" for s in systems]
    for title in [*titles, *(f"{s} / mlcref" for s in systems[1:])]:
        made.add_column(title, justify="right")
    for row in rows:
        cells = [row.model, str(row.batch), str(row.threads), f"{row.compile_seconds:.1f} s", f"{row.accuracy:.3f}"]
        cells.append(f"{row.same['mlcref']} of {row.images}")
        cells += [f"{row.distance[s]:.1e}" for s in systems] + [f"{row.seconds[s] * 1e6:.2f}" for s in systems]
        made.add_row(*cells, *(f"{row.seconds[s] / row.seconds['mlcref']:.2f}" for s in systems[1:]))
    return made


def main(words: Sequence[str] | None = None) -> int:
    """Measure, print, judge."""
    arguments = argparse.ArgumentParser(prog="bench.models")
    arguments.add_argument("--models", nargs="+", default=list(SHAPES), choices=list(SHAPES))
    arguments.add_argument("--batches", nargs="+", type=int, default=[1, 50])
    arguments.add_argument("--threads", nargs="+", type=int, default=[1, 2])
    arguments.add_argument("--images", type=int, default=1000)
    arguments.add_argument("--rounds", type=int, default=15)
    arguments.add_argument("--training-images", type=int, default=Training().images)
    arguments.add_argument("--json", action="store_true")
    options = arguments.parse_args(words)
    test = load_images(shipped=True).first(options.images)
    build = {"mlp": mlp, "cnn": lambda: cnn(Training(options.training_images), training_images())}
    models = {name: build[name]() for name in options.models}
    rows = run(models, test, options.batches, options.threads, Effort(options.rounds))
    if options.json:
        print(json.dumps([asdict(row) for row in rows], indent=1))
    else:
        Console(width=None if sys.stdout.isatty() else 200).print(table(rows))
    return 0 if all(row.right for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
