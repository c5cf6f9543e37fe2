"""The engines that classify the same images: the oracle, numpy, and compiled modules."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from time import perf_counter
from typing import Any

import numpy as np

from mlcref.demo.dataset import Images, Weights
from mlcref.driver import compile as compile_module
from mlcref.interp.graph import interpret_graph
from mlcref.ir import IRModule
from mlcref.relax.pipeline import get_pipeline
from mlcref.relax.transform import BindParams
from mlcref.runtime.vm import VirtualMachine

Array = np.ndarray[Any, Any]
Classify = Callable[[Array], Array]
"""From an image of shape (1, 784) to logits of shape (1, 10)."""


@dataclass(frozen=True, slots=True)
class EngineResult:
    """What an engine made of the first images: the class of each, and the seconds it took for one."""

    name: str
    predictions: tuple[int, ...]
    labels: tuple[int, ...]
    seconds: float

    @property
    def accuracy(self) -> float:
        """Share of the images that got their label."""
        return sum(p == y for p, y in zip(self.predictions, self.labels, strict=True)) / len(self.labels)

    def as_json(self) -> Mapping[str, Any]:
        """The figures, without the predictions."""
        return {
            "engine": self.name,
            "images": len(self.labels),
            "accuracy": self.accuracy,
            "seconds_per_image": self.seconds,
        }


def numpy_engine(weights: Weights) -> Classify:
    """The model in numpy."""
    w0, b0, w1, b1 = (weights[name] for name in ("w0", "b0", "w1", "b1"))
    return lambda x: np.maximum(x @ w0.T + b0, 0) @ w1.T + b1


def oracle_engine(mod: IRModule, weights: Weights) -> Classify:
    """The model in the oracle: every multiplication by the executable semantics."""
    bound = BindParams("main", weights)(mod)
    return lambda x: np.asarray(interpret_graph(bound, x))


def compiled_engine(mod: IRModule, weights: Weights, target: str, *, optimised: bool = False) -> Classify:
    """The model compiled, its weights bound, run by the virtual machine; ``optimised``: fused and scheduled by rules,
    its weights in the layout that the schedules want."""
    bound = BindParams("main", weights)(mod)
    if optimised:
        bound = get_pipeline("autoschedule", target=target)(bound)
    function = VirtualMachine(compile_module(bound, target=target))["main"]
    return lambda x: np.asarray(function(x).numpy())


def classify(
    name: str,
    engine: Classify,
    images: Images,
    progress: Callable[[Iterable[int]], Iterable[int]] = lambda steps: steps,
    *,
    warm_up: bool = True,
) -> EngineResult:
    """Classify ``images`` one by one; ``progress`` wraps the counter. A first call that loads things is not timed."""
    if warm_up:
        engine(images.images[:1])
    predictions: list[int] = []
    start = perf_counter()
    for i in progress(range(len(images))):
        predictions.append(int(engine(images.images[i : i + 1]).argmax()))
    seconds = (perf_counter() - start) / len(images)
    return EngineResult(name, tuple(predictions), tuple(int(y) for y in images.labels), seconds)
