"""Bindings of a dataflow block in groups, each of which becomes a function that the block calls instead."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any

from mlcref.ir import graph
from mlcref.ir.base import NO_ATTRS, Node
from mlcref.ir.expr import Var as Dimension
from mlcref.ir.function import GlobalVar
from mlcref.ir.visit import map_children, walk

Binders = Mapping[Dimension, graph.Var]
MakeFunction = Callable[[list[graph.VarBinding], list[graph.Var]], tuple[str, Sequence[graph.GraphExpr]]]
"""Makes a function of some bindings that computes some results: its name, and its arguments."""


def binders_of_dimensions(func: graph.Function) -> dict[Dimension, graph.Var]:
    """The dimensions of ``func`` that a ``match_cast`` binds, with its variable."""
    known, found = set(func.shape_vars()), dict[Dimension, graph.Var]()
    for binding in func.bindings():
        if isinstance(binding, graph.MatchCast):
            found.update(dict.fromkeys(binding.new_dims(known), binding.var))
            known.update(found)
    return found


def needs_of(var: graph.Var, value: Node, binders: Binders) -> list[graph.Var]:
    """The variables that must be bound before ``var = value``: operands, and those whose casts bind its dimensions."""
    found = {node: None for node in walk(value) if isinstance(node, graph.Var)}
    for dim in dimensions_of(var, value):
        if dim in binders and binders[dim] is not var:
            found[binders[dim]] = None
    return list(found)


def dimensions_of(var: graph.Var, value: Node) -> dict[Dimension, None]:
    """The symbolic dimensions that a binding mentions, in order."""
    nodes = [*walk(value), *(node for extent in graph.extents_of(var.struct_info) for node in walk(extent))]
    return {node: None for node in nodes if isinstance(node, Dimension)}


class Grouping:
    """The bindings of ``block``, by their places, in units: at first each is one of its own.

    A unit is always such that no way leads out of it and back, so that it can be computed in one go. ``binders`` are
    those of the function.
    """

    def __init__(self, block: graph.DataflowBlock, binders: Binders) -> None:
        self.bindings = block.bindings
        self.place = {binding.var: place for place, binding in enumerate(block.bindings)}
        self.unit = list(range(len(block.bindings)))
        self.needs = [
            {self.place[var] for var in needs_of(item.var, item.value, binders) if var in self.place}
            for item in block.bindings
        ]
        self.users: list[set[int]] = [set() for _ in block.bindings]
        for place, needs in enumerate(self.needs):
            for needed in needs:
                self.users[needed].add(place)

    def join(self, places: Collection[int]) -> bool:
        """Make one unit of those of ``places``; False, and nothing changes, where a way leads out of it and back."""
        units = {self.unit[place] for place in places}
        if self._leads_back(units):
            return False
        first = min(units)
        self.unit = [first if unit in units else unit for unit in self.unit]
        return True

    def _leads_back(self, units: set[int]) -> bool:
        members = self.members()
        ahead = [user for unit in units for place in members[unit] for user in self.users[place]]
        outside = [self.unit[user] for user in ahead if self.unit[user] not in units]
        seen = set(outside)
        while outside:
            for place in members[outside.pop()]:
                for unit in {self.unit[user] for user in self.users[place]} - seen:
                    if unit in units:
                        return True
                    seen.add(unit)
                    outside.append(unit)
        return False

    def members(self) -> dict[int, list[int]]:
        """The places of each unit, in order."""
        found: dict[int, list[int]] = {}
        for place, unit in enumerate(self.unit):
            found.setdefault(unit, []).append(place)
        return found

    def results(self, places: Sequence[int]) -> list[graph.Var]:
        """What a unit computes for others: what they use and what is seen outside of the block, else the last one."""
        inside = set(places)
        used = [place for place in places if self.users[place] - inside or not self._is_local(place)]
        return [self.bindings[place].var for place in used or places[-1:]]

    def _is_local(self, place: int) -> bool:
        return isinstance(self.bindings[place].var, graph.DataflowVar)

    def in_order(self) -> list[list[int]]:
        """The places of each unit, each unit behind those that it needs, otherwise as their last bindings stand."""
        members = self.members()
        missing = {
            unit: {self.unit[needed] for place in places for needed in self.needs[place]} - {unit}
            for unit, places in members.items()
        }
        needed_by: dict[int, list[int]] = {}
        for unit, needs in missing.items():
            for other in needs:
                needed_by.setdefault(other, []).append(unit)
        ready = [(members[unit][-1], unit) for unit, needs in missing.items() if not needs]
        heapq.heapify(ready)
        order = []
        while ready:
            _, unit = heapq.heappop(ready)
            order.append(members[unit])
            for user in needed_by.get(unit, ()):
                missing[user].discard(unit)
                if not missing[user]:
                    heapq.heappush(ready, (members[user][-1], user))
        return order

    def block(self, functions: Mapping[int, MakeFunction]) -> graph.DataflowBlock:
        """The block with a call for each unit in ``functions``, of what they make of its bindings and its results."""
        made: list[graph.Binding] = []
        for places in self.in_order():
            make = functions.get(self.unit[places[0]])
            members = [self.bindings[place] for place in places]
            if make is None:
                made += members
                continue
            results = self.results(places)
            name, args = make([item for item in members if isinstance(item, graph.VarBinding)], results)
            made += _call(name, args, results)
        return graph.DataflowBlock(tuple(made))


def _call(
    name: str, args: Sequence[graph.GraphExpr], results: Sequence[graph.Var]
) -> list[graph.VarBinding]:
    """A call of a function, bound to its result, or its fields to its results."""
    infos = [var.struct_info for var in results]
    info = infos[0] if len(infos) == 1 else graph.TupleStructInfo(infos)
    call = graph.Call(GlobalVar(name), args, NO_ATTRS, (info,))
    if len(results) == 1:
        return [graph.VarBinding(results[0], call)]
    whole = graph.DataflowVar(f"{results[-1].name_hint}_all", info)
    fields = [graph.VarBinding(var, graph.TupleGetItem(whole, i)) for i, var in enumerate(results)]
    return [graph.VarBinding(whole, call), *fields]


def outlined(
    bindings: Sequence[graph.VarBinding], results: Sequence[graph.Var], attrs: Mapping[str, Any], constants: bool
) -> tuple[graph.Function, tuple[graph.GraphExpr, ...]]:
    """A function that computes ``results`` by ``bindings``, and its arguments: what the bindings use from outside.

    With ``constants``, constants stay inside of it. Symbolic dimensions that no extent of an argument is by itself are
    handed over as a shape, the last argument.
    """
    outline = _Outline(results, constants)
    made = [outline.binding(item) for item in bindings]
    dims = {dim: None for item in made for dim in dimensions_of(item.var, item.value)}
    for param in outline.params:
        dims.update(dict.fromkeys(dimensions_of(param, param)))
    given = {extent for param in outline.params for extent in graph.extents_of(param.struct_info)}
    loose = [dim for dim in dims if dim not in given]
    if loose:
        outline.params[graph.Var("dims", graph.ShapeStructInfo(loose))] = graph.ShapeExpr(loose)
    returned = [outline.own[var] for var in results]
    body = graph.SeqExpr(
        (graph.DataflowBlock(tuple(made)),), returned[0] if len(returned) == 1 else graph.Tuple(returned)
    )
    func = graph.Function(tuple(outline.params), body, body.struct_info, NO_ATTRS.updated(dict(attrs)))
    return func, tuple(outline.params.values())


class _Outline:
    def __init__(self, results: Iterable[graph.Var], constants: bool) -> None:
        self.results, self.constants = set(results), constants
        self.own: dict[graph.Var, graph.Var] = {}
        self.params: dict[graph.Var, graph.GraphExpr] = {}
        self.known: dict[object, graph.Var] = {}

    def binding(self, item: graph.VarBinding) -> graph.VarBinding:
        value = self.operand(item.value)
        kind = graph.Var if item.var in self.results else graph.DataflowVar
        self.own[item.var] = kind(item.var.name_hint, item.var.struct_info)
        return graph.VarBinding(self.own[item.var], value)

    def operand(self, node: Any) -> Any:
        """``node`` with the function's own variables."""
        if isinstance(node, graph.Var):
            return self.own[node] if node in self.own else self.param(node, node, node.name_hint)
        if isinstance(node, graph.Constant) and not self.constants:
            return self.param(id(node), node, f"constant_{len(self.params)}")
        return map_children(self.operand, node)

    def param(self, key: object, value: graph.GraphExpr, hint: str) -> graph.Var:
        if key not in self.known:
            self.known[key] = graph.Var(hint, value.struct_info)
            self.params[self.known[key]] = value
        return self.known[key]

