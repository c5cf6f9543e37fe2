"""Block instances in generated programs: their iterators as linear forms, and the order of reductions that the loops
alone prove (rules block.init, block.repeat)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from mlcref.interp.pygen_code import Lines
from mlcref.interp.pygen_scalar import Scalars
from mlcref.interp.pygen_static import Axis, Interval, Known, Linear, grows_from, holds, injective
from mlcref.ir.expr import LE, LT, Const, Expr, Var
from mlcref.ir.index import stmt_children
from mlcref.ir.stmt import Block, BlockRealize, Break, BufferStore, Continue, For, Stmt, While
from mlcref.ir.visit import variables


@dataclass
class Instance:
    """The block instance in which statements are generated: where its epochs are made, and the loops since it began.

    ``loops`` holds None for anything other than a loop with constant bounds: then nothing is proven about order.
    ``lanes`` are the threads each of which has its own instance at the same time; ``threaded`` says that it is the
    instance of one thread.
    """

    prologue: Lines
    loops: list[Axis | None] = field(default_factory=list)
    lanes: Sequence[Axis] = ()
    threaded: bool = False
    epochs: dict[Block, str] = field(default_factory=dict)
    """The names of the dictionaries that track epochs."""


@dataclass
class Bound:
    """The iterators of a block: the linear form or the text of each value, and its domain."""

    forms: list[Linear | None]
    texts: list[str]
    domains: list[Interval]
    reduced: list[int]
    others: list[int]


def axis_of(stmt: For, known: Known) -> Axis | None:
    """The loop with its bounds, where they are constant."""
    start, extent = known.linear(stmt.min), known.linear(stmt.extent)
    if start is None or extent is None or start.terms or extent.terms:
        return None
    return Axis(stmt.loop_var, start.constant, extent.constant)


def jumps_out(stmt: Stmt) -> bool:
    """Does a break or continue leave the statement? A loop over a thread axis is none that it could mean."""
    if isinstance(stmt, Break | Continue):
        return True
    if isinstance(stmt, While) or (isinstance(stmt, For) and stmt.kind != "thread_binding"):
        return False
    return any(jumps_out(part) for part in stmt_children(stmt))


class Blocks(Scalars):
    """Generates what block instances check."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.instances: list[Instance] = []

    def plain_block(self, realize: BlockRealize) -> Bound | None:
        """The iterators of a block without predicate, allocations and matches, whose values are in their domains; None
        for any other block."""
        block = realize.block
        if block.alloc_buffers or block.match_buffers:
            return None
        if any(holds(condition, self.known) is not True for condition in realize.predicate):
            return None
        bound = self.forms_of(realize)
        for form, (low, high) in zip(bound.forms, bound.domains, strict=True):
            if form is None:
                return None
            least, most = self.known.range_of(form)
            if least < low or most >= high:
                return None
        return bound

    def forms_of(self, realize: BlockRealize) -> Bound:
        """The iterators of a block, nothing checked."""
        block = realize.block
        kinds = [it.iter_type for it in block.iter_vars]
        domains = []
        for it in block.iter_vars:
            low, extent = self.constant(it.dom.min), self.constant(it.dom.extent)
            domains.append((low, low + extent))
        return Bound(
            [self.known.linear(value) for value in realize.iter_values], [], domains,
            [i for i, kind in enumerate(kinds) if kind == "reduce"],
            [i for i, kind in enumerate(kinds) if kind != "reduce"],
        )  # fmt: skip

    def with_forms(self, block: Block, bound: Bound) -> Known:
        """What is known inside of a block."""
        known = self.known.assume(Const(True, "bool"))
        for it, form, (low, high) in zip(block.iter_vars, bound.forms, bound.domains, strict=True):
            if form is not None:
                known.forms[it.var] = form
                known.note(form, (low, high - 1))
        return known

    def one_place(self, block: Block, bound: Bound, form: Linear) -> bool:
        """Does the init of a block store to one element, ``form``, in all of an epoch? Else an update may come to
        elements that no init has written."""
        spatial = {it.var for it in block.iter_vars if it.iter_type != "reduce"}
        if isinstance(block.init, BufferStore) and all(variables(i) <= spatial for i in block.init.indices):
            return True
        forms = [bound.forms[i] for i in bound.reduced]
        return all(other is not None and form.variables().isdisjoint(other.variables()) for other in forms)

    def track_epochs(self, block: Block, bound: Bound, starts: str) -> None:
        """Rules block.init and block.repeat, when the program runs."""
        instance, seen = self.instances[-1], self.fresh("seen")
        epochs = instance.epochs.get(block)
        if epochs is None:
            epochs = instance.epochs[block] = self.fresh(f"epochs_of_{block.name}")
            instance.prologue.append(f"{epochs} = {{}}")
        parts = [self.names[axis.var] for axis in instance.lanes] + [bound.texts[i] for i in bound.others]
        key = self.named(f"({''.join(part + ', ' for part in parts)})", "key")
        point = self.named(f"({''.join(bound.texts[i] + ', ' for i in bound.reduced)})", "point")
        self.line(f"if {starts}: {epochs}[{key}] = set()")
        self.line(f"{seen} = {epochs}.get({key})")
        self.line(f"if {seen} is None or {point} in {seen}: doubt()")
        self.line(f"{seen}.add({point})")

    def proven_order(self, bound: Bound, conditions: Sequence[Expr]) -> bool:
        """Does every key start with its init, and does no reduce point come twice in an epoch? From the loops alone,
        and the conditions under which instances run."""
        instance = self.instances[-1]
        lanes = {axis.var for axis in instance.lanes}
        loops = [axis for axis in instance.loops if axis is None or axis.var not in lanes]
        forms = [form for form in bound.forms if form is not None]
        if any(axis is None or axis.extent < 1 for axis in loops) or len(forms) < len(bound.forms):
            return False
        axes = [axis for axis in loops if axis is not None]
        by_var = {axis.var: axis for axis in axes}
        reducing: dict[Var, None] = {}
        for i in bound.reduced:
            own = [by_var[var] for var in forms[i].terms if var in by_var]
            if len(own) < len(forms[i].terms) or any(axis.var in reducing for axis in own):
                return False
            if not grows_from(forms[i], own, bound.domains[i][0]) or not injective(forms[i], own):
                return False
            reducing.update(dict.fromkeys(axis.var for axis in own))
        if any(var in reducing for i in bound.others for var in forms[i].variables()):
            return False
        rest = [axis for axis in axes if axis.var not in reducing and axis.extent > 1]
        last = max((i for i, axis in enumerate(axes) if axis in rest), default=-1)
        inner = all(i > last for i, axis in enumerate(axes) if axis.var in reducing)
        key, weight = Linear({}), 1
        for i in reversed(bound.others):
            key = key.plus(forms[i].times(weight))
            weight *= max(bound.domains[i][1] - bound.domains[i][0], 1)
        return (inner or injective(key, rest)) and all(self._downward(c, reducing) for c in conditions)

    def _downward(self, condition: Expr, reducing: dict[Var, None]) -> bool:
        """Where the condition holds, does it hold at the first reduce point too?"""
        if not isinstance(condition, LT | LE):
            return False
        a, b = self.known.linear(condition.a), self.known.linear(condition.b)
        if a is None or b is None:
            return False
        difference = a.plus(b, -1)
        plain = all(atom in difference.terms for atom in difference.variables() if atom in reducing)
        return plain and all(difference.terms.get(var, 0) >= 0 for var in reducing)

