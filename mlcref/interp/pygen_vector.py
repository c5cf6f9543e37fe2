"""Loop nests as numpy statements: which nests, over which loops, in which form."""

from __future__ import annotations

import math
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

from mlcref.interp.placement import is_thread
from mlcref.interp.pygen_arrays import Arrays
from mlcref.interp.pygen_blocks import Bound, axis_of
from mlcref.interp.pygen_code import Memory, NotGenerated, View
from mlcref.interp.pygen_static import Axis, Linear, holds, injective, same
from mlcref.ir.buffer import BufferLoad
from mlcref.ir.expr import Add, Binary, Const, Expr, Max, Min, Mul, Sub
from mlcref.ir.stmt import BlockRealize, BufferStore, For, IfThenElse, Stmt
from mlcref.ir.visit import walk

_LEAST, _MOST = 24, 1 << 18
"""Points of a numpy statement: fewer are faster one by one, more are cut into several statements."""

_ORDERED = {Add: "add", Sub: "sub", Mul: "mul", Max: "max", Min: "min"}


@dataclass
class Nest:
    """Loops around one store: what it stores where, under which conditions, and the init of its reduction."""

    loops: list[For]
    axes: list[Axis]
    conditions: list[Expr]
    store: BufferStore
    init: BufferStore | None
    realize: BlockRealize | None
    bound: Bound | None


class Nests(Arrays):
    """Generates numpy statements for nests, and everything else one number at a time."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.arrays = True

    def vector_nest(self, stmt: For) -> bool:
        if not self.arrays:
            return False
        nest = self.nest(stmt)
        if nest is None or math.prod(axis.extent for axis in nest.axes) < _LEAST:
            return False
        state = self.body, len(self.body), self.known, len(self.levels), self.loop_depth
        try:
            return self.nest_statements(nest)
        except NotGenerated:
            self.body, mark, self.known, depth, self.loop_depth = state
            del self.body[mark:], self.levels[depth:]
            self.box, self.compressed, self.guard, self.initialised = [], False, "", None
            return False

    # --- which nests ---

    def nest(self, stmt: For) -> Nest | None:
        """The perfect nest that ``stmt`` is, down to one store."""
        loops, axes, conditions = [], [], []
        inner: Stmt = stmt
        while isinstance(inner, For):
            axis = axis_of(inner, self.known)
            if axis is None or axis.extent < 1 or is_thread(inner):
                return None
            if inner is not stmt:
                self.known.ranges[inner.loop_var] = (axis.start, axis.start + axis.extent - 1)
                if inner.kind in ("parallel", "vectorized") and self.conflicts(inner, axis):
                    return None
            loops.append(inner)
            axes.append(axis)
            inner = inner.body
            if self.facts.allocations.get(inner):
                return None
        while isinstance(inner, IfThenElse) and inner.else_case is None:
            conditions.append(inner.condition)
            inner = inner.then_case
            if self.facts.allocations.get(inner) or isinstance(inner, BlockRealize):
                return None
        if isinstance(inner, BufferStore):
            return Nest(loops, axes, conditions, inner, None, None, None)
        return self.block_nest(inner, loops, axes) if isinstance(inner, BlockRealize) else None

    def block_nest(self, realize: BlockRealize, loops: list[For], axes: list[Axis]) -> Nest | None:
        """A nest around a block that stores one element, with an init of the same element or none."""
        block = realize.block
        init, store = block.init, block.body
        if block.alloc_buffers or block.match_buffers or not isinstance(store, BufferStore):
            return None
        if init is not None and (not isinstance(init, BufferStore) or init.buffer is not store.buffer):
            return None
        if self.facts.allocations.get(store) or (init is not None and self.facts.allocations.get(init)):
            return None
        bound = self.forms_of(realize)
        if any(form is None for form in bound.forms):
            return None
        if init is not None and bound.reduced:
            around = self.instances[-1].loops
            around.extend(axes)
            proven = self.proven_order(bound, [c for c in realize.predicate if holds(c, self.known) is not True])
            del around[len(around) - len(axes) :]
            if not proven:
                return None
        return Nest(loops, axes, list(realize.predicate), store, init, realize, bound)

    def filled_by(self, stmt: For) -> Memory | None:
        nest = self.nest(stmt)
        if nest is None:
            return None
        if nest.realize is not None and nest.bound is not None:
            self.with_forms(nest.realize.block, nest.bound)
        view = self.find_view(nest.store.buffer)
        target = self.flat(view, nest.store.indices) if view is not None else None
        if view is None or target is None or not view.inside or not self.self_contained(nest, view, target):
            return None
        memory = view.memory
        spatial = [axis for axis in nest.axes if axis.var in target.terms]
        whole = math.prod(axis.extent for axis in spatial) == memory.size and injective(target, spatial)
        return memory if whole and all(holds(c, self.known) for c in nest.conditions) else None

    # --- in which form ---

    def nest_statements(self, nest: Nest) -> bool:
        """Choose the loops that become axes, and generate."""
        if nest.realize is not None and nest.bound is not None:
            self.with_forms(nest.realize.block, nest.bound)
        view = self.view(nest.store.buffer)
        memory, target = view.memory, self.flat(view, nest.store.indices)
        if target is None or not view.inside or not self.self_contained(nest, view, target):
            return False
        spatial = [axis for axis in nest.axes if axis.var in target.terms]
        ordered = [axis for axis in nest.axes if axis.var not in target.terms]
        if not injective(target, spatial):
            return False
        count, steps = (math.prod(axis.extent for axis in axes) for axes in (spatial, ordered))
        if steps >= 4 and count <= 1024 and self.reducible(nest, view, ordered) and steps * count <= _MOST:
            self.reduction(nest, memory, target, spatial, ordered)
            return True
        outer: list[Axis] = []
        while count > _MOST:
            outer.append(spatial.pop(0))
            count //= outer[-1].extent
        if count < _LEAST:
            return False
        self.plain_nest(nest, memory, target, spatial, outer + ordered)
        return True

    def self_contained(self, nest: Nest, view: View, target: Linear) -> bool:
        """Does each point use no element of the stored buffer but its own?"""
        parts: list[Any] = [nest.store, *nest.conditions, *([nest.init] if nest.init is not None else [])]
        if nest.init is not None:
            form = self.flat(view, nest.init.indices)
            if form is None or not same(form, target):
                return False
        for part in parts:
            for node in walk(part):
                if type(node) is BufferLoad and self.uses(node, view.memory):
                    form = self.flat(self.view(node.buffer), node.indices)
                    if form is None or not same(form, target) or part is not nest.store:
                        return False
        return True

    def reducible(self, nest: Nest, view: View, ordered: list[Axis]) -> bool:
        """Is the nest a reduction whose steps, over ``ordered``, numpy can chain?"""
        value = nest.store.value
        if type(value) not in _ORDERED or not isinstance(value, Binary) or not isinstance(value.a, BufferLoad):
            return False
        if value.a.buffer is not nest.store.buffer:
            return False
        if any(type(node) is BufferLoad and self.uses(node, view.memory) for node in walk(value.b)):
            return False
        if nest.init is not None and not (isinstance(nest.init.value, Const) and starts_once(nest.bound, ordered)):
            return False
        if nest.bound is not None:
            for form, (low, high) in zip(nest.bound.forms, nest.bound.domains, strict=True):
                least, most = self.known.range_of(form) if form is not None else (low - 1, high)
                if least < low or most >= high:
                    return False
        return all(holds(condition, self.known) for condition in nest.conditions) and self.in_bounds(view, nest.store)

    def reduction(
        self, nest: Nest, memory: Memory, target: Linear, spatial: list[Axis], ordered: list[Axis]
    ) -> None:
        """All steps of all elements at once, chained in their order."""
        value = nest.store.value
        assert isinstance(value, Binary)
        self.box, self.plain_known = [*spatial, *ordered], self.known
        with self.level(*(axis.var for axis in self.box)):
            self.box_level = len(self.levels) - 1
            memory.arrays = memory.written = True
            result = self.spread(memory, target, "_np", spatial)
            mask = self.spread(memory, target, "_w_np", spatial)
            if result is None or mask is None:
                raise NotGenerated("a reduction to elements that are no view")
            start = self.first_values(nest, memory, result, mask)
            steps = self.typed(value.b)
            shape = (*(axis.extent for axis in spatial), math.prod(axis.extent for axis in ordered))
            steps = f"np.broadcast_to({steps}, {self.shape}).reshape({', '.join(map(str, shape))})"
            self.line(f'{result}[...] = ordered("{_ORDERED[type(value)]}", {start}, {steps})')
            self.note_written(memory, f"{mask}[...] = 1")
        self.box = []

    def first_values(self, nest: Nest, memory: Memory, result: str, mask: str) -> str:
        """What a reduction starts from: its init, in the nest at which the reduction starts, or what was there."""
        begins, bound = [], nest.bound
        for i in bound.reduced if nest.init is not None and bound is not None else ():
            assert bound is not None
            form, starts = bound.forms[i], {axis.var: axis.start for axis in nest.axes}
            assert form is not None
            outer = Linear({a: c for a, c in form.terms.items() if a not in starts})
            if outer.terms:
                reached = form.constant + sum(c * starts[a] for a, c in form.terms.items() if a in starts)
                begins.append(f"{self.address(outer)} == {bound.domains[i][0] - reached}")
        if nest.init is not None and not begins:
            return self.typed(nest.init.value)
        if nest.init is None:
            if memory.checked:
                self.refuse_undefined(memory, f"np.all({mask})")
            return result
        start = self.fresh("start")
        with self.indented(f"if {' and '.join(begins)}:"):
            self.line(f"{start} = {self.typed(nest.init.value)}")
        with self.indented("else:"):
            if memory.checked:
                self.refuse_undefined(memory, f"np.all({mask})")
            self.line(f"{start} = {result}")
        return start

    def plain_nest(
        self, nest: Nest, memory: Memory, target: Linear, spatial: list[Axis], around: list[Axis]
    ) -> None:
        """One statement over the spatial loops, inside of the others as Python loops."""
        self.box, self.plain_known = spatial, self.known
        by_var = {axis.var: loop for axis, loop in zip(nest.axes, nest.loops, strict=True)}
        with ExitStack() as stack:
            stack.enter_context(self.level(*(axis.var for axis in spatial)))
            self.box_level = len(self.levels) - 1
            for axis in around:
                stack.enter_context(self.indented(self.head(by_var[axis.var], axis)))
                stack.enter_context(self.level(axis.var))
            self.conditional(nest, memory, target, stack)
        self.box, self.compressed = [], False

    def conditional(self, nest: Nest, memory: Memory, target: Linear, stack: ExitStack) -> None:
        """The statement, at the points where its conditions hold."""
        for condition in nest.conditions:
            if holds(condition, self.known):
                continue
            text = self.condition(condition, exact=True)
            mask = self.named(f"np.broadcast_to({text}, {'(-1,)' if self.compressed else self.shape})", "holds")
            stack.enter_context(self.knowing(self.known.assume(condition)))
            self.compress(mask, stack)
        if nest.realize is not None and nest.bound is not None:
            self.check_domains(nest.bound)
            stack.enter_context(self.knowing(self.with_forms(nest.realize.block, nest.bound)))
            self.plain_known = self.known
        memory.arrays = memory.written = True
        if nest.init is not None:
            self.initialise(nest, nest.init, memory, target)
            if nest.realize is not None and nest.bound is not None:
                one = self.one_place(nest.realize.block, nest.bound, target)
                self.initialised = (memory, target) if one else None
        self.put_all(nest.store, memory, target)
        self.initialised = None

    def compress(self, mask: str, stack: ExitStack) -> None:
        """Replace the axes by lists of the points at which the mask holds."""
        if self.compressed:
            raise NotGenerated("several conditions over arrays")
        names = {}
        stack.enter_context(self.indented(f"if {mask}.any():"))
        for axis in self.box:
            whole = self._atom(axis.var)
            names[axis.var] = self.fresh(axis.var.name)
            self.line(f"{names[axis.var]} = np.broadcast_to({whole}, {self.shape})[{mask}]")
        stack.enter_context(self.level(*names))
        self.names.update(names)
        self.compressed = True
        self.plain_known = self.known

    def check_domains(self, bound: Bound) -> None:
        """Rule block.domain at all points."""
        for form, (low, high) in zip(bound.forms, bound.domains, strict=True):
            assert form is not None
            least, most = self.known.range_of(form)
            if least < low or most >= high:
                text = f"({self.address(form)}) - {low}" if low else self.address(form)
                self.line(f"inside({text}, {high - low})")

    def initialise(self, nest: Nest, init: BufferStore, memory: Memory, target: Linear) -> None:
        """The init, in the instances in which the reduce iterators are at their start."""
        assert nest.bound is not None
        starts = []
        for i in nest.bound.reduced:
            form = nest.bound.forms[i]
            if form is None or self.over_box(form):
                raise NotGenerated("an init that depends on an axis")
            starts.append(f"{self.address(form)} == {nest.bound.domains[i][0]}")
        if not starts:
            self.put_all(init, memory, target)
            return
        with self.indented(f"if {' and '.join(starts)}:"):
            self.put_all(init, memory, target)

    def put_all(self, store: BufferStore, memory: Memory, target: Linear) -> None:
        """Store all elements at once."""
        value = self.typed(store.value)
        form, text = self.places(self.view(store.buffer), store.indices, guarded=False)
        view = None if self.compressed or form is None else self.spread(memory, target, "_np", self.box)
        if view is not None:
            self.line(f"{view}[...] = {value}")
            self.note_written(memory, f"{self.spread(memory, target, '_w_np', self.box)}[...] = 1")
            return
        at = self.named(self.address(form) if form is not None else text, "at")
        self.line(f"{memory.name}_np[{at}] = {value}")
        self.note_written(memory, f"{memory.name}_w_np[{at}] = 1")


def starts_once(bound: Bound | None, ordered: list[Axis]) -> bool:
    """Does the init run at the first point of ``ordered`` alone? Not where one of the loops computes the sum again."""
    forms = [bound.forms[i] for i in bound.reduced] if bound is not None else []
    reducing = {var for form in forms if form is not None for var in form.variables()}
    return all(axis.var in reducing or axis.extent == 1 for axis in ordered)
