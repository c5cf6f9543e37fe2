"""``PatternContext``: several patterns, and edges between them, that match the bindings of one dataflow block."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from mlcref.errors import MlcrefError
from mlcref.ir import graph
from mlcref.ir.base import Node
from mlcref.ir.visit import walk
from mlcref.relax.dpl.pattern import DFPattern, Edge, Found, Recorder, recorders
from mlcref.relax.rewriter import inputs_of


class PatternContext(Recorder):
    """The patterns that are written inside ``with PatternContext() as ctx:`` match together.

    Each that is no part of another one matches a binding of its own, and edges ``p ^ q`` (``p.used_by(q)``) and
    ``p >> q`` (``p.only_used_by(q)``) hold between what they match. ``incremental`` takes over what the context around
    it has so far. Source: ``relax.dpl.PatternContext``.

    >>> from mlcref import relax
    >>> from mlcref.relax.dpl import is_op, wildcard
    >>> with PatternContext() as ctx:
    ...     exp, negative = is_op("relax.exp")(wildcard()), is_op("relax.negative")(wildcard())
    ...     _ = exp >> negative
    >>> bb = relax.BlockBuilder()
    >>> x = relax.Var("x", relax.TensorStructInfo((2,), "float32"))
    >>> with bb.function("main", [x]):
    ...     with bb.dataflow():
    ...         out = bb.emit_output(relax.op.negative(bb.emit(relax.op.exp(x))))
    ...     bb.emit_func_output(out)
    >>> ctx.match_dfb(bb.get()["main"].body.blocks[0])[exp]
    lv
    """

    def __init__(self, incremental: bool = False) -> None:
        super().__init__()
        if incremental and recorders():
            self.roots, self.edges = dict(recorders()[-1].roots), list(recorders()[-1].edges)

    def __enter__(self) -> PatternContext:
        recorders().append(self)
        return self

    def __exit__(self, *_: object) -> None:
        recorders().pop()

    @staticmethod
    def current() -> PatternContext:
        """The innermost context; raises ``MlcrefError`` outside of all."""
        found = recorders()[-1] if recorders() else None
        if not isinstance(found, PatternContext):
            raise MlcrefError("no context is open", rule="relax.dpl", hint="with PatternContext() as ctx:")
        return found

    def match_dfb(self, dfb: graph.DataflowBlock) -> Found | None:
        """What each pattern and each of its parts matches in ``dfb``: variables, constants; None without a match.

        The first one: earlier bindings are tried first.
        """
        return next(self.matches(dfb), None)

    def matches(self, dfb: graph.DataflowBlock) -> Iterator[Found]:
        """All ways in which the patterns match. Raises ``MlcrefError`` for a context without patterns."""
        ends = [end for edge in self.edges for end in (edge.used, edge.user)]
        patterns = list(dict.fromkeys([*self.roots, *ends]))
        if not patterns:
            raise MlcrefError("the context has no patterns", rule="relax.dpl", hint="write them inside of the with")
        block = _Block(dfb, self.edges, patterns, set(ends) - self.roots.keys())
        yield from block.assigned(patterns, {})


class _Block:
    """A dataflow block, its variables with their values and users, and what is to be found in it.

    Each of ``patterns`` matches a variable of its own; those of ``may_be_inputs`` also variables from outside."""

    def __init__(
        self, block: graph.DataflowBlock, edges: Sequence[Edge], patterns: Sequence[DFPattern],
        may_be_inputs: set[DFPattern],
    ) -> None:  # fmt: skip
        self.values = {item.var: item.value for item in block.bindings if isinstance(item, graph.VarBinding)}
        self.users: dict[graph.Var, list[graph.Var]] = {item.var: [] for item in block.bindings}
        for item in block.bindings:
            for var in {node: None for node in walk(item.value) if isinstance(node, graph.Var)}:
                self.users.setdefault(var, []).append(item.var)
        self.edges, self.patterns, self.may_be_inputs = edges, patterns, may_be_inputs

    def assigned(self, patterns: Sequence[DFPattern], found: Found) -> Iterator[Found]:
        """``found`` with what ``patterns`` match, in all ways."""
        if not patterns:
            yield found
            return
        first, rest = patterns[0], patterns[1:]
        for var in self.candidates(first, found):
            trial = dict(found)
            if first.find(var, self.values, trial) and all(self.holds(edge, trial) for edge in self.edges):
                yield from self.assigned(rest, trial)

    def candidates(self, pattern: DFPattern, found: Found) -> list[Any]:
        if pattern in found:
            return [found[pattern]]
        taken = {id(found[other]) for other in self.patterns if other in found}
        known = list(self.users) if pattern in self.may_be_inputs else list(self.values)
        return [var for var in known if id(var) not in taken]

    def holds(self, edge: Edge, found: Found) -> bool:
        """Does the edge hold, as far as its patterns are matched?"""
        if edge.used not in found or edge.user not in found:
            return True
        used, user = found[edge.used], found[edge.user]
        given = _inputs(self.values.get(user, user) if isinstance(user, graph.Var) else user)
        places = given if edge.index < 0 else given[edge.index : edge.index + 1]
        if not any(item is used for item in places):
            return False
        return not edge.only or (self.users.get(used) == [user] and not self.is_seen_outside(used))

    def is_seen_outside(self, var: Any) -> bool:
        return var in self.values and not isinstance(var, graph.DataflowVar)


def _inputs(value: Node) -> Sequence[Node]:
    """What a value is computed from; of a destination-passing call, its inputs."""
    if isinstance(value, graph.Call):
        return inputs_of(value) if value.op in (graph.CALL_TIR, graph.CALL_DPS_PACKED) else value.args
    if isinstance(value, graph.TupleGetItem):
        return (value.tuple_value,)
    return value.fields if isinstance(value, graph.Tuple) else ()
