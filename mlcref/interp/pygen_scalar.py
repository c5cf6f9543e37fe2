"""Expressions of generated programs, one number at a time: Python text that computes the bits of
:mod:`mlcref.interp.numeric` and gives up where that refuses."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from mlcref import dtype as dt
from mlcref.interp.numeric import binary as operation
from mlcref.interp.numeric import converter, intrinsic
from mlcref.interp.pygen_code import Code, Memory, NotGenerated, View
from mlcref.interp.pygen_static import Linear, fits, same
from mlcref.ir.buffer import BufferLoad
from mlcref.ir.compound import Let, Select
from mlcref.ir.expr import (
    EQ, GE, GT, LE, LT, NE, Add, And, Binary, Call, Cast, Compare, Const, Div, Expr, FloorDiv, FloorMod, Max, Min, Mod,
    Mul, Not, Or, Sub, Var,
)  # fmt: skip
from mlcref.ir.intrinsics import INTRINSICS
from mlcref.rounding import rounder

SYMBOLS: dict[type[Any], str] = {Add: "+", Sub: "-", Mul: "*", EQ: "==", NE: "!=", LT: "<", LE: "<=", GT: ">",
                                 GE: ">=", And: "and", Or: "or"}  # fmt: skip
_PLAIN_CALLS = {"bitwise_and": "&", "bitwise_or": "|", "bitwise_xor": "^"}
_FLOAT_CALLS = {"exp", "log", "sqrt", "tanh", "sigmoid", "rsqrt", "sin", "cos", "pow", "abs", "floor", "ceil"}
"""Functions of the table that compute in float64 and are rounded like an operation."""
_DIRECT = {"exp": math.exp, "sqrt": math.sqrt, "tanh": math.tanh}
"""What the table guards: where these raise an error, the machine decides."""


class Scalars(Code):
    """Generates expressions."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.accumulators: list[tuple[Memory, str]] = []
        """Elements that are in a local variable: their memory and the variable."""
        self.initialised: tuple[Memory, Linear] | None = None
        """The element that the init of the block at hand has written."""

    def value(self, e: Expr, exact: bool = False) -> str:
        """Text of the value of ``e``; ``exact`` says that it is index arithmetic."""
        if isinstance(e, Binary) and not isinstance(e, Compare) and dt.is_integer(e.dtype):
            form = self.known.linear(e)
            if form is not None:
                return f"({self.address(form)})"
        match e:
            case Const():
                return constant(e.value)
            case Var():
                return self.variable(e)
            case BufferLoad():
                return self.load(e)
            case Binary():
                return self.binary(e, exact)
            case Cast():
                return self.cast(e, self.value(e.value, exact))
            case Not():
                return f"(not {self.value(e.a, exact)})"
            case Select():
                condition = self.value(e.condition)
                chosen, other = self.value(e.true_value, exact), self.value(e.false_value, exact)
                return f"({chosen} if {condition} else {other})"
            case Call():
                return self.call(e, exact)
            case Let():
                self.bind(e.var, self.value(e.value), e.value)
                with self.level(e.var):
                    result = self.value(e.body, exact)
                    return self.named(result)
        raise NotGenerated(f"a {type(e).__name__}")

    def variable(self, var: Var) -> str:
        """The text of a variable."""
        form = self.known.forms.get(var)
        if form is not None:
            return f"({self.address(form)})" if len(form.terms) + bool(form.constant) > 1 else self.address(form)
        if var not in self.names:
            raise NotGenerated(f"{var.name} has no value here")
        return self.names[var]

    def bind(self, var: Var, text: str, value: Expr) -> None:
        """A variable that stands for ``value``; the level of the variable must follow."""
        self.names[var] = self.fresh(var.name)
        self.line(f"{self.names[var]} = {text}")
        if dt.is_integer(var.type):
            self.known.ranges[var] = self.known.interval(value)

    def round(self, text: str, dtype: str) -> str:
        """A float rounded to its type."""
        if dtype == "float64":
            return f"({text})"
        if dtype != "float32":
            return f"{self.bound_object('round_' + dtype, rounder(dtype))}({text})"
        slot = f"t[{self.slot}]"
        self.slot += 1
        self.slots = max(self.slots, self.slot)
        self.line(f"{slot} = {text}")
        return slot

    # --- operations ---

    def binary(self, e: Binary, exact: bool) -> str:
        """A binary operation."""
        dtype = e.a.dtype
        if dt.lanes(dtype) != 1:
            raise NotGenerated("a vector operation")
        a, b = self.value(e.a, exact), self.value(e.b, exact)
        if isinstance(e, Max | Min):
            if dt.is_bool(dtype):
                raise NotGenerated("max of truth values")
            a, b = self.named(a), self.named(b)
            return f"({a} if {a} {'>' if type(e) is Max else '<'} {b} else {b})"
        if isinstance(e, Compare):
            return f"({a} {SYMBOLS[type(e)]} {b})"
        if dt.is_float(dtype):
            return self.float_binary(e, a, b, dtype)
        if not dt.is_integer(dtype):
            raise NotGenerated(f"{type(e).__name__} of {dtype}")
        return self.integer_binary(e, a, b, exact)

    def float_binary(self, e: Binary, a: str, b: str, dtype: str) -> str:
        """An operation of floats, rounded."""
        if type(e) in (Add, Sub, Mul):
            return self.round(f"{a} {SYMBOLS[type(e)]} {b}", dtype)
        if type(e) is not Div:
            raise NotGenerated(f"{type(e).__name__} of {dtype}")
        if isinstance(e.b, Const) and e.b.value:
            return self.round(f"{a} / {b}", dtype)
        a, b = self.named(a), self.named(b)
        divide = self.bound_object("divide_float64", operation(Div, "float64"))
        return self.round(f"{a} / {b} if {b} else {divide}({a}, {b})", dtype)

    def integer_binary(self, e: Binary, a: str, b: str, exact: bool) -> str:
        """An operation of integers: checked in index arithmetic, wrapped elsewhere, plain where it fits."""
        dtype = e.a.dtype
        if type(e) in (Add, Sub, Mul):
            x, y = self.known.interval(e.a), self.known.interval(e.b)
            text = f"({a} {SYMBOLS[type(e)]} {b})"
            reach = {Add: (x[0] + y[0], x[1] + y[1]), Sub: (x[0] - y[1], x[1] - y[0])}.get(type(e)) or (
                min(p * q for p in x for q in y), max(p * q for p in x for q in y))  # fmt: skip
            return text if fits(reach, dtype) else self.narrowed(text, dtype, exact)
        low, high = self.known.interval(e.b)
        if low <= 0 <= high or low <= -1 <= high:
            b = self.named(b)
            self.line(f"if {b} == 0 or {b} == -1: doubt()")
        positive = low > 0 and self.known.interval(e.a)[0] >= 0
        if type(e) is FloorDiv or (type(e) is Div and positive):
            return f"({a} // {b})"
        if type(e) is FloorMod or (type(e) is Mod and positive):
            return f"({a} % {b})"
        kind: Any = type(e)
        return f"{self.bound_object('truncating', operation(kind, dtype))}({a}, {b})"

    def narrowed(self, text: str, dtype: str, exact: bool) -> str:
        """An integer that may not fit its type."""
        low, high = dt.integer_range(dtype)
        name = self.fresh("x")
        self.line(f"{name} = {text}")
        if exact:
            self.line(f"if not {low} <= {name} <= {high}: doubt()")
        else:
            self.line(f"if not {low} <= {name} <= {high}: {name} = ({name} - {low}) % {high - low + 1} + {low}")
        return name

    def cast(self, e: Cast, value: str) -> str:
        """A conversion."""
        source, target = e.value.dtype, e.type
        if dt.lanes(source) != 1:
            raise NotGenerated("a vector conversion")
        if source == target or (source, target) == ("float32", "float64"):
            return value
        if (source, target) == ("float64", "float32"):
            return self.round(value, target)
        if dt.is_integer(source) and target in ("int32", "int64") and fits(self.known.interval(e.value), target):
            return value
        if dt.is_integer(source) and target == "float32":
            low, high = self.known.interval(e.value)
            if -(1 << 24) <= low and high <= 1 << 24:
                return f"float({value})"
        return self.named(f"{self.bound_object(f'{source}_to_{target}', converter(source, target))}({value})")

    def call(self, e: Call, exact: bool) -> str:
        """A call of an intrinsic."""
        row = INTRINSICS.get(e.op)
        if row is None or row.effect or not row.meaning or dt.lanes(e.type) != 1:
            raise NotGenerated(f"a call of {e.op}")
        if row.lazy:
            return self.if_then_else(e, exact)
        operands = [self.value(arg, exact) for arg in e.args]
        if e.op in _PLAIN_CALLS and dt.is_integer(e.type):
            return f"({operands[0]} {_PLAIN_CALLS[e.op]} {operands[1]})"
        dtype = e.args[0].dtype
        if e.type in ("float32", "float64") and row.reference is not None and e.op in _FLOAT_CALLS:
            function = self.bound_object(e.op, _DIRECT.get(e.op, row.reference))
            text = f"{function}({', '.join(operands)})"
            return self.named(text) if e.type == "float64" else self.round(text, e.type)
        function = self.bound_object(e.op, intrinsic(e.op, dt.parse(dtype).element, e.type))
        return self.named(f"{function}({', '.join(operands)})")

    def if_then_else(self, e: Call, exact: bool) -> str:
        """One of two values; the other is not evaluated."""
        result = self.fresh("chosen")
        condition = self.value(e.args[0], True)
        for head, branch, known in (
            (f"if {condition}:", e.args[1], self.known.assume(e.args[0])),
            ("else:", e.args[2], self.known),
        ):
            with self.indented(head), self.knowing(known):
                self.line(f"{result} = {self.value(branch, exact)}")
        return result

    # --- memory ---

    def load(self, e: BufferLoad) -> str:
        """An element, which must have been written."""
        view = self.view(e.buffer)
        memory = view.memory
        for held, name in self.accumulators:
            if held is memory:
                return name
        checked = memory.checked and not self.is_initialised(view, e.indices)
        address = self.locate(view, e.indices, keep=checked or bool(memory.forks))
        if checked:
            self.refuse_undefined(memory, f"{memory.name}_w[{address}]")
        for users in memory.forks:
            self.line(f"{users.name}.read({address})")
        return f"{memory.name}[{address}]"

    def is_initialised(self, view: View, indices: Sequence[Expr]) -> bool:
        """Is this the element that the init has written?"""
        if self.initialised is None or self.initialised[0] is not view.memory:
            return False
        form = self.flat(view, indices)
        return form is not None and same(form, self.initialised[1])

    def flat(self, view: View, indices: Sequence[Expr]) -> Linear | None:
        """The address as a linear form, when each index is one; nothing is checked."""
        total = view.start
        for index, stride in zip(indices, view.strides, strict=True):
            form = self.known.linear(index)
            if form is None:
                return None
            total = total.plus(form.times(stride))
        return total

    def locate(self, view: View, indices: Sequence[Expr], *, keep: bool = False) -> str:
        """The address of an element; indices that may be out of bounds are checked."""
        total, others = view.start, []
        for index, extent, stride in zip(indices, view.shape, view.strides, strict=True):
            if dt.lanes(index.dtype) != 1:
                raise NotGenerated("a vector access")
            form = self.known.linear(index)
            low, high = self.known.interval(index)
            text = "" if form is not None else self.named(self.value(index, True))
            if low < 0 or high >= extent:
                self.refuse_unless(f"0 <= {text or self.address(form, keep=True)} < {extent}")  # type: ignore[arg-type]
            if form is not None:
                total = total.plus(form.times(stride))
            else:
                others.append(text if stride == 1 else f"{text} * {stride}")
        if not others:
            text = self.address(total, keep=keep or not view.inside)
        else:
            start = self.address(total)
            text = " + ".join([*others, start] if start != "0" else others)
            text = self.named(text, "at") if keep or not view.inside else text
        if not view.inside:
            self.refuse_unless(f"0 <= {text} < {view.memory.size}")
        return text


def constant(value: Any) -> str:
    """A number as Python text."""
    if isinstance(value, float) and not math.isfinite(value):
        return "NAN" if value != value else "INF" if value > 0 else "(-INF)"
    return f"({value!r})" if not isinstance(value, bool) and math.copysign(1, value) < 0 else repr(value)

