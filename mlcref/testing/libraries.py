"""Does a library compute what a graph function says? Up to what rounding explains."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from mlcref import dtype as dt
from mlcref.errors import OracleError
from mlcref.interp.graph import interpret_graph
from mlcref.ir import graph
from mlcref.ir.registry import register_global_func
from mlcref.relax.run_codegen import CHECK
from mlcref.testing.graph_bounds import bounded_graph

Array = np.ndarray[Any, Any]


def check_library_result(name: str, func: graph.Function, inputs: Sequence[Any], results: Sequence[Array]) -> None:
    """Raise ``OracleError`` (rule ``library.result``) unless ``results`` are what ``func`` computes of ``inputs``.

    ``results`` are one array per result, in order. They are right where they are what the oracle computes, and floats
    also where they are within the bound of :func:`mlcref.testing.graph_bounds.bounded_graph`. Raises
    ``UnsupportedError`` where that has no rule for an operator and the results differ. ``name`` is for the message.

    >>> from mlcref import relax
    >>> x = relax.Var("x", relax.TensorStructInfo((2,), "float32"))
    >>> func = relax.Function([x], relax.op.exp(x))
    >>> check_library_result("exp", func, [np.float32([0, 1])], [np.float32([1, 2.7182817])])
    """
    expected = _several(interpret_graph(func, *inputs))
    right = [_same(got, want) for got, want in zip(results, expected, strict=True)]
    if all(bool(same.all()) for same in right):
        return
    if any(dt.is_float(dt.canonical(want.dtype)) for want in expected):
        bounds = _several(bounded_graph(func, *inputs))
        right = [same | bound.covers(got) for same, bound, got in zip(right, bounds, results, strict=True)]
    for number, (same, got, want) in enumerate(zip(right, results, expected, strict=True)):
        if not same.all():
            at = tuple(map(int, np.argwhere(~np.broadcast_to(same, got.shape))[0]))
            place = f"result {number}" if len(results) > 1 else "the result"
            count = int(got.size - np.count_nonzero(np.broadcast_to(same, got.shape)))
            what = f"{name}: {place} at {list(at)} is {got[at].item()!r}, the graph function says {want[at].item()!r}"
            hint = f"{count} of {got.size} elements differ by more than rounding explains"
            raise OracleError(what, rule="library.result", root=func, hint=hint)


def _several(value: Any) -> tuple[Any, ...]:
    return value if isinstance(value, tuple) else (value,)


def _same(got: Array, want: Array) -> Any:
    """Where two arrays are the same; all NaNs are one, zeros of both signs too."""
    with np.errstate(invalid="ignore"):
        return (got == want) | ((got != got) & (want != want))


register_global_func(CHECK, check_library_result, override=True)
