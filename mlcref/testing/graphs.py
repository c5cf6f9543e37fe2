"""Hypothesis strategies for graphs: functions of random calls over the operator table, with arguments."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from hypothesis import strategies as st

from mlcref.errors import TypeMismatch
from mlcref.ir import IRModule, constant, graph
from mlcref.relax.block_builder import BlockBuilder
from mlcref.testing.graph_recipes import RECIPES
from mlcref.testing.graph_source import GraphSource, Pick, shape_of

EXACT = ("int32", "int64", "bool")
"""Data types in which every order of computation gives the same."""


@dataclass(frozen=True)
class GraphCase:
    """A module whose graph function "main" is to be run with ``arguments``."""

    module: IRModule
    arguments: list[np.ndarray[Any, Any]]


def graphs(
    operators: Sequence[str] | None = None, dtypes: Sequence[str] = EXACT, max_steps: int = 6, symbolic: bool = True
) -> st.SearchStrategy[GraphCase]:
    """Graphs of up to ``max_steps`` calls of ``operators`` (names of ``relax.op``; all by default) on ``dtypes``.

    Shapes have symbolic extents, too. Integers are small and indices in range, so that every graph has a meaning.

    >>> case = graphs(["add"], max_steps=1).example()  # doctest: +SKIP
    """
    names = list(RECIPES if operators is None else operators)
    usable = [name for name in names if set(RECIPES[name][0]) & set(dtypes)]

    def build(draw: Callable[[st.SearchStrategy[Any]], Any]) -> GraphCase:
        def pick(options: Sequence[Any]) -> Any:
            return options[draw(st.integers(0, len(options) - 1))]

        return random_graph(pick, usable, dtypes, max_steps, symbolic)

    return st.composite(build)()


def random_graph(
    pick: Pick, operators: Sequence[str], dtypes: Sequence[str], max_steps: int, symbolic: bool = True
) -> GraphCase:
    """A graph by the choices of ``pick``: see :func:`graphs`."""
    source, builder = GraphSource(pick, dtypes, symbolic=symbolic), BlockBuilder()
    with builder.function("main"):
        kept: list[graph.Var] = []
        for _ in range(pick(range(1, 3))):
            with builder.dataflow():
                for _ in range(pick(range(1, max_steps + 1))):
                    kept += _step(source, builder, operators)
            source.values = [value for value in source.values if not isinstance(value, graph.DataflowVar)]
        results = kept or source.values or [source.new([1], dtypes[0])]
        params = _binding_params(source, results)
        builder.emit_func_output(results, params)
    return GraphCase(builder.get(), source.arguments(params, source.sizes()))


def _step(source: GraphSource, builder: BlockBuilder, operators: Sequence[str]) -> list[graph.Var]:
    """Emit one random call; the variables that are seen behind the block. A call that does not fit is left out."""
    count = len(source.params)
    try:
        value = RECIPES[source.pick(operators)][1](source)
    except TypeMismatch:  # the result has an extent that is not known to fit, or too many windows for the data
        for param in source.params[count:]:
            source.values.remove(param)
        del source.params[count:]
        return []
    exported = source.pick([False, True])
    var = builder.emit_output(value) if exported else builder.emit(value)
    fields: list[graph.Var] = [var]
    if isinstance(var.struct_info, graph.TupleStructInfo):
        fields = [builder.emit(graph.TupleGetItem(var, index)) for index in range(len(var.struct_info.fields))]
    small = [field for field in fields if not isinstance(field.struct_info, graph.TupleStructInfo) and _is_small(field)]
    source.values += small
    return [var] if exported else []


def _is_small(value: graph.Var) -> bool:
    """Is the tensor small, so that the oracle is done soon, and not empty?"""
    shape = shape_of(value)
    sizes = [4 if constant(extent) is None else constant(extent) or 0 for extent in shape]
    return len(shape) <= 4 and 0 < math.prod(sizes) <= 64


def _binding_params(source: GraphSource, results: Sequence[graph.Var]) -> list[graph.Var]:
    """The parameters, and one more for each symbolic extent that none of them binds."""
    bound = {extent for param in source.params for extent in shape_of(param)}
    for var in source.dims:
        if var not in bound:
            source.new([var], source.dtypes[0])
    return source.params
