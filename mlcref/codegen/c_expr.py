"""Scalar expressions as Cython text, in two readings.

An **index** (of a buffer, a loop bound) is an exact integer: everything is ``int64_t`` and written with plain
operators. A **value** has its data type: integers wrap, floats round, each operation in the type that the program
gives it.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from math import prod
from typing import Any

from mlcref import dtype as dt
from mlcref.arith import bounds, ramp_through_rows
from mlcref.codegen.c_types import Names, c_type
from mlcref.codegen.c_vector import VectorExpressions
from mlcref.codegen.foreign import check_call
from mlcref.codegen.narrow_floats import constant_bits, is_narrow
from mlcref.codegen.prelude import Prelude
from mlcref.codegen.registers import Slot
from mlcref.codegen.sharing import Position, position, vector_key
from mlcref.errors import UnsupportedError
from mlcref.ir import (
    EQ, GE, GT, LE, LT, NE, Add, And, Buffer, BufferLoad, Call, Cast, Const, Div, Expr, FloorDiv, FloorMod, Let, Max,
    Min, Mod, Mul, Not, Or, Ramp, Select, StringImm, Sub, Var, const, constant,
)  # fmt: skip

_ATOM, _TERM, _SUM, _LOOSE = 3, 2, 1, 0
Text = tuple[str, int]
"""A text and how tightly it binds."""

_SYMBOLS: dict[type, tuple[str, int]] = {Add: ("+", _SUM), Sub: ("-", _SUM), Mul: ("*", _TERM)}
_WRAPPING: dict[type, str] = {Add: "add", Sub: "sub", Mul: "mul"}
_COMPARISONS: dict[type, str] = {EQ: "==", NE: "!=", LT: "<", LE: "<=", GT: ">", GE: ">="}
_FLOOR = (FloorDiv, FloorMod)


class Expressions:
    """Writes the expressions of one function. ``domain`` has what is known of the loop variables in scope."""

    def __init__(self, prelude: Prelude, names: Names) -> None:
        self.prelude, self.names = prelude, names
        self.domain: dict[Var, Any] = {}
        self.exact: set[Var] = set()
        self.lets: dict[Var, Expr] = {}
        self.slots: dict[Buffer, dict[Any, Slot]] = {}
        self.views: dict[Buffer, Buffer] = {}
        """The parameter or allocation whose memory a declared buffer is a view of."""
        self.positions: dict[Hashable, str] = {}
        """Variables that hold positions, by their keys."""
        self.places: dict[tuple[Buffer, int], tuple[tuple[Expr, ...], Position | None]] = {}
        self.repeated: set[Hashable] = set()
        """Keys of vectors to be loaded once, by ``load_once``; empty where a statement may be skipped."""
        self.loaded: dict[Hashable, str] = {}
        self.load_once: Callable[[str, str], str] = lambda kind, text: text
        self.vectors = VectorExpressions(self)

    # ---- indices

    def index(self, expr: Expr) -> str:
        """An exact integer."""
        return self._index(expr)[0]

    def _index(self, expr: Expr) -> Text:
        if isinstance(expr, Const):
            return (str(int(expr.value)), _ATOM if int(expr.value) >= 0 else _TERM)
        if isinstance(expr, Var):
            return self._index_variable(expr)
        if type(expr) in _SYMBOLS:
            return self._operator(expr, *_SYMBOLS[type(expr)], self._index, associative=isinstance(expr, Add))
        rule = _INDEX_RULES.get(type(expr))
        if rule is not None:
            return rule(self, expr)
        return (f"<int64_t>{self.atom(self._value(expr))}", _TERM)

    def _index_variable(self, var: Var) -> Text:
        if var in self.lets:
            return self._index(self.lets[var])
        name = self.names.of[var]
        return (name, _ATOM) if var in self.exact or var.type == "int64" else (f"<int64_t>{name}", _TERM)

    def _operator(
        self, expr: Any, symbol: str, level: int, part: Callable[[Expr], Text], associative: bool = False
    ) -> Text:
        """``a symbol b`` with the parentheses that it needs; floating-point sums must not be regrouped."""
        a, b = part(expr.a), part(expr.b)
        left = a[0] if a[1] >= level else f"({a[0]})"
        right = b[0] if b[1] > level or (associative and b[1] == level) else f"({b[0]})"
        return (f"{left} {symbol} {right}", level)

    def _index_division(self, expr: Any) -> Text:
        """C's division where it agrees with the wanted one: truncating, or of operands that are not negative."""
        symbol = "//" if isinstance(expr, Div | FloorDiv) else "%"
        if isinstance(expr, _FLOOR) and not (self.not_negative(expr.a) and self.positive(expr.b)):
            make = self.prelude.floor_division if isinstance(expr, FloorDiv) else self.prelude.floor_remainder
            return (f"{make('int64')}({self.index(expr.a)}, {self.index(expr.b)})", _ATOM)
        return (f"{self.atom(self._index(expr.a))} {symbol} {self.atom(self._index(expr.b))}", _TERM)

    def _index_extremum(self, expr: Any) -> Text:
        name = self._extremum_name(expr, "int64")
        return (f"{name}({self.index(expr.a)}, {self.index(expr.b)})", _ATOM)

    def _index_cast(self, expr: Any) -> Text:
        if expr.type in ("int32", "int64") and dt.is_integer(expr.value.dtype):
            return self._index(expr.value)
        return (f"<int64_t>{self.atom(self._value(expr))}", _TERM)

    def not_negative(self, expr: Expr) -> bool:
        """Is an index proved to be 0 or more?"""
        low = bounds(expr, self.domain).lo
        return low is not None and low >= 0

    def positive(self, expr: Expr) -> bool:
        """Is an index proved to be 1 or more?"""
        low = bounds(expr, self.domain).lo
        return low is not None and low >= 1

    # ---- values

    def value(self, expr: Expr) -> str:
        """A value of its data type, scalar or vector."""
        return self._value(expr)[0]

    def condition(self, expr: Expr) -> str:
        """A truth value."""
        return self._value(expr)[0]

    def atom(self, text: Text) -> str:
        """The text as an operand of anything."""
        return text[0] if text[1] == _ATOM else f"({text[0]})"

    def _value(self, expr: Expr) -> Text:
        if dt.lanes(expr.dtype) > 1:
            return (self.vectors.value(expr), _LOOSE)
        rule = _VALUE_RULES.get(type(expr))
        if rule is None:
            raise UnsupportedError(
                f"the Cython backend cannot write a {type(expr).__name__}",
                rule="codegen.expression",
                root=expr,
                marks=[(expr, "here")],
            )
        return rule(self, expr)

    def _constant(self, expr: Any) -> Text:
        if dt.is_float(expr.type):
            return self._float_constant(float(expr.value), expr.type)
        c_type(expr.type)
        return (str(int(expr.value)), _ATOM if int(expr.value) >= 0 else _TERM)

    def _float_constant(self, value: float, dtype: str) -> Text:
        kind = c_type(dtype)
        if is_narrow(dtype):
            return (f"<{kind}>{constant_bits(value, dtype)}", _TERM)
        if value != value or value in (float("inf"), float("-inf")):
            return (f"<{kind}>{self.prelude.special(value)}", _TERM)
        return (f"<{kind}>{value!r}" if value >= 0 and str(value)[0] != "-" else f"<{kind}>({value!r})", _TERM)

    def _variable(self, expr: Any) -> Text:
        if expr in self.lets:
            return self._value(self.lets[expr])
        name = self.names.of[expr]
        return (f"<{c_type(expr.type)}>{name}", _TERM) if expr in self.exact and expr.type != "int64" else (name, _ATOM)

    def _arithmetic(self, expr: Any) -> Text:
        symbol, level = _SYMBOLS[type(expr)]
        if is_narrow(expr.dtype):
            return self._narrow(self.prelude.narrow_operation(_WRAPPING[type(expr)], symbol, expr.dtype), expr)
        if dt.is_float(expr.dtype):
            return self._operator(expr, symbol, level, self._value)
        name = self.prelude.wrapping(_WRAPPING[type(expr)], symbol, expr.dtype)
        return (f"{name}({self.value(expr.a)}, {self.value(expr.b)})", _ATOM)

    def _narrow(self, name: str, expr: Any) -> Text:
        """A binary operation of floats narrower than float32: a function."""
        return (f"{name}({self.value(expr.a)}, {self.value(expr.b)})", _ATOM)

    def _division(self, expr: Any) -> Text:
        dtype = expr.dtype
        if is_narrow(dtype):
            return self._narrow(self.prelude.narrow_operation("div", "/", dtype), expr)
        if dt.is_float(dtype):
            return self._operator(expr, "/", _TERM, self._value)
        if isinstance(expr, _FLOOR) and dt.parse(dtype).code == "int":
            make = self.prelude.floor_division if isinstance(expr, FloorDiv) else self.prelude.floor_remainder
            return (f"{make(dtype)}({self.value(expr.a)}, {self.value(expr.b)})", _ATOM)
        symbol = "//" if isinstance(expr, Div | FloorDiv) else "%"
        a, b = self.atom(self._value(expr.a)), self.atom(self._value(expr.b))
        return (f"<{c_type(dtype)}>({a} {symbol} {b})", _TERM)

    def _extremum(self, expr: Any) -> Text:
        return (f"{self._extremum_name(expr, expr.dtype)}({self.value(expr.a)}, {self.value(expr.b)})", _ATOM)

    def _extremum_name(self, expr: Any, dtype: str) -> str:
        return self.prelude.extremum(*(("max", ">") if isinstance(expr, Max) else ("min", "<")), dtype)

    def _comparison(self, expr: Any) -> Text:
        if is_narrow(expr.a.dtype):
            symbol = _COMPARISONS[type(expr)]
            return self._narrow(self.prelude.comparison(type(expr).__name__.lower(), symbol, expr.a.dtype), expr)
        part = self._index if self.is_index(expr.a) and self.is_index(expr.b) else self._value
        return (f"{self.atom(part(expr.a))} {_COMPARISONS[type(expr)]} {self.atom(part(expr.b))}", _LOOSE)

    def is_index(self, expr: Expr) -> bool:
        """Is this arithmetic on loop and shape variables, which is exact?"""
        if isinstance(expr, Const):
            return dt.is_integer(expr.type)
        if isinstance(expr, Var):
            return expr in self.exact
        return (
            isinstance(expr, Add | Sub | Mul | FloorDiv | FloorMod) and self.is_index(expr.a) and self.is_index(expr.b)
        )

    def _logic(self, expr: Any) -> Text:
        """Both sides are evaluated: no branch, and nothing in the way of vectorisation."""
        symbol = "&" if isinstance(expr, And) else "|"
        return (f"{self._truth(expr.a)} {symbol} {self._truth(expr.b)}", _LOOSE)

    def _truth(self, expr: Expr) -> str:
        return self.atom(self._value(expr))

    def _not(self, expr: Any) -> Text:
        return (f"{self.atom(self._value(expr.a))} == 0", _LOOSE)

    def _select(self, expr: Any) -> Text:
        name = self.prelude.selection(expr.dtype)
        return (
            f"{name}({', '.join(self.value(p) for p in (expr.condition, expr.true_value, expr.false_value))})",
            _ATOM,
        )

    def _cast(self, expr: Any) -> Text:
        source, target = expr.value.dtype, expr.type
        if is_narrow(source) and dt.is_bool(target):
            wide = self.prelude.conversion(source, "float32")
            return (f"{wide}({self.value(expr.value)}) != 0", _LOOSE)
        if source != target and (is_narrow(source) or is_narrow(target)):
            name = self.prelude.conversion("uint8" if dt.is_bool(source) else source, target)
            return (f"{name}({self.value(expr.value)})", _ATOM)
        inner = self.atom(self._value(expr.value))
        if dt.is_bool(expr.type):
            return (f"{inner} != 0", _LOOSE)
        return (f"<{c_type(expr.type)}>{inner}", _TERM)

    def _let(self, expr: Any) -> Text:
        self.lets[expr.var] = expr.value
        return self._value(expr.body)

    def _load(self, expr: Any) -> Text:
        slot = self.slot(expr)
        return (
            slot.name if slot else f"{self.names.of[expr.buffer]}[{self.address(expr.buffer, expr.indices)}]",
            _ATOM,
        )

    def _call(self, expr: Any) -> Text:
        if expr.op == "if_then_else":
            condition, yes, no = (self.atom(self._value(arg)) for arg in expr.args)
            return (f"({yes} if {condition} else {no})", _ATOM)
        if expr.op == "likely":
            return self._value(expr.args[0])
        if expr.op == "call_pure_extern":
            return (self.foreign_call(expr), _ATOM)
        if expr.op == "buffer_offset":
            return (f"<{c_type(expr.type)}>{self._index_call(expr)[0]}", _TERM)
        operand = expr.args[0].dtype if expr.args else expr.type
        name = self.prelude.intrinsic(expr.op, operand, expr.type)
        return (f"{name}({', '.join(self.value(arg) for arg in expr.args)})", _ATOM)

    # ---- functions that the program brings along

    def foreign_call(self, e: Call) -> str:
        """The call of an imported C function; raises ``UnsupportedError`` where its definition does not fit."""
        name = e.args[0].value if isinstance(e.args[0], StringImm) else ""
        pointers = [_pointed_buffer(arg) for arg in e.args[1:]]
        kinds = [None if buffer is None else buffer.type for buffer in pointers]
        check_call(name, e, kinds, tuple(self.prelude.imported))
        given = [self.value(arg) if kind is None else self.pointer(arg)
                 for arg, kind in zip(e.args[1:], kinds, strict=True)]  # fmt: skip
        return f"{self.prelude.foreign(name, e.type)}({', '.join(given)})"

    def _index_call(self, e: Any) -> Text:
        """``A.elem_offset`` of a view: how far it begins from the start of its memory."""
        if e.op != "buffer_offset":
            return (f"<int64_t>{self.atom(self._value(e))}", _TERM)
        buffer = e.args[0].buffer
        return (f"({self.names.of[buffer]} - {self.memory(buffer)})" if buffer in self.views else "0", _ATOM)

    def memory(self, buffer: Buffer) -> str:
        """A pointer to the whole memory that ``buffer`` is in."""
        return self.names.of[self.views.get(buffer, buffer)]

    def pointer(self, e: Any) -> str:
        """The pointer that ``A.access_ptr``, ``A.data`` or ``T.address_of`` is."""
        if e.op == "tvm_access_ptr":
            return f"{self.pointer(e.args[1])} + {self.atom(self._index(e.args[2]))}"
        load = e.args[0]
        if e.op == "buffer_data":
            return self.memory(load.buffer)
        return f"{self.names.of[load.buffer]} + {self.atom((self.address(load.buffer, load.indices), _LOOSE))}"

    # ---- memory

    def slot(self, access: Any) -> Slot | None:
        """The C variable that holds the accessed element or vector, for a buffer kept in registers."""
        slots = self.slots.get(access.buffer)
        return None if slots is None else slots[Slot.key(access.indices)]

    def address(self, buffer: Buffer, indices: tuple[Expr, ...]) -> str:
        """The row-major position of an element (of the first lane of a vector) in its buffer."""
        rows = None if buffer.strides else ramp_through_rows(buffer.shape, indices)
        if rows is not None:
            first, ramp = rows
            below = const(prod(constant(extent) or 1 for extent in buffer.shape[first:]), ramp.base.dtype)
            return self.row_major([*buffer.shape[:first], below], [*indices[:first], ramp.base])
        scalar = [index.base if isinstance(index, Ramp) else index for index in indices]
        if buffer in self.views and buffer.strides:
            return self._strided(buffer, scalar)
        place = self.place(buffer, indices) if self.positions else None
        if place is not None:
            name = self.positions.get(place.key)
            if name is not None:
                return f"{name} + {place.offset}" if place.offset else name
        return self.row_major(buffer.shape, scalar)

    def row_major(self, shape: Sequence[Expr], indices: Sequence[Expr]) -> str:
        """The position of an element in rows of that shape."""
        position: Text = ("0", _ATOM)
        for extent, part in zip(shape, indices, strict=True):
            position = self._next_axis(position, extent, part)
        return position[0]

    def place(self, buffer: Buffer, indices: tuple[Expr, ...]) -> Position | None:
        """The position of an access that may be counted from another one, in a buffer that lies row by row in memory;
        computed once for each access.
        """
        known = self.places.get((buffer, id(indices)))
        if known is None or known[0] is not indices:
            elsewhere = buffer in self.slots or (buffer in self.views and buffer.strides)
            known = (indices, None if elsewhere else position(buffer, indices))
            self.places[buffer, id(indices)] = known
        return known[1]

    def once(self, expr: Expr, text: Callable[[], str]) -> str:
        """``text()`` of a vector, or the variable that holds it already."""
        if not self.repeated and not self.loaded:
            return text()
        key = vector_key(expr)
        if key in self.loaded:
            return self.loaded[key]
        if key is None or key not in self.repeated:
            return text()
        self.loaded[key] = self.load_once(self.prelude.vector(expr.dtype), text())
        return self.loaded[key]

    def _strided(self, buffer: Buffer, indices: list[Expr]) -> str:
        """The position of an element of a view, from its first."""
        parts = zip(indices, buffer.strides, strict=True)
        terms = [f"{self.atom(self._index(index))} * {self.atom(self._index(stride))}" for index, stride in parts]
        return " + ".join(terms)

    def _next_axis(self, before: Text, extent: Expr, part: Expr) -> Text:
        """``before * extent + part``."""
        this = self._index(part)
        if before[0] == "0":
            return this
        scaled = before if constant(extent) == 1 else (f"{self.atom(before)} * {self.atom(self._index(extent))}", _TERM)
        if this[0] == "0":
            return scaled
        return (f"{scaled[0]} + {this[0] if this[1] >= _SUM else f'({this[0]})'}", _SUM)


def _pointed_buffer(e: Expr) -> Buffer | None:
    """The buffer that a pointer points to; None for a number. Raises ``UnsupportedError`` for other arguments."""
    if isinstance(e, Call) and e.op in ("tvm_access_ptr", "buffer_data", "address_of"):
        inner = e.args[1] if e.op == "tvm_access_ptr" else e.args[0]
        if isinstance(inner, BufferLoad):
            return inner.buffer
        return _pointed_buffer(inner)
    if e.dtype == "handle":
        raise UnsupportedError("a function of C is given a string or an array", rule="codegen.intrinsic", root=e,
                               marks=[(e, "given here")], hint="give numbers and pointers")  # fmt: skip
    return None


_INDEX_RULES: dict[type, Callable[[Expressions, Any], Text]] = {
    FloorDiv: Expressions._index_division, FloorMod: Expressions._index_division, Div: Expressions._index_division,
    Mod: Expressions._index_division, Min: Expressions._index_extremum, Max: Expressions._index_extremum,
    Cast: Expressions._index_cast, Call: Expressions._index_call,
}  # fmt: skip

_VALUE_RULES: dict[type, Callable[[Expressions, Any], Text]] = {
    Const: Expressions._constant, Var: Expressions._variable, Div: Expressions._division, Mod: Expressions._division,
    FloorDiv: Expressions._division, FloorMod: Expressions._division, Max: Expressions._extremum,
    Min: Expressions._extremum,
    And: Expressions._logic, Or: Expressions._logic, Not: Expressions._not, Select: Expressions._select,
    Cast: Expressions._cast,
    Let: Expressions._let, BufferLoad: Expressions._load, Call: Expressions._call,
    **dict.fromkeys(_SYMBOLS, Expressions._arithmetic), **dict.fromkeys(_COMPARISONS, Expressions._comparison),
}  # fmt: skip
