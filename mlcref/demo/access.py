"""Which elements consecutive iterations of a nest touch, as text: the picture behind a reorder."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from mlcref.interp import record_accesses
from mlcref.ir import Buffer, Const, PrimFunc
from mlcref.schedule import Schedule


def reordered(layer: PrimFunc) -> PrimFunc:
    """The layer with the input loop outside the output loop."""
    sch = Schedule(layer)
    _, j, k = sch.get_loops(sch.get_block("Y"))
    sch.reorder(k, j)
    func: PrimFunc = sch.mod["main"]
    return func


def access_trace(
    layer: PrimFunc, buffers: Sequence[str] = ("Y", "X", "W"), count: int = 6
) -> list[tuple[str, str, str]]:
    """Per buffer: its name, the elements that ``count`` consecutive iterations read, and the stride in elements.

    The layer's arguments are zeros; only addresses matter.
    """
    arrays = [np.zeros(_shape(b), b.dtype) for b in layer.buffers]
    accesses = record_accesses(layer, *arrays, limit=60 * count)
    rows: list[tuple[str, str, str]] = []
    for name in buffers:
        touched: list[Any] = [a for a in accesses if a.buffer.name == name and a.kind == "read"][:count]
        elements = "  ".join(f"{name}[{', '.join(map(str, a.indices))}]" for a in touched)
        rows.append((name, elements, _stride(touched)))
    return rows


def _stride(touched: Sequence[Any]) -> str:
    if len(touched) < 2:
        return "-"
    shape = _shape(touched[0].buffer)
    flat = [int(np.ravel_multi_index(a.indices, shape)) for a in touched]
    steps = {b - a for a, b in pairwise(flat)}
    return str(steps.pop()) if len(steps) == 1 else "varies"


def _shape(buffer: Buffer) -> list[int]:
    return [int(n.value) for n in buffer.shape if isinstance(n, Const)]
