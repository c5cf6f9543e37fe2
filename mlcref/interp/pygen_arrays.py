"""Expressions of generated programs over whole loops: numpy text that computes the bits of the machine.

A nest has a box of axes. An expression is an array with one dimension per axis (of length 1 where it does not depend on
the axis), or a numpy number. Integers of index arithmetic are Python integers or int64 arrays; everything else has its
own data type, so that numpy rounds and wraps as the program does.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mlcref import dtype as dt
from mlcref.interp.pygen_code import Memory, NotGenerated, View
from mlcref.interp.pygen_scalar import SYMBOLS, constant
from mlcref.interp.pygen_static import Axis, Linear, Quotient, fits
from mlcref.interp.pygen_stmt import Statements
from mlcref.interp.pygen_support import array_function
from mlcref.ir.buffer import BufferLoad
from mlcref.ir.compound import Select
from mlcref.ir.expr import (
    Add, And, Binary, Call, Cast, Compare, Const, Div, Expr, FloorDiv, FloorMod, Max, Min, Mod, Mul, Not, Or, Sub, Var,
)  # fmt: skip
from mlcref.ir.intrinsics import INTRINSICS

_BITS = {"bitwise_and": "&", "bitwise_or": "|", "bitwise_xor": "^"}


class Arrays(Statements):
    """Generates expressions over a box of axes."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.box: list[Axis] = []
        self.box_level = 0
        self.compressed = False
        """Are the axes replaced by lists of the points at which a condition holds?"""
        self.guard = ""
        """Where the value is wanted, as text; empty for everywhere."""
        self.plain_known = self.known
        """What is known at all points, wanted or not."""

    # --- axes ---

    @property
    def shape(self) -> tuple[int, ...]:
        """The extents of the box."""
        return tuple(axis.extent for axis in self.box)

    def _atom(self, atom: Any) -> str:
        for position, axis in enumerate(self.box):
            if atom is axis.var and not self.compressed:
                ones = [1] * len(self.box)
                ones[position] = axis.extent
                span = f"{axis.start}, {axis.start + axis.extent}" if axis.start else str(axis.extent)
                shape = f".reshape({', '.join(map(str, ones))})" if len(self.box) > 1 else ""
                return self.hoisted(f"np.arange({span}){shape}", self.box_level, axis.var.name)
        return super()._atom(atom)

    def variable(self, var: Var) -> str:
        return self._atom(var) if any(axis.var is var for axis in self.box) else super().variable(var)

    def over_box(self, form: Linear) -> bool:
        """Does the form depend on the axes?"""
        return not form.variables().isdisjoint({axis.var for axis in self.box})

    def spread(self, memory: Memory, form: Linear, suffix: str, axes: Sequence[Axis]) -> str | None:
        """The elements at an address that is linear in the axes, as a view; None for other addresses."""
        inside = {axis.var for axis in axes}
        for atom in form.terms:
            if isinstance(atom, Quotient) and not atom.form.variables().isdisjoint({axis.var for axis in self.box}):
                return None
        start = Linear({a: c for a, c in form.terms.items() if a not in inside}, form.constant)
        start = start.plus(Linear({}, sum(form.terms.get(axis.var, 0) * axis.start for axis in axes)))
        strides = [form.terms.get(axis.var, 0) for axis in axes]
        shape = [axis.extent if stride else 1 for axis, stride in zip(axes, strides, strict=True)]
        text = f"view({memory.name}{suffix}, {self.address(start)}, {_tuple(shape)}, {_tuple(strides)})"
        depth = max((self._depth_of(atom) for atom in start.terms), default=0)
        return self.hoisted(text, depth, f"{memory.name}_{'mask' if suffix == '_w_np' else 'part'}")

    # --- memory ---

    def places(self, view: View, indices: Sequence[Expr], *, guarded: bool) -> tuple[Linear | None, str]:
        """The address of an access: a linear form that is in bounds everywhere, or text of checked addresses."""
        if not view.inside:
            raise NotGenerated("a view that leaves its memory, over arrays")
        total, texts = view.start, []
        forms = [self.known.linear(index) for index in indices]
        if all(self._bounded(form, n, guarded) for form, n in zip(forms, view.shape, strict=True)):
            for form, stride in zip(forms, view.strides, strict=True):
                total = total.plus(form.times(stride)) if form is not None else total
            return total, ""
        for index, form, extent, stride in zip(indices, forms, view.shape, view.strides, strict=True):
            if dt.lanes(index.dtype) != 1:
                raise NotGenerated("a vector access")
            text = self.address(form) if form is not None else self.typed(index, exact=True)
            if not self._bounded(form, extent, guarded):
                text = f"where_inside({text}, {extent}, {self.guard})" if guarded else f"inside({text}, {extent})"
            texts.append(text if stride == 1 else f"({text}) * {stride}")
        if view.start.terms or view.start.constant or not texts:
            texts.append(self.address(view.start))
        return None, " + ".join(texts)

    def _bounded(self, form: Linear | None, extent: int, everywhere: bool) -> bool:
        """Is an index surely in bounds, at the points at which it is wanted or everywhere?"""
        if form is None:
            return False
        low, high = (self.plain_known if everywhere else self.known).range_of(form)
        return low >= 0 and high < extent

    def elements(self, e: BufferLoad) -> str:
        """Loaded elements, all of which must have been written."""
        place = self.view(e.buffer)
        memory = place.memory
        _supported(memory.buffer.type)
        memory.arrays = True
        form, text = self.places(place, e.indices, guarded=bool(self.guard))
        mask = ""
        view = self.spread(memory, form, "_np", self.box) if form is not None and not self.compressed else None
        if view is None:
            at = self.address(form) if form is not None else text
            at = self.named(at, "at") if memory.checked else at
            view, mask = f"{memory.name}_np[{at}]", f"{memory.name}_w_np[{at}]"
        elif memory.checked and form is not None:
            mask = self.spread(memory, form, "_w_np", self.box) or ""
        if memory.checked and not self.is_initialised(place, e.indices):
            wanted = f"{mask} | ~{self.guard}" if self.guard else mask
            self.refuse_undefined(memory, f"np.all({wanted})")
        return str(view)

    # --- values ---

    def typed(self, e: Expr, *, exact: bool = False) -> str:
        """The value of ``e`` in its data type."""
        match e:
            case Const():
                return self.hoisted(f"np.{_supported(e.type)}({constant(e.value)})", 0, "number")
            case Var():
                return self.of_type(self.variable(e), _supported(e.type))
            case BufferLoad():
                return self.elements(e)
            case Compare():
                return self.condition(e, exact=exact)
            case Binary():
                return self.array_binary(e, exact)
            case Cast():
                return self.array_cast(e, exact)
            case Not():
                return f"np.logical_not({self.condition(e.a, exact=exact)})"
            case Select():
                condition = self.condition(e.condition)
                chosen, other = self.typed(e.true_value, exact=exact), self.typed(e.false_value, exact=exact)
                return f"np.where({condition}, {chosen}, {other})"
            case Call():
                return self.array_call(e, exact)
        raise NotGenerated(f"{type(e).__name__} over arrays")

    def of_type(self, text: str, dtype: str) -> str:
        """Index arithmetic as a value of its data type."""
        return f"np.asarray({text}).astype(np.{dtype})"

    def condition(self, e: Expr, *, exact: bool = False) -> str:
        """A truth value: a Python one, or an array."""
        if isinstance(e, And | Or):
            name = "and" if type(e) is And else "or"
            return f"np.logical_{name}({self.condition(e.a, exact=exact)}, {self.condition(e.b, exact=exact)})"
        if isinstance(e, Compare):
            a, b = self.known.linear(e.a), self.known.linear(e.b)
            if a is not None and b is not None:
                return f"(({self.address(a)}) {SYMBOLS[type(e)]} ({self.address(b)}))"
            return f"({self.typed(e.a, exact=exact)} {SYMBOLS[type(e)]} {self.typed(e.b, exact=exact)})"
        if not dt.is_bool(e.dtype):
            raise NotGenerated("a condition of this type")
        return self.typed(e, exact=exact)

    def array_binary(self, e: Binary, exact: bool) -> str:
        """A binary operation of arrays."""
        dtype = _supported(e.a.dtype)
        form = self.known.linear(e) if dt.is_integer(dtype) else None
        if form is not None:
            return self.of_type(self.address(form), dtype)
        a, b = self.typed(e.a, exact=exact), self.typed(e.b, exact=exact)
        if isinstance(e, Max | Min) and not dt.is_bool(dtype):
            a, b = self.named(a), self.named(b)
            return f"np.where({a} {'>' if type(e) is Max else '<'} {b}, {a}, {b})"
        if type(e) in (Add, Sub, Mul) and not dt.is_bool(dtype):
            if exact and dt.is_integer(dtype):
                self._must_fit(e, dtype)
            return f"({a} {SYMBOLS[type(e)]} {b})"
        if dt.is_float(dtype) and type(e) is Div:
            return f"({a} / {b})"
        return self.array_division(e, a, b)

    def _must_fit(self, e: Binary, dtype: str) -> None:
        low, high = dt.integer_range(dtype)
        x, y = self.known.interval(e.a), self.known.interval(e.b)
        reach = [x[0] + y[0], x[1] + y[1]] if type(e) is Add else [x[0] - y[1], x[1] - y[0]]
        if type(e) is Mul:
            reach = [p * q for p in x for q in y]
        if min(reach) < low or max(reach) > high:
            raise NotGenerated("index arithmetic that may overflow, over arrays")

    def array_division(self, e: Binary, a: str, b: str) -> str:
        """A division of integers whose divisor is surely not 0 or −1."""
        low, high = self.known.interval(e.b)
        if not dt.is_integer(e.a.dtype) or low <= 0 <= high or low <= -1 <= high:
            raise NotGenerated("a division that may be refused, over arrays")
        positive = low > 0 and self.known.interval(e.a)[0] >= 0
        if type(e) is FloorDiv or (type(e) is Div and positive):
            return f"({a} // {b})"
        if type(e) is FloorMod or (type(e) is Mod and positive):
            return f"({a} % {b})"
        raise NotGenerated("a truncating division, over arrays")

    def array_cast(self, e: Cast, exact: bool) -> str:
        """A conversion of arrays."""
        source, target = _supported(e.value.dtype), _supported(e.type)
        value = self.typed(e.value, exact=exact)
        if source == target:
            return value
        if dt.is_bool(target):
            return f"({value} != 0)"
        if dt.is_float(source) and not dt.is_float(target):
            if self.guard:
                raise NotGenerated("a conversion that may be refused, in a branch over arrays")
            return self.named(f'truncate({value}, "{target}")')
        if exact and not fits(self.known.interval(e.value), target):
            raise NotGenerated("index arithmetic that may not fit, over arrays")
        return f"np.asarray({value}).astype(np.{target})"

    def array_call(self, e: Call, exact: bool) -> str:
        """A call of an intrinsic on arrays."""
        row = INTRINSICS.get(e.op)
        if row is None or row.effect or not row.meaning:
            raise NotGenerated(f"a call of {e.op}")
        if row.lazy:
            return self.array_if(e, exact)
        operands = [self.typed(arg, exact=exact) for arg in e.args]
        if e.op in _BITS and dt.is_integer(e.type):
            return f"({operands[0]} {_BITS[e.op]} {operands[1]})"
        if e.op in ("shift_left", "shift_right") or not dt.is_float(e.args[0].dtype):
            raise NotGenerated(f"{e.op} over arrays")
        function = self.bound_object(f"{e.op}_all", array_function(e.op, _supported(e.args[0].dtype), e.type))
        return self.named(f"{function}({', '.join(operands)})")

    def array_if(self, e: Call, exact: bool) -> str:
        """``if_then_else``: each value is computed for all points, but checked only where it is wanted."""
        chosen = self.named(f"np.asarray({self.condition(e.args[0], exact=True)})", "chosen")
        outer, results = self.guard, []
        for mask, branch, known in (
            (chosen, e.args[1], self.known.assume(e.args[0])),
            (f"~{chosen}", e.args[2], self.known),
        ):
            if isinstance(branch, Const):
                results.append(self.typed(branch))
                continue
            self.guard = self.named(f"({outer} & {mask})" if outer else mask, "wanted")
            with self.knowing(known):
                results.append(self.typed(branch, exact=exact))
        self.guard = outer
        return f"np.where({chosen}, {results[0]}, {results[1]})"


def _supported(dtype: str) -> str:
    parsed = dt.parse(dtype)
    if parsed.lanes != 1 or not (parsed.is_integer or parsed.code == "bool" or dtype in ("float32", "float64")):
        raise NotGenerated(f"{dtype} over arrays")
    return dtype


def _tuple(values: Sequence[int]) -> str:
    return f"({', '.join(map(str, values))}{',' if len(values) == 1 else ''})"
