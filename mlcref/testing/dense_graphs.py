"""Graphs in which most values are used more than once: what passes that group calls have to be careful with.

All tensors have one of two shapes, each other's transposes, with extents that are numbers or symbolic, or they are such
tensors in one dimension. So calls of the same kind follow each other in many ways, and meet again.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from mlcref.ir import Var, graph
from mlcref.relax import op
from mlcref.relax.block_builder import BlockBuilder
from mlcref.testing.graphs import GraphCase

Pick = Callable[..., Any]
_UNARY = (op.negative, op.abs)
_BINARY = (op.add, op.subtract, op.maximum, op.multiply)


def dense_graph(pick: Pick) -> GraphCase:
    """A module of one function "main" with its arguments, by the choices of ``pick``.

    >>> from random import Random
    >>> case = dense_graph(lambda options: Random(3).choice(list(options)))
    >>> case.module["main"].params[0].name_hint
    'x'
    """
    sizes = pick([(2, 3), (3, 2), (2, 2)])
    extents = [Var("n", "int64"), Var("m", "int64")] if pick([False, True]) else list(sizes)
    drawing = _Drawing(pick, extents)
    params = drawing.params()
    with drawing.builder.function("main", params):
        kept: list[graph.Var] = []
        for _ in range(pick([1, 1, 2])):
            with drawing.builder.dataflow():
                for _ in range(pick(range(3, 15))):
                    kept += drawing.step()
            drawing.forget_local()
        drawing.builder.emit_func_output(kept or [params[0]])
    rng = np.random.default_rng(pick(range(100)))
    n, m = sizes
    shapes = {0: (n, m), 1: (m, n), 2: (n * m,), 3: (3, 3)}
    arguments = [rng.integers(-3, 4, shapes[min(i, 3)]).astype("int32") for i in range(len(params))]
    return GraphCase(drawing.builder.get(), arguments)


class _Drawing:
    """Values of a function by their shapes: "wide", "tall" (its transpose), "flat", and a square matrix."""

    def __init__(self, pick: Pick, extents: list[Any]) -> None:
        self.pick, self.builder = pick, BlockBuilder()
        n, m = self.extents = extents
        self.shapes = {"wide": [n, m], "tall": [m, n], "flat": [n * m]}
        self.kinds = [*self.shapes, *[pick(list(self.shapes))] * pick([0, 6])]
        self.unary, self.binary = pick([_UNARY, _UNARY[:1]]), pick([_BINARY, _BINARY[:2], _BINARY[2:], _BINARY[:1]])
        self.twins = pick([False, True])
        self.values: dict[str, list[graph.Var]] = {name: [] for name in self.shapes}

    def params(self) -> list[graph.Var]:
        """One of each shape, and a square one."""
        made = []
        for name, kind in zip("xyz", self.shapes, strict=True):
            made.append(graph.Var(name, graph.TensorStructInfo(self.shapes[kind], "int32")))
            self.values[kind].append(made[-1])
        return [*made, graph.Var("w", graph.TensorStructInfo([3, 3], "int32"))]

    def forget_local(self) -> None:
        """The block has ended."""
        for kind, values in self.values.items():
            self.values[kind] = [value for value in values if not isinstance(value, graph.DataflowVar)]

    def step(self) -> list[graph.Var]:
        """Emit one call, or the same one for tensors and their transposes; the variables that are seen behind the
        block."""
        kind, pick, places = self.pick(self.kinds), self.pick, list[int]()

        def recorded(options: Any) -> Any:
            places.append(pick(range(len(options))))
            return options[places[-1]]

        self.pick = recorded
        seen = self.emitted(kind)
        if self.twins and kind != "flat":
            again = iter(places)
            self.pick = lambda options: options[next(again) % len(options)]
            seen += self.emitted("tall" if kind == "wide" else "wide")
        self.pick = pick
        return seen

    def emitted(self, kind: str) -> list[graph.Var]:
        """Emit a call on values of a kind."""
        made, value = self.call(kind)
        exported = self.pick([False, False, False, False, True])
        var = self.builder.emit_output(value) if exported else self.builder.emit(value)
        self.values[made].append(var)
        return [var] if exported else []

    def operand(self, kind: str) -> graph.Var:
        """One of the last values."""
        found: graph.Var = self.pick(self.values[kind][-4:])
        return found

    def call(self, kind: str) -> tuple[str, graph.GraphExpr]:
        """A call on values of a kind, and the kind of its result."""
        x = self.operand(kind)
        form = self.pick(
            ["unary", "unary", "binary", "binary", "binary", "turned", "reshaped", "summed", "product", "filled"]
        )
        if form == "filled":
            value = np.full([1] * (1 if kind == "flat" else 2), self.pick([2, -1]), "int32")
            return kind, op.broadcast_to(graph.const(value), graph.ShapeExpr(self.shapes[kind]))
        if form == "unary":
            return kind, self.pick(self.unary)(x)
        if form == "turned" and kind != "flat":
            return ("tall" if kind == "wide" else "wide"), op.permute_dims(x)
        if form == "reshaped":
            other = self.pick([name for name in self.shapes if name != kind])
            return other, op.reshape(x, graph.ShapeExpr(self.shapes[other]))
        if form == "summed" and kind != "flat":
            return kind, op.add(x, op.sum(self.pick([x, self.operand(kind)]), axis=[1], keepdims=True))
        if form == "product" and kind != "flat":
            there = self.operand("tall" if kind == "wide" else "wide")
            return kind, op.matmul(op.matmul(x, there), self.operand(kind))
        if form == "product":
            halves = op.split(op.concat([x, self.operand(kind)], axis=0), 2, axis=0)
            return kind, graph.TupleGetItem(halves, self.pick([0, 1])) if self._is_plain() else op.negative(x)
        return kind, self.pick(self.binary)(x, self.operand(kind))

    def _is_plain(self) -> bool:
        return not any(isinstance(extent, Var) for extent in self.extents)
