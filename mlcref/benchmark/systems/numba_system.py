"""numba: loops compiled by ``njit(parallel=True)``, without fast-math."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from functools import cache, partial
from typing import Any

from mlcref.benchmark.operators import Case
from mlcref.benchmark.systems import numba_loops as loops
from mlcref.benchmark.systems.record import Prepared, System, inexpressible
from mlcref.benchmark.workload import Workload

_PLAIN = ("matmul", "qkt", "softmax", "layernorm", "gelu", "exp", "transpose", "stencil", "gather")


def _loops(w: Workload) -> tuple[Callable[..., Any], tuple[int, ...]]:
    """The function for a workload and what it takes after the arrays."""
    if w.dtype in ("float16", "bfloat16"):
        raise inexpressible("numba", "", f"has no {w.dtype} on the CPU")
    if w.dtype == "int8" and w.operator == "matmul":
        return loops.integer_matmul, ()
    if w.operator in _PLAIN:
        return getattr(loops, w.operator), ()
    if w.operator in ("sum", "max"):
        return getattr(loops, f"{w.operator}_{'rows' if w['axis'] == 1 else 'columns'}"), ()
    if w.operator == "conv2d":
        return getattr(loops, f"conv2d_{w.layout.lower()}"), (w["stride"], w["padding"], w["groups"])
    if w.operator == "depthwise":
        return getattr(loops, f"depthwise_{w.layout.lower()}"), (w["stride"], w["padding"])
    raise inexpressible("numba", "", f"has no loops for {w.operator} here")


@cache
def _compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """numba keeps what it compiles for each combination of types in the function that it returns."""
    numba = importlib.import_module("numba")
    loops.prange = numba.prange
    compiled: Callable[..., Any] = numba.njit(parallel=True)(function)
    return compiled


def _prepare(case: Case, threads: int) -> Prepared:
    numba = importlib.import_module("numba")
    function, numbers = _loops(case.workload)
    numba.set_num_threads(threads)
    compiled, out = _compiled(function), case.empty()
    compiled(*case.inputs, out, *numbers)
    out[...] = case.empty()
    return Prepared(partial(compiled, *case.inputs, out, *numbers), lambda _: out)


NUMBA = System("numba", "numba", ("numba",), _prepare)
