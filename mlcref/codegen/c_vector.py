"""Vector expressions as Cython text over GCC vector types.

Vectors of one element type and length have ``+ - * /`` of their own; everything else is an inline C function of the
prelude.
"""

from __future__ import annotations

from collections.abc import Callable
from math import frexp
from typing import Any, Protocol

from mlcref import dtype as dt
from mlcref.codegen.c_types import Names, c_type, unsigned_type
from mlcref.codegen.divisions import division_by_one
from mlcref.codegen.dot_products import pairs_of
from mlcref.codegen.narrow_floats import bits_type, is_narrow
from mlcref.codegen.prelude import Prelude, mask_type
from mlcref.codegen.registers import Slot
from mlcref.errors import UnsupportedError
from mlcref.ir import (
    EQ, GE, GT, LE, LT, NE, Add, And, Broadcast, Buffer, BufferLoad, Call, Cast, Const, Div, Expr, Max, Min, Mul, Not,
    Or, Ramp, Select, Shuffle, Sub, Var, constant,
)  # fmt: skip

_SYMBOLS: dict[type, str] = {Add: "+", Sub: "-", Mul: "*", Div: "/"}
_NAMES: dict[type, str] = {Add: "add", Sub: "sub", Mul: "mul", Div: "div"}
_COMPARISONS: dict[type, str] = {EQ: "==", NE: "!=", LT: "<", LE: "<=", GT: ">", GE: ">="}


class ScalarExpressions(Protocol):
    """What vector expressions ask of the scalar ones around them."""

    prelude: Prelude
    names: Names
    lets: dict[Var, Expr]

    def value(self, expr: Expr) -> str:
        """A scalar value."""

    def index(self, expr: Expr) -> str:
        """An exact integer."""

    def slot(self, access: Any) -> Slot | None:
        """The register that holds an element, if one does."""

    def address(self, buffer: Buffer, indices: tuple[Expr, ...]) -> str:
        """The position of an element in its buffer."""

    def once(self, expr: Expr, text: Callable[[], str]) -> str:
        """The text of a vector, or the variable that holds it already."""


class VectorExpressions:
    """Writes vector values; scalars inside go back to ``scalars``."""

    def __init__(self, scalars: ScalarExpressions) -> None:
        self.scalars = scalars
        self.prelude = scalars.prelude
        self.divisions = 0

    def value(self, expr: Expr) -> str:
        """A vector value; raises ``UnsupportedError`` for what has no vector form (the vectorize pass does not make
        such).
        """
        rule = _RULES.get(type(expr))
        if rule is None:
            raise UnsupportedError(
                f"the Cython backend has no vector form of {type(expr).__name__}", rule="codegen.vector",
                root=expr, marks=[(expr, "here")],
            )  # fmt: skip
        return rule(self, expr)

    def _broadcast(self, expr: Any) -> str:
        kind, element = self.prelude.vector(expr.dtype), c_type(expr.value.dtype)
        bits = self.prelude.vector(bits_type(expr.dtype))
        name = self.prelude.function(f"splat_{expr.dtype}", kind, (element,), f"return ({kind})(x0 - ({bits}){{0}});")
        return self.scalars.once(expr, lambda: f"{name}({self.scalars.value(expr.value)})")

    def _variable(self, expr: Any) -> str:
        return self.value(self.scalars.lets[expr]) if expr in self.scalars.lets else self.scalars.names.of[expr]

    def _arithmetic(self, expr: Any) -> str:
        symbol, dtype = _SYMBOLS[type(expr)], expr.dtype
        if is_narrow(dtype):
            name = self.prelude.narrow_operation(_NAMES[type(expr)], symbol, dtype)
            return f"{name}({self.value(expr.a)}, {self.value(expr.b)})"
        if dt.is_float(dtype):
            self.prelude.vector(dtype)
            by_one = self._divided_by_one(expr) if isinstance(expr, Div) else None
            return by_one or f"{self._operand(expr.a)} {symbol} {self._operand(expr.b)}"
        pairs = pairs_of(expr) if isinstance(expr, Add) else None
        if pairs is not None and not (self.scalars.slot(pairs.one) or self.scalars.slot(pairs.many)):
            name = self.prelude.c_function(pairs.function())
            return f"{name}({self.value(pairs.sum)}, {self._pointer(pairs.one)}, {self._pointer(pairs.many)})"
        return f"{self._wrapping(_NAMES[type(expr)], symbol, dtype)}({self.value(expr.a)}, {self.value(expr.b)})"

    def _divided_by_one(self, expr: Div) -> str | None:
        """The quotients by a scalar that no power of two is (those become products); None where division is as fast,
        and for every other vector: dividers work beside multipliers."""
        made = division_by_one(expr.dtype) if isinstance(expr.b, Broadcast) else None
        if made is None or not isinstance(expr.b, Broadcast):
            return None
        if isinstance(expr.b.value, Const) and frexp(expr.b.value.value)[0] == 0.5:
            return None
        self.divisions += 1
        if self.divisions % 2 == 0:
            return None
        return f"{self.prelude.c_function(made)}({self.value(expr.a)}, {self.value(expr.b)})"

    def _pointer(self, load: Any) -> str:
        return f"{self.scalars.names.of[load.buffer]} + {self.scalars.address(load.buffer, load.indices)}"

    def _operand(self, expr: Expr) -> str:
        text = self.value(expr)
        return f"({text})" if type(expr) in _SYMBOLS else text

    def _wrapping(self, operation: str, symbol: str, dtype: str) -> str:
        """Integer arithmetic on the unsigned vectors of the same size, where overflow wraps."""
        kind, parsed = self.prelude.vector(dtype), dt.parse(dtype)
        unsigned = self.prelude.vector(f"uint{parsed.bits}x{parsed.lanes}")
        body = f"return ({kind})(({unsigned})x0 {symbol} ({unsigned})x1);"
        return self.prelude.function(f"{operation}_{dtype}", kind, (kind, kind), body)

    def _extremum(self, expr: Any) -> str:
        operation, symbol = ("max", ">") if isinstance(expr, Max) else ("min", "<")
        name = self.prelude.vector_extremum(operation, symbol, expr.dtype)
        return f"{name}({self.value(expr.a)}, {self.value(expr.b)})"

    def _select(self, expr: Any) -> str:
        """In each lane one of two values; by a scalar condition, one of two vectors."""
        if dt.lanes(expr.condition.dtype) == 1:
            return self._one_of(expr.condition, expr.true_value, expr.false_value)
        name = self.prelude.vector_selection(expr.dtype)
        condition = self.mask(expr.condition, mask_type(expr.dtype))
        return f"{name}({condition}, {self.value(expr.true_value)}, {self.value(expr.false_value)})"

    def _one_of(self, condition: Expr, yes: Expr, no: Expr) -> str:
        """One of two vectors; only that one is computed."""
        self.prelude.vector(yes.dtype)
        return f"(({self.value(yes)}) if {self.scalars.value(condition)} else ({self.value(no)}))"

    def _call(self, expr: Any) -> str:
        if expr.op == "if_then_else":
            return self._one_of(*expr.args)
        name = self.prelude.intrinsic(expr.op, expr.args[0].dtype, expr.type)
        return f"{name}({', '.join(self.value(arg) for arg in expr.args)})"

    # ---- masks: truth values as integers of the width of what they select, all bits set where they hold

    def mask(self, expr: Expr, mask: str) -> str:
        """A vector of truth values as the integer vector ``mask``."""
        if isinstance(expr, Broadcast):
            element = c_type(dt.parse(mask).element)
            body = f"return ({element})-(x0 != 0) - ({self.prelude.vector(mask)}){{0}};"
            name = self.prelude.function(f"splat_mask_{mask}", mask, ("int",), body)
            return f"{name}({self.scalars.value(expr.value)})"
        if isinstance(expr, And | Or):
            operation, symbol = ("and", "&") if isinstance(expr, And) else ("or", "|")
            name = self._of_masks(f"mask_{operation}_{mask}", mask, 2, f"x0 {symbol} x1")
            return f"{name}({self.mask(expr.a, mask)}, {self.mask(expr.b, mask)})"
        if isinstance(expr, Not):
            return f"{self._of_masks(f'mask_not_{mask}', mask, 1, '~x0')}({self.mask(expr.a, mask)})"
        return self._converted(*self._comparison(expr), mask)

    def _comparison(self, expr: Any) -> tuple[str, str]:
        """A test of values, and the type of its mask, which has their width."""
        if isinstance(expr, Call):
            operand = expr.args[0].dtype
            return f"{self.prelude.vector_test(expr.op, operand)}({self.value(expr.args[0])})", mask_type(operand)
        operand = expr.a.dtype
        kind, mask = self.prelude.vector(operand), self.prelude.vector(mask_type(operand))
        symbol, test = _COMPARISONS[type(expr)], type(expr).__name__.lower()
        if is_narrow(operand):
            name = self.prelude.comparison(test, symbol, operand)
        else:
            name = self.prelude.function(f"{test}_{operand}", mask, (kind, kind), f"return x0 {symbol} x1;")
        return f"{name}({self.value(expr.a)}, {self.value(expr.b)})", mask

    def _of_masks(self, name: str, mask: str, count: int, value: str) -> str:
        return self.prelude.function(name, self.prelude.vector(mask), (mask,) * count, f"return {value};")

    def _converted(self, text: str, source: str, target: str) -> str:
        """A vector in another type, lane by lane."""
        if source == target:
            return text
        if is_narrow(source) or is_narrow(target):
            return f"{self.prelude.conversion(source, target)}({text})"
        body = f"return __builtin_convertvector(x0, {self.prelude.vector(target)});"
        kinds = (self.prelude.vector(source),)
        return f"{self.prelude.function(f'convert_{source}_{target}', target, kinds, body)}({text})"

    def _cast(self, expr: Any) -> str:
        return self._converted(self.value(expr.value), expr.value.dtype, expr.type)

    def _load(self, expr: Any) -> str:
        slot = self.scalars.slot(expr)
        if slot is not None:
            return slot.name
        last = expr.indices[-1]
        pointer = self._pointer(expr)
        kind = self.prelude.vector(expr.dtype)
        if not isinstance(last, Ramp) or constant(last.stride) == 1:
            return self.scalars.once(expr, lambda: f"(<{kind}*>({pointer}))[0]")
        if constant(last.stride) == 2:
            return f"{self._every_second(expr.dtype)}({pointer})"
        return f"{self._gather(expr.dtype)}({pointer}, {self.scalars.index(last.stride)})"

    def _every_second(self, dtype: str) -> str:
        """The function that loads every second element: of two vectors that overlap in one element, so that nothing
        beyond the last one is read."""
        kind, element, count = self.prelude.vector(dtype), c_type(dt.parse(dtype).element), dt.lanes(dtype)
        picked = [2 * i if 2 * i < count else 2 * i + 1 for i in range(count)]
        halves = f"*({kind}*)x0, *({kind}*)(x0 + {count - 1})"
        body = f"return {self.prelude.shuffle(dtype, picked)}({halves});"
        return self.prelude.function(f"every_second_{dtype}", kind, (f"{element}*",), body)

    def _gather(self, dtype: str) -> str:
        kind, element = self.prelude.vector(dtype), c_type(dt.parse(dtype).element)
        bits = self.prelude.vector(bits_type(dtype))
        body = f"{bits} r; for (int i = 0; i < {dt.lanes(dtype)}; i++) r[i] = x0[i * x1]; return ({kind})r;"
        return self.prelude.function(f"gather_{dtype}", kind, (f"{element}*", "int64_t"), body)

    def scatter(self, dtype: str) -> str:
        """The function that stores the lanes of a vector at a distance from each other."""
        kind, element = self.prelude.vector(dtype), c_type(dt.parse(dtype).element)
        bits = self.prelude.vector(bits_type(dtype))
        body = f"{bits} r = ({bits})x2; for (int i = 0; i < {dt.lanes(dtype)}; i++) x0[i * x1] = r[i];"
        return self.prelude.function(f"scatter_{dtype}", "void", (f"{element}*", "int64_t", kind), body)

    def _shuffle(self, expr: Any) -> str:
        """Lanes of two vectors of the type of the result, in a new order; other shuffles were refused before."""
        picked = [int(index.value) for index in expr.indices]
        name = self.prelude.shuffle(expr.dtype, picked)
        return f"{name}({', '.join(self.value(vector) for vector in expr.vectors)})"

    def _ramp(self, expr: Any) -> str:
        kind, element = self.prelude.vector(expr.dtype), c_type(expr.base.dtype)
        wide = unsigned_type(expr.base.dtype)
        lane = f"({element})(({wide})x0 + ({wide})x1 * ({wide})i)"
        body = f"{kind} r; for (int i = 0; i < {expr.lanes}; i++) r[i] = {lane}; return r;"
        name = self.prelude.function(f"ramp_{expr.dtype}", kind, (element, element), body)
        return f"{name}({self.scalars.value(expr.base)}, {self.scalars.value(expr.stride)})"


_RULES: dict[type, Callable[[VectorExpressions, Any], str]] = {
    Broadcast: VectorExpressions._broadcast, Var: VectorExpressions._variable, Max: VectorExpressions._extremum,
    Min: VectorExpressions._extremum, Select: VectorExpressions._select, Cast: VectorExpressions._cast,
    BufferLoad: VectorExpressions._load, Call: VectorExpressions._call, Ramp: VectorExpressions._ramp,
    Shuffle: VectorExpressions._shuffle,
    **dict.fromkeys(_SYMBOLS, VectorExpressions._arithmetic),
}  # fmt: skip
