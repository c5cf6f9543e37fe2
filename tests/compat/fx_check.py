"""What tests of the importer share: torch, the oracle on the graph and on its tensor programs must agree."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from mlcref import relax
from mlcref.driver import compile as compile_module
from mlcref.importers import from_fx
from mlcref.interp.graph import interpret_graph
from mlcref.ir import IRModule
from mlcref.relax.transform import LegalizeOps
from mlcref.runtime.vm import VirtualMachine
from mlcref.testing.graph_bounds import bounded_graph

TARGET = "cython --num-cores=1"


def fields(value: Any) -> list[Any]:
    return list(value) if isinstance(value, tuple | list) else [value]


def compiled(module: IRModule, x: np.ndarray[Any, Any]) -> list[Any]:
    """What the module gives, scheduled by rules and compiled."""
    scheduled = relax.get_pipeline("autoschedule", target=TARGET)(module)
    return [part.numpy() for part in fields(VirtualMachine(compile_module(scheduled, TARGET))["main"](x))]


def check(model: Any, x: torch.Tensor, bounded: bool = True, run: bool = False) -> IRModule:
    """Torch, the graph and its legalized form agree within the bound, else bit by bit. ``run`` compiles it, too."""
    module = from_fx(model, [(tuple(x.shape), str(x.dtype).removeprefix("torch."))])
    relax.wellformed_graph(module)
    with torch.no_grad():
        wanted = [part.numpy() for part in fields(model(x.clone()))]
    array = x.numpy()
    results = [fields(interpret_graph(program, array)) for program in (module, LegalizeOps()(module))]
    results += [compiled(module, array)] if run else []
    bounds = fields(bounded_graph(module, array)) if bounded else [None] * len(wanted)
    for found in (wanted, *results):
        for part, bound, first in zip(found, bounds, wanted, strict=True):
            assert (part.shape, part.dtype) == (first.shape, first.dtype)
            assert (part == first if bound is None else bound.covers(part)).all()
    return module
